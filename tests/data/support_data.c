/* support_data.c - see support_data.h. */
#include "support_data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "image/image.h"
#include "support/idx.h"

static void require(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "%s\n", what);
    exit(99);
}

uint8_t data_pixel(int64_t i, int64_t k) {
    return (uint8_t)(((uint32_t)(i * 7919 + k) * 2654435761u) >> 24);
}

/* ---- IDX ------------------------------------------------------------------------------------- */

static void write_packed(const char *path, const void *bytes, size_t size) {
    gzFile f = gzopen(path, "wb");
    require(f != NULL && gzwrite(f, bytes, (unsigned)size) == (int)size && gzclose(f) == Z_OK,
            path);
}

void make_idx(const char *prefix, int count, int height, int width, bool packed) {
    const int size = height * width;
    uint8_t *pixels = malloc((size_t)(count * size)), *labels = malloc((size_t)count);
    require(pixels != NULL && labels != NULL, "memory");
    for (int i = 0; i < count * size; i++) pixels[i] = data_pixel(i / size, i % size);
    for (int i = 0; i < count; i++) labels[i] = (uint8_t)(i % 3);
    idx_write(prefix, packed ? ".gz" : "", (int[]){count, height, width}, pixels, labels,
              packed ? write_packed : scratch_write);
    free(pixels);
    free(labels);
}

/* ---- folders --------------------------------------------------------------------------------- */

void make_picture(const char *path, int i, int width, int height, int channels) {
    vn_image image;
    vn_err err = {0};
    require(vn_image_alloc(&image, width, height, channels, &err) == VN_OK, err.text);
    for (int k = 0; k < width * height * channels; k++) image.pixels[k] = data_pixel(i, k);
    require(vn_png_write(path, &image, NULL, 0, &err) == VN_OK, err.text);
    vn_image_free(&image);
}

void make_classes(const char *folder, int each, int width, int height, int channels) {
    /* made in another order than sorted */
    static const char *const classes[] = {"cat", "ant", "bee"};
    static const int place[] = {2, 0, 1};
    char path[512];
    mkdir(folder, 0777);
    for (int c = 0; c < 3; c++) {
        snprintf(path, sizeof path, "%s/%s", folder, classes[c]);
        mkdir(path, 0777);
        for (int i = each - 1; i >= 0; i--) {
            snprintf(path, sizeof path, "%s/%s/%03d.png", folder, classes[c], i);
            make_picture(path, place[c] * each + i, width, height, channels);
        }
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

vn_data *must_open(const char *source, const vn_data_options *options) {
    vn_data *data = NULL;
    vn_err err = {0};
    require(vn_data_open(source, options, &data, &err) == VN_OK, err.text);
    return data;
}

void must_refuse(const char *source, const vn_data_options *options, vn_status status,
                 const char *words) {
    vn_data *data = NULL;
    vn_err err = {0};
    const vn_status s = vn_data_open(source, options, &data, &err);
    if (s == status && !data && strstr(err.text, words) && !strchr(err.text, '\n')) return;
    fprintf(stderr, "%s: status %d with \"%s\", expected %d with \"%s\"\n", source, (int)s,
            err.text, (int)status, words);
    exit(1);
}

size_t sample_size(const vn_data *data) {
    const vn_data_info *info = vn_data_get_info(data);
    return !vn_shape_is_image(&info->sample)
               ? (size_t)info->sample.dim[0]
               : (size_t)(info->sample.dim[0] * info->sample.dim[1] * info->sample.dim[2]);
}

float *read_all(vn_data *data, int32_t *labels) {
    const vn_data_info *info = vn_data_get_info(data);
    vn_err err = {0};
    float *x = malloc((size_t)info->count * sample_size(data) * sizeof *x);
    require(x != NULL, "memory");
    require(vn_data_batch(data, VN_DATA_ALL, 0, info->count, x, labels, &err) == VN_OK, err.text);
    return x;
}

void must_be_keyed(vn_data *few, vn_data *many, vn_data *other, size_t n) {
    float *a = read_all(few, NULL), *b = read_all(many, NULL), *c = read_all(other, NULL);
    assert_memory_equal(a, b, n * sizeof *a);
    assert_memory_not_equal(a, c, n * sizeof *a);
    free(a);
    free(b);
    free(c);
    vn_data_close(&few);
    vn_data_close(&many);
    vn_data_close(&other);
}
