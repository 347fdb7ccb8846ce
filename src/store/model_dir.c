/* model_dir.c - directories in diffusers' layout: what is where in one that is read, and the JSON files of one that is
 * written. What the JSON means is for nn/ and path/ to say. */
#include "store/internal.h"

#include <errno.h>
#include <string.h>

#define DIFFUSERS_VERSION "0.42.1"
#define SHARDS_FILE       VN_WEIGHTS_FILE ".index.json"
#define PICKLE_FILE       "diffusion_pytorch_model.bin"

/* a/b/c without empty parts; new string or NULL. */
static char *join3(const char *a, const char *b, const char *c) {
    return vn_format("%s%s%s%s%s", a, b[0] ? "/" : "", b, c[0] ? "/" : "", c);
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* Reads dir/folder/name, an object, into *out; NULL if there is no such file. */
static vn_status read_part(const char *dir, const char *folder, const char *name, json_t **out, vn_err *err) {
    char *path = join3(dir, folder, name);
    if (!path) return vn_no_memory(err);
    vn_status s = vn_is_file(path) ? vn_json_read(path, out, err) : VN_OK;
    if (!s && *out && !json_is_object(*out)) s = vn_fail(err, VN_BAD_FILE, "%s: is not a JSON object", path);
    vn_free(path);
    return s;
}

static vn_status has_file(const char *dir, const char *folder, const char *name, bool *has, vn_err *err) {
    char *path = join3(dir, folder, name);
    if (!path) return vn_no_memory(err);
    *has = vn_is_file(path);
    vn_free(path);
    return VN_OK;
}

/* The part of a pipeline that is a network vane knows: an entry of its index called like a network's folder. */
static vn_status choose_folder(vn_model_dir *d, vn_err *err) {
    const char *folder = NULL;
    for (size_t i = 0; i < vn_net_row_count && !folder; i++)
        if (json_is_array(json_object_get(d->index, vn_net_rows[i].folder))) folder = vn_net_rows[i].folder;
    if (!folder) {
        const char *pipeline = json_string_value(json_object_get(d->index, "_class_name"));
        return vn_fail(err, VN_UNSUPPORTED, "%s: vane knows no network in a pipeline of class '%.80s'", d->path,
                       pipeline ? pipeline : "?");
    }
    d->folder = vn_strdup(folder);
    return d->folder ? VN_OK : vn_no_memory(err);
}

static vn_status read_config(vn_model_dir *d, vn_err *err) {
    vn_status s = read_part(d->path, d->folder, "config.json", &d->config, err);
    if (s || d->config) return s;
    if (d->index) return vn_fail(err, VN_BAD_FILE, "%s/%s: has no config.json", d->path, d->folder);
    return vn_fail(err, VN_BAD_FILE, "%s: holds neither model_index.json nor config.json, so it is no model", d->path);
}

static vn_status find_weights(vn_model_dir *d, vn_err *err) {
    static const char *const names[] = {VN_WEIGHTS_FILE, SHARDS_FILE};
    for (size_t i = 0; i < VN_COUNT(names); i++) {
        bool has = false;
        vn_status s = has_file(d->path, d->folder, names[i], &has, err);
        if (s) return s;
        if (!has) continue;
        d->weights = join3(d->path, d->folder, names[i]);
        return d->weights ? VN_OK : vn_no_memory(err);
    }
    return VN_OK;
}

static vn_status open_dir(vn_model_dir *d, vn_err *err) {
    vn_status s = read_part(d->path, "", "model_index.json", &d->index, err);
    if (!s && d->index) s = choose_folder(d, err);
    if (!s && !d->folder) {
        d->folder = vn_strdup("");
        if (!d->folder) s = vn_no_memory(err);
    }
    if (!s) s = read_config(d, err);
    if (!s && d->index) s = read_part(d->path, "scheduler", "scheduler_config.json", &d->scheduler, err);
    if (!s && d->index) s = read_part(d->path, "", "vane.json", &d->vane, err);
    if (!s) s = find_weights(d, err);
    return s;
}

static bool holds(const char *dir, const char *name) {
    char *path = dir ? join3(dir, "", name) : NULL;
    const bool is = path && vn_is_file(path);
    vn_free(path);
    return is;
}

/* The folder that `path` is in; new string or NULL. */
static char *folder_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const size_t end = n;
    while (n > 0 && path[n - 1] != '/') n--;
    if (n == 0 && end == 1 && path[0] == '.') return vn_strdup("..");
    if (n == 0) return vn_strdup(".");
    while (n > 1 && path[n - 1] == '/') n--;
    return vn_format("%.*s", (int)n, path);
}

char *vn_model_dir_around(const char *part) {
    char *near = folder_of(part), *far = near ? folder_of(near) : NULL, *found = NULL;
    const bool whole = holds(near, "model_index.json");
    if (!whole && holds(far, "model_index.json"))
        found = far;
    else if (whole || holds(near, "config.json"))
        found = near;
    if (near != found) vn_free(near);
    if (far != found) vn_free(far);
    return found;
}

/* A config.json by itself stands for its directory. */
static vn_status resolve(const char *path, char **dir, vn_err *err) {
    const char *slash = strrchr(path, '/');
    if (vn_is_dir(path)) {
        *dir = vn_strdup(path);
    } else if (vn_is_file(path)) {
        if (strcmp(slash ? slash + 1 : path, "config.json") != 0)
            return vn_fail(err, VN_BAD_FILE, "%s: is neither a model directory nor a config.json", path);
        *dir = slash ? vn_format("%.*s", (int)(slash - path), slash == path ? "/" : path) : vn_strdup(".");
    } else {
        errno = ENOENT;
        return vn_fail_errno(err, "%s", path);
    }
    return *dir ? VN_OK : vn_no_memory(err);
}

vn_status vn_model_dir_open(const char *path, vn_model_dir *out, vn_err *err) {
    *out = (vn_model_dir){0};
    vn_status s = resolve(path, &out->path, err);
    if (!s) s = open_dir(out, err);
    if (s) vn_model_dir_close(out);
    return s;
}

void vn_model_dir_close(vn_model_dir *d) {
    vn_free(d->path);
    vn_free(d->folder);
    vn_free(d->weights);
    json_decref(d->index);
    json_decref(d->config);
    json_decref(d->scheduler);
    json_decref(d->vane);
    *d = (vn_model_dir){0};
}

vn_status vn_model_dir_weights(const vn_model_dir *d, const char **path, vn_err *err) {
    *path = d->weights;
    if (d->weights) return VN_OK;
    bool pickle = false;
    vn_status s = has_file(d->path, d->folder, PICKLE_FILE, &pickle, err);
    if (s) return s;
    const char *slash = d->folder[0] ? "/" : "";
    if (pickle)
        return vn_fail(err, VN_UNSUPPORTED, "%s%s%s: %s is a pickle, which can run code; save it as safetensors",
                       d->path, slash, d->folder, PICKLE_FILE);
    return vn_fail(err, VN_BAD_FILE, "%s%s%s: has no %s", d->path, slash, d->folder, VN_WEIGHTS_FILE);
}

/* ---- writing --------------------------------------------------------------------------------------------- */

/* index[name] = [library, class] */
static vn_status list_part(json_t *index, const char *name, const json_t *part, vn_err *err) {
    const char *class_name = json_string_value(json_object_get(part, "_class_name"));
    if (!class_name) return vn_fail(err, VN_BAD_ARGUMENT, "the %s's config has no _class_name", name);
    const char *library = json_object_get(part, "_diffusers_version") ? "diffusers" : "vane";
    json_t *entry = json_pack("[ss]", library, class_name);
    return entry && json_object_set_new(index, name, entry) == 0 ? VN_OK : vn_no_memory(err);
}

static vn_status make_index(const vn_model_parts *parts, json_t **out, vn_err *err) {
    *out = json_pack("{ss ss}", "_class_name", parts->pipeline, "_diffusers_version", DIFFUSERS_VERSION);
    vn_status s = *out ? VN_OK : vn_no_memory(err);
    if (!s && parts->scheduler) s = list_part(*out, "scheduler", parts->scheduler, err);
    if (!s) s = list_part(*out, parts->folder, parts->config, err);
    return s;
}

/* Writes value to dir/folder/name, making the folder. */
static vn_status write_part(const char *dir, const char *folder, const char *name, const json_t *value, vn_err *err) {
    char *parent = join3(dir, folder, ""), *path = join3(dir, folder, name);
    vn_status s = parent && path ? vn_make_dirs(parent, err) : vn_no_memory(err);
    if (!s) s = vn_json_write(path, value, err);
    vn_free(path);
    vn_free(parent);
    return s;
}

vn_status vn_store_save_model(const char *dir, const vn_model_parts *parts, vn_err *err) {
    json_t *index = NULL;
    vn_status s = make_index(parts, &index, err);
    if (!s) s = write_part(dir, parts->folder, "config.json", parts->config, err);
    if (!s && parts->scheduler) s = write_part(dir, "scheduler", "scheduler_config.json", parts->scheduler, err);
    if (!s && parts->vane) s = write_part(dir, "", "vane.json", parts->vane, err);
    if (!s) s = write_part(dir, "", "model_index.json", index, err);
    json_decref(index);
    return s;
}

char *vn_store_weights_path(const char *dir, const char *folder) {
    return join3(dir, folder, VN_WEIGHTS_FILE);
}
