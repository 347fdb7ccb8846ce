/* Configs: what is refused and in which words, defaults, presets, initial weights; damaged configs;
 * memory that runs out. */
#include "nn/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/scratch.h"
#include "support_config.h"

/* ---- refusals -------------------------------------------------------------------------------- */

typedef struct refusal {
    const char *config;
    vn_status status;
    const char *words;
} refusal;

#define UNET "\"_class_name\": \"UNet2DModel\", "
#define ONE_LEVEL                                                                                  \
    UNET "\"down_block_types\": [\"DownBlock2D\"], \"up_block_types\": [\"UpBlock2D\"], "
#define TINY ONE_LEVEL "\"block_out_channels\": [8], \"norm_num_groups\": 4, "
#define TEXT                                                                                       \
    "\"_class_name\": \"UNet2DConditionModel\", \"down_block_types\": "                            \
    "[\"CrossAttnDownBlock2D\"], \"up_block_types\": [\"CrossAttnUpBlock2D\"], "                   \
    "\"block_out_channels\": [8], \"norm_num_groups\": 4, \"cross_attention_dim\": 6, "

/* clang-format off */
static const refusal refusals[] = {
    {"{}", VN_BAD_FILE, "_class_name"},
    {"[]", VN_BAD_FILE, "_class_name"},
    {"{\"_class_name\": \"UNet2dModel\"}", VN_BAD_FILE, "did you mean \"UNet2DModel\"?"},
    {"{\"_class_name\": 3}", VN_BAD_FILE, "_class_name"},
    {"{" TINY "\"layer_per_block\": 1}", VN_BAD_FILE,
     "unet2d: unknown key \"layer_per_block\"; did you mean \"layers_per_block\"?"},
    {"{" TINY "\"layers_per_block\": \"2\"}", VN_BAD_FILE,
     "unet2d: layers_per_block must be a whole number"},
    {"{" TINY "\"layers_per_block\": 1.0}", VN_BAD_FILE,
     "unet2d: layers_per_block must be a whole number"},
    {"{" TINY "\"layers_per_block\": null}", VN_BAD_FILE, "layers_per_block must be given"},
    {"{" TINY "\"layers_per_block\": 1000000}", VN_BAD_FILE, "must be in [0, 32]"},
    {"{" TINY "\"in_channels\": 0}", VN_BAD_FILE, "in_channels is 0; it must be in [1,"},
    {"{" TINY "\"dropout\": 1}", VN_BAD_FILE, "dropout is 1"},
    {"{" TINY "\"dropout\": true}", VN_BAD_FILE, "dropout must be a number"},
    {"{" TINY "\"center_input_sample\": 1}", VN_BAD_FILE,
     "center_input_sample must be true or false"},
    {"{" TINY "\"act_fn\": \"silo\"}", VN_BAD_FILE,
     "act_fn: \"silo\" is not one of silu, swish, mish, gelu, relu; did you mean \"silu\"?"},
    {"{" TINY "\"act_fn\": 1}", VN_BAD_FILE, "act_fn must be a string"},
    {"{" TINY "\"time_embedding_type\": \"sinus\"}", VN_BAD_FILE, "time_embedding_type"},
    {"{" TINY "\"time_embedding_type\": \"learned\"}", VN_BAD_FILE, "needs num_train_timesteps"},
    {"{" TINY "\"resnet_time_scale_shift\": \"ada_group\"}", VN_BAD_FILE,
     "resnet_time_scale_shift"},
    {"{" TINY "\"class_embed_type\": \"projection\"}", VN_BAD_FILE, "class_embed_type"},
    {"{" TINY "\"mid_block_type\": \"UNetMidBlock2DCrossAttn\"}", VN_BAD_FILE, "mid_block_type"},
    {"{" TINY "\"mid_block_scale_factor\": 0}", VN_BAD_FILE,
     "mid_block_scale_factor must not be 0"},
    {"{" TINY "\"downsample_type\": \"fir\"}", VN_BAD_FILE, "downsample_type"},
    {"{" TINY "\"sample_size\": [8]}", VN_BAD_FILE,
     "sample_size must be a number or a pair of them"},
    {"{" TINY "\"sample_size\": [8, \"8\"]}", VN_BAD_FILE, "sample_size must be a whole number"},
    {"{" TINY "\"freq_shift\": 4}", VN_BAD_FILE, "freq_shift must not be half"},
    {"{" TINY "\"attention_head_dim\": 16}", VN_BAD_FILE,
     "unet2d: mid_block.attentions.0: attention_head_dim 16 is more than its 8 channels"},
    {"{" TINY "\"block_out_channels\": []}", VN_BAD_FILE, "block_out_channels must be a list"},
    {"{" TINY "\"block_out_channels\": [8, 16]}", VN_BAD_FILE,
     "must be of one length; they have 1, 1 and 2 entries"},
    {"{" TINY "\"block_out_channels\": [8.5]}", VN_BAD_FILE,
     "block_out_channels must be a whole number"},
    {"{" TINY "\"block_out_channels\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", VN_UNSUPPORTED,
     "at most 16"},
    {"{" TINY "\"block_out_channels\": [6]}", VN_BAD_FILE,
     "norm1 cannot split 6 channels into 4 groups"},
    {"{" ONE_LEVEL "\"block_out_channels\": [8], \"norm_num_groups\": null}", VN_BAD_FILE,
     "into 0 groups"},
    {"{" TINY "\"up_block_types\": [3]}", VN_BAD_FILE, "up_block_types must be a list of strings"},
    {"{" TINY "\"up_block_types\": [\"UpBlock\"]}", VN_BAD_FILE, "did you mean \"UpBlock2D\"?"},
    {"{" TINY "\"up_block_types\": [\"CrossAttnUpBlock2D\"]}", VN_UNSUPPORTED,
     "needs encoder_hidden_states"},
    {"{" TINY "\"up_block_types\": [\"UpDecoderBlock2D\"]}", VN_UNSUPPORTED,
     "\"UpDecoderBlock2D\" keeps no skip connections"},
    {"{" TINY "\"down_block_types\": [\"KCrossAttnDownBlock2D\"]}", VN_UNSUPPORTED,
     "needs encoder_hidden_states"},
    {"{" TINY "\"down_block_types\": [\"AttnDownEncoderBlock2D\"]}", VN_UNSUPPORTED,
     "keeps no skip connections"},
    {"{" TINY "\"down_block_types\": [\"KDownBlock2D\"]}", VN_BAD_FILE,
     "cannot split 8 channels into 0 groups"},
    {"{" TEXT "\"dual_cross_attention\": true}", VN_UNSUPPORTED,
     "unet2d-condition: dual_cross_attention is not supported"},
    {"{" TEXT "\"num_attention_heads\": 2}", VN_UNSUPPORTED,
     "unet2d-condition: num_attention_heads: diffusers refuses it too"},
    {"{" TEXT "\"attention_type\": \"gated\"}", VN_UNSUPPORTED,
     "unet2d-condition: attention_type: \"gated\" is not supported"},
    {"{" TEXT "\"addition_embed_type\": \"image\"}", VN_UNSUPPORTED,
     "unet2d-condition: addition_embed_type: \"image\" takes an image's embedding"},
    {"{" TEXT "\"addition_embed_type\": \"text_time\"}", VN_BAD_FILE,
     "addition_embed_type \"text_time\" needs addition_time_embed_dim and"},
    {"{" TEXT "\"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 8, "
     "\"projection_class_embeddings_input_dim\": 8}",
     VN_BAD_FILE, "projection_class_embeddings_input_dim 8 has no place for text_embeds"},
    {"{" TEXT "\"addition_embed_type\": \"text\"}", VN_BAD_FILE,
     "a text 6 wide does not divide into addition_embed_type_num_heads 64"},
    {"{" TEXT "\"encoder_hid_dim_type\": \"ip_image_proj\"}", VN_UNSUPPORTED,
     "encoder_hid_dim_type: \"ip_image_proj\" takes an image's embedding"},
    {"{" TEXT "\"encoder_hid_dim_type\": \"text_proj\"}", VN_BAD_FILE,
     "encoder_hid_dim_type \"text_proj\" needs encoder_hid_dim"},
    {"{" TEXT "\"class_embed_type\": \"projection\"}", VN_BAD_FILE,
     "class_embed_type \"projection\" needs projection_class_embeddings_input_dim"},
    {"{" TEXT "\"class_embeddings_concat\": true}", VN_BAD_FILE,
     "class_embeddings_concat needs class_embed_type or num_class_embeds"},
    {"{" TEXT "\"conv_in_kernel\": 4}", VN_UNSUPPORTED, "conv_out_kernel 3 must be odd"},
    {"{" TEXT "\"layers_per_block\": [1, 1]}", VN_BAD_FILE,
     "layers_per_block has 2 entries for 1 levels"},
    {"{" TEXT "\"transformer_layers_per_block\": [[1, 1]]}", VN_BAD_FILE,
     "reverse_transformer_layers_per_block must say"},
    {"{" TEXT "\"reverse_transformer_layers_per_block\": [[1, 1]]}", VN_BAD_FILE,
     "reverse_transformer_layers_per_block has 2 entries for the 3 layers of a level"},
    {"{" TEXT "\"only_cross_attention\": 1}", VN_BAD_FILE,
     "only_cross_attention must be true or false"},
    {"{" TEXT "\"attention_head_dim\": 9}", VN_BAD_FILE, "9 heads of its 8 channels"},
    {"{" TEXT "\"attention_head_dim\": null}", VN_BAD_FILE, "attention_head_dim must be given"},
    {"{" TEXT "\"cross_attention_dims\": 4}", VN_BAD_FILE,
     "unknown key \"cross_attention_dims\"; did you mean \"cross_attention_dim\"?"},
    {"{\"_class_name\": \"UNet2DConditionModel\", \"block_out_channels\": [32], "
     "\"down_block_types\": [\"KCrossAttnDownBlock2D\"], \"up_block_types\": [\"UpBlock2D\"]}",
     VN_UNSUPPORTED, "down_block_types: \"KCrossAttnDownBlock2D\" is not supported by vane"},
    {"{\"_class_name\": \"UNet2DConditionModel\", \"block_out_channels\": [32], "
     "\"down_block_types\": [\"DownBlock2D\"], \"up_block_types\": [\"SkipUpBlock2D\"]}",
     VN_UNSUPPORTED, "which UNet2DConditionModel does not"},
    {"{\"_class_name\": \"VaneMLP\", \"depth\": 3}", VN_BAD_FILE, "mlp: unknown key \"depth\""},
    {"{\"_class_name\": \"VaneMLP\", \"width\": 0}", VN_BAD_FILE, "mlp: width is 0"},
    {"{\"_class_name\": \"VaneClassifier\", \"input\": \"points\"}", VN_BAD_FILE,
     "must have one entry"},
    {"{\"_class_name\": \"VaneClassifier\", \"norm_num_groups\": 5}", VN_BAD_FILE,
     "classifier: down_blocks.0.resnets.0: norm1 cannot split"},
    {"{\"_class_name\": \"VaneClassifier\", \"pool\": \"attention\"}", VN_BAD_FILE,
     "pool \"attention\" needs sample_size"},
    {"{\"_class_name\": \"VaneClassifier\", \"pool\": \"attention\", \"sample_size\": 8, "
     "\"attention_head_dim\": 48}",
     VN_BAD_FILE, "classifier: pool: 128 channels are no heads of attention_head_dim 48"},
};
/* clang-format on */

static void refuses_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(refusals); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        vn_status status = open_text(refusals[i].config, &net, &err);
        assert_null(net);
        if (status != refusals[i].status || !strstr(err.text, refusals[i].words))
            fail_msg("%s\n  gives %d \"%s\", expected %d \"%s\"", refusals[i].config, status,
                     err.text, refusals[i].status, refusals[i].words);
    }
}

static void accepts_what_diffusers_does(void **state) {
    (void)state;
    static const char *const good[] = {
        "{" TINY "\"_diffusers_version\": \"0.42.1\", \"_anything\": {}}",
        "{" TINY "\"sample_size\": null, \"time_embedding_dim\": null, \"downsample_type\": null, "
        "\"add_attention\": null}",
        "{" TINY "\"act_fn\": \"SiLU\", \"attention_head_dim\": 3, \"freq_shift\": -0.5, "
        "\"layers_per_block\": 0}",
        "{" TEXT "\"layers_per_block\": [1], \"cross_attention_dim\": [6], "
        "\"attention_head_dim\": [2], \"only_cross_attention\": [true], "
        "\"mid_block_only_cross_attention\": null, \"num_attention_heads\": null, "
        "\"reverse_transformer_layers_per_block\": null, \"_use_default_values\": []}",
        "{" UNET "\"down_block_types\": [\"UNetResSkipDownBlock2D\"], \"up_block_types\": "
        "[\"UNetResSkipUpBlock2D\"], "
        "\"block_out_channels\": [8], \"norm_num_groups\": null, \"mid_block_type\": null}",
    };
    for (size_t i = 0; i < VN_COUNT(good); i++) {
        vn_net *net = must_open(good[i]);
        vn_net_close(&net);
    }
}

/* ---- defaults and presets -------------------------------------------------------------------- */

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    vn_net *net = must_open("{\"_class_name\": \"UNet2DModel\"}");
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 274056163);
    assert_int_equal(vn_weights_count(vn_net_weights(net)), 432);
    const vn_net_io *io = vn_net_get_io(net);
    assert_int_equal(vn_net_sample(io).dim[0], 3);
    assert_int_equal(io->multiple, 8);
    assert_null(vn_net_input(io, "class_labels"));
    assert_true(vn_net_input(io, "timestep")->below == 0 && io->height == 0);
    vn_net_close(&net);
}

/* That of Stable Diffusion 1.x, but for its narrower text. */
static void defaults_are_those_of_the_conditional_class(void **state) {
    (void)state;
    vn_net *net = must_open("{\"_class_name\": \"UNet2DConditionModel\", "
                            "\"cross_attention_dim\": 768, \"sample_size\": 64}");
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 859520964);
    assert_int_equal(vn_weights_count(vn_net_weights(net)), 686);
    const vn_net_io *io = vn_net_get_io(net);
    assert_int_equal(vn_net_input(io, "encoder_hidden_states")->shape.dim[2], 768);
    assert_true(io->multiple == 8 && io->layers == 16 && io->middle == 6);
    assert_null(vn_net_input(io, "class_labels"));
    assert_null(vn_net_input(io, "text_embeds"));
    vn_net_close(&net);
}

static vn_status preset(const char *text, const vn_net_data *data, json_t **config, vn_err *err) {
    vn_choice choice;
    const vn_role role = strncmp(text, "classifier", 10) ? VN_ROLE_DENOISER : VN_ROLE_CLASSIFIER;
    vn_status status = vn_choice_parse(text, &vn_models[role], &choice, err);
    if (status) return status;
    *config = ((const vn_net_row *)choice.row)->config(&choice, data, err);
    return *config ? VN_OK : err->status;
}

static vn_net *open_preset(const char *text, const vn_net_data *data) {
    vn_err err = {0};
    json_t *config = NULL;
    vn_net *net = NULL;
    if (preset(text, data, &config, &err) != VN_OK) fail_msg("%s", err.text);
    if (vn_net_open(config, &net, &err) != VN_OK) fail_msg("%s", err.text);
    json_decref(config);
    return net;
}

static const vn_net_data fashion = {.sample = {3, {1, 28, 28}}, .labels = 11, .dropout = -1};
static const vn_net_data points = {.sample = {1, {2}}, .labels = 4, .dropout = 0.1};

static void presets_fit_the_data(void **state) {
    (void)state;
    vn_net *net = open_preset("unet2d", &fashion);
    const vn_net_io *io = vn_net_get_io(net);
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 717505);
    const vn_shape sample = vn_net_sample(io);
    assert_true(vn_shape_equal(&sample, &fashion.sample));
    assert_true(vn_net_out_channels(io) == 1 && vn_net_labels(io) == 11);
    assert_true(io->height == 28 && io->width == 28 && io->multiple == 4);
    vn_net_close(&net);

    vn_net_data odd = fashion; /* 30 x 44: one halving */
    odd.sample.dim[1] = 30;
    odd.sample.dim[2] = 44;
    odd.labels = 0;
    net =
        open_preset("unet2d:channels=20,layers=2,attention=6,head_dim=10,shift=scale_shift", &odd);
    assert_int_equal(vn_net_get_io(net)->multiple, 2);
    assert_null(vn_net_input(vn_net_get_io(net), "class_labels"));
    vn_net_close(&net);

    net = open_preset("mlp:width=32,layers=2", &points);
    assert_int_equal(vn_net_sample(vn_net_get_io(net)).rank, 1);
    assert_int_equal(vn_net_labels(vn_net_get_io(net)), 4);
    vn_net_close(&net);
    net = open_preset("classifier:time=no", &fashion);
    assert_int_equal(vn_net_output(vn_net_get_io(net), "logits")->shape.dim[1], 10);
    assert_null(vn_net_input(vn_net_get_io(net), "timestep"));
    vn_net_close(&net);
    net = open_preset("classifier", &points);
    assert_int_equal(vn_net_output(vn_net_get_io(net), "logits")->shape.dim[1], 3);
    assert_non_null(vn_net_input(vn_net_get_io(net), "timestep"));
    vn_net_close(&net);
}

static void expect_no_preset(const char *text, const vn_net_data *data, const char *words) {
    vn_err err = {0};
    json_t *config = NULL;
    assert_int_equal(preset(text, data, &config, &err), VN_BAD_ARGUMENT);
    if (!strstr(err.text, words)) fail_msg("%s: \"%s\" lacks \"%s\"", text, err.text, words);
}

static void presets_refuse_data_that_does_not_fit(void **state) {
    (void)state;
    vn_net_data unlabelled = points;
    unlabelled.labels = 0;
    expect_no_preset("unet2d:levels=4", &fashion,
                     "levels=4 needs sides divisible by 8; 28 x 28 images allow levels=3");
    expect_no_preset("unet2d", &points, "for points use mlp");
    expect_no_preset("mlp", &fashion, "for images use unet2d");
    expect_no_preset("classifier", &unlabelled, "needs data with labels");
    expect_no_preset("unet2d:channel=8", &fashion, "channels");
}

/* ---- written and read ------------------------------------------------------------------------ */

typedef struct every_kind {
    int64_t whole, none, choice, off, size[2], any_size[2];
    double number;
    bool yes;
    vn_config_ints ints;
    vn_config_names names;
    vn_config_levels one_level, levels, nested, flags, no_levels;
} every_kind;

static const char *const choices[] = {"a", "b", NULL};
#define KEY(kind, member) VN_CONFIG_KEY(every_kind, kind, member)
static const vn_field every_field[] = {
    {KEY(INT, whole), false, 0, 1e9, NULL, 0},      {KEY(INT, none), true, 1, 1e9, NULL, 0},
    {KEY(CHOICE, choice), false, 0, 0, choices, 0}, {KEY(CHOICE, off), true, 0, 0, choices, 2},
    {KEY(SIZE, size), true, 1, 99, NULL, 0},        {KEY(SIZE, any_size), true, 1, 99, NULL, 0},
    {KEY(NUMBER, number), false, 0, 1, NULL, 0},    {KEY(BOOL, yes), false, 0, 0, NULL, 0},
    {KEY(INTS, ints), false, 0, 99, NULL, 0},       {KEY(NAMES, names), false, 0, 0, NULL, 0},
    {KEY(LEVELS, one_level), false, 0, 9, NULL, 0}, {KEY(LEVELS, levels), false, 0, 9, NULL, 0},
    {KEY(NESTED, nested), false, 0, 9, NULL, 0},    {KEY(FLAGS, flags), false, 0, 0, NULL, 0},
    {KEY(FLAGS, no_levels), true, 0, 0, NULL, 2},
};

static void what_is_written_is_read(void **state) {
    (void)state;
    const every_kind from = {.whole = 7,
                             .choice = 1,
                             .off = 2,
                             .size = {5, 9},
                             .number = 0.1,
                             .yes = true,
                             .ints = vn_config_growing(3, 4, 2),
                             .names = {2, {"x", "y"}},
                             .one_level = {.level = {{.at = {4}}}},
                             .levels = {2, {{.at = {5}}, {.at = {6}}}},
                             .nested = {2, {{.at = {7}}, {2, {8, 9}}}},
                             .flags = {2, {{.at = {1}}, {.at = {0}}}},
                             .no_levels = {.level = {{.at = {2}}}}};
    every_kind into = {.none = 3, .any_size = {1, 1}};
    alloc_turn t = {0};
    while (alloc_next(&t)) {
        vn_err err = {0};
        json_t *config =
            vn_config_write("Any", true, every_field, VN_COUNT(every_field), &from, &err);
        alloc_hit(&t, config ? VN_OK : err.status);
        json_decref(config);
    }
    vn_err err = {0};
    json_t *config = vn_config_write("Any", true, every_field, VN_COUNT(every_field), &from, &err);
    assert_string_equal(json_string_value(json_object_get(config, "_class_name")), "Any");
    assert_non_null(json_object_get(config, "_diffusers_version"));
    assert_int_equal(vn_config_read(config, "any", every_field, VN_COUNT(every_field), &into, &err),
                     VN_OK);
    assert_true(into.whole == 7 && into.none == 0 && into.choice == 1 && into.off == 2);
    assert_true(into.size[0] == 5 && into.size[1] == 9 && into.any_size[0] == 0);
    assert_true(into.number == 0.1 && into.yes);
    assert_true(into.ints.count == 3 && into.ints.at[2] == 16);
    assert_true(into.names.count == 2 && !strcmp(into.names.at[1], "y"));
    assert_true(into.one_level.count == 0 && vn_config_level(&into.one_level, 3) == 4);
    assert_true(into.levels.count == 2 && vn_config_level(&into.levels, 1) == 6);
    assert_true(into.nested.level[0].count == 0 && into.nested.level[1].count == 2 &&
                into.nested.level[1].at[1] == 9);
    assert_true(into.flags.count == 2 && vn_config_level(&into.flags, 0) == 1);
    assert_true(into.no_levels.count == 0 && vn_config_level(&into.no_levels, 0) == 2);
    assert_true(json_is_null(json_object_get(config, "no_levels")));
    json_decref(config);
}

/* ---- initial weights ------------------------------------------------------------------------- */

typedef struct moments {
    double mean, deviation, largest;
} moments;

static moments moments_of(const float *x, size_t n) {
    moments m = {0};
    for (size_t i = 0; i < n; i++) m.mean += (double)x[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        m.deviation += ((double)x[i] - m.mean) * ((double)x[i] - m.mean) / (double)n;
        m.largest = fmax(m.largest, fabs((double)x[i]));
    }
    m.deviation = sqrt(m.deviation);
    return m;
}

static moments initial(const vn_net *net, const float *values, const char *name, bool frozen) {
    const vn_weight *w = vn_weights_find(vn_net_weights(net), name);
    if (!w) fail_msg("no weight %s", name);
    assert_int_equal(w->frozen, frozen);
    return moments_of(values + w->offset, w->count);
}

/* Uniform within `bound`: the largest of so many is close to it. */
static void expect_uniform(moments m, double bound) {
    assert_true(m.largest <= bound && m.largest > 0.97 * bound);
    expect_small(fabs(m.deviation / (bound / sqrt(3)) - 1), 0.1);
}

static void weights_begin_as_in_pytorch(void **state) {
    (void)state;
    vn_net *net =
        must_open("{" ONE_LEVEL
                  "\"block_out_channels\": [64], \"norm_num_groups\": 4, \"num_class_embeds\": 20, "
                  "\"time_embedding_type\": \"fourier\"}");
    float *values = vn_alloc(vn_weights_floats(vn_net_weights(net)), sizeof *values);
    assert_non_null(values);
    vn_weights_init(vn_net_weights(net), values, 5);
    expect_uniform(initial(net, values, "conv_in.weight", false), 1 / sqrt(27));
    expect_uniform(initial(net, values, "conv_in.bias", false), 1 / sqrt(27));
    expect_uniform(initial(net, values, "down_blocks.0.resnets.0.conv1.weight", false),
                   1 / sqrt(576));
    expect_uniform(initial(net, values, "up_blocks.0.resnets.0.conv_shortcut.weight", false),
                   1 / sqrt(128));
    expect_uniform(initial(net, values, "mid_block.attentions.0.to_q.weight", false), 1 / sqrt(64));
    expect_uniform(initial(net, values, "time_embedding.linear_1.weight", false), 1 / sqrt(128));
    moments table = initial(net, values, "class_embedding.weight", false);
    expect_small(fabs(table.deviation - 1), 0.05);
    expect_small(fabs(table.mean), 0.05);
    moments fourier = initial(net, values, "time_proj.weight", true);
    expect_small(fabs(fourier.deviation / 16 - 1), 0.3);
    moments gamma = initial(net, values, "conv_norm_out.weight", false);
    moments beta = initial(net, values, "conv_norm_out.bias", false);
    assert_true(gamma.mean == 1 && gamma.deviation == 0 && beta.largest == 0);
    vn_free(values);
    vn_net_close(&net);
}

/* ---- hostile --------------------------------------------------------------------------------- */

static const char small[] =
    "{" TINY "\"layers_per_block\": 1, \"num_class_embeds\": 5, \"sample_size\": [8, 4], "
    "\"attention_head_dim\": null, \"norm_eps\": 1e-05, \"act_fn\": \"silu\"}";

static void survives_damaged_configs(void **state) {
    (void)state;
    damaged_configs(small);
}

static vn_status preset_and_open(vn_err *err) {
    json_t *config = NULL;
    vn_net *net = NULL;
    vn_status status = preset("unet2d:channels=8,attention=2", &fashion, &config, err);
    if (!status) status = vn_net_open(config, &net, err);
    json_decref(config);
    vn_net_close(&net);
    return status;
}

static void says_when_memory_runs_out(void **state) {
    (void)state;
    vn_err err = {0};
    assert_int_equal(preset_and_open(&err), VN_OK);
    for (alloc_turn t = {0}; alloc_next(&t);) {
        err = (vn_err){0};
        vn_status status = preset_and_open(&err);
        if (alloc_hit(&t, status)) assert_int_equal(err.status, VN_NO_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(accepts_what_diffusers_does),
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(defaults_are_those_of_the_conditional_class),
        cmocka_unit_test(presets_fit_the_data),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(presets_refuse_data_that_does_not_fit),
        cmocka_unit_test(weights_begin_as_in_pytorch),
        cmocka_unit_test_setup_teardown(survives_damaged_configs, scratch_enter, scratch_leave),
        cmocka_unit_test(says_when_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
