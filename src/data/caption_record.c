/* caption_record.c - what is told of the captions of a source, and what a run keeps of them: a hash
 * of each sample's, so that one that goes on can say whose captions are others. */
#include "data/internal.h"

#include <string.h>

/* ---- what is told ---------------------------------------------------------------------------- */

/* What messages call a sample. */
static char *name_sample(const vn_source *s, int64_t i) {
    return s->folder ? vn_strdup(vn_folder_path(s->folder, i))
                     : vn_format("sample %lld", (long long)i);
}

/* "; 2 without (first 2.png), trained as unconditional": new string or NULL. */
static char *tell_without(const vn_source *s, const vn_caption_info *c) {
    const int64_t first = vn_captions_first_without(s->captions);
    char *name = first >= 0 ? name_sample(s, first) : NULL;
    char *text = first < 0 ? vn_strdup("")
                 : name    ? vn_format("; %lld without (%s%s), trained as unconditional",
                                       (long long)c->without, c->without > 1 ? "first " : "", name)
                           : NULL;
    vn_free(name);
    return text;
}

vn_status vn_source_tell_captions(const vn_source *s, const char *source, vn_caption_info *c,
                                  const vn_watch *watch, vn_err *err) {
    if (!s->captions) return VN_OK;
    *c = vn_captions_info(s->captions);
    c->from = s->captions_from;
    char *without = tell_without(s, c);
    if (!without) return vn_no_memory(err);
    vn_log(watch, c->without > 0 ? VN_LOG_WARNING : VN_LOG_INFO,
           "%s: %lld %s%s with %lld caption%s, %d distinct, the longest of %lld byte%s%s", source,
           (long long)s->count, vn_shape_is_image(&s->sample) ? "image" : "point", VN_S(s->count),
           (long long)c->captions, VN_S(c->captions), (int)c->distinct, (long long)c->longest,
           VN_S(c->longest), without);
    vn_free(without);
    if (c->captions > 0) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: all captions are empty", source);
}

/* ---- the captions of a run ------------------------------------------------------------------- */

/* A line for each sample, so that a run that goes on can say whose captions are others. */
static const char record_mark[] = "vane captions 1\n";

vn_status vn_source_save_captions(const vn_source *s, const char *path, vn_err *err) {
    vn_writer w;
    if (!s->captions) return VN_OK;
    const vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    fputs(record_mark, w.file); /* errors show at the commit */
    for (int64_t i = 0; i < s->count; i++)
        fprintf(w.file, "%08x\n", (unsigned)vn_captions_hash(s->captions, i));
    return vn_writer_commit(&w, err);
}

typedef struct comparison {
    const vn_source *s;
    int64_t at, first, others; /* the next sample; the first that differs, and how many do */
} comparison;

static vn_status compare_line(void *self, const char *line, size_t size, size_t number,
                              vn_err *err) {
    comparison *c = self;
    const vn_source *s = c->s;
    char expected[16];
    if (number == 1)
        return strcmp(line, record_mark) == 0
                   ? VN_OK
                   : vn_fail(err, VN_BAD_FILE, "is no list of a run's captions");
    const int64_t i = c->at++;
    if (size != 9 || i >= s->count)
        return vn_fail(err, VN_BAD_FILE, "line %zu is of no sample", number);
    if (s->folder && vn_folder_is_hole(s->folder, i)) return VN_OK;
    snprintf(expected, sizeof expected, "%08x\n", (unsigned)vn_captions_hash(s->captions, i));
    if (strcmp(line, expected) == 0) return VN_OK;
    if (c->others++ == 0) c->first = i;
    return VN_OK;
}

vn_status vn_source_check_captions(const vn_source *s, const char *path, const char *source,
                                   vn_err *err) {
    comparison c = {.s = s};
    if (!s->captions) return VN_OK;
    const vn_status status = vn_file_lines(path, compare_line, &c, err);
    if (status) return status;
    if (c.at < s->count)
        return vn_fail(err, VN_BAD_FILE, "%s: is cut short, at sample %lld of %lld", path,
                       (long long)c.at, (long long)s->count);
    if (c.others == 0) return VN_OK;
    char *name = name_sample(s, c.first);
    if (!name) return vn_no_memory(err);
    vn_fail(err, VN_BAD_ARGUMENT,
            "%s is not the data that the run was trained on: the captions of %lld sample%s are "
            "others, %s %s",
            source, (long long)c.others, VN_S(c.others), c.others > 1 ? "first of" : "of", name);
    vn_free(name);
    return VN_BAD_ARGUMENT;
}
