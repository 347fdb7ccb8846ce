/* support_kernel.h - one kernel at a time, on every instruction set this CPU runs, against the
 * plain reference: any op, any inputs. */
#ifndef VN_TEST_SUPPORT_KERNEL_H
#define VN_TEST_SUPPORT_KERNEL_H

#include "cpu/cpu.h"

typedef enum kernel_fill {
    KERNEL_NORMAL,   /* standard normal */
    KERNEL_SAME,     /* standard normal, the same in every case */
    KERNEL_POSITIVE, /* uniform in [0.2, 4] */
    KERNEL_LABELS,   /* integers in [0, labels) */
    KERNEL_MASK,     /* 0, or -infinity in a third of the places */
    KERNEL_BITS      /* any bits of the input's number type, but those of NaN */
} kernel_fill;

typedef struct kernel_case {
    vn_node node, in[VN_MAX_IN];
    kernel_fill fill[VN_MAX_IN];
    int64_t labels;
    float offset; /* added to input 0 */
} kernel_case;

/* The next whole number in [least, most] of a sequence that VANE_TEST_SEED changes (seed.h); of
 * a second one that nothing does. */
int64_t kernel_draw(int64_t least, int64_t most);
int64_t product_draw(int64_t least, int64_t most);

/* The i-th row that can run here whose products are of bfloat16, of each instruction set in turn;
 * NULL past the last. */
const vn_device_row *kernel_bf16_row(size_t i);

/* Sets c to a node of `op` with inputs of these shapes (fill all KERNEL_NORMAL). out: its shape,
 * where the op's rule needs it. */
void kernel_open(kernel_case *c, vn_op op, vn_attr attr, int inputs, const vn_shape *in,
                 const vn_shape *out);

/* Runs c on drawn inputs on every kernel set, products also on those of bfloat16 operands (against
 * the reference of rounded inputs), with 1 to 4 threads, and in place where the op's row
 * allows it. Fails the test where an element of the result is further from the reference than
 * twice what its roundings may make of it (support_rounding.h). Fails also where a thread count or
 * the place changes a bit; where an input, an array's neighbour or the workspace's end is written;
 * or where undefined memory shows in the result. */
void kernel_check(kernel_case *c);

/* kernel_open and kernel_check for ops whose inputs are all floats around 0: filled with
 * KERNEL_SAME. Returns the result's shape. */
vn_shape product_check(vn_op op, vn_attr attr, int inputs, const vn_shape *in, const vn_shape *out);

/* `count` floats (or integers) with NaN on both sides; closing fails the test if those were
 * written. */
float *kernel_array_open(int64_t count);
void kernel_array_close(float *array, int64_t count);

/* Runs the node once by the row's kernel; the workspace is as large as asked for and undefined. */
void kernel_run(const vn_device_row *b, const vn_node *n, float *const *in, float *out, int threads,
                const vn_run *run);

#endif
