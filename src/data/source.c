/* source.c - what every reader fills: its memory, its class names, its fingerprint. */
#include "data/internal.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

enum { NAMES_MAX_BYTES = 1 << 20 };

void vn_source_close(vn_source *s) {
    vn_free(s->labels);
    vn_free(s->pixels);
    vn_free(s->points);
    vn_free(s->noise);
    vn_folder_close(&s->folder);
    vn_rows_close(&s->rows);
    vn_captions_close(&s->captions);
    vn_world_close(&s->world);
    vn_arena_free(&s->arena);
    *s = (vn_source){0};
}

size_t vn_source_sample_size(const vn_source *s) {
    size_t n = 1;
    for (int i = 0; i < s->sample.rank; i++) n *= (size_t)s->sample.dim[i];
    return n;
}

bool vn_source_has(const char *folder, const char *name) {
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && vn_is_file(path);
}

/* ---- class names ----------------------------------------------------------------------------- */

vn_status vn_source_room_for_names(vn_source *s, int32_t classes, vn_err *err) {
    s->names = vn_arena_alloc(&s->arena, (size_t)classes * sizeof *s->names);
    if (!s->names) return vn_no_memory(err);
    s->classes = classes;
    return VN_OK;
}

vn_status vn_source_set_name(vn_source *s, int32_t label, const char *text, size_t length,
                             vn_err *err) {
    char *name = vn_format("%.*s", (int)length, text), *valid = name ? vn_utf8(name) : NULL;
    char *copy = valid ? vn_arena_alloc(&s->arena, strlen(valid) + 1) : NULL;
    if (copy) s->names[label] = strcpy(copy, valid);
    vn_free(name);
    vn_free(valid);
    return copy ? VN_OK : vn_no_memory(err);
}

vn_status vn_source_copy_names(vn_source *s, const char *const *names, int32_t classes,
                               vn_err *err) {
    vn_status status = vn_source_room_for_names(s, classes, err);
    for (int32_t k = 0; !status && k < classes; k++)
        status = vn_source_set_name(s, k, names[k], strlen(names[k]), err);
    return status;
}

vn_status vn_source_number_names(vn_source *s, int32_t classes, vn_err *err) {
    vn_status status = vn_source_room_for_names(s, classes, err);
    for (int32_t k = 0; !status && k < classes; k++) {
        char number[16];
        const int length = snprintf(number, sizeof number, "%d", (int)k);
        status = vn_source_set_name(s, k, number, (size_t)length, err);
    }
    return status;
}

/* One line without its end; NULL after the last. Empty lines at the end of the file are no
 * lines. */
static const char *next_line(const char **text, size_t *length) {
    const char *line = *text;
    if (line[strspn(line, "\r\n \t")] == '\0') return NULL;
    *length = strcspn(line, "\r\n");
    *text = line + *length;
    if (**text == '\r') ++*text;
    if (**text == '\n') ++*text;
    return line;
}

static vn_status split_names(vn_source *s, const char *text, const char *path, int32_t classes,
                             vn_err *err) {
    const char *at = text;
    size_t length;
    int32_t lines = 0;
    while (next_line(&at, &length)) lines++;
    if (lines == 0) return vn_fail(err, VN_BAD_FILE, "%s: holds no class names", path);
    if (classes > 0 && lines != classes)
        return vn_fail(err, VN_BAD_FILE, "%s: %d class names where %d are expected", path,
                       (int)lines, (int)classes);
    vn_status status = vn_source_room_for_names(s, lines, err);
    at = text;
    for (int32_t k = 0; !status && k < lines; k++) {
        const char *line = next_line(&at, &length);
        if (length == 0) return vn_fail(err, VN_BAD_FILE, "%s: line %d is empty", path, (int)k + 1);
        status = vn_source_set_name(s, k, line, length, err);
    }
    return status;
}

vn_status vn_source_read_names(vn_source *s, const char *path, int32_t classes, vn_err *err) {
    char *text = NULL;
    size_t size = 0;
    vn_status status = vn_read_file(path, NAMES_MAX_BYTES, &text, &size, err);
    if (status) return status;
    if (strlen(text) != size)
        status = vn_fail(err, VN_BAD_FILE, "%s: is not a text file", path);
    else
        status = split_names(s, text, path, classes, err);
    vn_free(text);
    return status;
}

/* ---- fingerprint ----------------------------------------------------------------------------- */

static uLong add(uLong crc, const void *data, size_t size) {
    return size > 0 ? crc32_z(crc, data, size) : crc;
}

static uLong add_files(uLong crc, const vn_folder *folder, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const char *path = vn_folder_path(folder, i);
        const int64_t bytes = vn_folder_file_bytes(folder, i);
        crc = add(crc, path, strlen(path) + 1);
        crc = add(crc, &bytes, sizeof bytes);
    }
    return crc;
}

/* The same in pieces, between which it can be stopped. */
static vn_status add_much(uLong *crc, const void *data, size_t size, vn_reading *r, vn_err *err) {
    const size_t piece = (size_t)4 << 20;
    vn_status status = VN_OK;
    for (size_t at = 0; !status && at < size; at += piece) {
        const size_t n = size - at < piece ? size - at : piece;
        *crc = add(*crc, (const char *)data + at, n);
        status = vn_reading_advance(r, n, err);
    }
    return status;
}

vn_status vn_source_fingerprint(const vn_source *s, const vn_watch *watch, uint32_t *out,
                                vn_err *err) {
    const size_t count = (size_t)s->count, numbers = count * vn_source_sample_size(s);
    uLong crc = add(crc32_z(0, NULL, 0), s->sample.dim, 3 * sizeof *s->sample.dim);
    crc = add(crc, &s->count, sizeof s->count);
    for (int32_t k = 0; k < s->classes; k++) crc = add(crc, s->names[k], strlen(s->names[k]) + 1);
    if (s->labels) crc = add(crc, s->labels, count * sizeof *s->labels);
    const float *floats = s->rows ? vn_rows_array(s->rows) : s->points,
                *noise = s->rows ? vn_rows_noise(s->rows) : s->noise;
    vn_reading reading;
    vn_reading_begin(&reading, watch,
                     numbers * (floats ? sizeof(float) : 1) +
                         (noise ? numbers : 0) * sizeof(float));
    vn_status status = VN_OK;
    if (s->pixels) status = add_much(&crc, s->pixels, numbers, &reading, err);
    if (floats) status = add_much(&crc, floats, numbers * sizeof(float), &reading, err);
    if (!status && noise) status = add_much(&crc, noise, numbers * sizeof(float), &reading, err);
    if (s->folder) crc = add_files(crc, s->folder, s->count);
    if (s->rows && !floats) {
        const uint64_t key = vn_rows_key(s->rows);
        crc = add(add(crc, &key, sizeof key), &s->brings_noise, sizeof s->brings_noise);
    }
    if (s->captions) {
        const uint32_t captions = vn_captions_info(s->captions).fingerprint;
        crc = add(crc, &captions, sizeof captions);
    }
    *out = (uint32_t)crc;
    return status;
}
