/* internal.h - what the metrics share: what they look at, how their numbers are added, and the
 * resampling behind their intervals. */
#ifndef VN_METRIC_INTERNAL_H
#define VN_METRIC_INTERNAL_H

#include "metric/metric.h"

/* ---- what a metric looks at ------------------------------------------------------------------ */

typedef struct vn_measuring {
    const vn_measure_options *o;
    /* of all samples, or of one class; empty where no metric needs them */
    vn_features samples, data, training;
    int32_t label; /* of which class; VN_LABEL_ALL: of all */
    /* the numbers of the pairs, [count of metrics] arrays of [n]; NULL where it has none */
    double **pairs;
    /* samples of the data as they are, for the likelihood; else NULL */
    float *raw;
    int part, parts; /* for progress */
    const char *metric;
    double began;
    vn_measured *out;
} vn_measuring;

/* Adds a number; key, name and unit are constants. */
vn_status vn_metric_add(vn_measuring *m, const char *key, const char *name, const char *unit,
                        int64_t count, double value, double low, double high, vn_err *err);
/* Begins the next part of the progress, "fd 2 of 3", and reports how far one has come; the latter
 * fails with VN_CANCELLED when the caller should stop. */
void vn_metric_part(vn_measuring *m, const char *what);
const char *vn_metric_part_text(const vn_measuring *m, char text[64]);
vn_status vn_metric_report(const vn_measuring *m, int64_t done, int64_t total, vn_err *err);

/* ---- resampling (resample.c) ----------------------------------------------------------------- */

typedef struct vn_interval {
    double low, high;
} vn_interval;
/* The n indices of resample number `number`, drawn with replacement; which: 0 of the samples, 1 of
 * the data. */
void vn_metric_resample(uint64_t seed, int which, int64_t number, int64_t n, int64_t *index);
/* The same as how often each comes up: counts [n]. */
void vn_metric_resample_counts(uint64_t seed, int which, int64_t number, int64_t n,
                               int32_t *counts);
/* The middle 95% of the numbers, moved so that their mean is `value`: a resample of a biased
 * statistic is biased again. Sorts them. */
vn_interval vn_interval_around(double value, double *numbers, int64_t n);
/* The same of a distance, which is never below 0. Without resamples both ends are NaN. */
vn_interval vn_interval_of_distance(double value, double *numbers, int64_t n);
/* Of the mean of n numbers. work: [resamples]. */
vn_interval vn_interval_of_mean(const vn_measuring *m, int which, const double *x, int64_t n,
                                double *work);
/* 95% of a share of n (Wilson 1927). */
vn_interval vn_interval_wilson(int64_t hits, int64_t n);
/* Adds the mean of n numbers with its interval by the bootstrap. */
vn_status vn_metric_add_mean(vn_measuring *m, const char *key, const char *name, const char *unit,
                             int which, const double *x, int64_t n, vn_err *err);

/* ---- distances (distances.c) ----------------------------------------------------------------- */

/* sum over d of (a - b)^2, in double. */
double vn_squared_distance(const float *a, const float *b, int64_t d);
double vn_inner_product(const float *a, const float *b, int64_t d);
/* Runs task 0 .. count-1 in the pool in pieces, reporting between them. */
vn_status vn_metric_run(const vn_measuring *m, int64_t count, vn_task task, void *context,
                        vn_err *err);

/* ---- features -------------------------------------------------------------------------------- */

struct vn_extractor {
    const vn_feature_row *row;
    vn_shape sample;
    int64_t size;
    int64_t d, classes;
    char *name;
    void *self;
};
extern const vn_feature_row vn_random_features, vn_directory_features;
/* e, of which the shape is known, becomes the network of a model directory
 * (features_network.c). */
vn_status vn_features_of_directory(vn_extractor *e, const char *path, const vn_engine *engine,
                                   vn_err *err);
/* Kept features (cache.c): whether those of the set are kept at all; whether they were there, and
 * *out->x is filled; writes them. */
bool vn_features_cached(const vn_measuring *m, const vn_set *set);
bool vn_features_load(const vn_measuring *m, const vn_set *set, vn_features *out);
void vn_features_save(const vn_measuring *m, const vn_set *set, const vn_features *f);
/* Doubles that comparing two images takes (pictures.c). */
size_t vn_pair_work(const vn_shape *image);

/* ---- one file a family: its rows; the table (table.c) ---------------------------------------- */

/* clang-format off */
#define VN_METRIC_ROWS(ROW)                                                                        \
    ROW(accuracy) ROW(fd) ROW(kd) ROW(precision) ROW(recall) ROW(density) ROW(coverage)            \
    ROW(nll) ROW(psnr) ROW(ssim) ROW(w2) ROW(sliced_w2) ROW(energy) ROW(mmd) ROW(memorisation)
/* clang-format on */
#define VN_DECLARE(name) extern const vn_metric_row vn_##name##_metric;
VN_METRIC_ROWS(VN_DECLARE)
#undef VN_DECLARE

#endif
