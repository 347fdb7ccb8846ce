/* test_contrast.c - contrastive flow matching: which sample stands against which, the other's
 * target, and the loss, against the formulas in double; without contrast, the plain loss. */
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
#include "support/thread_pool.h"

enum { N = 12, SIZE = 5, NULL_LABEL = 3 };
static const uint64_t seed = 21, step = 5;

static void open_loss(objective_setting *s, const char *prediction, const char *objective,
                      double drop) {
    setting_open(s, "trigonometric", prediction,
                 &(vn_objective_options){
                     .objective = objective, .drop = drop, .null_label = NULL_LABEL, .seed = seed});
    setting_build(s, VN_SHAPE(N, SIZE));
    s->value = vn_objective_loss(s->objective, &s->loss);
    assert_non_null(s->value);
}

typedef struct arrays {
    float x0[N * SIZE], x[N * SIZE], time[N];
    float target[N * SIZE], weight[N], other[N * SIZE], contrast[N];
    int32_t labels[N], given[N];
    vn_level level[N];
} arrays;

static vn_objective_batch batch_of(const objective_setting *s, arrays *a) {
    memset(a, 0, sizeof *a);
    for (int i = 0; i < N; i++) {
        vn_random_normal(a->x0 + i * SIZE, SIZE, 2, VN_STREAM_TEST, (uint64_t)i, 0);
        a->labels[i] = i % NULL_LABEL;
    }
    vn_objective_batch b = {.n = N,
                            .size = SIZE,
                            .step = step,
                            .x0 = a->x0,
                            .labels = a->labels,
                            .level = a->level,
                            .x = a->x,
                            .time = a->time,
                            .network_labels = a->given};
    loss_bind(&s->loss, &b, "target", a->target);
    loss_bind(&s->loss, &b, "weight", a->weight);
    loss_bind(&s->loss, &b, "other", a->other);
    loss_bind(&s->loss, &b, "contrast", a->contrast);
    return b;
}

static void fill(const objective_setting *s, const vn_objective_batch *b) {
    vn_err err = {0};
    if (vn_objective_fill(s->objective, &s->loss, b, &err)) fail_msg("%s", err.text);
}

/* ---- who stands against whom ----------------------------------------------------------------- */

/* Every sample of another class is drawn for an equal part of u, and no other. */
static void others_are_of_another_class(void **state) {
    (void)state;
    static const int32_t labels[] = {1, 0, 1, 2, 0, 1};
    int drawn[VN_COUNT(labels)] = {0};
    for (int k = 0; k < 300; k++) drawn[vn_contrast_partner(labels, 6, 0, (k + 0.5) / 300)]++;
    for (int i = 0; i < 6; i++) assert_int_equal(drawn[i], labels[i] == 1 ? 0 : 100);
}

static void without_another_class_any_other_will_do(void **state) {
    (void)state;
    static const int32_t labels[] = {4, 4, 4};
    for (int k = 0; k < 2; k++) {
        const int32_t *of = k ? labels : NULL;
        assert_int_equal(vn_contrast_partner(of, 3, 1, 0.2), 0);
        assert_int_equal(vn_contrast_partner(of, 3, 1, 0.7), 2);
    }
    assert_int_equal(vn_contrast_partner(labels, 1, 0, 0.5), -1);
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* The other's target is its own x0 and noise at this sample's level; the null condition has none.
 * Which it was is found by trying all. */
static void check_others(const char *prediction, const char *objective) {
    static arrays a;
    objective_setting s;
    open_loss(&s, prediction, objective, 0.3);
    const vn_objective_batch b = batch_of(&s, &a);
    fill(&s, &b);
    int dropped = 0, distance = 0;
    for (int i = 0; i < N; i++) {
        const vn_coefficients m = vn_prediction_coefficients(&s.prediction, &a.level[i]);
        const bool null = a.given[i] == NULL_LABEL;
        expect_below("share", fabs((double)a.contrast[i] - (null ? 0 : 0.25 * m.weight)), 1e-7);
        dropped += null;
        double least = (double)INFINITY;
        int which = i;
        for (int k = 0; k < N && !null; k++) {
            float eps[SIZE];
            double apart = 0;
            vn_random_normal(eps, SIZE, seed, VN_STREAM_TRAIN_NOISE, (uint64_t)k, step);
            for (int j = 0; j < SIZE; j++)
                apart =
                    fmax(apart, fabs(m.raw_x0 * (double)a.x0[k * SIZE + j] +
                                     m.raw_eps * (double)eps[j] - (double)a.other[i * SIZE + j]));
            if (apart < least) least = apart, which = k;
        }
        for (int j = 0; j < SIZE && null; j++) assert_true(a.other[i * SIZE + j] == 0);
        if (null) continue;
        /* some roundings of float32; measured: 4.5e-7 */
        expect_below("other target", least, 1e-6);
        assert_int_not_equal(a.labels[which], a.labels[i]);
        distance |= which - i;
    }
    assert_true(dropped > 0 && dropped < N && distance);
    setting_close(&s);
}

static void others_have_their_targets(void **state) {
    (void)state;
    check_others("velocity", "cfm:contrast=0.25");
    check_others("eps", "dsm:contrast=0.25");
    check_others("x0", "dsm:contrast=0.25");
}

/* The same bits in parts, which see all samples of the step, and with more threads. */
static void parts_hold_samples_against_all_of_the_step(void **state) {
    (void)state;
    static arrays a, other;
    objective_setting s;
    open_loss(&s, "velocity", "cfm:contrast=0.25", 0.3);
    vn_objective_batch b = batch_of(&s, &a);
    fill(&s, &b);
    b = batch_of(&s, &other);
    b.pool = crew_of(3);
    b.n = N / 4;
    b.total = N;
    b.all.x0 = other.x0;
    b.all.labels = other.labels;
    for (b.first = 0; b.first < N; b.first += N / 4) {
        fill(&s, &b);
        b.x0 += N / 4 * SIZE, b.x += N / 4 * SIZE, b.time += N / 4;
        b.labels += N / 4, b.network_labels += N / 4, b.level += N / 4;
        for (int i = 0; i < s.loss.inputs; i++) {
            const bool each = s.loss.input[i].node->shape.rank == 1;
            b.input[i] += N / 4 * (each ? 1 : SIZE);
        }
    }
    assert_memory_equal(&a, &other, sizeof a);
    setting_close(&s);
}

/* Noise that the data bring is the other's too. */
static void others_bring_their_noise(void **state) {
    (void)state;
    static arrays a;
    float noise[N * SIZE];
    objective_setting s;
    open_loss(&s, "eps", "dsm:contrast=0.25", 0);
    vn_objective_batch b = batch_of(&s, &a);
    for (int i = 0; i < N * SIZE; i++) {
        const int sample = i / SIZE;
        noise[i] = (float)sample;
    }
    b.noise = noise;
    fill(&s, &b);
    for (int i = 0; i < N; i++) {
        const int k = (int)a.other[i * SIZE];
        assert_true(k != i && a.other[i * SIZE] == (float)k);
        assert_int_not_equal(a.labels[k], a.labels[i]);
    }
    setting_close(&s);
}

/* ---- the loss -------------------------------------------------------------------------------- */

static double pseudo(int i, int k) {
    return vn_random_double(1, VN_STREAM_TEST, (uint64_t)i, (uint64_t)k);
}

static void the_loss_is_that_of_the_paper(void **state) {
    (void)state;
    objective_setting s;
    open_loss(&s, "velocity", "cfm:contrast=0.25", 0);
    vn_err err = {0};
    vn_node *gradient;
    double f[N * SIZE], u[N * SIZE], v[N * SIZE], w[N], share[N], want = 0;
    assert_int_equal(vn_graph_gradient(s.g, s.value, NULL, 1, &s.output, &gradient, &err), VN_OK);
    for (int i = 0; i < N; i++) w[i] = 0.5 + pseudo(i, 3), share[i] = i % 4 ? 0.25 * w[i] : 0;
    for (int i = 0; i < N * SIZE; i++) {
        f[i] = pseudo(i, 0), u[i] = pseudo(i, 1), v[i] = pseudo(i, 2);
        want += w[i / SIZE] * pow(f[i] - u[i], 2) - share[i / SIZE] * pow(f[i] - v[i], 2);
    }
    ref_graph r = ref_open(s.g);
    ref_set(&r, s.output, f);
    ref_set(&r, loss_node(&s.loss, "target"), u);
    ref_set(&r, loss_node(&s.loss, "other"), v);
    ref_set(&r, loss_node(&s.loss, "weight"), w);
    ref_set(&r, loss_node(&s.loss, "contrast"), share);
    ref_run(&r, NULL);
    /* roundings of double */
    expect_below("loss", fabs(ref_get(&r, s.value)[0] - want / (N * SIZE)), 2e-15);
    for (int i = 0; i < N * SIZE; i++) {
        const double slope =
            2 * (w[i / SIZE] * (f[i] - u[i]) - share[i / SIZE] * (f[i] - v[i])) / (N * SIZE);
        expect_below("gradient", fabs(ref_get(&r, gradient)[i] - slope), 2e-16);
    }
    ref_close(&r);
    setting_close(&s);
}

/* contrast=0 is the plain objective to the bit: the same inputs and the same nodes. */
static void no_contrast_is_the_plain_loss(void **state) {
    (void)state;
    static arrays a, b;
    objective_setting plain, none;
    open_loss(&plain, "velocity", "cfm", 0.3);
    open_loss(&none, "velocity", "cfm:contrast=0", 0.3);
    const vn_objective_batch one = batch_of(&plain, &a), two = batch_of(&none, &b);
    assert_int_equal(none.loss.inputs, plain.loss.inputs);
    assert_null(loss_node(&none.loss, "contrast"));
    assert_int_equal(none.value->op, plain.value->op);
    fill(&plain, &one);
    fill(&none, &two);
    assert_memory_equal(&a, &b, sizeof a);
    assert_false(vn_objective_contrasts(none.objective));
    setting_close(&plain);
    setting_close(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_of_another_class),
        cmocka_unit_test(without_another_class_any_other_will_do),
        cmocka_unit_test(others_have_their_targets),
        cmocka_unit_test(parts_hold_samples_against_all_of_the_step),
        cmocka_unit_test(others_bring_their_noise),
        cmocka_unit_test(the_loss_is_that_of_the_paper),
        cmocka_unit_test(no_contrast_is_the_plain_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
