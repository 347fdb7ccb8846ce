/* test_callback.c - denoisers and rewards of the user's, worlds from memory, a weak model beside a
 * model, traces. */
#include "api/support_context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define WORLD                                                                                      \
    "{\"classes\": [{\"name\": \"low\", \"components\": [{\"mean\": [-1, 0.5], \"std\": 0.5}]}, "  \
    "{\"name\": \"high\", \"components\": [{\"mean\": [2, 0], \"std\": 0.5}]}]}"
#define WEAK                                                                                       \
    "{\"classes\": [{\"name\": \"low\", \"components\": [{\"mean\": [-1, 0.5], \"std\": 1.2}]}, "  \
    "{\"name\": \"high\", \"components\": [{\"mean\": [2, 0], \"std\": 1.2}]}]}"
/* WORLD with WEAK in it */
#define OWN_WEAK                                                                                   \
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.5], \"std\": 0.5}]}, "                     \
    "{\"components\": [{\"mean\": [2, 0], \"std\": 0.5}]}], \"weak\": {\"classes\": ["             \
    "{\"components\": [{\"mean\": [-1, 0.5], \"std\": 1.2}]}, {\"components\": [{\"mean\": [2, "   \
    "0], \"std\": 1.2}]}]}}"

/* Samples of a callback, in float32, against a world's: four roundings of numbers below 8. Measured
 * at most: 9.5e-7. */
#define WORLD_ERROR  2e-6
#define REWARD_GUIDE "energy"
/* 400 samples, which know their mean to 0.025: twice that. Measured: -0.2347 for -0.25. */
#define REWARD_ERROR 0.05

/* ---- a callback ------------------------------------------------------------------------------ */

/* The class "low" or "high" of WORLD, or of WEAK, as a callback. */
typedef struct gaussians {
    int calls, break_at; /* the call whose answer is broken; 0: none */
    vn_status returns;   /* what that call returns */
} gaussians;

/* E[x0|x] for N(m, v): m + gain (x - alpha m), gain = alpha v/(alpha^2 v + sigma^2); its derivative
 * is the gain. */
static vn_status denoise(void *user, const vn_predict_query *q, float *out) {
    gaussians *g = user;
    for (int64_t i = 0; i < q->n; i++) {
        const double a = q->alpha[i], s = q->sigma[i], v = q->weak ? 1.44 : 0.25,
                     gain = a * v / (a * a * v + s * s);
        for (int64_t j = 0; j < 2; j++) {
            const double mean = q->labels[i] == 0 ? (j ? 0.5 : -1) : (j ? 0 : 2),
                         x = (double)q->x[2 * i + j];
            out[2 * i + j] = (float)(q->cotangent ? gain * (double)q->cotangent[2 * i + j]
                                                  : mean + gain * (x - a * mean));
        }
    }
    g->calls++;
    if (g->calls != g->break_at) return VN_OK;
    if (!g->returns) out[3] = NAN; /* row 1 */
    return g->returns;
}

static vn_callback_model spec_of(gaussians *g) {
    static const char *const names[] = {"low", "high"};
    return (vn_callback_model){.struct_size = sizeof(vn_callback_model),
                               .name = "two bells",
                               .prediction = "x0",
                               .rank = 1,
                               .shape = {2},
                               .classes = 2,
                               .class_names = names,
                               .has_weak = 1,
                               .has_vjp = 1,
                               .predict = denoise,
                               .user = g};
}

static vn_model *open_callback(const vn_callback_model *spec) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_from_callback(vn, spec, &m));
    return m;
}

static vn_model *open_world(const char *json) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_from_world(vn, json, &m));
    return m;
}

static vn_samples *draw(vn_model *m, const vn_sample_options *o) {
    vn_samples *s = NULL;
    expect_ok(vn, vn_sample(m, o, &s));
    return s;
}

static double farthest(const vn_samples *a, const vn_samples *b) {
    double most = 0;
    assert_int_equal(vn_samples_count(a), vn_samples_count(b));
    for (int64_t i = 0; i < 2 * vn_samples_count(a); i++)
        most = fmax(most, fabs((double)vn_samples_data(a)[i] - (double)vn_samples_data(b)[i]));
    return most;
}

static void test_a_callback_draws_what_the_world_draws(void **state) {
    (void)state;
    static const char *const paths[] = {NULL, "vp", "edm", "ddpm:cosine"};
    gaussians g = {0};
    const vn_callback_model spec = spec_of(&g);
    vn_model *callback = open_callback(&spec), *world = open_world(WORLD);
    const vn_model_info info = info_of(callback);
    assert_string_equal(info.kind, "callback");
    assert_string_equal(info.predict, "x0");
    assert_int_equal(info.has_null, 0);
    assert_string_equal(vn_model_label_name(callback, 1), "high");
    vn_sample_options o = vn_sample_options_default();
    o.count = 9;
    o.steps = 12;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        o.path = paths[i];
        vn_samples *a = draw(callback, &o), *b = draw(world, &o);
        const double error = farthest(a, b);
        expect_below(paths[i] ? paths[i] : "default", error, WORLD_ERROR);
        vn_samples_close(&a);
        vn_samples_close(&b);
    }
    vn_model_close(&callback);
    vn_model_close(&world);
}

static void expect_failure(vn_model *m, const vn_sample_options *o, vn_status status,
                           const char *const *words) {
    vn_samples *out = NULL;
    assert_int_equal(vn_sample(m, o, &out), status);
    assert_null(out);
    for (; *words; words++)
        if (!strstr(vn_error_text(vn), *words))
            fail_msg("'%s' lacks '%s'", vn_error_text(vn), *words);
    assert_null(strchr(vn_error_text(vn), '\n'));
}

static void test_a_callback_that_fails_is_named_with_its_step(void **state) {
    (void)state;
    gaussians g = {.break_at = 3, .returns = VN_IO};
    const vn_callback_model spec = spec_of(&g);
    vn_model *m = open_callback(&spec);
    vn_sample_options o = vn_sample_options_default();
    o.sampler = "euler";
    o.steps = 5;
    expect_failure(m, &o, VN_IO, (const char *const[]){"step 3 of 5", "two bells", "\"io\"", NULL});
    g = (gaussians){.break_at = 3, .returns = (vn_status)77};
    expect_failure(m, &o, VN_BAD_ARGUMENT,
                   (const char *const[]){"step 3 of 5", "two bells", "77", NULL});
    /* t falls from 1 in steps of 1/5 */
    g = (gaussians){.break_at = 3};
    expect_failure(m, &o, VN_NOT_FINITE,
                   (const char *const[]){"step 3 of 5", "two bells", "row 1", "t = 0.6", NULL});
    vn_model_close(&m);
}

static void test_what_makes_no_sense_is_named(void **state) {
    (void)state;
    gaussians g = {0};
    static const char *const names[] = {"a"};
    struct {
        vn_callback_model spec;
        const char *word;
    } cases[] = {
        {{.prediction = "x0", .rank = 1, .shape = {2}}, "predict"},
        {{.rank = 1, .shape = {2}, .predict = denoise}, "prediction"},
        {{.prediction = "x1", .rank = 1, .shape = {2}, .predict = denoise}, "'x1'"},
        {{.prediction = "x0", .path = "vb", .rank = 1, .shape = {2}, .predict = denoise}, "'vb'"},
        {{.prediction = "x0", .rank = 2, .shape = {2, 2}, .predict = denoise}, "rank 2"},
        {{.prediction = "x0", .rank = 3, .shape = {3, 0, 4}, .predict = denoise}, "shape[1]"},
        {{.prediction = "x0", .rank = 1, .shape = {2}, .classes = -1, .predict = denoise},
         "classes"},
        {{.prediction = "x0", .rank = 1, .shape = {2}, .class_names = names, .predict = denoise},
         "class_names"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vn_model *m = NULL;
        cases[i].spec.struct_size = sizeof cases[i].spec;
        cases[i].spec.user = &g;
        assert_int_equal(vn_model_from_callback(vn, &cases[i].spec, &m), VN_BAD_ARGUMENT);
        assert_null(m);
        if (!strstr(vn_error_text(vn), cases[i].word))
            fail_msg("'%s' lacks %s", vn_error_text(vn), cases[i].word);
    }
    vn_model *m = NULL;
    assert_int_equal(vn_model_from_world(vn, "{\"classes\": [", &m), VN_BAD_FILE);
    assert_int_equal(
        vn_model_from_world(vn,
                            "{\"classes\": [{\"components\": [{\"weight\": 0, \"mean\": [0], "
                            "\"std\": 1}]}]}",
                            &m),
        VN_BAD_FILE);
    assert_non_null(strstr(vn_error_text(vn), "sum to 0"));
    assert_null(m);
}

/* ---- a weak model ---------------------------------------------------------------------------- */

/* A second world, a world's own weak model and a callback's are three ways to say the same. */
static void test_a_weak_model_may_come_from_three_places(void **state) {
    (void)state;
    gaussians g = {0};
    const vn_callback_model spec = spec_of(&g);
    vn_model *callback = open_callback(&spec), *world = open_world(WORLD), *weak = open_world(WEAK),
             *own = open_world(OWN_WEAK);
    vn_sample_options o = vn_sample_options_default();
    o.count = 6;
    o.steps = 10;
    o.guide = "autoguidance";
    o.guidance = 2;
    vn_samples *by_callback = draw(callback, &o), *by_world = draw(own, &o);
    o.weak = weak;
    vn_samples *by_model = draw(world, &o);
    o.guidance = 1;
    vn_samples *alone = draw(world, &o);
    expect_below("callback and model", farthest(by_callback, by_model), WORLD_ERROR);
    assert_true(farthest(by_world, by_model) == 0);
    assert_true(farthest(by_model, alone) > 0.05);
    vn_samples_close(&by_callback);
    vn_samples_close(&by_world);
    vn_samples_close(&by_model);
    vn_samples_close(&alone);
    vn_model_close(&callback);
    vn_model_close(&world);
    vn_model_close(&weak);
    vn_model_close(&own);
}

static void test_a_weak_model_that_does_not_fit_is_refused(void **state) {
    (void)state;
    vn_model *world = open_world(WORLD), *weak = open_world(WEAK),
             *other =
                 open_world("{\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}]}"),
             *three =
                 open_world("{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 1}]}]}");
    gaussians g = {0};
    const vn_callback_model spec = spec_of(&g);
    vn_model *callback = open_callback(&spec);
    vn_sample_options o = vn_sample_options_default();
    o.guidance = 2;
    o.weak = weak;
    expect_failure(world, &o, VN_BAD_ARGUMENT,
                   (const char *const[]){"weak model has no effect", "cfg", NULL});
    o.guide = "autoguidance";
    o.weak = world;
    expect_failure(world, &o, VN_BAD_ARGUMENT, (const char *const[]){"the model itself", NULL});
    o.weak = other;
    expect_failure(world, &o, VN_BAD_ARGUMENT, (const char *const[]){"weak", "shape", NULL});
    o.weak = three;
    expect_failure(world, &o, VN_BAD_ARGUMENT, (const char *const[]){"weak", "classes", NULL});
    o.weak = callback;
    expect_failure(world, &o, VN_BAD_ARGUMENT,
                   (const char *const[]){"weak", "prediction x0", NULL});
    o.weak = NULL;
    expect_failure(world, &o, VN_BAD_ARGUMENT, (const char *const[]){"needs a weak model", NULL});
    vn_model_close(&world);
    vn_model_close(&weak);
    vn_model_close(&other);
    vn_model_close(&three);
    vn_model_close(&callback);
}

/* ---- a reward -------------------------------------------------------------------------------- */

typedef struct reward {
    int64_t calls;
    float broken;
    vn_status returns;
} reward;

/* 3 times the first coordinate. */
static vn_status to_the_right(void *user, int64_t n, const float *x0, const int32_t *labels,
                              float *value, float *gradient) {
    reward *r = user;
    r->calls++;
    for (int64_t i = 0; i < n; i++) {
        assert_true(labels[i] == 0);
        value[i] = 3 * x0[2 * i] + r->broken;
        if (!gradient) continue;
        gradient[2 * i] = 3 + r->broken;
        gradient[2 * i + 1] = 0;
    }
    return r->returns;
}

/* exp(3 x) N(x; -1, 0.25) is N(-1 + 3/4, 0.25). */
static void test_a_reward_moves_samples(void **state) {
    (void)state;
    vn_model *world = open_world(WORLD);
    reward r = {0};
    vn_sample_options o = vn_sample_options_default();
    o.count = 400;
    o.label = 0;
    o.guide = REWARD_GUIDE;
    o.reward = to_the_right;
    o.reward_user = &r;
    vn_samples *s = draw(world, &o);
    double mean = 0;
    for (int64_t i = 0; i < 400; i++) mean += (double)vn_samples_data(s)[2 * i] / 400;
    assert_true(r.calls > 0);
    expect_below("mean under the reward", fabs(mean - -0.25), REWARD_ERROR);
    vn_samples_close(&s);

    r = (reward){.broken = INFINITY};
    expect_failure(world, &o, VN_NOT_FINITE, (const char *const[]){"the reward", "row 0", NULL});
    r = (reward){.returns = VN_UNSUPPORTED};
    expect_failure(world, &o, VN_UNSUPPORTED,
                   (const char *const[]){"the reward", "unsupported", NULL});
    o.guide = NULL;
    expect_failure(world, &o, VN_BAD_ARGUMENT,
                   (const char *const[]){"reward has no effect", "cfg", NULL});
    vn_model_close(&world);
}

/* ---- populations ----------------------------------------------------------------------------- */

static int count_reports(void *user, const vn_progress *p) {
    assert_int_equal(p->total, 5000);
    ++*(int64_t *)user;
    return 0;
}

/* Guides that select among samples are given all of them at once: there are as many reports as one
 * batch takes steps. */
static void test_a_population_is_one_batch(void **state) {
    (void)state;
    int64_t reports = 0;
    vn_context_options options = vn_context_options_default();
    options.cpu = kernels->name;
    options.progress = count_reports;
    options.user = &reports;
    vn_context *watched = NULL;
    vn_model *m = NULL;
    assert_int_equal(vn_context_open(&watched, &options), VN_OK);
    expect_ok(watched, vn_model_from_world(watched, WORLD, &m));
    vn_sample_options o = vn_sample_options_default();
    o.count = 5000;
    o.steps = 2;
    const char *const guides[] = {"cfg", "fk"};
    const int64_t batches[] = {2, 1};
    for (int i = 0; i < 2; i++) {
        vn_samples *s = NULL;
        o.guide = guides[i];
        reports = 0;
        expect_ok(watched, vn_sample(m, &o, &s));
        assert_int_equal(reports, batches[i] * 2);
        vn_samples_close(&s);
    }
    vn_model_close(&m);
    vn_context_close(&watched);
}

/* ---- traces ---------------------------------------------------------------------------------- */

static void test_a_trace_holds_every_state(void **state) {
    (void)state;
    vn_model *world = open_world(WORLD);
    vn_sample_options o = vn_sample_options_default();
    o.count = 5;
    o.steps = 4;
    vn_samples *plain = draw(world, &o);
    int64_t levels = -1;
    assert_null(vn_samples_trace(plain, &levels));
    assert_int_equal(levels, 0);
    o.trace = 1;
    o.batch = 2; /* three batches, one trace */
    vn_samples *a = draw(world, &o);
    assert_true(farthest(plain, a) == 0);
    const float *trace = vn_samples_trace(a, &levels);
    const double *t = vn_samples_trace_times(a);
    assert_int_equal(levels, 5);
    assert_memory_equal(trace + 4 * 10, vn_samples_data(a), 10 * sizeof *trace);
    for (int i = 0; i < 5; i++) expect_small(fabs(t[i] - (1 - i / 4.0)), 1e-12);
    /* Euler on the straight path: each state is halfway between its neighbours' noise and x0, so
     * none stands still. */
    for (int i = 0; i < 40; i++) assert_true(trace[i] != trace[i + 10]);

    o.guidance = 3;
    o.seed = 1;
    vn_samples *b = draw(world, &o);
    float second[10];
    memcpy(second, vn_samples_trace(b, NULL) + 10, sizeof second);
    expect_ok(vn, vn_samples_append(a, b));
    trace = vn_samples_trace(a, &levels);
    assert_memory_equal(trace + 20 + 10, second, sizeof second); /* level 1: 5 of a, then 5 of b */
    assert_memory_equal(trace + 4 * 20, vn_samples_data(a), 20 * sizeof *trace);
    expect_ok(vn, vn_samples_save(a, "trace.safetensors"));
    char *text = NULL;
    expect_ok(vn, vn_describe(vn, "trace.safetensors", &text));
    assert_non_null(strstr(text, "\"trace_t\""));
    vn_text_free(&text);

    assert_int_equal(vn_samples_append(a, plain), VN_BAD_ARGUMENT);
    o.steps = 6;
    vn_samples *longer = draw(world, &o);
    assert_int_equal(vn_samples_append(a, longer), VN_BAD_ARGUMENT);
    assert_int_equal(vn_samples_count(a), 10);
    vn_samples_close(&plain);
    vn_samples_close(&a);
    vn_samples_close(&b);
    vn_samples_close(&longer);
    vn_model_close(&world);
}

/* ---- what else a network may take ------------------------------------------------------------ */

typedef struct asked {
    bool to, guided; /* what the queries had */
    double strength, last_to;
} asked;

/* The class's mean, drawn towards 0 by the guidance that is given. */
static vn_status denoise_guided(void *user, const vn_predict_query *q, float *out) {
    asked *a = user;
    a->to = q->to_t && q->to_alpha && q->to_sigma;
    a->guided = q->guidance != NULL;
    if (!a->to || !a->guided) return VN_OK;
    a->strength = (double)q->guidance[0];
    a->last_to = q->to_t[0];
    for (int64_t i = 0; i < q->n; i++) {
        assert_true(q->to_t[i] <= q->t[i]);
        const double g = isnan(q->guidance[i]) ? 1 : (double)q->guidance[i];
        for (int j = 0; j < 2; j++) out[2 * i + j] = (float)(g * (q->labels[i] == 0 ? 1 : 2));
    }
    return VN_OK;
}

static void test_a_callback_is_given_where_the_step_goes_and_how_strongly_to_guide(void **state) {
    (void)state;
    asked a = {0};
    gaussians none = {0};
    vn_callback_model spec = spec_of(&none);
    spec.predict = denoise_guided;
    spec.user = &a;
    spec.takes_to = spec.takes_guidance = 1;
    vn_sample_options o = vn_sample_options_default();
    o.count = 1;
    o.label = 1;
    o.steps = 4;
    o.sampler = "flow-map";
    o.guide = "embedded";
    o.guidance = 2.5;
    vn_model *m = open_callback(&spec);
    vn_samples *s = draw(m, &o);
    assert_true(a.to && a.guided && a.strength == 2.5 && a.last_to == 0);
    expect_small(fabs((double)vn_samples_data(s)[0] - 5), 2e-6); /* x0 at the last step */
    assert_int_equal(vn_samples_passes(s), 4);
    vn_samples_close(&s);
    o.guide = NULL; /* cfg guides from outside: the network is left as it likes */
    o.guidance = 1;
    s = draw(m, &o);
    assert_true(isnan(a.strength));
    expect_small(fabs((double)vn_samples_data(s)[0] - 2), 2e-6);
    vn_samples_close(&s);
    vn_model_close(&m);
    spec.takes_to = spec.takes_guidance = 0;
    m = open_callback(&spec);
    o.sampler = "euler";
    o.guide = "embedded";
    o.guidance = 2;
    assert_int_equal(vn_sample(m, &o, &s), VN_BAD_ARGUMENT);
    assert_non_null(strstr(vn_error_text(vn), "a network that takes guidance as an input"));
    vn_model_close(&m);
}

/* Each has its own arrays for a query, whichever was asked before it was shared, is asked with more
 * samples, or is closed first: freed twice, they end the program. */
static void test_a_shared_callback_has_arrays_of_its_own(void **state) {
    (void)state;
    asked a = {0};
    gaussians none = {0};
    vn_callback_model spec = spec_of(&none);
    spec.predict = denoise_guided;
    spec.user = &a;
    spec.takes_to = spec.takes_guidance = 1;
    vn_sample_options o = vn_sample_options_default();
    o.steps = 3;
    o.seed = 5;
    for (int round = 0; round < 3; round++) {
        vn_model *m = open_callback(&spec), *shared = NULL;
        o.count = 4;
        vn_samples *before = draw(m, &o);
        expect_ok(vn, vn_model_share(m, vn, &shared));
        o.count = 9;
        vn_samples *more = round > 0 ? draw(shared, &o) : NULL;
        if (round < 2) vn_model_close(&shared);
        o.count = 4;
        vn_samples *after = draw(m, &o);
        assert_memory_equal(vn_samples_data(after), vn_samples_data(before), 8 * sizeof(float));
        if (more)
            assert_memory_equal(vn_samples_data(more), vn_samples_data(before), 8 * sizeof(float));
        vn_samples_close(&before);
        vn_samples_close(&more);
        vn_samples_close(&after);
        vn_model_close(&m);
        vn_model_close(&shared);
    }
}

static void test_a_callback_has_conditions_of_its_own(void **state) {
    (void)state;
    gaussians none = {0};
    const vn_callback_model spec = spec_of(&none);
    vn_model *m = open_callback(&spec);
    static const float x[2] = {0};
    const vn_array array = {"class_labels", VN_F32, {1, {2}}, x};
    vn_condition c;
    assert_int_equal(vn_model_add_condition(m, "fox", 1, &array, &c), VN_UNSUPPORTED);
    assert_string_equal(vn_error_text(vn),
                        "two bells: its conditions are its own; only a network takes others");
    assert_int_equal(vn_model_add_condition(m, NULL, 1, &array, &c), VN_BAD_ARGUMENT);
    assert_int_equal(vn_model_add_condition(NULL, "fox", 1, &array, &c), VN_BAD_ARGUMENT);
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_callback_draws_what_the_world_draws),
        cmocka_unit_test(test_a_callback_that_fails_is_named_with_its_step),
        cmocka_unit_test(test_what_makes_no_sense_is_named),
        cmocka_unit_test(test_a_weak_model_may_come_from_three_places),
        cmocka_unit_test(test_a_weak_model_that_does_not_fit_is_refused),
        cmocka_unit_test(test_a_reward_moves_samples),
        cmocka_unit_test(test_a_population_is_one_batch),
        cmocka_unit_test(test_a_trace_holds_every_state),
        cmocka_unit_test(test_a_callback_is_given_where_the_step_goes_and_how_strongly_to_guide),
        cmocka_unit_test(test_a_shared_callback_has_arrays_of_its_own),
        cmocka_unit_test(test_a_callback_has_conditions_of_its_own),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
