/* kernel_math.h - elementary functions on vectors: no tables, no branches on single lanes, the same
 * operations for every lane, so that an element's bits do not depend on where in an array it
 * stands.
 *
 * Polynomials are minimax fits (tools/fit_math.py). Largest errors in units of the last place (ulp)
 * of the float result, as tests/cpu/test_math.c measures and holds them:
 *
 *     vn_vlog 0.8, vn_vexp 1, vn_vtanh 1.3, vn_vsincos 1.5, vn_vsigmoid 2, where the result is a
 *     normal number (sine and cosine of more than 100: of 1/2, where they nearly vanish);
 *     x times vn_vnormal's distribution, which is GELU: 6, and in the left tail below -3 up to 65,
 *     as x^2 is rounded there.
 *
 * NaN gives NaN, and infinities what they should. */
#ifndef VN_CPU_KERNEL_MATH_H
#define VN_CPU_KERNEL_MATH_H

#include <math.h>

#include "cpu/internal.h"

/* 1.5 * 2^23: adding it rounds to the nearest integer, which the low bits of the sum then hold. */
#define VN_ROUNDER 12582912.0f

/* c[0] + c[1] x + ... + c[degree] x^degree. */
VN_INLINE vn_vec vn_poly(vn_vec x, const float *c, int degree) {
    vn_vec y = vn_set(c[degree]);
    for (int i = degree - 1; i >= 0; i--) y = vn_fma(y, x, vn_set(c[i]));
    return y;
}

#define VN_POLY(x, ...)                                                                            \
    vn_poly(x, (const float[]){__VA_ARGS__},                                                       \
            (int)(sizeof((const float[]){__VA_ARGS__}) / sizeof(float)) - 1)

/* x 2^n for whole n, |n| <= 252: in two steps, as 2^n itself may be out of range. */
VN_INLINE vn_vec vn_scale2(vn_vec x, vn_vec n) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    vn_ivec k = __builtin_convertvector(n, vn_ivec), half = k >> 1;
    vn_vec a = (vn_vec)((half + 127) << 23), b = (vn_vec)((k - half + 127) << 23);
    return x * a * b;
#endif
}

VN_INLINE vn_vec vn_vsqrt(vn_vec x) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vn_vec)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < VN_LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* e^x = 2^n e^r, |r| <= ln(2)/2, with ln 2 in two parts, so that n times the first is exact: e^r,
 * and n in *shifted, left in the low bits of the rounding sum. */
VN_INLINE vn_vec vn_vexp_parts(vn_vec x, vn_vec *shifted) {
    *shifted = vn_fma(x, vn_set(1.44269504f), vn_set(VN_ROUNDER));
    vn_vec n = *shifted - VN_ROUNDER;
    vn_vec r = vn_fma(n, vn_set(-1.42860677e-06f), vn_fma(n, vn_set(-0.693145752f), x));
    vn_vec p =
        VN_POLY(r, 0.499999996f, 0.166665773f, 0.0416668533f, 0.00836314038f, 0.00139012851f);
    return vn_fma(r * r, p, r) + 1.0f;
}

VN_INLINE vn_vec vn_vexp(vn_vec x) {
    vn_vec shifted,
        /* so NaN passes */
        p = vn_vexp_parts(vn_vmin(vn_set(89.0f), vn_vmax(vn_set(-104.0f), x)), &shifted);
    return vn_scale2(p, shifted - VN_ROUNDER);
}

/* The same for |x| <= 87, where neither x nor 2^n needs care: n is added to the exponent. */
VN_INLINE vn_vec vn_vexp_mid(vn_vec x) {
    vn_vec shifted, p = vn_vexp_parts(x, &shifted);
    return (vn_vec)((vn_ivec)p + ((vn_ivec)shifted << 23));
}

/* 2^x for x <= 0, no smaller than 2^-126; NaN stays. */
VN_INLINE vn_vec vn_vexp2_down(vn_vec x) {
    x = vn_vmax(vn_set(-126.0f), x);
    const vn_vec shifted = x + VN_ROUNDER, r = x - (shifted - VN_ROUNDER);
    const vn_vec p = VN_POLY(r, 1.0f, 0.693147182f, 0.240226477f, 0.0555033237f, 0.00961843692f,
                             0.0013398875f, 0.00015353362f);
    return (vn_vec)((vn_ivec)p + ((vn_ivec)shifted << 23));
}

/* x within +-87; NaN stays. */
VN_INLINE vn_vec vn_vclamp87(vn_vec x) {
    return vn_vmin(vn_set(87.0f), vn_vmax(vn_set(-87.0f), x));
}

/* ln x = e ln 2 + ln m, m in [sqrt(1/2), sqrt(2)). */
VN_INLINE vn_vec vn_vlog(vn_vec x) {
    vn_ivec tiny = x < 1.17549435e-38f; /* denormals are scaled up by 2^23 */
    vn_vec scaled = vn_select(tiny, x * 8388608.0f, x);
    vn_ivec bits = (vn_ivec)scaled - 0x3f3504f3;
    vn_vec e = __builtin_convertvector((bits >> 23) - (tiny & 23), vn_vec);
    vn_vec f = (vn_vec)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f, f2 = f * f;
    vn_vec p = VN_POLY(f, 0.333333312f, -0.24999994f, 0.200007148f, -0.166680576f, 0.142493229f,
                       -0.124201413f, 0.116769983f, -0.115146076f, 0.0703768158f);
    vn_vec low = vn_fma(e, vn_set(1.42860677e-06f), vn_fma(f2 * f, p, f2 * -0.5f));
    vn_vec y = vn_fma(e, vn_set(0.693145752f), f + low);
    y = vn_select(x == 0.0f, vn_set(-INFINITY), y);
    y = vn_select(x == INFINITY, x, y);
    return vn_select((x >= 0.0f), y, vn_set(NAN));
}

/* 1 / (1 + e^-x), and 1 - that = e^-x / (1 + e^-x), which keeps its digits where the first is near
 * 1. Held at x = +-87. */
VN_INLINE vn_vec vn_vsigmoid_pair(vn_vec x, vn_vec *rest) {
    vn_vec e = vn_vexp_mid(-vn_vclamp87(x)), s = 1.0f / (1.0f + e);
    *rest = e * s;
    return s;
}

VN_INLINE vn_vec vn_vsigmoid(vn_vec x) {
    return 1.0f / (1.0f + vn_vexp_mid(-vn_vclamp87(x)));
}

/* x sigmoid(x), its first or second derivative. */
VN_INLINE vn_vec vn_vsilu(vn_vec x, int order) {
    if (order == 0) return x / (1.0f + vn_vexp_mid(-vn_vclamp87(x)));
    vn_vec rest, s = vn_vsigmoid_pair(x, &rest);
    if (order == 1) return s * vn_fma(x, rest, vn_set(1.0f));
    return s * rest * (2.0f + x * (rest - s));
}

/* Near 0 an odd polynomial, beyond it 1 - 2 / (e^2x + 1). */
VN_INLINE vn_vec vn_vtanh(vn_vec x) {
    vn_vec a = vn_vmin(vn_set(20.0f), vn_vabs(x)), z = x * x;
    vn_vec near =
        VN_POLY(z, -0.33333332f, 0.133331138f, -0.0539094462f, 0.0213094803f, -0.00661037862f);
    vn_vec far = 1.0f - 2.0f / (vn_vexp_mid(a + a) + 1.0f);
    far = (vn_vec)((vn_ivec)far | ((vn_ivec)x & INT32_MIN));
    return vn_select(a < 0.55f, vn_fma(z * x, near, x), far);
}

/* Standard normal density and distribution. Phi(-a) = e^(-a^2/2) R(a), with R a polynomial in 1/(1
 * + 0.33 a): keeps its digits in the left tail, where (1 + erf)/2 has none. Held at |x| = 13, where
 * the density is 1e-37. */
VN_INLINE vn_vec vn_vnormal(vn_vec x, vn_vec *pdf) {
    vn_vec a = vn_vmin(vn_set(13.0f), vn_vabs(x)), e = vn_vexp_mid(a * a * -0.5f);
    vn_vec u = 1.0f / vn_fma(a, vn_set(0.33f), vn_set(1.0f)) - 0.6f;
    vn_vec tail =
        e * VN_POLY(u, 0.166843205f, 0.520920054f, 0.613450941f, 0.412801929f, 0.0579648138f,
                    -0.118993929f, -0.0337487062f, 0.0559707401f, 0.00847444208f, -0.0271825616f);
    *pdf = e * 0.398942280f;
    return vn_select(x < 0.0f, tail, 1.0f - tail);
}

#define VN_SINCOS_MAX 8192.0f

/* Sine and cosine: x = n pi/2 + r, |r| <= pi/4, pi/2 in parts whose products with n are exact.
 * Beyond VN_SINCOS_MAX, where that ends, lane by lane from the C library. */
VN_INLINE void vn_vsincos(vn_vec x, vn_vec *sine, vn_vec *cosine) {
    vn_vec k = vn_fma(x, vn_set(0.636619772f), vn_set(VN_ROUNDER));
    vn_ivec quadrant = (vn_ivec)k;
    vn_vec n = k - VN_ROUNDER;
    vn_vec r = x - n * 1.5703125f;
    r = r - n * 0.000483751297f;
    r = r - n * 7.54953362e-08f;
    r = vn_fma(n, vn_set(-2.56334407e-12f), r);
    vn_vec z = r * r;
    vn_vec s = vn_fma(z * r, VN_POLY(z, -0.166666646f, 0.00833274499f, -0.000195873604f), r);
    vn_vec c =
        vn_fma(z * z, VN_POLY(z, 0.0416666646f, -0.0013888301f, 2.4547608e-05f), 1.0f - z * 0.5f);
    vn_ivec odd = -(quadrant & 1);
    vn_ivec minus_s = (quadrant & 2) << 30, minus_c = ((quadrant + 1) & 2) << 30;
    *sine = (vn_vec)((vn_ivec)vn_select(odd, c, s) ^ minus_s);
    *cosine = (vn_vec)((vn_ivec)vn_select(odd, s, c) ^ minus_c);
    vn_ivec large = vn_vabs(x) > VN_SINCOS_MAX;
    for (int i = 0; i < VN_LANES && vn_any(large); i++) {
        if (!large[i]) continue;
        (*sine)[i] = sinf(x[i]);
        (*cosine)[i] = cosf(x[i]);
    }
}

#endif
