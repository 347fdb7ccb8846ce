/* tiles.c - a large image encoded or decoded in overlapping parts, of which each takes little
 * memory. The numbers are those of diffusers 0.42.1:
 *   AutoencoderKL    parts overlap by a quarter; a part's first rows and columns are mixed with the
 *                    last of the parts above and to the left, as these were mixed themselves, and
 *                    its own overlap is cut off
 *   AutoencoderTiny  parts overlap by an eighth, and each is laid over what is there already with a
 *                    weight that rises from 0 to 1 over the overlap
 * The parts are not those of the whole image: attention and norms see one part at a time. */
#include "model/internal.h"

#include <string.h>

/* A part's output [n,out_channels,rows,columns]. */
typedef struct part {
    float *at;
    int64_t rows, columns;
} part;

/* A run: of the input's parts, one every `step`; of the output, what a part adds and overlaps. */
typedef struct walk {
    const vn_tiles *t;
    int64_t planes, rows, columns; /* of the output: n times channels, sides */
    int64_t step, keep, overlap, size;
    int64_t across; /* parts in a row */
    float *in;      /* a part of the input */
} walk;

static int64_t of_output(const vn_tiles *t, int64_t side) {
    return side / t->reduced * t->enlarged;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Cuts the part that begins at row, column of the input and runs it. */
static vn_status run_part(const walk *w, const float *in, int64_t row, int64_t column, part *p,
                          vn_err *err) {
    const vn_tiles *t = w->t;
    const int64_t rows = least(t->tile, t->rows - row),
                  columns = least(t->tile, t->columns - column);
    for (int64_t i = 0; i < t->n * t->channels; i++)
        for (int64_t y = 0; y < rows; y++)
            memcpy(w->in + (i * rows + y) * columns,
                   in + (i * t->rows + row + y) * t->columns + column,
                   (size_t)columns * sizeof *in);
    p->rows = of_output(t, rows);
    p->columns = of_output(t, columns);
    return t->run(t->self, rows, columns, w->in, p->at, err);
}

/* ---- AutoencoderKL --------------------------------------------------------------------------- */

/* b's first rows become a mixture with the last of a. */
static void blend_rows(const walk *w, const part *a, part *b) {
    const int64_t extent = least(least(a->rows, b->rows), w->overlap);
    for (int64_t i = 0; i < w->planes; i++)
        for (int64_t y = 0; y < extent; y++) {
            const float part_of_b = (float)((double)y / (double)extent),
                        *from = a->at + (i * a->rows + a->rows - extent + y) * a->columns;
            float *to = b->at + (i * b->rows + y) * b->columns;
            for (int64_t x = 0; x < b->columns; x++)
                to[x] = from[x] * (1 - part_of_b) + to[x] * part_of_b;
        }
}

static void blend_columns(const walk *w, const part *a, part *b) {
    const int64_t extent = least(least(a->columns, b->columns), w->overlap);
    for (int64_t i = 0; i < w->planes; i++)
        for (int64_t y = 0; y < b->rows; y++) {
            const float *from = a->at + (i * a->rows + y) * a->columns + a->columns - extent;
            float *to = b->at + (i * b->rows + y) * b->columns;
            for (int64_t x = 0; x < extent; x++) {
                const float part_of_b = (float)((double)x / (double)extent);
                to[x] = from[x] * (1 - part_of_b) + to[x] * part_of_b;
            }
        }
}

static void put(const walk *w, const part *p, int64_t row, int64_t column, float *out) {
    const int64_t rows = least(p->rows, w->keep), columns = least(p->columns, w->keep);
    for (int64_t i = 0; i < w->planes; i++)
        for (int64_t y = 0; y < rows; y++)
            memcpy(out + (i * w->rows + row + y) * w->columns + column,
                   p->at + (i * p->rows + y) * p->columns, (size_t)columns * sizeof *out);
}

/* parts: two rows of them, this one and the one above. */
static vn_status blend(const walk *w, const float *in, part *parts, float *out, vn_err *err) {
    const vn_tiles *t = w->t;
    vn_status status = VN_OK;
    int64_t i = 0;
    for (int64_t row = 0; row < t->rows && !status; row += w->step, i++) {
        part *here = parts + i % 2 * w->across, *above = parts + (i + 1) % 2 * w->across;
        for (int64_t j = 0; j < w->across && !status; j++) {
            status = run_part(w, in, row, j * w->step, &here[j], err);
            if (status) break;
            if (i > 0) blend_rows(w, &above[j], &here[j]);
            if (j > 0) blend_columns(w, &here[j - 1], &here[j]);
            put(w, &here[j], i * w->keep, j * w->keep, out);
        }
    }
    return status;
}

/* ---- AutoencoderTiny ------------------------------------------------------------------------- */

/* The weight of a part's i-th row or column. */
static float ramp(const walk *w, bool first, int64_t i) {
    return first || i >= w->overlap - 1 ? 1 : (float)i / (float)(w->overlap - 1);
}

static void lay(const walk *w, const part *p, int64_t row, int64_t column, float *out) {
    for (int64_t i = 0; i < w->planes; i++)
        for (int64_t y = 0; y < p->rows; y++) {
            const float down = ramp(w, row == 0, y), *from = p->at + (i * p->rows + y) * p->columns;
            float *to = out + (i * w->rows + row + y) * w->columns + column;
            for (int64_t x = 0; x < p->columns; x++) {
                const float weight = down * ramp(w, column == 0, x);
                to[x] = weight * from[x] + (1 - weight) * to[x];
            }
        }
}

static vn_status overlay(const walk *w, const float *in, part *p, float *out, vn_err *err) {
    const vn_tiles *t = w->t;
    vn_status status = VN_OK;
    memset(out, 0, (size_t)(w->planes * w->rows * w->columns) * sizeof *out);
    for (int64_t row = 0; row < t->rows && !status; row += w->step)
        for (int64_t column = 0; column < t->columns && !status; column += w->step) {
            status = run_part(w, in, row, column, p, err);
            if (!status) lay(w, p, of_output(t, row), of_output(t, column), out);
        }
    return status;
}

/* ---- the call -------------------------------------------------------------------------------- */

vn_status vn_tiles_run(const vn_tiles *t, const float *in, float *out, vn_err *err) {
    const int64_t overlap = t->ramps ? 8 : 4;
    walk w = {.t = t,
              .planes = t->n * t->out_channels,
              .rows = of_output(t, t->rows),
              .columns = of_output(t, t->columns),
              .step = t->tile - t->tile / overlap,
              .size = of_output(t, t->tile)};
    w.overlap = w.size / overlap;
    w.keep = w.size - w.overlap;
    w.across = (t->columns + w.step - 1) / w.step;
    const int64_t parts = t->ramps ? 1 : 2 * w.across, each = w.planes * w.size * w.size;
    part *part_at = vn_calloc((size_t)parts, sizeof *part_at);
    float *memory = vn_alloc((size_t)(parts * each), sizeof *memory);
    w.in = vn_alloc((size_t)(t->n * t->channels * t->tile * t->tile), sizeof *w.in);
    vn_status status = part_at && memory && w.in ? VN_OK : vn_no_memory(err);
    for (int64_t i = 0; i < parts && !status; i++) part_at[i].at = memory + i * each;
    if (!status)
        status = t->ramps ? overlay(&w, in, part_at, out, err) : blend(&w, in, part_at, out, err);
    vn_free(part_at);
    vn_free(memory);
    vn_free(w.in);
    return status;
}
