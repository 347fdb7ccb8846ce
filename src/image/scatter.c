/* scatter.c - points in the plane as one picture: a square panel for each band, the same axes in all, a colour for each
 * class. For looking at toys and worlds, where a wrong sampler or guide shows at once. */
#include "image/internal.h"

#include <math.h>

enum { MARGIN = 16, GAP = 24, LABEL = 26, PANEL = 360, LEGEND = 150, LEGEND_LINE = 22, LEGEND_MAX = 15 };
static const float text_size = 9.0f, title_size = 13.0f;
static const vn_ink dark = {34, 38, 46}, frame = {150, 155, 165}, faint = {226, 229, 234};

static const vn_ink colours[] = {{31, 98, 184}, {222, 108, 20}, {26, 140, 74}, {196, 40, 56},  {122, 74, 176},
                                 {132, 86, 60}, {206, 84, 160}, {92, 98, 108}, {168, 160, 22}, {18, 160, 178}};

/* The same range for both axes and all panels: a circle looks like one. */
typedef struct range {
    double low, high, tick;
} range;

static double nice_tick(double span) {
    const double rough = span / 5.0, power = pow(10.0, floor(log10(rough))), digit = rough / power;
    return power * (digit < 1.5 ? 1.0 : digit < 3.5 ? 2.0 : digit < 7.5 ? 5.0 : 10.0);
}

static range find_range(const vn_show *show) {
    double reach = 0.0;
    for (int64_t i = 0; i < 2 * show->count; i++) {
        const double x = fabs((double)show->samples[i]);
        if (isfinite(x) && x > reach) reach = x;
    }
    if (!(reach > 1e-30)) reach = 1.0;
    reach *= 1.05;
    return (range){-reach, reach, nice_tick(2.0 * reach)};
}

static float to_pixel(const range *r, double value) {
    return (float)((value - r->low) / (r->high - r->low) * PANEL);
}

static void draw_axes(vn_image *canvas, const range *r, int64_t left, int64_t top) {
    for (double v = ceil(r->low / r->tick) * r->tick; v <= r->high; v += r->tick) {
        const double value = fabs(v) < r->tick / 2.0 ? 0.0 : v;
        const int64_t at = (int64_t)to_pixel(r, value);
        char number[32];
        vn_paint_rect(canvas, left + at, top, 1, PANEL, faint);
        vn_paint_rect(canvas, left, top + PANEL - at, PANEL, 1, faint);
        snprintf(number, sizeof number, "%g", value);
        const float width = vn_font_width(number, text_size);
        vn_font_draw(canvas, (float)(left + at) - width / 2.0f, (float)(top + PANEL) + 16.0f, number, text_size, 0.0f,
                     dark);
        vn_font_draw(canvas, (float)left - width - 4.0f, (float)(top + PANEL - at) + text_size / 2.0f, number,
                     text_size, 0.0f, dark);
    }
    vn_paint_rect(canvas, left, top, PANEL, 1, frame);
    vn_paint_rect(canvas, left, top + PANEL, PANEL + 1, 1, frame);
    vn_paint_rect(canvas, left, top, 1, PANEL, frame);
    vn_paint_rect(canvas, left + PANEL, top, 1, PANEL, frame);
}

static vn_ink ink_of(int32_t label) {
    return label < 0 ? dark : colours[(size_t)label % VN_COUNT(colours)];
}

static void draw_panel(vn_image *canvas, const vn_show *show, const vn_band *band, const range *r, int64_t left,
                       int64_t top) {
    const float radius = band->count > 4000 ? 0.8f : band->count > 500 ? 1.3f : 2.2f;
    draw_axes(canvas, r, left, top);
    if (band->title != NULL)
        vn_font_draw(canvas, (float)left, (float)top - 9.0f, band->title, title_size, (float)PANEL, dark);
    for (int64_t i = band->first; i < band->first + band->count; i++) {
        const float *p = show->samples + 2 * i;
        if (!isfinite(p[0]) || !isfinite(p[1])) continue;
        const float x = (float)left + to_pixel(r, (double)p[0]), y = (float)(top + PANEL) - to_pixel(r, (double)p[1]);
        const vn_segment dot = {x, y, x, y};
        vn_paint_segments(canvas, &dot, 1, radius, ink_of(show->labels == NULL ? -1 : show->labels[i]));
    }
}

static void draw_legend(vn_image *canvas, const vn_show *show, int64_t left, int64_t top) {
    for (int32_t k = 0; k < show->classes && k < LEGEND_MAX; k++) {
        char number[16];
        const float y = (float)(top + k * LEGEND_LINE + LEGEND_LINE / 2), x = (float)left + 6.0f;
        const bool more = k == LEGEND_MAX - 1 && show->classes > LEGEND_MAX;
        snprintf(number, sizeof number, "%d", (int)k);
        const char *name = more ? "..." : show->names != NULL ? show->names[k] : number;
        if (!more) vn_paint_segments(canvas, &(vn_segment){x, y, x, y}, 1, 4.0f, ink_of(k));
        vn_font_draw(canvas, x + 12.0f, y + text_size / 2.0f, name, text_size, LEGEND - 20, dark);
    }
}

vn_status vn_show_points(const vn_show *show, vn_image *out, vn_err *err) {
    *out = (vn_image){0};
    vn_status s = vn_show_check(show, err);
    if (s != VN_OK) return s;
    const vn_band whole = {NULL, 0, show->count}, *bands = show->band_count > 0 ? show->bands : &whole;
    const int64_t n = show->band_count > 0 ? (int64_t)show->band_count : 1, step = LABEL + PANEL + GAP;
    const bool legend = show->labels != NULL && show->classes > 0;
    const int64_t top = MARGIN + (int64_t)(2.0f * title_size);
    s = vn_image_alloc(out, 2 * MARGIN + n * step - GAP + (legend ? GAP + LEGEND : 0), top + PANEL + LABEL + MARGIN, 3,
                       err);
    if (s != VN_OK) return s;
    vn_paint_clear(out, 255);
    const range r = find_range(show);
    for (int64_t b = 0; b < n; b++) draw_panel(out, show, &bands[b], &r, MARGIN + LABEL + b * step, top);
    if (legend) draw_legend(out, show, MARGIN + n * step, top);
    return VN_OK;
}
