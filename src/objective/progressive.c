/* progressive.c - progressive distillation (2202.00512): one step of the student is what two steps
 * of the teacher, by DDIM and guided, are. The student makes `steps` steps, at t = 1, 1 - 1/steps,
 * .., 1/steps, and the teacher twice as many. A student is a teacher in turn: 16, 8, 4, 2, 1. With
 * more `substeps` of the teacher in a step, a few such rounds are one.
 *
 * Where x_t goes to x'' in them, the student's x0 is that for which one DDIM step ends there,
 *
 *     x0 = (x'' - (sigma''/sigma) x_t) / (alpha'' - (sigma''/sigma) alpha)
 *
 * and its error has the paper's weight of x0, max(SNR, 1), truncated. */
#include "objective/internal.h"
#include "objective/teacher.h"

#include <math.h>
#include <string.h>

static const vn_param params[] = {
    {"steps", "of the student", 16, 1, 1024, 1, NULL},
    {"substeps", "of the teacher in a step of the student", 2, 2, 64, 1, NULL},
    VN_TEACHER_PARAMS,
    {0},
};
enum { STEPS, SUBSTEPS, GUIDANCE };

static double level_of(const vn_choice *c, double t, const vn_draw_key *draw) {
    (void)draw;
    return fmin(fmax(ceil(t * c->value[STEPS] - 1e-9), 1), c->value[STEPS]) / c->value[STEPS];
}

/* The level after so many of the substeps. */
static vn_level later(const vn_choice *c, const vn_path *path, const vn_level *l, int substeps) {
    const double t = l->t - substeps / (c->value[STEPS] * c->value[SUBSTEPS]);
    return t < 1e-9 ? vn_level_clean : vn_path_level(path, t);
}

static void ddim(const vn_teacher_rows *rows, int64_t row, const vn_level *to, int64_t size,
                 float *x) {
    const float a = (float)to->alpha, b = (float)to->sigma;
    const float *x0 = rows->x0 + row * size, *eps = rows->eps + row * size;
    for (int64_t j = 0; j < size; j++) x[j] = a * x0[j] + b * eps[j];
}

/* The target of one row in the network's terms, from x'' in `out`. */
static void target(const vn_loss_batch *b, int64_t row, const vn_level *to, float *out) {
    const vn_level *at = &b->level[row];
    const double k = to->sigma / at->sigma, over = 1 / (to->alpha - k * at->alpha);
    const float *x = b->x + row * b->size;
    const vn_coefficients m = vn_prediction_coefficients(b->prediction, at);
    for (int64_t j = 0; j < b->size; j++) {
        const double x0 = ((double)out[j] - k * (double)x[j]) * over,
                     eps = ((double)x[j] - at->alpha * x0) / at->sigma;
        out[j] = (float)(m.raw_x0 * x0 + m.raw_eps * eps);
    }
}

static vn_status ask_target(const vn_loss_batch *b, float *out, vn_err *err) {
    const int substeps = (int)b->choice->value[SUBSTEPS];
    vn_teacher_rows *rows = b->rows;
    vn_status status = vn_teacher_reserve(b, err);
    if (status) return status;
    memcpy(rows->at, b->level, (size_t)b->n * sizeof *rows->at);
    memcpy(out, b->x, (size_t)(b->n * b->size) * sizeof *out);
    for (int k = 1; k <= substeps && !status; k++) {
        status = vn_teacher_ask_at(b, GUIDANCE, out, rows->at, err);
        for (int64_t i = 0; i < b->n && !status; i++) {
            rows->at[i] = later(b->choice, b->path, &b->level[i], k);
            ddim(rows, i, &rows->at[i], b->size, out + i * b->size);
        }
    }
    for (int64_t i = 0; i < b->n && !status; i++) target(b, i, &rows->at[i], out + i * b->size);
    return status;
}

/* max(SNR, 1) of x0's error is so much of raw's; bounded, as the SNR is at the last step. */
static void fill_weight(const vn_loss_sample *s, float *row) {
    const double snr = pow(s->level->alpha / s->level->sigma, 2);
    *row = (float)(fmin(fmax(snr, 1), 1e4) * s->m->x0_raw * s->m->x0_raw);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *apart =
        vn_sub(g, vn_loss_output(l), vn_loss_asked(l, "target", l->x->shape, ask_target));
    vn_node *weight = vn_loss_filled(l, "weight", VN_SHAPE(l->x->shape.dim[0]), fill_weight);
    return vn_mean(g, vn_mul(g, vn_unary(g, apart, VN_FN_SQUARE), vn_per_sample(g, weight, l->x)));
}

vn_status vn_even_grid_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                             vn_err *err) {
    (void)prediction;
    if (!path->steps && !strcmp(path->row->grid, "uniform")) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the method %s is for paths that are sampled evenly in t, as rectified and "
                   "trigonometric; not for %s",
                   c->row->name, path->row->row.name);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    *out = (vn_sampled){.sampler = "euler", .steps = (int)c->value[STEPS], .guided = true};
}

const vn_objective_row vn_progressive_method = {
    .row =
        {"progressive",
         "progressive distillation: one step of the student is two or more of the guided teacher",
         "2202.00512", params},
    .predictions = "v|velocity|edm",
    .asks = 1 << VN_ASK_TEACHER,
    .times = "uniform",
    .time = level_of,
    .check = vn_even_grid_check,
    .sampled = sampled,
    .loss = loss,
};
