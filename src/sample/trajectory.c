/* trajectory.c - from noise to data. Everything around a step: levels, initial noise, memory,
 * progress, cancel, the check that numbers stay finite. In the order of a sampling run's life:
 * open, begin, step, run, close. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

struct vn_trajectory {
    const vn_denoiser *denoiser;
    const vn_sampler_row *row;
    vn_choice choice;
    vn_route route;
    vn_guidance *guidance;
    vn_first_noise begin;
    uint64_t seed;
    int64_t capacity;
    vn_trajectory_batch batch;
    vn_step step;      /* slots and history */
    int round;         /* how often it has gone back to more noise */
    int64_t *ancestor; /* [capacity] */
    float *spare;      /* [capacity,size] */
    /* who hears of progress (NULL: nobody), and what is counted */
    const vn_watch *watch;
    int64_t done, total; /* steps before this batch, and in all */
    double began;
};

/* ---- open ------------------------------------------------------------------------------------ */

static vn_status choose_sampler(vn_trajectory *w, const vn_table *table, const char *text,
                                vn_err *err) {
    vn_status status = vn_choice_parse(text, table ? table : &vn_samplers, &w->choice, err);
    if (status) return status;
    w->row = (const vn_sampler_row *)w->choice.row;
    return w->row->check ? w->row->check(&w->choice, w->denoiser, err) : VN_OK;
}

static vn_status choose_levels(vn_trajectory *w, const vn_trajectory_options *o, vn_err *err) {
    const vn_path *path = w->denoiser->path;
    if (o->sigmas && o->grid)
        return vn_fail(err, VN_BAD_ARGUMENT, "a grid has no effect beside a list of sigmas");
    if (!o->sigmas && (o->steps < 1 || o->steps > VN_MAX_STEPS))
        return vn_fail(err, VN_BAD_ARGUMENT, "steps %d is outside [1, %d]", o->steps, VN_MAX_STEPS);
    const size_t count = o->sigmas ? o->sigma_count : (size_t)o->steps + 1;
    vn_route *r = &w->route;
    r->path = path;
    r->steps = (int)count - 1;
    r->level = vn_alloc(count, sizeof *r->level);
    if (!r->level) return vn_no_memory(err);
    if (o->sigmas) return vn_sigma_levels(o->sigmas, count, path, w->row->spacing, r->level, err);
    return vn_grid_levels_of(o->grid ? o->grid : path->row->grid, w->denoiser->tokens, path,
                             w->row->spacing, r->steps, r->level, err);
}

static vn_status choose_guides(vn_trajectory *w, const vn_trajectory_options *o, vn_err *err) {
    const vn_guidance_options options = {.table = o->guides,
                                         .guide = o->guide,
                                         .gamma = o->guidance,
                                         .seed = o->seed,
                                         .denoiser = o->denoiser,
                                         .reward = o->reward,
                                         .capacity = o->capacity};
    const unsigned abilities = w->row->abilities | (w->row->route ? 0 : VN_NEEDS_ROUTE);
    vn_status status = vn_guidance_open(&options, &w->guidance, err);
    if (!status) status = vn_guidance_check_sampler(w->guidance, w->row->row.name, abilities, err);
    if (!status && w->row->route) status = w->row->route(&w->choice, &w->route, err);
    if (!status) status = vn_guidance_route(w->guidance, &w->route, err);
    if (!status && w->route.steps > VN_MAX_STEPS)
        status = vn_fail(err, VN_BAD_ARGUMENT, "%d steps with the ways back are more than %d",
                         w->route.steps, VN_MAX_STEPS);
    return status;
}

static vn_status take_memory(vn_trajectory *w, vn_err *err) {
    const size_t rows = (size_t)w->capacity, row = (size_t)w->denoiser->size * sizeof(float);
    for (int i = 0; i < w->row->slots; i++)
        if (!(w->step.slot[i] = vn_alloc(rows, row))) return vn_no_memory(err);
    if (w->row->work) {
        w->step.work = vn_alloc((size_t)w->row->work * (size_t)w->denoiser->size, sizeof(double));
        if (!w->step.work) return vn_no_memory(err);
    }
    w->ancestor = vn_alloc(rows, sizeof *w->ancestor);
    w->spare = vn_alloc(rows, row);
    return w->ancestor && w->spare ? VN_OK : vn_no_memory(err);
}

vn_status vn_trajectory_open(const vn_trajectory_options *o, vn_trajectory **out, vn_err *err) {
    *out = NULL;
    if (o->capacity < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples", (long long)o->capacity);
    vn_trajectory *w = vn_calloc(1, sizeof *w);
    if (!w) return vn_no_memory(err);
    w->denoiser = o->denoiser;
    w->begin = o->begin;
    w->seed = o->seed;
    w->capacity = o->capacity;
    vn_status status = choose_sampler(
        w, o->samplers, o->sampler ? o->sampler : o->denoiser->path->row->sampler, err);
    if (!status) status = choose_levels(w, o, err);
    if (!status) status = choose_guides(w, o, err);
    if (!status) status = take_memory(w, err);
    if (status) vn_trajectory_close(&w);
    *out = w;
    return status;
}

void vn_trajectory_close(vn_trajectory **trajectory) {
    vn_trajectory *w = *trajectory;
    if (!w) return;
    for (int i = 0; i < VN_MAX_SLOTS; i++) vn_free(w->step.slot[i]);
    vn_free(w->step.work);
    vn_guidance_close(&w->guidance);
    vn_free(w->route.level);
    vn_free(w->ancestor);
    vn_free(w->spare);
    vn_free(w);
    *trajectory = NULL;
}

int vn_trajectory_steps(const vn_trajectory *w) {
    return w->route.steps;
}

const vn_level *vn_trajectory_levels(const vn_trajectory *w) {
    return w->route.level;
}

int64_t vn_trajectory_passes(const vn_trajectory *w) {
    return (int64_t)ceil(vn_guidance_passes(w->guidance));
}

/* ---- begin ----------------------------------------------------------------------------------- */

static vn_status check_labels(const vn_denoiser *d, const vn_trajectory_batch *b, vn_err *err) {
    for (int64_t i = 0; i < b->n; i++) {
        const vn_condition c = b->condition[i];
        if (vn_conditions_hold(&d->conditions, c)) continue;
        if (c == VN_CONDITION_NULL)
            return vn_fail(err, VN_BAD_ARGUMENT, "this model has no null condition");
        return vn_fail(err, VN_BAD_ARGUMENT, "sample %llu: condition %d is none of the model's %d",
                       (unsigned long long)(b->first + (uint64_t)i), c,
                       vn_conditions_count(&d->conditions));
    }
    return VN_OK;
}

/* The first row that is not finite, or -1. It looks at bits: compilers vectorise that, and no
 * option such as -ffast-math changes it. */
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

/* Copies the state at level `index` to the trace, if one is wanted. */
static void keep_trace(const vn_trajectory_batch *b, int64_t size, int64_t index) {
    if (b->trace)
        memcpy(b->trace + index * b->trace_stride, b->x, (size_t)(b->n * size) * sizeof *b->x);
}

/* The factor of noise of unit variance at the first level. */
static double first_deviation(const vn_trajectory *w) {
    const vn_level *first = &w->route.level[0];
    if (w->begin == VN_FIRST_SCALED) return first->sigma;
    return w->denoiser->path->row->straight ? 1 : hypot(first->alpha, first->sigma);
}

vn_status vn_trajectory_begin(vn_trajectory *w, const vn_trajectory_batch *b, vn_err *err) {
    const size_t size = (size_t)w->denoiser->size;
    const float sigma = (float)first_deviation(w);
    if (b->n < 1 || b->n > w->capacity)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples, opened for %lld",
                       (long long)b->n, (long long)w->capacity);
    vn_status status = check_labels(w->denoiser, b, err);
    if (status) return status;
    for (size_t i = 0; i < (size_t)b->n; i++) {
        float *x = b->x + i * size;
        if (b->noise)
            memcpy(x, b->noise + i * size, size * sizeof *x);
        else
            vn_random_normal(x, size, w->seed, VN_STREAM_NOISE, b->first + i, 0);
        for (size_t j = 0; j < size; j++) x[j] *= sigma;
    }
    int64_t row = broken_row(b->n, w->denoiser->size, b->x);
    if (row >= 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "the noise of sample %lld is not finite",
                       (long long)row);
    keep_trace(b, w->denoiser->size, 0);
    w->batch = *b;
    w->step.index = w->step.history = w->round = 0;
    vn_guidance_begin(w->guidance, b->n, b->first, b->condition);
    return VN_OK;
}

/* ---- progress -------------------------------------------------------------------------------- */

void vn_trajectory_watch(vn_trajectory *w, const vn_watch *watch, int64_t done, int64_t total) {
    w->watch = watch;
    w->done = done;
    w->total = total;
    w->began = vn_now();
}

/* Reports progress in steps; VN_CANCELLED if the caller asks to stop. */
static vn_status report(const vn_trajectory *w, double made, vn_err *err) {
    const double rate = made / fmax(vn_now() - w->began, 1e-9);
    const vn_progress p = {.what = "sampling",
                           .unit = "steps",
                           .done = w->done + (int64_t)made,
                           .total = w->total,
                           .rate = rate,
                           .seconds_left = ((double)(w->total - w->done) - made) / rate,
                           .loss = (double)NAN};
    return vn_report(w->watch, &p)
               ? vn_fail(err, VN_CANCELLED, "sampling was cancelled at step %g", ceil(made))
               : VN_OK;
}

vn_status vn_step_made(const vn_step *s, double part, vn_err *err) {
    return report(s->trajectory, s->index + part, err);
}

/* ---- step ------------------------------------------------------------------------------------ */

vn_status vn_step_ask(vn_step *s, const vn_ask *ask, vn_estimate out, vn_err *err) {
    return vn_guidance_predict(s->trajectory->guidance, ask, out, err);
}

vn_status vn_step_predict(vn_step *s, const float *x, const vn_level *level, vn_estimate out,
                          vn_err *err) {
    return vn_step_ask(s, &(vn_ask){.x = x, .level = level}, out, err);
}

bool vn_step_is_exact(const vn_step *s) {
    return vn_guidance_is_exact(s->trajectory->guidance);
}

vn_status vn_step_ask_exact(vn_step *s, const vn_ask_exact *ask, double *x0, double *eps,
                            vn_err *err) {
    return vn_guidance_predict_exact(s->trajectory->guidance, ask, x0, eps, err);
}

static void noise(const vn_step *s, int draw, float *out) {
    const uint64_t key = (uint64_t)s->index * (VN_MAX_DRAWS + 1) + (uint64_t)draw;
    for (int64_t i = 0; i < s->n; i++)
        vn_random_normal(out + i * s->size, (size_t)s->size, s->trajectory->seed,
                         VN_STREAM_STEP_NOISE, s->trajectory->batch.first + (uint64_t)i, key);
}

void vn_step_noise(const vn_step *s, int draw, float *out) {
    noise(s, draw, out);
}

/* Goes back to more noise: renoises x from the level `from` to `to` by the forward process. */
static void go_back(vn_trajectory *w) {
    vn_step *s = &w->step;
    const double a = s->to->alpha / s->from->alpha, kept = a * s->from->sigma;
    const float keep = (float)a,
                add = (float)sqrt(fmax(s->to->sigma * s->to->sigma - kept * kept, 0));
    noise(s, VN_MAX_DRAWS, w->spare);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++)
        s->x[i] = keep * s->x[i] + add * w->spare[i];
    s->history = -1; /* becomes 0 in the step that follows */
    w->round++;
}

static void gather(vn_trajectory *w, float *rows) {
    const size_t n = (size_t)w->step.n, size = (size_t)w->step.size;
    memcpy(w->spare, rows, n * size * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * size, w->spare + (size_t)w->ancestor[i] * size, size * sizeof *rows);
}

/* Lets guides resample, and moves what the sampler keeps of each sample. */
static vn_status select_samples(vn_trajectory *w, vn_err *err) {
    bool moved;
    vn_status status = vn_guidance_select(w->guidance, w->step.x, w->ancestor, &moved, err);
    if (status || !moved) return status;
    gather(w, w->step.x);
    for (int i = 0; i < w->row->slots; i++) gather(w, w->step.slot[i]);
    return VN_OK;
}

static vn_status make_step(vn_trajectory *w, vn_err *err) {
    vn_step *s = &w->step;
    vn_guidance_step(w->guidance, s->index, s->count, w->round, s->to);
    vn_status status = w->row->step(s, err);
    return status ? status : select_samples(w, err);
}

vn_status vn_trajectory_step(vn_trajectory *w, bool *done, vn_err *err) {
    vn_step *s = &w->step;
    if (!w->batch.x || s->index >= w->route.steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "the sampling run has not begun, or is done");
    s->choice = &w->choice;
    s->path = w->denoiser->path;
    s->from = &w->route.level[s->index];
    s->to = s->from + 1;
    s->count = w->route.steps;
    s->n = w->batch.n;
    s->size = w->denoiser->size;
    s->learns_variance = (w->denoiser->can & VN_CAN_VARIANCE);
    s->first = w->batch.first;
    s->x = w->batch.x;
    s->trajectory = w;
    const bool back = vn_level_ratio(s->to) > vn_level_ratio(s->from);
    if (back) go_back(w);
    vn_status status = back ? VN_OK : make_step(w, err);
    if (status) {
        if (status != VN_CANCELLED) vn_fail_in(err, "step %d of %d", s->index + 1, s->count);
        return status;
    }
    int64_t row = broken_row(s->n, s->size, s->x);
    if (row >= 0)
        return vn_fail(err, VN_NOT_FINITE, "step %d of %d (t = %.4g): sample %llu is not finite",
                       s->index + 1, s->count, s->from->t,
                       (unsigned long long)(w->batch.first + (uint64_t)row));
    s->history++;
    *done = ++s->index == s->count;
    keep_trace(&w->batch, s->size, s->index);
    return report(w, s->index, err);
}

/* ---- run ------------------------------------------------------------------------------------- */

vn_status vn_trajectory_run(vn_trajectory *w, const vn_trajectory_batch *batch,
                            const vn_watch *watch, int64_t done, int64_t total, vn_err *err) {
    vn_trajectory_watch(w, watch, done, total);
    vn_status status = vn_trajectory_begin(w, batch, err);
    for (bool last = false; !last && !status;) status = vn_trajectory_step(w, &last, err);
    w->watch = NULL;
    return status;
}
