/* renoise.c - what samplers with noise share. A step with noise keeps part of the noise of x and
 * draws the rest anew, so that both together are that of the next level:
 *
 *     x' = alpha' x0 + down eps + up z        down^2 + up^2 = sigma'^2,  z ~ N(0, I)
 *
 * which is exact for a constant x0. Two rules determine how much is new, with s = sigma/alpha:
 *
 *     ancestral   up   = eta sigma' sqrt(1 - (s'/s)^2)   eta times the deviation of x' for known x
 *                                                        and x0 (k-diffusion)
 *     sde         down = sigma' (s'/s)^eta               the reverse SDE with eta times its noise's
 *                                                        variance (2211.01095)
 *
 * With eta = 1 both are the reverse SDE, down = sigma' s'/s; with eta = 0 the ODE. At alpha = 0,
 * where s is infinite, s'/s is 0: the noise of x is replaced by new noise (all of it for eta =
 * 1). */
#include "sample/internal.h"

#include <math.h>

vn_renoise vn_renoise_ancestral(const vn_level *from, const vn_level *to, double eta) {
    const double q = vn_step_ratio(from, to), share = eta * sqrt((1 - q) * (1 + q));
    return (vn_renoise){.down = to->sigma * sqrt((1 - share) * (1 + share)),
                        .up = to->sigma * share};
}

vn_renoise vn_renoise_sde(const vn_level *from, const vn_level *to, double eta) {
    const double q = vn_step_ratio(from, to), kept = pow(q, eta);
    const double fresh = q > 0 ? sqrt(-expm1(2 * eta * log(q))) : sqrt((1 - kept) * (1 + kept));
    return (vn_renoise){.down = to->sigma * kept, .up = to->sigma * fresh};
}

/* ---- parameters ------------------------------------------------------------------------------ */

enum { ETA, NOISE };
const vn_param vn_noise_params[] = {VN_NOISE_PARAMS, {0}};

vn_status vn_noise_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[ETA] > 0 || !c->given[NOISE]) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: noise has no effect with eta 0", c->row->name);
}

/* ---- on a discrete path ---------------------------------------------------------------------- */

vn_level vn_step_target(const vn_step *s, int spacing) {
    const int steps = s->path->steps;
    if (spacing != VN_TARGET_EVEN) return *s->to;
    const double step = rint(s->from->t * steps - 1) - floor((double)steps / s->count);
    return step >= 0 ? vn_path_level_of_step(s->path, step) : s->from[s->count - s->index];
}

vn_status vn_target_check(const vn_choice *c, int param, const vn_denoiser *d, vn_err *err) {
    if (c->value[param] == VN_TARGET_NEXT || d->path->steps) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s: spacing=even is for discrete paths, such as ddpm; %s is continuous",
                   c->row->name, d->path->row->row.name);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

void vn_step_blend(const vn_step *s, double a, const float *x, double b, const float *y,
                   float *out) {
    const float fa = (float)a, fb = (float)b;
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) out[i] = fa * x[i] + fb * y[i];
}

void vn_step_renoise(vn_step *s, vn_estimate p, const vn_renoise *r, double noise, float *z) {
    vn_step_blend(s, s->to->alpha, p.x0, r->down, p.eps, s->x);
    vn_step_add_noise(s, noise * r->up, 0, s->x, z);
}

void vn_step_toward_x0(const vn_step *s, double down, const float *x0) {
    const double keep = down / s->from->sigma;
    vn_step_blend(s, keep, s->x, s->to->alpha - s->from->alpha * keep, x0, s->x);
}

void vn_step_add_noise(const vn_step *s, double deviation, int draw, float *x, float *z) {
    if (deviation == 0) return;
    vn_step_noise(s, draw, z);
    vn_step_blend(s, 1, x, deviation, z, x);
}
