/* eval_data.c - what a model is measured on: exact draws of a world, tensors that somebody drew, or data that could be trained on. */
#include "api/eval.h"
#include "data/data.h"

#include <string.h>

enum { DEFAULT_COUNT = 1000 };

void vn_eval_data_close(vn_eval_data *d) {
    vn_free(d->x);
    vn_free(d->labels);
    *d = (vn_eval_data){0};
}

/* Takes memory for what is looked at of `available` samples (0: as many as wanted). */
static vn_status reserve(vn_eval_data *d, const vn_model *m, int64_t wanted, int64_t available, vn_err *err) {
    d->count = wanted ? wanted : DEFAULT_COUNT;
    if (available && !wanted && available < d->count) d->count = available;
    if (available && d->count > available)
        return vn_fail(err, VN_BAD_ARGUMENT, "count %lld: there are only %lld samples", (long long)d->count,
                       (long long)available);
    d->x = vn_alloc((size_t)d->count, (size_t)m->size * sizeof(float));
    d->labels = vn_alloc((size_t)d->count, sizeof(int32_t));
    return d->x && d->labels ? VN_OK : vn_no_memory(err);
}

static vn_status check_shape(const vn_model *m, const char *file, int rank, const int64_t *shape, vn_err *err) {
    if (rank == m->rank && memcmp(shape, m->shape, (size_t)rank * sizeof *shape) == 0) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: samples have another shape than those of %s", file, m->source);
}

/* ---- sources ------------------------------------------------------------------------------------------ */

static vn_status draw(const vn_model *m, const vn_eval_options *o, vn_eval_data *d, vn_err *err) {
    if (!m->world) return vn_fail(err, VN_BAD_ARGUMENT, "data is needed: only a world can draw samples of the truth");
    const vn_status status = reserve(d, m, o->count, 0, err);
    for (int64_t i = 0; status == VN_OK && i < d->count; i++) {
        d->labels[i] = o->label == VN_LABEL_ALL ? (int32_t)(i % m->classes) : o->label;
        vn_world_draw(m->world, d->labels[i], o->seed, (uint64_t)i, d->x + i * m->size);
    }
    return status;
}

static vn_status read_labels(const vn_safetensors *st, vn_eval_data *d, int64_t available, vn_err *err) {
    const vn_file_tensor *t = vn_safetensors_find(st, "labels");
    for (int64_t i = 0; i < d->count; i++) d->labels[i] = VN_LABEL_NULL;
    if (!t) return VN_OK;
    if (t->shape.rank != 1 || t->shape.dim[0] != available)
        return vn_fail(err, VN_BAD_FILE, "%s: labels are not one for each sample", vn_safetensors_path(st));
    int32_t *all = vn_alloc((size_t)available, sizeof *all);
    if (!all) return vn_no_memory(err);
    const vn_status status = vn_tensor_read_i32(t, all, err);
    if (status == VN_OK) memcpy(d->labels, all, (size_t)d->count * sizeof *all);
    vn_free(all);
    return status;
}

static vn_status read_tensors(const vn_model *m, const vn_eval_options *o, vn_eval_data *d, vn_err *err) {
    vn_safetensors *st = NULL;
    const vn_file_tensor *t = NULL;
    vn_status status = vn_safetensors_open(o->data, &st, err);
    if (status == VN_OK) status = vn_safetensors_get(st, "samples", &t, err);
    if (status == VN_OK) status = check_shape(m, o->data, t->shape.rank - 1, t->shape.dim + 1, err);
    if (status == VN_OK && t->shape.dim[0] == 0) status = vn_fail(err, VN_BAD_FILE, "%s: is empty", o->data);
    if (status == VN_OK) status = reserve(d, m, o->count, t->shape.dim[0], err);
    if (status == VN_OK) {
        vn_file_tensor part = *t;
        part.shape.dim[0] = d->count;
        vn_tensor_read_f32(&part, d->x);
        status = read_labels(st, d, t->shape.dim[0], err);
    }
    vn_safetensors_close(&st);
    return status;
}

static vn_status read_data(const vn_model *m, const vn_eval_options *o, vn_eval_data *d, vn_err *err) {
    const bool pictures = m->rank == 3 && vn_data_is_folder(o->data); /* to be made what the model was trained on */
    const vn_data_options options = {.seed = o->seed,
                                     .size = !pictures                    ? 0
                                             : m->shape[1] == m->shape[2] ? m->shape[1]
                                                                          : -1,
                                     .grey = pictures && m->shape[0] == 1,
                                     .classes = (const char *const *)m->names,
                                     .class_count = o->label == VN_LABEL_ALL ? m->classes : 0,
                                     .watch = &m->vn->watch};
    vn_data *data = NULL;
    float *last = NULL;
    vn_status status = vn_data_open(o->data, &options, &data, err);
    if (status != VN_OK) return status;
    const vn_data_info *info = vn_data_get_info(data);
    status = check_shape(m, o->data, info->rank, info->shape, err);
    if (status == VN_OK) status = reserve(d, m, o->count, info->count, err);
    if (status == VN_OK && !(last = vn_alloc((size_t)d->count, (size_t)m->size * sizeof *last)))
        status = vn_no_memory(err);
    if (status == VN_OK) status = vn_data_batch(data, VN_DATA_ALL, 0, d->count, last, d->labels, err);
    if (status == VN_OK)
        vn_channels_first(d->x, last, d->count, m->rank == 3 ? m->shape[0] : 1,
                          m->rank == 3 ? m->shape[1] * m->shape[2] : m->size, m->vn->crew);
    vn_free(last);
    vn_data_close(&data);
    return status;
}

/* ---- the public part ------------------------------------------------------------------------------------ */

vn_status vn_eval_data_open(vn_eval_data *d, const vn_model *m, const vn_eval_options *o, vn_err *err) {
    vn_status status = !o->data                                ? draw(m, o, d, err)
                       : vn_ends_with(o->data, ".safetensors") ? read_tensors(m, o, d, err)
                                                               : read_data(m, o, d, err);
    for (int64_t i = 0; i < d->count && status == VN_OK; i++) {
        if (o->label != VN_LABEL_ALL) d->labels[i] = o->label;
        if (m->classes == 0) d->labels[i] = VN_LABEL_NULL;
        if (vn_model_check_label(m, d->labels[i], err) != VN_OK) {
            err->status = status = VN_BAD_FILE;
            vn_fail_in(err, "%s: sample %lld", o->data, (long long)i);
        }
    }
    return status;
}
