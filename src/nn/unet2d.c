/* unet2d.c - diffusers' UNet2DModel (0.42.1), with all its options: config, assembly, names of
 * weights. A convolution, levels that make the image smaller and keep their results, a middle, and
 * levels that make it larger again and take these results as skip connections; the embedding of
 * time and class enters every residual block. State dicts are the same as diffusers', tensor for
 * tensor; what UNet2DModel cannot run is refused by name. */
#include "nn/unet2d.h"

#include <string.h>

static const char net_name[] = "unet2d";

const vn_unet2d_keys vn_unet2d_defaults = {
    .in_channels = 3,
    .out_channels = 3,
    .flip_sin_to_cos = true,
    .down_block_types = {4,
                         {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"}},
    .up_block_types = {4, {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"}},
    .block_out_channels = {4, {224, 448, 672, 896}},
    .layers_per_block = 2,
    .mid_block_scale_factor = 1,
    .downsample_padding = 1,
    .attention_head_dim = 8,
    .norm_num_groups = 32,
    .norm_eps = 1e-5,
    .add_attention = true,
    .class_embed_type = VN_UNET2D_BY_TABLE,
};

static const char *const times[] = {"positional", "fourier", "learned", NULL};
static const char *const mids[] = {"UNetMidBlock2D", NULL};
static const char *const resizes[] = {"conv", "resnet", NULL};
static const char *const shifts[] = {"default", "scale_shift", NULL};
static const char *const classes[] = {"timestep", "identity", NULL};

#define MAX_SIZE 65536.0 /* pixels on a side, channels */
#define MAX_ROWS 1e8     /* of a table */

#define KEY(kind, member) VN_CONFIG_KEY(vn_unet2d_keys, kind, member)
/* clang-format off */
const vn_field vn_unet2d_fields[] = {
    /* kind, key                           null   min   max       choices      null is */
    {KEY(SIZE, sample_size),               true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, in_channels),                false, 1,    MAX_SIZE, NULL,        0},
    {KEY(INT, out_channels),               false, 1,    MAX_SIZE, NULL,        0},
    {KEY(BOOL, center_input_sample),       true,  0,    0,        NULL,        0},
    {KEY(CHOICE, time_embedding_type),     false, 0,    0,        times,       0},
    {KEY(INT, time_embedding_dim),         true,  0,    MAX_SIZE, NULL,        0},
    {KEY(NUMBER, freq_shift),              false, -1e6, 1e6,      NULL,        0},
    {KEY(BOOL, flip_sin_to_cos),           true,  0,    0,        NULL,        0},
    {KEY(NAMES, down_block_types),         false, 0,    0,        NULL,        0},
    {KEY(CHOICE, mid_block_type),          true,  0,    0,        mids,        VN_UNET2D_MID_NONE},
    {KEY(NAMES, up_block_types),           false, 0,    0,        NULL,        0},
    {KEY(INTS, block_out_channels),        false, 1,    MAX_SIZE, NULL,        0},
    {KEY(INT, layers_per_block),           false, 0,    VN_UNET_MAX_LAYERS, NULL, 0},
    {KEY(NUMBER, mid_block_scale_factor),  false, -1e6, 1e6,      NULL,        0},
    {KEY(INT, downsample_padding),         false, 0,    16,       NULL,        0},
    {KEY(CHOICE, downsample_type),         true,  0,    0,        resizes,     VN_UNET2D_BY_CONV},
    {KEY(CHOICE, upsample_type),           true,  0,    0,        resizes,     VN_UNET2D_BY_CONV},
    {KEY(NUMBER, dropout),                 false, 0,    0.999,    NULL,        0},
    {KEY(CHOICE, act_fn),                  false, 0,    0,        vn_unet_activations, 0},
    {KEY(INT, attention_head_dim),         true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, norm_num_groups),            true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, attn_norm_num_groups),       true,  1,    MAX_SIZE, NULL,        0},
    {KEY(NUMBER, norm_eps),                false, 0,    1,        NULL,        0},
    {KEY(CHOICE, resnet_time_scale_shift), false, 0,    0,        shifts,      0},
    {KEY(BOOL, add_attention),             true,  0,    0,        NULL,        0},
    {KEY(CHOICE, class_embed_type),        true,  0,    0,        classes,     VN_UNET2D_BY_TABLE},
    {KEY(INT, num_class_embeds),           true,  1,    MAX_ROWS, NULL,        0},
    {KEY(INT, num_train_timesteps),        true,  1,    MAX_ROWS, NULL,        0},
    {KEY(INT, internal_head),              true,  1,    VN_UNET_MAX_LAYERS, NULL, 0},
    VN_EXTRA_FIELDS(vn_unet2d_keys),
};
/* clang-format on */
const size_t vn_unet2d_field_count = VN_COUNT(vn_unet2d_fields);

/* A config ready to build. */
typedef struct unet {
    vn_unet2d_keys config;
    vn_unet body;
    int64_t time_width; /* of the embedding that every block gets */
} unet;

/* ---- config ---------------------------------------------------------------------------------- */

static vn_status check_config(const vn_unet2d_keys *c, vn_err *err) {
    if (c->time_embedding_type == VN_UNET2D_TIME_LEARNED && !c->num_train_timesteps)
        return vn_fail(err, VN_BAD_FILE,
                       "unet2d: time_embedding_type \"learned\" needs num_train_timesteps");
    if (c->mid_block_scale_factor == 0)
        return vn_fail(err, VN_BAD_FILE, "unet2d: mid_block_scale_factor must not be 0");
    if (vn_has_extras(c->takes_step_end, false, c->time_scale) &&
        c->time_embedding_type != VN_UNET2D_TIME_POSITIONAL)
        return vn_fail(err, VN_BAD_FILE,
                       "unet2d: takes_step_end and time_scale need time_embedding_type "
                       "\"positional\"");
    return VN_OK;
}

/* A config that says more than diffusers' class reads has a class of vane's own. */
static vn_status check_class(const vn_unet2d_keys *c, const json_t *config, vn_err *err) {
    const char *name = json_string_value(json_object_get(config, "_class_name"));
    const bool own = !strcmp(name, VN_UNET2D_OWN_CLASS),
               extra = vn_has_extras(c->takes_step_end, c->takes_guidance, c->time_scale);
    if (own == extra) return VN_OK;
    return vn_fail(
        err, VN_BAD_FILE,
        "unet2d: one with takes_step_end, takes_guidance or time_scale is a " VN_UNET2D_OWN_CLASS
        ", any other a UNet2DModel: the _class_name is %s",
        name);
}

/* The head is within the last level on the way up. */
static vn_status check_head(const vn_unet *body, int64_t head, vn_err *err) {
    const int64_t blocks = vn_unet_inner_blocks(body);
    if (!head || head < blocks) return VN_OK;
    if (!blocks)
        return vn_fail(err, VN_UNSUPPORTED,
                       "unet2d: internal_head: up_block_types ends with %s, which has none",
                       body->up[body->levels - 1]->name);
    return vn_fail(err, VN_BAD_FILE,
                   "unet2d: internal_head is after residual block %lld of the last %lld: it has to "
                   "be before the last one",
                   (long long)head, (long long)blocks);
}

static void set_mid(vn_unet *body, const vn_unet2d_keys *c) {
    const int64_t channels = c->block_out_channels.at[body->levels - 1];
    const int64_t groups =
        c->norm_num_groups ? c->norm_num_groups : vn_unet_default_groups(channels);
    body->mid = (vn_unet_mid){.channels = channels,
                              .groups = groups,
                              .layers = c->mid_block_type == VN_UNET2D_MID_NONE ? 0 : 2,
                              .output_scale = c->mid_block_scale_factor,
                              .attends = c->add_attention ? VN_UNET_PIXELS : VN_UNET_NO_ATTENTION,
                              .attention = {.head_dim = c->attention_head_dim},
                              .attention_groups = c->attn_norm_num_groups};
    if (!body->mid.attention_groups && !body->style.scale_shift)
        body->mid.attention_groups = groups;
}

static void set_body(unet *u) {
    const vn_unet2d_keys *c = &u->config;
    vn_unet *body = &u->body;
    u->time_width = c->time_embedding_dim ? c->time_embedding_dim : 4 * c->block_out_channels.at[0];
    body->style =
        (vn_unet_style){.groups = c->norm_num_groups,
                        .eps = c->norm_eps,
                        .dropout = c->dropout,
                        .act = vn_unet_activation_fn[c->act_fn],
                        .scale_shift = c->resnet_time_scale_shift == VN_UNET2D_SHIFT_SCALE,
                        .inner = c->internal_head,
                        .downsample_pad = c->downsample_padding,
                        .resnet_downsample = c->downsample_type == VN_UNET2D_BY_RESNET,
                        .resnet_upsample = c->upsample_type == VN_UNET2D_BY_RESNET};
    vn_unet_set_channels(body, &c->block_out_channels);
    for (size_t i = 0; i < body->levels; i++) {
        vn_unet_level *both[] = {&body->going_down[i], &body->going_up[i]};
        for (size_t k = 0; k < VN_COUNT(both); k++) {
            both[k]->layers = c->layers_per_block;
            both[k]->attention.head_dim = c->attention_head_dim;
        }
    }
    set_mid(body, c);
}

/* A class is a row of a table, or a number that is embedded like a time, or a vector that is added
 * to the time's embedding as it is. */
static void take_class(const unet *u, vn_net_io *io) {
    const vn_unet2d_keys *c = &u->config;
    vn_port port = {.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH)};
    if (c->class_embed_type == VN_UNET2D_BY_TABLE) {
        vn_net_add_labels(io, c->num_class_embeds);
    } else if (c->class_embed_type == VN_UNET2D_BY_VECTOR) {
        port.shape = VN_SHAPE(VN_DIM_BATCH, u->time_width);
        vn_net_add_input(io, port);
    } else if (c->time_embedding_type == VN_UNET2D_TIME_LEARNED) {
        vn_net_add_labels(io, c->num_train_timesteps);
    } else {
        vn_net_add_input(io, port);
    }
}

static void set_io(const unet *u, vn_net_io *io) {
    const vn_unet2d_keys *c = &u->config;
    bool learned = c->time_embedding_type == VN_UNET2D_TIME_LEARNED;
    *io = (vn_net_io){.height = c->sample_size[0], .width = c->sample_size[1]};
    vn_unet_set_io(&u->body, io);
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, learned ? c->num_train_timesteps : 0);
    take_class(u, io);
    vn_net_add_extras(io, c->takes_step_end, c->takes_guidance);
    if (c->time_embedding_type == VN_UNET2D_TIME_POSITIONAL)
        io->time = (vn_net_time){.layer = "time_embedding.linear_1",
                                 .width = c->block_out_channels.at[0],
                                 .flip = c->flip_sin_to_cos,
                                 .shift = c->freq_shift,
                                 .scale = vn_time_scale(c->takes_step_end, c->time_scale)};
    vn_net_add_denoised(io, c->out_channels);
    if (c->internal_head) vn_net_add_internal(io, c->out_channels);
}

static vn_status open_unet(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    unet *u = vn_calloc(1, sizeof *u);
    if (!u) return vn_no_memory(err);
    u->config = vn_unet2d_defaults;
    vn_status status =
        vn_config_read(config, net_name, vn_unet2d_fields, vn_unet2d_field_count, &u->config, err);
    if (!status) status = check_class(&u->config, config, err);
    if (!status) status = check_config(&u->config, err);
    u->body.class = VN_UNET_PLAIN;
    if (!status)
        status = vn_unet_find_blocks(&u->body, &u->config.down_block_types,
                                     &u->config.up_block_types, &u->config.block_out_channels, err);
    if (!status) {
        set_body(u);
        status = check_head(&u->body, u->config.internal_head, err);
    }
    if (status) {
        vn_free(u);
        return status;
    }
    set_io(u, io);
    *self = u;
    return VN_OK;
}

/* ---- graph ----------------------------------------------------------------------------------- */

#define FOURIER_SCALE 16.0

/* How the time, and a class given as one, becomes numbers: [N, time_features]. */
static vn_node *time_features(const vn_scope *s, const vn_unet2d_keys *c, vn_node *t) {
    int64_t width = c->block_out_channels.at[0];
    if (c->time_embedding_type == VN_UNET2D_TIME_FOURIER)
        return vn_time_fourier(s, "time_proj", t, width, FOURIER_SCALE);
    if (c->time_embedding_type == VN_UNET2D_TIME_LEARNED)
        return vn_layer_embedding(s, "time_proj", t, c->num_train_timesteps, width);
    return vn_time_sinusoids(s, t, width, c->flip_sin_to_cos, c->freq_shift);
}

static vn_time embed(const vn_scope *s, const unet *u) {
    const vn_unet2d_keys *c = &u->config;
    vn_node *time = vn_scope_time(s, c->time_scale), *class = vn_scope_input(s, "class_labels");
    int64_t features =
        c->block_out_channels.at[0] * (c->time_embedding_type == VN_UNET2D_TIME_FOURIER ? 2 : 1);
    vn_node *e =
        vn_time_embedding(s, "time_embedding", time_features(s, c, time), features, u->time_width);

    if (c->class_embed_type == VN_UNET2D_BY_TIME) {
        vn_node *label = time_features(s, c, class);
        e = vn_add(s->g, e,
                   vn_time_embedding(s, "class_embedding", label, features, u->time_width));
    } else if (c->class_embed_type == VN_UNET2D_BY_VECTOR) {
        e = vn_add(s->g, e, class);
    } else if (c->num_class_embeds) {
        vn_node *label =
            vn_layer_embedding(s, "class_embedding", class, c->num_class_embeds, u->time_width);
        e = vn_add(s->g, e, label);
    }
    e = vn_add_extras(s, e, u->time_width);
    return (vn_time){e, vn_unary(s->g, e, u->body.style.act), u->time_width};
}

/* From the features of the last level to what the network answers: norm and convolution. */
static vn_node *answer(const vn_scope *s, const unet *u, vn_node *x, const char *norm,
                       const char *conv) {
    const vn_unet2d_keys *c = &u->config;
    const int64_t channels = c->block_out_channels.at[0];
    const int64_t groups =
        c->norm_num_groups ? c->norm_num_groups : vn_unet_default_groups(channels);
    x = vn_layer_group_norm(s, norm, x, channels, groups, c->norm_eps, VN_FN_SILU);
    return vn_layer_conv3(s, conv, x, channels, c->out_channels);
}

static vn_node *over_time(const vn_scope *s, const unet *u, vn_node *x, vn_node *time) {
    if (u->config.time_embedding_type != VN_UNET2D_TIME_FOURIER || !time) return x;
    return vn_div(s->g, x, vn_reshape(s->g, time, VN_SHAPE(time->shape.dim[0], 1, 1, 1)));
}

static void build(const void *self, const vn_scope *s) {
    const unet *u = self;
    const vn_unet2d_keys *c = &u->config;
    vn_node *x = vn_scope_input(s, "sample"), *time = vn_scope_input(s, "timestep");
    if (c->center_input_sample) x = vn_affine(s->g, x, 2, -1);
    vn_unet_state state = {.image = x, .time = embed(s, u)};
    state.x =
        vn_block_end(vn_layer_conv3(s, "conv_in", x, c->in_channels, c->block_out_channels.at[0]));
    vn_unet_go_down(s, &u->body, &state);
    state.image = NULL;
    vn_unet_go_up(s, &u->body, &state);

    x = answer(s, u, state.x, "conv_norm_out", "conv_out");
    if (state.image) x = vn_unet_add_image(s, state.image, x);
    x = over_time(s, u, x, time);
    const vn_scope head = vn_scope_in(s, VN_INTERNAL_HEAD);
    if (state.inner)
        vn_scope_denoised_twice(
            s, over_time(s, u, answer(&head, u, state.inner, "norm", "conv"), time), x);
    else
        vn_scope_denoised(s, x);
}

const vn_net_row vn_unet2d_net = {
    .row = {.name = net_name,
            .summary = "convolutional U-Net with attention, for images: diffusers' UNet2DModel",
            .source = "arXiv 1505.04597, 2006.11239; diffusers 0.42.1",
            .params = vn_unet2d_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "UNet2DModel",
    .own_class = VN_UNET2D_OWN_CLASS,
    .folder = "unet",
    .extras = true,
    .habits = {.optimizer = "muon", .lr = 4e-3, .batch = 32},
    .config = vn_unet2d_config,
    .open = open_unet,
    .close = vn_free,
    .build = build,
};
