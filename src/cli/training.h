/* training.h - what the verbs that train share: `vane train`, and `vane distill`, which learns from
 * a model. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli/cli.h"

typedef struct cli_training {
    const char *data, *out;
    vn_train_options o;
    vn_context_options context; /* `timeout` of it */
} cli_training;
#define CLI_TRAINING_INITIAL                                                                       \
    { .o = vn_train_options_default(), .context = vn_context_options_default() }

/* Reads the words by the rows, whose struct a is, trains and reports; returns the exit status. */
int cli_run_training(const cli_verb *verb, int argc, char **argv, cli_table rows, cli_training *a);

typedef cli_training args; /* whose rows follow */

/* clang-format off */
#define CLI_TRAIN_DATA_ROW \
    CLI_ROW("DATA", CLI_TEXT, data, "", \
            "a folder of class folders with PNG, JPEG or WebP files; an IDX folder or file (.gz " \
            "too); an .npz with images or " \
            "points, and labels; CIFAR's binary batches; a world file (.json); or points:NAME", \
            .required = true)
#define CLI_TRAIN_OUT_ROWS \
    CLI_ROW("out", CLI_TEXT, out, "RUN", "the run directory to write", .required = true), \
    CLI_OPTION_ROW(TRAIN, o, "resume"), \
    CLI_OPTION_ROW(TRAIN, o, "overwrite"), \
    CLI_OPTION_ROW(TRAIN, o, "dry_run"), \
    CLI_SECTION("How long"), \
    CLI_OPTION_ROW(TRAIN, o, "steps"), \
    CLI_OPTION_ROW(TRAIN, o, "minutes")
#define CLI_TRAIN_OTHER_ROWS \
    CLI_SECTION("The data"), \
    CLI_OPTION_ROW(TRAIN, o, "size", \
                   .bounds = "above 0, or -1: as the files are"), \
    CLI_OPTION_ROW(TRAIN, o, "grey"), \
    CLI_OPTION_ROW(TRAIN, o, "flip"), \
    CLI_OPTION_ROW(TRAIN, o, "shift"), \
    CLI_OPTION_ROW(TRAIN, o, "skip_bad"), \
    CLI_OPTION_ROW(TRAIN, o, "captions"), \
    CLI_OPTION_ROW(TRAIN, o, "validate"), \
    CLI_SECTION("Optimisation"), \
    CLI_OPTION_ROW(TRAIN, o, "batch"), \
    CLI_OPTION_ROW(TRAIN, o, "microbatches"), \
    CLI_OPTION_ROW(TRAIN, o, "optimizer"), \
    CLI_OPTION_ROW(TRAIN, o, "lr"), \
    CLI_OPTION_ROW(TRAIN, o, "schedule"), \
    CLI_OPTION_ROW(TRAIN, o, "warmup"), \
    CLI_OPTION_ROW(TRAIN, o, "weight_decay"), \
    CLI_OPTION_ROW(TRAIN, o, "clip"), \
    CLI_OPTION_ROW(TRAIN, o, "ema"), \
    CLI_OPTION_ROW(TRAIN, o, "ema_snapshots"), \
    CLI_OPTION_ROW(TRAIN, o, "recompute"), \
    CLI_OPTION_ROW(TRAIN, o, "seed"), \
    CLI_SECTION("What is written while it runs"), \
    CLI_OPTION_ROW(TRAIN, o, "log_every"), \
    CLI_OPTION_ROW(TRAIN, o, "save_every"), \
    CLI_OPTION_ROW(TRAIN, o, "preview_every", .bounds = "above 0, or -1 for none"), \
    CLI_SECTION("Several processes"), \
    CLI_OPTION_ROW(CONTEXT, context, "timeout")
/* clang-format on */

#endif
