/* mean_flow.c - MeanFlow (2505.13447): the network is told where the step ends, r, and learns the
 * average velocity over it,
 *
 *     u(x_t, r, t) = (x_t - x_r) / (t - r)            along the flow dx/dt = v
 *
 * which the derivative along the flow ties to v, with no flow to be followed:
 *
 *     u = v - (t - r) du/dt,      du/dt = v . grad_x u + du/dt at fixed x
 *
 * v is unknown, but the identity is linear in it, so the velocity of the sample, alpha' x0 + sigma'
 * eps, stands for it in expectation. du/dt is a forward derivative of the network (vn_graph_jvp),
 * held constant as part of the target. At r = t, in the part `same` of the samples, this is flow
 * matching.
 *
 * Guidance is inside, and costs nothing when sampling: v becomes
 *
 *     omega v + kappa u(x,t,t|c) + (1 - omega - kappa) u(x,t,t|none)
 *
 * whose strength is omega/(1 - kappa). Samples without condition keep v, with r = t.
 *
 * The loss of a sample is e/(e + c)^p with e its squared error, the denominator held constant.
 *
 * The paper draws t and r as the larger and the smaller of two. Here t is drawn as everywhere, and
 * r evenly from 0 to t, so that samples come near r = 0, where one step goes. */
#include "objective/internal.h"

#include <math.h>

#define PICTURES 1.5 /* omega of pictures: what they are sampled with (sample/defaults.c) */

static const vn_param params[] = {
    {"omega",
     "of the velocity, the strength of guidance inside; 0: 1.5 for pictures with classes, "
     "else 1",
     0, 0, 100, 0, NULL},
    {"kappa", "of the network's own guided velocity; the strength is omega/(1-kappa)", 0, 0, 0.99,
     0, NULL},
    {"same", "part of the samples with r = t", 0.75, 0, 1, 0, NULL},
    {"p", "power of the adaptive weight", 0.75, 0, 2, 0, NULL},
    {"c", "added to the squared error in it", 1e-3, 0, 1e6, 0, NULL},
    {0},
};
enum { OMEGA, KAPPA, SAME, POWER, ADDED };

/* Where the sample's step ends. */
static double end_of(const vn_loss_sample *s) {
    float u[2];
    const bool dropped = s->given != s->label;
    vn_random_uniform(u, 2, s->seed, VN_STREAM_STEP_END, s->sample, s->step);
    return dropped || (double)u[0] < s->choice->value[SAME] ? s->level->t
                                                            : s->level->t * (double)u[1];
}

static void fill_end(const vn_loss_sample *s, float *row) {
    const double r = end_of(s);
    const vn_level end = vn_path_level(s->path, r);
    *row = (float)vn_path_network_time(s->path, r == s->level->t ? s->level : &end);
}

static void fill_length(const vn_loss_sample *s, float *row) {
    *row = (float)(s->level->t - end_of(s));
}

/* ---- guidance -------------------------------------------------------------------------------- */

static double omega_of(const vn_choice *c, const vn_loss *l) {
    if (c->value[OMEGA] > 0) return c->value[OMEGA];
    return l->drops && l->x && l->x->shape.rank == 4 ? PICTURES : 1;
}

/* Of the sample's velocity, and of the network's with and without its condition. */
enum { OF_SAMPLE, OF_CONDITION, OF_NONE, SHARES };

static void share(const vn_loss_sample *s, double omega, float *row) {
    const bool dropped = s->given != s->label;
    const double kappa = s->choice->value[KAPPA];
    row[OF_SAMPLE] = dropped ? 1 : (float)omega;
    row[OF_CONDITION] = dropped ? 0 : (float)kappa;
    row[OF_NONE] = dropped ? 0 : (float)(1 - omega - kappa);
}

/* Of points, and of pictures, whose omega is another where none is asked for. */
static void fill_shares(const vn_loss_sample *s, float *row) {
    share(s, s->choice->value[OMEGA] > 0 ? s->choice->value[OMEGA] : 1, row);
}

static void fill_picture_shares(const vn_loss_sample *s, float *row) {
    share(s, s->choice->value[OMEGA] > 0 ? s->choice->value[OMEGA] : PICTURES, row);
}

static vn_node *null_labels(const vn_loss *l) {
    const int64_t n = l->x->shape.dim[0];
    int32_t *labels = vn_alloc((size_t)n, sizeof *labels);
    if (!labels) return vn_graph_fail(l->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < n; i++) labels[i] = l->null_label;
    vn_node *node = vn_const(l->g, VN_I32, VN_SHAPE(n), labels);
    vn_free(labels);
    return node;
}

/* The network's velocity itself, a constant; of the batch's conditions, or of none. */
static vn_node *velocity(vn_loss *l, bool conditioned) {
    const vn_given given[] = {{VN_LOSS_STEP_END, l->time},
                              {"class_labels", conditioned ? NULL : null_labels(l)}};
    const vn_loss_call call = {.n = conditioned ? 1 : 2, .given = given, .same_dropout = true};
    return vn_stop_gradient(l->g, l->network(l->self, &call));
}

static vn_node *guided(const vn_choice *c, vn_loss *l, vn_node *target) {
    const double omega = omega_of(c, l), kappa = c->value[KAPPA];
    vn_graph *g = l->g;
    if (omega == 1 && kappa == 0) return target;
    if (!l->drops)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "mean-flow: omega and kappa are of guidance, which needs classes, and "
                             "samples trained without a class (drop)");
    vn_node *shares = vn_loss_filled(l, "shares", VN_SHAPE(l->x->shape.dim[0], SHARES),
                                     l->x->shape.rank == 4 ? fill_picture_shares : fill_shares);
    vn_node *v = vn_mul(g, target, vn_number_of(g, shares, OF_SAMPLE, l->x));
    if (kappa > 0)
        v = vn_add(g, v, vn_mul(g, velocity(l, true), vn_number_of(g, shares, OF_CONDITION, l->x)));
    return vn_add(g, v, vn_mul(g, velocity(l, false), vn_number_of(g, shares, OF_NONE, l->x)));
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* By how much the network's time grows with t, which check has found to be even. */
static double time_slope(const vn_path *p) {
    const vn_level none = vn_path_level(p, 0), all = vn_path_level(p, 1);
    return vn_path_network_time(p, &all) - vn_path_network_time(p, &none);
}

/* (e + c)^-p, a constant. */
static vn_node *adaptive_weight(vn_graph *g, const vn_choice *c, vn_node *error) {
    vn_node *sum = vn_affine(g, vn_stop_gradient(g, error), 1, c->value[ADDED]);
    return vn_unary(g, vn_affine(g, vn_unary(g, sum, VN_FN_LOG), -c->value[POWER], 0), VN_FN_EXP);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    const vn_given end = {VN_LOSS_STEP_END, vn_loss_filled(l, "end", n, fill_end)};
    vn_node *u = l->network(l->self, &(vn_loss_call){.n = 1, .given = &end}), *slope = NULL;
    vn_node *v = guided(c, l, vn_loss_target(l));
    vn_node *const by[] = {l->x, l->time}, *const along[] = {v, vn_fill(g, n, time_slope(l->path))};
    vn_graph_jvp(g, u, 2, by, along, &slope, NULL);
    vn_node *length = vn_per_sample(g, vn_loss_filled(l, "length", n, fill_length), l->x);
    vn_node *target = vn_stop_gradient(g, vn_sub(g, v, vn_mul(g, slope, length)));
    vn_node *error = vn_sum_to(g, vn_unary(g, vn_sub(g, u, target), VN_FN_SQUARE),
                               vn_sample_shape(&l->x->shape));
    return vn_mean(g, vn_mul(g, error, adaptive_weight(g, c, error)));
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    (void)prediction;
    const vn_level first = vn_path_level(path, 0), middle = vn_path_level(path, 0.5),
                   last = vn_path_level(path, 1);
    const double half =
        0.5 * (vn_path_network_time(path, &first) + vn_path_network_time(path, &last));
    if (!path->steps && isfinite(first.dsigma) &&
        fabs(vn_path_network_time(path, &middle) - half) < 1e-9 * fabs(half))
        return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the objective %s is for paths whose velocity is finite and whose time is even, "
                   "as rectified and trigonometric; not for %s",
                   c->row->name, path->row->row.name);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){.sampler = "flow-map", .steps = 2, .guided = true};
}

const vn_objective_row vn_mean_flow_objective = {
    .row = {"mean-flow",
            "MeanFlow: the average velocity over a step of any length, for samples in 1, 2 or 4 "
            "steps",
            "2505.13447", params},
    .predictions = "velocity",
    .gives = VN_GIVES_STEP_END,
    .times = "logit-normal:mean=0.2",
    .check = check,
    .sampled = sampled,
    .loss = loss,
};
