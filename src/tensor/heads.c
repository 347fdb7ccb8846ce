/* heads.c - what transformers do to rows before they attend with them, each in one op: the norm by
 * the root of the mean square, and the rotation of pairs by given angles.
 */
#include "tensor/internal.h"

/* ---- root mean square ------------------------------------------------------------------------ */

const char *vn_shape_rms_norm(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank < 1) return "x is not [..,C]";
    if (n->inputs > 1 && (n->in[1]->shape.rank != 1 || n->in[1]->shape.dim[0] != vn_shape_last(x)))
        return "gamma is not [C]";
    n->shape = *x;
    return NULL;
}

vn_node *vn_rms(vn_graph *g, vn_node *x, vn_node *gamma, bool has_gamma, double eps) {
    vn_node n = vn_draft(VN_OP_RMS_NORM, has_gamma ? 2 : 1, x, gamma);
    n.attr.norm.eps = eps;
    return vn_graph_add(g, &n);
}

vn_node *vn_rms_by_parts(vn_graph *g, vn_node *x, vn_node *gamma, bool has_gamma, double eps) {
    if (!x || x->shape.rank < 1) return vn_rms(g, x, gamma, has_gamma, eps);
    const vn_shape one = vn_shape_with(&x->shape, x->shape.rank - 1, 1);
    vn_node *squares = vn_sum_to(g, vn_unary(g, x, VN_FN_SQUARE), one);
    vn_node *mean = vn_affine(g, squares, 1 / (double)vn_shape_last(&x->shape), eps);
    vn_node *y = vn_mul(g, x, vn_unary(g, mean, VN_FN_RSQRT));
    return has_gamma ? vn_mul(g, y, gamma) : y;
}

vn_node *vn_expand_rms_norm(vn_node *n) {
    return vn_rms_by_parts(n->graph, n->in[0], n->in[1], n->inputs > 1, n->attr.norm.eps);
}

/* ---- rotation -------------------------------------------------------------------------------- */

const char *vn_shape_rotate(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape, *angle = &n->in[1]->shape;
    vn_shape both;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank < 1 || vn_shape_last(x) % 2) return "the last axis is no pairs";
    if (!vn_shape_equal(angle, &n->in[2]->shape)) return "cosine and sine differ in shape";
    if (angle->rank < 1 || vn_shape_last(angle) != vn_shape_last(x))
        return "cosine has another last axis than x";
    if (!vn_shape_broadcast(x, angle, &both) || !vn_shape_equal(x, &both))
        return "cosine does not broadcast to x's shape";
    n->shape = *x;
    return NULL;
}

vn_node *vn_rotate(vn_graph *g, vn_node *x, vn_node *cosine, vn_node *sine, bool halves) {
    vn_node n = vn_draft(VN_OP_ROTATE, 3, x, cosine, sine);
    n.attr.rotate.halves = halves;
    return vn_graph_add(g, &n);
}

/* x rotated by a quarter turn to `sign` 1 or -1: (a, b) to (-b, a) or (b, -a). */
static vn_node *quarter(const vn_node *n, vn_node *x, double sign) {
    const vn_shape row = VN_SHAPE(vn_shape_last(&n->shape));
    return vn_rotate(n->graph, x, vn_fill(n->graph, row, 0), vn_fill(n->graph, row, sign),
                     n->attr.rotate.halves);
}

/* y = x c + Q x s with the quarter turn Q, whose adjoint is the turn back: dx = dy c + Q^T (dy s),
 * dc = dy x and ds = dy Q x, summed over what was broadcast. */
void vn_gradient_rotate(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    const vn_shape angle = n->in[1]->shape;
    if (vn_wanted(n, 0))
        grad[0] = vn_add(g, vn_mul(g, dy, n->in[1]), quarter(n, vn_mul(g, dy, n->in[2]), -1));
    if (vn_wanted(n, 1)) grad[1] = vn_sum_product_to(g, dy, n->in[0], angle);
    if (vn_wanted(n, 2)) grad[2] = vn_sum_product_to(g, dy, quarter(n, n->in[0], 1), angle);
}
