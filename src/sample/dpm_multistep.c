/* dpm_multistep.c - DPM-Solver++ (2211.01095, algorithm 2) and DPM-Solver (2206.00927) as multistep
 * solvers: one prediction a step, x0 or eps a polynomial in lambda = log(alpha/sigma) through the
 * last ones, h = lambda' - lambda (adams.c).
 *
 *     dpmpp    x' = sigma'/sigma x + alpha' h (phi_1 x0 + M_1 D_1 + M_2 D_2)        phi_k at -h
 *     dpm      x' = alpha'/alpha x - sigma' h (phi_1 eps + M_1 D_1 + M_2 D_2)       phi_k at  h
 *
 * with D_1 and D_2 the coefficients of that polynomial. Order 2 has M_1 = phi_1/2, the midpoint
 * rule of the paper, or phi_2, which is exact. Order 3 has M = (phi_2, phi_3), as in diffusers;
 * exact would be 2 phi_3, so its order is 2 with a small constant. The order falls towards the end
 * as in diffusers, by the parameter `lower_final`. */
#include "sample/internal.h"

static void moments(int n, double z, bool midpoint, double *moment) {
    moment[0] = n == 1 && midpoint ? vn_phi(1, z) / 2 : vn_phi(2, z);
    moment[1] = vn_phi(3, z);
}

static vn_status step(vn_step *s, int order, int lower_final, bool midpoint, bool data,
                      vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const float *now = data ? p.x0 : p.eps;
    const double h = vn_level_lambda(s->to) - vn_level_lambda(s->from);
    double node[2], moment[2];
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    vn_step_ddim(s, p);
    const int n = vn_step_lambda_nodes(s, vn_step_order_by(s, order, lower_final) - 1, node);
    moments(n, data ? -h : h, midpoint, moment);
    vn_step_adams(s, data ? s->to->alpha * h : -s->to->sigma * h, n, node, moment, &s->slot[2],
                  now);
    vn_step_record(s, data ? 0 : 1, 2, 2);
    return VN_OK;
}

enum { ORDER, SOLVER, LOWER_FINAL };
static const vn_param params[] = {VN_DPM_PARAMS, VN_LOWER_FINAL_PARAM(VN_LOWER_FEW), {0}};

vn_status vn_dpm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->given[SOLVER] && c->value[ORDER] < 2)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: solver has no effect on order 1", c->row->name);
    return VN_OK;
}

static vn_status dpmpp_step(vn_step *s, vn_err *err) {
    return step(s, (int)s->choice->value[ORDER], (int)s->choice->value[LOWER_FINAL],
                s->choice->value[SOLVER] == 0, true, err);
}

static vn_status dpm_step(vn_step *s, vn_err *err) {
    return step(s, (int)s->choice->value[ORDER], (int)s->choice->value[LOWER_FINAL],
                s->choice->value[SOLVER] == 0, false, err);
}

static vn_status dpmpp_2m_step(vn_step *s, vn_err *err) {
    return step(s, 2, VN_LOWER_FEW, true, true, err);
}

static vn_status dpmpp_3m_step(vn_step *s, vn_err *err) {
    return step(s, 3, VN_LOWER_FEW, true, true, err);
}

const vn_sampler_row vn_dpmpp_sampler = {
    .row = {"dpmpp", "DPM-Solver++, multistep: x0 a polynomial in log(alpha/sigma)", "2211.01095",
            params},
    .spacing = VN_SPACING_EXTRA,
    .slots = 4,
    .check = vn_dpm_check,
    .step = dpmpp_step,
};

const vn_sampler_row vn_dpmpp_2m_sampler = {
    .row = {"dpmpp-2m", "DPM-Solver++, two steps, order 2", "2211.01095", NULL},
    .spacing = VN_SPACING_EXTRA,
    .slots = 4,
    .step = dpmpp_2m_step,
};

const vn_sampler_row vn_dpmpp_3m_sampler = {
    .row = {"dpmpp-3m", "DPM-Solver++, three steps", "2211.01095", NULL},
    .spacing = VN_SPACING_EXTRA,
    .slots = 4,
    .step = dpmpp_3m_step,
};

const vn_sampler_row vn_dpm_sampler = {
    .row = {"dpm", "DPM-Solver, multistep: eps a polynomial in log(alpha/sigma)", "2206.00927",
            params},
    .spacing = VN_SPACING_EXTRA,
    .slots = 4,
    .check = vn_dpm_check,
    .step = dpm_step,
};
