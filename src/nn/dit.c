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
 * Four keys of vane's own add what later transformers of diffusers have. A config with any of them
 * is of class VaneDiT, because diffusers' class would ignore them:
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

#include <math.h>
#include <string.h>

static const char net_name[] = "dit";

/* The feed-forward layer's function between its two linear layers: f(slope x) / slope; or, gated,
 * one half of x times f of the other half. */
typedef struct activation {
    vn_fn fn;
    double slope;
    bool gated;
} activation;

static const char *const norm_types[] = {"ada_norm_zero", NULL};

static const char *const norms[] = {"layer_norm", "rms_norm", NULL};

/* clang-format off */
enum { GELU, GELU_APPROXIMATE, GEGLU, GEGLU_APPROXIMATE, SWIGLU, LINEAR_SILU };
static const char *const activations[] = {
    "gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu", NULL,
};
static const activation activation_of[] = {
    [GELU]              = {VN_FN_GELU,      1,     false},
    [GELU_APPROXIMATE]  = {VN_FN_GELU_TANH, 1,     false},
    [GEGLU]             = {VN_FN_GELU,      1,     true},
    [GEGLU_APPROXIMATE] = {VN_FN_SILU,      1.702, false}, /* x sigmoid(1.702 x) */
    [SWIGLU]            = {VN_FN_SILU,      1,     true},
    [LINEAR_SILU]       = {VN_FN_SILU,      1,     false},
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
    .block_norm = VN_DIT_LAYER_NORM,
    .qk_norm = VN_DIT_NO_NORM,
};

#define MAX_SIZE   65536.0 /* pixels on a side, channels */
#define MAX_ROWS   1e8     /* of a table */
#define MAX_LAYERS 1024
#define MAX_PATCH  64
#define MAX_THETA  1e9
#define MAX_EXTRA  1024 /* register tokens */
/* The largest table of token positions, in numbers: 1 GB. */
#define MAX_TABLE (INT64_C(1) << 28)

#define KEY(kind, member) VN_CONFIG_KEY(vn_dit_keys, kind, member)
/* clang-format off */
const vn_field vn_dit_fields[] = {
    /* kind, key                          null   min max         choices      null is */
    {KEY(INT, num_attention_heads),        false, 1,  MAX_SIZE,   NULL,        0},
    {KEY(INT, attention_head_dim),         false, 1,  MAX_SIZE,   NULL,        0},
    {KEY(INT, in_channels),                false, 1,  MAX_SIZE,   NULL,        0},
    {KEY(INT, out_channels),               true,  1,  MAX_SIZE,   NULL,        0},
    {KEY(INT, num_layers),                 false, 1,  MAX_LAYERS, NULL,        0},
    {KEY(NUMBER, dropout),                 false, 0,  0.999,      NULL,        0},
    {KEY(INT, norm_num_groups),            true,  1,  MAX_SIZE,   NULL,        0},
    {KEY(BOOL, attention_bias),            true,  0,  0,          NULL,        0},
    {KEY(INT, sample_size),                false, 1,  MAX_SIZE,   NULL,        0},
    {KEY(INT, patch_size),                 false, 1,  MAX_PATCH,  NULL,        0},
    {KEY(CHOICE, activation_fn),           false, 0,  0,          activations, 0},
    {KEY(INT, num_embeds_ada_norm),        false, 0,  MAX_ROWS,   NULL,        0},
    {KEY(BOOL, upcast_attention),          true,  0,  0,          NULL,        0},
    {KEY(CHOICE, norm_type),               false, 0,  0,          norm_types,  0},
    {KEY(BOOL, norm_elementwise_affine),   true,  0,  0,          NULL,        0},
    {KEY(NUMBER, norm_eps),                false, 0,  1,          NULL,        0},
    {KEY(CHOICE, block_norm),              false, 0,  0,          norms,       0},
    {KEY(CHOICE, qk_norm),                 true,  0,  0,          norms,       VN_DIT_NO_NORM},
    {KEY(NUMBER, rope_theta),              true,  1,  MAX_THETA,  NULL,        0},
    {KEY(INT, num_register_tokens),        false, 0,  MAX_EXTRA,  NULL,        0},
};
/* clang-format on */
const size_t vn_dit_field_count = VN_COUNT(vn_dit_fields);

/* A config ready to build. */
typedef struct dit {
    vn_dit_keys config;
    int64_t width; /* of a token */
    int64_t side;  /* patches along a side of sample_size, for which positions are whole numbers */
    activation act;
} dit;

/* ---- config ---------------------------------------------------------------------------------- */

static bool goes_beyond(const vn_dit_keys *c) {
    return c->block_norm != vn_dit_defaults.block_norm || c->qk_norm != vn_dit_defaults.qk_norm ||
           c->rope_theta > 0 || c->num_register_tokens > 0;
}

/* A config has diffusers' class name if diffusers can build it, and vane's otherwise; a config with
 * the other one is refused. */
static vn_status check_class(const vn_dit_keys *c, const json_t *config, vn_err *err) {
    const char *class_name = json_string_value(json_object_get(config, "_class_name"));
    if (!strcmp(class_name, VN_DIT_OWN_CLASS)) {
        if (goes_beyond(c)) return VN_OK;
        return vn_fail(
            err, VN_BAD_FILE,
            "dit: a %s without block_norm, qk_norm, rope_theta or num_register_tokens is a "
            "DiTTransformer2DModel: its _class_name must say so",
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
    if (d->width > (int64_t)MAX_SIZE || d->width % 4)
        return vn_fail(err, VN_BAD_FILE,
                       "dit: num_attention_heads %lld of attention_head_dim %lld make tokens %lld "
                       "wide; positions need "
                       "a multiple of 4, up to %d",
                       (long long)c->num_attention_heads, (long long)c->attention_head_dim,
                       (long long)d->width, (int)MAX_SIZE);
    if (d->side < 1)
        return vn_fail(err, VN_BAD_FILE, "dit: sample_size %lld is less than patch_size %lld",
                       (long long)c->sample_size, (long long)c->patch_size);
    if (c->rope_theta > 0 &&
        (c->attention_head_dim % 4 || c->attention_head_dim > VN_ROPE_MAX_HEAD))
        return vn_fail(
            err, VN_BAD_FILE,
            "dit: attention_head_dim is %lld; rope_theta needs a multiple of 4, up to %d",
            (long long)c->attention_head_dim, VN_ROPE_MAX_HEAD);
    return VN_OK;
}

static void set_io(const dit *d, vn_net_io *io) {
    const vn_dit_keys *c = &d->config;
    *io =
        (vn_net_io){.height = c->sample_size,
                    .width = c->sample_size,
                    .multiple = c->patch_size,
                    .perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR |
                                     VN_ATTENTION_SPARSE | VN_ATTENTION_SKIPPED | VN_BLOCKS_SKIPPED,
                    .layers = (int)c->num_layers,
                    .middle = (int)(c->num_layers - 1) / 2};
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, 0);
    vn_net_add_denoised(io, c->out_channels);
    if (!c->num_embeds_ada_norm)
        return; /* with the null row alone there is nothing to condition on */
    vn_net_add_labels(io, c->num_embeds_ada_norm + 1);
    io->null_row = true;
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
        d->width = c->num_attention_heads * c->attention_head_dim;
        d->side = c->sample_size / c->patch_size;
        d->act = activation_of[c->activation_fn];
        status = check_config(d, err);
    }
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

/* Sines, then cosines, of position / 10000^(i/quarter): 2 * quarter numbers. */
static void encode_position(float *to, int64_t quarter, float position) {
    for (int64_t i = 0; i < quarter; i++) {
        const double angle = (double)position / pow(10000, (double)i / (double)quarter);
        to[i] = (float)sin(angle);
        to[quarter + i] = (float)cos(angle);
    }
}

/* The ratio of an image's patches on a side to those of sample_size. */
static float tokens_per_unit_of(const dit *d, int64_t side) {
    return (float)((double)side / (double)d->side);
}

/* The sinusoidal positions of side x side patches, [1,side*side,width]: half of a token's numbers
 * encode its column, half its row. For sizes other than sample_size the positions are scaled to the
 * same range. */
static vn_node *positions(const vn_scope *s, const dit *d, int64_t side) {
    const int64_t half = d->width / 2;
    const float tokens_per_unit = tokens_per_unit_of(d, side);
    float *line = vn_alloc((size_t)(side * half), sizeof *line);
    float *token = vn_alloc((size_t)(side * side * d->width), sizeof *token);
    vn_node *all = NULL;
    if (line && token) {
        for (int64_t i = 0; i < side; i++)
            encode_position(line + i * half, half / 2, (float)i / tokens_per_unit);
        for (int64_t i = 0; i < side * side; i++) {
            memcpy(token + i * d->width, line + i % side * half, (size_t)half * sizeof *line);
            memcpy(token + i * d->width + half, line + i / side * half,
                   (size_t)half * sizeof *line);
        }
        all = vn_const(s->g, VN_F32, VN_SHAPE(1, side * side, d->width), token);
    } else {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    }
    vn_free(line);
    vn_free(token);
    return all;
}

/* [N,H,W,C] to tokens [N,T,width]. */
static vn_node *to_tokens(const vn_scope *s, const dit *d, vn_node *image) {
    const int patch = (int)d->config.patch_size;
    vn_scope at = vn_scope_in(s, "pos_embed");
    vn_node *x = vn_layer_conv(&at, "proj", image,
                               (vn_conv){.in = d->config.in_channels,
                                         .out = d->width,
                                         .kernel = patch,
                                         .stride = patch,
                                         .bias = true});
    if (!x) return NULL;
    const int64_t side = x->shape.dim[1];
    return vn_add(s->g, vn_reshape(s->g, x, VN_SHAPE(x->shape.dim[0], side * side, d->width)),
                  positions(&at, d, side));
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

/* Tokens [N,T,patch*patch*C] to [N,H,W,C]. */
static vn_node *to_pixels(const vn_scope *s, const dit *d, vn_node *x, int64_t side) {
    if (!x) return NULL;
    const int64_t n = x->shape.dim[0], patch = d->config.patch_size,
                  channels = d->config.out_channels;
    x = vn_reshape(s->g, x, VN_SHAPE(n, side, side, patch, patch, channels));
    x = vn_permute(s->g, x, (int[6]){0, 1, 3, 2, 4, 5});
    return vn_reshape(s->g, x, VN_SHAPE(n, side * patch, side * patch, channels));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

#define TIME_FEATURES 256
#define TIME_SHIFT    1.0  /* of the frequencies */
#define MODULATED_EPS 1e-6 /* of the norms that diffusers does not let the config choose */

/* What all blocks are conditioned on. */
typedef struct condition {
    vn_node *time;  /* sinusoids [N,256] */
    vn_node *label; /* i32 [N], or [1] where there are no classes */
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
    return vn_unary(s->g, vn_add(s->g, time, label), VN_FN_SILU);
}

/* The i-th width of e [N,..]. */
static vn_node *part(const vn_scope *s, const dit *d, vn_node *e, int i) {
    return vn_slice(s->g, e, -1, i * d->width, d->width);
}

/* The same as [N,1,width], to be broadcast over tokens. */
static vn_node *token_part(const vn_scope *s, const dit *d, vn_node *e, int i) {
    return e ? vn_reshape(s->g, part(s, d, e, i), VN_SHAPE(e->shape.dim[0], 1, d->width)) : NULL;
}

/* norm(x) (1 + scale) + shift; shift is the i-th part of e, scale the next. The norm has weights of
 * its own under `name`, unless that is NULL. */
static vn_node *modulated_norm(const vn_scope *s, const dit *d, const char *name, vn_node *x,
                               double eps, vn_node *e, int i) {
    if (d->config.block_norm != VN_DIT_RMS_NORM) {
        const vn_modulation by = {part(s, d, e, i + 1), part(s, d, e, i)};
        return vn_layer_modulated_norm(s, name, x, &by, d->width, 0, eps, VN_FN_IDENTITY);
    }
    x = name ? vn_layer_rms_norm(s, name, x, d->width, eps) : vn_rms_norm(s, x, eps);
    return vn_add(s->g, vn_mul(s->g, x, vn_affine(s->g, token_part(s, d, e, i + 1), 1, 1)),
                  token_part(s, d, e, i));
}

/* Queries or keys x [N,T,width] before attention: each head is normed under `name` and rotated by
 * its position, if the config has these. */
static vn_node *prepare_heads(const vn_scope *s, const dit *d, const char *name, vn_node *x,
                              const vn_rope *rope) {
    const vn_dit_keys *c = &d->config;
    const int64_t head = c->attention_head_dim;
    if (!x || (c->qk_norm == VN_DIT_NO_NORM && !rope->cosine)) return x;
    vn_node *y = vn_reshape(
        s->g, x, VN_SHAPE(x->shape.dim[0], x->shape.dim[1], c->num_attention_heads, head));
    if (c->qk_norm == VN_DIT_LAYER_NORM) y = vn_layer_token_norm(s, name, y, head, MODULATED_EPS);
    if (c->qk_norm == VN_DIT_RMS_NORM) y = vn_layer_rms_norm(s, name, y, head, MODULATED_EPS);
    if (rope->cosine) y = vn_rope_rotate(s, y, rope);
    return vn_reshape(s->g, y, x->shape);
}

static vn_node *attention(const vn_scope *s, const dit *d, vn_node *x, const vn_rope *rope) {
    const vn_dit_keys *c = &d->config;
    vn_node *q = vn_layer_linear_if(s, "to_q", x, d->width, d->width, c->attention_bias);
    vn_node *k = vn_layer_linear_if(s, "to_k", x, d->width, d->width, c->attention_bias);
    vn_node *v = vn_layer_linear_if(s, "to_v", x, d->width, d->width, c->attention_bias);
    q = prepare_heads(s, d, "norm_q", q, rope);
    k = prepare_heads(s, d, "norm_k", k, rope);
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

#define HIDDEN 4 /* width of the hidden layer over that of a token */

static vn_node *feed_forward(const vn_scope *s, const dit *d, vn_node *x) {
    const int64_t hidden = HIDDEN * d->width;
    const activation *f = &d->act;
    if (!f->gated && f->slope == 1) {
        vn_node *h = vn_layer_linear_act(s, "net.0.proj", x, d->width, hidden, f->fn);
        return vn_layer_linear(s, "net.2", vn_layer_dropout(s, h, d->config.dropout), hidden,
                               d->width);
    }
    vn_node *h = vn_layer_linear(s, "net.0.proj", x, d->width, f->gated ? 2 * hidden : hidden);
    vn_node *gate = f->gated ? vn_slice(s->g, h, -1, hidden, hidden) : h;
    if (f->slope != 1) gate = vn_affine(s->g, gate, f->slope, 0);
    gate = vn_unary(s->g, gate, f->fn);
    if (f->slope != 1) gate = vn_affine(s->g, gate, 1 / f->slope, 0);
    h = f->gated ? vn_mul(s->g, vn_slice(s->g, h, -1, 0, hidden), gate) : gate;
    return vn_layer_linear(s, "net.2", vn_layer_dropout(s, h, d->config.dropout), hidden, d->width);
}

enum { SHIFT_1, SCALE_1, GATE_1, SHIFT_2, SCALE_2, GATE_2, MODULATIONS };

static vn_node *block(const vn_scope *s, const dit *d, vn_node *x, vn_node *c,
                      const vn_rope *rope) {
    vn_scope zero = vn_scope_in(s, "norm1"), attend = vn_scope_in(s, "attn1"),
             feed = vn_scope_in(s, "ff");
    zero.init = VN_LAYER_INIT_ZERO;
    vn_node *e = vn_layer_linear(&zero, "linear", c, d->width, MODULATIONS * d->width);
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        vn_node *a =
            attention(&attend, d, modulated_norm(s, d, NULL, x, MODULATED_EPS, e, SHIFT_1), rope);
        x = vn_mul_add(s->g, a, token_part(s, d, e, GATE_1), x);
    }
    const char *norm3 = d->config.norm_elementwise_affine ? "norm3" : NULL;
    vn_node *h =
        feed_forward(&feed, d, modulated_norm(s, d, norm3, x, d->config.norm_eps, e, SHIFT_2));
    return vn_mul_add(s->g, h, token_part(s, d, e, GATE_2), x);
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

static void build(const void *self, const vn_scope *root) {
    const dit *d = self;
    vn_scope from = *root;
    from.init = VN_LAYER_INIT_XAVIER;
    const vn_scope *s = &from;
    vn_node *sample = vn_scope_input(s, "sample");
    if (!check_size(s, d, sample)) return;
    const int64_t side = sample->shape.dim[1] / d->config.patch_size;
    condition given = {.time = vn_time_sinusoids(s, vn_scope_input(s, "timestep"), TIME_FEATURES,
                                                 true, TIME_SHIFT),
                       .label = vn_scope_input(s, "class_labels"),
                       .rope = rotations(s, d, side)};
    if (!given.label) given.label = vn_const(s->g, VN_I32, VN_SHAPE(1), &(int32_t){0});
    vn_node *x = with_registers(s, d, to_tokens(s, d, sample)), *first = NULL;
    for (int i = 0; i < d->config.num_layers; i++) {
        vn_scope at = vn_scope_in(s, "transformer_blocks.%d", i);
        at.layer = i;
        vn_node *c = embed(&at, d, &given);
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            x = vn_block_end(block(&at, d, x, c, &given.rope));
        if (i == 0) first = c;
    }
    x = without_registers(s, d, x);
    vn_scope zero = *s;
    zero.init = VN_LAYER_INIT_ZERO;
    const int64_t out = d->config.patch_size * d->config.patch_size * d->config.out_channels;
    vn_node *e = vn_layer_linear(&zero, "proj_out_1", first, d->width, 2 * d->width);
    x = modulated_norm(s, d, NULL, x, MODULATED_EPS, e, SHIFT_1);
    vn_scope_denoised(
        s, to_pixels(s, d, vn_layer_linear(&zero, "proj_out_2", x, d->width, out), side));
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
    .config = vn_dit_config,
    .open = open_dit,
    .close = vn_free,
    .build = build,
};
