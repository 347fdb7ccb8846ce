/* tsg.c - time-step guidance (2407.02687): guidance for any model, also without conditions, away
 * from its prediction at a wrong time:
 *
 *     D(x, t~) + gamma (D(x, t) - D(x, t~))        t~ = t + scale t^power n,   n ~ N(0,1)
 *
 * The paper adds s t^a n to the network's embedding of t, which a guide cannot change; here t
 * itself is changed. D is x0, and eps follows from it, because eps at the wrong level is not
 * eps at this one. n is one number for all samples of a step, drawn by the seed, because a pass
 * has one level. */
#include "guide/internal.h"

#include <math.h>

enum { SCALE, POWER };
static const vn_param params[] = {
    {"scale", "standard deviation of the error in t, at t = 1", 0.1, 1e-6, 1, 0, NULL},
    {"power", "of t, by which it shrinks towards data", 1, 0, 8, 0, NULL},
    {0},
};

static vn_pass at_wrong_time(vn_guide *g, const vn_guide_at *at) {
    const vn_path *path = g->denoiser->path;
    const double *v = g->choice.value, t = at->level->t;
    float n;
    vn_random_normal(&n, 1, at->seed, VN_STREAM_GUIDE, 0, (uint64_t)at->step);
    const double wrong = t + v[SCALE] * pow(t, v[POWER]) * (double)n;
    g->level = vn_path_level(path, fmin(fmax(wrong, path->row->min_time(path)), 1));
    return (vn_pass){.condition = at->condition, .level = &g->level};
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass d = vn_conditional(at);
    vn_plan_pass(p, &d);
    if (at->gamma == 1) return;
    const vn_pass wrong = at_wrong_time(g, at);
    vn_plan_pass(p, &wrong);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    const vn_pass of_d = vn_conditional(at),
                  of_wrong = {.condition = at->condition, .level = &g->level};
    const vn_estimate *d = vn_plan_pass(p, &of_d);
    vn_copy_estimate(n, *out, d);
    if (at->gamma == 1) return;
    const vn_estimate *wrong = vn_plan_pass(p, &of_wrong);
    float *delta = g->slot[0];
    for (size_t i = 0; i < n; i++) delta[i] = d->x0[i] - wrong->x0[i];
    vn_shift_estimate(at, g->denoiser->size, delta, at->gamma - 1, out);
}

const vn_guide_row vn_tsg_guide = {
    .row = {"tsg", "wrong time + G (right time - wrong time): needs no conditions", "2407.02687",
            params},
    .stage = VN_GUIDE_RULE,
    .passes = 2,
    .slots = 1,
    .plan = plan,
    .combine = combine,
};
