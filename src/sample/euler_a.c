/* euler_a.c - Euler's rule with ancestral noise, as in k-diffusion (sample_euler_ancestral): a step
 * on the ODE to a level below the next one, and new noise up to it. It is DDIM with an eta, whose
 * noise may be scaled:
 *
 *     x' = alpha' x0 + down eps + noise up z      (down, up) of the ancestral step, see renoise.c
 *
 * At alpha = 0 and eta = 1 that is alpha' x0 + sigma' z. */
#include "sample/internal.h"

enum { ETA, NOISE };

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const double *value = s->choice->value;
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    const vn_renoise l = vn_renoise_ancestral(s->from, s->to, value[ETA]);
    vn_step_renoise(s, p, &l, value[NOISE], p.eps);
    return VN_OK;
}

const vn_sampler_row vn_euler_a_sampler = {
    .row = {"euler-a", "Euler's rule with ancestral noise", "k-diffusion", vn_noise_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_X0_EPS | VN_NEEDS_SDE, /* the SDE with the default eta */
    .slots = 2,
    .check = vn_noise_check,
    .step = step,
};
