/* metadata.c - captions in metadata.jsonl, as Hugging Face's imagefolder has them: a line for each
 * picture, {"file_name": "a.png", "text": "..."}, its path below the folder that the file lies in.
 * Several captions of a picture are a list, or several lines. The file is read by the line, so that
 * it may be of any size. Other members of a line say nothing of captions. */
#include "data/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- lines ----------------------------------------------------------------------------------- */

typedef struct lines {
    int fd;
    char *buffer; /* [VN_CAPTION_MAX_FILE + 1] */
    size_t begin, end;
    long long number; /* of the line that was read last */
    bool ended;
} lines;

static vn_status open_lines(lines *l, const char *path, vn_err *err) {
    *l = (lines){.fd = -1};
    vn_status status = vn_file_open(path, &l->fd, err);
    if (status) return status;
    l->buffer = vn_alloc(VN_CAPTION_MAX_FILE + 1, 1);
    return l->buffer ? VN_OK : vn_no_memory(err);
}

static void close_lines(lines *l) {
    if (l->fd >= 0) close(l->fd);
    vn_free(l->buffer);
}

/* More bytes behind those that are there; false, with errno: they cannot be read. */
static bool fill(lines *l) {
    ssize_t n;
    memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    do n = read(l->fd, l->buffer + l->end, VN_CAPTION_MAX_FILE - l->end);
    while (n < 0 && errno == EINTR);
    if (n > 0) l->end += (size_t)n;
    l->ended = n == 0;
    return n >= 0;
}

/* The next line, ended by 0, without its end; NULL: there is none. */
static vn_status next_line(lines *l, char **line, size_t *size, vn_err *err) {
    for (;;) {
        char *at = l->buffer + l->begin, *stop = memchr(at, '\n', l->end - l->begin);
        if (stop || (l->ended && l->begin < l->end)) {
            *size = stop ? (size_t)(stop - at) : l->end - l->begin;
            l->begin += *size + (stop != NULL);
            at[*size] = '\0';
            *line = at;
            if (l->number++ == 0 && strncmp(at, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
                *line += 3;
                *size -= 3;
            }
            return VN_OK;
        }
        *line = NULL;
        if (l->ended) return VN_OK;
        if (l->end - l->begin == VN_CAPTION_MAX_FILE)
            return vn_fail(err, VN_BAD_FILE, "line %lld: longer than %zu bytes", l->number + 1,
                           VN_CAPTION_MAX_FILE);
        if (!fill(l)) return vn_fail_errno(err, "line %lld", l->number + 1);
    }
}

/* ---- one line -------------------------------------------------------------------------------- */

typedef struct reading {
    vn_folder *f;
    const vn_entry *list; /* the metadata.jsonl */
    vn_entry **sorted;    /* [f->files.count] the files, by path */
    char *path;           /* a picture's, below the root */
    int64_t passed;       /* lines that are passed over */
} reading;

/* The file of this path; NULL: there is none. */
static vn_entry *find_file(const reading *r, const char *path) {
    size_t low = 0, high = r->f->files.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        vn_entry *e = r->sorted[middle];
        const int order = strcmp(e->path, path);
        if (order == 0) return e;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool is_skipped(const vn_folder *f, const char *path) {
    for (size_t i = 0; i < f->skipped.count; i++)
        if (strcmp(f->skipped.at[i].path, path) == 0) return true;
    return false;
}

static vn_status add_text(vn_folder *f, vn_entry *e, const json_t *text, vn_err *err) {
    const char *at = json_string_value(text);
    if (!at) return vn_fail(err, VN_BAD_FILE, "\"text\" is neither a string nor a list of them");
    return vn_captions_add_trimmed(f->captions, &e->captions, at, json_string_length(text), err);
}

static vn_status take_texts(const reading *r, vn_entry *e, const json_t *texts, vn_err *err) {
    vn_status status = VN_OK;
    if (!json_is_array(texts)) return add_text(r->f, e, texts, err);
    for (size_t i = 0; !status && i < json_array_size(texts); i++)
        status = add_text(r->f, e, json_array_get(texts, i), err);
    return status;
}

/* What a line says: of which picture, and its captions. */
static vn_status take_object(reading *r, const json_t *line, vn_err *err) {
    const char *name = json_string_value(json_object_get(line, "file_name"));
    const json_t *texts = json_object_get(line, "text");
    if (!json_is_object(line)) return vn_fail(err, VN_BAD_FILE, "is not an object");
    if (!name) return vn_fail(err, VN_BAD_FILE, "has no \"file_name\"");
    if (!texts) return vn_fail(err, VN_BAD_FILE, "has no \"text\"");
    const char *slash = strrchr(r->list->path, '/');
    const size_t above = slash ? (size_t)(slash + 1 - r->list->path) : 0;
    char *path = vn_realloc(r->path, above + strlen(name) + 1, 1);
    if (!path) return vn_no_memory(err);
    r->path = path;
    memcpy(path, r->list->path, above);
    if (!vn_tidy_path(path + above, name))
        return vn_fail(err, VN_BAD_FILE, "%s is not in its folder", name);
    vn_entry *e = find_file(r, path);
    if (!e && is_skipped(r->f, path)) return VN_OK;
    if (!e) return vn_fail(err, VN_BAD_FILE, "there is no picture %s", name);
    return e->state == VN_FILE_HOLE || e->why ? VN_OK : take_texts(r, e, texts, err);
}

static vn_status parse(const char *line, size_t size, long long number, json_t **out, vn_err *err) {
    vn_err why = {0};
    const vn_status status = vn_json_parse(line, size, "", out, &why);
    /* the parser counts lines, of which this is one: ": line 1: what is wrong" */
    const char *words = strncmp(why.text, ": line 1: ", 10) == 0 ? why.text + 10 : why.text;
    return status ? vn_fail(err, status, "line %lld: %s", number, words) : VN_OK;
}

static vn_status take_line(reading *r, const char *text, size_t size, long long number,
                           vn_err *err) {
    json_t *line = NULL;
    if (text[strspn(text, " \t\r")] == '\0' && strlen(text) == size) return VN_OK;
    vn_status status = parse(text, size, number, &line, err);
    if (!status) {
        status = take_object(r, line, err);
        if (status) vn_fail_in(err, "line %lld", number);
    }
    json_decref(line);
    return status;
}

/* ---- a file ---------------------------------------------------------------------------------- */

/* What is wrong with a line fails the file or, where bad pictures are skipped, is told and passed
 * over. */
static vn_status pass(reading *r, const char *path, const vn_data_options *options, vn_err *err) {
    vn_fail_in(err, "%s", path);
    if (!vn_is_files_fault(err->status)) return err->status;
    if (!options->skip_bad) return vn_fail_after(err, "or go on without it (`skip_bad`)");
    enum { TOLD = 5 };
    if (r->passed++ < TOLD) vn_log(options->watch, VN_LOG_WARNING, "%s; passed over", err->text);
    *err = (vn_err){0};
    return VN_OK;
}

static vn_status read_list(reading *r, const vn_data_options *options, vn_err *err) {
    enum { REPORT_EVERY = 4096 };
    const double start = vn_now();
    lines l;
    char *path = vn_path_join(r->f->root, r->list->path), *line = NULL;
    if (!path) return vn_no_memory(err);
    size_t size = 0;
    vn_status status = open_lines(&l, path, err);
    const bool opened = !status;
    for (bool more = opened; more && !status;) {
        status = next_line(&l, &line, &size, err);
        if (status) vn_fail_in(err, "%s", path);
        more = !status && line;
        if (more) status = take_line(r, line, size, l.number, err);
        if (more && status) status = pass(r, path, options, err);
        if (more && !status && l.number % REPORT_EVERY == 0) {
            const size_t all = r->f->files.count, done = (size_t)l.number;
            status = vn_folder_report(r->f, "reading captions", done < all ? done : all, start,
                                      options->watch, err);
        }
    }
    if (r->passed > 0)
        vn_log(options->watch, VN_LOG_WARNING, "%s: %lld line%s passed over", path,
               (long long)r->passed, r->passed == 1 ? " is" : "s are");
    r->passed = 0;
    close_lines(&l);
    vn_free(path);
    return status;
}

/* Whether its first line has a text: others tell other things of pictures. */
static vn_status has_text(const vn_folder *f, const vn_entry *list, bool *has, vn_err *err) {
    lines l;
    char *path = vn_path_join(f->root, list->path), *line = NULL;
    size_t size = 0;
    json_t *value = NULL;
    vn_err why = {0};
    *has = false;
    if (!path) return vn_no_memory(err);
    vn_status status = open_lines(&l, path, &why);
    if (!status) status = next_line(&l, &line, &size, &why);
    if (!status && line) status = vn_json_parse(line, size, path, &value, &why);
    /* what is wrong with it is told when it is read */
    *has = (status && status != VN_NO_MEMORY) || json_object_get(value, "text") != NULL;
    json_decref(value);
    close_lines(&l);
    vn_free(path);
    return status == VN_NO_MEMORY ? vn_no_memory(err) : VN_OK;
}

/* ---- the kind -------------------------------------------------------------------------------- */

#define LIST "metadata.jsonl"

/* Whether a list in use lies in one of the folders above the picture. lists are sorted. */
static bool is_below_list(const vn_entries *lists, const char *picture, char *path) {
    const char *end = picture + strlen(picture);
    do {
        while (end > picture && end[-1] != '/') end--;
        memcpy(path, picture, (size_t)(end - picture));
        memcpy(path + (end - picture), LIST, sizeof LIST);
        const vn_entry key = {.path = path};
        const vn_entry *list =
            bsearch(&key, lists->at, lists->count, sizeof key, vn_entries_compare);
        if (list && list->state == VN_FILE_USED) return true;
    } while (end-- > picture);
    return false;
}

static vn_status find(vn_folder *f, const vn_entries *files, int64_t *captioned,
                      const char **example, vn_err *err) {
    vn_entries *lists = &f->listing.lists;
    *captioned = 0;
    if (lists->count == 0) return VN_OK;
    vn_entries_sort(lists);
    for (size_t k = 0; k < lists->count; k++) {
        bool has = false;
        const vn_status status = has_text(f, &lists->at[k], &has, err);
        if (status) return status;
        if (!has && !f->listing.sidecar) f->listing.sidecar = lists->at[k].path;
        lists->at[k].state = has ? VN_FILE_USED : 0;
        if (has && !*example) *example = lists->at[k].path;
    }
    for (size_t i = 0; i < files->count; i++) {
        char *path = vn_alloc(strlen(files->at[i].path) + sizeof LIST, 1);
        if (!path) return vn_no_memory(err);
        *captioned += is_below_list(lists, files->at[i].path, path);
        vn_free(path);
    }
    return VN_OK;
}

static int by_path(const void *a, const void *b) {
    return strcmp((*(vn_entry *const *)a)->path, (*(vn_entry *const *)b)->path);
}

static vn_status read_lists(vn_folder *f, const vn_data_options *options, vn_err *err) {
    reading r = {.f = f, .sorted = vn_alloc(f->files.count, sizeof(vn_entry *))};
    if (!r.sorted) return vn_no_memory(err);
    for (size_t i = 0; i < f->files.count; i++) r.sorted[i] = &f->files.at[i];
    qsort(r.sorted, f->files.count, sizeof *r.sorted, by_path);
    vn_status status = VN_OK;
    for (size_t k = 0; !status && k < f->listing.lists.count; k++) {
        r.list = &f->listing.lists.at[k];
        if (r.list->state == VN_FILE_USED) status = read_list(&r, options, err);
    }
    vn_free(r.sorted);
    vn_free(r.path);
    return status;
}

const vn_caption_row vn_metadata_captions = {
    {"metadata", "metadata.jsonl: {\"file_name\": ..., \"text\": a caption, or a list of them}",
     "Hugging Face datasets", NULL},
    LIST,
    find,
    read_lists};
