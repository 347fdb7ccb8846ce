/* downsample.c - the mean of each square of factor x factor pixels. A A^T = 1/factor^2, and A^+
 * repeats each pixel. */
#include "restore/internal.h"

#include <string.h>

enum { FACTOR };
static const vn_param params[] = {
    {"factor", "pixels a side that become one", 2, 2, 1024, VN_PARAM_WHOLE, NULL},
    {0},
};

static vn_status open_downsample(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const int64_t factor = (int64_t)o->choice.value[FACTOR], *dim = o->sample.dim;
    if (dim[1] % factor || dim[2] % factor)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "downsample: factor %lld does not divide images of %lld x %lld pixels",
                       (long long)factor, (long long)dim[2], (long long)dim[1]);
    o->observed = VN_SHAPE(dim[0], dim[1] / factor, dim[2] / factor);
    const size_t n = (size_t)vn_shape_count(&o->observed);
    o->gram = vn_alloc(n, sizeof *o->gram);
    if (!o->gram) return vn_no_memory(err);
    for (size_t i = 0; i < n; i++) o->gram[i] = 1 / (double)(factor * factor);
    return VN_OK;
}

/* The number of the observation that pixel i is part of. */
static int64_t square_of(const vn_operator *o, int64_t i) {
    const int64_t factor = (int64_t)o->choice.value[FACTOR], width = o->sample.dim[2],
                  row = i / width; /* of all channels, which are whole numbers of squares high */
    return row / factor * (width / factor) + i % width / factor;
}

static void apply(vn_operator *o, const double *x, double *y) {
    memset(y, 0, (size_t)o->count * sizeof *y);
    for (int64_t i = 0; i < o->size; i++) y[square_of(o, i)] += x[i] * o->gram[0];
}

static void transpose(vn_operator *o, const double *y, double *x) {
    for (int64_t i = 0; i < o->size; i++) x[i] = y[square_of(o, i)] * o->gram[0];
}

const vn_operator_row vn_downsample_operator = {
    .row = {"downsample", "means of squares of pixels: super-resolution", "2201.11793", params},
    .pictures = true,
    .open = open_downsample,
    .apply = apply,
    .transpose = transpose,
};
