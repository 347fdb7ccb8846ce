/* unet2d_condition_config.c - the config of UNet2DConditionModel: its keys, which of their values
 * are supported, and what the levels become by them. `attention_head_dim` is how many heads the
 * transformers have, and only for the other blocks how wide a head is: an old mistake of diffusers'
 * that its configs keep. */
#include "nn/unet2d_condition.h"

#define NET "unet2d-condition"

#define EACH(number)                                                                               \
    {                                                                                              \
        .level = { {.at = {number}} }                                                              \
    } /* the same for all levels */

const vn_unet2d_condition_keys vn_unet2d_condition_defaults = {
    .in_channels = 4,
    .out_channels = 4,
    .flip_sin_to_cos = true,
    .down_block_types = {4,
                         {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                          "DownBlock2D"}},
    .up_block_types = {4,
                       {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                        "CrossAttnUpBlock2D"}},
    .block_out_channels = {4, {320, 640, 1280, 1280}},
    .layers_per_block = EACH(2),
    .downsample_padding = 1,
    .mid_block_scale_factor = 1,
    .norm_num_groups = 32,
    .norm_eps = 1e-5,
    .cross_attention_dim = EACH(1280),
    .transformer_layers_per_block = EACH(1),
    .encoder_hid_dim_type = VN_CONDITION_TEXT_PLAIN,
    .attention_head_dim = EACH(8),
    .class_embed_type = VN_CONDITION_CLASS_TABLE,
    .addition_embed_type = VN_CONDITION_ADDED_NONE,
    .resnet_out_scale_factor = 1,
    .time_embedding_act_fn = VN_CONDITION_NO_ACT,
    .timestep_post_act = VN_CONDITION_NO_ACT,
    .conv_in_kernel = 3,
    .conv_out_kernel = 3,
    .mid_block_only_cross_attention = EACH(VN_CONDITION_MID_AS_LEVELS),
    .cross_attention_norm = VN_UNET_NORM_NONE,
    .addition_embed_type_num_heads = 64,
};

static const char *const times[] = {"positional", "fourier", NULL};
static const char *const mids[] = {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D",
                                   "UNetMidBlock2DSimpleCrossAttn", NULL};
static const char *const shifts[] = {"default", "scale_shift", NULL};
static const char *const classes[] = {"timestep", "identity", "projection", "simple_projection",
                                      NULL};
static const char *const additions[] = {"text",  "text_time",  "text_image",
                                        "image", "image_hint", NULL};
static const char *const projections[] = {"text_proj", "text_image_proj", "image_proj",
                                          "ip_image_proj", NULL};
static const char *const attentions[] = {"default", "gated", "gated-text-image", NULL};
static const char *const norms[] = {"layer_norm", "group_norm", NULL};

#define MAX_SIZE  65536.0 /* pixels on a side, channels */
#define MAX_ROWS  1e8     /* of a table */
#define MAX_DEPTH 1024    /* blocks of a transformer */

#define KEY(kind, member) VN_CONFIG_KEY(vn_unet2d_condition_keys, kind, member)
#define NO_ACT            VN_CONDITION_NO_ACT
#define NO_MID            VN_CONDITION_MID_NONE
#define NO_PROJECTION     VN_CONDITION_TEXT_PLAIN
#define TABLE             VN_CONDITION_CLASS_TABLE
#define NO_ADDITION       VN_CONDITION_ADDED_NONE
#define AS_LEVELS         VN_CONDITION_MID_AS_LEVELS
#define NO_NORM           VN_UNET_NORM_NONE
#define ACTS              vn_unet_activations
/* clang-format off */
const vn_field vn_unet2d_condition_fields[] = {
    /* kind, key                                 null   min   max       choices      null is */
    {KEY(SIZE, sample_size),                     true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, in_channels),                      false, 1,    MAX_SIZE, NULL,        0},
    {KEY(INT, out_channels),                     false, 1,    MAX_SIZE, NULL,        0},
    {KEY(BOOL, center_input_sample),             true,  0,    0,        NULL,        0},
    {KEY(BOOL, flip_sin_to_cos),                 true,  0,    0,        NULL,        0},
    {KEY(NUMBER, freq_shift),                    false, -1e6, 1e6,      NULL,        0},
    {KEY(NAMES, down_block_types),               false, 0,    0,        NULL,        0},
    {KEY(CHOICE, mid_block_type),                true,  0,    0,        mids,        NO_MID},
    {KEY(NAMES, up_block_types),                 false, 0,    0,        NULL,        0},
    {KEY(FLAGS, only_cross_attention),           false, 0,    0,        NULL,        0},
    {KEY(INTS, block_out_channels),              false, 1,    MAX_SIZE, NULL,        0},
    {KEY(LEVELS, layers_per_block),              false, 0,    VN_UNET_MAX_LAYERS, NULL, 0},
    {KEY(INT, downsample_padding),               false, 0,    16,       NULL,        0},
    {KEY(NUMBER, mid_block_scale_factor),        false, -1e6, 1e6,      NULL,        0},
    {KEY(NUMBER, dropout),                       false, 0,    0.999,    NULL,        0},
    {KEY(CHOICE, act_fn),                        false, 0,    0,        ACTS,        0},
    {KEY(INT, norm_num_groups),                  true,  1,    MAX_SIZE, NULL,        0},
    {KEY(NUMBER, norm_eps),                      false, 0,    1,        NULL,        0},
    {KEY(LEVELS, cross_attention_dim),           false, 1,    MAX_SIZE, NULL,        0},
    {KEY(NESTED, transformer_layers_per_block),  false, 0,    MAX_DEPTH, NULL,       0},
    {KEY(NESTED, reverse_transformer_layers_per_block), true, 0, MAX_DEPTH, NULL,    0},
    {KEY(INT, encoder_hid_dim),                  true,  1,    MAX_SIZE, NULL,        0},
    {KEY(CHOICE, encoder_hid_dim_type),          true,  0,    0,        projections, NO_PROJECTION},
    {KEY(LEVELS, attention_head_dim),            false, 1,    MAX_SIZE, NULL,        0},
    {KEY(LEVELS, num_attention_heads),           true,  1,    MAX_SIZE, NULL,        0},
    {KEY(BOOL, dual_cross_attention),            true,  0,    0,        NULL,        0},
    {KEY(BOOL, use_linear_projection),           true,  0,    0,        NULL,        0},
    {KEY(CHOICE, class_embed_type),              true,  0,    0,        classes,     TABLE},
    {KEY(CHOICE, addition_embed_type),           true,  0,    0,        additions,   NO_ADDITION},
    {KEY(INT, addition_time_embed_dim),          true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, num_class_embeds),                 true,  1,    MAX_ROWS, NULL,        0},
    {KEY(BOOL, upcast_attention),                true,  0,    0,        NULL,        0},
    {KEY(CHOICE, resnet_time_scale_shift),       false, 0,    0,        shifts,      0},
    {KEY(BOOL, resnet_skip_time_act),            true,  0,    0,        NULL,        0},
    {KEY(NUMBER, resnet_out_scale_factor),       false, -1e6, 1e6,      NULL,        0},
    {KEY(CHOICE, time_embedding_type),           false, 0,    0,        times,       0},
    {KEY(INT, time_embedding_dim),               true,  0,    MAX_SIZE, NULL,        0},
    {KEY(CHOICE, time_embedding_act_fn),         true,  0,    0,        ACTS,        NO_ACT},
    {KEY(CHOICE, timestep_post_act),             true,  0,    0,        ACTS,        NO_ACT},
    {KEY(INT, time_cond_proj_dim),               true,  1,    MAX_SIZE, NULL,        0},
    {KEY(INT, conv_in_kernel),                   false, 1,    99,       NULL,        0},
    {KEY(INT, conv_out_kernel),                  false, 1,    99,       NULL,        0},
    {KEY(INT, projection_class_embeddings_input_dim), true, 1, MAX_SIZE, NULL,       0},
    {KEY(CHOICE, attention_type),                false, 0,    0,        attentions,  0},
    {KEY(BOOL, class_embeddings_concat),         true,  0,    0,        NULL,        0},
    {KEY(FLAGS, mid_block_only_cross_attention), true,  0,    0,        NULL,        AS_LEVELS},
    {KEY(CHOICE, cross_attention_norm),          true,  0,    0,        norms,       NO_NORM},
    {KEY(INT, addition_embed_type_num_heads),    false, 1,    MAX_SIZE, NULL,        0},
};
/* clang-format on */
const size_t vn_unet2d_condition_field_count = VN_COUNT(vn_unet2d_condition_fields);

/* ---- what is refused ------------------------------------------------------------------------- */

/* A choice that diffusers has and vane has not. */
static vn_status refuse_choice(const char *key, const char *value, const char *why, vn_err *err) {
    return vn_fail(err, VN_UNSUPPORTED, NET ": %s: \"%s\" %s", key, value, why);
}

#define TAKES_IMAGES "takes an image's embedding, which vane does not feed"

static vn_status check_kinds(const vn_unet2d_condition_keys *c, vn_err *err) {
    if (c->dual_cross_attention)
        return vn_fail(err, VN_UNSUPPORTED, NET ": dual_cross_attention is not supported");
    if (c->num_attention_heads.count || c->num_attention_heads.level[0].at[0])
        return vn_fail(err, VN_UNSUPPORTED,
                       NET ": num_attention_heads: diffusers refuses it too; the number of heads "
                           "is called attention_head_dim");
    if (c->attention_type)
        return refuse_choice("attention_type", attentions[c->attention_type], "is not supported",
                             err);
    if (c->addition_embed_type >= VN_CONDITION_ADDED_TEXT_IMAGE &&
        c->addition_embed_type != VN_CONDITION_ADDED_NONE)
        return refuse_choice("addition_embed_type", additions[c->addition_embed_type], TAKES_IMAGES,
                             err);
    if (c->encoder_hid_dim_type != VN_CONDITION_TEXT_PROJECTION &&
        c->encoder_hid_dim_type != VN_CONDITION_TEXT_PLAIN)
        return refuse_choice("encoder_hid_dim_type", projections[c->encoder_hid_dim_type],
                             TAKES_IMAGES, err);
    return VN_OK;
}

static vn_status needs(const char *key, const char *value, const char *what, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE, NET ": %s \"%s\" needs %s", key, value, what);
}

static bool has_class(const vn_unet2d_condition_keys *c) {
    return c->class_embed_type != VN_CONDITION_CLASS_TABLE || c->num_class_embeds;
}

static vn_status check_class(const vn_unet2d_condition_keys *c, vn_err *err) {
    const bool projects = c->class_embed_type == VN_CONDITION_CLASS_PROJECTION ||
                          c->class_embed_type == VN_CONDITION_CLASS_LINEAR;
    if (projects && !c->projection_class_embeddings_input_dim)
        return needs("class_embed_type", classes[c->class_embed_type],
                     "projection_class_embeddings_input_dim", err);
    if (!c->class_embeddings_concat) return VN_OK;
    if (!has_class(c))
        return vn_fail(err, VN_BAD_FILE,
                       NET ": class_embeddings_concat needs class_embed_type or num_class_embeds");
    if (c->addition_embed_type != VN_CONDITION_ADDED_NONE)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": class_embeddings_concat makes an embedding of twice the width, to "
                           "which addition_embed_type cannot add its own");
    return VN_OK;
}

static vn_status check_addition(const vn_unet2d_condition_keys *c, vn_err *err) {
    const int64_t dim = c->addition_time_embed_dim,
                  width = c->projection_class_embeddings_input_dim;
    if (c->addition_embed_type != VN_CONDITION_ADDED_TEXT_TIME) return VN_OK;
    if (!dim || !width)
        return needs("addition_embed_type", "text_time",
                     "addition_time_embed_dim and projection_class_embeddings_input_dim", err);
    if (dim < width) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   NET ": projection_class_embeddings_input_dim %lld has no place for text_embeds "
                       "beside time_ids of addition_time_embed_dim %lld",
                   (long long)width, (long long)dim);
}

static vn_status check_text(const vn_unet2d_condition_keys *c, vn_err *err) {
    const bool many = c->cross_attention_dim.count > 0;
    if (c->encoder_hid_dim_type == VN_CONDITION_TEXT_PROJECTION && !c->encoder_hid_dim)
        return needs("encoder_hid_dim_type", "text_proj", "encoder_hid_dim", err);
    if (many && c->encoder_hid_dim)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": encoder_hid_dim projects to one cross_attention_dim, not to a list");
    if (c->addition_embed_type != VN_CONDITION_ADDED_TEXT) return VN_OK;
    if (many && !c->encoder_hid_dim)
        return needs("addition_embed_type", "text", "one cross_attention_dim, not a list", err);
    const int64_t width =
        c->encoder_hid_dim ? c->encoder_hid_dim : c->cross_attention_dim.level[0].at[0];
    if (width % c->addition_embed_type_num_heads == 0) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   NET ": a text %lld wide does not divide into addition_embed_type_num_heads %lld",
                   (long long)width, (long long)c->addition_embed_type_num_heads);
}

static vn_status check_numbers(const vn_unet2d_condition_keys *c, vn_err *err) {
    if (c->conv_in_kernel % 2 == 0 || c->conv_out_kernel % 2 == 0)
        return vn_fail(err, VN_UNSUPPORTED,
                       NET
                       ": conv_in_kernel %lld and conv_out_kernel %lld must be odd: an even one "
                       "makes the image smaller",
                       (long long)c->conv_in_kernel, (long long)c->conv_out_kernel);
    if (c->mid_block_scale_factor == 0 || c->resnet_out_scale_factor == 0)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": mid_block_scale_factor and resnet_out_scale_factor must not be 0");
    if (c->time_embedding_type == VN_CONDITION_FOURIER && c->time_embedding_dim % 2)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": time_embedding_dim %lld must be even for time_embedding_type fourier",
                       (long long)c->time_embedding_dim);
    return VN_OK;
}

/* ---- levels ---------------------------------------------------------------------------------- */

static vn_status check_count(const vn_config_levels *list, const char *key, size_t levels,
                             vn_err *err) {
    if (list->count == 0 || list->count == levels) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, NET ": %s has %zu entries for %zu levels", key, list->count,
                   levels);
}

static vn_status check_lists(const vn_unet2d_condition_keys *c, size_t levels, vn_err *err) {
    const vn_config_levels *reverse = &c->reverse_transformer_layers_per_block;
    bool nested = false;
    vn_status status = check_count(&c->only_cross_attention, "only_cross_attention", levels, err);
    if (!status) status = check_count(&c->layers_per_block, "layers_per_block", levels, err);
    if (!status) status = check_count(&c->cross_attention_dim, "cross_attention_dim", levels, err);
    if (!status) status = check_count(&c->attention_head_dim, "attention_head_dim", levels, err);
    if (!status)
        status = check_count(&c->transformer_layers_per_block, "transformer_layers_per_block",
                             levels, err);
    if (!status) status = check_count(reverse, "reverse_transformer_layers_per_block", levels, err);
    if (status) return status;
    for (size_t i = 0; i < c->transformer_layers_per_block.count; i++)
        nested = nested || c->transformer_layers_per_block.level[i].count > 0;
    if (nested && !reverse->count)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": transformer_layers_per_block has a list for a level; then "
                           "reverse_transformer_layers_per_block must say what is on the way up");
    if (!reverse->count && reverse->level[0].at[0])
        return vn_fail(err, VN_BAD_FILE,
                       NET ": reverse_transformer_layers_per_block must be a list of levels");
    if (c->mid_block_only_cross_attention.count)
        return vn_fail(err, VN_BAD_FILE,
                       NET ": mid_block_only_cross_attention must be true, false or null");
    return VN_OK;
}

/* How deep the transformers of a level's layers are. */
static vn_status set_depth(const vn_config_levels *from, size_t level, int64_t layers,
                           const char *key, vn_unet_attention *to, vn_err *err) {
    const vn_config_ints *list = &from->level[from->count ? level : 0];
    if (list->count && (int64_t)list->count < layers)
        return vn_fail(err, VN_BAD_FILE, NET ": %s has %zu entries for the %lld layers of a level",
                       key, list->count, (long long)layers);
    for (int64_t i = 0; i < layers; i++) to->depth[i] = list->at[list->count ? i : 0];
    return VN_OK;
}

/* The i-th level down and the i-th up. */
static vn_status set_level(vn_unet *body, const vn_unet2d_condition_keys *c, size_t i,
                           vn_err *err) {
    static const char forth[] = "transformer_layers_per_block",
                      back[] = "reverse_transformer_layers_per_block";
    const size_t own = body->levels - 1 - i; /* the level on the way down that is as large */
    const vn_config_levels *reverse = &c->reverse_transformer_layers_per_block;
    vn_unet_level *down = &body->going_down[i], *up = &body->going_up[i];
    vn_unet_level *both[] = {down, up};
    for (int k = 0; k < 2; k++) {
        const size_t level = k ? own : i;
        both[k]->layers = vn_config_level(&c->layers_per_block, level);
        both[k]->attention =
            (vn_unet_attention){.heads = vn_config_level(&c->attention_head_dim, level),
                                /* as diffusers, not reversed on the way up */
                                .head_dim = vn_config_level(&c->attention_head_dim, i),
                                .context = vn_config_level(&c->cross_attention_dim, level),
                                .only_cross = vn_config_level(&c->only_cross_attention, level)};
    }
    vn_status status = VN_OK;
    if (body->down[i]->attends == VN_UNET_TRANSFORMERS)
        status = set_depth(&c->transformer_layers_per_block, i, down->layers, forth,
                           &down->attention, err);
    if (!status && body->up[i]->attends == VN_UNET_TRANSFORMERS)
        status = reverse->count ? set_depth(reverse, i, up->layers + 1, back, &up->attention, err)
                                : set_depth(&c->transformer_layers_per_block, own, up->layers + 1,
                                            forth, &up->attention, err);
    return status;
}

static vn_status set_mid(vn_unet *body, const vn_unet2d_condition_keys *c, vn_err *err) {
    static const vn_unet_attends kinds[] = {[VN_CONDITION_MID_TRANSFORMERS] = VN_UNET_TRANSFORMERS,
                                            [VN_CONDITION_MID_PLAIN] = VN_UNET_NO_ATTENTION,
                                            [VN_CONDITION_MID_ADDED_KEYS] = VN_UNET_ADDED_KEYS,
                                            [VN_CONDITION_MID_NONE] = VN_UNET_NO_ATTENTION};
    const size_t last = body->levels - 1;
    const int64_t channels = c->block_out_channels.at[last],
                  only = vn_config_level(&c->mid_block_only_cross_attention, 0),
                  heads = vn_config_level(&c->attention_head_dim, last);
    const bool as_levels =
        c->only_cross_attention.count == 0 && vn_config_level(&c->only_cross_attention, 0);
    const bool added = c->mid_block_type == VN_CONDITION_MID_ADDED_KEYS;
    body->mid = (vn_unet_mid){
        .channels = channels,
        .groups = c->norm_num_groups ? c->norm_num_groups : vn_unet_default_groups(channels),
        .layers = c->mid_block_type == VN_CONDITION_MID_NONE    ? 0
                  : c->mid_block_type == VN_CONDITION_MID_PLAIN ? 1
                                                                : 2,
        .output_scale = c->mid_block_scale_factor,
        .raw_time = added && c->resnet_skip_time_act,
        .attends = kinds[c->mid_block_type],
        .attention = {.heads = heads,
                      .head_dim = heads,
                      .context = vn_config_level(&c->cross_attention_dim, last),
                      .only_cross =
                          added && (only == VN_CONDITION_MID_AS_LEVELS ? as_levels : only != 0)}};
    if (body->mid.attends != VN_UNET_TRANSFORMERS) return VN_OK;
    return set_depth(&c->transformer_layers_per_block, last, 1, "transformer_layers_per_block",
                     &body->mid.attention, err);
}

static vn_status set_body(vn_unet *body, const vn_unet2d_condition_keys *c, vn_err *err) {
    body->style = (vn_unet_style){.groups = c->norm_num_groups,
                                  .eps = c->norm_eps,
                                  .dropout = c->dropout,
                                  .act = vn_unet_activation_fn[c->act_fn],
                                  .scale_shift = c->resnet_time_scale_shift != 0,
                                  .downsample_pad = c->downsample_padding,
                                  .resnet_scale = c->resnet_out_scale_factor,
                                  .resnet_raw_time = c->resnet_skip_time_act,
                                  .linear_projection = c->use_linear_projection,
                                  .added_norm = c->cross_attention_norm};
    vn_unet_set_channels(body, &c->block_out_channels);
    vn_status status = VN_OK;
    for (size_t i = 0; i < body->levels && !status; i++) status = set_level(body, c, i, err);
    return !status ? set_mid(body, c, err) : status;
}

/* How wide the text is that the levels attend to. In a list all entries are the same but for levels
 * that attend to none; a layer refuses another. */
static int64_t context_of(const vn_unet *body, const vn_unet2d_condition_keys *c) {
    for (size_t i = 0; i < body->levels; i++) {
        if (body->down[i]->attends >= VN_UNET_TRANSFORMERS)
            return body->going_down[i].attention.context;
        if (body->up[i]->attends >= VN_UNET_TRANSFORMERS)
            return body->going_up[i].attention.context;
    }
    return body->mid.attends >= VN_UNET_TRANSFORMERS ? body->mid.attention.context
                                                     : vn_config_level(&c->cross_attention_dim, 0);
}

vn_status vn_unet2d_condition_read(const json_t *config, vn_unet2d_condition *u, vn_err *err) {
    vn_unet2d_condition_keys *c = &u->config;
    vn_unet *body = &u->body;
    *c = vn_unet2d_condition_defaults;
    vn_status status = vn_config_read(config, NET, vn_unet2d_condition_fields,
                                      vn_unet2d_condition_field_count, c, err);
    if (status) return status;
    if (c->encoder_hid_dim && c->encoder_hid_dim_type == VN_CONDITION_TEXT_PLAIN)
        c->encoder_hid_dim_type = VN_CONDITION_TEXT_PROJECTION;
    body->class = VN_UNET_CONDITION;
    status = check_kinds(c, err);
    if (!status) status = check_numbers(c, err);
    if (!status) status = check_class(c, err);
    if (!status) status = check_addition(c, err);
    if (!status) status = check_text(c, err);
    if (!status)
        status = vn_unet_find_blocks(body, &c->down_block_types, &c->up_block_types,
                                     &c->block_out_channels, err);
    if (!status) status = check_lists(c, body->levels, err);
    if (!status) status = set_body(body, c, err);
    if (status) return status;
    const bool fourier = c->time_embedding_type == VN_CONDITION_FOURIER;
    const int64_t first = c->block_out_channels.at[0];
    u->time_width = c->time_embedding_dim ? c->time_embedding_dim : (fourier ? 2 : 4) * first;
    u->time_features = fourier ? u->time_width : first;
    u->context = context_of(body, c);
    u->text_width = c->encoder_hid_dim ? c->encoder_hid_dim : u->context;
    return VN_OK;
}
