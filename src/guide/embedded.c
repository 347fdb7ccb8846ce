/* embedded.c - guidance that a network was taught to do by itself: it takes G as an input, and one
 * pass is what two would have been combined to (2210.03142; Flux). Other rules leave that input as
 * the model has it by default and guide from outside. */
#include "guide/internal.h"

static vn_pass guided(const vn_guide_at *at) {
    vn_pass p = vn_conditional(at);
    p.guidance = &at->gamma;
    return p;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass pass = guided(at);
    vn_plan_pass(p, &pass);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass pass = guided(at);
    vn_copy_estimate((size_t)(at->n * g->denoiser->size), *out, vn_plan_pass(p, &pass));
}

const vn_guide_row vn_embedded_guide = {
    .row = {"embedded", "one pass of a network that takes G as an input", "2210.03142", NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_EMBEDDED,
    .passes = 1,
    .plan = plan,
    .combine = combine,
};
