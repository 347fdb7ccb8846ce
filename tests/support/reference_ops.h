/* reference_ops.h - the ops of reference.h, one function each, written from the definition in
 * tensor.h: a formula and a loop nest, never taken from a kernel. */
#ifndef REFERENCE_OPS_H
#define REFERENCE_OPS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

typedef const double *const *ref_in;

/* ---- indices --------------------------------------------------------------------------------- */

static inline void ref_index(const vn_shape *s, int64_t flat, int64_t *index) {
    for (int i = s->rank - 1; i >= 0; i--) {
        index[i] = flat % s->dim[i];
        flat /= s->dim[i];
    }
}

/* Where out's index falls in a smaller array that is broadcast to out's shape. */
static inline int64_t ref_broadcast_at(const vn_shape *small, const vn_shape *out, int64_t flat) {
    int64_t index[VN_MAX_RANK] = {0}, at = 0;
    ref_index(out, flat, index);
    for (int i = 0; i < small->rank; i++) {
        int64_t k = index[out->rank - small->rank + i];
        at = at * small->dim[i] + (small->dim[i] == 1 ? 0 : k);
    }
    return at;
}

/* Product of the axes before / after `axis`. */
static inline int64_t ref_before(const vn_shape *s, int axis) {
    int64_t n = 1;
    for (int i = 0; i < axis; i++) n *= s->dim[i];
    return n;
}

static inline int64_t ref_after(const vn_shape *s, int axis) {
    int64_t n = 1;
    for (int i = axis + 1; i < s->rank; i++) n *= s->dim[i];
    return n;
}

static inline int64_t ref_last(const vn_shape *s) {
    return s->rank ? s->dim[s->rank - 1] : 1;
}

static inline int64_t ref_rows(const vn_shape *s) {
    return s->rank ? ref_before(s, s->rank - 1) : 1;
}

/* ---- number types ---------------------------------------------------------------------------- */

/* x to `bits` bits of mantissa behind the first, ties to even, the smallest step 2^least; at limit
 * and above infinite. */
static inline double ref_round(double x, int bits, int least, double limit) {
    int exponent;
    frexp(x, &exponent); /* |x| in [2^(exponent - 1), 2^exponent) */
    const int step = exponent - 1 - bits < least ? least : exponent - 1 - bits;
    const double y = isfinite(x) ? ldexp(nearbyint(ldexp(x, -step)), step) : x;
    return fabs(y) >= limit ? copysign((double)INFINITY, y) : y;
}

static inline void ref_cast(const vn_node *n, ref_in in, double *out) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++)
        out[i] = n->dtype == VN_F16    ? ref_round(in[0][i], 10, -24, 65536)
                 : n->dtype == VN_BF16 ? ref_round(in[0][i], 7, -133, 0x1p128)
                                       : in[0][i];
}

/* ---- movement -------------------------------------------------------------------------------- */

static inline void ref_permute(const vn_node *n, ref_in in, double *out) {
    const vn_shape *s = &n->in[0]->shape;
    int64_t index[VN_MAX_RANK] = {0};
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        int64_t from[VN_MAX_RANK] = {0}, at = 0;
        ref_index(&n->shape, i, index);
        for (int k = 0; k < s->rank; k++) from[n->attr.permute.perm[k]] = index[k];
        for (int k = 0; k < s->rank; k++) at = at * s->dim[k] + from[k];
        out[i] = in[0][at];
    }
}

static inline void ref_concat(const vn_node *n, ref_in in, double *out) {
    int axis = n->attr.slice.axis;
    int64_t rows = ref_before(&n->shape, axis), inner = ref_after(&n->shape, axis);
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < n->inputs; k++) {
            int64_t length = n->in[k]->shape.dim[axis] * inner;
            for (int64_t i = 0; i < length; i++) *out++ = in[k][r * length + i];
        }
}

static inline void ref_slice(const vn_node *n, ref_in in, double *out) {
    int axis = n->attr.slice.axis;
    int64_t inner = ref_after(&n->shape, axis), begin = n->attr.slice.begin * inner;
    int64_t length = n->shape.dim[axis] * inner, whole = n->in[0]->shape.dim[axis] * inner;
    for (int64_t r = 0; r < ref_before(&n->shape, axis); r++)
        for (int64_t i = 0; i < length; i++) out[r * length + i] = in[0][r * whole + begin + i];
}

static inline void ref_place(const vn_node *n, ref_in in, double *out) {
    int axis = n->attr.slice.axis;
    int64_t inner = ref_after(&n->shape, axis), begin = n->attr.slice.begin * inner;
    int64_t length = n->in[0]->shape.dim[axis] * inner, whole = n->shape.dim[axis] * inner;
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) out[i] = 0;
    for (int64_t r = 0; r < ref_before(&n->shape, axis); r++)
        for (int64_t i = 0; i < length; i++) out[r * whole + begin + i] = in[0][r * length + i];
}

static inline void ref_sum_to(const vn_node *n, ref_in in, double *out) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) out[i] = 0;
    for (int64_t i = 0; i < vn_shape_count(&n->in[0]->shape); i++)
        out[ref_broadcast_at(&n->shape, &n->in[0]->shape, i)] +=
            n->inputs > 1 ? in[0][i] * in[1][i] : in[0][i];
}

/* ---- pointwise ------------------------------------------------------------------------------- */

static inline double ref_binary(vn_op op, double a, double b) {
    switch (op) {
    case VN_OP_ADD: return a + b;
    case VN_OP_SUB: return a - b;
    case VN_OP_MUL: return a * b;
    default: return a / b;
    }
}

/* d[0..2] = f(x), f'(x), f''(x). 1 - sigmoid(x) is sigmoid(-x), so that tails keep their digits. */
static inline void ref_fn(vn_fn fn, double x, double d[3]) {
    const double pi = 3.14159265358979323846;
    double s = 1 / (1 + exp(-x)), r = 1 / (1 + exp(x)), t = tanh(x);
    switch (fn) {
    case VN_FN_SILU: d[0] = x * s, d[1] = s * (1 + x * r), d[2] = s * r * (2 + x * (r - s)); break;
    case VN_FN_GELU: {
        double cdf = 0.5 * erfc(-x / sqrt(2.0)), pdf = exp(-x * x / 2) / sqrt(2 * pi);
        d[0] = x * cdf, d[1] = cdf + x * pdf, d[2] = pdf * (2 - x * x);
        break;
    }
    case VN_FN_GELU_TANH: {
        double k = sqrt(2 / pi), c = 0.044715;
        double u = k * (x + c * x * x * x), u1 = k * (1 + 3 * c * x * x), u2 = k * 6 * c * x,
               half = 1 / (1 + exp(-2 * u)), w = tanh(u), w1 = 4 * half / (1 + exp(2 * u));
        d[0] = x * half; /* (1 + tanh u)/2 is sigmoid(2 u) */
        d[1] = half + 0.5 * x * w1 * u1;
        d[2] = w1 * u1 + 0.5 * x * (w1 * u2 - 2 * w * w1 * u1 * u1);
        break;
    }
    case VN_FN_RELU: d[0] = x > 0 ? x : 0, d[1] = x > 0, d[2] = 0; break;
    case VN_FN_TANH: d[0] = t, d[1] = 1 - t * t, d[2] = -2 * t * (1 - t * t); break;
    case VN_FN_SIGMOID: d[0] = s, d[1] = s * r, d[2] = s * r * (r - s); break;
    case VN_FN_MISH: {
        double w = tanh(x > 30 ? x : log1p(exp(x))), w1 = (1 - w * w) * s;
        double w2 = (1 - w * w) * s * (1 - s) - 2 * w * (1 - w * w) * s * s;
        d[0] = x * w, d[1] = w + x * w1, d[2] = 2 * w1 + x * w2;
        break;
    }
    case VN_FN_EXP: d[0] = d[1] = d[2] = exp(x); break;
    case VN_FN_LOG: d[0] = log(x), d[1] = 1 / x, d[2] = -1 / (x * x); break;
    case VN_FN_SQRT: d[0] = sqrt(x), d[1] = 0.5 / sqrt(x), d[2] = -0.25 / (x * sqrt(x)); break;
    case VN_FN_RSQRT:
        d[0] = 1 / sqrt(x), d[1] = -0.5 / (x * sqrt(x)), d[2] = 0.75 / (x * x * sqrt(x));
        break;
    case VN_FN_SQUARE: d[0] = x * x, d[1] = 2 * x, d[2] = 2; break;
    case VN_FN_RECIPROCAL: d[0] = 1 / x, d[1] = -1 / (x * x), d[2] = 2 / (x * x * x); break;
    case VN_FN_ABS: d[0] = fabs(x), d[1] = (x > 0) - (x < 0), d[2] = 0; break;
    case VN_FN_SIN: d[0] = sin(x), d[1] = cos(x), d[2] = -sin(x); break;
    case VN_FN_COS: d[0] = cos(x), d[1] = -sin(x), d[2] = -cos(x); break;
    default: d[0] = x, d[1] = 1, d[2] = 0; break; /* identity */
    }
}

static inline void ref_unary(const vn_node *n, ref_in in, double *out) {
    double d[3];
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        ref_fn(n->attr.unary.fn, in[0][i], d);
        out[i] = n->op == VN_OP_UNARY_GRAD ? in[1][i] * d[1] : d[n->attr.unary.order];
    }
}

/* Row i of the first axis draws its uniforms as sample first_sample + i, with vn_dropout_seed(seed,
 * site); u < p is dropped. */
static inline void ref_dropout(const vn_node *n, ref_in in, double *out, const vn_run *run) {
    int64_t rows = n->shape.rank ? n->shape.dim[0] : 1,
            length = rows ? vn_shape_count(&n->shape) / rows : 0;
    double p = n->attr.dropout.p;
    float *u = malloc(sizeof(float) * (size_t)(length + 1));
    if (!u) abort();
    for (int64_t r = 0; r < rows; r++) {
        vn_random_uniform(u, (size_t)length, vn_dropout_seed(run->seed, n->attr.dropout.site),
                          VN_STREAM_DROPOUT, run->first_sample + (uint64_t)r, run->step);
        for (int64_t i = 0; i < length; i++)
            out[r * length + i] = (double)u[i] < p ? 0 : in[0][r * length + i] / (1 - p);
    }
    free(u);
}

/* ---- products -------------------------------------------------------------------------------- */

static inline void ref_matmul(const vn_node *n, ref_in in, double *out) {
    int rank = n->shape.rank;
    bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb, shared = n->in[1]->shape.rank == 2;
    int64_t rows = n->shape.dim[rank - 2], cols = n->shape.dim[rank - 1];
    int64_t depth = n->in[0]->shape.dim[n->in[0]->shape.rank - (ta ? 2 : 1)];
    for (int64_t e = 0; e < ref_before(&n->shape, rank - 2); e++) {
        const double *a = in[0] + e * rows * depth, *b = in[1] + (shared ? 0 : e * depth * cols);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) {
                double sum = 0;
                for (int64_t k = 0; k < depth; k++)
                    sum += (ta ? a[k * rows + i] : a[i * depth + k]) *
                           (tb ? b[j * depth + k] : b[k * cols + j]);
                out[(e * rows + i) * cols + j] = sum;
            }
    }
}

static inline void ref_linear(const vn_node *n, ref_in in, double *out) {
    int64_t outs = ref_last(&n->shape), depth = ref_last(&n->in[0]->shape);
    const int64_t columns = n->in[1]->shape.dim[1];
    for (int64_t r = 0; r < ref_rows(&n->shape); r++)
        for (int64_t o = 0; o < outs; o++) {
            const double *row = in[1] + o * columns + n->attr.linear.from;
            double sum = n->inputs > 2 ? in[2][o] : 0;
            double d[3];
            for (int64_t k = 0; k < depth; k++) sum += in[0][r * depth + k] * row[k];
            ref_fn(n->attr.linear.act, sum, d);
            out[r * outs + o] = d[0];
        }
}

/* One loop nest for the three convolutions: of x, w and y the one that is `out` gathers the product
 * of the others. */
static inline void ref_conv_walk(const vn_node *n, const vn_shape *xs, const vn_shape *ws,
                                 const vn_shape *ys, const double *x, const double *w,
                                 const double *y, double *out) {
    int stride = n->attr.conv.stride;
    const int *pad = n->attr.conv.pad;
    for (int64_t b = 0; b < ys->dim[0]; b++)
        for (int64_t oy = 0; oy < ys->dim[1]; oy++)
            for (int64_t ox = 0; ox < ys->dim[2]; ox++)
                for (int64_t ky = 0; ky < ws->dim[0]; ky++)
                    for (int64_t kx = 0; kx < ws->dim[1]; kx++) {
                        int64_t iy = oy * stride + ky - pad[0], ix = ox * stride + kx - pad[2];
                        if (iy < 0 || ix < 0 || iy >= xs->dim[1] || ix >= xs->dim[2]) continue;
                        for (int64_t i = 0; i < ws->dim[2]; i++)
                            for (int64_t o = 0; o < ws->dim[3]; o++) {
                                int64_t at_x =
                                    ((b * xs->dim[1] + iy) * xs->dim[2] + ix) * xs->dim[3] + i;
                                int64_t at_w =
                                    ((ky * ws->dim[1] + kx) * ws->dim[2] + i) * ws->dim[3] + o;
                                int64_t at_y =
                                    ((b * ys->dim[1] + oy) * ys->dim[2] + ox) * ys->dim[3] + o;
                                if (!x)
                                    out[at_x] += w[at_w] * y[at_y];
                                else if (!w)
                                    out[at_w] += x[at_x] * y[at_y];
                                else
                                    out[at_y] += x[at_x] * w[at_w];
                            }
                    }
}

static inline void ref_conv(const vn_node *n, ref_in in, double *out) {
    const vn_shape *a = &n->in[0]->shape, *b = &n->in[1]->shape, *c = &n->shape;
    int64_t count = vn_shape_count(c);
    for (int64_t i = 0; i < count; i++) out[i] = n->inputs > 2 ? in[2][i % ref_last(c)] : 0;
    if (n->op == VN_OP_CONV2D) ref_conv_walk(n, a, b, c, in[0], in[1], NULL, out);
    if (n->op == VN_OP_CONV2D_GRAD_X) ref_conv_walk(n, c, b, a, NULL, in[1], in[0], out);
    if (n->op == VN_OP_CONV2D_GRAD_W) ref_conv_walk(n, a, c, b, in[0], NULL, in[1], out);
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* x [N,..,C] as [N,P,G,C/G]. */
typedef struct ref_groups {
    int64_t samples, positions, channels, groups, width;
} ref_groups;

static inline ref_groups ref_group(const vn_node *n) {
    const vn_shape *s = &n->in[0]->shape;
    ref_groups g = {s->dim[0], 1, ref_last(s), n->attr.norm.groups, 0};
    for (int i = 1; i < s->rank - 1; i++) g.positions *= s->dim[i];
    g.width = g.channels / g.groups;
    return g;
}

static inline void ref_norm_stats(const vn_node *n, ref_in in, double *out) {
    ref_groups g = ref_group(n);
    double count = (double)(g.positions * g.width);
    for (int64_t b = 0; b < g.samples; b++)
        for (int64_t k = 0; k < g.groups; k++) {
            double mean = 0, var = 0;
            const double *x = in[0] + b * g.positions * g.channels + k * g.width;
            for (int64_t p = 0; p < g.positions; p++)
                for (int64_t c = 0; c < g.width; c++) mean += x[p * g.channels + c] / count;
            for (int64_t p = 0; p < g.positions; p++)
                for (int64_t c = 0; c < g.width; c++)
                    var += pow(x[p * g.channels + c] - mean, 2) / count;
            out[(b * g.groups + k) * 2] = mean;
            out[(b * g.groups + k) * 2 + 1] = 1 / sqrt(var + n->attr.norm.eps);
        }
}

/* Where gamma and beta for element i of x lie. */
static inline int64_t ref_norm_affine(const vn_node *n, int affine, int64_t i) {
    const vn_shape *gamma = &n->in[affine]->shape;
    int64_t runs = gamma->rank == 2 ? gamma->dim[0] : 1, c = ref_last(gamma);
    return i / (vn_shape_count(&n->in[0]->shape) / runs) * c + i % c;
}

/* Normalised value, its affine image z, and act'(z), for element i of x. */
static inline void ref_norm_at(const vn_node *n, const double *x, const double *stats,
                               const double *gamma, const double *beta, int64_t i, double *xhat,
                               double d[3], double *r) {
    ref_groups g = ref_group(n);
    int64_t c = i % g.channels, b = i / (g.channels * g.positions), k = b * g.groups + c / g.width;
    int64_t at = gamma ? ref_norm_affine(n, n->op == VN_OP_NORM ? 2 : 3, i) : 0;
    *r = stats[2 * k + 1];
    *xhat = (x[i] - stats[2 * k]) * *r;
    ref_fn(n->attr.norm.act, gamma ? *xhat * gamma[at] + beta[at] : *xhat, d);
}

static inline void ref_norm(const vn_node *n, ref_in in, double *out) {
    double xhat, r, d[3];
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        ref_norm_at(n, in[0], in[1], n->inputs > 2 ? in[2] : NULL, n->inputs > 2 ? in[3] : NULL, i,
                    &xhat, d, &r);
        out[i] = d[0];
    }
}

/* dx = r (g - mean(g) - xhat mean(g xhat)) with g = dy act'(z) gamma, means over the group. */
static inline void ref_norm_grad_x(const vn_node *n, ref_in in, double *out) {
    ref_groups g = ref_group(n);
    const double *gamma = n->inputs > 3 ? in[3] : NULL, *beta = n->inputs > 3 ? in[4] : NULL;
    double xhat, r, d[3], count = (double)(g.positions * g.width);
    for (int64_t group = 0; group < g.samples * g.groups; group++) {
        int64_t first = group / g.groups * g.positions * g.channels,
                channel = group % g.groups * g.width;
        double mean = 0, dot = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t e = 0; e < g.positions * g.width; e++) {
                int64_t c = channel + e % g.width, i = first + e / g.width * g.channels + c;
                ref_norm_at(n, in[0], in[1], gamma, beta, i, &xhat, d, &r);
                double grad = in[2][i] * d[1] * (gamma ? gamma[ref_norm_affine(n, 3, i)] : 1);
                if (pass == 0)
                    mean += grad / count, dot += grad * xhat / count;
                else
                    out[i] = r * (grad - mean - xhat * dot);
            }
    }
}

static inline void ref_norm_grad_affine(const vn_node *n, ref_in in, double *out) {
    int64_t count = vn_shape_count(&n->in[3]->shape);
    double xhat, r, d[3];
    for (int64_t i = 0; i < 2 * count; i++) out[i] = 0;
    for (int64_t i = 0; i < vn_shape_count(&n->in[0]->shape); i++) {
        int64_t at = ref_norm_affine(n, 3, i);
        ref_norm_at(n, in[0], in[1], in[3], in[4], i, &xhat, d, &r);
        out[at] += in[2][i] * d[1] * xhat;
        out[count + at] += in[2][i] * d[1];
    }
}

/* ---- softmax, labels ------------------------------------------------------------------------- */

static inline void ref_rms_norm(const vn_node *n, ref_in in, double *out) {
    const int64_t c = ref_last(&n->shape);
    for (int64_t r = 0; r < ref_rows(&n->shape); r++) {
        double squares = 0;
        for (int64_t i = r * c; i < (r + 1) * c; i++) squares += in[0][i] * in[0][i];
        for (int64_t i = 0; i < c; i++)
            out[r * c + i] = in[0][r * c + i] / sqrt(squares / (double)c + n->attr.norm.eps) *
                             (n->inputs > 1 ? in[1][i] : 1);
    }
}

/* Where the partner of number i in its pair is, and whether i is the pair's first. */
static inline int64_t ref_partner(const vn_node *n, int64_t i, bool *first) {
    const int64_t d = ref_last(&n->shape), apart = n->attr.rotate.halves ? d / 2 : 1;
    *first = i % d / apart % 2 == 0;
    return *first ? i + apart : i - apart;
}

static inline void ref_rotate(const vn_node *n, ref_in in, double *out) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        const int64_t angle = ref_broadcast_at(&n->in[1]->shape, &n->shape, i);
        bool first;
        const double partner = in[0][ref_partner(n, i, &first)];
        out[i] = in[0][i] * in[1][angle] + (first ? -partner : partner) * in[2][angle];
    }
}

static inline void ref_softmax_row(const double *x, int64_t n, double *y) {
    double top = -HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, x[i]);
    for (int64_t i = 0; i < n; i++) sum += y[i] = exp(x[i] - top);
    for (int64_t i = 0; i < n; i++) y[i] /= sum;
}

static inline void ref_softmax(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->shape);
    for (int64_t r = 0; r < ref_rows(&n->shape); r++)
        ref_softmax_row(in[0] + r * k, k, out + r * k);
}

static inline void ref_softmax_grad(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->shape);
    for (int64_t r = 0; r < ref_rows(&n->shape); r++) {
        double dot = 0;
        for (int64_t i = r * k; i < (r + 1) * k; i++) dot += in[0][i] * in[1][i];
        for (int64_t i = r * k; i < (r + 1) * k; i++) out[i] = in[0][i] * (in[1][i] - dot);
    }
}

static inline int ref_falling(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* max(x/2 - t, 0), exactly, by sorting (1905.05702, algorithm 2): t solves sum (x/2 - t)^2 = 1 over
 * the k largest, of the largest k for which all of them are above it. */
static inline void ref_entmax_root(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->shape);
    double *z = malloc(sizeof(double) * (size_t)(k + 1));
    if (!z) abort();
    for (int64_t r = 0; r < ref_rows(&n->shape); r++) {
        double mean = 0, spread = 0, t = 0;
        for (int64_t i = 0; i < k; i++) z[i] = in[0][r * k + i] / 2;
        qsort(z, (size_t)k, sizeof *z, ref_falling);
        for (int64_t i = 0; i < k; i++) {
            const double away = z[i] - mean;
            mean += away / (double)(i + 1);
            spread += away * (z[i] - mean); /* sum of squares about the mean */
            const double left = (1 - spread) / (double)(i + 1),
                         own = mean - (left > 0 ? sqrt(left) : 0);
            if (own <= z[i]) t = own;
        }
        for (int64_t i = 0; i < k; i++) out[r * k + i] = fmax(in[0][r * k + i] / 2 - t, 0);
    }
    free(z);
}

/* The row an index chooses among `rows`; -1 for one outside, which stands for none: zeros, no loss,
 * no gradient. */
static inline int64_t ref_choice(double index, int64_t rows) {
    return index >= 0 && index < (double)rows ? (int64_t)index : -1;
}

static inline void ref_cross_entropy(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->in[0]->shape);
    for (int64_t r = 0; r < n->shape.dim[0]; r++) {
        const double *x = in[0] + r * k;
        int64_t label = ref_choice(in[1][r], k);
        double top = -HUGE_VAL, sum = 0;
        for (int64_t i = 0; i < k; i++) top = fmax(top, x[i]);
        for (int64_t i = 0; i < k; i++) sum += exp(x[i] - top);
        out[r] = label < 0 ? 0 : top + log(sum) - x[label];
    }
}

static inline void ref_cross_entropy_grad(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->shape);
    for (int64_t r = 0; r < n->shape.dim[0]; r++) {
        int64_t label = ref_choice(in[1][r], k);
        ref_softmax_row(in[0] + r * k, k, out + r * k);
        if (label >= 0) out[r * k + label] -= 1;
        for (int64_t i = 0; i < k; i++) out[r * k + i] *= label < 0 ? 0 : in[2][r];
    }
}

static inline void ref_one_hot(const vn_node *n, ref_in in, double *out) {
    int64_t k = ref_last(&n->shape);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++)
        out[i] = ref_choice(in[0][i / k], k) == i % k;
}

static inline void ref_nearest(const vn_node *n, ref_in in, double *out) {
    const int64_t rows = n->in[1]->shape.dim[0], d = n->in[1]->shape.dim[1];
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        double least = HUGE_VAL;
        out[i] = 0;
        for (int64_t v = 0; v < rows; v++) {
            double sum = 0;
            for (int64_t k = 0; k < d; k++) sum += pow(in[0][i * d + k] - in[1][v * d + k], 2);
            if (sum < least) out[i] = (double)v;
            least = fmin(least, sum);
        }
    }
}

static inline void ref_embedding(const vn_node *n, ref_in in, double *out) {
    int64_t d = ref_last(&n->shape);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        int64_t row = ref_choice(in[1][i / d], n->in[0]->shape.dim[0]);
        out[i] = row < 0 ? 0 : in[0][row * d + i % d];
    }
}

static inline void ref_embedding_grad(const vn_node *n, ref_in in, double *out) {
    int64_t d = ref_last(&n->shape);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) out[i] = 0;
    for (int64_t i = 0; i < vn_shape_count(&n->in[1]->shape); i++) {
        int64_t row = ref_choice(in[0][i / d], n->shape.dim[0]);
        if (row >= 0) out[row * d + i % d] += in[1][i];
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Row i of one head: p[Tk] = softmax(scale q_i k^T). q, k point at the head's first channel. */
/* The bias of a score, and whether the key is seen at all. bias NULL: none. */
static inline double ref_attention_bias(const vn_node *bias, const double *value, int64_t image,
                                        int64_t head, int64_t i, int64_t j) {
    if (!bias) return 0;
    const int64_t *d = bias->shape.dim, at[3] = {image, head, i};
    int64_t row = 0;
    for (int axis = 0; axis < 3; axis++) row = row * d[axis] + (d[axis] > 1 ? at[axis] : 0);
    return value[row * d[3] + j] < -1e30 ? -1e30 : value[row * d[3] + j];
}

/* Forward into y, or with dy into dq, dk, dv (cleared). mask: the input that is the bias, if there
 * are so many. */
static inline void ref_attention_walk(const vn_node *n, ref_in in, int mask, const double *dy,
                                      double *y, double *dq, double *dk, double *dv) {
    const int64_t *qs = n->in[0]->shape.dim, *ks = n->in[1]->shape.dim,
                  heads = n->attr.attention.heads;
    const int64_t width = qs[2] / heads, readers = qs[2] / ks[2], tk = ks[1];
    const vn_node *bias = n->inputs > mask ? n->in[mask] : NULL;
    const double scale = n->attr.attention.scale;
    double *p = malloc(sizeof(double) * 2 * (size_t)(tk + 1)), *dp = p + tk + 1;
    if (!p) abort();
    for (int64_t b = 0; b < qs[0]; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < qs[1]; i++) {
                const int64_t q = (b * qs[1] + i) * qs[2] + h * width,
                              kv = b * tk * ks[2] + h / readers * width;
                double dot = 0;
                for (int64_t j = 0; j < tk; j++) {
                    p[j] = 0;
                    for (int64_t d = 0; d < width; d++)
                        p[j] += scale * in[0][q + d] * in[1][kv + j * ks[2] + d];
                    p[j] += ref_attention_bias(bias, bias ? in[mask] : NULL, b, h, i, j);
                    if (n->attr.attention.causal && j - i > tk - qs[1]) p[j] = -HUGE_VAL;
                }
                ref_softmax_row(p, tk, p);
                for (int64_t d = 0; d < width && y; d++) {
                    y[q + d] = 0;
                    for (int64_t j = 0; j < tk; j++) y[q + d] += p[j] * in[2][kv + j * ks[2] + d];
                }
                if (!dy) continue;
                for (int64_t j = 0; j < tk; j++) {
                    dp[j] = 0;
                    for (int64_t d = 0; d < width; d++) {
                        dp[j] += dy[q + d] * in[2][kv + j * ks[2] + d];
                        dv[kv + j * ks[2] + d] += p[j] * dy[q + d];
                    }
                    dot += p[j] * dp[j];
                }
                for (int64_t j = 0; j < tk; j++)
                    for (int64_t d = 0; d < width; d++) {
                        const double ds = scale * p[j] * (dp[j] - dot);
                        dq[q + d] += ds * in[1][kv + j * ks[2] + d];
                        dk[kv + j * ks[2] + d] += ds * in[0][q + d];
                    }
            }
    free(p);
}

static inline void ref_attention_grad(const vn_node *n, ref_in in, double *out) {
    int64_t q = vn_shape_count(&n->in[0]->shape), k = vn_shape_count(&n->in[1]->shape);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) out[i] = 0;
    ref_attention_walk(n, in, 4, in[3], NULL, out, out + q, out + q + k);
}

/* ---- resampling ------------------------------------------------------------------------------ */

static inline double ref_tap(const vn_attr *a, int64_t o, int64_t i, int pad) {
    int64_t at = o * a->resample.down - i * a->resample.up + pad;
    return at >= 0 && at < a->resample.taps ? (double)a->resample.tap[at] : 0;
}

static inline void ref_resample(const vn_node *n, ref_in in, double *out) {
    const vn_shape *s = &n->shape, *xs = &n->in[0]->shape;
    int64_t c = s->dim[3], index[VN_MAX_RANK];
    for (int64_t i = 0; i < vn_shape_count(s); i++) {
        ref_index(s, i, index);
        out[i] = 0;
        for (int64_t y = 0; y < xs->dim[1]; y++)
            for (int64_t x = 0; x < xs->dim[2]; x++)
                out[i] += ref_tap(&n->attr, index[1], y, n->attr.resample.pad[0]) *
                          ref_tap(&n->attr, index[2], x, n->attr.resample.pad[1]) *
                          in[0][((index[0] * xs->dim[1] + y) * xs->dim[2] + x) * c + index[3]];
    }
}

/* ---- ops that stand for several -------------------------------------------------------------- */

static inline void ref_linear_plus(const vn_node *n, ref_in in, double *out) {
    const bool bias = n->attr.linear.bias, times = n->attr.linear.times;
    const int64_t count = vn_shape_count(&n->shape);
    vn_node linear = *n;
    linear.inputs = 2 + bias;
    ref_linear(&linear, in, out);
    for (int64_t i = 0; i < count; i++) {
        if (times) out[i] *= in[2 + bias][ref_broadcast_at(&n->in[2 + bias]->shape, &n->shape, i)];
        if (n->attr.linear.plus) out[i] += in[n->inputs - 1][i];
    }
}

/* Enlarged by reading pixel i / up for pixel i. */
static inline void ref_conv_plus(const vn_node *n, ref_in in, double *out) {
    const vn_shape *x = &n->in[0]->shape, *w = &n->in[1]->shape;
    const int64_t c = x->dim[3], m = n->shape.dim[3], up = n->attr.conv.up;
    const bool bias = n->attr.conv.bias;
    int64_t at[VN_MAX_RANK];
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        ref_index(&n->shape, i, at);
        double sum = bias ? in[2][at[3]] : 0;
        for (int64_t tap = 0; tap < w->dim[0] * w->dim[1]; tap++) {
            const int64_t y = at[1] * n->attr.conv.stride - n->attr.conv.pad[0] + tap / w->dim[1],
                          z = at[2] * n->attr.conv.stride - n->attr.conv.pad[2] + tap % w->dim[1];
            if (y < 0 || z < 0 || y >= up * x->dim[1] || z >= up * x->dim[2]) continue;
            const double *pixel = in[0] + ((at[0] * x->dim[1] + y / up) * x->dim[2] + z / up) * c;
            for (int64_t k = 0; k < c; k++) sum += pixel[k] * in[1][(tap * c + k) * m + at[3]];
        }
        out[i] = sum + (n->attr.conv.plus ? in[2 + bias][i] : 0);
    }
}

#endif
