/* grid.c - grids on the steps of a discrete path: leading, linspace and trailing are diffusers'
 * timestep_spacing with steps_offset 1 (table 2 of 2305.08891), unless parameters say otherwise:
 * `offset` is its steps_offset, `end` where the levels end (its set_alpha_to_one or
 * final_sigmas_type), `top` its lambda_min_clipped in steps. How levels between two steps are
 * treated depends on the scheduler that a sampler follows (vn_spacing).
 *
 * linspace is also for continuous paths, where it is even in t, shifted as in grid_time.c if
 * `shift` is given. On the rectified path it is set_timesteps(N) of diffusers' FlowMatchEuler- and
 * FlowMatchHeunDiscreteScheduler. Those shift the path's smallest t before they space the levels,
 * and then every t; so the smallest t is shifted twice here as well. */
#include "sample/internal.h"

#include <math.h>

/* sigma/alpha of a step; for pure noise, the last step of zero_snr, diffusers' largest value. */
static double ratio_of_step(const vn_path *p, double step) {
    vn_level l = vn_path_level_of_step(p, step);
    return l.alpha > 0 ? vn_level_ratio(&l) : VN_PURE_NOISE_RATIO;
}

/* sigma/alpha interpolated linearly between two steps. */
static vn_level between(const vn_path *p, double step) {
    double k = fmin(floor(step), p->steps - 2), part = step - k;
    vn_level l = vn_path_level_of_ratio(p, (1 - part) * ratio_of_step(p, k) +
                                               part * ratio_of_step(p, k + 1));
    vn_level_set_step(p, &l, step);
    return l;
}

/* The last level, by the parameter `end`, where the last step begins at `before`. */
static vn_level last_level(const vn_path *p, int end, const vn_level *before) {
    return end == VN_END_ZERO   ? vn_level_clean
           : end == VN_END_LAST ? *before
                                : vn_path_level_of_step(p, 0);
}

#define TOP_SUMMARY "steps of the path that are used, from the least noisy on; 0: all"

static vn_status find_top(const vn_choice *c, double wanted, const vn_path *p, int *top,
                          vn_err *err) {
    *top = wanted > 0 ? (int)wanted : p->steps;
    if (*top <= p->steps) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: top=%d is more steps than the path's %d",
                   c->row->name, *top, p->steps);
}

/* ---- leading --------------------------------------------------------------------------------- */

enum { OFFSET, LEADING_END, LEADING_TOP };
static const vn_param leading_params[] = {
    {"offset", "the step before the last level", 1, 0, 1e5, 1, NULL},
    {"end", "the last level: no noise at all, or the first step", VN_END_FIRST, 0, 1, 1,
     "zero|first"},
    {"top", TOP_SUMMARY, 0, 0, 1e5, 1, NULL},
    {0},
};

static vn_status fill_leading(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                              vn_level *level, vn_level *last, vn_err *err) {
    int top = 0, offset = (int)c->value[OFFSET];
    vn_status status = find_top(c, c->value[LEADING_TOP], p, &top, err);
    if (status) return status;
    int n = spacing == VN_SPACING_EXTRA ? steps + 1 : steps, stride = top / n;
    if (stride == 0 || (n - 1) * stride + offset >= p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "leading: %d steps are too many on a path of %d",
                       steps, p->steps);
    for (int i = 0; i < steps; i++)
        level[i] = vn_path_level_of_step(p, (n - 1 - i) * stride + offset);
    *last = last_level(p, (int)c->value[LEADING_END], &level[steps - 1]);
    return VN_OK;
}

static bool leading_begins_unit(const vn_choice *c) {
    (void)c;
    return true;
}

const vn_grid_row vn_leading_grid = {
    .row = {"leading", "every (T/N)th step from 1 on; ends on step 0", "2305.08891",
            leading_params},
    .discrete = true,
    .begins_unit = leading_begins_unit,
    .fill = fill_leading,
};

/* ---- trailing -------------------------------------------------------------------------------- */

enum { TRAILING_END, OF };
static const vn_param trailing_params[] = {
    {"end", "the last level: no noise at all, or the first step", VN_END_ZERO, 0, 1, 1,
     "zero|first"},
    {"of",
     "the levels are taken from so many, as latent consistency models are made for; 0: from all", 0,
     0, 1e5, 1, NULL},
    {0},
};

/* Step i of N, taken from `of` levels on every (T/of)th step: the (i of/N)th, rounded down. */
static double step_of(const vn_path *p, int of, int steps, int i) {
    const int64_t left = of - (int64_t)i * of / steps, stride = p->steps / of;
    return (double)(left * stride) - 1;
}

static vn_status fill_trailing(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                               vn_level *level, vn_level *last, vn_err *err) {
    (void)spacing;
    const int of = (int)c->value[OF];
    if (of > p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "trailing: of=%d is more steps than the path's %d", of,
                       p->steps);
    if (of && steps > of)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "trailing: %d steps are more than the %d levels they are taken from", steps,
                       of);
    double stride = (double)p->steps / steps;
    for (int i = 0; i < steps; i++)
        level[i] = vn_path_level_of_step(p, of ? step_of(p, of, steps, i)
                                               : rint(p->steps - i * stride) - 1);
    *last = last_level(p, (int)c->value[TRAILING_END], &level[steps - 1]);
    return VN_OK;
}

const vn_grid_row vn_trailing_grid = {
    .row = {"trailing", "every (T/N)th step from the last down, then 0", "2305.08891",
            trailing_params},
    .discrete = true,
    .fill = fill_trailing,
};

/* ---- linspace -------------------------------------------------------------------------------- */

enum { SHIFT, EXTRA, MIN_T, TERMINAL, TIMESTEP, END, TOP };
enum { SHIFTED, UNSHIFTED };
static const vn_param linspace_params[] = {
    {"shift", "continuous paths: t becomes shift t / (1 + (shift - 1) t), the smallest t twice", 1,
     0.01, 100, 0, NULL},
    {"extra", "continuous paths: 1 for a grid with one more level, whose last is dropped", 0, 0, 1,
     1, NULL},
    {"least", "continuous paths: the smallest t is shifted before the others are spread, or not",
     SHIFTED, 0, 1, 1, "shifted|plain"},
    {"terminal",
     "continuous paths: 1 - t is scaled so that the last t before 0 is this; 0: as it falls", 0, 0,
     0.99, 0, NULL},
    VN_TIMESTEP_PARAM,
    {"end", "the last level: no noise at all, the first step, or the level before it again",
     VN_END_ZERO, 0, 2, 1, "zero|first|last"},
    {"top", TOP_SUMMARY, 0, 0, 1e5, 1, NULL},
    {0},
};

static void linspace_of_steps(const vn_path *p, vn_spacing spacing, int steps, int top,
                              vn_level *level) {
    int n = spacing == VN_SPACING_EXTRA ? steps + 1 : steps;
    for (int i = 0; i < steps; i++) {
        double step = vn_linspace(top - 1, 0, i, n);
        level[i] =
            spacing == VN_SPACING_BETWEEN ? between(p, step) : vn_path_level_of_step(p, rint(step));
    }
}

static void linspace_of_t(const vn_choice *c, const vn_path *p, int steps, vn_level *level) {
    const double shift = c->value[SHIFT], terminal = c->value[TERMINAL], own = p->row->min_time(p);
    const double min_t = c->value[MIN_T] == UNSHIFTED ? own : vn_shifted(own, shift);
    const int n = c->value[EXTRA] != 0 ? steps + 1 : steps;
    const double end = vn_shifted(vn_linspace(1, min_t, steps - 1, n), shift);
    const double stretch = terminal > 0 && end < 1 ? (1 - terminal) / (1 - end) : 1;
    for (int i = 0; i < steps; i++) {
        const double t = vn_shifted(vn_linspace(1, min_t, i, n), shift);
        level[i] = vn_path_level(p, stretch == 1 ? t : 1 - stretch * (1 - t));
        vn_level_set_time(p, &level[i], (int)c->value[TIMESTEP]);
    }
}

/* Refuses parameters that have no effect on the kind of path. */
static vn_status check_linspace(const vn_choice *c, const vn_path *p, vn_err *err) {
    const bool flow = c->given[SHIFT] || c->given[EXTRA] || c->given[MIN_T] || c->given[TERMINAL] ||
                      c->given[TIMESTEP];
    if (p->steps && flow)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "linspace: shift, extra, least, terminal and timestep have no effect on the "
                       "steps of %s",
                       p->row->row.name);
    if (!p->steps && (c->given[TOP] || c->value[END] == VN_END_FIRST))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "linspace: top and end=first are for discrete paths; %s is continuous",
                       p->row->row.name);
    return VN_OK;
}

static vn_status fill_linspace(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                               vn_level *level, vn_level *last, vn_err *err) {
    int top = 0;
    vn_status status = check_linspace(c, p, err);
    if (!status) status = find_top(c, c->value[TOP], p, &top, err);
    if (status) return status;
    if (p->steps)
        linspace_of_steps(p, spacing, steps, top, level);
    else
        linspace_of_t(c, p, steps, level);
    *last = last_level(p, (int)c->value[END], &level[steps - 1]);
    return VN_OK;
}

const vn_grid_row vn_linspace_grid = {
    .row = {"linspace", "evenly from the noisiest to the least noisy level, then 0", "2305.08891",
            linspace_params},
    .fill = fill_linspace,
};
