/* distill.c - `vane distill`: from a model to one that needs fewer passes or steps. */
#include "cli/training.h"

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("TEACHER", CLI_TEXT, o.teacher, "", "the model that is learned from: a run, or a world "
            "file", .required = true),
    CLI_TRAIN_DATA_ROW,
    CLI_ROW("method", CLI_TEXT, o.objective, "NAME",
            "how, with parameters: consistency:guidance=2; see: vane list methods"),
    CLI_TRAIN_OUT_ROWS,

    CLI_SECTION("What is trained"),
    CLI_OPTION_ROW(TRAIN, o, "model"),
    CLI_OPTION_ROW(TRAIN, o, "init_from"),
    CLI_OPTION_ROW(TRAIN, o, "times"),
    CLI_OPTION_ROW(TRAIN, o, "drop"),
    CLI_OPTION_ROW(TRAIN, o, "dropout"),

    CLI_TRAIN_OTHER_ROWS,
};
/* clang-format on */

static int run(const cli_verb *verb, int argc, char **argv) {
    cli_training a = CLI_TRAINING_INITIAL;
    return cli_run_training(verb, argc, argv, CLI_TABLE(rows, &a), &a);
}

const cli_verb cli_distill = {
    .name = "distill",
    .together = true,
    .summary = "train a model on what another says, to need fewer passes or steps",
    .example = "vane distill runs/photos photos --method consistency --minutes 20 --out runs/fast",
    .about = "Trains a network to predict what TEACHER, guided, needs several passes or steps for. "
             "DATA is what TEACHER was trained on. The student begins with TEACHER's weights. The "
             "run knows how it is to be sampled, so `vane sample RUN` is right by itself. Ctrl-C "
             "saves; --resume goes on.",
    .run = run,
};
