/* weights.h - the list of a network's parameters: names, shapes, and where each one lies in the
 * arrays that hold their values. A part of tensor.h, which other rooms include. */
#ifndef VN_TENSOR_WEIGHTS_H
#define VN_TENSOR_WEIGHTS_H

#include "tensor/node.h"

/* ---- weights: one flat array of floats for all parameters of a network ----------------------- */

typedef enum vn_layout {
    VN_LAYOUT_PLAIN, /* as in the file */
    VN_LAYOUT_CONV   /* file [O,I,kh,kw], inside [kh,kw,I,O] */
} vn_layout;

typedef enum vn_init_kind {
    VN_INIT_ZEROS,
    VN_INIT_ONES,
    VN_INIT_UNIFORM,
    VN_INIT_NORMAL
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
    bool frozen;   /* not trained (Fourier features) */
    size_t offset; /* in the flat array, a multiple of 16 floats; the gap is zero */
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
/* length of the flat array */
size_t vn_weights_floats(const vn_weights *w);
int64_t vn_weights_parameters(const vn_weights *w); /* without gaps */
/* Fills values[vn_weights_floats] by each weight's init, Philox stream VN_STREAM_WEIGHTS, sample =
 * index. */
void vn_weights_init(const vn_weights *w, float *values, uint64_t seed);
/* one weight, repacked */
void vn_weight_to_file(const vn_weight *w, const float *inside, float *file);
void vn_weight_from_file(const vn_weight *w, const float *file, float *inside);

#endif
