/* ops.c - the op table: one row an op, in the order of VN_OPS. Adding an op is a line in VN_OPS,
 * its rules in a family's file and a row here; backends and tests fail to build or run until they
 * have it too.
 *
 * Costs count multiply-adds as two operations and each array once; the cost of a function of one
 * variable is a round figure.
 */
#include "tensor/internal.h"

/* ---- costs ----------------------------------------------------------------------------------- */

static double count(const vn_node *n) {
    return (double)vn_shape_count(&n->shape);
}

static double size(const vn_node *n) {
    return (double)vn_dtype_size(n->dtype) * count(n);
}

static double bytes(const vn_node *n) {
    double sum = size(n);
    for (int i = 0; i < n->inputs; i++) sum += size(n->in[i]);
    return sum;
}

static vn_cost cost_none(const vn_node *n) {
    (void)n;
    return (vn_cost){0, 0};
}

/* Moved once in, once out. */
static vn_cost cost_move(const vn_node *n) {
    return (vn_cost){0, 2 * size(n)};
}

static vn_cost cost_cast(const vn_node *n) {
    return (vn_cost){0, bytes(n)};
}

static vn_cost cost_one(const vn_node *n) {
    return (vn_cost){count(n), bytes(n)};
}

static vn_cost cost_mul_add(const vn_node *n) {
    return (vn_cost){2 * count(n), bytes(n)};
}

static vn_cost cost_sum(const vn_node *n) {
    return (vn_cost){n->inputs * count(n->in[0]), bytes(n)};
}

static vn_cost cost_function(const vn_node *n) {
    return (vn_cost){10 * count(n), bytes(n)};
}

/* Some ten rounds of Newton's rule, each a difference, two sums and a square. */
static vn_cost cost_entmax_root(const vn_node *n) {
    return (vn_cost){50 * count(n), bytes(n)};
}

static vn_cost cost_matmul(const vn_node *n) {
    const vn_shape *a = &n->in[0]->shape;
    double inner = (double)a->dim[a->rank - (n->attr.matmul.ta ? 2 : 1)];
    return (vn_cost){2 * count(n) * inner, bytes(n)};
}

static vn_cost cost_linear(const vn_node *n) {
    const double act = n->attr.linear.act == VN_FN_IDENTITY ? 0 : 10;
    return (vn_cost){count(n) * (2 * (double)vn_shape_last(&n->in[0]->shape) + act), bytes(n)};
}

static vn_cost cost_linear_plus(const vn_node *n) {
    const double ends = n->attr.linear.times + n->attr.linear.plus;
    return (vn_cost){cost_linear(n).flops + ends * count(n), bytes(n)};
}

/* All three convolutions: each position of y meets each weight once. */
static double conv_flops(const vn_node *w, const vn_node *y) {
    return 2 * count(y) / (double)vn_shape_last(&y->shape) * count(w);
}

static vn_cost cost_conv2d(const vn_node *n) {
    return (vn_cost){conv_flops(n->in[1], n), bytes(n)};
}

static vn_cost cost_conv2d_plus(const vn_node *n) {
    return (vn_cost){conv_flops(n->in[1], n) + (n->attr.conv.plus ? count(n) : 0), bytes(n)};
}

static vn_cost cost_conv2d_grad_x(const vn_node *n) {
    return (vn_cost){conv_flops(n->in[1], n->in[0]), bytes(n)};
}

static vn_cost cost_conv2d_grad_w(const vn_node *n) {
    return (vn_cost){conv_flops(n, n->in[1]), bytes(n)};
}

static vn_cost cost_norm(const vn_node *n) {
    return (vn_cost){10 * count(n->in[0]), bytes(n)};
}

static vn_cost cost_rms_norm(const vn_node *n) {
    return (vn_cost){4 * count(n), bytes(n)};
}

static vn_cost cost_rotate(const vn_node *n) {
    return (vn_cost){3 * count(n), bytes(n)};
}

/* Keys that a query sees, on average. */
static double keys_seen(const vn_node *n) {
    const double queries = (double)n->in[0]->shape.dim[1], keys = (double)n->in[1]->shape.dim[1];
    return n->attr.attention.causal ? keys - (queries - 1) / 2 : keys;
}

/* Two products forward, five backward (one of them the scores again). */
static vn_cost cost_attention(const vn_node *n) {
    return (vn_cost){2 * 2 * count(n->in[0]) * keys_seen(n), bytes(n)};
}

static vn_cost cost_attention_grad(const vn_node *n) {
    return (vn_cost){5 * 2 * count(n->in[0]) * keys_seen(n), bytes(n)};
}

static vn_cost cost_resample(const vn_node *n) {
    double taps = n->attr.resample.taps / (double)n->attr.resample.up;
    return (vn_cost){2 * taps * taps * count(n), bytes(n)};
}

static vn_cost cost_embedding(const vn_node *n) {
    return (vn_cost){0, 2 * size(n->op == VN_OP_EMBEDDING ? n : n->in[1])};
}

/* A difference, its square and a sum for each row of the table. */
static vn_cost cost_nearest(const vn_node *n) {
    return (vn_cost){3 * count(n->in[0]) * (double)n->in[1]->shape.dim[0], bytes(n)};
}

/* ---- the table ------------------------------------------------------------------------------- */

enum {
    FIRST = 1,
    SECOND = 2,
    THIRD = 4,
    FOURTH = 8,
    FIFTH = 16
}; /* inputs that the output may overwrite */

/* clang-format off */
#define ROWS(ROW)                                                                           \
    /* op, shape rule, gradient, expansion, cost, inputs that may be overwritten */         \
    ROW(INPUT, leaf, NULL, NULL, none, 0)                                                   \
    ROW(PARAM, leaf, NULL, NULL, none, 0)                                                   \
    ROW(CONST, leaf, NULL, NULL, none, 0)                                                   \
    ROW(FILL, leaf, NULL, NULL, one, 0)                                                     \
    ROW(VIEW, view, vn_gradient_view, NULL, none, 0)                                        \
    ROW(PERMUTE, permute, vn_gradient_permute, NULL, move, 0)                               \
    ROW(CONCAT, concat, vn_gradient_concat, NULL, move, 0)                                  \
    ROW(SLICE, slice, vn_gradient_slice, NULL, move, 0)                                     \
    ROW(PLACE, place, vn_gradient_place, NULL, move, 0)                                     \
    ROW(BROADCAST, broadcast_to, vn_gradient_broadcast, NULL, move, 0)                      \
    ROW(SUM_TO, sum_to, vn_gradient_sum_to, NULL, sum, 0)                                   \
    ROW(ADD, binary, vn_gradient_add, NULL, one, FIRST | SECOND)                            \
    ROW(SUB, binary, vn_gradient_sub, NULL, one, FIRST | SECOND)                            \
    ROW(MUL, binary, vn_gradient_mul, NULL, one, FIRST | SECOND)                            \
    ROW(DIV, binary, vn_gradient_div, NULL, one, FIRST | SECOND)                            \
    ROW(MUL_ADD, mul_add, vn_gradient_mul_add, vn_expand_mul_add, mul_add, FIRST | THIRD)   \
    ROW(CAST, cast, vn_gradient_cast, NULL, cast, 0)                                        \
    ROW(AFFINE, same, vn_gradient_affine, NULL, one, FIRST)                                 \
    ROW(UNARY, unary, vn_gradient_unary, NULL, function, FIRST)                             \
    ROW(UNARY_GRAD, unary_grad, vn_gradient_unary_grad,                                     \
        vn_expand_unary_grad, function, FIRST | SECOND)                                     \
    ROW(MATMUL, matmul, vn_gradient_matmul, NULL, matmul, 0)                                \
    ROW(LINEAR, linear, vn_gradient_linear, vn_expand_linear, linear, 0)                    \
    ROW(CONV2D, conv2d, vn_gradient_conv2d, NULL, conv2d, 0)                                \
    ROW(CONV2D_GRAD_X, conv2d_grad_x, vn_gradient_conv2d_grad_x, NULL, conv2d_grad_x, 0)    \
    ROW(CONV2D_GRAD_W, conv2d_grad_w, vn_gradient_conv2d_grad_w, NULL, conv2d_grad_w, 0)    \
    ROW(NORM_STATS, norm_stats, NULL, vn_expand_norm_stats, norm, 0)                        \
    ROW(NORM, norm, vn_gradient_norm, vn_expand_norm, norm, FIRST)                          \
    ROW(NORM_GRAD_X, norm_grad_x, NULL, vn_expand_norm_grad_x, norm, THIRD)                 \
    ROW(NORM_GRAD_AFFINE, norm_grad_affine, NULL, vn_expand_norm_grad_affine, norm, 0)      \
    ROW(SOFTMAX, softmax, vn_gradient_softmax, NULL, function, FIRST)                       \
    ROW(SOFTMAX_GRAD, softmax_grad, NULL, vn_expand_softmax_grad, function, FIRST | SECOND) \
    ROW(CROSS_ENTROPY, cross_entropy, vn_gradient_cross_entropy, NULL, sum, 0)              \
    ROW(CROSS_ENTROPY_GRAD, cross_entropy_grad, NULL,                                       \
        vn_expand_cross_entropy_grad, function, FIRST)                                      \
    ROW(ONE_HOT, one_hot, NULL, NULL, move, 0)                                              \
    ROW(EMBEDDING, embedding, vn_gradient_embedding, NULL, embedding, 0)                    \
    ROW(EMBEDDING_GRAD, embedding_grad, vn_gradient_embedding_grad, NULL, embedding, 0)     \
    ROW(ATTENTION, attention, vn_gradient_attention, vn_expand_attention, attention, 0)     \
    ROW(ATTENTION_GRAD, attention_grad, NULL, vn_expand_attention_grad, attention_grad, 0)  \
    ROW(RESAMPLE, resample, vn_gradient_resample, NULL, resample, 0)                        \
    ROW(DROPOUT, dropout, vn_gradient_dropout, NULL, function, FIRST)                       \
    ROW(ENTMAX_ROOT, softmax, vn_gradient_entmax_root, NULL, entmax_root, FIRST)            \
    ROW(NEAREST, nearest, NULL, NULL, nearest, 0)                                           \
    ROW(RMS_NORM, rms_norm, NULL, vn_expand_rms_norm, rms_norm, FIRST)                      \
    ROW(ROTATE, rotate, vn_gradient_rotate, NULL, rotate, FIRST)                            \
    ROW(CONV2D_PLUS, conv2d_plus, NULL, vn_expand_conv2d_plus, conv2d_plus, THIRD | FOURTH) \
    ROW(LINEAR_PLUS, linear_plus, NULL, vn_expand_linear_plus,                              \
        linear_plus, THIRD | FOURTH | FIFTH)
/* clang-format on */

enum {
#define POSITION(id, shape, gradient, expand, cost, in_place) ROW_##id,
    ROWS(POSITION)
#undef POSITION
        ROW_COUNT
};
_Static_assert((int)ROW_COUNT == (int)VN_OP_COUNT, "each op of VN_OPS has one row");
#define LOCK(id, name)                                                                             \
    _Static_assert((int)ROW_##id == (int)VN_OP_##id, "the row of " name " is out of order");
VN_OPS(LOCK)
#undef LOCK

#define NAME(id, name) static const char name_##id[] = name;
VN_OPS(NAME)
#undef NAME

static const vn_op_row rows[VN_OP_COUNT] = {
#define ROW(id, shape, gradient, expand, cost, in_place)                                           \
    {name_##id, vn_shape_##shape, gradient, expand, cost_##cost, in_place},
    ROWS(ROW)
#undef ROW
};

const vn_op_row *vn_op_get(vn_op op) {
    return &rows[op];
}

vn_cost vn_node_cost(const vn_node *n) {
    return rows[n->op].cost(n);
}
