/* text_dit.c - a diffusion transformer of texts, small enough to be trained from nothing: the
 * tokens of a text and the patches of an image are two streams with weights of their own, which
 * meet in attention over both (MMDiT, arXiv 2403.03206). A stream x of a block is
 *
 *     c = MLP(sinusoids(t)) + MLP(mean of the text's tokens)     for all blocks
 *     b1, s1, g1, b2, s2, g2 = W silu(c)                         of its own W (adaLN)
 *     x <- x + g1 attention(norm(x) (1 + s1) + b1)
 *     x <- x + g2 feed_forward(norm(x) (1 + s2) + b2)
 *
 * where queries and keys of each head pass through an RMSNorm (arXiv 2302.05442), and tokens
 * that only fill a text up are seen by nothing. In the last block the text has keys and values
 * alone. Weights begin as those of a DiT: W and the last layer at zero, so that each block
 * begins as the identity and the output as 0. A text to be led away from (NAG, arXiv 2505.21179)
 * is a third stream with the text's weights and c, as in joint.c. Names are those of diffusers'
 * SD3Transformer2DModel, which has neither the mask nor the mean. Config class
 * "VaneTextTransformer2DModel". */
#include "nn/text_dit.h"
#include "nn/transformer.h"

#include <math.h>

static const char net_name[] = "text-dit";

const vn_text_dit_keys vn_text_dit_defaults = {.num_attention_heads = 4,
                                               .attention_head_dim = 32,
                                               .in_channels = 3,
                                               .num_layers = 6,
                                               .sample_size = {32, 32},
                                               .patch_size = 4,
                                               .joint_attention_dim = 128};

#define MAX_TOKENS (INT64_C(1) << 20) /* patches of an image */

#define KEY(kind, member) VN_CONFIG_KEY(vn_text_dit_keys, kind, member)
/* clang-format off */
const vn_field vn_text_dit_fields[] = {
    VN_TRANSFORMER_FIELDS(vn_text_dit_keys, VN_MAX_SIZE, 1),
    /* kind, key             null   min max         choices null is */
    {KEY(NUMBER, dropout),   false, 0, 0.999,       NULL,   0},
    {KEY(SIZE, sample_size), false, 1, VN_MAX_SIZE, NULL,   0},
    VN_PATCH_FIELD(vn_text_dit_keys),
    VN_TOKENS_FIELD(vn_text_dit_keys),
};
/* clang-format on */
const size_t vn_text_dit_field_count = VN_COUNT(vn_text_dit_fields);

typedef struct text_dit {
    vn_text_dit_keys config;
    int64_t width;
} text_dit;

/* ---- its config ------------------------------------------------------------------------------ */

static vn_status check_sides(const vn_text_dit_keys *c, vn_err *err) {
    for (int i = 0; i < 2; i++)
        if (c->sample_size[i] % c->patch_size)
            return vn_fail(err, VN_BAD_FILE,
                           "%s: sample_size %lld x %lld does not divide into patches of %lld",
                           net_name, (long long)c->sample_size[0], (long long)c->sample_size[1],
                           (long long)c->patch_size);
    return VN_OK;
}

static void set_io(const text_dit *d, vn_net_io *io) {
    const vn_text_dit_keys *c = &d->config;
    *io = (vn_net_io){.height = c->sample_size[0],
                      .width = c->sample_size[1],
                      .multiple = c->patch_size,
                      .perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR |
                                       VN_ATTENTION_SPARSE | VN_ATTENTION_SKIPPED |
                                       VN_BLOCKS_SKIPPED | VN_ATTENTION_NORMALIZED,
                      .layers = (int)c->num_layers,
                      .middle = (int)(c->num_layers - 1) / 2};
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, 0);
    vn_net_add_input(
        io, (vn_port){.name = "encoder_hidden_states",
                      .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, c->joint_attention_dim),
                      .features = true});
    vn_net_add_input(io, (vn_port){.name = "encoder_attention_mask",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .below = 2,
                                   .optional = true,
                                   .missing = 1});
    vn_net_add_denoised(io, c->out_channels);
}

static vn_status open_text_dit(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    text_dit *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    vn_text_dit_keys *c = &d->config;
    *c = vn_text_dit_defaults;
    vn_status status =
        vn_config_read(config, net_name, vn_text_dit_fields, vn_text_dit_field_count, c, err);
    if (!c->out_channels) c->out_channels = c->in_channels;
    if (!status)
        status = vn_token_width(net_name, c->num_attention_heads, c->attention_head_dim, true,
                                &d->width, err);
    if (!status) status = check_sides(c, err);
    if (status) {
        vn_free(d);
        return status;
    }
    set_io(d, io);
    *self = d;
    return VN_OK;
}

/* ---- tokens and pixels ----------------------------------------------------------------------- */

/* The grid of patches. */
typedef struct grid {
    int64_t n, rows, columns;
} grid;

/* [N,H,W,C] to tokens [N,rows*columns,width] with the sinusoids of their places. */
static vn_node *to_tokens(const vn_scope *s, const text_dit *d, vn_node *image, const grid *g) {
    const vn_text_dit_keys *c = &d->config;
    const vn_scope at = vn_scope_in(s, "pos_embed");
    const vn_patch_grid places = {g->rows, g->columns, 1, 1};
    vn_node *x = vn_layer_patches(&at, "proj", image, c->in_channels, d->width, c->patch_size);
    return vn_add(s->g, x, vn_patch_positions(&at, &places, d->width));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

enum { SHIFT_1, SCALE_1, GATE_1, SHIFT_2, SCALE_2, GATE_2, MODULATIONS };

/* What all blocks share. */
typedef struct shared {
    const text_dit *d;
    vn_node *c;             /* [N,width] what time and text say */
    vn_node *bias;          /* [N,1,1,text+patches] hides what fills the texts up */
    vn_node *negative_bias; /* the same of the text to be led away from */
    grid grid;
} shared;

/* The streams of a block; negative NULL: there is no text to be led away from. */
typedef struct streams {
    vn_node *text, *image, *negative;
} streams;

/* W silu(c), in `parts` widths. */
static vn_node *modulations(const vn_scope *s, const char *name, const shared *h, int parts) {
    return vn_joint_modulation(s, name, h->c, h->d->width, parts);
}

static vn_node *modulated(const vn_scope *s, const shared *h, vn_node *x, vn_node *e, int shift) {
    return vn_joint_norm(s, x, e, shift, shift + 1, h->d->width);
}

/* Queries or keys of a stream, each head normed. */
static vn_node *heads(const vn_scope *s, const text_dit *d, const char *layer, const char *norm,
                      vn_node *x) {
    const vn_head_style style = {d->config.num_attention_heads, d->config.attention_head_dim,
                                 VN_NORM_RMS};
    return vn_normed_heads(s, norm, vn_layer_linear(s, layer, x, d->width, d->width), &style);
}

/* The text's tokens, then the image's. */
static vn_node *join(const vn_scope *s, vn_node *text, vn_node *image) {
    vn_node *both[2] = {text, image};
    return vn_concat(s->g, 1, 2, both);
}

typedef struct projections {
    vn_node *q, *k, *v;
} projections;

/* What the image's tokens, and those of a text unless it has no queries, take from both. Of
 * perturbations the identity leaves the text's queries as they are. */
static streams meet(const vn_scope *s, const shared *h, const projections *text,
                    const projections *image, vn_node *bias) {
    const text_dit *d = h->d;
    if (!text->k || !image->q) return (streams){0};
    const int64_t tokens = text->k->shape.dim[1], patches = h->grid.rows * h->grid.columns;
    vn_node *k = join(s, text->k, image->k), *v = join(s, text->v, image->v);
    const vn_heads how = {.count = (int)d->config.num_attention_heads,
                          .scale = 1 / sqrt((double)d->config.attention_head_dim),
                          .bias = bias,
                          .prefix = text->q ? tokens : 0,
                          .rows = h->grid.rows,
                          .columns = h->grid.columns};
    vn_scope plain = *s;
    static const vn_perturb none[VN_NET_PERTURBS] = {{0}};
    plain.perturb = none;
    if (vn_perturbed(s, VN_ATTENTION_IDENTITY, NULL))
        return (streams){.image = image->v,
                         .text = text->q ? vn_self_attention(&plain, text->q, k, v, &how) : NULL};
    vn_node *y = vn_self_attention(s, text->q ? join(s, text->q, image->q) : image->q, k, v, &how);
    if (!text->q) return (streams){.image = y};
    return (streams){.image = vn_slice(s->g, y, 1, tokens, patches),
                     .text = vn_slice(s->g, y, 1, 0, tokens)};
}

/* Attention of the tokens of all streams; in the last block texts have no queries. Weights have
 * their numbers in the order in which they are named here. */
static streams attend(const vn_scope *s, const shared *h, bool last, const streams *x) {
    const text_dit *d = h->d;
    vn_node *const texts[2] = {x->text, x->negative};
    projections image, text[2] = {{0}};
    image.q = heads(s, d, "to_q", "norm_q", x->image);
    for (int i = 0; i < 2 && !last; i++)
        if (texts[i]) text[i].q = heads(s, d, "add_q_proj", "norm_added_q", texts[i]);
    image.k = heads(s, d, "to_k", "norm_k", x->image);
    for (int i = 0; i < 2; i++)
        if (texts[i]) text[i].k = heads(s, d, "add_k_proj", "norm_added_k", texts[i]);
    image.v = vn_layer_linear(s, "to_v", x->image, d->width, d->width);
    for (int i = 0; i < 2; i++)
        if (texts[i]) text[i].v = vn_layer_linear(s, "add_v_proj", texts[i], d->width, d->width);
    streams y = meet(s, h, &text[0], &image, h->bias);
    if (!x->negative) return y;
    const streams other = meet(s, h, &text[1], &image, h->negative_bias);
    y.image = vn_normalized_attention(s, y.image, other.image);
    y.negative = other.text;
    return y;
}

static vn_node *feed_forward(const vn_scope *s, const char *name, const text_dit *d, vn_node *x) {
    const vn_scope at = vn_scope_in(s, "%s", name);
    const vn_feed_forward how = {.fn = VN_FN_GELU_TANH, .slope = 1, .dropout = d->config.dropout};
    return vn_layer_feed_forward(&at, x, d->width, &how);
}

/* The end of a stream's block: what attention gave it is y. */
static vn_node *finish(const vn_scope *s, const shared *h, const char *out, const char *feed,
                       vn_node *x, vn_node *y, vn_node *e) {
    const vn_scope at = vn_scope_in(s, "attn");
    if (y) {
        y = vn_layer_linear(&at, out, y, h->d->width, h->d->width);
        y = vn_layer_dropout(s, y, h->d->config.dropout);
        x = vn_mul_add(s->g, y, vn_token_part(s, e, GATE_1, h->d->width), x);
    }
    y = feed_forward(s, feed, h->d, modulated(s, h, x, e, SHIFT_2));
    return vn_block_end(vn_mul_add(s->g, y, vn_token_part(s, e, GATE_2, h->d->width), x));
}

static void block(const vn_scope *s, const shared *h, bool last, streams *x) {
    const vn_scope at = vn_scope_in(s, "attn");
    vn_node *e = modulations(s, "norm1", h, MODULATIONS),
            *e_text = modulations(s, "norm1_context", h, last ? 2 : MODULATIONS);
    streams a = {0};
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        const streams normed = {
            .image = modulated(s, h, x->image, e, SHIFT_1),
            .text = modulated(s, h, x->text, e_text, SHIFT_1),
            .negative = x->negative ? modulated(s, h, x->negative, e_text, SHIFT_1) : NULL};
        a = attend(&at, h, last, &normed);
    }
    x->image = finish(s, h, "to_out.0", "ff", x->image, a.image, e);
    if (last) return;
    x->text = finish(s, h, "to_add_out", "ff_context", x->text, a.text, e_text);
    if (x->negative)
        x->negative = finish(s, h, "to_add_out", "ff_context", x->negative, a.negative, e_text);
}

/* ---- the network ----------------------------------------------------------------------------- */

static bool check_size(const vn_scope *s, const text_dit *d, const vn_node *sample) {
    if (!sample) return false;
    const int64_t patch = d->config.patch_size,
                  patches = sample->shape.dim[1] / patch * (sample->shape.dim[2] / patch);
    if (patches <= MAX_TOKENS) return true;
    vn_scope_fail(s, "images of %lld x %lld make %lld tokens; it takes up to %lld",
                  (long long)sample->shape.dim[1], (long long)sample->shape.dim[2],
                  (long long)patches, (long long)MAX_TOKENS);
    return false;
}

/* What time and text say. */
static vn_node *condition(const vn_scope *s, const text_dit *d, vn_node *text, vn_node *seen) {
    const vn_scope at = vn_scope_in(s, "time_text_embed");
    vn_node *time =
        vn_joint_embed_number(s, "timestep_embedder", vn_scope_input(s, "timestep"), d->width);
    vn_node *mean = vn_time_embedding(&at, "text_embedder", vn_token_mean(s, text, seen),
                                      d->config.joint_attention_dim, d->width);
    return vn_add(s->g, time, mean);
}

/* [N,1,1,T]: 0 of the image's tokens and of those of the text that are seen. */
static vn_node *bias_of(const vn_scope *s, vn_node *seen, const grid *g) {
    vn_node *patches = vn_fill(s->g, VN_SHAPE(g->n, g->rows * g->columns), 1),
            *both[2] = {seen, patches};
    return vn_key_bias(s, vn_concat(s->g, 1, 2, both));
}

static void build(const void *self, const vn_scope *root) {
    static const float table[2] = {0, 1};
    static const char states[] = "encoder_hidden_states";
    const text_dit *d = self;
    const int64_t patch = d->config.patch_size, wide = d->config.joint_attention_dim;
    vn_scope from = *root;
    from.init = VN_LAYER_INIT_XAVIER;
    const vn_scope *s = &from;
    vn_node *sample = vn_scope_input(s, "sample"), *words = vn_scope_text(s, states, 1),
            *negative = vn_scope_negative(s, states, 1);
    if (!words || !check_size(s, d, sample)) return;
    shared h = {
        .d = d,
        .grid = {sample->shape.dim[0], sample->shape.dim[1] / patch, sample->shape.dim[2] / patch}};
    const int64_t own = words->shape.dim[1];
    vn_node *all = vn_look_up(s, table, 2, vn_scope_input(s, "encoder_attention_mask")),
            *seen = negative ? vn_slice(s->g, all, 1, 0, own) : all;
    h.c = condition(s, d, words, seen);
    h.bias = bias_of(s, seen, &h.grid);
    streams x = {.image = to_tokens(s, d, sample, &h.grid),
                 .text = vn_layer_linear(s, "context_embedder", words, wide, d->width)};
    if (negative) {
        h.negative_bias = bias_of(s, vn_slice(s->g, all, 1, own, s->negative), &h.grid);
        x.negative = vn_layer_linear(s, "context_embedder", negative, wide, d->width);
    }
    for (int i = 0; i < d->config.num_layers; i++) {
        vn_scope at = vn_scope_in(s, "transformer_blocks.%d", i);
        at.layer = i;
        if (!vn_perturbed(&at, VN_BLOCKS_SKIPPED, NULL))
            block(&at, &h, i == d->config.num_layers - 1, &x);
    }
    vn_node *image = x.image;
    vn_scope zero = *s;
    zero.init = VN_LAYER_INIT_ZERO;
    vn_node *e = modulations(s, "norm_out", &h, 2);
    image = modulated(s, &h, image, e, SHIFT_1);
    image =
        vn_layer_linear(&zero, "proj_out", image, d->width, patch * patch * d->config.out_channels);
    vn_scope_denoised(s, vn_patch_pixels(s, image, h.grid.rows, h.grid.columns, patch));
}

const vn_net_row vn_text_dit_net = {
    .row = {.name = net_name,
            .summary = "diffusion transformer of texts, to be trained with a text encoder on "
                       "images with captions",
            .source = "arXiv 2403.03206",
            .params = vn_text_dit_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "VaneTextTransformer2DModel",
    .folder = "transformer",
    .takes_texts = true,
    .habits = {.optimizer = "muon", .lr = 4e-3, .batch = 32},
    .config = vn_text_dit_config,
    .open = open_text_dit,
    .close = vn_free,
    .build = build,
};
