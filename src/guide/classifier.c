/* classifier.c - classifier guidance (2105.05233): the gradient of a classifier of noisy samples is
 * added to the score,
 *
 *     score of p(x|y) ~ grad log p(x) + gamma grad log p(y|x_t)
 *
 * that is x0 += gamma sigma^2/alpha grad log p(y|x_t).
 *
 *     classifier           the rule: gamma is --guidance, and means what it does everywhere: 0 the
 *                          unconditional model, 1 the conditional one. So with base=conditional,
 *                          where the score is already that of p(x|y), gamma - 1 is left to the
 *                          classifier: the paper's scale for a conditional model is gamma - 1. If
 *                          the classifier is exact, both are CFG
 *     classifier-gradient  beside any other rule, with a strength of its own
 *
 * A trained classifier's gradient may be wild where it has seen little: `scale` shrinks it, and
 * `clip` bounds it, sample by sample. What is bounded is the root mean square of sigma times the
 * gradient, which is what a gradient of strength 1 changes the noise by, whose own is 1: one bound
 * does for all levels and sizes. */
#include "guide/internal.h"

#include <math.h>

/* clang-format off */
#define SCALE_PARAM \
    {"scale", "what the gradient is multiplied by", 1, -1e6, 1e6, 0, NULL}
#define CLIP_PARAM \
    {"clip", "bound on the root mean square of sigma times the gradient, of each sample; 0: none", \
     0, 0, 1e6, 0, NULL}
/* clang-format on */

enum { BASE, SCALE, CLIP };
enum { OF_NULL, OF_CONDITION };
static const vn_param params[] = {
    {"base",
     "the model whose score the classifier adds to; conditional: only G - 1 of its gradient",
     OF_NULL, 0, 1, 1, "null|conditional"},
    SCALE_PARAM,
    CLIP_PARAM,
    {0},
};

enum { ADDED_SCALE, ADDED_CLIP };
static const vn_param added_params[] = {
    SCALE_PARAM,
    CLIP_PARAM,
    {0},
};

static vn_status check_scale(const vn_choice *c, double scale, vn_err *err) {
    if (scale != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: scale=0 has no effect", c->row->name);
}

/* ---- the gradient ---------------------------------------------------------------------------- */

/* Each row of shift [n,size], sigma^2/alpha times a gradient g, so that the root mean square of
 * sigma g is at most `most`. */
static void clip_rows(const vn_guide_at *at, int64_t size, double most, float *shift) {
    const double by = at->level->sigma > 0 ? at->level->alpha / at->level->sigma : 0;
    for (int64_t i = 0; i < at->n; i++) {
        float *row = shift + i * size;
        double sum = 0;
        for (int64_t j = 0; j < size; j++) sum += (double)row[j] * (double)row[j];
        const double found = by * sqrt(sum / (double)size);
        const float factor = found > most ? (float)(most / found) : 1;
        for (int64_t j = 0; j < size && factor < 1; j++) row[j] *= factor;
    }
}

/* Adds `amount` times the classifier's gradient to the score. */
static void add_gradient(vn_guide *g, const vn_guide_at *at, double amount, double clip,
                         vn_estimate *out) {
    float *shift = g->slot[0];
    if (amount == 0 || at->all_null) return;
    if (!vn_guide_classify(g, at, at->x, at->level, NULL, shift)) return;
    if (clip > 0) clip_rows(at, g->denoiser->size, clip, shift);
    vn_shift_estimate(at, g->denoiser->size, shift, amount, out);
}

/* ---- the rule -------------------------------------------------------------------------------- */

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (!d->classify)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: this model has no classifier; `classifier` names one");
    if (c->value[BASE] == OF_NULL && !d->conditions.has_null)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: base=null needs a model that knows the null condition");
    if (c->value[BASE] == OF_CONDITION && d->unconditional)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: base=conditional needs a model that knows the classes; this "
                       "one has those of its classifier alone");
    return check_scale(c, c->value[SCALE], err);
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
    const double *value = g->choice.value;
    const double gamma = value[BASE] == OF_NULL ? at->gamma : at->gamma - 1;
    vn_copy_estimate((size_t)(at->n * g->denoiser->size), *out, vn_plan_pass(p, &of_base));
    add_gradient(g, at, gamma * value[SCALE], value[CLIP], out);
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

/* ---- beside a rule --------------------------------------------------------------------------- */

static vn_status check_added(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (!d->classify)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier-gradient: this model has no classifier; `classifier` names one");
    return check_scale(c, c->value[ADDED_SCALE], err);
}

static void plan_nothing(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g, (void)at, (void)p;
}

static void combine_added(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    add_gradient(g, at, g->choice.value[ADDED_SCALE], g->choice.value[ADDED_CLIP], out);
}

const vn_guide_row vn_classifier_gradient_guide = {
    .row = {"classifier-gradient",
            "adds the gradient of a classifier's log p(class|x) to what the rule makes",
            "2105.05233", added_params},
    .stage = VN_GUIDE_ADDITION,
    .needs = VN_NEEDS_CLASSIFIER | VN_NEEDS_CONDITION,
    .slots = 1,
    .check = check_added,
    .plan = plan_nothing,
    .combine = combine_added,
};
