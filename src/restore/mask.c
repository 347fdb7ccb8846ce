/* mask.c - a mask m of numbers in [0, 1], 1 where a sample is known: inpainting. A = diag(sqrt m),
 * so that a soft mask has a meaning with noise, where it is a pixel's weight (A^T A = m, noise of
 * variance noise^2/m), and without, where A^T in the place of A^+ blends: x0 + m (y - x0). For a
 * mask of 0 and 1 the two are the same, and A is m itself.
 *
 * An observation is a whole sample; what it has where m is 0 is not looked at. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

static const vn_param params[] = {
    {"file",
     "the mask, a picture: white where the observation counts, black where not, grey "
     "between",
     0, 0, 0, VN_PARAM_TEXT, NULL},
    {0},
};

/* One mask for all channels, or one for each. */
static bool fits(const vn_operator *o, const vn_shape *mask) {
    if (vn_shape_equal(mask, &o->sample)) return true;
    if (!vn_shape_is_image(&o->sample)) return false;
    const int skip = vn_shape_is_image(mask) && mask->dim[0] == 1;
    return mask->rank == 2 + skip && mask->dim[skip] == o->sample.dim[1] &&
           mask->dim[skip + 1] == o->sample.dim[2];
}

static vn_status open_mask(vn_operator *o, const vn_array *given, vn_err *err) {
    char mask[128], sample[128];
    if (!fits(o, &given->shape))
        return vn_fail(err, VN_BAD_ARGUMENT, "a mask of size %s does not fit samples of size %s",
                       vn_shape_text(&given->shape, mask), vn_shape_text(&o->sample, sample));
    const int64_t n = vn_shape_count(&given->shape);
    float *m = vn_alloc((size_t)n, sizeof *m);
    o->gram = vn_alloc((size_t)o->size, sizeof *o->gram);
    o->numbers = vn_alloc((size_t)o->size, sizeof *o->numbers);
    vn_status status = m && o->gram && o->numbers ? VN_OK : vn_no_memory(err);
    if (!status) vn_array_read_f32(given, m);
    double sum = 0;
    for (int64_t i = 0; i < n && !status; i++) {
        sum += (double)m[i];
        if (!(m[i] >= 0 && m[i] <= 1))
            status = vn_fail(err, VN_BAD_ARGUMENT, "number %lld of the mask is %g, outside [0, 1]",
                             (long long)i, (double)m[i]);
    }
    if (!status && sum == 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "the mask is 0 everywhere: nothing is known");
    for (int64_t i = 0; i < o->size && !status; i++) {
        o->gram[i] = (double)m[i % n];
        o->numbers[i] = sqrt(o->gram[i]);
    }
    vn_free(m);
    o->observed = o->sample;
    return status;
}

static void multiply(vn_operator *o, const double *in, double *out) {
    for (int64_t i = 0; i < o->size; i++) out[i] = o->numbers[i] * in[i];
}

static void take(const vn_operator *o, double *y) {
    for (int64_t i = 0; i < o->size; i++) y[i] = o->numbers[i] > 0 ? o->numbers[i] * y[i] : 0;
}

const vn_operator_row vn_mask_operator = {
    .row = {"mask", "what a mask shows: inpainting", "2201.09865", params},
    .array = "mask",
    .open = open_mask,
    .apply = multiply,
    .transpose = multiply,
    .pseudo_inverse = multiply,
    .take = take,
};
