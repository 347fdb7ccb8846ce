/* sample.c - `vane sample`: draws samples from a model or a world and saves them. With several
 * guidance values, or guides, each value under each guide is one band, and all bands begin with the
 * same noise. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/classes.h"
#include "cli/cli.h"
#include "cli/like.h"
#include "cli/pipe.h"
#include "cli/prompts.h"

typedef struct args {
    const char *source, *out, *weak, *classifier, *like;
    vn_model_options opened;
    cli_numbers guidance, sigmas;
    cli_texts guides, classes, prompts;
    const char *prompts_file;
    cli_prompts lines;    /* of the file */
    double usual;         /* guidance, where none was given: the model's own */
    const double *values; /* of guidance: [value_count] */
    size_t value_count;
    const char **rules; /* the guides: [rule_count]; each has a band of each value */
    size_t rule_count;
    cli_classes labels;
    json_t *settings; /* of `like` */
    cli_pipe pipe;    /* where samples go to stdout: its file is `out` */
    bool refused;     /* once the model is known; the words are printed */
    int overwrite, append;
    vn_sample_options o;
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("SOURCE", CLI_TEXT, source, "",
            "a run, a model directory or a pipeline of diffusers, or a world file (.json)",
            .required = true),
    CLI_ROW("out", CLI_TEXT, out, "OUT",
            "x.png: one picture; x.safetensors or x.npy: tensors; any other name: a folder with "
            "one PNG a sample; -: a "
            "picture to stdout (npy:- and safetensors:- tensors)", .required = true),
    CLI_ROW("overwrite", CLI_FLAG, overwrite, "",
            "replace the samples in the folder OUT; files that vane did not write stay"),
    CLI_ROW("append", CLI_FLAG, append, "",
            "go on after the samples in the folder OUT: the next indices, and so new noise"),

    CLI_SECTION("What is drawn"),
    CLI_OPTION_ROW(SAMPLE, o, "count", .letter = 'n',
                   .unset = "8 of each class, 16 of one, 1000 points; of a pipeline one of each"),
    CLI_ROW("class", CLI_TEXTS, classes, "C",
            "a class by name or index, null for none, or several (again, or with "
            "commas): sample i gets the i-th in turn", .unset = "all, in turn"),
    CLI_ROW("prompt", CLI_TEXTS, prompts, "TEXT",
            "of a pipeline, or a run that was trained on captions: what to draw. Given again: "
            "sample i gets the i-th in turn",
            .unset = "captions of a run's data, in turn"),
    CLI_ROW("prompts", CLI_TEXT, prompts_file, "FILE", "the same from a file, one a line"),
    CLI_OPTION_ROW(SAMPLE, o, "negative"),
    CLI_OPTION_ROW(MODEL, opened, "size"),
    CLI_OPTION_ROW(MODEL, opened, "null_class"),
    CLI_OPTION_ROW(SAMPLE, o, "seed"),
    CLI_OPTION_ROW(SAMPLE, o, "first"),
    CLI_ROW("like", CLI_TEXT, like, "x.png",
            "as this picture or tensor file of vane's was drawn, SOURCE too; what is typed "
            "beside it counts instead"),
    CLI_OPTION_ROW(SAMPLE, o, "begin"),
    CLI_OPTION_ROW(SAMPLE, o, "noise_file", .name = "noise"),

    CLI_SECTION("Guidance"),
    CLI_ROW("guidance", CLI_NUMBERS, guidance, "G[,G...]", NULL, CLI_SAID(SAMPLE, "guidance"),
            .more = ". Several values, or from:to:step: one band of samples each"),
    CLI_ROW("guide", CLI_TEXTS, guides, NULL, NULL, CLI_SAID(SAMPLE, "guide"),
            .more = "; given again: bands of their own"),
    CLI_ROW("weak", CLI_TEXT, weak, "SOURCE",
            "the lesser model that guides such as autoguidance push away from: a run or a world of "
            "the same path and shape",
            .unset = "a world's own"),
    CLI_ROW("classifier", CLI_TEXT, classifier, "CLF",
            "what tells the classes to the guides classifier and classifier-gradient: a "
            "classifier's run or a world, of the same path and shape; a SOURCE that knows no "
            "classes has those of CLF",
            .unset = "a world's own"),

    CLI_OPTION_ROW(SAMPLE, o, "embedded_guidance"),

    CLI_SECTION("Restoration and editing"),
    CLI_OPTION_ROW(SAMPLE, o, "observed_file", .name = "observe"),
    CLI_OPTION_ROW(SAMPLE, o, "forward_operator", .name = "operator"),
    CLI_OPTION_ROW(SAMPLE, o, "noise_level"),
    CLI_OPTION_ROW(SAMPLE, o, "restore"),
    CLI_OPTION_ROW(SAMPLE, o, "init_file", .name = "init"),
    CLI_OPTION_ROW(SAMPLE, o, "strength"),
    CLI_OPTION_ROW(SAMPLE, o, "invert"),

    CLI_SECTION("How it is drawn"),
    CLI_OPTION_ROW(SAMPLE, o, "sampler"),
    CLI_OPTION_ROW(SAMPLE, o, "steps"),
    CLI_OPTION_ROW(SAMPLE, o, "grid"),
    CLI_ROW("sigmas", CLI_NUMBERS, sigmas, "S,S,...,0",
            "or the path's sigma(t) at each level, from noise to data: falling, the last one 0"),
    CLI_OPTION_ROW(SAMPLE, o, "cache"),
    CLI_OPTION_ROW(SAMPLE, o, "path"),
    CLI_OPTION_ROW(SAMPLE, o, "temperature"),
    CLI_OPTION_ROW(SAMPLE, o, "top_k"),
    CLI_OPTION_ROW(SAMPLE, o, "top_p"),
    CLI_OPTION_ROW(SAMPLE, o, "trace"),
    CLI_OPTION_ROW(SAMPLE, o, "scale"),
    CLI_OPTION_ROW(SAMPLE, o, "batch"),
};
/* clang-format on */

/* How many samples to draw where the user did not say. */
static int64_t chosen_count(const vn_model_info *info, const vn_sample_options *o) {
    enum { of_one = 16, of_each = 8, most = 128, points = 1000 };
    const int64_t classes = o->prompts                 ? (int64_t)o->prompt_count
                            : o->cycle                 ? (int64_t)o->cycle_count
                            : o->label == VN_LABEL_ALL ? info->classes
                                                       : 0;
    if (info->rank == 1) return points;
    if (info->pipeline) return classes == 0 ? 1 : classes < of_each ? classes : of_each;
    if (classes == 0) return of_one;
    return classes <= most / of_each ? classes * of_each : most;
}

/* ---- what is printed ------------------------------------------------------------------------- */

static size_t band_count(const args *a) {
    return a->rule_count * a->value_count;
}

static int64_t total(const args *a, const vn_written *written) {
    int64_t count = 0;
    for (size_t i = 0; i < band_count(a); i++) count += written[i].count;
    return count;
}

static void print_cache_error(FILE *to, const char *before, double error) {
    if (isnan(error))
        fprintf(to, "%snot known", before);
    else
        fprintf(to, "%s%.2g%%", before, 100 * error);
}

static void print_text(const cli_session *s, const args *a, const vn_written *written) {
    const int64_t count = total(a, written);
    const bool piped = a->pipe.file[0] != '\0'; /* then stdout holds the samples */
    if (piped && s->quiet) return;
    FILE *to = piped ? stderr : stdout;
    cli_print(to, "%s: %lld sample%s, ", piped ? "stdout" : a->out, (long long)count,
              count == 1 ? "" : "s");
    for (size_t i = 0; i < a->rule_count && a->rule_count > 1; i++)
        cli_print(to, "%s%s", i > 0 ? " | " : "guides ", a->rules[i]);
    fprintf(to, "%sguidance ", a->rule_count > 1 ? ", " : "");
    for (size_t i = 0; i < a->value_count; i++)
        fprintf(to, "%s%g", i > 0 ? ", " : "", a->values[i]);
    fprintf(to, ", seed %llu, ", (unsigned long long)a->o.seed);
    if (written[0].first > 0)
        fprintf(to, "from index %llu, ", (unsigned long long)written[0].first);
    for (size_t i = 0; i < band_count(a); i++)
        fprintf(to, "%s%lld", i > 0 ? " + " : "", (long long)written[i].passes);
    const bool one = band_count(a) == 1 && written[0].passes == 1;
    fprintf(to, " network pass%s each, ", one ? "" : "es");
    for (size_t i = 0; i < band_count(a) && a->o.cache; i++)
        print_cache_error(to, i > 0 ? " + " : "cache error ", written[i].cache_error);
    fprintf(to, "%s", a->o.cache ? ", " : "");
    for (size_t i = 0; i < band_count(a) && a->o.invert; i++)
        fprintf(to, "%s%.3g", i > 0 ? " + " : "round trip off by ", written[i].round_trip);
    fprintf(to, "%s%.1f s\n", a->o.invert ? " (rms), " : "", cli_seconds(s));
}

/* [length] from numbers of one of the two types, or NULL. */
static json_t *number_array(const double *numbers, const int64_t *whole, size_t length) {
    json_t *array = json_array();
    for (size_t i = 0; i < length; i++) {
        json_t *item = whole ? json_integer(whole[i]) : cli_json_number(numbers[i]);
        if (json_array_append_new(array, item) == 0) continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

static json_t *passes_array(const args *a, const vn_written *written) {
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < band_count(a); i++) {
        if (json_array_append_new(array, json_integer(written[i].passes)) == 0) continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

/* Of each band, the number at `offset` of what was written. */
static json_t *band_numbers(const args *a, const vn_written *written, size_t offset) {
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < band_count(a); i++) {
        const double *number = (const void *)((const char *)&written[i] + offset);
        if (json_array_append_new(array, cli_json_number(*number)) == 0) continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

static vn_status print_json(const cli_session *s, const args *a, const vn_written *written,
                            const vn_model *model) {
    vn_model_info info = vn_model_info_default();
    vn_model_get_info(model, &info);
    return cli_print_json(json_pack(
        "{s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o*, s:o*}", "out", cli_json_name(a->out),
        "count", (json_int_t)total(a, written), "shape",
        number_array(NULL, info.shape, (size_t)info.rank), "guidance",
        number_array(a->values, NULL, a->value_count), "passes", passes_array(a, written), "seed",
        json_integer((json_int_t)a->o.seed), "first", json_integer((json_int_t)written[0].first),
        "seconds", cli_json_number(cli_seconds(s)), "round_trip",
        a->o.invert ? band_numbers(a, written, offsetof(vn_written, round_trip)) : NULL,
        "cache_error",
        a->o.cache ? band_numbers(a, written, offsetof(vn_written, cache_error)) : NULL));
}

/* One line, where the run's own settings count that a sweep chose: they are not what a person who
 * knows vane expects. */
static void tell_defaults(const cli_session *s, const args *a, const vn_model_info *info) {
    const bool guidance = a->guidance.count == 0, guide = info->guide && a->guides.count == 0,
               sampler = info->sampler && !a->o.sampler && a->sigmas.count == 0,
               steps = a->o.steps == 0 && a->sigmas.count == 0;
    const char *gap = "";
    if (s->quiet || !info->sampling_by || !(guidance || guide || sampler || steps)) return;
    cli_print(stderr, "as %s says (%s): ", a->source, info->sampling_by);
    if (guide) cli_print(stderr, "guide %s", info->guide);
    if (guide) gap = ", ";
    if (guidance) fprintf(stderr, "%sguidance %g", gap, info->guidance);
    if (guidance) gap = ", ";
    if (sampler) cli_print(stderr, "%ssampler %s", gap, info->sampler);
    if (sampler) gap = ", ";
    if (steps) fprintf(stderr, "%s%lld steps", gap, (long long)info->sampling_steps);
    fputc('\n', stderr);
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* Each guide has a band of each guidance value. */
static vn_status sample_and_save(cli_session *s, vn_model *model, args *a) {
    const size_t count = band_count(a);
    vn_sample_options *bands = calloc(count, sizeof *bands);
    vn_written *written = calloc(count, sizeof *written);
    const vn_existing existing = a->append      ? VN_EXISTING_APPEND
                                 : a->overwrite ? VN_EXISTING_REPLACE
                                                : VN_EXISTING_REFUSE;
    vn_status status = bands != NULL && written ? VN_OK : VN_NO_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        written[i] = vn_written_default();
        bands[i] = a->o;
        bands[i].guide = a->rules[i / a->value_count];
        bands[i].guidance = a->values[i % a->value_count];
    }
    if (!status) status = vn_sample_to(model, bands, count, a->out, existing, written);
    cli_progress_clear(&s->progress);
    const bool leads = vn_context_leads(s->vn); /* the others have drawn for it */
    cli_errors_wait(false);
    cli_errors_silence(!leads);
    if (!status && leads && a->pipe.file[0] != '\0') {
        status = cli_pipe_send(&a->pipe);
        a->refused = status != VN_OK;
    }
    if (!status && leads && s->json)
        status = print_json(s, a, written, model);
    else if (!status && leads)
        print_text(s, a, written);
    free(bands);
    free(written);
    return status;
}

static bool ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* Whether OUT can hold a trace: tensors can, and pictures of points. */
static bool holds_trace(const char *out, bool points) {
    if (ends_with(out, ".safetensors") || (points && ends_with(out, ".png"))) return true;
    return cli_misuse(
        "sample", "--trace has no effect on %s: a .safetensors and a picture of points can hold it",
        out);
}

/* The weak model; where it does not say which class is null, as the model. */
static vn_status open_weak(cli_session *s, args *a, const vn_model_options *options) {
    vn_status status = vn_model_open(s->vn, a->weak, &a->o.weak);
    vn_model_info info = vn_model_info_default();
    if (!status) status = vn_model_get_info(a->o.weak, &info);
    if (status || options->null_class < 0 || info.has_null) return status;
    vn_model_close(&a->o.weak);
    return vn_model_open_with(s->vn, a->weak, options, &a->o.weak);
}

static int32_t classes_of(const vn_model *model) {
    vn_model_info info = vn_model_info_default();
    vn_model_get_info(model, &info);
    return info.classes;
}

static vn_status choose_classes(vn_model *model, args *a) {
    const vn_status status = cli_find_classes(model, &a->classes, &a->labels, &a->refused);
    if (status || a->labels.count == 0) return status;
    if (a->labels.count == 1) {
        a->o.label = a->labels.label[0];
    } else {
        a->o.cycle = a->labels.label;
        a->o.cycle_count = a->labels.count;
    }
    return VN_OK;
}

static void choose_bands(args *a, const vn_model_info *info) {
    static const char *usual[] = {NULL};
    a->usual = info->guidance;
    a->values = a->guidance.count > 0 ? a->guidance.value : &a->usual;
    a->value_count = a->guidance.count > 0 ? a->guidance.count : 1;
    a->rules = a->guides.count > 0 ? a->guides.text : usual;
    a->rule_count = a->guides.count > 0 ? a->guides.count : 1;
}

static vn_status sample(cli_session *s, args *a) {
    vn_model *model = NULL;
    s->context.distributed = 1;
    vn_status status = cli_open(s);
    if (!vn_context_leads(s->vn)) s->quiet = 1;
    if (!status) status = cli_check_choices(s, VN_OPTIONS_SAMPLE, &a->o);
    for (size_t i = 0; !status && i < a->guides.count; i++)
        status = cli_check_choice(s, VN_OPTIONS_SAMPLE, &a->o, "guide", a->guides.text[i]);
    if (!status) status = vn_model_open_with(s->vn, a->source, &a->opened, &model);
    if (!status && a->weak) status = open_weak(s, a, &a->opened);
    if (!status && a->classifier) status = vn_model_open(s->vn, a->classifier, &a->o.classifier);
    vn_model_info info = vn_model_info_default();
    if (!status) status = vn_model_get_info(model, &info);
    /* a model without classes has those of its classifier */
    vn_model *named = info.classes == 0 && a->o.classifier ? a->o.classifier : model;
    if (!status) status = choose_classes(named, a);
    if (!status) {
        info.classes = classes_of(named);
        /* then the file says how many, unless the user does */
        bool by_file = a->o.noise_file || a->o.observed_file || a->o.init_file;
        if (a->o.count == 0 && !by_file) a->o.count = chosen_count(&info, &a->o);
        a->refused =
            (a->o.trace && !holds_trace(a->out, info.rank == 1)) ||
            (a->settings != NULL && !cli_like_fits(a->settings, a->like, a->source,
                                                   vn_model_fingerprint(model), info.steps));
        choose_bands(a, &info);
        if (!a->refused) tell_defaults(s, a, &info);
        status = a->refused ? VN_BAD_ARGUMENT : sample_and_save(s, model, a);
    }
    vn_model_close(&a->o.weak);
    vn_model_close(&a->o.classifier);
    vn_model_close(&model);
    return status;
}

/* Whether OUT is a file that is read from: it would be gone, and with it the way to draw the same
 * again. */
static bool reads_out(const args *a) {
    const char *const read[] = {a->source, a->o.noise_file,    a->weak,        a->classifier,
                                a->like,   a->o.observed_file, a->o.init_file, a->prompts_file};
    struct stat out, one;
    if (stat(a->out, &out) != 0 || !S_ISREG(out.st_mode)) return false;
    for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
        if (!read[i] || stat(read[i], &one) != 0 || one.st_ino != out.st_ino ||
            one.st_dev != out.st_dev)
            continue;
        cli_misuse("sample", "--out %s would write over %s, which is read", a->out, read[i]);
        return true;
    }
    return false;
}

static bool contradicts(const args *a, const cli_session *s) {
    const bool prompts = a->prompts.count > 0;
    if ((prompts || a->prompts_file) && a->classes.count > 0)
        return !cli_misuse("sample", "--class and --%s exclude each other",
                           prompts ? "prompt" : "prompts");
    if (a->overwrite && a->append)
        return !cli_misuse("sample", "--overwrite and --append exclude each other");
    return s->json && cli_is_pipe(a->out) &&
           !cli_misuse("sample", "--json and --out %s both write to stdout", a->out);
}

/* Whether all that can be said before the model is known is right. OUT becomes the file that is
 * written. */
static bool begin(args *a, const cli_session *s) {
    if (contradicts(a, s)) return false;
    if (!cli_prompts_take("sample", &a->prompts, a->prompts_file, &a->lines, &a->o.prompts,
                          &a->o.prompt_count))
        return false;
    if (cli_is_pipe(a->out)) {
        if (!cli_pipe_open(&a->pipe, a->out)) return false;
        a->out = a->pipe.file;
    }
    return (!a->o.trace || holds_trace(a->out, true)) && !reads_out(a);
}

/* --like gives what was not typed. */
static vn_status complete(void *into, cli_parser *p) {
    args *a = into;
    return !a->like ? VN_OK : cli_like(p, a->like, cli_given(p, "quiet"), &a->settings);
}

static void close_args(args *a) {
    cli_pipe_close(&a->pipe);
    cli_numbers_free(&a->guidance);
    cli_numbers_free(&a->sigmas);
    cli_texts_free(&a->guides);
    cli_texts_free(&a->classes);
    cli_texts_free(&a->prompts);
    cli_prompts_free(&a->lines);
    cli_classes_free(&a->labels);
    json_decref(a->settings);
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_sample_options_default(), .opened = vn_model_options_default()};
    cli_session s;
    int status;
    cli_errors_wait(!vn_context_leads(NULL));
    if (cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) {
        status = CLI_USAGE;
        if (begin(&a, &s)) {
            a.o.sigmas = a.sigmas.value;
            a.o.sigma_count = a.sigmas.count;
            const vn_status done = sample(&s, &a);
            status = a.refused ? cli_leave(&s, done) : cli_end(&s, done);
        }
    }
    close_args(&a);
    return status;
}

const cli_verb cli_sample = {
    .name = "sample",
    .together = true,
    .summary = "draw samples, with as much guidance as you like",
    .example = "vane sample runs/fashion-mnist --guidance 1,2,4 --out samples.png",
    .about = "Draws samples from a trained model or an exact world. The same seed gives the same "
             "samples, whatever the "
             "batch and the number of threads; `vane info samples.png` tells how a picture was "
             "made, and --like samples.png "
             "makes it again. Folders and tensors are written as samples are drawn, so that any "
             "number of them takes little "
             "memory.",
    .complete = complete,
    .run = run,
};
