/* likelihood.c - exact log-likelihood by the probability-flow ODE (2011.13456, section 4.3). With
 * the ODE's slope f(y, c) in the straight coordinates y = x/m by the clock c (path.h), the
 * instantaneous change of variables (1806.07366) gives, from little noise (0) to much (1),
 *
 *     log p(y_0) = log p(y_1) + integral of tr(df/dy) dc
 *     f = (y - x0)/c,  tr(df/dy) = (size - m tr J)/c,  J = dx0/dx
 *
 * A trace tr A is the sum of e.Ae over unit vectors, or Hutchinson's mean of v.Av over random v
 * (FFJORD, 1810.01367). The prior at the noisiest level is a Gaussian whose mean and covariance
 * follow from the denoiser's prediction there: exact at alpha = 0, and elsewhere to the second
 * order in alpha/sigma. N(0, sigma^2), which 2011.13456 takes, is .01 nats off on edm.
 *
 * Each row has steps of its own. Several rows are integrated at a time and evaluated as one batch,
 * because networks are faster so; when one is done, the next row begins. No row depends on the
 * others in its batch. */
#include "sample/likelihood.h"
#include "sample/internal.h"

#include <math.h>
#include <string.h>

#define PI              3.14159265358979323846
#define MAX_EVALUATIONS 100000 /* of a row */

/* Limits of one query. Numbers are limited because the activations that a network keeps for the
 * backward pass grow with them. */
enum { MAX_ROWS = 64, MAX_FLOATS = MAX_ROWS * 784 };

/* What is evaluated of a row: the slope at its beginning, its steps, the prediction for the
 * prior. */
typedef enum phase { FIRST, INSIDE, LAST, DONE } phase;

/* The integration of one row. */
typedef struct row_state {
    int64_t row; /* of the batch */
    phase phase;
    double clock; /* of what is evaluated */
    vn_ode ode;
    float *block; /* [VN_STAGES + 2, size]: the slopes, the stage, y */
    float *y;     /* [size], in it */
} row_state;

typedef struct integration {
    const vn_likelihood_options *o;
    const vn_likelihood_batch *batch;
    const vn_path *path;
    size_t size;
    double from, to;      /* clocks of the ends */
    vn_level noisiest;    /* the level at `to` */
    int64_t next;         /* the row of the batch that begins next */
    int64_t evaluations;  /* of all rows */
    int rows, capacity;   /* how many rows are under way, and can be */
    int probes;           /* of a row */
    int at_once;          /* probes of a row in one query */
    row_state *under_way; /* [capacity] */
    float *blocks;        /* [capacity, VN_STAGES + 2, size] */
    float *x, *raw;       /* [capacity,size] where each row is evaluated, and the raw outputs */
    vn_level *level;      /* [capacity] */
    vn_condition *condition;
    float *x0; /* [size] */
    /* a query for the probes, [capacity*at_once,size]: x, directions, answers */
    float *copies, *probe, *back;
    vn_level *levels; /* [capacity*at_once] */
    vn_condition *conditions;
} integration;

vn_likelihood_options vn_likelihood_default(const vn_denoiser *d) {
    return (vn_likelihood_options){.denoiser = d,
                                   .divergence = VN_DIVERGENCE_RADEMACHER,
                                   .probes = 1,
                                   .rtol = 1e-5,
                                   .atol = 1e-5};
}

/* Puts the sample's index before the message. */
static vn_status fail_in_row(const integration *b, int64_t row, vn_err *err) {
    return vn_fail_in(err, "likelihood: sample %llu",
                      (unsigned long long)b->batch->first + (unsigned long long)row);
}

static vn_status check(const vn_likelihood_options *o, vn_err *err) {
    if (o->denoiser->can & VN_X0_IS_SAMPLE)
        return vn_fail(err, VN_UNSUPPORTED,
                       "likelihood follows an ODE, which a consistency model does not have");
    if (!(o->denoiser->can & VN_CAN_VJP))
        return vn_fail(err, VN_UNSUPPORTED,
                       "likelihood needs derivatives, which this model does not have");
    if (o->divergence != VN_DIVERGENCE_EXACT && o->probes < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: %d probes", o->probes);
    if (!(o->rtol >= 1e-7 && o->rtol <= 0.1) || !(o->atol >= 1e-9 && o->atol <= 0.1))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "likelihood: rtol %g is not in [1e-7, 0.1], or atol %g not in [1e-9, 0.1]",
                       o->rtol, o->atol);
    if (!(o->ratio >= 0) || isinf(o->ratio))
        return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: ratio %g is not a finite noise level",
                       o->ratio);
    return VN_OK;
}

static vn_status check_labels(const integration *b, vn_err *err) {
    for (int64_t i = 0; i < b->batch->n; i++) {
        if (vn_conditions_hold(&b->o->denoiser->conditions, b->batch->condition[i])) continue;
        const vn_condition label = b->batch->condition[i];
        if (label == VN_CONDITION_NULL)
            vn_fail(err, VN_BAD_ARGUMENT, "this model has no null condition");
        else
            vn_fail(err, VN_BAD_ARGUMENT, "class %d is none of the model's", label);
        return fail_in_row(b, i, err);
    }
    return VN_OK;
}

static vn_status open_integration(integration *b, const vn_likelihood_options *o,
                                  const vn_likelihood_batch *batch, vn_err *err) {
    const size_t size = (size_t)o->denoiser->size, row = size * sizeof(float);
    const int probes = o->divergence == VN_DIVERGENCE_EXACT ? (int)size : o->probes;
    const size_t fit = MAX_FLOATS / size;
    const int max_rows = fit < 1 ? 1 : fit < MAX_ROWS ? (int)fit : MAX_ROWS;
    const int at_once = probes < max_rows ? probes : max_rows;
    int capacity = max_rows / at_once;
    if (capacity > batch->n) capacity = batch->n > 0 ? (int)batch->n : 1;
    *b = (integration){.o = o,
                       .batch = batch,
                       .path = o->denoiser->path,
                       .size = size,
                       .capacity = capacity,
                       .probes = probes,
                       .at_once = at_once};
    const size_t many = (size_t)capacity * (size_t)at_once;
    b->under_way = vn_calloc((size_t)capacity, sizeof *b->under_way);
    b->blocks = vn_alloc((size_t)capacity * (VN_STAGES + 2), row);
    b->x = vn_alloc((size_t)capacity, row);
    b->raw = vn_alloc((size_t)capacity, row);
    b->x0 = vn_alloc(1, row);
    b->copies = vn_alloc(many, row);
    b->probe = vn_alloc(many, row);
    b->back = vn_alloc(many, row);
    b->level = vn_alloc((size_t)capacity, sizeof *b->level);
    b->levels = vn_alloc(many, sizeof *b->levels);
    b->condition = vn_alloc((size_t)capacity, sizeof *b->condition);
    b->conditions = vn_alloc(many, sizeof *b->conditions);
    for (int i = 0; i < capacity && b->under_way && b->blocks; i++)
        b->under_way[i].block = b->blocks + (size_t)i * (VN_STAGES + 2) * size;
    const bool all = b->under_way && b->blocks && b->x && b->raw && b->x0 && b->copies &&
                     b->probe && b->back && b->level && b->levels && b->condition && b->conditions;
    return all ? VN_OK : vn_no_memory(err);
}

static void close_integration(integration *b) {
    void *all[] = {b->under_way, b->blocks, b->x,     b->raw,    b->x0,        b->copies,
                   b->probe,     b->back,   b->level, b->levels, b->condition, b->conditions};
    for (size_t i = 0; i < VN_COUNT(all); i++) vn_free(all[i]);
}

/* ---- the slopes and their divergence --------------------------------------------------------- */

/* Probe k of a row, the same at every evaluation. */
static void find_probe(const integration *b, int64_t row, int k, float *v) {
    const uint64_t seed = b->o->seed, index = b->batch->first + (uint64_t)row;
    if (b->o->divergence == VN_DIVERGENCE_NORMAL) {
        vn_random_normal(v, b->size, seed, VN_STREAM_PROBE, index, (uint64_t)k);
    } else if (b->o->divergence == VN_DIVERGENCE_RADEMACHER) {
        vn_random_uniform(v, b->size, seed, VN_STREAM_PROBE, index, (uint64_t)k);
        for (size_t i = 0; i < b->size; i++) v[i] = v[i] < 0.5f ? -1 : 1;
    } else {
        memset(v, 0, b->size * sizeof *v);
        v[k] = 1;
    }
}

/* sum[r] += v.(I - m J)v over the probes v = first .. first + count - 1 of each row r that is not
 * in its last phase. The derivative of raw gives J, that of x0 = x0_x x + x0_raw raw. */
static vn_status add_probes(integration *b, int first, int count, double *sum, vn_err *err) {
    const vn_denoiser *d = b->o->denoiser;
    const size_t size = b->size;
    size_t n = 0;
    for (int r = 0; r < b->rows; r++)
        for (int i = 0; i < count && b->under_way[r].phase != LAST; i++, n++) {
            find_probe(b, b->under_way[r].row, first + i, b->probe + n * size);
            memcpy(b->copies + n * size, b->x + (size_t)r * size, size * sizeof *b->x);
            b->levels[n] = b->level[r];
            b->conditions[n] = b->condition[r];
        }
    const vn_query q = {.n = (int64_t)n,
                        .x = b->copies,
                        .level = b->levels,
                        .condition = b->conditions,
                        .want = VN_VJP,
                        .direction = b->probe};
    const vn_status status = n > 0 ? d->predict(d->self, &q, b->back, err) : VN_OK;
    const float *probe = b->probe, *back = b->back;
    for (int r = 0; r < b->rows && !status; r++) {
        if (b->under_way[r].phase == LAST) continue;
        const vn_coefficients coefficients =
            vn_prediction_coefficients(&d->prediction, &b->level[r]);
        const double m = vn_path_scale(b->path, &b->level[r]);
        for (size_t i = 0; i < (size_t)count * size; i++) {
            const double v = (double)*probe++,
                         by_x = coefficients.x0_x * v + coefficients.x0_raw * (double)*back++;
            sum[r] += v * (v - m * by_x);
        }
    }
    return status;
}

/* Sets the raw output of every row, and sum [rows] over its probes. */
static vn_status evaluate(integration *b, double *sum, vn_err *err) {
    const vn_denoiser *d = b->o->denoiser;
    const vn_query q = {.n = b->rows, .x = b->x, .level = b->level, .condition = b->condition};
    vn_status status = d->predict(d->self, &q, b->raw, err);
    for (int r = 0; r < b->rows; r++) sum[r] = 0;
    for (int k = 0; k < b->probes && !status; k += b->at_once) {
        const int left = b->probes - k;
        status = add_probes(b, k, left < b->at_once ? left : b->at_once, sum, err);
    }
    return status;
}

/* ---- a row ----------------------------------------------------------------------------------- */

static vn_level min_noise_level(const integration *b) {
    if (b->o->ratio > 0) return vn_path_level_of_ratio(b->path, b->o->ratio);
    return vn_path_level(b->path, b->path->row->min_time(b->path));
}

static vn_level max_noise_level(const integration *b) {
    const vn_level last = vn_path_level(b->path, 1);
    return isinf(vn_path_clock(b->path, &last)) ? vn_path_level_of_ratio(b->path, VN_MAX_RATIO)
                                                : last;
}

/* The factor alpha/m from the data x to y at the least noisy level. */
static double scale_of(const integration *b) {
    const vn_level first = min_noise_level(b);
    return first.alpha / vn_path_scale(b->path, &first);
}

/* Begins the next row of the batch in t. */
static void begin_row(integration *b, row_state *t) {
    float *block = t->block;
    *t = (row_state){.row = b->next++, .block = block, .y = block + (VN_STAGES + 1) * b->size};
    t->ode = (vn_ode){.tableau = &vn_dopri5,
                      .n = b->size,
                      .stage = block + VN_STAGES * b->size,
                      .rtol = b->o->rtol,
                      .atol = b->o->atol,
                      .max_evaluations = MAX_EVALUATIONS,
                      .evaluations = 1};
    for (size_t i = 0; i < VN_STAGES; i++) t->ode.slope[i] = block + i * b->size;
    memcpy(t->y, b->batch->x + (size_t)t->row * b->size, b->size * sizeof *t->y);
    vn_step_scale(b->size, scale_of(b), t->y);
    vn_ode_begin(&t->ode, b->from, b->to);
    t->clock = b->from;
}

/* Sets x, level and condition at which row r is evaluated. */
static vn_status begin_evaluation(integration *b, int r, vn_err *err) {
    row_state *t = &b->under_way[r];
    float *x = b->x + (size_t)r * b->size;
    bool more = true;
    vn_status status = VN_OK;
    if (t->phase == INSIDE) status = vn_ode_next(&t->ode, t->y, &more, &t->clock, err);
    if (status) return fail_in_row(b, t->row, err);
    b->condition[r] = b->batch->condition[t->row];
    if (more) {
        b->level[r] = vn_path_level_of_clock(b->path, t->clock);
        memcpy(x, t->phase == FIRST ? t->y : t->ode.stage, b->size * sizeof *x);
        vn_step_scale(b->size, vn_path_scale(b->path, &b->level[r]), x);
    } else {
        t->phase = LAST;
        b->level[r] = b->noisiest;
        memset(x, 0, b->size * sizeof *x);
    }
    return VN_OK;
}

/* log N(y; beta mu, C) where y = x/m and beta = alpha/m, from the last slope of the ODE and from x0
 * and eps at x = 0. With C = c^2 (I + S) a Gaussian's score is -C^-1 (y - beta mu) = -eps/c, and to
 * first order in S, log det (I + S) = tr S = beta m tr J. */
static double log_prior(const integration *b, const row_state *t) {
    const double c = vn_path_clock(b->path, &b->noisiest),
                 beta = b->noisiest.alpha / vn_path_scale(b->path, &b->noisiest);
    const double k = b->path->row->straight_k, size = (double)b->size;
    double product = 0;
    for (size_t i = 0; i < b->size; i++) {
        const double y = (double)t->y[i], slope = (double)t->ode.slope[0][i],
                     eps = slope + k * (y - c * slope);
        product += (y - beta * (double)b->x0[i]) * eps / c;
    }
    return -(product + beta * (size - c * t->ode.rate[0])) / 2 - size * log(c * sqrt(2 * PI));
}

static vn_status finish_row(integration *b, row_state *t, vn_err *err) {
    double *log_p = &b->batch->log_p[t->row];
    *log_p = log_prior(b, t);
    *log_p += t->ode.integral + (double)b->size * log(scale_of(b));
    if (b->batch->evaluations) b->batch->evaluations[t->row] = t->ode.evaluations;
    t->phase = DONE;
    if (isfinite(*log_p)) return VN_OK;
    vn_fail(err, VN_NOT_FINITE, "the log-likelihood is not finite");
    return fail_in_row(b, t->row, err);
}

/* Continues row r by what its evaluation gave; sum: over its probes. */
static vn_status end_evaluation(integration *b, int r, double sum, vn_err *err) {
    row_state *t = &b->under_way[r];
    vn_ode *ode = &t->ode;
    const int at = t->phase == INSIDE ? ode->at : 0;
    float *slope = t->phase == LAST ? ode->stage : ode->slope[at];
    const size_t begin = (size_t)r * b->size;
    vn_prediction_to_estimate(&b->o->denoiser->prediction, &b->level[r], b->size, b->x + begin,
                              b->raw + begin, b->x0, slope);
    if (t->phase == LAST) return finish_row(b, t, err);
    vn_flow_slope(b->path, b->size, (vn_estimate){b->x0, slope});
    ode->rate[at] = (b->o->divergence == VN_DIVERGENCE_EXACT ? sum : sum / b->probes) / t->clock;
    if (t->phase == INSIDE) vn_ode_evaluated(ode, t->y);
    t->phase = INSIDE;
    return VN_OK;
}

/* ---- all rows -------------------------------------------------------------------------------- */

static void begin_rows(integration *b) {
    while (b->rows < b->capacity && b->next < b->batch->n) begin_row(b, &b->under_way[b->rows++]);
}

/* Moves the last of the rows to the place of one that is done. */
static void end_rows(integration *b) {
    for (int r = b->rows - 1; r >= 0; r--) {
        if (b->under_way[r].phase != DONE) continue;
        const row_state done = b->under_way[r];
        b->under_way[r] = b->under_way[--b->rows];
        b->under_way[b->rows] = done;
    }
}

/* How many rows are done, and for each that is under way the fraction of it that is: by the
 * logarithm of its clock, as steps grow about in proportion to the clock. */
static double rows_done(const integration *b) {
    double done = (double)(b->next - b->rows);
    const double all = log(b->to / b->from);
    for (int r = 0; r < b->rows && isfinite(all) && all > 0; r++)
        if (b->under_way[r].phase != FIRST)
            done += fmin(fmax(log(b->under_way[r].clock / b->from) / all, 0), 1);
    return done;
}

/* Evaluates each of the rows once. */
static vn_status evaluate_rows(integration *b, vn_err *err) {
    double sum[MAX_ROWS];
    vn_status status = VN_OK;
    if (b->o->evaluated && b->o->evaluated(b->o->user, rows_done(b), b->evaluations))
        return vn_fail(err, VN_CANCELLED, "stopped");
    for (int r = 0; r < b->rows && !status; r++) status = begin_evaluation(b, r, err);
    if (status) return status;
    status = evaluate(b, sum, err);
    if (status && status != VN_CANCELLED) vn_fail_in(err, "likelihood");
    for (int r = 0; r < b->rows && !status; r++) status = end_evaluation(b, r, sum[r], err);
    b->evaluations += b->rows;
    return status;
}

/* Sets the ends of the integration. */
static vn_status find_ends(integration *b, vn_err *err) {
    const vn_level first = min_noise_level(b);
    b->noisiest = max_noise_level(b);
    b->from = vn_path_clock(b->path, &first);
    b->to = vn_path_clock(b->path, &b->noisiest);
    if (b->from < b->to) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: ratio %g is above the path's noise",
                   b->o->ratio);
}

vn_status vn_likelihood(const vn_likelihood_options *o, const vn_likelihood_batch *batch,
                        vn_err *err) {
    integration b = {0};
    vn_status status = check(o, err);
    if (!status) status = open_integration(&b, o, batch, err);
    if (!status) status = check_labels(&b, err);
    if (!status) status = find_ends(&b, err);
    if (!status) begin_rows(&b);
    while (!status && b.rows > 0) {
        status = evaluate_rows(&b, err);
        end_rows(&b);
        begin_rows(&b);
    }
    close_integration(&b);
    return status;
}
