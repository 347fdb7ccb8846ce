/* folder.c - a folder of pictures: one folder for each class with PNG and JPEG files in it, or such files alone.
 *
 * Opening lists all files and reads every header, so that a wrong size or a file that is no picture is told at once and not
 * an hour into training; pixels are decoded when they are needed, by feed.c's threads. Classes are the sorted names of
 * the folders. Names that begin with '.' and files that are neither PNG nor JPEG by name are passed over. */
#include "data/internal.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { REPORT_EVERY = 64 };

typedef struct entry {
    const char *path; /* below the root, in the arena */
    int64_t bytes;
    int32_t label;
} entry;

typedef struct entries {
    entry *at;
    size_t count, room;
} entries;

struct vn_folder {
    char *root;
    vn_arena arena;
    entries files;
    int size; /* pictures become size x size; 0: they are all width x height */
    int width, height, channels;
    size_t work_bytes;
};

void vn_folder_close(vn_folder **folder) {
    vn_folder *f = *folder;
    if (f == NULL) return;
    vn_free(f->root);
    vn_free(f->files.at);
    vn_arena_free(&f->arena);
    vn_free(f);
    *folder = NULL;
}

/* ---- listing ---------------------------------------------------------------------------------------- */

static vn_status append(entries *list, entry e, vn_err *err) {
    if (list->count == list->room) {
        const size_t room = list->room > 0 ? 2 * list->room : 64;
        entry *grown = vn_realloc(list->at, room, sizeof *grown);
        if (grown == NULL) return vn_no_memory(err);
        list->at = grown;
        list->room = room;
    }
    list->at[list->count++] = e;
    return VN_OK;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

/* Adds one name of the folder `below` (itself below the root; "" for the root) to what it is: a folder or a picture. */
static vn_status add_name(vn_folder *f, const char *below, const char *name, entries *folders, entries *files,
                          vn_err *err) {
    struct stat info;
    const size_t length = strlen(below) + 1 + strlen(name) + 1;
    char *path = vn_arena_alloc(&f->arena, length);
    if (path == NULL) return vn_no_memory(err);
    snprintf(path, length, "%s%s%s", below, below[0] != '\0' ? "/" : "", name);
    char *full = vn_path_join(f->root, path);
    if (full == NULL) return vn_no_memory(err);
    vn_status s = VN_OK;
    if (stat(full, &info) != 0)
        s = vn_image_named(name) ? vn_fail_errno(err, "%s", full) : VN_OK;
    else if (S_ISDIR(info.st_mode))
        s = append(folders, (entry){path, 0, 0}, err);
    else if (vn_image_named(name))
        s = append(files, (entry){path, (int64_t)info.st_size, 0}, err);
    vn_free(full);
    return s;
}

static vn_status read_names(vn_folder *f, DIR *dir, const char *below, entries *folders, entries *files, vn_err *err) {
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL) return errno == 0 ? VN_OK : vn_fail_errno(err, "%s/%s", f->root, below);
        if (d->d_name[0] == '.') continue;
        const vn_status s = add_name(f, below, d->d_name, folders, files, err);
        if (s != VN_OK) return s;
    }
}

/* The folders and pictures in one folder, sorted. */
static vn_status list(vn_folder *f, const char *below, entries *folders, entries *files, vn_err *err) {
    char *full = vn_path_join(f->root, below);
    if (full == NULL) return vn_no_memory(err);
    DIR *dir = opendir(full);
    vn_status s = dir != NULL ? read_names(f, dir, below, folders, files, err) : vn_fail_errno(err, "%s", full);
    if (dir != NULL) closedir(dir);
    vn_free(full);
    if (folders->count > 0) qsort(folders->at, folders->count, sizeof *folders->at, by_path);
    if (files->count > 0) qsort(files->at, files->count, sizeof *files->at, by_path);
    return s;
}

/* ---- classes ---------------------------------------------------------------------------------------- */

/* Appends the pictures of one class. `wanted` tells whether there must be some. */
static vn_status add_class(vn_folder *f, const char *name, int32_t label, bool wanted, vn_err *err) {
    entries folders = {0}, files = {0};
    vn_status s = list(f, name, &folders, &files, err);
    if (s == VN_OK && wanted && files.count == 0)
        s = vn_fail(err, VN_BAD_FILE, "%s/%s: holds no PNG or JPEG files (each folder in %s is a class)", f->root, name,
                    f->root);
    if (s == VN_OK && !wanted && files.count > 0)
        s = vn_fail(err, VN_BAD_FILE, "%s: holds both pictures (%s) and a folder with pictures (%s)", f->root,
                    f->files.at[0].path, name);
    for (size_t i = 0; s == VN_OK && i < files.count; i++) {
        files.at[i].label = label;
        s = append(&f->files, files.at[i], err);
    }
    vn_free(folders.at);
    vn_free(files.at);
    return s;
}

/* Either pictures in the folder itself, or in the folders that are its classes; not both. */
static vn_status find_files(vn_folder *f, vn_source *out, vn_err *err) {
    entries folders = {0};
    vn_status s = list(f, "", &folders, &f->files, err);
    const bool flat = f->files.count > 0;
    if (s == VN_OK && !flat && folders.count == 0)
        s = vn_fail(err, VN_BAD_FILE, "%s: holds neither PNG or JPEG files nor folders of them", f->root);
    for (size_t k = 0; s == VN_OK && k < folders.count; k++)
        s = add_class(f, folders.at[k].path, (int32_t)k, !flat, err);
    if (s == VN_OK && !flat) s = vn_source_room_for_names(out, (int32_t)folders.count, err);
    for (size_t k = 0; s == VN_OK && !flat && k < folders.count; k++)
        s = vn_source_set_name(out, (int32_t)k, folders.at[k].path, strlen(folders.at[k].path), err);
    vn_free(folders.at);
    return s;
}

static vn_status set_labels(const vn_folder *f, vn_source *out, vn_err *err) {
    if (out->classes == 0) return VN_OK;
    out->labels = vn_alloc(f->files.count, sizeof *out->labels);
    if (out->labels == NULL) return vn_no_memory(err);
    for (size_t i = 0; i < f->files.count; i++) out->labels[i] = f->files.at[i].label;
    return VN_OK;
}

/* ---- headers ---------------------------------------------------------------------------------------- */

/* About what decoding holds: the file, the picture with transparency, JPEG's coefficients, rows between resizing's passes. */
static size_t work_bytes(const vn_folder *f, const vn_image *head, int64_t file_bytes) {
    const size_t pixels = (size_t)head->width * (size_t)head->height, c = (size_t)head->channels;
    return (size_t)file_bytes + pixels * (c + 1) + 2 * pixels * c + 2 * (size_t)head->height * (size_t)f->size * c;
}

static vn_status take_header(vn_folder *f, size_t i, const vn_image *head, vn_err *err) {
    if (i == 0) {
        f->width = f->size > 0 ? f->size : head->width;
        f->height = f->size > 0 ? f->size : head->height;
    } else if (f->size == 0 && (head->width != f->width || head->height != f->height)) {
        return vn_fail(err, VN_BAD_FILE,
                       "%s: pictures differ in size, %s is %dx%d and %s is %dx%d: give a size to resize to", f->root,
                       f->files.at[0].path, f->width, f->height, f->files.at[i].path, head->width, head->height);
    }
    if (head->channels > f->channels) f->channels = head->channels;
    const size_t work = work_bytes(f, head, f->files.at[i].bytes);
    if (work > f->work_bytes) f->work_bytes = work;
    return VN_OK;
}

static vn_status read_header(vn_folder *f, size_t i, vn_err *err) {
    vn_image head;
    char *path = vn_path_join(f->root, f->files.at[i].path);
    if (path == NULL) return vn_no_memory(err);
    vn_status s = vn_image_probe(path, &head, err);
    vn_free(path);
    return s == VN_OK ? take_header(f, i, &head, err) : s;
}

static vn_status read_headers(vn_folder *f, const vn_watch *watch, vn_err *err) {
    const double start = vn_now();
    for (size_t i = 0; i < f->files.count; i++) {
        const vn_status s = read_header(f, i, err);
        if (s != VN_OK) return s;
        if ((i + 1) % REPORT_EVERY != 0) continue;
        const double rate = (double)(i + 1) / (vn_now() - start + 1e-9);
        const vn_progress progress = {.what = "reading",
                                      .unit = "files",
                                      .done = (int64_t)i + 1,
                                      .total = (int64_t)f->files.count,
                                      .rate = rate,
                                      .seconds_left = (double)(f->files.count - i - 1) / rate,
                                      .loss = (double)NAN};
        if (vn_report(watch, &progress)) return vn_fail(err, VN_CANCELLED, "%s: reading was cancelled", f->root);
    }
    return VN_OK;
}

/* ---- the source ------------------------------------------------------------------------------------- */

bool vn_folder_detect(const char *source) {
    return vn_is_dir(source);
}

static vn_status fill(vn_folder *f, const vn_data_options *options, vn_source *out, vn_err *err) {
    vn_status s = find_files(f, out, err);
    if (s == VN_OK) s = set_labels(f, out, err);
    if (s == VN_OK) s = read_headers(f, options->watch, err);
    if (s != VN_OK) return s;
    if (options->grey) f->channels = 1;
    out->rank = 3;
    out->shape[0] = f->channels;
    out->shape[1] = f->height;
    out->shape[2] = f->width;
    out->count = (int64_t)f->files.count;
    return VN_OK;
}

vn_status vn_folder_open(const char *source, const vn_data_options *options, vn_source *out, vn_err *err) {
    vn_folder *f = vn_calloc(1, sizeof *f);
    if (f == NULL) return vn_no_memory(err);
    out->folder = f; /* closed with the source */
    f->size = (int)options->size;
    f->root = vn_strdup(source);
    if (f->root == NULL) return vn_no_memory(err);
    for (size_t n = strlen(f->root); n > 1 && f->root[n - 1] == '/'; n--) f->root[n - 1] = '\0';
    return fill(f, options, out, err);
}

const char *vn_folder_path(const vn_folder *folder, int64_t i) {
    return folder->files.at[i].path;
}

int64_t vn_folder_file_bytes(const vn_folder *folder, int64_t i) {
    return folder->files.at[i].bytes;
}

size_t vn_folder_work_bytes(const vn_folder *folder) {
    return folder->work_bytes;
}

/* ---- one picture ------------------------------------------------------------------------------------ */

static vn_status fit(const vn_folder *f, vn_image *image, vn_err *err) {
    if (f->size > 0 && (image->width != f->size || image->height != f->size)) {
        vn_image square;
        const vn_status s = vn_image_square(image, f->size, &square, err);
        if (s != VN_OK) return s;
        vn_image_free(image);
        *image = square;
    }
    return vn_image_set_channels(image, f->channels, err);
}

vn_status vn_folder_decode(const vn_folder *folder, int64_t i, uint8_t *pixels, vn_err *err) {
    vn_image image = {0};
    char *path = vn_path_join(folder->root, folder->files.at[i].path);
    if (path == NULL) return vn_no_memory(err);
    vn_status s = vn_image_read(path, &image, err);
    if (s == VN_OK) s = fit(folder, &image, err);
    if (s == VN_OK && (image.width != folder->width || image.height != folder->height))
        s = vn_fail(err, VN_BAD_FILE, "%s: its size has changed since it was listed", path);
    if (s == VN_OK) memcpy(pixels, image.pixels, (size_t)image.width * (size_t)image.height * (size_t)image.channels);
    vn_image_free(&image);
    vn_free(path);
    return s;
}
