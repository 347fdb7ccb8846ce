/* run_dir.h - the life of a run's directory. It is written aside and then given its name, so that a
 * directory of that name is always a whole run; and it is locked while it trains, so that two
 * processes do not train into one.
 *
 *   vn_run_dir_open(&d, "runs/a", err)                   one that is there, to go on with; or
 *   vn_run_dir_begin(&d, "runs/a", overwrite, err)       may there be a new one?
 *   vn_run_dir_make(&d, err)                             d.aside, empty, to be filled
 *   vn_run_dir_name(&d, err)                             it is whole: d.aside becomes d.out
 *   vn_run_dir_close(&d, keep)                           in each case
 *
 * The lock is flock's on the directory itself: it survives a rename and ends with the process. */
#ifndef VN_API_RUN_DIR_H
#define VN_API_RUN_DIR_H

#include "base/base.h"

typedef struct vn_run_dir {
    char *name; /* as its user calls it, for messages */
    /* where that leads: a link is followed, so that a run may be on another disk */
    char *out;
    char *aside;             /* of a new one: where it is before it has its name */
    char *replaced;          /* where the run is put that had the name before; NULL: none had */
    bool named;              /* the new one has its name */
    int lock, replaced_lock; /* descriptors; < 0: none */
} vn_run_dir;

/* VN_IO if another process trains it. */
vn_status vn_run_dir_open(vn_run_dir *d, const char *out, vn_err *err);
/* One that another process has locked, with which this one trains. Writes nothing. */
vn_status vn_run_dir_join(vn_run_dir *d, const char *out, vn_err *err);
/* VN_BAD_ARGUMENT if `out` exists; with `overwrite` it may be a run of vane that no other process
 * trains. Writes nothing. */
vn_status vn_run_dir_begin(vn_run_dir *d, const char *out, bool overwrite, vn_err *err);
vn_status vn_run_dir_make(vn_run_dir *d, vn_err *err);
vn_status vn_run_dir_name(vn_run_dir *d, vn_err *err);
/* Words about a file of a run that has no name yet speak of the name that it would have had.
 * Returns err->status. */
vn_status vn_run_dir_fail(const vn_run_dir *d, vn_err *err);
/* A new run that has no name yet, or that is not to be kept, is removed, and the one it replaced
 * put back. Safe on a zeroed one and after a failure of the above. */
void vn_run_dir_close(vn_run_dir *d, bool keep);
/* Whether `out`, which need not exist, is or lies in the folder. */
bool vn_run_dir_inside(const char *out, const char *folder);

#endif
