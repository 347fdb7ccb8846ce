/* table.c - the paths. */
#include "path/internal.h"

#include <math.h>

static const vn_param ddpm_params[] = {
    {"schedule", "how beta grows, or alpha-bar falls (from cosine on)", VN_LINEAR, 0, VN_LAPLACE, 1,
     "linear|scaled-linear|cosine|sigmoid|sigmoid-bar|exp|laplace"},
    {"T", "number of steps", 1000, 2, 100000, 1, NULL},
    {"beta_start", "beta of the first step; 0: the schedule's own", 0, 0, 0.5, 0, NULL},
    {"beta_end", "beta of the last step; 0: the schedule's own", 0, 0, 0.999, 0, NULL},
    {"zero_snr", "1: alpha is moved and scaled to end at 0 (2305.08891)", 0, 0, 1, 1, NULL},
    {"start", "sigmoid-bar: where on the sigmoid it starts", -3, -20, 20, 0, NULL},
    {"end", "sigmoid-bar: where it ends", 3, -20, 20, 0, NULL},
    {"tau", "sigmoid-bar: what start and end are divided by", 1, 0.01, 100, 0, NULL},
    {0},
};
static const vn_param vp_params[] = {
    {"beta_min", "beta at t = 0", 0.1, 1e-4, 100, 0, NULL},
    {"beta_max", "beta at t = 1", 20, 1e-4, 100, 0, NULL},
    {0},
};
static const vn_param polynomial_params[] = {
    {"n", "the power", 2, 1, 16, 0, NULL},
    {"of", "what is a power: sigma = t^n, or alpha = (1-t)^n as in flow_matching", 0, 0, 1, 1,
     "sigma|alpha"},
    {0},
};
static const vn_param ve_params[] = {
    {"sigma_min", "sigma at t = 0", 0.01, 1e-6, 1e6, 0, NULL},
    {"sigma_max",
     "sigma at t = 1: about the largest distance of two samples (2006.09011), 50 for CIFAR-10", 50,
     1e-6, 1e6, 0, NULL},
    {0},
};
static const vn_param edm_params[] = {
    {"sigma_min", "smallest sigma that grids visit before 0", 0.002, 1e-6, 1e6, 0, NULL},
    {"sigma_max", "sigma at t = 1; 80 is for pictures of up to some 64 x 64 in [-1,1]", 80, 1e-6,
     1e6, 0, NULL},
    {0},
};

/* The functions of a row, by their common stem. */
#define CURVE(name)        vn_##name##_level, vn_##name##_time_of_ratio
#define PRESERVING         vn_preserving_of_sigma, vn_preserving_of_ratio
#define SUB_PRESERVING     vn_sub_preserving_of_sigma, vn_sub_preserving_of_ratio
#define EXPLODING          vn_exploding_of_sigma, vn_exploding_of_ratio
#define RECTIFIED          vn_rectified_of_sigma, vn_rectified_of_ratio
#define NETWORK_TIME(name) vn_##name##_network_time, vn_##name##_min_time

/* clang-format off */
const vn_path_row vn_path_rows[] = {
    {{"rectified", "alpha = 1-t, sigma = t: rectified flow, CondOT", "2209.03003", NULL},
     "velocity", "unipc", 16, "uniform", "logit-normal", NULL,
     CURVE(rectified), RECTIFIED, NETWORK_TIME(rectified), 1},
    {{"ddpm", "T discrete steps of variance-preserving noise", "2006.11239", ddpm_params},
     "eps", "ddim", 32, "trailing", "uniform", vn_ddpm_open,
     CURVE(ddpm), PRESERVING, NETWORK_TIME(ddpm), 0},
    {{"edm", "alpha = 1, sigma = sigma_max t", "2206.00364", edm_params},
     "edm", "heun", 32, "karras", "edm", vn_sigma_range_open,
     CURVE(edm), EXPLODING, NETWORK_TIME(edm), 0},
    {{"vp", "variance-preserving SDE with linear beta(t)", "2011.13456", vp_params},
     "eps", "dpmpp-2m", 32, "linspace", "uniform", vn_vp_open,
     CURVE(vp), PRESERVING, NETWORK_TIME(vp), 0},
    {{"sub-vp", "sub-VP SDE: alpha of vp, sigma = 1 - alpha^2", "2011.13456", vp_params},
     "eps", "dpmpp-2m", 32, "linspace", "uniform", vn_vp_open,
     CURVE(sub_vp), SUB_PRESERVING, NETWORK_TIME(sub_vp), 0},
    {{"ve", "variance-exploding SDE: alpha = 1, sigma geometric", "2011.13456", ve_params},
     "edm", "heun", 32, "linspace", "uniform", vn_sigma_range_open,
     CURVE(ve), EXPLODING, NETWORK_TIME(ve), 0},
    {{"trigonometric", "alpha = cos(pi t/2), sigma = sin(pi t/2): TrigFlow, GVP", "2303.08797",
      NULL},
     "v", "heun", 32, "uniform", "uniform", NULL,
     CURVE(trigonometric), PRESERVING, NETWORK_TIME(trigonometric), 1},
    {{"polynomial", "alpha = 1-t^n, sigma = t^n: rectified at another pace", "2412.06264",
      polynomial_params},
     "velocity", "unipc", 16, "uniform", "uniform", NULL,
     CURVE(polynomial), RECTIFIED, NETWORK_TIME(polynomial), 1},
};
/* clang-format on */
const size_t vn_path_row_count = VN_COUNT(vn_path_rows);
