/* tcd.c - strategic stochastic sampling of trajectory consistency distillation (2402.19159;
 * diffusers' TCDScheduler): a step to a level s below the next one, then renoising up to it by the
 * forward process. eta is the paper's gamma.
 *
 *     t_s = (1 - eta) t'                      on whole steps of a discrete path
 *     x_s = alpha_s x0 + sigma_s eps
 *     x'  = alpha'/alpha_s x_s + sqrt(sigma'^2 - (alpha'/alpha_s)^2 sigma_s^2) z
 *
 * eta = 0 is DDIM; eta = 1 steps to data and renoises from there. No step ends at alpha = 0. */
#include "sample/internal.h"

#include <math.h>

enum { ETA };
static const vn_param params[] = {
    {"eta", "how far below the next level a step goes: 0 not, 1 to data", 0.3, 0, 1, 0, NULL},
    {0},
};

/* The level s. It is never above `to`, which may not be on the path's curve. */
static vn_level below(const vn_path *p, const vn_level *to, double eta) {
    if (eta == 0 || to->sigma == 0) return *to;
    const double t = (1 - eta) * to->t, step = floor((1 - eta) * (to->t * p->steps - 1) + 1e-9);
    const vn_level l = p->steps ? vn_path_level_of_step(p, fmax(step, 0)) : vn_path_level(p, t);
    return vn_level_ratio(&l) < vn_level_ratio(to) ? l : *to;
}

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    const vn_level *to = s->to, l = below(s->path, to, s->choice->value[ETA]);
    const vn_renoise r = {.down = to->alpha / l.alpha * l.sigma,
                          .up = sqrt(vn_step_variance(to, &l))};
    vn_step_renoise(s, p, &r, 1, p.eps);
    return VN_OK;
}

const vn_sampler_row vn_tcd_sampler = {
    .row = {"tcd", "below the next level along the ODE, then noise up to it", "2402.19159", params},
    .spacing = VN_SPACING_WHOLE,
    .abilities = VN_NEEDS_X0_EPS,
    .slots = 2,
    .step = step,
    .jumps = true,
};
