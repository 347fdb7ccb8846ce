/* npy_file.c - a .npy file of samples, as vane and numpy write it: an array of floats whose first
 * axis counts samples, read row by row. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/internal.h"

enum { MAGIC = 10, MAX_HEADER = 4096 };

struct vn_npy_file {
    char *path;
    int fd;
    vn_npy array;
    int64_t begin; /* of the numbers, bytes */
    vn_shape shape;
};

/* Whole or an error: a file that ends before is damaged. */
static vn_status read_at(const vn_npy_file *f, void *to, size_t bytes, int64_t at, vn_err *err) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(f->fd, (char *)to + done, bytes - done, (off_t)at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vn_fail_errno(err, "%s", f->path);
        if (got == 0) return vn_fail(err, VN_BAD_FILE, "%s: ends within its array", f->path);
        done += (size_t)got;
    }
    return VN_OK;
}

static vn_status read_header(vn_npy_file *f, vn_err *err) {
    unsigned char head[MAGIC + 2];
    char text[MAX_HEADER];
    vn_status status = read_at(f, head, MAGIC, 0, err);
    if (status) return status;
    if (memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 || head[6] > 3)
        return vn_fail(err, VN_BAD_FILE, "%s: is no .npy array", f->path);
    size_t length = (size_t)head[8] | (size_t)head[9] << 8;
    f->begin = MAGIC;
    if (head[6] > 1) { /* a length of four bytes */
        status = read_at(f, head, 4, 8, err);
        length =
            (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        f->begin = 12;
    }
    if (!status && length > MAX_HEADER)
        status = vn_fail(err, VN_BAD_FILE, "%s: its header has %zu bytes", f->path, length);
    if (!status) status = read_at(f, text, length, f->begin, err);
    if (status) return status;
    f->begin += (int64_t)length;
    status = vn_npy_parse(text, length, &f->array, err);
    return status ? vn_fail_in(err, "%s", f->path) : VN_OK;
}

static vn_status check(vn_npy_file *f, vn_err *err) {
    const vn_npy *a = &f->array;
    struct stat info;
    if (a->kind != 'f')
        return vn_fail(err, VN_BAD_FILE, "%s: samples are floats, not of kind '%c'", f->path,
                       a->kind);
    if (a->rank < 2)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: samples are [N,C,H,W] or [N,D], and this array has %d axes", f->path,
                       a->rank);
    f->shape = vn_shape_make(a->rank, a->dim);
    if (!vn_shape_valid(&f->shape) || a->count == 0)
        return vn_fail(err, VN_BAD_FILE, "%s: holds no samples", f->path);
    if (fstat(f->fd, &info) != 0) return vn_fail_errno(err, "%s", f->path);
    const int64_t bytes = (int64_t)a->count * a->bytes;
    if (info.st_size - f->begin != bytes)
        return vn_fail(err, VN_BAD_FILE, "%s: its array has %lld bytes, and the file %lld", f->path,
                       (long long)bytes, (long long)(info.st_size - f->begin));
    return VN_OK;
}

vn_status vn_npy_file_open(const char *path, vn_npy_file **out, vn_err *err) {
    vn_npy_file *f = vn_calloc(1, sizeof *f);
    *out = f;
    if (!f) return vn_no_memory(err);
    f->fd = -1;
    f->path = vn_strdup(path);
    vn_status status = f->path ? vn_file_open(path, &f->fd, err) : vn_no_memory(err);
    if (!status) status = read_header(f, err);
    if (!status) status = check(f, err);
    if (status) vn_npy_file_close(out);
    return status;
}

void vn_npy_file_close(vn_npy_file **f) {
    if (!f || !*f) return;
    if ((*f)->fd >= 0) close((*f)->fd);
    vn_free((*f)->path);
    vn_free(*f);
    *f = NULL;
}

vn_shape vn_npy_file_shape(const vn_npy_file *f) {
    return f->shape;
}

vn_status vn_npy_file_row(const vn_npy_file *f, int64_t row, float *x, vn_err *err) {
    enum { BUFFER = 512 };
    const int64_t size = (int64_t)f->array.count / f->shape.dim[0];
    uint8_t bytes[BUFFER * sizeof(double)];
    const int64_t each = f->array.bytes;
    for (int64_t i = 0; i < size; i += BUFFER) {
        const int64_t n = size - i < BUFFER ? size - i : BUFFER;
        const vn_status status =
            read_at(f, bytes, (size_t)(n * each), f->begin + (row * size + i) * each, err);
        if (status) return status;
        for (int64_t j = 0; j < n; j++) x[i + j] = (float)vn_npy_float(&f->array, bytes + j * each);
    }
    return VN_OK;
}
