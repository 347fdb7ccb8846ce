/* shape.c - numpy's broadcasting rule, and shapes made from others. */
#include "tensor/internal.h"

bool vn_shape_broadcast(const vn_shape *a, const vn_shape *b, vn_shape *out) {
    const vn_shape *longer = a->rank >= b->rank ? a : b, *other = longer == a ? b : a;
    int shift = longer->rank - other->rank;
    vn_shape s = *longer;
    for (int i = 0; i < other->rank; i++) {
        int64_t *d = &s.dim[shift + i], e = other->dim[i];
        if (*d != e && *d != 1 && e != 1) return false;
        if (*d == 1) *d = e;
    }
    *out = s;
    return true;
}

int64_t vn_shape_last(const vn_shape *s) {
    return s->rank ? s->dim[s->rank - 1] : 1;
}

bool vn_shape_runs(const vn_shape *a, const vn_shape *b) {
    int i = 0;
    if (a->rank != b->rank || a->rank < 1 || vn_shape_last(a) != vn_shape_last(b)) return false;
    while (i < a->rank - 1 && a->dim[i] == b->dim[i]) i++;
    while (i < a->rank - 1 && b->dim[i] == 1) i++;
    return i == a->rank - 1;
}

vn_shape vn_shape_rows(const vn_shape *s) {
    vn_shape out = {.rank = 2, .dim = {1, vn_shape_last(s)}};
    for (int i = 0; i < s->rank - 1; i++) out.dim[0] *= s->dim[i];
    return out;
}

vn_shape vn_shape_with(const vn_shape *s, int axis, int64_t length) {
    vn_shape out = *s;
    out.dim[axis] = length;
    return out;
}

int vn_axis(const vn_node *x, int axis) {
    int at = axis < 0 ? axis + x->shape.rank : axis;
    return at >= 0 && at < x->shape.rank ? at : -1;
}

bool vn_all_floats(const vn_node *n) {
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i]->dtype != VN_F32) return false;
    return true;
}
