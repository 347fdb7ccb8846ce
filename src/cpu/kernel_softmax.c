/* kernel_softmax.c - softmax over the last axis, cross entropy of logits and integer labels, one-hot rows, and their gradients.
 * A label outside 0 .. K-1 stands for no class: loss 0, gradient 0, a row of zeros; its memory is never touched. */
#include "cpu/kernel_math.h"

#define RUN 2048 /* numbers summed in float; sums of runs are added in double */

static int64_t last_dim(const vn_shape *s) {
    return s->rank > 0 ? s->dim[s->rank - 1] : 1;
}

/* Rows of `length`: how many there are. */
static int64_t row_count(const vn_shape *s, int64_t length) {
    return length > 0 ? vn_shape_count(s) / length : 0;
}

static float row_max(const float *x, int64_t n) {
    vn_vec top = vn_set(-INFINITY);
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) top = vn_vmax(top, vn_load(x + i));
    float max = vn_hmax(top);
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* y = e^(x - top) where y is given, n <= RUN; returns the sum. */
VN_INLINE float run_exp(const float *x, float *y, int64_t n, float top) {
    vn_vec sum = {0};
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) {
        vn_vec e = vn_vexp(vn_load(x + i) - top);
        if (y) vn_store(y + i, e);
        sum += e;
    }
    if (i < n) {
        float rest[VN_LANES];
        vn_store(rest, vn_vexp(vn_load_part(x + i, n - i) - top));
        sum += vn_load_part(rest, n - i);
        if (y) vn_store_part(y + i, vn_load_part(rest, n - i), n - i);
    }
    return vn_hsum(sum);
}

VN_INLINE double row_exp(const float *x, float *y, int64_t n, float top) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += RUN) sum += (double)run_exp(x + i, y ? y + i : NULL, vn_min_i64(RUN, n - i), top);
    return sum;
}

static void row_scale(float *y, int64_t n, float scale) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_store(y + i, vn_load(y + i) * scale);
    for (; i < n; i++) y[i] *= scale;
}

static void row_softmax(const float *x, float *y, int64_t n, float scale) {
    row_scale(y, n, (float)((double)scale / row_exp(x, y, n, row_max(x, n))));
}

void VN_K(softmax)(const vn_kernel_args *a) {
    const float *x = a->in[0];
    float *y = a->out;
    int64_t k = last_dim(&a->node->shape), rows = row_count(&a->node->shape, k);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 4.0 * (double)(rows * k)))
    for (int64_t r = 0; r < rows; r++) row_softmax(x + r * k, y + r * k, k, 1.0f);
}

static float run_dot(const float *x, const float *y, int64_t n) {
    vn_vec dot = {0};
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) dot = vn_fma(vn_load(x + i), vn_load(y + i), dot);
    if (i < n) dot = vn_fma(vn_load_part(x + i, n - i), vn_load_part(y + i, n - i), dot);
    return vn_hsum(dot);
}

/* dx = y (dy - sum(y dy)) */
static void row_softmax_grad(const float *y, const float *dy, float *dx, int64_t n) {
    double dot = 0;
    for (int64_t i = 0; i < n; i += RUN) dot += (double)run_dot(y + i, dy + i, vn_min_i64(RUN, n - i));
    float sum = (float)dot;
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_store(dx + i, vn_load(y + i) * (vn_load(dy + i) - sum));
    for (; i < n; i++) dx[i] = y[i] * (dy[i] - sum);
}

void VN_K(softmax_grad)(const vn_kernel_args *a) {
    const float *y = a->in[0], *dy = a->in[1];
    float *dx = a->out;
    int64_t k = last_dim(&a->node->shape), rows = row_count(&a->node->shape, k);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 3.0 * (double)(rows * k)))
    for (int64_t r = 0; r < rows; r++) row_softmax_grad(y + r * k, dy + r * k, dx + r * k, k);
}

void VN_K(cross_entropy)(const vn_kernel_args *a) {
    const float *x = a->in[0];
    const int32_t *label = a->in[1];
    float *loss = a->out;
    int64_t rows = vn_shape_count(&a->node->shape), k = last_dim(&a->node->in[0]->shape);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 2.0 * (double)(rows * k)))
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * k;
        bool valid = label[r] >= 0 && label[r] < k;
        float top = valid ? row_max(row, k) : 0;
        loss[r] = valid ? (float)(log(row_exp(row, NULL, k, top)) + (double)top - (double)row[label[r]]) : 0;
    }
}

void VN_K(cross_entropy_grad)(const vn_kernel_args *a) {
    const float *x = a->in[0], *dy = a->in[2];
    const int32_t *label = a->in[1];
    float *dx = a->out;
    int64_t k = last_dim(&a->node->shape), rows = row_count(&a->node->shape, k);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 4.0 * (double)(rows * k)))
    for (int64_t r = 0; r < rows; r++) {
        if (label[r] >= 0 && label[r] < k) {
            row_softmax(x + r * k, dx + r * k, k, dy[r]);
            dx[r * k + label[r]] -= dy[r];
        } else {
            memset(dx + r * k, 0, (size_t)k * sizeof *dx);
        }
    }
}

void VN_K(one_hot)(const vn_kernel_args *a) {
    const int32_t *label = a->in[0];
    float *y = a->out;
    int64_t k = last_dim(&a->node->shape), rows = row_count(&a->node->shape, k);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, (double)(rows * k)))
    for (int64_t r = 0; r < rows; r++) {
        memset(y + r * k, 0, (size_t)k * sizeof *y);
        if (label[r] >= 0 && label[r] < k) y[r * k + label[r]] = 1;
    }
}
