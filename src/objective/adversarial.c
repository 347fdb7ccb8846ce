/* adversarial.c - what autoencoders are trained against, and by: a discriminator D that tells
 * patches of pictures from patches of what they are decoded to (2012.09841; latent diffusion has
 * it, 2112.10752). With the losses' hinges (1705.02894) and x^ as reconstruction.c has it
 *
 *     of D      (mean max(0, 1 - D(x)) + mean max(0, 1 + D(x^))) / 2
 *     of x^     distance + w lambda (- mean D(x^))
 *     lambda    1, or |d distance / d W| / (|d mean D(x^) / d W| + 1e-4), at most 1e4, where W is
 *               the weight of the decoder's last layer, and no derivative of lambda is taken
 *
 * Both begin at the step disc_start: D then knows nothing, and the decoder already makes pictures.
 * Held-out pictures are scored without D, so that the loss of one step can be held against that of
 * another. lambda is that of a microbatch.
 *
 * With u = d distance / d x^ and v = - d mean D(x^) / d x^ the gradient goes back as that of
 * <u + w lambda v, x^>, u and v being constants: each is made once, for lambda and for the rest. */
#include "objective/internal.h"

#define MOST_LAMBDA 1e4
#define LEAST_NORM  1e-4

vn_status vn_adversarial_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                               vn_err *err) {
    (void)path, (void)prediction;
    for (int i = VN_ADVERSARIAL + 1; i < VN_RECONSTRUCTION_PARAMS; i++)
        if (c->given[i] && c->value[VN_ADVERSARIAL] == 0)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s: %s has no effect without a weight of the discriminator "
                           "(adversarial=0.5)",
                           c->row->name, c->row->params[i].name);
    return VN_OK;
}

int64_t vn_adversarial_from(const vn_choice *c) {
    return c->value[VN_ADVERSARIAL] > 0 ? (int64_t)c->value[VN_DISC_START] : -1;
}

bool vn_adversarial_part(const vn_choice *c, vn_adversary *out) {
    *out = (vn_adversary){.start = (int64_t)c->value[VN_DISC_START],
                          .channels = (int64_t)c->value[VN_DISC_CHANNELS],
                          .layers = (int64_t)c->value[VN_DISC_LAYERS]};
    return c->value[VN_ADVERSARIAL] > 0;
}

/* ---- the discriminator ----------------------------------------------------------------------- */

static vn_node *judged(vn_loss *l, vn_node *x) {
    const vn_given given = {"sample", x};
    const vn_loss_call call = {
        .part = VN_LOSS_DISCRIMINATOR, .output = "logits", .n = 1, .given = &given};
    return l->network(l->self, &call);
}

/* The mean of max(0, 1 + sign D). */
static vn_node *hinge(vn_graph *g, vn_node *d, double sign) {
    return vn_mean(g, vn_unary(g, vn_affine(g, d, sign, 1), VN_FN_RELU));
}

vn_node *vn_discriminator_loss(vn_loss *l, vn_node *x) {
    vn_graph *g = l->g;
    vn_node *real = hinge(g, judged(l, l->x), -1),
            *made = hinge(g, judged(l, vn_stop_gradient(g, x)), 1);
    return vn_affine(g, vn_add(g, real, made), 0.5, 0);
}

/* ---- the autoencoder ------------------------------------------------------------------------- */

/* The weight of the layer whose answer x is, but for what comes after products; NULL: none. */
static vn_node *last_weight(vn_node *x) {
    while (x && x->op != VN_OP_CONV2D && x->op != VN_OP_LINEAR) x = x->inputs ? x->in[0] : NULL;
    vn_node *w = x ? x->in[1] : NULL;
    while (w && w->op != VN_OP_PARAM) w = w->inputs ? w->in[0] : NULL;
    return w;
}

/* |dx/dW^T cotangent| */
static vn_node *norm_by(vn_graph *g, vn_node *x, vn_node *cotangent, vn_node *w) {
    vn_node *by = NULL;
    if (!cotangent || vn_graph_gradient(g, x, cotangent, 1, &w, &by, NULL)) return NULL;
    const double count = (double)vn_shape_count(&by->shape);
    vn_node *square = vn_affine(g, vn_mean(g, vn_unary(g, by, VN_FN_SQUARE)), count, 0);
    return vn_unary(g, square, VN_FN_SQRT);
}

static vn_node *lambda_of(vn_graph *g, vn_node *x, vn_node *u, vn_node *v) {
    vn_node *w = last_weight(x);
    if (x && !w)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "the decoder ends in no layer with weights, which disc_adaptive=yes "
                             "looks at");
    vn_node *ratio =
        vn_div(g, norm_by(g, x, u, w), vn_affine(g, norm_by(g, x, v, w), 1, LEAST_NORM));
    vn_node *above = vn_unary(g, vn_affine(g, ratio, 1, -MOST_LAMBDA), VN_FN_RELU);
    return vn_sub(g, ratio, above);
}

static void fill_start(const vn_loss_sample *s, float *row) {
    row[0] = (double)s->step >= s->choice->value[VN_DISC_START];
}

/* The value of distance + amount realism, with the gradient of <u + amount v, x>. */
static vn_node *joined(vn_graph *g, vn_node *x, vn_node *distance, vn_node *realism,
                       vn_node *amount, vn_node *u, vn_node *v) {
    if (!x || !u || !v) return NULL;
    vn_node *value = vn_stop_gradient(g, vn_add(g, distance, vn_mul(g, realism, amount)));
    vn_node *back = vn_block_end(vn_stop_gradient(g, vn_add(g, u, vn_mul(g, v, amount))));
    vn_node *along =
        vn_affine(g, vn_mean(g, vn_mul(g, back, x)), (double)vn_shape_count(&x->shape), 0);
    return vn_add(g, value, vn_sub(g, along, vn_stop_gradient(g, along)));
}

vn_node *vn_adversarial_loss(const vn_choice *c, vn_loss *l, vn_node *distance, vn_node *x) {
    vn_graph *g = l->g;
    const double weight = c->value[VN_ADVERSARIAL];
    if (weight == 0 || l->held || !x) return distance;
    vn_node *on = vn_mean(g, vn_loss_filled(l, "start", VN_SHAPE(l->x->shape.dim[0]), fill_start));
    vn_node *realism = vn_affine(g, vn_mean(g, judged(l, x)), -1, 0);
    if (!c->value[VN_DISC_ADAPTIVE])
        return vn_add(g, distance, vn_affine(g, vn_mul(g, realism, on), weight, 0));
    vn_node *u = NULL, *v = NULL;
    if (!distance || !realism || vn_graph_gradient(g, distance, NULL, 1, &x, &u, NULL) ||
        vn_graph_gradient(g, realism, NULL, 1, &x, &v, NULL))
        return NULL;
    vn_node *amount = vn_affine(g, vn_mul(g, lambda_of(g, x, u, v), on), weight, 0);
    return joined(g, x, distance, realism, amount, u, v);
}
