/* text.c - a tokenizer's life: opened, run on texts, closed. */
#include "text/internal.h"

#include <string.h>

#define ROW(name) &vn_##name##_model,
static const vn_text_model *const models[] = {VN_TEXT_MODELS(ROW)};
const vn_table vn_text_models = {"tokenizer", models, 0, VN_COUNT(models), NULL, NULL};

vn_status vn_text_open(const char *source, vn_text **out, vn_err *err) {
    vn_text *t = vn_calloc(1, sizeof *t);
    if (!t) return vn_no_memory(err);
    t->pad = -1;
    vn_status status = VN_OK;
    if (!strcmp(source, vn_bytes_model.row.name)) {
        t->model = &vn_bytes_model;
        status = t->model->open(NULL, t, err);
    } else {
        status = vn_text_read(t, source, err);
    }
    if (!status) status = vn_added_index(t, err);
    if (status) vn_text_close(&t);
    *out = t;
    return status;
}

vn_status vn_text_open_json(json_t *json, vn_text **out, vn_err *err) {
    vn_text *t = vn_calloc(1, sizeof *t);
    if (!t) return vn_no_memory(err);
    t->pad = -1;
    vn_status status = vn_text_read_json(t, json, err);
    if (!status) status = vn_added_index(t, err);
    if (status) vn_text_close(&t);
    *out = t;
    return status;
}

void vn_text_close(vn_text **text) {
    vn_text *t = *text;
    if (!t) return;
    if (t->model) t->model->close(t);
    vn_vocabulary_free(&t->vocabulary);
    vn_text_steps_close(&t->normalize);
    vn_text_steps_close(&t->split);
    vn_added_free(&t->added);
    for (int i = 0; i < 2; i++) vn_pieces_free(&t->pieces[i]);
    vn_ids_free(&t->ids);
    json_decref(t->json);
    json_decref(t->config);
    json_decref(t->special);
    vn_free(t);
    *text = NULL;
}

/* ---- what it is ------------------------------------------------------------------------------ */

const vn_row *vn_text_row(const vn_text *t) {
    return &t->model->row;
}

int32_t vn_text_size(const vn_text *t) {
    int32_t size = t->vocabulary.size;
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.token[i].id >= size) size = t->added.token[i].id + 1;
    return size;
}

const char *vn_text_token(const vn_text *t, int32_t id) {
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.token[i].id == id) return t->added.token[i].content;
    return id >= 0 && id < t->vocabulary.size ? t->vocabulary.by_id[id] : NULL;
}

int32_t vn_text_pad(const vn_text *t, bool *left) {
    *left = t->pad_left;
    return t->pad;
}

int64_t vn_text_framing(const vn_text *t) {
    return t->frame.before + t->frame.after;
}

int32_t vn_text_find(const vn_text *t, const char *content) {
    const int32_t added = vn_added_find(t, content);
    return added >= 0 ? added : vn_vocabulary_find(&t->vocabulary, content, strlen(content));
}

int32_t vn_text_new_id(const vn_text *t) {
    int32_t next = (int32_t)t->vocabulary.count;
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.token[i].id >= next) next = t->added.token[i].id + 1;
    return next;
}

/* ---- a text ---------------------------------------------------------------------------------- */

vn_status vn_text_cut(vn_text *t, const char *text, size_t size, vn_err *err) {
    vn_pieces *p = t->pieces;
    vn_pieces_clear(&p[0]);
    vn_pieces_add(&p[0], text, size, true);
    vn_added_cut(t, false, &p[0], &p[1]);
    vn_text_steps_run(&t->normalize, &p[1], &p[0]);
    vn_added_cut(t, true, &p[1], &p[0]);
    vn_text_steps_run(&t->split, &p[0], &p[1]);
    if (!p[0].text.failed && !p[1].text.failed) return VN_OK;
    for (int i = 0; i < 2; i++) vn_pieces_free(&p[i]);
    return vn_fail(err, VN_NO_MEMORY, "out of memory for what a tokenizer makes of a text");
}

/* The ids of a text, without those that begin and end it: in t->ids. */
static vn_status find_ids(vn_text *t, const char *text, size_t size, vn_err *err) {
    vn_status status = vn_text_cut(t, text, size, err);
    const vn_pieces *p = &t->pieces[0];
    t->ids.count = 0;
    for (size_t i = 0; i < p->count && !status; i++) {
        const vn_piece *piece = &p->piece[i];
        if (piece->id >= 0)
            vn_ids_add(&t->ids, piece->id);
        else
            status = t->model->run(t, p->text.at + piece->begin, piece->size, &t->ids, err);
    }
    if (!status && t->ids.failed) status = vn_no_memory(err);
    if (status) vn_ids_free(&t->ids);
    return status;
}

vn_status vn_text_encode(vn_text *t, const char *text, int64_t length, vn_ids *out, int64_t *whole,
                         vn_err *err) {
    const size_t size = strlen(text);
    if (size > VN_TEXT_MAX_BYTES)
        return vn_fail(err, VN_BAD_ARGUMENT, "a text of %zu bytes; the longest has %d", size,
                       VN_TEXT_MAX_BYTES);
    if (!vn_is_utf8(text)) return vn_fail(err, VN_BAD_ARGUMENT, "a text is not UTF-8");
    const vn_status status = find_ids(t, text, size, err);
    if (status) return status;
    const vn_frame *f = &t->frame;
    const int64_t found = (int64_t)t->ids.count, room = length - vn_text_framing(t);
    const int64_t kept = length > 0 && found > room ? (room > 0 ? room : 0) : found;
    const int64_t begin = t->cut_left ? found - kept : 0;
    if (whole) *whole = found + vn_text_framing(t);
    for (int i = 0; i < f->before; i++) vn_ids_add(out, f->begin[i]);
    for (int64_t i = begin; i < begin + kept; i++) vn_ids_add(out, t->ids.at[i]);
    for (int i = 0; i < f->after; i++) vn_ids_add(out, f->end[i]);
    return out->failed ? vn_no_memory(err) : VN_OK;
}

vn_status vn_text_fill(vn_text *t, const char *text, int64_t length, int32_t *ids, int32_t *mask,
                       int64_t *whole, vn_err *err) {
    vn_ids found = {0};
    vn_status status = vn_text_encode(t, text, length, &found, whole, err);
    const int64_t used = (int64_t)found.count, begin = t->pad_left ? length - used : 0;
    if (!status && used < length && t->pad < 0)
        status = vn_fail(err, VN_BAD_FILE, "no file says which token fills up short texts");
    for (int64_t i = 0; i < length && !status; i++) {
        const bool there = i >= begin && i < begin + used;
        ids[i] = there ? found.at[i - begin] : t->pad;
        if (mask) mask[i] = there;
    }
    vn_ids_free(&found);
    return status;
}
