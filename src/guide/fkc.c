/* fkc.c - Feynman-Kac correctors (2503.02819): weights and resampling with which CFG draws from the
 * tilted density p(x|y)^gamma p(x)^(1-gamma). The reverse SDE with CFG's score follows those tilted
 * densities up to a factor, which each particle carries as a weight w,
 *
 *     d log w = 1/2 g^2 gamma (gamma - 1) |s_c - s_u|^2 dtau + dgamma log p(y|x)
 *
 * Resampling makes the weights equal, and does so once more at the end, so that what is returned is
 * equally weighted. With s_c - s_u = (eps_u - eps_c)/sigma, and eps constant over a step from
 * sigma/alpha = s to s', as in euler-maruyama, the first term is gamma (gamma - 1) log(s/s') |eps_c
 * - eps_u|^2. The second is there while a schedule or an interval changes gamma, and needs a
 * classifier; the density that is drawn is the tilt with the last gamma.
 *
 * Particles are resampled by w times the weight they will collect while s falls by half an e-fold,
 *
 *     exp(gamma (gamma - 1)/2 |eps_c - eps_u|^2)
 *
 * which is then divided out again (an auxiliary particle filter, Pitt & Shephard 1999) and vanishes
 * by itself at the end. With p(x|y) = N(0,1), p(x) = N(0,2), gamma 5 and 20,000 particles the
 * variance of the samples differs from seed to seed by 4.2% when they are resampled by w alone
 * where ESS is below a half, and by 1.4% this way. */
#include "guide/internal.h"

#include <math.h>

enum { ESS };
static const vn_param params[] = {
    {"ess", "resample where the effective sample size is below this fraction of the population",
     0.95, 0, 1, 0, NULL},
    {0},
};

/* Slots. GAMMA: the gamma that a row's weight is for; AHEAD: the log of the weight it is about to
 * collect; LOG_P: log p(y|x) [n]. */
enum { GAMMA, AHEAD, LOG_P, SLOTS };

static bool weighs(const vn_guide_at *at) {
    return at->gamma != 0 && vn_guidance_acts(at);
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass c = vn_conditional(at), u = vn_null(at);
    if (at->request || !weighs(at)) return;
    vn_plan_pass(p, &c);
    vn_plan_pass(p, &u);
}

/* Adds the second term of d log w, where gamma has changed since the step before. */
static void change_gamma(vn_guide *g, const vn_guide_at *at) {
    const double before = (double)g->slot[GAMMA][0], change = (double)(float)at->gamma - before;
    for (int64_t i = 0; i < at->n; i++) g->slot[GAMMA][i * g->denoiser->size] = (float)at->gamma;
    if (at->step == 0 || change == 0 || at->all_null) return;
    if (!g->denoiser->classify) {
        g->status = vn_fail(&g->err, VN_UNSUPPORTED,
                            "at step %d guidance goes from %g to %g, and without a classifier the "
                            "weight of that is "
                            "not known",
                            at->step + 1, before, at->gamma);
        return;
    }
    if (!vn_guide_classify(g, at, at->x, at->level, g->slot[LOG_P], NULL)) return;
    for (int64_t i = 0; i < at->n; i++) g->log_weight[i] += change * (double)g->slot[LOG_P][i];
}

/* Integral of g^2/(2 sigma^2) dtau over a step: log(s/s'). At alpha = 0 it is 0, because
 * eps_c = eps_u there. In a step to sigma = 0 the scores, not eps, are taken as constant, which
 * gives 1/2. */
static double gathered(const vn_level *from, const vn_level *to) {
    if (from->alpha == 0) return 0;
    return to->sigma > 0 ? log(vn_level_ratio(from) / vn_level_ratio(to)) : 0.5;
}

static double distance2(int64_t size, const float *a, const float *b) {
    double sum = 0;
    for (int64_t j = 0; j < size; j++)
        sum += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return sum;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)out;
    if (at->request) return;
    change_gamma(g, at);
    const vn_pass of_c = vn_conditional(at), of_u = vn_null(at);
    const float *c = weighs(at) ? vn_plan_pass(p, &of_c)->eps : NULL,
                *u = c ? vn_plan_pass(p, &of_u)->eps : NULL;
    const double rate = at->gamma * (at->gamma - 1), passed = gathered(at->level, at->next);
    const int64_t size = g->denoiser->size;
    for (int64_t i = 0, row = 0; i < at->n; i++, row += size) {
        const double growth = c ? rate * distance2(size, c + row, u + row) : 0;
        g->log_weight[i] += growth * passed;
        g->slot[AHEAD][row] = (float)(growth / 2);
    }
}

static void look_ahead(vn_guide *g, const vn_population *p, double sign) {
    for (int64_t i = 0; i < p->at->n; i++)
        g->log_weight[i] += sign * (double)g->slot[AHEAD][i * g->denoiser->size];
}

static void resample(vn_guide *g, vn_population *p) {
    if (vn_population_ends(p)) {
        vn_population_resample(g, p, 1);
        return;
    }
    look_ahead(g, p, 1);
    vn_population_resample(g, p, g->choice.value[ESS]);
    look_ahead(g, p, -1);
}

const vn_guide_row vn_fkc_guide = {
    .row = {"fkc", "weighs and resamples particles so that cfg draws from p(x|y)^G p(x)^(1-G)",
            "2503.02819", params},
    .stage = VN_GUIDE_FINISH,
    .needs =
        VN_NEEDS_SDE | VN_NEEDS_ROUTE | VN_NEEDS_NULL | VN_NEEDS_CONDITION | VN_TAKES_CLASSIFIER,
    .only_with = "cfg",
    .passes = 2,
    .slots = SLOTS,
    .plan = plan,
    .combine = combine,
    .select = resample,
};
