/* internal.h - what the files of guide share: the rows, and what several rules do alike. */
#ifndef VN_GUIDE_INTERNAL_H
#define VN_GUIDE_INTERNAL_H

#include "guide/guide.h"

/* Every guide by its row's name with _ for -; a row NAME is vn_NAME_guide, in its file. The first
 * is the rule used when none is named. To add a guide, write its file and name it here. */
/* clang-format off */
#define VN_GUIDES(ROW) \
    ROW(cfg) ROW(embedded) \
    ROW(classifier) ROW(energy) \
    ROW(fk) ROW(fkc) ROW(gibbs_like) \
    ROW(negative) ROW(also) ROW(perp_neg) ROW(autoguidance) ROW(icg) ROW(tsg) \
    ROW(apg) ROW(cfg_zero_star) ROW(cfg_plus_plus) ROW(rectified_cfg_plus_plus) ROW(tcfg) ROW(mambo_g) ROW(fdg) \
    ROW(rescale) ROW(dynamic_threshold) ROW(clip) \
    ROW(pag) ROW(seg) ROW(slg) ROW(stg) ROW(pladis) \
    ROW(interval) ROW(schedule)
/* clang-format on */

#define VN_DECLARE(name) extern const vn_guide_row vn_##name##_guide;
VN_GUIDES(VN_DECLARE)
#undef VN_DECLARE

/* ---- what rules share (passes.c) ------------------------------------------------------------- */

/* the pass under each row's own condition; vn_null if no row has one */
vn_pass vn_conditional(const vn_guide_at *at);
vn_pass vn_null(const vn_guide_at *at); /* the pass under none */
/* Whether guidance has anything to do here: gamma is not 1 and some row has a condition. */
bool vn_guided(const vn_guide_at *at);
/* out = a + gamma (b - a), n floats. */
void vn_extrapolate(size_t n, double gamma, const float *a, const float *b, float *out);
void vn_copy_estimate(size_t n, vn_estimate out, const vn_estimate *from);
/* Moves x0 by `shift` [n,size] and eps so that x = alpha x0 + sigma eps still holds; eps is left
 * alone at sigma = 0. */
void vn_shift_estimate(const vn_guide_at *at, int64_t size, const float *shift, double amount,
                       vn_estimate *out);

/* ---- rules that combine two predictions (spaces.c) ------------------------------------------- */

/* a + gamma (b - a) of two passes; one alone is run where the other does not matter. */
void vn_plan_between(const vn_guide_at *at, vn_plan *p, const vn_pass *a, const vn_pass *b);
void vn_combine_between(vn_guide *g, const vn_guide_at *at, vn_plan *p, const vn_pass *a,
                        const vn_pass *b, vn_estimate *out);
/* A plan: the conditional pass, and the null one where guidance acts. */
void vn_plan_two(vn_guide *g, const vn_guide_at *at, vn_plan *p);
/* Copies the conditional pair to *out; true with both pairs where guidance acts. */
bool vn_take_two(const vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out,
                 const vn_estimate **c, const vn_estimate **u);

/* The spaces that papers measure in. Velocity is dx by the length of the curve (alpha, sigma), so
 * that velocities of two levels can be compared however the path counts t; on the rectified path
 * dx/dt by a constant. v where the path has no finite slope. */
vn_coefficients vn_as_eps(const vn_level *l);
vn_coefficients vn_as_velocity(const vn_level *l);
/* Of one row in a space: <a,a>, <a,d>, <d,d> with d = b - a. */
typedef struct vn_gram {
    double aa, ad, dd;
} vn_gram;
vn_gram vn_gram_of(const vn_coefficients *space, size_t size, const vn_estimate *a,
                   const vn_estimate *b, size_t row);
/* One row of out: wa a + wb b in a space. out may be a or b. */
void vn_blend_row(const vn_coefficients *space, size_t size, size_t row, const float *x, double wa,
                  const vn_estimate *a, double wb, const vn_estimate *b, vn_estimate *out);

/* The pass under one class, in g->condition; rows without a condition stay without. The same when asked
 * again. */
vn_pass vn_pass_of_class(vn_guide *g, const vn_guide_at *at, int32_t label);

/* ---- what replaces x0 (clip.c, dynamic_threshold.c) ------------------------------------------ */

/* The parameter `noise` at this place of a row's: whether eps follows x0, so that x = alpha x0 +
 * sigma eps still holds, or is kept as it was, which takes a sampler that moves the two apart. */
enum { VN_PARAM_NOISE = 1 };
/* clang-format off */
#define VN_NOISE_PARAM \
    {"noise", "follows x0, or is kept, which takes a sampler that moves x0 and noise apart", 0, 0, 1, 1, "follow|keep"}
/* clang-format on */
unsigned vn_noise_needs(const vn_choice *c);
/* What eps loses for each unit that x0 gains: alpha/sigma, or 0 if it is kept or sigma is 0. */
double vn_noise_follows(const vn_guide_at *at, const vn_choice *c);
/* x0 becomes x0 + shift [n,size], and eps loses `follow` times as much. */
void vn_shift_x0(const vn_guide_at *at, int64_t size, const float *shift, double follow,
                 vn_estimate *out);

/* ---- what guides need (needs.c) -------------------------------------------------------------- */

typedef struct vn_means {
    const vn_table *table; /* of guides */
    const vn_denoiser *denoiser;
    const vn_reward *reward; /* or NULL */
} vn_means;
/* VN_BAD_ARGUMENT names what the row needs and is not there. */
vn_status vn_guide_check_needs(const vn_means *m, const vn_guide_row *row, double gamma,
                               vn_err *err);

/* ---- classifiers and rewards (classifier.c, energy.c) ---------------------------------------- */

/* The denoiser's classifier at x: log p(label|x) [n] and shift [n,size] as in vn_classify, each or
 * NULL; 0 for rows without a condition. Uses g->condition. False: it failed, and g says how. */
bool vn_guide_classify(vn_guide *g, const vn_guide_at *at, const float *x, const vn_level *level,
                       float *log_probability, float *shift);
/* The user's log reward of x0 [n,size], or log p(label|x0) in its place: value [n], gradient
 * [n,size] or NULL. All finite, or false. */
bool vn_guide_reward(vn_guide *g, const vn_guide_at *at, const float *x0, float *value,
                     float *gradient);

/* ---- a hand inside the network (perturbed.c, pladis.c) --------------------------------------- */

/* The parameters `first` and `last`, which layers, at these places of a row's. */
enum { VN_PARAM_FIRST = 1, VN_PARAM_LAST = 2 };
/* Refuses layers that the denoiser does not have; VN_OK where it has none at all, which is refused
 * elsewhere. */
vn_status vn_check_layers(const vn_choice *c, const vn_denoiser *d, vn_err *err);

/* ---- populations (population.c) -------------------------------------------------------------- */

/* Resamples each population whose effective sample size is below `ess` of its count by g->log weight,
 * the log weights, and sets those to 0. Uses g->condition. */
void vn_population_resample(vn_guide *g, vn_population *p, double ess);
bool vn_population_ends(const vn_population *p); /* whether the sampling run's last step was made */

#endif
