/* rope.c - rotary positions (RoPE, arXiv 2104.09864) of tokens with positions on one or several
 * axes. Each axis rotates its own part of a head's numbers, in pairs: pair k of the d numbers of an
 * axis is rotated by the angle
 *
 *     place / theta^(2k / d)
 *
 * so that the product of a query and a key depends on the difference of their positions. A pair is
 * two neighbours, as in diffusers' FluxPosEmbed with apply_rotary_emb, or numbers k and k + d/2, as
 * in transformers' Llama. The rotation of a pair (a, b) is (a, b) cos + (-b, a) sin. The quarter
 * turn (-b, a) is a linear map by a small matrix of zeros and ones: exact, and one pass over the
 * heads, where splitting and joining the pairs would take several. */
#include "nn/internal.h"

#include <math.h>

/* For number i of an axis with `numbers`: the pair that it belongs to, and its partner in that
 * pair. */
static int64_t pair_of(const vn_rope_axes *a, int64_t numbers, int64_t i) {
    return a->halves ? i % (numbers / 2) : i / 2;
}

static int64_t other_of(const vn_rope_axes *a, int64_t numbers, int64_t i) {
    return a->halves ? (i + numbers / 2) % numbers : i ^ 1;
}

/* The cosines and sines of one token by its positions on all axes. */
static void turn_token(const vn_rope_axes *a, const float *place, float *cosine, float *sine) {
    for (int axis = 0; axis < a->axes; axis++) {
        const int64_t numbers = a->numbers[axis];
        for (int64_t i = 0; i < numbers; i++) {
            const double power = (double)(2 * pair_of(a, numbers, i)) / (double)numbers;
            const double angle = (double)place[axis] / pow(a->theta, power);
            *cosine++ = (float)cos(angle);
            *sine++ = (float)sin(angle);
        }
    }
}

/* The weight of a linear map that takes each pair (a, b) to (-b, a). */
static vn_node *quarter_turn(const vn_scope *s, const vn_rope_axes *a, int64_t head) {
    float *turn = vn_calloc((size_t)(head * head), sizeof *turn);
    if (!turn) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    int64_t first = 0;
    for (int axis = 0; axis < a->axes; first += a->numbers[axis++])
        for (int64_t i = 0; i < a->numbers[axis]; i++) {
            const int64_t other = other_of(a, a->numbers[axis], i);
            turn[(first + i) * head + first + other] = i < other ? -1 : 1;
        }
    vn_node *node = vn_const(s->g, VN_F32, VN_SHAPE(head, head), turn);
    vn_free(turn);
    return node;
}

vn_rope vn_rope_of(const vn_scope *s, const vn_rope_axes *a) {
    int64_t head = 0;
    for (int axis = 0; axis < a->axes; axis++) head += a->numbers[axis];
    float *cosine = vn_alloc((size_t)(a->tokens * head), sizeof *cosine);
    float *sine = vn_alloc((size_t)(a->tokens * head), sizeof *sine);
    vn_rope rope = {0};
    if (cosine && sine) {
        for (int64_t t = 0; t < a->tokens; t++)
            turn_token(a, a->place + t * a->axes, cosine + t * head, sine + t * head);
        vn_graph_label(s->g, "rope");
        rope.cosine = vn_const(s->g, VN_F32, VN_SHAPE(1, a->tokens, 1, head), cosine);
        rope.sine = vn_const(s->g, VN_F32, VN_SHAPE(1, a->tokens, 1, head), sine);
        rope.quarter = quarter_turn(s, a, head);
    } else {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    }
    vn_free(cosine);
    vn_free(sine);
    return rope;
}

vn_rope vn_rope_plane(const vn_scope *s, int64_t before, int64_t rows, int64_t columns,
                      float stretch, int64_t head, double theta) {
    const int64_t tokens = before + rows * columns, numbers[2] = {head / 2, head / 2};
    float *place = vn_calloc((size_t)(2 * tokens), sizeof *place);
    if (!place) {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
        return (vn_rope){0};
    }
    for (int64_t t = before; t < tokens; t++) {
        const int64_t row = (t - before) / columns, column = (t - before) % columns;
        place[2 * t] = (float)row / stretch;
        place[2 * t + 1] = (float)column / stretch;
    }
    const vn_rope_axes axes = {
        .tokens = tokens, .axes = 2, .place = place, .numbers = numbers, .theta = theta};
    const vn_rope rope = vn_rope_of(s, &axes);
    vn_free(place);
    return rope;
}

vn_node *vn_rope_turn(const vn_scope *s, vn_node *x, const vn_rope *rope) {
    vn_node *turned = vn_linear(s->g, x, rope->quarter, NULL, false);
    return vn_add(s->g, vn_mul(s->g, x, rope->cosine), vn_mul(s->g, turned, rope->sine));
}
