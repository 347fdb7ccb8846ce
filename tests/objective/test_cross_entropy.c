/* The objective of classifiers against its formula in double, and what it measures on held-out
 * samples; how well classes are told, against numbers worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/internal.h"
#include "support/loss.h"
#include "support/reference.h"

enum { N = 5, K = 3 };

/* The largest are where log-sum-exp takes its greatest logit away. */
static const double logits[N * K] = {0.3, -1, 2, 80, -60, 3, -0.5, 0.25, 1e-3, 1, 1, 1, -4, 5, 0};
static const int32_t labels[N] = {2, 1, 0, VN_LABEL_NULL, 1};

typedef struct setting {
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
} setting;

static vn_status try_open(setting *s, const char *objective, const char *times, bool classifier,
                          vn_err *err) {
    *s = (setting){0};
    vn_status status = vn_path_open("rectified", &s->path, err);
    if (!status) status = vn_prediction_parse("edm", &s->prediction, err);
    const vn_objective_options o = {.path = s->path,
                                    .prediction = &s->prediction,
                                    .objective = objective,
                                    .times = times,
                                    .trains =
                                        classifier ? VN_TRAINS_CLASSIFIERS : VN_TRAINS_DENOISERS,
                                    .null_label = -1,
                                    .seed = 3};
    return !status ? vn_objective_open(&o, &s->objective, err) : status;
}

static setting open(const char *objective, const char *times) {
    setting s;
    vn_err err = {0};
    if (try_open(&s, objective, times, true, &err)) fail_msg("%s: %s", objective, err.text);
    return s;
}

static void close(setting *s) {
    vn_objective_close(&s->objective);
    vn_path_close(&s->path);
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* The formula of the file's head. */
static double expected(double smoothing) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const double *z = logits + i * K;
        double most = fmax(z[0], fmax(z[1], z[2])), total = 0, dot = 0;
        if (labels[i] < 0) continue;
        for (int k = 0; k < K; k++) {
            total += exp(z[k] - most);
            dot += (smoothing / K + (k == labels[i]) * (1 - smoothing)) * z[k];
        }
        sum += most + log(total) - dot;
    }
    return sum / N;
}

/* The batch's targets, by the objective, into [N,K]; its levels into [N]. */
static void fill(const setting *s, const vn_loss *l, float *target, vn_level *level) {
    float x0[N] = {0}, x[N], time[N];
    int32_t given[N];
    vn_err err = {0};
    vn_objective_batch b = {.n = N,
                            .size = 1,
                            .x0 = x0,
                            .labels = labels,
                            .level = level,
                            .x = x,
                            .time = time,
                            .network_labels = given};
    loss_bind(l, &b, "target", target);
    assert_int_equal(vn_objective_fill(s->objective, l, &b, &err), VN_OK);
}

/* Measured: 0 and 1.5e-7, as the targets are float32. */
static void the_loss_is_the_formula(void **state) {
    (void)state;
    static const double smoothings[] = {0, 0.1};
    for (int i = 0; i < 2; i++) {
        char text[64];
        snprintf(text, sizeof text, "cross-entropy:smoothing=%g", smoothings[i]);
        setting s = open(text, NULL);
        vn_err err = {0};
        vn_graph *g = NULL;
        assert_int_equal(vn_graph_open(&g, &err), VN_OK);
        vn_node *output = vn_input(g, VN_F32, VN_SHAPE(N, K)), *gradient = NULL;
        vn_loss l = {.g = g,
                     .x = vn_input(g, VN_F32, VN_SHAPE(N, 1)),
                     .network = loss_answer,
                     .self = &output};
        vn_node *loss = vn_objective_loss(s.objective, &l);
        assert_ptr_equal(l.measured, output);
        assert_int_equal(vn_graph_gradient(g, loss, NULL, 1, &output, &gradient, &err), VN_OK);
        float target[N * K];
        double wide[N * K];
        vn_level level[N];
        fill(&s, &l, target, level);
        for (int k = 0; k < N * K; k++) wide[k] = (double)target[k];
        ref_graph r = ref_open(g);
        ref_set(&r, output, logits);
        ref_set(&r, loss_node(&l, "target"), wide);
        ref_run(&r, NULL);
        const double error = fabs(ref_get(&r, loss)[0] - expected(smoothings[i]));
        print_message("smoothing %g: off by %.1e\n", smoothings[i], error);
        assert_true(error < 3e-7);
        /* (softmax - q)/N; none without a label */
        const double *by = ref_get(&r, gradient);
        const double total = exp(0.3) + exp(-1) + exp(2);
        assert_true(fabs(by[0] - (exp(0.3) / total - wide[0]) / N) < 1e-7);
        for (int k = 0; k < K; k++) assert_true(by[3 * K + k] == 0);
        ref_close(&r);
        vn_graph_close(&g);
        close(&s);
    }
}

/* ---- times ----------------------------------------------------------------------------------- */

static void clean_times_have_no_noise(void **state) {
    (void)state;
    setting s = open("cross-entropy", "clean");
    vn_loss none = {0};
    vn_level level[N];
    fill(&s, &none, NULL, level);
    for (int i = 0; i < N; i++) assert_true(level[i].t == 0 && level[i].sigma == 0);
    close(&s);
    assert_true(vn_times_are_clean("clean") && !vn_times_are_clean("uniform"));
}

static void what_does_not_go_together_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *objective, *times;
        bool classifier;
        const char *words;
    } cases[] = {
        {"cross-entropy", NULL, false, "trains classifiers: name one as the model"},
        {"dsm", NULL, true, "the objective dsm trains denoisers; cross-entropy is for classifiers"},
        {"dsm", "clean", false,
         "times clean: only classifiers and autoencoders learn of clean samples"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        setting s;
        vn_err err = {0};
        assert_int_equal(
            try_open(&s, cases[i].objective, cases[i].times, cases[i].classifier, &err),
            VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i].words)) fail_msg("%s", err.text);
        close(&s);
    }
}

/* ---- what is measured ------------------------------------------------------------------------ */

/* Two classes. p = .8 .8 .6 .6 for the first; labels 0 1 0 1: half are right. In the bin of .8 they
 * are right for 1 of 2, confidence 1.6; in that of .6, 1 of 2, confidence 1.2: ECE = (.6 + .2)/4.
 */
static void qualities_are_as_by_hand(void **state) {
    (void)state;
    static const double p[4] = {0.81, 0.81, 0.61, 0.61};
    vn_class_quality q = {0}, halves[2];
    double nll = 0;
    memset(halves, 0, sizeof halves);
    assert_true(isnan(vn_class_accuracy(&q)) && isnan(vn_class_nll(&q)) && isnan(vn_class_ece(&q)));
    for (int i = 0; i < 4; i++) {
        const float z[2] = {(float)log(p[i] / (1 - p[i])) + 7, 7};
        vn_class_quality_add(&halves[i / 2], z, 2, i % 2);
        vn_class_quality_add(&halves[i / 2], z, 2, VN_LABEL_NULL);
        nll -= log(i % 2 ? 1 - p[i] : p[i]) / 4;
    }
    for (int i = 0; i < 2; i++) vn_class_quality_join(&q, &halves[i]);
    assert_true(q.count == 4 && vn_class_accuracy(&q) == 0.5);
    assert_true(fabs(vn_class_nll(&q) - nll) < 1e-6);
    assert_true(fabs(vn_class_ece(&q) - (0.62 + 0.22) / 4) < 1e-6);
}

/* One sample in the first quarter of t, right; two in the last, one right. */
static void measures_are_by_quarter(void **state) {
    (void)state;
    static const double t[3] = {0.1, 0.99, 1};
    static const float z[2] = {3, -3};
    setting s = open("cross-entropy", NULL);
    const vn_held_measure *m = vn_objective_measure(s.objective);
    void *sums = calloc(1, m->bytes);
    char text[1024] = "";
    FILE *to = fmemopen(text, sizeof text, "w");
    for (int i = 0; i < 3; i++) {
        const vn_level l = vn_path_level(s.path, t[i]);
        m->add(sums, z, 2, i == 2, &l);
    }
    m->write(sums, to);
    fclose(to);
    free(sums);
    if (!strstr(text,
                ", \"held_accuracy\": 0.666667, \"accuracy_by_quarter\": [1, null, null, 0.5]"))
        fail_msg("%s", text);
    close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_the_formula),
        cmocka_unit_test(clean_times_have_no_noise),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(qualities_are_as_by_hand),
        cmocka_unit_test(measures_are_by_quarter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
