/* samples.c - what was drawn: kept in memory with the settings it came from, joined, saved as a picture or as tensors. */
#include "api/internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

int64_t vn_samples_count(const vn_samples *s) {
    return s->count;
}

int vn_samples_shape(const vn_samples *s, int64_t shape[3]) {
    for (int i = 0; i < s->rank; i++) shape[i] = s->shape[i];
    return s->rank;
}

const float *vn_samples_data(const vn_samples *s) {
    return s->data;
}

const int32_t *vn_samples_labels(const vn_samples *s) {
    return s->labels;
}

const float *vn_samples_trace(const vn_samples *s, int64_t *levels) {
    if (levels) *levels = s->levels;
    return s->trace;
}

const double *vn_samples_trace_times(const vn_samples *s) {
    return s->trace_t;
}

int64_t vn_samples_passes(const vn_samples *s) {
    return s->passes;
}

void vn_samples_close(vn_samples **samples) {
    if (!samples || !*samples) return;
    vn_samples *s = *samples;
    for (int32_t i = 0; s->names && i < s->classes; i++) vn_free(s->names[i]);
    vn_free(s->names);
    vn_free(s->data);
    vn_free(s->labels);
    vn_free(s->trace);
    vn_free(s->trace_t);
    vn_world_close(&s->world);
    json_decref(s->settings);
    json_decref(s->bands);
    vn_free(s);
    *samples = NULL;
}

/* ---- joining ---------------------------------------------------------------------------------------------- */

/* A setting that differs between the parts is listed once for each: "1,2,4". */
static bool join_settings(json_t *to, const json_t *from) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)from, key, value) {
        const json_t *old = json_object_get(to, key);
        if (!strcmp(key, "count") || (old && json_equal(old, value))) continue;
        json_t *both =
            old ? json_sprintf("%s,%s", json_string_value(old), json_string_value(value)) : json_incref(value);
        if (!both || json_object_set_new(to, key, both) != 0) return false;
    }
    return true;
}

static bool same_levels(const vn_samples *a, const vn_samples *b) {
    if (!a->trace != !b->trace || a->levels != b->levels) return false;
    for (int64_t i = 0; i < a->levels; i++)
        if (a->trace_t[i] != b->trace_t[i]) return false;
    return true;
}

/* The traces of both, level by level: new array, or NULL. */
static float *join_traces(const vn_samples *a, const vn_samples *b) {
    const size_t n = (size_t)(a->count * a->size), m = (size_t)(b->count * b->size);
    float *both = vn_alloc((size_t)a->levels, (n + m) * sizeof *both);
    for (size_t i = 0; both && i < (size_t)a->levels; i++) {
        memcpy(both + i * (n + m), a->trace + i * n, n * sizeof *both);
        memcpy(both + i * (n + m) + n, b->trace + i * m, m * sizeof *both);
    }
    return both;
}

vn_status vn_samples_append(vn_samples *s, const vn_samples *more) {
    vn_err *err = vn_begin(s->vn);
    if (s->rank != more->rank || memcmp(s->shape, more->shape, (size_t)s->rank * sizeof *s->shape) != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "samples of different shapes cannot be joined");
    if (!same_levels(s, more))
        return vn_fail(err, VN_BAD_ARGUMENT, "samples with traces of different levels cannot be joined");
    const size_t count = (size_t)(s->count + more->count), row = (size_t)s->size * sizeof(float);
    json_t *settings = vn_json_copy(s->settings), *bands = vn_json_copy(s->bands);
    bool ok = settings && bands && join_settings(settings, more->settings) &&
              json_object_set_new(settings, "count", json_sprintf("%zu", count)) == 0;
    size_t i;
    json_t *band;
    json_array_foreach(more->bands, i, band) {
        json_t *moved = ok ? vn_json_copy(band) : NULL;
        const json_int_t first = json_integer_value(json_object_get(band, "first")) + s->count;
        ok = moved && json_object_set_new(moved, "first", json_integer(first)) == 0 &&
             json_array_append(bands, moved) == 0;
        json_decref(moved);
    }
    float *trace = ok && s->trace ? join_traces(s, more) : NULL;
    float *data = ok && !trace == !s->trace ? vn_realloc(s->data, count, row) : NULL;
    if (data) s->data = data;
    int32_t *labels = data ? vn_realloc(s->labels, count, sizeof *labels) : NULL;
    if (!labels) {
        vn_free(trace);
        json_decref(settings);
        json_decref(bands);
        return vn_no_memory(err);
    }
    s->labels = labels;
    memcpy(s->data + s->count * s->size, more->data, (size_t)more->count * row);
    memcpy(s->labels + s->count, more->labels, (size_t)more->count * sizeof *labels);
    vn_free(s->trace);
    s->trace = trace;
    json_decref(s->settings);
    json_decref(s->bands);
    s->settings = settings;
    s->bands = bands;
    s->count += more->count;
    if (more->passes > s->passes) s->passes = more->passes;
    return VN_OK;
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

static vn_status save_grid(const vn_samples *s, const char *path, vn_err *err) {
    const size_t count = json_array_size(s->bands);
    vn_band *bands = vn_calloc(count + 1, sizeof *bands);
    if (!bands) return vn_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *band = json_array_get(s->bands, i);
        bands[i] = (vn_band){.title = json_string_value(json_object_get(band, "title")),
                             .first = json_integer_value(json_object_get(band, "first")),
                             .count = json_integer_value(json_object_get(band, "count"))};
    }
    vn_show show = {.samples = s->data,
                    .count = s->count,
                    .labels = s->labels,
                    .names = (const char *const *)s->names,
                    .classes = s->classes,
                    .bands = bands,
                    .band_count = count};
    vn_image image = {0};
    vn_status status = s->rank == 3 ? show_images(s, &show, &image, err) : show_points(s, &show, &image, err);
    vn_free(bands);
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

static vn_status save_one(const vn_samples *s, int64_t i, const char *folder, json_t *settings, vn_err *err) {
    const int32_t label = s->labels[i];
    char *word = label < 0 ? vn_strdup("null") : file_word(s->names[label]);
    char *path = word ? vn_format("%s/%06lld-%s.png", folder, (long long)i, word) : NULL;
    vn_image image = {0};
    vn_status status =
        path && json_object_set_new(settings, "index", json_sprintf("%lld", (long long)i)) == 0 &&
                json_object_set_new(settings, "class", json_string(label < 0 ? "null" : s->names[label])) == 0
            ? VN_OK
            : vn_no_memory(err);
    if (status == VN_OK)
        status = vn_image_from_sample(s->data + i * s->size, (int)s->shape[0], (int)s->shape[1], (int)s->shape[2],
                                      &image, err);
    if (status == VN_OK) status = write_png(&image, settings, path, err);
    vn_image_free(&image);
    vn_free(path);
    vn_free(word);
    return status;
}

static vn_status save_folder(const vn_samples *s, const char *path, vn_err *err) {
    json_t *settings = vn_json_copy(s->settings);
    vn_status status = settings ? vn_make_dirs(path, err) : vn_no_memory(err);
    for (int64_t i = 0; i < s->count && status == VN_OK; i++) status = save_one(s, i, path, settings, err);
    json_decref(settings);
    return status;
}

/* ---- tensors -------------------------------------------------------------------------------------------------- */

static vn_shape shape_of(const vn_samples *s) {
    vn_shape shape = {.rank = s->rank + 1, .dim = {s->count}};
    for (int i = 0; i < s->rank; i++) shape.dim[i + 1] = s->shape[i];
    return shape;
}

static vn_status save_safetensors(const vn_samples *s, const char *path, vn_err *err) {
    int64_t *labels = vn_alloc((size_t)s->count, sizeof *labels);
    if (!labels) return vn_no_memory(err);
    for (int64_t i = 0; i < s->count; i++) labels[i] = s->labels[i];
    vn_shape states = {.rank = s->rank + 2, .dim = {s->levels, s->count}};
    for (int i = 0; i < s->rank; i++) states.dim[i + 2] = s->shape[i];
    const vn_file_tensor tensors[] = {
        {.name = "samples", .dtype = VN_FILE_F32, .shape = shape_of(s), .data = s->data},
        {.name = "labels", .dtype = VN_FILE_I64, .shape = VN_SHAPE(s->count), .data = labels},
        {.name = "trace", .dtype = VN_FILE_F32, .shape = states, .data = s->trace},
        {.name = "trace_t", .dtype = VN_FILE_F64, .shape = VN_SHAPE(s->levels), .data = s->trace_t},
    };
    const size_t count = VN_COUNT(tensors) - (s->trace ? 0 : 2);
    const vn_status status = vn_safetensors_write(path, tensors, count, s->settings, err);
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
