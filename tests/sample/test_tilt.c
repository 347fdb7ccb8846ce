/* What guidance samples. With p(x|y) = N(0,1) and p(x) = N(0,2) everything is Gaussian and known:
 * the variance that CFG gives is 2^(1-gamma) along the ODE and (2 - 2^(2-2 gamma))/(2 gamma - 1)
 * along the SDE, and neither is that of p(x|y)^gamma p(x)^(1-gamma), 2/(gamma + 1), which fkc
 * reaches. Also fk against a Gaussian posterior, and gibbs-like against its own closed form.
 *
 * The mean of n samples of variance v has a standard error of sqrt(v/n), their variance one of
 * v sqrt(2/n): 1% of 20,000. Where samples carry weights some are copies, and there are fewer:
 * n/2 with fkc, n/3 with fk, which resamples more often, as repeated seeds spread. Bounds are 4.5
 * standard errors, at which one seed in a hundred thousand fails, and finite steps add what stands
 * there. docs/what-guidance-samples.md has 1000 steps and several seeds. */
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

#if SANITIZED
enum { MANY = 2000 };
#else
enum { MANY = 20000 };
#endif

static const char tilt[] = "{\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}],"
                           " \"unconditional\": [{\"mean\": [0], \"cov\": [[2]]}]}";

/* 4.5 standard errors of the variance of MANY samples of which one in `share` counts, relative. */
static double spread(double share) {
    return 4.5 * sqrt(2 * share / MANY);
}

static double ode(double gamma) {
    return pow(2, 1 - gamma);
}

static double sde(double gamma) {
    return (2 - pow(2, 2 - 2 * gamma)) / (2 * gamma - 1);
}

static double tilted(double gamma) {
    return 2 / (gamma + 1);
}

static void run(const bench *b, const vn_trajectory_options *o, int64_t n, int32_t label,
                const float *noise, float *x) {
    vn_err err = {0};
    if (bench_run(b, *o, n, 0, label, noise, x, NULL, &err))
        fail_msg("%s, %s: %s", o->guide, o->sampler, err.text);
}

typedef struct moments {
    double mean, variance;
} moments;

static moments moments_of(const float *x, int n) {
    moments m = {0, 0};
    for (int i = 0; i < n; i++) m.mean += (double)x[i] / n;
    for (int i = 0; i < n; i++) m.variance += ((double)x[i] - m.mean) * ((double)x[i] - m.mean) / n;
    return m;
}

static void near(const char *what, double gamma, double got, double want, double tolerance) {
    const double error = got / want - 1;
    print_message("tilt: %s, gamma %g: %.4f, exact %.4f, %+.2f%% of at most %.2f%%\n", what, gamma,
                  got, want, 100 * error, 100 * tolerance);
    expect_below_as(fabs(error), tolerance, "%s, gamma %g", what, gamma);
}

/* Everything is linear, so one sampling run from noise 1 tells the variance along the ODE.
 * Measured, 200 steps of heun: 0.27%. */
static void odes(void **state) {
    (void)state;
    static const char *const paths[] = {"edm", "ve", "vp", "rectified"};
    static const double gammas[] = {1.5, 2, 3, 5};
    const float noise = 1;
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(tilt, paths[p], NULL);
        for (size_t k = 0; k < VN_COUNT(gammas); k++) {
            float x;
            const vn_trajectory_options o = {
                .sampler = "heun", .grid = "karras", .steps = 200, .guidance = gammas[k]};
            run(&b, &o, 1, 0, &noise, &x);
            near(paths[p], gammas[k], (double)x * (double)x, ode(gammas[k]), 6e-3);
        }
        bench_close(&b);
    }
}

/* The variance of MANY samples on `path`. */
static double variance(const char *path, const char *guide, double gamma, int steps) {
    bench b = bench_open(tilt, path, NULL);
    float *x = malloc(MANY * sizeof *x);
    const vn_trajectory_options o = {.sampler = "euler-maruyama",
                                     .guide = guide,
                                     .grid = "exponential",
                                     .steps = steps,
                                     .guidance = gamma,
                                     .seed = 4};
    run(&b, &o, MANY, 0, NULL, x);
    const moments m = moments_of(x, MANY);
    free(x);
    bench_close(&b);
    return m.variance;
}

/* Measured: +0.9%, -1.4%. */
static void sdes(void **state) {
    (void)state;
    near("edm, SDE", 2, variance("edm", "cfg", 2, 150), sde(2), spread(1));
    near("vp, SDE", 5, variance("vp", "cfg", 5, 150), sde(5), spread(1));
}

/* Measured: +0.9%, -1.6%. */
static void correctors_reach_the_tilt(void **state) {
    (void)state;
    near("edm, fkc", 2, variance("edm", "fkc", 2, 150), tilted(2), spread(2));
    near("vp, fkc", 5, variance("vp", "fkc", 5, 150), tilted(5), spread(2));
}

/* gamma is 1 above sigma = 2; the tilt is that of 3. Measured: -2.1%. */
static void correctors_follow_an_interval(void **state) {
    (void)state;
    near("edm, fkc, interval", 3, variance("edm", "fkc,interval:lo=0,hi=2", 3, 100), tilted(3),
         spread(2));
}

/* Control: between N(1, 1/4) and N(0, 1/4) CFG does sample the tilt, N(gamma, 1/4). All weights are
 * equal, and fkc moves nothing. */
static void shifted_gaussians_need_no_correction(void **state) {
    (void)state;
    static const char world[] = "{\"classes\": [{\"components\": [{\"mean\": [1], \"std\": 0.5}]}],"
                                " \"unconditional\": [{\"mean\": [0], \"std\": 0.5}]}";
    enum { N = 500 };
    bench b = bench_open(world, "edm", NULL);
    float plain[N], corrected[N], x[2];
    const float noise[2] = {1, -1};
    vn_trajectory_options o = {
        .sampler = "euler-maruyama", .guide = "cfg", .steps = 50, .guidance = 3};
    run(&b, &o, N, 0, NULL, plain);
    o.guide = "fkc";
    run(&b, &o, N, 0, NULL, corrected);
    assert_memory_equal(plain, corrected, sizeof plain);
    o = (vn_trajectory_options){.sampler = "heun", .guide = "cfg", .steps = 200, .guidance = 3};
    run(&b, &o, 2, 0, noise, x);
    /* of the mean, as the sampling run begins around 0; measured 0.2% */
    const double lost = 0.5 / hypot(0.5, 80);
    near("control", 3, ((double)x[0] + (double)x[1]) / 2, 3 * (1 - lost), 2e-3);
    near("control", 3, ((double)x[0] - (double)x[1]) / 2, 0.5, 2e-3);
    bench_close(&b);
}

/* Populations in one batch do not touch: each is what it is alone. */
static void populations_are_apart(void **state) {
    (void)state;
    enum { N = 40 };
    bench b = bench_open(bench_world, "edm", NULL);
    float both[2 * N * 2], alone[N * 2];
    int32_t labels[2 * N];
    vn_err err = {0};
    vn_trajectory *w;
    const vn_trajectory_options o = {.denoiser = &b.denoiser,
                                     .sampler = "euler-maruyama",
                                     .guide = "fkc",
                                     .steps = 30,
                                     .guidance = 3,
                                     .capacity = 2 * N};
    assert_int_equal(vn_trajectory_open(&o, &w, &err), VN_OK);
    for (int i = 0; i < 2 * N; i++) labels[i] = i / N;
    const vn_trajectory_batch batch = {.n = 2 * N, .condition = labels, .x = both};
    assert_int_equal(vn_trajectory_run(w, &batch, NULL, 0, 30, &err), VN_OK);
    vn_trajectory_close(&w);
    for (uint64_t k = 0; k < 2; k++) {
        assert_int_equal(bench_run(&b, o, N, k * N, (int32_t)k, NULL, alone, NULL, &err), VN_OK);
        assert_memory_equal(alone, both + k * N * 2, sizeof alone);
    }
    bench_close(&b);
}

/* log r = -(x - 1)^2 / (2 tau^2) */
static vn_status quadratic(void *self, int64_t n, const float *x0, const int32_t *labels,
                           float *value, float *gradient, vn_err *err) {
    (void)labels, (void)gradient, (void)err;
    for (int64_t i = 0; i < n; i++)
        value[i] = -(x0[i] - 1) * (x0[i] - 1) / (2 * *(float *)self * *(float *)self);
    return VN_OK;
}

/* N(0,1) times r^2 with tau = 1 is N(2/3, 1/3). Measured, 60 steps: means within 0.011, of at most
 * 0.032, variances within 2.5%. */
static void steering_reaches_the_posterior(void **state) {
    (void)state;
    static const char *const guides[] = {"fk:lambda=2,ess=0.95",
                                         "fk:lambda=2,potential=max,every=20,ess=0.95",
                                         "fk:lambda=2,potential=sum,every=20,ess=0.95"};
    float tau = 1, *x = malloc(MANY * sizeof *x);
    const vn_reward reward = {quadratic, &tau};
    bench b = bench_open(tilt, "edm", NULL);
    for (size_t k = 0; k < VN_COUNT(guides); k++) {
        const vn_trajectory_options o = {.sampler = "euler-maruyama",
                                         .grid = "exponential",
                                         .guide = guides[k],
                                         .steps = 60,
                                         .guidance = 1,
                                         .seed = 4,
                                         .reward = &reward};
        run(&b, &o, MANY, 0, NULL, x);
        const moments m = moments_of(x, MANY);
        near(guides[k], 1, 1 + m.mean, 1 + 2.0 / 3, spread(3) / sqrt(6) / (1 + 2.0 / 3));
        near(guides[k], 1, m.variance, 1.0 / 3, spread(3));
    }
    free(x);
    bench_close(&b);
}

/* From s down the ODE is x0 = k x, k^2 = (1 + s^2)^-gamma (1 + s^2/2)^(gamma - 1); a round makes
 * the variance k^2 (V + s^2). */
static void gibbs_like_rounds(void **state) {
    (void)state;
    enum { LEVELS = 41, MIDDLE = 20 };
    const double gamma = 3, k2 = pow(2, -gamma) * pow(1.5, gamma - 1);
    double sigmas[LEVELS + 1] = {0}, want = 1;
    for (int i = 0; i < LEVELS; i++) sigmas[i] = pow(80, 1 - (double)i / MIDDLE);
    float *x = malloc(MANY * sizeof *x);
    bench b = bench_open(tilt, "edm", NULL);
    for (int rounds = 1; rounds <= 2; rounds++) {
        char guide[60];
        int64_t passes = 0;
        vn_err err = {0};
        snprintf(guide, sizeof guide, "gibbs-like:rounds=%d,level=1.0001", rounds);
        const vn_trajectory_options o = {.sampler = "heun",
                                         .guide = guide,
                                         .sigmas = sigmas,
                                         .sigma_count = LEVELS + 1,
                                         .guidance = gamma,
                                         .seed = 4};
        want = k2 * (want + 1);
        if (bench_run(&b, o, MANY, 0, 0, NULL, x, &passes, &err)) fail_msg("%s", err.text);
        /* heun: two a step, one in the last */
        assert_int_equal(passes, 2 * LEVELS - 1 + rounds * 2 * (2 * (LEVELS - MIDDLE) - 1));
        near(guide, gamma, moments_of(x, MANY).variance, want, spread(1));
    }
    free(x);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odes),
        cmocka_unit_test(sdes),
        cmocka_unit_test(correctors_reach_the_tilt),
        cmocka_unit_test(correctors_follow_an_interval),
        cmocka_unit_test(shifted_gaussians_need_no_correction),
        cmocka_unit_test(populations_are_apart),
        cmocka_unit_test(steering_reaches_the_posterior),
        cmocka_unit_test(gibbs_like_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
