/* dit.c - diffusers' DiTTransformer2DModel (0.42.1), with all its options: the diffusion
 * transformer of arXiv 2212.09748. Patches of the image become tokens; time and class modulate
 * every block by scale, shift and gate (adaLN-Zero):
 *
 *     c = MLP(sinusoids(t)) + E[label]               every block has its own MLP and E
 *     b1, s1, g1, b2, s2, g2 = W silu(c)
 *     x <- x + g1 attention(norm(x) (1 + s1) + b1)
 *     x <- x + g2 feed_forward(norm(x) (1 + s2) + b2)
 *
 * and at the end a norm modulated by the first block's c, and each token back to its patch. Weights
 * begin as in the paper: W at zero, so that every block begins as the identity, and the last layer
 * at zero, so that the output begins as 0.
 *
 * Keys of vane's own add what later transformers of diffusers have, and the inputs of extras.c. A
 * config with any of them is of class VaneDiT, because diffusers' class would ignore them:
 *
 *     block_norm           "rms_norm": RMSNorm in place of every norm above (arXiv 1910.07467)
 *     qk_norm              "layer_norm" or "rms_norm" of each head's queries and keys (arXiv
 *                          2302.05442)
 *     rope_theta           rotary positions of queries and keys, beside the sinusoids added to the
 *                          tokens (rope.c)
 *     num_register_tokens  learned tokens that go through the blocks before the image's (arXiv
 *                          2309.16588)
 */
#include "nn/dit.h"
#include "nn/transformer.h"

#include <math.h>
#include <string.h>

static const char net_name[] = "dit";

static const char *const norm_types[] = {"ada_norm_zero", NULL};

static const char *const norms[] = {"layer_norm", "rms_norm", NULL};

/* clang-format off */
enum { GELU, GELU_APPROXIMATE, GEGLU, GEGLU_APPROXIMATE, SWIGLU, LINEAR_SILU };
static const char *const activations[] = {
    "gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu", NULL,
};
static const vn_feed_forward feed_forwards[] = {
    [GELU]              = {.fn = VN_FN_GELU, .slope = 1},
    [GELU_APPROXIMATE]  = {.fn = VN_FN_GELU_TANH, .slope = 1},
    [GEGLU]             = {.fn = VN_FN_GELU, .slope = 1, .gated = true},
    [GEGLU_APPROXIMATE] = {.fn = VN_FN_SILU, .slope = 1.702}, /* x sigmoid(1.702 x) */
    [SWIGLU]            = {.fn = VN_FN_SILU, .slope = 1, .gated = true},
    [LINEAR_SILU]       = {.fn = VN_FN_SILU, .slope = 1},
};
/* clang-format on */

const vn_dit_keys vn_dit_defaults = {
    .num_attention_heads = 16,
    .attention_head_dim = 72,
    .in_channels = 4,
    .num_layers = 28,
    .norm_num_groups = 32,
    .attention_bias = true,
    .sample_size = 32,
    .patch_size = 2,
    .activation_fn = GELU_APPROXIMATE,
    .num_embeds_ada_norm = 1000,
    .norm_eps = 1e-5,
    .block_norm = VN_NORM_LAYER,
    .qk_norm = VN_NORM_NONE,
};

#define MAX_ROWS  1e8 /* of a table */
#define MAX_THETA 1e9
#define MAX_EXTRA 1024 /* register tokens */

#define TIME_FEATURES 256
#define TIME_SHIFT    1.0 /* of the frequencies */
/* The largest table of token positions, in numbers: 1 GB. */
#define MAX_TABLE (INT64_C(1) << 28)

#define KEY(kind, member) VN_CONFIG_KEY(vn_dit_keys, kind, member)
/* clang-format off */
const vn_field vn_dit_fields[] = {
    VN_TRANSFORMER_FIELDS(vn_dit_keys, VN_MAX_SIZE, 1),
    /* kind, key                          null   min max         choices      null is */
    {KEY(NUMBER, dropout),                 false, 0,  0.999,      NULL,        0},
    {KEY(INT, norm_num_groups),            true,  1,  VN_MAX_SIZE, NULL,        0},
    {KEY(BOOL, attention_bias),            true,  0,  0,          NULL,        0},
    {KEY(INT, sample_size),                false, 1,  VN_MAX_SIZE, NULL,        0},
    VN_PATCH_FIELD(vn_dit_keys),
    {KEY(CHOICE, activation_fn),           false, 0,  0,          activations, 0},
    {KEY(INT, num_embeds_ada_norm),        false, 0,  MAX_ROWS,   NULL,        0},
    {KEY(BOOL, upcast_attention),          true,  0,  0,          NULL,        0},
    {KEY(CHOICE, norm_type),               false, 0,  0,          norm_types,  0},
    {KEY(BOOL, norm_elementwise_affine),   true,  0,  0,          NULL,        0},
    {KEY(NUMBER, norm_eps),                false, 0,  1,          NULL,        0},
    {KEY(INT, internal_head),              true,  1,  VN_MAX_SIZE, NULL,        0},
    {KEY(CHOICE, block_norm),              false, 0,  0,          norms,       0},
    {KEY(CHOICE, qk_norm),                 true,  0,  0,          norms,       VN_NORM_NONE},
    {KEY(NUMBER, rope_theta),              true,  1,  MAX_THETA,  NULL,        0},
    {KEY(INT, num_register_tokens),        false, 0,  MAX_EXTRA,  NULL,        0},
    VN_EXTRA_FIELDS(vn_dit_keys),
};
/* clang-format on */
const size_t vn_dit_field_count = VN_COUNT(vn_dit_fields);

/* A config ready to build. */
typedef struct dit {
    vn_dit_keys config;
    int64_t width; /* of a token */
    int64_t side;  /* patches along a side of sample_size, for which positions are whole numbers */
    vn_feed_forward feed_forward;
} dit;

/* ---- config ---------------------------------------------------------------------------------- */

static bool goes_beyond(const vn_dit_keys *c) {
    return c->block_norm != vn_dit_defaults.block_norm || c->qk_norm != vn_dit_defaults.qk_norm ||
           c->rope_theta > 0 || c->num_register_tokens > 0 ||
           vn_has_extras(c->takes_step_end, c->takes_guidance, c->time_scale);
}

/* A config has diffusers' class name if diffusers can build it, and vane's otherwise; a config with
 * the other one is refused. */
static vn_status check_class(const vn_dit_keys *c, const json_t *config, vn_err *err) {
    const char *class_name = json_string_value(json_object_get(config, "_class_name"));
    if (!strcmp(class_name, VN_DIT_OWN_CLASS)) {
        if (goes_beyond(c)) return VN_OK;
        return vn_fail(
            err, VN_BAD_FILE,
            "dit: a %s without block_norm, qk_norm, rope_theta or num_register_tokens, and without "
            "takes_step_end, takes_guidance or time_scale, is a DiTTransformer2DModel: its "
            "_class_name must "
            "say so",
            class_name);
    }
    for (size_t i = vn_dit_field_count - VN_DIT_OWN_FIELDS; i < vn_dit_field_count; i++)
        if (json_object_get(config, vn_dit_fields[i].name))
            return vn_fail(err, VN_BAD_FILE,
                           "dit: diffusers' %s has no %s: the _class_name of one that has it is %s",
                           class_name, vn_dit_fields[i].name, VN_DIT_OWN_CLASS);
    return VN_OK;
}

static vn_status check_config(const dit *d, vn_err *err) {
    const vn_dit_keys *c = &d->config;
    if (d->side < 1)
        return vn_fail(err, VN_BAD_FILE, "dit: sample_size %lld is less than patch_size %lld",
                       (long long)c->sample_size, (long long)c->patch_size);
    if (c->rope_theta > 0 &&
        (c->attention_head_dim % 4 || c->attention_head_dim > VN_ROPE_MAX_HEAD))
        return vn_fail(
            err, VN_BAD_FILE,
            "dit: attention_head_dim is %lld; rope_theta needs a multiple of 4, up to %d",
            (long long)c->attention_head_dim, VN_ROPE_MAX_HEAD);
    if (c->internal_head >= c->num_layers && c->internal_head)
        return vn_fail(err, VN_BAD_FILE,
                       "dit: internal_head is after block %lld of %lld: it has to be before the "
                       "last one",
                       (long long)c->internal_head, (long long)c->num_layers);
    return VN_OK;
}

static void set_io(const dit *d, vn_net_io *io) {
    const vn_dit_keys *c = &d->config;
    *io = (vn_net_io){.height = c->sample_size,
                      .width = c->sample_size,
                      .multiple = c->patch_size,
                      .perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR |
                                       VN_ATTENTION_SPARSE | VN_ATTENTION_SKIPPED |
                                       VN_BLOCKS_SKIPPED | VN_TOKENS_SHUFFLED,
                      .layers = (int)c->num_layers,
                      .middle = (int)(c->num_layers - 1) / 2};
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, 0);
    vn_net_add_denoised(io, c->out_channels);
    if (c->internal_head) vn_net_add_internal(io, c->out_channels);
    if (c->num_embeds_ada_norm) { /* with the null row alone there is nothing to condition on */
        vn_net_add_labels(io, c->num_embeds_ada_norm + 1);
        io->null_row = true;
    }
    vn_net_add_extras(io, c->takes_step_end, c->takes_guidance);
    io->time = (vn_net_time){.layer = "timestep_embedder.linear_1",
                             .width = TIME_FEATURES,
                             .flip = true,
                             .shift = TIME_SHIFT,
                             .scale = vn_time_scale(c->takes_step_end, c->time_scale)};
}

static vn_status open_dit(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    dit *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    vn_dit_keys *c = &d->config;
    *c = vn_dit_defaults;
    vn_status status = vn_config_read(config, net_name, vn_dit_fields, vn_dit_field_count, c, err);
    if (!status) status = check_class(c, config, err);
    if (!status) {
        if (!c->out_channels) c->out_channels = c->in_channels;
        d->side = c->sample_size / c->patch_size;
        d->feed_forward = feed_forwards[c->activation_fn];
        d->feed_forward.dropout = c->dropout;
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

/* ---- tokens and pixels ----------------------------------------------------------------------- */

#define REGISTER_DEVIATION 0.02 /* as of the other embeddings */

/* The ratio of an image's patches on a side to those of sample_size. */
static float tokens_per_unit_of(const dit *d, int64_t side) {
    return (float)((double)side / (double)d->side);
}

/* The tokens of an image [N,H,W,C] with their positions; for sizes other than sample_size those are
 * scaled to the same range. */
static vn_node *to_tokens(const vn_scope *s, const dit *d, vn_node *image, int64_t side) {
    const float unit = tokens_per_unit_of(d, side);
    const vn_patch_grid grid = {side, side, unit, unit};
    vn_scope at = vn_scope_in(s, "pos_embed");
    vn_node *x =
        vn_layer_patches(&at, "proj", image, d->config.in_channels, d->width, d->config.patch_size);
    return x ? vn_add(s->g, x, vn_patch_positions(&at, &grid, d->width)) : NULL;
}

/* The register tokens, which have no position, then x. */
static vn_node *with_registers(const vn_scope *s, const dit *d, vn_node *x) {
    const int64_t count = d->config.num_register_tokens;
    if (!x || count == 0) return x;
    const vn_init small = {VN_INIT_NORMAL, REGISTER_DEVIATION};
    vn_graph_label(s->g, "register_tokens");
    vn_node *w = vn_param_node(s->g, s->w, "register_tokens", VN_SHAPE(1, count, d->width),
                               VN_LAYOUT_PLAIN, small);
    vn_node *both[2] = {vn_broadcast(s->g, w, VN_SHAPE(x->shape.dim[0], count, d->width)), x};
    return vn_concat(s->g, 1, 2, both);
}

static vn_node *without_registers(const vn_scope *s, const dit *d, vn_node *x) {
    const int64_t count = d->config.num_register_tokens;
    return x && count > 0 ? vn_slice(s->g, x, 1, count, x->shape.dim[1] - count) : x;
}

/* The rotary positions of queries and keys, the same as those of the sinusoids. Empty without
 * rope_theta. */
static vn_rope rotations(const vn_scope *s, const dit *d, int64_t side) {
    const vn_dit_keys *c = &d->config;
    if (c->rope_theta == 0) return (vn_rope){0};
    return vn_rope_2d(s, c->num_register_tokens, side, side, tokens_per_unit_of(d, side),
                      c->attention_head_dim, c->rope_theta);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* What all blocks are conditioned on. */
typedef struct condition {
    vn_node *time;   /* sinusoids [N,256] */
    vn_node *label;  /* i32 [N], or [1] where there are no classes */
    vn_node *extras; /* [N,width] of the inputs of extras.c; NULL: there are none */
    vn_rope rope;
} condition;

/* silu(c) of a block, [N,width]. */
static vn_node *embed(const vn_scope *s, const dit *d, const condition *given) {
    vn_scope at = vn_scope_in(s, "norm1.emb"), labels = vn_scope_in(&at, "class_embedder");
    at.init = labels.init = VN_LAYER_INIT_SMALL;
    vn_node *time =
        vn_time_embedding(&at, "timestep_embedder", given->time, TIME_FEATURES, d->width);
    vn_node *label = vn_layer_embedding(&labels, "embedding_table", given->label,
                                        d->config.num_embeds_ada_norm + 1, d->width);
    vn_node *sum = vn_add(s->g, time, label);
    return vn_unary(s->g, given->extras ? vn_add(s->g, sum, given->extras) : sum, VN_FN_SILU);
}

/* norm(x) (1 + scale) + shift; shift is the i-th part of e, scale the next. The norm has weights of
 * its own under `name`, unless that is NULL. */
static vn_node *modulated_norm(const vn_scope *s, const dit *d, const char *name, vn_node *x,
                               double eps, vn_node *e, int i) {
    if (d->config.block_norm != VN_NORM_RMS) {
        const vn_modulation by = {vn_part_of(s, e, i + 1, d->width), vn_part_of(s, e, i, d->width)};
        return vn_layer_modulated_norm(s, name, x, &by, d->width, 0, eps, VN_FN_IDENTITY);
    }
    x = name ? vn_layer_rms_norm(s, name, x, d->width, eps) : vn_rms_norm(s, x, eps);
    return vn_add(s->g,
                  vn_mul(s->g, x, vn_affine(s->g, vn_token_part(s, e, i + 1, d->width), 1, 1)),
                  vn_token_part(s, e, i, d->width));
}

static vn_node *attention(const vn_scope *s, const dit *d, vn_node *x, const vn_rope *rope) {
    const vn_dit_keys *c = &d->config;
    vn_node *q = vn_layer_linear_if(s, "to_q", x, d->width, d->width, c->attention_bias);
    vn_node *k = vn_layer_linear_if(s, "to_k", x, d->width, d->width, c->attention_bias);
    vn_node *v = vn_layer_linear_if(s, "to_v", x, d->width, d->width, c->attention_bias);
    const vn_head_style style = {c->num_attention_heads, c->attention_head_dim, c->qk_norm};
    q = vn_rotated_heads(s, vn_normed_heads(s, "norm_q", q, &style), &style, rope);
    k = vn_rotated_heads(s, vn_normed_heads(s, "norm_k", k, &style), &style, rope);
    const int64_t prefix = c->num_register_tokens,
                  side = x ? llround(sqrt((double)(x->shape.dim[1] - prefix))) : 0;
    const vn_heads heads = {.count = (int)c->num_attention_heads,
                            .scale = 1 / sqrt((double)c->attention_head_dim),
                            .prefix = prefix,
                            .rows = side,
                            .columns = side};
    vn_node *y = vn_self_attention(s, q, k, v, &heads);
    return vn_layer_dropout(s, vn_layer_linear(s, "to_out.0", y, d->width, d->width), c->dropout);
}

enum { SHIFT_1, SCALE_1, GATE_1, SHIFT_2, SCALE_2, GATE_2, MODULATIONS };

static vn_node *block(const vn_scope *s, const dit *d, vn_node *x, vn_node *c,
                      const vn_rope *rope) {
    vn_scope zero = vn_scope_in(s, "norm1"), attend = vn_scope_in(s, "attn1"),
             feed = vn_scope_in(s, "ff");
    zero.init = VN_LAYER_INIT_ZERO;
    vn_node *e = vn_layer_linear(&zero, "linear", c, d->width, MODULATIONS * d->width);
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        vn_node *a = attention(&attend, d,
                               modulated_norm(s, d, NULL, x, VN_MODULATED_EPS, e, SHIFT_1), rope);
        x = vn_mul_add(s->g, a, vn_token_part(s, e, GATE_1, d->width), x);
    }
    const char *norm3 = d->config.norm_elementwise_affine ? "norm3" : NULL;
    vn_node *h =
        vn_layer_feed_forward(&feed, modulated_norm(s, d, norm3, x, d->config.norm_eps, e, SHIFT_2),
                              d->width, &d->feed_forward);
    return vn_mul_add(s->g, h, vn_token_part(s, e, GATE_2, d->width), x);
}

/* ---- the network ----------------------------------------------------------------------------- */

/* Whether it is for images of this size; fails the graph otherwise. */
static bool check_size(const vn_scope *s, const dit *d, const vn_node *sample) {
    if (!sample) return false;
    const int64_t height = sample->shape.dim[1], width = sample->shape.dim[2],
                  side = height / d->config.patch_size;
    if (height != width)
        vn_scope_fail(s, "images of %lld x %lld: it is for square ones", (long long)height,
                      (long long)width);
    else if (side * side > MAX_TABLE / d->width)
        vn_scope_fail(
            s,
            "images of %lld x %lld make %lld tokens of %lld numbers; it takes up to %lld numbers",
            (long long)height, (long long)width, (long long)(side * side), (long long)d->width,
            (long long)MAX_TABLE);
    else
        return true;
    return false;
}

/* From tokens to what the network answers, by the last layer's weights in this scope. */
static vn_node *answer(const vn_scope *s, const dit *d, vn_node *x, vn_node *first, int64_t side) {
    vn_scope zero = *s;
    zero.init = VN_LAYER_INIT_ZERO;
    const int64_t patch = d->config.patch_size, out = patch * patch * d->config.out_channels;
    vn_node *e = vn_layer_linear(&zero, "proj_out_1", first, d->width, 2 * d->width);
    x = modulated_norm(s, d, NULL, without_registers(s, d, x), VN_MODULATED_EPS, e, SHIFT_1);
    return vn_patch_pixels(s, vn_layer_linear(&zero, "proj_out_2", x, d->width, out), side, side,
                           patch);
}

static void build(const void *self, const vn_scope *root) {
    const dit *d = self;
    vn_scope from = *root;
    from.init = VN_LAYER_INIT_XAVIER;
    const vn_scope *s = &from;
    vn_node *sample = vn_scope_input(s, "sample");
    if (!check_size(s, d, sample)) return;
    const int64_t side = sample->shape.dim[1] / d->config.patch_size;
    vn_node *time = vn_scope_time(s, d->config.time_scale);
    condition given = {.time = vn_time_sinusoids(s, time, TIME_FEATURES, true, TIME_SHIFT),
                       .label = vn_scope_input(s, "class_labels"),
                       .extras = vn_extras(s, d->width),
                       .rope = rotations(s, d, side)};
    if (!given.label) given.label = vn_const(s->g, VN_I32, VN_SHAPE(1), &(int32_t){0});
    vn_node *x = with_registers(s, d, to_tokens(s, d, sample, side)), *first = NULL, *inner = NULL;
    const int64_t depth = d->config.num_layers, quarter = depth > 4 ? depth / 4 : 1;
    for (int i = 0; i < depth; i++) {
        vn_scope at = vn_scope_in(s, "transformer_blocks.%d", i);
        at.layer = i;
        vn_node *c = embed(&at, d, &given);
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            x = vn_block_end(block(
                &at, d, vn_shuffled_tokens(&at, x, d->config.num_register_tokens), c, &given.rope));
        if (i == 0) first = c;
        if (i + 1 == quarter) vn_scope_hidden(s, x);
        if (i + 1 == d->config.internal_head) inner = x;
    }
    vn_node *y = answer(s, d, x, first, side);
    const vn_scope head = vn_scope_in(s, VN_INTERNAL_HEAD);
    if (inner)
        vn_scope_denoised_twice(s, answer(&head, d, inner, first, side), y);
    else
        vn_scope_denoised(s, y);
}

const vn_net_row vn_dit_net = {
    .row = {.name = net_name,
            .summary = "diffusion transformer, for square images: diffusers' "
                       "DiTTransformer2DModel and more",
            .source = "arXiv 2212.09748, 2401.08740; diffusers 0.42.1",
            .params = vn_dit_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "DiTTransformer2DModel",
    .own_class = VN_DIT_OWN_CLASS,
    .folder = "transformer",
    .extras = true,
    .config = vn_dit_config,
    .open = open_dit,
    .close = vn_free,
    .build = build,
};
