/* mambo_g.c - MAMBO-G (2508.03442): guidance is damped, for each sample, where the difference of
 * the conditional and the null velocity is large in comparison with the null one, as in the first
 * steps:
 *
 *     gamma' = 1 + (gamma - 1) exp(-alpha |c - u| / |u|),   u + gamma' (c - u) */
#include "guide/internal.h"

#include <math.h>

enum { ALPHA };
static const vn_param params[] = {
    {"alpha", "how fast guidance falls with the ratio of norms", 8, 1e-6, 1000, 0, NULL},
    {0},
};

/* Infinite where u = 0: no guidance. */
static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    const double ratio = m->dd > 0 ? sqrt(m->dd / m->aa) : 0;
    const double less = 1 + (gamma - 1) * exp(-g->choice.value[ALPHA] * ratio);
    return (vn_pair_weights){less, 1 - less};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients space = vn_as_velocity(at->level);
    vn_combine_weighed(g, at, p, &space, weigh, out);
}

const vn_guide_row vn_mambo_g_guide = {
    .row = {"mambo-g", "CFG, less where conditional and null velocity differ much", "2508.03442",
            params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
