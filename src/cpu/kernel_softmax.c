/* kernel_softmax.c - softmax and entmax over the last axis, cross entropy of logits and integer
 * labels, one-hot rows, the nearest row of a table, and their gradients. A label outside 0 ..
 * K-1 stands for no class: loss 0, gradient 0, a row of zeros; its memory is never touched. */
#include "cpu/kernel_math.h"

#define RUN 2048 /* numbers summed in float; sums of runs are added in double */

static int64_t last_dim(const vn_shape *s) {
    return s->rank > 0 ? s->dim[s->rank - 1] : 1;
}

/* Rows of `length`: how many there are. */
static int64_t row_count(const vn_shape *s, int64_t length) {
    return length > 0 ? vn_shape_count(s) / length : 0;
}

/* ---- loops over rows ------------------------------------------------------------------------- */

typedef struct rows {
    void (*compute)(const vn_kernel_args *a, int64_t row, int64_t k);
    const vn_kernel_args *a;
    int64_t count, k, parts;
} rows;

static void compute_rows(void *context, int64_t part, int thread) {
    const rows *r = context;
    int64_t begin, end;
    (void)thread;
    vn_part(r->count, r->parts, part, &begin, &end);
    for (int64_t row = begin; row < end; row++) r->compute(r->a, row, r->k);
}

/* `count` rows of k numbers, each the work of `floats` of them. */
static void for_rows(const vn_kernel_args *a, int64_t count, int64_t k, double floats,
                     void (*compute)(const vn_kernel_args *a, int64_t row, int64_t k)) {
    rows r = {compute, a, count, k, vn_row_parts(count, k)};
    vn_thread_pool_run(vn_share(a->pool, floats * (double)(count * k)), r.parts, compute_rows, &r);
}

/* ---- softmax --------------------------------------------------------------------------------- */

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
    for (int64_t i = 0; i < n; i += RUN)
        sum += (double)run_exp(x + i, y ? y + i : NULL, vn_min_i64(RUN, n - i), top);
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

static void softmax_row(const vn_kernel_args *a, int64_t row, int64_t k) {
    row_softmax((const float *)a->in[0] + row * k, (float *)a->out + row * k, k, 1.0f);
}

void VN_K(softmax)(const vn_kernel_args *a) {
    const int64_t k = last_dim(&a->node->shape);
    for_rows(a, row_count(&a->node->shape, k), k, 4, softmax_row);
}

static float run_dot(const float *x, const float *y, int64_t n) {
    vn_vec dot = {0};
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) dot = vn_fma(vn_load(x + i), vn_load(y + i), dot);
    if (i < n) dot = vn_fma(vn_load_part(x + i, n - i), vn_load_part(y + i, n - i), dot);
    return vn_hsum(dot);
}

/* dx = y (dy - sum(y dy)) */
static void softmax_grad_row(const vn_kernel_args *a, int64_t row, int64_t n) {
    const float *y = (const float *)a->in[0] + row * n, *dy = (const float *)a->in[1] + row * n;
    float *dx = (float *)a->out + row * n;
    double dot = 0;
    for (int64_t i = 0; i < n; i += RUN)
        dot += (double)run_dot(y + i, dy + i, vn_min_i64(RUN, n - i));
    float sum = (float)dot;
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES)
        vn_store(dx + i, vn_load(y + i) * (vn_load(dy + i) - sum));
    for (; i < n; i++) dx[i] = y[i] * (dy[i] - sum);
}

void VN_K(softmax_grad)(const vn_kernel_args *a) {
    const int64_t k = last_dim(&a->node->shape);
    for_rows(a, row_count(&a->node->shape, k), k, 3, softmax_grad_row);
}

/* ---- entmax ---------------------------------------------------------------------------------- */

/* r = max((x - top)/2 - t, 0): from the largest x on, so that nothing is lost where all x are
 * large */
VN_INLINE vn_vec above(vn_vec x, float top, float t) {
    return vn_vmax(vn_fma(x - top, vn_set(0.5f), vn_set(-t)), vn_set(0));
}

VN_INLINE float one_above(float x, float top, float t) {
    const float r = 0.5f * (x - top) - t;
    return r > 0 ? r : 0;
}

/* Adds the sum and the sum of squares of r, n <= RUN. */
VN_INLINE void run_above(const float *x, int64_t n, float top, float t, double *sum,
                         double *squares) {
    vn_vec s = {0}, q = {0};
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) {
        const vn_vec r = above(vn_load(x + i), top, t);
        s += r;
        q = vn_fma(r, r, q);
    }
    float rest = 0, rest_squares = 0;
    for (; i < n; i++) {
        const float r = one_above(x[i], top, t);
        rest += r;
        rest_squares += r * r;
    }
    *sum += (double)vn_hsum(s) + (double)rest;
    *squares += (double)vn_hsum(q) + (double)rest_squares;
}

/* The sum of squares less 1 falls in t and is convex, and at t = -1 it is not below 0: from there
 * Newton's rule rises to the root without passing it. Where n numbers are alike it halves the way
 * until 1/sqrt(n) is left, and then doubles its digits. */
static float entmax_threshold(const float *x, int64_t n, float top) {
    enum { MAX_STEPS = 64 };
    double t = -1, step = 1;
    for (int k = 0; k < MAX_STEPS && step > 1e-6; k++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i += RUN)
            run_above(x + i, vn_min_i64(RUN, n - i), top, (float)t, &sum, &squares);
        step = (squares - 1) / (2 * sum);
        if (step > 0) t += step; /* not where x is not finite */
    }
    return (float)t;
}

static void entmax_root_row(const vn_kernel_args *a, int64_t row, int64_t n) {
    const float *x = (const float *)a->in[0] + row * n, top = row_max(x, n),
                t = entmax_threshold(x, n, top);
    float *y = (float *)a->out + row * n;
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_store(y + i, above(vn_load(x + i), top, t));
    for (; i < n; i++) y[i] = one_above(x[i], top, t);
}

void VN_K(entmax_root)(const vn_kernel_args *a) {
    const int64_t k = last_dim(&a->node->shape);
    for_rows(a, row_count(&a->node->shape, k), k, 50, entmax_root_row);
}

/* ---- cross entropy and one-hot --------------------------------------------------------------- */

static void cross_entropy_row(const vn_kernel_args *a, int64_t row, int64_t k) {
    const float *x = (const float *)a->in[0] + row * k;
    const int32_t label = ((const int32_t *)a->in[1])[row];
    const bool valid = label >= 0 && label < k;
    const float top = valid ? row_max(x, k) : 0;
    float *loss = a->out;
    loss[row] = valid ? (float)(log(row_exp(x, NULL, k, top)) + (double)top - (double)x[label]) : 0;
}

void VN_K(cross_entropy)(const vn_kernel_args *a) {
    for_rows(a, vn_shape_count(&a->node->shape), last_dim(&a->node->in[0]->shape), 2,
             cross_entropy_row);
}

static void cross_entropy_grad_row(const vn_kernel_args *a, int64_t row, int64_t k) {
    const int32_t label = ((const int32_t *)a->in[1])[row];
    const float dy = ((const float *)a->in[2])[row];
    float *dx = (float *)a->out + row * k;
    if (label >= 0 && label < k) {
        row_softmax((const float *)a->in[0] + row * k, dx, k, dy);
        dx[label] -= dy;
    } else {
        memset(dx, 0, (size_t)k * sizeof *dx);
    }
}

void VN_K(cross_entropy_grad)(const vn_kernel_args *a) {
    const int64_t k = last_dim(&a->node->shape);
    for_rows(a, row_count(&a->node->shape, k), k, 4, cross_entropy_grad_row);
}

static void one_hot_row(const vn_kernel_args *a, int64_t row, int64_t k) {
    const int32_t label = ((const int32_t *)a->in[0])[row];
    float *y = (float *)a->out + row * k;
    memset(y, 0, (size_t)k * sizeof *y);
    if (label >= 0 && label < k) y[label] = 1;
}

void VN_K(one_hot)(const vn_kernel_args *a) {
    const int64_t k = last_dim(&a->node->shape);
    for_rows(a, row_count(&a->node->shape, k), k, 1, one_hot_row);
}

/* ---- the nearest row of a table -------------------------------------------------------------- */

/* In double, so that rows of floats are told apart by any set of kernels alike. A sum that is no
 * less than the best stops; where x is not a number the first row stays. */
static void nearest_row(const vn_kernel_args *a, int64_t row, int64_t d) {
    const float *x = (const float *)a->in[0] + row * d, *table = a->in[1];
    const int64_t count = a->node->in[1]->shape.dim[0];
    int32_t nearest = 0;
    double least = (double)INFINITY;
    for (int64_t v = 0; v < count; v++, table += d) {
        double sum = 0;
        for (int64_t i = 0; i < d && sum < least; i++) {
            const double by = (double)x[i] - (double)table[i];
            sum += by * by;
        }
        if (!(sum < least)) continue;
        least = sum;
        nearest = (int32_t)v;
    }
    ((int32_t *)a->out)[row] = nearest;
}

void VN_K(nearest)(const vn_kernel_args *a) {
    const int64_t d = last_dim(&a->node->in[0]->shape);
    for_rows(a, vn_shape_count(&a->node->shape), d, 3 * (double)a->node->in[1]->shape.dim[0],
             nearest_row);
}
