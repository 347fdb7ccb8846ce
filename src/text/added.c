/* added.c - tokens that a text holds by name: special ones such as <|endoftext|>, and others that
 * were added to a model. They are cut out of a text, the longest first, before anything else is
 * done to it; those that are `normalized` out of what the normalizers made of it. */
#include "text/internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TOKEN_BYTES 256 /* bytes of a token */

/* ---- the list -------------------------------------------------------------------------------- */

static vn_added *find(const vn_text *t, const char *content) {
    for (size_t i = 0; i < t->added.count; i++)
        if (!strcmp(t->added.token[i].content, content)) return &t->added.token[i];
    return NULL;
}

int32_t vn_added_find(const vn_text *t, const char *content) {
    const vn_added *a = find(t, content);
    return a ? a->id : -1;
}

static vn_status new_entry(vn_text *t, vn_added **out, vn_err *err) {
    vn_added_list *l = &t->added;
    if (l->count == VN_TEXT_MAX_ADDED)
        return vn_fail(err, VN_UNSUPPORTED, "more than %d added tokens", VN_TEXT_MAX_ADDED);
    if ((l->count & (l->count + 1)) == 0) { /* room for 1, 3, 7, ... */
        vn_added *larger = vn_realloc(l->token, 2 * l->count + 1, sizeof *larger);
        if (!larger) return vn_no_memory(err);
        l->token = larger;
    }
    *out = &l->token[l->count++];
    **out = (vn_added){0};
    return VN_OK;
}

vn_status vn_added_add(vn_text *t, const json_t *json, const char *content, int64_t id,
                       vn_err *err) {
    bool special = true, normalised = false;
    vn_added flags = {0};
    vn_status status = vn_text_get_bool(json, "single_word", false, &flags.word, err);
    if (!status) status = vn_text_get_bool(json, "lstrip", false, &flags.left, err);
    if (!status) status = vn_text_get_bool(json, "rstrip", false, &flags.right, err);
    if (!status) status = vn_text_get_bool(json, "special", true, &special, err);
    if (!status) status = vn_text_get_bool(json, "normalized", !special, &normalised, err);
    if (status || !*content) return status;
    if (strlen(content) > MAX_TOKEN_BYTES)
        return vn_fail(err, VN_UNSUPPORTED, "the added token '%.40s' has more than %d bytes",
                       content, MAX_TOKEN_BYTES);
    const int32_t found = vn_text_find(t, content), own = found < 0 ? vn_text_new_id(t) : found;
    if (id >= 0 && id != own)
        return vn_fail(err, VN_BAD_FILE, "the added token '%.40s' has id %lld, expected %d",
                       content, (long long)id, (int)own);
    if (own >= VN_TEXT_MAX_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "more than %d tokens", VN_TEXT_MAX_TOKENS);
    vn_added *a = find(t, content);
    if (!a) status = new_entry(t, &a, err);
    if (status) return status;
    vn_free(a->normalised);
    *a = flags;
    a->content = content;
    a->id = own;
    a->normalised = normalised ? vn_strdup(content) : NULL;
    return normalised && !a->normalised ? vn_no_memory(err) : VN_OK;
}

void vn_added_free(vn_added_list *l) {
    for (size_t i = 0; i < l->count; i++) vn_free(l->token[i].normalised);
    for (int k = 0; k < 2; k++) {
        vn_free(l->index[k].sorted);
        vn_free(l->index[k].length);
    }
    vn_free(l->token);
    *l = (vn_added_list){0};
}

/* ---- the index ------------------------------------------------------------------------------- */

/* What is looked for. */
static const char *letters_of(const vn_added *a) {
    return a->normalised ? a->normalised : a->content;
}

/* What the normalizers make of the token's letters takes their place. */
static vn_status normalise(vn_text *t, vn_added *a, vn_err *err) {
    vn_pieces *p = &t->pieces[0];
    vn_pieces_clear(p);
    vn_pieces_add(p, a->content, strlen(a->content), true);
    vn_text_steps_run(&t->normalize, p, &t->pieces[1]);
    const bool empty = p->count == 0;
    char *made = p->text.failed ? NULL
                 : empty        ? vn_strdup("")
                                : vn_format("%.*s", (int)p->piece[0].size, p->text.at);
    if (!made) return vn_no_memory(err);
    vn_free(a->normalised);
    a->normalised = made;
    return VN_OK;
}

/* Sorting has no room for a context, so the tokens' letters and indices are sorted together. */
typedef struct word {
    const char *text;
    size_t index;
} word;

static int compare_words(const void *a, const void *b) {
    const word *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int longest_first(const void *a, const void *b) {
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

static void fill(const vn_added_list *l, bool normalised, word *words,
                 struct vn_added_index *index) {
    for (size_t i = 0; i < l->count; i++) {
        const vn_added *a = &l->token[i];
        if ((a->normalised != NULL) != normalised || !*letters_of(a)) continue;
        index->length[index->count] = strlen(letters_of(a));
        words[index->count++] = (word){letters_of(a), i};
    }
    if (index->count == 0) return;
    qsort(words, index->count, sizeof *words, compare_words);
    qsort(index->length, index->count, sizeof *index->length, longest_first);
    for (size_t i = 0; i < index->count; i++) {
        index->sorted[i] = words[i].index;
        if (i == 0 || index->length[i] != index->length[index->lengths - 1])
            index->length[index->lengths++] = index->length[i];
    }
}

vn_status vn_added_index(vn_text *t, vn_err *err) {
    vn_added_list *l = &t->added;
    vn_status status = VN_OK;
    for (size_t i = 0; i < l->count && !status; i++)
        if (l->token[i].normalised) status = normalise(t, &l->token[i], err);
    word *words = vn_alloc(l->count, sizeof *words);
    bool ok = words != NULL;
    for (int k = 0; k < 2; k++) {
        struct vn_added_index *index = &l->index[k];
        index->sorted = vn_alloc(l->count, sizeof *index->sorted);
        index->length = vn_alloc(l->count, sizeof *index->length);
        ok = ok && index->sorted && index->length;
        if (ok && !status) fill(l, k, words, index);
    }
    vn_free(words);
    return status ? status : ok ? VN_OK : vn_no_memory(err);
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* The token of exactly these letters; NULL: there is none. */
static const vn_added *find_letters(const vn_added_list *l, const struct vn_added_index *index,
                                    const char *text, size_t size) {
    size_t low = 0, high = index->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const vn_added *a = &l->token[index->sorted[middle]];
        const int order = strncmp(letters_of(a), text, size);
        if (order == 0 && !letters_of(a)[size]) return a;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The first token from text[from] on, the longest of those that begin there. */
static const vn_added *next_token(const vn_added_list *l, const struct vn_added_index *index,
                                  const char *text, size_t size, size_t from, vn_match *match) {
    for (size_t at = from; at < size; at++)
        for (size_t k = 0; k < index->lengths; k++) {
            const size_t n = index->length[k];
            const vn_added *a = n <= size - at ? find_letters(l, index, text + at, n) : NULL;
            *match = (vn_match){at, at + n};
            if (a) return a;
        }
    return NULL;
}

/* The last character before text + at. */
static uint32_t code_before(const char *text, size_t at) {
    const char *p = text + at;
    do p--;
    while (((unsigned char)*p & 0xC0) == 0x80);
    return vn_utf8_next(&p);
}

static uint32_t code_at(const char *text, size_t at) {
    const char *p = text + at;
    return vn_utf8_next(&p);
}

/* Whether neither side of the match is a letter of the same word. */
static bool stands_alone(const char *text, size_t size, const vn_match *m) {
    return (m->begin == 0 || !vn_is_word(code_before(text, m->begin))) &&
           (m->end == size || !vn_is_word(code_at(text, m->end)));
}

/* The white space beside the match that the token takes with it, but none before `from`. */
static void widen(const vn_added *a, const char *text, size_t size, size_t from, vn_match *m) {
    while (a->left && m->begin > from && vn_is_white(code_before(text, m->begin))) {
        do m->begin--;
        while (((unsigned char)text[m->begin] & 0xC0) == 0x80);
    }
    while (a->right && m->end < size && vn_is_white(code_at(text, m->end))) {
        const char *p = text + m->end;
        vn_utf8_next(&p);
        m->end = (size_t)(p - text);
    }
}

static void cut(const vn_text *t, bool normalised, const char *text, size_t size, bool first,
                vn_pieces *out) {
    const struct vn_added_index *index = &t->added.index[normalised];
    size_t done = 0, at = 0; /* what is handed on, and what is looked at */
    const vn_added *a;
    vn_match m;
    while (index->count > 0 && (a = next_token(&t->added, index, text, size, at, &m))) {
        at = m.end;
        if (m.begin < done || (a->word && !stands_alone(text, size, &m))) continue;
        widen(a, text, size, done, &m);
        vn_pieces_add(out, text + done, m.begin - done, first && done == 0);
        vn_pieces_add_token(out, a->id);
        done = m.end;
    }
    vn_pieces_add(out, text + done, size - done, first && done == 0);
}

void vn_added_cut(const vn_text *t, bool normalised, const vn_pieces *p, vn_pieces *out) {
    vn_pieces_clear(out);
    for (size_t i = 0; i < p->count && !out->text.failed; i++) {
        const vn_piece *piece = &p->piece[i];
        if (piece->id >= 0)
            vn_pieces_add_token(out, piece->id);
        else
            cut(t, normalised, p->text.at + piece->begin, piece->size, piece->first, out);
    }
}
