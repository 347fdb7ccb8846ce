/* weights.c - flat arrays of a network's weights, in files under PyTorch's names and shapes. */
#include "store/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TELL_FROM ((int64_t)16 << 20) /* numbers: fewer are there at once */

/* ---- reading --------------------------------------------------------------------------------- */

vn_status vn_store_report(const vn_watch *watch, const vn_weights *w, size_t numbers, vn_err *err) {
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
static vn_status load_array(vn_safetensors *const *files, size_t file_count,
                            const vn_weight_array *array, float *scratch, const vn_watch *watch,
                            vn_err *err) {
    const vn_weights *w = array->weights;
    size_t numbers = 0;
    if (scratch) memset(array->values, 0, vn_weights_floats(w) * sizeof(float));
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        const vn_array *t = NULL;
        const char *path = NULL;
        vn_status status =
            vn_store_find_tensor(files, file_count, array->prefix, weight->name, &t, &path, err);
        if (!status) status = vn_store_check_tensor(t, weight, path, err);
        if (!status && scratch) status = vn_store_report(watch, w, numbers, err);
        if (status) return status;
        if (!scratch) continue;
        numbers += weight->count;
        vn_array_read_f32(t, scratch);
        vn_weight_from_file(weight, scratch, array->values + weight->offset);
    }
    if (scratch && array->pieces)
        array->pieces->keep(array->pieces->self, array->part, array->which);
    return VN_OK;
}

static bool is_wanted(const char *name, const vn_weight_array *arrays, size_t array_count) {
    for (size_t i = 0; i < array_count; i++) {
        size_t n = strlen(arrays[i].prefix);
        if (strncmp(name, arrays[i].prefix, n) == 0 && vn_weights_find(arrays[i].weights, name + n))
            return true;
    }
    return false;
}

/* Whether a tensor is wanted under the name that it once had, in place of today's. */
static vn_status is_old(vn_safetensors *const *files, size_t file_count, const char *name,
                        const vn_weight_array *arrays, size_t array_count, bool *is, vn_err *err) {
    char *now;
    const char *path;
    const vn_status status = vn_store_old_name(name, false, &now, err);
    *is = now && is_wanted(now, arrays, array_count) &&
          !vn_store_find_in(files, file_count, now, &path);
    vn_free(now);
    return status;
}

/* Whether a tensor is wanted, today or under an old name, or lies beside one that is (*beside). */
static vn_status has_place(vn_safetensors *const *files, size_t file_count, const char *name,
                           const vn_weight_array *arrays, size_t array_count, bool *has,
                           bool *beside, vn_err *err) {
    char weight[VN_SURPLUS];
    *beside = false;
    *has = is_wanted(name, arrays, array_count);
    if (*has) return VN_OK;
    vn_status status = is_old(files, file_count, name, arrays, array_count, has, err);
    if (status || *has || !vn_store_is_surplus(name, weight)) return status;
    *has = is_wanted(weight, arrays, array_count);
    if (!*has) status = is_old(files, file_count, weight, arrays, array_count, has, err);
    *beside = *has;
    return status;
}

vn_status vn_store_refuse_extras(vn_safetensors *const *files, size_t file_count,
                                 const vn_weight_array *arrays, size_t array_count, vn_err *err) {
    size_t total = 0, expected = 0;
    for (size_t i = 0; i < array_count; i++) expected += vn_weights_count(arrays[i].weights);
    for (size_t f = 0; f < file_count; f++) {
        size_t count = vn_safetensors_count(files[f]);
        for (size_t i = 0; i < count; i++) {
            const char *name = vn_safetensors_at(files[f], i)->name;
            bool wanted, beside;
            const vn_status status =
                has_place(files, file_count, name, arrays, array_count, &wanted, &beside, err);
            if (status) return status;
            expected += beside;
            if (!wanted)
                return vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' is not part of this model",
                               vn_safetensors_path(files[f]), name);
        }
        total += count;
    }
    if (total == expected) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: a tensor is in more than one shard",
                   vn_safetensors_path(files[0]));
}

size_t vn_store_largest_weight(const vn_weights *w) {
    size_t largest = 0;
    for (size_t i = 0; i < vn_weights_count(w); i++)
        if (vn_weights_at(w, i)->count > largest) largest = vn_weights_at(w, i)->count;
    return largest;
}

/* Numbers of the largest weight of all arrays. */
static size_t largest_of(const vn_weight_array *arrays, size_t count) {
    size_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t here = vn_store_largest_weight(arrays[i].weights);
        if (here > largest) largest = here;
    }
    return largest;
}

vn_status vn_store_load_array(vn_safetensors *file, const vn_weight_array *array, vn_err *err) {
    float *scratch = vn_alloc(vn_store_largest_weight(array->weights), sizeof *scratch);
    if (!scratch) return vn_no_memory(err);
    const vn_status status = load_array(&file, 1, array, scratch, NULL, err);
    vn_free(scratch);
    return status;
}

vn_status vn_store_load_arrays(vn_safetensors *const *files, size_t file_count,
                               const vn_weight_array *arrays, size_t array_count,
                               const vn_watch *watch, vn_err *err) {
    vn_status status = VN_OK;
    /* First all must be there: memory that was asked for on a small config's word is not touched
     * before. */
    for (size_t i = 0; i < array_count && !status; i++)
        status = load_array(files, file_count, &arrays[i], NULL, NULL, err);
    if (status) return status;
    float *scratch = vn_alloc(largest_of(arrays, array_count), sizeof *scratch);
    if (!scratch) return vn_no_memory(err);
    for (size_t i = 0; i < array_count && !status; i++)
        status = load_array(files, file_count, &arrays[i], scratch, watch, err);
    if (!status) status = vn_store_refuse_extras(files, file_count, arrays, array_count, err);
    vn_free(scratch);
    return status;
}

vn_status vn_store_load_weights(const char *path, const vn_weights *w, float *values,
                                const vn_watch *watch, vn_err *err) {
    const vn_weight_array array = {.prefix = "", .weights = w, .values = values};
    vn_shards s;
    vn_status status = vn_shards_open(path, &s, err);
    if (!status) status = vn_store_load_arrays(s.file, s.count, &array, 1, watch, err);
    vn_shards_close(&s);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A tensor: a weight of an array. They are made in `scratch` one at a time. */
typedef struct stored_weight {
    const vn_weight_array *array;
    const vn_weight *weight;
} stored_weight;

typedef struct repacker {
    stored_weight *tensor; /* [tensors] */
    float *scratch;
    const vn_weight_array *brought; /* the latest, of arrays in pieces; or NULL */
    vn_err err;
} repacker;

/* Tensors of one array follow each other in a file, as their names begin alike. */
static bool bring(repacker *r, const vn_weight_array *array) {
    const vn_state_pieces *pieces = array->pieces;
    if (!pieces || r->brought == array) return true;
    r->brought = array;
    return pieces->bring(pieces->self, array->part, array->which, &r->err) == VN_OK;
}

static const void *repack(void *user, size_t i) {
    repacker *r = user;
    const stored_weight *p = &r->tensor[i];
    if (!bring(r, p->array)) return NULL;
    vn_weight_to_file(p->weight, p->array->values + p->weight->offset, r->scratch);
    return r->scratch;
}

/* Array by array. Names live in the arena. */
static vn_status describe(const repacker *r, const vn_weight_array *arrays, size_t array_count,
                          vn_array *tensors, vn_arena *names, vn_err *err) {
    size_t n = 0;
    for (size_t k = 0; k < array_count; k++)
        for (size_t i = 0; i < vn_weights_count(arrays[k].weights); i++, n++) {
            const vn_weight *weight = vn_weights_at(arrays[k].weights, i);
            size_t size = strlen(arrays[k].prefix) + strlen(weight->name) + 1;
            char *name = vn_arena_alloc(names, size);
            if (!name) return vn_no_memory(err);
            snprintf(name, size, "%s%s", arrays[k].prefix, weight->name);
            tensors[n] = (vn_array){.name = name, .dtype = VN_F32, .shape = weight->file};
            r->tensor[n] = (stored_weight){&arrays[k], weight};
        }
    return VN_OK;
}

vn_status vn_store_save_arrays(const char *path, const vn_weight_array *arrays, size_t array_count,
                               const json_t *metadata, vn_err *err) {
    size_t total = 0;
    for (size_t i = 0; i < array_count; i++) total += vn_weights_count(arrays[i].weights);
    vn_arena names = {0};
    repacker r = {.tensor = vn_alloc(total, sizeof *r.tensor),
                  .scratch = vn_alloc(largest_of(arrays, array_count), sizeof(float))};
    vn_array *tensors = vn_alloc(total, sizeof *tensors);
    vn_status status = r.tensor && r.scratch && tensors
                           ? describe(&r, arrays, array_count, tensors, &names, err)
                           : vn_no_memory(err);
    if (!status) status = vn_safetensors_stream(path, tensors, total, metadata, repack, &r, err);
    if (r.err.status) {
        *err = r.err;
        status = err->status;
    }
    vn_arena_free(&names);
    vn_free(tensors);
    vn_free(r.tensor);
    vn_free(r.scratch);
    return status;
}

vn_status vn_store_save_network(const char *path, const vn_weight_array *array, int64_t step,
                                vn_err *err) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)step);
    /* what Python's readers look for */
    json_t *metadata = step < 0 ? json_pack("{ss}", "format", "pt")
                                : json_pack("{ss ss}", "format", "pt", VN_STEP_KEY, text);
    if (!metadata) return vn_no_memory(err);
    vn_status status = vn_store_save_arrays(path, array, 1, metadata, err);
    json_decref(metadata);
    return status;
}

vn_status vn_store_save_weights(const char *path, const vn_weights *w, const float *values,
                                int64_t step, vn_err *err) {
    const vn_weight_array array = {
        .prefix = "", .weights = w, .values = (float *)values}; /* only read */
    return vn_store_save_network(path, &array, step, err);
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
