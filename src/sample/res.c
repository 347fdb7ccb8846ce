/* res.c - the refined exponential solver (2308.02157): exponential Runge-Kutta and Adams rules
 * whose weights meet all conditions of their order, for the ODE in x0 and lambda =
 * log(alpha/sigma), h = lambda' - lambda (adams.c).
 *
 *     multistep    x'  = move + alpha' h sum_k w_k (x0_k - x0)       by exact moments, order 1 .. 4
 *     singlestep   algorithm 1, c_2 = 1/2:
 *         2        x'  = move + alpha' h phi_2/c_2 (x0_2 - x0)
 *         3        x_3 = move + alpha' h a_32 (x0_2 - x0), at c_3 = 1
 *                  x'  = move + alpha' h (b_2 (x0_2 - x0) + b_3 (x0_3 - x0))
 *                  a_32 = gamma c_2 phi_2(-c_2 h) + phi_2/c_2
 *                  b_2 = gamma b_3,  b_3 = phi_2/(gamma c_2 + 1)
 *                  gamma = (3 c_3^3 - 2 c_3)/(c_2 (2 - 3 c_2)) = 4
 *
 * with phi_k at -h. x0_2 is predicted at lambda + c_2 h, x0_3 at lambda'. Out of pure noise and to
 * sigma = 0, where h is infinite, a step is of order 1. */
#include "sample/internal.h"

#include <math.h>

enum { X0, EPS, PAST, SECOND = PAST, THIRD, UNUSED_EPS, SLOTS };
enum { ORDER, FORM };
enum { MULTISTEP, SINGLESTEP };
static const vn_param params[] = {
    {"order", "of the solver; 4 only as multistep", 2, 1, 4, 1, NULL},
    {"form", "from earlier steps' predictions, or with more of its own", MULTISTEP, 0, 1, 1,
     "multistep|singlestep"},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    const double order = c->value[ORDER];
    if (c->given[FORM] && order == 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "res: form has no effect on order 1");
    if (c->value[FORM] == SINGLESTEP && order > 3)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "res: order %g is not known as singlestep, only 1 to 3", order);
    return VN_OK;
}

static void multistep(vn_step *s, int order, double h) {
    double node[3], moment[3];
    const int n = vn_step_lambda_nodes(s, vn_step_order(s, order, false) - 1, node);
    vn_adams_moments(n, -h, moment);
    vn_step_adams(s, s->to->alpha * h, n, node, moment, &s->slot[PAST], s->slot[X0]);
}

/* Predicts x0 at `level`, which x has. */
static vn_status predict_at(vn_step *s, const vn_level *level, int slot, vn_err *err) {
    return vn_step_predict(s, s->x, level, (vn_estimate){s->slot[slot], s->slot[UNUSED_EPS]}, err);
}

/* x = move + alpha' h sum_k weight[k] (x0_k - x0), the x0_k from the second on. */
static void make(vn_step *s, double h, int n, const double *weight) {
    const vn_estimate begin = {s->slot[X0], s->slot[EPS]};
    vn_step_ddim(s, begin);
    vn_step_correct(s, s->to->alpha * h, n, weight, &s->slot[SECOND], begin.x0);
}

static vn_status singlestep(vn_step *s, int order, double h, vn_err *err) {
    static const double gamma = 4, c = 0.5;
    const double phi_2 = vn_phi(2, -h), b_3 = phi_2 / (gamma * c + 1);
    const double weight_2 = phi_2 / c, a_32 = gamma * c * vn_phi(2, -c * h) + phi_2 / c,
                 b[] = {gamma * b_3, b_3};
    const vn_level half = vn_path_level_of_ratio(s->path, vn_level_ratio(s->from) * exp(-c * h));
    vn_step first = *s;
    first.to = &half;
    make(&first, c * h, 0, NULL);
    vn_status status = predict_at(s, &half, SECOND, err);
    if (!status && order == 3) {
        make(s, h, 1, &a_32);
        status = predict_at(s, s->to, THIRD, err);
    }
    if (!status) make(s, h, order - 1, order == 2 ? &weight_2 : b);
    return status;
}

static vn_status step(vn_step *s, vn_err *err) {
    const int order = (int)s->choice->value[ORDER];
    const double h = vn_level_lambda(s->to) - vn_level_lambda(s->from);
    vn_status status =
        vn_step_predict(s, s->x, s->from, (vn_estimate){s->slot[X0], s->slot[EPS]}, err);
    if (status) return status;
    if (s->choice->value[FORM] == SINGLESTEP && order > 1 && isfinite(h))
        return singlestep(s, order, h, err);
    vn_step_ddim(s, (vn_estimate){s->slot[X0], s->slot[EPS]});
    if (s->choice->value[FORM] == MULTISTEP) multistep(s, order, h);
    vn_step_record(s, X0, PAST, 3);
    return VN_OK;
}

const vn_sampler_row vn_res_sampler = {
    .row = {"res",
            "refined exponential solver: x0 a polynomial in log(alpha/sigma), integrated exactly",
            "2308.02157", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = SLOTS,
    .check = check,
    .step = step,
};
