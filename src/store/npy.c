/* npy.c - numpy's file for one array, version 1.0: a magic, the length of a Python dictionary in
 * text, the dictionary filled with spaces to a multiple of 64, then the numbers. */
#include "store/internal.h"

#include <string.h>

#define HEADER_BYTES 256 /* enough for VN_MAX_RANK sizes of 19 digits */
#define PREFIX_BYTES 10  /* before the dictionary */

static const char *numpy_type(vn_dtype dtype) {
    switch (dtype) {
    case VN_U8: return "|u1";
    case VN_I32: return "<i4";
    case VN_I64: return "<i8";
    case VN_F32: return "<f4";
    case VN_F64: return "<f8";
    default: return NULL;
    }
}

/* "(3, 4)"; one axis is "(3,)" */
static void tuple_text(const vn_shape *shape, char text[160]) {
    size_t used = (size_t)snprintf(text, 160, "(");
    for (int i = 0; i < shape->rank; i++)
        used += (size_t)snprintf(text + used, 160 - used, "%s%lld", i ? ", " : "",
                                 (long long)shape->dim[i]);
    snprintf(text + used, 160 - used, shape->rank == 1 ? ",)" : ")");
}

/* Returns the bytes of the header. */
static uint64_t write_header(FILE *file, const char *type, const vn_shape *shape) {
    char tuple[160], dictionary[HEADER_BYTES];
    tuple_text(shape, tuple);
    int length = snprintf(dictionary, sizeof dictionary,
                          "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, tuple);
    int padded = (PREFIX_BYTES + length + 1 + 63) / 64 * 64 - PREFIX_BYTES; /* with a line end */
    const char prefix[PREFIX_BYTES] = {
        '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(padded & 0xFF), (char)(padded >> 8)};
    fwrite(prefix, 1, sizeof prefix, file);
    fprintf(file, "%-*s\n", padded - 1, dictionary);
    return (uint64_t)(PREFIX_BYTES + padded);
}

vn_status vn_npy_begin(const char *path, vn_memory_file *to, vn_dtype dtype, const vn_shape *shape,
                       vn_tensor_file **out, vn_err *err) {
    const char *type = numpy_type(dtype);
    size_t count, bytes;
    *out = NULL;
    if (!type) return vn_fail(err, VN_UNSUPPORTED, "%s: .npy of %s", path, vn_dtype_name(dtype));
    if (!vn_array_size(shape, dtype, &count, &bytes))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: array too large", path);
    const vn_status status =
        vn_tensor_file_open(path, to, 1, (uint64_t)bytes + HEADER_BYTES, out, err);
    if (status) return status;
    (*out)->at = write_header((*out)->w.file, type, shape);
    (*out)->place[0] = (vn_tensor_place){(*out)->at, vn_dtype_size(dtype)};
    return VN_OK;
}

vn_status vn_npy_write(const char *path, vn_dtype dtype, const vn_shape *shape, const void *data,
                       vn_err *err) {
    vn_tensor_file *f = NULL;
    vn_status status = vn_npy_begin(path, NULL, dtype, shape, &f, err);
    if (!status) status = vn_tensor_file_put(f, 0, 0, (size_t)vn_shape_count(shape), data, err);
    if (!status) status = vn_tensor_file_commit(&f, err);
    vn_tensor_file_abandon(&f);
    return status;
}
