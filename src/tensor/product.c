/* product.c - matrix products. Linear is a product with the weight as PyTorch stores it, [out, in],
 * and a bias; its gradients are products over all rows at once.
 */
#include "tensor/internal.h"

/* ---- matmul ---------------------------------------------------------------------------------- */

const char *vn_shape_matmul(vn_node *n) {
    const vn_shape *a = &n->in[0]->shape, *b = &n->in[1]->shape;
    bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb;
    if (!vn_all_floats(n)) return "takes floats";
    if (a->rank < 2 || b->rank < 2) return "takes matrices";
    if (b->rank > 2 && a->rank != b->rank) return "the leading axes differ";
    for (int i = 0; b->rank > 2 && i < b->rank - 2; i++)
        if (a->dim[i] != b->dim[i]) return "the leading axes differ";
    int64_t inner = a->dim[a->rank - (ta ? 2 : 1)];
    if (inner != b->dim[b->rank - (tb ? 1 : 2)]) return "the inner axes differ";
    n->shape = *a;
    n->shape.dim[a->rank - 2] = a->dim[a->rank - (ta ? 1 : 2)];
    n->shape.dim[a->rank - 1] = b->dim[b->rank - (tb ? 2 : 1)];
    return NULL;
}

vn_node *vn_matmul(vn_graph *g, vn_node *a, vn_node *b, bool ta, bool tb) {
    vn_node n = vn_draft(VN_OP_MATMUL, 2, a, b);
    n.attr.matmul.ta = ta;
    n.attr.matmul.tb = tb;
    return vn_graph_add(g, &n);
}

static vn_node *transpose(vn_graph *g, vn_node *x) {
    int perm[VN_MAX_RANK] = {0};
    for (int i = 0; i < x->shape.rank; i++) perm[i] = i;
    perm[x->shape.rank - 2]++;
    perm[x->shape.rank - 1]--;
    return vn_permute(g, x, perm);
}

static vn_node *as_rows(vn_graph *g, vn_node *x) {
    return vn_reshape(g, x, vn_shape_rows(&x->shape));
}

/* One matrix b under many a: its gradient is a product over all of a's rows, and a is never
 * second. */
static void gradient_shared(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *a = n->in[0], *b = n->in[1];
    bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb;
    if (vn_wanted(n, 1)) {
        vn_node *rows = as_rows(g, ta ? transpose(g, a) : a), *dy_rows = as_rows(g, dy);
        if (rows && dy_rows)
            grad[1] = tb ? vn_matmul(g, dy_rows, rows, true, false)
                         : vn_matmul(g, rows, dy_rows, true, false);
    }
    if (vn_wanted(n, 0)) {
        vn_node *da = vn_matmul(g, dy, b, false, !tb);
        grad[0] = ta && da ? transpose(g, da) : da;
    }
}

void vn_gradient_matmul(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *a = n->in[0], *b = n->in[1];
    bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb;
    if (a->shape.rank > b->shape.rank) {
        gradient_shared(n, dy, grad);
        return;
    }
    if (vn_wanted(n, 1))
        grad[1] = tb ? vn_matmul(g, dy, a, true, ta) : vn_matmul(g, a, dy, !ta, false);
    if (vn_wanted(n, 0))
        grad[0] = ta ? vn_matmul(g, b, dy, tb, true) : vn_matmul(g, dy, b, false, !tb);
}

/* ---- linear ---------------------------------------------------------------------------------- */

const char *vn_shape_linear(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape, *w = &n->in[1]->shape;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank < 1) return "x has no axes";
    if (w->rank != 2) return "the weight is not [out, in]";
    if (!n->attr.linear.part && vn_shape_last(x) != w->dim[1])
        return "x's last axis and the weight's differ";
    if (n->attr.linear.from < 0 || vn_shape_last(x) > w->dim[1] - n->attr.linear.from)
        return "the weight has no such columns";
    if (n->inputs > 2 && (n->in[2]->shape.rank != 1 || n->in[2]->shape.dim[0] != w->dim[0]))
        return "the bias is not [out]";
    if (n->attr.linear.act < 0 || n->attr.linear.act >= VN_FN_COUNT) return "no such function";
    n->shape = vn_shape_with(x, x->rank - 1, w->dim[0]);
    return NULL;
}

vn_node *vn_linear_act(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, vn_fn act) {
    vn_node n = vn_draft(VN_OP_LINEAR, has_bias ? 3 : 2, x, w, b);
    n.attr.linear.act = act;
    return vn_graph_add(g, &n);
}

vn_node *vn_linear(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias) {
    return vn_linear_act(g, x, w, b, has_bias, VN_FN_IDENTITY);
}

vn_node *vn_linear_part(vn_graph *g, vn_node *x, vn_node *w, int64_t from, vn_node *b,
                        bool has_bias) {
    vn_node n = vn_draft(VN_OP_LINEAR, has_bias ? 3 : 2, x, w, b);
    n.attr.linear.part = true;
    n.attr.linear.from = from;
    return vn_graph_add(g, &n);
}

/* The layer alone, of a node that may be linear_plus, with another function. */
static vn_node *plain(vn_node *n, vn_fn act) {
    const bool bias = n->op == VN_OP_LINEAR ? n->inputs > 2 : n->attr.linear.bias;
    vn_node d = vn_draft(VN_OP_LINEAR, 2 + bias, n->in[0], n->in[1], n->in[2]);
    d.attr.linear.act = act;
    d.attr.linear.part = n->attr.linear.part;
    d.attr.linear.from = n->attr.linear.from;
    return vn_graph_add(n->graph, &d);
}

/* The derivative of act is taken at what came before it, which was not kept. */
static vn_node *before_act(vn_node *n, vn_node *dy) {
    if (n->attr.linear.act == VN_FN_IDENTITY) return dy;
    vn_node *z = plain(n, VN_FN_IDENTITY);
    vn_node draft = vn_draft(VN_OP_UNARY_GRAD, 2, z, dy);
    draft.attr.unary.fn = n->attr.linear.act;
    return vn_graph_add(n->graph, &draft);
}

/* The columns of the weight that x meets. */
static vn_node *columns_of(vn_node *n) {
    if (!n->attr.linear.part) return n->in[1];
    return vn_slice(n->graph, n->in[1], 1, n->attr.linear.from, vn_shape_last(&n->in[0]->shape));
}

/* The gradient of these among zeros. */
static vn_node *among_columns(vn_node *n, vn_node *dw) {
    if (!n->attr.linear.part) return dw;
    return vn_place(n->graph, dw, 1, n->attr.linear.from, n->in[1]->shape.dim[1]);
}

void vn_gradient_linear(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *x = n->in[0], *w = columns_of(n), *dy_rows = as_rows(g, before_act(n, dy));
    if (vn_wanted(n, 1))
        grad[1] = among_columns(n, vn_matmul(g, dy_rows, as_rows(g, x), true, false));
    if (n->inputs > 2 && vn_wanted(n, 2)) grad[2] = vn_sum_to(g, dy_rows, n->in[2]->shape);
    if (vn_wanted(n, 0)) grad[0] = vn_reshape(g, vn_matmul(g, dy_rows, w, false, false), x->shape);
}

vn_node *vn_expand_linear(vn_node *n) {
    vn_graph *g = n->graph;
    vn_node *y =
        vn_reshape(g, vn_matmul(g, as_rows(g, n->in[0]), columns_of(n), false, true), n->shape);
    return vn_unary(g, n->inputs > 2 ? vn_add(g, y, n->in[2]) : y, n->attr.linear.act);
}

/* ---- linear, with what is done to its result ------------------------------------------------- */

const char *vn_shape_linear_plus(vn_node *n) {
    const bool bias = n->attr.linear.bias, times = n->attr.linear.times, plus = n->attr.linear.plus;
    if (n->inputs != 2 + bias + times + plus) return "inputs are missing or too many";
    vn_node linear = *n;
    linear.inputs = 2 + bias;
    const char *why = vn_all_floats(n) ? vn_shape_linear(&linear) : "takes floats";
    if (why) return why;
    n->shape = linear.shape;
    if (times && !vn_shape_runs(&n->shape, &n->in[2 + bias]->shape))
        return "the factor is not one row for each run of rows";
    return plus && !vn_shape_equal(&n->in[n->inputs - 1]->shape, &n->shape)
               ? "what is added has another shape"
               : NULL;
}

vn_node *vn_expand_linear_plus(vn_node *n) {
    vn_graph *g = n->graph;
    const bool bias = n->attr.linear.bias, plus = n->attr.linear.plus;
    vn_node *y = plain(n, n->attr.linear.act), *times = n->in[2 + bias], *z = n->in[n->inputs - 1];
    if (!n->attr.linear.times) return plus ? vn_add(g, y, z) : y;
    return plus ? vn_mul_add(g, y, times, z) : vn_mul(g, y, times);
}
