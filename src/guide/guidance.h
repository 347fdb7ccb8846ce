/* guidance.h - a list of guides, opened (guidance_open.c), and what it needs while it makes a
 * guided prediction (guidance.c). */
#ifndef VN_GUIDANCE_H
#define VN_GUIDANCE_H

#include "guide/cache.h"
#include "guide/internal.h"

#define VN_MAX_GUIDES 8

/* The passes of one prediction, in the order in which they are run: those below `done` have
 * been. */
struct vn_plan {
    int count, done, max;  /* passes named, run, allowed */
    int64_t n;             /* rows of each */
    bool full;             /* one was named beyond `max` */
    vn_pass *pass;         /* [max] */
    vn_estimate *estimate; /* [max], each [capacity,size] */
};
/* Whether two passes of n rows are the same. */
bool vn_pass_same(const vn_pass *a, const vn_pass *b, int64_t n);
/* Whether they are for rows whose conditions are the same. */
bool vn_pass_same_but_conditions(const vn_pass *a, const vn_pass *b);

struct vn_guidance {
    const vn_table *table;
    const vn_denoiser *denoiser;
    const vn_reward *reward;
    double gamma;
    int64_t capacity, n, rows_passed;
    int count;
    vn_guide guide[VN_MAX_GUIDES];
    vn_guide_at at; /* of the sampling run; in a step, as at its first prediction */
    vn_plan plan;
    vn_cache *cache;   /* NULL: none */
    bool cache_acts;   /* in the prediction that is being made */
    vn_perturb always; /* in every pass through the main network */
    vn_condition none; /* the condition that takes the place of none */
    bool anneals;      /* there is noise on conditions: */
    vn_anneal anneal;
    vn_condition *null;    /* [capacity] */
    bool *unguided;        /* [capacity] vn_guide_at.unguided */
    bool *spare_unguided;  /* [capacity] scratch */
    double *spare;         /* [capacity] scratch */
    double *null_estimate; /* [2,size], x0 and eps; NULL unless it answers in double */
    /* a batch of passes, [max,capacity] rows; network_guidance: gamma as a network's input */
    float *x, *raw, *direction, *variance, *network_guidance;
    vn_level *level, *to, *next;
    vn_condition *condition;
    uint64_t *sample;
    /* of the prediction that is being made: where the learned variance goes, or NULL; found: it
     * holds that of some pass; final: that of the conditional one */
    float *variance_out;
    bool variance_found, variance_final;
};

#endif
