/* kernel_terms.h - what a matrix product multiplies: the terms of its sums, in the number type
 * of a set of products.
 *
 * The products of kernel_gemm.h are compiled for float32 and, with VN_ROUNDED, for bfloat16
 * operands: the upper half of a float, rounded to nearest with ties to even. Their sums are
 * float32 in both. Where the CPU multiplies bfloat16 (AVX512-BF16), terms have 16 bits and lie
 * in pairs, because VDPBF16PS adds two products to each sum. Other sets hold the rounded numbers
 * as floats and multiply them as such: nothing is gained but the same result, up to the order of
 * the sums and to subnormal numbers, which VDPBF16PS takes for zero.
 *
 * With pairs, k and every length, jump and step of a reach is even; what pads k is zero. */
#ifndef VN_CPU_KERNEL_TERMS_H
#define VN_CPU_KERNEL_TERMS_H

#include "cpu/internal.h"

#if defined(VN_ROUNDED) && defined(__AVX512BF16__)
#define VN_PAIR 2
typedef uint16_t vn_term;
typedef __m512bh vn_terms;
#else
#define VN_PAIR 1
typedef float vn_term;
typedef vn_vec vn_terms;
#endif

/* k in whole pairs. */
static inline int64_t vn_paired(int64_t k) {
    return vn_ceil_div(k, VN_PAIR) * VN_PAIR;
}

/* One of VN_PAIR terms for each lane. */
VN_INLINE vn_terms vn_terms_load(const vn_term *p) {
    vn_terms t;
    memcpy(&t, p, sizeof t);
    return t;
}

/* The same VN_PAIR terms for all lanes. */
VN_INLINE vn_terms vn_terms_spread(const vn_term *p) {
#if VN_PAIR == 2
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (vn_terms)_mm512_set1_epi32(pair);
#else
    return vn_set(*p);
#endif
}

/* sum + a b, of pairs sum + a1 b1 + a0 b0, rounded after each product. */
VN_INLINE vn_vec vn_terms_add(vn_terms a, vn_terms b, vn_vec sum) {
#if VN_PAIR == 2
    return (vn_vec)_mm512_dpbf16_ps((__m512)sum, a, b);
#else
    return vn_fma(a, b, sum);
#endif
}

#if defined(VN_ROUNDED)

/* Rounded to bfloat16, as floats. A NaN stays one: its mantissa's first bit is set. */
VN_INLINE vn_vec vn_vround(vn_vec x) {
    const vn_ivec bits = (vn_ivec)x, nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    const vn_ivec rounded = bits + 0x7FFF + (bits >> 16 & 1);
    return (vn_vec)(((nan & (bits | 0x400000)) | (~nan & rounded)) & ~0xFFFF);
}

#if VN_PAIR == 2
/* Numbers `even` and `odd` of each lane as its pair. */
VN_INLINE vn_terms vn_terms_pair(vn_vec even, vn_vec odd) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    return (vn_terms)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#else
VN_INLINE vn_terms vn_terms_pair(vn_vec even, vn_vec odd) {
    (void)odd;
    return vn_vround(even);
}
#endif

/* n <= VN_LANES numbers one after the other, rounded; of pairs one more, a zero, where n is odd. */
VN_INLINE void vn_terms_store(vn_term *to, vn_vec x, int64_t n) {
#if VN_PAIR == 2
    _mm256_mask_storeu_epi16(to, (__mmask16)(0xffffu >> (VN_LANES - vn_paired(n))),
                             (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    vn_store_n(to, vn_vround(x), n);
#endif
}

/* n numbers of two rows as n pairs, rounded. Without pairs those of `even`. */
static inline void vn_terms_interleave(vn_term *to, const float *even, const float *odd,
                                       int64_t n) {
    for (int64_t i = 0; i < n; i += VN_LANES) {
        const int64_t lanes = vn_min_i64(n - i, VN_LANES);
        const vn_terms pairs = vn_terms_pair(vn_load_n(even + i, lanes), vn_load_n(odd + i, lanes));
        vn_store_n((float *)(void *)(to + i * VN_PAIR), (vn_vec)pairs, lanes);
    }
}

/* A row of n numbers as vn_paired(n) terms. */
static inline void vn_terms_round(vn_term *to, const float *from, int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) vn_terms_store(to + i, vn_load(from + i), VN_LANES);
    if (i < n) vn_terms_store(to + i, vn_load_part(from + i, n - i), n - i);
}

#else

static inline void vn_terms_round(vn_term *to, const float *from, int64_t n) {
    memcpy(to, from, (size_t)n * sizeof(float));
}

#endif

#endif
