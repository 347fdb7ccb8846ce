/* interval.c - guidance in a limited interval of noise (2404.07724): gamma where lo < sigma/alpha <= hi, else 1. */
#include "guide/internal.h"

vn_status vn_interval_check(const vn_choice *c, vn_err *err) {
    double lo = c->value[VN_INTERVAL_LO], hi = c->value[VN_INTERVAL_HI];
    return lo < hi ? VN_OK : vn_fail(err, VN_BAD_ARGUMENT, "interval: lo=%g is not below hi=%g", lo, hi);
}

double vn_interval_strength(const vn_choice *c, const vn_level *l, double gamma) {
    double s = vn_level_ratio(l);
    return s > c->value[VN_INTERVAL_LO] && s <= c->value[VN_INTERVAL_HI] ? gamma : 1;
}
