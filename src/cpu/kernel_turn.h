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

#if defined(__AVX512F__)
/* Four floats each of rows 0, 4, 8 and 12. */
VN_INLINE __m512 vn_quads(const float *x, int64_t step) {
    const __m512 q = _mm512_castps128_ps512(_mm_loadu_ps(x));
    const __m512 r = _mm512_insertf32x4(q, _mm_loadu_ps(x + 4 * step), 1);
    const __m512 s = _mm512_insertf32x4(r, _mm_loadu_ps(x + 8 * step), 2);
    return _mm512_insertf32x4(s, _mm_loadu_ps(x + 12 * step), 3);
}

/* VN_LANES rows of four, which become four whole vectors: each quarter of a vector is turned as
 * vn_turn_4 does. */
VN_INLINE void vn_turn_lanes(float *out, int64_t out_step, const float *x, int64_t step) {
    const __m512 a = vn_quads(x, step), b = vn_quads(x + step, step),
                 c = vn_quads(x + 2 * step, step), d = vn_quads(x + 3 * step, step);
    const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                  cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
                  ab2 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
                  cd2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
    _mm512_storeu_ps(out, _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)));
    _mm512_storeu_ps(out + out_step, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    _mm512_storeu_ps(out + 2 * out_step, _mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)));
    _mm512_storeu_ps(out + 3 * out_step, _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2)));
}
#elif defined(__AVX__)
/* The same of rows 0 and 4. */
VN_INLINE __m256 vn_quads(const float *x, int64_t step) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x)), _mm_loadu_ps(x + 4 * step),
                                1);
}

VN_INLINE void vn_turn_lanes(float *out, int64_t out_step, const float *x, int64_t step) {
    const __m256 a = vn_quads(x, step), b = vn_quads(x + step, step),
                 c = vn_quads(x + 2 * step, step), d = vn_quads(x + 3 * step, step);
    const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                  cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
                  ab2 = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)),
                  cd2 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    _mm256_storeu_ps(out, _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)));
    _mm256_storeu_ps(out + out_step, _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
    _mm256_storeu_ps(out + 2 * out_step, _mm256_castpd_ps(_mm256_unpacklo_pd(ab2, cd2)));
    _mm256_storeu_ps(out + 3 * out_step, _mm256_castpd_ps(_mm256_unpackhi_pd(ab2, cd2)));
}
#else
VN_INLINE void vn_turn_lanes(float *out, int64_t out_step, const float *x, int64_t step) {
    vn_turn_4(out, out_step, x, step);
}
#endif

/* out[j * out_step + i] = x[i * step + j], i < rows, j < columns. */
static inline void vn_turn(float *out, int64_t out_step, const float *x, int64_t step, int64_t rows,
                           int64_t columns) {
    const int64_t r = rows / 4 * 4, c = columns / 4 * 4;
    int64_t whole = 0;
    for (; whole + VN_LANES <= rows; whole += VN_LANES)
        for (int64_t j = 0; j < c; j += 4)
            vn_turn_lanes(out + j * out_step + whole, out_step, x + whole * step + j, step);
    for (int64_t i = whole; i < r; i += 4)
        for (int64_t j = 0; j < c; j += 4)
            vn_turn_4(out + j * out_step + i, out_step, x + i * step + j, step);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i < r ? c : 0; j < columns; j++) out[j * out_step + i] = x[i * step + j];
}

#endif
