/* list_options.c - see the header. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/list_options.h"

static const char *const types[] = {
    [VN_OPTION_TEXT] = "text",           [VN_OPTION_FLAG] = "flag",
    [VN_OPTION_INT] = "whole number",    [VN_OPTION_INT64] = "whole number",
    [VN_OPTION_UINT64] = "whole number", [VN_OPTION_DOUBLE] = "number",
    [VN_OPTION_LABEL] = "class"};

static bool is_number(const vn_option *o) {
    return o->type >= VN_OPTION_INT && o->type <= VN_OPTION_DOUBLE;
}

/* What is used where it is not given: a number, or words; "" for neither. */
static void default_text(const vn_option *o, char *text, size_t size) {
    text[0] = '\0';
    if (o->otherwise)
        snprintf(text, size, "%s", o->otherwise);
    else if (is_number(o))
        snprintf(text, size, "%g", o->fallback);
    else if (o->type != VN_OPTION_TEXT)
        snprintf(text, size, "%s",
                 o->type == VN_OPTION_LABEL ? "all"
                 : o->value != 0            ? "true"
                                            : "false");
}

/* "whole number, steps, 1 to 100000" */
static void type_text(const vn_option *o, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", types[o->type]);
    if (o->choices) used = (size_t)snprintf(text, size, "%s", o->choices);
    if (o->table) used = (size_t)snprintf(text, size, "one of vane list %s", o->table);
    if (o->unit) used += (size_t)snprintf(text + used, size - used, ", %s", o->unit);
    if (is_number(o) && isfinite(o->max))
        snprintf(text + used, size - used, ", %.10g to %.10g", o->min, o->max);
}

static void print_option(const vn_option *o) {
    enum { column = 20, width = 96 };
    char type[128], initial[128], text[512];
    type_text(o, type, sizeof type);
    default_text(o, initial, sizeof initial);
    snprintf(text, sizeof text, "%s (%s%s%s)", o->help, type,
             initial[0] != '\0' ? "; default " : "", initial);
    printf("  %-*s", column - 2, o->name);
    cli_print_wrapped(stdout, text, column, column, width);
}

/* NULL when memory ran out. */
static json_t *option_json(const vn_option *o) {
    const bool number = is_number(o), flag = o->type == VN_OPTION_FLAG;
    json_t *initial = flag     ? json_boolean(o->value != 0)
                      : number ? cli_json_number(o->otherwise ? (double)NAN : o->fallback)
                               : json_null();
    return json_pack("{s:s, s:s, s:s?, s:o, s:s?, s:o, s:o, s:s?, s:s?, s:s}", "name", o->name,
                     "type", types[o->type], "unit", o->unit, "default", initial, "otherwise",
                     o->otherwise, "min", number ? cli_json_number(o->min) : json_null(), "max",
                     number ? cli_json_number(o->max) : json_null(), "choices", o->choices, "table",
                     o->table, "help", o->help);
}

static json_t *options_json(int kind) {
    json_t *list = json_array();
    const vn_option *o;
    for (size_t i = 0; list != NULL && (o = vn_option_at(kind, i)); i++) {
        if (json_array_append_new(list, option_json(o)) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *all_json(int kind) {
    json_t *object = json_object();
    const char *name;
    for (int k = 0; object != NULL && (name = vn_option_kind_name(k)); k++) {
        if (kind >= 0 && k != kind) continue;
        if (json_object_set_new(object, name, options_json(k)) == 0) continue;
        json_decref(object);
        object = NULL;
    }
    return object;
}

static void print_all(int kind) {
    const char *name;
    for (int k = 0, printed = 0; (name = vn_option_kind_name(k)); k++) {
        if (kind >= 0 && k != kind) continue;
        printf("%s%s\n", printed++ > 0 ? "\n" : "", name);
        const vn_option *o;
        for (size_t i = 0; (o = vn_option_at(k, i)); i++) print_option(o);
    }
}

/* Of the name, or -1 for all; false, with a line on stderr, where there is none such. */
static bool find(const char *name, int *kind) {
    enum { most = 32 };
    const char *names[most], *one;
    char text[256];
    size_t count = 0;
    *kind = -1;
    while (count < most && (one = vn_option_kind_name((int)count))) {
        if (name && strcmp(one, name) == 0) *kind = (int)count;
        names[count++] = one;
    }
    if (!name || *kind >= 0) return true;
    if (cli_suggest(name, "", names, count, text, sizeof text))
        return cli_misuse("list", "options has no '%s'; %s", name, text);
    return cli_misuse("list", "options has no '%s'; see: vane list", name);
}

vn_status cli_list_options(const char *name, bool json, bool *usage) {
    int kind;
    *usage = !find(name, &kind);
    if (*usage) return VN_OK;
    if (json) return cli_print_json(all_json(kind));
    print_all(kind);
    return VN_OK;
}
