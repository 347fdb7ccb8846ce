/* internal.h - what the pages of report are made of: text in HTML, and plots in SVG. All write to a
 * stream, whose errors show when it is closed. */
#ifndef VN_REPORT_INTERNAL_H
#define VN_REPORT_INTERNAL_H

#include "report/report.h"

/* ---- HTML (html.c) --------------------------------------------------------------------------- */

/* Text: markup in it is shown, not obeyed, and controls become '?'. */
void vn_html_text(FILE *to, const char *text);
/* <tag>text</tag>; open may have attributes: "p class=note". */
void vn_html_element(FILE *to, const char *open, const char *text);
/* A number as people read it: four digits; "-" for one that is not finite. */
void vn_html_number(char text[32], double value);
/* A document up to the beginning of its body, with the one stylesheet of all pages; and its end. */
void vn_html_begin(FILE *to, const char *title);
void vn_html_end(FILE *to);
/* The bytes of a PNG as a data URI. */
void vn_html_png(FILE *to, const void *bytes, size_t size);

/* ---- plots (plot.c) -------------------------------------------------------------------------- */

/* A line through points, in the order in which they are. */
typedef struct vn_series {
    const char *name;
    size_t count;
    const double *x, *y;      /* [count]; what is not finite is no point */
    const double *low, *high; /* [count] intervals, or NULL */
    const char *const *label; /* [count] beside the points, or NULL */
    bool plain;               /* a line without marks */
} vn_series;

enum { VN_PLOT_SERIES = 8 };
typedef struct vn_plot {
    const char *title, *x_name, *y_name;
    const char *note; /* below the title; NULL: none */
    const vn_series *series;
    size_t count;                    /* at most VN_PLOT_SERIES are drawn */
    bool dots;                       /* marks without lines */
    bool log_x;                      /* the x axis may be logarithmic too, as the y axis may */
    double mark_x, mark_y;           /* a ring around this point; NaN: none */
    const double *front_x, *front_y; /* [front] a Pareto front, as a dashed line; NULL: none */
    size_t front;
} vn_plot;

/* A figure with its legend. A vertical axis of positive numbers that lie far apart
 * is logarithmic. */
void vn_plot_write(FILE *to, const vn_plot *p);

/* ---- a sweep as series (sweep_series.c) ------------------------------------------------------ */

/* The results that plots show: those of the rung with the most points. */
typedef struct vn_sweep_view {
    const vn_sweep_page *page;
    int64_t count;                 /* samples of each */
    size_t points;                 /* of them, without those that failed */
    const vn_point_result **point; /* [points] in the order of the file */
    const char **metric;           /* [metrics] keys, the objective first */
    size_t metrics;
    bool varied[4]; /* guide, sampler, steps, guidance: whether points differ in it */
    vn_arena arena; /* all of the above, and what series are made of */
} vn_sweep_view;

vn_status vn_sweep_view_open(vn_sweep_view *v, const vn_sweep_page *page, vn_err *err);
void vn_sweep_view_close(vn_sweep_view *v);
/* The metric named by its key for people: "fd" -> "Frechet distance". */
const char *vn_metric_title(const char *key);
/* A plot of the metric against guidance or, where there is but one, steps, with a series for each
 * combination of the rest; and one of two numbers of each point, for fronts and costs. A key is a
 * metric's or "seconds" (a sample). False: memory ran out. */
bool vn_sweep_curves(vn_sweep_view *v, const char *key, vn_plot *out);
bool vn_sweep_scatter(vn_sweep_view *v, const char *x_key, const char *y_key, vn_plot *out);

#endif
