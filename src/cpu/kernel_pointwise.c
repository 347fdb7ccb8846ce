/* kernel_pointwise.c - add, subtract, multiply and divide with numpy's broadcasting, x y + z, and
 * scale * x + shift. After vn_axes_merge the inner axis of each side is either contiguous or one
 * number, so three loops serve every shape. */
#include "cpu/kernel_axes.h"

typedef vn_vec (*combine)(vn_vec a, vn_vec b);

VN_INLINE vn_vec plus(vn_vec a, vn_vec b) {
    return a + b;
}

VN_INLINE vn_vec minus(vn_vec a, vn_vec b) {
    return a - b;
}

VN_INLINE vn_vec times(vn_vec a, vn_vec b) {
    return a * b;
}

VN_INLINE vn_vec over(vn_vec a, vn_vec b) {
    return a / b;
}

/* n <= VN_LANES elements of each side. a_step, b_step: 1, or 0 for one number. */
VN_INLINE void run_vector(combine f, int a_step, int b_step, const float *a, const float *b,
                          float *y, int64_t n) {
    vn_store_n(y, f(a_step ? vn_load_n(a, n) : vn_set(*a), b_step ? vn_load_n(b, n) : vn_set(*b)),
               n);
}

VN_INLINE void run_row(combine f, int a_step, int b_step, const float *a, const float *b, float *y,
                       int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        run_vector(f, a_step, b_step, a + i * a_step, b + i * b_step, y + i, VN_LANES);
    if (i < n) run_vector(f, a_step, b_step, a + i * a_step, b + i * b_step, y + i, n - i);
}

#define HELD 4 /* vectors of b that repeat_columns holds */

/* Rows of `vectors` <= HELD vectors, b the same for all: a bias. */
VN_INLINE void repeat_columns(combine f, const float *a, int64_t a_row, const float *b, float *y,
                              int64_t y_row, int64_t rows, int vectors) {
    vn_vec held[HELD];
    for (int k = 0; k < vectors; k++) held[k] = vn_load(b + k * VN_LANES);
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < vectors; k++)
            vn_store(y + r * y_row + k * VN_LANES,
                     f(vn_load(a + r * a_row + k * VN_LANES), held[k]));
}

VN_INLINE void repeat_tile(combine f, const float *a, int64_t a_row, const float *b, float *y,
                           int64_t y_row, int64_t rows, int64_t columns) {
    int64_t c = 0;
    for (; c + 4 * VN_LANES <= columns; c += 4 * VN_LANES)
        repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 4);
    for (; c + 2 * VN_LANES <= columns; c += 2 * VN_LANES)
        repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 2);
    for (; c + VN_LANES <= columns; c += VN_LANES)
        repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 1);
    for (int64_t r = 0; r < rows && c < columns; r++)
        run_vector(f, 1, 1, a + r * a_row + c, b + c, y + r * y_row + c, columns - c);
}

VN_INLINE void run_tile(combine f, int a_step, int b_step, const vn_axes *x, const vn_tile *t,
                        const float *a, const float *b, float *y) {
    int64_t a_row = x->stride[0][x->rank - 2], b_row = x->stride[1][x->rank - 2],
            y_row = x->dim[x->rank - 1];
    a += t->at[0];
    b += t->at[1];
    y += t->out;
    if (a_step && b_step && b_row == 0)
        repeat_tile(f, a, a_row, b, y, y_row, t->rows, t->columns);
    else
        for (int64_t r = 0; r < t->rows; r++)
            run_row(f, a_step, b_step, a + r * a_row, b + r * b_row, y + r * y_row, t->columns);
}

typedef struct operands {
    vn_axes axes;
    vn_axes_split pieces;
    const float *a, *b;
    float *y;
} operands;

VN_INLINE void run_piece(combine f, const operands *o, int64_t piece) {
    const vn_axes *x = &o->axes;
    const int64_t a_step = x->stride[0][x->rank - 1], b_step = x->stride[1][x->rank - 1];
    vn_tile t;
    for (int64_t row = 0; vn_piece_tile(x, &o->pieces, piece, &row, &t);)
        if (a_step && b_step)
            run_tile(f, 1, 1, x, &t, o->a, o->b, o->y);
        else if (a_step)
            run_tile(f, 1, 0, x, &t, o->a, o->b, o->y);
        else
            run_tile(f, 0, 1, x, &t, o->a, o->b, o->y);
}

static void run_binary(vn_task task, const vn_kernel_args *a) {
    const vn_node *n = a->node;
    operands o = {.axes = vn_axes_of(&n->shape), .a = a->in[0], .b = a->in[1], .y = a->out};
    vn_axes_broadcast(&o.axes, 0, &n->in[0]->shape);
    vn_axes_broadcast(&o.axes, 1, &n->in[1]->shape);
    vn_axes_merge(&o.axes);
    o.pieces = vn_axes_split_of(&o.axes);
    vn_thread_pool_run(vn_share(a->pool, (double)vn_shape_count(&n->shape) * 2), o.pieces.count,
                       task, &o);
}

#define VN_BINARY(kernel, f)                                                                       \
    static void kernel##_piece(void *context, int64_t piece, int thread) {                         \
        (void)thread;                                                                              \
        run_piece(f, context, piece);                                                              \
    }                                                                                              \
    void VN_K(kernel)(const vn_kernel_args *a) {                                                   \
        run_binary(kernel##_piece, a);                                                             \
    }
VN_BINARY(add, plus)
VN_BINARY(sub, minus)
VN_BINARY(mul, times)
VN_BINARY(div, over)

/* ---- x y + z --------------------------------------------------------------------------------- */

VN_INLINE void mul_add_row(int y_step, const float *x, const float *y, const float *z, float *out,
                           int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        vn_store(out + i,
                 vn_fma(vn_load(x + i), y_step ? vn_load(y + i) : vn_set(*y), vn_load(z + i)));
    if (i == n) return;
    const vn_vec by = y_step ? vn_load_part(y + i, n - i) : vn_set(*y);
    vn_store_part(out + i, vn_fma(vn_load_part(x + i, n - i), by, vn_load_part(z + i, n - i)),
                  n - i);
}

typedef struct three {
    vn_axes axes; /* operand 0: x, as z and out; 1: y */
    vn_axes_split pieces;
    const float *x, *y, *z;
    float *out;
} three;

static void mul_add_piece(void *context, int64_t piece, int thread) {
    const three *o = context;
    const vn_axes *a = &o->axes;
    const int64_t y_row = a->stride[1][a->rank - 2], row = a->dim[a->rank - 1];
    vn_tile t;
    (void)thread;
    for (int64_t done = 0; vn_piece_tile(a, &o->pieces, piece, &done, &t);)
        for (int64_t r = 0, at = t.out; r < t.rows; r++, at += row)
            if (a->stride[1][a->rank - 1])
                mul_add_row(1, o->x + at, o->y + t.at[1] + r * y_row, o->z + at, o->out + at,
                            t.columns);
            else
                mul_add_row(0, o->x + at, o->y + t.at[1] + r * y_row, o->z + at, o->out + at,
                            t.columns);
}

void VN_K(mul_add)(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    three o = {
        .axes = vn_axes_of(&n->shape), .x = a->in[0], .y = a->in[1], .z = a->in[2], .out = a->out};
    vn_axes_broadcast(&o.axes, 0, &n->shape);
    vn_axes_broadcast(&o.axes, 1, &n->in[1]->shape);
    vn_axes_merge(&o.axes);
    o.pieces = vn_axes_split_of(&o.axes);
    vn_thread_pool_run(vn_share(a->pool, (double)vn_shape_count(&n->shape) * 3), o.pieces.count,
                       mul_add_piece, &o);
}

/* ---- scale * x + shift ----------------------------------------------------------------------- */

static void affine_span(const float *x, float *y, int64_t n, vn_vec scale, vn_vec shift) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_store(y + i, vn_fma(vn_load(x + i), scale, shift));
    if (i < n) vn_store_part(y + i, vn_fma(vn_load_part(x + i, n - i), scale, shift), n - i);
}

typedef struct line {
    const float *x;
    float *y;
    int64_t n;
    float scale, shift;
} line;

static void affine_block(void *context, int64_t block, int thread) {
    const line *l = context;
    const int64_t i = block * VN_BLOCK;
    (void)thread;
    affine_span(l->x + i, l->y + i, vn_min_i64(VN_BLOCK, l->n - i), vn_set(l->scale),
                vn_set(l->shift));
}

void VN_K(affine)(const vn_kernel_args *a) {
    const vn_attr *attr = &a->node->attr;
    line l = {a->in[0], a->out, vn_shape_count(&a->node->shape), (float)attr->affine.scale,
              (float)attr->affine.shift};
    vn_thread_pool_run(vn_share(a->pool, (double)l.n * 2), vn_block_count(l.n), affine_block, &l);
}
