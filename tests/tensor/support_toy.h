/* support_toy.h - a device whose every kernel is the reference evaluator, rounded to floats:
 * it lets programs be tested without the kernels. It uses its work space, does not allocate (but
 * for dropout and attention), and reads all of its inputs before it writes, so it may run in
 * place. */
#ifndef SUPPORT_TOY_H
#define SUPPORT_TOY_H

#include "support/reference.h"

vn_device_row toy_row(void);
/* One op on arrays of its node's types, with work of toy_work bytes. */
void toy_run(const vn_kernel_args *a);
size_t toy_work(const vn_node *n, int threads);

#endif
