/* kernel_cast.c - numbers in another type: floats of 16 bits widened, floats of 32 rounded to
 * nearest, ties to even. One number at a time, without branches, so that the compiler makes vectors
 * of the loops; the same bits on each instruction set. */
#include "cpu/internal.h"

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- bf16: the upper half of a float --------------------------------------------------------- */

static float from_bf16(uint16_t x) {
    return float_of((uint32_t)x << 16);
}

static uint16_t to_bf16(float x) {
    const uint32_t bits = bits_of(x), rounded = bits + 0x7FFF + (bits >> 16 & 1);
    const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return (uint16_t)((is_nan ? bits | 0x400000 : rounded) >> 16);
}

/* ---- f16: 5 bits of exponent, 10 of mantissa ------------------------------------------------- */

/* The bits put where a float has them, and the bias mended by a multiplication, exact for
 * subnormals too. */
static float from_f16(uint16_t x) {
    const uint32_t rest = (uint32_t)(x & 0x7FFF) << 13, sign = (uint32_t)(x & 0x8000) << 16;
    const uint32_t finite = bits_of(float_of(rest) * 0x1p112F), special = rest | 0x7F800000;
    return float_of(sign | (rest >= 0x7C00 << 13 ? special : finite));
}

/* Below 2^-14 the sum with 0.5 rounds to steps of 2^-24, which are the subnormals. */
static uint16_t to_f16(float x) {
    const uint32_t sign = bits_of(x) >> 16 & 0x8000, rest = bits_of(x) & 0x7FFFFFFF;
    const uint32_t small = bits_of(float_of(rest) + 0.5F) - bits_of(0.5F);
    const uint32_t normal = (rest - (112U << 23) + 0xFFF + (rest >> 13 & 1)) >> 13;
    const uint32_t special = rest > 0x7F800000 ? 0x7E00 : 0x7C00;
    const uint32_t finite = rest < 113U << 23 ? small : normal;
    return (uint16_t)(sign | (rest >= 143U << 23 ? special : finite));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

typedef struct cast {
    const void *x;
    void *y;
    int64_t n;
} cast;

#define CAST(name, from, to, one)                                                                  \
    static void name(void *context, int64_t block, int thread) {                                   \
        const cast *c = context;                                                                   \
        const int64_t begin = block * VN_BLOCK, end = vn_min_i64(c->n, begin + VN_BLOCK);          \
        const from *x = c->x;                                                                      \
        to *restrict y = c->y;                                                                     \
        (void)thread;                                                                              \
        for (int64_t i = begin; i < end; i++) y[i] = one(x[i]);                                    \
    }

CAST(widen_bf16, uint16_t, float, from_bf16)
CAST(widen_f16, uint16_t, float, from_f16)
CAST(widen_i32, int32_t, float, (float))
CAST(narrow_bf16, float, uint16_t, to_bf16)
CAST(narrow_f16, float, uint16_t, to_f16)

typedef void (*cast_task)(void *context, int64_t block, int thread);

/* By the type cast from, and to. */
static const cast_task tasks[VN_DTYPE_COUNT][VN_DTYPE_COUNT] = {
    [VN_BF16] = {[VN_F32] = widen_bf16},
    [VN_F16] = {[VN_F32] = widen_f16},
    [VN_I32] = {[VN_F32] = widen_i32},
    [VN_F32] = {[VN_BF16] = narrow_bf16, [VN_F16] = narrow_f16},
};

void VN_K(cast)(const vn_kernel_args *a) {
    cast c = {a->in[0], a->out, vn_shape_count(&a->node->shape)};
    vn_thread_pool_run(vn_share(a->pool, 1.5 * (double)c.n), vn_block_count(c.n),
                       tasks[a->node->in[0]->dtype][a->node->dtype], &c);
}
