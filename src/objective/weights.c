/* weights.c - how much each noise level counts in a regression. The weights are free. They are
 * given for the error of x0, and converted to each prediction by the coefficient of raw in x0:
 *
 *     min-snr (2303.09556)  min(SNR, gamma)     eps: min(SNR, gamma)/SNR,
 *                                               v: min(SNR, gamma)/(SNR + 1)
 *     edm (2206.00364)      (s^2 + sd^2)/(s sd)^2, s = sigma/alpha     F: 1
 *     velocity (2511.13720) 1/max(tau, floor)^2, tau = sigma/(alpha + sigma), which is t on the
 *                           rectified path: the loss of x0 is that of the velocity that follows
 *                           from it. velocity: 1 from the floor on */
#include "objective/internal.h"

#include <math.h>

enum { NONE, MIN_SNR, EDM, VELOCITY }; /* weights */

vn_status vn_weight_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                          vn_err *err) {
    const int weight = (int)c->value[VN_WEIGHT];
    const char *name = c->row->name;
    (void)path;
    /* one sigma_data, not two */
    const double deviation = vn_prediction_deviation(prediction);
    if (deviation > 0 && !c->given[VN_WEIGHT_SIGMA_DATA])
        c->value[VN_WEIGHT_SIGMA_DATA] = deviation;
    if (c->given[VN_WEIGHT_GAMMA] && weight != MIN_SNR)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: gamma has no effect without weight=min-snr",
                       name);
    if (c->given[VN_WEIGHT_SIGMA_DATA] && weight != EDM)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_data has no effect without weight=edm",
                       name);
    if (c->given[VN_WEIGHT_FLOOR] && weight != VELOCITY)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: floor has no effect without weight=velocity",
                       name);
    return VN_OK;
}

/* The velocity of the straight line between data and noise at this level, which the path may follow
 * at another speed and scale (path.h's straight coordinates of k = 1): y = (1 - tau) x0 + tau eps
 * has dy/dtau = eps - x0 = (y - x0)/tau. So an error in x0 is one of 1/tau there. */
static double velocity_weight(const vn_choice *c, const vn_coefficients *m, const vn_level *l) {
    const double tau = fmax(l->sigma / (l->alpha + l->sigma), c->value[VN_WEIGHT_FLOOR]);
    return m->x0_raw * m->x0_raw / (tau * tau);
}

double vn_weight_of(const vn_choice *c, const vn_prediction *p, const vn_level *l) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    const double ratio = l->alpha / l->sigma;
    double sd = c->value[VN_WEIGHT_SIGMA_DATA];
    switch ((int)c->value[VN_WEIGHT]) {
    case MIN_SNR:
        return m.eps_error * m.eps_error * fmin(1, c->value[VN_WEIGHT_GAMMA] / (ratio * ratio));
    case EDM: return (1 / (sd * sd) + ratio * ratio) * m.x0_raw * m.x0_raw;
    case VELOCITY: return velocity_weight(c, &m, l);
    default: return m.weight;
    }
}

static void fill_weight(const vn_loss_sample *s, float *row) {
    *row = (float)vn_weight_of(s->choice, s->prediction, s->level);
}

vn_node *vn_loss_weight(vn_loss *l) {
    return vn_loss_filled(l, "weight", VN_SHAPE(l->x->shape.dim[0]), fill_weight);
}
