/* decoded.c - an operator on what samples are decoded to, as a function of the samples: A D(x),
 * with D the decoder of latents. It is not linear; what takes the place of a transpose is
 * J^T A^T with the decoder's derivative J at the x that it was applied to last, by which rules that
 * follow a gradient go on (dps in latents, where 2307.00619 begins). */
#include "restore/internal.h"

#include <math.h>

/* Of as_float[0]: x [size], out and one more; of as_float[1], [3,shown], and numbers, [2,shown]:
 * shown, and directions. */

static bool failed(vn_operator *o, vn_status status) {
    if (status && !o->status) o->status = status;
    return status != VN_OK;
}

static vn_status open_decoded(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const size_t shown = (size_t)vn_shape_count(&o->decoding.shown);
    o->observed = o->inner->observed;
    o->as_float[0] = vn_alloc(3 * (size_t)o->size, sizeof(float));
    o->as_float[1] = vn_alloc(3 * shown, sizeof(float));
    o->numbers = vn_alloc(2 * shown, sizeof *o->numbers);
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

static bool cannot_encode(vn_operator *o) {
    if (o->decoding.encode && o->decoding.encode_vjp) return false;
    return failed(o, vn_fail(&o->err, VN_UNSUPPORTED, "there is no way from pictures to samples"));
}

/* E A^+ y, which is no inverse, but a beginning. */
static void pseudo_inverse(vn_operator *o, const double *y, double *x) {
    const vn_decoding *d = &o->decoding;
    const int64_t shown = vn_shape_count(&d->shown);
    float *out = o->as_float[0];
    vn_operator_pseudo_inverse(o->inner, y, o->numbers);
    for (int64_t i = 0; i < shown; i++) o->as_float[1][i] = (float)o->numbers[i];
    const bool no = cannot_encode(o) || failed(o, d->encode(d->self, o->as_float[1], out, &o->err));
    for (int64_t i = 0; i < o->size; i++) x[i] = no ? 0 : (double)out[i];
}

static double length_of(int64_t n, const double *x) {
    const double length = sqrt(vn_dot(n, x, x));
    return length > 0 ? length : 1;
}

/* e = E(g) - x over its length, g = D + A^+ (y - A D) in as_float[1] + shown, where D is numbers;
 * and its way back to D, (1 - A^+ A) J_E^T e, to numbers + shown. */
static bool glue(vn_operator *o, const double *residual, double *e) {
    const vn_decoding *d = &o->decoding;
    const int64_t shown = vn_shape_count(&d->shown);
    double *more = o->numbers + shown, *y = o->work;
    float *x = o->as_float[0], *out = x + o->size, *direction = out + o->size,
          *glued = o->as_float[1] + shown, *back = glued + shown;
    vn_operator_pseudo_inverse(o->inner, residual, more);
    for (int64_t i = 0; i < shown; i++) glued[i] = (float)(o->numbers[i] + more[i]);
    if (cannot_encode(o) || failed(o, d->encode(d->self, glued, out, &o->err))) return false;
    for (int64_t i = 0; i < o->size; i++) e[i] = (double)out[i] - (double)x[i];
    const double length = length_of(o->size, e);
    for (int64_t i = 0; i < o->size; i++) direction[i] = (float)(e[i] /= length);
    if (failed(o, d->encode_vjp(d->self, glued, direction, back, &o->err))) return false;
    for (int64_t i = 0; i < shown; i++) o->numbers[i] = (double)back[i];
    o->inner->row->apply(o->inner, o->numbers, y);
    vn_operator_pseudo_inverse(o->inner, y, more);
    for (int64_t i = 0; i < shown; i++) more[i] = (double)back[i] - more[i];
    return true;
}

void vn_decoded_glue(vn_operator *o, const double *residual, double scale, double gamma,
                     double *out) {
    const vn_decoding *d = &o->decoding;
    const int64_t shown = vn_shape_count(&d->shown);
    float *to = o->as_float[0] + o->size;
    const double by = scale / length_of(o->count, residual);
    bool no = !glue(o, residual, out);
    if (!no) o->inner->row->transpose(o->inner, residual, o->numbers);
    for (int64_t i = 0; i < shown && !no; i++)
        o->as_float[1][i] = (float)(by * o->numbers[i] - gamma * o->numbers[shown + i]);
    no = no || failed(o, d->vjp(d->self, o->as_float[0], o->as_float[1], to, &o->err));
    for (int64_t i = 0; i < o->size; i++) out[i] = no ? 0 : gamma * out[i] + (double)to[i];
}

static void take(const vn_operator *o, double *y) {
    if (o->inner->row->take) o->inner->row->take(o->inner, y);
}

const vn_operator_row vn_decoded_operator_row = {
    .row = {"decoded", "an operator on what samples are decoded to", "", NULL},
    .open = open_decoded,
    .apply = apply,
    .transpose = transpose,
    .pseudo_inverse = pseudo_inverse,
    .take = take,
};
