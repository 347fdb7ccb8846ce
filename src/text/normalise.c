/* normalise.c - the normalizers of tokenizer.json: each makes one text of another. */
#include "text/internal.h"

#include <string.h>

#include <utf8proc.h>

/* What one step makes of letters, as one piece. */
static void add_piece(vn_string *made, bool first, vn_pieces *out) {
    if (made->failed)
        out->text.failed = true;
    else
        vn_pieces_add(out, made->at, made->size, first);
    vn_string_free(made);
}

/* ---- Unicode's normal forms ------------------------------------------------------------------ */

/* NFC, NFD, NFKC, NFKD: decomposed into characters, put in order, composed. */
static void run_form(const vn_text_step *step, const char *text, size_t size, bool first,
                     vn_pieces *out) {
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text;
    const utf8proc_option_t option = (utf8proc_option_t)step->option;
    utf8proc_ssize_t n = utf8proc_decompose(from, (utf8proc_ssize_t)size, NULL, 0, option);
    utf8proc_int32_t *codes = n < 0 ? NULL : vn_alloc((size_t)n + 1, sizeof *codes);
    vn_string made = {.failed = !codes};
    if (codes) n = utf8proc_decompose(from, (utf8proc_ssize_t)size, codes, n, option);
    if (codes && n >= 0) n = utf8proc_normalize_utf32(codes, n, option);
    for (utf8proc_ssize_t i = 0; codes && i < n; i++) vn_string_add_code(&made, (uint32_t)codes[i]);
    vn_free(codes);
    add_piece(&made, first, out);
}

/* ---- character by character ------------------------------------------------------------------ */

/* Every character by itself, so a sigma at the end of a word is one like others. Of all characters
 * only the dotted capital I has two for its small letter. */
static void run_lowercase(const vn_text_step *step, const char *text, size_t size, bool first,
                          vn_pieces *out) {
    (void)step;
    vn_string made = {0};
    for (const char *at = text; at < text + size;) {
        const uint32_t code = vn_utf8_next(&at);
        if (code == 0x130)
            vn_string_add(&made, "i\xCC\x87", 3);
        else
            vn_string_add_code(&made, (uint32_t)utf8proc_tolower((utf8proc_int32_t)code));
    }
    add_piece(&made, first, out);
}

static void run_strip_accents(const vn_text_step *step, const char *text, size_t size, bool first,
                              vn_pieces *out) {
    (void)step;
    vn_string made = {0};
    for (const char *at = text, *begin = at; at < text + size; begin = at)
        if (!vn_is_mark(vn_utf8_next(&at))) vn_string_add(&made, begin, (size_t)(at - begin));
    add_piece(&made, first, out);
}

/* ---- Strip ----------------------------------------------------------------------------------- */

enum { LEFT, RIGHT };

static vn_status open_strip(const json_t *json, vn_text_step *step, vn_err *err) {
    vn_status status = vn_text_get_bool(json, "strip_left", true, &step->flag[LEFT], err);
    if (!status) status = vn_text_get_bool(json, "strip_right", true, &step->flag[RIGHT], err);
    return status;
}

static void run_strip(const vn_text_step *step, const char *text, size_t size, bool first,
                      vn_pieces *out) {
    const char *begin = text, *end = text, *at = text;
    bool any = false; /* that is no white space */
    while (at < text + size) {
        const char *from = at;
        if (vn_is_white(vn_utf8_next(&at))) continue;
        if (!any) begin = from;
        any = true;
        end = at;
    }
    if (!step->flag[LEFT]) begin = text;
    if (!step->flag[RIGHT]) end = text + size;
    if (!any && (step->flag[LEFT] || step->flag[RIGHT])) end = begin;
    vn_pieces_add(out, begin, (size_t)(end - begin), first);
}

/* ---- Replace, Prepend ------------------------------------------------------------------------ */

static vn_status open_replace(const json_t *json, vn_text_step *step, vn_err *err) {
    const vn_status status = vn_text_get_text(json, "content", "", &step->content, err);
    return status ? status
                  : vn_pattern_read(json_object_get(json, "pattern"), &step->pattern,
                                    &step->literal, err);
}

static void run_replace(const vn_text_step *step, const char *text, size_t size, bool first,
                        vn_pieces *out) {
    vn_string made = {0};
    vn_match match;
    size_t at = 0;
    while (vn_match_next(step, text, size, at, &match)) {
        vn_string_add(&made, text + at, match.begin - at);
        vn_string_add(&made, step->content, strlen(step->content));
        at = match.end;
    }
    vn_string_add(&made, text + at, size - at);
    add_piece(&made, first, out);
}

static vn_status open_prepend(const json_t *json, vn_text_step *step, vn_err *err) {
    return vn_text_get_text(json, "prepend", "", &step->content, err);
}

static void run_prepend(const vn_text_step *step, const char *text, size_t size, bool first,
                        vn_pieces *out) {
    vn_string made = {0};
    vn_string_add(&made, step->content, strlen(step->content));
    vn_string_add(&made, text, size);
    add_piece(&made, first, out);
}

/* ---- Precompiled ----------------------------------------------------------------------------- */

static vn_status open_precompiled(const json_t *json, vn_text_step *step, vn_err *err) {
    const char *map;
    const vn_status status = vn_text_get_text(json, "precompiled_charsmap", "", &map, err);
    return status || !*map ? status : vn_charsmap_open(map, &step->map, err);
}

static void run_precompiled(const vn_text_step *step, const char *text, size_t size, bool first,
                            vn_pieces *out) {
    vn_string made = {0};
    if (step->map)
        vn_charsmap_run(step->map, text, size, &made);
    else
        vn_string_add(&made, text, size);
    add_piece(&made, first, out);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define CANONICAL     UTF8PROC_STABLE
#define COMPATIBILITY (UTF8PROC_STABLE | UTF8PROC_COMPAT)

static const char *const no_keys[] = {NULL};
static const char *const strip_keys[] = {"strip_left", "strip_right", NULL};
static const char *const replace_keys[] = {"pattern", "content", NULL};
static const char *const prepend_keys[] = {"prepend", NULL};
static const char *const precompiled_keys[] = {"precompiled_charsmap", NULL};

/* clang-format off */
static const vn_text_step_row rows[] = {
    {"NFC",          no_keys,          CANONICAL | UTF8PROC_COMPOSE,       NULL, run_form},
    {"NFD",          no_keys,          CANONICAL | UTF8PROC_DECOMPOSE,     NULL, run_form},
    {"NFKC",         no_keys,          COMPATIBILITY | UTF8PROC_COMPOSE,   NULL, run_form},
    {"NFKD",         no_keys,          COMPATIBILITY | UTF8PROC_DECOMPOSE, NULL, run_form},
    {"Lowercase",    no_keys,          0, NULL,             run_lowercase},
    {"StripAccents", no_keys,          0, NULL,             run_strip_accents},
    {"Strip",        strip_keys,       0, open_strip,       run_strip},
    {"Replace",      replace_keys,     0, open_replace,     run_replace},
    {"Prepend",      prepend_keys,     0, open_prepend,     run_prepend},
    {"Precompiled",  precompiled_keys, 0, open_precompiled, run_precompiled},
};
/* clang-format on */

const vn_text_step_kind vn_normalizers = {"normalizer", "normalizers", rows, VN_COUNT(rows)};
