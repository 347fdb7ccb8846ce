/* bench.c - `vane bench`: how long a step of a network takes here, beside what this machine can do
 * at all; and, for sampling, what sampler and guides cost beside the network. */
#include "cli/cli.h"

enum { INFER, TRAIN, SAMPLE };

typedef struct args {
    const char *dir;
    int mode, profile;
    vn_bench_options o;
    vn_bench_sampling_options sampling;
    json_t *runs;         /* --json: what was reported so far */
    json_t *ops, *places; /* --profile --json: likewise */
    bool json, no_memory;
    bool begun;         /* the heading is printed */
    int places_printed; /* --profile */
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("DIR", CLI_TEXT, dir, "",
            "a run, a model folder, or a config.json alone (then with random weights)",
            .required = true),
    CLI_ROW("mode", CLI_CHOICE, mode, "infer|train|sample",
            "infer: forward; train: forward, backward and AdamW; sample: a step of a sampling "
            "run"),
    CLI_OPTION_ROW(BENCH, o, "batch"),
    CLI_OPTION_ROW(BENCH, o, "steps", .more = "; sample: steps of a sampling run"),
    CLI_OPTION_ROW(BENCH, o, "microbatches", .modes = "train"),
    CLI_OPTION_ROW(BENCH, o, "recompute", .modes = "train"),
    CLI_ROW("profile", CLI_FLAG, profile, "",
            "where the time of a step goes: by op, then the slowest places",
            .modes = "infer|train"),

    CLI_SECTION("Sampling"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "sampler", .modes = "sample"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "guide", .modes = "sample"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "guidance", .modes = "sample"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "path", .modes = "sample"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "restore", .modes = "sample"),
    CLI_OPTION_ROW(BENCH_SAMPLING, sampling, "classifier", .modes = "sample"),
};
/* clang-format on */

/* ---- training and forward passes ------------------------------------------------------------- */

static json_t *network_json(const vn_bench_result *r) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "min_ms",
                     cli_json_number(r->min_ms), "median_ms", cli_json_number(r->median_ms),
                     "images_per_s", cli_json_number(r->images_per_s), "gflops",
                     cli_json_number(r->gflops), "gemm_gflops", cli_json_number(r->gemm_gflops),
                     "memory_gbs", cli_json_number(r->memory_gbs), "peak_rss_mb",
                     cli_json_number(r->peak_rss_mb), "arena_mb", cli_json_number(r->arena_mb),
                     "arena_kept_mb", cli_json_number(r->arena_kept_mb), "recomputed",
                     cli_json_number(r->recomputed), "parameters", (json_int_t)r->parameters,
                     "microbatches", (json_int_t)r->microbatches);
}

static void print_network(const args *a, const vn_bench_result *r) {
    char parts[64] = "";
    if (r->microbatches > 1)
        snprintf(parts, sizeof parts, " in %lld %s", (long long)r->microbatches,
                 a->mode == TRAIN ? "microbatches" : "passes");
    cli_print(stdout, "%s: %lld parameters, %s, batch %lld%s, %lld steps\n", a->dir,
              (long long)r->parameters, a->mode == TRAIN ? "train" : "infer", (long long)a->o.batch,
              parts, (long long)a->o.steps);
    printf("  step        %8.2f ms least, %.2f ms median, %.0f images/s\n", r->min_ms, r->median_ms,
           r->images_per_s);
    printf(
        "  arithmetic  %8.1f GF/s, %.0f%% of this machine's %.1f GF/s (largest matrix product)\n",
        r->gflops, 100 * r->gflops / r->gemm_gflops, r->gemm_gflops);
    printf(
        "  memory      %8.1f MB planned, %.1f MB at most in use; this machine copies %.1f GB/s\n",
        r->arena_mb, r->peak_rss_mb, r->memory_gbs);
    if (a->o.recompute)
        printf("  recompute   %8.1f MB planned instead of %.1f, for %.0f%% more arithmetic\n",
               r->arena_mb, r->arena_kept_mb, 100 * r->recomputed);
}

/* ---- where the time goes --------------------------------------------------------------------- */

enum { PLACES_SHOWN = 20 };

static json_t *op_json(const vn_bench_op *op) {
    json_t *row =
        json_pack("{s:s, s:I, s:o, s:o, s:o, s:o}", "op", op->op, "calls", (json_int_t)op->calls,
                  "ms", cli_json_number(op->ms), "share", cli_json_number(op->share), "gflops",
                  cli_json_number(op->gflops), "gbs", cli_json_number(op->gbs));
    if (op->place && json_object_set_new(row, "place", json_string(op->place)) != 0) {
        json_decref(row);
        return NULL;
    }
    return row;
}

static void print_op(const args *a, const vn_bench_op *op) {
    if (!a->begun || (op->place != NULL && a->places_printed == 0))
        printf("%s%-20s %5s %9s %6s %8s %8s%s\n", a->begun ? "\n" : "", "op", "calls", "ms",
               "share", "GF/s", "GB/s", op->place ? "  place" : "");
    cli_print(stdout, "%-20s %5lld %9.3f %5.1f%% %8.1f %8.1f%s%s\n", op->op, (long long)op->calls,
              op->ms, 100 * op->share, op->gflops, op->gbs, op->place ? "  " : "",
              op->place ? op->place : "");
}

static void on_op(void *user, const vn_bench_op *op) {
    args *a = user;
    if (a->json) {
        if (json_array_append_new(op->place ? a->places : a->ops, op_json(op)) != 0)
            a->no_memory = true;
        return;
    }
    if (!op->place || a->places_printed < PLACES_SHOWN) print_op(a, op);
    a->places_printed += op->place != NULL;
    a->begun = true;
}

/* The result with the profile in it. */
static json_t *profile_json(const args *a, json_t *object) {
    if (!a->no_memory && json_object_set(object, "ops", a->ops) == 0 &&
        json_object_set(object, "places", a->places) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static vn_status bench_network(cli_session *s, args *a) {
    vn_bench_result result = vn_bench_result_default();
    a->json = s->json;
    a->o.train = a->mode == TRAIN;
    if (a->profile) {
        a->o.profile = on_op;
        a->o.profile_user = a;
        a->ops = json_array();
        a->places = json_array();
    }
    const vn_status status = vn_bench(s->vn, a->dir, &a->o, &result);
    vn_status printed = VN_OK;
    if (!status && s->json) {
        json_t *object = network_json(&result);
        printed = cli_print_json(a->profile ? profile_json(a, object) : object);
    } else if (!status) {
        if (a->profile) printf("\n");
        print_network(a, &result);
    }
    json_decref(a->ops);
    json_decref(a->places);
    return status ? status : printed;
}

/* ---- sampling -------------------------------------------------------------------------------- */

static json_t *sampling_json(const vn_bench_sampling *r) {
    if (r->refused)
        return json_pack("{s:s, s:s, s:s}", "sampler", r->sampler, "guide", r->guide, "refused",
                         r->refused);
    json_t *row = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sampler", r->sampler, "guide", r->guide,
        "passes", cli_json_number(r->passes), "min_ms", cli_json_number(r->min_ms), "median_ms",
        cli_json_number(r->median_ms), "denoiser_ms", cli_json_number(r->denoiser_ms),
        "arithmetic_ms", cli_json_number(r->arithmetic_ms), "arithmetic_share",
        cli_json_number(r->arithmetic_share), "unguided_ms", cli_json_number(r->unguided_ms));
    json_t *of =
        r->classifier_ms > 0
            ? json_pack("{s:o, s:o, s:o}", "classifier_ms", cli_json_number(r->classifier_ms),
                        "classifier_passes", cli_json_number(r->classifier_passes), "gradients",
                        cli_json_number(r->gradients))
            : json_object();
    const int failed = json_object_update_new(row, of);
    if (!failed) return row;
    json_decref(row);
    return NULL;
}

/* With a classifier a step's cost stands beside that of a step without guidance. */
static void print_classifier(const vn_bench_sampling *r) {
    const double step = r->denoiser_ms + r->classifier_ms + r->arithmetic_ms;
    cli_print(stdout,
              "  the classifier takes %.2f ms of it: %.2f gradients a sample, %.2f of its forward "
              "passes; a step without guidance takes %.2f ms, this one %.2f times as long\n",
              r->classifier_ms, r->gradients, r->classifier_passes, r->unguided_ms,
              step / r->unguided_ms);
}

static void print_sampling(args *a, const vn_bench_sampling *r) {
    if (!a->begun)
        printf("%-16s %-24s %7s %10s %10s %11s %7s\n", "sampler", "guide", "passes", "ms a step",
               "network", "arithmetic", "share");
    a->begun = true;
    printf("%-16s %-24s", r->sampler, r->guide);
    if (r->refused) {
        cli_print(stdout, "  refused: %s\n", r->refused);
        return;
    }
    printf(" %7.2f %10.2f %10.2f %11.3f %6.2f%%\n", r->passes, r->median_ms, r->denoiser_ms,
           r->arithmetic_ms, 100 * r->arithmetic_share);
    if (r->classifier_ms > 0) print_classifier(r);
}

static void on_sampling(void *user, const vn_bench_sampling *r) {
    args *a = user;
    if (!a->json)
        print_sampling(a, r);
    else if (json_array_append_new(a->runs, sampling_json(r)) != 0)
        a->no_memory = true;
}

/* One sampling run's numbers stand beside the network's own; several are a list. */
static json_t *runs_json(const args *a, const vn_bench_result *machine) {
    json_t *object = network_json(machine);
    const bool one = json_array_size(a->runs) == 1;
    int failed = one ? json_object_update(object, json_array_get(a->runs, 0))
                     : json_object_set(object, "runs", a->runs);
    if (failed == 0) return object;
    json_decref(object);
    return NULL;
}

static vn_status bench_samplers(cli_session *s, args *a) {
    vn_bench_result machine = vn_bench_result_default();
    a->sampling.batch = a->o.batch;
    a->sampling.steps = a->o.steps > INT32_MAX || a->o.steps < INT32_MIN ? -1 : (int)a->o.steps;
    a->json = s->json;
    a->runs = json_array();
    vn_status status =
        vn_bench_sample(s->vn, a->dir, &a->sampling, on_sampling, a, s->json ? &machine : NULL);
    if (!status && s->json) status = cli_print_json(a->no_memory ? NULL : runs_json(a, &machine));
    json_decref(a->runs);
    return status;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_bench_options_default(), .sampling = vn_bench_sampling_options_default()};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (!done) done = a.mode == SAMPLE ? bench_samplers(&s, &a) : bench_network(&s, &a);
    return cli_end(&s, done);
}

const cli_verb cli_bench = {
    .name = "bench",
    .summary = "time a network on this machine, or a step of sampling",
    .example = "vane bench runs/fashion-mnist --mode train --batch 64",
    .about = "Times steps of the network and measures, beside it, the fastest matrix product and "
             "memory copy of this "
             "machine. With --mode sample it times the network alone and the arithmetic of sampler "
             "and guides around it. "
             "Run it on an idle machine.",
    .run = run,
};
