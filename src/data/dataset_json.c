/* dataset_json.c - see dataset_json.h. The list may be of a million pictures, more values than a
 * JSON text may have elsewhere in vane: it is cut out of the text and read entry by entry, so that
 * no more than one of them is in memory as JSON. */
#include "data/dataset_json.h"

#include <math.h>
#include <string.h>

enum { MAX_CLASSES = 65536 };
#define MAX_BYTES ((size_t)512 << 20)

/* ---- the list in the text -------------------------------------------------------------------- */

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* Behind the string that begins at `at`; NULL: it has no end. */
static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0') at++;
        if (*at == '\0') return NULL;
    }
    return at + 1;
}

/* Behind the value that ends before a comma or the end of what it is in; NULL: it has no end. */
static const char *skip_value(const char *at) {
    int64_t depth = 0;
    while (*at != '\0') {
        if (*at == '"') {
            at = skip_string(at);
            if (!at) return NULL;
            continue;
        }
        const bool closes = *at == ']' || *at == '}';
        if (depth == 0 && (closes || *at == ',')) return at;
        depth += *at == '[' || *at == '{';
        depth -= closes;
        at++;
    }
    return NULL;
}

/* The bracket with which the value of the outermost "labels" begins; NULL: there is no such
 * list. */
static const char *find_list(const char *text) {
    static const char key[] = "\"labels\"";
    const char *at = skip_space(text);
    if (*at != '{') return NULL;
    for (at = skip_space(at + 1); at != NULL && *at == '"';) {
        const char *value = skip_string(at);
        if (!value || *(value = skip_space(value)) != ':') return NULL;
        value = skip_space(value + 1);
        if (strncmp(at, key, sizeof key - 1) == 0) return *value == '[' ? value : NULL;
        at = skip_value(value);
        if (at && *at == ',') at = skip_space(at + 1);
    }
    return NULL;
}

/* ---- one entry ------------------------------------------------------------------------------- */

static const char *const why_label = "is neither a whole number from 0 to 65535 nor one-hot";

/* A whole number, perhaps written as 3.0; -1: it is none. */
static int32_t whole(const json_t *value) {
    const double x = json_is_number(value) ? json_number_value(value) : -1.0;
    return x >= 0 && x < MAX_CLASSES && x == floor(x) ? (int32_t)x : -1;
}

/* The place of the only 1 among 0s; -1: it is no such vector. */
static int32_t one_hot(const json_t *value) {
    int32_t found = -1;
    const size_t size = json_array_size(value);
    for (size_t i = 0; i < size && size <= MAX_CLASSES; i++) {
        const int32_t x = whole(json_array_get(value, i));
        if (x != 0 && (x != 1 || found >= 0)) return -1;
        if (x == 1) found = (int32_t)i;
    }
    return found;
}

/* Below the root; NULL: it leads out, or there is no memory. */
static const char *tidy_path(vn_listing *l, const char *path, bool *leads_out) {
    char *out = vn_arena_alloc(&l->arena, strlen(path) + 1);
    *leads_out = out != NULL && !vn_tidy_path(out, path);
    return out;
}

typedef struct reading {
    vn_listing *l;
    vn_entries *list;
    const char *file; /* dataset.json with its folder */
    /* of the labels: 1 + the numbers in each if they are lists; else 1; 0 before the first */
    size_t form;
    int32_t classes;
} reading;

static vn_status take_entry(reading *r, const json_t *entry, vn_err *err) {
    const char *path = json_string_value(json_array_get(entry, 0));
    const json_t *value = json_array_get(entry, 1);
    if (!path || json_array_size(entry) != 2)
        return vn_fail(err, VN_BAD_FILE, "%s: entry %zu of labels is not of the form [file, label]",
                       r->file, r->list->count);
    const int32_t label = json_is_array(value) ? one_hot(value) : whole(value);
    if (label < 0)
        return vn_fail(err, VN_BAD_FILE, "%s: the label of %s %s", r->file, path, why_label);
    const size_t form = 1 + json_array_size(value);
    if (r->form == 0) r->form = form;
    if (r->form != form)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: the label of %s is not of the same form as those before it", r->file,
                       path);
    bool leads_out = false;
    const char *below = tidy_path(r->l, path, &leads_out);
    if (!below) return vn_no_memory(err);
    if (leads_out) return vn_fail(err, VN_BAD_FILE, "%s: %s is not in its folder", r->file, path);
    if (label >= r->classes) r->classes = label + 1;
    return vn_entries_append(r->list, (vn_entry){.path = below, .label = label}, err);
}

static vn_status take_list(reading *r, const char *at, vn_err *err) {
    vn_status status = VN_OK;
    while (!status && *at != ']') {
        const char *end = skip_value(at);
        json_t *entry = NULL;
        status = vn_json_parse(at, (size_t)(end - at), r->file, &entry, err);
        if (!status) status = take_entry(r, entry, err);
        json_decref(entry);
        at = *end == ',' ? skip_space(end + 1) : end;
    }
    return status;
}

/* Sorts, and leaves each picture once. */
static vn_status settle(const reading *r, vn_err *err) {
    vn_entries *list = r->list;
    size_t kept = 0;
    vn_entries_sort(list);
    for (size_t i = 0; i < list->count; i++) {
        const vn_entry *last = kept > 0 ? &list->at[kept - 1] : NULL;
        const bool again = last != NULL && strcmp(last->path, list->at[i].path) == 0;
        if (again && last->label != list->at[i].label)
            return vn_fail(err, VN_BAD_FILE, "%s: %s has two labels", r->file, last->path);
        if (!again) list->at[kept++] = list->at[i];
    }
    list->count = kept;
    if (kept == 0)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: labels is empty; null stands there for pictures without classes",
                       r->file);
    return VN_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* `text` with an empty list at `list`: what is left must be JSON as any other. */
static vn_status check_rest(const reading *r, const char *text, const char *list, const char *end,
                            vn_err *err) {
    json_t *rest = NULL;
    char *cut = vn_format("%.*s[%s", (int)(list - text), text, end);
    const vn_status status =
        cut ? vn_json_parse(cut, strlen(cut), r->file, &rest, err) : vn_no_memory(err);
    json_decref(rest);
    vn_free(cut);
    return status;
}

/* Where the list's closing bracket is; NULL: it has none. */
static const char *end_of_list(const char *at) {
    for (at = skip_space(at + 1); at != NULL && *at != ']';) {
        at = skip_value(at);
        if (at && *at == '}') return NULL;
        if (at && *at == ',') at = skip_space(at + 1);
    }
    return at;
}

static vn_status take_text(reading *r, const char *text, size_t size, vn_labels_kind *kind,
                           bool *foreign, vn_err *err) {
    const char *list = strlen(text) == size ? find_list(text) : NULL,
               *end = list ? end_of_list(list) : NULL;
    if (end) {
        *kind = VN_LABELS_LIST;
        vn_status status = check_rest(r, text, list, end, err);
        if (!status) status = take_list(r, skip_space(list + 1), err);
        return !status ? settle(r, err) : status;
    }
    json_t *all = NULL;
    vn_status status = vn_json_parse(text, size, r->file, &all, err);
    const json_t *labels = json_object_get(all, "labels");
    *foreign = !status && !labels;
    if (json_is_null(labels))
        *kind = VN_LABELS_NULL;
    else if (labels)
        status = vn_fail(err, VN_BAD_FILE, "%s: labels is neither a list nor null", r->file);
    json_decref(all);
    return status;
}

vn_status vn_dataset_json_read(vn_listing *l, vn_labels_kind *kind, vn_entries *list,
                               int32_t *classes, bool *foreign, vn_err *err) {
    *kind = VN_LABELS_NONE;
    *foreign = false;
    char *path = vn_path_join(l->root, VN_DATASET_JSON), *text = NULL;
    if (!path) return vn_no_memory(err);
    size_t size = 0;
    vn_status status = VN_OK;
    if (vn_is_file(path)) {
        reading r = {.l = l, .list = list, .file = path};
        status = vn_read_file(path, MAX_BYTES, &text, &size, err);
        if (!status) status = take_text(&r, text, size, kind, foreign, err);
        *classes = r.classes;
    }
    vn_free(text);
    vn_free(path);
    return status;
}
