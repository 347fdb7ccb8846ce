/* test_jvp.c - forward derivatives of every op and of a network, in double by the reference
 * evaluator: against finite differences along random directions, and against gradients, <u, J t> =
 * <J^T u, t>.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/support_cases.h"
#include "support/bound.h"
#include "tensor/support_program.h"

#define MAX_INPUTS 16

/* Both sides of <u, J t> = <J^T u, t> are sums of products, each off by some roundings of what is
 * summed: relative to the sum of their sizes. */
#define TOLERANCE_ADJOINT (16 * 0x1p-53)

/* y as a function of its float inputs x, with a direction t for each. */
typedef struct derived {
    vn_graph *g;
    vn_node *y, *jvp;
    int n;
    vn_node *x[MAX_INPUTS], *t[MAX_INPUTS];
} derived;

static derived derive(vn_graph *g, vn_node *y, const char *what) {
    derived d = {.g = g, .y = y};
    vn_err err = {0};
    for (int id = 0; id < vn_graph_size(g); id++) {
        vn_node *x = vn_graph_node(g, id);
        if (x->op == VN_OP_INPUT && x->dtype == VN_F32) d.x[d.n++] = x;
        assert_true(d.n < MAX_INPUTS);
    }
    for (int i = 0; i < d.n; i++) d.t[i] = vn_input(g, VN_F32, d.x[i]->shape);
    if (vn_graph_jvp(g, y, d.n, d.x, d.t, &d.jvp, &err) != VN_OK)
        fail_msg("%s: %s", what, err.text);
    if (!vn_shape_equal(&d.jvp->shape, &y->shape))
        fail_msg("%s: the derivative has another shape", what);
    return d;
}

/* y's values at x + h t, in place of what they are in `out`. */
static void values_at(ref_graph *r, const derived *d, double h, const vn_run *run, double *out) {
    const int64_t count = vn_shape_count(&d->y->shape);
    for (int i = 0; i < d->n; i++)
        for (int64_t k = 0; k < vn_shape_count(&d->x[i]->shape); k++)
            r->value[d->x[i]->id][k] += h * r->value[d->t[i]->id][k];
    ref_run(r, run);
    memcpy(out, ref_get(r, d->y), (size_t)count * sizeof *out);
    for (int i = 0; i < d->n; i++)
        for (int64_t k = 0; k < vn_shape_count(&d->x[i]->shape); k++)
            r->value[d->x[i]->id][k] -= h * r->value[d->t[i]->id][k];
}

/* Returns the largest error of the derivative against a stencil, as a part of its bound. */
static double check_differences(const derived *d, bool positive, const char *what) {
    const vn_run run = {.values = op_case_values(), .seed = 5, .step = 2};
    const int64_t count = vn_shape_count(&d->y->shape);
    const double at[6] = STENCIL_AT;
    double worst = 0, *value[6];
    ref_graph r = ref_open(d->g);
    fill_inputs(&r, positive, 11);
    for (int k = 0; k < 6; k++) {
        value[k] = malloc((size_t)count * sizeof(double));
        assert_non_null(value[k]);
        values_at(&r, d, at[k] * STENCIL_STEP, &run, value[k]);
    }
    ref_run(&r, &run);
    for (int64_t i = 0; i < count; i++) {
        double there[6];
        for (int k = 0; k < 6; k++) there[k] = value[k][i];
        const stencil want = stencil_of(there);
        const double got = ref_get(&r, d->jvp)[i], error = fabs(got - want.slope);
        expect_below_as(error, want.bound, "jvp of %s", what);
        worst = fmax(worst, error / want.bound);
    }
    for (int k = 0; k < 6; k++) free(value[k]);
    ref_close(&r);
    return worst;
}

/* Adds the sizes of the terms to *size. */
static double inner(ref_graph *r, const vn_node *a, const vn_node *b, double *size) {
    double sum = 0;
    for (int64_t i = 0; i < vn_shape_count(&a->shape); i++) {
        const double term = ref_get(r, a)[i] * ref_get(r, b)[i];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* Returns by how much <u, J t> and <J^T u, t> differ, relative to their terms. */
static double check_adjoint(const derived *d, bool positive, const char *what) {
    const vn_run run = {.values = op_case_values(), .seed = 5, .step = 2};
    vn_node *u = vn_input(d->g, VN_F32, d->y->shape), *grad[MAX_INPUTS];
    assert_int_equal(vn_graph_gradient(d->g, d->y, u, d->n, d->x, grad, NULL), VN_OK);
    ref_graph r = ref_open(d->g);
    fill_inputs(&r, positive, 11);
    ref_run(&r, &run);
    double size = 1, forward = inner(&r, u, d->jvp, &size), backward = 0;
    for (int i = 0; i < d->n; i++) backward += inner(&r, grad[i], d->t[i], &size);
    ref_close(&r);
    const double error = fabs(forward - backward) / size;
    expect_below_as(error, TOLERANCE_ADJOINT, "adjoint of %s", what);
    return error;
}

/* ---- every op -------------------------------------------------------------------------------- */

static bool wants_positive(const op_case *c, int variant) {
    const int fn = c->op == VN_OP_UNARY ? variant / 3 : variant;
    return (c->op == VN_OP_UNARY || c->op == VN_OP_UNARY_GRAD) &&
           (fn == VN_FN_LOG || fn == VN_FN_SQRT || fn == VN_FN_RSQRT);
}

static void forward_derivative_of_every_op(void **state) {
    (void)state;
    double differences = 0, adjoint = 0;
    int seen = 0;
    for (size_t k = 0; k < op_case_count; k++)
        for (int v = 0; v < op_cases[k].variants; v++) {
            const op_case *c = &op_cases[k];
            char what[80];
            snprintf(what, sizeof what, "%s (variant %d)", vn_op_get(c->op)->name, v);
            if (op_case_smoothness(c, v) < 1) continue;
            vn_graph *g = open_graph();
            vn_node *y = c->build(g, v);
            if (y->dtype == VN_F32) {
                const derived d = derive(g, y, what);
                differences = fmax(differences, check_differences(&d, wants_positive(c, v), what));
                adjoint = fmax(adjoint, check_adjoint(&d, wants_positive(c, v), what));
                seen++;
            }
            vn_graph_close(&g);
        }
    print_message("%d cases: against differences off by %.2f of the bound, against gradients by "
                  "%.1e, of at most %.1e\n",
                  seen, differences, adjoint, TOLERANCE_ADJOINT);
    assert_true(seen > (int)op_case_count);
}

/* Norm, convolution, attention and a residual, as networks have them; and with the input used
 * twice. */
static void forward_derivative_of_a_network(void **state) {
    (void)state;
    const int pad[4] = {1, 1, 1, 1};
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1, 2, 3, 2)),
            *w = vn_input(g, VN_F32, VN_SHAPE(3, 3, 2, 2));
    vn_node *h =
        vn_conv2d(g, vn_norm(g, x, NULL, NULL, false, 1, 1e-3, VN_FN_SILU), w, NULL, false, 1, pad);
    vn_node *tokens = vn_reshape(g, vn_add(g, h, x), VN_SHAPE(1, -1, 2));
    vn_node *y = vn_unary(g, vn_attention(g, tokens, tokens, tokens, 1, 0.7), VN_FN_GELU);
    const derived d = derive(g, y, "network");
    const double differences = check_differences(&d, false, "network");
    print_message("against differences off by %.2f of the bound, against gradients by %.1e, of at "
                  "most %.1e\n",
                  differences, check_adjoint(&d, false, "network"), TOLERANCE_ADJOINT);
    vn_graph_close(&g);
}

/* ---- what a forward derivative is ------------------------------------------------------------ */

static double only_value(vn_graph *g, const vn_node *n, double x) {
    ref_graph r = ref_open(g);
    for (int id = 0; id < r.size; id++)
        if (vn_graph_node(g, id)->op == VN_OP_INPUT) ref_set(&r, vn_graph_node(g, id), &x);
    ref_run(&r, &(vn_run){.seed = 1});
    const double value = ref_get(&r, n)[0];
    ref_close(&r);
    return value;
}

static void along_several_inputs_the_parts_add_up(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1)), *z = vn_affine(g, x, 2, 1), *out = NULL;
    /* of x and of a node inside, taken as two variables */
    vn_node *y = vn_mul(g, x, vn_mul(g, z, z));
    vn_node *wrt[2] = {x, z},
            *tangent[2] = {vn_fill(g, VN_SHAPE(1), 1), vn_fill(g, VN_SHAPE(1), -3)};
    assert_int_equal(vn_graph_jvp(g, y, 2, wrt, tangent, &out, NULL), VN_OK);
    /* x moves z too: z^2 + 2 x z dz/dx = 49 + 84 at 3; and z alone by -3: 2 x z (-3) = -126 */
    assert_true(only_value(g, out, 3) == 49 + 84 - 126);
    vn_graph_close(&g);
}

static void what_is_stopped_does_not_move(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1)), *one = vn_fill(g, VN_SHAPE(1), 1), *out = NULL;
    vn_node *y = vn_mul(g, x, vn_stop_gradient(g, vn_unary(g, x, VN_FN_SQUARE)));
    assert_int_equal(vn_graph_jvp(g, y, 1, &x, &one, &out, NULL), VN_OK);
    assert_true(only_value(g, out, 3) == 9);
    vn_graph_close(&g);
}

static void zero_without_a_path_or_a_variable(void **state) {
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *other = vn_input(g, VN_F32, VN_SHAPE(3)),
            *out = NULL;
    vn_node *y = vn_affine(g, x, 2, 0), *t = vn_fill(g, VN_SHAPE(3), 1);
    assert_int_equal(vn_graph_jvp(g, y, 1, &other, &t, &out, NULL), VN_OK);
    assert_true(vn_is_fill(out, 0) && vn_shape_equal(&out->shape, &y->shape));
    assert_int_equal(vn_graph_jvp(g, y, 0, NULL, NULL, &out, NULL), VN_OK);
    assert_true(vn_is_fill(out, 0) && vn_shape_equal(&out->shape, &y->shape));
    vn_graph_close(&g);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        vn_err err = {0};
        vn_graph *g = open_graph();
        vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *i = vn_input(g, VN_I32, VN_SHAPE(2)),
                *out = NULL;
        vn_node *y = k == 0 ? i : k == 3 ? NULL : vn_affine(g, x, 2, 0);
        vn_node *t = vn_fill(g, k == 1 ? VN_SHAPE(3) : VN_SHAPE(2), 1), *none = NULL;
        assert_int_equal(vn_graph_jvp(g, y, 1, &x, k == 2 ? &none : &t, &out, &err),
                         VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, k == 0 || k == 3 ? "gradient: " : "jvp: tangent 0 "));
        vn_graph_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_derivative_of_every_op),
        cmocka_unit_test(forward_derivative_of_a_network),
        cmocka_unit_test(along_several_inputs_the_parts_add_up),
        cmocka_unit_test(what_is_stopped_does_not_move),
        cmocka_unit_test(zero_without_a_path_or_a_variable),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
