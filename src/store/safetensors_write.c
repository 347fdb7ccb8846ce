/* safetensors_write.c - writing the format, byte for byte as the reference writer does: wider types
 * first, then by name, so that every tensor is aligned; the header is filled with spaces to a
 * multiple of eight. */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

/* A tensor of the caller's array, at its place in the file. */
typedef struct placed {
    const vn_array *tensor;
    size_t bytes;
} placed;

static int compare_placed(const void *a, const void *b) {
    const vn_array *x = ((const placed *)a)->tensor, *y = ((const placed *)b)->tensor;
    return x->dtype != y->dtype ? vn_dtype_order(y->dtype) - vn_dtype_order(x->dtype)
                                : strcmp(x->name, y->name);
}

/* Sorts the tensors into order[count]. */
static vn_status place_tensors(const vn_array *tensors, size_t count, placed *order, vn_err *err) {
    for (size_t i = 0; i < count; i++) {
        size_t elements;
        order[i].tensor = &tensors[i];
        if (!vn_array_size(&tensors[i].shape, tensors[i].dtype, &elements, &order[i].bytes))
            return vn_fail(err, VN_BAD_ARGUMENT, "tensor '%.200s' is too large", tensors[i].name);
    }
    qsort(order, count, sizeof *order, compare_placed);
    return VN_OK;
}

static vn_status no_memory_unless(bool ok, vn_err *err) {
    return ok ? VN_OK : vn_no_memory(err);
}

/* Adds the tensor at `offset` of the data to the header. */
static vn_status add_entry(json_t *header, const placed *p, size_t offset, vn_err *err) {
    const vn_array *t = p->tensor;
    json_t *entry = json_object(), *dims = json_array(), *offsets = json_array();
    bool ok = entry && dims && offsets;
    for (int i = 0; ok && i < t->shape.rank; i++)
        ok = !json_array_append_new(dims, json_integer(t->shape.dim[i]));
    ok = ok && !json_array_append_new(offsets, json_integer((json_int_t)offset));
    ok = ok && !json_array_append_new(offsets, json_integer((json_int_t)(offset + p->bytes)));
    ok = ok && !json_object_set_new(entry, "dtype", json_string(vn_dtype_name(t->dtype)));
    ok = ok && !json_object_set(entry, "shape", dims) &&
         !json_object_set(entry, "data_offsets", offsets);
    ok = ok && !json_object_set_nocheck(header, t->name, entry);
    json_decref(offsets);
    json_decref(dims);
    json_decref(entry);
    return no_memory_unless(ok, err);
}

/* The header as a new text. */
static vn_status make_header(const char *path, const placed *order, size_t count,
                             const json_t *metadata, char **text, vn_err *err) {
    json_t *header = json_object();
    vn_status status = no_memory_unless(header, err);
    if (!status && metadata)
        status =
            no_memory_unless(!json_object_set(header, "__metadata__", (json_t *)metadata), err);
    size_t offset = 0;
    for (size_t i = 0; i < count && !status; i++) {
        const char *name = order[i].tensor->name;
        if (!vn_is_utf8(name))
            status = vn_fail(err, VN_BAD_ARGUMENT, "%s: a tensor's name is not UTF-8", path);
        else if (json_object_get(header, name) || strcmp(name, "__metadata__") == 0)
            status = vn_fail(err, VN_BAD_ARGUMENT, "%s: two tensors would be called '%.200s'", path,
                             name);
        if (!status) status = add_entry(header, &order[i], offset, err);
        offset += order[i].bytes;
    }
    if (!status) {
        *text = vn_json_text(header, JSON_COMPACT);
        status = no_memory_unless(*text, err);
    }
    json_decref(header);
    return status;
}

static void write_header(FILE *file, const char *text) {
    uint64_t length = strlen(text), padded = (length + 7) / 8 * 8;
    fwrite(&padded, sizeof padded, 1, file);
    fputs(text, file);
    for (; length < padded; length++) fputc(' ', file);
}

static vn_status write_file(const char *path, const char *header, const placed *order, size_t count,
                            const vn_array *tensors, vn_tensor_source source, void *user,
                            vn_err *err) {
    vn_writer w;
    vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    write_header(w.file, header);
    for (size_t i = 0; i < count && !ferror(w.file); i++) {
        if (!order[i].bytes) continue;
        const void *data = source(user, (size_t)(order[i].tensor - tensors));
        if (!data) {
            vn_writer_abandon(&w);
            return vn_fail(err, VN_IO, "%s: cannot be written", path);
        }
        fwrite(data, 1, order[i].bytes, w.file);
    }
    return vn_writer_commit(&w, err);
}

vn_status vn_safetensors_stream(const char *path, const vn_array *tensors, size_t count,
                                const json_t *metadata, vn_tensor_source source, void *user,
                                vn_err *err) {
    char *header = NULL;
    placed *order = vn_alloc(count, sizeof *order);
    vn_status status = order ? place_tensors(tensors, count, order, err) : vn_no_memory(err);
    if (!status) status = make_header(path, order, count, metadata, &header, err);
    if (!status) status = write_file(path, header, order, count, tensors, source, user, err);
    vn_free(header);
    vn_free(order);
    return status;
}

vn_status vn_safetensors_begin(const char *path, vn_memory_file *to, const vn_array *tensors,
                               size_t count, const json_t *metadata, vn_tensor_file **out,
                               vn_err *err) {
    char *header = NULL;
    *out = NULL;
    placed *order = vn_alloc(count, sizeof *order);
    vn_status status = order ? place_tensors(tensors, count, order, err) : vn_no_memory(err);
    if (!status) status = make_header(path, order, count, metadata, &header, err);
    uint64_t begin = header ? 8 + (strlen(header) + 7) / 8 * 8 : 0, bytes = begin;
    for (size_t i = 0; !status && i < count; i++) bytes += order[i].bytes;
    if (!status) status = vn_tensor_file_open(path, to, count, bytes, out, err);
    if (!status) {
        write_header((*out)->w.file, header);
        (*out)->at = begin;
        for (size_t i = 0; i < count; begin += order[i].bytes, i++)
            (*out)->place[order[i].tensor - tensors] =
                (vn_tensor_place){begin, vn_dtype_size(order[i].tensor->dtype)};
    }
    vn_free(header);
    vn_free(order);
    return status;
}

static const void *data_of(void *user, size_t i) {
    return ((const vn_array *)user)[i].data;
}

vn_status vn_safetensors_write(const char *path, const vn_array *tensors, size_t count,
                               const json_t *metadata, vn_err *err) {
    return vn_safetensors_stream(path, tensors, count, metadata, data_of, (void *)tensors, err);
}
