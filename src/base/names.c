/* names.c - finds one of a list of things by its name or number, as a person writes it. */
#define _GNU_SOURCE /* strcasestr */
#include "base/base.h"

#include <string.h>

/* Whether the names are numbers that differ from the indices, so that an index would be ambiguous:
 * of "1", "2", "3" the name "1" has the index 0. */
static bool is_number_of(const vn_names *list, int64_t index) {
    int64_t named;
    return index >= 0 && (size_t)index < list->count && vn_parse_int(list->names[index], &named) &&
           named >= 0 && (size_t)named <= list->count;
}

/* The first one from `from` on that has exactly this name; list->count: none. */
static size_t next_named(const vn_names *list, const char *text, size_t from) {
    if (!list->names) return list->count;
    while (from < list->count && strcmp(list->names[from], text) != 0) from++;
    return from;
}

bool vn_names_find(const vn_names *list, const char *text, int64_t *index) {
    const size_t first = next_named(list, text, 0);
    if (first < list->count) {
        *index = (int64_t)first;
        return next_named(list, text, first + 1) == list->count;
    }
    return vn_parse_int(text, index) && !(list->names && is_number_of(list, *index));
}

const char *vn_names_word(const vn_names *list, int64_t index, char number[VN_NAMES_NUMBER]) {
    int64_t found = -1;
    const char *name = list->names ? list->names[index] : NULL;
    if (name && vn_names_find(list, name, &found) && found == index) return name;
    snprintf(number, VN_NAMES_NUMBER, "%lld", (long long)index);
    return vn_names_find(list, number, &found) && found == index ? number : NULL;
}

/* "134 and 517", "0, 1, 2 and 5 more": the numbers of `count` that have the name. */
static void list_numbers(const vn_names *list, const char *text, size_t count, char *out,
                         size_t size) {
    enum { NAMED = 8 };
    size_t at = 0, used = 0;
    for (size_t i = 0; i < count && i < NAMED; i++, at++) {
        at = next_named(list, text, at);
        const char *gap = i == 0 ? "" : i + 1 == count ? " and " : ", ";
        used += (size_t)snprintf(out + used, size - used, "%s%zu", gap, at);
    }
    if (count > NAMED) snprintf(out + used, size - used, " and %zu more", count - NAMED);
}

const char *vn_names_shared(const vn_names *list, const char *text, char out[VN_NAMES_SHARED]) {
    size_t count = 0;
    char number[VN_NAMES_NUMBER];
    const size_t first = next_named(list, text, 0);
    for (size_t i = first; i < list->count; i = next_named(list, text, i + 1)) count++;
    if (count < 2) return NULL;
    list_numbers(list, text, count, out, VN_NAMES_SHARED / 2);
    if (vn_names_word(list, (int64_t)first, number)) strcat(out, ": say which by its number");
    return out;
}

/* The only name that has `text` in it, whatever the case: "boot" for "Ankle boot". NULL: none, or
 * several. */
static const char *containing(const vn_names *list, const char *text) {
    const char *found = NULL;
    for (size_t i = 0; text[0] && i < list->count; i++) {
        if (!strcasestr(list->names[i], text)) continue;
        if (found) return NULL;
        found = list->names[i];
    }
    return found;
}

const char *vn_names_nearest(const vn_names *list, const char *text) {
    if (!list->names) return NULL;
    const char *near = containing(list, text);
    return near ? near : vn_nearest(text, list->names, list->count);
}
