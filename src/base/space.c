/* space.c - whether a disk has space for a file: checked before the work whose result it holds. */
#include "base/base.h"

#include <string.h>
#include <sys/statvfs.h>

#define MIN_BYTES ((uint64_t)1 << 20) /* smaller files are not checked */

/* Of the disk that the file would be on; false: some file systems do not say. */
static bool find_disk(const char *path, struct statvfs *disk) {
    const char *slash = strrchr(path, '/');
    char *folder = slash == path ? vn_strdup("/")
                   : slash       ? vn_format("%.*s", (int)(slash - path), path)
                                 : vn_strdup(".");
    const bool known = folder && statvfs(folder, disk) == 0 && disk->f_blocks > 0;
    vn_free(folder);
    return known;
}

uint64_t vn_free_space(const char *path) {
    struct statvfs disk;
    return find_disk(path, &disk) ? (uint64_t)disk.f_bavail * disk.f_frsize : UINT64_MAX;
}

vn_status vn_check_space(const char *path, uint64_t bytes, vn_err *err) {
    struct statvfs disk;
    if (bytes < MIN_BYTES || !find_disk(path, &disk) || disk.f_bavail >= bytes / disk.f_frsize)
        return VN_OK;
    char needs[32], has[32];
    return vn_fail(err, VN_IO, "%s: needs %s, and its disk has %s free", path,
                   vn_bytes_text((double)bytes, needs),
                   vn_bytes_text((double)disk.f_bavail * (double)disk.f_frsize, has));
}
