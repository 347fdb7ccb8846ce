/* eval.c - `vane eval`: how good a model is, as numbers with intervals. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/prompts.h"

typedef struct args {
    const char *source, *label, *weak, *classifier, *prompts_file;
    cli_texts prompts;
    cli_prompts lines; /* of the file */
    vn_model_options opened;
    vn_eval_options o;
    vn_sample_options sample;
    vn_likelihood_settings likelihood;
    cli_numbers sigmas;
    bool refused; /* once the model is known; the words are printed */
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("SOURCE", CLI_TEXT, source, "",
            "a run, a diffusers model directory, an autoencoder, or a world file (.json); or "
            "nothing, with --samples"),
    CLI_OPTION_ROW(EVAL, o, "metric", .required = true),

    CLI_SECTION("On which samples"),
    CLI_OPTION_ROW(EVAL, o, "data"),
    CLI_OPTION_ROW(EVAL, o, "samples"),
    CLI_OPTION_ROW(EVAL, o, "count", .letter = 'n'),
    CLI_OPTION_ROW(EVAL, o, "data_count"),
    CLI_ROW("class", CLI_TEXT, label, "C",
            "the condition: a class by name or index for all samples, null for none, all for each "
            "sample's own",
            .unset = "all"),
    CLI_OPTION_ROW(MODEL, opened, "size"),
    CLI_OPTION_ROW(MODEL, opened, "null_class"),
    CLI_OPTION_ROW(EVAL, o, "seed"),
    CLI_OPTION_ROW(SAMPLE, sample, "path"),

    CLI_SECTION("How they are compared"),
    CLI_OPTION_ROW(EVAL, o, "features"),
    CLI_OPTION_ROW(EVAL, o, "per_class"),
    CLI_OPTION_ROW(EVAL, o, "resamples"),
    CLI_OPTION_ROW(EVAL, o, "training"),
    CLI_OPTION_ROW(EVAL, o, "cache"),

    CLI_SECTION("How they are drawn (as vane sample)"),
    CLI_OPTION_ROW(SAMPLE, sample, "guidance"),
    CLI_OPTION_ROW(SAMPLE, sample, "guide"),
    CLI_ROW("weak", CLI_TEXT, weak, "SOURCE",
            "the lesser model that guides such as autoguidance push away from",
            .unset = "a world's own"),
    CLI_ROW("classifier", CLI_TEXT, classifier, "CLF",
            "what tells the classes to the guides classifier and classifier-gradient; a SOURCE "
            "that knows no classes has those of CLF", .unset = "a world's own"),
    CLI_ROW("prompt", CLI_TEXTS, prompts, "TEXT",
            "of a model that was trained on captions: what to draw. Given again: sample i gets the "
            "i-th in turn",
            .unset = "the captions of the data"),
    CLI_ROW("prompts", CLI_TEXT, prompts_file, "FILE", "the same from a file, one a line"),
    CLI_OPTION_ROW(SAMPLE, sample, "negative"),
    CLI_OPTION_ROW(SAMPLE, sample, "sampler"),
    CLI_OPTION_ROW(SAMPLE, sample, "steps"),
    CLI_OPTION_ROW(SAMPLE, sample, "grid"),
    CLI_ROW("sigmas", CLI_NUMBERS, sigmas, "S,S,...,0",
            "or the path's sigma(t) at each level, from noise to data: falling, the last one 0"),
    CLI_OPTION_ROW(SAMPLE, sample, "cache", .name = "step-cache"),
    CLI_OPTION_ROW(SAMPLE, sample, "begin"),
    CLI_OPTION_ROW(SAMPLE, sample, "first"),
    CLI_OPTION_ROW(SAMPLE, sample, "noise_file", .name = "noise"),
    CLI_OPTION_ROW(SAMPLE, sample, "batch"),

    CLI_SECTION("Likelihood (nll)"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "exact"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "probes"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "rtol"),
    CLI_OPTION_ROW(LIKELIHOOD, likelihood, "atol"),
};
/* clang-format on */

static const char *what_is_measured(const args *a) {
    return a->source ? a->source : a->o.samples;
}

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

/* "prompts: the captions of the data, 212 distinct"; nothing of models that take none. */
static void print_prompts(const vn_eval_result *r) {
    static const char *const words[][2] = {{"options", "as given, in turn"},
                                           {"captions", "the captions of the data"},
                                           {"classes", "the names of the data's classes"},
                                           {"run", "captions that the run keeps, in turn"}};
    const char *from = "none";
    if (!r->prompts_from) return;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], r->prompts_from) == 0) from = words[i][1];
    printf("  prompts: %s", from);
    if (r->prompts > 0) printf(", %lld distinct", (long long)r->prompts);
    putchar('\n');
}

static void print_row(const vn_model *m, const vn_eval_row *row) {
    char name[96];
    const char *class_name = vn_model_label_name(m, row->label);
    if (row->label == VN_LABEL_ALL)
        snprintf(name, sizeof name, "%s", row->name);
    else if (class_name)
        snprintf(name, sizeof name, "  %.40s: %s", class_name, row->metric);
    else
        snprintf(name, sizeof name, "  class %d: %s", (int)row->label, row->metric);
    cli_print(stdout, "  %-34s %12.6g", name, row->value);
    if (isfinite(row->low)) printf("  (%.6g to %.6g)", row->low, row->high);
    printf("%s%s\n", row->unit[0] ? "  " : "", row->unit);
}

static void print_text(const cli_session *s, const vn_model *m, const args *a,
                       const vn_eval_result *r) {
    cli_print(stdout, "%s: %s of %lld sample%s", what_is_measured(a), a->o.metric,
              (long long)r->count, r->count == 1 ? "" : "s");
    if (r->data_count) printf(" and %lld of the data", (long long)r->data_count);
    if (r->features) cli_print(stdout, ", features %s", r->features);
    printf(", seed %llu, %.1f s\n", (unsigned long long)a->o.seed, cli_seconds(s));
    print_prompts(r);
    print_drawn(m, a, r);
    for (size_t i = 0; i < r->rows; i++) print_row(m, &r->row[i]);
}

/* NULL when memory ran out. */
static json_t *measure_json(const vn_eval_row *m) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", m->name, "unit", m->unit, "value",
                     cli_json_number(m->value), "low", cli_json_number(m->low), "high",
                     cli_json_number(m->high));
}

/* The rows of one class, or of all, by the names that programs look for. NULL when memory ran
 * out. */
static json_t *metrics_json(const vn_eval_result *r, int32_t label) {
    json_t *all = json_object();
    for (size_t i = 0; all && i < r->rows; i++) {
        const vn_eval_row *row = &r->row[i];
        if (row->label != label) continue;
        json_t *one =
            json_pack("{s:o, s:o, s:o, s:s, s:I}", "value", cli_json_number(row->value), "low",
                      cli_json_number(row->low), "high", cli_json_number(row->high), "unit",
                      row->unit, "count", (json_int_t)row->count);
        if (one && json_object_set_new(all, row->metric, one) == 0) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}

/* One object a class that has rows. NULL when memory ran out. */
static json_t *classes_json(const vn_model *m, const vn_eval_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->rows; i++) {
        const int32_t label = r->row[i].label;
        if (label == VN_LABEL_ALL || (i > 0 && r->row[i - 1].label == label)) continue;
        char number[32];
        const char *name = vn_model_label_name(m, label);
        snprintf(number, sizeof number, "%d", (int)label);
        json_t *one =
            json_pack("{s:i, s:o, s:o}", "class", (int)label, "name",
                      cli_json_name(name ? name : number), "metrics", metrics_json(r, label));
        if (json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *measures_json(const vn_eval_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->rows; i++) {
        if (r->row[i].label != VN_LABEL_ALL ||
            json_array_append_new(list, measure_json(&r->row[i])) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static vn_status print_json(const cli_session *s, const vn_model *m, const args *a,
                            const vn_eval_result *r) {
    json_t *object = json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "source",
                               cli_json_name(what_is_measured(a)), "metric", a->o.metric, "count",
                               (json_int_t)r->count, "data_count", (json_int_t)r->data_count,
                               "available", (json_int_t)r->available, "seed", (json_int_t)a->o.seed,
                               "features", r->features ? cli_json_name(r->features) : json_null(),
                               "metrics", metrics_json(r, VN_LABEL_ALL), "drawn", drawn_json(m, r),
                               "measures", measures_json(r));
    if (object && a->o.per_class &&
        json_object_set_new(object, "classes", classes_json(m, r)) != 0) {
        json_decref(object);
        object = NULL;
    }
    if (object && r->prompts_from &&
        json_object_set_new(object, "prompts",
                            json_pack("{s:s, s:I}", "from", r->prompts_from, "distinct",
                                      (json_int_t)r->prompts)) != 0) {
        json_decref(object);
        object = NULL;
    }
    if (object && json_object_set_new(object, "seconds", cli_json_number(cli_seconds(s))) != 0) {
        json_decref(object);
        object = NULL;
    }
    return cli_print_json(object);
}

/* named: whose classes the samples have. */
static vn_status measure(cli_session *s, args *a, vn_model *model, const vn_model *named) {
    vn_eval_result result = vn_eval_result_default();
    const vn_status status =
        model ? vn_eval(model, &a->o, &result) : vn_eval_samples(s->vn, &a->o, &result);
    cli_progress_clear(&s->progress);
    if (status) return status;
    if (s->json) return print_json(s, named, a, &result);
    print_text(s, named, a, &result);
    return VN_OK;
}

typedef enum lies { SET, MODEL, AUTOENCODER } lies;

/* What lies there: a run as --samples is one to draw from, and an autoencoder as SOURCE has samples
 * that are made of the data. */
static lies what_lies(cli_session *s, const char *path) {
    char *text = NULL;
    json_t *object = NULL;
    lies what = SET;
    if (vn_describe(s->vn, path, &text) == VN_OK && cli_take_json(&text, &object) == VN_OK) {
        const char *is = json_string_value(json_object_get(object, "is"));
        if (is && (!strcmp(is, "model") || !strcmp(is, "world"))) what = MODEL;
        if (is && !strcmp(is, "autoencoder")) what = AUTOENCODER;
    }
    json_decref(object);
    return what;
}

/* What cannot be meant, now that the model is known; NULL: there is none. */
static bool check_texts(const args *a, const vn_model_info *info) {
    const char *option = a->sample.prompt_count > 0 ? (a->prompts_file ? "prompts" : "prompt")
                         : a->sample.negative       ? "negative"
                                                    : NULL;
    const bool named = a->label && strcmp(a->label, "null") != 0 && strcmp(a->label, "all") != 0;
    if (!a->source && option)
        return cli_misuse("eval", "--%s has no effect on samples that exist", option);
    if (info->takes_prompts && named)
        return cli_misuse("eval", "--class %s: samples of %s are of texts; --prompt says which",
                          a->label, a->source);
    return true;
}

/* The model; an autoencoder is none, and becomes what --samples names. */
static vn_status open_source(cli_session *s, args *a, vn_model **model) {
    const vn_status status = vn_model_open_with(s->vn, a->source, &a->opened, model);
    if (status != VN_UNSUPPORTED) return status;
    if (a->opened.size || a->opened.null_class >= 0 || what_lies(s, a->source) != AUTOENCODER)
        return vn_model_open_with(s->vn, a->source, &a->opened, model); /* for its words */
    a->o.samples = a->source;
    a->source = NULL;
    return VN_OK;
}

static vn_status eval(cli_session *s, args *a) {
    vn_model *model = NULL, *named;
    vn_model_info info = vn_model_info_default();
    vn_status status = cli_open(s);
    if (!status && !a->source && what_lies(s, a->o.samples) == MODEL) {
        a->source = a->o.samples;
        a->o.samples = NULL;
    }
    if (!status) status = cli_check_choices(s, VN_OPTIONS_EVAL, &a->o);
    if (!status) status = cli_check_choices(s, VN_OPTIONS_SAMPLE, &a->sample);
    if (!status && a->source) status = open_source(s, a, &model);
    if (!status && a->weak) status = vn_model_open(s->vn, a->weak, &a->sample.weak);
    if (!status && a->classifier)
        status = vn_model_open(s->vn, a->classifier, &a->sample.classifier);
    if (!status && model) status = vn_model_get_info(model, &info);
    /* a model without classes has those of its classifier */
    named = model && info.classes == 0 && a->sample.classifier ? a->sample.classifier : model;
    if (!status && !check_texts(a, &info)) {
        a->refused = true;
        status = VN_BAD_ARGUMENT;
    }
    if (!status && a->label && model) status = vn_model_find_label(named, a->label, &a->o.label);
    if (!status && a->label && !model)
        status = vn_option_set(s->vn, VN_OPTIONS_EVAL, &a->o, "label", a->label);
    /* classes of a model of texts are those of the data, whose names it does not know */
    if (!status) status = measure(s, a, model, info.takes_prompts ? NULL : named);
    vn_model_close(&a->sample.classifier);
    vn_model_close(&a->sample.weak);
    vn_model_close(&model);
    return status;
}

static bool check(const args *a, int probes) {
    if (!a->source && !a->o.samples)
        cli_misuse("eval", "SOURCE or --samples is missing: what is to be measured");
    else if (a->source && a->o.samples)
        cli_misuse("eval", "--samples has no effect beside SOURCE, whose samples are drawn");
    else if (a->likelihood.exact && a->likelihood.probes != probes)
        cli_misuse("eval", "--probes has no effect beside --exact");
    else
        return true;
    return false;
}

/* Whether all that can be said before the model is known is right. */
static bool begin(args *a, int probes) {
    return check(a, probes) && cli_prompts_take("eval", &a->prompts, a->prompts_file, &a->lines,
                                                &a->sample.prompts, &a->sample.prompt_count);
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_eval_options_default(),
              .sample = vn_sample_options_default(),
              .likelihood = vn_likelihood_settings_default(),
              .opened = vn_model_options_default()};
    const int probes = a.likelihood.probes;
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    status = CLI_USAGE;
    if (begin(&a, probes)) {
        a.sample.sigmas = a.sigmas.value;
        a.sample.sigma_count = a.sigmas.count;
        a.likelihood.path = a.sample.path;
        a.o.likelihood = &a.likelihood;
        a.o.sample = &a.sample;
        const vn_status done = eval(&s, &a);
        status = a.refused ? cli_leave(&s, done) : cli_end(&s, done);
    }
    cli_numbers_free(&a.sigmas);
    cli_texts_free(&a.prompts);
    cli_prompts_free(&a.lines);
    return status;
}

const cli_verb cli_eval = {
    .name = "eval",
    .summary = "measure a model, or samples: how near they are to data",
    .example = "vane eval runs/fashion-mnist --data test/ --metric fd,precision,recall -n 1000",
    .about = "Measures SOURCE on DATA and prints each number with its 95% interval. nll is the "
             "likelihood of the data, by the probability-flow ODE; for a world the exact value "
             "stands beside it. All other metrics compare samples, drawn from SOURCE or given by "
             "--samples, with the data (vane list metrics). Samples of an autoencoder are its "
             "reconstructions of the data.",
    .run = run,
};
