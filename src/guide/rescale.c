/* rescale.c - guidance rescale (2305.08891, section 3.4): strong guidance makes the standard
 * deviation of the prediction grow; this brings it back towards that of the conditional prediction,
 * for each sample:
 *
 *     phi pred std(c)/std(pred) + (1 - phi) pred
 *
 * The result depends on the space. The paper's network predicts v, and programs apply the rule to
 * whatever their network predicts; so does vane, to the model's own prediction. One
 * that is constant is left as it is. */
#include "guide/internal.h"

#include <math.h>

enum { PHI };
static const vn_param params[] = {
    {"phi", "how far: 0 not at all, 1 to the conditional deviation", 0.7, 0, 1, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[PHI] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "rescale: phi=0 has no effect");
    if (d->size < 2)
        return vn_fail(err, VN_BAD_ARGUMENT, "rescale: a sample of one number has no deviation");
    return VN_OK;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass c = vn_conditional(at);
    vn_plan_pass(p, &c);
}

/* Standard deviation of raw = p x0 + q eps in one row. Two passes over the row, because the mean
 * may be large. */
static double deviation(const vn_coefficients *m, size_t size, const vn_estimate *estimate,
                        size_t row) {
    const float *x0 = estimate->x0 + row * size, *eps = estimate->eps + row * size;
    double mean = 0, sum = 0;
    for (size_t j = 0; j < size; j++)
        mean += m->raw_x0 * (double)x0[j] + m->raw_eps * (double)eps[j];
    mean /= (double)size;
    for (size_t j = 0; j < size; j++) {
        const double d = m->raw_x0 * (double)x0[j] + m->raw_eps * (double)eps[j] - mean;
        sum += d * d;
    }
    return sqrt(sum / (double)(size - 1));
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const double phi = g->choice.value[PHI];
    const vn_coefficients m = vn_prediction_coefficients(&g->denoiser->prediction, at->level);
    const vn_pass of_c = vn_conditional(at);
    const vn_estimate *c = vn_plan_pass(p, &of_c);
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const double wide = deviation(&m, size, out, i);
        if (wide > 0)
            vn_blend_row(&m, size, i, at->x, phi * deviation(&m, size, c, i) / wide + 1 - phi, out,
                         0, c, out);
    }
}

const vn_guide_row vn_rescale_guide = {
    .row = {"rescale", "takes the prediction's deviation back to the conditional one's",
            "2305.08891", params},
    .stage = VN_GUIDE_FINISH,
    .passes = 1,
    .check = check,
    .plan = plan,
    .combine = combine,
};
