/* Step caches on a world, under DDIM: what is reused and what comes of it is what loops written out
 * here say, passes that are left out are not run, no sample depends on its batch, and the error
 * falls with what is reused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support/bound.h"
#include "support_rules.h"

enum { N = 5, D = 2, F = N * D, STEPS = 24 };
#define GAMMA 2.0

static const char text[] = "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4], \"std\": 0.4}]},"
                           " {\"components\": [{\"mean\": [1.1, 0.9], \"std\": 0.3}, {\"mean\": "
                           "[0, -1], \"std\": 0.2}]}]}";
static const vn_condition labels[N] = {0, 1, 1, 0, VN_CONDITION_NULL};
static const vn_condition none[N] = {-1, -1, -1, -1, -1};

typedef struct world {
    bench exact;
    vn_denoiser counted;
    vn_level level[STEPS + 1];
    int64_t rows; /* that it was asked for */
    double error; /* of the cache, of the latest samples */
} world;

static vn_status count_rows(void *self, const vn_query *q, float *raw, vn_err *err) {
    world *w = self;
    w->rows += q->n;
    return w->exact.denoiser.predict(w->exact.denoiser.self, q, raw, err);
}

static void open_world(world *w, const char *path) {
    w->exact = bench_open(text, path, NULL);
    w->counted = w->exact.denoiser;
    w->counted.self = w;
    w->counted.predict = count_rows;
    for (int i = 0; i <= STEPS; i++)
        w->level[i] = vn_path_level(w->exact.path, 1 - (double)i / STEPS);
}

static void begin_at(const world *w, float *x) {
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    for (int i = 0; i < F; i++) x[i] *= (float)w->level[0].sigma;
}

static void to_level(const vn_level *to, size_t n, const float *x0, const float *eps, float *x) {
    for (size_t i = 0; i < n; i++) x[i] = (float)to->alpha * x0[i] + (float)to->sigma * eps[i];
}

static vn_status try_cache(world *w, const char *guide, const char *cache, int64_t n,
                           vn_guidance **g, vn_err *err) {
    const vn_guidance_options o = {
        .guide = guide, .gamma = GAMMA, .denoiser = &w->counted, .cache = cache, .capacity = n};
    return vn_guidance_open(&o, g, err);
}

/* n samples from `first` on; x holds all; rows of each step. */
static void sample(world *w, const char *guide, const char *cache, int64_t n, int64_t first,
                   float *x, int64_t rows[STEPS]) {
    vn_guidance *g = NULL;
    vn_err err = {0};
    float x0[F], eps[F];
    if (try_cache(w, guide, cache, n, &g, &err)) fail_msg("%s", err.text);
    x += first * D;
    vn_guidance_begin(g, n, (uint64_t)first, labels + first);
    int64_t all = 0;
    for (int s = 0; s < STEPS; s++) {
        w->rows = 0;
        vn_guidance_step(g, s, STEPS, 0, &w->level[s + 1]);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &w->level[s]},
                                             (vn_estimate){x0, eps}, &err),
                         VN_OK);
        to_level(&w->level[s + 1], (size_t)(n * D), x0, eps, x);
        rows[s] = w->rows;
        all += w->rows;
    }
    assert_true(vn_guidance_passes(g) == (double)all / (double)n);
    double off, length;
    vn_guidance_cache_error(g, &off, &length);
    w->error = sqrt(off / length);
    vn_guidance_close(&g);
}

/* Of the rectified path, whose velocity by the length of its curve is (eps - x0)/sqrt(2): that is
 * kept, and x0 = x - t v, eps = x + (1 - t) v for v = eps - x0. */
static void rectified(const vn_level *l, double x, double v, float *x0, float *eps) {
    *x0 = (float)(x - l->sigma * v);
    *eps = (float)(x + l->alpha * v);
}

/* every = 3, after = 0.25: steps 0 to 5 and those that 3 divides run both passes. */
static void keep_the_difference(int order) {
    static world w;
    float got[F], x[F], kept[F] = {0}, earlier[F] = {0};
    double at = 0, before = 0, off = 0, length = 0;
    int64_t rows[STEPS];
    open_world(&w, "rectified");
    begin_at(&w, got);
    begin_at(&w, x);
    sample(&w, "cfg", order ? "branch:every=3,after=0.25" : "branch:every=3,after=0.25,order=0", N,
           0, got, rows);
    for (int s = 0; s < STEPS; s++) {
        const bool whole = s < 6 || s % 3 == 0;
        float c0[F], ce[F], u0[F], ue[F];
        unguided(&w.exact.denoiser, (vn_query){.n = N, .x = x, .condition = labels}, &w.level[s],
                 (vn_estimate){c0, ce});
        unguided(&w.exact.denoiser, (vn_query){.n = N, .x = x, .condition = none}, &w.level[s],
                 (vn_estimate){u0, ue});
        const double angle = atan2(w.level[s].sigma, w.level[s].alpha);
        for (int j = 0; j < F && whole && s >= 6; j++) { /* what would have stood for it */
            const double part = order ? (angle - at) / (at - before) : 0,
                         guess = (double)kept[j] + part * ((double)kept[j] - (double)earlier[j]),
                         vu = (double)ue[j] - (double)u0[j];
            off += pow(guess - (vu - ((double)ce[j] - (double)c0[j])), 2);
            length += vu * vu;
        }
        if (whole) before = at, at = angle;
        for (int j = 0; j < F; j++) {
            const double vc = (double)ce[j] - (double)c0[j], vu = (double)ue[j] - (double)u0[j];
            if (whole) earlier[j] = kept[j], kept[j] = (float)(vu - vc);
            const double gone = order ? (angle - at) / (at - before) : 0,
                         now = (double)kept[j] + gone * ((double)kept[j] - (double)earlier[j]),
                         v = vc + now * (1 - GAMMA);
            rectified(&w.level[s], (double)x[j], v, &c0[j], &ce[j]);
        }
        to_level(&w.level[s + 1], F, c0, ce, x);
        assert_int_equal(rows[s], whole ? 2 * N : N);
    }
    expect_below_as(error_of(F, got, x), 2e-6, "samples with the null pass kept, order %d", order);
    expect_below_as(fabs(w.error / sqrt(off / length) - 1), 1e-5, "what is told of its error");
    bench_close(&w.exact);
}

static void the_null_pass_is_the_conditional_one_and_what_it_differed_by(void **state) {
    (void)state;
    keep_the_difference(0);
    keep_the_difference(1);
}

/* One sample at a time, as each has its own steps. */
static void a_step_is_reused_while_little_changes(void **state) {
    (void)state;
    static world w;
    float got[F], x[F];
    int64_t rows[STEPS], needed[STEPS] = {0}, saved = 0;
    double off = 0, answers = 0;
    open_world(&w, "rectified");
    begin_at(&w, got);
    begin_at(&w, x);
    sample(&w, "cfg", "easy:threshold=0.2,after=0.1,order=0", N, 0, got, rows);
    for (int i = 0; i < N; i++) {
        double kept[2][D] = {{0}}, x_then[D], rate = (double)NAN, length = 0;
        for (int s = 0; s < STEPS; s++) {
            const double t = w.level[s].sigma;
            double way = 0, change = 0, now[2][D];
            for (int j = 0; j < D && s; j++) way += pow((double)x[i * D + j] - x_then[j], 2);
            way = sqrt(way);
            const bool reused = s >= 3 && s < STEPS - 1 && rate * way < 0.2 * length;
            if (s >= 3 && rate > 0) assert_true(fabs(rate * way / (0.2 * length) - 1) > 1e-4);
            for (int of = 0; of < 2 && !reused; of++) { /* the conditional one, and null */
                float x0[D], eps[D];
                const vn_condition *label = of ? none : labels;
                unguided(&w.exact.denoiser,
                         (vn_query){.n = 1, .x = x + i * D, .condition = label + i}, &w.level[s],
                         (vn_estimate){x0, eps});
                for (int j = 0; j < D; j++) now[of][j] = (double)eps[j] - (double)x0[j];
            }
            for (int of = 0; of < 2 && !reused && s >= 3; of++)
                for (int j = 0; j < D; j++) {
                    off += pow(kept[of][j] - now[of][j], 2);
                    answers += now[of][j] * now[of][j];
                }
            if (!reused) {
                length = sqrt(now[0][0] * now[0][0] + now[0][1] * now[0][1]);
                for (int j = 0; j < D && s; j++) change += pow(now[0][j] - kept[0][j], 2);
                rate = s && way > 0 ? sqrt(change) / way : (double)NAN;
                memcpy(kept, now, sizeof kept);
                for (int j = 0; j < D; j++) x_then[j] = (double)x[i * D + j];
                needed[s] += 2;
            }
            for (int j = 0; j < D; j++) {
                const double v = kept[1][j] + GAMMA * (kept[0][j] - kept[1][j]);
                x[i * D + j] += (float)((w.level[s + 1].sigma - t) * v);
            }
        }
    }
    for (int s = 0; s < STEPS; s++) {
        assert_int_equal(rows[s], needed[s]);
        saved += 2 * N - rows[s];
    }
    assert_true(saved > 2 * N * STEPS / 4);
    expect_below("samples with steps kept", error_of(F, got, x), 1e-6);
    expect_below("what is told of their error", fabs(w.error / sqrt(off / answers) - 1), 1e-5);
    bench_close(&w.exact);
}

static void no_sample_depends_on_its_batch(void **state) {
    (void)state;
    static const char *const caches[] = {"branch:every=3", "easy:threshold=0.2"};
    static const char *const guides[] = {"cfg", "apg", "cfg,adaptive:cos=0.9", "cfg,rescale"};
    for (size_t k = 0; k < VN_COUNT(caches) * VN_COUNT(guides); k++) {
        static world w;
        const char *cache = caches[k % 2], *guide = guides[k / 2];
        float together[F], alone[F];
        int64_t of_all[STEPS], of_one[STEPS], sum[STEPS] = {0};
        open_world(&w, "vp");
        begin_at(&w, together);
        begin_at(&w, alone);
        sample(&w, guide, cache, N, 0, together, of_all);
        for (int64_t i = 0; i < N; i++) {
            sample(&w, guide, cache, 1, i, alone, of_one);
            for (int s = 0; s < STEPS; s++) sum[s] += of_one[s];
        }
        assert_memory_equal(together, alone, sizeof together);
        for (int s = 0; s < STEPS; s++) assert_true(sum[s] <= of_all[s]);
        bench_close(&w.exact);
    }
}

/* Of samples without a cache. */
static double error_with(world *w, const char *cache, double *part_run) {
    float without[F], with[F];
    int64_t rows[STEPS], of_all[STEPS], run = 0, all = 0;
    begin_at(w, without);
    begin_at(w, with);
    sample(w, "cfg", NULL, N, 0, without, of_all);
    sample(w, "cfg", cache, N, 0, with, rows);
    for (int s = 0; s < STEPS; s++) run += rows[s], all += of_all[s];
    *part_run = (double)run / (double)all;
    return error_of(F, with, without);
}

static void what_is_reused_less_errs_less(void **state) {
    (void)state;
    static const char *const caches[][3] = {
        {"branch:every=2", "branch:every=4", "branch:every=8"},
        {"easy:threshold=0.02", "easy:threshold=0.1", "easy:threshold=0.5"}};
    static world w;
    open_world(&w, "rectified");
    for (size_t k = 0; k < VN_COUNT(caches); k++) {
        double error[3], part[3];
        for (int i = 0; i < 3; i++) error[i] = error_with(&w, caches[k][i], &part[i]);
        for (int i = 0; i < 2; i++) assert_true(error[i] <= error[i + 1] && part[i] >= part[i + 1]);
        assert_true(part[1] < 0.85 && error[2] > 0);
        expect_below_as(error[0], 0.03, "error of %s", caches[k][0]);
    }
    bench_close(&w.exact);
}

/* Back to more noise all is run anew, and so is another sampling run. */
static void nothing_is_kept_from_before_a_restart(void **state) {
    (void)state;
    static world w;
    vn_guidance *g = NULL;
    vn_err err = {0};
    float x[F], x0[F], eps[F];
    open_world(&w, "rectified");
    begin_at(&w, x);
    assert_int_equal(try_cache(&w, "cfg", "branch:every=100,after=0", N, &g, &err), VN_OK);
    static const struct {
        int step, restarts;
        int64_t rows;
    } cases[] = {{0, 0, 2 * N}, {1, 0, N}, {2, 1, 2 * N}, {3, 1, N}};
    for (int run = 0; run < 2; run++) {
        vn_guidance_begin(g, N, 0, labels);
        for (size_t i = 0; i < VN_COUNT(cases); i++) {
            w.rows = 0;
            vn_guidance_step(g, cases[i].step, STEPS, run * 2 + cases[i].restarts, &w.level[9]);
            assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &w.level[8]},
                                                 (vn_estimate){x0, eps}, &err),
                             VN_OK);
            assert_int_equal(w.rows, cases[i].rows);
        }
    }
    /* rows of a batch by themselves, and what is not guided, are run */
    w.rows = 0;
    assert_int_equal(
        vn_guidance_predict(g, &(vn_request){.x = x, .level = &w.level[8], .row = 1, .n = 2},
                            (vn_estimate){x0, eps}, &err),
        VN_OK);
    assert_int_equal(w.rows, 4);
    vn_guidance_close(&g);
    bench_close(&w.exact);
}

static void what_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    static world w;
    static const char *const cases[][3] = {{"cfg", "brunch", "branch"},
                                           {"cfg", "branch:every=1", "every"},
                                           {"cfg", "easy:every=2", "no parameter 'every'"}};
    open_world(&w, "rectified");
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_guidance *g = NULL;
        vn_err err = {0};
        assert_int_equal(try_cache(&w, cases[i][0], cases[i][1], N, &g, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i][2])) fail_msg("%s", err.text);
        assert_null(g);
    }
    bench_close(&w.exact);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_null_pass_is_the_conditional_one_and_what_it_differed_by),
        cmocka_unit_test(a_step_is_reused_while_little_changes),
        cmocka_unit_test(no_sample_depends_on_its_batch),
        cmocka_unit_test(what_is_reused_less_errs_less),
        cmocka_unit_test(nothing_is_kept_from_before_a_restart),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
