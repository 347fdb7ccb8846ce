/* cfg_zero_star.c - CFG-Zero* (2503.18886): CFG in velocity, with the null prediction scaled by the
 * least-squares fit s to the conditional one, and velocity 0 in the first steps, where a flow's
 * velocity is learnt least well:
 *
 *     s = <c,u> / (|u|^2 + 1e-8)
 *     v = s u + gamma (c - s u),   0 in the first steps
 *
 * Those are the steps that end within the fraction `zero` of all. Where gamma is 1, the result is
 * the conditional prediction in every step. */
#include "guide/internal.h"

enum { ZERO };
static const vn_param params[] = {
    {"zero", "fraction of the steps, from the first on, with velocity 0", 0.04, 0, 1, 0, NULL},
    {0},
};

static bool stands_still(const vn_guide *g, const vn_guide_at *at) {
    return vn_guidance_acts(at) && at->step + 1 <= g->choice.value[ZERO] * at->steps;
}

static bool some_without_condition(const vn_guide_at *at) {
    for (int64_t i = 0; i < at->n; i++)
        if (at->condition[i] == at->null[i]) return true;
    return false;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass c = vn_conditional(at);
    if (!stands_still(g, at))
        vn_plan_conditional_and_null(g, at, p);
    else if (some_without_condition(at))
        vn_plan_pass(p, &c);
}

/* Velocity 0 for all samples that have a condition. */
static void stand_still(const vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients velocity = vn_as_velocity(at->level);
    const vn_pass of_c = vn_conditional(at);
    const float x0_x = (float)velocity.x0_x, eps_x = (float)velocity.eps_x;
    if (some_without_condition(at))
        vn_copy_estimate((size_t)at->n * size, *out, vn_plan_pass(p, &of_c));
    for (size_t i = 0; i < (size_t)at->n * size; i++) {
        if (at->condition[i / size] == at->null[i / size]) continue;
        out->x0[i] = x0_x * at->x[i];
        out->eps[i] = eps_x * at->x[i];
    }
}

static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    (void)g;
    const double s = (m->aa + m->ad) / (m->aa + 1e-8);
    return (vn_pair_weights){gamma, (1 - gamma) * s};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients velocity = vn_as_velocity(at->level);
    if (stands_still(g, at)) {
        stand_still(g, at, p, out);
        return;
    }
    vn_combine_weighed(g, at, p, &velocity, weigh, out);
}

const vn_guide_row vn_cfg_zero_star_guide = {
    .row = {"cfg-zero-star", "CFG on a scaled null velocity; the first steps stand still",
            "2503.18886", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
