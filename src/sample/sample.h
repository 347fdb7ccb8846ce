/* sample.h - samplers, grids and the sampling run.
 *
 * A sampler is one step: it moves a state from one noise level to the next and asks for guided
 * predictions on the way. The sampling run owns all else: levels, initial noise, progress, cancel,
 * the check for NaN. A grid chooses the levels.
 *
 *     vn_trajectory_open      once for a model and settings; all memory is taken here
 *     vn_trajectory_run       a batch from noise to data; or vn_trajectory_begin, and then
 *                             vn_trajectory_step from a loop of the caller's
 *
 * Noise of a sample is keyed by (seed, its index, step): it does not depend on the batch it is
 * drawn in. */
#ifndef VN_SAMPLE_H
#define VN_SAMPLE_H

#include "guide/guide.h"
#include "path/path.h"
#include "sample/likelihood.h"

#define VN_MAX_STEPS 100000

/* ---- samplers -------------------------------------------------------------------------------- */

#define VN_MAX_SLOTS 12

/* How the scheduler that a sampler follows places levels on a discrete path (diffusers'
 * timestep_spacing). */
typedef enum vn_spacing {
    VN_SPACING_WHOLE,   /* on whole steps: DDIM, DDPM */
    VN_SPACING_BETWEEN, /* also between them, sigma/alpha interpolated linearly: Euler, Heun */
    VN_SPACING_EXTRA    /* whole steps of a grid one level longer, its last dropped: DPM-Solver */
} vn_spacing;

/* One step of a sampling run, as a sampler sees it. Owned by the run. */
typedef struct vn_step {
    const vn_choice *choice; /* the sampler's parameters, in its row's order */
    const vn_path *path;
    const vn_level *from, *to; /* from[-1] is the level before, when history > 0 */
    int index, count;          /* this step, of how many */
    /* steps made since the sampling run began or went back to more noise: slots hold that much */
    int history;
    int64_t n, size;
    bool learns_variance; /* of the denoiser: an ask may ask for one */
    uint64_t first;       /* index of sample 0, for messages */
    float *x;             /* [n,size] at `from`; becomes x at `to` */
    /* row->slots arrays [n,size]; kept from step to step, pointers may be swapped */
    float *slot[VN_MAX_SLOTS];
    /* row->work arrays [size], scratch for one sample at a time */
    double *work;
    struct vn_trajectory *trajectory;
} vn_step;

typedef struct vn_sampler_row {
    vn_row row;
    vn_spacing spacing;
    unsigned abilities; /* what guides may need of it: VN_NEEDS_PAIRS, VN_NEEDS_SDE */
    int slots;
    int work;
    /* NULL: all values are fine */
    vn_status (*check)(const vn_choice *c, const vn_denoiser *d, vn_err *err);
    /* NULL: levels as they are */
    vn_status (*route)(const vn_choice *c, vn_route *r, vn_err *err);
    vn_status (*step)(vn_step *s, vn_err *err);
} vn_sampler_row;

extern const vn_table vn_samplers; /* of vn_sampler_row */

/* The guided prediction at x [n,size] and a level: what a step asks of the sampling run. */
vn_status vn_step_predict(vn_step *s, const float *x, const vn_level *level, vn_estimate out,
                          vn_err *err);
/* The same for some rows alone, or without guides (guide.h). */
vn_status vn_step_ask(vn_step *s, const vn_ask *ask, vn_estimate out, vn_err *err);
/* The same for one sample in double, where vn_step_is_exact (guide.h). */
bool vn_step_is_exact(const vn_step *s);
vn_status vn_step_ask_exact(vn_step *s, const vn_ask_exact *ask, double *x0, double *eps,
                            vn_err *err);
/* Reports that this part of the step, in (0, 1), is made: for steps that take long. VN_CANCELLED:
 * the caller asks to stop. */
vn_status vn_step_made(const vn_step *s, double part, vn_err *err);
/* out [n,size] ~ N(0,1), by (seed, sample, step, draw). Draws of one step, 0 .. VN_MAX_DRAWS-1, are
 * independent. */
#define VN_MAX_DRAWS 127
void vn_step_noise(const vn_step *s, int draw, float *out);

/* ---- grids ----------------------------------------------------------------------------------- */

typedef struct vn_grid_row {
    vn_row row;
    bool discrete; /* only for paths with steps */
    /* 1 + the index of the parameter that is the number of tokens (of which 0 is the model's own);
     * 0: the grid has no such parameter */
    int tokens;
    /* Fills level[0 .. steps-1] with falling noise, and *last with the level after them, which is
     * vn_level_clean unless it is changed. */
    vn_status (*fill)(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                      vn_level *level, vn_level *last, vn_err *err);
} vn_grid_row;

extern const vn_table vn_grids; /* of vn_grid_row */

/* ---- how a pipeline is sampled by its own scheduler (scheduler.c, way.c) --------------------- */

typedef enum vn_scheduler_part {
    VN_SCHEDULER_SAMPLER,
    VN_SCHEDULER_GRID,
    VN_SCHEDULER_PARTS
} vn_scheduler_part;

/* What a scheduler_config.json of diffusers says of sampling. */
typedef struct vn_scheduler {
    /* of its class; "": it does not describe sampling, and the rest is empty */
    char name[64];
    char sampler[160], grid[240];        /* rows with parameters */
    char sampler_elsewhere[160];         /* the sampler on levels that the user lists */
    double clip_range;                   /* x0 is clipped to; 0: it is not */
    bool thresholds;                     /* x0 is thresholded instead, with these: */
    double percentile, most;             /* dynamic_thresholding_ratio, sample_max_value */
    char lacks[VN_SCHEDULER_PARTS][160]; /* what of a part vane cannot do; "": nothing */
} vn_scheduler;

/* path: that of vn_path_from_scheduler; tokens: how many an image has, for use_dynamic_shifting.
 * VN_BAD_FILE names a key whose value is of the wrong type. */
vn_status vn_scheduler_read(const json_t *config, const vn_path *path, int64_t tokens,
                            vn_scheduler *out, vn_err *err);

/* How a state begins: as noise times sigma of the first level, or, as in diffusers' pipelines, as
 * noise of unit variance (on paths with alpha = 1: times sqrt(1 + sigma^2)). The two are the same
 * where a sampling run begins at pure noise. */
typedef enum vn_first_noise { VN_FIRST_SCALED, VN_FIRST_UNIT } vn_first_noise;

/* In: what the user asked for, each NULL if not. Out: how samples are drawn. */
typedef struct vn_way {
    const char *sampler, *grid, *guide;
    bool sigmas; /* in: a list of them takes the place of the grid */
    vn_first_noise begin;
    char *own; /* the guide's text where it was made here; vn_free'd by the caller */
} vn_way;

/* Fills in what the user left to the scheduler. VN_UNSUPPORTED names a key that vane cannot follow,
 * in a part that was left to it. */
vn_status vn_scheduler_apply(const vn_scheduler *s, const vn_path *path, vn_way *way, vn_err *err);

/* ---- the sampling run ------------------------------------------------------------------------ */

typedef struct vn_trajectory_options {
    const vn_denoiser *denoiser; /* outlives the sampling run */
    /* where its sampler and guides are looked up; NULL: vane's own tables */
    const vn_table *samplers;
    const vn_table *guides;
    const char *sampler;  /* NULL: the path's own */
    const char *grid;     /* NULL: the path's own */
    int steps;            /* >= 1; ignored with sigmas */
    const double *sigmas; /* the path's sigma(t) at each level, falling, the last one 0; or NULL */
    size_t sigma_count;
    const char *guide;       /* NULL: "cfg" */
    double guidance;         /* gamma */
    const vn_reward *reward; /* for guides that ask for one; or NULL */
    vn_first_noise begin;
    uint64_t seed;
    int64_t capacity; /* largest batch */
} vn_trajectory_options;

typedef struct vn_trajectory vn_trajectory;

vn_status vn_trajectory_open(const vn_trajectory_options *options, vn_trajectory **out,
                             vn_err *err);
void vn_trajectory_close(vn_trajectory **w);
int vn_trajectory_steps(const vn_trajectory *w);
/* [steps + 1]; falling but where the sampling run goes back to more noise */
const vn_level *vn_trajectory_levels(const vn_trajectory *w);
/* Network passes of a sample since vn_trajectory_begin; the mean, rounded up. */
int64_t vn_trajectory_passes(const vn_trajectory *w);

/* A batch of samples. */
typedef struct vn_trajectory_batch {
    int64_t n;      /* <= capacity */
    uint64_t first; /* index of its first sample */
    const vn_condition
        *condition;     /* [n], each a class or VN_CONDITION_NULL; outlives the batch's last step */
    const float *noise; /* [n,size] of unit variance; NULL: by (seed, index) */
    float *x;           /* [n,size] the state; the samples at the end */
    /* NULL, or where the state at every level goes: [n,size] each, [steps + 1] of them, */
    float *trace;
    int64_t trace_stride; /* so many floats apart */
} vn_trajectory_batch;

/* Sets x to noise at the first level. VN_BAD_ARGUMENT on a label the denoiser does not know. */
vn_status vn_trajectory_begin(vn_trajectory *w, const vn_trajectory_batch *batch, vn_err *err);
/* Who hears of the steps that follow, as "sampling" in "steps", done..done+steps of total (for
 * several batches in a row), and may cancel them; NULL: nobody. Outlives them. */
void vn_trajectory_watch(vn_trajectory *w, const vn_watch *watch, int64_t done, int64_t total);
/* One step; VN_NOT_FINITE names step and sample if the state is no longer finite. *done when the
 * last was made. */
vn_status vn_trajectory_step(vn_trajectory *w, bool *done, vn_err *err);
/* begin, then all steps, watched as by vn_trajectory_watch. */
vn_status vn_trajectory_run(vn_trajectory *w, const vn_trajectory_batch *batch,
                            const vn_watch *watch, int64_t done, int64_t total, vn_err *err);

#include "sample/defaults.h" /* a part of this door */

#endif
