/* sample.c - what one call draws: options checked, a sampling run for each batch, samples out into
 * rows. sampling.c draws all at once or step by step, stream.c piece by piece. */
#include "api/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_COUNT = 16 };
#define MAX_NUMBERS 0x1p60

void vn_sample_options_init(vn_sample_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_SAMPLE, o, size);
}

static vn_status check_label(const vn_drawing *d, int32_t label, vn_err *err) {
    return vn_model_check_label(label == VN_LABEL_NULL ? d->m : d->named, label, err);
}

bool vn_guide_uses_weak(const char *guide) {
    return vn_guides_need(guide) & VN_NEEDS_WEAK;
}

bool vn_guide_uses_classifier(const char *guide, bool has_reward) {
    const unsigned needs = vn_guides_need(guide);
    const bool stands_in = (needs & VN_NEEDS_REWARD) && !has_reward;
    return stands_in || needs & (VN_NEEDS_CLASSIFIER | VN_TAKES_CLASSIFIER);
}

/* What guides have a use for. */
static vn_status check_helpers(const vn_sample_options *o, vn_err *err) {
    const unsigned needs = vn_guides_need(o->guide);
    const char *guide = o->guide ? o->guide : "cfg";
    if (o->weak && !vn_guide_uses_weak(o->guide))
        return vn_fail(err, VN_BAD_ARGUMENT, "a weak model has no effect on the guide %s", guide);
    if (o->reward && !(needs & VN_NEEDS_REWARD))
        return vn_fail(err, VN_BAD_ARGUMENT, "a reward has no effect on the guide %s", guide);
    if (o->classifier && !vn_guide_uses_classifier(o->guide, o->reward != NULL))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a classifier has no effect on the guide %s: `guide` classifier follows it",
                       guide);
    return VN_OK;
}

static vn_status check(const vn_drawing *d, const vn_sample_options *o, vn_err *err) {
    const vn_status wrong = vn_options_check(VN_OPTIONS_SAMPLE, o, err);
    if (wrong) return wrong;
    if (o->sigmas && (o->grid || o->steps))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "sigmas give the levels: a grid or steps beside them would have no effect");
    if (o->noise && o->noise_file)
        return vn_fail(err, VN_BAD_ARGUMENT, "noise and noise_file exclude each other");
    if (!o->cycle != !o->cycle_count || (o->cycle && o->labels))
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "cycle: labels in turn have a count, and no labels of each sample beside them");
    for (size_t i = 0; i < o->cycle_count; i++) { /* those too that so few samples do not reach */
        const vn_status status = check_label(d, o->cycle[i], err);
        if (status) return status;
    }
    if (o->first > UINT64_MAX - (uint64_t)o->count)
        return vn_fail(err, VN_BAD_ARGUMENT, "first %llu: %lld samples from there on have no index",
                       (unsigned long long)o->first, (long long)o->count);
    if (!o->labels && !o->cycle && o->label != VN_LABEL_ALL) {
        const vn_status status = check_label(d, o->label, err);
        if (status) return status;
    }
    vn_status apart = vn_drawing_check_tokens(d->m, o, err);
    if (!apart) apart = vn_observing_check(o, err);
    return apart ? apart : check_helpers(o, err);
}

/* ---- what the model's run or its own scheduler says ------------------------------------------ */

/* Fills in the options that the user left to them. */
static vn_status apply_scheduler(vn_drawing *d, vn_err *err) {
    static const char *const begins[] = {"scaled", "unit"};
    const vn_model *m = d->m;
    vn_sample_options *o = &d->o;
    if (!o->guide && m->sampling.guide[0]) o->guide = m->sampling.guide;
    if (!o->sampler && !o->sigmas && m->sampling.sampler[0]) o->sampler = m->sampling.sampler;
    vn_sampling_setup setup = {
        .sampler = o->sampler, .grid = o->grid, .guide = o->guide, .sigmas = o->sigmas != NULL};
    vn_status status = m->path ? vn_scheduler_apply(&m->scheduler, m->path, &setup, err) : VN_OK;
    d->guide = setup.made_guide;
    if (status) return m->scheduler.name[0] ? vn_fail_in(err, "%s", m->source) : status;
    o->sampler = setup.sampler;
    o->grid = setup.grid;
    o->guide = setup.guide;
    if (!o->begin) o->begin = begins[setup.begin];
    for (size_t i = 0; i < VN_COUNT(begins); i++)
        if (!strcmp(o->begin, begins[i])) d->begin = (vn_first_noise)i;
    return VN_OK;
}

/* ---- what is drawn --------------------------------------------------------------------------- */

/* Opens the file's noise, [N, one sample]; N becomes the count. */
static vn_status open_noise(vn_drawing *d, vn_err *err) {
    const vn_model *m = d->m;
    const vn_sample_options *o = &d->o;
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_open(o->noise_file, &d->noise, err);
    if (!status) status = vn_safetensors_get(d->noise, "noise", &t, err);
    if (status) return status;
    bool fits = t->shape.rank == m->sample.rank + 1;
    for (int i = 0; fits && i < m->sample.rank; i++) fits = t->shape.dim[i + 1] == m->sample.dim[i];
    char text[128];
    if (!fits)
        return vn_fail(err, VN_BAD_FILE, "%s: noise %s does not fit samples of %lld numbers",
                       o->noise_file, vn_shape_text(&t->shape, text), (long long)m->size);
    const int64_t n = t->shape.dim[0];
    if (n == 0) return vn_fail(err, VN_BAD_FILE, "%s: noise is empty", o->noise_file);
    if (o->count && o->count != n)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s holds noise for %lld sample%s, not %lld",
                       o->noise_file, (long long)n, VN_S(n), (long long)o->count);
    d->count = n;
    d->noise_rows = *t;
    return VN_OK;
}

/* The file's noise of n samples from `first` on. */
static const float *read_noise(vn_drawing *d, int64_t first, int64_t n) {
    vn_array rows = d->noise_rows;
    rows.shape.dim[0] = n;
    rows.data = (const char *)rows.data + (size_t)(first * d->m->size) * vn_dtype_size(rows.dtype);
    vn_array_read_f32(&rows, d->scratch);
    return d->scratch;
}

int32_t vn_drawing_label(const vn_drawing *d, int64_t i) {
    const vn_sample_options *o = &d->o;
    if (o->cycle) return o->cycle[(o->first + (uint64_t)i) % o->cycle_count];
    const int32_t label = o->labels ? o->labels[i] : o->label;
    if (label != VN_LABEL_ALL) return label;
    const int32_t classes = d->named->classes;
    return classes ? (int32_t)((o->first + (uint64_t)i) % (uint64_t)classes) : VN_LABEL_NULL;
}

/* How many samples have labels that those before them may not have had. */
static int64_t labels_differ(const vn_drawing *d) {
    const int64_t n = d->o.labels                                       ? d->count
                      : d->o.cycle                                      ? (int64_t)d->o.cycle_count
                      : d->o.label == VN_LABEL_ALL && d->named->classes ? d->named->classes
                                                                        : 1;
    return n < d->count ? n : d->count;
}

static vn_status check_labels(const vn_drawing *d, vn_err *err) {
    for (int64_t i = 0; i < labels_differ(d); i++) {
        if (check_label(d, vn_drawing_label(d, i), err) != VN_OK)
            return vn_fail_in(err, "sample %lld", (long long)i);
    }
    return VN_OK;
}

/* Guides that select among samples see all of them. */
static int64_t choose_batch(const vn_drawing *d) {
    const int64_t count = d->count;
    int64_t batch = d->o.batch;
    if (!batch) batch = d->selects ? count : vn_model_batch(d->m);
    if (batch > count) batch = count;
    return batch < 1 ? 1 : batch;
}

/* ---- the user's reward ----------------------------------------------------------------------- */

static vn_status evaluate(void *self, int64_t n, const float *x0, const int32_t *labels,
                          float *value, float *gradient, vn_err *err) {
    const vn_user_reward *r = self;
    const vn_status status = r->o->reward(r->o->reward_user, n, x0, labels, value, gradient);
    if (status) return vn_call_failed("the reward", status, err);
    int64_t row = vn_row_not_finite(n, 1, value);
    if (row < 0 && gradient) row = vn_row_not_finite(n, r->size, gradient);
    if (row < 0) return VN_OK;
    return vn_fail(err, VN_NOT_FINITE, "the reward: row %lld of %lld: the answer is not finite",
                   (long long)row, (long long)n);
}

/* ---- drawing --------------------------------------------------------------------------------- */

/* A weak model is asked under the samples' own conditions. */
static vn_status check_weak_labels(const vn_drawing *d, vn_err *err) {
    vn_status status = VN_OK;
    for (int64_t i = 0; d->o.weak && i < labels_differ(d) && !status; i++)
        if ((status = vn_model_check_label(d->o.weak, vn_drawing_label(d, i), err)) != VN_OK)
            vn_fail_in(err, "weak");
    return status;
}

/* A weak model or a classifier is another model of the same context. */
static vn_status check_other(const vn_model *m, const vn_model *other, const char *what,
                             vn_err *err) {
    if (other == m)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s is the model itself", what, m->source);
    if (other && other->vn != m->vn)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s was opened in another context", what,
                       other->source);
    return VN_OK;
}

static vn_status add_classifier(vn_drawing *d, const char *path, vn_err *err) {
    vn_model *other = d->o.classifier;
    const vn_denoiser *classifier = NULL;
    const vn_status status =
        vn_model_classifier(other, other->path ? NULL : path, &classifier, err);
    if (status) return status;
    d->unclassified = d->denoiser;
    return vn_classified_open(&d->classified, &d->unclassified, d->m, classifier, other,
                              &d->denoiser, err);
}

/* The model's denoiser, with the weak model and the classifier beside it if they were given. A
 * model that is right on every path is asked on that of its classifier. */
static vn_status open_denoiser(vn_drawing *d, vn_err *err) {
    vn_model *m = d->m;
    const vn_sample_options *o = &d->o;
    const vn_denoiser *main = NULL, *weak = NULL;
    const char *path = o->path || m->path || !o->classifier ? o->path : o->classifier->path_text;
    vn_status status = check_other(m, o->weak, "weak", err);
    if (!status) status = check_other(m, o->classifier, "classifier", err);
    if (!status) status = vn_model_denoise(m, path, &main, err);
    if (!status && o->weak) status = vn_model_denoise(o->weak, path, &weak, err);
    if (status) return status;
    vn_model_set_batch(m, o->batch);
    vn_model_set_guidance(m, o->embedded_guidance);
    d->denoiser = *main;
    if (weak) status = vn_pair_open(&d->pair, m, main, o->weak, weak, &d->denoiser, err);
    if (status || !o->classifier) return status;
    char *text = vn_path_text(main->path);
    status = text ? add_classifier(d, text, err) : vn_no_memory(err);
    vn_free(text);
    return status;
}

/* Only a network that takes guidance is told it, and the guide `embedded` tells it G. */
static vn_status check_embedded(const vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    if (isnan(o->embedded_guidance)) return VN_OK;
    if (!(d->denoiser.can & VN_TAKES_GUIDANCE))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "embedded_guidance has no effect: the network of %s takes no guidance as an "
                       "input",
                       d->m->source);
    if (!(vn_guides_need(o->guide) & VN_NEEDS_EMBEDDED)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "embedded_guidance has no effect beside the guide %s, which tells the network "
                   "`guidance`",
                   o->guide);
}

/* What was not asked for is as the model says: G of CFG and its kin, not of rules for which it is
 * no amplification (CFG++'s lambda, the scale of a reward). */
static void settle(const vn_model *m, const vn_path *path, vn_sample_options *o) {
    const unsigned others = VN_NEEDS_REWARD | VN_NEEDS_CLASSIFIER | VN_NEEDS_X0_EPS | VN_NEEDS_SDE;
    const bool other = vn_guides_need(o->guide) & others;
    if (isnan(o->guidance))
        o->guidance = other ? vn_sampling_defaults_as_trained().guidance : m->sampling.guidance;
    /* what a run says of its sampling was not found by restoring or inverting */
    const vn_sampling_defaults any = vn_sampling_defaults_as_trained();
    if (!o->steps && !o->sigmas)
        o->steps =
            vn_sampling_defaults_steps_on(o->restore || o->invert ? &any : &m->sampling, path);
    if ((o->init_file || o->init) && !o->strength && !o->sigmas)
        o->strength = o->invert ? 1 : vn_option_find(VN_OPTIONS_SAMPLE, "strength")->fallback;
}

static vn_status open_trajectory(vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    d->user_reward = (vn_user_reward){&d->o, d->m->size};
    d->reward = (vn_reward){evaluate, &d->user_reward};
    const vn_restoration *restoration = d->observing.restoration;
    const vn_trajectory_options options = {
        .denoiser = vn_drawing_denoiser(d),
        .sampler = o->sampler,
        .grid = o->grid,
        .steps = o->steps,
        .sigmas = o->sigmas,
        .sigma_count = o->sigma_count,
        .guide = o->guide,
        .guidance = o->guidance,
        .reward = o->reward ? &d->reward : NULL,
        .cache = o->cache,
        .between = restoration ? vn_restoration_between(restoration) : NULL,
        .strength = o->strength,
        .begin = d->begin,
        .seed = o->seed,
        .capacity = d->batch,
        .none = o->negative ? &d->negative : NULL};
    const vn_status status = vn_trajectory_open(&options, &d->trajectory, err);
    if (!status) d->levels = vn_trajectory_steps(d->trajectory) + 1;
    return status;
}

/* More numbers than a file can hold, as the size of what is kept is computed in many places. */
static vn_status check_numbers(const vn_drawing *d, vn_err *err) {
    const double numbers =
        (double)d->count * (double)d->m->size * (double)(d->o.trace ? d->levels + 1 : 1);
    if (numbers <= MAX_NUMBERS) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "count %lld: samples of %lld numbers each, so many of them, are more than a "
                   "file can hold",
                   (long long)d->count, (long long)d->m->size);
}

/* Guides that select see one batch at a time, so it is part of the result. */
static vn_status check_together(const vn_drawing *d, vn_err *err) {
    if (!d->selects || !d->o.batch || d->o.batch >= d->count) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "batch %lld: samples that are drawn step by step go together, all %lld",
                   (long long)d->o.batch, (long long)d->count);
}

vn_status vn_drawing_open(vn_drawing *d, vn_model *m, const vn_sample_options *o, bool together,
                          vn_err *err) {
    *d = (vn_drawing){.m = m, .o = *o, .count = o->count ? o->count : DEFAULT_COUNT};
    d->named = vn_model_of_classes(m, o->classifier);
    vn_status status = vn_prompting_open(d, err);
    if (!status) status = check(d, &d->o, err);
    if (!status && m->row->sequence) {
        status = check_labels(d, err);
        if (status) return status;
        d->batch = choose_batch(d);
        status = vn_drawing_open_sequence(d, together, err);
        return !status ? check_numbers(d, err) : status;
    }
    if (!status && o->noise_file) status = open_noise(d, err);
    if (!status) status = vn_observing_open(d, err);
    if (!status) status = apply_scheduler(d, err);
    if (!status) status = check_labels(d, err);
    if (!status) status = open_denoiser(d, err);
    if (!status) status = check_embedded(d, err);
    if (!status) status = check_weak_labels(d, err);
    if (status) return status;
    settle(m, d->denoiser.path, &d->o);
    d->selects = vn_guides_select(o->guide) || vn_restorer_selects(o->restore);
    d->batch = together ? d->count : choose_batch(d);
    if (together) status = check_together(d, err);
    if (!status) status = vn_observing_restore(d, err);
    if (status) return status;
    if (d->noise && !(d->scratch = vn_alloc((size_t)d->batch, (size_t)m->size * sizeof(float))))
        return vn_no_memory(err);
    if (m->shown.rank && !(d->states = vn_alloc((size_t)d->batch, (size_t)m->size * sizeof(float))))
        return vn_no_memory(err);
    status = open_trajectory(d, err);
    return !status ? check_numbers(d, err) : status;
}

void vn_drawing_close(vn_drawing *d) {
    vn_drawing_close_sequence(d);
    vn_trajectory_close(&d->trajectory);
    vn_observing_close(&d->observing);
    vn_prompting_close(d);
    vn_classified_close(&d->classified);
    vn_safetensors_close(&d->noise);
    vn_free(d->scratch);
    vn_free(d->states);
    vn_free(d->guide);
    *d = (vn_drawing){0};
}

/* A sampling run tells of its steps; who waits for samples hears of samples. */
static int on_steps(void *user, const vn_progress *steps) {
    const vn_draw_progress *s = user;
    const double done = (double)s->done + (double)s->n * (double)steps->done / (double)steps->total;
    const double rate = done / fmax(vn_now() - s->began, 1e-9);
    const vn_progress samples = {.what = steps->what,
                                 .unit = "samples",
                                 .done = (int64_t)done,
                                 .total = s->total,
                                 .rate = rate,
                                 .seconds_left = ((double)s->total - done) / rate,
                                 .loss = (double)NAN};
    return vn_report(s->watch, &samples);
}

static void on_log(void *user, vn_log_level level, const char *text) {
    vn_log(((const vn_draw_progress *)user)->watch, level, "%s", text);
}

/* Where the states of the batch from sample i on are. */
static float *states_of(const vn_drawing *d, int64_t i, const vn_drawn_rows *out) {
    const int64_t size = d->m->size;
    if (!d->m->shown.rank) return out->data + i * size;
    return out->latents ? out->latents + i * size : d->states;
}

/* What is shown of the samples from i on, once their states are final. */
static vn_status show(vn_drawing *d, int64_t i, int64_t n, const vn_drawn_rows *out, vn_err *err) {
    if (!d->m->shown.rank) return VN_OK;
    float *shown = out->data + i * vn_shape_count(&d->m->shown);
    return vn_model_decode(d->m, n, states_of(d, i, out), shown, err);
}

/* The batch that begins at sample i of [first, first + n), whose rows are `out`. */
static vn_trajectory_batch batch_at(vn_drawing *d, int64_t first, int64_t n, int64_t i,
                                    const vn_drawn_rows *out, vn_draw_progress *progress) {
    const int64_t size = d->m->size;
    progress->n = n - i < d->batch ? n - i : d->batch;
    const float *noise = d->o.noise ? d->o.noise + (first + i) * size
                         : d->noise ? read_noise(d, first + i, progress->n)
                                    : NULL;
    return (vn_trajectory_batch){.n = progress->n,
                                 .first = d->o.first + (uint64_t)(first + i),
                                 .condition = out->labels + i,
                                 .noise = noise,
                                 .init = vn_observing_init(d, first + i, progress->n),
                                 .x = states_of(d, i, out),
                                 .trace = out->trace ? out->trace + i * size : NULL,
                                 .trace_stride = n * size};
}

/* Labels of samples [first, first + n), and who hears of their steps. */
static void prepare(const vn_drawing *d, int64_t first, int64_t n, const vn_drawn_rows *out,
                    vn_draw_progress *progress) {
    progress->steps = (vn_watch){on_log, on_steps, progress, progress->watch->cancel};
    if (progress->began <= 0) progress->began = vn_now();
    for (int64_t i = 0; i < n; i++) out->labels[i] = vn_drawing_label(d, first + i);
}

static void count_passes(vn_drawing *d, int64_t n) {
    int64_t passes = vn_trajectory_passes(d->trajectory);
    double off, length;
    vn_trajectory_cache_error(d->trajectory, &off, &length);
    d->cache_off += off;
    d->cache_length += length;
    if (d->observing.restoration) {
        double forward, back;
        vn_restoration_cost(d->observing.restoration, n, &forward, &back);
        passes = (int64_t)ceil(forward + back);
    }
    if (passes > d->passes) d->passes = passes;
}

/* The state of a batch at its first level, where it is found and not drawn. */
static vn_status invert(vn_drawing *d, vn_trajectory_batch *batch, const vn_watch *watch,
                        vn_err *err) {
    if (!d->o.invert) return VN_OK;
    batch->begun = true;
    vn_trajectory_watch(d->trajectory, watch, 0, vn_trajectory_steps(d->trajectory));
    return vn_trajectory_invert(d->trajectory, batch, (int)d->o.invert, err);
}

vn_status vn_drawing_rows(vn_drawing *d, int64_t first, int64_t n, const vn_drawn_rows *out,
                          vn_draw_progress *progress, vn_err *err) {
    if (d->sequence) return vn_drawing_sequence_rows(d, first, n, out, progress, err);
    const int64_t steps = vn_trajectory_steps(d->trajectory);
    vn_status status = VN_OK;
    prepare(d, first, n, out, progress);
    for (int64_t i = 0; i < n && !status; i += progress->n) {
        vn_trajectory_batch batch = batch_at(d, first, n, i, out, progress);
        status = invert(d, &batch, &progress->steps, err);
        if (!status)
            status = vn_trajectory_run(d->trajectory, &batch, &progress->steps, 0, steps, err);
        if (!status) status = show(d, i, progress->n, out, err);
        if (status) break;
        progress->done += progress->n;
        vn_observing_compare(d, &batch);
        count_passes(d, batch.n);
    }
    return status;
}

vn_status vn_drawing_begin(vn_drawing *d, const vn_drawn_rows *out, vn_draw_progress *progress,
                           vn_err *err) {
    prepare(d, 0, d->count, out, progress);
    d->rows = *out;
    d->whole = batch_at(d, 0, d->count, 0, out, progress);
    vn_trajectory_watch(d->trajectory, &progress->steps, 0, vn_trajectory_steps(d->trajectory));
    const vn_status status = invert(d, &d->whole, &progress->steps, err);
    return status ? status : vn_trajectory_begin(d->trajectory, &d->whole, err);
}

vn_status vn_drawing_step(vn_drawing *d, bool *done, vn_err *err) {
    vn_status status = vn_trajectory_step(d->trajectory, done, err);
    if (!status && *done) status = show(d, 0, d->count, &d->rows, err);
    if (!status && *done) {
        vn_observing_compare(d, &d->whole);
        count_passes(d, d->count);
    }
    return status;
}
