/* test_posthoc.c - averages of widths that were not tracked, made of snapshots of two that were,
 * against the same averages tracked along the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "support/bound.h"
#include "train/train.h"

enum { STEPS = 4000, MOST = 64 };

static void a_width_is_the_deviation_of_the_function(void **state) {
    (void)state;
    expect_below("gamma of 0.1", fabs(vn_ema_gamma(0.1) - VN_EMA_USUAL), 0.01);
    expect_below("gamma of 0.05", fabs(vn_ema_gamma(0.05) - VN_EMA_NARROW), 0.01);
    for (double width = 0.01; width < 0.28; width += 0.03) {
        const double gamma = vn_ema_gamma(width);
        enum { N = 200000 };
        double mean = 0, square = 0, all = 0;
        for (int i = 0; i < N; i++) {
            const double s = (i + 0.5) / N, p = pow(s, gamma);
            all += p;
            mean += p * s;
            square += p * s * s;
        }
        mean /= all;
        expect_small(fabs(sqrt(square / all - mean * mean) - width), 1e-6);
    }
}

/* A number that drifts and jitters, as weights do. */
static double weight_at(int step) {
    float jitter;
    vn_random_normal(&jitter, 1, 9, VN_STREAM_TEST, 0, (uint64_t)step);
    return log(1 + step / 50.0) + sin(step / 300.0) + 0.1 * (double)jitter;
}

/* Snapshots at every `every` steps and at the last; the root mean square of what was missed of
 * several widths. */
static void snapshots_make_other_widths(void **state) {
    (void)state;
    static const struct {
        double width, left, off;
    } cases[] = {{0.03, 0.1, 0.01}, {0.05, 1e-5, 1e-6}, {0.07, 0.01, 5e-4},
                 {0.1, 1e-5, 1e-6}, {0.15, 0.02, 1e-3}, {0.25, 0.2, 0.05}};
    static vn_ema_kept kept[2 * MOST];
    static double value[2 * MOST], share[2 * MOST];
    double usual = 0, narrow = 0, direct[VN_COUNT(cases)] = {0};
    size_t n = 0;
    for (int step = 1; step <= STEPS; step++) {
        const double w = weight_at(step), a = vn_ema_decay(VN_EMA_USUAL, step),
                     b = vn_ema_decay(VN_EMA_NARROW, step);
        usual = a * usual + (1 - a) * w;
        narrow = b * narrow + (1 - b) * w;
        for (size_t i = 0; i < VN_COUNT(cases); i++) {
            const double c = vn_ema_decay(vn_ema_gamma(cases[i].width), step);
            direct[i] = c * direct[i] + (1 - c) * w;
        }
        if (step % 250 && step != STEPS) continue;
        kept[n] = (vn_ema_kept){step, VN_EMA_USUAL};
        value[n++] = usual;
        kept[n] = (vn_ema_kept){step, VN_EMA_NARROW};
        value[n++] = narrow;
    }
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        double left, sum = 0, all = 0;
        const vn_ema_kept wanted = {STEPS, vn_ema_gamma(cases[i].width)};
        assert_int_equal(vn_ema_fit(n, kept, wanted, share, &left, &err), VN_OK);
        for (size_t k = 0; k < n; k++) sum += share[k] * value[k], all += share[k];
        expect_small(fabs(all - 1), 1e-9);
        expect_below_as(left, cases[i].left, "left of the function of width %g", cases[i].width);
        expect_below_as(fabs(sum - direct[i]), cases[i].off, "the average of width %g",
                        cases[i].width);
    }
}

/* What is kept already is taken as it is. */
static void a_kept_width_is_itself(void **state) {
    (void)state;
    const vn_ema_kept kept[] = {
        {10, VN_EMA_USUAL}, {10, VN_EMA_NARROW}, {20, VN_EMA_USUAL}, {20, VN_EMA_NARROW}};
    vn_err err = {0};
    double share[4], left;
    assert_int_equal(vn_ema_fit(4, kept, kept[2], share, &left, &err), VN_OK);
    for (int i = 0; i < 4; i++) expect_small(fabs(share[i] - (i == 2)), 1e-6);
    /* twice the same is refused or harmless, and never a number that is none */
    const vn_ema_kept same[] = {kept[0], kept[0]};
    if (vn_ema_fit(2, same, kept[0], share, &left, &err) == VN_OK)
        expect_small(fabs(share[0] + share[1] - 1), 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_width_is_the_deviation_of_the_function),
        cmocka_unit_test(snapshots_make_other_widths),
        cmocka_unit_test(a_kept_width_is_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
