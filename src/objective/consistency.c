/* consistency.c - consistency models: the network's x0 is the end of the ODE through x_t, so it is
 * the same all along the ODE, and one step is all (2303.01469).
 *
 *     D(x_t, t) is to be D(x_r, r) at an earlier r, the same weights held constant, with the same
 *     noise and dropout; at data D(x, 0) = x, which holds by itself as sigma goes to 0.
 *
 *     consistency   x_r is of the same sample and noise as x_t: needs no teacher; from nothing
 *                   (iCT 2310.14189), or a tuning of a finished run (ECT 2406.14548)
 *     the method    x_r is where the teacher's guided step leads from x_t (2303.01469; guided as in
 *                   2310.04378): guidance is then inside
 *
 * In noise-to-signal s = sigma/alpha, of any path, ECT's mapping is
 *
 *     s_r = s (1 - n(s)/(q 2^k)),       n(s) = 1 + 8 sigmoid(-s)
 *
 * with k the number of times that the gap has been halved, once every so many steps. The loss of a
 * sample is (sqrt(mean square + c^2) - c)/(s - s_r), iCT's metric with c for one number. */
#include "objective/consistency.h"
#include "objective/teacher.h"

#include <math.h>
#include <string.h>

#define MOST_RATIO   1e4 /* that stands for pure noise, where s is infinite */
#define MOST_HALVING 16

/* clang-format off */
#define GAP_PARAMS \
    {"q", "the gap from t to r is about 1/q of t, at first", 256, 6, 1e6, 0, NULL}, \
    {"halve", "steps after which the gap is halved, again and again; 0: never", 0, 0, 1e9, 1, \
     NULL}, \
    {"c", "of the metric sqrt(e + c^2) - c, between absolute and squared error", 0.00054, 1e-8, \
     1e3, 0, NULL}
/* clang-format on */
static const vn_param params[] = {GAP_PARAMS, {0}};
static const vn_param method_params[] = {GAP_PARAMS, VN_TEACHER_PARAMS, {0}};
enum { Q, HALVE, C, GUIDANCE };

/* ---- the earlier level ----------------------------------------------------------------------- */

static double ratio_of(const vn_level *l) {
    return fmin(vn_level_ratio(l), MOST_RATIO);
}

static double earlier_ratio(const vn_choice *c, uint64_t step, const vn_level *l) {
    const double s = ratio_of(l), halve = c->value[HALVE],
                 times = halve > 0 ? fmin(floor((double)step / halve), MOST_HALVING) : 0;
    return s * (1 - (1 + 8 / (1 + exp(s))) / (c->value[Q] * exp2(times)));
}

static vn_level earlier(const vn_choice *c, const vn_path *path, uint64_t step, const vn_level *l) {
    return vn_path_level_of_ratio(path, earlier_ratio(c, step, l));
}

static vn_level earlier_of(const vn_loss_sample *s) {
    return earlier(s->choice, s->path, s->step, s->level);
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void fill_time(const vn_loss_sample *s, float *row) {
    const vn_level r = earlier_of(s);
    *row = (float)vn_path_network_time(s->path, &r);
}

/* x_r as the network sees it, of the same sample and noise. */
static void fill_x(const vn_loss_sample *s, float *restrict row) {
    const vn_level r = earlier_of(s);
    const double input = vn_prediction_coefficients(s->prediction, &r).input;
    const float a = (float)(input * r.alpha), b = (float)(input * r.sigma);
    const float *restrict x0 = s->x0, *restrict eps = s->eps;
    for (int64_t i = 0; i < s->size; i++) row[i] = a * x0[i] + b * eps[i];
}

void vn_consistency_step(const vn_loss_batch *b, int64_t i, const vn_level *r, float *x) {
    const vn_teacher_rows *rows = b->rows;
    const double input = vn_prediction_coefficients(b->prediction, r).input;
    const float *x0 = rows->x0 + i * b->size, *eps = rows->eps + i * b->size;
    const float p = (float)(input * r->alpha), q = (float)(input * r->sigma);
    for (int64_t j = 0; j < b->size; j++) x[j] = p * x0[j] + q * eps[j];
}

/* x_r where the teacher's step leads from x_t. */
static vn_status ask_x(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_status status = vn_teacher_ask_guided(b, GUIDANCE, err);
    for (int64_t i = 0; i < b->n && !status; i++) {
        const vn_level r = earlier(b->choice, b->path, b->step, &b->level[i]);
        vn_consistency_step(b, i, &r, out + i * b->size);
    }
    return status;
}

static void fill_numbers(const vn_loss_sample *s, float *row) {
    const vn_level r = earlier_of(s);
    const vn_coefficients m = vn_prediction_coefficients(s->prediction, &r);
    row[VN_END_OF_X] = (float)(s->m->x0_x / s->m->input);
    row[VN_END_OF_RAW] = (float)s->m->x0_raw;
    row[VN_EARLIER_OF_X] = (float)(m.x0_x / m.input);
    row[VN_EARLIER_OF_RAW] = (float)m.x0_raw;
    row[VN_END_WEIGHT] =
        (float)(1 / (ratio_of(s->level) - earlier_ratio(s->choice, s->step, s->level)));
}

/* ---- the loss -------------------------------------------------------------------------------- */

static vn_node *end_of(vn_loss *l, vn_node *x, vn_node *raw, vn_node *numbers, int first) {
    vn_graph *g = l->g;
    return vn_add(g, vn_mul(g, x, vn_number_of(g, numbers, first, l->x)),
                  vn_mul(g, raw, vn_number_of(g, numbers, first + 1, l->x)));
}

vn_node *vn_consistency_loss(vn_loss *l, double c, vn_node *earlier_x, vn_loss_fill *numbers_of,
                             vn_loss_fill *time) {
    vn_graph *g = l->g;
    const vn_shape *shape = &l->x->shape, n = VN_SHAPE(shape->dim[0]);
    const double size = (double)vn_shape_count(shape) / (double)shape->dim[0];
    vn_node *numbers =
        vn_loss_filled(l, "numbers", VN_SHAPE(shape->dim[0], VN_END_NUMBERS), numbers_of);
    vn_node *later = end_of(l, l->x, vn_loss_output(l), numbers, VN_END_OF_X);
    const vn_given given[] = {{"sample", earlier_x},
                              {"timestep", vn_loss_filled(l, "time", n, time)}};
    const vn_loss_call call = {.n = 2, .given = given, .same_dropout = true};
    vn_node *before = end_of(l, earlier_x, l->network(l->self, &call), numbers, VN_EARLIER_OF_X);
    vn_node *apart = vn_sub(g, later, vn_stop_gradient(g, before));
    vn_node *square = vn_sum_to(g, vn_unary(g, apart, VN_FN_SQUARE), vn_sample_shape(shape));
    vn_node *distance = vn_unary(g, vn_affine(g, square, 1 / size, c * c), VN_FN_SQRT);
    return vn_mean(
        g, vn_mul(g, vn_affine(g, distance, 1, -c), vn_number_of(g, numbers, VN_END_WEIGHT, l->x)));
}

static vn_node *loss_of(const vn_choice *c, vn_loss *l, vn_node *earlier_x) {
    return vn_consistency_loss(l, c->value[C], earlier_x, fill_numbers, fill_time);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    return loss_of(c, l, vn_loss_filled(l, "earlier", l->x->shape, fill_x));
}

static vn_node *loss_of_method(const vn_choice *c, vn_loss *l) {
    return loss_of(c, l, vn_loss_asked(l, "earlier", l->x->shape, ask_x));
}

void vn_consistency_sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){
        .sampler = "consistency:sigma_min=0", .steps = 2, .guided = true, .consistency = true};
}

#define TIMES "edm:mean=-1.1,std=2"

const vn_objective_row vn_consistency_objective = {
    .row = {"consistency",
            "consistency training, from nothing or of a finished run: x0 is the same at t and "
            "earlier, for samples in 1 or 2 steps",
            "2406.14548", params},
    .predictions = VN_CONSISTENT,
    .times = TIMES,
    .sampled = vn_consistency_sampled,
    .loss = loss,
};

const vn_objective_row vn_consistency_method = {
    .row = {"consistency",
            "consistency distillation: x0 is the same at t and where the teacher's guided step "
            "leads, for samples in 1 or 2 steps",
            "2303.01469", method_params},
    .predictions = VN_CONSISTENT,
    .asks = 1 << VN_ASK_TEACHER,
    .times = TIMES,
    .sampled = vn_consistency_sampled,
    .loss = loss_of_method,
};
