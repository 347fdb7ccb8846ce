/* run_dir.c - see the header. */
#include "api/run_dir.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

vn_status vn_run_dir_free(const char *out, vn_err *err) {
    if (!exists(out)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s exists: --resume goes on with it, --overwrite replaces it", out);
}

static vn_status check_replaceable(const char *out, vn_err *err) {
    if (!exists(out)) return VN_OK;
    char *mark = vn_path_join(out, "vane.json");
    if (!mark) return vn_no_memory(err);
    const bool run = vn_is_file(mark);
    vn_free(mark);
    return run ? VN_OK : vn_fail(err, VN_BAD_ARGUMENT, "%s is not a run of vane: not overwritten", out);
}

/* `out` without slashes at its end, and `ending`. */
static char *beside(const char *out, const char *ending) {
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    return vn_format("%.*s%s", (int)length, out, ending);
}

vn_status vn_run_dir_begin(const char *out, bool overwrite, char **aside, vn_err *err) {
    vn_status status = overwrite ? check_replaceable(out, err) : vn_run_dir_free(out, err);
    if (status != VN_OK) return status;
    *aside = beside(out, ".new-XXXXXX");
    if (!*aside) return vn_no_memory(err);
    char *slash = strrchr(*aside, '/');
    if (slash && slash != *aside) {
        *slash = 0;
        status = vn_make_dirs(*aside, err);
        *slash = '/';
    }
    if (status == VN_OK && !mkdtemp(*aside)) status = vn_fail_errno(err, "%s", out);
    if (status == VN_OK) chmod(*aside, 0755);
    if (status == VN_OK) return VN_OK;
    vn_free(*aside);
    *aside = NULL;
    return status;
}

vn_status vn_run_dir_end(char *aside, const char *out, vn_status status, vn_err *err) {
    char *old = NULL;
    if (status == VN_OK && exists(out)) {
        old = beside(aside, ".old");
        if (!old)
            status = vn_no_memory(err);
        else if (rename(out, old) != 0)
            status = vn_fail_errno(err, "%s", out);
    }
    if (status == VN_OK && rename(aside, out) != 0) status = vn_fail_errno(err, "%s", out);
    if (status != VN_OK)
        remove_tree(aside);
    else if (old)
        remove_tree(old);
    vn_free(old);
    vn_free(aside);
    return status;
}
