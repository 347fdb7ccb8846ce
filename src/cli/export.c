/* export.c - `vane export`: a copy of a model in another number type. */
#include "cli/cli.h"

typedef struct args {
    const char *source, *dtype, *out;
} args;

static const cli_option rows[] = {
    CLI_ROW("SOURCE", CLI_TEXT, source, "", "a run, or a folder of a model", .required = true),
    CLI_ROW("dtype", CLI_TEXT, dtype, "TYPE",
            "of matrices and kernels: bf16 or f16, which take half the space on the disk and in "
            "memory, or f32",
            .required = true),
    CLI_ROW("out", CLI_TEXT, out, "DIR", "where the copy goes, which must not exist",
            .required = true),
};

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (!done) done = vn_export(s.vn, a.source, a.dtype, a.out);
    if (!done && s.json)
        done = cli_print_json(json_pack("{s:o, s:s, s:o}", "source", cli_json_name(a.source),
                                        "dtype", a.dtype, "out", cli_json_name(a.out)));
    else if (!done)
        cli_print(stdout, "%s is %s in %s\n", a.out, a.source, a.dtype);
    return cli_end(&s, done);
}

const cli_verb cli_export = {
    .name = "export",
    .summary = "write a copy of a model in another number type, half as large",
    .example = "vane export runs/photos --dtype bf16 --out photos-bf16",
    .about =
        "Copies a run or a folder of a model, as a model that vane, diffusers and transformers "
        "open, with matrices and kernels in another number type; biases and norms stay as they "
        "are. What a training would go on from is left out.",
    .run = run,
};
