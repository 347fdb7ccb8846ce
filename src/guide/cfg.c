/* cfg.c - classifier-free guidance (2207.12598; for flows 2311.13443): u + gamma (c - u), with c
 * the conditional and u the null prediction; the paper's (1 + w) c - w u with w = gamma - 1. The
 * weights sum to 1, so it is the same in every space; here it is done on x0 and on eps, which stay
 * consistent. */
#include "guide/internal.h"

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass u = vn_null(at), c = vn_conditional(at);
    vn_plan_extrapolation(at, p, &u, &c);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass u = vn_null(at), c = vn_conditional(at);
    vn_combine_extrapolation(g, at, p, &u, &c, out);
}

const vn_guide_row vn_cfg_guide = {
    .row = {"cfg", "null + G (conditional - null)", "2207.12598", NULL},
    .stage = VN_GUIDE_RULE,
    .linear = true,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .is_cfg = true,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
