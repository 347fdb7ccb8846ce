/* pointwise.c - one number in, one number out: arithmetic with broadcasting, functions of one
 * variable, dropout.
 *
 * Arithmetic with a fill becomes affine or nothing, so that gradients which begin with ones cost
 * nothing.
 */
#include "tensor/internal.h"

/* ---- add, sub, mul, div ---------------------------------------------------------------------- */

const char *vn_shape_binary(vn_node *n) {
    if (!vn_all_floats(n)) return "takes floats";
    if (!vn_shape_broadcast(&n->in[0]->shape, &n->in[1]->shape, &n->shape))
        return "the shapes do not broadcast";
    return NULL;
}

static vn_node *binary(vn_graph *g, vn_op op, vn_node *a, vn_node *b) {
    vn_node n = vn_draft(op, 2, a, b);
    return vn_graph_add(g, &n);
}

/* Is b one number everywhere, and a op b of a's shape? */
static bool folds(const vn_node *a, const vn_node *b) {
    vn_shape both;
    return a && b && b->op == VN_OP_FILL && a->dtype == VN_F32 &&
           vn_shape_broadcast(&a->shape, &b->shape, &both) && vn_shape_equal(&a->shape, &both);
}

vn_node *vn_add(vn_graph *g, vn_node *a, vn_node *b) {
    if (folds(a, b)) return vn_affine(g, a, 1, b->attr.fill.value);
    if (folds(b, a)) return vn_affine(g, b, 1, a->attr.fill.value);
    return binary(g, VN_OP_ADD, a, b);
}

vn_node *vn_sub(vn_graph *g, vn_node *a, vn_node *b) {
    if (folds(a, b)) return vn_affine(g, a, 1, -b->attr.fill.value);
    if (folds(b, a)) return vn_affine(g, b, -1, a->attr.fill.value);
    return binary(g, VN_OP_SUB, a, b);
}

vn_node *vn_mul(vn_graph *g, vn_node *a, vn_node *b) {
    if (folds(a, b)) return vn_affine(g, a, b->attr.fill.value, 0);
    if (folds(b, a)) return vn_affine(g, b, a->attr.fill.value, 0);
    return binary(g, VN_OP_MUL, a, b);
}

vn_node *vn_div(vn_graph *g, vn_node *a, vn_node *b) {
    return binary(g, VN_OP_DIV, a, b);
}

/* grad[i] = dy's share, summed over what was broadcast. */
static void share(vn_node *n, int i, vn_node *dy, vn_node **grad) {
    grad[i] = vn_sum_to(n->graph, dy, n->in[i]->shape);
}

void vn_gradient_add(vn_node *n, vn_node *dy, vn_node **grad) {
    if (vn_wanted(n, 0)) share(n, 0, dy, grad);
    if (vn_wanted(n, 1)) share(n, 1, dy, grad);
}

void vn_gradient_sub(vn_node *n, vn_node *dy, vn_node **grad) {
    if (vn_wanted(n, 0)) share(n, 0, dy, grad);
    if (vn_wanted(n, 1))
        grad[1] = vn_affine(n->graph, vn_sum_to(n->graph, dy, n->in[1]->shape), -1, 0);
}

/* grad[i] = dy times the other factor, summed over what was broadcast. */
static void share_product(vn_node *n, int i, vn_node *dy, vn_node *other, vn_node **grad) {
    if (other && dy && vn_shape_equal(&other->shape, &dy->shape))
        grad[i] = vn_sum_product_to(n->graph, dy, other, n->in[i]->shape);
    else
        share(n, i, vn_mul(n->graph, dy, other), grad);
}

void vn_gradient_mul(vn_node *n, vn_node *dy, vn_node **grad) {
    if (vn_wanted(n, 0)) share_product(n, 0, dy, n->in[1], grad);
    if (vn_wanted(n, 1)) share_product(n, 1, dy, n->in[0], grad);
}

/* y = a / b: da = dy / b, db = -da y. */
void vn_gradient_div(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *da = vn_div(g, dy, n->in[1]);
    if (vn_wanted(n, 0)) share(n, 0, da, grad);
    if (vn_wanted(n, 1)) share(n, 1, vn_affine(g, vn_mul(g, da, n), -1, 0), grad);
}

/* ---- x y + z --------------------------------------------------------------------------------- */

const char *vn_shape_mul_add(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape;
    vn_shape both;
    if (!vn_all_floats(n)) return "takes floats";
    if (!vn_shape_equal(x, &n->in[2]->shape)) return "x and z differ in shape";
    if (!vn_shape_broadcast(x, &n->in[1]->shape, &both) || !vn_shape_equal(x, &both))
        return "y does not broadcast to x's shape";
    n->shape = *x;
    return NULL;
}

vn_node *vn_mul_add(vn_graph *g, vn_node *x, vn_node *y, vn_node *z) {
    vn_node n = vn_draft(VN_OP_MUL_ADD, 3, x, y, z);
    return vn_graph_add(g, &n);
}

void vn_gradient_mul_add(vn_node *n, vn_node *dy, vn_node **grad) {
    if (vn_wanted(n, 1)) share_product(n, 1, dy, n->in[0], grad);
    if (vn_wanted(n, 0)) grad[0] = vn_mul(n->graph, dy, n->in[1]);
    if (vn_wanted(n, 2)) grad[2] = dy;
}

vn_node *vn_expand_mul_add(vn_node *n) {
    return vn_add(n->graph, vn_mul(n->graph, n->in[0], n->in[1]), n->in[2]);
}

/* ---- number types ---------------------------------------------------------------------------- */

static bool is_half(vn_dtype dtype) {
    return dtype == VN_BF16 || dtype == VN_F16;
}

const char *vn_shape_cast(vn_node *n) {
    const vn_dtype from = n->in[0]->dtype;
    n->shape = n->in[0]->shape;
    if (n->dtype == VN_F32) return is_half(from) || from == VN_I32 ? NULL : "takes f16, bf16, i32";
    return is_half(n->dtype) && from == VN_F32 ? NULL : "gives f32, or f16 and bf16 of f32";
}

vn_node *vn_cast(vn_graph *g, vn_node *x, vn_dtype dtype) {
    if (x && x->dtype == dtype) return x;
    vn_node n = vn_draft(VN_OP_CAST, 1, x);
    n.dtype = dtype;
    return vn_graph_add(g, &n);
}

vn_node *vn_widened_from(vn_node *x) {
    return x && x->op == VN_OP_CAST && is_half(x->in[0]->dtype) ? x->in[0] : NULL;
}

/* Cotangents are f32 whatever the type of what they belong to. */
void vn_gradient_cast(vn_node *n, vn_node *dy, vn_node **grad) {
    grad[0] = dy;
    (void)n;
}

/* ---- affine ---------------------------------------------------------------------------------- */

const char *vn_shape_same(vn_node *n) {
    n->shape = n->in[0]->shape;
    return vn_all_floats(n) ? NULL : "takes floats";
}

vn_node *vn_affine(vn_graph *g, vn_node *x, double scale, double shift) {
    if (x && x->op == VN_OP_FILL) return vn_fill(g, x->shape, scale * x->attr.fill.value + shift);
    if (scale == 1 && shift == 0) return x;
    vn_node n = vn_draft(VN_OP_AFFINE, 1, x);
    n.attr.affine.scale = scale;
    n.attr.affine.shift = shift;
    return vn_graph_add(g, &n);
}

void vn_gradient_affine(vn_node *n, vn_node *dy, vn_node **grad) {
    grad[0] = vn_affine(n->graph, dy, n->attr.affine.scale, 0);
}

/* ---- functions of one variable --------------------------------------------------------------- */

const char *vn_shape_unary(vn_node *n) {
    int order = n->attr.unary.order;
    if (n->attr.unary.fn < 0 || n->attr.unary.fn >= VN_FN_COUNT) return "no such function";
    if (order < 0 || order > 2) return "derivatives go up to the second";
    return vn_shape_same(n);
}

vn_node *vn_unary_order(vn_graph *g, vn_node *x, vn_fn fn, int order) {
    vn_node n = vn_draft(VN_OP_UNARY, 1, x);
    n.attr.unary.fn = fn;
    n.attr.unary.order = order;
    return vn_graph_add(g, &n);
}

vn_node *vn_unary(vn_graph *g, vn_node *x, vn_fn fn) {
    return fn == VN_FN_IDENTITY ? x : vn_unary_order(g, x, fn, 0);
}

/* A cotangent that is a small array spread out is multiplied as it is: it need not exist at full
 * size. */
void vn_gradient_unary(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_fn fn = n->attr.unary.fn;
    int order = n->attr.unary.order;
    bool spread = dy->op == VN_OP_FILL || dy->op == VN_OP_BROADCAST;
    if (order == 2)
        vn_graph_fail(g, VN_UNSUPPORTED, "unary: no gradient of a second derivative");
    else if (order == 1 || spread)
        grad[0] = vn_mul(g, vn_unary_order(g, n->in[0], fn, order + 1), dy);
    else {
        vn_node draft = vn_draft(VN_OP_UNARY_GRAD, 2, n->in[0], dy);
        draft.attr.unary.fn = fn;
        grad[0] = vn_graph_add(g, &draft);
    }
}

const char *vn_shape_unary_grad(vn_node *n) {
    if (n->attr.unary.fn < 0 || n->attr.unary.fn >= VN_FN_COUNT) return "no such function";
    if (!vn_shape_equal(&n->in[0]->shape, &n->in[1]->shape)) return "x and dy differ in shape";
    return vn_shape_same(n);
}

void vn_gradient_unary_grad(vn_node *n, vn_node *c, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *x = n->in[0], *dy = n->in[1];
    if (vn_wanted(n, 0))
        grad[0] = vn_mul(g, vn_mul(g, c, dy), vn_unary_order(g, x, n->attr.unary.fn, 2));
    if (vn_wanted(n, 1)) {
        vn_node draft = vn_draft(VN_OP_UNARY_GRAD, 2, x, c);
        draft.attr.unary.fn = n->attr.unary.fn;
        grad[1] = vn_graph_add(g, &draft);
    }
}

vn_node *vn_expand_unary_grad(vn_node *n) {
    return vn_mul(n->graph, n->in[1], vn_unary_order(n->graph, n->in[0], n->attr.unary.fn, 1));
}

/* ---- dropout --------------------------------------------------------------------------------- */

const char *vn_shape_dropout(vn_node *n) {
    double p = n->attr.dropout.p;
    return p >= 0 && p < 1 ? vn_shape_same(n) : "p is not in [0,1)";
}

static vn_node *dropout_at(vn_graph *g, vn_node *x, double p, uint32_t site) {
    vn_node n = vn_draft(VN_OP_DROPOUT, 1, x);
    n.attr.dropout.p = p;
    n.attr.dropout.site = site;
    return vn_graph_add(g, &n);
}

vn_node *vn_dropout(vn_graph *g, vn_node *x, double p) {
    return p == 0 ? x : dropout_at(g, x, p, g->sites++);
}

uint32_t vn_graph_site(const vn_graph *g) {
    return g->sites;
}

void vn_graph_set_site(vn_graph *g, uint32_t site) {
    g->sites = site;
}

/* Linear in x, with the same mask: the site is the same. */
void vn_gradient_dropout(vn_node *n, vn_node *dy, vn_node **grad) {
    grad[0] = dropout_at(n->graph, dy, n->attr.dropout.p, n->attr.dropout.site);
}
