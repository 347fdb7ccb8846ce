/* kernel_optim.c - what optimisers do to all weights at once: AdamW (Loshchilov and Hutter, arXiv
 * 1711.05101, as PyTorch defines it) with the gradient's scale and the moving average of weights in
 * the same pass; a running mean of gradients with Nesterov's look ahead, and a step along what is
 * made of it; squared norms of runs of the gradient, and the sum of two gradients. */
#include "cpu/kernel_math.h"
#include "cpu/kernel_sums.h"

/* What does not change from weight to weight. */
typedef struct coefficients {
    float grad_scale, decay, mix1, beta2, mix2, step, over_root, eps, ema_mix;
} coefficients;

static coefficients coefficients_of(const vn_adamw *o) {
    double correction1 = 1 - pow(o->beta1, (double)o->step),
           correction2 = 1 - pow(o->beta2, (double)o->step);
    return (coefficients){.grad_scale = (float)o->grad_scale,
                          .decay = (float)(1 - o->lr * o->weight_decay),
                          .mix1 = (float)(1 - o->beta1),
                          .beta2 = (float)o->beta2,
                          .mix2 = (float)(1 - o->beta2),
                          .step = (float)(o->lr / correction1),
                          .over_root = (float)(1 / sqrt(correction2)),
                          .eps = (float)o->eps,
                          .ema_mix = (float)(1 - o->ema)};
}

/* n <= VN_LANES weights. */
VN_INLINE void adamw_vector(const coefficients *k, float *value, const float *grad, float *m,
                            float *v, float *ema, int64_t n) {
    vn_vec g = vn_load_n(grad, n) * k->grad_scale, m0 = vn_load_n(m, n);
    vn_vec m1 = vn_fma(g - m0, vn_set(k->mix1), m0);
    vn_vec v1 = vn_fma(vn_load_n(v, n), vn_set(k->beta2), k->mix2 * g * g);
    vn_vec w = vn_load_n(value, n) * k->decay -
               k->step * m1 / vn_fma(vn_vsqrt(v1), vn_set(k->over_root), vn_set(k->eps));
    vn_store_n(m, m1, n);
    vn_store_n(v, v1, n);
    vn_store_n(value, w, n);
    if (!ema) return;
    vn_vec e = vn_load_n(ema, n);
    vn_store_n(ema, vn_fma(w - e, vn_set(k->ema_mix), e), n); /* decay e + (1 - decay) w */
}

static void adamw_span(const coefficients *k, float *value, const float *grad, float *m, float *v,
                       float *ema, int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        adamw_vector(k, value + i, grad + i, m + i, v + i, ema ? ema + i : NULL, VN_LANES);
    if (i < n) adamw_vector(k, value + i, grad + i, m + i, v + i, ema ? ema + i : NULL, n - i);
}

typedef struct weights {
    coefficients k;
    float *value;
    const float *grad;
    float *m, *v, *ema;
    int64_t n;
} weights;

static void adamw_block(void *context, int64_t block, int thread) {
    const weights *w = context;
    const int64_t i = block * VN_BLOCK;
    (void)thread;
    adamw_span(&w->k, w->value + i, w->grad + i, w->m + i, w->v + i, w->ema ? w->ema + i : NULL,
               vn_min_i64(VN_BLOCK, w->n - i));
}

void VN_K(adamw)(const vn_device *d, const vn_adamw *o, size_t n, float *value, const float *grad,
                 float *m, float *v, float *ema) {
    weights w = {coefficients_of(o), value, grad, m, v, ema, (int64_t)n};
    vn_thread_pool_run(vn_share(d->pool, (double)n * 9), vn_block_count(w.n), adamw_block, &w);
}

/* ---- momentum, and a step along a direction -------------------------------------------------- */

typedef struct means {
    float grad_scale, mean, mix;
    float *grad, *m;
    int64_t n;
} means;

/* n <= VN_LANES gradients. */
VN_INLINE void momentum_vector(const means *k, int64_t i, int64_t n) {
    const vn_vec g = vn_load_n(k->grad + i, n) * k->grad_scale, m0 = vn_load_n(k->m + i, n);
    const vn_vec m1 = vn_fma(g - m0, vn_set(k->mix), m0);
    vn_store_n(k->m + i, m1, n);
    vn_store_n(k->grad + i, vn_fma(m1 - g, vn_set(k->mean), g), n);
}

static void momentum_block(void *context, int64_t block, int thread) {
    const means *k = context;
    const int64_t end = vn_min_i64(k->n, (block + 1) * VN_BLOCK);
    int64_t i = block * VN_BLOCK;
    (void)thread;
    for (; i + VN_LANES <= end; i += VN_LANES) momentum_vector(k, i, VN_LANES);
    if (i < end) momentum_vector(k, i, end - i);
}

void VN_K(momentum)(const vn_device *d, const vn_momentum *o, size_t n, float *grad, float *m) {
    means k = {(float)o->grad_scale, (float)o->mean, (float)(1 - o->mean), grad, m, (int64_t)n};
    vn_thread_pool_run(vn_share(d->pool, (double)n * 4), vn_block_count(k.n), momentum_block, &k);
}

typedef struct descent {
    float rate, keep, ema_mix;
    float *value;
    const float *direction;
    float *ema;
    int64_t n;
} descent;

/* n <= VN_LANES weights. */
VN_INLINE void descend_vector(const descent *k, int64_t i, int64_t n) {
    const vn_vec w =
        vn_load_n(k->value + i, n) * k->keep - k->rate * vn_load_n(k->direction + i, n);
    vn_store_n(k->value + i, w, n);
    if (!k->ema) return;
    const vn_vec e = vn_load_n(k->ema + i, n);
    vn_store_n(k->ema + i, vn_fma(w - e, vn_set(k->ema_mix), e), n);
}

static void descend_block(void *context, int64_t block, int thread) {
    const descent *k = context;
    const int64_t end = vn_min_i64(k->n, (block + 1) * VN_BLOCK);
    int64_t i = block * VN_BLOCK;
    (void)thread;
    for (; i + VN_LANES <= end; i += VN_LANES) descend_vector(k, i, VN_LANES);
    if (i < end) descend_vector(k, i, end - i);
}

void VN_K(descend)(const vn_device *d, const vn_descent *o, size_t n, float *value,
                   const float *direction, float *ema) {
    descent k = {(float)o->rate, (float)(1 - o->decay), (float)(1 - o->ema), value, direction, ema,
                 (int64_t)n};
    vn_thread_pool_run(vn_share(d->pool, (double)n * 5), vn_block_count(k.n), descend_block, &k);
}

/* ---- the gradient's norm --------------------------------------------------------------------- */

static double span_squares(const float *x, int64_t n) {
    double total = 0;
    int64_t i = 0;
    while (i < n) {
        vn_vec s = {0}, t = {0};
        int64_t end = vn_min_i64(n, i + 2 * VN_LANES * VN_SUM_RUN);
        for (; i + 2 * VN_LANES <= end; i += 2 * VN_LANES) {
            vn_vec a = vn_load(x + i), b = vn_load(x + i + VN_LANES);
            s = vn_fma(a, a, s);
            t = vn_fma(b, b, t);
        }
        for (; i < end; i += VN_LANES) {
            vn_vec a = vn_load_n(x + i, end - i);
            s = vn_fma(a, a, s);
        }
        i = end;
        total += (double)vn_hsum(s + t);
    }
    return total;
}

typedef struct squares {
    const float *x;
    const vn_span *span;
    double *sum;
} squares;

static void sum_span(void *context, int64_t i, int thread) {
    const squares *s = context;
    (void)thread;
    s->sum[i] = span_squares(s->x + s->span[i].at, (int64_t)s->span[i].n);
}

void VN_K(sum_squares)(const vn_device *d, int n, const vn_span *span, const float *x,
                       double *sum) {
    squares s = {x, span, sum};
    double all = 0;
    for (int i = 0; i < n; i++) all += (double)span[i].n;
    vn_thread_pool_run(vn_share(d->pool, all), n, sum_span, &s);
}

/* ---- gradients of several batches ------------------------------------------------------------ */

typedef struct terms {
    float *x;
    const float *y;
    int64_t n;
} terms;

static void add_block(void *context, int64_t block, int thread) {
    const terms *s = context;
    const int64_t end = vn_min_i64(s->n, (block + 1) * VN_BLOCK);
    (void)thread;
    for (int64_t i = block * VN_BLOCK; i < end; i++) s->x[i] += s->y[i];
}

void VN_K(accumulate)(const vn_device *d, size_t n, float *x, const float *y) {
    terms s = {x, y, (int64_t)n};
    vn_thread_pool_run(vn_share(d->pool, (double)n), vn_block_count(s.n), add_block, &s);
}
