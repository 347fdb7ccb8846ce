/* guidance.c - the list of guides at work: it is opened from its text, asked for passes until it needs no more, the passes
 * are run in as few batches as there are networks, and the guides combine. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

#define MAX_GUIDES 8

struct vn_plan {
    int count, done, most; /* passes named, run, allowed */
    bool full;             /* one was named beyond `most` */
    vn_pass *pass;
    vn_pair *pair; /* [most], each [capacity,size] */
};

struct vn_guidance {
    const vn_guide_row *rows;
    size_t row_count;
    const vn_denoiser *denoiser;
    double gamma;
    int64_t capacity, passes;
    int count;
    vn_guide guide[MAX_GUIDES];
    vn_guide_at at; /* what does not change within a walk */
    vn_plan plan;
    int32_t *null; /* [capacity] */
    /* a batch of passes, [most,capacity] rows */
    float *x, *raw, *cotangent;
    vn_level *level;
    int32_t *label;
};

/* ---- opening: the text ---------------------------------------------------------------------------------- */

/* Where the guide that begins at `text` ends: at a comma whose next word is a name, not key=value. */
static size_t guide_length(const char *text) {
    size_t end = strcspn(text, ",");
    while (text[end]) {
        const char *word = text + end + 1;
        if (word[strcspn(word, "=:,")] != '=') break;
        end += 1 + strcspn(word, ",");
    }
    return end;
}

static vn_status add_guide(vn_guidance *g, const char *text, vn_err *err) {
    if (g->count == MAX_GUIDES) return vn_fail(err, VN_BAD_ARGUMENT, "more than %d guides", MAX_GUIDES);
    vn_guide *one = &g->guide[g->count];
    vn_status s = vn_choice_parse(text, g->rows, sizeof *g->rows, g->row_count, "guide", &one->choice, err);
    if (s) return s;
    one->row = &g->rows[one->choice.index];
    one->denoiser = g->denoiser;
    for (int i = 0; i < g->count; i++) {
        if (g->guide[i].row == one->row)
            return vn_fail(err, VN_BAD_ARGUMENT, "the guide %s is named twice", one->row->row.name);
        if (one->row->stage == VN_GUIDE_RULE && g->guide[i].row->stage == VN_GUIDE_RULE)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s and %s cannot be combined: each makes the whole prediction",
                           g->guide[i].row->row.name, one->row->row.name);
    }
    g->count++;
    return one->row->check ? one->row->check(&one->choice, err) : VN_OK;
}

static vn_status add_guides(vn_guidance *g, const char *text, vn_err *err) {
    vn_status s = VN_OK;
    bool more = text != NULL, rule = false;
    while (more && !s) {
        size_t length = guide_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        s = one ? add_guide(g, one, err) : vn_no_memory(err);
        vn_free(one);
        more = text[length] == ',';
        text += length + 1;
    }
    for (int i = 0; i < g->count; i++) rule |= g->guide[i].row->stage == VN_GUIDE_RULE;
    return s || rule ? s : add_guide(g, g->rows[0].row.name, err);
}

static vn_status check_needs(const vn_guidance *g, vn_err *err) {
    const vn_denoiser *d = g->denoiser;
    if (!isfinite(g->gamma)) return vn_fail(err, VN_BAD_ARGUMENT, "guidance is not a finite number");
    for (int i = 0; i < g->count; i++) {
        const vn_guide_row *row = g->guide[i].row;
        if (g->gamma == 1 && row->stage == VN_GUIDE_RULE) continue;
        const char *lacks = (row->needs & VN_NEEDS_CLASSES) && !d->classes ? "conditions"
                            : (row->needs & VN_NEEDS_NULL) && !d->has_null ? "the null condition"
                            : (row->needs & VN_NEEDS_WEAK) && !d->has_weak ? "a weak model"
                            : (row->needs & VN_NEEDS_VJP) && !d->has_vjp   ? "derivatives"
                                                                           : NULL;
        if (lacks)
            return vn_fail(err, VN_BAD_ARGUMENT, "guidance %g by %s needs %s, which this model does not have", g->gamma,
                           row->row.name, lacks);
    }
    return VN_OK;
}

/* ---- opening: memory ------------------------------------------------------------------------------------- */

static float *new_rows(const vn_guidance *g, int64_t passes) {
    return vn_alloc((size_t)(passes * g->capacity), (size_t)g->denoiser->size * sizeof(float));
}

static vn_status take_slots(vn_guidance *g, vn_guide *one) {
    if (!one->row->slots) return VN_OK;
    one->slot = vn_calloc((size_t)one->row->slots, sizeof *one->slot);
    if (!one->slot) return VN_NO_MEMORY;
    for (int i = 0; i < one->row->slots; i++)
        if (!(one->slot[i] = new_rows(g, 1))) return VN_NO_MEMORY;
    return VN_OK;
}

static vn_status take_memory(vn_guidance *g) {
    vn_plan *plan = &g->plan;
    bool vjp = false;
    for (int i = 0; i < g->count; i++) {
        plan->most += g->guide[i].row->passes;
        vjp |= (g->guide[i].row->needs & VN_NEEDS_VJP) != 0;
        if (take_slots(g, &g->guide[i])) return VN_NO_MEMORY;
    }
    const size_t rows = (size_t)(plan->most * g->capacity);
    plan->pass = vn_calloc((size_t)plan->most, sizeof *plan->pass);
    plan->pair = vn_calloc((size_t)plan->most, sizeof *plan->pair);
    g->null = vn_alloc((size_t)g->capacity, sizeof *g->null);
    g->level = vn_alloc(rows, sizeof *g->level);
    g->label = vn_alloc(rows, sizeof *g->label);
    g->x = new_rows(g, plan->most);
    g->raw = new_rows(g, plan->most);
    if (vjp && !(g->cotangent = new_rows(g, plan->most))) return VN_NO_MEMORY;
    if (!plan->pass || !plan->pair || !g->null || !g->level || !g->label || !g->x || !g->raw) return VN_NO_MEMORY;
    for (int i = 0; i < plan->most; i++) {
        plan->pair[i] = (vn_pair){new_rows(g, 1), new_rows(g, 1)};
        if (!plan->pair[i].x0 || !plan->pair[i].eps) return VN_NO_MEMORY;
    }
    for (int64_t i = 0; i < g->capacity; i++) g->null[i] = VN_LABEL_NULL;
    return VN_OK;
}

vn_status vn_guidance_open_rows(const vn_guide_row *rows, size_t row_count, const char *text, double gamma,
                                const vn_denoiser *denoiser, int64_t capacity, vn_guidance **out, vn_err *err) {
    vn_guidance *g = vn_calloc(1, sizeof *g);
    *out = NULL;
    if (!g) return vn_no_memory(err);
    g->rows = rows;
    g->row_count = row_count;
    g->denoiser = denoiser;
    g->gamma = gamma;
    g->capacity = capacity;
    vn_status s = add_guides(g, text, err);
    if (!s) s = check_needs(g, err);
    if (!s && take_memory(g)) s = vn_no_memory(err);
    if (s) vn_guidance_close(&g);
    *out = g;
    return s;
}

vn_status vn_guidance_open(const char *text, double gamma, const vn_denoiser *denoiser, int64_t capacity,
                           vn_guidance **out, vn_err *err) {
    return vn_guidance_open_rows(vn_guide_rows, vn_guide_row_count, text, gamma, denoiser, capacity, out, err);
}

void vn_guidance_close(vn_guidance **guidance) {
    vn_guidance *g = *guidance;
    if (!g) return;
    for (int i = 0; i < g->count; i++) {
        for (int k = 0; g->guide[i].slot && k < g->guide[i].row->slots; k++) vn_free(g->guide[i].slot[k]);
        vn_free(g->guide[i].slot);
    }
    for (int i = 0; g->plan.pair && i < g->plan.most; i++) {
        vn_free(g->plan.pair[i].x0);
        vn_free(g->plan.pair[i].eps);
    }
    vn_free(g->plan.pair);
    vn_free(g->plan.pass);
    vn_free(g->null);
    vn_free(g->level);
    vn_free(g->label);
    vn_free(g->x);
    vn_free(g->raw);
    vn_free(g->cotangent);
    vn_free(g);
    *guidance = NULL;
}

/* ---- plan ------------------------------------------------------------------------------------------------- */

const vn_pair *vn_plan_need(vn_plan *plan, const vn_pass *pass) {
    for (int i = 0; i < plan->count; i++) {
        const vn_pass *p = &plan->pass[i];
        if (p->network == pass->network && p->labels == pass->labels && p->x == pass->x && p->level == pass->level &&
            p->cotangent == pass->cotangent)
            return i < plan->done ? &plan->pair[i] : NULL;
    }
    if (plan->count == plan->most)
        plan->full = true;
    else
        plan->pass[plan->count++] = *pass;
    return NULL;
}

/* ---- evaluate --------------------------------------------------------------------------------------------- */

/* Whether two passes can share a forward pass. */
static bool go_together(const vn_pass *a, const vn_pass *b) {
    return a->network == b->network && !a->cotangent == !b->cotangent;
}

/* raw rows -> the pair of one pass. */
static void keep(const vn_guidance *g, const vn_guide_at *at, const vn_pass *p, const float *raw, vn_pair *pair) {
    const size_t size = (size_t)g->denoiser->size;
    const float *x = p->x ? p->x : at->x;
    const vn_level *level = p->level ? p->level : at->level;
    const vn_meaning m = vn_prediction_meaning(&g->denoiser->prediction, level);
    for (size_t i = 0; i < (size_t)at->n; i++, raw += size) {
        const size_t row = i * size;
        if (!p->cotangent)
            vn_prediction_to_pair(&g->denoiser->prediction, level, size, x + row, raw, pair->x0 + row, pair->eps + row);
        else // x0 = x0_x x + x0_raw raw(x)
            for (size_t j = 0; j < size; j++)
                pair->x0[row + j] = (float)m.x0_x * p->cotangent[row + j] + (float)m.x0_raw * raw[j];
    }
}

/* Runs all passes that go with the first one not done, as one batch, and moves them to the front of what is left. */
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
        memcpy(g->x + at_row * (size_t)g->denoiser->size, p.x ? p.x : at->x, floats * sizeof(float));
        memcpy(g->label + at_row, p.labels, n * sizeof *g->label);
        for (size_t k = 0; k < n; k++) g->level[at_row + k] = p.level ? *p.level : *at->level;
        if (p.cotangent) memcpy(g->cotangent + at_row * (size_t)g->denoiser->size, p.cotangent, floats * sizeof(float));
    }
    vn_query q = {.n = count * at->n,
                  .network = first.network,
                  .x = g->x,
                  .level = g->level,
                  .label = g->label,
                  .cotangent = first.cotangent ? g->cotangent : NULL};
    vn_status s = g->denoiser->predict(g->denoiser->self, &q, g->raw, err);
    for (int i = 0; i < count && !s; i++, plan->done++)
        keep(g, at, &plan->pass[plan->done], g->raw + (size_t)i * floats, &plan->pair[plan->done]);
    g->passes += count;
    return s;
}

/* ---- at work ------------------------------------------------------------------------------------------------ */

void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const int32_t *labels) {
    g->passes = 0;
    g->at = (vn_guide_at){.n = n, .first = first, .labels = labels, .null = g->null, .all_null = true};
    for (int64_t i = 0; i < n; i++) g->at.all_null &= labels[i] == VN_LABEL_NULL;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->guide[i].row->slots; k++)
            memset(g->guide[i].slot[k], 0, (size_t)(n * g->denoiser->size) * sizeof(float));
}

/* Asks the guides and runs what they need until they need nothing. */
static vn_status evaluate(vn_guidance *g, const vn_guide_at *at, vn_err *err) {
    vn_plan *plan = &g->plan;
    plan->count = plan->done = 0;
    do {
        for (int i = 0; i < g->count; i++)
            if (g->guide[i].row->plan) g->guide[i].row->plan(&g->guide[i], at, plan);
        if (plan->full) return vn_fail(err, VN_UNSUPPORTED, "a guide asks for more passes than its row allows");
        if (plan->done == plan->count) return VN_OK;
        while (plan->done < plan->count) {
            vn_status s = evaluate_batch(g, at, err);
            if (s) return s;
        }
    } while (true);
}

vn_status vn_guidance_predict(vn_guidance *g, const float *x, const vn_level *level, int step, int steps, vn_pair out,
                              vn_err *err) {
    vn_guide_at at = g->at;
    at.x = x;
    at.level = level;
    at.step = step;
    at.steps = steps;
    at.gamma = g->gamma;
    for (int i = 0; i < g->count; i++)
        if (g->guide[i].row->strength) at.gamma = g->guide[i].row->strength(&g->guide[i].choice, level, at.gamma);
    vn_status s = evaluate(g, &at, err);
    for (int stage = 0; stage < VN_GUIDE_STAGES && !s; stage++)
        for (int i = 0; i < g->count; i++)
            if ((int)g->guide[i].row->stage == stage && g->guide[i].row->combine)
                g->guide[i].row->combine(&g->guide[i], &at, &g->plan, &out);
    return s;
}

int64_t vn_guidance_passes(const vn_guidance *g) {
    return g->passes;
}
