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

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients eps = vn_as_eps(at->level);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const double dd = vn_gram_of(&eps, size, u, c, i).dd;
        if (!(dd > 0)) continue;
        const double more = (at->gamma - 1) * pow(dd, g->choice.value[ALPHA] / 2);
        vn_blend_row(&eps, size, i, at->x, 1 + more, c, -more, u, out);
    }
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
