/* describe.c - prints a description in JSON as lines for people: `key  value`, an object's members
 * under its key, a list of plain values on one line, a list of objects as one line each below their
 * keys. It knows nothing of what is described, so that what the library adds is shown too. */
#include <string.h>

#include "cli/cli.h"

enum { step = 2, widest_key = 28 };

static void print_value(FILE *to, const json_t *value, int indent);

static bool is_plain(const json_t *value) {
    return !json_is_object(value) && !json_is_array(value);
}

static void print_plain(FILE *to, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING: cli_put(to, json_string_value(value)); break;
    case JSON_INTEGER: fprintf(to, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: fprintf(to, "%.6g", json_real_value(value)); break;
    case JSON_TRUE: fputs("yes", to); break;
    case JSON_FALSE: fputs("no", to); break;
    default: fputs("-", to); break;
    }
}

static void print_list(FILE *to, const json_t *list) {
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0) fputs("none", to);
    json_array_foreach(list, i, item) {
        if (i > 0) fputs(", ", to);
        print_plain(to, item);
    }
}

static bool is_plain_list(const json_t *value) {
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item) {
        if (!is_plain(item)) return false;
    }
    return json_is_array(value);
}

/* What fits on the line that its key began. */
static bool is_short(const json_t *value) {
    return is_plain(value) || is_plain_list(value);
}

static void print_short(FILE *to, const json_t *value) {
    if (is_plain(value))
        print_plain(to, value);
    else
        print_list(to, value);
}

/* Whether it is a line of a list: an object whose values are all short. */
static bool is_line(const json_t *item) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)item, key, value) {
        if (!is_short(value)) return false;
    }
    return json_is_object(item);
}

/* "  (op, arrays, mb)": what stands in the lines of a list. */
static void print_columns(FILE *to, const json_t *list) {
    const json_t *first = json_array_get(list, 0);
    const char *key, *before = "  (";
    json_t *value;
    if (!is_line(first)) return;
    json_object_foreach((json_t *)(uintptr_t)first, key, value) {
        cli_print(to, "%s%s", before, key);
        before = ", ";
    }
    fputc(')', to);
}

/* Its keys are the same in every item of the list, and stand above it. */
static void print_item(FILE *to, const json_t *item, int indent) {
    const char *key;
    json_t *value;
    if (!is_line(item)) {
        print_value(to, item, indent);
        return;
    }
    fprintf(to, "%*s", indent - step, "");
    json_object_foreach((json_t *)(uintptr_t)item, key, value) {
        fprintf(to, "%*s", step, "");
        print_short(to, value);
    }
    fputc('\n', to);
}

static void print_object(FILE *to, const json_t *object, int indent) {
    const char *key;
    json_t *value;
    int width = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        int length = (int)strlen(key);
        if (length > width && length <= widest_key) width = length;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        fprintf(to, "%*s", indent, "");
        if (is_short(value)) {
            cli_print(to, "%-*s  ", width, key);
        } else {
            cli_put(to, key);
            print_columns(to, value);
            fputc('\n', to);
        }
        print_value(to, value, indent + step);
    }
}

/* What is short ends the line that its key began; what has members begins lines of its own. */
static void print_value(FILE *to, const json_t *value, int indent) {
    size_t i;
    json_t *item;
    if (json_is_object(value)) {
        print_object(to, value, indent);
    } else if (is_short(value)) {
        print_short(to, value);
        fputc('\n', to);
    } else {
        json_array_foreach(value, i, item) {
            if (json_is_object(item))
                print_item(to, item, indent);
            else
                print_value(to, item, indent);
        }
    }
}

void cli_print_description(FILE *to, const json_t *description) {
    print_value(to, description, 0);
}
