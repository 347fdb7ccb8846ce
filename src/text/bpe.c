/* bpe.c - byte-pair encoding (1508.07909), as CLIP's and GPT-2's tokenizers have it: a word begins
 * as its characters, and of all neighbours that may be merged those of the least rank are, the
 * first of them first, until there are none. */
#include "text/internal.h"

#include <stdlib.h>
#include <string.h>

/* Two neighbours, as one number; and what becomes of them. */
typedef struct merge {
    uint64_t pair;
    int32_t rank, id;
} merge;

#define MAX_AFFIX 32

typedef struct bpe {
    merge *merges; /* [count] by pair */
    size_t count;
    const char *prefix, *suffix; /* of what goes on a word, and of what ends one */
    int32_t unknown;             /* -1: what is not known is left out */
    bool fuse, bytes, whole;     /* fuse_unk, byte_fallback, ignore_merges */
} bpe;

/* ---- reading --------------------------------------------------------------------------------- */

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static int compare(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->pair != y->pair) return x->pair < y->pair ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* The last rule of a pair stands; NULL: there is none. */
static const merge *find(const bpe *b, int32_t left, int32_t right) {
    const uint64_t pair = pair_of(left, right);
    size_t low = 0, high = b->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (b->merges[middle].pair <= pair)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && b->merges[low - 1].pair == pair ? &b->merges[low - 1] : NULL;
}

/* "a b" or ["a", "b"] */
static bool take_pair(const json_t *json, const char *text[2], size_t size[2]) {
    const char *line = json_string_value(json), *blank = line ? strchr(line, ' ') : NULL;
    if (line) {
        if (!blank || strchr(blank + 1, ' ')) return false;
        text[0] = line;
        text[1] = blank + 1;
        size[0] = (size_t)(blank - line);
        size[1] = strlen(blank + 1);
        return true;
    }
    if (json_array_size(json) != 2) return false;
    for (size_t i = 0; i < 2; i++) {
        text[i] = json_string_value(json_array_get(json, i));
        if (!text[i]) return false;
        size[i] = strlen(text[i]);
    }
    return true;
}

static vn_status take_merge(const vn_text *t, const json_t *json, int32_t rank, char *joined,
                            merge *out, vn_err *err) {
    const bpe *b = t->self;
    const char *text[2];
    size_t size[2];
    const size_t prefix = strlen(b->prefix);
    if (!take_pair(json, text, size))
        return vn_fail(err, VN_BAD_FILE, "merge %d is not a pair of tokens", (int)rank);
    const size_t skip = size[1] >= prefix ? prefix : 0;
    const size_t whole = size[0] + size[1] - skip, longest = t->vocabulary.longest;
    int32_t id[3] = {-1, -1, -1};
    for (int i = 0; i < 2; i++) id[i] = vn_vocabulary_find(&t->vocabulary, text[i], size[i]);
    if (id[0] >= 0 && id[1] >= 0 && whole <= longest) {
        memcpy(joined, text[0], size[0]);
        memcpy(joined + size[0], text[1] + skip, size[1] - skip);
        id[2] = vn_vocabulary_find(&t->vocabulary, joined, whole);
    }
    if (id[2] < 0)
        return vn_fail(err, VN_BAD_FILE,
                       "merge %d, of '%.*s' and '%.*s': these, or what they make, are no tokens",
                       (int)rank, size[0] < 40 ? (int)size[0] : 40, text[0],
                       size[1] < 40 ? (int)size[1] : 40, text[1]);
    *out = (merge){pair_of(id[0], id[1]), rank, id[2]};
    return VN_OK;
}

static vn_status read_merges(vn_text *t, const json_t *list, vn_err *err) {
    bpe *b = t->self;
    const size_t count = json_array_size(list);
    if (!json_is_array(list) || count > VN_TEXT_MAX_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "merges is not a list of at most %d pairs",
                       VN_TEXT_MAX_TOKENS);
    b->merges = vn_alloc(count, sizeof *b->merges);
    char *joined = vn_alloc(t->vocabulary.longest, 1);
    vn_status status = b->merges && joined ? VN_OK : vn_no_memory(err);
    for (size_t i = 0; i < count && !status; i++)
        status = take_merge(t, json_array_get(list, i), (int32_t)i, joined, &b->merges[i], err);
    vn_free(joined);
    if (status) return status;
    b->count = count;
    if (count > 0) qsort(b->merges, count, sizeof *b->merges, compare);
    return VN_OK;
}

static vn_status read_vocabulary(vn_text *t, const json_t *vocab, vn_err *err) {
    const char *text;
    json_t *id;
    size_t i = 0;
    if (!json_is_object(vocab))
        return vn_fail(err, VN_BAD_FILE, "vocab is not an object of tokens and ids");
    vn_status status = vn_vocabulary_open(&t->vocabulary, json_object_size(vocab), err);
    if (status) return status;
    json_object_foreach((json_t *)vocab, text, id) {
        const json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
        t->vocabulary.sorted[i++] =
            (vn_vocabulary_entry){text, strlen(text), n < 0 || n > INT32_MAX ? -1 : (int32_t)n};
    }
    return vn_vocabulary_close_list(&t->vocabulary, err);
}

static vn_status check_dropout(const json_t *json, vn_err *err) {
    const json_t *dropout = json_object_get(json, "dropout");
    double p = 0;
    if (!dropout || json_is_null(dropout) || (vn_json_number(dropout, &p) && p == 0)) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "dropout is not 0, so that a text would have no fixed ids");
}

static vn_status open_bpe(const json_t *json, vn_text *t, vn_err *err) {
    const char *unknown;
    bpe *b = vn_calloc(1, sizeof *b);
    if (!b) return vn_no_memory(err);
    t->self = b;
    vn_status status = check_dropout(json, err);
    if (!status) status = vn_text_get_text(json, "continuing_subword_prefix", "", &b->prefix, err);
    if (!status) status = vn_text_get_text(json, "end_of_word_suffix", "", &b->suffix, err);
    if (!status) status = vn_text_get_text(json, "unk_token", "", &unknown, err);
    if (!status) status = vn_text_get_bool(json, "fuse_unk", false, &b->fuse, err);
    if (!status) status = vn_text_get_bool(json, "byte_fallback", false, &b->bytes, err);
    if (!status) status = vn_text_get_bool(json, "ignore_merges", false, &b->whole, err);
    if (!status && (strlen(b->prefix) > MAX_AFFIX || strlen(b->suffix) > MAX_AFFIX))
        status = vn_fail(err, VN_BAD_FILE,
                         "continuing_subword_prefix or end_of_word_suffix is longer than %d bytes",
                         MAX_AFFIX);
    if (!status) status = read_vocabulary(t, json_object_get(json, "vocab"), err);
    if (!status) status = read_merges(t, json_object_get(json, "merges"), err);
    if (status) return status;
    b->unknown = vn_vocabulary_find(&t->vocabulary, unknown, strlen(unknown));
    if (*unknown && b->unknown < 0)
        return vn_fail(err, VN_BAD_FILE, "unk_token '%.40s' is no token", unknown);
    return VN_OK;
}

static void close_bpe(vn_text *t) {
    bpe *b = t->self;
    if (b) vn_free(b->merges);
    vn_free(b);
}

/* ---- the characters of a word ---------------------------------------------------------------- */

/* A token of the word, in a chain; id -1: merged into the one before. */
typedef struct symbol {
    int32_t id, before, after; /* -1: none */
} symbol;

/* A merge that may be done at a symbol and its next. */
typedef struct chance {
    int32_t rank, at, id;
} chance;

typedef struct chain {
    symbol *symbol; /* [count] */
    int32_t count;
    chance *heap; /* [waiting] */
    size_t waiting;
} chain;

static void add_symbol(chain *c, int32_t id) {
    c->symbol[c->count] = (symbol){id, c->count - 1, c->count + 1};
    c->count++;
}

/* The tokens <0xE2> ... of a character's bytes; false: one of them is missing. */
static bool add_bytes(const vn_text *t, chain *c, const char *text, size_t size) {
    int32_t id[64];
    if (size > VN_COUNT(id)) return false;
    for (size_t i = 0; i < size; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)text[i]);
        id[i] = vn_vocabulary_find(&t->vocabulary, name, strlen(name));
        if (id[i] < 0) return false;
    }
    for (size_t i = 0; i < size; i++) add_symbol(c, id[i]);
    return true;
}

/* A character of a word, with what the file adds to those within and at the end of one. */
static void character(const bpe *b, vn_string *to, const char *text, size_t size, bool begins,
                      bool ends) {
    to->size = 0;
    if (!begins) vn_string_add(to, b->prefix, strlen(b->prefix));
    vn_string_add(to, text, size);
    if (ends) vn_string_add(to, b->suffix, strlen(b->suffix));
}

/* An unknown character waits for the next, since several may become one token. */
static bool begin_chain(const vn_text *t, chain *c, const char *text, size_t size) {
    const bpe *b = t->self;
    vn_string letters = {0};
    bool waits = false;
    for (const char *at = text, *from = at; at < text + size && !letters.failed; from = at) {
        vn_utf8_next(&at);
        character(b, &letters, from, (size_t)(at - from), from == text, at == text + size);
        if (letters.failed) break;
        const int32_t id = vn_vocabulary_find(&t->vocabulary, letters.at, letters.size);
        if (id < 0 && b->bytes && add_bytes(t, c, letters.at, letters.size)) continue;
        if (waits && (id >= 0 || !b->fuse)) {
            add_symbol(c, b->unknown);
            waits = false;
        }
        if (id >= 0)
            add_symbol(c, id);
        else
            waits = b->unknown >= 0;
    }
    if (waits) add_symbol(c, b->unknown);
    vn_string_free(&letters);
    return !letters.failed;
}

/* ---- merging --------------------------------------------------------------------------------- */

static bool comes_before(const chance *a, const chance *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(chain *c, chance x) {
    size_t i = c->waiting++;
    for (; i > 0 && comes_before(&x, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        c->heap[i] = c->heap[(i - 1) / 2];
    c->heap[i] = x;
}

static chance pop(chain *c) {
    const chance top = c->heap[0], last = c->heap[--c->waiting];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < c->waiting) {
        if (child + 1 < c->waiting && comes_before(&c->heap[child + 1], &c->heap[child])) child++;
        if (!comes_before(&c->heap[child], &last)) break;
        c->heap[i] = c->heap[child];
        i = child;
    }
    c->heap[i] = last;
    return top;
}

/* Notes that the symbol at `at` and its next can be merged, if they can. */
static void look(const bpe *b, chain *c, int32_t at) {
    if (at < 0 || c->symbol[at].after >= c->count) return;
    const merge *m = find(b, c->symbol[at].id, c->symbol[c->symbol[at].after].id);
    if (m) push(c, (chance){m->rank, at, m->id});
}

static void merge_all(const bpe *b, chain *c) {
    for (int32_t i = 0; i + 1 < c->count; i++) look(b, c, i);
    while (c->waiting > 0) {
        const chance x = pop(c);
        symbol *left = &c->symbol[x.at];
        if (left->id < 0 || left->after >= c->count) continue;
        symbol *right = &c->symbol[left->after];
        const merge *m = find(b, left->id, right->id);
        if (!m || m->id != x.id) continue; /* they have changed since */
        left->id = x.id;
        left->after = right->after;
        right->id = -1;
        if (left->after < c->count) c->symbol[left->after].before = x.at;
        look(b, c, left->before);
        look(b, c, x.at);
    }
}

static vn_status run_bpe(vn_text *t, const char *text, size_t size, vn_ids *out, vn_err *err) {
    const bpe *b = t->self;
    const int32_t whole = b->whole ? vn_vocabulary_find(&t->vocabulary, text, size) : -1;
    if (whole >= 0) {
        vn_ids_add(out, whole);
        return out->failed ? vn_no_memory(err) : VN_OK;
    }
    /* a character is one symbol, or its bytes and those of prefix and suffix; each merge takes a
     * symbol away and adds two chances */
    const size_t most = b->bytes ? size * (1 + strlen(b->prefix)) + strlen(b->suffix) : size;
    chain c = {.symbol = vn_alloc(most, sizeof *c.symbol),
               .heap = vn_alloc(most, 3 * sizeof *c.heap)};
    const bool ok = c.symbol && c.heap && begin_chain(t, &c, text, size);
    if (ok) merge_all(b, &c);
    for (int32_t i = 0; ok && i < c.count; i++)
        if (c.symbol[i].id >= 0) vn_ids_add(out, c.symbol[i].id);
    vn_free(c.symbol);
    vn_free(c.heap);
    return ok && !out->failed ? VN_OK : vn_no_memory(err);
}

static const char *const keys[] = {"dropout",
                                   "unk_token",
                                   "continuing_subword_prefix",
                                   "fuse_unk",
                                   "byte_fallback",
                                   "end_of_word_suffix",
                                   "ignore_merges",
                                   "vocab",
                                   "merges",
                                   NULL};

const vn_text_model vn_bpe_model = {
    .row = {.name = "bpe",
            .summary = "byte-pair encoding, of CLIP and GPT-2",
            .source = "arXiv 1508.07909; Hugging Face tokenizers 0.23"},
    .type = "BPE",
    .keys = keys,
    .open = open_bpe,
    .close = close_bpe,
    .run = run_bpe,
};
