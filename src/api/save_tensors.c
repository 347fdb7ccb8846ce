/* save_tensors.c - samples as arrays: a .safetensors with all that is known of each sample, or a
 * .npy of the samples alone. Both are written as samples come. */
#include "api/save.h"

#include <string.h>

/* places in the .safetensors; SAMPLES in .npy too */
enum { SAMPLES, LABELS, GUIDANCE, MOST = GUIDANCE + 4 };
/* samples whose labels are put together */
enum { BLOCK = 4096 };

/* [count, ..] of one. */
static vn_shape shape_of(const vn_samples *s, const vn_shape *one) {
    vn_shape shape = {.rank = one->rank + 1, .dim = {s->count}};
    for (int i = 0; i < one->rank; i++) shape.dim[i + 1] = one->dim[i];
    return shape;
}

/* The places of those that not all samples have, after the others. */
typedef struct further {
    size_t latents, trace, trace_t, count; /* count: of all */
} further;

static further further_of(const vn_samples *s) {
    further f = {.count = GUIDANCE + 1};
    if (s->decoded) f.latents = f.count++;
    if (s->levels) f.trace = f.count++;
    if (s->levels) f.trace_t = f.count++;
    return f;
}

/* The prompts of the settings, one or several in turn: a new list, empty where there are none. */
static json_t *prompts_of(const json_t *settings) {
    const char *list = json_string_value(json_object_get(settings, "prompts-in-turn"));
    json_t *one = json_object_get(settings, "prompt");
    return list ? json_loads(list, 0, NULL) : one ? json_pack("[O]", one) : json_array();
}

/* "prompts": JSON, a text for each sample. */
static bool add_prompts(const vn_samples *s, json_t *all) {
    json_t *list = json_array();
    bool ok = list != NULL, any = false;
    for (size_t b = 0; ok && b < s->band_count; b++) {
        const vn_samples_band *band = &s->bands[b];
        json_t *prompts = prompts_of(band->settings);
        const size_t n = json_array_size(prompts);
        ok = prompts != NULL;
        for (int64_t i = 0; i < band->count && ok && n; i++)
            ok = !json_array_append(
                list, json_array_get(prompts, (size_t)((band->index + (uint64_t)i) % n)));
        any = any || n;
        json_decref(prompts);
    }
    char *text = ok && any ? vn_json_text(list, JSON_COMPACT) : NULL;
    if (ok && any) ok = text && !json_object_set_new(all, "prompts", json_string(text));
    vn_free(text);
    json_decref(list);
    return ok;
}

/* The metadata: the settings of all and, of several bands, which samples each has and how they were
 * drawn, as JSON. */
static json_t *metadata_of(const vn_samples *s) {
    json_t *all = vn_json_copy(s->settings), *bands = json_array();
    bool ok = all && bands;
    for (size_t i = 0; ok && i < s->band_count; i++) {
        const vn_samples_band *band = &s->bands[i];
        ok = json_array_append_new(
                 bands, json_pack("{s:I, s:I, s:f, s:O, s:O}", "first", (json_int_t)band->first,
                                  "count", (json_int_t)band->count, "guidance", band->guidance,
                                  "guide", json_object_get(band->settings, "guide"), "seed",
                                  json_object_get(band->settings, "seed"))) == 0;
    }
    char *text = ok && s->band_count > 1
                     ? vn_json_text(bands, JSON_COMPACT | JSON_REAL_PRECISION(15))
                     : NULL;
    if (ok && s->band_count > 1)
        ok = text && json_object_set_new(all, "bands", json_string(text)) == 0;
    vn_free(text);
    json_decref(bands);
    if (ok) ok = add_prompts(s, all);
    if (ok) return all;
    json_decref(all);
    return NULL;
}

/* And what killed processes left is removed. */
static vn_status check_file(const vn_saver *s, vn_err *err) {
    return s->to ? VN_OK : vn_check_file(s->path, err);
}

static vn_status open_safetensors(vn_saver *s, vn_err *err) {
    const vn_samples *of = s->of;
    vn_status status = check_file(s, err);
    json_t *metadata = !status ? metadata_of(of) : NULL;
    if (!metadata) return status ? status : vn_no_memory(err);
    vn_shape states = {.rank = of->state.rank + 2, .dim = {of->levels, of->count}};
    for (int i = 0; i < of->state.rank; i++) states.dim[i + 2] = of->state.dim[i];
    const further more = further_of(of);
    vn_array tensors[MOST] = {
        [SAMPLES] = {.name = "samples", .dtype = VN_F32, .shape = shape_of(of, &of->sample)},
        [LABELS] = {.name = "labels", .dtype = VN_I64, .shape = VN_SHAPE(of->count)},
        [GUIDANCE] = {.name = "guidance", .dtype = VN_F64, .shape = VN_SHAPE(of->count)},
    };
    if (of->decoded)
        tensors[more.latents] =
            (vn_array){.name = "latents", .dtype = VN_F32, .shape = shape_of(of, &of->state)};
    if (of->levels) {
        tensors[more.trace] = (vn_array){.name = "trace", .dtype = VN_F32, .shape = states};
        tensors[more.trace_t] =
            (vn_array){.name = "trace_t", .dtype = VN_F64, .shape = VN_SHAPE(of->levels)};
    }
    vn_tensor_file *f = NULL;
    status = vn_safetensors_begin(s->path, s->to, tensors, more.count, metadata, &f, err);
    s->self = f;
    if (!status && of->levels)
        status = vn_tensor_file_put(f, more.trace_t, 0, (size_t)of->levels, of->trace_t, err);
    json_decref(metadata);
    return status;
}

static vn_status open_npy(vn_saver *s, vn_err *err) {
    const vn_shape shape = shape_of(s->of, &s->of->sample);
    vn_tensor_file *f = NULL;
    vn_status status = check_file(s, err);
    if (!status) status = vn_npy_begin(s->path, s->to, VN_F32, &shape, &f, err);
    s->self = f;
    return status;
}

static double guidance_of(const vn_samples *s, int64_t i) {
    size_t b = 0;
    while (i >= s->bands[b].first + s->bands[b].count) b++;
    return s->bands[b].guidance;
}

static vn_status put_npy(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                         vn_err *err) {
    const size_t size = (size_t)s->of->size;
    return vn_tensor_file_put(s->self, SAMPLES, (size_t)first * size, (size_t)n * size, rows->data,
                              err);
}

static vn_status put_labels(vn_saver *s, int64_t first, int64_t n, const int32_t *labels,
                            vn_err *err) {
    int64_t wide[BLOCK];
    double guidance[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        wide[i] = labels[i];
        guidance[i] = guidance_of(s->of, first + i);
    }
    const vn_status status =
        vn_tensor_file_put(s->self, LABELS, (size_t)first, (size_t)n, wide, err);
    return status ? status
                  : vn_tensor_file_put(s->self, GUIDANCE, (size_t)first, (size_t)n, guidance, err);
}

static vn_status put_safetensors(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                                 vn_err *err) {
    const vn_samples *of = s->of;
    const int64_t size = of->state_size;
    const further more = further_of(of);
    vn_status status = put_npy(s, first, n, rows, err);
    if (!status && of->decoded)
        status = vn_tensor_file_put(s->self, more.latents, (size_t)(first * size),
                                    (size_t)(n * size), rows->latents, err);
    for (int64_t level = 0; level < of->levels && !status; level++)
        status =
            vn_tensor_file_put(s->self, more.trace, (size_t)((level * of->count + first) * size),
                               (size_t)(n * size), rows->trace + level * n * size, err);
    for (int64_t i = 0; i < n && !status; i += BLOCK)
        status = put_labels(s, first + i, n - i < BLOCK ? n - i : BLOCK, rows->labels + i, err);
    return status;
}

static vn_status commit_tensors(vn_saver *s, vn_err *err) {
    vn_tensor_file *f = s->self;
    s->self = NULL;
    return vn_tensor_file_commit(&f, err);
}

static void close_tensors(vn_saver *s) {
    vn_tensor_file *f = s->self;
    vn_tensor_file_abandon(&f);
}

const vn_form vn_form_safetensors = {
    .ending = ".safetensors",
    .dimensions = -1,
    .traces = true,
    .open = open_safetensors,
    .put = put_safetensors,
    .commit = commit_tensors,
    .close = close_tensors,
};

const vn_form vn_form_npy = {
    .ending = ".npy",
    .dimensions = -1,
    .open = open_npy,
    .put = put_npy,
    .commit = commit_tensors,
    .close = close_tensors,
};
