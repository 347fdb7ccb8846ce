/* guidance.c - a list of guides: it is opened from its text; at each prediction its guides are
 * asked for passes until they need no more, passes through one network are run as one batch, and
 * then the guides combine them. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

#define MAX_GUIDES 8

struct vn_plan {
    int count, done, max; /* passes named, run, allowed */
    int64_t n;            /* rows of each */
    bool full;            /* one was named beyond `max` */
    vn_pass *pass;
    vn_estimate *estimate; /* [max], each [capacity,size] */
};

struct vn_guidance {
    const vn_table *table;
    const vn_denoiser *denoiser;
    const vn_reward *reward;
    double gamma;
    int64_t capacity, n, rows_passed;
    int count;
    vn_guide guide[MAX_GUIDES];
    vn_guide_at at; /* of the sampling run; in a step, as at its first prediction */
    vn_plan plan;
    vn_perturb always;     /* in every pass through the main network */
    vn_condition *null;    /* [capacity] */
    double *spare;         /* [capacity] */
    double *null_estimate; /* [2,size], x0 and eps; NULL unless it answers in double */
    /* a batch of passes, [max,capacity] rows */
    float *x, *raw, *direction, *variance, *strength;
    vn_level *level, *to;
    vn_condition *condition;
    /* of the prediction that is being made: where the learned variance goes, or NULL; found: it
     * holds that of some pass; settled: that of the conditional one */
    float *wanted;
    bool found, settled;
};

/* ---- opening: the text ----------------------------------------------------------------------- */

/* Where the guide that begins at `text` ends: at a comma whose next word is a name, not
 * key=value. */
static size_t guide_length(const char *text) {
    size_t end = vn_pair_length(text);
    while (text[end]) {
        const char *word = text + end + 1;
        if (word[strcspn(word, "=:,")] != '=') break;
        end += 1 + vn_pair_length(word);
    }
    return end;
}

/* Whether `b` would undo what `a` computes. */
static bool spoils(const vn_guide_row *b, const vn_guide_row *a) {
    return a->rule && b->stage != VN_GUIDE_STRENGTH && strcmp(b->row.name, a->rule) != 0;
}

/* Whether `b` changes gamma or the prediction, which a rule with `alone` does not allow. */
static bool intrudes(const vn_guide_row *b, const vn_guide_row *a) {
    return a->alone && (b->strength || b->combine);
}

static bool reroutes(const vn_guide_row *b, const vn_guide_row *a) {
    return b->route && (a->needs & VN_NEEDS_ROUTE);
}

static vn_status check_together(const vn_guide *a, const vn_guide *b, vn_err *err) {
    const char *first = a->row->row.name, *second = b->row->row.name;
    if (a->row == b->row && !a->row->many)
        return vn_fail(err, VN_BAD_ARGUMENT, "the guide %s is named twice", first);
    if (a->row->stage == VN_GUIDE_RULE && b->row->stage == VN_GUIDE_RULE)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: each makes the whole prediction", first,
                       second);
    if (a->row->inside && b->row->inside)
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
                       a->row->rule ? first : second, a->row->rule ? a->row->rule : b->row->rule);
    if (intrudes(a->row, b->row) || intrudes(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: %s takes G and the prediction as they are",
                       first, second, a->row->alone ? first : second);
    if (reroutes(a->row, b->row) || reroutes(b->row, a->row))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s and %s cannot be combined: one changes the levels the other needs",
                       first, second);
    return VN_OK;
}

static vn_status add_guide(vn_guidance *g, const char *text, vn_err *err) {
    if (g->count == MAX_GUIDES)
        return vn_fail(err, VN_BAD_ARGUMENT, "more than %d guides", MAX_GUIDES);
    vn_guide *one = &g->guide[g->count];
    const vn_names classes = {g->denoiser->conditions.names,
                              (size_t)vn_conditions_count(&g->denoiser->conditions)};
    vn_status status = vn_choice_parse_of(text, g->table, &classes, &one->choice, err);
    if (status) return status;
    one->row = (const vn_guide_row *)one->choice.row;
    one->denoiser = g->denoiser;
    one->reward = g->reward;
    for (int i = 0; i < g->count && !status; i++) status = check_together(&g->guide[i], one, err);
    if (status) return status;
    g->count++;
    if (one->row->inside) g->always = one->row->inside(&one->choice, g->denoiser);
    return one->row->check ? one->row->check(&one->choice, g->denoiser, err) : VN_OK;
}

static vn_status add_guides(vn_guidance *g, const char *text, vn_err *err) {
    vn_status status = VN_OK;
    bool more = text != NULL, rule = false;
    while (more && !status) {
        size_t length = guide_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        status = one ? add_guide(g, one, err) : vn_no_memory(err);
        vn_free(one);
        more = text[length] == ',';
        text += length + 1;
    }
    for (int i = 0; i < g->count; i++) rule |= g->guide[i].row->stage == VN_GUIDE_RULE;
    return status || rule ? status : add_guide(g, vn_table_row(g->table, 0)->name, err);
}

/* The row of the first guide of a list, or NULL if that is not the text of a guide; *text moves on
 * to the next one, and is NULL after the last. */
static const vn_guide_row *next_row(const char **text) {
    vn_choice c;
    vn_err err;
    const size_t length = guide_length(*text);
    char *one = vn_format("%.*s", (int)length, *text);
    const bool known = one && vn_choice_parse(one, &vn_guides, &c, &err) == VN_OK;
    vn_free(one);
    *text = (*text)[length] == ',' ? *text + length + 1 : NULL;
    return known ? (const vn_guide_row *)c.row : NULL;
}

bool vn_guides_select(const char *text) {
    while (text) {
        const vn_guide_row *row = next_row(&text);
        if (row && row->select) return true;
    }
    return false;
}

unsigned vn_guides_need(const char *text) {
    unsigned needs = 0;
    while (text) {
        const vn_guide_row *row = next_row(&text);
        if (row) needs |= row->needs;
    }
    return needs;
}

/* `list` (NULL: empty), which is freed, with one more guide after it, the first `length` characters
 * of `one`. A new string, or NULL: out of memory. */
static char *with_guide(char *list, const char *one, size_t length) {
    char *longer = list ? vn_format("%s%s%.*s", list, *list ? "," : "", (int)length, one) : NULL;
    vn_free(list);
    return longer;
}

char *vn_guides_finish(const char *guide, const char *last) {
    bool replaced = false;
    char *list = vn_strdup("");
    for (const char *text = guide; text && list;) {
        const size_t length = guide_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        vn_choice c;
        const vn_status status = one ? vn_choice_parse(one, &vn_guides, &c, NULL) : VN_NO_MEMORY;
        /* text that is no guide is refused when the list is opened */
        const vn_guide_row *row = status ? NULL : (const vn_guide_row *)c.row;
        const bool left_out = row == &vn_clip_guide && c.value[0] == 0;
        replaced |= row && row->replaces;
        if (status == VN_NO_MEMORY) {
            vn_free(list);
            list = NULL;
        } else if (!left_out) {
            list = with_guide(list, text, length);
        }
        vn_free(one);
        text = text[length] == ',' ? text + length + 1 : NULL;
    }
    if (list && !*list) list = with_guide(list, "cfg", 3);
    return replaced || !list ? list : with_guide(list, last, strlen(last));
}

static vn_status check_needs(const vn_guidance *g, vn_err *err) {
    if (!isfinite(g->gamma))
        return vn_fail(err, VN_BAD_ARGUMENT, "guidance is not a finite number");
    const vn_means means = {g->table, g->denoiser, g->reward};
    for (int i = 0; i < g->count; i++) {
        const vn_guide_row *row = g->guide[i].row;
        if (g->gamma == 1 && row->stage == VN_GUIDE_RULE && !row->alone) continue;
        const vn_status status = vn_guide_check_needs(&means, row, g->gamma, err);
        if (status) return status;
    }
    return VN_OK;
}

vn_status vn_guidance_check_sampler(const vn_guidance *g, const char *sampler, unsigned abilities,
                                    vn_err *err) {
    for (int i = 0; i < g->count; i++) {
        const vn_guide_row *row = g->guide[i].row;
        const unsigned needs =
            row->needs | (row->needs_by ? row->needs_by(&g->guide[i].choice) : 0);
        const unsigned lacks =
            needs & (VN_NEEDS_PAIRS | VN_NEEDS_SDE | VN_NEEDS_ROUTE) & ~abilities;
        const char *words = lacks & VN_NEEDS_PAIRS
                                ? "a sampler that moves x0 and noise apart, such as ddim or euler"
                            : lacks & VN_NEEDS_SDE
                                ? "a sampler that follows the reverse SDE, such as euler-maruyama"
                                : "a sampler that keeps to the grid";
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

/* ---- opening: memory ------------------------------------------------------------------------- */

static float *new_rows(const vn_guidance *g, int64_t passes) {
    return vn_alloc((size_t)(passes * g->capacity), (size_t)g->denoiser->size * sizeof(float));
}

static vn_status take_slots(vn_guidance *g, vn_guide *one) {
    one->log_weight = vn_alloc((size_t)g->capacity, sizeof *one->log_weight);
    one->condition = vn_alloc((size_t)g->capacity, sizeof *one->condition);
    if (!one->log_weight || !one->condition) return VN_NO_MEMORY;
    if (!one->row->slots) return VN_OK;
    one->slot = vn_calloc((size_t)one->row->slots, sizeof *one->slot);
    if (!one->slot) return VN_NO_MEMORY;
    for (int i = 0; i < one->row->slots; i++)
        if (!(one->slot[i] = new_rows(g, 1))) return VN_NO_MEMORY;
    return VN_OK;
}

/* Whether the denoiser predicts in double and the plain rule is the only guide. */
static bool can_be_exact(const vn_guidance *g) {
    bool plain = g->denoiser->exact != NULL;
    for (int i = 0; i < g->count; i++)
        plain &= g->guide[i].row->plain || g->guide[i].row->stage == VN_GUIDE_STRENGTH;
    return plain;
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
    g->level = vn_alloc(rows, sizeof *g->level);
    g->condition = vn_alloc(rows, sizeof *g->condition);
    g->x = new_rows(g, plan->max);
    g->raw = new_rows(g, plan->max);
    if ((g->denoiser->can & VN_CAN_VARIANCE) && !(g->variance = new_rows(g, plan->max)))
        return VN_NO_MEMORY;
    if ((g->denoiser->can & VN_TAKES_TO) && !(g->to = vn_alloc(rows, sizeof *g->to)))
        return VN_NO_MEMORY;
    if ((g->denoiser->can & VN_TAKES_GUIDANCE) &&
        !(g->strength = vn_alloc(rows, sizeof *g->strength)))
        return VN_NO_MEMORY;
    if (vjp && !(g->direction = new_rows(g, plan->max))) return VN_NO_MEMORY;
    if (!plan->pass || !plan->estimate || !g->null || !g->spare || !g->level || !g->condition ||
        !g->x || !g->raw)
        return VN_NO_MEMORY;
    if (can_be_exact(g) &&
        !(g->null_estimate = vn_alloc(2 * (size_t)g->denoiser->size, sizeof *g->null_estimate)))
        return VN_NO_MEMORY;
    for (int i = 0; i < plan->max; i++) {
        plan->estimate[i] = (vn_estimate){new_rows(g, 1), new_rows(g, 1)};
        if (!plan->estimate[i].x0 || !plan->estimate[i].eps) return VN_NO_MEMORY;
    }
    for (int64_t i = 0; i < g->capacity; i++) g->null[i] = VN_CONDITION_NULL;
    return VN_OK;
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
    vn_status status = add_guides(g, o->guide, err);
    if (!status) status = check_needs(g, err);
    if (!status && take_memory(g)) status = vn_no_memory(err);
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
    }
    for (int i = 0; g->plan.estimate && i < g->plan.max; i++) {
        vn_free(g->plan.estimate[i].x0);
        vn_free(g->plan.estimate[i].eps);
    }
    vn_free(g->plan.estimate);
    vn_free(g->plan.pass);
    vn_free(g->null);
    vn_free(g->spare);
    vn_free(g->null_estimate);
    vn_free(g->level);
    vn_free(g->to);
    vn_free(g->strength);
    vn_free(g->condition);
    vn_free(g->x);
    vn_free(g->raw);
    vn_free(g->direction);
    vn_free(g->variance);
    vn_free(g);
    *guidance = NULL;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static bool same_conditions(const vn_condition *a, const vn_condition *b, int64_t n) {
    return a == b || !memcmp(a, b, (size_t)n * sizeof *a);
}

static bool same_pass(const vn_pass *a, const vn_pass *b, int64_t n) {
    return a->network == b->network && vn_perturb_equal(&a->perturb, &b->perturb) &&
           same_conditions(a->condition, b->condition, n) && a->x == b->x && a->level == b->level &&
           a->want == b->want && a->direction == b->direction && a->guidance == b->guidance;
}

const vn_estimate *vn_plan_need(vn_plan *plan, const vn_pass *pass) {
    for (int i = 0; i < plan->count; i++)
        if (same_pass(&plan->pass[i], pass, plan->n))
            return i < plan->done ? &plan->estimate[i] : NULL;
    if (plan->count == plan->max)
        plan->full = true;
    else
        plan->pass[plan->count++] = *pass;
    return NULL;
}

/* ---- evaluate -------------------------------------------------------------------------------- */

/* Whether two passes can share a forward pass. */
static bool go_together(const vn_pass *a, const vn_pass *b) {
    return a->network == b->network && vn_perturb_equal(&a->perturb, &b->perturb) &&
           a->want == b->want;
}

/* The estimate of one pass from its raw rows [n,size]. */
static void keep(const vn_guidance *g, const vn_guide_at *at, const vn_pass *p, const float *raw,
                 vn_estimate *estimate) {
    const size_t size = (size_t)g->denoiser->size;
    const float *x = p->x ? p->x : at->x;
    const vn_level *level = p->level ? p->level : at->level;
    const vn_coefficients m = vn_prediction_coefficients(&g->denoiser->prediction, level);
    for (size_t i = 0; i < (size_t)at->n; i++, raw += size) {
        const size_t row = i * size;
        if (p->want == VN_ANSWER)
            vn_prediction_to_estimate(&g->denoiser->prediction, level, size, x + row, raw,
                                      estimate->x0 + row, estimate->eps + row);
        else /* x0 = x0_x x + x0_raw raw(x), and so their derivatives */
            for (size_t j = 0; j < size; j++)
                estimate->x0[row + j] =
                    (float)m.x0_x * p->direction[row + j] + (float)m.x0_raw * raw[j];
    }
}

/* Keeps the learned variance of a pass at the state itself: that of the conditional pass, or of the
 * first pass until there is one. */
static void keep_variance(vn_guidance *g, const vn_guide_at *at, const vn_pass *p,
                          const float *rows) {
    const vn_pass conditional = vn_conditional(at);
    const bool fit = same_pass(p, &conditional, at->n);
    if (p->x || p->level || p->perturb.kind || g->settled || (g->found && !fit)) return;
    memcpy(g->wanted, rows, (size_t)(at->n * g->denoiser->size) * sizeof *rows);
    g->found = true;
    g->settled = fit;
}

/* Takes the first pass that has not been run and all that can share a forward pass with it, moves
 * them to the front of what is left, and runs them as one batch. */
static vn_status evaluate_batch(vn_guidance *g, const vn_guide_at *at, vn_err *err) {
    vn_plan *plan = &g->plan;
    const size_t n = (size_t)at->n, floats = n * (size_t)g->denoiser->size;
    const vn_pass first = plan->pass[plan->done];
    int count = 0;
    for (int i = plan->done; i < plan->count; i++) {
        if (!go_together(&first, &plan->pass[i])) continue;
        vn_pass p = plan->pass[i];
        plan->pass[i] = plan->pass[plan->done + count];
        plan->pass[plan->done + count] = p;
        const size_t at_row = (size_t)count++ * n;
        memcpy(g->x + at_row * (size_t)g->denoiser->size, p.x ? p.x : at->x,
               floats * sizeof(float));
        memcpy(g->condition + at_row, p.condition, n * sizeof *g->condition);
        for (size_t k = 0; k < n; k++) g->level[at_row + k] = p.level ? *p.level : *at->level;
        for (size_t k = 0; g->to && k < n; k++)
            g->to[at_row + k] = at->next ? *at->next : *at->level;
        for (size_t k = 0; g->strength && k < n; k++)
            g->strength[at_row + k] = p.guidance ? (float)*p.guidance : NAN;
        if (p.direction)
            memcpy(g->direction + at_row * (size_t)g->denoiser->size, p.direction,
                   floats * sizeof(float));
    }
    vn_query q = {.n = count * at->n,
                  .network = first.network,
                  .perturb = first.perturb,
                  .always = first.network == VN_NETWORK_MAIN ? g->always : (vn_perturb){0},
                  .x = g->x,
                  .level = g->level,
                  .to = g->to,
                  .guidance = g->strength,
                  .condition = g->condition,
                  .want = first.want,
                  .direction = first.direction ? g->direction : NULL,
                  .variance = g->wanted && first.network == VN_NETWORK_MAIN && !first.want
                                  ? g->variance
                                  : NULL};
    vn_status status = g->denoiser->predict(g->denoiser->self, &q, g->raw, err);
    for (int i = 0; i < count && !status; i++, plan->done++) {
        keep(g, at, &plan->pass[plan->done], g->raw + (size_t)i * floats,
             &plan->estimate[plan->done]);
        if (q.variance)
            keep_variance(g, at, &plan->pass[plan->done], q.variance + (size_t)i * floats);
    }
    g->rows_passed += count * at->n;
    return status;
}

/* ---- predictions ----------------------------------------------------------------------------- */

void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const vn_condition *condition) {
    g->rows_passed = 0;
    g->n = n;
    g->at = (vn_guide_at){.n = n,
                          .first = first,
                          .seed = g->at.seed,
                          .condition = condition,
                          .null = g->null,
                          .all_null = true};
    for (int64_t i = 0; i < n; i++) g->at.all_null &= condition[i] == VN_CONDITION_NULL;
    for (int i = 0; i < g->count; i++) {
        vn_guide *one = &g->guide[i];
        memset(one->log_weight, 0, (size_t)n * sizeof *one->log_weight);
        for (int k = 0; k < one->row->slots; k++)
            memset(one->slot[k], 0, (size_t)(n * g->denoiser->size) * sizeof(float));
    }
}

void vn_guidance_step(vn_guidance *g, int step, int steps, int round, const vn_level *next) {
    g->at.step = step;
    g->at.steps = steps;
    g->at.round = round;
    g->at.next = next;
    g->at.call = 0;
}

/* The first failure that a guide met. */
static vn_status guide_status(vn_guidance *g, vn_err *err) {
    for (int i = 0; i < g->count; i++) {
        vn_guide *one = &g->guide[i];
        if (!one->status) continue;
        const vn_status status =
            vn_fail(err, one->status, "the guide %s: %s", one->row->row.name, one->err.text);
        one->status = VN_OK;
        return status;
    }
    return VN_OK;
}

/* Asks the guides and runs what they need until they need nothing. */
static vn_status evaluate(vn_guidance *g, const vn_guide_at *at, vn_err *err) {
    vn_plan *plan = &g->plan;
    plan->count = plan->done = 0;
    plan->n = at->n;
    do {
        for (int i = 0; i < g->count; i++)
            if (g->guide[i].row->plan) g->guide[i].row->plan(&g->guide[i], at, plan);
        if (plan->full)
            return vn_fail(err, VN_UNSUPPORTED, "a guide asks for more passes than its row allows");
        vn_status status = guide_status(g, err);
        if (status || plan->done == plan->count) return status;
        while (plan->done < plan->count) {
            status = evaluate_batch(g, at, err);
            if (status) return status;
        }
    } while (true);
}

static vn_status combine(vn_guidance *g, const vn_guide_at *at, vn_estimate *out, vn_err *err) {
    for (int stage = 0; stage < VN_GUIDE_STAGES; stage++)
        for (int i = 0; i < g->count; i++)
            if ((int)g->guide[i].row->stage == stage && g->guide[i].row->combine)
                g->guide[i].row->combine(&g->guide[i], at, &g->plan, out);
    return guide_status(g, err);
}

static vn_status predict_plain(vn_guidance *g, const vn_guide_at *at, vn_estimate out,
                               vn_err *err) {
    const vn_pass pass = vn_conditional(at);
    g->plan.count = g->plan.done = 0;
    g->plan.n = at->n;
    vn_plan_need(&g->plan, &pass);
    const vn_status status = evaluate_batch(g, at, err);
    if (!status) vn_copy_estimate((size_t)(at->n * g->denoiser->size), out, &g->plan.estimate[0]);
    return status;
}

/* Moves the pointers to what guides keep for each row on by `by` rows, or back where negative. */
static void move_memory(vn_guidance *g, int64_t by) {
    for (int i = 0; i < g->count; i++) {
        vn_guide *one = &g->guide[i];
        one->log_weight += by;
        one->condition += by;
        for (int k = 0; k < one->row->slots; k++) one->slot[k] += by * g->denoiser->size;
    }
}

static double gamma_at(const vn_guidance *g, const vn_guide_at *at) {
    double gamma = g->gamma;
    for (int i = 0; i < g->count; i++)
        if (g->guide[i].row->strength)
            gamma = g->guide[i].row->strength(&g->guide[i].choice, at, gamma);
    return gamma;
}

vn_status vn_guidance_predict(vn_guidance *g, const vn_ask *ask, vn_estimate out, vn_err *err) {
    vn_guide_at at = g->at;
    at.x = ask->x;
    at.level = ask->level;
    at.n = ask->n ? ask->n : g->n;
    at.first += (uint64_t)ask->row;
    at.condition += ask->row;
    g->wanted = ask->variance;
    g->found = g->settled = false;
    if (ask->plain) return predict_plain(g, &at, out, err);
    at.gamma = gamma_at(g, &at);
    if (at.call == 0) {
        g->at.level = at.level;
        g->at.gamma = at.gamma;
    }
    g->at.call++;
    move_memory(g, ask->row);
    vn_status status = evaluate(g, &at, err);
    if (!status) status = combine(g, &at, &out, err);
    move_memory(g, -ask->row);
    if (status || !g->wanted || g->found) return status;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "no pass of these guides is the model's own: it has no variance to say");
}

bool vn_guidance_is_exact(const vn_guidance *g) {
    return g->null_estimate != NULL;
}

vn_status vn_guidance_predict_exact(vn_guidance *g, const vn_ask_exact *ask, double *x0,
                                    double *eps, vn_err *err) {
    const vn_denoiser *d = g->denoiser;
    const size_t n = (size_t)d->size;
    const vn_condition label = g->at.condition[ask->row];
    vn_guide_at at = g->at;
    at.level = ask->level;
    const double gamma = label == VN_CONDITION_NULL ? 0 : gamma_at(g, &at);
    const bool both = gamma != 0 && gamma != 1;
    if (!ask->again) g->rows_passed += both ? 2 : 1;
    vn_status status =
        d->exact(d->self, gamma == 0 ? VN_CONDITION_NULL : label, ask->level, ask->x, x0, eps, err);
    if (status || !both) return status;
    double *null_x0 = g->null_estimate, *null_eps = null_x0 + n;
    status = d->exact(d->self, VN_CONDITION_NULL, ask->level, ask->x, null_x0, null_eps, err);
    for (size_t i = 0; i < n; i++) {
        x0[i] = null_x0[i] + gamma * (x0[i] - null_x0[i]);
        eps[i] = null_eps[i] + gamma * (eps[i] - null_eps[i]);
    }
    return status;
}

/* ---- between steps --------------------------------------------------------------------------- */

/* Moves the rows of what guides keep as the samples that they belong to are moved. */
static void move_rows(vn_guidance *g, const int64_t *ancestor) {
    const size_t n = (size_t)g->n, size = (size_t)g->denoiser->size;
    for (int i = 0; i < g->count; i++) {
        vn_guide *one = &g->guide[i];
        memcpy(g->spare, one->log_weight, n * sizeof *g->spare);
        for (size_t k = 0; k < n; k++) one->log_weight[k] = g->spare[ancestor[k]];
        for (int k = 0; k < one->row->slots; k++) {
            memcpy(g->x, one->slot[k], n * size * sizeof(float));
            for (size_t j = 0; j < n; j++)
                memcpy(one->slot[k] + j * size, g->x + (size_t)ancestor[j] * size,
                       size * sizeof(float));
        }
    }
}

vn_status vn_guidance_select(vn_guidance *g, const float *x, int64_t *ancestor, bool *moved,
                             vn_err *err) {
    vn_population p = {.at = &g->at, .x = x, .ancestor = ancestor};
    *moved = false;
    vn_guide *selector = NULL;
    for (int i = 0; i < g->count; i++)
        if (g->guide[i].row->select) selector = &g->guide[i];
    if (!selector) return VN_OK;
    for (int64_t i = 0; i < g->n; i++) ancestor[i] = i;
    selector->row->select(selector, &p);
    for (int64_t i = 0; i < g->n; i++) *moved |= ancestor[i] != i;
    if (*moved) move_rows(g, ancestor);
    return guide_status(g, err);
}

double vn_guidance_passes(const vn_guidance *g) {
    return g->n ? (double)g->rows_passed / (double)g->n : 0;
}
