/* folder.c - a folder of pictures: one folder for each class with PNG, JPEG and WebP files in it,
 * at any depth, or such files alone.
 *
 * Opening lists all files and reads every header, so that a wrong size or a file that is no picture
 * is told at once and not an hour into training; pixels are decoded when they are needed, by
 * prefetch.c's threads. Classes are the sorted names of the folders. What else lies there is
 * counted by kind and told (listing.h). Pictures of many sizes become squares of CHOSEN_SIDE unless
 * a size is asked for. */
#include "data/folder.h"

#include <string.h>

enum { CHOSEN_SIDE = 32, MAX_KEPT = 64 };

void vn_folder_close(vn_folder **folder) {
    vn_folder *f = *folder;
    if (!f) return;
    vn_free(f->root);
    vn_free(f->files.at);
    vn_free(f->skipped.at);
    vn_free(f->tars.at);
    vn_free(f->listing.texts.at);
    vn_free(f->listing.jsons.at);
    vn_free(f->listing.lists.at);
    vn_captions_close(&f->captions);
    vn_arena_free(&f->listing.arena);
    vn_free(f);
    *folder = NULL;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* About what decoding holds: the file, the picture with transparency, JPEG's coefficients, rows
 * between resizing's passes. */
static size_t work_bytes(const vn_folder *f, const vn_image *head, int64_t file_bytes) {
    const size_t pixels = (size_t)head->width * (size_t)head->height, c = (size_t)head->channels;
    const size_t side = f->size > 0 ? (size_t)f->size : CHOSEN_SIDE;
    return (size_t)file_bytes + pixels * (c + 1) + 2 * pixels * c +
           2 * (size_t)head->height * side * c;
}

static int side_of(const vn_image *head) {
    return head->width < head->height ? head->width : head->height;
}

static int64_t area_of(const vn_image *head) {
    return (int64_t)head->width * head->height;
}

static bool same_size(const vn_image *a, const vn_image *b) {
    return a->width == b->width && a->height == b->height;
}

static void take_header(vn_folder *f, const vn_entry *e) {
    const vn_image head = {.width = e->width, .height = e->height, .channels = e->channels};
    if (f->channels == 0) f->least = f->most = head;
    if (!same_size(&head, &f->least)) f->differ = true;
    if (side_of(&head) < side_of(&f->least)) f->least = head;
    if (area_of(&head) > area_of(&f->most) || same_size(&f->least, &f->most)) f->most = head;
    if (head.channels > f->channels) f->channels = head.channels;
    const size_t work = work_bytes(f, &head, e->bytes);
    if (work > f->work_bytes) f->work_bytes = work;
}

static void take_headers(vn_folder *f) {
    for (size_t i = 0; i < f->files.count; i++)
        if (f->files.at[i].state != VN_FILE_HOLE) take_header(f, &f->files.at[i]);
}

static vn_status set_labels(const vn_folder *f, vn_source *out, vn_err *err) {
    if (out->classes == 0) return VN_OK;
    out->labels = vn_alloc(f->files.count, sizeof *out->labels);
    if (!out->labels) return vn_no_memory(err);
    for (size_t i = 0; i < f->files.count; i++) out->labels[i] = f->files.at[i].label;
    return VN_OK;
}

/* Pictures of one size up to MAX_KEPT keep it; others become small squares that a first run can
 * learn from. */
static vn_status choose_size(vn_folder *f, const vn_watch *watch, vn_err *err) {
    const vn_image *least = &f->least, *most = &f->most;
    const int side = side_of(least),
              largest = least->width > least->height ? least->width : least->height;
    if (f->size < 0 && f->differ)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "%s: pictures differ in size (%dx%d .. %dx%d), so they cannot stay as they are",
            f->root, least->width, least->height, most->width, most->height);
    if (f->size == 0 && f->differ) {
        f->size = side >= CHOSEN_SIDE ? CHOSEN_SIDE : side >= 4 ? side / 4 * 4 : side;
        vn_log(
            watch, VN_LOG_INFO,
            "%s: pictures differ in size (%dx%d .. %dx%d): resized to %dx%d; `size` changes that",
            f->root, least->width, least->height, most->width, most->height, f->size, f->size);
    } else if (f->size == 0 && largest > MAX_KEPT) {
        f->size = side >= CHOSEN_SIDE ? CHOSEN_SIDE : side;
        vn_log(watch, VN_LOG_INFO,
               "%s: pictures of %dx%d: resized to %dx%d; `size` changes that, and `size=-1` keeps "
               "them as they are",
               f->root, least->width, least->height, f->size, f->size);
    }
    f->width = f->size > 0 ? f->size : least->width;
    f->height = f->size > 0 ? f->size : least->height;
    return VN_OK;
}

/* What a run has made of its pictures before it is made of them again. */
static void take_shape(vn_folder *f, const vn_shape *shape) {
    const vn_image whole = {.width = (int)shape->dim[2], .height = (int)shape->dim[1]};
    const bool resized = f->differ || !same_size(&f->least, &whole);
    if (f->size <= 0) f->size = resized && whole.width == whole.height ? whole.width : 0;
    f->channels = (int)shape->dim[0];
    f->width = whole.width;
    f->height = whole.height;
}

/* ---- the source ------------------------------------------------------------------------------ */

bool vn_folder_detect(const char *source) {
    return vn_is_dir(source);
}

vn_status vn_folder_take_found(vn_folder *f, const vn_data_options *options, vn_source *out,
                               vn_err *err) {
    vn_status status = options->list ? vn_folder_match_list(f, options, err) : VN_OK;
    if (!status) status = vn_folder_read_files(f, options, err);
    if (!status) status = set_labels(f, out, err);
    if (!status) status = vn_folder_give_captions(f, out, err);
    if (!status) status = vn_folder_tell_passed(f, options->watch, err);
    if (status) return status;
    take_headers(f);
    if (options->shape)
        take_shape(f, options->shape);
    else
        status = choose_size(f, options->watch, err);
    if (status) return status;
    if (options->grey && !options->shape) f->channels = 1;
    out->sample.rank = 3;
    out->sample.dim[0] = f->channels;
    out->sample.dim[1] = f->height;
    out->sample.dim[2] = f->width;
    out->count = (int64_t)f->files.count;
    return VN_OK;
}

vn_status vn_folder_new(const char *source, const vn_data_options *options, vn_source *out,
                        vn_folder **folder, vn_err *err) {
    vn_folder *f = vn_calloc(1, sizeof *f);
    if (!f) return vn_no_memory(err);
    out->folder = f; /* closed with the source */
    f->size = (int)options->size;
    f->root = vn_strdup(source);
    if (!f->root) return vn_no_memory(err);
    for (size_t n = strlen(f->root); n > 1 && f->root[n - 1] == '/'; n--) f->root[n - 1] = '\0';
    f->listing.root = f->root;
    *folder = f;
    return VN_OK;
}

vn_status vn_folder_open(const char *source, const vn_data_options *options, vn_source *out,
                         vn_err *err) {
    vn_folder *f = NULL; /* stays so where it fails */
    vn_status status = vn_folder_new(source, options, out, &f, err);
    if (!f) return status;
    status = vn_folder_find(f, options, out, err);
    return !status ? vn_folder_take_found(f, options, out, err) : status;
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

/* ---- one picture ----------------------------------------------------------------------------- */

static vn_status fit(const vn_folder *f, vn_image *image, vn_err *err) {
    if (f->size > 0 && (image->width != f->size || image->height != f->size)) {
        vn_image square;
        const vn_status status = vn_image_square(image, f->size, &square, err);
        if (status) return status;
        vn_image_free(image);
        *image = square;
    }
    return vn_image_set_channels(image, f->channels, err);
}

vn_status vn_folder_decode(const vn_folder *folder, int64_t i, uint8_t *pixels, vn_err *err) {
    vn_image image = {0};
    const vn_entry *e = &folder->files.at[i];
    vn_status status = vn_folder_image(folder, e, false, &image, err);
    if (!status) status = fit(folder, &image, err);
    if (!status && (image.width != folder->width || image.height != folder->height))
        status = vn_fail(err, VN_BAD_FILE, "%s/%s: its size has changed since it was listed",
                         folder->root, e->path);
    if (!status)
        memcpy(pixels, image.pixels,
               (size_t)image.width * (size_t)image.height * (size_t)image.channels);
    vn_image_free(&image);
    return status;
}
