/* help.c - the table of rows as text for people: usage line and one paragraph a flag, with the
 * default that the verb's struct holds and, where the values are rows of a table of the library,
 * with their names. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cli/options.h"
#include "vane.h"

enum { help_column = 24, help_width = 96, text_size = 1024 };

void cli_print_wrapped(FILE *to, const char *text, int column, int indent, int width) {
    bool first = true;
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > width) {
            fprintf(to, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        column += fprintf(to, "%s%.*s", first ? "" : " ", length, text);
        first = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

/* The default, as it would be typed; "" for none. */
static void default_text(const cli_option *o, const void *value, char *out, size_t size) {
    const char *text = NULL;
    out[0] = '\0';
    if (o->unset || o->fallback) {
        if (o->unset)
            snprintf(out, size, "%s", o->unset);
        else
            snprintf(out, size, "%g", *o->fallback);
        return;
    }
    switch (o->type) {
    case CLI_TEXT: text = *(const char *const *)value; break;
    case CLI_INT: snprintf(out, size, "%d", *(const int *)value); break;
    case CLI_INT64: snprintf(out, size, "%lld", (long long)*(const int64_t *)value); break;
    case CLI_UINT64:
        snprintf(out, size, "%llu", (unsigned long long)*(const uint64_t *)value);
        break;
    case CLI_DOUBLE: snprintf(out, size, "%g", *(const double *)value); break;
    case CLI_CHOICE: /* the first choice is the default, as everywhere */
        snprintf(out, size, "%.*s", (int)strcspn(o->value, "|"), o->value);
        break;
    case CLI_NUMBERS:
    case CLI_TEXTS:
    case CLI_FLAG:
    case CLI_OPTION:
    case CLI_HEADING: break;
    }
    if (text) snprintf(out, size, "%s", text);
}

/* "one of a, b, c" where that is short, else where to look. */
static void kind_text(const char *kind, char *out, size_t size) {
    enum { short_enough = 110 };
    const char *name;
    const vn_row *row;
    size_t k = 0, used = (size_t)snprintf(out, size, ": one of ");
    while ((name = vn_kind_name(k)) && strcmp(name, kind) != 0) k++;
    for (size_t i = 0; (row = vn_kind_row(k, i)) != NULL && used < short_enough; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", row->name);
    }
    if (used >= short_enough) snprintf(out, size, "; see: vane list %s", kind);
}

static void print_option(FILE *to, const cli_option *o, const void *value) {
    char left[80], fallback[160], kind[256] = "", text[text_size];
    if (cli_is_argument(o))
        snprintf(left, sizeof left, "%s", o->name);
    else if (o->letter != 0)
        snprintf(left, sizeof left, "-%c, --%s %s", o->letter, o->name, o->value);
    else
        snprintf(left, sizeof left, "--%s %s", o->name, o->value);

    default_text(o, value, fallback, sizeof fallback);
    if (o->kind) kind_text(o->kind, kind, sizeof kind);
    const char *opens = fallback[0] != '\0' ? " (default " : "",
               *closes = fallback[0] != '\0' ? ")" : "";
    snprintf(text, sizeof text, "%s%s%s%s%s%s", o->help, o->more ? o->more : "", kind, opens,
             fallback, closes);
    if (fprintf(to, "  %-*s", help_column - 2, left) > help_column)
        fprintf(to, "\n%*s", help_column, "");
    cli_print_wrapped(to, text, help_column, help_column, help_width);
}

void cli_print_options(FILE *to, const cli_table *tables, size_t table_count) {
    for (size_t t = 0; t < table_count; t++) {
        for (size_t i = 0; i < tables[t].count; i++) {
            const cli_option *o = &tables[t].rows[i];
            if (o->type == CLI_HEADING)
                fprintf(to, "\n%s\n", o->name);
            else
                print_option(to, o, (const char *)tables[t].into + o->offset);
        }
    }
}

void cli_print_usage(FILE *to, const char *verb, const cli_table *tables, size_t table_count) {
    fprintf(to, "vane %s", verb);
    for (size_t t = 0; t < table_count; t++) {
        for (size_t i = 0; i < tables[t].count; i++) {
            const cli_option *o = &tables[t].rows[i];
            if (o->type == CLI_HEADING) continue;
            if (cli_is_argument(o))
                fprintf(to, o->required ? " %s" : " [%s]", o->name);
            else if (o->required)
                fprintf(to, " --%s %s", o->name, o->value);
        }
    }
    fputs(" [--flags]\n", to);
}
