/* test_eval_words.c - a model of texts is measured and swept: it is asked for the captions of the
 * data, the names of its classes, what the caller gives or what its run keeps, which is said; and
 * what has no meaning for texts is refused in words. */
#include "api/support_context.h"
#include "api/support_words.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "image/image.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { PICTURES = 40 };

static const char *const captions[2] = {"a red boat", "two boats"};
static vn_model *model;

static void make_picture(const char *path, int i) {
    uint8_t pixels[WORDS_SIDE * WORDS_SIDE];
    const vn_image image = {WORDS_SIDE, WORDS_SIDE, 1, pixels};
    vn_err err = {0};
    for (int k = 0; k < WORDS_SIDE * WORDS_SIDE; k++)
        pixels[k] = (uint8_t)((i % 2 ? 200 : 30) + 7 * ((k + 3 * i) % 8));
    if (vn_png_write(path, &image, NULL, 0, &err)) fail_msg("%s", err.text);
}

/* Pictures with captions in turn, and the same in folders of the captions' names. */
static void make_pictures(void) {
    char path[256];
    assert_int_equal(mkdir("data", 0777) | mkdir("named", 0777), 0);
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "named/%s", captions[k]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    for (int i = 0; i < PICTURES; i++) {
        snprintf(path, sizeof path, "data/%02d.png", i);
        make_picture(path, i);
        snprintf(path, sizeof path, "data/%02d.txt", i);
        scratch_write_text(path, captions[i % 2]);
        snprintf(path, sizeof path, "named/%s/%02d.png", captions[i % 2], i);
        make_picture(path, i);
    }
}

static int enter(void **state) {
    if (context_enter(state)) return 1;
    make_words_run("run");
    make_pictures();
    return vn_model_open(vn, "run", &model) != VN_OK;
}

static int leave(void **state) {
    vn_model_close(&model);
    return context_leave(state);
}

typedef struct measured {
    double kd;
    char from[16];
    int64_t prompts, count;
} measured;

static vn_eval_options usual(const char *data) {
    vn_eval_options o = vn_eval_options_default();
    o.metric = "kd";
    o.features = "raw";
    o.resamples = 0;
    o.data = data;
    return o;
}

static vn_sample_options few(double guidance) {
    vn_sample_options s = vn_sample_options_default();
    s.steps = 2;
    s.guidance = guidance;
    return s;
}

static measured measure(const vn_eval_options *o) {
    vn_eval_result r = vn_eval_result_default();
    expect_ok(vn, vn_eval(model, o, &r));
    measured m = {.kd = r.measure[0].value, .prompts = r.prompts, .count = r.count};
    assert_non_null(r.prompts_from);
    snprintf(m.from, sizeof m.from, "%s", r.prompts_from);
    return m;
}

/* Drawn for the data's captions they are the samples that prompts in turn give; guidance acts on
 * them, and a negative prompt. */
static void samples_have_the_captions_of_the_data(void **state) {
    (void)state;
    vn_sample_options s = few(1);
    vn_eval_options o = usual("data");
    o.sample = &s;
    const measured own = measure(&o);
    assert_string_equal(own.from, "captions");
    assert_int_equal(own.prompts, 2);
    assert_int_equal(own.count, PICTURES);
    s.prompts = captions;
    s.prompt_count = 2;
    const measured given = measure(&o);
    assert_string_equal(given.from, "options");
    assert_int_equal(given.prompts, 2);
    assert_true(given.kd == own.kd);
    const char *const other[] = {"fog", "", "fog"};
    s.prompts = other;
    s.prompt_count = 3;
    const measured changed = measure(&o);
    assert_int_equal(changed.prompts, 1);
    assert_true(changed.kd != own.kd);
    s = few(3);
    const measured guided = measure(&o);
    assert_true(guided.kd != own.kd);
    s.negative = "fog";
    assert_true(measure(&o).kd != guided.kd);
    /* later samples have the captions of the data in its order all the same */
    s = few(1);
    s.first = 1;
    const char *const turned[] = {captions[1], captions[0]};
    const measured later = measure(&o);
    s.prompts = turned;
    s.prompt_count = 2;
    assert_true(measure(&o).kd == later.kd);
}

static void none_is_the_empty_text(void **state) {
    (void)state;
    static const char *const empty[] = {""};
    vn_sample_options s = few(2);
    vn_eval_options o = usual("data");
    o.sample = &s;
    o.label = VN_LABEL_NULL;
    const measured none = measure(&o);
    assert_string_equal(none.from, "none");
    assert_int_equal(none.prompts, 0);
    o.label = VN_LABEL_ALL;
    s.prompts = empty;
    s.prompt_count = 1;
    assert_true(measure(&o).kd == none.kd);
}

/* Tensors have no captions. */
static void without_captions_the_run_s_own_are_drawn(void **state) {
    (void)state;
    static const char *const examples[] = {"a boat", "two boats"};
    vn_samples *drawn = NULL;
    vn_sample_options s = few(1);
    s.count = PICTURES;
    expect_ok(vn, vn_sample(model, &s, &drawn));
    expect_ok(vn, vn_samples_save(drawn, "x.npy"));
    vn_samples_close(&drawn);
    vn_eval_options o = usual("x.npy");
    s.count = 0;
    s.seed = 1;
    o.seed = 1;
    o.sample = &s;
    const measured own = measure(&o);
    assert_string_equal(own.from, "run");
    assert_int_equal(own.prompts, 2);
    s.prompts = examples;
    s.prompt_count = 2;
    assert_true(measure(&o).kd == own.kd);
}

/* Of data with classes they are drawn for the names, and told by a judge of them. */
static void names_of_classes_are_texts_and_a_judge_tells_them(void **state) {
    (void)state;
    vn_train_options t = vn_train_options_default();
    t.model = "classifier:time=no,channels=8,levels=1";
    t.steps = 2;
    t.batch = 8;
    t.validate = 0;
    expect_ok(vn, vn_train(vn, "named", "judge", &t, NULL));
    vn_sample_options s = few(1);
    vn_eval_options o = usual("named");
    o.sample = &s;
    o.metric = "accuracy,kd";
    o.features = "judge";
    vn_eval_result r = vn_eval_result_default();
    expect_ok(vn, vn_eval(model, &o, &r));
    assert_string_equal(r.prompts_from, "classes");
    assert_int_equal(r.prompts, 2);
    assert_string_equal(r.measure[0].name, "accuracy");
    /* without a judge no accuracy, and of texts that are no classes none either */
    o.features = "raw";
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT,
                   "accuracy needs a classifier as `features`, and raw is none");
    o.features = "judge";
    o.data = "data";
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT,
                   "accuracy is of classes, and samples of run are of texts");
    o.data = "named";
    s.prompts = captions;
    s.prompt_count = 2;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT,
                   "accuracy is of classes, and samples of run are of texts");
}

/* The density of a picture under its caption is not that under none. */
static void densities_are_under_captions(void **state) {
    (void)state;
    vn_likelihood_settings settings = vn_likelihood_settings_default();
    settings.probes = 1;
    settings.rtol = settings.atol = 1e-2;
    vn_eval_options o = usual("data");
    o.metric = "nll";
    o.features = NULL;
    o.count = 2;
    o.likelihood = &settings;
    vn_eval_result own = vn_eval_result_default(), none = vn_eval_result_default();
    expect_ok(vn, vn_eval(model, &o, &own));
    const double under_captions = own.measure[0].value;
    o.label = VN_LABEL_NULL;
    expect_ok(vn, vn_eval(model, &o, &none));
    assert_true(fabs(under_captions - none.measure[0].value) > 1e-3);
}

static void what_means_nothing_for_texts_is_refused(void **state) {
    (void)state;
    vn_sample_options s = few(1);
    vn_eval_options o = usual("data");
    vn_eval_result r = vn_eval_result_default();
    o.sample = &s;
    o.label = 0;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT,
                   "label 0: samples of run are of texts, not of classes");
    o.label = VN_LABEL_ALL;
    o.per_class = 1;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT,
                   "`per_class` has no effect: samples are of texts");
    o.per_class = 0;
    s.prompt_count = 2;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT, "prompts have a count");
    static const char *const hole[] = {"a boat", NULL};
    s.prompts = hole;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT, "prompt 2 is NULL");
    static const char *const broken[] = {"a boat", "\xFF"};
    s.prompts = broken;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT, "prompt 2: a text is not UTF-8");
    s.prompts = captions;
    o.label = VN_LABEL_NULL;
    expect_refused(vn_eval(model, &o, &r), VN_BAD_ARGUMENT, "prompts and label null exclude");
    vn_model *world = NULL;
    make_world("world.json");
    expect_ok(vn, vn_model_open(vn, "world.json", &world));
    o = vn_eval_options_default();
    o.metric = "energy";
    o.sample = &s;
    expect_refused(vn_eval(world, &o, &r), VN_UNSUPPORTED, "world.json: takes no prompts");
    vn_model_close(&world);
}

/* ---- sweeps ---------------------------------------------------------------------------------- */

static void a_sweep_is_guided_and_keeps_to_its_prompts(void **state) {
    (void)state;
    static const int two[] = {2};
    vn_sweep_options o = vn_sweep_options_default();
    vn_sweep_result r = vn_sweep_result_default();
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, "run", &m));
    o.data = "data";
    o.metric = "kd";
    o.features = "raw";
    o.count = 20;
    o.steps = two;
    o.step_count = 1;
    o.resamples = 2;
    o.keep = 1;
    expect_ok(vn, vn_sweep(m, "sweep", &o, &r));
    assert_int_equal(r.points, 4); /* guidance 1, 1.5, 2 and 3 */
    for (size_t i = 1; i < 4; i++) assert_true(r.point[i].row[0].value != r.point[0].row[0].value);
    /* the same prompts go on, others are another sweep */
    static const double strong[] = {4};
    o.guidance = strong;
    o.guidance_count = 1;
    o.prompts = captions;
    o.prompt_count = 2;
    expect_refused(vn_sweep(m, "sweep", &o, &r), VN_BAD_ARGUMENT, "prompts");
    expect_ok(vn, vn_sweep(m, "prompted", &o, &r));
    o.prompt_count = 1;
    expect_refused(vn_sweep(m, "prompted", &o, &r), VN_BAD_ARGUMENT, "prompts");
    o.prompt_count = 2;
    expect_ok(vn, vn_sweep(m, "prompted", &o, &r));
    assert_int_equal(r.found, 1);
    o.negative = "fog";
    expect_refused(vn_sweep(m, "prompted", &o, &r), VN_BAD_ARGUMENT, "negative");
    o.negative = NULL;
    o.prompts = NULL;
    expect_refused(vn_sweep(m, "more", &o, &r), VN_BAD_ARGUMENT, "prompts have a count");
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_have_the_captions_of_the_data),
        cmocka_unit_test(none_is_the_empty_text),
        cmocka_unit_test(without_captions_the_run_s_own_are_drawn),
        cmocka_unit_test(names_of_classes_are_texts_and_a_judge_tells_them),
        cmocka_unit_test(densities_are_under_captions),
        cmocka_unit_test(what_means_nothing_for_texts_is_refused),
        cmocka_unit_test(a_sweep_is_guided_and_keeps_to_its_prompts),
    };
    return run_under_each_kernel_set(tests, enter, leave);
}
