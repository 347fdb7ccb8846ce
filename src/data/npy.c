/* npy.c - the header of a .npy array: the Python dictionary {'descr': '<f4', 'fortran_order':
 * False, 'shape': (3, 2), }.
 *
 * Only what numpy writes is read: these three keys, once each, in any order. */
#include "data/internal.h"

#include <string.h>

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n')) c->at++;
}

static bool accept(cursor *c, const char *token) {
    const size_t n = strlen(token);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, token, n) != 0) return false;
    c->at += n;
    return true;
}

/* 'text' or "text" without escapes, into buffer[size]. */
static bool read_string(cursor *c, char *buffer, size_t size) {
    const char quote = accept(c, "'") ? '\'' : accept(c, "\"") ? '"' : '\0';
    const char *close = quote != '\0' ? memchr(c->at, quote, (size_t)(c->end - c->at)) : NULL;
    if (!close || (size_t)(close - c->at) >= size) return false;
    memcpy(buffer, c->at, (size_t)(close - c->at));
    buffer[close - c->at] = '\0';
    c->at = close + 1;
    return true;
}

static bool read_size(cursor *c, int64_t *out) {
    int64_t value = 0;
    skip_space(c);
    const char *start = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        if (value > (INT64_MAX - 9) / 10) return false;
        value = 10 * value + (*c->at++ - '0');
    }
    *out = value;
    return c->at > start;
}

static vn_status read_descr(cursor *c, vn_npy *a, vn_err *err) {
    char text[32];
    int64_t bytes = 0;
    if (!read_string(c, text, sizeof text))
        return vn_fail(err, VN_UNSUPPORTED, "arrays of records are not supported");
    cursor number = {text + 2, text + strlen(text)};
    if (strcmp(text, "|O") == 0)
        return vn_fail(err, VN_UNSUPPORTED,
                       "an array of objects is pickled, which can run code as it is read: save "
                       "numpy.array(texts, dtype=str)");
    if (strlen(text) < 3 || !strchr("<>|=", text[0]) || !read_size(&number, &bytes) ||
        number.at != number.end)
        return vn_fail(err, VN_UNSUPPORTED, "element type \"%s\" is not supported", text);
    a->kind = text[1];
    a->swap = text[0] == '>';
    const bool whole = a->kind == 'u' || a->kind == 'i';
    const bool ok =
        (whole && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8)) ||
        (a->kind == 'f' && (bytes == 4 || bytes == 8)) ||
        ((a->kind == 'S' || a->kind == 'U') && bytes >= 1 && bytes <= VN_NPY_MAX_LETTERS);
    if (!ok) return vn_fail(err, VN_UNSUPPORTED, "element type \"%s\" is not supported", text);
    a->bytes = (int)bytes * (a->kind == 'U' ? 4 : 1);
    return VN_OK;
}

static vn_status read_order(cursor *c, bool *fortran, vn_err *err) {
    *fortran = accept(c, "True");
    if (*fortran || accept(c, "False")) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "fortran_order is neither True nor False");
}

static vn_status read_shape(cursor *c, vn_npy *a, vn_err *err) {
    if (!accept(c, "(")) return vn_fail(err, VN_BAD_FILE, "shape is not a tuple");
    a->count = 1;
    for (bool more = !accept(c, ")"); more; more = !accept(c, ")")) {
        if (a->rank == VN_NPY_MAX_RANK)
            return vn_fail(err, VN_UNSUPPORTED, "more than %d axes", VN_NPY_MAX_RANK);
        int64_t *dim = &a->dim[a->rank++];
        if (!read_size(c, dim)) return vn_fail(err, VN_BAD_FILE, "shape is not a tuple of sizes");
        if (vn_mul_overflows(a->count, (size_t)*dim, &a->count))
            return vn_fail(err, VN_BAD_FILE, "shape is too large");
        if (!accept(c, ",")) {
            if (!accept(c, ")")) return vn_fail(err, VN_BAD_FILE, "shape is not a tuple of sizes");
            break;
        }
    }
    return VN_OK;
}

typedef enum npy_key { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4, KEY_ALL = 7 } npy_key;

static vn_status read_entry(cursor *c, vn_npy *a, bool *fortran, unsigned *seen, vn_err *err) {
    char name[16];
    if (!read_string(c, name, sizeof name) || !accept(c, ":"))
        return vn_fail(err, VN_BAD_FILE, "header is no dictionary");
    const unsigned which = strcmp(name, "descr") == 0           ? KEY_DESCR
                           : strcmp(name, "fortran_order") == 0 ? KEY_ORDER
                           : strcmp(name, "shape") == 0         ? KEY_SHAPE
                                                                : 0;
    if (which == 0 || (*seen & which) != 0)
        return vn_fail(err, VN_BAD_FILE, "unexpected key \"%s\" in the header", name);
    *seen |= which;
    if (which == KEY_DESCR) return read_descr(c, a, err);
    return which == KEY_ORDER ? read_order(c, fortran, err) : read_shape(c, a, err);
}

vn_status vn_npy_parse(const char *text, size_t length, vn_npy *out, vn_err *err) {
    cursor c = {text, text + length};
    bool fortran = false;
    unsigned seen = 0;
    size_t bytes;
    *out = (vn_npy){0};
    if (!accept(&c, "{")) return vn_fail(err, VN_BAD_FILE, "header is no dictionary");
    while (!accept(&c, "}")) {
        const vn_status status = read_entry(&c, out, &fortran, &seen, err);
        if (status) return status;
        if (!accept(&c, ",") && (c.at == c.end || *c.at != '}'))
            return vn_fail(err, VN_BAD_FILE, "header is no dictionary");
    }
    skip_space(&c);
    if (c.at != c.end || seen != KEY_ALL)
        return vn_fail(err, VN_BAD_FILE, "header is not complete");
    if (vn_mul_overflows(out->count, (size_t)out->bytes, &bytes))
        return vn_fail(err, VN_BAD_FILE, "shape is too large");
    if (fortran && out->rank > 1)
        return vn_fail(err, VN_UNSUPPORTED,
                       "Fortran order is not supported: save numpy.ascontiguousarray(...)");
    return VN_OK;
}

/* ---- elements -------------------------------------------------------------------------------- */

static uint64_t read_bits(const vn_npy *a, const uint8_t *element) {
    uint64_t bits = 0;
    for (int i = 0; i < a->bytes; i++)
        bits |= (uint64_t)element[a->swap ? a->bytes - 1 - i : i] << (8 * i);
    return bits;
}

double vn_npy_float(const vn_npy *a, const uint8_t *element) {
    const uint64_t bits = read_bits(a, element);
    if (a->bytes == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    const uint32_t half = (uint32_t)bits;
    float value;
    memcpy(&value, &half, sizeof value);
    return (double)value;
}

int64_t vn_npy_int(const vn_npy *a, const uint8_t *element) {
    uint64_t bits = read_bits(a, element);
    const int spare = 64 - 8 * a->bytes;
    if (a->kind == 'u') return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    return (int64_t)(bits << spare) >> spare; /* the sign's bit moves to the top and back */
}

void vn_npy_int_text(const vn_npy *a, const uint8_t *element, char text[32]) {
    if (a->kind == 'u')
        snprintf(text, 32, "%llu", (unsigned long long)read_bits(a, element));
    else
        snprintf(text, 32, "%lld", (long long)vn_npy_int(a, element));
}

static char *put_utf8(char *to, uint32_t c) {
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = '?';
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(lead[more] | c >> (6 * more));
    for (int i = more - 1; i >= 0; i--) *to++ = (char)(0x80 | (c >> (6 * i) & 0x3f));
    return to;
}

/* Shorter texts are filled with zeros. Bytes (S) are taken as ASCII. */
void vn_npy_text(const vn_npy *a, const uint8_t *element, char *utf8) {
    vn_npy letter = *a;
    letter.bytes = a->kind == 'U' ? 4 : 1;
    for (int i = 0; i < a->bytes; i += letter.bytes) {
        const uint32_t c = (uint32_t)read_bits(&letter, element + i);
        if (c == 0) break;
        utf8 = put_utf8(utf8, a->kind == 'S' && c > 0x7e ? '?' : c);
    }
    *utf8 = '\0';
}

vn_status vn_npy_caption(const vn_npy *a, const uint8_t *element, char *utf8, size_t *size,
                         vn_err *err) {
    vn_npy letter = *a;
    letter.bytes = a->kind == 'U' ? 4 : 1;
    int used = a->bytes;
    while (used > 0 && read_bits(&letter, element + used - letter.bytes) == 0) used -= letter.bytes;
    char *to = utf8;
    for (int i = 0; i < used; i += letter.bytes) {
        const uint32_t c = (uint32_t)read_bits(&letter, element + i);
        if (a->kind == 'S')
            *to++ = (char)c;
        else if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return vn_fail(err, VN_BAD_FILE, "letter %d is U+%04X, which is no character", i / 4,
                           (unsigned)c);
        else
            to = put_utf8(to, c);
    }
    *to = '\0';
    *size = (size_t)(to - utf8);
    return vn_caption_check(utf8, *size, err);
}
