/* gibbs_like.c - classifier-free Gibbs-like guidance (2505.21101). A first sample is drawn without
 * guidance, which keeps the variety of p(x|y); then, `rounds` times, it is renoised to a moderate
 * level and denoised with guidance, which at such levels is close to the score of the tilted
 * density:
 *
 *     x ~ p(x|y);   rounds times:  x_s = alpha_s x + sigma_s eps,  x <- guided denoising from s
 *
 * Each denoising uses the sampling run's own levels, from the noisiest that is not above `level`,
 * so that a discrete path stays on its steps. */
#include "guide/internal.h"

#include <string.h>

enum { ROUNDS, LEVEL };
static const vn_param params[] = {
    {"rounds", "how often the sample is noised and refined", 2, 1, 1000, 1, NULL},
    {"level", "noise of that, as sigma/alpha", 1, 1e-3, 1e6, 0, NULL},
    {0},
};

static double strength(const vn_choice *c, const vn_guide_at *at, double gamma) {
    (void)c;
    return at->restarts ? gamma : 1;
}

static vn_status route(const vn_choice *c, vn_route *r, vn_err *err) {
    int from = 0;
    while (from < r->steps && vn_level_ratio(&r->level[from]) > c->value[LEVEL]) from++;
    if (from == r->steps)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "gibbs-like: level=%g is below all levels of this run but its last",
                       c->value[LEVEL]);
    const int count = r->steps + 1 - from;
    vn_level *down = vn_alloc((size_t)count, sizeof *down);
    vn_status status = down ? VN_OK : vn_no_memory(err);
    if (!status) memcpy(down, r->level + from, (size_t)count * sizeof *down);
    for (int i = 0; i < (int)c->value[ROUNDS] && !status; i++)
        status = vn_route_insert(r, r->steps + 1, count, down, err);
    vn_free(down);
    return status;
}

const vn_guide_row vn_gibbs_like_guide = {
    .row = {"gibbs-like", "samples unguided, then noises and refines with guidance", "2505.21101",
            params},
    .stage = VN_GUIDE_STRENGTH,
    .needs = VN_NEEDS_ROUTE,
    .strength = strength,
    .route = route,
};
