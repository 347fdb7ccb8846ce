/* tcfg.c - tangential damping, TCFG (2503.18137): before CFG the null prediction is projected on
 * the main direction of the two predictions. In eps, for each sample, with the singular value
 * decomposition of the two rows [c; u]:
 *
 *     u' = <u, v1> v1,  v1 the first right singular vector;   u' + gamma (c - u')
 *
 * In closed form: with the leading eigenvector (cos a, sin a) of [[<c,c>, <c,u>], [<c,u>, <u,u>]],
 * u' = sin a (cos a c + sin a u), where tan 2a = 2 <c,u> / (<c,c> - <u,u>). */
#include "guide/internal.h"

#include <math.h>

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients eps = vn_as_eps(at->level);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        if (at->condition[i] == at->null[i]) continue;
        const vn_gram m = vn_gram_of(&eps, size, u, c, i);
        const double across = 2 * (m.aa + m.ad), along = 2 * m.ad + m.dd, r = hypot(across, along);
        /* no main direction: u */
        const double of_c = r > 0 ? across / r / 2 : 0, of_u = r > 0 ? (1 - along / r) / 2 : 1;
        vn_blend_row(&eps, size, i, at->x, at->gamma + (1 - at->gamma) * of_c, c,
                     (1 - at->gamma) * of_u, u, out);
    }
}

const vn_guide_row vn_tcfg_guide = {
    .row = {"tcfg", "CFG on the part of the null eps in the main direction of the two",
            "2503.18137", NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
