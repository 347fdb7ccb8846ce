/* Pipelines of diffusers through the public interface, against what diffusers drew with them:
 * golden/pipeline has one of each class without its tokenizers, which are those of golden/text, and
 * drawn.safetensors with noise, latents, pictures and how they were drawn (pipeline_random.py).
 * Parts that are missing or do not fit together are refused in words. */
#include "api/support_context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/pipeline/"

/* A class, and which tokenizers of golden/text it has. */
typedef struct pipeline {
    const char *name, *tokenizer[3];
} pipeline;

static const pipeline pipelines[] = {
    {"StableDiffusionPipeline", {"clip-sd1"}},
    {"StableDiffusionXLPipeline", {"clip-sd1", "clip"}},
    {"StableDiffusion3Pipeline", {"clip-sd1", "clip", "t5"}},
    {"FluxPipeline", {"clip-sd1", "t5"}},
    {"DiTPipeline", {NULL}},
};

/* Of latents and pictures, relative norms: up to eight steps of networks whose outputs are off by
 * some 1e-7, amplified by guidance of up to 7.5. */
static const double bound = 4e-6;

/* Links what is in a folder of the golden files, but for one part, into `to`. */
static void link_all(const char *from, const char *to, const char *but) {
    DIR *d = opendir(from);
    scratch_require(d && mkdir(to, 0777) == 0, from);
    for (struct dirent *e; (e = readdir(d));) {
        char inside[1024], place[1024];
        if (e->d_name[0] == '.' || (but && !strcmp(e->d_name, but))) continue;
        snprintf(inside, sizeof inside, "%s/%s", from, e->d_name);
        snprintf(place, sizeof place, "%s/%s", to, e->d_name);
        scratch_require(symlink(inside, place) == 0, place);
    }
    closedir(d);
}

/* The pipeline as a folder `to`, without the part `but`. */
static void make(const pipeline *p, const char *to, const char *but) {
    char from[512], place[512];
    snprintf(from, sizeof from, GOLDEN "%s", p->name);
    link_all(from, to, but);
    for (int i = 0; i < 3 && p->tokenizer[i]; i++) {
        snprintf(from, sizeof from, VN_SOURCE_DIR "/tests/golden/text/%s", p->tokenizer[i]);
        snprintf(place, sizeof place, i ? "%s/tokenizer_%d" : "%s/tokenizer", to, i + 1);
        scratch_require(symlink(from, place) == 0, place);
    }
}

/* ---- as diffusers draws ---------------------------------------------------------------------- */

/* What drawn.safetensors holds. */
typedef struct drawn {
    vn_safetensors *file;
    const vn_array *noise, *latents, *samples;
    json_t *conditions;
    const char *prompt[4];
    int32_t label[4];
    char negative[64];
    vn_model_options opened;
    vn_sample_options o;
} drawn;

static const char *said(const drawn *d, const char *key) {
    return json_string_value(json_object_get(vn_safetensors_metadata(d->file), key));
}

static void read_drawn(drawn *d, const char *name) {
    char path[512];
    vn_err err = {0};
    *d = (drawn){.opened = vn_model_options_default(), .o = vn_sample_options_default()};
    snprintf(path, sizeof path, GOLDEN "%s/drawn.safetensors", name);
    if (vn_safetensors_open(path, &d->file, &err)) fail_msg("%s", err.text);
    assert_int_equal(vn_safetensors_get(d->file, "noise", &d->noise, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(d->file, "latents", &d->latents, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(d->file, "samples", &d->samples, &err), VN_OK);
    d->opened.size = said(d, "size");
    d->conditions = json_loads(said(d, "conditions"), 0, NULL);
    const size_t n = json_array_size(d->conditions);
    assert_in_range(n, 1, 4);
    for (size_t i = 0; i < n; i++) {
        d->prompt[i] = json_string_value(json_array_get(d->conditions, i));
        d->label[i] = (int32_t)json_integer_value(json_array_get(d->conditions, i));
    }
    d->o.count = (int64_t)n;
    d->o.noise = d->noise->data;
    d->o.steps = atoi(said(d, "steps"));
    d->o.guidance = atof(said(d, "guidance"));
    d->o.prompts = d->prompt[0] ? d->prompt : NULL;
    d->o.prompt_count = d->prompt[0] ? n : 0;
    d->o.labels = d->prompt[0] ? NULL : d->label;
    if (sscanf(said(d, "negative"), "\"%63[^\"]", d->negative) == 1 ||
        !strcmp(said(d, "negative"), "\"\""))
        d->o.negative = d->negative;
}

static void close_drawn(drawn *d) {
    json_decref(d->conditions);
    vn_safetensors_close(&d->file);
}

static double off(const float *x, const vn_array *expected) {
    const float *e = expected->data;
    double sum = 0, all = 0;
    for (int64_t i = 0; i < vn_shape_count(&expected->shape); i++) {
        sum += pow((double)x[i] - (double)e[i], 2);
        all += pow((double)e[i], 2);
    }
    return sqrt(sum / all);
}

static vn_model *open_made(const char *folder, const vn_model_options *options) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open_with(vn, folder, options, &m));
    return m;
}

static void samples_are_those_of_diffusers(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(pipelines); i++) {
        const pipeline *p = &pipelines[i];
        drawn d;
        vn_samples *s = NULL;
        int64_t shape[3] = {0};
        make(p, p->name, NULL);
        read_drawn(&d, p->name);
        vn_model *m = open_made(p->name, &d.opened);
        const vn_model_info info = info_of(m);
        assert_string_equal(info.pipeline, p->name);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(info.shape[k], d.samples->shape.dim[k + 1]);
            assert_int_equal(info.latent_shape[k], d.latents->shape.dim[k + 1]);
        }
        expect_ok(vn, vn_sample(m, &d.o, &s));
        assert_non_null(vn_samples_latents(s, shape));
        assert_int_equal(shape[0], d.latents->shape.dim[1]);
        expect_below_as(off(vn_samples_latents(s, NULL), d.latents), bound, "%s, latents", p->name);
        expect_below_as(off(vn_samples_data(s), d.samples), bound, "%s, pictures", p->name);
        vn_samples_close(&s);
        vn_model_close(&m);
        close_drawn(&d);
    }
}

/* Step by step, shared and written to a file: the same bits. */
static void all_ways_give_the_same_bits(void **state) {
    (void)state;
    drawn d;
    vn_samples *whole = NULL, *stepped = NULL;
    vn_sampling *sampling = NULL;
    vn_safetensors *file = NULL;
    const vn_array *latents, *samples;
    vn_err err = {0};
    read_drawn(&d, pipelines[0].name);
    vn_model *m = open_made(pipelines[0].name, &d.opened), *shared = NULL;
    expect_ok(vn, vn_sample(m, &d.o, &whole));
    expect_ok(vn, vn_model_share(m, vn, &shared));
    expect_ok(vn, vn_sampling_open(shared, &d.o, &sampling));
    for (int done = 0; !done;) expect_ok(vn, vn_sampling_step(sampling, &done));
    expect_ok(vn, vn_sampling_samples(sampling, &stepped));
    vn_sampling_close(&sampling);
    expect_ok(vn, vn_sample_to(m, &d.o, 1, "x.safetensors", VN_EXISTING_REFUSE, NULL));
    assert_int_equal(vn_safetensors_open("x.safetensors", &file, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(file, "latents", &latents, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(file, "samples", &samples, &err), VN_OK);
    const size_t small = sizeof(float) * (size_t)vn_shape_count(&d.latents->shape),
                 large = sizeof(float) * (size_t)vn_shape_count(&d.samples->shape);
    assert_memory_equal(vn_samples_latents(whole, NULL), vn_samples_latents(stepped, NULL), small);
    assert_memory_equal(vn_samples_data(whole), vn_samples_data(stepped), large);
    assert_memory_equal(vn_samples_latents(whole, NULL), latents->data, small);
    assert_memory_equal(vn_samples_data(whole), samples->data, large);
    vn_safetensors_close(&file);
    expect_ok(vn, vn_samples_append(whole, stepped));
    assert_memory_equal((const char *)vn_samples_latents(whole, NULL) + small,
                        vn_samples_latents(stepped, NULL), small);
    vn_samples_close(&whole);
    vn_samples_close(&stepped);
    vn_model_close(&shared);
    vn_model_close(&m);
    close_drawn(&d);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect_broken(const char *folder, vn_status status, const char *words) {
    vn_model *m = NULL;
    expect_refused(vn_model_open(vn, folder, &m), status, words);
    assert_null(m);
}

static void options_are_refused_in_words(void **state) {
    (void)state;
    const char *folder = pipelines[0].name, *prompt = "a cat";
    vn_model_options o = vn_model_options_default();
    vn_sample_options s = vn_sample_options_default();
    vn_samples *out = NULL;
    vn_model *m = NULL;
    static const struct {
        const char *size, *words;
    } sizes[] = {{"33", "size 33: StableDiffusionPipeline draws images whose sides are multiples"},
                 {"64x", "size '64x' is neither a side nor a height x width"},
                 {"0", "size 0: sides are from 1 to"},
                 {"big", "size 'big' is neither"}};
    for (size_t i = 0; i < VN_COUNT(sizes); i++) {
        o.size = sizes[i].size;
        expect_refused(vn_model_open_with(vn, folder, &o, &m), VN_BAD_ARGUMENT, sizes[i].words);
    }
    m = open_made(folder, NULL);
    expect_refused(vn_sample(m, &s, &out), VN_BAD_ARGUMENT, "draws what a text says");
    s.prompts = &prompt;
    s.prompt_count = 1;
    s.embedded_guidance = 2;
    expect_refused(vn_sample(m, &s, &out), VN_BAD_ARGUMENT, "takes no guidance as an input");
    s.embedded_guidance = (double)NAN;
    s.init_file = "x.png";
    expect_refused(vn_sample(m, &s, &out), VN_IO, "x.png");
    vn_model_close(&m);
}

static void parts_are_refused_in_words(void **state) {
    (void)state;
    const pipeline *sd = &pipelines[0];
    make(sd, "no-vae", "vae");
    expect_broken("no-vae", VN_IO, "no-vae/vae");
    make(sd, "no-text", "text_encoder");
    expect_broken("no-text", VN_IO, "no-text/text_encoder");
    make(sd, "null", "model_index.json");
    scratch_write_text("null/model_index.json",
                       "{\"_class_name\": \"StableDiffusionPipeline\", \"vae\": [\"diffusers\", "
                       "\"AutoencoderKL\"], \"unet\": [\"diffusers\", \"UNet2DConditionModel\"], "
                       "\"scheduler\": [\"diffusers\", \"PNDMScheduler\"], \"text_encoder\": "
                       "[null, null]}");
    expect_broken("null", VN_BAD_FILE,
                  "model_index.json has no text_encoder, which a StableDiffusionPipeline needs");
    make(sd, "other", "model_index.json");
    scratch_write_text("other/model_index.json",
                       "{\"_class_name\": \"KandinskyPipeline\", \"vae\": [\"diffusers\", "
                       "\"AutoencoderKL\"], \"unet\": [\"diffusers\", \"UNet2DConditionModel\"]}");
    expect_broken("other", VN_UNSUPPORTED,
                  "vane knows no pipeline of class 'KandinskyPipeline', but "
                  "StableDiffusionPipeline, StableDiffusionXLPipeline");
    make(sd, "wide", "text_encoder");
    scratch_require(
        symlink(GOLDEN "StableDiffusion3Pipeline/text_encoder_3", "wide/text_encoder") == 0,
        "wide");
    expect_broken("wide", VN_BAD_FILE, "wide: its text encoders give tokens of");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_those_of_diffusers),
        cmocka_unit_test(all_ways_give_the_same_bits),
        cmocka_unit_test(options_are_refused_in_words),
        cmocka_unit_test(parts_are_refused_in_words),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
