/* guidance_open.c - a list of guides is opened: its text is parsed, guides that cannot be combined
 * are refused, as is what the denoiser, the reward or the sampler cannot do, and all memory is
 * taken. */
#include "guide/guidance.h"

#include <math.h>
#include <string.h>

/* ---- which guides, and which of them go together --------------------------------------------- */

/* Whether `a` is right for one rule alone, and `b` is another rule or changes its prediction. */
static bool spoils(const vn_guide_row *b, const vn_guide_row *a) {
    return a->only_with && b->stage != VN_GUIDE_STRENGTH && strcmp(b->row.name, a->only_with) != 0;
}

/* Whether `b` changes gamma or the prediction, which `a` does not allow. */
static bool intrudes(const vn_guide_row *b, const vn_guide_row *a) {
    return a->exclusive && (b->strength || b->combine);
}

/* Whether `b` changes the levels, and `a` needs them unchanged. */
static bool reroutes(const vn_guide_row *b, const vn_guide_row *a) {
    return b->route && (a->needs & VN_NEEDS_ROUTE);
}

/* Whether `a` compares with a pass that the rule `b` does not have. */
static bool misses(const vn_guide_row *b, const vn_guide_row *a) {
    return b->stage == VN_GUIDE_RULE && (a->rule_needs & ~b->needs);
}

static vn_status check_together(const vn_guide *a, const vn_guide *b, vn_err *err) {
    const char *first = a->row->row.name, *second = b->row->row.name;
    if (a->row == b->row && !a->row->repeatable)
        return vn_fail(err, VN_BAD_ARGUMENT, "the guide %s is named twice", first);
    if (a->row->stage == VN_GUIDE_RULE && b->row->stage == VN_GUIDE_RULE)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: each makes the whole prediction", first,
                       second);
    if (a->row->always && b->row->always)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: each changes the network itself", first,
                       second);
    if (a->row->select && b->row->select)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: each selects among the samples", first,
                       second);
    if (spoils(a->row, b->row) || spoils(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: %s is right for %s alone", first, second,
                       a->row->only_with ? first : second,
                       a->row->only_with ? a->row->only_with : b->row->only_with);
    if (intrudes(a->row, b->row) || intrudes(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: %s takes G and the prediction as they are",
                       first, second, a->row->exclusive ? first : second);
    if (misses(a->row, b->row) || misses(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: %s needs a rule with a null prediction",
                       first, second, misses(b->row, a->row) ? first : second);
    if (reroutes(a->row, b->row) || reroutes(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: one changes the levels the other needs",
                       first, second);
    return VN_OK;
}

/* A condition that is not named is class 0, which a model of texts or vectors does not have: its
 * conditions have the numbers in which they came. */
static vn_status check_named(const vn_choice *c, const vn_conditions *of, vn_err *err) {
    const vn_param *p = c->row->params;
    const bool others = of->classes == 0 && vn_conditions_count(of) > 0;
    for (size_t i = 0; p && p[i].name && others; i++)
        if (p[i].kind == VN_PARAM_CONDITION && !c->given[i] && p[i].value >= 0)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s: %s= has to say which, as this model has no classes", c->row->name,
                           p[i].name);
    return VN_OK;
}

static vn_status add_guide(vn_guidance *g, const char *text, vn_err *err) {
    if (g->count == VN_MAX_GUIDES)
        return vn_fail(err, VN_BAD_ARGUMENT, "more than %d guides", VN_MAX_GUIDES);
    vn_guide *one = &g->guide[g->count];
    const vn_names classes = {g->denoiser->conditions.names,
                              (size_t)vn_conditions_count(&g->denoiser->conditions)};
    vn_status status = vn_choice_parse_of(text, g->table, &classes, &one->choice, err);
    if (!status) status = check_named(&one->choice, &g->denoiser->conditions, err);
    if (status) return status;
    one->row = (const vn_guide_row *)one->choice.row;
    one->denoiser = g->denoiser;
    one->reward = g->reward;
    for (int i = 0; i < g->count && !status; i++) status = check_together(&g->guide[i], one, err);
    if (status) return status;
    g->count++;
    if (one->row->always) g->always = one->row->always(&one->choice, g->denoiser, g->none);
    if (one->row->anneal) {
        g->anneals = true;
        g->anneal = one->row->anneal(&one->choice);
        g->anneal.seed = g->at.seed;
        g->anneal.none = g->none;
    }
    return one->row->check ? one->row->check(&one->choice, g->denoiser, err) : VN_OK;
}

static vn_status add_guides(vn_guidance *g, const char *text, vn_err *err) {
    vn_status status = VN_OK;
    bool more = text != NULL, rule = false;
    while (more && !status) {
        size_t length = vn_choice_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        status = one ? add_guide(g, one, err) : vn_no_memory(err);
        vn_free(one);
        more = text[length] == ',';
        text += length + 1;
    }
    for (int i = 0; i < g->count; i++) rule |= g->guide[i].row->stage == VN_GUIDE_RULE;
    return status || rule ? status : add_guide(g, vn_table_row(g->table, 0)->name, err);
}

/* ---- what they need -------------------------------------------------------------------------- */

static vn_status check_needs(const vn_guidance *g, vn_err *err) {
    if (!isfinite(g->gamma))
        return vn_fail(err, VN_BAD_ARGUMENT, "guidance is not a finite number");
    const vn_guide_provided means = {g->table, g->denoiser, g->reward};
    for (int i = 0; i < g->count; i++) {
        const vn_guide_row *row = g->guide[i].row;
        if (g->gamma == 1 && row->stage == VN_GUIDE_RULE && !row->exclusive) continue;
        const vn_status status = vn_guide_check_needs(&means, row, g->gamma, err);
        if (status) return status;
    }
    return VN_OK;
}

unsigned vn_guide_choice_needs(const vn_guide_row *row, const vn_choice *c) {
    return row->needs | (row->needs_by ? row->needs_by(c) : 0);
}

vn_status vn_guidance_check_sampler(const vn_guidance *g, const char *sampler, unsigned abilities,
                                    vn_err *err) {
    for (int i = 0; i < g->count; i++) {
        const vn_guide_row *row = g->guide[i].row;
        const unsigned lacks =
            vn_guide_choice_needs(row, &g->guide[i].choice) & VN_NEEDS_OF_SAMPLER & ~abilities;
        const char *words = lacks & VN_NEEDS_X0_EPS
                                ? "a sampler that moves x0 and noise apart, such as ddim or euler"
                            : lacks & VN_NEEDS_SDE
                                ? "a sampler that follows the reverse SDE, such as euler-maruyama"
                            : lacks & VN_NEEDS_ROUTE
                                ? "a sampler that keeps to the grid"
                                : "a sampler that makes one step after another";
        if (lacks)
            return vn_fail(err, VN_BAD_ARGUMENT, "the guide %s needs %s; %s does not",
                           row->row.name, words, sampler);
    }
    return VN_OK;
}

vn_status vn_guidance_route(const vn_guidance *g, vn_route *route, vn_err *err) {
    vn_status status = VN_OK;
    for (int i = 0; i < g->count && !status; i++)
        if (g->guide[i].row->route)
            status = g->guide[i].row->route(&g->guide[i].choice, route, err);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static float *new_rows(const vn_guidance *g, int64_t passes) {
    return vn_alloc((size_t)(passes * g->capacity), (size_t)g->denoiser->size * sizeof(float));
}

static vn_status take_slots(vn_guidance *g, vn_guide *one) {
    one->log_weight = vn_alloc((size_t)g->capacity, sizeof *one->log_weight);
    one->condition = vn_alloc((size_t)g->capacity, sizeof *one->condition);
    if (!one->log_weight || !one->condition) return VN_NO_MEMORY;
    if (one->row->draws_perturbs &&
        !(one->perturbs = vn_alloc((size_t)g->capacity, sizeof *one->perturbs)))
        return VN_NO_MEMORY;
    if (!one->row->slots) return VN_OK;
    one->slot = vn_calloc((size_t)one->row->slots, sizeof *one->slot);
    if (!one->slot) return VN_NO_MEMORY;
    for (int i = 0; i < one->row->slots; i++)
        if (!(one->slot[i] = new_rows(g, 1))) return VN_NO_MEMORY;
    return VN_OK;
}

/* Whether the denoiser predicts in double and the plain rule is the only guide. */
static bool can_be_exact(const vn_guidance *g) {
    bool only_cfg = g->denoiser->exact != NULL && !g->cache;
    for (int i = 0; i < g->count; i++)
        only_cfg &= g->guide[i].row->is_cfg || g->guide[i].row->stage == VN_GUIDE_STRENGTH;
    return only_cfg;
}

static vn_status take_memory(vn_guidance *g) {
    vn_plan *plan = &g->plan;
    bool vjp = false;
    for (int i = 0; i < g->count; i++) {
        plan->max += g->guide[i].row->passes;
        vjp |= (g->guide[i].row->needs & VN_NEEDS_VJP) != 0;
        if (take_slots(g, &g->guide[i])) return VN_NO_MEMORY;
    }
    const size_t rows = (size_t)(plan->max * g->capacity);
    plan->pass = vn_calloc((size_t)plan->max, sizeof *plan->pass);
    plan->estimate = vn_calloc((size_t)plan->max, sizeof *plan->estimate);
    g->null = vn_alloc((size_t)g->capacity, sizeof *g->null);
    g->spare = vn_alloc((size_t)g->capacity, sizeof *g->spare);
    g->unguided = vn_calloc((size_t)g->capacity, sizeof *g->unguided);
    g->spare_unguided = vn_calloc((size_t)g->capacity, sizeof *g->unguided);
    g->level = vn_alloc(rows, sizeof *g->level);
    g->condition = vn_alloc(rows, sizeof *g->condition);
    g->sample = vn_alloc(rows, sizeof *g->sample);
    g->x = new_rows(g, plan->max);
    g->raw = new_rows(g, plan->max);
    if ((g->denoiser->can & VN_CAN_VARIANCE) && !(g->variance = new_rows(g, plan->max)))
        return VN_NO_MEMORY;
    if ((g->denoiser->can & VN_TAKES_TO) && !(g->to = vn_alloc(rows, sizeof *g->to)))
        return VN_NO_MEMORY;
    if ((g->denoiser->can & VN_TAKES_NEXT) && !(g->next = vn_alloc(rows, sizeof *g->next)))
        return VN_NO_MEMORY;
    if ((g->denoiser->can & VN_TAKES_GUIDANCE) &&
        !(g->network_guidance = vn_alloc(rows, sizeof *g->network_guidance)))
        return VN_NO_MEMORY;
    if (vjp && !(g->direction = new_rows(g, plan->max))) return VN_NO_MEMORY;
    if (!plan->pass || !plan->estimate || !g->null || !g->spare || !g->level || !g->condition ||
        !g->sample || !g->x || !g->raw || !g->unguided || !g->spare_unguided)
        return VN_NO_MEMORY;
    if (can_be_exact(g) &&
        !(g->null_estimate = vn_alloc(2 * (size_t)g->denoiser->size, sizeof *g->null_estimate)))
        return VN_NO_MEMORY;
    for (int i = 0; i < plan->max; i++) {
        plan->estimate[i] = (vn_estimate){new_rows(g, 1), new_rows(g, 1)};
        if (!plan->estimate[i].x0 || !plan->estimate[i].eps) return VN_NO_MEMORY;
    }
    return VN_OK;
}

static vn_status open_cache(vn_guidance *g, const char *text, vn_err *err) {
    int passes = 0;
    for (int i = 0; i < g->count; i++) passes += g->guide[i].row->passes;
    vn_status status = vn_cache_open(text, g->denoiser, g->capacity, passes, &g->cache, err);
    if (!status && g->cache && g->cache->row->of_difference && passes < 2)
        status =
            vn_fail(err, VN_BAD_ARGUMENT,
                    "the cache %s has no effect: the guide %s needs the conditional pass alone",
                    g->cache->row->row.name, g->guide[0].row->row.name);
    return status;
}

vn_status vn_guidance_open(const vn_guidance_options *o, vn_guidance **out, vn_err *err) {
    vn_guidance *g = vn_calloc(1, sizeof *g);
    *out = NULL;
    if (!g) return vn_no_memory(err);
    g->table = o->table ? o->table : &vn_guides;
    g->denoiser = o->denoiser;
    g->reward = o->reward;
    g->gamma = o->gamma;
    g->capacity = o->capacity;
    g->at.seed = o->seed;
    g->none = o->none ? *o->none : VN_CONDITION_NULL;
    vn_status status = add_guides(g, o->guide, err);
    if (!status) status = check_needs(g, err);
    if (!status) status = open_cache(g, o->cache, err);
    if (!status && take_memory(g)) status = vn_no_memory(err);
    for (int64_t i = 0; i < g->capacity && !status; i++) g->null[i] = g->none;
    if (status) vn_guidance_close(&g);
    *out = g;
    return status;
}

void vn_guidance_close(vn_guidance **guidance) {
    vn_guidance *g = *guidance;
    if (!g) return;
    for (int i = 0; i < g->count; i++) {
        for (int k = 0; g->guide[i].slot && k < g->guide[i].row->slots; k++)
            vn_free(g->guide[i].slot[k]);
        vn_free(g->guide[i].slot);
        vn_free(g->guide[i].log_weight);
        vn_free(g->guide[i].condition);
        vn_free(g->guide[i].perturbs);
    }
    for (int i = 0; g->plan.estimate && i < g->plan.max; i++) {
        vn_free(g->plan.estimate[i].x0);
        vn_free(g->plan.estimate[i].eps);
    }
    vn_cache_close(&g->cache);
    vn_free(g->plan.estimate);
    vn_free(g->plan.pass);
    vn_free(g->null);
    vn_free(g->spare);
    vn_free(g->unguided);
    vn_free(g->spare_unguided);
    vn_free(g->null_estimate);
    vn_free(g->level);
    vn_free(g->to);
    vn_free(g->next);
    vn_free(g->network_guidance);
    vn_free(g->condition);
    vn_free(g->sample);
    vn_free(g->x);
    vn_free(g->raw);
    vn_free(g->direction);
    vn_free(g->variance);
    vn_free(g);
    *guidance = NULL;
}
