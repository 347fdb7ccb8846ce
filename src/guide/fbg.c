/* fbg.c - feedback guidance, FBG (2506.06085): a sample is guided by how little it is of its
 * condition already. The data are taken for a mixture, pi p(x|y) + (1 - pi) p(x), and the log
 * posterior L of a sample's condition is followed along its run; it begins at 0, and the prediction
 * is
 *
 *     u + lambda (c - u),   lambda = e^L / (e^L - (1 - pi)), at most G
 *
 * A step that led from y = x/alpha at s = sigma/alpha to y' at s' is the likelier under the
 * condition the nearer y' is to the mean of the reverse kernel under c than under u:
 *
 *     L += - tau/(2 v) (|y' - m_c|^2 - |y' - m_u|^2) + delta,   L at most 3
 *     m = r y + (1 - r) x0,   v = s'^2 (1 - r),   r = s'^2/s^2
 *
 * delta is such that, with no feedback, lambda is 3 when t0 of the steps are left, and tau such
 * that at t1 a difference of 10 between the squared distances makes up for it (the paper's
 * functions of t0 and t1). L needs states that the sampler has drawn from the kernel: samplers of
 * the reverse SDE. It begins anew with the run. At G <= 1 there is nothing to bound, and the rule
 * is CFG. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

enum { PI, T0, T1 };
enum { STATE, CONDITIONAL, NONE, SLOTS }; /* of the step before: x, and x0 under the two */
static const vn_param params[] = {
    {"pi", "how much of the data the conditional model describes", 0.95, 0.34, 0.9999, 0, NULL},
    {"t0", "fraction of the steps that is left when lambda is 3 without feedback", 0.5, 0, 0.99, 0,
     NULL},
    {"t1", "fraction of the steps that is left where a squared distance of 10 makes up for that",
     0.4, 0, 0.99, 0, NULL},
    {0},
};

#define MOST_LOG_POSTERIOR 3

/* v = s'^2 (1 - r) of a step, finite from pure noise. */
static double kernel_variance(const vn_level *from, const vn_level *to) {
    const double r = vn_step_ratio(from, to) * vn_step_ratio(from, to), s = vn_level_ratio(to);
    return s * s * (1 - r);
}

/* The drift of L in a step, and the temperature of what a step says. */
static void tune(const vn_guide *g, const vn_guide_at *at, double *delta, double *tau) {
    const double *v = g->choice.value;
    const int k = (int)lround((1 - v[T1]) * (at->steps - 1));
    *delta = log((1 - v[PI]) * 1.5) / ((1 - v[T0]) * at->steps);
    *tau = fabs(2 * kernel_variance(&at->levels[k], &at->levels[k + 1]) * *delta / 10);
}

/* |y' - m_c|^2 - |y' - m_u|^2 of one sample. */
static double nearer_null(const vn_guide *g, const vn_guide_at *at, size_t row) {
    const vn_level *from = &g->level;
    const double r = vn_step_ratio(from, at->level) * vn_step_ratio(from, at->level),
                 of_x = from->alpha > 0 ? r / from->alpha : 0;
    const size_t size = (size_t)g->denoiser->size;
    double sum = 0;
    for (size_t j = row * size; j < (row + 1) * size; j++) {
        const double c = (double)g->slot[CONDITIONAL][j], u = (double)g->slot[NONE][j];
        const double off = (double)at->x[j] / at->level->alpha - of_x * (double)g->slot[STATE][j];
        sum += (1 - r) * (u - c) * (2 * off - (1 - r) * (c + u));
    }
    return sum;
}

/* The lowest L: where lambda is G. */
static double lowest(double pi, double gamma) {
    return log((1 - pi) * gamma / (gamma - 1));
}

/* What the step before says of each sample. */
static void learn(vn_guide *g, const vn_guide_at *at) {
    const double v = kernel_variance(&g->level, at->level);
    double delta, tau;
    if (!(v > 0) || !at->levels) return;
    tune(g, at, &delta, &tau);
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const double says = -tau / (2 * v) * nearer_null(g, at, i);
        g->log_weight[i] =
            fmin(fmax(g->log_weight[i] + says + delta, lowest(g->choice.value[PI], at->gamma)),
                 MOST_LOG_POSTERIOR);
    }
}

/* At the first prediction of a step. */
static void follow(vn_guide *g, const vn_guide_at *at, const vn_estimate *c, const vn_estimate *u) {
    const size_t bytes = (size_t)(at->n * g->denoiser->size) * sizeof(float);
    if (at->history == 0) memset(g->log_weight, 0, (size_t)at->n * sizeof *g->log_weight);
    if (at->history > 0 && g->kept == at->step - 1) learn(g, at);
    memcpy(g->slot[STATE], at->x, bytes);
    memcpy(g->slot[CONDITIONAL], c->x0, bytes);
    memcpy(g->slot[NONE], u->x0, bytes);
    g->level = *at->level;
    g->kept = at->step;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const double rest = 1 - g->choice.value[PI];
    const vn_coefficients x0 = vn_as_x0(at->level);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    if (at->request == 0 && at->gamma > 1) follow(g, at, c, u);
    for (size_t i = 0; i < (size_t)at->n; i++) {
        if (at->condition[i] == at->null[i]) continue;
        const double posterior = exp(g->log_weight[i]),
                     lambda = posterior > rest ? posterior / (posterior - rest) : at->gamma,
                     by = fmin(lambda, at->gamma);
        vn_blend_row(&x0, size, i, at->x, by, c, 1 - by, u, out);
    }
}

const vn_guide_row vn_fbg_guide = {
    .row = {"fbg", "CFG as strong as a sample needs it, by feedback of its run; G is the most",
            "2506.06085", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION | VN_NEEDS_STEPS | VN_NEEDS_SDE | VN_NEEDS_ROUTE,
    .passes = 2,
    .slots = SLOTS,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
