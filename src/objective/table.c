/* table.c - the objectives, and the ways in which t is drawn. */
#include "objective/internal.h"

static const vn_param weight_params[] = {
    {"weight", "how much each noise level counts", VN_WEIGHT_NONE, 0, 2, 1, "none|min-snr|edm"},
    {"gamma", "min-snr's bound on the signal-to-noise ratio (2303.09556)", 5, 1e-3, 1e6, 0, NULL},
    {"sigma_data", "edm's standard deviation of the data (2206.00364)", 0.5, 1e-3, 1e3, 0, NULL},
    {0},
};
static const vn_param logit_normal_params[] = {
    {"mean", "of log(t / (1 - t))", 0, -20, 20, 0, NULL},
    {"std", "its standard deviation", 1, 1e-3, 20, 0, NULL},
    {"stratified", "cover the distribution evenly in every batch", 0, 0, 1, 1, "no|yes"},
    {0},
};
static const vn_param edm_params[] = {
    {"mean", "of log(sigma / alpha)", -1.2, -20, 20, 0, NULL},
    {"std", "its standard deviation", 1.2, 1e-3, 20, 0, NULL},
    {"stratified", "cover the distribution evenly in every batch", 0, 0, 1, 1, "no|yes"},
    {0},
};

// clang-format off
const vn_objective_row vn_objective_rows[] = {
    {{"dsm", "denoising score matching: regression on x0, noise or a mix", "2011.13456", weight_params},
     "x0|eps|v|score|edm", vn_regression_check, vn_regression_weight, vn_regression_loss},
    {{"cfm", "conditional flow matching: regression on the path's velocity, data and noise drawn independently", "2302.00482",
      weight_params},
     "velocity", vn_regression_check, vn_regression_weight, vn_regression_loss},
};
const size_t vn_objective_row_count = VN_COUNT(vn_objective_rows);

const vn_times_row vn_times_rows[] = {
    {{"uniform", "t uniform in (0, 1], or on the steps of a discrete path", "2006.11239", NULL}, false, vn_uniform_quantile},
    {{"stratified", "uniform, spread evenly over every batch", "2107.00630", NULL}, true, vn_uniform_quantile},
    {{"logit-normal", "log(t / (1 - t)) normal", "2403.03206", logit_normal_params}, false, vn_logit_normal_quantile},
    {{"edm", "log(sigma / alpha) normal", "2206.00364", edm_params}, false, vn_log_normal_quantile},
};
// clang-format on
const size_t vn_times_row_count = VN_COUNT(vn_times_rows);
