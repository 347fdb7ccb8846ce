/* clip.c - x0 clipped to a range in every step, as programs do for data that is known to lie in it
 * (2006.11239's code; clip_sample of diffusers' schedulers). eps then follows x0, so that
 * x = alpha x0 + sigma eps still holds, as in DDPM's posterior mean; or it is kept as the network
 * predicted it, as in diffusers' DDIMScheduler without use_clipped_model_output. */
#include "guide/internal.h"

enum { RANGE };
static const vn_param params[] = {
    {"range",
     "x0 stays in [-range, range]; 0: x0 is left alone, whatever the model's own scheduler says", 1,
     0, 1e9, 0, NULL},
    VN_NOISE_PARAM,
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[RANGE] > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "clip: range=0 has no effect: this model's scheduler does not clip x0");
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const float range = (float)g->choice.value[RANGE],
                follow = (float)vn_noise_follows(at, &g->choice);
    for (int64_t i = 0; i < at->n * g->denoiser->size; i++) {
        const float x0 = out->x0[i];
        if (!(x0 < -range || x0 > range)) continue; /* NaN stays NaN: the sampling run refuses it */
        out->x0[i] = x0 < 0 ? -range : range;
        out->eps[i] -= follow * (out->x0[i] - x0);
    }
}

const vn_guide_row vn_clip_guide = {
    .row = {"clip", "keeps x0 within a range", "2006.11239", params},
    .stage = VN_GUIDE_FINISH,
    .bounds_x0 = true,
    .needs_by = vn_noise_needs,
    .check = check,
    .combine = combine,
};
