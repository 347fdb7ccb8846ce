/* cache.c - see the header. What is kept is in a space in which two levels can be compared: an
 * estimate raw of a pass, or its difference to that of the conditional pass at the same x, where x
 * falls out. Both become an estimate again by the coefficients of that space at the level where
 * they are reused, so that x = alpha x0 + sigma eps holds.
 *
 *     branch   the difference of the null pass, or of another beside the conditional one, of up to
 *              `every` - 1 steps before: FasterCache's (2410.19355) reuse of the unconditional
 *              branch, here of whole outputs. It changes slowly, and G - 1 times it is all it makes
 *     easy     EasyCache (2507.02860): the answer of the last step that was run, while what it
 *              would have changed by, a rate times the way of x since, is less than a threshold of
 *              its length; the rate is that between the last two steps that were run
 *
 * With order 1 what is reused goes on in a straight line through the last two that were run, in the
 * angle atan(sigma/alpha) (TaylorSeer's first order, 2503.06923).
 *
 * A row decides by its own sample alone, so that samples do not depend on their batch. */
#include "guide/cache.h"

#include <math.h>
#include <string.h>

/* ---- the caches ------------------------------------------------------------------------------ */

enum { EVERY, AFTER, OF_ORDER, SPACE };
/* clang-format off */
#define ORDER(usual) \
    {"order", "0: what was kept stays; 1: it goes on as between the last two that were run", \
     usual, 0, 1, 1, NULL}
static const vn_param branch_params[] = {
    {"every", "steps of which one runs the other passes", 2, 2, 1000, 1, NULL},
    {"after", "part of the steps, from the first on, in which all are run", 0.1, 0, 1, 0, NULL},
    ORDER(1),
    {"space", "in which the difference is kept", 0, 0, 2, 1, "velocity|x0|eps"},
    {0},
};
static const vn_param easy_params[] = {
    {"threshold", "change since, in lengths of the answer, that is too much", 0.1, 1e-6, 100, 0,
     NULL},
    {"after", "part of the steps, from the first on, in which all are run", 0.1, 0, 1, 0, NULL},
    ORDER(0),
    {0},
};
/* clang-format on */
enum { THRESHOLD };

static bool is_early(const vn_cache *c, const vn_guide_at *at) {
    return at->history < 1 || at->step < c->choice.value[AFTER] * at->steps;
}

static bool branch_reuses(vn_cache *c, const vn_guide_at *at, size_t k) {
    (void)k;
    return !is_early(c, at) && at->history % (int)c->choice.value[EVERY] != 0;
}

/* Of a sample: its rate, NaN until two steps have been run; the length of the answer; and whether
 * this step is reused. */
enum { RATE, LENGTH, REUSES };

static double distance(size_t size, const float *a, const float *b) {
    double sum = 0;
    for (size_t j = 0; j < size; j++) {
        const double apart = (double)a[j] - (b ? (double)b[j] : 0);
        sum += apart * apart;
    }
    return sqrt(sum);
}

/* All predictions of a step do as its first one. */
static bool easy_reuses(vn_cache *c, const vn_guide_at *at, size_t k) {
    const size_t size = (size_t)c->denoiser->size;
    double *number = c->number + k * VN_CACHE_NUMBERS;
    if (at->request > 0) return number[REUSES] != 0;
    const bool last = at->step + 1 >= at->steps;
    const double way = distance(size, at->x + k * size, c->x + k * size);
    number[REUSES] = !is_early(c, at) && !last &&
                     number[RATE] * way < c->choice.value[THRESHOLD] * number[LENGTH];
    return number[REUSES] != 0;
}

static void easy_ran(vn_cache *c, const vn_guide_at *at, size_t k, const float *before,
                     const float *now) {
    const size_t size = (size_t)c->denoiser->size;
    double *number = c->number + k * VN_CACHE_NUMBERS;
    const double way = distance(size, at->x + k * size, c->x + k * size);
    number[RATE] = before && way > 0 ? distance(size, now, before) / way : (double)NAN;
    number[LENGTH] = distance(size, now, NULL);
}

static const vn_cache_row rows[] = {
    {.row = {"branch",
             "the null pass, and others beside the conditional one, as they differed from it in a "
             "step before",
             "2410.19355", branch_params},
     .of_difference = true,
     .reuses = branch_reuses},
    {.row = {"easy", "the answer of a step before, while the state has moved little since",
             "2507.02860", easy_params},
     .reuses = easy_reuses,
     .ran = easy_ran},
};
const vn_table vn_caches = {"cache", rows, sizeof rows[0], VN_COUNT(rows), NULL, NULL};

vn_status vn_cache_check(const char *text, vn_err *err) {
    vn_choice choice;
    return vn_choice_parse(text, &vn_caches, &choice, err);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static vn_status take_memory(vn_cache *c) {
    const size_t rows_of = (size_t)c->capacity, bytes = (size_t)c->denoiser->size * sizeof(float);
    c->entry = vn_calloc((size_t)c->passes, sizeof *c->entry);
    c->reused = vn_calloc((size_t)c->passes * rows_of, sizeof *c->reused);
    c->x = vn_alloc(rows_of, bytes);
    c->now = vn_alloc(1, bytes);
    c->guess = vn_alloc(1, bytes);
    c->number = vn_calloc(rows_of * VN_CACHE_NUMBERS, sizeof *c->number);
    if (!c->entry || !c->reused || !c->x || !c->now || !c->guess || !c->number) return VN_NO_MEMORY;
    for (int i = 0; i < c->passes; i++) {
        c->entry[i].filled = vn_calloc(rows_of, sizeof(bool));
        c->entry[i].kept = vn_alloc(rows_of, bytes);
        c->entry[i].earlier = vn_alloc(rows_of, bytes);
        c->entry[i].at = vn_alloc(rows_of, sizeof(float));
        c->entry[i].earlier_at = vn_alloc(rows_of, sizeof(float));
        if (!c->entry[i].filled || !c->entry[i].kept || !c->entry[i].earlier || !c->entry[i].at ||
            !c->entry[i].earlier_at)
            return VN_NO_MEMORY;
    }
    return VN_OK;
}

vn_status vn_cache_open(const char *text, const vn_denoiser *d, int64_t capacity, int passes,
                        vn_cache **out, vn_err *err) {
    *out = NULL;
    if (!text) return VN_OK;
    vn_cache *c = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = (vn_cache){.denoiser = d, .capacity = capacity, .passes = passes};
    vn_status status = vn_choice_parse(text, &vn_caches, &c->choice, err);
    if (!status) c->row = &rows[c->choice.index];
    if (!status && take_memory(c)) status = vn_no_memory(err);
    if (status) vn_cache_close(&c);
    *out = c;
    return status;
}

void vn_cache_close(vn_cache **closed) {
    vn_cache *c = *closed;
    if (!c) return;
    for (int i = 0; c->entry && i < c->passes; i++) {
        vn_free(c->entry[i].filled);
        vn_free(c->entry[i].kept);
        vn_free(c->entry[i].earlier);
        vn_free(c->entry[i].at);
        vn_free(c->entry[i].earlier_at);
    }
    vn_free(c->entry);
    vn_free(c->reused);
    vn_free(c->x);
    vn_free(c->now);
    vn_free(c->guess);
    vn_free(c->number);
    vn_free(c);
    *closed = NULL;
}

void vn_cache_begin(vn_cache *c) {
    if (!c) return;
    c->count = 0;
    c->error = (vn_cache_error){0};
}

static void move_rows(float *rows_of, int64_t n, size_t size, const int64_t *ancestor,
                      float *spare) {
    memcpy(spare, rows_of, (size_t)n * size * sizeof *spare);
    for (int64_t i = 0; i < n; i++)
        memcpy(rows_of + (size_t)i * size, spare + (size_t)ancestor[i] * size,
               size * sizeof *spare);
}

/* What a sample counts begins anew where it came from another place; its answers go with it. */
void vn_cache_move(vn_cache *c, int64_t n, const int64_t *ancestor, float *spare) {
    if (!c) return;
    const size_t size = (size_t)c->denoiser->size;
    for (int i = 0; i < c->count; i++) {
        vn_cache_entry *e = &c->entry[i];
        move_rows(e->kept, n, size, ancestor, spare);
        move_rows(e->earlier, n, size, ancestor, spare);
        move_rows(e->at, n, 1, ancestor, spare);
        move_rows(e->earlier_at, n, 1, ancestor, spare);
        for (int64_t k = 0; k < n; k++) /* `reused` is scratch between predictions */
            c->reused[k] = e->filled[ancestor[k]];
        memcpy(e->filled, c->reused, (size_t)n * sizeof *e->filled);
    }
    move_rows(c->x, n, size, ancestor, spare);
    for (int64_t k = 0; k < n; k++)
        if (ancestor[k] != k) c->number[(size_t)k * VN_CACHE_NUMBERS + RATE] = (double)NAN;
}

/* ---- at work --------------------------------------------------------------------------------- */

static vn_coefficients space_of(const vn_cache *c, const vn_level *level) {
    const int space = c->row->of_difference ? (int)c->choice.value[SPACE] : 0;
    return space == 1 ? vn_as_x0(level) : space == 2 ? vn_as_eps(level) : vn_as_velocity(level);
}

static bool is_conditional(const vn_guide_at *at, const vn_pass *p) {
    const vn_pass conditional = vn_conditional(at);
    return p->network == VN_NETWORK_MAIN && !p->perturb.kind && !p->guidance &&
           p->condition == conditional.condition;
}

/* Whether a pass is the same in every step but for its level: at the state itself, under the
 * samples' conditions or those of none. */
static bool is_kept(const vn_guide_at *at, const vn_pass *p) {
    return p->want == VN_ANSWER && !p->x && !p->level && !p->perturbs &&
           (p->condition == at->condition || p->condition == at->null);
}

/* The conditional pass is the same one where no sample is guided any longer, and its conditions are
 * those that stand for none. */
static vn_cache_entry *entry_of(vn_cache *c, const vn_guide_at *at, const vn_pass *pass,
                                bool make) {
    vn_pass known = *pass;
    const vn_pass *p = &known;
    if (is_conditional(at, pass)) known.condition = at->condition;
    for (int i = 0; i < c->count; i++) {
        const vn_pass *q = &c->entry[i].pass;
        if (q->network == p->network && vn_perturb_equal(&q->perturb, &p->perturb) &&
            q->condition == p->condition && q->guidance == p->guidance)
            return &c->entry[i];
    }
    if (!make || c->count == c->passes) return NULL;
    vn_cache_entry *e = &c->entry[c->count++];
    e->pass = *p;
    memset(e->filled, 0, (size_t)c->capacity * sizeof *e->filled);
    return e;
}

/* The index of the conditional pass; -1: there is none, or it is no pass at the state. */
static int conditional_of(const vn_guide_at *at, const vn_cached_plan *plan) {
    for (int i = 0; i < plan->count; i++)
        if (is_kept(at, &plan->pass[i]) && is_conditional(at, &plan->pass[i])) return i;
    return -1;
}

/* The null condition of a sample that is no longer guided is its own: what was kept is that of
 * another. */
void vn_cache_choose(vn_cache *c, const vn_guide_at *at, const vn_cached_plan *plan, int i) {
    if (!c) return;
    const int conditional = conditional_of(at, plan);
    const vn_pass *p = &plan->pass[i];
    bool *reused = c->reused + (size_t)i * (size_t)c->capacity;
    const bool may = plan->acts && conditional >= 0 && is_kept(at, p) &&
                     !(c->row->of_difference && i == conditional);
    const vn_cache_entry *e = may ? entry_of(c, at, p, false) : NULL;
    for (size_t k = 0; k < (size_t)at->n; k++)
        reused[k] =
            e && e->filled[k] && (i == conditional || !at->unguided[k]) && c->row->reuses(c, at, k);
}

/* Row k of a pass in the cache's space, or what it differs by from the conditional one. */
static void read_row(const vn_cache *c, const vn_coefficients *m, const vn_estimate *of,
                     const vn_estimate *from, size_t k, float *to) {
    const size_t size = (size_t)c->denoiser->size, row = k * size;
    for (size_t j = row; j < row + size; j++) {
        const double x0 = (double)of->x0[j] - (from ? (double)from->x0[j] : 0),
                     eps = (double)of->eps[j] - (from ? (double)from->eps[j] : 0);
        *to++ = (float)(m->raw_x0 * x0 + m->raw_eps * eps);
    }
}

/* The estimate of row k by c->now. */
static void write_row(const vn_cache *c, const vn_coefficients *m, const vn_estimate *from,
                      const float *x, size_t k, const vn_estimate *to) {
    const size_t size = (size_t)c->denoiser->size, row = k * size;
    for (size_t j = row; j < row + size; j++) {
        const double raw = (double)c->now[j - row],
                     x0 = from ? (double)from->x0[j] : m->x0_x * (double)x[j],
                     eps = from ? (double)from->eps[j] : m->eps_x * (double)x[j];
        to->x0[j] = (float)(x0 + m->x0_raw * raw);
        to->eps[j] = (float)(eps + m->eps_raw * raw);
    }
}

static float angle_of(const vn_level *l) {
    return (float)atan2(l->sigma, l->alpha);
}

/* Row k of what was kept, or where it has gone on to. */
static void go_on(const vn_cache *c, const vn_guide_at *at, const vn_cache_entry *e, size_t k,
                  float *to) {
    const size_t size = (size_t)c->denoiser->size;
    const float *kept = e->kept + k * size, *earlier = e->earlier + k * size;
    const double gone = (double)angle_of(at->level) - (double)e->at[k],
                 before = (double)e->at[k] - (double)e->earlier_at[k],
                 part = c->choice.value[OF_ORDER] != 0 && before != 0 ? gone / before : 0;
    for (size_t j = 0; j < size; j++)
        to[j] = (float)((double)kept[j] +
                        (part != 0 ? part * ((double)kept[j] - (double)earlier[j]) : 0));
}

/* Holds c->now, which was run, against what would have stood for it: as parts of the answer, whose
 * difference to another pass the cache may keep. */
static void judge_row(vn_cache *c, const vn_guide_at *at, const vn_cache_entry *e,
                      const vn_coefficients *m, const vn_estimate *of, size_t k) {
    const size_t size = (size_t)c->denoiser->size, row = k * size;
    if (!e->filled[k] || is_early(c, at)) return;
    go_on(c, at, e, k, c->guess);
    for (size_t j = 0; j < size; j++) {
        const double off = (double)c->guess[j] - (double)c->now[j],
                     answer = m->raw_x0 * (double)of->x0[row + j] +
                              m->raw_eps * (double)of->eps[row + j];
        c->error.off += off * off;
        c->error.length += answer * answer;
    }
}

/* Keeps a row that was run. Of two at one level the later one counts. */
static void keep_row(vn_cache *c, const vn_guide_at *at, vn_cache_entry *e, size_t k,
                     bool conditional) {
    const size_t size = (size_t)c->denoiser->size;
    float *kept = e->kept + k * size;
    if (conditional && c->row->ran) c->row->ran(c, at, k, e->filled[k] ? kept : NULL, c->now);
    if (conditional) memcpy(c->x + k * size, at->x + k * size, size * sizeof(float));
    const bool anew = !e->filled[k] || (at->history == 0 && at->request == 0);
    if (!anew && e->at[k] != angle_of(at->level)) {
        memcpy(e->earlier + k * size, kept, size * sizeof(float));
        e->earlier_at[k] = e->at[k];
    }
    memcpy(kept, c->now, size * sizeof(float));
    e->at[k] = angle_of(at->level);
    if (anew) e->earlier_at[k] = e->at[k]; /* there is none */
    e->filled[k] = true;
}

void vn_cache_fill(vn_cache *c, const vn_guide_at *at, const vn_cached_plan *plan, int first) {
    const int conditional = c && plan->acts ? conditional_of(at, plan) : -1;
    if (conditional < 0) return;
    const bool difference = c->row->of_difference;
    const vn_coefficients m = space_of(c, at->level);
    const vn_estimate *from = difference ? &plan->estimate[conditional] : NULL;
    for (int i = first; i < plan->count; i++) {
        if (!is_kept(at, &plan->pass[i]) || (difference && i == conditional)) continue;
        vn_cache_entry *e = entry_of(c, at, &plan->pass[i], true);
        for (size_t k = 0; e && k < (size_t)at->n; k++) {
            if (vn_cache_skips(c, i, k)) {
                go_on(c, at, e, k, c->now);
                write_row(c, &m, from, at->x, k, &plan->estimate[i]);
            } else if (difference || at->request == 0) {
                read_row(c, &m, &plan->estimate[i], from, k, c->now);
                if (at->request == 0 && (i == conditional || !at->unguided[k]))
                    judge_row(c, at, e, &m, &plan->estimate[i], k);
                keep_row(c, at, e, k, i == conditional);
            }
        }
    }
}
