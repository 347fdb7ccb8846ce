/* bound.c - how much memory a source may take, and reading that can be stopped. A packed file of a
 * few megabytes can stand for gigabytes, so readers ask before they take memory, and tell of every
 * few megabytes that they have read. */
#include "data/internal.h"

#include <math.h>

/* What is held beside a sample: its label as read and as kept, and its places in the order. */
enum { BESIDE = 1 + sizeof(int32_t) + 2 * sizeof(int64_t) + sizeof(bool) };

#define MAX_CACHE    ((size_t)4 << 30)
#define REPORT_AFTER ((uint64_t)4 << 20)

size_t vn_source_bound(void) {
    const size_t half = vn_memory_total() / 2;
    return vn_memory_given() || half < MAX_CACHE ? half : MAX_CACHE;
}

vn_status vn_source_fits(int64_t count, double sample_bytes, vn_err *err) {
    const double need = (double)count * (sample_bytes + BESIDE), bound = (double)vn_source_bound();
    char needed[32], most[32];
    if (need <= bound) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "its %lld samples would take %s in memory with their labels and order, and %s "
                   "is what data may take "
                   "(VANE_MEMORY=%.0fG in the environment would allow it)",
                   (long long)count, vn_bytes_text(need, needed), vn_bytes_text(bound, most),
                   ceil(2 * need / (1 << 30)));
}

/* ---- reading --------------------------------------------------------------------------------- */

void vn_reading_begin(vn_reading *r, const vn_watch *watch, uint64_t total) {
    *r = (vn_reading){.watch = watch, .total = total, .start = vn_now()};
}

vn_status vn_reading_advance(vn_reading *r, uint64_t bytes, vn_err *err) {
    r->done += bytes;
    if (r->done - r->reported < REPORT_AFTER) return VN_OK;
    r->reported = r->done;
    const double rate = 1e-6 * (double)r->done / (vn_now() - r->start + 1e-9);
    const vn_progress progress = {
        .what = "reading",
        .unit = "MB",
        .done = (int64_t)(r->done / 1000000),
        .total = (int64_t)(r->total / 1000000),
        .rate = rate,
        .seconds_left =
            1e-6 * (double)(r->total - (r->done < r->total ? r->done : r->total)) / rate,
        .loss = (double)NAN};
    return vn_report(r->watch, &progress) ? vn_fail(err, VN_CANCELLED, "reading was cancelled")
                                          : VN_OK;
}
