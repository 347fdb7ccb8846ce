/* numbers.c - what a metric gives: rows of numbers, and progress while they are found. */
#include <math.h>

#include "metric/internal.h"

/* ---- results --------------------------------------------------------------------------------- */

vn_status vn_metric_add(vn_measuring *m, const char *key, const char *name, const char *unit,
                        int64_t count, double value, double low, double high, vn_err *err) {
    vn_measured *out = m->out;
    if (out->count == out->capacity) {
        const size_t more = out->capacity ? 2 * out->capacity : 16;
        vn_eval_row *row = vn_realloc(out->row, more, sizeof *row);
        if (!row) return vn_no_memory(err);
        out->row = row;
        out->capacity = more;
    }
    out->row[out->count++] = (vn_eval_row){key, name, unit, m->label, count, value, low, high};
    return VN_OK;
}

void vn_measured_close(vn_measured *m) {
    vn_free(m->row);
    *m = (vn_measured){0};
}

/* ---- progress -------------------------------------------------------------------------------- */

void vn_metric_part(vn_measuring *m, const char *what) {
    m->metric = what;
    m->part++;
    m->began = vn_now();
}

const char *vn_metric_part_text(const vn_measuring *m, char text[64]) {
    snprintf(text, 64, "%s %d of %d", m->metric, m->part, m->parts);
    return text;
}

vn_status vn_metric_report(const vn_measuring *m, int64_t done, int64_t total, vn_err *err) {
    char text[64];
    const double seconds = fmax(vn_now() - m->began, 1e-9), rate = (double)done / seconds;
    const vn_progress p = {.what = vn_metric_part_text(m, text),
                           .unit = "samples",
                           .done = done,
                           .total = total,
                           .rate = rate,
                           .seconds_left = done > 0 ? (double)(total - done) / rate : -1,
                           .loss = (double)NAN};
    return vn_report(m->o->watch, &p) ? vn_fail(err, VN_CANCELLED, "stopped") : VN_OK;
}
