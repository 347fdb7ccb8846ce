/* What random cases do not reach: labels out of range, statistics of data far from 0, and dropout
 * that depends on neither batch nor place. */
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
#include "support/bound.h"
#include "support/kernels.h"

/* ---- labels ---------------------------------------------------------------------------------- */

#define ROWS  6
#define WIDTH 5

static const int32_t labels[ROWS] = {2, -1, 4, 5, INT32_MIN, INT32_MAX};

static bool in_range(int i) {
    return labels[i] >= 0 && labels[i] < WIDTH;
}

static bool all_zero(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0.0f) return false;
    return true;
}

/* The op on inputs with labels that are no class; out [ROWS or WIDTH, WIDTH] or [ROWS]. */
static void run_with_labels(const vn_device_row *b, vn_op op, int inputs, const vn_shape *shape,
                            const vn_shape *out_shape, int label_input, float *out) {
    kernel_case c;
    float *in[VN_MAX_IN] = {0};
    kernel_open(&c, op, (vn_attr){0}, inputs, shape, out_shape);
    for (int i = 0; i < inputs; i++) {
        int64_t n = vn_shape_count(&shape[i]);
        in[i] = kernel_array_open(n);
        if (i == label_input)
            memcpy(in[i], labels, sizeof labels);
        else
            vn_random_normal(in[i], (size_t)n, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    }
    kernel_run(b, &c.node, in, out, 2, NULL);
    for (int i = 0; i < inputs; i++) kernel_array_close(in[i], vn_shape_count(&shape[i]));
}

static void labels_out_of_range_are_no_class(void **state) {
    (void)state;
    const vn_shape rows = {2, {ROWS, WIDTH}}, index = {1, {ROWS}}, table = {2, {WIDTH, WIDTH}};
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
        const vn_device_row *b = vn_cpu_row_at(k);
        float *out = kernel_array_open(ROWS * WIDTH);
        const struct {
            vn_op op;
            int inputs, label_input;
            vn_shape in[3];
            const vn_shape *out;
        } cases[] = {
            {VN_OP_EMBEDDING, 2, 1, {table, index}, NULL},
            {VN_OP_CROSS_ENTROPY_GRAD, 3, 1, {rows, index, index}, NULL},
            {VN_OP_ONE_HOT, 1, 0, {index}, &rows},
        };
        for (size_t i = 0; i < VN_COUNT(cases); i++) {
            run_with_labels(b, cases[i].op, cases[i].inputs, cases[i].in, cases[i].out,
                            cases[i].label_input, out);
            for (int r = 0; r < ROWS; r++)
                assert_true(all_zero(out + r * WIDTH, WIDTH) == !in_range(r));
        }
        run_with_labels(b, VN_OP_CROSS_ENTROPY, 2, (vn_shape[]){rows, index}, NULL, 1, out);
        for (int r = 0; r < ROWS; r++) assert_true(in_range(r) ? out[r] > 0 : out[r] == 0.0f);
        run_with_labels(b, VN_OP_EMBEDDING_GRAD, 2, (vn_shape[]){index, rows}, &table, 0, out);
        for (int v = 0; v < WIDTH; v++)
            assert_true(all_zero(out + v * WIDTH, WIDTH) == (v != 2 && v != 4));
        kernel_array_close(out, ROWS * WIDTH);
    }
}

/* ---- entmax ---------------------------------------------------------------------------------- */

/* Numbers that are all large choose as their differences do; n that are alike get 1/n each; the row
 * adds up to 1. */
static void entmax_knows_differences_alone(void **state) {
    (void)state;
    enum { LONG = 5000 };
    const vn_shape shape = {2, {1, LONG}};
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
        float *in[VN_MAX_IN] = {kernel_array_open(LONG)}, *near = kernel_array_open(LONG),
              *far = kernel_array_open(LONG);
        kernel_case c;
        kernel_open(&c, VN_OP_ENTMAX_ROOT, (vn_attr){0}, 1, &shape, NULL);
        for (int i = 0; i < LONG; i++) in[0][i] = (float)(i * 7919 % LONG) / 512;
        kernel_run(vn_cpu_row_at(k), &c.node, in, near, 2, NULL);
        for (int i = 0; i < LONG; i++) in[0][i] += 4096;
        kernel_run(vn_cpu_row_at(k), &c.node, in, far, 2, NULL);
        double sum = 0, worst = 0;
        for (int i = 0; i < LONG; i++) {
            sum += (double)far[i] * (double)far[i];
            worst = fmax(worst, fabs((double)far[i] - (double)near[i]));
        }
        /* sqrt(2048) roundings of a run's sum, thrice; and twice that */
        expect_below("entmax, sum", fabs(sum - 1), 2 * 3 * sqrt(2048) * 0x1p-24);
        expect_below("entmax, far from 0", worst, 0);
        for (int i = 0; i < LONG; i++) in[0][i] = -3;
        kernel_run(vn_cpu_row_at(k), &c.node, in, far, 2, NULL);
        for (int i = 0; i < LONG; i++)
            expect_below("entmax, alike", fabs((double)far[i] * (double)far[i] * LONG - 1),
                         2 * 3 * sqrt(2048) * 0x1p-24);
        kernel_array_close(in[0], LONG);
        kernel_array_close(near, LONG);
        kernel_array_close(far, LONG);
    }
}

/* ---- statistics far from 0 ------------------------------------------------------------------- */

/* Data of mean 1000 and deviation 1: 1e-7 of the mean is 1e-4 of a deviation, and no more may be
 * lost. */
static void a_large_mean_costs_no_digits(void **state) {
    (void)state;
    static const struct {
        int64_t samples, rows, channels;
        int groups;
    } shapes[] = {{2, 784, 32, 8}, {1, 4096, 64, 32}, {3, 1, 128, 1},
                  {2, 1, 1000, 1}, {1, 50000, 3, 1},  {2, 7, 6, 6}};
    for (size_t i = 0; i < VN_COUNT(shapes); i++) {
        kernel_case c;
        vn_shape x = {3, {shapes[i].samples, shapes[i].rows, shapes[i].channels}};
        kernel_open(&c, VN_OP_NORM_STATS,
                    (vn_attr){.norm = {shapes[i].groups, 1e-5, VN_FN_IDENTITY}}, 1, &x, NULL);
        c.offset = 1000.0f;
        kernel_check(&c);
    }
}

/* The same, and a first row far from all others, looking at 1/deviation alone. */
static void deviations_are_exact_too(void **state) {
    (void)state;
    enum { rows = 500, channels = 24, groups = 4, count = rows * channels };
    vn_node in = {.op = VN_OP_INPUT, .shape = {3, {1, rows, channels}}};
    for (int outlier = 0; outlier < 2; outlier++)
        for (int g = 1; g <= groups; g += groups - 1)
            for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
                vn_node n = {.op = VN_OP_NORM_STATS,
                             .shape = {3, {1, g, 2}},
                             .inputs = 1,
                             .in = {&in},
                             .attr = {.norm = {g, 0, VN_FN_IDENTITY}}};
                float *x = kernel_array_open(count), out[2 * groups];
                vn_random_normal(x, count, 5, VN_STREAM_TEST, 0, 0);
                for (int i = 0; i < count; i++) x[i] += outlier && i < channels ? 0.0f : 1000.0f;
                kernel_run(vn_cpu_row_at(k), &n, &x, out, 1, NULL);
                for (int group = 0; group < g; group++) {
                    double sum = 0, square = 0, terms = count / g;
                    for (int i = 0; i < count; i++)
                        sum += i % channels / (channels / g) == group ? (double)x[i] : 0;
                    for (int i = 0; i < count; i++)
                        square += i % channels / (channels / g) == group
                                      ? pow((double)x[i] - sum / terms, 2)
                                      : 0;
                    double truth = 1 / sqrt(square / terms),
                           error = fabs((double)out[2 * group + 1] / truth - 1);
                    expect_below("1/deviation", error, 2e-6);
                }
                kernel_array_close(x, count);
            }
}

/* ---- dropout --------------------------------------------------------------------------------- */

static void drop(const vn_device_row *b, const vn_shape *shape, float *x, float *y,
                 const vn_run *run, uint32_t site) {
    vn_node in = {.op = VN_OP_INPUT, .shape = *shape};
    vn_node n = {.op = VN_OP_DROPOUT,
                 .shape = *shape,
                 .inputs = 1,
                 .in = {&in},
                 .attr = {.dropout = {0.3, site}}};
    kernel_run(b, &n, &x, y, 2, run);
}

static void dropout_depends_on_the_sample_alone(void **state) {
    (void)state;
    enum { samples = 6, width = 3000, count = samples * width };
    const vn_shape batch = {2, {samples, width}}, single = {2, {1, width}};
    float *x = kernel_array_open(count), *y = kernel_array_open(count),
          *alone = kernel_array_open(width);
    for (int i = 0; i < count; i++) x[i] = 1;
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
        vn_run run = {.seed = 9, .step = 4, .first_sample = 100};
        drop(vn_cpu_row_at(k), &batch, x, y, &run, 1);
        int64_t kept = 0;
        for (int i = 0; i < count; i++) {
            if (y[i] != 0) expect_below("kept", fabs((double)y[i] - 1 / 0.7), 2 * 0x1p-23);
            kept += y[i] != 0.0f;
        }
        expect_below("share kept", fabs((double)kept / count - 0.7), 0.02); /* six deviations */
        for (int i = 0; i < samples; i++) {
            vn_run one = {.seed = 9, .step = 4, .first_sample = 100 + (uint64_t)i};
            drop(vn_cpu_row_at(k), &single, x, alone, &one, 1);
            assert_memory_equal(alone, y + i * width, width * sizeof(float));
        }
        vn_run others[] = {{.seed = 10, .step = 4, .first_sample = 100},
                           {.seed = 9, .step = 5, .first_sample = 100}};
        for (size_t i = 0; i < VN_COUNT(others); i++) {
            drop(vn_cpu_row_at(k), &single, x, alone, &others[i], 1);
            assert_memory_not_equal(alone, y, width * sizeof(float));
        }
        drop(vn_cpu_row_at(k), &single, x, alone, &run, 2);
        assert_memory_not_equal(alone, y, width * sizeof(float));
    }
    kernel_array_close(x, count);
    kernel_array_close(y, count);
    kernel_array_close(alone, width);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_out_of_range_are_no_class),
        cmocka_unit_test(entmax_knows_differences_alone),
        cmocka_unit_test(a_large_mean_costs_no_digits),
        cmocka_unit_test(deviations_are_exact_too),
        cmocka_unit_test(dropout_depends_on_the_sample_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
