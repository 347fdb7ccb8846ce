/* test_gradient.c - the gradient rules against finite differences, all in double by the reference
 * evaluator: of every op once and twice, walking the op table, and of small networks. A four-point
 * stencil is exact to about 1e-11, so wrong rules cannot hide.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/support_cases.h"
#include "support/bound.h"
#include "tensor/support_program.h"

#define EXPANSION_BOUND 1e-13 /* some hundred roundings of double */

static double worst; /* part of its bound that an error is, seen by a test, printed at its end */

static void assert_built(const vn_graph *g) {
    vn_err err = {0};
    if (vn_graph_status(g, &err) != VN_OK) fail_msg("%s", err.text);
}

/* ---- the check ------------------------------------------------------------------------------- */

static double value_at(ref_graph *r, const vn_node *y, double *x, double at, const vn_run *run) {
    double kept = *x;
    *x = at;
    ref_run(r, run);
    *x = kept;
    return ref_get(r, y)[0];
}

static stencil difference(ref_graph *r, const vn_node *y, double *x, const vn_run *run) {
    static const double at[6] = STENCIL_AT;
    double value[6];
    for (int k = 0; k < 6; k++) value[k] = value_at(r, y, x, *x + at[k] * STENCIL_STEP, run);
    return stencil_of(value);
}

/* Is the gradient of the number y with respect to each of wrt what differences say? */
static void check_gradient(vn_graph *g, vn_node *y, int n, vn_node *const *wrt, bool positive,
                           const char *what) {
    vn_run run = {.values = op_case_values(), .seed = 5, .step = 2};
    vn_node *grad[16];
    vn_err err = {0};
    assert_true(n <= 16);
    ref_graph value = ref_open(g); /* without the nodes of the gradient */
    if (vn_graph_gradient(g, y, NULL, n, wrt, grad, &err) != VN_OK)
        fail_msg("%s: %s", what, err.text);
    ref_graph rule = ref_open(g);
    fill_inputs(&value, positive, 11);
    fill_inputs(&rule, positive, 11);
    ref_run(&rule, &run);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < vn_shape_count(&wrt[k]->shape); i++) {
            const stencil want = difference(&value, y, &value.value[wrt[k]->id][i], &run);
            const double got = ref_get(&rule, grad[k])[i], error = fabs(got - want.slope);
            expect_below_as(error, want.bound, "gradient of %s", what);
            worst = fmax(worst, error / want.bound);
        }
    ref_close(&value);
    ref_close(&rule);
}

/* sum(x c), with c a new input. */
static vn_node *weigh(vn_graph *g, vn_node *x) {
    return vn_sum_to(g, vn_mul(g, x, vn_input(g, VN_F32, x->shape)), (vn_shape){.rank = 0});
}

static int float_inputs(const vn_graph *g, vn_node **out) {
    int n = 0;
    for (int id = 0; id < vn_graph_size(g); id++) {
        vn_node *x = vn_graph_node(g, id);
        if (x->op == VN_OP_INPUT && x->dtype == VN_F32) out[n++] = x;
    }
    return n;
}

/* Replaces the number y by one made of its first derivatives with respect to all inputs; returns
 * it. */
static vn_node *derivative(vn_graph *g, vn_node *y) {
    vn_node *wrt[16], *grad[16], *sum = NULL;
    int n = float_inputs(g, wrt);
    assert_true(n <= 16);
    vn_graph_gradient(g, y, NULL, n, wrt, grad, NULL);
    assert_built(g);
    for (int i = 0; i < n; i++) {
        vn_node *part = weigh(g, grad[i]);
        sum = sum ? vn_add(g, sum, part) : part;
    }
    return sum;
}

/* Are the first (order 1) or second derivatives of y with respect to all float inputs right? */
static void check_order(vn_graph *g, vn_node *y, int order, bool positive, const char *what) {
    vn_node *wrt[16];
    y = weigh(g, y);
    assert_built(g);
    if (order == 2) y = derivative(g, y);
    int n = float_inputs(g, wrt);
    check_gradient(g, y, n, wrt, positive, what);
}

/* ---- every op -------------------------------------------------------------------------------- */

static bool wants_positive(const op_case *c, int variant) {
    int fn = c->op == VN_OP_UNARY ? variant / 3 : variant;
    return (c->op == VN_OP_UNARY || c->op == VN_OP_UNARY_GRAD) &&
           (fn == VN_FN_LOG || fn == VN_FN_SQRT || fn == VN_FN_RSQRT);
}

static void every_op(int order) {
    worst = 0;
    for (size_t k = 0; k < op_case_count; k++)
        for (int v = 0; v < op_cases[k].variants; v++) {
            const op_case *c = &op_cases[k];
            char what[80];
            snprintf(what, sizeof what, "%s (variant %d), order %d", vn_op_get(c->op)->name, v,
                     order);
            if (op_case_smoothness(c, v) < order) continue;
            vn_graph *g = open_graph();
            vn_node *y = c->build(g, v);
            assert_built(g);
            check_order(g, y, order, wants_positive(c, v), what);
            vn_graph_close(&g);
        }
    print_message("off by %.2f of the bound\n", worst);
}

/* y = 3 of x as bf16: the derivative is that of 3 x, the cotangent not rounded on its way. */
static void rounding_passes_derivatives_on(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *dy = vn_input(g, VN_F32, VN_SHAPE(2)), *dx,
            *jvp;
    vn_node *rounded = vn_cast(g, vn_cast(g, x, VN_BF16), VN_F32);
    vn_node *y = vn_affine(g, rounded, 3, 0);
    assert_ptr_equal(vn_cast(g, x, VN_F32), x);
    vn_graph_gradient(g, y, dy, 1, &x, &dx, NULL);
    vn_graph_jvp(g, y, 1, &x, &dy, &jvp, NULL);
    assert_built(g);
    ref_graph r = ref_open(g);
    ref_set(&r, x, (double[]){1 + 0x1p-12, 5});
    ref_set(&r, dy, (double[]){1 + 0x1p-12, 0.1});
    ref_run(&r, &(vn_run){0});
    assert_true(ref_get(&r, y)[0] == 3);
    for (int i = 0; i < 2; i++) {
        assert_true(ref_get(&r, dx)[i] == 3 * ref_get(&r, dy)[i]);
        assert_true(ref_get(&r, jvp)[i] == 3 * ref_get(&r, dy)[i]);
    }
    ref_close(&r);
    vn_graph_close(&g);
}

/* Rows of a weight are taken before it is cast, whatever its shape; its gradient is of all it gave,
 * in 32 bits. */
static void weights_of_16_bits_have_gradients(void **state) {
    (void)state;
    static const vn_dtype types[] = {VN_F32, VN_F16, VN_BF16};
    static const int32_t index[] = {2, 0, 2};
    for (size_t k = 0; k < VN_COUNT(types); k++) {
        vn_graph *g = open_graph();
        vn_weights *w = NULL;
        assert_int_equal(vn_weights_open(&w, NULL), VN_OK);
        const vn_init init = {VN_INIT_ONES, 0};
        vn_node *table = NULL;
        for (int again = 0; again < 2;
             again++) { /* in a graph that is made after the type is known */
            vn_graph_close(&g);
            g = open_graph();
            table = vn_param_node(g, w, "table", VN_SHAPE(1, 3, 2), VN_LAYOUT_PLAIN, init);
            vn_weights_set_dtype(w, 0, types[k]);
        }
        vn_node *rows = vn_embedding(g, vn_reshape(g, table, VN_SHAPE(3, 2)),
                                     vn_const(g, VN_I32, VN_SHAPE(3), index));
        assert_int_equal(rows->dtype, VN_F32);
        if (types[k] != VN_F32) assert_int_equal(rows->in[0]->op, VN_OP_EMBEDDING);
        vn_node *part = vn_view(g, table, 1, VN_SHAPE(3)); /* numbers 1, 2 and 3 */
        vn_node *y =
            vn_add(g, vn_mean(g, vn_affine(g, rows, 6, 0)), vn_mean(g, vn_affine(g, part, 30, 0)));
        vn_gradients by = {.weights = w};
        assert_int_equal(vn_gradients_open(&by, y, NULL, NULL), VN_OK);
        assert_int_equal(by.n, 1);
        assert_int_equal(by.node[0]->dtype, VN_F32);
        ref_graph r = ref_open(g);
        ref_set(&r, types[k] == VN_F32 ? table : table->in[0], (double[]){1, 2, 3, 4, 5, 6});
        ref_run(&r, &(vn_run){0});
        static const double want[] = {1, 11, 10, 10, 2, 2};
        for (int i = 0; i < 6; i++) assert_true(fabs(ref_get(&r, by.node[0])[i] - want[i]) < 1e-12);
        ref_close(&r);
        vn_gradients_close(&by);
        vn_graph_close(&g);
        vn_weights_close(&w);
    }
}

static void first_order_of_every_op(void **state) {
    (void)state;
    every_op(1);
}

static void second_order_of_every_op(void **state) {
    (void)state;
    every_op(2);
}

static void every_op_has_a_case(void **state) {
    (void)state;
    for (int op = 0; op < VN_OP_COUNT; op++) {
        bool found = false;
        for (size_t k = 0; k < op_case_count; k++) found = found || (int)op_cases[k].op == op;
        if (!found) fail_msg("%s has no case", vn_op_get((vn_op)op)->name);
    }
    for (size_t k = 0; k < op_case_count; k++)
        for (int v = 0; v < op_cases[k].variants; v++) {
            vn_graph *g = open_graph();
            vn_node *n = op_cases[k].build(g, v);
            assert_built(g);
            assert_int_equal(n->op, op_cases[k].op);
            vn_graph_close(&g);
        }
}

/* An expansion is the same value by simpler ops. */
static void expansions_equal_their_ops(void **state) {
    (void)state;
    int seen = 0;
    worst = 0;
    for (size_t k = 0; k < op_case_count; k++)
        for (int v = 0; v < op_cases[k].variants && vn_op_get(op_cases[k].op)->expand; v++) {
            vn_graph *g = open_graph();
            vn_node *n = op_cases[k].build(g, v), *e = vn_op_get(n->op)->expand(n);
            assert_built(g);
            assert_ptr_not_equal(n, e);
            assert_true(vn_shape_equal(&n->shape, &e->shape));
            ref_graph r = ref_open(g);
            fill_inputs(&r, wants_positive(&op_cases[k], v), 3);
            ref_run(&r, &(vn_run){.seed = 1});
            for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
                double want = ref_get(&r, n)[i],
                       error = fabs(ref_get(&r, e)[i] - want) / (1 + fabs(want));
                expect_below_as(error, EXPANSION_BOUND, "expansion of %s", vn_op_get(n->op)->name);
                worst = fmax(worst, error / EXPANSION_BOUND);
            }
            ref_close(&r);
            vn_graph_close(&g);
            seen++;
        }
    assert_true(seen > 30);
    print_message("off by %.2f of the bound\n", worst);
}

/* ---- networks -------------------------------------------------------------------------------- */

/* A residual block as in a U-Net: norm+silu, convolution, an embedding's shift, norm+silu,
 * convolution, shortcut, attention. */
static vn_node *small_network(vn_graph *g, vn_node *x) {
    const int pad[4] = {1, 1, 1, 1}, none[4] = {0, 0, 0, 0};
    vn_node *gamma = vn_input(g, VN_F32, VN_SHAPE(2)), *beta = vn_input(g, VN_F32, VN_SHAPE(2));
    vn_node *w1 = vn_input(g, VN_F32, VN_SHAPE(3, 3, 2, 2)),
            *w2 = vn_input(g, VN_F32, VN_SHAPE(1, 1, 2, 2));
    vn_node *shift = vn_input(g, VN_F32, VN_SHAPE(1, 1, 1, 2));
    vn_node *h = vn_conv2d(g, vn_norm(g, x, gamma, beta, true, 1, 1e-3, VN_FN_SILU), w1, NULL,
                           false, 1, pad);
    h = vn_norm(g, vn_add(g, h, shift), gamma, beta, true, 2, 1e-3, VN_FN_SILU);
    h = vn_add(g, vn_conv2d(g, h, w1, NULL, false, 1, pad),
               vn_conv2d(g, x, w2, NULL, false, 1, none));
    vn_node *tokens = vn_reshape(g, h, VN_SHAPE(1, -1, 2));
    return vn_mean(g, vn_unary(g, vn_attention(g, tokens, tokens, tokens, 1, 0.7), VN_FN_GELU));
}

static void network(int order) {
    vn_graph *g = open_graph();
    vn_node *y = small_network(g, vn_input(g, VN_F32, VN_SHAPE(1, 2, 3, 2)));
    worst = 0;
    check_order(g, y, order, false, "network");
    print_message("off by %.2f of the bound\n", worst);
    vn_graph_close(&g);
}

static void first_order_of_a_network(void **state) {
    (void)state;
    network(1);
}

static void second_order_of_a_network(void **state) {
    (void)state;
    network(2);
}

/* ---- what a gradient is ---------------------------------------------------------------------- */

static double only_value(vn_graph *g, const vn_node *n, double x) {
    ref_graph r = ref_open(g);
    for (int id = 0; id < r.size; id++)
        if (vn_graph_node(g, id)->op == VN_OP_INPUT) ref_set(&r, vn_graph_node(g, id), &x);
    ref_run(&r, &(vn_run){.seed = 1});
    double value = ref_get(&r, n)[0];
    ref_close(&r);
    return value;
}

static void gradient_reaches_nodes_inside(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1)),
            *inside = vn_reshape(g, vn_affine(g, x, 2, 0), VN_SHAPE(1, 1));
    vn_node *y = vn_mul(g, vn_reshape(g, inside, VN_SHAPE(1, 1, 1)),
                        vn_broadcast(g, inside, VN_SHAPE(1, 1, 1)));
    vn_node *wrt[3] = {x, inside, y}, *grad[3];
    assert_int_equal(vn_graph_gradient(g, y, NULL, 3, wrt, grad, NULL), VN_OK);
    assert_true(only_value(g, grad[0], 3) == 24); /* y = 4 x^2 */
    assert_true(only_value(g, grad[1], 3) == 12); /* y = inside^2 */
    assert_true(only_value(g, grad[2], 3) == 1);
    vn_graph_close(&g);
}

static void gradient_is_zero_without_a_path(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *other = vn_input(g, VN_F32, VN_SHAPE(3, 2)),
            *grad = NULL;
    int before = vn_graph_size(g);
    assert_int_equal(vn_graph_gradient(g, vn_mean(g, x), NULL, 1, &other, &grad, NULL), VN_OK);
    assert_true(vn_is_fill(grad, 0));
    assert_true(vn_shape_equal(&grad->shape, &other->shape));
    assert_true(vn_graph_size(g) <= before + 4); /* mean: two nodes, its cotangent, the zeros */
    vn_graph_close(&g);
}

/* What is stopped is a constant, also where it is asked for by itself. */
static void gradient_stops_where_told(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1)),
            *stopped = vn_stop_gradient(g, vn_unary(g, x, VN_FN_SQUARE));
    vn_node *y = vn_mul(g, x, vn_reshape(g, stopped, VN_SHAPE(1))), *wrt[2] = {x, stopped},
            *grad[2];
    const int before = vn_graph_size(g);
    assert_int_equal(vn_graph_gradient(g, y, NULL, 1, wrt, grad, NULL), VN_OK);
    for (int id = before; id < vn_graph_size(g); id++)
        assert_int_not_equal(vn_graph_node(g, id)->op, VN_OP_UNARY_GRAD);
    assert_true(only_value(g, y, 3) == 27);
    assert_true(only_value(g, grad[0], 3) == 9); /* x^2, not 3 x^2 */
    assert_int_equal(vn_graph_gradient(g, y, NULL, 2, wrt, grad, NULL), VN_OK);
    assert_true(only_value(g, grad[0], 3) == 9 && only_value(g, grad[1], 3) == 3);
    assert_ptr_equal(vn_stop_gradient(g, vn_fill(g, VN_SHAPE(1), 2)), vn_fill(g, VN_SHAPE(1), 2));
    vn_graph_close(&g);
}

/* Nothing is built for inputs that do not depend on wrt. */
static void gradient_builds_only_what_is_asked(void **state) {
    (void)state;
    const int pad[4] = {1, 1, 1, 1};
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1, 4, 4, 2)),
            *w = vn_input(g, VN_F32, VN_SHAPE(3, 3, 2, 2)), *grad = NULL;
    vn_node *y = vn_conv2d(g, vn_unary(g, x, VN_FN_SILU), w, NULL, false, 1, pad);
    assert_int_equal(vn_graph_gradient(g, y, NULL, 1, &w, &grad, NULL), VN_OK);
    for (int id = 0; id < vn_graph_size(g); id++) {
        assert_int_not_equal(vn_graph_node(g, id)->op, VN_OP_CONV2D_GRAD_X);
        assert_int_not_equal(vn_graph_node(g, id)->op, VN_OP_UNARY_GRAD);
    }
    vn_graph_close(&g);
}

static void third_derivative_is_refused_by_name(void **state) {
    (void)state;
    vn_err err = {0};
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *grad = NULL;
    vn_graph_label(g, "block.%d", 3);
    vn_node *y = vn_unary_order(g, x, VN_FN_GELU, 2);
    assert_int_equal(vn_graph_gradient(g, y, NULL, 1, &x, &grad, &err), VN_UNSUPPORTED);
    assert_string_equal(err.text, "block.3: unary: no gradient of a second derivative");
    vn_graph_close(&g);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    vn_err err = {0};
    for (int k = 0; k < 5; k++) {
        vn_graph *g = open_graph();
        vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *i = vn_input(g, VN_I32, VN_SHAPE(2)),
                *grad = NULL, *none = NULL;
        vn_node *y = k == 0 ? i : vn_affine(g, x, 2, 0),
                *dy = k == 1 ? vn_fill(g, VN_SHAPE(3), 1) : NULL;
        vn_node *fill = vn_fill(g, VN_SHAPE(2), 1), *const *wrt = k == 2   ? &i
                                                                  : k == 3 ? &none
                                                                  : k == 4 ? &fill
                                                                           : &x;
        assert_int_equal(vn_graph_gradient(g, y, dy, 1, wrt, &grad, &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, "gradient: "));
        vn_graph_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_case),
        cmocka_unit_test(rounding_passes_derivatives_on),
        cmocka_unit_test(weights_of_16_bits_have_gradients),
        cmocka_unit_test(first_order_of_every_op),
        cmocka_unit_test(second_order_of_every_op),
        cmocka_unit_test(expansions_equal_their_ops),
        cmocka_unit_test(first_order_of_a_network),
        cmocka_unit_test(second_order_of_a_network),
        cmocka_unit_test(gradient_reaches_nodes_inside),
        cmocka_unit_test(gradient_is_zero_without_a_path),
        cmocka_unit_test(gradient_stops_where_told),
        cmocka_unit_test(gradient_builds_only_what_is_asked),
        cmocka_unit_test(third_derivative_is_refused_by_name),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
