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

bool vn_names_find(const vn_names *list, const char *text, int64_t *index) {
    for (size_t i = 0; list->names && i < list->count; i++) {
        if (strcmp(list->names[i], text) != 0) continue;
        *index = (int64_t)i;
        return true;
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
