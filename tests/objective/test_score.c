/* Score matching held to what it says: losses against the papers' formulas with derivatives by
 * differences, and their gradients. Where the minimum lies is in test_score_minimum.c. */
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

/* ---- the network's loss ---------------------------------------------------------------------- */

static const int part_at[] = {A, B, C, D, NUMBERS};

static double loss_at(const score_net *t, ref_graph *r, const double *numbers) {
    for (int i = 0; i < 4; i++) ref_set(r, t->part[i], numbers + part_at[i]);
    ref_run(r, NULL);
    return ref_get(r, t->loss)[0];
}

static void evaluate(const double *w, const double *x, double *out) {
    for (int i = 0; i < SIZE; i++) out[i] = w[D + i];
    for (int k = 0; k < WIDTH; k++) {
        double h = w[B + k];
        for (int j = 0; j < SIZE; j++) h += w[A + k * SIZE + j] * x[j];
        for (int i = 0; i < SIZE; i++) out[i] += w[C + i * WIDTH + k] * tanh(h);
    }
}

/* ---- the papers' losses, by differences ------------------------------------------------------ */

/* The score that the network states, by the definitions of its predictions. */
static void score(const char *prediction, const vn_level *l, const double *w, const double *x,
                  double *s) {
    const double a = l->alpha, sg = l->sigma, sd = 0.5, q = sg * sg + a * a * sd * sd;
    const bool edm = strcmp(prediction, "edm") == 0;
    double in[SIZE], raw[SIZE];
    for (int i = 0; i < SIZE; i++) in[i] = edm ? x[i] / sqrt(q) : x[i];
    evaluate(w, in, raw);
    for (int i = 0; i < SIZE; i++) {
        double x0 = 0;
        if (strcmp(prediction, "score") == 0) s[i] = raw[i];
        if (strcmp(prediction, "eps") == 0) s[i] = -raw[i] / sg;
        if (strcmp(prediction, "v") == 0) x0 = (a * x[i] - sg * raw[i]) / (a * a + sg * sg);
        if (strcmp(prediction, "velocity") == 0) /* x = a x0 + sg eps, raw = a' x0 + sg' eps */
            x0 = (l->dsigma * x[i] - sg * raw[i]) / (l->dsigma * a - l->dalpha * sg);
        if (edm) x0 = sd * sd * a / q * x[i] + sg * sd / sqrt(q) * raw[i];
        if (edm || prediction[0] == 'v') s[i] = (a * x0 - x[i]) / (sg * sg);
    }
}

/* v.(ds/dx)v */
static double curve(const char *prediction, const vn_level *l, const double *w, const double *x,
                    const double *v) {
    const double h = 1e-4;
    double up[SIZE], down[SIZE], s1[SIZE], s0[SIZE], sum = 0;
    for (int i = 0; i < SIZE; i++) up[i] = x[i] + h * v[i], down[i] = x[i] - h * v[i];
    score(prediction, l, w, up, s1);
    score(prediction, l, w, down, s0);
    for (int i = 0; i < SIZE; i++) sum += v[i] * (s1[i] - s0[i]) / (2 * h);
    return sum;
}

/* 2 sigma^2 (v.(ds/dx)v + 1/2 |s|^2), or 1/2 (v.s)^2 for it, a coordinate; directions: the unit
 * vectors if probe is NULL. */
static double implicit_loss(const char *prediction, const vn_level *l, const double *w,
                            const double *x, const float *probe, int count, bool sliced) {
    double s[SIZE], sum = 0, square = 0;
    score(prediction, l, w, x, s);
    for (int i = 0; i < SIZE; i++) square += s[i] * s[i];
    for (int k = 0; k < count; k++) {
        double v[SIZE] = {0}, along = 0;
        for (int i = 0; i < SIZE; i++) v[i] = probe ? (double)probe[k * SIZE + i] : i == k;
        for (int i = 0; i < SIZE; i++) along += v[i] * s[i];
        sum += curve(prediction, l, w, x, v) + (sliced ? along * along / 2 : 0);
    }
    return 2 * l->sigma * l->sigma * ((probe ? sum / count : sum) + (sliced ? 0 : square / 2)) /
           SIZE;
}
static void check_implicit(const char *path, const char *prediction, size_t form, const double *w) {
    enum { N = 16 };
    static score_arrays a;
    score_setting s;
    score_open(&s, path, prediction, score_forms[form].objective, "logit-normal", 0.2);
    score_net t;
    score_build(&t, &s, N);
    score_fill(&s, &a, &t.parts, N, 3, false);
    double want = 0;
    const int count = score_forms[form].directions ? score_forms[form].directions : SIZE;
    for (int i = 0; i < N; i++) {
        const double in = vn_prediction_coefficients(&s.truth.prediction, &a.level[i]).input;
        double x[SIZE];
        for (int j = 0; j < SIZE; j++) x[j] = (double)a.x[i * SIZE + j] / in;
        const float *probe = score_forms[form].directions ? a.probe + i * count * SIZE : NULL;
        want +=
            implicit_loss(prediction, &a.level[i], w, x, probe, count, score_forms[form].sliced) /
            N;
    }
    ref_graph r = ref_open(t.g);
    score_feed(&r, &t.parts, &a);
    const double got = loss_at(&t, &r, w);
    /* two roundings of the float32 coefficients, and twice that; measured 5.9e-8 */
    expect_below_as(fabs(got - want), 2.4e-7 * (1 + fabs(want)), "%s, %s, %s", path, prediction,
                    score_forms[form].objective);
    ref_close(&r);
    vn_graph_close(&t.g);
    score_close(&s);
}

/* A picture is its numbers in a row. */
static void the_loss_does_not_depend_on_the_layout(void **state) {
    (void)state;
    enum { N = 3, COUNT = 12 };
    static const double slope = 0.7;
    for (size_t f = 0; f < SCORE_FORMS; f++) {
        score_setting s;
        score_open(&s, "rectified", "score", score_forms[f].objective, NULL, 0);
        double loss[2];
        for (int flat = 0; flat < 2; flat++) {
            vn_graph *g;
            vn_err err = {0};
            assert_int_equal(vn_graph_open(&g, &err), VN_OK);
            vn_loss parts = {
                .g = g,
                .x = vn_input(g, VN_F32, flat ? VN_SHAPE(N, COUNT) : VN_SHAPE(N, 2, 3, 2)),
                .network = loss_answer};
            vn_node *output = vn_affine(g, vn_unary(g, parts.x, VN_FN_TANH), slope, 0);
            parts.self = &output;
            vn_node *node = vn_objective_loss(s.objective, &parts);
            if (vn_graph_status(g, &err)) fail_msg("%s", err.text);
            const vn_node *input[] = {parts.x, loss_node(&parts, "probe"),
                                      loss_node(&parts, "noise")};
            ref_graph r = ref_open(g);
            for (size_t k = 0; k < VN_COUNT(input); k++) {
                double *to = r.value[input[k]->id];
                r.set[input[k]->id] = true;
                for (int64_t i = 0; i < vn_shape_count(&input[k]->shape); i++)
                    to[i] = vn_random_double(6, VN_STREAM_TEST, (uint64_t)i, k) - 0.5;
            }
            ref_run(&r, NULL);
            loss[flat] = ref_get(&r, node)[0];
            ref_close(&r);
            vn_graph_close(&g);
        }
        expect_below(score_forms[f].objective, fabs(loss[0] - loss[1]), 1e-14);
        score_close(&s);
    }
}

static void random_numbers(double *w) {
    for (int i = 0; i < NUMBERS; i++)
        w[i] = 2 * vn_random_double(5, VN_STREAM_TEST, (uint64_t)i, 0) - 1;
}

static void implicit_losses_are_those_of_the_papers(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "vp", "edm", "ddpm:cosine"};
    static const char *const predictions[] = {"eps", "score", "v", "velocity", "edm"};
    double w[NUMBERS];
    random_numbers(w);
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t k = 0; k < VN_COUNT(predictions); k++)
            for (size_t f = 0; f < SCORE_FORMS; f++) check_implicit(paths[p], predictions[k], f, w);
}

/* The gradient of every objective's loss, against differences of the loss in double. */
static void gradients_are_those_of_the_loss(void **state) {
    (void)state;
    enum { N = 5 };
    static const char *const objectives[] = {"dsm",         "esm", "ism",
                                             "ism:exact=1", "ssm", "ssm:reduced=yes"};
    static score_arrays a;
    double w[NUMBERS];
    random_numbers(w);
    for (size_t k = 0; k < VN_COUNT(objectives); k++) {
        score_setting s;
        score_open(&s, "rectified", "score", objectives[k], NULL, 0.2);
        score_net t;
        score_build(&t, &s, N);
        score_fill(&s, &a, &t.parts, N, 1, false);
        ref_graph r = ref_open(t.g);
        score_feed(&r, &t.parts, &a);
        for (int i = 0; i < NUMBERS; i++) {
            const double keep = w[i], h = 1e-5;
            int part = 0;
            while (i >= part_at[part + 1]) part++;
            loss_at(&t, &r, w);
            const double got = ref_get(&r, t.grad[part])[i - part_at[part]];
            w[i] = keep + h;
            double slope = loss_at(&t, &r, w);
            w[i] = keep - h;
            slope = (slope - loss_at(&t, &r, w)) / (2 * h);
            w[i] = keep;
            /* measured: 1.6e-11 */
            expect_below_as(fabs(got - slope), 4e-11 * (1 + fabs(slope)), "slope of %s",
                            objectives[k]);
        }
        ref_close(&r);
        vn_graph_close(&t.g);
        score_close(&s);
    }
}
/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *prediction, *objective, *word;
    } bad[] = {
        {"eps", "esm", "esm needs data whose score is known"},
        {"x0", "ism", "ism trains eps|v|score|velocity|edm, not x0"},
        {"x0", "ssm", "ssm trains eps|v|score|velocity|edm, not x0"},
        {"eps", "ism:exact=1,projections=2", "projections has no effect with exact=1"},
        {"eps", "ism:reduced=yes", "reduced"},
        {"eps", "ssm:directions=axes", "normal|signs"},
        {"eps", "ssm:projections=0", "projections"},
        {"eps", "ssm:weight=edm", "weight"},
    };
    vn_path *path;
    vn_err err = {0};
    assert_int_equal(vn_path_open("rectified", &path, &err), VN_OK);
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_objective *o = (void *)1;
        vn_prediction p;
        assert_int_equal(vn_prediction_parse(bad[i].prediction, &p, &err), VN_OK);
        const vn_objective_options options = {
            .path = path, .prediction = &p, .objective = bad[i].objective};
        assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
        assert_null(o);
    }
    vn_path_close(&path);
}

/* A network that is itself a second derivative would need a fourth; a wide sample a pass for each
 * coordinate. */
static void graphs_that_cannot_be_differentiated_are_refused(void **state) {
    (void)state;
    vn_graph *g;
    vn_err err = {0};
    score_setting s;
    score_open(&s, "rectified", "score", "ism:exact=1", NULL, 0);
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *w = vn_input(g, VN_F32, VN_SHAPE(1, SIZE)), *grad;
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(4, SIZE)), *output = NULL;
    vn_node *energy = vn_unary(g, vn_mul(g, x, w), VN_FN_TANH);
    vn_graph_gradient(g, energy, NULL, 1, &x, &output, &err);
    vn_loss parts = {.g = g, .x = x, .network = loss_answer, .self = &output};
    vn_node *loss = vn_objective_loss(s.objective, &parts);
    assert_int_equal(vn_graph_gradient(g, loss, NULL, 1, &w, &grad, &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "unary"));
    vn_graph_close(&g);

    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    parts.g = g;
    parts.x = vn_input(g, VN_F32, VN_SHAPE(4, 65));
    output = vn_affine(g, parts.x, 2, 0);
    assert_null(vn_objective_loss(s.objective, &parts));
    assert_int_equal(vn_graph_status(g, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "ism: exact=1 is for at most 64 coordinates, not 65");
    vn_graph_close(&g);
    score_close(&s);
}
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(implicit_losses_are_those_of_the_papers),
        cmocka_unit_test(the_loss_does_not_depend_on_the_layout),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(graphs_that_cannot_be_differentiated_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
