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
 * The derivative is the same in expectation along any velocity with the mean v. tangent=network
 * goes along the network's own at r = t (improved MeanFlow, 2512.02012), which has no noise of
 * the sample's and costs a pass.
 *
 * improved-mean-flow does so, and takes the strength of guidance as an input, log-uniform from 1 to
 * `most`. With strength w, what stands for v is
 *
 *     v + (1 - 1/w) (u(x,t,t|c,w) - u(x,t,t|none,w))
 *
 * which is omega = 1, kappa = 1 - 1/w above, so that one network has all strengths in one pass.
 *
 * The loss of a sample is e/(e + c)^p with e its squared error, the denominator held constant.
 *
 * The paper draws t and r as the larger and the smaller of two. Here t is drawn as everywhere, and
 * r evenly from 0 to t, so that samples come near r = 0, where one step goes. */
#include "objective/flow_map.h"

#include <math.h>

static const vn_param params[] = {
    VN_FLOW_MAP_GUIDANCE,
    VN_MEAN_FLOW_PARAMS(0.75),
    {"tangent", "along whose velocity du/dt is taken", 0, 0, 1, 1, "sample|network"},
    {0},
};
enum { SAME = VN_FLOW_MAP_GUIDED, POWER, ADDED, TANGENT };

static const vn_param improved_params[] = {
    VN_MEAN_FLOW_PARAMS(0.5),
    {"most", "largest strength of guidance that is learned", 8, 1, 1e3, 0, NULL},
    VN_GUIDED_PARAMS,
    {0},
};
enum { IMPROVED_SAME, IMPROVED_POWER, IMPROVED_ADDED, MOST, BOUNDS };

static void fill_end(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, vn_flow_map_end(s, s->choice->value[SAME]));
}

static void fill_length(const vn_loss_sample *s, float *row) {
    *row = (float)(s->level->t - vn_flow_map_end(s, s->choice->value[SAME]));
}

/* v - (t - r) du/dt */
static vn_node *target_of(vn_loss *l, vn_node *v, vn_node *slope, vn_loss_fill *length) {
    vn_node *t = vn_loss_filled(l, "length", VN_SHAPE(l->x->shape.dim[0]), length);
    return vn_sub(l->g, v, vn_mul(l->g, slope, vn_per_sample(l->g, t, l->x)));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    const vn_given end = {VN_LOSS_STEP_END, vn_loss_filled(l, "end", n, fill_end)};
    vn_node *u = l->network(l->self, &(vn_loss_call){.n = 1, .given = &end});
    vn_node *v = vn_flow_map_guided(c, l, vn_loss_target(l));
    vn_node *along = c->value[TANGENT] != 0 ? vn_flow_map_velocity(l, true, NULL) : v;
    vn_node *target = target_of(l, v, vn_flow_map_slope(l, u, along), fill_length);
    return vn_flow_map_error(l, u, target, c->value[POWER], c->value[ADDED]);
}

/* ---- guidance as an input -------------------------------------------------------------------- */

static void fill_improved_end(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, vn_flow_map_end(s, s->choice->value[IMPROVED_SAME]));
}

static void fill_improved_length(const vn_loss_sample *s, float *row) {
    *row = (float)(s->level->t - vn_flow_map_end(s, s->choice->value[IMPROVED_SAME]));
}

static double strength_of(const vn_loss_sample *s) {
    return pow(s->choice->value[MOST],
               vn_random_double(s->seed, VN_STREAM_STRENGTH, s->sample, s->step));
}

static void fill_strength(const vn_loss_sample *s, float *row) {
    *row = (float)strength_of(s);
}

/* Of the difference that the condition makes. */
static void fill_share(const vn_loss_sample *s, float *row) {
    const bool guided = !vn_loss_is_dropped(s) && vn_guided_at(s->choice->value + BOUNDS, s->level);
    *row = guided ? (float)(1 - 1 / strength_of(s)) : 0;
}

static vn_node *improved_loss(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    if (!l->drops)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "%s takes guidance as an input, which needs classes, and samples "
                             "trained without a class (drop); mean-flow:tangent=network does "
                             "without",
                             c->row->name);
    vn_node *strength = vn_loss_filled(l, "strength", n, fill_strength);
    const vn_given given[] = {{VN_LOSS_STEP_END, vn_loss_filled(l, "end", n, fill_improved_end)},
                              {VN_LOSS_GUIDANCE, strength}};
    vn_node *u = l->network(l->self, &(vn_loss_call){.n = 2, .given = given});
    vn_node *own = vn_flow_map_velocity(l, true, strength),
            *none = vn_flow_map_velocity(l, false, strength),
            *share = vn_per_sample(g, vn_loss_filled(l, "share", n, fill_share), l->x);
    vn_node *v = vn_add(g, vn_loss_target(l), vn_mul(g, vn_sub(g, own, none), share));
    vn_node *target = target_of(l, v, vn_flow_map_slope(l, u, own), fill_improved_length);
    return vn_flow_map_error(l, u, target, c->value[IMPROVED_POWER], c->value[IMPROVED_ADDED]);
}

static void improved_sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){.sampler = "flow-map", .guide = "embedded", .steps = 2};
}

#define TIMES "logit-normal:mean=0.2"

const vn_objective_row vn_improved_mean_flow_objective = {
    .row = {"improved-mean-flow",
            "MeanFlow along the network's own velocity, with the strength of guidance as an input: "
            "samples in 1, 2 or 4 steps at any strength",
            "2512.02012", improved_params},
    .predictions = "velocity",
    .gives = VN_GIVES_STEP_END | VN_GIVES_GUIDANCE,
    .times = TIMES,
    .check = vn_flow_map_check,
    .sampled = improved_sampled,
    .loss = improved_loss,
};

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
    .times = TIMES,
    .check = vn_flow_map_check,
    .sampled = sampled,
    .loss = loss,
};
