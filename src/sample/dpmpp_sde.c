/* dpmpp_sde.c - DPM-Solver++ (2211.01095) in single steps with ancestral noise, as in k-diffusion.
 * Both samplers predict x0 at the beginning and in the middle of a step, the middle in
 * lambda = log(alpha/sigma), and make the step as if x0 were constant.
 *
 * dpmpp-2s-a (sample_dpmpp_2s_ancestral): DPM-Solver++(2S) to the ancestral level `down`, then
 * noise `up` (renoise.c):
 *
 *     lambda_mid = (lambda + lambda_down) / 2
 *     x_mid = alpha_mid x0 + sigma_mid eps
 *     x'    = down/sigma x + (alpha' - alpha down/sigma) x0(x_mid) + noise up z
 *
 * dpmpp-sde (sample_dpmpp_sde, r = 1/2 also diffusers' DPMSolverSDEScheduler): the middle has noise
 * of its own. z_mid and z are values of one Brownian motion over s = sigma/alpha, hence correlated:
 *
 *     lambda_mid = lambda + r (lambda' - lambda)
 *     x_mid = alpha_mid x0 + down_mid eps + noise up_mid z_mid
 *     x'    = down/sigma x + (alpha' - alpha down/sigma) (x0 + (x0(x_mid) - x0) / (2 r))
 *             + noise up z
 *     z     = sqrt(q) z_mid + sqrt(1 - q) z_new,   q = (s - s_mid) / (s - s')
 *
 * From alpha = 0 the middle in lambda is the beginning itself; there, and where nothing of eps is
 * kept, the step is of first order: x' = alpha' x0 + down eps + noise up z. */
#include "sample/internal.h"

#include <math.h>

enum { ETA, NOISE, R };
static const vn_param sde_params[] = {
    VN_NOISE_PARAMS,
    {"r", "where in a step the second prediction is made", 0.5, 0.01, 1, 0, NULL},
    {0},
};

/* The level a fraction `part` of the way in lambda from a to the level with this ratio. */
static vn_level between(const vn_path *p, const vn_level *a, double ratio, double part) {
    return vn_path_level_of_ratio(p, pow(vn_level_ratio(a), 1 - part) * pow(ratio, part));
}

static vn_status two_s_a_step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const double *value = s->choice->value;
    const vn_renoise l = vn_renoise_ancestral(s->from, s->to, value[ETA]);
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    if (l.down > 0 && s->from->alpha > 0) {
        const vn_level mid = between(s->path, s->from, l.down / s->to->alpha, 0.5);
        vn_step_blend(s, mid.alpha, p.x0, mid.sigma, p.eps, s->slot[2]);
        status = vn_step_predict(s, s->slot[2], &mid, p, err);
        if (status) return status;
    }
    vn_step_toward_x0(s, l.down, p.x0);
    vn_step_add_noise(s, value[NOISE] * l.up, 0, s->x, p.eps);
    return VN_OK;
}

/* x0 becomes x0 + (x0(x_mid) - x0) / (2 r); z the noise that x_mid was made with. */
static vn_status look_ahead(vn_step *s, const vn_level *mid, vn_estimate p, float *z, vn_err *err) {
    const double *value = s->choice->value, weight = 1 / (2 * value[R]);
    const vn_renoise l = vn_renoise_ancestral(s->from, mid, value[ETA]);
    const vn_estimate there = {s->slot[3], p.eps};
    float *x_mid = s->slot[2];
    vn_step_noise(s, 0, z);
    vn_step_blend(s, mid->alpha, p.x0, l.down, p.eps, x_mid);
    vn_step_blend(s, 1, x_mid, value[NOISE] * l.up, z, x_mid);
    vn_status status = vn_step_predict(s, x_mid, mid, there, err);
    if (!status) vn_step_blend(s, 1 - weight, p.x0, weight, there.x0, p.x0);
    return status;
}

static vn_status sde_step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const vn_level *from = s->from, *to = s->to;
    const double *value = s->choice->value;
    const vn_renoise l = vn_renoise_ancestral(from, to, value[ETA]);
    const double up = value[NOISE] * l.up;
    double q = 0; /* part of the noise's variance that z_mid has */
    float *z = s->slot[4];
    vn_status status = vn_step_predict(s, s->x, from, p, err);
    if (status) return status;
    if (to->sigma > 0 && from->alpha > 0) {
        const vn_level mid = between(s->path, from, vn_level_ratio(to), value[R]);
        const double ratio = vn_level_ratio(from);
        q = fmin((ratio - vn_level_ratio(&mid)) / (ratio - vn_level_ratio(to)), 1);
        status = look_ahead(s, &mid, p, z, err);
        if (status) return status;
    }
    vn_step_toward_x0(s, l.down, p.x0);
    if (q > 0) vn_step_blend(s, 1, s->x, up * sqrt(q), z, s->x);
    vn_step_add_noise(s, up * sqrt(1 - q), 1, s->x, z);
    return VN_OK;
}

const vn_sampler_row vn_dpmpp_2s_a_sampler = {
    .row = {"dpmpp-2s-a", "DPM-Solver++(2S) with ancestral noise", "2211.01095", vn_noise_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_SDE, /* with the default eta */
    .slots = 3,
    .check = vn_noise_check,
    .step = two_s_a_step,
};

const vn_sampler_row vn_dpmpp_sde_sampler = {
    .row = {"dpmpp-sde", "DPM-Solver++ on the SDE, two predictions a step", "2211.01095",
            sde_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_SDE, /* with the default eta */
    .slots = 5,
    .check = vn_noise_check,
    .step = sde_step,
};
