/* schedule.c - guidance that changes with t (2404.13040): gamma(t) = 1 + (gamma - 1) f(t), with f of mean 1 over [0,1], rising from
 * noise to data. The paper scales its omega = gamma - 1, and so does this: f = 0 is the conditional model, not the null one. */
#include "guide/internal.h"

#include <math.h>

vn_status vn_schedule_check(const vn_choice *c, vn_err *err) {
    if (!c->given[VN_SCHEDULE_POWER] || c->value[VN_SCHEDULE_SHAPE] == VN_SHAPE_POWER) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "schedule: power has no effect without shape=power");
}

double vn_schedule_strength(const vn_choice *c, const vn_level *l, double gamma) {
    double power = c->value[VN_SCHEDULE_POWER], f = 1;
    switch ((int)c->value[VN_SCHEDULE_SHAPE]) {
    case VN_SHAPE_LINEAR: f = 2 * (1 - l->t); break;
    case VN_SHAPE_COSINE: f = 1 + cos(acos(-1.0) * l->t); break;
    case VN_SHAPE_POWER: f = (power + 1) * pow(1 - l->t, power); break;
    }
    return 1 + (gamma - 1) * f;
}
