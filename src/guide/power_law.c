/* power_law.c - power-law CFG (2502.07849): more guidance where conditional and null eps differ
 * much, as they do early, and less where they agree. Of each sample, with d = c - u in eps,
 *
 *     c + (G - 1) |d|^alpha d
 *
 * |d| is a length, which grows with the root of the count of numbers: the G that suits one size
 * is too large for a larger one. */
#include "guide/internal.h"

#include <math.h>

enum { ALPHA };
static const vn_param params[] = {
    {"alpha", "power of the length of the delta; 0 is cfg", 0.9, -0.9, 4, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[ALPHA] != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "power-law: alpha=0 is cfg");
}

static vn_pair_weights weigh(const vn_guide *g, double gamma, const vn_gram *m) {
    const double more = m->dd > 0 ? (gamma - 1) * pow(m->dd, g->choice.value[ALPHA] / 2) : 0;
    return (vn_pair_weights){1 + more, -more};
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_coefficients space = vn_as_eps(at->level);
    vn_combine_weighed(g, at, p, &space, weigh, out);
}

const vn_guide_row vn_power_law_guide = {
    .row = {"power-law", "CFG, more where conditional and null eps differ much", "2502.07849",
            params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .check = check,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
