/* unet_transformer.c - how the pixels of a U-Net attend to a text (2112.10752), as the blocks of
 * diffusers 0.42.1 have it. Transformer2DModel is a norm and a projection, then blocks over the
 * pixels as tokens x, with the text's tokens c,
 *
 *     x <- x + attention(norm x)            pixels to pixels, or only_cross: to the text
 *     x <- x + attention(norm x, c)
 *     x <- x + W (a gelu(b))                a, b = V norm x (GEGLU, 2002.05202)
 *
 * and a projection back, added to what came in. Attention with added keys: the text's tokens are
 * keys and values beside the pixels' own, in one softmax (2112.10741, 2205.11487).
 *
 * A guide perturbs the attention of pixels to pixels, and the sparse and the normalized kind
 * that to the text; without attention the transformers keep their feed-forward layers. */
#include "nn/unet.h"
#include "nn/transformer.h"

#include <math.h>

#define NORM_EPS       1e-6 /* of the norm before a transformer */
#define TOKEN_NORM_EPS 1e-5

static const vn_feed_forward geglu = {.fn = VN_FN_GELU, .slope = 1, .gated = true};

/* One transformer: its heads, the grid of its tokens, and the text. */
typedef struct transformer {
    vn_heads heads;
    int64_t width; /* of a token */
    const vn_unet_attention *how;
    const vn_unet_state *state; /* has the texts */
} transformer;

/* ---- the blocks of a transformer ------------------------------------------------------------- */

/* What queries q [N,HW,width] take from `text`, tokens of so many numbers. */
static vn_node *look_at(const vn_scope *s, const transformer *t, vn_node *q, vn_node *text,
                        vn_node *bias) {
    const int64_t width = t->how->context;
    vn_heads heads = t->heads;
    if (!text) return NULL;
    vn_node *k = vn_layer_linear_if(s, "to_k", text, width, t->width, false);
    vn_node *v = vn_layer_linear_if(s, "to_v", text, width, t->width, false);
    heads.bias = bias;
    return vn_cross_attention(s, q, k, v, &heads);
}

/* Attention of x [N,HW,width] to the text. */
static vn_node *attend_text(const vn_scope *s, const transformer *t, vn_node *x, vn_node *bias) {
    vn_node *q = vn_layer_linear_if(s, "to_q", x, t->width, t->width, false);
    vn_node *y = look_at(s, t, q, t->state->context, bias);
    y = vn_normalized_attention(
        s, y, look_at(s, t, q, t->state->negative, bias ? t->state->negative_bias : NULL));
    return vn_layer_linear(s, "to_out.0", y, t->width, t->width);
}

/* Attention of x to itself. */
static vn_node *attend(const vn_scope *s, const transformer *t, vn_node *x) {
    vn_heads heads = t->heads;
    vn_node *q = vn_layer_linear_if(s, "to_q", x, t->width, t->width, false);
    vn_node *k = vn_layer_linear_if(s, "to_k", x, t->width, t->width, false);
    vn_node *v = vn_layer_linear_if(s, "to_v", x, t->width, t->width, false);
    heads.dense = true;
    vn_node *y = vn_self_attention(s, q, k, v, &heads);
    return vn_layer_linear(s, "to_out.0", y, t->width, t->width);
}

static vn_node *block(const vn_scope *s, const transformer *t, vn_node *x) {
    const vn_scope own = vn_scope_in(s, "attn1"), cross = vn_scope_in(s, "attn2"),
                   feed = vn_scope_in(s, "ff");
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        vn_node *h = vn_layer_token_norm(s, "norm1", x, t->width, TOKEN_NORM_EPS);
        h = t->how->only_cross ? attend_text(&own, t, h, NULL) : attend(&own, t, h);
        x = vn_add(s->g, h, x);
        h = vn_layer_token_norm(s, "norm2", x, t->width, TOKEN_NORM_EPS);
        x = vn_add(s->g, attend_text(&cross, t, h, t->state->bias), x);
    }
    vn_node *h = vn_layer_token_norm(s, "norm3", x, t->width, TOKEN_NORM_EPS);
    return vn_block_end(vn_add(s->g, vn_layer_feed_forward(&feed, h, t->width, &geglu), x));
}

/* ---- Transformer2DModel ---------------------------------------------------------------------- */

/* proj_in or proj_out: a linear layer over tokens, or a 1x1 convolution over pixels, which is the
 * same but for the shape of its weight. */
static vn_node *project(const vn_scope *s, const vn_unet_style *u, const char *name, vn_node *x,
                        int64_t in, int64_t out) {
    return u->linear_projection ? vn_layer_linear(s, name, x, in, out)
                                : vn_layer_conv1(s, name, x, in, out, true);
}

vn_node *vn_unet_transformer(const vn_scope *s, const vn_unet_style *u, vn_node *x,
                             int64_t channels, int64_t groups, const vn_unet_attention *a,
                             int64_t depth, const vn_unet_state *state) {
    if (!x || vn_perturbed(s, VN_BLOCKS_SKIPPED, NULL)) return x;
    const int64_t n = x->shape.dim[0], rows = x->shape.dim[1], columns = x->shape.dim[2],
                  head = channels / a->heads, width = a->heads * head;
    if (head < 1)
        return vn_scope_fail(s, "attention_head_dim asks for %lld heads of its %lld channels",
                             (long long)a->heads, (long long)channels);
    const transformer t = {.heads = {.count = (int)a->heads,
                                     .scale = 1 / sqrt((double)head),
                                     .rows = rows,
                                     .columns = columns},
                           .width = width,
                           .how = a,
                           .state = state};
    vn_node *h = vn_layer_group_norm(s, "norm", x, channels, groups, NORM_EPS, VN_FN_IDENTITY);
    h = vn_reshape(s->g, project(s, u, "proj_in", h, channels, width),
                   VN_SHAPE(n, rows * columns, width));
    h = vn_shuffled_tokens(s, h, 0);
    for (int64_t i = 0; i < depth; i++) {
        const vn_scope at = vn_scope_in(s, "transformer_blocks.%lld", (long long)i);
        h = block(&at, &t, h);
    }
    h = vn_reshape(s->g, h, VN_SHAPE(n, rows, columns, width));
    return vn_block_end(vn_add(s->g, project(s, u, "proj_out", h, width, channels), x));
}

/* ---- attention with added keys --------------------------------------------------------------- */

#define CROSS_GROUPS 32 /* of the text's norm, where it is a GroupNorm */

/* The text before its projections. The GroupNorm is over a group's channels of all tokens. */
static vn_node *norm_text(const vn_scope *s, const vn_unet_style *u, int64_t channels,
                          int64_t context, vn_node *text) {
    if (!text || u->added_norm == VN_UNET_NORM_NONE) return text;
    /* as diffusers: the LayerNorm is of the pixels' channels, whatever the text's are */
    if (u->added_norm == VN_UNET_NORM_LAYER)
        return vn_layer_token_norm(s, "norm_cross", text, channels, TOKEN_NORM_EPS);
    const vn_shape shape = text->shape;
    vn_node *rows = vn_reshape(s->g, text, VN_SHAPE(shape.dim[0], shape.dim[1], 1, shape.dim[2]));
    rows = vn_layer_group_norm(s, "norm_cross", rows, context, CROSS_GROUPS, TOKEN_NORM_EPS,
                               VN_FN_IDENTITY);
    return vn_reshape(s->g, rows, shape);
}

/* Keys or values: the text's under `text_name`, and unless only_cross the pixels' own after
 * them. */
static vn_node *with_text(const vn_scope *s, const vn_unet_attention *a, vn_node *text,
                          vn_node *own, int64_t width, int64_t inner, const char *text_name,
                          const char *name) {
    vn_node *added = vn_layer_linear(s, text_name, text, a->context, inner);
    if (a->only_cross) return added;
    return vn_concat(s->g, 1, 2, (vn_node *[]){added, vn_layer_linear(s, name, own, width, inner)});
}

/* The text's bias, and 0 for `own` keys after it. */
static vn_node *widened(const vn_scope *s, vn_node *bias, int64_t own) {
    if (!bias || own == 0) return bias;
    return vn_place(s->g, bias, -1, 0, bias->shape.dim[3] + own);
}

vn_node *vn_unet_added_keys(const vn_scope *s, const vn_unet_style *u, vn_node *x, int64_t channels,
                            int64_t groups, const vn_unet_attention *a,
                            const vn_unet_state *state) {
    if (!x || vn_perturbed(s, VN_BLOCKS_SKIPPED, NULL) ||
        vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL))
        return x;
    const int64_t head = a->head_dim, heads = head ? channels / head : 0, inner = heads * head;
    const vn_shape image = x->shape;
    const int64_t pixels = image.dim[1] * image.dim[2];
    if (heads < 1)
        return vn_scope_fail(s, "attention_head_dim %lld is more than its %lld channels",
                             (long long)head, (long long)channels);
    /* of the text, and of the one to be led away from */
    vn_node *texts[2] = {state->context, state->negative}, *y[2] = {NULL};
    vn_node *const biases[2] = {state->bias, state->negative_bias};
    for (int i = 0; i < 2; i++) texts[i] = norm_text(s, u, channels, a->context, texts[i]);
    vn_node *h =
        vn_layer_group_norm(s, "group_norm", x, channels, groups, TOKEN_NORM_EPS, VN_FN_IDENTITY);
    h = vn_reshape(s->g, h, VN_SHAPE(image.dim[0], pixels, channels));
    vn_node *q = vn_layer_linear(s, "to_q", h, channels, inner);
    for (int i = 0; i < 2 && texts[i]; i++) {
        vn_node *k = with_text(s, a, texts[i], h, channels, inner, "add_k_proj", "to_k");
        vn_node *v = with_text(s, a, texts[i], h, channels, inner, "add_v_proj", "to_v");
        const vn_heads of = {.count = (int)heads,
                             .scale = 1 / sqrt((double)head),
                             .rows = image.dim[1],
                             .columns = image.dim[2],
                             .bias = widened(s, biases[i], a->only_cross ? 0 : pixels)};
        y[i] = vn_cross_attention(s, q, k, v, &of);
    }
    h = vn_normalized_attention(s, y[0], y[1]);
    h = vn_reshape(s->g, vn_layer_linear(s, "to_out.0", h, inner, channels), image);
    return vn_block_end(vn_add(s->g, h, x));
}
