/* test_foreign.c - models as diffusers and its users leave them: each gives diffusers' numbers,
 * wherever its weights lie and however they are called, and what does not open is refused with the
 * name of what is there. */
#include "api/support_context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define FOREIGN VN_SOURCE_DIR "/tests/golden/foreign"
#define OLD     VN_SOURCE_DIR "/tests/cases/old_attention_names"

/* Relative norm of the difference to diffusers' float32. Measured at most: 7.1e-7. */
#define ERROR 1.4e-6

/* Everything that a context has said. */
static char said[2048];

static void listen(void *user, vn_log_level level, const char *text) {
    (void)user, (void)level;
    const size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s\n", text);
}

/* A context that keeps what it says, in place of the test's. */
static vn_context *listening(void) {
    vn_context *other = NULL;
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    o.log = listen;
    said[0] = 0;
    assert_int_equal(vn_context_open(&other, &o), VN_OK);
    return other;
}

static void say(const char *format, const char *a, const char *b) {
    char command[1024];
    snprintf(command, sizeof command, format, a, b);
    scratch_require(system(command) == 0, command);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Writes a tensor of the file of expected ones under another name. */
static vn_array take(const vn_safetensors *st, const char *name, const char *as) {
    vn_array t = *vn_safetensors_find(st, name);
    t.name = as;
    return t;
}

/* The network in `dir`, run on what diffusers was given, against what diffusers then gave as
 * NAME.output. */
static void expect_numbers(const char *dir, const char *name) {
    vn_safetensors *st = NULL, *got = NULL;
    vn_err err = {0};
    char output[64];
    const bool dit = strcmp(name, "dit") == 0;
    snprintf(output, sizeof output, "%s.output", name);
    assert_int_equal(vn_safetensors_open(FOREIGN "/expected.safetensors", &st, &err), VN_OK);
    const vn_array in[] = {take(st, dit ? "dit.sample" : "sample", "sample"),
                           take(st, "timestep", "timestep"),
                           take(st, "dit.class_labels", "class_labels")};
    assert_int_equal(vn_safetensors_write("in.safetensors", in, dit ? 3 : 2, NULL, &err), VN_OK);
    expect_ok(vn, vn_forward(vn, dir, "in.safetensors", "out.safetensors", NULL));
    assert_int_equal(vn_safetensors_open("out.safetensors", &got, &err), VN_OK);
    const vn_array *a = vn_safetensors_find(got, "sample"), *b = vn_safetensors_find(st, output);
    assert_true(vn_shape_equal(&a->shape, &b->shape));
    float x[256], y[256];
    const size_t n = (size_t)vn_shape_count(&a->shape);
    assert_true(n <= 256);
    vn_array_read_f32(a, x);
    vn_array_read_f32(b, y);
    double off = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        norm += (double)y[i] * (double)y[i];
    }
    print_message("%s: off by %.2g\n", name, sqrt(off / norm));
    assert_true(sqrt(off / norm) < ERROR);
    vn_safetensors_close(&got);
    vn_safetensors_close(&st);
}

static void what_diffusers_opens_gives_its_numbers(void **state) {
    (void)state;
    expect_numbers(OLD "/unet", "case");
    expect_numbers(OLD, "case");
    expect_numbers(FOREIGN "/ema/checkpoint-1/unet_ema", "ema");
    expect_numbers(FOREIGN "/variant", "variant");
    expect_numbers(FOREIGN "/variant/unet/diffusion_pytorch_model.fp16.safetensors", "variant");
    expect_numbers(FOREIGN "/shards", "shards");
    expect_numbers(FOREIGN "/shards/diffusion_pytorch_model.safetensors.index.bf16.json", "shards");
    expect_numbers(FOREIGN "/flat", "flat");
    expect_numbers(FOREIGN "/dit", "dit");
}

/* ---- names ----------------------------------------------------------------------------------- */

static vn_model *open(const char *source) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, source, &m));
    return m;
}

/* One sample of a model whose files say how. */
static void expect_sample(const char *source) {
    vn_model *m = open(source);
    vn_samples *s = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 1;
    o.steps = 2;
    expect_ok(vn, vn_sample(m, &o, &s));
    vn_samples_close(&s);
    vn_model_close(&m);
}

static void a_pipelines_scheduler_is_found_from_what_lies_in_it(void **state) {
    (void)state;
    expect_sample(OLD);
    expect_sample(FOREIGN "/variant");
    expect_sample(FOREIGN "/flat");
    expect_sample(FOREIGN "/ema/checkpoint-1/unet_ema");
    expect_sample(FOREIGN "/ema/checkpoint-1/unet_ema/");
    expect_sample(FOREIGN "/variant/unet/diffusion_pytorch_model.fp16.safetensors");
    say("cp -r '%s' ema%s && chmod -R u+w ema && mv ema/checkpoint-1/unet_ema ema", FOREIGN "/ema",
        "");
    expect_sample("ema/unet_ema");
    vn_model *m = NULL; /* the index names unet, which is not there */
    expect_refused(vn_model_open(vn, "ema", &m), VN_BAD_FILE,
                   "ema/unet: has no config.json; name one of the networks in it: ema/unet_ema");
    say("mv ema/model_index.json ema/scheduler %s%s.", "ema/../", "");
    expect_refused(vn_model_open(vn, "ema", &m), VN_BAD_FILE,
                   "so it is no model; name one of the networks in it: ema/unet_ema");
    say("rm -r model_index.json scheduler%s%s", "", "");
}

/* A part that the index names is opened by the model, which says more than its folder. */
static void a_part_of_a_model_names_the_model(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *s = NULL;
    expect_refused(vn_model_open(vn, OLD "/unet/diffusion_pytorch_model.safetensors", &m),
                   VN_BAD_FILE, "is a part of the model " OLD "; name that folder");
    m = open(OLD "/unet");
    expect_refused(vn_sample(m, NULL, &s), VN_BAD_ARGUMENT,
                   "or the model that it is a part of: " OLD);
    vn_model_close(&m);
}

static void of_several_variants_one_is_named(void **state) {
    (void)state;
    vn_model *m = NULL;
    say("cp -r '%s' two%s && chmod -R u+w two", FOREIGN "/variant", "");
    say("cp two/unet/%s two/unet/%s", "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors");
    expect_refused(
        vn_model_open(vn, "two", &m), VN_BAD_ARGUMENT,
        "two/unet: has no diffusion_pytorch_model.safetensors but several variants; name one of "
        "these files: "
        "diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.non_ema.safetensors");
    expect_sample("two/unet/diffusion_pytorch_model.non_ema.safetensors");
    char *json = NULL; /* the network is not described as if it had no weights */
    expect_refused(vn_describe(vn, "two/unet", &json), VN_BAD_ARGUMENT, "several variants");
    /* The plain one is taken before any variant, without a word. */
    say("mv two/unet/%s two/unet/%s", "diffusion_pytorch_model.non_ema.safetensors",
        "diffusion_pytorch_model.safetensors");
    vn_context *other = listening();
    assert_int_equal(vn_model_open(other, "two", &m), VN_OK);
    vn_model_close(&m);
    assert_string_equal(said, "");
    /* And a single one with a word. */
    assert_int_equal(vn_model_open(other, FOREIGN "/variant", &m), VN_OK);
    vn_model_close(&m);
    assert_string_equal(
        said, FOREIGN
        "/variant/unet/diffusion_pytorch_model.fp16.safetensors is taken, as there are no other "
        "weights\n");
    vn_context_close(&other);
}

static void what_cannot_be_read_is_named_with_what_to_do(void **state) {
    (void)state;
    vn_model *m = NULL;
    say("cp -r '%s' bare%s && chmod -R u+w bare && rm bare/diffusion_pytorch_model.*",
        FOREIGN "/shards", "");
    expect_refused(vn_model_open(vn, "bare", &m), VN_BAD_FILE,
                   "bare: has no diffusion_pytorch_model.safetensors");
    static const struct {
        const char *file;
        vn_status status;
        const char *words;
    } files[] = {
        {"diffusion_pytorch_model.bin", VN_UNSUPPORTED,
         "but diffusion_pytorch_model.bin, pickled, which can run code as it is read. To write "
         "one, in Python: "
         "diffusers.UNet2DModel.from_pretrained(\"bare\").save_pretrained(\"bare\", "
         "safe_serialization=True)"},
        {"diffusion_pytorch_model.fp16.bin", VN_UNSUPPORTED,
         "diffusion_pytorch_model.fp16.bin, pickled"},
        {"diffusion_pytorch_model.bin.index.json", VN_UNSUPPORTED,
         "diffusion_pytorch_model.bin.index.json, pickled"},
        {"model.ckpt", VN_UNSUPPORTED, "model.ckpt, pickled"},
        {"diffusion_flax_model.msgpack", VN_UNSUPPORTED,
         "diffusion_flax_model.msgpack, which vane does not read"},
        {"model.safetensors", VN_BAD_ARGUMENT,
         "name the file that holds the weights: model.safetensors"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "bare/%s", files[i].file);
        scratch_write_text(path, "");
        expect_refused(vn_model_open(vn, "bare", &m), files[i].status, files[i].words);
        unlink(path);
    }
}

/* ---- configs --------------------------------------------------------------------------------- */

static void expect_config(const char *config, vn_status status, const char *words) {
    vn_err err = {0};
    vn_net *net = NULL;
    json_t *json = json_loads(config, 0, NULL);
    assert_non_null(json);
    assert_int_equal(vn_net_open(json, &net, &err), status);
    if (status && !strstr(err.text, words)) fail_msg("%s", err.text);
    if (!status) {
        char *text = vn_json_text(vn_net_config(net), JSON_SORT_KEYS | JSON_COMPACT);
        if (!strstr(text, words)) fail_msg("%s", text);
        vn_free(text);
    }
    vn_net_close(&net);
    json_decref(json);
}

#define TRANSFORMER                                                                                \
    "{\"_class_name\": \"Transformer2DModel\", \"in_channels\": 1, \"num_attention_heads\": 2, "   \
    "\"attention_head_dim\": 4, \"num_layers\": 1, \"sample_size\": 4, \"num_embeds_ada_norm\": 3"

static void old_configs_become_todays(void **state) {
    (void)state;
    expect_config(
        TRANSFORMER
        ", \"norm_type\": \"ada_norm_zero\", \"cross_attention_dim\": null, \"attention_type\": "
        "\"default\"}",
        VN_OK,
        "{\"_class_name\":\"DiTTransformer2DModel\",\"attention_head_dim\":4,\"in_channels\":1,");
    expect_config(TRANSFORMER ", \"norm_type\": \"ada_norm_single\"}", VN_UNSUPPORTED,
                  "a Transformer2DModel of norm_type \"ada_norm_single\"; vane knows those of "
                  "\"ada_norm_zero\"");
    expect_config(TRANSFORMER "}", VN_UNSUPPORTED,
                  "a Transformer2DModel of norm_type \"layer_norm\"");
    expect_config(TRANSFORMER ", \"norm_type\": \"ada_norm_zero\", \"cross_attention_dim\": 768}",
                  VN_UNSUPPORTED, "dit: a Transformer2DModel with cross_attention_dim is no DiT");
    expect_config(TRANSFORMER ", \"norm_type\": \"ada_norm_zero\", \"attention_type\": \"gated\"}",
                  VN_UNSUPPORTED, "attention_type");
    expect_config(TRANSFORMER ", \"norm_type\": \"ada_norm_zero\", \"patch\": 2}", VN_BAD_FILE,
                  "unknown key \"patch\"");
    /* EMAModel writes its whole record, or these are no keys. */
    expect_config("{\"_class_name\": \"UNet2DModel\", \"decay\": 0.9999, \"power\": 0.75}",
                  VN_BAD_FILE, "unknown key");
}

static void old_names_count_where_todays_are_not_there(void **state) {
    (void)state;
    say("mkdir both && cp '%s'/config.json both%s", FOREIGN "/flat", "");
    vn_safetensors *st = NULL;
    vn_err err = {0};
    vn_model *m = NULL;
    assert_int_equal(
        vn_safetensors_open(FOREIGN "/flat/diffusion_pytorch_model.safetensors", &st, &err), VN_OK);
    const size_t n = vn_safetensors_count(st);
    vn_array *t = vn_calloc(n + 1, sizeof *t);
    for (size_t i = 0; i < n; i++) t[i] = *vn_safetensors_at(st, i);
    const vn_array *old = vn_safetensors_find(st, "mid_block.attentions.0.query.weight");
    t[n] = *old;
    /* beside the old one, which then is one too many */
    t[n].name = "mid_block.attentions.0.to_q.weight";
    assert_int_equal(
        vn_safetensors_write("both/diffusion_pytorch_model.safetensors", t, n + 1, NULL, &err),
        VN_OK);
    expect_refused(vn_model_open(vn, "both", &m), VN_BAD_FILE,
                   "tensor 'mid_block.attentions.0.query.weight' is not part of this model");
    for (size_t i = 0; i < n; i++)
        if (strcmp(t[i].name, old->name) == 0) t[i] = t[n]; /* in its place */
    assert_int_equal(
        vn_safetensors_write("both/diffusion_pytorch_model.safetensors", t, n, NULL, &err), VN_OK);
    expect_numbers("both", "flat");
    t[0].name = "down_blocks.0.query.weight"; /* an old name of nothing */
    assert_int_equal(
        vn_safetensors_write("both/diffusion_pytorch_model.safetensors", t, n, NULL, &err), VN_OK);
    assert_int_equal(vn_model_open(vn, "both", &m), VN_BAD_FILE);
    vn_free(t);
    vn_safetensors_close(&st);
}

static void a_pipeline_may_name_its_classes(void **state) {
    (void)state;
    say("mkdir named && cp -r '%s' named/transformer%s", FOREIGN "/dit", "");
    scratch_write_text("named/model_index.json",
                       "{\"_class_name\": \"DiTPipeline\", \"transformer\": [\"diffusers\", "
                       "\"Transformer2DModel\"], "
                       "\"id2label\": {\"0\": \"tench, Tinca tinca\", \"2\": \"hen\"}}");
    vn_model *m = open("named");
    assert_int_equal(info_of(m).classes, 3);
    assert_string_equal(vn_model_label_name(m, 0), "tench, Tinca tinca");
    assert_string_equal(vn_model_label_name(m, 1), "1");
    assert_string_equal(vn_model_label_name(m, 2), "hen");
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_diffusers_opens_gives_its_numbers),
        cmocka_unit_test(a_pipelines_scheduler_is_found_from_what_lies_in_it),
        cmocka_unit_test(a_part_of_a_model_names_the_model),
        cmocka_unit_test(of_several_variants_one_is_named),
        cmocka_unit_test(what_cannot_be_read_is_named_with_what_to_do),
        cmocka_unit_test(old_configs_become_todays),
        cmocka_unit_test(old_names_count_where_todays_are_not_there),
        cmocka_unit_test(a_pipeline_may_name_its_classes),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
