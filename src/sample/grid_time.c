/* grid_time.c - grids that are evenly in t and then transformed: by a shift towards noise
 * (2403.03206, eq. 23), by a shift that grows with the number of tokens of an image (Flux, SD3, LTX
 * in diffusers), or to short steps at first (linear-quadratic, 2410.13720).
 *
 *     shift     t' = s t / (1 + (s-1) t) = s / (s + 1/t - 1)
 *     dynamic   s = exp(mu), or mu itself, with mu on the line through (base_tokens, base_shift)
 *               and (max_tokens, max_shift) */
#include "sample/internal.h"

#include <math.h>

double vn_linspace(double a, double b, int i, int n) {
    /* rounded as numpy's linspace, counted from b */
    return i ? b + (a - b) / (n - 1) * (n - 1 - i) : a;
}

double vn_shifted(double t, double shift) {
    return shift * t / (1 + (shift - 1) * t);
}

/* ---- uniform --------------------------------------------------------------------------------- */

enum { SHIFT, MAX_T, TIMESTEP, END };
static const vn_param uniform_params[] = {
    {"shift", "t becomes shift t / (1 + (shift - 1) t): above 1 spends more steps at high noise", 1,
     0.01, 100, 0, NULL},
    {"most", "t of the noisiest level, before the shift", 1, 0.5, 1, 0, NULL},
    VN_TIMESTEP_PARAM,
    {"end", "the last level: no noise at all, or the level before it again", 0, 0, 1, 1,
     "zero|last"},
    {0},
};

static vn_status fill_uniform(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                              vn_level *level, vn_level *last, vn_err *err) {
    (void)spacing, (void)err;
    for (int i = 0; i < steps; i++) {
        double t = c->value[MAX_T] * (steps - i) / steps;
        level[i] = vn_path_level(p, vn_shifted(t, c->value[SHIFT]));
        vn_level_set_time(p, &level[i], (int)c->value[TIMESTEP]);
    }
    if (c->value[END] != 0) *last = level[steps - 1];
    return VN_OK;
}

const vn_grid_row vn_uniform_grid = {
    .row = {"uniform", "evenly in t from 1 to 0", "2403.03206", uniform_params},
    .fill = fill_uniform,
};

/* ---- dynamic --------------------------------------------------------------------------------- */

enum { TOKENS, BASE_TOKENS, MAX_TOKENS, BASE_SHIFT, MAX_SHIFT, TYPE, OVER, TERMINAL };
enum { EXPONENTIAL, LINEAR };
enum { UNIFORM, LINSPACE };
static const vn_param dynamic_params[] = {
    {"tokens",
     "tokens of an image; 0: the model's own number, or where that is not known 4096, which is "
     "that of Flux and SD3 for 1024 x 1024 pixels",
     0, 0, 1e7, 1, NULL},
    {"base_tokens", "where mu is base_shift", 256, 1, 1e7, 1, NULL},
    {"max_tokens", "where mu is max_shift", 4096, 1, 1e7, 1, NULL},
    {"base_shift", "mu at base_tokens", 0.5, -10, 100, 0, NULL},
    {"max_shift", "mu at max_tokens", 1.15, -10, 100, 0, NULL},
    {"type", "shift is e^mu, or mu", EXPONENTIAL, 0, 1, 1, "exponential|linear"},
    {"over", "what is shifted: t evenly from 1 to 0, or to the path's least and then 0", UNIFORM, 0,
     1, 1, "uniform|linspace"},
    {"terminal", "1 - t is scaled so that the last t before 0 is this; 0: as it falls", 0, 0, 0.99,
     0, NULL},
    {0},
};

static vn_status dynamic_shift(const vn_choice *c, double *shift, vn_err *err) {
    const double *v = c->value, span = v[MAX_TOKENS] - v[BASE_TOKENS];
    if (span == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "dynamic: base_tokens and max_tokens are both %g",
                       v[MAX_TOKENS]);
    const double mu =
        v[BASE_SHIFT] + (v[MAX_SHIFT] - v[BASE_SHIFT]) * (v[TOKENS] - v[BASE_TOKENS]) / span;
    *shift = v[TYPE] == LINEAR ? mu : exp(mu);
    if (*shift >= 1e-3 && *shift <= 1e3) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "dynamic: %g tokens give a shift of %g, outside [0.001, 1000]", v[TOKENS],
                   *shift);
}

static vn_status fill_dynamic(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                              vn_level *level, vn_level *last, vn_err *err) {
    (void)spacing, (void)last;
    double shift = 1, terminal = c->value[TERMINAL], stretch = 1;
    vn_status status = dynamic_shift(c, &shift, err);
    if (!status && terminal > 0 && steps == 1)
        status = vn_fail(err, VN_BAD_ARGUMENT, "dynamic: terminal has no effect on a single step");
    if (status) return status;
    const double end = c->value[OVER] == LINSPACE ? p->row->min_time(p) : 1.0 / steps;
    if (terminal > 0) stretch = (1 - terminal) / (1 - vn_shifted(end, shift));
    for (int i = 0; i < steps; i++)
        level[i] =
            vn_path_level(p, 1 - stretch * (1 - vn_shifted(vn_linspace(1, end, i, steps), shift)));
    return VN_OK;
}

const vn_grid_row vn_dynamic_grid = {
    .row = {"dynamic", "evenly in t, shifted by the number of tokens", "2403.03206",
            dynamic_params},
    .tokens = TOKENS + 1,
    .fill = fill_dynamic,
};

/* ---- linear-quadratic ------------------------------------------------------------------------ */

enum { THRESHOLD, STRAIGHT };
static const vn_param linear_quadratic_params[] = {
    {"threshold", "how far from t = 1 the straight part goes", 0.025, 1e-4, 0.9, 0, NULL},
    {"linear", "steps of the straight part; 0: half of them all", 0, 0, VN_MAX_STEPS, 1, NULL},
    {0},
};

/* 1 - t rises linearly to the threshold h in L steps, then as a parabola that begins with the same
 * slope h/L and reaches 1 at step N:
 *
 *     1 - t = h + (h/L) j + q j^2        j = i - L,  q (N-L)^2 = 1 - h - (h/L) (N-L) */
static vn_status fill_linear_quadratic(const vn_choice *c, const vn_path *p, vn_spacing spacing,
                                       int steps, vn_level *level, vn_level *last, vn_err *err) {
    (void)spacing, (void)last;
    const double h = c->value[THRESHOLD];
    const int straight = c->value[STRAIGHT] != 0 ? (int)c->value[STRAIGHT] : steps / 2,
              rest = steps - straight;
    level[0] = vn_path_level(p, 1);
    if (steps == 1 && straight == 0) return VN_OK;
    if (rest < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "linear-quadratic: %d linear steps leave none of %d",
                       straight, steps);
    const double slope = h / straight, q = (1 - h - slope * rest) / rest / rest;
    if (slope + 2 * q * rest <= 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "linear-quadratic: %d steps to threshold %g are too few of %d", straight, h,
                       steps);
    for (int i = 1; i < steps; i++) {
        const double j = fmax(i - straight, 0);
        level[i] = vn_path_level(p, 1 - slope * i - q * j * j);
    }
    return VN_OK;
}

const vn_grid_row vn_linear_quadratic_grid = {
    .row = {"linear-quadratic", "short even steps in t first, then growing ones", "2410.13720",
            linear_quadratic_params},
    .fill = fill_linear_quadratic,
};
