/* numbers.c - see numbers.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/numbers.h"

enum { most_numbers = 10000 };

/* strtod alone takes hexadecimals, inf and nan too, and skips spaces. */
bool cli_parse_double(const char *text, const char **end, double *out) {
    const size_t decimal = strspn(text, "0123456789+-.eE");
    char *stop;
    *out = strtod(text, &stop);
    *end = stop;
    return stop != text && stop <= text + decimal && isfinite(*out);
}

/* A number with spaces around it; *text moves behind it. */
static bool take_number(const char **text, double *out) {
    *text += strspn(*text, " ");
    if (!cli_parse_double(*text, text, out)) return false;
    *text += strspn(*text, " ");
    return true;
}

static bool add(cli_numbers *list, double value) {
    if (list->count == most_numbers) return false;
    double *longer = realloc(list->value, (list->count + 1) * sizeof *longer);
    if (!longer) return false;
    list->value = longer;
    list->value[list->count++] = value;
    return true;
}

/* 1 + 3 * 0.1 is 1.3 as it would be typed, not the double beside it. */
static double as_typed(double value) {
    const double billion = 1e9, rounded = nearbyint(value * billion) / billion;
    return fabs(value - rounded) < 1e-12 * fmax(1, fabs(value)) ? rounded : value;
}

/* Both ends are in it; the last step may fall short of `to`. */
static bool add_range(cli_numbers *list, double from, double to, double step,
                      const char **expected) {
    const double steps = (to - from) / step;
    if (step == 0)
        *expected = "from:to:step with a step that is not 0";
    else if (steps < 0)
        *expected = to < from ? "from:to:step with a negative step, as it falls"
                              : "from:to:step with a step above 0, as it rises";
    else if (steps >= most_numbers)
        *expected = "from:to:step of at most 10000 numbers";
    if (!isfinite(steps) || steps < 0 || steps >= most_numbers) return false;
    const long last = (long)floor(steps * (1 + 1e-12) + 1e-9);
    for (long i = 0; i <= last; i++)
        if (!add(list, as_typed(from + (double)i * step))) return false;
    return true;
}

static bool take_item(const char **text, cli_numbers *list, const char **expected) {
    double from, to, step;
    if (!take_number(text, &from)) return false;
    if (**text != ':') return add(list, from);
    ++*text;
    if (!take_number(text, &to) || **text != ':') return false;
    ++*text;
    return take_number(text, &step) && add_range(list, from, to, step, expected);
}

bool cli_parse_numbers(const char *text, cli_numbers *out, const char **expected) {
    *expected = "numbers with commas between them, or from:to:step";
    while (take_item(&text, out, expected)) {
        if (*text == '\0') return true;
        if (*text++ != ',') break;
    }
    cli_numbers_free(out);
    return false;
}

void cli_numbers_free(cli_numbers *list) {
    free(list->value);
    *list = (cli_numbers){0};
}
