/* run_dir.c - see the header. Beside OUT stand, while they are needed, OUT.vane-new-N (a run being made) and OUT.vane-old-N
 * (one being replaced, until it is known that the new one works). Both are locked; one that is not was left by a killed
 * process, and the next to train into OUT removes it. */
#include "api/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char new_ending[] = ".vane-new-", old_ending[] = ".vane-old-";

/* ---- paths ------------------------------------------------------------------------------------------------ */

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk) {
    (void)st;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The first out + ending + number that nothing has; new string or NULL. */
static char *free_name(const char *out, const char *ending) {
    for (int i = 0;; i++) {
        char *name = vn_format("%s%s%d", out, ending, i);
        if (!name || !exists(name)) return name;
        vn_free(name);
    }
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
    char at[PATH_MAX], real[PATH_MAX], real_folder[PATH_MAX];
    if (strlen(out) >= sizeof at || !realpath(folder, real_folder)) return false;
    memcpy(at, out, strlen(out) + 1);
    while (!realpath(at, real)) { /* as much of it as exists */
        char *slash = strrchr(at, '/');
        if (!slash || slash == at)
            memcpy(at, slash ? "/" : ".", 2);
        else
            *slash = 0;
    }
    const size_t length = strlen(real_folder);
    return strncmp(real, real_folder, length) == 0 && (real[length] == 0 || real[length] == '/');
}

/* ---- locks ------------------------------------------------------------------------------------------------ */

/* Whether `path` still names what is open: it may have been replaced before we got the lock. */
static bool still_named(int fd, const char *path) {
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* Locks a directory; on a file system without locks it is only opened. */
static vn_status lock(const char *path, int *fd, vn_err *err) {
    for (;;) {
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*fd < 0) return vn_fail_errno(err, "%s", path);
        const bool taken = flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!taken && still_named(*fd, path)) return VN_OK;
        close(*fd);
        *fd = -1;
        if (taken) return vn_fail(err, VN_IO, "%s is being trained by another process", path);
    }
}

/* ---- what killed processes left ------------------------------------------------------------------------------- */

/* What follows `beginning` in text; NULL if it does not begin so. */
static const char *after(const char *text, const char *beginning) {
    const size_t length = strlen(beginning);
    return text && strncmp(text, beginning, length) == 0 ? text + length : NULL;
}

static bool is_leftover(const char *name, const char *of) {
    const char *ending = after(name, of), *number = after(ending, new_ending);
    if (!number) number = after(ending, old_ending);
    return number && *number && number[strspn(number, "0123456789")] == 0;
}

static void remove_unless_locked(const char *path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) remove_tree(path);
    close(fd);
}

/* Called when `out` exists: as long as it does not, an old one may be all that is left of it. */
static void remove_leftovers(const char *out) {
    char *parent = parent_of(out);
    DIR *dir = parent ? opendir(parent) : NULL;
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char *path = is_leftover(e->d_name, name_of(out)) ? vn_path_join(parent, e->d_name) : NULL;
        if (path) remove_unless_locked(path);
        vn_free(path);
    }
    if (dir) closedir(dir);
    vn_free(parent);
}

/* ---- the life of a run -------------------------------------------------------------------------------------- */

static vn_status start(vn_run_dir *d, const char *out, vn_err *err) {
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    *d = (vn_run_dir){.out = vn_format("%.*s", (int)length, out), .lock = -1, .replaced_lock = -1};
    return d->out ? VN_OK : vn_no_memory(err);
}

vn_status vn_run_dir_open(vn_run_dir *d, const char *out, vn_err *err) {
    vn_status status = start(d, out, err);
    if (status == VN_OK) status = lock(d->out, &d->lock, err);
    if (status == VN_OK) status = vn_check_folder(d->out, err);
    if (status == VN_OK) remove_leftovers(d->out);
    return status;
}

static vn_status check_replaceable(const char *out, vn_err *err) {
    char *mark = vn_path_join(out, "vane.json");
    if (!mark) return vn_no_memory(err);
    const bool run = vn_is_file(mark);
    vn_free(mark);
    return run ? VN_OK : vn_fail(err, VN_BAD_ARGUMENT, "%s is not a run of vane: not overwritten", out);
}

/* Whether the run can take its name in the end, which is a matter of the folder it is in. */
static vn_status check_parent(const char *out, vn_err *err) {
    char *parent = parent_of(out);
    vn_status status = parent ? vn_check_folder(parent, err) : vn_no_memory(err);
    if (status == VN_IO) status = vn_fail_in(err, "%s", out);
    vn_free(parent);
    return status;
}

vn_status vn_run_dir_begin(vn_run_dir *d, const char *out, bool overwrite, vn_err *err) {
    vn_status status = start(d, out, err);
    if (status != VN_OK) return status;
    if (!exists(d->out)) return check_parent(d->out, err);
    if (!overwrite)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s exists: --resume goes on with it, --overwrite replaces it", d->out);
    status = check_replaceable(d->out, err);
    if (status == VN_OK) status = check_parent(d->out, err);
    return status == VN_OK ? lock(d->out, &d->replaced_lock, err) : status;
}

vn_status vn_run_dir_make(vn_run_dir *d, vn_err *err) {
    char *parent = parent_of(d->out);
    vn_status status = parent ? vn_make_dirs(parent, err) : vn_no_memory(err);
    vn_free(parent);
    if (status != VN_OK) return status;
    char *aside = free_name(d->out, new_ending);
    if (!aside) return vn_no_memory(err);
    if (mkdir(aside, 0777) != 0) {
        status = vn_fail_errno(err, "%s cannot be made", d->out);
        vn_free(aside);
        return status;
    }
    d->aside = aside; /* from now on it is removed again */
    return lock(aside, &d->lock, err);
}

static vn_status set_aside(vn_run_dir *d, vn_err *err) {
    char *name = free_name(d->out, old_ending);
    if (!name) return vn_no_memory(err);
    if (rename(d->out, name) == 0) {
        d->replaced = name;
        return VN_OK;
    }
    const vn_status status = vn_fail_errno(err, "%s", d->out);
    vn_free(name);
    return status;
}

vn_status vn_run_dir_name(vn_run_dir *d, vn_err *err) {
    if (d->replaced_lock >= 0) {
        const vn_status status = set_aside(d, err);
        if (status != VN_OK) return status;
    }
    if (rename(d->aside, d->out) != 0) return vn_fail_errno(err, "%s", d->out);
    d->named = true;
    remove_leftovers(d->out);
    return VN_OK;
}

void vn_run_dir_close(vn_run_dir *d, bool keep) {
    if (!d->out) return;
    const bool stays = d->named && keep;
    if (d->aside && !stays) remove_tree(d->named ? d->out : d->aside);
    if (d->replaced && stays) remove_tree(d->replaced);
    if (d->replaced && !stays) rename(d->replaced, d->out);
    if (d->lock >= 0) close(d->lock);
    if (d->replaced_lock >= 0) close(d->replaced_lock);
    vn_free(d->out);
    vn_free(d->aside);
    vn_free(d->replaced);
    *d = (vn_run_dir){0};
}
