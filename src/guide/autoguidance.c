/* autoguidance.c - guidance by a worse version of the model itself (2406.02507):
 * weak + gamma (D - weak), both under the same condition. It pushes away from the errors that the
 * two share, and does not make samples of a class more alike as CFG does. Samples without a
 * condition are guided too. */
#include "guide/internal.h"

static vn_pass weak(const vn_guide_at *at) {
    return (vn_pass){.network = VN_NETWORK_WEAK, .condition = at->condition};
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass w = weak(at), d = vn_conditional(at);
    vn_plan_extrapolation(at, p, &w, &d);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass w = weak(at), d = vn_conditional(at);
    vn_combine_extrapolation(g, at, p, &w, &d, out);
}

const vn_guide_row vn_autoguidance_guide = {
    .row = {"autoguidance", "weak + G (model - weak), of a weaker model under the same condition",
            "2406.02507", NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_WEAK,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
