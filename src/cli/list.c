/* list.c - `vane list`: the library's tables. Everything that has a name can be found here. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/list_options.h"

typedef struct args {
    const char *kind, *name;
} args;

static const cli_option rows[] = {
    CLI_ROW("KIND", CLI_TEXT, kind, "",
            "one of the kinds: its rows, each with its parameters and source; or the name of a "
            "row, of whatever kind; or options: those of the flags, by verb",
            .unset = "the kinds"),
    CLI_ROW("NAME", CLI_TEXT, name, "", "of the kind's rows, or of the options, this alone"),
};

/* What is listed: all kinds, one, or the rows of a name in one or all. */
typedef struct selection {
    size_t kind;      /* vn_kind_count(): all */
    const char *name; /* NULL: all rows */
} selection;

/* How rows of a kind are used, where they are a flag's value. */
static const struct {
    const char *kind, *command;
} uses[] = {
    {"models", "vane train DATA --out RUN --model"},
    {"paths", "vane train DATA --out RUN --path"},
    {"predictions", "vane train DATA --out RUN --predict"},
    {"objectives", "vane train DATA --out RUN --objective"},
    {"times", "vane train DATA --out RUN --times"},
    {"optimizers", "vane train DATA --out RUN --optimizer"},
    {"grids", "vane sample RUN --out OUT --grid"},
    {"samplers", "vane sample RUN --out OUT --sampler"},
    {"guides", "vane sample RUN --out OUT --guide"},
    {"caches", "vane sample RUN --out OUT --cache"},
    {"operators", "vane sample RUN --out OUT --observe Y --restore RULE --operator"},
    {"restorers", "vane sample RUN --out OUT --observe Y --operator A --restore"},
    {"metrics", "vane eval RUN --metric"},
};

static bool wanted(const selection *c, size_t kind, const vn_row *row) {
    return (c->kind == vn_kind_count() || c->kind == kind) &&
           (!c->name || strcmp(c->name, row->name) == 0);
}

#define OPTIONS "options" /* listed beside the kinds */

/* ---- for people ------------------------------------------------------------------------------ */

static void print_kinds(void) {
    enum { column = 16, width = 96 };
    const char *name;
    const vn_row *row;
    for (size_t k = 0; (name = vn_kind_name(k)); k++) {
        int at = printf("  %-*s", column - 2, name);
        for (size_t i = 0; (row = vn_kind_row(k, i)); i++) {
            if (at + 2 + (int)strlen(row->name) > width) at = printf("\n%*s", column, "") - 1;
            at += printf("%s%s", at > column ? "  " : "", row->name);
        }
        putchar('\n');
    }
    printf("  %-*s", column - 2, OPTIONS);
    for (int k = 0; (name = vn_option_kind_name(k)); k++) printf("%s%s", k > 0 ? "  " : "", name);
    printf("\n\nvane list samplers  says what each sampler does and which parameters it takes.\n");
}

/* A condition that stands for itself where none is named. */
static bool is_unset(const vn_param *p) {
    return p->kind == VN_PARAM_CONDITION && p->value < 0;
}

static void print_default(const vn_param *p, char *text, size_t size) {
    const char *choice = p->choices;
    if (p->kind == VN_PARAM_TEXT || is_unset(p)) {
        snprintf(text, size, "%s=%s", p->name, choice ? choice : "...");
        return;
    }
    if (!choice) {
        snprintf(text, size, "%s=%g", p->name, p->value);
        return;
    }
    for (int i = 0; i < (int)p->value && strchr(choice, '|'); i++) choice = strchr(choice, '|') + 1;
    snprintf(text, size, "%s=%.*s", p->name, (int)strcspn(choice, "|"), choice);
}

/* "  (whole, 1 to 64)", "  (layer, rms)"; "" where all is allowed. */
static void range_text(const vn_param *p, char *text, size_t size) {
    const char *whole = p->kind == VN_PARAM_WHOLE ? "whole, " : "", *comma = "";
    text[0] = '\0';
    if (p->kind == VN_PARAM_TEXT) {
        snprintf(text, size, "  (text, in double quotes where it has a comma)");
    } else if (p->choices) {
        size_t used = (size_t)snprintf(text, size, "  (");
        for (const char *c = p->choices; *c != '\0' && used < size; comma = ", ") {
            const int length = (int)strcspn(c, "|");
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", comma, length, c);
            c += length + (c[length] == '|');
        }
        if (used < size) snprintf(text + used, size - used, ")");
    } else if (p->kind == VN_PARAM_CONDITION) {
        snprintf(text, size, "  (a class, by name or number; or a text)");
    } else if (isfinite(p->min) && isfinite(p->max)) {
        snprintf(text, size, "  (%s%g to %g)", whole, p->min, p->max);
    } else if (isfinite(p->min)) {
        snprintf(text, size, "  (%s%g or more)", whole, p->min);
    }
}

static void print_param(const vn_param *p, int column, int width) {
    enum { name_width = 24 };
    char name[80], range[256], text[512];
    print_default(p, name, sizeof name);
    range_text(p, range, sizeof range);
    snprintf(text, sizeof text, "%s%s", p->summary, range);
    const int at = printf("%*s%-*s ", column, "", name_width, name);
    cli_print_wrapped(stdout, text, at, column + name_width + 1, width);
}

/* A number alone is arXiv's. */
static void print_source(const char *source, int column) {
    if (!source || source[0] == '\0') return;
    bool number = strspn(source, "0123456789.") == strlen(source);
    printf("%*ssource: %s%s\n", column, "", number ? "arXiv " : "", source);
}

/* "ddim:eta=0": the row with its parameters as they are without being given. */
static void print_use(size_t kind, const vn_row *row, int column) {
    char value[80];
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        if (strcmp(uses[i].kind, vn_kind_name(kind)) != 0) continue;
        printf("%*suse: %s %s", column, "", uses[i].command, row->name);
        const vn_param *p;
        for (size_t k = 0; (p = vn_row_param(row, k)); k++) {
            print_default(p, value, sizeof value);
            if (!is_unset(p)) printf("%s%s", k == 0 ? ":" : ",", value);
        }
        putchar('\n');
    }
}

static void print_row(const vn_row *row) {
    enum { column = 20, width = 96 };
    if (printf("%-*s", column, row->name) > column) printf("\n%*s", column, "");
    cli_print_wrapped(stdout, row->summary, column, column, width);
    print_source(row->source, column);
    const vn_param *p;
    for (size_t i = 0; (p = vn_row_param(row, i)); i++) print_param(p, column, width);
}

static void print_rows(const selection *c) {
    enum { column = 20 };
    const vn_row *row;
    for (size_t k = 0; k < vn_kind_count(); k++) {
        for (size_t i = 0; (row = vn_kind_row(k, i)); i++) {
            if (!wanted(c, k, row)) continue;
            print_row(row);
            if (!c->name) continue;
            printf("%*skind: %s\n", column, "", vn_kind_name(k));
            print_use(k, row, column);
        }
    }
}

/* ---- for programs ---------------------------------------------------------------------------- */

/* Adds `value`, taking it over; false when memory ran out anywhere on the way. */
static bool append(json_t *array, json_t *value) {
    return array != NULL && value && json_array_append_new(array, value) == 0;
}

static json_t *param_json(const vn_param *p) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:s?}", "name", p->name, "summary",
                     p->summary, "default", cli_json_number(p->value), "min",
                     cli_json_number(p->min), "max", cli_json_number(p->max), "integer",
                     p->kind == VN_PARAM_WHOLE || p->kind == VN_PARAM_CONDITION, "class",
                     p->kind == VN_PARAM_CONDITION, "choices", p->choices);
}

static json_t *row_json(const vn_row *row) {
    json_t *params = json_array();
    bool ok = params != NULL;
    const vn_param *p;
    for (size_t i = 0; ok && (p = vn_row_param(row, i)); i++) ok = append(params, param_json(p));
    if (ok) {
        return json_pack("{s:s, s:s, s:s?, s:o}", "name", row->name, "summary", row->summary,
                         "source", row->source, "params", params);
    }
    json_decref(params);
    return NULL;
}

static json_t *kind_json(const selection *c, size_t kind) {
    json_t *array = json_array();
    const vn_row *row;
    for (size_t i = 0; (row = vn_kind_row(kind, i)); i++) {
        if (!wanted(c, kind, row) || append(array, row_json(row))) continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

/* The kinds that have what is wanted. */
static json_t *kinds_json(const selection *c) {
    json_t *object = json_object();
    const char *name;
    for (size_t k = 0; (name = vn_kind_name(k)); k++) {
        if (c->kind != vn_kind_count() && k != c->kind) continue;
        json_t *found = kind_json(c, k);
        const bool none = c->name != NULL && found && json_array_size(found) == 0;
        if (none) json_decref(found);
        if (none || json_object_set_new(object, name, found) == 0) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- the verb -------------------------------------------------------------------------------- */

enum { most = 512 }; /* names that a mistake is held against */

static size_t kind_names(const char **names) {
    size_t count = 0;
    while (count < most && vn_kind_name(count)) {
        names[count] = vn_kind_name(count);
        count++;
    }
    return count;
}

/* Of one kind, or of all for vn_kind_count(). */
static size_t row_names(size_t kind, const char **names) {
    size_t count = 0;
    const vn_row *row;
    for (size_t k = 0; k < vn_kind_count(); k++) {
        if (kind != vn_kind_count() && k != kind) continue;
        for (size_t i = 0; count < most && (row = vn_kind_row(k, i)); i++)
            names[count++] = row->name;
    }
    return count;
}

static bool unknown_word(const char *word) {
    const char *names[most];
    char text[512];
    if (cli_suggest(word, "", names, kind_names(names), text, sizeof text))
        return cli_misuse("list", "unknown kind '%s'; %s", word, text);
    if (cli_suggest(word, "", names, row_names(vn_kind_count(), names), text, sizeof text))
        return cli_misuse("list", "unknown kind or name '%s'; %s", word, text);
    return cli_misuse("list", "unknown kind or name '%s'; see: vane list", word);
}

/* Whether the kind has a row of this name; a former name becomes today's. */
static bool found(selection *c, size_t kind) {
    const vn_row *row = vn_kind_find_row(kind, c->name);
    if (row) c->name = row->name;
    return row;
}

/* False, with a line on stderr, when there is no such kind or row. */
static bool choose(const args *a, selection *c) {
    *c = (selection){.kind = vn_kind_count()};
    if (!a->kind) return true;
    c->kind = vn_kind_find(a->kind);
    c->name = a->name;
    if (c->kind == vn_kind_count()) {
        if (a->name) return unknown_word(a->kind);
        c->name = a->kind;
        for (size_t k = 0; k < vn_kind_count(); k++)
            if (found(c, k)) return true;
        return unknown_word(a->kind);
    }
    if (!c->name || found(c, c->kind)) return true;
    const char *names[most];
    char text[512];
    if (cli_suggest(c->name, "", names, row_names(c->kind, names), text, sizeof text))
        return cli_misuse("list", "%s has no '%s'; %s", a->kind, c->name, text);
    return cli_misuse("list", "%s has no '%s'; see: vane list %s", a->kind, c->name, a->kind);
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    selection c;
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    if (a.kind && strcmp(a.kind, OPTIONS) == 0) {
        bool usage;
        const vn_status listed = cli_list_options(a.name, s.json, &usage);
        return usage ? CLI_USAGE : cli_end(&s, listed);
    }
    if (!choose(&a, &c)) return CLI_USAGE;
    if (s.json) return cli_end(&s, cli_print_json(kinds_json(&c)));
    if (a.kind)
        print_rows(&c);
    else
        print_kinds();
    return cli_end(&s, VN_OK);
}

const cli_verb cli_list = {
    .name = "list",
    .reads = true,
    .summary = "the models, paths, samplers, guides, ... vane knows",
    .example = "vane list samplers",
    .about = "Lists every name that the flags of the other verbs take: vane list guides apg and "
             "vane list ddim show one in "
             "full. A name with parameters is written name:key=value,key=value.",
    .run = run,
};
