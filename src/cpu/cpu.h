/* cpu.h - the CPU as a device. One C source a kernel family, compiled once per instruction set, and
 * a row of functions for each set; which one runs is chosen when the program starts. The portable
 * build is the reference that the others are tested against. A set has a second row whose matrix
 * products and attention multiply numbers rounded to bfloat16. */
#ifndef VN_CPU_H
#define VN_CPU_H

#include "tensor/tensor.h"

/* name: NULL or "auto" for the best this CPU runs, or "avx512", "avx2", "portable". NULL with err
 * set if unknown or not runnable here. The row is static. */
const vn_device_row *vn_cpu_row(const char *name, vn_err *err);
/* The i-th that can run on this CPU, best first; NULL past the end. */
const vn_device_row *vn_cpu_row_at(size_t i);
/* The i-th row that can run here of the same instruction set with products of bfloat16, best first;
 * NULL past the end. *is_faster: it gains time, because the CPU multiplies them itself. */
const vn_device_row *vn_cpu_row_bf16(const vn_device_row *exact, size_t i, bool *is_faster);
/* precision: NULL or "float32" for `exact` itself, "bf16" for the best row with such products, or
 * "auto": bf16 where that is faster. NULL with err set if unknown. */
const vn_device_row *vn_cpu_row_of(const vn_device_row *exact, const char *precision, vn_err *err);
int vn_cpu_cores(void); /* cores this process may use */
/* Largest matrix product and memory copy rates measured now. */
void vn_cpu_measure(const vn_device_row *row, vn_thread_pool *pool, double *gemm_gflops,
                    double *memory_gbs);

#endif
