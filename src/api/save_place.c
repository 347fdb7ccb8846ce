/* save_place.c - where samples may not be saved. Pictures among data become data: the next run
 * would learn from them, or find a class that nobody made. So the folder that the model was trained
 * on and a folder of other people's pictures are refused before anything is drawn. And whatever
 * lies in a model's folder is the model's: a file there could be its weights, a new one could be
 * taken for a part of it. Only a run's previews are pictures among pictures. */
#include "api/run_dir.h"
#include "api/save.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---- whose picture it is --------------------------------------------------------------------- */

vn_status vn_picture_is_own(const char *path, const char *key, bool *own, vn_err *err) {
    json_t *picture = NULL;
    vn_err unreadable = {0};
    const vn_status status = vn_png_describe(path, &picture, &unreadable);
    const json_t *text = json_object_get(picture, "text");
    *own = !status && json_object_get(text, "vane") && json_object_get(text, key);
    json_decref(picture);
    return status == VN_NO_MEMORY ? vn_no_memory(err) : VN_OK;
}

/* What a folder holds, as far as it was looked at. */
typedef struct contents {
    bool samples;  /* of vane's */
    char *foreign; /* the first picture that vane did not write; NULL: none */
} contents;

static vn_status look_in(const char *path, bool top, contents *c, vn_err *err);

static vn_status look_at(const char *path, bool top, contents *c, bool *picture, vn_err *err) {
    bool own = false;
    vn_status status = VN_OK;
    *picture = vn_image_kind_named(path) && vn_is_file(path);
    if (*picture) {
        status = vn_picture_is_own(path, "seed", &own, err);
        if (!status && !own && !c->foreign && !(c->foreign = vn_strdup(path)))
            status = vn_no_memory(err);
        c->samples = c->samples || (own && top);
    } else if (top && vn_is_dir(path)) {
        status = look_in(path, false, c, err);
    }
    return status;
}

/* Of a folder within the folder, one picture tells what they are; and of a folder with a foreign
 * picture, only what has a sample's name can tell more. */
static vn_status look_in(const char *path, bool top, contents *c, vn_err *err) {
    vn_status status = VN_OK;
    bool picture = false;
    uint64_t index;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !status && !c->samples && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || (c->foreign && !vn_file_name_index(e->d_name, &index))) continue;
        char *inside = vn_path_join(path, e->d_name);
        status = inside ? look_at(inside, top, c, &picture, err) : vn_no_memory(err);
        vn_free(inside);
        if (picture && !top) break;
    }
    if (dir) closedir(dir);
    return status;
}

/* ---- what is refused ------------------------------------------------------------------------- */

/* Whether a config.json is of a model: anything may have one, and those of models name the class
 * that reads them. */
static vn_status names_class(const char *config, bool *does, vn_err *err) {
    json_t *json = NULL;
    vn_err unreadable = {0};
    const vn_status status = vn_json_read(config, &json, &unreadable);
    *does = json_object_get(json, "_class_name") || json_object_get(json, "model_type");
    json_decref(json);
    return status == VN_NO_MEMORY ? vn_no_memory(err) : VN_OK;
}

/* Whether the folder is a model's, or a part of one; `any`: with any config.json. */
static vn_status is_model(const char *folder, bool any, bool *model, vn_err *err) {
    static const char *const marks[] = {"vane.json", "model_index.json", "config.json"};
    vn_status status = VN_OK;
    *model = false;
    for (size_t i = 0; i < VN_COUNT(marks) && !*model && !status; i++) {
        char *mark = vn_path_join(folder, marks[i]);
        if (!mark) return vn_no_memory(err);
        *model = vn_is_file(mark);
        if (*model && !any && i + 1 == VN_COUNT(marks)) status = names_class(mark, model, err);
        vn_free(mark);
    }
    return status;
}

/* Whether `within`, what follows a model's folder in a path, begins in its previews. */
static bool in_previews(const char *within) {
    static const char previews[] = "/previews";
    const size_t length = sizeof previews - 1;
    return strncmp(within, previews, length) == 0 && !strstr(within, "/..") &&
           (within[length] == '/' || !within[length]);
}

/* Cuts the last name off an absolute path; false at the root. */
static bool cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || !path[1]) return false;
    slash[slash == path] = 0;
    return true;
}

vn_status vn_check_no_model(const char *path, const char *instead, vn_err *err) {
    char *real = vn_real_path(path), *folder = real ? vn_strdup(real) : NULL;
    vn_status status = folder ? VN_OK : vn_no_memory(err);
    bool model = false;
    for (bool more = !status, first = true; more; first = false) {
        if (vn_is_dir(folder)) status = is_model(folder, first, &model, err);
        more = !status && !model && cut_name(folder);
    }
    const char *within = model ? real + strlen(folder) : "";
    if (model && !within[0])
        status = vn_fail(err, VN_BAD_ARGUMENT, "%s holds a model: %s", path, instead);
    else if (model && !in_previews(within))
        status = vn_fail(err, VN_BAD_ARGUMENT, "%s lies in the folder of a model, %s: %s", path,
                         folder, instead);
    vn_free(folder);
    vn_free(real);
    return status;
}

/* Beside samples of vane's, other pictures are their owner's business. */
static vn_status check_no_data(const char *path, vn_err *err) {
    contents c = {0};
    vn_status status = look_in(path, true, &c, err);
    if (!status && c.foreign && !c.samples)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s holds pictures that vane did not write, %s among them: samples go "
                         "into a folder of their own",
                         path, c.foreign);
    vn_free(c.foreign);
    return status;
}

vn_status vn_saver_check_place(const vn_form *form, const char *path, const char *trained_on,
                               vn_err *err) {
    const bool folder = form == &vn_form_folder;
    const vn_status status = vn_check_no_model(path,
                                               folder ? "samples go into a folder of their own"
                                                      : "name a file that is outside of it",
                                               err);
    /* tensors are nobody's pictures */
    if (status || form->dimensions < 0) return status;
    if (trained_on && vn_run_dir_inside(path, trained_on))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s lies in %s, the data that the model was trained on: samples go into a "
                       "folder of their own",
                       path, trained_on);
    return folder ? check_no_data(path, err) : VN_OK;
}
