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

static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    const double most = g->choice.value[MOST] * acos(-1.0) / 180;
    const double uu = m->aa, uc = m->aa + m->ad, cc = m->aa + 2 * m->ad + m->dd;
    /* |u||c| sin, which c - u gives without the loss of digits that c itself would have */
    const double across = sqrt(fmax(0, m->aa * m->dd - m->ad * m->ad));
    const double theta = atan2(across, uc), turn = (gamma - 1) * theta,
                 w = fmax(-most, fmin(turn, most)), sine = uu * cc > 0 ? across / sqrt(uu * cc) : 0;
    const double ratio = sine > 1e-3 ? sin(w) / sine : gamma - 1;
    return (vn_pair_weights){cos(w) + ratio, uu > 0 ? -ratio * uc / uu : 0};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients space = vn_as_x0(at->level);
    vn_combine_weighed(g, at, p, &space, weigh, out);
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
