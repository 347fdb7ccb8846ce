/* tokens.c - what networks over a text's tokens share: constants looked up by id, learned
 * positions, which tokens are seen, and their mean. */
#include "nn/transformer.h"

#define MASKED 1e30 /* what no score makes up for */

vn_node *vn_look_up(const vn_scope *s, const float *table, int64_t rows, vn_node *ids) {
    if (!ids) return NULL;
    vn_node *numbers = vn_const(s->g, VN_F32, VN_SHAPE(rows, 1), table);
    return vn_reshape(s->g, vn_embedding(s->g, numbers, ids), ids->shape);
}

vn_node *vn_add_positions(const vn_scope *s, const char *name, vn_node *x, int64_t most) {
    if (!x) return NULL;
    const int64_t tokens = x->shape.dim[1], width = x->shape.dim[2];
    if (tokens > most)
        return vn_scope_fail(s, "texts of %lld tokens; it takes up to %lld", (long long)tokens,
                             (long long)most);
    int32_t *place = vn_alloc((size_t)tokens, sizeof *place);
    if (!place) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < tokens; i++) place[i] = (int32_t)i;
    vn_node *places = vn_const(s->g, VN_I32, VN_SHAPE(tokens), place);
    vn_free(place);
    vn_node *position = vn_layer_embedding(s, name, places, most, width);
    return vn_add(s->g, x, vn_reshape(s->g, position, VN_SHAPE(1, tokens, width)));
}

vn_node *vn_key_bias(const vn_scope *s, vn_node *seen) {
    if (!seen) return NULL;
    return vn_reshape(s->g, vn_affine(s->g, seen, MASKED, -MASKED),
                      VN_SHAPE(seen->shape.dim[0], 1, 1, seen->shape.dim[1]));
}

vn_node *vn_token_mean(const vn_scope *s, vn_node *x, vn_node *seen) {
    if (!x || !seen) return NULL;
    const int64_t n = seen->shape.dim[0], tokens = seen->shape.dim[1], width = x->shape.dim[2];
    vn_node *count = vn_sum_to(s->g, seen, VN_SHAPE(n, 1));
    vn_node *none = vn_unary(s->g, vn_affine(s->g, count, -1, 1), VN_FN_RELU);
    vn_node *part = vn_unary(s->g, vn_add(s->g, count, none), VN_FN_RECIPROCAL);
    vn_node *share = vn_reshape(s->g, vn_mul(s->g, seen, part), VN_SHAPE(n, 1, tokens));
    return vn_reshape(s->g, vn_matmul(s->g, share, x, false, false), VN_SHAPE(n, width));
}
