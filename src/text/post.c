/* post.c - the post-processors of tokenizer.json: which tokens begin and end a text. What they say
 * of pairs of texts and of places in them is not asked here. */
#include "text/internal.h"

#include <string.h>

#define DEEPEST 8

static vn_status put(vn_frame *f, bool before, int64_t id, vn_err *err) {
    int *count = before ? &f->before : &f->after;
    if (*count == VN_TEXT_FRAME)
        return vn_fail(err, VN_UNSUPPORTED, "more than %d tokens around a text", VN_TEXT_FRAME);
    if (id < 0 || id >= VN_TEXT_MAX_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "the post_processor has an id outside of [0, %d]",
                       VN_TEXT_MAX_TOKENS - 1);
    (before ? f->begin : f->end)[(*count)++] = (int32_t)id;
    return VN_OK;
}

/* ["</s>", 2] */
static vn_status put_pair(const json_t *pair, bool before, vn_frame *f, vn_err *err) {
    const json_t *id = json_array_get(pair, 1);
    if (!json_is_integer(id))
        return vn_fail(err, VN_BAD_FILE, "sep and cls are not pairs of a token and its id");
    return put(f, before, json_integer_value(id), err);
}

/* RobertaProcessing and BertProcessing: cls, the text, sep. */
static vn_status read_cls_sep(const json_t *json, vn_frame *f, vn_err *err) {
    const vn_status status = put_pair(json_object_get(json, "cls"), true, f, err);
    return status ? status : put_pair(json_object_get(json, "sep"), false, f, err);
}

/* The ids of a special token of a template. */
static vn_status put_special(const json_t *json, const json_t *item, bool before, vn_frame *f,
                             vn_err *err) {
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *tokens = json_object_get(json, "special_tokens");
    const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
    vn_status status = VN_OK;
    if (!json_is_array(ids))
        return vn_fail(err, VN_BAD_FILE, "the template's token '%.40s' has no ids",
                       name ? name : "?");
    for (size_t i = 0; i < json_array_size(ids) && !status; i++) {
        const json_t *id = json_array_get(ids, i);
        status = put(f, before, json_is_integer(id) ? json_integer_value(id) : -1, err);
    }
    return status;
}

/* TemplateProcessing: a list of special tokens and, once, the text, "A". */
static vn_status read_template(const json_t *json, vn_frame *f, vn_err *err) {
    const json_t *list = json_object_get(json, "single");
    vn_status status = VN_OK;
    bool seen = false;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *item = json_array_get(list, i), *sequence = json_object_get(item, "Sequence");
        const char *id = json_string_value(json_object_get(sequence, "id"));
        if (!sequence) {
            status = put_special(json, json_object_get(item, "SpecialToken"), !seen, f, err);
        } else {
            if (seen || !id || strcmp(id, "A") != 0)
                status = vn_fail(err, VN_BAD_FILE, "the template has not just one text, A");
            seen = true;
        }
    }
    if (!status && !seen) status = vn_fail(err, VN_BAD_FILE, "the template has no text, A");
    return status;
}

static vn_status read_nothing(const json_t *json, vn_frame *f, vn_err *err) {
    (void)json;
    (void)f;
    (void)err;
    return VN_OK;
}

static const struct {
    const char *type;
    vn_status (*read)(const json_t *json, vn_frame *f, vn_err *err);
} rows[] = {
    {"RobertaProcessing", read_cls_sep},
    {"BertProcessing", read_cls_sep},
    {"TemplateProcessing", read_template},
    {"ByteLevel", read_nothing}, /* of places alone */
};

static vn_status read(const json_t *json, int depth, vn_frame *f, vn_err *err) {
    if (!json || json_is_null(json)) return VN_OK;
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type || depth == DEEPEST)
        return vn_fail(err, VN_BAD_FILE, "a post_processor has no \"type\", or is too deep");
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "processors");
        vn_status status = VN_OK;
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = read(json_array_get(list, i), depth + 1, f, err);
        return status;
    }
    const char *known[VN_COUNT(rows) + 1];
    for (size_t i = 0; i < VN_COUNT(rows); i++) {
        known[i] = rows[i].type;
        if (!strcmp(type, rows[i].type)) return rows[i].read(json, f, err);
    }
    known[VN_COUNT(rows)] = "Sequence";
    return vn_text_unknown("post_processor", type, known, VN_COUNT(known), err);
}

vn_status vn_frame_read(const json_t *json, vn_text *t, vn_err *err) {
    return read(json, 0, &t->frame, err);
}
