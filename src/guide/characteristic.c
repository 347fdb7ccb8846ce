/* characteristic.c - characteristic guidance (2312.07586): CFG's density of one level is not the
 * noised density of another, and so what is drawn is not p(x|y)^G p(x)^(1-G). The paper asks that
 * the two agree, by the Fokker-Planck equation and the ansatz that its correction is harmonic: c
 * and u are taken at points that are moved by D,
 *
 *     x1 = x + (G - 1) D    x2 = x + G D    D = sigma (eps_u(x2) - eps_c(x1))
 *     G c(x1) + (1 - G) u(x2)
 *
 * With x = alpha x0 + sigma eps at both points that says x0_c(x1) = x0_u(x2), which is what is
 * solved here, since it has no difference of large numbers. The prediction is that common x0. Where
 * p(x|y) and p(x) are Gaussians it is exact.
 *
 * f(D) = alpha (x0_c(x1) - x0_u(x2)) is brought to 0 for each sample by secants (Anderson's
 * method of memory 1), in `rounds` pairs of passes after that at x itself. The first step
 * assumes data of variance 1. D stays no longer than `reach` times x, which keeps the network
 * near the states that it was trained on; with D = 0 the rule is CFG, and so it is at pure
 * noise. */
#include "guide/internal.h"

#include <math.h>

enum { ROUNDS, REACH };
enum { MOST = 4 };
/* Slots: of each round its two points; D of the round before and of this one; f of the one
 * before. */
enum { POINTS, BEFORE = 2 * MOST, NOW, F_BEFORE, SLOTS };
static const vn_param params[] = {
    {"rounds", "pairs of passes at moved points; 2 are exact where both are Gaussians", 2, 1, MOST,
     1, NULL},
    {"reach", "how far the points are moved at most, in lengths of x", 1, 1e-6, 100, 0, NULL},
    {0},
};

static bool moves(const vn_guide_at *at) {
    return vn_guidance_acts(at) && at->gamma != 0 && at->level->alpha > 0;
}

/* The passes of a round; round 0 is at x itself. */
static vn_pass conditional(const vn_guide *g, const vn_guide_at *at, int round) {
    vn_pass pass = vn_conditional(at);
    if (round) pass.x = g->slot[POINTS + 2 * (round - 1)];
    return pass;
}

static vn_pass null_of(const vn_guide *g, const vn_guide_at *at, int round) {
    vn_pass pass = vn_null(at);
    if (round) pass.x = g->slot[POINTS + 2 * (round - 1) + 1];
    return pass;
}

/* The next D of one sample, all arrays [size]; `now` and `f_before` move on. */
static void next_shift(double scale, bool first, size_t size, const float *c, const float *u,
                       double alpha, float *before, float *now, float *f_before) {
    double over = 0, under = 0;
    for (size_t j = 0; j < size && !first; j++) {
        const double f = alpha * ((double)c[j] - (double)u[j]), change = f - (double)f_before[j];
        over += f * change;
        under += change * change;
    }
    const double part = under > 0 ? over / under : 0;
    for (size_t j = 0; j < size; j++) {
        const double f = alpha * ((double)c[j] - (double)u[j]), at = first ? 0 : (double)now[j],
                     step = first ? 0 : at - (double)before[j],
                     change = first ? 0 : f - (double)f_before[j];
        before[j] = (float)at;
        now[j] = (float)(at + scale * f - part * (step + scale * change));
        f_before[j] = (float)f;
    }
}

static double length(size_t size, const float *a) {
    double sum = 0;
    for (size_t j = 0; j < size; j++) sum += (double)a[j] * (double)a[j];
    return sqrt(sum);
}

/* The points of a round from the estimates of the one before. */
static void find_points(vn_guide *g, const vn_guide_at *at, int round, const vn_estimate *c,
                        const vn_estimate *u) {
    const size_t size = (size_t)g->denoiser->size;
    const double a = at->level->alpha, s = at->level->sigma, gamma = at->gamma;
    const double scale = (a * a + s * s) / (a * a) / (1 + fabs(gamma));
    float *x1 = g->slot[POINTS + 2 * (round - 1)], *x2 = g->slot[POINTS + 2 * (round - 1) + 1];
    for (size_t row = 0; row < (size_t)at->n * size; row += size) {
        float *now = g->slot[NOW] + row;
        next_shift(scale, round == 1, size, c->x0 + row, u->x0 + row, a, g->slot[BEFORE] + row, now,
                   g->slot[F_BEFORE] + row);
        const double most = g->choice.value[REACH] * length(size, at->x + row),
                     is = length(size, now);
        for (size_t j = 0; j < size; j++) {
            if (!(is <= most)) now[j] = (float)((double)now[j] * (isfinite(is) ? most / is : 0));
            const double x = (double)at->x[row + j], d = isfinite(is) ? (double)now[j] : 0;
            x1[row + j] = (float)(x + (gamma - 1) * d);
            x2[row + j] = (float)(x + gamma * d);
        }
    }
}

/* Asked in every round: the points of all rounds that have been are found again, as they were. */
static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const int rounds = moves(at) ? (int)g->choice.value[ROUNDS] : 0;
    if (!moves(at)) vn_plan_conditional_and_null(g, at, p);
    for (int round = 0; moves(at) && round <= rounds; round++) {
        const vn_pass of_c = conditional(g, at, round), of_u = null_of(g, at, round);
        const vn_estimate *c = vn_plan_pass(p, &of_c), *u = vn_plan_pass(p, &of_u);
        if (!c || !u) return;
        if (round < rounds) find_points(g, at, round + 1, c, u);
    }
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const int last = moves(at) ? (int)g->choice.value[ROUNDS] : 0;
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    const vn_pass of_c = conditional(g, at, last), of_u = null_of(g, at, last);
    c = vn_plan_pass(p, &of_c);
    u = vn_plan_pass(p, &of_u);
    for (size_t i = 0; i < (size_t)at->n * size; i++) {
        if (at->condition[i / size] == at->null[i / size]) continue;
        const double x0 = (double)u->x0[i], eps = (double)u->eps[i];
        out->x0[i] = (float)(x0 + at->gamma * ((double)c->x0[i] - x0));
        out->eps[i] = (float)(eps + at->gamma * ((double)c->eps[i] - eps));
    }
}

const vn_guide_row vn_characteristic_guide = {
    .row = {"characteristic", "CFG at moved points, so that densities of all levels agree",
            "2312.07586", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2 * (MOST + 1),
    .slots = SLOTS,
    .plan = plan,
    .combine = combine,
};
