/* exif.c - the one tag of EXIF that changes what a picture is: its orientation (CIPA DC-008 / TIFF
 * 6.0, tag 274).
 *
 * EXIF data is a TIFF: a byte order, and the offset of a directory of entries of twelve bytes.
 * Orientation stands in the first directory as a number in the entry itself, so no other offset is
 * ever followed and nothing is allocated. That is the reason for reading it here rather than
 * through a library of EXIF, which parses all of it. Whatever makes no sense is no orientation: a
 * picture is not refused for what a camera or an editor wrote beside it. */
#include "image/internal.h"

#include <string.h>

enum { ORIENTATION = 0x0112, ENTRY = 12, BYTE = 1, SHORT = 3, LONG = 4 };

typedef struct tiff {
    const vn_span *file;
    vn_part part;
    bool little;
} tiff;

/* An unsigned number of n bytes, n <= 4, at an offset in the data; false: outside. */
static bool number(const tiff *t, uint64_t at, size_t n, uint32_t *out) {
    uint8_t b[4];
    if (at > t->part.size || n > t->part.size - at || !vn_span_read(t->file, t->part.at + at, b, n))
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) *out = *out << 8 | b[t->little ? n - 1 - i : i];
    return true;
}

/* Some writers keep JPEG's name of the block before it in other formats too. */
static void skip_name(tiff *t) {
    uint8_t name[6];
    if (t->part.size < sizeof name || !vn_span_read(t->file, t->part.at, name, sizeof name)) return;
    if (memcmp(name, "Exif\0", 6) != 0) return;
    t->part.at += sizeof name;
    t->part.size -= sizeof name;
}

static bool find_directory(tiff *t, uint32_t *at, uint32_t *entries) {
    uint8_t order[4];
    skip_name(t);
    if (t->part.size < 8 || !vn_span_read(t->file, t->part.at, order, sizeof order)) return false;
    t->little = memcmp(order, "II*\0", 4) == 0;
    if (!t->little && memcmp(order, "MM\0*", 4) != 0) return false;
    return number(t, 4, 4, at) && number(t, *at, 2, entries);
}

int vn_exif_orientation(const vn_span *file, const vn_part *exif) {
    tiff t = {.file = file, .part = *exif};
    uint32_t at, entries, tag, type, count, value;
    if (!find_directory(&t, &at, &entries)) return 1;
    for (uint32_t i = 0; i < entries; i++) {
        const uint64_t entry = (uint64_t)at + 2 + (uint64_t)i * ENTRY;
        if (!number(&t, entry, 2, &tag) || !number(&t, entry + 2, 2, &type) ||
            !number(&t, entry + 4, 4, &count))
            return 1;
        if (tag != ORIENTATION) continue;
        const size_t bytes = type == BYTE ? 1 : type == SHORT ? 2 : type == LONG ? 4 : 0;
        if (bytes == 0 || count != 1 || !number(&t, entry + 8, bytes, &value)) return 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
