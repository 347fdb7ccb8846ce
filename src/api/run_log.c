/* run_log.c - the log of a run for programs: its columns, and the event file made of them. */
#include "api/internal.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "report/report.h"

/* The only one in its folder, whose name says when nothing: TensorBoard takes the time from the
 * file. */
#define EVENTS_FILE "events.out.tfevents.0.vane"

struct vn_run_log {
    vn_context *vn;
    vn_history history;
    double changed; /* when the file was, seconds since 1970 */
};

static vn_status read_log(vn_run_log *log, const char *run, vn_err *err) {
    char *path = vn_path_join(run, "log.jsonl");
    struct stat info;
    if (!path) return vn_no_memory(err);
    vn_status status = vn_history_read(&log->history, path, err);
    if (!status && stat(path, &info) == 0)
        log->changed = (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec;
    if (!status && log->history.damaged)
        vn_log(&log->vn->watch, VN_LOG_WARNING, "%s: %zu line%s left out, the first is line %zu",
               path, log->history.damaged, VN_S(log->history.damaged), log->history.first_damaged);
    vn_free(path);
    return status;
}

/* A folder without a log is named with the runs in it. */
static vn_status check_run(const char *run, vn_err *err) {
    char *path = vn_path_join(run, "log.jsonl");
    if (!path) return vn_no_memory(err);
    const bool there = vn_is_file(path);
    vn_free(path);
    if (there) return VN_OK;
    if (!vn_is_dir(run)) return vn_fail(err, VN_IO, "%s: there is no such run", run);
    vn_fail(err, VN_IO, "%s: has no log.jsonl, so it is no run of vane", run);
    return vn_tell_runs(run, err);
}

vn_status vn_run_log_open(vn_context *vn, const char *run, vn_run_log **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!run || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_run_log_open: run and out are needed");
    *out = NULL;
    vn_status status = check_run(run, err);
    if (status) return status;
    vn_run_log *log = vn_calloc(1, sizeof *log);
    if (!log) return vn_no_memory(err);
    log->vn = vn;
    status = read_log(log, run, err);
    if (status)
        vn_run_log_close(&log);
    else
        *out = log;
    return status;
}

int64_t vn_run_log_count(const vn_run_log *log) {
    return log ? (int64_t)log->history.lines : 0;
}

const char *vn_run_log_key(const vn_run_log *log, size_t i) {
    return log && i < log->history.count ? log->history.columns[i].name : NULL;
}

const double *vn_run_log_values(const vn_run_log *log, const char *key) {
    const vn_column *c = log && key ? vn_history_find(&log->history, key) : NULL;
    return c ? c->value : NULL;
}

/* When the run's clock was at 0, were it trained without a pause. */
static double began(const vn_run_log *log) {
    const double *seconds = vn_run_log_values(log, "seconds");
    const size_t lines = log->history.lines;
    const double last = seconds && lines > 0 ? seconds[lines - 1] : 0;
    return floor(log->changed - (isfinite(last) ? last : 0));
}

vn_status vn_run_log_save_events(vn_run_log *log, const char *folder) {
    if (!log) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(log->vn);
    if (!folder) return vn_fail(err, VN_BAD_ARGUMENT, "vn_run_log_save_events: folder is needed");
    double at;
    char *path = vn_path_join(folder, EVENTS_FILE);
    vn_status status = path ? vn_make_dirs(folder, err) : vn_no_memory(err);
    if (!status && !vn_events_began(path, &at)) at = began(log);
    if (!status) status = vn_events_write(path, &log->history, at, err);
    vn_free(path);
    return status;
}

void vn_run_log_close(vn_run_log **log) {
    if (!log || !*log) return;
    vn_history_close(&(*log)->history);
    vn_free(*log);
    *log = NULL;
}
