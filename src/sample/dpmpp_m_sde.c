/* dpmpp_m_sde.c - DPM-Solver++ on the reverse SDE in several steps, as in k-diffusion
 * (sample_dpmpp_2m_sde, sample_dpmpp_3m_sde) and diffusers' sde-dpmsolver++ (2211.01095): the exact
 * solution of the SDE for an x0 that is a polynomial in lambda = log(alpha/sigma). With h = lambda'
 * - lambda, z = (1 + eta) h and (down, up) the SDE's renoising (renoise.c):
 *
 *     x' = alpha' x0 + down eps + alpha' z sum_k w_k (x0_k - x0) + noise up z_new
 *
 * with x0_k at k steps back and w_k the weights of the moments M_i (adams.c), those of the ODE's
 * with -z for -h:
 *
 *     2m   M_1 = phi_1/2 (midpoint) or phi_2 (heun)
 *     3m   M_1 = phi_2, M_2 = phi_3      half of what order 3 asks: as published, it stays of
 *                                        order 2 on the ODE
 *
 * The first steps, which have fewer earlier x0, and the one to sigma = 0 are of lower order; so are
 * the last steps of 2m where the parameter `lower_final` says so. */
#include "sample/internal.h"

enum { ETA, NOISE, SOLVER, LOWER_FINAL };
enum { MIDPOINT, HEUN };
static const vn_param two_m_params[] = {
    VN_NOISE_PARAMS,
    {"solver", "how the slope of x0 counts", MIDPOINT, 0, 1, 1, "midpoint|heun"},
    VN_LOWER_FINAL_PARAM(VN_LOWER_NO),
    {0},
};

enum { X0, EPS, PAST }; /* slots: this step's estimate, then order - 1 earlier x0 */

static vn_status step(vn_step *s, int order, int lower_final, bool midpoint, vn_err *err) {
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    const double *value = s->choice->value, alpha = s->to->alpha;
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    const vn_renoise l = vn_renoise_sde(s->from, s->to, value[ETA]);
    const double z = (1 + value[ETA]) * (vn_level_lambda(s->to) - vn_level_lambda(s->from));
    const double moment[] = {midpoint ? vn_phi(1, -z) / 2 : vn_phi(2, -z), vn_phi(3, -z)};
    double node[2];
    const int n = vn_step_lambda_nodes(s, vn_step_order_by(s, order, lower_final) - 1, node);
    vn_step_blend(s, alpha, p.x0, l.down, p.eps, s->x);
    vn_step_adams(s, alpha * z, n, node, moment, &s->slot[PAST], p.x0);
    vn_step_add_noise(s, value[NOISE] * l.up, 0, s->x, p.eps);
    vn_step_record(s, X0, PAST, order - 1);
    return VN_OK;
}

static vn_status two_m_step(vn_step *s, vn_err *err) {
    return step(s, 2, (int)s->choice->value[LOWER_FINAL], s->choice->value[SOLVER] == MIDPOINT,
                err);
}

static vn_status three_m_step(vn_step *s, vn_err *err) {
    return step(s, 3, VN_LOWER_NO, false, err);
}

const vn_sampler_row vn_dpmpp_2m_sde_sampler = {
    .row = {"dpmpp-2m-sde", "DPM-Solver++ on the SDE, two steps", "2211.01095", two_m_params},
    .spacing = VN_SPACING_EXTRA,
    .abilities = VN_NEEDS_SDE, /* with the default eta */
    .slots = PAST + 1,
    .check = vn_noise_check,
    .step = two_m_step,
};

const vn_sampler_row vn_dpmpp_3m_sde_sampler = {
    .row = {"dpmpp-3m-sde", "DPM-Solver++ on the SDE, three steps", "k-diffusion", vn_noise_params},
    .spacing = VN_SPACING_EXTRA,
    .abilities = VN_NEEDS_SDE, /* with the default eta */
    .slots = PAST + 2,
    .check = vn_noise_check,
    .step = three_m_step,
};
