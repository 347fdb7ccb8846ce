/* DiT beside what the golden files hold it to: what is refused and in which words, defaults,
 * presets, how weights begin, memory that runs out. */
#include "nn/support_batch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/thread_pool.h"
#include "support/kernels.h"
#include "support/scratch.h"
#include "support_config.h"

#define DIT "\"_class_name\": \"DiTTransformer2DModel\""
#define OWN "\"_class_name\": \"VaneDiT\""
#define SMALL                                                                                      \
    ", \"num_attention_heads\": 2, \"attention_head_dim\": 4, \"num_layers\": 1, "                 \
    "\"sample_size\": 8"
#define TINY DIT SMALL

/* ---- configs --------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *config, *words;
} refusals[] = {
    {"{" TINY ", \"num_layer\": 2}",
     "dit: unknown key \"num_layer\"; did you mean \"num_layers\"?"},
    /* in diffusers it has no time embedding */
    {"{" TINY ", \"num_layers\": 0}", "dit: num_layers is 0; it must be in [1,"},
    {"{" TINY ", \"norm_type\": \"ada_norm_single\"}",
     "norm_type: \"ada_norm_single\" is not one of ada_norm_zero"},
    {"{" TINY ", \"activation_fn\": \"geglue\"}", "did you mean \"geglu\"?"},
    {"{" TINY ", \"num_embeds_ada_norm\": null}", "num_embeds_ada_norm must be given"},
    {"{" TINY ", \"attention_head_dim\": 3}",
     "dit: num_attention_heads 2 of attention_head_dim 3 make tokens 6 wide; positions need a "
     "multiple of 4"},
    {"{" TINY ", \"num_attention_heads\": 65536, \"attention_head_dim\": 4}",
     "make tokens 262144 wide"},
    {"{" TINY ", \"patch_size\": 9}", "dit: sample_size 8 is less than patch_size 9"},
    {"{" TINY ", \"patch_size\": 0}", "dit: patch_size is 0"},
    {"{" TINY ", \"sample_size\": [8, 8]}", "dit: sample_size must be a whole number"},
    /* the two classes */
    {"{" TINY ", \"qk_norm\": \"rms_norm\"}",
     "dit: diffusers' DiTTransformer2DModel has no qk_norm: the _class_name of one that has it is "
     "VaneDiT"},
    {"{" TINY ", \"num_register_tokens\": 0}",
     "diffusers' DiTTransformer2DModel has no num_register_tokens"},
    {"{" OWN SMALL "}", "dit: a VaneDiT without block_norm, qk_norm, rope_theta or "
                        "num_register_tokens, and without takes_step_end, "
                        "takes_guidance or time_scale, is a DiTTransformer2DModel"},
    {"{" OWN SMALL ", \"qk_norm\": null, \"rope_theta\": null, \"block_norm\": \"layer_norm\"}",
     "dit: a VaneDiT without"},
    {"{\"_class_name\": \"VaneDit\"}", "did you mean \"VaneDiT\"?"},
    {"{" OWN SMALL ", \"qk_norm\": \"l2\"}",
     "dit: qk_norm: \"l2\" is not one of layer_norm, rms_norm"},
    {"{" OWN SMALL ", \"block_norm\": null}", "dit: block_norm must be given: it cannot be null"},
    {"{" OWN SMALL ", \"rope_theta\": 0.5}", "dit: rope_theta is 0.5; it must be in [1,"},
    {"{" OWN SMALL ", \"num_register_tokens\": 1025}",
     "dit: num_register_tokens is 1025; it must be in [0, 1024]"},
    {"{" OWN SMALL ", \"attention_head_dim\": 6, \"rope_theta\": 100}",
     "dit: attention_head_dim is 6; rope_theta needs a multiple of 4, up to 1024"},
    {"{" OWN SMALL ", \"attention_head_dim\": 2048, \"rope_theta\": 100}",
     "attention_head_dim is 2048; rope_theta needs"},
};
/* clang-format on */

static void refuses_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(refusals); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        vn_status status = open_text(refusals[i].config, &net, &err);
        assert_null(net);
        if (status != VN_BAD_FILE || !strstr(err.text, refusals[i].words))
            fail_msg("%s\n  gives %d \"%s\", not \"%s\"", refusals[i].config, status, err.text,
                     refusals[i].words);
    }
}

static void refuses_images_that_do_not_fit(void **state) {
    (void)state;
    static const struct {
        int64_t height, width;
        const char *words;
    } images[] = {
        {9, 9, "dit: images of 9 x 9: both sides must be multiples of 2"},
        {8, 16, "dit: images of 8 x 16: it is for square ones"},
        {65536, 65536,
         "dit: images of 65536 x 65536 make 1073741824 tokens of 8 numbers; it takes up to "
         "268435456 numbers"}};
    vn_net *net = must_open("{" TINY "}");
    for (size_t i = 0; i < VN_COUNT(images); i++) {
        vn_graph *g = NULL;
        vn_net_nodes nodes;
        vn_err err = {0};
        const vn_net_spec spec = {
            .extent = {.batch = 1, .height = images[i].height, .width = images[i].width}};
        assert_int_equal(vn_graph_open(&g, &err), VN_OK);
        assert_int_equal(vn_net_build(net, g, &spec, &nodes, &err), VN_BAD_ARGUMENT);
        assert_string_equal(err.text, images[i].words);
        vn_graph_close(&g);
    }
    vn_net_close(&net);
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    vn_net *net = must_open("{" DIT "}");
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 749808016);
    assert_int_equal(vn_weights_count(vn_net_weights(net)), 538);
    const vn_net_io *io = vn_net_get_io(net);
    assert_true(vn_net_sample(io).dim[0] == 4 && vn_net_out_channels(io) == 4);
    assert_null(vn_net_output(io, "variance"));
    assert_true(io->height == 32 && io->width == 32 && io->multiple == 2);
    assert_true(vn_net_labels(io) == 1001 && vn_net_input(io, "timestep")->below == 0);
    vn_net_close(&net);
}

static void twice_the_channels_are_a_variance(void **state) {
    (void)state;
    vn_net *net = must_open("{" TINY ", \"in_channels\": 3, \"out_channels\": 6}");
    assert_int_equal(vn_net_output(vn_net_get_io(net), "variance")->shape.dim[1], 3);
    assert_int_equal(vn_net_prediction(vn_net_get_io(net))->shape.dim[1], 3);
    assert_int_equal(vn_net_out_channels(vn_net_get_io(net)), 6);
    vn_net_close(&net);
    net = must_open("{" TINY ", \"in_channels\": 3, \"out_channels\": 5}");
    assert_null(vn_net_output(vn_net_get_io(net), "variance"));
    assert_int_equal(vn_net_prediction(vn_net_get_io(net))->shape.dim[1], 5);
    vn_net_close(&net);
}

/* ---- presets --------------------------------------------------------------------------------- */

static vn_status preset(const char *text, const vn_net_data *data, vn_net **net, vn_err *err) {
    vn_choice choice;
    json_t *config = NULL;
    vn_status status = vn_choice_parse(text, &vn_models[VN_ROLE_DENOISER], &choice, err);
    *net = NULL;
    if (!status && !(config = ((const vn_net_row *)choice.row)->config(&choice, data, err)))
        status = err->status;
    if (!status) status = vn_net_open(config, net, err);
    json_decref(config);
    return status;
}

static const vn_net_data fashion = {.sample = {3, {1, 28, 28}}, .labels = 11, .dropout = -1};

static void presets_fit_the_data(void **state) {
    (void)state;
    vn_err err = {0};
    vn_net *net = NULL;
    if (preset("dit:depth=6,width=128,heads=4,patch=2", &fashion, &net, &err) != VN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 2120068); /* as diffusers counts */
    const vn_net_io *io = vn_net_get_io(net);
    assert_true(io->height == 28 && io->multiple == 2 && vn_net_labels(io) == 11 &&
                vn_net_out_channels(io) == 1);
    assert_string_equal(vn_net_get_row(net)->folder, "transformer");
    vn_net_close(&net);

    vn_net_data unlabelled = fashion;
    unlabelled.labels = 0;
    if (preset("dit:depth=1,patch=7", &unlabelled, &net, &err) != VN_OK) fail_msg("%s", err.text);
    assert_null(vn_net_input(vn_net_get_io(net), "class_labels"));
    vn_net_close(&net);
}

/* Parameters with what vane adds, in a model whose blocks have 16 x 16 attention of 2 heads. */
static void presets_go_beyond_diffusers(void **state) {
    (void)state;
    static const struct {
        const char *text, *class_name;
        int64_t more; /* parameters than dit:depth=1,width=16,heads=2 has */
    } cases[] = {
        {"dit:depth=1,width=16,heads=2,mlp=swiglu", "DiTTransformer2DModel", 64 * 16 + 64},
        {"dit:depth=1,width=16,heads=2,norm=layer,qk_norm=none,rope=0,registers=0",
         "DiTTransformer2DModel", 0},
        {"dit:depth=1,width=16,heads=2,norm=rms", "VaneDiT", 0},
        {"dit:depth=1,width=16,heads=2,qk_norm=rms", "VaneDiT", 2 * 8},
        {"dit:depth=1,width=16,heads=2,qk_norm=layer", "VaneDiT", 4 * 8},
        {"dit:depth=1,width=16,heads=2,rope=10000", "VaneDiT", 0},
        {"dit:depth=1,width=16,heads=2,registers=4", "VaneDiT", 4 * 16},
    };
    vn_err err = {0};
    vn_net *net = NULL;
    if (preset("dit:depth=1,width=16,heads=2", &fashion, &net, &err) != VN_OK)
        fail_msg("%s", err.text);
    const int64_t plain = vn_weights_parameters(vn_net_weights(net));
    vn_net_close(&net);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        if (preset(cases[i].text, &fashion, &net, &err) != VN_OK)
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_int_equal(vn_weights_parameters(vn_net_weights(net)) - plain, cases[i].more);
        const json_t *config = vn_net_config(net);
        assert_string_equal(json_string_value(json_object_get(config, "_class_name")),
                            cases[i].class_name);
        /* what a model directory says of whose class it is */
        const bool own = strcmp(cases[i].class_name, "VaneDiT") == 0;
        assert_true(own == !json_object_get(config, "_diffusers_version"));
        vn_net_close(&net);
    }
}

static void presets_refuse_data_that_does_not_fit(void **state) {
    (void)state;
    vn_net_data long_images = fashion;
    long_images.sample.dim[1] = 14;
    const vn_net_data points = {.sample = {1, {2}}, .dropout = -1};
    const struct {
        const char *text;
        const vn_net_data *data;
        const char *words;
    } cases[] = {
        {"dit:patch=3", &fashion, "dit: images of 28 x 28 are not divisible by patch=3"},
        {"dit:width=130,heads=4", &fashion, "dit: width=130 is not divisible by heads=4"},
        {"dit:width=30,heads=3", &fashion, "dit: width=30 is not divisible by 4"},
        {"dit:width=72,heads=12,rope=100", &fashion,
         "dit: width=72 and heads=12 make heads of 6 numbers; rope needs a multiple of 4, up to "
         "1024"},
        {"dit", &long_images, "dit is for square images, these are 14 x 28; use unet2d"},
        {"dit", &points, "dit is for images; for points use mlp"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        assert_int_equal(preset(cases[i].text, cases[i].data, &net, &err), VN_BAD_ARGUMENT);
        assert_string_equal(err.text, cases[i].words);
    }
}

/* ---- how weights begin ----------------------------------------------------------------------- */

static const float *initial(const vn_net *net, const float *values, const char *name,
                            size_t *count) {
    const vn_weight *w = vn_weights_find(vn_net_weights(net), name);
    if (!w) fail_msg("no weight %s", name);
    *count = w->count;
    return values + w->offset;
}

/* Largest size and mean square of a weight. */
static void measure(const vn_net *net, const float *values, const char *name, double *largest,
                    double *square) {
    size_t n;
    const float *x = initial(net, values, name, &n);
    *largest = *square = 0;
    for (size_t i = 0; i < n; i++) {
        *largest = fmax(*largest, fabs((double)x[i]));
        *square += (double)x[i] * (double)x[i] / (double)n;
    }
}

static void expect_xavier(const vn_net *net, const float *values, const char *name, double fan_in,
                          double fan_out) {
    double largest, square, bound = sqrt(6 / (fan_in + fan_out));
    measure(net, values, name, &largest, &square);
    if (!(largest <= bound && largest > 0.97 * bound))
        fail_msg("%s: %g of %g", name, largest, bound);
    expect_small(fabs(square / (bound * bound / 3) - 1), 0.1);
}

static void expect_deviation(const vn_net *net, const float *values, const char *name) {
    double largest, square;
    measure(net, values, name, &largest, &square);
    expect_below(name, fabs(sqrt(square) / 0.02 - 1), 0.05);
}

static void expect_zero(const vn_net *net, const float *values, const char *name) {
    double largest, square;
    measure(net, values, name, &largest, &square);
    if (largest != 0) fail_msg("%s begins with %g", name, largest);
}

#define BLOCK "transformer_blocks.0."

static void weights_begin_as_in_the_paper(void **state) {
    (void)state;
    vn_net *net = must_open(
        "{" DIT ", \"num_attention_heads\": 2, \"attention_head_dim\": 32, \"num_layers\": 1}");
    float *values = vn_alloc(vn_weights_floats(vn_net_weights(net)), sizeof *values);
    assert_non_null(values);
    vn_weights_init(vn_net_weights(net), values, 3);
    expect_xavier(net, values, "pos_embed.proj.weight", 2 * 2 * 4, 64);
    expect_xavier(net, values, BLOCK "attn1.to_q.weight", 64, 64);
    expect_xavier(net, values, BLOCK "ff.net.0.proj.weight", 64, 256);
    expect_deviation(net, values, BLOCK "norm1.emb.timestep_embedder.linear_1.weight");
    expect_deviation(net, values, BLOCK "norm1.emb.class_embedder.embedding_table.weight");
    static const char *const zeros[] = {
        BLOCK "norm1.linear.weight", "proj_out_1.weight",
        "proj_out_2.weight",         BLOCK "norm1.linear.bias",
        "proj_out_2.bias",           BLOCK "norm1.emb.timestep_embedder.linear_2.bias",
        BLOCK "ff.net.2.bias",       "pos_embed.proj.bias"};
    for (size_t i = 0; i < VN_COUNT(zeros); i++) expect_zero(net, values, zeros[i]);
    vn_free(values);
    vn_net_close(&net);
}

static void own_weights_begin_small_or_as_one(void **state) {
    (void)state;
    vn_err err = {0};
    vn_net *net = NULL;
    if (preset("dit:depth=1,width=64,qk_norm=rms,registers=64", &fashion, &net, &err) != VN_OK)
        fail_msg("%s", err.text);
    float *values = vn_alloc(vn_weights_floats(vn_net_weights(net)), sizeof *values);
    assert_non_null(values);
    vn_weights_init(vn_net_weights(net), values, 3);
    expect_deviation(net, values, "register_tokens");
    size_t n;
    const float *gamma = initial(net, values, BLOCK "attn1.norm_q.weight", &n);
    assert_int_equal(n, 16);
    for (size_t i = 0; i < n; i++) assert_true(gamma[i] == 1);
    vn_free(values);
    vn_net_close(&net);
}

/* ---- hostile --------------------------------------------------------------------------------- */

static void survives_damaged_configs(void **state) {
    (void)state;
    damaged_configs("{" TINY
                    ", \"norm_eps\": 1e-05, \"attention_bias\": false, \"out_channels\": null, "
                    "\"activation_fn\": \"geglu\", \"num_embeds_ada_norm\": 5}");
    damaged_configs("{" OWN SMALL ", \"block_norm\": \"rms_norm\", \"qk_norm\": \"layer_norm\", "
                    "\"rope_theta\": 10000, \"num_register_tokens\": 4}");
}

/* From the preset to an answer, which begins as zero because the last layer does. */
static vn_status preset_and_run(vn_err *err) {
    vn_net *net = NULL;
    vn_runner *runner = NULL;
    const vn_device device = {kernels, NULL, crew_of(1)};
    vn_values *values = NULL;
    float x[28 * 28] = {1, -1}, y[28 * 28] = {1, 1}, time = 0.5F;
    vn_status status = preset("dit:depth=1,width=8,heads=2,patch=7,mlp=swiglu,norm=rms,qk_norm="
                              "layer,rope=100,registers=2",
                              &fashion, &net, err);
    if (!status) status = vn_values_open(vn_net_weights(net), &device, NULL, &values, err);
    if (!status) status = vn_values_init(values, 0, err);
    if (!status) status = vn_runner_open(net, &device, values, &runner, err);
    const batch b = {1, 28, 28, x, &time, &(int32_t){10}, NULL};
    if (!status) status = batch_run(runner, net, &b, y, NULL, err);
    for (int i = 0; !status && i < 28 * 28; i++) assert_true(y[i] == 0);
    vn_runner_close(&runner);
    vn_values_close(&values);
    vn_net_close(&net);
    return status;
}

static void says_when_memory_runs_out(void **state) {
    (void)state;
    vn_err err = {0};
    assert_int_equal(preset_and_run(&err), VN_OK);
    for (alloc_turn t = {0}; alloc_next(&t);) {
        err = (vn_err){0};
        vn_status status = preset_and_run(&err);
        if (alloc_hit(&t, status)) assert_int_equal(err.status, VN_NO_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(refuses_images_that_do_not_fit),
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(twice_the_channels_are_a_variance),
        cmocka_unit_test(presets_fit_the_data),
        cmocka_unit_test(presets_go_beyond_diffusers),
        cmocka_unit_test(presets_refuse_data_that_does_not_fit),
        cmocka_unit_test(weights_begin_as_in_the_paper),
        cmocka_unit_test(own_weights_begin_small_or_as_one),
        cmocka_unit_test_setup_teardown(survives_damaged_configs, scratch_enter, scratch_leave),
        cmocka_unit_test(says_when_memory_runs_out),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
