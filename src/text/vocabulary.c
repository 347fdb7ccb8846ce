/* vocabulary.c - the tokens of a model by their letters: a sorted list, so that no choice of
 * letters makes looking them up slow. */
#include "text/internal.h"

#include <stdlib.h>
#include <string.h>

vn_status vn_vocabulary_open(vn_vocabulary *v, size_t count, vn_err *err) {
    *v = (vn_vocabulary){.count = count};
    if (count == 0 || count > VN_TEXT_MAX_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "the vocabulary has %zu tokens, expected 1 to %d", count,
                       VN_TEXT_MAX_TOKENS);
    v->sorted = vn_calloc(count, sizeof *v->sorted);
    return v->sorted ? VN_OK : vn_no_memory(err);
}

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size) {
    const int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare(const void *a, const void *b) {
    const vn_vocabulary_entry *x = a, *y = b;
    const int order = compare_bytes(x->text, x->size, y->text, y->size);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

vn_status vn_vocabulary_close_list(vn_vocabulary *v, vn_err *err) {
    for (size_t i = 0; i < v->count; i++) {
        const vn_vocabulary_entry *e = &v->sorted[i];
        if (e->id < 0 || e->id >= VN_TEXT_MAX_TOKENS)
            return vn_fail(err, VN_BAD_FILE, "the token '%.40s' has an id outside of [0, %d]",
                           e->text, VN_TEXT_MAX_TOKENS - 1);
        if (e->id >= v->size) v->size = e->id + 1;
        if (e->size > v->longest) v->longest = e->size;
    }
    v->by_id = vn_calloc((size_t)v->size, sizeof *v->by_id);
    if (!v->by_id) return vn_no_memory(err);
    for (size_t i = 0; i < v->count; i++) {
        const vn_vocabulary_entry *e = &v->sorted[i];
        if (v->by_id[e->id])
            return vn_fail(err, VN_BAD_FILE, "the tokens '%.40s' and '%.40s' have one id, %d",
                           v->by_id[e->id], e->text, (int)e->id);
        v->by_id[e->id] = e->text;
    }
    qsort(v->sorted, v->count, sizeof *v->sorted, compare);
    return VN_OK;
}

void vn_vocabulary_free(vn_vocabulary *v) {
    vn_free(v->sorted);
    vn_free(v->by_id);
    *v = (vn_vocabulary){0};
}

int32_t vn_vocabulary_find(const vn_vocabulary *v, const char *text, size_t size) {
    size_t low = 0, high = v->count; /* the first one behind these letters is in [low, high] */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const vn_vocabulary_entry *e = &v->sorted[middle];
        if (compare_bytes(e->text, e->size, text, size) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return -1;
    const vn_vocabulary_entry *e = &v->sorted[low - 1];
    return e->size == size && !memcmp(e->text, text, size) ? e->id : -1;
}

/* The byte at a depth; -1 behind the end, which comes before all bytes. */
static int byte_at(const vn_vocabulary_entry *e, size_t depth) {
    return depth < e->size ? (unsigned char)e->text[depth] : -1;
}

/* The first in [low, high) whose byte at the depth is at least so large. */
static size_t first_from(const vn_vocabulary *v, const vn_prefix *p, int byte) {
    size_t low = p->low, high = p->high;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (byte_at(&v->sorted[middle], p->depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool vn_vocabulary_next(const vn_vocabulary *v, vn_prefix *p, unsigned char byte, int32_t *id) {
    if (p->depth == 0) *p = (vn_prefix){0, v->count, 0};
    const size_t low = first_from(v, p, byte), high = first_from(v, p, byte + 1);
    *p = (vn_prefix){low, high, p->depth + 1};
    *id = -1;
    for (size_t i = low; i < high && v->sorted[i].size == p->depth; i++) *id = v->sorted[i].id;
    return low < high;
}
