/* bound.h - what is measured stands beside its bound, in what a test prints and in how it fails:
 *
 *     expect_below("mean", off, 4.5);      mean: measured 1.3, bound 4.5
 *
 * A NaN is not below. The bound is from an estimate of the error, which stands beside the call. */
#ifndef VN_TEST_BOUND_H
#define VN_TEST_BOUND_H

#define expect_below(what, measured, bound)                                                        \
    expect_below_at((what), (measured), (bound), __FILE__, __LINE__)

static inline void expect_below_at(const char *what, double measured, double bound,
                                   const char *file, int line) {
    print_message("%s: measured %.3g, bound %.3g\n", what, measured, bound);
    if (measured < bound) return;
    print_error("%s: measured %.9g, bound %.9g\n", what, measured, bound);
    _fail(file, line);
}

#endif
