/* search.c - in which order the points of a grid are measured. All of them from all samples, or by
 * successive halving (Jamieson and Talwalkar 1502.07943; Li et al. 1603.06560): a measure from few
 * samples tells the bad points from the rest, and only the rest is worth more samples. Points of
 * one rung are measured from the same number of samples, so what a metric owes to that number, as
 * the Frechet distance does, is the same for all that are compared. */
#include "sweep/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATIO = 4, MAX_RUNGS = 8 };

size_t vn_grid_points(const vn_sweep_grid *g) {
    return g->guide_count * g->sampler_count * g->step_count * g->guidance_count;
}

vn_point vn_grid_point(const vn_sweep_grid *g, size_t i) {
    const size_t k = i / g->guidance_count, j = k / g->step_count;
    return (vn_point){.guidance = g->guidance[i % g->guidance_count],
                      .steps = g->steps[k % g->step_count],
                      .sampler = g->samplers[j % g->sampler_count],
                      .guide = g->guides[j / g->sampler_count]};
}

/* ---- rungs ----------------------------------------------------------------------------------- */

/* Samples and points of each rung, the last one with all samples. */
typedef struct rungs {
    size_t count;
    int64_t samples[MAX_RUNGS];
    size_t points[MAX_RUNGS];
} rungs;

static rungs find_rungs(const vn_sweep_search *how) {
    rungs r = {.count = 1};
    const size_t points = vn_grid_points(&how->grid);
    const int64_t least = how->least > 1 ? how->least : 1;
    int64_t samples = how->count;
    size_t left = points;
    for (; how->halving && r.count < MAX_RUNGS && samples / RATIO >= least && left > RATIO;
         r.count++) {
        samples /= RATIO;
        left = (left + RATIO - 1) / RATIO;
    }
    left = points;
    for (size_t i = 0; i < r.count; i++) {
        r.samples[r.count - 1 - i] = i > 0 ? r.samples[r.count - i] / RATIO : how->count;
        r.points[i] = left;
        left = (left + RATIO - 1) / RATIO;
    }
    return r;
}

double vn_point_work(const vn_point *p, int64_t samples) {
    return (double)samples * (p->steps > 0 ? p->steps : 1);
}

double vn_search_work(const vn_sweep_search *how) {
    const rungs r = find_rungs(how);
    const size_t points = vn_grid_points(&how->grid);
    double one = 0, all = 0;
    for (size_t i = 0; i < points; i++) {
        const vn_point p = vn_grid_point(&how->grid, i);
        one += vn_point_work(&p, 1) / (double)points;
    }
    for (size_t i = 0; i < r.count; i++) all += one * (double)r.samples[i] * (double)r.points[i];
    return all;
}

/* ---- one point ------------------------------------------------------------------------------- */

static void free_texts(vn_point_result *r) {
    vn_free(r->example);
    vn_free(r->error);
    r->example = r->error = NULL;
}

static vn_status measure(vn_sweep_folder *s, const vn_sweep_search *how, const vn_point *p,
                         int64_t samples, const vn_sweep_state *state, vn_err *err) {
    vn_point_result r = {
        .point = *p, .count = samples, .passes = (double)NAN, .seconds = (double)NAN};
    vn_status status = how->measure(how->user, p, samples, state, &r, err);
    if (status == VN_NOT_FINITE) {
        r.numbers = 0;
        vn_free(r.error);
        r.error = vn_strdup(err->text);
        status = r.error ? VN_OK : vn_no_memory(err);
    } else if (!status && !vn_point_find(&r, how->objective)) {
        status = vn_fail(err, VN_BAD_ARGUMENT, "the objective '%s' is not among what is measured",
                         how->objective);
    }
    if (!status) status = vn_sweep_append(s, &r, err);
    free_texts(&r);
    return status;
}

/* ---- the search ------------------------------------------------------------------------------ */

/* A point of the rung and its objective, less being better. */
typedef struct rung_point {
    size_t point;
    double value;
} rung_point;

static int compare(const void *a, const void *b) {
    const rung_point *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->point < y->point ? -1 : x->point > y->point;
}

static double rank_value(const vn_point_result *r, const char *objective) {
    const vn_point_number *n = r && !r->error ? vn_point_find(r, objective) : NULL;
    if (!n || isnan(n->value)) return HUGE_VAL;
    return vn_metric_higher_is_better(objective) ? -n->value : n->value;
}

/* What is left to be done after this rung is estimated from the points that are in it. */
static void count_work(const vn_sweep_folder *s, const vn_sweep_search *how, const rungs *r,
                       size_t rung, const rung_point *points, vn_sweep_state *state) {
    double one = 0;
    for (size_t i = 0; i < r->points[rung]; i++) {
        const vn_point p = vn_grid_point(&how->grid, points[i].point);
        one += vn_point_work(&p, 1) / (double)r->points[rung];
        if (!vn_sweep_find(s, &p, r->samples[rung]))
            state->work_all += vn_point_work(&p, r->samples[rung]);
    }
    for (size_t k = rung + 1; k < r->count; k++)
        state->work_all += one * (double)r->samples[k] * (double)r->points[k];
}

static vn_status run_rung(vn_sweep_folder *s, const vn_sweep_search *how, const rungs *r,
                          size_t rung, rung_point *points, vn_sweep_state *state, vn_err *err) {
    const int64_t samples = r->samples[rung];
    state->work_all = state->work_done;
    count_work(s, how, r, rung, points, state);
    for (size_t i = 0; i < r->points[rung]; i++, state->done++) {
        const vn_point p = vn_grid_point(&how->grid, points[i].point);
        if (!vn_sweep_find(s, &p, samples)) {
            const vn_status status = measure(s, how, &p, samples, state, err);
            if (status) return status;
            state->work_done += vn_point_work(&p, samples);
        }
        points[i].value = rank_value(vn_sweep_find(s, &p, samples), how->objective);
    }
    qsort(points, r->points[rung], sizeof *points, compare);
    return VN_OK;
}

vn_status vn_sweep_run(vn_sweep_folder *s, const vn_sweep_search *how, vn_err *err) {
    const rungs r = find_rungs(how);
    const size_t count = vn_grid_points(&how->grid);
    rung_point *points = vn_alloc(count, sizeof *points);
    if (!points) return vn_no_memory(err);
    vn_sweep_state state = {0};
    vn_status status = VN_OK;
    for (size_t i = 0; i < count; i++) points[i] = (rung_point){i, 0};
    for (size_t i = 0; i < r.count; i++) state.total += r.points[i];
    for (size_t i = 0; !status && i < r.count; i++)
        status = run_rung(s, how, &r, i, points, &state, err);
    vn_free(points);
    return status;
}
