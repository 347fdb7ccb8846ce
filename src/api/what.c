/* what.c - what a path is that is no model, for messages: a picture, an archive, data, or a folder
 * with runs in it. */
#include "api/internal.h"
#include "data/data.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

bool vn_is_model_dir(const char *path) {
    static const char *const marks[] = {"model_index.json", "config.json", "vane.json"};
    bool found = false;
    for (size_t i = 0; i < VN_COUNT(marks) && !found; i++) {
        char *mark = vn_path_join(path, marks[i]);
        found = !mark || vn_is_file(mark);
        vn_free(mark);
    }
    return found;
}

vn_status vn_refuse_source(const char *path, vn_err *err) {
    static const char models[] = "a run, a folder of diffusers' or a world (.json)";
    if (!path[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "the model's name is empty; it names %s", models);
    if (!vn_is_file(path) || vn_ends_with(path, ".json")) return VN_OK;
    if (vn_data_is_archive(path) && !vn_data_is_known(path))
        return vn_fail(err, VN_BAD_FILE, "%s: an archive: unpack it, and name the folder", path);
    const char *is = vn_image_kind_named(path) ? "a picture"
                     : vn_ends_with(path, ".safetensors")
                         ? "tensors without a config.json beside them"
                     : vn_data_is_known(path) ? "data to train on"
                                              : NULL;
    if (!is) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: %s, and no model; a model is %s", path, is, models);
}

/* ---- runs in a folder ------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b) {
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

/* Names may be any bytes. */
static bool add_run(json_t *list, const char *path, const char *name) {
    char *inside = vn_path_join(path, name);
    const bool ok = inside && (name[0] == '.' || !vn_is_dir(inside) || !vn_is_model_dir(inside) ||
                               json_array_append_new(list, vn_json_string(name)) == 0);
    vn_free(inside);
    return ok;
}

/* The list in the order of the names; NULL where memory is short. */
static json_t *sorted(json_t *list) {
    const size_t n = json_array_size(list);
    json_t **names = vn_alloc(n, sizeof *names), *out = names ? json_array() : NULL;
    for (size_t i = 0; names && i < n; i++) names[i] = json_array_get(list, i);
    if (names) qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; out && i < n; i++)
        if (json_array_append(out, names[i]) != 0) {
            json_decref(out);
            out = NULL;
        }
    vn_free(names);
    json_decref(list);
    return out;
}

vn_status vn_runs_in(const char *path, json_t **out, vn_err *err) {
    DIR *dir = opendir(path);
    json_t *list = json_array();
    bool ok = list != NULL;
    for (struct dirent *e; ok && dir && (e = readdir(dir));) ok = add_run(list, path, e->d_name);
    if (dir) closedir(dir);
    *out = NULL;
    if (ok && json_array_size(list) > 0)
        ok = (*out = sorted(list)) != NULL;
    else
        json_decref(list);
    return ok ? VN_OK : vn_no_memory(err);
}

vn_status vn_tell_runs(const char *path, vn_err *err) {
    enum { MAX_NAMED = 5 };
    char text[512] = "";
    json_t *runs = NULL;
    vn_err own = {0};
    if (vn_runs_in(path, &runs, &own) != VN_OK) return vn_no_memory(err);
    const size_t n = json_array_size(runs);
    for (size_t i = 0; i < n && i < MAX_NAMED; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s/%s", i ? ", " : "", path,
                 json_string_value(json_array_get(runs, i)));
    }
    json_decref(runs);
    if (n > 0)
        vn_fail_after(err, "name one of the models in it: %s%s", text,
                      n > MAX_NAMED ? ", ..." : "");
    return err->status;
}
