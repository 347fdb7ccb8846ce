/* error.c - see error.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum { WAIT = 2 }; /* seconds */

static bool as_json; /* one command line in a process */
static bool silent, waits;

void cli_errors_silence(bool yes) {
    silent = yes;
}

void cli_errors_wait(bool yes) {
    waits = yes;
}

void cli_errors_begin(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        as_json = as_json || strcmp(argv[i], "--json") == 0;
}

/* What cannot be put into JSON for want of memory stands on stderr all the same. */
static void print_json(vn_status status, const char *why) {
    json_t *object =
        json_pack("{s:o, s:s}", "error", cli_json_name(why), "status", vn_status_name(status));
    if (object) cli_print_json(object);
    fflush(stdout);
}

static void report(const char *verb, vn_status status, const char *format, va_list words) {
    char why[2048];
    if (waits) sleep(WAIT);
    if (silent || (waits && cli_interrupted())) return;
    vsnprintf(why, sizeof why, format, words);
    cli_write_flags(why);
    cli_print(stderr, "vane%s%s: %s\n", verb ? " " : "", verb ? verb : "", why);
    if (as_json) print_json(status, why);
}

void cli_error(const char *verb, vn_status status, const char *format, ...) {
    va_list words;
    va_start(words, format);
    report(verb, status, format, words);
    va_end(words);
}

bool cli_misuse(const char *verb, const char *format, ...) {
    va_list words;
    va_start(words, format);
    report(verb, VN_BAD_ARGUMENT, format, words);
    va_end(words);
    return false;
}
