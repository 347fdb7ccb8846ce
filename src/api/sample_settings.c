/* sample_settings.c - what samples remember of how they were drawn: the settings that stand in a
 * picture's text chunks and in a tensor's metadata, by which `vane sample --like` draws them again,
 * and the names of classes. */
#include "api/internal.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

static bool note(json_t *to, const char *key, const char *format, ...) VN_PRINTF(3, 4);
static bool note(json_t *to, const char *key, const char *format, ...) {
    va_list args;
    va_start(args, format);
    json_t *text = vn_json_vformat(format, args);
    va_end(args);
    return text && json_object_set_new(to, key, text) == 0;
}

/* Names of files and classes may be any bytes. */
static bool note_text(json_t *to, const char *key, const char *name) {
    return json_object_set_new(to, key, vn_json_string(name)) == 0;
}

static bool note_levels(json_t *to, const vn_sample_options *o) {
    if (!o->sigmas) return note(to, "steps", "%d", o->steps);
    char *list = vn_strdup("");
    for (size_t i = 0; list && i < o->sigma_count; i++) {
        char *longer = vn_format("%s%s%.17g", list, i ? "," : "", o->sigmas[i]);
        vn_free(list);
        list = longer;
    }
    const bool ok = list && note(to, "sigmas", "%s", list);
    vn_free(list);
    return ok;
}

/* How a sample of a path is drawn, and one of a sequence. */
static bool note_walk(json_t *to, const vn_sample_options *o, const vn_path *path,
                      const char *path_text) {
    return note(to, "sampler", "%s", o->sampler ? o->sampler : vn_sampler_usual(path, o->guide)) &&
           note(to, "path", "%s", path_text) && note_levels(to, o) &&
           (o->sigmas || note(to, "grid", "%s", o->grid ? o->grid : path->row->grid));
}

static bool note_tokens(json_t *to, const vn_sample_options *o) {
    return (o->temperature == 1 || note(to, "temperature", "%.15g", o->temperature)) &&
           (!o->top_k || note(to, "top-k", "%lld", (long long)o->top_k)) &&
           (o->top_p >= 1 || note(to, "top-p", "%.15g", o->top_p));
}

/* A name in which a comma stands cannot stand in a list of them, nor one that means another. */
static bool listable(const vn_model *m, const vn_sample_options *o) {
    char number[VN_NAMES_NUMBER];
    for (size_t i = 0; i < o->cycle_count; i++) {
        const char *word = vn_label_word(m->names, m->named_count, o->cycle[i], number);
        if (!word || word == number || strchr(word, ',')) return false;
    }
    return true;
}

/* As --class takes it: a name, all, null, or several with commas. Where names of classes leave no
 * word for one, nothing is said. */
static bool note_class(json_t *to, const vn_model *m, const vn_sample_options *o) {
    char number[VN_NAMES_NUMBER];
    if (!o->cycle) {
        const char *word = vn_label_word(m->names, m->named_count, o->label, number);
        return !word || note_text(to, "class", word);
    }
    const bool names = listable(m, o);
    char *list = vn_strdup("");
    bool known = true;
    for (size_t i = 0; list && known && i < o->cycle_count; i++) {
        const int32_t label = o->cycle[i];
        const vn_names by_number = {NULL, 0};
        const char *word = label < 0 || names
                               ? vn_label_word(m->names, m->named_count, label, number)
                               : vn_names_word(&by_number, label, number);
        int64_t found;
        const vn_names all = {(const char *const *)m->names, (size_t)m->named_count};
        known = word && (label < 0 || (vn_names_find(&all, word, &found) && found == label));
        char *longer = vn_format("%s%s%s", list, i ? "," : "", known ? word : "");
        vn_free(list);
        list = longer;
    }
    const bool ok = list && (!known || note_text(to, "class", list));
    vn_free(list);
    return ok;
}

/* Which model drew it. A callback has no fingerprint, nor has a world whose file is gone. */
static bool note_model(json_t *to, vn_model *m) {
    const char *fingerprint = vn_model_fingerprint(m);
    return fingerprint ? note(to, "model", "%s", fingerprint) : !m->parts;
}

/* The times of the levels. */
static bool note_trace(const vn_drawing *d, vn_samples *s) {
    s->levels = d->levels;
    s->trace_t = vn_alloc((size_t)d->levels, sizeof *s->trace_t);
    for (int64_t i = 0; s->trace_t && i < d->levels; i++)
        s->trace_t[i] = vn_trajectory_levels(d->trajectory)[i].t;
    return s->trace_t &&
           note(s->settings, "trace", "%lld level%s", (long long)s->levels, VN_S(s->levels));
}

static bool note_band(const vn_drawing *d, vn_samples *s) {
    s->bands = vn_alloc(1, sizeof *s->bands);
    if (!s->bands) return false;
    s->bands[0] =
        (vn_samples_band){.count = d->count,
                          .index = d->o.first,
                          .guidance = d->o.guidance,
                          .alone = !d->o.noise && !d->noise && !d->selects &&
                                   d->observing.observations <= 1 && d->observing.inits <= 1,
                          .settings = json_incref(s->settings)};
    s->band_count = 1;
    return true;
}

vn_status vn_drawing_describe(const vn_drawing *d, vn_samples *s, vn_err *err) {
    const vn_model *m = d->m;
    const vn_sample_options *o = &d->o;
    const vn_path *path = d->denoiser.path; /* NULL: of a sequence model */
    *s = (vn_samples){.vn = m->vn,
                      .count = d->count,
                      .sample = *vn_model_shown(m),
                      .size = vn_shape_count(vn_model_shown(m)),
                      .state = m->sample,
                      .state_size = m->size,
                      .decoded = m->shown.rank > 0,
                      .scale = o->scale};
    s->settings = json_object();
    char *path_text = path ? vn_path_text(path) : NULL;
    json_t *to = s->settings;
    bool ok = to && (path_text || !path) && note(to, "vane", "%s", vn_version()) &&
              note_text(to, "source", m->source) && note_model(to, d->m) &&
              note(to, "seed", "%llu", (unsigned long long)o->seed) &&
              note(to, "first", "%llu", (unsigned long long)o->first) &&
              note(to, "count", "%lld", (long long)s->count) &&
              note(to, "guidance", "%.15g", o->guidance) &&
              note_text(to, "guide", o->guide ? o->guide : "cfg");
    if (ok) ok = path ? note_walk(to, o, path, path_text) : note_tokens(to, o);
    if (ok) ok = vn_prompting_note(d, to);
    if (ok && !o->labels && !o->prompt_count) ok = note_class(to, d->named, o);
    if (ok && m->asked_null >= 0) ok = note(to, "null-class", "%d", (int)m->asked_null);
    if (ok && o->noise_file) ok = note_text(to, "noise", o->noise_file);
    if (ok && m->asked_size)
        ok =
            note(to, "size", "%lldx%lld", (long long)s->sample.dim[1], (long long)s->sample.dim[2]);
    if (ok && !isnan(o->embedded_guidance))
        ok = note(to, "embedded-guidance", "%.15g", o->embedded_guidance);
    if (ok && path && strcmp(o->begin, "scaled") != 0) ok = note_text(to, "begin", o->begin);
    if (ok && o->cache) ok = note_text(to, "cache", o->cache);
    if (ok && o->weak) ok = note_text(to, "weak", o->weak->source);
    if (ok) ok = vn_observing_note(d, to);
    if (ok && o->classifier) ok = note_text(to, "classifier", o->classifier->source);
    if (ok && o->batch && d->selects) ok = note(to, "batch", "%lld", (long long)o->batch);
    if (ok && o->scale) ok = note(to, "scale", "%d", o->scale);
    if (ok && o->trace) ok = note_trace(d, s);
    s->texts = m->row->prompt != NULL;
    if (ok && m->truth) s->world = vn_world_share(m->truth);
    if (ok) ok = note_band(d, s);
    if (ok && m->trained_on) ok = (s->trained_on = vn_strdup(m->trained_on)) != NULL;
    vn_free(path_text);
    s->names = vn_calloc((size_t)d->named->named_count + 1, sizeof(char *));
    for (int32_t i = 0; ok && s->names && i < d->named->named_count; i++, s->classes++)
        ok = (s->names[i] = vn_strdup(d->named->names[i])) != NULL;
    return ok && s->names ? VN_OK : vn_no_memory(err);
}
