/* test_guided_denoiser.c - a list of guides as a denoiser: what it answers on a world, whose
 * predictions are known, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "guide/guide.h"
#include "support/alloc.h"
#include "support/bench.h"
#include "support/bound.h"

enum { N = 12, SIZE = 2, CAPACITY = 3 };

static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.5}]},"
    " {\"components\": [{\"mean\": [-0.6, 0.8], \"std\": 0.4}]}]}";

typedef struct batch {
    float x[N * SIZE];
    vn_level level[N];
    vn_condition condition[N];
} batch;

/* Rows 0 to 5 at one level, the others each at one of their own; conditions in turn, null too. */
static batch rows_on(const vn_path *path) {
    batch b;
    vn_random_normal(b.x, N * SIZE, 3, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        b.level[i] = vn_path_level(path, i < 6 ? 0.5 : 0.05 * i);
        b.condition[i] = i % 3 == 2 ? VN_CONDITION_NULL : i % 3;
    }
    return b;
}

static void ask(const vn_denoiser *d, const batch *b, int first, int n, const vn_condition *as,
                float *raw) {
    vn_err err = {0};
    const vn_query q = {.n = n,
                        .x = b->x + first * SIZE,
                        .level = b->level + first,
                        .condition = as ? as : b->condition + first};
    if (d->predict(d->self, &q, raw, &err)) fail_msg("%s", err.text);
}

/* null + gamma (conditional - null), whatever is predicted and however many rows go together. */
static void it_answers_with_what_guidance_makes(void **state) {
    (void)state;
    static const char *const predictions[] = {"x0", "eps", "v", "velocity"};
    for (size_t k = 0; k < VN_COUNT(predictions); k++) {
        bench truth = bench_open(world_text, "rectified", predictions[k]);
        const batch b = rows_on(truth.path);
        vn_denoiser d = {0};
        vn_err err = {0};
        float got[N * SIZE], alone[N * SIZE], given[N * SIZE], null[N * SIZE];
        vn_condition none[N];
        for (int i = 0; i < N; i++) none[i] = VN_CONDITION_NULL;
        const vn_guidance_options o = {
            .guide = "cfg", .gamma = 2.5, .denoiser = &truth.denoiser, .capacity = CAPACITY};
        if (vn_guided_denoiser(&o, &d, &err)) fail_msg("%s", err.text);
        ask(&d, &b, 0, N, NULL, got);
        for (int i = 0; i < N; i++) ask(&d, &b, i, 1, NULL, alone + i * SIZE);
        ask(&truth.denoiser, &b, 0, N, NULL, given);
        ask(&truth.denoiser, &b, 0, N, none, null);
        assert_memory_equal(got, alone, sizeof got);
        for (int i = 0; i < N * SIZE; i++) {
            const double want = (double)null[i] + 2.5 * ((double)given[i] - (double)null[i]);
            expect_below(predictions[k], fabs((double)got[i] - want), 1e-5 * (1 + fabs(want)));
        }
        vn_guided_denoiser_close(&d);
        bench_close(&truth);
    }
}

/* An interval acts by the level of each row. */
static void each_row_is_guided_at_its_own_level(void **state) {
    (void)state;
    bench truth = bench_open(world_text, "edm", "x0");
    const batch b = rows_on(truth.path);
    vn_denoiser d = {0};
    vn_err err = {0};
    float got[N * SIZE], given[N * SIZE];
    const vn_guidance_options o = {.guide = "cfg,interval:lo=0.01,hi=35",
                                   .gamma = 3,
                                   .denoiser = &truth.denoiser,
                                   .capacity = CAPACITY};
    if (vn_guided_denoiser(&o, &d, &err)) fail_msg("%s", err.text);
    ask(&d, &b, 0, N, NULL, got);
    ask(&truth.denoiser, &b, 0, N, NULL, given);
    int guided = 0, plain = 0;
    for (int i = 0; i < N; i++) {
        if (b.condition[i] == VN_CONDITION_NULL) continue;
        const bool inside = b.level[i].sigma < 35,
                   same = fabsf(got[i * SIZE] - given[i * SIZE]) < 1e-5f;
        if (inside)
            guided += !same;
        else
            plain += same, assert_true(same);
    }
    assert_true(guided > 0 && plain > 0);
    vn_guided_denoiser_close(&d);
    bench_close(&truth);
}

static void guides_that_need_steps_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *guide, *word;
    } bad[] = {
        {"fk", "select among samples"},
        {"cfg-plus-plus", "a denoiser does not"},
        {"cgf", "cfg"},
    };
    bench truth = bench_open(world_text, "rectified", "x0");
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_denoiser d = {0};
        vn_err err = {0};
        const vn_guidance_options o = {
            .guide = bad[i].guide, .gamma = 2, .denoiser = &truth.denoiser, .capacity = 1};
        assert_int_equal(vn_guided_denoiser(&o, &d, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%s: %s", bad[i].guide, err.text);
        assert_null(d.self);
    }
    bench_close(&truth);
}

static void it_opens_or_leaves_nothing(void **state) {
    (void)state;
    bench truth = bench_open(world_text, "rectified", "x0");
    const vn_guidance_options o = {.gamma = 2, .denoiser = &truth.denoiser, .capacity = CAPACITY};
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_denoiser d = {0};
        vn_err err;
        alloc_hit(&t, vn_guided_denoiser(&o, &d, &err));
        vn_guided_denoiser_close(&d);
    }
    bench_close(&truth);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_with_what_guidance_makes),
        cmocka_unit_test(each_row_is_guided_at_its_own_level),
        cmocka_unit_test(guides_that_need_steps_are_refused),
        cmocka_unit_test(it_opens_or_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
