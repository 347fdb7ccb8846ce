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

/* m: of the conditional x0 and of u - c. */
static double reach(const vn_gram *m, double growth) {
    const double a = m->dd, b = -m->ad;
    return a > 0 ? (sqrt(b * b + (growth * growth - 1) * a * m->aa) - b) / a : (double)INFINITY;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients x0 = vn_as_x0(at->level);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        if (at->condition[i] == at->null[i]) continue;
        const vn_gram m = vn_gram_of(&x0, size, c, u, i);
        const double beta = fmin(at->gamma - 1, reach(&m, g->choice.value[GROWTH]));
        vn_blend_row(&x0, size, i, at->x, 1 + beta, c, -beta, u, out);
    }
}

const vn_guide_row vn_pmc_guide = {
    .row = {"pmc", "CFG as far as x0 gets no longer than it may", "2609.24287", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
