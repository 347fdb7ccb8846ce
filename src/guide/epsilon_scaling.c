/* epsilon_scaling.c - epsilon scaling (2308.15321): a network is trained on noisy data and sampled
 * on states that are its own work, on which it predicts too much noise. So eps is made smaller,
 *
 *     eps / by
 *
 * and x0 follows. At pure noise x0 does not follow from eps: paths that begin there, as that of
 * a flow does, are refused. */
#include "guide/internal.h"

enum { BY };
static const vn_param params[] = {
    {"by", "what eps is divided by; the paper's for ten and more steps are 1.002 to 1.02", 1.005,
     0.5, 2, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[BY] == 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "epsilon-scaling: by=1 has no effect");
    if (vn_path_level(d->path, 1).alpha > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "epsilon-scaling: the path %s begins at pure noise, where x0 does not follow "
                   "from eps",
                   d->path->row->row.name);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const double less = 1 - 1 / g->choice.value[BY], follow = at->level->sigma / at->level->alpha;
    for (size_t i = 0; i < (size_t)(at->n * g->denoiser->size); i++) {
        const double change = less * (double)out->eps[i];
        out->eps[i] = (float)((double)out->eps[i] - change);
        out->x0[i] = (float)((double)out->x0[i] + follow * change);
    }
}

const vn_guide_row vn_epsilon_scaling_guide = {
    .row = {"epsilon-scaling", "a little less noise than was predicted", "2308.15321", params},
    .stage = VN_GUIDE_FINISH,
    .check = check,
    .combine = combine,
};
