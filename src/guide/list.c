/* list.c - the text of a list of guides, "cfg,interval:lo=0.3": which guides it names, what they
 * need, and the list with one more. */
#include "guide/internal.h"

#include <string.h>

/* The row of the first guide of a list, or NULL if that is not the text of a guide; *text moves on
 * to the next one, and is NULL after the last. */
static const vn_guide_row *next_row(const char **text) {
    vn_choice c;
    vn_err err;
    const size_t length = vn_choice_length(*text);
    char *one = vn_format("%.*s", (int)length, *text);
    const bool known = one && vn_choice_parse(one, &vn_guides, &c, &err) == VN_OK;
    vn_free(one);
    *text = (*text)[length] == ',' ? *text + length + 1 : NULL;
    return known ? (const vn_guide_row *)c.row : NULL;
}

vn_status vn_guides_check(const char *text, vn_err *err) {
    vn_status status = VN_OK;
    for (bool more = true; more && !status;) {
        const size_t length = vn_choice_length(text);
        vn_choice c;
        char *one = vn_format("%.*s", (int)length, text);
        status = one ? vn_choice_parse(one, &vn_guides, &c, err) : vn_no_memory(err);
        vn_free(one);
        more = text[length] == ',';
        text += length + 1;
    }
    return status;
}

bool vn_guides_select(const char *text) {
    while (text) {
        const vn_guide_row *row = next_row(&text);
        if (row && row->select) return true;
    }
    return false;
}

unsigned vn_guides_need(const char *text) {
    unsigned needs = 0;
    while (text) {
        const vn_guide_row *row = next_row(&text);
        if (row) needs |= row->needs;
    }
    return needs;
}

/* `list` (NULL: empty), which is freed, with one more guide after it, the first `length` characters
 * of `one`. A new string, or NULL: out of memory. */
static char *with_guide(char *list, const char *one, size_t length) {
    char *longer = list ? vn_format("%s%s%.*s", list, *list ? "," : "", (int)length, one) : NULL;
    vn_free(list);
    return longer;
}

char *vn_guides_finish(const char *guide, const char *last) {
    bool replaced = false;
    char *list = vn_strdup("");
    for (const char *text = guide; text && list;) {
        const size_t length = vn_choice_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        vn_choice c;
        const vn_status status = one ? vn_choice_parse(one, &vn_guides, &c, NULL) : VN_NO_MEMORY;
        /* text that is no guide is refused when the list is opened */
        const vn_guide_row *row = status ? NULL : (const vn_guide_row *)c.row;
        const bool left_out = row == &vn_clip_guide && c.value[0] == 0;
        replaced |= row && row->bounds_x0;
        if (status == VN_NO_MEMORY) {
            vn_free(list);
            list = NULL;
        } else if (!left_out) {
            list = with_guide(list, text, length);
        }
        vn_free(one);
        text = text[length] == ',' ? text + length + 1 : NULL;
    }
    if (list && !*list) list = with_guide(list, "cfg", 3);
    return replaced || !list ? list : with_guide(list, last, strlen(last));
}
