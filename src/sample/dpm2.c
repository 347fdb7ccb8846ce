/* dpm2.c - the midpoint rule of k-diffusion (sample_dpm_2, sample_dpm_2_ancestral; DPM-Solver-2 of
 * 2206.00927 in EDM's coordinates). In the straight coordinates y = x/m with time c and slope
 * d = eps - k x0 (path.h):
 *
 *     c_mid = sqrt(c c')
 *     y_mid = y + (c_mid - c) d(y, c)
 *     y'    = y + (c' - c) d(y_mid, c_mid)
 *
 * k = 0 is the rule of k-diffusion and of diffusers, k = 1 the same on a flow. The step to sigma =
 * 0, where c_mid = c', is Euler's, and so is one from an infinite c (alpha = 0 where k = 0).
 *
 * dpm2-a steps to the ancestral level `down` instead, and adds new noise up to the level:
 *
 *     x' = (alpha'/alpha_down) x_down + noise up z */
#include "sample/internal.h"

#include <math.h>

enum { ETA, NOISE };

/* The rule from s->from to `end`; x becomes `scale` times its result. */
static vn_status midpoint(vn_step *s, const vn_level *end, double scale, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const double clock = vn_path_clock(s->path, s->from), clock_end = vn_path_clock(s->path, end);
    float *half = s->slot[2];
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    if (end->sigma == 0 || isinf(clock)) {
        vn_step_blend(s, scale * end->alpha, p.x0, scale * end->sigma, p.eps, s->x);
        return VN_OK;
    }
    const vn_level mid = vn_path_level_of_clock(s->path, sqrt(clock * clock_end));
    vn_step_blend(s, mid.alpha, p.x0, mid.sigma, p.eps, half);
    status = vn_step_predict(s, half, &mid, p, err);
    if (status) return status;
    const double m_end = scale * vn_path_scale(s->path, end), h = m_end * (clock_end - clock);
    vn_step_blend(s, m_end / vn_path_scale(s->path, s->from), s->x, h, p.eps, s->x);
    if (s->path->row->straight_k) vn_step_blend(s, 1, s->x, -h, p.x0, s->x);
    return VN_OK;
}

static vn_status dpm2_step(vn_step *s, vn_err *err) {
    return midpoint(s, s->to, 1, err);
}

static vn_status dpm2_a_step(vn_step *s, vn_err *err) {
    const double *value = s->choice->value;
    const vn_renoise l = vn_renoise_ancestral(s->from, s->to, value[ETA]);
    const vn_level end = vn_path_level_of_ratio(s->path, l.down / s->to->alpha);
    vn_status status = midpoint(s, &end, s->to->alpha / end.alpha, err);
    if (!status) vn_step_add_noise(s, value[NOISE] * l.up, 0, s->x, s->slot[0]);
    return status;
}

const vn_sampler_row vn_dpm2_sampler = {
    .row = {"dpm2", "midpoint rule on the ODE, order 2", "k-diffusion", NULL},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 3,
    .step = dpm2_step,
};

const vn_sampler_row vn_dpm2_a_sampler = {
    .row = {"dpm2-a", "midpoint rule with ancestral noise", "k-diffusion", vn_noise_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_SDE, /* with the default eta */
    .slots = 3,
    .check = vn_noise_check,
    .step = dpm2_a_step,
};
