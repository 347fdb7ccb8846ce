/* norm.c - group and layer norm with affine and activation in one op, [N,..,C] in groups of
 * channels.
 *
 * The statistics are a node of their own, so that the gradient can reuse them. They are functions
 * of x: the rules here include the gradient through them, and give none to the statistics as an
 * input. Second derivatives use the expansions, which compute the statistics from x again. gamma
 * and beta may have a row for each of B equal runs of samples.
 */
#include "tensor/internal.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

static const char *check_groups(const vn_node *n) {
    const vn_shape *x = &n->in[0]->shape;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank < 2) return "x is not [N,..,C]";
    if (n->attr.norm.groups < 1 || vn_shape_last(x) % n->attr.norm.groups)
        return "the channels do not divide into the groups";
    if (n->attr.norm.act != VN_FN_IDENTITY && n->attr.norm.act != VN_FN_SILU)
        return "only silu can be fused";
    return NULL;
}

/* Inputs: x, stats, then maybe dy (at `affine` - 1), then gamma and beta from `affine` on, or
 * neither. */
static const char *check_inputs(const vn_node *n, int affine) {
    const vn_shape *x = &n->in[0]->shape, *stats = &n->in[1]->shape;
    const char *why = check_groups(n);
    if (why) return why;
    if (stats->rank != 3 || stats->dim[0] != x->dim[0] || stats->dim[1] != n->attr.norm.groups ||
        stats->dim[2] != 2)
        return "the statistics are not [N,groups,2]";
    if (affine == 3 && !vn_shape_equal(x, &n->in[2]->shape)) return "x and dy differ in shape";
    if (n->inputs != affine && n->inputs != affine + 2) return "gamma and beta come together";
    if (n->inputs == affine) return NULL;
    const vn_shape *gamma = &n->in[affine]->shape;
    if (!vn_shape_equal(gamma, &n->in[affine + 1]->shape)) return "gamma and beta differ in shape";
    if (gamma->rank < 1 || gamma->rank > 2 || vn_shape_last(gamma) != vn_shape_last(x))
        return "gamma is neither [C] nor [B,C]";
    if (gamma->rank == 2 && (gamma->dim[0] < 1 || x->dim[0] % gamma->dim[0]))
        return "gamma's rows do not divide the samples";
    return NULL;
}

const char *vn_shape_norm_stats(vn_node *n) {
    n->shape = VN_SHAPE(n->in[0]->shape.dim[0], n->attr.norm.groups, 2);
    return check_groups(n);
}

const char *vn_shape_norm(vn_node *n) {
    n->shape = n->in[0]->shape;
    return check_inputs(n, 2);
}

const char *vn_shape_norm_grad_x(vn_node *n) {
    n->shape = n->in[0]->shape;
    return check_inputs(n, 3);
}

const char *vn_shape_norm_grad_affine(vn_node *n) {
    const char *why = check_inputs(n, 3);
    if (n->inputs != 5) return "takes x, statistics, dy, gamma and beta";
    const vn_shape *gamma = &n->in[3]->shape;
    n->shape = gamma->rank == 2 ? VN_SHAPE(2, gamma->dim[0], gamma->dim[1])
                                : VN_SHAPE(2, vn_shape_last(gamma));
    return why;
}

/* ---- builders -------------------------------------------------------------------------------- */

vn_node *vn_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                 int groups, double eps, vn_fn act) {
    vn_node stats = vn_draft(VN_OP_NORM_STATS, 1, x);
    stats.attr.norm.groups = groups;
    stats.attr.norm.eps = eps;
    vn_node n = vn_draft(VN_OP_NORM, has_affine ? 4 : 2, x, vn_graph_add(g, &stats), gamma, beta);
    n.attr.norm.groups = groups;
    n.attr.norm.eps = eps;
    n.attr.norm.act = act;
    return vn_graph_add(g, &n);
}

vn_node *vn_layer_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                       double eps) {
    if (!x) return vn_norm(g, x, gamma, beta, has_affine, 1, eps, VN_FN_IDENTITY);
    vn_node *rows = vn_reshape(g, x, vn_shape_rows(&x->shape));
    return vn_reshape(g, vn_norm(g, rows, gamma, beta, has_affine, 1, eps, VN_FN_IDENTITY),
                      x->shape);
}

/* ---- gradient -------------------------------------------------------------------------------- */

static vn_node *norm_grad(vn_node *n, vn_op op, vn_node *dy) {
    bool affine = n->inputs > 2;
    vn_node draft = vn_draft(op, affine ? 5 : 3, n->in[0], n->in[1], dy, n->in[2], n->in[3]);
    draft.attr = n->attr;
    return vn_graph_add(n->graph, &draft);
}

void vn_gradient_norm(vn_node *n, vn_node *dy, vn_node **grad) {
    if (n->inputs > 2 && (vn_wanted(n, 2) || vn_wanted(n, 3))) {
        vn_node *both = norm_grad(n, VN_OP_NORM_GRAD_AFFINE, dy);
        int64_t count = vn_shape_count(&n->in[2]->shape);
        if (vn_wanted(n, 2)) grad[2] = vn_view(n->graph, both, 0, n->in[2]->shape);
        if (vn_wanted(n, 3)) grad[3] = vn_view(n->graph, both, count, n->in[3]->shape);
    }
    if (vn_wanted(n, 0)) grad[0] = norm_grad(n, VN_OP_NORM_GRAD_X, dy);
}

/* ---- expansions ------------------------------------------------------------------------------ */

typedef struct norm_parts {
    vn_node *mean, *rstd; /* [N,1,G,1] */
    vn_node *xhat;        /* [N,P,G,C/G] */
} norm_parts;

static norm_parts normalise(vn_graph *g, vn_node *x, const vn_attr *a) {
    int64_t n = x->shape.dim[0], groups = a->norm.groups, width = vn_shape_last(&x->shape) / groups,
            positions = 1;
    for (int i = 1; i < x->shape.rank - 1; i++) positions *= x->shape.dim[i];
    vn_shape one = VN_SHAPE(n, 1, groups, 1);
    double share = 1 / (double)(positions * width);
    norm_parts p;
    vn_node *grouped = vn_reshape(g, x, VN_SHAPE(n, positions, groups, width));
    p.mean = vn_affine(g, vn_sum_to(g, grouped, one), share, 0);
    vn_node *centred = vn_sub(g, grouped, p.mean);
    vn_node *var =
        vn_affine(g, vn_sum_to(g, vn_unary(g, centred, VN_FN_SQUARE), one), share, a->norm.eps);
    p.rstd = vn_unary(g, var, VN_FN_RSQRT);
    p.xhat = vn_mul(g, centred, p.rstd);
    return p;
}

static vn_node *norm_of(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, const vn_attr *a) {
    if (!x) return NULL;
    vn_node *y = normalise(g, x, a).xhat;
    if (gamma) {
        const int64_t runs = gamma->shape.rank == 2 ? gamma->shape.dim[0] : 1;
        const vn_shape each = VN_SHAPE(runs, 1, vn_shape_last(&x->shape));
        y = vn_reshape(
            g, y, VN_SHAPE(runs, vn_shape_count(&x->shape) / vn_shape_count(&each), each.dim[2]));
        y = vn_add(g, vn_mul(g, y, vn_reshape(g, gamma, each)), vn_reshape(g, beta, each));
    }
    return vn_unary(g, vn_reshape(g, y, x->shape), a->norm.act);
}

vn_node *vn_expand_norm_stats(vn_node *n) {
    norm_parts p = normalise(n->graph, n->in[0], &n->attr);
    vn_shape column = vn_shape_with(&n->shape, 2, 1);
    vn_node *part[2] = {vn_reshape(n->graph, p.mean, column), vn_reshape(n->graph, p.rstd, column)};
    return vn_concat(n->graph, 2, 2, part);
}

vn_node *vn_expand_norm(vn_node *n) {
    return norm_of(n->graph, n->in[0], n->in[2], n->in[3], &n->attr);
}

/* Both gradients: the expanded norm on aliases of its inputs, differentiated. */
vn_node *vn_expand_norm_grad_x(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *x = vn_alias(g, n->in[0]), *dx = NULL;
    vn_gradient_parts(g, norm_of(g, x, n->in[3], n->in[4], &n->attr), n->in[2], 1, &x, &dx);
    return dx;
}

vn_node *vn_expand_norm_grad_affine(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *leaf[2] = {vn_alias(g, n->in[3]), vn_alias(g, n->in[4])}, *d[2] = {NULL, NULL};
    if (!vn_gradient_parts(g, norm_of(g, n->in[0], leaf[0], leaf[1], &n->attr), n->in[2], 2, leaf,
                           d))
        return NULL;
    vn_shape row = vn_shape_with(&n->shape, 0, 1);
    vn_node *part[2] = {vn_reshape(g, d[0], row), vn_reshape(g, d[1], row)};
    return vn_concat(g, 0, 2, part);
}
