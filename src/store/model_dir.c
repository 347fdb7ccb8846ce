/* model_dir.c - directories in diffusers' layout: what is where in one that is read, and the JSON
 * files of one that is written. What the JSON means is for nn/ and path/ to say. */
#include "store/internal.h"

#include <string.h>

#define DIFFUSERS_VERSION "0.42.1"
#define EMA_ENDING        "_ema" /* of the folder that a training script keeps the average in */

/* a/b/c without empty parts; new string or NULL. */
static char *join3(const char *a, const char *b, const char *c) {
    return vn_format("%s%s%s%s%s", a, b[0] ? "/" : "", b, c[0] ? "/" : "", c);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Reads dir/folder/name, an object, into *out; NULL if there is no such file. */
static vn_status read_part(const char *dir, const char *folder, const char *name, json_t **out,
                           vn_err *err) {
    char *path = join3(dir, folder, name);
    if (!path) return vn_no_memory(err);
    vn_status status = vn_is_file(path) ? vn_json_read(path, out, err) : VN_OK;
    if (!status && *out && !json_is_object(*out))
        status = vn_fail(err, VN_BAD_FILE, "%s: is not a JSON object", path);
    vn_free(path);
    return status;
}

static vn_status has_file(const char *dir, const char *folder, const char *name, bool *has,
                          vn_err *err) {
    char *path = join3(dir, folder, name);
    if (!path) return vn_no_memory(err);
    *has = vn_is_file(path);
    vn_free(path);
    return VN_OK;
}

/* The part of a pipeline that is a network vane knows: an entry of its index called like a
 * network's folder. */
static vn_status choose_folder(vn_model_dir *d, vn_err *err) {
    const char *folder = NULL;
    const vn_net_row *row;
    for (size_t i = 0; (row = vn_net_row_at(i)) && !folder; i++)
        if (row->role != VN_ROLE_ENCODER && row->role != VN_ROLE_AUTOENCODER &&
            json_is_array(json_object_get(d->index, row->folder)))
            folder = row->folder;
    /* A run of an autoencoder has nothing else. */
    for (size_t i = 0; (row = vn_net_row_at(i)) && !folder; i++)
        if (row->role == VN_ROLE_AUTOENCODER &&
            json_is_array(json_object_get(d->index, row->folder)))
            folder = row->folder;
    if (!folder) {
        const char *pipeline = json_string_value(json_object_get(d->index, "_class_name"));
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: vane knows no network in a pipeline of class '%.80s'", d->path,
                       pipeline ? pipeline : "?");
    }
    /* The first pipelines had all their parts in one folder, where diffusers still looks for a part
     * that has none. */
    char *path = join3(d->path, folder, "");
    bool flat = false;
    if (!path) return vn_no_memory(err);
    vn_status status = vn_is_dir(path) ? VN_OK : has_file(d->path, "", "config.json", &flat, err);
    vn_free(path);
    d->folder = status ? NULL : vn_strdup(flat ? "" : folder);
    return status || d->folder ? status : vn_no_memory(err);
}

/* "; it has unet/ and unet_ema/: name one": the networks in a directory that is none itself. */
static void tell_networks(const vn_model_dir *d, vn_err *err) {
    static const char *const endings[] = {"", EMA_ENDING};
    char text[512] = "";
    const vn_net_row *row;
    for (size_t i = 0; (row = vn_net_row_at(i)); i++)
        for (size_t k = 0; k < VN_COUNT(endings); k++) {
            char *folder = vn_format("%s%s", row->folder, endings[k]);
            const size_t used = strlen(text);
            bool has = false;
            if (folder && !has_file(d->path, folder, "config.json", &has, NULL) && has)
                snprintf(text + used, sizeof text - used, "%s%s/%s", used ? ", " : "", d->path,
                         folder);
            vn_free(folder);
        }
    if (text[0]) vn_fail_after(err, "name one of the networks in it: %s", text);
}

static vn_status read_config(vn_model_dir *d, vn_err *err) {
    vn_status status = read_part(d->path, d->folder, "config.json", &d->config, err);
    if (status || d->config) return status;
    if (d->index)
        vn_fail(err, VN_BAD_FILE, "%s/%s: has no config.json", d->path, d->folder);
    else
        vn_fail(err, VN_BAD_FILE,
                "%s: holds neither model_index.json nor config.json, so it is no model", d->path);
    tell_networks(d, err);
    return VN_BAD_FILE;
}

/* The folder of the network. */
static char *folder_path(const vn_model_dir *d) {
    return join3(d->path, d->folder, "");
}

static vn_status read_scheduler(vn_model_dir *d, const char *model, vn_err *err) {
    const vn_status status =
        read_part(model, "scheduler", "scheduler_config.json", &d->scheduler, err);
    /* flat */
    return status || d->scheduler
               ? status
               : read_part(model, "", "scheduler_config.json", &d->scheduler, err);
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

/* The directory of the model around a file or folder; NULL: there is none. New string. */
static vn_status find_around(const char *part, char **out, vn_err *err) {
    char *near = folder_of(part), *far = near ? folder_of(near) : NULL;
    bool whole = false, far_whole = false, network = false;
    vn_status status =
        far ? has_file(near, "", "model_index.json", &whole, err) : vn_no_memory(err);
    if (!status && !whole) status = has_file(far, "", "model_index.json", &far_whole, err);
    if (!status && !whole && !far_whole) status = has_file(near, "", "config.json", &network, err);
    *out = status ? NULL : far_whole ? far : whole || network ? near : NULL;
    if (near != *out) vn_free(near);
    if (far != *out) vn_free(far);
    return status;
}

char *vn_model_dir_around(const char *part) {
    char *found;
    find_around(part, &found, NULL);
    return found;
}

/* Whether the index of a model names the folder as one of its parts. */
static vn_status is_part(const char *model, const json_t *index, const char *folder, bool *is,
                         vn_err *err) {
    char *config = join3(folder, "config.json", "");
    vn_status status = config ? VN_OK : vn_no_memory(err);
    const char *part;
    json_t *entry;
    *is = false;
    /* jansson's iterator is not const, and does not change it */
    json_object_foreach((json_t *)index, part, entry) {
        if (status || !json_is_array(entry)) continue;
        char *other = join3(model, part, "config.json");
        if (!other) status = vn_no_memory(err);
        if (!status) *is = *is || (vn_is_file(other) && vn_same_file(other, config));
        vn_free(other);
    }
    vn_free(config);
    return status;
}

/* The scheduler of the model around a folder that its index does not name, such as unet_ema; and
 * what else it says of a network whose weights are another file. */
static vn_status look_around(vn_model_dir *d, vn_err *err) {
    char *model = NULL;
    json_t *index = NULL;
    bool part = false;
    vn_status status = find_around(d->path, &model, err);
    if (!status && model) status = read_part(model, "", "model_index.json", &index, err);
    if (!status && index) status = is_part(model, index, d->path, &part, err);
    if (!status && index && (d->weights || !part)) status = read_scheduler(d, model, err);
    if (!status && d->weights && part) status = read_part(model, "", "vane.json", &d->vane, err);
    json_decref(index);
    vn_free(model);
    return status;
}

/* A file that the user named, other than the one that the folder stands for, is d->weights
 * already. */
static vn_status find_weights(vn_model_dir *d, vn_err *err) {
    char *folder = folder_path(d), *found = NULL;
    vn_status status = folder ? vn_store_find_weights(folder, d->config, &found, &d->variant, err)
                              : vn_no_memory(err);
    if (!status && d->weights && found && !d->variant && vn_same_file(d->weights, found)) {
        char *model = vn_model_dir_around(d->weights);
        status = vn_fail(err, VN_BAD_FILE, "%s: is a part of the model %s; name that folder",
                         d->weights, model ? model : folder);
        vn_free(model);
    }
    if (d->weights) {
        vn_free(found);
        d->variant = false;
    } else {
        d->weights = found;
    }
    vn_free(folder);
    return status;
}

static vn_status open_dir(vn_model_dir *d, vn_err *err) {
    vn_status status = read_part(d->path, "", "model_index.json", &d->index, err);
    if (!status && d->index) status = choose_folder(d, err);
    if (!status && !d->folder) {
        d->folder = vn_strdup("");
        if (!d->folder) status = vn_no_memory(err);
    }
    if (!status) status = read_config(d, err);
    if (!status && d->index) status = read_scheduler(d, d->path, err);
    if (!status && d->index) status = read_part(d->path, "", "vane.json", &d->vane, err);
    if (!status && !d->index) status = look_around(d, err);
    if (!status) status = find_weights(d, err);
    return status;
}

/* A config.json by itself stands for its directory, and a file of weights beside one for that with
 * these. */
static vn_status resolve(const char *path, vn_model_dir *d, vn_err *err) {
    const char *slash = strrchr(path, '/');
    if (vn_is_dir(path)) {
        const size_t n = strlen(path);
        d->path =
            n > 1 && path[n - 1] == '/' ? vn_format("%.*s", (int)n - 1, path) : vn_strdup(path);
        return d->path ? VN_OK : vn_no_memory(err);
    }
    if (!vn_is_file(path)) return vn_check_regular(path, err);
    const char *name = slash ? slash + 1 : path;
    const bool weights = vn_store_is_weights(name);
    if (!weights && strcmp(name, "config.json") != 0)
        return vn_fail(err, VN_BAD_FILE, "%s: is neither a model directory nor a config.json",
                       path);
    d->path =
        slash ? vn_format("%.*s", (int)(slash - path), slash == path ? "/" : path) : vn_strdup(".");
    if (weights) d->weights = vn_strdup(path);
    return d->path && (!weights || d->weights) ? VN_OK : vn_no_memory(err);
}

bool vn_model_dir_is_weights(const char *path) {
    const char *slash = strrchr(path, '/');
    char *config = vn_format("%.*sconfig.json", (int)(slash ? slash + 1 - path : 0), path);
    const bool is = config && vn_store_is_weights(path) && vn_is_file(path) && vn_is_file(config);
    vn_free(config);
    return is;
}

vn_status vn_model_dir_open(const char *path, vn_model_dir *out, vn_err *err) {
    *out = (vn_model_dir){0};
    vn_status status = resolve(path, out, err);
    if (!status) status = open_dir(out, err);
    if (status) vn_model_dir_close(out);
    return status;
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
    char *folder = folder_path(d);
    const vn_status status =
        folder ? vn_store_refuse_weights(folder, d->config, err) : vn_no_memory(err);
    vn_free(folder);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* index[name] = [library, class]; transformers has the class in a list of one. */
static vn_status list_part(json_t *index, const char *name, const json_t *part, vn_err *err) {
    const json_t *own = json_object_get(part, "_class_name"),
                 *first = json_array_get(json_object_get(part, "architectures"), 0);
    const char *class_name = json_string_value(own ? own : first);
    if (!class_name)
        return vn_fail(err, VN_BAD_ARGUMENT, "the %s's config has no _class_name", name);
    const char *library = !own                                          ? "transformers"
                          : json_object_get(part, "_diffusers_version") ? "diffusers"
                                                                        : "vane";
    json_t *entry = json_pack("[ss]", library, class_name);
    return entry && json_object_set_new(index, name, entry) == 0 ? VN_OK : vn_no_memory(err);
}

static vn_status make_index(const vn_model_parts *parts, json_t **out, vn_err *err) {
    *out = json_pack("{ss ss}", "_class_name", parts->pipeline, "_diffusers_version",
                     DIFFUSERS_VERSION);
    vn_status status = *out ? VN_OK : vn_no_memory(err);
    if (!status && parts->scheduler) status = list_part(*out, "scheduler", parts->scheduler, err);
    if (!status) status = list_part(*out, parts->folder, parts->config, err);
    for (int i = 0; i < parts->others && !status; i++)
        status = list_part(*out, parts->other[i].folder, parts->other[i].config, err);
    return status;
}

/* Writes value to dir/folder/name, making the folder. */
static vn_status write_part(const char *dir, const char *folder, const char *name,
                            const json_t *value, vn_err *err) {
    char *parent = join3(dir, folder, ""), *path = join3(dir, folder, name);
    vn_status status = parent && path ? vn_make_dirs(parent, err) : vn_no_memory(err);
    if (!status) status = vn_json_write(path, value, err);
    vn_free(path);
    vn_free(parent);
    return status;
}

vn_status vn_store_save_model(const char *dir, const vn_model_parts *parts, vn_err *err) {
    json_t *index = NULL;
    vn_status status = make_index(parts, &index, err);
    if (!status) status = write_part(dir, parts->folder, "config.json", parts->config, err);
    for (int i = 0; i < parts->others && !status; i++)
        status =
            write_part(dir, parts->other[i].folder, "config.json", parts->other[i].config, err);
    if (!status && parts->scheduler)
        status = write_part(dir, "scheduler", "scheduler_config.json", parts->scheduler, err);
    if (!status && parts->vane) status = write_part(dir, "", "vane.json", parts->vane, err);
    if (!status) status = write_part(dir, "", "model_index.json", index, err);
    json_decref(index);
    return status;
}
