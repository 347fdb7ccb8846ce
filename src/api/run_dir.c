/* run_dir.c - see the header. Beside OUT stands, while it is needed, OUT.vane-new- and 16 random
 * digits: a run that is being made. It is whole when it takes its name, and locked from the start:
 * one that is not locked was left by a killed process, and the next to train into OUT removes it.
 *
 * How one run replaces another. The new one and the old one exchange their names in one step, so
 * that OUT is at each instant a whole run, and the old one, under the name aside, is removed in the
 * end, or put back by the same step if the new one comes to nothing. Some file systems cannot
 * exchange. There the old one steps aside first, as OUT.vane-old- and 16 digits, and the new one
 * takes its name next. Killed between the two, OUT is missing; then the next to train into OUT
 * gives the old one its name back before it looks at anything else, and only where OUT is there are
 * those aside removed. */
#include "api/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char new_ending[] = ".vane-new-", old_ending[] = ".vane-old-";

/* ---- paths ----------------------------------------------------------------------------------- */

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *trajectory) {
    (void)st;
    (void)kind;
    (void)trajectory;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* out + ending + digits; new string or NULL. */
static char *aside_name(const char *out, const char *ending) {
    char random[VN_UNGUESSABLE + 1];
    vn_unguessable(random);
    return vn_format("%s%s%s", out, ending, random);
}

/* The folder that `out` is in; new string or NULL. */
static char *parent_of(const char *out) {
    const char *slash = strrchr(out, '/');
    return slash ? vn_format("%.*s", slash == out ? 1 : (int)(slash - out), out) : vn_strdup(".");
}

static const char *name_of(const char *out) {
    const char *slash = strrchr(out, '/');
    return slash ? slash + 1 : out;
}

bool vn_run_dir_inside(const char *out, const char *folder) {
    char *real = vn_real_path(out), *real_folder = vn_is_dir(folder) ? vn_real_path(folder) : NULL;
    const size_t length = real_folder ? strlen(real_folder) : 0;
    const bool inside = real && real_folder && strncmp(real, real_folder, length) == 0 &&
                        (!real[length] || real[length] == '/' || length == 1);
    vn_free(real);
    vn_free(real_folder);
    return inside;
}

/* ---- locks ----------------------------------------------------------------------------------- */

static vn_status lock(const char *path, const char *name, int *fd, vn_err *err) {
    return vn_lock_folder(path, name, "trained", fd, err);
}

/* ---- what killed processes left -------------------------------------------------------------- */

/* What follows `beginning` in text; NULL if it does not begin so. */
static const char *after(const char *text, const char *beginning) {
    const size_t length = strlen(beginning);
    return text && strncmp(text, beginning, length) == 0 ? text + length : NULL;
}

/* Whether `name` is one of those that stand beside `of` with this ending. */
static bool is_aside(const char *name, const char *of, const char *ending) {
    const char *digits = after(after(name, of), ending);
    return digits && vn_is_unguessable(digits);
}

/* Opens and locks a folder of the user's own that nobody holds; < 0: it is none. */
static int lock_left(const char *path) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -1;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

static void remove_left(const char *path) {
    const int fd = lock_left(path);
    if (fd < 0) return;
    remove_tree(path);
    close(fd);
}

/* Calls `with` for each that stands beside `out` with this ending. */
static void each_aside(const char *out, const char *ending,
                       void (*with)(const char *path, void *user), void *user) {
    char *parent = parent_of(out);
    DIR *dir = parent ? opendir(parent) : NULL;
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char *path =
            is_aside(e->d_name, name_of(out), ending) ? vn_path_join(parent, e->d_name) : NULL;
        if (path) with(path, user);
        vn_free(path);
    }
    if (dir) closedir(dir);
    vn_free(parent);
}

static void remove_one_left(const char *path, void *user) {
    (void)user;
    remove_left(path);
}

/* Called when `out` exists: as long as it does not, an old one may be all that is left of it. */
static void remove_leftovers(const char *out) {
    each_aside(out, new_ending, remove_one_left, NULL);
    each_aside(out, old_ending, remove_one_left, NULL);
}

/* The one that was set aside last. */
typedef struct found {
    char *path;
    struct timespec when;
} found;

static void look_for_latest(const char *path, void *user) {
    found *f = user;
    struct stat st;
    char *mark = vn_path_join(path, "vane.json");
    if (mark && vn_is_file(mark) && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
        (!f->path || st.st_ctim.tv_sec > f->when.tv_sec ||
         (st.st_ctim.tv_sec == f->when.tv_sec && st.st_ctim.tv_nsec > f->when.tv_nsec))) {
        vn_free(f->path);
        *f = (found){vn_strdup(path), st.st_ctim};
    }
    vn_free(mark);
}

/* A run that was set aside and whose successor was killed before it had the name gets it back. */
static void put_back_left(const char *out) {
    found f = {0};
    if (exists(out)) return;
    each_aside(out, old_ending, look_for_latest, &f);
    const int fd = f.path ? lock_left(f.path) : -1;
    if (fd >= 0) {
        if (!exists(out) && rename(f.path, out) == 0) vn_sync_folder_of(out);
        close(fd);
    }
    vn_free(f.path);
}

/* What killed writers left in the run and its folders, and beside it. */
static void remove_stale(const char *run) {
    char *parent = parent_of(run);
    if (parent) vn_remove_stale(parent);
    vn_free(parent);
    vn_remove_stale(run);
    DIR *dir = opendir(run);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char *path = e->d_name[0] != '.' ? vn_path_join(run, e->d_name) : NULL;
        if (path && vn_is_dir(path)) vn_remove_stale(path);
        vn_free(path);
    }
    if (dir) closedir(dir);
}

/* ---- the life of a run ----------------------------------------------------------------------- */

static vn_status start(vn_run_dir *d, const char *out, vn_err *err) {
    size_t length = strlen(out);
    *d = (vn_run_dir){.lock = -1, .replaced_lock = -1};
    if (!length) return vn_fail(err, VN_BAD_ARGUMENT, "`out` is empty: it names no folder");
    while (length > 1 && out[length - 1] == '/') length--;
    d->name = vn_format("%.*s", (int)length, out);
    if (d->name) d->out = vn_follow_links(d->name);
    if (!d->out) return vn_no_memory(err);
    put_back_left(d->out);
    return VN_OK;
}

vn_status vn_run_dir_open(vn_run_dir *d, const char *out, vn_err *err) {
    vn_status status = start(d, out, err);
    if (!status) status = lock(d->out, d->name, &d->lock, err);
    if (!status) status = vn_check_folder(d->name, err);
    if (!status) {
        remove_leftovers(d->out);
        remove_stale(d->out);
    }
    return status;
}

vn_status vn_run_dir_join(vn_run_dir *d, const char *out, vn_err *err) {
    return start(d, out, err);
}

static vn_status check_replaceable(const vn_run_dir *d, vn_err *err) {
    char *mark = vn_path_join(d->out, "vane.json");
    if (!mark) return vn_no_memory(err);
    const bool run = vn_is_file(mark);
    vn_free(mark);
    return run ? VN_OK
               : vn_fail(err, VN_BAD_ARGUMENT,
                         "%s exists and is no run of vane, so it stays: name another", d->name);
}

/* Whether the run can take its name in the end, which is a matter of the folder it is in. */
static vn_status check_parent(const vn_run_dir *d, vn_err *err) {
    char *parent = parent_of(d->out);
    vn_status status = parent ? vn_check_folder(parent, err) : vn_no_memory(err);
    if (status == VN_IO) status = vn_fail_in(err, "%s", d->name);
    vn_free(parent);
    return status;
}

vn_status vn_run_dir_begin(vn_run_dir *d, const char *out, bool overwrite, vn_err *err) {
    vn_status status = start(d, out, err);
    if (status) return status;
    if (!exists(d->out)) return check_parent(d, err);
    status = check_replaceable(d, err);
    if (!status && !overwrite)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s exists: `resume` goes on with it, `overwrite` replaces it", d->name);
    if (!status) status = check_parent(d, err);
    return !status ? lock(d->out, d->name, &d->replaced_lock, err) : status;
}

vn_status vn_run_dir_make(vn_run_dir *d, vn_err *err) {
    char *parent = parent_of(d->out);
    vn_status status = parent ? vn_make_dirs(parent, err) : vn_no_memory(err);
    vn_free(parent);
    if (status) return status;
    char *aside = aside_name(d->out, new_ending);
    if (!aside) return vn_no_memory(err);
    if (mkdir(aside, 0777) != 0) {
        status = vn_fail_errno(err, "%s cannot be made", d->name);
        vn_free(aside);
        return status;
    }
    d->aside = aside; /* from now on it is removed again */
    return lock(aside, d->name, &d->lock, err);
}

vn_status vn_run_dir_fail(const vn_run_dir *d, vn_err *err) {
    const char *at = d->aside ? strstr(err->text, d->aside) : NULL;
    char *text =
        at ? vn_format("%.*s%s%s", (int)(at - err->text), err->text, d->name, at + strlen(d->aside))
           : NULL;
    if (text) vn_fail(err, err->status, "%s", text);
    vn_free(text);
    return err->status;
}

/* Two names exchanged in one step; false, with errno, where the file system cannot. */
static bool exchange(const char *a, const char *b) {
#ifdef SYS_renameat2
    enum { RENAME_EXCHANGE_FLAG = 2 }; /* RENAME_EXCHANGE, which the C library shows to some only */
    return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE_FLAG) == 0;
#else
    (void)a;
    (void)b;
    errno = ENOSYS;
    return false;
#endif
}

/* `a` takes the name of `b`, whose folder is then called *instead, a new string. What was there
 * stays reachable: see above. */
static bool replace(const char *a, const char *b, const char *out, char **instead) {
    char *same = vn_strdup(a), *name = aside_name(out, old_ending);
    bool done = false;
    errno = ENOMEM;
    if (same && name && exchange(a, b)) {
        *instead = same;
        vn_free(name);
        return true;
    }
    if (same && name && rename(b, name) == 0) {
        done = rename(a, b) == 0;
        const int code = errno;
        if (!done) rename(name, b);
        errno = code;
    }
    vn_free(same);
    if (!done) vn_free(name);
    *instead = done ? name : NULL;
    return done;
}

/* Another process took the name while this run was made. */
static vn_status fail_taken(const vn_run_dir *d, vn_err *err) {
    int fd = -1;
    const vn_status status = lock(d->out, d->name, &fd, err);
    if (status) return status;
    close(fd);
    return vn_fail(err, VN_IO, "%s was made by another process in the meantime", d->name);
}

vn_status vn_run_dir_name(vn_run_dir *d, vn_err *err) {
    const bool over = d->replaced_lock >= 0;
    if (over ? !replace(d->aside, d->out, d->out, &d->replaced) : rename(d->aside, d->out) != 0)
        return !over && exists(d->out) ? fail_taken(d, err) : vn_fail_errno(err, "%s", d->name);
    d->named = true;
    vn_sync_folder_of(d->out); /* a disk that fails at this fails at the next checkpoint too */
    remove_leftovers(d->out);
    return VN_OK;
}

/* A new run that came to nothing gives its name up at once, and not file by file. */
static void take_back(vn_run_dir *d) {
    char *instead = NULL;
    if (d->replaced ? replace(d->replaced, d->out, d->out, &instead)
                    : (instead = aside_name(d->out, new_ending)) && rename(d->out, instead) == 0)
        remove_tree(instead);
    vn_free(instead);
}

void vn_run_dir_close(vn_run_dir *d, bool keep) {
    if (!d->name) return;
    if (d->named && !keep) take_back(d);
    if (d->named && keep && d->replaced) remove_tree(d->replaced);
    if (!d->named && d->aside) remove_tree(d->aside);
    if (d->lock >= 0) close(d->lock);
    if (d->replaced_lock >= 0) close(d->replaced_lock);
    vn_free(d->name);
    vn_free(d->out);
    vn_free(d->aside);
    vn_free(d->replaced);
    *d = (vn_run_dir){0};
}
