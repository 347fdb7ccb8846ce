/* folder.c - a folder of pictures: one folder for each class with PNG, JPEG and WebP files in it, at any depth, or such files alone.
 *
 * Opening lists all files and reads every header, so that a wrong size or a file that is no picture is told at once and not
 * an hour into training; pixels are decoded when they are needed, by feed.c's threads. Classes are the sorted names of
 * the folders. What else lies there is counted by kind and told (listing.h). Pictures of many sizes become squares of
 * CHOSEN_SIDE unless a size is asked for. */
#include "data/dataset_json.h"
#include "data/internal.h"
#include "data/listing.h"

#include <math.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { REPORT_EVERY = 64, CHOSEN_SIDE = 32, LARGEST_KEPT = 64 };

#define ENDINGS "PNG, JPEG and WebP files count (" VN_IMAGE_ENDINGS ")"

struct vn_folder {
    char *root;
    vn_listing listing;
    vn_entries files;
    int64_t unlisted; /* pictures that dataset.json does not name */
    int size;         /* pictures become size x size; 0: they are all width x height */
    int width, height, channels;
    vn_image least, most; /* headers of the smallest and the largest picture */
    bool differ;          /* in size */
    size_t work_bytes;
};

void vn_folder_close(vn_folder **folder) {
    vn_folder *f = *folder;
    if (f == NULL) return;
    vn_free(f->root);
    vn_free(f->files.at);
    vn_arena_free(&f->listing.arena);
    vn_free(f);
    *folder = NULL;
}

/* ---- classes ---------------------------------------------------------------------------------------- */

static vn_status refuse_empty(const vn_folder *f, vn_err *err) {
    char *passed = vn_listing_passed(&f->listing);
    if (passed == NULL) return vn_no_memory(err);
    vn_fail(err, VN_BAD_FILE, "%s: holds no pictures, nor do the folders in it; " ENDINGS, f->root);
    if (passed[0] != '\0') vn_fail_after(err, "passed over: %s", passed);
    vn_free(passed);
    return VN_BAD_FILE;
}

static bool is_split(const char *name) {
    static const char *const splits[] = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"};
    for (size_t i = 0; i < VN_COUNT(splits); i++)
        if (strcasecmp(name, splits[i]) == 0) return true;
    return false;
}

/* Data whose classes lie one deeper, below "train" and "test": there a folder would be taken for a class. */
static vn_status check_splits(const vn_folder *f, const vn_entries *folders, vn_err *err) {
    const char *train = folders->at[0].path;
    for (size_t i = 0; i < folders->count; i++) {
        if (!is_split(folders->at[i].path)) return VN_OK;
        if (strncasecmp(folders->at[i].path, "train", 5) == 0) train = folders->at[i].path;
    }
    return vn_fail(err, VN_BAD_FILE,
                   "%s: each folder in it is a class, but %s is a part of a data set: did you mean %s/%s?", f->root,
                   folders->at[0].path, f->root, train);
}

/* A single class whose pictures all lie in several folders is more likely a folder too many on the way. */
static void doubt_single_class(const vn_folder *f, const char *name, const vn_watch *watch) {
    const size_t skip = strlen(name) + 1;
    const char *first = f->files.at[0].path + skip;
    bool several = false;
    for (size_t i = 0; i < f->files.count; i++) {
        const char *path = f->files.at[i].path + skip;
        const size_t length = strcspn(path, "/");
        if (path[length] == '\0') return; /* a picture of the class's own */
        several = several || strncmp(path, first, length + 1) != 0;
    }
    if (several)
        vn_log(watch, VN_LOG_WARNING, "%s: one class, %s, with pictures in folders of its own; did you mean %s/%s?",
               f->root, name, f->root, name);
}

/* StyleGAN's and EDM's tools number their folders, which are no classes, and write the labels into dataset.json. */
static bool are_numbered(const vn_entries *folders) {
    for (size_t i = 0; i < folders->count; i++)
        if (strlen(folders->at[i].path) != 5 || strspn(folders->at[i].path, "0123456789") != 5) return false;
    return folders->count > 0;
}

static vn_status doubt_numbers(const vn_folder *f, const vn_watch *watch) {
    vn_log(watch, VN_LOG_WARNING,
           "%s: its numbered folders are taken as classes; a data set of StyleGAN's or EDM's tools, in which they are "
           "not, has its labels in " VN_DATASET_JSON,
           f->root);
    return VN_OK;
}

/* Pictures in the folder itself are without classes; then there may be none in the folders beside them. */
static vn_status check_flat(vn_folder *f, const vn_entries *folders, vn_err *err) {
    vn_entries inside = {0};
    vn_status s = VN_OK;
    for (size_t k = 0; s == VN_OK && k < folders->count; k++) {
        s = vn_listing_walk(&f->listing, folders->at[k].path, &inside, err);
        if (s == VN_OK && inside.count > 0)
            s = vn_fail(err, VN_BAD_FILE,
                        "%s: holds both pictures (%s) and a folder with pictures (%s): move the pictures into a folder "
                        "of their class, or the folder away",
                        f->root, f->files.at[0].path, folders->at[k].path);
    }
    vn_free(inside.at);
    return s;
}

static vn_status add_classes(vn_folder *f, const vn_entries *folders, vn_source *out, vn_err *err) {
    vn_status s = check_splits(f, folders, err);
    if (s == VN_OK) s = vn_source_room_for_names(out, (int32_t)folders->count, err);
    for (size_t k = 0; s == VN_OK && k < folders->count; k++) {
        const char *name = folders->at[k].path;
        const size_t first = f->files.count;
        s = vn_listing_walk(&f->listing, name, &f->files, err);
        for (size_t i = first; i < f->files.count; i++) f->files.at[i].label = (int32_t)k;
        if (s == VN_OK) s = vn_source_set_name(out, (int32_t)k, name, strlen(name), err);
    }
    return s;
}

/* The folders of StyleGAN's tools that have no list with them cannot be told from classes that are numbers. */
static vn_status refuse_foreign(const vn_folder *f, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE, "%s/" VN_DATASET_JSON ": has no \"labels\" (null there means no classes)",
                   f->root);
}

/* What of the listed file is known without reading it; if it is not there, reading it will tell. */
static vn_status add_listed(vn_folder *f, vn_entry e, vn_err *err) {
    struct stat info;
    char *full = vn_path_join(f->root, e.path);
    if (full == NULL) return vn_no_memory(err);
    if (stat(full, &info) == 0) e.bytes = (int64_t)info.st_size;
    vn_free(full);
    return vn_entries_append(&f->files, e, err);
}

/* Both sorted: `found` pictures get their labels; those that are not listed are passed over, and listed ones that were not
 * found, perhaps as their names do not end like a picture's, join them. */
static vn_status join(vn_folder *f, const vn_entries *found, const vn_entries *list, vn_err *err) {
    vn_status s = VN_OK;
    size_t i = 0;
    for (size_t k = 0; s == VN_OK && k < list->count; k++) {
        for (; i < found->count && strcmp(found->at[i].path, list->at[k].path) < 0; i++) f->unlisted++;
        vn_entry e = list->at[k];
        const bool there = i < found->count && strcmp(found->at[i].path, e.path) == 0;
        if (there) e.bytes = found->at[i++].bytes;
        s = there ? vn_entries_append(&f->files, e, err) : add_listed(f, e, err);
    }
    f->unlisted += (int64_t)(found->count - i);
    return s;
}

/* The pictures of a data set with a dataset.json, whose folders are no classes. */
static vn_status find_listed(vn_folder *f, bool labelled, const vn_entries *list, int32_t classes, vn_source *out,
                             vn_err *err) {
    vn_entries found = {0};
    vn_status s = vn_listing_walk(&f->listing, "", labelled ? &found : &f->files, err);
    if (s == VN_OK && labelled) s = join(f, &found, list, err);
    if (s == VN_OK && labelled) s = vn_source_number_names(out, classes, err);
    vn_free(found.at);
    return s;
}

/* Either pictures in the folder itself, or in the folders that are its classes; not both. */
static vn_status find_unlisted(vn_folder *f, bool foreign, const vn_watch *watch, vn_source *out, vn_err *err) {
    vn_entries folders = {0};
    vn_status s = vn_listing_read(&f->listing, "", &folders, &f->files, err);
    const bool flat = f->files.count > 0;
    if (s == VN_OK && flat) s = check_flat(f, &folders, err);
    if (s == VN_OK && !flat && folders.count > 0) s = add_classes(f, &folders, out, err);
    if (s == VN_OK && flat)
        vn_log(watch, VN_LOG_INFO, "%s: pictures without classes; a folder for each class would make classes of them",
               f->root);
    if (s == VN_OK && !flat && are_numbered(&folders)) s = foreign ? refuse_foreign(f, err) : doubt_numbers(f, watch);
    if (s == VN_OK && folders.count == 1 && f->files.count > 0 && !flat)
        doubt_single_class(f, folders.at[0].path, watch);
    vn_free(folders.at);
    return s;
}

static vn_status find_files(vn_folder *f, const vn_watch *watch, vn_source *out, vn_err *err) {
    vn_labels_kind kind = VN_LABELS_NONE;
    vn_entries list = {0};
    int32_t classes = 0;
    bool foreign = false;
    vn_status s = vn_dataset_json_read(&f->listing, &kind, &list, &classes, &foreign, err);
    if (s == VN_OK)
        s = kind == VN_LABELS_NONE ? find_unlisted(f, foreign, watch, out, err)
                                   : find_listed(f, kind == VN_LABELS_LIST, &list, classes, out, err);
    if (foreign) f->listing.sidecar = VN_DATASET_JSON;
    if (s == VN_OK && f->files.count == 0) s = refuse_empty(f, err);
    if (s == VN_OK && kind != VN_LABELS_NONE)
        vn_log(watch, VN_LOG_INFO, "%s: %s", f->root,
               kind == VN_LABELS_LIST ? "classes are the labels in " VN_DATASET_JSON
                                      : "no classes, as labels is null in " VN_DATASET_JSON);
    vn_free(list.at);
    return s;
}

static vn_status set_labels(const vn_folder *f, vn_source *out, vn_err *err) {
    if (out->classes == 0) return VN_OK;
    out->labels = vn_alloc(f->files.count, sizeof *out->labels);
    if (out->labels == NULL) return vn_no_memory(err);
    for (size_t i = 0; i < f->files.count; i++) out->labels[i] = f->files.at[i].label;
    return VN_OK;
}

static vn_status tell_passed(const vn_folder *f, const vn_watch *watch, vn_err *err) {
    char *passed = vn_listing_passed(&f->listing);
    if (passed == NULL) return vn_no_memory(err);
    if (passed[0] != '\0') vn_log(watch, VN_LOG_INFO, "%s: passed over: %s; " ENDINGS, f->root, passed);
    if (f->unlisted > 0)
        vn_log(watch, VN_LOG_WARNING, "%s: passed over: %lld picture%s that " VN_DATASET_JSON " does not name", f->root,
               (long long)f->unlisted, f->unlisted == 1 ? "" : "s");
    if (f->listing.sidecar != NULL)
        vn_log(watch, VN_LOG_INFO, "%s: %s is not used: classes are folders, and captions are not read", f->root,
               f->listing.sidecar);
    vn_free(passed);
    return VN_OK;
}

/* ---- headers ---------------------------------------------------------------------------------------- */

/* About what decoding holds: the file, the picture with transparency, JPEG's coefficients, rows between resizing's passes. */
static size_t work_bytes(const vn_folder *f, const vn_image *head, int64_t file_bytes) {
    const size_t pixels = (size_t)head->width * (size_t)head->height, c = (size_t)head->channels;
    const size_t side = f->size > 0 ? (size_t)f->size : CHOSEN_SIDE;
    return (size_t)file_bytes + pixels * (c + 1) + 2 * pixels * c + 2 * (size_t)head->height * side * c;
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

static void take_header(vn_folder *f, size_t i, const vn_image *head) {
    if (i == 0) f->least = f->most = *head;
    if (!same_size(head, &f->least)) f->differ = true;
    if (side_of(head) < side_of(&f->least)) f->least = *head;
    if (area_of(head) > area_of(&f->most) || same_size(&f->least, &f->most)) f->most = *head;
    if (head->channels > f->channels) f->channels = head->channels;
    const size_t work = work_bytes(f, head, f->files.at[i].bytes);
    if (work > f->work_bytes) f->work_bytes = work;
}

static vn_status read_header(vn_folder *f, size_t i, vn_err *err) {
    vn_image head;
    char *path = vn_path_join(f->root, f->files.at[i].path);
    if (path == NULL) return vn_no_memory(err);
    vn_status s = vn_image_probe(path, &head, err);
    vn_free(path);
    if (s == VN_OK) take_header(f, i, &head);
    return s;
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

/* Pictures of one size up to LARGEST_KEPT keep it; others become small squares that a first run can learn from. */
static vn_status choose_size(vn_folder *f, const vn_watch *watch, vn_err *err) {
    const vn_image *least = &f->least, *most = &f->most;
    const int side = side_of(least), largest = least->width > least->height ? least->width : least->height;
    if (f->size < 0 && f->differ)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: pictures differ in size (%dx%d .. %dx%d), so they cannot stay as they are", f->root,
                       least->width, least->height, most->width, most->height);
    if (f->size == 0 && f->differ) {
        f->size = side >= CHOSEN_SIDE ? CHOSEN_SIDE : side >= 4 ? side / 4 * 4 : side;
        vn_log(watch, VN_LOG_INFO,
               "%s: pictures differ in size (%dx%d .. %dx%d): resized to %dx%d; --size changes that", f->root,
               least->width, least->height, most->width, most->height, f->size, f->size);
    } else if (f->size == 0 && largest > LARGEST_KEPT) {
        f->size = side >= CHOSEN_SIDE ? CHOSEN_SIDE : side;
        vn_log(watch, VN_LOG_INFO,
               "%s: pictures of %dx%d: resized to %dx%d; --size changes that, and --size -1 keeps them as they are",
               f->root, least->width, least->height, f->size, f->size);
    }
    f->width = f->size > 0 ? f->size : least->width;
    f->height = f->size > 0 ? f->size : least->height;
    return VN_OK;
}

/* ---- the source ------------------------------------------------------------------------------------- */

bool vn_folder_detect(const char *source) {
    return vn_is_dir(source);
}

static vn_status fill(vn_folder *f, const vn_data_options *options, vn_source *out, vn_err *err) {
    vn_status s = find_files(f, options->watch, out, err);
    if (s == VN_OK) s = set_labels(f, out, err);
    if (s == VN_OK) s = read_headers(f, options->watch, err);
    if (s == VN_OK) s = tell_passed(f, options->watch, err);
    if (s == VN_OK) s = choose_size(f, options->watch, err);
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
    f->listing.root = f->root;
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
