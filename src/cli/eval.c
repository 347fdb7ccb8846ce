/* eval.c - `vane eval`: how good a model is, as numbers with intervals. */
#include <math.h>

#include "cli/cli.h"

typedef struct args {
    const char *source, *label;
    vn_model_options opened;
    vn_eval_options o;
    vn_likelihood_settings likelihood;
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("SOURCE", CLI_TEXT, source, "",
            "a run, a diffusers model directory, or a world file (.json)",
            .required = true),
    CLI_OPTION_ROW(EVAL, o, "metric", .required = true),

    CLI_SECTION("On which samples"),
    CLI_OPTION_ROW(EVAL, o, "data"),
    CLI_OPTION_ROW(EVAL, o, "count", .letter = 'n'),
    CLI_ROW("class", CLI_TEXT, label, "C",
            "the condition: a class by name or index for all samples, null for none, all for each "
            "sample's own",
            .unset = "all"),
    CLI_OPTION_ROW(MODEL, opened, "null_class"),
    CLI_OPTION_ROW(EVAL, o, "seed"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "path"),

    CLI_SECTION("Likelihood (nll)"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "exact"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "probes"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "rtol"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "atol"),
};
/* clang-format on */

/* "100 of 60000 samples of data, drawn by seed 0; class T-shirt: 10 of 6000, ...", or of many
 * classes how many at least and at most. */
static void print_drawn(const vn_model *m, const args *a, const vn_eval_result *r) {
    enum { listed = 12 };
    if (r->available == 0) return;
    printf("  %lld of %lld samples of %s, drawn by seed %llu", (long long)r->count,
           (long long)r->available, a->o.data, (unsigned long long)a->o.seed);
    int64_t least = r->count, most = 0;
    for (int32_t k = 0; k < r->classes; k++) {
        if (r->classes <= listed)
            printf("%s %s: %lld of %lld", k == 0 ? "; class" : ",", vn_model_label_name(m, k),
                   (long long)r->drawn[k], (long long)r->drawn[r->classes + k]);
        if (r->drawn[k] < least) least = r->drawn[k];
        if (r->drawn[k] > most) most = r->drawn[k];
    }
    if (r->classes > listed)
        printf("; %lld to %lld of each of %d classes", (long long)least, (long long)most,
               (int)r->classes);
    putchar('\n');
}

/* One object a class; NULL when memory ran out. */
static json_t *drawn_json(const vn_model *m, const vn_eval_result *r) {
    json_t *list = json_array();
    for (int32_t k = 0; list != NULL && k < r->classes; k++) {
        json_t *one =
            json_pack("{s:o, s:I, s:I}", "name", cli_json_name(vn_model_label_name(m, k)), "count",
                      (json_int_t)r->drawn[k], "of", (json_int_t)r->drawn[r->classes + k]);
        if (json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static void print_text(const cli_session *s, const vn_model *m, const args *a,
                       const vn_eval_result *r) {
    cli_print(stdout, "%s: %s of %lld sample%s, seed %llu, %.1f s\n", a->source, a->o.metric,
              (long long)r->count, r->count == 1 ? "" : "s", (unsigned long long)a->o.seed,
              cli_seconds(s));
    print_drawn(m, a, r);
    for (size_t i = 0; i < r->measures; i++) {
        const vn_measure *measure = &r->measure[i];
        printf("  %-30s %12.6g", measure->name, measure->value);
        if (isfinite(measure->low)) printf("  (%.6g to %.6g)", measure->low, measure->high);
        printf("  %s\n", measure->unit);
    }
}

/* NULL when memory ran out. */
static json_t *measure_json(const vn_measure *m) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", m->name, "unit", m->unit, "value",
                     cli_json_number(m->value), "low", cli_json_number(m->low), "high",
                     cli_json_number(m->high));
}

static vn_status print_json(const cli_session *s, const vn_model *m, const args *a,
                            const vn_eval_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->measures; i++) {
        if (json_array_append_new(list, measure_json(&r->measure[i])) == 0) continue;
        json_decref(list);
        return VN_NO_MEMORY;
    }
    return cli_print_json(json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "source",
                                    cli_json_name(a->source), "metric", a->o.metric, "count",
                                    (json_int_t)r->count, "available", (json_int_t)r->available,
                                    "seed", (json_int_t)a->o.seed, "drawn", drawn_json(m, r),
                                    "measures", list, "seconds", cli_json_number(cli_seconds(s))));
}

static vn_status eval(cli_session *s, args *a) {
    vn_model *model = NULL;
    vn_eval_result result = vn_eval_result_default();
    vn_status status = cli_open(s);
    if (!status) status = vn_model_open_with(s->vn, a->source, &a->opened, &model);
    if (!status && a->label) status = vn_model_find_label(model, a->label, &a->o.label);
    if (!status) status = vn_eval(model, &a->o, &result);
    cli_progress_clear(&s->progress);
    if (!status && s->json)
        status = print_json(s, model, a, &result);
    else if (!status)
        print_text(s, model, a, &result);
    vn_model_close(&model);
    return status;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_eval_options_default(),
              .likelihood = vn_likelihood_settings_default(),
              .opened = vn_model_options_default()};
    a.o.likelihood = &a.likelihood;
    cli_session s;
    int status;
    const int probes = a.likelihood.probes;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    if (a.likelihood.exact && a.likelihood.probes != probes) {
        cli_misuse("eval", "--probes has no effect beside --exact");
        return CLI_USAGE;
    }
    return cli_end(&s, eval(&s, &a));
}

const cli_verb cli_eval = {
    .name = "eval",
    .summary = "measure a model: its likelihood",
    .example = "vane eval world.json --metric nll",
    .about = "Measures SOURCE on DATA and prints each number with its 95% interval. The likelihood "
             "is that of the "
             "probability-flow ODE; for a world the exact value stands beside it.",
    .run = run,
};
