/* writer.c - writing files whole. A file is written aside, in the same folder, and renamed over the
 * old one when all of it is on the disk, so that a reader sees the old file or the new one and
 * never a part.
 *
 * The file aside is called .vane-tmp- and 16 random digits, so that nobody can put a pipe or a link
 * there before us, and it is made by this open or not at all. It is locked while it is written: one
 * of such a name that is not locked was left by a killed process, and vn_remove_stale removes
 * it. One of vn_writer_open_memory writes to memory instead, for what a program wants without a
 * file. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char aside_name[] = ".vane-tmp-";

/* ---- names ----------------------------------------------------------------------------------- */

void vn_unguessable(char text[VN_UNGUESSABLE + 1]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[VN_UNGUESSABLE / 2];
    /* a kernel without it: what is made exclusively */
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        const double now = vn_now(); /* is safe all the same */
        const uint32_t key[2] = {(uint32_t)getpid(), 0},
                       counter[4] = {(uint32_t)now, (uint32_t)(1e9 * (now - floor(now)))};
        uint32_t random[4];
        vn_philox(counter, key, random);
        memcpy(bytes, random, sizeof bytes);
    }
    for (size_t i = 0; i < VN_UNGUESSABLE; i++) text[i] = digits[bytes[i / 2] >> 4 * (i % 2) & 15];
    text[VN_UNGUESSABLE] = 0;
}

bool vn_is_unguessable(const char *text) {
    return strspn(text, "0123456789abcdef") == VN_UNGUESSABLE && !text[VN_UNGUESSABLE];
}

/* Only regular files are replaced: renaming over /dev/null would take it from everyone. */
static vn_status resolve_target(const char *path, char **out, vn_err *err) {
    struct stat info;
    if (stat(path, &info) == 0) {
        const vn_status status = vn_check_regular(path, err);
        if (status) return status;
    } else if (errno != ENOENT) {
        return vn_fail_errno(err, "%s: cannot be written", path);
    }
    *out = vn_follow_links(path);
    return *out ? VN_OK : vn_no_memory(err);
}

/* ---- files aside ----------------------------------------------------------------------------- */

/* Whether `path` still names the open file. */
static bool still_named(int fd, const char *path) {
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* Makes and locks a file aside. Between the two vn_remove_stale may take it for a stale one: then
 * another is made. */
static vn_status make_aside(vn_writer *w, const char *folder, int *fd, vn_err *err) {
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        char random[VN_UNGUESSABLE + 1];
        vn_unguessable(random);
        vn_free(w->aside);
        w->aside =
            vn_format("%s%s%s%s", folder, vn_ends_with(folder, "/") ? "" : "/", aside_name, random);
        if (!w->aside) return vn_no_memory(err);
        *fd = open(w->aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (*fd < 0 && errno != EEXIST) break;
        if (*fd < 0) continue;
        /* else: no locks here */
        const bool taken = flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!taken && still_named(*fd, w->aside)) return VN_OK;
        close(*fd);
        errno = EEXIST;
    }
    return vn_fail_errno(err, "%s: cannot be written", w->path);
}

static vn_status open_aside(vn_writer *w, vn_err *err) {
    int fd = -1;
    char *folder = vn_folder_of(w->path);
    vn_status status = folder ? make_aside(w, folder, &fd, err) : vn_no_memory(err);
    vn_free(folder);
    if (status) return status;
    w->file = fdopen(fd, "wb");
    if (w->file) return VN_OK;
    status = vn_fail_errno(err, "%s: cannot be written", w->path);
    unlink(w->aside);
    close(fd);
    return status;
}

/* Removes what is left of a file or of a probe for a folder. A locked file is being written and
 * stays; on file systems without locks all of them stay. */
static void remove_if_stale(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0 || info.st_uid != geteuid()) return;
    if (S_ISDIR(info.st_mode)) rmdir(path); /* only if it is empty */
    if (!S_ISREG(info.st_mode)) return;
    const int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && still_named(fd, path)) unlink(path);
    close(fd);
}

void vn_remove_stale(const char *folder) {
    const size_t length = strlen(aside_name);
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (strncmp(e->d_name, aside_name, length) != 0 || !vn_is_unguessable(e->d_name + length))
            continue;
        char *path = vn_path_join(folder, e->d_name);
        if (path) remove_if_stale(path);
        vn_free(path);
    }
    if (dir) closedir(dir);
}

/* ---- the life of a writer -------------------------------------------------------------------- */

static void writer_free(vn_writer *w) {
    vn_free(w->path);
    vn_free(w->aside);
    *w = (vn_writer){0};
}

vn_status vn_writer_open(vn_writer *w, const char *path, vn_err *err) {
    *w = (vn_writer){0};
    vn_status status = resolve_target(path, &w->path, err);
    if (status) return status;
    status = open_aside(w, err);
    if (status) writer_free(w);
    return status;
}

vn_status vn_writer_open_new(vn_writer *w, const char *path, vn_err *err) {
    *w = (vn_writer){.path = vn_strdup(path), .fresh = true};
    const vn_status status = w->path ? open_aside(w, err) : vn_no_memory(err);
    if (status) writer_free(w);
    return status;
}

/* A file in memory, as tensors are written at any of their places (open_memstream cuts what is
 * written again before its end); where the kernel has none, one of the system's for such things. */
static FILE *nameless_file(void) {
#ifdef SYS_memfd_create
    const int fd = (int)syscall(SYS_memfd_create, "vane", 1U /* closed on exec */);
    FILE *file = fd >= 0 ? fdopen(fd, "w+b") : NULL;
    if (file) return file;
    if (fd >= 0) close(fd);
#endif
    return tmpfile();
}

vn_status vn_writer_open_memory(vn_writer *w, const char *name, vn_memory_file *to, vn_err *err) {
    *to = (vn_memory_file){0};
    *w = (vn_writer){.path = vn_strdup(name), .to = to};
    if (w->path) w->file = nameless_file();
    if (w->file) return VN_OK;
    writer_free(w);
    return vn_no_memory(err);
}

static vn_status commit_memory(vn_writer *w, vn_err *err) {
    vn_memory_file *to = w->to;
    bool ok = !ferror(w->file) && fseeko(w->file, 0, SEEK_END) == 0;
    const off_t size = ok ? ftello(w->file) : -1;
    if (size >= 0 && fseeko(w->file, 0, SEEK_SET) == 0) to->bytes = vn_alloc((size_t)size, 1);
    ok = to->bytes && fread(to->bytes, 1, (size_t)size, w->file) == (size_t)size;
    to->size = (size_t)size;
    fclose(w->file);
    writer_free(w);
    if (ok) return VN_OK;
    vn_free(to->bytes);
    *to = (vn_memory_file){0};
    return vn_no_memory(err);
}

/* The file aside takes its name, which nothing has: false, with EEXIST, where something does. Not
 * every file system renames so, and not every other links. */
static bool take_new_name(const vn_writer *w) {
#ifdef SYS_renameat2
    enum {
        RENAME_NOREPLACE_FLAG = 1
    }; /* RENAME_NOREPLACE, which the C library shows to some only */
    if (syscall(SYS_renameat2, AT_FDCWD, w->aside, AT_FDCWD, w->path, RENAME_NOREPLACE_FLAG) == 0)
        return true;
    if (errno != ENOSYS && errno != EINVAL) return false;
#endif
    struct stat info;
    if (link(w->aside, w->path) == 0) {
        unlink(w->aside);
        return true;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) return false;
    errno = EEXIST;
    return lstat(w->path, &info) != 0 && rename(w->aside, w->path) == 0;
}

static bool take_name(const vn_writer *w) {
    return w->fresh ? take_new_name(w) : rename(w->aside, w->path) == 0;
}

/* stdio keeps that a write failed but not why, and what failed it may be flushed by now. Asks the
 * system again, with writes that meet the same full disk or limit, and sets errno. */
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
bool vn_sync_folder_of(const char *path) {
    char *folder = vn_folder_of(path);
    if (!folder) return false;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    vn_free(folder);
    if (fd < 0) return errno == EACCES; /* writable but not readable: nothing more can be done */
    bool ok = sync_file(fd);
    int code = errno;
    close(fd);
    errno = code;
    return ok;
}

vn_status vn_writer_commit(vn_writer *w, vn_err *err) {
    if (w->to) return commit_memory(w, err);
    bool failed_before = ferror(w->file);
    bool ok = fflush(w->file) == 0;
    if (ok && failed_before) {
        recall_write_error(fileno(w->file));
        ok = false;
    }
    ok = ok && sync_file(fileno(w->file)) && take_name(w);
    vn_status status = VN_OK;
    if (!ok) {
        status = vn_fail_errno(err, "%s: cannot be written", w->path);
        unlink(w->aside);
    } else if (!vn_sync_folder_of(w->path)) {
        status =
            vn_fail_errno(err, "%s: written, but its directory could not be synchronised", w->path);
    }
    fclose(w->file); /* last, for it gives up the lock; nothing is left in its buffer */
    writer_free(w);
    return status;
}

void vn_writer_abandon(vn_writer *w) {
    if (!w->file) return;
    if (w->aside) unlink(w->aside);
    fclose(w->file);
    if (w->to) {
        vn_free(w->to->bytes);
        *w->to = (vn_memory_file){0};
    }
    writer_free(w);
}

/* ---- checks before the work ------------------------------------------------------------------ */

vn_status vn_check_file(const char *path, vn_err *err) {
    vn_writer w;
    const vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    char *folder = vn_folder_of(w.path);
    if (folder) vn_remove_stale(folder);
    vn_free(folder);
    vn_writer_abandon(&w);
    return VN_OK;
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
    char random[VN_UNGUESSABLE + 1];
    vn_unguessable(random);
    char *at = vn_format("%s%s", path, path[0] ? "" : "."), *probe = NULL;
    if (at) keep_existing(at);
    if (at) probe = vn_format("%s/%s%s", at, aside_name, random);
    vn_status status = probe ? VN_OK : vn_no_memory(err);
    if (!status && mkdir(probe, 0777) != 0)
        status = vn_fail_errno(err, "%s: cannot be written", path);
    if (!status) rmdir(probe);
    if (!status && vn_is_dir(path)) vn_remove_stale(path);
    vn_free(probe);
    vn_free(at);
    return status;
}

/* The real path of where writing to `path` would put its file; new string, NULL where that cannot
 * be. */
static char *real_target_of(const char *path) {
    char *target = vn_follow_links(path), *folder = target ? vn_folder_of(target) : NULL;
    char *real = folder ? realpath(folder, NULL) : NULL;
    const char *slash = target ? strrchr(target, '/') : NULL;
    char *out = real ? vn_path_join(real, slash ? slash + 1 : target) : NULL;
    free(real);
    vn_free(folder);
    vn_free(target);
    return out;
}

bool vn_same_file(const char *a, const char *b) {
    char *x = real_target_of(a), *y = real_target_of(b);
    const bool same = strcmp(a, b) == 0 || (x && y && strcmp(x, y) == 0);
    vn_free(x);
    vn_free(y);
    return same;
}
