/* support_rounding.c - see support_rounding.h. */
#include "cpu/support_rounding.h"

/* 2^-100, in u: exponentials are held at 2^-126, and no difference between such results counts. */
#define MIN_ERROR 0x1p-76

/* Of a sum of n terms, its result once more in another type, in u of the sum of absolute values. */
static double sum_of(int64_t n) {
    return 1 + fmin((double)n, 3 * sqrt((double)n));
}

static double *numbers(int64_t count) {
    double *x = calloc((size_t)count + 1, sizeof *x);
    if (!x) abort();
    return x;
}

static double *absolute(const vn_node *n, const double *x) {
    const int64_t count = vn_shape_count(&n->shape);
    double *a = numbers(count);
    for (int64_t i = 0; i < count; i++) a[i] = fabs(x[i]);
    return a;
}

/* ---- sums of products ------------------------------------------------------------------------ */

/* error = by times `reference` of the absolute values of the inputs: the sums of the terms'. */
static void sums_of_terms(const vn_node *n, ref_in in,
                          void (*reference)(const vn_node *, ref_in, double *), double by,
                          double *error) {
    double *size[VN_MAX_IN] = {0};
    for (int i = 0; i < n->inputs; i++) size[i] = absolute(n->in[i], in[i]);
    reference(n, (ref_in)size, error);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) error[i] *= by;
    for (int i = 0; i < n->inputs; i++) free(size[i]);
}

static void linear_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t count = vn_shape_count(&n->shape);
    vn_node sum = *n;
    double *z = numbers(count), d[3];
    sum.attr.linear.act = VN_FN_IDENTITY;
    ref_linear(&sum, in, z);
    sums_of_terms(&sum, in, ref_linear, sum_of(ref_last(&n->in[0]->shape) + 1), error);
    for (int64_t i = 0; i < count && n->attr.linear.act != VN_FN_IDENTITY; i++) {
        ref_fn(n->attr.linear.act, z[i], d);
        error[i] = fabs(d[1]) * error[i] + function_error(n->attr.linear.act, 0, z[i]);
    }
    free(z);
}

/* A product and a sum more, each rounded once. */
static void linear_plus_errors(const vn_node *n, ref_in in, double *error) {
    const bool bias = n->attr.linear.bias;
    const vn_shape *times = n->attr.linear.times ? &n->in[2 + bias]->shape : NULL;
    const int64_t count = vn_shape_count(&n->shape);
    double *y = numbers(count);
    vn_node linear = *n;
    linear.op = VN_OP_LINEAR;
    linear.inputs = 2 + bias;
    ref_linear(&linear, in, y);
    linear_errors(&linear, in, error);
    for (int64_t i = 0; i < count; i++) {
        const double by = times ? in[2 + bias][ref_broadcast_at(times, &n->shape, i)] : 1,
                     plus = n->attr.linear.plus ? in[n->inputs - 1][i] : 0;
        error[i] = fabs(by) * error[i] + fabs(y[i] * by) + fabs(y[i] * by + plus);
    }
    free(y);
}

static void embedding_grad_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t width = ref_last(&n->shape), rows = vn_shape_count(&n->in[0]->shape);
    double *times = numbers(n->shape.dim[0]);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = ref_choice(in[0][i], n->shape.dim[0]);
        if (row < 0) continue;
        times[row]++;
        for (int64_t k = 0; k < width; k++) error[row * width + k] += fabs(in[1][i * width + k]);
    }
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++)
        error[i] *= sum_of((int64_t)times[i / width]);
    free(times);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* Of a convolution of stride 1 by 3 x 3 taps: shapes of x [n,h,w,c] and y [n,oh,ow,m], and where y
 * begins. */
typedef struct windows {
    const vn_shape *x, *y;
    int top, left;
} windows;

static const double b_of[4][4] = {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}},
                    g_of[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, .5, .5}, {0, 0, 1}},
                    a_of[4][2] = {{1, 0}, {1, 1}, {1, 1}, {0, 1}};

/* |B^T| |d| |B| of the tile whose results begin at (oy, ox): point p of channel c at v[p * c_all +
 * c]. */
static void window_sizes(const windows *s, const double *x, int64_t image, int64_t oy, int64_t ox,
                         double *v) {
    const int64_t channels = s->x->dim[3];
    memset(v, 0, 16 * (size_t)channels * sizeof *v);
    for (int i = 0; i < 16; i++) {
        const int64_t iy = oy - s->top + i / 4, ix = ox - s->left + i % 4;
        if (iy < 0 || ix < 0 || iy >= s->x->dim[1] || ix >= s->x->dim[2]) continue;
        const double *d = x + ((image * s->x->dim[1] + iy) * s->x->dim[2] + ix) * channels;
        for (int p = 0; p < 16; p++) {
            const double by = b_of[p / 4][i / 4] * b_of[p % 4][i % 4];
            for (int64_t c = 0; by > 0 && c < channels; c++) v[p * channels + c] += by * fabs(d[c]);
        }
    }
}

/* |A| |dy| |A^T| of a tile. */
static void result_sizes(const windows *s, const double *y, int64_t image, int64_t oy, int64_t ox,
                         double *v) {
    const int64_t channels = s->y->dim[3];
    memset(v, 0, 16 * (size_t)channels * sizeof *v);
    for (int i = 0; i < 4; i++) {
        const int64_t iy = oy + i / 2, ix = ox + i % 2;
        if (iy >= s->y->dim[1] || ix >= s->y->dim[2]) continue;
        const double *d = y + ((image * s->y->dim[1] + iy) * s->y->dim[2] + ix) * channels;
        for (int p = 0; p < 16; p++) {
            const double by = a_of[p / 4][i / 2] * a_of[p % 4][i % 2];
            for (int64_t c = 0; by > 0 && c < channels; c++) v[p * channels + c] += by * fabs(d[c]);
        }
    }
}

/* |G| |g| |G^T| of weights [3,3,inputs,outputs], point p at u[p * inputs * outputs]. Turned:
 * of those of the gradient of x, in which taps stand upside down. */
static double *tap_sizes(const double *w, int64_t count, bool turned) {
    double *u = numbers(16 * count);
    for (int p = 0; p < 16; p++)
        for (int i = 0; i < 9; i++) {
            const double by = g_of[p / 4][i / 3] * g_of[p % 4][i % 3];
            const double *from = w + (turned ? 8 - i : i) * count;
            for (int64_t k = 0; by > 0 && k < count; k++) u[p * count + k] += by * fabs(from[k]);
        }
    return u;
}

/* What each rounding of Winograd's way costs: |A^T| [sum over channels of |U| . |V|] |A| (Lavin &
 * Gray's matrices, kernel_winograd.h). Its transforms round twice in each dimension. */
static void winograd_errors(const windows *s, const double *x, const double *w, bool turned,
                            double *error) {
    const int64_t c = s->x->dim[3], m = s->y->dim[3], high = s->y->dim[1], wide = s->y->dim[2];
    double *u = tap_sizes(w, c * m, turned), *v = numbers(16 * c), *sum = numbers(m);
    const double by = sum_of(c) + 11;
    for (int64_t image = 0; image < s->y->dim[0]; image++)
        for (int64_t at = 0; at < (high + 1) / 2 * ((wide + 1) / 2); at++) {
            const int64_t oy = 2 * (at / ((wide + 1) / 2)), ox = 2 * (at % ((wide + 1) / 2));
            window_sizes(s, x, image, oy, ox, v);
            for (int p = 0; p < 16; p++) {
                memset(sum, 0, (size_t)m * sizeof *sum);
                for (int64_t i = 0; i < c; i++)
                    for (int64_t o = 0; o < m; o++)
                        sum[o] += v[p * c + i] * u[p * c * m + (turned ? o * c + i : i * m + o)];
                for (int k = 0; k < 4; k++) {
                    const double share = by * a_of[p / 4][k / 2] * a_of[p % 4][k % 2];
                    const int64_t y = oy + k / 2, z = ox + k % 2;
                    if (share == 0 || y >= high || z >= wide) continue;
                    for (int64_t o = 0; o < m; o++)
                        error[((image * high + y) * wide + z) * m + o] += share * sum[o];
                }
            }
        }
    free(u);
    free(v);
    free(sum);
}

static void winograd_grad_errors(const windows *s, const double *x, const double *dy,
                                 double *error) {
    const int64_t c = s->x->dim[3], m = s->y->dim[3], wide = (s->y->dim[2] + 1) / 2,
                  tiles = (s->y->dim[1] + 1) / 2 * wide;
    double *v = numbers(16 * c), *r = numbers(16 * m), *sum = numbers(16 * c * m);
    const double by = sum_of(tiles * s->y->dim[0]) + 9;
    for (int64_t t = 0; t < tiles * s->y->dim[0]; t++) {
        const int64_t oy = 2 * (t % tiles / wide), ox = 2 * (t % tiles % wide);
        window_sizes(s, x, t / tiles, oy, ox, v);
        result_sizes(s, dy, t / tiles, oy, ox, r);
        for (int64_t i = 0; i < 16 * c; i++)
            for (int64_t o = 0; o < m; o++) sum[i * m + o] += v[i] * r[i / c * m + o];
    }
    for (int i = 0; i < 9; i++)
        for (int p = 0; p < 16; p++) {
            const double share = by * g_of[p / 4][i / 3] * g_of[p % 4][i % 3];
            for (int64_t k = 0; share > 0 && k < c * m; k++)
                error[i * c * m + k] += share * sum[p * c * m + k];
        }
    free(v);
    free(r);
    free(sum);
}

/* Convolutions that some kernel set may do by Winograd's way (vn_winograd_suits). */
static bool may_be_winograd(const vn_node *n, const vn_shape *w) {
    return n->attr.conv.stride == 1 && w->dim[0] == 3 && w->dim[1] == 3 && w->dim[2] >= 32 &&
           w->dim[3] >= 32 && w->dim[2] % 4 == 0 && w->dim[3] % 4 == 0;
}

static void conv_errors(const vn_node *n, ref_in in, double *error) {
    const vn_shape *a = &n->in[0]->shape, *b = &n->in[1]->shape, *out = &n->shape;
    const vn_shape *w = n->op == VN_OP_CONV2D_GRAD_W ? out : b;
    const int *pad = n->attr.conv.pad;
    int64_t terms = w->dim[0] * w->dim[1] * w->dim[n->op == VN_OP_CONV2D ? 2 : 3];
    if (n->op == VN_OP_CONV2D_GRAD_W) terms = b->dim[0] * b->dim[1] * b->dim[2];
    sums_of_terms(n, in, ref_conv, sum_of(terms + 1), error);
    if (!may_be_winograd(n, w)) return;
    if (n->op == VN_OP_CONV2D)
        winograd_errors(&(windows){a, out, pad[0], pad[2]}, in[0], in[1], false, error);
    if (n->op == VN_OP_CONV2D_GRAD_X)
        winograd_errors(&(windows){a, out, 2 - pad[0], 2 - pad[2]}, in[0], in[1], true, error);
    if (n->op == VN_OP_CONV2D_GRAD_W)
        winograd_grad_errors(&(windows){a, b, pad[0], pad[2]}, in[0], in[1], error);
}

/* Those of the convolution of the enlarged image, and of the sum. */
static void conv_plus_errors(const vn_node *n, ref_in in, double *error) {
    const bool bias = n->attr.conv.bias;
    const int64_t up = n->attr.conv.up, count = vn_shape_count(&n->shape);
    vn_node x = *n->in[0], conv = *n, all = *n;
    for (int i = 1; i < 3; i++) x.shape.dim[i] *= up;
    const int64_t c = x.shape.dim[3];
    double *large = numbers(vn_shape_count(&x.shape)), *y = numbers(count);
    for (int64_t i = 0; i < vn_shape_count(&x.shape); i++) {
        const int64_t pixel = i / c, column = pixel % x.shape.dim[2], row = pixel / x.shape.dim[2];
        large[i] = in[0][(row / up * (x.shape.dim[2] / up) + column / up) * c + i % c];
    }
    conv.op = VN_OP_CONV2D;
    conv.in[0] = &x;
    conv.inputs = 2 + bias;
    conv_errors(&conv, (const double *[]){large, in[1], bias ? in[2] : NULL}, error);
    all.attr.conv.plus = false;
    ref_conv_plus(&all, in, y);
    for (int64_t i = 0; i < count && n->attr.conv.plus; i++)
        error[i] += fabs(y[i] + in[2 + bias][i]);
    free(large);
    free(y);
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* Sums are of deviations from a number near the mean, and so are off by what those are: four times
 * the variance in sum, if that number is off by up to sqrt(3) deviations. The results are rounded,
 * and the mean is added to such a number. */
static void norm_stats_errors(const vn_node *n, ref_in in, double *error) {
    const ref_groups g = ref_group(n);
    const int64_t count = g.positions * g.width;
    double *stats = numbers(vn_shape_count(&n->shape));
    ref_norm_stats(n, in, stats);
    for (int64_t k = 0; k < g.samples * g.groups; k++) {
        const double *x = in[0] + k / g.groups * g.positions * g.channels + k % g.groups * g.width,
                     mean = stats[2 * k], r = stats[2 * k + 1];
        double away = 0, variance = 0;
        for (int64_t i = 0; i < count; i++) {
            const double d = x[i / g.width * g.channels + i % g.width] - mean;
            away += fabs(d) / (double)count;
            variance += d * d / (double)count;
        }
        error[2 * k] = 2 * fabs(mean) + 2 * sum_of(count + 1) * away;
        error[2 * k + 1] = 2 * r + 0.5 * r * r * r * 4 * sum_of(count + 2) * variance;
    }
    free(stats);
}

/* Of a norm's element: xhat, z, and act'(z), each with what it is off by. */
typedef struct norm_at {
    double xhat, xhat_e, z, z_e, gamma, slope, slope_e;
} norm_at;

static norm_at norm_element(const vn_node *n, ref_in in, int affine, int64_t i) {
    const double *gamma = n->inputs > affine ? in[affine] : NULL;
    const int64_t at = gamma ? ref_norm_affine(n, affine, i) : 0;
    double r, d[3];
    norm_at a = {.gamma = gamma ? gamma[at] : 1};
    ref_norm_at(n, in[0], in[1], gamma, gamma ? in[affine + 1] : NULL, i, &a.xhat, d, &r);
    a.xhat_e = 2 * fabs(a.xhat);
    a.z = gamma ? a.xhat * a.gamma + in[affine + 1][at] : a.xhat;
    a.z_e = gamma ? fabs(a.gamma) * a.xhat_e + fabs(a.xhat * a.gamma) + fabs(a.z) : a.xhat_e;
    a.slope = d[1];
    a.slope_e = fabs(d[2]) * a.z_e + function_error(n->attr.norm.act, 1, a.z);
    return a;
}

static void norm_errors(const vn_node *n, ref_in in, double *error) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        const norm_at a = norm_element(n, in, 2, i);
        error[i] = fabs(a.slope) * a.z_e + function_error(n->attr.norm.act, 0, a.z);
    }
}

/* dx = r (g - mean(g) - xhat mean(g xhat)). */
static void norm_grad_x_errors(const vn_node *n, ref_in in, double *error) {
    const ref_groups s = ref_group(n);
    const int64_t count = s.positions * s.width;
    const double over = 1 / (double)count, by = sum_of(count + 1);
    for (int64_t k = 0; k < s.samples * s.groups; k++) {
        const double r = in[1][2 * k + 1];
        const int64_t first = k / s.groups * s.positions * s.channels + k % s.groups * s.width;
        double mean = 0, mean_e = 0, dot = 0, dot_e = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t e = 0; e < count; e++) {
                const int64_t i = first + e / s.width * s.channels + e % s.width;
                const norm_at a = norm_element(n, in, 3, i);
                const double g = in[2][i] * a.slope * a.gamma, size = fabs(g),
                             g_e = fabs(in[2][i] * a.gamma) * a.slope_e + 2 * size;
                if (pass == 0) {
                    mean += g * over, dot += g * a.xhat * over;
                    mean_e += over * (g_e + by * size);
                    dot_e += over * (fabs(a.xhat) * (g_e + by * size) + size * a.xhat_e);
                } else {
                    const double last = fabs(g - mean - a.xhat * dot);
                    error[i] = r * (g_e + mean_e + fabs(a.xhat) * dot_e + a.xhat_e * fabs(dot) +
                                    fabs(a.xhat * dot) + fabs(g - mean) + 2 * last);
                }
            }
    }
}

static void norm_grad_affine_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t count = vn_shape_count(&n->in[3]->shape), all = vn_shape_count(&n->in[0]->shape);
    const double by = sum_of(count > 0 ? all / count + 1 : 0);
    for (int64_t i = 0; i < all; i++) {
        const int64_t at = ref_norm_affine(n, 3, i);
        const norm_at a = norm_element(n, in, 3, i);
        const double d = fabs(in[2][i] * a.slope), d_e = fabs(in[2][i]) * a.slope_e + d;
        error[at] += fabs(a.xhat) * (d_e + by * d) + d * a.xhat_e;
        error[count + at] += d_e + by * d;
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

#define EXPONENTIAL 2.0 /* kernel_math.h: 1 ulp */

/* p of a row, and in *sum_e what the sum of exponentials is off by, of itself; own[i] what e^(x_i -
 * top) is, of itself: the difference is rounded. */
static void softmax_errors_of(const double *x, int64_t k, double *p, double *own, double *sum_e) {
    double top = -HUGE_VAL;
    for (int64_t i = 0; i < k; i++) top = fmax(top, x[i]);
    ref_softmax_row(x, k, p);
    *sum_e = sum_of(k);
    for (int64_t i = 0; i < k; i++) {
        own[i] = fabs(x[i] - top) + EXPONENTIAL;
        *sum_e += p[i] * own[i];
    }
}

static void softmax_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t k = ref_last(&n->in[0]->shape);
    double *p = numbers(k), *own = numbers(k), sum_e;
    for (int64_t r = 0; r < ref_rows(&n->in[0]->shape); r++) {
        softmax_errors_of(in[0] + r * k, k, p, own, &sum_e);
        if (n->op == VN_OP_CROSS_ENTROPY) {
            const int64_t label = ref_choice(in[1][r], k);
            double loss;
            vn_node one = *n;
            one.shape = VN_SHAPE(1);
            ref_cross_entropy(&one, (const double *[]){in[0] + r * k, in[1] + r}, &loss);
            error[r] = label < 0 ? 0 : sum_e + fabs(loss);
        }
        for (int64_t i = 0; i < k && n->op != VN_OP_CROSS_ENTROPY; i++) {
            const bool grad = n->op == VN_OP_CROSS_ENTROPY_GRAD,
                       hit = grad && in[1][r] == (double)i;
            const double dy = grad ? fabs(in[2][r]) : 1;
            error[r * k + i] = dy * p[i] * (own[i] + sum_e + 2) + (hit ? dy * (1 - p[i]) : 0);
        }
    }
    free(p);
    free(own);
}

/* dx = y (dy - sum(y dy)) */
static void softmax_grad_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t k = ref_last(&n->shape);
    for (int64_t r = 0; r < ref_rows(&n->shape); r++) {
        const double *y = in[0] + r * k, *dy = in[1] + r * k;
        double dot = 0, size = 0;
        for (int64_t i = 0; i < k; i++) dot += y[i] * dy[i], size += fabs(y[i] * dy[i]);
        for (int64_t i = 0; i < k; i++)
            error[r * k + i] = fabs(y[i]) * (sum_of(k) * size + fabs(dot) + 2 * fabs(dy[i] - dot));
    }
}

/* y = max((x - top)/2 - t, 0), t where the sum of y^2 is 1: what that sum is off by, over its slope
 * 2 sum y, t is. */
static void entmax_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t k = ref_last(&n->shape), rows = ref_rows(&n->shape);
    double *y = numbers(rows * k);
    ref_entmax_root(n, in, y);
    for (int64_t r = 0; r < rows; r++) {
        double top = -HUGE_VAL, t = 0, sum = 0, squares_e = sum_of(k);
        for (int64_t i = r * k; i < (r + 1) * k; i++) {
            top = fmax(top, in[0][i]);
            t = fmax(t, y[i]);
            sum += y[i];
        }
        for (int64_t i = r * k; i < (r + 1) * k; i++)
            squares_e += 2 * y[i] * (fabs(in[0][i] - top) / 2 + y[i]);
        for (int64_t i = r * k; i < (r + 1) * k; i++)
            error[i] = squares_e / (2 * sum) + t + fabs(in[0][i] - top) / 2 + y[i];
    }
    free(y);
}

/* ---- attention ------------------------------------------------------------------------------- */

#define POWER_OF_TWO 4.0 /* vn_vexp2_down: 2 ulp */

/* One query of one head. */
typedef struct query {
    const vn_node *n;
    ref_in in;
    const vn_node *bias;
    const double *bias_value;
    int64_t image, head, i, q, kv, step; /* q, kv: where its rows begin; step: from key to key */
    int64_t width, keys;
    double *p, *own; /* probabilities, and what each is off by, of itself */
} query;

/* Scores are rounded as sums of products, by their factor and their bias; below the least bias they
 * all count as that. */
static void query_errors(query *a) {
    const double scale = a->n->attr.attention.scale, by = sum_of(a->width) + 4;
    double *s = numbers(a->keys), *off = numbers(a->keys), top = -HUGE_VAL,
           all = sum_of(a->keys) + 2;
    for (int64_t j = 0; j < a->keys; j++) {
        for (int64_t d = 0; d < a->width; d++) {
            const double term = scale * a->in[0][a->q + d] * a->in[1][a->kv + j * a->step + d];
            s[j] += term, off[j] += by * fabs(term);
        }
        const double b = ref_attention_bias(a->bias, a->bias_value, a->image, a->head, a->i, j);
        s[j] += b;
        off[j] = b <= -1e30 ? 0 : off[j] + fabs(b) + fabs(s[j]);
        if (a->n->attr.attention.causal && j - a->i > a->keys - a->n->in[0]->shape.dim[1])
            s[j] = -HUGE_VAL;
        top = fmax(top, s[j]);
    }
    ref_softmax_row(s, a->keys, a->p);
    for (int64_t j = 0; j < a->keys; j++) {
        a->own[j] = a->p[j] > 0 ? off[j] + fabs(s[j] - top) + POWER_OF_TWO : 0;
        all += a->p[j] * a->own[j];
    }
    for (int64_t j = 0; j < a->keys; j++) a->own[j] += all;
    free(s);
    free(off);
}

static void forward_errors(const query *a, double *y) {
    for (int64_t j = 0; j < a->keys; j++)
        for (int64_t d = 0; d < a->width; d++)
            y[a->q + d] += a->p[j] * fabs(a->in[2][a->kv + j * a->step + d]) *
                           (a->own[j] + sum_of(a->keys) + 1);
}

/* ds = scale p (dp - sum(p dp)), dp = dy v^T; dq = ds k, dk = ds^T q, dv = p^T dy. */
static void gradient_errors(const query *a, int64_t readers, double *dq, double *dk, double *dv) {
    const double scale = a->n->attr.attention.scale, of_keys = sum_of(a->keys),
                 of_queries = sum_of(readers * a->n->in[0]->shape.dim[1]);
    double *dp = numbers(a->keys), *dp_e = numbers(a->keys), dot = 0, dot_e = 0;
    for (int64_t j = 0; j < a->keys; j++) {
        for (int64_t d = 0; d < a->width; d++) {
            const double term = a->in[3][a->q + d] * a->in[2][a->kv + j * a->step + d];
            dp[j] += term, dp_e[j] += sum_of(a->width) * fabs(term);
        }
        dot += a->p[j] * dp[j];
        dot_e += a->p[j] * (dp_e[j] + fabs(dp[j]) * (a->own[j] + of_keys + 2));
    }
    for (int64_t j = 0; j < a->keys; j++) {
        const double ds = scale * a->p[j] * fabs(dp[j] - dot),
                     ds_e = scale * a->p[j] * (dp_e[j] + dot_e) + ds * (a->own[j] + 4);
        for (int64_t d = 0; d < a->width; d++) {
            const int64_t at = a->kv + j * a->step + d;
            dq[a->q + d] += fabs(a->in[1][at]) * (ds_e + ds * of_keys);
            dk[at] += fabs(a->in[0][a->q + d]) * (ds_e + ds * of_queries);
            dv[at] += fabs(a->in[3][a->q + d]) * a->p[j] * (a->own[j] + 2 + of_queries);
        }
    }
    free(dp);
    free(dp_e);
}

static void attention_errors(const vn_node *n, ref_in in, double *error) {
    const bool grad = n->op == VN_OP_ATTENTION_GRAD;
    const int mask = grad ? 4 : 3;
    const int64_t *qs = n->in[0]->shape.dim, *ks = n->in[1]->shape.dim;
    const int64_t heads = n->attr.attention.heads, readers = qs[2] / ks[2], width = qs[2] / heads;
    double *dk = error + vn_shape_count(&n->in[0]->shape),
           *dv = dk + vn_shape_count(&n->in[1]->shape);
    query a = {.n = n, .in = in, .step = ks[2], .width = width, .keys = ks[1]};
    a.p = numbers(a.keys);
    a.own = numbers(a.keys);
    if (n->inputs > mask) a.bias = n->in[mask], a.bias_value = in[mask];
    for (int64_t k = 0; k < qs[0] * heads * qs[1]; k++) {
        a.image = k / (heads * qs[1]), a.head = k / qs[1] % heads, a.i = k % qs[1];
        a.q = (a.image * qs[1] + a.i) * qs[2] + a.head * width;
        a.kv = a.image * a.keys * a.step + a.head / readers * width;
        query_errors(&a);
        if (grad)
            gradient_errors(&a, readers, error, dk, dv);
        else
            forward_errors(&a, error);
    }
    free(a.p);
    free(a.own);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* The two roundings of a product and a sum; fused they are one. */
static void pointwise_errors(const vn_node *n, ref_in in, double *error) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        const double x = n->inputs > 0 ? in[0][ref_broadcast_at(&n->in[0]->shape, &n->shape, i)]
                                       : 0,
                     y = n->inputs > 1 ? in[1][ref_broadcast_at(&n->in[1]->shape, &n->shape, i)]
                                       : 0;
        const double scale = n->attr.affine.scale, shift = n->attr.affine.shift;
        double d[3];
        switch (n->op) {
        case VN_OP_MUL_ADD: error[i] = fabs(x * y) + fabs(x * y + in[2][i]); break;
        case VN_OP_AFFINE: error[i] = fabs(scale * x) + fabs(scale * x + shift); break;
        case VN_OP_UNARY:
            error[i] = function_error(n->attr.unary.fn, n->attr.unary.order, x);
            break;
        case VN_OP_UNARY_GRAD:
            ref_fn(n->attr.unary.fn, x, d);
            error[i] = fabs(y) * (function_error(n->attr.unary.fn, 1, x) + fabs(d[1]));
            break;
        case VN_OP_DROPOUT: error[i] = 2 * fabs(x) / (1 - n->attr.dropout.p); break;
        default: error[i] = fabs(ref_binary(n->op, x, y)); break;
        }
    }
}

/* x r gamma with r = 1 / sqrt(mean of squares + eps): half of what the mean is off by, r is. */
static void rms_norm_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t c = ref_last(&n->shape);
    ref_rms_norm(n, in, error);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++)
        error[i] = fabs(error[i]) * ((sum_of(c) + 3) / 2 + 4);
}

static void rotate_errors(const vn_node *n, ref_in in, double *error) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        const int64_t angle = ref_broadcast_at(&n->in[1]->shape, &n->shape, i);
        bool first;
        const double partner = in[0][ref_partner(n, i, &first)];
        error[i] = 2 * (fabs(in[0][i] * in[1][angle]) + fabs(partner * in[2][angle]));
    }
}

static void resample_errors(const vn_node *n, ref_in in, double *error) {
    const int64_t taps = (n->attr.resample.taps - 1) / n->attr.resample.up + 1;
    vn_node sizes = *n;
    for (int i = 0; i < VN_MAX_TAPS; i++)
        sizes.attr.resample.tap[i] = fabsf(n->attr.resample.tap[i]);
    sums_of_terms(&sizes, in, ref_resample, sum_of(taps * taps) + 1, error);
}

static void errors_of(const vn_node *n, ref_in in, double *error) {
    const int64_t count = vn_shape_count(&n->shape);
    switch (n->op) {
    case VN_OP_SUM_TO:
        sums_of_terms(n, in, ref_sum_to,
                      sum_of(count > 0 ? vn_shape_count(&n->in[0]->shape) / count : 0), error);
        break;
    case VN_OP_MATMUL:
        sums_of_terms(n, in, ref_matmul,
                      sum_of(n->in[0]->shape.dim[n->shape.rank - (n->attr.matmul.ta ? 2 : 1)]),
                      error);
        break;
    case VN_OP_LINEAR: linear_errors(n, in, error); break;
    case VN_OP_LINEAR_PLUS: linear_plus_errors(n, in, error); break;
    case VN_OP_CONV2D_PLUS: conv_plus_errors(n, in, error); break;
    case VN_OP_CONV2D:
    case VN_OP_CONV2D_GRAD_X:
    case VN_OP_CONV2D_GRAD_W: conv_errors(n, in, error); break;
    case VN_OP_NORM_STATS: norm_stats_errors(n, in, error); break;
    case VN_OP_NORM: norm_errors(n, in, error); break;
    case VN_OP_NORM_GRAD_X: norm_grad_x_errors(n, in, error); break;
    case VN_OP_NORM_GRAD_AFFINE: norm_grad_affine_errors(n, in, error); break;
    case VN_OP_SOFTMAX:
    case VN_OP_CROSS_ENTROPY:
    case VN_OP_CROSS_ENTROPY_GRAD: softmax_errors(n, in, error); break;
    case VN_OP_SOFTMAX_GRAD: softmax_grad_errors(n, in, error); break;
    case VN_OP_ENTMAX_ROOT: entmax_errors(n, in, error); break;
    case VN_OP_EMBEDDING_GRAD: embedding_grad_errors(n, in, error); break;
    case VN_OP_ATTENTION:
    case VN_OP_ATTENTION_GRAD: attention_errors(n, in, error); break;
    case VN_OP_RMS_NORM: rms_norm_errors(n, in, error); break;
    case VN_OP_ROTATE: rotate_errors(n, in, error); break;
    case VN_OP_RESAMPLE: resample_errors(n, in, error); break;
    default: pointwise_errors(n, in, error); break;
    }
}

static bool moves_alone(vn_op op) {
    return op == VN_OP_FILL || op == VN_OP_PERMUTE || op == VN_OP_CONCAT || op == VN_OP_SLICE ||
           op == VN_OP_PLACE || op == VN_OP_BROADCAST || op == VN_OP_CAST || op == VN_OP_ONE_HOT ||
           op == VN_OP_EMBEDDING || op == VN_OP_NEAREST;
}

void rounding_errors(const vn_node *n, ref_in in, double *error) {
    memset(error, 0, (size_t)vn_shape_count(&n->shape) * sizeof *error);
    if (moves_alone(n->op)) return;
    errors_of(n, in, error);
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) error[i] += MIN_ERROR;
}
