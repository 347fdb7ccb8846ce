/* restoration.c - a denoiser, an operator and a rule as a denoiser: it asks the denoiser for x0,
 * lets the rule change it by what was observed, and answers with what came out as v, from which x0
 * and eps follow at every level. In the order of its life: open, begin, query, close. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

/* Where alpha is 0 rules are asked at this noise-to-signal ratio instead: x is then independent of
 * x0 to a thousandth, and sigma^2/alpha is finite. */
#define MAX_RATIO 1e3

/* ---- open ------------------------------------------------------------------------------------ */

static vn_status check_observed(const vn_restoration_options *o, vn_err *err) {
    const int64_t n = o->observations * o->operator->count;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(o->observed[i]))
            return vn_fail(err, VN_BAD_ARGUMENT, "number %lld of observation %lld is not finite",
                           (long long)(i % o->operator->count),
                           (long long)(i / o->operator->count));
    return VN_OK;
}

static vn_status check(const vn_restoration *r, const vn_restoration_options *o, vn_err *err) {
    const char *name = r->row->row.name;
    if (!(o->noise >= 0 && isfinite(o->noise)))
        return vn_fail(err, VN_BAD_ARGUMENT, "noise level %g is no standard deviation", o->noise);
    if (o->operator->inner && !(r->row->needs & VN_RULE_SMOOTH))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s is for what is observed of samples themselves, and these are decoded "
                       "first; there are dps, psld, daps and red-diff, and of a mask replacement, "
                       "repaint and ddnm",
                       name);
    if ((r->row->needs & VN_RULE_NOISE) && o->noise == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s divides by the noise level, which is 0", name);
    if ((r->row->needs & VN_RULE_VJP) && !(r->inner->can & VN_CAN_VJP))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s needs the derivatives of a model, and this one "
                       "has none; without: ddnm, diffpir, replacement, repaint",
                       name);
    if ((r->row->needs & VN_RULE_ONE_PASS) && o->guided)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s needs one pass a step: guidance 1, or samples without a class", name);
    if (r->row->selects && o->observations > 1)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s needs one observation, of which all samples are particles, not %lld",
                       name, (long long)o->observations);
    return r->row->check ? r->row->check(r, err) : VN_OK;
}

static vn_status take_memory(vn_restoration *r, vn_err *err) {
    const size_t n = (size_t)r->capacity, size = (size_t)r->inner->size,
                 count = (size_t)r->op->count;
    for (int i = 0; i < r->row->slots; i++)
        if (!(r->slot[i] = vn_alloc(n, size * sizeof(float)))) return vn_no_memory(err);
    for (size_t i = 0; i < VN_COUNT(r->per_sample); i++)
        if (!(r->per_sample[i] = vn_alloc(n, sizeof(double)))) return vn_no_memory(err);
    r->condition = vn_alloc(n, sizeof *r->condition);
    for (size_t i = 0; i < VN_COUNT(r->x_work); i++) {
        r->x_work[i] = vn_alloc(size, sizeof(double));
        r->y_work[i] = vn_alloc(count, sizeof(double));
        if (!r->x_work[i] || !r->y_work[i]) return vn_no_memory(err);
    }
    return r->condition ? VN_OK : vn_no_memory(err);
}

static vn_status begin(void *self, int64_t n, uint64_t first, vn_err *err) {
    vn_restoration *r = self;
    if (n > r->capacity)
        return vn_fail(err, VN_BAD_ARGUMENT, "a restoration of %lld samples, opened for %lld",
                       (long long)n, (long long)r->capacity);
    r->n = n;
    r->batch_first = first;
    r->passes = r->derivatives = 0;
    r->known = false;
    for (int i = 0; i < r->row->slots; i++)
        memset(r->slot[i], 0, (size_t)(n * r->inner->size) * sizeof(float));
    for (size_t i = 0; i < VN_COUNT(r->per_sample); i++)
        memset(r->per_sample[i], 0, (size_t)n * sizeof(double));
    return VN_OK;
}

static vn_status change_route(void *self, vn_route *route, vn_err *err) {
    const vn_restoration *r = self;
    return r->row->route(&r->choice, route, err);
}

static vn_status act(void *self, vn_step *s, const vn_condition *condition, int64_t *ancestor,
                     vn_err *err) {
    vn_restoration *r = self;
    const vn_status status = r->row->after(r, s, condition, ancestor, err);
    return status ? status : vn_operator_status(r->op, err);
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err);

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    const vn_restoration *r = self;
    return r->inner->classify(r->inner->self, q, err);
}

vn_status vn_restoration_open(const vn_restoration_options *o, vn_restoration **out, vn_err *err) {
    vn_restoration *r = vn_calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return vn_no_memory(err);
    r->inner = o->denoiser;
    r->op = o->operator;
    r->observed = o->observed;
    r->observations = o->observations;
    r->first = o->first;
    r->seed = o->seed;
    r->noise = o->noise;
    r->capacity = o->capacity;
    vn_status status = vn_choice_parse(o->rule, &vn_restorers, &r->choice, err);
    r->row = (const vn_restorer_row *)r->choice.row;
    if (!status) status = check(r, o, err);
    if (!status) status = check_observed(o, err);
    if (!status) status = vn_prediction_parse("v", &r->prediction, err);
    if (!status) status = vn_path_allows(r->inner->path, &r->prediction, err);
    if (!status) status = take_memory(r, err);
    if (status) {
        vn_restoration_close(&r);
        return status;
    }
    r->denoiser = *r->inner;
    r->denoiser.prediction = r->prediction;
    r->denoiser.can &= (unsigned)(VN_CAN_WEAK | VN_CAN_VARIANCE | VN_TAKES_GUIDANCE);
    r->denoiser.can |= VN_TAKES_NEXT;
    r->denoiser.self = r;
    r->denoiser.predict = predict;
    r->denoiser.exact = NULL;
    r->denoiser.classify = r->inner->classify ? classify : NULL;
    r->between = (vn_between){.self = r,
                              .route = r->row->route ? change_route : NULL,
                              .begin = begin,
                              .after = r->row->after ? act : NULL};
    *out = r;
    return VN_OK;
}

const vn_denoiser *vn_restoration_denoiser(const vn_restoration *r) {
    return &r->denoiser;
}

const vn_between *vn_restoration_between(const vn_restoration *r) {
    return &r->between;
}

void vn_restoration_cost(const vn_restoration *r, int64_t n, double *passes, double *derivatives) {
    *passes = (double)r->passes / (double)n;
    *derivatives = (double)r->derivatives / (double)n;
}

const char *vn_restorer_sampler(const char *text, bool *only) {
    vn_choice c;
    if (vn_choice_parse(text, &vn_restorers, &c, NULL)) return NULL;
    const vn_restorer_row *row = (const vn_restorer_row *)c.row;
    *only = row->only;
    return row->sampler;
}

bool vn_restorer_replaces(const char *text) {
    vn_choice c;
    return text && !vn_choice_parse(text, &vn_restorers, &c, NULL) &&
           (((const vn_restorer_row *)c.row)->needs & VN_RULE_REPLACES);
}

bool vn_restorer_selects(const char *text) {
    vn_choice c;
    return text && !vn_choice_parse(text, &vn_restorers, &c, NULL) &&
           ((const vn_restorer_row *)c.row)->selects;
}

/* ---- query ----------------------------------------------------------------------------------- */

static void close_rows(vn_restoration *r) {
    float *floats[] = {r->x, r->x0, r->eps, r->raw, r->direction, r->derivative};
    double *doubles[] = {r->residual,    r->p,           r->q,          r->v,
                         r->row_work[0], r->row_work[1], r->row_work[2]};
    for (size_t i = 0; i < VN_COUNT(floats); i++) vn_free(floats[i]);
    for (size_t i = 0; i < VN_COUNT(doubles); i++) vn_free(doubles[i]);
    for (int i = 0; i < r->row->basis; i++) {
        vn_free(r->basis[i]);
        r->basis[i] = NULL;
    }
    vn_free(r->level);
    vn_free(r->free_level);
    vn_free(r->sample);
    vn_free(r->lanczos);
    r->x = r->x0 = r->eps = r->raw = r->direction = r->derivative = NULL;
    r->residual = r->p = r->q = r->v = r->row_work[0] = r->row_work[1] = r->row_work[2] = NULL;
    r->level = r->free_level = NULL;
    r->sample = NULL;
    r->lanczos = NULL;
    r->rows = 0;
}

/* Only the first query of a new size takes memory. */
static vn_status reserve(vn_restoration *r, int64_t n, vn_err *err) {
    if (n <= r->rows) return VN_OK;
    close_rows(r);
    const size_t rows = (size_t)n, wide = (size_t)r->inner->size * sizeof(float),
                 narrow = (size_t)r->op->count * sizeof(double);
    float **floats[] = {&r->x, &r->x0, &r->eps, &r->raw, &r->direction, &r->derivative};
    double **doubles[] = {&r->residual, &r->p, &r->q, &r->v};
    r->level = vn_alloc(rows, sizeof *r->level);
    r->free_level = vn_alloc(rows, sizeof *r->free_level);
    r->sample = vn_alloc(rows, sizeof *r->sample);
    r->lanczos = vn_alloc(r->row->basis ? rows : 0, 2 * VN_MAX_BASIS * sizeof *r->lanczos);
    bool whole = r->level && r->free_level && r->sample && r->lanczos;
    for (size_t i = 0; i < VN_COUNT(floats); i++) whole &= (*floats[i] = vn_alloc(rows, wide)) != 0;
    for (size_t i = 0; i < VN_COUNT(doubles); i++)
        whole &= (*doubles[i] = vn_alloc(rows, narrow)) != 0;
    for (size_t i = 0; i < VN_COUNT(r->row_work); i++)
        whole &= (r->row_work[i] = vn_alloc(rows, sizeof(double))) != 0;
    for (int i = 0; i < r->row->basis; i++) whole &= (r->basis[i] = vn_alloc(rows, wide)) != 0;
    if (whole) {
        r->rows = n;
        return VN_OK;
    }
    close_rows(r);
    return vn_no_memory(err);
}

void vn_place_query(vn_restoration *r, const vn_query *q) {
    const size_t size = (size_t)r->inner->size;
    for (size_t i = 0; i < (size_t)q->n; i++) {
        const vn_level *l = &q->level[i];
        r->level[i] = *l;
        float by = 1;
        if (vn_level_ratio(l) > MAX_RATIO) {
            r->level[i] = vn_path_level_of_ratio(r->inner->path, MAX_RATIO);
            by = (float)(r->level[i].sigma / l->sigma);
        }
        for (size_t j = i * size; j < (i + 1) * size; j++) r->x[j] = by * q->x[j];
    }
}

vn_status vn_query_x0(const vn_restoring *s, const float *x, const vn_level *level, float *x0,
                      vn_err *err) {
    vn_restoration *r = s->r;
    const vn_denoiser *d = r->inner;
    const size_t size = (size_t)d->size;
    vn_query q = *s->q;
    q.x = x;
    q.level = level;
    q.want = VN_ANSWER;
    const vn_status status = d->predict(d->self, &q, r->raw, err);
    r->passes += s->n;
    for (size_t i = 0; i < (size_t)s->n && !status; i++)
        vn_prediction_to_estimate(&d->prediction, &level[i], size, x + i * size, r->raw + i * size,
                                  x0 + i * size, r->eps + i * size);
    return status;
}

vn_status vn_query_vjp(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const vn_denoiser *d = r->inner;
    const size_t size = (size_t)d->size;
    vn_query q = *s->q;
    q.x = s->x;
    q.level = s->level;
    q.want = VN_VJP;
    q.direction = r->direction;
    q.variance = NULL;
    const vn_status status = d->predict(d->self, &q, r->raw, err);
    r->derivatives += s->n;
    for (size_t i = 0; i < (size_t)s->n && !status; i++) {
        const vn_coefficients m = vn_prediction_coefficients(&d->prediction, &s->level[i]);
        for (size_t j = i * size; j < (i + 1) * size; j++)
            r->derivative[j] =
                (float)(m.x0_x * (double)r->direction[j] + m.x0_raw * (double)r->raw[j]);
    }
    return status;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_restoration *r = self;
    const size_t size = (size_t)r->inner->size;
    vn_status status = reserve(r, q->n, err);
    if (status) return status;
    vn_place_query(r, q);
    const vn_restoring s = {r, q, q->n, r->x, r->level, r->x0};
    if (!r->row->queries) status = vn_query_x0(&s, s.x, s.level, s.x0, err);
    if (!status && r->row->restore) status = r->row->restore(&s, err);
    if (!status) status = vn_operator_status(r->op, err);
    if (status) return status;
    for (size_t i = 0; i < (size_t)q->n; i++) {
        const double alpha = q->level[i].alpha, sigma = q->level[i].sigma;
        for (size_t j = i * size; j < (i + 1) * size; j++)
            r->eps[j] = (float)(((double)q->x[j] - alpha * (double)r->x0[j]) / sigma);
        vn_prediction_from_estimate(&r->prediction, &q->level[i], size, r->x0 + i * size,
                                    r->eps + i * size, raw + i * size);
    }
    return VN_OK;
}

/* ---- close ----------------------------------------------------------------------------------- */

void vn_restoration_close(vn_restoration **restoration) {
    vn_restoration *r = *restoration;
    if (!r) return;
    if (r->row) close_rows(r);
    for (size_t i = 0; i < VN_COUNT(r->slot); i++) vn_free(r->slot[i]);
    for (size_t i = 0; i < VN_COUNT(r->per_sample); i++) vn_free(r->per_sample[i]);
    for (size_t i = 0; i < VN_COUNT(r->x_work); i++) {
        vn_free(r->x_work[i]);
        vn_free(r->y_work[i]);
    }
    vn_free(r->condition);
    vn_free(r);
    *restoration = NULL;
}
