/* rope.c - rotary positions (RoPE, arXiv 2104.09864) of tokens that lie in a plane, as diffusers' Flux has them:
 * FluxPosEmbed(theta, [head/2, head/2]) of (row, column), applied by apply_rotary_emb. The first half of a head's numbers
 * turns by its row, the second by its column; in each half the numbers 2i and 2i+1 are a pair, turned by the angle
 *
 *     place / theta^(4i / head)
 *
 * so that a query and a key meet at an angle that says how far apart they lie. The turn of a pair (a, b) is
 * (a, b) cos + (-b, a) sin. The quarter turn in it is a linear map by a small matrix of zeros and ones: exact, and one
 * pass over the heads, where taking the pairs apart and putting them together would be several. */
#include "nn/internal.h"

#include <math.h>

/* The turns of one place along half of a head. */
static void turn_half(float *cosine, float *sine, int64_t half, float place, double theta) {
    for (int64_t i = 0; i < half; i++) {
        const double angle = (double)place / pow(theta, (double)(i - i % 2) / (double)half);
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
}

/* The weight of a linear map that takes each pair (a, b) to (-b, a). */
static vn_node *quarter_turn(const vn_scope *s, int64_t head) {
    float *turn = vn_calloc((size_t)(head * head), sizeof *turn);
    if (!turn) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < head; i += 2) {
        turn[i * head + i + 1] = -1;
        turn[(i + 1) * head + i] = 1;
    }
    vn_node *node = vn_const(s->g, VN_F32, VN_SHAPE(head, head), turn);
    vn_free(turn);
    return node;
}

vn_rope vn_rope_at(const vn_scope *s, int64_t before, int64_t rows, int64_t columns, float stretch, int64_t head,
                   double theta) {
    const int64_t half = head / 2, tokens = before + rows * columns;
    float *cosine = vn_alloc((size_t)(tokens * head), sizeof *cosine);
    float *sine = vn_alloc((size_t)(tokens * head), sizeof *sine);
    vn_rope rope = {0};
    if (cosine && sine) {
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t patch = t < before ? 0 : t - before, row = patch / columns, column = patch % columns;
            const int64_t at = t * head;
            turn_half(cosine + at, sine + at, half, (float)row / stretch, theta);
            turn_half(cosine + at + half, sine + at + half, half, (float)column / stretch, theta);
        }
        vn_graph_label(s->g, "rope");
        rope.cosine = vn_const(s->g, VN_F32, VN_SHAPE(1, tokens, 1, head), cosine);
        rope.sine = vn_const(s->g, VN_F32, VN_SHAPE(1, tokens, 1, head), sine);
        rope.quarter = quarter_turn(s, head);
    } else {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    }
    vn_free(cosine);
    vn_free(sine);
    return rope;
}

vn_node *vn_rope_turn(const vn_scope *s, vn_node *x, const vn_rope *rope) {
    vn_node *turned = vn_linear(s->g, x, rope->quarter, NULL, false);
    return vn_add(s->g, vn_mul(s->g, x, rope->cosine), vn_mul(s->g, turned, rope->sine));
}
