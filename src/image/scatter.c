/* scatter.c - points in the plane as one picture: a square panel for each band, the same axes in all, a colour for each
 * class. For looking at toys and worlds, where a wrong sampler or guide shows at once. */
#include "image/internal.h"

#include <math.h>

enum {
    MARGIN = 16,
    GAP = 24,
    LABEL = 26,
    PANEL = 360,
    LEGEND_DOT = 18,
    LEGEND_LINE = 22,
    LEGEND_MAX = 15,
    LEGEND_MAX_WIDTH = 150
};
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

static void draw_tick(vn_image *canvas, const range *r, double value, int64_t left, int64_t top) {
    const int64_t at = (int64_t)to_pixel(r, value), bottom = top + PANEL;
    char number[32];
    snprintf(number, sizeof number, "%g", value);
    const float width = vn_font_width(number, text_size);
    vn_paint_rect(canvas, left + at, top, 1, PANEL, faint);
    vn_paint_rect(canvas, left, bottom - at, PANEL, 1, faint);
    vn_font_draw(canvas, (float)(left + at) - width / 2.0f, (float)bottom + 16.0f, number, text_size, 0.0f, dark);
    vn_font_draw(canvas, (float)left - width - 4.0f, (float)(bottom - at) + text_size / 2.0f, number, text_size, 0.0f,
                 dark);
}

static void draw_axes(vn_image *canvas, const range *r, int64_t left, int64_t top) {
    const int last = (int)(r->high / r->tick);
    for (int k = -last; k <= last; k++) draw_tick(canvas, r, k * r->tick, left, top);
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

/* Name of class k in the legend, which ends in "..." where there are too many. */
static const char *legend_name(const vn_show *show, int32_t k, char number[16]) {
    if (k == LEGEND_MAX - 1 && show->classes > LEGEND_MAX) return "...";
    if (show->names != NULL) return show->names[k];
    snprintf(number, 16, "%d", (int)k);
    return number;
}

static int32_t legend_lines(const vn_show *show) {
    if (show->labels == NULL) return 0;
    return show->classes < LEGEND_MAX ? show->classes : LEGEND_MAX;
}

static int64_t legend_width(const vn_show *show) {
    float widest = 0.0f;
    char number[16];
    for (int32_t k = 0; k < legend_lines(show); k++)
        widest = fmaxf(widest, vn_font_width(legend_name(show, k, number), text_size));
    return widest > 0.0f ? GAP + LEGEND_DOT + (int64_t)fminf(widest, LEGEND_MAX_WIDTH) : 0;
}

static void draw_legend(vn_image *canvas, const vn_show *show, int64_t left, int64_t top) {
    char number[16];
    for (int32_t k = 0; k < legend_lines(show); k++) {
        const float y = (float)(top + k * LEGEND_LINE) + LEGEND_LINE / 2.0f, x = (float)left + 6.0f;
        const char *name = legend_name(show, k, number);
        if (k < LEGEND_MAX - 1 || show->classes <= LEGEND_MAX)
            vn_paint_segments(canvas, &(vn_segment){x, y, x, y}, 1, 4.0f, ink_of(k));
        vn_font_draw(canvas, (float)(left + LEGEND_DOT), y + text_size / 2.0f, name, text_size, LEGEND_MAX_WIDTH, dark);
    }
}

vn_status vn_show_points(const vn_show *show, vn_image *out, vn_err *err) {
    *out = (vn_image){0};
    vn_status s = vn_show_check(show, err);
    if (s != VN_OK) return s;
    const vn_band whole = {NULL, 0, show->count}, *bands = show->band_count > 0 ? show->bands : &whole;
    const int64_t n = show->band_count > 0 ? (int64_t)show->band_count : 1, step = LABEL + PANEL + GAP;
    const int64_t top = MARGIN + (int64_t)(2.0f * title_size);
    s = vn_image_alloc(out, 2 * MARGIN + n * step - GAP + legend_width(show), top + PANEL + LABEL + MARGIN, 3, err);
    if (s != VN_OK) return s;
    vn_paint_clear(out, 255);
    const range r = find_range(show);
    for (int64_t b = 0; b < n; b++) draw_panel(out, show, &bands[b], &r, MARGIN + LABEL + b * step, top);
    draw_legend(out, show, MARGIN + n * step, top);
    return VN_OK;
}
