/* invert.c - DDIM inversion (2105.05233): the steps of ddim undone one after another, from data to
 * noise. A step is undone with eps at its less noisy end, where the sample is; asked again where
 * that leads, eps converges to that of the noisier end, which the step itself would use
 * (2309.04907). */
#include "sample/trajectory.h"

#include <string.h>

static vn_status check_inversion(const vn_trajectory *trajectory, vn_err *err) {
    const vn_sampler_row *row = trajectory->row;
    if (row->inverts && row->inverts(&trajectory->choice)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "inversion undoes the steps of ddim without noise; the sampler is %s%s",
                   row->row.name, row->inverts ? " with an eta" : "");
}

/* Where eps is asked for at the less noisy end of a step: nothing is known of it without noise. */
static vn_level end_of(const vn_trajectory *trajectory, const vn_level *low, const vn_level *high) {
    const vn_path *path = trajectory->denoiser->path;
    const vn_level least = vn_path_level(path, path->row->min_time(path));
    if (low->sigma > 0) return *low;
    return vn_level_ratio(&least) < vn_level_ratio(high) ? least : *high;
}

/* From x at `low` to x at `high`; slots 0 and 1 are overwritten, slot 2 is x at `low`. */
static vn_status undo_step(vn_trajectory *trajectory, const vn_level *low, const vn_level *high,
                           int evaluations, float *x, vn_err *err) {
    const size_t numbers = (size_t)(trajectory->batch.n * trajectory->denoiser->size);
    const vn_estimate p = {trajectory->step.slot[0], trajectory->step.slot[1]};
    const vn_level end = end_of(trajectory, low, high);
    const double keep = high->alpha / low->alpha;
    float *from = trajectory->step.slot[2];
    memcpy(from, x, numbers * sizeof *x);
    for (int k = 0; k < evaluations; k++) {
        const vn_request request = {.x = k ? x : from, .level = k ? high : &end};
        const vn_status status = vn_guidance_predict(trajectory->guidance, &request, p, err);
        if (status) return status;
        /* at alpha = 0 eps is x itself, but x0 is known: that of any x */
        const bool by_x0 = k && high->alpha == 0 && low->sigma > 0;
        for (size_t i = 0; i < numbers; i++) {
            const double eps = by_x0 ? ((double)from[i] - low->alpha * (double)p.x0[i]) / low->sigma
                                     : (double)p.eps[i];
            x[i] = (float)(keep * ((double)from[i] - low->sigma * eps) + high->sigma * eps);
        }
    }
    return VN_OK;
}

vn_status vn_trajectory_invert(vn_trajectory *trajectory, const vn_trajectory_batch *b,
                               int evaluations, vn_err *err) {
    const vn_level *level = trajectory->route.level;
    vn_status status = check_inversion(trajectory, err);
    if (!status) status = vn_trajectory_check(trajectory, b, err);
    if (status) return status;
    trajectory->batch = *b;
    memcpy(b->x, b->init, (size_t)(b->n * trajectory->denoiser->size) * sizeof *b->x);
    vn_guidance_begin(trajectory->guidance, b->n, b->first, b->condition);
    for (int i = trajectory->route.steps - 1; i >= 0 && !status; i--) {
        vn_guidance_step(trajectory->guidance, i, trajectory->route.steps, 0, &level[i + 1]);
        status = undo_step(trajectory, &level[i + 1], &level[i], evaluations, b->x, err);
        const int64_t row = status ? -1 : vn_row_not_finite(b->n, trajectory->denoiser->size, b->x);
        if (row >= 0)
            status = vn_fail(err, VN_NOT_FINITE, "inverting step %d: sample %llu is not finite",
                             i + 1, (unsigned long long)(b->first + (uint64_t)row));
        if (!status && trajectory->watch && trajectory->watch->cancel && *trajectory->watch->cancel)
            status = vn_fail(err, VN_CANCELLED, "inversion was cancelled at step %d", i + 1);
    }
    trajectory->inverted = vn_guidance_passes(trajectory->guidance);
    return status;
}
