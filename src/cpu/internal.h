/* internal.h - what the kernel files of this room share.
 *
 * Every kernel_*.c is compiled once for each instruction set, with VN_ISA = portable, avx2 or
 * avx512 and that set's compiler flags; its external symbols carry the set's name (VN_K, VN_W),
 * everything else in it is static. cpu.c builds one table from VN_KERNELS for each set. So a kernel
 * is written once, on vectors of VN_LANES floats, and nothing in it asks which CPU it runs on.
 *
 * Rules for kernels: no allocation; the same bits for every thread count, so work is cut by the
 * shape alone and sums are combined in a fixed order; any dimension may be 0 or 1; `out` is the
 * same array as an input only where the op's row says so.
 */
#ifndef VN_CPU_INTERNAL_H
#define VN_CPU_INTERNAL_H

#include <string.h>

#include "cpu/cpu.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

/* ---- which kernel computes which op ---------------------------------------------------------- */

/* X(op, kernel, WORK or PLAIN, isa): WORK has a workspace function beside it. The products come in
 * more than one number type (see kernel_terms.h): `products` names the set of them. */
/* clang-format off */
#define VN_PRODUCT_KERNELS(X, products)               \
    X(MATMUL,             matmul,             WORK,  products) \
    X(LINEAR,             linear,             WORK,  products) \
    X(LINEAR_PLUS,        linear_plus,        WORK,  products) \
    X(ATTENTION,          attention,          WORK,  products) \
    X(ATTENTION_GRAD,     attention_grad,     WORK,  products)

#define VN_KERNELS(X, isa, products)                  \
    VN_PRODUCT_KERNELS(X, products)                   \
    X(FILL,               fill,               PLAIN, isa) \
    X(PERMUTE,            permute,            PLAIN, isa) \
    X(CONCAT,             concat,             PLAIN, isa) \
    X(SLICE,              slice,              PLAIN, isa) \
    X(PLACE,              place,              PLAIN, isa) \
    X(BROADCAST,          broadcast,          PLAIN, isa) \
    X(SUM_TO,             sum_to,             WORK,  isa) \
    X(ADD,                add,                PLAIN, isa) \
    X(SUB,                sub,                PLAIN, isa) \
    X(MUL,                mul,                PLAIN, isa) \
    X(DIV,                div,                PLAIN, isa) \
    X(MUL_ADD,            mul_add,            PLAIN, isa) \
    X(CAST,               cast,               PLAIN, isa) \
    X(AFFINE,             affine,             PLAIN, isa) \
    X(UNARY,              unary,              PLAIN, isa) \
    X(UNARY_GRAD,         unary_grad,         PLAIN, isa) \
    X(CONV2D,             conv2d,             WORK,  isa) \
    X(CONV2D_GRAD_X,      conv2d_grad_x,      WORK,  isa) \
    X(CONV2D_GRAD_W,      conv2d_grad_w,      WORK,  isa) \
    X(NORM_STATS,         norm_stats,         WORK,  isa) \
    X(NORM,               norm,               WORK,  isa) \
    X(NORM_GRAD_X,        norm_grad_x,        WORK,  isa) \
    X(NORM_GRAD_AFFINE,   norm_grad_affine,   WORK,  isa) \
    X(SOFTMAX,            softmax,            PLAIN, isa) \
    X(SOFTMAX_GRAD,       softmax_grad,       PLAIN, isa) \
    X(CROSS_ENTROPY,      cross_entropy,      PLAIN, isa) \
    X(CROSS_ENTROPY_GRAD, cross_entropy_grad, PLAIN, isa) \
    X(ONE_HOT,            one_hot,            PLAIN, isa) \
    X(EMBEDDING,          embedding,          PLAIN, isa) \
    X(EMBEDDING_GRAD,     embedding_grad,     PLAIN, isa) \
    X(RESAMPLE,           resample,           WORK,  isa) \
    X(DROPOUT,            dropout,            WORK,  isa) \
    X(ENTMAX_ROOT,        entmax_root,        PLAIN, isa) \
    X(NEAREST,            nearest,            PLAIN, isa) \
    X(RMS_NORM,           rms_norm,           WORK,  isa) \
    X(ROTATE,             rotate,             PLAIN, isa) \
    X(CONV2D_PLUS,        conv2d_plus,        WORK,  isa)
/* clang-format on */

/* Ops that have no kernel: a program binds their memory or lets it share another node's. */
#define VN_KERNELLESS(X) X(INPUT) X(PARAM) X(CONST) X(VIEW)

#define VN_PASTE_EXPANDED(a, b) a##_##b
#define VN_PASTE(a, b)          VN_PASTE_EXPANDED(a, b)
/* The set of products that a file is compiled for: float32's is named like the instructions. */
#if defined(VN_ISA) && !defined(VN_PRODUCTS)
#define VN_PRODUCTS VN_ISA
#endif

/* void VN_K(add)(const vn_kernel_args *a) */
#define VN_K(kernel) VN_PASTE(vn_k_##kernel, VN_PRODUCTS)
/* size_t VN_W(sum_to)(const vn_node *n, int threads) */
#define VN_W(kernel) VN_PASTE(vn_w_##kernel, VN_PRODUCTS)
/* The same of float32. */
#define VN_K_F32(kernel) VN_PASTE(vn_k_##kernel, VN_ISA)
#define VN_W_F32(kernel) VN_PASTE(vn_w_##kernel, VN_ISA)

#define VN_DECLARE_PLAIN(kernel, isa) void vn_k_##kernel##_##isa(const vn_kernel_args *a);
#define VN_DECLARE_WORK(kernel, isa)                                                               \
    VN_DECLARE_PLAIN(kernel, isa) size_t vn_w_##kernel##_##isa(const vn_node *n, int threads);
#define VN_DECLARE(op, kernel, work, isa) VN_DECLARE_##work(kernel, isa)
#define VN_DECLARE_OPTIMISER(isa)                                                                  \
    void vn_k_adamw_##isa(const vn_device *d, const vn_adamw *o, size_t n, float *value,           \
                          const float *grad, float *m, float *v, float *ema);                      \
    void vn_k_momentum_##isa(const vn_device *d, const vn_momentum *o, size_t n, float *grad,      \
                             float *m);                                                            \
    void vn_k_descend_##isa(const vn_device *d, const vn_descent *o, size_t n, float *value,       \
                            const float *direction, float *ema);                                   \
    void vn_k_sum_squares_##isa(const vn_device *d, int n, const vn_span *span, const float *x,    \
                                double *sum);                                                      \
    void vn_k_accumulate_##isa(const vn_device *d, size_t n, float *x, const float *y);
#define VN_DECLARE_ISA(isa)           VN_KERNELS(VN_DECLARE, isa, isa) VN_DECLARE_OPTIMISER(isa)
#define VN_DECLARE_PRODUCTS(products) VN_PRODUCT_KERNELS(VN_DECLARE, products)

#if defined(VN_ISA)
VN_DECLARE_ISA(VN_ISA)
#endif
#if defined(VN_ROUNDED)
VN_DECLARE_PRODUCTS(VN_PRODUCTS)
#endif

/* ---- threads --------------------------------------------------------------------------------- */

/* Below this many floats read or written (or the time of as many: a float takes about 0.5 ns),
 * sharing costs more than it saves. */
#define VN_PARALLEL_FLOATS 32768

static inline vn_thread_pool *vn_share(vn_thread_pool *pool, double floats) {
    return floats < VN_PARALLEL_FLOATS ? NULL : pool;
}

static inline int64_t vn_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t vn_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static inline int64_t vn_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Part i of n items cut into `parts` nearly equal runs: [*begin, *end). */
static inline void vn_part(int64_t n, int64_t parts, int64_t i, int64_t *begin, int64_t *end) {
    *begin = n * i / parts;
    *end = n * (i + 1) / parts;
}

/* A task of a pointwise loop is a block of this many floats: where a block begins, and so which
 * elements share a vector, does not depend on the number of threads. */
#define VN_BLOCK 4096

static inline int64_t vn_block_count(int64_t floats) {
    return vn_ceil_div(floats, VN_BLOCK);
}

/* Rows of `length` floats: into how many parts of about VN_BLOCK floats they are cut. */
static inline int64_t vn_row_parts(int64_t rows, int64_t length) {
    return vn_min_i64(rows, rows * length / VN_BLOCK + 1);
}

/* Size of the region that begins `count` items of `size` bytes in a workspace: keeps 64-byte
 * alignment. */
static inline size_t vn_region(size_t count, size_t size) {
    return (count * size + 63) / 64 * 64;
}

/* ---- vectors: GCC's and clang's own, so that +, -, *, / and comparisons are the operators ---- */

#if defined(__AVX512F__)
#define VN_LANES 16
#elif defined(__AVX2__)
#define VN_LANES 8
#else
#define VN_LANES 4
#endif

#define VN_INLINE static inline __attribute__((always_inline))

/* Before a loop of a constant number of turns, whose variables are then registers. */
#if defined(__clang__)
#define VN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VN_UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vn_vec __attribute__((vector_size(VN_LANES * 4)));
/* integers, and masks: -1 true, 0 false */
typedef int32_t vn_ivec __attribute__((vector_size(VN_LANES * 4)));

VN_INLINE vn_vec vn_set(float x) {
    return x - (vn_vec){0};
}

VN_INLINE vn_vec vn_load(const float *p) {
    vn_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

VN_INLINE void vn_store(float *p, vn_vec v) {
    memcpy(p, &v, sizeof v);
}

/* The first n lanes, 0 < n <= VN_LANES: the others are 0, and their memory is not touched. */
VN_INLINE vn_vec vn_load_part(const float *p, int64_t n) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (16 - n)), p);
#else
    vn_vec v = {0};
    for (int64_t i = 0; i < VN_LANES && i < n; i++) v[i] = p[i];
    return v;
#endif
}

VN_INLINE void vn_store_part(float *p, vn_vec v, int64_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffffu >> (16 - n)), (__m512)v);
#else
    for (int64_t i = 0; i < VN_LANES && i < n; i++) p[i] = v[i];
#endif
}

/* n >= VN_LANES: the whole vector. Loops call their body with n = VN_LANES, a constant, and once
 * more for what is left. */
VN_INLINE vn_vec vn_load_n(const float *p, int64_t n) {
    return n >= VN_LANES ? vn_load(p) : vn_load_part(p, n);
}

VN_INLINE void vn_store_n(float *p, vn_vec v, int64_t n) {
    if (n >= VN_LANES)
        vn_store(p, v);
    else
        vn_store_part(p, v, n);
}

/* a*b + c, with one rounding where the instruction set has it. */
VN_INLINE vn_vec vn_fma(vn_vec a, vn_vec b, vn_vec c) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vn_vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

VN_INLINE vn_vec vn_select(vn_ivec mask, vn_vec yes, vn_vec no) {
    return (vn_vec)((mask & (vn_ivec)yes) | (~mask & (vn_ivec)no));
}

/* Like the instructions: the second operand where one is NaN. */
VN_INLINE vn_vec vn_vmax(vn_vec a, vn_vec b) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vn_vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vn_select(a > b, a, b);
#endif
}

VN_INLINE vn_vec vn_vmin(vn_vec a, vn_vec b) {
#if defined(__AVX512F__)
    return (vn_vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vn_vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vn_select(a < b, a, b);
#endif
}

VN_INLINE vn_vec vn_vabs(vn_vec x) {
    return (vn_vec)((vn_ivec)x & INT32_MAX);
}

/* Whether any lane of a mask is set. */
VN_INLINE bool vn_any(vn_ivec mask) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

typedef float vn_quad __attribute__((vector_size(16)));

/* The sum of the two halves, again and again, down to four lanes. */
VN_INLINE vn_quad vn_fold(vn_vec v) {
#if defined(__AVX512F__)
    __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
    return (vn_quad)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
    return (vn_quad)_mm_add_ps(_mm256_castps256_ps128((__m256)v),
                               _mm256_extractf128_ps((__m256)v, 1));
#else
    return v;
#endif
}

/* Sum and maximum of the lanes. */
VN_INLINE float vn_hsum(vn_vec v) {
    vn_quad q = vn_fold(v);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

VN_INLINE float vn_hmax(vn_vec v) {
    for (int half = VN_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
    return v[0];
}

#endif
