/* diffpir.c - denoising diffusion models for plug-and-play image restoration (2305.08995): x0 near
 * the prediction and near the observation, with s = sigma/alpha,
 *
 *     D_y = argmin |y - A x0|^2/noise^2 + lambda |x0 - D|^2/s^2
 *         = D + A^T (A A^T + lambda noise^2/s^2)^-1 (y - A D)
 *
 * It is the mean of a Gaussian of the covariance s^2/lambda. New noise is the sampler's: ddim with
 * an eta is near to the paper's mixture of old and new. Neither decides what is sampled, lambda
 * does: at 1 the covariance is that of x0 where data are wide. */
#include "restore/internal.h"

enum { LAMBDA };
static const vn_param params[] = {
    {"lambda", "weight of the prediction; the paper's is 1 to 25 by task", 7, 1e-6, 1e6,
     VN_PARAM_REAL, NULL},
    {0},
};

static vn_status restore(const vn_restoring *s, vn_err *err) {
    (void)err;
    vn_restoration *r = s->r;
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        const double part = r->noise / vn_level_ratio(&s->level[i]);
        double *v = r->v + i * r->op->count;
        vn_operator_solve(r->op, r->choice.value[LAMBDA] * part * part,
                          r->residual + i * r->op->count, v);
        r->op->row->transpose(r->op, v, r->x_work[1]);
        vn_shift_row(s, i, 1, r->x_work[1]);
    }
    return VN_OK;
}

const vn_restorer_row vn_diffpir_restorer = {
    .row = {"diffpir", "x0 near the prediction and near the observation", "2305.08995", params},
    .restore = restore,
};
