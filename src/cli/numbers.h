/* numbers.h - numbers as they are typed: decimal and finite, whatever strtod would take besides. */
#ifndef CLI_NUMBERS_H
#define CLI_NUMBERS_H

#include <stdbool.h>

#include "cli/options.h"

/* A number at the beginning of the text; *end receives what follows it. */
bool cli_parse_double(const char *text, const char **end, double *out);
/* "1,2.5" or "1:4:0.5", which is 1, 1.5, ... 4, or both with commas between them; spaces around
 * numbers do not count. On failure the list is empty, and *expected says what should stand
 * there. */
bool cli_parse_numbers(const char *text, cli_numbers *out, const char **expected);

#endif
