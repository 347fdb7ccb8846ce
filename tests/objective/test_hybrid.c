/* The objective that learns a variance: its bound and gradients against PyTorch's after the paper,
 * what it is given, the variance it comes to on Gaussian data, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/internal.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/variance/bound.json"
#define SIZE   12 /* numbers of a picture of the golden cases, [2,2,3] */

typedef struct setting {
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
} setting;

static setting open(const char *path, const char *prediction, const char *objective) {
    setting s = {0};
    vn_err err = {0};
    vn_status status = vn_path_open(path, &s.path, &err);
    if (!status) status = vn_prediction_parse(prediction, &s.prediction, &err);
    const vn_objective_options o = {.path = s.path,
                                    .prediction = &s.prediction,
                                    .objective = objective,
                                    .null_label = -1,
                                    .seed = 3};
    if (!status) status = vn_objective_open(&o, &s.objective, &err);
    if (status) fail_msg("%s, %s, %s: %s", path, prediction, objective, err.text);
    return s;
}

static void close(setting *s) {
    vn_objective_close(&s->objective);
    vn_path_close(&s->path);
}

/* The loss of a network that answers with the node `output`, and its gradient. */
typedef struct net {
    vn_graph *g;
    vn_node *output;
    vn_loss parts;
    vn_node *loss, *gradient;
} net;

static void build(net *t, const vn_objective *o, vn_shape x) {
    vn_err err = {0};
    *t = (net){0};
    assert_int_equal(vn_graph_open(&t->g, &err), VN_OK);
    t->parts = (vn_loss){
        .g = t->g, .x = vn_input(t->g, VN_F32, x), .network = loss_answer, .self = &t->output};
    x.dim[x.rank - 1] *= 2;
    t->output = vn_input(t->g, VN_F32, x);
    t->loss = vn_objective_loss(o, &t->parts);
    if (vn_graph_status(t->g, &err) ||
        vn_graph_gradient(t->g, t->loss, NULL, 1, &t->output, &t->gradient, &err))
        fail_msg("%s", err.text);
}

/* The numbers of the bound of a sample at a level. */
static void bound_of(const setting *s, const vn_level *l, double *number) {
    const vn_coefficients m = vn_prediction_coefficients(&s->prediction, l);
    vn_choice choice;
    vn_err err;
    assert_int_equal(vn_choice_parse("hybrid", &vn_objectives, &choice, &err), VN_OK);
    vn_bound_numbers(&(vn_loss_sample){.choice = &choice, .path = s->path, .level = l, .m = &m},
                     number);
}

static void near(double got, double want, double tolerance, const char *what, size_t index) {
    const double bound = tolerance * (1 + fabs(want));
    if (!(fabs(got - want) <= bound))
        print_error("%s of case %zu: %.12g, not %.12g\n", what, index, got, want);
    expect_below(what, fabs(got - want), bound);
}

/* ---- against PyTorch ------------------------------------------------------------------------- */

/* Largest error of loss and gradients in double: between 1e-13 and this. */
#define TOLERANCE 1e-12

static double at(const json_t *c, const char *key, int i) {
    return json_number_value(json_array_get(json_object_get(c, key), (size_t)i));
}

static const char *text_of(const json_t *c, const char *key) {
    return json_string_value(json_object_get(c, key));
}

/* Puts a case where the loss reads it: channels 0 to 2 of a pixel are the prediction, 3 to 5 are
 * v. */
static void feed(ref_graph *r, const net *t, const setting *s, const json_t *c, double *output) {
    const double step = json_number_value(json_object_get(c, "step"));
    const vn_level l = vn_path_level_of_step(s->path, step);
    const vn_coefficients m = vn_prediction_coefficients(&s->prediction, &l);
    double target[SIZE], data[SIZE], x[SIZE] = {0}, weight = 1, number[VN_BOUND_NUMBERS];
    bound_of(s, &l, number);
    for (int i = 0; i < SIZE; i++) {
        data[i] = at(c, "x0", i);
        target[i] = m.raw_x0 * data[i] + m.raw_eps * at(c, "eps", i);
        output[i / 3 * 6 + i % 3] = at(c, "prediction", i);
        output[i / 3 * 6 + 3 + i % 3] = at(c, "v", i);
    }
    ref_set(r, t->parts.x, x);
    ref_set(r, t->output, output);
    ref_set(r, loss_node(&t->parts, "target"), target);
    ref_set(r, loss_node(&t->parts, "weight"), &weight);
    ref_set(r, loss_node(&t->parts, "data"), data);
    ref_set(r, loss_node(&t->parts, "bound"), number);
}

/* d loss / d v by differences, for one of a case's numbers. */
static double difference(ref_graph *r, const net *t, double *output, int place) {
    const double h = 1e-5, here = output[place];
    double value[2];
    for (int i = 0; i < 2; i++) {
        output[place] = here + (i ? h : -h);
        ref_set(r, t->output, output);
        ref_run(r, NULL);
        value[i] = ref_get(r, t->loss)[0];
    }
    output[place] = here;
    return (value[1] - value[0]) / (2 * h);
}

static void check_case(const json_t *c, size_t index) {
    char path[64];
    snprintf(path, sizeof path, "ddpm:%s,T=%d", text_of(c, "schedule"),
             (int)json_integer_value(json_object_get(c, "T")));
    setting s = open(path, text_of(c, "predict"), "hybrid");
    net t;
    build(&t, s.objective, VN_SHAPE(1, 2, 2, 3));
    ref_graph r = ref_open(t.g);
    double output[2 * SIZE], by_v[SIZE];
    feed(&r, &t, &s, c, output);
    for (int i = 0; i < SIZE; i++) by_v[i] = difference(&r, &t, output, i / 3 * 6 + 3 + i % 3);
    ref_set(&r, t.output, output);
    ref_run(&r, NULL);
    near(ref_get(&r, t.loss)[0], json_number_value(json_object_get(c, "loss")), TOLERANCE, "loss",
         index);
    for (int i = 0; i < SIZE; i++) {
        const double *gradient = ref_get(&r, t.gradient) + i / 3 * 6 + i % 3;
        const double square =
            2 * (at(c, "prediction", i) - ref_get(&r, loss_node(&t.parts, "target"))[i]) / SIZE;
        near(gradient[0], at(c, "by_prediction", i), TOLERANCE, "gradient by the prediction",
             index);
        near(gradient[0], square, TOLERANCE, "the square's gradient alone", index);
        near(gradient[3], at(c, "by_v", i), TOLERANCE, "gradient by v", index);
        near(gradient[3], by_v[i], 1e-8, "difference by v", index); /* measured: 2e-9 */
    }
    ref_close(&r);
    vn_graph_close(&t.g);
    close(&s);
}

static void the_bound_is_that_of_the_paper(void **state) {
    (void)state;
    json_t *golden;
    vn_err err;
    if (vn_json_read(GOLDEN, &golden, &err)) fail_msg("%s", err.text);
    const json_t *cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) >= 30);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(json_array_get(cases, i), i);
    json_decref(golden);
}

/* A prediction that is far off costs much and not infinity, and its gradient is finite. */
static void what_is_far_off_stays_finite(void **state) {
    (void)state;
    setting s = open("ddpm", "x0", "hybrid");
    net t;
    build(&t, s.objective, VN_SHAPE(1, 1, 1, 1));
    ref_graph r = ref_open(t.g);
    const vn_level l = vn_path_level_of_step(s.path, 0);
    double number[VN_BOUND_NUMBERS], x = 0, weight = 1;
    bound_of(&s, &l, number);
    for (double data = -1; data <= 1; data += 0.5)
        for (double guess = -20; guess <= 20; guess += 4)
            for (double v = -6; v <= 6; v += 3) {
                ref_set(&r, t.parts.x, &x);
                ref_set(&r, t.output, (double[]){guess, v});
                ref_set(&r, loss_node(&t.parts, "target"), &data);
                ref_set(&r, loss_node(&t.parts, "weight"), &weight);
                ref_set(&r, loss_node(&t.parts, "data"), &data);
                ref_set(&r, loss_node(&t.parts, "bound"), number);
                ref_run(&r, NULL);
                assert_true(isfinite(ref_get(&r, t.loss)[0]) &&
                            isfinite(ref_get(&r, t.gradient)[1]));
            }
    ref_close(&r);
    vn_graph_close(&t.g);
    close(&s);
}

/* Also from pure noise, alpha = 0, and where a path has two steps. */
static void the_ends_of_a_path_have_numbers(void **state) {
    (void)state;
    static const char *const paths[] = {"ddpm:zero_snr=1", "ddpm:cosine",
                                        "ddpm:T=2,beta_start=0.1,beta_end=0.5"};
    for (size_t i = 0; i < VN_COUNT(paths); i++) {
        setting s = open(paths[i], "v", "hybrid");
        for (int step = 0; step < s.path->steps; step++) {
            const vn_level l = vn_path_level_of_step(s.path, step);
            double number[VN_BOUND_NUMBERS];
            bound_of(&s, &l, number);
            for (int k = 0; k < VN_BOUND_NUMBERS; k++) assert_true(isfinite(number[k]));
            assert_true(number[VN_BOUND_RANGE] > 0 && number[VN_BOUND_BIN] > 0);
        }
        close(&s);
    }
}

/* ---- a batch --------------------------------------------------------------------------------- */

enum { N = 4096, BATCHES = 8 };

typedef struct arrays {
    float x0[N], x[N], target[N], data[N], time[N], weight[N], bound[N * VN_BOUND_NUMBERS];
    int32_t network_labels[N];
    vn_level level[N];
} arrays;

static arrays a;

/* Numbers of N(0, deviation^2). */
static void fill(const setting *s, const net *t, double deviation, uint64_t step) {
    vn_random_normal(a.x0, N, 8, VN_STREAM_TEST, step, 0);
    for (int i = 0; i < N; i++) a.x0[i] *= (float)deviation;
    vn_objective_batch b = {.n = N,
                            .size = 1,
                            .step = step,
                            .x0 = a.x0,
                            .level = a.level,
                            .x = a.x,
                            .time = a.time,
                            .network_labels = a.network_labels};
    loss_bind(&t->parts, &b, "target", a.target);
    loss_bind(&t->parts, &b, "weight", a.weight);
    loss_bind(&t->parts, &b, "data", a.data);
    loss_bind(&t->parts, &b, "bound", a.bound);
    vn_err err = {0};
    if (vn_objective_fill(s->objective, &t->parts, &b, &err)) fail_msg("%s", err.text);
}

static void batches_carry_the_numbers_of_their_steps(void **state) {
    (void)state;
    setting s = open("ddpm:cosine,T=20", "eps", "hybrid:lambda=0.01");
    int first = 0;
    net t;
    build(&t, s.objective, VN_SHAPE(N, 1, 1, 1));
    fill(&s, &t, 1, 0);
    for (int i = 0; i < N; i++) {
        const int step = (int)lround((double)a.time[i]);
        const vn_level to = step ? vn_path_level_of_step(s.path, step - 1) : vn_level_clean;
        const double beta = 1 - pow(a.level[i].alpha / to.alpha, 2),
                     ratio = pow(to.sigma / a.level[i].sigma, 2);
        const double factor = 0.01 * 20 / log(2);
        assert_true(a.data[i] == a.x0[i]);
        near((double)a.bound[i * VN_BOUND_NUMBERS + VN_BOUND_LATER], step ? factor : 0, 1e-6,
             "factor of the KL", (size_t)i);
        near((double)a.bound[i * VN_BOUND_NUMBERS + VN_BOUND_FIRST], step ? 0 : factor, 1e-6,
             "factor of the decoder", (size_t)i);
        if (step)
            near((double)a.bound[i * VN_BOUND_NUMBERS + VN_BOUND_RANGE], -log(ratio), 1e-5, "range",
                 (size_t)i);
        /* of x0's error e: beta alpha'/sigma^2 e = gap e sqrt(beta~), and that of eps is
         * -alpha/sigma times e */
        if (step)
            near((double)a.bound[i * VN_BOUND_NUMBERS + VN_BOUND_GAP],
                 -sqrt(beta / ratio) * to.alpha / a.level[i].alpha / a.level[i].sigma, 1e-5, "gap",
                 (size_t)i);
        first += step == 0;
    }
    assert_in_range(first, N / 20 - 60, N / 20 + 60);
    vn_graph_close(&t.g);
    close(&s);
}

/* With data of N(0, d^2) the reverse step is normal with variance beta~ + (beta alpha'/sigma^2)^2
 * Var(x0|x_t): at that v the mean gradient by v is 0, and at no other. */
static double optimal_v(const setting *s, const vn_level *l, double deviation) {
    const int step = (int)lround(l->t * s->path->steps) - 1;
    const vn_level to = vn_path_level_of_step(s->path, step - 1);
    const double beta = vn_step_variance(l, &to), small = beta * pow(to.sigma / l->sigma, 2);
    const double d = deviation * deviation, s2 = l->sigma * l->sigma,
                 spread = d * s2 / (l->alpha * l->alpha * d + s2);
    const double best = small + pow(beta * to.alpha / s2, 2) * spread;
    return 2 * log(best / small) / log(beta / small) - 1;
}

static void gaussian_data_has_its_variance(void **state) {
    (void)state;
    const double deviation = 0.6;
    setting s = open("ddpm:cosine,T=20", "eps", "hybrid");
    net t;
    build(&t, s.objective, VN_SHAPE(N, 1));
    ref_graph r = ref_open(t.g);
    double *output = calloc(2 * N, sizeof *output);
    assert_non_null(output);
    const double beside[] = {-0.4, 0, 0.4};
    double mean[3] = {0}, square = 0;
    for (uint64_t batch = 0; batch < BATCHES; batch++) {
        fill(&s, &t, deviation, batch);
        const vn_node *node[] = {t.parts.x, loss_node(&t.parts, "target"),
                                 loss_node(&t.parts, "weight"), loss_node(&t.parts, "bound")};
        const float *from[] = {a.x, a.target, a.weight, a.bound};
        for (size_t i = 0; i < VN_COUNT(node); i++) ref_set_f32(&r, node[i], from[i]);
        assert_null(loss_node(&t.parts, "data")); /* points have no bins */
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < N; i++) {
                const vn_level *l = &a.level[i];
                const double total = pow(l->alpha * deviation, 2) + l->sigma * l->sigma;
                output[2 * i] = l->sigma * (double)a.x[i] / total; /* E[eps|x] */
                output[2 * i + 1] = l->t > 1.5 / 20 ? optimal_v(&s, l, deviation) + beside[k] : 0;
            }
            ref_set(&r, t.output, output);
            ref_run(&r, NULL);
            for (int i = 0; i < N; i++) {
                if (!(a.level[i].t > 1.5 / 20)) continue;
                const double by_v = ref_get(&r, t.gradient)[2 * i + 1] * N;
                mean[k] += by_v / (BATCHES * N);
                if (k == 1) square += by_v * by_v / (BATCHES * N);
            }
        }
    }
    const double error = sqrt(square / (BATCHES * N));
    print_message(
        "mean gradient by v: %.2e below, %.2e at, %.2e above the optimum; its error %.1e\n",
        mean[0], mean[1], mean[2], error);
    expect_small(fabs(mean[1]), 3 * error);
    assert_true(mean[0] < -10 * error);
    assert_true(mean[2] > 10 * error);
    free(output);
    ref_close(&r);
    vn_graph_close(&t.g);
    close(&s);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *path, *objective, *word;
    } bad[] = {
        {"rectified", "hybrid", "rectified has no steps"},
        {"vp", "hybrid", "vp has no steps"},
        {"edm", "hybrid", "edm has no steps"},
        {"ddpm", "hybrid:lambda=0", "lambda"},
        {"ddpm", "hybrid:gamma=3", "no effect"},
        {"ddpm", "hybird", "hybrid"},
        {"ddpm", "hybrid:weight=min-snr,lamda=1", "lambda"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_path *path;
        vn_prediction p;
        vn_objective *o = NULL;
        vn_err err = {0};
        assert_int_equal(vn_path_open(bad[i].path, &path, &err), VN_OK);
        assert_int_equal(vn_prediction_parse("v", &p, &err), VN_OK);
        const vn_objective_options options = {
            .path = path, .prediction = &p, .objective = bad[i].objective, .null_label = -1};
        assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
        vn_path_close(&path);
    }
}

static void only_it_learns_a_variance(void **state) {
    (void)state;
    setting s = open("ddpm", "eps", "hybrid:weight=min-snr");
    assert_true(vn_objective_learns_variance(s.objective));
    close(&s);
    s = open("ddpm", "eps", "dsm");
    assert_false(vn_objective_learns_variance(s.objective));
    close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bound_is_that_of_the_paper),
        cmocka_unit_test(what_is_far_off_stays_finite),
        cmocka_unit_test(the_ends_of_a_path_have_numbers),
        cmocka_unit_test(batches_carry_the_numbers_of_their_steps),
        cmocka_unit_test(gaussian_data_has_its_variance),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(only_it_learns_a_variance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
