/* The sampling run: samples that do not depend on their batch, what stops it, and that it takes
 * its memory once; with every sampler of the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support_trajectory.h"

#define D 2

/* Rows with other than their defaults, walked beside every row of the table. */
static const char *const variants[] = {"ddpm:variance=large",
                                       "ddim:eta=0.5",
                                       "euler:churn=10",
                                       "heun:churn=10,tmin=0.05,noise=1.003",
                                       "dpmpp:order=1",
                                       "dpmpp:solver=heun",
                                       "unipc:variant=bh1",
                                       "lms:order=2",
                                       "dpmpp-2m-sde:eta=0",
                                       "euler-a:eta=0.4,noise=1.01",
                                       "dpm2-a:eta=0.5",
                                       "dpmpp-sde:eta=0.6,r=1",
                                       "dpmpp-2m-sde:solver=heun,eta=0.5",
                                       "sa-solver:predictor_order=4,corrector_order=4,tau=0",
                                       ("sa-solver:predictor_order=1,corrector_order=0,tau=0.5,"
                                        "tmin=0.05,tmax=1"),
                                       "er-sde:order=2,scaling=sde,noise=1.01",
                                       "er-sde:scaling=ode",
                                       "tcd:eta=1"};
static const char *const paths[] = {"rectified", "trigonometric",      "edm",        "vp", "ve",
                                    "ddpm",      "ddpm:scaled-linear", "ddpm:cosine"};

static size_t sampler_count(void) {
    return vn_samplers.count + VN_COUNT(variants);
}

/* flow-map needs more of a network than a world has: tests/sample/test_query.c */
static const char *sampler_text(size_t i) {
    if (i >= vn_samplers.count) return variants[i - vn_samplers.count];
    const char *name = vn_table_row(&vn_samplers, i)->name;
    return strcmp(name, "flow-map") != 0 ? name : "euler";
}

static void must(vn_status status, const vn_err *err) {
    if (status) fail_msg("%s", err->text);
}

/* ---- independence ---------------------------------------------------------------------------- */

/* n in one batch, in batches of one, and with other neighbours: the same bits. */
static void samples_do_not_depend_on_their_batch(void **state) {
    (void)state;
    enum { N = 9 };
    float together[N * D], alone[D];
    vn_err err = {0};
    for (size_t s = 0; s < sampler_count(); s++) {
        bench b = bench_open(bench_world, "vp", NULL);
        vn_trajectory_options o = {
            .sampler = sampler_text(s), .guidance = 2, .steps = 12, .seed = 42};
        must(bench_run(&b, o, N, 100, 1, NULL, together, NULL, &err), &err);
        for (uint64_t i = 0; i < N; i++) {
            must(bench_run(&b, o, 1, 100 + i, 1, NULL, alone, NULL, &err), &err);
            assert_memory_equal(alone, together + i * D, sizeof alone);
        }
        o.seed = 43;
        must(bench_run(&b, o, 1, 100, 1, NULL, alone, NULL, &err), &err);
        assert_memory_not_equal(alone, together, sizeof alone);
        bench_close(&b);
    }
}

/* A sampling run used twice, and driven step by step, gives what one that is new gives in one
 * go. */
static void walks_can_be_used_again_and_by_hand(void **state) {
    (void)state;
    enum { N = 4 };
    float first[N * D], again[N * D], by_hand[N * D];
    const int32_t labels[N] = {0, 1, VN_CONDITION_NULL, 0};
    bench b = bench_open(bench_world, "rectified", NULL);
    vn_err err = {0};
    for (size_t s = 0; s < sampler_count(); s++) {
        vn_trajectory *w;
        vn_trajectory_options o = {.denoiser = &b.denoiser,
                                   .sampler = sampler_text(s),
                                   .guidance = 2,
                                   .steps = 10,
                                   .seed = 1,
                                   .capacity = N + 3};
        must(vn_trajectory_open(&o, &w, &err), &err);
        const int steps = vn_trajectory_steps(w); /* 10, or more where a sampler goes back */
        assert_true(vn_trajectory_levels(w)[0].t == 1 && vn_trajectory_levels(w)[steps].t == 0);
        vn_trajectory_batch batch = {.n = N, .condition = labels, .x = first};
        must(vn_trajectory_run(w, &batch, NULL, 0, steps, &err), &err);
        const int64_t passes = vn_trajectory_passes(w);
        batch.x = again;
        must(vn_trajectory_run(w, &batch, NULL, 0, steps, &err), &err);
        assert_memory_equal(again, first, sizeof first);
        assert_int_equal(vn_trajectory_passes(w), passes);
        batch.x = by_hand;
        bool done = false;
        must(vn_trajectory_begin(w, &batch, &err), &err);
        for (int i = 0; i < steps; i++) {
            assert_false(done);
            must(vn_trajectory_step(w, &done, &err), &err);
        }
        assert_true(done);
        assert_memory_equal(by_hand, first, sizeof first);
        assert_int_equal(vn_trajectory_step(w, &done, &err), VN_BAD_ARGUMENT);
        vn_trajectory_close(&w);
    }
    bench_close(&b);
}

static void gamma_one_is_conditional_and_zero_unconditional(void **state) {
    (void)state;
    enum { N = 6 };
    float x[N * D], want[N * D];
    int64_t passes;
    bench b = bench_open(bench_world, "edm", NULL);
    vn_err err = {0};
    vn_trajectory_options o = {.sampler = "dpmpp-2m", .steps = 10, .guidance = 1};
    must(bench_run(&b, o, N, 0, VN_CONDITION_NULL, NULL, want, &passes, &err), &err);
    assert_int_equal(passes, 10);
    o.guidance = 0;
    must(bench_run(&b, o, N, 0, 1, NULL, x, &passes, &err), &err);
    assert_int_equal(passes, 10);
    assert_memory_equal(x, want, sizeof x);
    o.guidance = 1;
    must(bench_run(&b, o, N, 0, 1, NULL, want, &passes, &err), &err);
    assert_int_equal(passes, 10);
    o.guidance = 7;
    o.guide = "interval:lo=0,hi=1e-6"; /* below every level that is visited */
    must(bench_run(&b, o, N, 0, 1, NULL, x, &passes, &err), &err);
    assert_int_equal(passes, 10);
    assert_memory_equal(x, want, sizeof x);
    o.guide = NULL;
    must(bench_run(&b, o, N, 0, 1, NULL, x, &passes, &err), &err);
    assert_int_equal(passes, 20);
    o.sampler = "heun";
    must(bench_run(&b, o, N, 0, 1, NULL, x, &passes, &err), &err);
    assert_int_equal(passes, 38); /* two predictions a step but in the last, two passes each */
    bench_close(&b);
}

/* The flow's Euler, DDIM with eta 0 and Euler's rule are one rule. */
static void euler_is_ddim(void **state) {
    (void)state;
    enum { N = 4 };
    float euler[N * D], ddim[N * D];
    vn_err err = {0};
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(bench_world, paths[p], "v");
        vn_trajectory_options o = {.guidance = 1, .steps = 10, .grid = "karras"};
        o.sampler = "euler";
        must(bench_run(&b, o, N, 0, 0, NULL, euler, NULL, &err), &err);
        o.sampler = "ddim";
        must(bench_run(&b, o, N, 0, 0, NULL, ddim, NULL, &err), &err);
        for (int i = 0; i < N * D; i++)
            expect_small(fabsf(euler[i] - ddim[i]), 2e-6f * (1 + fabsf(ddim[i])));
        bench_close(&b);
    }
}

/* ---- what stops it --------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const double rising[] = {0.5, 0.7, 0};
    const struct {
        vn_trajectory_options o;
        const char *word;
    } bad[] = {
        {{.steps = 0, .guidance = 1}, "steps 0"},
        {{.steps = -3, .guidance = 1}, "steps -3"},
        {{.steps = VN_MAX_STEPS + 1, .guidance = 1}, "steps"},
        {{.steps = 10, .guidance = (double)NAN}, "guidance"},
        {{.steps = 10, .guidance = 2, .sampler = "huen"}, "heun"},
        {{.steps = 10, .guidance = 2, .sampler = "ddim:eta=2"}, "eta"},
        {{.steps = 10, .guidance = 2, .sampler = "euler:noise=1.1"}, "no effect"},
        {{.steps = 10, .guidance = 2, .sampler = "heun:churn=1,tmin=3,tmax=2"}, "tmin"},
        {{.steps = 10, .guidance = 2, .guide = "cfgg"}, "cfg"},
        {{.steps = 10, .guidance = 2, .grid = "even"}, "grid"},
        {{.guidance = 2, .sigmas = rising, .sigma_count = 3}, "sigmas"},
        {{.guidance = 2, .sigmas = rising, .sigma_count = 3, .grid = "uniform"}, "no effect"},
    };
    bench b = bench_open(bench_world, "rectified", NULL);
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_trajectory *w = (void *)1;
        vn_trajectory_options o = bad[i].o;
        vn_err err = {0};
        o.denoiser = &b.denoiser;
        o.capacity = 4;
        assert_int_equal(vn_trajectory_open(&o, &w, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
        assert_null(w);
    }
    bench_close(&b);
}

static void bad_batches_are_refused(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", NULL);
    vn_trajectory *w;
    vn_err err = {0};
    float x[2 * D], noise[2 * D] = {0, 1, NAN, 0};
    int32_t labels[2] = {0, 2};
    vn_trajectory_options o = {.denoiser = &b.denoiser, .steps = 3, .guidance = 1};
    assert_int_equal(vn_trajectory_open(&o, &w, &err), VN_BAD_ARGUMENT); /* a capacity of 0 */
    o.capacity = 2;
    must(vn_trajectory_open(&o, &w, &err), &err);
    bool done;
    assert_int_equal(vn_trajectory_step(w, &done, &err), VN_BAD_ARGUMENT); /* not begun */
    vn_trajectory_batch batch = {.n = 2, .condition = labels, .x = x};
    assert_int_equal(vn_trajectory_begin(w, &batch, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "sample 1: condition 2"));
    labels[1] = -2;
    assert_int_equal(vn_trajectory_begin(w, &batch, &err), VN_BAD_ARGUMENT);
    labels[1] = 1;
    batch.noise = noise;
    assert_int_equal(vn_trajectory_begin(w, &batch, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "noise of sample 1"));
    batch.noise = NULL;
    batch.n = 3;
    assert_int_equal(vn_trajectory_begin(w, &batch, &err), VN_BAD_ARGUMENT);
    vn_trajectory_close(&w);
    b.denoiser.conditions.has_null = false;
    must(vn_trajectory_open(&o, &w, &err), &err);
    batch.n = 2;
    labels[0] = VN_CONDITION_NULL;
    assert_int_equal(vn_trajectory_begin(w, &batch, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "null"));
    vn_trajectory_close(&w);
    bench_close(&b);
}

/* A denoiser that answers NaN in one row from some query on. */
typedef struct broken {
    const vn_denoiser *inner;
    int left;
} broken;

static vn_status break_down(void *self, const vn_query *q, float *raw, vn_err *err) {
    broken *d = self;
    vn_status status = d->inner->predict(d->inner->self, q, raw, err);
    if (d->left-- <= 0) raw[1 * D + 1] = NAN;
    return status;
}

static void a_nan_never_becomes_a_sample(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", NULL);
    broken self = {&b.denoiser, 4};
    vn_denoiser d = b.denoiser;
    d.self = &self;
    d.predict = break_down;
    vn_trajectory *w;
    vn_err err = {0};
    float x[3 * D];
    const int32_t labels[3] = {0, 1, 0};
    vn_trajectory_options o = {
        .denoiser = &d, .sampler = "euler", .steps = 20, .guidance = 1, .capacity = 3};
    must(vn_trajectory_open(&o, &w, &err), &err);
    const vn_trajectory_batch batch = {.n = 3, .first = 50, .condition = labels, .x = x};
    assert_int_equal(vn_trajectory_run(w, &batch, NULL, 0, 20, &err), VN_NOT_FINITE);
    assert_non_null(strstr(err.text, "step 5 of 20"));
    assert_non_null(strstr(err.text, "sample 51"));
    vn_trajectory_close(&w);
    bench_close(&b);
}

typedef struct seen {
    int calls, stop_at;
    int64_t done, total;
} seen;

static int look(void *user, const vn_progress *p) {
    seen *s = user;
    s->calls++;
    assert_string_equal(p->what, "sampling");
    assert_int_equal(p->done, s->done + s->calls);
    assert_int_equal(p->total, s->total);
    assert_true(p->rate > 0 && p->seconds_left >= 0);
    return s->calls == s->stop_at;
}

static void progress_is_told_and_can_stop(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", NULL);
    vn_trajectory *w;
    vn_err err = {0};
    float x[D];
    const int32_t label = 0;
    vn_trajectory_options o = {.denoiser = &b.denoiser, .steps = 8, .guidance = 1, .capacity = 1};
    must(vn_trajectory_open(&o, &w, &err), &err);
    const vn_trajectory_batch batch = {.n = 1, .condition = &label, .x = x};
    seen all = {.done = 16, .total = 24}, some = {.stop_at = 3, .total = 8};
    vn_watch watch = {.progress = look, .user = &all};
    must(vn_trajectory_run(w, &batch, &watch, 16, 24, &err), &err);
    assert_int_equal(all.calls, 8);
    watch.user = &some;
    assert_int_equal(vn_trajectory_run(w, &batch, &watch, 0, 8, &err), VN_CANCELLED);
    assert_int_equal(some.calls, 3);
    atomic_int cancel = 1;
    watch = (vn_watch){.cancel = &cancel};
    assert_int_equal(vn_trajectory_run(w, &batch, &watch, 0, 8, &err), VN_CANCELLED);
    vn_trajectory_close(&w);
    bench_close(&b);
}

/* Steps that take their samples one by one tell after each, and can be stopped there. */
static int look_within(void *user, const vn_progress *p) {
    int *left = user;
    assert_true(p->done <= 1 && p->total == 1 && p->rate > 0 && p->seconds_left >= 0 &&
                isfinite(p->seconds_left));
    return --*left == 0;
}

static void long_steps_tell_how_far_they_are(void **state) {
    (void)state;
    enum { N = 4 };
    static const char *const samplers[] = {"dopri5", "dpm-adaptive"};
    bench b = bench_open(bench_world, "rectified", NULL);
    const int32_t labels[N] = {0, 1, 0, 1};
    for (size_t k = 0; k < VN_COUNT(samplers); k++) {
        vn_trajectory *w;
        vn_err err = {0};
        float x[N * D];
        vn_trajectory_options o = {.denoiser = &b.denoiser,
                                   .sampler = samplers[k],
                                   .steps = 1,
                                   .guidance = 2,
                                   .capacity = N};
        must(vn_trajectory_open(&o, &w, &err), &err);
        int left = 100;
        const vn_trajectory_batch batch = {.n = N, .condition = labels, .x = x};
        const vn_watch watch = {.progress = look_within, .user = &left};
        must(vn_trajectory_run(w, &batch, &watch, 0, 1, &err), &err);
        assert_int_equal(left, 100 - N); /* three samples, then the step */
        left = 2;
        assert_int_equal(vn_trajectory_run(w, &batch, &watch, 0, 1, &err), VN_CANCELLED);
        assert_int_equal(left, 0);
        assert_string_equal(err.text, "sampling was cancelled at step 1");
        vn_trajectory_close(&w);
    }
    bench_close(&b);
}

/* Opening fails cleanly at every allocation; running makes none. */
static void memory_is_taken_once(void **state) {
    (void)state;
    enum { N = 3 };
    bench b = bench_open(bench_world, "edm", NULL);
    float x[N * D];
    const int32_t labels[N] = {0, 1, 0};
    vn_err err;
    for (size_t s = 0; s < sampler_count(); s++) {
        const vn_trajectory_options o = {.denoiser = &b.denoiser,
                                         .sampler = sampler_text(s),
                                         .steps = 5,
                                         .guidance = 2,
                                         .capacity = N};
        for (alloc_turn t = {.once = true}; alloc_next(&t);) {
            vn_trajectory *w;
            if (!alloc_hit(&t, vn_trajectory_open(&o, &w, &err))) {
                const vn_trajectory_batch batch = {.n = N, .condition = labels, .x = x};
                const int64_t made = alloc_made();
                must(vn_trajectory_run(w, &batch, NULL, 0, 5, &err), &err);
                assert_int_equal(alloc_made(), made);
                assert_true(t.n > 10);
            }
            vn_trajectory_close(&w);
        }
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_do_not_depend_on_their_batch),
        cmocka_unit_test(walks_can_be_used_again_and_by_hand),
        cmocka_unit_test(gamma_one_is_conditional_and_zero_unconditional),
        cmocka_unit_test(euler_is_ddim),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(a_nan_never_becomes_a_sample),
        cmocka_unit_test(progress_is_told_and_can_stop),
        cmocka_unit_test(long_steps_tell_how_far_they_are),
        cmocka_unit_test(memory_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
