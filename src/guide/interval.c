/* interval.c - guidance in a limited interval of noise (2404.07724): gamma where lo < sigma/alpha
 * <= hi, else 1. */
#include "guide/internal.h"

enum { LO, HI };
static const vn_param params[] = {
    {"lo",
     "G holds where sigma/alpha is above this; the paper's for ImageNet in latents of 64 x 64",
     0.28, 0, 1e9, 0, NULL},
    {"hi", "and not above this, likewise", 1.61, 0, 1e9, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[LO] < c->value[HI]) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "interval: lo=%g is not below hi=%g", c->value[LO],
                   c->value[HI]);
}

void vn_interval_bounds(const vn_choice *c, double *lo, double *hi) {
    *lo = c->value[LO];
    *hi = c->value[HI];
}

static double strength(const vn_choice *c, const vn_guide_at *at, double gamma) {
    const double s = vn_level_ratio(at->level);
    return s > c->value[LO] && s <= c->value[HI] ? gamma : 1;
}

const vn_guide_row vn_interval_guide = {
    .row = {"interval", "G only between two noise levels, 1 outside", "2404.07724", params},
    .stage = VN_GUIDE_STRENGTH,
    .linear = true,
    .check = check,
    .strength = strength,
};
