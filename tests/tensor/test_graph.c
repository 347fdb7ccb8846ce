/* test_graph.c - building: what every builder refuses and how it says so, errors that stick, equal
 * requests, folded fills, labels, the op table's rows, and shapes from hostile files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/support_cases.h"
#include "tensor/support_program.h"

static vn_node *f32(vn_graph *g, vn_shape shape) {
    return vn_input(g, VN_F32, shape);
}

static vn_node *i32(vn_graph *g, vn_shape shape) {
    return vn_input(g, VN_I32, shape);
}

/* ---- refused requests ------------------------------------------------------------------------ */

static vn_node *wrong_shape(vn_graph *g) {
    return f32(g, VN_SHAPE(2, -1));
}

static vn_node *wrong_count(vn_graph *g) {
    return vn_fill(g, VN_SHAPE(INT64_C(1) << 32, INT64_C(1) << 31), 0);
}

static vn_node *wrong_rank(vn_graph *g) {
    return f32(g, VN_SHAPE(1, 1, 1, 1, 1, 1, 1, 1));
}

static vn_node *wrong_reshape(vn_graph *g) {
    return vn_reshape(g, f32(g, VN_SHAPE(2, 3)), VN_SHAPE(4, -1));
}

static vn_node *wrong_view(vn_graph *g) {
    return vn_view(g, f32(g, VN_SHAPE(6)), 3, VN_SHAPE(2, 2));
}

static vn_node *wrong_permute(vn_graph *g) {
    return vn_permute(g, f32(g, VN_SHAPE(2, 3)), (int[2]){1, 1});
}

static vn_node *wrong_concat(vn_graph *g) {
    vn_node *part[2] = {f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(3, 3))};
    return vn_concat(g, 1, 2, part);
}

static vn_node *wrong_concat_count(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(1)), *part[7] = {x, x, x, x, x, x, x};
    return vn_concat(g, 0, 7, part);
}

static vn_node *wrong_slice(vn_graph *g) {
    return vn_slice(g, f32(g, VN_SHAPE(2, 3)), -1, 2, 2);
}

static vn_node *wrong_slice_axis(vn_graph *g) {
    return vn_slice(g, f32(g, VN_SHAPE(2, 3)), 2, 0, 1);
}

static vn_node *wrong_place(vn_graph *g) {
    return vn_place(g, f32(g, VN_SHAPE(2, 3)), 1, 1, 3);
}

static vn_node *wrong_broadcast(vn_graph *g) {
    return vn_broadcast(g, f32(g, VN_SHAPE(2)), VN_SHAPE(2, 3));
}

static vn_node *wrong_sum_to(vn_graph *g) {
    return vn_sum_to(g, f32(g, VN_SHAPE(2, 3)), VN_SHAPE(2));
}

static vn_node *wrong_add(vn_graph *g) {
    return vn_add(g, f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(2)));
}

static vn_node *wrong_type(vn_graph *g) {
    return vn_mul(g, f32(g, VN_SHAPE(2)), i32(g, VN_SHAPE(2)));
}

static vn_node *wrong_dropout(vn_graph *g) {
    return vn_dropout(g, f32(g, VN_SHAPE(2)), 1);
}

static vn_node *wrong_matmul(vn_graph *g) {
    return vn_matmul(g, f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(2, 3)), false, false);
}

static vn_node *wrong_matmul_batch(vn_graph *g) {
    return vn_matmul(g, f32(g, VN_SHAPE(2, 3, 4)), f32(g, VN_SHAPE(3, 4, 3)), false, false);
}

static vn_node *wrong_linear(vn_graph *g) {
    return vn_linear(g, f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(5, 4)), NULL, false);
}

static vn_node *wrong_bias(vn_graph *g) {
    return vn_linear(g, f32(g, VN_SHAPE(2, 3)), f32(g, VN_SHAPE(5, 3)), f32(g, VN_SHAPE(3)), true);
}

static vn_node *wrong_conv(vn_graph *g) {
    return vn_conv2d(g, f32(g, VN_SHAPE(2, 4, 4, 3)), f32(g, VN_SHAPE(3, 3, 4, 5)), NULL, false, 1,
                     (int[4]){0});
}

static vn_node *wrong_kernel(vn_graph *g) {
    return vn_conv2d(g, f32(g, VN_SHAPE(2, 2, 2, 3)), f32(g, VN_SHAPE(3, 3, 3, 5)), NULL, false, 1,
                     (int[4]){0});
}

static vn_node *wrong_stride(vn_graph *g) {
    return vn_conv2d(g, f32(g, VN_SHAPE(2, 4, 4, 3)), f32(g, VN_SHAPE(3, 3, 3, 5)), NULL, false, 0,
                     (int[4]){0});
}

static vn_node *wrong_resample(vn_graph *g) {
    return vn_upsample_nearest(g, f32(g, VN_SHAPE(2, 3)), 2);
}

static vn_node *wrong_groups(vn_graph *g) {
    return vn_norm(g, f32(g, VN_SHAPE(2, 5)), NULL, NULL, false, 2, 1e-5, VN_FN_IDENTITY);
}

static vn_node *wrong_gamma(vn_graph *g) {
    return vn_norm(g, f32(g, VN_SHAPE(2, 4)), f32(g, VN_SHAPE(4)), f32(g, VN_SHAPE(2)), true, 2,
                   1e-5, VN_FN_SILU);
}

static vn_node *wrong_gamma_width(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 4)), *gamma = f32(g, VN_SHAPE(2));
    return vn_norm(g, x, gamma, gamma, true, 2, 1e-5, VN_FN_IDENTITY);
}

static vn_node *wrong_gamma_rows(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(4, 4)), *gamma = f32(g, VN_SHAPE(3, 4));
    return vn_norm(g, x, gamma, gamma, true, 2, 1e-5, VN_FN_IDENTITY);
}

static vn_node *wrong_factor(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 4));
    return vn_mul_add(g, x, f32(g, VN_SHAPE(3)), x);
}

static vn_node *wrong_sum(vn_graph *g) {
    return vn_mul_add(g, f32(g, VN_SHAPE(2, 4)), f32(g, VN_SHAPE(4)), f32(g, VN_SHAPE(4)));
}

static vn_node *wrong_labels(vn_graph *g) {
    return vn_cross_entropy(g, f32(g, VN_SHAPE(2, 4)), i32(g, VN_SHAPE(3)));
}

static vn_node *wrong_index(vn_graph *g) {
    return vn_embedding(g, f32(g, VN_SHAPE(2, 4)), f32(g, VN_SHAPE(3)));
}

static vn_node *wrong_heads(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 3, 4));
    return vn_attention(g, x, x, x, 3, 1);
}

static vn_node *wrong_values(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 3, 4));
    return vn_attention(g, x, x, f32(g, VN_SHAPE(2, 2, 4)), 2, 1);
}

static vn_node *wrong_key_heads(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 3, 6));
    return vn_attention_of(g, x, x, x,
                           &(vn_attention_options){.heads = 3, .key_heads = 2, .scale = 1});
}

static vn_node *wrong_mask(vn_graph *g) {
    vn_node *x = f32(g, VN_SHAPE(2, 3, 4)), *bias = f32(g, VN_SHAPE(2, 1, 3, 1));
    return vn_attention_of(
        g, x, x, x,
        &(vn_attention_options){.heads = 2, .scale = 1, .has_bias = true, .bias = bias});
}

static vn_node *wrong_causal(vn_graph *g) {
    vn_node *q = f32(g, VN_SHAPE(2, 3, 4)), *k = f32(g, VN_SHAPE(2, 2, 4));
    return vn_attention_of(g, q, k, k,
                           &(vn_attention_options){.heads = 2, .scale = 1, .causal = true});
}

static vn_node *wrong_cast(vn_graph *g) {
    return vn_cast(g, vn_input(g, VN_F16, VN_SHAPE(2)), VN_BF16);
}

static vn_node *wrong_cast_type(vn_graph *g) {
    return vn_cast(g, vn_input(g, VN_U8, VN_SHAPE(2)), VN_F32);
}

static vn_node *missing(vn_graph *g) {
    return vn_add(g, f32(g, VN_SHAPE(2)), NULL);
}

static const struct refusal {
    vn_node *(*build)(vn_graph *g);
    const char *text;
} refusals[] = {
    {wrong_shape, "here: input: such a shape cannot be (inputs none; output [2,-1])"},
    {wrong_count,
     "here: fill: such a shape cannot be (inputs none; output [4294967296,2147483648])"},
    {wrong_rank, "here: input: such a shape cannot be (inputs none; output [1,1,1,1,1,1])"},
    {wrong_reshape, "here: reshape: 6 elements do not fit the new shape"},
    {wrong_view, "here: view: the view is larger than what it looks at (inputs [6]; output [2,2])"},
    {wrong_permute, "here: permute: not a permutation of the axes (inputs [2,3])"},
    {wrong_concat, "here: concat: the other axes differ (inputs [2,3] [3,3])"},
    {wrong_concat_count, "here: concat: takes 1 to 6 arrays, not 7"},
    {wrong_slice, "here: slice: out of range (inputs [2,3]; output [2,2])"},
    {wrong_slice_axis, "here: slice: no such axis (inputs [2,3])"},
    {wrong_place, "here: place: out of range (inputs [2,3]; output [2,3])"},
    {wrong_broadcast, "here: broadcast: the shapes do not broadcast (inputs [2]; output [2,3])"},
    {wrong_sum_to, "here: sum_to: the shapes do not broadcast (inputs [2,3]; output [2])"},
    {wrong_add, "here: add: the shapes do not broadcast (inputs [2,3] [2])"},
    {wrong_type, "here: mul: takes floats (inputs [2] [2])"},
    {wrong_dropout, "here: dropout: p is not in [0,1) (inputs [2])"},
    {wrong_matmul, "here: matmul: the inner axes differ (inputs [2,3] [2,3])"},
    {wrong_matmul_batch, "here: matmul: the leading axes differ (inputs [2,3,4] [3,4,3])"},
    {wrong_linear, "here: linear: x's last axis and the weight's differ (inputs [2,3] [5,4])"},
    {wrong_bias, "here: linear: the bias is not [out] (inputs [2,3] [5,3] [3])"},
    {wrong_conv, "here: conv2d: x's channels are not the weight's (inputs [2,4,4,3] [3,3,4,5])"},
    {wrong_kernel,
     "here: conv2d: the kernel is larger than the padded image (inputs [2,2,2,3] [3,3,3,5])"},
    {wrong_stride, "here: conv2d: the stride is below 1 (inputs [2,4,4,3] [3,3,3,5])"},
    {wrong_resample, "here: upsample: factor 2 of an array of rank 2"},
    {wrong_groups, "here: norm_stats: the channels do not divide into the groups (inputs [2,5])"},
    {wrong_gamma, "here: norm: gamma and beta differ in shape (inputs [2,4] [2,2,2] [4] [2])"},
    {wrong_gamma_width,
     "here: norm: gamma is neither [C] nor [B,C] (inputs [2,4] [2,2,2] [2] [2])"},
    {wrong_gamma_rows,
     "here: norm: gamma's rows do not divide the samples (inputs [4,4] [4,2,2] [3,4] [3,4])"},
    {wrong_factor, "here: mul_add: y does not broadcast to x's shape (inputs [2,4] [3] [2,4])"},
    {wrong_sum, "here: mul_add: x and z differ in shape (inputs [2,4] [4] [4])"},
    {wrong_labels, "here: cross_entropy: the labels are not [N] (inputs [2,4] [3])"},
    {wrong_index, "here: embedding: takes a float table and an integer index (inputs [2,4] [3])"},
    {wrong_heads,
     "here: attention: the channels do not divide into the heads (inputs [2,3,4] [2,3,4] [2,3,4])"},
    {wrong_values, "here: attention: k and v differ in shape (inputs [2,3,4] [2,3,4] [2,2,4])"},
    {wrong_key_heads, "here: attention: the heads do not divide among those of the keys (inputs "
                      "[2,3,6] [2,3,6] [2,3,6])"},
    {wrong_mask, "here: attention: the bias does not fit the scores [B,heads,Tq,Tk] (inputs "
                 "[2,3,4] [2,3,4] [2,3,4] [2,1,3,1])"},
    {wrong_causal,
     "here: attention: causal, but with fewer keys than queries (inputs [2,3,4] [2,2,4] [2,2,4])"},
    {wrong_cast, "here: cast: gives f32, or f16 and bf16 of f32 (inputs [2])"},
    {wrong_cast_type, "here: cast: takes f16, bf16, i32 (inputs [2])"},
    {missing, "here: add: input 1 is missing"},
};

static void what_cannot_be_is_refused_in_one_line(void **state) {
    (void)state;
    for (size_t k = 0; k < VN_COUNT(refusals); k++) {
        vn_graph *g = open_graph();
        vn_err err = {0};
        vn_graph_label(g, "here");
        assert_null(refusals[k].build(g));
        assert_int_equal(vn_graph_status(g, &err), VN_BAD_ARGUMENT);
        assert_string_equal(err.text, refusals[k].text);
        vn_graph_close(&g);
    }
}

static void first_error_sticks(void **state) {
    vn_err err = {0};
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = f32(g, VN_SHAPE(2)), *out = NULL;
    assert_null(vn_graph_fail(g, VN_UNSUPPORTED, "no %s", "such"));
    int size = vn_graph_size(g);
    assert_null(vn_add(g, x, x));
    assert_null(
        vn_layer_norm(g, vn_mean(g, vn_reshape(g, NULL, VN_SHAPE(-1))), NULL, NULL, false, 1e-5));
    assert_null(vn_graph_fail(g, VN_BAD_FILE, "later"));
    assert_int_equal(vn_graph_gradient(g, x, NULL, 1, &x, &out, &err), VN_UNSUPPORTED);
    assert_string_equal(err.text, "no such");
    assert_int_equal(vn_graph_size(g), size);
    vn_graph_close(&g);
}

static void nodes_of_another_graph_are_refused(void **state) {
    vn_err err = {0};
    (void)state;
    vn_graph *g = open_graph(), *other = open_graph();
    assert_null(vn_add(g, f32(g, VN_SHAPE(2)), f32(other, VN_SHAPE(2))));
    vn_graph_status(g, &err);
    assert_string_equal(err.text, "add: input 1 is of another graph");
    vn_graph_close(&g);
    vn_graph_close(&other);
}

/* ---- what builders give ---------------------------------------------------------------------- */

static void equal_requests_give_one_node(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = f32(g, VN_SHAPE(2, 3)), *y = f32(g, VN_SHAPE(2, 3));
    assert_ptr_not_equal(x, y);
    assert_ptr_equal(vn_add(g, x, y), vn_add(g, x, y));
    assert_ptr_not_equal(vn_add(g, x, y), vn_add(g, y, x));
    assert_ptr_not_equal(vn_affine(g, x, 2, 1), vn_affine(g, x, 2, 3));
    assert_ptr_equal(vn_slice(g, x, 1, 1, 2), vn_slice(g, x, -1, 1, 2));
    assert_ptr_not_equal(vn_dropout(g, x, 0.5), vn_dropout(g, x, 0.5));
    assert_ptr_not_equal(vn_alias(g, x), vn_alias(g, x));
    for (int i = 0; i < 3000; i++) vn_affine(g, x, 1, 1 + i); /* the table grows, */
    assert_ptr_equal(vn_affine(g, x, 1, 7), vn_affine(g, x, 1, 7));
    assert_ptr_equal(vn_add(g, x, y), vn_add(g, x, y)); /* and forgets nothing */
    assert_true(vn_graph_size(g) < 3020);
    vn_graph_close(&g);
}

static void what_changes_nothing_is_not_built(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = f32(g, VN_SHAPE(2, 3)), *one = vn_fill(g, VN_SHAPE(3), 1),
            *big = vn_fill(g, VN_SHAPE(4, 2, 3), 0);
    assert_ptr_equal(vn_reshape(g, x, VN_SHAPE(2, -1)), x);
    assert_ptr_equal(vn_broadcast(g, x, x->shape), x);
    assert_ptr_equal(vn_sum_to(g, x, x->shape), x);
    assert_ptr_equal(vn_unary(g, x, VN_FN_IDENTITY), x);
    assert_ptr_equal(vn_dropout(g, x, 0), x);
    assert_ptr_equal(vn_mul(g, one, x), x);
    assert_ptr_equal(vn_add(g, x, vn_affine(g, one, 1, -1)), x);
    assert_int_equal(vn_add(g, x, big)->op, VN_OP_ADD); /* it makes x larger */
    assert_int_equal(vn_sub(g, one, x)->op, VN_OP_AFFINE);
    assert_true(vn_is_fill(vn_broadcast(g, one, VN_SHAPE(5, 3)), 1));
    assert_true(vn_is_fill(vn_affine(g, one, 2, 3), 5));
    vn_graph_close(&g);
}

static void nodes_carry_the_label_of_their_time(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *a = f32(g, VN_SHAPE(2)), *grad = NULL;
    vn_graph_label(g, "block.%d", 1);
    vn_node *b = vn_unary(g, a, VN_FN_SILU);
    vn_graph_label(g, "%s", "");
    vn_node *c = vn_mean(g, b);
    assert_null(a->label);
    assert_string_equal(b->label, "block.1");
    assert_null(c->label);
    assert_int_equal(vn_graph_gradient(g, c, vn_input(g, VN_F32, c->shape), 1, &a, &grad, NULL),
                     VN_OK);
    /* a gradient bears the label of what it came from */
    assert_string_equal(grad->label, "block.1");
    assert_null(f32(g, VN_SHAPE(1))->label);
    vn_graph_close(&g);
}

static void shapes_of_convolutions_and_pools(void **state) {
    static const int pads[3][4] = {{1, 1, 1, 1}, {0, 1, 0, 1}, {0, 0, 0, 0}};
    static const int64_t want[3] = {4, 4, 3};
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = f32(g, VN_SHAPE(2, 8, 8, 3)), *w = f32(g, VN_SHAPE(3, 3, 3, 5));
    for (int i = 0; i < 3; i++) {
        vn_shape s = VN_SHAPE(2, want[i], want[i], 5);
        assert_true(vn_shape_equal(&vn_conv2d(g, x, w, NULL, false, 2, pads[i])->shape, &s));
    }
    vn_shape up = VN_SHAPE(2, 24, 24, 3), down = VN_SHAPE(2, 2, 2, 3);
    assert_true(vn_shape_equal(&vn_upsample_nearest(g, x, 3)->shape, &up));
    assert_true(vn_shape_equal(&vn_avg_pool(g, x, 3)->shape, &down));
    vn_graph_close(&g);
}

static void every_row_is_whole(void **state) {
    (void)state;
    for (int op = 0; op < VN_OP_COUNT; op++) {
        const vn_op_row *row = vn_op_get((vn_op)op);
        assert_non_null(row->name);
        assert_non_null(row->shape);
        assert_non_null(row->cost);
        assert_true(row->in_place < 1U << VN_MAX_IN);
    }
}

/* Products and convolutions cost what is counted by hand; nothing costs less than nothing. */
static void costs_are_counted(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *a = f32(g, VN_SHAPE(7, 3, 4)), *b = f32(g, VN_SHAPE(5, 4)),
            *x = f32(g, VN_SHAPE(2, 8, 8, 3));
    vn_node *w = f32(g, VN_SHAPE(3, 3, 3, 5)),
            *y = vn_conv2d(g, x, w, NULL, false, 1, (int[4]){1, 1, 1, 1}), *grad[2];
    double conv = 2.0 * 2 * 64 * 5 * 27;
    vn_node *wrt[2] = {x, w};
    assert_int_equal(vn_graph_gradient(g, y, f32(g, y->shape), 2, wrt, grad, NULL), VN_OK);
    assert_true(vn_node_cost(vn_matmul(g, a, b, false, true)).flops == 2.0 * 7 * 3 * 5 * 4);
    assert_true(vn_node_cost(vn_linear(g, a, b, NULL, false)).flops == 2.0 * 7 * 3 * 5 * 4);
    assert_true(vn_node_cost(vn_attention(g, a, a, a, 1, 1)).flops == 2.0 * 2 * 7 * 3 * 3 * 4);
    assert_true(vn_node_cost(y).flops == conv);
    assert_true(vn_node_cost(grad[0]).flops == conv);
    assert_true(vn_node_cost(grad[1]).flops == conv);
    assert_true(vn_node_cost(y).bytes == 4.0 * (2 * 64 * 3 + 135 + 2 * 64 * 5));
    vn_graph_close(&g);
    for (size_t k = 0; k < op_case_count; k++) {
        g = open_graph();
        vn_cost c = vn_node_cost(op_cases[k].build(g, 0));
        assert_true(c.flops >= 0 && c.bytes >= 0);
        vn_graph_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_is_refused_in_one_line),
        cmocka_unit_test(first_error_sticks),
        cmocka_unit_test(nodes_of_another_graph_are_refused),
        cmocka_unit_test(equal_requests_give_one_node),
        cmocka_unit_test(what_changes_nothing_is_not_built),
        cmocka_unit_test(nodes_carry_the_label_of_their_time),
        cmocka_unit_test(shapes_of_convolutions_and_pools),
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(costs_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
