/* objective.h - what training minimises: how t is drawn, the network's inputs and targets, and the
 * weight of each sample. The host side fills plain arrays for a batch; the graph side is one node,
 * the loss.
 *
 * Every draw is keyed by (seed, step, sample), so a batch is the same whatever the thread count and
 * after a resume. */
#ifndef VN_OBJECTIVE_H
#define VN_OBJECTIVE_H

#include "path/path.h"
#include "tensor/tensor.h"

/* ---- how t is drawn -------------------------------------------------------------------------- */

typedef struct vn_times_row {
    vn_row row;
    /* u covers [0,1) evenly over the batch; else as the row's parameter "stratified" says, if it
     * has one */
    bool stratified;
    double (*quantile)(const vn_choice *c, const vn_path *p, double u); /* t from u in (0,1) */
} vn_times_row;

extern const vn_times_row vn_times_rows[];
extern const size_t vn_times_row_count;

/* ---- objectives ------------------------------------------------------------------------------ */

typedef struct vn_objective vn_objective;

/* The nodes of a loss. The caller gives x and output; the loss adds the inputs that it reads, the
 * others stay NULL. */
typedef struct vn_loss_nodes {
    vn_node *x; /* network input [N,..] */
    /* network output, same shape; with a learned variance twice the channels: the prediction,
     * then v */
    vn_node *output;
    vn_node *target; /* INPUT, as x */
    vn_node *weight; /* INPUT [N] */
    vn_node *probe;  /* INPUT [N,K,..]: K directions v for each sample, E[v v^T] = 1 */
    /* INPUT [3,N]: p, q and r, with E[eps|x] = p x + q output, and sigma times d/dx_t = r d/dx */
    vn_node *noise;
    vn_node *data; /* INPUT, as x: x0 */
    /* INPUT [VN_BOUND_NUMBERS,N]: what the variational bound of a step is made of (internal.h) */
    vn_node *bound;
} vn_loss_nodes;

typedef struct vn_objective_row {
    vn_row row;
    const char *predictions; /* what it can train: "x0|eps|v" */
    /* its target is the prediction of the exact denoiser (truth) at x_t */
    bool exact;
    vn_status (*check)(const vn_choice *c, vn_err *err); /* NULL: all values are fine */
    /* Of one sample's mean square error; NULL without a target. */
    double (*weight)(const vn_choice *c, const vn_prediction *p, const vn_level *l);
    /* How many directions a sample of `size` numbers has, K, and those of one [K,size], keyed by
     * (seed, sample, step). NULL: it needs none. */
    int64_t (*directions)(const vn_choice *c, int64_t size);
    void (*probe)(const vn_choice *c, size_t size, uint64_t seed, uint64_t sample, uint64_t step,
                  float *v);
    /* What the variational bound of the reverse step from a level is made of. NULL: it learns no
     * variance. Otherwise it trains networks that do, on paths with steps. */
    void (*bound)(const vn_choice *c, const vn_path *p, const vn_level *l, const vn_coefficients *m,
                  double *number);
    /* Rank 0. Adds its inputs to the nodes. */
    vn_node *(*loss)(const vn_choice *c, vn_graph *g, vn_loss_nodes *nodes);
} vn_objective_row;

extern const vn_table vn_objectives; /* of vn_objective_row */

typedef struct vn_objective_options {
    const vn_path *path;             /* outlives the objective */
    const vn_prediction *prediction; /* copied */
    const char *objective;           /* NULL: the prediction's own */
    const char *times;               /* NULL: the path's own */
    double drop;                     /* probability of the null label, in [0,1] */
    int32_t null_label;              /* K; < 0: no labels */
    uint64_t seed;
    /* The exact denoiser of the data, with the same path and prediction; must outlive the
     * objective. NULL: not known. */
    const vn_denoiser *truth;
} vn_objective_options;

/* Whether the names and their parameters are known ones, before there is any data; NULL: nothing to
 * check. */
vn_status vn_objective_check(const char *objective, const char *times, vn_err *err);
vn_status vn_objective_open(const vn_objective_options *options, vn_objective **out, vn_err *err);
void vn_objective_close(vn_objective **o);
/* Whether it trains networks that learn a variance, and no others (vn_net_io). */
bool vn_objective_learns_variance(const vn_objective *o);

/* One batch; arrays are the caller's. Any layout of a sample's numbers will do, if all arrays have
 * it. */
typedef struct vn_objective_batch {
    int64_t n, size;
    uint64_t step; /* of training, < 2^24 */
    /* row i is sample first + i of all rows of this step (several workers) */
    uint64_t first;
    int64_t total;         /* rows of this step in all; 0: n */
    const float *x0;       /* [n,size] data */
    const int32_t *labels; /* [n]; NULL: none */
    vn_level *level;       /* out [n] */
    float *x;              /* out [n,size] network input */
    float *time;           /* out [n] network time */
    /* out [n]: the label, or null_label where it was dropped or there is none */
    int32_t *network_labels;
    /* out: the inputs of the loss, shaped as in vn_loss_nodes; NULL where it has none */
    float *target, *weight, *probe, *noise, *data, *bound;
    vn_thread_pool *pool; /* NULL: one thread */
} vn_objective_batch;

/* Fails only as the truth's denoiser does. */
vn_status vn_objective_fill(const vn_objective *o, const vn_objective_batch *b, vn_err *err);
/* The loss of these nodes, rank 0. For regressions the mean over samples of weight times mean
 * square error. Errors are the graph's. */
vn_node *vn_objective_loss(const vn_objective *o, vn_graph *g, vn_loss_nodes *nodes);

#endif
