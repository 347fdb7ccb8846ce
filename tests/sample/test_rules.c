/* Whole walks under the rules that combine predictions. Where all distributions are Gaussians of
 * one deviation s, guidance that is linear moves the mean alone, and the ODE from noise to data has
 * the solution
 *
 *     x = m + s (x_T - alpha_T m) / sqrt(alpha_T^2 s^2 + sigma_T^2)
 *
 * with m the mean that the rule combines. Elsewhere: every rule with samplers of each kind on paths
 * of each kind stays finite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "support_trajectory.h"
#include "support/bound.h"

#define N 4
#define S 0.6

/* What float32 leaves of numbers of size 1 after some steps. */
#define ROUNDED 1e-5

/* Means a = (1.2, -0.5), b = (0.3, 0.9), null (0, 0); of the weak model (0.4, 0.1) under a. */
static const char *const gaussians =
    "{\"classes\": [{\"components\": [{\"mean\": [1.2, -0.5], \"std\": 0.6}]},"
    " {\"components\": [{\"mean\": [0.3, 0.9], \"std\": 0.6}]}],"
    " \"unconditional\": [{\"mean\": [0, 0], \"std\": 0.6}],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0.4, 0.1], \"std\": 0.6}]},"
    "   {\"components\": [{\"mean\": [0, 0], \"std\": 0.6}]}]}}";
static const double A[2] = {1.2, -0.5}, B[2] = {0.3, 0.9}, WEAK[2] = {0.4, 0.1};

static float noise[N * 2];

static int draw_noise(void **state) {
    (void)state;
    vn_random_normal(noise, N * 2, 5, VN_STREAM_TEST, 0, 0);
    return 0;
}

/* Samples of class a. */
static void trajectory(const bench *b, const char *sampler, const char *guide, double gamma,
                       int steps, float x[N * 2]) {
    vn_err err;
    const vn_trajectory_options o = {
        .sampler = sampler, .grid = "uniform", .steps = steps, .guide = guide, .guidance = gamma};
    if (bench_run(b, o, N, 0, 0, noise, x, NULL, &err))
        fail_msg("%s, %s: %s", guide, sampler, err.text);
}

/* Largest distance from the solution with mean m. */
static double miss(const bench *b, const float *x, const double m[2]) {
    const vn_level l = vn_path_level(b->path, 1);
    const double root = sqrt(l.alpha * l.alpha * S * S + l.sigma * l.sigma);
    double worst = 0;
    for (int i = 0; i < N * 2; i++) {
        const double want = m[i % 2] + S * (l.sigma * (double)noise[i] - l.alpha * m[i % 2]) / root;
        const double e = fabs((double)x[i] - want);
        worst = e <= worst ? worst : e;
    }
    return worst;
}

static void linear_rules_move_the_mean(void **state) {
    (void)state;
    /* The error is Heun's own, the same for all rules: it goes with the square of the step, and
     * with half as many steps is four times as large (on vp, whose levels end far from 0, 2.6). */
    static const char *const paths[] = {"rectified", "vp", "trigonometric"};
    double along = 0, length = 0;
    for (int j = 0; j < 2; j++) {
        along += B[j] * A[j];
        length += A[j] * A[j];
    }
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(gaussians, paths[p], NULL);
        for (int rule = 0; rule < 5; rule++) {
            static const char *const lists[] = {"cfg", "negative:class=1",
                                                "cfg,compose:class=1,weight=-0.7", "autoguidance",
                                                "cfg,perp-neg:class=1,weight=0.5"};
            const double g = 2.5;
            double m[2];
            float x[N * 2];
            for (int j = 0; j < 2; j++) {
                const double all[] = {g * A[j], B[j] + g * (A[j] - B[j]), g * A[j] - 0.7 * B[j],
                                      WEAK[j] + g * (A[j] - WEAK[j]),
                                      g * (A[j] - 0.5 * (B[j] - along / length * A[j]))};
                m[j] = all[rule];
            }
            trajectory(&b, "heun", lists[rule], g, 50, x);
            const double coarse = miss(&b, x, m);
            trajectory(&b, "heun", lists[rule], g, 100, x);
            const double e = miss(&b, x, m), bound = coarse;
            print_message("closed form: %s on %s: off by %.2g, of at most %.2g\n", lists[rule],
                          paths[p], e, bound);
            expect_below_as(e, fmin(bound, 5e-3), "%s on %s", lists[rule], paths[p]);
        }
        bench_close(&b);
    }
}

/* Its steps one by one, with D = m + alpha s^2/q (x - alpha m), q = alpha^2 s^2 + sigma^2, on the
 * rectified path. What x0 and eps differ by does not shrink with the step: CFG++ guides more the
 * more steps there are. */
static void cfg_plus_plus_steps_by_its_pair(void **state) {
    (void)state;
    enum { STEPS = 12 };
    const double lambda = 0.6;
    bench b = bench_open(gaussians, "rectified", NULL);
    float x[N * 2];
    double worst = 0;
    trajectory(&b, "euler", "cfg-plus-plus", lambda, STEPS, x);
    for (int i = 0; i < N * 2; i++) {
        double y = (double)noise[i];
        for (int k = 0; k < STEPS; k++) {
            const double sigma = 1 - (double)k / STEPS, to = 1 - (k + 1.0) / STEPS,
                         alpha = 1 - sigma;
            const double gain = alpha * S * S / (alpha * alpha * S * S + sigma * sigma);
            const double u0 = gain * y, c0 = A[i % 2] + gain * (y - alpha * A[i % 2]);
            y = (1 - to) * (u0 + lambda * (c0 - u0)) + to * (y - alpha * u0) / sigma;
        }
        worst = fmax(worst, fabs((double)x[i] - y));
    }
    expect_below("off by", worst, ROUNDED);
    bench_close(&b);
}

/* Looking one step ahead becomes looking here as steps become short: Rectified-CFG++ tends to
 * CFG. */
static void rectified_cfg_plus_plus_tends_to_cfg(void **state) {
    (void)state;
    bench b = bench_open(gaussians, "rectified", NULL);
    const double m[2] = {2.5 * A[0], 2.5 * A[1]};
    double error[2];
    for (int k = 0; k < 2; k++) {
        float x[N * 2];
        trajectory(&b, "euler", "rectified-cfg-plus-plus", 2.5, 200 << k, x);
        error[k] = miss(&b, x, m);
    }
    /* Euler is of order 1: 2, but for terms of the order of the step, a hundredth. */
    print_message("off by %.3g, then %.3g of at most 2e-2\n", error[0], error[1]);
    expect_below("2 less how much smaller the error is with half the step",
                 fabs(2 - error[0] / error[1]), 0.2);
    expect_small(error[1], 2e-2);
    bench_close(&b);
}

static void walks_stay_finite(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "vp", "edm", "ddpm:cosine"};
    static const char *const samplers[] = {"euler", "ddpm", "heun", "dpmpp-2m"};
    static const char *const lists[] = {"negative:class=1",
                                        "cfg,compose:class=1,weight=-0.3",
                                        "cfg,perp-neg:class=1",
                                        "icg",
                                        "tsg",
                                        "apg",
                                        "cfg-zero-star:zero=0.2",
                                        "rectified-cfg-plus-plus",
                                        "tcfg",
                                        "mambo-g",
                                        "cfg,rescale",
                                        "cfg,dynamic-threshold",
                                        "cfg,schedule:shape=beta",
                                        "apg,rescale,dynamic-threshold,schedule,interval"};
    int count = 0;
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(bench_world, paths[p], NULL);
        for (size_t k = 0; k < VN_COUNT(samplers) * VN_COUNT(lists); k++, count++) {
            const vn_trajectory_options o = {.sampler = samplers[k / VN_COUNT(lists)],
                                             .steps = 12,
                                             .guide = lists[k % VN_COUNT(lists)],
                                             .guidance = 4};
            float x[N * 2];
            vn_err err;
            if (bench_run(&b, o, N, 0, 0, noise, x, NULL, &err))
                fail_msg("%s, %s, %s: %s", o.guide, o.sampler, paths[p], err.text);
            for (int i = 0; i < N * 2; i++)
                if (!(fabsf(x[i]) < 1000)) /* 455: perp-neg, heun on ddpm:cosine */
                    fail_msg("%s, %s, %s: %g", o.guide, o.sampler, paths[p], (double)x[i]);
        }
        bench_close(&b);
    }
    assert_int_equal(count, 4 * 4 * 14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_rules_move_the_mean),
        cmocka_unit_test(cfg_plus_plus_steps_by_its_pair),
        cmocka_unit_test(rectified_cfg_plus_plus_tends_to_cfg),
        cmocka_unit_test(walks_stay_finite),
    };
    return cmocka_run_group_tests(tests, draw_noise, NULL);
}
