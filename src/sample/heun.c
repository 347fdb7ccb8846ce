/* heun.c - Heun's rule on the probability-flow ODE (2206.00364, algorithm 2). In the straight
 * coordinates y = x/m with time c and slope d = eps - k x0 (path.h):
 *
 *     y' = y + (c' - c) (d(y, c) + d(y_euler, c')) / 2
 *
 * written as Euler's step and half of the slope's change. k = 0 is EDM's and k-diffusion's rule,
 * k = 1 flow matching's. The step to sigma = 0 is Euler's, as in those. */
#include "sample/internal.h"

vn_status vn_step_heun(vn_step *s, const vn_level *level, vn_err *err) {
    const vn_estimate here = {s->slot[0], s->slot[1]}, there = {s->slot[2], s->slot[3]};
    vn_status status = vn_step_predict(s, s->x, level, here, err);
    if (status) return status;
    vn_step_ddim(s, here);
    if (s->to->sigma == 0) return VN_OK;
    status = vn_step_predict(s, s->x, s->to, there, err);
    if (status) return status;
    const double h = vn_path_clock(s->path, s->to) - vn_path_clock(s->path, level);
    const float half = (float)(vn_path_scale(s->path, s->to) * h / 2),
                k = (float)s->path->row->straight_k;
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) {
        float before = here.eps[i] - k * here.x0[i], after = there.eps[i] - k * there.x0[i];
        s->x[i] += half * (after - before);
    }
    return VN_OK;
}

static vn_status step(vn_step *s, vn_err *err) {
    const vn_level hat = vn_step_churn(s, s->slot[0]);
    return vn_step_heun(s, &hat, err);
}

const vn_sampler_row vn_heun_sampler = {
    .row = {"heun", "Heun's rule on the ODE, order 2, with EDM's churn", "2206.00364",
            vn_churn_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 4,
    .check = vn_churn_check,
    .step = step,
};
