/* ddim.c - DDIM (2010.02502) and DDPM's ancestral sampling (2006.11239), which are one rule: x0 and
 * part of eps are moved to the next level, and new noise z replaces the rest of eps.
 *
 *     tau^2 = sigma^2 - (alpha/alpha')^2 sigma'^2   noise of the forward step from the next level
 *                                                   to this one
 *     nu    = tau sigma'/sigma                      deviation of the next state, x0 known
 *     x'    = alpha' x0 + sqrt(sigma'^2 - eta^2 nu^2) eps + eta nu z     the ancestral step of
 *                                                                        renoise.c
 *
 * ddpm is eta = 1. Its noise may have another deviation than nu: tau (variance=large), or tau^f
 * nu^(1-f), where the model has learned f for each number of the sample (variance=learned,
 * 2102.09672). The mean is the same in all three. The last step adds no noise unless `last` asks
 * for it. */
#include "sample/internal.h"

#include <math.h>

enum { ETA, TARGET };
static const vn_param ddim_params[] = {
    {"eta", "0: no noise; 1: that of ddpm", 0, 0, 1, 0, NULL},
    VN_TARGET_PARAM,
    {0},
};

static vn_status ddim_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    return vn_target_check(c, TARGET, d, err);
}

static vn_status ddim_step(vn_step *s, vn_err *err) {
    const double eta = s->choice->value[ETA];
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    const vn_level *next = s->to, target = vn_step_target(s, (int)s->choice->value[TARGET]);
    s->to = &target;
    const vn_renoise r = vn_renoise_ancestral(s->from, s->to, eta);
    vn_step_renoise(s, p, &r, 1, s->slot[2]);
    s->to = next;
    return VN_OK;
}

#define MIN_NOISE 1e-10 /* as diffusers: nu of the last step, for variance=learned */

enum { VARIANCE, LAST };
enum { AUTO, SMALL, LARGE, LEARNED };
static const vn_param ddpm_params[] = {
    {"variance",
     "of the noise: of known x0, of the step forward, as the model learned; auto: the last if it "
     "did, else small",
     AUTO, 0, 3, 1, "auto|small|large|learned"},
    {"last",
     "1: large and learned noise in the last step too, unless it begins on step 0, as in diffusers",
     0, 0, 1, 1, NULL},
    {0},
};

static vn_status ddpm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[LAST] != 0 && (c->value[VARIANCE] == SMALL || !d->path->steps))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "ddpm: last has no effect with variance=small, nor on a continuous path");
    if (c->value[VARIANCE] != LEARNED || (d->can & VN_CAN_VARIANCE)) return VN_OK;
    return vn_fail(
        err, VN_BAD_ARGUMENT,
        "ddpm: variance=learned needs a model that learned a variance, on a discrete path");
}

/* x += tau^f nu^(1-f) z with f = (v + 1)/2 */
static void add_learned_noise(vn_step *s, double tau, double nu, const float *v, float *z) {
    const float middle = (float)sqrt(tau * nu), half = (float)(0.5 * log(tau / nu));
    if (!(nu > 0)) return;
    vn_step_noise(s, 0, z);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++)
        s->x[i] += middle * expf(half * v[i]) * z[i];
}

static vn_status ddpm_step(vn_step *s, vn_err *err) {
    const int variance = (int)s->choice->value[VARIANCE];
    const bool learned = variance == LEARNED || (variance == AUTO && s->learns_variance);
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const vn_request request = {
        .x = s->x, .level = s->from, .variance = learned ? s->slot[3] : NULL};
    const vn_status status = vn_step_predict_request(s, &request, p, err);
    if (status) return status;
    const double tau = sqrt(vn_step_variance(s->from, s->to));
    const bool last = s->choice->value[LAST] != 0 && s->from->t * s->path->steps > 1.5;
    vn_renoise r = vn_renoise_ancestral(s->from, s->to, 1);
    const double nu = last ? fmax(r.up, MIN_NOISE) : r.up;
    if (variance == LARGE && (s->to->sigma > 0 || last)) r.up = tau;
    vn_step_renoise(s, p, &r, learned ? 0 : 1, s->slot[2]);
    if (learned) add_learned_noise(s, tau, nu, s->slot[3], s->slot[2]);
    return VN_OK;
}

const vn_sampler_row vn_ddpm_sampler = {
    .row = {"ddpm", "ancestral sampling", "2006.11239", ddpm_params},
    .spacing = VN_SPACING_WHOLE,
    .abilities = VN_NEEDS_X0_EPS | VN_NEEDS_SDE,
    .slots = 4,
    .check = ddpm_check,
    .step = ddpm_step,
};

static bool ddim_inverts(const vn_choice *c) {
    return c->value[ETA] == 0;
}

const vn_sampler_row vn_ddim_sampler = {
    .row = {"ddim", "along the ODE, or with part of ddpm's noise", "2010.02502", ddim_params},
    .spacing = VN_SPACING_WHOLE,
    .abilities = VN_NEEDS_X0_EPS,
    .slots = 3,
    .check = ddim_check,
    .step = ddim_step,
    .inverts = ddim_inverts,
    .keeps_eps = true,
};
