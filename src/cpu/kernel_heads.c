/* kernel_heads.c - norms by the root of the mean square of rows, and rotations of pairs, each in
 * one pass over its array. Both round as the ops that they stand for do one after the other, so
 * that a network has the same bits either way. */
#include "cpu/kernel_axes.h"
#include "cpu/kernel_math.h"
#include "cpu/kernel_sums.h"

/* ---- root mean square ------------------------------------------------------------------------ */

typedef struct rms {
    const float *x, *gamma; /* gamma: NULL, or [n] */
    float *y;
    int64_t rows, n;
    double eps;
    float *squares; /* [n] of each thread */
} rms;

static size_t squares_floats(int64_t n) {
    return vn_region((size_t)n, sizeof(float)) / sizeof(float);
}

size_t VN_W(rms_norm)(const vn_node *n, int threads) {
    return (size_t)threads * squares_floats(n->shape.dim[n->shape.rank - 1]) * sizeof(float);
}

static float sum_squares(const float *x, int64_t n, float *squares) {
    for (int64_t i = 0; i < n; i += VN_LANES) {
        const vn_vec v = vn_load_n(x + i, n - i);
        vn_store_n(squares + i, v * v, n - i);
    }
    return (float)vn_sum(squares, n);
}

static void scale_row(const float *x, const float *gamma, float factor, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i += VN_LANES) {
        const vn_vec v = vn_load_n(x + i, n - i) * factor;
        vn_store_n(y + i, gamma ? v * vn_load_n(gamma + i, n - i) : v, n - i);
    }
}

/* A vector of rows at a time, whose roots and divisions are one. */
static void rms_task(void *context, int64_t part, int thread) {
    const rms *r = context;
    const int64_t n = r->n;
    float *squares = r->squares + (size_t)thread * squares_floats(n);
    int64_t begin, end;
    vn_part(r->rows, vn_row_parts(r->rows, n), part, &begin, &end);
    for (int64_t row = begin; row < end; row += VN_LANES) {
        const int64_t count = vn_min_i64(VN_LANES, end - row);
        float sum[VN_LANES] = {0}, factor[VN_LANES];
        for (int64_t k = 0; k < count; k++) sum[k] = sum_squares(r->x + (row + k) * n, n, squares);
        const vn_vec mean =
            vn_fma(vn_load(sum), vn_set((float)(1 / (double)n)), vn_set((float)r->eps));
        vn_store(factor, 1.0f / vn_vsqrt(mean));
        for (int64_t k = 0; k < count; k++)
            scale_row(r->x + (row + k) * n, r->gamma, factor[k], n, r->y + (row + k) * n);
    }
}

void VN_K(rms_norm)(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    const int64_t width = n->shape.dim[n->shape.rank - 1], all = vn_shape_count(&n->shape);
    if (all == 0) return;
    rms r = {
        a->in[0], n->inputs > 1 ? a->in[1] : NULL, a->out, all / width, width, n->attr.norm.eps,
        a->work};
    vn_thread_pool_run(vn_share(a->pool, (double)all * 3), vn_row_parts(r.rows, width), rms_task,
                       &r);
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* Numbers 0 and 1, 2 and 3, .. of a vector exchanged, and the indices that do so. */
#if VN_LANES == 16
#define VN_SWAPPED 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#elif VN_LANES == 8
#define VN_SWAPPED 1, 0, 3, 2, 5, 4, 7, 6
#else
#define VN_SWAPPED 1, 0, 3, 2
#endif

/* (a, b) of neighbours as (-b, a). */
VN_INLINE vn_vec quarter_turn(vn_vec x) {
    vn_ivec sign = {0};
    for (int i = 0; i < VN_LANES; i += 2) sign[i] = INT32_MIN;
    return (vn_vec)((vn_ivec)__builtin_shufflevector(x, x, VN_SWAPPED) ^ sign);
}

/* Two products and their sum, each rounded. */
VN_INLINE vn_vec rotated(vn_vec x, vn_vec turned, const float *cosine, const float *sine,
                         int64_t n) {
    const vn_vec along = x * vn_load_n(cosine, n);
    const vn_vec across = turned * vn_load_n(sine, n);
    return along + across;
}

static void rotate_neighbours(const float *x, const float *cosine, const float *sine, int64_t n,
                              float *y) {
    for (int64_t i = 0; i < n; i += VN_LANES) {
        const vn_vec v = vn_load_n(x + i, n - i);
        vn_store_n(y + i, rotated(v, quarter_turn(v), cosine + i, sine + i, n - i), n - i);
    }
}

/* The first half of a row with the second. */
static void rotate_halves(const float *x, const float *cosine, const float *sine, int64_t n,
                          float *y) {
    const int64_t half = n / 2;
    for (int64_t i = 0, j = half; i < half; i += VN_LANES, j += VN_LANES) {
        const vn_vec a = vn_load_n(x + i, half - i), b = vn_load_n(x + j, half - i);
        const vn_vec first = rotated(a, -b, cosine + i, sine + i, half - i);
        vn_store_n(y + j, rotated(b, a, cosine + j, sine + j, half - i), half - i);
        vn_store_n(y + i, first, half - i);
    }
}

typedef struct rotation {
    vn_axes axes; /* of rows; operand 1: the angles */
    bool halves;
    const float *x, *cosine, *sine;
    float *y;
    int64_t rows, n;
} rotation;

static void rotate_task(void *context, int64_t part, int thread) {
    const rotation *r = context;
    int64_t begin, end;
    (void)thread;
    vn_part(r->rows, vn_row_parts(r->rows, r->n), part, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t at = row * r->n, angle = vn_axes_offset(&r->axes, 1, r->axes.rank, row);
        if (r->halves)
            rotate_halves(r->x + at, r->cosine + angle, r->sine + angle, r->n, r->y + at);
        else
            rotate_neighbours(r->x + at, r->cosine + angle, r->sine + angle, r->n, r->y + at);
    }
}

void VN_K(rotate)(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    const int64_t width = n->shape.dim[n->shape.rank - 1], all = vn_shape_count(&n->shape);
    if (all == 0) return;
    rotation r = {.axes = vn_axes_of(&n->shape),
                  .halves = n->attr.rotate.halves,
                  .x = a->in[0],
                  .cosine = a->in[1],
                  .sine = a->in[2],
                  .y = a->out,
                  .rows = all / width,
                  .n = width};
    vn_axes_broadcast(&r.axes, 1, &n->in[1]->shape);
    r.axes.rank--;
    vn_thread_pool_run(vn_share(a->pool, (double)all * 4), vn_row_parts(r.rows, width), rotate_task,
                       &r);
}
