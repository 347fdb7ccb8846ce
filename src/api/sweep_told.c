/* sweep_told.c - what a point stands for as options of sampling, and what a sweep leaves behind:
 * its points for the caller, the page, and in the run the settings that it recommends. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/sweep.h"

vn_sample_options vn_sweeping_options(const vn_sweeping *s, const vn_point *p) {
    vn_sample_options o = vn_sample_options_default();
    o.guide = p->guide;
    o.guidance = p->guidance;
    o.sampler = p->sampler;
    o.steps = p->steps;
    o.path = s->o.path;
    o.weak = vn_guide_uses_weak(p->guide) ? s->o.weak : NULL;
    o.classifier = vn_guide_uses_classifier(p->guide, false) ? s->o.classifier : NULL;
    o.batch = s->o.batch;
    o.seed = s->o.seed;
    o.prompts = s->o.prompts;
    o.prompt_count = s->o.prompt_count;
    o.negative = s->o.negative;
    return o;
}

bool vn_sweeping_is_blind(const vn_sweeping *s, const vn_sample_options *o) {
    return !s->m->row->prompt && vn_model_of_classes(s->m, o->classifier)->classes == 0;
}

/* ---- points for the caller ------------------------------------------------------------------- */

/* Its texts are the result's. */
static vn_sweep_point point_of(const vn_point_result *r, vn_eval_row *rows) {
    for (size_t i = 0; i < r->numbers; i++) {
        const vn_point_number *n = &r->number[i];
        rows[i] = (vn_eval_row){.metric = n->metric,
                                .name = "",
                                .unit = "",
                                .label = VN_LABEL_ALL,
                                .count = r->count,
                                .value = n->value,
                                .low = n->low,
                                .high = n->high};
    }
    return (vn_sweep_point){.guide = r->point.guide,
                            .sampler = r->point.sampler,
                            .guidance = r->point.guidance,
                            .steps = r->point.steps,
                            .count = r->count,
                            .rows = r->numbers,
                            .row = rows,
                            .passes = r->passes,
                            .seconds = r->seconds,
                            .error = r->error};
}

void vn_sweeping_tell_point(const vn_sweeping *s, const vn_point_result *r) {
    vn_eval_row rows[VN_POINT_NUMBERS];
    if (!s->o.point) return;
    const vn_sweep_point point = point_of(r, rows);
    s->o.point(s->o.point_user, &point);
}

static const char *keep_text(vn_arena *arena, const char *text) {
    const size_t size = text ? strlen(text) + 1 : 0;
    char *copy = text ? vn_arena_alloc(arena, size) : NULL;
    return copy ? memcpy(copy, text, size) : NULL;
}

/* With texts of the arena's. */
static bool keep_point(vn_arena *arena, const vn_point_result *r, vn_sweep_point *out) {
    vn_eval_row *rows = vn_arena_alloc(arena, (r->numbers + 1) * sizeof *rows);
    if (!rows) return false;
    *out = point_of(r, rows);
    out->guide = keep_text(arena, r->point.guide);
    out->sampler = keep_text(arena, r->point.sampler);
    out->error = keep_text(arena, r->error);
    bool ok = out->guide && !out->sampler == !r->point.sampler && !out->error == !r->error;
    for (size_t i = 0; ok && i < r->numbers; i++)
        ok = (rows[i].metric = keep_text(arena, r->number[i].metric)) != NULL;
    return ok;
}

static vn_status keep_points(vn_sweeping *s, const vn_point_result *best,
                             const vn_point_result *chosen, vn_sweep_result *out, vn_err *err) {
    vn_arena *arena = &s->vn->swept;
    const vn_sweep_folder *f = &s->folder;
    vn_sweep_point *points = vn_arena_alloc(arena, (f->count + 1) * sizeof *points);
    if (!points) return vn_no_memory(err);
    for (size_t i = 0; i < f->count; i++) {
        if (!keep_point(arena, &f->result[i], &points[i])) return vn_no_memory(err);
        if (&f->result[i] == best) out->best = &points[i];
        if (&f->result[i] == chosen) out->recommended = &points[i];
    }
    out->points = f->count;
    out->point = points;
    out->found = f->found;
    return VN_OK;
}

/* ---- the page -------------------------------------------------------------------------------- */

/* " --NAME WORD", or an empty string where there is none; NULL: no memory. */
static char *option_of(const char *name, const char *text) {
    char *word = text ? vn_shell_word(text) : NULL,
         *option = word ? vn_format(" --%s %s", name, word) : NULL;
    vn_free(word);
    return text ? option : vn_strdup("");
}

/* The command that samples with the point's settings, whatever the run says. */
static char *command_of(const vn_sweeping *s, const vn_point *p) {
    char guidance[32], steps[32] = "";
    const vn_sample_options o = vn_sweeping_options(s, p);
    char *source = vn_shell_word(s->m->source), *guide = vn_shell_word(p->guide),
         *sampler = option_of("sampler", p->sampler),
         *weak = option_of("weak", o.weak ? o.weak->source : NULL),
         *classifier = option_of("classifier", o.classifier ? o.classifier->source : NULL),
         *negative = option_of("negative", o.negative);
    vn_number_text(guidance, p->guidance);
    if (p->steps > 0) vn_snprintf(steps, sizeof steps, " --steps %d", p->steps);
    char *text =
        source && guide && sampler && weak && classifier && negative
            ? vn_format("vane sample %s --guide %s%s%s --guidance %s%s%s%s --out samples.png",
                        source, guide, weak, classifier, guidance, negative, sampler, steps)
            : NULL;
    vn_free(negative);
    vn_free(weak);
    vn_free(classifier);
    vn_free(source);
    vn_free(guide);
    vn_free(sampler);
    return text;
}

/* Of a run; what has no log, or one that cannot be read, has none. */
static vn_status read_history(const vn_sweeping *s, vn_history *h, vn_err *err) {
    char *path = vn_path_join(s->m->source, "log.jsonl");
    vn_err unread = {0};
    if (!path) return vn_no_memory(err);
    const vn_status status = vn_is_file(path) ? vn_history_read(h, path, &unread) : VN_OK;
    vn_free(path);
    return status == VN_NO_MEMORY ? vn_no_memory(err) : VN_OK;
}

static vn_status write_page(const vn_sweeping *s, const vn_point_result *best,
                            const vn_point_result *chosen, vn_err *err) {
    vn_history history = {0};
    char *path = vn_path_join(s->out, "report.html"),
         *command = chosen ? command_of(s, &chosen->point) : NULL;
    vn_status status = path && (command || !chosen) ? VN_OK : vn_no_memory(err);
    if (!status) status = read_history(s, &history, err);
    const vn_sweep_page page = {.sweep = &s->folder,
                                .source = s->m->source,
                                .objective = s->objective,
                                .count = s->o.count,
                                .chosen = chosen,
                                .best = best,
                                .command = command,
                                .history = history.lines > 0 ? &history : NULL};
    if (!status) status = vn_sweep_page_write(path, &page, err);
    vn_history_close(&history);
    vn_free(command);
    vn_free(path);
    return status;
}

/* ---- the run's own settings ------------------------------------------------------------------ */

static bool is_run(const vn_model *m) {
    char *path = m->vane && vn_is_dir(m->source) ? vn_path_join(m->source, "vane.json") : NULL;
    const bool run = path && vn_is_file(path);
    vn_free(path);
    return run;
}

static vn_status settings_of(const vn_sweeping *s, const vn_point_result *r,
                             vn_sampling_defaults *out, vn_err *err) {
    char value[32];
    const vn_point *p = &r->point;
    const vn_point_number *n = vn_point_find(r, s->objective);
    const bool usual = p->sampler && s->m->path && !strcmp(p->sampler, s->m->path->row->sampler);
    const char *guide = strcmp(p->guide, "cfg") != 0 ? p->guide : "",
               *sampler = p->sampler && !usual ? p->sampler : "";
    *out = (vn_sampling_defaults){.guidance = p->guidance,
                                  .steps = p->steps > 0 ? p->steps : s->m->sampling.steps,
                                  .consistency = s->m->sampling.consistency};
    vn_snprintf(value, sizeof value, "%.4g", n ? n->value : (double)NAN);
    vn_snprintf(out->guide, sizeof out->guide, "%s", guide);
    vn_snprintf(out->sampler, sizeof out->sampler, "%s", sampler);
    vn_snprintf(out->by, sizeof out->by, "sweep: %s %s of %lld samples", s->objective, value,
                (long long)r->count);
    if (strcmp(out->guide, guide) != 0 || strcmp(out->sampler, sampler) != 0)
        return vn_fail(err, VN_UNSUPPORTED, "%s: guide and sampler are too long to be kept there",
                       s->m->source);
    return VN_OK;
}

static vn_status write_settings(const vn_model *m, const vn_sampling_defaults *settings,
                                vn_err *err) {
    char *path = vn_path_join(m->source, "vane.json");
    json_t *vane = NULL, *sampling = vn_sampling_defaults_to_json(settings);
    int lock = -1;
    vn_status status = path && sampling ? VN_OK : vn_no_memory(err);
    if (!status) status = vn_lock_folder(m->source, m->source, "trained", &lock, err);
    if (!status) status = vn_json_read(path, &vane, err);
    if (!status && json_object_set(vane, "sampling", sampling) != 0) status = vn_no_memory(err);
    if (!status) status = vn_json_write(path, vane, err);
    if (lock >= 0) close(lock);
    json_decref(vane);
    json_decref(sampling);
    vn_free(path);
    return status;
}

static vn_status recommend(vn_sweeping *s, const vn_point_result *chosen, vn_sweep_result *out,
                           vn_err *err) {
    vn_sampling_defaults settings;
    if (!chosen || s->o.keep || !is_run(s->m)) return VN_OK;
    const vn_sample_options o = vn_sweeping_options(s, &chosen->point);
    if (o.weak || o.classifier) {
        vn_log(&s->vn->watch, VN_LOG_INFO,
               "%s: its own settings stay, as a second model is not among them", s->m->source);
        return VN_OK;
    }
    vn_status status = settings_of(s, chosen, &settings, err);
    if (!status) status = write_settings(s->m, &settings, err);
    if (status) return vn_fail_after(err, "the sweep is done, see %s/report.html", s->out);
    s->m->sampling = settings;
    out->written = 1;
    return VN_OK;
}

vn_status vn_sweeping_tell(vn_sweeping *s, vn_sweep_result *out, vn_err *err) {
    const vn_point_result *best = NULL,
                          *chosen = vn_sweep_recommend(&s->folder, s->objective, s->o.count, &best);
    vn_status status = keep_points(s, best, chosen, out, err);
    if (!status) status = write_page(s, best, chosen, err);
    if (!status) status = recommend(s, chosen, out, err);
    return status;
}
