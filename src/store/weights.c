/* weights.c - flat arrays of a network's weights, in files under PyTorch's names and shapes. */
#include "store/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TELL_FROM ((int64_t)16 << 20) /* numbers: fewer are there at once */

#define MOST_SHARDS 1000

/* ---- reading --------------------------------------------------------------------------------- */

static const vn_array *find_in(vn_safetensors *const *files, size_t file_count, const char *name,
                               const char **path) {
    const vn_array *found = NULL;
    for (size_t i = 0; i < file_count && !found; i++) {
        found = vn_safetensors_find(files[i], name);
        *path = vn_safetensors_path(files[i]);
    }
    return found;
}

/* The tensor prefix + name in any of the files, or where there is none under the name that it once
 * had. */
static vn_status find_tensor(vn_safetensors *const *files, size_t file_count, const char *prefix,
                             const char *name, const vn_array **out, const char **path,
                             vn_err *err) {
    char *full = vn_format("%s%s", prefix, name), *old = NULL;
    if (!full) return vn_no_memory(err);
    *out = find_in(files, file_count, full, path);
    vn_status status = *out ? VN_OK : vn_store_old_name(full, true, &old, err);
    if (!status && old) *out = find_in(files, file_count, old, path);
    if (!status && !*out)
        status = vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' is missing", *path, full);
    vn_free(full);
    vn_free(old);
    return status;
}

static vn_status check_tensor(const vn_array *t, const vn_weight *w, const char *path,
                              vn_err *err) {
    char found[128], expected[128];
    if (!vn_shape_equal(&t->shape, &w->file))
        return vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' has shape %s, expected %s", path,
                       t->name, vn_shape_text(&t->shape, found), vn_shape_text(&w->file, expected));
    if (!vn_dtype_is_float(t->dtype))
        return vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' is %s, expected a float type", path,
                       t->name, vn_dtype_name(t->dtype));
    return VN_OK;
}

/* Reports how much of an array is read, of large ones; loading can be stopped there. */
static vn_status report(const vn_watch *watch, const vn_weights *w, size_t numbers, vn_err *err) {
    const int64_t total = vn_weights_parameters(w);
    const vn_progress progress = {.what = "loading",
                                  .unit = "million numbers",
                                  .done = (int64_t)(numbers / 1000000),
                                  .total = total / 1000000,
                                  .seconds_left = -1,
                                  .loss = (double)NAN};
    if (total < TELL_FROM || !vn_report(watch, &progress)) return VN_OK;
    return vn_fail(err, VN_CANCELLED, "loading of the weights was cancelled");
}

/* Goes through all tensors of an array: with scratch they are read, without it only looked for. */
static vn_status load_array(vn_safetensors *const *files, size_t file_count, const vn_weights *w,
                            const vn_weight_array *array, float *scratch, const vn_watch *watch,
                            vn_err *err) {
    size_t numbers = 0;
    if (scratch) memset(array->values, 0, vn_weights_floats(w) * sizeof(float));
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        const vn_array *t = NULL;
        const char *path = NULL;
        vn_status status =
            find_tensor(files, file_count, array->prefix, weight->name, &t, &path, err);
        if (!status) status = check_tensor(t, weight, path, err);
        if (!status && scratch) status = report(watch, w, numbers, err);
        if (status) return status;
        if (!scratch) continue;
        numbers += weight->count;
        vn_array_read_f32(t, scratch);
        vn_weight_from_file(weight, scratch, array->values + weight->offset);
    }
    return VN_OK;
}

static bool is_wanted(const char *name, const vn_weights *w, const vn_weight_array *arrays,
                      size_t array_count) {
    for (size_t i = 0; i < array_count; i++) {
        size_t n = strlen(arrays[i].prefix);
        if (strncmp(name, arrays[i].prefix, n) == 0 && vn_weights_find(w, name + n)) return true;
    }
    return false;
}

/* Whether a tensor is wanted under the name that it once had, in place of today's. */
static vn_status is_old(vn_safetensors *const *files, size_t file_count, const char *name,
                        const vn_weights *w, const vn_weight_array *arrays, size_t array_count,
                        bool *is, vn_err *err) {
    char *now;
    const char *path;
    const vn_status status = vn_store_old_name(name, false, &now, err);
    *is = now && is_wanted(now, w, arrays, array_count) && !find_in(files, file_count, now, &path);
    vn_free(now);
    return status;
}

/* Once all that is wanted has been found: is there more? */
static vn_status refuse_extras(vn_safetensors *const *files, size_t file_count, const vn_weights *w,
                               const vn_weight_array *arrays, size_t array_count, vn_err *err) {
    size_t total = 0;
    for (size_t f = 0; f < file_count; f++) {
        size_t count = vn_safetensors_count(files[f]);
        for (size_t i = 0; i < count; i++) {
            const char *name = vn_safetensors_at(files[f], i)->name;
            bool wanted = is_wanted(name, w, arrays, array_count);
            const vn_status status =
                wanted ? VN_OK
                       : is_old(files, file_count, name, w, arrays, array_count, &wanted, err);
            if (status) return status;
            if (!wanted)
                return vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' is not part of this model",
                               vn_safetensors_path(files[f]), name);
        }
        total += count;
    }
    if (total == vn_weights_count(w) * array_count) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: a tensor is in more than one shard",
                   vn_safetensors_path(files[0]));
}

static size_t largest_weight(const vn_weights *w) {
    size_t largest = 0;
    for (size_t i = 0; i < vn_weights_count(w); i++)
        if (vn_weights_at(w, i)->count > largest) largest = vn_weights_at(w, i)->count;
    return largest;
}

vn_status vn_store_load_arrays(vn_safetensors *const *files, size_t file_count, const vn_weights *w,
                               const vn_weight_array *arrays, size_t array_count,
                               const vn_watch *watch, vn_err *err) {
    vn_status status = VN_OK;
    /* First all must be there: memory that was asked for on a small config's word is not touched
     * before. */
    for (size_t i = 0; i < array_count && !status; i++)
        status = load_array(files, file_count, w, &arrays[i], NULL, NULL, err);
    if (status) return status;
    float *scratch = vn_alloc(largest_weight(w), sizeof *scratch);
    if (!scratch) return vn_no_memory(err);
    for (size_t i = 0; i < array_count && !status; i++)
        status = load_array(files, file_count, w, &arrays[i], scratch, watch, err);
    if (!status) status = refuse_extras(files, file_count, w, arrays, array_count, err);
    vn_free(scratch);
    return status;
}

/* ---- shards: an index names, for each tensor, the file it is in ------------------------------ */

/* Opens directory/name as the next file, unless it is open. */
static vn_status open_shard(const char *index_path, const char *name, vn_safetensors **files,
                            size_t *count, vn_err *err) {
    if (!name || !name[0] || strchr(name, '/'))
        return vn_fail(err, VN_BAD_FILE, "%s: a shard is not the name of a file beside the index",
                       index_path);
    const char *slash = strrchr(index_path, '/');
    char *path = vn_format("%.*s%s", slash ? (int)(slash - index_path + 1) : 0, index_path, name);
    if (!path) return vn_no_memory(err);
    bool known = false;
    for (size_t i = 0; i < *count && !known; i++)
        known = strcmp(vn_safetensors_path(files[i]), path) == 0;
    vn_status status = VN_OK;
    if (!known && *count == MOST_SHARDS)
        status = vn_fail(err, VN_BAD_FILE, "%s: more than %d shards", index_path, MOST_SHARDS);
    else if (!known)
        status = vn_safetensors_open(path, &files[(*count)++], err);
    vn_free(path);
    return status;
}

static vn_status open_shards(const char *index_path, const json_t *index, vn_safetensors **files,
                             size_t *count, vn_err *err) {
    json_t *map = json_object_get(index, "weight_map"), *shard;
    const char *name;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return vn_fail(err, VN_BAD_FILE, "%s: has no weight_map", index_path);
    vn_status status = VN_OK;
    json_object_foreach(map, name, shard) if (!status) status =
        open_shard(index_path, json_string_value(shard), files, count, err);
    return status;
}

static vn_status load_sharded(const char *path, const vn_weights *w, const vn_weight_array *array,
                              const vn_watch *watch, vn_err *err) {
    json_t *index = NULL;
    size_t count = 0;
    vn_safetensors **files = vn_calloc(MOST_SHARDS, sizeof(vn_safetensors *));
    vn_status status = files ? vn_json_read(path, &index, err) : vn_no_memory(err);
    if (!status) status = open_shards(path, index, files, &count, err);
    if (!status) status = vn_store_load_arrays(files, count, w, array, 1, watch, err);
    for (size_t i = 0; i < count; i++) vn_safetensors_close(&files[i]);
    json_decref(index);
    vn_free(files);
    return status;
}

vn_status vn_store_load_weights(const char *path, const vn_weights *w, float *values,
                                const vn_watch *watch, vn_err *err) {
    vn_weight_array array = {"", values};
    if (vn_ends_with(path, ".json")) return load_sharded(path, w, &array, watch, err);
    vn_safetensors *st;
    vn_status status = vn_safetensors_open(path, &st, err);
    if (!status) status = vn_store_load_arrays(&st, 1, w, &array, 1, watch, err);
    vn_safetensors_close(&st);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Tensors are made in `scratch` one at a time: array i / count, weight i % count. */
typedef struct repacker {
    const vn_weights *weights;
    const vn_weight_array *arrays;
    float *scratch;
} repacker;

static const void *repack(void *user, size_t i) {
    const repacker *r = user;
    size_t count = vn_weights_count(r->weights);
    const vn_weight *weight = vn_weights_at(r->weights, i % count);
    vn_weight_to_file(weight, r->arrays[i / count].values + weight->offset, r->scratch);
    return r->scratch;
}

/* Names live in the arena. */
static vn_status describe(const repacker *r, size_t total, vn_array *tensors, vn_arena *names,
                          vn_err *err) {
    size_t count = vn_weights_count(r->weights);
    for (size_t i = 0; i < total; i++) {
        const vn_weight *weight = vn_weights_at(r->weights, i % count);
        const char *prefix = r->arrays[i / count].prefix;
        size_t size = strlen(prefix) + strlen(weight->name) + 1;
        char *name = vn_arena_alloc(names, size);
        if (!name) return vn_no_memory(err);
        snprintf(name, size, "%s%s", prefix, weight->name);
        tensors[i] = (vn_array){.name = name, .dtype = VN_F32, .shape = weight->file};
    }
    return VN_OK;
}

vn_status vn_store_save_arrays(const char *path, const vn_weights *w, const vn_weight_array *arrays,
                               size_t array_count, const json_t *metadata, vn_err *err) {
    size_t total = vn_weights_count(w) * array_count;
    vn_arena names = {0};
    repacker r = {w, arrays, vn_alloc(largest_weight(w), sizeof(float))};
    vn_array *tensors = vn_alloc(total, sizeof *tensors);
    vn_status status =
        r.scratch && tensors ? describe(&r, total, tensors, &names, err) : vn_no_memory(err);
    if (!status) status = vn_safetensors_stream(path, tensors, total, metadata, repack, &r, err);
    vn_arena_free(&names);
    vn_free(tensors);
    vn_free(r.scratch);
    return status;
}

vn_status vn_store_save_weights(const char *path, const vn_weights *w, const float *values,
                                int64_t step, vn_err *err) {
    vn_weight_array array = {"", (float *)values}; /* only read */
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)step);
    /* what Python's readers look for */
    json_t *metadata = step < 0 ? json_pack("{ss}", "format", "pt")
                                : json_pack("{ss ss}", "format", "pt", VN_STEP_KEY, text);
    if (!metadata) return vn_no_memory(err);
    vn_status status = vn_store_save_arrays(path, w, &array, 1, metadata, err);
    json_decref(metadata);
    return status;
}

int64_t vn_store_step_of(const vn_safetensors *st) {
    const char *text = vn_safetensors_metadata_text(st, VN_STEP_KEY);
    int64_t step;
    return text && vn_parse_int(text, &step) && step >= 0 ? step : -1;
}

vn_status vn_store_weights_step(const char *path, int64_t *step, vn_err *err) {
    *step = -1;
    if (vn_ends_with(path, ".json")) return VN_OK; /* sharded: not vane's */
    vn_safetensors *st;
    vn_status status = vn_safetensors_open(path, &st, err);
    if (status) return status;
    *step = vn_store_step_of(st);
    vn_safetensors_close(&st);
    return VN_OK;
}
