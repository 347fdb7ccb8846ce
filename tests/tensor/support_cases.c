/* support_cases.c - see support_cases.h. Shapes are odd and small; axes of length one appear where
 * ops treat them apart. */
#include "tensor/support_cases.h"

#include "support/seed.h"

static vn_node *f32(vn_graph *g, vn_shape shape) {
    return vn_input(g, VN_F32, shape);
}

static vn_node *i32(vn_graph *g, vn_shape shape) {
    return vn_input(g, VN_I32, shape);
}

/* ---- leaves and movement --------------------------------------------------------------------- */

static vn_node *build_input(vn_graph *g, int variant) {
    (void)variant;
    return f32(g, VN_SHAPE(2, 3));
}

/* The weights are for all cases. */
static vn_weights *weights_of_cases(void) {
    static vn_weights *w;
    if (!w && vn_weights_open(&w, NULL) != VN_OK) abort();
    return w;
}

static vn_node *build_param(vn_graph *g, int variant) {
    (void)variant;
    return vn_param_node(g, weights_of_cases(), "w", VN_SHAPE(3, 2), VN_LAYOUT_PLAIN,
                         (vn_init){VN_INIT_ONES, 0});
}

const vn_values *op_case_values(void) {
    static const float flat[16] = {1, 2, 3};
    static vn_values *values;
    vn_graph *g = NULL;
    if (values) return values;
    if (vn_graph_open(&g, NULL) != VN_OK || !build_param(g, 0) ||
        vn_values_over(weights_of_cases(), &(vn_device){0}, flat, &values, NULL) != VN_OK)
        abort();
    vn_graph_close(&g);
    return values;
}

static vn_node *build_const(vn_graph *g, int variant) {
    (void)variant;
    return vn_const(g, VN_F32, VN_SHAPE(3), (float[]){1, 2, 3});
}

static vn_node *build_fill(vn_graph *g, int variant) {
    (void)variant;
    return vn_fill(g, VN_SHAPE(2, 2), 0.5);
}

static vn_node *build_view(vn_graph *g, int variant) {
    vn_node *x = f32(g, VN_SHAPE(3, 4));
    return variant ? vn_view(g, x, 5, VN_SHAPE(2, 3)) : vn_reshape(g, x, VN_SHAPE(2, -1));
}

static vn_node *build_permute(vn_graph *g, int variant) {
    static const int perm[3][4] = {{0, 2, 1, 3}, {3, 0, 1, 2}, {2, 1, 3, 0}};
    return vn_permute(g, f32(g, VN_SHAPE(2, 3, 1, 4)), perm[variant]);
}

static vn_node *build_concat(vn_graph *g, int variant) {
    vn_node *x[3] = {f32(g, VN_SHAPE(2, 3, 2)), NULL, NULL};
    x[1] = variant ? f32(g, VN_SHAPE(2, 1, 2)) : f32(g, VN_SHAPE(2, 3, 5));
    x[2] = x[0];
    return vn_concat(g, variant ? 1 : -1, 3, x);
}

static vn_node *build_slice(vn_graph *g, int variant) {
    return vn_slice(g, f32(g, VN_SHAPE(3, 4, 2)), variant, 1, variant == 2 ? 1 : 2);
}

static vn_node *build_place(vn_graph *g, int variant) {
    return vn_place(g, f32(g, VN_SHAPE(2, 3)), variant, 1, 5);
}

static vn_node *build_broadcast(vn_graph *g, int variant) {
    vn_shape small[3] = {VN_SHAPE(3, 1), VN_SHAPE(4), VN_SHAPE(1, 1, 4)};
    return vn_broadcast(g, f32(g, small[variant]), VN_SHAPE(2, 3, 4));
}

static vn_node *build_sum_to(vn_graph *g, int variant) {
    vn_shape small[4] = {VN_SHAPE(3, 1), VN_SHAPE(4), VN_SHAPE(2, 1, 4), {.rank = 0}},
             large = VN_SHAPE(2, 3, 4);
    vn_node *x = f32(g, large);
    return variant < 4 ? vn_sum_to(g, x, small[variant])
                       : vn_sum_product_to(g, x, f32(g, large), small[variant - 4]);
}

/* ---- pointwise ------------------------------------------------------------------------------- */

static vn_node *operands(vn_graph *g, int variant,
                         vn_node *(*op)(vn_graph *, vn_node *, vn_node *)) {
    vn_shape a[4] = {VN_SHAPE(2, 3), VN_SHAPE(2, 3, 2), VN_SHAPE(3, 1), VN_SHAPE(2, 3)};
    vn_shape b[4] = {VN_SHAPE(2, 3), VN_SHAPE(3, 1), VN_SHAPE(2, 1, 4), {.rank = 0}};
    vn_node *x = f32(g, a[variant]);
    return op(g, x, f32(g, b[variant]));
}

static vn_node *build_add(vn_graph *g, int variant) {
    return operands(g, variant, vn_add);
}

static vn_node *build_sub(vn_graph *g, int variant) {
    return operands(g, variant, vn_sub);
}

static vn_node *build_mul(vn_graph *g, int variant) {
    return operands(g, variant, vn_mul);
}

static vn_node *build_div(vn_graph *g, int variant) {
    return operands(g, variant, vn_div);
}

static vn_node *build_mul_add(vn_graph *g, int variant) {
    const vn_shape y[4] = {VN_SHAPE(2, 3, 4), VN_SHAPE(2, 1, 4), VN_SHAPE(3, 1), {.rank = 0}};
    vn_node *x = f32(g, VN_SHAPE(2, 3, 4)), *by = f32(g, y[variant]);
    return vn_mul_add(g, x, by, f32(g, VN_SHAPE(2, 3, 4)));
}

/* Rounding has no derivative that differences show: numbers are widened. */
static vn_node *build_cast(vn_graph *g, int variant) {
    static const vn_dtype from[] = {VN_BF16, VN_F16, VN_I32};
    return vn_cast(g, vn_input(g, from[variant], VN_SHAPE(3, 2)), VN_F32);
}

static vn_node *build_affine(vn_graph *g, int variant) {
    (void)variant;
    return vn_affine(g, f32(g, VN_SHAPE(3, 2)), -1.5, 0.25);
}

static vn_node *build_unary(vn_graph *g, int variant) {
    return vn_unary_order(g, f32(g, VN_SHAPE(3, 3)), (vn_fn)(variant / 3), variant % 3);
}

static vn_node *build_unary_grad(vn_graph *g, int variant) {
    vn_node n = vn_draft(VN_OP_UNARY_GRAD, 2, f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(2, 3)));
    n.attr.unary.fn = (vn_fn)variant;
    return vn_graph_add(g, &n);
}

static vn_node *build_dropout(vn_graph *g, int variant) {
    vn_node *first = vn_dropout(g, f32(g, VN_SHAPE(3, 2, 4)), 0.4);
    return variant ? vn_dropout(g, first, 0.2) : first;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Variants 0..3: transpositions; +4: leading axes; +8: b shared by them. */
static vn_node *build_matmul(vn_graph *g, int variant) {
    bool ta = variant & 1, tb = variant & 2;
    vn_shape a = ta ? VN_SHAPE(2, 3, 4, 5) : VN_SHAPE(2, 3, 5, 4),
             b = tb ? VN_SHAPE(2, 3, 3, 4) : VN_SHAPE(2, 3, 4, 3);
    if (!(variant & 12)) a = VN_SHAPE(a.dim[2], a.dim[3]);
    if (!(variant & 4)) b = VN_SHAPE(b.dim[2], b.dim[3]);
    vn_node *x = f32(g, a);
    return vn_matmul(g, x, f32(g, b), ta, tb);
}

static vn_node *build_linear(vn_graph *g, int variant) {
    static const vn_fn acts[5] = {VN_FN_IDENTITY, VN_FN_IDENTITY, VN_FN_IDENTITY, VN_FN_GELU_TANH,
                                  VN_FN_SILU};
    vn_node *x = f32(g, variant == 2 ? VN_SHAPE(3) : VN_SHAPE(2, 4, 3)),
            *w = f32(g, VN_SHAPE(5, variant < 5 ? 3 : 7));
    bool bias = variant % 4;
    if (variant >= 5) return vn_linear_part(g, x, w, 2 * (variant - 5), f32(g, VN_SHAPE(5)), true);
    return vn_linear_act(g, x, w, bias ? f32(g, VN_SHAPE(5)) : NULL, bias, acts[variant]);
}

typedef struct conv_case {
    int64_t h, w, kh, kw;
    int stride, pad[4];
} conv_case;

static const conv_case conv_cases[] = {
    {4, 3, 3, 3, 1, {1, 1, 1, 1}}, {5, 4, 3, 3, 2, {1, 1, 1, 1}},
    {4, 4, 3, 3, 2, {0, 1, 0, 1}}, /* diffusers pads so when padding is 0 */
    {3, 2, 1, 1, 1, {0, 0, 0, 0}}, {3, 5, 1, 2, 1, {0, 2, 1, 0}},
    {6, 5, 2, 2, 3, {0, 0, 0, 0}}, /* leaves columns unread */
};

static vn_node *build_conv2d(vn_graph *g, int variant) {
    const conv_case *c = &conv_cases[variant];
    vn_node *x = f32(g, VN_SHAPE(2, c->h, c->w, 2)), *w = f32(g, VN_SHAPE(c->kh, c->kw, 2, 3));
    bool bias = variant % 2;
    return vn_conv2d(g, x, w, bias ? f32(g, VN_SHAPE(3)) : NULL, bias, c->stride, c->pad);
}

/* With each of what may follow a product, and without. */
static vn_node *build_linear_plus(vn_graph *g, int variant) {
    const bool bias = variant & 1, times = variant & 2, plus = variant & 4;
    const int64_t from = variant / 2 % 2;
    vn_node n = vn_draft(VN_OP_LINEAR_PLUS, 2, f32(g, VN_SHAPE(2, 4, 3)),
                         f32(g, VN_SHAPE(5, 3 + 2 * from)));
    n.attr.linear.act = variant % 3 ? VN_FN_SILU : VN_FN_IDENTITY;
    n.attr.linear.bias = bias;
    n.attr.linear.part = from;
    n.attr.linear.from = from;
    n.attr.linear.times = times;
    n.attr.linear.plus = plus;
    if (bias) n.in[n.inputs++] = f32(g, VN_SHAPE(5));
    if (times) n.in[n.inputs++] = f32(g, variant & 1 ? VN_SHAPE(2, 1, 5) : VN_SHAPE(2, 4, 5));
    if (plus) n.in[n.inputs++] = f32(g, VN_SHAPE(2, 4, 5));
    return vn_graph_add(g, &n);
}

static vn_node *build_conv2d_plus(vn_graph *g, int variant) {
    vn_node n =
        vn_draft(VN_OP_CONV2D_PLUS, 2, f32(g, VN_SHAPE(2, 3, 2, 2)), f32(g, VN_SHAPE(3, 3, 2, 3)));
    const int up = 1 + variant / 4;
    n.attr.conv.stride = 1;
    for (int i = 0; i < 4; i++) n.attr.conv.pad[i] = 1;
    n.attr.conv.up = up;
    n.attr.conv.bias = variant & 1;
    n.attr.conv.plus = variant & 2;
    if (variant & 1) n.in[n.inputs++] = f32(g, VN_SHAPE(3));
    if (variant & 2) n.in[n.inputs++] = f32(g, VN_SHAPE(2, 3 * up, 2 * up, 3));
    return vn_graph_add(g, &n);
}

static vn_node *build_conv2d_grad(vn_graph *g, int variant, bool of_w) {
    const conv_case *c = &conv_cases[variant];
    vn_attr attr = {
        .conv = {.stride = c->stride, .pad = {c->pad[0], c->pad[1], c->pad[2], c->pad[3]}}};
    vn_shape x = VN_SHAPE(2, c->h, c->w, 2), w = VN_SHAPE(c->kh, c->kw, 2, 3);
    vn_shape y = VN_SHAPE(2, (c->h + c->pad[0] + c->pad[1] - c->kh) / c->stride + 1,
                          (c->w + c->pad[2] + c->pad[3] - c->kw) / c->stride + 1, 3);
    vn_node *dy = f32(g, y);
    return of_w ? vn_conv2d_grad_w(g, f32(g, x), dy, &attr, w)
                : vn_conv2d_grad_x(g, dy, f32(g, w), &attr, x);
}

static vn_node *build_conv2d_grad_x(vn_graph *g, int variant) {
    return build_conv2d_grad(g, variant, false);
}

static vn_node *build_conv2d_grad_w(vn_graph *g, int variant) {
    return build_conv2d_grad(g, variant, true);
}

static vn_node *build_resample(vn_graph *g, int variant) {
    static const float fir[4] = {0.125F, 0.375F, 0.25F, 0.5F};
    vn_node *x = f32(g, VN_SHAPE(2, 5, 4, 3));
    if (variant == 0) return vn_upsample_nearest(g, x, 2);
    if (variant == 1) return vn_avg_pool(g, x, 2);
    if (variant == 2) return vn_resample(g, x, 2, 1, 4, fir, (int[2]){1, 2}, 10, 8);
    return vn_resample(g, x, 1, 2, 4, fir, (int[2]){2, 1}, 2, 2);
}

/* ---- norms ----------------------------------------------------------------------------------- */

static vn_node *norm_input(vn_graph *g, int variant) {
    return f32(g, variant & 1 ? VN_SHAPE(2, 3, 2, 4) : VN_SHAPE(6, 4));
}

static vn_node *norm_stats(vn_graph *g, vn_node *x, int variant) {
    vn_node n = vn_draft(VN_OP_NORM_STATS, 1, x);
    n.attr.norm.groups = variant & 1 ? 2 : 1;
    n.attr.norm.eps = 1e-3;
    return vn_graph_add(g, &n);
}

static vn_node *build_norm_stats(vn_graph *g, int variant) {
    return norm_stats(g, norm_input(g, variant), variant);
}

/* Bits of a variant: 1 images in two groups (else rows in one), 2 affine, 4 silu, 8 an affine map
 * for each half of the samples. */
static vn_shape norm_affine(int variant) {
    return variant & 8 ? VN_SHAPE(2, 4) : VN_SHAPE(4);
}

static vn_node *build_norm(vn_graph *g, int variant) {
    vn_node *x = norm_input(g, variant);
    bool affine = variant & 2;
    vn_node *gamma = affine ? f32(g, norm_affine(variant)) : NULL,
            *beta = affine ? f32(g, norm_affine(variant)) : NULL;
    return vn_norm(g, x, gamma, beta, affine, variant & 1 ? 2 : 1, 1e-3,
                   variant & 4 ? VN_FN_SILU : VN_FN_IDENTITY);
}

static vn_node *build_norm_grad(vn_graph *g, int variant, vn_op op) {
    vn_node *x = norm_input(g, variant), *stats = norm_stats(g, x, variant), *dy = f32(g, x->shape);
    vn_node *gamma = f32(g, norm_affine(variant));
    vn_node n =
        vn_draft(op, variant & 2 ? 5 : 3, x, stats, dy, gamma, f32(g, norm_affine(variant)));
    n.attr = stats->attr;
    n.attr.norm.act = variant & 4 ? VN_FN_SILU : VN_FN_IDENTITY;
    return vn_graph_add(g, &n);
}

static vn_node *build_norm_grad_x(vn_graph *g, int variant) {
    return build_norm_grad(g, variant, VN_OP_NORM_GRAD_X);
}

static vn_node *build_norm_grad_affine(vn_graph *g, int variant) {
    return build_norm_grad(g, variant | 2, VN_OP_NORM_GRAD_AFFINE);
}

/* ---- heads ----------------------------------------------------------------------------------- */

static vn_node *build_rms_norm(vn_graph *g, int variant) {
    vn_node *x = f32(g, variant & 1 ? VN_SHAPE(5) : VN_SHAPE(2, 3, 4));
    vn_node *gamma = variant & 2 ? f32(g, VN_SHAPE(x->shape.dim[x->shape.rank - 1])) : NULL;
    return vn_rms(g, x, gamma, gamma != NULL, 1e-3);
}

static vn_node *build_rotate(vn_graph *g, int variant) {
    vn_node *x = f32(g, VN_SHAPE(2, 3, 2, 6));
    const vn_shape angle = variant & 2 ? x->shape : VN_SHAPE(1, 3, 1, 6);
    vn_node *cosine = f32(g, angle);
    return vn_rotate(g, x, cosine, f32(g, angle), variant & 1);
}

/* ---- softmax, lookup, attention -------------------------------------------------------------- */

static vn_node *build_softmax(vn_graph *g, int variant) {
    return vn_softmax(g, f32(g, variant ? VN_SHAPE(5) : VN_SHAPE(2, 2, 3)));
}

static vn_node *build_softmax_grad(vn_graph *g, int variant) {
    (void)variant;
    vn_node *y = f32(g, VN_SHAPE(3, 4));
    vn_node n = vn_draft(VN_OP_SOFTMAX_GRAD, 2, y, f32(g, VN_SHAPE(3, 4)));
    return vn_graph_add(g, &n);
}

static vn_node *build_entmax_root(vn_graph *g, int variant) {
    vn_node n = vn_draft(VN_OP_ENTMAX_ROOT, 1, f32(g, variant ? VN_SHAPE(7) : VN_SHAPE(2, 2, 3)));
    return vn_graph_add(g, &n);
}

static vn_node *build_cross_entropy(vn_graph *g, int variant) {
    (void)variant;
    return vn_cross_entropy(g, f32(g, VN_SHAPE(4, 3)), i32(g, VN_SHAPE(4)));
}

static vn_node *build_cross_entropy_grad(vn_graph *g, int variant) {
    (void)variant;
    vn_node *logits = f32(g, VN_SHAPE(4, 3)), *labels = i32(g, VN_SHAPE(4));
    vn_node n = vn_draft(VN_OP_CROSS_ENTROPY_GRAD, 3, logits, labels, f32(g, VN_SHAPE(4)));
    return vn_graph_add(g, &n);
}

static vn_node *build_one_hot(vn_graph *g, int variant) {
    (void)variant;
    return vn_one_hot(g, i32(g, VN_SHAPE(2, 3)), 4);
}

static vn_node *build_embedding(vn_graph *g, int variant) {
    (void)variant;
    vn_node *table = f32(g, VN_SHAPE(3, 4));
    return vn_embedding(g, table, i32(g, VN_SHAPE(2, 3)));
}

static vn_node *build_nearest(vn_graph *g, int variant) {
    vn_node *x = f32(g, variant ? VN_SHAPE(3) : VN_SHAPE(2, 2, 3));
    return vn_nearest_row(g, x, f32(g, VN_SHAPE(5, 3)));
}

static vn_node *build_embedding_grad(vn_graph *g, int variant) {
    (void)variant;
    vn_node n = vn_draft(VN_OP_EMBEDDING_GRAD, 2, i32(g, VN_SHAPE(5)), f32(g, VN_SHAPE(5, 2)));
    n.shape = VN_SHAPE(4, 2);
    return vn_graph_add(g, &n);
}

/* Grouped queries, a bias of every kind, causal, and all of it. */
typedef struct attention_case {
    int heads, key_heads;
    bool causal;
    vn_shape bias; /* rank 0: none */
} attention_case;

static const attention_case attention_cases[] = {
    {1, 0, false, {0}},
    {2, 0, false, {0}},
    {2, 0, false, {0}},
    {2, 1, false, {0}},
    {2, 0, true, {0}},
    {2, 0, false, {4, {2, 2, 3, 5}}},
    {1, 0, false, {4, {2, 1, 1, 5}}},
    {4, 2, true, {4, {1, 4, 3, 5}}},
    {2, 0, false, {4, {1, 1, 3, 5}}},
};

static vn_attention_options attention_options(const attention_case *c, vn_node *bias) {
    return (vn_attention_options){c->heads, c->key_heads, 0.7, c->causal, c->bias.rank > 0, bias};
}

static vn_node *build_attention(vn_graph *g, int variant) {
    const attention_case *c = &attention_cases[variant];
    const int64_t channels = c->key_heads ? 4 * c->key_heads / c->heads : 4;
    vn_node *q = f32(g, VN_SHAPE(2, 3, 4)), *k = f32(g, VN_SHAPE(2, 5, channels)),
            *v = f32(g, k->shape);
    const vn_attention_options o = attention_options(c, c->bias.rank ? f32(g, c->bias) : NULL);
    return vn_attention_of(g, q, k, variant == 2 ? k : v, &o);
}

static vn_node *build_attention_grad(vn_graph *g, int variant) {
    const attention_case *c = &attention_cases[variant];
    const int64_t channels = c->key_heads ? 4 * c->key_heads / c->heads : 4;
    vn_node *q = f32(g, VN_SHAPE(2, 3, 4)), *k = f32(g, VN_SHAPE(2, 5, channels)),
            *v = f32(g, k->shape);
    vn_node *dy = f32(g, q->shape);
    vn_node n = vn_draft(VN_OP_ATTENTION_GRAD, 4, q, k, v, dy);
    if (c->bias.rank) n = vn_draft(VN_OP_ATTENTION_GRAD, 5, q, k, v, dy, f32(g, c->bias));
    n.attr.attention.heads = c->heads;
    n.attr.attention.key_heads = c->key_heads;
    n.attr.attention.causal = c->causal;
    n.attr.attention.scale = 0.7;
    return vn_graph_add(g, &n);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define CONVS ((int)VN_COUNT(conv_cases))

/* clang-format off */
const op_case op_cases[] = {
    {VN_OP_INPUT, build_input, 1},
    {VN_OP_PARAM, build_param, 1},
    {VN_OP_CONST, build_const, 1},
    {VN_OP_FILL, build_fill, 1},
    {VN_OP_VIEW, build_view, 2},
    {VN_OP_PERMUTE, build_permute, 3},
    {VN_OP_CONCAT, build_concat, 2},
    {VN_OP_SLICE, build_slice, 3},
    {VN_OP_PLACE, build_place, 2},
    {VN_OP_BROADCAST, build_broadcast, 3},
    {VN_OP_SUM_TO, build_sum_to, 8},
    {VN_OP_ADD, build_add, 4},
    {VN_OP_SUB, build_sub, 4},
    {VN_OP_MUL, build_mul, 4},
    {VN_OP_DIV, build_div, 4},
    {VN_OP_MUL_ADD, build_mul_add, 4},
    {VN_OP_CAST, build_cast, 3},
    {VN_OP_AFFINE, build_affine, 1},
    {VN_OP_UNARY, build_unary, 3 * VN_FN_COUNT},
    {VN_OP_UNARY_GRAD, build_unary_grad, VN_FN_COUNT},
    {VN_OP_MATMUL, build_matmul, 12},
    {VN_OP_LINEAR, build_linear, 8},
    {VN_OP_CONV2D, build_conv2d, CONVS},
    {VN_OP_CONV2D_GRAD_X, build_conv2d_grad_x, CONVS},
    {VN_OP_CONV2D_GRAD_W, build_conv2d_grad_w, CONVS},
    {VN_OP_NORM_STATS, build_norm_stats, 2},
    {VN_OP_NORM, build_norm, 16},
    {VN_OP_NORM_GRAD_X, build_norm_grad_x, 16},
    {VN_OP_NORM_GRAD_AFFINE, build_norm_grad_affine, 16},
    {VN_OP_SOFTMAX, build_softmax, 2},
    {VN_OP_SOFTMAX_GRAD, build_softmax_grad, 1},
    {VN_OP_CROSS_ENTROPY, build_cross_entropy, 1},
    {VN_OP_CROSS_ENTROPY_GRAD, build_cross_entropy_grad, 1},
    {VN_OP_ONE_HOT, build_one_hot, 1},
    {VN_OP_EMBEDDING, build_embedding, 1},
    {VN_OP_EMBEDDING_GRAD, build_embedding_grad, 1},
    {VN_OP_ATTENTION, build_attention, (int)VN_COUNT(attention_cases)},
    {VN_OP_ATTENTION_GRAD, build_attention_grad, (int)VN_COUNT(attention_cases)},
    {VN_OP_RESAMPLE, build_resample, 4},
    {VN_OP_DROPOUT, build_dropout, 2},
    {VN_OP_ENTMAX_ROOT, build_entmax_root, 2},
    {VN_OP_NEAREST, build_nearest, 2},
    {VN_OP_RMS_NORM, build_rms_norm, 4},
    {VN_OP_ROTATE, build_rotate, 4},
    {VN_OP_CONV2D_PLUS, build_conv2d_plus, 8},
    {VN_OP_LINEAR_PLUS, build_linear_plus, 8},
};
/* clang-format on */
const size_t op_case_count = VN_COUNT(op_cases);

int op_case_smoothness(const op_case *c, int variant) {
    if (c->op == VN_OP_NEAREST) return 0; /* whole numbers */
    bool derivative =
        c->op == VN_OP_UNARY_GRAD || c->op == VN_OP_NORM_GRAD_X || c->op == VN_OP_NORM_GRAD_AFFINE;
    return c->op == VN_OP_UNARY ? 2 - variant % 3 : derivative ? 1 : 2;
}

stencil stencil_of(const double v[6]) {
    const double h = STENCIL_STEP, one = 8 * (v[0] - v[1]) - (v[2] - v[3]),
                 two = 8 * (v[2] - v[3]) - (v[4] - v[5]), slope = one / (12 * h);
    const double rounded = 256 * 0x1p-53 / h * (1 + fabs(v[0]) + fabs(slope));
    return (stencil){slope, rounded + fabs(slope - two / (24 * h))};
}

void fill_input(const vn_node *n, double *value, bool positive, uint64_t seed) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
        double u = vn_random_double(test_seed(seed), VN_STREAM_TEST, (uint64_t)n->id, (uint64_t)i);
        double size = 0.3 + 1.2 * (2 * u < 1 ? 2 * u : 2 * u - 1);
        value[i] = n->dtype == VN_I32 ? floor(4 * u) - 1 : u < 0.5 && !positive ? -size : size;
    }
}

void fill_inputs(ref_graph *r, bool positive, uint64_t seed) {
    for (int id = 0; id < r->size; id++) {
        const vn_node *n = vn_graph_node(r->graph, id);
        if (n->op != VN_OP_INPUT) continue;
        fill_input(n, r->value[id], positive, seed);
        r->set[id] = true;
    }
}
