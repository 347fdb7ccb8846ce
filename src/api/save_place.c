/* save_place.c - where samples may not be saved. Pictures among data become data: the next run
 * would learn from them, or find a class that nobody made. So a model's folder, the folder that the
 * model was trained on, and a folder of other people's pictures are refused before anything is
 * drawn. */
#include "api/run_dir.h"
#include "api/save.h"

#include <dirent.h>
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

static vn_status check_no_model(const char *path, vn_err *err) {
    static const char *const marks[] = {"vane.json", "model_index.json", "config.json"};
    bool model = false;
    for (size_t i = 0; i < VN_COUNT(marks) && !model; i++) {
        char *mark = vn_path_join(path, marks[i]);
        if (!mark) return vn_no_memory(err);
        model = vn_is_file(mark);
        vn_free(mark);
    }
    return model ? vn_fail(err, VN_BAD_ARGUMENT,
                           "%s holds a model: samples go into a folder of their own", path)
                 : VN_OK;
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
    if (form->dimensions < 0) return VN_OK; /* tensors are nobody's pictures */
    if (trained_on && vn_run_dir_inside(path, trained_on))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s lies in %s, the data that the model was trained on: samples go into a "
                       "folder of their own",
                       path, trained_on);
    if (form != &vn_form_folder) return VN_OK;
    const vn_status status = check_no_model(path, err);
    return status ? status : check_no_data(path, err);
}
