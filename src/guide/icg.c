/* icg.c - independent condition guidance (2407.02687): CFG for models that were not trained with
 * the null condition. The prediction under a random class r, drawn at each step independently of
 * the sample, takes the place of the null one:
 *
 *     r + gamma (c - r)
 *
 * The draw depends on seed, sample and step only; all evaluations of one step share it, so that a
 * step of higher order integrates one ODE. */
#include "guide/internal.h"

static vn_pass random_class(vn_guide *g, const vn_guide_at *at) {
    /* of a model of texts they are those that it has been asked for */
    const vn_conditions *all = &g->denoiser->conditions;
    const double count = all->classes ? all->classes : vn_conditions_count(all);
    if (at->all_null) return vn_null(at);
    for (int64_t i = 0; i < at->n; i++) {
        const double u = vn_random_double(at->seed, VN_STREAM_GUIDE, at->first + (uint64_t)i,
                                          (uint64_t)at->step);
        g->condition[i] =
            at->condition[i] == VN_CONDITION_NULL ? VN_CONDITION_NULL : (int32_t)(u * count);
    }
    return (vn_pass){.condition = g->condition};
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass r = random_class(g, at), c = vn_conditional(at);
    vn_plan_extrapolation(at, p, &r, &c);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass r = random_class(g, at), c = vn_conditional(at);
    vn_combine_extrapolation(g, at, p, &r, &c, out);
}

const vn_guide_row vn_icg_guide = {
    .row = {"icg", "random class + G (conditional - random class): needs no null condition",
            "2407.02687", NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
