/* Training on captions with a pretrained text encoder, which is not trained: the run holds a copy
 * of it and of its tokenizer, samples and goes on without the folder that they came from, to the
 * same bits; and captions that are others than those that a run began with are noticed. */
#include "api/support_captioned.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "support/sanitized.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define DIT          "transformer/diffusion_pytorch_model.safetensors"
#define CLIP_WEIGHTS "text_encoder/model.safetensors"

static const char *const captions[] = {"it is black", "it is white"};

static int enter(void **state) {
    if (context_enter(state)) return 1;
    make_captioned("data", captions);
    make_network("clip", captioned_clip, 1);
    make_tokenizer("clip", "clip");
    mkdir("pipeline", 0777);
    make_network("pipeline/text_encoder", captioned_t5, 2);
    make_tokenizer("pipeline/tokenizer", "t5");
    make_network("pipeline/text_encoder_2", captioned_clip, 3);
    make_tokenizer("pipeline/tokenizer_2", "clip");
    return 0;
}

/* ---- training -------------------------------------------------------------------------------- */

static vn_train_options options(const char *encoder, int64_t steps) {
    vn_train_options o = captioned_options("text-dit:depth=1,width=16,heads=2", steps);
    o.text_encoder = encoder;
    return o;
}

static void train(const char *run, const vn_train_options *o) {
    expect_ok(vn, vn_train(vn, "data", run, o, NULL));
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
        go_on("data", parts, 6);
        assert_true(same_part(whole, parts, DIT) && same_part(whole, parts, "state/texts"));
        rename(aside, i == 0 ? "clip" : "pipeline");
    }
    /* encoder and tokenizer are copied as they are, and stay so */
    assert_true(same_part("whole0", "parts0", CLIP_WEIGHTS));
    expect_same_file("clip/model.safetensors", "parts0/" CLIP_WEIGHTS);
    expect_same_file("clip/tokenizer.json", "parts0/tokenizer/tokenizer.json");
    expect_file("parts0/text_encoder/diffusion_pytorch_model.safetensors", false);
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
    expect_black_and_white(m);
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
        "flux:depth=1,single=1,width=16,heads=2",
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
            go_on("data", run, 4);
            vn_train_options more = vn_train_options_default();
            more.resume = 1;
            more.steps = SANITIZED ? 6 : 60;
            expect_ok(vn, vn_train(vn, "data", run, &more, &result));
            if (!SANITIZED && !(result.loss < 0.9 * first))
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
    make_network("alone", captioned_clip, 1);
    o.text_encoder = "alone";
    expect_none(&o, "data", VN_BAD_FILE, "alone: has no tokenizer");
    make_tokenizer("alone", "clip");
    remove("alone/model.safetensors");
    expect_none(&o, "data", VN_BAD_FILE, "alone: has no model.safetensors");
    make_network("small",
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

/* ---- memory ---------------------------------------------------------------------------------- */

/* 6.7 million weights, which fit where what is trained fits, but not beside it. */
static void an_encoder_counts_in_memory(void **state) {
    (void)state;
    static const char large[] =
        "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": 878, \"hidden_size\": 512, "
        "\"intermediate_size\": 2048, \"num_hidden_layers\": 2, \"num_attention_heads\": 8, "
        "\"max_position_embeddings\": 20, \"eos_token_id\": 877}";
    make_network("large", large, 4);
    make_tokenizer("large", "clip");
    setenv("VANE_MEMORY", "32M", 1);
    vn_train_options o = options("clip", 1);
    o.model = "text-dit:depth=2,width=64,heads=2";
    train("fits", &o);
    o.text_encoder = "large";
    expect_none(&o, "data", VN_NO_MEMORY, "data: training at 8x8 would take ");
    const double takes = strtod(strstr(vn_error_text(vn), "take ") + strlen("take "), NULL);
    if (!(takes > 34 && takes < 60)) fail_msg("%s", vn_error_text(vn));
    unsetenv("VANE_MEMORY");
}

static double encoder_mb(const char *run, const char *step) {
    char *text = NULL;
    expect_ok(vn, vn_describe_plan(vn, run, 4, &text));
    json_t *plan = json_loads(text, 0, NULL);
    const json_t *of = json_object_get(plan, step);
    const double mb = json_number_value(json_object_get(of, "text_encoder_mb")),
                 all = json_number_value(json_object_get(of, "weights_mb"));
    if (!(mb > 0 && mb < all)) fail_msg("%s: %s", run, text);
    json_decref(plan);
    vn_text_free(&text);
    return mb;
}

/* Beside the network's own: as it is where it is frozen, five times that in training where it
 * learns too. */
static void a_plan_has_the_text_encoder(void **state) {
    (void)state;
    vn_train_options o = options("clip", 1);
    train("planned-frozen", &o);
    o.text_encoder = NULL;
    o.model = "text-dit:depth=1,width=16,heads=2,text_width=64";
    train("planned-joint", &o);
    const double frozen = encoder_mb("planned-frozen", "forward"),
                 joint = encoder_mb("planned-joint", "forward");
    assert_true(encoder_mb("planned-frozen", "train") == frozen);
    /* each rounded to 0.01 */
    assert_true(fabs(encoder_mb("planned-joint", "train") - 5 * joint) < 0.031);
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
    go_on("data", "stopped", 3);
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
        go_on("data", runs[i], 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(samples_are_what_prompts_say),
        cmocka_unit_test(networks_of_texts_learn),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(an_encoder_counts_in_memory),
        cmocka_unit_test(a_plan_has_the_text_encoder),
        cmocka_unit_test(encoding_can_be_stopped),
        cmocka_unit_test(other_captions_are_noticed),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
