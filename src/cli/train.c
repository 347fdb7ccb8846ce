/* train.c - `vane train`: from data to a run directory. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/training.h"

/* clang-format off */
static const cli_option rows[] = {
    CLI_TRAIN_DATA_ROW,
    CLI_TRAIN_OUT_ROWS,

    CLI_SECTION("What is trained"),
    CLI_OPTION_ROW(TRAIN, o, "model"),
    CLI_OPTION_ROW(TRAIN, o, "init_from"),
    CLI_OPTION_ROW(TRAIN, o, "teacher"),
    CLI_OPTION_ROW(TRAIN, o, "text_encoder"),
    CLI_OPTION_ROW(TRAIN, o, "latents"),
    CLI_OPTION_ROW(TRAIN, o, "perceptual"),
    CLI_OPTION_ROW(TRAIN, o, "path"),
    CLI_OPTION_ROW(TRAIN, o, "predict"),
    CLI_OPTION_ROW(TRAIN, o, "objective"),
    CLI_OPTION_ROW(TRAIN, o, "times"),
    CLI_OPTION_ROW(TRAIN, o, "drop"),
    CLI_OPTION_ROW(TRAIN, o, "dropout"),

    CLI_TRAIN_OTHER_ROWS,
};
/* clang-format on */

/* A command that works with what was trained: guidance needs classes, pictures need pixels or a
 * plane. */
static void print_next(const cli_training *a, const vn_model_info *info) {
    char *named = info->classifies ? cli_shell_word(a->out) : NULL;
    if (named) { /* what it can be used for, and how well it does */
        cli_print(stdout, "next: vane info %s\n", named);
        free(named);
        return;
    }
    const bool shows =
        info->rank == 1 ? info->shape[0] == 2 : info->shape[0] == 1 || info->shape[0] == 3;
    char *run = cli_shell_word(a->out);
    /* a run with a sampler of its own has guidance inside, unless it says how much */
    const bool inside = info->sampler && info->guidance == 1;
    cli_print(stdout, "next: vane sample %s%s --out samples.%s\n", run ? run : a->out,
              !inside && info->classes > 0 ? " --guidance 1,2,4" : "", shows ? "png" : "npy");
    free(run);
}

/* Of an autoencoder, which is no model to be sampled from; false: it is none. */
static bool report_autoencoder(const cli_session *s, const cli_training *a) {
    char *text = NULL, took[32];
    json_t *description = NULL;
    vn_status status = vn_describe(s->vn, a->out, &text);
    if (!status) status = cli_take_json(&text, &description);
    const char *is = json_string_value(json_object_get(description, "is"));
    const bool one = !status && is && !strcmp(is, "autoencoder");
    json_decref(description);
    if (!one) return false;
    char *named = cli_shell_word(a->out);
    cli_print(stdout, "%s is trained (%s)\nnext: vane info %s\n", a->out,
              cli_duration(cli_seconds(s), took, sizeof took), named ? named : a->out);
    free(named);
    return true;
}

static vn_status report(const cli_session *s, const cli_training *a) {
    if (!s->json) {
        char took[32];
        if (report_autoencoder(s, a)) return VN_OK;
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

/* What a dry run came to. */
static vn_status report_dry(const cli_session *s, const cli_training *a, const vn_train_result *r) {
    const double rate = 1 / r->step_seconds;
    char took[32];
    if (s->json)
        return cli_print_json(json_pack(
            "{s:o, s:I, s:o, s:I}", "step_seconds", cli_json_number(r->step_seconds), "steps",
            (json_int_t)r->expected_steps, "epochs", cli_json_number(r->expected_epochs),
            "planned_bytes", (json_int_t)r->planned_bytes));
    cli_print(stdout, "a step takes %.3g s: %.3g steps a second\n", r->step_seconds, rate);
    if (a->o.steps)
        cli_print(stdout, "%lld steps would take %s and be %.3g epochs; nothing was written\n",
                  (long long)r->expected_steps,
                  cli_duration((double)r->expected_steps * r->step_seconds, took, sizeof took),
                  r->expected_epochs);
    else
        cli_print(stdout, "%g minutes would be %lld steps and %.3g epochs; nothing was written\n",
                  a->o.minutes, (long long)r->expected_steps, r->expected_epochs);
    return VN_OK;
}

int cli_run_training(const cli_verb *verb, int argc, char **argv, cli_table table,
                     cli_training *a) {
    cli_session s;
    int status;
    cli_errors_silence(!vn_context_leads(NULL));
    cli_errors_wait(!vn_context_leads(NULL));
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, table, &status)) return status;
    s.context.distributed = 1;
    s.context.timeout = a->context.timeout;
    vn_status done = cli_open(&s);
    vn_train_result result = vn_train_result_default();
    if (!done) done = vn_train(s.vn, a->data, a->out, &a->o, &result);
    const bool leads = vn_context_leads(s.vn);
    cli_errors_wait(false);
    cli_errors_silence(!leads);
    if (!done && leads) {
        cli_progress_clear(&s.progress);
        done = a->o.dry_run ? report_dry(&s, a, &result) : report(&s, a);
    }
    int code = cli_end(&s, done);
    /* not while the data was still read */
    if (code == CLI_INTERRUPTED && leads && !s.quiet && !a->o.dry_run &&
        access(a->out, F_OK) == 0) {
        /* --recompute is of a call, not of the run: without it going on might not fit in memory. */
        char *data = cli_shell_word(a->data), *out = cli_shell_word(a->out);
        cli_print(stderr, "go on with: vane train %s --out %s --resume%s\n", data ? data : a->data,
                  out ? out : a->out, a->o.recompute ? " --recompute" : "");
        free(data);
        free(out);
    }
    return code;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    cli_training a = CLI_TRAINING_INITIAL;
    return cli_run_training(verb, argc, argv, CLI_TABLE(rows, &a), &a);
}

const cli_verb cli_train = {
    .name = "train",
    .together = true,
    .summary = "train a conditional generator on labelled data, a classifier or an autoencoder",
    .example = "vane train photos --out runs/photos --minutes 30",
    .about = "Trains a network on DATA, a class a folder or label, and writes a run directory that "
             "`vane sample` and "
             "Python's diffusers open. Ctrl-C saves; --resume goes on, and ends in the same "
             "weights as if never stopped.",
    .run = run,
};
