/* adg.c - angle-domain guidance (2506.11039): guidance turns x0 and does not lengthen it as CFG
 * does. With theta the angle between the x0 c and u of one sample, and e the part of c
 * perpendicular to u,
 *
 *     cos(w) c + sin(w)/sin(theta) e,   w = min((G - 1) theta, most)
 *
 * Where c and u are nearly parallel, sin(theta) <= 1e-3, the ratio is its limit, G - 1. eps
 * follows x0. G below 1 turns the other way. */
#include "guide/internal.h"

#include <math.h>

enum { MOST };
static const vn_param params[] = {
    {"most", "largest angle by which x0 is turned, in degrees", 60, 0.001, 180, 0, NULL},
    {0},
};

/* The weights of c and u; m: of u and c - u, in x0. */
static void weigh(const vn_gram *m, double gamma, double most, double *of_c, double *of_u) {
    const double uu = m->aa, uc = m->aa + m->ad, cc = m->aa + 2 * m->ad + m->dd;
    /* |u||c| sin, which c - u gives without the loss of digits that c itself would have */
    const double across = sqrt(fmax(0, m->aa * m->dd - m->ad * m->ad));
    const double theta = atan2(across, uc), turn = (gamma - 1) * theta,
                 w = fmax(-most, fmin(turn, most)), sine = uu * cc > 0 ? across / sqrt(uu * cc) : 0;
    const double ratio = sine > 1e-3 ? sin(w) / sine : gamma - 1;
    *of_c = cos(w) + ratio;
    *of_u = uu > 0 ? -ratio * uc / uu : 0;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients x0 = vn_as_x0(at->level);
    const double most = g->choice.value[MOST] * acos(-1.0) / 180;
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        if (at->condition[i] == at->null[i]) continue;
        const vn_gram m = vn_gram_of(&x0, size, u, c, i);
        double of_c, of_u;
        weigh(&m, at->gamma, most, &of_c, &of_u);
        vn_blend_row(&x0, size, i, at->x, of_c, c, of_u, u, out);
    }
}

const vn_guide_row vn_adg_guide = {
    .row = {"adg", "turns x0 away from the null one, and does not lengthen it", "2506.11039",
            params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
