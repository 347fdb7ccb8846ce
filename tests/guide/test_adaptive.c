/* Adaptive guidance on a world: which samples go on without their null pass is what a loop written
 * out here says, the passes that are left out are not run, and neither depends on the batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support_rules.h"

enum { N = 6, D = 3, F = N * D, STEPS = 20 };

static const char text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4, 0.5], \"std\": 0.4}]},"
    " {\"components\": [{\"mean\": [1.1, 0.9, -0.3], \"std\": 0.3}]},"
    " {\"components\": [{\"mean\": [0.2, 1, 1], \"std\": 0.5}]}]}";
static const double gamma_of_test = 1.5, threshold = 0.9;
static const char list[] = "cfg,adaptive:cos=0.9";

static const int32_t labels[N] = {0, 1, 2, VN_CONDITION_NULL, 0, 1};
static const int32_t none[N] = {-1, -1, -1, -1, -1, -1};
static bench exact;
static vn_denoiser denoiser;
static vn_level level[STEPS + 1];
static float noise[F];
static int64_t rows; /* that the denoiser has been asked for */

static vn_status counting(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_denoiser *inner = self;
    rows += q->n;
    return inner->predict(inner->self, q, raw, err);
}

static int set_up(void **state) {
    (void)state;
    exact = bench_open(text, "vp", "v");
    denoiser = exact.denoiser;
    denoiser.self = &exact.denoiser;
    denoiser.predict = counting;
    for (int i = 0; i <= STEPS; i++) level[i] = vn_path_level(exact.path, 1 - (double)i / STEPS);
    for (int i = 0; i < N; i++)
        vn_random_normal(noise + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

static void move(const vn_level *to, int64_t n, const float *x0, const float *eps, float *x) {
    for (int64_t i = 0; i < n * D; i++) x[i] = (float)to->alpha * x0[i] + (float)to->sigma * eps[i];
}

/* DDIM of samples `first` on, with `again` further predictions in each step; passes of each step's
 * rows in per_step. */
static void sample(const char *guides, int64_t n, int64_t first, int again, float *x,
                   int64_t per_step[STEPS]) {
    vn_guidance *g = open_guides(guides, gamma_of_test, &denoiser, n);
    vn_err err;
    float x0[F], eps[F];
    memcpy(x, noise + first * D, (size_t)(n * D) * sizeof *x);
    vn_guidance_begin(g, n, (uint64_t)first, labels + first);
    rows = 0;
    for (int s = 0; s < STEPS; s++) {
        const int64_t before = rows;
        vn_guidance_step(g, s, STEPS, 0, &level[s + 1]);
        for (int k = 0; k <= again; k++)
            assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &level[s]},
                                                 (vn_estimate){x0, eps}, &err),
                             VN_OK);
        move(&level[s + 1], n, x0, eps, x);
        per_step[s] = rows - before;
    }
    assert_true(vn_guidance_passes(g) == (double)rows / (double)n);
    vn_guidance_close(&g);
}

static double cosine(const float *a, const float *b) {
    double aa = 0, ab = 0, bb = 0;
    for (int j = 0; j < D; j++) {
        aa += (double)a[j] * (double)a[j];
        ab += (double)a[j] * (double)b[j];
        bb += (double)b[j] * (double)b[j];
    }
    return ab / sqrt(aa * bb);
}

/* The same written out. needed: rows that each step has to ask for. */
static void written_out(float *x, int64_t needed[STEPS]) {
    bool stopped[N] = {false};
    memcpy(x, noise, sizeof noise);
    for (int s = 0; s < STEPS; s++) {
        float c0[F], c_eps[F], u0[F], u_eps[F];
        int guided_ones = 0;
        needed[s] = N;
        unguided(&exact.denoiser, (vn_query){.n = N, .x = x, .condition = labels}, &level[s],
                 (vn_estimate){c0, c_eps});
        unguided(&exact.denoiser, (vn_query){.n = N, .x = x, .condition = none}, &level[s],
                 (vn_estimate){u0, u_eps});
        for (int i = 0; i < N; i++) {
            const double alike = cosine(c0 + i * D, u0 + i * D);
            if (stopped[i]) continue;
            needed[s]++;
            guided_ones += labels[i] != VN_CONDITION_NULL;
            for (int j = i * D; j < (i + 1) * D; j++) {
                c0[j] = u0[j] + (float)gamma_of_test * (c0[j] - u0[j]);
                c_eps[j] = u_eps[j] + (float)gamma_of_test * (c_eps[j] - u_eps[j]);
            }
            /* no cosine is so near the threshold that its rounding could matter */
            assert_true(fabs(alike - threshold) > 1e-5);
            stopped[i] = alike > threshold && labels[i] != VN_CONDITION_NULL;
        }
        if (!guided_ones) needed[s] = N; /* none has another null pass than its own */
        move(&level[s + 1], N, c0, c_eps, x);
    }
}

static void passes_that_are_left_out_are_not_run(void **state) {
    (void)state;
    float got[F], want[F], cfg[F];
    int64_t run[STEPS], needed[STEPS], all[STEPS], sum = 0;
    written_out(want, needed);
    sample(list, N, 0, 0, got, run);
    for (int s = 0; s < STEPS; s++) assert_int_equal(run[s], needed[s]);
    assert_memory_equal(got, want, sizeof got); /* the same sums in the same order */
    sample("cfg", N, 0, 0, cfg, all);
    for (int s = 0; s < STEPS; s++) sum += all[s] - run[s];
    assert_true(all[0] == 2 * N && run[0] == 2 * N && run[STEPS - 1] < 2 * N - 2 && sum > 10);
    assert_true(error_of(F, got, cfg) > 1e-3);
}

static void a_sample_decides_for_itself(void **state) {
    (void)state;
    static const char *const rules[] = {list,
                                        "apg,adaptive:cos=0.9",
                                        "tcfg,adaptive:cos=0.9",
                                        "cfg,rescale,adaptive:cos=0.9",
                                        "rectified-cfg-plus-plus,adaptive:cos=0.9",
                                        "cfg,compose:class=1,adaptive:cos=0.9"};
    for (size_t k = 0; k < VN_COUNT(rules); k++) {
        float together[F], alone[F];
        int64_t of_all[STEPS], of_one[STEPS], sum[STEPS] = {0};
        sample(rules[k], N, 0, 1, together, of_all);
        for (int64_t i = 0; i < N; i++) {
            sample(rules[k], 1, i, 1, alone, of_one);
            if (memcmp(alone, together + i * D, D * sizeof *alone) != 0)
                fail_msg("%s: sample %d depends on its batch", rules[k], (int)i);
            for (int s = 0; s < STEPS; s++) sum[s] += of_one[s];
        }
        /* alone, a sample without a condition has no null pass, and one of class 1 none of it */
        for (int s = 0; s < STEPS; s++) assert_true(of_all[s] >= sum[s]);
        assert_true(of_all[STEPS - 1] < of_all[0]);
    }
}

/* What one step has decided is forgotten where the run goes back to more noise. */
static void more_noise_begins_anew(void **state) {
    (void)state;
    vn_guidance *g = open_guides("cfg,adaptive:cos=0", gamma_of_test, &denoiser, N);
    vn_err err;
    float x0[F], eps[F];
    static const struct {
        int restarts;
        int64_t rows;
    } steps[] = {{0, 2 * N}, {0, N}, {0, N}, {1, 2 * N}, {1, N}};
    vn_guidance_begin(g, N, 0, labels);
    for (size_t s = 0; s < VN_COUNT(steps); s++) {
        float x[F]; /* all x0 near enough to their class for a cosine above 0 */
        for (int i = 0; i < F; i++) x[i] = 0.5f;
        rows = 0;
        vn_guidance_step(g, (int)s, STEPS, steps[s].restarts, &level[STEPS - 1]);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &level[12]},
                                             (vn_estimate){x0, eps}, &err),
                         VN_OK);
        assert_int_equal(rows, steps[s].rows);
    }
    vn_guidance_close(&g);
}

/* What is known of a sample goes with it where samples are resampled. */
static void a_resampled_sample_takes_it_along(void **state) {
    (void)state;
    static const int32_t alike[N] = {0, 0, 0, 0, 0, 0};
    static const int64_t ancestor[N] = {1, 1, 1, 3, 1, 5};
    vn_guidance *g = open_guides("cfg,adaptive:cos=0.5", gamma_of_test, &denoiser, N);
    vn_err err;
    float x[F], x0[F], eps[F];
    bool stops[N];
    int64_t still = 0, moved = 0;
    for (int i = 0; i < F; i++) x[i] = 2 * noise[i];
    vn_guidance_begin(g, N, 0, alike);
    vn_guidance_step(g, 0, STEPS, 0, &level[STEPS - 1]);
    const vn_request request = {.x = x, .level = &level[12]};
    assert_int_equal(vn_guidance_predict(g, &request, (vn_estimate){x0, eps}, &err), VN_OK);
    float c0[F], u0[F], other[F];
    unguided(&exact.denoiser, (vn_query){.n = N, .x = x, .condition = alike}, &level[12],
             (vn_estimate){c0, other});
    unguided(&exact.denoiser, (vn_query){.n = N, .x = x, .condition = none}, &level[12],
             (vn_estimate){u0, other});
    for (int i = 0; i < N; i++) {
        stops[i] = cosine(c0 + i * D, u0 + i * D) > 0.5;
        still += !stops[i];
    }
    for (int i = 0; i < N; i++) moved += !stops[ancestor[i]];
    assert_true(still != moved);
    vn_guidance_move(g, ancestor);
    vn_guidance_step(g, 1, STEPS, 0, &level[STEPS - 1]);
    rows = 0;
    assert_int_equal(vn_guidance_predict(g, &request, (vn_estimate){x0, eps}, &err), VN_OK);
    assert_int_equal(rows, N + moved);
    vn_guidance_close(&g);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    refused("cfg,adaptive:cos=1", 2, &exact.denoiser, "adaptive: cos=1 has no effect");
    refused("cfg,adaptive:cos=2", 2, &exact.denoiser, "cos=2 is outside [0, 1]");
    refused("negative:class=1,adaptive", 2, &exact.denoiser,
            "negative and adaptive cannot be combined: adaptive needs a rule with a null");
    refused("adaptive,tsg", 2, &exact.denoiser, "adaptive needs a rule with a null prediction");
    refused("cfg-plus-plus,adaptive", 0.5, &exact.denoiser,
            "cfg-plus-plus takes G and the prediction as they are");
    vn_denoiser guided;
    vn_err err;
    const vn_guidance_options o = {
        .guide = list, .gamma = 2, .denoiser = &exact.denoiser, .capacity = N};
    assert_int_equal(vn_guided_denoiser(&o, &guided, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "the guide adaptive needs a sampler that makes one step"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_that_are_left_out_are_not_run),
        cmocka_unit_test(a_sample_decides_for_itself),
        cmocka_unit_test(more_noise_begins_anew),
        cmocka_unit_test(a_resampled_sample_takes_it_along),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
