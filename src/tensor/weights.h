/* weights.h - the list of a network's parameters, and where their values lie. A part of tensor.h,
 * which other rooms include.
 *
 * Programs find each weight by its own address, in its own number type: in the file that it came
 * from, or in memory of the values' own (vn_values). Training has flat arrays of floats with a
 * place for every weight, for values, gradients, moments and averages alike.
 */
#ifndef VN_TENSOR_WEIGHTS_H
#define VN_TENSOR_WEIGHTS_H

#include "tensor/device.h"

/* ---- the list -------------------------------------------------------------------------------- */

typedef enum vn_layout {
    VN_LAYOUT_PLAIN, /* as in the file */
    VN_LAYOUT_CONV   /* file [O,I,kh,kw], inside [kh,kw,I,O] */
} vn_layout;

typedef enum vn_init_kind {
    VN_INIT_ZEROS,
    VN_INIT_ONES,
    VN_INIT_UNIFORM,
    VN_INIT_NORMAL,
    VN_INIT_FUNCTION /* by the weight's `fill` */
} vn_init_kind;

typedef struct vn_init {
    vn_init_kind kind;
    double scale; /* uniform in [-scale, scale]; normal with this deviation */
} vn_init;

typedef struct vn_weight {
    const char *name; /* PyTorch's, e.g. "conv_in.weight" */
    vn_shape file;    /* PyTorch's shape */
    vn_shape shape;   /* the shape inside */
    vn_layout layout;
    vn_init init;
    bool frozen; /* not trained (Fourier features) */
    bool hidden; /* a matrix from hidden features to hidden ones: vn_weights_set_hidden */
    /* of VN_INIT_FUNCTION: writes [count], by init.scale too */
    void (*fill)(const struct vn_weight *weight, float *values);
    vn_dtype dtype; /* of its values: F32, or F16 or BF16, which graphs cast to F32 */
    size_t index;   /* in the list */
    size_t offset;  /* in flat arrays, a multiple of 16 floats; the gap is zero */
    size_t count;
} vn_weight;

/* The list of a network's parameters; the numbers live outside, so that live, EMA and gradient
 * arrays share it. */
typedef struct vn_weights vn_weights;
vn_status vn_weights_open(vn_weights **out, vn_err *err);
void vn_weights_close(vn_weights **w);
size_t vn_weights_count(const vn_weights *w);
const vn_weight *vn_weights_at(const vn_weights *w, size_t i);
const vn_weight *vn_weights_find(const vn_weights *w, const char *name); /* NULL if unknown */
/* length of a flat array */
size_t vn_weights_floats(const vn_weights *w);
/* Bytes of all values in their number types, each from a multiple of 64. */
size_t vn_weights_bytes(const vn_weights *w);
/* F32, as declared, or F16 or BF16: for graphs and values that are made afterwards. */
void vn_weights_set_dtype(vn_weights *w, size_t i, vn_dtype dtype);
/* False, as declared, until a network's graph has shown what the weight is for. */
void vn_weights_set_hidden(vn_weights *w, size_t i, bool hidden);
int64_t vn_weights_parameters(const vn_weights *w); /* without gaps */
/* A list without some of its weights, in its order, with places of its own. */
vn_status vn_weights_without(const vn_weights *w, bool (*unwanted)(const vn_weight *weight),
                             vn_weights **out, vn_err *err);
/* Fills values[vn_weights_floats] by each weight's init, Philox stream VN_STREAM_WEIGHTS, sample =
 * index. */
void vn_weights_init(const vn_weights *w, float *values, uint64_t seed);
/* one weight, repacked */
void vn_weight_to_file(const vn_weight *w, const float *inside, float *file);
void vn_weight_from_file(const vn_weight *w, const float *file, float *inside);
/* likewise, of numbers of `size` bytes, 2 or 4 */
void vn_weight_repack(const vn_weight *w, size_t size, const void *file, void *inside);

/* ---- values ---------------------------------------------------------------------------------- */

/* Where the weights lie in a device's memory. Counted: programs, models and threads share one. */
typedef struct vn_values vn_values;

/* Values, undefined yet but where lent[i] is the address of weight i in the device's memory, which
 * outlives them; the others get memory. lent NULL: none is. */
vn_status vn_values_open(const vn_weights *w, const vn_device *d, const void *const *lent,
                         vn_values **out, vn_err *err);
/* A flat array of floats, in the device's memory, seen as values; it outlives them. */
vn_status vn_values_over(const vn_weights *w, const vn_device *d, const float *flat,
                         vn_values **out, vn_err *err);
/* `what`, in which lent values lie, is closed with the values. */
void vn_values_keep(vn_values *v, void *what, void (*close)(void *what));
/* One more holder, who closes them too. */
vn_values *vn_values_share(vn_values *v);
void vn_values_close(vn_values **v); /* safe on NULL */
/* Weight i from the host's memory, in its number type and inside shape. */
void vn_values_write(vn_values *v, size_t i, const void *inside);
/* The same as floats, count of them. */
vn_status vn_values_read(const vn_values *v, size_t i, float *out, vn_err *err);
/* All by their inits, as vn_weights_init; of F32. */
vn_status vn_values_init(vn_values *v, uint64_t seed, vn_err *err);
/* Address in the device's memory. */
const void *vn_values_at(const vn_values *v, size_t i);
size_t vn_values_bytes(const vn_values *v); /* of memory of their own */

#endif
