/* adaptive.c - adaptive guidance (2312.12487): late in a sampling run the conditional and the null
 * prediction point the same way, and guidance changes little. Once the cosine of the two x0 is
 * above `cos`, a sample goes on with the conditional prediction alone, and its null pass is not run
 * again:
 *
 *     <c,u> / (|c| |u|) > cos      c, u the x0 of one sample
 *
 * It is measured in x0: the eps of the two are near each other while x is mostly noise, where
 * guidance matters most. It is measured at the first prediction of a step, so that all predictions
 * of a step follow one ODE, and acts from the next step on. When a run goes back to more noise all
 * samples are guided again. A sample decides for itself, whatever its batch. */
#include "guide/internal.h"

#include <math.h>

enum { COS };
static const vn_param params[] = {
    {"cos", "cosine of the two x0 above which the null pass is left out", 0.991, 0, 1, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[COS] < 1) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "adaptive: cos=1 has no effect: no cosine is above it");
}

static bool measures(const vn_guide_at *at) {
    return at->request == 0 && at->gamma != 0 && vn_guidance_acts(at);
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    if (measures(at)) vn_plan_conditional_and_null(g, at, p);
}

static double cosine(size_t size, const float *a, const float *b) {
    double aa = 0, ab = 0, bb = 0;
    for (size_t j = 0; j < size; j++) {
        aa += (double)a[j] * (double)a[j];
        ab += (double)a[j] * (double)b[j];
        bb += (double)b[j] * (double)b[j];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* Leaves the prediction as it is: both passes have been run for it. */
static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)out;
    if (!measures(at)) return;
    const vn_pass of_c = vn_conditional(at), of_u = vn_null(at);
    const vn_estimate *c = vn_plan_pass(p, &of_c), *u = vn_plan_pass(p, &of_u);
    const size_t size = (size_t)g->denoiser->size;
    for (size_t i = 0; i < (size_t)at->n; i++)
        if (at->condition[i] != at->null[i] &&
            cosine(size, c->x0 + i * size, u->x0 + i * size) > g->choice.value[COS])
            at->unguided[i] = true;
}

const vn_guide_row vn_adaptive_guide = {
    .row = {"adaptive", "the conditional pass alone, once it points where the null one does",
            "2312.12487", params},
    .stage = VN_GUIDE_FINISH,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION | VN_NEEDS_STEPS,
    .rule_needs = VN_NEEDS_NULL,
    .passes = 2,
    .check = check,
    .plan = plan,
    .combine = combine,
};
