/* caption_kinds.c - where the captions of a folder's pictures come from: the table of kinds, the
 * choice among them, and their way to the source. */
#include "data/folder.h"

#include <string.h>

static const vn_caption_row none_captions = {
    {"none", "captions that lie there are left aside", "vane", NULL}, "nothing", NULL, NULL};

/* clang-format off */
static const vn_caption_row *const rows[] = {
    &vn_text_captions,
    &vn_json_captions,
    &vn_metadata_captions,
    &vn_array_captions,
    &vn_class_captions,
    &none_captions,
};
/* clang-format on */
const vn_table vn_caption_table = {"kind of captions", rows, 0, VN_COUNT(rows), NULL, NULL};

/* ---- the choice ------------------------------------------------------------------------------ */

/* Pictures of f->files and of `more` with captions of the kind. */
static vn_status count(vn_folder *f, const vn_entries *more, const vn_caption_row *row,
                       int64_t *captioned, const char **example, vn_err *err) {
    int64_t others = 0;
    *captioned = 0;
    *example = NULL;
    if (!row->find) return VN_OK;
    vn_status status = row->find(f, &f->files, captioned, example, err);
    if (!status) status = row->find(f, more, &others, example, err);
    *captioned += others;
    return status;
}

static vn_status take(vn_folder *f, const vn_entries *more, const vn_caption_row *row,
                      vn_err *err) {
    int64_t captioned;
    const char *example;
    const vn_status status = count(f, more, row, &captioned, &example, err);
    if (!status && row->find && captioned == 0)
        return vn_fail(err, VN_BAD_FILE, "%s: no picture has a caption in %s", f->root, row->in);
    if (!status && row->find) f->caption_row = row;
    return status;
}

/* What lies beside fewer than half of the pictures may be anything. */
static void doubt(const vn_folder *f, const vn_caption_row *row, int64_t captioned,
                  const char *example, const vn_watch *watch) {
    const bool one = captioned == 1;
    vn_log(watch, VN_LOG_WARNING,
           "%s: only %lld picture%s a caption in %s (%s), which %s not used; `captions=%s` uses %s",
           f->root, (long long)captioned, one ? " has" : "s have", row->in, example,
           one ? "is" : "are", row->row.name, one ? "it" : "them");
}

static vn_status detect(vn_folder *f, const vn_entries *more, const vn_watch *watch, vn_err *err) {
    const int64_t all = (int64_t)(f->files.count + more->count);
    const char *of_first = "";
    for (size_t k = 0; k < VN_COUNT(rows); k++) {
        int64_t captioned;
        const char *example;
        /* img2dataset writes both, and what is in the .json is more than captions */
        if (rows[k] == &vn_json_captions && f->caption_row == &vn_text_captions) continue;
        const vn_status status = count(f, more, rows[k], &captioned, &example, err);
        if (status) return status;
        if (captioned == 0) continue;
        if (2 * captioned < all) {
            doubt(f, rows[k], captioned, example, watch);
        } else if (f->caption_row) {
            return vn_fail(err, VN_BAD_FILE,
                           "%s: has captions both in %s and in %s: choose one (`captions=%s` or "
                           "`captions=%s`)",
                           f->root, of_first, example, f->caption_row->row.name, rows[k]->row.name);
        } else {
            f->caption_row = rows[k];
            of_first = example;
        }
    }
    return VN_OK;
}

vn_status vn_folder_choose_captions(vn_folder *f, const vn_entries *more,
                                    const vn_data_options *options, vn_err *err) {
    if (!options->captions) return detect(f, more, options->watch, err);
    for (size_t k = 0; k < VN_COUNT(rows); k++)
        if (strcmp(options->captions, rows[k]->row.name) == 0) return take(f, more, rows[k], err);
    return VN_OK;
}

/* ---- names of classes ------------------------------------------------------------------------ */

const vn_caption_row vn_class_captions = {
    {"class", "the name of each sample's class", "CLIP", NULL}, "names of classes", NULL, NULL};

vn_status vn_source_caption_classes(vn_source *s, const char *source, vn_err *err) {
    if (s->classes == 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: has no classes, so `captions=class` has no names for its samples",
                       source);
    int32_t *lists = vn_calloc((size_t)s->count, sizeof *lists);
    vn_status status = lists ? vn_captions_open(&s->captions, err) : vn_no_memory(err);
    for (int64_t i = 0; !status && i < s->count; i++) {
        const char *name = s->names[s->labels[i]];
        status = vn_captions_add(s->captions, &lists[i], name, strlen(name), err);
    }
    if (!status) status = vn_captions_settle(s->captions, lists, s->count, err);
    vn_free(lists);
    vn_free(s->labels);
    s->labels = NULL;
    s->classes = 0;
    s->captions_from = vn_class_captions.row.name;
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

vn_status vn_folder_read_captions(vn_folder *f, const vn_data_options *options, vn_err *err) {
    if (!f->caption_row) return VN_OK;
    vn_status status = vn_captions_open(&f->captions, err);
    for (size_t i = 0; i < f->files.count; i++) f->files.at[i].captions = 0;
    if (!status) status = f->caption_row->read(f, options, err);
    return status;
}

vn_status vn_folder_give_captions(vn_folder *f, vn_source *out, vn_err *err) {
    if (!f->captions) return VN_OK;
    int32_t *lists = vn_calloc(f->files.count, sizeof *lists);
    if (!lists) return vn_no_memory(err);
    for (size_t i = 0; i < f->files.count; i++) lists[i] = f->files.at[i].captions;
    const vn_status status = vn_captions_settle(f->captions, lists, (int64_t)f->files.count, err);
    vn_free(lists);
    out->captions = f->captions;
    out->captions_from = f->caption_row->row.name;
    f->captions = NULL;
    return status;
}
