/* resample.c - intervals: the bootstrap (Efron 1979) by Philox, so that a seed gives the same one
 * everywhere, and Wilson's interval of a share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metric/internal.h"

/* Draws lie in blocks, so that a resample of any size is made of few calls. */
enum { BLOCK = 256 };

typedef struct draws {
    uint64_t seed;
    int64_t number, n;
    int which;
    uint32_t bits[BLOCK];
} draws;

/* Index i of a resample; asked for in order. */
static int64_t draw(draws *d, int64_t i) {
    if (i % BLOCK == 0)
        vn_random_bits(d->bits, BLOCK, d->seed, VN_STREAM_RESAMPLE,
                       2 * (uint64_t)d->number + (uint64_t)d->which, (uint64_t)(i / BLOCK));
    /* [0, 2^32) to [0, n): uneven by n / 2^32 at most */
    return (int64_t)(((uint64_t)d->bits[i % BLOCK] * (uint64_t)d->n) >> 32);
}

void vn_metric_resample(uint64_t seed, int which, int64_t number, int64_t n, int64_t *index) {
    draws d = {.seed = seed, .number = number, .n = n, .which = which};
    for (int64_t i = 0; i < n; i++) index[i] = draw(&d, i);
}

void vn_metric_resample_counts(uint64_t seed, int which, int64_t number, int64_t n,
                               int32_t *counts) {
    draws d = {.seed = seed, .number = number, .n = n, .which = which};
    memset(counts, 0, (size_t)n * sizeof *counts);
    for (int64_t i = 0; i < n; i++) counts[draw(&d, i)]++;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Between the numbers of a sorted list. */
static double quantile(const double *sorted, int64_t n, double p) {
    const double at = p * (double)(n - 1);
    const int64_t i = (int64_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

vn_interval vn_interval_around(double value, double *numbers, int64_t n) {
    if (n < 2) return (vn_interval){(double)NAN, (double)NAN};
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += numbers[i] / (double)n;
    qsort(numbers, (size_t)n, sizeof *numbers, by_size);
    return (vn_interval){value + quantile(numbers, n, 0.025) - mean,
                         value + quantile(numbers, n, 0.975) - mean};
}

vn_interval vn_interval_of_distance(double value, double *numbers, int64_t n) {
    const vn_interval i = vn_interval_around(value, numbers, n);
    return (vn_interval){i.low < 0 ? 0 : i.low, i.high}; /* fmax would make 0 of NaN */
}

static double mean_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

vn_interval vn_interval_of_mean(const vn_measuring *m, int which, const double *x, int64_t n,
                                double *work) {
    const int64_t resamples = m->o->resamples;
    for (int64_t r = 0; r < resamples; r++) {
        draws d = {.seed = m->o->seed, .number = r, .n = n, .which = which};
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += x[draw(&d, i)];
        work[r] = sum / (double)n;
    }
    return vn_interval_around(mean_of(x, n), work, resamples);
}

vn_interval vn_interval_wilson(int64_t hits, int64_t n) {
    const double z = 1.959963984540054, count = (double)n, p = (double)hits / count;
    const double middle = (p + z * z / (2 * count)) / (1 + z * z / count),
                 half = z / (1 + z * z / count) *
                        sqrt(p * (1 - p) / count + z * z / (4 * count * count));
    return (vn_interval){fmax(middle - half, 0), fmin(middle + half, 1)};
}

vn_status vn_metric_add_mean(vn_measuring *m, const char *key, const char *name, const char *unit,
                             int which, const double *x, int64_t n, vn_err *err) {
    double *work = vn_alloc((size_t)m->o->resamples, sizeof *work);
    if (!work) return vn_no_memory(err);
    const vn_interval i = vn_interval_of_mean(m, which, x, n, work);
    vn_free(work);
    return vn_metric_add(m, key, name, unit, n, mean_of(x, n), i.low, i.high, err);
}
