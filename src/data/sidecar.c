/* sidecar.c - captions in text files beside the pictures: a.txt has those of a.png, one a line.
 * Texts are found by their names without the ending, in any case of letters of that. */
#include "data/folder.h"

#include <stdlib.h>
#include <string.h>

/* The bytes of a path without its last ending. */
static size_t stem_length(const char *path) {
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    return dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
}

static int compare_stems(const void *a, const void *b) {
    const char *x = ((const vn_entry *)a)->path, *y = ((const vn_entry *)b)->path;
    const size_t m = stem_length(x), n = stem_length(y);
    const int order = memcmp(x, y, m < n ? m : n);
    return order != 0 ? order : (m > n) - (m < n);
}

/* The text of a picture; NULL: it has none. texts are sorted by their stems. */
static vn_entry *text_of(const vn_entries *texts, const vn_entry *picture) {
    return texts->count > 0
               ? bsearch(picture, texts->at, texts->count, sizeof *texts->at, compare_stems)
               : NULL;
}

/* Two texts of one name, but for case: not both can be meant. */
static vn_status check_single(const vn_folder *f, const vn_entry *text, vn_err *err) {
    const vn_entries *texts = &f->listing.texts;
    const vn_entry *other =
        text > texts->at && compare_stems(text - 1, text) == 0                      ? text - 1
        : text + 1 < texts->at + texts->count && compare_stems(text, text + 1) == 0 ? text + 1
                                                                                    : NULL;
    if (!other) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: %s and %s caption the same picture: remove one", f->root,
                   text->path, other->path);
}

static vn_status find(vn_folder *f, const vn_entries *files, int64_t *captioned,
                      const char **example, vn_err *err) {
    vn_entries *texts = &f->listing.texts;
    *captioned = 0;
    if (texts->count > 0) qsort(texts->at, texts->count, sizeof *texts->at, compare_stems);
    for (size_t i = 0; i < files->count; i++) {
        vn_entry *text = text_of(texts, &files->at[i]);
        if (!text) continue;
        const vn_status status = check_single(f, text, err);
        if (status) return status;
        if (!*example) *example = text->path;
        ++*captioned;
    }
    return VN_OK;
}

static vn_status read_text(vn_folder *f, vn_entry *e, const vn_entry *text, vn_err *err) {
    char *bytes = NULL;
    size_t size = 0;
    if (text->why) return vn_fail(err, VN_BAD_FILE, "%s", text->why);
    vn_status status = vn_folder_bytes(f, text, VN_CAPTION_MAX_FILE, &bytes, &size, err);
    if (!status) {
        status = vn_captions_add_lines(f->captions, &e->captions, bytes, size, err);
        if (status) vn_fail_in(err, "%s/%s", f->root, text->path);
    }
    vn_free(bytes);
    return status;
}

/* Those of pictures that were skipped when a run began are no strays. */
static void mark_skipped(vn_folder *f) {
    for (size_t i = 0; i < f->skipped.count; i++) {
        vn_entry *text = text_of(&f->listing.texts, &f->skipped.at[i]);
        if (text) text->state = VN_FILE_USED;
    }
}

static vn_status read(vn_folder *f, const vn_data_options *options, vn_err *err) {
    const vn_watch *watch = options->watch;
    enum { REPORT_EVERY = 256 };
    const double start = vn_now();
    mark_skipped(f);
    for (size_t i = 0; i < f->files.count; i++) {
        vn_entry *e = &f->files.at[i], *text = text_of(&f->listing.texts, e);
        vn_err why = {0};
        if (text) text->state = VN_FILE_USED;
        const bool wanted = text && e->state != VN_FILE_HOLE && !e->why;
        vn_status status = wanted ? read_text(f, e, text, &why) : VN_OK;
        if (vn_is_files_fault(status))
            status = vn_folder_blame(f, i, &why, watch, err);
        else if (status)
            *err = why;
        if (!status && (i + 1) % REPORT_EVERY == 0)
            status = vn_folder_report(f, "reading captions", i + 1, start, watch, err);
        if (status) return status;
    }
    return VN_OK;
}

const vn_caption_row vn_text_captions = {
    {"text", "a .txt beside each picture, one caption a line", "kohya, WebDataset", NULL},
    ".txt files",
    find,
    read};
