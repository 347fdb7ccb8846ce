/* grid_noise.c - grids in the noise level itself: karras (2206.00364, eq. 5), exponential, beta
 * (2407.12173) and lu-lambda (2206.00927). The first three space the path's time in straight
 * coordinates c (sigma/alpha, or sigma of a flow; path.h) between the path's ends, or between
 * sigma_min and sigma_max:
 *
 *     karras        c = (max^(1/rho) + r (min^(1/rho) - max^(1/rho)))^rho     r = i/(N-1)
 *     exponential   c = min (max/min)^((1-r)^rho)
 *     beta          c = min + (max - min) F^-1(1-r)       F of Beta(a, b)
 *
 * lu-lambda is evenly in log(alpha/sigma): the same as exponential except on flows, where its
 * levels are dense at both ends. On a discrete path they are diffusers' use_karras_sigmas and so
 * on, and the network is given the time that the scheduler class behind a sampler (vn_spacing)
 * gives it: k-diffusion's classes a fraction of a step, DPM-Solver's a whole step, rounded to the
 * nearest or, for exponential and beta, rounded down. */
#include "sample/internal.h"

#include <math.h>

/* clang-format off */
#define TIMESTEP_PARAM \
    {"timestep", "time that the network is given: as diffusers' class for the sampler does, or " \
                 "exact, or that of the nearest step or the one below", \
     AUTO, 0, 3, 1, \
     "auto|exact|rounded|cut"}
#define END_PARAM \
    {"end", "the last level: no noise at all, the first step (of discrete paths), or the level " \
            "before it again", \
     VN_END_ZERO, 0, 2, 1, "zero|first|last"}
#define SPAN_PARAMS \
    {"sigma_min", "smallest sigma/alpha, or sigma of a flow, before 0; 0: the path's", \
     0, 0, 1e6, 0, NULL}, \
    {"sigma_max", "the largest; 0: the path's", 0, 0, 1e6, 0, NULL}, \
    {"over", "between the path's ends, or those of the grid leading or trailing", PATH, 0, 2, 1, \
     "path|leading|trailing"}, \
    {"offset", "steps_offset of over=leading", 0, 0, 1e5, 1, NULL}, \
    TIMESTEP_PARAM, \
    END_PARAM
/* clang-format on */
enum { MIN, MAX, OVER, OFFSET, TIMESTEP, END }; /* of SPAN_PARAMS, from where they begin in a row */
enum { PATH, LEADING, TRAILING };               /* values of OVER */
enum { AUTO };                                  /* and of TIMESTEP; then VN_TIME_EXACT + 1, ... */

/* ---- ends ------------------------------------------------------------------------------------ */

typedef struct noise_span {
    double max, min;
} noise_span;

static double clock_at(const vn_path *p, double t) {
    vn_level l = vn_path_level(p, t);
    return vn_path_clock(p, &l);
}

static double clock_of_step(const vn_path *p, double step) {
    return clock_at(p, (step + 1) / p->steps);
}

/* The first and last level of N steps of the grid that `over` names. */
static vn_status ends_of_grid(const vn_choice *c, int at, const vn_path *p, int steps,
                              noise_span *out, vn_err *err) {
    const int whole = p->steps / steps;
    const double offset = c->value[at + OFFSET], stride = whole, even = (double)p->steps / steps;
    const bool leading = c->value[at + OVER] == LEADING;
    if (!p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: over is for discrete paths", c->row->name);
    if (!leading && c->given[at + OFFSET])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: offset has no effect but on over=leading",
                       c->row->name);
    const double max = leading ? (steps - 1) * stride + offset : p->steps - 1;
    if (max > p->steps - 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: step %g is above the path's last, %d",
                       c->row->name, max, p->steps - 1);
    out->max = clock_of_step(p, max);
    out->min = clock_of_step(p, leading ? offset : rint(p->steps - (steps - 1) * even) - 1);
    return VN_OK;
}

static vn_status check_end(const vn_choice *c, int end, const vn_path *p, vn_err *err) {
    if (p->steps || c->value[end] != VN_END_FIRST) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: end=first is for discrete paths; %s is continuous",
                   c->row->name, p->row->row.name);
}

/* The span by the parameters from `at` on. Bounds are often quoted to five digits, so one slightly
 * above the path's own is taken as the path's. */
static vn_status find_span(const vn_choice *c, int at, const vn_path *p, int steps, noise_span *out,
                           vn_err *err) {
    const double wanted_min = c->value[at + MIN], wanted_max = c->value[at + MAX];
    *out = (noise_span){clock_at(p, 1), clock_at(p, p->row->min_time(p))};
    if (c->value[at + OVER] == PATH && c->given[at + OFFSET])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: offset has no effect but on over=leading",
                       c->row->name);
    vn_status status =
        c->value[at + OVER] == PATH ? VN_OK : ends_of_grid(c, at, p, steps, out, err);
    if (!status) status = check_end(c, at + END, p, err);
    if (status) return status;
    if (isinf(out->max)) out->max = VN_PURE_NOISE_RATIO;
    if (wanted_max > out->max * 1.0001)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_max %g is above the path's largest, %g",
                       c->row->name, wanted_max, out->max);
    if (wanted_max > 0) out->max = fmin(out->max, wanted_max);
    if (wanted_min > 0) out->min = wanted_min;
    if (out->min < out->max || steps == 1) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_min %g is not below sigma_max %g", c->row->name,
                   out->min, out->max);
}

/* ---- the last level, and the time that the network is given ---------------------------------- */

/* The last level, by the parameter `end`. */
static vn_level last_level(const vn_path *p, int end, vn_level zero, const vn_level *before) {
    return end == VN_END_ZERO ? zero : end == VN_END_FIRST ? vn_path_level_of_step(p, 0) : *before;
}

/* Applies the parameters `timestep` and `end` to levels that are filled. solver_time: what
 * timestep=auto means for samplers with VN_SPACING_EXTRA. */
static void finish(const vn_choice *c, int at, const vn_path *p, vn_spacing spacing,
                   int solver_time, int steps, vn_level *level, vn_level *last) {
    const int wanted = (int)c->value[at + TIMESTEP];
    const int how = wanted != AUTO                            ? wanted - 1
                    : p->steps && spacing == VN_SPACING_EXTRA ? solver_time
                                                              : VN_TIME_EXACT;
    for (int i = 0; i < steps; i++) vn_level_set_time(p, &level[i], how);
    *last = last_level(p, (int)c->value[at + END], *last, &level[steps - 1]);
}

/* ---- karras ---------------------------------------------------------------------------------- */

enum { RHO, SPAN };
static const vn_param karras_params[] = {
    {"rho", "steps crowd at low noise as this grows", 7, 0.1, 100, 0, NULL},
    SPAN_PARAMS,
    {0},
};

static vn_status fill_karras(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                             vn_level *level, vn_level *last, vn_err *err) {
    const double rho = c->value[RHO];
    noise_span ends = {0};
    vn_status status = find_span(c, SPAN, p, steps, &ends, err);
    if (status) return status;
    const double max = pow(ends.max, 1 / rho), min = pow(ends.min, 1 / rho);
    for (int i = 0; i < steps; i++)
        level[i] = vn_path_level_of_clock(p, pow(vn_linspace(max, min, i, steps), rho));
    finish(c, SPAN, p, spacing, VN_TIME_NEAREST, steps, level, last);
    return VN_OK;
}

static bool is_over_leading(const vn_choice *c) {
    return c->value[SPAN + OVER] == LEADING;
}

const vn_grid_row vn_karras_grid = {
    .row = {"karras", "evenly in the rho-th root of the noise level, then 0", "2206.00364",
            karras_params},
    .begins_unit = is_over_leading,
    .fill = fill_karras,
};

/* ---- exponential ----------------------------------------------------------------------------- */

static const vn_param exponential_params[] = {
    {"rho", "above 1, steps crowd at low noise (k-diffusion's polyexponential)", 1, 0.1, 100, 0,
     NULL},
    SPAN_PARAMS,
    {0},
};

static vn_status fill_exponential(const vn_choice *c, const vn_path *p, vn_spacing spacing,
                                  int steps, vn_level *level, vn_level *last, vn_err *err) {
    noise_span ends = {0};
    vn_status status = find_span(c, SPAN, p, steps, &ends, err);
    if (status) return status;
    const double rise = log(ends.max / ends.min);
    for (int i = 0; i < steps; i++) {
        const double part = pow(vn_linspace(1, 0, i, steps), c->value[RHO]);
        level[i] = vn_path_level_of_clock(p, i ? ends.min * exp(part * rise) : ends.max);
    }
    finish(c, SPAN, p, spacing, VN_TIME_CUT, steps, level, last);
    return VN_OK;
}

const vn_grid_row vn_exponential_grid = {
    .row = {"exponential", "evenly in the logarithm of the noise level, then 0", "k-diffusion",
            exponential_params},
    .begins_unit = is_over_leading,
    .fill = fill_exponential,
};

/* ---- beta ------------------------------------------------------------------------------------ */

enum { A, B, BETA_SPAN };
static const vn_param beta_params[] = {
    {"a", "below 1, steps crowd at low noise", 0.6, 0.1, 10, 0, NULL},
    {"b", "below 1, steps crowd at high noise", 0.6, 0.1, 10, 0, NULL},
    SPAN_PARAMS,
    {0},
};

static vn_status fill_beta(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                           vn_level *level, vn_level *last, vn_err *err) {
    noise_span ends = {0};
    vn_status status = find_span(c, BETA_SPAN, p, steps, &ends, err);
    if (status) return status;
    for (int i = 0; i < steps; i++) {
        const double part = vn_beta_quantile(c->value[A], c->value[B], vn_linspace(1, 0, i, steps));
        level[i] = vn_path_level_of_clock(p, ends.min + part * (ends.max - ends.min));
    }
    finish(c, BETA_SPAN, p, spacing, VN_TIME_CUT, steps, level, last);
    return VN_OK;
}

static bool beta_is_over_leading(const vn_choice *c) {
    return c->value[BETA_SPAN + OVER] == LEADING;
}

const vn_grid_row vn_beta_grid = {
    .row = {"beta", "at quantiles of a beta distribution over the noise level, then 0",
            "2407.12173", beta_params},
    .begins_unit = beta_is_over_leading,
    .fill = fill_beta,
};

/* ---- lu-lambda ------------------------------------------------------------------------------- */

static double lambda_at(const vn_path *p, double t) {
    vn_level l = vn_path_level(p, t);
    return vn_level_lambda(&l);
}

enum { LU_TIMESTEP, LU_END };
static const vn_param lu_lambda_params[] = {TIMESTEP_PARAM, END_PARAM, {0}};

/* A flow begins at pure noise, where lambda is infinite; the spacing takes sigma as far from 1
 * there as the last level's is from 0. */
static vn_status fill_lu_lambda(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                                vn_level *level, vn_level *last, vn_err *err) {
    const vn_status status = check_end(c, LU_END, p, err);
    if (status) return status;
    const double end = p->row->min_time(p), min = lambda_at(p, end);
    const bool pure = p->row->straight_k && vn_path_level(p, 1).alpha == 0;
    double max = lambda_at(p, pure ? 1 - end : 1);
    if (isinf(max)) max = -log(VN_PURE_NOISE_RATIO);
    for (int i = 0; i < steps; i++)
        level[i] = vn_path_level_of_ratio(p, exp(-vn_linspace(max, min, i, steps)));
    if (pure) level[0] = vn_path_level(p, 1);
    const int wanted = (int)c->value[LU_TIMESTEP];
    const bool whole = p->steps && spacing == VN_SPACING_EXTRA;
    const int how = wanted != AUTO ? wanted - 1 : whole ? VN_TIME_NEAREST : VN_TIME_EXACT;
    for (int i = 0; i < steps; i++) vn_level_set_time(p, &level[i], how);
    *last = last_level(p, (int)c->value[LU_END], *last, &level[steps - 1]);
    return VN_OK;
}

const vn_grid_row vn_lu_lambda_grid = {
    .row = {"lu-lambda", "evenly in log(alpha/sigma), then 0", "2206.00927", lu_lambda_params},
    .fill = fill_lu_lambda,
};
