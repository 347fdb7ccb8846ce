/* psld.c - posterior sampling with latent diffusion (2307.00619): dps through the decoder D, and
 * a term that glues what was observed to what the model fills in: pictures whose observed part
 * is y and the rest D's should be encoded by E to where they came from. After an ancestral step
 *
 *     x' -= grad_x (scale |y - A D(x0)| + gamma |E(D + A^+ (y - A D)) - x0|)
 *
 * with the norms themselves, as the authors' program has them, and with the pseudo-inverse A^+
 * where they write A^T, which is the same for a mask. As in dps.c the step is one from another
 * x0. The gradient goes through D, E, D again and the denoiser. */
#include "restore/internal.h"

enum { SCALE, GAMMA };
static const vn_param params[] = {
    {"scale", "of the observation's gradient, at each step", 1, 1e-6, 1e6, VN_PARAM_REAL, NULL},
    {"gamma", "of the gluing term's", 0.1, 0, 1e6, VN_PARAM_REAL, NULL},
    {0},
};

static vn_status check(const vn_restoration *r, vn_err *err) {
    if (r->op->inner) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "psld is for models of latents, which are decoded; of samples themselves it "
                   "would be dps");
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    const double *value = r->choice.value;
    double *amount = r->row_work[0];
    for (int64_t i = 0; i < s->n; i++) {
        vn_find_residual_of(s, i); /* and the place of the derivatives */
        vn_decoded_glue(r->op, r->residual + i * count, value[SCALE], value[GAMMA], r->x_work[1]);
        for (int64_t j = 0; j < size; j++) r->direction[i * size + j] = (float)r->x_work[1][j];
        amount[i] = 1 / vn_ancestral_share(&s->level[i], vn_restoring_to(s, i));
    }
    const vn_status status = vn_query_vjp(s, err);
    if (!status) vn_shift_by_derivative(s, amount);
    return status;
}

const vn_restorer_row vn_psld_restorer = {
    .row = {"psld", "of latents: dps, and latents that what was observed fits to", "2307.00619",
            params},
    .needs = VN_RULE_VJP | VN_RULE_SMOOTH,
    .sampler = "ddpm",
    .check = check,
    .restore = restore,
};
