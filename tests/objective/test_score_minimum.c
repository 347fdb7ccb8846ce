/* What score matching learns: directions and targets as their definitions say, and the one minimum
 * that all four forms share, found where it is known in closed form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/support_score.h"
#include "support/bound.h"
#include "support/loss.h"

/* ---- directions and targets ------------------------------------------------------------------ */

static void directions_have_the_unit_matrix_as_second_moment(void **state) {
    (void)state;
    static score_arrays a;
    for (size_t f = 0; f < SCORE_FORMS; f++) {
        score_setting s;
        score_open(&s, "rectified", "eps", score_forms[f].objective, NULL, 0);
        const int count = score_forms[f].directions ? score_forms[f].directions : SIZE;
        score_net t;
        score_build(&t, &s, MAX_ROWS);
        score_fill(&s, &a, &t.parts, MAX_ROWS, 2, false);
        double moment[SIZE][SIZE] = {{0}};
        bool signs = true;
        for (int k = 0; k < MAX_ROWS * count; k++)
            for (int i = 0; i < SIZE; i++)
                for (int j = 0; j < SIZE; j++) {
                    const double vi = (double)a.probe[k * SIZE + i],
                                 vj = (double)a.probe[k * SIZE + j];
                    moment[i][j] += vi * vj / (MAX_ROWS * count);
                    signs &= fabs(vi) == 1;
                }
        for (int i = 0; i < SIZE; i++) /* standard error: at most sqrt(2/4096) = 0.022 */
            for (int j = 0; j < SIZE; j++) expect_small(fabs(moment[i][j] - (i == j)), 0.066);
        assert_true(signs ==
                        (strstr(score_forms[f].objective, "ism") && score_forms[f].directions) ||
                    strstr(score_forms[f].objective, "signs"));
        float before[PROBES * SIZE];
        memcpy(before, a.probe, (size_t)count * SIZE * sizeof(float));
        score_fill(&s, &a, &t.parts, MAX_ROWS, 2, false);
        assert_memory_equal(before, a.probe, (size_t)count * SIZE * sizeof(float));
        vn_graph_close(&t.g);
        score_close(&s);
    }
}

/* log p_t(x|label) of the world above, up to a constant. */
static double log_density(const vn_level *l, int label, const double *x) {
    static const double mean[2][2] = {{1, -0.5}, {-0.6, 0.8}}, prior[2] = {0.7, 0.3};
    static const double cov[2][2][2] = {{{0.5, 0.3}, {0.3, 0.4}}, {{0.16, 0}, {0, 0.16}}};
    double density = 0;
    for (int k = 0; k < 2; k++) {
        if (label < 2 && label != k) continue;
        const double aa = l->alpha * l->alpha, ss = l->sigma * l->sigma;
        const double p = aa * cov[k][0][0] + ss, q = aa * cov[k][0][1], r = aa * cov[k][1][1] + ss,
                     det = p * r - q * q;
        const double u = x[0] - l->alpha * mean[k][0], v = x[1] - l->alpha * mean[k][1];
        density += prior[k] / sqrt(det) * exp(-(r * u * u - 2 * q * u * v + p * v * v) / (2 * det));
    }
    return log(density);
}

/* esm's target is the gradient of log p_t(x|y), or of log p_t(x) where y was dropped, in the
 * network's terms. */
static void explicit_targets_are_exact(void **state) {
    (void)state;
    enum { N = 64 };
    static const char *const paths[] = {"rectified", "vp", "edm"};
    static score_arrays a;
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t k = 0; k < vn_prediction_row_count; k++) {
            score_setting s;
            score_open(&s, paths[p], vn_prediction_rows[k].row.name, "esm", "logit-normal", 0.4);
            int met[3] = {0};
            score_net t;
            score_build(&t, &s, N);
            score_fill(&s, &a, &t.parts, N, 4, false);
            for (int i = 0; i < N; i++) {
                const vn_level *l = &a.level[i];
                const vn_coefficients m = vn_prediction_coefficients(&s.truth.prediction, l);
                double x[SIZE];
                for (int j = 0; j < SIZE; j++) x[j] = (double)a.x[i * SIZE + j] / m.input;
                met[a.network_labels[i]]++;
                for (int j = 0; j < SIZE; j++) {
                    const double h = 1e-5 * l->sigma, keep = x[j];
                    x[j] = keep + h;
                    double slope = log_density(l, a.network_labels[i], x);
                    x[j] = keep - h;
                    slope = (slope - log_density(l, a.network_labels[i], x)) / (2 * h);
                    x[j] = keep;
                    const double eps = -l->sigma * slope, x0 = (keep - l->sigma * eps) / l->alpha;
                    const double want = m.raw_x0 * x0 + m.raw_eps * eps,
                                 got = (double)a.target[i * SIZE + j];
                    /* measured: 6.6e-8 */
                    expect_below_as(fabs(got - want), 2e-7 * (1 + fabs(want)), "%s, %s", paths[p],
                                    vn_prediction_rows[k].row.name);
                }
            }
            assert_true(met[0] > 0 && met[1] > 0 && met[2] > 0); /* both classes, and null */
            vn_graph_close(&t.g);
            score_close(&s);
        }
}
/* ---- one minimum ----------------------------------------------------------------------------- */

/* Class 0 of the world. */
static const double mean_0[2] = {1, -0.5}, cov_0[2][2] = {{0.5, 0.3}, {0.3, 0.4}};

enum { LINEAR = SIZE * SIZE + SIZE };

/* a x = b by elimination with pivots; b becomes x. */
static void solve(double a[LINEAR][LINEAR], double *b) {
    for (int k = 0; k < LINEAR; k++) {
        int pivot = k;
        for (int i = k + 1; i < LINEAR; i++)
            if (fabs(a[i][k]) > fabs(a[pivot][k])) pivot = i;
        for (int j = 0; j < LINEAR; j++) {
            const double swap = a[k][j];
            a[k][j] = a[pivot][j], a[pivot][j] = swap;
        }
        const double swap = b[k];
        b[k] = b[pivot], b[pivot] = swap;
        for (int i = 0; i < LINEAR; i++) {
            const double factor = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; j < LINEAR; j++) a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    }
    for (int k = 0; k < LINEAR; k++) b[k] /= a[k][k];
}

/* The numbers (W, b) of the score s = W x + b that minimise the objective over many samples of
 * class 0 at t = 0.5. */
static void minimise(const char *objective, double *out) {
    enum { BATCHES = 8 };
    static score_arrays a;
    score_setting s;
    score_open(&s, "rectified", "score", objective, "logit-normal:std=0.001", 0);
    vn_graph *g;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *part[2] = {vn_input(g, VN_F32, VN_SHAPE(SIZE, SIZE)),
                        vn_input(g, VN_F32, VN_SHAPE(SIZE))},
            *grad[2];
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(MAX_ROWS, SIZE)),
            *output = vn_linear(g, x, part[0], part[1], true);
    vn_loss parts = {.g = g, .x = x, .network = loss_answer, .self = &output};
    vn_node *loss = vn_objective_loss(s.objective, &parts);
    if (vn_graph_gradient(g, loss, NULL, 2, part, grad, &err)) fail_msg("%s", err.text);
    /* the loss is a square form */
    double slope[LINEAR + 1][LINEAR] = {{0}}, matrix[LINEAR][LINEAR];
    ref_graph r = ref_open(g);
    for (uint64_t step = 0; step < BATCHES; step++) {
        score_fill(&s, &a, &parts, MAX_ROWS, step, true);
        score_feed(&r, &parts, &a);
        for (int k = 0; k <= LINEAR; k++) {
            double at[LINEAR] = {0};
            if (k < LINEAR) at[k] = 1;
            ref_set(&r, part[0], at);
            ref_set(&r, part[1], at + SIZE * SIZE);
            ref_run(&r, NULL);
            for (int i = 0; i < LINEAR; i++)
                slope[k][i] += i < SIZE * SIZE ? ref_get(&r, grad[0])[i]
                                               : ref_get(&r, grad[1])[i - SIZE * SIZE];
        }
    }
    for (int k = 0; k < LINEAR; k++)
        for (int i = 0; i < LINEAR; i++) matrix[i][k] = slope[k][i] - slope[LINEAR][i];
    for (int i = 0; i < LINEAR; i++) out[i] = -slope[LINEAR][i];
    solve(matrix, out);
    ref_close(&r);
    vn_graph_close(&g);
    score_close(&s);
}

/* Of N(m, S): s = -(alpha^2 S + sigma^2)^-1 (x - alpha m). */
static void all_have_the_minimum_of_a_gaussian(void **state) {
    (void)state;
    static const struct {
        const char *objective;
        /* twice what was measured with 32768 samples, as by chance; esm has no noise but t's
         * spread */
        double bound;
    } known[] = {
        {"dsm", 0.008},            /* 0.0035 */
        {"esm", 4e-5},             /* 0.000015 */
        {"ism", 0.06},             /* 0.026 */
        {"ism:exact=1", 0.035},    /* 0.015 */
        {"ssm", 0.035},            /* 0.016 */
        {"ssm:reduced=yes", 0.03}, /* 0.0125 */
    };
    const double p = 0.25 * cov_0[0][0] + 0.25, q = 0.25 * cov_0[0][1],
                 r = 0.25 * cov_0[1][1] + 0.25;
    const double det = p * r - q * q, w[4] = {-r / det, q / det, q / det, -p / det};
    const double want[LINEAR] = {w[0],
                                 w[1],
                                 w[2],
                                 w[3],
                                 -0.5 * (w[0] * mean_0[0] + w[1] * mean_0[1]),
                                 -0.5 * (w[2] * mean_0[0] + w[3] * mean_0[1])};
    for (size_t k = 0; k < VN_COUNT(known); k++) {
        double got[LINEAR], error = 0, size = 0;
        minimise(known[k].objective, got);
        for (int i = 0; i < LINEAR; i++)
            error += pow(got[i] - want[i], 2), size += want[i] * want[i];
        expect_below_as(sqrt(error / size), known[k].bound, "closed form, %s", known[k].objective);
    }
}
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directions_have_the_unit_matrix_as_second_moment),
        cmocka_unit_test(explicit_targets_are_exact),
        cmocka_unit_test(all_have_the_minimum_of_a_gaussian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
