/* sweep_series.c - the points of a sweep as the series of plots: which of them can be compared,
 * what they differ in, and in which order lines go through them. */
#include "report/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUIDE, SAMPLER, STEPS, GUIDANCE, MAX_NAME = 200, MAX_LABELS = 30 };

const char *vn_metric_title(const char *key) {
    static const char *const titles[][2] = {{"fd", "Fr\xC3\xA9"
                                                   "chet distance"},
                                            {"fd-infinity", "Fr\xC3\xA9"
                                                            "chet distance of infinitely many"},
                                            {"kd", "Kernel distance"},
                                            {"accuracy", "Accuracy"},
                                            {"precision", "Precision"},
                                            {"recall", "Recall"},
                                            {"density", "Density"},
                                            {"coverage", "Coverage"},
                                            {"w2", "Wasserstein distance"},
                                            {"sliced-w2", "Sliced Wasserstein distance"},
                                            {"energy", "Energy distance"},
                                            {"mmd", "Maximum mean discrepancy"},
                                            {"seconds", "Seconds a sample"}};
    for (size_t i = 0; i < VN_COUNT(titles); i++)
        if (!strcmp(key, titles[i][0])) return titles[i][1];
    return key;
}

/* ---- which points ---------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && !strcmp(a, b));
}

static bool differ_in(int part, const vn_point *a, const vn_point *b) {
    switch (part) {
    case GUIDE: return !same_text(a->guide, b->guide);
    case SAMPLER: return !same_text(a->sampler, b->sampler);
    case STEPS: return a->steps != b->steps;
    default: return a->guidance != b->guidance;
    }
}

/* The number of samples that most points were measured from, of equals the larger. */
static int64_t usual_count(const vn_sweep_folder *s) {
    int64_t usual = 0;
    size_t most = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t n = 0;
        for (size_t k = 0; k < s->count; k++)
            n += s->result[k].count == s->result[i].count && !s->result[k].error;
        if (n > most || (n == most && s->result[i].count > usual)) {
            most = n;
            usual = s->result[i].count;
        }
    }
    return usual;
}

static void add_metric(vn_sweep_view *v, const char *key) {
    for (size_t i = 0; i < v->metrics; i++)
        if (!strcmp(v->metric[i], key)) return;
    if (v->metrics < VN_POINT_NUMBERS) v->metric[v->metrics++] = key;
}

vn_status vn_sweep_view_open(vn_sweep_view *v, const vn_sweep_page *page, vn_err *err) {
    const vn_sweep_folder *s = page->sweep;
    *v = (vn_sweep_view){.page = page, .count = usual_count(s)};
    v->point = vn_arena_alloc(&v->arena, (s->count + 1) * sizeof(vn_point_result *));
    v->metric = vn_arena_alloc(&v->arena, VN_POINT_NUMBERS * sizeof(char *));
    if (!v->point || !v->metric) return vn_no_memory(err);
    for (size_t i = 0; i < s->count; i++)
        if (s->result[i].count == v->count && !s->result[i].error)
            v->point[v->points++] = &s->result[i];
    if (v->points) add_metric(v, page->objective);
    for (size_t i = 0; i < v->points; i++) {
        for (size_t k = 0; k < v->point[i]->numbers; k++)
            add_metric(v, v->point[i]->number[k].metric);
        for (int part = GUIDE; part <= GUIDANCE; part++)
            v->varied[part] |= differ_in(part, &v->point[i]->point, &v->point[0]->point);
    }
    return VN_OK;
}

void vn_sweep_view_close(vn_sweep_view *v) {
    vn_arena_free(&v->arena);
    *v = (vn_sweep_view){0};
}

/* ---- numbers of a point ---------------------------------------------------------------------- */

static double value_of(const vn_point_result *r, const char *key, double *low, double *high) {
    const vn_point_number *n = vn_point_find(r, key);
    *low = n ? n->low : (double)NAN;
    *high = n ? n->high : (double)NAN;
    if (!strcmp(key, "seconds")) return r->seconds;
    return n ? n->value : (double)NAN;
}

/* What the points of one series differ in. */
static int axis_part(const vn_sweep_view *v) {
    return v->varied[GUIDANCE] || !v->varied[STEPS] ? GUIDANCE : STEPS;
}

static double part_value(const vn_point *p, int part) {
    return part == STEPS ? p->steps : p->guidance;
}

/* ---- series ---------------------------------------------------------------------------------- */

/* One combination of all but the axis. */
typedef struct series_points {
    const vn_point_result **point;
    size_t count;
    double best; /* of the objective, less being better */
} series_points;

static bool same_group(const vn_point *a, const vn_point *b, int axis) {
    for (int part = GUIDE; part <= GUIDANCE; part++)
        if (part != axis && differ_in(part, a, b)) return false;
    return true;
}

static int by_axis_steps(const void *a, const void *b) {
    const vn_point *x = &(*(const vn_point_result *const *)a)->point,
                   *y = &(*(const vn_point_result *const *)b)->point;
    return (x->steps > y->steps) - (x->steps < y->steps);
}

static int by_axis_guidance(const void *a, const void *b) {
    const vn_point *x = &(*(const vn_point_result *const *)a)->point,
                   *y = &(*(const vn_point_result *const *)b)->point;
    return (x->guidance > y->guidance) - (x->guidance < y->guidance);
}

static int by_best(const void *a, const void *b) {
    const series_points *x = a, *y = b;
    return (x->best > y->best) - (x->best < y->best);
}

static double turned(const vn_sweep_view *v, const vn_point_result *r) {
    double low, high;
    const double value = value_of(r, v->page->objective, &low, &high);
    if (!isfinite(value)) return HUGE_VAL;
    return vn_metric_higher_is_better(v->page->objective) ? -value : value;
}

/* The groups, the best first where there are more than a plot shows; NULL: memory. */
static series_points *find_groups(vn_sweep_view *v, int axis, size_t *count) {
    series_points *all = vn_arena_alloc(&v->arena, (v->points + 1) * sizeof *all);
    *count = 0;
    for (size_t i = 0; all && i < v->points; i++) {
        size_t k = 0;
        while (k < *count && !same_group(&all[k].point[0]->point, &v->point[i]->point, axis)) k++;
        if (k == *count) {
            all[k].point = vn_arena_alloc(&v->arena, v->points * sizeof *all[k].point);
            all[k].best = HUGE_VAL;
            if (!all[k].point) return NULL;
            ++*count;
        }
        all[k].point[all[k].count++] = v->point[i];
        all[k].best = fmin(all[k].best, turned(v, v->point[i]));
    }
    for (size_t k = 0; all && k < *count; k++)
        qsort(all[k].point, all[k].count, sizeof *all[k].point,
              axis == STEPS ? by_axis_steps : by_axis_guidance);
    if (all && *count > VN_PLOT_SERIES) qsort(all, *count, sizeof *all, by_best);
    return all;
}

/* "cfg, heun, 16 steps", of it what series differ in. */
static const char *group_name(vn_sweep_view *v, const vn_point *p, int axis) {
    char *name = vn_arena_alloc(&v->arena, MAX_NAME), number[32];
    size_t used = 0;
    if (!name) return NULL;
    vn_number_text(number, p->guidance);
    for (int part = GUIDE; part <= GUIDANCE && used < MAX_NAME; part++) {
        const char *gap = used ? ", " : "";
        if (part == axis || !v->varied[part]) continue;
        if (part == GUIDE || part == SAMPLER) {
            const char *text = part == GUIDE ? p->guide : p->sampler;
            used += (size_t)vn_snprintf(name + used, MAX_NAME - used, "%s%s", gap,
                                        text ? text : "own sampler");
        } else if (part == STEPS) {
            used += (size_t)vn_snprintf(name + used, MAX_NAME - used, "%s%d step%s", gap, p->steps,
                                        VN_S(p->steps));
        } else {
            used += (size_t)vn_snprintf(name + used, MAX_NAME - used, "%sguidance %s", gap, number);
        }
    }
    if (!used) vn_snprintf(name, MAX_NAME, "%s", p->guide);
    return name;
}

/* x_key NULL: the axis. */
static bool fill(vn_sweep_view *v, const series_points *g, int axis, const char *x_key,
                 const char *y_key, bool labels, vn_series *out) {
    double *x = vn_arena_alloc(&v->arena, 4 * g->count * sizeof *x), *y = x ? x + g->count : NULL;
    const char **label = vn_arena_alloc(&v->arena, g->count * sizeof *label);
    double ignored;
    if (!x || !label) return false;
    *out = (vn_series){.name = group_name(v, &g->point[0]->point, axis),
                       .count = g->count,
                       .x = x,
                       .y = y,
                       .low = y + g->count,
                       .high = y + 2 * g->count,
                       .label = labels ? label : NULL};
    for (size_t i = 0; i < g->count; i++) {
        const vn_point_result *r = g->point[i];
        y[i] = value_of(r, y_key, &y[g->count + i], &y[2 * g->count + i]);
        x[i] = x_key ? value_of(r, x_key, &ignored, &ignored) : part_value(&r->point, axis);
        char *text = vn_arena_alloc(&v->arena, 32);
        if (!text) return false;
        vn_number_text(text, part_value(&r->point, axis));
        label[i] = text;
    }
    return out->name != NULL;
}

/* ---- plots ----------------------------------------------------------------------------------- */

static bool fill_plot(vn_sweep_view *v, const char *x_key, const char *y_key, vn_plot *out) {
    const int axis = axis_part(v);
    size_t groups;
    const series_points *g = find_groups(v, axis, &groups);
    const size_t shown = groups < VN_PLOT_SERIES ? groups : VN_PLOT_SERIES;
    vn_series *series = g ? vn_arena_alloc(&v->arena, (shown + 1) * sizeof *series) : NULL;
    char *note = vn_arena_alloc(&v->arena, MAX_NAME);
    if (!series || !note) return false;
    for (size_t k = 0; k < shown; k++)
        if (!fill(v, &g[k], axis, x_key, y_key, x_key && v->points <= MAX_LABELS, &series[k]))
            return false;
    vn_snprintf(note, MAX_NAME, "%lld samples a point", (long long)v->count);
    if (groups > shown)
        vn_snprintf(note + strlen(note), MAX_NAME - strlen(note),
                    "; the best %zu of %zu lines, the table has all", shown, groups);
    *out = (vn_plot){.note = note,
                     .series = series,
                     .count = shown,
                     .mark_x = (double)NAN,
                     .mark_y = (double)NAN,
                     .y_name = vn_metric_title(y_key)};
    return true;
}

/* The ring is around the recommended point as it was measured for this plot. */
static void mark(const vn_sweep_view *v, const char *x_key, const char *y_key, vn_plot *out) {
    const vn_point_result *chosen = v->page->chosen;
    double ignored;
    for (size_t i = 0; chosen && i < v->points; i++) {
        const vn_point_result *r = v->point[i];
        if (!same_group(&r->point, &chosen->point, -1)) continue;
        out->mark_x =
            x_key ? value_of(r, x_key, &ignored, &ignored) : part_value(&r->point, axis_part(v));
        out->mark_y = value_of(r, y_key, &ignored, &ignored);
    }
}

static char *title_of(vn_sweep_view *v, const char *y, const char *x) {
    char *title = vn_arena_alloc(&v->arena, MAX_NAME);
    if (title) vn_snprintf(title, MAX_NAME, "%s against %s", y, x);
    return title;
}

/* The same with a small letter, within a sentence. */
static char *small(vn_sweep_view *v, const char *text) {
    char *copy = vn_arena_alloc(&v->arena, strlen(text) + 1);
    if (copy) {
        memcpy(copy, text, strlen(text) + 1);
        if (strncmp(text, "Fr", 2) != 0 && strncmp(text, "Wass", 4) != 0)
            copy[0] = vn_small_letter(copy[0]);
    }
    return copy;
}

bool vn_sweep_curves(vn_sweep_view *v, const char *key, vn_plot *out) {
    if (!fill_plot(v, NULL, key, out)) return false;
    out->x_name = axis_part(v) == STEPS ? "steps" : "guidance";
    out->title = title_of(v, vn_metric_title(key), out->x_name);
    mark(v, NULL, key, out);
    return out->title != NULL;
}

/* ---- fronts ---------------------------------------------------------------------------------- */

static bool better(const char *key, double a, double b) {
    return vn_metric_higher_is_better(key) ? a > b : a < b;
}

static int by_first(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

/* The points that no other betters in both numbers, from left to right. */
static bool find_front(vn_sweep_view *v, const char *x_key, const char *y_key, vn_plot *out) {
    double *pair = vn_arena_alloc(&v->arena, (v->points + 1) * 2 * sizeof *pair),
           *line = vn_arena_alloc(&v->arena, (v->points + 1) * 2 * sizeof *line), ignored;
    size_t n = 0;
    if (!pair || !line) return false;
    for (size_t i = 0; i < v->points; i++) {
        const double x = value_of(v->point[i], x_key, &ignored, &ignored),
                     y = value_of(v->point[i], y_key, &ignored, &ignored);
        bool beaten = !isfinite(x) || !isfinite(y);
        for (size_t k = 0; k < v->points && !beaten; k++) {
            const double other_x = value_of(v->point[k], x_key, &ignored, &ignored),
                         other_y = value_of(v->point[k], y_key, &ignored, &ignored);
            beaten = !better(x_key, x, other_x) && !better(y_key, y, other_y) &&
                     (better(x_key, other_x, x) || better(y_key, other_y, y));
        }
        if (beaten) continue;
        pair[2 * n] = x;
        pair[2 * n++ + 1] = y;
    }
    qsort(pair, n, 2 * sizeof *pair, by_first);
    for (size_t i = 0; i < n; i++) {
        line[i] = pair[2 * i];
        line[v->points + i] = pair[2 * i + 1];
    }
    out->front = n;
    out->front_x = line;
    out->front_y = line + v->points;
    return true;
}

bool vn_sweep_scatter(vn_sweep_view *v, const char *x_key, const char *y_key, vn_plot *out) {
    if (!fill_plot(v, x_key, y_key, out)) return false;
    out->x_name = small(v, vn_metric_title(x_key));
    if (!out->x_name) return false;
    out->title = title_of(v, vn_metric_title(y_key), out->x_name);
    out->dots = out->log_x = !strcmp(x_key, "seconds");
    mark(v, x_key, y_key, out);
    return out->title && find_front(v, x_key, y_key, out);
}
