/* pictures.c - how near images are to others, one by one: the peak signal-to-noise ratio, and the
 * structural similarity of Wang 2004. Numbers are as samples have them, white 1 and black -1, and
 * not clamped: the range is 2. */
#include <math.h>
#include <string.h>

#include "metric/internal.h"

#define RANGE 2.0

/* ---- psnr ------------------------------------------------------------------------------------ */

static double psnr(const vn_shape *image, const float *a, const float *b, double *work) {
    const int64_t n = vn_shape_count(image);
    (void)work;
    return 10 * log10(RANGE * RANGE * (double)n / vn_squared_distance(a, b, n));
}

/* ---- ssim ------------------------------------------------------------------------------------ */

enum { WINDOW = 11, HALF = WINDOW / 2, IMAGES = 5 };
#define DEVIATION 1.5
#define C1        (0.01 * RANGE * 0.01 * RANGE)
#define C2        (0.03 * RANGE * 0.03 * RANGE)

size_t vn_pair_work(const vn_shape *image) {
    if (!vn_shape_is_image(image)) return 1;
    return (size_t)(image->dim[1] * image->dim[2]) * (IMAGES + 1) + WINDOW;
}

static void make_window(double *window) {
    double sum = 0;
    for (int i = 0; i < WINDOW; i++)
        sum += window[i] = exp(-0.5 * (i - HALF) * (i - HALF) / (DEVIATION * DEVIATION));
    for (int i = 0; i < WINDOW; i++) window[i] /= sum;
}

/* Averages of x [height,width] under the window where it is inside, in the upper left of x. */
static void filter(double *x, int64_t height, int64_t width, const double *window, double *rows) {
    const int64_t inner_width = width - 2 * HALF, inner_height = height - 2 * HALF;
    for (int64_t y = 0; y < height; y++)
        for (int64_t c = 0; c < inner_width; c++) {
            double sum = 0;
            for (int k = 0; k < WINDOW; k++) sum += window[k] * x[y * width + c + k];
            rows[y * width + c] = sum;
        }
    for (int64_t y = 0; y < inner_height; y++)
        for (int64_t c = 0; c < inner_width; c++) {
            double sum = 0;
            for (int k = 0; k < WINDOW; k++) sum += window[k] * rows[(y + k) * width + c];
            x[y * width + c] = sum;
        }
}

static double ssim_of_channel(int64_t height, int64_t width, const float *a, const float *b,
                              double *work) {
    const int64_t n = height * width;
    double *window = work, *x = work + WINDOW, *y = x + n, *xx = y + n, *yy = xx + n, *xy = yy + n,
           *rows = xy + n;
    make_window(window);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)a[i];
        y[i] = (double)b[i];
        xx[i] = x[i] * x[i];
        yy[i] = y[i] * y[i];
        xy[i] = x[i] * y[i];
    }
    double *const all[IMAGES] = {x, y, xx, yy, xy};
    for (int k = 0; k < IMAGES; k++) filter(all[k], height, width, window, rows);
    double sum = 0;
    for (int64_t r = 0; r < height - 2 * HALF; r++)
        for (int64_t c = 0; c < width - 2 * HALF; c++) {
            const int64_t i = r * width + c;
            const double mx = x[i], my = y[i], vx = xx[i] - mx * mx, vy = yy[i] - my * my,
                         cov = xy[i] - mx * my;
            sum +=
                (2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2));
        }
    return sum / (double)((height - 2 * HALF) * (width - 2 * HALF));
}

static double ssim(const vn_shape *image, const float *a, const float *b, double *work) {
    const int64_t channels = image->dim[0], n = image->dim[1] * image->dim[2];
    double sum = 0;
    for (int64_t c = 0; c < channels; c++)
        sum += ssim_of_channel(image->dim[1], image->dim[2], a + c * n, b + c * n, work);
    return sum / (double)channels;
}

static vn_status check_ssim(const vn_shape *image, vn_err *err) {
    if (image->dim[1] >= WINDOW && image->dim[2] >= WINDOW) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "ssim: images of %lld x %lld are smaller than its window of %d x %d",
                   (long long)image->dim[2], (long long)image->dim[1], WINDOW, WINDOW);
}

const vn_metric_row vn_psnr_metric = {
    .row = {"psnr", "mean peak signal-to-noise ratio of images in pairs", "", NULL},
    .unit = "dB",
    .needs = VN_METRIC_PAIRS,
    .pair = psnr,
};

const vn_metric_row vn_ssim_metric = {
    .row = {"ssim", "mean structural similarity of images in pairs, Gaussian window of 11",
            "10.1109/TIP.2003.819861", NULL},
    .unit = "",
    .needs = VN_METRIC_PAIRS,
    .pair = ssim,
    .check = check_ssim,
};
