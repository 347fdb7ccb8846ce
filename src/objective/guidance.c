/* guidance.c - guidance distillation (2210.03142, stage 1): the student takes the strength of
 * guidance as an input and learns what the teacher's two passes come to,
 *
 *     teacher(x|none) + gamma (teacher(x|c) - teacher(x|none))
 *
 * with gamma drawn anew for each sample, log-uniform. Half the passes, and gamma is still free when
 * sampling. Samples without condition have nothing to be guided by: gamma says nothing there. */
#include "objective/internal.h"
#include "objective/teacher.h"

#include <math.h>
#include <string.h>

static const vn_param params[] = {
    VN_WEIGHTS,
    {"least", "smallest strength that is learned", 1, 0.1, 1e3, 0, NULL},
    {"most", "and the largest", 8, 0.1, 1e3, 0, NULL},
    VN_GUIDED_PARAMS,
    {0},
};
enum { LEAST = VN_WEIGHT_PARAMS, MOST, BOUNDS };

static double strength(const vn_choice *c, uint64_t seed, uint64_t sample, uint64_t step) {
    const double u = vn_random_double(seed, VN_STREAM_STRENGTH, sample, step);
    return c->value[LEAST] * pow(c->value[MOST] / c->value[LEAST], u);
}

static void fill_strength(const vn_loss_sample *s, float *row) {
    *row = (float)strength(s->choice, s->seed, s->sample, s->step);
}

static vn_status ask_target(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_teacher_rows *rows = b->rows;
    vn_status status = vn_teacher_reserve(b, err);
    for (int64_t i = 0; i < b->n && !status; i++)
        rows->gamma[i] = vn_guided_at(b->choice->value + BOUNDS, &b->level[i])
                             ? (float)strength(b->choice, b->seed, b->first + (uint64_t)i, b->step)
                             : 1;
    if (!status) status = vn_teacher_ask(b->rows, b, b->x, b->level, err);
    for (int64_t i = 0; i < b->n && !status; i++)
        vn_prediction_from_estimate(b->prediction, &b->level[i], (size_t)b->size,
                                    rows->x0 + i * b->size, rows->eps + i * b->size,
                                    out + i * b->size);
    return status;
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    const vn_given given = {
        VN_LOSS_GUIDANCE,
        vn_loss_filled(l, "strength", VN_SHAPE(l->x->shape.dim[0]), fill_strength)};
    vn_node *output = l->network(l->self, &(vn_loss_call){.n = 1, .given = &given});
    return vn_regression_loss(l, output, vn_loss_asked(l, "target", l->x->shape, ask_target));
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    if (c->value[LEAST] > c->value[MOST])
        return vn_fail(err, VN_BAD_ARGUMENT, "guidance: least %g is above most %g", c->value[LEAST],
                       c->value[MOST]);
    return vn_weight_check(c, path, prediction, err);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){.guide = "embedded"};
}

const vn_objective_row vn_guidance_method = {
    .row = {"guidance",
            "guidance distillation: the strength becomes an input, and one pass is what two were",
            "2210.03142", params},
    .predictions = "x0|eps|v|score|velocity|edm",
    .asks = 1 << VN_ASK_TEACHER,
    .gives = VN_GIVES_GUIDANCE,
    .check = check,
    .sampled = sampled,
    .loss = loss,
};
