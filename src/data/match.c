/* match.c - a folder held against the list of files that a run began with (record.h). Every file
 * keeps its place in the order whatever has become of it: one that could not be read may have been
 * repaired, which puts it back, or removed, which leaves a hole that another stands in for
 * (prefetch.c). Files that were never named have to be as they were. */
#include "data/folder.h"
#include "data/record.h"

#include <stdlib.h>
#include <string.h>

static int by_path(const void *a, const void *b) {
    return strcmp(((const vn_entry *)a)->path, ((const vn_entry *)b)->path);
}

static vn_entry *find(const vn_entries *sorted, const char *path) {
    const vn_entry key = {.path = path};
    return sorted->count > 0 ? bsearch(&key, sorted->at, sorted->count, sizeof key, by_path) : NULL;
}

/* A file of another size than listed may have been damaged since, which is told of it as of any
 * other; else it is another. */
static vn_status check_changed(const vn_folder *f, const vn_entry *e, int64_t bytes, vn_err *err) {
    vn_err why = {0};
    vn_image image = {0};
    vn_entry now = *e;
    now.bytes = bytes;
    const vn_status status = vn_folder_image(f, &now, false, &image, &why);
    vn_image_free(&image);
    if (vn_is_files_fault(status)) return VN_OK;
    if (status) return vn_fail(err, status, "%s", why.text);
    return vn_fail(
        err, VN_BAD_ARGUMENT,
        "%s is not the data that the run was trained on: %s has %lld bytes, and had %lld", f->root,
        e->path, (long long)bytes, (long long)e->bytes);
}

/* File i of the list, which the folder has (found) or not. */
static vn_status match_one(vn_folder *f, size_t i, vn_entry *found, const vn_watch *watch,
                           vn_err *err) {
    vn_entry *e = &f->files.at[i];
    if (found) {
        e->label = found->label;
        e->at = found->at;
        e->tar = found->tar;
        e->why = found->why;
        found->state = e->state; /* it is in the list */
    }
    if (e->state == VN_FILE_HOLE) return VN_OK;
    if (!found && e->state == VN_FILE_NAMED) {
        vn_log(watch, VN_LOG_INFO, "%s/%s is gone, and another stands in for it", f->root, e->path);
        vn_folder_mark(f, (int64_t)i, true);
        return VN_OK;
    }
    if (!found) {
        vn_err why = {0};
        vn_fail(&why, VN_IO, "%s/%s: is not there any more", f->root, e->path);
        e->gone = true;
        return vn_folder_blame(f, i, &why, watch, err);
    }
    if (e->state == VN_FILE_USED)
        return found->bytes == e->bytes ? VN_OK : check_changed(f, e, found->bytes, err);
    e->bytes = found->bytes; /* it was named, and may have been repaired */
    return VN_OK;
}

/* Files that are not in the list would take places of others. */
static vn_status refuse_new(const vn_folder *f, const vn_entries *found, vn_err *err) {
    const char *first = NULL;
    int64_t more = 0;
    for (size_t i = 0; i < found->count; i++) {
        if (found->at[i].state != 0 || find(&f->skipped, found->at[i].path)) continue;
        if (!first) first = found->at[i].path;
        more++;
    }
    if (!first) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s is not the data that the run was trained on: %lld file%s new, as %s",
                   f->root, (long long)more, more == 1 ? " is" : "s are", first);
}

/* Holes have no class of their own, but must not seem to be of one that does not exist. */
static void label_holes(vn_folder *f, const vn_entries *found) {
    for (size_t i = 0; i < f->files.count; i++)
        if (!find(found, f->files.at[i].path)) f->files.at[i].label = found->at[0].label;
}

vn_status vn_folder_match_list(vn_folder *f, const vn_data_options *options, vn_err *err) {
    vn_entries found = f->files;
    f->files = (vn_entries){0};
    vn_status status =
        vn_record_read(options->list, &f->listing.arena, &f->files, &f->skipped, err);
    vn_entries_sort(&found);
    vn_entries_sort(&f->skipped);
    for (size_t i = 0; !status && i < f->files.count; i++)
        status = match_one(f, i, find(&found, f->files.at[i].path), options->watch, err);
    if (!status) status = refuse_new(f, &found, err);
    if (!status) label_holes(f, &found);
    if (!status && f->files.count == 0)
        status = vn_fail(err, VN_BAD_FILE, "%s: names no files", options->list);
    if (!status && f->skipped.count > 0)
        vn_log(options->watch, VN_LOG_INFO, "%s: %zu file%s skipped as when the run began", f->root,
               f->skipped.count, f->skipped.count == 1 ? " is" : "s are");
    vn_free(found.at);
    return status;
}

vn_status vn_folder_check_labels(const vn_folder *folder, const int32_t *labels, vn_err *err) {
    for (size_t i = 0; labels != NULL && i < folder->files.count; i++) {
        const vn_entry *e = &folder->files.at[i];
        if (e->state != VN_FILE_HOLE && !e->gone && labels[i] != e->listed)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s is not the data that the run was trained on: %s is of another class",
                           folder->root, e->path);
    }
    return VN_OK;
}

bool vn_folder_list_changed(const vn_folder *folder) {
    return folder->dirty;
}

vn_status vn_folder_save_list(vn_folder *folder, const int32_t *labels, const char *path,
                              vn_err *err) {
    const vn_status status = vn_record_write(path, &folder->files, labels, &folder->skipped, err);
    if (!status) folder->dirty = false;
    return status;
}
