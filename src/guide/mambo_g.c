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

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients velocity = vn_as_velocity(at->level);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const vn_gram m = vn_gram_of(&velocity, size, u, c, i);
        /* infinite where u = 0: no guidance */
        const double ratio = m.dd > 0 ? sqrt(m.dd / m.aa) : 0;
        const double gamma = 1 + (at->gamma - 1) * exp(-g->choice.value[ALPHA] * ratio);
        vn_blend_row(&velocity, size, i, at->x, gamma, c, 1 - gamma, u, out);
    }
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
