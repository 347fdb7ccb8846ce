/* kernel_move.c - ops that only move numbers: fill, permute, concat, slice, place, broadcast. Floats and integers are both
 * four bytes, so one code moves them. */
#include "cpu/kernel_axes.h"

typedef uint32_t __attribute__((may_alias)) word;

static void fill_words(word *y, word value, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = value;
}

static void copy_words(word *y, const word *x, int64_t n) {
    if (n <= 64) /* short runs: a call costs more than the copy */
        for (int64_t i = 0; i < n; i++) y[i] = x[i];
    else
        memcpy(y, x, (size_t)n * sizeof *y);
}

void VN_K(fill)(const vn_kernel_args *a) {
    double value = a->node->attr.fill.value;
    int32_t whole = a->node->dtype == VN_I32 ? (int32_t)value : 0;
    float real = (float)value;
    word bits, *y = a->out;
    memcpy(&bits, a->node->dtype == VN_I32 ? (const void *)&whole : (const void *)&real, sizeof bits);
    int64_t n = vn_shape_count(&a->node->shape);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, (double)n))
    for (int64_t i = 0; i < n; i += VN_BLOCK) fill_words(y + i, bits, vn_min_i64(VN_BLOCK, n - i));
}

/* ---- rows in order: broadcast, and permutations that keep the last axis ------------------------------- */

/* y, walked in order, from x by the axes' strides; the inner one is 0 or 1. */
static void gather_rows(const vn_axes *axes, const word *x, word *y, int threads) {
    vn_pieces p = vn_axes_pieces(axes);
    int64_t length = axes->dim[axes->rank - 1], step = axes->stride[0][axes->rank - 1];
    int64_t x_row = axes->stride[0][axes->rank - 2];
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(threads, 2.0 * (double)(p.rows * length)))
    for (int64_t i = 0; i < p.count; i++) {
        vn_tile t;
        for (int64_t row = 0; vn_piece_tile(axes, &p, i, &row, &t);)
            for (int64_t r = 0; r < t.rows; r++) {
                const word *from = x + t.at[0] + r * x_row;
                if (step)
                    copy_words(y + t.out + r * length, from, t.columns);
                else
                    fill_words(y + t.out + r * length, *from, t.columns);
            }
    }
}

void VN_K(broadcast)(const vn_kernel_args *a) {
    vn_axes axes = vn_axes_of(&a->node->shape);
    vn_axes_broadcast(&axes, 0, &a->node->in[0]->shape);
    vn_axes_merge(&axes);
    gather_rows(&axes, a->in[0], a->out, a->threads);
}

/* ---- transposition ------------------------------------------------------------------------------------ */

#define TILE 16 /* a tile's rows are whole cache lines on both sides */

/* y[i * y_step + j] = x[i + j * x_step] for i < rows, j < columns. */
static void transpose_strip(const word *x, int64_t x_step, word *y, int64_t y_step, int64_t rows, int64_t columns) {
    for (int64_t j0 = 0; j0 < columns; j0 += TILE) {
        int64_t j1 = vn_min_i64(j0 + TILE, columns);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = j0; j < j1; j++) y[i * y_step + j] = x[i + j * x_step];
    }
}

/* The inner axis of x is axis k of y, k < the last: strips of TILE of it, for every index of the other axes. */
static void transpose(const vn_axes *axes, int k, const word *x, word *y, int threads) {
    int last = axes->rank - 1;
    int64_t columns = axes->dim[last], y_step = 1, strips = vn_ceil_div(axes->dim[k], TILE);
    vn_axes outer = *axes; /* operand 1 becomes y */
    for (int i = k + 1; i <= last; i++) y_step *= axes->dim[i];
    for (int64_t i = last, step = 1; i >= 0; step *= axes->dim[i], i--) outer.stride[1][i] = step;
    outer.dim[k] = strips;
    outer.stride[0][k] *= TILE;
    outer.stride[1][k] *= TILE;
    int64_t count = vn_axes_count(&outer, last), inside = count / vn_axes_count(&outer, k + 1);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(threads, 4.0 * (double)(count * columns * TILE)))
    for (int64_t i = 0; i < count; i++) {
        int64_t rows = vn_min_i64(TILE, axes->dim[k] - i / inside % strips * TILE);
        transpose_strip(x + vn_axes_offset(&outer, 0, last, i), axes->stride[0][last],
                        y + vn_axes_offset(&outer, 1, last, i), y_step, rows, columns);
    }
}

void VN_K(permute)(const vn_kernel_args *a) {
    const vn_shape *from = &a->node->in[0]->shape;
    int64_t step[VN_MAX_RANK];
    int64_t count = 1;
    for (int i = from->rank - 1; i >= 0; count *= from->dim[i], i--) step[i] = count;
    if (count == 0) return;
    vn_axes axes = vn_axes_of(&a->node->shape);
    for (int i = 0; i < from->rank; i++) axes.stride[0][i] = step[a->node->attr.permute.perm[i]];
    vn_axes_merge(&axes);
    for (int i = 0; i < axes.rank - 1; i++)
        if (axes.dim[i] > 1 && axes.stride[0][i] == 1) {
            transpose(&axes, i, a->in[0], a->out, a->threads);
            return;
        }
    gather_rows(&axes, a->in[0], a->out, a->threads);
}

/* ---- parts of an axis: concat, slice, place ------------------------------------------------------------ */

/* `rows` runs of `length` words, x_step and y_step apart. */
static void copy_runs(const word *x, int64_t x_step, word *y, int64_t y_step, int64_t rows, int64_t length,
                      int threads) {
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(threads, 2.0 * (double)rows * (double)length))
    for (int64_t r = 0; r < rows; r++) copy_words(y + r * y_step, x + r * x_step, length);
}

/* Product of the axes before and after `axis`. */
static int64_t before(const vn_shape *s, int axis) {
    int64_t n = 1;
    for (int i = 0; i < axis; i++) n *= s->dim[i];
    return n;
}

static int64_t after(const vn_shape *s, int axis) {
    int64_t n = 1;
    for (int i = axis + 1; i < s->rank; i++) n *= s->dim[i];
    return n;
}

void VN_K(concat)(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    int axis = n->attr.slice.axis;
    int64_t rows = before(&n->shape, axis), inner = after(&n->shape, axis), whole = n->shape.dim[axis] * inner;
    word *y = a->out;
    for (int i = 0; i < n->inputs; i++) {
        int64_t length = n->in[i]->shape.dim[axis] * inner;
        copy_runs(a->in[i], length, y, whole, rows, length, a->threads);
        y += length;
    }
}

void VN_K(slice)(const vn_kernel_args *a) {
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    int axis = a->node->attr.slice.axis;
    int64_t inner = after(to, axis);
    copy_runs((const word *)a->in[0] + a->node->attr.slice.begin * inner, from->dim[axis] * inner, a->out,
              to->dim[axis] * inner, before(to, axis), to->dim[axis] * inner, a->threads);
}

void VN_K(place)(const vn_kernel_args *a) {
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    int axis = a->node->attr.slice.axis;
    int64_t inner = after(to, axis), rows = before(to, axis), whole = to->dim[axis] * inner;
    int64_t head = a->node->attr.slice.begin * inner, length = from->dim[axis] * inner;
    const word *x = a->in[0];
    word *y = a->out;
#pragma omp parallel for schedule(static)                                                                              \
    num_threads(vn_threads_for(a->threads, (double)rows *(double)(whole + length)))
    for (int64_t r = 0; r < rows; r++) {
        word *row = y + r * whole;
        fill_words(row, 0, head);
        copy_words(row + head, x + r * length, length);
        fill_words(row + head + length, 0, whole - head - length);
    }
}
