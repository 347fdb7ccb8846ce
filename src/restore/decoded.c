/* decoded.c - an operator on what samples are decoded to, as a function of the samples: A D(x),
 * with D the decoder of latents. It is not linear; what takes the place of a transpose is
 * J^T A^T with the decoder's derivative J at the x that it was applied to last, by which rules that
 * follow a gradient go on (dps in latents, where 2307.00619 begins). */
#include "restore/internal.h"

/* Of as_float[0]: x [size] and out [size]; of as_float[1] and numbers: shown, and a direction. */

static bool failed(vn_operator *o, vn_status status) {
    if (status && !o->status) o->status = status;
    return status != VN_OK;
}

static vn_status open_decoded(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const size_t shown = (size_t)vn_shape_count(&o->decoding.shown);
    o->observed = o->inner->observed;
    o->as_float[0] = vn_alloc(2 * (size_t)o->size, sizeof(float));
    o->as_float[1] = vn_alloc(shown, sizeof(float));
    o->numbers = vn_alloc(shown, sizeof *o->numbers);
    return o->as_float[0] && o->as_float[1] && o->numbers ? VN_OK : vn_no_memory(err);
}

static void apply(vn_operator *o, const double *x, double *y) {
    const vn_decoding *d = &o->decoding;
    const int64_t shown = vn_shape_count(&d->shown);
    for (int64_t i = 0; i < o->size; i++) o->as_float[0][i] = (float)x[i];
    const bool no = failed(o, d->decode(d->self, o->as_float[0], o->as_float[1], &o->err));
    for (int64_t i = 0; i < shown; i++) o->numbers[i] = no ? 0 : (double)o->as_float[1][i];
    o->inner->row->apply(o->inner, o->numbers, y);
}

static void transpose(vn_operator *o, const double *y, double *x) {
    const vn_decoding *d = &o->decoding;
    const int64_t shown = vn_shape_count(&d->shown);
    float *at = o->as_float[0], *out = at + o->size;
    o->inner->row->transpose(o->inner, y, o->numbers);
    for (int64_t i = 0; i < shown; i++) o->as_float[1][i] = (float)o->numbers[i];
    const bool no = failed(o, d->vjp(d->self, at, o->as_float[1], out, &o->err));
    for (int64_t i = 0; i < o->size; i++) x[i] = no ? 0 : (double)out[i];
}

static void take(const vn_operator *o, double *y) {
    if (o->inner->row->take) o->inner->row->take(o->inner, y);
}

const vn_operator_row vn_decoded_operator_row = {
    .row = {"decoded", "an operator on what samples are decoded to", "", NULL},
    .open = open_decoded,
    .apply = apply,
    .transpose = transpose,
    .take = take,
};
