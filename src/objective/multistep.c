/* multistep.c - multistep consistency distillation (2403.06807): the path is cut into `steps` equal
 * parts, and what is the same all along a part of the teacher's guided ODE is where that part ends.
 * One part is a consistency model; more need less of the network, and are sampled by as many DDIM
 * steps, without new noise.
 *
 * Where a part ends at e, the network's x0 at t leads by DDIM to
 *
 *     x_e = (sigma_e/sigma) x_t + (alpha_e - (sigma_e/sigma) alpha) x0
 *
 * and the loss is consistency's (consistency.c) of x_e from t and from r = max(t - 1/q, e), where
 * the teacher's step leads, divided by t - r; at r = e the end is x_r itself. */
#include "objective/consistency.h"
#include "objective/teacher.h"

#include <math.h>
#include <string.h>

static const vn_param params[] = {
    {"steps", "parts of the path, and steps of sampling", 4, 1, 64, 1, NULL},
    {"q", "the gap from t to r is 1/q of the path", 64, 2, 1e6, 0, NULL},
    {"c", "of the metric sqrt(e + c^2) - c, between absolute and squared error", 0.00054, 1e-8, 1e3,
     0, NULL},
    VN_TEACHER_PARAMS,
    {0},
};
enum { STEPS, GAP, C, GUIDANCE };

/* Where the part of the path ends that t lies in. */
static double end_time(const vn_choice *c, double t) {
    const double steps = c->value[STEPS];
    return fmax(ceil(t * steps - 1e-9) - 1, 0) / steps;
}

static double earlier_time(const vn_choice *c, double t) {
    return fmax(t - 1 / c->value[GAP], end_time(c, t));
}

static vn_level level_of(const vn_path *path, double t) {
    return t > 0 ? vn_path_level(path, t) : vn_level_clean;
}

static vn_level earlier(const vn_loss_sample *s) {
    return level_of(s->path, earlier_time(s->choice, s->level->t));
}

static void fill_time(const vn_loss_sample *s, float *row) {
    const vn_level r = earlier(s);
    *row = (float)vn_path_network_time(s->path, &r);
}

static vn_status ask_x(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_status status = vn_teacher_ask_guided(b, GUIDANCE, err);
    for (int64_t i = 0; i < b->n && !status; i++) {
        const vn_level r = level_of(b->path, earlier_time(b->choice, b->level[i].t));
        vn_consistency_step(b, i, &r, out + i * b->size);
    }
    return status;
}

/* The end from one level, for the network's x and output there. */
static void fill_end(const vn_loss_sample *s, const vn_level *from, const vn_level *end,
                     float *row) {
    const vn_coefficients m = vn_prediction_coefficients(s->prediction, from);
    if (from->t <= end->t) {
        row[0] = (float)(1 / m.input);
        row[1] = 0;
        return;
    }
    const double left = end->sigma / from->sigma, of_x0 = end->alpha - left * from->alpha;
    row[0] = (float)((left + of_x0 * m.x0_x) / m.input);
    row[1] = (float)(of_x0 * m.x0_raw);
}

static void fill_numbers(const vn_loss_sample *s, float *row) {
    const vn_level r = earlier(s), end = level_of(s->path, end_time(s->choice, s->level->t));
    fill_end(s, s->level, &end, row + VN_END_OF_X);
    fill_end(s, &r, &end, row + VN_EARLIER_OF_X);
    row[VN_END_WEIGHT] = (float)(1 / (s->level->t - r.t));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    vn_node *x = vn_loss_asked(l, "earlier", l->x->shape, ask_x);
    return vn_consistency_loss(l, c->value[C], x, fill_numbers, fill_time);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    *out = (vn_sampled){.sampler = "euler", .steps = (int)c->value[STEPS], .guided = true};
}

const vn_objective_row vn_multistep_method = {
    .row = {"multistep",
            "multistep consistency distillation: the end of each part of the path is the same at t "
            "and where the teacher's guided step leads, for samples in 2 to 8 steps",
            "2403.06807", params},
    .predictions = VN_CONSISTENT,
    .asks = 1 << VN_ASK_TEACHER,
    .times = "uniform",
    .check = vn_even_grid_check,
    .sampled = sampled,
    .loss = loss,
};
