/* image.c - the picture itself: memory, and conversions that need no library. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

static const char *size_problem(int64_t width, int64_t height, int channels) {
    if (channels != 1 && channels != 3) return "channels must be 1 or 3";
    if (width < 1 || height < 1) return "empty";
    if (width > VN_IMAGE_MAX_SIDE || height > VN_IMAGE_MAX_SIDE)
        return "a side may have at most 16384 pixels";
    if ((size_t)width * (size_t)height * (size_t)channels > VN_IMAGE_MAX_BYTES)
        return "larger than 256 MiB";
    return NULL;
}

size_t vn_image_bound(void) {
    const size_t most = (size_t)2 << 30, quarter = vn_memory_total() / 4;
    return vn_memory_given() || quarter < most ? quarter : most;
}

/* Of small pictures nobody asks the system how much memory there is. */
vn_status vn_image_check_size(int64_t width, int64_t height, int channels, double more,
                              vn_err *err) {
    const double small = 1 << 20;
    char needed[32], bound[32];
    if (width < 1 || height < 1)
        return vn_fail(err, VN_BAD_FILE, "picture of %lldx%lld: empty", (long long)width,
                       (long long)height);
    if (width > VN_IMAGE_READ_SIDE || height > VN_IMAGE_READ_SIDE)
        return vn_fail(err, VN_BAD_FILE, "picture of %lldx%lld: a side may have at most %d pixels",
                       (long long)width, (long long)height, VN_IMAGE_READ_SIDE);
    /* with alpha, and turned */
    const double need = (double)width * (double)height * (2 * channels + 1) + more;
    const double most = need > small ? (double)vn_image_bound() : small;
    if (need <= most) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "picture of %lldx%lld: reading it would take %s, and one picture may take %s "
                   "(VANE_MEMORY=%.0fM in the "
                   "environment would allow it)",
                   (long long)width, (long long)height, vn_bytes_text(need, needed),
                   vn_bytes_text(most, bound), ceil(4 * need / (1 << 20)));
}

vn_status vn_image_make(vn_image *image, int width, int height, int channels, vn_err *err) {
    *image = (vn_image){0};
    uint8_t *pixels = vn_alloc((size_t)width * (size_t)height, (size_t)channels);
    if (!pixels) return vn_no_memory(err);
    *image = (vn_image){width, height, channels, pixels};
    return VN_OK;
}

vn_status vn_image_fits(int64_t width, int64_t height, int channels, vn_err *err) {
    const char *problem = size_problem(width, height, channels);
    if (!problem) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "picture of %lldx%lld: %s", (long long)width,
                   (long long)height, problem);
}

vn_status vn_image_alloc(vn_image *image, int64_t width, int64_t height, int channels,
                         vn_err *err) {
    *image = (vn_image){0};
    const vn_status status = vn_image_fits(width, height, channels, err);
    if (status) return status;
    return vn_image_make(image, (int)width, (int)height, channels, err);
}

void vn_image_free(vn_image *image) {
    vn_free(image->pixels);
    *image = (vn_image){0};
}

/* ---- changing -------------------------------------------------------------------------------- */

/* BT.601 in 16-bit fixed point; the weights add up to 65536, so grey stays grey. */
static void to_grey(uint8_t *pixels, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = pixels + 3 * i;
        pixels[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
    }
}

vn_status vn_image_set_channels(vn_image *image, int channels, vn_err *err) {
    const size_t count = (size_t)image->width * (size_t)image->height;
    if (channels == image->channels) return VN_OK;
    if (channels == 1) {
        to_grey(image->pixels, count);
        image->channels = 1;
        return VN_OK;
    }
    vn_image out;
    const vn_status status = vn_image_make(&out, image->width, image->height, channels, err);
    if (!out.pixels) return status;
    for (size_t i = 0; i < count; i++) memset(out.pixels + 3 * i, image->pixels[i], 3);
    vn_image_free(image);
    *image = out;
    return VN_OK;
}

/* c' = a c + (1 - a) 255, rounded. */
void vn_image_flatten(vn_image *image) {
    const size_t count = (size_t)image->width * (size_t)image->height, c = (size_t)image->channels;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = image->pixels + i * (c + 1);
        const unsigned alpha = from[c];
        for (size_t k = 0; k < c; k++)
            image->pixels[i * c + k] =
                (uint8_t)((from[k] * alpha + 255u * (255u - alpha) + 127u) / 255u);
    }
}

/* How what is stored lies: its rows are the upright picture's columns, and it runs from right to
 * left, from bottom to top. */
static const struct {
    bool transposed, from_right, from_bottom;
} lies[9] = {
    [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true},
    [5] = {true, false, false}, [6] = {true, false, true}, [7] = {true, true, true},
    [8] = {true, true, false},
};

static void move_pixels(const vn_image *from, int orientation, vn_image *to) {
    const bool transposed = lies[orientation].transposed;
    const size_t c = (size_t)from->channels;
    uint8_t *out = to->pixels;
    for (int y = 0; y < to->height; y++)
        for (int x = 0; x < to->width; x++, out += c) {
            int column = transposed ? y : x, row = transposed ? x : y;
            if (lies[orientation].from_right) column = from->width - 1 - column;
            if (lies[orientation].from_bottom) row = from->height - 1 - row;
            const uint8_t *in =
                from->pixels + ((size_t)row * (size_t)from->width + (size_t)column) * c;
            for (size_t k = 0; k < c; k++) out[k] = in[k];
        }
}

vn_status vn_image_orient(vn_image *image, int orientation, vn_err *err) {
    if (orientation <= 1) return VN_OK;
    const bool transposed = lies[orientation].transposed;
    const int width = transposed ? image->height : image->width,
              height = transposed ? image->width : image->height;
    vn_image out = {width, height, image->channels, NULL};
    if (image->pixels) {
        const vn_status status = vn_image_make(&out, width, height, image->channels, err);
        if (!out.pixels) return status;
        move_pixels(image, orientation, &out);
        vn_image_free(image);
    }
    *image = out;
    return VN_OK;
}

static uint8_t to_byte(float x) {
    const float y = 127.5f * (x + 1.0f);
    if (!(y > 0.0f)) return 0; /* NaN too */
    return y >= 255.0f ? 255 : (uint8_t)lrintf(y);
}

vn_status vn_image_from_sample(const float *sample, int channels, int height, int width,
                               vn_image *out, vn_err *err) {
    const vn_status status = vn_image_alloc(out, width, height, channels, err);
    if (!out->pixels) return status;
    const size_t plane = (size_t)width * (size_t)height, c = (size_t)channels;
    for (size_t k = 0; k < c; k++)
        for (size_t i = 0; i < plane; i++) out->pixels[i * c + k] = to_byte(sample[k * plane + i]);
    return VN_OK;
}
