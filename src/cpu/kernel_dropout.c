/* kernel_dropout.c - dropout whose mask is a function of (seed, site, sample, step) alone: the same for any batch and any number
 * of threads, and made again, not stored, for the gradient, which is dropout of dy. */
#include "cpu/internal.h"

#include <math.h>
#include <omp.h>

static int64_t row_count(const vn_shape *s) {
    return s->rank > 0 ? s->dim[0] : 1;
}

static int64_t row_length(const vn_shape *s) {
    int64_t rows = row_count(s);
    return rows > 0 ? vn_shape_count(s) / rows : 0;
}

/* The uniforms of a row, for each thread. */
size_t VN_W(dropout)(const vn_node *n, int threads) {
    return (size_t)threads * vn_region((size_t)row_length(&n->shape), sizeof(float));
}

static void drop_row(const float *x, const float *u, float *y, int64_t n, float below, float scale) {
    for (int64_t i = 0; i < n; i++) y[i] = u[i] < below ? 0.0f : x[i] * scale;
}

void VN_K(dropout)(const vn_kernel_args *a) {
    const float *x = a->in[0];
    float *y = a->out;
    double p = a->node->attr.dropout.p;
    float below =
        (float)(ceil(p * 0x1p24) * 0x1p-24); /* uniforms are multiples of 2^-24: u < p as u < below, exactly */
    float scale = p < 1 ? (float)(1 / (1 - p)) : 0.0f;
    uint64_t seed = vn_dropout_seed(a->run->seed, a->node->attr.dropout.site);
    int64_t rows = row_count(&a->node->shape), length = row_length(&a->node->shape);
    size_t region = vn_region((size_t)length, sizeof(float));
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 8.0 * (double)(rows * length)))
    for (int64_t r = 0; r < rows; r++) {
        float *u = (float *)(void *)((char *)a->work + (size_t)omp_get_thread_num() * region);
        vn_random_uniform(u, (size_t)length, seed, VN_STREAM_DROPOUT, a->run->first_sample + (uint64_t)r, a->run->step);
        drop_row(x + r * length, u, y + r * length, length, below, scale);
    }
}
