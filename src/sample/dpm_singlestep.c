/* dpm_singlestep.c - DPM-Solver++ (2211.01095, algorithm 1) and DPM-Solver (2206.00927, algorithms
 * 1 and 2) as singlestep solvers. `order` steps of the sampling run make one step of the solver,
 * from its own beginning: the levels in between are its nodes, reached by the lower orders. So each
 * step of the sampling run costs one prediction.
 *
 *     dpmpp-s    x' = sigma'/sigma x + alpha' h (phi_1 x0 + M_1 D_1 + M_2 D_2)      phi_k at -h
 *     dpm-s      x' = alpha'/alpha x - sigma' h (phi_1 eps + M_1 D_1 + M_2 D_2)     phi_k at h
 *                h = lambda' - lambda
 *
 * x, x0, eps and lambda are those of the beginning; D_1, D_2 the coefficients of the polynomial
 * through it and the nodes (adams.c). midpoint uses the last node only, with M_1 = phi_1/2 in order
 * 2 and phi_2 in order 3, which has that order where the node lies two thirds into the step, as on
 * a fine grid. heun uses all nodes and exact moments. A step to sigma = 0 or out of pure noise is a
 * step of the solver by itself, of order 1. */
#include "sample/internal.h"

enum { BEGIN_X0, BEGIN_EPS, X0, EPS, MIDDLE, SLOTS };

enum { ORDER, SOLVER, LOWER_FINAL };

/* How many steps of the sampling run ago this one's began. */
static int steps_back(const vn_step *s, int order) {
    const int back = s->history % order;
    const bool lower_final = s->choice->row->params && s->choice->value[LOWER_FINAL] != 0;
    if (lower_final && s->index == s->count - 1 && s->count % order == 0) return 0;
    return s->to->sigma == 0 || s->from[-back].alpha == 0 ? 0 : back;
}

/* The nodes to use, latest first, with their values; returns how many. */
static int nodes(const vn_step *s, int back, bool midpoint, double begin, double h, double *node) {
    node[0] = (vn_level_lambda(s->from) - begin) / h;
    if (back == 1 || midpoint) return 1;
    node[1] = (vn_level_lambda(s->from - 1) - begin) / h;
    return 2;
}

/* Adds what the polynomial through the nodes changes of the step of order 1. */
static void add_polynomial(vn_step *s, int back, bool midpoint, bool data) {
    const double begin = vn_level_lambda(s->from - back), h = vn_level_lambda(s->to) - begin,
                 z = data ? -h : h;
    double node[2], moment[2];
    float *const value[2] = {s->slot[data ? X0 : EPS], s->slot[MIDDLE]};
    const int n = nodes(s, back, midpoint, begin, h, node);
    vn_adams_moments(n, z, moment);
    if (back == 1 && midpoint) moment[0] = vn_phi(1, z) / 2;
    vn_step_adams(s, data ? s->to->alpha * h : -s->to->sigma * h, n, node, moment, value,
                  s->slot[data ? BEGIN_X0 : BEGIN_EPS]);
}

static vn_status step(vn_step *s, int order, bool midpoint, bool data, vn_err *err) {
    const int back = steps_back(s, order);
    const vn_estimate begin = {s->slot[BEGIN_X0], s->slot[BEGIN_EPS]},
                      now = {s->slot[X0], s->slot[EPS]};
    vn_status status = vn_step_predict(s, s->x, s->from, back ? now : begin, err);
    if (status) return status;
    vn_step_ddim(s, begin);
    if (back) add_polynomial(s, back, midpoint, data);
    vn_step_record(s, data ? X0 : EPS, MIDDLE, 1);
    return VN_OK;
}

static const vn_param params[] = {
    VN_DPM_PARAMS,
    {"lower_final", "yes: where the order divides the number of steps, the last is of order 1", 0,
     0, 1, 1, "no|yes"},
    {0},
};

static vn_status dpmpp_step(vn_step *s, vn_err *err) {
    return step(s, (int)s->choice->value[ORDER], s->choice->value[SOLVER] == 0, true, err);
}

static vn_status dpm_step(vn_step *s, vn_err *err) {
    return step(s, (int)s->choice->value[ORDER], s->choice->value[SOLVER] == 0, false, err);
}

static vn_status dpmpp_2s_step(vn_step *s, vn_err *err) {
    return step(s, 2, true, true, err);
}

const vn_sampler_row vn_dpmpp_s_sampler = {
    .row = {"dpmpp-s", "DPM-Solver++, singlestep: every `order` steps start anew", "2211.01095",
            params},
    .spacing = VN_SPACING_EXTRA,
    .slots = SLOTS,
    .check = vn_dpm_check,
    .step = dpmpp_step,
};

const vn_sampler_row vn_dpmpp_2s_sampler = {
    .row = {"dpmpp-2s", "DPM-Solver++, singlestep, order 2", "2211.01095", NULL},
    .spacing = VN_SPACING_EXTRA,
    .slots = SLOTS,
    .step = dpmpp_2s_step,
};

const vn_sampler_row vn_dpm_s_sampler = {
    .row = {"dpm-s", "DPM-Solver, singlestep: every `order` steps start anew", "2206.00927",
            params},
    .spacing = VN_SPACING_EXTRA,
    .slots = SLOTS,
    .check = vn_dpm_check,
    .step = dpm_step,
};
