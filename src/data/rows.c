/* rows.c - samples of a program's own: in its arrays, which are read where they lie, or made one by
 * one by its callback. Images are channels first there and channels last here. */
#include "data/internal.h"

#include <math.h>
#include <string.h>

enum { MAX_CLASSES = 65536, MAX_DIMENSION = 65536 };

struct vn_rows {
    vn_train_data data;
    size_t size;   /* numbers in a sample */
    float *planar; /* [2,size] what a callback has written: a sample, and its noise */
};

const char *vn_data_rows_name(const vn_train_data *rows) {
    return rows->name && rows->name[0] ? rows->name : vn_rows_kind(rows);
}

const char *vn_rows_kind(const vn_train_data *rows) {
    return rows->samples ? "arrays" : "callback";
}

/* ---- opening --------------------------------------------------------------------------------- */

static vn_status check_members(const vn_train_data *d, const char *name, vn_err *err) {
    if (!d->samples == !d->read)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: vn_train_data has %s", name,
                       d->read ? "both `samples` and `read`: give one of them"
                               : "neither `samples` nor `read`");
    if (d->read && d->noise)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: `noise` goes with `samples`; what `read` gives is said by `has_noise`",
                       name);
    if (d->samples && (d->has_noise || d->key))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `%s` has no effect without `read`", name,
                       d->key ? "key" : "has_noise");
    if (!d->labels && (d->classes || d->class_names))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `%s` has no effect without `labels`", name,
                       d->classes ? "classes" : "class_names");
    if (d->labels && (d->classes < 1 || d->classes > MAX_CLASSES))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `classes` is %d: with labels it is 1 to %d", name,
                       (int)d->classes, MAX_CLASSES);
    for (int32_t k = 0; d->class_names && k < d->classes; k++)
        if (!d->class_names[k])
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: class %d has no name", name, (int)k);
    return VN_OK;
}

static vn_status check_shape(const vn_train_data *d, const char *name, vn_err *err) {
    const vn_shape *s = &d->sample;
    char text[128];
    const int64_t most = vn_shape_is_image(s) ? VN_IMAGE_MAX_SIDE : MAX_DIMENSION;
    bool ok = vn_shape_is_image(s) || s->rank == 1;
    for (int i = 0; ok && i < s->rank; i++) ok = s->dim[i] >= 1 && s->dim[i] <= most;
    if (!ok && (s->rank < 0 || s->rank > VN_MAX_RANK))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `sample` has %d axes", name, s->rank);
    if (!ok)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `sample` is %s: images are [C,H,W], points [D]",
                       name, vn_shape_text(s, text));
    if (d->count < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: `count` is %lld", name, (long long)d->count);
    return VN_OK;
}

static vn_status take_labels(const vn_train_data *d, const char *name, vn_source *out,
                             vn_err *err) {
    if (!d->labels) return VN_OK;
    out->labels = vn_alloc((size_t)d->count, sizeof *out->labels);
    if (!out->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < d->count; i++)
        if (d->labels[i] < 0 || d->labels[i] >= d->classes)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: label %d of sample %lld is not in [0, %d)",
                           name, (int)d->labels[i], (long long)i, (int)d->classes);
    memcpy(out->labels, d->labels, (size_t)d->count * sizeof *out->labels);
    return d->class_names ? vn_source_copy_names(out, d->class_names, d->classes, err)
                          : vn_source_number_names(out, d->classes, err);
}

static vn_status refuse_number(const char *name, const char *of, int64_t sample, vn_err *err) {
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s: the %s of sample %lld has a number that is not finite", name, of,
                   (long long)sample);
}

static bool all_finite(const float *x, size_t size) {
    for (size_t k = 0; k < size; k++)
        if (!isfinite(x[k])) return false;
    return true;
}

static vn_status check_numbers(const vn_rows *r, const char *name, const vn_watch *watch,
                               vn_err *err) {
    const vn_train_data *d = &r->data;
    vn_reading reading;
    vn_reading_begin(&reading, watch, (uint64_t)d->count * r->size * sizeof(float));
    vn_status status = VN_OK;
    for (int64_t i = 0; d->samples && i < d->count && !status; i++) {
        const size_t at = (size_t)i * r->size;
        if (!all_finite(d->samples + at, r->size)) return refuse_number(name, "array", i, err);
        if (d->noise && !all_finite(d->noise + at, r->size))
            return refuse_number(name, "noise", i, err);
        status = vn_reading_advance(&reading, r->size * sizeof(float), err);
    }
    return status;
}

vn_status vn_rows_open(const vn_train_data *data, const vn_watch *watch, vn_source *out,
                       vn_err *err) {
    const char *name = vn_data_rows_name(data);
    vn_status status = check_members(data, name, err);
    if (!status) status = check_shape(data, name, err);
    if (!status && vn_source_fits(data->count, 0, err) != VN_OK) {
        vn_fail_in(err, "%s", name);
        status = err->status = VN_BAD_ARGUMENT;
    }
    if (status) return status;
    out->sample = data->sample;
    out->count = data->count;
    out->brings_noise = data->noise || data->has_noise;
    vn_rows *r = out->rows = vn_calloc(1, sizeof *r);
    if (!r) return vn_no_memory(err);
    r->data = *data;
    r->size = vn_source_sample_size(out);
    r->planar = vn_alloc(2 * r->size, sizeof(float));
    if (!r->planar) return vn_no_memory(err);
    status = check_numbers(r, name, watch, err);
    return !status ? take_labels(data, name, out, err) : status;
}

void vn_rows_close(vn_rows **rows) {
    if (*rows) vn_free((*rows)->planar);
    vn_free(*rows);
    *rows = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* [C,H,W] to [H,W,C]; of points, a copy. */
static void interleave(const vn_shape *sample, const float *from, float *to) {
    const size_t channels = (size_t)vn_shape_channels(sample),
                 pixels = (size_t)vn_shape_pixels(sample);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) to[i * channels + c] = from[c * pixels + i];
}

static vn_status call(const vn_rows *r, int64_t i, float *noise, vn_err *err) {
    const char *name = vn_data_rows_name(&r->data);
    vn_status status = r->data.read(r->data.user, i, r->planar, noise);
    if (status)
        return vn_fail(err, status, "%s: `read` failed at sample %lld (%s)", name, (long long)i,
                       vn_status_name(status));
    if (!all_finite(r->planar, r->size)) return refuse_number(name, "array", i, err);
    return noise && !all_finite(noise, r->size) ? refuse_number(name, "noise", i, err) : VN_OK;
}

vn_status vn_rows_read(const vn_rows *r, int64_t i, float *x, float *noise, vn_err *err) {
    const vn_train_data *d = &r->data;
    const size_t at = (size_t)i * r->size;
    float *second = d->has_noise ? r->planar + r->size : NULL;
    const vn_status status = d->read ? call(r, i, second, err) : VN_OK;
    if (status) return status;
    interleave(&d->sample, d->read ? r->planar : d->samples + at, x);
    if (noise) interleave(&d->sample, d->read ? second : d->noise + at, noise);
    return VN_OK;
}

const float *vn_rows_array(const vn_rows *r) {
    return r->data.samples;
}

const float *vn_rows_noise(const vn_rows *r) {
    return r->data.noise;
}

uint64_t vn_rows_key(const vn_rows *r) {
    return r->data.key;
}
