/* flux.c - diffusers' FluxTransformer2DModel (0.42.1), with all its options: first blocks of two
 * streams, an image's and a text's (joint.c), then blocks that have both in one row, with attention
 * and the feed-forward layer side by side:
 *
 *     b, s, g = W silu(c)
 *     h = norm(x) (1 + s) + b
 *     x <- x + g proj_out(attention(h), gelu(proj_mlp(h)))
 *
 * Queries and keys are rotated by the tokens' positions on several axes, img_ids and txt_ids. The
 * image comes and goes as rows of patches [N,P,C]: those of 2 x 2 pixels of a latent image, packed
 * as FluxPipeline packs them (src/model/packing.c). Where ids are left out the text's are 0, and
 * the image's are (0, row, column) of a square. The time is from 0 to 1; with guidance_embeds the
 * network also takes how strongly to guide itself (arXiv 2210.03142). */
#include "nn/transformer.h"

#include <math.h>

static const char net_name[] = "flux";

/* By the names of the config's keys. */
typedef struct keys {
    int64_t patch_size, in_channels, out_channels, num_layers, num_single_layers,
        attention_head_dim, num_attention_heads, joint_attention_dim, pooled_projection_dim;
    bool guidance_embeds;
    vn_config_ints axes_dims_rope;
} keys;

static const keys defaults = {
    .patch_size = 1,
    .in_channels = 64,
    .num_layers = 19,
    .num_single_layers = 38,
    .attention_head_dim = 128,
    .num_attention_heads = 24,
    .joint_attention_dim = 4096,
    .pooled_projection_dim = 768,
    .axes_dims_rope = {.count = 3, .at = {16, 56, 56}},
};

#define THETA    10000.0
#define THOUSAND 1000.0 /* times and guidance are embedded as thousandths */
#define PACKING  2      /* FluxPipeline's */
#define AXES     VN_PATCH_AXES
#define LATENTS  128 /* FluxPipeline's default_sample_size: of its latents on a side */

#define KEY(kind, member) VN_CONFIG_KEY(keys, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    VN_TRANSFORMER_FIELDS(keys, VN_ROPE_MAX_HEAD, 0),
    VN_PATCH_FIELD(keys),
    VN_TOKENS_FIELD(keys),
    VN_POOLED_FIELD(keys),
    /* kind, key                  null   min max                   choices null is */
    {KEY(INT, num_single_layers), false, 0, VN_CONFIG_MAX_LAYERS, NULL,   0},
    {KEY(BOOL, guidance_embeds),  true,  0, 0,                    NULL,   0},
    {KEY(INTS, axes_dims_rope),   false, 2, VN_ROPE_MAX_HEAD,     NULL,   0},
};
/* clang-format on */

typedef struct flux {
    keys config;
    int64_t width; /* of a token */
} flux;

/* ---- config ---------------------------------------------------------------------------------- */

static vn_status check_config(const keys *c, vn_err *err) {
    int64_t rotated = 0;
    for (size_t i = 0; i < c->axes_dims_rope.count; i++) {
        rotated += c->axes_dims_rope.at[i];
        if (c->axes_dims_rope.at[i] % 2)
            return vn_fail(err, VN_BAD_FILE, "flux: axes_dims_rope has %lld: pairs are rotated",
                           (long long)c->axes_dims_rope.at[i]);
    }
    if (rotated != c->attention_head_dim)
        return vn_fail(err, VN_BAD_FILE,
                       "flux: axes_dims_rope add up to %lld; attention_head_dim is %lld",
                       (long long)rotated, (long long)c->attention_head_dim);
    return VN_OK;
}

/* (0, row, column) of a square image's patches, [P,3]. */
static vn_status square_ids(const vn_shape *shape, float *to, vn_err *err) {
    const int64_t count = shape->dim[0], side = llround(sqrt((double)count));
    if (side * side != count)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%lld patches are no square image: img_ids must say where each is",
                       (long long)count);
    vn_patch_ids(side, side, to);
    return VN_OK;
}

void vn_patch_ids(int64_t rows, int64_t columns, float *to) {
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t row = i / columns, column = i % columns;
        to[AXES * i] = 0;
        to[AXES * i + 1] = (float)row;
        to[AXES * i + 2] = (float)column;
    }
}

static void set_io(const flux *d, vn_net_io *io) {
    const keys *c = &d->config;
    const int64_t axes = (int64_t)c->axes_dims_rope.count,
                  layers = c->num_layers + c->num_single_layers,
                  out = c->patch_size * c->patch_size * c->out_channels;
    const bool packed =
        axes == AXES && c->in_channels % (PACKING * PACKING) == 0 && out % (PACKING * PACKING) == 0;
    *io = (vn_net_io){.height = packed ? LATENTS : 0,
                      .width = packed ? LATENTS : 0,
                      .multiple = packed ? PACKING : 1,
                      .packing = packed ? PACKING : 0,
                      .time_unit = 1 / THOUSAND,
                      .layers = (int)layers,
                      .middle = layers ? (int)(layers - 1) / 2 : 0};
    if (layers)
        io->perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_SPARSE | VN_ATTENTION_SKIPPED |
                            VN_BLOCKS_SKIPPED | VN_ATTENTION_NORMALIZED;
    vn_net_add_input(io,
                     (vn_port){.name = "sample",
                               .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_PATCHES, c->in_channels)});
    vn_net_add_time(io, 0);
    vn_joint_add_text(io, c->joint_attention_dim, c->pooled_projection_dim);
    if (c->guidance_embeds)
        vn_net_add_input(io, (vn_port){.name = "guidance", .shape = VN_SHAPE(VN_DIM_BATCH)});
    vn_net_add_input(io, (vn_port){.name = "img_ids",
                                   .shape = VN_SHAPE(VN_DIM_PATCHES, axes),
                                   .optional = axes == AXES,
                                   .fill = axes == AXES ? square_ids : NULL});
    vn_net_add_input(
        io, (vn_port){.name = "txt_ids", .shape = VN_SHAPE(VN_DIM_TOKENS, axes), .optional = true});
    vn_net_add_output(
        io, (vn_port){.name = "sample", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_PATCHES, out)});
}

static vn_status open_flux(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    flux *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    keys *c = &d->config;
    *c = defaults;
    vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), c, err);
    if (!status) {
        if (!c->out_channels) c->out_channels = c->in_channels;
        status = vn_token_width(net_name, c->num_attention_heads, c->attention_head_dim, false,
                                &d->width, err);
    }
    if (!status) status = check_config(&d->config, err);
    if (status) {
        vn_free(d);
        return status;
    }
    set_io(d, io);
    *self = d;
    return VN_OK;
}

/* ---- the network ----------------------------------------------------------------------------- */

enum { SHIFT, SCALE, GATE, PARTS };

/* What attention gave x, a, and the hidden numbers beside it, added to x. */
static vn_node *single_end(const vn_scope *s, const flux *d, vn_node *x, vn_node *a, vn_node *mlp,
                           vn_node *e) {
    const int64_t width = d->width, hidden = 4 * width;
    if (!a && x) a = vn_fill(s->g, x->shape, 0);
    vn_node *y = vn_layer_linear_of_two(s, "proj_out", a, mlp, width, hidden, width);
    return vn_block_end(vn_mul_add(s->g, y, vn_token_part(s, e, GATE, width), x));
}

/* x [N,T,width]: the text's tokens, so many, and the image's. *negative: the tokens of a text to be
 * led away from, or NULL. */
static vn_node *single_block(const vn_scope *s, const flux *d, const vn_joint *joint, int64_t text,
                             vn_node *x, vn_node **negative, vn_node *c) {
    const int64_t width = d->width, hidden = 4 * width;
    const vn_scope attend = vn_scope_in(s, "attn");
    vn_node *e = vn_joint_modulation(s, "norm", c, width, PARTS);
    vn_node *rows[2] = {x, *negative}, *h[2] = {NULL}, *mlp[2] = {NULL}, *a[2] = {NULL};
    for (int i = 0; i < 2 && rows[i]; i++) {
        h[i] = vn_joint_norm(s, rows[i], e, SHIFT, SCALE, width);
        mlp[i] = vn_layer_linear_act(s, "proj_mlp", h[i], width, hidden, VN_FN_GELU_TANH);
    }
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        a[1] = h[1];
        a[0] = vn_joint_single_attention(&attend, joint, text, h[0], &a[1]);
    }
    if (*negative) *negative = single_end(s, d, *negative, a[1], mlp[1], e);
    return single_end(s, d, x, a[0], mlp[0], e);
}

/* Of a text's ids, and then the image's. */
static vn_rope rope_of(const vn_scope *s, const keys *c, vn_node *text) {
    const vn_rope_axes axes = {
        .axes = (int)c->axes_dims_rope.count, .dims = c->axes_dims_rope.at, .theta = THETA};
    vn_node *const ids[2] = {text, vn_scope_input(s, "img_ids")};
    return vn_rope_by(s, vn_concat(s->g, 0, 2, ids), &axes);
}

static vn_node *thousandths(const vn_scope *s, const char *input) {
    return vn_affine(s->g, vn_scope_input(s, input), THOUSAND, 0);
}

/* What time, guidance and the text as a whole say, [N,width]. */
static vn_node *about(const vn_scope *s, const flux *d) {
    vn_node *c =
        vn_joint_embed_number(s, "timestep_embedder", thousandths(s, "timestep"), d->width);
    if (d->config.guidance_embeds)
        c = vn_add(
            s->g, c,
            vn_joint_embed_number(s, "guidance_embedder", thousandths(s, "guidance"), d->width));
    return vn_add(s->g, c, vn_joint_embed_pooled(s, d->config.pooled_projection_dim, d->width));
}

static void build(const void *self, const vn_scope *root) {
    const flux *d = self;
    const keys *c = &d->config;
    vn_scope from = *root;
    from.init = VN_LAYER_INIT_XAVIER;
    const vn_scope *s = &from;
    static const char words[] = "encoder_hidden_states";
    vn_node *sample = vn_scope_input(s, "sample"), *text = vn_scope_text(s, words, 1),
            *negative = vn_scope_negative(s, words, 1);
    if (!sample || !text) return;
    const int64_t tokens = text->shape.dim[1];
    vn_joint joint = {.style = {c->num_attention_heads, c->attention_head_dim, VN_NORM_RMS},
                      .rope = rope_of(s, c, vn_scope_text(s, "txt_ids", 0)),
                      .rows = 1,
                      .columns = sample->shape.dim[1]};
    if (negative) joint.negative_rope = rope_of(s, c, vn_scope_negative(s, "txt_ids", 0));
    vn_node *modulates = about(s, d);
    vn_streams x = {
        .image = vn_layer_linear(s, "x_embedder", sample, c->in_channels, d->width),
        .text = vn_layer_linear(s, "context_embedder", text, c->joint_attention_dim, d->width),
        .negative = negative ? vn_layer_linear(s, "context_embedder", negative,
                                               c->joint_attention_dim, d->width)
                             : NULL};
    for (int i = 0; i < c->num_layers; i++) {
        vn_scope at = vn_scope_in(s, "transformer_blocks.%d", i);
        at.layer = i;
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            x = vn_joint_block(&at, &joint, x, modulates, (vn_joint_kind){false, false});
    }
    vn_node *both = vn_joint_join(s, &x);
    for (int i = 0; i < c->num_single_layers; i++) {
        vn_scope at = vn_scope_in(s, "single_transformer_blocks.%d", i);
        at.layer = (int)c->num_layers + i;
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            both = single_block(&at, d, &joint, tokens, both, &x.negative, modulates);
    }
    vn_node *image = vn_joint_split(s, both, tokens).image;
    vn_scope_output(s, "sample",
                    vn_joint_output(s, image, modulates, d->width,
                                    c->patch_size * c->patch_size * c->out_channels));
}

/* ---- a preset -------------------------------------------------------------------------------- */

/* The default has two and a half million weights beside those of the text encoder. */
/* clang-format off */
const vn_param vn_flux_presets[] = {
    {"depth", "blocks in which image and text have weights of their own",
     3, 0, VN_CONFIG_MAX_LAYERS, 1, NULL},
    {"single", "blocks after them, that have both in one row",
     6, 0, VN_CONFIG_MAX_LAYERS, 1, NULL},
    {"width", "numbers in a token of 2 x 2 pixels; heads must divide it into even parts",
     128, 6, VN_MAX_SIZE, 1, NULL},
    {"heads", "attention heads",
     4, 1, 1024, 1, NULL},
    VN_TEXT_PRESETS(4, 128),
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static vn_status check_preset(const keys *c, int64_t width, const vn_net_data *data, vn_err *err) {
    const int64_t head = width / c->num_attention_heads;
    if (width % c->num_attention_heads || head % 2 || head < 2 * AXES)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "flux: width=%lld is not heads=%lld times an even number of at least %d",
                       (long long)width, (long long)c->num_attention_heads, 2 * AXES);
    if (c->num_layers + c->num_single_layers < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "flux: depth=0 and single=0 are no blocks at all");
    if (data->sample.dim[1] % PACKING || data->sample.dim[2] % PACKING)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "flux: images of %lld x %lld are not divisible by %d, as its tokens are of "
                       "%d x %d pixels",
                       (long long)data->sample.dim[1], (long long)data->sample.dim[2], PACKING,
                       PACKING, PACKING);
    if (data->learns_variance)
        return vn_fail(err, VN_BAD_ARGUMENT, "flux: gives no variance, which this objective wants");
    if (data->dropout > 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "flux: dropout has no effect: it has none inside");
    return VN_OK;
}

/* As Flux shares a head's 128 numbers out: 7/16 each to rows and columns, the rest to the first
 * axis, on which all are at 0. */
static vn_config_ints axes_of(int64_t head) {
    int64_t side = head * 7 / 16 / 2 * 2;
    if (side < 2) side = 2;
    return (vn_config_ints){.count = AXES, .at = {head - 2 * side, side, side}};
}

json_t *vn_flux_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const int64_t width = (int64_t)vn_preset(preset, "width", NULL);
    keys c = defaults;
    if (vn_preset_text(preset, data, &c.joint_attention_dim, err) != VN_OK) return NULL;
    c.num_attention_heads = (int64_t)vn_preset(preset, "heads", NULL);
    c.num_layers = (int64_t)vn_preset(preset, "depth", NULL);
    c.num_single_layers = (int64_t)vn_preset(preset, "single", NULL);
    if (check_preset(&c, width, data, err) != VN_OK) return NULL;
    c.in_channels = c.out_channels = PACKING * PACKING * data->sample.dim[0];
    c.attention_head_dim = width / c.num_attention_heads;
    c.axes_dims_rope = axes_of(c.attention_head_dim);
    c.pooled_projection_dim = data->text_pooled ? data->text_pooled : c.joint_attention_dim;
    return vn_config_write(vn_flux_net.class_name, true, fields, VN_COUNT(fields), &c, err);
}

const vn_net_row vn_flux_net = {
    .row = {.name = net_name,
            .summary = "Flux's transformer of image and text: diffusers' FluxTransformer2DModel",
            .source = "arXiv 2403.03206, 2302.05442; diffusers 0.42.1",
            .params = vn_flux_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "FluxTransformer2DModel",
    .folder = "transformer",
    .takes_texts = true,
    .config = vn_flux_config,
    .open = open_flux,
    .close = vn_free,
    .build = build,
};
