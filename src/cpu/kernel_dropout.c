/* kernel_dropout.c - dropout whose mask is a function of (seed, site, sample, step) alone: the same
 * for any batch and any number of threads, and made again, not stored, for the gradient, which is
 * dropout of dy. */
#include "cpu/internal.h"

#include <math.h>

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

static void drop_row(const float *x, const float *u, float *y, int64_t n, float below,
                     float scale) {
    for (int64_t i = 0; i < n; i++) y[i] = u[i] < below ? 0.0f : x[i] * scale;
}

typedef struct dropping {
    const vn_kernel_args *a;
    uint64_t seed;
    float below, scale;
    int64_t length;
} dropping;

static void drop_task(void *context, int64_t row, int thread) {
    const dropping *d = context;
    const vn_run *run = d->a->run;
    const float *x = (const float *)d->a->in[0] + row * d->length;
    float *u = (float *)(void *)((char *)d->a->work +
                                 (size_t)thread * vn_region((size_t)d->length, sizeof(float)));
    vn_random_uniform(u, (size_t)d->length, d->seed, VN_STREAM_DROPOUT,
                      run->first_sample + (uint64_t)row, run->step);
    drop_row(x, u, (float *)d->a->out + row * d->length, d->length, d->below, d->scale);
}

void VN_K(dropout)(const vn_kernel_args *a) {
    const double p = a->node->attr.dropout.p;
    const int64_t rows = row_count(&a->node->shape), length = row_length(&a->node->shape);
    dropping d = {
        .a = a,
        .seed = vn_dropout_seed(a->run->seed, a->node->attr.dropout.site),
        /* uniforms are multiples of 2^-24: u < p as u < below, exactly */
        .below = (float)(ceil(p * 0x1p24) * 0x1p-24),
        .scale = p < 1 ? (float)(1 / (1 - p)) : 0.0f,
        .length = length,
    };
    vn_thread_pool_run(vn_share(a->pool, 8.0 * (double)(rows * length)), rows, drop_task, &d);
}
