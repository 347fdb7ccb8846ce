/* support_functions.c - errors of functions of one number, by the steps of their formulas
 * (src/cpu/kernel_unary.c). */
#include "cpu/support_rounding.h"

/* In u = 2^-24: half a unit in the last place of a number just above a power of two. The functions
 * of kernel_math.h are off by at most 1 ulp (exp), 0.8 (log), 1.3 (tanh near 0), 1.5 (sin, cos),
 * each of up to 2 u. */
#define EXP    2.0
#define LOG    1.6
#define TANH   2.6
#define SINCOS 3.0
/* The polynomial in 1/(1 + 0.33 a): the roundings of its argument and of its ten terms. */
#define TAIL 8.0

/* A number, and what it may be off by. */
typedef struct approx {
    double x, e;
} approx;

static approx exactly(double x) {
    return (approx){x, 0};
}

static approx rounded(double x, double e) {
    return (approx){x, e + fabs(x)};
}

static approx add(approx a, approx b) {
    return rounded(a.x + b.x, a.e + b.e);
}

static approx sub(approx a, approx b) {
    return rounded(a.x - b.x, a.e + b.e);
}

static approx mul(approx a, approx b) {
    return rounded(a.x * b.x, fabs(a.x) * b.e + fabs(b.x) * a.e);
}

static approx over(approx a, approx b) {
    return rounded(a.x / b.x, (a.e + fabs(a.x / b.x) * b.e) / fabs(b.x));
}

/* By a power of two. */
static approx scaled(double by, approx a) {
    return (approx){by * a.x, fabs(by) * a.e};
}

static approx exponential(approx a) {
    return (approx){exp(a.x), exp(a.x) * (a.e + EXP)};
}

static double held(double x, double at) {
    return fmin(fmax(x, -at), at);
}

/* sigmoid(x) and, in *rest, 1 - it. Held at 87, as exponentials are. */
static approx sigmoid(approx x, approx *rest) {
    x.x = held(x.x, 87);
    const approx e = exponential(scaled(-1, x)), s = over(exactly(1), add(exactly(1), e));
    *rest = mul(e, s);
    return s;
}

static approx silu(double x, int order) {
    approx rest, s = sigmoid(exactly(x), &rest);
    if (order == 0) return over(exactly(x), add(exactly(1), exponential(exactly(held(-x, 87)))));
    if (order == 1) return mul(s, add(exactly(1), mul(exactly(x), rest)));
    return mul(mul(s, rest), add(exactly(2), mul(exactly(x), sub(rest, s))));
}

/* The left tail of the normal distribution is e^(-x^2/2), whose argument is rounded, times a
 * polynomial. */
static approx gelu(double at, int order) {
    const double x = held(at, 13);
    const approx square = mul(exactly(x), exactly(x)), e = exponential(scaled(-0.5, square));
    const double part = 0.5 * erfc(fabs(x) / sqrt(2.0)) / e.x;
    const approx tail = mul(e, (approx){part, TAIL * part}),
                 cdf = x < 0 ? tail : sub(exactly(1), tail),
                 pdf = mul(e, rounded(1 / sqrt(2 * 3.14159265358979323846), 0));
    if (order == 0) return mul(exactly(x), cdf);
    if (order == 1) return add(mul(exactly(x), pdf), cdf);
    return mul(pdf, sub(exactly(2), square));
}

static approx gelu_tanh(double x, int order) {
    const double pi = 3.14159265358979323846;
    const approx k = rounded(2 * sqrt(2 / pi), 0), c = rounded(0.044715, 0),
                 b = exactly(held(x, 10)), b2 = mul(b, b), one = exactly(1);
    approx rest, s = sigmoid(mul(mul(k, b), add(mul(b2, c), one)), &rest);
    if (order == 0) return mul(b, s);
    const approx three = rounded(3 * 0.044715, 0), v1 = mul(k, add(mul(b2, three), one)),
                 slope = mul(s, rest), s1 = mul(slope, v1);
    if (order == 1) return add(mul(b, s1), s);
    const approx six = mul(mul(exactly(6), k), c),
                 s2 = add(mul(mul(slope, six), b), mul(mul(s1, sub(rest, s)), v1));
    return add(scaled(2, s1), mul(b, s2));
}

static approx hyperbolic_tangent(double x, int order) {
    const approx one = exactly(1), e = exponential(exactly(2 * fmin(fabs(x), 20)));
    approx t = sub(one, over(exactly(2), add(e, one)));
    if (fabs(x) < 0.55) t = (approx){tanh(fabs(x)), TANH * tanh(fabs(x))};
    if (x < 0) t = scaled(-1, t);
    if (order == 0) return t;
    const approx d = mul(sub(one, t), add(one, t));
    return order == 1 ? d : mul(scaled(-2, t), d);
}

static approx mish(double x, int order) {
    const approx one = exactly(1), two = exactly(2),
                 e = exponential(exactly(fmin(fmax(x, -87), 20))), e1 = add(one, e),
                 n = mul(e, add(e, two)), part = over(one, add(n, two)), w = mul(n, part);
    if (order == 0) return mul(exactly(x), w);
    const approx w1 = mul(mul(mul(scaled(4, e), e1), part), part);
    if (order == 1) return add(mul(exactly(x), w1), w);
    const approx w2 = mul(w1, sub(add(one, over(e, e1)), mul(mul(scaled(4, e), e1), part)));
    return add(scaled(2, w1), mul(exactly(x), w2));
}

/* y, of so many roundings of its own size. */
static approx relative(double y, double roundings) {
    return (approx){y, roundings * fabs(y)};
}

static approx function_at(vn_fn fn, int order, double x) {
    approx rest, s = sigmoid(exactly(x), &rest);
    double d[3];
    ref_fn(fn, x, d);
    switch (fn) {
    case VN_FN_SILU: return silu(x, order);
    case VN_FN_GELU: return gelu(x, order);
    case VN_FN_GELU_TANH: return gelu_tanh(x, order);
    case VN_FN_TANH: return hyperbolic_tangent(x, order);
    case VN_FN_SIGMOID:
        if (order == 0) return s;
        return order == 1 ? mul(s, rest) : mul(mul(s, rest), sub(rest, s));
    case VN_FN_MISH: return mish(x, order);
    case VN_FN_EXP: return relative(d[order], EXP);
    case VN_FN_LOG: return relative(d[order], order ? order : LOG);
    case VN_FN_SQRT:
    case VN_FN_RECIPROCAL: return relative(d[order], 1 + order);
    case VN_FN_RSQRT: return relative(d[order], 2 + order);
    case VN_FN_SQUARE: return order ? exactly(d[order]) : relative(d[order], 1);
    case VN_FN_SIN:
    case VN_FN_COS: return relative(d[order], SINCOS);
    default: return exactly(d[order]); /* of no rounding */
    }
}

double function_error(vn_fn fn, int order, double x) {
    return function_at(fn, order, x).e;
}
