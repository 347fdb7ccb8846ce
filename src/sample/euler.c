/* euler.c - Euler's rule on the probability-flow ODE (2206.00364, algorithm 2 without its second
 * half), and the churn that it shares with Heun's. In the straight coordinates of any path (path.h)
 * an Euler step is the DDIM step: flow matching's Euler, k-diffusion's Euler and DDIM with eta 0
 * are the same rule. */
#include "sample/internal.h"

#include <math.h>

enum { CHURN, CHURN_MIN, CHURN_MAX, CHURN_NOISE };
const vn_param vn_churn_params[] = {
    {"churn", "noise that is put back, summed over the steps", 0, 0, 1e4, 0, NULL},
    {"tmin", "only where sigma/alpha is at least this", 0, 0, 1e9, 0, NULL},
    {"tmax", "and at most this", 1e9, 0, 1e9, 0, NULL},
    {"noise", "standard deviation of that noise", 1, 0, 2, 0, NULL},
    {0},
};

vn_status vn_churn_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    bool others = c->given[CHURN_MIN] || c->given[CHURN_MAX] || c->given[CHURN_NOISE];
    if (others && c->value[CHURN] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: tmin, tmax and noise have no effect without churn", c->row->name);
    if (c->value[CHURN_MIN] > c->value[CHURN_MAX])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: tmin is above tmax", c->row->name);
    return VN_OK;
}

/* sigma_hat = sigma (1 + min(churn/N, sqrt(2) - 1)) and x_hat = x + sqrt(sigma_hat^2 - sigma^2)
 * noise, in EDM's coordinates x/alpha and s = sigma/alpha. Pure noise (alpha = 0) stays as it
 * is. */
vn_level vn_step_churn(vn_step *s, float *scratch) {
    const double *p = s->choice->value, ratio = vn_level_ratio(s->from);
    const double gamma = fmin(p[CHURN] / s->count, sqrt(2) - 1);
    if (gamma == 0 || isinf(ratio) || ratio < p[CHURN_MIN] || ratio > p[CHURN_MAX]) return *s->from;
    vn_level hat = vn_path_level_of_ratio(s->path, ratio * (1 + gamma));
    const double added = hat.alpha * ratio * sqrt(gamma * (2 + gamma));
    const float a = (float)(hat.alpha / s->from->alpha), b = (float)(p[CHURN_NOISE] * added);
    vn_step_noise(s, 0, scratch);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] = a * s->x[i] + b * scratch[i];
    return hat;
}

double vn_level_lambda(const vn_level *l) {
    return log(l->alpha) - log(l->sigma);
}

void vn_step_ddim(vn_step *s, vn_estimate p) {
    const float a = (float)s->to->alpha, b = (float)s->to->sigma;
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] = a * p.x0[i] + b * p.eps[i];
}

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const vn_level hat = vn_step_churn(s, s->slot[0]);
    vn_status status = vn_step_predict(s, s->x, &hat, p, err);
    if (!status) vn_step_ddim(s, p);
    return status;
}

const vn_sampler_row vn_euler_sampler = {
    .row = {"euler", "Euler's rule on the ODE, with EDM's churn", "2206.00364", vn_churn_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_X0_EPS,
    .slots = 2,
    .check = vn_churn_check,
    .step = step,
};
