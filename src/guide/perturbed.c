/* perturbed.c - guidance away from the prediction of the network with some layers perturbed,
 *
 *     out + scale (c - c')        c' the conditional pass with those layers perturbed
 *
 * which is the same sum in eps, x0 and velocity. The five guides differ in what is done to the
 * layers:
 *
 *   pag   attention gives each token its own value: 2403.17377, scale 3
 *   seg   the queries are blurred over the grid of tokens: 2408.00760, scale 3; its code's default
 *         blur is the mean
 *   slg   whole blocks are left out: Stability's SD3.5, scale 2.8 in the first fifth of the steps
 *   tpg   its tokens come in another order, and go on in it: 2506.10036, scale 3. Each sample draws
 *         one of 8 orders anew for every prediction; samples with the same one are run together
 *   stg   attention is left out, or its scores, or the whole block: 2411.18664, scale 1
 *
 * They need neither a condition nor a null one, and act at gamma 1 too. start and stop are
 * fractions of the steps, and step 0 belongs to start = 0: diffusers 0.42.1 asks for
 * step > start N, and so never acts at step 0. It numbers layers in the same way. */
#include "guide/internal.h"

#include <math.h>

enum { SCALE, FIRST = VN_PARAM_FIRST, LAST = VN_PARAM_LAST, START, STOP, OWN };

#define MAX_LAYER 65535
/* clang-format off */
#define PARAMS(scale, start, stop)                          \
    {"scale", "how far from the perturbed prediction",      \
     scale, -1e6, 1e6, 0, NULL},                            \
    {"first", "first layer perturbed; -1: the middle one",  \
     -1, -1, MAX_LAYER, 1, NULL},                      \
    {"last", "last layer perturbed; -1: the first alone",   \
     -1, -1, MAX_LAYER, 1, NULL},                      \
    {"start", "fraction of the steps after which it acts",      \
     start, 0, 1, 0, NULL},                                 \
    {"stop", "fraction of the steps after which it stops",      \
     stop, 0, 1, 0, NULL}

static const vn_param pag_params[] = {PARAMS(3, 0, 1), {0}};
static const vn_param seg_params[] = {
    PARAMS(3, 0, 1),
    {"sigma", "deviation of the blur, in tokens; from 10000 on the mean of all",
     VN_BLUR_INFINITE, VN_BLUR_MIN, 1e9, 0, NULL},
    {0},
};
static const vn_param tpg_params[] = {PARAMS(3, 0, 1), {0}};
static const vn_param slg_params[] = {PARAMS(2.8, 0.01, 0.2), {0}};
static const vn_param stg_params[] = {
    PARAMS(1, 0, 1),
    {"skip", "all that attention adds; its scores alone; the whole block",
     0, 0, 2, 0, "attention|scores|block"},
    {0},
};
/* clang-format on */

static const vn_perturbation skips[] = {VN_ATTENTION_SKIPPED, VN_ATTENTION_IDENTITY,
                                        VN_BLOCKS_SKIPPED};

/* ---- layers ---------------------------------------------------------------------------------- */

vn_status vn_check_layers(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    const char *name = c->row->name;
    const int first = (int)c->value[FIRST], last = (int)c->value[LAST],
              highest = last > first ? last : first;
    if (!d->layers) return VN_OK;
    if (last >= 0 && first < 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: last=%d needs first", name, last);
    if (last >= 0 && last < first)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: last=%d is before first=%d", name, last, first);
    if (highest >= d->layers)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: layer %d: this model has %d, from 0 to %d", name,
                       highest, d->layers, d->layers - 1);
    return VN_OK;
}

static vn_perturb on_layers(const vn_choice *c, const vn_denoiser *d, vn_perturbation kind,
                            double amount) {
    const int first = c->value[FIRST] < 0 ? d->middle : (int)c->value[FIRST];
    return (vn_perturb){.kind = kind,
                        .amount = amount,
                        .first = first,
                        .last = c->value[LAST] < 0 ? first : (int)c->value[LAST]};
}

/* ---- the rule -------------------------------------------------------------------------------- */

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    const char *name = c->row->name;
    if (c->value[SCALE] == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: scale=0 has no effect", name);
    if (!(c->value[START] < c->value[STOP]))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: start=%g is not below stop=%g", name,
                       c->value[START], c->value[STOP]);
    return vn_check_layers(c, d, err);
}

/* Whether it acts in this step: from the step that contains `start` up to, but without, the first
 * one that begins at `stop` or later; at least one step. The margin is for fractions such as 0.29
 * of 100 steps, which is not a whole number in binary. */
static bool acts(const vn_guide *g, const vn_guide_at *at) {
    const double start = g->choice.value[START] * at->steps,
                 stop = g->choice.value[STOP] * at->steps, hair = 1e-9;
    return at->step >= floor(start + hair) && at->step < stop - hair;
}

static vn_perturb perturbation(const vn_guide *g) {
    const vn_choice *c = &g->choice;
    switch ((vn_perturbation)g->row->perturbations) {
    case VN_ATTENTION_BLUR: return on_layers(c, g->denoiser, VN_ATTENTION_BLUR, c->value[OWN]);
    case VN_ATTENTION_IDENTITY:
    case VN_BLOCKS_SKIPPED:
        return on_layers(c, g->denoiser, (vn_perturbation)g->row->perturbations, 0);
    default: return on_layers(c, g->denoiser, skips[(int)c->value[OWN]], 0);
    }
}

#define ORDERS 8 /* so that a run has no more variants of the network than are kept */

/* The same pass each time it is called during one prediction. */
static vn_pass perturbed(vn_guide *g, const vn_guide_at *at) {
    vn_pass pass = vn_conditional(at);
    if (!g->row->draws_perturbs) pass.perturb = perturbation(g);
    if (!g->row->draws_perturbs) return pass;
    for (int64_t i = 0; i < at->n; i++)
        g->perturbs[i] = on_layers(&g->choice, g->denoiser, VN_TOKENS_SHUFFLED,
                                   floor(ORDERS * vn_guide_draw(at, i)));
    pass.perturbs = g->perturbs;
    return pass;
}

static void plan(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    const vn_pass c = vn_conditional(at), d = perturbed(g, at);
    if (!acts(g, at)) return;
    vn_plan_pass(p, &c);
    vn_plan_pass(p, &d);
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    if (!acts(g, at)) return;
    const vn_pass of_c = vn_conditional(at), of_d = perturbed(g, at);
    const vn_estimate *c = vn_plan_pass(p, &of_c), *d = vn_plan_pass(p, &of_d);
    vn_add_difference((size_t)(at->n * g->denoiser->size), g->choice.value[SCALE], c, d, *out);
}

/* ---- the rows -------------------------------------------------------------------------------- */

#define RULE                                                                                       \
    .stage = VN_GUIDE_ADDITION, .passes = 2, .check = check, .plan = plan, .combine = combine

const vn_guide_row vn_pag_guide = {
    .row = {"pag", "away from the model whose tokens attend to themselves alone", "2403.17377",
            pag_params},
    .perturbations = VN_ATTENTION_IDENTITY,
    RULE,
};
const vn_guide_row vn_seg_guide = {
    .row = {"seg", "away from the model whose attention has blurred queries", "2408.00760",
            seg_params},
    .perturbations = VN_ATTENTION_BLUR,
    RULE,
};
const vn_guide_row vn_slg_guide = {
    .row = {"slg", "away from the model that skips blocks, in the first steps",
            "Stability AI's SD3.5; 2411.18664", slg_params},
    .perturbations = VN_BLOCKS_SKIPPED,
    RULE,
};
const vn_guide_row vn_tpg_guide = {
    .row = {"tpg", "away from the model whose tokens come in another order", "2506.10036",
            tpg_params},
    .perturbations = VN_TOKENS_SHUFFLED,
    .draws_perturbs = true,
    RULE,
};
const vn_guide_row vn_stg_guide = {
    .row = {"stg", "away from the model that skips attention in some blocks", "2411.18664",
            stg_params},
    .perturbations = VN_ATTENTION_SKIPPED | VN_ATTENTION_IDENTITY | VN_BLOCKS_SKIPPED,
    RULE,
};
