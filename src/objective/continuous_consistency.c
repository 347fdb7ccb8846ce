/* continuous_consistency.c - sCM, continuous-time consistency models (2410.11081): a network whose
 * x0 is the same all along the ODE (consistency.c), learned with a gap from t to r that is 0. What
 * is left of the difference is a derivative along the ODE, and with it goes the error of a step.
 *
 * TrigFlow's coordinates are a change of variables of any path. With s = sigma/alpha and sd the
 * deviation of the data,
 *
 *     tau = atan(s/sd)                               0 at data, pi/2 at pure noise
 *     y   = cos(tau) x0 + sin(tau) sd eps            x_t times sd/sqrt(sd^2 alpha^2 + sigma^2)
 *     F   = cos(tau) eps - sin(tau) x0/sd            of the network's estimate: minus EDM's F
 *     D   = cos(tau) y - sin(tau) sd F               the x0 that is to be the same
 *
 * F is linear in x_t and the network's output, whatever that predicts, with coefficients of the
 * level. The objective moves F along the tangent
 *
 *     g = cos(tau) dD/dtau = -cos^2 (sd F - dy/dtau) - r cos sin (y + sd dF/dtau)
 *
 * where dF/dtau, along the ODE, is a forward derivative of the network (vn_graph_jvp), in
 * directions that are multiplied by r cos sin before it, so that none of them is large. r grows
 * from 0 to 1 in the first steps: at 0 this is flow matching, whose F the second term wants. g is
 * divided by its length plus c, and the loss of a sample is the mean square of F - stop(F + g).
 *
 *     scm           dy/dtau is that of the sample, cos sd eps - sin x0, which is right in the mean
 *     the method    it is the teacher's, guided: guidance is inside then
 *
 * How the coefficients change with tau is taken by central differences in double, from the path's
 * own inverse: so it is of any path, and to some 1e-8 of its size. */
#include "objective/internal.h"
#include "objective/teacher.h"

#include <math.h>

/* clang-format off */
#define SCM_PARAMS \
    {"warmup", "steps in which r, the part of the network's own derivative, grows from 0 to 1", \
     1000, 0, 1e9, 1, NULL}, \
    {"c", \
     "added to the length of the tangent (root mean square) that it is divided by; 0: it is not " \
     "divided; -1: 0.1, but 0 for points without a teacher, where the division moves the minimum", \
     -1, -1, 1e6, 0, NULL}, \
    {"sigma_data", \
     "deviation of the data, by which noise is counted; edm's own with --predict edm", 0.5, 1e-3, \
     1e3, 0, NULL}, \
    {"uncertainty", "learn how large the loss is at each time and divide by it", 0, 0, 1, 1, \
     "no|yes"}
/* clang-format on */
static const vn_param params[] = {SCM_PARAMS, {0}};
static const vn_param method_params[] = {SCM_PARAMS, VN_TEACHER_PARAMS, {0}};
enum { WARMUP, C, DEVIATION, UNCERTAINTY, GUIDANCE };
#define USUAL_C 0.1

/* ---- a level in TrigFlow's coordinates ------------------------------------------------------- */

/* y = of_y x and F = of_x x + of_raw raw, with x and raw the network's input and output. */
typedef struct trig {
    double time; /* the network's */
    double of_y, of_x, of_raw;
} trig;

static double tau_of(const vn_level *l, double sd) {
    return atan2(l->sigma, sd * l->alpha);
}

static trig trig_at(const vn_path *path, const vn_prediction *p, const vn_level *l, double sd) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    const double q = hypot(sd * l->alpha, l->sigma), c = sd * l->alpha / q, s = l->sigma / q / sd;
    return (trig){.time = vn_path_network_time(path, l),
                  .of_y = sd / (q * m.input),
                  .of_x = (c * m.eps_x - s * m.x0_x) / m.input,
                  .of_raw = c * m.eps_raw - s * m.x0_raw};
}

/* Its derivatives by tau. The levels between which it is taken stay on the path. */
static trig slope_at(const vn_path *path, const vn_prediction *p, const vn_level *l, double sd) {
    const vn_level least = vn_path_level(path, 0), most = vn_path_level(path, 1);
    const double half_turn = acos(-1.0) / 2, tau = tau_of(l, sd),
                 h = 1e-4 * fmin(tau, half_turn - tau) + 1e-9,
                 from = fmax(tau - h, tau_of(&least, sd)), to = fmin(tau + h, tau_of(&most, sd));
    const vn_level below = vn_path_level_of_ratio(path, sd * tan(from)),
                   above = vn_path_level_of_ratio(path, sd * tan(to));
    const trig a = trig_at(path, p, &below, sd), b = trig_at(path, p, &above, sd);
    return (trig){.time = (b.time - a.time) / (to - from),
                  .of_y = (b.of_y - a.of_y) / (to - from),
                  .of_x = (b.of_x - a.of_x) / (to - from),
                  .of_raw = (b.of_raw - a.of_raw) / (to - from)};
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* r cos sin */
static double share_of(const vn_loss_sample *s, double tau) {
    const double warmup = s->choice->value[WARMUP];
    return (warmup > 0 ? fmin((double)s->step / warmup, 1) : 1) * cos(tau) * sin(tau);
}

/* What the network's time changes by along the direction. */
static void fill_turn(const vn_loss_sample *s, float *row) {
    const double sd = s->choice->value[DEVIATION];
    row[0] = (float)(share_of(s, tau_of(s->level, sd)) *
                     slope_at(s->path, s->prediction, s->level, sd).time);
}

/* F = OF_X x + OF_RAW raw; the direction of x is FLOW_ALONG flow + X_ALONG x, with flow =
 * dy/dtau; and g is the sum of FLOW flow, X x, RAW raw, ALONG direction and TURN the network's
 * derivative. */
enum { OF_X, OF_RAW, FLOW_ALONG, X_ALONG, FLOW, X, RAW, ALONG, TURN, NUMBERS };

static void fill_numbers(const vn_loss_sample *s, float *row) {
    const double sd = s->choice->value[DEVIATION], tau = tau_of(s->level, sd),
                 share = share_of(s, tau), square = cos(tau) * cos(tau);
    const trig is = trig_at(s->path, s->prediction, s->level, sd),
               slope = slope_at(s->path, s->prediction, s->level, sd);
    row[OF_X] = (float)is.of_x;
    row[OF_RAW] = (float)is.of_raw;
    row[FLOW_ALONG] = (float)(share / is.of_y);
    row[X_ALONG] = (float)(-share * slope.of_y / is.of_y);
    row[FLOW] = (float)square;
    row[X] = (float)(-square * sd * is.of_x - share * (is.of_y + sd * slope.of_x));
    row[RAW] = (float)(-square * sd * is.of_raw - share * sd * slope.of_raw);
    row[ALONG] = (float)(-sd * is.of_x);
    row[TURN] = (float)(-sd * is.of_raw);
}

/* cos sd eps - sin x0 */
static void flow_of(const vn_level *l, double sd, int64_t size, const float *restrict x0,
                    const float *restrict eps, float *restrict row) {
    const double tau = tau_of(l, sd);
    const float a = (float)(sd * cos(tau)), b = (float)sin(tau);
    for (int64_t i = 0; i < size; i++) row[i] = a * eps[i] - b * x0[i];
}

static void fill_flow(const vn_loss_sample *s, float *row) {
    flow_of(s->level, s->choice->value[DEVIATION], s->size, s->x0, s->eps, row);
}

static vn_status ask_flow(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_teacher_rows *rows = b->rows;
    const vn_status status = vn_teacher_ask_guided(b, GUIDANCE, err);
    for (int64_t i = 0; i < b->n && !status; i++)
        flow_of(&b->level[i], b->choice->value[DEVIATION], b->size, rows->x0 + i * b->size,
                rows->eps + i * b->size, out + i * b->size);
    return status;
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* a x + b y, with a and b numbers of each sample. */
static vn_node *blend(vn_loss *l, vn_node *numbers, int a, vn_node *x, int b, vn_node *y) {
    return vn_add(l->g, vn_mul(l->g, x, vn_number_of(l->g, numbers, a, l->x)),
                  vn_mul(l->g, y, vn_number_of(l->g, numbers, b, l->x)));
}

static vn_node *tangent_of(vn_loss *l, vn_node *raw, vn_node *numbers, vn_node *flow) {
    vn_graph *g = l->g;
    vn_node *along = blend(l, numbers, FLOW_ALONG, flow, X_ALONG, l->x), *turn = NULL;
    vn_node *const by[] = {l->x, l->time};
    vn_node *const all[] = {along,
                            vn_loss_filled(l, "turn", VN_SHAPE(l->x->shape.dim[0]), fill_turn)};
    vn_graph_jvp(g, raw, 2, by, all, &turn, NULL);
    if (!turn) return NULL;
    vn_node *rest = vn_mul(g, raw, vn_number_of(g, numbers, RAW, l->x));
    return vn_add(g, rest,
                  vn_add(g, blend(l, numbers, FLOW, flow, X, l->x),
                         blend(l, numbers, ALONG, along, TURN, turn)));
}

/* g/(|g| + c), with |g| the root mean square of a sample's numbers. */
static vn_node *bounded(vn_graph *g, vn_node *tangent, double c) {
    if (c == 0 || !tangent) return tangent;
    const vn_shape one = vn_sample_shape(&tangent->shape);
    const double size = (double)vn_shape_count(&tangent->shape) / (double)one.dim[0];
    vn_node *square = vn_sum_to(g, vn_unary(g, tangent, VN_FN_SQUARE), one);
    vn_node *length = vn_unary(g, vn_affine(g, square, 1 / size, 0), VN_FN_SQRT);
    return vn_div(g, tangent, vn_affine(g, length, 1, c));
}

static vn_node *loss_of(const vn_choice *c, vn_loss *l, vn_node *flow, bool taught) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    const double usual = taught || l->x->shape.rank == 4 ? USUAL_C : 0;
    vn_node *numbers = vn_loss_filled(l, "numbers", VN_SHAPE(n.dim[0], NUMBERS), fill_numbers);
    vn_node *raw = vn_loss_output(l);
    vn_node *tangent =
        bounded(g, tangent_of(l, raw, numbers, flow), c->value[C] < 0 ? usual : c->value[C]);
    vn_node *f = blend(l, numbers, OF_X, l->x, OF_RAW, raw);
    vn_node *target = vn_stop_gradient(g, vn_add(g, f, tangent));
    return vn_weighed_loss(l, f, target, vn_fill(g, n, 1), c->value[UNCERTAINTY] != 0);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    return loss_of(c, l, vn_loss_filled(l, "flow", l->x->shape, fill_flow), false);
}

static vn_node *loss_of_method(const vn_choice *c, vn_loss *l) {
    return loss_of(c, l, vn_loss_asked(l, "flow", l->x->shape, ask_flow), true);
}

static bool estimates(const vn_choice *c) {
    return c->value[UNCERTAINTY] != 0;
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    (void)path;
    const double own = vn_prediction_deviation(prediction);
    if (own > 0 && c->given[DEVIATION] && c->value[DEVIATION] != own)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: sigma_data %g differs from %g, by which the prediction edm scales",
                       c->row->name, c->value[DEVIATION], own);
    if (own > 0) c->value[DEVIATION] = own;
    return VN_OK;
}

#define TIMES "edm:mean=-1,std=1.4"

const vn_objective_row vn_scm_objective = {
    .row = {"scm",
            "continuous-time consistency training (sCM, TrigFlow), from nothing or of a finished "
            "run: x0 does not change along the ODE, for samples in 1 or 2 steps",
            "2410.11081", params},
    .predictions = VN_CONSISTENT,
    .gives = VN_GIVES_SLOW_TIME,
    .times = TIMES,
    .check = check,
    .sampled = vn_consistency_sampled,
    .loss = loss,
    .estimates = estimates,
};

const vn_objective_row vn_scm_method = {
    .row = {"scm",
            "continuous-time consistency distillation (sCM, TrigFlow): x0 does not change along "
            "the teacher's guided ODE, for samples in 1 or 2 steps",
            "2410.11081", method_params},
    .predictions = VN_CONSISTENT,
    .asks = 1 << VN_ASK_TEACHER,
    .gives = VN_GIVES_SLOW_TIME,
    .times = TIMES,
    .check = check,
    .sampled = vn_consistency_sampled,
    .loss = loss_of_method,
    .estimates = estimates,
};
