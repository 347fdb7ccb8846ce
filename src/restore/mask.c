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
static bool fits(const vn_shape *sample, const vn_shape *mask) {
    if (vn_shape_equal(mask, sample)) return true;
    if (!vn_shape_is_image(sample)) return false;
    const int skip = vn_shape_is_image(mask) && mask->dim[0] == 1;
    return mask->rank == 2 + skip && mask->dim[skip] == sample->dim[1] &&
           mask->dim[skip + 1] == sample->dim[2];
}

/* The mask of every number of a sample, m [sample], checked. */
static vn_status read_mask(const vn_array *given, const vn_shape *sample, float *m, vn_err *err) {
    char of_mask[128], of_sample[128];
    if (!fits(sample, &given->shape))
        return vn_fail(err, VN_BAD_ARGUMENT, "a mask of size %s does not fit samples of size %s",
                       vn_shape_text(&given->shape, of_mask), vn_shape_text(sample, of_sample));
    const int64_t n = vn_shape_count(&given->shape), size = vn_shape_count(sample);
    double sum = 0;
    vn_array_read_f32(given, m);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)m[i];
        if (!(m[i] >= 0 && m[i] <= 1))
            return vn_fail(err, VN_BAD_ARGUMENT, "number %lld of the mask is %g, outside [0, 1]",
                           (long long)i, (double)m[i]);
    }
    for (int64_t i = n; i < size; i++) m[i] = m[i - n];
    if (sum > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "the mask is 0 everywhere: nothing is known");
}

static vn_status open_mask(vn_operator *o, const vn_array *given, vn_err *err) {
    float *m = vn_alloc((size_t)o->size, sizeof *m);
    o->gram = vn_alloc((size_t)o->size, sizeof *o->gram);
    o->numbers = vn_alloc((size_t)o->size, sizeof *o->numbers);
    vn_status status = m && o->gram && o->numbers ? VN_OK : vn_no_memory(err);
    if (!status) status = read_mask(given, &o->sample, m, err);
    for (int64_t i = 0; i < o->size && !status; i++) {
        o->gram[i] = (double)m[i];
        o->numbers[i] = sqrt(o->gram[i]);
    }
    vn_free(m);
    o->observed = o->sample;
    return status;
}

vn_status vn_mask_reduce(const vn_array *given, const vn_shape *shown, const vn_shape *sample,
                         float *whole, float *of_latents, vn_err *err) {
    const int64_t rows = shown->dim[1], columns = shown->dim[2], height = sample->dim[1],
                  width = sample->dim[2];
    bool some = false;
    const vn_status status = read_mask(given, shown, whole, err);
    if (status) return status;
    for (int64_t i = 0; i < height * width; i++) of_latents[i] = 1;
    for (int64_t i = 0; i < vn_shape_count(shown); i++) {
        const int64_t row = i / columns % rows * height / rows,
                      column = i % columns * width / columns;
        float *to = &of_latents[row * width + column];
        if (whole[i] < *to) *to = whole[i];
    }
    for (int64_t i = 0; i < height * width; i++) some = some || of_latents[i] > 0;
    if (some) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the mask leaves no latent known: each is of %lldx%lld pixels, and is known "
                   "where all of them are",
                   (long long)(columns / width), (long long)(rows / height));
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
