/* support_product.h - one op at a time against the plain reference, on every instruction set this CPU runs. */
#ifndef VN_TEST_SUPPORT_PRODUCT_H
#define VN_TEST_SUPPORT_PRODUCT_H

#include "cpu/cpu.h"

/* Ops of `product_check` are built from shapes alone: a node of such inputs. */
typedef struct product_case {
    vn_node node, in[VN_MAX_IN];
} product_case;

/* Fills c with a node of op and inputs of the shapes given. `out` is its shape, or NULL to take what the op's own rule says. */
void product_open(product_case *c, vn_op op, vn_attr attr, int inputs, const vn_shape *in, const vn_shape *out);

/* Runs the node on random numbers with 1 to 4 threads and fails the test where the largest error, relative to the largest value
 * of the reference, is above `tolerance`, where a thread count changes a bit, or where an array's neighbour is written or an
 * undefined number of the workspace shows in the result. */
void product_check(product_case *c, double tolerance);

/* Largest error seen by product_check in this program, for setting tolerances. */
double product_worst(void);

/* A whole number in [least, most], the next of a sequence that is the same in every run. */
int64_t product_draw(int64_t least, int64_t most);

#endif
