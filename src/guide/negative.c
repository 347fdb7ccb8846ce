/* negative.c - guidance away from a condition: the "negative prompt" of Stable Diffusion's
 * programs. The prediction under another class takes the place of the null one, n + gamma (c - n);
 * gamma = 0 is that class. */
#include "guide/internal.h"

enum { CLASS };
static const vn_param params[] = {
    {"class", "the class to move away from", 0, 0, 1e6, VN_PARAM_CONDITION, NULL},
    {0},
};

static vn_pass negative(vn_guide *g, const vn_guide_at *at) {
    return vn_pass_of_class(g, at, (int32_t)g->choice.value[CLASS]);
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass n = negative(g, at), c = vn_conditional(at);
    vn_plan_extrapolation(at, p, &n, &c);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass n = negative(g, at), c = vn_conditional(at);
    vn_combine_extrapolation(g, at, p, &n, &c, out);
}

const vn_guide_row vn_negative_guide = {
    .row = {"negative", "negative + G (conditional - negative), of another class",
            "Stable Diffusion web UI", params},
    .stage = VN_GUIDE_RULE,
    .linear = true,
    .needs = VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = plan,
    .combine = combine,
};
