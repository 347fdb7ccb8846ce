/* sample.c - vn_sample: options checked, a walk for each batch, samples out. */
#include "api/internal.h"
#include "sample/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_COUNT = 16 };

vn_sample_options vn_sample_options_default(void) {
    return (vn_sample_options){.label = VN_LABEL_ALL, .guidance = (double)NAN};
}

static vn_status check(const vn_model *m, const vn_sample_options *o, vn_err *err) {
    if (o->count < 0 || o->count > INT32_MAX)
        return vn_fail(err, VN_BAD_ARGUMENT, "count %lld: expected 1 or more", (long long)o->count);
    if (isinf(o->guidance)) return vn_fail(err, VN_BAD_ARGUMENT, "guidance %g is not a number", o->guidance);
    if (o->steps < 0 || o->steps > VN_MAX_STEPS)
        return vn_fail(err, VN_BAD_ARGUMENT, "steps %d is outside [1, %d]", o->steps, VN_MAX_STEPS);
    if (o->batch < 0) return vn_fail(err, VN_BAD_ARGUMENT, "batch %lld: expected 1 or more", (long long)o->batch);
    if (o->sigmas && (o->grid || o->steps))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "sigmas give the levels: a grid or steps beside them would have no effect");
    if (o->noise && o->noise_file) return vn_fail(err, VN_BAD_ARGUMENT, "noise and noise_file exclude each other");
    if (!o->labels && o->label != VN_LABEL_ALL) {
        const vn_status status = vn_model_check_label(m, o->label, err);
        if (status != VN_OK) return status;
    }
    const unsigned needs = vn_guides_need(o->guide);
    if (o->weak && !(needs & VN_NEEDS_WEAK))
        return vn_fail(err, VN_BAD_ARGUMENT, "a weak model has no effect on the guide %s", o->guide ? o->guide : "cfg");
    if (o->reward && !(needs & VN_NEEDS_REWARD))
        return vn_fail(err, VN_BAD_ARGUMENT, "a reward has no effect on the guide %s", o->guide ? o->guide : "cfg");
    return VN_OK;
}

/* ---- what is drawn -------------------------------------------------------------------------------------- */

/* A file's noise, [N, one sample]; N becomes the count. */
static vn_status read_noise(const vn_model *m, const vn_sample_options *o, int64_t *count, float **noise, vn_err *err) {
    vn_safetensors *st = NULL;
    const vn_file_tensor *t = NULL;
    vn_status status = vn_safetensors_open(o->noise_file, &st, err);
    if (status == VN_OK) status = vn_safetensors_get(st, "noise", &t, err);
    if (status == VN_OK) {
        bool fits = t->shape.rank == m->rank + 1;
        for (int i = 0; fits && i < m->rank; i++) fits = t->shape.dim[i + 1] == m->shape[i];
        char text[128];
        const int64_t n = fits ? t->shape.dim[0] : 0;
        if (!fits)
            status = vn_fail(err, VN_BAD_FILE, "%s: noise %s does not fit samples of %lld numbers", o->noise_file,
                             vn_shape_text(&t->shape, text), (long long)m->size);
        else if (n == 0)
            status = vn_fail(err, VN_BAD_FILE, "%s: noise is empty", o->noise_file);
        else if (o->count && o->count != n)
            status = vn_fail(err, VN_BAD_ARGUMENT, "%s holds noise for %lld sample%s, not %lld", o->noise_file,
                             (long long)n, VN_S(n), (long long)o->count);
        else if (!(*noise = vn_alloc((size_t)n, (size_t)m->size * sizeof(float))))
            status = vn_no_memory(err);
        else
            vn_tensor_read_f32(t, *noise);
        *count = n;
    }
    vn_safetensors_close(&st);
    return status;
}

static vn_status make_labels(const vn_model *m, const vn_sample_options *o, vn_samples *s, vn_err *err) {
    s->labels = vn_alloc((size_t)s->count, sizeof(int32_t));
    if (!s->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < s->count; i++) {
        int32_t label = o->labels ? o->labels[i] : o->label;
        if (label == VN_LABEL_ALL)
            label = m->classes ? (int32_t)((o->first + (uint64_t)i) % (uint64_t)m->classes) : VN_LABEL_NULL;
        if (vn_model_check_label(m, label, err) != VN_OK) return vn_fail_in(err, "sample %lld", (long long)i);
        s->labels[i] = label;
    }
    return VN_OK;
}

/* Guides that select among samples see all of them. */
static int64_t choose_batch(const vn_model *m, const vn_sample_options *o, int64_t count) {
    int64_t batch = o->batch;
    if (!batch) batch = vn_guides_select(o->guide) ? count : m->net ? VN_BATCH_FLOATS / m->size : 4096;
    if (batch > count) batch = count;
    return batch < 1 ? 1 : batch;
}

/* ---- the user's reward ---------------------------------------------------------------------------------- */

typedef struct reward {
    const vn_sample_options *o;
    int64_t size;
} reward;

static vn_status evaluate(void *self, int64_t n, const float *x0, const int32_t *labels, float *value, float *gradient,
                          vn_err *err) {
    const reward *r = self;
    const vn_status status = r->o->reward(r->o->reward_user, n, x0, labels, value, gradient);
    if (status != VN_OK) return vn_call_failed("the reward", status, err);
    int64_t row = vn_row_not_finite(n, 1, value);
    if (row < 0 && gradient) row = vn_row_not_finite(n, r->size, gradient);
    if (row < 0) return VN_OK;
    return vn_fail(err, VN_NOT_FINITE, "the reward: row %lld of %lld: the answer is not finite", (long long)row,
                   (long long)n);
}

/* ---- the walks ------------------------------------------------------------------------------------------ */

/* Memory for every state, and the times they are at. */
static vn_status reserve_trace(vn_samples *s, const vn_walk *walk, vn_err *err) {
    s->levels = vn_walk_steps(walk) + 1;
    size_t rows = 0;
    if (!vn_mul_overflows((size_t)s->levels, (size_t)s->count, &rows))
        s->trace = vn_alloc(rows, (size_t)s->size * sizeof(float));
    s->trace_t = vn_alloc((size_t)s->levels, sizeof(double));
    if (!s->trace || !s->trace_t) return vn_no_memory(err);
    for (int64_t i = 0; i < s->levels; i++) s->trace_t[i] = vn_walk_levels(walk)[i].t;
    return VN_OK;
}

static vn_status run(vn_samples *s, const vn_walk_options *options, const vn_sample_options *o, const float *noise,
                     vn_err *err) {
    vn_walk *walk = NULL;
    vn_status status = vn_walk_open(options, &walk, err);
    if (status == VN_OK && o->trace) status = reserve_trace(s, walk, err);
    if (status != VN_OK) {
        vn_walk_close(&walk);
        return status;
    }
    const int64_t batches = (s->count + options->capacity - 1) / options->capacity, steps = vn_walk_steps(walk);
    for (int64_t i = 0; i < batches && status == VN_OK; i++) {
        const int64_t begin = i * options->capacity, left = s->count - begin;
        const vn_walk_batch batch = {.n = left < options->capacity ? left : options->capacity,
                                     .first = o->first + (uint64_t)begin,
                                     .labels = s->labels + begin,
                                     .noise = noise ? noise + begin * s->size : NULL,
                                     .x = s->data + begin * s->size,
                                     .trace = s->trace ? s->trace + begin * s->size : NULL,
                                     .trace_stride = s->count * s->size};
        status = vn_walk_run(walk, &batch, &s->vn->watch, i * steps, batches * steps, err);
        if (status == VN_OK && vn_walk_passes(walk) > s->passes) s->passes = vn_walk_passes(walk);
    }
    vn_walk_close(&walk);
    return status;
}

/* ---- what is remembered of it ---------------------------------------------------------------------------- */

static bool note(json_t *to, const char *key, const char *format, ...) VN_PRINTF(3, 4);
static bool note(json_t *to, const char *key, const char *format, ...) {
    va_list args;
    va_start(args, format);
    json_t *text = json_vsprintf(format, args);
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

static bool one_band(const vn_sample_options *o, vn_samples *s) {
    s->guidance = vn_alloc((size_t)s->count, sizeof *s->guidance);
    s->bands = vn_alloc(1, sizeof *s->bands);
    if (!s->guidance || !s->bands) return false;
    for (int64_t i = 0; i < s->count; i++) s->guidance[i] = o->guidance;
    s->bands[0] = (vn_samples_band){.count = s->count,
                                    .index = o->first,
                                    .guidance = o->guidance,
                                    .alone = !o->noise && !o->noise_file && !vn_guides_select(o->guide),
                                    .settings = json_incref(s->settings)};
    s->band_count = 1;
    return true;
}

static vn_status remember(const vn_model *m, const vn_sample_options *o, const vn_path *path, vn_samples *s,
                          vn_err *err) {
    s->settings = json_object();
    char *path_text = vn_path_text(path);
    json_t *to = s->settings;
    bool ok = to && path_text && note(to, "vane", "%s", vn_version()) && note_text(to, "source", m->source) &&
              note(to, "seed", "%llu", (unsigned long long)o->seed) &&
              note(to, "first", "%llu", (unsigned long long)o->first) &&
              note(to, "count", "%lld", (long long)s->count) && note(to, "guidance", "%.15g", o->guidance) &&
              note_text(to, "guide", o->guide ? o->guide : "cfg") &&
              note(to, "sampler", "%s", o->sampler ? o->sampler : path->row->sampler) &&
              note(to, "path", "%s", path_text) && note_levels(to, o);
    if (ok && !o->sigmas) ok = note(to, "grid", "%s", o->grid ? o->grid : path->row->grid);
    if (ok && !o->labels)
        ok = note_text(to, "class",
                       o->label == VN_LABEL_ALL    ? "all"
                       : o->label == VN_LABEL_NULL ? "null"
                                                   : m->names[o->label]);
    if (ok && o->noise_file) ok = note_text(to, "noise", o->noise_file);
    if (ok && o->weak) ok = note_text(to, "weak", o->weak->source);
    if (ok && o->trace) ok = note(to, "trace", "%lld level%s", (long long)s->levels, VN_S(s->levels));
    if (ok && m->world) s->world = vn_world_share(m->world);
    if (ok) ok = one_band(o, s);
    vn_free(path_text);
    s->names = vn_calloc((size_t)m->classes + 1, sizeof(char *));
    for (int32_t i = 0; ok && s->names && i < m->classes; i++, s->classes++)
        ok = (s->names[i] = vn_strdup(m->names[i])) != NULL;
    return ok && s->names ? VN_OK : vn_no_memory(err);
}

/* ---- the public call --------------------------------------------------------------------------------------- */

/* A weak model is asked under the samples' own conditions. */
static vn_status check_weak_labels(const vn_model *weak, const vn_samples *s, vn_err *err) {
    vn_status status = VN_OK;
    for (int64_t i = 0; weak && i < s->count && status == VN_OK; i++)
        if ((status = vn_model_check_label(weak, s->labels[i], err)) != VN_OK) vn_fail_in(err, "weak");
    return status;
}

/* The model's denoiser, with the weak model beside it if one was given. */
static vn_status open_denoiser(vn_model *m, const vn_sample_options *o, vn_pair_denoiser *pair, vn_denoiser *out,
                               vn_err *err) {
    const vn_denoiser *main = NULL, *weak = NULL;
    if (o->weak == m) return vn_fail(err, VN_BAD_ARGUMENT, "weak: %s is the model itself", m->source);
    if (o->weak && o->weak->vn != m->vn)
        return vn_fail(err, VN_BAD_ARGUMENT, "weak: %s was opened in another context", o->weak->source);
    vn_status status = vn_model_denoise(m, o->path, &main, err);
    if (status == VN_OK && o->weak) status = vn_model_denoise(o->weak, o->path, &weak, err);
    if (status != VN_OK) return status;
    if (m->net) vn_net_denoiser_batch(&m->net_denoiser, o->batch);
    *out = *main;
    return weak ? vn_pair_open(pair, m, main, o->weak, weak, out, err) : VN_OK;
}

/* What was not asked for is as the model says: G of CFG and its kin, not of rules for which it is no amplification (CFG++'s lambda,
 * the scale of a reward). */
static void settle(const vn_model *m, const vn_path *path, vn_sample_options *o) {
    const unsigned others = VN_NEEDS_REWARD | VN_NEEDS_CLASSIFIER | VN_NEEDS_PAIRS | VN_NEEDS_SDE;
    const bool other = vn_guides_need(o->guide) & others;
    if (isnan(o->guidance)) o->guidance = other ? vn_sampling_plain().guidance : m->sampling.guidance;
    if (!o->steps && !o->sigmas) o->steps = vn_sampling_steps_on(&m->sampling, path);
}

static vn_status draw(vn_model *m, vn_sample_options *o, vn_samples *s, vn_err *err) {
    float *file_noise = NULL;
    vn_denoiser denoiser;
    vn_pair_denoiser pair;
    s->count = o->count ? o->count : DEFAULT_COUNT;
    s->rank = m->rank;
    s->size = m->size;
    memcpy(s->shape, m->shape, sizeof s->shape);
    vn_status status = o->noise_file ? read_noise(m, o, &s->count, &file_noise, err) : VN_OK;
    if (status == VN_OK) status = make_labels(m, o, s, err);
    if (status == VN_OK && !(s->data = vn_alloc((size_t)s->count, (size_t)s->size * sizeof(float))))
        status = vn_no_memory(err);
    if (status == VN_OK) status = open_denoiser(m, o, &pair, &denoiser, err);
    if (status == VN_OK) status = check_weak_labels(o->weak, s, err);
    if (status == VN_OK) {
        settle(m, denoiser.path, o);
        reward mine = {o, m->size};
        const vn_reward theirs = {evaluate, &mine};
        const vn_walk_options options = {.denoiser = &denoiser,
                                         .sampler = o->sampler,
                                         .grid = o->grid,
                                         .steps = o->steps,
                                         .sigmas = o->sigmas,
                                         .sigma_count = o->sigma_count,
                                         .guide = o->guide,
                                         .guidance = o->guidance,
                                         .reward = o->reward ? &theirs : NULL,
                                         .seed = o->seed,
                                         .capacity = choose_batch(m, o, s->count)};
        status = run(s, &options, o, o->noise ? o->noise : file_noise, err);
        if (status == VN_OK) status = remember(m, o, denoiser.path, s, err);
    }
    vn_free(file_noise);
    return status;
}

vn_status vn_sample(vn_model *m, const vn_sample_options *options, vn_samples **out) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!out) return vn_fail(err, VN_BAD_ARGUMENT, "vn_sample: out is needed");
    *out = NULL;
    vn_sample_options o = options ? *options : vn_sample_options_default();
    vn_status status = check(m, &o, err);
    if (status != VN_OK) return status;
    vn_samples *s = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    s->vn = m->vn;
    status = draw(m, &o, s, err);
    if (status != VN_OK) {
        vn_samples_close(&s);
        return status;
    }
    *out = s;
    return VN_OK;
}
