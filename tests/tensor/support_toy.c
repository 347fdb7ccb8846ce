/* support_toy.c - see support_toy.h. */
#include "tensor/support_toy.h"

#include <string.h>

size_t toy_work(const vn_node *n, int threads) {
    size_t count = (size_t)vn_shape_count(&n->shape);
    (void)threads;
    for (int i = 0; i < n->inputs; i++) count += (size_t)vn_shape_count(&n->in[i]->shape);
    return count * sizeof(double);
}

static double number(vn_dtype dtype, const void *x, int64_t k) {
    if (dtype == VN_I32) return ((const int32_t *)x)[k];
    float y;
    const vn_array one = {.dtype = dtype,
                          .data = (const char *)x + (size_t)k * vn_dtype_size(dtype)};
    vn_array_read_f32(&one, &y);
    return (double)y;
}

void toy_run(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    const double *in[VN_MAX_IN] = {0};
    double *at = a->work;
    for (int i = 0; i < n->inputs; i++) {
        int64_t count = vn_shape_count(&n->in[i]->shape);
        for (int64_t k = 0; k < count; k++) at[k] = number(n->in[i]->dtype, a->in[i], k);
        in[i] = at;
        at += count;
    }
    ref_eval(n, in, at, a->run);
    for (int64_t k = 0; k < vn_shape_count(&n->shape); k++)
        if (n->dtype == VN_I32)
            ((int32_t *)a->out)[k] = (int32_t)at[k];
        else
            ((float *)a->out)[k] = (float)at[k];
}

static vn_status take(void *self, size_t bytes, void **at, vn_err *err) {
    (void)self;
    *at = vn_alloc_aligned(bytes, 1);
    return *at ? VN_OK : vn_no_memory(err);
}

static void give(void *self, void *at) {
    (void)self;
    vn_free(at);
}

static void copy(void *self, void *to, const void *from, size_t bytes) {
    (void)self;
    memcpy(to, from, bytes);
}

static void clear(void *self, void *at, size_t bytes) {
    (void)self;
    memset(at, 0, bytes);
}

static vn_status wait(void *self, vn_err *err) {
    (void)self;
    (void)err;
    return VN_OK;
}

vn_device_row toy_row(void) {
    vn_device_row row = {.name = "toy",
                         .host_memory = true,
                         .take = take,
                         .give = give,
                         .write = copy,
                         .read = copy,
                         .copy = copy,
                         .clear = clear,
                         .wait = wait};
    for (int op = 0; op < VN_OP_COUNT; op++) {
        if (op == VN_OP_INPUT || op == VN_OP_PARAM || op == VN_OP_CONST || op == VN_OP_VIEW)
            continue;
        row.kernel[op] = toy_run;
        row.workspace[op] = toy_work;
    }
    return row;
}
