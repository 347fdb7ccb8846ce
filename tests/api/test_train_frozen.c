/* Training on captions with a pretrained text encoder, which is not trained: the run holds a copy
 * of it and of its tokenizer, samples and goes on without the folder that they came from, to the
 * same bits; and captions that are others than those that a run began with are noticed. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "image/image.h"
#include "nn/nn.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { SIDE = 8, PICTURES = 24 };

#define TOKENIZERS   VN_SOURCE_DIR "/tests/golden/text/"
#define DIT          "transformer/diffusion_pytorch_model.safetensors"
#define CLIP_WEIGHTS "text_encoder/model.safetensors"

static const char clip_config[] =
    "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": 878, \"hidden_size\": 16, "
    "\"intermediate_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
    "\"max_position_embeddings\": 20, \"eos_token_id\": 877, \"projection_dim\": 12}";
static const char t5_config[] =
    "{\"architectures\": [\"T5EncoderModel\"], \"vocab_size\": 360, \"d_model\": 12, \"d_kv\": 4, "
    "\"d_ff\": 24, \"num_layers\": 2, \"num_heads\": 3}";

/* ---- folders --------------------------------------------------------------------------------- */

static void copy(const char *from, const char *folder, const char *name) {
    char path[512];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", from, name);
    char *bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    scratch_write(path, bytes, size);
    free(bytes);
}

/* A network's folder, and a tokenizer's. */
static void make_encoder(const char *folder, const char *text, uint64_t seed) {
    vn_err err = {0};
    vn_net *net = NULL;
    char path[256];
    json_t *config = json_loads(text, 0, NULL);
    assert_non_null(config);
    if (vn_net_open(config, &net, &err)) fail_msg("%s", err.text);
    const vn_weights *w = vn_net_weights(net);
    float *values = vn_alloc(vn_weights_floats(w), sizeof *values);
    assert_non_null(values);
    vn_weights_init(w, values, seed);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (vn_store_save_weights(path, w, values, -1, &err)) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, text);
    vn_free(values);
    vn_net_close(&net);
    json_decref(config);
}

static void make_tokenizer(const char *folder, const char *kind) {
    char from[512];
    snprintf(from, sizeof from, TOKENIZERS "%s", kind);
    mkdir(folder, 0777);
    copy(from, folder, "tokenizer.json");
    copy(from, folder, "tokenizer_config.json");
}

static const char *const captions[] = {"it is black", "it is white"};

static void write_caption(const char *folder, int i, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%02d.txt", folder, i);
    scratch_write_text(path, text);
}

/* Grey pictures whose captions say how bright they are: white, or black. */
static void make_captioned(const char *folder) {
    uint8_t pixels[SIDE * SIDE];
    char path[256];
    vn_err err = {0};
    assert_int_equal(mkdir(folder, 0777), 0);
    for (int i = 0; i < PICTURES; i++) {
        const vn_image image = {SIDE, SIDE, 1, pixels};
        memset(pixels, i % 2 ? 230 - i : 20 + i, sizeof pixels);
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        if (vn_png_write(path, &image, NULL, 0, &err)) fail_msg("%s", err.text);
        write_caption(folder, i, captions[i % 2]);
    }
}

static int enter(void **state) {
    if (context_enter(state)) return 1;
    make_captioned("data");
    make_encoder("clip", clip_config, 1);
    make_tokenizer("clip", "clip");
    mkdir("pipeline", 0777);
    make_encoder("pipeline/text_encoder", t5_config, 2);
    make_tokenizer("pipeline/tokenizer", "t5");
    make_encoder("pipeline/text_encoder_2", clip_config, 3);
    make_tokenizer("pipeline/tokenizer_2", "clip");
    return 0;
}

/* ---- training -------------------------------------------------------------------------------- */

static vn_train_options options(const char *encoder, int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.model = "text-dit:depth=1,width=16,heads=2";
    o.text_encoder = encoder;
    o.batch = 8;
    o.steps = steps;
    o.validate = 0;
    o.lr = 5e-3;
    o.warmup = 5;
    o.preview_every = -1;
    o.save_every = o.log_every = 1000;
    return o;
}

static void train(const char *run, const vn_train_options *o) {
    expect_ok(vn, vn_train(vn, "data", run, o, NULL));
}

static void go_on(const char *run, int64_t steps) {
    vn_train_options more = vn_train_options_default();
    more.resume = 1;
    more.steps = steps;
    train(run, &more);
}

static bool same_part(const char *a, const char *b, const char *part) {
    char path[2][256];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/%s", a, part);
    snprintf(path[1], sizeof path[1], "%s/%s", b, part);
    char *one = scratch_read(path[0], &size[0]), *two = scratch_read(path[1], &size[1]);
    const bool same = size[0] == size[1] && !memcmp(one, two, size[0]);
    free(one);
    free(two);
    return same;
}

static void expect_file(const char *path, bool is) {
    if (vn_is_file(path) != is) fail_msg("%s: %s", path, is ? "is missing" : "is there");
}

static void a_run_that_stopped_ends_in_the_same_bits(void **state) {
    (void)state;
    static const char *const sources[] = {"clip/", "pipeline", "pipeline/text_encoder_2"};
    for (size_t i = 0; i < VN_COUNT(sources); i++) {
        char whole[32], parts[32], aside[32];
        snprintf(whole, sizeof whole, "whole%zu", i);
        snprintf(parts, sizeof parts, "parts%zu", i);
        snprintf(aside, sizeof aside, "aside%zu", i);
        vn_train_options o = options(sources[i], 6), first = options(sources[i], 3);
        o.drop = first.drop = 0.3;
        o.validate = first.validate = 0.25;
        o.dropout = first.dropout = 0.1;
        train(whole, &o);
        train(parts, &first);
        assert_false(same_part(whole, parts, DIT));
        /* without the folder that the encoder came from, and without what it made of captions */
        rename(i == 0 ? "clip" : "pipeline", aside);
        if (i == 1) assert_int_equal(remove("parts1/state/texts"), 0);
        if (i == 2) assert_int_equal(truncate("parts2/state/texts", 100), 0);
        go_on(parts, 6);
        assert_true(same_part(whole, parts, DIT) && same_part(whole, parts, "state/texts"));
        rename(aside, i == 0 ? "clip" : "pipeline");
    }
    /* encoder and tokenizer are copied as they are, and stay so */
    assert_true(same_part("whole0", "parts0", CLIP_WEIGHTS));
    expect_same_file("clip/model.safetensors", "parts0/" CLIP_WEIGHTS);
    expect_same_file("clip/tokenizer.json", "parts0/tokenizer/tokenizer.json");
    expect_file("parts0/text_encoder/diffusion_pytorch_model.safetensors", false);
}

static double mean_of(vn_model *m, const char *prompt) {
    const char *prompts[] = {prompt};
    vn_sample_options o = vn_sample_options_default();
    vn_samples *s = NULL;
    double sum = 0;
    o.count = 8;
    o.steps = 8;
    o.prompts = prompts;
    o.prompt_count = 1;
    o.guidance = 1.5;
    expect_ok(vn, vn_sample(m, &o, &s));
    for (int i = 0; i < 8 * SIDE * SIDE; i++) sum += (double)vn_samples_data(s)[i];
    vn_samples_close(&s);
    return sum / (8 * SIDE * SIDE);
}

/* The folder samples by itself: what the encoder makes of a prompt is what training read. */
static void samples_are_what_prompts_say(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_train_options o = options("clip", 150);
    o.schedule = "cosine";
    o.preview_every = 75;
    train("run", &o);
    expect_file("run/previews/000150.png", true);
    assert_int_equal(rename("run", "moved"), 0);
    assert_int_equal(remove("moved/state/texts"), 0);
    expect_ok(vn, vn_model_open(vn, "moved", &m));
    assert_true(info_of(m).takes_prompts);
    const double black = mean_of(m, "it is black"), white = mean_of(m, "it is white");
    print_message("black %.2f, white %.2f\n", black, white);
    /* of the pictures: (20 + 11) / 127.5 - 1 and (230 - 12) / 127.5 - 1 */
    expect_below("black, off its pictures", fabs(black + 0.757), 0.5);
    expect_below("white, off its pictures", fabs(white - 0.710), 0.5);
    vn_model_close(&m);
}

/* A run of vane's is such a folder, whose encoder is of bytes; every kind of network that takes
 * texts learns with either, from nothing. */
static void networks_of_texts_learn(void **state) {
    (void)state;
    static const char *const models[] = {
        "text-dit:depth=1,width=16,heads=2",
        "unet2d-condition:channels=8,levels=2,heads=2",
        "sd3:depth=2,width=16,heads=2",
    };
    static const char *const encoders[] = {NULL, "clip", "pipeline", "net00"};
    for (size_t i = 0; i < VN_COUNT(models); i++)
        for (size_t k = 0; k < VN_COUNT(encoders); k++) {
            char run[16];
            vn_train_options o = options(encoders[k], 2);
            vn_train_result result = vn_train_result_default();
            o.model = models[i];
            o.drop = 0.3;
            snprintf(run, sizeof run, "net%zu%zu", i, k);
            expect_ok(vn, vn_train(vn, "data", run, &o, &result));
            const double first = result.loss;
            go_on(run, 4);
            vn_train_options more = vn_train_options_default();
            more.resume = 1;
            more.steps = 60;
            expect_ok(vn, vn_train(vn, "data", run, &more, &result));
            if (!(result.loss < 0.9 * first))
                fail_msg("%s: from %g to %g", run, first, result.loss);
        }
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static void expect_none(const vn_train_options *o, const char *data, vn_status status,
                        const char *words) {
    expect_refused(vn_train(vn, data, "no", o, NULL), status, words);
    assert_int_equal(access("no", F_OK), -1);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    make_data("classes", 12);
    vn_train_options o = options("clip", 2);
    expect_none(&o, "classes", VN_BAD_ARGUMENT,
                "`text_encoder` clip has no effect: classes has "
                "no captions");
    o.model = "unet2d";
    expect_none(&o, "data", VN_BAD_ARGUMENT, "has no effect: unet2d takes no texts");
    o = options("clip", 2);
    o.model = "text-dit:text_depth=2";
    expect_none(&o, "data", VN_BAD_ARGUMENT, "text_depth has no effect");
    o.model = "text-dit:text_width=32";
    expect_none(&o, "data", VN_BAD_ARGUMENT, "text_width=32, and the text encoder's is 16");
    o.model = "text-dit:text_length=21";
    expect_none(&o, "data", VN_BAD_FILE, "clip: texts of 21 tokens");
    o = options("nowhere", 2);
    expect_none(&o, "data", VN_IO, "nowhere: is no folder");
    o.text_encoder = "data";
    expect_none(&o, "data", VN_BAD_FILE, "data: holds neither config.json nor");
    make_encoder("alone", clip_config, 1);
    o.text_encoder = "alone";
    expect_none(&o, "data", VN_BAD_FILE, "alone: has no tokenizer");
    make_tokenizer("alone", "clip");
    remove("alone/model.safetensors");
    expect_none(&o, "data", VN_BAD_FILE, "alone: has no model.safetensors");
    make_encoder("small",
                 "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": 800, "
                 "\"hidden_size\": 16, \"intermediate_size\": 32, \"num_hidden_layers\": "
                 "1, \"num_attention_heads\": 2}",
                 1);
    make_tokenizer("small", "clip");
    o.text_encoder = "small";
    expect_none(&o, "data", VN_BAD_FILE,
                "the tokenizer has 878 tokens, and the text encoder "
                "knows 800");
}

static int stop(void *user, const vn_progress *progress) {
    (void)user;
    return strcmp(progress->what, "encoding") == 0;
}

/* Stopped while captions are encoded, a run is there, and goes on to the same bits. */
static void encoding_can_be_stopped(void **state) {
    (void)state;
    vn_context *other = NULL;
    vn_context_options with = vn_context_options_default();
    with.progress = stop;
    vn_train_options o = options("clip", 3);
    expect_ok(vn, vn_context_open(&other, &with));
    assert_int_equal(vn_train(other, "data", "stopped", &o, NULL), VN_CANCELLED);
    vn_context_close(&other);
    expect_file("stopped/state/texts", false);
    go_on("stopped", 3);
    train("unstopped", &o);
    assert_true(same_part("stopped", "unstopped", DIT));
}

static void other_captions_are_noticed(void **state) {
    (void)state;
    vn_train_options o = options("clip", 2), more = vn_train_options_default();
    more.resume = 1;
    more.steps = 4;
    train("noticed", &o);
    o.text_encoder = NULL;
    train("joint", &o);
    static const char *const runs[] = {"noticed", "joint"};
    for (int i = 0; i < 2; i++) {
        write_caption("data", 4, "it is blacK");
        expect_refused(vn_train(vn, "data", runs[i], &more, NULL), VN_BAD_ARGUMENT,
                       "the captions of 1 sample are others, of 04.png");
        write_caption("data", 7, "it is white\nor so");
        expect_refused(vn_train(vn, "data", runs[i], &more, NULL), VN_BAD_ARGUMENT,
                       "the captions of 2 samples are others, first of 04.png");
        write_caption("data", 4, captions[0]);
        write_caption("data", 7, captions[1]);
        go_on(runs[i], 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(samples_are_what_prompts_say),
        cmocka_unit_test(networks_of_texts_learn),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(encoding_can_be_stopped),
        cmocka_unit_test(other_captions_are_noticed),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
