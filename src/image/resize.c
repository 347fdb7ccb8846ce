/* resize.c - resampling with a triangle filter, separably: rows first, then columns.
 *
 * Seen from an output pixel's centre the weight of an input pixel falls linearly to zero at one
 * output pixel's distance (one input pixel's when growing), so shrinking averages over area and
 * nothing aliases. This is what image libraries call antialiased bilinear. Distances are multiplied
 * by 2 * out and weights scaled to 1 << WEIGHT_BITS in whole numbers, so the result is the same
 * everywhere; between the passes values keep 8 bits of fraction. */
#include "image/internal.h"

#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 14, BETWEEN_BITS = 8 };

/* For each output position the inputs it averages and their weights, which add up to 1 <<
 * WEIGHT_BITS. */
typedef struct resize_taps {
    int taps;         /* room for each output position */
    int *first, *end; /* [out] */
    uint16_t *weight; /* [out, taps] */
} resize_taps;

static void taps_close(resize_taps *a) {
    vn_free(a->first);
    vn_free(a->end);
    vn_free(a->weight);
}

static int64_t triangle(int64_t in, int64_t out, int64_t o, int64_t i) {
    const int64_t reach = 2 * (in > out ? in : out);
    const int64_t distance = llabs((2 * i + 1) * out - (2 * o + 1) * in);
    return distance < reach ? reach - distance : 0;
}

/* Weights that add up without a remainder: each is the step of the rounded running sum. */
static void fill_evenly(uint16_t *weight, int64_t in, int64_t out, int64_t o, int64_t first,
                        int64_t end, int64_t sum) {
    int64_t part = 0, before = 0;
    for (int64_t i = first; i < end; i++) {
        part += triangle(in, out, o, i);
        const int64_t here = ((part << WEIGHT_BITS) + sum / 2) / sum;
        weight[i - first] = (uint16_t)(here - before);
        before = here;
    }
}

static void taps_fill(resize_taps *a, int in, int out, int o) {
    const int64_t reach = in > out ? in : out;
    int64_t first = ((2 * (int64_t)o + 1) * in - 2 * reach) / (2 * (int64_t)out) - 1;
    if (first < 0) first = 0;
    while (triangle(in, out, o, first) == 0) first++;
    int64_t end = first, sum = 0;
    for (int64_t w; end < in && (w = triangle(in, out, o, end)) > 0; end++) sum += w;

    uint16_t *weight = a->weight + (size_t)o * (size_t)a->taps;
    int64_t largest = 0, left = 1 << WEIGHT_BITS;
    for (int64_t k = 0; k < end - first; k++) {
        weight[k] = (uint16_t)(((triangle(in, out, o, first + k) << WEIGHT_BITS) + sum / 2) / sum);
        left -= weight[k];
        if (weight[k] > weight[largest]) largest = k;
    }
    if (llabs(left) <= weight[largest] / 2)
        weight[largest] = (uint16_t)(weight[largest] + left); /* rounding's remainder */
    else
        fill_evenly(weight, in, out, o, first, end,
                    sum); /* so many inputs that most weights round to nothing or to 1 */
    a->first[o] = (int)first;
    a->end[o] = (int)end;
}

static vn_status taps_open(resize_taps *a, int in, int out, vn_err *err) {
    a->taps = in > out ? 2 * (in / out) + 4 : 4;
    a->first = vn_alloc((size_t)out, sizeof *a->first);
    a->end = vn_alloc((size_t)out, sizeof *a->end);
    a->weight = vn_alloc((size_t)out * (size_t)a->taps, sizeof *a->weight);
    if (!a->first || !a->end || !a->weight) return vn_no_memory(err);
    for (int o = 0; o < out; o++) taps_fill(a, in, out, o);
    return VN_OK;
}

/* row [in, c] -> between [out, c] with BETWEEN_BITS of fraction */
static void pass_row(const resize_taps *a, const uint8_t *row, int out, size_t c,
                     uint16_t *between) {
    const uint32_t half = 1u << (WEIGHT_BITS - BETWEEN_BITS - 1);
    for (int o = 0; o < out; o++) {
        const uint16_t *weight = a->weight + (size_t)o * (size_t)a->taps;
        for (size_t k = 0; k < c; k++) {
            uint32_t sum = half;
            for (int i = a->first[o]; i < a->end[o]; i++)
                sum += (uint32_t)weight[i - a->first[o]] * row[(size_t)i * c + k];
            between[(size_t)o * c + k] = (uint16_t)(sum >> (WEIGHT_BITS - BETWEEN_BITS));
        }
    }
}

/* between [in, n] -> one output row [n] */
static void pass_column(const resize_taps *a, int o, const uint16_t *between, size_t n,
                        uint8_t *row) {
    const uint16_t *weight = a->weight + (size_t)o * (size_t)a->taps;
    for (size_t k = 0; k < n; k++) {
        uint32_t sum = 1u << (WEIGHT_BITS + BETWEEN_BITS - 1);
        for (int i = a->first[o]; i < a->end[o]; i++)
            sum += (uint32_t)weight[i - a->first[o]] * between[(size_t)i * n + k];
        row[k] = (uint8_t)(sum >> (WEIGHT_BITS + BETWEEN_BITS));
    }
}

/* The part [height, width] of `image` from (left, top), resampled into all of `out`. */
static vn_status resample(const vn_image *image, int left, int top, int width, int height,
                          vn_image *out, vn_err *err) {
    resize_taps across = {0}, down = {0};
    const size_t c = (size_t)image->channels, n = (size_t)out->width * c;
    uint16_t *between = vn_alloc((size_t)height * n, sizeof *between);
    if (!between) return vn_no_memory(err);
    vn_status status = taps_open(&across, width, out->width, err);
    if (!status) status = taps_open(&down, height, out->height, err);
    if (!status) {
        for (int y = 0; y < height; y++) {
            const uint8_t *row =
                image->pixels + ((size_t)(top + y) * (size_t)image->width + (size_t)left) * c;
            pass_row(&across, row, out->width, c, between + (size_t)y * n);
        }
        for (int y = 0; y < out->height; y++)
            pass_column(&down, y, between, n, out->pixels + (size_t)y * n);
    }
    taps_close(&across);
    taps_close(&down);
    vn_free(between);
    return status;
}

static vn_status resample_new(const vn_image *image, const int part[4], int width, int height,
                              vn_image *out, vn_err *err) {
    vn_status status = vn_image_alloc(out, width, height, image->channels, err);
    if (!status) status = resample(image, part[0], part[1], part[2], part[3], out, err);
    if (status) vn_image_free(out);
    return status;
}

vn_status vn_image_resize(const vn_image *image, int width, int height, vn_image *out,
                          vn_err *err) {
    return resample_new(image, (int[4]){0, 0, image->width, image->height}, width, height, out,
                        err);
}

vn_status vn_image_square(const vn_image *image, int size, vn_image *out, vn_err *err) {
    const int side = image->width < image->height ? image->width : image->height;
    const int part[4] = {(image->width - side) / 2, (image->height - side) / 2, side, side};
    return resample_new(image, part, size, size, out, err);
}

vn_status vn_image_enlarge(vn_image *image, int scale, vn_err *err) {
    if (scale == 1) return VN_OK;
    vn_image large = {0};
    const vn_status status = vn_image_alloc(&large, (int64_t)image->width * scale,
                                            (int64_t)image->height * scale, image->channels, err);
    if (status) return status;
    const size_t pixel = (size_t)image->channels, row = (size_t)large.width * pixel;
    for (int y = 0; y < image->height; y++) {
        uint8_t *to = large.pixels + (size_t)y * (size_t)scale * row;
        for (int x = 0; x < large.width; x++)
            memcpy(to + (size_t)x * pixel,
                   image->pixels + ((size_t)y * (size_t)image->width + (size_t)(x / scale)) * pixel,
                   pixel);
        for (int k = 1; k < scale; k++) memcpy(to + (size_t)k * row, to, row);
    }
    vn_image_free(image);
    *image = large;
    return VN_OK;
}
