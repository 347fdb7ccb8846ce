/* cpu.h - the CPU as a device. One C source a kernel family, compiled once per instruction set, and
 * a row of functions for each set; which one runs is chosen when the program starts. The portable
 * build is the reference that the others are tested against. */
#ifndef VN_CPU_H
#define VN_CPU_H

#include "tensor/tensor.h"

/* name: NULL or "auto" for the best this CPU runs, or "avx512", "avx2", "portable". NULL with err
 * set if unknown or not runnable here. The row is static. */
const vn_device_row *vn_cpu_row(const char *name, vn_err *err);
/* The i-th that can run on this CPU, best first; NULL past the end. */
const vn_device_row *vn_cpu_row_at(size_t i);
int vn_cpu_cores(void); /* cores this process may use */
/* Largest matrix product and memory copy rates measured now. */
void vn_cpu_measure(const vn_device_row *row, vn_thread_pool *pool, double *gemm_gflops,
                    double *memory_gbs);

#endif
