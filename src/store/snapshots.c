/* snapshots.c - which snapshots of averages a run keeps, in state/ema, a file for each step. */
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENDING ".safetensors"

/* The step of a file of this name; -1: it is another. */
static int64_t step_of(const char *name) {
    char *end = NULL;
    if (name[0] < '1' || name[0] > '9') return -1;
    errno = 0;
    const long long step = strtoll(name, &end, 10);
    return errno == 0 && strcmp(end, ENDING) == 0 ? step : -1;
}

static int by_step(const void *a, const void *b) {
    const int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

static vn_status add(int64_t **steps, size_t *n, size_t *room, int64_t step, vn_err *err) {
    if (*n == *room) {
        const size_t more = *room ? 2 * *room : 64;
        int64_t *grown = vn_alloc(more, sizeof *grown);
        if (!grown) return vn_no_memory(err);
        if (*n) memcpy(grown, *steps, *n * sizeof *grown);
        vn_free(*steps);
        *steps = grown;
        *room = more;
    }
    (*steps)[(*n)++] = step;
    return VN_OK;
}

vn_status vn_store_list_snapshots(const char *dir, int64_t **steps, size_t *n, vn_err *err) {
    char *folder = vn_path_join(dir, VN_SNAPSHOTS_FOLDER);
    vn_status status = folder ? VN_OK : vn_no_memory(err);
    size_t room = 0;
    *steps = NULL;
    *n = 0;
    DIR *d = folder ? opendir(folder) : NULL;
    if (folder && !d && errno != ENOENT) status = vn_fail_errno(err, "%s: cannot be read", folder);
    for (const struct dirent *e; d && !status && (e = readdir(d));)
        if (step_of(e->d_name) > 0) status = add(steps, n, &room, step_of(e->d_name), err);
    if (d) closedir(d);
    vn_free(folder);
    if (status) {
        vn_free(*steps);
        *steps = NULL;
        *n = 0;
    } else if (*n > 1) {
        qsort(*steps, *n, sizeof **steps, by_step);
    }
    return status;
}

vn_status vn_store_remove_snapshot(const char *dir, int64_t step, vn_err *err) {
    return vn_store_remove_file(vn_store_snapshot_path(dir, step), err);
}
