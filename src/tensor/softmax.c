/* softmax.c - softmax and entmax, its sparse variant, over the last axis, and cross entropy of
 * logits against labels. */
#include "tensor/internal.h"

/* ---- softmax --------------------------------------------------------------------------------- */

const char *vn_shape_softmax(vn_node *n) {
    return n->in[0]->shape.rank < 1 ? "x has no axes" : vn_shape_same(n);
}

const char *vn_shape_softmax_grad(vn_node *n) {
    return vn_shape_equal(&n->in[0]->shape, &n->in[1]->shape) ? vn_shape_softmax(n)
                                                              : "y and dy differ in shape";
}

vn_node *vn_softmax(vn_graph *g, vn_node *x) {
    vn_node n = vn_draft(VN_OP_SOFTMAX, 1, x);
    return vn_graph_add(g, &n);
}

void vn_gradient_softmax(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_node draft = vn_draft(VN_OP_SOFTMAX_GRAD, 2, n, dy);
    grad[0] = vn_graph_add(n->graph, &draft);
}

vn_node *vn_expand_softmax_grad(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *y = n->in[0], *dy = n->in[1];
    vn_shape column = vn_shape_with(&n->shape, n->shape.rank - 1, 1);
    return vn_mul(g, y, vn_sub(g, dy, vn_sum_to(g, vn_mul(g, y, dy), column)));
}

/* ---- entmax ---------------------------------------------------------------------------------- */

/* alpha-entmax of alpha 1.5 (1905.05702) is p = max(x/2 - t, 0)^2, with t such that p adds up to 1.
 * The op gives the root r of p: unlike p's own, its gradient is made of smooth parts, so that
 * gradients of gradients come by themselves too. */

vn_node *vn_entmax15(vn_graph *g, vn_node *x) {
    vn_node n = vn_draft(VN_OP_ENTMAX_ROOT, 1, x);
    return vn_unary(g, vn_graph_add(g, &n), VN_FN_SQUARE);
}

/* dx = (m - r sum(m) / sum(r)) / 2, m = dy where r > 0: from sum(r^2) = 1 follows dt = sum(r dx) /
 * (2 sum(r)). */
void vn_gradient_entmax_root(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_shape column = vn_shape_with(&n->shape, n->shape.rank - 1, 1);
    vn_node *m = vn_mul(g, dy, vn_unary_order(g, n, VN_FN_RELU, 1));
    vn_node *share = vn_div(g, vn_sum_to(g, m, column), vn_sum_to(g, n, column));
    grad[0] = vn_affine(g, vn_sub(g, m, vn_mul(g, n, share)), 0.5, 0);
}

/* ---- cross entropy --------------------------------------------------------------------------- */

static const char *check_labels(const vn_node *n) {
    const vn_shape *logits = &n->in[0]->shape, *labels = &n->in[1]->shape;
    if (n->in[0]->dtype != VN_F32 || n->in[1]->dtype != VN_I32)
        return "takes float logits and integer labels";
    if (logits->rank != 2 || logits->dim[1] < 1) return "the logits are not [N,K]";
    return labels->rank == 1 && labels->dim[0] == logits->dim[0] ? NULL : "the labels are not [N]";
}

const char *vn_shape_cross_entropy(vn_node *n) {
    n->shape = n->in[1]->shape;
    return check_labels(n);
}

const char *vn_shape_cross_entropy_grad(vn_node *n) {
    n->shape = n->in[0]->shape;
    const char *why = check_labels(n);
    if (why) return why;
    return n->in[2]->dtype == VN_F32 && vn_shape_equal(&n->in[1]->shape, &n->in[2]->shape)
               ? NULL
               : "dy is not [N]";
}

vn_node *vn_cross_entropy(vn_graph *g, vn_node *logits, vn_node *labels) {
    vn_node n = vn_draft(VN_OP_CROSS_ENTROPY, 2, logits, labels);
    return vn_graph_add(g, &n);
}

void vn_gradient_cross_entropy(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_node draft = vn_draft(VN_OP_CROSS_ENTROPY_GRAD, 3, n->in[0], n->in[1], dy);
    grad[0] = vn_graph_add(n->graph, &draft);
}

/* A label outside the classes has an empty row in one-hot, and so no gradient. */
vn_node *vn_expand_cross_entropy_grad(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *target = vn_one_hot(g, n->in[1], n->shape.dim[1]);
    vn_shape column = vn_shape_with(&n->shape, 1, 1);
    vn_node *dy = vn_mul(g, vn_reshape(g, n->in[2], column), vn_sum_to(g, target, column));
    return vn_mul(g, vn_sub(g, vn_softmax(g, n->in[0]), target), dy);
}
