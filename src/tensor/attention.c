/* attention.c - softmax attention of q [B,Tq,C] over k, v [B,Tk,C], C cut into heads. The gradient is one op with one flat result,
 * dq then dk then dv, so that the scores are computed again once for all three.
 */
#include "tensor/internal.h"

const char *vn_shape_attention(vn_node *n) {
    const vn_shape *q = &n->in[0]->shape, *k = &n->in[1]->shape;
    if (!vn_all_floats(n)) return "takes floats";
    if (q->rank != 3 || k->rank != 3) return "q, k and v are not [B,T,C]";
    if (!vn_shape_equal(k, &n->in[2]->shape)) return "k and v differ in shape";
    if (q->dim[0] != k->dim[0] || q->dim[2] != k->dim[2]) return "q and k differ in batch or channels";
    if (n->attr.attention.heads < 1 || q->dim[2] % n->attr.attention.heads)
        return "the channels do not divide into the heads";
    if (k->dim[1] < 1) return "there is nothing to attend to";
    n->shape = *q;
    return NULL;
}

const char *vn_shape_attention_grad(vn_node *n) {
    const char *why = vn_shape_attention(n);
    if (why) return why;
    if (!vn_shape_equal(&n->in[3]->shape, &n->in[0]->shape)) return "q and dy differ in shape";
    n->shape = VN_SHAPE(vn_shape_count(&n->in[0]->shape) + 2 * vn_shape_count(&n->in[1]->shape));
    return NULL;
}

vn_node *vn_attention(vn_graph *g, vn_node *q, vn_node *k, vn_node *v, int heads, double scale) {
    vn_node n = vn_draft(VN_OP_ATTENTION, 3, q, k, v);
    n.attr.attention.heads = heads;
    n.attr.attention.scale = scale;
    return vn_graph_add(g, &n);
}

void vn_gradient_attention(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_node draft = vn_draft(VN_OP_ATTENTION_GRAD, 4, n->in[0], n->in[1], n->in[2], dy);
    draft.attr = n->attr;
    vn_node *all = vn_graph_add(n->graph, &draft);
    int64_t at = 0;
    for (int i = 0; i < 3; i++) {
        if (vn_wanted(n, i)) grad[i] = vn_view(n->graph, all, at, n->in[i]->shape);
        at += vn_shape_count(&n->in[i]->shape);
    }
}

/* ---- expansions ------------------------------------------------------------------------------------- */

/* [B,T,C] to [B,heads,T,C/heads]. */
static vn_node *split_heads(vn_graph *g, vn_node *x, int heads) {
    const int64_t *d = x->shape.dim;
    vn_node *y = vn_reshape(g, x, VN_SHAPE(d[0], d[1], heads, d[2] / heads));
    return vn_permute(g, y, (int[4]){0, 2, 1, 3});
}

static vn_node *attention_of(vn_graph *g, vn_node *q, vn_node *k, vn_node *v, const vn_attr *a) {
    if (!q || !k || !v) return NULL;
    int heads = a->attention.heads;
    vn_node *scores = vn_matmul(g, split_heads(g, q, heads), split_heads(g, k, heads), false, true);
    vn_node *p = vn_softmax(g, vn_affine(g, scores, a->attention.scale, 0));
    vn_node *y = vn_matmul(g, p, split_heads(g, v, heads), false, false);
    return vn_reshape(g, vn_permute(g, y, (int[4]){0, 2, 1, 3}), q->shape);
}

vn_node *vn_expand_attention(vn_node *n) {
    return attention_of(n->graph, n->in[0], n->in[1], n->in[2], &n->attr);
}

/* The expanded attention on aliases of its inputs, differentiated. */
vn_node *vn_expand_attention_grad(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *leaf[3], *part[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++) leaf[i] = vn_alias(g, n->in[i]);
    if (!vn_gradient_parts(g, attention_of(g, leaf[0], leaf[1], leaf[2], &n->attr), n->in[3], 3, leaf, part))
        return NULL;
    for (int i = 0; i < 3; i++) part[i] = vn_reshape(g, part[i], VN_SHAPE(-1));
    return vn_concat(g, 0, 3, part);
}
