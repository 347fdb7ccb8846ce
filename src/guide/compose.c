/* compose.c - several conditions at once (2206.01714): each adds w (c_i - u) to the prediction, so
 * that with cfg it is
 *
 *     u + gamma (c - u) + w_1 (c_1 - u) + w_2 (c_2 - u) + ...
 *
 * A positive weight is the paper's AND, a negative one its NOT. Samples without a condition are
 * left as they are. */
#include "guide/internal.h"

enum { CLASS, WEIGHT };
static const vn_param params[] = {
    {"class", "the class to add", 0, 0, 1e6, VN_PARAM_CONDITION, NULL},
    {"weight", "how much of it; negative: move away from it", 1, -1000, 1000, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[WEIGHT] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "compose: weight=0 has no effect");
    return VN_OK;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    if (at->all_null) return;
    const vn_pass c = vn_pass_of_class(g, at, (int32_t)g->choice.value[CLASS]), u = vn_null(at);
    vn_plan_pass(p, &c);
    vn_plan_pass(p, &u);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    if (at->all_null) return;
    const vn_pass of_c = {.condition = g->condition}, of_u = vn_null(at);
    const vn_estimate *c = vn_plan_pass(p, &of_c), *u = vn_plan_pass(p, &of_u);
    const float w = (float)g->choice.value[WEIGHT];
    for (size_t i = 0; i < (size_t)(at->n * g->denoiser->size); i++) {
        out->x0[i] += w * (c->x0[i] - u->x0[i]);
        out->eps[i] += w * (c->eps[i] - u->eps[i]);
    }
}

const vn_guide_row vn_compose_guide = {
    .row = {"compose", "adds weight (another class - null): several conditions at once",
            "2206.01714", params},
    .stage = VN_GUIDE_ADDITION,
    .linear = true,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .repeatable = true,
    .passes = 2,
    .check = check,
    .plan = plan,
    .combine = combine,
};
