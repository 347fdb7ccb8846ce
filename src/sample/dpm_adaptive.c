/* dpm_adaptive.c - DPM-Solver-12 and -23 with adaptive steps (2206.00927, appendix C), as
 * k-diffusion's sample_dpm_adaptive. In u = x/alpha by lambda = -log s, s = sigma/alpha, a step h
 * of the solvers of order 1, 2 and 3 is, with phi(h) = e^h - 1,
 *
 *     u1 = u - s' phi(h) eps
 *     u2 = u1 - s' phi(h) / (2 r1) (eps(r1) - eps)
 *     u3 = u1 - s' / r2 (phi(h)/h - 1) (eps(r2) - eps)
 *
 * where eps(r) is the noise predicted a fraction r into the step: for r1 at u1 there, and for r2 at
 * u1 there less s(r2) (r2/r1) (phi(r2 h)/(r2 h) - 1) (eps(r1) - eps). Orders p and p - 1 are
 * compared (r1 = 1/2, or r1 = 1/3 and r2 = 2/3) and a PID controller of the error E chooses h. It
 * multiplies h by 1 + atan(f - 1), f = E^(-b1) E_1^(-b2) E_2^(-b3), with E_1 and E_2 the errors of
 * the two accepted steps before; a step is accepted if that factor is at least `accept`.
 *
 * At much noise E is the difference of states that agree to more digits than float32 has. So the
 * state is kept in double, and predictions are asked for in double where the denoiser has them (a
 * world). Those of a network are float32. Their rounding changes E by some 1e-8, which is as large
 * as E itself in the first steps of order 3: h then differs by 1e-3 of itself and the samples by up
 * to 4e-4; so do k-diffusion's if its model's outputs are rounded to float32. If the factor is that
 * close to `accept`, one of the two accepts the step and the other does not. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

/* sigma/alpha at which it begins if the step's first level has an infinite one; dopri5 makes the
 * part before, in coordinates that are finite. rtol is relative to u, which is about as large as
 * sigma/alpha, so this must not be too large for the tolerances. */
#define MAX_RATIO 100

enum { ORDER, RTOL, ATOL, FIRST, P, I, D, ACCEPT, MAX_EVALUATIONS };
static const vn_param params[] = {
    {"order", "of the solver that is kept; it is compared with the one below", 3, 2, 3, 1, NULL},
    {"rtol", "error of a step, relative to the state", 0.05, 1e-6, 1, 0, NULL},
    {"atol", "and absolute; the larger counts. A step of 8-bit pixels in [-1,1]", 0.0078, 1e-9, 1,
     0, NULL},
    {"first", "first step in log(alpha/sigma)", 0.05, 1e-4, 10, 0, NULL},
    {"p", "proportional part of the controller", 0, 0, 10, 0, NULL},
    {"i", "integral part", 1, 0, 10, 0, NULL},
    {"d", "derivative part", 0, 0, 10, 0, NULL},
    {"accept", "smallest factor by which the step may change for it to count", 0.81, 0.01, 1, 0,
     NULL},
    {"most", "evaluations of a sample in a step of the grid, before it gives up", 10000, 3, 1e9, 1,
     NULL},
    {0},
};

enum { X0, EPS, X };
enum { STATE, NOISE, NOISE_LATER, STAGE, LOW, BEFORE, ASKED, DATA, WORK };

/* The integration of one sample. */
typedef struct adaptive {
    vn_step *step;
    int64_t row;
    size_t n;
    double *u;            /* [n] the state, x/alpha */
    double *eps;          /* [n] its noise */
    double *later;        /* [n] noise predicted within a step */
    double *stage;        /* [n] the state that is predicted at; in the end the step's result */
    double *low, *before; /* [n] the lower order's result, now and of the last accepted step */
    double *asked, *x0;   /* [n] the denoiser's x and x0 in double */
    float *x;             /* [n] the same in float32 */
    vn_estimate estimate;
    int64_t evaluations;
} adaptive;

/* out = eps of the estimate at a level. Where there is more noise than data it is computed from u
 * and x0, which is more exact. */
static void read_noise(const adaptive *t, const vn_level *level, const double *u, double *out) {
    const double s = vn_level_ratio(level);
    for (size_t i = 0; i < t->n; i++)
        out[i] = s > 1 ? (u[i] - (double)t->estimate.x0[i]) / s : (double)t->estimate.eps[i];
}

static vn_status predict_exact(adaptive *t, const vn_level *level, bool again, const double *u,
                               double *out, vn_err *err) {
    for (size_t i = 0; i < t->n; i++) t->asked[i] = level->alpha * u[i];
    const vn_request_exact request = {.x = t->asked, .level = level, .row = t->row, .again = again};
    return vn_step_predict_exact(t->step, &request, t->x0, out, err);
}

/* out = the noise predicted for u at lambda. */
static vn_status find_eps(adaptive *t, double lambda, const double *u, double *out, vn_err *err) {
    const vn_level level = vn_path_level_of_ratio(t->step->path, exp(-lambda));
    t->evaluations++;
    if (vn_step_is_exact(t->step)) return predict_exact(t, &level, false, u, out, err);
    for (size_t i = 0; i < t->n; i++) t->x[i] = (float)(level.alpha * u[i]);
    const vn_request request = {.x = t->x, .level = &level, .row = t->row, .n = 1};
    vn_status status = vn_step_predict_request(t->step, &request, t->estimate, err);
    if (!status) read_noise(t, &level, u, out);
    return status;
}

/* Sets u and its noise at the step's beginning; vn_step_continuous has made that prediction in
 * float32. From pure noise, x is first moved to a finite sigma/alpha, and *from is set to that
 * level. */
static vn_status begin(adaptive *t, vn_level *from, const vn_level *to, float *x, vn_err *err) {
    const bool pure = isinf(vn_level_ratio(from));
    if (pure) {
        const double *p = t->step->choice->value;
        /* tight ones cost little at the order of dopri5 */
        const vn_tolerance by = {fmin(p[RTOL], 1e-3), fmin(p[ATOL], 1e-3),
                                 (int64_t)p[MAX_EVALUATIONS]};
        const vn_level start = *from;
        *from = vn_path_level_of_ratio(t->step->path, fmax(MAX_RATIO, vn_level_ratio(to)));
        vn_status status = vn_step_dopri5(t->step, t->row, &start, from, &by, err);
        if (status) return status;
    }
    for (size_t i = 0; i < t->n; i++) t->u[i] = (double)x[i] / from->alpha;
    if (pure) return find_eps(t, -log(vn_level_ratio(from)), t->u, t->eps, err);
    if (vn_step_is_exact(t->step)) return predict_exact(t, from, true, t->u, t->eps, err);
    read_noise(t, from, t->u, t->eps);
    return VN_OK;
}

/* out = u - a eps - b (other - eps) */
static void move(const adaptive *t, double a, double b, const double *other, double *out) {
    for (size_t i = 0; i < t->n; i++) out[i] = t->u[i] - a * t->eps[i] - b * (other[i] - t->eps[i]);
}

/* Makes a step h from lambda: stage and low become its results of orders p and p - 1. */
static vn_status solve(adaptive *t, int order, double lambda, double h, vn_err *err) {
    const double s = exp(-(lambda + h)), r1 = order == 3 ? 1.0 / 3 : 0.5, r2 = 2.0 / 3;
    move(t, exp(-(lambda + r1 * h)) * expm1(r1 * h), 0, t->eps, t->stage);
    vn_status status = find_eps(t, lambda + r1 * h, t->stage, t->later, err);
    if (status) return status;
    const double second = s / (2 * r1) * expm1(h);
    if (order == 2) {
        move(t, s * expm1(h), 0, t->eps, t->low);
        move(t, s * expm1(h), second, t->later, t->stage);
        return VN_OK;
    }
    const double s2 = exp(-(lambda + r2 * h)), bend = expm1(r2 * h) / (r2 * h) - 1;
    move(t, s * expm1(h), second, t->later, t->low);
    move(t, s2 * expm1(r2 * h), s2 * (r2 / r1) * bend, t->later, t->stage);
    status = find_eps(t, lambda + r2 * h, t->stage, t->later, err);
    if (!status) move(t, s * expm1(h), s / r2 * (expm1(h) / h - 1), t->later, t->stage);
    return status;
}

static double error_of(const adaptive *t, double rtol, double atol) {
    double sum = 0;
    for (size_t i = 0; i < t->n; i++) {
        const double size = fmax(fabs(t->low[i]), fabs(t->before[i]));
        const double error = (t->low[i] - t->stage[i]) / fmax(atol, rtol * size);
        sum += error * error;
    }
    return sqrt(sum / (double)t->n);
}

/* The PID controller: inverse errors of this step and of the last two accepted ones. */
typedef struct pid {
    double power[3], inverse[3];
    bool begun;
} pid;

static pid new_pid(const double *p) {
    return (pid){
        .power = {(p[P] + p[I] + p[D]) / p[ORDER], -(p[P] + 2 * p[D]) / p[ORDER], p[D] / p[ORDER]}};
}

/* The factor by which h changes; *counts: whether the step is accepted. */
static double control(pid *c, double error, double accept, bool *counts) {
    double f = 1;
    c->inverse[0] = 1 / (error + 1e-8);
    if (!c->begun) c->inverse[1] = c->inverse[2] = c->inverse[0];
    c->begun = true;
    for (int i = 0; i < 3; i++) f *= pow(c->inverse[i], c->power[i]);
    f = 1 + atan(f - 1);
    *counts = f >= accept;
    if (*counts) {
        c->inverse[2] = c->inverse[1];
        c->inverse[1] = c->inverse[0];
    }
    return f;
}

static vn_status run(adaptive *t, const double *p, double lambda, double end, vn_err *err) {
    const int order = (int)p[ORDER];
    double h = p[FIRST];
    pid c = new_pid(p);
    memcpy(t->before, t->u, t->n * sizeof *t->u);
    while (lambda < end) {
        const double next = fmin(lambda + h, end);
        bool counts;
        if (t->evaluations + order > (int64_t)p[MAX_EVALUATIONS])
            return vn_fail(err, VN_BAD_ARGUMENT, "more than %g evaluations at tolerances %g and %g",
                           p[MAX_EVALUATIONS], p[RTOL], p[ATOL]);
        vn_status status = solve(t, order, lambda, next - lambda, err);
        if (status) return status;
        const double error = error_of(t, p[RTOL], p[ATOL]);
        if (!isfinite(error))
            return vn_fail(err, VN_NOT_FINITE, "a step from log(alpha/sigma) %g is not finite",
                           lambda);
        h *= control(&c, error, p[ACCEPT], &counts);
        if (!counts) continue;
        memcpy(t->before, t->low, t->n * sizeof *t->u);
        memcpy(t->u, t->stage, t->n * sizeof *t->u);
        lambda = next;
        if (lambda < end && (status = find_eps(t, lambda, t->u, t->eps, err))) return status;
    }
    return VN_OK;
}

static vn_status row_step(vn_step *s, int64_t row, const vn_level *from, const vn_level *to,
                          vn_err *err) {
    const size_t n = (size_t)s->size;
    double *work = s->work;
    float *x = s->x + (size_t)row * n;
    adaptive t = {.step = s,
                  .row = row,
                  .n = n,
                  .u = work + STATE * n,
                  .eps = work + NOISE * n,
                  .later = work + NOISE_LATER * n,
                  .stage = work + STAGE * n,
                  .low = work + LOW * n,
                  .before = work + BEFORE * n,
                  .asked = work + ASKED * n,
                  .x0 = work + DATA * n,
                  .x = s->slot[X],
                  .estimate = {s->slot[X0] + (size_t)row * n, s->slot[EPS] + (size_t)row * n}};
    vn_level begins = *from;
    vn_status status = begin(&t, &begins, to, x, err);
    if (!status)
        status =
            run(&t, s->choice->value, -log(vn_level_ratio(&begins)), -log(vn_level_ratio(to)), err);
    for (size_t i = 0; i < n; i++) x[i] = (float)(to->alpha * t.u[i]);
    return status;
}

static vn_status inside(vn_step *s, const vn_level *from, const vn_level *to, vn_err *err) {
    return vn_step_rows(s, from, to, row_step, err);
}

static vn_status step(vn_step *s, vn_err *err) {
    return vn_step_continuous(s, vn_step_max_ratio(s, MAX_RATIO), inside, err);
}

const vn_sampler_row vn_dpm_adaptive_sampler = {
    .row = {"dpm-adaptive", "DPM-Solver-12 or -23; steps of its own between the grid's",
            "2206.00927", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = VN_DOPRI5_SLOTS,
    .work = WORK,
    .step = step,
};
