/* plot.c - a plot as SVG: axes with round ticks, lines, marks of a shape for each series, bars for
 * intervals, and what a point is in the tooltip of its mark. Drawn for a width of 400, so that a
 * phone shows it at about its own size and text stays legible. */
#include "report/internal.h"

#include <math.h>
#include <string.h>

enum { WIDE = 400, HIGH = 280, LEFT = 52, RIGHT = 14, TOP = 10, BOTTOM = 44, MAX_TICKS = 12 };
/* beyond this ratio an axis of positive numbers is logarithmic */
static const double far_apart = 30;

typedef struct plot_axis {
    double low, high; /* of the value, or of its logarithm */
    bool logarithmic;
    double from, to; /* of the drawing */
    double tick[MAX_TICKS];
    size_t ticks;
} plot_axis;

static double place(const plot_axis *a, double value) {
    const double at = a->logarithmic ? log(value) : value;
    return a->from + (at - a->low) / (a->high - a->low) * (a->to - a->from);
}

/* ---- axes ------------------------------------------------------------------------------------ */

static void add_tick(plot_axis *a, double value) {
    const double at = a->logarithmic ? log(value) : value, slack = 1e-9 * (a->high - a->low);
    if (a->ticks < MAX_TICKS && at >= a->low - slack && at <= a->high + slack)
        a->tick[a->ticks++] = value;
}

static void add_ticks(plot_axis *a, int wanted) {
    if (a->logarithmic) {
        static const double digits[] = {1, 2, 5};
        const bool few = a->high - a->low > 3 * log(10.0);
        for (double power = pow(10, floor(a->low / log(10.0)));
             power <= exp(a->high) && a->ticks < MAX_TICKS; power *= 10)
            for (size_t i = 0; i < (few ? 1u : 3u); i++) add_tick(a, digits[i] * power);
        return;
    }
    const double rough = (a->high - a->low) / wanted, power = pow(10, floor(log10(rough))),
                 digit = rough / power,
                 step = power * (digit < 1.5   ? 1
                                 : digit < 3.5 ? 2
                                 : digit < 7.5 ? 5
                                               : 10);
    for (double i = ceil(a->low / step - 1e-9); i * step <= a->high * (1 + 1e-12) + 1e-9 * step;
         i++)
        add_tick(a, i * step + 0.0);
}

static void widen(double value, double *low, double *high) {
    if (!isfinite(value)) return;
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* From the least number to the largest, and a little more. */
static plot_axis make_axis(double low, double high, double from, double to, int wanted, bool far) {
    plot_axis a = {.from = from, .to = to, .logarithmic = far && low > 0 && high > far_apart * low};
    if (low > high) low = 0, high = 1;
    a.low = a.logarithmic ? log(low) : low;
    a.high = a.logarithmic ? log(high) : high;
    if (!(a.high > a.low)) {
        const double half = fmax(fabs(a.low) / 10, 1e-3);
        a.low -= half;
        a.high += half;
    }
    const double margin = 0.06 * (a.high - a.low);
    const bool natural = low >= 0 && a.low - margin < 0 && !a.logarithmic; /* not below 0 */
    a.low = natural ? 0 : a.low - margin;
    a.high += margin;
    add_ticks(&a, wanted);
    return a;
}

static bool is_point(const vn_series *s, size_t i) {
    return isfinite(s->x[i]) && isfinite(s->y[i]);
}

static void find_axes(const vn_plot *p, plot_axis *x, plot_axis *y) {
    double left = HUGE_VAL, right = -HUGE_VAL, low = HUGE_VAL, high = -HUGE_VAL;
    for (size_t k = 0; k < p->count; k++) {
        const vn_series *s = &p->series[k];
        for (size_t i = 0; i < s->count; i++) {
            if (!is_point(s, i)) continue;
            widen(s->x[i], &left, &right);
            widen(s->y[i], &low, &high);
            if (s->low) widen(s->low[i], &low, &high);
            if (s->high) widen(s->high[i], &low, &high);
        }
    }
    *x = make_axis(left, right, LEFT, WIDE - RIGHT, 4, p->log_x);
    *y = make_axis(low, high, HIGH - BOTTOM, TOP, 5, true);
}

static void write_axes(FILE *to, const vn_plot *p, const plot_axis *x, const plot_axis *y) {
    char text[32];
    for (size_t i = 0; i < y->ticks; i++) {
        const double at = place(y, y->tick[i]);
        vn_html_number(text, y->tick[i]);
        vn_fprintf(to,
                   "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                   LEFT, WIDE - RIGHT, at, at, LEFT - 6, at + 4, text);
    }
    for (size_t i = 0; i < x->ticks; i++) {
        const double at = place(x, x->tick[i]);
        vn_html_number(text, x->tick[i]);
        vn_fprintf(to,
                   "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                   "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                   at, at, HIGH - BOTTOM, HIGH - BOTTOM + 4, at, HIGH - BOTTOM + 17, text);
    }
    fprintf(to, "<path class=\"axis\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP,
            HIGH - BOTTOM, WIDE - RIGHT);
    fprintf(to, "<text class=\"name\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
            (LEFT + WIDE - RIGHT) / 2, HIGH - 6);
    vn_html_text(to, p->x_name);
    fputs("</text>\n", to);
}

/* ---- series ---------------------------------------------------------------------------------- */

/* One of four shapes around the point. */
static void write_mark(FILE *to, size_t shape, double x, double y) {
    switch (shape % 4) {
    case 0: vn_fprintf(to, "<circle class=\"mark\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"", x, y); break;
    case 1:
        vn_fprintf(to, "<rect class=\"mark\" x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\"",
                   x - 3.5, y - 3.5);
        break;
    case 2: vn_fprintf(to, "<path class=\"mark\" d=\"M%.1f %.1fl4.6 8h-9.2z\"", x, y - 5); break;
    default:
        vn_fprintf(to, "<path class=\"mark\" d=\"M%.1f %.1fl5 5l-5 5l-5-5z\"", x, y - 5);
        break;
    }
}

static void write_curve(FILE *to, const vn_series *s, const plot_axis *x, const plot_axis *y) {
    size_t drawn = 0;
    fputs("<path class=\"curve\" d=\"", to);
    for (size_t i = 0; i < s->count; i++)
        if (is_point(s, i))
            vn_fprintf(to, "%s%.1f %.1f", drawn++ ? "L" : "M", place(x, s->x[i]),
                       place(y, s->y[i]));
    fputs(drawn ? "\"/>\n" : "M0 0\"/>\n", to);
}

static void write_point(FILE *to, const vn_plot *p, size_t k, size_t i, const plot_axis *x,
                        const plot_axis *y) {
    const vn_series *s = &p->series[k];
    const double at_x = place(x, s->x[i]), at_y = place(y, s->y[i]);
    char value[3][32];
    if (s->low && isfinite(s->low[i]) && isfinite(s->high[i]))
        vn_fprintf(to, "<path class=\"bar\" d=\"M%.1f %.1fV%.1f\"/>", at_x, place(y, s->low[i]),
                   place(y, s->high[i]));
    write_mark(to, k, at_x, at_y);
    fputs("><title>", to);
    vn_html_text(to, s->name);
    fputs(": ", to);
    vn_html_text(to, p->x_name);
    vn_html_number(value[0], s->x[i]);
    vn_html_number(value[1], s->y[i]);
    fprintf(to, " %s, ", value[0]);
    vn_html_text(to, p->y_name);
    fprintf(to, " %s", value[1]);
    if (s->low && isfinite(s->low[i])) {
        vn_html_number(value[0], s->low[i]);
        vn_html_number(value[2], s->high[i]);
        fprintf(to, " (%s to %s)", value[0], value[2]);
    }
    static const char *const ends[] = {"circle", "rect", "path", "path"};
    fprintf(to, "</title></%s>\n", ends[k % 4]);
    if (!s->label) return;
    const bool at_edge = at_x > WIDE - RIGHT - 30;
    vn_fprintf(to, "<text x=\"%.1f\" y=\"%.1f\"%s>", at_x + (at_edge ? -8 : 8), at_y - 5,
               at_edge ? " text-anchor=\"end\"" : "");
    vn_html_text(to, s->label[i]);
    fputs("</text>\n", to);
}

static void write_series(FILE *to, const vn_plot *p, size_t k, const plot_axis *x,
                         const plot_axis *y) {
    const vn_series *s = &p->series[k];
    fprintf(to, "<g class=\"s%zu\">\n", k);
    if (!p->dots) write_curve(to, s, x, y);
    for (size_t i = 0; i < s->count && !s->plain; i++)
        if (is_point(s, i)) write_point(to, p, k, i, x, y);
    fputs("</g>\n", to);
}

static void write_front(FILE *to, const vn_plot *p, const plot_axis *x, const plot_axis *y) {
    if (p->front < 2) return;
    fputs("<path class=\"front\" d=\"", to);
    for (size_t i = 0; i < p->front; i++)
        vn_fprintf(to, "%s%.1f %.1f", i ? "L" : "M", place(x, p->front_x[i]),
                   place(y, p->front_y[i]));
    fputs("\"/>\n", to);
}

static void write_legend(FILE *to, const vn_plot *p) {
    if (p->count < 2) return;
    fputs("<ul class=\"legend\">\n", to);
    for (size_t k = 0; k < p->count; k++) {
        fprintf(to,
                "<li class=\"s%zu\"><svg viewBox=\"0 0 22 12\" aria-hidden=\"true\">"
                "%s",
                k, p->dots ? "" : "<path class=\"curve\" d=\"M0 6h22\"/>");
        if (!p->series[k].plain) {
            write_mark(to, k, 11, 6);
            fputs("/>", to);
        }
        fputs("</svg>", to);
        vn_html_text(to, p->series[k].name);
        fputs("</li>\n", to);
    }
    fputs("</ul>\n", to);
}

/* ---- the figure ------------------------------------------------------------------------------ */

void vn_plot_write(FILE *to, const vn_plot *given) {
    vn_plot p = *given;
    plot_axis x, y;
    if (p.count > VN_PLOT_SERIES) p.count = VN_PLOT_SERIES;
    find_axes(&p, &x, &y);
    fputs("<figure class=\"plot\"><figcaption>", to);
    vn_html_text(to, p.title);
    if (p.note) {
        fputs("<small>", to);
        vn_html_text(to, p.note);
        fputs("</small>", to);
    }
    fprintf(to, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDE, HIGH);
    vn_html_text(to, p.title);
    fputs("\">\n", to);
    write_axes(to, &p, &x, &y);
    write_front(to, &p, &x, &y);
    for (size_t k = 0; k < p.count; k++) write_series(to, &p, k, &x, &y);
    if (isfinite(p.mark_x) && isfinite(p.mark_y))
        vn_fprintf(to, "<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"9\"/>\n",
                   place(&x, p.mark_x), place(&y, p.mark_y));
    fputs("</svg>\n", to);
    write_legend(to, &p);
    fputs("</figure>\n", to);
}
