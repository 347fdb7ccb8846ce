/* kernel_unary.c - functions of one number: f(x), f'(x), f''(x) and dy f'(x), a loop for each, made
 * from the formulas below. A formula is written once for the three orders of derivative; `order` is
 * a constant wherever it is inlined. */
#include "cpu/kernel_math.h"
#include "cpu/kernel_unary.h"

/* ---- formulas -------------------------------------------------------------------------------- */

VN_INLINE vn_vec identity(vn_vec x, int order) {
    return order == 0 ? x : vn_set(order == 1);
}

VN_INLINE vn_vec gelu(vn_vec x, int order) {
    vn_vec pdf, cdf = vn_vnormal(x, &pdf);
    if (order == 0) return x * cdf;
    return order == 1 ? vn_fma(x, pdf, cdf) : pdf * (2.0f - x * x);
}

/* x (1 + tanh u)/2 = x s, s = sigmoid(v), v = 2u = k (x + c x^3). Beyond |x| = 10, s is 0 or 1; the
 * cube must not overflow. */
VN_INLINE vn_vec gelu_tanh(vn_vec x, int order) {
    const float k = 1.59576912f, c = 0.044715f;
    vn_vec b = vn_vmin(vn_set(10.0f), vn_vmax(vn_set(-10.0f), x)), b2 = b * b;
    vn_vec rest, s = vn_vsigmoid_pair(k * b * vn_fma(b2, vn_set(c), vn_set(1.0f)), &rest);
    if (order == 0) return vn_vmax(vn_set(-10.0f), x) * s;
    vn_vec v1 = k * vn_fma(b2, vn_set(3.0f * c), vn_set(1.0f)), s1 = s * rest * v1;
    if (order == 1) return vn_fma(b, s1, s);
    vn_vec s2 = s * rest * (6.0f * k * c) * b + s1 * (rest - s) * v1;
    return 2.0f * s1 + b * s2;
}

VN_INLINE vn_vec relu(vn_vec x, int order) {
    if (order == 0) return vn_vmax(vn_set(0.0f), x);
    return order == 1 ? vn_select(x > 0.0f, vn_set(1.0f), vn_set(0.0f)) : vn_set(0.0f);
}

VN_INLINE vn_vec hyperbolic_tangent(vn_vec x, int order) {
    vn_vec t = vn_vtanh(x);
    if (order == 0) return t;
    vn_vec d = (1.0f - t) * (1.0f + t);
    return order == 1 ? d : -2.0f * t * d;
}

VN_INLINE vn_vec sigmoid(vn_vec x, int order) {
    if (order == 0) return vn_vsigmoid(x);
    vn_vec rest, s = vn_vsigmoid_pair(x, &rest);
    return order == 1 ? s * rest : s * rest * (rest - s);
}

/* x w, w = tanh(ln(1 + e^x)) = n / (n + 2) with n = e (e + 2), e = e^x; beyond 20, w is 1. */
VN_INLINE vn_vec mish(vn_vec x, int order) {
    vn_vec e = vn_vexp_mid(vn_vmin(vn_set(20.0f), vn_vmax(vn_set(-87.0f), x))), n = e * (e + 2.0f),
           over = 1.0f / (n + 2.0f), w = n * over;
    if (order == 0) return x * w;
    vn_vec w1 = 4.0f * e * (1.0f + e) * over * over;
    if (order == 1) return vn_fma(x, w1, w);
    vn_vec w2 = w1 * (1.0f + e / (1.0f + e) - 4.0f * e * (1.0f + e) * over);
    return 2.0f * w1 + x * w2;
}

VN_INLINE vn_vec exponential(vn_vec x, int order) {
    return (void)order, vn_vexp(x);
}

VN_INLINE vn_vec logarithm(vn_vec x, int order) {
    if (order == 0) return vn_vlog(x);
    return order == 1 ? 1.0f / x : -1.0f / (x * x);
}

VN_INLINE vn_vec square_root(vn_vec x, int order) {
    vn_vec r = vn_vsqrt(x);
    if (order == 0) return r;
    return order == 1 ? 0.5f / r : -0.25f / (x * r);
}

VN_INLINE vn_vec reciprocal_root(vn_vec x, int order) {
    vn_vec r = vn_vsqrt(x);
    if (order == 0) return 1.0f / r;
    return order == 1 ? -0.5f / (x * r) : 0.75f / (x * x * r);
}

VN_INLINE vn_vec square(vn_vec x, int order) {
    if (order == 0) return x * x;
    return order == 1 ? x + x : vn_set(2.0f);
}

VN_INLINE vn_vec reciprocal(vn_vec x, int order) {
    if (order == 0) return 1.0f / x;
    return order == 1 ? -1.0f / (x * x) : 2.0f / (x * x * x);
}

VN_INLINE vn_vec absolute(vn_vec x, int order) {
    if (order == 0) return vn_vabs(x);
    if (order == 2) return vn_set(0.0f);
    return vn_select(x > 0.0f, vn_set(1.0f), vn_select(x < 0.0f, vn_set(-1.0f), vn_set(0.0f)));
}

VN_INLINE vn_vec sine(vn_vec x, int order) {
    vn_vec s, c;
    vn_vsincos(x, &s, &c);
    return order == 1 ? c : order == 0 ? s : -s;
}

VN_INLINE vn_vec cosine(vn_vec x, int order) {
    vn_vec s, c;
    vn_vsincos(x, &s, &c);
    return order == 0 ? c : order == 1 ? -s : -c;
}

#define VN_FNS(X)                                                                                  \
    X(IDENTITY, identity)                                                                          \
    X(SILU, vn_vsilu)                                                                              \
    X(GELU, gelu)                                                                                  \
    X(GELU_TANH, gelu_tanh)                                                                        \
    X(RELU, relu)                                                                                  \
    X(TANH, hyperbolic_tangent)                                                                    \
    X(SIGMOID, sigmoid)                                                                            \
    X(MISH, mish)                                                                                  \
    X(EXP, exponential)                                                                            \
    X(LOG, logarithm)                                                                              \
    X(SQRT, square_root)                                                                           \
    X(RSQRT, reciprocal_root)                                                                      \
    X(SQUARE, square)                                                                              \
    X(RECIPROCAL, reciprocal)                                                                      \
    X(ABS, absolute)                                                                               \
    X(SIN, sine)                                                                                   \
    X(COS, cosine)

#define VN_COUNT_FN(id, f) +1
_Static_assert(0 VN_FNS(VN_COUNT_FN) == VN_FN_COUNT, "a function is missing from VN_FNS");

/* ---- loops ----------------------------------------------------------------------------------- */

typedef vn_vec (*formula)(vn_vec x, int order);
typedef void (*span)(const float *x, const float *dy, float *y, int64_t n);

/* y = f^(order)(x), times dy where it is given. */
VN_INLINE void run_span(formula f, int order, const float *x, const float *dy, float *y,
                        int64_t n) {
    int64_t i = 0;
    for (; i + VN_LANES <= n; i += VN_LANES) {
        vn_vec v = f(vn_load(x + i), order);
        vn_store(y + i, dy ? vn_load(dy + i) * v : v);
    }
    if (i < n) {
        vn_vec v = f(vn_load_part(x + i, n - i), order);
        vn_store_part(y + i, dy ? vn_load_part(dy + i, n - i) * v : v, n - i);
    }
}

#define VN_SPANS(id, f)                                                                            \
    static void id##_0(const float *x, const float *dy, float *y, int64_t n) {                     \
        (void)dy;                                                                                  \
        run_span(f, 0, x, NULL, y, n);                                                             \
    }                                                                                              \
    static void id##_1(const float *x, const float *dy, float *y, int64_t n) {                     \
        (void)dy;                                                                                  \
        run_span(f, 1, x, NULL, y, n);                                                             \
    }                                                                                              \
    static void id##_2(const float *x, const float *dy, float *y, int64_t n) {                     \
        (void)dy;                                                                                  \
        run_span(f, 2, x, NULL, y, n);                                                             \
    }                                                                                              \
    static void id##_GRAD(const float *x, const float *dy, float *y, int64_t n) {                  \
        run_span(f, 1, x, dy, y, n);                                                               \
    }
VN_FNS(VN_SPANS)

#define VN_SPAN_ROW(id, f) [VN_FN_##id] = {id##_0, id##_1, id##_2, id##_GRAD},
static const span spans[VN_FN_COUNT][4] = {VN_FNS(VN_SPAN_ROW)};

typedef struct blocks {
    span run;
    const float *x, *dy;
    float *y;
    int64_t n;
} blocks;

static void run_block(void *context, int64_t block, int thread) {
    const blocks *b = context;
    const int64_t i = block * VN_BLOCK;
    (void)thread;
    b->run(b->x + i, b->dy ? b->dy + i : NULL, b->y + i, vn_min_i64(VN_BLOCK, b->n - i));
}

static void run_blocks(span run, const vn_kernel_args *a, const float *dy) {
    blocks b = {run, a->in[0], dy, a->out, vn_shape_count(&a->node->shape)};
    vn_thread_pool_run(vn_share(a->pool, (double)b.n * 4), vn_block_count(b.n), run_block, &b);
}

void vn_unary_span(vn_fn fn, const float *x, int64_t n, float *y) {
    spans[fn][0](x, NULL, y, n);
}

void VN_K(unary)(const vn_kernel_args *a) {
    run_blocks(spans[a->node->attr.unary.fn][a->node->attr.unary.order], a, NULL);
}

void VN_K(unary_grad)(const vn_kernel_args *a) {
    run_blocks(spans[a->node->attr.unary.fn][3], a, a->in[1]);
}
