/* info.c - `vane info`: what a file or directory is and, of a network, what running and training it
 * takes. */
#include <string.h>

#include "cli/cli.h"

enum { BATCH = 64 };

typedef struct args {
    const char *path;
    int64_t batch; /* -1: not asked for */
    int plan;
} args;

static const cli_option rows[] = {
    CLI_ROW("PATH", CLI_TEXT, path, "",
            "data as `vane train` takes it, a run, a folder of runs, a model directory or its "
            "config.json, a world, "
            "a .safetensors or a "
            "picture",
            .required = true),
    CLI_ROW("plan", CLI_FLAG, plan, "",
            "of a model: what a pass forward and a step of training take, and which arrays fill "
            "memory"),
    CLI_ROW("batch", CLI_INT64, batch, "N", "the plan, for so many samples at once", .unset = "64"),
};

static vn_status describe(cli_session *s, const args *a, bool *usage) {
    char *text = NULL;
    json_t *object = NULL;
    vn_status status = vn_describe(s->vn, a->path, &text);
    if (!status) status = cli_take_json(&text, &object);
    const char *is = json_string_value(json_object_get(object, "is"));
    const bool plans = is && (strcmp(is, "model") == 0 || strcmp(is, "network") == 0),
               asked = a->plan || a->batch >= 0;
    if (!status && asked && plans) {
        json_t *plan = NULL;
        status = vn_describe_plan(s->vn, a->path, a->batch >= 0 ? a->batch : BATCH, &text);
        if (!status) status = cli_take_json(&text, &plan);
        if (!status && json_object_set_new(object, "plan", plan) != 0) status = VN_NO_MEMORY;
    } else if (!status && asked) {
        cli_misuse("info", "--%s is of a model's plan; %s is none", a->plan ? "plan" : "batch",
                   a->path);
        *usage = true;
    }
    if (!status && !*usage && s->json) return cli_print_json(object);
    if (!status && !*usage) cli_print_description(stdout, object);
    json_decref(object);
    return status;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.batch = -1};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    bool usage = false;
    if (!done) done = describe(&s, &a, &usage);
    const int code = cli_end(&s, done);
    return code == CLI_DONE && usage ? CLI_USAGE : code;
}

const cli_verb cli_info = {
    .name = "info",
    .reads = true,
    .summary = "what data, a run, model, world, tensor file or picture is",
    .example = "vane info photos",
    .about = "Says what PATH is and what it holds. For data, before anything is trained: classes "
             "and how many samples each "
             "has, "
             "sizes, what cannot be read, what is passed over, and the command that trains on it. "
             "For a run: what was trained, for how long, how well, and how it is sampled. "
             "With --plan, for a model or a config.json alone: what a pass forward and a training "
             "step of a batch take, with and without --recompute. "
             "For a picture that vane "
             "wrote: the model, the settings and the seed "
             "it was made with, which make it again.",
    .run = run,
};
