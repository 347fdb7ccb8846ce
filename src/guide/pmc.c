/* pmc.c - CFG within a trust region of the norm (PMC-CFG, 2609.24287): guidance moves along d = c -
 * u as far as G asks, but not so far that x0 gets longer than `growth` times the conditional x0:
 *
 *     c + beta d,   beta = min(G - 1, (-b + sqrt(b^2 + (growth^2 - 1) a q)) / a)
 *     a = <d,d>, b = <c,d>, q = <c,c>
 *
 * The second is where |c + beta d| = growth |c|. Where it is not reached the rule is CFG. */
#include "guide/internal.h"

#include <math.h>

enum { GROWTH };
static const vn_param params[] = {
    {"growth", "largest length of x0, in lengths of the conditional x0", 1.1, 1, 100, 0, NULL},
    {0},
};

static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    const double growth = g->choice.value[GROWTH], b = m->ad + m->dd, /* <c,d> of c = u + d */
        q = m->aa + 2 * m->ad + m->dd;
    const double reach = m->dd > 0 ? (sqrt(b * b + (growth * growth - 1) * m->dd * q) - b) / m->dd
                                   : (double)INFINITY;
    const double beta = fmin(gamma - 1, reach);
    return (vn_pair_weights){1 + beta, -beta};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients space = vn_as_x0(at->level);
    vn_combine_weighed(g, at, p, &space, weigh, out);
}

const vn_guide_row vn_pmc_guide = {
    .row = {"pmc", "CFG as far as x0 gets no longer than it may", "2609.24287", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
