/* kernel_sums.h - sums that stay accurate over millions of terms: floats in vector lanes for a short run, then doubles.
 * The order of addition depends on the lengths alone. */
#ifndef VN_CPU_KERNEL_SUMS_H
#define VN_CPU_KERNEL_SUMS_H

#include "cpu/internal.h"

#define VN_SUM_RUN  128 /* terms that one lane adds up in float */
#define VN_SUM_TILE 4   /* vectors side by side, to hide the latency of an addition */

/* Sum of x[n]. */
static inline double vn_sum(const float *x, int64_t n) {
    const int64_t step = VN_SUM_TILE * VN_LANES;
    double total = 0;
    int64_t i = 0;
    while (i + step <= n) {
        vn_vec s[VN_SUM_TILE] = {{0}};
        int64_t end = i + vn_min_i64((n - i) / step, VN_SUM_RUN) * step;
        for (; i < end; i += step)
            for (int k = 0; k < VN_SUM_TILE; k++) s[k] += vn_load(x + i + k * VN_LANES);
        total += (double)vn_hsum((s[0] + s[1]) + (s[2] + s[3]));
    }
    if (i == n) return total;
    vn_vec rest = {0};
    for (; i + VN_LANES <= n; i += VN_LANES) rest += vn_load(x + i);
    if (i < n) rest += vn_load_part(x + i, n - i);
    return total + (double)vn_hsum(rest);
}

/* acc[c] += sum over r < rows of x[r * step + c], for `vectors` whole vectors of columns (1 .. VN_SUM_TILE, a constant). */
VN_INLINE void vn_column_run(const float *x, int64_t step, int64_t rows, int vectors, double *acc) {
    vn_vec s[VN_SUM_TILE] = {{0}};
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < vectors; k++) s[k] += vn_load(x + r * step + k * VN_LANES);
    for (int k = 0; k < vectors; k++)
        for (int l = 0; l < VN_LANES; l++) acc[k * VN_LANES + l] += (double)s[k][l];
}

/* acc[c] += sum over r < rows of x[r * step + c], c < columns. */
static inline void vn_column_sums(const float *x, int64_t step, int64_t rows, int64_t columns, double *acc) {
    for (int64_t done = 0; done < rows; done += VN_SUM_RUN) {
        const float *run = x + done * step;
        int64_t count = vn_min_i64(VN_SUM_RUN, rows - done), c = 0;
        for (; c + 4 * VN_LANES <= columns; c += 4 * VN_LANES) vn_column_run(run + c, step, count, 4, acc + c);
        if (c + 2 * VN_LANES <= columns) vn_column_run(run + c, step, count, 2, acc + c), c += 2 * VN_LANES;
        if (c + VN_LANES <= columns) vn_column_run(run + c, step, count, 1, acc + c), c += VN_LANES;
        if (c == columns) continue;
        vn_vec s = {0};
        for (int64_t r = 0; r < count; r++) s += vn_load_part(run + r * step + c, columns - c);
        for (int l = 0; c + l < columns; l++) acc[c + l] += (double)s[l];
    }
}

#endif
