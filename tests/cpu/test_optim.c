/* The optimiser's pass against PyTorch's AdamW over ten clipped steps, against a plain version in
 * double on odd lengths, and the same bits for every thread count. */
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
#include "golden/optim.h"
#include "support/thread_pool.h"

/* Absolute, of weights of up to 1 and ten steps of 1e-2: PyTorch's own results are rounded to float
 * in each step, as these are. Measured 1.2e-7. */
#define TOLERANCE 3e-7
/* One step: the decayed weight is rounded twice, by 2^-24 of it, and steps of up to 3e-2 some ten
 * times; and twice that. */
#define STEP_ERROR (6 * 0x1p-24)

static double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void agrees_with_pytorch(void **state) {
    (void)state;
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
        const vn_device_row *b = vn_cpu_row_at(k);
        const vn_device d = {b, NULL, NULL};
        float value[optim_count], ema[optim_count], m[optim_count] = {0}, v[optim_count] = {0};
        memcpy(value, optim_start, sizeof value);
        memcpy(ema, optim_start, sizeof ema);
        for (int step = 0; step < optim_steps; step++) {
            const float *grad = optim_grad + step * optim_count;
            double norm = sqrt(squares_of(&d, optim_count, grad));
            expect_below("norm", fabs(norm - (double)optim_norm[step]), 2.4e-7 * norm);
            vn_adamw o = {optim_lr,
                          optim_beta1,
                          optim_beta2,
                          optim_eps,
                          optim_decay,
                          step + 1,
                          fmin(1, optim_clip / norm),
                          optim_ema};
            b->adamw(&d, &o, optim_count, value, grad, m, v, ema);
            double error = largest_difference(value, optim_value + step * optim_count, optim_count);
            double average =
                largest_difference(ema, optim_average + step * optim_count, optim_count);
            expect_below("PyTorch, weights", error, TOLERANCE);
            expect_below("PyTorch, average", average, TOLERANCE);
        }
    }
}

/* One step in double from float arrays. */
static double plain(const vn_adamw *o, double value, double grad, double m, double v) {
    double g = grad * o->grad_scale;
    m = o->beta1 * m + (1 - o->beta1) * g;
    v = o->beta2 * v + (1 - o->beta2) * g * g;
    double mean = m / (1 - pow(o->beta1, (double)o->step)),
           square = v / (1 - pow(o->beta2, (double)o->step));
    return value * (1 - o->lr * o->weight_decay) - o->lr * mean / (sqrt(square) + o->eps);
}

typedef struct arrays {
    float *value, *grad, *m, *v, *ema;
} arrays;

static arrays arrays_open(int64_t n) {
    arrays a = {kernel_array_open(n), kernel_array_open(n), kernel_array_open(n),
                kernel_array_open(n), kernel_array_open(n)};
    vn_random_normal(a.value, (size_t)n, 1, VN_STREAM_TEST, 1, 0);
    vn_random_normal(a.grad, (size_t)n, 1, VN_STREAM_TEST, 2, 0);
    vn_random_normal(a.m, (size_t)n, 1, VN_STREAM_TEST, 3, 0);
    vn_random_uniform(a.v, (size_t)n, 1, VN_STREAM_TEST, 4, 0);
    memcpy(a.ema, a.value, (size_t)n * sizeof(float));
    return a;
}

static void arrays_close(arrays *a, int64_t n) {
    kernel_array_close(a->value, n);
    kernel_array_close(a->grad, n);
    kernel_array_close(a->m, n);
    kernel_array_close(a->v, n);
    kernel_array_close(a->ema, n);
}

static void any_length_and_thread_count(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 15, 17, 4097, 70003};
    vn_adamw o = {.lr = 1e-2,
                  .beta1 = 0.9,
                  .beta2 = 0.99,
                  .eps = 1e-8,
                  .weight_decay = 0.01,
                  .step = 3,
                  .grad_scale = 0.5,
                  .ema = 0.9};
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++)
        for (size_t l = 0; l < VN_COUNT(lengths); l++) {
            const vn_device_row *b = vn_cpu_row_at(k);
            int64_t n = lengths[l];
            arrays start = arrays_open(n), first = arrays_open(n);
            b->adamw(&(vn_device){b, NULL, NULL}, &o, (size_t)n, first.value, first.grad, first.m,
                     first.v, first.ema);
            for (int64_t i = 0; i < n; i++) {
                double truth = plain(&o, (double)start.value[i], (double)start.grad[i],
                                     (double)start.m[i], (double)start.v[i]);
                double average = o.ema * (double)start.value[i] + (1 - o.ema) * truth;
                expect_below("weights", fabs((double)first.value[i] - truth),
                             STEP_ERROR * fmax(1, fabs(truth)));
                expect_below("average", fabs((double)first.ema[i] - average),
                             STEP_ERROR * fmax(1, fabs(average)));
            }
            for (int threads = 2; threads <= MAX_POOL; threads++) {
                arrays again = arrays_open(n);
                bool averaged = threads % 2 == 0; /* without an average, too */
                b->adamw(&(vn_device){b, NULL, crew_of(threads)}, &o, (size_t)n, again.value,
                         again.grad, again.m, again.v, averaged ? again.ema : NULL);
                assert_memory_equal(again.value, first.value, (size_t)n * sizeof(float));
                assert_memory_equal(again.m, first.m, (size_t)n * sizeof(float));
                assert_memory_equal(again.v, first.v, (size_t)n * sizeof(float));
                assert_memory_equal(again.ema, averaged ? first.ema : start.ema,
                                    (size_t)n * sizeof(float));
                arrays_close(&again, n);
            }
            arrays_close(&start, n);
            arrays_close(&first, n);
        }
}

/* The mean, the look ahead and the step along it, each with a factor that is not 1. */
static void momentum_and_descent(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 15, 17, 4097, 70003};
    const vn_momentum o = {.mean = 0.9, .grad_scale = 0.5};
    const vn_descent p = {.rate = 0.03, .decay = 0.01, .ema = 0.9};
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++)
        for (size_t l = 0; l < VN_COUNT(lengths); l++) {
            const vn_device_row *b = vn_cpu_row_at(k);
            const int64_t n = lengths[l];
            const size_t bytes = (size_t)n * sizeof(float);
            arrays start = arrays_open(n), first = arrays_open(n);
            for (int threads = 1; threads <= MAX_POOL; threads++) {
                const vn_device d = {b, NULL, crew_of(threads)};
                arrays again = arrays_open(n);
                const bool averaged = threads != 2; /* without an average, too */
                b->momentum(&d, &o, (size_t)n, again.grad, again.m);
                b->descend(&d, &p, (size_t)n, again.value, again.grad, averaged ? again.ema : NULL);
                if (threads == 1) memcpy(first.grad, again.grad, bytes);
                if (threads == 1) memcpy(first.m, again.m, bytes);
                if (threads == 1) memcpy(first.value, again.value, bytes);
                if (threads == 1) memcpy(first.ema, again.ema, bytes);
                assert_memory_equal(again.grad, first.grad, bytes);
                assert_memory_equal(again.m, first.m, bytes);
                assert_memory_equal(again.value, first.value, bytes);
                assert_memory_equal(again.ema, averaged ? first.ema : start.ema, bytes);
                arrays_close(&again, n);
            }
            for (int64_t i = 0; i < n; i++) {
                const double g = (double)start.grad[i] * o.grad_scale,
                             m = o.mean * (double)start.m[i] + (1 - o.mean) * g,
                             ahead = o.mean * m + (1 - o.mean) * g,
                             value = (1 - p.decay) * (double)start.value[i] - p.rate * ahead,
                             average = p.ema * (double)start.ema[i] + (1 - p.ema) * value;
                expect_below("mean", fabs((double)first.m[i] - m), STEP_ERROR * fmax(1, fabs(m)));
                expect_below("ahead", fabs((double)first.grad[i] - ahead),
                             2 * STEP_ERROR * fmax(1, fabs(ahead))); /* through the mean */
                expect_below("value", fabs((double)first.value[i] - value),
                             STEP_ERROR * fmax(1, fabs(value)));
                expect_below("average of values", fabs((double)first.ema[i] - average),
                             STEP_ERROR * fmax(1, fabs(average)));
            }
            arrays_close(&start, n);
            arrays_close(&first, n);
        }
}

/* Of spans that lie in any order, of any length, for any number of threads. */
static void squares_are_summed_in_a_fixed_order(void **state) {
    (void)state;
    enum { SPANS = 5 };
    static const vn_span spans[SPANS] = {{0, 0}, {300000, 1}, {5, 100}, {105, 4097}, {3, 300001}};
    const int64_t n = 300004;
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++) {
        float *x = kernel_array_open(n);
        vn_device d = {vn_cpu_row_at(k), NULL, NULL};
        double first[SPANS], again[SPANS];
        vn_random_normal(x, (size_t)n, 2, VN_STREAM_TEST, 1, 0);
        d.row->sum_squares(&d, SPANS, spans, x, first);
        for (int s = 0; s < SPANS; s++) {
            double truth = 0;
            for (size_t i = spans[s].at; i < spans[s].at + spans[s].n; i++)
                truth += (double)x[i] * (double)x[i];
            /* lanes of 128 squares: 3 sqrt(128) roundings at most, and twice that */
            expect_below("sum of squares", fabs(first[s] - truth), 2 * 34 * 0x1p-24 * truth);
        }
        for (int threads = 2; threads <= MAX_POOL; threads++) {
            d.pool = crew_of(threads);
            d.row->sum_squares(&d, SPANS, spans, x, again);
            assert_memory_equal(again, first, sizeof first);
        }
        kernel_array_close(x, n);
    }
}

/* Every element once, whatever the length and the threads. */
static void gradients_are_added(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 7, 100, 4097, 300001};
    for (size_t k = 0; (kernels = vn_cpu_row_at(k)); k++)
        for (size_t l = 0; l < VN_COUNT(lengths); l++)
            for (int threads = 1; threads <= MAX_POOL; threads++) {
                const int64_t n = lengths[l];
                float *x = kernel_array_open(n), *y = kernel_array_open(n);
                const vn_device d = {vn_cpu_row_at(k), NULL, crew_of(threads)};
                for (int64_t i = 0; i < n; i++) x[i] = (float)i, y[i] = (float)(3 * i);
                d.row->accumulate(&d, (size_t)n, x, y);
                for (int64_t i = 0; i < n; i++) assert_true(x[i] == (float)(4 * i));
                kernel_array_close(x, n);
                kernel_array_close(y, n);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pytorch),
        cmocka_unit_test(any_length_and_thread_count),
        cmocka_unit_test(momentum_and_descent),
        cmocka_unit_test(squares_are_summed_in_a_fixed_order),
        cmocka_unit_test(gradients_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
