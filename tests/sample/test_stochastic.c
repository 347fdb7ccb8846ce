/* Samplers with noise and of few steps. That they move as the programs they come from is in
 * test_golden.c, noise and all, and that they do not depend on their batch in test_trajectory.c;
 * here: on every path they sample the data, from pure noise they are what their files say, and they
 * are one another where they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/sanitized.h"
#include "support_trajectory.h"
#include "support/bound.h"

#define D 2

static const char *const samplers[] = {
    "euler-a",
    "euler-a:eta=0.4,noise=1.01",
    "dpm2",
    "dpm2-a",
    "dpm2-a:eta=0.5",
    "dpmpp-2s-a",
    "dpmpp-2s-a:eta=0",
    "dpmpp-sde",
    "dpmpp-sde:eta=0.6,r=1",
    "dpmpp-2m-sde",
    "dpmpp-2m-sde:solver=heun,eta=0.5",
    "dpmpp-3m-sde",
    "dpmpp-3m-sde:eta=0",
    "sa-solver",
    "sa-solver:predictor_order=4,corrector_order=4,tau=0",
    "sa-solver:predictor_order=1,corrector_order=0,tau=0.5,tmin=0.05,tmax=1",
    "er-sde",
    "er-sde:order=2,scaling=sde,noise=1.01",
    "er-sde:scaling=ode",
    "restart",
    "consistency",
    "lcm",
    "scm",
    "tcd",
    "tcd:eta=1",
};
static const char *const paths[] = {"rectified", "trigonometric",      "edm",        "vp", "ve",
                                    "ddpm",      "ddpm:scaled-linear", "ddpm:cosine"};

static void must(vn_status status, const vn_err *err) {
    if (status) fail_msg("%s", err->text);
}

static vn_trajectory_options options(const char *sampler, const char *path, int steps,
                                     uint64_t seed) {
    return (vn_trajectory_options){.sampler = sampler,
                                   .grid = strcmp(path, "ve") == 0 ? "karras" : NULL,
                                   .guidance = 1,
                                   .steps = steps,
                                   .seed = seed};
}

/* ---- everywhere ------------------------------------------------------------------------------ */

/* Distance from x to the nearest mean of class a or b, in standard deviations of about 1/3. */
static double strangeness(const float *x) {
    static const double mean[][D] = {{-1, 0.4}, {0.5, -0.8}, {1.1, 0.9}};
    double best = (double)INFINITY;
    for (size_t k = 0; k < VN_COUNT(mean); k++)
        best = fmin(best, hypot((double)x[0] - mean[k][0], (double)x[1] - mean[k][1]) * 3);
    return best;
}

/* On every path and prediction: near the data, and finite in steps however few. Levels crowd at low
 * noise: evenly in t sa-solver's last steps would be too long for it. */
static void rows_walk_everywhere(void **state) {
    (void)state;
    enum { N = 3 };
    static const int steps[] = {60, 5, 2, 1};
    float x[N * D];
    double worst = 0;
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t r = 0; r < vn_prediction_row_count; r++) {
            bench b = bench_open(bench_world, paths[p], vn_prediction_rows[r].row.name);
            for (size_t k = 0; k < VN_COUNT(samplers) * VN_COUNT(steps); k++) {
                const char *sampler = samplers[k / VN_COUNT(steps)];
                const int count = steps[k % VN_COUNT(steps)], label = (int)(k % 3) - 1;
                /* no level to go back from */
                if (strcmp(sampler, "restart") == 0 && count < 60) continue;
                vn_err err = {0};
                vn_trajectory_options o = options(sampler, paths[p], count, k);
                o.grid = count == 60 ? "karras" : o.grid;
                must(bench_run(&b, o, N, 0, label, NULL, x, NULL, &err), &err);
                for (int i = 0; i < N && count == 60; i++) {
                    worst = fmax(worst, strangeness(x + i * D));
                    if (!(strangeness(x + i * D) < 8))
                        fail_msg("%s, %s, %s: a sample %g deviations away", sampler, paths[p],
                                 vn_prediction_rows[r].row.name, strangeness(x + i * D));
                }
            }
            bench_close(&b);
        }
    print_message("the strangest sample: %.1f deviations\n", worst);
}

/* Another seed: other samples from the same noise, where the sampler makes noise, and the same ones
 * where it makes none. */
static void the_seed_is_that_of_the_noise(void **state) {
    (void)state;
    for (size_t s = 0; s < VN_COUNT(samplers); s++) {
        static const float noise[D] = {0.7f, -0.4f};
        float one[D], other[D];
        bench b = bench_open(bench_world, "vp", NULL);
        vn_err err = {0};
        const bool none = strstr(samplers[s], "eta=0") || strstr(samplers[s], "tau=0") ||
                          strstr(samplers[s], "ode") || strcmp(samplers[s], "dpm2") == 0;
        const bool some = strstr(samplers[s], "eta=0.") || strstr(samplers[s], "tau=0.");
        must(bench_run(&b, options(samplers[s], "vp", 12, 42), 1, 100, 1, noise, one, NULL, &err),
             &err);
        must(bench_run(&b, options(samplers[s], "vp", 12, 43), 1, 100, 1, noise, other, NULL, &err),
             &err);
        if ((memcmp(one, other, sizeof one) == 0) != (none && !some))
            fail_msg("%s: with another seed %g and %g", samplers[s], (double)one[0],
                     (double)other[0]);
        bench_close(&b);
    }
}

/* At alpha = 0 x says nothing of the data. Rows that follow the SDE forget it; the others' samples
 * still depend on it. */
static void pure_noise_is_forgotten(void **state) {
    (void)state;
    static const struct {
        const char *sampler;
        bool forgets;
    } rows[] = {{"euler-a", true},
                {"dpm2-a", true},
                {"dpmpp-2s-a", true},
                {"dpmpp-sde", true},
                {"dpmpp-2m-sde", true},
                {"dpmpp-3m-sde", true},
                {"sa-solver", true},
                {"er-sde", true},
                {"er-sde:scaling=sde", true},
                {"consistency", true},
                {"lcm", true},
                {"scm", true},
                {"tcd:eta=1", true},
                {"tcd", false},
                {"euler-a:eta=0.9", false},
                {"dpm2-a:eta=0.9", false},
                {"dpm2", false},
                {"er-sde:scaling=ode", false},
                {"dpmpp-2m-sde:eta=0", false},
                {"sa-solver:tau=0", false},
                {"restart", false}};
    static const float noise[2][D] = {{1, -0.5f}, {-2, 0.25f}};
    for (size_t i = 0; i < VN_COUNT(rows); i++)
        for (size_t p = 0; p < 2; p++) { /* the paths that begin at alpha = 0 */
            bench b = bench_open(bench_world, paths[p], NULL);
            float x[2][D];
            vn_err err = {0};
            for (int k = 0; k < 2; k++)
                must(bench_run(&b, options(rows[i].sampler, paths[p], 20, 3), 1, 0, 0, noise[k],
                               x[k], NULL, &err),
                     &err);
            if ((memcmp(x[0], x[1], sizeof x[0]) == 0) != rows[i].forgets)
                fail_msg("%s on %s: %g and %g", rows[i].sampler, paths[p], (double)x[0][0],
                         (double)x[1][0]);
            bench_close(&b);
        }
}

/* ---- one another ----------------------------------------------------------------------------- */

/* Rows that are one rule there. With noise: the draws are the same too. They differ by the order of
 * float operations: a step rounds some times numbers of size 1 (6e-8 each), and the sum of up to 20
 * steps' that happen to add is 20 times that. Measured: 6e-7. */
#define SAME_BOUND 2e-6
static void rows_are_one_another(void **state) {
    (void)state;
    enum { N = 6 };
    static const struct {
        const char *one, *other, *grid;
        int steps;
    } same[] = {
        {"euler-a", "ddim:eta=1", "karras", 12},
        {"euler-a:eta=0.3", "ddim:eta=0.3", "karras", 12},
        {"euler-a:eta=0", "euler", "karras", 12},
        {"tcd:eta=0", "ddim", "karras", 12},
        {"dpmpp-2m-sde:eta=0", "dpmpp-2m", "karras", 20},
        {"dpmpp-2m-sde", "euler-a", "karras", 1},
        {"dpm2-a:eta=0", "dpm2", "karras", 12},
        {"er-sde:order=1,scaling=sde", "euler-a", "karras", 12},
        {"er-sde:order=1,scaling=ode", "euler", "karras", 12},
        {"sa-solver:predictor_order=1,corrector_order=0", "euler-a", "karras", 12},
        {"sa-solver:predictor_order=1,corrector_order=0,tau=0", "euler", "karras", 12},
        {"sa-solver:tmax=1e-9", "sa-solver:tau=0", "karras", 12},
        {"scm", "lcm", "karras", 6},
        {"consistency:sigma_min=0", "lcm", "karras", 6},
        {"tcd:eta=1", "lcm", "karras", 6},
    };
    float one[N * D], other[N * D];
    double worst = 0;
    for (size_t i = 0; i < VN_COUNT(same); i++)
        for (size_t p = 0; p < 5; p++) { /* the continuous paths */
            bench b = bench_open(bench_world, paths[p], "v");
            vn_err err = {0};
            vn_trajectory_options o = options(same[i].one, paths[p], same[i].steps, 8);
            o.grid = same[i].grid;
            o.guidance = 2;
            must(bench_run(&b, o, N, 0, 1, NULL, one, NULL, &err), &err);
            o.sampler = same[i].other;
            must(bench_run(&b, o, N, 0, 1, NULL, other, NULL, &err), &err);
            /* whose t = 0 is not clean */
            if (strstr(same[i].one, "tcd:eta=1") && strcmp(paths[p], "ve") == 0) {
                bench_close(&b);
                continue;
            }
            for (int k = 0; k < N * D; k++) {
                const double error = fabs((double)one[k] - (double)other[k]);
                worst = fmax(worst, error);
                expect_below_as(error, SAME_BOUND, "%s, %s", same[i].one, same[i].other);
            }
            bench_close(&b);
        }
    print_message("at most %.1e apart, of at most %.0e\n", worst, SAME_BOUND);
}

/* ---- moments --------------------------------------------------------------------------------- */

#define MEAN 0.8
#define STD  0.5
static const char gaussian[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0.8], \"std\": 0.5}]}]}";

static void measure(const char *sampler, const char *path, const char *grid, int steps, int n,
                    double *mean, double *variance) {
    bench b = bench_open(gaussian, path, "v");
    vn_err err = {0};
    float *x = malloc((size_t)n * sizeof *x);
    vn_trajectory_options o = options(sampler, path, steps, 22);
    o.grid = grid;
    must(bench_run(&b, o, n, 0, 0, NULL, x, NULL, &err), &err);
    *mean = *variance = 0;
    for (int k = 0; k < n; k++) *mean += (double)x[k] / n;
    for (int k = 0; k < n; k++) *variance += pow((double)x[k] - *mean, 2) / (n - 1);
    free(x);
    bench_close(&b);
}

/* The data's mean and variance, whatever the noise. Finite steps take from the variance or add to
 * it. Of a method of order 1 or more that is halved, at least, with the step, and so at most what
 * the variance changes by when steps are doubled: that is the bound, with 4.5 standard errors; the
 * mean is within 6. A noise of the wrong size is the same with any step. */
static void noisy_samplers_keep_the_moments(void **state) {
    (void)state;
#if SANITIZED
    enum { N = 1000 };
#else
    enum { N = 9000 };
#endif
    static const struct {
        const char *sampler, *path, *grid;
        int steps;
    } rows[] = {
        {"ddpm", "ddpm", NULL, 120},
        {"ddpm:variance=large", "ddpm", NULL, 120},
        {"ddim:eta=0.7", "vp", NULL, 120},
        {"ddpm", "rectified", NULL, 120},
        {"ddim:eta=1", "ve", "karras", 120},
        {"euler:churn=40", "edm", NULL, 200},
        {"heun:churn=40", "edm", NULL, 80},
        {"heun:churn=20", "rectified", NULL, 80},
        {"euler-a", "vp", NULL, 120},
        {"euler-a:eta=0.5", "rectified", NULL, 80},
        {"dpm2-a", "edm", NULL, 50},
        {"dpm2-a", "rectified", NULL, 50},
        {"dpmpp-2s-a", "vp", "karras", 50},
        {"dpmpp-sde", "edm", NULL, 50},
        {"dpmpp-sde:eta=0.5", "rectified", NULL, 50},
        {"dpmpp-2m-sde", "vp", "karras", 50},
        {"dpmpp-2m-sde:solver=heun", "rectified", NULL, 80},
        {"dpmpp-3m-sde", "edm", NULL, 50},
        {"sa-solver", "vp", "karras", 50},
        {"sa-solver:predictor_order=3,corrector_order=3", "rectified", NULL, 80},
        {"er-sde", "edm", NULL, 50},
        {"er-sde:scaling=sde", "rectified", NULL, 80},
        {"restart", "edm", NULL, 50},
        {"restart:tmin=0.5,tmax=3,rounds=4,steps=8", "rectified", NULL, 50},
    };
    const double error = 6 * STD / sqrt(N), relative = 4.5 * sqrt(2.0 / N);
    for (size_t i = 0; i < VN_COUNT(rows); i++) {
        double mean, coarse, fine;
        measure(rows[i].sampler, rows[i].path, rows[i].grid, rows[i].steps, N, &mean, &coarse);
        measure(rows[i].sampler, rows[i].path, rows[i].grid, 2 * rows[i].steps, N, &mean, &fine);
        const double excess = fine / (STD * STD) - 1,
                     bound = relative + fabs(coarse - fine) / (STD * STD);
        print_message("%-46s on %-9s mean %+.4f off, of at most %.4f; variance %+.2f%%, of at most "
                      "%.2f%%\n",
                      rows[i].sampler, rows[i].path, mean - MEAN, error, 100 * excess, 100 * bound);
        expect_below_as(fabs(mean - MEAN), error, "%s on %s, mean", rows[i].sampler, rows[i].path);
        expect_below_as(fabs(excess), bound, "%s on %s, variance", rows[i].sampler, rows[i].path);
    }
}

/* What a row of few steps keeps of x, relative to DDIM: of eps `down`, and new noise `up`. */
typedef struct rule {
    const char *sampler, *path;
    void (*target)(const vn_path *p, const vn_level *to, double *down, double *up);
} rule;

static void consistency_landing(const vn_path *p, const vn_level *to, double *down, double *up) {
    (void)p;
    *down = 0;
    *up = 1.01 * sqrt(fmax(to->sigma * to->sigma - 0.01 * to->alpha * to->alpha,
                           0)); /* sigma_min 0.1, noise 1.01 */
}

static void lcm_landing(const vn_path *p, const vn_level *to, double *down, double *up) {
    (void)p;
    *down = 0;
    *up = to->sigma;
}

static void tcd_landing(const vn_path *p, const vn_level *to, double *down, double *up) {
    const vn_level below = vn_path_level(p, 0.7 * to->t);
    *down = to->sigma > 0 ? to->alpha / below.alpha * below.sigma : 0;
    *up = sqrt(to->sigma * to->sigma - *down * *down);
}

/* For Gaussian data every step is x' = a x + b + up z, so mean and variance are known at every
 * level. */
static void predict_moments(const rule *r, int steps, double *mean, double *variance) {
    bench b = bench_open(gaussian, r->path, "v");
    vn_trajectory *w;
    vn_err err = {0};
    vn_trajectory_options o = options(r->sampler, r->path, steps, 0);
    o.denoiser = &b.denoiser;
    o.capacity = 1;
    must(vn_trajectory_open(&o, &w, &err), &err);
    const vn_level *l = vn_trajectory_levels(w);
    *mean = 0;
    *variance = l[0].sigma * l[0].sigma;
    for (int i = 0; i < steps; i++) {
        const double alpha = l[i].alpha, sigma = l[i].sigma,
                     total = pow(alpha * STD, 2) + sigma * sigma;
        const double slope = alpha * STD * STD / total; /* x0 = MEAN + slope (x - alpha MEAN) */
        double down, up;
        r->target(b.path, &l[i + 1], &down, &up);
        const double a = l[i + 1].alpha * slope + down * (1 - alpha * slope) / sigma;
        *mean = l[i + 1].alpha * MEAN + a * (*mean - alpha * MEAN);
        *variance = a * a * *variance + up * up;
    }
    vn_trajectory_close(&w);
    bench_close(&b);
}

/* Means and variances of few steps with a denoiser in a consistency model's place, which no one
 * would call right but which are known: within 4.5 standard errors. */
static void few_steps_have_the_moments_of_their_rule(void **state) {
    (void)state;
    enum { N = 12000 };
    static const rule rules[] = {
        {"consistency:sigma_min=0.1,noise=1.01", "edm", consistency_landing},
        {"consistency:sigma_min=0.1,noise=1.01", "rectified", consistency_landing},
        {"lcm", "vp", lcm_landing},
        {"lcm", "rectified", lcm_landing},
        {"scm", "trigonometric", lcm_landing},
        {"tcd", "vp", tcd_landing},
        {"tcd", "rectified", tcd_landing},
    };
    double worst = 0;
    for (size_t i = 0; i < VN_COUNT(rules); i++)
        for (int steps = 1; steps <= 8; steps *= 2) {
            double mean, variance, want, spread;
            predict_moments(&rules[i], steps, &want, &spread);
            measure(rules[i].sampler, rules[i].path, NULL, steps, N, &mean, &variance);
            const double mean_bound = 4.5 * sqrt(spread / N) + 1e-5,
                         bound = 4.5 * spread * sqrt(2.0 / N) + 1e-6;
            worst =
                fmax(worst, fmax(fabs(mean - want) / mean_bound, fabs(variance - spread) / bound));
            expect_below_as(fabs(mean - want), mean_bound, "%s on %s, mean", rules[i].sampler,
                            rules[i].path);
            expect_below_as(fabs(variance - spread), bound, "%s on %s, variance", rules[i].sampler,
                            rules[i].path);
        }
    print_message("off by %.2f of the bound\n", worst);
}

/* ---- restart --------------------------------------------------------------------------------- */

static void restart_goes_back_and_forth(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "edm", NULL);
    vn_trajectory *plain, *w;
    vn_err err = {0};
    vn_trajectory_options o = options("heun", "edm", 18, 0);
    o.denoiser = &b.denoiser;
    o.capacity = 1;
    must(vn_trajectory_open(&o, &plain, &err), &err);
    o.sampler = "restart:tmin=0.06,tmax=0.3,steps=3,rounds=2";
    must(vn_trajectory_open(&o, &w, &err), &err);
    assert_int_equal(vn_trajectory_steps(w), 18 + 2 * (3 + 1));
    const vn_level *main_levels = vn_trajectory_levels(plain), *l = vn_trajectory_levels(w);
    int at = 0;
    for (int i = 0; i <= 18; i++)
        if (fabs(main_levels[i].sigma - 0.06) < fabs(main_levels[at].sigma - 0.06)) at = i;
    for (int i = 0; i <= at; i++) assert_true(l[i].sigma == main_levels[i].sigma);
    for (int round = 0; round < 2; round++) {
        const vn_level *detour = &l[at + 1 + 4 * round];
        expect_small(fabs(detour[0].sigma - 0.3), 1e-12);
        assert_true(detour[1].sigma < detour[0].sigma && detour[2].sigma < detour[1].sigma);
        assert_true(detour[3].sigma == main_levels[at].sigma);
    }
    for (int i = at + 1; i <= 18; i++) assert_true(l[i + 8].sigma == main_levels[i].sigma);
    float x[D];
    const int32_t label = 0;
    must(vn_trajectory_run(w, &(vn_trajectory_batch){.n = 1, .condition = &label, .x = x}, NULL, 0,
                           26, &err),
         &err);
    assert_int_equal(vn_trajectory_passes(w),
                     (18 + 2 * 3) * 2 - 1); /* two a step, one in the last */
    vn_trajectory_close(&w);
    vn_trajectory_close(&plain);
    bench_close(&b);
}

/* ---- what stops them ------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *sampler, *path, *word;
        int steps;
    } bad[] = {
        {"euler-a:eta=0,noise=1.1", "vp", "noise has no effect", 9},
        {"dpmpp-2m-sde:noise=1,eta=0", "vp", "noise has no effect", 9},
        {"dpmpp-sde:eta=1.5", "vp", "eta", 9},
        {"dpmpp-2m-sde:solver=euler", "vp", "midpoint", 9},
        {"dpm2:eta=1", "vp", "eta", 9},
        {"sa-solver:tau=0,tmax=1", "vp", "no effect", 9},
        {"sa-solver:tmin=2,tmax=1", "vp", "tmin", 9},
        {"sa-solver:predictor_order=5", "vp", "predictor_order", 9},
        {"er-sde:scaling=ode,noise=1", "vp", "no effect", 9},
        {"er-sde:order=4", "vp", "order", 9},
        {"restart:tmin=0.3,tmax=0.3", "edm", "tmin", 9},
        {"restart:tmax=100", "edm", "largest sigma/alpha", 9},
        {"restart", "rectified", "no level", 3},
        {"restart:rounds=100,steps=64", "edm", "more than", 99000},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        bench b = bench_open(bench_world, bad[i].path, NULL);
        float x[D];
        vn_err err = {0};
        const vn_trajectory_options o = options(bad[i].sampler, bad[i].path, bad[i].steps, 0);
        const vn_status status = bench_run(&b, o, 1, 0, 0, NULL, x, NULL, &err);
        if (status != VN_BAD_ARGUMENT || !strstr(err.text, bad[i].word))
            fail_msg("%s: %s", bad[i].sampler, err.text);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_walk_everywhere),
        cmocka_unit_test(the_seed_is_that_of_the_noise),
        cmocka_unit_test(pure_noise_is_forgotten),
        cmocka_unit_test(rows_are_one_another),
        cmocka_unit_test(noisy_samplers_keep_the_moments),
        cmocka_unit_test(few_steps_have_the_moments_of_their_rule),
        cmocka_unit_test(restart_goes_back_and_forth),
        cmocka_unit_test(nonsense_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
