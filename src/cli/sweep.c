/* sweep.c - `vane sweep`: which settings of sampling are best, as a table, a page and a
 * recommendation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/prompts.h"

typedef struct args {
    const char *source, *out, *weak, *classifier, *prompts_file;
    cli_numbers guidance, steps;
    cli_texts guides, samplers, prompts;
    cli_prompts lines; /* of the file */
    int *whole;        /* of steps */
    vn_model_options opened;
    vn_sweep_options o;
} args;

/* clang-format off */
static const cli_option rows[] = {
    CLI_ROW("SOURCE", CLI_TEXT, source, "",
            "a run, a diffusers model directory, or a world file (.json)",
            .required = true),
    CLI_OPTION_ROW(SWEEP, o, "data"),
    CLI_ROW("out", CLI_TEXT, out, "DIR",
            "a folder for results.jsonl and report.html; a sweep that was stopped goes on in it",
            .required = true),

    CLI_SECTION("What is varied"),
    CLI_ROW("guidance", CLI_NUMBERS, guidance, "G[,G...]",
            "strengths: values, or from:to:step", .unset = "1,1.5,2,3"),
    CLI_ROW("guide", CLI_TEXTS, guides, "NAME",
            "a rule, or several that act together with commas, as of vane sample; given again: "
            "another", .unset = "cfg, in an interval for pictures with classes", .kind = "guides"),
    CLI_ROW("sampler", CLI_TEXTS, samplers, "NAME", "a sampler; given again: another",
            .unset = "the path's own", .kind = "samplers"),
    CLI_ROW("steps", CLI_NUMBERS, steps, "N[,N...]", "numbers of steps", .unset = "32"),
    CLI_OPTION_ROW(SWEEP, o, "search"),

    CLI_SECTION("How a point is measured"),
    CLI_OPTION_ROW(SWEEP, o, "metric"),
    CLI_OPTION_ROW(SWEEP, o, "features"),
    CLI_OPTION_ROW(SWEEP, o, "objective"),
    CLI_OPTION_ROW(SWEEP, o, "count", .letter = 'n'),
    CLI_OPTION_ROW(SWEEP, o, "seed"),
    CLI_OPTION_ROW(SWEEP, o, "resamples"),
    CLI_ROW("weak", CLI_TEXT, weak, "SOURCE",
            "the lesser model that guides such as autoguidance push away from",
            .unset = "a world's own"),
    CLI_ROW("classifier", CLI_TEXT, classifier, "CLF",
            "what tells the classes to the guides classifier and classifier-gradient; a SOURCE "
            "that knows no classes has those of CLF", .unset = "a world's own"),
    CLI_ROW("prompt", CLI_TEXTS, prompts, "TEXT",
            "of a model that was trained on captions: what it is asked for, the same at all "
            "points. Given again: in turn",
            .unset = "the captions of the data"),
    CLI_ROW("prompts", CLI_TEXT, prompts_file, "FILE", "the same from a file, one a line"),
    CLI_OPTION_ROW(SWEEP, o, "negative"),
    CLI_OPTION_ROW(SWEEP, o, "path"),
    CLI_OPTION_ROW(MODEL, opened, "size"),
    CLI_OPTION_ROW(MODEL, opened, "null_class"),
    CLI_OPTION_ROW(SWEEP, o, "batch"),

    CLI_SECTION("What is done with it"),
    CLI_OPTION_ROW(SWEEP, o, "keep"),
};
/* clang-format on */

/* ---- text ------------------------------------------------------------------------------------ */

/* "cfg, guidance 2, heun, 16 steps" */
static void point_text(const vn_sweep_point *p, char *text, size_t size) {
    snprintf(text, size, "%s, guidance %g%s%s, %lld step%s", p->guide, p->guidance,
             p->sampler ? ", " : "", p->sampler ? p->sampler : "", (long long)p->steps,
             p->steps == 1 ? "" : "s");
}

enum { POINT_WIDTH = 40, TEXT = 256 };

static void print_row(const vn_sweep_point *p, bool recommended) {
    char text[TEXT];
    point_text(p, text, sizeof text);
    cli_print(stdout, "%c %-*s %7lld", recommended ? '*' : ' ', POINT_WIDTH, text,
              (long long)p->count);
    for (size_t i = 0; i < p->rows; i++) printf("  %11.4g", p->row[i].value);
    if (p->error)
        cli_print(stdout, "  %s\n", p->error);
    else if (isfinite(p->seconds))
        printf("  %10.3g\n", p->seconds);
    else
        puts("           -");
}

/* With the names of the first point that has numbers. */
static void print_head(const vn_sweep_result *r) {
    size_t i = 0;
    while (i < r->points && r->point[i].rows == 0) i++;
    printf("  %-*s %7s", POINT_WIDTH, "point", "samples");
    for (size_t k = 0; i < r->points && k < r->point[i].rows; k++)
        cli_print(stdout, "  %11s", r->point[i].row[k].metric);
    printf("  %10s\n", "s a sample");
}

/* In the order in which they were measured; the recommended one has a star. */
static void print_table(const vn_sweep_result *r) {
    print_head(r);
    for (size_t i = 0; i < r->points; i++) print_row(&r->point[i], &r->point[i] == r->recommended);
}

static void print_text(const cli_session *s, const args *a, const vn_sweep_result *r) {
    char text[TEXT], best[TEXT];
    print_table(r);
    cli_print(stdout, "\n%s/report.html: %zu point%s, %zu measured before, %.1f s\n", a->out,
              r->points, r->points == 1 ? "" : "s", r->found, cli_seconds(s));
    if (!r->recommended || !r->best) {
        puts("no point could be measured, so none is recommended");
        return;
    }
    point_text(r->recommended, text, sizeof text);
    point_text(r->best, best, sizeof best);
    cli_print(stdout, "recommended: %s", text);
    if (r->best == r->recommended)
        puts(" (the best of all)");
    else
        cli_print(stdout, " (not to be told from the best, %s, and cheaper)\n", best);
    if (r->written)
        cli_print(stdout, "%s is sampled so from here on, unless told otherwise\n", a->source);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* NULL when memory ran out, here and below. */
static json_t *metrics_json(const vn_sweep_point *p) {
    json_t *all = json_object();
    for (size_t i = 0; all && i < p->rows; i++) {
        const vn_eval_row *row = &p->row[i];
        json_t *one = json_pack("{s:o, s:o, s:o}", "value", cli_json_number(row->value), "low",
                                cli_json_number(row->low), "high", cli_json_number(row->high));
        if (json_object_set_new(all, row->metric, one) == 0) continue;
        json_decref(all);
        all = NULL;
    }
    return all;
}

static json_t *point_json(const vn_sweep_point *p) {
    if (!p) return json_null();
    return json_pack("{s:s, s:f, s:s?, s:I, s:I, s:o, s:o, s:o, s:s?}", "guide", p->guide,
                     "guidance", p->guidance, "sampler", p->sampler, "steps", (json_int_t)p->steps,
                     "count", (json_int_t)p->count, "metrics", metrics_json(p), "passes",
                     cli_json_number(p->passes), "seconds", cli_json_number(p->seconds), "error",
                     p->error);
}

static vn_status print_json(const cli_session *s, const args *a, const vn_sweep_result *r) {
    json_t *points = json_array();
    for (size_t i = 0; i < r->points; i++) {
        if (json_array_append_new(points, point_json(&r->point[i])) == 0) continue;
        json_decref(points);
        return VN_NO_MEMORY;
    }
    return cli_print_json(json_pack("{s:o, s:o, s:I, s:o, s:o, s:b, s:o, s:o}", "source",
                                    cli_json_name(a->source), "out", cli_json_name(a->out), "found",
                                    (json_int_t)r->found, "recommended", point_json(r->recommended),
                                    "best", point_json(r->best), "written", r->written != 0,
                                    "points", points, "seconds", cli_json_number(cli_seconds(s))));
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* A line on stderr for each point as it is done. */
static void on_point(void *user, const vn_sweep_point *p) {
    cli_session *s = user;
    char text[TEXT];
    if (s->quiet) return;
    cli_progress_clear(&s->progress);
    point_text(p, text, sizeof text);
    cli_print(stderr, "%s: ", text);
    if (p->error) cli_print(stderr, "%s", p->error);
    for (size_t i = 0; i < p->rows; i++)
        cli_print(stderr, "%s%s %.4g", i > 0 ? ", " : "", p->row[i].metric, p->row[i].value);
    fprintf(stderr, " (%lld samples)\n", (long long)p->count);
}

static bool take_steps(args *a) {
    a->whole = calloc(a->steps.count + 1, sizeof *a->whole);
    for (size_t i = 0; a->whole && i < a->steps.count; i++) {
        const double value = a->steps.value[i];
        if (!(value >= 1 && value <= 1e6) || value != floor(value))
            return cli_misuse("sweep", "--steps: expected whole numbers above 0, not '%g'", value);
        a->whole[i] = (int)value;
    }
    a->o.guidance = a->guidance.value;
    a->o.guidance_count = a->guidance.count;
    a->o.guides = a->guides.text;
    a->o.guide_count = a->guides.count;
    a->o.samplers = a->samplers.text;
    a->o.sampler_count = a->samplers.count;
    a->o.steps = a->steps.count > 0 ? a->whole : NULL;
    a->o.step_count = a->steps.count;
    return a->whole != NULL;
}

static vn_status check_choices(cli_session *s, const args *a) {
    const vn_sample_options o = vn_sample_options_default();
    vn_status status = cli_check_choices(s, VN_OPTIONS_SWEEP, &a->o);
    for (size_t i = 0; !status && i < a->guides.count; i++)
        status = cli_check_choice(s, VN_OPTIONS_SAMPLE, &o, "guide", a->guides.text[i]);
    for (size_t i = 0; !status && i < a->samplers.count; i++)
        status = cli_check_choice(s, VN_OPTIONS_SAMPLE, &o, "sampler", a->samplers.text[i]);
    return status;
}

static vn_status sweep(cli_session *s, args *a) {
    vn_model *model = NULL;
    vn_sweep_result result = vn_sweep_result_default();
    vn_status status = cli_open(s);
    a->o.point = on_point;
    a->o.point_user = s;
    if (!status) status = check_choices(s, a);
    if (!status) status = vn_model_open_with(s->vn, a->source, &a->opened, &model);
    if (!status && a->weak) status = vn_model_open(s->vn, a->weak, &a->o.weak);
    if (!status && a->classifier) status = vn_model_open(s->vn, a->classifier, &a->o.classifier);
    if (!status) status = vn_sweep(model, a->out, &a->o, &result);
    cli_progress_clear(&s->progress);
    if (!status && s->json)
        status = print_json(s, a, &result);
    else if (!status)
        print_text(s, a, &result);
    vn_model_close(&a->o.classifier);
    vn_model_close(&a->o.weak);
    vn_model_close(&model);
    return status;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_sweep_options_default(), .opened = vn_model_options_default()};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    const bool fine = take_steps(&a) && cli_prompts_take("sweep", &a.prompts, a.prompts_file,
                                                         &a.lines, &a.o.prompts, &a.o.prompt_count);
    status = fine ? cli_end(&s, sweep(&s, &a)) : CLI_USAGE;
    if (status == CLI_INTERRUPTED && !s.quiet)
        cli_print(stderr, "the points that are done are in %s; the same command goes on\n", a.out);
    free(a.whole);
    cli_numbers_free(&a.guidance);
    cli_numbers_free(&a.steps);
    cli_texts_free(&a.guides);
    cli_texts_free(&a.samplers);
    cli_texts_free(&a.prompts);
    cli_prompts_free(&a.lines);
    return status;
}

const cli_verb cli_sweep = {
    .name = "sweep",
    .summary = "find the guidance, guide, sampler and steps that are best",
    .example =
        "vane sweep runs/photos --data photos --guidance 1,1.5,2,3 --steps 16,32 --out sweep",
    .about =
        "Measures all combinations of what is varied and recommends one: the cheapest of those "
        "that cannot be told from the best. Each point is a line of DIR/results.jsonl when it "
        "is done, so a sweep that is stopped or killed goes on by the same command, also with "
        "more values. DIR/report.html shows it all. The recommendation is written into the "
        "run, which is then sampled so, unless --keep is given. Many points are searched by "
        "successive halving.",
    .run = run,
};
