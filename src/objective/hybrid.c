/* hybrid.c - Improved DDPM's objective (2102.09672): the network learns, beside its prediction, the
 * variance of the reverse step.
 *
 * Its output has twice the channels: a prediction, then v. With f = (v + 1)/2 the step from x_t to
 * x_{t-1} has the variance exp(f log beta + (1 - f) log beta~), between those for x0 as unknown as
 * can be and for x0 known. The loss is
 *
 *     regression's + lambda T L_t,     L_t = KL(q(x_{t-1}|x_t,x0), p), at the first step
 *                                      -log2 p(x0|x_1), in bits a coordinate
 *
 * which is L_simple + lambda L_vlb in expectation, as L_vlb has T terms of which a batch draws one
 * a sample. No gradient of L_t goes into the prediction: it would make that much noisier, and
 * L_simple trains it (section 3.1).
 *
 * In deviations of beta~, with L = f log(beta/beta~) the log of the variance over it, and the means
 * apart by gap e, e the error of the prediction:
 *
 *     KL   = 1/2 (L - 1 + (1 + gap^2 e^2) exp(-L))
 *     bins = -log(Phi(exp(-L/2) (gap e + bin)) - Phi(exp(-L/2) (gap e - bin)))
 *
 * the second for images, in [-1,1] with 255 steps between; the outer bins have no outer edge.
 * Points have no bins: their first step has a KL as the others. beta~ of the first step is 0; the
 * second step's stands for it, and Phi is the paper's code's. */
#include "objective/internal.h"

#include <math.h>
#include <string.h>

static const vn_param params[] = {
    VN_WEIGHTS,
    {"lambda", "weight of the variational bound, which trains the variance", 1e-3, 1e-6, 1, 0,
     NULL},
    {0},
};
enum { LAMBDA = VN_WEIGHT_PARAMS };

#define HALF_BIN (1.0 / 255)
#define MIN_BIN  1e-12 /* of probability that a bin is given, however far it is */
#define EDGE     0.999 /* beyond it a value is in an outer bin */
#define NO_EDGE  1e7   /* half-bins that the outer edge moves for each unit beyond EDGE */

void vn_bound_numbers(const vn_loss_sample *s, double number[VN_BOUND_NUMBERS]) {
    const vn_path *p = s->path;
    const vn_level *l = s->level;
    const double step = round(l->t * p->steps) - 1, second = fmax(step, 1);
    const vn_level to = step > 0 ? vn_path_level_of_step(p, step - 1) : vn_level_clean;
    const vn_level above = vn_path_level_of_step(p, second),
                   below = vn_path_level_of_step(p, second - 1);
    const double large = vn_step_variance(l, &to);
    const double small = vn_step_variance(&above, &below) * pow(below.sigma / above.sigma, 2);
    const double factor = s->choice->value[LAMBDA] * p->steps / log(2);
    number[VN_BOUND_RANGE] = log(large / small);
    number[VN_BOUND_GAP] = large * to.alpha / (l->sigma * l->sigma) * s->m->x0_raw / sqrt(small);
    number[VN_BOUND_BIN] = HALF_BIN / sqrt(small);
    number[VN_BOUND_LATER] = step > 0 ? factor : 0;
    number[VN_BOUND_FIRST] = step > 0 ? 0 : factor;
}

static void fill_bound(const vn_loss_sample *s, float *row) {
    double number[VN_BOUND_NUMBERS];
    vn_bound_numbers(s, number);
    for (int k = 0; k < VN_BOUND_NUMBERS; k++) row[k] = (float)number[k];
}

static void fill_data(const vn_loss_sample *s, float *row) {
    memcpy(row, s->x0, (size_t)s->size * sizeof *row);
}

static vn_node *divergence(vn_graph *g, vn_node *log_variance, vn_node *gap) {
    vn_node *apart = vn_affine(g, vn_unary(g, gap, VN_FN_SQUARE), 1, 1);
    vn_node *over = vn_mul(g, apart, vn_unary(g, vn_affine(g, log_variance, -1, 0), VN_FN_EXP));
    return vn_affine(g, vn_add(g, log_variance, over), 0.5, -0.5);
}

/* u with Phi(z) = 1/(1 + exp(-u)), nearly */
static vn_node *logit_of_normal(vn_graph *g, vn_node *z) {
    vn_node *slope = vn_affine(g, vn_unary(g, z, VN_FN_SQUARE), 0.044715, 1);
    return vn_affine(g, vn_mul(g, z, slope), 2 * sqrt(2 / acos(-1.0)), 0);
}

/* An edge of x0's bin in half-bins from its middle; outward -1 or 1. */
static vn_node *edge_of(vn_graph *g, vn_node *data, double outward) {
    vn_node *beyond = vn_unary(g, vn_affine(g, data, outward, -EDGE), VN_FN_RELU);
    return vn_affine(g, beyond, outward * NO_EDGE, outward);
}

/* With a = u(upper edge) and b = u(lower), 1/(1 + e^-a) - 1/(1 + e^-b) is a product in which
 * nothing cancels in the tails. */
static vn_node *bins(vn_loss *l, vn_node *bound, vn_node *log_variance, vn_node *gap) {
    vn_graph *g = l->g;
    vn_node *data = vn_loss_filled(l, "data", l->x->shape, fill_data);
    vn_node *over = vn_unary(g, vn_affine(g, log_variance, -0.5, 0), VN_FN_EXP), *u[2];
    for (int i = 0; i < 2; i++) {
        vn_node *half = vn_number_of(g, bound, VN_BOUND_BIN, l->x);
        vn_node *edge = vn_mul(g, edge_of(g, data, i ? -1 : 1), half);
        u[i] = logit_of_normal(g, vn_mul(g, vn_add(g, gap, edge), over));
    }
    vn_node *inside = vn_affine(g, vn_unary(g, vn_sub(g, u[1], u[0]), VN_FN_EXP), -1, 1);
    vn_node *ends = vn_mul(g, vn_unary(g, u[0], VN_FN_SIGMOID),
                           vn_unary(g, vn_affine(g, u[1], -1, 0), VN_FN_SIGMOID));
    vn_node *more = vn_unary(g, vn_affine(g, vn_mul(g, ends, inside), 1, -MIN_BIN), VN_FN_RELU);
    return vn_affine(g, vn_unary(g, vn_affine(g, more, 1, MIN_BIN), VN_FN_LOG), -1, 0);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *output = vn_loss_output(l), *target = vn_loss_target(l);
    const vn_shape *shape = &l->x->shape;
    const int64_t channels = shape->dim[shape->rank - 1];
    vn_node *prediction = vn_slice(g, output, -1, 0, channels);
    vn_node *share = vn_affine(g, vn_slice(g, output, -1, channels, channels), 0.5, 0.5);
    vn_node *simple = vn_regression_loss(l, prediction, target);
    vn_node *bound =
        vn_loss_filled(l, "bound", VN_SHAPE(shape->dim[0], VN_BOUND_NUMBERS), fill_bound);
    vn_node *log_variance = vn_mul(g, share, vn_number_of(g, bound, VN_BOUND_RANGE, l->x));
    vn_node *error = vn_sub(g, target, vn_stop_gradient(g, prediction));
    vn_node *gap = vn_mul(g, error, vn_number_of(g, bound, VN_BOUND_GAP, l->x));
    vn_node *later = vn_number_of(g, bound, VN_BOUND_LATER, l->x),
            *first = vn_number_of(g, bound, VN_BOUND_FIRST, l->x);
    vn_node *kl = divergence(g, log_variance, gap);
    vn_node *terms = shape->rank == 4 ? vn_add(g, vn_mul(g, kl, later),
                                               vn_mul(g, bins(l, bound, log_variance, gap), first))
                                      : vn_mul(g, kl, vn_add(g, later, first));
    return vn_add(g, simple, vn_mean(g, terms));
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    if (!path->steps)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "the objective %s learns the variance of a step, and %s has no steps; use ddpm",
            c->row->name, path->row->row.name);
    return vn_weight_check(c, path, prediction, err);
}

const vn_objective_row vn_hybrid_objective = {
    {"hybrid",
     "regression, and the variational bound for the variance of the reverse step; on paths with "
     "steps",
     "2102.09672", params},
    .predictions = "x0|eps|v|score|velocity|edm",
    .learns_variance = true,
    .check = check,
    .loss = loss,
};
