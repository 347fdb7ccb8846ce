/* kernel_gemm_bf16.c - B of the row form as packed panels of bfloat16; kernel_gemm.c has what packs
 * float32. Compiled for the sets of products in bfloat16 alone. */
#include "cpu/kernel_gemm.h"
#include "cpu/kernel_turn.h"

/* Terms of a column that are rounded before they are turned: with all columns of a panel they fit
 * the first cache. */
#define VN_TURN_TERMS 128

/* Columns that are contiguous along k: each is rounded, and its pairs are then turned as if they
 * were floats, which are as wide. */
static void pack_columns(vn_term *to, int64_t width, int64_t columns, int64_t count, const float *b,
                         int64_t column) {
    enum { PAIRS = VN_TURN_TERMS / VN_PAIR };
    float rounded[VN_PANEL * PAIRS];
    float *pairs = (float *)(void *)to;
    for (int64_t i = 0; i < count; i += VN_TURN_TERMS) {
        const int64_t terms = vn_min_i64(VN_TURN_TERMS, count - i);
        for (int64_t j = 0; j < columns; j++)
            vn_terms_round((vn_term *)(void *)(rounded + j * PAIRS), b + j * column + i, terms);
        vn_turn(pairs + i / VN_PAIR * width, width, rounded, PAIRS, columns,
                vn_ceil_div(terms, VN_PAIR));
    }
}

/* Rows that are contiguous: two and two are interleaved. */
static void pack_rows(vn_term *to, int64_t width, int64_t columns, int64_t count, const float *b,
                      int64_t row) {
    static const float none[VN_PANEL];
    for (int64_t i = 0; i < count; i += VN_PAIR, to += width * VN_PAIR, b += VN_PAIR * row)
        vn_terms_interleave(to, b, i + 1 < count ? b + row : none, columns);
}

void vn_gemm_pack(vn_term *packed, int64_t k, int64_t n, int64_t p, int64_t begin, int64_t count,
                  const float *b, int64_t row, int64_t column) {
    const int64_t first = p * VN_PANEL, columns = vn_min_i64(VN_PANEL, n - first);
    const int64_t width = vn_ceil_div(columns, VN_LANES) * VN_LANES;
    vn_term *to = packed + first * vn_paired(k) + begin * width;
    b += first * column;
    if (row == 1)
        pack_columns(to, width, columns, count, b, column);
    else
        pack_rows(to, width, columns, count, b, row);
    for (int64_t i = 0; i < vn_paired(count); i += VN_PAIR, to += width * VN_PAIR)
        memset(to + columns * VN_PAIR, 0, (size_t)((width - columns) * VN_PAIR) * sizeof(vn_term));
}
