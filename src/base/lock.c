/* lock.c - folders that one process at a time writes into. The lock is the system's, on the folder
 * itself: nothing is left of it when its holder is killed. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether `path` still names what is open: it may have been replaced before we got the lock. */
static bool still_named(int fd, const char *path) {
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

vn_status vn_lock_folder(const char *path, const char *name, const char *done, int *fd,
                         vn_err *err) {
    for (;;) {
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*fd < 0) return vn_fail_errno(err, "%s", name);
        const bool taken = flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!taken && still_named(*fd, path)) return VN_OK;
        close(*fd);
        *fd = -1;
        if (taken) return vn_fail(err, VN_IO, "%s is being %s by another process", name, done);
    }
}
