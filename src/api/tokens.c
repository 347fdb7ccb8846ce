/* tokens.c - vn_tokenizer_...: texts as ids, of a caller's strings or of the lines of a file. */
#include "api/internal.h"
#include "text/text.h"

#include <string.h>

#define MAX_FILE ((size_t)1 << 30)
#define MAX_IDS  (INT64_C(1) << 28) /* of one call: 2 GB */

struct vn_tokenizer {
    vn_context *vn;
    vn_text *text;
    char *source;
    int64_t *ids, *counts; /* of the latest call: [n,length]; used, then whole */
};

/* ---- a tokenizer ----------------------------------------------------------------------------- */

vn_status vn_tokenizer_open(vn_context *vn, const char *source, vn_tokenizer **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (out) *out = NULL;
    if (!source || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_tokenizer_open: source and out are needed");
    vn_tokenizer *t = vn_calloc(1, sizeof *t);
    if (!t) return vn_no_memory(err);
    t->vn = vn;
    t->source = vn_strdup(source);
    const vn_status status = t->source ? vn_text_open(source, &t->text, err) : vn_no_memory(err);
    if (status) vn_tokenizer_close(&t);
    *out = t;
    return status;
}

static void forget(vn_tokenizer *t) {
    vn_free(t->ids);
    vn_free(t->counts);
    t->ids = t->counts = NULL;
}

void vn_tokenizer_close(vn_tokenizer **tokenizer) {
    if (!tokenizer || !*tokenizer) return;
    forget(*tokenizer);
    vn_text_close(&(*tokenizer)->text);
    vn_free((*tokenizer)->source);
    vn_free(*tokenizer);
    *tokenizer = NULL;
}

const char *vn_tokenizer_kind(const vn_tokenizer *t) {
    return t ? vn_text_row(t->text)->name : NULL;
}

int32_t vn_tokenizer_size(const vn_tokenizer *t) {
    return t ? vn_text_size(t->text) : 0;
}

const char *vn_tokenizer_token(const vn_tokenizer *t, int64_t id) {
    return t && id >= 0 && id <= INT32_MAX ? vn_text_token(t->text, (int32_t)id) : NULL;
}

void vn_token_options_init(vn_token_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_TOKEN, o, size);
}

void vn_tokens_init(vn_tokens *o, size_t size) {
    vn_struct_init(o, size, &(vn_tokens){0}, sizeof *o);
}

/* ---- texts ----------------------------------------------------------------------------------- */

static vn_status take_options(const vn_tokenizer *t, const vn_token_options *from,
                              vn_token_options *o, vn_err *err) {
    *o = vn_token_options_default();
    vn_status status = vn_struct_take(o, sizeof *o, from, "vn_token_options", err);
    if (!status) status = vn_options_check(VN_OPTIONS_TOKEN, o, err);
    const int64_t least = vn_text_framing(t->text);
    if (!status && o->length > 0 && o->length < least)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`length` %lld is less than the %lld tokens that begin and end every text",
                       (long long)o->length, (long long)least);
    return status;
}

/* The ids of all texts one behind the other, and how many each has. */
static vn_status encode_each(vn_tokenizer *t, int64_t n, const char *const *texts, int64_t length,
                             vn_ids *all, vn_err *err) {
    for (int64_t i = 0; i < n; i++) {
        const size_t before = all->count;
        const vn_status status =
            texts[i] ? vn_text_encode(t->text, texts[i], length, all, &t->counts[n + i], err)
                     : vn_fail(err, VN_BAD_ARGUMENT, "it is NULL");
        if (status && status != VN_NO_MEMORY) vn_fail_in(err, "text %lld", (long long)i + 1);
        if (status) return status;
        t->counts[i] = (int64_t)(all->count - before);
    }
    return VN_OK;
}

/* Rows of one length, padded. */
static vn_status fill_rows(vn_tokenizer *t, int64_t n, int64_t length, const vn_ids *all,
                           vn_err *err) {
    bool left, short_one = false;
    const int32_t pad = vn_text_pad(t->text, &left);
    for (int64_t i = 0; i < n; i++) short_one |= t->counts[i] < length;
    if (short_one && pad < 0)
        return vn_fail(err, VN_BAD_FILE, "%s: no file says which token pads short texts",
                       t->source);
    if (n > 0 && length > MAX_IDS / n)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%lld texts of %lld ids each are more than can be had at once; `length` "
                       "makes them fewer",
                       (long long)n, (long long)length);
    t->ids = vn_alloc((size_t)(n * length), sizeof *t->ids);
    if (!t->ids) return vn_no_memory(err);
    const int32_t *from = all->at;
    for (int64_t i = 0; i < n; i++) {
        int64_t *row = t->ids + i * length;
        const int64_t used = t->counts[i], begin = left ? length - used : 0;
        for (int64_t k = 0; k < length; k++)
            row[k] = k >= begin && k < begin + used ? from[k - begin] : pad;
        from += used;
    }
    return VN_OK;
}

static vn_status encode(vn_tokenizer *t, int64_t n, const char *const *texts,
                        const vn_token_options *o, vn_tokens *out, vn_err *err) {
    vn_ids all = {0};
    int64_t length = o->length;
    forget(t);
    t->counts = vn_calloc((size_t)n, 2 * sizeof *t->counts);
    if (!t->counts) return vn_no_memory(err);
    vn_status status = encode_each(t, n, texts, length, &all, err);
    for (int64_t i = 0; i < n && o->length == 0; i++)
        if (t->counts[i] > length) length = t->counts[i];
    if (!status) status = fill_rows(t, n, length, &all, err);
    vn_ids_free(&all);
    if (status) {
        forget(t);
        return status;
    }
    *out = (vn_tokens){.struct_size = sizeof *out,
                       .n = n,
                       .length = length,
                       .ids = t->ids,
                       .used = t->counts,
                       .whole = t->counts + n};
    return VN_OK;
}

vn_status vn_tokenizer_encode(vn_tokenizer *t, int64_t n, const char *const *texts,
                              const vn_token_options *options, vn_tokens *out) {
    if (!t) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(t->vn);
    vn_token_options o;
    vn_tokens tokens;
    if (n < 0 || (n > 0 && !texts) || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_tokenizer_encode: texts and out are needed");
    vn_status status = vn_struct_check(out, "vn_tokens", err);
    if (!status) status = take_options(t, options, &o, err);
    if (!status) status = encode(t, n, texts, &o, &tokens, err);
    if (!status) vn_struct_give(out, &tokens, sizeof tokens);
    return status;
}

/* ---- a file's lines -------------------------------------------------------------------------- */

/* Ends each line of text[size] with a 0; lines is NULL, or receives where they begin. A last line
 * need not end in \n. Returns how many there are. */
static int64_t split_lines(char *text, size_t size, const char **lines) {
    int64_t n = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, lines ? 0 : '\n', size - at);
        const size_t next = end ? (size_t)(end - text) + 1 : size;
        if (end) text[next - 1] = 0;
        if (lines) lines[n] = text + at;
        n++;
        at = next;
    }
    return n;
}

static vn_status write_ids(const char *path, const vn_tokens *tokens, vn_err *err) {
    const vn_array ids = {.name = "ids",
                          .dtype = VN_I64,
                          .shape = VN_SHAPE(tokens->n, tokens->length),
                          .data = tokens->ids};
    return vn_safetensors_write(path, &ids, 1, NULL, err);
}

static vn_status encode_lines(vn_tokenizer *t, const char *in, const char *out,
                              const vn_token_options *o, vn_tokens *tokens, vn_err *err) {
    char *text = NULL;
    size_t size = 0;
    vn_status status = vn_check_no_model(out, "name a file that is outside of it", err);
    if (!status) status = vn_check_file(out, err);
    if (!status) status = vn_read_file(in, MAX_FILE, &text, &size, err);
    if (status) return status;
    const char *zero = memchr(text, 0, size);
    if (zero)
        status = vn_fail(err, VN_BAD_FILE, "%s: holds a byte 0, at %zu", in, (size_t)(zero - text));
    const int64_t n = status ? 0 : split_lines(text, size, NULL);
    const char **lines = status ? NULL : vn_alloc((size_t)n, sizeof *lines);
    if (!status && !lines) status = vn_no_memory(err);
    if (!status) {
        split_lines(text, size, lines);
        status = encode(t, n, lines, o, tokens, err);
        if (status == VN_BAD_ARGUMENT) vn_fail_in(err, "%s", in);
    }
    if (!status) status = write_ids(out, tokens, err);
    vn_free(lines);
    vn_free(text);
    return status;
}

vn_status vn_tokenizer_encode_file(vn_tokenizer *t, const char *in, const char *out,
                                   const vn_token_options *options, vn_tokens *tokens) {
    if (!t) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(t->vn);
    vn_token_options o;
    vn_tokens made;
    if (!in || !out || !tokens)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_tokenizer_encode_file: in, out and tokens are needed");
    if (vn_same_file(in, out))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s is named twice: the ids would be written over the texts", in);
    vn_status status = vn_struct_check(tokens, "vn_tokens", err);
    if (!status) status = take_options(t, options, &o, err);
    if (!status) status = encode_lines(t, in, out, &o, &made, err);
    if (!status) vn_struct_give(tokens, &made, sizeof made);
    return status;
}
