/* Posteriors in closed form. On a Gaussian prior mmps is E[x0|x_t,y] to rounding, so any sampler
 * draws the posterior to its own error; so does daps with the mean, the Jacobian and the exact
 * kernel; tds reaches the posterior of any prior in the limit of many particles. The others are
 * biased, and their bias is printed for docs/measured.md and held to what it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/sanitized.h"
#include "support_posterior.h"

enum { MANY = SANITIZED ? 1000 : 10000 };

/* Three numbers of which two combinations are observed. */
static problem gaussian_problem(void) {
    problem p = {.size = 3,
                 .rows = 2,
                 .parts = 1,
                 .prior = {{1, {0.5, -0.3, 0.2}, {1, 0.5, 0.2, 0.5, 0.8, -0.1, 0.2, -0.1, 0.6}}},
                 .matrix = {1, 0.5, 0, 0, 1, -1},
                 .y = {1.2, -0.4},
                 .noise = 0.5};
    solve_problem(&p);
    return p;
}

/* Two clusters in the plane and an observation between them. */
static problem mixture_problem(void) {
    problem p = {.size = 2,
                 .rows = 1,
                 .parts = 2,
                 .prior = {{0.5, {-1, 0.5}, {0.08, 0.02, 0.02, 0.1}},
                           {0.5, {1, -0.5}, {0.1, -0.03, -0.03, 0.08}}},
                 .matrix = {1, 0},
                 .y = {0.1},
                 .noise = 0.5};
    solve_problem(&p);
    return p;
}

/* ---- the prediction -------------------------------------------------------------------------- */

/* D_y of mmps at random states against E[x0|x_t,y]; measured 6e-7 at most. */
static void mmps_is_exact(void **state) {
    (void)state;
    static const char *const paths[] = {"edm", "vp", "rectified"};
    const problem p = gaussian_problem();
    for (size_t k = 0; k < VN_COUNT(paths); k++) {
        posterior_bench b = posterior_open(&p, paths[k]);
        const vn_restoration_options options = {.rule = "mmps:iterations=3",
                                                .denoiser = &b.b.denoiser,
                                                .operator= b.operator,
                                                .observed = p.y,
                                                .observations = 1,
                                                .noise = p.noise,
                                                .capacity = 1};
        vn_restoration *r = NULL;
        vn_err err = {0};
        assert_int_equal(vn_restoration_open(&options, &r, &err), VN_OK);
        const vn_denoiser *d = vn_restoration_denoiser(r);
        double worst = 0;
        for (uint64_t i = 0; i < 40; i++) {
            float x[3], raw[3], x0[3], eps[3];
            double at[3];
            const double t = 0.02 + 0.9 * (double)i / 40;
            const vn_level level = vn_path_level(b.b.path, t);
            const vn_condition condition = 0;
            const uint64_t sample = i;
            vn_random_normal(x, 3, 1, VN_STREAM_TEST, i, 0);
            for (int j = 0; j < 3; j++) {
                x[j] *= (float)hypot(level.alpha, level.sigma);
                at[j] = (double)x[j];
            }
            const vn_query q = {
                .n = 1, .x = x, .level = &level, .condition = &condition, .sample = &sample};
            assert_int_equal(d->predict(d->self, &q, raw, &err), VN_OK);
            vn_prediction_to_estimate(&d->prediction, &level, 3, x, raw, x0, eps);
            const problem exact = problem_at(&p, level.alpha, level.sigma, at);
            for (int j = 0; j < 3; j++)
                worst = fmax(worst, fabs((double)x0[j] - exact.posterior[0].mean[j]));
        }
        print_message("prediction: on %s off by %.1e\n", paths[k], worst);
        assert_true(worst < 1e-5);
        vn_restoration_close(&r);
        posterior_close(&b);
    }
}

/* ---- samples --------------------------------------------------------------------------------- */

typedef struct run {
    const char *rule, *sampler, *path;
    int steps;
    double mean, cov, weight; /* bounds */
} run;

/* The standard error of a mean of MANY samples is 1% of a deviation, of a variance 1.4%, of a
 * weight 0.5%. Bounds are 4.5 of them where a rule is exact, a half more where particles are copies
 * of each other, and else 1.4 times what was measured, which is the rule's bias. */
static void measure(const problem *p, const char *prior, const run *of) {
    posterior_bench b = posterior_open(p, of->path);
    float *x = malloc((size_t)MANY * (size_t)p->size * sizeof *x);
    double passes = 0, derivatives = 0;
    vn_err err = {0};
    const vn_trajectory_options o = {.sampler = of->sampler, .steps = of->steps, .seed = 3};
    if (posterior_run(&b, p, of->rule, o, MANY, MANY, x, &passes, &derivatives, &err))
        fail_msg("%s: %s", of->rule, err.text);
    const posterior_error e = measure_posterior(p, MANY, x);
    print_message("posterior: %s | `%s` | %s | %d of %s | %.3f | %.3f | %+.3f | %.1f + %.1f\n",
                  prior, of->rule, of->path, of->steps, of->sampler ? of->sampler : "its own",
                  e.mean, e.cov, e.weight, passes / of->steps, derivatives / of->steps);
    free(x);
    posterior_close(&b);
#if !SANITIZED
    if (e.mean > of->mean || e.cov > of->cov || fabs(e.weight) > of->weight)
        fail_msg("%s, %s: mean off by %.4f of at most %.4f, covariance by %.4f of %.4f, weight by "
                 "%.4f of %.4f",
                 prior, of->rule, e.mean, of->mean, e.cov, of->cov, e.weight, of->weight);
#endif
}

static void gaussian_posterior(void **state) {
    (void)state;
    static const run runs[] = {
        {"mmps:iterations=3", "heun", "edm", 60, 0.045, 0.064, 0},
        {"mmps:iterations=3", "heun", "rectified", 60, 0.045, 0.064, 0},
        {"mmps:iterations=3", "ddpm", "vp", 400, 0.045, 0.08, 0},
        {"mmps:iterations=1", "heun", "edm", 60, 0.18, 0.19, 0},
        {"tmpd", "heun", "edm", 60, 0.3, 0.45, 0},
        {"tds", NULL, "vp", 400, 0.06, 0.09, 0},
        {"daps:center=mean,covariance=jacobian", NULL, "edm", 60, 0.045, 0.064, 0},
        {"daps:center=mean,covariance=unit,kernel=exact", NULL, "edm", 60, 0.045, 0.1, 0},
        {"daps:kernel=exact", NULL, "edm", 60, 0.13, 0.75, 0},
        {"pigdm", "heun", "edm", 60, 0.1, 0.12, 0},
        {"pigdm:weight=published", "ddpm", "vp", 100, 0.3, 0.75, 0},
        {"dps:scale=0.3", NULL, "vp", 100, 0.3, 0.9, 0},
        {"ddnm", "ddim:eta=0.85", "vp", 100, 0.3, 0.75, 0},
        {"diffpir", "ddim:eta=0.85", "vp", 100, 0.45, 1.5, 0},
        {"diffpir:lambda=1", "ddim:eta=0.85", "vp", 100, 0.12, 0.28, 0},
        {"replacement", "ddpm", "vp", 100, 0.4, 0.95, 0},
        {"repaint", NULL, "vp", 100, 0.35, 0.95, 0},
        {"red-diff", NULL, "vp", 100, 0.4, 1.3, 0},
        {"pnp-flow", NULL, "rectified", 100, 0.35, 1.3, 0},
    };
    const problem p = gaussian_problem();
    for (size_t i = 0; i < VN_COUNT(runs); i++) measure(&p, "Gaussian", &runs[i]);
}

static void mixture_posterior(void **state) {
    (void)state;
    static const run runs[] = {
        {"mmps", "heun", "edm", 60, 0.22, 0.22, 0.06},
        {"tds", NULL, "vp", 400, 0.05, 0.08, 0.0225},
        {"daps:center=mean,covariance=jacobian", NULL, "edm", 60, 0.25, 0.09, 0.12},
        {"pigdm", "heun", "edm", 60, 0.12, 0.22, 0.08},
        {"dps:scale=0.3", NULL, "vp", 100, 0.25, 1.3, 0.06},
        {"ddnm", "ddim:eta=0.85", "vp", 100, 0.2, 1.05, 0.04},
        {"diffpir", "ddim:eta=0.85", "vp", 100, 0.35, 0.6, 0.18},
        {"repaint", NULL, "vp", 100, 0.27, 1.4, 0.32},
    };
    const problem p = mixture_problem();
    for (size_t i = 0; i < VN_COUNT(runs); i++) measure(&p, "mixture", &runs[i]);
}

/* DAPS on the prior N(0, 1), by its published centre and covariance with its kernel exact, and with
 * those that are x0's: 200 levels of sigma from 100 to 0.1. */
static void daps_in_one_dimension(void **state) {
    (void)state;
    enum { LEVELS = 200, N = MANY / 5 };
    static const struct {
        const char *rule;
        double y, noise, mean, variance; /* that it has */
    } runs[] = {{"daps:kernel=exact,steps=30", 0, 1e4, 0, 2.12},
                {"daps:kernel=exact,steps=30", 1, 0.5, 0.891, 0.221},
                {"daps:center=mean,covariance=jacobian", 0, 1e4, 0, 1},
                {"daps:center=mean,covariance=jacobian", 1, 0.5, 0.8, 0.2},
                {"daps:center=mean,covariance=unit,kernel=exact", 1, 0.5, 0.8, 0.2}};
    double sigmas[LEVELS + 1] = {0};
    const double most = pow(100, 1.0 / 7), least = pow(0.1, 1.0 / 7);
    for (int i = 0; i < LEVELS; i++) sigmas[i] = pow(most + (least - most) * i / (LEVELS - 1), 7);
    float *x = malloc(N * sizeof *x);
    for (size_t k = 0; k < VN_COUNT(runs); k++) {
        problem p = {.size = 1,
                     .rows = 1,
                     .parts = 1,
                     .prior = {{1, {0}, {1}}},
                     .matrix = {1},
                     .y = {runs[k].y},
                     .noise = runs[k].noise};
        vn_err err = {0};
        const vn_trajectory_options o = {.sigmas = sigmas, .sigma_count = LEVELS + 1, .seed = 5};
        posterior_bench b = posterior_open(&p, "edm:sigma_max=100");
        if (posterior_run(&b, &p, runs[k].rule, o, N, N, x, NULL, NULL, &err))
            fail_msg("%s: %s", runs[k].rule, err.text);
        double mean = 0, variance = 0;
        for (int i = 0; i < N; i++) mean += (double)x[i] / N;
        for (int i = 0; i < N; i++) variance += pow((double)x[i] - mean, 2) / N;
        print_message("daps: `%s`, y = %g with noise %g: mean %.3f, variance %.3f\n", runs[k].rule,
                      runs[k].y, runs[k].noise, mean, variance);
        /* 4.5 standard errors */
        assert_true(fabs(mean - runs[k].mean) < 4.5 * sqrt(runs[k].variance / N) + 2e-3);
        assert_true(fabs(variance / runs[k].variance - 1) < 4.5 * sqrt(2.0 / N) + 5e-3);
        posterior_close(&b);
    }
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmps_is_exact),
        cmocka_unit_test(daps_in_one_dimension),
        cmocka_unit_test(gaussian_posterior),
        cmocka_unit_test(mixture_posterior),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
