/* list.c - the text of a list of guides, "cfg,interval:lo=0.3": which guides it names, what they
 * need, and the list with one more. */
#include "guide/internal.h"

#include <string.h>

/* The row of the first guide of a list, or NULL if that is not the text of a guide; *text moves on
 * to the next one, and is NULL after the last. */
static const vn_guide_row *next_choice(const char **text, vn_choice *c) {
    vn_err err;
    const size_t length = vn_choice_length(*text);
    char *one = vn_format("%.*s", (int)length, *text);
    const bool known = one && vn_choice_parse(one, &vn_guides, c, &err) == VN_OK;
    vn_free(one);
    *text = (*text)[length] == ',' ? *text + length + 1 : NULL;
    return known ? (const vn_guide_row *)c->row : NULL;
}

static const vn_guide_row *next_row(const char **text) {
    vn_choice c;
    return next_choice(text, &c);
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

/* ---- the conditions that it names ------------------------------------------------------------ */

typedef vn_status each_text(void *self, const char *text, vn_err *err);

/* Cuts off the spaces around a text. */
static char *trimmed(char *text) {
    text += strspn(text, " ");
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' ';) text[--n] = 0;
    return text;
}

/* A value without its quotes, in which "" is a quote; in place. */
static char *unquoted(char *text) {
    const size_t n = strlen(text);
    if (n < 2 || text[0] != '"' || text[n - 1] != '"') return text;
    text[n - 1] = 0;
    char *to = text;
    for (const char *from = text + 1; *from; from++) {
        *to++ = *from;
        from += from[0] == '"' && from[1] == '"';
    }
    *to = 0;
    return text;
}

/* "key=value", which is cut to pieces. */
static vn_status each_of_pair(const vn_row *row, char *pair, each_text *each, void *self,
                              vn_err *err) {
    char *equals = strchr(pair, '=');
    if (!equals) return VN_OK;
    *equals = 0;
    const char *key = trimmed(pair);
    for (const vn_param *p = row->params; p && p->name; p++)
        if (p->kind == VN_PARAM_CONDITION && !strcmp(p->name, key))
            return each(self, unquoted(trimmed(equals + 1)), err);
    return VN_OK;
}

/* One guide, which is cut to pieces. */
static vn_status each_of_guide(char *guide, each_text *each, void *self, vn_err *err) {
    char *pairs = strchr(guide, ':');
    size_t index;
    vn_status status = VN_OK;
    if (pairs) *pairs++ = 0;
    const vn_row *row = vn_table_find(&vn_guides, trimmed(guide), &index);
    while (row && pairs && !status) {
        char *end = pairs + vn_pair_length(pairs), *next = *end ? end + 1 : NULL;
        *end = 0;
        status = each_of_pair(row, pairs, each, self, err);
        pairs = next;
    }
    return status;
}

vn_status vn_guides_conditions(const char *guide,
                               vn_status (*each)(void *self, const char *text, vn_err *err),
                               void *self, vn_err *err) {
    vn_status status = VN_OK;
    for (const char *text = guide; text && !status;) {
        const size_t length = vn_choice_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        status = one ? each_of_guide(one, each, self, err) : vn_no_memory(err);
        vn_free(one);
        text = text[length] == ',' ? text + length + 1 : NULL;
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

const char *vn_guides_not_linear(const char *text) {
    while (text) {
        const vn_guide_row *row = next_row(&text);
        if (row && !row->linear) return row->row.name;
    }
    return NULL;
}

bool vn_guides_interval(const char *text, double *lo, double *hi) {
    bool found = false;
    while (text) {
        vn_choice c;
        const vn_guide_row *row = next_choice(&text, &c);
        if (row != &vn_cfg_guide && row != &vn_interval_guide) return false;
        if (row == &vn_cfg_guide) continue;
        vn_interval_bounds(&c, lo, hi);
        found = true;
    }
    return found;
}

unsigned vn_guides_need(const char *text) {
    unsigned needs = 0;
    vn_choice c;
    while (text) {
        const vn_guide_row *row = next_choice(&text, &c);
        if (row) needs |= vn_guide_choice_needs(row, &c);
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
