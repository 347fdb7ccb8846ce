/* guide.h - guidance: which network passes a prediction needs, and how they combine.
 *
 * A guide is a rule of guidance: a row of vn_guides with its parameters. A list of guides makes a
 * prediction in three steps. Plan: every guide names the passes that it needs. Evaluate: passes
 * that are the same are run once, and passes through one network become one batch. These two are
 * one round; rounds follow until no guide names another pass, so that a rule may name passes that
 * depend on the results of others (another x, another level, a vector-Jacobian product). Combine:
 * the guides make the estimate (x0, eps) of the passes, in the order of their stages.
 *
 * `guidance` is gamma: 0 unconditional, 1 conditional. A guide does not name a pass whose weight is
 * 0.
 *
 * Guides that select among samples (a population) also act between steps: vn_guide_row.select. */
#ifndef VN_GUIDE_H
#define VN_GUIDE_H

#include "path/path.h"

/* The state at which a prediction is made, and what a guide may know of the sampling run. Owned by
 * the caller, valid during a call. */
typedef struct vn_guide_at {
    int64_t n;
    /* index of sample 0 of the batch, and the sampling run's seed: for rules that draw numbers */
    uint64_t first;
    uint64_t seed;
    const float *x;        /* [n,size] */
    const vn_level *level; /* one for all rows */
    const vn_level *next;  /* where the step goes */
    /* where the step ends whose average velocity is asked for, of networks that take it
     * (VN_TAKES_TO); NULL: at the level itself, where it is the velocity */
    const vn_level *to;
    const vn_condition *condition; /* [n] each row's own */
    /* [n] each what stands for none; of a sample that is no longer guided, its own condition */
    const vn_condition *null;
    bool all_null;   /* the two are equal: guidance has nothing to act on */
    int step, steps; /* which step of how many */
    /* [steps + 1] of the sampling run, from noise to data; NULL: not known */
    const vn_level *levels;
    /* how many steps were made since the sampling run began or went back to more noise: where it is
     * 0, what a guide keeps from step to step is of no use */
    int history;
    /* [n] a guide sets it where the sample is not to be guided from the next step on, until the run
     * goes back to more noise; its other passes are then the conditional one, and not run */
    bool *unguided;
    int request;  /* which request of this step; 0: the one at its beginning */
    int restarts; /* how often the sampling run has gone back to more noise */
    double gamma; /* after schedules and intervals, at this level */
} vn_guide_at;

/* One network pass, as a guide names it. Two passes that are the same are run once. Arrays must
 * stay as they are until the guide has combined. */
typedef struct vn_pass {
    vn_network network;
    vn_perturb perturb;
    /* [n] of each row its own in place of `perturb`, whose rows are then run together where they
     * are the same; NULL: `perturb` for all */
    const vn_perturb *perturbs;
    const vn_condition *condition; /* [n]: at->condition, at->null, or the guide's own */
    const float *x;                /* NULL: at->x */
    const vn_level *level;         /* NULL: at->level */
    /* with J = dx0/dx: VN_VJP, the estimate's x0 is J^T direction; VN_JVP, J direction [n,size] */
    vn_want want;
    const float *direction;
    /* for guidance-distilled networks (VN_TAKES_GUIDANCE): their guidance; NULL: their default */
    const double *guidance;
} vn_pass;

typedef struct vn_plan vn_plan;
/* Names a pass and returns its estimate, valid until the guide has combined; NULL: the pass has not
 * been run, and will be before the next round. */
const vn_estimate *vn_plan_pass(vn_plan *plan, const vn_pass *pass);

/* The user's reward of a sample: the log of a reward, or minus an energy, and its gradient by
 * x0. */
typedef struct vn_reward {
    /* x0 [n,size]; out: value [n], gradient [n,size] or NULL. The arrays are valid during the
     * call. */
    vn_status (*evaluate)(void *self, int64_t n, const float *x0, const vn_condition *condition,
                          float *value, float *gradient, vn_err *err);
    void *self;
} vn_reward;

/* One guide of a list, with its parameters and what it keeps from step to step. */
typedef struct vn_guide {
    const struct vn_guide_row *row;
    vn_choice choice;
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* the user's; NULL: none was given */
    /* row->slots arrays [capacity,size], kept from step to step, zero when a sampling run begins */
    float **slot;
    double *log_weight;      /* [capacity] one number a sample, kept as slots are */
    vn_condition *condition; /* [capacity] for the conditions of a pass that it names */
    vn_perturb *perturbs;    /* [capacity] for vn_pass.perturbs, of rows that draw them */
    vn_level level;          /* for the level of such a pass, or of what is in the slots */
    int kept; /* the step in which its slots were filled, as it says itself; -1: in none yet */
    /* set by plan, combine or select where something failed, with the reason in err */
    vn_status status;
    vn_err err;
} vn_guide;

/* A batch between two steps, for guides that resample. The samples of one condition are one
 * population. */
typedef struct vn_population {
    /* of the step that was made: n, condition, level, next, gamma as at its first prediction */
    const vn_guide_at *at;
    const float *x;    /* [n,size] at the level at->next */
    int64_t *ancestor; /* [n] in: ancestor[i] = i; out: the sample that is copied to place i */
} vn_population;

/* What a guide does, in the order in which guides of a list act. */
typedef enum vn_guide_stage {
    VN_GUIDE_NETWORK,  /* changes the network, or its conditions, in all its passes */
    VN_GUIDE_STRENGTH, /* changes gamma: intervals, schedules. Any number */
    VN_GUIDE_RULE,     /* makes the prediction from passes, as cfg does. One in a list, else cfg */
    VN_GUIDE_ADDITION, /* adds to it: gradients of classifiers and energies, perturbed passes */
    VN_GUIDE_FINISH,   /* changes what came out: rescale, thresholds */
    VN_GUIDE_STAGES
} vn_guide_stage;

/* What a guide needs of the denoiser, and of the sampler. */
enum {
    VN_NEEDS_NULL = 1,
    VN_NEEDS_WEAK = 2,
    VN_NEEDS_VJP = 4,
    VN_NEEDS_CONDITION = 8,
    VN_NEEDS_CLASSIFIER = 16, /* denoiser->classify */
    /* the user's, or a classifier whose log p(label|x0) takes its place */
    VN_NEEDS_REWARD = 32,
    VN_NEEDS_X0_EPS = 64,       /* a sampler that uses x0 and eps each as the guide sets them */
    VN_NEEDS_SDE = 128,         /* a sampler that follows the reverse SDE */
    VN_NEEDS_ROUTE = 256,       /* levels that no other guide or sampler has changed */
    VN_NEEDS_EMBEDDED = 512,    /* a denoiser that takes guidance as an input */
    VN_TAKES_CLASSIFIER = 1024, /* no need: it follows denoiser->classify where there is one */
    VN_NEEDS_ANNEAL = 2048,     /* conditions that noise can be added to */
    VN_NEEDS_STEPS = 4096, /* steps one after another: it keeps something from one to the next */
    VN_NEEDS_OF_SAMPLER = VN_NEEDS_X0_EPS | VN_NEEDS_SDE | VN_NEEDS_ROUTE | VN_NEEDS_STEPS
};

typedef struct vn_guide_row {
    vn_row row;
    vn_guide_stage stage;
    /* VN_NEEDS_*; a rule's needs of the denoiser count only where gamma is not 1, or if alone */
    unsigned needs;
    unsigned perturbations; /* vn_perturbation kinds that it uses */
    bool draws_perturbs;    /* each sample has its own: vn_guide.perturbs is there */
    /* the only rule that it can be combined with, and then without additions or finishes; NULL:
     * it can be combined with any */
    const char *only_with;
    bool exclusive;  /* cannot be combined with guides that change gamma or the prediction */
    bool repeatable; /* may be named more than once in a list */
    bool bounds_x0;  /* replaces x0 by one within bounds */
    /* it is null + G (conditional - null) itself, and so can be computed in double */
    bool is_cfg;
    /* what it makes is a sum of passes with weights that depend on gamma and the level alone, and
     * so is right of logits too (sequence.h) */
    bool linear;
    /* what the rule beside it has to need as well (VN_NEEDS_NULL: it has a null pass) */
    unsigned rule_needs;
    /* further needs that depend on its parameters; NULL: none */
    unsigned (*needs_by)(const vn_choice *c);
    int passes; /* how many it names at most, in all rounds of one prediction */
    int slots;  /* how many vn_guide.slot has */
    /* NULL: all values are fine */
    vn_status (*check)(const vn_choice *c, const vn_denoiser *d, vn_err *err);
    /* stage NETWORK only: the perturbation of all passes, where the condition `none` stands for
     * none; or noise on the conditions of all, whose seed and `none` are set by the caller */
    vn_perturb (*always)(const vn_choice *c, const vn_denoiser *d, vn_condition none);
    /* whether it is so at this level; NULL: at all levels */
    bool (*holds)(const vn_choice *c, const vn_level *level);
    vn_anneal (*anneal)(const vn_choice *c);
    /* stage STRENGTH only: the new gamma */
    double (*strength)(const vn_choice *c, const vn_guide_at *at, double gamma);
    /* other stages: names its passes (vn_plan_pass), once in every round */
    void (*plan)(vn_guide *g, const vn_guide_at *at, vn_plan *plan);
    /* changes *out [n,size], which holds the estimate that the guides before it have made */
    void (*combine)(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out);
    /* after each step; NULL: does not resample */
    void (*select)(vn_guide *g, vn_population *p);
    /* changes the levels that the sampling run visits; NULL: leaves them */
    vn_status (*route)(const vn_choice *c, vn_route *r, vn_err *err);
} vn_guide_row;

extern const vn_table vn_guides; /* of vn_guide_row */
extern const vn_table vn_caches; /* step caches (cache.h) */
/* Refuses what is no row of these. */
vn_status vn_cache_check(const char *text, vn_err *err);

/* ---- a list of guides ------------------------------------------------------------------------ */

typedef struct vn_guidance vn_guidance;

typedef struct vn_guidance_options {
    /* NULL: vane's own guides. Its first row is the rule used when none is named */
    const vn_table *table;
    const char *guide; /* "cfg", "cfg,interval:lo=0.28,hi=1.61", NULL for "cfg" */
    double gamma;      /* finite */
    uint64_t seed;
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* or NULL */
    const char *cache;       /* a row of vn_caches; NULL: every pass is run */
    int64_t capacity;        /* rows of the largest batch */
    /* the condition that takes the place of none (a negative prompt); NULL: VN_CONDITION_NULL */
    const vn_condition *none;
} vn_guidance_options;

/* Takes all memory; nothing is allocated afterwards. The denoiser and the reward stay the caller's
 * and must outlive it. VN_BAD_ARGUMENT names what the denoiser cannot do and guides that cannot be
 * combined. Close with vn_guidance_close. */
vn_status vn_guidance_open(const vn_guidance_options *options, vn_guidance **out, vn_err *err);
void vn_guidance_close(vn_guidance **g);
/* VN_BAD_ARGUMENT names a guide that needs what `sampler` cannot do. abilities: those of
 * VN_NEEDS_X0_EPS, _SDE, _ROUTE and _STEPS that the sampler meets. */
vn_status vn_guidance_check_sampler(const vn_guidance *g, const char *sampler, unsigned abilities,
                                    vn_err *err);
/* Lets its guides change the levels (vn_guide_row.route). */
vn_status vn_guidance_route(const vn_guidance *g, vn_route *route, vn_err *err);
/* The levels that the sampling run visits when all have changed them, [steps + 1], which outlive
 * it. */
void vn_guidance_set_levels(vn_guidance *g, const vn_level *levels);
/* Refuses what is no list of guides, with or without a denoiser: classes by name and what guides
 * need of it are for vn_guidance_open to judge. */
vn_status vn_guides_check(const char *guide, vn_err *err);
/* Whether a list of guides selects among samples, so that all samples should be one batch. False
 * if the text is not a list of guides. */
bool vn_guides_select(const char *guide);
/* The list (NULL: "cfg") with `last`, a guide that replaces x0, at its end, unless it has such a
 * guide already. clip:range=0 counts as one that says there should be none, and is left out. A new
 * string, freed with vn_free; NULL: out of memory. */
char *vn_guides_finish(const char *guide, const char *last);
/* Calls `each` with every condition that the guides of a list name, as its text; guides and
 * parameters that are not known are left to vn_guidance_open. */
vn_status vn_guides_conditions(const char *guide,
                               vn_status (*each)(void *self, const char *text, vn_err *err),
                               void *self, vn_err *err);
/* The first guide of a list whose row is not linear; NULL: there is none, or the text is no list of
 * guides. */
const char *vn_guides_not_linear(const char *guide);
/* Whether a list is classifier-free guidance in an interval of noise and nothing else, and in
 * which: sigma/alpha in (lo, hi]. */
bool vn_guides_interval(const char *guide, double *lo, double *hi);
/* What the guides of a list need, VN_NEEDS_*. 0 if the text is not a list of guides. */
unsigned vn_guides_need(const char *guide);

/* Begins a sampling run of n <= capacity samples, of which `first` is the index of the first one:
 * clears what guides keep between steps, and sets the pass count to 0. condition [n] must stay as
 * it is during the run. */
void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const vn_condition *condition);
/* Begins a step that ends at the level `next`. */
void vn_guidance_step(vn_guidance *g, int step, int steps, int restarts, const vn_level *next);

/* A guided prediction that a sampler requests. */
typedef struct vn_request {
    const float *x;        /* [n,size]; may not overlap with what is returned */
    const vn_level *level; /* one for all rows */
    int64_t row, n;        /* rows of the batch that x holds; n 0: all */
    const vn_level *to;    /* vn_guide_at.to; NULL: none */
    /* the conditional prediction alone, without any guide but those inside the network */
    bool unguided;
    /* NULL, or [n,size]: receives the learned v (vn_query.variance) of the conditional pass, or of
     * the first pass where there is no conditional one */
    float *variance;
} vn_request;
vn_status vn_guidance_predict(vn_guidance *g, const vn_request *request, vn_estimate out,
                              vn_err *err);

/* One sample in double, for samplers that decide by small differences. Only where
 * vn_guidance_is_exact: the denoiser predicts in double and cfg is the only guide. */
typedef struct vn_request_exact {
    const double *x; /* [size] */
    const vn_level *level;
    int64_t row; /* of the batch */
    bool again;  /* it was requested in float32 before, so that no pass is counted */
} vn_request_exact;
bool vn_guidance_is_exact(const vn_guidance *g);
/* x0 [size], eps [size]; may not overlap with x. */
vn_status vn_guidance_predict_exact(vn_guidance *g, const vn_request_exact *request, double *x0,
                                    double *eps, vn_err *err);
/* After a step to x [n,size]: lets a guide resample. ancestor [n] receives the sample that is
 * copied to each place; *moved: whether any differs from its place. */
vn_status vn_guidance_select(vn_guidance *g, const float *x, int64_t *ancestor, bool *moved,
                             vn_err *err);
/* Resamples each population whose effective sample size is below the part `ess` of its count, by
 * the log weights g->log_weight, and sets those to 0. Overwrites g->condition; of g it uses no more
 * but status and err (population.c). */
void vn_population_resample(vn_guide *g, vn_population *p, double ess);
/* Whether the step that was made is the last one of the sampling run. */
bool vn_population_ends(const vn_population *p);
/* Moves what guides keep of each sample, as the samples were moved: ancestor [n] is the one copied
 * to each place. vn_guidance_select has done so for its own. */
void vn_guidance_move(vn_guidance *g, const int64_t *ancestor);
/* Network passes for each row since vn_guidance_begin; the mean, where rows differ. */
double vn_guidance_passes(const vn_guidance *g);
/* How far off its step cache was since then (cache.h): sums of squares of what it would have been
 * off by, and of answers; 0 without one. */
void vn_guidance_cache_error(const vn_guidance *g, double *off, double *length);

/* ---- a list of guides as a denoiser ---------------------------------------------------------- */

/* A denoiser whose predictions are guided. Neighbouring rows at one level are evaluated together,
 * at most options->capacity of them. Guides that act between steps or change the levels are
 * refused. The denoiser and the reward outlive it. Close with vn_guided_denoiser_close. */
vn_status vn_guided_denoiser(const vn_guidance_options *options, vn_denoiser *out, vn_err *err);
void vn_guided_denoiser_close(vn_denoiser *d); /* safe on a zeroed one */

#endif
