/* save.c - samples into files. What a path's ending stands for is a row of the table below; each
 * row has a file save_*.c. */
#include "api/save.h"

#include <string.h>

/* ---- bands ----------------------------------------------------------------------------------- */

const char *vn_band_setting(const vn_samples_band *band, const char *key) {
    return json_string_value(json_object_get(band->settings, key));
}

vn_differences vn_bands_differ(const vn_samples *s) {
    vn_differences differ = {0};
    for (size_t i = 1; i < s->band_count; i++) {
        const char *one = vn_band_setting(&s->bands[0], "guide"),
                   *other = vn_band_setting(&s->bands[i], "guide");
        differ.guidance = differ.guidance || s->bands[i].guidance != s->bands[0].guidance;
        differ.guide = differ.guide || strcmp(one, other) != 0;
    }
    return differ;
}

/* ---- by the path's ending -------------------------------------------------------------------- */

static const vn_form *const forms[] = {&vn_form_picture, &vn_form_safetensors, &vn_form_npy,
                                       &vn_form_folder};

static const vn_form *form_of(const char *path) {
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
static vn_status find_form(const char *path, const vn_shape *sample, const vn_form **out,
                           vn_err *err) {
    if (!path || !path[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "a path to save samples at is needed");
    if (strcmp(path, "-") == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "-: samples are saved in a file or a folder; name it");
    const vn_form *f = *out = form_of(path);
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

/* ---- a saver's life -------------------------------------------------------------------------- */

bool vn_saver_whole(const char *path) {
    return path && form_of(path)->whole;
}

bool vn_saver_is_folder(const char *path) {
    return path && form_of(path) == &vn_form_folder;
}

bool vn_saver_traces(const char *path, const vn_shape *sample) {
    const vn_form *form = form_of(path);
    return form->traces || (form->point_traces && !vn_shape_is_image(sample));
}

bool vn_saver_keeps(const vn_saver *s) {
    return s->form->keeps;
}

vn_status vn_saver_check_existing(const char *path, vn_existing existing, vn_err *err) {
    if ((int)existing < VN_EXISTING_REFUSE || existing > VN_EXISTING_APPEND)
        return vn_fail(err, VN_BAD_ARGUMENT, "existing: %d is no vn_existing", (int)existing);
    if (existing != VN_EXISTING_APPEND || vn_saver_is_folder(path)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: samples are appended to a folder, not to a file",
                   path);
}

static vn_status open_saver(const vn_saver *by, const vn_form *form, vn_saver **out, vn_err *err) {
    const vn_samples *of = by->of;
    *out = NULL;
    if (of->scale &&
        (!vn_shape_is_image(&of->sample) || (form != &vn_form_picture && form != &vn_form_folder)))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "scale has no effect on %s: it is of images as PNG files", by->path);
    vn_saver *s = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    *s = *by;
    s->form = form;
    const vn_status status = form->open(s, err);
    if (!status)
        *out = s;
    else
        vn_saver_abandon(&s);
    return status;
}

vn_status vn_saver_open(const vn_samples *of, const char *path, vn_existing existing,
                        vn_saver **out, vn_err *err) {
    const vn_form *form = NULL;
    const vn_saver by = {.of = of, .path = path, .existing = existing};
    *out = NULL;
    vn_status status = find_form(path, &of->sample, &form, err);
    if (!status) status = vn_saver_check_place(form, path, of->trained_on, err);
    if (!status) status = vn_saver_check_existing(path, existing, err);
    return !status ? open_saver(&by, form, out, err) : status;
}

vn_status vn_saver_put(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                       vn_err *err) {
    return s->form->put(s, first, n, rows, err);
}

int64_t vn_saver_abandon(vn_saver **saver) {
    vn_saver *s = *saver;
    if (!s) return 0;
    const int64_t kept = s->form->keeps ? s->done : 0;
    s->form->close(s);
    vn_free(s);
    *saver = NULL;
    return kept;
}

vn_status vn_saver_commit(vn_saver **saver, vn_err *err) {
    vn_saver *s = *saver;
    const vn_status status = s->form->commit ? s->form->commit(s, err) : VN_OK;
    vn_saver_abandon(saver);
    return status;
}

/* ---- the public calls ------------------------------------------------------------------------ */

vn_status vn_samples_save_as(const vn_samples *s, const char *path, vn_existing existing) {
    if (!s) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    vn_saver *saver = NULL;
    vn_claim claim = {0};
    const vn_drawn_rows all = {s->data, s->labels, s->trace};
    vn_status status = vn_claim_hold(&claim, path, err);
    if (!status) status = vn_saver_open(s, path, existing, &saver, err);
    if (!status) status = vn_claim_make(&claim, path, err);
    if (!status) status = vn_saver_put(saver, 0, s->count, &all, err);
    if (!status) status = vn_saver_commit(&saver, err);
    vn_saver_abandon(&saver);
    vn_claim_leave(&claim);
    return status;
}

vn_status vn_samples_save(const vn_samples *s, const char *path) {
    return vn_samples_save_as(s, path, VN_EXISTING_REFUSE);
}

/* The name that a file of this format would have; NULL: there is none. */
static const char *name_of(const char *format) {
    static const char *const names[] = {"samples.png", "samples.safetensors", "samples.npy"};
    for (size_t i = 0; i < VN_COUNT(names); i++)
        if (strcmp(strchr(names[i], '.') + 1, format) == 0) return names[i];
    return NULL;
}

vn_status vn_samples_encode(const vn_samples *s, const char *format, void **bytes, size_t *size) {
    if (!s) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    if (bytes) *bytes = NULL;
    if (!format || !bytes || !size)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_samples_encode: format, bytes and size are needed");
    *size = 0;
    const char *name = name_of(format);
    if (!name)
        return vn_fail(err, VN_BAD_ARGUMENT, "format '%.40s' is none of png, safetensors and npy",
                       format);
    const vn_drawn_rows all = {s->data, s->labels, s->trace};
    const vn_form *form = NULL;
    vn_saver *saver = NULL;
    vn_memory_file to = {0};
    vn_status status = find_form(name, &s->sample, &form, err);
    if (!status)
        status = open_saver(&(vn_saver){.of = s, .path = name, .to = &to}, form, &saver, err);
    if (!status) status = vn_saver_put(saver, 0, s->count, &all, err);
    if (!status) status = vn_saver_commit(&saver, err);
    vn_saver_abandon(&saver);
    *bytes = to.bytes;
    *size = to.size;
    return status;
}

void vn_bytes_free(void **bytes) {
    if (!bytes) return;
    vn_free(*bytes);
    *bytes = NULL;
}

vn_status vn_samples_can_save(const vn_model *m, const char *path) {
    if (!m) return VN_BAD_ARGUMENT;
    const vn_form *form = NULL;
    vn_err *err = vn_begin(m->vn);
    vn_status status = find_form(path, &m->sample, &form, err);
    if (!status) status = vn_saver_check_place(form, path, m->trained_on, err);
    if (status) return status;
    vn_samples none = {.vn = m->vn, .sample = m->sample, .size = m->size};
    vn_saver folder = {.form = form, .of = &none, .path = path};
    if (form != &vn_form_folder) return vn_check_file(path, err);
    vn_claim claim = {0};
    status = vn_claim_hold(&claim, path, err);
    if (!status) status = form->open(&folder, err);
    form->close(&folder);
    vn_claim_leave(&claim);
    return status;
}
