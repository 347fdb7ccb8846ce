/* sd3.c - diffusers' SD3Transformer2DModel (0.42.1), with all its options: the MMDiT of arXiv
 * 2403.03206, of Stable Diffusion 3 and 3.5. Patches of the image and the tokens of a text are two
 * streams (joint.c); what the time and the text as a whole say modulates every block.
 *
 * Positions are a table of pos_embed_max_size x pos_embed_max_size, which files hold and of which
 * the middle is cut out, so that the image's centre is the table's; without that key they are
 * computed for the image's size. Guidance by skipped layers is slg of src/guide/perturbed.c. */
#include "nn/transformer.h"

#include <math.h>

static const char net_name[] = "sd3";

/* By the names of the config's keys. */
typedef struct keys {
    int64_t sample_size, patch_size, in_channels, num_layers, attention_head_dim,
        num_attention_heads, joint_attention_dim, caption_projection_dim, pooled_projection_dim,
        out_channels, pos_embed_max_size;
    vn_config_layers dual_attention_layers;
    int64_t qk_norm;
} keys;

static const char *const norms[] = {"layer_norm", "fp32_layer_norm", "rms_norm", NULL};
enum { RMS_NORM = 2, NO_NORM = VN_COUNT(norms) - 1 };
static const vn_norm_kind norm_of[] = {VN_NORM_LAYER, VN_NORM_LAYER_PLAIN, VN_NORM_RMS,
                                       VN_NORM_NONE};

static const keys defaults = {
    .sample_size = 128,
    .patch_size = 2,
    .in_channels = 16,
    .num_layers = 18,
    .attention_head_dim = 64,
    .num_attention_heads = 18,
    .joint_attention_dim = 4096,
    .caption_projection_dim = 1152,
    .pooled_projection_dim = 2048,
    .out_channels = 16,
    .pos_embed_max_size = 96,
    .qk_norm = NO_NORM,
};

#define MAX_GRID 8192 /* patches on a side of the table of positions */
/* The largest table of positions, in numbers: 4 GB. */
#define MAX_TABLE (INT64_C(1) << 30)

#define KEY(kind, member) VN_CONFIG_KEY(keys, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    VN_TRANSFORMER_FIELDS(keys, VN_MAX_SIZE, 0),
    VN_PATCH_FIELD(keys),
    VN_TOKENS_FIELD(keys),
    VN_POOLED_FIELD(keys),
    /* kind, key                       null   min max                       choices null is */
    {KEY(INT, sample_size),            false, 1, VN_MAX_SIZE,              NULL,  0},
    {KEY(INT, caption_projection_dim), false, 1, VN_MAX_SIZE,              NULL,  0},
    {KEY(INT, pos_embed_max_size),     true,  1, MAX_GRID,                 NULL,  0},
    {KEY(LAYERS, dual_attention_layers), false, 0, VN_CONFIG_MAX_LAYERS - 1, NULL, 0},
    {KEY(CHOICE, qk_norm),             true,  0, 0,                        norms, NO_NORM},
};
/* clang-format on */

typedef struct sd3 {
    keys config;
    int64_t width; /* of a token */
    int64_t side;  /* patches along a side of sample_size, which positions count in */
} sd3;

/* ---- config ---------------------------------------------------------------------------------- */

static vn_status check_config(const sd3 *d, vn_err *err) {
    const keys *c = &d->config;
    if (c->caption_projection_dim != d->width)
        return vn_fail(err, VN_BAD_FILE,
                       "sd3: caption_projection_dim is %lld; the text's tokens must be as wide as "
                       "the image's, %lld (num_attention_heads times attention_head_dim)",
                       (long long)c->caption_projection_dim, (long long)d->width);
    if (d->side < 1)
        return vn_fail(err, VN_BAD_FILE, "sd3: sample_size %lld is less than patch_size %lld",
                       (long long)c->sample_size, (long long)c->patch_size);
    if (c->pos_embed_max_size * c->pos_embed_max_size > MAX_TABLE / d->width)
        return vn_fail(err, VN_UNSUPPORTED,
                       "sd3: pos_embed_max_size %lld makes a table of more than %lld numbers",
                       (long long)c->pos_embed_max_size, (long long)MAX_TABLE);
    for (int64_t i = c->num_layers; i < VN_CONFIG_MAX_LAYERS; i++)
        if (c->dual_attention_layers.has[i])
            return vn_fail(err, VN_BAD_FILE,
                           "sd3: dual_attention_layers has %lld; there are num_layers %lld",
                           (long long)i, (long long)c->num_layers);
    return VN_OK;
}

static void set_io(const sd3 *d, vn_net_io *io) {
    const keys *c = &d->config;
    *io = (vn_net_io){.height = c->sample_size,
                      .width = c->sample_size,
                      .multiple = c->patch_size,
                      .max_side = c->pos_embed_max_size * c->patch_size,
                      .perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR |
                                       VN_ATTENTION_SPARSE | VN_ATTENTION_SKIPPED |
                                       VN_BLOCKS_SKIPPED | VN_ATTENTION_NORMALIZED,
                      .layers = (int)c->num_layers,
                      .middle = c->num_layers ? (int)(c->num_layers - 1) / 2 : 0};
    if (c->num_layers == 0) io->perturbations = 0;
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, 0);
    vn_joint_add_text(io, c->joint_attention_dim, c->pooled_projection_dim);
    vn_net_add_denoised(io, c->out_channels);
}

static vn_status open_sd3(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    sd3 *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    keys *c = &d->config;
    *c = defaults;
    vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), c, err);
    if (!status) {
        if (!c->out_channels) c->out_channels = c->in_channels;
        d->side = c->sample_size / c->patch_size;
        status = vn_token_width(net_name, c->num_attention_heads, c->attention_head_dim, true,
                                &d->width, err);
    }
    if (!status) status = check_config(d, err);
    if (status) {
        vn_free(d);
        return status;
    }
    set_io(d, io);
    *self = d;
    return VN_OK;
}

/* ---- positions ------------------------------------------------------------------------------- */

static vn_patch_grid grid_of(const sd3 *d, int64_t rows, int64_t columns) {
    const double side = (double)d->side;
    return (vn_patch_grid){rows, columns, (float)((double)rows / side),
                           (float)((double)columns / side)};
}

/* The whole table [1,side*side,width]; init.scale is the patches to a unit of position. */
static void fill_table(const vn_weight *w, float *values) {
    const int64_t side = llround(sqrt((double)w->file.dim[1]));
    const float unit = (float)w->init.scale;
    const vn_patch_grid grid = {side, side, unit, unit};
    vn_patch_positions_fill(&grid, w->file.dim[2], values);
}

/* Which rows of the table the patches of an image have, [1,rows*columns]: those of its middle. */
static vn_node *middle_of(const vn_scope *s, int64_t most, int64_t rows, int64_t columns) {
    const int64_t top = (most - rows) / 2, left = (most - columns) / 2;
    int32_t *place = vn_alloc((size_t)(rows * columns), sizeof *place);
    if (!place) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < rows * columns; i++)
        place[i] = (int32_t)((top + i / columns) * most + left + i % columns);
    vn_node *places = vn_const(s->g, VN_I32, VN_SHAPE(1, rows * columns), place);
    vn_free(place);
    return places;
}

/* [1,rows*columns,width] */
static vn_node *cut_out(const vn_scope *s, const sd3 *d, int64_t rows, int64_t columns) {
    const int64_t most = d->config.pos_embed_max_size;
    vn_graph_label(s->g, "pos_embed.pos_embed");
    vn_node *table =
        vn_param_computed(s->g, s->w, "pos_embed.pos_embed", VN_SHAPE(1, most * most, d->width),
                          (double)most / (double)d->side, fill_table);
    return vn_embedding(s->g, vn_reshape(s->g, table, VN_SHAPE(most * most, d->width)),
                        middle_of(s, most, rows, columns));
}

static vn_node *positions(const vn_scope *s, const sd3 *d, int64_t rows, int64_t columns) {
    if (d->config.pos_embed_max_size) return cut_out(s, d, rows, columns);
    const vn_patch_grid grid = grid_of(d, rows, columns);
    if (rows * columns <= MAX_TABLE / d->width) return vn_patch_positions(s, &grid, d->width);
    return vn_scope_fail(s, "%lld patches of %lld numbers; it takes up to %lld numbers",
                         (long long)(rows * columns), (long long)d->width, (long long)MAX_TABLE);
}

/* ---- the network ----------------------------------------------------------------------------- */

static void build(const void *self, const vn_scope *root) {
    const sd3 *d = self;
    const keys *c = &d->config;
    vn_scope from = *root;
    from.init = VN_LAYER_INIT_XAVIER;
    const vn_scope *s = &from;
    vn_node *sample = vn_scope_input(s, "sample");
    if (!sample) return;
    const int64_t rows = sample->shape.dim[1] / c->patch_size,
                  columns = sample->shape.dim[2] / c->patch_size;
    const vn_scope embed = vn_scope_in(s, "pos_embed");
    const vn_joint joint = {
        .style = {c->num_attention_heads, c->attention_head_dim, norm_of[c->qk_norm]},
        .rows = rows,
        .columns = columns};
    static const char words[] = "encoder_hidden_states";
    vn_node *negative = vn_scope_negative(s, words, 1);
    vn_streams x = {
        .image = vn_layer_patches(&embed, "proj", sample, c->in_channels, d->width, c->patch_size),
        .text = vn_layer_linear(s, "context_embedder", vn_scope_text(s, words, 1),
                                c->joint_attention_dim, d->width),
        .negative = negative ? vn_layer_linear(s, "context_embedder", negative,
                                               c->joint_attention_dim, d->width)
                             : NULL};
    x.image = vn_add(s->g, x.image, positions(&embed, d, rows, columns));
    vn_node *about = vn_add(
        s->g,
        vn_joint_embed_number(s, "timestep_embedder", vn_scope_input(s, "timestep"), d->width),
        vn_joint_embed_pooled(s, c->pooled_projection_dim, d->width));
    for (int i = 0; i < c->num_layers; i++) {
        vn_scope at = vn_scope_in(s, "transformer_blocks.%d", i);
        at.layer = i;
        const vn_joint_kind kind = {.last = i == c->num_layers - 1,
                                    .dual = c->dual_attention_layers.has[i]};
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            x = vn_joint_block(&at, &joint, x, about, kind);
    }
    const int64_t out = c->patch_size * c->patch_size * c->out_channels;
    vn_scope_denoised(s, vn_patch_pixels(s, vn_joint_output(s, x.image, about, d->width, out), rows,
                                         columns, c->patch_size));
}

/* ---- a preset -------------------------------------------------------------------------------- */

/* The default has 3 million weights beside those of the text encoder. */
/* clang-format off */
const vn_param vn_sd3_presets[] = {
    {"depth", "transformer blocks",
     6, 1, VN_CONFIG_MAX_LAYERS, 1, NULL},
    {"width", "numbers in a token; heads and 4 must divide it",
     128, 4, VN_MAX_SIZE, 1, NULL},
    {"heads", "attention heads",
     4, 1, 1024, 1, NULL},
    {"patch", "pixels on a side of a token; it must divide the image",
     4, 1, VN_MAX_PATCH, 1, NULL},
    VN_TEXT_PRESETS(4, 128),
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static vn_status check_preset(const keys *c, int64_t width, const vn_net_data *data, vn_err *err) {
    const long long height = data->sample.dim[1], across = data->sample.dim[2];
    if (width % c->num_attention_heads || width % 4)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "sd3: width=%lld is not divisible by heads=%lld and by 4", (long long)width,
                       (long long)c->num_attention_heads);
    if (height % c->patch_size || across % c->patch_size)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "sd3: images of %lld x %lld are not divisible by patch=%lld", height, across,
                       (long long)c->patch_size);
    if (data->dropout > 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "sd3: dropout has no effect: it has none inside");
    return VN_OK;
}

json_t *vn_sd3_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const int64_t width = (int64_t)vn_preset(preset, "width", NULL), height = data->sample.dim[1],
                  across = data->sample.dim[2];
    keys c = defaults;
    if (vn_preset_text(preset, data, &c.joint_attention_dim, err) != VN_OK) return NULL;
    c.num_attention_heads = (int64_t)vn_preset(preset, "heads", NULL);
    c.patch_size = (int64_t)vn_preset(preset, "patch", NULL);
    if (check_preset(&c, width, data, err) != VN_OK) return NULL;
    c.sample_size = height > across ? height : across;
    c.pos_embed_max_size = c.sample_size / c.patch_size;
    c.in_channels = data->sample.dim[0];
    c.out_channels = (data->learns_variance ? 2 : 1) * data->sample.dim[0];
    c.num_layers = (int64_t)vn_preset(preset, "depth", NULL);
    c.attention_head_dim = width / c.num_attention_heads;
    c.caption_projection_dim = width;
    c.pooled_projection_dim = data->text_pooled ? data->text_pooled : c.joint_attention_dim;
    c.qk_norm = RMS_NORM;
    return vn_config_write(vn_sd3_net.class_name, true, fields, VN_COUNT(fields), &c, err);
}

const vn_net_row vn_sd3_net = {
    .row = {.name = net_name,
            .summary = "Stable Diffusion 3's transformer of image and text: diffusers' "
                       "SD3Transformer2DModel",
            .source = "arXiv 2403.03206; diffusers 0.42.1",
            .params = vn_sd3_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "SD3Transformer2DModel",
    .folder = "transformer",
    .takes_texts = true,
    .config = vn_sd3_config,
    .open = open_sd3,
    .close = vn_free,
    .build = build,
};
