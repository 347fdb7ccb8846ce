/* guide.h - guidance: which passes a prediction needs, and how they combine.
 *
 * plan -> evaluate -> combine. At a state every guide of the list names the passes it needs; passes that are alike are
 * shared, passes through one network become one batch; guides are asked again with the results until nobody needs more,
 * and then combine, in the order of their stages. So a rule may take a second round at another x or level, or a
 * vector-Jacobian product, without a word here changing. `guidance` is gamma: 0 unconditional, 1 conditional. A pass that cannot
 * matter is never named. */
#ifndef VN_GUIDE_H
#define VN_GUIDE_H

#include "path/path.h"

/* Where a prediction is wanted, and what of the walk a rule may look at. */
typedef struct vn_guide_at {
    int64_t n;
    uint64_t first;        /* index of sample 0 of the batch, for rules with chance */
    const float *x;        /* [n,size] */
    const vn_level *level; /* one for all rows */
    const int32_t *labels; /* [n] each row's own condition */
    const int32_t *null;   /* [n] all VN_LABEL_NULL */
    bool all_null;         /* labels equals null: guidance has nothing to act on */
    int step, steps;       /* which step of how many */
    double gamma;          /* after schedules and intervals, at this level */
} vn_guide_at;

/* One pass, as a guide names it. */
typedef struct vn_pass {
    vn_network network;
    const int32_t *labels;  /* [n]: at->labels, at->null, or the guide's own */
    const float *x;         /* NULL: at->x */
    const vn_level *level;  /* NULL: at->level */
    const float *cotangent; /* NULL: predict; [n,size]: d<cotangent, x0>/dx instead, in the pair's x0 */
} vn_pass;

typedef struct vn_plan vn_plan;
/* The pair of this pass if it has been run; else NULL, and it will be before the guide is asked again. */
const vn_pair *vn_plan_need(vn_plan *plan, const vn_pass *pass);

/* One guide of the list, at work. */
typedef struct vn_guide {
    const struct vn_guide_row *row;
    vn_choice choice;
    const vn_denoiser *denoiser;
    float **slot; /* row->slots arrays [capacity,size], kept from call to call, zero when a walk begins */
} vn_guide;

/* In the order in which they act. */
typedef enum vn_guide_stage {
    VN_GUIDE_STRENGTH, /* changes gamma: intervals, schedules. Any number */
    VN_GUIDE_RULE,     /* makes the prediction from passes: cfg and its rivals. One; "cfg" if none is named */
    VN_GUIDE_ADDITION, /* adds to it: gradients of classifiers and energies, perturbed passes */
    VN_GUIDE_FINISH,   /* changes what came out: rescale, thresholds */
    VN_GUIDE_STAGES
} vn_guide_stage;

enum { VN_NEEDS_NULL = 1, VN_NEEDS_WEAK = 2, VN_NEEDS_VJP = 4, VN_NEEDS_CLASSES = 8 };

typedef struct vn_guide_row {
    vn_row row;
    vn_guide_stage stage;
    unsigned needs; /* of the denoiser, VN_NEEDS_*; of a rule only when gamma is not 1 */
    int passes;     /* at most so many in all rounds of one prediction */
    int slots;
    vn_status (*check)(const vn_choice *c, vn_err *err);                              /* NULL: all values are fine */
    double (*strength)(const vn_choice *c, const vn_level *l, double gamma);          /* STRENGTH only */
    void (*plan)(vn_guide *g, const vn_guide_at *at, vn_plan *plan);                  /* other stages */
    void (*combine)(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_pair *out); /* *out: what came so far */
} vn_guide_row;

extern const vn_guide_row vn_guide_rows[];
extern const size_t vn_guide_row_count;

/* ---- the list at work -------------------------------------------------------------------------------- */

typedef struct vn_guidance vn_guidance;

/* text: "cfg", "cfg,interval:lo=0.28,hi=1.61", NULL for "cfg"; gamma finite. For batches up to `capacity` rows; nothing is
 * allocated afterwards. Refuses by name what the denoiser cannot do and guides that do not go together. */
vn_status vn_guidance_open(const char *text, double gamma, const vn_denoiser *denoiser, int64_t capacity,
                           vn_guidance **out, vn_err *err);
void vn_guidance_close(vn_guidance **g);
/* Forgets what guides remember of earlier steps and sets the pass count to 0: a walk begins. */
void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const int32_t *labels);
/* The guided pair at x [n,size], all rows at one level. x and out may not overlap. */
vn_status vn_guidance_predict(vn_guidance *g, const float *x, const vn_level *level, int step, int steps, vn_pair out,
                              vn_err *err);
int64_t vn_guidance_passes(const vn_guidance *g); /* network passes of each row since begin */

#endif
