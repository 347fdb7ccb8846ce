/* kernel_unary.h - functions of one variable, for kernels that end in one. */
#ifndef VN_CPU_KERNEL_UNARY_H
#define VN_CPU_KERNEL_UNARY_H

#include "cpu/internal.h"

/* Every instruction set has its own. */
#define vn_unary_span VN_PASTE(vn_unary_span, VN_ISA)

/* y[i] = fn(x[i]), i < n; y may be x. */
void vn_unary_span(vn_fn fn, const float *x, int64_t n, float *y);

#endif
