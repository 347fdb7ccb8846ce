/* run_dir.h - how a run's directory comes into being: written aside, then given its name, so that a directory of that name is
 * always a whole run. */
#ifndef VN_API_RUN_DIR_H
#define VN_API_RUN_DIR_H

#include "base/base.h"

/* VN_BAD_ARGUMENT if `out` exists. */
vn_status vn_run_dir_free(const char *out, vn_err *err);
/* *aside: a new empty directory beside `out`, to be vn_free'd by vn_run_dir_end. With `overwrite` an `out` that is a run of vane (and
 * nothing else) may be in the way. */
vn_status vn_run_dir_begin(const char *out, bool overwrite, char **aside, vn_err *err);
/* Gives aside the name `out`, replacing the run that has it, if status is VN_OK; else removes aside. Returns what came of it. */
vn_status vn_run_dir_end(char *aside, const char *out, vn_status status, vn_err *err);

#endif
