/* context.c - the life of a context: threads, device, callbacks, error text. */
#include "api/internal.h"

#include <string.h>

/* It is set in signal handlers. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomic_int must be free of locks");

void vn_context_options_init(vn_context_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_CONTEXT, o, size);
}

static vn_status open_context(const vn_context_options *o, vn_context **out, vn_err *err) {
    vn_status status = vn_options_check(VN_OPTIONS_CONTEXT, o, err);
    if (status) return status;
    const vn_device_row *row = vn_cpu_row(o->cpu, err);
    if (!row) return err->status;
    vn_context *vn = vn_calloc(1, sizeof *vn);
    if (!vn) return vn_no_memory(err);
    status = vn_thread_pool_open(o->threads ? o->threads : vn_cpu_cores(), &vn->pool, err);
    if (!status) status = vn_device_open(row, NULL, vn->pool, &vn->device, err);
    vn->watch = (vn_watch){o->log, o->progress, o->user, &vn->cancel};
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
    vn_free(*vn);
    *vn = NULL;
}

void vn_context_cancel(vn_context *vn) {
    if (vn) vn->cancel = 1;
}

const char *vn_error_text(const vn_context *vn) {
    return vn ? vn->err.text : "out of memory";
}
