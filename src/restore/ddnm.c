/* ddnm.c - denoising diffusion null-space model (2212.00490): what is observed is taken from the
 * observation, the rest from the prediction,
 *
 *     D_y = D + lambda A^+ (y - A D)
 *
 * lambda = 1 without noise. With it (DDNM+) lambda = min(1, sigma'/(alpha' noise)), so that the
 * observation's noise in x' is never more than that of x'. The step's own noise is the sampler's.
 * DDNM+ reduces it by the observation's, which gives x' the variance of its level but no sample the
 * posterior's: on the Gaussian prior of tests/restore nothing is left of it, where the sampler's
 * noise leaves 0.4 to 0.8 of it. */
#include "restore/internal.h"

#include <math.h>

static vn_status restore(const vn_restoring *s, vn_err *err) {
    (void)err;
    vn_restoration *r = s->r;
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        const vn_level *to = vn_restoring_to(s, i);
        const double most = to->sigma / to->alpha, lambda = r->noise > most ? most / r->noise : 1;
        vn_operator_pseudo_inverse(r->op, r->residual + i * r->op->count, r->x_work[1]);
        vn_shift_row(s, i, lambda, r->x_work[1]);
    }
    return VN_OK;
}

const vn_restorer_row vn_ddnm_restorer = {
    .row = {"ddnm", "the observed part of x0 from the observation, the rest from the model",
            "2212.00490", NULL},
    .needs = VN_RULE_REPLACES,
    .restore = restore,
};
