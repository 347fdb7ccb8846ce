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

/* One row. a_step, b_step: 1, or 0 for one number. */
VN_INLINE void run_row(combine f, int a_step, int b_step, const float *a, const float *b, float *y, int64_t n) {
    vn_vec a0 = vn_set(a[0]), b0 = vn_set(b[0]);
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        vn_store(y + i, f(a_step ? vn_load(a + i) : a0, b_step ? vn_load(b + i) : b0));
    if (i < n)
        vn_store_part(y + i, f(a_step ? vn_load_part(a + i, n - i) : a0, b_step ? vn_load_part(b + i, n - i) : b0),
                      n - i);
}

VN_INLINE void run_tile(combine f, int a_step, int b_step, const vn_axes *x, const vn_tile *t, const float *a,
                        const float *b, float *y) {
    int64_t a_row = x->stride[0][x->rank - 2], b_row = x->stride[1][x->rank - 2], y_row = x->dim[x->rank - 1];
    a += t->at[0];
    b += t->at[1];
    y += t->out;
    for (int64_t r = 0; r < t->rows; r++, a += a_row, b += b_row, y += y_row)
        run_row(f, a_step, b_step, a, b, y, t->columns);
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
#pragma omp parallel for schedule(static) num_threads(vn_team(args->threads, (double)vn_shape_count(&n->shape) * 2))
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
#pragma omp parallel for schedule(static) num_threads(vn_team(a->threads, (double)n * 2))
    for (int64_t i = 0; i < n; i += VN_BLOCK) affine_span(x + i, y + i, vn_min_i64(VN_BLOCK, n - i), scale, shift);
}
