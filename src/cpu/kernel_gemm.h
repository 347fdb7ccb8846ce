/* kernel_gemm.h - the one matrix product under linear layers, matmuls, convolutions and attention.
 *
 * Two forms, both computing a register tile of `out` at a time:
 *   rows   out[m][n] = sum_k a[m][k] b[k][n]: a row of A is a pointer to floats contiguous along k,
 *          B is packed into panels;
 *   outer  out[m][n] += sum_k a[k][m] b[k][n]: for sums over rows (weight gradients); B is packed
 *          on the way, A is read in place, or copied where its rows compete for the same lines of
 *          the first-level cache.
 * Rows come as arrays of pointers (after the indirect convolution, arXiv 1907.02129), so that a
 * convolution is the same product as a linear layer: a pixel's window is a few runs of contiguous
 * floats, one for each row of the kernel.
 *
 * An output is summed by one thread in an order that its shape alone decides: its bits do not
 * depend on how the work is cut. */
#ifndef VN_CPU_KERNEL_GEMM_H
#define VN_CPU_KERNEL_GEMM_H

#include "cpu/kernel_terms.h"

/* Every set of products has its own of these. */
#define vn_gemm_pack        VN_PASTE(vn_gemm_pack, VN_PRODUCTS)
#define vn_gemm_rows        VN_PASTE(vn_gemm_rows, VN_PRODUCTS)
#define vn_gemm_dots        VN_PASTE(vn_gemm_dots, VN_PRODUCTS)
#define vn_gemm_outer       VN_PASTE(vn_gemm_outer, VN_PRODUCTS)
#define vn_gemm_outer_panel VN_PASTE(vn_gemm_outer_panel, VN_PRODUCTS)

/* B's columns are cut into panels of this width; the last one is padded with zeros to whole
 * vectors. */
#define VN_PANEL (2 * VN_LANES)

/* With so few columns, `dots` is faster than `rows`. */
#define VN_DOT_COLUMNS 4

/* How a row of A is read, and what it meets: for s < segments and i < length, the float at row[s *
 * jump + i] is multiplied with row first + s * step + i of B. In the outer form the latter is a row
 * of out. */
typedef struct vn_reach {
    int64_t segments, length, jump, first, step;
} vn_reach;

/* A whole row of k contiguous floats. */
static inline vn_reach vn_reach_row(int64_t k) {
    return (vn_reach){.segments = 1, .length = k};
}

static inline int64_t vn_panels(int64_t n) {
    return vn_ceil_div(n, VN_PANEL);
}

/* Floats of a packed B [k, n]. */
static inline size_t vn_packed_floats(int64_t k, int64_t n) {
    return (size_t)(k * vn_ceil_div(n, VN_LANES) * VN_LANES);
}

static inline size_t vn_packed_bytes(int64_t k, int64_t n) {
    return vn_region(vn_packed_floats(vn_paired(k), n), sizeof(vn_term));
}

/* Packs rows [begin, begin + count) of panel p of B [k, n]; B's element (i, j) is b[(i - begin) *
 * row + j * column]. With pairs, begin is even, and row or column is 1. */
void vn_gemm_pack(vn_term *packed, int64_t k, int64_t n, int64_t p, int64_t begin, int64_t count,
                  const float *b, int64_t row, int64_t column);

/* out[i][j] = bias[j] + sum, or out[i][j] + sum if `add`; i < m, j < n. B is [k, n]. bias may be
 * NULL. */
void vn_gemm_rows(int64_t m, int64_t n, int64_t k, const vn_reach *reach, const vn_term *const *row,
                  const vn_term *packed, const float *bias, bool add, float *const *out);

/* The same from B transposed: its column j is the k floats from b + j * k. For few columns, and of
 * float32 alone. */
void vn_gemm_dots(int64_t m, int64_t n, int64_t k, const vn_reach *reach, const float *const *row,
                  const float *b, const float *bias, float *const *out);

/* So many terms at most are summed in registers before they are added to out: the rows in use stay
 * in the first cache, and the error grows with the square root of this and of the number of blocks,
 * not of their product. */
#define VN_OUTER_TERMS 128

/* Columns of B packed at a time, columns of A that may be copied to rows VN_OUTER_APART floats
 * further apart, and the floats that `outer` needs for both. */
#define VN_OUTER_COLUMNS 256
#define VN_OUTER_ROWS    256
#define VN_OUTER_APART   16
#define VN_OUTER_FLOATS  (VN_OUTER_TERMS * (VN_OUTER_COLUMNS + VN_OUTER_ROWS + VN_OUTER_APART))

/* out[first + s * step + i][j] += sum over t < terms of a[t][s * jump + i] * b[t][j], j < n, rows
 * of out `stride` apart. */
void vn_gemm_outer(const vn_reach *reach, int64_t n, int64_t terms, const float *const *a,
                   const float *const *b, int64_t b_from, float *out, int64_t stride,
                   float *scratch);

/* out[i][j] += sum over t < terms of a[t][i] * panel[t][j], i < m, j < width: B is one panel, width
 * VN_LANES or VN_PANEL, and out's rows are as wide. With pairs, a[t] holds those of rows 2 t and
 * 2 t + 1, and `terms` counts them. */
void vn_gemm_outer_panel(int64_t m, int64_t width, int64_t terms, const vn_term *const *a,
                         const vn_term *panel, float *out);

#endif
