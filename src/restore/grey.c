/* grey.c - the mean of an image's channels: colourisation. A A^T = 1/channels. */
#include "restore/internal.h"

static vn_status open_grey(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const int64_t channels = o->sample.dim[0];
    if (channels == 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "grey has no effect on images of 1 channel");
    o->observed = VN_SHAPE(1, o->sample.dim[1], o->sample.dim[2]);
    const size_t n = (size_t)vn_shape_count(&o->observed);
    o->gram = vn_alloc(n, sizeof *o->gram);
    if (!o->gram) return vn_no_memory(err);
    for (size_t i = 0; i < n; i++) o->gram[i] = 1 / (double)channels;
    return VN_OK;
}

static void apply(vn_operator *o, const double *x, double *y) {
    for (int64_t i = 0; i < o->count; i++) {
        y[i] = 0;
        for (int64_t k = i; k < o->size; k += o->count) y[i] += x[k] * o->gram[i];
    }
}

static void transpose(vn_operator *o, const double *y, double *x) {
    for (int64_t k = 0; k < o->size; k++) x[k] = y[k % o->count] * o->gram[0];
}

const vn_operator_row vn_grey_operator = {
    .row = {"grey", "the mean of the channels: colourisation", "2212.00490", NULL},
    .pictures = true,
    .open = open_grey,
    .apply = apply,
    .transpose = transpose,
};
