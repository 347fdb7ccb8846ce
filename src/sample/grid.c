/* grid.c - which noise levels a walk visits. On a discrete path leading, linspace and trailing are diffusers' timestep_spacing
 * with steps_offset 1; where that falls between two steps depends on the sampler it is compared with, hence vn_spacing. karras and
 * exponential run in the path's clock: sigma/alpha, or sigma of a flow. */
#include "sample/internal.h"

#include <math.h>

/* ---- on the steps of a discrete path ------------------------------------------------------------------------ */

/* sigma/alpha interpolated straight between two steps. */
static vn_level between(const vn_path *p, double step) {
    double k = fmin(floor(step), p->steps - 2), part = step - k;
    vn_level low = vn_path_level_of_step(p, k), high = vn_path_level_of_step(p, k + 1);
    vn_level l = vn_path_level_of_ratio(p, (1 - part) * vn_level_ratio(&low) + part * vn_level_ratio(&high));
    l.t = (step + 1) / p->steps; // what the network is told is the step, not the inverse of the level
    return l;
}

vn_status vn_leading_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                          vn_level *last, vn_err *err) {
    (void)c;
    int n = spacing == VN_SPACING_EXTRA ? steps + 1 : steps, stride = p->steps / n;
    if ((n - 1) * stride + 1 >= p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "leading: %d steps are too many on a path of %d", steps, p->steps);
    for (int i = 0; i < steps; i++) level[i] = vn_path_level_of_step(p, (n - 1 - i) * stride + 1);
    *last = vn_path_level_of_step(p, 0);
    return VN_OK;
}

vn_status vn_trailing_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                           vn_level *last, vn_err *err) {
    (void)c, (void)spacing, (void)last, (void)err;
    double stride = (double)p->steps / steps;
    for (int i = 0; i < steps; i++) level[i] = vn_path_level_of_step(p, rint(p->steps - i * stride) - 1);
    return VN_OK;
}

static void linspace_steps(const vn_path *p, vn_spacing spacing, int steps, vn_level *level) {
    int n = spacing == VN_SPACING_EXTRA ? steps + 1 : steps;
    double top = p->steps - 1, stride = n > 1 ? top / (n - 1) : 0;
    for (int i = 0; i < steps; i++) {
        double step = i ? stride * (n - 1 - i) : top;
        level[i] = spacing == VN_SPACING_BETWEEN ? between(p, step) : vn_path_level_of_step(p, rint(step));
    }
}

/* ---- in t ---------------------------------------------------------------------------------------------------- */

/* i of steps values evenly from a to b, both included. */
static double spread(double a, double b, int i, int steps) {
    return steps > 1 ? a + (b - a) * i / (steps - 1) : a;
}

vn_status vn_linspace_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                           vn_level *last, vn_err *err) {
    (void)c, (void)last, (void)err;
    if (p->steps)
        linspace_steps(p, spacing, steps, level);
    else
        for (int i = 0; i < steps; i++) level[i] = vn_path_level(p, spread(1, p->row->least(p), i, steps));
    return VN_OK;
}

vn_status vn_uniform_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                          vn_level *last, vn_err *err) {
    (void)spacing, (void)last, (void)err;
    double shift = c->value[VN_UNIFORM_SHIFT];
    for (int i = 0; i < steps; i++) {
        double t = (double)(steps - i) / steps;
        level[i] = vn_path_level(p, shift * t / (1 + (shift - 1) * t));
    }
    return VN_OK;
}

/* ---- in the clock ---------------------------------------------------------------------------------------------- */

static double clock_at(const vn_path *p, double t) {
    vn_level l = vn_path_level(p, t);
    return vn_path_clock(p, &l);
}

vn_status vn_karras_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                         vn_level *last, vn_err *err) {
    (void)spacing, (void)last, (void)err;
    double rho = c->value[VN_KARRAS_RHO];
    double most = pow(clock_at(p, 1), 1 / rho), least = pow(clock_at(p, p->row->least(p)), 1 / rho);
    for (int i = 0; i < steps; i++) level[i] = vn_path_level_of_clock(p, pow(spread(most, least, i, steps), rho));
    return VN_OK;
}

vn_status vn_exponential_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                              vn_level *last, vn_err *err) {
    (void)c, (void)spacing, (void)last, (void)err;
    double most = log(clock_at(p, 1)), least = log(clock_at(p, p->row->least(p)));
    for (int i = 0; i < steps; i++) level[i] = vn_path_level_of_clock(p, exp(spread(most, least, i, steps)));
    return VN_OK;
}

/* ---- levels of a walk ------------------------------------------------------------------------------------------ */

vn_status vn_grid_levels(const char *text, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                         vn_err *err) {
    vn_choice c;
    vn_status s = vn_choice_parse(text, vn_grid_rows, sizeof *vn_grid_rows, vn_grid_row_count, "grid", &c, err);
    if (s) return s;
    const vn_grid_row *row = &vn_grid_rows[c.index];
    if (row->discrete && !p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "the grid %s is for paths with steps, such as ddpm; %s has none",
                       row->row.name, p->row->row.name);
    level[steps] = vn_level_clean;
    s = row->fill(&c, p, spacing, steps, level, &level[steps], err);
    for (int i = 0; i < steps && !s; i++)
        if (!(vn_level_ratio(&level[i]) > vn_level_ratio(&level[i + 1])))
            s = vn_fail(err, VN_BAD_ARGUMENT, "the grid %s has no %d different levels on this path", row->row.name,
                        steps);
    return s;
}

vn_status vn_sigma_levels(const double *sigmas, size_t count, const vn_path *p, vn_level *level, vn_err *err) {
    if (count < 2 || count - 1 > VN_MAX_STEPS)
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: %zu numbers are not between 2 and %d", count, VN_MAX_STEPS + 1);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(sigmas[i])) return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: number %zu is not finite", i + 1);
        if (i && sigmas[i] >= sigmas[i - 1])
            return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: number %zu, %g, is not below the one before, %g", i + 1,
                           sigmas[i], sigmas[i - 1]);
    }
    if (sigmas[count - 1] != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: the last number is %g, not 0", sigmas[count - 1]);
    vn_level most = vn_path_level(p, 1);
    bool bounded = most.alpha < 1; // where alpha is 1 any sigma is a level
    if (bounded && sigmas[0] > most.sigma * (1 + 1e-6))
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: %.9g is above the path's largest sigma, %.9g", sigmas[0],
                       most.sigma);
    for (size_t i = 0; i < count; i++)
        level[i] = vn_path_level_of_sigma(p, bounded ? fmin(sigmas[i], most.sigma) : sigmas[i]);
    return VN_OK;
}
