/* internal.h - what the files of guide share: the rows, and what several rules do alike. */
#ifndef VN_GUIDE_INTERNAL_H
#define VN_GUIDE_INTERNAL_H

#include "guide/guide.h"

/* Every guide by its row's name with _ for -; a row NAME is vn_NAME_guide, in its file. The first
 * is the rule used when none is named. To add a guide, write its file and name it here. */
/* clang-format off */
#define VN_GUIDES(ROW) \
    ROW(cfg) ROW(embedded) \
    ROW(classifier) ROW(classifier_gradient) ROW(energy) \
    ROW(fk) ROW(fkc) ROW(gibbs_like) \
    ROW(negative) ROW(compose) ROW(perp_neg) ROW(autoguidance) ROW(icg) ROW(tsg) \
    ROW(apg) ROW(cfg_zero_star) ROW(cfg_plus_plus) ROW(rectified_cfg_plus_plus) \
    ROW(tcfg) ROW(mambo_g) ROW(fdg) ROW(pmc) ROW(adg) ROW(power_law) ROW(smc) \
    ROW(characteristic) ROW(fbg) \
    ROW(momentum) ROW(higs) ROW(tag) \
    ROW(rescale) ROW(renorm) ROW(epsilon_scaling) ROW(dynamic_threshold) ROW(clip) \
    ROW(pag) ROW(seg) ROW(slg) ROW(stg) ROW(s2) ROW(tpg) ROW(pladis) ROW(nag) ROW(ig) ROW(cads) \
    ROW(interval) ROW(schedule) ROW(adaptive)
/* clang-format on */

#define VN_DECLARE(name) extern const vn_guide_row vn_##name##_guide;
VN_GUIDES(VN_DECLARE)
#undef VN_DECLARE

/* ---- what rules share (passes.c) ------------------------------------------------------------- */

/* What a guide with these parameters needs, VN_NEEDS_*. */
unsigned vn_guide_choice_needs(const vn_guide_row *row, const vn_choice *c);
/* The pass under each row's own condition; vn_null if no row has one. */
vn_pass vn_conditional(const vn_guide_at *at);
/* The pass under the null condition. */
vn_pass vn_null(const vn_guide_at *at);
/* Whether guidance has an effect here: gamma is not 1 and some row has a condition. */
bool vn_guidance_acts(const vn_guide_at *at);
/* out = a + gamma (b - a), n floats. */
void vn_extrapolate(size_t n, double gamma, const float *a, const float *b, float *out);
/* A number in [0, 1) of a sample, drawn anew for every prediction, by seed, sample, step and
 * prediction. */
double vn_guide_draw(const vn_guide_at *at, int64_t row);
/* out += scale (a - b), n floats of x0 and of eps. */
void vn_add_difference(size_t n, double scale, const vn_estimate *a, const vn_estimate *b,
                       vn_estimate out);
void vn_copy_estimate(size_t n, vn_estimate out, const vn_estimate *from);
/* Moves x0 by `shift` [n,size] and eps so that x = alpha x0 + sigma eps still holds; eps is left
 * alone at sigma = 0. */
void vn_shift_estimate(const vn_guide_at *at, int64_t size, const float *shift, double amount,
                       vn_estimate *out);

/* ---- rules that combine two predictions (spaces.c) ------------------------------------------- */

/* The rule a + gamma (b - a) of two passes; at gamma 0 only a is named, at gamma 1 only b. */
void vn_plan_extrapolation(const vn_guide_at *at, vn_plan *p, const vn_pass *a, const vn_pass *b);
void vn_combine_extrapolation(vn_guide *g, const vn_guide_at *at, vn_plan *p, const vn_pass *a,
                              const vn_pass *b, vn_estimate *out);
/* A row's `plan`: the conditional pass, and the null one where guidance acts. */
void vn_plan_conditional_and_null(vn_guide *g, const vn_guide_at *at, vn_plan *p);
/* Sets *c and *u to the conditional and the null estimate, and copies the conditional one to *out.
 * False: guidance has no effect, and *u is NULL. */
bool vn_conditional_and_null(const vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out,
                             const vn_estimate **c, const vn_estimate **u);

/* The coefficients of the spaces that papers measure in. Velocity is dx by the length of
 * the curve (alpha, sigma) instead of dt, so that velocities of two levels can be compared whatever
 * the path's t is; on the rectified path that is dx/dt times a constant. Where the path has no
 * finite slope it is v. */
vn_coefficients vn_as_x0(const vn_level *l);
vn_coefficients vn_as_eps(const vn_level *l);
vn_coefficients vn_as_velocity(const vn_level *l);
/* Dot products of one row in a space: <a,a>, <a,d>, <d,d> with d = b - a. */
typedef struct vn_gram {
    double aa, ad, dd;
} vn_gram;
vn_gram vn_gram_of(const vn_coefficients *space, size_t size, const vn_estimate *a,
                   const vn_estimate *b, size_t row);
/* One row of out: wa a + wb b in a space. out may be a or b. */
void vn_blend_row(const vn_coefficients *space, size_t size, size_t row, const float *x, double wa,
                  const vn_estimate *a, double wb, const vn_estimate *b, vn_estimate *out);
/* What a rule makes of the conditional and the null prediction where it looks at their lengths and
 * angle alone: of_c c + of_u u in a space, by the gram of u and c in it. */
typedef struct vn_pair_weights {
    double of_c, of_u;
} vn_pair_weights;
typedef vn_pair_weights vn_weigh_pair(const vn_guide *g, double gamma, const vn_gram *m);
/* A row's `combine` by that; a sample without a condition keeps its prediction. */
void vn_combine_weighed(vn_guide *g, const vn_guide_at *at, vn_plan *p,
                        const vn_coefficients *space, vn_weigh_pair *weigh, vn_estimate *out);

/* The pass under one class; rows without a condition keep the null one. It writes g->condition, and
 * is the same pass each time it is called during one prediction. */
vn_pass vn_pass_of_class(vn_guide *g, const vn_guide_at *at, int32_t label);

/* ---- guides that keep predictions from step to step (memory.c) ------------------------------- */

/* The running average of a prediction over the steps before this one, in two slots of g: a step
 * counts with its first prediction, so that all predictions of a step see the same average, and a
 * step of higher order follows one ODE. average <- keep average + (1 - keep) prediction; it begins
 * as the first. `now` [n,size] is the prediction that is being made. NULL: no step was made yet
 * since the sampling run began or went back to more noise. */
typedef struct vn_average {
    int mean, last; /* slots: the average, and the first prediction of this step */
    double keep;
} vn_average;
const float *vn_average_before(const vn_average *a, vn_guide *g, const vn_guide_at *at,
                               const float *now);

/* What a choice of interval.c says. */
void vn_interval_bounds(const vn_choice *c, double *lo, double *hi);

/* ---- guides that replace x0 (clip.c, dynamic_threshold.c) ------------------------------------ */

/* Index of the parameter `noise` in such a row: whether eps follows x0, so that x = alpha x0 +
 * sigma eps still holds, or is kept as it was, which needs a sampler that uses x0 and eps each as
 * they are given. */
enum { VN_PARAM_NOISE = 1 };
/* clang-format off */
#define VN_NOISE_PARAM \
    {"noise", "follows x0, or is kept, which takes a sampler that moves x0 and noise apart", \
     0, 0, 1, 1, "follow|keep"}
/* clang-format on */
unsigned vn_noise_needs(const vn_choice *c);
/* By how much eps falls when x0 grows by 1: alpha/sigma, or 0 if eps is kept or sigma is 0. */
double vn_noise_follows(const vn_guide_at *at, const vn_choice *c);
/* x0 becomes x0 + shift [n,size], and eps becomes eps - follow shift. */
void vn_shift_x0(const vn_guide_at *at, int64_t size, const float *shift, double follow,
                 vn_estimate *out);

/* ---- what guides need (needs.c) -------------------------------------------------------------- */

/* What the model and the user provide, against which needs are checked. */
typedef struct vn_guide_provided {
    const vn_table *table; /* of guides */
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* or NULL */
} vn_guide_provided;
/* VN_BAD_ARGUMENT names what the row needs and the model or the user does not provide. */
vn_status vn_guide_check_needs(const vn_guide_provided *m, const vn_guide_row *row, double gamma,
                               vn_err *err);

/* ---- classifiers and rewards (classifier.c, energy.c) ---------------------------------------- */

/* The denoiser's classifier at x: log p(condition|x) [n] and shift [n,size] as in vn_classify,
 * either may be NULL; 0 for rows without a condition. Overwrites g->condition. False: it failed,
 * and g->status and g->err say why. */
bool vn_guide_classify(vn_guide *g, const vn_guide_at *at, const float *x, const vn_level *level,
                       float *log_probability, float *shift);
/* The user's log reward of x0 [n,size], or log p(label|x0) in its place: value [n], gradient
 * [n,size] or NULL. False: it failed or gave numbers that are not finite, and g->status and g->err
 * say why. */
bool vn_guide_reward(vn_guide *g, const vn_guide_at *at, const float *x0, float *value,
                     float *gradient);

/* ---- perturbations of the network (perturbed.c, pladis.c, nag.c) ----------------------------- */

/* Indices of the parameters `first` and `last`, the layers, in such a row. */
enum { VN_PARAM_FIRST = 1, VN_PARAM_LAST = 2 };
/* VN_BAD_ARGUMENT: layers that the denoiser does not have. VN_OK if it has none at all, which
 * vn_guide_check_needs refuses. */
vn_status vn_check_layers(const vn_choice *c, const vn_denoiser *d, vn_err *err);

#endif
