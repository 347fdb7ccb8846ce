/* file.c - files and paths. A file is written aside, in the same directory, and renamed over the old one when all of it is
 * on the disk, so that a reader sees the old file or the new one and never a part.
 *
 * The aside file has a fixed name, PATH.vane-tmp, and is locked while it is written: what a killed process left is taken
 * over by the next writer instead of piling up, and two writers of one path do not mix. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------------------------------------- */

static ssize_t read_some(int fd, char *data, size_t size) {
    ssize_t n;
    do n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static vn_status too_large(const char *path, size_t max_bytes, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE, "%s: larger than %zu bytes, which is too large for what it should be", path,
                   max_bytes);
}

/* Reads to the end, whatever the size said: files of /proc have none, and files grow. */
static vn_status read_all(int fd, const char *path, size_t max_bytes, char **data, size_t *size, vn_err *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return vn_fail_errno(err, "%s", path);
    if ((uintmax_t)info.st_size > max_bytes) return too_large(path, max_bytes, err);
    size_t room = (size_t)info.st_size + 1; // one more, to see the end in one read
    for (;;) {
        char *grown = vn_realloc(*data, room + 1, 1);
        if (!grown) return vn_no_memory(err);
        *data = grown;
        ssize_t n = read_some(fd, *data + *size, room - *size);
        if (n < 0) return vn_fail_errno(err, "%s", path);
        *size += (size_t)n;
        if (*size > max_bytes) return too_large(path, max_bytes, err);
        if (n == 0) break;
        if (*size == room) room *= 2;
    }
    (*data)[*size] = 0;
    return VN_OK;
}

static vn_status check_regular(int fd, const char *path, vn_err *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return vn_fail_errno(err, "%s", path);
    if (S_ISDIR(info.st_mode)) return vn_fail(err, VN_IO, "%s: is a folder", path);
    return S_ISREG(info.st_mode) ? VN_OK : vn_fail(err, VN_IO, "%s: is not a regular file", path);
}

vn_status vn_file_open(const char *path, int *fd, vn_err *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe nobody writes to would wait forever
    if (*fd < 0) return vn_fail_errno(err, "%s", path);
    const vn_status s = check_regular(*fd, path, err);
    if (s) close(*fd);
    return s;
}

vn_status vn_read_file(const char *path, size_t max_bytes, char **data, size_t *size, vn_err *err) {
    *data = NULL;
    *size = 0;
    int fd;
    vn_status s = vn_file_open(path, &fd, err);
    if (s) return s;
    s = read_all(fd, path, max_bytes, data, size, err);
    close(fd);
    if (s) {
        vn_free(*data);
        *data = NULL;
        *size = 0;
    }
    return s;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* Where `path` leads: symbolic links followed, so that a link stays one. Only regular files are replaced: renaming over
 * /dev/null would take it from everyone. New string in *out. */
static vn_status resolve_target(const char *path, char **out, vn_err *err) {
    struct stat info;
    if (stat(path, &info) != 0) {
        *out = vn_strdup(path);
        return *out ? VN_OK : vn_no_memory(err);
    }
    if (S_ISDIR(info.st_mode)) return vn_fail(err, VN_IO, "%s: is a directory", path);
    if (!S_ISREG(info.st_mode)) return vn_fail(err, VN_IO, "%s: is not a regular file", path);
    *out = realpath(path, NULL);
    return *out ? VN_OK : vn_fail_errno(err, "%s", path);
}

/* Whether `aside` still names the open file: its last writer may have renamed it before we got the lock. */
static bool still_named(int fd, const char *aside) {
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && lstat(aside, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* Opens and locks the aside file, still with what a killed writer left in it. */
static vn_status lock_aside(const char *path, const char *aside, int *fd, vn_err *err) {
    for (;;) {
        *fd = open(aside, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*fd < 0) return vn_fail_errno(err, "%s: cannot be written", path);
        if (flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) { // other errors: a file system without locks
            close(*fd);
            return vn_fail(err, VN_IO, "%s: is being written by another process", path);
        }
        if (still_named(*fd, aside)) return VN_OK;
        close(*fd);
    }
}

static vn_status open_aside(vn_writer *w, vn_err *err) {
    int fd = -1;
    vn_status s = lock_aside(w->path, w->aside, &fd, err);
    if (s) return s;
    if (ftruncate(fd, 0) == 0) w->file = fdopen(fd, "wb");
    if (w->file) return VN_OK;
    s = vn_fail_errno(err, "%s: cannot be written", w->path);
    unlink(w->aside);
    close(fd);
    return s;
}

static void writer_free(vn_writer *w) {
    vn_free(w->path);
    vn_free(w->aside);
    *w = (vn_writer){0};
}

vn_status vn_writer_open(vn_writer *w, const char *path, vn_err *err) {
    *w = (vn_writer){0};
    vn_status s = resolve_target(path, &w->path, err);
    if (s) return s;
    w->aside = vn_format("%s.vane-tmp", w->path);
    s = w->aside ? open_aside(w, err) : vn_no_memory(err);
    if (s) writer_free(w);
    return s;
}

/* stdio keeps that a write failed but not why, and what failed it may be flushed by now. Asks the system again, with
 * writes that meet the same full disk or limit, and sets errno. */
static void recall_write_error(int fd) {
    static const char zeros[65536];
    errno = EIO;
    for (int tries = 0; tries < 16; tries++) {
        ssize_t n = write(fd, zeros, sizeof zeros);
        if (n < 0 && errno != EINTR) return;
    }
    errno = EIO;
}

/* fsync, where the file system has it. */
static bool sync_file(int fd) {
    int failed;
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    return !failed || errno == EINVAL || errno == ENOTSUP;
}

/* A rename is durable when the directory is. */
static bool sync_directory_of(const char *path) {
    char *copy = vn_strdup(path);
    if (!copy) return false;
    char *slash = strrchr(copy, '/');
    if (slash) slash[slash == copy] = 0;
    int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    vn_free(copy);
    if (fd < 0) return errno == EACCES; // writable but not readable: nothing more can be done
    bool ok = sync_file(fd);
    int code = errno;
    close(fd);
    errno = code;
    return ok;
}

vn_status vn_writer_commit(vn_writer *w, vn_err *err) {
    bool failed_before = ferror(w->file);
    bool ok = fflush(w->file) == 0;
    if (ok && failed_before) {
        recall_write_error(fileno(w->file));
        ok = false;
    }
    ok = ok && sync_file(fileno(w->file)) && rename(w->aside, w->path) == 0;
    vn_status s = VN_OK;
    if (!ok) {
        s = vn_fail_errno(err, "%s: cannot be written", w->path);
        unlink(w->aside);
    } else if (!sync_directory_of(w->path)) {
        s = vn_fail_errno(err, "%s: written, but its directory could not be synchronised", w->path);
    }
    fclose(w->file); // last, for it gives up the lock; nothing is left in its buffer
    writer_free(w);
    return s;
}

void vn_writer_abandon(vn_writer *w) {
    if (!w->file) return;
    unlink(w->aside);
    fclose(w->file);
    writer_free(w);
}

/* ---- directories and names ----------------------------------------------------------------------------- */

vn_status vn_make_dirs(const char *path, vn_err *err) {
    char *copy = vn_strdup(path);
    if (!copy) return vn_no_memory(err);
    bool ok = true;
    for (char *p = copy; ok && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char kept = *p;
        *p = 0;
        ok = mkdir(copy, 0777) == 0 || errno == EEXIST || vn_is_dir(copy);
        *p = kept;
    }
    if (ok && !vn_is_dir(path)) {
        errno = ENOTDIR;
        ok = false;
    }
    vn_free(copy);
    return ok ? VN_OK : vn_fail_errno(err, "%s: cannot be made", path);
}

vn_status vn_check_file(const char *path, vn_err *err) {
    vn_writer w;
    const vn_status s = vn_writer_open(&w, path, err);
    if (s == VN_OK) vn_writer_abandon(&w);
    return s;
}

/* Shortens `path` to as much of it as there is. */
static void keep_existing(char *path) {
    struct stat info;
    while (stat(path, &info) != 0 && errno == ENOENT && strcmp(path, ".") != 0) {
        char *slash = strrchr(path, '/');
        if (!slash)
            memcpy(path, ".", 2);
        else
            slash[slash == path] = 0;
    }
}

vn_status vn_check_folder(const char *path, vn_err *err) {
    char *at = vn_format("%s%s", path, path[0] ? "" : "."), *probe = NULL;
    if (at) keep_existing(at);
    if (at) probe = vn_format("%s/.vane-tmp-%ld", at, (long)getpid());
    vn_status s = probe ? VN_OK : vn_no_memory(err);
    if (s == VN_OK && mkdir(probe, 0777) != 0 && errno != EEXIST) s = vn_fail_errno(err, "%s: cannot be written", path);
    if (s == VN_OK) rmdir(probe);
    vn_free(probe);
    vn_free(at);
    return s;
}

bool vn_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool vn_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Where writing to `path` would put its file, whether there is one or not; new string, NULL where that cannot be. */
static char *target_of(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0) return realpath(path, NULL);
    const char *slash = strrchr(path, '/');
    char *folder = slash == path ? vn_strdup("/")
                   : slash       ? vn_format("%.*s", (int)(slash - path), path)
                                 : vn_strdup(".");
    char *real = folder ? realpath(folder, NULL) : NULL;
    char *target = real ? vn_path_join(real, slash ? slash + 1 : path) : NULL;
    free(real);
    vn_free(folder);
    return target;
}

bool vn_same_file(const char *a, const char *b) {
    char *x = target_of(a), *y = target_of(b);
    const bool same = strcmp(a, b) == 0 || (x && y && strcmp(x, y) == 0);
    free(x);
    free(y);
    return same;
}

bool vn_ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return m <= n && memcmp(text + n - m, ending, m) == 0;
}

char *vn_path_join(const char *a, const char *b) {
    bool slash = !a[0] || vn_ends_with(a, "/") || b[0] == '/';
    return vn_format("%s%s%s", a, slash ? "" : "/", b);
}
