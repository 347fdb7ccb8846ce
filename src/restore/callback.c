/* callback.c - an operator of the user's: functions on one sample, in float. */
#include "restore/internal.h"

#include <math.h>

static vn_status open_callback(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const vn_callback_operator *u = o->user;
    if (!u->apply || !u->transpose)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_callback_operator: apply and transpose are both needed");
    if (u->rank != 1 && u->rank != 3)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_callback_operator: rank %d is neither 1 nor 3",
                       u->rank);
    o->observed = vn_shape_make(u->rank, u->shape);
    for (int i = 0; i < u->rank; i++)
        if (u->shape[i] < 1 || u->shape[i] > INT32_MAX || vn_shape_count(&o->observed) > INT32_MAX)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "vn_callback_operator: shape[%d] = %lld makes no observation", i,
                           (long long)u->shape[i]);
    o->as_float[0] = vn_alloc((size_t)o->size, sizeof(float));
    o->as_float[1] = vn_alloc((size_t)vn_shape_count(&o->observed), sizeof(float));
    return o->as_float[0] && o->as_float[1] ? VN_OK : vn_no_memory(err);
}

typedef vn_status (*function)(void *user, const float *in, float *out);

static void call(vn_operator *o, function f, const char *name, int from, const double *in,
                 double *out) {
    const int64_t n[2] = {o->size, vn_shape_count(&o->observed)};
    float *a = o->as_float[from], *b = o->as_float[!from];
    for (int64_t i = 0; i < n[from]; i++) a[i] = (float)in[i];
    const vn_status status = f(o->user->user, a, b);
    for (int64_t i = 0; i < n[!from]; i++) out[i] = status ? 0 : (double)b[i];
    if (status && !o->status && ((int)status < 0 || status > VN_CANCELLED))
        o->status =
            vn_fail(&o->err, VN_BAD_ARGUMENT,
                    "the operator's %s returned %d, which is no vn_status", name, (int)status);
    else if (status && !o->status)
        o->status = vn_fail(&o->err, status, "the operator's %s returned \"%s\"", name,
                            vn_status_name(status));
}

static void apply(vn_operator *o, const double *x, double *y) {
    call(o, o->user->apply, "apply", 0, x, y);
}

static void transpose(vn_operator *o, const double *y, double *x) {
    call(o, o->user->transpose, "transpose", 1, y, x);
}

static void pseudo_inverse(vn_operator *o, const double *y, double *x) {
    call(o, o->user->pseudo_inverse, "pseudo_inverse", 1, y, x);
}

const vn_operator_row vn_callback_operator_row = {
    .row = {"callback", "an operator of the program that embeds this library", "", NULL},
    .open = open_callback,
    .apply = apply,
    .transpose = transpose,
    .pseudo_inverse = pseudo_inverse,
};
