/* array.h - arrays with names: what files hold, what a condition carries, what a network's inputs
 * are filled from (vn_array, vn_shape and vn_dtype: vane.h). All are dense and row-major. Graphs
 * compute with F32 and I32; the other types are what files and weights may be kept in. One from a
 * file lies at any address, so it is taken with vn_array_read_*. */
#ifndef VN_ARRAY_H
#define VN_ARRAY_H

#include "base/base.h"

size_t vn_dtype_size(vn_dtype dtype);      /* bytes of one number */
const char *vn_dtype_name(vn_dtype dtype); /* "F32" */
bool vn_dtype_is_float(vn_dtype dtype);
/* Its place in safetensors' own list of types, by which the reference's writer orders tensors. */
int vn_dtype_order(vn_dtype dtype);
/* By its name; false if there is none of it. */
bool vn_dtype_parse(const char *name, vn_dtype *out);

/* VN_SHAPE(2, 3): a shape of these lengths, each an int64_t. */
#define VN_SHAPE(...)                                                                              \
    vn_shape_make((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                       \
                  (const int64_t[]){__VA_ARGS__})
vn_shape vn_shape_make(int rank, const int64_t *dim);
int64_t vn_shape_count(const vn_shape *s); /* numbers in it */
bool vn_shape_equal(const vn_shape *a, const vn_shape *b);
/* No length is negative, and the bytes of many such arrays can be counted. */
bool vn_shape_valid(const vn_shape *s);
/* "[2, 3]"; returns text. */
const char *vn_shape_text(const vn_shape *shape, char text[128]);

/* The shape of one sample, [C,H,W] or [D]: whether it is an image, its channels (of points: D), and
 * its pixels (of points: 1). */
bool vn_shape_is_image(const vn_shape *sample);
int64_t vn_shape_channels(const vn_shape *sample);
int64_t vn_shape_pixels(const vn_shape *sample);

/* Elements and bytes of an array; false if they overflow. */
bool vn_array_size(const vn_shape *shape, vn_dtype dtype, size_t *count, size_t *bytes);
/* The whole array as one type; out holds vn_shape_count(&a->shape) numbers. float takes every
 * dtype; the others take integers only, and those out of range are VN_BAD_FILE, naming the
 * array. */
void vn_array_read_f32(const vn_array *a, float *out);
vn_status vn_array_read_i64(const vn_array *a, int64_t *out, vn_err *err);
vn_status vn_array_read_i32(const vn_array *a, int32_t *out, vn_err *err);

/* n floats as numbers of a type, F32, F16 or BF16: the nearest, of two the even one; what is too
 * large is infinite. */
void vn_floats_write(vn_dtype dtype, size_t n, const float *x, void *out);

/* The first row of x [n,size] with a number that is not finite; -1: none. */
int64_t vn_row_not_finite(int64_t n, int64_t size, const float *x);

#endif
