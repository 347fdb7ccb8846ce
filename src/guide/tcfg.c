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

static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    (void)g;
    const double across = 2 * (m->aa + m->ad), along = 2 * m->ad + m->dd, r = hypot(across, along);
    /* no main direction: u */
    const double of_c = r > 0 ? across / r / 2 : 0, of_u = r > 0 ? (1 - along / r) / 2 : 1;
    return (vn_pair_weights){gamma + (1 - gamma) * of_c, (1 - gamma) * of_u};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients space = vn_as_eps(at->level);
    vn_combine_weighed(g, at, p, &space, weigh, out);
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
