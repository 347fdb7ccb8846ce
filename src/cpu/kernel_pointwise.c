/* kernel_pointwise.c - add, subtract, multiply and divide with numpy's broadcasting, and scale * x + shift.
 * After vn_axes_merge the inner axis of each side is either contiguous or one number, so three loops serve every shape. */
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
VN_INLINE void run_vector(combine f, int a_step, int b_step, const float *a, const float *b, float *y, int64_t n) {
    vn_store_n(y, f(a_step ? vn_load_n(a, n) : vn_set(*a), b_step ? vn_load_n(b, n) : vn_set(*b)), n);
}

VN_INLINE void run_row(combine f, int a_step, int b_step, const float *a, const float *b, float *y, int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        run_vector(f, a_step, b_step, a + i * a_step, b + i * b_step, y + i, VN_LANES);
    if (i < n) run_vector(f, a_step, b_step, a + i * a_step, b + i * b_step, y + i, n - i);
}

#define HELD 4 /* vectors of b that repeat_columns holds */

/* Rows of `vectors` <= HELD vectors, b the same for all: a bias. */
VN_INLINE void repeat_columns(combine f, const float *a, int64_t a_row, const float *b, float *y, int64_t y_row,
                              int64_t rows, int vectors) {
    vn_vec held[HELD];
    for (int k = 0; k < vectors; k++) held[k] = vn_load(b + k * VN_LANES);
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < vectors; k++)
            vn_store(y + r * y_row + k * VN_LANES, f(vn_load(a + r * a_row + k * VN_LANES), held[k]));
}

VN_INLINE void repeat_tile(combine f, const float *a, int64_t a_row, const float *b, float *y, int64_t y_row,
                           int64_t rows, int64_t columns) {
    int64_t c = 0;
    for (; c + 4 * VN_LANES <= columns; c += 4 * VN_LANES)
        repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 4);
    for (; c + 2 * VN_LANES <= columns; c += 2 * VN_LANES)
        repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 2);
    for (; c + VN_LANES <= columns; c += VN_LANES) repeat_columns(f, a + c, a_row, b + c, y + c, y_row, rows, 1);
    for (int64_t r = 0; r < rows && c < columns; r++)
        run_vector(f, 1, 1, a + r * a_row + c, b + c, y + r * y_row + c, columns - c);
}

VN_INLINE void run_tile(combine f, int a_step, int b_step, const vn_axes *x, const vn_tile *t, const float *a,
                        const float *b, float *y) {
    int64_t a_row = x->stride[0][x->rank - 2], b_row = x->stride[1][x->rank - 2], y_row = x->dim[x->rank - 1];
    a += t->at[0];
    b += t->at[1];
    y += t->out;
    if (a_step && b_step && b_row == 0)
        repeat_tile(f, a, a_row, b, y, y_row, t->rows, t->columns);
    else
        for (int64_t r = 0; r < t->rows; r++)
            run_row(f, a_step, b_step, a + r * a_row, b + r * b_row, y + r * y_row, t->columns);
}

VN_INLINE void run_binary(combine f, const vn_kernel_args *args) {
    const vn_node *n = args->node;
    const float *a = args->in[0], *b = args->in[1];
    float *y = args->out;
    vn_axes x = vn_axes_of(&n->shape);
    vn_axes_broadcast(&x, 0, &n->in[0]->shape);
    vn_axes_broadcast(&x, 1, &n->in[1]->shape);
    vn_axes_merge(&x);
    vn_pieces p = vn_axes_pieces(&x);
    int64_t a_step = x.stride[0][x.rank - 1], b_step = x.stride[1][x.rank - 1];
#pragma omp parallel for schedule(static)                                                                              \
    num_threads(vn_threads_for(args->threads, (double)vn_shape_count(&n->shape) * 2))
    for (int64_t i = 0; i < p.count; i++) {
        vn_tile t;
        for (int64_t row = 0; vn_piece_tile(&x, &p, i, &row, &t);)
            if (a_step && b_step)
                run_tile(f, 1, 1, &x, &t, a, b, y);
            else if (a_step)
                run_tile(f, 1, 0, &x, &t, a, b, y);
            else
                run_tile(f, 0, 1, &x, &t, a, b, y);
    }
}

void VN_K(add)(const vn_kernel_args *a) {
    run_binary(plus, a);
}

void VN_K(sub)(const vn_kernel_args *a) {
    run_binary(minus, a);
}

void VN_K(mul)(const vn_kernel_args *a) {
    run_binary(times, a);
}

void VN_K(div)(const vn_kernel_args *a) {
    run_binary(over, a);
}

static void affine_span(const float *x, float *y, int64_t n, vn_vec scale, vn_vec shift) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_store(y + i, vn_fma(vn_load(x + i), scale, shift));
    if (i < n) vn_store_part(y + i, vn_fma(vn_load_part(x + i, n - i), scale, shift), n - i);
}

void VN_K(affine)(const vn_kernel_args *a) {
    const float *x = a->in[0];
    float *y = a->out;
    vn_vec scale = vn_set((float)a->node->attr.affine.scale), shift = vn_set((float)a->node->attr.affine.shift);
    int64_t n = vn_shape_count(&a->node->shape);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, (double)n * 2))
    for (int64_t i = 0; i < n; i += VN_BLOCK) affine_span(x + i, y + i, vn_min_i64(VN_BLOCK, n - i), scale, shift);
}
