/* ddpm with a variance that the model says: trajectories of diffusers' learned_range, the ends of
 * the range, whose variance it is under guidance, and steps that are exact on a Gaussian. The model
 * is an exact world beside which a function of the test says v. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_trajectory.h"
#include "support/bound.h"

#define GOLDEN    VN_SOURCE_DIR "/tests/golden/"
#define TOLERANCE 1e-6 /* of trajectories, relative to the largest number: measured 4.4e-7 */
enum { ROWS = 3, SIZE = 2 };

/* The world's denoiser, and what is said of the variance. */
typedef struct learned {
    bench b;
    vn_denoiser denoiser;
    double (*v)(const struct learned *l, const vn_level *level, int32_t label, double x);
    double always;          /* what `constant` says */
    const vn_level *levels; /* of the sampling run, for `best` */
    int64_t asked, told;    /* rows of queries, and those that asked for a variance */
} learned;

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    learned *l = self;
    l->asked += q->n;
    if (q->variance) l->told += q->n;
    for (int64_t i = 0; q->variance && i < q->n; i++)
        for (int64_t j = 0; j < l->denoiser.size; j++) {
            const int64_t at = i * l->denoiser.size + j;
            q->variance[at] = (float)l->v(l, &q->level[i], q->condition[i], (double)q->x[at]);
        }
    vn_query inner = *q;
    inner.variance = NULL;
    return l->b.denoiser.predict(l->b.denoiser.self, &inner, raw, err);
}

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    const learned *l = self;
    return l->b.denoiser.classify(l->b.denoiser.self, q, err);
}

static void open(learned *l, const char *world, const char *path, const char *prediction) {
    *l = (learned){.b = bench_open(world, path, prediction)};
    l->denoiser = l->b.denoiser;
    l->denoiser.self = l;
    l->denoiser.predict = predict;
    l->denoiser.classify = classify;
    if (l->b.path->steps > 0) l->denoiser.can |= VN_CAN_VARIANCE;
}

static double constant(const learned *l, const vn_level *level, int32_t label, double x) {
    (void)level, (void)label, (void)x;
    return l->always;
}

/* variance.py's */
static double wave(const learned *l, const vn_level *level, int32_t label, double x) {
    (void)l;
    return cos(3 * x + level->t + label);
}

static vn_status trajectory(learned *l, vn_trajectory_options o, const float *noise, int32_t label,
                            float *x, vn_err *err) {
    bench b = l->b;
    b.denoiser = l->denoiser;
    return bench_run(&b, o, ROWS, 0, label, noise, x, NULL, err);
}

static void must_walk(learned *l, vn_trajectory_options o, int32_t label, float *x) {
    static const float noise[ROWS * SIZE] = {0.4f, -0.9f, 1.2f, 0.3f, -1.6f, 0.7f};
    vn_err err = {0};
    if (trajectory(l, o, noise, label, x, &err)) fail_msg("%s: %s", o.sampler, err.text);
}

/* ---- against diffusers ----------------------------------------------------------------------- */

static double entry(const json_t *rows, size_t i, size_t j) {
    return json_number_value(json_array_get(json_array_get(rows, i), j));
}

static double run_case(const char *world, const json_t *c, const float *noise) {
    learned l;
    float x[ROWS * SIZE];
    vn_err err = {0};
    double worst = 0, size = 0;
    open(&l, world, json_string_value(json_object_get(c, "path")),
         json_string_value(json_object_get(c, "predict")));
    l.v = wave;
    const vn_trajectory_options o = {.sampler = "ddpm:variance=learned",
                                     .grid = json_string_value(json_object_get(c, "grid")),
                                     .steps = (int)json_integer_value(json_object_get(c, "steps")),
                                     .guidance = json_number_value(json_object_get(c, "gamma"))};
    if (trajectory(&l, o, noise, (int32_t)json_integer_value(json_object_get(c, "label")), x, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < VN_COUNT(x); i++) {
        const double want = entry(json_object_get(c, "x"), i / SIZE, i % SIZE);
        worst = fmax(worst, fabs((double)x[i] - want));
        size = fmax(size, fabs(want));
    }
    bench_close(&l.b);
    return worst / size;
}

static void trajectories_are_those_of_diffusers(void **state) {
    (void)state;
    char *world;
    size_t bytes;
    vn_err err;
    json_t *golden;
    float noise[ROWS * SIZE];
    double worst = 0;
    assert_int_equal(vn_read_file(GOLDEN "sampler/world.json", 1 << 20, &world, &bytes, &err),
                     VN_OK);
    assert_int_equal(vn_json_read(GOLDEN "variance/trajectories.json", &golden, &err), VN_OK);
    const json_t *cases = json_object_get(golden, "cases");
    for (size_t i = 0; i < VN_COUNT(noise); i++)
        noise[i] = (float)entry(json_object_get(golden, "noise"), i / SIZE, i % SIZE);
    assert_true(json_array_size(cases) >= 4);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const double error = run_case(world, json_array_get(cases, i), noise);
        expect_below_as(error, TOLERANCE, "case %zu", i);
        worst = fmax(worst, error);
    }
    print_message("%zu trajectories, largest error %.2e\n", json_array_size(cases), worst);
    json_decref(golden);
    vn_free(world);
}

/* ---- the range ------------------------------------------------------------------------------- */

static double apart(const float *a, const float *b) {
    double worst = 0;
    for (int i = 0; i < ROWS * SIZE; i++) worst = fmax(worst, fabs((double)(a[i] - b[i])));
    return worst;
}

/* v = -1 is the posterior's variance, v = 1 that of the step forward, 0 the one between. */
static void the_ends_of_the_range_are_the_fixed_variances(void **state) {
    (void)state;
    learned l;
    float small[ROWS * SIZE], large[ROWS * SIZE], low[ROWS * SIZE], high[ROWS * SIZE],
        middle[ROWS * SIZE];
    open(&l, bench_world, "ddpm:cosine", "v");
    l.v = constant;
    vn_trajectory_options o = {.sampler = "ddpm:variance=small", .steps = 12, .guidance = 1};
    must_walk(&l, o, 0, small);
    o.sampler = "ddpm:variance=large";
    must_walk(&l, o, 0, large);
    assert_int_equal(l.told, 0);
    o.sampler = "ddpm:variance=learned";
    l.always = -1;
    must_walk(&l, o, 0, low);
    l.always = 1;
    must_walk(&l, o, 0, high);
    l.always = 0;
    must_walk(&l, o, 0, middle);
    assert_int_equal(l.told, 3 * 12 * ROWS);
    print_message("the ends: %.1e and %.1e apart\n", apart(small, low), apart(large, high));
    expect_small(apart(small, low), 1e-5);
    expect_small(apart(large, high), 1e-5);
    assert_true(apart(small, middle) > 0.01 && apart(large, middle) > 0.01 &&
                apart(small, large) > 0.1);
    bench_close(&l.b);
}

/* auto is learned where there is something to know, else small; who does not ask is not told. */
static void the_default_follows_the_model(void **state) {
    (void)state;
    learned l;
    float by_default[ROWS * SIZE], asked[ROWS * SIZE];
    open(&l, bench_world, "ddpm", "eps");
    l.v = wave;
    vn_trajectory_options o = {.sampler = "ddpm", .steps = 10, .guidance = 1};
    must_walk(&l, o, 0, by_default);
    o.sampler = "ddpm:variance=learned";
    must_walk(&l, o, 0, asked);
    assert_memory_equal(by_default, asked, sizeof asked);
    l.denoiser.can &= ~(unsigned)VN_CAN_VARIANCE;
    l.told = 0;
    o.sampler = "ddpm";
    must_walk(&l, o, 0, by_default);
    o.sampler = "ddpm:variance=small";
    must_walk(&l, o, 0, asked);
    assert_memory_equal(by_default, asked, sizeof asked);
    l.denoiser.can |= VN_CAN_VARIANCE;
    static const char *const others[] = {"ddim:eta=1", "euler", "dpmpp-2m", "euler-a"};
    for (size_t i = 0; i < VN_COUNT(others); i++) {
        o.sampler = others[i];
        must_walk(&l, o, 0, by_default);
    }
    assert_int_equal(l.told, 0);
    bench_close(&l.b);
}

static void refusals_name_what_is_missing(void **state) {
    (void)state;
    learned l;
    vn_err err = {0};
    float x[ROWS * SIZE];
    static const float noise[ROWS * SIZE] = {1};
    open(&l, bench_world, "rectified", "velocity");
    const vn_trajectory_options o = {
        .sampler = "ddpm:variance=learned", .steps = 10, .guidance = 1};
    assert_int_equal(trajectory(&l, o, noise, 0, x, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "variance=learned needs a model"));
    bench_close(&l.b);
    const char *weak =
        "{\"classes\": [{\"components\": [{\"mean\": [0, 1], \"std\": 0.5}]}],"
        " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0, 0.5], \"std\": 1}]}]}}";
    open(&l, weak, "ddpm", "eps");
    l.v = wave;
    vn_trajectory_options lesser = {.sampler = "ddpm", .steps = 10, .guide = "autoguidance"};
    /* the weak model alone */
    assert_int_equal(trajectory(&l, lesser, noise, 0, x, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "no variance"));
    lesser.guidance = 2;
    assert_int_equal(trajectory(&l, lesser, noise, 0, x, &err), VN_OK);
    bench_close(&l.b);
}

/* ---- under guidance -------------------------------------------------------------------------- */

/* -1 for the null condition, 1 for a class */
static double by_label(const learned *l, const vn_level *level, int32_t label, double x) {
    (void)l, (void)level, (void)x;
    return label == VN_CONDITION_NULL ? -1 : 1;
}

/* The conditional pass's; the null one's where that is all there is, as beside a classifier. It
 * costs no pass more. */
static void the_variance_is_the_conditional_one(void **state) {
    (void)state;
    static const struct {
        const char *guide;
        double gamma;
        const char *same; /* the fixed variance it must come to */
    } known[] = {
        {"cfg", 2, "ddpm:variance=large"},
        {"cfg", 1, "ddpm:variance=large"},
        {"cfg", 0, "ddpm:variance=small"},
        {"apg", 3, "ddpm:variance=large"},
        {"negative:class=1", 2, "ddpm:variance=large"},
        {"tsg", 2, "ddpm:variance=large"},
        {"icg", 2, "ddpm:variance=large"},
        {"cfg-plus-plus", 0.5, "ddpm:variance=large"},
        {"cfg,compose:class=1", 2, "ddpm:variance=large"},
        {"classifier", 2, "ddpm:variance=small"},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        learned l;
        float got[ROWS * SIZE], want[ROWS * SIZE];
        open(&l, bench_world, "ddpm", "v");
        l.v = by_label;
        vn_trajectory_options o = {
            .sampler = "ddpm", .steps = 8, .guide = known[i].guide, .guidance = known[i].gamma};
        must_walk(&l, o, 0, got);
        const int64_t passes = l.asked;
        l.asked = 0;
        o.sampler = known[i].same;
        must_walk(&l, o, 0, want);
        assert_int_equal(l.asked, passes);
        expect_below_as(apart(got, want), 1e-5, "%s at %g", known[i].guide, known[i].gamma);
        bench_close(&l.b);
    }
}

/* ---- exact steps ----------------------------------------------------------------------------- */

/* Of N(0, 0.5^2): p(x'|x) is normal with beta~ + (beta alpha'/sigma^2)^2 Var(x0|x), however long
 * the step. */
static double best(const learned *l, const vn_level *from, int32_t label, double x) {
    (void)label, (void)x;
    const vn_level *to = l->levels;
    while (to->t >= from->t) to++;
    if (to->sigma == 0) return 0;
    const double beta = vn_step_variance(from, to), s2 = from->sigma * from->sigma,
                 small = beta * to->sigma * to->sigma / s2;
    const double spread = 0.25 * s2 / (0.25 * from->alpha * from->alpha + s2);
    return 2 * log((small + pow(beta * to->alpha / s2, 2) * spread) / small) / log(beta / small) -
           1;
}

/* The variance of 20000 numbers from six steps, relative to the true one. */
static double variance_by(const char *sampler) {
    enum { N = 20000 };
    static float x[N];
    static int32_t labels[N];
    static const double sigmas[] = {0.999, 0.9, 0.6, 0.3, 0.1, 0.011, 0};
    learned l;
    vn_trajectory *w;
    vn_err err = {0};
    double sum = 0;
    open(&l, "{\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 0.5}]}]}", "ddpm", "v");
    l.v = best;
    const vn_trajectory_options o = {.denoiser = &l.denoiser,
                                     .sampler = sampler,
                                     .sigmas = sigmas,
                                     .sigma_count = VN_COUNT(sigmas),
                                     .guidance = 1,
                                     .seed = 4,
                                     .capacity = N};
    if (vn_trajectory_open(&o, &w, &err)) fail_msg("%s", err.text);
    l.levels = vn_trajectory_levels(w);
    if (vn_trajectory_run(w, &(vn_trajectory_batch){.n = N, .condition = labels, .x = x}, NULL, 0,
                          6, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < N; i++) sum += (double)x[i] * (double)x[i] / N;
    vn_trajectory_close(&w);
    bench_close(&l.b);
    return sum / 0.25;
}

/* 20000 numbers know their variance to 1%. */
static void few_steps_are_exact_with_the_best_variance(void **state) {
    (void)state;
    const double small = variance_by("ddpm:variance=small"),
                 large = variance_by("ddpm:variance=large"), right = variance_by("ddpm");
    print_message("variance over the true one: small %.3f, large %.3f, learned %.3f\n", small,
                  large, right);
    expect_small(fabs(right - 1), 0.03);
    assert_true(small < 0.9 && large > 1.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_are_those_of_diffusers),
        cmocka_unit_test(the_ends_of_the_range_are_the_fixed_variances),
        cmocka_unit_test(the_default_follows_the_model),
        cmocka_unit_test(refusals_name_what_is_missing),
        cmocka_unit_test(the_variance_is_the_conditional_one),
        cmocka_unit_test(few_steps_are_exact_with_the_best_variance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
