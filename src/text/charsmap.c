/* charsmap.c - sentencepiece's compiled normalization ("nmt_nfkc" and its kin), which T5's
 * tokenizers have: a map from sequences of bytes to others.
 *
 * The file has, in base64: the size of a trie in bytes, the trie, a double array (Darts-clone's,
 * Yata's 10.1016/j.ipm.2006.04.004) of units of 32 bits, and the strings that it leads to, each
 * ended by 0. As Hugging Face's `tokenizers` does it, graphemes of fewer than six bytes are looked
 * up whole, and the shortest sequence that such a grapheme begins with stands for all of it; else
 * each character is looked up by itself. */
#include "text/internal.h"

#include <string.h>

#include <utf8proc.h>

#define SHORT 6 /* bytes of a grapheme that is not looked up whole */

struct vn_charsmap {
    unsigned char *data;
    size_t units;        /* of the trie */
    const char *strings; /* [size], the last byte 0 */
    size_t size;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int digit_of(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Four letters a group, "=" for what the last has too few of; false: the text is none. */
static bool decode(const char *text, size_t length, unsigned char *out, size_t *size) {
    size_t ends = 0;
    while (ends < 2 && ends < length && text[length - 1 - ends] == '=') ends++;
    *size = 0;
    if (length % 4) return false;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t bits = 0;
        for (size_t k = i; k < i + 4; k++) {
            const int digit = k < length - ends ? digit_of(text[k]) : 0;
            if (digit < 0) return false;
            bits = bits << 6 | (uint32_t)digit;
        }
        for (int shift = 16; shift >= 0; shift -= 8) out[(*size)++] = (bits >> shift) & 0xFF;
    }
    *size -= ends;
    return true;
}

/* Whether all strings, each ended by a 0, are UTF-8. */
static bool are_utf8(const char *strings, size_t size) {
    for (size_t at = 0; at < size; at += strlen(strings + at) + 1)
        if (!vn_is_utf8(strings + at)) return false;
    return true;
}

static uint32_t unit_at(const vn_charsmap *m, size_t i) {
    const unsigned char *b = m->data + 4 + 4 * i;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

vn_status vn_charsmap_open(const char *base64, vn_charsmap **out, vn_err *err) {
    const size_t length = strlen(base64);
    size_t size = 0;
    vn_charsmap *m = vn_calloc(1, sizeof *m);
    if (m) m->data = vn_alloc(length / 4 + 1, 3);
    if (!m || !m->data) {
        vn_charsmap_close(&m);
        return vn_no_memory(err);
    }
    bool ok = decode(base64, length, m->data, &size) && size > 4;
    if (ok) {
        const unsigned char *b = m->data;
        const size_t bytes =
            (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
        ok = bytes >= 4 && bytes % 4 == 0 && bytes < size - 4 && m->data[size - 1] == 0;
        m->units = bytes / 4;
        m->strings = (const char *)m->data + 4 + bytes;
        m->size = size - 4 - bytes;
        ok = ok && are_utf8(m->strings, m->size);
    }
    if (!ok) {
        vn_charsmap_close(&m);
        return vn_fail(err, VN_BAD_FILE, "precompiled_charsmap is damaged");
    }
    *out = m;
    return VN_OK;
}

void vn_charsmap_close(vn_charsmap **m) {
    if (!*m) return;
    vn_free((*m)->data);
    vn_free(*m);
    *m = NULL;
}

/* ---- running --------------------------------------------------------------------------------- */

static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 1U << 9) >> 6);
}

#define IS_LEAF(unit) ((unit) >> 8 & 1)
#define LABEL         (1U << 31 | 0xFF)
#define VALUE         ((1U << 31) - 1)

/* What stands for letters that begin with a key of the map; NULL: none does. */
static const char *look_up(const vn_charsmap *m, const char *text, size_t size) {
    size_t node = offset_of(unit_at(m, 0));
    for (size_t i = 0; i < size; i++) {
        const uint32_t byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= m->units) return NULL;
        const uint32_t unit = unit_at(m, node);
        if ((unit & LABEL) != byte) return NULL;
        node ^= offset_of(unit);
        if (!IS_LEAF(unit)) continue;
        const size_t at = node < m->units ? unit_at(m, node) & VALUE : m->size;
        const bool whole = at < m->size && ((unsigned char)m->strings[at] & 0xC0) != 0x80;
        return whole ? m->strings + at : NULL; /* else it would begin within a character */
    }
    return NULL;
}

/* Adds what stands for the letters; false: nothing does. */
static bool replace(const vn_charsmap *m, const char *text, size_t size, vn_string *out) {
    const char *by = look_up(m, text, size);
    if (by) vn_string_add(out, by, strlen(by));
    return by != NULL;
}

static void add_grapheme(const vn_charsmap *m, const char *text, size_t size, vn_string *out) {
    if (size < SHORT && replace(m, text, size, out)) return;
    for (const char *at = text, *begin = at; at < text + size; begin = at) {
        vn_utf8_next(&at);
        const size_t n = (size_t)(at - begin);
        if (!replace(m, begin, n, out)) vn_string_add(out, begin, n);
    }
}

void vn_charsmap_run(const vn_charsmap *m, const char *text, size_t size, vn_string *out) {
    const char *begin = text, *at = text;
    utf8proc_int32_t state = 0, before = 0;
    while (at < text + size) {
        const char *here = at;
        const utf8proc_int32_t code = (utf8proc_int32_t)vn_utf8_next(&at);
        if (here > text && utf8proc_grapheme_break_stateful(before, code, &state)) {
            add_grapheme(m, begin, (size_t)(here - begin), out);
            begin = here;
        }
        before = code;
    }
    add_grapheme(m, begin, (size_t)(at - begin), out);
}
