/* kernel_move.c - ops that only move numbers: fill, permute, concat, slice, place, broadcast.
 * Floats and integers are both four bytes, so one code moves them. */
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

typedef struct fill_job {
    word *y, value;
    int64_t n;
} fill_job;

static void fill_block(void *context, int64_t block, int thread) {
    const fill_job *f = context;
    const int64_t i = block * VN_BLOCK;
    (void)thread;
    fill_words(f->y + i, f->value, vn_min_i64(VN_BLOCK, f->n - i));
}

void VN_K(fill)(const vn_kernel_args *a) {
    double value = a->node->attr.fill.value;
    int32_t whole = a->node->dtype == VN_I32 ? (int32_t)value : 0;
    float real = (float)value;
    fill_job f = {.y = a->out, .n = vn_shape_count(&a->node->shape)};
    memcpy(&f.value, a->node->dtype == VN_I32 ? (const void *)&whole : (const void *)&real,
           sizeof f.value);
    vn_thread_pool_run(vn_share(a->pool, (double)f.n), vn_block_count(f.n), fill_block, &f);
}

/* ---- rows in order: broadcast, and permutations that keep the last axis ---------------------- */

typedef struct gathering {
    const vn_axes *axes;
    vn_axes_split pieces;
    const word *x;
    word *y;
} gathering;

static void gather_piece(void *context, int64_t piece, int thread) {
    const gathering *g = context;
    const vn_axes *axes = g->axes;
    const int64_t length = axes->dim[axes->rank - 1], step = axes->stride[0][axes->rank - 1];
    const int64_t x_row = axes->stride[0][axes->rank - 2];
    vn_tile t;
    (void)thread;
    for (int64_t row = 0; vn_piece_tile(axes, &g->pieces, piece, &row, &t);)
        for (int64_t r = 0; r < t.rows; r++) {
            const word *from = g->x + t.at[0] + r * x_row;
            if (step)
                copy_words(g->y + t.out + r * length, from, t.columns);
            else
                fill_words(g->y + t.out + r * length, *from, t.columns);
        }
}

/* y, walked in order, from x by the axes' strides; the inner one is 0 or 1. */
static void gather_rows(const vn_axes *axes, const vn_kernel_args *a) {
    gathering g = {axes, vn_axes_split_of(axes), a->in[0], a->out};
    vn_thread_pool_run(vn_share(a->pool, 2.0 * (double)vn_axes_count(axes, axes->rank)),
                       g.pieces.count, gather_piece, &g);
}

void VN_K(broadcast)(const vn_kernel_args *a) {
    vn_axes axes = vn_axes_of(&a->node->shape);
    vn_axes_broadcast(&axes, 0, &a->node->in[0]->shape);
    vn_axes_merge(&axes);
    gather_rows(&axes, a);
}

/* ---- transposition --------------------------------------------------------------------------- */

#define TILE 16 /* a tile's rows are whole cache lines on both sides */

/* y[i * y_step + j] = x[i + j * x_step] for i < rows, j < columns. */
static void transpose_strip(const word *x, int64_t x_step, word *y, int64_t y_step, int64_t rows,
                            int64_t columns) {
    for (int64_t j0 = 0; j0 < columns; j0 += TILE) {
        int64_t j1 = vn_min_i64(j0 + TILE, columns);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = j0; j < j1; j++) y[i * y_step + j] = x[i + j * x_step];
    }
}

typedef struct strips {
    vn_axes outer; /* axis k counts strips; operand 0: x, 1: y */
    /* axis k: elements, strips; strips that differ in axes behind k alone */
    int64_t length, strips, inside;
    int64_t columns, x_step, y_step;
    const word *x;
    word *y;
} strips;

static void transpose_task(void *context, int64_t i, int thread) {
    const strips *s = context;
    const int last = s->outer.rank - 1;
    const int64_t rows = vn_min_i64(TILE, s->length - i / s->inside % s->strips * TILE);
    (void)thread;
    transpose_strip(s->x + vn_axes_offset(&s->outer, 0, last, i), s->x_step,
                    s->y + vn_axes_offset(&s->outer, 1, last, i), s->y_step, rows, s->columns);
}

/* The inner axis of x is axis k of y, k < the last: strips of TILE of it, for every index of the
 * other axes. */
static void transpose(const vn_axes *axes, int k, const vn_kernel_args *a) {
    const int last = axes->rank - 1;
    strips s = {.outer = *axes, .length = axes->dim[k], .x = a->in[0], .y = a->out};
    s.strips = vn_ceil_div(s.length, TILE);
    s.columns = axes->dim[last];
    s.x_step = axes->stride[0][last];
    s.y_step = 1;
    for (int i = k + 1; i <= last; i++) s.y_step *= axes->dim[i];
    for (int64_t i = last, step = 1; i >= 0; step *= axes->dim[i], i--) s.outer.stride[1][i] = step;
    s.outer.dim[k] = s.strips;
    s.outer.stride[0][k] *= TILE;
    s.outer.stride[1][k] *= TILE;
    const int64_t count = vn_axes_count(&s.outer, last);
    s.inside = count / vn_axes_count(&s.outer, k + 1);
    vn_thread_pool_run(vn_share(a->pool, 4.0 * (double)(count * s.columns * TILE)), count,
                       transpose_task, &s);
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
            transpose(&axes, i, a);
            return;
        }
    gather_rows(&axes, a);
}

/* ---- parts of an axis: concat, slice, place -------------------------------------------------- */

/* `rows` runs of `length` words, x_step and y_step apart; before each in y are `head` zeros, and
 * after it `tail`. */
typedef struct runs {
    const word *x;
    int64_t x_step;
    word *y;
    int64_t y_step, rows, length, head, tail, parts;
} runs;

static void copy_part(void *context, int64_t part, int thread) {
    const runs *c = context;
    int64_t begin, end;
    (void)thread;
    vn_part(c->rows, c->parts, part, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        word *y = c->y + r * c->y_step;
        fill_words(y, 0, c->head);
        copy_words(y + c->head, c->x + r * c->x_step, c->length);
        fill_words(y + c->head + c->length, 0, c->tail);
    }
}

static void copy_runs(vn_thread_pool *pool, runs c) {
    const int64_t words = 2 * c.length + c.head + c.tail; /* read or written */
    c.parts = vn_row_parts(c.rows, words);
    vn_thread_pool_run(vn_share(pool, (double)c.rows * (double)words), c.parts, copy_part, &c);
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
    int64_t rows = before(&n->shape, axis), inner = after(&n->shape, axis),
            whole = n->shape.dim[axis] * inner;
    word *y = a->out;
    for (int i = 0; i < n->inputs; i++) {
        int64_t length = n->in[i]->shape.dim[axis] * inner;
        copy_runs(a->pool, (runs){.x = a->in[i],
                                  .x_step = length,
                                  .y = y,
                                  .y_step = whole,
                                  .rows = rows,
                                  .length = length});
        y += length;
    }
}

void VN_K(slice)(const vn_kernel_args *a) {
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    int axis = a->node->attr.slice.axis;
    int64_t inner = after(to, axis), length = to->dim[axis] * inner;
    copy_runs(a->pool, (runs){.x = (const word *)a->in[0] + a->node->attr.slice.begin * inner,
                              .x_step = from->dim[axis] * inner,
                              .y = a->out,
                              .y_step = length,
                              .rows = before(to, axis),
                              .length = length});
}

void VN_K(place)(const vn_kernel_args *a) {
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    int axis = a->node->attr.slice.axis;
    int64_t inner = after(to, axis), whole = to->dim[axis] * inner;
    int64_t head = a->node->attr.slice.begin * inner, length = from->dim[axis] * inner;
    copy_runs(a->pool, (runs){.x = a->in[0],
                              .x_step = length,
                              .y = a->out,
                              .y_step = whole,
                              .rows = before(to, axis),
                              .length = length,
                              .head = head,
                              .tail = whole - head - length});
}
