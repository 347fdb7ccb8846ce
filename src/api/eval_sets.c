/* eval_sets.c - opens and reads the sets of samples that are measured. */
#include <string.h>

#include "api/eval.h"

enum { MAX_CLASSES = 65536, DRAWN_AT_ONCE = 256 };

void vn_eval_set_close(vn_eval_set *s) {
    vn_free(s->of_class);
    vn_free(s->labels);
    vn_free(s->of_all);
    vn_free(s->index);
    vn_free(s->last);
    vn_free(s->scratch);
    vn_safetensors_close(&s->st);
    vn_npy_file_close(&s->npy);
    vn_data_close(&s->data);
    vn_autoencoder_free(&s->autoencoder);
    if (s->drawn) vn_drawing_close(&s->drawing);
    *s = (vn_eval_set){0};
}

/* ---- which of all ---------------------------------------------------------------------------- */

/* How many samples of each class there are, and how many of them were taken. */
static vn_status count_classes(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    if (!s->of_all || ask->classes == 0 || !ask->tell) return VN_OK;
    s->of_class = vn_calloc(2 * (size_t)ask->classes, sizeof *s->of_class);
    if (!s->of_class) return vn_no_memory(err);
    for (int64_t i = 0; i < s->available; i++)
        if (s->of_all[i] >= 0 && s->of_all[i] < ask->classes)
            s->of_class[ask->classes + s->of_all[i]]++;
    for (int64_t i = 0; i < s->set.count; i++)
        if (s->labels[i] >= 0 && s->labels[i] < ask->classes) s->of_class[s->labels[i]]++;
    return VN_OK;
}

/* Those of the class that is asked for: pool [*count], of all. */
static vn_status gather(const vn_eval_set *s, const vn_eval_ask *ask, int64_t *pool, int64_t *count,
                        vn_err *err) {
    const bool one = ask->of >= 0 && s->of_all;
    *count = 0;
    for (int64_t i = 0; i < s->available; i++)
        if (!one || s->of_all[i] == ask->of) pool[(*count)++] = i;
    if (*count > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: none of its %lld samples is of class %d", ask->path,
                   (long long)s->available, (int)ask->of);
}

static vn_status check_count(const vn_eval_ask *ask, int64_t there, vn_err *err) {
    if (ask->count <= there) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "count %lld: there are only %lld samples",
                   (long long)ask->count, (long long)there);
}

/* Which samples are looked at, with their labels; s->available and s->of_all are known. */
static vn_status choose(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    int64_t there = 0, *pool = vn_alloc((size_t)s->available, sizeof *pool);
    vn_status status = pool ? gather(s, ask, pool, &there, err) : vn_no_memory(err);
    if (!status) status = check_count(ask, there, err);
    if (!status) {
        s->set.count = ask->count                         ? ask->count
                       : ask->usual && ask->usual < there ? ask->usual
                                                          : there;
        s->index = vn_alloc((size_t)s->set.count, sizeof *s->index);
        s->labels = vn_alloc((size_t)s->set.count, sizeof *s->labels);
        if (!s->index || !s->labels) status = vn_no_memory(err);
    }
    /* of one class all labels are the same */
    if (!status)
        status = vn_metric_select(there == s->available ? s->of_all : NULL, there, s->set.count,
                                  ask->seed, s->index, err);
    for (int64_t i = 0; !status && i < s->set.count; i++) {
        s->index[i] = pool[s->index[i]];
        s->labels[i] = s->of_all ? s->of_all[s->index[i]] : VN_LABEL_NULL;
    }
    if (!status) s->set.labels = s->of_all ? s->labels : NULL;
    vn_free(pool);
    return status ? status : count_classes(s, ask, err);
}

static vn_status take_shape(vn_eval_set *s, const vn_eval_ask *ask, const vn_shape *sample,
                            vn_err *err) {
    char one[128], other[128];
    s->set.sample = *sample;
    s->set.size = vn_shape_count(sample);
    s->set.name = ask->path;
    s->set.self = s;
    s->set.reading = "reading";
    if (sample->rank != 1 && sample->rank != 3)
        return vn_fail(err, VN_BAD_FILE, "%s: a sample is an image [C,H,W] or a point [D], not %s",
                       ask->path, vn_shape_text(sample, one));
    if (!ask->sample || vn_shape_equal(sample, ask->sample)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: samples have another shape, %s, than those of %s, %s",
                   ask->path, vn_shape_text(sample, one), ask->source,
                   vn_shape_text(ask->sample, other));
}

/* ---- .safetensors ---------------------------------------------------------------------------- */

static vn_status read_tensors(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_eval_set *s = self;
    (void)err;
    for (int64_t i = 0; i < n; i++) { /* the bytes of a row lie together */
        vn_array row = *s->array;
        row.shape.dim[0] = 1;
        row.data = (const char *)row.data +
                   (size_t)s->index[first + i] * (size_t)s->set.size * vn_dtype_size(row.dtype);
        vn_array_read_f32(&row, x + i * s->set.size);
    }
    return VN_OK;
}

/* s->of_all; NULL: the file has none. */
static vn_status read_labels(vn_eval_set *s, vn_err *err) {
    const vn_array *t = vn_safetensors_find(s->st, "labels");
    if (!t) return VN_OK;
    if (t->shape.rank != 1 || t->shape.dim[0] != s->available)
        return vn_fail(err, VN_BAD_FILE, "%s: labels are not one for each sample",
                       vn_safetensors_path(s->st));
    s->of_all = vn_alloc((size_t)s->available, sizeof *s->of_all);
    const vn_status status = s->of_all ? vn_array_read_i32(t, s->of_all, err) : vn_no_memory(err);
    for (int64_t i = 0; !status && i < s->available; i++)
        if (s->of_all[i] < VN_LABEL_NULL || s->of_all[i] >= MAX_CLASSES)
            return vn_fail(err, VN_BAD_FILE, "%s: sample %lld is of class %d",
                           vn_safetensors_path(s->st), (long long)i, (int)s->of_all[i]);
    return status;
}

static vn_status open_tensors(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    vn_status status = vn_safetensors_open(ask->path, &s->st, err);
    if (!status) status = vn_safetensors_get(s->st, "samples", &s->array, err);
    if (status) return status;
    const vn_shape *all = &s->array->shape;
    const vn_shape one = vn_shape_make(all->rank > 0 ? all->rank - 1 : 0, all->dim + 1);
    status = take_shape(s, ask, &one, err);
    if (!status && all->dim[0] == 0) status = vn_fail(err, VN_BAD_FILE, "%s: is empty", ask->path);
    s->available = all->dim[0];
    s->set.read = read_tensors;
    return !status ? read_labels(s, err) : status;
}

/* ---- .npy ------------------------------------------------------------------------------------ */

static vn_status read_npy(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_eval_set *s = self;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++)
        status = vn_npy_file_row(s->npy, s->index[first + i], x + i * s->set.size, err);
    return status;
}

static vn_status open_npy(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    vn_status status = vn_npy_file_open(ask->path, &s->npy, err);
    if (status) return status;
    const vn_shape all = vn_npy_file_shape(s->npy), one = vn_shape_make(all.rank - 1, all.dim + 1);
    s->available = all.dim[0];
    s->set.read = read_npy;
    return take_shape(s, ask, &one, err);
}

/* ---- data ------------------------------------------------------------------------------------ */

static vn_status read_data(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_eval_set *s = self;
    const bool image = vn_shape_is_image(&s->set.sample);
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++) {
        status = s->parted ? vn_data_batch(s->data, s->part, (uint64_t)s->index[first + i], 1,
                                           s->last, NULL, err)
                           : vn_data_at(s->data, s->index[first + i], s->last, NULL, err);
        if (!status)
            vn_channels_first(x + i * s->set.size, s->last, 1, vn_shape_channels(&s->set.sample),
                              image ? vn_shape_pixels(&s->set.sample) : 1, NULL, NULL);
    }
    return status;
}

static vn_status open_data(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    /* to be made what it is compared with */
    const vn_shape *as = ask->sample;
    const bool pictures = as && vn_shape_is_image(as) && vn_data_is_folder(ask->path);
    const vn_data_options options = {.seed = ask->seed,
                                     .size = !pictures                  ? 0
                                             : as->dim[1] == as->dim[2] ? as->dim[1]
                                                                        : -1,
                                     .grey = pictures && as->dim[0] == 1,
                                     .captions = ask->texts ? NULL : "none",
                                     .classes = ask->names,
                                     .class_count = ask->names ? ask->classes : 0,
                                     .watch = &ask->vn->watch};
    vn_status status = vn_data_open(ask->path, &options, &s->data, err);
    if (status) return status;
    const vn_data_info *info = vn_data_get_info(s->data);
    status = take_shape(s, ask, &info->sample, err);
    s->available = info->count;
    s->set.read = read_data;
    s->last = vn_alloc((size_t)s->set.size, sizeof *s->last);
    if (!status && !s->last) status = vn_no_memory(err);
    const int32_t *labels = vn_data_labels(s->data);
    if (!status && labels) {
        s->of_all = vn_alloc((size_t)s->available, sizeof *s->of_all);
        if (!s->of_all) return vn_no_memory(err);
        memcpy(s->of_all, labels, (size_t)s->available * sizeof *labels);
    }
    return status;
}

/* The part of a run's data, whose labels are known when it has been read. */
static vn_status open_run(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    vn_status status = vn_eval_run_data(ask->vn, ask->path, ask->training, &s->data, &s->available,
                                        &s->split, err);
    if (status) return status;
    const vn_data_info *info = vn_data_get_info(s->data);
    status = take_shape(s, ask, &info->sample, err);
    s->parted = true;
    s->part = ask->training ? VN_DATA_TRAIN : VN_DATA_HELD;
    s->set.read = read_data;
    s->last = vn_alloc((size_t)s->set.size, sizeof *s->last);
    s->of_all = vn_alloc((size_t)s->available, sizeof *s->of_all);
    if (!status && (!s->last || !s->of_all)) status = vn_no_memory(err);
    for (int64_t i = 0; i < s->available && !status; i++)
        status = vn_data_batch(s->data, s->part, (uint64_t)i, 1, s->last, &s->of_all[i], err);
    if (info->classes > 0) return status;
    vn_free(s->of_all);
    s->of_all = NULL;
    return status;
}

/* What the chosen samples are: the data, and which of it. */
static void make_key(vn_eval_set *s, const vn_eval_ask *ask) {
    uint64_t hash = 0xcbf29ce484222325u ^ s->split;
    for (int64_t i = 0; i < s->set.count; i++)
        hash = (hash ^ (uint64_t)s->index[i]) * 0x100000001b3u;
    char shape[128];
    vn_shape_text(&s->set.sample, shape);
    for (const char *c = shape; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    vn_snprintf(s->set.key, sizeof s->set.key, "%08x-%llu-%lld-%016llx",
                (unsigned)vn_data_get_info(s->data)->fingerprint, (unsigned long long)ask->seed,
                (long long)s->set.count, (unsigned long long)hash);
}

vn_status vn_eval_set_open(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err) {
    *s = (vn_eval_set){0};
    const vn_status status = vn_ends_with(ask->path, ".safetensors") ? open_tensors(s, ask, err)
                             : vn_ends_with(ask->path, ".npy")       ? open_npy(s, ask, err)
                             : vn_is_model_dir(ask->path)            ? open_run(s, ask, err)
                                                                     : open_data(s, ask, err);
    if (status) return status;
    const vn_status chosen = choose(s, ask, err);
    if (!chosen && s->data) make_key(s, ask);
    return chosen;
}

/* ---- exact draws ----------------------------------------------------------------------------- */

static vn_status read_world(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_eval_set *s = self;
    (void)err;
    for (int64_t i = 0; i < n; i++)
        vn_world_draw(s->world, s->labels[first + i], s->seed, (uint64_t)(first + i),
                      x + i * s->set.size);
    return VN_OK;
}

vn_status vn_eval_set_of_world(vn_eval_set *s, const vn_model *m, int32_t label, int64_t count,
                               uint64_t seed, vn_err *err) {
    *s = (vn_eval_set){.world = m->truth, .seed = seed};
    if (!m->truth)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`data` is needed: samples to measure on; only a world draws its own");
    s->labels = vn_alloc((size_t)count, sizeof *s->labels);
    if (!s->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < count; i++)
        s->labels[i] = label == VN_LABEL_ALL ? (int32_t)(i % m->classes) : label;
    s->set = (vn_set){.name = "the world",
                      .sample = m->sample,
                      .size = m->size,
                      .count = count,
                      .labels = s->labels,
                      .self = s,
                      .read = read_world,
                      .reading = "drawing"};
    return VN_OK;
}

/* ---- samples of a model ---------------------------------------------------------------------- */

static vn_status read_model(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    vn_eval_set *s = self;
    const vn_drawn_rows rows = {.data = x, .labels = s->scratch};
    return vn_drawing_rows(&s->drawing, first, n, &rows, &s->progress, err);
}

vn_status vn_eval_set_of_model(vn_eval_set *s, vn_model *m, const vn_sample_options *sample,
                               int64_t count, int32_t *labels, const vn_eval_texts *texts,
                               uint64_t seed, vn_err *err) {
    const bool asked = texts->text != NULL, labelled = !asked || texts->labelled;
    *s = (vn_eval_set){.labels = labels, .drawn = true};
    vn_sample_options o = vn_sample_options_default();
    vn_status status = vn_struct_take(&o, sizeof o, sample, "vn_sample_options", err);
    if (status) return status;
    o.count = count;
    o.seed = seed;
    o.prompts = asked ? texts->text : o.prompts;
    o.prompt_count = asked ? (size_t)texts->count : o.prompt_count;
    if (!asked) o.labels = labels;
    o.cycle = NULL;
    o.cycle_count = 0;
    status = vn_drawing_open(&s->drawing, m, &o, false, err);
    if (status) return status;
    const int64_t batch = s->drawing.batch, piece = s->drawing.selects || batch > DRAWN_AT_ONCE
                                                        ? batch
                                                        : DRAWN_AT_ONCE / batch * batch;
    s->scratch = vn_alloc((size_t)piece, sizeof *s->scratch);
    if (!s->scratch) return vn_no_memory(err);
    s->progress = (vn_draw_progress){.watch = &m->vn->watch, .total = count};
    s->set = (vn_set){.name = m->source,
                      .sample = *vn_model_shown(m),
                      .size = vn_shape_count(vn_model_shown(m)),
                      .count = count,
                      .labels = labelled ? labels : NULL,
                      .self = s,
                      .read = read_model,
                      .piece = piece,
                      .reading = "sampling",
                      .reports = true};
    return VN_OK;
}
