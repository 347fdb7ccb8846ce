/* internal.h - what the files of sample share: the functions behind the tables' rows, and what several samplers do alike. */
#ifndef VN_SAMPLE_INTERNAL_H
#define VN_SAMPLE_INTERNAL_H

#include "sample/sample.h"

/* ---- samplers ---------------------------------------------------------------------------------------- */

vn_status vn_ddim_step(vn_step *s, vn_err *err);
vn_status vn_ddpm_step(vn_step *s, vn_err *err);
vn_status vn_churn_check(const vn_choice *c, vn_err *err);
vn_status vn_euler_step(vn_step *s, vn_err *err);
vn_status vn_heun_step(vn_step *s, vn_err *err);
vn_status vn_dpmpp_2m_step(vn_step *s, vn_err *err);

/* The rows' parameters, by their place in choice.value. */
enum { VN_DDIM_ETA };
enum { VN_DDPM_VARIANCE };
enum { VN_VARIANCE_SMALL, VN_VARIANCE_LARGE };
enum { VN_CHURN, VN_CHURN_MIN, VN_CHURN_MAX, VN_CHURN_NOISE }; /* euler and heun */

/* x = alpha x0 + sigma eps at s->to: the exact move if x0 and eps stay what they are. It is DDIM, and Euler's rule in the
 * straight coordinates of any path. */
void vn_step_move(vn_step *s, vn_pair p);
/* EDM's churn: adds noise to x, by the first four parameters, and returns the level that it then has. scratch [n,size]. */
vn_level vn_step_churn(vn_step *s, float *scratch);

/* ---- grids -------------------------------------------------------------------------------------------- */

#define VN_GRID(name)                                                                                                  \
    vn_status vn_##name##_fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,   \
                               vn_level *last, vn_err *err)
VN_GRID(leading);
VN_GRID(linspace);
VN_GRID(trailing);
VN_GRID(karras);
VN_GRID(exponential);
VN_GRID(uniform);

enum { VN_KARRAS_RHO };
enum { VN_UNIFORM_SHIFT };

/* level [steps + 1] of a grid, checked to fall. */
vn_status vn_grid_levels(const char *text, const vn_path *p, vn_spacing spacing, int steps, vn_level *level,
                         vn_err *err);
/* level [count] of a list of sigma(t), checked to fall to 0 within the path. */
vn_status vn_sigma_levels(const double *sigmas, size_t count, const vn_path *p, vn_level *level, vn_err *err);

#endif
