/* table.c - the samplers and the grids. */
#include "sample/internal.h"

#define SAMPLER(name) &vn_##name##_sampler,
static const vn_sampler_row *const samplers[] = {VN_SAMPLERS(SAMPLER)};

/* k-diffusion's, diffusers' and web interfaces'; what only adds to a row's name is found
 * without. */
static const vn_word words[] = {{"dpm-solver", "dpm"},
                                {"dpm-solver++", "dpmpp"},
                                {"dpm-solver-pp", "dpmpp"},
                                {"dpm-solver-2", "dpm"},
                                {"dpm-solver-multistep", "dpmpp"},
                                {"dpm-solver-singlestep", "dpmpp-s"},
                                {"dpm-solver-sde", "dpmpp-sde"},
                                {"dpm-solver++2m", "dpmpp-2m"},
                                {"dpm-solver++3m", "dpmpp-3m"},
                                {"dpm-solver++2s", "dpmpp-2s"},
                                {"dpm-fast", "dpm-s"},
                                {"edm", "heun"},
                                {"ancestral", "ddpm"},
                                {"em", "euler-maruyama"},
                                {"predictor-corrector", "pc"},
                                {"runge-kutta", "rk4"},
                                {"ode", "dopri5"},
                                {"sde", "euler-maruyama"},
                                {NULL, NULL}};
const vn_table vn_samplers = {"sampler", samplers, 0, VN_COUNT(samplers), words, NULL};

const char *vn_sampler_usual(const vn_path *path, const char *guide) {
    const char *own = path->row->sampler;
    vn_choice c;
    vn_err err;
    if (vn_choice_parse(own, &vn_samplers, &c, &err)) return own;
    const unsigned lacks = vn_guides_need(guide) & ~((const vn_sampler_row *)c.row)->abilities;
    return lacks & VN_NEEDS_SDE ? "euler-maruyama" : lacks & VN_NEEDS_X0_EPS ? "euler" : own;
}

#define GRID(name) &vn_##name##_grid,
static const vn_grid_row *const grids[] = {VN_GRIDS(GRID)};
const vn_table vn_grids = {"grid", grids, 0, VN_COUNT(grids), NULL, NULL};
