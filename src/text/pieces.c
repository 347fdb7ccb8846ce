/* pieces.c - what the parts of a tokenizer hand on: bytes, pieces of text and ids, in memory that
 * grows and is used again for the next text. */
#include "text/internal.h"

#include <string.h>

#include <utf8proc.h>

/* A file can ask for a long text in the place of each letter. */
#define MAX_BYTES ((size_t)64 * VN_TEXT_MAX_BYTES)

/* Makes room for `more` of `size` bytes each; false: there is none. */
static bool grow(void **at, size_t count, size_t *capacity, size_t more, size_t size) {
    if (*at && *capacity - count >= more) return true;
    const size_t wanted = 2 * *capacity + more + 16;
    void *larger = vn_realloc(*at, wanted, size);
    if (!larger) return false;
    *at = larger;
    *capacity = wanted;
    return true;
}

void vn_string_add(vn_string *b, const char *from, size_t size) {
    void *at = b->at;
    b->failed |= size > MAX_BYTES - b->size || !grow(&at, b->size, &b->capacity, size, 1);
    b->at = at;
    if (b->failed) return;
    memcpy(b->at + b->size, from, size);
    b->size += size;
}

void vn_string_add_code(vn_string *b, uint32_t code) {
    utf8proc_uint8_t text[4];
    const utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)code, text);
    vn_string_add(b, (const char *)text, (size_t)size);
}

void vn_string_free(vn_string *b) {
    vn_free(b->at);
    *b = (vn_string){0};
}

void vn_pieces_clear(vn_pieces *p) {
    p->text.size = p->count = 0;
}

static void add(vn_pieces *p, vn_piece piece) {
    void *at = p->piece;
    p->text.failed |= !grow(&at, p->count, &p->capacity, 1, sizeof *p->piece);
    p->piece = at;
    if (!p->text.failed) p->piece[p->count++] = piece;
}

void vn_pieces_add(vn_pieces *p, const char *text, size_t size, bool first) {
    const size_t begin = p->text.size;
    if (size == 0) return;
    vn_string_add(&p->text, text, size);
    add(p, (vn_piece){begin, size, -1, first});
}

void vn_pieces_add_token(vn_pieces *p, int32_t id) {
    add(p, (vn_piece){p->text.size, 0, id, false});
}

void vn_pieces_free(vn_pieces *p) {
    vn_string_free(&p->text);
    vn_free(p->piece);
    *p = (vn_pieces){0};
}

void vn_ids_add(vn_ids *ids, int32_t id) {
    void *at = ids->at;
    ids->failed |= !grow(&at, ids->count, &ids->capacity, 1, sizeof *ids->at);
    ids->at = at;
    if (!ids->failed) ids->at[ids->count++] = id;
}

void vn_ids_free(vn_ids *ids) {
    vn_free(ids->at);
    *ids = (vn_ids){0};
}
