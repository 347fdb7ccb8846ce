/* Sequence models: trained on a program's own pictures, by patches and by pixels in levels, resumed
 * to the bit; sampled, each sample by its seed and index alone; measured exactly; and refused where
 * options or files do not fit. */
#include "api/support_api.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "guide/guide.h"
#include "support/bound.h"
#include "support/scratch.h"

enum { N = 24, SIDE = 8, SIZE = SIDE * SIDE };

static vn_context *vn;
static float images[N * SIZE];
static int32_t labels[N];

/* Two classes: bright above, and bright on the left; some are darker than others. */
static int enter(void **state) {
    for (int i = 0; i < N; i++) {
        labels[i] = i % 2;
        for (int k = 0; k < SIZE; k++) {
            const bool bright = labels[i] ? k % SIDE < SIDE / 2 : k < SIZE / 2;
            images[i * SIZE + k] = bright ? (float)(i % 3) / 2 : -1;
        }
    }
    scratch_enter(state);
    return vn_context_open(&vn, NULL) ? -1 : 0;
}

static int leave(void **state) {
    vn_context_close(&vn);
    return scratch_leave(state);
}

static vn_train_data pictures(void) {
    static const char *const names[] = {"above", "left"};
    vn_train_data d = vn_train_data_default();
    d.count = N;
    d.sample = (vn_shape){3, {1, SIDE, SIDE}};
    d.samples = images;
    d.labels = labels;
    d.classes = 2;
    d.class_names = names;
    return d;
}

static vn_train_options options_of(const char *model, int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = model;
    o.validate = 0.3;
    return o;
}

#define TINY "gpt:depth=2,width=16,heads=2,patch=4,codes=6"

static void train(const char *out, const char *model, int64_t steps, bool resume) {
    const vn_train_data d = pictures();
    vn_train_options o = vn_train_options_default();
    if (resume) {
        o.resume = 1;
        o.steps = steps;
    } else {
        o = options_of(model, steps);
        o.lr = 0.01;
    }
    if (vn_train_on(vn, &d, out, &o, NULL)) fail_msg("%s", vn_error_text(vn));
}

static vn_model *open_model(const char *path) {
    vn_model *m = NULL;
    if (vn_model_open(vn, path, &m)) fail_msg("%s", vn_error_text(vn));
    return m;
}

static vn_samples *draw(vn_model *m, const vn_sample_options *o) {
    vn_samples *s = NULL;
    if (vn_sample(m, o, &s)) fail_msg("%s", vn_error_text(vn));
    return s;
}

static void expect_same_in(const char *a, const char *b, const char *name) {
    char path[2][256];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/%s", a, name);
    snprintf(path[1], sizeof path[1], "%s/%s", b, name);
    char *one = scratch_read(path[0], &size[0]), *other = scratch_read(path[1], &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(one, other, size[0]);
    free(one);
    free(other);
}

#define WEIGHTS "diffusion_pytorch_model.safetensors"

/* transformers calls its weights otherwise. */
static void a_run_that_stopped_ends_in_the_same_bits(void **state) {
    (void)state;
    train("whole", TINY, 12, false);
    train("parts", TINY, 5, false);
    train("parts", NULL, 12, true);
    expect_same_in("whole", "parts", "transformer/model.safetensors");
    expect_same_in("whole", "parts", "vqvae/" WEIGHTS);
}

/* What was not asked for is drawn of each class, with the weights as they are at the time. */
static void previews_are_drawn(void **state) {
    (void)state;
    const vn_train_data d = pictures();
    char *first = NULL;
    size_t size[3];
    for (int i = 0; i < 2; i++) {
        vn_train_options o = options_of(TINY, i ? 80 : 40);
        o.lr = 0.01;
        o.preview_every = 40;
        o.overwrite = i;
        if (vn_train_on(vn, &d, "shown", &o, NULL)) fail_msg("%s", vn_error_text(vn));
        if (!i) first = scratch_read("shown/previews/000040.png", &size[0]);
    }
    char *early = scratch_read("shown/previews/000040.png", &size[1]),
         *late = scratch_read("shown/previews/000080.png", &size[2]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(first, early, size[0]);
    assert_true(size[1] != size[2] || memcmp(early, late, size[1]) != 0);
    free(first);
    free(early);
    free(late);
}

static void samples_depend_on_seed_and_index_alone(void **state) {
    (void)state;
    train("run", TINY, 60, false);
    vn_model *m = open_model("run");
    vn_sample_options o = vn_sample_options_default();
    o.count = 40;
    o.guidance = 2;
    o.seed = 3;
    vn_samples *all = draw(m, &o);
    o.batch = 7;
    vn_samples *other = draw(m, &o);
    assert_memory_equal(vn_samples_data(all), vn_samples_data(other), 40 * SIZE * sizeof(float));
    o.first = 11;
    o.count = 9;
    vn_samples *part = draw(m, &o);
    assert_memory_equal(vn_samples_data(all) + 11 * SIZE, vn_samples_data(part),
                        9 * SIZE * sizeof(float));
    assert_int_equal(vn_samples_passes(all), 2 * 4); /* two a token */
    vn_samples_close(&all);
    vn_samples_close(&other);
    vn_samples_close(&part);
    vn_model_close(&m);
}

/* It learns which class is bright where. */
static void classes_are_learned(void **state) {
    (void)state;
    vn_model *m = open_model("run");
    vn_sample_options o = vn_sample_options_default();
    o.count = 200;
    o.guidance = 1.5;
    vn_samples *s = draw(m, &o);
    const float *x = vn_samples_data(s);
    const int32_t *label = vn_samples_labels(s);
    int right = 0, shown = 0;
    for (int i = 0; i < 200; i++, x += SIZE) {
        const float above = x[SIDE - 1], left = x[SIZE - SIDE];
        right += (above > left) == (label[i] == 0) && above != left;
        shown++;
    }
    assert_int_equal(shown, 200);
    expect_below("part of samples that are not their class", 1 - right / 200.0, 0.25);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* log p of all that is drawn is that of the training loss: of the data's own codes. */
static void likelihood_is_of_the_codes(void **state) {
    (void)state;
    vn_model *m = open_model("run");
    double log_p[N], null_p[1];
    int64_t evaluations[N];
    if (vn_log_likelihood(m, NULL, N, images, labels, log_p, evaluations))
        fail_msg("%s", vn_error_text(vn));
    for (int i = 0; i < N; i++) {
        assert_true(log_p[i] < 0 && log_p[i] > -4 * log(6) * 3);
        assert_int_equal(evaluations[i], 4);
    }
    /* the other class says less of a picture */
    const int32_t wrong = 1, null = VN_LABEL_NULL;
    if (vn_log_likelihood(m, NULL, 1, images + 2 * SIZE, &wrong, null_p, NULL))
        fail_msg("%s", vn_error_text(vn));
    assert_true(null_p[0] < log_p[2]);
    if (vn_log_likelihood(m, NULL, 1, images + 2 * SIZE, &null, null_p, NULL))
        fail_msg("%s", vn_error_text(vn));
    assert_true(null_p[0] < 0);
    vn_model_close(&m);
}

/* Greedy draws are all alike, and those of one token left are as well. */
static void draws_are_as_asked_for(void **state) {
    (void)state;
    vn_model *m = open_model("run");
    vn_sample_options o = vn_sample_options_default();
    o.count = 6;
    o.label = 0;
    o.temperature = 0;
    vn_samples *greedy = draw(m, &o);
    o.temperature = 1;
    o.top_k = 1;
    vn_samples *one = draw(m, &o);
    const float *x = vn_samples_data(greedy);
    assert_memory_equal(x, vn_samples_data(one), 6 * SIZE * sizeof *x);
    for (int i = 1; i < 6; i++) assert_memory_equal(x, x + i * SIZE, SIZE * sizeof *x);
    vn_samples_close(&greedy);
    vn_samples_close(&one);
    vn_model_close(&m);
}

static void pixels_are_tokens_too(void **state) {
    (void)state;
    train("pixels", "gpt:depth=1,width=8,heads=1,patch=1", 2, false);
    vn_model *m = open_model("pixels");
    vn_sample_options o = vn_sample_options_default();
    o.count = 2;
    vn_samples *s = draw(m, &o);
    const float *x = vn_samples_data(s);
    for (int i = 0; i < 2 * SIZE; i++) {
        const double level = (double)(x[i] + 1) * 15 / 2;
        assert_true(fabs(level - round(level)) < 1e-5 && level > -0.5 && level < 15.5);
    }
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* Guidance is what there is to vary, and what is recommended is what the run is sampled by then. */
static void a_sweep_varies_guidance(void **state) {
    (void)state;
    static const double guidance[] = {2, 3};
    vn_model *m = open_model("run");
    vn_sample_options drawn = vn_sample_options_default();
    drawn.count = 16;
    vn_samples *s = draw(m, &drawn);
    assert_int_equal(vn_samples_save(s, "drawn.safetensors"), VN_OK);
    vn_samples_close(&s);
    vn_sweep_options o = vn_sweep_options_default();
    o.data = "drawn.safetensors";
    o.metric = "kd";
    o.features = "raw";
    o.guidance = guidance;
    o.guidance_count = 2;
    o.count = 8;
    o.resamples = 0;
    vn_sweep_result r = vn_sweep_result_default();
    if (vn_sweep(m, "sweep", &o, &r)) fail_msg("%s", vn_error_text(vn));
    assert_int_equal(r.points, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_null(r.point[i].error);
        assert_int_equal(r.point[i].steps, 0);
        assert_true(isfinite(r.point[i].row[0].value));
    }
    assert_int_equal(r.written, 1);
    const double recommended = r.recommended->guidance;
    vn_model_close(&m);
    m = open_model("run");
    s = draw(m, &drawn);
    assert_true(vn_samples_guidance(s)[0] == recommended);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect_words(const char *words) {
    if (!strstr(vn_error_text(vn), words))
        fail_msg("'%s' does not say '%s'", vn_error_text(vn), words);
}

static void options_are_refused_by_name(void **state) {
    (void)state;
    vn_model *m = open_model("run");
    vn_samples *s = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 1;
    o.steps = 4;
    assert_int_equal(vn_sample(m, &o, &s), VN_BAD_ARGUMENT);
    expect_words("`steps` has no effect: run is a sequence model");
    o.steps = 0;
    for (size_t i = 0; i < vn_guides.count; i++) {
        const vn_guide_row *row = (const vn_guide_row *)vn_table_row(&vn_guides, i);
        char words[80];
        if (row->linear) continue;
        o.guide = row->row.name;
        snprintf(words, sizeof words, "the guide %s is of images with noise", o.guide);
        assert_int_equal(vn_sample(m, &o, &s), VN_BAD_ARGUMENT);
        expect_words(words);
    }
    vn_model_close(&m);
    const vn_train_data d = pictures();
    static const struct {
        const char *model, *path, *words;
    } refused[] = {
        {TINY, "edm", "`path` has no effect on a sequence model"},
        {"gpt:width=10,heads=4", NULL, "gpt: width=10 is no even multiple of heads=4"},
        {"gpt:patch=3", NULL, "gpt: images of 8x8 are not divisible by patch=3"},
        {"gpt:depth=0", NULL, "depth"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        vn_train_options t = options_of(refused[i].model, 2);
        t.path = refused[i].path;
        assert_int_equal(vn_train_on(vn, &d, "refused", &t, NULL), VN_BAD_ARGUMENT);
        expect_words(refused[i].words);
    }
}

/* The codes of another run do as well as one's own; those of other pictures do not. */
static void codes_of_another_run_are_taken(void **state) {
    (void)state;
    const vn_train_data d = pictures();
    vn_train_options t = options_of("gpt:depth=1,width=8,heads=1", 2);
    t.latents = "run";
    if (vn_train_on(vn, &d, "second", &t, NULL)) fail_msg("%s", vn_error_text(vn));
    expect_same_in("run", "second", "vqvae/" WEIGHTS);
    vn_train_data wide = d;
    static float colours[4 * 3 * SIZE];
    wide.sample.dim[0] = 3;
    wide.samples = colours;
    wide.count = 4;
    t.validate = 0;
    assert_int_equal(vn_train_on(vn, &wide, "third", &t, NULL), VN_BAD_ARGUMENT);
    expect_words("autoencoder-patches takes 1 channels");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(previews_are_drawn),
        cmocka_unit_test(samples_depend_on_seed_and_index_alone),
        cmocka_unit_test(classes_are_learned),
        cmocka_unit_test(likelihood_is_of_the_codes),
        cmocka_unit_test(draws_are_as_asked_for),
        cmocka_unit_test(pixels_are_tokens_too),
        cmocka_unit_test(options_are_refused_by_name),
        cmocka_unit_test(a_sweep_varies_guidance),
        cmocka_unit_test(codes_of_another_run_are_taken),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
