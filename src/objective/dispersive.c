/* dispersive.c - the dispersive loss (2506.09027): inner features of different samples shall lie
 * apart, without any pairs that shall be near, as in contrastive learning without its positive
 * term. It is of the samples that are scored together, so of a microbatch. */
#include "objective/internal.h"

#include <math.h>

/* With y = z/sqrt(D tau): |z_i - z_j|^2/(D tau) = |y_i|^2 + |y_j|^2 - 2 y_i.y_j, [N,N]. */
vn_node *vn_dispersive_loss(vn_graph *g, vn_node *z, double tau) {
    if (!z) return NULL;
    const int64_t n = z->shape.dim[0], d = vn_shape_count(&z->shape) / n;
    vn_node *y = vn_affine(g, vn_reshape(g, z, VN_SHAPE(n, d)), 1 / sqrt((double)d * tau), 0);
    vn_node *lengths = vn_sum_to(g, vn_unary(g, y, VN_FN_SQUARE), VN_SHAPE(n, 1));
    vn_node *products = vn_affine(g, vn_matmul(g, y, y, false, true), 2, 0);
    vn_node *near = vn_sub(g, vn_sub(g, products, lengths), vn_reshape(g, lengths, VN_SHAPE(1, n)));
    return vn_unary(g, vn_mean(g, vn_unary(g, near, VN_FN_EXP)), VN_FN_LOG);
}
