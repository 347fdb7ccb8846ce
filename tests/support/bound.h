/* bound.h - a measured error is held to a bound, and both are said:
 *
 *     expect_below("mean", off, 4.5);      mean, avx2: measured 1.3, bound 4.5
 *
 * in how the test fails, and, of the call of each name and kernel set that came nearest to its
 * bound, in the last lines of what the program prints. `what` names the check, the same in every
 * round of a loop. A NaN is not below. The bound is from an estimate of the error, which stands
 * beside the call, and at least twice what any kernel set measures by any seed: tools/margins.sh
 * runs all tests with VANE_TEST_MARGINS=FILE, to which each program then appends the same lines as
 * "share program kernels measured bound seed what", separated by tabs; seed: "drawn" or "fixed". */
#ifndef VN_TEST_BOUND_H
#define VN_TEST_BOUND_H

#include <stdio.h>

#define expect_below(what, measured, bound)                                                        \
    expect_below_at((what), (double)(measured), (double)(bound), __FILE__, __LINE__)

/* The same under the text of the measured expression. */
#define expect_small(measured, bound)                                                              \
    expect_below_at(#measured, (double)(measured), (double)(bound), __FILE__, __LINE__)

/* The same under a name made as printf does. */
#define expect_below_as(measured, bound, ...)                                                      \
    do {                                                                                           \
        char name_[160];                                                                           \
        snprintf(name_, sizeof name_, __VA_ARGS__);                                                \
        expect_below(name_, measured, bound);                                                      \
    } while (0)

void expect_below_at(const char *what, double measured, double bound, const char *file, int line);

#endif
