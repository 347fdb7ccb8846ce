/* version.c - `vane --version`: what was built, with what, and what it runs with here. The first
 * line is for people and scripts that want the number alone. */
#include "cli/cli.h"

static int run(const cli_verb *verb, int argc, char **argv) {
    cli_session s;
    int status, none;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, (cli_table){.into = &none}, &status))
        return status;
    char *text = NULL;
    json_t *build = NULL;
    vn_status done = cli_open(&s);
    if (!done) done = vn_describe_build(s.vn, &text);
    if (!done) done = cli_take_json(&text, &build);
    if (!done && s.json) {
        done = cli_print_json(build);
    } else if (!done) {
        printf("vane %s\n\n", vn_version());
        json_object_del(build, "vane");
        cli_print_description(stdout, build);
        json_decref(build);
    }
    return cli_end(&s, done);
}

const cli_verb cli_version = {
    .name = "--version",
    .reads = true,
    .summary = "what vane was built with, and what it runs with here",
    .example = "vane --version --json",
    .run = run,
};
