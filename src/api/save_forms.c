/* save_forms.c - the forms that samples are saved in: a table, by the path's ending. */
#include "api/save.h"

#include <string.h>

static const vn_form *const forms[] = {&vn_form_picture, &vn_form_safetensors, &vn_form_npy,
                                       &vn_form_folder};

const vn_form *vn_form_of(const char *path) {
    size_t i = 0;
    while (!vn_ends_with(path, forms[i]->ending)) i++;
    return forms[i];
}

/* A folder with the name of a file that is not written would not be what was asked for. */
static vn_status check_ending(const char *path, vn_err *err) {
    static const char *const others[] = {".png", ".npy", ".jpg", ".jpeg", ".bmp", ".gif", ".webp",
                                         /* ".PNG" too is none of ours */
                                         ".tif", ".tiff", ".npz", ".pt", ".csv"};
    const char *dot = strrchr(path, '.');
    bool other = false;
    for (size_t i = 0; i < VN_COUNT(others) && dot; i++)
        other = other || vn_same_but_for_case(dot, others[i]);
    if (!other) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: samples are saved as .png, .safetensors or .npy, or in a folder", path);
}

/* The form of a path, if samples of this shape can have it. */
vn_status vn_form_find(const char *path, const vn_shape *sample, const vn_form **out, vn_err *err) {
    if (!path || !path[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "a path to save samples at is needed");
    if (strcmp(path, "-") == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "-: samples are saved in a file or a folder; name it");
    const vn_form *f = *out = vn_form_of(path);
    if (!f->ending[0] && check_ending(path, err) != VN_OK) return err->status;
    const int64_t channels = vn_shape_channels(sample);
    const bool images = vn_shape_is_image(sample);
    const char *what = f->dimensions ? "picture" : "folder of pictures";
    if (f->dimensions < 0 || (images ? channels == 1 || channels == 3 : channels <= f->dimensions))
        return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "%s: %s of %lld %s are no %s; save .safetensors or .npy",
                   path, images ? "images" : "points", (long long)channels,
                   images ? "channels" : "dimensions", what);
}

bool vn_saver_whole(const char *path) {
    return path && vn_form_of(path)->whole;
}

bool vn_saver_is_folder(const char *path) {
    return path && vn_form_of(path) == &vn_form_folder;
}

bool vn_saver_traces(const char *path, const vn_shape *sample) {
    const vn_form *form = vn_form_of(path);
    return form->traces || (form->point_traces && !vn_shape_is_image(sample));
}

vn_status vn_saver_check_existing(const char *path, vn_existing existing, vn_err *err) {
    if ((int)existing < VN_EXISTING_REFUSE || existing > VN_EXISTING_APPEND)
        return vn_fail(err, VN_BAD_ARGUMENT, "existing: %d is no vn_existing", (int)existing);
    if (existing != VN_EXISTING_APPEND || vn_saver_is_folder(path)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: samples are appended to a folder, not to a file",
                   path);
}
