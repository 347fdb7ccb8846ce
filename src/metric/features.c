/* features.c - what samples are compared by: the table of features, and the row that takes samples
 * as they are. A directory that is no row's name is a classifier or another network
 * (features_network.c). */
#include <string.h>

#include "metric/internal.h"

void vn_features_close(vn_features *f) {
    vn_free(f->x);
    vn_free(f->labels);
    vn_free(f->logits);
    *f = (vn_features){0};
}

/* ---- raw ------------------------------------------------------------------------------------- */

static vn_status open_raw(vn_extractor *e, const vn_choice *choice, const vn_engine *engine,
                          vn_err *err) {
    (void)choice;
    (void)engine;
    e->d = e->size;
    e->name = vn_strdup("raw");
    return e->name ? VN_OK : vn_no_memory(err);
}

static vn_status extract_raw(vn_extractor *e, int64_t n, const float *x, float *features,
                             float *logits, vn_err *err) {
    (void)logits;
    (void)err;
    memcpy(features, x, (size_t)(n * e->size) * sizeof *x);
    return VN_OK;
}

static const vn_feature_row raw = {
    .row = {"raw", "the numbers themselves: points, or pixels in [-1,1]", "", NULL},
    .open = open_raw,
    .extract = extract_raw,
};

static const vn_feature_row *const rows[] = {&raw, &vn_random_features};
static const vn_word words[] = {{"pixels", "raw"}, {NULL, NULL}};
const vn_table vn_feature_kinds = {"kind of features", rows, 0, VN_COUNT(rows), words, NULL};

const char *vn_features_usual(const vn_shape *sample) {
    return vn_shape_is_image(sample) ? "random" : "raw";
}

/* ---- opening --------------------------------------------------------------------------------- */

vn_status vn_extractor_open(const char *text, const vn_shape *sample, const vn_engine *engine,
                            vn_extractor **out, vn_err *err) {
    vn_choice choice = {0};
    size_t index;
    vn_extractor *e = vn_calloc(1, sizeof *e);
    if (!e) return vn_no_memory(err);
    e->sample = *sample;
    e->size = vn_shape_count(sample);
    vn_status status = VN_OK;
    if (!vn_table_find(&vn_feature_kinds, text, &index) && vn_is_dir(text)) {
        status = vn_features_of_directory(e, text, engine, err);
    } else {
        status = vn_choice_parse(text, &vn_feature_kinds, &choice, err);
        if (status) vn_fail_after(err, "or the directory of a classifier");
        if (!status) e->row = (const vn_feature_row *)choice.row;
        if (!status) status = e->row->open(e, &choice, engine, err);
    }
    if (status) vn_extractor_close(&e);
    *out = e;
    return status;
}

void vn_extractor_close(vn_extractor **e) {
    if (!e || !*e) return;
    if ((*e)->row && (*e)->row->close) (*e)->row->close(*e);
    vn_free((*e)->name);
    vn_free(*e);
    *e = NULL;
}

const char *vn_extractor_name(const vn_extractor *e) {
    return e->name;
}

int64_t vn_extractor_size(const vn_extractor *e) {
    return e->d;
}

int64_t vn_extractor_classes(const vn_extractor *e) {
    return e->classes;
}

int64_t vn_extractor_width(const vn_extractor *e) {
    return e->d;
}

vn_status vn_extractor_run(vn_extractor *e, int64_t n, const float *x, float *features,
                           float *logits, vn_err *err) {
    return e->row->extract(e, n, x, features, logits, err);
}
