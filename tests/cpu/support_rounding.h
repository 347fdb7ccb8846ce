/* support_rounding.h - how far rounding may carry each element of a kernel's result from the exact
 * one: an analysis of every op, with which kernel_check (support_kernel.h) is bounded.
 *
 * Errors are in units of u = 2^-24 and to first order in it: an operation adds u times its result,
 * and passes on the errors of its operands (Higham, Accuracy and Stability of Numerical Algorithms,
 * 3.3, running error analysis). A sum of n terms is off by at most n u times the sum of their
 * absolute values, in whatever order it is made; beyond nine terms that is far from what happens,
 * and 3 sqrt(n) stands in place of n (Higham & Mary 2019, SIAM J. Sci. Comput. 41(5): roundings of
 * mean 0 stay below 6 sqrt(n), which is what kernel_check allows, with a probability of 1 - 2
 * exp(-18) or more). As sizes of terms and not of results are counted, no draw of the inputs can
 * make the bound too small by cancellation. Of functions, what their polynomials are off by stands
 * in src/cpu/kernel_math.h. */
#ifndef VN_TEST_SUPPORT_ROUNDING_H
#define VN_TEST_SUPPORT_ROUNDING_H

#include "support/reference_ops.h"

/* error[i]: of element i of the node's result from these inputs, in u; 0 where it must be exact. */
void rounding_errors(const vn_node *n, ref_in in, double *error);

/* Of f^(order)(x), as kernels compute it. */
double function_error(vn_fn fn, int order, double x);

#endif
