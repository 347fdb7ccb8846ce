/* renorm.c - the prediction gets no longer than the conditional one (CFG-Renorm, 2503.21758): with
 * p and c the guided and the conditional velocity of one sample,
 *
 *     p min(1, rho |c| / |p|)
 *
 * The paper's models predict the velocity of a flow; on other paths it is the velocity that follows
 * from what the model predicts. */
#include "guide/internal.h"

#include <math.h>

enum { RHO };
static const vn_param params[] = {
    {"rho", "largest length of the velocity, in lengths of the conditional one", 1, 1e-6, 1e6, 0,
     NULL},
    {0},
};

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass c = vn_conditional(at);
    vn_plan_pass(p, &c);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_coefficients velocity = vn_as_velocity(at->level);
    const vn_pass of_c = vn_conditional(at);
    const vn_estimate *c = vn_plan_pass(p, &of_c);
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const double of_p = vn_gram_of(&velocity, size, out, c, i).aa,
                     most = vn_gram_of(&velocity, size, c, c, i).aa, rho = g->choice.value[RHO];
        if (rho * rho * most < of_p)
            vn_blend_row(&velocity, size, i, at->x, rho * sqrt(most / of_p), out, 0, c, out);
    }
}

const vn_guide_row vn_renorm_guide = {
    .row = {"renorm", "keeps the velocity from getting longer than the conditional one",
            "2503.21758", params},
    .stage = VN_GUIDE_FINISH,
    .passes = 1,
    .plan = plan,
    .combine = combine,
};
