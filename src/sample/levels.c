/* levels.c - the levels of a sampling run: by a grid, or as the user lists them. */
#include "sample/internal.h"

#include <math.h>

void vn_level_set_step(const vn_path *p, vn_level *l, double step) {
    l->rounding = (step + 1) / p->steps - l->t;
}

#define NEARLY_WHOLE 1e-4 /* of a step: the error of float32 logarithms */
#define FLOW_STEPS   1000 /* of a flow, in its network's time */

void vn_level_set_time(const vn_path *p, vn_level *l, int how) {
    const double steps = p->steps ? p->steps : FLOW_STEPS, first = p->steps ? 1 : 0,
                 step = l->t * steps - first;
    if (how == VN_TIME_EXACT) return;
    double given = how == VN_TIME_NEAREST ? rint(step) : floor(step + NEARLY_WHOLE);
    /* diffusers' UniPC begins 1e-6 below 1 */
    if (how == VN_TIME_CUT && !p->steps) given = fmin(given, FLOW_STEPS - 1);
    l->rounding = (given + first) / steps - l->t;
}

/* Replaces pure noise at the first level by the largest finite sigma/alpha, or, where the second
 * level is noisier than that, by twice that of the second. */
static void leave_pure_noise(const vn_path *p, vn_spacing spacing, vn_level *first) {
    if (first->alpha > 0 || p->row->straight_k || spacing == VN_SPACING_WHOLE) return;
    *first = vn_path_level_of_ratio(p, fmax(VN_PURE_NOISE_RATIO, 2 * vn_level_ratio(first + 1)));
    vn_level_set_step(p, first, p->steps - 1);
}

/* Whether the last step, which begins here, ends on the same level, as in some of diffusers'
 * grids. */
static bool stays(const vn_level *l) {
    return l[0].alpha == l[1].alpha && l[0].sigma == l[1].sigma;
}

vn_status vn_grid_levels(const char *text, const vn_path *p, vn_spacing spacing, int steps,
                         vn_level *level, vn_err *err) {
    return vn_grid_levels_of(text, 0, p, spacing, steps, level, err);
}

vn_status vn_grid_levels_of(const char *text, int64_t tokens, const vn_path *p, vn_spacing spacing,
                            int steps, vn_level *level, vn_err *err) {
    vn_choice c;
    vn_status status = vn_choice_parse(text, &vn_grids, &c, err);
    if (status) return status;
    const vn_grid_row *row = (const vn_grid_row *)c.row;
    if (row->tokens && c.value[row->tokens - 1] == 0)
        c.value[row->tokens - 1] = tokens ? (double)tokens : VN_FLUX_TOKENS;
    if (row->discrete && !p->steps)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the grid %s is for discrete paths, such as ddpm; %s is continuous",
                       row->row.name, p->row->row.name);
    level[steps] = vn_level_clean;
    status = row->fill(&c, p, spacing, steps, level, &level[steps], err);
    if (!status) leave_pure_noise(p, spacing, level);
    for (int i = 0; i < steps && !status; i++)
        if (!(vn_level_ratio(&level[i]) > vn_level_ratio(&level[i + 1])) &&
            !(i == steps - 1 && stays(&level[i])))
            status =
                vn_fail(err, VN_BAD_ARGUMENT, "the grid %s has no %d different levels on this path",
                        row->row.name, steps);
    return status;
}

vn_status vn_sigma_levels(const double *sigmas, size_t count, const vn_path *p, vn_spacing spacing,
                          vn_level *level, vn_err *err) {
    if (count < 2 || count - 1 > VN_MAX_STEPS)
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: %zu numbers are not between 2 and %d", count,
                       VN_MAX_STEPS + 1);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(sigmas[i]))
            return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: number %zu is not finite", i + 1);
        if (i && sigmas[i] >= sigmas[i - 1])
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "sigmas: number %zu, %g, is not below the one before, %g", i + 1,
                           sigmas[i], sigmas[i - 1]);
    }
    if (sigmas[count - 1] != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: the last number is %g, not 0",
                       sigmas[count - 1]);
    vn_level noisiest = vn_path_level(p, 1);
    bool bounded = noisiest.alpha < 1; /* where alpha is 1 any sigma is a level */
    if (bounded && sigmas[0] > noisiest.sigma * (1 + 1e-6))
        return vn_fail(err, VN_BAD_ARGUMENT, "sigmas: %.9g is above the path's largest sigma, %.9g",
                       sigmas[0], noisiest.sigma);
    for (size_t i = 0; i < count; i++)
        level[i] = vn_path_level_of_sigma(p, bounded ? fmin(sigmas[i], noisiest.sigma) : sigmas[i]);
    leave_pure_noise(p, spacing, level);
    return VN_OK;
}
