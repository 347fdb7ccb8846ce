/* plot.c - points as one picture: a panel for each band, the same axes in all, a colour for each
 * class. In the plane, samples over the density that they should have, and the ways they came; on
 * the line, their histogram under the density, and the ways below it, time running up. For looking
 * at toys and worlds, where a wrong sampler or guide shows at once. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

enum {
    MARGIN = 16,
    GAP = 24,
    LABEL = 30,
    PANEL = 360,
    HISTOGRAM = 240, /* height of a panel on the line, */
    WAYS = 200,      /* and of the ways below it */
    BINS = 60,
    LEGEND_DOT = 20,
    LEGEND_LINE = 22,
    LEGEND_MAX = 15,
    LEGEND_MAX_WIDTH = 170,
    MAX_WAYS = 150 /* of a band; more would hide one another */
};
static const double text_size = VN_PLOT_TEXT, title_size = 13,
                    over_panels = MARGIN + 2 * 13 /* titles */;
static vn_ink ink_of(int32_t label) {
    return label < 0 ? vn_plot_dark : vn_plot_colour((size_t)label);
}

static int32_t label_of(const vn_show *show, int64_t i) {
    return !show->labels ? -1 : show->labels[i];
}

/* ---- axes ------------------------------------------------------------------------------------ */

/* Around 0, as far as the samples reach. */
static vn_range find_range(const vn_show *show) {
    double reach = 0;
    for (int64_t i = 0; i < show->dimension * show->count; i++) {
        const double x = fabs((double)show->samples[i]);
        if (isfinite(x) && x > reach) reach = x;
    }
    if (!(reach > 1e-30)) reach = 1;
    reach *= 1.05;
    return vn_range_between(-reach, reach);
}

/* ---- which classes a band shows -------------------------------------------------------------- */

/* Calls draw for each label that occurs in the band, -1 for samples without a class. */
typedef void draw_label_fn(const vn_panel *p, const vn_show *show, const vn_band *band,
                           int32_t label);

static void for_each_label(const vn_panel *p, const vn_show *show, const vn_band *band,
                           draw_label_fn *draw) {
    for (int32_t label = -1; label < show->classes || label == -1; label++)
        for (int64_t i = band->first; i < band->first + band->count; i++)
            if (label_of(show, i) == label) {
                draw(p, show, band, label);
                break;
            }
}

/* ---- in the plane ---------------------------------------------------------------------------- */

enum { CELL = 3, CELLS = PANEL / CELL }; /* the density is computed on squares of CELL pixels */

static int descending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

enum { SHADES = 5 };
static const double share_of_mass[SHADES] = {0.1, 0.3, 0.5, 0.7, 0.9};

/* The densities within which lie 10, 30, ... 90% of the mass that the panel shows. */
static void find_levels(const float *density, float *sorted, float level[SHADES]) {
    double total = 0, sum = 0;
    memcpy(sorted, density, CELLS * CELLS * sizeof *sorted);
    qsort(sorted, CELLS * CELLS, sizeof *sorted, descending);
    for (int i = 0; i < CELLS * CELLS; i++) total += (double)sorted[i];
    int k = 0;
    for (int i = 0; i < CELLS * CELLS && k < SHADES; i++) {
        sum += (double)sorted[i];
        while (k < SHADES && sum >= share_of_mass[k] * total) level[k++] = sorted[i];
    }
    while (k < SHADES) level[k++] = 0;
}

/* The density between the squares' middles. */
static float density_at(const float *density, int x, int y) {
    const float u = fminf(fmaxf(((float)x + 0.5f) / CELL - 0.5f, 0), CELLS - 1),
                v = fminf(fmaxf(((float)y + 0.5f) / CELL - 0.5f, 0), CELLS - 1);
    const int i = (int)fminf(u, CELLS - 2), j = (int)fminf(v, CELLS - 2);
    const float a = u - (float)i, b = v - (float)j, *d = density + j * CELLS + i;
    return (1 - b) * ((1 - a) * d[0] + a * d[1]) + b * ((1 - a) * d[CELLS] + a * d[CELLS + 1]);
}

/* p(x|label) as shades of its colour, each holding a stated share of the mass. */
static void draw_density(const vn_panel *p, const vn_show *show, const vn_band *band,
                         int32_t label) {
    (void)band;
    float *density = show->scratch, *sorted = density + CELLS * CELLS, level[SHADES];
    for (int j = 0; j < CELLS; j++)
        for (int i = 0; i < CELLS; i++) {
            const double at[2] = {p->x.low + (i + 0.5) / CELLS * (p->x.high - p->x.low),
                                  p->y.high - (j + 0.5) / CELLS * (p->y.high - p->y.low)};
            density[j * CELLS + i] = (float)show->density(show->self, label, at);
        }
    find_levels(density, sorted, level);
    for (int y = 0; y < PANEL; y++)
        for (int x = 0; x < PANEL; x++) {
            const float d = density_at(density, x, y);
            int shades = 0;
            for (int k = 0; k < SHADES; k++) shades += d > level[k];
            if (shades)
                vn_paint_tint(p->canvas, (int64_t)p->left + x, (int64_t)p->top + y, ink_of(label),
                              0.09 * shades);
        }
}

/* A line through the states of sample i; y of a state is its second number, or on the line its
 * t. */
static void draw_way(const vn_panel *p, const vn_show *show, int64_t i, double width) {
    bool drawn = false;
    for (int64_t k = 0; k < show->trace_levels; k++) {
        const float *state = show->trace + (k * show->count + i) * show->dimension;
        const double second = show->dimension == 1 ? show->trace_times[k] : (double)state[1];
        if (!isfinite(state[0]) || !isfinite(second)) break;
        (drawn ? vn_pen_line : vn_pen_move)(p->canvas, vn_panel_x(p, (double)state[0]),
                                            vn_panel_y(p, second));
        drawn = true;
    }
    vn_pen_stroke(p->canvas, width, ink_of(label_of(show, i)), 0.35);
}

static void draw_ways(const vn_panel *p, const vn_show *show, const vn_band *band) {
    /* odd: of every class where labels take turns */
    const int64_t every = (band->count + MAX_WAYS - 1) / MAX_WAYS | 1;
    vn_panel_clip(p);
    for (int64_t i = 0; i < band->count; i += every) draw_way(p, show, band->first + i, 0.8);
    vn_panel_unclip(p);
}

static void draw_points(const vn_panel *p, const vn_show *show, const vn_band *band) {
    const double radius = band->count > 4000 ? 0.9 : band->count > 500 ? 1.4 : 2.4;
    vn_panel_clip(p);
    for (int64_t i = band->first; i < band->first + band->count; i++) {
        const float *at = show->samples + 2 * i;
        if (isfinite(at[0]) && isfinite(at[1]))
            vn_paint_dot(p->canvas, vn_panel_x(p, (double)at[0]), vn_panel_y(p, (double)at[1]),
                         radius, ink_of(label_of(show, i)), 1);
    }
    vn_panel_unclip(p);
}

static void draw_plane(vn_canvas *canvas, const vn_show *show, const vn_band *band,
                       const vn_range *r, double left, double top) {
    const vn_panel p = {canvas, left, top, PANEL, PANEL, *r, *r};
    vn_panel_axes(&p, true);
    if (show->density) for_each_label(&p, show, band, draw_density);
    if (show->trace) draw_ways(&p, show, band);
    draw_points(&p, show, band);
    vn_panel_frame(&p);
}

/* ---- on the line ----------------------------------------------------------------------------- */

/* Samples of a label in each bin, as a density of that label's samples. */
static void count_bins(const vn_show *show, const vn_band *band, const vn_range *r, int32_t label,
                       double bin[BINS]) {
    int64_t count = 0;
    memset(bin, 0, BINS * sizeof *bin);
    for (int64_t i = band->first; i < band->first + band->count; i++) {
        const double x = (double)show->samples[i];
        if (label_of(show, i) != label || !isfinite(x)) continue;
        const int k = (int)((x - r->low) / (r->high - r->low) * BINS);
        count++;
        if (k >= 0 && k < BINS) bin[k]++;
    }
    for (int k = 0; k < BINS && count; k++) bin[k] *= BINS / ((double)count * (r->high - r->low));
}

static void draw_bins(const vn_panel *p, const vn_show *show, const vn_band *band, int32_t label) {
    double bin[BINS];
    count_bins(show, band, &p->x, label, bin);
    for (int k = 0; k < BINS; k++) {
        const double y = vn_panel_y(p, bin[k]);
        vn_paint_rect(p->canvas, p->left + k * p->width / BINS, y, p->width / BINS - 0.5,
                      p->top + p->height - y, ink_of(label), 0.4);
    }
}

static void draw_curve(const vn_panel *p, const vn_show *show, const vn_band *band, int32_t label) {
    (void)band;
    for (int k = 0; k <= PANEL; k++) {
        const double x = p->x.low + (p->x.high - p->x.low) * k / PANEL;
        (k ? vn_pen_line : vn_pen_move)(p->canvas, vn_panel_x(p, x),
                                        vn_panel_y(p, show->density(show->self, label, &x)));
    }
    vn_pen_stroke(p->canvas, 1.6, ink_of(label), 1);
}

/* The highest bin or density of all bands. */
static double highest(const vn_show *show, const vn_band *bands, size_t count, const vn_range *r) {
    double most = 0, bin[BINS];
    for (size_t b = 0; b < count; b++)
        for (int64_t i = bands[b].first; i < bands[b].first + bands[b].count; i++) {
            const int32_t label = label_of(show, i);
            if (i > bands[b].first && label_of(show, i - 1) == label) continue;
            if (i > bands[b].first + 2 * show->classes) break; /* labels repeat */
            count_bins(show, &bands[b], r, label, bin);
            for (int k = 0; k < BINS; k++) {
                const double x = r->low + (r->high - r->low) * k / BINS;
                most = fmax(most,
                            fmax(bin[k], show->density ? show->density(show->self, label, &x) : 0));
            }
        }
    return most > 0 ? most * 1.05 : 1;
}

static void draw_line(vn_canvas *canvas, const vn_show *show, const vn_band *band,
                      const vn_range *r, double high, double left, double top) {
    const bool ways = show->trace != NULL;
    const vn_panel p = {canvas, left, top, PANEL, HISTOGRAM, *r, vn_range_between(0, high)};
    vn_panel_axes(&p, !ways);
    for_each_label(&p, show, band, draw_bins);
    if (show->density) for_each_label(&p, show, band, draw_curve);
    vn_panel_frame(&p);
    if (!ways) return;
    const vn_panel below = {canvas, left, top + HISTOGRAM, PANEL, WAYS, *r, {1, 0, 0.2}};
    const vn_panel ticks = {canvas, left, top + HISTOGRAM, PANEL, WAYS, *r, {0, 0.999, 0.2}};
    vn_panel_ticks(&ticks, true);
    draw_ways(&below, show, band);
    vn_panel_frame(&below);
    vn_font_draw(canvas, left - 26, top + HISTOGRAM + 22, "t=0", text_size, 0, vn_plot_dark);
    vn_font_draw(canvas, left - 26, top + HISTOGRAM + WAYS, "t=1", text_size, 0, vn_plot_dark);
}

/* ---- legend ---------------------------------------------------------------------------------- */

/* Name of class k in the legend, which ends in "..." where there are too many. */
static const char *legend_name(const vn_show *show, int32_t k, char number[16]) {
    if (k == LEGEND_MAX - 1 && show->classes > LEGEND_MAX) return "...";
    return vn_show_name(show, k, number);
}

static int32_t legend_lines(const vn_show *show) {
    if (!show->labels) return 0;
    return show->classes < LEGEND_MAX ? show->classes : LEGEND_MAX;
}

/* What stands below the classes: a short sign and its words. */
static const char *legend_note(const vn_show *show, int k) {
    if (k == 0 && show->density)
        return show->dimension == 1 ? "line: exact p(x|class)" : "shades: exact p(x|class),";
    if (k == 1 && show->density)
        return show->dimension == 1 ? "bars: samples" : "10, 30 .. 90% of its mass";
    if (k == 2 && show->trace) return "thin: ways from noise";
    return NULL;
}

static double legend_width(const vn_show *show) {
    double widest = 0;
    char number[16];
    for (int32_t k = 0; k < legend_lines(show); k++)
        widest = fmax(widest, LEGEND_DOT + vn_font_width(legend_name(show, k, number), text_size));
    for (int k = 0; k < 3; k++)
        if (legend_note(show, k))
            widest = fmax(widest, vn_font_width(legend_note(show, k), text_size));
    return widest > 0 ? GAP + fmin(ceil(widest), LEGEND_DOT + LEGEND_MAX_WIDTH) : 0;
}

static void draw_legend(vn_canvas *canvas, const vn_show *show, double left, double top) {
    char number[16];
    double y = top + LEGEND_LINE / 2.0;
    for (int32_t k = 0; k < legend_lines(show); k++, y += LEGEND_LINE) {
        if (k < LEGEND_MAX - 1 || show->classes <= LEGEND_MAX)
            vn_paint_dot(canvas, left + 6, y, 4, ink_of(k), 1);
        vn_font_draw(canvas, left + LEGEND_DOT, y + text_size / 2, legend_name(show, k, number),
                     text_size, LEGEND_MAX_WIDTH, vn_plot_dark);
    }
    for (int k = 0; k < 3; k++) {
        const char *note = legend_note(show, k);
        if (!note) continue;
        vn_font_draw(canvas, left, y + text_size / 2, note, text_size,
                     LEGEND_DOT + LEGEND_MAX_WIDTH, vn_plot_dark);
        y += LEGEND_LINE - 5;
    }
}

/* ---- the picture ----------------------------------------------------------------------------- */

static void draw_bands(vn_canvas *canvas, const vn_show *show, const vn_band *bands, size_t count,
                       double top) {
    const vn_range r = find_range(show);
    const double high = show->dimension == 1 ? highest(show, bands, count, &r) : 0;
    for (size_t b = 0; b < count; b++) {
        const double left = MARGIN + LABEL + (double)b * (LABEL + PANEL + GAP);
        if (bands[b].title)
            vn_font_draw(canvas, left, top - 9, bands[b].title, title_size, PANEL, vn_plot_dark);
        if (show->dimension == 1)
            draw_line(canvas, show, &bands[b], &r, high, left, top);
        else
            draw_plane(canvas, show, &bands[b], &r, left, top);
    }
}

void vn_show_points_size(const vn_show *show, int64_t *width, int64_t *height) {
    const size_t n = show->band_count > 0 ? show->band_count : 1;
    const bool traced = show->trace != NULL || show->trace_levels > 0;
    const double high = show->dimension == 2 ? PANEL : HISTOGRAM + (traced ? WAYS : 0);
    *width = (int64_t)(2 * MARGIN + (double)n * (LABEL + PANEL + GAP) - GAP + legend_width(show));
    *height = (int64_t)(over_panels + high + LABEL + MARGIN);
}

vn_status vn_show_points(const vn_show *request, vn_image *out, vn_err *err) {
    vn_show show = *request;
    *out = (vn_image){0};
    vn_status status = vn_show_check(&show, err);
    if (!status && show.dimension != 1 && show.dimension != 2)
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "points of %d dimensions are no picture", show.dimension);
    if (status) return status;
    const vn_band whole = {NULL, 0, show.count}, *bands = show.band_count > 0 ? show.bands : &whole;
    const size_t n = show.band_count > 0 ? show.band_count : 1;
    int64_t width, height;
    vn_show_points_size(&show, &width, &height);
    show.scratch = vn_alloc(2 * CELLS * CELLS, sizeof(float));
    if (!show.scratch) return vn_no_memory(err);
    vn_canvas canvas;
    status = vn_canvas_open(&canvas, width, height, 3, err);
    if (!status) {
        draw_bands(&canvas, &show, bands, n, over_panels);
        draw_legend(&canvas, &show, MARGIN + (double)n * (LABEL + PANEL + GAP), over_panels);
        status = vn_canvas_take(&canvas, out, err);
    }
    vn_free(show.scratch);
    return status;
}
