/* sweep.h - which settings of sampling are best: a grid of points, each measured once, in an order
 * that can be broken off and gone on with.
 *
 * A sweep is a folder. sweep.json says what all its points share (the model, the data, the
 * measures), results.jsonl has a line for each point that was measured, written when it was. What a
 * point is measured by is the caller's function: nothing here knows what a model is.
 *
 *     vn_sweep_open       makes the folder, or goes on with the one that is there
 *     vn_sweep_run        measures what is missing (search.c)
 *     vn_sweep_recommend  which point to sample with (recommend.c)
 *     vn_sweep_close
 */
#ifndef VN_SWEEP_H
#define VN_SWEEP_H

#include "base/base.h"

/* ---- points and results ---------------------------------------------------------------------- */

/* What samples are drawn with. */
typedef struct vn_point {
    const char *guide;   /* a row of the guides, or several with commas */
    const char *sampler; /* NULL: the model's own */
    double guidance;
    int steps; /* 0: of a model that takes none */
} vn_point;

/* A measure: its metric's key and a number with its 95% interval, NaN where it has none. */
typedef struct vn_point_number {
    char metric[40];
    double value, low, high;
} vn_point_number;

enum { VN_POINT_NUMBERS = 24 };
/* What a point came to. Its texts are owned by the sweep. */
typedef struct vn_point_result {
    vn_point point;
    int64_t count; /* samples that were measured */
    size_t numbers;
    vn_point_number number[VN_POINT_NUMBERS];
    double passes;  /* of the network, a sample; NaN: not known */
    double seconds; /* a sample took to be drawn; NaN: not known */
    char *example;  /* a picture in the folder; NULL: none */
    char *error;    /* why it could not be measured; NULL: it was */
} vn_point_result;

/* The measure of that name; NULL: it was not taken. */
const vn_point_number *vn_point_find(const vn_point_result *r, const char *metric);
/* Whether more of the metric is better, as of an accuracy, or less, as of a distance. */
bool vn_metric_higher_is_better(const char *metric);
/* "cfg, guidance 1.5, heun, 16 steps" */
void vn_point_text(const vn_point *p, char *text, size_t size);
/* What so many samples cost, for the time that is left: samples times steps. */
double vn_point_work(const vn_point *p, int64_t samples);

/* ---- the folder (folder.c) ------------------------------------------------------------------- */

/* Zero-initialise to open. */
typedef struct vn_sweep_folder {
    char *dir;
    json_t *settings;
    vn_point_result *result;
    size_t count, capacity;
    bool made;      /* the folder by this call */
    size_t found;   /* results that were there when it was opened */
    int lock, file; /* descriptors; < 0: none. 0 of a zeroed one stands for none too */
    int64_t end;    /* of the file, bytes */
} vn_sweep_folder;

/* Makes the folder, or goes on with it. settings: an object; where the folder is there all of it
 * must be the same. VN_BAD_ARGUMENT: the folder is another sweep's (says which setting, and both
 * values) or none; VN_IO: another process sweeps into it, or it cannot be written; VN_BAD_FILE
 * names a line that is no result. A last line without its end, which a killed process left, is
 * removed. To be closed after a failure too. */
vn_status vn_sweep_open(vn_sweep_folder *s, const char *dir, const json_t *settings, vn_err *err);
/* The result of exactly this point from so many samples; NULL: it was not measured. */
const vn_point_result *vn_sweep_find(const vn_sweep_folder *s, const vn_point *p, int64_t count);
/* Appends a copy, whole and durable or not at all. */
vn_status vn_sweep_append(vn_sweep_folder *s, const vn_point_result *r, vn_err *err);
void vn_sweep_close(vn_sweep_folder *s);
/* Closes, and removes a folder that this call made and that came to nothing: no point was
 * measured. */
void vn_sweep_abandon(vn_sweep_folder *s);

/* ---- the search (search.c) ------------------------------------------------------------------- */

/* All combinations, in the order guide, sampler, steps, guidance. */
typedef struct vn_sweep_grid {
    const char *const *guides;
    const char *const *samplers; /* each NULL: the model's own */
    const int *steps;
    const double *guidance;
    size_t guide_count, sampler_count, step_count, guidance_count;
} vn_sweep_grid;

size_t vn_grid_points(const vn_sweep_grid *g);
vn_point vn_grid_point(const vn_sweep_grid *g, size_t i);

/* How far a sweep is, for progress. Work is samples times steps. */
typedef struct vn_sweep_state {
    size_t done, total;         /* measurements, those that were there among them */
    double work_done, work_all; /* of those that this call makes */
} vn_sweep_state;

typedef struct vn_sweep_search {
    vn_sweep_grid grid;
    int64_t count;         /* samples of a point */
    const char *objective; /* the metric that is to be best */
    /* Successive halving (1603.06560): all points from few samples, the best quarter of them from
     * four times as many, and so on up to `count`. Else all points from `count`. */
    bool halving;
    int64_t least; /* samples in its first rung, at least */
    /* Measures one point from the first `count` samples into *out, whose texts it sets with
     * vn_strdup and the sweep takes. An error of VN_NOT_FINITE is the point's, which then is a
     * result without numbers; all others end the sweep. */
    vn_status (*measure)(void *user, const vn_point *p, int64_t count, const vn_sweep_state *state,
                         vn_point_result *out, vn_err *err);
    void *user;
} vn_sweep_search;

/* VN_BAD_ARGUMENT where the objective was not among the numbers of a point. */
vn_status vn_sweep_run(vn_sweep_folder *s, const vn_sweep_search *how, vn_err *err);
/* Work of the whole search, for tests and for the choice of one: samples times steps. */
double vn_search_work(const vn_sweep_search *how);

/* ---- the recommendation (recommend.c) -------------------------------------------------------- */

/* The point to sample with, of those measured from `count` samples: the cheapest of those that
 * cannot be told from the best, which is to say whose objective lies within the interval of the
 * best one; of equal cost the better. *best (or NULL) receives the best one. NULL: no point was
 * measured. */
const vn_point_result *vn_sweep_recommend(const vn_sweep_folder *s, const char *objective,
                                          int64_t count, const vn_point_result **best);

#endif
