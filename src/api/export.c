/* export.c - vn_export: a copy of a model's directory whose matrices have another number type. No
 * network is opened: each tensor of each safetensors file is written again, and every other file is
 * copied, but for what is the training's own. */
#include "api/internal.h"
#include "api/run_dir.h"
#include "store/store.h"

#include <dirent.h>
#include <math.h>
#include <string.h>

enum { MOST_DEPTH = 8 };

#define WEIGHTS   ".safetensors"
#define INDEX     ".safetensors.index." /* json, or of a variant fp16.json */
#define MOST_HALF 65520.0f              /* from here on a float rounds to infinity in F16 */

typedef struct export_job {
    vn_dtype type;
    const char *word; /* its name, as the caller said it */
    int files;        /* of weights */
} export_job;

/* ---- tensors --------------------------------------------------------------------------------- */

/* Biases, norms and numbers that are no weights stay what they are, unless all become float32. */
static vn_dtype type_of(const export_job *j, const vn_array *t) {
    if (!vn_dtype_is_float(t->dtype)) return t->dtype;
    return j->type == VN_F32 || t->shape.rank >= 2 ? j->type : t->dtype;
}

static vn_status check_range(const export_job *j, const char *path, const vn_array *t,
                             const float *x, size_t n, vn_err *err) {
    for (size_t i = 0; i < n && j->type == VN_F16; i++)
        if (fabsf(x[i]) >= MOST_HALF && !isinf(x[i]))
            return vn_fail(err, VN_BAD_FILE,
                           "%s: tensor '%.200s' has %g, which is too large for %s; bf16 holds it",
                           path, t->name, (double)x[i], j->word);
    return VN_OK;
}

static vn_status put_tensor(const export_job *j, const char *path, vn_tensor_file *to, size_t i,
                            const vn_array *t, vn_err *err) {
    const size_t n = (size_t)vn_shape_count(&t->shape);
    const vn_dtype type = type_of(j, t);
    if (type == t->dtype) return vn_tensor_file_put(to, i, 0, n, t->data, err);
    float *x = vn_alloc(n + 1, sizeof *x);
    void *out = vn_alloc(n + 1, sizeof *x);
    vn_status status = x && out ? VN_OK : vn_no_memory(err);
    if (!status) vn_array_read_f32(t, x);
    if (!status) status = check_range(j, path, t, x, n, err);
    if (!status) vn_floats_write(type, n, x, out);
    if (!status) status = vn_tensor_file_put(to, i, 0, n, out, err);
    vn_free(x);
    vn_free(out);
    return status;
}

static vn_status put_file(const export_job *j, const vn_safetensors *from, const char *to,
                          vn_err *err) {
    const size_t count = vn_safetensors_count(from);
    vn_array *all = vn_calloc(count + 1, sizeof *all);
    vn_tensor_file *file = NULL;
    if (!all) return vn_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        all[i] = *vn_safetensors_at(from, i);
        all[i].dtype = type_of(j, &all[i]);
    }
    vn_status status =
        vn_safetensors_begin(to, NULL, all, count, vn_safetensors_metadata(from), &file, err);
    for (size_t i = 0; i < count && !status; i++)
        status = put_tensor(j, vn_safetensors_path(from), file, i, vn_safetensors_at(from, i), err);
    if (!status)
        status = vn_tensor_file_commit(&file, err);
    else
        vn_tensor_file_abandon(&file);
    vn_free(all);
    return status;
}

static vn_status export_weights(export_job *j, const char *from, const char *to, vn_err *err) {
    vn_safetensors *st = NULL;
    vn_status status = vn_safetensors_open(from, &st, err);
    if (!status) status = put_file(j, st, to, err);
    vn_safetensors_close(&st);
    j->files++;
    return status;
}

/* ---- the index of shards --------------------------------------------------------------------- */

static vn_status add_bytes(const export_job *j, const char *path, double *bytes, vn_err *err) {
    vn_safetensors *st = NULL;
    const vn_status status = vn_safetensors_open(path, &st, err);
    for (size_t i = 0; !status && i < vn_safetensors_count(st); i++) {
        const vn_array *t = vn_safetensors_at(st, i);
        size_t count, size;
        if (vn_array_size(&t->shape, type_of(j, t), &count, &size)) *bytes += (double)size;
    }
    vn_safetensors_close(&st);
    return status;
}

/* Its "total_size" is that of the new files. */
static vn_status export_index(const export_job *j, const char *from, const char *folder,
                              const char *to, vn_err *err) {
    json_t *index = NULL, *seen = json_object(), *shard;
    const char *name;
    double bytes = 0;
    vn_status status = seen ? vn_json_read(from, &index, err) : vn_no_memory(err);
    json_t *metadata = json_object_get(index, "metadata");
    json_object_foreach(json_object_get(index, "weight_map"), name, shard) {
        const char *file = json_string_value(shard);
        if (status || !file || strchr(file, '/') || json_object_get(seen, file)) continue;
        char *path = vn_path_join(folder, file);
        status = path ? add_bytes(j, path, &bytes, err) : vn_no_memory(err);
        if (!status && json_object_set_new(seen, file, json_true())) status = vn_no_memory(err);
        vn_free(path);
    }
    if (!status && json_object_get(metadata, "total_size") &&
        json_object_set_new(metadata, "total_size", json_integer((json_int_t)bytes)))
        status = vn_no_memory(err);
    if (!status) status = vn_json_write(to, index, err);
    json_decref(seen);
    json_decref(index);
    return status;
}

/* ---- the directory --------------------------------------------------------------------------- */

/* What a training needs to go on, and what it showed, is no part of the model. */
static bool is_of_training(const char *name, int depth) {
    static const char *const names[] = {"state", "previews", "log.jsonl"};
    if (name[0] == '.') return true;
    for (size_t i = 0; i < VN_COUNT(names) && depth == 0; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static vn_status export_folder(export_job *j, const char *from, const char *to, int depth,
                               vn_err *err);

static vn_status export_one(export_job *j, const char *folder, const char *from, const char *to,
                            int depth, vn_err *err) {
    if (vn_is_dir(from)) return export_folder(j, from, to, depth + 1, err);
    if (vn_ends_with(from, WEIGHTS)) return export_weights(j, from, to, err);
    if (strstr(from, INDEX) && vn_ends_with(from, ".json"))
        return export_index(j, from, folder, to, err);
    return vn_copy_file(from, to, err);
}

static vn_status export_folder(export_job *j, const char *from, const char *to, int depth,
                               vn_err *err) {
    if (depth > MOST_DEPTH)
        return vn_fail(err, VN_BAD_FILE, "%s: folders lie too deep in each other", from);
    DIR *dir = opendir(from);
    if (!dir) return vn_fail_errno(err, "%s: cannot be read", from);
    vn_status status = vn_make_dirs(to, err);
    for (struct dirent *e; !status && (e = readdir(dir));) {
        if (is_of_training(e->d_name, depth)) continue;
        char *source = vn_path_join(from, e->d_name), *copy = vn_path_join(to, e->d_name);
        status = source && copy ? export_one(j, from, source, copy, depth, err) : vn_no_memory(err);
        vn_free(source);
        vn_free(copy);
    }
    closedir(dir);
    return status;
}

/* ---- the public call ------------------------------------------------------------------------- */

static vn_status find_type(export_job *j, vn_err *err) {
    static const struct {
        const char *word;
        vn_dtype type;
    } types[] = {{"f32", VN_F32}, {"f16", VN_F16}, {"bf16", VN_BF16}};
    for (size_t i = 0; i < VN_COUNT(types); i++) {
        if (!vn_same_but_for_case(j->word, types[i].word)) continue;
        j->type = types[i].type;
        return VN_OK;
    }
    return vn_fail(err, VN_BAD_ARGUMENT, "there is no number type %.40s: f32, f16 or bf16",
                   j->word);
}

static vn_status check_source(const char *source, const char *out, vn_err *err) {
    vn_model_dir dir;
    if (!vn_is_dir(source))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: is no folder of a model or a run", source);
    if (vn_is_dir(out) || vn_is_file(out))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s exists: name a new folder for the copy", out);
    if (vn_run_dir_inside(out, source))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s lies in %s, which it would be a copy of", out,
                       source);
    const vn_status status = vn_model_dir_open(source, &dir, err);
    vn_model_dir_close(&dir);
    return status;
}

static vn_status export_to(export_job *j, const char *source, const char *out, vn_err *err) {
    vn_run_dir d = {0};
    vn_status status = vn_run_dir_begin(&d, out, false, err);
    if (!status) status = vn_run_dir_make(&d, err);
    if (!status) {
        status = export_folder(j, source, d.aside, 0, err);
        if (!status && !j->files)
            status = vn_fail(err, VN_BAD_FILE, "%s: has no weights in safetensors files", source);
        if (!status) status = vn_run_dir_name(&d, err);
        if (status) vn_run_dir_fail(&d, err);
    }
    vn_run_dir_close(&d, !status);
    return status;
}

vn_status vn_export(vn_context *vn, const char *source, const char *dtype, const char *out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!source || !dtype || !out)
        return vn_end(vn,
                      vn_fail(err, VN_BAD_ARGUMENT, "vn_export: source, dtype and out are needed"));
    export_job j = {.word = dtype};
    vn_status status = find_type(&j, err);
    if (!status) status = check_source(source, out, err);
    if (!status) status = export_to(&j, source, out, err);
    return vn_end(vn, status);
}
