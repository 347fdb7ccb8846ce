/* Continuous-time consistency, held to closed forms on several paths. Of a Gaussian N(m, s^2) the
 * consistency function is linear,
 *
 *     D(x_t, t) = m + s (x_t - alpha m)/S,      S^2 = alpha^2 s^2 + sigma^2
 *
 * The network here is the one that answers so, with two numbers in it that spoil it. What the loss
 * moves it along is held to the definition, by differences in double of D itself along the ODE: no
 * coefficient of the loss and no forward derivative is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/internal.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { SIZE = 2, ROWS = 2048 };

static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]},"
    " {\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]}]}";
static const char two_classes[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]},"
    " {\"components\": [{\"mean\": [-1, 1], \"std\": 0.3}]}]}";
static const double mean[SIZE] = {1, -0.5};
#define DEVIATION  0.6
#define SIGMA_DATA 0.5

typedef enum kind { RECTIFIED, EDM, VP, COUNT } kind;
static const struct {
    const char *path, *prediction;
} kinds[COUNT] = {
    [RECTIFIED] = {"rectified", "velocity"}, [EDM] = {"edm", "edm"}, [VP] = {"vp", "v"}};

typedef struct setting {
    kind kind;
    bench truth;
    vn_objective *objective;
    vn_graph *g;
    vn_loss parts;
    vn_node *spoil[2], *loss, *grad[2];
    float x0[ROWS * SIZE], x[ROWS * SIZE], time[ROWS];
    float input[VN_LOSS_INPUTS][ROWS * 9];
    int32_t labels[ROWS], given[ROWS];
    vn_level level[ROWS];
} setting;

/* ---- the exact network ----------------------------------------------------------------------- */

typedef struct scales {
    vn_node *alpha, *sigma; /* [ROWS,1] */
} scales;

/* By the network's time: 1000 t; log(sigma)/4; 999 t, as the papers have them. */
static scales scales_at(vn_graph *g, kind k, vn_node *time) {
    vn_node *t = vn_reshape(g, time, VN_SHAPE(ROWS, 1)), *alpha, *sigma;
    if (k == RECTIFIED) {
        sigma = vn_affine(g, t, 1e-3, 0);
        alpha = vn_affine(g, sigma, -1, 1);
    } else if (k == EDM) {
        sigma = vn_unary(g, vn_affine(g, t, 4, 0), VN_FN_EXP);
        alpha = vn_fill(g, VN_SHAPE(ROWS, 1), 1);
    } else { /* log alpha = -t^2 (20 - 0.1)/4 - 0.1 t/2 (2011.13456) */
        t = vn_affine(g, t, 1 / 999.0, 0);
        vn_node *log_alpha = vn_add(g, vn_affine(g, vn_unary(g, t, VN_FN_SQUARE), -19.9 / 4, 0),
                                    vn_affine(g, t, -0.05, 0));
        alpha = vn_unary(g, log_alpha, VN_FN_EXP);
        sigma = vn_unary(g, vn_affine(g, vn_unary(g, alpha, VN_FN_SQUARE), -1, 1), VN_FN_SQRT);
    }
    return (scales){alpha, sigma};
}

static vn_node *square(vn_graph *g, vn_node *x) {
    return vn_unary(g, x, VN_FN_SQUARE);
}

/* D at x */
static vn_node *end_of_ode(vn_graph *g, const scales *at, vn_node *x) {
    const float m[SIZE] = {(float)mean[0], (float)mean[1]};
    vn_node *middle = vn_const(g, VN_F32, VN_SHAPE(1, SIZE), m);
    vn_node *width =
        vn_unary(g,
                 vn_add(g, vn_affine(g, square(g, at->alpha), DEVIATION * DEVIATION, 0),
                        square(g, at->sigma)),
                 VN_FN_SQRT);
    vn_node *centred = vn_sub(g, x, vn_mul(g, middle, at->alpha));
    return vn_add(g, middle, vn_affine(g, vn_div(g, centred, width), DEVIATION, 0));
}

/* What predicts D. */
static vn_node *exact_network(void *self, const vn_loss_call *call) {
    setting *s = self;
    vn_graph *g = s->g;
    assert_int_equal(call->n, 0);
    const scales at = scales_at(g, s->kind, s->parts.time);
    vn_node *seen = s->parts.x, *raw;
    if (s->kind == EDM) { /* x = seen sqrt(sigma^2 + sd^2), F = (D - c_skip x)/c_out */
        const double variance = SIGMA_DATA * SIGMA_DATA;
        vn_node *root = vn_unary(g, vn_affine(g, square(g, at.sigma), 1, variance), VN_FN_SQRT);
        vn_node *kept = vn_affine(g, vn_div(g, seen, root), variance, 0);
        vn_node *rest = vn_sub(g, end_of_ode(g, &at, vn_mul(g, seen, root)), kept);
        raw = vn_affine(g, vn_div(g, vn_mul(g, rest, root), at.sigma), 1 / SIGMA_DATA, 0);
    } else if (s->kind == VP) { /* v = (alpha x - D)/sigma */
        vn_node *rest = vn_sub(g, vn_mul(g, seen, at.alpha), end_of_ode(g, &at, seen));
        raw = vn_div(g, rest, at.sigma);
    } else { /* u = (x - D)/t */
        raw = vn_div(g, vn_sub(g, seen, end_of_ode(g, &at, seen)), at.sigma);
    }
    return vn_add(g, vn_add(g, raw, s->spoil[0]), vn_mul(g, seen, s->spoil[1]));
}

/* ---- a batch --------------------------------------------------------------------------------- */

static void open_in(setting *s, kind k, const char *world, const vn_table *table,
                    const char *objective, double drop) {
    vn_err err = {0};
    memset(s, 0, sizeof *s);
    s->kind = k;
    s->truth = bench_open(world, kinds[k].path, kinds[k].prediction);
    const vn_objective_options o = {.table = table,
                                    .path = s->truth.path,
                                    .prediction = &s->truth.prediction,
                                    .objective = objective,
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

/* The loss and its gradient by the two numbers, in double. */
static double evaluate(setting *s, const double spoil[2], double grad[2]) {
    ref_graph r = ref_open(s->g);
    ref_set_f32(&r, s->parts.x, s->x);
    ref_set_f32(&r, s->parts.time, s->time);
    for (int i = 0; i < s->parts.inputs; i++) ref_set_f32(&r, s->parts.input[i].node, s->input[i]);
    for (int i = 0; i < 2; i++) ref_set(&r, s->spoil[i], &spoil[i]);
    ref_run(&r, NULL);
    const double loss = *ref_get(&r, s->loss);
    for (int i = 0; i < 2; i++) grad[i] = *ref_get(&r, s->grad[i]);
    ref_close(&r);
    return loss;
}

static const float *input_of(const setting *s, const char *name) {
    return s->input[loss_input(&s->parts, name) - s->parts.input];
}

static void close(setting *s) {
    vn_graph_close(&s->g);
    vn_objective_close(&s->objective);
    bench_close(&s->truth);
}

/* ---- the definition, in double --------------------------------------------------------------- */

static double tau_of(const vn_level *l) {
    return atan2(l->sigma, SIGMA_DATA * l->alpha);
}

/* F of the spoiled network at y in TrigFlow's coordinates, of one number. */
static double trig_f(const setting *s, const double spoil[2], int j, double y, double tau) {
    const vn_level l = vn_path_level_of_ratio(s->truth.path, SIGMA_DATA * tan(tau));
    const vn_coefficients m = vn_prediction_coefficients(&s->truth.prediction, &l);
    const double x = y * hypot(l.alpha * SIGMA_DATA, l.sigma) / SIGMA_DATA,
                 width = hypot(l.alpha * DEVIATION, l.sigma),
                 end = mean[j] + DEVIATION * (x - l.alpha * mean[j]) / width,
                 more = m.x0_raw * (spoil[0] + spoil[1] * m.input * x);
    return (cos(tau) * y - end - more) / (SIGMA_DATA * sin(tau));
}

/* The tangent of row i, each number g/(|g| + c). */
static void tangent_of(const setting *s, const double spoil[2], double r, double c, int i,
                       double out[SIZE]) {
    const double tau = tau_of(&s->level[i]), h = 1e-5 * fmin(tau, acos(-1.0) / 2 - tau),
                 q = hypot(s->level[i].alpha * SIGMA_DATA, s->level[i].sigma);
    double sum = 0;
    for (int j = 0; j < SIZE; j++) {
        const double seen = (double)s->x[i * SIZE + j],
                     y = seen * SIGMA_DATA / (s->kind == EDM ? 1 : q),
                     flow = (double)input_of(s, "flow")[i * SIZE + j],
                     slope = (trig_f(s, spoil, j, y + h * flow, tau + h) -
                              trig_f(s, spoil, j, y - h * flow, tau - h)) /
                             (2 * h),
                     off = SIGMA_DATA * trig_f(s, spoil, j, y, tau) - flow;
        out[j] = -cos(tau) * cos(tau) * off - r * cos(tau) * sin(tau) * (y + SIGMA_DATA * slope);
        sum += out[j] * out[j] / SIZE;
    }
    for (int j = 0; j < SIZE && c > 0; j++) out[j] /= sqrt(sum) + c;
}

/* The loss, and its gradient: -2 g dF by each of the numbers. */
static double defined(const setting *s, const double spoil[2], double r, double c, double grad[2]) {
    double loss = 0;
    grad[0] = grad[1] = 0;
    for (int i = 0; i < ROWS; i++) {
        const vn_coefficients m = vn_prediction_coefficients(&s->truth.prediction, &s->level[i]);
        double g[SIZE];
        tangent_of(s, spoil, r, c, i, g);
        for (int j = 0; j < SIZE; j++) {
            const double by = -m.x0_raw / (SIGMA_DATA * sin(tau_of(&s->level[i])));
            loss += g[j] * g[j] / (ROWS * SIZE);
            grad[0] -= 2 * g[j] * by / (ROWS * SIZE);
            grad[1] -= 2 * g[j] * by * (double)s->x[i * SIZE + j] / (ROWS * SIZE);
        }
    }
    return loss;
}

static void the_tangent_is_that_of_x0_along_the_ode(void **state) {
    (void)state;
    static setting s;
    static const struct {
        const char *text;
        bool taught;
        double r, c;
    } cases[] = {{"scm:warmup=0,c=0.1", false, 1, 0.1},
                 {"scm:warmup=2", false, 0.5, 0}, /* points, without a teacher */
                 {"scm:warmup=4", true, 0.25, 0.1},
                 {"scm:warmup=0,c=0", true, 1, 0}};
    const double spoil[2] = {0.3, -0.2};
    for (kind k = 0; k < COUNT; k++)
        for (size_t i = 0; i < VN_COUNT(cases); i++) {
            double got[2], want[2];
            open_in(&s, k, world_text, cases[i].taught ? &vn_methods : NULL, cases[i].text, 0);
            fill(&s, 1);
            const double is = evaluate(&s, spoil, got),
                         loss = defined(&s, spoil, cases[i].r, cases[i].c, want);
            /* inputs, coefficients and times are floats, whose rounding averages out */
            expect_below_as(fabs(is - loss) / loss, 2e-8, "loss of %s on %s", cases[i].text,
                            kinds[k].path);
            for (int j = 0; j < 2; j++)
                expect_below_as(fabs(got[j] - want[j]) / fabs(want[j]), 1e-7,
                                "gradient of %s on %s", cases[i].text, kinds[k].path);
            close(&s);
        }
}

/* cos sd eps - sin x0, of the sample's own noise or of what the guided teacher says. */
static void the_direction_is_the_samples_or_the_guided_teachers(void **state) {
    (void)state;
    static setting s;
    static const char *const texts[] = {"scm", "scm:guidance=1.5"};
    for (int taught = 0; taught < 2; taught++) {
        vn_err err = {0};
        int dropped = 0;
        open_in(&s, RECTIFIED, two_classes, taught ? &vn_methods : NULL, texts[taught], 0.2);
        fill(&s, 1);
        const float *flow = input_of(&s, "flow");
        for (int i = 0; i < ROWS; i++) {
            float raw[2][SIZE], eps[SIZE];
            vn_random_normal(eps, SIZE, 3, VN_STREAM_TRAIN_NOISE, (uint64_t)i, 1);
            const vn_condition none = VN_CONDITION_NULL;
            const bool without = s.given[i] == 2;
            vn_query q = {.n = 1, .x = s.x + i * SIZE, .level = &s.level[i], .condition = &none};
            assert_int_equal(s.truth.denoiser.predict(s.truth.denoiser.self, &q, raw[0], &err), 0);
            q.condition = &s.given[i];
            if (!without)
                assert_int_equal(s.truth.denoiser.predict(s.truth.denoiser.self, &q, raw[1], &err),
                                 0);
            dropped += without;
            const double t = s.level[i].t, tau = tau_of(&s.level[i]);
            for (int j = 0; j < SIZE; j++) {
                double x0 = (double)s.x0[i * SIZE + j], e = (double)eps[j];
                const double x = (double)s.x[i * SIZE + j], u = (double)raw[0][j],
                             guided = without ? u : u + 1.5 * ((double)raw[1][j] - u);
                if (taught) x0 = x - t * guided, e = x + (1 - t) * guided;
                const double want = SIGMA_DATA * cos(tau) * e - sin(tau) * x0;
                expect_small(fabs((double)flow[i * SIZE + j] - want) / (1 + fabs(want)), 1e-6);
            }
        }
        assert_true(dropped > ROWS / 10 && dropped < ROWS / 3);
        close(&s);
    }
}

/* At the exact function x0 does not change along the teacher's ODE: there is nothing to learn. */
static void the_consistency_function_has_no_tangent(void **state) {
    (void)state;
    static setting s;
    for (kind k = 0; k < COUNT; k++) {
        double grad[2];
        open_in(&s, k, world_text, &vn_methods, "scm:warmup=0,c=0", 0);
        fill(&s, 1);
        /* of squares of rounding in floats, of levels near data the most */
        expect_below_as(evaluate(&s, (double[]){0, 0}, grad), 1e-14, "loss at the function on %s",
                        kinds[k].path);
        for (int j = 0; j < 2; j++)
            expect_below_as(fabs(grad[j]), 1e-8, "gradient at the function on %s", kinds[k].path);
        assert_true(evaluate(&s, (double[]){0.1, 0}, grad) > 1e-4);
        assert_true(evaluate(&s, (double[]){0, 0.1}, grad) > 1e-4);
        close(&s);
    }
}

/* And from nothing none in the mean: of the gradient over batches, in its standard errors. */
static void training_has_its_minimum_at_the_function(void **state) {
    (void)state;
    enum { BATCHES = 8 };
    static setting s;
    static const double spoils[][2] = {{0, 0}, {0.2, 0}, {0, 0.2}};
    open_in(&s, RECTIFIED, world_text, NULL, "scm:warmup=0", 0);
    for (size_t k = 0; k < VN_COUNT(spoils); k++) {
        double sum[2] = {0}, of_squares[2] = {0}, z[2];
        for (uint64_t i = 0; i < BATCHES; i++) {
            double grad[2];
            fill(&s, i);
            evaluate(&s, spoils[k], grad);
            for (int j = 0; j < 2; j++) sum[j] += grad[j], of_squares[j] += grad[j] * grad[j];
        }
        for (int j = 0; j < 2; j++) {
            const double average = sum[j] / BATCHES,
                         variance = (of_squares[j] / BATCHES - average * average) / (BATCHES - 1);
            z[j] = average / sqrt(variance);
        }
        /* Student's t of 7 degrees of freedom is beyond 5.4 once in a thousand; the seed is
         * fixed */
        for (int j = 0; j < 2 && !k; j++)
            expect_below("gradient of training at the function", fabs(z[j]), 5.4);
        if (k) assert_true(fabs(z[k - 1]) > 8);
    }
    close(&s);
}

/* ---- what it asks of others ------------------------------------------------------------------ */

static unsigned gives(const char *path, const char *prediction, const char *objective) {
    vn_err err = {0};
    vn_objective *o = NULL;
    bench b = bench_open(world_text, path, prediction);
    const vn_objective_options options = {
        .path = b.path, .prediction = &b.prediction, .objective = objective, .null_label = -1};
    if (vn_objective_open(&options, &o, &err)) fail_msg("%s", err.text);
    const unsigned all = vn_objective_gives(o);
    vn_objective_close(&o);
    bench_close(&b);
    return all;
}

/* A time to 1000 is to be counted slowly, and a logarithm as it is. */
static void a_long_time_is_counted_slowly(void **state) {
    (void)state;
    assert_int_equal(gives("rectified", "velocity", "scm"), VN_GIVES_SLOW_TIME);
    assert_int_equal(gives("vp", "v", "scm"), VN_GIVES_SLOW_TIME);
    assert_int_equal(gives("ddpm:cosine", "v", "scm"), VN_GIVES_SLOW_TIME);
    assert_int_equal(gives("edm", "edm", "scm"), 0);
    assert_int_equal(gives("rectified", "velocity", "consistency"), 0);
}

static void what_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *path, *prediction, *objective, *words;
    } cases[] = {{"rectified", "eps", "scm", "scm trains v|velocity|edm, not eps"},
                 {"edm", "edm", "scm:sigma_data=1", "sigma_data 1 differs from 0.5"},
                 {"rectified", "velocity", "scm:q=3", "no parameter 'q'"}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        vn_objective *o = NULL;
        bench b = bench_open(world_text, cases[i].path, cases[i].prediction);
        const vn_objective_options options = {.path = b.path,
                                              .prediction = &b.prediction,
                                              .objective = cases[i].objective,
                                              .null_label = -1};
        assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i].words)) fail_msg("%s", err.text);
        vn_objective_close(&o);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tangent_is_that_of_x0_along_the_ode),
        cmocka_unit_test(the_direction_is_the_samples_or_the_guided_teachers),
        cmocka_unit_test(the_consistency_function_has_no_tangent),
        cmocka_unit_test(training_has_its_minimum_at_the_function),
        cmocka_unit_test(a_long_time_is_counted_slowly),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
