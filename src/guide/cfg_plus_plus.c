/* cfg_plus_plus.c - CFG++ (2406.08070): x0 is guided, while the noise with which the step renoises
 * it is the null prediction's:
 *
 *     x0 = x0_u + lambda (x0_c - x0_u)      eps = eps_u
 *
 * G is the paper's lambda, meant for [0,1]: 0.6 does what CFG's 7.5 does. 1 is not the
 * conditional model here, so it cannot be combined with what changes gamma or the prediction. */
#include "guide/internal.h"

static bool wants_conditional(const vn_guide_at *at) {
    return at->gamma != 0 && !at->all_null;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass c = vn_conditional(at), u = vn_null(at);
    if (wants_conditional(at)) vn_plan_pass(p, &c);
    vn_plan_pass(p, &u);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    const vn_pass of_c = vn_conditional(at), of_u = vn_null(at);
    const vn_estimate *u = vn_plan_pass(p, &of_u);
    vn_copy_estimate(n, *out, u);
    if (wants_conditional(at))
        vn_extrapolate(n, at->gamma, u->x0, vn_plan_pass(p, &of_c)->x0, out->x0);
}

const vn_guide_row vn_cfg_plus_plus_guide = {
    .row = {"cfg-plus-plus",
            "guides x0 only, noise stays the null one; guidance is lambda in [0,1]", "2406.08070",
            NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION | VN_NEEDS_X0_EPS,
    .exclusive = true,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
