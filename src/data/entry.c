/* entry.c - the bytes of one file of a folder of pictures, which lie in a file of their own or,
 * where the folder is of archives, at their place in one. */
#include "data/folder.h"

#include <errno.h>
#include <unistd.h>

/* ---- in an archive; messages do not name the file -------------------------------------------- */

/* The archive of an entry, open. */
static vn_status open_tar_of(const vn_folder *f, const vn_entry *e, int *fd, vn_err *err) {
    const char *name = f->tars.at[e->tar].path;
    char *path = name[0] != '\0' ? vn_path_join(f->root, name) : vn_strdup(f->root);
    const vn_status status = path ? vn_file_open(path, fd, err) : vn_no_memory(err);
    vn_free(path);
    return status;
}

static vn_status read_at(int fd, const vn_entry *e, char *to, vn_err *err) {
    size_t done = 0;
    while (done < (size_t)e->bytes) {
        const ssize_t n =
            pread(fd, to + done, (size_t)e->bytes - done, (off_t)(e->at + (int64_t)done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return vn_fail_errno(err, "cannot be read");
        if (n == 0) return vn_fail(err, VN_BAD_FILE, "its archive has become shorter");
        done += (size_t)n;
    }
    to[done] = '\0';
    return VN_OK;
}

static vn_status read_of_tar(const vn_folder *f, const vn_entry *e, size_t most, char **bytes,
                             size_t *size, vn_err *err) {
    int fd = -1;
    *bytes = NULL;
    *size = (size_t)e->bytes;
    if (e->bytes < 0 || (uint64_t)e->bytes > most)
        return vn_fail(err, VN_BAD_FILE,
                       "larger than %zu bytes, which is too large for what it "
                       "should be",
                       most);
    vn_status status = open_tar_of(f, e, &fd, err);
    if (status) return status;
    *bytes = vn_alloc((size_t)e->bytes + 1, 1);
    status = *bytes ? read_at(fd, e, *bytes, err) : vn_no_memory(err);
    close(fd);
    if (!status) return VN_OK;
    vn_free(*bytes);
    *bytes = NULL;
    return status;
}

static vn_status probe_of_tar(const vn_folder *f, const vn_entry *e, vn_image *image, vn_err *err) {
    int fd = -1;
    *image = (vn_image){0};
    vn_status status = open_tar_of(f, e, &fd, err);
    if (!status) status = vn_image_probe_part(fd, (uint64_t)e->at, (uint64_t)e->bytes, image, err);
    if (fd >= 0) close(fd);
    return status;
}

/* ---- wherever it lies ------------------------------------------------------------------------ */

vn_status vn_folder_bytes(const vn_folder *f, const vn_entry *e, size_t most, char **bytes,
                          size_t *size, vn_err *err) {
    char *path = vn_path_join(f->root, e->path);
    if (!path) return vn_no_memory(err);
    vn_status status = VN_OK;
    *bytes = NULL;
    if (f->tars.count == 0) {
        status = vn_read_file(path, most, bytes, size, err);
    } else {
        status = read_of_tar(f, e, most, bytes, size, err);
        if (status) vn_fail_in(err, "%s", path);
    }
    vn_free(path);
    return status;
}

static vn_status image_of_tar(const vn_folder *f, const vn_entry *e, bool header_only,
                              vn_image *image, vn_err *err) {
    char *bytes = NULL;
    size_t size = 0;
    if (header_only) return probe_of_tar(f, e, image, err);
    *image = (vn_image){0};
    vn_status status = read_of_tar(f, e, vn_image_bound(), &bytes, &size, err);
    if (!status) status = vn_image_decode(bytes, size, image, err);
    vn_free(bytes);
    return status;
}

vn_status vn_folder_image(const vn_folder *f, const vn_entry *e, bool header_only, vn_image *image,
                          vn_err *err) {
    char *path = vn_path_join(f->root, e->path);
    vn_err own = {0};
    if (!path) return vn_no_memory(err);
    if (!err) err = &own;
    vn_status status = VN_OK;
    if (f->tars.count > 0) {
        status = image_of_tar(f, e, header_only, image, err);
        if (status) vn_fail_in(err, "%s", path);
    } else {
        status = header_only ? vn_image_probe(path, image, err) : vn_image_read(path, image, err);
    }
    vn_free(path);
    return status;
}
