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
 */
#include "objective/internal.h"

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

static vn_node *weighted(vn_loss *l, vn_node *prediction, vn_node *target, vn_node *weight) {
    vn_node *error = vn_unary(l->g, vn_sub(l->g, prediction, target), VN_FN_SQUARE);
    return vn_mean(l->g, vn_mul(l->g, error, vn_per_sample(l->g, weight, l->x)));
}

vn_node *vn_weighed_loss(vn_loss *l, vn_node *prediction, vn_node *target, vn_node *weight,
                         bool estimates) {
    if (!estimates) return weighted(l, prediction, target, weight);
    vn_graph *g = l->g;
    const vn_loss_call call = {.part = VN_LOSS_UNCERTAINTY, .output = VN_LOSS_LOG_VARIANCE};
    vn_node *size = l->network(l->self, &call);
    if (!size) return NULL;
    size = vn_reshape(g, size, VN_SHAPE(l->x->shape.dim[0]));
    vn_node *share = vn_mul(g, weight, vn_unary(g, vn_affine(g, size, -1, 0), VN_FN_EXP));
    return vn_add(g, weighted(l, prediction, target, share), vn_mean(g, size));
}

vn_node *vn_regression_loss(vn_loss *l, vn_node *prediction, vn_node *target) {
    return weighted(l, prediction, target, vn_loss_weight(l));
}

static bool contrasts(const vn_choice *c) {
    return c->value[VN_CONTRAST] > 0;
}

static bool compares(const vn_choice *c) {
    return c->value[VN_DISPERSE] > 0;
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

/* loss + weight term. */
static vn_node *with(vn_loss *l, vn_node *loss, double weight, vn_node *term) {
    return vn_add(l->g, loss, vn_affine(l->g, term, weight, 0));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    const bool head = vn_loss_has_head(l), disperses = compares(c);
    vn_node *output = vn_loss_output(l);
    vn_node *target = vn_loss_target(l), *weight = vn_loss_weight(l);
    vn_node *sum = vn_weighed_loss(l, output, target, weight, estimates(c));
    if (contrasts(c)) sum = vn_sub(l->g, sum, vn_contrast_loss(l, output));
    if (head) {
        const vn_loss_call inner = {.output = VN_LOSS_INTERNAL, .again = true};
        vn_node *answer = l->network(l->self, &inner);
        sum = with(l, sum, c->value[VN_HEAD], weighted(l, answer, target, weight));
    } else if (c->given[VN_HEAD] && l->has) {
        vn_graph_label(l->g, "%s", "");
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
    .compares = compares,
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
    .compares = compares,
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
