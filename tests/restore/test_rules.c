/* Each rule by its published formula. With one observed number y = a x0 + noise and
 * x0 given x_t a Gaussian of mean D and covariance C, both in closed form, the formulas are of
 * scalars; their Jacobian is J = C alpha/sigma^2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "support_posterior.h"

enum { D = 2 };

/* What formulas are made of. */
typedef struct terms {
    const problem *p;
    vn_level level, to;
    double mean[D], cov_a[D]; /* D and C a */
    double a_cov_a, aa;       /* a C a, a a */
    double residual;          /* y - a D */
} terms;

static void along(const terms *t, const double *direction, double amount, double *out) {
    for (int j = 0; j < D; j++) out[j] = t->mean[j] + amount * direction[j];
}

static void mmps(const terms *t, double *out) {
    along(t, t->cov_a, t->residual / (t->p->noise * t->p->noise + t->a_cov_a), out);
}

static double unit_variance(const vn_level *l) {
    return l->sigma * l->sigma / (l->alpha * l->alpha + l->sigma * l->sigma);
}

static void pigdm(const terms *t, double *out) {
    const double r2 = unit_variance(&t->level);
    along(t, t->cov_a, t->residual / (r2 * t->aa + t->p->noise * t->p->noise), out);
}

/* The published step: x' += alpha alpha' J^T A^T (A A^T + noise^2/r^2)^-1 (y - A D), as a change of
 * x0. */
static double share(const terms *t) {
    const double q = t->level.alpha * t->to.sigma / (t->to.alpha * t->level.sigma);
    return t->to.alpha * (1 - q * q);
}

static void pigdm_published(const terms *t, double *out) {
    const vn_level *l = &t->level;
    const double r2 = unit_variance(l), of_cov = l->alpha / (l->sigma * l->sigma);
    along(t, t->cov_a,
          l->alpha * t->to.alpha * of_cov / share(t) * t->residual /
              (t->aa + t->p->noise * t->p->noise / r2),
          out);
}

/* x' -= 0.4 grad |y - A D| */
static void dps(const terms *t, double *out) {
    const double of_cov = t->level.alpha / (t->level.sigma * t->level.sigma);
    along(t, t->cov_a, 0.4 / share(t) * of_cov * (t->residual > 0 ? 1 : -1), out);
}

static void ddnm(const terms *t, double *out) {
    const double most = t->to.sigma / t->to.alpha,
                 lambda = most < t->p->noise ? most / t->p->noise : 1;
    along(t, t->p->matrix, lambda * t->residual / t->aa, out);
}

static void diffpir(const terms *t, double *out) {
    const double part = t->p->noise * t->level.alpha / t->level.sigma;
    along(t, t->p->matrix, t->residual / (t->aa + 3 * part * part), out);
}

static const struct {
    const char *rule;
    void (*formula)(const terms *t, double *out);
} rules[] = {{"mmps", mmps},
             {"tmpd", mmps}, /* of one number the diagonal is the matrix */
             {"pigdm", pigdm},
             {"pigdm:weight=published", pigdm_published},
             {"dps:scale=0.4", dps},
             {"ddnm", ddnm},
             {"diffpir:lambda=3", diffpir}};

static terms terms_at(const problem *p, const vn_path *path, double t, const float *x) {
    terms of = {.p = p, .level = vn_path_level(path, t), .to = vn_path_level(path, 0.7 * t)};
    const double at[D] = {(double)x[0], (double)x[1]};
    const problem known = problem_at(p, of.level.alpha, of.level.sigma, at);
    const gaussian *g = &known.prior[0];
    of.residual = p->y[0];
    for (int j = 0; j < D; j++) {
        of.mean[j] = g->mean[j];
        of.residual -= p->matrix[j] * g->mean[j];
        of.aa += p->matrix[j] * p->matrix[j];
        for (int k = 0; k < D; k++) of.cov_a[j] += g->cov[j * D + k] * p->matrix[k];
    }
    for (int j = 0; j < D; j++) of.a_cov_a += p->matrix[j] * of.cov_a[j];
    return of;
}

/* The prior is narrower than data of unit variance, so that no rule moves A x0 by more than the
 * residual, where it would be held back. Measured: 2.2e-7 at most, of float32 answers. */
static void predictions_follow_their_formulas(void **state) {
    (void)state;
    static const char *const paths[] = {"edm:sigma_max=10", "vp", "rectified"};
    const problem p = {.size = D,
                       .rows = 1,
                       .parts = 1,
                       .prior = {{1, {0.3, -0.2}, {0.5, 0.2, 0.2, 0.4}}},
                       .matrix = {1, -0.5},
                       .y = {0.9},
                       .noise = 0.4};
    for (size_t k = 0; k < VN_COUNT(rules) * VN_COUNT(paths); k++) {
        const char *rule = rules[k % VN_COUNT(rules)].rule;
        posterior_bench b = posterior_open(&p, paths[k / VN_COUNT(rules)]);
        const vn_restoration_options options = {.rule = rule,
                                                .denoiser = &b.b.denoiser,
                                                .operator= b.operator,
                                                .observed = p.y,
                                                .observations = 1,
                                                .noise = p.noise,
                                                .capacity = 1};
        vn_restoration *r = NULL;
        vn_err err = {0};
        if (vn_restoration_open(&options, &r, &err)) fail_msg("%s: %s", rule, err.text);
        const vn_denoiser *d = vn_restoration_denoiser(r);
        double worst = 0;
        for (uint64_t i = 0; i < 20; i++) {
            float x[D], raw[D], x0[D], eps[D];
            double want[D];
            const double t = 0.05 + 0.9 * (double)i / 20;
            const vn_level level = vn_path_level(b.b.path, t);
            vn_random_normal(x, D, 1, VN_STREAM_TEST, i, 0);
            for (int j = 0; j < D; j++) x[j] *= (float)hypot(level.alpha, level.sigma);
            const terms of = terms_at(&p, b.b.path, t, x);
            const vn_condition condition = 0;
            const vn_query q = {.n = 1,
                                .x = x,
                                .level = &of.level,
                                .next = &of.to,
                                .condition = &condition,
                                .sample = &i};
            assert_int_equal(d->predict(d->self, &q, raw, &err), VN_OK);
            vn_prediction_to_estimate(&d->prediction, &level, D, x, raw, x0, eps);
            rules[k % VN_COUNT(rules)].formula(&of, want);
            for (int j = 0; j < D; j++)
                worst = fmax(worst, fabs((double)x0[j] - want[j]) / (1 + fabs(want[j])));
        }
        print_message("%s on %s: %.1e\n", rule, paths[k / VN_COUNT(rules)], worst);
        assert_true(worst < 1e-6);
        vn_restoration_close(&r);
        posterior_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(predictions_follow_their_formulas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
