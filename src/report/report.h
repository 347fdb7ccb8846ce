/* report.h - what a run or a sweep was like, for people and for other programs: the lines of a
 * run's log.jsonl as columns of numbers, the same as event files that TensorBoard reads, and a
 * sweep as a page of HTML with plots.
 *
 * A page is one file that needs no other: plots are SVG within it, pictures data URIs, and there is
 * no script. Nothing here knows what a model is. */
#ifndef VN_REPORT_H
#define VN_REPORT_H

#include "base/base.h"
#include "sweep/sweep.h"

/* ---- the log of a run (history.c) ------------------------------------------------------------ */

/* One key of the log's lines. A number within an object or a list is a key of its own, with '/'
 * between the parts: "accuracy/0". */
typedef struct vn_column {
    char *name;
    double *value; /* [lines]; NaN where a line does not have it */
} vn_column;

/* Zero-initialise to open. */
typedef struct vn_history {
    size_t lines;
    vn_column *columns;   /* in the order in which the file has them first; "step" is one of them */
    size_t count;         /* columns */
    size_t capacity;      /* lines that there is memory for */
    size_t damaged;       /* lines that are no object with a whole number `step` */
    size_t first_damaged; /* the first of those, counted from 1 */
} vn_history;

/* Reads the file. A last line without its end is one that is being written, and is left out. A
 * key's values beyond VN_HISTORY_COLUMNS keys are VN_BAD_FILE. Closed after a failure too. */
#define VN_HISTORY_COLUMNS 256
vn_status vn_history_read(vn_history *h, const char *path, vn_err *err);
void vn_history_close(vn_history *h);
/* NULL: the log has no such key. */
const vn_column *vn_history_find(const vn_history *h, const char *name);

/* ---- TensorBoard (events.c) ------------------------------------------------------------------ */

/* Writes the columns, each a tag with a value at each step, as one event file, atomically. A line
 * is at the time `began` (seconds since 1970) and its own `seconds`, where it has them. Written
 * again with the same `began`, a log that has grown begins with the same bytes. */
vn_status vn_events_write(const char *path, const vn_history *h, double began, vn_err *err);
/* The `began` of such a file that is there; false: there is none. */
bool vn_events_began(const char *path, double *began);
/* CRC-32C (Castagnoli) of the bytes, as TFRecord masks it. */
uint32_t vn_masked_crc32c(const void *bytes, size_t size);

/* ---- the page of a sweep (sweep_page.c) ------------------------------------------------------ */

typedef struct vn_sweep_page {
    const vn_sweep_folder *sweep;
    const char *source;    /* what was sampled: the run's name */
    const char *objective; /* the metric that is to be best */
    int64_t count;         /* samples of a point, in the end */
    /* vn_sweep_recommend's; NULL: no point was measured */
    const vn_point_result *chosen, *best;
    const char *command;       /* that samples so; NULL: none */
    const vn_history *history; /* of the run's training; NULL: it has none */
} vn_sweep_page;

/* Atomically. Pictures that the sweep's folder lacks are left out. */
vn_status vn_sweep_page_write(const char *path, const vn_sweep_page *page, vn_err *err);

#endif
