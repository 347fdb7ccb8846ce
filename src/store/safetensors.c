/* safetensors.c - reading the format: eight bytes of header length, a JSON header, then the
 * tensors' bytes one after the other (https://github.com/huggingface/safetensors). The file is
 * mapped, so that opening a large one costs nothing.
 *
 * Nothing in the file is trusted: once it is open, every tensor's name, type, shape and bytes are
 * known to be consistent and inside. What no check can hold is a file that another program shortens
 * while it is mapped; vane's own writers replace files and never shorten them. */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HEADER   100000000 /* the reference's limit */
#define LENGTH_BYTES 8

struct vn_safetensors {
    char *path;
    char *map;
    size_t map_size;
    json_t *header; /* owns the tensors' names */
    size_t count;
    vn_array *tensors;        /* in the order of their bytes */
    const vn_array **by_name; /* the same, sorted by name */
};

/* ---- the file -------------------------------------------------------------------------------- */

static vn_status map_file(vn_safetensors *st, vn_err *err) {
    int fd;
    struct stat info;
    vn_status status = vn_file_open(st->path, &fd, err);
    if (status) return status;
    if (fstat(fd, &info) != 0) {
        status = vn_fail_errno(err, "%s", st->path);
    } else if (info.st_size < LENGTH_BYTES) {
        status = vn_fail(err, VN_BAD_FILE, "%s: too short for a safetensors file", st->path);
    } else {
        st->map_size = (size_t)info.st_size;
        void *map = mmap(NULL, st->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            status = vn_fail_errno(err, "%s", st->path);
        else
            st->map = map;
    }
    close(fd);
    return status;
}

void vn_safetensors_let_go(const vn_safetensors *st) {
    madvise(st->map, st->map_size, MADV_DONTNEED);
}

static vn_status parse_header(vn_safetensors *st, size_t *data_at, vn_err *err) {
    uint64_t length;
    memcpy(&length, st->map, sizeof length);
    if (length > MAX_HEADER || length > st->map_size - LENGTH_BYTES)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: a header of %llu bytes does not fit (is it a safetensors file?)",
                       st->path, (unsigned long long)length);
    const char *text = st->map + LENGTH_BYTES;
    if (length == 0 || text[0] != '{')
        return vn_fail(err, VN_BAD_FILE,
                       "%s: the header does not begin with '{' (is it a safetensors file?)",
                       st->path);
    *data_at = LENGTH_BYTES + (size_t)length;
    return vn_json_parse(text, (size_t)length, st->path, &st->header, err);
}

/* ---- the header's entries; messages are completed with file and tensor by the caller --------- */

static vn_status parse_shape(const json_t *dims, vn_shape *shape, vn_err *err) {
    if (!json_is_array(dims)) return vn_fail(err, VN_BAD_FILE, "shape is not a list");
    size_t rank = json_array_size(dims);
    if (rank > VN_MAX_RANK)
        return vn_fail(err, VN_UNSUPPORTED, "%zu axes; vane reads up to %d", rank, VN_MAX_RANK);
    *shape = (vn_shape){.rank = (int)rank};
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(dims, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return vn_fail(err, VN_BAD_FILE, "a size in shape is not a whole number of 0 or more");
        shape->dim[i] = json_integer_value(dim);
    }
    return VN_OK;
}

/* data_offsets [begin, end) of the tensor's bytes: in the data, and as many as shape and type
 * say. */
static vn_status parse_offsets(const json_t *offsets, const vn_array *t, size_t data_size,
                               size_t *begin, vn_err *err) {
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return vn_fail(err, VN_BAD_FILE, "data_offsets is not a pair of whole numbers");
    long long from = json_integer_value(b), to = json_integer_value(e);
    if (from < 0 || to < from || (unsigned long long)to > data_size)
        return vn_fail(err, VN_BAD_FILE,
                       "data_offsets [%lld, %lld] are outside the %zu bytes of data", from, to,
                       data_size);
    size_t count, bytes;
    char shape[128];
    if (!vn_array_size(&t->shape, t->dtype, &count, &bytes) || bytes != (size_t)(to - from))
        return vn_fail(err, VN_BAD_FILE, "%lld bytes do not hold shape %s of %s", to - from,
                       vn_shape_text(&t->shape, shape), vn_dtype_name(t->dtype));
    *begin = (size_t)from;
    return VN_OK;
}

static vn_status parse_entry(const json_t *entry, const char *data, size_t data_size, vn_array *t,
                             vn_err *err) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype) return vn_fail(err, VN_BAD_FILE, "has no dtype");
    if (!vn_dtype_parse(dtype, &t->dtype))
        return vn_fail(err, VN_UNSUPPORTED, "dtype '%.40s' is not known", dtype);
    vn_status status = parse_shape(json_object_get(entry, "shape"), &t->shape, err);
    size_t begin = 0;
    if (!status)
        status = parse_offsets(json_object_get(entry, "data_offsets"), t, data_size, &begin, err);
    if (!status && json_object_size(entry) != 3)
        status = vn_fail(err, VN_BAD_FILE, "has more than dtype, shape and data_offsets");
    t->data = data + begin;
    return status;
}

static vn_status check_metadata(const vn_safetensors *st, const json_t *metadata, vn_err *err) {
    const char *key;
    json_t *value;
    bool ok = json_is_object(metadata);
    if (ok) json_object_foreach((json_t *)metadata, key, value) ok = ok && json_is_string(value);
    return ok ? VN_OK
              : vn_fail(err, VN_BAD_FILE, "%s: __metadata__ does not hold strings only", st->path);
}

static vn_status parse_tensors(vn_safetensors *st, const char *data, size_t data_size,
                               vn_err *err) {
    size_t entries = json_object_size(st->header);
    st->tensors = vn_calloc(entries, sizeof *st->tensors);
    st->by_name = vn_calloc(entries, sizeof *st->by_name);
    if (!st->tensors || !st->by_name) return vn_no_memory(err);
    const char *name;
    json_t *entry;
    json_object_foreach(st->header, name, entry) {
        vn_status status;
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(st, entry, err);
        } else {
            vn_array *t = &st->tensors[st->count++];
            t->name = name;
            status = parse_entry(entry, data, data_size, t, err);
            if (status) vn_fail_in(err, "%s: tensor '%.200s'", st->path, name);
        }
        if (status) return status;
    }
    return VN_OK;
}

/* ---- all of it together ---------------------------------------------------------------------- */

static size_t bytes_of(const vn_array *t) {
    return (size_t)vn_shape_count(&t->shape) * vn_dtype_size(t->dtype);
}

/* By where the bytes begin; an empty tensor comes before the one that begins there too. */
static int compare_place(const void *a, const void *b) {
    const vn_array *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    size_t n = bytes_of(x), m = bytes_of(y);
    return n != m ? (n < m ? -1 : 1) : strcmp(x->name, y->name);
}

static int compare_name(const void *a, const void *b) {
    const vn_array *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The tensors must cover the data from its first byte to its last, each byte once. */
static vn_status check_cover(const vn_safetensors *st, const char *data, size_t data_size,
                             vn_err *err) {
    const char *at = data;
    for (size_t i = 0; i < st->count; i++) {
        const vn_array *t = &st->tensors[i];
        if (t->data != at)
            return vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' %s", st->path, t->name,
                           (const char *)t->data < at ? "overlaps another"
                                                      : "comes after bytes that belong to none");
        at += bytes_of(t);
    }
    if (at == data + data_size) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: %zu bytes after the last tensor", st->path,
                   (size_t)(data + data_size - at));
}

static vn_status read_header(vn_safetensors *st, vn_err *err) {
    size_t data_at = 0;
    vn_status status = map_file(st, err);
    if (!status) status = parse_header(st, &data_at, err);
    if (status) return status;
    const char *data = st->map + data_at;
    status = parse_tensors(st, data, st->map_size - data_at, err);
    if (status) return status;
    qsort(st->tensors, st->count, sizeof *st->tensors, compare_place);
    for (size_t i = 0; i < st->count; i++) st->by_name[i] = &st->tensors[i];
    qsort(st->by_name, st->count, sizeof *st->by_name, compare_name);
    return check_cover(st, data, st->map_size - data_at, err);
}

vn_status vn_safetensors_open(const char *path, vn_safetensors **out, vn_err *err) {
    *out = NULL;
    vn_safetensors *st = vn_calloc(1, sizeof *st);
    if (!st) return vn_no_memory(err);
    st->path = vn_strdup(path);
    vn_status status = st->path ? read_header(st, err) : vn_no_memory(err);
    if (status) vn_safetensors_close(&st);
    *out = st;
    return status;
}

void vn_safetensors_close(vn_safetensors **st) {
    if (!*st) return;
    json_decref((*st)->header);
    if ((*st)->map) munmap((*st)->map, (*st)->map_size);
    vn_free((*st)->path);
    vn_free((*st)->tensors);
    vn_free((*st)->by_name);
    vn_free(*st);
    *st = NULL;
}

/* ---- what it holds --------------------------------------------------------------------------- */

const char *vn_safetensors_path(const vn_safetensors *st) {
    return st->path;
}

size_t vn_safetensors_count(const vn_safetensors *st) {
    return st->count;
}

const vn_array *vn_safetensors_at(const vn_safetensors *st, size_t i) {
    return i < st->count ? &st->tensors[i] : NULL;
}

const vn_array *vn_safetensors_find(const vn_safetensors *st, const char *name) {
    vn_array key = {.name = name};
    const vn_array *wanted = &key;
    const vn_array **found =
        bsearch(&wanted, st->by_name, st->count, sizeof *st->by_name, compare_name);
    return found ? *found : NULL;
}

vn_status vn_safetensors_get(const vn_safetensors *st, const char *name, const vn_array **out,
                             vn_err *err) {
    *out = vn_safetensors_find(st, name);
    if (*out) return VN_OK;
    const char **names = vn_alloc(st->count, sizeof *names);
    if (!names) return vn_no_memory(err);
    for (size_t i = 0; i < st->count; i++) names[i] = st->tensors[i].name;
    const char *nearest = vn_nearest(name, names, st->count);
    vn_free(names);
    return vn_fail(err, VN_BAD_FILE, "%s: has no tensor '%.200s'%s%s%s", st->path, name,
                   nearest ? "; it has '" : "", nearest ? nearest : "", nearest ? "'" : "");
}

const json_t *vn_safetensors_metadata(const vn_safetensors *st) {
    return json_object_get(st->header, "__metadata__");
}

const char *vn_safetensors_metadata_text(const vn_safetensors *st, const char *key) {
    return json_string_value(json_object_get(vn_safetensors_metadata(st), key));
}
