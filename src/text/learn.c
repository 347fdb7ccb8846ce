/* learn.c - a tokenizer learned from texts: byte-pair encoding (1508.07909) of the bytes of words,
 * cut as GPT-2 cuts them. It begins with a token for each byte, so that every text has tokens; then
 * the two neighbours that are most frequent in all words become one token, of equally frequent ones
 * those of the least ids, and so on. What comes of it is a tokenizer.json. */
#include "text/internal.h"

#include <string.h>

enum { PAD, BEGIN, END, SPECIALS, BYTES = SPECIALS + 256 };
static const char *const special[SPECIALS] = {"<pad>", "<begin>", "<end>"};

/* Bytes of texts that are looked at, and words that may differ: more of them change little. */
#define MAX_BYTES ((size_t)4 << 20)
#define MAX_WORDS ((size_t)1 << 16)

/* Counts by a key other than 0, in open addresses. */
typedef struct slot {
    uint64_t key;
    int64_t count;
} slot;

typedef struct counts {
    slot *slot;
    size_t slots, used; /* a power of 2; at most half */
} counts;

/* Distinct words, in the order in which they come up. */
typedef struct word {
    size_t begin, size; /* in ids */
    int64_t count;
} word;

typedef struct learner {
    vn_text *alphabet; /* what cuts texts into words, and words into bytes */
    vn_ids ids;        /* of all words */
    word *words;       /* [MAX_WORDS] */
    size_t count;
    counts of_words; /* indices + 1 of words, by a hash of their ids */
    counts pairs;
    json_t *vocab, *merges, *letters; /* letters [ids so far] */
} learner;

/* ---- counting -------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0x9E3779B97F4A7C15);
    return x ^ x >> 29;
}

static slot *find(const counts *c, uint64_t key) {
    size_t at = (size_t)mixed(key) & (c->slots - 1);
    while (c->slot[at].key && c->slot[at].key != key) at = (at + 1) & (c->slots - 1);
    return &c->slot[at];
}

static bool grow(counts *c) {
    counts more = {.slots = c->slots ? 2 * c->slots : 1024, .used = c->used};
    more.slot = vn_calloc(more.slots, sizeof *more.slot);
    if (!more.slot) return false;
    for (size_t i = 0; i < c->slots; i++)
        if (c->slot[i].key) *find(&more, c->slot[i].key) = c->slot[i];
    vn_free(c->slot);
    *c = more;
    return true;
}

/* The slot of a key, which is new with count 0; NULL: no memory. */
static slot *reach(counts *c, uint64_t key) {
    if (2 * (c->used + 1) > c->slots && !grow(c)) return NULL;
    slot *s = find(c, key);
    c->used += !s->key;
    s->key = key;
    return s;
}

static uint64_t pair_of(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* The word of these ids, the last of all that there are, which stay if it is new. */
static vn_status take_word(learner *l, size_t begin, vn_err *err) {
    const size_t size = l->ids.count - begin;
    const int32_t *ids = l->ids.at + begin;
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++) hash = mixed(hash ^ (uint32_t)ids[i]) + i;
    for (;; hash++) {
        slot *s = reach(&l->of_words, hash ? hash : 1);
        if (!s) return vn_no_memory(err);
        if (s->count == 0 && l->count < MAX_WORDS) {
            l->words[l->count++] = (word){begin, size, 1};
            s->count = (int64_t)l->count;
            return VN_OK;
        }
        word *w = s->count ? &l->words[s->count - 1] : NULL;
        if (w && (w->size != size || memcmp(l->ids.at + w->begin, ids, size * sizeof *ids) != 0))
            continue;
        if (w) w->count++;
        l->ids.count = begin;
        return VN_OK;
    }
}

static vn_status take_text(learner *l, const char *text, vn_err *err) {
    const size_t size = strlen(text);
    vn_status status = size ? vn_text_cut(l->alphabet, text, size, err) : VN_OK;
    const vn_pieces *p = &l->alphabet->pieces[0];
    for (size_t i = 0; size && i < p->count && !status; i++) {
        const vn_piece *piece = &p->piece[i];
        const size_t begin = l->ids.count;
        if (piece->id >= 0) continue; /* a special token */
        status = l->alphabet->model->run(l->alphabet, p->text.at + piece->begin, piece->size,
                                         &l->ids, err);
        if (!status && l->ids.failed) status = vn_no_memory(err);
        if (!status) status = take_word(l, begin, err);
    }
    return status;
}

/* Texts taken evenly, as many as MAX_BYTES hold. */
static vn_status take_texts(learner *l, const vn_texts *texts, vn_err *err) {
    size_t bytes = 0;
    vn_status status = VN_OK;
    for (int32_t i = 0; i < texts->count; i++) bytes += strlen(texts->text(texts->self, i));
    const int32_t step = 1 + (int32_t)(bytes / MAX_BYTES);
    for (int32_t i = 0; i < texts->count && !status; i += step)
        status = take_text(l, texts->text(texts->self, i), err);
    return status;
}

/* ---- merging --------------------------------------------------------------------------------- */

static vn_status count_pairs(learner *l, const word *w, int sign, vn_err *err) {
    const int32_t *ids = l->ids.at + w->begin;
    for (size_t i = 1; i < w->size; i++) {
        slot *s = reach(&l->pairs, pair_of(ids[i - 1], ids[i]));
        if (!s) return vn_no_memory(err);
        s->count += sign * w->count;
    }
    return VN_OK;
}

/* The pair of most, or 0. */
static uint64_t most_frequent(const counts *pairs) {
    slot best = {0};
    for (size_t i = 0; i < pairs->slots; i++) {
        const slot *s = &pairs->slot[i];
        if (s->count > best.count || (best.key && s->count == best.count && s->key < best.key))
            best = *s;
    }
    return best.key;
}

static bool has(const int32_t *ids, size_t size, uint64_t pair) {
    for (size_t i = 1; i < size; i++)
        if (pair_of(ids[i - 1], ids[i]) == pair) return true;
    return false;
}

static vn_status merge_word(learner *l, word *w, uint64_t pair, int32_t id, vn_err *err) {
    int32_t *ids = l->ids.at + w->begin;
    if (!has(ids, w->size, pair)) return VN_OK;
    const vn_status status = count_pairs(l, w, -1, err);
    if (status) return status;
    size_t size = 0;
    for (size_t i = 0; i < w->size; i++) {
        const bool merged = i + 1 < w->size && pair_of(ids[i], ids[i + 1]) == pair;
        ids[size++] = merged ? id : ids[i];
        i += merged;
    }
    w->size = size;
    return count_pairs(l, w, 1, err);
}

static const char *letters_of(const learner *l, int32_t id) {
    return json_string_value(json_array_get(l->letters, (size_t)id));
}

/* Adds a token; its id is how many there were. */
static vn_status add_token(learner *l, const char *letters, vn_err *err) {
    const json_int_t id = (json_int_t)json_array_size(l->letters);
    bool ok = json_array_append_new(l->letters, json_string(letters)) == 0;
    ok = ok && json_object_set_new(l->vocab, letters, json_integer(id)) == 0;
    return ok ? VN_OK : vn_no_memory(err);
}

static vn_status add_merge(learner *l, uint64_t pair, vn_err *err) {
    const char *left = letters_of(l, (int32_t)((pair - 1) >> 32)),
               *right = letters_of(l, (int32_t)(uint32_t)(pair - 1));
    vn_string joined = {0};
    vn_string_add(&joined, left, strlen(left));
    vn_string_add(&joined, right, strlen(right) + 1);
    const bool ok =
        !joined.failed && json_array_append_new(l->merges, json_pack("[s, s]", left, right)) == 0;
    const vn_status status = ok ? add_token(l, joined.at, err) : vn_no_memory(err);
    vn_string_free(&joined);
    return status;
}

static vn_status merge_all(learner *l, int32_t size, vn_err *err) {
    vn_status status = VN_OK;
    for (size_t i = 0; i < l->count && !status; i++) status = count_pairs(l, &l->words[i], 1, err);
    for (int32_t id = BYTES; id < size && !status; id++) {
        const uint64_t pair = most_frequent(&l->pairs);
        if (!pair) break;
        status = add_merge(l, pair, err);
        for (size_t i = 0; i < l->count && !status; i++)
            status = merge_word(l, &l->words[i], pair, id, err);
    }
    return status;
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

static vn_status add_letter(learner *l, uint32_t code, vn_err *err) {
    vn_string letter = {0};
    vn_string_add_code(&letter, code);
    vn_string_add(&letter, "", 1);
    const vn_status status = letter.failed ? vn_no_memory(err) : add_token(l, letter.at, err);
    vn_string_free(&letter);
    return status;
}

/* The special tokens, then the letters of bytes in the order of their codes, as Hugging Face's
 * trainer has them. */
static vn_status add_alphabet(learner *l, vn_err *err) {
    vn_status status = VN_OK;
    for (int i = 0; i < SPECIALS && !status; i++) status = add_token(l, special[i], err);
    for (uint32_t code = 0; code < 512; code++)
        for (int byte = 0; byte < 256 && !status; byte++)
            if (vn_byte_letter((unsigned char)byte) == code) status = add_letter(l, code, err);
    return status;
}

static json_t *added_tokens(void) {
    json_t *list = json_array();
    for (int i = 0; list && i < SPECIALS; i++) {
        json_t *token =
            json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i, "content", special[i],
                      "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
        if (json_array_append_new(list, token) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *special_token(int id) {
    return json_pack("{s:s, s:[i], s:[s]}", "id", special[id], "ids", id, "tokens", special[id]);
}

/* With the vocabulary and merges so far; NULL: no memory. */
static json_t *tokenizer_json(const learner *l) {
    json_t *byte_level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                                   1, "trim_offsets", 0, "use_regex", 1);
    json_t *out = json_pack(
        "{s:s, s:n, s:{s:s, s:n, s:s, s:i, s:i, s:s}, s:o, s:{s:s}, s:O,"
        " s:{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, "
        "s:i}}],"
        " s:{s:o, s:o}}, s:O, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}",
        "version", "1.0", "truncation", "padding", "strategy", "BatchLongest", "pad_to_multiple_of",
        "direction", "Right", "pad_id", PAD, "pad_type_id", 0, "pad_token", special[PAD],
        "added_tokens", added_tokens(), "normalizer", "type", "NFC", "pre_tokenizer", byte_level,
        "post_processor", "type", "TemplateProcessing", "single", "SpecialToken", "id",
        special[BEGIN], "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id",
        special[END], "type_id", 0, "pair", "Sequence", "id", "A", "type_id", 0, "Sequence", "id",
        "B", "type_id", 1, "special_tokens", special[BEGIN], special_token(BEGIN), special[END],
        special_token(END), "decoder", byte_level, "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
        "ignore_merges", 0, "vocab", l->vocab, "merges", l->merges);
    json_decref(byte_level);
    return out;
}

static void close_learner(learner *l) {
    vn_text_close(&l->alphabet);
    vn_ids_free(&l->ids);
    vn_free(l->words);
    vn_free(l->of_words.slot);
    vn_free(l->pairs.slot);
    json_decref(l->vocab);
    json_decref(l->merges);
    json_decref(l->letters);
}

static vn_status open_learner(learner *l, vn_err *err) {
    l->words = vn_alloc(MAX_WORDS, sizeof *l->words);
    l->vocab = json_object();
    l->merges = json_array();
    l->letters = json_array();
    if (!l->words || !l->vocab || !l->merges || !l->letters) return vn_no_memory(err);
    vn_status status = add_alphabet(l, err);
    if (status) return status;
    json_t *json = tokenizer_json(l);
    status = json ? vn_text_open_json(json, &l->alphabet, err) : vn_no_memory(err);
    json_decref(json);
    return status;
}

json_t *vn_text_learn(const vn_texts *texts, int32_t size, vn_err *err) {
    learner l = {0};
    json_t *out = NULL;
    vn_status status = open_learner(&l, err);
    if (!status) status = take_texts(&l, texts, err);
    if (!status) status = merge_all(&l, size, err);
    if (!status && !(out = tokenizer_json(&l))) vn_no_memory(err);
    close_learner(&l);
    return out;
}
