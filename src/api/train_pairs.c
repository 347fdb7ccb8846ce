/* train_pairs.c - previews of an autoencoder: the same pictures each time, each beside its
 * reconstruction. */
#include "api/train_autoencoder.h"

#include "objective/objective.h"

#include <math.h>
#include <string.h>

enum { PAIRS = 16, PAIRS_IN_A_ROW = 4 };

/* n pictures of a part as files have them, [n,C,H,W]. */
static vn_status read_pictures(vn_data *data, vn_data_part part, int64_t n, float *out,
                               vn_err *err) {
    const int64_t *d = vn_data_get_info(data)->sample.dim;
    float *last = vn_alloc((size_t)(n * d[0] * d[1] * d[2]), sizeof *last);
    if (!last) return vn_no_memory(err);
    const vn_status status = vn_data_batch(data, part, 0, n, last, NULL, err);
    if (!status) vn_channels_first(out, last, n, d[0], d[1] * d[2], NULL, NULL);
    vn_free(last);
    return status;
}

static vn_status open_pairs(vn_pairs *p, vn_values *values, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(p->data);
    const int64_t all = info->held ? info->held : info->count;
    p->count = all < PAIRS ? all : PAIRS;
    p->size = vn_shape_count(&info->sample);
    const size_t numbers = (size_t)(p->count * p->size);
    p->pictures = vn_alloc(numbers, sizeof(float));
    p->decoded = vn_alloc(numbers, sizeof(float));
    p->shown = vn_alloc(2 * numbers, sizeof(float));
    if (!p->pictures || !p->decoded || !p->shown) return vn_no_memory(err);
    const vn_status status =
        read_pictures(p->data, info->held ? VN_DATA_HELD : VN_DATA_ALL, p->count, p->pictures, err);
    return status ? status : vn_runner_open(p->net, &p->vn->device, values, &p->runner, err);
}

/* The mean over pictures of their signal-to-noise ratios, as they are shown. */
static double decibels(const vn_pairs *p) {
    double sum = 0;
    for (int64_t i = 0; i < p->count; i++) {
        double error = 0;
        for (int64_t k = i * p->size; k < (i + 1) * p->size; k++) {
            const double shown = fmin(fmax((double)p->decoded[k], -1), 1),
                         off = shown - (double)p->pictures[k];
            error += off * off;
        }
        sum += vn_picture_psnr(error / (double)p->size);
    }
    return sum / (double)p->count;
}

static vn_status write(const vn_pairs *p, int64_t step, const char *title, const vn_image *image,
                       const char *path, vn_err *err) {
    char trained[24], seed[24];
    json_t *run = vn_json_string(p->run); /* a name of any bytes, as UTF-8 */
    snprintf(trained, sizeof trained, "%lld", (long long)step);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    const vn_setting settings[] = {{"vane", vn_version()},
                                   {"source", json_string_value(run)},
                                   {"training_step", trained},
                                   {"seed", seed},
                                   {"shows", title}};
    const vn_status status =
        run ? vn_png_write(path, image, settings, VN_COUNT(settings), err) : vn_no_memory(err);
    json_decref(run);
    return status;
}

static vn_status draw(const vn_pairs *p, int64_t step, const char *path, vn_err *err) {
    const int64_t *d = vn_data_get_info(p->data)->sample.dim;
    const size_t bytes = (size_t)p->size * sizeof(float);
    for (int64_t i = 0; i < p->count; i++) {
        memcpy(p->shown + 2 * i * p->size, p->pictures + i * p->size, bytes);
        memcpy(p->shown + (2 * i + 1) * p->size, p->decoded + i * p->size, bytes);
    }
    char title[96];
    vn_snprintf(title, sizeof title,
                "training step %lld; a picture, then its reconstruction: %.1f dB", (long long)step,
                decibels(p));
    const vn_band whole = {.title = title, .count = 2 * p->count};
    const vn_show show = {.samples = p->shown,
                          .count = 2 * p->count,
                          .channels = (int)d[0],
                          .height = (int)d[1],
                          .width = (int)d[2],
                          .columns = 2 * PAIRS_IN_A_ROW,
                          .bands = &whole,
                          .band_count = 1};
    vn_image image = {0};
    vn_status status = vn_show_grid(&show, &image, err);
    if (!status) status = write(p, step, title, &image, path, err);
    vn_image_free(&image);
    return status;
}

vn_status vn_pairs_draw(void *pairs, vn_values *const *values, int64_t step, const char *path,
                        vn_err *err) {
    vn_pairs *p = pairs;
    vn_status status = p->runner ? VN_OK : open_pairs(p, values[0], err);
    if (status) {
        vn_pairs_close(p); /* the next one tries again */
        return status;
    }
    const int64_t *d = vn_data_get_info(p->data)->sample.dim;
    const vn_net_spec one = {.extent = {.batch = 1, .height = d[1], .width = d[2]}};
    for (int64_t i = 0; i < p->count && !status; i++) {
        const vn_feed in = {
            .array = {"sample", VN_F32, VN_SHAPE(1, d[0], d[1], d[2]), p->pictures + i * p->size}};
        const vn_fetch out = {"decoded", p->decoded + i * p->size};
        status = vn_runner_run(p->runner, &one, 1, &in, 1, &out, err);
    }
    return status ? status : draw(p, step, path, err);
}

void vn_pairs_close(vn_pairs *p) {
    vn_runner_close(&p->runner);
    vn_free(p->pictures);
    vn_free(p->decoded);
    vn_free(p->shown);
    p->pictures = p->decoded = p->shown = NULL;
}
