/* error.h - how the program says that something failed: one line on stderr, "vane VERB: why". Where
 * the command line asks for --json, stdout receives {"error": why, "status": name} too, so that a
 * program which reads stdout finds one JSON object whether the call succeeded or not. The exit
 * status is the same with and without. */
#ifndef CLI_ERROR_H
#define CLI_ERROR_H

#include <stdbool.h>

#include "vane.h"

/* Looks for --json among all words of the command line, before any of them is judged. */
void cli_errors_begin(int argc, char **argv);
/* Of processes that train together one says what failed. */
void cli_errors_silence(bool yes);
/* One that may have failed by itself, or as all have, gives the first time to speak: Open MPI's
 * launcher ends all when one has ended. Still there after that, it speaks unless it is silenced. */
void cli_errors_wait(bool yes);
/* verb NULL: no verb is known yet. */
void cli_error(const char *verb, vn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A mistake on the command line. False, for the caller to return. */
bool cli_misuse(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
