/* shape.c - shapes: counting, comparing, numpy's broadcasting rule. */
#include "tensor/internal.h"

int64_t vn_shape_count(const vn_shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

bool vn_shape_equal(const vn_shape *a, const vn_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

vn_shape vn_shape_make(int rank, const int64_t *dim) {
    vn_shape s = {.rank = rank};
    for (int i = 0; i < rank && i < VN_MAX_RANK; i++) s.dim[i] = dim[i];
    return s;
}

vn_shape vn_shape_of(int rank, ...) {
    vn_shape s = {.rank = rank};
    va_list args;
    va_start(args, rank);
    for (int i = 0; i < rank && i < VN_MAX_RANK; i++) s.dim[i] = va_arg(args, int64_t);
    va_end(args);
    return s;
}

/* The limit leaves room to count the bytes of many such arrays. */
bool vn_shape_valid(const vn_shape *s) {
    int64_t n = 1;
    if (s->rank < 0 || s->rank > VN_MAX_RANK) return false;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0 || __builtin_mul_overflow(n, s->dim[i] ? s->dim[i] : 1, &n)) return false;
    return n <= INT64_C(1) << 45;
}

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
