/* regression.c - dsm and cfm: the network regresses on what its output means for the (x0, eps) that made x. The minimum is
 * the conditional expectation, from which all of sampling follows; only the weights over noise levels are a choice. They are stated
 * once, for the error of x0, and carried to each prediction by how far raw moves x0:
 *
 *     min-snr (2303.09556)  min(SNR, gamma)       eps: min(SNR, gamma)/SNR, v: min(SNR, gamma)/(SNR + 1)
 *     edm (2206.00364)      (s^2 + sd^2)/(s sd)^2, s = sigma/alpha       F: 1 */
#include "objective/internal.h"

#include <math.h>

vn_status vn_regression_check(const vn_choice *c, vn_err *err) {
    int weight = (int)c->value[VN_WEIGHT];
    const char *name = c->row->name;
    if (c->given[VN_WEIGHT_GAMMA] && weight != VN_WEIGHT_MIN_SNR)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: gamma has no effect without weight=min-snr", name);
    if (c->given[VN_WEIGHT_SIGMA_DATA] && weight != VN_WEIGHT_EDM)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_data has no effect without weight=edm", name);
    return VN_OK;
}

double vn_regression_weight(const vn_choice *c, const vn_prediction *p, const vn_level *l) {
    const vn_meaning m = vn_prediction_meaning(p, l);
    const double ratio = l->alpha / l->sigma, sd = c->value[VN_WEIGHT_SIGMA_DATA];
    switch ((int)c->value[VN_WEIGHT]) {
    case VN_WEIGHT_MIN_SNR: return m.noise * m.noise * fmin(1, c->value[VN_WEIGHT_GAMMA] / (ratio * ratio));
    case VN_WEIGHT_EDM: return (1 / (sd * sd) + ratio * ratio) * m.x0_raw * m.x0_raw;
    default: return m.weight;
    }
}

/* mean over samples of weight times the mean of (output - target)^2 */
vn_node *vn_regression_loss(vn_graph *g, const vn_loss_nodes *nodes) {
    vn_node *error = vn_unary(g, vn_sub(g, nodes->output, nodes->target), VN_FN_SQUARE);
    if (!error || !nodes->weight) return NULL;
    vn_shape rows = {.rank = error->shape.rank};
    for (int i = 0; i < rows.rank; i++) rows.dim[i] = i ? 1 : error->shape.dim[0];
    return vn_mean(g, vn_mul(g, error, vn_reshape(g, nodes->weight, rows)));
}
