/* kernel_conv_window.c - strips and groups of a convolution's windows.
 *
 * Windows at the edges are clipped to the image: no zero is stored or multiplied. All windows of a
 * group are clipped alike, so one product serves them: count.y runs of count.x pixels, each run
 * contiguous floats. */
#include "cpu/kernel_conv.h"

vn_windows vn_conv_windows(const vn_node *conv, const vn_shape *x, const vn_shape *w,
                           const vn_shape *out) {
    return (vn_windows){.n = x->dim[0],
                        .h = x->dim[1],
                        .w = x->dim[2],
                        .c = x->dim[3],
                        .kh = w->dim[0],
                        .kw = w->dim[1],
                        .stride = conv->attr.conv.stride,
                        .top = conv->attr.conv.pad[0],
                        .left = conv->attr.conv.pad[2],
                        .oh = out->dim[1],
                        .ow = out->dim[2]};
}

/* ---- strips ---------------------------------------------------------------------------------- */

vn_strips vn_conv_cut(const vn_windows *v, int64_t floats, int64_t windows, int64_t least) {
    const int64_t high = vn_max_i64(v->oh, 1);
    int64_t rows =
        vn_min_i64(floats / vn_max_i64(v->stride * v->w * v->c, 1), windows / vn_max_i64(v->ow, 1));
    rows = vn_max_i64(vn_min_i64(rows, v->n * v->oh / least), 1);
    vn_strips s = {.images = 1, .parts = 1};
    if (rows < high)
        s.parts = vn_ceil_div(high, rows);
    else
        s.images = rows / high;
    s.count = vn_ceil_div(v->n, s.images) * s.parts;
    s.windows = s.images * vn_ceil_div(v->oh, s.parts) * v->ow;
    return s;
}

vn_strip vn_conv_strip(const vn_windows *v, const vn_strips *s, int64_t i) {
    vn_strip strip = {.image = i / s->parts * s->images};
    strip.last = vn_min_i64(strip.image + s->images, v->n);
    vn_part(v->oh, s->parts, i % s->parts, &strip.begin, &strip.end);
    return strip;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The part inside [0, size) of the kernel's pixels from `start` on. */
static vn_overlap clip_window(int64_t start, int64_t kernel, int64_t size) {
    vn_overlap c = {.first = vn_min_i64(vn_max_i64(-start, 0), kernel)};
    c.count = vn_max_i64(vn_min_i64(size - start, kernel) - c.first, 0);
    return c;
}

/* The longest run of windows from `begin` on that are clipped alike. */
static vn_overlap clip_run(int64_t begin, int64_t end, int64_t stride, int64_t before,
                           int64_t kernel, int64_t size) {
    vn_overlap run = clip_window(begin * stride - before, kernel, size);
    run.begin = begin;
    for (run.end = begin + 1; run.end < end; run.end++) {
        const vn_overlap c = clip_window(run.end * stride - before, kernel, size);
        if (c.first != run.first || c.count != run.count) break;
    }
    return run;
}

bool vn_conv_next_group(const vn_windows *v, const vn_strip *s, vn_group *g) {
    if (s->begin == s->end || v->ow == 0) return false;
    const bool begin = g->y.end == 0, next_row = begin || g->x.end == v->ow;
    if (next_row) {
        const int64_t y = begin ? s->begin : g->y.end;
        if (y == s->end) return false;
        g->y = clip_run(y, s->end, v->stride, v->top, v->kh, v->h);
    }
    g->x = clip_run(next_row ? 0 : g->x.end, v->ow, v->stride, v->left, v->kw, v->w);
    return true;
}

vn_reach vn_conv_reach(const vn_windows *v, const vn_group *g) {
    return (vn_reach){.segments = g->x.count > 0 ? g->y.count : 0,
                      .length = g->x.count * v->c,
                      .jump = v->w * v->c,
                      .first = (g->y.first * v->kw + g->x.first) * v->c,
                      .step = v->kw * v->c};
}

int64_t vn_conv_gather(const vn_windows *v, const vn_strip *s, const vn_group *g, const float *in,
                       const float **window) {
    /* nothing is read: any pointer will do */
    const bool empty = g->y.count == 0 || g->x.count == 0;
    const int64_t step = empty ? 0 : v->stride * v->c;
    int64_t count = 0;
    for (int64_t i = s->image; i < s->last; i++)
        for (int64_t y = g->y.begin; y < g->y.end; y++) {
            const int64_t row = i * v->h + y * v->stride - v->top + g->y.first;
            const int64_t column = g->x.begin * v->stride - v->left + g->x.first;
            const float *at = empty ? in : in + (row * v->w + column) * v->c;
            for (int64_t x = g->x.begin; x < g->x.end; x++, at += step) window[count++] = at;
        }
    return count;
}
