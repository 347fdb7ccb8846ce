/* axes.c - a plot's panel: where it is in the picture, what its axes show, its ticks and its
 * frame. */
#include "image/internal.h"

#include <math.h>

const vn_ink vn_plot_dark = {34, 38, 46};
static const vn_ink frame = {150, 155, 165}, faint = {226, 229, 234};

static const vn_ink colours[] = {{31, 98, 184},  {222, 108, 20}, {26, 140, 74},  {196, 40, 56},
                                 {122, 74, 176}, {132, 86, 60},  {206, 84, 160}, {92, 98, 108},
                                 {168, 160, 22}, {18, 160, 178}};

vn_ink vn_plot_colour(size_t i) {
    return colours[i % VN_COUNT(colours)];
}

static double nice_tick(double span) {
    const double rough = span / 5, power = pow(10, floor(log10(rough))), digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

vn_range vn_range_between(double low, double high) {
    return (vn_range){low, high, nice_tick(high - low)};
}

double vn_panel_x(const vn_panel *p, double value) {
    return p->left + (value - p->x.low) / (p->x.high - p->x.low) * p->width;
}

double vn_panel_y(const vn_panel *p, double value) {
    return p->top + p->height - (value - p->y.low) / (p->y.high - p->y.low) * p->height;
}

/* The line of a tick, on whole pixels, and its number. */
static void draw_tick(const vn_panel *p, bool upright, double value) {
    char number[32];
    vn_snprintf(number, sizeof number, "%g", value);
    const double width = vn_font_width(number, VN_PLOT_TEXT);
    if (upright) {
        const double at = floor(vn_panel_x(p, value)), bottom = p->top + p->height;
        vn_paint_rect(p->canvas, at, p->top, 1, p->height, faint, 1);
        vn_font_draw(p->canvas, at - width / 2, bottom + 16, number, VN_PLOT_TEXT, 0, vn_plot_dark);
    } else {
        const double at = floor(vn_panel_y(p, value));
        vn_paint_rect(p->canvas, p->left, at, p->width, 1, faint, 1);
        vn_font_draw(p->canvas, p->left - width - 5, at + VN_PLOT_TEXT / 2, number, VN_PLOT_TEXT, 0,
                     vn_plot_dark);
    }
}

void vn_panel_ticks(const vn_panel *p, bool upright) {
    const vn_range *r = upright ? &p->x : &p->y;
    for (double k = ceil(r->low / r->tick); k * r->tick <= r->high; k++)
        draw_tick(p, upright, k * r->tick);
}

void vn_panel_frame(const vn_panel *p) {
    vn_paint_rect(p->canvas, p->left, p->top, p->width, 1, frame, 1);
    vn_paint_rect(p->canvas, p->left, p->top + p->height, p->width + 1, 1, frame, 1);
    vn_paint_rect(p->canvas, p->left, p->top, 1, p->height, frame, 1);
    vn_paint_rect(p->canvas, p->left + p->width, p->top, 1, p->height, frame, 1);
}

void vn_panel_axes(const vn_panel *p, bool numbers_below) {
    if (numbers_below) vn_panel_ticks(p, true);
    vn_panel_ticks(p, false);
    vn_panel_frame(p);
}

/* What is drawn now stays inside the panel, or again anywhere. */
void vn_panel_clip(const vn_panel *p) {
    vn_canvas_clip(p->canvas, p->left, p->top, p->width, p->height);
}

void vn_panel_unclip(const vn_panel *p) {
    vn_canvas_clip(p->canvas, 0, 0, p->canvas->image.width, p->canvas->image.height);
}
