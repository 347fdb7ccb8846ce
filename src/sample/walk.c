/* walk.c - from noise to data. Everything around a step: levels, initial noise, memory, progress, cancel, the check that
 * numbers stay finite. In the order of a walk's life: open, begin, step, run, close. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

struct vn_walk {
    const vn_denoiser *denoiser;
    const vn_sampler_row *row;
    vn_choice choice;
    int steps;
    vn_level *level; /* [steps + 1] */
    vn_guidance *guidance;
    uint64_t seed;
    int64_t capacity;
    vn_walk_batch batch;
    vn_step step; /* slots and history */
};

/* ---- open ----------------------------------------------------------------------------------------------- */

static vn_status choose_sampler(vn_walk *w, const char *text, vn_err *err) {
    vn_status s = vn_choice_parse(text, vn_sampler_rows, sizeof *vn_sampler_rows, vn_sampler_row_count, "sampler",
                                  &w->choice, err);
    if (s) return s;
    w->row = &vn_sampler_rows[w->choice.index];
    return w->row->check ? w->row->check(&w->choice, err) : VN_OK;
}

static vn_status choose_levels(vn_walk *w, const vn_walk_options *o, vn_err *err) {
    const vn_path *path = w->denoiser->path;
    if (o->sigmas && o->grid) return vn_fail(err, VN_BAD_ARGUMENT, "a grid has no effect beside a list of sigmas");
    if (!o->sigmas && (o->steps < 1 || o->steps > VN_MAX_STEPS))
        return vn_fail(err, VN_BAD_ARGUMENT, "steps %d is outside [1, %d]", o->steps, VN_MAX_STEPS);
    const size_t count = o->sigmas ? o->sigma_count : (size_t)o->steps + 1;
    w->level = vn_alloc(count, sizeof *w->level);
    if (!w->level) return vn_no_memory(err);
    w->steps = (int)count - 1;
    if (o->sigmas) return vn_sigma_levels(o->sigmas, count, path, w->level, err);
    return vn_grid_levels(o->grid ? o->grid : path->row->grid, path, w->row->spacing, w->steps, w->level, err);
}

static vn_status take_slots(vn_walk *w, vn_err *err) {
    for (int i = 0; i < w->row->slots; i++) {
        w->step.slot[i] = vn_alloc((size_t)w->capacity, (size_t)w->denoiser->size * sizeof(float));
        if (!w->step.slot[i]) return vn_no_memory(err);
    }
    return VN_OK;
}

vn_status vn_walk_open(const vn_walk_options *o, vn_walk **out, vn_err *err) {
    *out = NULL;
    if (o->capacity < 1) return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples", (long long)o->capacity);
    vn_walk *w = vn_calloc(1, sizeof *w);
    if (!w) return vn_no_memory(err);
    w->denoiser = o->denoiser;
    w->seed = o->seed;
    w->capacity = o->capacity;
    vn_status s = choose_sampler(w, o->sampler ? o->sampler : o->denoiser->path->row->sampler, err);
    if (!s) s = choose_levels(w, o, err);
    if (!s) s = vn_guidance_open(o->guide, o->guidance, o->denoiser, o->capacity, &w->guidance, err);
    if (!s) s = take_slots(w, err);
    if (s) vn_walk_close(&w);
    *out = w;
    return s;
}

void vn_walk_close(vn_walk **walk) {
    vn_walk *w = *walk;
    if (!w) return;
    for (int i = 0; i < VN_MAX_SLOTS; i++) vn_free(w->step.slot[i]);
    vn_guidance_close(&w->guidance);
    vn_free(w->level);
    vn_free(w);
    *walk = NULL;
}

int vn_walk_steps(const vn_walk *w) {
    return w->steps;
}

const vn_level *vn_walk_levels(const vn_walk *w) {
    return w->level;
}

int64_t vn_walk_passes(const vn_walk *w) {
    return vn_guidance_passes(w->guidance);
}

/* ---- begin ---------------------------------------------------------------------------------------------- */

static vn_status check_labels(const vn_denoiser *d, const vn_walk_batch *b, vn_err *err) {
    for (int64_t i = 0; i < b->n; i++) {
        int32_t label = b->labels[i];
        if (label == VN_LABEL_NULL && (d->has_null || !d->classes)) continue;
        if (label == VN_LABEL_NULL) return vn_fail(err, VN_BAD_ARGUMENT, "this model does not know the null condition");
        if (label < 0 || label >= d->classes)
            return vn_fail(err, VN_BAD_ARGUMENT, "sample %llu: class %d is none of the model's %d",
                           (unsigned long long)(b->first + (uint64_t)i), label, d->classes);
    }
    return VN_OK;
}

/* The first row that is not finite, or -1. By bits, which compilers vectorise and no option disturbs. */
static int64_t broken_row(int64_t n, int64_t size, const float *x) {
    for (int64_t i = 0; i < n; i++, x += size) {
        uint32_t broken = 0;
        for (int64_t j = 0; j < size; j++) {
            uint32_t bits;
            memcpy(&bits, &x[j], sizeof bits);
            broken |= (bits & 0x7F800000) == 0x7F800000;
        }
        if (broken) return i;
    }
    return -1;
}

vn_status vn_walk_begin(vn_walk *w, const vn_walk_batch *b, vn_err *err) {
    const size_t size = (size_t)w->denoiser->size;
    const float sigma = (float)w->level[0].sigma;
    if (b->n < 1 || b->n > w->capacity)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples, opened for %lld", (long long)b->n,
                       (long long)w->capacity);
    vn_status s = check_labels(w->denoiser, b, err);
    if (s) return s;
    for (size_t i = 0; i < (size_t)b->n; i++) {
        float *x = b->x + i * size;
        if (b->noise)
            memcpy(x, b->noise + i * size, size * sizeof *x);
        else
            vn_random_normal(x, size, w->seed, VN_STREAM_NOISE, b->first + i, 0);
        for (size_t j = 0; j < size; j++) x[j] *= sigma;
    }
    int64_t row = broken_row(b->n, w->denoiser->size, b->x);
    if (row >= 0) return vn_fail(err, VN_BAD_ARGUMENT, "the noise of sample %lld is not finite", (long long)row);
    w->batch = *b;
    w->step.index = 0;
    vn_guidance_begin(w->guidance, b->n, b->first, b->labels);
    return VN_OK;
}

/* ---- step ----------------------------------------------------------------------------------------------- */

vn_status vn_step_predict(vn_step *s, const float *x, const vn_level *level, vn_pair out, vn_err *err) {
    return vn_guidance_predict(s->walk->guidance, x, level, s->index, s->count, out, err);
}

void vn_step_noise(const vn_step *s, int draw, float *out) {
    const uint64_t step = (uint64_t)s->index * 8 + (uint64_t)draw;
    for (int64_t i = 0; i < s->n; i++)
        vn_random_normal(out + i * s->size, (size_t)s->size, s->walk->seed, VN_STREAM_STEP_NOISE,
                         s->walk->batch.first + (uint64_t)i, step);
}

vn_status vn_walk_step(vn_walk *w, bool *done, vn_err *err) {
    vn_step *s = &w->step;
    if (!w->batch.x || s->index >= w->steps) return vn_fail(err, VN_BAD_ARGUMENT, "the walk has not begun, or is done");
    s->choice = &w->choice;
    s->path = w->denoiser->path;
    s->from = &w->level[s->index];
    s->to = s->from + 1;
    s->count = w->steps;
    s->n = w->batch.n;
    s->size = w->denoiser->size;
    s->x = w->batch.x;
    s->walk = w;
    vn_status status = w->row->step(s, err);
    if (status) return status;
    int64_t row = broken_row(s->n, s->size, s->x);
    if (row >= 0)
        return vn_fail(err, VN_NOT_FINITE, "step %d of %d (t = %.4g): sample %llu is not finite", s->index + 1,
                       w->steps, s->from->t, (unsigned long long)(w->batch.first + (uint64_t)row));
    *done = ++s->index == w->steps;
    return VN_OK;
}

/* ---- run ------------------------------------------------------------------------------------------------ */

vn_status vn_walk_run(vn_walk *w, const vn_walk_batch *batch, const vn_watch *watch, int64_t done, int64_t total,
                      vn_err *err) {
    const double begin = vn_now();
    vn_status s = vn_walk_begin(w, batch, err);
    for (int i = 0; i < w->steps && !s; i++) {
        bool last;
        s = vn_walk_step(w, &last, err);
        double rate = (i + 1) / fmax(vn_now() - begin, 1e-9);
        vn_progress p = {.what = "sampling",
                         .unit = "steps",
                         .done = done + i + 1,
                         .total = total,
                         .rate = rate,
                         .seconds_left = (double)(total - done - i - 1) / rate,
                         .loss = (double)NAN};
        if (!s && vn_report(watch, &p)) s = vn_fail(err, VN_CANCELLED, "sampling was cancelled at step %d", i + 1);
    }
    return s;
}
