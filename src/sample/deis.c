/* deis.c - DEIS (2204.13902), its variant that integrates over log rho, rho = sigma/alpha: eps a
 * polynomial in log rho through the last ones, its integral by rho exact.
 *
 *     x'/alpha' = x/alpha + int_rho^rho' P(log rho) drho
 *
 * With log rho = -lambda that is adams.c's second case with exact moments. As in diffusers, with
 * fewer than 15 steps the last is of order 1 and the one before at most of order 2. A step to
 * sigma = 0, where log rho is infinite, is of order 1. */
#include "sample/internal.h"

enum { ORDER, LOWER_FINAL };
static const vn_param params[] = {
    {"order", "of the solver", 2, 1, 3, 1, NULL},
    VN_LOWER_FINAL_PARAM(VN_LOWER_FEW),
    {0},
};

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const double h = vn_level_lambda(s->to) - vn_level_lambda(s->from);
    double node[2], moment[2];
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    vn_step_ddim(s, p);
    const int order =
        vn_step_order_by(s, (int)s->choice->value[ORDER], (int)s->choice->value[LOWER_FINAL]);
    const int n = vn_step_lambda_nodes(s, order - 1, node);
    vn_adams_moments(n, h, moment);
    vn_step_adams(s, -s->to->sigma * h, n, node, moment, &s->slot[2], p.eps);
    vn_step_record(s, 1, 2, 2);
    return VN_OK;
}

const vn_sampler_row vn_deis_sampler = {
    .row = {"deis", "eps a polynomial in log(sigma/alpha), integrated exactly", "2204.13902",
            params},
    .spacing = VN_SPACING_EXTRA,
    .slots = 4,
    .step = step,
};
