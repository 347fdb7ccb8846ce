/* captions.c - see captions.h. While captions are collected each is a link (number, next) of its
 * sample's list, so that files may name samples in any order and more than once. A caption is found
 * again by a hash table of open addresses, whose start is another in each process: a file cannot
 * have been made to fall on one place. */
#include "data/captions.h"
#include "data/internal.h"

#include <string.h>
#include <zlib.h>

typedef struct chained {
    int32_t number, next; /* next: 1 + its place, 0: the last */
} chained;

struct vn_captions {
    char *text;      /* [used] distinct captions, each ended by 0 */
    size_t *at;      /* [distinct] where each begins */
    uint32_t *table; /* [slots] 1 + a number; 0: free */
    size_t used, text_capacity, at_capacity, slots;
    int32_t distinct;
    uint64_t start; /* of hashes */
    chained *links; /* [link_count], until settled */
    size_t link_count, link_capacity;
    int64_t count;   /* samples */
    int64_t *first;  /* [count + 1] the captions of sample i are which[first[i] .. first[i+1]) */
    int32_t *which;  /* [first[count]] numbers */
    size_t longest;  /* bytes */
    int64_t without; /* samples */
    uint32_t fingerprint;
};

vn_status vn_captions_open(vn_captions **out, vn_err *err) {
    *out = vn_calloc(1, sizeof **out);
    if (!*out) return vn_no_memory(err);
    (*out)->start = (uint64_t)(uintptr_t)*out * 0x9E3779B97F4A7C15u;
    return VN_OK;
}

void vn_captions_close(vn_captions **captions) {
    vn_captions *c = *captions;
    if (!c) return;
    vn_free(c->text);
    vn_free(c->at);
    vn_free(c->table);
    vn_free(c->links);
    vn_free(c->first);
    vn_free(c->which);
    vn_free(c);
    *captions = NULL;
}

size_t vn_captions_bytes(const vn_captions *c) {
    const size_t samples = c->first ? (size_t)c->count + 1 : 0,
                 all = c->first ? (size_t)c->first[c->count] : 0;
    return sizeof *c + c->text_capacity + c->at_capacity * sizeof *c->at +
           c->slots * sizeof *c->table + c->link_capacity * sizeof *c->links +
           samples * sizeof *c->first + all * sizeof *c->which;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Room for `more` items after `used` of an array; what is held stays within the bound of a
 * source. */
static vn_status grow(const vn_captions *c, void **array, size_t *capacity, size_t used,
                      size_t more, size_t size, vn_err *err) {
    if (more <= *capacity - used) return VN_OK;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < used + more) wanted = used + more;
    if (wanted < 64) wanted = 64;
    const size_t bound = vn_source_bound(), added = (wanted - *capacity) * size;
    char need[32], have[32];
    if (added > bound || vn_captions_bytes(c) > bound - added)
        return vn_fail(err, VN_NO_MEMORY, "captions take more than the %s they may: %s so far",
                       vn_bytes_text((double)bound, have),
                       vn_bytes_text((double)vn_captions_bytes(c), need));
    void *grown = vn_realloc(*array, wanted, size);
    if (!grown) return vn_no_memory(err);
    *array = grown;
    *capacity = wanted;
    return VN_OK;
}

/* ---- distinct captions ----------------------------------------------------------------------- */

/* FNV-1a, its bits mixed at the end. */
static uint64_t hash(const vn_captions *c, const char *text, size_t length) {
    uint64_t h = 0xCBF29CE484222325u ^ c->start;
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

static size_t slot_of(const vn_captions *c, const char *text, size_t length) {
    size_t slot = (size_t)hash(c, text, length) & (c->slots - 1);
    for (; c->table[slot] != 0; slot = (slot + 1) & (c->slots - 1)) {
        const char *other = c->text + c->at[c->table[slot] - 1];
        if (strncmp(other, text, length) == 0 && other[length] == '\0') break;
    }
    return slot;
}

/* At most half of the table is in use. */
static vn_status grow_table(vn_captions *c, vn_err *err) {
    if (2 * ((size_t)c->distinct + 1) <= c->slots) return VN_OK;
    const size_t slots = c->slots > 0 ? 2 * c->slots : 256;
    uint32_t *table = NULL;
    size_t capacity = 0;
    vn_status status = grow(c, (void **)&table, &capacity, 0, slots, sizeof *table, err);
    if (status) return status;
    memset(table, 0, slots * sizeof *table);
    vn_free(c->table);
    c->table = table;
    c->slots = slots;
    for (int32_t k = 0; k < c->distinct; k++) {
        const char *text = c->text + c->at[k];
        table[slot_of(c, text, strlen(text))] = (uint32_t)k + 1;
    }
    return VN_OK;
}

static vn_status number_of(vn_captions *c, const char *text, size_t length, int32_t *number,
                           vn_err *err) {
    vn_status status = grow_table(c, err);
    if (status) return status;
    const size_t slot = slot_of(c, text, length);
    *number = (int32_t)c->table[slot] - 1;
    if (*number >= 0) return VN_OK;
    status = grow(c, (void **)&c->text, &c->text_capacity, c->used, length + 1, 1, err);
    if (!status)
        status =
            grow(c, (void **)&c->at, &c->at_capacity, (size_t)c->distinct, 1, sizeof *c->at, err);
    if (status) return status;
    c->at[c->distinct] = c->used;
    memcpy(c->text + c->used, text, length);
    c->text[c->used + length] = '\0';
    c->used += length + 1;
    *number = c->distinct++;
    c->table[slot] = (uint32_t)c->distinct;
    return VN_OK;
}

vn_status vn_captions_add(vn_captions *c, int32_t *list, const char *text, size_t length,
                          vn_err *err) {
    int32_t number;
    if (length == 0) return VN_OK;
    if (length > VN_CAPTION_MAX_BYTES)
        return vn_fail(err, VN_BAD_FILE, "a caption of %zu bytes; the most is %zu", length,
                       VN_CAPTION_MAX_BYTES);
    if (c->link_count >= INT32_MAX - 1)
        return vn_fail(err, VN_NO_MEMORY, "more than %d captions", INT32_MAX - 1);
    vn_status status = number_of(c, text, length, &number, err);
    if (!status)
        status =
            grow(c, (void **)&c->links, &c->link_capacity, c->link_count, 1, sizeof *c->links, err);
    if (status) return status;
    c->links[c->link_count++] = (chained){number, *list}; /* the last one added comes first */
    *list = (int32_t)c->link_count;
    return VN_OK;
}

/* ---- text ------------------------------------------------------------------------------------ */

vn_status vn_caption_check(const char *text, size_t size, vn_err *err) {
    const char *at = text, *const end = text + size;
    while (at < end) {
        const char *begin = at;
        const uint32_t code = vn_utf8_next(&at);
        if (code == 0)
            return vn_fail(err, VN_BAD_FILE, "the byte at offset %zu is 0, so it is no text",
                           (size_t)(begin - text));
        if (code == VN_NOT_UTF8)
            return vn_fail(err, VN_BAD_FILE, "byte 0x%02X at offset %zu is not UTF-8",
                           (unsigned)(unsigned char)*begin, (size_t)(begin - text));
    }
    return VN_OK;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

/* Windows' editors write UTF-16 too, with a mark at its beginning. */
static vn_status check_encoding(const char *text, size_t size, vn_err *err) {
    if (size >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0))
        return vn_fail(err, VN_BAD_FILE, "is UTF-16, which has to be saved as UTF-8");
    return vn_caption_check(text, size, err);
}

vn_status vn_captions_add_trimmed(vn_captions *c, int32_t *list, const char *text, size_t size,
                                  vn_err *err) {
    while (size > 0 && is_blank(text[size - 1])) size--;
    while (size > 0 && is_blank(*text)) text++, size--;
    return vn_captions_add(c, list, text, size, err);
}

vn_status vn_captions_add_lines(vn_captions *c, int32_t *list, const char *text, size_t size,
                                vn_err *err) {
    static const char mark[] = "\xEF\xBB\xBF";
    const char *at = text, *const end = text + size;
    vn_status status = check_encoding(text, size, err);
    if (!status && size >= 3 && memcmp(text, mark, 3) == 0) at += 3;
    while (!status && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const char *next = line_end ? line_end + 1 : end;
        status = vn_captions_add_trimmed(c, list, at, (size_t)(next - at), err);
        at = next;
    }
    return status;
}

/* ---- settling -------------------------------------------------------------------------------- */

/* Places for all samples' captions. */
static vn_status place(vn_captions *c, const int32_t *lists, vn_err *err) {
    size_t capacity = 0;
    int64_t all = 0;
    vn_status status =
        grow(c, (void **)&c->first, &capacity, 0, (size_t)c->count + 1, sizeof *c->first, err);
    for (int64_t i = 0; !status && i < c->count; i++) {
        c->first[i] = all;
        for (int32_t at = lists[i]; at != 0; at = c->links[at - 1].next) all++;
        c->without += c->first[i] == all;
    }
    if (status) return status;
    c->first[c->count] = 0; /* until there are so many */
    capacity = 0;
    status = grow(c, (void **)&c->which, &capacity, 0, (size_t)all, sizeof *c->which, err);
    if (!status) c->first[c->count] = all;
    return status;
}

/* Numbers in the order in which samples use them first, so that they depend on the samples alone;
 * the texts in that order. */
static vn_status renumber(vn_captions *c, vn_err *err) {
    const int64_t all = c->first[c->count];
    int32_t *to = vn_calloc((size_t)c->distinct + 1, sizeof *to); /* 1 + the new number */
    size_t *at = vn_alloc((size_t)c->distinct + 1, sizeof *at), used = 0;
    char *text = vn_alloc(c->used, 1);
    int32_t distinct = 0;
    const bool ok = to && at && text;
    for (int64_t k = 0; ok && k < all; k++) {
        const int32_t old = c->which[k];
        if (to[old] == 0) {
            const size_t length = strlen(c->text + c->at[old]);
            memcpy(text + used, c->text + c->at[old], length + 1);
            at[distinct] = used;
            used += length + 1;
            to[old] = ++distinct;
            if (length > c->longest) c->longest = length;
        }
        c->which[k] = to[old] - 1;
    }
    vn_free(to);
    if (!ok) {
        vn_free(at);
        vn_free(text);
        return vn_no_memory(err);
    }
    vn_free(c->at);
    vn_free(c->text);
    c->at = at;
    c->text = text;
    c->at_capacity = (size_t)c->distinct + 1;
    c->text_capacity = c->used;
    c->used = used;
    c->distinct = distinct;
    return VN_OK;
}

static void take_fingerprint(vn_captions *c) {
    uLong crc = crc32_z(0, NULL, 0);
    crc = crc32_z(crc, (const Bytef *)c->first, ((size_t)c->count + 1) * sizeof *c->first);
    if (c->used > 0) {
        crc = crc32_z(crc, (const Bytef *)c->text, c->used);
        crc = crc32_z(crc, (const Bytef *)c->which, (size_t)c->first[c->count] * sizeof *c->which);
    }
    c->fingerprint = (uint32_t)crc;
}

vn_status vn_captions_settle(vn_captions *c, const int32_t *lists, int64_t count, vn_err *err) {
    c->count = count;
    vn_status status = place(c, lists, err);
    for (int64_t i = 0; !status && i < count; i++) {
        int64_t k = c->first[i + 1];
        for (int32_t at = lists[i]; at != 0; at = c->links[at - 1].next)
            c->which[--k] = c->links[at - 1].number;
    }
    if (!status) status = renumber(c, err);
    vn_free(c->links);
    vn_free(c->table);
    c->links = NULL;
    c->table = NULL;
    c->link_count = c->link_capacity = c->slots = 0;
    if (!status) take_fingerprint(c);
    return status;
}

/* ---- use ------------------------------------------------------------------------------------- */

int32_t vn_captions_draw(const vn_captions *c, int64_t sample, uint64_t seed, uint64_t key,
                         uint64_t step) {
    const int64_t first = c->first[sample], n = c->first[sample + 1] - first;
    uint32_t bits = 0;
    if (n == 0) return VN_LABEL_NULL;
    if (n > 1) vn_random_bits(&bits, 1, seed, VN_STREAM_CAPTION, key, step);
    return c->which[first + (int64_t)((uint64_t)bits * (uint64_t)n >> 32)];
}

const char *vn_captions_text(const vn_captions *c, int32_t number) {
    return number >= 0 && number < c->distinct ? c->text + c->at[number] : NULL;
}

vn_caption_info vn_captions_info(const vn_captions *c) {
    return (vn_caption_info){.captions = c->first[c->count],
                             .distinct = c->distinct,
                             .longest = (int64_t)c->longest,
                             .without = c->without,
                             .fingerprint = c->fingerprint};
}

int64_t vn_captions_first_without(const vn_captions *c) {
    for (int64_t i = 0; i < c->count; i++)
        if (c->first[i] == c->first[i + 1]) return i;
    return -1;
}

uint32_t vn_captions_hash(const vn_captions *c, int64_t sample) {
    uLong crc = crc32_z(0, NULL, 0);
    for (int64_t k = c->first[sample]; k < c->first[sample + 1]; k++) {
        const char *text = c->text + c->at[c->which[k]];
        crc = crc32_z(crc, (const Bytef *)text, strlen(text) + 1);
    }
    return (uint32_t)crc;
}
