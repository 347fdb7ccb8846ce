/* bytes.c - every byte of a text is a token: 0 to 255, between one that begins it and one that ends
 * it. It needs no file, takes any language, and texts of all scripts are as long as their UTF-8
 * (2105.13626). */
#include "text/internal.h"

#include <string.h>

enum { PAD = 256, BEGIN, END, SIZE };

/* "<00>" to "<FF>", what can be seen as itself. */
static vn_status name_tokens(vn_text *t, vn_err *err) {
    static const char *const special[] = {"<pad>", "<begin>", "<end>"};
    vn_status status = vn_vocabulary_open(&t->vocabulary, SIZE, err);
    char *names = status ? NULL : vn_calloc(256, 8);
    if (!names) return status ? status : vn_no_memory(err);
    t->self = names;
    for (int32_t i = 0; i < SIZE; i++) {
        char *name = names + 8 * (i & 255);
        const char *text = i < 256 ? name : special[i - 256];
        if (i < 256) snprintf(name, 8, i > 0x20 && i < 0x7F ? "%c" : "<%02X>", (int)i);
        t->vocabulary.sorted[i] = (vn_vocabulary_entry){text, strlen(text), i};
    }
    return vn_vocabulary_close_list(&t->vocabulary, err);
}

static vn_status open_bytes(const json_t *json, vn_text *t, vn_err *err) {
    (void)json;
    t->pad = PAD;
    t->frame = (vn_frame){.before = 1, .after = 1, .begin = {BEGIN}, .end = {END}};
    return name_tokens(t, err);
}

static void close_bytes(vn_text *t) {
    vn_free(t->self);
}

static vn_status run_bytes(vn_text *t, const char *text, size_t size, vn_ids *out, vn_err *err) {
    (void)t;
    for (size_t i = 0; i < size; i++) vn_ids_add(out, (unsigned char)text[i]);
    return out->failed ? vn_no_memory(err) : VN_OK;
}

const vn_text_model vn_bytes_model = {
    .row = {.name = "bytes",
            .summary = "a token for each byte of UTF-8; needs no files",
            .source = "arXiv 2105.13626"},
    .open = open_bytes,
    .close = close_bytes,
    .run = run_bytes,
};
