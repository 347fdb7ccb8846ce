/* guidance.c - a guided prediction: the guides name passes, passes through one network are run as
 * one batch, until the guides need no more, and then the guides combine the estimates. Also what
 * guides do between steps. Lists are opened in guidance_open.c. */
#include "guide/guidance.h"

#include <math.h>
#include <string.h>

/* ---- evaluate -------------------------------------------------------------------------------- */

/* Whether two passes can share a forward pass. */
static bool go_together(const vn_pass *a, const vn_pass *b) {
    return !a->perturbs && !b->perturbs && a->network == b->network &&
           vn_perturb_equal(&a->perturb, &b->perturb) && a->want == b->want;
}

/* The pass before pass i that has the same row; -1: row is run. Only rows of samples that are no
 * longer guided are looked for, and the conditional pass is always whole. */
static int same_row_before(const vn_plan *plan, const vn_guide_at *at, int i, size_t row) {
    const vn_pass *p = &plan->pass[i], conditional = vn_conditional(at);
    if (!at->unguided[row] || vn_pass_same(p, &conditional, at->n)) return -1;
    for (int k = 0; k < i; k++)
        if (vn_pass_same_but_conditions(&plan->pass[k], p) &&
            plan->pass[k].condition[row] == p->condition[row])
            return k;
    return -1;
}

/* One row of the estimate of a pass from its raw row [size]. */
static void keep_row(const vn_guidance *g, const vn_guide_at *at, const vn_pass *p, size_t i,
                     const float *raw, vn_estimate *estimate) {
    const size_t size = (size_t)g->denoiser->size, row = i * size;
    const float *x = p->x ? p->x : at->x;
    const vn_level *level = p->level ? p->level : at->level;
    const vn_coefficients m = vn_prediction_coefficients(&g->denoiser->prediction, level);
    if (p->want == VN_ANSWER)
        vn_prediction_to_estimate(&g->denoiser->prediction, level, size, x + row, raw,
                                  estimate->x0 + row, estimate->eps + row);
    else /* x0 = x0_x x + x0_raw raw(x), and so their derivatives */
        for (size_t j = 0; j < size; j++)
            estimate->x0[row + j] =
                (float)m.x0_x * p->direction[row + j] + (float)m.x0_raw * raw[j];
}

static void copy_row(const vn_plan *plan, int to, int from, size_t k, size_t size) {
    const vn_estimate *a = &plan->estimate[from], *b = &plan->estimate[to];
    memcpy(b->x0 + k * size, a->x0 + k * size, size * sizeof(float));
    memcpy(b->eps + k * size, a->eps + k * size, size * sizeof(float));
}

/* The estimate of pass i of the plan from its raw rows; returns how many those are. */
static size_t keep(const vn_guidance *g, const vn_guide_at *at, int i, const float *raw) {
    const vn_plan *plan = &g->plan;
    const size_t size = (size_t)g->denoiser->size;
    size_t rows = 0;
    for (size_t k = 0; k < (size_t)at->n; k++) {
        const int before = same_row_before(plan, at, i, k);
        if (before < 0 && vn_cache_skips(g->cache, i, k)) continue;
        if (before < 0) {
            keep_row(g, at, &plan->pass[i], k, raw + rows++ * size, &plan->estimate[i]);
            continue;
        }
        copy_row(plan, i, before, k, size);
    }
    return rows;
}

/* The rows from `first` on that are those of a pass before them, which the cache has filled in. */
static void copy_cached(const vn_guidance *g, const vn_guide_at *at, int first) {
    const vn_plan *plan = &g->plan;
    for (int i = first; i < plan->count && g->cache; i++)
        for (size_t k = 0; k < (size_t)at->n; k++) {
            const int before = same_row_before(plan, at, i, k);
            if (before >= 0 && vn_cache_skips(g->cache, before, k))
                copy_row(plan, i, before, k, (size_t)g->denoiser->size);
        }
}

/* Keeps the learned variance of a pass at the state itself: that of the conditional pass, or of the
 * first pass until there is one. */
static void keep_variance(vn_guidance *g, const vn_guide_at *at, const vn_pass *p,
                          const float *rows) {
    const vn_pass conditional = vn_conditional(at);
    const bool fit = vn_pass_same(p, &conditional, at->n);
    if (p->x || p->level || p->perturb.kind || g->variance_final || (g->variance_found && !fit))
        return;
    memcpy(g->variance_out, rows, (size_t)(at->n * g->denoiser->size) * sizeof *rows);
    g->variance_found = true;
    g->variance_final = fit;
}

/* The perturbation of the main network's passes at this level. */
static vn_perturb always_at(const vn_guidance *g, const vn_level *level) {
    for (int i = 0; i < g->count; i++) {
        const vn_guide *one = &g->guide[i];
        if (one->row->always && one->row->holds && !one->row->holds(&one->choice, level))
            return (vn_perturb){0};
    }
    return g->always;
}

/* Adds row k of a pass to the batch, as its row `to`. */
static void add_row(vn_guidance *g, const vn_guide_at *at, const vn_pass *p, size_t k, size_t to) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_level *level = p->level ? p->level : at->level;
    memcpy(g->x + to * size, (p->x ? p->x : at->x) + k * size, size * sizeof(float));
    g->condition[to] = p->condition[k];
    g->level[to] = *level;
    g->sample[to] = at->first + k;
    if (g->to) g->to[to] = p->level ? *p->level : at->to ? *at->to : *at->level;
    if (g->next) g->next[to] = at->next ? *at->next : *at->level;
    if (g->network_guidance) g->network_guidance[to] = p->guidance ? (float)*p->guidance : NAN;
    if (p->direction)
        memcpy(g->direction + to * size, p->direction + k * size, size * sizeof(float));
}

static vn_cached_plan cached(const vn_guidance *g) {
    return (vn_cached_plan){g->plan.count, g->plan.pass, g->plan.estimate, g->cache_acts};
}

/* Moves the first pass that has not been run and all that can share a forward pass with it to the
 * front of what is left, and their rows into the batch, whose rows it counts; returns how many
 * passes. */
static int gather_batch(vn_guidance *g, const vn_guide_at *at, size_t *rows) {
    vn_plan *plan = &g->plan;
    const vn_pass first = plan->pass[plan->done];
    int count = 0;
    *rows = 0;
    for (int i = plan->done; i < plan->count; i++) {
        if (!go_together(&first, &plan->pass[i])) continue;
        const vn_pass p = plan->pass[i];
        const int at_pass = plan->done + count++;
        plan->pass[i] = plan->pass[at_pass];
        plan->pass[at_pass] = p;
        const vn_cached_plan all = cached(g);
        vn_cache_choose(g->cache, at, &all, at_pass);
        for (size_t k = 0; k < (size_t)at->n; k++)
            if (same_row_before(plan, at, at_pass, k) < 0 && !vn_cache_skips(g->cache, at_pass, k))
                add_row(g, at, &p, k, (*rows)++);
    }
    return count;
}

/* Runs the rows that have been added to the batch, of passes like `pass`. */
static vn_status run_rows(vn_guidance *g, const vn_guide_at *at, const vn_pass *pass, size_t rows,
                          vn_query *q, vn_err *err) {
    *q = (vn_query){
        .n = (int64_t)rows,
        .network = pass->network,
        .perturb = pass->perturb,
        .always = pass->network == VN_NETWORK_MAIN ? always_at(g, at->level) : (vn_perturb){0},
        .x = g->x,
        .level = g->level,
        .to = g->to,
        .next = g->next,
        .guidance = g->network_guidance,
        .condition = g->condition,
        .anneal = g->anneals ? &g->anneal : NULL,
        .sample = g->sample,
        .step = (uint64_t)at->step,
        .want = pass->want,
        .direction = pass->direction ? g->direction : NULL,
        .variance = g->variance_out && pass->network == VN_NETWORK_MAIN && !pass->want ? g->variance
                                                                                       : NULL};
    g->rows_passed += (int64_t)rows;
    return rows ? g->denoiser->predict(g->denoiser->self, q, g->raw, err) : VN_OK;
}

/* Whether row k has the perturbation of a row before it. */
static bool perturbed_before(const vn_pass *p, size_t k) {
    for (size_t i = 0; i < k; i++)
        if (vn_perturb_equal(&p->perturbs[i], &p->perturbs[k])) return true;
    return false;
}

/* Runs pass i, whose rows have perturbations of their own: those that are the same together. */
static vn_status evaluate_by_rows(vn_guidance *g, const vn_guide_at *at, int i, vn_err *err) {
    const size_t size = (size_t)g->denoiser->size, n = (size_t)at->n;
    const vn_pass *p = &g->plan.pass[i];
    vn_status status = VN_OK;
    vn_query q;
    for (size_t k = 0; k < n && !status; k++) {
        vn_pass alike = *p;
        alike.perturb = p->perturbs[k];
        size_t rows = 0;
        if (perturbed_before(p, k)) continue;
        for (size_t j = k; j < n; j++)
            if (vn_perturb_equal(&p->perturbs[j], &alike.perturb)) add_row(g, at, p, j, rows++);
        status = run_rows(g, at, &alike, rows, &q, err);
        for (size_t j = k, row = 0; j < n && !status; j++)
            if (vn_perturb_equal(&p->perturbs[j], &alike.perturb))
                keep_row(g, at, p, j, g->raw + row++ * size, &g->plan.estimate[i]);
    }
    return status;
}

/* Runs passes that have not been run: one whose rows differ, or as many as can be one batch. */
static vn_status evaluate_batch(vn_guidance *g, const vn_guide_at *at, vn_err *err) {
    vn_plan *plan = &g->plan;
    const vn_pass first = plan->pass[plan->done];
    const size_t size = (size_t)g->denoiser->size;
    size_t rows;
    vn_query q;
    if (first.perturbs) {
        const vn_cached_plan all = cached(g);
        vn_cache_choose(g->cache, at, &all, plan->done); /* none of its rows */
        return evaluate_by_rows(g, at, plan->done++, err);
    }
    const int count = gather_batch(g, at, &rows);
    vn_status status = run_rows(g, at, &first, rows, &q, err);
    for (size_t i = 0, row = 0; i < (size_t)count && !status; i++, plan->done++) {
        if (q.variance) keep_variance(g, at, &plan->pass[plan->done], q.variance + row * size);
        row += keep(g, at, plan->done, g->raw + row * size);
    }
    return status;
}

/* ---- predictions ----------------------------------------------------------------------------- */

/* What stands for none in the step that follows. */
static void set_null(vn_guidance *g) {
    g->at.all_null = true;
    for (int64_t i = 0; i < g->n; i++) {
        g->null[i] = g->unguided[i] ? g->at.condition[i] : g->none;
        g->at.all_null &= g->at.condition[i] == g->null[i];
    }
}

void vn_guidance_begin(vn_guidance *g, int64_t n, uint64_t first, const vn_condition *condition) {
    g->rows_passed = 0;
    vn_cache_begin(g->cache);
    g->n = n;
    g->at = (vn_guide_at){.n = n,
                          .first = first,
                          .seed = g->at.seed,
                          .levels = g->at.levels,
                          .condition = condition,
                          .null = g->null,
                          .history = -1,
                          .unguided = g->unguided};
    memset(g->unguided, 0, (size_t)n * sizeof *g->unguided);
    set_null(g);
    for (int i = 0; i < g->count; i++) {
        vn_guide *one = &g->guide[i];
        one->kept = -1;
        memset(one->log_weight, 0, (size_t)n * sizeof *one->log_weight);
        for (int k = 0; k < one->row->slots; k++)
            memset(one->slot[k], 0, (size_t)(n * g->denoiser->size) * sizeof(float));
    }
}

void vn_guidance_set_levels(vn_guidance *g, const vn_level *levels) {
    g->at.levels = levels;
}

void vn_guidance_step(vn_guidance *g, int step, int steps, int restarts, const vn_level *next) {
    const bool again = restarts != g->at.restarts;
    if (again) memset(g->unguided, 0, (size_t)g->n * sizeof *g->unguided);
    g->at.step = step;
    g->at.steps = steps;
    g->at.history = again ? 0 : g->at.history + 1;
    g->at.restarts = restarts;
    g->at.next = next;
    g->at.request = 0;
    set_null(g);
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
        const int first = plan->done;
        while (plan->done < plan->count) {
            status = evaluate_batch(g, at, err);
            if (status) return status;
        }
        const vn_cached_plan all = cached(g);
        vn_cache_fill(g->cache, at, &all, first);
        copy_cached(g, at, first);
    } while (true);
}

static vn_status combine(vn_guidance *g, const vn_guide_at *at, vn_estimate *out, vn_err *err) {
    for (int stage = 0; stage < VN_GUIDE_STAGES; stage++)
        for (int i = 0; i < g->count; i++)
            if ((int)g->guide[i].row->stage == stage && g->guide[i].row->combine)
                g->guide[i].row->combine(&g->guide[i], at, &g->plan, out);
    return guide_status(g, err);
}

static vn_status predict_unguided(vn_guidance *g, const vn_guide_at *at, vn_estimate out,
                                  vn_err *err) {
    const vn_pass pass = vn_conditional(at);
    g->plan.count = g->plan.done = 0;
    g->plan.n = at->n;
    vn_plan_pass(&g->plan, &pass);
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
        if (one->perturbs) one->perturbs += by;
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

vn_status vn_guidance_predict(vn_guidance *g, const vn_request *request, vn_estimate out,
                              vn_err *err) {
    vn_guide_at at = g->at;
    at.x = request->x;
    at.level = request->level;
    at.to = request->to;
    at.n = request->n ? request->n : g->n;
    at.first += (uint64_t)request->row;
    at.condition += request->row;
    at.null += request->row;
    at.unguided += request->row;
    g->variance_out = request->variance;
    g->variance_found = g->variance_final = false;
    /* a learned variance is of the conditional pass, and is not kept */
    g->cache_acts = g->cache && at.n == g->n && !request->unguided &&
                    (!request->variance || g->cache->row->of_difference);
    if (request->unguided) return predict_unguided(g, &at, out, err);
    at.gamma = gamma_at(g, &at);
    if (at.request == 0) {
        g->at.level = at.level;
        g->at.gamma = at.gamma;
    }
    g->at.request++;
    move_memory(g, request->row);
    vn_status status = evaluate(g, &at, err);
    if (!status) status = combine(g, &at, &out, err);
    move_memory(g, -request->row);
    if (status || !g->variance_out || g->variance_found) return status;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "no pass of these guides is the model's own: it has no variance to say");
}

bool vn_guidance_is_exact(const vn_guidance *g) {
    return g->null_estimate != NULL;
}

vn_status vn_guidance_predict_exact(vn_guidance *g, const vn_request_exact *request, double *x0,
                                    double *eps, vn_err *err) {
    const vn_denoiser *d = g->denoiser;
    const size_t n = (size_t)d->size;
    const vn_condition label = g->at.condition[request->row];
    vn_guide_at at = g->at;
    at.level = request->level;
    const double gamma = label == VN_CONDITION_NULL ? 0 : gamma_at(g, &at);
    const bool both = gamma != 0 && gamma != 1;
    if (!request->again) g->rows_passed += both ? 2 : 1;
    vn_status status = d->exact(d->self, gamma == 0 ? VN_CONDITION_NULL : label, request->level,
                                request->x, x0, eps, err);
    if (status || !both) return status;
    double *null_x0 = g->null_estimate, *null_eps = null_x0 + n;
    status =
        d->exact(d->self, VN_CONDITION_NULL, request->level, request->x, null_x0, null_eps, err);
    for (size_t i = 0; i < n; i++) {
        x0[i] = null_x0[i] + gamma * (x0[i] - null_x0[i]);
        eps[i] = null_eps[i] + gamma * (eps[i] - null_eps[i]);
    }
    return status;
}

/* ---- between steps --------------------------------------------------------------------------- */

void vn_guidance_move(vn_guidance *g, const int64_t *ancestor) {
    const size_t n = (size_t)g->n, size = (size_t)g->denoiser->size;
    vn_cache_move(g->cache, g->n, ancestor, g->x);
    memcpy(g->spare_unguided, g->unguided, n * sizeof *g->unguided);
    for (size_t k = 0; k < n; k++) g->unguided[k] = g->spare_unguided[ancestor[k]];
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
    if (*moved) vn_guidance_move(g, ancestor);
    return guide_status(g, err);
}

double vn_guidance_passes(const vn_guidance *g) {
    return g->n ? (double)g->rows_passed / (double)g->n : 0;
}

void vn_guidance_cache_error(const vn_guidance *g, double *off, double *length) {
    *off = g->cache ? g->cache->error.off : 0;
    *length = g->cache ? g->cache->error.length : 0;
}
