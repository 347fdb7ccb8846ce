/* Losses of few steps, held to closed forms. Of a Gaussian N(m, s^2) the ODE's solution is linear,
 *
 *     x_r = alpha_r m + S_r/S_t (x_t - alpha_t m),      S^2 = alpha^2 s^2 + sigma^2
 *
 * and with it the average velocity of a step and the consistency function. At these the losses have
 * no gradient, in expectation, and what they are made of is known number by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/consistency.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { SIZE = 2, ROWS = 4096, INPUTS = VN_LOSS_INPUTS };

static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]},"
    " {\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]}]}";
static const double mean[SIZE] = {1, -0.5};
#define DEVIATION 0.6

/* An objective on the rectified path, the exact teacher, and a network that is the exact answer
 * with two numbers in it that spoil it: answer + spoil[0] + spoil[1] x. */
typedef struct setting {
    bench truth;
    vn_objective *objective;
    vn_graph *g;
    vn_loss parts;
    vn_node *spoil[2], *loss, *grad[2];
    bool told; /* the network adds 0.3 of the strength of guidance and, without class, x/2 */
    float x0[ROWS * SIZE], x[ROWS * SIZE], time[ROWS];
    float input[INPUTS][ROWS * SIZE * 3];
    int32_t labels[ROWS], given[ROWS];
    vn_level level[ROWS];
} setting;

/* ---- the exact network ----------------------------------------------------------------------- */

/* (1 - t) m */
static vn_node *mean_at(vn_graph *g, vn_node *t) {
    const float m[SIZE] = {(float)mean[0], (float)mean[1]};
    return vn_mul(g, vn_affine(g, t, -1, 1), vn_const(g, VN_F32, VN_SHAPE(1, SIZE), m));
}

/* S(t) */
static vn_node *deviation_at(vn_graph *g, vn_node *t) {
    vn_node *data =
        vn_affine(g, vn_unary(g, vn_affine(g, t, -1, 1), VN_FN_SQUARE), DEVIATION * DEVIATION, 0);
    return vn_unary(g, vn_add(g, data, vn_unary(g, t, VN_FN_SQUARE)), VN_FN_SQRT);
}

static vn_node *given_of(const vn_loss_call *call, const char *port, vn_node *otherwise) {
    for (int i = 0; i < call->n; i++)
        if (!strcmp(call->given[i].port, port)) return call->given[i].node;
    return otherwise;
}

/* u = (x_t - x_r)/(t - r), with r as the call gives it; without one, r = 0. */
static vn_node *exact_network(void *self, const vn_loss_call *call) {
    setting *s = self;
    vn_graph *g = s->g;
    const vn_shape column = VN_SHAPE(ROWS, 1);
    vn_node *x = given_of(call, "sample", s->parts.x);
    vn_node *time = given_of(call, "timestep", s->parts.time);
    vn_node *end = given_of(call, VN_LOSS_STEP_END, NULL);
    vn_node *t = vn_affine(g, vn_reshape(g, time, column), 1e-3, 0);
    vn_node *r = end ? vn_affine(g, vn_reshape(g, end, column), 1e-3, 0) : vn_fill(g, column, 0);
    const float m[SIZE] = {(float)-mean[0], (float)-mean[1]};
    const double variance = DEVIATION * DEVIATION;
    vn_node *from = deviation_at(g, t), *to = deviation_at(g, r);
    /* 1 - S_r/S_t over t - r, without a difference of what is equal at r = t */
    vn_node *slope = vn_div(g, vn_affine(g, vn_add(g, t, r), 1 + variance, -2 * variance),
                            vn_mul(g, from, vn_add(g, from, to)));
    vn_node *u = vn_add(g, vn_mul(g, vn_sub(g, x, mean_at(g, t)), slope),
                        vn_const(g, VN_F32, VN_SHAPE(1, SIZE), m));
    vn_node *strength = given_of(call, VN_LOSS_GUIDANCE, NULL);
    if (strength && s->told) /* of guidance and class */
        u = vn_add(g, u, vn_affine(g, vn_reshape(g, strength, column), 0.3, 0));
    if (s->told && given_of(call, "class_labels", NULL)) u = vn_add(g, u, vn_affine(g, x, 0.5, 0));
    return vn_add(g, vn_add(g, u, s->spoil[0]), vn_mul(g, x, s->spoil[1]));
}

/* ---- a batch --------------------------------------------------------------------------------- */

static void open_told(setting *s, const vn_table *table, const char *objective, const char *times,
                      double drop, bool told) {
    vn_err err = {0};
    memset(s, 0, sizeof *s);
    s->told = told;
    s->truth = bench_open(world_text, "rectified", "velocity");
    const vn_objective_options o = {.table = table,
                                    .path = s->truth.path,
                                    .prediction = &s->truth.prediction,
                                    .objective = objective,
                                    .times = times,
                                    .drop = drop,
                                    .null_label = 2,
                                    .seed = 3,
                                    .asked[VN_ASK_TEACHER] = &s->truth.denoiser};
    if (vn_objective_open(&o, &s->objective, &err)) fail_msg("%s: %s", objective, err.text);
    assert_int_equal(vn_graph_open(&s->g, &err), VN_OK);
    for (int i = 0; i < 2; i++) s->spoil[i] = vn_input(s->g, VN_F32, VN_SHAPE(1, 1));
    s->parts = (vn_loss){.g = s->g,
                         .x = vn_input(s->g, VN_F32, VN_SHAPE(ROWS, SIZE)),
                         .time = vn_input(s->g, VN_F32, VN_SHAPE(ROWS)),
                         .network = exact_network,
                         .self = s};
    s->loss = vn_objective_loss(s->objective, &s->parts);
    if (vn_graph_status(s->g, &err) ||
        vn_graph_gradient(s->g, s->loss, NULL, 2, s->spoil, s->grad, &err))
        fail_msg("%s: %s", objective, err.text);
}

static void open(setting *s, const vn_table *table, const char *objective, const char *times) {
    open_told(s, table, objective, times, 0, false);
}

static void fill(setting *s, uint64_t step) {
    vn_err err = {0};
    for (int i = 0; i < ROWS; i++) {
        s->labels[i] = i % 2;
        vn_world_draw(s->truth.world, s->labels[i], 77, step * ROWS + (uint64_t)i,
                      s->x0 + i * SIZE);
    }
    vn_objective_batch b = {.n = ROWS,
                            .size = SIZE,
                            .step = step,
                            .x0 = s->x0,
                            .labels = s->labels,
                            .level = s->level,
                            .x = s->x,
                            .time = s->time,
                            .network_labels = s->given};
    for (int i = 0; i < s->parts.inputs; i++) b.input[i] = s->input[i];
    if (vn_objective_fill(s->objective, &s->parts, &b, &err)) fail_msg("%s", err.text);
}

static const float *input_of(const setting *s, const char *name) {
    return s->input[loss_input(&s->parts, name) - s->parts.input];
}

/* The loss and its gradient by the two numbers, in double. */
static double evaluate(setting *s, double first, double second, double grad[2]) {
    ref_graph r = ref_open(s->g);
    ref_set_f32(&r, s->parts.x, s->x);
    ref_set_f32(&r, s->parts.time, s->time);
    for (int i = 0; i < s->parts.inputs; i++) ref_set_f32(&r, s->parts.input[i].node, s->input[i]);
    ref_set(&r, s->spoil[0], &first);
    ref_set(&r, s->spoil[1], &second);
    ref_run(&r, NULL);
    const double loss = *ref_get(&r, s->loss);
    for (int i = 0; i < 2 && grad; i++) grad[i] = *ref_get(&r, s->grad[i]);
    ref_close(&r);
    return loss;
}

static void close(setting *s) {
    vn_graph_close(&s->g);
    vn_objective_close(&s->objective);
    bench_close(&s->truth);
}

/* ---- MeanFlow -------------------------------------------------------------------------------- */

/* u of one number, in double. */
static double average(int j, double x, double r, double t) {
    const double from = hypot((1 - t) * DEVIATION, t), to = hypot((1 - r) * DEVIATION, r),
                 variance = DEVIATION * DEVIATION, centred = x - (1 - t) * mean[j];
    if (t - r < 1e-7) return centred * (t - (1 - t) * variance) / (from * from) - mean[j];
    return (x - (1 - r) * mean[j] - to / from * centred) / (t - r);
}

/* The target v - (t - r) du/dt, with du/dt along v by central differences: what the loss takes from
 * the graph's forward derivative. */
static void mean_flow_is_its_definition(void **state) {
    (void)state;
    static setting s;
    open(&s, NULL, "mean-flow:p=0,same=0", NULL);
    fill(&s, 1);
    const float *end = input_of(&s, "end"), *v = input_of(&s, "target");
    double want = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < SIZE; j++) {
            const double t = (double)s.time[i] / 1000, r = (double)end[i] / 1000, h = 1e-5,
                         x = (double)s.x[i * SIZE + j], along = (double)v[i * SIZE + j];
            assert_true(r <= t && r >= 0);
            const double slope =
                (average(j, x + h * along, r, t + h) - average(j, x - h * along, r, t - h)) /
                (2 * h);
            const double off = average(j, x, r, t) - along + (t - r) * slope;
            want += off * off / ROWS;
        }
    /* differences err by h^2 times the third derivative, and by 1e-16/h */
    expect_below("MeanFlow's loss", fabs(evaluate(&s, 0, 0, NULL) - want) / want, 1e-7);
    close(&s);
}

/* The mean of the gradient over batches, in its standard errors; and of a spoiled network. */
static void means(setting *s, double first, double second, double out[2]) {
    enum { BATCHES = 8 };
    double sum[2] = {0}, square[2] = {0};
    for (uint64_t k = 0; k < BATCHES; k++) {
        double grad[2];
        fill(s, k);
        evaluate(s, first, second, grad);
        for (int i = 0; i < 2; i++) sum[i] += grad[i], square[i] += grad[i] * grad[i];
    }
    for (int i = 0; i < 2; i++) {
        const double average = sum[i] / BATCHES,
                     variance = (square[i] / BATCHES - average * average) / (BATCHES - 1);
        out[i] = average / sqrt(variance);
    }
}

static void flow_maps_have_their_minimum_at_the_exact_one(void **state) {
    (void)state;
    static setting s;
    /* classes that are the same Gaussian: guidance of any strength changes nothing */
    static const struct {
        const char *objective;
        double drop;
    } cases[] = {{"mean-flow:p=0,same=0", 0},
                 {"mean-flow:p=0,same=0,tangent=network", 0},
                 {"mean-flow:p=0,same=0,omega=2,kappa=0.3,tangent=network", 0.1},
                 {"improved-mean-flow:p=0,same=0", 0.1},
                 {"shortcut:bootstrap=0.5,omega=2", 0.1}};
    for (size_t k = 0; k < VN_COUNT(cases); k++) {
        double z[2];
        open_told(&s, NULL, cases[k].objective, NULL, cases[k].drop, false);
        means(&s, 0, 0, z);
        /* Student's t of 7 degrees of freedom is beyond 5.4 once in a thousand; the seed is
         * fixed */
        for (int i = 0; i < 2; i++)
            expect_below_as(fabs(z[i]), 5.4, "gradient of %s at the flow map", cases[k].objective);
        means(&s, 0.3, 0, z);
        assert_true(fabs(z[0]) > 15);
        means(&s, 0, 0.3, z);
        assert_true(fabs(z[1]) > 15);
        close(&s);
    }
}

/* Improved MeanFlow's target: du/dt along the network's own velocity by central differences, and
 * guidance of the strength that the network is told. */
static void improved_mean_flow_is_its_definition(void **state) {
    (void)state;
    static setting s;
    int dropped = 0;
    open_told(&s, NULL, "improved-mean-flow:p=0,same=0,most=4", NULL, 0.2, true);
    fill(&s, 1);
    const float *end = input_of(&s, "end"), *v = input_of(&s, "target"),
                *strength = input_of(&s, "strength");
    double want = 0;
    for (int i = 0; i < ROWS; i++) {
        const double t = (double)s.time[i] / 1000, r = (double)end[i] / 1000, h = 1e-5,
                     w = (double)strength[i];
        const bool none = s.given[i] == 2;
        dropped += none;
        assert_true(w >= 1 && w <= 4 && (!none || r == t));
        for (int j = 0; j < SIZE; j++) {
            const double x = (double)s.x[i * SIZE + j], own = average(j, x, t, t) + 0.3 * w,
                         guided = (double)v[i * SIZE + j] - (none ? 0 : (1 - 1 / w) * x / 2);
            const double slope =
                (average(j, x + h * own, r, t + h) - average(j, x - h * own, r, t - h)) / (2 * h);
            const double off = average(j, x, r, t) + 0.3 * w - guided + (t - r) * slope;
            want += off * off / ROWS;
        }
    }
    assert_true(dropped > ROWS / 10 && dropped < ROWS / 3);
    /* the strengths, times and shares are floats */
    expect_below("improved MeanFlow's loss", fabs(evaluate(&s, 0, 0, NULL) - want) / want, 1e-6);
    close(&s);
}

/* ---- shortcut models ------------------------------------------------------------------------- */

/* Two exact halves are an exact step: but for the shortest, whose halves are by the velocity and
 * err by their length, nothing is left of the loss. */
static void a_step_is_two_of_half_its_length(void **state) {
    (void)state;
    static setting s;
    static const int sections[] = {64, 256};
    double left[2];
    for (int k = 0; k < 2; k++) {
        char objective[64];
        snprintf(objective, sizeof objective, "shortcut:bootstrap=1,sections=%d", sections[k]);
        open(&s, NULL, objective, NULL);
        fill(&s, 1);
        const float *end = input_of(&s, "end"), *numbers = input_of(&s, "numbers");
        double longest = 0;
        for (int i = 0; i < ROWS; i++) {
            const double t = s.level[i].t, d = 2 * (double)numbers[2 * i];
            assert_true(numbers[2 * i + 1] == 1 && d >= 2.0 / sections[k] && d <= 1);
            assert_true(fabs(t / d - round(t / d)) < 1e-9 && t >= d);
            expect_small(fabs((double)end[i] / 1000 - (t - d)), 1e-7);
            longest = fmax(longest, d);
        }
        assert_true(longest == 1);
        left[k] = evaluate(&s, 0, 0, NULL);
        /* a drift that is the same everywhere is consistent, one that grows with x is not */
        assert_true(evaluate(&s, 0, 0.3, NULL) > 10 * left[k]);
        close(&s);
    }
    expect_below("what the shortest step leaves", left[0], 2e-4);
    /* by the square of its length, in a part of the samples that is one in 6 and in 8 */
    expect_below("a fourth of the length", fabs(left[0] / left[1] / (16 * 8.0 / 6) - 1), 0.2);
}

/* ---- consistency ----------------------------------------------------------------------------- */

/* The exact function D(x, t) = x - t u(x, 0, t) is the same all along the teacher's ODE, and one
 * DDIM step of it errs by the gap squared, which the weight divides by the gap: with the gap halved
 * so is what is left of the loss and of its gradient. */
static void the_consistency_function_is_consistent(void **state) {
    (void)state;
    static setting s;
    double loss[2], spoiled[2];
    for (int k = 0; k < 2; k++) {
        open(&s, &vn_methods, k ? "consistency:q=128,c=1e-6" : "consistency:q=64,c=1e-6",
             "edm:mean=0,std=0.5");
        fill(&s, 1);
        loss[k] = evaluate(&s, 0, 0, NULL);
        spoiled[k] = evaluate(&s, 0, 1, NULL);
        close(&s);
    }
    /* of first order in the gap, and of its square the part of a gap, up to 5/64 */
    expect_below("the loss of half the gap", fabs(loss[0] / loss[1] - 2), 0.25);
    /* and that of another network is of the slope of what was added, whatever the gap */
    assert_true(spoiled[0] > 10 * loss[0]);
    expect_below("the spoiled loss of half the gap", fabs(spoiled[0] / spoiled[1] - 1), 0.05);
}

/* Consistency training without a teacher: x_r is of the same sample and noise. */
static void training_takes_the_same_noise_at_an_earlier_time(void **state) {
    (void)state;
    static setting s;
    open(&s, NULL, "consistency:q=16,halve=2", NULL);
    for (uint64_t step = 1; step < 4; step += 2) {
        fill(&s, step);
        const float *earlier = input_of(&s, "earlier"), *time = input_of(&s, "time");
        for (int i = 0; i < ROWS; i++) {
            float eps[SIZE];
            vn_random_normal(eps, SIZE, 3, VN_STREAM_TRAIN_NOISE, (uint64_t)i, step);
            const double t = s.level[i].t, ratio = t / (1 - t), gap = step < 2 ? 16 : 32,
                         n = 1 + 8 / (1 + exp(ratio)), less = ratio * (1 - n / gap),
                         r = less / (1 + less);
            expect_small(fabs((double)time[i] / 1000 - r), 1e-6); /* a float of up to 1000 */
            for (int j = 0; j < SIZE; j++) {
                const double want = (1 - r) * (double)s.x0[i * SIZE + j] + r * (double)eps[j];
                expect_small(fabs((double)earlier[i * SIZE + j] - want), 2e-6);
            }
        }
    }
    close(&s);
}

/* ---- from a teacher -------------------------------------------------------------------------- */

/* What a teacher is taken to say with guidance is null + gamma (conditional - null), and its step
 * is DDIM's. Here all are the same Gaussian, of which exact DDIM steps are known. */
static void progressive_targets_are(int substeps, const char *method) {
    static setting s;
    open(&s, &vn_methods, method, NULL);
    fill(&s, 1);
    const float *target = input_of(&s, "target");
    for (int i = 0; i < ROWS; i++) {
        const double t = s.level[i].t;
        assert_true(fabs(t * 4 - round(t * 4)) < 1e-9);
        for (int j = 0; j < SIZE; j++) {
            double x = (double)s.x[i * SIZE + j], from = t;
            for (int k = 0; k < substeps; k++) { /* x + (to - from) v, v the exact velocity */
                const double to = t - (k + 1) / (4.0 * substeps),
                             variance = pow((1 - from) * DEVIATION, 2) + from * from,
                             slope = (from - (1 - from) * DEVIATION * DEVIATION) / variance,
                             v = -mean[j] + slope * (x - (1 - from) * mean[j]);
                x += (to - from) * v;
                from = to;
            }
            const double want =
                ((double)s.x[i * SIZE + j] - x) * 4; /* the velocity that ends there */
            expect_small(fabs((double)target[i * SIZE + j] - want), 2e-5);
        }
    }
    close(&s);
}

static void progressive_targets_are_steps_of_the_teacher(void **state) {
    (void)state;
    progressive_targets_are(2, "progressive:steps=4");
    progressive_targets_are(5, "progressive:steps=4,substeps=5");
}

/* What the loss of a part is made of, number by number: x_r by the exact teacher's Euler step, and
 * how x and the output at t and at r make the end. */
static void multistep_ends_are_those_of_the_parts(void **state) {
    (void)state;
    static setting s;
    enum { PARTS = 4, GAPS = 16 };
    open(&s, &vn_methods, "multistep:steps=4,q=16,c=1e-6", NULL);
    fill(&s, 1);
    const float *earlier = input_of(&s, "earlier"), *time = input_of(&s, "time"),
                *numbers = input_of(&s, "numbers");
    int ends = 0;
    for (int i = 0; i < ROWS; i++) {
        const double t = s.level[i].t, end = (ceil(t * PARTS) - 1) / PARTS,
                     r = fmax(t - 1.0 / GAPS, end);
        const float *number = numbers + (int64_t)i * VN_END_NUMBERS;
        expect_small(fabs((double)time[i] / 1000 - r), 1e-6);
        /* x_e = x - (t - e) v, v the output */
        expect_small(fabs((double)number[VN_END_OF_X] - 1), 1e-6);
        expect_small(fabs((double)number[VN_END_OF_RAW] + (t - end)), 1e-6);
        expect_small(fabs((double)number[VN_EARLIER_OF_X] - 1), 1e-6);
        expect_small(fabs((double)number[VN_EARLIER_OF_RAW] + (r - end)), 1e-6);
        expect_small(fabs((double)number[VN_END_WEIGHT] * (t - r) - 1), 1e-6);
        ends += r == end;
        for (int j = 0; j < SIZE; j++) {
            const double x = (double)s.x[i * SIZE + j], want = x + (r - t) * average(j, x, t, t);
            expect_small(fabs((double)earlier[i * SIZE + j] - want), 2e-6);
        }
    }
    /* of each part's four gaps the last */
    expect_below("the part of samples that reach the end", fabs((double)ends / ROWS - 0.25), 0.03);
    close(&s);
}

/* A method's loss of an answer, which is taught by `teacher`. */
static void open_taught(setting *s, const bench *b, const vn_denoiser *teacher, const char *method,
                        vn_node **answer) {
    vn_err err = {0};
    memset(s, 0, sizeof *s);
    s->truth = *b;
    const vn_objective_options o = {.table = &vn_methods,
                                    .path = b->path,
                                    .prediction = &b->prediction,
                                    .objective = method,
                                    .null_label = 2,
                                    .drop = 0.2,
                                    .seed = 3,
                                    .asked[VN_ASK_TEACHER] = teacher};
    if (vn_objective_open(&o, &s->objective, &err)) fail_msg("%s", err.text);
    assert_int_equal(vn_graph_open(&s->g, &err), VN_OK);
    *answer = vn_input(s->g, VN_F32, VN_SHAPE(ROWS, SIZE));
    s->parts = (vn_loss){.g = s->g,
                         .x = vn_input(s->g, VN_F32, VN_SHAPE(ROWS, SIZE)),
                         .time = vn_input(s->g, VN_F32, VN_SHAPE(ROWS)),
                         .network = loss_answer,
                         .self = answer};
    assert_non_null(vn_objective_loss(s->objective, &s->parts));
}

static const char two_classes[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]},"
    " {\"components\": [{\"mean\": [-1, 1], \"std\": 0.3}]}]}";

/* What the teacher says of row i as it is given, and without a condition. */
static void ask_both(const setting *s, const bench *b, int i, float *given, float *none) {
    vn_err err = {0};
    const vn_condition null = VN_CONDITION_NULL;
    vn_query q = {.n = 1, .x = s->x + i * SIZE, .level = &s->level[i], .condition = &null};
    assert_int_equal(b->denoiser.predict(b->denoiser.self, &q, none, &err), VN_OK);
    q.condition = s->given[i] == 2 ? &null : &s->given[i];
    assert_int_equal(b->denoiser.predict(b->denoiser.self, &q, given, &err), VN_OK);
}

static void strengths_are_log_uniform_and_the_target_is_guided(void **state) {
    (void)state;
    static setting s;
    bench b = bench_open(two_classes, "rectified", "velocity");
    vn_node *answer;
    open_taught(&s, &b, &b.denoiser, "guidance:least=1,most=4", &answer);
    fill(&s, 1);
    const float *strength = input_of(&s, "strength"), *target = input_of(&s, "target");
    double mean_log = 0;
    int dropped = 0;
    for (int i = 0; i < ROWS; i++) {
        float c[SIZE], u[SIZE];
        ask_both(&s, &b, i, c, u);
        dropped += s.given[i] == 2;
        assert_true(strength[i] >= 1 && strength[i] <= 4);
        mean_log += log((double)strength[i]) / ROWS;
        for (int j = 0; j < SIZE; j++) {
            const double want = (double)u[j] + (double)strength[i] * ((double)c[j] - (double)u[j]);
            expect_small(fabs((double)target[i * SIZE + j] - want) / (1 + fabs(want)), 1e-5);
        }
    }
    assert_true(dropped > ROWS / 10 && dropped < ROWS / 3);
    /* of log 4 over sqrt(12 ROWS), six standard errors */
    expect_below("mean log strength", fabs(mean_log - log(4) / 2), 6 * log(4) / sqrt(12.0 * ROWS));
    vn_graph_close(&s.g);
    vn_objective_close(&s.objective);
    bench_close(&b);
}

/* null + gamma (conditional - null) where sigma/alpha is in the interval, and conditional
 * elsewhere. */
static void guidance_of_a_teacher_is_in_its_interval(void **state) {
    (void)state;
    static setting s;
    vn_node *answer;
    int inside = 0;
    bench b = bench_open(two_classes, "rectified", "velocity");
    open_taught(&s, &b, &b.denoiser, "multistep:steps=1,q=16,guidance=3,lo=0.5,hi=2", &answer);
    fill(&s, 1);
    const float *earlier = input_of(&s, "earlier");
    for (int i = 0; i < ROWS; i++) {
        float c[SIZE], u[SIZE];
        const double t = s.level[i].t, ratio = t / (1 - t), r = fmax(t - 1.0 / 16, 0);
        const bool guided = ratio > 0.5 && ratio <= 2;
        ask_both(&s, &b, i, c, u);
        inside += guided;
        for (int j = 0; j < SIZE; j++) {
            const double gamma = guided ? 3 : 1,
                         v = (double)u[j] + gamma * ((double)c[j] - (double)u[j]),
                         want = (double)s.x[i * SIZE + j] + (r - t) * v;
            expect_small(fabs((double)earlier[i * SIZE + j] - want) / (1 + fabs(want)), 2e-6);
        }
    }
    /* t from 1/3 to 2/3 */
    expect_below("the part that is guided", fabs((double)inside / ROWS - 1.0 / 3), 0.04);
    vn_graph_close(&s.g);
    vn_objective_close(&s.objective);
    bench_close(&b);
}

/* Likewise what MeanFlow mixes: of the sample, the network with its condition and without. */
static void guidance_of_a_flow_map_is_in_its_interval(void **state) {
    (void)state;
    static setting s;
    open_told(&s, NULL, "mean-flow:omega=2,kappa=0.25,lo=0.5,hi=2", NULL, 0.2, false);
    fill(&s, 1);
    const float *shares = input_of(&s, "shares");
    for (int i = 0; i < ROWS; i++) {
        const double t = s.level[i].t, ratio = t / (1 - t);
        const bool guided = s.given[i] != 2 && ratio > 0.5 && ratio <= 2;
        const float want[] = {guided ? 2 : 1, guided ? 0.25f : 0, guided ? -1.25f : 0};
        assert_memory_equal(shares + (int64_t)i * 3, want, sizeof want);
    }
    close(&s);
}

/* How many rows the teacher is asked for. */
typedef struct counting {
    const vn_denoiser *real;
    int64_t rows;
} counting;

static vn_status count_rows(void *self, const vn_query *q, float *raw, vn_err *err) {
    counting *c = self;
    c->rows = q->n;
    return c->real->predict(c->real->self, q, raw, err);
}

/* However many conditions are dropped, a query has as many rows as the one before, so that a
 * network needs one program. */
static void a_teacher_is_asked_for_the_same_number_of_rows(void **state) {
    (void)state;
    static setting s;
    static const char *const methods[] = {"consistency:guidance=2", "progressive:guidance=2",
                                          "multistep:guidance=2",   "guidance",
                                          "scm:guidance=2",         "consistency"};
    for (size_t k = 0; k < VN_COUNT(methods); k++) {
        vn_node *answer;
        bench b = bench_open(world_text, "rectified", "velocity");
        counting count = {.real = &b.denoiser};
        vn_denoiser teacher = b.denoiser;
        teacher.self = &count;
        teacher.predict = count_rows;
        open_taught(&s, &b, &teacher, methods[k], &answer);
        for (uint64_t step = 0; step < 4; step++) {
            fill(&s, step);
            assert_int_equal(count.rows, k == 5 ? ROWS : 2 * ROWS);
        }
        vn_graph_close(&s.g);
        vn_objective_close(&s.objective);
        bench_close(&b);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void what_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const vn_table *table;
        const char *path, *prediction, *objective, *words;
    } cases[] = {
        {NULL, "vp", "velocity", "mean-flow", "not for vp"},
        {NULL, "edm", "velocity", "mean-flow", "not for edm"},
        {NULL, "rectified", "x0", "mean-flow", "mean-flow trains velocity, not x0"},
        {NULL, "rectified", "eps", "consistency", "not eps"},
        {&vn_methods, "rectified", "velocity", "consistency", "needs a teacher"},
        {&vn_methods, "edm", "edm", "progressive", "a teacher"},
        {&vn_methods, "edm", "edm", "multistep", "a teacher"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        vn_path *path;
        vn_prediction p;
        vn_objective *objective = NULL;
        assert_int_equal(vn_path_open(cases[i].path, &path, &err), VN_OK);
        assert_int_equal(vn_prediction_parse(cases[i].prediction, &p, &err), VN_OK);
        const vn_objective_options o = {.table = cases[i].table,
                                        .path = path,
                                        .prediction = &p,
                                        .objective = cases[i].objective,
                                        .null_label = -1};
        assert_int_equal(vn_objective_open(&o, &objective, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i].words)) fail_msg("%s", err.text);
        vn_objective_close(&objective);
        vn_path_close(&path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_flow_is_its_definition),
        cmocka_unit_test(flow_maps_have_their_minimum_at_the_exact_one),
        cmocka_unit_test(improved_mean_flow_is_its_definition),
        cmocka_unit_test(a_step_is_two_of_half_its_length),
        cmocka_unit_test(the_consistency_function_is_consistent),
        cmocka_unit_test(training_takes_the_same_noise_at_an_earlier_time),
        cmocka_unit_test(progressive_targets_are_steps_of_the_teacher),
        cmocka_unit_test(multistep_ends_are_those_of_the_parts),
        cmocka_unit_test(strengths_are_log_uniform_and_the_target_is_guided),
        cmocka_unit_test(guidance_of_a_teacher_is_in_its_interval),
        cmocka_unit_test(guidance_of_a_flow_map_is_in_its_interval),
        cmocka_unit_test(a_teacher_is_asked_for_the_same_number_of_rows),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
