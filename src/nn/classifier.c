/* classifier.c - p(class | x) as logits [N,K], and on request what they are computed from
 * ("features"). Images go through guided-diffusion's encoder
 * (2105.05233, EncoderUNetModel): the way down and the middle of a U-Net whose norms the time
 * scales and shifts, which halves the image within residual blocks, and then attention pooling or
 * the mean over pixels. Points go through residual layers. With the time as an input it classifies
 * noisy samples, which classifier guidance needs; without it, finished samples, for evaluation.
 * Given labels it also answers with log p(label | x) [N,1], whose gradient guidance follows.
 * Config class "VaneClassifier", vane's own; weights have the names of diffusers' UNet2DModel, and
 * docs/formats.md says which of guided-diffusion's they are. */
#include "nn/classifier.h"
#include "nn/unet.h"

#include <math.h>
#include <string.h>

static const char net_name[] = "classifier";

static const char *const inputs[] = {"image", "points", NULL};
static const char *const pools[] = {"attention", "mean", NULL};

static const vn_classifier_keys defaults = {.in_channels = 3,
                                            .num_classes = 10,
                                            .block_out_channels = {3, {32, 64, 128}},
                                            .layers_per_block = 1,
                                            .norm_num_groups = 8,
                                            .attention_levels = 1,
                                            .attention_head_dim = 64,
                                            .pool = VN_CLASSIFIER_POOL_MEAN,
                                            .time = true};

#define KEY(kind, member) VN_CONFIG_KEY(vn_classifier_keys, kind, member)
/* clang-format off */
const vn_field vn_classifier_fields[] = {
    /* kind, key                   null   min  max    choices  null is */
    {KEY(CHOICE, input),            false, 0,   0,     inputs,  0},
    {KEY(INT, in_channels),         false, 1,   65536, NULL,    0},
    {KEY(SIZE, sample_size),        true,  1,   65536, NULL,    0},
    {KEY(INT, num_classes),         false, 1,   1e7,   NULL,    0},
    {KEY(INTS, block_out_channels), false, 1,   65536, NULL,    0},
    {KEY(INT, layers_per_block),    false, 0,   VN_UNET_MAX_LAYERS, NULL, 0},
    {KEY(INT, norm_num_groups),     false, 1,   65536, NULL,    0},
    {KEY(INT, attention_levels),    false, 0,   VN_CONFIG_MAX_LIST, NULL, 0},
    {KEY(INT, attention_head_dim),  false, 1,   65536, NULL,    0},
    {KEY(CHOICE, pool),             false, 0,   0,     pools,   0},
    {KEY(NUMBER, dropout),          false, 0,   0.999, NULL,    0},
    {KEY(BOOL, time),               true,  0,   0,     NULL,    0},
};
const size_t vn_classifier_field_count = VN_COUNT(vn_classifier_fields);
/* clang-format on */

static vn_status check_keys(const vn_classifier_keys *c, vn_err *err) {
    const bool points = c->input == VN_CLASSIFIER_POINTS;
    if (points && c->block_out_channels.count != 1)
        return vn_fail(
            err, VN_BAD_FILE,
            "classifier: block_out_channels must have one entry where input is \"points\"");
    if (!points && c->pool == VN_CLASSIFIER_POOL_ATTENTION && !c->sample_size[0])
        return vn_fail(err, VN_BAD_FILE,
                       "classifier: pool \"attention\" needs sample_size, as every pixel that is "
                       "left has a position");
    return VN_OK;
}

static vn_status open_classifier(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    vn_classifier_keys *c = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = defaults;
    vn_status status =
        vn_config_read(config, net_name, vn_classifier_fields, vn_classifier_field_count, c, err);
    if (!status) status = check_keys(c, err);
    if (status) {
        vn_free(c);
        return status;
    }
    *io = (vn_net_io){.height = c->sample_size[0],
                      .width = c->sample_size[1],
                      .multiple = 1,
                      .fixed_size = c->input == VN_CLASSIFIER_IMAGE &&
                                    c->pool == VN_CLASSIFIER_POOL_ATTENTION};
    vn_net_add_sample(io, c->input == VN_CLASSIFIER_IMAGE, c->in_channels);
    if (c->time) vn_net_add_time(io, 0);
    vn_net_add_input(io, (vn_port){.name = "label",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH),
                                   .below = c->num_classes,
                                   .optional = true});
    vn_net_add_output(io, vn_port_of_sample("logits", false, c->num_classes));
    vn_port of_label = vn_port_of_sample("log_probability", false, 1);
    of_label.optional = true;
    vn_net_add_output(io, of_label);
    vn_port features = vn_port_of_sample("features", false,
                                         c->block_out_channels.at[c->block_out_channels.count - 1]);
    features.optional = features.features = true;
    vn_net_add_output(io, features);
    if (c->input == VN_CLASSIFIER_IMAGE) vn_net_add_maps(io, &c->block_out_channels);
    *self = c;
    return VN_OK;
}

/* ---- images ---------------------------------------------------------------------------------- */

#define NORM_EPS 1e-5

static int64_t last_channels(const vn_classifier_keys *c) {
    return c->block_out_channels.at[c->block_out_channels.count - 1];
}

/* The way down: attention in the last levels, and residual blocks that halve; and the middle. */
static void set_body(vn_unet *u, const vn_classifier_keys *c) {
    const vn_unet_attention attention = {.head_dim = c->attention_head_dim};
    u->levels = c->block_out_channels.count;
    u->style = (vn_unet_style){.groups = c->norm_num_groups,
                               .eps = NORM_EPS,
                               .dropout = c->dropout,
                               .act = VN_FN_SILU,
                               .scale_shift = true,
                               .resnet_downsample = true};
    vn_unet_set_channels(u, &c->block_out_channels);
    for (size_t i = 0; i < u->levels; i++) {
        const bool attends = i + (size_t)c->attention_levels >= u->levels;
        vn_unet_find_block(VN_UNET_PLAIN, false,
                           attends ? "AttnDownBlock2D" : "ResnetDownsampleBlock2D", &u->down[i],
                           NULL);
        u->going_down[i].layers = c->layers_per_block;
        u->going_down[i].attention = attention;
    }
    u->mid =
        (vn_unet_mid){.channels = last_channels(c),
                      .groups = c->norm_num_groups,
                      .layers = 2,
                      .output_scale = 1,
                      .attends = c->attention_levels > 0 ? VN_UNET_PIXELS : VN_UNET_NO_ATTENTION,
                      .attention = attention,
                      .attention_groups = c->norm_num_groups};
}

/* Attention pooling: the mean token before all others, a position added to each, and what the mean
 * token asks of all: [N,H,W,C] -> [N,C], before the last layer. */
static vn_node *attention_pool(const vn_scope *s, const vn_classifier_keys *c, vn_node *x) {
    if (!x) return NULL;
    const vn_scope at = vn_scope_in(s, "pool");
    const int64_t n = x->shape.dim[0], tokens = x->shape.dim[1] * x->shape.dim[2],
                  channels = last_channels(c), heads = channels / c->attention_head_dim;
    if (heads < 1 || channels % c->attention_head_dim)
        return vn_scope_fail(&at, "%lld channels are no heads of attention_head_dim %lld",
                             (long long)channels, (long long)c->attention_head_dim);
    vn_node *mean = vn_reshape(s->g, vn_spatial_mean(&at, x), VN_SHAPE(n, 1, channels));
    x = vn_concat(s->g, 1, 2,
                  (vn_node *[]){mean, vn_reshape(s->g, x, VN_SHAPE(n, tokens, channels))});
    const vn_init small = {VN_INIT_NORMAL, 1 / sqrt((double)channels)};
    vn_node *place = vn_param_node(s->g, s->w, "pool.positional_embedding",
                                   VN_SHAPE(tokens + 1, channels), VN_LAYOUT_PLAIN, small);
    x = vn_add(s->g, x, vn_reshape(s->g, place, VN_SHAPE(1, tokens + 1, channels)));
    vn_node *q = vn_layer_linear(&at, "to_q", vn_slice(s->g, x, 1, 0, 1), channels, channels);
    vn_node *k = vn_layer_linear(&at, "to_k", x, channels, channels);
    vn_node *v = vn_layer_linear(&at, "to_v", x, channels, channels);
    x = vn_attention(s->g, q, k, v, (int)heads, 1 / sqrt((double)c->attention_head_dim));
    return vn_reshape(s->g, x, VN_SHAPE(n, channels));
}

static vn_node *encode_image(const vn_scope *s, const vn_classifier_keys *c, vn_node *x,
                             const vn_time *time) {
    vn_unet body = {.class = VN_UNET_PLAIN};
    vn_unet_state state = {.time = *time};
    set_body(&body, c);
    state.x =
        vn_block_end(vn_layer_conv3(s, "conv_in", x, c->in_channels, c->block_out_channels.at[0]));
    vn_unet_go_down(s, &body, &state);
    /* the image first, then each level's layers and, but for the last, the one that halves */
    for (size_t i = 0, at = 0; i < body.levels; i++, at++)
        vn_scope_map(s, i, state.skip[at += (size_t)c->layers_per_block]);
    x = vn_layer_group_norm(s, "norm_out", state.x, last_channels(c), c->norm_num_groups, NORM_EPS,
                            VN_FN_SILU);
    return c->pool == VN_CLASSIFIER_POOL_ATTENTION ? attention_pool(s, c, x)
                                                   : vn_spatial_mean(s, x);
}

/* ---- the network ----------------------------------------------------------------------------- */

static void build(const void *self, const vn_scope *s) {
    const vn_classifier_keys *c = self;
    const int64_t width = c->block_out_channels.at[0];
    vn_time time = {.width = 4 * width};
    if (c->time) {
        vn_node *t = vn_time_sinusoids(s, vn_scope_input(s, "timestep"), width, true, 0);
        time.raw = vn_time_embedding(s, "time_embedding", t, width, time.width);
        time.active = vn_unary(s->g, time.raw, VN_FN_SILU);
    }
    vn_node *x = vn_scope_input(s, "sample");
    x = c->input == VN_CLASSIFIER_POINTS
            ? vn_mlp_trunk(s, x, &time, c->in_channels, width, c->layers_per_block, c->dropout)
            : encode_image(s, c, x, &time);
    vn_scope_output(s, "features", x);
    vn_node *logits = vn_layer_linear(s, "head", x, last_channels(c), c->num_classes);
    vn_scope_output(s, "logits", logits);
    if (!logits) return;
    vn_node *nll = vn_cross_entropy(s->g, logits, vn_scope_input(s, "label"));
    vn_scope_output(
        s, "log_probability",
        vn_affine(s->g, vn_reshape(s->g, nll, VN_SHAPE(logits->shape.dim[0], 1)), -1, 0));
}

const vn_net_row vn_classifier_net = {
    .row = {.name = net_name,
            .summary = "classifier of images or points, clean or noisy at a known time",
            .source = "arXiv 2105.05233; guided-diffusion's EncoderUNetModel",
            .params = vn_classifier_presets},
    .role = VN_ROLE_CLASSIFIER,
    .class_name = "VaneClassifier",
    .folder = "classifier",
    .habits = {.schedule = "cosine", .weight_decay = 0.05}, /* guided-diffusion's */
    .config = vn_classifier_config,
    .open = open_classifier,
    .close = vn_free,
    .build = build,
};
