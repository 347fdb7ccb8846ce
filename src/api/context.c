/* context.c - the life of a context: threads, device, callbacks, error text. */
#include "api/internal.h"

#include <string.h>
#include <unistd.h>

/* It is set in signal handlers. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomic_int must be free of locks");

void vn_context_options_init(vn_context_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_CONTEXT, o, size);
}

/* Processes of one machine that are not bound to cores of their own share them. */
static int threads_of(const vn_context_options *o, const vn_ranks *r) {
    const int cores = vn_cpu_cores();
    if (o->threads) return o->threads;
    if (!r || r->local < 2 || cores < (int)sysconf(_SC_NPROCESSORS_ONLN)) return cores;
    return cores > r->local ? cores / r->local : 1;
}

/* Seconds for a process to answer, where nothing is asked for. */
#define TIMEOUT 600.0

/* The other processes, of which the first alone speaks. */
static vn_status join_ranks(vn_context *vn, const vn_context_options *o, vn_err *err) {
    vn->watch = (vn_watch){o->log, o->progress, o->user, &vn->cancel};
    if (o->timeout > 0 && (!o->distributed || !vn_launched().by))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`timeout` has no effect: no launcher (mpirun, srun) started this process");
    if (!o->distributed) return VN_OK;
    const vn_ranks_options options = {.watch = &vn->watch,
                                      .timeout = o->timeout > 0 ? o->timeout : TIMEOUT};
    const vn_status status = vn_ranks_open(&options, &vn->ranks, err);
    if (!vn->ranks || vn->ranks->rank == 0) return status;
    vn->watch.log = NULL;
    vn->watch.progress = NULL;
    return status;
}

static vn_status open_context(const vn_context_options *o, vn_context **out, vn_err *err) {
    vn_status status = vn_options_check(VN_OPTIONS_CONTEXT, o, err);
    if (!status) status = vn_memory_check(err);
    if (status) return status;
    const vn_device_row *row = vn_cpu_row(o->cpu, err);
    if (row) row = vn_cpu_row_of(row, o->precision, err);
    if (!row) return err->status;
    vn_context *vn = vn_calloc(1, sizeof *vn);
    if (!vn) return vn_no_memory(err);
    status = join_ranks(vn, o, err);
    if (!status) status = vn_thread_pool_open(threads_of(o, vn->ranks), &vn->pool, err);
    if (!status) status = vn_device_open(row, NULL, vn->pool, &vn->device, err);
    if (!status && row->exact)
        vn_log(&vn->watch, VN_LOG_INFO,
               "matrix products and attention of networks are of %s numbers, by %s; convolutions, "
               "and all sums, norms and losses, are in float32",
               row->precision, row->unit);
    if (status) vn_context_close(&vn);
    *out = vn;
    return status;
}

vn_status vn_context_open(vn_context **out, const vn_context_options *options) {
    vn_context_options o = vn_context_options_default();
    vn_err err = {0};
    vn_status status = vn_struct_take(&o, sizeof o, options, "vn_context_options", &err);
    if (out) *out = NULL;
    if (!status && !out) status = vn_fail(&err, VN_BAD_ARGUMENT, "vn_context_open: out is needed");
    if (!status) status = open_context(&o, out, &err);
    if (o.error && o.error_size > 0) snprintf(o.error, o.error_size, "%s", err.text);
    return status;
}

void vn_context_close(vn_context **vn) {
    if (!vn || !*vn) return;
    vn_device_close(&(*vn)->device);
    vn_thread_pool_close(&(*vn)->pool);
    vn_measured_close(&(*vn)->measured);
    vn_free((*vn)->measured_by);
    vn_arena_free(&(*vn)->swept);
    vn_ranks_close(&(*vn)->ranks);
    vn_free(*vn);
    *vn = NULL;
}

int vn_context_processes(const vn_context *vn) {
    if (!vn) return vn_launched().count;
    return vn->ranks ? vn->ranks->count : 1;
}

int vn_context_leads(const vn_context *vn) {
    return vn ? vn_ranks_speaks(vn->ranks) : vn_launched().rank == 0;
}

void vn_context_cancel(vn_context *vn) {
    if (vn) vn->cancel = 1;
}

const char *vn_error_text(const vn_context *vn) {
    return vn ? vn->err.text : "out of memory";
}
