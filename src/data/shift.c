/* shift.c - pictures moved by some pixels, as augmentation: what comes in at an edge repeats it. */
#include "data/internal.h"

#include <string.h>

static int64_t clamped(int64_t i, int64_t n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* A row of w pixels of c numbers, moved right by dx. */
static void shift_row(float *to, const float *from, int64_t w, int64_t c, int64_t dx) {
    const int64_t inside = w - (dx < 0 ? -dx : dx);
    const size_t bytes = (size_t)(inside * c) * sizeof *to;
    if (dx >= 0) {
        memmove(to + dx * c, from, bytes);
        for (int64_t j = dx - 1; j >= 0; j--)
            memcpy(to + j * c, to + (j + 1) * c, (size_t)c * sizeof *to);
    } else {
        memmove(to, from - dx * c, bytes);
        for (int64_t j = inside; j < w; j++)
            memcpy(to + j * c, to + (j - 1) * c, (size_t)c * sizeof *to);
    }
}

/* Rows are written from the side that they move to, so that each is read before it is written. */
void vn_shift_picture(const vn_shape *sample, int64_t dy, int64_t dx, float *x) {
    const int64_t c = sample->dim[0], h = sample->dim[1], w = sample->dim[2];
    for (int64_t k = 0; k < h && (dy || dx); k++) {
        const int64_t i = dy > 0 ? h - 1 - k : k;
        shift_row(x + i * w * c, x + clamped(i - dy, h) * w * c, w, c, dx);
    }
}

void vn_draw_shift(int64_t most, uint64_t seed, uint64_t position, int64_t *dy, int64_t *dx) {
    uint32_t bits[2] = {0, 0};
    const uint64_t count = 2 * (uint64_t)most + 1;
    vn_random_bits(bits, 2, seed, VN_STREAM_AUGMENT, position, 1);
    *dy = (int64_t)((bits[0] * count) >> 32) - most;
    *dx = (int64_t)((bits[1] * count) >> 32) - most;
}

vn_status vn_shift_check(const vn_shape *sample, bool brings_noise, int64_t shift, vn_err *err) {
    if (!shift) return VN_OK;
    if (!vn_shape_is_image(sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "shift has no effect on points");
    if (brings_noise)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "shift: the samples bring noise of their own, which would repeat at edges");
    const int64_t height = sample->dim[1], width = sample->dim[2],
                  side = height < width ? height : width;
    if (shift > 0 && 2 * shift < side) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "shift=%lld pixels of pictures of %lldx%lld: it has to be less than half a side",
                   (long long)shift, (long long)width, (long long)height);
}
