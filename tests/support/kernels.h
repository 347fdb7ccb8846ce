/* kernels.h - tests of numbers that kernels compute run under each kernel set that this processor
 * has:
 *
 *     return run_under_each_kernel_set(tests, setup, teardown);
 *
 * in place of cmocka_run_group_tests: once for each of avx512, avx2 and portable, with the fixtures
 * of the group, and `kernels` the one under test. Under sanitizers the best set alone is run.
 * VANE_TEST_KERNELS=avx2 in the environment chooses one. Only tests read it; the library chooses as
 * ever. */
#ifndef VN_TEST_KERNELS_H
#define VN_TEST_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/cpu.h"

extern const vn_device_row *kernels;

/* The sum of the squares of x [n], of the device's. */
static inline double squares_of(const vn_device *d, size_t n, const float *x) {
    const vn_span all = {0, n};
    double sum = 0;
    d->row->sum_squares(d, 1, &all, x, &sum);
    return sum;
}

/* The number of failures, as cmocka_run_group_tests gives it; 99 where VANE_TEST_KERNELS names a
 * set that is not here. */
int kernels_run(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                CMFixtureFunction teardown);

#define run_under_each_kernel_set(tests, setup, teardown)                                          \
    kernels_run(tests, VN_COUNT(tests), setup, teardown)

#endif
