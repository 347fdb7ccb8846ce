/* unigram.c - the unigram model (1804.10959), as T5's tokenizer has it: of all ways to make a text
 * of tokens the one whose log probabilities add up to most, found by Viterbi's algorithm. A
 * character that no token is stands for itself, at a cost, and several of them for one unknown
 * token. */
#include "text/internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

typedef struct unigram {
    double *score;        /* [count] by id */
    double unknown_score; /* of a character */
    int32_t unknown;      /* -1: none */
    bool bytes;           /* byte_fallback */
} unigram;

/* ---- reading --------------------------------------------------------------------------------- */

/* ["piece", score] */
static vn_status take_piece(vn_text *t, const json_t *json, size_t i, vn_err *err) {
    unigram *u = t->self;
    const char *text = json_string_value(json_array_get(json, 0));
    if (!text || json_array_size(json) != 2 ||
        !vn_json_number(json_array_get(json, 1), &u->score[i]) || isnan(u->score[i]))
        return vn_fail(err, VN_BAD_FILE, "entry %zu of vocab is not a token and its score", i);
    t->vocabulary.sorted[i] = (vn_vocabulary_entry){text, strlen(text), (int32_t)i};
    return VN_OK;
}

static vn_status read_vocabulary(vn_text *t, const json_t *list, vn_err *err) {
    unigram *u = t->self;
    const size_t count = json_array_size(list);
    double least = DBL_MAX;
    vn_status status = vn_vocabulary_open(&t->vocabulary, count, err);
    if (status) return status;
    u->score = vn_alloc(count, sizeof *u->score);
    if (!u->score) return vn_no_memory(err);
    for (size_t i = 0; i < count && !status; i++) {
        status = take_piece(t, json_array_get(list, i), i, err);
        if (!status && u->score[i] < least) least = u->score[i];
    }
    u->unknown_score = least - UNKNOWN_PENALTY;
    return status ? status : vn_vocabulary_close_list(&t->vocabulary, err);
}

static vn_status open_unigram(const json_t *json, vn_text *t, vn_err *err) {
    unigram *u = vn_calloc(1, sizeof *u);
    if (!u) return vn_no_memory(err);
    t->self = u;
    vn_status status = vn_text_get_bool(json, "byte_fallback", false, &u->bytes, err);
    if (!status) status = read_vocabulary(t, json_object_get(json, "vocab"), err);
    const json_t *unknown = json_object_get(json, "unk_id");
    u->unknown = -1;
    if (status || !unknown || json_is_null(unknown)) return status;
    const json_int_t id = json_is_integer(unknown) ? json_integer_value(unknown) : -1;
    if (id < 0 || id >= (json_int_t)t->vocabulary.count)
        return vn_fail(err, VN_BAD_FILE, "unk_id is outside of the vocabulary");
    u->unknown = (int32_t)id;
    return VN_OK;
}

static void close_unigram(vn_text *t) {
    unigram *u = t->self;
    if (u) vn_free(u->score);
    vn_free(u);
}

/* ---- the best path --------------------------------------------------------------------------- */

/* The best way to the bytes before a place. */
typedef struct best_path {
    double score;
    int64_t from; /* where its last token begins; -1: no way yet */
    size_t next;  /* on the best path of all: where the next token ends */
    int32_t id;   /* of the last token */
} best_path;

static void offer(best_path *p, double score, size_t from, int32_t id) {
    if (p->from >= 0 && score <= p->score) return;
    *p = (best_path){score, (int64_t)from, 0, id};
}

/* way [size + 1]; false: a character is unknown, and there is no token for that. */
static bool find_best(const vn_text *t, const char *text, size_t size, best_path *way) {
    const unigram *u = t->self;
    for (size_t i = 0; i <= size; i++) way[i] = (best_path){.from = -1};
    for (const char *at = text, *from = at; at < text + size; from = at) {
        const size_t begin = (size_t)(from - text);
        vn_utf8_next(&at);
        const size_t width = (size_t)(at - from);
        bool alone = false; /* whether the character is a token */
        vn_prefix prefix = {0};
        int32_t id;
        for (size_t i = begin; i < size; i++) {
            if (!vn_vocabulary_next(&t->vocabulary, &prefix, (unsigned char)text[i], &id)) break;
            if (id < 0) continue;
            offer(&way[i + 1], way[begin].score + u->score[id], begin, id);
            alone |= prefix.depth == width;
        }
        if (alone) continue;
        if (u->unknown < 0) return false;
        offer(&way[begin + width], way[begin].score + u->unknown_score, begin, u->unknown);
    }
    return true;
}

/* Adds the tokens of what was unknown: letters by letters, or by their bytes, or one. */
static void add_unknown(const vn_text *t, const char *text, size_t size, vn_ids *out) {
    const unigram *u = t->self;
    const int32_t known = vn_vocabulary_find(&t->vocabulary, text, size);
    const size_t before = out->count;
    bool all = u->bytes && known < 0;
    for (size_t i = 0; i < size && all; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)text[i]);
        const int32_t id = vn_vocabulary_find(&t->vocabulary, name, strlen(name));
        all = id >= 0;
        if (all) vn_ids_add(out, id);
    }
    if (all) return;
    out->count = before;
    vn_ids_add(out, known >= 0 ? known : u->unknown);
}

static void add_path(const vn_text *t, const char *text, size_t size, best_path *way, vn_ids *out) {
    const unigram *u = t->self;
    for (size_t at = size, from; at > 0; at = from) {
        from = (size_t)way[at].from;
        way[from].next = at;
    }
    for (size_t at = 0, end; at < size; at = end) {
        end = way[at].next;
        const int32_t id = way[end].id;
        while (id == u->unknown && end < size && way[way[end].next].id == id) end = way[end].next;
        if (id == u->unknown)
            add_unknown(t, text + at, end - at, out);
        else
            vn_ids_add(out, id);
    }
}

static vn_status run_unigram(vn_text *t, const char *text, size_t size, vn_ids *out, vn_err *err) {
    best_path *way = vn_alloc(size + 1, sizeof *way);
    if (!way) return vn_no_memory(err);
    const bool known = find_best(t, text, size, way);
    if (known) add_path(t, text, size, way, out);
    vn_free(way);
    if (!known)
        return vn_fail(err, VN_BAD_FILE,
                       "the text has characters that are no tokens, and there is no unk_id");
    return out->failed ? vn_no_memory(err) : VN_OK;
}

static const char *const keys[] = {"unk_id", "vocab", "byte_fallback", NULL};

const vn_text_model vn_unigram_model = {
    .row = {.name = "unigram",
            .summary = "the most probable pieces, of T5",
            .source = "arXiv 1804.10959; Hugging Face tokenizers 0.23"},
    .type = "Unigram",
    .keys = keys,
    .open = open_unigram,
    .close = close_unigram,
    .run = run_unigram,
};
