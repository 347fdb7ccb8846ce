/* log.c - `vane log`: how training went. Last and least values and the curve of a run, several runs
 * side by side, and the same for other programs: CSV, JSON and TensorBoard's event files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chart.h"
#include "cli/cli.h"

typedef struct args {
    cli_texts runs, keys;
    const char *tensorboard;
    int csv;
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("RUN...", CLI_TEXTS, runs, "", "runs, also such as are being trained",
            .required = true),
    CLI_ROW("key", CLI_TEXTS, keys, "KEY",
            "what the curve shows, a key of log.jsonl; given again: another curve",
            .unset = "loss_mean and held_loss of one run; held_loss of several, or loss_mean"),
    CLI_ROW("csv", CLI_FLAG, csv, "", "all lines of all runs as comma-separated values"),
    CLI_ROW("tensorboard", CLI_TEXT, tensorboard, "DIR",
            "write DIR/RUN/events.out.tfevents.0.vane for each run, which TensorBoard reads"),
};
/* clang-format on */

/* The runs that are looked at. */
typedef struct logs {
    vn_run_log *of[64];
    size_t count;
} logs;
enum { MAX_RUNS = sizeof(((logs *)0)->of) / sizeof(vn_run_log *) };

/* ---- numbers --------------------------------------------------------------------------------- */

/* The last number of the column; NaN: it has none. */
static double last_of(const vn_run_log *log, const char *key) {
    const double *v = vn_run_log_values(log, key);
    for (int64_t i = v ? vn_run_log_count(log) : 0; i > 0; i--)
        if (!isnan(v[i - 1])) return v[i - 1];
    return (double)NAN;
}

/* The least number of the column, and the step at which it was; NaN: it has none. */
static double least_of(const vn_run_log *log, const char *key, double *step) {
    const double *v = vn_run_log_values(log, key), *steps = vn_run_log_values(log, "step");
    double least = (double)NAN;
    *step = (double)NAN;
    for (int64_t i = 0; v && i < vn_run_log_count(log); i++) {
        if (isnan(v[i]) || v[i] >= least) continue;
        least = v[i];
        *step = steps[i];
    }
    return least;
}

/* Whether a least value says something: that of a single batch is chance. */
static bool is_settled(const char *key) {
    return strstr(key, "loss") && strcmp(key, "loss") != 0;
}

static bool has_key(const vn_run_log *log, const char *key) {
    return vn_run_log_values(log, key) != NULL;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_value(const char *key, double value) {
    char text[32];
    if (isnan(value))
        printf("  %12s", "-");
    else if (strcmp(key, "seconds") == 0)
        printf("  %12s", cli_duration(value, text, sizeof text));
    else
        printf("  %12.6g", value);
}

/* Of one run: a line for each key. */
static void print_one(const char *run, const vn_run_log *log) {
    const char *key;
    double step;
    cli_print(stdout, "%s: %lld line%s\n", run, (long long)vn_run_log_count(log),
              vn_run_log_count(log) == 1 ? "" : "s");
    printf("  %-16s  %12s  %12s\n", "", "last", "least");
    for (size_t i = 0; (key = vn_run_log_key(log, i)); i++) {
        cli_print(stdout, "  %-16s", key);
        print_value(key, last_of(log, key));
        const double least = least_of(log, key, &step);
        if (is_settled(key)) {
            print_value(key, least);
            printf("  at step %.0f", step);
        }
        putchar('\n');
    }
}

/* Of several: a line for each run. */
static void print_many(const args *a, const logs *l) {
    static const char *const keys[] = {"step",          "loss_mean",    "held_loss",
                                       "learning_rate", "images_per_s", "seconds"};
    enum { key_count = sizeof keys / sizeof keys[0], widest = 40 };
    int width = 4;
    double step;
    for (size_t r = 0; r < l->count; r++) {
        const int n = (int)strlen(a->runs.text[r]);
        width = n > width ? n : width;
    }
    width = width > widest ? widest : width;
    printf("%-*s", width, "");
    for (size_t k = 0; k < key_count; k++) printf("  %12s", keys[k]);
    printf("  %12s\n", "least held");
    for (size_t r = 0; r < l->count; r++) {
        cli_print(stdout, "%-*s", width, a->runs.text[r]);
        for (size_t k = 0; k < key_count; k++) print_value(keys[k], last_of(l->of[r], keys[k]));
        print_value("held_loss", least_of(l->of[r], "held_loss", &step));
        putchar('\n');
    }
}

static void add_curve(cli_curve *curves, size_t *count, const vn_run_log *log, const char *name,
                      const char *key) {
    if (*count == CLI_MAX_CURVES || !has_key(log, key)) return;
    curves[(*count)++] = (cli_curve){.name = name,
                                     .x = vn_run_log_values(log, "step"),
                                     .y = vn_run_log_values(log, key),
                                     .count = vn_run_log_count(log)};
}

/* Whether each run has enough held-out losses for a curve. */
static bool have_held_curves(const logs *l) {
    enum { enough = 5 };
    for (size_t r = 0; r < l->count; r++) {
        const double *v = vn_run_log_values(l->of[r], "held_loss");
        int64_t count = 0;
        for (int64_t i = 0; v && i < vn_run_log_count(l->of[r]); i++) count += !isnan(v[i]);
        if (count < enough) return false;
    }
    return true;
}

/* The curves of one key, or of the two losses of one run. */
static void print_curves(const args *a, const logs *l) {
    static const char *const losses[] = {"loss_mean", "held_loss"};
    cli_curve curves[CLI_MAX_CURVES];
    size_t count = 0;
    if (a->keys.count == 0 && l->count == 1) {
        for (size_t k = 0; k < 2; k++) add_curve(curves, &count, l->of[0], losses[k], losses[k]);
    } else if (l->count == 1) {
        for (size_t k = 0; k < a->keys.count; k++)
            add_curve(curves, &count, l->of[0], a->keys.text[k], a->keys.text[k]);
    } else {
        const char *key = a->keys.count > 0 ? a->keys.text[0] : losses[have_held_curves(l)];
        cli_print(stdout, "\n%s\n", key);
        for (size_t r = 0; r < l->count; r++)
            add_curve(curves, &count, l->of[r], a->runs.text[r], key);
    }
    if (count == 0) return;
    if (l->count == 1) putchar('\n');
    cli_print_chart(stdout, curves, count, "step");
    if (l->count > CLI_MAX_CURVES) printf("(the first %d runs)\n", CLI_MAX_CURVES);
}

/* ---- CSV and JSON ---------------------------------------------------------------------------- */

static void print_csv_text(const char *text) {
    const char quote = '"';
    putchar(quote);
    for (; *text != '\0'; text++) {
        if (*text == quote) putchar(quote);
        putchar(*text);
    }
    putchar(quote);
}

/* The keys of all runs, in the order in which they come first. */
static size_t all_keys(const logs *l, const char **keys, size_t most) {
    size_t count = 0;
    const char *key;
    for (size_t r = 0; r < l->count; r++) {
        for (size_t i = 0; (key = vn_run_log_key(l->of[r], i)); i++) {
            size_t k = 0;
            while (k < count && strcmp(keys[k], key) != 0) k++;
            if (k == count && count < most) keys[count++] = key;
        }
    }
    return count;
}

/* RFC 4180, with `run` as the first column where there are several; a number that a line does not
 * have is empty. */
static void print_csv(const args *a, const logs *l) {
    enum { most = 1024 };
    const char *keys[most];
    const size_t count = all_keys(l, keys, most);
    const bool several = l->count > 1;
    if (several) fputs("run", stdout);
    for (size_t k = 0; k < count; k++) {
        if (k > 0 || several) putchar(',');
        if (keys[k][strcspn(keys[k], "\",\r\n")] != '\0')
            print_csv_text(keys[k]);
        else
            fputs(keys[k], stdout);
    }
    putchar('\n');
    for (size_t r = 0; r < l->count; r++) {
        for (int64_t i = 0; i < vn_run_log_count(l->of[r]); i++) {
            if (several) print_csv_text(a->runs.text[r]);
            for (size_t k = 0; k < count; k++) {
                const double *v = vn_run_log_values(l->of[r], keys[k]);
                if (k > 0 || several) putchar(',');
                if (v && !isnan(v[i])) printf("%.9g", v[i]);
            }
            putchar('\n');
        }
    }
}

/* NULL when memory ran out, here and below. */
static json_t *run_json(const char *run, const vn_run_log *log) {
    json_t *last = json_object(), *least = json_object();
    const char *key;
    double step;
    bool ok = last != NULL && least != NULL;
    for (size_t i = 0; ok && (key = vn_run_log_key(log, i)); i++) {
        ok = json_object_set_new(last, key, cli_json_number(last_of(log, key))) == 0;
        const double value = least_of(log, key, &step);
        if (ok && is_settled(key) && !isnan(value))
            ok = json_object_set_new(
                     least, key,
                     json_pack("{s:f, s:I}", "value", value, "step", (json_int_t)step)) == 0;
    }
    if (ok)
        return json_pack("{s:o, s:I, s:o, s:o}", "run", cli_json_name(run), "lines",
                         (json_int_t)vn_run_log_count(log), "last", last, "least", least);
    json_decref(last);
    json_decref(least);
    return NULL;
}

static vn_status print_json(const args *a, const logs *l) {
    json_t *list = json_array();
    for (size_t r = 0; r < l->count; r++) {
        if (json_array_append_new(list, run_json(a->runs.text[r], l->of[r])) == 0) continue;
        json_decref(list);
        return VN_NO_MEMORY;
    }
    return cli_print_json(json_pack("{s:o}", "runs", list));
}

/* ---- TensorBoard ----------------------------------------------------------------------------- */

/* The run's name within DIR: its path without what leads out of there. */
static const char *name_within(const char *run) {
    for (;;) {
        if (run[0] == '/')
            run++;
        else if (strncmp(run, "./", 2) == 0)
            run += 2;
        else if (strncmp(run, "../", 3) == 0)
            run += 3;
        else
            return strcmp(run, "") == 0 || strcmp(run, ".") == 0 || strcmp(run, "..") == 0 ? "run"
                                                                                           : run;
    }
}

static vn_status save_events(const args *a, const logs *l) {
    vn_status status = VN_OK;
    for (size_t r = 0; !status && r < l->count; r++) {
        const char *name = name_within(a->runs.text[r]);
        const size_t size = strlen(a->tensorboard) + strlen(name) + 2;
        char *folder = malloc(size);
        if (!folder) return VN_NO_MEMORY;
        snprintf(folder, size, "%s/%s", a->tensorboard, name);
        status = vn_run_log_save_events(l->of[r], folder);
        free(folder);
    }
    return status;
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* A key that none of the runs has is a mistake. */
static bool check_keys(const args *a, const logs *l) {
    enum { most = 1024 };
    const char *keys[most];
    char text[256];
    const size_t count = all_keys(l, keys, most);
    for (size_t k = 0; k < a->keys.count; k++) {
        bool found = false;
        for (size_t i = 0; i < count; i++) found = found || strcmp(keys[i], a->keys.text[k]) == 0;
        if (found) continue;
        if (cli_suggest(a->keys.text[k], "", keys, count, text, sizeof text))
            return cli_misuse("log", "no run has the key '%s'; %s", a->keys.text[k], text);
        return cli_misuse("log", "no run has the key '%s'", a->keys.text[k]);
    }
    return true;
}

static vn_status open_logs(const cli_session *s, const args *a, logs *l) {
    vn_status status = VN_OK;
    for (; !status && l->count < a->runs.count; l->count += !status)
        status = vn_run_log_open(s->vn, a->runs.text[l->count], &l->of[l->count]);
    return status;
}

static vn_status print_logs(const cli_session *s, const args *a, const logs *l) {
    if (s->json) return print_json(a, l);
    if (a->csv) {
        print_csv(a, l);
        return VN_OK;
    }
    if (l->count == 1)
        print_one(a->runs.text[0], l->of[0]);
    else
        print_many(a, l);
    print_curves(a, l);
    return VN_OK;
}

static bool check(const cli_session *s, const args *a) {
    if (a->runs.count > MAX_RUNS)
        return cli_misuse("log", "%zu runs; at most %d are compared", a->runs.count, MAX_RUNS);
    if (a->runs.count > 1 && a->keys.count > 1)
        return cli_misuse("log", "--key is given %zu times; the curves of several runs have one",
                          a->keys.count);
    if (a->csv && s->json) return cli_misuse("log", "--csv has no effect beside --json");
    if (a->keys.count > 0 && (a->csv || s->json))
        return cli_misuse("log", "--key has no effect beside %s", a->csv ? "--csv" : "--json");
    for (size_t r = 0; r < a->runs.count; r++)
        for (size_t k = 0; k < r; k++)
            if (strcmp(a->runs.text[r], a->runs.text[k]) == 0)
                return cli_misuse("log", "%s is given twice", a->runs.text[r]);
    return true;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    logs l = {0};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    bool right = check(&s, &a);
    vn_status done = right ? cli_open(&s) : VN_BAD_ARGUMENT;
    if (!done) done = open_logs(&s, &a, &l);
    if (!done && !check_keys(&a, &l)) {
        right = false;
        done = VN_BAD_ARGUMENT;
    }
    if (!done && a.tensorboard) done = save_events(&a, &l);
    if (!done) done = print_logs(&s, &a, &l);
    for (size_t r = 0; r < l.count; r++) vn_run_log_close(&l.of[r]);
    status = right ? cli_end(&s, done) : cli_leave(&s, done);
    cli_texts_free(&a.runs);
    cli_texts_free(&a.keys);
    return status;
}

const cli_verb cli_log = {
    .name = "log",
    .summary = "how training went: last values and curves, of one run or several",
    .example = "vane log runs/photos",
    .about = "Prints the last values of each RUN's log.jsonl, the least losses, and the curve of "
             "the loss; of several runs a line each and their curves in one picture. A run may "
             "still be training. --csv and --json are for programs, --tensorboard for TensorBoard: "
             "tensorboard --logdir DIR.",
    .run = run,
};
