/* fk.c - Feynman-Kac steering (2501.06848): samples are particles, resampled by the reward of their
 * x0-hat, so that in the limit of many they are drawn from p(x) r(x)^lambda without any gradient.
 * With r_k the log reward at step k, the log potential of a step is
 *
 *     difference   lambda (r_k - r_{k-1})
 *     max          lambda max of r_0 .. r_k
 *     sum          lambda (r_0 + .. + r_k)
 *
 * and the last potential divides by all before it, so that their product is r(x0)^lambda for each
 * of the three. Resampling is adaptive: where the effective sample size is below the fraction `ess`
 * of the population, and once more at the end.
 *
 * x0-hat is that of the guided prediction from which the step is made; it weighs the state after
 * that step. With max and sum the same reward counts in every step: use `every`, so that they weigh
 * as seldom as in the paper. Under a deterministic sampler copies of a particle stay copies: use a
 * sampler with noise. */
#include "guide/internal.h"

#include <math.h>

enum { LAMBDA, POTENTIAL, ESS, EVERY };
enum { DIFFERENCE, MAX, SUM };
static const vn_param params[] = {
    {"lambda", "exponent of the reward", 1, -1e6, 1e6, 0, NULL},
    {"potential",
     "what a step's weight is of: the reward's change, its largest value so far, or its sum",
     DIFFERENCE, 0, 2, 1, "difference|max|sum"},
    {"ess", "resample where the effective sample size is below this fraction of the population",
     0.5, 0, 1, 0, NULL},
    {"every", "steps from one weighing to the next", 1, 1, 1e5, 1, NULL},
    {0},
};

/* Slots. REWARD: log rewards [n]. The others have one number a row, its first: SO_FAR, the last,
 * largest or summed log reward; LOG_SUM, the sum of the log potentials so far as a float, and
 * ROUNDED_OFF, its rounding error. The sum grows with the number of steps and is subtracted at the
 * end, so that a float alone would lose digits. */
enum { REWARD, SO_FAR, LOG_SUM, ROUNDED_OFF, SLOTS };

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[LAMBDA] != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "fk: lambda=0 has no effect");
}

static double log_sum(const vn_guide *g, int64_t row) {
    return (double)g->slot[LOG_SUM][row] + (double)g->slot[ROUNDED_OFF][row];
}

static void set_log_sum(vn_guide *g, int64_t row, double value) {
    g->slot[LOG_SUM][row] = (float)value;
    g->slot[ROUNDED_OFF][row] = (float)(value - (double)g->slot[LOG_SUM][row]);
}

/* The log reward that a particle's potential is made of: the last one, the largest or the sum. */
static float accumulate(const vn_guide *g, const vn_guide_at *at, float before, float reward) {
    switch ((int)g->choice.value[POTENTIAL]) {
    case MAX: return at->step ? fmaxf(before, reward) : reward;
    case SUM: return before + reward;
    default: return reward;
    }
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out) {
    (void)plan;
    if (at->request || at->step % (int)g->choice.value[EVERY]) return;
    if (!vn_guide_reward(g, at, out->x0, g->slot[REWARD], NULL)) return;
    for (int64_t i = 0; i < at->n; i++) {
        const int64_t row = i * g->denoiser->size;
        const float before = g->slot[SO_FAR][row],
                    now = accumulate(g, at, before, g->slot[REWARD][i]);
        const float potential = g->choice.value[POTENTIAL] == DIFFERENCE ? now - before : now;
        const double weight = g->choice.value[LAMBDA] * (double)potential;
        g->slot[SO_FAR][row] = now;
        g->log_weight[i] += weight;
        set_log_sum(g, row, log_sum(g, row) + weight);
    }
}

static void resample(vn_guide *g, vn_population *p) {
    const bool end = vn_population_ends(p);
    if (end) {
        if (!vn_guide_reward(g, p->at, p->x, g->slot[REWARD], NULL)) return;
        for (int64_t i = 0; i < p->at->n; i++)
            g->log_weight[i] += g->choice.value[LAMBDA] * (double)g->slot[REWARD][i] -
                                log_sum(g, i * g->denoiser->size);
    }
    vn_population_resample(g, p, end ? 1 : g->choice.value[ESS]);
}

const vn_guide_row vn_fk_guide = {
    .row = {"fk", "particles resampled on a reward of x0: p(x) r(x)^lambda", "2501.06848", params},
    .stage = VN_GUIDE_FINISH,
    .needs = VN_NEEDS_REWARD,
    .slots = SLOTS,
    .check = check,
    .combine = combine,
    .select = resample,
};
