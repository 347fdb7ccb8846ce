/* tag.c - tangential amplifying guidance, TAG (2510.04533): of the way that a step goes, the part
 * along x changes how noisy the sample is, and the part across it what it shows. The second is made
 * longer:
 *
 *     x' = x + along(dx) + by across(dx)        dx = x' - x of the step without TAG
 *
 * The sampler's step need not be known for that. A step of the ODE from level to level is a sum of
 * x and x0, x' = a x + b x0, so across(dx) = b across(x0), and the rule is
 *
 *     x0 + (by - 1) (x0 - <x0,x>/<x,x> x)
 *
 * of each sample, with eps that follows. It is exactly the paper's for steps of order 1, finite
 * at both ends of every path, and right for the predictions within a step of higher order. The
 * paper's factor of the part along x is 1, as here. */
#include "guide/internal.h"

enum { BY };
static const vn_param params[] = {
    {"by", "how much longer the part across x gets; the paper's are 1.05 to 1.25", 1.15, 0, 10, 0,
     NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[BY] == 1) return vn_fail(err, VN_BAD_ARGUMENT, "tag: by=1 has no effect");
    if (d->size < 2)
        return vn_fail(err, VN_BAD_ARGUMENT, "tag: a sample of one number has nothing across it");
    return VN_OK;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const size_t size = (size_t)g->denoiser->size;
    float *shift = g->slot[0];
    for (size_t row = 0; row < (size_t)at->n * size; row += size) {
        double along = 0, xx = 0;
        for (size_t j = row; j < row + size; j++) {
            along += (double)out->x0[j] * (double)at->x[j];
            xx += (double)at->x[j] * (double)at->x[j];
        }
        const double part = xx > 0 ? along / xx : 0;
        for (size_t j = row; j < row + size; j++)
            shift[j] = (float)((double)out->x0[j] - part * (double)at->x[j]);
    }
    vn_shift_estimate(at, g->denoiser->size, shift, g->choice.value[BY] - 1, out);
}

const vn_guide_row vn_tag_guide = {
    .row = {"tag", "a longer way across x in each step, and the same along it", "2510.04533",
            params},
    .stage = VN_GUIDE_FINISH,
    .slots = 1,
    .check = check,
    .combine = combine,
};
