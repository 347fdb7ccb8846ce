/* letters.c - what characters are (Unicode's categories, by utf8proc), and the regular expressions
 * of tokenizers, each as a function. They are a table of those that text encoders' tokenizers have:
 * an engine for any expression would be one more door through which an untrusted file could ask for
 * time without end. */
#include "text/internal.h"

#include <string.h>

#include <utf8proc.h>

/* ---- characters ------------------------------------------------------------------------------ */

bool vn_is_white(uint32_t code) {
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static bool within(uint32_t code, utf8proc_category_t first, utf8proc_category_t last) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= first && category <= last;
}

bool vn_is_letter(uint32_t code) {
    return within(code, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO);
}

bool vn_is_digit(uint32_t code) {
    return within(code, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool vn_is_mark(uint32_t code) {
    return within(code, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

/* Letters, marks, decimal digits, connectors, joiners; and the letters that are numbers or symbols:
 * Roman numerals and letters in circles. */
bool vn_is_word(uint32_t code) {
    return vn_is_letter(code) || vn_is_mark(code) ||
           within(code, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL) ||
           within(code, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PC) || code == 0x200C ||
           code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
           (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
           (code >= 0x1F170 && code <= 0x1F189);
}

/* ---- what expressions are made of ------------------------------------------------------------ */

static bool is_other(uint32_t code) { /* [^\s\p{L}\p{N}] */
    return !vn_is_white(code) && !vn_is_letter(code) && !vn_is_digit(code);
}

/* Bytes of the characters of a class from text[at] on, at most `most` characters. */
static size_t run_of(bool (*class)(uint32_t), const char *text, size_t size, size_t at,
                     size_t most) {
    const char *p = text + at, *end = p;
    while (p < text + size && most-- > 0 && class(vn_utf8_next(&p))) end = p;
    return (size_t)(end - (text + at));
}

#define ANY SIZE_MAX

static size_t literal(const char *word, const char *text, size_t size, size_t at) {
    const size_t n = strlen(word);
    return size - at >= n && !memcmp(text + at, word, n) ? n : 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d */
static size_t contraction(const char *text, size_t size, size_t at) {
    static const char *const words[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t n = 0;
    for (size_t i = 0; i < VN_COUNT(words) && !n; i++) n = literal(words[i], text, size, at);
    return n;
}

/* ---- expressions ----------------------------------------------------------------------------- */

static size_t white(const char *text, size_t size, size_t at) {
    return run_of(vn_is_white, text, size, at, ANY);
}

static size_t blanks(const char *text, size_t size, size_t at) {
    size_t n = 0;
    while (at + n < size && text[at + n] == ' ') n++;
    return n >= 2 ? n : 0;
}

static size_t clip(const char *text, size_t size, size_t at) {
    size_t n = contraction(text, size, at);
    if (!n) n = run_of(vn_is_letter, text, size, at, ANY);
    if (!n) n = run_of(vn_is_digit, text, size, at, 1);
    return n ? n : run_of(is_other, text, size, at, ANY);
}

static size_t clip_special(const char *text, size_t size, size_t at) {
    size_t n = literal("<|startoftext|>", text, size, at);
    if (!n) n = literal("<|endoftext|>", text, size, at);
    return n ? n : clip(text, size, at);
}

/* \s+(?!\S)|\s+: all of it at the end of the text, else all but the last character; that one alone
 * is a match too. */
static size_t white_before_more(const char *text, size_t size, size_t at) {
    const char *p = text + at, *last = p;
    const size_t all = white(text, size, at);
    if (at + all == size) return all;
    while (p < text + at + all) {
        last = p;
        vn_utf8_next(&p);
    }
    return last > text + at ? (size_t)(last - (text + at)) : all;
}

static size_t byte_level(const char *text, size_t size, size_t at) {
    static bool (*const classes[])(uint32_t) = {vn_is_letter, vn_is_digit, is_other};
    const size_t n = contraction(text, size, at), blank = text[at] == ' ';
    if (n) return n;
    for (size_t i = 0; i < VN_COUNT(classes); i++) {
        const size_t word = run_of(classes[i], text, size, at + blank, ANY);
        if (word) return blank + word;
    }
    return white_before_more(text, size, at);
}

const vn_pattern vn_byte_level_pattern = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    byte_level};

static const vn_pattern patterns[] = {
    {"\\s+", white},
    {" {2,}", blanks},
    {"'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+", clip},
    {"<\\|startoftext\\|>|<\\|endoftext\\|>|"
     "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
     clip_special},
};

const vn_pattern *vn_pattern_find(const char *regex) {
    if (!strcmp(regex, vn_byte_level_pattern.regex)) return &vn_byte_level_pattern;
    for (size_t i = 0; i < VN_COUNT(patterns); i++)
        if (!strcmp(regex, patterns[i].regex)) return &patterns[i];
    return NULL;
}

bool vn_pattern_next(const vn_pattern *p, const char *text, size_t size, size_t from,
                     vn_match *out) {
    for (const char *at = text + from; at < text + size; vn_utf8_next(&at)) {
        const size_t begin = (size_t)(at - text), n = p->match(text, size, begin);
        *out = (vn_match){begin, begin + n};
        if (n) return true;
    }
    return false;
}

vn_status vn_pattern_read(const json_t *json, const vn_pattern **pattern, const char **literal,
                          vn_err *err) {
    const char *regex = json_string_value(json_object_get(json, "Regex"));
    *literal = json_string_value(json_object_get(json, "String"));
    *pattern = regex ? vn_pattern_find(regex) : NULL;
    if (*pattern || (*literal && **literal)) return VN_OK;
    if (regex)
        return vn_fail(err, VN_UNSUPPORTED, "vane does not know the regular expression %.120s",
                       regex);
    return vn_fail(err, VN_BAD_FILE, "a pattern is neither {\"Regex\": ...} nor {\"String\": ...}");
}
