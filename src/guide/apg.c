/* apg.c - adaptive projected guidance (2410.02416, algorithm 1): CFG in x0 whose delta D = c - u is
 * changed in three ways. It has (negative) momentum, its norm is bounded, and it loses the part
 * along the conditional prediction, which is what makes strong guidance oversaturate.
 *
 *     D = (c - u) + beta D_before
 *     D = D min(1, r / |D|)
 *     c + (gamma - 1) (D_perpendicular + eta D_parallel)        to c
 *
 * As in the paper D_before is the delta before its norm was bounded. eps follows x0.
 *
 * A norm grows with the square root of the count of numbers, and the paper's r belongs to its
 * models: 15 to SDXL, whose latents are 4 x 128 x 128. A delta of 3 x 32 x 32 numbers hardly ever
 * reaches that; so where r is not given, it is 15 for as many numbers as SDXL's latents have, and
 * in proportion to the square root of the count for others. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

#define FOR_THE_SIZE (-1.0)
#define SDXL_LIMIT   15.0
#define SDXL_NUMBERS 65536.0

enum { BETA, LIMIT, ETA };
static const vn_param params[] = {
    {"beta", "momentum: how much of the delta before is added; negative: it is damped", -0.5, -1, 1,
     0, NULL},
    {"r",
     "largest norm of a sample's delta; 0: none; -1: the paper's 15 for the 65536 numbers of "
     "SDXL's latents, for other sizes by the root of their count (3.2 for 3 x 32 x 32)",
     FOR_THE_SIZE, FOR_THE_SIZE, 1e9, 0, NULL},
    {"eta", "how much of the part along the conditional prediction is kept", 0, -10, 10, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[LIMIT] >= 0 || c->value[LIMIT] == FOR_THE_SIZE) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "apg: r=%g is not a norm", c->value[LIMIT]);
}

static double limit_of(const vn_guide *g) {
    const double r = g->choice.value[LIMIT];
    return r == FOR_THE_SIZE ? SDXL_LIMIT * sqrt((double)g->denoiser->size / SDXL_NUMBERS) : r;
}

/* For one sample: shift [size] = D_perpendicular + eta D_parallel. momentum [size] is D before its
 * norm was bounded; in: that of the evaluation before, out: that of this one. */
static void project(const double *v, double limit, size_t size, const float *c, const float *u,
                    float *momentum, float *shift) {
    double dd = 0, dc = 0, cc = 0;
    for (size_t j = 0; j < size; j++) {
        const double delta = (double)c[j] - (double)u[j] + v[BETA] * (double)momentum[j];
        momentum[j] = (float)delta;
        dd += delta * delta;
        dc += delta * (double)c[j];
        cc += (double)c[j] * (double)c[j];
    }
    const double scale = limit > 0 && dd > 0 ? fmin(1, limit / sqrt(dd)) : 1;
    const double along = cc > 0 ? (1 - v[ETA]) * dc / cc : 0;
    for (size_t j = 0; j < size; j++)
        shift[j] = (float)(scale * ((double)momentum[j] - along * (double)c[j]));
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_estimate *c, *u;
    float *momentum = g->slot[0], *shift = g->slot[1];
    /* of a sample that adaptive has stopped, no momentum is left of its guidance */
    for (size_t i = 0; i < (size_t)at->n; i++)
        if (at->condition[i] == at->null[i])
            memset(momentum + i * size, 0, size * sizeof *momentum);
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t row = 0; row < (size_t)at->n * size; row += size)
        project(g->choice.value, limit_of(g), size, c->x0 + row, u->x0 + row, momentum + row,
                shift + row);
    vn_shift_estimate(at, g->denoiser->size, shift, at->gamma - 1, out);
}

const vn_guide_row vn_apg_guide = {
    .row = {"apg", "CFG with momentum, a bounded norm, and less along the conditional prediction",
            "2410.02416", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .slots = 2,
    .check = check,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
