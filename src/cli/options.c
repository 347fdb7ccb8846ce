/* options.c - reading a command line by a table of rows: `--flag value`, `--flag=value`, `-n
 * value`, `-nvalue`, arguments, and `--`, behind which all words are arguments. What is refused:
 * flags that are not in the table, flags given twice, missing values, values of the wrong type,
 * arguments too many or too few, flags without effect in the mode chosen, and the number that means
 * "not given" to the library. Whether another number makes sense is for the library to say. */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/error.h"
#include "cli/numbers.h"
#include "cli/options.h"
#include "cli/suggest.h"

struct cli_parser {
    const char *verb;
    const cli_table *tables;
    size_t table_count;
    bool seen[CLI_MAX_OPTIONS]; /* by the row's place in all tables */
};
typedef cli_parser parser;

bool cli_is_argument(const cli_option *o) {
    return o->type != CLI_HEADING && o->name[0] >= 'A' && o->name[0] <= 'Z';
}

static bool is_flag(const cli_option *o) {
    return o->type != CLI_HEADING && !cli_is_argument(o);
}

/* Row number i of all tables, with where its value goes; NULL past the end. */
static const cli_option *row_at(const parser *p, size_t i, void **into) {
    for (size_t t = 0; t < p->table_count; t++) {
        const cli_table *table = &p->tables[t];
        if (i < table->count) {
            *into = (char *)table->into + table->rows[i].offset;
            return &table->rows[i];
        }
        i -= table->count;
    }
    *into = NULL;
    return NULL;
}

/* ---- names that are not known ---------------------------------------------------------------- */

/* Words of other programs first: --epochs is near to no flag of ours, and --w to the wrong one. */
static bool unknown_flag(const parser *p, const char *shown) {
    const char *names[CLI_MAX_OPTIONS], *flags[CLI_MAX_OPTIONS];
    char text[512];
    size_t count = 0, flag_count = 0;
    void *into;
    const cli_option *o;
    for (size_t i = 0; (o = row_at(p, i, &into)); i++) {
        if (o->type == CLI_HEADING) continue;
        names[count++] = o->name;
        if (is_flag(o)) flags[flag_count++] = o->name;
    }
    if (cli_foreign(p->verb, shown, names, count, text, sizeof text))
        return cli_misuse(p->verb, "%s", text);
    if (cli_suggest(shown + strspn(shown, "-"), "--", flags, flag_count, text, sizeof text))
        return cli_misuse(p->verb, "unknown flag %s; %s", shown, text);
    return cli_misuse(p->verb, "unknown flag %s; see: vane %s --help", shown, p->verb);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool parse_int64(const char *text, int64_t *out) {
    char *stop;
    errno = 0;
    *out = strtoll(text, &stop, 10);
    return text[strspn(text, "0123456789+-")] == '\0' && stop != text && *stop == '\0' &&
           errno == 0;
}

/* Up to what JSON's readers and writers here hold. */
static bool parse_uint64(const char *text, uint64_t *out) {
    char *stop;
    errno = 0;
    *out = strtoull(text, &stop, 10);
    return text[0] >= '0' && text[0] <= '9' && *stop == '\0' && errno == 0 && *out <= INT64_MAX;
}

static bool parse_choice(const char *text, const char *choices, int *out) {
    size_t length = strlen(text);
    for (*out = 0;; ++*out) {
        size_t n = strcspn(choices, "|");
        if (n == length && strncmp(text, choices, n) == 0) return true;
        if (choices[n] == '\0') return false;
        choices += n + 1;
    }
}

static bool add_text(cli_texts *list, const char *text) {
    const char **longer = realloc(list->text, (list->count + 1) * sizeof *longer);
    if (!longer) return false;
    list->text = longer;
    list->text[list->count++] = text;
    return true;
}

void cli_texts_free(cli_texts *list) {
    free(list->text);
    *list = (cli_texts){0};
}

/* Stores the value; false if the text is not of the row's type, then *expected says what is. */
static bool store(const cli_option *o, const char *text, void *into, const char **expected) {
    const char *end;
    int64_t whole;
    *expected = "a number";
    switch (o->type) {
    case CLI_TEXT: *(const char **)into = text; return true;
    case CLI_DOUBLE: return cli_parse_double(text, &end, into) && *end == '\0';
    case CLI_NUMBERS: return cli_parse_numbers(text, into, expected);
    case CLI_TEXTS: return add_text(into, text);
    case CLI_CHOICE: *expected = o->value; return parse_choice(text, o->value, into);
    case CLI_UINT64: *expected = "a whole number from 0 to 2^63-1"; return parse_uint64(text, into);
    case CLI_INT64: *expected = "a whole number"; return parse_int64(text, into);
    case CLI_INT:
        *expected = "a whole number";
        if (!parse_int64(text, &whole) || whole < INT32_MIN || whole > INT32_MAX) return false;
        *(int *)into = (int)whole;
        return true;
    case CLI_FLAG:
    case CLI_OPTION:
    case CLI_HEADING: break;
    }
    return false;
}

/* The row's number; 0 for what is none. */
static double number(const cli_option *o, const void *at) {
    if (o->type == CLI_INT) return *(const int *)at;
    if (o->type == CLI_INT64) return (double)*(const int64_t *)at;
    return o->type == CLI_DOUBLE ? *(const double *)at : 0;
}

static bool is_number(const cli_option *o) {
    return o->type == CLI_INT || o->type == CLI_INT64 || o->type == CLI_DOUBLE;
}

/* The number that stands in the struct for "not given" cannot be given: it would not be what was
 * asked for. */
static bool is_unset(parser *p, const cli_option *o, double unset, const char *shown,
                     const char *text) {
    const char *whole = o->type == CLI_DOUBLE ? "a number" : "a whole number";
    const char *instead = o->bounds ? o->bounds : unset < 0 ? "from 0 up" : "above 0";
    return cli_misuse(p->verb, "%s: expected %s %s, not '%s'", shown, whole, instead, text);
}

static bool set(parser *p, size_t i, const char *shown, const char *text) {
    void *into;
    const cli_option *o = row_at(p, i, &into);
    const double unset = number(o, into);
    const char *expected;
    if (p->seen[i] && o->type != CLI_TEXTS) return cli_misuse(p->verb, "%s is given twice", shown);
    p->seen[i] = true;
    if (!store(o, text, into, &expected))
        return cli_misuse(p->verb, "%s: expected %s, not '%s'", shown, expected, text);
    if (!is_number(o) || (!o->unset && !o->fallback) || number(o, into) != unset) return true;
    return is_unset(p, o, unset, shown, text);
}

/* ---- words ----------------------------------------------------------------------------------- */

/* The place of the row that the word ("--name", "--name=value", "-n", "-n=value" or "-n4") means;
 * *value receives what stands behind the flag, or NULL; `shown` the flag alone. */
static bool find_flag(const parser *p, const char *word, size_t *index, const char **value,
                      char *shown, size_t size) {
    const bool by_name = word[1] == '-';
    const char *equals = strchr(word, '=');
    const bool attached =
        !by_name && (isdigit((unsigned char)word[2]) || word[2] == '-' || word[2] == '+');
    const size_t length = attached ? 2 : equals ? (size_t)(equals - word) : strlen(word);
    snprintf(shown, size, "%.*s", (int)least(length, size - 1), word);
    *value = attached ? word + 2 : equals ? equals + 1 : NULL;
    void *into;
    const cli_option *o;
    for (size_t i = 0; (o = row_at(p, i, &into)); i++) {
        if (!is_flag(o) ||
            (by_name ? strcmp(shown + 2, o->name) != 0 : shown[1] != o->letter || shown[2] != '\0'))
            continue;
        *index = i;
        return true;
    }
    return false;
}

/* argv[0] is a flag; *used receives how many words it took. */
static bool parse_flag(parser *p, int argc, char **argv, int *used) {
    char shown[80];
    const char *value;
    size_t i;
    if (!find_flag(p, argv[0], &i, &value, shown, sizeof shown)) return unknown_flag(p, shown);

    void *into;
    const cli_option *o = row_at(p, i, &into);
    *used = 1;
    if (o->type == CLI_FLAG) {
        if (value) return cli_misuse(p->verb, "%s takes no value", shown);
        if (p->seen[i]) return cli_misuse(p->verb, "%s is given twice", shown);
        p->seen[i] = true;
        *(int *)into = 1;
        return true;
    }
    if (value) return set(p, i, shown, value);
    if (argc < 2 || strncmp(argv[1], "--", 2) == 0)
        return cli_misuse(p->verb, "%s needs a value: %s", shown, o->value);
    *used = 2;
    return set(p, i, shown, argv[1]);
}

static bool parse_argument(parser *p, const char *text) {
    void *into;
    const cli_option *o;
    for (size_t i = 0; (o = row_at(p, i, &into)); i++) {
        if (cli_is_argument(o) && (!p->seen[i] || o->type == CLI_TEXTS))
            return set(p, i, o->name, text);
    }
    return cli_misuse(p->verb, "one argument too many: '%s'; see: vane %s --help", text, p->verb);
}

/* "; known: nll": the rows that an option takes, where they are few; else "". */
static void list_values(const cli_option *o, char *text, size_t size) {
    enum { few = 8 };
    const size_t kind = o->kind ? vn_kind_find(o->kind) : vn_kind_count();
    text[0] = '\0';
    if (kind == vn_kind_count() || vn_kind_row(kind, few)) return;
    const vn_row *row;
    for (size_t i = 0; (row = vn_kind_row(kind, i)); i++) {
        const size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "; known: ", row->name);
    }
}

static bool check_required(const parser *p) {
    char values[256];
    void *into;
    const cli_option *o;
    for (size_t i = 0; (o = row_at(p, i, &into)); i++) {
        if (!o->required || p->seen[i]) continue;
        if (cli_is_argument(o)) return cli_misuse(p->verb, "%s is missing: %s", o->name, o->help);
        list_values(o, values, sizeof values);
        return cli_misuse(p->verb, "--%s %s is missing: %s%s", o->name, o->value, o->help, values);
    }
    return true;
}

/* What the row `mode` was given; NULL: the verb has none. */
static const char *mode_of(const parser *p, char *text, size_t size) {
    void *into;
    const cli_option *o;
    for (size_t i = 0; (o = row_at(p, i, &into)); i++) {
        if (o->type != CLI_CHOICE || strcmp(o->name, "mode") != 0) continue;
        const char *choice = o->value;
        for (int k = *(int *)into; k > 0; k--) choice += strcspn(choice, "|") + 1;
        snprintf(text, size, "%.*s", (int)strcspn(choice, "|"), choice);
        return text;
    }
    return NULL;
}

static bool check_modes(const parser *p) {
    char text[32];
    void *into;
    int index;
    const cli_option *o;
    const char *mode = mode_of(p, text, sizeof text);
    for (size_t i = 0; mode != NULL && (o = row_at(p, i, &into)); i++) {
        if (!p->seen[i] || !o->modes || parse_choice(mode, o->modes, &index)) continue;
        return cli_misuse(p->verb, "--%s has no effect with --mode %s: it needs --mode %s", o->name,
                          mode, o->modes);
    }
    return true;
}

/* ---- values from elsewhere ------------------------------------------------------------------- */

static bool find_row(const parser *p, const char *name, size_t *index) {
    void *into;
    const cli_option *o;
    for (*index = 0; (o = row_at(p, *index, &into)); ++*index)
        if (o->type != CLI_HEADING && strcmp(o->name, name) == 0) return true;
    return false;
}

bool cli_given(const cli_parser *p, const char *name) {
    size_t i;
    return find_row(p, name, &i) && p->seen[i];
}

bool cli_give(cli_parser *p, const char *name, const char *text, const char *from) {
    size_t i;
    void *into;
    const char *expected;
    if (!find_row(p, name, &i)) return cli_misuse(p->verb, "%s: there is no flag --%s", from, name);
    if (p->seen[i]) return true;
    const cli_option *o = row_at(p, i, &into);
    if (!store(o, text, into, &expected))
        return cli_misuse(p->verb, "%s: %s: expected %s, not '%s'", from, name, expected, text);
    p->seen[i] = o->type != CLI_TEXTS; /* which may be given more */
    return true;
}

vn_status cli_parse(const char *verb, int argc, char **argv, const cli_table *tables,
                    size_t table_count, cli_complete_fn complete) {
    parser p = {.verb = verb, .tables = tables, .table_count = table_count};
    bool flags_end = false; /* at "--": what follows are arguments, whatever they begin with */
    for (int i = 0, used = 1; i < argc; i += used) {
        const bool flag = !flags_end && argv[i][0] == '-' && argv[i][1] != '\0';
        used = 1;
        if (flag && strcmp(argv[i], "--") == 0)
            flags_end = true;
        else if (flag ? !parse_flag(&p, argc - i, argv + i, &used) : !parse_argument(&p, argv[i]))
            return VN_BAD_ARGUMENT;
    }
    const vn_status status = complete ? complete(tables[0].into, &p) : VN_OK;
    if (status) return status;
    return check_required(&p) && check_modes(&p) ? VN_OK : VN_BAD_ARGUMENT;
}
