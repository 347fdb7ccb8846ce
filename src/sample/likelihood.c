/* likelihood.c - exact log-likelihood by the probability-flow ODE (2011.13456, section 4.3). With the ODE's slope f(y, c) in the
 * straight coordinates y = x/m by the clock c (path.h), the instantaneous change of variables (1806.07366) gives, from little
 * noise (0) to much (1),
 *
 *     log p(y_0) = log p(y_1) + integral of tr(df/dy) dc          f = (y - x0)/c,  tr(df/dy) = (size - m tr J)/c,  J = dx0/dx
 *
 * A trace tr A is the sum of e.Ae over unit vectors, or Hutchinson's mean of v.Av over random v (FFJORD, 1810.01367). The prior at the
 * noisiest level is the Gaussian whose mean, score and log-determinant the denoiser itself tells: exact from alpha = 0 on, and
 * elsewhere right to the second order in alpha/sigma. N(0, sigma^2), which 2011.13456 takes, is .01 nats off on edm. */
#include "sample/likelihood.h"
#include "sample/internal.h"

#include <math.h>
#include <string.h>

#define PI          3.14159265358979323846
#define MOST        100000 // evaluations of a row
#define MOST_PROBES 64     // in one query

/* Room for one row's trajectory. */
typedef struct bench {
    const vn_likelihood_options *o;
    const vn_path *path;
    size_t size;
    uint64_t index; /* of the row */
    int64_t row, evaluations;
    int probes, at_once;
    float *y, *stage, *slope[VN_STAGES];
    float *x0, *raw;         /* [size] */
    float *x, *probe, *back; /* [at_once,size] */
    vn_level *level;         /* [at_once] */
    int32_t *label;          /* [at_once] */
} bench;

vn_likelihood_options vn_likelihood_default(const vn_denoiser *d) {
    return (vn_likelihood_options){
        .denoiser = d, .divergence = VN_DIVERGENCE_RADEMACHER, .probes = 1, .rtol = 1e-5, .atol = 1e-5};
}

static vn_status check(const vn_likelihood_options *o, vn_err *err) {
    if (!o->denoiser->has_vjp)
        return vn_fail(err, VN_UNSUPPORTED, "likelihood needs derivatives, which this model does not have");
    if (o->divergence != VN_DIVERGENCE_EXACT && o->probes < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: %d probes", o->probes);
    if (!(o->rtol >= 1e-7 && o->rtol <= 0.1) || !(o->atol >= 1e-9 && o->atol <= 0.1))
        return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: rtol %g is not in [1e-7, 0.1], or atol %g not in [1e-9, 0.1]",
                       o->rtol, o->atol);
    if (!(o->ratio >= 0) || isinf(o->ratio))
        return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: ratio %g is not a finite noise level", o->ratio);
    return VN_OK;
}

static vn_status open_bench(bench *b, const vn_likelihood_options *o, vn_err *err) {
    const size_t size = (size_t)o->denoiser->size, row = size * sizeof(float);
    const int probes = o->divergence == VN_DIVERGENCE_EXACT ? (int)size : o->probes;
    const int at_once = probes < MOST_PROBES ? probes : MOST_PROBES;
    *b = (bench){.o = o, .path = o->denoiser->path, .size = size, .probes = probes, .at_once = at_once};
    float **one[] = {&b->y, &b->stage, &b->x0, &b->raw}, **many[] = {&b->x, &b->probe, &b->back};
    bool all = (b->level = vn_alloc((size_t)at_once, sizeof *b->level)) != NULL;
    all &= (b->label = vn_alloc((size_t)at_once, sizeof *b->label)) != NULL;
    for (size_t i = 0; i < VN_COUNT(one); i++) all &= (*one[i] = vn_alloc(1, row)) != NULL;
    for (size_t i = 0; i < VN_COUNT(many); i++) all &= (*many[i] = vn_alloc((size_t)at_once, row)) != NULL;
    for (int i = 0; i < VN_STAGES; i++) all &= (b->slope[i] = vn_alloc(1, row)) != NULL;
    return all ? VN_OK : vn_no_memory(err);
}

static void close_bench(bench *b) {
    void *all[] = {b->y, b->stage, b->x0, b->raw, b->x, b->probe, b->back, b->level, b->label};
    for (size_t i = 0; i < VN_COUNT(all); i++) vn_free(all[i]);
    for (int i = 0; i < VN_STAGES; i++) vn_free(b->slope[i]);
}

/* ---- the slope and its divergence ------------------------------------------------------------------------------- */

static vn_status predict(bench *b, const vn_level *level, const float *x, float *x0, float *eps, vn_err *err) {
    const vn_denoiser *d = b->o->denoiser;
    const vn_query q = {.n = 1, .x = x, .level = level, .label = b->label};
    vn_status s = d->predict(d->self, &q, b->raw, err);
    if (!s) vn_prediction_to_pair(&d->prediction, level, b->size, x, b->raw, x0, eps);
    return s;
}

/* Probe k of the row, the same at every evaluation. */
static void find_probe(const bench *b, int k, float *v) {
    const uint64_t seed = b->o->seed;
    if (b->o->divergence == VN_DIVERGENCE_NORMAL) {
        vn_random_normal(v, b->size, seed, VN_STREAM_PROBE, b->index, (uint64_t)k);
    } else if (b->o->divergence == VN_DIVERGENCE_RADEMACHER) {
        vn_random_uniform(v, b->size, seed, VN_STREAM_PROBE, b->index, (uint64_t)k);
        for (size_t i = 0; i < b->size; i++) v[i] = v[i] < 0.5f ? -1 : 1;
    } else {
        memset(v, 0, b->size * sizeof *v);
        v[k] = 1;
    }
}

/* *sum += v.(I - m J)v over the probes first .. first + count - 1. raw's derivative gives that of x0 = x0_x x + x0_raw raw. */
static vn_status add_probes(bench *b, const vn_level *level, int first, int count, double *sum, vn_err *err) {
    const vn_denoiser *d = b->o->denoiser;
    const vn_meaning meaning = vn_prediction_meaning(&d->prediction, level);
    const double m = vn_path_scale(b->path, level);
    for (int i = 0; i < count; i++) {
        find_probe(b, first + i, b->probe + (size_t)i * b->size);
        if (i) memcpy(b->x + (size_t)i * b->size, b->x, b->size * sizeof *b->x);
        b->level[i] = *level;
        b->label[i] = b->label[0];
    }
    const vn_query q = {.n = count, .x = b->x, .level = b->level, .label = b->label, .cotangent = b->probe};
    vn_status s = d->predict(d->self, &q, b->back, err);
    for (size_t i = 0; i < (size_t)count * b->size && !s; i++) {
        const double v = (double)b->probe[i], back = meaning.x0_x * v + meaning.x0_raw * (double)b->back[i];
        *sum += v * (v - m * back);
    }
    return s;
}

static vn_status find_slope(void *self, double clock, const float *y, float *slope, double *rate, vn_err *err) {
    bench *b = self;
    const vn_level level = vn_path_level_of_clock(b->path, clock);
    double sum = 0;
    if (b->o->evaluated && b->o->evaluated(b->o->user, b->row, b->evaluations++))
        return vn_fail(err, VN_CANCELLED, "stopped");
    memcpy(b->x, y, b->size * sizeof *y);
    vn_step_scale(b->size, vn_path_scale(b->path, &level), b->x);
    vn_status s = predict(b, &level, b->x, b->x0, slope, err);
    for (int k = 0; k < b->probes && !s; k += b->at_once) {
        const int left = b->probes - k;
        s = add_probes(b, &level, k, left < b->at_once ? left : b->at_once, &sum, err);
    }
    if (s) return s;
    vn_flow_slope(b->path, b->size, (vn_pair){b->x0, slope});
    *rate = (b->o->divergence == VN_DIVERGENCE_EXACT ? sum : sum / b->probes) / clock;
    return VN_OK;
}

/* ---- a row ------------------------------------------------------------------------------------------------------ */

static vn_level least_noise(const bench *b) {
    if (b->o->ratio > 0) return vn_path_level_of_ratio(b->path, b->o->ratio);
    return vn_path_level(b->path, b->path->row->least(b->path));
}

static vn_level most_noise(const bench *b) {
    const vn_level most = vn_path_level(b->path, 1);
    return isinf(vn_path_clock(b->path, &most)) ? vn_path_level_of_ratio(b->path, VN_MOST_RATIO) : most;
}

/* log N(y; beta mu, C) where y = x/m and beta = alpha/m, from what the ODE knows at its end. With C = c^2 (I + S) a Gaussian's
 * score is -C^-1 (y - beta mu) = -eps/c, and to first order in S, log det (I + S) = tr S = beta m tr J. */
static vn_status log_prior(bench *b, const vn_level *level, const vn_ode *ode, const float *y, double *out,
                           vn_err *err) {
    const double c = vn_path_clock(b->path, level), beta = level->alpha / vn_path_scale(b->path, level);
    const double k = b->path->row->straight, size = (double)b->size;
    double product = 0;
    memset(b->x, 0, b->size * sizeof *b->x);
    vn_status s = predict(b, level, b->x, b->x0, b->stage, err);
    for (size_t i = 0; i < b->size && !s; i++) {
        const double slope = (double)ode->slope[0][i], eps = slope + k * ((double)y[i] - c * slope);
        product += ((double)y[i] - beta * (double)b->x0[i]) * eps / c;
    }
    *out = -(product + beta * (size - c * ode->rate[0])) / 2 - size * log(c * sqrt(2 * PI));
    return s;
}

/* b->y holds x, b->label[0] its label. From x of the data to x at the least level is a factor alpha, to y one of alpha/m. */
static vn_status find_log_p(bench *b, double *log_p, int64_t *evaluations, vn_err *err) {
    const vn_level least = least_noise(b), most = most_noise(b);
    const double from = vn_path_clock(b->path, &least), to = vn_path_clock(b->path, &most);
    const double scale = least.alpha / vn_path_scale(b->path, &least);
    if (!(from < to)) return vn_fail(err, VN_BAD_ARGUMENT, "ratio %g is above the path's noise", b->o->ratio);
    vn_ode ode = {.tableau = &vn_dopri5,
                  .n = b->size,
                  .find_slope = find_slope,
                  .self = b,
                  .stage = b->stage,
                  .rtol = b->o->rtol,
                  .atol = b->o->atol,
                  .most = MOST,
                  .evaluations = 1};
    memcpy(ode.slope, b->slope, sizeof ode.slope);
    vn_step_scale(b->size, scale, b->y);
    vn_status s = find_slope(b, from, b->y, ode.slope[0], &ode.rate[0], err);
    if (!s) s = vn_ode_run(&ode, from, to, b->y, err);
    if (!s) s = log_prior(b, &most, &ode, b->y, log_p, err);
    if (s) return s;
    *log_p += ode.integral + (double)b->size * log(scale);
    if (evaluations) *evaluations = ode.evaluations;
    return isfinite(*log_p) ? VN_OK : vn_fail(err, VN_NOT_FINITE, "the log-likelihood is not finite");
}

static bool known(const vn_denoiser *d, int32_t label) {
    return label == VN_LABEL_NULL ? d->has_null || !d->classes : label >= 0 && label < d->classes;
}

vn_status vn_likelihood(const vn_likelihood_options *o, const vn_likelihood_batch *batch, vn_err *err) {
    bench b = {0};
    vn_status s = check(o, err);
    if (!s) s = open_bench(&b, o, err);
    for (int64_t i = 0; i < batch->n && !s; i++) {
        memcpy(b.y, batch->x + (size_t)i * b.size, b.size * sizeof *b.y);
        b.index = batch->first + (uint64_t)i;
        b.row = i;
        b.evaluations = 0;
        b.label[0] = batch->labels[i];
        if (!known(o->denoiser, batch->labels[i]))
            s = vn_fail(err, VN_BAD_ARGUMENT, "class %d is none of the model's", batch->labels[i]);
        if (!s) s = find_log_p(&b, &batch->log_p[i], batch->evaluations ? &batch->evaluations[i] : NULL, err);
        if (s && s != VN_CANCELLED) vn_fail_in(err, "likelihood: sample %llu", (unsigned long long)b.index);
    }
    close_bench(&b);
    return s;
}
