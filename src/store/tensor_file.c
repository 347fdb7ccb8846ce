/* tensor_file.c - tensors put into a file piece by piece, each at its place. safetensors_write.c
 * and npy.c write the headers. */
#include "store/internal.h"

#include <sys/types.h>

vn_status vn_tensor_file_open(const char *path, vn_memory_file *to, size_t tensors, uint64_t bytes,
                              vn_tensor_file **out, vn_err *err) {
    *out = NULL;
    vn_status status = to ? VN_OK : vn_check_space(path, bytes, err);
    if (status) return status;
    vn_tensor_file *f = vn_calloc(1, sizeof *f);
    if (!f) return vn_no_memory(err);
    f->place = vn_alloc(tensors, sizeof *f->place);
    if (!f->place)
        status = vn_no_memory(err);
    else
        status =
            to ? vn_writer_open_memory(&f->w, path, to, err) : vn_writer_open(&f->w, path, err);
    if (status)
        vn_tensor_file_abandon(&f);
    else
        *out = f;
    return status;
}

static void release(vn_tensor_file **f) {
    vn_free((*f)->place);
    vn_free(*f);
    *f = NULL;
}

/* A disk that is full shows here, not when all is drawn. */
vn_status vn_tensor_file_put(vn_tensor_file *f, size_t tensor, size_t first, size_t n,
                             const void *data, vn_err *err) {
    const size_t element = f->place[tensor].element;
    const uint64_t offset = f->place[tensor].offset + (uint64_t)first * element;
    bool ok = offset == f->at || fseeko(f->w.file, (off_t)offset, SEEK_SET) == 0;
    ok = ok && (!n || fwrite(data, element, n, f->w.file) == n);
    f->at = offset + (uint64_t)n * element;
    return ok ? VN_OK : vn_fail_errno(err, "%s: cannot be written", f->w.path);
}

vn_status vn_tensor_file_commit(vn_tensor_file **f, vn_err *err) {
    const vn_status status = vn_writer_commit(&(*f)->w, err);
    release(f);
    return status;
}

void vn_tensor_file_abandon(vn_tensor_file **f) {
    if (!*f) return;
    vn_writer_abandon(&(*f)->w);
    release(f);
}
