/* What guides and samplers put into a query besides x, level and condition: where the step goes,
 * how strongly a network is to guide itself, derivatives either way; and that passes which are the
 * same are run once, by what their conditions are and not by where they lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "guide/guide.h"
#include "sample/sample.h"
#include "support/bound.h"

#define SIZE 2

static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4], \"cov\": [[0.3, 0.1], [0.1, 0.2]]}]},"
    " {\"components\": [{\"mean\": [1, -0.5], \"std\": 0.7}, {\"mean\": [0, 1], \"std\": 0.2}]}]}";

typedef struct fixture {
    vn_world *world;
    vn_path *path;
    vn_denoiser exact;
    double strength; /* the guidance that the network below takes where it is given none */
    int rows;        /* asked for so far */
} fixture;

static void open(fixture *f, const char *path, const char *prediction) {
    vn_err err = {0};
    vn_prediction p;
    json_t *json = NULL;
    *f = (fixture){.strength = 1};
    assert_int_equal(vn_json_parse(world_text, sizeof world_text - 1, "world", &json, &err), VN_OK);
    assert_int_equal(vn_world_from_json(json, &f->world, &err), VN_OK);
    json_decref(json);
    assert_int_equal(vn_path_open(path, &f->path, &err), VN_OK);
    assert_int_equal(vn_prediction_parse(prediction, &p, &err), VN_OK);
    assert_int_equal(vn_world_denoiser(f->world, f->path, &p, NULL, &f->exact, &err), VN_OK);
}

static void close(fixture *f) {
    vn_world_denoiser_close(&f->exact);
    vn_path_close(&f->path);
    vn_world_close(&f->world);
}

/* A network that was taught to guide itself: null + G (conditional - null) of the world's answers,
 * G being what the query gives. */
static vn_status predict_guided(void *self, const vn_query *q, float *raw, vn_err *err) {
    fixture *f = self;
    const vn_condition none[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    float null[8 * SIZE];
    vn_query u = *q;
    u.condition = none;
    assert_true(q->n <= 8 && q->guidance);
    f->rows += (int)q->n;
    vn_status status = f->exact.predict(f->exact.self, q, raw, err);
    if (!status) status = f->exact.predict(f->exact.self, &u, null, err);
    for (int64_t i = 0; i < q->n * SIZE; i++) {
        const float given = q->guidance[i / SIZE], g = isnan(given) ? (float)f->strength : given;
        raw[i] = null[i] + g * (raw[i] - null[i]);
    }
    return status;
}

static double passes(const vn_denoiser *d, const char *guide, double gamma, int64_t n,
                     const vn_condition *condition, const vn_level *level, const float *x,
                     float *x0, float *eps) {
    vn_err err = {0};
    vn_guidance *g;
    const vn_guidance_options o = {.guide = guide, .gamma = gamma, .denoiser = d, .capacity = n};
    const vn_level next = vn_path_level(d->path, level->t / 2);
    if (vn_guidance_open(&o, &g, &err)) fail_msg("%s", err.text);
    vn_guidance_begin(g, n, 0, condition);
    vn_guidance_step(g, 0, 2, 0, &next);
    if (vn_guidance_predict(g, &(vn_request){.x = x, .level = level}, (vn_estimate){x0, eps}, &err))
        fail_msg("%s", err.text);
    const double made = vn_guidance_passes(g);
    vn_guidance_close(&g);
    return made;
}

static const float x_given[4 * SIZE] = {0.3F, -0.2F, 1.1F, 0.7F, -1.4F, 0.1F, 0, 0.9F};
static const vn_condition mixed[4] = {0, 1, VN_CONDITION_NULL, 1};

static void embedded_guidance_is_cfg_in_one_pass(void **state) {
    (void)state;
    fixture f;
    open(&f, "rectified", "velocity");
    vn_denoiser d = f.exact;
    d.self = &f;
    d.predict = predict_guided;
    d.exact = NULL;
    d.can |= VN_TAKES_GUIDANCE;
    const vn_level level = vn_path_level(f.path, 0.6);
    float by_cfg[2][4 * SIZE], by_network[2][4 * SIZE];
    for (int k = 0; k < 4; k++) {
        const double gamma = (double[]){0, 1, 2.5, 7}[k];
        passes(&f.exact, "cfg", gamma, 4, mixed, &level, x_given, by_cfg[0], by_cfg[1]);
        f.rows = 0;
        const double made =
            passes(&d, "embedded", gamma, 4, mixed, &level, x_given, by_network[0], by_network[1]);
        assert_true(made == 1 && f.rows == 4);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4 * SIZE; j++) {
                const double off = fabs((double)by_cfg[i][j] - (double)by_network[i][j]);
                /* a few roundings of gamma times numbers up to 4 */
                expect_below_as(off, 8e-6, "guidance %g", gamma);
            }
    }
    /* Other rules guide from outside, and the network is left as it likes: here at 1. */
    passes(&f.exact, "cfg", 3, 4, mixed, &level, x_given, by_cfg[0], by_cfg[1]);
    passes(&d, "cfg", 3, 4, mixed, &level, x_given, by_network[0], by_network[1]);
    for (int j = 0; j < 4 * SIZE; j++)
        expect_small(fabs((double)by_cfg[0][j] - (double)by_network[0][j]), 8e-6);
    close(&f);
}

static void embedded_guidance_needs_a_network_that_takes_it(void **state) {
    (void)state;
    fixture f;
    vn_err err = {0};
    vn_guidance *g;
    open(&f, "rectified", "velocity");
    const vn_guidance_options o = {
        .guide = "embedded", .gamma = 2, .denoiser = &f.exact, .capacity = 1};
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "a network that takes guidance as an input"));
    close(&f);
}

/* ---- where the step goes --------------------------------------------------------------------- */

/* x moves on the circle of radius |x0 + eps|: no straight line in t, so a sampler that knew only
 * the velocity here would err, and one that is given the average over its step does not. */
static void flow(double t, const double from[SIZE], double t_from, double out[SIZE]) {
    const double angle = 2 * (t - t_from);
    out[0] = cos(angle) * from[0] - sin(angle) * from[1];
    out[1] = sin(angle) * from[0] + cos(angle) * from[1];
}

static vn_status predict_average(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)self, (void)err;
    assert_non_null(q->to);
    for (int64_t i = 0; i < q->n; i++) {
        const double t = q->level[i].t, to = q->to[i].t,
                     x[SIZE] = {(double)q->x[SIZE * i], (double)q->x[SIZE * i + 1]};
        double end[SIZE];
        assert_true(to <= t);
        flow(to, x, t, end);
        for (int j = 0; j < SIZE; j++)
            raw[SIZE * i + j] =
                to < t ? (float)((x[j] - end[j]) / (t - to)) : (float)(j ? 2 * x[0] : -2 * x[1]);
    }
    return VN_OK;
}

/* How far from `want` a sampler ends. */
static double ends_off(const vn_denoiser *d, const char *sampler, int steps, const float *noise,
                       const double want[SIZE]) {
    float x[SIZE];
    double off = 0;
    vn_err err = {0};
    vn_trajectory *w;
    const vn_condition none = VN_CONDITION_NULL;
    const vn_trajectory_options o = {
        .denoiser = d, .sampler = sampler, .guidance = 1, .steps = steps, .capacity = 1};
    if (vn_trajectory_open(&o, &w, &err)) fail_msg("%s", err.text);
    const vn_trajectory_batch b = {.n = 1, .condition = &none, .noise = noise, .x = x};
    if (vn_trajectory_run(w, &b, NULL, 0, 0, &err)) fail_msg("%s", err.text);
    for (int j = 0; j < SIZE; j++) off = fmax(off, fabs((double)x[j] - want[j]));
    vn_trajectory_close(&w);
    return off;
}

/* A consistency model's x0 is a sample: what follows an ODE is refused, what jumps is not. */
static void samplers_that_do_not_fit_a_consistency_model_are_refused(void **state) {
    (void)state;
    fixture f;
    open(&f, "rectified", "velocity");
    f.exact.can |= VN_X0_IS_SAMPLE;
    int jumped = 0;
    for (size_t i = 0; i < vn_samplers.count; i++) {
        vn_err err = {0};
        vn_trajectory *w = NULL;
        const char *name = vn_table_row(&vn_samplers, i)->name;
        const vn_trajectory_options o = {
            .denoiser = &f.exact, .sampler = name, .guidance = 1, .steps = 2, .capacity = 1};
        const vn_status status = vn_trajectory_open(&o, &w, &err);
        jumped += !status;
        if (status) assert_non_null(strstr(err.text, name));
        vn_trajectory_close(&w);
    }
    assert_int_equal(jumped, 4); /* consistency, lcm, scm, tcd */
    close(&f);
}

static void the_average_velocity_leads_to_the_end_in_any_number_of_steps(void **state) {
    (void)state;
    vn_err err = {0};
    vn_denoiser d = {.sample = VN_SHAPE(SIZE),
                     .size = SIZE,
                     .conditions = {.has_null = true},
                     .can = VN_TAKES_TO,
                     .predict = predict_average};
    vn_path *path;
    assert_int_equal(vn_path_open("rectified", &path, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("velocity", &d.prediction, &err), VN_OK);
    d.path = path;
    const float noise[SIZE] = {0.8F, -1.3F};
    double want[SIZE];
    flow(0, (double[]){(double)noise[0], (double)noise[1]}, 1, want);
    for (int steps = 1; steps <= 8; steps *= 2)
        expect_below_as(ends_off(&d, "flow-map", steps, noise, want), 2e-6, "%d steps", steps);
    /* others are given the velocity itself, and err by their order: Heun's of 2, h = 1/64 */
    const double off = ends_off(&d, "heun", 64, noise, want);
    assert_true(off > 1e-6);
    expect_below("by heun", off, 2e-3);
    d.can = 0;
    vn_trajectory *refused;
    const vn_trajectory_options o = {
        .denoiser = &d, .sampler = "flow-map", .guidance = 1, .steps = 1, .capacity = 1};
    assert_int_equal(vn_trajectory_open(&o, &refused, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "flow-map needs a network that takes the end of a step"));
    vn_path_close(&path);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static void guides_that_name_the_same_condition_share_a_pass(void **state) {
    (void)state;
    fixture f;
    float one[2][4 * SIZE], two[2][4 * SIZE];
    const vn_condition all_one[4] = {1, 1, 1, 1}, all_zero[4] = {0};
    open(&f, "vp", "eps");
    const vn_level level = vn_path_level(f.path, 0.5);
    /* conditional, null and the other class: 3; the same class as the samples': 2 */
    assert_true(passes(&f.exact, "cfg,compose:class=1", 2, 4, all_zero, &level, x_given, one[0],
                       one[1]) == 3);
    assert_true(passes(&f.exact, "cfg,compose:class=1", 2, 4, all_one, &level, x_given, one[0],
                       one[1]) == 2);
    /* which is then guidance of strength 3 */
    passes(&f.exact, "cfg", 3, 4, all_one, &level, x_given, two[0], two[1]);
    for (int j = 0; j < 4 * SIZE; j++)
        expect_small(fabs((double)one[0][j] - (double)two[0][j]), 8e-6);
    close(&f);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* <u, J v> = <J^T u, v>, and J v is what the answer changes by. */
static void derivatives_either_way_agree(void **state) {
    (void)state;
    fixture f;
    vn_err err = {0};
    static const char *const predictions[] = {"x0", "eps", "v", "velocity"};
    for (size_t p = 0; p < VN_COUNT(predictions); p++) {
        open(&f, "rectified", predictions[p]);
        const vn_level level = vn_path_level(f.path, 0.4);
        const double h = 1e-3;
        for (int row = 0; row < 4; row++) {
            const float *x = x_given + SIZE * row, u[SIZE] = {0.6F, -0.9F}, v[SIZE] = {1.2F, 0.5F};
            float back[SIZE], ahead[SIZE], up[SIZE], down[SIZE], moved[2][SIZE];
            vn_query q = {.n = 1,
                          .x = x,
                          .level = &level,
                          .condition = &mixed[row],
                          .want = VN_VJP,
                          .direction = u};
            assert_int_equal(f.exact.predict(f.exact.self, &q, back, &err), VN_OK);
            q.want = VN_JVP;
            q.direction = v;
            assert_int_equal(f.exact.predict(f.exact.self, &q, ahead, &err), VN_OK);
            const double a = (double)u[0] * (double)ahead[0] + (double)u[1] * (double)ahead[1],
                         b = (double)v[0] * (double)back[0] + (double)v[1] * (double)back[1];
            expect_small(fabs(a - b), 2e-6 * (1 + fabs(a)));
            q.want = VN_ANSWER;
            q.direction = NULL;
            for (int side = 0; side < 2; side++) {
                for (int j = 0; j < SIZE; j++)
                    moved[side][j] = (float)((double)x[j] + (side ? -h : h) * (double)v[j]);
                q.x = moved[side];
                assert_int_equal(f.exact.predict(f.exact.self, &q, side ? down : up, &err), VN_OK);
            }
            for (int j = 0; j < SIZE; j++) {
                /* rounding over the step, 2^-23 / h, and the step squared by a third derivative */
                const double slope = ((double)up[j] - (double)down[j]) / (2 * h);
                expect_below_as(fabs(slope - (double)ahead[j]), 5e-4 * (1 + fabs(slope)),
                                "ahead, %s", predictions[p]);
            }
        }
        close(&f);
    }
}

/* Where nobody names a sampler, it is the path's own, unless a guide needs more than that can. */
static void guides_have_a_sampler_that_can(void **state) {
    (void)state;
    static const struct {
        const char *path, *guide, *sampler;
    } cases[] = {{"rectified", NULL, "unipc"},
                 {"rectified", "apg,interval", "unipc"},
                 {"rectified", "cfg-plus-plus", "euler"},
                 {"rectified", "clip:noise=keep", "euler"},
                 {"rectified", "clip:noise=follow", "unipc"},
                 {"rectified", "fkc", "euler-maruyama"},
                 {"vp", "dynamic-threshold:noise=keep", "euler"},
                 {"ddpm", "fbg", "euler-maruyama"},
                 {"edm", "no guide", "heun"}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_path *path = NULL;
        vn_err err = {0};
        assert_int_equal(vn_path_open(cases[i].path, &path, &err), VN_OK);
        assert_string_equal(vn_sampler_usual(path, cases[i].guide), cases[i].sampler);
        vn_path_close(&path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_guidance_is_cfg_in_one_pass),
        cmocka_unit_test(embedded_guidance_needs_a_network_that_takes_it),
        cmocka_unit_test(the_average_velocity_leads_to_the_end_in_any_number_of_steps),
        cmocka_unit_test(samplers_that_do_not_fit_a_consistency_model_are_refused),
        cmocka_unit_test(guides_that_name_the_same_condition_share_a_pass),
        cmocka_unit_test(derivatives_either_way_agree),
        cmocka_unit_test(guides_have_a_sampler_that_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
