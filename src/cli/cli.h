/* cli.h - what the verbs of the program share. The program is the library's first client: it
 * includes vane.h and nothing else of vane. What it prints on stdout is the result; progress, log
 * and errors go to stderr. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/error.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/suggest.h"
#include "vane.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

typedef struct cli_verb cli_verb;
struct cli_verb {
    const char *name, *summary; /* the summary stands in `vane --help` */
    const char *example;        /* a command that works */
    /* what a user should know, below the example; NULL: the summary says it */
    const char *about;
    cli_complete_fn complete; /* NULL: what was typed is all there is */
    bool together;            /* several processes that a launcher started share its work */
    bool reads;               /* it computes and writes nothing: several may run it */
    /* the words after the verb; returns the exit status */
    int (*run)(const cli_verb *verb, int argc, char **argv);
};

extern const cli_verb cli_version; /* `vane --version` */
extern const cli_verb cli_train, cli_distill, cli_sample, cli_forward, cli_eval, cli_sweep, cli_log,
    cli_ema, cli_export, cli_tokens, cli_list, cli_info, cli_bench;

/* A verb's run: the flags all verbs share, and the library's context once it is open. */
typedef struct cli_session {
    const cli_verb *verb;
    int quiet, json;
    vn_context_options context;
    vn_context *vn;
    char unopened[256]; /* why the context could not be opened */
    cli_progress progress;
    double began;
} cli_session;

/* The flags a verb has besides its own. */
typedef enum cli_shared {
    CLI_OUTPUT, /* --json */
    CLI_COMPUTE /* and --threads, --cpu, --quiet */
} cli_shared;

/* Reads the words into `rows`' struct and the session. False when the verb is over: *status is then
 * its exit status (help was printed, or the command line is wrong). */
bool cli_begin(cli_session *s, const cli_verb *verb, cli_shared shared, int argc, char **argv,
               cli_table rows, int *status);
/* Opens the context, with Ctrl-C asking it to stop. */
vn_status cli_open(cli_session *s);
/* choices.c: refuses a text of the options that no row of its table is chosen by, after cli_open
 * and before anything large is read; and one that is not among the options yet. */
vn_status cli_check_choices(cli_session *s, int kind, const void *options);
vn_status cli_check_choice(cli_session *s, int kind, const void *options, const char *name,
                           const char *text);
/* Says why `status` failed (unless VN_OK), closes the context and returns the exit status. */
int cli_end(cli_session *s, vn_status status);
/* The same for a failure whose words have been printed. */
int cli_leave(cli_session *s, vn_status status);
double cli_seconds(const cli_session *s); /* since cli_begin */

/* process.c: of the process. main calls the first and the last, a session the others. */
void cli_begin_process(void);
void cli_catch_signals(vn_context *vn); /* from now on a signal asks it to stop */
void cli_forget_signals(void);
bool cli_interrupted(void);
void cli_ignore_closed_pipes(void);
/* Writes what stdout still holds; where that fails, says so and returns CLI_FAILED, else
 * `status`. */
int cli_end_process(int status);

/* Prints the object on stdout and releases it. NULL (out of memory) gives VN_NO_MEMORY. */
vn_status cli_print_json(json_t *object);
/* A number, or null where JSON has none. New reference or NULL. */
json_t *cli_json_number(double value);
/* The name of a file, with '?' for bytes that JSON cannot hold. New reference or NULL. */
json_t *cli_json_name(const char *name);
/* The text of a vn_describe call as an object; frees the text. */
vn_status cli_take_json(char **text, json_t **object);
/* A description from vn_describe as lines for people. */
void cli_print_description(FILE *to, const json_t *object);

#endif
