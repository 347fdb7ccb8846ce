/* attention.c - softmax attention of q [B,Tq,C] over k, v [B,Tk,.], C cut into heads, of which
 * several may share a key head; optionally with a bias on the scores, or causal. The gradient is
 * one op with one flat result, dq then dk then dv, so that the scores are computed again once for
 * all three. The gradient of the bias is rarely needed and comes from the expansion.
 */
#include "tensor/internal.h"

#define MASKED (-1e30)

static int key_heads(const vn_attr *a) {
    return a->attention.key_heads ? a->attention.key_heads : a->attention.heads;
}

/* Checks the bias, which is in[i], if the op has one. */
static const char *check_bias(const vn_node *n, int i) {
    if (n->inputs <= i) return NULL;
    const vn_shape *b = &n->in[i]->shape, *q = &n->in[0]->shape;
    const int64_t most[4] = {q->dim[0], n->attr.attention.heads, q->dim[1], n->in[1]->shape.dim[1]};
    if (b->rank != 4) return "the bias is not [B,heads,Tq,Tk]";
    for (int axis = 0; axis < 4; axis++)
        if (b->dim[axis] != most[axis] && (b->dim[axis] != 1 || axis == 3))
            return "the bias does not fit the scores [B,heads,Tq,Tk]";
    return NULL;
}

static const char *check_attention(vn_node *n, int bias) {
    const vn_shape *q = &n->in[0]->shape, *k = &n->in[1]->shape;
    const int heads = n->attr.attention.heads, of_keys = key_heads(&n->attr);
    if (!vn_all_floats(n)) return "takes floats";
    if (q->rank != 3 || k->rank != 3) return "q, k and v are not [B,T,C]";
    if (!vn_shape_equal(k, &n->in[2]->shape)) return "k and v differ in shape";
    if (heads < 1 || q->dim[2] % heads) return "the channels do not divide into the heads";
    if (of_keys < 1 || heads % of_keys) return "the heads do not divide among those of the keys";
    if (q->dim[0] != k->dim[0] || q->dim[2] / heads * of_keys != k->dim[2])
        return "q and k differ in batch or channels";
    if (k->dim[1] < 1) return "there is nothing to attend to";
    if (n->attr.attention.causal && k->dim[1] < q->dim[1])
        return "causal, but with fewer keys than queries";
    return check_bias(n, bias);
}

const char *vn_shape_attention(vn_node *n) {
    n->shape = n->in[0]->shape;
    return check_attention(n, 3);
}

const char *vn_shape_attention_grad(vn_node *n) {
    const char *why = check_attention(n, 4);
    if (why) return why;
    if (!vn_shape_equal(&n->in[3]->shape, &n->in[0]->shape)) return "q and dy differ in shape";
    n->shape = VN_SHAPE(vn_shape_count(&n->in[0]->shape) + 2 * vn_shape_count(&n->in[1]->shape));
    return NULL;
}

vn_node *vn_attention_of(vn_graph *g, vn_node *q, vn_node *k, vn_node *v,
                         const vn_attention_options *o) {
    vn_node n = vn_draft(VN_OP_ATTENTION, 3, q, k, v);
    if (o->has_bias) n = vn_draft(VN_OP_ATTENTION, 4, q, k, v, o->bias);
    n.attr.attention.heads = o->heads;
    n.attr.attention.key_heads = o->key_heads == o->heads ? 0 : o->key_heads;
    n.attr.attention.scale = o->scale;
    n.attr.attention.causal = o->causal;
    return vn_graph_add(g, &n);
}

vn_node *vn_attention(vn_graph *g, vn_node *q, vn_node *k, vn_node *v, int heads, double scale) {
    return vn_attention_of(g, q, k, v, &(vn_attention_options){.heads = heads, .scale = scale});
}

/* ---- expansions ------------------------------------------------------------------------------ */

/* [B,T,heads d] to [B,heads,T,d]. */
static vn_node *split_heads(vn_graph *g, vn_node *x, int heads) {
    if (!x) return NULL;
    const int64_t *d = x->shape.dim;
    vn_node *y = vn_reshape(g, x, VN_SHAPE(d[0], d[1], heads, d[2] / heads));
    return vn_permute(g, y, (int[4]){0, 2, 1, 3});
}

/* The same of keys or values, each head as often as there are query heads that read it. */
static vn_node *split_keys(vn_graph *g, vn_node *x, const vn_attr *a) {
    const int heads = a->attention.heads, own = key_heads(a);
    vn_node *y = split_heads(g, x, own);
    if (!y || own == heads) return y;
    const vn_shape s = y->shape;
    y = vn_reshape(g, y, VN_SHAPE(s.dim[0], own, 1, s.dim[2], s.dim[3]));
    y = vn_broadcast(g, y, VN_SHAPE(s.dim[0], own, heads / own, s.dim[2], s.dim[3]));
    return vn_reshape(g, y, VN_SHAPE(s.dim[0], heads, s.dim[2], s.dim[3]));
}

/* [Tq,Tk]: 0 where query i sees key j. */
static vn_node *causal_mask(vn_graph *g, int64_t queries, int64_t keys) {
    float *mask = vn_calloc((size_t)(queries * keys), sizeof *mask);
    if (!mask) return vn_graph_fail(g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = i + keys - queries + 1; j < keys; j++) mask[i * keys + j] = (float)MASKED;
    vn_node *node = vn_const(g, VN_F32, VN_SHAPE(queries, keys), mask);
    vn_free(mask);
    return node;
}

/* bias NULL: none. */
static vn_node *attention_by_parts(vn_graph *g, vn_node *q, vn_node *k, vn_node *v, vn_node *bias,
                                   const vn_attr *a) {
    if (!q || !k || !v) return NULL;
    const int64_t queries = q->shape.dim[1], keys = k->shape.dim[1];
    vn_node *scores =
        vn_matmul(g, split_heads(g, q, a->attention.heads), split_keys(g, k, a), false, true);
    scores = vn_affine(g, scores, a->attention.scale, 0);
    if (bias) scores = vn_add(g, scores, bias);
    if (a->attention.causal) scores = vn_add(g, scores, causal_mask(g, queries, keys));
    vn_node *y = vn_matmul(g, vn_softmax(g, scores), split_keys(g, v, a), false, false);
    return vn_reshape(g, vn_permute(g, y, (int[4]){0, 2, 1, 3}), q->shape);
}

vn_node *vn_expand_attention(vn_node *n) {
    return attention_by_parts(n->graph, n->in[0], n->in[1], n->in[2],
                              n->inputs > 3 ? n->in[3] : NULL, &n->attr);
}

/* The expanded attention on aliases of its inputs, differentiated. */
vn_node *vn_expand_attention_grad(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *leaf[3], *part[3] = {NULL, NULL, NULL}, *bias = n->inputs > 4 ? n->in[4] : NULL;
    for (int i = 0; i < 3; i++) leaf[i] = vn_alias(g, n->in[i]);
    vn_node *y = attention_by_parts(g, leaf[0], leaf[1], leaf[2], bias, &n->attr);
    if (!vn_gradient_parts(g, y, n->in[3], 3, leaf, part)) return NULL;
    for (int i = 0; i < 3; i++) part[i] = vn_reshape(g, part[i], VN_SHAPE(-1));
    return vn_concat(g, 0, 3, part);
}

/* ---- gradient -------------------------------------------------------------------------------- */

static vn_node *gradient_of_bias(vn_node *n, vn_node *dy) {
    vn_graph *g = n->graph;
    vn_node *leaf = vn_alias(g, n->in[3]), *part = NULL;
    vn_node *y = attention_by_parts(g, n->in[0], n->in[1], n->in[2], leaf, &n->attr);
    return vn_gradient_parts(g, y, dy, 1, &leaf, &part) ? part : NULL;
}

void vn_gradient_attention(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node draft = vn_draft(VN_OP_ATTENTION_GRAD, 4, n->in[0], n->in[1], n->in[2], dy);
    if (n->inputs > 3) {
        draft = vn_draft(VN_OP_ATTENTION_GRAD, 5, n->in[0], n->in[1], n->in[2], dy, n->in[3]);
        if (vn_wanted(n, 3)) grad[3] = gradient_of_bias(n, dy);
    }
    if (!vn_wanted(n, 0) && !vn_wanted(n, 1) && !vn_wanted(n, 2)) return;
    draft.attr = n->attr;
    vn_node *all = vn_graph_add(g, &draft);
    int64_t at = 0;
    for (int i = 0; i < 3; i++) {
        if (vn_wanted(n, i)) grad[i] = vn_view(g, all, at, n->in[i]->shape);
        at += vn_shape_count(&n->in[i]->shape);
    }
}
