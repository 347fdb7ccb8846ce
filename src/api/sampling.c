/* sampling.c - samples into memory: vn_sample draws all at once, a vn_sampling step by step as its
 * caller drives it. Both give the same bits. */
#include "api/internal.h"

#include <string.h>

/* What both begin with: a drawing, and memory for all that it gives. Stays where it is opened. */
struct vn_sampling {
    vn_context *vn;
    vn_drawing drawing;
    vn_samples *samples; /* NULL: the caller has them */
    vn_drawn_rows rows;  /* of them */
    vn_draw_progress progress;
    int64_t steps, made;
    bool failed; /* in a step: the state is between two levels */
};

static vn_status take_memory(const vn_drawing *d, vn_samples *s, vn_err *err) {
    const size_t row = (size_t)s->size * sizeof(float),
                 state = (size_t)s->state_size * sizeof(float);
    size_t rows = 0;
    s->data = vn_alloc((size_t)s->count, row);
    s->latents = s->decoded ? vn_alloc((size_t)s->count, state) : NULL;
    s->labels = vn_alloc((size_t)s->count, sizeof *s->labels);
    s->guidance = vn_alloc((size_t)s->count, sizeof *s->guidance);
    if (s->levels && !vn_mul_overflows((size_t)s->levels, (size_t)s->count, &rows))
        s->trace = vn_alloc(rows, state);
    if (!s->data || !s->labels || !s->guidance || (s->levels && !s->trace) ||
        (s->decoded && !s->latents))
        return vn_no_memory(err);
    for (int64_t i = 0; i < s->count; i++) s->guidance[i] = d->o.guidance;
    return VN_OK;
}

static vn_status open_sampling(vn_sampling *s, vn_model *m, const vn_sample_options *options,
                               bool together, vn_err *err) {
    vn_sample_options o = vn_sample_options_default();
    s->vn = m->vn;
    s->samples = vn_calloc(1, sizeof *s->samples);
    if (!s->samples) return vn_no_memory(err);
    vn_status status = vn_struct_take(&o, sizeof o, options, "vn_sample_options", err);
    if (!status) status = vn_drawing_open(&s->drawing, m, &o, together, err);
    if (!status) status = vn_drawing_describe(&s->drawing, s->samples, err);
    if (!status) status = take_memory(&s->drawing, s->samples, err);
    if (status) return status;
    s->rows = (vn_drawn_rows){s->samples->data, s->samples->labels, s->samples->trace,
                              s->samples->latents};
    s->progress = (vn_draw_progress){.watch = &m->vn->watch, .total = s->samples->count};
    return VN_OK;
}

static void close_sampling(vn_sampling *s) {
    vn_drawing_close(&s->drawing);
    vn_samples_close(&s->samples);
}

static vn_samples *give_samples(vn_sampling *s) {
    vn_samples *out = s->samples;
    out->passes = s->drawing.passes;
    out->cache_off = s->drawing.cache_off;
    out->cache_length = s->drawing.cache_length;
    out->round_trip = vn_observing_round_trip(&s->drawing);
    s->samples = NULL;
    return out;
}

/* ---- all at once ----------------------------------------------------------------------------- */

vn_status vn_sample(vn_model *m, const vn_sample_options *options, vn_samples **out) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!out) return vn_end(m->vn, vn_fail(err, VN_BAD_ARGUMENT, "vn_sample: out is needed"));
    *out = NULL;
    vn_sampling s = {0};
    vn_status status = open_sampling(&s, m, options, false, err);
    if (!status)
        status = vn_drawing_rows(&s.drawing, 0, s.samples->count, &s.rows, &s.progress, err);
    if (!status) *out = give_samples(&s);
    close_sampling(&s);
    return vn_end(m->vn, status);
}

/* ---- step by step ---------------------------------------------------------------------------- */

/* While it is open the denoisers are its own: another call could close them for another path. */
static void hold(vn_sampling *s, bool held) {
    s->drawing.m->held = held;
    if (s->drawing.o.weak) s->drawing.o.weak->held = held;
    if (s->drawing.o.classifier) s->drawing.o.classifier->held = held;
}

vn_status vn_sampling_open(vn_model *m, const vn_sample_options *options, vn_sampling **out) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!out) return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_open: out is needed");
    *out = NULL;
    vn_sampling *s = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    vn_status status = open_sampling(s, m, options, true, err);
    if (!status) status = vn_drawing_begin(&s->drawing, &s->rows, &s->progress, err);
    if (status) {
        close_sampling(s);
        vn_free(s);
        return status;
    }
    s->steps = vn_trajectory_steps(s->drawing.trajectory);
    hold(s, true);
    *out = s;
    return VN_OK;
}

static vn_status check_step(const vn_sampling *s, vn_err *err) {
    if (s->failed)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_step: step %lld of %lld failed before",
                       (long long)s->made + 1, (long long)s->steps);
    if (s->made == s->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_step: all %lld steps were made",
                       (long long)s->steps);
    return VN_OK;
}

vn_status vn_sampling_step(vn_sampling *s, int *done) {
    if (!s) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    bool last = false;
    vn_status status = check_step(s, err);
    if (!status) {
        status = vn_drawing_step(&s->drawing, &last, err);
        s->failed = status != VN_OK;
        s->made += !status;
    }
    if (done) *done = last;
    /* what came too late for this step is for the next, if there is one */
    return last ? vn_end(s->vn, status) : vn_end_reading(s->vn, status);
}

void vn_sampling_state_init(vn_sampling_state *o, size_t size) {
    static const vn_sampling_state initial = {0};
    vn_struct_init(o, size, &initial, sizeof initial);
}

vn_status vn_sampling_get_state(vn_sampling *s, vn_sampling_state *state) {
    if (!s) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    if (!state) return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_get_state: state is needed");
    const vn_level *level = &vn_trajectory_levels(s->drawing.trajectory)[s->made];
    const vn_sampling_state known = {.count = s->drawing.count,
                                     .x = s->rows.latents ? s->rows.latents : s->rows.data,
                                     .labels = s->rows.labels,
                                     .step = s->made,
                                     .steps = s->steps,
                                     .t = level->t,
                                     .alpha = level->alpha,
                                     .sigma = level->sigma};
    const vn_status status = vn_struct_check(state, "vn_sampling_state", err);
    if (!status) vn_struct_give(state, &known, sizeof known);
    return status;
}

vn_status vn_sampling_samples(vn_sampling *s, vn_samples **out) {
    if (!s) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(s->vn);
    if (!out) return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_samples: out is needed");
    *out = NULL;
    if (!s->samples)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_samples: they were given out before");
    if (s->made < s->steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_sampling_samples: %lld of %lld steps were made",
                       (long long)s->made, (long long)s->steps);
    *out = give_samples(s);
    s->rows = (vn_drawn_rows){0};
    return VN_OK;
}

void vn_sampling_close(vn_sampling **sampling) {
    if (!sampling || !*sampling) return;
    vn_sampling *s = *sampling;
    hold(s, false);
    close_sampling(s);
    vn_free(s);
    *sampling = NULL;
}
