/* table.c - the samplers and the grids. */
#include "sample/internal.h"

#include <math.h>

static const vn_param ddim_params[] = {
    {"eta", "0: no noise; 1: that of ddpm", 0, 0, 1, 0, NULL},
    {0},
};
static const vn_param ddpm_params[] = {
    {"variance", "of a step's noise: the posterior's for known x0, or the forward step's", VN_VARIANCE_SMALL, 0, 1, 1,
     "small|large"},
    {0},
};
static const vn_param churn_params[] = {
    {"churn", "noise that is put back, summed over the steps", 0, 0, 1e4, 0, NULL},
    {"tmin", "only where sigma/alpha is at least this", 0, 0, 1e9, 0, NULL},
    {"tmax", "and at most this", 1e9, 0, 1e9, 0, NULL},
    {"noise", "standard deviation of that noise", 1, 0, 2, 0, NULL},
    {0},
};
static const vn_param karras_params[] = {
    {"rho", "steps crowd at low noise as this grows", 7, 0.1, 100, 0, NULL},
    {0},
};
static const vn_param uniform_params[] = {
    {"shift", "t becomes shift t / (1 + (shift - 1) t): above 1 spends more steps at high noise", 1, 0.01, 100, 0,
     NULL},
    {0},
};

// clang-format off
const vn_sampler_row vn_sampler_rows[] = {
    {{"ddpm", "ancestral sampling", "2006.11239", ddpm_params}, VN_SPACING_WHOLE, 3, NULL, vn_ddpm_step},
    {{"ddim", "along the ODE, or with part of ddpm's noise", "2010.02502", ddim_params},
     VN_SPACING_WHOLE, 3, NULL, vn_ddim_step},
    {{"euler", "Euler's rule on the ODE, with EDM's churn", "2206.00364", churn_params},
     VN_SPACING_BETWEEN, 2, vn_churn_check, vn_euler_step},
    {{"heun", "Heun's rule on the ODE, order 2, with EDM's churn", "2206.00364", churn_params},
     VN_SPACING_BETWEEN, 5, vn_churn_check, vn_heun_step},
    {{"dpmpp-2m", "DPM-Solver++, two steps, order 2", "2211.01095", NULL},
     VN_SPACING_EXTRA, 3, NULL, vn_dpmpp_2m_step},
};
const size_t vn_sampler_row_count = VN_COUNT(vn_sampler_rows);

const vn_grid_row vn_grid_rows[] = {
    {{"leading", "every (T/N)th step from 1 on; ends on step 0", "diffusers", NULL}, true, vn_leading_fill},
    {{"linspace", "evenly from the noisiest to the least noisy level, then 0", "diffusers", NULL}, false, vn_linspace_fill},
    {{"trailing", "every (T/N)th step from the last down, then 0", "2305.08891", NULL}, true, vn_trailing_fill},
    {{"uniform", "evenly in t from 1 to 0", "2403.03206", uniform_params}, false, vn_uniform_fill},
    {{"karras", "evenly in the rho-th root of the noise level, then 0", "2206.00364", karras_params}, false, vn_karras_fill},
    {{"exponential", "evenly in the logarithm of the noise level, then 0", "k-diffusion", NULL}, false, vn_exponential_fill},
};
// clang-format on
const size_t vn_grid_row_count = VN_COUNT(vn_grid_rows);
