/* perturb.c - perturbations of the network: attention is changed so that a guide can compare the
 * network's prediction with that of the perturbed one. Weights stay as they are; what a
 * perturbation leaves out is not computed.
 *
 *   identity  out = v: PAG (2403.17377); of an image beside a text, each of the image's tokens sees
 *             itself and the text, as in diffusers' pipelines with PAG for SD3
 *   blur      the queries of the grid of tokens are blurred by a Gaussian with mirrored edges: SEG
 *             (2408.00760)
 *   sparse    dense + amount (sparse - dense), sparse by alpha-entmax of alpha 1.5: PLADIS
 *             (2503.07677)
 *   shuffled  a layer's tokens come in another order, and stay in it: TPG (2506.10036). Before
 *             attention in a U-Net; the image that is added to what attention gives is not moved
 *   normalized  what the image's tokens take from a text is led away from what they take from
 *             another one, and kept near its length: NAG (2505.21179)
 *   extrapolated  not of attention: the answer is led away from that of an inner place: internal
 *             guidance (2512.24176)
 *
 * The blur is that of the paper's code, with its kernel size (diffusers 0.42.1 exchanges the two
 * cases of its sigma). The paper of PLADIS changes cross-attention to a text, and so does this
 * where a network has it; where it has self-attention only, that is changed. */
#include "nn/internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

bool vn_perturbed(const vn_scope *s, vn_perturbation kind, double *amount) {
    for (int i = 0; i < VN_NET_PERTURBS; i++) {
        const vn_perturb *d = &s->perturb[i];
        if (d->kind != kind || s->layer < d->first || s->layer > d->last) continue;
        if (amount) *amount = d->amount;
        return true;
    }
    return false;
}

vn_node *vn_extrapolated(const vn_scope *s, vn_node *inner, vn_node *y) {
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        if (s->perturb[i].kind == VN_ANSWER_EXTRAPOLATED)
            y = vn_add(s->g, inner,
                       vn_affine(s->g, vn_sub(s->g, y, inner), s->perturb[i].amount, 0));
    return y;
}

/* ---- blur ------------------------------------------------------------------------------------ */

/* Position i of a line of n that is mirrored at both ends without repeating them; n > 1 unless
 * i = 0. */
static int64_t mirrored(int64_t i, int64_t n) {
    if (i < 0) return -i;
    return i < n ? i : 2 * (n - 1) - i;
}

/* b [n,n]: row i has the weights of all positions in the blurred position i. */
static void fill_blur(float *b, int64_t n, double sigma) {
    const int64_t size = (int64_t)ceil(6 * sigma), odd = size + 1 - size % 2,
                  largest = n - (n % 2 - 1);
    const int64_t half = ((odd < largest ? odd : largest) - 1) / 2;
    double sum = 0;
    for (int64_t k = -half; k <= half; k++) sum += exp(-0.5 * (double)(k * k) / (sigma * sigma));
    memset(b, 0, (size_t)(n * n) * sizeof *b);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = -half; k <= half; k++)
            b[i * n + mirrored(i + k, n)] +=
                (float)(exp(-0.5 * (double)(k * k) / (sigma * sigma)) / sum);
}

/* The blur of x [.., n, inner] along n, as matrices [A, n, inner]. */
static vn_node *blur_axis(const vn_scope *s, vn_node *x, int64_t n, int64_t inner, double sigma) {
    if (!x || n == 1) return x;
    float *matrix = vn_alloc((size_t)(n * n), sizeof *matrix);
    if (!matrix) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    fill_blur(matrix, n, sigma);
    vn_node *b = vn_const(s->g, VN_F32, VN_SHAPE(n, n), matrix);
    vn_free(matrix);
    /* [A,inner,n] */
    vn_node *y = vn_matmul(s->g, vn_reshape(s->g, x, VN_SHAPE(-1, n, inner)), b, true, true);
    return vn_permute(s->g, y, (int[3]){0, 2, 1});
}

static vn_node *mean_of_tokens(const vn_scope *s, vn_node *x) {
    const int64_t *d = x->shape.dim;
    vn_node *sum = vn_sum_to(s->g, x, VN_SHAPE(d[0], 1, d[2]));
    return vn_broadcast(s->g, vn_affine(s->g, sum, 1 / (double)d[1], 0), x->shape);
}

static vn_node *blurred_grid(const vn_scope *s, vn_node *q, const vn_heads *h, double sigma) {
    if (!q) return NULL;
    if (sigma >= VN_BLUR_INFINITE) return mean_of_tokens(s, q);
    const int64_t width = q->shape.dim[2];
    vn_node *y = blur_axis(s, q, h->columns, width, sigma);
    return vn_reshape(s->g, blur_axis(s, y, h->rows, h->columns * width, sigma), q->shape);
}

/* The blur of q [B,T,C] over the grid; tokens before the grid stay as they are. */
static vn_node *blurred(const vn_scope *s, vn_node *q, const vn_heads *h, double sigma) {
    if (!h->prefix) return blurred_grid(s, q, h, sigma);
    vn_node *part[2] = {
        vn_slice(s->g, q, 1, 0, h->prefix),
        blurred_grid(s, vn_slice(s->g, q, 1, h->prefix, h->rows * h->columns), h, sigma)};
    return vn_concat(s->g, 1, 2, part);
}

/* ---- sparse ---------------------------------------------------------------------------------- */

/* [B,T,C] to [B,heads,T,C/heads]. */
static vn_node *split(const vn_scope *s, vn_node *x, int heads) {
    const int64_t *d = x->shape.dim;
    return vn_permute(s->g, vn_reshape(s->g, x, VN_SHAPE(d[0], d[1], heads, d[2] / heads)),
                      (int[4]){0, 2, 1, 3});
}

/* Attention by entmax: it holds the scores of all queries and keys, [B,heads,Tq,Tk]. */
static vn_node *sparse(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v, const vn_heads *h) {
    if (!q || !k || !v) return NULL;
    vn_node *scores = vn_matmul(s->g, split(s, q, h->count), split(s, k, h->count), false, true);
    scores = vn_affine(s->g, scores, h->scale, 0);
    if (h->bias) scores = vn_add(s->g, scores, h->bias);
    vn_node *p = vn_entmax15(s->g, scores);
    vn_node *y = vn_matmul(s->g, p, split(s, v, h->count), false, false);
    return vn_reshape(s->g, vn_permute(s->g, y, (int[4]){0, 2, 1, 3}), q->shape);
}

/* ---- identity -------------------------------------------------------------------------------- */

/* Attention in which a token of the grid sees itself and the text before the grid alone. */
static vn_node *identity_beside_text(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v,
                                     const vn_heads *h) {
    if (!q || !k || !v) return NULL;
    const int64_t n = q->shape.dim[1];
    float *bias = vn_calloc((size_t)(n * n), sizeof *bias);
    if (!bias) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = h->prefix; i < n; i++)
        for (int64_t j = h->prefix; j < n; j++) bias[i * n + j] = i == j ? 0 : -INFINITY;
    const vn_attention_options how = {.heads = h->count,
                                      .scale = h->scale,
                                      .has_bias = true,
                                      .bias = vn_const(s->g, VN_F32, VN_SHAPE(1, 1, n, n), bias)};
    vn_free(bias);
    return vn_attention_of(s->g, q, k, v, &how);
}

/* ---- normalized ------------------------------------------------------------------------------ */

/* The sum of sizes over the last axis, [N,T,1]. */
static vn_node *length_of(const vn_scope *s, vn_node *z) {
    const vn_shape one = VN_SHAPE(z->shape.dim[0], z->shape.dim[1], 1);
    return vn_sum_to(s->g, vn_unary(s->g, z, VN_FN_ABS), one);
}

/* With the paper's phi, tau and alpha: z' = z + (phi - 1) (z - other), f = min(1, tau |z|/|z'|) by
 * the 1-norm of each token, z + alpha (f z' - z). Where both are the same, it is z to the bit. */
vn_node *vn_normalized_attention(const vn_scope *s, vn_node *z, vn_node *other) {
    const vn_perturb *d = NULL;
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        if (s->perturb[i].kind == VN_ATTENTION_NORMALIZED && s->layer >= s->perturb[i].first &&
            s->layer <= s->perturb[i].last)
            d = &s->perturb[i];
    if (!d || !z || !other) return z;
    vn_node *far = vn_add(s->g, z, vn_affine(s->g, vn_sub(s->g, z, other), d->amount - 1, 0));
    if (!far) return NULL;
    /* 1 - relu(1 - r) is min(1, r); the least number keeps 0/0 from being asked for */
    vn_node *r = vn_div(s->g, vn_affine(s->g, length_of(s, z), d->limit, 0),
                        vn_affine(s->g, length_of(s, far), 1, (double)FLT_MIN));
    vn_node *f = vn_affine(s->g, vn_unary(s->g, vn_affine(s->g, r, -1, 1), VN_FN_RELU), -1, 1);
    return vn_add(s->g, z, vn_affine(s->g, vn_sub(s->g, vn_mul(s->g, far, f), z), d->part, 0));
}

/* ---- order of tokens ------------------------------------------------------------------------- */

#define ORDER_SEED 0x547047 /* of all orders that there are */

void vn_token_order(int64_t n, double which, int64_t *order) {
    vn_random_permutation(order, n, ORDER_SEED, VN_STREAM_GUIDE, (uint64_t)which);
}

vn_node *vn_shuffled_tokens(const vn_scope *s, vn_node *x, int64_t prefix) {
    double which = 0;
    if (!x || !vn_perturbed(s, VN_TOKENS_SHUFFLED, &which)) return x;
    const int64_t samples = x->shape.dim[0], tokens = x->shape.dim[1], n = tokens - prefix;
    int64_t *order = vn_alloc((size_t)n, sizeof *order);
    int32_t *from = vn_alloc((size_t)(samples * tokens), sizeof *from);
    vn_node *index = NULL;
    if (order && from) {
        vn_token_order(n, which, order);
        for (int64_t i = 0; i < samples * tokens; i++) {
            const int64_t token = i % tokens;
            from[i] =
                (int32_t)(i - token + (token < prefix ? token : prefix + order[token - prefix]));
        }
        index = vn_const(s->g, VN_I32, VN_SHAPE(samples, tokens), from);
    }
    vn_free(order);
    vn_free(from);
    if (!order || !from) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    return vn_embedding(s->g, vn_reshape(s->g, x, VN_SHAPE(samples * tokens, x->shape.dim[2])),
                        index);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Dense attention, moved towards the sparse one where that is asked for. */
static vn_node *attend(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v, const vn_heads *h) {
    double amount = 0;
    const vn_attention_options how = {
        .heads = h->count, .scale = h->scale, .has_bias = h->bias != NULL, .bias = h->bias};
    vn_node *dense = vn_attention_of(s->g, q, k, v, &how);
    if (h->dense || !vn_perturbed(s, VN_ATTENTION_SPARSE, &amount)) return dense;
    return vn_add(s->g, dense,
                  vn_affine(s->g, vn_sub(s->g, sparse(s, q, k, v, h), dense), amount, 0));
}

vn_node *vn_self_attention(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v,
                           const vn_heads *h) {
    double amount = 0;
    const bool identity = vn_perturbed(s, VN_ATTENTION_IDENTITY, NULL);
    if (identity && !h->text) return v;
    vn_graph_label(s->g, "%s", s->path);
    if (identity) return identity_beside_text(s, q, k, v, h);
    if (vn_perturbed(s, VN_ATTENTION_BLUR, &amount)) q = blurred(s, q, h, amount);
    return attend(s, q, k, v, h);
}

vn_node *vn_cross_attention(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v,
                            const vn_heads *h) {
    vn_graph_label(s->g, "%s", s->path);
    return attend(s, q, k, v, h);
}
