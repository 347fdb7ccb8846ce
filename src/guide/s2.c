/* s2.c - S2-guidance (2508.12880, stochastic self-guidance): away from the network without a few of
 * its blocks, which are drawn anew at every evaluation, so that none has to be chosen:
 *
 *     out + scale (c - c')        c' the conditional pass without the blocks drawn
 *
 * the paper's second version, whose weights leave the sum of all as it is. Each sample draws for
 * itself, by (seed, sample, step, prediction), so it is the same in every batch; samples that
 * drew the same are run together. `blocks` neighbouring ones are left out, by default a tenth of
 * all, which is one in networks of up to 19. */
#include "guide/internal.h"

#include <math.h>

enum { SCALE, BLOCKS };
static const vn_param params[] = {
    {"scale", "how far from the prediction without blocks", 0.25, -1e6, 1e6, 0, NULL},
    {"blocks", "how many neighbouring ones are left out; 0: a tenth of all, but at least one", 0, 0,
     65535, 1, NULL},
    {0},
};

static int drawn_blocks(const vn_choice *c, const vn_denoiser *d) {
    const int tenth = d->layers / 10;
    return c->value[BLOCKS] > 0 ? (int)c->value[BLOCKS] : tenth > 1 ? tenth : 1;
}

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[SCALE] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "s2: scale=0 has no effect");
    if (!d->layers || drawn_blocks(c, d) < d->layers) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "s2: %d blocks: this model has %d, of which some stay",
                   drawn_blocks(c, d), d->layers);
}

/* The same pass each time it is called during one prediction. */
static vn_pass without_blocks(vn_guide *g, const vn_guide_at *at) {
    const int count = drawn_blocks(&g->choice, g->denoiser);
    vn_pass pass = vn_conditional(at);
    for (int64_t i = 0; i < at->n; i++) {
        const double u = vn_guide_draw(at, i);
        const int first = (int)(u * (g->denoiser->layers - count + 1));
        g->perturbs[i] =
            (vn_perturb){.kind = VN_BLOCKS_SKIPPED, .first = first, .last = first + count - 1};
    }
    pass.perturbs = g->perturbs;
    return pass;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass c = vn_conditional(at), d = without_blocks(g, at);
    vn_plan_pass(p, &c);
    vn_plan_pass(p, &d);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass c = vn_conditional(at), d = without_blocks(g, at);
    vn_add_difference((size_t)(at->n * g->denoiser->size), g->choice.value[SCALE],
                      vn_plan_pass(p, &c), vn_plan_pass(p, &d), *out);
}

const vn_guide_row vn_s2_guide = {
    .row = {"s2", "away from the model without a few blocks, drawn anew each time", "2508.12880",
            params},
    .stage = VN_GUIDE_ADDITION,
    .perturbations = VN_BLOCKS_SKIPPED,
    .draws_perturbs = true,
    .passes = 2,
    .check = check,
    .plan = plan,
    .combine = combine,
};
