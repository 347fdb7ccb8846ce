/* ema.c - `vane ema`: another average of a run's weights, after its training. */
#include "cli/cli.h"

typedef struct args {
    const char *run;
    double std;
} args;

static const cli_option rows[] = {
    CLI_ROW("RUN", CLI_TEXT, run, "", "a run that was trained with --ema-snapshots",
            .required = true),
    CLI_ROW("std", CLI_DOUBLE, std, "S",
            "the average's width: its standard deviation over the run's steps, as a part of them; "
            "0.1 is that of training, a smaller one is nearer to the latest weights",
            .unset = "", .bounds = "from 0.005 to 0.28", .required = true),
};

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    cli_session s;
    int status;
    double left = 0;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (!done) done = vn_run_average(s.vn, a.run, a.std, &left);
    if (!done && s.json)
        done = cli_print_json(
            json_pack("{s:o, s:f, s:f}", "run", cli_json_name(a.run), "std", a.std, "left", left));
    else if (!done)
        cli_print(stdout, "%s has the average of width %g (%.2g%% of it is not met)\n", a.run,
                  a.std, 100 * left);
    return cli_end(&s, done);
}

const cli_verb cli_ema = {
    .name = "ema",
    .summary = "write another average of a run's weights, made after its training",
    .example = "vane ema runs/photos --std 0.05",
    .about = "Makes the run's weights the average that training would have kept with another width "
             "(EDM2, arXiv 2312.02696), of the snapshots in RUN/state/ema. Nothing is lost: "
             "--std 0.1 makes nearly what training wrote, another call makes another width, and "
             "--resume with more steps goes on as if nothing had been.",
    .run = run,
};
