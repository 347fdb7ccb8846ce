/* save.c - samples into files: a saver's life, and the public calls. What a path's ending stands
 * for is a row of save_forms.c; each row has a file save_*.c. */
#include "api/save.h"

#include <string.h>

/* ---- a saver's life -------------------------------------------------------------------------- */

bool vn_saver_keeps(const vn_saver *s) {
    return s->form->keeps;
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
    vn_status status = vn_form_find(path, &of->sample, &form, err);
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
    const vn_drawn_rows all = {s->data, s->labels, s->trace, s->latents};
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
    const vn_drawn_rows all = {s->data, s->labels, s->trace, s->latents};
    const vn_form *form = NULL;
    vn_saver *saver = NULL;
    vn_memory_file to = {0};
    vn_status status = vn_form_find(name, &s->sample, &form, err);
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
    vn_status status = vn_form_find(path, vn_model_shown(m), &form, err);
    if (!status) status = vn_saver_check_place(form, path, m->trained_on, err);
    if (status) return status;
    const vn_shape *shown = vn_model_shown(m);
    vn_samples none = {.vn = m->vn, .sample = *shown, .size = vn_shape_count(shown)};
    vn_saver folder = {.form = form, .of = &none, .path = path};
    if (form != &vn_form_folder) return vn_check_file(path, err);
    vn_claim claim = {0};
    status = vn_claim_hold(&claim, path, err);
    if (!status) status = form->open(&folder, err);
    form->close(&folder);
    vn_claim_leave(&claim);
    return status;
}
