/* samples.c - what was drawn: kept in memory with the settings it came from, and joined. save.c
 * writes it. */
#include "api/internal.h"

#include <math.h>
#include <string.h>

int64_t vn_samples_count(const vn_samples *s) {
    return s ? s->count : 0;
}

int vn_samples_shape(const vn_samples *s, int64_t shape[3]) {
    for (int i = 0; s && shape && i < s->sample.rank; i++) shape[i] = s->sample.dim[i];
    return s ? s->sample.rank : 0;
}

const float *vn_samples_latents(const vn_samples *s, int64_t shape[3]) {
    for (int i = 0; s && s->latents && shape && i < s->state.rank; i++) shape[i] = s->state.dim[i];
    return s ? s->latents : NULL;
}

const float *vn_samples_data(const vn_samples *s) {
    return s ? s->data : NULL;
}

const int32_t *vn_samples_labels(const vn_samples *s) {
    return s ? s->labels : NULL;
}

const double *vn_samples_guidance(const vn_samples *s) {
    return s ? s->guidance : NULL;
}

const float *vn_samples_trace(const vn_samples *s, int64_t *levels) {
    if (levels) *levels = s ? s->levels : 0;
    return s ? s->trace : NULL;
}

const double *vn_samples_trace_times(const vn_samples *s) {
    return s ? s->trace_t : NULL;
}

int64_t vn_samples_passes(const vn_samples *s) {
    return s ? s->passes : 0;
}

double vn_samples_round_trip(const vn_samples *s) {
    return s ? s->round_trip : (double)NAN;
}

double vn_cache_error_of(double off, double length) {
    return length > 0 ? sqrt(off / length) : (double)NAN;
}

double vn_samples_cache_error(const vn_samples *s) {
    return s ? vn_cache_error_of(s->cache_off, s->cache_length) : (double)NAN;
}

void vn_samples_close(vn_samples **samples) {
    if (!samples || !*samples) return;
    vn_samples *s = *samples;
    for (int32_t i = 0; s->names && i < s->classes; i++) vn_free(s->names[i]);
    vn_free(s->names);
    vn_free(s->data);
    vn_free(s->latents);
    vn_free(s->labels);
    vn_free(s->guidance);
    vn_free(s->trace);
    vn_free(s->trace_t);
    vn_free(s->trained_on);
    vn_world_close(&s->world);
    json_decref(s->settings);
    for (size_t i = 0; i < s->band_count; i++) json_decref(s->bands[i].settings);
    vn_free(s->bands);
    vn_free(s);
    *samples = NULL;
}

/* ---- joining --------------------------------------------------------------------------------- */

/* The distinct values of a setting over the bands, in their order: "1,2,4"; guides, which have
 * commas of their own, "cfg | apg". */
static json_t *list_values(const char *key, const vn_samples_band *bands, size_t count) {
    const char *between = strcmp(key, "guide") == 0 ? " | " : ",";
    json_t *list = NULL;
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(bands[i].settings, key);
        bool known = !value;
        for (size_t k = 0; k < i && !known; k++)
            known = json_equal(json_object_get(bands[k].settings, key), value);
        if (known) continue;
        json_t *longer = list ? json_sprintf("%s%s%s", json_string_value(list), between,
                                             json_string_value(value))
                              : json_incref(value);
        json_decref(list);
        if (!longer) return NULL;
        list = longer;
    }
    return list;
}

/* The settings of all bands as one object, or NULL. */
static json_t *join_settings(const vn_samples_band *bands, size_t count, int64_t samples) {
    json_t *all = json_object();
    for (size_t i = 0; all && i < count; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(bands[i].settings, key, value) {
            if (json_object_get(all, key)) continue;
            json_t *list = strcmp(key, "count") ? list_values(key, bands, count)
                                                : json_sprintf("%lld", (long long)samples);
            if (json_object_set_new(all, key, list) == 0) continue;
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/* The bands of both, those of b moved behind the samples of a; to be freed without their
 * settings. */
static vn_samples_band *join_bands(const vn_samples *a, const vn_samples *b) {
    vn_samples_band *both = vn_alloc(a->band_count + b->band_count, sizeof *both);
    if (!both) return NULL;
    memcpy(both, a->bands, a->band_count * sizeof *both);
    memcpy(both + a->band_count, b->bands, b->band_count * sizeof *both);
    for (size_t i = 0; i < b->band_count; i++) both[a->band_count + i].first += a->count;
    return both;
}

static bool same_levels(const vn_samples *a, const vn_samples *b) {
    if (a->levels != b->levels) return false;
    for (int64_t i = 0; i < a->levels; i++)
        if (a->trace_t[i] != b->trace_t[i]) return false;
    return true;
}

vn_status vn_samples_join(vn_samples *s, const vn_samples *more, vn_err *err) {
    if (!vn_shape_equal(&s->sample, &more->sample) || !vn_shape_equal(&s->state, &more->state))
        return vn_fail(err, VN_BAD_ARGUMENT, "samples of different shapes cannot be joined");
    if (!same_levels(s, more))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "samples with traces of different levels cannot be joined");
    const size_t first = s->band_count, bands = first + more->band_count;
    vn_samples_band *both = join_bands(s, more);
    json_t *settings = both ? join_settings(both, bands, s->count + more->count) : NULL;
    if (!settings) {
        vn_free(both);
        return vn_no_memory(err);
    }
    json_decref(s->settings);
    s->settings = settings;
    vn_free(s->bands);
    s->bands = both;
    s->band_count = bands;
    for (size_t i = first; i < bands; i++) json_incref(both[i].settings);
    s->count += more->count;
    return VN_OK;
}

/* The traces of both, level by level: new array, or NULL. */
static float *join_traces(const vn_samples *a, const vn_samples *b) {
    const size_t n = (size_t)(a->count * a->state_size), m = (size_t)(b->count * b->state_size);
    float *both = vn_alloc((size_t)a->levels, (n + m) * sizeof *both);
    for (size_t i = 0; both && i < (size_t)a->levels; i++) {
        memcpy(both + i * (n + m), a->trace + i * n, n * sizeof *both);
        memcpy(both + i * (n + m) + n, b->trace + i * m, m * sizeof *both);
    }
    return both;
}

vn_status vn_samples_append(vn_samples *s, const vn_samples *more) {
    if (!s || !more) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    const size_t old = (size_t)s->count, added = (size_t)more->count, size = (size_t)s->size;
    const size_t state = s->decoded ? (size_t)s->state_size : 0;
    if (more->size != s->size || more->decoded != s->decoded || more->state_size != s->state_size ||
        !same_levels(s, more))
        return vn_samples_join(s, more, err);
    float *trace = s->trace ? join_traces(s, more) : NULL;
    float *data =
        !trace == !s->trace ? vn_realloc(s->data, old + added, size * sizeof *data) : NULL;
    if (data) s->data = data;
    float *latents =
        data && state ? vn_realloc(s->latents, old + added, state * sizeof *data) : NULL;
    if (latents) s->latents = latents;
    if (state && !latents) data = NULL;
    int32_t *labels = data ? vn_realloc(s->labels, old + added, sizeof *labels) : NULL;
    if (labels) s->labels = labels;
    double *guidance = labels ? vn_realloc(s->guidance, old + added, sizeof *guidance) : NULL;
    if (guidance) s->guidance = guidance;
    const vn_status status = guidance ? vn_samples_join(s, more, err) : vn_no_memory(err);
    if (status) {
        vn_free(trace);
        return status;
    }
    memcpy(s->data + old * size, more->data, added * size * sizeof *data);
    if (state) memcpy(s->latents + old * state, more->latents, added * state * sizeof *data);
    memcpy(s->labels + old, more->labels, added * sizeof *labels);
    memcpy(s->guidance + old, more->guidance, added * sizeof *guidance);
    vn_free(s->trace);
    s->trace = trace;
    if (more->passes > s->passes) s->passes = more->passes;
    s->cache_off += more->cache_off;
    s->cache_length += more->cache_length;
    const double all = (double)(old + added);
    s->round_trip = sqrt((s->round_trip * s->round_trip * (double)old +
                          more->round_trip * more->round_trip * (double)added) /
                         all);
    return VN_OK;
}
