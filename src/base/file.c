/* file.c - reads files, makes folders and handles paths. Only regular files are read: reading from
 * a pipe that nobody writes to would wait for ever, and opening a device can have effects. Writing
 * is in writer.c. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading --------------------------------------------------------------------------------- */

static ssize_t read_some(int fd, char *data, size_t size) {
    ssize_t n;
    do n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static vn_status too_large(const char *path, size_t max_bytes, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE,
                   "%s: larger than %zu bytes, which is too large for what it should be", path,
                   max_bytes);
}

/* Reads to the end, whatever the size said: files of /proc have none, and files grow. */
static vn_status read_all(int fd, const char *path, size_t max_bytes, char **data, size_t *size,
                          vn_err *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return vn_fail_errno(err, "%s", path);
    if ((uintmax_t)info.st_size > max_bytes) return too_large(path, max_bytes, err);
    size_t capacity = (size_t)info.st_size + 1; /* one more, to see the end in one read */
    for (;;) {
        char *grown = vn_realloc(*data, capacity + 1, 1);
        if (!grown) return vn_no_memory(err);
        *data = grown;
        ssize_t n = read_some(fd, *data + *size, capacity - *size);
        if (n < 0) return vn_fail_errno(err, "%s", path);
        *size += (size_t)n;
        if (*size > max_bytes) return too_large(path, max_bytes, err);
        if (n == 0) break;
        if (*size == capacity) capacity *= 2;
    }
    (*data)[*size] = 0;
    return VN_OK;
}

static vn_status refuse_special(const char *path, mode_t mode, vn_err *err) {
    if (S_ISREG(mode)) return VN_OK;
    if (S_ISDIR(mode)) return vn_fail(err, VN_IO, "%s: is a folder", path);
    return vn_fail(err, VN_IO, "%s: is a %s, not a regular file", path,
                   S_ISFIFO(mode)   ? "pipe"
                   : S_ISSOCK(mode) ? "socket"
                                    : "device");
}

vn_status vn_check_regular(const char *path, vn_err *err) {
    struct stat info;
    return stat(path, &info) == 0 ? refuse_special(path, info.st_mode, err)
                                  : vn_fail_errno(err, "%s", path);
}

/* The kind is checked before opening, because opening a device can have effects, and after, when
 * the file cannot be exchanged any more. */
vn_status vn_file_open(const char *path, int *fd, vn_err *err) {
    vn_status status = vn_check_regular(path, err);
    if (status) return status;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return vn_fail_errno(err, "%s", path);
    struct stat info;
    status = fstat(*fd, &info) == 0 ? refuse_special(path, info.st_mode, err)
                                    : vn_fail_errno(err, "%s", path);
    if (status) close(*fd);
    return status;
}

static vn_status take_lines(FILE *from,
                            vn_status (*take)(void *self, const char *line, size_t size,
                                              size_t number, vn_err *err),
                            void *self, vn_err *err) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t size = 0;
    vn_status status = VN_OK;
    while (!status && (size = getline(&line, &capacity, from)) > 0 && line[size - 1] == '\n')
        status = take(self, line, (size_t)size, ++number, err);
    if (!status && ferror(from)) status = vn_fail_errno(err, "cannot be read");
    if (!status && size < 0 && !feof(from)) status = vn_no_memory(err);
    free(line);
    return status;
}

vn_status vn_file_lines(const char *path,
                        vn_status (*take)(void *self, const char *line, size_t size, size_t number,
                                          vn_err *err),
                        void *self, vn_err *err) {
    int fd;
    vn_status status = vn_file_open(path, &fd, err);
    if (status) return status;
    FILE *from = fdopen(fd, "rb");
    if (!from) {
        close(fd);
        return vn_no_memory(err);
    }
    status = take_lines(from, take, self, err);
    fclose(from);
    return status ? vn_fail_in(err, "%s", path) : VN_OK;
}

vn_status vn_read_file(const char *path, size_t max_bytes, char **data, size_t *size, vn_err *err) {
    *data = NULL;
    *size = 0;
    int fd;
    vn_status status = vn_file_open(path, &fd, err);
    if (status) return status;
    status = read_all(fd, path, max_bytes, data, size, err);
    close(fd);
    if (status) {
        vn_free(*data);
        *data = NULL;
        *size = 0;
    }
    return status;
}

/* ---- directories and names ------------------------------------------------------------------- */

vn_status vn_make_dirs(const char *path, vn_err *err) {
    char *copy = vn_strdup(path);
    if (!copy) return vn_no_memory(err);
    bool ok = true;
    for (char *p = copy; ok && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char kept = *p;
        *p = 0;
        ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
        /* a folder that is there may also be refused as on a file system that is read-only or
         * full */
        if (!ok) {
            const int code = errno;
            ok = vn_is_dir(copy);
            errno = code;
        }
        *p = kept;
    }
    if (ok && !vn_is_dir(path)) {
        errno = ENOTDIR;
        ok = false;
    }
    vn_free(copy);
    return ok ? VN_OK : vn_fail_errno(err, "%s: cannot be made", path);
}

bool vn_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool vn_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}
