/* json_parse.c - JSON text (RFC 8259) into jansson's values.
 *
 * jansson has a parser, but it goes on when its token buffer cannot grow: a key then silently loses
 * a character, and a string without its end is read past it (2.14). Files are untrusted and every
 * allocation may fail here, so the text is read by this recursive descent, and jansson keeps the
 * values. Duplicate keys, NUL, invalid UTF-8 and numbers beyond double are refused; and more values
 * than any config or world has, since a value of two bytes of text takes a hundred times as many in
 * memory. Whole numbers beyond 64 bits, such as the 10^30 that transformers writes for no limit,
 * are reals.
 *
 * Python's json writes three words that RFC 8259 does not have: NaN, Infinity and -Infinity, which
 * diffusers' DPM-Solvers have in every scheduler_config.json. They become strings of these letters
 * (jansson has no such numbers), so that whoever asks for a number refuses them unless he asks by
 * vn_json_number. */
#include "base/base.h"

#include <string.h>

#define DEEPEST    256
#define MAX_NUMBER 63
#define MAX_VALUES 2000000

typedef struct parser {
    const char *at, *begin, *end;
    /* strings being decoded, as many bytes as the text: what is decoded is never longer than its
     * source */
    char *scratch;
    size_t used; /* of scratch, by the keys of the objects that are open */
    int depth, values;
    const char *name; /* of the file */
    vn_err *err;
    vn_status status; /* of the first failure */
} parser;

/* ---- failures: each returns NULL, so that a rule can return one ------------------------------ */

static void *fail_at(parser *p, const char *where, const char *what) {
    if (p->status) return NULL;
    int line = 1;
    for (const char *c = p->begin; c < where; c++) line += *c == '\n';
    p->status = vn_fail(p->err, VN_BAD_FILE, "%s: line %d: %s", p->name, line, what);
    return NULL;
}

static void *fail_here(parser *p, const char *expected) {
    char what[96];
    unsigned char c = p->at < p->end ? (unsigned char)*p->at : 0;
    if (p->at == p->end)
        snprintf(what, sizeof what, "ends where %s should be", expected);
    else if (c > ' ' && c < 0x7F)
        snprintf(what, sizeof what, "%s expected, not '%c'", expected, c);
    else
        snprintf(what, sizeof what, "%s expected, not byte 0x%02X", expected, c);
    return fail_at(p, p->at, what);
}

/* value, or NULL with "out of memory" noted if it could not be made. */
static json_t *made(parser *p, json_t *value) {
    if (!value && !p->status) p->status = vn_no_memory(p->err);
    return value;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take(parser *p, char c) {
    skip_space(p);
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool take_word(parser *p, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0) return false;
    p->at += n;
    return true;
}

static bool take_digits(parser *p) {
    const char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return p->at > from;
}

/* Bytes of the UTF-8 character at `s`, 0 if it is none: RFC 3629, so no overlong forms and no
 * surrogates. */
static size_t utf8_length(const char *s, const char *end) {
    const unsigned char *c = (const unsigned char *)s;
    size_t left = (size_t)(end - s), n = c[0] < 0x80   ? 1
                                         : c[0] < 0xC2 ? 0
                                         : c[0] < 0xE0 ? 2
                                         : c[0] < 0xF0 ? 3
                                         : c[0] < 0xF5 ? 4
                                                       : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F)) return 0;
    if ((c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F)) return 0;
    return n;
}

bool vn_is_utf8(const char *text) {
    for (const char *end = text + strlen(text); text < end;) {
        size_t n = utf8_length(text, end);
        if (n == 0) return false;
        text += n;
    }
    return true;
}

char *vn_utf8(const char *text) {
    if (vn_is_utf8(text)) return vn_strdup(text);
    char *copy = vn_alloc(strlen(text) + 1, 2), *to = copy;
    if (!copy) return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c >= 0x80) *to++ = (char)(0xC0 | *c >> 6);
        *to++ = (char)(*c < 0x80 ? *c : 0x80 | (*c & 0x3F));
    }
    *to = 0;
    return copy;
}

static void put_utf8(parser *p, uint32_t code) {
    char *to = p->scratch + p->used;
    if (code < 0x80) {
        to[0] = (char)code;
        p->used += 1;
        return;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)(lead[n] | code);
    p->used += n;
}

/* Four hexadecimal digits; -1 if they are not. */
static int32_t take_hex4(parser *p) {
    int32_t code = 0;
    if (p->end - p->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = p->at[i] ? strchr(digits, p->at[i]) : NULL;
        if (!digit) return -1;
        code = code * 16 + (int32_t)((digit - digits) % 16);
    }
    p->at += 4;
    return code;
}

/* What follows "\u"; characters beyond 16 bits are two of them. */
static bool take_unicode(parser *p) {
    int32_t code = take_hex4(p);
    if (code >= 0xD800 && code < 0xDC00) {
        int32_t low = take_word(p, "\\u") ? take_hex4(p) : -1;
        if (low < 0xDC00 || low > 0xDFFF) return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code <= 0 || (code >= 0xDC00 && code < 0xE000)) {
        return false;
    }
    put_utf8(p, (uint32_t)code);
    return true;
}

static bool take_escape(parser *p) {
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end) return false;
    char c = *p->at++;
    if (c == 'u') return take_unicode(p);
    const char *name = c ? strchr(names, c) : NULL;
    if (!name) return false;
    p->scratch[p->used++] = codes[name - names];
    return true;
}

/* A string after its opening quote, decoded onto the scratch with a 0 after it; NULL on failure.
 * The caller takes it off the scratch again. */
static const char *take_string(parser *p) {
    size_t from = p->used;
    for (;;) {
        if (p->at == p->end) return fail_at(p, p->at, "a string has no end");
        if (*p->at == '"') break;
        if ((unsigned char)*p->at < 0x20)
            return fail_at(p, p->at, "a string holds a control character");
        if (*p->at == '\\') {
            const char *escape = p->at++;
            if (!take_escape(p)) return fail_at(p, escape, "a string holds an invalid escape");
            continue;
        }
        size_t n = utf8_length(p->at, p->end);
        if (n == 0) return fail_at(p, p->at, "a string is not UTF-8");
        memcpy(p->scratch + p->used, p->at, n);
        p->used += n;
        p->at += n;
    }
    p->at++;
    p->scratch[p->used++] = 0; /* in the place of the opening quote */
    return p->scratch + from;
}

/* Python's words for what is no finite number; NULL: none is here. */
static const char *take_not_finite(parser *p) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < VN_COUNT(words); i++)
        if (take_word(p, words[i])) return words[i];
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

static json_t *parse_value(parser *p);

static json_t *parse_number(parser *p) {
    const char *from = p->at;
    char text[MAX_NUMBER + 1];
    bool real = false, ok = true;
    if (*p->at == '-') p->at++;
    if (p->at < p->end && *p->at == '0')
        p->at++;
    else
        ok = take_digits(p);
    if (ok && p->at < p->end && *p->at == '.') {
        p->at++;
        ok = take_digits(p);
        real = true;
    }
    if (ok && p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        ok = take_digits(p);
        real = true;
    }
    if (!ok) return fail_here(p, "a digit");
    size_t n = (size_t)(p->at - from);
    if (n > MAX_NUMBER) return fail_at(p, from, "a number is too long");
    memcpy(text, from, n);
    text[n] = 0;
    double number;
    int64_t integer;
    if (!real && !vn_parse_int(text, &integer)) real = true;
    if (real && !vn_parse_double(text, &number)) return fail_at(p, from, "a number is too large");
    return made(p, real ? json_real(number) : json_integer(integer));
}

static json_t *parse_string(parser *p) {
    size_t before = p->used;
    const char *text = take_string(p);
    json_t *value = text ? made(p, json_string_nocheck(text)) : NULL;
    p->used = before;
    return value;
}

/* One "key": value into object; false on failure. */
static bool parse_member(parser *p, json_t *object) {
    if (!take(p, '"')) return fail_here(p, "a key in quotes");
    size_t before = p->used;
    const char *from = p->at, *key = take_string(p);
    if (!key) return false;
    if (json_object_get(object, key)) {
        char what[128];
        snprintf(what, sizeof what, "key '%.80s' is there twice", key);
        return fail_at(p, from, what);
    }
    if (!take(p, ':')) return fail_here(p, "':'");
    json_t *value = parse_value(p);
    if (!value) return false;
    bool ok = json_object_set_new_nocheck(object, key, value) == 0;
    if (!ok) made(p, NULL);
    p->used = before;
    return ok;
}

static bool parse_element(parser *p, json_t *array) {
    json_t *value = parse_value(p);
    if (!value) return false;
    bool ok = json_array_append_new(array, value) == 0;
    if (!ok) made(p, NULL);
    return ok;
}

/* The rest of an array or object, after its opening bracket. */
static json_t *parse_items(parser *p, json_t *container, bool (*item)(parser *, json_t *),
                           char close) {
    if (!made(p, container)) return NULL;
    bool ok = ++p->depth <= DEEPEST;
    if (!ok) fail_at(p, p->at, "nested too deeply");
    if (ok && !take(p, close)) {
        do ok = item(p, container);
        while (ok && take(p, ','));
        if (ok && !take(p, close)) ok = fail_here(p, close == '}' ? "',' or '}'" : "',' or ']'");
    }
    p->depth--;
    if (ok) return container;
    json_decref(container);
    return NULL;
}

static json_t *parse_value(parser *p) {
    skip_space(p);
    if (p->at == p->end) return fail_here(p, "a value");
    if (++p->values > MAX_VALUES) return fail_at(p, p->at, "more than two million values");
    if (take(p, '{')) return parse_items(p, json_object(), parse_member, '}');
    if (take(p, '[')) return parse_items(p, json_array(), parse_element, ']');
    if (take(p, '"')) return parse_string(p);
    const char *word = take_not_finite(p);
    if (word) return made(p, json_string(word));
    if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) return parse_number(p);
    if (take_word(p, "true")) return json_true();
    if (take_word(p, "false")) return json_false();
    if (take_word(p, "null")) return json_null();
    return fail_here(p, "a value");
}

vn_status vn_json_parse(const char *text, size_t size, const char *name, json_t **out,
                        vn_err *err) {
    *out = NULL;
    parser p = {.at = text, .begin = text, .end = text + size, .name = name, .err = err};
    p.scratch = vn_alloc(size, 1);
    if (!p.scratch) return vn_no_memory(err);
    json_t *value = parse_value(&p);
    skip_space(&p);
    if (value && p.at < p.end) {
        fail_here(&p, "the end");
        json_decref(value);
        value = NULL;
    }
    vn_free(p.scratch);
    *out = value;
    return p.status;
}
