/* describe.c - what a source is, as a JSON object: for somebody who wants to know what their data
 * looks like to vane before an hour is spent on it. Every function here returns false when memory
 * runs out. */
#include "data/folder.h"

#include <stdlib.h>
#include <string.h>

static bool put(json_t *to, const char *key, json_t *value) {
    return json_object_set_new(to, key, value) == 0;
}

static bool append(json_t *list, json_t *value) {
    return json_array_append_new(list, value) == 0;
}

/* ---- any source ------------------------------------------------------------------------------ */

static bool put_classes(const vn_source *s, json_t *out) {
    json_t *list = json_array();
    int64_t *samples = vn_calloc((size_t)s->classes + 1, sizeof *samples);
    bool ok = list != NULL && samples && put(out, "classes", json_incref(list));
    for (int64_t i = 0; ok && s->labels && i < s->count; i++) samples[s->labels[i]]++;
    for (int32_t k = 0; ok && k < s->classes; k++)
        ok = append(list,
                    json_pack("{s:s, s:I}", "name", s->names[k], "count", (json_int_t)samples[k]));
    vn_free(samples);
    json_decref(list);
    return ok;
}

static bool put_left_out(const vn_source *s, json_t *out) {
    if (s->left_out_count == 0) return true;
    json_t *list = json_array();
    bool ok = list != NULL && put(out, "classes_without_samples", json_incref(list));
    for (int32_t k = 0; ok && k < s->left_out_count; k++)
        ok = append(list, json_string(s->left_out[k]));
    json_decref(list);
    return ok;
}

static bool put_captions(const vn_source *s, json_t *out) {
    if (!s->captions) return true;
    const vn_caption_info c = vn_captions_info(s->captions);
    const int64_t first = vn_captions_first_without(s->captions);
    json_t *one = json_pack("{s:s, s:I, s:i, s:I, s:I}", "from", s->captions_from, "count",
                            (json_int_t)c.captions, "distinct", (int)c.distinct, "longest",
                            (json_int_t)c.longest, "samples_without", (json_int_t)c.without);
    bool ok = one && put(out, "captions", json_incref(one));
    if (ok && c.distinct > 0)
        ok = put(one, "first", vn_json_string(vn_captions_text(s->captions, 0)));
    if (ok && first >= 0)
        ok =
            put(one, "first_without",
                s->folder ? vn_json_string(vn_folder_path(s->folder, first)) : json_integer(first));
    json_decref(one);
    return ok;
}

static bool put_shape(const vn_source *s, json_t *out) {
    json_t *list = json_array();
    bool ok = list != NULL && put(out, "shape", json_incref(list));
    for (int i = 0; ok && i < s->sample.rank; i++)
        ok = append(list, json_integer((json_int_t)s->sample.dim[i]));
    json_decref(list);
    return ok;
}

vn_status vn_source_describe(const vn_source *s, const char *kind, json_t **out, vn_err *err) {
    *out = json_object();
    bool ok = *out != NULL && put(*out, "kind", json_string(kind)) &&
              put(*out, "count", json_integer((json_int_t)s->count));
    if (ok) ok = s->folder ? vn_folder_describe(s->folder, *out) : put_shape(s, *out);
    if (ok && s->brings_noise) ok = put(*out, "noise", json_string("each sample brings its own"));
    if (ok) ok = put_captions(s, *out);
    if (ok) ok = put_classes(s, *out);
    if (ok) ok = put_left_out(s, *out);
    if (ok) return VN_OK;
    json_decref(*out);
    *out = NULL;
    return vn_no_memory(err);
}

/* ---- a folder of pictures -------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    const vn_entry *x = a, *y = b;
    const int64_t p = (int64_t)x->width * x->height, q = (int64_t)y->width * y->height;
    return p != q ? (p < q ? -1 : 1) : x->width - y->width;
}

static json_t *size_text(const vn_entry *e) {
    return json_sprintf("%dx%d", (int)e->width, (int)e->height);
}

/* `sorted` [count] by size: the smallest, the largest and, of several, the most frequent. */
static bool put_sizes(const vn_entry *sorted, size_t count, json_t *out) {
    size_t sizes = 0, most = 0, at = 0;
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && by_size(&sorted[i], &sorted[next]) == 0;) next++;
        if (next - i > most) at = i;
        if (next - i > most) most = next - i;
        sizes++;
    }
    if (sizes == 1) return put(out, "size", size_text(&sorted[0]));
    json_t *one = json_object();
    bool ok = one != NULL && put(out, "sizes", json_incref(one)) &&
              put(one, "different", json_integer((json_int_t)sizes));
    ok = ok && put(one, "smallest", size_text(&sorted[0])) &&
         put(one, "largest", size_text(&sorted[count - 1])) &&
         put(one, "most_frequent", size_text(&sorted[at])) &&
         put(one, "of_that_size", json_integer((json_int_t)most));
    json_decref(one);
    return ok;
}

static bool put_colours(const vn_folder *f, json_t *out) {
    int64_t grey = 0, colour = 0;
    for (size_t i = 0; i < f->files.count; i++)
        if (f->files.at[i].channels == 1)
            grey++;
        else
            colour++;
    return put(out, "colour", json_integer((json_int_t)colour)) &&
           put(out, "grey", json_integer((json_int_t)grey));
}

static bool put_unreadable(const vn_folder *f, json_t *out) {
    const size_t root = strlen(f->root) + 1;
    if (f->skipped.count == 0) return true;
    json_t *list = json_array();
    bool ok = list != NULL && put(out, "unreadable", json_incref(list));
    for (size_t i = 0; ok && i < f->skipped.count; i++) {
        const vn_entry *e = &f->skipped.at[i];
        const char *why = e->why ? e->why : "";
        /* "photos/a/17.png: PNG: ...", or of its caption, "photos/a/17.txt: ..." */
        const size_t length = strlen(e->path), named = strlen(why) > root ? root : 0,
                     name = strncmp(why + named, e->path, length) == 0 ? named + length + 2 : named;
        json_t *file = vn_json_string(e->path),
               *reason = vn_json_string(strlen(why) > name ? why + name : why);
        ok = file != NULL && reason &&
             append(list, json_pack("{s:O, s:O}", "file", file, "why", reason));
        json_decref(file);
        json_decref(reason);
    }
    json_decref(list);
    return ok;
}

static bool put_passed(const vn_folder *f, json_t *out) {
    json_t *passed = json_object();
    bool ok = passed != NULL;
    for (size_t k = 0; ok && vn_listing_kind(k); k++)
        if (f->listing.passed[k] > 0)
            ok = put(passed, vn_listing_kind(k), json_integer((json_int_t)f->listing.passed[k]));
    if (ok && f->listing.passed_folders > 0)
        ok = put(passed, "folders too deep or met before",
                 json_integer((json_int_t)f->listing.passed_folders));
    if (ok && f->unlisted > 0)
        ok = put(passed, "pictures that dataset.json does not name",
                 json_integer((json_int_t)f->unlisted));
    if (ok && json_object_size(passed) > 0) ok = put(out, "passed_over", json_incref(passed));
    if (ok && f->broken) ok = put(out, "breaks_off", vn_json_string(f->broken));
    if (ok && f->listing.sidecar) ok = put(out, "not_used", vn_json_string(f->listing.sidecar));
    json_decref(passed);
    return ok;
}

bool vn_folder_describe(const vn_folder *f, json_t *out) {
    const size_t count = f->files.count;
    vn_entry *sorted = vn_alloc(count, sizeof *sorted);
    if (!sorted) return false;
    memcpy(sorted, f->files.at, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_size);
    const bool ok = put_sizes(sorted, count, out) && put_colours(f, out) &&
                    put_unreadable(f, out) && put_passed(f, out);
    vn_free(sorted);
    return ok;
}
