/* dps.c - diffusion posterior sampling (2209.14687). After an ancestral step
 *
 *     x' -= scale grad_x |y - A D(x)|              the norm, not its square
 *
 * which is the step from another x0, as the step moves x' by `share` (vn_ancestral_share) times
 * what x0 moves: D_y = D + scale/share J^T A^T (y - A D)/|y - A D|. With ddpm it is the published
 * rule; other samplers take their own share. Of a model that denoises latents A is an operator and
 * the decoder before it, whose derivative is in A^T (decoded.c). The published steps are 1000, and
 * the pull grows with their number. What it samples is not the posterior: docs/measured.md. The
 * norm is of one sample, so that the result does not depend on the batch. */
#include "restore/internal.h"

#include <math.h>

enum { SCALE };
static const vn_param params[] = {
    {"scale", "of the gradient, at each step; the papers' 0.4 to 1 are for 1000 steps", 1, 1e-6,
     1e6, VN_PARAM_REAL, NULL},
    {0},
};

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    double *amount = r->row_work[0];
    for (int64_t i = 0; i < s->n; i++) {
        vn_find_residual_of(s, i); /* where the operator is none that is linear, its place too */
        double *residual = r->residual + i * count, square = 0;
        for (int64_t j = 0; j < count; j++) square += residual[j] * residual[j];
        for (int64_t j = 0; j < count; j++) residual[j] /= square > 0 ? sqrt(square) : 1;
        vn_transpose_row(r, residual, r->direction + i * size);
        amount[i] =
            r->choice.value[SCALE] / vn_ancestral_share(&s->level[i], vn_restoring_to(s, i));
    }
    const vn_status status = vn_query_vjp(s, err);
    if (!status) vn_shift_by_derivative(s, amount);
    return status;
}

const vn_restorer_row vn_dps_restorer = {
    .row = {"dps", "the gradient of the residual's norm, through the denoiser", "2209.14687",
            params},
    .needs = VN_RULE_VJP | VN_RULE_SMOOTH,
    .sampler = "ddpm",
    .restore = restore,
};
