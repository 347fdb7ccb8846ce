/* bench.c - `vane bench`: how long a step of a network takes here, beside what this machine can do at all. */
#include "cli/cli.h"

typedef struct args {
    const char *dir;
    vn_bench_options o;
} args;

static const cli_option rows[] = {
    CLI_ROW("DIR", CLI_TEXT, dir, "", "a run, a model folder, or a config.json alone (then with random weights)",
            .required = true),
    CLI_ROW("mode", CLI_CHOICE, o.train, "infer|train", "infer: forward; train: forward, backward and AdamW"),
    CLI_ROW("batch", CLI_INT64, o.batch, "N", "images in one step"),
    CLI_ROW("steps", CLI_INT64, o.steps, "K", "timed steps, after two that are not"),
};

static vn_status print_json(const vn_bench_result *r) {
    return cli_print_json(
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "min_ms", cli_json_number(r->min_ms), "median_ms",
                  cli_json_number(r->median_ms), "images_per_s", cli_json_number(r->images_per_s), "gflops",
                  cli_json_number(r->gflops), "gemm_gflops", cli_json_number(r->gemm_gflops), "memory_gbs",
                  cli_json_number(r->memory_gbs), "peak_rss_mb", cli_json_number(r->peak_rss_mb), "arena_mb",
                  cli_json_number(r->arena_mb), "parameters", (json_int_t)r->parameters));
}

static void print_text(const args *a, const vn_bench_result *r) {
    printf("%s: %lld parameters, %s, batch %lld, %lld steps\n", a->dir, (long long)r->parameters,
           a->o.train ? "train" : "infer", (long long)a->o.batch, (long long)a->o.steps);
    printf("  step        %8.2f ms least, %.2f ms median, %.0f images/s\n", r->min_ms, r->median_ms, r->images_per_s);
    printf("  arithmetic  %8.1f GF/s, %.0f%% of this machine's %.1f GF/s (largest matrix product)\n", r->gflops,
           100 * r->gflops / r->gemm_gflops, r->gemm_gflops);
    printf("  memory      %8.1f MB planned, %.1f MB at most in use; this machine copies %.1f GB/s\n", r->arena_mb,
           r->peak_rss_mb, r->memory_gbs);
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_bench_options_default()};
    a.o.train = 0;
    cli_session s;
    vn_bench_result result;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (done == VN_OK) done = vn_bench(s.vn, a.dir, &a.o, &result);
    if (done == VN_OK && s.json)
        done = print_json(&result);
    else if (done == VN_OK)
        print_text(&a, &result);
    return cli_end(&s, done);
}

const cli_verb cli_bench = {
    .name = "bench",
    .summary = "time a network on this machine",
    .example = "vane bench runs/fashion-mnist --mode train --batch 64",
    .about = "Times steps of the network and measures, beside it, the fastest matrix product and memory copy of this "
             "machine. Run it on an idle machine.",
    .run = run,
};
