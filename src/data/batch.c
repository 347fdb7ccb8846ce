/* batch.c - samples of open data: by their positions in the order that they are seen in, drawn
 * flips and shifts included, or as the source has them. */
#include "data/folder.h"
#include "data/internal.h"

#include <string.h>

enum { MAX_BATCH = 1 << 24 };

/* ---- one sample ------------------------------------------------------------------------------ */

static void copy_image(const vn_data *d, const uint8_t *pixels, bool flip, float *x) {
    const int64_t c = d->source.sample.dim[0], h = d->source.sample.dim[1],
                  w = d->source.sample.dim[2];
    if (!flip) {
        for (int64_t i = 0; i < h * w * c; i++) x[i] = d->level[pixels[i]];
        return;
    }
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < w; j++)
            for (int64_t k = 0; k < c; k++)
                x[(i * w + j) * c + k] = d->level[pixels[(i * w + w - 1 - j) * c + k]];
}

static bool flips(const vn_data *d, vn_data_part part, uint64_t position) {
    uint32_t bits = 0;
    if (!d->flip || part != VN_DATA_TRAIN) return false;
    vn_random_bits(&bits, 1, d->seed, VN_STREAM_AUGMENT, position, 0);
    return (bits & 1) != 0;
}

/* Reports pictures that others were used in place of, and keeps them for the run's list. */
static vn_status take_spoilt(vn_data *d, vn_err *err) {
    vn_spoilt spoilt;
    while (vn_prefetch_spoilt(d->feed, &spoilt)) {
        vn_log(d->watch, VN_LOG_WARNING, "%s; skipped: another stands in for it", spoilt.err.text);
        vn_folder_mark(d->source.folder, spoilt.index, true);
        d->info.skipped++;
    }
    if (!d->list || !vn_folder_list_changed(d->source.folder)) return VN_OK;
    return vn_folder_save_list(d->source.folder, d->source.labels, d->list, err);
}

/* A picture that cannot be read ends the batch; a run may go on when it has been repaired or
 * removed. */
static vn_status fail_at(vn_data *d, int64_t index, vn_err *err) {
    const vn_status status = err->status;
    if (!vn_is_files_fault(status)) return status;
    if (!vn_folder_is_there(d->source.folder))
        return vn_fail_after(err, "the folder itself is gone");
    if (!d->list) return status;
    vn_folder_mark(d->source.folder, index, false);
    vn_folder_save_list(d->source.folder, d->source.labels, d->list, NULL);
    d->info.named++;
    return vn_fail_after(err, "repair or remove it, or go on without it (`skip_bad`)");
}

/* An image of floats [H,W,C], left and right exchanged. */
static void mirror(const vn_data *d, float *x) {
    const int64_t c = d->source.sample.dim[0], h = d->source.sample.dim[1],
                  w = d->source.sample.dim[2];
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < w / 2; j++)
            for (int64_t k = 0; k < c; k++) {
                float *a = &x[(i * w + j) * c + k], *b = &x[(i * w + w - 1 - j) * c + k];
                const float kept = *a;
                *a = *b;
                *b = kept;
            }
}

/* A picture of a folder. */
static vn_status take_picture(vn_data *d, vn_data_part part, uint64_t position, float *x,
                              int64_t *index, vn_err *err) {
    const uint8_t *pixels = NULL;
    vn_status status = vn_prefetch_take(d->feed, part, position, &pixels, index, err);
    if (status) return fail_at(d, *index, err);
    status = take_spoilt(d, err);
    copy_image(d, pixels, flips(d, part, position), x);
    vn_prefetch_done(d->feed);
    return status;
}

/* What is drawn for the position beside a flip. */
static void augment(const vn_data *d, vn_data_part part, uint64_t position, float *x) {
    int64_t dy, dx;
    if (!d->shift || part != VN_DATA_TRAIN) return;
    vn_draw_shift(d->shift, d->seed, position, &dy, &dx);
    vn_shift_picture(&d->source.sample, dy, dx, x);
}

/* The sample at one position, and its noise (NULL: not wanted); *index receives which it is. */
static vn_status copy_sample(vn_data *d, vn_data_part part, uint64_t position, float *x,
                             float *noise, int64_t *index, vn_err *err) {
    const vn_source *s = &d->source;
    const size_t size = vn_source_sample_size(s);
    if (d->feed) {
        const vn_status taken = take_picture(d, part, position, x, index, err);
        if (!taken) augment(d, part, position, x);
        return taken;
    }
    *index = vn_order_at(&d->order, part, position);
    const bool flip = flips(d, part, position), train = part == VN_DATA_TRAIN;
    if (d->coder.read)
        return d->coder.read(d->coder.self, *index, flip, train ? position : (uint64_t)*index,
                             train ? 0 : 1, x, err);
    const size_t at = (size_t)*index * size;
    vn_status status = VN_OK;
    if (s->rows)
        status = vn_rows_read(s->rows, *index, x, noise, err);
    else if (s->points)
        memcpy(x, s->points + at, size * sizeof *x);
    else
        copy_image(d, s->pixels + at, flip, x);
    if (noise && s->noise) memcpy(noise, s->noise + at, size * sizeof *noise);
    if (!status && flip && !s->pixels) mirror(d, x);
    if (!status && flip && noise) mirror(d, noise);
    if (!status) augment(d, part, position, x);
    return status;
}

/* ---- batches --------------------------------------------------------------------------------- */

vn_status vn_data_read(vn_data *data, vn_data_part part, uint64_t position, int64_t n,
                       const vn_data_samples *out, vn_err *err) {
    const vn_source *s = &data->source;
    const size_t size = (size_t)vn_shape_count(&data->info.sample);
    vn_err own = {0};
    if (!err) err = &own;
    if (n < 0 || n > MAX_BATCH)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples", (long long)n);
    if (part == VN_DATA_HELD && data->order.held == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "no samples are held out");
    if (out->noise && !s->brings_noise)
        return vn_fail(err, VN_BAD_ARGUMENT, "the samples bring no noise");
    for (int64_t i = 0; i < n; i++) {
        int64_t index = 0;
        const size_t at = (size_t)i * size;
        const vn_status status = copy_sample(data, part, position + (uint64_t)i, out->x + at,
                                             out->noise ? out->noise + at : NULL, &index, err);
        if (status) return status;
        if (out->labels) out->labels[i] = s->labels ? s->labels[index] : VN_LABEL_NULL;
        if (out->captions)
            out->captions[i] = vn_data_draw_caption(data, part, position + (uint64_t)i, index);
    }
    return VN_OK;
}

vn_status vn_data_pairs(vn_data *data, vn_data_part part, uint64_t position, int64_t n, float *x,
                        float *noise, int32_t *labels, vn_err *err) {
    const vn_data_samples out = {.x = x, .noise = noise, .labels = labels};
    return vn_data_read(data, part, position, n, &out, err);
}

vn_status vn_data_batch(vn_data *data, vn_data_part part, uint64_t position, int64_t n, float *x,
                        int32_t *labels, vn_err *err) {
    return vn_data_pairs(data, part, position, n, x, NULL, labels, err);
}

vn_status vn_data_at(vn_data *data, int64_t i, float *x, int32_t *label, vn_err *err) {
    const vn_source *s = &data->source;
    const size_t size = vn_source_sample_size(s);
    vn_status status = VN_OK;
    if (label) *label = s->labels ? s->labels[i] : VN_LABEL_NULL;
    if (s->rows) return vn_rows_read(s->rows, i, x, NULL, err);
    if (s->points) {
        memcpy(x, s->points + (size_t)i * size, size * sizeof *x);
    } else if (s->pixels) {
        copy_image(data, s->pixels + (size_t)i * size, false, x);
    } else {
        uint8_t *pixels = vn_alloc(size, 1);
        status = pixels ? vn_folder_decode(s->folder, i, pixels, err) : vn_no_memory(err);
        if (!status) copy_image(data, pixels, false, x);
        vn_free(pixels);
    }
    return status;
}
