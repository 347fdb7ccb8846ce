/* sample.h - samplers, grids and the sampling run.
 *
 * A sampler is one step: it moves a state from one noise level to the next, and requests guided
 * predictions (vn_request) while it does. The sampling run owns all else: levels, initial noise,
 * progress, cancel, the check for NaN. A grid chooses the levels.
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

/* Where diffusers' scheduler for a sampler places the levels of a grid on a discrete path. */
typedef enum vn_spacing {
    /* on whole steps: DDIM, DDPM */
    VN_SPACING_WHOLE,
    /* also between two steps, where sigma/alpha is interpolated linearly: Euler, Heun */
    VN_SPACING_BETWEEN,
    /* on whole steps of a grid that is one level longer and whose last level is dropped: DPM-
     * Solver */
    VN_SPACING_EXTRA
} vn_spacing;

/* One step of a sampling run, as a sampler sees it. Owned by the run. */
typedef struct vn_step {
    const vn_choice *choice; /* the sampler's parameters, in its row's order */
    const vn_path *path;
    const vn_level *from, *to; /* from[-1] is the level before, when history > 0 */
    int index, count;          /* this step, of how many */
    /* How many steps were made since the sampling run began or went back to more noise: as many
     * earlier predictions can be in the slots. */
    int history;
    int64_t n, size;
    bool learns_variance; /* requests may ask for the learned variance */
    uint64_t first;       /* index of sample 0, for messages */
    float *x;             /* [n,size] at `from`; becomes x at `to` */
    /* row->slots arrays [n,size], kept from step to step; a step may swap the pointers */
    float *slot[VN_MAX_SLOTS];
    double *work; /* row->work arrays [size], for one sample at a time */
    struct vn_trajectory *trajectory;
} vn_step;

typedef struct vn_sampler_row {
    vn_row row;
    vn_spacing spacing;
    unsigned abilities; /* what guides may need of it: VN_NEEDS_X0_EPS, VN_NEEDS_SDE */
    int slots, work;    /* how many arrays of each kind vn_step has for it */
    /* Refuses parameters that contradict each other or the denoiser. NULL: all are valid. */
    vn_status (*check)(const vn_choice *c, const vn_denoiser *d, vn_err *err);
    /* Inserts levels into the sampling run. NULL: none. */
    vn_status (*route)(const vn_choice *c, vn_route *r, vn_err *err);
    /* Moves s->x from s->from to s->to. */
    vn_status (*step)(vn_step *s, vn_err *err);
    /* With these parameters its steps are undone by invert.c. NULL: never. */
    bool (*inverts)(const vn_choice *c);
    /* In diffusers, eps stays as it was predicted where x0 is clipped. */
    bool keeps_eps;
    /* Each step jumps to x0 and comes back by noise, so x0 may be a sample (VN_X0_IS_SAMPLE). */
    bool jumps;
} vn_sampler_row;

extern const vn_table vn_samplers; /* of vn_sampler_row */
/* The sampler where the user names none: the path's own, or one that can do what a guide of the
 * list (NULL: "cfg") needs of it. */
const char *vn_sampler_usual(const vn_path *path, const char *guide);

/* The guided prediction of all rows at x [n,size] and a level; `out` may not overlap with x. */
vn_status vn_step_predict(vn_step *s, const float *x, const vn_level *level, vn_estimate out,
                          vn_err *err);
/* The same for some of the rows, without guides, or with the learned variance (guide.h). */
vn_status vn_step_predict_request(vn_step *s, const vn_request *request, vn_estimate out,
                                  vn_err *err);
/* The same for one sample in double: x0 [size], eps [size]. Only where vn_step_is_exact. */
bool vn_step_is_exact(const vn_step *s);
vn_status vn_step_predict_exact(vn_step *s, const vn_request_exact *request, double *x0,
                                double *eps, vn_err *err);
/* Reports progress within a step that takes long: the fraction of it that is made, in (0, 1).
 * VN_CANCELLED: the caller asks to stop. */
vn_status vn_step_progress(const vn_step *s, double fraction, vn_err *err);
#define VN_MAX_DRAWS 127
/* out [n,size] ~ N(0,1), by (seed, sample, step, draw). The draws of one step, 0 .. VN_MAX_DRAWS-1,
 * are independent. */
void vn_step_noise(const vn_step *s, int draw, float *out);

/* ---- grids ----------------------------------------------------------------------------------- */

typedef struct vn_grid_row {
    vn_row row;
    bool discrete; /* only for discrete paths */
    /* 1 + the index of the parameter that is the number of tokens (of which 0 is the model's own);
     * 0: the grid has no such parameter */
    int tokens;
    /* Samplers of k-diffusion's kind begin on it with noise of variance 1, as in diffusers, and not
     * with noise times sigma. NULL: never. */
    bool (*begins_unit)(const vn_choice *c);
    /* Fills level[0 .. steps-1] with falling noise, and *last with the level after them, which is
     * vn_level_clean unless it is changed. */
    vn_status (*fill)(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                      vn_level *level, vn_level *last, vn_err *err);
} vn_grid_row;

extern const vn_table vn_grids; /* of vn_grid_row */

/* ---- how a pipeline is sampled by its own scheduler (scheduler.c, setup.c) ------------------- */

/* What of sampling a scheduler decides, and the user may decide instead. */
typedef enum vn_scheduler_aspect {
    VN_SCHEDULER_SAMPLER,
    VN_SCHEDULER_GRID,
    VN_SCHEDULER_ASPECTS
} vn_scheduler_aspect;

/* What a scheduler_config.json of diffusers says of sampling. */
typedef struct vn_scheduler {
    /* of its class; "": it does not describe sampling, and the rest is empty */
    char name[64];
    char sampler[160], grid[240]; /* rows with parameters */
    /* the sampler where the user names a grid or a list of levels */
    char sampler_on_other_levels[160];
    double clip_range; /* x0 is clipped to [-clip_range, clip_range]; 0: it is not */
    /* x0 is thresholded instead, with dynamic_thresholding_ratio and sample_max_value */
    bool thresholds;
    double percentile, sample_max;
    /* what of its sampler or grid is not supported; "": all is */
    char unsupported[VN_SCHEDULER_ASPECTS][160];
} vn_scheduler;

/* How the pipeline of a scheduler uses it. */
typedef struct vn_scheduler_use {
    int64_t tokens; /* how many an image has, for use_dynamic_shifting */
    /* it gives the scheduler of a flow the levels t = 1, 1 - 1/N, .., 1/N, which that shifts, and
     * does not ask it for any (FluxPipeline) */
    bool own_times;
} vn_scheduler_use;

/* path: that of vn_path_from_scheduler. VN_BAD_FILE names a key whose value is of the wrong type.
 */
vn_status vn_scheduler_read(const json_t *config, const vn_path *path, const vn_scheduler_use *use,
                            vn_scheduler *out, vn_err *err);

/* How a state begins: as noise times sigma of the first level, or, as in diffusers' pipelines, as
 * noise of unit variance (on paths with alpha = 1: times sqrt(1 + sigma^2)). The two are the same
 * where a sampling run begins at pure noise. */
typedef enum vn_first_noise { VN_FIRST_SCALED, VN_FIRST_UNIT } vn_first_noise;

/* How samples are drawn. Before vn_scheduler_apply it holds what the user named, NULL for what is
 * not named; afterwards all that the scheduler decides is filled in. */
typedef struct vn_sampling_setup {
    const char *sampler, *grid, *guide;
    bool sigmas; /* the user lists levels, which take the place of a grid */
    vn_first_noise begin;
    char *made_guide; /* the guide's text where it was made here; freed by the caller (vn_free) */
} vn_sampling_setup;

/* Fills in what the user left to the scheduler. VN_UNSUPPORTED names a key that is not supported,
 * of an aspect that was left to it. */
vn_status vn_scheduler_apply(const vn_scheduler *s, const vn_path *path, vn_sampling_setup *setup,
                             vn_err *err);

/* ---- what acts between steps ----------------------------------------------------------------- */

/* Changes the state between two steps: what is known of a sample is put in, particles are
 * resampled. */
typedef struct vn_between {
    void *self;
    /* changes the levels that the sampling run visits; NULL: leaves them */
    vn_status (*route)(void *self, vn_route *r, vn_err *err);
    /* before the first step of a batch of n samples, the first of which has this index; or NULL */
    vn_status (*begin)(void *self, int64_t n, uint64_t first, vn_err *err);
    /* After a step: s->x is at s->to. condition [n]. ancestor [n] is i for sample i; where it is
     * changed, the sample that is copied to this place, with all that sampler and guides keep of
     * it. Noise by vn_step_noise, of draw VN_BETWEEN_DRAW. NULL: nothing. */
    vn_status (*after)(void *self, vn_step *s, const vn_condition *condition, int64_t *ancestor,
                       vn_err *err);
} vn_between;
#define VN_BETWEEN_DRAW (VN_MAX_DRAWS - 1)

/* ---- the sampling run ------------------------------------------------------------------------ */

typedef struct vn_trajectory_options {
    const vn_denoiser *denoiser; /* outlives the trajectory */
    /* where sampler and guides are looked up; NULL: vane's own tables */
    const vn_table *samplers;
    const vn_table *guides;
    const char *sampler;  /* NULL: the path's own */
    const char *grid;     /* NULL: the path's own */
    int steps;            /* >= 1; ignored with sigmas */
    const double *sigmas; /* the path's sigma(t) at each level, falling, the last one 0; or NULL */
    size_t sigma_count;
    const char *guide;         /* NULL: "cfg" */
    double guidance;           /* gamma */
    const vn_reward *reward;   /* for guides that need one; or NULL */
    const char *cache;         /* a step cache, of vn_caches; NULL: none */
    const vn_between *between; /* or NULL; outlives the sampling run */
    /* t at which batches with `init` begin, in (0, 1): the levels above are left out, and the first
     * is at t, or on the step nearest to it from above. 0: all levels */
    double strength;
    vn_first_noise begin;
    uint64_t seed;
    int64_t capacity; /* largest batch */
    /* the condition that takes the place of none in guidance; NULL: VN_CONDITION_NULL */
    const vn_condition *none;
} vn_trajectory_options;

typedef struct vn_trajectory vn_trajectory;

vn_status vn_trajectory_open(const vn_trajectory_options *options, vn_trajectory **out,
                             vn_err *err);
void vn_trajectory_close(vn_trajectory **trajectory);
int vn_trajectory_steps(const vn_trajectory *trajectory);
/* [steps + 1]; falling but where the sampling run goes back to more noise */
const vn_level *vn_trajectory_levels(const vn_trajectory *trajectory);
/* Network passes of a sample since vn_trajectory_begin; the mean, rounded up. */
int64_t vn_trajectory_passes(const vn_trajectory *trajectory);
/* Likewise vn_guidance_cache_error. */
void vn_trajectory_cache_error(const vn_trajectory *trajectory, double *off, double *length);

/* A batch of samples. */
typedef struct vn_trajectory_batch {
    int64_t n;      /* <= capacity */
    uint64_t first; /* index of its first sample */
    /* [n] conditions of the denoiser; outlives the batch's last step */
    const vn_condition *condition;
    const float *noise; /* [n,size] of unit variance; NULL: by (seed, index) */
    /* [n,size] clean samples, to which the noise is added (SDEdit, 2108.01073); NULL: noise alone.
     * Finite */
    const float *init;
    /* x holds the state at the first level already (vn_trajectory_invert); noise and init are not
     * looked at */
    bool begun;
    float *x; /* [n,size] the state; the samples at the end */
    /* NULL, or receives the state at every level: steps + 1 arrays [n,size], each of which begins
     * trace_stride floats after the one before */
    float *trace;
    int64_t trace_stride;
} vn_trajectory_batch;

/* Sets x to noise at the first level. VN_BAD_ARGUMENT: a condition that the denoiser does not
 * know. */
vn_status vn_trajectory_begin(vn_trajectory *trajectory, const vn_trajectory_batch *batch,
                              vn_err *err);
/* DDIM inversion (2105.05233): x becomes the state at the first level from which the sampler ddim
 * comes back to batch->init, by its steps undone from data to noise. Each is made with eps at its
 * less noisy end; evaluations > 1: then with eps where that leads, again and again, which converges
 * to the exact inverse (2309.04907). VN_BAD_ARGUMENT: the sampler is another, or makes noise. */
vn_status vn_trajectory_invert(vn_trajectory *trajectory, const vn_trajectory_batch *batch,
                               int evaluations, vn_err *err);
/* Reports the progress of the steps that follow to `watch` (NULL: to nobody), which may cancel
 * them: as "sampling", in "steps", done .. done + steps of `total`, so that several batches can
 * count as one. It outlives them. */
void vn_trajectory_watch(vn_trajectory *trajectory, const vn_watch *watch, int64_t done,
                         int64_t total);
/* Makes one step; *done: it was the last. VN_NOT_FINITE names step and sample where the state is
 * not finite after it. */
vn_status vn_trajectory_step(vn_trajectory *trajectory, bool *done, vn_err *err);
/* begin, then all steps, watched as by vn_trajectory_watch. */
vn_status vn_trajectory_run(vn_trajectory *trajectory, const vn_trajectory_batch *batch,
                            const vn_watch *watch, int64_t done, int64_t total, vn_err *err);

/* All of the room is included by this one header. */
#include "sample/defaults.h"

#endif
