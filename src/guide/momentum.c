/* momentum.c - momentum guidance (2602.20360): away from what was predicted in the steps before.
 * With p the velocity that the rule has made, of each sample,
 *
 *     p + alpha (p - m),   then m <- beta m + (1 - beta) p;   m begins as the first p
 *
 * It needs no second pass, so it takes the place of CFG at G = 1, or stands beside it.
 * Velocities are by the length of the curve (alpha, sigma), so that those of different levels
 * can be compared on every path; on the rectified one this is the paper's. The first step has
 * nothing to compare with. */
#include "guide/internal.h"

enum { ALPHA, BETA };
enum { MEAN, LAST, NOW, SLOTS };
static const vn_param params[] = {
    {"alpha", "how far from the average of the steps before", 0.5, -10, 10, 0, NULL},
    {"beta", "how much of the average is kept in a step", 0.6, 0, 0.9999, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[ALPHA] != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "momentum: alpha=0 has no effect");
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const size_t n = (size_t)(at->n * g->denoiser->size);
    const vn_coefficients velocity = vn_as_velocity(at->level);
    const vn_average average = {.mean = MEAN, .last = LAST, .keep = g->choice.value[BETA]};
    float *now = g->slot[NOW];
    for (size_t i = 0; i < n; i++)
        now[i] =
            (float)(velocity.raw_x0 * (double)out->x0[i] + velocity.raw_eps * (double)out->eps[i]);
    const float *mean = vn_average_before(&average, g, at, now);
    for (size_t i = 0; mean && i < n; i++) {
        const double change = g->choice.value[ALPHA] * ((double)now[i] - (double)mean[i]);
        out->x0[i] += (float)(velocity.x0_raw * change);
        out->eps[i] += (float)(velocity.eps_raw * change);
    }
}

const vn_guide_row vn_momentum_guide = {
    .row = {"momentum", "away from the average velocity of the steps before", "2602.20360", params},
    .stage = VN_GUIDE_ADDITION,
    .needs = VN_NEEDS_STEPS,
    .slots = SLOTS,
    .check = check,
    .combine = combine,
};
