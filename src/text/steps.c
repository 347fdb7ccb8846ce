/* steps.c - normalizers and pre-tokenizers: read from tokenizer.json, sequences of them as one list
 * of steps, and run one after the other. */
#include "text/internal.h"

#include <string.h>

#define DEEPEST 8 /* sequences in sequences */

static vn_status unknown(const vn_text_step_kind *kind, const char *type, vn_err *err) {
    const char *known[32];
    size_t count = 0;
    for (size_t i = 0; i < kind->count && count < VN_COUNT(known) - 1; i++)
        known[count++] = kind->rows[i].type;
    known[count++] = "Sequence";
    return vn_text_unknown(kind->what, type, known, count, err);
}

static vn_status read_one(const vn_text_step_kind *kind, const char *type, const json_t *json,
                          vn_text_steps *steps, vn_err *err) {
    const vn_text_step_row *row = NULL;
    for (size_t i = 0; i < kind->count && !row; i++)
        if (!strcmp(kind->rows[i].type, type)) row = &kind->rows[i];
    if (!row) return unknown(kind, type, err);
    if (steps->count == VN_TEXT_STEPS)
        return vn_fail(err, VN_UNSUPPORTED, "more than %d %ss", VN_TEXT_STEPS, kind->what);
    vn_text_step *step = &steps->step[steps->count++];
    *step = (vn_text_step){.row = row, .option = row->option};
    vn_status status = vn_text_check_keys(json, type, row->keys, err);
    if (!status && row->open) status = row->open(json, step, err);
    if (status && status != VN_NO_MEMORY) vn_fail_in(err, "%s", type);
    return status;
}

static vn_status read(const vn_text_step_kind *kind, const json_t *json, int depth,
                      vn_text_steps *steps, vn_err *err) {
    if (!json || json_is_null(json)) return VN_OK;
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type) return vn_fail(err, VN_BAD_FILE, "a %s has no \"type\"", kind->what);
    if (strcmp(type, "Sequence") != 0) return read_one(kind, type, json, steps, err);
    const json_t *list = json_object_get(json, kind->list);
    if (!json_is_array(list) || depth == DEEPEST)
        return vn_fail(err, VN_BAD_FILE, "a Sequence of %ss has no list \"%s\", or is too deep",
                       kind->what, kind->list);
    vn_status status = VN_OK;
    for (size_t i = 0; i < json_array_size(list) && !status; i++)
        status = read(kind, json_array_get(list, i), depth + 1, steps, err);
    return status;
}

vn_status vn_text_steps_read(const vn_text_step_kind *kind, const json_t *json,
                             vn_text_steps *steps, vn_err *err) {
    return read(kind, json, 0, steps, err);
}

bool vn_match_next(const vn_text_step *step, const char *text, size_t size, size_t from,
                   vn_match *out) {
    if (step->pattern) return vn_pattern_next(step->pattern, text, size, from, out);
    const size_t n = strlen(step->literal);
    for (size_t i = from; i + n <= size; i++) {
        *out = (vn_match){i, i + n};
        if (!memcmp(text + i, step->literal, n)) return true;
    }
    return false;
}

void vn_text_steps_run(const vn_text_steps *steps, vn_pieces *p, vn_pieces *spare) {
    for (int k = 0; k < steps->count && !p->text.failed; k++) {
        const vn_text_step *step = &steps->step[k];
        vn_pieces_clear(spare);
        for (size_t i = 0; i < p->count; i++) {
            const vn_piece *piece = &p->piece[i];
            if (piece->id >= 0)
                vn_pieces_add_token(spare, piece->id);
            else
                step->row->run(step, p->text.at + piece->begin, piece->size, piece->first, spare);
        }
        const vn_pieces before = *p;
        *p = *spare;
        *spare = before;
    }
}

void vn_text_steps_close(vn_text_steps *steps) {
    for (int i = 0; i < steps->count; i++) vn_charsmap_close(&steps->step[i].map);
    steps->count = 0;
}
