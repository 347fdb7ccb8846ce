/* movement.c - ops that only move numbers: views, permutations, concatenation and its parts,
 * broadcasting and its adjoint. Each one's gradient is another of them. Fills are folded on the
 * way: what is the same number everywhere stays a fill.
 */
#include "tensor/internal.h"

#include <string.h>

/* ---- view ------------------------------------------------------------------------------------ */

const char *vn_shape_view(vn_node *n) {
    int64_t offset = n->attr.view.offset;
    if (!vn_shape_valid(&n->shape)) return "such a shape cannot be";
    n->dtype = n->in[0]->dtype;
    int64_t whole = vn_shape_count(&n->in[0]->shape), part = vn_shape_count(&n->shape);
    return offset < 0 || part > whole || offset > whole - part
               ? "the view is larger than what it looks at"
               : NULL;
}

vn_node *vn_view(vn_graph *g, vn_node *x, int64_t offset, vn_shape shape) {
    if (x && offset == 0 && vn_shape_equal(&x->shape, &shape)) return x;
    if (x && x->op == VN_OP_FILL && vn_shape_valid(&shape))
        return vn_fill(g, shape, x->attr.fill.value);
    vn_node *narrow = vn_widened_from(x);
    if (narrow) return vn_cast(g, vn_view(g, narrow, offset, shape), VN_F32);
    vn_node n = vn_draft(VN_OP_VIEW, 1, x);
    n.shape = shape;
    n.attr.view.offset = offset;
    return vn_graph_add(g, &n);
}

vn_node *vn_alias(vn_graph *g, vn_node *x) {
    vn_node n = vn_draft(VN_OP_VIEW, 1, x);
    if (x) n.shape = x->shape;
    return vn_graph_add_new(g, &n);
}

vn_node *vn_stop_gradient(vn_graph *g, vn_node *x) {
    if (x && x->op == VN_OP_FILL) return x;
    vn_node n = vn_draft(VN_OP_VIEW, 1, x);
    if (x) n.shape = x->shape;
    n.attr.view.stops = true;
    return vn_graph_add(g, &n);
}

vn_node *vn_reshape(vn_graph *g, vn_node *x, vn_shape shape) {
    int open = -1;
    int64_t known = 1, count = x ? vn_shape_count(&x->shape) : 0;
    for (int i = 0; i < shape.rank && i < VN_MAX_RANK; i++) {
        if (shape.dim[i] == -1 && open < 0)
            open = i;
        else if (shape.dim[i] < 0 || __builtin_mul_overflow(known, shape.dim[i], &known))
            return vn_graph_fail(g, VN_BAD_ARGUMENT, "reshape: such a shape cannot be");
    }
    if (!x) return vn_view(g, x, 0, shape);
    if (open >= 0 && known > 0 && count % known == 0) {
        shape.dim[open] = count / known;
        known = count;
    }
    if (known != count || (open >= 0 && shape.dim[open] < 0))
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "reshape: %lld elements do not fit the new shape",
                             (long long)count);
    return vn_view(g, x, 0, shape);
}

void vn_gradient_view(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    int64_t whole = vn_shape_count(&n->in[0]->shape), part = vn_shape_count(&n->shape);
    vn_node *flat = vn_reshape(g, dy, VN_SHAPE(part));
    if (part != whole) flat = vn_place(g, flat, 0, n->attr.view.offset, whole);
    grad[0] = vn_reshape(g, flat, n->in[0]->shape);
}

/* ---- permute --------------------------------------------------------------------------------- */

const char *vn_shape_permute(vn_node *n) {
    const vn_shape *s = &n->in[0]->shape;
    bool seen[VN_MAX_RANK] = {false};
    n->shape.rank = s->rank;
    for (int i = 0; i < s->rank; i++) {
        int from = n->attr.permute.perm[i];
        if (from < 0 || from >= s->rank || seen[from]) return "not a permutation of the axes";
        seen[from] = true;
        n->shape.dim[i] = s->dim[from];
    }
    return vn_all_floats(n) ? NULL : "takes floats";
}

vn_node *vn_permute(vn_graph *g, vn_node *x, const int *perm) {
    vn_node n = vn_draft(VN_OP_PERMUTE, 1, x);
    for (int i = 0; x && i < x->shape.rank; i++) n.attr.permute.perm[i] = perm[i];
    return vn_graph_add(g, &n);
}

void vn_gradient_permute(vn_node *n, vn_node *dy, vn_node **grad) {
    int inverse[VN_MAX_RANK] = {0};
    for (int i = 0; i < n->shape.rank; i++) inverse[n->attr.permute.perm[i]] = i;
    grad[0] = vn_permute(n->graph, dy, inverse);
}

/* ---- concat, slice, place -------------------------------------------------------------------- */

/* Equal in every axis but one? */
static bool same_but(const vn_shape *a, const vn_shape *b, int axis) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (i != axis && a->dim[i] != b->dim[i]) return false;
    return true;
}

const char *vn_shape_concat(vn_node *n) {
    int axis = n->attr.slice.axis;
    if (axis < 0 || axis >= n->in[0]->shape.rank) return "no such axis";
    if (!vn_all_floats(n)) return "takes floats";
    n->shape = n->in[0]->shape;
    for (int i = 1; i < n->inputs; i++) {
        if (!same_but(&n->shape, &n->in[i]->shape, axis)) return "the other axes differ";
        if (__builtin_add_overflow(n->shape.dim[axis], n->in[i]->shape.dim[axis],
                                   &n->shape.dim[axis]))
            return "too large";
    }
    return NULL;
}

vn_node *vn_concat(vn_graph *g, int axis, int n, vn_node *const *x) {
    if (n < 1 || n > VN_MAX_IN)
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "concat: takes 1 to %d arrays, not %d", VN_MAX_IN,
                             n);
    vn_node draft = vn_draft(VN_OP_CONCAT, 0);
    draft.inputs = n;
    for (int i = 0; i < n; i++) draft.in[i] = x[i];
    draft.attr.slice.axis = x[0] ? vn_axis(x[0], axis) : axis;
    return vn_graph_add(g, &draft);
}

void vn_gradient_concat(vn_node *n, vn_node *dy, vn_node **grad) {
    int axis = n->attr.slice.axis;
    int64_t begin = 0;
    for (int i = 0; i < n->inputs; i++) {
        int64_t length = n->in[i]->shape.dim[axis];
        if (vn_wanted(n, i)) grad[i] = vn_slice(n->graph, dy, axis, begin, length);
        begin += length;
    }
}

const char *vn_shape_slice(vn_node *n) {
    int axis = n->attr.slice.axis;
    const vn_shape *whole = &n->in[0]->shape;
    int64_t begin = n->attr.slice.begin;
    if (axis < 0 || axis >= whole->rank) return "no such axis";
    if (!same_but(&n->shape, whole, axis)) return "the other axes differ";
    int64_t length = n->shape.dim[axis];
    if (begin < 0 || length < 0 || length > whole->dim[axis] || begin > whole->dim[axis] - length)
        return "out of range";
    return vn_all_floats(n) ? NULL : "takes floats";
}

vn_node *vn_slice(vn_graph *g, vn_node *x, int axis, int64_t begin, int64_t length) {
    vn_node n = vn_draft(VN_OP_SLICE, 1, x);
    n.attr.slice.axis = x ? vn_axis(x, axis) : 0;
    n.attr.slice.begin = begin;
    if (x && n.attr.slice.axis >= 0) n.shape = vn_shape_with(&x->shape, n.attr.slice.axis, length);
    return vn_graph_add(g, &n);
}

void vn_gradient_slice(vn_node *n, vn_node *dy, vn_node **grad) {
    int axis = n->attr.slice.axis;
    grad[0] = vn_place(n->graph, dy, axis, n->attr.slice.begin, n->in[0]->shape.dim[axis]);
}

const char *vn_shape_place(vn_node *n) {
    int axis = n->attr.slice.axis;
    const vn_shape *part = &n->in[0]->shape;
    int64_t begin = n->attr.slice.begin;
    if (axis < 0 || axis >= part->rank) return "no such axis";
    if (!same_but(&n->shape, part, axis)) return "the other axes differ";
    int64_t total = n->shape.dim[axis];
    if (begin < 0 || part->dim[axis] > total || begin > total - part->dim[axis])
        return "out of range";
    return vn_all_floats(n) ? NULL : "takes floats";
}

vn_node *vn_place(vn_graph *g, vn_node *x, int axis, int64_t begin, int64_t total) {
    vn_node n = vn_draft(VN_OP_PLACE, 1, x);
    n.attr.slice.axis = x ? vn_axis(x, axis) : 0;
    n.attr.slice.begin = begin;
    if (x && n.attr.slice.axis >= 0) n.shape = vn_shape_with(&x->shape, n.attr.slice.axis, total);
    return vn_graph_add(g, &n);
}

void vn_gradient_place(vn_node *n, vn_node *dy, vn_node **grad) {
    int axis = n->attr.slice.axis;
    grad[0] = vn_slice(n->graph, dy, axis, n->attr.slice.begin, n->in[0]->shape.dim[axis]);
}

/* ---- broadcast, sum_to ----------------------------------------------------------------------- */

static const char *check_broadcast(const vn_shape *small, const vn_shape *large) {
    vn_shape both;
    if (!vn_shape_valid(large)) return "such a shape cannot be";
    if (!vn_shape_broadcast(small, large, &both) || !vn_shape_equal(&both, large))
        return "the shapes do not broadcast";
    return NULL;
}

const char *vn_shape_broadcast_to(vn_node *n) {
    return vn_all_floats(n) ? check_broadcast(&n->in[0]->shape, &n->shape) : "takes floats";
}

vn_node *vn_broadcast(vn_graph *g, vn_node *x, vn_shape shape) {
    if (x && vn_shape_equal(&x->shape, &shape)) return x;
    vn_node n = vn_draft(VN_OP_BROADCAST, 1, x);
    n.shape = shape;
    if (x && x->op == VN_OP_FILL && !vn_shape_broadcast_to(&n))
        return vn_fill(g, shape, x->attr.fill.value);
    return vn_graph_add(g, &n);
}

void vn_gradient_broadcast(vn_node *n, vn_node *dy, vn_node **grad) {
    grad[0] = vn_sum_to(n->graph, dy, n->in[0]->shape);
}

const char *vn_shape_sum_to(vn_node *n) {
    if (!vn_shape_valid(&n->shape)) return "such a shape cannot be";
    if (n->inputs > 1 && !vn_shape_equal(&n->in[0]->shape, &n->in[1]->shape))
        return "x and y differ in shape";
    return vn_all_floats(n) ? check_broadcast(&n->shape, &n->in[0]->shape) : "takes floats";
}

vn_node *vn_sum_to(vn_graph *g, vn_node *x, vn_shape shape) {
    if (x && vn_shape_equal(&x->shape, &shape)) return x;
    vn_node n = vn_draft(VN_OP_SUM_TO, 1, x);
    n.shape = shape;
    return vn_graph_add(g, &n);
}

/* A product with a fill, or one that is not summed, is simpler by itself. */
vn_node *vn_sum_product_to(vn_graph *g, vn_node *x, vn_node *y, vn_shape shape) {
    if (x && y && (vn_shape_equal(&x->shape, &shape) || x->op == VN_OP_FILL || y->op == VN_OP_FILL))
        return vn_sum_to(g, vn_mul(g, x, y), shape);
    vn_node n = vn_draft(VN_OP_SUM_TO, 2, x, y);
    n.shape = shape;
    return vn_graph_add(g, &n);
}

void vn_gradient_sum_to(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *each = vn_broadcast(g, dy, n->in[0]->shape);
    if (n->inputs == 1) grad[0] = each;
    for (int i = 0; i < n->inputs && n->inputs > 1; i++)
        if (vn_wanted(n, i)) grad[i] = vn_mul(g, n->in[1 - i], each);
}

vn_node *vn_mean(vn_graph *g, vn_node *x) {
    int64_t count = x ? vn_shape_count(&x->shape) : 1;
    return vn_affine(g, vn_sum_to(g, x, (vn_shape){.rank = 0}), 1.0 / (double)count, 0);
}
