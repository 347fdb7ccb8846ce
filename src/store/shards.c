/* shards.c - the files that hold a network's weights, one or the shards that an index names, and
 * the tensors in them. */
#include "store/internal.h"

#include <string.h>

#define MAX_SHARDS 1000

const vn_array *vn_store_find_in(vn_safetensors *const *files, size_t file_count, const char *name,
                                 const char **path) {
    const vn_array *found = NULL;
    for (size_t i = 0; i < file_count && !found; i++) {
        found = vn_safetensors_find(files[i], name);
        *path = vn_safetensors_path(files[i]);
    }
    return found;
}

vn_status vn_store_find_tensor(vn_safetensors *const *files, size_t file_count, const char *prefix,
                               const char *name, const vn_array **out, const char **path,
                               vn_err *err) {
    char *full = vn_format("%s%s", prefix, name), *old = NULL;
    if (!full) return vn_no_memory(err);
    *out = vn_store_find_in(files, file_count, full, path);
    vn_status status = *out ? VN_OK : vn_store_old_name(full, true, &old, err);
    if (!status && old) *out = vn_store_find_in(files, file_count, old, path);
    if (!status && !*out)
        status = vn_fail(err, VN_BAD_FILE, "%s: tensor '%.200s' is missing", *path, full);
    vn_free(full);
    vn_free(old);
    return status;
}

vn_status vn_store_check_tensor(const vn_array *t, const vn_weight *w, const char *path,
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
    if (!known && *count == MAX_SHARDS)
        status = vn_fail(err, VN_BAD_FILE, "%s: more than %d shards", index_path, MAX_SHARDS);
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

vn_status vn_shards_open(const char *path, vn_shards *out, vn_err *err) {
    json_t *index = NULL;
    *out = (vn_shards){.file = vn_calloc(MAX_SHARDS, sizeof(vn_safetensors *))};
    vn_status status = out->file ? VN_OK : vn_no_memory(err);
    if (!status && vn_ends_with(path, ".json")) {
        status = vn_json_read(path, &index, err);
        if (!status) status = open_shards(path, index, out->file, &out->count, err);
        json_decref(index);
    } else if (!status) {
        status = vn_safetensors_open(path, &out->file[out->count++], err);
    }
    if (status) vn_shards_close(out);
    return status;
}

void vn_shards_close(vn_shards *s) {
    for (size_t i = 0; i < s->count; i++) vn_safetensors_close(&s->file[i]);
    vn_free(s->file);
    *s = (vn_shards){0};
}

/* ---- copies ---------------------------------------------------------------------------------- */

static vn_status copy_into(const char *file, const char *folder, vn_err *err) {
    const char *slash = strrchr(file, '/');
    char *to = vn_path_join(folder, slash ? slash + 1 : file);
    const vn_status status = to ? vn_copy_file(file, to, err) : vn_no_memory(err);
    vn_free(to);
    return status;
}

vn_status vn_store_copy_weights(const char *file, const char *folder, vn_err *err) {
    vn_shards shards;
    vn_status status = vn_make_dirs(folder, err);
    if (!status && vn_ends_with(file, ".json")) status = copy_into(file, folder, err);
    if (!status) status = vn_shards_open(file, &shards, err);
    if (status) return status;
    for (size_t i = 0; i < shards.count && !status; i++)
        status = copy_into(vn_safetensors_path(shards.file[i]), folder, err);
    vn_shards_close(&shards);
    return status;
}
