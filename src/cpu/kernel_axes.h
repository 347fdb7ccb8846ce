/* kernel_axes.h - walking an array whose axes other arrays follow with strides of their own, 0
 * where they are broadcast. Axes that all arrays walk through as if they were one are merged, so
 * the common shapes come out short: equal shapes give one axis, a bias [C] two, a per-sample
 * [N,1,1,C] three. */
#ifndef VN_CPU_KERNEL_AXES_H
#define VN_CPU_KERNEL_AXES_H

#include "cpu/internal.h"

#define VN_MAX_OPERANDS 2

typedef struct vn_axes {
    int rank; /* at least 2 after vn_axes_merge; the last is the inner one */
    int64_t dim[VN_MAX_RANK];
    int64_t stride[VN_MAX_OPERANDS][VN_MAX_RANK]; /* in elements */
} vn_axes;

/* Strides of an array of shape `small` that is broadcast to axes->dim. */
static inline void vn_axes_broadcast(vn_axes *axes, int operand, const vn_shape *small) {
    int64_t step = 1;
    for (int i = axes->rank - 1, k = small->rank - 1; i >= 0; i--, k--) {
        bool follows = k >= 0 && small->dim[k] != 1;
        axes->stride[operand][i] = follows ? step : 0;
        if (follows) step *= small->dim[k];
    }
}

static inline vn_axes vn_axes_of(const vn_shape *shape) {
    vn_axes axes = {.rank = shape->rank};
    memcpy(axes.dim, shape->dim, sizeof axes.dim);
    return axes;
}

static inline bool vn_axes_joined(const vn_axes *a, int outer, int inner) {
    for (int k = 0; k < VN_MAX_OPERANDS; k++)
        if (a->stride[k][outer] != a->stride[k][inner] * a->dim[inner]) return false;
    return true;
}

/* Drops axes of length 1, merges neighbours that every operand walks as one, and puts axes of
 * length 1 before until there are two. */
static inline void vn_axes_merge(vn_axes *axes) {
    vn_axes m = {0};
    for (int i = 0; i < axes->rank; i++) {
        if (axes->dim[i] == 1) continue;
        m.dim[m.rank] = axes->dim[i];
        for (int k = 0; k < VN_MAX_OPERANDS; k++) m.stride[k][m.rank] = axes->stride[k][i];
        if (m.rank > 0 && vn_axes_joined(&m, m.rank - 1, m.rank)) {
            m.dim[m.rank - 1] *= m.dim[m.rank];
            for (int k = 0; k < VN_MAX_OPERANDS; k++) m.stride[k][m.rank - 1] = m.stride[k][m.rank];
        } else {
            m.rank++;
        }
    }
    int missing = m.rank < 2 ? 2 - m.rank : 0;
    *axes = (vn_axes){.rank = m.rank + missing};
    for (int i = 0; i < axes->rank; i++) {
        axes->dim[i] = i < missing ? 1 : m.dim[i - missing];
        for (int k = 0; k < VN_MAX_OPERANDS; k++)
            axes->stride[k][i] = i < missing ? 0 : m.stride[k][i - missing];
    }
    if (m.rank == 0) /* one element: a contiguous run of one */
        for (int k = 0; k < VN_MAX_OPERANDS; k++) axes->stride[k][axes->rank - 1] = 1;
}

/* Where element `index` (row-major) of axes [0, count) lies in an operand. */
static inline int64_t vn_axes_offset(const vn_axes *a, int operand, int count, int64_t index) {
    int64_t at = 0;
    for (int i = count - 1; i >= 0; i--) {
        at += index % a->dim[i] * a->stride[operand][i];
        index /= a->dim[i];
    }
    return at;
}

static inline int64_t vn_axes_count(const vn_axes *a, int count) {
    int64_t n = 1;
    for (int i = 0; i < count; i++) n *= a->dim[i];
    return n;
}

/* The array cut into pieces of about VN_BLOCK elements: some rows of the inner axis each, or a part
 * of one. */
typedef struct vn_axes_split {
    int64_t rows, row_step, column_step, columns; /* columns: pieces of a row */
    int64_t count;
} vn_axes_split;

static inline vn_axes_split vn_axes_split_of(const vn_axes *a) {
    int64_t length = vn_max_i64(a->dim[a->rank - 1], 1);
    vn_axes_split p = {.rows = vn_axes_count(a, a->rank - 1)};
    p.row_step = vn_max_i64(VN_BLOCK / length, 1);
    p.column_step = p.row_step > 1 ? length : vn_min_i64(length, VN_BLOCK);
    p.columns = vn_ceil_div(length, p.column_step);
    p.count = a->dim[a->rank - 1] == 0 ? 0 : vn_ceil_div(p.rows, p.row_step) * p.columns;
    return p;
}

/* A rectangle of a piece: `rows` rows, a step of stride[..][rank - 2] apart, of `columns`
 * elements. */
typedef struct vn_tile {
    int64_t rows, columns, out; /* out: offset in the walked array */
    int64_t at[VN_MAX_OPERANDS];
} vn_tile;

/* Takes the next tile of piece i from row *row on; false when the piece is done. *row begins as
 * 0. */
static inline bool vn_piece_tile(const vn_axes *a, const vn_axes_split *p, int64_t i, int64_t *row,
                                 vn_tile *tile) {
    int64_t begin = i / p->columns * p->row_step + *row, column = i % p->columns * p->column_step;
    int64_t end = vn_min_i64((i / p->columns + 1) * p->row_step, p->rows);
    if (begin >= end) return false;
    int64_t length = a->dim[a->rank - 1], middle = a->dim[a->rank - 2];
    tile->rows = vn_min_i64(end - begin, middle - begin % middle);
    tile->columns = vn_min_i64(p->column_step, length - column);
    tile->out = begin * length + column;
    for (int k = 0; k < VN_MAX_OPERANDS; k++)
        tile->at[k] = vn_axes_offset(a, k, a->rank - 1, begin) + column * a->stride[k][a->rank - 1];
    *row += tile->rows;
    return true;
}

#endif
