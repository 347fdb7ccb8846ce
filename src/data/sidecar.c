/* sidecar.c - captions in files beside the pictures: a.txt has those of a.png, one a line, or
 * a.json has them under "caption" or "text", as img2dataset writes it. Such files are found by
 * their names without the ending, in any case of letters of that. */
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
static vn_status check_single(const vn_folder *f, const vn_entries *texts, const vn_entry *text,
                              vn_err *err) {
    const vn_entry *other =
        text > texts->at && compare_stems(text - 1, text) == 0                      ? text - 1
        : text + 1 < texts->at + texts->count && compare_stems(text, text + 1) == 0 ? text + 1
                                                                                    : NULL;
    if (!other) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: %s and %s caption the same picture: remove one", f->root,
                   text->path, other->path);
}

static vn_status find_in(vn_folder *f, vn_entries *texts, const vn_entries *files,
                         int64_t *captioned, const char **example, vn_err *err) {
    *captioned = 0;
    if (texts->count > 0) qsort(texts->at, texts->count, sizeof *texts->at, compare_stems);
    for (size_t i = 0; i < files->count; i++) {
        vn_entry *text = text_of(texts, &files->at[i]);
        if (!text) continue;
        const vn_status status = check_single(f, texts, text, err);
        if (status) return status;
        if (!*example) *example = text->path;
        ++*captioned;
    }
    return VN_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Adds what the bytes of a file say of a picture. */
typedef vn_status (*reader)(vn_folder *f, int32_t *list, const char *bytes, size_t size,
                            vn_err *err);

static vn_status read_one(vn_folder *f, vn_entry *e, const vn_entry *text, reader read,
                          vn_err *err) {
    char *bytes = NULL;
    size_t size = 0;
    if (text->why) return vn_fail(err, VN_BAD_FILE, "%s", text->why);
    vn_status status = vn_folder_bytes(f, text, VN_CAPTION_MAX_FILE, &bytes, &size, err);
    if (!status) {
        status = read(f, &e->captions, bytes, size, err);
        if (status) vn_fail_in(err, "%s/%s", f->root, text->path);
    }
    vn_free(bytes);
    return status;
}

/* Those of pictures that were skipped when a run began are no strays. */
static void mark_skipped(vn_folder *f, const vn_entries *texts) {
    for (size_t i = 0; i < f->skipped.count; i++) {
        vn_entry *text = text_of(texts, &f->skipped.at[i]);
        if (text) text->state = VN_FILE_USED;
    }
}

static vn_status read_all(vn_folder *f, const vn_entries *texts, reader read,
                          const vn_data_options *options, vn_err *err) {
    const vn_watch *watch = options->watch;
    enum { REPORT_EVERY = 256 };
    const double start = vn_now();
    mark_skipped(f, texts);
    for (size_t i = 0; i < f->files.count; i++) {
        vn_entry *e = &f->files.at[i], *text = text_of(texts, e);
        vn_err why = {0};
        if (text) text->state = VN_FILE_USED;
        const bool wanted = text && e->state != VN_FILE_HOLE && !e->why;
        vn_status status = wanted ? read_one(f, e, text, read, &why) : VN_OK;
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

/* ---- .txt ------------------------------------------------------------------------------------ */

static vn_status find_texts(vn_folder *f, const vn_entries *files, int64_t *captioned,
                            const char **example, vn_err *err) {
    return find_in(f, &f->listing.texts, files, captioned, example, err);
}

static vn_status add_lines(vn_folder *f, int32_t *list, const char *bytes, size_t size,
                           vn_err *err) {
    return vn_captions_add_lines(f->captions, list, bytes, size, err);
}

static vn_status read_texts(vn_folder *f, const vn_data_options *options, vn_err *err) {
    return read_all(f, &f->listing.texts, add_lines, options, err);
}

const vn_caption_row vn_text_captions = {
    {"text", "a .txt beside each picture, one caption a line", "kohya, WebDataset", NULL},
    ".txt files",
    find_texts,
    read_texts};

/* ---- .json ----------------------------------------------------------------------------------- */

/* NULL: it says nothing of captions. */
static const json_t *captions_in(const json_t *file) {
    const json_t *caption = json_object_get(file, "caption");
    return caption ? caption : json_object_get(file, "text");
}

static vn_status parse(const char *bytes, size_t size, json_t **out, vn_err *err) {
    vn_err why = {0};
    const size_t mark = size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    const vn_status status = vn_json_parse(bytes + mark, size - mark, "", out, &why);
    /* who calls puts the file's name before it: ": line 1: what is wrong" */
    if (status) return vn_fail(err, status, "%s", why.text + 2 * (strncmp(why.text, ": ", 2) == 0));
    return VN_OK;
}

static vn_status add_one(vn_folder *f, int32_t *list, const json_t *text, vn_err *err) {
    if (json_is_null(text)) return VN_OK; /* img2dataset's of a picture without one */
    if (!json_is_string(text))
        return vn_fail(err, VN_BAD_FILE, "its caption is neither a string nor a list of them");
    return vn_captions_add_trimmed(f->captions, list, json_string_value(text),
                                   json_string_length(text), err);
}

static vn_status add_json(vn_folder *f, int32_t *list, const char *bytes, size_t size,
                          vn_err *err) {
    json_t *file = NULL;
    vn_status status = parse(bytes, size, &file, err);
    const json_t *texts = captions_in(file);
    if (!status && texts && !json_is_array(texts)) status = add_one(f, list, texts, err);
    for (size_t i = 0; !status && i < json_array_size(texts); i++)
        status = add_one(f, list, json_array_get(texts, i), err);
    json_decref(file);
    return status;
}

/* Whether a file says something of captions; what is wrong with it is told when it is read. */
static vn_status tells_captions(const vn_folder *f, const vn_entry *text, bool *tells,
                                vn_err *err) {
    char *bytes = NULL;
    size_t size = 0;
    json_t *file = NULL;
    vn_err why = {0};
    vn_status status = text->why
                           ? VN_BAD_FILE
                           : vn_folder_bytes(f, text, VN_CAPTION_MAX_FILE, &bytes, &size, &why);
    if (!status) status = parse(bytes, size, &file, &why);
    *tells = captions_in(file) != NULL;
    json_decref(file);
    vn_free(bytes);
    return status == VN_NO_MEMORY ? vn_no_memory(err) : VN_OK;
}

/* JSON beside pictures may say anything of them: captions, if the first few do. */
static vn_status find_jsons(vn_folder *f, const vn_entries *files, int64_t *captioned,
                            const char **example, vn_err *err) {
    enum { ASKED = 16 };
    vn_entries *jsons = &f->listing.jsons;
    vn_status status = find_in(f, jsons, files, captioned, example, err);
    bool tells = false;
    int asked = 0;
    for (size_t i = 0; i<files->count && * captioned> 0 && asked < ASKED && !tells; i++) {
        const vn_entry *json = text_of(jsons, &files->at[i]);
        if (!json || status) continue;
        status = tells_captions(f, json, &tells, err);
        asked++;
    }
    if (!tells) {
        *captioned = 0;
        *example = NULL;
    }
    return status;
}

static vn_status read_jsons(vn_folder *f, const vn_data_options *options, vn_err *err) {
    return read_all(f, &f->listing.jsons, add_json, options, err);
}

const vn_caption_row vn_json_captions = {
    {"json", "a .json beside each picture, with \"caption\" or \"text\": a caption, or a list",
     "img2dataset, WebDataset", NULL},
    ".json files",
    find_jsons,
    read_jsons};
