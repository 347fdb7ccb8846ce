/* transformer.c - what transformers of images share: how wide tokens are, patches as tokens and
 * back, the sinusoidal positions of a grid of patches, the parts of a vector that modulates a block
 * (adaLN), the norm and the rotation of heads, and feed-forward layers. */
#include "nn/transformer.h"

#include <math.h>
#include <string.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

vn_status vn_token_width(const char *net, int64_t heads, int64_t head_dim, bool positions,
                         int64_t *width, vn_err *err) {
    *width = heads * head_dim;
    if (*width <= (int64_t)VN_MAX_SIZE && (!positions || *width % 4 == 0)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: num_attention_heads %lld of attention_head_dim %lld make tokens %lld wide; "
                   "%s %d",
                   net, (long long)heads, (long long)head_dim, (long long)*width,
                   positions ? "positions need a multiple of 4, up to" : "they may be up to",
                   (int)VN_MAX_SIZE);
}

/* ---- patches --------------------------------------------------------------------------------- */

vn_node *vn_layer_patches(const vn_scope *s, const char *name, vn_node *image, int64_t in,
                          int64_t width, int64_t patch) {
    const vn_conv conv = {
        .in = in, .out = width, .kernel = (int)patch, .stride = (int)patch, .bias = true};
    vn_node *x = vn_layer_conv(s, name, image, conv);
    if (!x) return NULL;
    const int64_t *d = x->shape.dim;
    return vn_reshape(s->g, x, VN_SHAPE(d[0], d[1] * d[2], width));
}

vn_node *vn_patch_pixels(const vn_scope *s, vn_node *x, int64_t rows, int64_t columns,
                         int64_t patch) {
    if (!x) return NULL;
    const int64_t n = x->shape.dim[0], channels = x->shape.dim[2] / (patch * patch);
    x = vn_reshape(s->g, x, VN_SHAPE(n, rows, columns, patch, patch, channels));
    x = vn_permute(s->g, x, (int[6]){0, 1, 3, 2, 4, 5});
    return vn_reshape(s->g, x, VN_SHAPE(n, rows * patch, columns * patch, channels));
}

/* Sines, then cosines, of position / 10000^(i/quarter): 2 * quarter numbers. */
static void encode_position(float *to, int64_t quarter, float position) {
    for (int64_t i = 0; i < quarter; i++) {
        const double angle = (double)position / pow(10000, (double)i / (double)quarter);
        to[i] = (float)sin(angle);
        to[quarter + i] = (float)cos(angle);
    }
}

void vn_patch_positions_fill(const vn_patch_grid *grid, int64_t width, float *to) {
    const int64_t half = width / 2, row = grid->columns * width;
    const size_t bytes = (size_t)half * sizeof *to;
    for (int64_t i = 0; i < grid->columns; i++)
        encode_position(to + i * width, half / 2, (float)i / grid->column_unit);
    for (int64_t i = 0; i < grid->rows; i++) {
        float *first = to + i * row;
        encode_position(first + half, half / 2, (float)i / grid->row_unit);
        for (int64_t k = 0; k < grid->columns; k++) {
            if (i) memcpy(first + k * width, to + k * width, bytes);
            if (k) memcpy(first + k * width + half, first + half, bytes);
        }
    }
}

vn_node *vn_patch_positions(const vn_scope *s, const vn_patch_grid *grid, int64_t width) {
    const int64_t tokens = grid->rows * grid->columns;
    float *numbers = vn_alloc((size_t)(tokens * width), sizeof *numbers);
    if (!numbers) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    vn_patch_positions_fill(grid, width, numbers);
    vn_node *all = vn_const(s->g, VN_F32, VN_SHAPE(1, tokens, width), numbers);
    vn_free(numbers);
    return all;
}

/* ---- modulation ------------------------------------------------------------------------------ */

vn_node *vn_part_of(const vn_scope *s, vn_node *e, int i, int64_t width) {
    return vn_slice(s->g, e, -1, i * width, width);
}

vn_node *vn_token_part(const vn_scope *s, vn_node *e, int i, int64_t width) {
    if (!e) return NULL;
    return vn_reshape(s->g, vn_part_of(s, e, i, width), VN_SHAPE(e->shape.dim[0], 1, width));
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* x [N,T,heads head_dim] as [N,T,heads,head_dim]. */
static vn_node *as_heads(const vn_scope *s, vn_node *x, const vn_head_style *h) {
    const int64_t *d = x->shape.dim;
    return vn_reshape(s->g, x, VN_SHAPE(d[0], d[1], h->heads, h->head_dim));
}

vn_node *vn_normed_heads(const vn_scope *s, const char *name, vn_node *x, const vn_head_style *h) {
    if (!x || h->norm == VN_NORM_NONE) return x;
    vn_node *y = as_heads(s, x, h);
    if (h->norm == VN_NORM_LAYER)
        y = vn_layer_token_norm(s, name, y, h->head_dim, VN_MODULATED_EPS);
    else if (h->norm == VN_NORM_LAYER_PLAIN)
        y = vn_layer_norm(s->g, y, NULL, NULL, false, VN_MODULATED_EPS);
    else
        y = vn_layer_rms_norm(s, name, y, h->head_dim, VN_MODULATED_EPS);
    return vn_reshape(s->g, y, x->shape);
}

vn_node *vn_rotated_heads(const vn_scope *s, vn_node *x, const vn_head_style *h,
                          const vn_rope *rope) {
    if (!x || !rope->cosine) return x;
    return vn_reshape(s->g, vn_rope_rotate(s, as_heads(s, x, h), rope), x->shape);
}

/* ---- feed-forward ---------------------------------------------------------------------------- */

#define HIDDEN 4 /* width of the hidden layer over that of a token */

vn_node *vn_layer_feed_forward(const vn_scope *s, vn_node *x, int64_t width,
                               const vn_feed_forward *f) {
    const int64_t hidden = HIDDEN * width;
    if (!f->gated && f->slope == 1) {
        vn_node *h = vn_layer_linear_act(s, "net.0.proj", x, width, hidden, f->fn);
        return vn_layer_linear(s, "net.2", vn_layer_dropout(s, h, f->dropout), hidden, width);
    }
    vn_halves h = {0};
    if (f->gated)
        h = vn_layer_linear_halves(s, "net.0.proj", x, width, hidden);
    else
        h.second = vn_layer_linear(s, "net.0.proj", x, width, hidden);
    vn_node *y = h.second;
    if (f->slope != 1) y = vn_affine(s->g, y, f->slope, 0);
    y = vn_unary(s->g, y, f->fn);
    if (f->slope != 1) y = vn_affine(s->g, y, 1 / f->slope, 0);
    if (f->gated) y = vn_mul(s->g, h.first, y);
    return vn_layer_linear(s, "net.2", vn_layer_dropout(s, y, f->dropout), hidden, width);
}
