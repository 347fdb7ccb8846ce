/* guide.h - guidance: which passes a prediction needs, and how they combine.
 *
 * plan -> evaluate -> combine. At a state every guide of the list names the passes it needs; passes
 * that are alike are shared, passes through one network become one batch; guides are asked again
 * with the results until nobody needs more, and then combine, in the order of their stages. So a
 * rule may take a second round at another x or level, or a vector-Jacobian product, without a word
 * here changing. `guidance` is gamma: 0 unconditional, 1 conditional. A pass that cannot matter is
 * never named.
 *
 * Rules that select among samples (a population) also act between steps: vn_guide_row.select. */
#ifndef VN_GUIDE_H
#define VN_GUIDE_H

#include "path/path.h"

/* Where a prediction is wanted, and what of the sampling run a rule may look at. */
typedef struct vn_guide_at {
    int64_t n;
    uint64_t
        first; /* index of sample 0 of the batch, and the sampling run's seed: for rules with chance */
    uint64_t seed;
    const float *x;                /* [n,size] */
    const vn_level *level;         /* one for all rows */
    const vn_level *next;          /* where the step goes */
    const vn_condition *condition; /* [n] each row's own */
    const vn_condition *null;      /* [n] all VN_CONDITION_NULL */
    bool all_null;                 /* the two are equal: guidance has nothing to act on */
    int step, steps;               /* which step of how many */
    int call;     /* which prediction of this step: 0 is that of the state itself */
    int round;    /* how often the sampling run has gone back to more noise */
    double gamma; /* after schedules and intervals, at this level */
} vn_guide_at;

/* One pass, as a guide names it. Arrays must stay as they are until the guide has combined. */
typedef struct vn_pass {
    vn_network network;
    vn_perturb perturb;
    const vn_condition *condition; /* [n]: at->condition, at->null, or the guide's own */
    const float *x;                /* NULL: at->x */
    const vn_level *level;         /* NULL: at->level */
    /* VN_VJP, VN_JVP: the derivative of x0 by x along direction [n,size], in the estimate's x0 */
    vn_want want;
    const float *direction;
    /* for networks that guide themselves (VN_TAKES_GUIDANCE): how strongly; NULL: as they like */
    const double *guidance;
} vn_pass;

typedef struct vn_plan vn_plan;
/* The pair of this pass if it has been run; else NULL, and it will be before the guide is asked
 * again. */
const vn_estimate *vn_plan_need(vn_plan *plan, const vn_pass *pass);

/* What a sample is worth to the user: log of a reward, or minus an energy, and its gradient. */
typedef struct vn_reward {
    /* x0 [n,size]; value [n]; gradient [n,size] or NULL. Must not keep them. */
    vn_status (*evaluate)(void *self, int64_t n, const float *x0, const vn_condition *condition,
                          float *value, float *gradient, vn_err *err);
    void *self;
} vn_reward;

/* One guide of the list, at work. */
typedef struct vn_guide {
    const struct vn_guide_row *row;
    vn_choice choice;
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* the user's; NULL: none was given */
    /* row->slots arrays [capacity,size], kept from call to call, zero when a sampling run begins */
    float **slot;
    double *log_weight;      /* [capacity] one number a sample, likewise */
    vn_condition *condition; /* [capacity] for conditions of the guide's own */
    vn_level level;          /* for a level of the guide's own */
    /* set by plan or combine where something failed, with its words in err */
    vn_status status;
    vn_err err;
} vn_guide;

/* A batch between two steps, for guides that select among its samples. Samples of one label are one
 * population. */
typedef struct vn_population {
    /* of the step that was made: n, labels, level, next, gamma as at its first prediction */
    const vn_guide_at *at;
    const float *x;    /* [n,size] at at->next */
    int64_t *ancestor; /* [n] out: which sample takes place i; in: i */
} vn_population;

/* In the order in which they act. */
typedef enum vn_guide_stage {
    VN_GUIDE_NETWORK,  /* changes the network that is asked, in all its passes. One */
    VN_GUIDE_STRENGTH, /* changes gamma: intervals, schedules. Any number */
    /* makes the prediction from passes: cfg and its rivals. One; "cfg" if none is named */
    VN_GUIDE_RULE,
    VN_GUIDE_ADDITION, /* adds to it: gradients of classifiers and energies, perturbed passes */
    VN_GUIDE_FINISH,   /* changes what came out: rescale, thresholds */
    VN_GUIDE_STAGES
} vn_guide_stage;

/* What a guide needs of the denoiser, and of the sampler. */
enum {
    VN_NEEDS_NULL = 1,
    VN_NEEDS_WEAK = 2,
    VN_NEEDS_VJP = 4,
    VN_NEEDS_CLASSES = 8,
    VN_NEEDS_CLASSIFIER = 16, /* denoiser->classify */
    /* the user's, or a classifier whose log p(label|x0) stands in for it */
    VN_NEEDS_REWARD = 32,
    VN_NEEDS_PAIRS = 64,    /* a sampler that moves x0 and eps apart, as the guide sets them */
    VN_NEEDS_SDE = 128,     /* a sampler that follows the reverse SDE */
    VN_NEEDS_ROUTE = 256,   /* levels that no other row has changed */
    VN_NEEDS_STRENGTH = 512 /* a denoiser that takes guidance as an input */
};

typedef struct vn_guide_row {
    vn_row row;
    vn_guide_stage stage;
    /* VN_NEEDS_*; a rule's needs of the denoiser count only where gamma is not 1, or if alone */
    unsigned needs;
    unsigned perturbations; /* vn_perturbation it asks for */
    /* the only rule it is right for, with no additions and nothing that finishes; NULL: any */
    const char *rule;
    bool replaces; /* x0 by one within bounds */
    bool alone;    /* nothing that changes gamma or the prediction goes with it */
    bool many;     /* may be named more than once */
    /* null + G (conditional - null) itself: made in double where that is asked for */
    bool plain;
    /* what it needs besides, by its parameters; NULL: nothing */
    unsigned (*needs_by)(const vn_choice *c);
    int passes; /* at most so many in all rounds of one prediction */
    int slots;
    /* NULL: all values are fine */
    vn_status (*check)(const vn_choice *c, const vn_denoiser *d, vn_err *err);
    /* NETWORK only */
    vn_perturb (*inside)(const vn_choice *c, const vn_denoiser *d);
    /* STRENGTH only */
    double (*strength)(const vn_choice *c, const vn_guide_at *at, double gamma);
    /* other stages */
    void (*plan)(vn_guide *g, const vn_guide_at *at, vn_plan *plan);
    /* out: what came so far */
    void (*combine)(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out);
    /* after each step; NULL: nothing */
    void (*select)(vn_guide *g, vn_population *p);
    vn_status (*route)(const vn_choice *c, vn_route *r, vn_err *err); /* NULL: levels as they are */
} vn_guide_row;

extern const vn_table vn_guides; /* of vn_guide_row */

/* ---- the list at work ------------------------------------------------------------------------ */

typedef struct vn_guidance vn_guidance;

typedef struct vn_guidance_options {
    /* NULL: vane's own guides. Its first row is the rule used when none is named */
    const vn_table *table;
    const char *guide; /* "cfg", "cfg,interval:lo=0.28,hi=1.61", NULL for "cfg" */
    double gamma;      /* finite */
    uint64_t seed;
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* or NULL */
    int64_t capacity;        /* rows of the largest batch */
} vn_guidance_options;

/* Nothing is allocated afterwards. Refuses by name what the denoiser cannot do and guides that do
 * not go together. */
vn_status vn_guidance_open(const vn_guidance_options *options, vn_guidance **out, vn_err *err);
void vn_guidance_close(vn_guidance **g);
/* Refuses by name guides that need what `sampler` cannot do: abilities is a sum of VN_NEEDS_PAIRS,
 * _SDE, _ROUTE. */
vn_status vn_guidance_check_sampler(const vn_guidance *g, const char *sampler, unsigned abilities,
                                    vn_err *err);
/* Puts the detours of its guides into the levels. */
vn_status vn_guidance_route(const vn_guidance *g, vn_route *route, vn_err *err);
/* Whether a list of guides selects among samples, so that all samples should be one batch. False
 * for what is no list. */
bool vn_guides_select(const char *guide);
/* A list (NULL: "cfg") with `last`, a guide that replaces x0, after it; unless the list has one of
 * that kind already, of which clip:range=0 is left out, for it says that there should be none. New
 * string or NULL: memory. */
char *vn_guides_finish(const char *guide, const char *last);
/* What the guides of a list need, VN_NEEDS_*. 0 for what is no list. */
unsigned vn_guides_need(const char *guide);

/* Forgets what guides remember of earlier steps and sets the pass count to 0: a sampling run begins. */
void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const vn_condition *condition);
/* A step begins; it ends at `next`. */
void vn_guidance_step(vn_guidance *g, int step, int steps, int round, const vn_level *next);

/* What a sampler asks for. */
typedef struct vn_ask {
    const float *x;        /* [n,size]; may not overlap with what is returned */
    const vn_level *level; /* one for all rows */
    int64_t row, n;        /* rows of the batch that x holds; n 0: all */
    /* the conditional prediction alone, without any guide but those inside the network */
    bool plain;
    float *
        variance; /* NULL, or [n,size]: v of the conditional pass (vn_denoiser), or of the first where there is none */
} vn_ask;
vn_status vn_guidance_predict(vn_guidance *g, const vn_ask *ask, vn_estimate out, vn_err *err);

/* For rules that decide by small differences: one sample in double. Only where the denoiser has
 * such answers and no guide does more with them than cfg. */
typedef struct vn_ask_exact {
    const double *x; /* [size] */
    const vn_level *level;
    int64_t row; /* of the batch */
    bool again;  /* was asked for before, in float32: no pass is counted */
} vn_ask_exact;
bool vn_guidance_is_exact(const vn_guidance *g);
/* x0 [size], eps [size]; may not overlap with x. */
vn_status vn_guidance_predict_exact(vn_guidance *g, const vn_ask_exact *ask, double *x0,
                                    double *eps, vn_err *err);
/* After a step to x: ancestor [n] receives which sample takes each place; *moved if not each its
 * own. */
vn_status vn_guidance_select(vn_guidance *g, const float *x, int64_t *ancestor, bool *moved,
                             vn_err *err);
/* Network passes of each row since begin: their mean, where rows differ. */
double vn_guidance_passes(const vn_guidance *g);

#endif
