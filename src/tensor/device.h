/* device.h - what the engine asks of a machine that computes: memory, one kernel for each op, and
 * the optimiser's pass over all weights. One row a device; the CPU has a row for each instruction
 * set. A part of tensor.h, which other rooms include.
 *
 * Only a device's own functions and kernels use addresses of its memory. If the host can read that
 * memory (row->host_memory), programs give out the addresses of their inputs and outputs; otherwise
 * they give out host memory that is copied before and after a run.
 *
 * A device executes calls in order, but perhaps after they have returned: read and wait return when
 * all calls before them are done. wait returns the failures of such calls.
 */
#ifndef VN_TENSOR_DEVICE_H
#define VN_TENSOR_DEVICE_H

#include "tensor/node.h"

/* Told of the steps of a run by the thread that makes them, where a kernel has returned when its
 * work is done: on the host's memory. */
typedef struct vn_run_watch {
    void *self;
    void (*before)(void *self, int step);
    void (*after)(void *self, int step);
} vn_run_watch;

typedef struct vn_run {
    const struct vn_values *values;      /* of set 0; may be NULL if the graph has no PARAM of it */
    const struct vn_values *const *more; /* of sets 1, 2, ..; NULL: there are none */
    /* flat gradients in the device's memory, for outputs bound with vn_program_options.grads; else
     * NULL */
    float *grads;
    uint64_t seed; /* dropout */
    uint64_t step;
    uint64_t first_sample;     /* dropout of row i of the batch is keyed by first_sample + i */
    const vn_run_watch *watch; /* or NULL */
} vn_run;

/* The seed from which a dropout site draws: row i of the batch takes vn_random_uniform(..,
 * VN_STREAM_DROPOUT, first_sample + i, step), one number for each of its elements; an element is
 * dropped where that is below p. */
static inline uint64_t vn_dropout_seed(uint64_t seed, uint32_t site) {
    return seed + UINT64_C(0x9E3779B97F4A7C15) * (site + UINT64_C(1));
}

typedef struct vn_kernel_args {
    const vn_node *node;
    const void *in[VN_MAX_IN];
    void *out; /* 64-byte aligned; in-place: equals one of in[] */
    /* as many bytes as the row's workspace function asked for, 64-byte aligned */
    void *work;
    void *self;           /* the device's */
    vn_thread_pool *pool; /* NULL: one thread */
    const vn_run *run;
} vn_kernel_args;

typedef void (*vn_kernel)(const vn_kernel_args *a); /* cannot fail; must not allocate */

/* AdamW as in PyTorch: decoupled decay, bias-corrected, one pass over flat arrays of n floats. */
typedef struct vn_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* 1 for the first */
    double grad_scale; /* gradient clipping: grads are multiplied by it */
    /* ema = decay*ema + (1-decay)*value after the update; 0 with ema array NULL: none */
    double ema;
} vn_adamw;
/* PyTorch's defaults, as members of an initialiser */
#define VN_ADAMW_DEFAULTS .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8

/* What is made of a gradient g and its running mean m, which becomes mean m + (1 - mean) g: the
 * gradient's place takes Nesterov's look ahead, mean m + (1 - mean) g once more. */
typedef struct vn_momentum {
    double mean;       /* in [0,1) */
    double grad_scale; /* gradients are multiplied by it before */
} vn_momentum;

/* A step along a direction: value = (1 - decay) value - rate direction, and the average of values
 * as in vn_adamw. */
typedef struct vn_descent {
    double rate, decay;
    double ema;
} vn_descent;

/* A run of floats in an array. */
typedef struct vn_span {
    size_t at, n;
} vn_span;

typedef struct vn_device vn_device;

typedef struct vn_device_row {
    const char *name; /* "avx2", "portable" */
    /* What matrix products and attention multiply: "float32", or numbers rounded to "bf16", whose
     * sums are float32; and by which of the device's units, "AVX512-BF16". May be NULL: float32 */
    const char *precision, *unit;
    const struct vn_device_row *exact; /* the row of float32, where this is another; else NULL */
    bool host_memory;                  /* the host may follow its addresses, and it the host's */
    bool fuses; /* fused ops (fuse.c) round as those that they stand for, and may stand for them */
    /* `which` of several, NULL for the first; close gives back what open made. NULL: self is
     * NULL. */
    vn_status (*open)(const char *which, void **self, vn_err *err);
    void (*close)(void *self);
    /* Memory, 64-byte aligned: never NULL on VN_OK, also of no bytes. give takes NULL too. */
    vn_status (*take)(void *self, size_t bytes, void **at, vn_err *err);
    void (*give)(void *self, void *at);
    void (*write)(void *self, void *to, const void *from, size_t bytes); /* from the host */
    void (*read)(void *self, void *to, const void *from, size_t bytes);  /* to the host */
    void (*copy)(void *self, void *to, const void *from, size_t bytes);
    void (*clear)(void *self, void *at, size_t bytes); /* to zeros */
    /* Returns when all that was asked for is done; or what failed of it. */
    vn_status (*wait)(void *self, vn_err *err);
    vn_kernel kernel[VN_OP_COUNT]; /* NULL: the op's expansion is planned in its place */
    size_t (*workspace[VN_OP_COUNT])(const vn_node *n, int threads); /* NULL: none */
    /* All arrays lie in the device's memory. */
    void (*adamw)(const vn_device *d, const vn_adamw *o, size_t n, float *value, const float *grad,
                  float *m, float *v, float *ema);
    void (*momentum)(const vn_device *d, const vn_momentum *o, size_t n, float *grad, float *m);
    void (*descend)(const vn_device *d, const vn_descent *o, size_t n, float *value,
                    const float *direction, float *ema); /* ema NULL: none */
    /* sum[i], of the host: of the squares of span i of x, added in a fixed order */
    void (*sum_squares)(const vn_device *d, int n, const vn_span *span, const float *x,
                        double *sum);
    void (*accumulate)(const vn_device *d, size_t n, float *x, const float *y); /* x += y */
} vn_device_row;

/* A device that was opened. */
struct vn_device {
    const vn_device_row *row;
    void *self;
    vn_thread_pool *pool; /* the host's threads, for devices that run there; NULL: one thread */
};

vn_status vn_device_open(const vn_device_row *row, const char *which, vn_thread_pool *pool,
                         vn_device *out, vn_err *err);
void vn_device_close(vn_device *d); /* safe on a zeroed one */

/* An array of zeros, to be given back with vn_device_give. */
vn_status vn_device_zeros(const vn_device *d, size_t bytes, void **at, vn_err *err);
void vn_device_give(const vn_device *d, void *at); /* safe on NULL */

#endif
