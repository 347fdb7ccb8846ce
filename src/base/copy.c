/* copy.c - a file's bytes as another file, which is there whole or not at all. */
#include "base/base.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

static vn_status copy_bytes(int from, const char *path, vn_writer *to, vn_err *err) {
    char piece[PIECE];
    for (;;) {
        const ssize_t n = read(from, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return vn_fail_errno(err, "%s", path);
        if (n == 0) return VN_OK;
        /* what cannot be written shows at the commit; the rest need not be read for that */
        if (fwrite(piece, 1, (size_t)n, to->file) != (size_t)n) return VN_OK;
    }
}

vn_status vn_copy_file(const char *from, const char *to, vn_err *err) {
    int fd;
    struct stat info;
    vn_writer w;
    vn_status status = vn_file_open(from, &fd, err);
    if (status) return status;
    if (fstat(fd, &info) != 0) status = vn_fail_errno(err, "%s", from);
    if (!status) status = vn_check_space(to, (uint64_t)info.st_size, err);
    if (!status) status = vn_writer_open(&w, to, err);
    if (!status) {
        status = copy_bytes(fd, from, &w, err);
        if (status)
            vn_writer_abandon(&w);
        else
            status = vn_writer_commit(&w, err);
    }
    close(fd);
    return status;
}
