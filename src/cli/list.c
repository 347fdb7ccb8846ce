/* list.c - `vane list`: the library's tables. Everything that has a name can be found here. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"

typedef struct args {
    const char *kind;
} args;

static const cli_option rows[] = {
    CLI_ROW("KIND", CLI_TEXT, kind, "", "one of the kinds: its rows, each with its parameters and source",
            .unset = "the kinds"),
};

/* ---- for people ------------------------------------------------------------------------------------- */

static void print_kinds(void) {
    enum { column = 16, width = 96 };
    const char *name;
    const vn_row *row;
    for (size_t k = 0; (name = vn_kind_name(k)) != NULL; k++) {
        int at = printf("  %-*s", column - 2, name);
        for (size_t i = 0; (row = vn_kind_row(k, i)) != NULL; i++) {
            if (at + 2 + (int)strlen(row->name) > width) at = printf("\n%*s", column, "") - 1;
            at += printf("%s%s", at > column ? "  " : "", row->name);
        }
        putchar('\n');
    }
    printf("\nvane list samplers  says what each sampler does and which parameters it takes.\n");
}

static void print_default(const vn_param *p, char *text, size_t size) {
    const char *choice = p->choices;
    if (choice == NULL) {
        snprintf(text, size, "%s=%g", p->name, p->value);
        return;
    }
    for (int i = 0; i < (int)p->value && strchr(choice, '|') != NULL; i++) choice = strchr(choice, '|') + 1;
    snprintf(text, size, "%s=%.*s", p->name, (int)strcspn(choice, "|"), choice);
}

/* "  (whole, 1 to 64)", "  (layer, rms)"; "" where all is allowed. */
static void range_text(const vn_param *p, char *text, size_t size) {
    const char *whole = p->integer ? "whole, " : "", *comma = "";
    text[0] = '\0';
    if (p->choices != NULL) {
        size_t used = (size_t)snprintf(text, size, "  (");
        for (const char *c = p->choices; *c != '\0' && used < size; comma = ", ") {
            const int length = (int)strcspn(c, "|");
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", comma, length, c);
            c += length + (c[length] == '|');
        }
        if (used < size) snprintf(text + used, size - used, ")");
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
    if (source == NULL || source[0] == '\0') return;
    bool number = strspn(source, "0123456789.") == strlen(source);
    printf("%*ssource: %s%s\n", column, "", number ? "arXiv " : "", source);
}

static void print_rows(size_t kind) {
    enum { column = 20, width = 96 };
    const vn_row *row;
    for (size_t i = 0; (row = vn_kind_row(kind, i)) != NULL; i++) {
        if (printf("%-*s", column, row->name) > column) printf("\n%*s", column, "");
        cli_print_wrapped(stdout, row->summary, column, column, width);
        print_source(row->source, column);
        for (const vn_param *p = row->params; p != NULL && p->name != NULL; p++) print_param(p, column, width);
    }
}

/* ---- for programs ----------------------------------------------------------------------------------- */

/* Adds `value`, taking it over; false when memory ran out anywhere on the way. */
static bool append(json_t *array, json_t *value) {
    return array != NULL && value != NULL && json_array_append_new(array, value) == 0;
}

static json_t *param_json(const vn_param *p) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:s?}", "name", p->name, "summary", p->summary, "default",
                     cli_json_number(p->value), "min", cli_json_number(p->min), "max", cli_json_number(p->max),
                     "integer", p->integer, "choices", p->choices);
}

static json_t *row_json(const vn_row *row) {
    json_t *params = json_array();
    bool ok = params != NULL;
    for (const vn_param *p = row->params; ok && p != NULL && p->name != NULL; p++) ok = append(params, param_json(p));
    if (ok) {
        return json_pack("{s:s, s:s, s:s?, s:o}", "name", row->name, "summary", row->summary, "source", row->source,
                         "params", params);
    }
    json_decref(params);
    return NULL;
}

static json_t *kind_json(size_t kind) {
    json_t *array = json_array();
    const vn_row *row;
    for (size_t i = 0; (row = vn_kind_row(kind, i)) != NULL; i++) {
        if (append(array, row_json(row))) continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

/* Only the kind at `only`, or all if there is none such. */
static json_t *kinds_json(size_t only) {
    json_t *object = json_object();
    const char *name;
    for (size_t k = 0; (name = vn_kind_name(k)) != NULL; k++) {
        if (only < vn_kind_count() && k != only) continue;
        if (json_object_set_new(object, name, kind_json(k)) == 0) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- the verb --------------------------------------------------------------------------------------- */

/* False, with a line on stderr, when there is no such kind. */
static bool find_kind(const char *name, size_t *kind) {
    enum { most = 32 };
    const char *names[most];
    size_t count = vn_kind_count() < most ? vn_kind_count() : most;
    for (*kind = 0; *kind < count; ++*kind) {
        names[*kind] = vn_kind_name(*kind);
        if (strcmp(names[*kind], name) == 0) return true;
    }
    const char *nearest = cli_nearest(name, names, count);
    fprintf(stderr, "vane list: unknown kind '%s'; ", name);
    if (nearest != NULL)
        fprintf(stderr, "did you mean %s?\n", nearest);
    else
        fprintf(stderr, "see: vane list\n");
    return false;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    size_t kind = vn_kind_count();
    if (a.kind != NULL && !find_kind(a.kind, &kind)) return CLI_USAGE;
    if (s.json) return cli_end(&s, cli_print_json(kinds_json(kind)));
    if (a.kind != NULL)
        print_rows(kind);
    else
        print_kinds();
    return cli_end(&s, VN_OK);
}

const cli_verb cli_list = {
    .name = "list",
    .summary = "the models, paths, samplers, guides, ... vane knows",
    .example = "vane list samplers",
    .about = "Lists every name that the flags of the other verbs take. A name with parameters is written "
             "name:key=value,key=value.",
    .run = run,
};
