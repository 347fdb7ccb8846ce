/* lms.c - linear multistep, the rule of Adams and Bashforth on levels of any spacing, as in
 * k-diffusion: the latest slopes in straight coordinates (path.h) are interpolated by a polynomial
 * in time, which is integrated exactly.
 *
 *     y' = y + int_c^c' P(c) dc        y = x/m, slope eps - k x0
 *
 * k = 0 is k-diffusion's and diffusers' rule. The order does not fall at the end, because time is
 * finite (0) at sigma = 0. */
#include "sample/internal.h"

enum { ORDER };
static const vn_param params[] = {
    {"order", "how many slopes the polynomial goes through", 4, 1, 4, 1, NULL},
    {0},
};

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    const double from = vn_path_clock(s->path, s->from), to = vn_path_clock(s->path, s->to);
    double past[3], node[3], moment[3];
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    vn_step_ddim(s, p);
    vn_flow_slope(s->path, (size_t)(s->n * s->size), p);
    const int known = vn_step_order(s, (int)s->choice->value[ORDER], false) - 1;
    for (int k = 0; k < known; k++) past[k] = vn_path_clock(s->path, s->from - k - 1);
    const int n = vn_step_nodes(known, from, to, past, node);
    vn_adams_moments(n, 0, moment);
    vn_step_adams(s, vn_path_scale(s->path, s->to) * (to - from), n, node, moment, &s->slot[2],
                  p.eps);
    vn_step_record(s, 1, 2, 3);
    return VN_OK;
}

const vn_sampler_row vn_lms_sampler = {
    .row = {"lms", "linear multistep: the ODE's slope a polynomial in the noise level",
            "k-diffusion", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 5,
    .step = step,
};
