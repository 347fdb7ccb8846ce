/* save_claim.c - a folder that samples go into is one process's at a time: two that number theirs
 * on would both begin with the same index. It is held from before it is looked at until the last
 * sample is written; one that does not exist is made last of all, so that a refusal leaves nothing
 * behind, and is looked at once more, as another may have made it first. */
#include "api/internal.h"

#include <string.h>
#include <unistd.h>

static vn_status lock(vn_claim *c, const char *path, vn_err *err) {
    const vn_status status = vn_lock_folder(path, path, "written", &c->lock, err);
    c->held = !status;
    return status;
}

vn_status vn_claim_hold(vn_claim *c, const char *path, vn_err *err) {
    return vn_saver_is_folder(path) && vn_is_dir(path) ? lock(c, path, err) : VN_OK;
}

/* Length of the longest beginning of the path that is a folder; 0: none of its names. */
static size_t length_there(const char *path) {
    size_t there = strspn(path, "/");
    for (size_t end = there; path[end];) {
        end += strcspn(path + end, "/");
        char *folder = vn_format("%.*s", (int)end, path);
        const bool is = folder && vn_is_dir(folder);
        vn_free(folder);
        if (!is) break;
        there = end += strspn(path + end, "/");
    }
    return there;
}

/* Another process may remove an empty folder of its own between the two. */
static vn_status make(vn_claim *c, const char *path, vn_err *err) {
    enum { TRIES = 100 };
    vn_status status = VN_OK;
    for (int i = 0; i < TRIES && !c->held; i++) {
        status = vn_make_dirs(path, err);
        if (!status) status = lock(c, path, err);
        if (status && vn_is_dir(path)) break;
    }
    return status;
}

vn_status vn_claim_make(vn_claim *c, const char *path, vn_err *err) {
    if (c->held || !vn_saver_is_folder(path)) return VN_OK;
    uint64_t next = 0;
    c->there = length_there(path);
    c->made = vn_strdup(path);
    if (!c->made) return vn_no_memory(err);
    vn_status status = make(c, path, err);
    if (!status) status = vn_saver_next(path, &next, err);
    if (!status && next > 0)
        status = vn_fail(err, VN_IO, "%s was written by another process in the meantime", path);
    return status;
}

/* Cuts the last name off a path, with the slashes around it. */
static void cut_name(char *path) {
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    path[n] = 0;
}

void vn_claim_leave(vn_claim *c) {
    bool empty = c->held && c->made;
    while (empty && strlen(c->made) > c->there) {
        empty = rmdir(c->made) == 0;
        cut_name(c->made);
    }
    if (c->held) close(c->lock);
    vn_free(c->made);
    *c = (vn_claim){0};
}
