/* operator.c - a linear operator A: it is opened, and tested for its transpose. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

enum { PROBES = 3 };
/* <A u, v> and <u, A^T v> apart, in parts of |A u| |v| + |u| |A^T v|: rounding in double is below
 * 1e-12; of a callback in float below 1e-6. A wrong transpose is of the order 1/sqrt(count). */
#define APART 1e-5

/* ---- opening --------------------------------------------------------------------------------- */

static void probe(int64_t n, uint64_t sample, uint64_t step, float *scratch, double *out) {
    vn_random_normal(scratch, (size_t)n, 0, VN_STREAM_PROBE, sample, step);
    for (int64_t i = 0; i < n; i++) out[i] = (double)scratch[i];
}

/* u, v and what A and its transpose make of them. */
static vn_status compare(vn_operator *o, int k, double *u, double *v, double *au, double *atv,
                         float *scratch, vn_err *err) {
    probe(o->size, 0, (uint64_t)k, scratch, u);
    probe(o->count, 1, (uint64_t)k, scratch, v);
    o->row->apply(o, u, au);
    o->row->transpose(o, v, atv);
    vn_status status = vn_operator_status(o, err);
    const double left = vn_dot(o->count, au, v), right = vn_dot(o->size, u, atv);
    const double scale = sqrt(vn_dot(o->count, au, au) * vn_dot(o->count, v, v)) +
                         sqrt(vn_dot(o->size, u, u) * vn_dot(o->size, atv, atv));
    if (!status && !isfinite(scale))
        status = vn_fail(err, VN_BAD_ARGUMENT, "it gives numbers that are not finite");
    if (!status && !(fabs(left - right) <= APART * scale))
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "its transpose is not that of what it applies: <A u, v> = %.9g and "
                         "<u, A^T v> = %.9g for random u and v",
                         left, right);
    return status;
}

static vn_status test_transpose(vn_operator *o, vn_err *err) {
    const size_t size = (size_t)o->size, count = (size_t)o->count,
                 most = size > count ? size : count;
    double *all = vn_alloc(2 * size + 2 * count, sizeof *all);
    float *scratch = vn_alloc(most, sizeof *scratch);
    vn_status status = all && scratch ? VN_OK : vn_no_memory(err);
    for (int k = 0; k < PROBES && !status; k++) {
        status =
            compare(o, k, all, all + 2 * size, all + 2 * size + count, all + size, scratch, err);
    }
    vn_free(all);
    vn_free(scratch);
    return status;
}

static vn_status choose(vn_operator *o, const vn_operator_options *options, vn_err *err) {
    o->user = options->user;
    o->row = &vn_callback_operator_row;
    if (o->user) return VN_OK;
    const vn_status status = vn_choice_parse(options->text, &vn_operators, &o->choice, err);
    if (status) return status;
    o->row = (const vn_operator_row *)o->choice.row;
    const char *name = o->row->row.name;
    if (o->row->pictures && !vn_shape_is_image(&o->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "the operator %s is for images; samples are points",
                       name);
    if (o->row->array && !options->given)
        return vn_fail(err, VN_BAD_ARGUMENT, "the operator %s needs a %s: %s:file=...", name,
                       o->row->array, name);
    if (!o->row->array && options->given)
        return vn_fail(err, VN_BAD_ARGUMENT, "the operator %s takes no array", name);
    return VN_OK;
}

/* The operator on what samples are decoded to, which is linear and tested. */
static vn_status open_inner(vn_operator *o, const vn_operator_options *options, vn_err *err) {
    vn_operator_options of_shown = *options;
    of_shown.decoding = NULL;
    of_shown.sample = options->decoding->shown;
    o->decoding = *options->decoding;
    o->row = &vn_decoded_operator_row;
    return vn_operator_open(&of_shown, &o->inner, err);
}

vn_status vn_operator_open(const vn_operator_options *options, vn_operator **out, vn_err *err) {
    vn_operator *o = vn_calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return vn_no_memory(err);
    o->sample = options->sample;
    o->size = vn_shape_count(&o->sample);
    vn_status status = options->decoding ? open_inner(o, options, err) : choose(o, options, err);
    if (!status) status = o->row->open(o, options->given, err);
    if (!status) {
        o->count = vn_shape_count(&o->observed);
        o->work = vn_alloc(4 * (size_t)o->count + (size_t)o->size, sizeof *o->work);
        if (!o->work) status = vn_no_memory(err);
    }
    if (!status && !o->inner && test_transpose(o, err)) {
        status = err ? err->status : VN_BAD_ARGUMENT;
        vn_fail_in(err, "the operator %s",
                   o->user && o->user->name ? o->user->name : o->row->row.name);
    }
    if (status) vn_operator_close(&o);
    *out = o;
    return status;
}

void vn_operator_close(vn_operator **operator) {
    vn_operator *o = *operator;
    if (!o) return;
    vn_operator_close(&o->inner);
    vn_free(o->gram);
    vn_free(o->numbers);
    vn_free(o->as_float[0]);
    vn_free(o->as_float[1]);
    vn_free(o->work);
    vn_free(o);
    *operator= NULL;
}

vn_status vn_operator_status(vn_operator *o, vn_err *err) {
    const vn_status status = o->status;
    if (!status) return o->inner ? vn_operator_status(o->inner, err) : VN_OK;
    o->status = VN_OK;
    return vn_fail(err, status, "%s", o->err.text);
}

vn_status vn_operator_file(const char *text, const vn_operator_row **row, char *file, vn_err *err) {
    vn_choice c;
    const vn_status status = vn_choice_parse(text, &vn_operators, &c, err);
    file[0] = '\0';
    if (status) return status;
    *row = (const vn_operator_row *)c.row;
    for (size_t i = 0; c.row->params && c.row->params[i].name; i++)
        if (c.row->params[i].kind == VN_PARAM_TEXT)
            vn_snprintf(file, VN_MAX_CHOICE_TEXT, "%s", vn_choice_string(&c, i));
    return VN_OK;
}
