/* memorisation.c - whether samples lie nearer to the data that a model was trained on than to data
 * that it never saw. Of a sample that has nothing of either set more than of the other, the nearest
 * of all lies among the training data with a chance of n / (n + m), the sets' sizes; more than that
 * is learnt by heart. */
#include <math.h>
#include <stdlib.h>

#include "metric/internal.h"

enum { ROWS = 16 };

typedef struct search {
    const vn_features *of, *among;
    double *nearest; /* [of->n] squared */
} search;

static void find_nearest(void *context, int64_t task, int thread) {
    const search *s = context;
    const int64_t d = s->of->d;
    (void)thread;
    for (int64_t i = task * ROWS; i < (task + 1) * ROWS && i < s->of->n; i++) {
        double least = (double)INFINITY;
        for (int64_t j = 0; j < s->among->n; j++)
            least = fmin(least, vn_squared_distance(s->of->x + i * d, s->among->x + j * d, d));
        s->nearest[i] = least;
    }
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    return (x[n / 2] + x[(n - 1) / 2]) / 2;
}

static vn_status add(vn_measuring *m, double *training, const double *data, vn_err *err) {
    const int64_t n = m->samples.n;
    const double chance = (double)m->training.n / ((double)m->training.n + (double)m->data.n);
    int64_t nearer = 0;
    for (int64_t i = 0; i < n; i++) {
        nearer += training[i] < data[i];
        training[i] = training[i] > 0 || data[i] > 0 ? sqrt(training[i] / data[i]) : 1;
    }
    const vn_interval w = vn_interval_wilson(nearer, n);
    vn_status status = vn_metric_add(m, "memorisation", "share nearer to the training data", "", n,
                                     (double)nearer / (double)n, w.low, w.high, err);
    if (!status)
        status = vn_metric_add(m, "memorisation-chance", "of samples that know neither set", "", n,
                               chance, (double)NAN, (double)NAN, err);
    if (!status)
        status = vn_metric_add(m, "memorisation-ratio", "median of distances, training : data", "",
                               n, median(training, n), (double)NAN, (double)NAN, err);
    return status;
}

static vn_status measure(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    const vn_features *among[] = {&m->training, &m->data};
    const int64_t n = m->samples.n;
    double *nearest = vn_alloc(2 * (size_t)n, sizeof *nearest);
    (void)choice;
    vn_status status = nearest ? VN_OK : vn_no_memory(err);
    for (int k = 0; k < 2 && !status; k++) {
        search s = {&m->samples, among[k], nearest + k * n};
        status = vn_metric_run(m, (n + ROWS - 1) / ROWS, find_nearest, &s, err);
    }
    if (!status) status = add(m, nearest, nearest + n, err);
    vn_free(nearest);
    return status;
}

const vn_metric_row vn_memorisation_metric = {
    .row = {"memorisation", "share of samples nearer to the training data than to other data",
            "2004.05675", NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_TRAINING,
    .measure = measure,
};
