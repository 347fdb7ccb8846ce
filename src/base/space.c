/* space.c - whether a disk has space for a file: checked before the work whose result it holds. */
#include "base/base.h"

#include <string.h>
#include <sys/statvfs.h>

#define MIN_BYTES ((uint64_t)1 << 20) /* smaller files are not checked */

vn_status vn_check_space(const char *path, uint64_t bytes, vn_err *err) {
    if (bytes < MIN_BYTES) return VN_OK;
    const char *slash = strrchr(path, '/');
    char *folder = slash == path ? vn_strdup("/")
                   : slash       ? vn_format("%.*s", (int)(slash - path), path)
                                 : vn_strdup(".");
    if (!folder) return vn_no_memory(err);
    struct statvfs disk;
    /* some file systems do not say */
    const bool known = statvfs(folder, &disk) == 0 && disk.f_blocks > 0;
    vn_free(folder);
    if (!known || disk.f_bavail >= bytes / disk.f_frsize) return VN_OK;
    char needs[32], has[32];
    return vn_fail(err, VN_IO, "%s: needs %s, and its disk has %s free", path,
                   vn_bytes_text((double)bytes, needs),
                   vn_bytes_text((double)disk.f_bavail * (double)disk.f_frsize, has));
}
