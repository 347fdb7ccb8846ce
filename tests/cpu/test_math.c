/* Accuracy of the elementary functions, through the unary kernel of every instruction set, over
 * sweeps of all floats: the largest error, of those that the steps of their formulas may make, and
 * their polynomials as kernel_math.h states them. Special values too. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"
#include "cpu/support_rounding.h"
#include "support/bound.h"
#include "support/kernels.h"

#define STEP 8209 /* every so many-th float: some 500000 */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double silu(double x) {
    return x * sigmoid(x);
}

static double silu_slope(double x) {
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

static double gelu(double x) {
    return x * 0.5 * erfc(-x / sqrt(2.0));
}

static double gelu_slope(double x) {
    return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846);
}

static double reciprocal_root(double x) {
    return 1 / sqrt(x);
}

/* Errors are counted in those that the steps of a formula make (support_rounding.h), of results of
 * at least `floor`: sine and cosine of large numbers nearly vanish. */
/* clang-format off */
static const struct {
    const char *name;
    vn_fn fn;
    int order;
    double (*exact)(double);
    double least, most, floor;
} sweeps[] = {
    {"exp",        VN_FN_EXP,     0, exp,             -87.3, 88.7,      1e-38},
    {"log",        VN_FN_LOG,     0, log,             1e-45, 3.4e38,    1e-38},
    {"tanh",       VN_FN_TANH,    0, tanh,            -20,   20,        1e-38},
    {"sigmoid",    VN_FN_SIGMOID, 0, sigmoid,         -87,   100,       1e-38},
    {"sin",        VN_FN_SIN,     0, sin,             -100,  100,       1e-38},
    {"cos",        VN_FN_COS,     0, cos,             -100,  100,       1e-38},
    {"sin, large", VN_FN_SIN,     0, sin,             -1e6,  1e6,       0.5},
    {"cos, large", VN_FN_COS,     0, cos,             -1e6,  1e6,       0.5},
    {"sqrt",       VN_FN_SQRT,    0, sqrt,            1e-38, 3.4e38,    1e-38},
    {"rsqrt",      VN_FN_RSQRT,   0, reciprocal_root, 1e-38, 3.4e38,    1e-38},
    {"silu",       VN_FN_SILU,    0, silu,            -80,   100,       1e-38},
    {"silu'",      VN_FN_SILU,    1, silu_slope,      -80,   100,       1e-38},
    {"gelu",       VN_FN_GELU,    0, gelu,            -12,   100,       1e-38},
    {"gelu'",      VN_FN_GELU,    1, gelu_slope,      -12,   100,       1e-38},
};
/* clang-format on */

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void evaluate(const vn_device_row *b, vn_fn fn, int order, float *x, float *y, int64_t n) {
    vn_node in = {.op = VN_OP_INPUT, .shape = {1, {n}}};
    vn_node node = {.op = VN_OP_UNARY,
                    .shape = in.shape,
                    .inputs = 1,
                    .in = {&in},
                    .attr = {.unary = {fn, order}}};
    kernel_run(b, &node, &x, y, 1, NULL);
}

/* Floats from least to most, in steps through their bits, both signs. */
static int64_t fill_sweep(double least, double most, float *x) {
    int64_t n = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STEP) {
        float value = float_of((uint32_t)bits);
        if ((double)value >= least && (double)value <= most) x[n++] = value;
    }
    return n;
}

/* In those of function_error; of results below floor in as large a part of floor. */
static double largest_error(int k, const float *x, const float *y, int64_t n, float *at) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double truth = sweeps[k].exact((double)x[i]),
                     part = function_error(sweeps[k].fn, sweeps[k].order, (double)x[i]),
                     size = fmax(1, sweeps[k].floor / fmax(fabs(truth), DBL_MIN)),
                     error = fabs((double)y[i] - truth) / (0x1p-24 * size * part + 0x1p-149);
        if (!(error <= worst)) worst = error, *at = x[i];
    }
    return worst;
}

static void functions_are_accurate(void **state) {
    (void)state;
    int64_t room = UINT32_MAX / STEP + 1;
    float *x = kernel_array_open(room), *y = kernel_array_open(room);
    for (int k = 0; k < (int)VN_COUNT(sweeps); k++) {
        int64_t n = fill_sweep(sweeps[k].least, sweeps[k].most, x);
        assert_true(n > 1000);
        for (size_t i = 0; (kernels = vn_cpu_row_at(i)); i++) {
            float at = 0;
            evaluate(kernels, sweeps[k].fn, sweeps[k].order, x, y, n);
            const double error = largest_error(k, x, y, n, &at);
            if (!(error <= 2)) print_error("%s at %.9g\n", sweeps[k].name, (double)at);
            expect_below(sweeps[k].name, error, 2);
        }
    }
    kernel_array_close(x, room);
    kernel_array_close(y, room);
}

/* Limits: to the bit, or to 1e-30 of 0; NaN for NaN. */
static void special_values_are_kept(void **state) {
    (void)state;
    static const struct {
        vn_fn fn;
        float x, y;
    } cases[] = {
        {VN_FN_EXP, -INFINITY, 0},
        {VN_FN_EXP, INFINITY, INFINITY},
        {VN_FN_EXP, 0, 1},
        {VN_FN_EXP, 200, INFINITY},
        {VN_FN_EXP, -200, 0},
        {VN_FN_LOG, 0, -INFINITY},
        {VN_FN_LOG, 1, 0},
        {VN_FN_LOG, INFINITY, INFINITY},
        {VN_FN_LOG, -1, NAN},
        {VN_FN_TANH, INFINITY, 1},
        {VN_FN_TANH, -INFINITY, -1},
        {VN_FN_TANH, 0, 0},
        {VN_FN_SIGMOID, INFINITY, 1},
        {VN_FN_SIGMOID, -INFINITY, 0},
        {VN_FN_SIGMOID, 0, 0.5f},
        {VN_FN_SIN, 0, 0},
        {VN_FN_COS, 0, 1},
        {VN_FN_SIN, INFINITY, NAN},
        {VN_FN_SILU, -200, 0},
        {VN_FN_SILU, 200, 200},
        {VN_FN_GELU, 1e20f, 1e20f},
        {VN_FN_GELU_TANH, 1e20f, 1e20f},
        {VN_FN_GELU_TANH, -1e20f, 0},
        {VN_FN_MISH, 1e20f, 1e20f},
        {VN_FN_RELU, -3, 0},
        {VN_FN_RELU, 3, 3},
        {VN_FN_SQRT, -1, NAN},
    };
    for (size_t i = 0; vn_cpu_row_at(i); i++) {
        for (size_t k = 0; k < VN_COUNT(cases); k++) {
            float x[3] = {cases[k].x, cases[k].x, cases[k].x}, y[3];
            evaluate(vn_cpu_row_at(i), cases[k].fn, 0, x, y, 3);
            if (isnan(cases[k].y) ? !isnan(y[1])
                                  : (y[1] != cases[k].y && !(fabsf(y[1] - cases[k].y) < 1e-30f)))
                fail_msg("%s: function %d of %g is %g, not %g", vn_cpu_row_at(i)->name, cases[k].fn,
                         (double)cases[k].x, (double)y[1], (double)cases[k].y);
        }
        for (int fn = 0; fn < VN_FN_COUNT; fn++) {
            float x[17], y[17];
            for (int k = 0; k < 17; k++) x[k] = NAN;
            evaluate(vn_cpu_row_at(i), (vn_fn)fn, 0, x, y, 17);
            for (int k = 0; k < 17; k++)
                if (!isnan(y[k]))
                    fail_msg("%s: function %d of NaN is %g", vn_cpu_row_at(i)->name, fn,
                             (double)y[k]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(special_values_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
