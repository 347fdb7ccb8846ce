/* split.c - the pre-tokenizers of tokenizer.json: each makes words of a text. */
#include "text/internal.h"

#include <string.h>

/* ---- splitting by what is found -------------------------------------------------------------- */

/* A stretch between two matches, or a match. */
typedef struct stretch {
    size_t begin, end;
    bool match;
} stretch;

/* Words of a text that is seen one stretch after the other. */
typedef struct words {
    const char *text;
    size_t begin, end; /* of the word that has begun */
    bool open, first, match;
    vn_pieces *out;
} words;

static void end_word(words *w) {
    if (w->open)
        vn_pieces_add(w->out, w->text + w->begin, w->end - w->begin, w->first && w->begin == 0);
    w->open = false;
}

static void add_stretch(words *w, const stretch *s, int behaviour) {
    bool joins = false; /* the word before */
    if (s->begin == s->end || (behaviour == VN_SPLIT_REMOVED && s->match)) {
        if (s->match) end_word(w);
        return;
    }
    if (behaviour == VN_SPLIT_CONTIGUOUS) joins = w->match == s->match;
    if (behaviour == VN_SPLIT_PREVIOUS) joins = s->match && !w->match;
    if (behaviour == VN_SPLIT_NEXT) joins = w->match && !s->match;
    if (!joins || !w->open) {
        end_word(w);
        w->begin = s->begin;
    }
    w->end = s->end;
    w->open = true;
    w->match = s->match;
}

/* inverted: what lies between matches counts as found. */
static void split(const vn_text_step *step, bool inverted, const char *text, size_t size,
                  bool first, vn_pieces *out) {
    words w = {.text = text, .first = first, .out = out};
    vn_match match;
    size_t at = 0;
    while (vn_match_next(step, text, size, at, &match)) {
        add_stretch(&w, &(stretch){at, match.begin, inverted}, step->option);
        add_stretch(&w, &(stretch){match.begin, match.end, !inverted}, step->option);
        at = match.end;
    }
    add_stretch(&w, &(stretch){at, size, inverted}, step->option);
    end_word(&w);
}

/* ---- Split, WhitespaceSplit ------------------------------------------------------------------ */

enum { INVERT };

static vn_status open_split(const json_t *json, vn_text_step *step, vn_err *err) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *behaviour;
    vn_status status =
        vn_pattern_read(json_object_get(json, "pattern"), &step->pattern, &step->literal, err);
    if (!status) status = vn_text_get_bool(json, "invert", false, &step->flag[INVERT], err);
    if (!status) status = vn_text_get_text(json, "behavior", "", &behaviour, err);
    if (status) return status;
    for (step->option = 0; step->option < (int)VN_COUNT(names); step->option++)
        if (!strcmp(names[step->option], behaviour)) return VN_OK;
    return vn_text_unknown("behavior", behaviour, names, VN_COUNT(names), err);
}

static void run_split(const vn_text_step *step, const char *text, size_t size, bool first,
                      vn_pieces *out) {
    split(step, step->flag[INVERT], text, size, first, out);
}

static vn_status open_white(const json_t *json, vn_text_step *step, vn_err *err) {
    (void)json;
    (void)err;
    step->pattern = vn_pattern_find("\\s+");
    return VN_OK;
}

/* ---- Metaspace ------------------------------------------------------------------------------- */

enum { ALWAYS, FIRST, NEVER };
enum { SPLITS };

static vn_status open_metaspace(const json_t *json, vn_text_step *step, vn_err *err) {
    static const char *const schemes[] = {"always", "first", "never"};
    const char *scheme;
    bool prefix;
    vn_status status = vn_text_get_text(json, "replacement", "\xE2\x96\x81", &step->literal, err);
    if (!status) status = vn_text_get_text(json, "prepend_scheme", "always", &scheme, err);
    if (!status) status = vn_text_get_bool(json, "add_prefix_space", true, &prefix, err);
    if (!status) status = vn_text_get_bool(json, "split", true, &step->flag[SPLITS], err);
    if (status) return status;
    const char *end = step->literal;
    if (!*end || (vn_utf8_next(&end), *end))
        return vn_fail(err, VN_BAD_FILE, "replacement '%.40s' is not one character", step->literal);
    step->content = step->literal;
    for (step->option = 0; step->option < (int)VN_COUNT(schemes); step->option++)
        if (!strcmp(schemes[step->option], scheme)) break;
    if (step->option == (int)VN_COUNT(schemes))
        return vn_text_unknown("prepend_scheme", scheme, schemes, VN_COUNT(schemes), err);
    if (!prefix) step->option = NEVER;
    return VN_OK;
}

static void run_metaspace(const vn_text_step *step, const char *text, size_t size, bool first,
                          vn_pieces *out) {
    const char *mark = step->content;
    const size_t n = strlen(mark);
    const bool has_mark = text[0] == ' ' || (size >= n && !memcmp(text, mark, n));
    vn_string marked = {0};
    if (!has_mark && (step->option == ALWAYS || (step->option == FIRST && first)))
        vn_string_add(&marked, mark, n);
    for (size_t i = 0; i < size; i++)
        vn_string_add(&marked, text[i] == ' ' ? mark : text + i, text[i] == ' ' ? n : 1);
    vn_text_step by = *step;
    by.option = VN_SPLIT_NEXT;
    if (marked.failed)
        out->text.failed = true;
    else if (step->flag[SPLITS])
        split(&by, false, marked.at, marked.size, first, out);
    else
        vn_pieces_add(out, marked.at, marked.size, first);
    vn_string_free(&marked);
}

/* ---- ByteLevel ------------------------------------------------------------------------------- */

enum { PREFIX, REGEX };

static vn_status open_byte_level(const json_t *json, vn_text_step *step, vn_err *err) {
    vn_status status = vn_text_get_bool(json, "add_prefix_space", true, &step->flag[PREFIX], err);
    if (!status) status = vn_text_get_bool(json, "use_regex", true, &step->flag[REGEX], err);
    step->pattern = &vn_byte_level_pattern;
    step->option = VN_SPLIT_ISOLATED;
    return status;
}

/* Its own in Latin-1 where that can be seen, else one of those from 256 on. */
uint32_t vn_byte_letter(unsigned char byte) {
    static const unsigned char unseen[][2] = {{0, 32}, {127, 160}, {173, 173}};
    uint32_t before = 0;
    for (size_t i = 0; i < VN_COUNT(unseen) && byte >= unseen[i][0]; i++) {
        if (byte <= unseen[i][1]) return 256 + before + byte - unseen[i][0];
        before += unseen[i][1] - unseen[i][0] + 1U;
    }
    return byte;
}

static void run_byte_level(const vn_text_step *step, const char *text, size_t size, bool first,
                           vn_pieces *out) {
    vn_pieces found = {0};
    vn_string spaced = {0}, word = {0};
    if (step->flag[PREFIX] && text[0] != ' ') vn_string_add(&spaced, " ", 1);
    vn_string_add(&spaced, text, size);
    if (!spaced.failed && step->flag[REGEX])
        split(step, false, spaced.at, spaced.size, first, &found);
    else if (!spaced.failed)
        vn_pieces_add(&found, spaced.at, spaced.size, first);
    out->text.failed |= spaced.failed || found.text.failed;
    for (size_t i = 0; i < found.count && !out->text.failed; i++) {
        const vn_piece *piece = &found.piece[i];
        word.size = 0;
        for (size_t k = 0; k < piece->size; k++)
            vn_string_add_code(&word,
                               vn_byte_letter((unsigned char)found.text.at[piece->begin + k]));
        out->text.failed |= word.failed;
        if (!word.failed) vn_pieces_add(out, word.at, word.size, piece->first);
    }
    vn_pieces_free(&found);
    vn_string_free(&spaced);
    vn_string_free(&word);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const char *const no_keys[] = {NULL};
static const char *const split_keys[] = {"pattern", "behavior", "invert", NULL};
static const char *const metaspace_keys[] = {"replacement", "prepend_scheme", "add_prefix_space",
                                             "str_rep",     "split",          NULL};
/* trim_offsets says where tokens were in the text, which nothing here asks */
static const char *const byte_level_keys[] = {"add_prefix_space", "trim_offsets", "use_regex",
                                              NULL};

static const vn_text_step_row rows[] = {
    {"Split", split_keys, 0, open_split, run_split},
    {"WhitespaceSplit", no_keys, VN_SPLIT_REMOVED, open_white, run_split},
    {"Metaspace", metaspace_keys, 0, open_metaspace, run_metaspace},
    {"ByteLevel", byte_level_keys, 0, open_byte_level, run_byte_level},
};

const vn_text_step_kind vn_pre_tokenizers = {"pre_tokenizer", "pretokenizers", rows,
                                             VN_COUNT(rows)};
