/* session.c - what every verb does before and after its own work: flags, help, the library's
 * context with its log and progress, and the way from a vn_status to an exit status. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef cli_session args;
/* clang-format off */
static const cli_option shared_rows[] = {
    CLI_SECTION("Output and machine"),
    CLI_ROW("json", CLI_FLAG, json, "", "print the result as one JSON object"),
    CLI_ROW("quiet", CLI_FLAG, quiet, "", "no progress and no log"),
    CLI_OPTION_ROW(CONTEXT, context, "threads"),
    CLI_OPTION_ROW(CONTEXT, context, "cpu"),
    CLI_OPTION_ROW(CONTEXT, context, "precision"),
};
/* clang-format on */
enum { output_only = 2 }; /* the rows of CLI_OUTPUT */

static int exit_status(vn_status status) {
    switch (status) {
    case VN_OK: return CLI_DONE;
    case VN_BAD_ARGUMENT: return CLI_USAGE;
    case VN_CANCELLED: return CLI_INTERRUPTED;
    default: return CLI_FAILED;
    }
}

/* Each of several processes would do all of it, and write the same files. */
static bool is_alone(const cli_verb *verb) {
    const int processes = vn_context_processes(NULL);
    if (verb->together || verb->reads || processes == 1) return true;
    cli_errors_silence(!vn_context_leads(NULL));
    cli_errors_wait(!vn_context_leads(NULL));
    cli_error(verb->name, VN_BAD_ARGUMENT,
              "%d processes would each do the same work: start one; train, distill and sample "
              "share it",
              processes);
    return false;
}

/* ---- command line ---------------------------------------------------------------------------- */

static bool asks_for_help(int argc, char **argv) {
    if (argc == 1 && strcmp(argv[0], "help") == 0) return true;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

static void print_help(const cli_verb *verb, const cli_table *tables, size_t count) {
    printf("Example: %s\n\n", verb->example);
    cli_print_wrapped(stdout, verb->about ? verb->about : verb->summary, 0, 0, 96);
    printf("\nUsage: ");
    cli_print_usage(stdout, verb->name, tables, count);
    cli_print_options(stdout, tables, count);
}

bool cli_begin(cli_session *s, const cli_verb *verb, cli_shared shared, int argc, char **argv,
               cli_table rows, int *status) {
    *s = (cli_session){.verb = verb, .context = vn_context_options_default(), .began = cli_now()};
    cli_table all = CLI_TABLE(shared_rows, s);
    if (shared == CLI_OUTPUT) all.count = output_only;
    cli_rows filled[2];
    const cli_table tables[] = {cli_fill(&rows, &filled[0]), cli_fill(&all, &filled[1])};
    if (asks_for_help(argc, argv)) {
        print_help(verb, tables, 2);
        *status = CLI_DONE;
        return false;
    }
    if (!is_alone(verb)) {
        *status = CLI_USAGE;
        return false;
    }
    *status = exit_status(cli_parse(verb->name, argc, argv, tables, 2, verb->complete));
    if (*status != CLI_DONE) return false;
    cli_progress_begin(&s->progress, s->quiet);
    if (shared == CLI_COMPUTE) cli_ignore_closed_pipes();
    return true;
}

/* ---- context --------------------------------------------------------------------------------- */

static void on_log(void *user, vn_log_level level, const char *text) {
    cli_session *s = user;
    if (s->quiet) return;
    char *line = strdup(text);
    if (line) cli_write_flags(line);
    cli_progress_clear(&s->progress);
    cli_print(stderr, "%s%s\n", level == VN_LOG_WARNING ? "warning: " : "", line ? line : text);
    free(line);
}

static int on_progress(void *user, const vn_progress *now) {
    cli_session *s = user;
    cli_progress_show(&s->progress, now);
    return cli_interrupted();
}

vn_status cli_open(cli_session *s) {
    s->context.log = on_log;
    s->context.progress = on_progress;
    s->context.user = s;
    s->context.error = s->unopened;
    s->context.error_size = sizeof s->unopened;
    vn_status status = vn_context_open(&s->vn, &s->context);
    cli_catch_signals(s->vn);
    return status;
}

/* One line. */
static void print_error(const cli_session *s, vn_status status) {
    const char *why = s->vn ? vn_error_text(s->vn) : s->unopened;
    cli_error(s->verb->name, status, "%s", why[0] != '\0' ? why : vn_status_name(status));
}

int cli_end(cli_session *s, vn_status status) {
    cli_progress_clear(&s->progress);
    if (status) print_error(s, status);
    return cli_leave(s, status);
}

int cli_leave(cli_session *s, vn_status status) {
    cli_progress_clear(&s->progress);
    cli_forget_signals();
    vn_context_close(&s->vn);
    return exit_status(status);
}

double cli_seconds(const cli_session *s) {
    return cli_now() - s->began;
}

/* ---- JSON out -------------------------------------------------------------------------------- */

json_t *cli_json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cli_json_name(const char *name) {
    json_t *text = json_string(name);
    char *copy = !text ? strdup(name) : NULL;
    if (!copy) return text;
    for (char *c = copy; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    text = json_string(copy);
    free(copy);
    return text;
}

vn_status cli_take_json(char **text, json_t **object) {
    *object = json_loads(*text, JSON_DECODE_ANY, NULL);
    vn_text_free(text);
    return *object ? VN_OK : VN_NO_MEMORY;
}

vn_status cli_print_json(json_t *object) {
    if (!object) return VN_NO_MEMORY;
    char *text = json_dumps(object, JSON_REAL_PRECISION(9));
    json_decref(object);
    if (!text) return VN_NO_MEMORY;
    cli_put_json(stdout, text);
    putchar('\n');
    free(text);
    return VN_OK; /* of output that fails the process tells in the end */
}
