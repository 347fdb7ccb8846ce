/* rope.c - rotary positions (RoPE, arXiv 2104.09864) of tokens with positions on one or several
 * axes. Each axis rotates its own part of a head, in pairs: pair k of the d elements of an axis is
 * rotated by the angle
 *
 *     position / theta^(2k / d)
 *
 * so that the product of a query and a key depends on the difference of their positions. A pair is
 * two neighbours, as in diffusers' FluxPosEmbed with apply_rotary_emb, or elements k and k + d/2,
 * as in transformers' Llama. A rotated pair is (a, b) cos + (-b, a) sin: one op, vn_rotate, unless
 * several axes have halves, whose map to (-b, a) is a product with a small matrix of zeros and ones
 * instead. */
#include "nn/transformer.h"

#include <math.h>

/* For element i of the `dim` that an axis rotates: the pair that it belongs to, and its partner in
 * that pair. */
static int64_t pair_of(const vn_rope_axes *a, int64_t dim, int64_t i) {
    return a->split_halves ? i % (dim / 2) : i / 2;
}

static int64_t partner_of(const vn_rope_axes *a, int64_t dim, int64_t i) {
    return a->split_halves ? (i + dim / 2) % dim : i ^ 1;
}

/* What a position on an axis is divided by for element i of its part. */
static double wavelength(const vn_rope_axes *a, int axis, int64_t i) {
    const int64_t dim = a->dims[axis];
    return pow(a->theta, (double)(2 * pair_of(a, dim, i)) / (double)dim);
}

void vn_rope_angles(const vn_rope_axes *a, const float *position, float *cosine, float *sine) {
    for (int axis = 0; axis < a->axes; axis++) {
        for (int64_t i = 0; i < a->dims[axis]; i++) {
            const double angle = (double)position[axis] / wavelength(a, axis, i);
            *cosine++ = (float)cos(angle);
            *sine++ = (float)sin(angle);
        }
    }
}

static int64_t head_dim_of(const vn_rope_axes *a) {
    int64_t head_dim = 0;
    for (int axis = 0; axis < a->axes; axis++) head_dim += a->dims[axis];
    return head_dim;
}

/* The weight of a linear map that takes each pair (a, b) to (-b, a). */
static vn_node *pair_rotation(const vn_scope *s, const vn_rope_axes *a) {
    const int64_t head_dim = head_dim_of(a);
    float *weight = vn_calloc((size_t)(head_dim * head_dim), sizeof *weight);
    if (!weight) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    int64_t first = 0;
    for (int axis = 0; axis < a->axes; first += a->dims[axis++])
        for (int64_t i = 0; i < a->dims[axis]; i++) {
            const int64_t partner = partner_of(a, a->dims[axis], i);
            weight[(first + i) * head_dim + first + partner] = i < partner ? -1 : 1;
        }
    vn_node *node = vn_const(s->g, VN_F32, VN_SHAPE(head_dim, head_dim), weight);
    vn_free(weight);
    return node;
}

static void set_pairs(const vn_scope *s, const vn_rope_axes *a, vn_rope *rope) {
    rope->halves = a->split_halves;
    if (a->split_halves && a->axes > 1) rope->pair_rotation = pair_rotation(s, a);
}

vn_rope vn_rope_of(const vn_scope *s, const vn_rope_axes *a) {
    const int64_t head_dim = head_dim_of(a);
    float *cosine = vn_alloc((size_t)(a->tokens * head_dim), sizeof *cosine);
    float *sine = vn_alloc((size_t)(a->tokens * head_dim), sizeof *sine);
    vn_rope rope = {0};
    if (cosine && sine) {
        for (int64_t t = 0; t < a->tokens; t++)
            vn_rope_angles(a, a->position + t * a->axes, cosine + t * head_dim,
                           sine + t * head_dim);
        vn_graph_label(s->g, "rope");
        rope.cosine = vn_const(s->g, VN_F32, VN_SHAPE(1, a->tokens, 1, head_dim), cosine);
        rope.sine = vn_const(s->g, VN_F32, VN_SHAPE(1, a->tokens, 1, head_dim), sine);
        set_pairs(s, a, &rope);
    } else {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    }
    vn_free(cosine);
    vn_free(sine);
    return rope;
}

vn_rope vn_rope_2d(const vn_scope *s, int64_t prefix, int64_t rows, int64_t columns,
                   float tokens_per_unit, int64_t head_dim, double theta) {
    const int64_t tokens = prefix + rows * columns, dims[2] = {head_dim / 2, head_dim / 2};
    float *position = vn_calloc((size_t)(2 * tokens), sizeof *position);
    if (!position) {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
        return (vn_rope){0};
    }
    for (int64_t t = prefix; t < tokens; t++) {
        const int64_t row = (t - prefix) / columns, column = (t - prefix) % columns;
        position[2 * t] = (float)row / tokens_per_unit;
        position[2 * t + 1] = (float)column / tokens_per_unit;
    }
    const vn_rope_axes axes = {
        .tokens = tokens, .axes = 2, .position = position, .dims = dims, .theta = theta};
    const vn_rope rope = vn_rope_of(s, &axes);
    vn_free(position);
    return rope;
}

/* [axes,head_dim]: the angles of a head are a token's positions times this. */
static vn_node *frequencies(const vn_scope *s, const vn_rope_axes *a, int64_t head_dim) {
    float *numbers = vn_calloc((size_t)(a->axes * head_dim), sizeof *numbers), *to = numbers;
    if (!numbers) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int axis = 0; axis < a->axes; axis++, to += head_dim)
        for (int64_t i = 0; i < a->dims[axis]; i++) *to++ = (float)(1 / wavelength(a, axis, i));
    vn_node *node = vn_const(s->g, VN_F32, VN_SHAPE(a->axes, head_dim), numbers);
    vn_free(numbers);
    return node;
}

vn_rope vn_rope_by(const vn_scope *s, vn_node *position, const vn_rope_axes *a) {
    if (!position) return (vn_rope){0};
    const int64_t head_dim = head_dim_of(a);
    const vn_shape shape = VN_SHAPE(1, position->shape.dim[0], 1, head_dim);
    vn_graph_label(s->g, "rope");
    vn_node *angle = vn_matmul(s->g, position, frequencies(s, a, head_dim), false, false);
    vn_rope rope = {.cosine = vn_reshape(s->g, vn_unary(s->g, angle, VN_FN_COS), shape),
                    .sine = vn_reshape(s->g, vn_unary(s->g, angle, VN_FN_SIN), shape)};
    set_pairs(s, a, &rope);
    return rope;
}

vn_node *vn_rope_rotate(const vn_scope *s, vn_node *x, const vn_rope *rope) {
    if (!rope->pair_rotation) return vn_rotate(s->g, x, rope->cosine, rope->sine, rope->halves);
    vn_node *swapped = vn_linear(s->g, x, rope->pair_rotation, NULL, false);
    return vn_add(s->g, vn_mul(s->g, x, rope->cosine), vn_mul(s->g, swapped, rope->sine));
}
