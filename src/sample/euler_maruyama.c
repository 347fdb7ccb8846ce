/* euler_maruyama.c - the Euler-Maruyama rule on the SDEs that have the path's marginals
 * (2011.13456; SiT's family 2401.08740):
 *
 *     dx = u dt - (w/2) score dt + sqrt(w) dW        t from 1 to 0, u the slope of the ODE
 *
 * euler-maruyama is the reverse SDE, w = g^2; flow-sde has w = g^2, sigma(t), sin^2(pi t) or 1,
 * scaled. score = -eps/sigma. In the straight coordinates y = x/m with time c (path.h), with eps
 * and x0 constant over the step and all else integrated,
 *
 *     x' = alpha' x0 + (sigma' - m' A) eps + m' sqrt(W) z
 *     A  = integral of w/2 / (m sigma) dt          W = integral of w/m^2 dt
 *
 * and for w = g^2, whose g^2/m^2 dt = 2c/(1 - kc) dc, both in closed form. eps is taken as
 * constant, not the score or x0, because its errors at noise above and below the data's scale have
 * opposite signs. For N(0,1) on edm with 1000 karras levels the variance is 0.07% too low; it would
 * be 1% too high with a constant score, and 1.1% too low with a constant x0, which is ddpm.
 *
 * The rule does not apply to a step so long that sigma' - m' A < 0: one from alpha = 0, where A is
 * infinite, or one to sigma = 0. Such a step is made exactly for known x0 instead: x - alpha x0 is
 * then an Ornstein-Uhlenbeck process, and with I = integral of w/sigma^2 dt
 *
 *     x' = alpha' x0 + sigma' (e^(-I/2) eps + sqrt(1 - e^-I) z). */
#include "sample/internal.h"

#include <math.h>

#define PI 3.14159265358979323846

typedef struct integrals {
    double drift, variance, decay; /* A, W, I */
} integrals;

static integrals of_reverse_sde(const vn_step *s) {
    const double k = s->path->row->straight_k;
    const double from = vn_path_clock(s->path, s->from), to = vn_path_clock(s->path, s->to);
    const double drift = k ? log1p(-to) - log1p(-from) : from - to;
    return (integrals){.drift = drift,
                       .variance = k ? 2 * (drift - (from - to)) : (from - to) * (from + to),
                       .decay = 2 * (vn_level_lambda(s->to) - vn_level_lambda(s->from))};
}

static vn_status step(vn_step *s, const integrals *of, vn_err *err) {
    const vn_level *to = s->to;
    const vn_estimate p = {s->slot[0], s->slot[1]};
    float *z = s->slot[2];
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    const double m = vn_path_scale(s->path, to);
    double keep = to->sigma - m * of->drift, noise = m * sqrt(of->variance);
    if (keep < 0) {
        keep = to->sigma * exp(-of->decay / 2);
        noise = to->sigma * sqrt(-expm1(-of->decay));
    }
    const float a = (float)to->alpha, b = (float)keep, c = (float)noise;
    vn_step_noise(s, 0, z);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++)
        s->x[i] = a * p.x0[i] + b * p.eps[i] + c * z[i];
    return VN_OK;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static vn_status euler_maruyama_step(vn_step *s, vn_err *err) {
    const integrals of = of_reverse_sde(s);
    return step(s, &of, err);
}

enum { DIFFUSION, SCALE };
enum { SIGMA, CONSTANT, SINE, SDE };
static const vn_param flow_sde_params[] = {
    {"diffusion", "w by t: sigma, 1, sin^2(pi t), or g^2 of the reverse SDE", SIGMA, 0, 3, 1,
     "sigma|constant|sine|sde"},
    {"scale", "w is multiplied by it", 1, 1e-3, 1e3, 0, NULL},
    {0},
};

static double diffusion(int kind, const vn_level *l) {
    const double wave = sin(PI * l->t);
    return kind == SIGMA ? l->sigma : kind == SINE ? wave * wave : 1;
}

/* The integrals by the midpoint rule: w may be infinite or undefined at the ends. */
static integrals of_flow_sde(const vn_step *s, int kind) {
    const vn_level l = vn_path_level(s->path, (s->from->t + s->to->t) / 2);
    const double m = vn_path_scale(s->path, &l), w = diffusion(kind, &l) * (s->from->t - s->to->t);
    return (integrals){
        .drift = w / (2 * m * l.sigma), .variance = w / (m * m), .decay = w / (l.sigma * l.sigma)};
}

static vn_status flow_sde_step(vn_step *s, vn_err *err) {
    const int kind = (int)s->choice->value[DIFFUSION];
    const double scale = s->choice->value[SCALE];
    integrals of = kind == SDE ? of_reverse_sde(s) : of_flow_sde(s, kind);
    of.drift *= scale;
    of.variance *= scale;
    of.decay *= scale;
    return step(s, &of, err);
}

const vn_sampler_row vn_euler_maruyama_sampler = {
    .row = {"euler-maruyama", "Euler-Maruyama rule on the reverse SDE", "2011.13456", NULL},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_X0_EPS | VN_NEEDS_SDE,
    .slots = 3,
    .step = euler_maruyama_step,
};

const vn_sampler_row vn_flow_sde_sampler = {
    .row = {"flow-sde", "the same with more or less noise than the reverse SDE: SiT's family",
            "2401.08740", flow_sde_params},
    .spacing = VN_SPACING_BETWEEN,
    .abilities = VN_NEEDS_X0_EPS,
    .slots = 3,
    .step = flow_sde_step,
};
