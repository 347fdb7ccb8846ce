/* test_terms.c - what dsm and cfm may have beside the error: that of an internal head, the
 * dispersive loss of inner features, and a learned size of the loss at each time. Values against
 * the papers' formulas in double, gradients against central differences; without a term, the plain
 * loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/support_setting.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { N = 5, SIZE = 3, FEATURES = 4 };
/* What the network answers with, as inputs of the graph. */
enum { ANSWER, INNER, HIDDEN, LOG_VARIANCE, ANSWERS };
static const int width[ANSWERS] = {SIZE, SIZE, FEATURES, 1};

typedef struct setting {
    objective_setting of;
    vn_node *answer[ANSWERS];
    bool called[ANSWERS], head;
    vn_err err;
} setting;

static vn_node *network(void *self, const vn_loss_call *call) {
    setting *s = self;
    int i = ANSWER;
    if (call->part) {
        assert_string_equal(call->part, VN_LOSS_UNCERTAINTY);
        assert_string_equal(call->output, VN_LOSS_LOG_VARIANCE);
        i = LOG_VARIANCE;
    } else if (call->output) {
        assert_true(call->again);
        i = strcmp(call->output, VN_LOSS_HIDDEN) ? INNER : HIDDEN;
        if (i == INNER) assert_string_equal(call->output, VN_LOSS_INTERNAL);
    }
    s->called[i] = true;
    return s->answer[i];
}

static bool has(void *self, const char *part, const char *output) {
    const setting *s = self;
    return !part && !strcmp(output, VN_LOSS_INTERNAL) && s->head;
}

/* *s stays where it is. */
static void open_loss(setting *s, const char *objective, bool head) {
    *s = (setting){.head = head};
    setting_open(&s->of, "rectified", "velocity",
                 &(vn_objective_options){.objective = objective, .null_label = -1, .seed = 3});
    setting_build(&s->of, VN_SHAPE(N, SIZE));
    for (int i = 0; i < ANSWERS; i++)
        s->answer[i] = vn_input(s->of.g, VN_F32, VN_SHAPE(N, width[i]));
    s->of.loss.network = network;
    s->of.loss.has = has;
    s->of.loss.self = s;
    s->of.value = vn_objective_loss(s->of.objective, &s->of.loss);
}

static double pseudo(int i, int k) {
    return 2 * vn_random_double(1, VN_STREAM_TEST, (uint64_t)i, (uint64_t)k) - 1;
}

typedef struct numbers {
    double answer[ANSWERS][N * FEATURES], target[N * SIZE], weight[N];
} numbers;

static numbers some_numbers(void) {
    numbers x;
    for (int k = 0; k < ANSWERS; k++)
        for (int i = 0; i < N * width[k]; i++) x.answer[k][i] = pseudo(i, k);
    for (int i = 0; i < N * SIZE; i++) x.target[i] = pseudo(i, 10);
    for (int i = 0; i < N; i++) x.weight[i] = 1.5 + pseudo(i, 11);
    return x;
}

static double square(const numbers *x, int k, double *each) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double error = 0;
        for (int j = i * SIZE; j < (i + 1) * SIZE; j++)
            error += pow(x->answer[k][j] - x->target[j], 2) / SIZE;
        if (each) each[i] = x->weight[i] * error;
        sum += x->weight[i] * error / N;
    }
    return sum;
}

static double dispersive(const numbers *x, double tau) {
    double mean = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double apart = 0;
            for (int k = 0; k < FEATURES; k++)
                apart += pow(
                    x->answer[HIDDEN][i * FEATURES + k] - x->answer[HIDDEN][j * FEATURES + k], 2);
            mean += exp(-apart / (FEATURES * tau)) / (N * N);
        }
    return log(mean);
}

/* The loss as the papers have it: |f - u|^2 + 0.5 |head - u|^2 + 0.25 log mean exp, and with a
 * learned size the first of these over e^u + u. */
static double want(const char *objective, const numbers *x, bool head) {
    double each[N], sum = square(x, ANSWER, each);
    if (strstr(objective, "uncertainty=yes")) {
        sum = 0;
        for (int i = 0; i < N; i++)
            sum += (each[i] / exp(x->answer[LOG_VARIANCE][i]) + x->answer[LOG_VARIANCE][i]) / N;
    }
    if (head) sum += (strstr(objective, "head=2") ? 2 : 0.5) * square(x, INNER, NULL);
    if (strstr(objective, "dispersive"))
        sum += 0.25 * dispersive(x, strstr(objective, "tau=2") ? 2 : 0.5);
    return sum;
}

static void check(const char *objective, bool head) {
    setting s;
    vn_node *gradient[ANSWERS];
    open_loss(&s, objective, head);
    assert_non_null(s.of.value);
    assert_int_equal(s.of.value->shape.rank, 0);
    numbers x = some_numbers();
    if (vn_graph_gradient(s.of.g, s.of.value, NULL, ANSWERS, s.answer, gradient, &s.err))
        fail_msg("%s", s.err.text);
    ref_graph r = ref_open(s.of.g);
    for (int k = 0; k < ANSWERS; k++) ref_set(&r, s.answer[k], x.answer[k]);
    ref_set(&r, loss_node(&s.of.loss, "target"), x.target);
    ref_set(&r, loss_node(&s.of.loss, "weight"), x.weight);
    ref_run(&r, NULL);
    expect_below(objective, fabs(ref_get(&r, s.of.value)[0] - want(objective, &x, head)), 4e-15);
    for (int k = 0; k < ANSWERS; k++)
        for (int i = 0; i < N * width[k] && s.called[k]; i++) {
            const double at = x.answer[k][i], h = 1e-5;
            x.answer[k][i] = at + h;
            const double above = want(objective, &x, head);
            x.answer[k][i] = at - h;
            const double slope = (above - want(objective, &x, head)) / (2 * h);
            x.answer[k][i] = at;
            /* of the central difference: h^2, and roundings of 2e-16 / h */
            expect_below("gradient", fabs(ref_get(&r, gradient[k])[i] - slope), 2e-10);
        }
    ref_close(&r);
    setting_close(&s.of);
}

static void the_terms_are_those_of_the_papers(void **state) {
    (void)state;
    check("cfm", false);
    check("cfm", true);
    check("cfm:head=2", true);
    check("cfm:dispersive=0.25", false);
    check("cfm:dispersive=0.25,tau=2", true);
    check("cfm:uncertainty=yes", false);
    check("cfm:uncertainty=yes,dispersive=0.25", true);
}

/* The minimum over u is the log of what is divided, where the loss is 1 + that. */
static void the_learned_size_is_the_log_of_the_loss(void **state) {
    (void)state;
    numbers x = some_numbers();
    double each[N];
    square(&x, ANSWER, each);
    for (int i = 0; i < N; i++) x.answer[LOG_VARIANCE][i] = log(each[i]);
    const double least = want("uncertainty=yes", &x, false);
    for (int i = 0; i < N; i++) {
        x.answer[LOG_VARIANCE][i] += 0.01;
        assert_true(want("uncertainty=yes", &x, false) > least);
    }
}

/* Terms of weight 0 are not there: the same nodes as without. */
static void without_terms_it_is_the_plain_loss(void **state) {
    (void)state;
    setting plain, none;
    open_loss(&plain, "cfm", false);
    open_loss(&none, "cfm:dispersive=0,uncertainty=no", false);
    assert_int_equal(vn_graph_size(none.of.g), vn_graph_size(plain.of.g));
    for (int i = 0; i < vn_graph_size(plain.of.g); i++)
        assert_int_equal(vn_graph_node(none.of.g, i)->op, vn_graph_node(plain.of.g, i)->op);
    for (int k = INNER; k < ANSWERS; k++) assert_false(none.called[k]);
    assert_false(vn_objective_estimates(none.of.objective));
    setting_close(&plain.of);
    setting_close(&none.of);
}

static void refuse(const char *objective, bool head, const char *words) {
    setting s;
    open_loss(&s, objective, head);
    assert_null(s.of.value);
    assert_int_not_equal(vn_graph_status(s.of.g, &s.err), VN_OK);
    if (!strstr(s.err.text, words)) fail_msg("%s: %s", objective, s.err.text);
    setting_close(&s.of);
}

static void heads_that_are_not_there_or_not_trained_are_refused(void **state) {
    (void)state;
    refuse("cfm:head=1", false, "head has no effect: the network has no internal head");
    refuse("mean-flow", true, "mean-flow does not train the network's internal head");
    vn_path *path = NULL;
    vn_prediction p;
    vn_objective *o = NULL;
    vn_err err = {0};
    assert_int_equal(vn_path_open("rectified", &path, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("velocity", &p, &err), VN_OK);
    const vn_objective_options options = {
        .path = path, .prediction = &p, .objective = "cfm:tau=1", .null_label = -1};
    assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "tau has no effect without dispersive"));
    vn_path_close(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_terms_are_those_of_the_papers),
        cmocka_unit_test(the_learned_size_is_the_log_of_the_loss),
        cmocka_unit_test(without_terms_it_is_the_plain_loss),
        cmocka_unit_test(heads_that_are_not_there_or_not_trained_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
