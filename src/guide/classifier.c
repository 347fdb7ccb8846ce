/* classifier.c - classifier guidance (2105.05233): the gradient of a classifier of noisy samples is
 * added to the score,
 *
 *     score of p(x|y) ~ grad log p(x) + gamma grad log p(y|x_t)
 *
 * that is x0 += gamma sigma^2/alpha grad log p(y|x_t). gamma means what it does everywhere: 0 the
 * unconditional model, 1 the conditional one. So with base=conditional, where the score is already
 * that of p(x|y), gamma - 1 is left to the classifier: the paper's scale for a conditional model is
 * gamma - 1. If the classifier is exact, both are CFG. */
#include "guide/internal.h"

enum { BASE };
enum { OF_NULL, OF_CONDITION };
static const vn_param params[] = {
    {"base",
     "the model whose score the classifier adds to; conditional: only G - 1 of its gradient",
     OF_NULL, 0, 1, 1, "null|conditional"},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (!d->classify)
        return vn_fail(err, VN_BAD_ARGUMENT, "classifier: this model has no classifier");
    if (c->value[BASE] == OF_NULL && !d->conditions.has_null)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: base=null needs a model that knows the null condition");
    return VN_OK;
}

static vn_pass base(const vn_guide *g, const vn_guide_at *at) {
    return g->choice.value[BASE] == OF_NULL ? vn_null(at) : vn_conditional(at);
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass of_base = base(g, at);
    vn_plan_pass(p, &of_base);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_pass of_base = base(g, at);
    const double amount = g->choice.value[BASE] == OF_NULL ? at->gamma : at->gamma - 1;
    vn_copy_estimate((size_t)(at->n * g->denoiser->size), *out, vn_plan_pass(p, &of_base));
    if (amount == 0 || at->all_null) return;
    float *shift = g->slot[0];
    if (vn_guide_classify(g, at, at->x, at->level, NULL, shift))
        vn_shift_estimate(at, g->denoiser->size, shift, amount, out);
}

bool vn_guide_classify(vn_guide *g, const vn_guide_at *at, const float *x, const vn_level *level,
                       float *log_probability, float *shift) {
    const vn_denoiser *d = g->denoiser;
    for (int64_t i = 0; i < at->n; i++)
        g->condition[i] = at->condition[i] == VN_CONDITION_NULL ? 0 : at->condition[i];
    const vn_classify query = {.n = at->n,
                               .x = x,
                               .level = level,
                               .condition = g->condition,
                               .log_probability = log_probability,
                               .shift = shift};
    g->status = d->classify(d->self, &query, &g->err);
    for (int64_t i = 0; i < at->n && !g->status; i++) {
        if (at->condition[i] != VN_CONDITION_NULL) continue;
        if (log_probability) log_probability[i] = 0;
        for (int64_t j = 0; shift && j < d->size; j++) shift[i * d->size + j] = 0;
    }
    return !g->status;
}

const vn_guide_row vn_classifier_guide = {
    .row = {"classifier", "adds G times the gradient of a classifier's log p(class|x)",
            "2105.05233", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_CLASSIFIER | VN_NEEDS_CONDITION,
    .passes = 1,
    .slots = 1,
    .check = check,
    .plan = plan,
    .combine = combine,
};
