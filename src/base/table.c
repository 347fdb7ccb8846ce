/* table.c - parses the choice of a row of a table: "name" or "name:key=value,key=value". Unknown
 * names and keys are refused with the nearest known one. */
#include "base/base.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME           63
#define MAX_NUMBER         63
#define MAX_LISTED         16 /* names that a message lists; beyond, `vane list` does */
#define SHORTEST_BEGINNING 3  /* letters from which a name is completed */

/* ---- numbers --------------------------------------------------------------------------------- */

bool vn_parse_double(const char *text, double *out) {
    size_t n = strlen(text);
    if (n == 0 || n > MAX_NUMBER || text[strspn(text, "0123456789+-.eE")]) return false;
    char *end;
    double value = vn_strtod(text, &end);
    if (*end || end == text || !isfinite(value)) return false;
    *out = value;
    return true;
}

bool vn_parse_int(const char *text, int64_t *out) {
    if (!text[0] || text[strspn(text, "0123456789+-")]) return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || end == text || errno) return false;
    *out = value;
    return true;
}

void vn_number_text(char text[32], double value) {
    double back;
    for (int digits = 6; digits <= 17; digits++) {
        vn_snprintf(text, 32, "%.*g", digits, value);
        if (vn_parse_double(text, &back) && back == value) return;
    }
}

/* ---- nearest names --------------------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string
 * alignment). */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][MAX_NAME + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t cost = vn_small_letter(a[i - 1]) != vn_small_letter(b[j - 1]);
            row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[m];
}

/* The shortest name that begins with the text, which is likelier cut short than misspelt. */
static const char *completion(const char *text, const char *const *names, size_t count) {
    const size_t n = strlen(text);
    const char *shortest = NULL;
    for (size_t i = 0; n >= SHORTEST_BEGINNING && i < count; i++) {
        if (!vn_begins_but_for_case(names[i], text)) continue;
        if (!shortest || strlen(names[i]) < strlen(shortest)) shortest = names[i];
    }
    return shortest;
}

const char *vn_nearest(const char *text, const char *const *names, size_t count) {
    size_t n = strlen(text), best = SIZE_MAX;
    const char *nearest = completion(text, names, count);
    if (nearest) return nearest;
    if (n == 0 || n > MAX_NAME) return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t m = strlen(names[i]);
        if (m > MAX_NAME) continue;
        size_t distance = edit_distance(text, n, names[i], m);
        if (distance < best && distance <= 1 + smaller(n, m) / 4) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

void vn_add_hint(vn_err *err, const char *text, const char *const *names, size_t count) {
    const char *nearest = vn_nearest(text, names, count);
    size_t used = strlen(err->text), room = sizeof err->text - used;
    if (nearest) {
        snprintf(err->text + used, room, "; did you mean '%s'?", nearest);
        return;
    }
    if (count > MAX_LISTED) return;
    for (size_t i = 0; i < count; i++) {
        used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, "%s%s",
                 i ? ", " : "; known: ", names[i]);
    }
}

/* ---- parsing --------------------------------------------------------------------------------- */

const vn_row *vn_table_row(const vn_table *table, size_t i) {
    if (table->stride == 0) return ((const vn_row *const *)table->rows)[i];
    return (const vn_row *)((const char *)table->rows + i * table->stride);
}

static size_t param_count(const vn_row *row) {
    size_t n = 0;
    while (row->params && n < VN_MAX_PARAMS && row->params[n].name) n++;
    return n;
}

/* Letters and digits alone, + as p: "DPM++ 2M" is "dpmpp2m". */
static void squeeze(const char *text, char out[MAX_NAME + 1]) {
    size_t n = 0;
    for (; *text && n < MAX_NAME; text++) {
        const char c = *text == '+' ? 'p' : vn_small_letter(*text);
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out[n++] = c;
    }
    out[n] = 0;
}

const vn_row *vn_table_find(const vn_table *table, const char *name, size_t *index) {
    for (const vn_word *w = table->former; w && w->word; w++)
        if (strcmp(w->word, name) == 0) name = w->name;
    for (*index = 0; *index < table->count; ++*index)
        if (strcmp(vn_table_row(table, *index)->name, name) == 0)
            return vn_table_row(table, *index);
    return NULL;
}

/* The row that other programs call so, or whose name the text is but for punctuation. */
static const char *translate(const char *text, const vn_table *table) {
    char typed[MAX_NAME + 1], other[MAX_NAME + 1];
    squeeze(text, typed);
    if (!typed[0]) return NULL;
    for (const vn_word *w = table->words; w && w->word; w++) {
        squeeze(w->word, other);
        if (strcmp(typed, other) == 0) return w->name;
    }
    for (size_t i = 0; i < table->count; i++) {
        squeeze(vn_table_row(table, i)->name, other);
        if (strcmp(typed, other) == 0) return vn_table_row(table, i)->name;
    }
    return NULL;
}

/* The longest name that the text holds: of "k_euler" "euler". */
static const char *contained(const char *text, const char *const *names, size_t count) {
    char typed[MAX_NAME + 1], other[MAX_NAME + 1];
    const char *best = NULL;
    size_t longest = SHORTEST_BEGINNING - 1;
    squeeze(text, typed);
    for (size_t i = 0; i < count; i++) {
        squeeze(names[i], other);
        if (strlen(other) <= longest || !strstr(typed, other)) continue;
        longest = strlen(other);
        best = names[i];
    }
    return best;
}

static vn_status unknown_name(const char *name, const vn_table *table, vn_err *err) {
    const char *names[MAX_LISTED * 8];
    const size_t count = smaller(table->count, VN_COUNT(names));
    for (size_t i = 0; i < count; i++) names[i] = vn_table_row(table, i)->name;
    vn_err message;
    vn_fail(&message, VN_BAD_ARGUMENT, name[0] ? "unknown %s '%.80s'" : "no %s is named%s",
            table->what, name);
    const char *meant = translate(name, table);
    if (!meant && !vn_nearest(name, names, count)) meant = contained(name, names, count);
    if (meant) return vn_fail(err, VN_BAD_ARGUMENT, "%s; did you mean '%s'?", message.text, meant);
    vn_add_hint(&message, name, names, count);
    if (count > MAX_LISTED && !vn_nearest(name, names, count))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s; vane list %ss shows all", message.text,
                       table->what);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
}

static vn_status unknown_key(const vn_row *row, const char *key, vn_err *err) {
    const char *names[VN_MAX_PARAMS];
    size_t count = param_count(row);
    for (size_t i = 0; i < count; i++) names[i] = row->params[i].name;
    vn_err message;
    if (count == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s takes no parameters, so no '%.80s'", row->name,
                       key);
    vn_fail(&message, VN_BAD_ARGUMENT, "%s has no parameter '%.80s'", row->name, key);
    vn_add_hint(&message, key, names, count);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
}

/* The index of `text` in "a|b|c", or -1. */
static int choice_index(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (int i = 0;; i++) {
        size_t m = strcspn(choices, "|");
        if (m == n && memcmp(choices, text, n) == 0) return i;
        if (!choices[m]) return -1;
        choices += m + 1;
    }
}

static vn_status out_of_range(const vn_row *row, const vn_param *p, const char *text, vn_err *err) {
    char min[32], max[32];
    vn_number_text(min, p->min);
    vn_number_text(max, p->max);
    if (isinf(p->max))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%s is below %s", row->name, p->name, text,
                       min);
    if (isinf(p->min))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%s is above %s", row->name, p->name, text,
                       max);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%s is outside [%s, %s]", row->name, p->name, text,
                   min, max);
}

static vn_status unknown_class(const vn_row *row, const vn_param *p, const char *text,
                               const vn_names *classes, vn_err *err) {
    vn_err message;
    const char *near = vn_names_nearest(classes, text);
    vn_fail(&message, VN_BAD_ARGUMENT, "%s: %s=%.80s is no class of the model", row->name, p->name,
            text);
    if (near && strchr(near, ',')) /* to be written in quotes */
        return vn_fail(err, VN_BAD_ARGUMENT, "%s; did you mean %s=\"%s\"?", message.text, p->name,
                       near);
    if (near) return vn_fail(err, VN_BAD_ARGUMENT, "%s; did you mean '%s'?", message.text, near);
    if (classes->names) vn_add_hint(&message, text, classes->names, classes->count);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
}

/* A class by name or number. */
static vn_status parse_class(const vn_row *row, const vn_param *p, const char *text,
                             const vn_names *classes, double *value, vn_err *err) {
    static const vn_names unknown = {NULL, 0};
    int64_t index;
    const bool found = vn_names_find(classes ? classes : &unknown, text, &index);
    *value = found ? (double)index : (double)NAN;
    if (!classes) return VN_OK;
    char several[VN_NAMES_SHARED];
    if (vn_names_shared(classes, text, several))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: %s=%.80s: several classes of the model are called so, %s", row->name,
                       p->name, text, several);
    if (!found) return unknown_class(row, p, text, classes, err);
    if (index >= 0 && (size_t)index < classes->count) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%s is none of the model's %zu classes", row->name,
                   p->name, text, classes->count);
}

/* Puts the text behind those that the choice holds. */
static vn_status keep_text(const vn_row *row, const vn_param *p, const char *text, vn_choice *out,
                           double *value, vn_err *err) {
    size_t used = 0;
    for (size_t i = 0; i < param_count(row); i++)
        if (row->params[i].kind == VN_PARAM_TEXT && out->value[i] > 0) {
            const size_t begins = (size_t)out->value[i] - 1;
            const size_t ends = begins + strlen(out->text + begins) + 1;
            if (ends > used) used = ends;
        }
    const size_t n = strlen(text) + 1;
    if (n > sizeof out->text - used)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: the text of %s is too long: %zu bytes of %zu",
                       row->name, p->name, n - 1, sizeof out->text - used - 1);
    memcpy(out->text + used, text, n);
    *value = (double)(used + 1);
    return VN_OK;
}

static vn_status parse_value(const vn_row *row, const vn_param *p, const char *text,
                             const vn_names *classes, vn_choice *out, double *value, vn_err *err) {
    if (p->kind == VN_PARAM_CONDITION) return parse_class(row, p, text, classes, value, err);
    if (p->kind == VN_PARAM_TEXT) return keep_text(row, p, text, out, value, err);
    if (p->choices) {
        int index = choice_index(p->choices, text);
        if (index < 0)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%.80s is none of %s", row->name, p->name,
                           text, p->choices);
        *value = index;
        return VN_OK;
    }
    if (!vn_parse_double(text, value))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%.80s is not a number", row->name, p->name,
                       text);
    if (*value < p->min || *value > p->max) return out_of_range(row, p, text, err);
    if (p->kind == VN_PARAM_WHOLE && *value != floor(*value))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s=%s is not a whole number", row->name, p->name,
                       text);
    return VN_OK;
}

/* The text without the spaces around it, cut off where it stands. */
static char *trim(char *text) {
    text += strspn(text, " ");
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' ';) text[--n] = 0;
    return text;
}

/* Where the quote is that closes the one `text` begins with; 0: nowhere. */
static size_t closing_quote(const char *text) {
    size_t n = 1;
    while (text[n] && (text[n] != '"' || text[n + 1] == '"')) n += text[n] == '"' ? 2 : 1;
    return text[n] ? n : 0;
}

size_t vn_pair_length(const char *text) {
    size_t n = strcspn(text, "=,");
    if (text[n] == '=') n += 1 + strspn(text + n + 1, " ");
    if (n > 0 && text[n] == '"') {
        const size_t closing = closing_quote(text + n);
        n = closing ? n + closing : strlen(text);
    }
    return n + strcspn(text + n, ",");
}

size_t vn_choice_length(const char *text) {
    size_t end = vn_pair_length(text);
    while (text[end]) {
        const char *word = text + end + 1;
        if (word[strcspn(word, "=:,")] != '=') break;
        end += 1 + vn_pair_length(word);
    }
    return end;
}

/* A value without its quotes, in place; NULL where they do not close at its end. */
static char *unquote(char *text) {
    if (text[0] != '"') return text;
    const size_t closing = closing_quote(text);
    if (!closing || text[closing + 1]) return NULL;
    text[closing] = 0;
    char *to = text;
    for (const char *from = text + 1; *from; from++) {
        *to++ = *from;
        from += *from == '"'; /* of two, one */
    }
    *to = 0;
    return text;
}

/* One "key=value"; the text is cut in two at the '='. */
static vn_status parse_pair(char *pair, const vn_names *classes, vn_choice *out, vn_err *err) {
    const vn_row *row = out->row;
    char *equals = strchr(pair, '=');
    if (equals) *equals = 0;
    pair = trim(pair);
    size_t i = 0, count = param_count(row);
    while (i < count && strcmp(row->params[i].name, pair) != 0) i++;
    if (i == count) return unknown_key(row, pair, err);
    if (!equals)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s has no value; write %s=VALUE", row->name, pair,
                       pair);
    if (out->given[i])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s is given twice", row->name, pair);
    out->given[i] = true;
    char *value = unquote(trim(equals + 1));
    if (!value)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: the quotes of %s are not closed at its end",
                       row->name, pair);
    return parse_value(row, &row->params[i], value, classes, out, &out->value[i], err);
}

/* name, then pairs; `text` is cut to pieces. */
static vn_status parse_choice(char *text, const vn_table *table, const vn_names *classes,
                              vn_choice *out, vn_err *err) {
    char *pairs = strchr(text, ':');
    if (pairs) *pairs++ = 0;
    text = trim(text);
    size_t index;
    const vn_row *row = vn_table_find(table, text, &index);
    if (!row) return unknown_name(text, table, err);
    *out = (vn_choice){.row = row, .index = index};
    for (size_t i = 0; i < param_count(out->row); i++)
        out->value[i] = row->params[i].kind == VN_PARAM_TEXT ? 0 : row->params[i].value;
    while (pairs) {
        char *end = pairs + vn_pair_length(pairs), *next = *end ? end + 1 : NULL;
        *end = 0;
        vn_status status = parse_pair(pairs, classes, out, err);
        if (status) return status;
        pairs = next;
    }
    return VN_OK;
}

vn_status vn_choice_parse_of(const char *text, const vn_table *table, const vn_names *classes,
                             vn_choice *out, vn_err *err) {
    char *copy = vn_strdup(text);
    if (!copy) return vn_no_memory(err);
    vn_status status = parse_choice(copy, table, classes, out, err);
    vn_free(copy);
    return status;
}

vn_status vn_choice_parse(const char *text, const vn_table *table, vn_choice *out, vn_err *err) {
    return vn_choice_parse_of(text, table, NULL, out, err);
}

/* ---- and back to text ------------------------------------------------------------------------ */

static void value_text(char text[MAX_NAME + 1], const vn_param *p, double value) {
    if (!p->choices) {
        vn_number_text(text, value);
        return;
    }
    const char *choice = p->choices;
    for (int i = 0; i < (int)value; i++) choice += strcspn(choice, "|") + 1;
    snprintf(text, MAX_NAME + 1, "%.*s", (int)strcspn(choice, "|"), choice);
}

/* In quotes, each of its own written twice; quoted holds twice the text and two more. */
static void quote(char *quoted, const char *text) {
    *quoted++ = '"';
    for (; *text; text++) {
        if (*text == '"') *quoted++ = '"';
        *quoted++ = *text;
    }
    memcpy(quoted, "\"", 2);
}

const char *vn_choice_string(const vn_choice *choice, size_t param) {
    const double at = choice->value[param];
    const char *usual = choice->row->params[param].choices;
    return at > 0 ? choice->text + (size_t)at - 1 : usual ? usual : "";
}

char *vn_choice_text(const vn_choice *choice) {
    char *text = vn_strdup(choice->row->name);
    bool first = true;
    for (size_t i = 0; text && i < param_count(choice->row); i++) {
        if (!choice->given[i]) continue;
        const vn_param *p = &choice->row->params[i];
        char value[2 * VN_MAX_CHOICE_TEXT + 3];
        if (p->kind == VN_PARAM_TEXT)
            quote(value, vn_choice_string(choice, i));
        else
            value_text(value, p, choice->value[i]);
        char *longer = vn_format("%s%c%s=%s", text, first ? ':' : ',', p->name, value);
        vn_free(text);
        text = longer;
        first = false;
    }
    return text;
}
