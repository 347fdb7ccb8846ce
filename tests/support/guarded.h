/* guarded.h - a device of its own for tests: the kernels of a CPU row, but memory that faults
 * whenever anything but the row's functions follows one of its addresses. What runs on it touches
 * no memory of a device from the host. Some kernels may be left out. */
#ifndef VN_TEST_GUARDED_H
#define VN_TEST_GUARDED_H

#include "tensor/tensor.h"

/* A row like `inner`, without the kernels of lacking[n]. One at a time: kernels know of `inner` by
 * a variable of the file. */
vn_device_row guarded_row(const vn_device_row *inner, int n, const vn_op *lacking);
/* Arrays that were taken and not given back. */
int guarded_arrays(const vn_device *d);
/* The next wait fails, as a device does on which something went wrong. */
void guarded_break(const vn_device *d);

#endif
