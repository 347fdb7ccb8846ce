/* consistency.c - multistep consistency sampling (2303.01469, algorithm 1) and its variants: the
 * x0-prediction is renoised to the next level with new noise only. They are made for consistency
 * models, whose x0 is a sample and not a mean.
 *
 *     consistency   x' = alpha' (x0 + noise sqrt(s'^2 - sigma_min^2) z)    s = sigma/alpha; x0 has
 *                                                                          noise sigma_min left
 *     lcm           x' = alpha' x0 + sigma' z, in the last step x0         (2310.04378)
 *     scm           x' = alpha' x0 + sigma' z                              (2410.11081)
 *
 * They are diffusers' CMStochasticIterativeScheduler, LCMScheduler and SCMScheduler. The rest of
 * those classes belongs to the model: the boundary conditions c_skip and c_out make F into x0
 * (lcm's change x0 by less than 1e-5 from step 19 on; its parameter `scaling` adds them), and sCM's
 * cos(t') x0 + sin(t') sigma_data z is the line above with alpha'/sigma' = cot(t')/sigma_data. All
 * three are finite at alpha = 0. */
#include "sample/internal.h"

#include <math.h>

enum { FLOOR, NOISE };
static const vn_param params[] = {
    {"sigma_min", "sigma/alpha of the noise that the model leaves in", 0.002, 0, 1, 0, NULL},
    {"noise", "standard deviation of the new noise", 1, 0, 2, 0, NULL},
    {0},
};

static void renoise(vn_step *s, vn_estimate p, const vn_level *to, double deviation) {
    vn_step_noise(s, 0, p.eps);
    vn_step_blend(s, to->alpha, p.x0, deviation, p.eps, s->x);
}

static vn_status jump(vn_step *s, const vn_level *to, double deviation, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (!status) renoise(s, p, to, deviation);
    return status;
}

static vn_status consistency_step(vn_step *s, vn_err *err) {
    const double *value = s->choice->value, left_in = value[FLOOR] * s->to->alpha,
                 sigma = s->to->sigma;
    return jump(s, s->to, value[NOISE] * sqrt(fmax(sigma * sigma - left_in * left_in, 0)), err);
}

enum { SCALING };
static const vn_param lcm_params[] = {
    {"scaling", "timestep_scaling of the boundary conditions, on a discrete path; 0: without them",
     0, 0, 1e6, 0, NULL},
    {0},
};

static vn_status lcm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[SCALING] == 0 || d->path->steps) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "lcm: scaling is for discrete paths, such as ddpm; %s is continuous",
                   d->path->row->row.name);
}

/* x0 becomes c_out x0 + c_skip x, with q = scaling times the step, c_skip = sd^2 / (q^2 + sd^2),
 * c_out = q / sqrt(q^2 + sd^2). */
static void keep_boundary(vn_step *s, float *x0) {
    const double sd = 0.5, q = s->choice->value[SCALING] * (s->from->t * s->path->steps - 1),
                 r = q * q + sd * sd;
    vn_step_blend(s, q / sqrt(r), x0, sd * sd / r, s->x, x0);
}

static vn_status lcm_step(vn_step *s, vn_err *err) {
    const vn_level *to = s->index == s->count - 1 ? &vn_level_clean : s->to;
    const vn_estimate p = {s->slot[0], s->slot[1]};
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    if (s->choice->value[SCALING] > 0) keep_boundary(s, p.x0);
    renoise(s, p, to, to->sigma);
    return VN_OK;
}

static vn_status scm_step(vn_step *s, vn_err *err) {
    return jump(s, s->to, s->to->sigma, err);
}

const vn_sampler_row vn_consistency_sampler = {
    .row = {"consistency", "x0, then new noise up to the next level; for consistency models",
            "2303.01469", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 2,
    .step = consistency_step,
    .jumps = true,
};

const vn_sampler_row vn_lcm_sampler = {
    .row = {"lcm", "the same for latent consistency models: ends in x0", "2310.04378", lcm_params},
    .spacing = VN_SPACING_WHOLE,
    .slots = 2,
    .check = lcm_check,
    .step = lcm_step,
    .jumps = true,
};

const vn_sampler_row vn_scm_sampler = {
    .row = {"scm", "the same for continuous-time consistency models (TrigFlow)", "2410.11081",
            NULL},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 2,
    .step = scm_step,
    .jumps = true,
};
