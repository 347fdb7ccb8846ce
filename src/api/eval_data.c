/* eval_data.c - what a model is measured on: exact draws of a world, tensors that somebody drew, or
 * data that could be trained on. */
#include "api/eval.h"
#include "data/data.h"

#include <string.h>

enum { DEFAULT_COUNT = 1000, MAX_CLASSES = 65536 };

void vn_eval_data_close(vn_eval_data *d) {
    vn_free(d->x);
    vn_free(d->labels);
    vn_free(d->of_class);
    *d = (vn_eval_data){0};
}

/* Takes memory for what is looked at of `available` samples (0: as many as wanted). */
static vn_status reserve(vn_eval_data *d, const vn_model *m, int64_t wanted, int64_t available,
                         vn_err *err) {
    d->count = wanted ? wanted : DEFAULT_COUNT;
    if (available && !wanted && available < d->count) d->count = available;
    if (available && d->count > available)
        return vn_fail(err, VN_BAD_ARGUMENT, "count %lld: there are only %lld samples",
                       (long long)d->count, (long long)available);
    d->x = vn_alloc((size_t)d->count, (size_t)m->size * sizeof(float));
    d->labels = vn_alloc((size_t)d->count, sizeof(int32_t));
    d->available = available;
    return d->x && d->labels ? VN_OK : vn_no_memory(err);
}

static vn_status check_shape(const vn_model *m, const char *file, const vn_shape *sample,
                             vn_err *err) {
    if (vn_shape_equal(sample, &m->sample)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: samples have another shape than those of %s", file,
                   m->source);
}

/* ---- sources --------------------------------------------------------------------------------- */

static vn_status draw(const vn_model *m, const vn_eval_options *o, vn_eval_data *d, vn_err *err) {
    if (!m->truth)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`data` is needed: samples to measure on; only a world draws its own");
    const vn_status status = reserve(d, m, o->count, 0, err);
    for (int64_t i = 0; !status && i < d->count; i++) {
        d->labels[i] = o->label == VN_LABEL_ALL ? (int32_t)(i % m->classes) : o->label;
        vn_world_draw(m->truth, d->labels[i], o->seed, (uint64_t)i, d->x + i * m->size);
    }
    return status;
}

/* How many samples of each class of the model there are, and how many of them were drawn. */
static vn_status count_classes(vn_eval_data *d, const vn_model *m, const int32_t *labels,
                               const int64_t *index, vn_err *err) {
    if (!labels || m->classes == 0) return VN_OK;
    d->of_class = vn_calloc(2 * (size_t)m->classes, sizeof *d->of_class);
    if (!d->of_class) return vn_no_memory(err);
    for (int64_t i = 0; i < d->available; i++)
        if (labels[i] >= 0 && labels[i] < m->classes) d->of_class[m->classes + labels[i]]++;
    for (int64_t i = 0; i < d->count; i++)
        if (labels[index[i]] >= 0 && labels[index[i]] < m->classes) d->of_class[labels[index[i]]]++;
    return VN_OK;
}

/* Which samples: *index [d->count], freed by the caller. */
static vn_status choose(vn_eval_data *d, const vn_model *m, const vn_eval_options *o,
                        const int32_t *labels, int64_t **index, vn_err *err) {
    *index = vn_alloc((size_t)d->count, sizeof **index);
    vn_status status = *index ? vn_eval_draw(labels, d->available, d->count, o->seed, *index, err)
                              : vn_no_memory(err);
    if (!status && o->label == VN_LABEL_ALL) status = count_classes(d, m, labels, *index, err);
    return status;
}

/* *labels [available], freed by the caller; NULL: the file has none. */
static vn_status read_labels(const vn_safetensors *st, int64_t available, int32_t **labels,
                             vn_err *err) {
    const vn_array *t = vn_safetensors_find(st, "labels");
    if (!t) return VN_OK;
    if (t->shape.rank != 1 || t->shape.dim[0] != available)
        return vn_fail(err, VN_BAD_FILE, "%s: labels are not one for each sample",
                       vn_safetensors_path(st));
    *labels = vn_alloc((size_t)available, sizeof **labels);
    const vn_status status = *labels ? vn_array_read_i32(t, *labels, err) : vn_no_memory(err);
    for (int64_t i = 0; !status && i < available; i++)
        if ((*labels)[i] < VN_LABEL_NULL || (*labels)[i] >= MAX_CLASSES)
            return vn_fail(err, VN_BAD_FILE, "%s: sample %lld is of class %d",
                           vn_safetensors_path(st), (long long)i, (int)(*labels)[i]);
    return status;
}

/* Row i of a tensor: its bytes lie together. */
static void read_row(const vn_array *t, int64_t i, int64_t size, float *out) {
    vn_array row = *t;
    row.shape.dim[0] = 1;
    row.data = (const char *)t->data + (size_t)i * (size_t)size * vn_dtype_size(t->dtype);
    vn_array_read_f32(&row, out);
}

static vn_status read_tensors(const vn_model *m, const vn_eval_options *o, vn_eval_data *d,
                              vn_err *err) {
    vn_safetensors *st = NULL;
    const vn_array *t = NULL;
    int32_t *labels = NULL;
    int64_t *index = NULL;
    vn_status status = vn_safetensors_open(o->data, &st, err);
    if (!status) status = vn_safetensors_get(st, "samples", &t, err);
    const vn_shape one =
        status ? (vn_shape){0} : vn_shape_make(t->shape.rank - 1, t->shape.dim + 1);
    if (!status) status = check_shape(m, o->data, &one, err);
    if (!status && t->shape.dim[0] == 0)
        status = vn_fail(err, VN_BAD_FILE, "%s: is empty", o->data);
    if (!status) status = reserve(d, m, o->count, t->shape.dim[0], err);
    if (!status) status = read_labels(st, t->shape.dim[0], &labels, err);
    if (!status) status = choose(d, m, o, labels, &index, err);
    for (int64_t i = 0; !status && i < d->count; i++) {
        read_row(t, index[i], m->size, d->x + i * m->size);
        d->labels[i] = labels ? labels[index[i]] : VN_LABEL_NULL;
    }
    vn_free(labels);
    vn_free(index);
    vn_safetensors_close(&st);
    return status;
}

/* The chosen samples of data, channels first. */
static vn_status take_samples(vn_data *data, const vn_model *m, const int64_t *index,
                              vn_eval_data *d, vn_err *err) {
    char part[64];
    const double began = vn_now();
    float *last = vn_alloc((size_t)m->size, sizeof *last);
    vn_status status = last ? VN_OK : vn_no_memory(err);
    vn_eval_part(m, "reading", 1, part);
    for (int64_t i = 0; !status && i < d->count; i++) {
        if (vn_eval_report(m, part, i, d->count, began))
            status = vn_fail(err, VN_CANCELLED, "stopped");
        else
            status = vn_data_at(data, index[i], last, &d->labels[i], err);
        if (!status)
            vn_channels_first(
                d->x + i * m->size, last, 1, vn_shape_is_image(&m->sample) ? m->sample.dim[0] : 1,
                vn_shape_is_image(&m->sample) ? m->sample.dim[1] * m->sample.dim[2] : m->size, NULL,
                NULL);
    }
    vn_free(last);
    return status;
}

static vn_status read_data(const vn_model *m, const vn_eval_options *o, vn_eval_data *d,
                           vn_err *err) {
    /* to be made what the model was trained on */
    const bool pictures = vn_shape_is_image(&m->sample) && vn_data_is_folder(o->data);
    const vn_data_options options = {.seed = o->seed,
                                     .size = !pictures ? 0
                                             : m->sample.dim[1] == m->sample.dim[2]
                                                 ? m->sample.dim[1]
                                                 : -1,
                                     .grey = pictures && m->sample.dim[0] == 1,
                                     .classes = (const char *const *)m->names,
                                     .class_count = o->label == VN_LABEL_ALL ? m->classes : 0,
                                     .watch = &m->vn->watch};
    vn_data *data = NULL;
    int64_t *index = NULL;
    vn_status status = vn_data_open(o->data, &options, &data, err);
    if (status) return status;
    const vn_data_info *info = vn_data_get_info(data);
    status = check_shape(m, o->data, &info->sample, err);
    if (!status) status = reserve(d, m, o->count, info->count, err);
    if (!status) status = choose(d, m, o, vn_data_labels(data), &index, err);
    if (!status) status = take_samples(data, m, index, d, err);
    vn_free(index);
    vn_data_close(&data);
    return status;
}

/* ---- the public part ------------------------------------------------------------------------- */

vn_status vn_eval_data_open(vn_eval_data *d, const vn_model *m, const vn_eval_options *o,
                            vn_err *err) {
    vn_status status = !o->data                                ? draw(m, o, d, err)
                       : vn_ends_with(o->data, ".safetensors") ? read_tensors(m, o, d, err)
                                                               : read_data(m, o, d, err);
    for (int64_t i = 0; i < d->count && !status; i++) {
        if (o->label != VN_LABEL_ALL) d->labels[i] = o->label;
        if (m->classes == 0) d->labels[i] = VN_LABEL_NULL;
        if (vn_model_check_label(m, d->labels[i], err) != VN_OK) {
            err->status = status = VN_BAD_FILE;
            vn_fail_in(err, "%s: sample %lld", o->data, (long long)i);
        }
    }
    return status;
}
