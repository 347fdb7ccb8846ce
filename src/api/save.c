/* save.c - samples into files: one picture, a folder of pictures, or tensors, as the path's ending says. */
#include "api/internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- bands -------------------------------------------------------------------------------------------------- */

static const char *setting_of(const vn_samples_band *band, const char *key) {
    return json_string_value(json_object_get(band->settings, key));
}

/* What the bands do not have in common. */
typedef struct differences {
    bool guidance, guide;
} differences;

static differences differences_of(const vn_samples *s) {
    differences differ = {0};
    for (size_t i = 1; i < s->band_count; i++) {
        differ.guidance = differ.guidance || s->bands[i].guidance != s->bands[0].guidance;
        differ.guide =
            differ.guide || strcmp(setting_of(&s->bands[i], "guide"), setting_of(&s->bands[0], "guide")) != 0;
    }
    return differ;
}

/* ---- pictures ----------------------------------------------------------------------------------------------- */

static vn_status write_png(const vn_image *image, const json_t *settings, const char *path, vn_err *err) {
    vn_setting list[32];
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)settings, key, value) {
        if (count < VN_COUNT(list)) list[count++] = (vn_setting){key, json_string_value(value)};
    }
    return vn_png_write(path, image, list, count, err);
}

static vn_status show_images(const vn_samples *s, vn_show *show, vn_image *image, vn_err *err) {
    show->channels = (int)s->shape[0];
    show->height = (int)s->shape[1];
    show->width = (int)s->shape[2];
    return vn_show_grid(show, image, err);
}

/* A world's density behind its samples. */
typedef struct density {
    const vn_world *world;
    double *work;
} density;

static double density_at(void *self, int32_t label, const double *x) {
    const density *d = self;
    return exp(vn_world_log_density(d->world, VN_NETWORK_MAIN, label, 1, 0, x, d->work));
}

static vn_status show_points(const vn_samples *s, vn_show *show, vn_image *image, vn_err *err) {
    density d = {.world = s->world};
    show->dimension = (int)s->size;
    show->trace = s->trace;
    show->trace_times = s->trace_t;
    show->trace_levels = s->levels;
    if (s->world) {
        d.work = vn_alloc(vn_world_work(s->world), sizeof *d.work);
        if (!d.work) return vn_no_memory(err);
        show->density = density_at;
        show->self = &d;
    }
    const vn_status status = vn_show_points(show, image, err);
    vn_free(d.work);
    return status;
}

/* What stands over the band: what it has of its own. */
static char *band_title(const vn_samples_band *band, differences differ) {
    const char *guide = setting_of(band, "guide"), *guidance = setting_of(band, "guidance");
    if (!differ.guide) return vn_format("guidance %s", guidance);
    return differ.guidance ? vn_format("%s, guidance %s", guide, guidance) : vn_format("%s", guide);
}

static void bands_close(vn_band *bands, char **titles, size_t count) {
    for (size_t i = 0; titles && i < count; i++) vn_free(titles[i]);
    vn_free(titles);
    vn_free(bands);
}

static vn_status save_grid(const vn_samples *s, const char *path, vn_err *err) {
    const differences differ = differences_of(s);
    vn_band *bands = vn_calloc(s->band_count, sizeof *bands);
    char **titles = vn_calloc(s->band_count, sizeof *titles);
    bool ok = bands && titles;
    for (size_t i = 0; ok && i < s->band_count; i++) {
        const vn_samples_band *band = &s->bands[i];
        titles[i] = band_title(band, differ);
        bands[i] = (vn_band){.title = titles[i], .first = band->first, .count = band->count};
        ok = titles[i] != NULL;
    }
    if (!ok) {
        bands_close(bands, titles, s->band_count);
        return vn_no_memory(err);
    }
    vn_show show = {.samples = s->data,
                    .count = s->count,
                    .labels = s->labels,
                    .names = (const char *const *)s->names,
                    .classes = s->classes,
                    .bands = bands,
                    .band_count = s->band_count};
    vn_image image = {0};
    vn_status status = s->rank == 3 ? show_images(s, &show, &image, err) : show_points(s, &show, &image, err);
    bands_close(bands, titles, s->band_count);
    if (status == VN_OK) status = write_png(&image, s->settings, path, err);
    vn_image_free(&image);
    return status;
}

/* A class name as part of a file name. */
static char *file_word(const char *name) {
    char *word = vn_strdup(name);
    for (char *c = word; c && *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.' ||
              *c == '_'))
            *c = '-';
    return word;
}

/* Whether some sample of one band would have the same name as one of the other, both under the same tag. */
static bool overlap(const vn_samples_band *a, const vn_samples_band *b) {
    return a->index < b->index + (uint64_t)b->count && b->index < a->index + (uint64_t)a->count;
}

/* What tells the files of one band from another's: "g2-", "g2-cfg-interval-", or with the band's number "b2-"; "" where nothing
 * need be told. tags [band_count], zeroed. */
static bool make_tags(const vn_samples *s, char **tags) {
    const differences differ = differences_of(s);
    bool numbers = false;
    for (size_t i = 0; i < s->band_count; i++) {
        const vn_samples_band *band = &s->bands[i];
        char *guide = file_word(setting_of(band, "guide"));
        if (guide)
            tags[i] =
                vn_format("%s%s%s%s%s", differ.guidance ? "g" : "", differ.guidance ? setting_of(band, "guidance") : "",
                          differ.guidance ? "-" : "", differ.guide ? guide : "", differ.guide ? "-" : "");
        vn_free(guide);
        if (!tags[i]) return false;
        for (size_t k = 0; k < i; k++)
            numbers = numbers || (strcmp(tags[i], tags[k]) == 0 && overlap(band, &s->bands[k]));
    }
    for (size_t i = 0; i < s->band_count && numbers; i++) {
        char *longer = vn_format("%sb%zu-", tags[i], i + 1);
        if (!longer) return false;
        vn_free(tags[i]);
        tags[i] = longer;
    }
    return true;
}

/* The settings that make this one sample again; index: its noise's. */
static json_t *settings_of(const vn_samples *s, const vn_samples_band *band, int64_t i, uint64_t index) {
    const int32_t label = s->labels[i];
    json_t *own = vn_json_copy(band->settings);
    bool ok = own && json_object_set_new(own, "class", json_string(label < 0 ? "null" : s->names[label])) == 0 &&
              json_object_set_new(own, "index", json_sprintf("%llu", (unsigned long long)index)) == 0;
    if (ok && band->alone)
        ok = json_object_set_new(own, "first", json_sprintf("%llu", (unsigned long long)index)) == 0 &&
             json_object_set_new(own, "count", json_string("1")) == 0;
    if (ok) return own;
    json_decref(own);
    return NULL;
}

static vn_status save_one(const vn_samples *s, const vn_samples_band *band, int64_t i, const char *folder,
                          const char *tag, vn_err *err) {
    const int32_t label = s->labels[i];
    const uint64_t index = band->index + (uint64_t)(i - band->first);
    char *word = label < 0 ? vn_strdup("null") : file_word(s->names[label]);
    char *path = word ? vn_format("%s/%06llu-%s%s.png", folder, (unsigned long long)index, tag, word) : NULL;
    json_t *settings = path ? settings_of(s, band, i, index) : NULL;
    vn_image image = {0};
    vn_status status = settings ? VN_OK : vn_no_memory(err);
    if (status == VN_OK)
        status = vn_image_from_sample(s->data + i * s->size, (int)s->shape[0], (int)s->shape[1], (int)s->shape[2],
                                      &image, err);
    if (status == VN_OK) status = write_png(&image, settings, path, err);
    vn_image_free(&image);
    json_decref(settings);
    vn_free(path);
    vn_free(word);
    return status;
}

static vn_status save_folder(const vn_samples *s, const char *path, vn_err *err) {
    char **tags = vn_calloc(s->band_count, sizeof *tags);
    vn_status status = tags && make_tags(s, tags) ? vn_make_dirs(path, err) : vn_no_memory(err);
    for (size_t b = 0; b < s->band_count && status == VN_OK; b++) {
        const vn_samples_band *band = &s->bands[b];
        for (int64_t i = 0; i < band->count && status == VN_OK; i++)
            status = save_one(s, band, band->first + i, path, tags[b], err);
    }
    for (size_t b = 0; tags && b < s->band_count; b++) vn_free(tags[b]);
    vn_free(tags);
    return status;
}

/* ---- tensors -------------------------------------------------------------------------------------------------- */

static vn_shape shape_of(const vn_samples *s) {
    vn_shape shape = {.rank = s->rank + 1, .dim = {s->count}};
    for (int i = 0; i < s->rank; i++) shape.dim[i + 1] = s->shape[i];
    return shape;
}

/* The metadata: the settings of all and, of several bands, which samples each has and how they were drawn, as JSON. */
static json_t *metadata_of(const vn_samples *s) {
    json_t *all = vn_json_copy(s->settings), *bands = json_array();
    bool ok = all && bands;
    for (size_t i = 0; ok && i < s->band_count; i++) {
        const vn_samples_band *band = &s->bands[i];
        ok = json_array_append_new(bands, json_pack("{s:I, s:I, s:f, s:O, s:O}", "first", (json_int_t)band->first,
                                                    "count", (json_int_t)band->count, "guidance", band->guidance,
                                                    "guide", json_object_get(band->settings, "guide"), "seed",
                                                    json_object_get(band->settings, "seed"))) == 0;
    }
    char *text = ok && s->band_count > 1 ? vn_json_text(bands, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (ok && s->band_count > 1) ok = text && json_object_set_new(all, "bands", json_string(text)) == 0;
    vn_free(text);
    json_decref(bands);
    if (ok) return all;
    json_decref(all);
    return NULL;
}

static vn_status save_safetensors(const vn_samples *s, const char *path, vn_err *err) {
    int64_t *labels = vn_alloc((size_t)s->count, sizeof *labels);
    json_t *metadata = labels ? metadata_of(s) : NULL;
    if (!metadata) {
        vn_free(labels);
        return vn_no_memory(err);
    }
    for (int64_t i = 0; i < s->count; i++) labels[i] = s->labels[i];
    vn_shape states = {.rank = s->rank + 2, .dim = {s->levels, s->count}};
    for (int i = 0; i < s->rank; i++) states.dim[i + 2] = s->shape[i];
    const vn_file_tensor tensors[] = {
        {.name = "samples", .dtype = VN_FILE_F32, .shape = shape_of(s), .data = s->data},
        {.name = "labels", .dtype = VN_FILE_I64, .shape = VN_SHAPE(s->count), .data = labels},
        {.name = "guidance", .dtype = VN_FILE_F64, .shape = VN_SHAPE(s->count), .data = s->guidance},
        {.name = "trace", .dtype = VN_FILE_F32, .shape = states, .data = s->trace},
        {.name = "trace_t", .dtype = VN_FILE_F64, .shape = VN_SHAPE(s->levels), .data = s->trace_t},
    };
    const size_t count = VN_COUNT(tensors) - (s->trace ? 0 : 2);
    const vn_status status = vn_safetensors_write(path, tensors, count, metadata, err);
    json_decref(metadata);
    vn_free(labels);
    return status;
}

static vn_status save_npy(const vn_samples *s, const char *path, vn_err *err) {
    const vn_shape shape = shape_of(s);
    return vn_npy_write(path, VN_FILE_F32, &shape, s->data, err);
}

/* ---- by the path's ending ------------------------------------------------------------------------------------- */

typedef struct form {
    const char *ending;
    int dimensions;                                    /* of points, at most; -1: any, and images of any channels */
    vn_status (*check)(const char *path, vn_err *err); /* can it be written? */
    vn_status (*save)(const vn_samples *s, const char *path, vn_err *err);
} form;

static const form forms[] = {
    {".png", 2, vn_check_file, save_grid},
    {".safetensors", -1, vn_check_file, save_safetensors},
    {".npy", -1, vn_check_file, save_npy},
    {"", 0, vn_check_folder, save_folder},
};

static const form *form_of(const char *path) {
    const form *f = forms;
    while (!vn_ends_with(path, f->ending)) f++;
    return f;
}

/* A folder with the name of a file that is not written would not be what was asked for. */
static vn_status check_ending(const char *path, vn_err *err) {
    static const char *const others[] = {".png", ".npy",  ".jpg", ".jpeg", ".bmp", ".gif", ".webp",
                                         ".tif", ".tiff", ".npz", ".pt",   ".csv"}; /* ".PNG" too is none of ours */
    const char *dot = strrchr(path, '.');
    bool other = false;
    for (size_t i = 0; i < VN_COUNT(others) && dot; i++) other = other || !strcasecmp(dot, others[i]);
    if (!other) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "%s: samples are saved as .png, .safetensors or .npy, or in a folder", path);
}

/* The form of a path and whether samples of this shape can have it. */
static vn_status find_form(const char *path, int rank, const int64_t *shape, const form **out, vn_err *err) {
    if (!path || !path[0]) return vn_fail(err, VN_BAD_ARGUMENT, "a path to save samples at is needed");
    const form *f = *out = form_of(path);
    if (!f->ending[0] && check_ending(path, err) != VN_OK) return err->status;
    const char *what = f->dimensions ? "picture" : "folder of pictures";
    if (f->dimensions < 0 || (rank == 3 ? shape[0] == 1 || shape[0] == 3 : shape[0] <= f->dimensions)) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "%s: %s of %lld %s are no %s; save .safetensors or .npy", path,
                   rank == 3 ? "images" : "points", (long long)shape[0], rank == 3 ? "channels" : "dimensions", what);
}

vn_status vn_samples_can_save(const vn_model *m, const char *path) {
    const form *f;
    vn_err *err = vn_begin(m->vn);
    const vn_status status = find_form(path, m->rank, m->shape, &f, err);
    return status == VN_OK ? f->check(path, err) : status;
}

vn_status vn_samples_save(const vn_samples *s, const char *path) {
    const form *f;
    vn_err *err = vn_begin(s->vn);
    const vn_status status = find_form(path, s->rank, s->shape, &f, err);
    return status == VN_OK ? f->save(s, path, err) : status;
}
