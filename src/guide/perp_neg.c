/* perp_neg.c - Perp-Neg (2304.04968): of a negative condition's delta n = c_i - u only the part
 * that is perpendicular to the positive one, d = c - u, is subtracted, so that what the two
 * conditions have in common stays:
 *
 *     u + gamma (d - w (n - <n,d>/<d,d> d))
 *
 * It is an addition to a rule that has made u + gamma d; it is named once for each negative class.
 * At gamma = 1 there is no guidance, and it does nothing. The paper measures in eps; deltas at one
 * level are proportional in all spaces, so <n,d>/<d,d> is the same in each. */
#include "guide/internal.h"

enum { CLASS, WEIGHT };
static const vn_param params[] = {
    {"class", "the class to take away", 0, 0, 1e6, VN_PARAM_CONDITION, NULL},
    {"weight", "how much of it", 1, 0, 1000, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[WEIGHT] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "perp-neg: weight=0 has no effect");
    return VN_OK;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    if (!vn_guidance_acts(at)) return;
    const vn_pass n = vn_pass_of_class(g, at, (int32_t)g->choice.value[CLASS]),
                  c = vn_conditional(at), u = vn_null(at);
    vn_plan_pass(p, &n);
    vn_plan_pass(p, &c);
    vn_plan_pass(p, &u);
}

/* <n,d>/<d,d> of one sample; 0 where d is 0. */
static double share(size_t size, const float *n, const float *c, const float *u) {
    double nd = 0, dd = 0;
    for (size_t j = 0; j < size; j++) {
        const double d = (double)c[j] - (double)u[j];
        nd += ((double)n[j] - (double)u[j]) * d;
        dd += d * d;
    }
    return dd > 0 ? nd / dd : 0;
}

/* Subtracts amount (n - u - ratio d) from x0 or from eps, and shifts the other so that
 * x = alpha x0 + sigma eps still holds. */
static void take_away(size_t size, double amount, double ratio, const float *n, const float *c,
                      const float *u, float *out, float *other) {
    const float a = (float)amount, k = (float)share(size, n, c, u), r = (float)(amount * ratio);
    for (size_t j = 0; j < size; j++) {
        const float rest = n[j] - u[j] - k * (c[j] - u[j]);
        out[j] -= a * rest;
        other[j] += r * rest;
    }
}

/* Computed in x0 or in eps, whichever has the larger deltas: in the other they may be lost to
 * rounding. */
static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    if (!vn_guidance_acts(at)) return;
    const vn_pass of_n = {.condition = g->condition}, of_c = vn_conditional(at), of_u = vn_null(at);
    const vn_estimate *n = vn_plan_pass(p, &of_n), *c = vn_plan_pass(p, &of_c),
                      *u = vn_plan_pass(p, &of_u);
    const size_t size = (size_t)g->denoiser->size;
    const double alpha = at->level->alpha, sigma = at->level->sigma,
                 amount = at->gamma * g->choice.value[WEIGHT];
    for (size_t i = 0; i < (size_t)at->n * size; i += size)
        if (sigma >= alpha)
            take_away(size, amount, alpha / sigma, n->x0 + i, c->x0 + i, u->x0 + i, out->x0 + i,
                      out->eps + i);
        else
            take_away(size, amount, sigma / alpha, n->eps + i, c->eps + i, u->eps + i, out->eps + i,
                      out->x0 + i);
}

const vn_guide_row vn_perp_neg_guide = {
    .row = {"perp-neg", "takes away what another class does not share with the condition",
            "2304.04968", params},
    .stage = VN_GUIDE_ADDITION,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .repeatable = true,
    .passes = 3,
    .check = check,
    .plan = plan,
    .combine = combine,
};
