/* curves.c - numbers over another as one picture: panels side by side, a colour for each curve. For
 * looking at how something went: a classifier's accuracy by noise level while it is trained. */
#include "image/internal.h"

#include <math.h>

enum { MARGIN = 16, GAP = 24, LABEL = 34, WIDTH = 300, HEIGHT = 220, LEGEND = 120, LINE = 22 };
static const double title_size = 13, over_panels = MARGIN + 2 * 13;

/* The greatest x, and y, of all curves; false: there is no point. */
static bool find_reach(const vn_curve_panel *panels, size_t count, double *x, bool *any) {
    *x = 0;
    *any = false;
    for (size_t p = 0; p < count; p++)
        for (size_t c = 0; c < panels[p].count; c++)
            for (size_t i = 0; i < panels[p].curve[c].n; i++) {
                if (!isfinite(panels[p].curve[c].y[i])) continue;
                *any = true;
                *x = fmax(*x, panels[p].curve[c].x[i]);
            }
    return *any;
}

static double highest(const vn_curve_panel *p) {
    double most = p->high;
    for (size_t c = 0; c < p->count; c++)
        for (size_t i = 0; i < p->curve[c].n; i++)
            if (isfinite(p->curve[c].y[i])) most = fmax(most, p->curve[c].y[i]);
    return most;
}

/* A line through its points, each with a dot. */
static void draw_curve(const vn_panel *p, const vn_curve *c, vn_ink ink) {
    bool drawn = false;
    for (size_t i = 0; i < c->n; i++) {
        if (!isfinite(c->y[i])) continue;
        const double x = vn_panel_x(p, c->x[i]), y = vn_panel_y(p, c->y[i]);
        (drawn ? vn_pen_line : vn_pen_move)(p->canvas, x, y);
        drawn = true;
    }
    vn_pen_stroke(p->canvas, 1.6, ink, 1);
    for (size_t i = 0; i < c->n; i++)
        if (isfinite(c->y[i]))
            vn_paint_dot(p->canvas, vn_panel_x(p, c->x[i]), vn_panel_y(p, c->y[i]), 2, ink, 1);
}

static void draw_panel(vn_canvas *canvas, const vn_curve_panel *of, double left, double reach,
                       const char *x_name) {
    const vn_panel p = {canvas,
                        left,
                        over_panels,
                        WIDTH,
                        HEIGHT,
                        vn_range_between(0, reach),
                        vn_range_between(of->low, highest(of))};
    vn_font_draw(canvas, left, over_panels - 9, of->title, title_size, WIDTH, vn_plot_dark);
    vn_panel_axes(&p, true);
    for (size_t c = 0; c < of->count; c++) draw_curve(&p, &of->curve[c], vn_plot_colour(c));
    vn_panel_frame(&p);
    vn_font_draw(canvas, left + WIDTH - vn_font_width(x_name, VN_PLOT_TEXT),
                 over_panels + HEIGHT + 34, x_name, VN_PLOT_TEXT, 0, vn_plot_dark);
}

static void draw_legend(vn_canvas *canvas, const vn_curve_panel *of, double left) {
    double y = over_panels + LINE / 2.0;
    for (size_t c = 0; c < of->count; c++, y += LINE) {
        vn_paint_dot(canvas, left + 6, y, 4, vn_plot_colour(c), 1);
        vn_font_draw(canvas, left + 20, y + VN_PLOT_TEXT / 2, of->curve[c].name, VN_PLOT_TEXT,
                     LEGEND - 20, vn_plot_dark);
    }
}

vn_status vn_show_curves(const vn_curve_panel *panels, size_t count, const char *x_name,
                         vn_image *out, vn_err *err) {
    double reach;
    bool any;
    *out = (vn_image){0};
    if (count == 0 || !find_reach(panels, count, &reach, &any))
        return vn_fail(err, VN_BAD_ARGUMENT, "curves without a point are no picture");
    const double width = 2 * MARGIN + (double)count * (LABEL + WIDTH + GAP) + LEGEND,
                 height = over_panels + HEIGHT + LABEL + MARGIN;
    vn_canvas canvas;
    vn_status status = vn_canvas_open(&canvas, (int64_t)width, (int64_t)height, 3, err);
    if (status) return status;
    for (size_t p = 0; p < count; p++)
        draw_panel(&canvas, &panels[p], MARGIN + LABEL + (double)p * (LABEL + WIDTH + GAP),
                   reach > 0 ? reach : 1, x_name);
    draw_legend(&canvas, &panels[0], MARGIN + (double)count * (LABEL + WIDTH + GAP));
    return vn_canvas_take(&canvas, out, err);
}
