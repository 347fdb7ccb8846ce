/* The discriminator that autoencoders are trained against: both hinge losses and the weight of the
 * adversarial term by their formulas in double, their gradients against differences of those, and
 * the steps in which they are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/internal.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { N = 2, PIXELS = 4, FEATURES = 3, ALL = N * PIXELS, INNER = ALL * FEATURES };

/* x^ = W h + 0.1 of features h [N,2,2,3], then halved: the last layer is W [1,3]. D answers for a
 * pixel x with 2 sin(1.5 x + 0.3) + 0.4, or with a number. */
typedef struct setting {
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
    vn_graph *g;
    vn_weights *weights;
    vn_node *h, *w, *decoded;
    vn_loss l;
    vn_node *loss, *by[2]; /* by h and by W */
    bool blind;
} setting;

static double decode(const double *h, const double *w, int pixel) {
    double sum = 0.1;
    for (int k = 0; k < FEATURES; k++) sum += w[k] * h[pixel * FEATURES + k];
    return 0.5 * sum;
}

static double judge(double x) {
    return 2 * sin(1.5 * x + 0.3) + 0.4;
}

static vn_node *answer(void *self, const vn_loss_call *call) {
    const setting *s = self;
    if (!call->part) {
        assert_string_equal(call->output, "decoded");
        return s->decoded;
    }
    assert_string_equal(call->part, VN_LOSS_DISCRIMINATOR);
    assert_string_equal(call->output, "logits");
    assert_int_equal(call->n, 1);
    vn_node *x = call->given[0].node;
    if (s->blind) return vn_affine(s->g, x, 0, 0.4);
    return vn_affine(s->g, vn_unary(s->g, vn_affine(s->g, x, 1.5, 0.3), VN_FN_SIN), 2, 0.4);
}

static void open_objective(setting *s, const char *objective, vn_err *err) {
    *s = (setting){0};
    assert_int_equal(vn_path_open("rectified", &s->path, err), VN_OK);
    assert_int_equal(vn_prediction_parse("x0", &s->prediction, err), VN_OK);
    const vn_objective_options o = {.path = s->path,
                                    .prediction = &s->prediction,
                                    .objective = objective,
                                    .trains = VN_TRAINS_AUTOENCODERS,
                                    .network = "autoencoder-tiny",
                                    .null_label = -1,
                                    .seed = 3};
    vn_objective_open(&o, &s->objective, err);
}

/* One of the objective's losses, with its gradients by h and by W. */
static void open_loss(setting *s, const char *objective, int loss, bool blind, bool held) {
    const vn_init init = {VN_INIT_UNIFORM, 1};
    vn_err err = {0};
    open_objective(s, objective, &err);
    assert_int_equal(err.status, VN_OK);
    s->blind = blind;
    assert_int_equal(vn_graph_open(&s->g, &err), VN_OK);
    assert_int_equal(vn_weights_open(&s->weights, &err), VN_OK);
    s->h = vn_input(s->g, VN_F32, VN_SHAPE(N, 2, 2, FEATURES));
    s->w = vn_param_node(s->g, s->weights, "conv_out.weight", VN_SHAPE(1, FEATURES),
                         VN_LAYOUT_PLAIN, init);
    s->decoded = vn_affine(s->g, vn_linear(s->g, s->h, s->w, NULL, false), 0.5, 0.05);
    s->l = (vn_loss){.g = s->g,
                     .x = vn_input(s->g, VN_F32, VN_SHAPE(N, 2, 2, 1)),
                     .network = answer,
                     .self = s,
                     .held = held};
    s->loss = vn_objective_build(s->objective, loss, &s->l);
    vn_node *wrt[2] = {s->h, s->w};
    if (vn_graph_gradient(s->g, s->loss, NULL, 2, wrt, s->by, &err)) fail_msg("%s", err.text);
}

static void close(setting *s) {
    vn_weights_close(&s->weights);
    vn_graph_close(&s->g);
    vn_objective_close(&s->objective);
    vn_path_close(&s->path);
}

static const double x[ALL] = {0.4, -0.7, 0.1, 0.9, -0.2, 0.3, -1, 0.6};
static const double w0[FEATURES] = {0.8, -0.5, 1.1};

static void features(double h[INNER]) {
    for (int i = 0; i < INNER; i++) h[i] = 1.2 * sin(1.7 * i + 0.4);
}

/* ---- formulas -------------------------------------------------------------------------------- */

typedef struct formula {
    double weight, lambda;
    bool square, blind;
} formula;

static double distance(const formula *f, const double *h, const double *w) {
    double sum = 0;
    for (int i = 0; i < ALL; i++) {
        const double off = decode(h, w, i) - x[i];
        sum += f->square ? off * off : fabs(off);
    }
    return sum / ALL;
}

static double realism(const formula *f, const double *h, const double *w) {
    double sum = 0;
    for (int i = 0; i < ALL; i++) sum -= f->blind ? 0.4 : judge(decode(h, w, i));
    return sum / ALL;
}

static double total(const formula *f, const double *h, const double *w) {
    return distance(f, h, w) + f->weight * f->lambda * realism(f, h, w);
}

typedef double function(const formula *f, const double *h, const double *w);

#define STEP 1e-5

/* By number i of h, or, past these, of W. */
static double slope(function *of, const formula *f, const double *h, int i) {
    double moved[2][INNER], w[2][FEATURES];
    for (int k = 0; k < 2; k++) {
        memcpy(moved[k], h, sizeof moved[k]);
        memcpy(w[k], w0, sizeof w[k]);
        *(i < INNER ? &moved[k][i] : &w[k][i - INNER]) += k ? -STEP : STEP;
    }
    return (of(f, moved[0], w[0]) - of(f, moved[1], w[1])) / (2 * STEP);
}

static double norm_by_w(function *of, const formula *f, const double *h) {
    double sum = 0;
    for (int i = 0; i < FEATURES; i++) sum += pow(slope(of, f, h, INNER + i), 2);
    return sqrt(sum);
}

static void hold(const char *what, const setting *s, const ref_graph *r, function *of,
                 const formula *f, const double *h) {
    double worst = 0;
    for (int i = 0; i < INNER + FEATURES; i++) {
        const double found = i < INNER ? ref_get(r, s->by[0])[i] : ref_get(r, s->by[1])[i - INNER];
        worst = fmax(worst, fabs(found - slope(of, f, h, i)));
    }
    expect_below_as(fabs(ref_get(r, s->loss)[0] - of(f, h, w0)), 1e-9, "%s", what);
    expect_below_as(worst, 1e-9, "%s: derivatives", what);
}

static void run(const setting *s, ref_graph *r, const double *h, double on) {
    *r = ref_open(s->g);
    ref_set(r, s->h, h);
    ref_set(r, s->w, w0);
    ref_set(r, s->l.x, x);
    const double start[N] = {on, on};
    if (loss_node(&s->l, "start")) ref_set(r, loss_node(&s->l, "start"), start);
    ref_run(r, NULL);
}

/* ---- of the autoencoder ---------------------------------------------------------------------- */

static void try_term(const char *objective, formula f, bool adaptive, double on) {
    setting s;
    ref_graph r;
    double h[INNER];
    features(h);
    open_loss(&s, objective, 0, f.blind, false);
    run(&s, &r, h, on);
    f.lambda = 1;
    if (adaptive)
        f.lambda = fmin(norm_by_w(distance, &f, h) / (norm_by_w(realism, &f, h) + 1e-4), 1e4);
    print_message("%s: lambda %.4g\n", objective, f.lambda);
    f.lambda *= on;
    hold(objective, &s, &r, total, &f, h);
    ref_close(&r);
    close(&s);
}

static void the_adversarial_term_is_its_formula(void **state) {
    (void)state;
    try_term("reconstruction:adversarial=0.5", (formula){.weight = 0.5}, true, 1);
    try_term("reconstruction:adversarial=2,distance=l2", (formula){.weight = 2, .square = true},
             true, 1);
    try_term("reconstruction:adversarial=2,disc_adaptive=no", (formula){.weight = 2}, false, 1);
    /* before it begins */
    try_term("reconstruction:adversarial=2", (formula){.weight = 2}, true, 0);
    try_term("reconstruction:adversarial=2,disc_adaptive=no", (formula){.weight = 2}, false, 0);
}

/* What says the same of all pictures has no gradient: lambda is |distance's| over 1e-4, and, of a
 * gradient longer than 1, 1e4 at most. */
static void the_weight_of_a_blind_discriminator_is_bounded(void **state) {
    (void)state;
    try_term("reconstruction:adversarial=1e-3", (formula){.weight = 1e-3, .blind = true}, true, 1);
    setting s;
    ref_graph r;
    double h[INNER];
    const formula f = {.blind = true};
    features(h);
    for (int i = 0; i < INNER; i++) h[i] *= 8;
    open_loss(&s, "reconstruction:adversarial=1", 0, true, false);
    run(&s, &r, h, 1);
    assert_true(norm_by_w(distance, &f, h) > 1.05);
    expect_small(fabs(ref_get(&r, s.loss)[0] - (distance(&f, h, w0) - 1e4 * 0.4)), 1e-8);
    ref_close(&r);
    close(&s);
}

/* The loss of one step can be held against that of another. */
static void held_out_pictures_are_scored_without_it(void **state) {
    (void)state;
    setting s;
    ref_graph r;
    double h[INNER];
    const formula f = {0};
    features(h);
    open_loss(&s, "reconstruction:adversarial=0.5", 0, false, true);
    assert_null(loss_node(&s.l, "start"));
    run(&s, &r, h, 1);
    hold("held out", &s, &r, distance, &f, h);
    ref_close(&r);
    close(&s);
}

/* ---- of the discriminator -------------------------------------------------------------------- */

/* No gradient goes to the autoencoder. */
static void the_hinge_loss_is_its_formula(void **state) {
    (void)state;
    setting s;
    ref_graph r;
    double h[INNER], real = 0, made = 0;
    int beyond = 0;
    features(h);
    for (int i = 0; i < ALL; i++) {
        const double of_x = judge(x[i]), of_made = judge(decode(h, w0, i));
        real += fmax(0, 1 - of_x) / ALL;
        made += fmax(0, 1 + of_made) / ALL;
        beyond += (of_x > 1) + (of_made < -1);
    }
    assert_true(beyond > 2 && beyond < 2 * ALL); /* on both sides of both hinges */
    open_loss(&s, "reconstruction:adversarial=0.5", 1, false, false);
    run(&s, &r, h, 1);
    expect_small(fabs(ref_get(&r, s.loss)[0] - (real + made) / 2), 1e-12);
    for (int i = 0; i < INNER; i++) assert_true(ref_get(&r, s.by[0])[i] == 0);
    for (int i = 0; i < FEATURES; i++) assert_true(ref_get(&r, s.by[1])[i] == 0);
    ref_close(&r);
    close(&s);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void it_begins_where_it_is_told_to(void **state) {
    (void)state;
    setting s;
    vn_err err = {0};
    vn_adversary a;
    open_objective(&s, "reconstruction:adversarial=0.5,disc_start=7,disc_channels=12,disc_layers=2",
                   &err);
    assert_true(vn_objective_adversary(s.objective, &a));
    assert_int_equal(a.start, 7);
    assert_int_equal(a.channels, 12);
    assert_int_equal(a.layers, 2);
    assert_int_equal(vn_objective_losses(s.objective), 2);
    assert_int_equal(vn_objective_loss_of(s.objective, VN_LOSS_DISCRIMINATOR), 1);
    for (int64_t step = 0; step < 20; step++) {
        assert_true(vn_objective_loss_due(s.objective, 0, step));
        assert_int_equal(vn_objective_loss_taken(s.objective, 0, step), step);
        assert_int_equal(vn_objective_loss_due(s.objective, 1, step), step >= 7);
        assert_int_equal(vn_objective_loss_taken(s.objective, 1, step), step > 7 ? step - 7 : 0);
    }
    close(&s);
    open_loss(&s, "reconstruction:adversarial=0.5,disc_start=7", 0, false, false);
    for (uint64_t step = 6; step < 9; step++) {
        float x0[ALL] = {0}, made[ALL], time[N], start[N];
        int32_t given[N];
        vn_level level[N];
        vn_objective_batch batch = {.n = N,
                                    .size = PIXELS,
                                    .step = step,
                                    .total = N,
                                    .x0 = x0,
                                    .level = level,
                                    .x = made,
                                    .time = time,
                                    .network_labels = given};
        loss_bind(&s.l, &batch, "start", start);
        assert_int_equal(vn_objective_fill(s.objective, &s.l, &batch, &err), VN_OK);
        for (int i = 0; i < N; i++) assert_true(start[i] == (step >= 7 ? 1 : 0));
    }
    close(&s);
}

static void without_a_weight_there_is_none(void **state) {
    (void)state;
    setting s;
    vn_err err = {0};
    vn_adversary a;
    open_objective(&s, "reconstruction", &err);
    assert_int_equal(vn_objective_losses(s.objective), 1);
    assert_false(vn_objective_adversary(s.objective, &a));
    close(&s);
    open_objective(&s, "reconstruction:disc_start=5", &err);
    assert_int_equal(err.status, VN_BAD_ARGUMENT);
    if (!strstr(err.text, "disc_start has no effect without a weight")) fail_msg("%s", err.text);
    close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_adversarial_term_is_its_formula),
        cmocka_unit_test(the_weight_of_a_blind_discriminator_is_bounded),
        cmocka_unit_test(held_out_pictures_are_scored_without_it),
        cmocka_unit_test(the_hinge_loss_is_its_formula),
        cmocka_unit_test(it_begins_where_it_is_told_to),
        cmocka_unit_test(without_a_weight_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
