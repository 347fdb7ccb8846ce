/* regression.c - objectives with a target: the network regresses on a known raw output.
 *
 *     dsm, cfm   the prediction for the (x0, eps) that made x_t: -eps/sigma for a score
 *                (2011.13456), the path's velocity for cfm (2302.00482)
 *     esm        the prediction for E[x0|x_t], E[eps|x_t]: grad log p_t(x_t) itself, where that is
 *                known (Hyvarinen 2005, equation 2)
 *
 * All have the same minimum, the conditional expectation, which is what sampling needs; esm has no
 * noise from single (x0, eps). The weights over noise levels are free. They are given for the error
 * of x0, and converted to each prediction by the coefficient of raw in x0:
 *
 *     min-snr (2303.09556)  min(SNR, gamma)     eps: min(SNR, gamma)/SNR,
 *                                               v: min(SNR, gamma)/(SNR + 1)
 *     edm (2206.00364)      (s^2 + sd^2)/(s sd)^2, s = sigma/alpha     F: 1 */
#include "objective/internal.h"

#include <math.h>

static const vn_param params[] = {
    VN_WEIGHTS,
    {0},
};
enum { NONE, MIN_SNR, EDM }; /* weights */

vn_status vn_weight_check(const vn_choice *c, vn_err *err) {
    int weight = (int)c->value[VN_WEIGHT];
    const char *name = c->row->name;
    if (c->given[VN_WEIGHT_GAMMA] && weight != MIN_SNR)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: gamma has no effect without weight=min-snr",
                       name);
    if (c->given[VN_WEIGHT_SIGMA_DATA] && weight != EDM)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_data has no effect without weight=edm",
                       name);
    return VN_OK;
}

double vn_weight_of(const vn_choice *c, const vn_prediction *p, const vn_level *l) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    const double ratio = l->alpha / l->sigma;
    double sd = c->value[VN_WEIGHT_SIGMA_DATA];
    switch ((int)c->value[VN_WEIGHT]) {
    case MIN_SNR: return m.noise * m.noise * fmin(1, c->value[VN_WEIGHT_GAMMA] / (ratio * ratio));
    case EDM: return (1 / (sd * sd) + ratio * ratio) * m.x0_raw * m.x0_raw;
    default: return m.weight;
    }
}

vn_node *vn_regression_loss(vn_graph *g, vn_node *prediction, vn_loss_nodes *nodes) {
    nodes->target = vn_input(g, VN_F32, nodes->x->shape);
    nodes->weight = vn_input(g, VN_F32, VN_SHAPE(nodes->x->shape.dim[0]));
    vn_node *error = vn_unary(g, vn_sub(g, prediction, nodes->target), VN_FN_SQUARE);
    return vn_mean(g, vn_mul(g, error, vn_per_sample(g, nodes->weight, nodes->x)));
}

static vn_node *loss(const vn_choice *c, vn_graph *g, vn_loss_nodes *nodes) {
    (void)c;
    return vn_regression_loss(g, nodes->output, nodes);
}

#define REGRESSION .check = vn_weight_check, .weight = vn_weight_of, .loss = loss

const vn_objective_row vn_dsm_objective = {
    {"dsm", "denoising score matching: regression on x0, noise or a mix", "2011.13456", params},
    .predictions = "x0|eps|v|score|edm",
    REGRESSION,
};

const vn_objective_row vn_cfm_objective = {
    {"cfm",
     "conditional flow matching: regression on the path's velocity, data and noise drawn "
     "independently",
     "2302.00482", params},
    .predictions = "velocity",
    REGRESSION,
};

const vn_objective_row vn_esm_objective = {
    {"esm",
     "explicit score matching: regression on the exact score, for data that has one "
     "(points:gaussians, worlds)",
     "Hyvarinen 2005, JMLR 6", params},
    .predictions = "x0|eps|v|score|velocity|edm",
    .exact = true,
    REGRESSION,
};
