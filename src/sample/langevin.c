/* langevin.c - samplers made of Langevin steps at one noise level, x += a score + sqrt(2a) z, which
 * leave the density of that level as it is.
 *
 *     langevin   annealed Langevin (NCSN 1907.05600): `corrections` steps at each level, from which
 *                x/alpha goes as it is to the next; at the end the noise that is left is removed
 *                (2006.09011). With the guide `classifier` the score is that of p(x) p(y|x)
 *     pc         predictor-corrector (2011.13456): corrections at a level, then a step of the
 *                reverse SDE to the next
 *     pcg        predictor-corrector guidance (2408.09000): a DDIM step on p(x|y) to the next
 *                level, then corrections there on the guided score, whose density is
 *                p(x|y)^gamma p(x)^(1-gamma). One correction a step and guidance 2 gamma - 1 are,
 *                for short steps, the SDE with cfg at guidance gamma
 *
 * Langevin steps of the first two have a = 2 (snr sigma)^2. NCSN writes a = (epsilon/2) sigma^2 /
 * sigma_L^2 with the last level's sigma_L, so its snr is sqrt(epsilon) / (2 sigma_L), .22 there.
 * 2011.13456 has a = 2 (snr |z| / |score|)^2, pc's size=norm, here with the norms of each sample;
 * in many dimensions |z| / |score| is near sigma, in few it varies much, and is then biased. Its
 * factor 1 - beta for VP, within 2% of 1, is left out. */
#include "sample/internal.h"

#include <math.h>

#define MAX_SNR 0.7 /* from sqrt(1/2) on, the noise of a step replaces all of x */
enum { X0, EPS, Z, SLOTS };

/* x += by_eps eps + by_z z on one row. */
static void add(size_t n, double by_eps, double by_z, const float *eps, const float *z, float *x) {
    const float a = (float)by_eps, b = (float)by_z;
    for (size_t i = 0; i < n; i++) x[i] += a * eps[i] + b * z[i];
}

static double norm(size_t n, const float *v) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* One Langevin step at `level`: a score = -2 (snr r)^2 sigma eps, with r = |z|/|eps| for size=norm,
 * else 1. */
static vn_status correct(vn_step *s, const vn_level *level, double snr, bool norms, int draw,
                         vn_err *err) {
    const size_t n = (size_t)s->size;
    vn_status status =
        vn_step_predict(s, s->x, level, (vn_estimate){s->slot[X0], s->slot[EPS]}, err);
    if (status) return status;
    vn_step_noise(s, draw, s->slot[Z]);
    for (size_t row = 0; row < (size_t)s->n; row++) {
        const float *eps = s->slot[EPS] + row * n, *z = s->slot[Z] + row * n;
        const double length = norms ? norm(n, eps) : 0,
                     r = length > 0 ? snr * norm(n, z) / length : snr;
        add(n, -2 * r * r * level->sigma, 2 * r * level->sigma, eps, z, s->x + row * n);
    }
    return VN_OK;
}

/* ---- langevin -------------------------------------------------------------------------------- */

enum { L_CORRECTIONS, L_SNR, L_EPSILON, L_DENOISE };
static const vn_param langevin_params[] = {
    {"corrections", "steps at each level", 10, 1, VN_MAX_DRAWS, 1, NULL},
    {"snr", "size of a step: sqrt(a/2) / sigma; NCSN's for CIFAR-10", 0.22, 1e-4, MAX_SNR, 0, NULL},
    {"epsilon", "or NCSN's step at the last level, 2a; 0: by snr", 0, 0, 1, 0, NULL},
    {"denoise", "at the end: to the mean of x0, or leave the last level's noise in", 1, 0, 1, 1,
     "no|yes"},
    {0},
};

static vn_status langevin_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[L_EPSILON] > 0 && c->given[L_SNR])
        return vn_fail(err, VN_BAD_ARGUMENT, "langevin: snr has no effect beside epsilon");
    return VN_OK;
}

/* Goes to the next level with x/alpha as it is. x does not grow by more than sigma falls: near
 * alpha = 0 there is nothing in x yet that should grow. */
static void carry(vn_step *s) {
    const double by = fmin(s->to->alpha / s->from->alpha, s->from->sigma / s->to->sigma);
    vn_step_scale((size_t)(s->n * s->size), by, s->x);
}

static vn_status langevin_step(vn_step *s, vn_err *err) {
    const double *p = s->choice->value, last = s->from[s->count - 1 - s->index].sigma;
    const double snr = p[L_EPSILON] > 0 ? sqrt(p[L_EPSILON]) / (2 * last) : p[L_SNR];
    const vn_estimate estimate = {s->slot[X0], s->slot[EPS]};
    vn_status status = VN_OK;
    if (snr > MAX_SNR)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "langevin: epsilon %g is too much for a last sigma of %g", p[L_EPSILON],
                       last);
    for (int k = 0; k < (int)p[L_CORRECTIONS] && !status; k++)
        status = correct(s, s->from, snr, false, k, err);
    if (!status && (s->to->sigma > 0 || p[L_DENOISE] == 0)) {
        carry(s);
        return VN_OK;
    }
    if (!status) status = vn_step_predict(s, s->x, s->from, estimate, err);
    if (!status) vn_step_ddim(s, estimate);
    return status;
}

/* ---- pc -------------------------------------------------------------------------------------- */

enum { C_CORRECTIONS, C_SNR, C_SIZE, C_PREDICTOR };
enum { LEVEL, NORM };
enum { REVERSE_DIFFUSION, ANCESTRAL };
static const vn_param pc_params[] = {
    {"corrections", "Langevin steps at each level", 1, 0, VN_MAX_DRAWS - 1, 1, NULL},
    {"snr", "their size; the paper's for CIFAR-10", 0.16, 1e-4, MAX_SNR, 0, NULL},
    {"size", "snr is to sigma, or to norms of noise and score as published", LEVEL, 0, 1, 1,
     "level|norm"},
    {"predictor", "the step between levels", REVERSE_DIFFUSION, 0, 1, 1,
     "reverse-diffusion|ancestral"},
    {0},
};

static vn_status pc_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[C_CORRECTIONS] == 0 && (c->given[C_SNR] || c->given[C_SIZE]))
        return vn_fail(err, VN_BAD_ARGUMENT, "pc: snr and size have no effect without corrections");
    return VN_OK;
}

/* The forward step from the next level is x = a x' + tau eps, a = alpha/alpha'. The reverse
 * diffusion step is
 *     x' = (2 - a) x + tau^2 score + tau z
 * and ancestral sampling is ddpm (ddim.c): the same mean divided by a, with the posterior's noise.
 * The last step has none. */
static vn_status predict(vn_step *s, bool ancestral, vn_err *err) {
    const vn_level *from = s->from, *to = s->to;
    const size_t n = (size_t)(s->n * s->size);
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    vn_status status = vn_step_predict(s, s->x, from, p, err);
    if (status) return status;
    if (to->sigma == 0) {
        vn_step_ddim(s, p);
        return VN_OK;
    }
    const double a = from->alpha / to->alpha, variance = vn_step_variance(from, to);
    const double noise = sqrt(variance) * (ancestral ? to->sigma / from->sigma : 1);
    vn_step_noise(s, 0, s->slot[Z]);
    if (ancestral) {
        vn_step_ddim(s, p);
        add(n, a * to->sigma * to->sigma / from->sigma - to->sigma, noise, p.eps, s->slot[Z], s->x);
    } else {
        vn_step_scale(n, 2 - a, s->x);
        add(n, -variance / from->sigma, noise, p.eps, s->slot[Z], s->x);
    }
    return VN_OK;
}

static vn_status pc_step(vn_step *s, vn_err *err) {
    const double *p = s->choice->value;
    vn_status status = VN_OK;
    for (int k = 1; k <= (int)p[C_CORRECTIONS] && !status; k++)
        status = correct(s, s->from, p[C_SNR], p[C_SIZE] == NORM, k, err);
    return status ? status : predict(s, p[C_PREDICTOR] == ANCESTRAL, err);
}

/* ---- pcg ------------------------------------------------------------------------------------- */

enum { G_CORRECTIONS };
static const vn_param pcg_params[] = {
    {"corrections", "Langevin steps at each level", 1, 1, VN_MAX_DRAWS, 1, NULL},
    {0},
};

/* A Langevin step with the step size of the reverse SDE, a = g^2 dt / 2 = sigma^2 log(s/s') with
 * s = sigma/alpha. It is exact for known x0, which keeps it stable, and finite at alpha = 0:
 *     x += sigma' ((s'/s - 1) eps + sqrt(1 - (s'/s)^2) z) */
static vn_status sharpen(vn_step *s, int draw, vn_err *err) {
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    const double sigma = s->to->sigma, ratio = vn_level_ratio(s->to) / vn_level_ratio(s->from);
    vn_status status = vn_step_predict(s, s->x, s->to, p, err);
    if (status) return status;
    vn_step_noise(s, draw, s->slot[Z]);
    add((size_t)(s->n * s->size), sigma * (ratio - 1), sigma * sqrt(1 - ratio * ratio), p.eps,
        s->slot[Z], s->x);
    return VN_OK;
}

static vn_status pcg_step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    vn_status status = vn_step_predict_request(
        s, &(vn_request){.x = s->x, .level = s->from, .unguided = true}, p, err);
    if (status) return status;
    vn_step_ddim(s, p);
    for (int k = 0; k < (int)s->choice->value[G_CORRECTIONS] && s->to->sigma > 0 && !status; k++)
        status = sharpen(s, k, err);
    return status;
}

/* ---- the rows -------------------------------------------------------------------------------- */

const vn_sampler_row vn_langevin_sampler = {
    .row = {"langevin", "annealed Langevin dynamics", "1907.05600", langevin_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = SLOTS,
    .check = langevin_check,
    .step = langevin_step,
};

const vn_sampler_row vn_pc_sampler = {
    .row = {"pc", "predictor-corrector: reverse SDE and Langevin", "2011.13456", pc_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = SLOTS,
    .check = pc_check,
    .step = pc_step,
};

const vn_sampler_row vn_pcg_sampler = {
    .row = {"pcg", "predictor-corrector guidance: DDIM on p(x|y), Langevin on the guided score",
            "2408.09000", pcg_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = SLOTS,
    .step = pcg_step,
};
