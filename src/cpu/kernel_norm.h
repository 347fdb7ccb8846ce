/* kernel_norm.h - what the forward and backward norms share: x [N,..,C] seen as [N,S,C] with G
 * groups of C/G channels, and xhat = (x - mean) r with the group's statistics, which go to [N,G,2].
 *
 * With one group ("whole"; layer norm is that with S = 1) mean and r are numbers; with more they
 * are expanded to one a channel for each sample. A sample's sums are those of parts of its rows,
 * which its size alone decides: its bits do not depend on how many others there are. A task is a
 * sample, or where there are few, a part. */
#ifndef VN_CPU_KERNEL_NORM_H
#define VN_CPU_KERNEL_NORM_H

#include "cpu/kernel_math.h"

#define VN_NORM_PARTS       16    /* of a sample, at most; and so many samples are tasks enough */
#define VN_NORM_PART_FLOATS 32768 /* each part has at least this many numbers */

#define VN_NORM_RUN 64 /* rows that a loop goes down before it turns to the next columns */
#define VN_NORM_TILE                                                                               \
    (VN_LANES == 16                                                                                \
         ? 2                                                                                       \
         : 4) /* vectors of columns that it takes with it, to read whole stretches of a row */

typedef struct vn_norm_view {
    int64_t samples, rows, channels, groups, width; /* rows: S; width: C/G */
    /* of a sample's rows; of a sample: 1, or one a part */
    int64_t parts, tasks;
    int64_t runs, run; /* gamma's rows, and the samples of each */
    bool whole;        /* one group */
} vn_norm_view;

static inline vn_norm_view vn_norm_view_of(const vn_node *n) {
    const vn_shape *s = &n->in[0]->shape;
    vn_norm_view v = {.samples = s->dim[0],
                      .rows = 1,
                      .channels = s->dim[s->rank - 1],
                      .groups = n->attr.norm.groups};
    for (int i = 1; i < s->rank - 1; i++) v.rows *= s->dim[i];
    const vn_node *gamma = n->inputs > 3 ? n->in[n->op == VN_OP_NORM ? 2 : 3] : NULL;
    v.runs = gamma && gamma->shape.rank == 2 ? gamma->shape.dim[0] : 1;
    v.run = v.samples / v.runs;
    v.width = v.channels / v.groups;
    v.whole = v.groups == 1;
    v.parts =
        vn_min_i64(v.rows * v.channels / VN_NORM_PART_FLOATS, vn_min_i64(VN_NORM_PARTS, v.rows));
    v.parts = vn_max_i64(v.parts, 1);
    v.tasks = v.samples < VN_NORM_PARTS ? v.parts : 1;
    return v;
}

/* A run of a sample's rows: a part, or the rows of a task. */
typedef struct vn_norm_rows {
    int64_t sample, begin, end;
} vn_norm_rows;

static inline vn_norm_rows vn_norm_task(const vn_norm_view *v, int64_t i) {
    vn_norm_rows r = {.sample = i / v->tasks};
    vn_part(v->rows, v->tasks, i % v->tasks, &r.begin, &r.end);
    return r;
}

/* Part k of task i, k < vn_norm_parts_of_task. */
static inline int64_t vn_norm_parts_of_task(const vn_norm_view *v) {
    return v->parts / v->tasks;
}

static inline vn_norm_rows vn_norm_part(const vn_norm_view *v, int64_t i, int64_t k) {
    vn_norm_rows r = {.sample = i / v->tasks};
    vn_part(v->rows, v->parts, i % v->tasks * vn_norm_parts_of_task(v) + k, &r.begin, &r.end);
    return r;
}

/* Where a sample's row of gamma and beta begins. */
static inline int64_t vn_norm_affine_at(const vn_norm_view *v, int64_t sample) {
    return v->runs > 1 ? sample / v->run * v->channels : 0;
}

/* Scratch of a thread for the expanded statistics: mean[C], r[C]. */
static inline size_t vn_norm_scratch(const vn_norm_view *v) {
    return v->whole ? 0 : vn_region((size_t)v->channels * 2, sizeof(float));
}

/* A sample's statistics, ready for loops over channels. */
typedef struct vn_norm_stat {
    const float *mean, *r; /* [C]; whole: one number each */
    int64_t row_step;      /* whole: from one row's numbers to the next row's; else 0 */
} vn_norm_stat;

static inline vn_norm_stat vn_norm_expand(const vn_norm_view *v, const float *stats, int64_t sample,
                                          float *scratch) {
    const float *from = stats + sample * v->groups * 2;
    if (v->whole) return (vn_norm_stat){from, from + 1, v->rows == 1 ? 2 : 0};
    for (int64_t g = 0; g < v->groups; g++)
        for (int64_t c = g * v->width; c < (g + 1) * v->width; c++) {
            scratch[c] = from[2 * g];
            scratch[v->channels + c] = from[2 * g + 1];
        }
    return (vn_norm_stat){scratch, scratch + v->channels, 0};
}

/* What is constant down the n <= VN_LANES columns of a vector. */
typedef struct vn_norm_lane {
    vn_vec mean, r, gamma, beta;
} vn_norm_lane;

/* Columns from c on, with the first row of the statistics; gamma and beta NULL: 1 and 0. */
VN_INLINE vn_norm_lane vn_norm_lane_of(bool whole, const vn_norm_stat *s, const float *gamma,
                                       const float *beta, int64_t c, int64_t n) {
    return (vn_norm_lane){.mean = whole ? vn_set(*s->mean) : vn_load_n(s->mean + c, n),
                          .r = whole ? vn_set(*s->r) : vn_load_n(s->r + c, n),
                          .gamma = gamma ? vn_load_n(gamma + c, n) : vn_set(1.0f),
                          .beta = beta ? vn_load_n(beta + c, n) : vn_set(0.0f)};
}

VN_INLINE vn_vec vn_norm_xhat(const vn_norm_lane *k, vn_vec x) {
    return (x - k->mean) * k->r;
}

VN_INLINE vn_vec vn_norm_z(const vn_norm_lane *k, vn_vec xhat) {
    return vn_fma(xhat, k->gamma, k->beta);
}

#endif
