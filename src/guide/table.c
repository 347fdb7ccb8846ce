/* table.c - the guides. The first rule is the one used when none is named. */
#include "guide/internal.h"

#include <math.h>

static const vn_param interval_params[] = {
    {"lo", "gamma holds where sigma/alpha is above this", 0.28, 0, 1e9, 0, NULL},
    {"hi", "and not above this", 1.61, 0, 1e9, 0, NULL},
    {0},
};
static const vn_param schedule_params[] = {
    {"shape", "how gamma - 1 grows from noise to data; its mean over t stays", VN_SHAPE_LINEAR, 0, 3, 1,
     "constant|linear|cosine|power"},
    {"power", "exponent of shape=power", 2, 0, 32, 0, NULL},
    {0},
};

// clang-format off
const vn_guide_row vn_guide_rows[] = {
    {.row = {"cfg", "null + gamma (conditional - null)", "2207.12598", NULL},
     .stage = VN_GUIDE_RULE, .needs = VN_NEEDS_NULL | VN_NEEDS_CLASSES, .passes = 2,
     .plan = vn_cfg_plan, .combine = vn_cfg_combine},
    {.row = {"interval", "gamma only between two noise levels, 1 outside", "2404.07724", interval_params},
     .stage = VN_GUIDE_STRENGTH, .check = vn_interval_check, .strength = vn_interval_strength},
    {.row = {"schedule", "gamma - 1 times a function of t", "2404.13040", schedule_params},
     .stage = VN_GUIDE_STRENGTH, .check = vn_schedule_check, .strength = vn_schedule_strength},
};
// clang-format on
const size_t vn_guide_row_count = VN_COUNT(vn_guide_rows);
