/* find.c - which pictures a folder holds, and of which classes they are: one folder for each class,
 * or pictures alone, or a list of labels (dataset_json.h). What may be meant otherwise than it is
 * taken is doubted in a line of the log, or refused. */
#include "data/dataset_json.h"
#include "data/folder.h"

#include <string.h>
#include <sys/stat.h>

static vn_status refuse_empty(const vn_folder *f, vn_err *err) {
    char *passed = vn_listing_passed(&f->listing);
    if (!passed) return vn_no_memory(err);
    vn_fail(err, VN_BAD_FILE, "%s: holds no pictures, nor do the folders in it; " VN_FOLDER_ENDINGS,
            f->root);
    if (passed[0] != '\0') vn_fail_after(err, "passed over: %s", passed);
    vn_free(passed);
    return VN_BAD_FILE;
}

static bool is_split(const char *name) {
    static const char *const splits[] = {"train", "training", "test",       "testing",
                                         "val",   "valid",    "validation", "dev"};
    for (size_t i = 0; i < VN_COUNT(splits); i++)
        if (vn_same_but_for_case(name, splits[i])) return true;
    return false;
}

/* Data whose classes lie one deeper, below "train" and "test": there a folder would be taken for a
 * class. */
static vn_status check_splits(const vn_folder *f, const vn_entries *folders, vn_err *err) {
    const char *train = folders->at[0].path;
    for (size_t i = 0; i < folders->count; i++) {
        if (!is_split(folders->at[i].path)) return VN_OK;
        if (vn_begins_but_for_case(folders->at[i].path, "train")) train = folders->at[i].path;
    }
    return vn_fail(
        err, VN_BAD_FILE,
        "%s: each folder in it is a class, but %s is a part of a data set: did you mean %s/%s?",
        f->root, folders->at[0].path, f->root, train);
}

/* A single class whose pictures all lie in several folders is more likely a folder too many on the
 * way. */
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
        vn_log(watch, VN_LOG_WARNING,
               "%s: one class, %s, with pictures in folders of its own; did you mean %s/%s?",
               f->root, name, f->root, name);
}

/* StyleGAN's and EDM's tools number their folders, which are no classes, and write the labels into
 * dataset.json. */
static bool are_numbered(const vn_entries *folders) {
    for (size_t i = 0; i < folders->count; i++)
        if (strlen(folders->at[i].path) != 5 || strspn(folders->at[i].path, "0123456789") != 5)
            return false;
    return folders->count > 0;
}

static vn_status doubt_numbers(const vn_folder *f, const vn_watch *watch) {
    vn_log(watch, VN_LOG_WARNING,
           "%s: its numbered folders are taken as classes; a data set of StyleGAN's or EDM's "
           "tools, in which they are "
           "not, has its labels in " VN_DATASET_JSON,
           f->root);
    return VN_OK;
}

/* A folder of runs holds pictures, but they are previews. */
static vn_status check_no_run(const vn_folder *f, const char *name, vn_err *err) {
    char *mark = vn_format("%s/%s/vane.json", f->root, name);
    if (!mark) return vn_no_memory(err);
    const bool run = vn_is_file(mark);
    vn_free(mark);
    if (!run) return VN_OK;
    if (strcmp(name, ".") == 0) return vn_fail(err, VN_BAD_FILE, "%s: a run, and no data", f->root);
    return vn_fail(err, VN_BAD_FILE, "%s: each folder in it is a class, but %s is a run", f->root,
                   name);
}

/* Pictures in the folder itself are without classes; then there may be none in the folders beside
 * them. */
static vn_status refuse_inside(const vn_folder *f, const vn_entries *inside, vn_err *err) {
    const char *first = inside->at[0].path;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: holds both pictures (%s) and a folder with pictures (%.*s): move the "
                   "pictures into a folder of their class, or the folder away",
                   f->root, f->files.at[0].path, (int)strcspn(first, "/"), first);
}

static vn_status add_classes(vn_folder *f, const vn_entries *folders, vn_source *out, vn_err *err) {
    vn_status status = check_splits(f, folders, err);
    if (!status) status = vn_source_room_for_names(out, (int32_t)folders->count, err);
    for (size_t k = 0; !status && k < folders->count; k++) {
        const char *name = folders->at[k].path;
        const size_t first = f->files.count;
        status = check_no_run(f, name, err);
        if (!status) status = vn_listing_walk(&f->listing, name, &f->files, err);
        for (size_t i = first; i < f->files.count; i++) f->files.at[i].label = (int32_t)k;
        if (!status) status = vn_source_set_name(out, (int32_t)k, name, strlen(name), err);
    }
    return status;
}

/* The folders of StyleGAN's tools that have no list with them cannot be told from classes that are
 * numbers. */
static vn_status refuse_foreign(const vn_folder *f, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE,
                   "%s/" VN_DATASET_JSON ": has no \"labels\" (null there means no classes)",
                   f->root);
}

/* What of the listed file is known without reading it; if it is not there, reading it will tell. */
static vn_status add_listed(vn_folder *f, vn_entry e, vn_err *err) {
    struct stat info;
    char *full = vn_path_join(f->root, e.path);
    if (!full) return vn_no_memory(err);
    if (stat(full, &info) == 0) e.bytes = (int64_t)info.st_size;
    vn_free(full);
    return vn_entries_append(&f->files, e, err);
}

/* Both sorted: `found` pictures get their labels; those that are not listed are passed over, and
 * listed ones that were not found, perhaps as their names do not end like a picture's, join
 * them. */
static vn_status join(vn_folder *f, const vn_entries *found, const vn_entries *list, vn_err *err) {
    vn_status status = VN_OK;
    size_t i = 0;
    for (size_t k = 0; !status && k < list->count; k++) {
        for (; i < found->count && strcmp(found->at[i].path, list->at[k].path) < 0; i++)
            f->unlisted++;
        vn_entry e = list->at[k];
        const bool there = i < found->count && strcmp(found->at[i].path, e.path) == 0;
        if (there) e.bytes = found->at[i++].bytes;
        status = there ? vn_entries_append(&f->files, e, err) : add_listed(f, e, err);
    }
    f->unlisted += (int64_t)(found->count - i);
    return status;
}

/* The pictures of a data set with a dataset.json, whose folders are no classes. */
static vn_status find_listed(vn_folder *f, bool labelled, const vn_entries *list, int32_t classes,
                             vn_source *out, vn_err *err) {
    vn_entries found = {0};
    vn_status status = vn_listing_walk(&f->listing, "", labelled ? &found : &f->files, err);
    if (!status && labelled) status = join(f, &found, list, err);
    if (!status && labelled) status = vn_source_number_names(out, classes, err);
    vn_free(found.at);
    return status;
}

/* Pictures with captions: the folders that they lie in mean nothing. */
static vn_status leave_classes(vn_folder *f, const vn_entries *inside, const vn_watch *watch,
                               vn_source *out, vn_err *err) {
    vn_status status = VN_OK;
    for (size_t i = 0; !status && i < inside->count; i++)
        status = vn_entries_append(&f->files, inside->at[i], err);
    for (size_t i = 0; i < f->files.count; i++) f->files.at[i].label = 0;
    vn_entries_sort(&f->files);
    if (out->classes > 0)
        vn_log(watch, VN_LOG_INFO,
               "%s: pictures have captions, so it has no classes; `captions=none` leaves captions "
               "aside",
               f->root);
    out->classes = 0;
    out->names = NULL;
    return status;
}

/* What is known of pictures without captions: `folders` of the root, pictures `inside` them where
 * there are others beside them. */
static vn_status settle_unlisted(const vn_folder *f, const vn_entries *folders,
                                 const vn_entries *inside, bool flat, bool foreign,
                                 const vn_watch *watch, vn_err *err) {
    if (flat && inside->count > 0) return refuse_inside(f, inside, err);
    if (flat)
        vn_log(watch, VN_LOG_INFO,
               "%s: pictures without classes; a folder for each class would make classes of them",
               f->root);
    if (!flat && are_numbered(folders))
        return foreign ? refuse_foreign(f, err) : doubt_numbers(f, watch);
    if (folders->count == 1 && f->files.count > 0 && !flat)
        doubt_single_class(f, folders->at[0].path, watch);
    return VN_OK;
}

/* Pictures with captions, or either pictures in the folder itself or in the folders that are its
 * classes; not both. */
static vn_status find_unlisted(vn_folder *f, bool foreign, const vn_data_options *options,
                               vn_source *out, vn_err *err) {
    vn_entries folders = {0}, inside = {0};
    vn_status status = check_no_run(f, ".", err);
    if (!status) status = vn_listing_read(&f->listing, "", &folders, &f->files, err);
    const bool flat = f->files.count > 0;
    for (size_t k = 0; !status && flat && k < folders.count; k++)
        status = vn_listing_walk(&f->listing, folders.at[k].path, &inside, err);
    if (!status && !flat && folders.count > 0) status = add_classes(f, &folders, out, err);
    if (!status) status = vn_folder_choose_captions(f, &inside, options, err);
    if (!status)
        status = f->caption_row
                     ? leave_classes(f, &inside, options->watch, out, err)
                     : settle_unlisted(f, &folders, &inside, flat, foreign, options->watch, err);
    vn_free(inside.at);
    vn_free(folders.at);
    return status;
}

/* The same of a data set with a list of labels. */
static vn_status find_of_list(vn_folder *f, bool labelled, const vn_entries *list, int32_t classes,
                              const vn_data_options *options, vn_source *out, vn_err *err) {
    static const vn_entries none = {0};
    vn_status status = find_listed(f, labelled, list, classes, out, err);
    if (!status) status = vn_folder_choose_captions(f, &none, options, err);
    if (!status && f->caption_row) return leave_classes(f, &none, options->watch, out, err);
    if (!status)
        vn_log(options->watch, VN_LOG_INFO, "%s: %s", f->root,
               labelled ? "classes are the labels in " VN_DATASET_JSON
                        : "no classes, as labels is null in " VN_DATASET_JSON);
    return status;
}

vn_status vn_folder_find(vn_folder *f, const vn_data_options *options, vn_source *out,
                         vn_err *err) {
    vn_labels_kind kind = VN_LABELS_NONE;
    vn_entries list = {0};
    int32_t classes = 0;
    bool foreign = false;
    vn_status status = vn_dataset_json_read(&f->listing, &kind, &list, &classes, &foreign, err);
    if (!status)
        status = kind == VN_LABELS_NONE
                     ? find_unlisted(f, foreign, options, out, err)
                     : find_of_list(f, kind == VN_LABELS_LIST, &list, classes, options, out, err);
    if (foreign) f->listing.sidecar = VN_DATASET_JSON;
    if (f->caption_row != &vn_text_captions) vn_listing_pass_texts(&f->listing, &f->listing.texts);
    if (f->caption_row != &vn_metadata_captions && !f->listing.sidecar && f->listing.lists.count)
        f->listing.sidecar = f->listing.lists.at[0].path;
    if (!status && f->files.count == 0) status = refuse_empty(f, err);
    vn_free(list.at);
    return status;
}

/* Texts that are of no picture may be captions of files that were renamed or lost; what is written
 * in JSON may be anything. */
static void tell_strays(vn_folder *f, const vn_watch *watch) {
    const char *first = NULL;
    long long strays = 0;
    vn_listing_pass_texts(&f->listing, &f->listing.jsons);
    if (f->caption_row != &vn_text_captions) return;
    for (size_t i = 0; i < f->listing.texts.count; i++) {
        const vn_entry *text = &f->listing.texts.at[i];
        if (text->state == VN_FILE_USED) continue;
        if (!first) first = text->path;
        strays++;
    }
    vn_listing_pass_texts(&f->listing, &f->listing.texts);
    if (strays > 0)
        vn_log(watch, VN_LOG_WARNING, "%s: %lld .txt file%s no picture of the same name: %s%s",
               f->root, strays, strays == 1 ? " has" : "s have", first, strays > 1 ? ", ..." : "");
}

vn_status vn_folder_tell_passed(vn_folder *f, const vn_watch *watch, vn_err *err) {
    tell_strays(f, watch);
    char *passed = vn_listing_passed(&f->listing);
    if (!passed) return vn_no_memory(err);
    if (passed[0] != '\0')
        vn_log(watch, VN_LOG_INFO, "%s: passed over: %s; " VN_FOLDER_ENDINGS, f->root, passed);
    if (f->unlisted > 0)
        vn_log(watch, VN_LOG_WARNING,
               "%s: passed over: %lld picture%s that " VN_DATASET_JSON " does not name", f->root,
               (long long)f->unlisted, f->unlisted == 1 ? "" : "s");
    if (f->listing.sidecar)
        vn_log(watch, VN_LOG_INFO,
               "%s: %s is not used: classes are folders, and captions are in .txt or .json files "
               "beside the pictures or in metadata.jsonl",
               f->root, f->listing.sidecar);
    vn_free(passed);
    return VN_OK;
}
