/* flow_map.c - see the header. */
#include "objective/flow_map.h"

#include <math.h>

/* omega of pictures, at any noise and in an interval: what they are sampled with
 * (sample/defaults.c) */
#define PICTURES    1.5
#define IN_INTERVAL 2.0
enum { OMEGA, KAPPA, BOUNDS };

/* Over the many numbers of a picture e hardly differs from its mean, and the weight is one of the
 * level; over two numbers it differs with the sample, and a weight by it moves the minimum. */
#define USUAL_POWER 0.75

/* ---- where a step ends ----------------------------------------------------------------------- */

double vn_flow_map_end(const vn_loss_sample *s, double same) {
    float u[2];
    vn_random_uniform(u, 2, s->seed, VN_STREAM_STEP_END, s->sample, s->step);
    return vn_loss_is_dropped(s) || (double)u[0] < same ? s->level->t : s->level->t * (double)u[1];
}

float vn_flow_map_end_time(const vn_loss_sample *s, double r) {
    const vn_level end = vn_path_level(s->path, r);
    return (float)vn_path_network_time(s->path, r == s->level->t ? s->level : &end);
}

vn_status vn_flow_map_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
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

/* ---- guidance -------------------------------------------------------------------------------- */

static double omega_of(const vn_choice *c, bool pictures) {
    if (c->value[OMEGA] > 0) return c->value[OMEGA];
    if (!pictures) return 1;
    return c->value[BOUNDS + VN_GUIDED_HI] > 0 ? IN_INTERVAL : PICTURES;
}

/* Of the sample's velocity, and of the network's with and without its condition. */
enum { OF_SAMPLE, OF_CONDITION, OF_NONE, SHARES };

static void share(const vn_loss_sample *s, bool pictures, float *row) {
    const bool guided = !vn_loss_is_dropped(s) && vn_guided_at(s->choice->value + BOUNDS, s->level);
    const double kappa = s->choice->value[KAPPA], omega = omega_of(s->choice, pictures);
    row[OF_SAMPLE] = guided ? (float)omega : 1;
    row[OF_CONDITION] = guided ? (float)kappa : 0;
    row[OF_NONE] = guided ? (float)(1 - omega - kappa) : 0;
}

static void fill_shares(const vn_loss_sample *s, float *row) {
    share(s, false, row);
}

static void fill_picture_shares(const vn_loss_sample *s, float *row) {
    share(s, true, row);
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

vn_node *vn_flow_map_velocity(vn_loss *l, bool conditioned, vn_node *strength) {
    vn_given given[3] = {{VN_LOSS_STEP_END, l->time}};
    vn_loss_call call = {.n = 1, .given = given, .same_dropout = true};
    if (strength) given[call.n++] = (vn_given){VN_LOSS_GUIDANCE, strength};
    if (!conditioned) given[call.n++] = (vn_given){"class_labels", null_labels(l)};
    return vn_stop_gradient(l->g, l->network(l->self, &call));
}

vn_node *vn_flow_map_guided(const vn_choice *c, vn_loss *l, vn_node *target) {
    const bool pictures = l->x->shape.rank == 4;
    const double omega = omega_of(c, pictures && l->drops), kappa = c->value[KAPPA];
    vn_graph *g = l->g;
    if (omega == 1 && kappa == 0) return target;
    if (!l->drops) {
        vn_graph_label(g, "%s", "");
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "%s: omega and kappa are of guidance, which needs classes, and "
                             "samples trained without a class (drop)",
                             c->row->name);
    }
    vn_node *shares = vn_loss_filled(l, "shares", VN_SHAPE(l->x->shape.dim[0], SHARES),
                                     pictures ? fill_picture_shares : fill_shares);
    vn_node *v = vn_mul(g, target, vn_number_of(g, shares, OF_SAMPLE, l->x));
    if (kappa > 0)
        v = vn_add(g, v,
                   vn_mul(g, vn_flow_map_velocity(l, true, NULL),
                          vn_number_of(g, shares, OF_CONDITION, l->x)));
    return vn_add(
        g, v,
        vn_mul(g, vn_flow_map_velocity(l, false, NULL), vn_number_of(g, shares, OF_NONE, l->x)));
}

/* ---- the derivative along the flow ----------------------------------------------------------- */

/* By how much the network's time grows with t, which check has found to be even. */
static double time_slope(const vn_path *p) {
    const vn_level none = vn_path_level(p, 0), all = vn_path_level(p, 1);
    return vn_path_network_time(p, &all) - vn_path_network_time(p, &none);
}

/* (e + c)^-p, a constant. */
static vn_node *adaptive_weight(vn_graph *g, vn_node *error, double power, double added) {
    vn_node *sum = vn_affine(g, vn_stop_gradient(g, error), 1, added);
    return vn_unary(g, vn_affine(g, vn_unary(g, sum, VN_FN_LOG), -power, 0), VN_FN_EXP);
}

vn_node *vn_flow_map_slope(vn_loss *l, vn_node *u, vn_node *along) {
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    vn_node *const by[] = {l->x, l->time}, *const all[] = {along,
                                                           vn_fill(l->g, n, time_slope(l->path))};
    vn_node *slope = NULL;
    vn_graph_jvp(l->g, u, 2, by, all, &slope, NULL);
    return slope;
}

vn_node *vn_flow_map_error(vn_loss *l, vn_node *u, vn_node *target, double power, double added) {
    vn_graph *g = l->g;
    vn_node *apart = vn_sub(g, u, vn_stop_gradient(g, target));
    vn_node *error = vn_sum_to(g, vn_unary(g, apart, VN_FN_SQUARE), vn_sample_shape(&l->x->shape));
    if (power < 0) power = l->x->shape.rank == 4 ? USUAL_POWER : 0;
    if (power == 0) return vn_mean(g, error);
    return vn_mean(g, vn_mul(g, error, adaptive_weight(g, error, power, added)));
}
