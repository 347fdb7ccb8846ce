/* support_backend.c - see support_backend.h. */
#include "tensor/support_backend.h"

size_t toy_work(const vn_node *n, int threads) {
    size_t count = (size_t)vn_shape_count(&n->shape);
    (void)threads;
    for (int i = 0; i < n->inputs; i++) count += (size_t)vn_shape_count(&n->in[i]->shape);
    return count * sizeof(double);
}

void toy_run(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    const double *in[VN_MAX_IN] = {0};
    double *at = a->work;
    for (int i = 0; i < n->inputs; i++) {
        int64_t count = vn_shape_count(&n->in[i]->shape);
        bool integers = n->in[i]->dtype == VN_I32;
        for (int64_t k = 0; k < count; k++)
            at[k] =
                integers ? ((const int32_t *)a->in[i])[k] : (double)((const float *)a->in[i])[k];
        in[i] = at;
        at += count;
    }
    ref_eval(n, in, at, a->run);
    for (int64_t k = 0; k < vn_shape_count(&n->shape); k++) ((float *)a->out)[k] = (float)at[k];
}

vn_backend toy_backend(void) {
    vn_backend b = {.name = "toy"};
    for (int op = 0; op < VN_OP_COUNT; op++) {
        if (op == VN_OP_INPUT || op == VN_OP_PARAM || op == VN_OP_CONST || op == VN_OP_VIEW)
            continue;
        b.kernel[op] = toy_run;
        b.workspace[op] = toy_work;
    }
    return b;
}
