/* train.c - `vane train`: from data to a run directory. */
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct args {
    const char *data, *out;
    vn_train_options o;
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("DATA", CLI_TEXT, data, "",
            "a folder of class folders with PNG, JPEG or WebP files; an IDX folder or file (.gz "
            "too); an .npz with images or "
            "points, and labels; CIFAR's binary batches; a world file (.json); or points:NAME",
            .required = true),
    CLI_ROW("out", CLI_TEXT, out, "RUN", "the run directory to write", .required = true),
    CLI_ROW("resume", CLI_FLAG, o.resume, "", "go on with the run in RUN, exactly where it was"),
    CLI_ROW("overwrite", CLI_FLAG, o.overwrite, "", "replace the run in RUN"),

    CLI_SECTION("How long"),
    CLI_ROW("steps", CLI_INT64, o.steps, "N", "training steps; with --resume in all", .unset = ""),
    CLI_ROW("minutes", CLI_DOUBLE, o.minutes, "M",
            "or as many steps as fit in this time; with --resume in all", .unset = ""),

    CLI_SECTION("What is trained"),
    CLI_ROW("model", CLI_TEXT, o.model, "NAME",
            "a model with parameters (unet2d:channels=32), or a config.json of "
            "diffusers", .kind = "models", .unset = "unet2d for images, mlp for points"),
    CLI_ROW("path", CLI_TEXT, o.path, "NAME", "how data becomes noise", .kind = "paths",
            .unset = "rectified"),
    CLI_ROW("predict", CLI_TEXT, o.predict, "NAME", "what the network's output means",
            .kind = "predictions",
            .unset = "the path's own"),
    CLI_ROW("objective", CLI_TEXT, o.objective, "NAME", "what is minimised", .kind = "objectives",
            .unset = "the prediction's own"),
    CLI_ROW("times", CLI_TEXT, o.times, "NAME", "how t is drawn", .kind = "times",
            .unset = "the path's own"),
    CLI_ROW("drop", CLI_DOUBLE, o.drop, "P",
            "probability of training without the class, which guidance needs",
            .unset = "0.1"),
    CLI_ROW("dropout", CLI_DOUBLE, o.dropout, "P", "dropout inside the network",
            .unset = "the model's own"),

    CLI_SECTION("The data"),
    CLI_ROW("size", CLI_INT64, o.size, "S",
            "class folders: resize and crop to S x S; -1: as the files are",
            .unset = "as the files are if they all have one size of up to 64 pixels a side, "
                     "else 32", .bounds = "above 0, or -1: as the files are"),
    CLI_ROW("grey", CLI_FLAG, o.grey, "", "class folders: read as grey"),
    CLI_ROW("flip", CLI_FLAG, o.flip, "", "flip images left-right at random"),
    CLI_ROW("skip-bad", CLI_FLAG, o.skip_bad, "",
            "class folders: go on without pictures that cannot be read"),
    CLI_ROW("validate", CLI_DOUBLE, o.validate, "P",
            "part of the data that is held out for the validation loss",
            .unset = "0.02"),

    CLI_SECTION("Optimisation (AdamW)"),
    CLI_ROW("batch", CLI_INT64, o.batch, "N", "samples in a step", .unset = "64"),
    CLI_ROW("microbatches", CLI_INT64, o.microbatches, "N",
            "less memory: pass a step's samples through the network in N equal parts", .unset = "1"),
    CLI_ROW("lr", CLI_DOUBLE, o.lr, "X", "highest learning rate", .unset = "0.001"),
    CLI_ROW("schedule", CLI_TEXT, o.schedule, "NAME",
            "of the learning rate: cosine (to 0) or constant",
            .unset = "cosine with --minutes; constant with --steps, so that more of them may "
                     "follow"),
    CLI_ROW("warmup", CLI_INT64, o.warmup, "N", "steps of linear warm-up", .unset = "50"),
    CLI_ROW("weight-decay", CLI_DOUBLE, o.weight_decay, "X", "decoupled weight decay",
            .unset = "0"),
    CLI_ROW("clip", CLI_DOUBLE, o.clip, "X", "bound on the norm of the whole gradient; 0: none",
            .unset = "1"),
    CLI_ROW("ema", CLI_DOUBLE, o.ema, "X",
            "decay of the weights' moving average, which is what is saved for sampling",
            .unset = "a share of the run so far, the power function of EDM2"),
    CLI_ROW("recompute", CLI_FLAG, o.recompute, "",
            "less memory, for more time: blocks of the network are computed "
            "again in the backward pass; the result is the same"),
    CLI_ROW("seed", CLI_UINT64, o.seed, "S", "of weights, data order, noise and all else",
            .unset = "0"),

    CLI_SECTION("What is written while it runs"),
    CLI_ROW("log-every", CLI_INT64, o.log_every, "N", "steps between lines of RUN/log.jsonl",
            .unset = "10"),
    CLI_ROW("save-every", CLI_INT64, o.save_every, "N", "steps between checkpoints",
            .unset = "about once a minute"),
    CLI_ROW("preview-every", CLI_INT64, o.preview_every, "N",
            "steps between pictures in RUN/previews; -1: none",
            .unset = "after 20 seconds, then every minute", .bounds = "above 0, or -1 for none"),
};
/* clang-format on */

/* A command that works with what was trained: guidance needs classes, pictures need pixels or a
 * plane. */
static void print_next(const args *a, const vn_model_info *info) {
    const bool shows =
        info->rank == 3 ? info->shape[0] == 1 || info->shape[0] == 3 : info->shape[0] == 2;
    char *run = cli_shell_word(a->out);
    cli_print(stdout, "next: vane sample %s%s --out samples.%s\n", run ? run : a->out,
              info->classes > 0 ? " --guidance 1,2,4" : "", shows ? "png" : "npy");
    free(run);
}

static vn_status report(const cli_session *s, const args *a) {
    if (!s->json) {
        char took[32];
        vn_model *model = NULL;
        vn_status opened = vn_model_open(s->vn, a->out, &model);
        if (opened) return opened;
        vn_model_info info = vn_model_info_default();
        vn_model_get_info(model, &info);
        cli_print(stdout, "%s is trained (%s)\n", a->out,
                  cli_duration(cli_seconds(s), took, sizeof took));
        print_next(a, &info);
        vn_model_close(&model);
        return VN_OK;
    }
    char *text = NULL;
    vn_status status = vn_describe(s->vn, a->out, &text);
    if (status) return status;
    json_t *description = json_loads(text, JSON_DECODE_ANY, NULL);
    vn_text_free(&text);
    return cli_print_json(json_pack("{s:o, s:o, s:o}", "out", cli_json_name(a->out), "seconds",
                                    cli_json_number(cli_seconds(s)), "run", description));
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_train_options_default()};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (!done) done = vn_train(s.vn, a.data, a.out, &a.o, NULL);
    if (!done) {
        cli_progress_clear(&s.progress);
        done = report(&s, &a);
    }
    int code = cli_end(&s, done);
    /* not while the data was still read */
    if (code == CLI_INTERRUPTED && !s.quiet && access(a.out, F_OK) == 0) {
        /* --recompute is of a call, not of the run: without it going on might not fit in memory. */
        char *data = cli_shell_word(a.data), *out = cli_shell_word(a.out);
        cli_print(stderr, "go on with: vane train %s --out %s --resume%s\n", data ? data : a.data,
                  out ? out : a.out, a.o.recompute ? " --recompute" : "");
        free(data);
        free(out);
    }
    return code;
}

const cli_verb cli_train = {
    .name = "train",
    .summary = "train a conditional generator on labelled data",
    .example = "vane train photos --out runs/photos --minutes 30",
    .about = "Trains a network on DATA, a class a folder or label, and writes a run directory that "
             "`vane sample` and "
             "Python's diffusers open. Ctrl-C saves; --resume goes on, and ends in the same "
             "weights as if never stopped.",
    .run = run,
};
