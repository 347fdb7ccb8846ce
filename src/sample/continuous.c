/* continuous.c - the two ends of the probability-flow ODE, for samplers that evaluate it between
 * the grid's levels too.
 *
 * The denoiser is not evaluated at sigma = 0, so a step that ends there goes to the path's smallest
 * t and from there to 0 by Euler's rule. Where time in straight coordinates is sigma/alpha, a step
 * from alpha = 0 begins with a step of Euler's rule to a finite time. */
#include "sample/internal.h"

#include <math.h>

/* Euler's rule from `from` to `to`; the prediction at `from` is left in slots 0 and 1. */
static vn_status euler(vn_step *s, const vn_level *from, const vn_level *to, vn_err *err) {
    const vn_estimate p = {s->slot[0], s->slot[1]};
    vn_status status = vn_step_predict(s, s->x, from, p, err);
    const float a = (float)to->alpha, b = (float)to->sigma;
    for (size_t i = 0; i < (size_t)(s->n * s->size) && !status; i++)
        s->x[i] = a * p.x0[i] + b * p.eps[i];
    return status;
}

vn_status vn_step_continuous(vn_step *s, double max_ratio, vn_inner_step inner, vn_err *err) {
    const vn_level cleanest = vn_path_level(s->path, s->path->row->min_time(s->path));
    vn_level from = *s->from, to = s->to->sigma > 0 ? *s->to : cleanest;
    vn_status status = VN_OK;
    if (isinf(vn_level_ratio(&from)) && isfinite(max_ratio)) {
        const vn_level begin =
            vn_path_level_of_ratio(s->path, fmax(max_ratio, vn_level_ratio(&to)));
        status = euler(s, &from, &begin, err);
        from = begin;
    }
    if (status) return status;
    if (vn_level_ratio(&from) <= vn_level_ratio(&to)) return euler(s, &from, s->to, err);
    status = vn_step_predict(s, s->x, &from, (vn_estimate){s->slot[0], s->slot[1]}, err);
    if (!status) status = inner(s, &from, &to, err);
    return status || s->to->sigma > 0 ? status : euler(s, &to, s->to, err);
}

double vn_step_max_ratio(const vn_step *s, double finite) {
    return s->path->row->straight_k ? (double)INFINITY : finite;
}

vn_status vn_step_rows(vn_step *s, const vn_level *from, const vn_level *to, vn_row_step step,
                       vn_err *err) {
    vn_status status = VN_OK;
    for (int64_t row = 0; row < s->n && !status; row++) {
        status = step(s, row, from, to, err);
        if (status)
            vn_fail_in(err, "%s: sample %llu", s->choice->row->name,
                       (unsigned long long)s->first + row);
        else if (row + 1 < s->n)
            status = vn_step_progress(s, (double)(row + 1) / (double)s->n, err);
    }
    return status;
}
