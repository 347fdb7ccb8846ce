/* smc.c - CFG under sliding-mode control, SMC-CFG (2603.03281): d = c - u is the error of a
 * controller, which is driven along a line on which it vanishes. In velocity, number by number,
 *
 *     s = (d - d_before) + lambda d_before,   u + G (d - k sign(s))
 *
 * d_before is that of the step before, 0 in the first. A step counts with its first prediction,
 * so that all predictions of a step follow one ODE. k is in the units of a flow's velocity
 * dx/dt: on the rectified path it is the paper's, on others that of the curve (alpha, sigma) at
 * the same speed. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

enum { LAMBDA, K };
enum { BEFORE, LAST, SLOTS };
static const vn_param params[] = {
    {"lambda", "how fast the error is to fall", 5, 0, 1000, 0, NULL},
    {"k", "how much of it is taken away in a step, of each number", 0.2, 1e-9, 1000, 0, NULL},
    {0},
};

/* The speed of the rectified path, at which k is measured. */
#define FLOW_SPEED 1.4142135623730951

/* d = c - u of a number, in the space: from x0 or eps, in whichever it is larger. */
static double difference(const vn_coefficients *space, const vn_estimate *c, const vn_estimate *u,
                         size_t i) {
    return fabs(space->x0_raw) >= fabs(space->eps_raw)
               ? ((double)c->x0[i] - (double)u->x0[i]) / space->x0_raw
               : ((double)c->eps[i] - (double)u->eps[i]) / space->eps_raw;
}

static double sign(double s) {
    return s > 0 ? 1 : s < 0 ? -1 : 0;
}

/* The first prediction of a step: what it kept becomes what was before, and d is kept. */
static void remember(vn_guide *g, const vn_guide_at *at, const vn_coefficients *space,
                     const vn_estimate *c, const vn_estimate *u) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    if (at->history > 0)
        memcpy(g->slot[BEFORE], g->slot[LAST], n * sizeof(float));
    else
        memset(g->slot[BEFORE], 0, n * sizeof(float));
    for (size_t i = 0; i < n; i++) g->slot[LAST][i] = (float)difference(space, c, u, i);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients velocity = vn_as_velocity(at->level);
    const double lambda = g->choice.value[LAMBDA], k = g->choice.value[K] / FLOW_SPEED;
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    if (at->request == 0) remember(g, at, &velocity, c, u);
    for (size_t i = 0; i < (size_t)at->n * size; i++) {
        if (at->condition[i / size] == at->null[i / size]) continue;
        const double d = difference(&velocity, c, u, i), before = (double)g->slot[BEFORE][i];
        const double less = k * sign(d - before + lambda * before);
        out->x0[i] = (float)((double)u->x0[i] + at->gamma * ((double)c->x0[i] - (double)u->x0[i] -
                                                             velocity.x0_raw * less));
        out->eps[i] =
            (float)((double)u->eps[i] +
                    at->gamma * ((double)c->eps[i] - (double)u->eps[i] - velocity.eps_raw * less));
    }
}

const vn_guide_row vn_smc_guide = {
    .row = {"smc", "CFG whose delta is driven to 0 by sliding-mode control", "2603.03281", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION | VN_NEEDS_STEPS,
    .passes = 2,
    .slots = SLOTS,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
