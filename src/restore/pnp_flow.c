/* pnp_flow.c - plug-and-play flow matching (2410.02423): at falling noise, a step towards the
 * observation, then noise, then the denoiser, averaged over a few draws of the noise:
 *
 *     z = x0 - rate t^power A^T (A x0 - y),   x0 = mean of D(alpha z + sigma eps)
 *
 * The sampler lcm makes alpha z + sigma eps from z, so that the rule answers with the z of the next
 * level; its t is that of the path the paper uses, whose data are at t = 1 there and 0 here. The
 * last answer is x0. The paper begins at A^T 1 and not at noise. */
#include "restore/internal.h"

#include <math.h>

enum { RATE, POWER, DRAWS };
static const vn_param params[] = {
    {"rate", "of the step towards the observation", 1, 1e-6, 1e3, VN_PARAM_REAL, NULL},
    {"power", "of t, by which it falls; the paper's is 0.01 to 0.5 by task", 0.5, 0, 10,
     VN_PARAM_REAL, NULL},
    {"draws", "of noise at each level, a pass each", 5, 1, 100, VN_PARAM_WHOLE, NULL},
    {0},
};

enum { POINT, SLOTS }; /* slot: z */

/* r->derivative, which is free, gathers the mean of x0. */
static vn_status average(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const int draws = s->q->step ? (int)r->choice.value[DRAWS] : 1; /* z is not known at first */
    float *x = r->basis[0], *mean = r->derivative;
    vn_status status = vn_query_x0(s, s->x, s->level, s->x0, err);
    for (int64_t j = 0; j < s->n * size; j++) mean[j] = s->x0[j] / (float)draws;
    for (int k = 1; k < draws && !status; k++) {
        for (int64_t i = 0; i < s->n; i++) {
            const vn_level *l = &s->level[i];
            const float *z = r->slot[POINT] + (int64_t)vn_sample_row(s, i) * size;
            float *row = x + i * size;
            vn_rule_noise(r, s->q->sample[i], s->q->step, k, (size_t)size, row);
            for (int64_t j = 0; j < size; j++)
                row[j] = (float)(l->alpha * (double)z[j] + l->sigma * (double)row[j]);
        }
        status = vn_query_x0(s, x, s->level, s->x0, err);
        for (int64_t j = 0; j < s->n * size; j++) mean[j] += s->x0[j] / (float)draws;
    }
    for (int64_t j = 0; j < s->n * size; j++) s->x0[j] = mean[j];
    return status;
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const vn_status status = average(s, err);
    if (status) return status;
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        const vn_level *to = vn_restoring_to(s, i);
        const double rate = r->choice.value[RATE] * pow(to->t, r->choice.value[POWER]);
        float *z = r->slot[POINT] + (int64_t)vn_sample_row(s, i) * size;
        r->op->row->transpose(r->op, r->residual + i * r->op->count, r->x_work[1]);
        if (to->sigma > 0) vn_shift_row(s, i, rate, r->x_work[1]);
        for (int64_t j = 0; j < size; j++) z[j] = s->x0[i * size + j];
    }
    return VN_OK;
}

const vn_restorer_row vn_pnp_flow_restorer = {
    .row = {"pnp-flow", "steps towards the observation, noise and the denoiser, in turn",
            "2410.02423", params},
    .needs = VN_RULE_ONE_PASS,
    .sampler = "lcm",
    .only = true,
    .queries = true,
    .slots = SLOTS,
    .basis = 1,
    .restore = restore,
};
