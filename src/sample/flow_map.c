/* flow_map.c - the step of a flow map: a network that takes the end of the step answers with the
 * average velocity u over it (MeanFlow 2505.13447, shortcut models 2410.12557), and
 *
 *     x_r = x_t - (t - r) u
 *
 * is exact however long the step is: 1, 2 or 4 steps, as there is time for. The estimate (x0, eps)
 * is that of a velocity, u = alpha' x0 + sigma' eps and x_t = alpha x0 + sigma eps at t. */
#include "sample/internal.h"

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (d->can & VN_TAKES_TO) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the sampler %s needs a network that takes the end of a step, as the objectives "
                   "mean-flow and shortcut train them",
                   c->row->name);
}

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const vn_request request = {.x = s->x, .level = s->from, .to = s->to};
    const vn_status status = vn_step_predict_request(s, &request, p, err);
    if (status) return status;
    const vn_level *at = s->from;
    const double back = s->to->t - at->t;
    vn_step_blend(s, at->alpha + back * at->dalpha, p.x0, at->sigma + back * at->dsigma, p.eps,
                  s->x);
    return VN_OK;
}

const vn_sampler_row vn_flow_map_sampler = {
    .row = {"flow-map", "the average velocity over the step; for networks that take its end",
            "2505.13447", NULL},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_X0_EPS,
    .slots = 2,
    .check = check,
    .step = step,
};
