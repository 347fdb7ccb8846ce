/* layers.c - layers, each of which declares its weights under PyTorch's names and with the initial
 * values of the scope. PyTorch's own are uniform within 1/sqrt(fan-in) for convolutions and linear
 * layers (kaiming_uniform with a = sqrt 5) and normal for embeddings; norms always begin at one and
 * zero. Every layer has its channels as arguments and checks its input, so that a config whose
 * levels do not fit is refused with the layer's name. */
#include "nn/internal.h"

#include <math.h>
#include <string.h>

static void path_join(char out[VN_SCOPE_PATH], const vn_scope *s, const char *name) {
    int length = snprintf(out, VN_SCOPE_PATH, "%s%s%s", s->path, s->path[0] ? "." : "", name);
    if (length >= VN_SCOPE_PATH) vn_scope_fail(s, "the name \"%s\" is too long", name);
}

vn_scope vn_scope_in(const vn_scope *s, const char *format, ...) {
    char name[64];
    va_list args;
    va_start(args, format);
    vn_vsnprintf(name, sizeof name, format, args);
    va_end(args);
    vn_scope child = *s;
    path_join(child.path, s, name);
    return child;
}

vn_node *vn_scope_fail(const vn_scope *s, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vn_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vn_graph_label(s->g, "%s", ""); /* the message names the layer already */
    return vn_graph_fail(s->g, VN_BAD_ARGUMENT, "%s: %s%s%s", s->net, s->path,
                         s->path[0] ? ": " : "", text);
}

/* The names of a layer's weight and bias. Making them sets the label of the nodes made next. */
typedef struct names {
    char weight[VN_SCOPE_PATH + 8], bias[VN_SCOPE_PATH + 8];
} names;

static names begin_layer(const vn_scope *s, const char *name) {
    names n;
    char place[VN_SCOPE_PATH];
    path_join(place, s, name);
    snprintf(n.weight, sizeof n.weight, "%s.weight", place);
    snprintf(n.bias, sizeof n.bias, "%s.bias", place);
    vn_graph_label(s->g, "%s", place);
    return n;
}

/* Whether x ends in `channels` channels; fails the graph otherwise. */
static bool has_channels(const vn_scope *s, const char *name, const vn_node *x, int64_t channels) {
    if (!x) return false;
    int64_t found = x->shape.dim[x->shape.rank - 1];
    if (found == channels) return true;
    vn_scope_fail(s, "%s expects %lld channels, gets %lld", name, (long long)channels,
                  (long long)found);
    return false;
}

/* Initial values of a matrix or a kernel and of its bias. */
typedef struct inits {
    vn_init weight, bias;
} inits;

static inits init_of(const vn_scope *s, int64_t fan_in, int64_t fan_out) {
    const vn_init zeros = {VN_INIT_ZEROS, 0};
    switch (s->init) {
    case VN_LAYER_INIT_TORCH: {
        const vn_init uniform = {VN_INIT_UNIFORM, fan_in > 0 ? 1 / sqrt((double)fan_in) : 0};
        return (inits){uniform, uniform};
    }
    case VN_LAYER_INIT_XAVIER:
        return (inits){{VN_INIT_UNIFORM, sqrt(6 / (double)(fan_in + fan_out))}, zeros};
    case VN_LAYER_INIT_HE: return (inits){{VN_INIT_NORMAL, sqrt(2 / (double)fan_in)}, zeros};
    case VN_LAYER_INIT_SMALL: return (inits){{VN_INIT_NORMAL, VN_LAYER_SMALL_DEVIATION}, zeros};
    case VN_LAYER_INIT_ZERO: break;
    }
    return (inits){zeros, zeros};
}

vn_node *vn_layer_conv(const vn_scope *s, const char *name, vn_node *x, vn_conv c) {
    if (!has_channels(s, name, x, c.in)) return NULL;
    names n = begin_layer(s, name);
    inits from = init_of(s, c.in * c.kernel * c.kernel, c.out);
    vn_shape file = VN_SHAPE(c.out, c.in, c.kernel, c.kernel);
    vn_node *w = vn_param_node(s->g, s->w, n.weight, file, VN_LAYOUT_CONV, from.weight);
    vn_node *b =
        c.bias ? vn_param_node(s->g, s->w, n.bias, VN_SHAPE(c.out), VN_LAYOUT_PLAIN, from.bias)
               : NULL;
    return vn_conv2d(s->g, x, w, b, c.bias, c.stride, c.pad);
}

vn_node *vn_layer_conv3(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out) {
    return vn_layer_conv(
        s, name, x,
        (vn_conv){
            .in = in, .out = out, .kernel = 3, .stride = 1, .pad = {1, 1, 1, 1}, .bias = true});
}

vn_node *vn_layer_conv1(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out,
                        bool bias) {
    return vn_layer_conv(s, name, x,
                         (vn_conv){.in = in, .out = out, .kernel = 1, .stride = 1, .bias = bias});
}

typedef struct linear_weights {
    vn_node *w, *b;
} linear_weights;

static linear_weights add_linear_weights(const vn_scope *s, const char *name, int64_t in,
                                         int64_t out, bool bias) {
    names n = begin_layer(s, name);
    inits from = init_of(s, in, out);
    return (linear_weights){
        vn_param_node(s->g, s->w, n.weight, VN_SHAPE(out, in), VN_LAYOUT_PLAIN, from.weight),
        bias ? vn_param_node(s->g, s->w, n.bias, VN_SHAPE(out), VN_LAYOUT_PLAIN, from.bias) : NULL};
}

static vn_node *linear(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out,
                       bool bias, vn_fn act) {
    if (!has_channels(s, name, x, in)) return NULL;
    const linear_weights l = add_linear_weights(s, name, in, out, bias);
    return s->train ? vn_unary(s->g, vn_linear(s->g, x, l.w, l.b, bias), act)
                    : vn_linear_act(s->g, x, l.w, l.b, bias, act);
}

vn_node *vn_layer_linear_of_two(const vn_scope *s, const char *name, vn_node *x, vn_node *y,
                                int64_t of_x, int64_t of_y, int64_t out) {
    if (!has_channels(s, name, x, of_x) || !has_channels(s, name, y, of_y)) return NULL;
    const linear_weights l = add_linear_weights(s, name, of_x + of_y, out, true);
    return vn_add(s->g, vn_linear_part(s->g, y, l.w, of_x, NULL, false),
                  vn_linear_part(s->g, x, l.w, 0, l.b, true));
}

/* Rows [from, from + out) of the layer's. */
static vn_node *rows_of_linear(const vn_scope *s, vn_node *x, const linear_weights *l, int64_t from,
                               int64_t in, int64_t out) {
    return vn_linear(s->g, x, vn_view(s->g, l->w, from * in, VN_SHAPE(out, in)),
                     vn_view(s->g, l->b, from, VN_SHAPE(out)), true);
}

vn_halves vn_layer_linear_halves(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                                 int64_t out) {
    if (!has_channels(s, name, x, in)) return (vn_halves){0};
    const linear_weights l = add_linear_weights(s, name, in, 2 * out, true);
    return (vn_halves){rows_of_linear(s, x, &l, 0, in, out),
                       rows_of_linear(s, x, &l, out, in, out)};
}

vn_node *vn_layer_linear_if(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                            int64_t out, bool bias) {
    return linear(s, name, x, in, out, bias, VN_FN_IDENTITY);
}

vn_node *vn_layer_linear_act(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                             int64_t out, vn_fn act) {
    return linear(s, name, x, in, out, true, act);
}

vn_node *vn_layer_linear(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out) {
    return vn_layer_linear_if(s, name, x, in, out, true);
}

static bool can_norm(const vn_scope *s, const char *name, const vn_node *x, int64_t channels,
                     int64_t groups) {
    if (!has_channels(s, name, x, channels)) return false;
    if (groups >= 1 && channels % groups == 0) return true;
    vn_scope_fail(s, "%s cannot split %lld channels into %lld groups", name, (long long)channels,
                  (long long)groups);
    return false;
}

/* What follows a norm: y gamma + beta. */
typedef struct affine {
    vn_node *gamma, *beta;
} affine;

static affine norm_weights(const vn_scope *s, const names *n, int64_t channels) {
    vn_shape each = VN_SHAPE(channels);
    vn_node *gamma =
        vn_param_node(s->g, s->w, n->weight, each, VN_LAYOUT_PLAIN, (vn_init){VN_INIT_ONES, 0});
    vn_node *beta =
        vn_param_node(s->g, s->w, n->bias, each, VN_LAYOUT_PLAIN, (vn_init){VN_INIT_ZEROS, 0});
    return (affine){gamma, beta};
}

vn_node *vn_layer_group_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                             int64_t groups, double eps, vn_fn act) {
    if (!can_norm(s, name, x, channels, groups)) return NULL;
    names n = begin_layer(s, name);
    affine a = norm_weights(s, &n, channels);
    bool fused = act == VN_FN_SILU;
    vn_node *y =
        vn_norm(s->g, x, a.gamma, a.beta, true, (int)groups, eps, fused ? act : VN_FN_IDENTITY);
    return fused ? y : vn_unary(s->g, y, act);
}

vn_node *vn_layer_token_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                             double eps) {
    if (!has_channels(s, name, x, channels)) return NULL;
    names n = begin_layer(s, name);
    affine a = norm_weights(s, &n, channels);
    return vn_layer_norm(s->g, x, a.gamma, a.beta, true, eps);
}

static vn_node *rms(const vn_scope *s, vn_node *x, vn_node *gamma, bool has_gamma, double eps) {
    return s->train ? vn_rms_by_parts(s->g, x, gamma, has_gamma, eps)
                    : vn_rms(s->g, x, gamma, has_gamma, eps);
}

vn_node *vn_rms_norm(const vn_scope *s, vn_node *x, double eps) {
    return rms(s, x, NULL, false, eps);
}

vn_node *vn_layer_rms_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                           double eps) {
    if (!has_channels(s, name, x, channels)) return NULL;
    names n = begin_layer(s, name);
    const vn_init ones = {VN_INIT_ONES, 0};
    vn_node *gamma = vn_param_node(s->g, s->w, n.weight, VN_SHAPE(channels), VN_LAYOUT_PLAIN, ones);
    return rms(s, x, gamma, true, eps);
}

vn_node *vn_layer_modulated_norm(const vn_scope *s, const char *name, vn_node *x,
                                 const vn_modulation *by, int64_t channels, int64_t groups,
                                 double eps, vn_fn act) {
    if (!can_norm(s, name ? name : "norm", x, channels, groups ? groups : 1)) return NULL;
    affine a = {vn_affine(s->g, by->scale, 1, 1), by->shift};
    if (name) {
        names n = begin_layer(s, name);
        const affine own = norm_weights(s, &n, channels);
        a.beta = vn_add(s->g, vn_mul(s->g, a.gamma, own.beta), a.beta);
        a.gamma = vn_mul(s->g, a.gamma, own.gamma);
    }
    if (!groups) return vn_unary(s->g, vn_layer_norm(s->g, x, a.gamma, a.beta, true, eps), act);
    bool fused = act == VN_FN_SILU;
    vn_node *y =
        vn_norm(s->g, x, a.gamma, a.beta, true, (int)groups, eps, fused ? act : VN_FN_IDENTITY);
    return fused ? y : vn_unary(s->g, y, act);
}

vn_node *vn_layer_ada_norm(const vn_scope *s, const char *name, vn_node *x, vn_node *time,
                           int64_t time_width, int64_t channels, int64_t groups, double eps) {
    if (!can_norm(s, name, x, channels, groups)) return NULL;
    vn_scope at = vn_scope_in(s, "%s", name);
    const vn_modulation by = vn_modulation_of(
        s, vn_layer_linear(&at, "linear", time, time_width, 2 * channels), channels);
    return vn_layer_modulated_norm(s, NULL, x, &by, channels, groups, eps, VN_FN_IDENTITY);
}

vn_node *vn_layer_embedding(const vn_scope *s, const char *name, vn_node *index, int64_t rows,
                            int64_t width) {
    names n = begin_layer(s, name);
    vn_init init = s->init == VN_LAYER_INIT_TORCH ? (vn_init){VN_INIT_NORMAL, 1}
                                                  : init_of(s, rows, width).weight;
    vn_node *table =
        vn_param_node(s->g, s->w, n.weight, VN_SHAPE(rows, width), VN_LAYOUT_PLAIN, init);
    return vn_embedding(s->g, table, index);
}

vn_node *vn_layer_dropout(const vn_scope *s, vn_node *x, double p) {
    return s->train ? vn_dropout(s->g, x, p) : x;
}

/* e [N,C] as [N,1,..,1,C], to be broadcast over x [N,..,C]. */
static vn_node *over_positions(const vn_scope *s, vn_node *e, const vn_node *x) {
    if (!e || !x) return NULL;
    vn_shape shape = x->shape;
    for (int i = 1; i < shape.rank - 1; i++) shape.dim[i] = 1;
    return vn_reshape(s->g, e, shape);
}

vn_modulation vn_modulation_of(const vn_scope *s, vn_node *e, int64_t channels) {
    return (vn_modulation){vn_slice(s->g, e, -1, 0, channels),
                           vn_slice(s->g, e, -1, channels, channels)};
}

vn_node *vn_add_channels(const vn_scope *s, vn_node *x, vn_node *e) {
    return vn_add(s->g, x, over_positions(s, e, x));
}

vn_node *vn_spatial_mean(const vn_scope *s, vn_node *x) {
    if (!x) return NULL;
    const int64_t *d = x->shape.dim;
    vn_node *sum = vn_sum_to(s->g, x, VN_SHAPE(d[0], 1, 1, d[3]));
    vn_node *mean = vn_affine(s->g, sum, 1 / (double)(d[1] * d[2]), 0);
    return vn_reshape(s->g, mean, VN_SHAPE(d[0], d[3]));
}

/* [sin a | cos a], or the other way round, of angles a [N,width]. */
static vn_node *sine_cosine(const vn_scope *s, vn_node *angle, bool cosine_first) {
    vn_node *sine = vn_unary(s->g, angle, VN_FN_SIN), *cosine = vn_unary(s->g, angle, VN_FN_COS);
    vn_node *both[2] = {cosine_first ? cosine : sine, cosine_first ? sine : cosine};
    return vn_concat(s->g, -1, 2, both);
}

vn_node *vn_time_sinusoids(const vn_scope *s, vn_node *t, int64_t width, bool flip, double shift) {
    if (!t) return NULL;
    int64_t n = t->shape.dim[0], half = width / 2;
    if (half == 0) return vn_fill(s->g, VN_SHAPE(n, width), 0);
    if ((double)half == shift)
        return vn_scope_fail(s, "freq_shift must not be half of the embedding's %lld",
                             (long long)width);
    float *frequency = vn_alloc((size_t)half, sizeof *frequency);
    if (!frequency) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    /* In floats and in this order, as in PyTorch: at t = 1000 one rounding of a frequency changes
     * the fifth digit. */
    for (int64_t i = 0; i < half; i++)
        frequency[i] = expf((float)-log(10000.0) * (float)i / (float)((double)half - shift));
    vn_node *f = vn_const(s->g, VN_F32, VN_SHAPE(1, half), frequency);
    vn_free(frequency);
    vn_node *y = sine_cosine(s, vn_mul(s->g, vn_reshape(s->g, t, VN_SHAPE(n, 1)), f), flip);
    return width % 2 ? vn_place(s->g, y, -1, 0, width) : y;
}

/* [sin | cos] of 2 pi t w, or the other way round. */
static vn_node *fourier(const vn_scope *s, const char *name, vn_node *t, int64_t width,
                        double scale, bool flip) {
    if (!t) return NULL;
    names n = begin_layer(s, name);
    vn_node *w =
        vn_param_frozen(s->g, s->w, n.weight, VN_SHAPE(width), (vn_init){VN_INIT_NORMAL, scale});
    vn_node *column = vn_reshape(s->g, t, VN_SHAPE(t->shape.dim[0], 1));
    vn_node *turns = vn_mul(s->g, column, vn_reshape(s->g, w, VN_SHAPE(1, width)));
    return sine_cosine(s, vn_affine(s->g, vn_affine(s->g, turns, 2, 0), acos(-1.0), 0), flip);
}

vn_node *vn_time_fourier(const vn_scope *s, const char *name, vn_node *t, int64_t width,
                         double scale) {
    return fourier(s, name, t ? vn_unary(s->g, t, VN_FN_LOG) : NULL, width, scale, false);
}

vn_node *vn_time_fourier_plain(const vn_scope *s, const char *name, vn_node *t, int64_t width,
                               double scale, bool flip) {
    return fourier(s, name, t, width, scale, flip);
}

vn_node *vn_time_embedding_act(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                               int64_t width, vn_fn act) {
    vn_scope at = vn_scope_in(s, "%s", name);
    vn_node *hidden = vn_layer_linear_act(&at, "linear_1", x, in, width, act);
    return vn_layer_linear(&at, "linear_2", hidden, width, width);
}

vn_node *vn_time_embedding(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                           int64_t width) {
    return vn_time_embedding_act(s, name, x, in, width, VN_FN_SILU);
}
