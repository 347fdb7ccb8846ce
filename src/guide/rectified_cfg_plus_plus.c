/* rectified_cfg_plus_plus.c - Rectified-CFG++ (2510.07631): guidance is evaluated where a step
 * along the conditional flow leads, so that the sample stays near the states that the model was
 * trained on:
 *
 *     x~ = x + (t' - t) v_c(x, t)
 *     v  = v_c(x, t) + lambda (v_c(x~, t') - v_u(x~, t'))
 *
 * with lambda = gamma - 1, so that gamma = 1 is the conditional model. On paths other than the
 * rectified one x~ = alpha' x0 + sigma' eps, and velocities are by the length of the curve (alpha,
 * sigma), because those of two levels are added here. For an evaluation at t' itself x~ is x, which
 * is CFG. At sigma' = 0 the velocities under all conditions are equal, and the last step is the
 * conditional one. */
#include "guide/internal.h"

static const vn_level *ahead(const vn_guide_at *at) {
    return at->next ? at->next : at->level;
}

static bool corrects(const vn_guide_at *at) {
    return vn_guidance_acts(at) && ahead(at)->sigma > 0;
}

static vn_pass predicted(const vn_guide *g, const vn_guide_at *at, const vn_condition *condition) {
    return (vn_pass){.condition = condition, .x = g->slot[0], .level = ahead(at)};
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass of_c = vn_conditional(at);
    const vn_estimate *c = vn_plan_pass(p, &of_c);
    if (!c || !corrects(at)) return;
    const float a = (float)ahead(at)->alpha, b = (float)ahead(at)->sigma;
    float *x = g->slot[0];
    for (size_t i = 0; i < (size_t)(at->n * g->denoiser->size); i++)
        x[i] = a * c->x0[i] + b * c->eps[i];
    const vn_pass c_ahead = predicted(g, at, at->condition), u_ahead = predicted(g, at, at->null);
    vn_plan_pass(p, &c_ahead);
    vn_plan_pass(p, &u_ahead);
}

/* A change of raw by k (p dx0 + q deps) changes x0 by x0_raw times that, and eps by eps_raw times
 * that. */
static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    const vn_pass of_c = vn_conditional(at), of_ca = predicted(g, at, at->condition),
                  of_ua = predicted(g, at, at->null);
    vn_copy_estimate(n, *out, vn_plan_pass(p, &of_c));
    if (!corrects(at)) return;
    const vn_estimate *c = vn_plan_pass(p, &of_ca), *u = vn_plan_pass(p, &of_ua);
    const vn_coefficients here = vn_as_velocity(at->level), there = vn_as_velocity(ahead(at));
    const double lambda = at->gamma - 1;
    for (size_t i = 0; i < n; i++) {
        const double dx0 = (double)c->x0[i] - (double)u->x0[i],
                     deps = (double)c->eps[i] - (double)u->eps[i];
        const double dv = lambda * (there.raw_x0 * dx0 + there.raw_eps * deps);
        out->x0[i] += (float)(here.x0_raw * dv);
        out->eps[i] += (float)(here.eps_raw * dv);
    }
}

const vn_guide_row vn_rectified_cfg_plus_plus_guide = {
    .row = {"rectified-cfg-plus-plus",
            "conditional velocity, guided by the difference where it leads", "2510.07631", NULL},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 3,
    .slots = 1,
    .plan = plan,
    .combine = combine,
};
