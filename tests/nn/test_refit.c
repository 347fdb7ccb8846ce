/* test_refit.c - a network made from one whose time was counted otherwise answers as it did, where
 * slow sinusoids can; where they cannot, no other weights would do better. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "nn/nn.h"
#include "support/bound.h"

enum { WIDTH = 8, FEATURES = 64, HALF = FEATURES / 2, TIMES = 1001 };

static vn_net *open_net(bool step_end) {
    vn_err err = {0};
    vn_net *net = NULL;
    json_t *config = json_pack("{s:s, s:i, s:i, s:i}", "_class_name", "VaneMLP", "width", WIDTH,
                               "layers", 1, "time_features", FEATURES);
    assert_non_null(config);
    if (step_end) json_object_set_new(config, "takes_step_end", json_true());
    if (vn_net_open(config, &net, &err)) fail_msg("%s", err.text);
    json_decref(config);
    return net;
}

/* The layer's answer k at a time that is counted by `scale`. */
static double answer(const vn_weights *w, const float *values, int k, double t, double scale) {
    const float *row =
        values + vn_weights_find(w, "time_embedding.linear_1.weight")->offset + k * FEATURES;
    double sum = (double)values[vn_weights_find(w, "time_embedding.linear_1.bias")->offset + k];
    for (int i = 0; i < HALF; i++) {
        const double turn = scale * t * pow(10000, -(double)i / HALF);
        sum += (double)row[i] * cos(turn) + (double)row[HALF + i] * sin(turn);
    }
    return sum;
}

/* Weights of `from` in the places of `to`, refitted. */
static void refit(const vn_net *from, const vn_net *to, const float *old, float *values) {
    vn_err err = {0};
    const vn_weights *a = vn_net_weights(from), *b = vn_net_weights(to);
    for (size_t i = 0; i < vn_weights_count(a); i++) {
        const vn_weight *w = vn_weights_at(a, i);
        memcpy(values + vn_weights_find(b, w->name)->offset, old + w->offset,
               w->count * sizeof *old);
    }
    assert_int_equal(vn_net_refit_time(from, to, values, &err), VN_OK);
}

static float *array(const vn_net *net) {
    float *x = vn_calloc(vn_weights_floats(vn_net_weights(net)), sizeof *x);
    assert_non_null(x);
    return x;
}

/* The fast sinusoid i + HALF/2 is the slow one i: an answer made of these alone is kept, but for
 * what the ridge takes. */
static void slow_answers_are_kept(void **state) {
    (void)state;
    vn_net *from = open_net(false), *to = open_net(true);
    const vn_weights *w = vn_net_weights(from);
    float *old = array(from), *values = array(to);
    vn_weights_init(w, old, 3);
    float *weight = old + vn_weights_find(w, "time_embedding.linear_1.weight")->offset;
    for (int k = 0; k < WIDTH; k++)
        for (int i = 0; i < HALF / 2; i++)
            weight[k * FEATURES + i] = weight[k * FEATURES + HALF + i] = 0;
    refit(from, to, old, values);
    double off = 0, all = 0;
    for (int k = 0; k < WIDTH; k++)
        for (int t = 0; t < TIMES; t++) {
            const double was = answer(w, old, k, t, 1),
                         is = answer(vn_net_weights(to), values, k, t, 0.01);
            off += (is - was) * (is - was);
            all += was * was;
        }
    expect_below("slow answers", sqrt(off / all), 0.01);
    vn_free(old);
    vn_free(values);
    vn_net_close(&from);
    vn_net_close(&to);
}

/* Of the sum of squares over the times and the ridge, no weight's derivative is left. */
static void fast_answers_are_met_as_nearly_as_can_be(void **state) {
    (void)state;
    vn_net *from = open_net(false), *to = open_net(true);
    const vn_weights *w = vn_net_weights(from), *v = vn_net_weights(to);
    float *old = array(from), *values = array(to);
    vn_weights_init(w, old, 3);
    refit(from, to, old, values);
    double worst = 0, off = 0, all = 0;
    for (int i = 0; i < FEATURES; i++) {
        double slope = 0;
        for (int t = 0; t < TIMES; t++) {
            const double turn = 0.01 * t * pow(10000, -(double)(i % HALF) / HALF),
                         left = answer(v, values, 0, t, 0.01) - answer(w, old, 0, t, 1);
            slope += left * (i < HALF ? cos(turn) : sin(turn)) / TIMES;
            off += left * left;
            all += pow(answer(w, old, 0, t, 1), 2);
        }
        const float *weight = values + vn_weights_find(v, "time_embedding.linear_1.weight")->offset;
        worst = fmax(worst, fabs(slope + 1e-3 * (double)weight[i]));
    }
    /* weights are floats of about 1 */
    expect_below("the derivative that is left", worst, 1e-7);
    assert_true(off > 0 && off < all);
    vn_free(old);
    vn_free(values);
    vn_net_close(&from);
    vn_net_close(&to);
}

static void the_same_time_changes_nothing(void **state) {
    (void)state;
    vn_net *from = open_net(true), *to = open_net(true);
    float *old = array(from), *values = array(to);
    vn_weights_init(vn_net_weights(from), old, 3);
    refit(from, to, old, values);
    assert_memory_equal(old, values, vn_weights_floats(vn_net_weights(to)) * sizeof *old);
    vn_free(old);
    vn_free(values);
    vn_net_close(&from);
    vn_net_close(&to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_answers_are_kept),
        cmocka_unit_test(fast_answers_are_met_as_nearly_as_can_be),
        cmocka_unit_test(the_same_time_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
