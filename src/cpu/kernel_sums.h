/* kernel_sums.h - sums that stay accurate over millions of terms: floats in vector lanes for a
 * short run, then doubles. The order of addition depends on the lengths alone. */
#ifndef VN_CPU_KERNEL_SUMS_H
#define VN_CPU_KERNEL_SUMS_H

#include "cpu/internal.h"

#define VN_SUM_RUN  128 /* terms that one lane adds up in float */
#define VN_SUM_TILE 4   /* vectors side by side, to hide the latency of an addition */

/* A term: x, or with y x y. */
VN_INLINE vn_vec vn_add_term(vn_vec sum, const float *x, const float *y, int64_t n) {
    return y ? vn_fma(vn_load_n(x, n), vn_load_n(y, n), sum) : sum + vn_load_n(x, n);
}

/* Sum of x[n], or of x y. */
VN_INLINE double vn_sum_terms(const float *x, const float *y, int64_t n) {
    const int64_t step = VN_SUM_TILE * VN_LANES;
    double total = 0;
    int64_t i = 0;
    while (i + step <= n) {
        vn_vec s[VN_SUM_TILE] = {{0}};
        int64_t end = i + vn_min_i64((n - i) / step, VN_SUM_RUN) * step;
        for (; i < end; i += step)
            for (int k = 0; k < VN_SUM_TILE; k++)
                s[k] =
                    vn_add_term(s[k], x + i + k * VN_LANES, y ? y + i + k * VN_LANES : y, VN_LANES);
        total += (double)vn_hsum((s[0] + s[1]) + (s[2] + s[3]));
    }
    if (i == n) return total;
    vn_vec rest = {0};
    for (; i + VN_LANES <= n; i += VN_LANES)
        rest = vn_add_term(rest, x + i, y ? y + i : y, VN_LANES);
    if (i < n) rest = vn_add_term(rest, x + i, y ? y + i : y, n - i);
    return total + (double)vn_hsum(rest);
}

static inline double vn_sum(const float *x, int64_t n) {
    return vn_sum_terms(x, NULL, n);
}

/* acc[c] += sum over r < rows of x[r * step + c], or of x y, for `vectors` whole vectors of columns
 * (1 .. VN_SUM_TILE, a constant). */
VN_INLINE void vn_column_run(const float *x, const float *y, int64_t step, int64_t rows,
                             int vectors, double *acc) {
    vn_vec s[VN_SUM_TILE] = {{0}};
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < vectors; k++) {
            const int64_t at = r * step + k * VN_LANES;
            s[k] = vn_add_term(s[k], x + at, y ? y + at : y, VN_LANES);
        }
    for (int k = 0; k < vectors; k++)
        for (int l = 0; l < VN_LANES; l++) acc[k * VN_LANES + l] += (double)s[k][l];
}

/* acc[c] += sum over r < rows of x[r * step + c], or of x y, c < columns. */
VN_INLINE void vn_column_terms(const float *x, const float *y, int64_t step, int64_t rows,
                               int64_t columns, double *acc) {
    for (int64_t done = 0; done < rows; done += VN_SUM_RUN) {
        const float *run = x + done * step, *by = y ? y + done * step : y;
        int64_t count = vn_min_i64(VN_SUM_RUN, rows - done), c = 0;
        for (; c + 4 * VN_LANES <= columns; c += 4 * VN_LANES)
            vn_column_run(run + c, y ? by + c : y, step, count, 4, acc + c);
        for (; c + VN_LANES <= columns; c += VN_LANES)
            vn_column_run(run + c, y ? by + c : y, step, count, 1, acc + c);
        if (c == columns) continue;
        vn_vec s = {0};
        for (int64_t r = 0; r < count; r++)
            s = vn_add_term(s, run + r * step + c, y ? by + r * step + c : y, columns - c);
        for (int l = 0; c + l < columns; l++) acc[c + l] += (double)s[l];
    }
}

static inline void vn_column_sums(const float *x, int64_t step, int64_t rows, int64_t columns,
                                  double *acc) {
    vn_column_terms(x, NULL, step, rows, columns, acc);
}

/* Arrays [count] that are added to the first of them. */
typedef struct vn_arrays {
    float *out;
    const float *more; /* [arrays, count] */
    int64_t count, arrays;
} vn_arrays;

static inline void vn_add_arrays_task(void *context, int64_t block, int thread) {
    const vn_arrays *a = context;
    int64_t begin, end;
    (void)thread;
    vn_part(a->count, vn_block_count(a->count), block, &begin, &end);
    for (int64_t k = 0; k < a->arrays; k++)
        for (int64_t i = begin; i < end; i++) a->out[i] += a->more[k * a->count + i];
}

/* out[i] += more[0][i], then more[1][i] and so on: the sums of chunks that threads summed apart. */
static inline void vn_add_arrays(float *out, const float *more, int64_t count, int64_t arrays,
                                 vn_thread_pool *pool) {
    vn_arrays a = {out, more, count, arrays};
    if (arrays > 0)
        vn_thread_pool_run(vn_share(pool, (double)(count * (arrays + 1))), vn_block_count(count),
                           vn_add_arrays_task, &a);
}

#endif
