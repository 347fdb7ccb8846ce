/* save_names.c - what the pictures of a folder are called: 000003-g2-boot.png is sample 3 of the
 * band with guidance 2, of class "boot". Class names keep their letters: only what cannot stand in
 * a name, and what is an order to a terminal, is replaced. Two classes never share a word, and no
 * word is so long that a file system would refuse the name. */
#include "api/save.h"

#include <stdlib.h>
#include <string.h>

/* at most, before what keeps two apart; names may have 255 with all else */
enum { WORD_BYTES = 64, GUIDE_BYTES = 40 };

/* White space and what parts a path into names. */
static bool is_separator(uint32_t code) {
    return code == ' ' || code == '/' || code == '\\' || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* The text as part of a file name, cut between two characters; new string or NULL. */
static char *file_word(const char *text, size_t most) {
    char *word = vn_alloc(most + 1, 1);
    size_t used = 0;
    for (const char *begin; word && *(begin = text);) {
        const uint32_t code = vn_utf8_next(&text);
        const bool kept = !vn_is_control(code) && !is_separator(code);
        const size_t bytes = kept ? (size_t)(text - begin) : 1;
        if (used + bytes > most) break;
        memcpy(word + used, kept ? begin : "-", bytes);
        used += bytes;
    }
    if (word) word[used] = 0;
    return word;
}

/* ---- classes --------------------------------------------------------------------------------- */

static int compare_words(const void *a, const void *b) {
    return strcmp(**(char **const *)a, **(char **const *)b);
}

/* Puts the class's number behind all words that occur more than once; *again: some did. */
static bool part_equal(char **word, size_t count, char ***sorted, bool *again) {
    *again = false;
    for (size_t i = 0; i < count; i++) sorted[i] = &word[i];
    qsort(sorted, count, sizeof *sorted, compare_words);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && strcmp(*sorted[i], *sorted[end]) == 0;) end++;
        for (size_t k = i; end - i > 1 && k < end; k++) {
            const size_t label = (size_t)(sorted[k] - word);
            if (label == count - 1) continue; /* "null" stays what it is */
            char *longer = vn_format("%s-%zu", *sorted[k], label);
            if (!longer) return false;
            vn_free(*sorted[k]);
            *sorted[k] = longer;
            *again = true;
        }
    }
    return true;
}

static bool make_words(vn_file_names *n, const vn_samples *s) {
    n->words = (size_t)s->classes + 1;
    n->word = vn_calloc(n->words, sizeof *n->word);
    char ***sorted = vn_alloc(n->words, sizeof *sorted);
    bool ok = n->word && sorted, again = true;
    for (size_t i = 0; ok && i < n->words; i++)
        ok = (n->word[i] = file_word(i + 1 < n->words ? s->names[i] : "null", WORD_BYTES)) != NULL;
    while (ok && again) ok = part_equal(n->word, n->words, sorted, &again);
    vn_free(sorted);
    return ok;
}

/* ---- bands ----------------------------------------------------------------------------------- */

/* Whether some sample of one band would have the same name as one of the other, both under the same
 * tag. */
static bool overlap(const vn_samples_band *a, const vn_samples_band *b) {
    return a->index < b->index + (uint64_t)b->count && b->index < a->index + (uint64_t)a->count;
}

static char *make_tag(const vn_samples_band *band, vn_differences differ) {
    char *guide = file_word(vn_band_setting(band, "guide"), GUIDE_BYTES);
    char *tag = guide ? vn_format("%s%s%s%s%s", differ.guidance ? "g" : "",
                                  differ.guidance ? vn_band_setting(band, "guidance") : "",
                                  differ.guidance ? "-" : "", differ.guide ? guide : "",
                                  differ.guide ? "-" : "")
                      : NULL;
    vn_free(guide);
    return tag;
}

/* What tells the files of one band from another's: "g2-", "g2-cfg,interval-", or with the band's
 * number "b2-"; "" where nothing need be told. */
static bool make_tags(vn_file_names *n, const vn_samples *s) {
    const vn_differences differ = vn_bands_differ(s);
    bool numbers = false;
    n->tags = s->band_count;
    n->tag = vn_calloc(n->tags, sizeof *n->tag);
    for (size_t i = 0; i < n->tags; i++) {
        if (!n->tag || !(n->tag[i] = make_tag(&s->bands[i], differ))) return false;
        for (size_t k = 0; k < i; k++)
            numbers = numbers ||
                      (strcmp(n->tag[i], n->tag[k]) == 0 && overlap(&s->bands[i], &s->bands[k]));
    }
    for (size_t i = 0; i < n->tags && numbers; i++) {
        char *longer = vn_format("%sb%zu-", n->tag[i], i + 1);
        if (!longer) return false;
        vn_free(n->tag[i]);
        n->tag[i] = longer;
    }
    return true;
}

/* ---- names ----------------------------------------------------------------------------------- */

vn_status vn_file_names_open(vn_file_names *n, const vn_samples *s, vn_err *err) {
    *n = (vn_file_names){0};
    return make_words(n, s) && make_tags(n, s) ? VN_OK : vn_no_memory(err);
}

void vn_file_names_close(vn_file_names *n) {
    for (size_t i = 0; n->tag && i < n->tags; i++) vn_free(n->tag[i]);
    for (size_t i = 0; n->word && i < n->words; i++) vn_free(n->word[i]);
    vn_free(n->tag);
    vn_free(n->word);
    *n = (vn_file_names){0};
}

char *vn_file_name_of(const vn_file_names *n, uint64_t index, size_t band, int32_t label) {
    return vn_format("%06llu-%s%s.png", (unsigned long long)index, n->tag[band],
                     n->word[label < 0 ? n->words - 1 : (size_t)label]);
}

bool vn_file_name_index(const char *name, uint64_t *index) {
    char *end;
    const size_t digits = strspn(name, "0123456789");
    if (digits < 6 || digits > 19 || name[digits] != '-' || !vn_ends_with(name, ".png"))
        return false;
    *index = strtoull(name, &end, 10);
    return true;
}
