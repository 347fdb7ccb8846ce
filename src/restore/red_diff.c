/* red_diff.c - regularisation by denoising diffusion (2305.04391): a point mu that fits the
 * observation and, noised to each level in turn, the model. From mu = A^+ y, at falling levels,
 * a step of Adam (rate, 0.9, 0.99) on
 *
 *     1/2 mean (y - A mu)^2 + lambda sigma/alpha mean (eps-hat - eps) mu      x = alpha mu + sigma
 *                                                                             eps
 *
 * Of latents that are decoded first A is an operator and the decoder, and A^+ y is encoded
 * (decoded.c). The sampler lcm makes x from mu, so that the rule answers with mu itself. It
 * seeks a mode and samples nothing. */
#include "restore/internal.h"

#include <math.h>

enum { LAMBDA, RATE };
static const vn_param params[] = {
    {"lambda", "weight of the model", 0.25, 0, 1e6, VN_PARAM_REAL, NULL},
    {"rate", "of Adam", 0.1, 1e-6, 10, VN_PARAM_REAL, NULL},
    {0},
};

enum { MU, FIRST, SECOND, SLOTS }; /* slots: mu and Adam's moments */

/* mu = A^+ y, and x that of its noise: for the first step. */
static void start(const vn_restoring *s, int64_t row, float *mu) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const vn_level *l = &s->level[row];
    vn_operator_pseudo_inverse(r->op, vn_observed(r, s->q->sample[row]), r->x_work[1]);
    for (int64_t j = 0; j < size; j++) {
        mu[j] = (float)r->x_work[1][j];
        r->x[row * size + j] = (float)(l->alpha * r->x_work[1][j]) + r->x[row * size + j];
    }
}

static void descend(const vn_restoring *s, int64_t row, const double *pull) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, at = (int64_t)vn_sample_row(s, row) * size;
    const vn_level *l = &s->level[row];
    const double *value = r->choice.value, b1 = 0.9, b2 = 0.99;
    const double of_model = value[LAMBDA] * vn_level_ratio(l) / (double)size,
                 of_y = 1 / (double)r->op->count, k = (double)s->q->step + 1;
    float *mu = r->slot[MU] + at, *first = r->slot[FIRST] + at, *second = r->slot[SECOND] + at;
    for (int64_t j = 0; j < size; j++) {
        const double x = (double)s->x[row * size + j], x0 = (double)s->x0[row * size + j],
                     predicted = (x - l->alpha * x0) / l->sigma,
                     eps = (x - l->alpha * (double)mu[j]) / l->sigma,
                     slope = of_model * (predicted - eps) - of_y * pull[j];
        first[j] = (float)(b1 * (double)first[j] + (1 - b1) * slope);
        second[j] = (float)(b2 * (double)second[j] + (1 - b2) * slope * slope);
        const double mean = (double)first[j] / (1 - pow(b1, k)),
                     square = (double)second[j] / (1 - pow(b2, k));
        mu[j] -= (float)(value[RATE] * mean / (sqrt(square) + 1e-8));
        s->x0[row * size + j] = mu[j];
    }
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    for (int64_t i = 0; i < s->n && s->q->step == 0; i++)
        start(s, i, r->slot[MU] + (int64_t)vn_sample_row(s, i) * size);
    const vn_status status = vn_query_x0(s, s->x, s->level, s->x0, err);
    for (int64_t i = 0; i < s->n && !status; i++) {
        const double *y = vn_observed(r, s->q->sample[i]);
        const float *mu = r->slot[MU] + (int64_t)vn_sample_row(s, i) * size;
        for (int64_t j = 0; j < size; j++) r->x_work[0][j] = (double)mu[j];
        r->op->row->apply(r->op, r->x_work[0], r->y_work[0]);
        for (int64_t j = 0; j < count; j++) r->y_work[0][j] = y[j] - r->y_work[0][j];
        r->op->row->transpose(r->op, r->y_work[0], r->x_work[1]);
        descend(s, i, r->x_work[1]);
    }
    return status;
}

const vn_restorer_row vn_red_diff_restorer = {
    .row = {"red-diff", "a point that fits the observation and the model: a mode, no sample",
            "2305.04391", params},
    .needs = VN_RULE_ONE_PASS | VN_RULE_SMOOTH,
    .sampler = "lcm",
    .only = true,
    .queries = true,
    .slots = SLOTS,
    .restore = restore,
};
