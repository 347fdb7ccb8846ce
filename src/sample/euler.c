/* euler.c - Euler's rule on the probability-flow ODE (2206.00364, algorithm 2 without its second half), and the churn that it
 * shares with Heun's. In the straight coordinates of any path one Euler step is the DDIM step: flow matching's Euler, k-diffusion's
 * Euler and DDIM with eta 0 are this. */
#include "sample/internal.h"

#include <math.h>

vn_status vn_churn_check(const vn_choice *c, vn_err *err) {
    bool others = c->given[VN_CHURN_MIN] || c->given[VN_CHURN_MAX] || c->given[VN_CHURN_NOISE];
    if (others && c->value[VN_CHURN] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: tmin, tmax and noise have no effect without churn", c->row->name);
    if (c->value[VN_CHURN_MIN] > c->value[VN_CHURN_MAX])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: tmin is above tmax", c->row->name);
    return VN_OK;
}

/* sigma_hat = sigma (1 + min(churn/N, sqrt(2) - 1)) and x_hat = x + sqrt(sigma_hat^2 - sigma^2) noise, in EDM's coordinates x/alpha
 * and s = sigma/alpha. Pure noise (alpha = 0) is left alone. */
vn_level vn_step_churn(vn_step *s, float *scratch) {
    const double *p = s->choice->value, ratio = vn_level_ratio(s->from);
    const double gamma = fmin(p[VN_CHURN] / s->count, sqrt(2) - 1);
    if (gamma == 0 || isinf(ratio) || ratio < p[VN_CHURN_MIN] || ratio > p[VN_CHURN_MAX]) return *s->from;
    vn_level hat = vn_path_level_of_ratio(s->path, ratio * (1 + gamma));
    const double added = hat.alpha * ratio * sqrt(gamma * (2 + gamma));
    const float a = (float)(hat.alpha / s->from->alpha), b = (float)(p[VN_CHURN_NOISE] * added);
    vn_step_noise(s, 0, scratch);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] = a * s->x[i] + b * scratch[i];
    return hat;
}

void vn_step_move(vn_step *s, vn_pair p) {
    const float a = (float)s->to->alpha, b = (float)s->to->sigma;
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] = a * p.x0[i] + b * p.eps[i];
}

vn_status vn_euler_step(vn_step *s, vn_err *err) {
    const vn_pair p = {s->slot[0], s->slot[1]};
    const vn_level hat = vn_step_churn(s, s->slot[0]);
    vn_status status = vn_step_predict(s, s->x, &hat, p, err);
    if (!status) vn_step_move(s, p);
    return status;
}
