/* json.c - JSON files. */
#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)64 << 20)

vn_status vn_json_read(const char *path, json_t **out, vn_err *err) {
    char *text;
    size_t size;
    *out = NULL;
    vn_status status = vn_read_file(path, MAX_FILE, &text, &size, err);
    if (status) return status;
    status = vn_json_parse(text, size, path, out, err);
    vn_free(text);
    return status;
}

bool vn_json_number(const json_t *value, double *out) {
    static const struct {
        const char *word;
        double number;
    } not_finite[] = {
        {"NaN", (double)NAN}, {"Infinity", (double)INFINITY}, {"-Infinity", -(double)INFINITY}};
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    for (size_t i = 0; i < VN_COUNT(not_finite) && json_is_string(value); i++) {
        if (strcmp(json_string_value(value), not_finite[i].word) != 0) continue;
        *out = not_finite[i].number;
        return true;
    }
    return false;
}

/* Digits that every real number below `value` needs to read back as itself. */
static int digits_needed(const json_t *value, int digits) {
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, item) digits = digits_needed(item, digits);
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item) digits = digits_needed(item, digits);
    } else if (json_is_real(value)) {
        char text[40];
        for (; digits < 17; digits++) {
            vn_snprintf(text, sizeof text, "%.*g", digits, json_real_value(value));
            if (vn_strtod(text, NULL) == json_real_value(value)) break;
        }
    }
    return digits;
}

/* A text that grows; jansson (2.14) overlooks some failures of its own to grow, so this one
 * remembers them. */
typedef struct text_buffer {
    char *text; /* with a 0 after its end */
    size_t used, capacity;
    bool failed;
} text_buffer;

static int append(const char *text, size_t size, void *user) {
    text_buffer *b = user;
    if (size >= b->capacity - b->used && !b->failed) {
        size_t capacity = 2 * b->capacity + size;
        char *grown = vn_realloc(b->text, capacity, 1);
        b->failed = !grown;
        if (grown) *b = (text_buffer){grown, b->used, capacity, false};
    }
    if (b->failed) return -1;
    memcpy(b->text + b->used, text, size);
    b->used += size;
    b->text[b->used] = 0;
    return 0;
}

char *vn_json_text(const json_t *value, size_t flags) {
    text_buffer b = {.text = vn_alloc(256, 1), .capacity = 256};
    const vn_c_locale l = vn_c_locale_enter();
    bool ok = b.text && json_dump_callback(value, append, &b, flags) == 0 && !b.failed;
    vn_c_locale_leave(l);
    if (ok) return b.text;
    vn_free(b.text);
    return NULL;
}

json_t *vn_json_vformat(const char *format, va_list args) {
    char *text = vn_vformat(format, args);
    json_t *value = text ? vn_json_string(text) : NULL;
    vn_free(text);
    return value;
}

json_t *vn_json_string(const char *text) {
    char *valid = vn_utf8(text);
    json_t *value = valid ? json_string(valid) : NULL;
    vn_free(valid);
    return value;
}

json_t *vn_json_copy(const json_t *value) {
    json_t *copy = json_deep_copy(value);
    if (copy && json_equal(copy, value)) return copy;
    json_decref(copy);
    return NULL;
}

vn_status vn_json_write(const char *path, const json_t *value, vn_err *err) {
    vn_writer w;
    vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(digits_needed(value, 15));
    const vn_c_locale l = vn_c_locale_enter();
    const bool dumped = json_dumpf(value, w.file, flags) == 0;
    vn_c_locale_leave(l);
    if (!dumped && !ferror(w.file)) {
        vn_writer_abandon(&w);
        return vn_no_memory(err);
    }
    fputc('\n', w.file);
    return vn_writer_commit(&w, err);
}
