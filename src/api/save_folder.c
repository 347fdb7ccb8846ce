/* save_folder.c - samples as a folder with one PNG each. A picture of vane's is known by its name
 * and by its text chunks; what else is in the folder is nobody's business here, and never
 * replaced. */
#include "api/save.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct folder {
    vn_file_names names;
    uint64_t shift; /* added to indices where they would meet those that are there */
    bool begun;
} folder;

/* ---- what is there --------------------------------------------------------------------------- */

typedef vn_status (*visit)(void *self, const char *path, const char *name, uint64_t index,
                           vn_err *err);

/* Calls for each file whose name could be a sample's, until one fails. No folder: none. */
static vn_status each_file(const char *path, visit call, void *self, vn_err *err) {
    vn_status status = VN_OK;
    uint64_t index;
    DIR *dir = opendir(path);
    if (!dir) return errno == ENOENT ? VN_OK : vn_fail_errno(err, "%s: cannot be read", path);
    for (struct dirent *e; !status && (e = readdir(dir));) {
        if (!vn_file_name_index(e->d_name, &index)) continue;
        char *file = vn_path_join(path, e->d_name);
        status = file ? call(self, file, e->d_name, index, err) : vn_no_memory(err);
        vn_free(file);
    }
    closedir(dir);
    return status;
}

static vn_status see_next(void *self, const char *path, const char *name, uint64_t index,
                          vn_err *err) {
    (void)path;
    (void)name;
    (void)err;
    uint64_t *next = self;
    if (index >= *next) *next = index + 1;
    return VN_OK;
}

vn_status vn_saver_next(const char *path, uint64_t *next, vn_err *err) {
    *next = 0;
    return each_file(path, see_next, next, err);
}

/* Whether a file of this name is about to be written. */
static bool would_write(const vn_saver *s, const char *name, uint64_t index) {
    const folder *f = s->self;
    for (size_t b = 0; b < s->of->band_count; b++) {
        const vn_samples_band *band = &s->of->bands[b];
        if (index - f->shift < band->index ||
            index - f->shift - band->index >= (uint64_t)band->count)
            continue;
        for (int32_t label = -1; label < s->of->classes; label++) {
            char *own = vn_file_name_of(&f->names, index, b, label);
            const bool same = own && strcmp(own, name) == 0;
            vn_free(own);
            if (same) return true;
        }
    }
    return false;
}

static vn_status check_one(void *self, const char *path, const char *name, uint64_t index,
                           vn_err *err) {
    const vn_saver *s = self;
    bool ours;
    if (vn_picture_is_own(path, "index", &ours, err) != VN_OK) return VN_NO_MEMORY;
    if (!ours) {
        if (!would_write(s, name, index)) return VN_OK;
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s exists and vane did not write it; name another folder", path);
    }
    if (s->existing != VN_EXISTING_REFUSE) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s holds samples already, %s among them: `append` goes on after them, "
                   "`overwrite` replaces them",
                   s->path, name);
}

static vn_status remove_one(void *self, const char *path, const char *name, uint64_t index,
                            vn_err *err) {
    (void)name;
    (void)index;
    int64_t *removed = self;
    bool ours;
    if (vn_picture_is_own(path, "index", &ours, err) != VN_OK) return VN_NO_MEMORY;
    if (!ours) return VN_OK;
    if (unlink(path) != 0 && errno != ENOENT)
        return vn_fail_errno(err, "%s: cannot be removed", path);
    ++*removed;
    return VN_OK;
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* Samples that were drawn before the folder was looked at are numbered on. */
static vn_status find_shift(vn_saver *s, vn_err *err) {
    folder *f = s->self;
    uint64_t next = 0, least = UINT64_MAX;
    const vn_status status = vn_saver_next(s->path, &next, err);
    for (size_t b = 0; b < s->of->band_count; b++)
        if (s->of->bands[b].index < least) least = s->of->bands[b].index;
    if (least < next) f->shift = next - least;
    return status;
}

static vn_status open_folder(vn_saver *s, vn_err *err) {
    folder *f = s->self = vn_calloc(1, sizeof *f);
    if (!f) return vn_no_memory(err);
    vn_status status = vn_file_names_open(&f->names, s->of, err);
    if (!status) status = vn_check_folder(s->path, err);
    if (!status && s->existing == VN_EXISTING_APPEND) return find_shift(s, err);
    return !status ? each_file(s->path, check_one, s, err) : status;
}

static vn_status begin(vn_saver *s, vn_err *err) {
    int64_t removed = 0;
    vn_status status = VN_OK;
    if (s->existing == VN_EXISTING_REPLACE) status = each_file(s->path, remove_one, &removed, err);
    if (removed > 0)
        vn_log(&s->of->vn->watch, VN_LOG_INFO, "%s: %lld older sample%s removed", s->path,
               (long long)removed, removed == 1 ? "" : "s");
    return status;
}

/* The settings that make this one sample again. */
static json_t *settings_of(const vn_saver *s, const vn_samples_band *band, int64_t i,
                           int32_t label) {
    const folder *f = s->self;
    const unsigned long long first = band->index + (uint64_t)(i - band->first);
    char number[VN_NAMES_NUMBER];
    const char *word = vn_label_word(s->of->names, s->of->classes, label, number);
    json_t *own = vn_json_copy(band->settings);
    if (own && !word) json_object_del(own, "class");
    bool ok = own && (!word || json_object_set_new(own, "class", json_string(word)) == 0) &&
              json_object_set_new(own, "index", json_sprintf("%llu", first + f->shift)) == 0;
    if (ok && band->alone)
        ok = json_object_set_new(own, "first", json_sprintf("%llu", first)) == 0 &&
             json_object_set_new(own, "count", json_string("1")) == 0;
    if (ok) return own;
    json_decref(own);
    return NULL;
}

static vn_status put_one(vn_saver *s, size_t b, int64_t i, const float *sample, int32_t label,
                         vn_err *err) {
    const vn_samples *of = s->of;
    const vn_samples_band *band = &of->bands[b];
    const folder *f = s->self;
    char *name =
        vn_file_name_of(&f->names, band->index + (uint64_t)(i - band->first) + f->shift, b, label);
    char *path = name ? vn_path_join(s->path, name) : NULL;
    json_t *settings = path ? settings_of(s, band, i, label) : NULL;
    vn_image image = {0};
    vn_status status = settings ? VN_OK : vn_no_memory(err);
    if (!status)
        status = vn_image_from_sample(sample, (int)of->sample.dim[0], (int)of->sample.dim[1],
                                      (int)of->sample.dim[2], &image, err);
    if (!status) status = vn_image_enlarge(&image, of->scale ? of->scale : 1, err);
    if (!status) status = vn_picture_write(&image, settings, path, true, NULL, err);
    vn_image_free(&image);
    json_decref(settings);
    vn_free(path);
    vn_free(name);
    return status;
}

static vn_status put_folder(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                            vn_err *err) {
    folder *f = s->self;
    vn_status status = f->begun ? VN_OK : begin(s, err);
    f->begun = true;
    for (int64_t i = 0; i < n && !status; i++) {
        size_t b = 0;
        while (first + i >= s->of->bands[b].first + s->of->bands[b].count) b++;
        status = put_one(s, b, first + i, rows->data + i * s->of->size, rows->labels[i], err);
        if (!status) s->done++;
    }
    return status;
}

static void close_folder(vn_saver *s) {
    folder *f = s->self;
    if (f) vn_file_names_close(&f->names);
    vn_free(f);
}

const vn_form vn_form_folder = {
    .ending = "",
    .keeps = true,
    .open = open_folder,
    .put = put_folder,
    .close = close_folder,
};
