/* restart.c - Restart (2306.14878): Heun's rule from level to level, and at the level nearest to
 * tmin, `rounds` times, noise up to tmax and Heun's rule down again. The returns to tmax are levels
 * of the route (vn_route), and the sampling run adds their noise:
 *
 *     .. t_i (tmax .. t_i) (tmax .. t_i) t_(i+1) ..     each (..) evenly in the rho-th root of time
 *                                                       in straight coordinates, rho = 7
 *
 * tmin and tmax are sigma/alpha. The defaults are the authors' for CIFAR-10; their N_restart counts
 * levels, one more than steps. A route may begin at alpha = 0, where Heun's rule is finite; tmax is
 * below it. */
#include "sample/internal.h"

#include <math.h>

#define RHO       7
#define MAX_STEPS 64

enum { TMIN, TMAX, STEPS, ROUNDS };
static const vn_param params[] = {
    {"tmin",
     "goes back from the level whose sigma/alpha is nearest to this; the paper's for CIFAR-10, 32 "
     "x 32",
     0.06, 1e-6, 1e6, 0, NULL},
    {"tmax", "to this sigma/alpha, likewise", 0.3, 1e-6, 1e6, 0, NULL},
    {"steps", "from tmax down again, each time", 2, 1, MAX_STEPS, 1, NULL},
    {"rounds", "how many times", 2, 1, 100, 1, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    const vn_level noisiest = vn_path_level(d->path, 1);
    if (c->value[TMIN] >= c->value[TMAX])
        return vn_fail(err, VN_BAD_ARGUMENT, "restart: tmin is not below tmax");
    if (c->value[TMAX] > vn_level_ratio(&noisiest))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "restart: tmax is above the path's largest sigma/alpha, %g",
                       vn_level_ratio(&noisiest));
    return VN_OK;
}

/* The level nearest to tmin, of those between the first and the last; 0 if none is below tmax. */
static int nearest(const vn_route *r, double tmin, double tmax) {
    int best = 0;
    double distance = (double)INFINITY;
    for (int i = 1; i <= r->steps; i++) {
        const double ratio = vn_level_ratio(&r->level[i]);
        if (ratio == 0 || ratio >= tmax || fabs(ratio - tmin) >= distance) continue;
        distance = fabs(ratio - tmin);
        best = i;
    }
    return best;
}

/* steps + 1 levels from tmax down to `end`. */
static void fill(const vn_path *p, double tmax, const vn_level *end, int steps, vn_level *level) {
    level[0] = vn_path_level_of_ratio(p, tmax);
    const double max = pow(vn_path_clock(p, &level[0]), 1.0 / RHO),
                 min = pow(vn_path_clock(p, end), 1.0 / RHO);
    for (int i = 1; i < steps; i++)
        level[i] = vn_path_level_of_clock(p, pow(max + (min - max) * i / steps, RHO));
    level[steps] = *end;
}

static vn_status route(const vn_choice *c, vn_route *r, vn_err *err) {
    const int steps = (int)c->value[STEPS], rounds = (int)c->value[ROUNDS];
    const int at = nearest(r, c->value[TMIN], c->value[TMAX]);
    vn_level detour[MAX_STEPS + 1];
    if (!at)
        return vn_fail(err, VN_BAD_ARGUMENT, "restart: no level but the last lies below tmax = %g",
                       c->value[TMAX]);
    if (r->steps + rounds * (steps + 1) > VN_MAX_STEPS)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "restart: with its returns to tmax the sampling run has more than %d steps",
                       VN_MAX_STEPS);
    fill(r->path, c->value[TMAX], &r->level[at], steps, detour);
    vn_status status = VN_OK;
    for (int i = 0; i < rounds && !status; i++)
        status = vn_route_insert(r, at + 1, steps + 1, detour, err);
    return status;
}

static vn_status step(vn_step *s, vn_err *err) {
    return vn_step_heun(s, s->from, err);
}

const vn_sampler_row vn_restart_sampler = {
    .row = {"restart", "Heun's rule, with returns to more noise", "2306.14878", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = 4,
    .check = check,
    .route = route,
    .step = step,
};
