/* test_eval.c - likelihoods and metrics: against the world's own density, on each kind of data, and
 * what is refused. */
#include "api/support_context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

/* N(mean, 0.25 I) in three dimensions: its negative log-likelihood is on average its entropy, 3/2
 * log(2 pi e 0.25). */
#define BELL "{\"classes\": [{\"components\": [{\"mean\": [1, 0, -2], \"std\": 0.5}]}]}"

/* The solver keeps to 1e-5; measured at most 5.0e-6. */
#define LIKELIHOOD_ERROR 1.2e-5

static int prepare(void **state) {
    if (context_enter(state)) return -1;
    make_world("world.json");
    make_data("data", 20);
    const vn_train_options o = tiny_options(3);
    return vn_train(vn, "data", "run", &o, NULL) == VN_OK ? 0 : -1;
}

static vn_model *open_bell(void) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_from_world(vn, BELL, &m));
    return m;
}

static vn_model *open_model(const char *source) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, source, &m));
    return m;
}

static vn_eval_options nll(int64_t count) {
    vn_eval_options o = vn_eval_options_default();
    o.metric = "nll";
    o.count = count;
    return o;
}

/* ---- likelihoods ----------------------------------------------------------------------------- */

static void test_a_likelihood_is_the_density(void **state) {
    (void)state;
    vn_model *m = open_bell();
    vn_likelihood_settings s = vn_likelihood_settings_default();
    s.exact = 1;
    const float x[6] = {1, 0, -2, 1.5F, -0.5F, -1}; /* the mean; (0.5, -0.5, 1) from it */
    const int32_t labels[2] = {0, VN_LABEL_NULL};
    const double at_mean = -1.5 * log(2 * acos(-1.0) * 0.25),
                 expected[2] = {at_mean, at_mean - 0.5 * 1.5 / 0.25};
    /* The density is that of data with the path's least noise: on vp of ratio 0.01, which adds 4e-4
     * of the variance: 6e-4 by three coordinates, and less by the distance from the mean. Measured:
     * 7.3e-4. */
    static const struct {
        const char *path;
        double error;
    } paths[] = {{"rectified", LIKELIHOOD_ERROR}, {"vp", 1.5e-3}};
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        double log_p[2];
        int64_t evaluations[2];
        s.path = paths[k].path;
        expect_ok(vn, vn_log_likelihood(m, &s, 2, x, labels, log_p, evaluations));
        for (int i = 0; i < 2; i++) {
            expect_below_as(fabs(log_p[i] - expected[i]), paths[k].error, "log p on %s",
                            paths[k].path);
            assert_true(evaluations[i] > 10);
        }
    }
    vn_model_close(&m);
}

static int stop_at_the_fifth(void *user, const vn_progress *p) {
    *(int *)user += 1;
    return p->done > 3;
}

/* One sample may take minutes: it is stopped amid its trajectory, and has told of its
 * evaluations. */
static void test_a_likelihood_can_be_stopped_amid_a_sample(void **state) {
    (void)state;
    int told = 0;
    const vn_context_options options = {.struct_size = sizeof options,
                                        .cpu = kernels->name,
                                        .progress = stop_at_the_fifth,
                                        .user = &told};
    vn_context *watched = NULL;
    assert_int_equal(vn_context_open(&watched, &options), VN_OK);
    vn_model *m = NULL;
    expect_ok(watched, vn_model_from_world(watched, BELL, &m));
    const float x[3] = {1, 0, -2};
    const int32_t none = VN_LABEL_NULL;
    double log_p;
    assert_int_equal(vn_log_likelihood(m, NULL, 1, x, &none, &log_p, NULL), VN_CANCELLED);
    assert_int_equal(told, 5);
    vn_model_close(&m);
    vn_context_close(&watched);
}

static void test_bad_likelihood_settings_are_named(void **state) {
    (void)state;
    vn_model *m = open_bell();
    const float x[3] = {0};
    const int32_t none = VN_LABEL_NULL, seven = 7;
    double log_p;
    vn_likelihood_settings s = vn_likelihood_settings_default();
    const float broken[3] = {0, NAN, 0};
    assert_int_equal(vn_log_likelihood(m, &s, 1, broken, &none, &log_p, NULL), VN_BAD_ARGUMENT);
    assert_non_null(strstr(vn_error_text(vn), "sample 0 is not finite"));
    s.probes = 0;
    assert_int_equal(vn_log_likelihood(m, &s, 1, x, &none, &log_p, NULL), VN_BAD_ARGUMENT);
    assert_non_null(strstr(vn_error_text(vn), "probes"));
    s = vn_likelihood_settings_default();
    s.rtol = (double)NAN;
    assert_int_equal(vn_log_likelihood(m, &s, 1, x, &none, &log_p, NULL), VN_BAD_ARGUMENT);
    assert_non_null(strstr(vn_error_text(vn), "rtol"));
    assert_int_equal(vn_log_likelihood(m, NULL, 1, x, &seven, &log_p, NULL), VN_BAD_ARGUMENT);
    vn_model_close(&m);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static const vn_measure *find(const vn_eval_result *r, const char *name) {
    for (size_t i = 0; i < r->measures; i++)
        if (!strcmp(r->measure[i].name, name)) return &r->measure[i];
    fail_msg("no %s", name);
    return NULL;
}

static void test_nll_of_a_world_is_its_entropy(void **state) {
    (void)state;
    vn_model *m = open_bell();
    vn_eval_options o = nll(2000);
    vn_likelihood_settings likelihood = vn_likelihood_settings_default();
    likelihood.exact = 1;
    o.likelihood = &likelihood;
    vn_eval_result r = vn_eval_result_default();
    expect_ok(vn, vn_eval(m, &o, &r));
    const vn_measure *ode = find(&r, "negative log-likelihood"),
                     *truth = find(&r, "exact negative log-likelihood"),
                     *bits = find(&r, "bits per dimension");
    const double entropy = 1.5 * log(2 * acos(-1.0) * exp(1.0) * 0.25);
    assert_int_equal(r.count, 2000);
    assert_true(truth->low < entropy && entropy < truth->high);
    /* Half of chi-squared with three degrees of freedom: its deviation is sqrt(3/2). */
    expect_small(fabs((truth->high - truth->low) / (2 * 1.96 * sqrt(1.5 / 2000)) - 1), 0.05);
    expect_below("entropy by the ODE", fabs(ode->value - truth->value), LIKELIHOOD_ERROR);
    expect_small(fabs(bits->value - ode->value / (3 * log(2.0))), 1e-12);
    assert_true(find(&r, "evaluations")->value > 10 && !isfinite(find(&r, "evaluations")->low));
    vn_model_close(&m);
}

/* Samples of one class, saved, are likelier under their own class than under the other. */
static void test_data_may_be_tensors_or_toys(void **state) {
    (void)state;
    vn_model *m = open_model("world.json");
    vn_sample_options draw = vn_sample_options_default();
    vn_samples *s = NULL;
    draw.count = 30;
    draw.label = 1;
    expect_ok(vn, vn_sample(m, &draw, &s));
    expect_ok(vn, vn_samples_save(s, "b.safetensors"));
    vn_samples_close(&s);
    vn_eval_options o = nll(0);
    vn_eval_result own = vn_eval_result_default(), other = own, toy = own;
    o.data = "b.safetensors";
    expect_ok(vn, vn_eval(m, &o, &own));
    o.label = 0;
    expect_ok(vn, vn_eval(m, &o, &other));
    assert_int_equal(own.count, 30);
    assert_true(own.measure[0].value + 1 < other.measure[0].value);
    o.data = "points:moons";
    o.label = VN_LABEL_NULL;
    o.count = 20;
    expect_ok(vn, vn_eval(m, &o, &toy));
    assert_int_equal(toy.count, 20);
    vn_model_close(&m);
}

/* ---- which samples --------------------------------------------------------------------------- */

/* Sorted by class, as folders are: -n 4 of it is of both classes, and the result says how many of
 * how many. */
static void test_what_was_drawn_is_told(void **state) {
    (void)state;
    vn_model *m = open_model("world.json");
    scratch_write_text(
        "sorted.json",
        "{\"classes\": [{\"name\": \"a\", \"components\": [{\"mean\": [0, 0], \"std\": 1}]}, "
        "{\"name\": \"b\", \"components\": [{\"mean\": [0, 0], \"std\": 1}]}], "
        "\"class_weights\": [0.75, 0.25]}");
    vn_eval_options o = nll(40);
    vn_eval_result r = vn_eval_result_default();
    o.data = "sorted.json:count=400";
    expect_ok(vn, vn_eval(m, &o, &r));
    assert_true(r.count == 40 && r.available == 400 && r.classes == 2);
    assert_int_equal(r.drawn[2] + r.drawn[3], 400);
    expect_small(fabs((double)r.drawn[0] - (double)r.drawn[2] / 10), 1); /* a tenth of each */
    assert_int_equal(r.drawn[0] + r.drawn[1], 40);
    o.data = NULL;
    expect_ok(vn, vn_eval(m, &o, &r));
    assert_true(r.available == 0 && r.classes == 0 && !r.drawn);
    vn_model_close(&m);
}

/* Samples sorted by class, of which -n takes half: their likelihood lies between those of the
 * classes, which are far apart, and is not that of the first; another seed takes others. */
static void test_the_first_class_of_sorted_data_does_not_stand_for_all(void **state) {
    (void)state;
    enum { EACH = 20 };
    scratch_write_text(
        "far.json",
        "{\"classes\": [{\"name\": \"a\", \"components\": [{\"mean\": [0, 0], \"std\": 0.1}]}, "
        "{\"name\": \"b\", \"components\": [{\"mean\": [0, 0], \"std\": 2}]}]}");
    vn_model *m = open_model("far.json");
    vn_samples *s[2] = {NULL, NULL};
    double of_class[2], drawn[2];
    vn_eval_options o = nll(EACH);
    vn_eval_result r = vn_eval_result_default();
    for (int32_t k = 0; k < 2; k++) {
        vn_sample_options draw = vn_sample_options_default();
        draw.count = EACH;
        draw.label = k;
        expect_ok(vn, vn_sample(m, &draw, &s[k]));
        expect_ok(vn, vn_samples_save(s[k], "class.safetensors"));
        o.data = "class.safetensors";
        expect_ok(vn, vn_eval(m, &o, &r));
        of_class[k] = r.measure[0].value;
    }
    expect_ok(vn, vn_samples_append(s[0], s[1]));
    expect_ok(vn, vn_samples_save(s[0], "sorted.safetensors"));
    o.data = "sorted.safetensors";
    for (int k = 0; k < 2; k++) {
        o.seed = (uint64_t)k;
        expect_ok(vn, vn_eval(m, &o, &r));
        drawn[k] = r.measure[0].value;
    }
    print_message("class a %.3f, class b %.3f, half of all %.3f and %.3f\n", of_class[0],
                  of_class[1], drawn[0], drawn[1]);
    /* The classes are log(20) twice apart, and ten of one deviate by 0.3 from its mean: a quarter
     * of the way is far. */
    for (int k = 0; k < 2; k++)
        expect_small(fabs(drawn[k] - (of_class[0] + of_class[1]) / 2),
                     (of_class[1] - of_class[0]) / 4);
    assert_true(drawn[0] != drawn[1]);
    vn_samples_close(&s[0]);
    vn_samples_close(&s[1]);
    vn_model_close(&m);
}

typedef struct parts {
    char what[8][32];
    int count;
    double left; /* seconds, of the latest report of the likelihood that had it */
} parts;

static int note_part(void *user, const vn_progress *p) {
    parts *seen = user;
    if (!strncmp(p->what, "nll", 3) && p->seconds_left >= 0) seen->left = p->seconds_left;
    if (seen->count > 0 && !strcmp(seen->what[seen->count - 1], p->what)) return 0;
    if (seen->count < 8) snprintf(seen->what[seen->count++], sizeof seen->what[0], "%s", p->what);
    return 0;
}

static void test_progress_says_which_part_it_is_and_how_long_it_takes(void **state) {
    (void)state;
    parts seen = {.left = -1};
    const vn_context_options options = {
        .struct_size = sizeof options, .progress = note_part, .user = &seen};
    vn_context *watched = NULL;
    assert_int_equal(vn_context_open(&watched, &options), VN_OK);
    vn_model *m = NULL;
    vn_eval_result r = vn_eval_result_default();
    expect_ok(watched, vn_model_open(watched, "world.json", &m));
    vn_eval_options o = nll(5);
    o.data = "points:moons:count=100";
    o.label = 0;
    expect_ok(watched, vn_eval(m, &o, &r));
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.what[0], "reading 1 of 3");
    assert_string_equal(seen.what[1], "nll 2 of 3");
    assert_string_equal(seen.what[2], "exact 3 of 3");
    assert_true(seen.left >= 0);
    vn_model_close(&m);
    vn_context_close(&watched);
}

static void test_images_are_measured_in_bits_of_pixels(void **state) {
    (void)state;
    vn_model *m = open_model("run");
    vn_eval_options o = nll(2);
    vn_eval_result r = vn_eval_result_default();
    o.data = "data";
    vn_likelihood_settings likelihood = vn_likelihood_settings_default();
    likelihood.rtol = likelihood.atol = 1e-2;
    o.likelihood = &likelihood;
    expect_ok(vn, vn_eval(m, &o, &r));
    const vn_measure *nats = find(&r, "negative log-likelihood"),
                     *bits = find(&r, "bits per dimension");
    assert_true(isfinite(nats->value));
    expect_small(fabs(bits->value - (nats->value / (64 * log(2.0)) + log2(127.5))), 1e-9);
    vn_model_close(&m);
}

static void test_what_cannot_be_measured_is_named(void **state) {
    (void)state;
    vn_model *world = open_model("world.json"), *run = open_model("run");
    vn_eval_result r = vn_eval_result_default();
    const struct {
        vn_model *m;
        vn_eval_options o;
        const char *word;
    } cases[] = {
        {world, {.label = VN_LABEL_ALL}, "metric"},
        {world, {.metric = "nil", .label = VN_LABEL_ALL}, "'nll'"},
        {world, {.metric = "nll", .label = 9}, "class 9"},
        {world, {.metric = "nll", .count = -1}, "count"},
        {world, {.metric = "nll", .data = "nowhere.npz"}, "nowhere"},
        {world, {.metric = "nll", .data = "data"}, "shape"},
        {run, {.metric = "nll", .label = VN_LABEL_ALL}, "`data` is needed"},
        {run, {.metric = "nll", .data = "data", .count = 1000}, "only 20"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vn_eval_options o = cases[i].o;
        o.struct_size = sizeof o;
        assert_int_not_equal(vn_eval(cases[i].m, &o, &r), VN_OK);
        if (!strstr(vn_error_text(vn), cases[i].word))
            fail_msg("'%s' lacks %s", vn_error_text(vn), cases[i].word);
        assert_null(strchr(vn_error_text(vn), '\n'));
    }
    vn_model_close(&world);
    vn_model_close(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_likelihood_is_the_density),
        cmocka_unit_test(test_a_likelihood_can_be_stopped_amid_a_sample),
        cmocka_unit_test(test_bad_likelihood_settings_are_named),
        cmocka_unit_test(test_nll_of_a_world_is_its_entropy),
        cmocka_unit_test(test_data_may_be_tensors_or_toys),
        cmocka_unit_test(test_what_was_drawn_is_told),
        cmocka_unit_test(test_the_first_class_of_sorted_data_does_not_stand_for_all),
        cmocka_unit_test(test_progress_says_which_part_it_is_and_how_long_it_takes),
        cmocka_unit_test(test_images_are_measured_in_bits_of_pixels),
        cmocka_unit_test(test_what_cannot_be_measured_is_named),
    };
    return run_under_each_kernel_set(tests, prepare, context_leave);
}
