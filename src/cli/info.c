/* info.c - `vane info`: what a file or directory is. */
#include "cli/cli.h"

typedef struct args {
    const char *path;
} args;

static const cli_option rows[] = {
    CLI_ROW("PATH", CLI_TEXT, path, "", "a run, a model directory, a world, a .safetensors or a .png that vane wrote",
            .required = true),
};

static vn_status describe(cli_session *s, const char *path) {
    char *text = NULL;
    vn_status status = vn_describe(s->vn, path, &text);
    if (status != VN_OK) return status;
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
    vn_text_free(&text);
    if (object == NULL) return VN_NO_MEMORY;
    if (s->json) return cli_print_json(object);
    cli_print_description(stdout, object);
    json_decref(object);
    return VN_OK;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (done == VN_OK) done = describe(&s, a.path);
    return cli_end(&s, done);
}

const cli_verb cli_info = {
    .name = "info",
    .summary = "what a run, model, world, tensor file or picture is",
    .example = "vane info samples.png",
    .about = "Says what PATH is and what it holds. For a picture that vane wrote: the model, the settings and the seed "
             "it was made with, which make it again.",
    .run = run,
};
