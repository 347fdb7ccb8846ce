/* neighbours.c - which part of the samples lies where data is, and which part of the data is
 * reached, by balls around samples as far as their k-th neighbour: precision and recall
 * (1904.06991), density and coverage (2002.09797). Distances are Euclidean, the k-th neighbour is
 * counted without the sample itself, and inside is strictly nearer than the radius. */
#include <math.h>

#include "metric/internal.h"

enum { ROWS = 16, MAX_NEIGHBOURS = 64 };

/* ---- radii ----------------------------------------------------------------------------------- */

typedef struct radii {
    const vn_features *f;
    int k;
    double *squared; /* [n] */
} radii;

static void find_radius(const radii *r, int64_t i) {
    const vn_features *f = r->f;
    double nearest[MAX_NEIGHBOURS];
    const int last = r->k - 1;
    for (int at = 0; at <= last; at++) nearest[at] = HUGE_VAL;
    for (int64_t j = 0; j < f->n; j++) {
        if (j == i) continue;
        const double distance = vn_squared_distance(f->x + i * f->d, f->x + j * f->d, f->d);
        if (distance >= nearest[last]) continue;
        int at = last;
        for (; at > 0 && nearest[at - 1] > distance; at--) nearest[at] = nearest[at - 1];
        nearest[at] = distance;
    }
    r->squared[i] = nearest[last];
}

static void find_radii(void *context, int64_t task, int thread) {
    const radii *r = context;
    (void)thread;
    for (int64_t i = task * ROWS; i < (task + 1) * ROWS && i < r->f->n; i++) find_radius(r, i);
}

/* ---- inside which balls ---------------------------------------------------------------------- */

/* For each row of `of` the number of balls of `by` that it is in, or for each ball of `of` whether
 * a row of `by` is in it. */
typedef struct inside {
    const vn_features *of, *by;
    const double *squared; /* radii of `by`, or of `of` where they are its balls */
    bool own;              /* radii are of `of` */
    double *hits;          /* [of->n] */
} inside;

static void count_inside(void *context, int64_t task, int thread) {
    const inside *in = context;
    const int64_t d = in->of->d;
    (void)thread;
    for (int64_t i = task * ROWS; i < (task + 1) * ROWS && i < in->of->n; i++) {
        double hits = 0;
        for (int64_t j = 0; j < in->by->n; j++)
            hits += vn_squared_distance(in->of->x + i * d, in->by->x + j * d, d) <
                    in->squared[in->own ? i : j];
        in->hits[i] = hits;
    }
}

/* hits [of->n] of balls around each row of `balls`, which is `of` or `by`. */
static vn_status count_hits(vn_measuring *m, const vn_features *of, const vn_features *by,
                            const vn_features *balls, int k, double *hits, vn_err *err) {
    double *squared = vn_alloc((size_t)balls->n, sizeof *squared);
    if (!squared) return vn_no_memory(err);
    radii r = {balls, k, squared};
    inside in = {of, by, squared, balls == of, hits};
    vn_status status = vn_metric_run(m, (balls->n + ROWS - 1) / ROWS, find_radii, &r, err);
    if (!status) status = vn_metric_run(m, (of->n + ROWS - 1) / ROWS, count_inside, &in, err);
    vn_free(squared);
    return status;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static vn_status measure_hits(vn_measuring *m, const vn_choice *choice, const vn_features *of,
                              const vn_features *by, const vn_features *balls, const char *name,
                              bool share, vn_err *err) {
    const char *key = choice->row->name;
    const int k = (int)choice->value[0];
    if (balls->n <= k)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: k=%d neighbours need at least %d samples%s, and there are %lld", key, k,
                       k + 1, balls == &m->data ? " of the data" : "", (long long)balls->n);
    double *hits = vn_alloc((size_t)of->n, sizeof *hits);
    vn_status status = hits ? count_hits(m, of, by, balls, k, hits, err) : vn_no_memory(err);
    int64_t reached = 0;
    for (int64_t i = 0; i < of->n && !status; i++) {
        reached += hits[i] > 0;
        hits[i] /= k;
    }
    if (!status && share) {
        const vn_interval i = vn_interval_wilson(reached, of->n);
        status = vn_metric_add(m, key, name, "", of->n, (double)reached / (double)of->n, i.low,
                               i.high, err);
    } else if (!status) {
        status = vn_metric_add_mean(m, key, name, "", 0, hits, of->n, err);
    }
    vn_free(hits);
    return status;
}

static vn_status measure_precision(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    return measure_hits(m, choice, &m->samples, &m->data, &m->data, "precision", true, err);
}

static vn_status measure_recall(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    return measure_hits(m, choice, &m->data, &m->samples, &m->samples, "recall", true, err);
}

static vn_status measure_density(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    return measure_hits(m, choice, &m->samples, &m->data, &m->data, "density", false, err);
}

static vn_status measure_coverage(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    return measure_hits(m, choice, &m->data, &m->samples, &m->data, "coverage", true, err);
}

#define NEIGHBOURS(usual)                                                                          \
    {                                                                                              \
        {                                                                                          \
            "k", "neighbours that a ball reaches to", usual, 1, MAX_NEIGHBOURS, VN_PARAM_WHOLE,    \
            NULL},                                                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
static const vn_param three[] = NEIGHBOURS(3), five[] = NEIGHBOURS(5);

const vn_metric_row vn_precision_metric = {
    .row = {"precision", "share of samples within the balls of the data", "1904.06991", three},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure_precision,
};

const vn_metric_row vn_recall_metric = {
    .row = {"recall", "share of the data within the balls of samples", "1904.06991", three},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure_recall,
};

const vn_metric_row vn_density_metric = {
    .row = {"density", "balls of the data that a sample is in, divided by k", "2002.09797", five},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure_density,
};

const vn_metric_row vn_coverage_metric = {
    .row = {"coverage", "share of the data with a sample in its ball", "2002.09797", five},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure_coverage,
};
