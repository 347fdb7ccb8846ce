/* regression.c - objectives with a target: the network regresses on a known raw output.
 *
 *     dsm, cfm   the prediction for the (x0, eps) that made x_t: -eps/sigma for a score
 *                (2011.13456), the path's velocity for cfm (2302.00482)
 *     esm        the prediction for E[x0|x_t], E[eps|x_t]: grad log p_t(x_t) itself, where that is
 *                known (Hyvarinen 2005, equation 2)
 *
 * All have the same minimum, the conditional expectation, which is what sampling needs; esm has no
 * noise from single (x0, eps). dsm and cfm have terms beside: of contrast (contrast.c), of inner
 * features (dispersive.c), and the error of an internal head, half of which is added (2512.24176).
 *
 * The weights over noise levels are free. They are given for the error of x0, and converted to each
 * prediction by the coefficient of raw in x0:
 *
 *     min-snr (2303.09556)  min(SNR, gamma)     eps: min(SNR, gamma)/SNR,
 *                                               v: min(SNR, gamma)/(SNR + 1)
 *     edm (2206.00364)      (s^2 + sd^2)/(s sd)^2, s = sigma/alpha     F: 1
 *     velocity (2511.13720) 1/max(tau, floor)^2, tau = sigma/(alpha + sigma), which is t on the
 *                           rectified path: the loss of x0 is that of the velocity that follows
 *                           from it. velocity: 1 from the floor on */
#include "objective/internal.h"

#include <math.h>

static const vn_param params[] = {
    VN_WEIGHTS,
    {"contrast",
     "share by which a prediction is driven away from another sample's target, 0.05 in 2506.05350",
     0, 0, 0.9, 0, NULL},
    {"head", "weight of the internal head's error, of networks that have one (2512.24176)", 0.5, 0,
     100, 0, NULL},
    {"dispersive", "weight of the dispersive loss of inner features, 0.25 or 0.5 in 2506.09027", 0,
     0, 100, 0, NULL},
    {"tau", "its temperature", 0.5, 1e-3, 1e3, 0, NULL},
    {"uncertainty", "learn how large the loss is at each time and divide by it (2312.02696)", 0, 0,
     1, 1, "no|yes"},
    {0},
};
static const vn_param esm_params[] = {
    VN_WEIGHTS,
    {0},
};
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

static void fill_target(const vn_loss_sample *s, float *restrict row) {
    const float raw_x0 = (float)s->m->raw_x0, raw_eps = (float)s->m->raw_eps;
    const float *restrict x0 = s->x0, *restrict eps = s->eps;
    for (int64_t j = 0; j < s->size; j++) row[j] = raw_x0 * x0[j] + raw_eps * eps[j];
}

/* What the exact denoiser predicts, in the network's terms. */
static vn_status ask_truth(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_denoiser *truth = b->asked[VN_ASK_TRUTH];
    const vn_query q = {.n = b->n, .x = b->x, .level = b->level, .condition = b->condition};
    return truth->predict(truth->self, &q, out, err);
}

vn_node *vn_loss_target(vn_loss *l) {
    return vn_loss_filled(l, "target", l->x->shape, fill_target);
}

vn_node *vn_loss_weight(vn_loss *l) {
    return vn_loss_filled(l, "weight", VN_SHAPE(l->x->shape.dim[0]), fill_weight);
}

static vn_node *weighted(vn_loss *l, vn_node *prediction, vn_node *target, vn_node *weight) {
    vn_node *error = vn_unary(l->g, vn_sub(l->g, prediction, target), VN_FN_SQUARE);
    return vn_mean(l->g, vn_mul(l->g, error, vn_per_sample(l->g, weight, l->x)));
}

vn_node *vn_regression_loss(vn_loss *l, vn_node *prediction, vn_node *target) {
    return weighted(l, prediction, target, vn_loss_weight(l));
}

static bool contrasts(const vn_choice *c) {
    return c->value[VN_CONTRAST] > 0;
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    if (c->given[VN_DISPERSE_TAU] && c->value[VN_DISPERSE] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: tau has no effect without dispersive",
                       c->row->name);
    return vn_weight_check(c, path, prediction, err);
}

static bool estimates(const vn_choice *c) {
    return c->value[VN_UNCERTAINTY] != 0;
}

/* EDM2's loss, w |f - u|^2 / e^u(t) + u(t): its minimum over u is the log of what is divided. */
static vn_node *estimated(vn_loss *l, vn_node *prediction, vn_node *target, vn_node *weight) {
    vn_graph *g = l->g;
    const vn_loss_call call = {.part = VN_LOSS_UNCERTAINTY, .output = VN_LOSS_LOG_VARIANCE};
    vn_node *size = l->network(l->self, &call);
    if (!size) return NULL;
    size = vn_reshape(g, size, VN_SHAPE(l->x->shape.dim[0]));
    vn_node *share = vn_mul(g, weight, vn_unary(g, vn_affine(g, size, -1, 0), VN_FN_EXP));
    return vn_add(g, weighted(l, prediction, target, share), vn_mean(g, size));
}

/* loss + weight term. */
static vn_node *with(vn_loss *l, vn_node *loss, double weight, vn_node *term) {
    return vn_add(l->g, loss, vn_affine(l->g, term, weight, 0));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    const bool head = vn_loss_has_head(l), disperses = c->value[VN_DISPERSE] > 0;
    vn_node *output = vn_loss_output(l);
    vn_node *target = vn_loss_target(l), *weight = vn_loss_weight(l);
    vn_node *sum =
        estimates(c) ? estimated(l, output, target, weight) : weighted(l, output, target, weight);
    if (contrasts(c)) sum = vn_sub(l->g, sum, vn_contrast_loss(l, output));
    if (head) {
        const vn_loss_call inner = {.output = VN_LOSS_INTERNAL, .again = true};
        vn_node *answer = l->network(l->self, &inner);
        sum = with(l, sum, c->value[VN_HEAD], weighted(l, answer, target, weight));
    } else if (c->given[VN_HEAD] && l->has) {
        return vn_graph_fail(l->g, VN_BAD_ARGUMENT,
                             "%s: head has no effect: the network has no internal head",
                             c->row->name);
    }
    if (disperses) {
        const vn_loss_call inner = {.output = VN_LOSS_HIDDEN, .again = true};
        vn_node *features = l->network(l->self, &inner);
        sum = with(l, sum, c->value[VN_DISPERSE],
                   vn_dispersive_loss(l->g, features, c->value[VN_DISPERSE_TAU]));
    }
    return sum;
}

static vn_node *loss_esm(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_node *output = vn_loss_output(l);
    return vn_regression_loss(l, output, vn_loss_asked(l, "target", l->x->shape, ask_truth));
}

const vn_objective_row vn_dsm_objective = {
    {"dsm", "denoising score matching: regression on x0, noise or a mix", "2011.13456", params},
    .predictions = "x0|eps|v|score|edm",
    .trains_head = true,
    .check = check,
    .loss = loss,
    .contrasts = contrasts,
    .estimates = estimates,
};

const vn_objective_row vn_cfm_objective = {
    {"cfm",
     "conditional flow matching: regression on the path's velocity, data and noise drawn "
     "independently, or in pairs that the data bring",
     "2302.00482", params},
    .predictions = "velocity",
    .trains_head = true,
    .check = check,
    .loss = loss,
    .contrasts = contrasts,
    .estimates = estimates,
};

const vn_objective_row vn_esm_objective = {
    {"esm",
     "explicit score matching: regression on the exact score, for data that has one "
     "(points:gaussians, worlds)",
     "Hyvarinen 2005, JMLR 6", esm_params},
    .predictions = "x0|eps|v|score|velocity|edm",
    .asks = 1 << VN_ASK_TRUTH,
    .check = vn_weight_check,
    .loss = loss_esm,
};
