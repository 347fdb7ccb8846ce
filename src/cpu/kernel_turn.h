/* kernel_turn.h - turning a small matrix: rows become columns. */
#ifndef VN_CPU_KERNEL_TURN_H
#define VN_CPU_KERNEL_TURN_H

#include "cpu/internal.h"

/* Four rows of four, of x and of out. */
VN_INLINE void vn_turn_4(float *out, int64_t out_step, const float *x, int64_t step) {
    vn_quad a, b, c, d;
    memcpy(&a, x, sizeof a);
    memcpy(&b, x + step, sizeof b);
    memcpy(&c, x + 2 * step, sizeof c);
    memcpy(&d, x + 3 * step, sizeof d);
    const vn_quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                  cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const vn_quad ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
                  cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    c = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
    d = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
    memcpy(out, &a, sizeof a);
    memcpy(out + out_step, &b, sizeof b);
    memcpy(out + 2 * out_step, &c, sizeof c);
    memcpy(out + 3 * out_step, &d, sizeof d);
}

/* out[j * out_step + i] = x[i * step + j], i < rows, j < columns. */
static inline void vn_turn(float *out, int64_t out_step, const float *x, int64_t step, int64_t rows,
                           int64_t columns) {
    const int64_t r = rows / 4 * 4, c = columns / 4 * 4;
    for (int64_t i = 0; i < r; i += 4)
        for (int64_t j = 0; j < c; j += 4)
            vn_turn_4(out + j * out_step + i, out_step, x + i * step + j, step);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i < r ? c : 0; j < columns; j++) out[j * out_step + i] = x[i * step + j];
}

#endif
