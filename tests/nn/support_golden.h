/* support_golden.h - a network and what PyTorch made of it (golden/unet2d.py, nets.py, dit.py): run
 * it and compare. */
#ifndef VN_TEST_SUPPORT_GOLDEN_H
#define VN_TEST_SUPPORT_GOLDEN_H

#include "nn/nn.h"
#include "store/store.h"

typedef struct vn_golden {
    vn_safetensors *file;
    vn_net *net;
    vn_values *values; /* the file's weights */
} vn_golden;

/* The largest relative errors found, in the norm of a tensor. */
typedef struct vn_golden_error {
    double output, gradient;
    char worst[128]; /* the gradient's name */
} vn_golden_error;

/* path: below tests/golden; row: of a network that is in no table. These fail the test on any
 * error. */
void vn_golden_open(vn_golden *g, const char *path);
void vn_golden_open_row(vn_golden *g, const vn_net_row *row, const char *path);
void vn_golden_close(vn_golden *g);
/* Output and every gradient, by one program. */
vn_golden_error vn_golden_compare(const vn_golden *g, const vn_device_row *row,
                                  vn_thread_pool *pool);
/* The output alone, through a runner. */
double vn_golden_compare_runner(const vn_golden *g, const vn_device_row *row, vn_thread_pool *pool);
/* One tensor of the file as floats (int64 too), to be freed with vn_free; NULL if absent. */
float *vn_golden_read(const vn_golden *g, const char *name, vn_shape *shape);

#endif
