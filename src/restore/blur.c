/* blur.c - a Gaussian blur that goes round at the edges (a circulant matrix, as in the papers that
 * diagonalise it). It is the product of a blur of rows and one of columns, and symmetric. Its small
 * singular values would divide rounding and noise by next to nothing, so where no noise is given
 * squares of them below `cut` squared are not told apart. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

enum { SIGMA, CUT };
static const vn_param params[] = {
    {"sigma", "its standard deviation in pixels", 1, 0.1, 100, VN_PARAM_REAL, NULL},
    {"cut", "singular values below it are not divided by", 0.03, 1e-6, 1, VN_PARAM_REAL, NULL},
    {0},
};

/* weight[d] of a pixel d further on, around a circle of n. */
static void fill_weights(int64_t n, double sigma, double *weight) {
    double sum = 0;
    const int64_t reach = (int64_t)ceil(6 * sigma);
    memset(weight, 0, (size_t)n * sizeof *weight);
    for (int64_t d = -reach; d <= reach; d++) {
        const double w = exp(-(double)(d * d) / (2 * sigma * sigma));
        weight[((d % n) + n) % n] += w;
        sum += w;
    }
    for (int64_t d = 0; d < n; d++) weight[d] /= sum;
}

/* numbers: the weights of a column [H] and of a row [W], then a picture [H,W] of scratch. */
static vn_status open_blur(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const int64_t height = o->sample.dim[1], width = o->sample.dim[2];
    o->observed = o->sample;
    o->floor = o->choice.value[CUT] * o->choice.value[CUT];
    o->numbers = vn_alloc((size_t)(height + width + height * width), sizeof *o->numbers);
    if (!o->numbers) return vn_no_memory(err);
    fill_weights(height, o->choice.value[SIGMA], o->numbers);
    fill_weights(width, o->choice.value[SIGMA], o->numbers + height);
    return VN_OK;
}

static void blur_rows(int64_t height, int64_t width, const double *weight, const double *in,
                      double *out) {
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++) {
            double sum = 0;
            for (int64_t d = 0; d < width; d++)
                sum += weight[d] * in[i * width + (j + d < width ? j + d : j + d - width)];
            out[i * width + j] = sum;
        }
}

static void blur_columns(int64_t height, int64_t width, const double *weight, const double *in,
                         double *out) {
    memset(out, 0, (size_t)(height * width) * sizeof *out);
    for (int64_t i = 0; i < height; i++)
        for (int64_t d = 0; d < height; d++) {
            const double *row = in + (i + d < height ? i + d : i + d - height) * width;
            for (int64_t j = 0; j < width; j++) out[i * width + j] += weight[d] * row[j];
        }
}

static void apply(vn_operator *o, const double *x, double *y) {
    const int64_t height = o->sample.dim[1], width = o->sample.dim[2], pixels = height * width;
    double *rows = o->numbers + height + width;
    for (int64_t c = 0; c < o->sample.dim[0]; c++) {
        blur_rows(height, width, o->numbers + height, x + c * pixels, rows);
        blur_columns(height, width, o->numbers, rows, y + c * pixels);
    }
}

const vn_operator_row vn_blur_operator = {
    .row = {"blur", "a Gaussian blur that goes round at the edges: deblurring", "2201.11793",
            params},
    .pictures = true,
    .open = open_blur,
    .apply = apply,
    .transpose = apply,
};
