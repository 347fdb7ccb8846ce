/* trajectory.c - the sampling run: it moves a batch from noise to data by a sampler's steps, and
 * does all that is not the step itself: levels, initial noise, memory, progress, cancel, the check
 * that numbers stay finite. The file is in the order of a run's life: open, begin, step, run; the
 * way back from data to noise is invert.c. */
#include "sample/trajectory.h"

#include <math.h>
#include <string.h>

/* ---- open ------------------------------------------------------------------------------------ */

static vn_status choose_sampler(vn_trajectory *trajectory, const vn_table *table, const char *text,
                                vn_err *err) {
    vn_status status =
        vn_choice_parse(text, table ? table : &vn_samplers, &trajectory->choice, err);
    if (status) return status;
    trajectory->row = (const vn_sampler_row *)trajectory->choice.row;
    if ((trajectory->denoiser->can & VN_X0_IS_SAMPLE) && !trajectory->row->jumps)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the sampler %s is not for a consistency model, whose x0 is a sample and no "
                       "mean: consistency, lcm, scm and tcd are",
                       trajectory->row->row.name);
    return trajectory->row->check
               ? trajectory->row->check(&trajectory->choice, trajectory->denoiser, err)
               : VN_OK;
}

static vn_status choose_levels(vn_trajectory *trajectory, const vn_trajectory_options *o,
                               vn_err *err) {
    const vn_path *path = trajectory->denoiser->path;
    if (o->sigmas && o->grid)
        return vn_fail(err, VN_BAD_ARGUMENT, "a grid has no effect beside a list of sigmas");
    if (!o->sigmas && (o->steps < 1 || o->steps > VN_MAX_STEPS))
        return vn_fail(err, VN_BAD_ARGUMENT, "steps %d is outside [1, %d]", o->steps, VN_MAX_STEPS);
    const size_t count = o->sigmas ? o->sigma_count : (size_t)o->steps + 1;
    vn_route *r = &trajectory->route;
    r->path = path;
    r->steps = (int)count - 1;
    r->level = vn_alloc(count, sizeof *r->level);
    if (!r->level) return vn_no_memory(err);
    const vn_spacing spacing = trajectory->row->spacing;
    const vn_status status =
        o->sigmas
            ? vn_sigma_levels(o->sigmas, count, path, spacing, r->level, err)
            : vn_grid_levels_of(o->grid ? o->grid : path->row->grid, trajectory->denoiser->tokens,
                                path, spacing, r->steps, r->level, err);
    if (!status && o->strength > 0) vn_route_begin_at(r, o->strength);
    return status;
}

static vn_status choose_guides(vn_trajectory *trajectory, const vn_trajectory_options *o,
                               vn_err *err) {
    const vn_guidance_options options = {.table = o->guides,
                                         .guide = o->guide,
                                         .gamma = o->guidance,
                                         .seed = o->seed,
                                         .denoiser = o->denoiser,
                                         .reward = o->reward,
                                         .cache = o->cache,
                                         .capacity = o->capacity,
                                         .none = o->none};
    const vn_between *between = o->between && o->between->route ? o->between : NULL;
    const unsigned abilities = trajectory->row->abilities | VN_NEEDS_STEPS |
                               (trajectory->row->route || between ? 0 : VN_NEEDS_ROUTE);
    vn_status status = vn_guidance_open(&options, &trajectory->guidance, err);
    if (!status)
        status = vn_guidance_check_sampler(trajectory->guidance, trajectory->row->row.name,
                                           abilities, err);
    if (!status && trajectory->row->route)
        status = trajectory->row->route(&trajectory->choice, &trajectory->route, err);
    if (!status) status = vn_guidance_route(trajectory->guidance, &trajectory->route, err);
    if (!status && between && trajectory->row->route)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "the sampler %s returns to more noise at levels of its own",
                         trajectory->row->row.name);
    if (!status && between) status = between->route(between->self, &trajectory->route, err);
    if (!status && trajectory->route.steps > VN_MAX_STEPS)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%d steps, returns to more noise included, are more than %d",
                         trajectory->route.steps, VN_MAX_STEPS);
    if (!status) vn_guidance_set_levels(trajectory->guidance, trajectory->route.level);
    return status;
}

static vn_status take_memory(vn_trajectory *trajectory, vn_err *err) {
    const size_t rows = (size_t)trajectory->capacity,
                 row = (size_t)trajectory->denoiser->size * sizeof(float);
    for (int i = 0; i < trajectory->row->slots; i++)
        if (!(trajectory->step.slot[i] = vn_alloc(rows, row))) return vn_no_memory(err);
    if (trajectory->row->work) {
        trajectory->step.work = vn_alloc(
            (size_t)trajectory->row->work * (size_t)trajectory->denoiser->size, sizeof(double));
        if (!trajectory->step.work) return vn_no_memory(err);
    }
    trajectory->ancestor = vn_alloc(rows, sizeof *trajectory->ancestor);
    trajectory->spare = vn_alloc(rows, row);
    return trajectory->ancestor && trajectory->spare ? VN_OK : vn_no_memory(err);
}

vn_status vn_trajectory_open(const vn_trajectory_options *o, vn_trajectory **out, vn_err *err) {
    *out = NULL;
    if (o->capacity < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples", (long long)o->capacity);
    vn_trajectory *trajectory = vn_calloc(1, sizeof *trajectory);
    if (!trajectory) return vn_no_memory(err);
    trajectory->denoiser = o->denoiser;
    trajectory->between = o->between;
    trajectory->begin = o->begin;
    trajectory->seed = o->seed;
    trajectory->capacity = o->capacity;
    vn_status status = choose_sampler(
        trajectory, o->samplers,
        o->sampler ? o->sampler : vn_sampler_usual(o->denoiser->path, o->guide), err);
    if (!status) status = choose_levels(trajectory, o, err);
    if (!status) status = choose_guides(trajectory, o, err);
    if (!status) status = take_memory(trajectory, err);
    if (status) vn_trajectory_close(&trajectory);
    *out = trajectory;
    return status;
}

void vn_trajectory_close(vn_trajectory **closed) {
    vn_trajectory *trajectory = *closed;
    if (!trajectory) return;
    for (int i = 0; i < VN_MAX_SLOTS; i++) vn_free(trajectory->step.slot[i]);
    vn_free(trajectory->step.work);
    vn_guidance_close(&trajectory->guidance);
    vn_free(trajectory->route.level);
    vn_free(trajectory->ancestor);
    vn_free(trajectory->spare);
    vn_free(trajectory);
    *closed = NULL;
}

int vn_trajectory_steps(const vn_trajectory *trajectory) {
    return trajectory->route.steps;
}

const vn_level *vn_trajectory_levels(const vn_trajectory *trajectory) {
    return trajectory->route.level;
}

void vn_trajectory_cache_error(const vn_trajectory *trajectory, double *off, double *length) {
    vn_guidance_cache_error(trajectory->guidance, off, length);
}

int64_t vn_trajectory_passes(const vn_trajectory *trajectory) {
    return (int64_t)ceil(vn_guidance_passes(trajectory->guidance) + trajectory->inverted);
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

/* Copies the state at level `index` to the trace, if one is wanted. */
static void keep_trace(const vn_trajectory_batch *b, int64_t size, int64_t index) {
    if (b->trace)
        memcpy(b->trace + index * b->trace_stride, b->x, (size_t)(b->n * size) * sizeof *b->x);
}

/* The deviation of the state at the first level. */
static double first_deviation(const vn_trajectory *trajectory) {
    const vn_level *first = &trajectory->route.level[0];
    if (trajectory->begin == VN_FIRST_SCALED) return first->sigma;
    return trajectory->denoiser->path->row->straight_k ? 1 : hypot(first->alpha, first->sigma);
}

/* x at the first level: noise, of the batch or by index, and the init's part. */
static void fill_state(const vn_trajectory *trajectory, const vn_trajectory_batch *b) {
    const size_t size = (size_t)trajectory->denoiser->size;
    const float alpha = (float)trajectory->route.level[0].alpha,
                sigma = (float)(b->init ? trajectory->route.level[0].sigma
                                        : first_deviation(trajectory));
    for (size_t i = 0; i < (size_t)b->n; i++) {
        float *x = b->x + i * size;
        if (b->noise)
            memcpy(x, b->noise + i * size, size * sizeof *x);
        else
            vn_random_normal(x, size, trajectory->seed, VN_STREAM_NOISE, b->first + i, 0);
        for (size_t j = 0; j < size; j++) x[j] *= sigma;
        for (size_t j = 0; b->init && j < size; j++) x[j] += alpha * b->init[i * size + j];
    }
}

vn_status vn_trajectory_check(const vn_trajectory *trajectory, const vn_trajectory_batch *b,
                              vn_err *err) {
    if (b->n < 1 || b->n > trajectory->capacity)
        return vn_fail(err, VN_BAD_ARGUMENT, "a batch of %lld samples, opened for %lld",
                       (long long)b->n, (long long)trajectory->capacity);
    return check_labels(trajectory->denoiser, b, err);
}

vn_status vn_trajectory_begin(vn_trajectory *trajectory, const vn_trajectory_batch *b,
                              vn_err *err) {
    const vn_status status = vn_trajectory_check(trajectory, b, err);
    if (status) return status;
    if (!b->begun) {
        fill_state(trajectory, b);
        trajectory->inverted = 0;
    }
    int64_t row = vn_row_not_finite(b->n, trajectory->denoiser->size, b->x);
    if (row >= 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "the noise of sample %lld is not finite",
                       (long long)row);
    keep_trace(b, trajectory->denoiser->size, 0);
    trajectory->batch = *b;
    trajectory->step.index = trajectory->step.history = trajectory->restarts = 0;
    vn_guidance_begin(trajectory->guidance, b->n, b->first, b->condition);
    return trajectory->between && trajectory->between->begin
               ? trajectory->between->begin(trajectory->between->self, b->n, b->first, err)
               : VN_OK;
}

/* ---- progress -------------------------------------------------------------------------------- */

void vn_trajectory_watch(vn_trajectory *trajectory, const vn_watch *watch, int64_t done,
                         int64_t total) {
    trajectory->watch = watch;
    trajectory->done = done;
    trajectory->total = total;
    trajectory->began = vn_now();
}

/* Reports progress in steps; VN_CANCELLED if the caller asks to stop. */
static vn_status report(const vn_trajectory *trajectory, double made, vn_err *err) {
    const double rate = made / fmax(vn_now() - trajectory->began, 1e-9);
    const vn_progress p = {.what = "sampling",
                           .unit = "steps",
                           .done = trajectory->done + (int64_t)made,
                           .total = trajectory->total,
                           .rate = rate,
                           .seconds_left =
                               ((double)(trajectory->total - trajectory->done) - made) / rate,
                           .loss = (double)NAN};
    return vn_report(trajectory->watch, &p)
               ? vn_fail(err, VN_CANCELLED, "sampling was cancelled at step %g", ceil(made))
               : VN_OK;
}

vn_status vn_step_progress(const vn_step *s, double part, vn_err *err) {
    return report(s->trajectory, s->index + part, err);
}

/* ---- step ------------------------------------------------------------------------------------ */

vn_status vn_step_predict_request(vn_step *s, const vn_request *request, vn_estimate out,
                                  vn_err *err) {
    return vn_guidance_predict(s->trajectory->guidance, request, out, err);
}

vn_status vn_step_predict(vn_step *s, const float *x, const vn_level *level, vn_estimate out,
                          vn_err *err) {
    return vn_step_predict_request(s, &(vn_request){.x = x, .level = level}, out, err);
}

bool vn_step_is_exact(const vn_step *s) {
    return vn_guidance_is_exact(s->trajectory->guidance);
}

vn_status vn_step_predict_exact(vn_step *s, const vn_request_exact *request, double *x0,
                                double *eps, vn_err *err) {
    return vn_guidance_predict_exact(s->trajectory->guidance, request, x0, eps, err);
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

/* Goes back to more noise: adds noise to x by the forward process, from s->from to s->to. */
static void go_back(vn_trajectory *trajectory) {
    vn_step *s = &trajectory->step;
    const float keep = (float)(s->to->alpha / s->from->alpha),
                add = (float)sqrt(vn_step_variance(s->to, s->from));
    noise(s, VN_MAX_DRAWS, trajectory->spare);
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++)
        s->x[i] = keep * s->x[i] + add * trajectory->spare[i];
    s->history = -1; /* becomes 0 in the step that follows */
    trajectory->restarts++;
}

static void gather(vn_trajectory *trajectory, float *rows) {
    const size_t n = (size_t)trajectory->step.n, size = (size_t)trajectory->step.size;
    memcpy(trajectory->spare, rows, n * size * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * size, trajectory->spare + (size_t)trajectory->ancestor[i] * size,
               size * sizeof *rows);
}

/* Moves samples, and what the sampler keeps of each, to where their ancestors say. */
static void gather_all(vn_trajectory *trajectory) {
    gather(trajectory, trajectory->step.x);
    for (int i = 0; i < trajectory->row->slots; i++) gather(trajectory, trajectory->step.slot[i]);
}

/* Lets guides resample. */
static vn_status select_samples(vn_trajectory *trajectory, vn_err *err) {
    bool moved;
    vn_status status = vn_guidance_select(trajectory->guidance, trajectory->step.x,
                                          trajectory->ancestor, &moved, err);
    if (!status && moved) gather_all(trajectory);
    return status;
}

/* Lets what acts between steps do so. */
static vn_status act_between(vn_trajectory *trajectory, vn_err *err) {
    vn_step *s = &trajectory->step;
    bool moved = false;
    if (!trajectory->between || !trajectory->between->after) return VN_OK;
    for (int64_t i = 0; i < s->n; i++) trajectory->ancestor[i] = i;
    vn_status status = trajectory->between->after(
        trajectory->between->self, s, trajectory->batch.condition, trajectory->ancestor, err);
    for (int64_t i = 0; i < s->n; i++) moved |= trajectory->ancestor[i] != i;
    if (status || !moved) return status;
    vn_guidance_move(trajectory->guidance, trajectory->ancestor);
    gather_all(trajectory);
    return VN_OK;
}

static vn_status make_step(vn_trajectory *trajectory, vn_err *err) {
    vn_step *s = &trajectory->step;
    vn_guidance_step(trajectory->guidance, s->index, s->count, trajectory->restarts, s->to);
    vn_status status = trajectory->row->step(s, err);
    if (!status) status = select_samples(trajectory, err);
    return status ? status : act_between(trajectory, err);
}

vn_status vn_trajectory_step(vn_trajectory *trajectory, bool *done, vn_err *err) {
    vn_step *s = &trajectory->step;
    if (!trajectory->batch.x || s->index >= trajectory->route.steps)
        return vn_fail(err, VN_BAD_ARGUMENT, "the sampling run has not begun, or is done");
    s->choice = &trajectory->choice;
    s->path = trajectory->denoiser->path;
    s->from = &trajectory->route.level[s->index];
    s->to = s->from + 1;
    s->count = trajectory->route.steps;
    s->n = trajectory->batch.n;
    s->size = trajectory->denoiser->size;
    s->learns_variance = (trajectory->denoiser->can & VN_CAN_VARIANCE);
    s->first = trajectory->batch.first;
    s->x = trajectory->batch.x;
    s->trajectory = trajectory;
    const bool back = vn_level_ratio(s->to) > vn_level_ratio(s->from);
    if (back) go_back(trajectory);
    vn_status status = back ? VN_OK : make_step(trajectory, err);
    if (status) {
        if (status != VN_CANCELLED) vn_fail_in(err, "step %d of %d", s->index + 1, s->count);
        return status;
    }
    int64_t row = vn_row_not_finite(s->n, s->size, s->x);
    if (row >= 0)
        return vn_fail(err, VN_NOT_FINITE, "step %d of %d (t = %.4g): sample %llu is not finite",
                       s->index + 1, s->count, s->from->t,
                       (unsigned long long)(trajectory->batch.first + (uint64_t)row));
    s->history++;
    *done = ++s->index == s->count;
    keep_trace(&trajectory->batch, s->size, s->index);
    return report(trajectory, s->index, err);
}

/* ---- run ------------------------------------------------------------------------------------- */

vn_status vn_trajectory_run(vn_trajectory *trajectory, const vn_trajectory_batch *batch,
                            const vn_watch *watch, int64_t done, int64_t total, vn_err *err) {
    vn_trajectory_watch(trajectory, watch, done, total);
    vn_status status = vn_trajectory_begin(trajectory, batch, err);
    for (bool last = false; !last && !status;) status = vn_trajectory_step(trajectory, &last, err);
    trajectory->watch = NULL;
    return status;
}
