/* energy.c - guidance by the gradient of a reward, or of minus an energy (training-free guidance;
 * for flows 2502.02150). With x0-hat the x0-prediction under each row's own condition, and log r
 * the user's log reward,
 *
 *     g = grad_x log r(x0-hat(x)) = (d x0-hat / dx)^T grad log r     a product with the transposed
 *                                                                    Jacobian of the denoiser
 *     x0 += scale sigma^2/alpha g,   eps -= scale sigma g
 *
 * To first order in the variance of x0 given x this is the score of p(x) r(x)^scale. At alpha = 0,
 * x is independent of x0, both g and alpha are 0, and the prediction is left as it is. */
#include "guide/internal.h"

#include <math.h>

enum { SCALE };
static const vn_param params[] = {
    {"scale", "exponent of the reward", 1, -1e6, 1e6, 0, NULL},
    {0},
};

enum { GRADIENT, VALUE }; /* slots */

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[SCALE] != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "energy: scale=0 has no effect");
}

static bool acts(const vn_guide_at *at) {
    return at->level->alpha > 0 && at->level->sigma > 0;
}

/* The pass that gives x0-hat. If no row has a condition it is the null pass, so that it is shared
 * with the rule's. */
static vn_pass forward(const vn_guide_at *at) {
    return at->all_null ? vn_null(at) : vn_conditional(at);
}

static vn_pass backward(const vn_guide *g, const vn_guide_at *at) {
    vn_pass p = forward(at);
    p.want = VN_VJP;
    p.direction = g->slot[GRADIENT];
    return p;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    if (!acts(at)) return;
    const vn_pass of_x0 = forward(at), of_gradient = backward(g, at);
    const vn_estimate *x0 = vn_plan_pass(p, &of_x0);
    if (x0 && !vn_plan_pass(p, &of_gradient))
        vn_guide_reward(g, at, x0->x0, g->slot[VALUE], g->slot[GRADIENT]);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    if (!acts(at)) return;
    const double alpha = at->level->alpha, sigma = at->level->sigma;
    const vn_pass of_gradient = backward(g, at);
    vn_shift_estimate(at, g->denoiser->size, vn_plan_pass(p, &of_gradient)->x0,
                      g->choice.value[SCALE] * sigma * sigma / alpha, out);
}

/* ---- rewards --------------------------------------------------------------------------------- */

/* The classifier in a reward's place: log p(label|x0), where the classifier gets x0 as x at the
 * path's least noisy level. */
static bool classify_clean(vn_guide *g, const vn_guide_at *at, const float *x0, float *value,
                           float *gradient) {
    const vn_path *path = g->denoiser->path;
    g->level = vn_path_level(path, path->row->min_time(path));
    if (!vn_guide_classify(g, at, x0, &g->level, value, gradient)) return false;
    const float by_x = (float)(g->level.alpha / (g->level.sigma * g->level.sigma));
    for (int64_t i = 0; gradient && i < at->n * g->denoiser->size; i++) gradient[i] *= by_x;
    return true;
}

static bool check_finite(vn_guide *g, const vn_guide_at *at, const char *what, const float *x,
                         int64_t size) {
    const int64_t row = vn_row_not_finite(at->n, size, x);
    if (row < 0) return true;
    g->status = vn_fail(&g->err, VN_NOT_FINITE, "the %s of sample %llu is not finite", what,
                        (unsigned long long)at->first + (unsigned long long)row);
    return false;
}

bool vn_guide_reward(vn_guide *g, const vn_guide_at *at, const float *x0, float *value,
                     float *gradient) {
    const vn_reward *r = g->reward;
    const int64_t values = at->n, numbers = at->n * g->denoiser->size;
    /* values that the callback does not write are found by check_finite */
    for (int64_t i = 0; i < values; i++) value[i] = NAN;
    for (int64_t i = 0; gradient && i < numbers; i++) gradient[i] = NAN;
    if (!r && !classify_clean(g, at, x0, value, gradient)) return false;
    if (r) g->status = r->evaluate(r->self, at->n, x0, at->condition, value, gradient, &g->err);
    return !g->status && check_finite(g, at, "log reward", value, 1) &&
           (!gradient || check_finite(g, at, "log reward's gradient", gradient, g->denoiser->size));
}

const vn_guide_row vn_energy_guide = {
    .row = {"energy", "adds the gradient of a reward of x0, through the denoiser", "2502.02150",
            params},
    .stage = VN_GUIDE_ADDITION,
    .needs = VN_NEEDS_VJP | VN_NEEDS_REWARD,
    .passes = 2,
    .slots = 2,
    .check = check,
    .plan = plan,
    .combine = combine,
};
