/* replacement.c - the observed part of the state is replaced after each step by the observation,
 * noised to the same level (2011.13456, section 5):
 *
 *     x' += A^+ (alpha' y + s z - A x')        s^2 = sigma'^2 - (alpha' noise)^2, or 0
 *
 * repaint also goes back (2201.09865): after every `jump` steps noise is added that undoes them,
 * and they are made again, `rounds` times in all, so that the rest of the sample comes to fit what
 * was put in. */
#include "restore/internal.h"

#include <math.h>

vn_status vn_replace_known(vn_restoration *r, vn_step *s, const vn_condition *condition,
                           int64_t *ancestor, vn_err *err) {
    (void)condition, (void)ancestor, (void)err;
    const int64_t size = r->inner->size, count = r->op->count;
    const double alpha = s->to->alpha, of_y = alpha * r->noise,
                 noise = sqrt(fmax(s->to->sigma * s->to->sigma - of_y * of_y, 0));
    float *z = r->slot[0];
    vn_step_noise(s, VN_BETWEEN_DRAW, z);
    for (int64_t i = 0; i < s->n; i++) {
        const double *y = vn_observed(r, s->first + (uint64_t)i);
        /* A (noise z - x'), as z is that of a whole sample */
        for (int64_t j = 0; j < size; j++)
            r->x_work[0][j] = noise * (double)z[i * size + j] - (double)s->x[i * size + j];
        r->op->row->apply(r->op, r->x_work[0], r->y_work[0]);
        for (int64_t j = 0; j < count; j++) r->y_work[0][j] += alpha * y[j];
        vn_operator_pseudo_inverse(r->op, r->y_work[0], r->x_work[1]);
        for (int64_t j = 0; j < size; j++)
            s->x[i * size + j] = (float)((double)s->x[i * size + j] + r->x_work[1][j]);
    }
    return VN_OK;
}

const vn_restorer_row vn_replacement_restorer = {
    .row = {"replacement", "after each step the observation, noised, in the place of what is known",
            "2011.13456", NULL},
    .needs = VN_RULE_REPLACES,
    .slots = 1,
    .after = vn_replace_known,
};

/* ---- repaint --------------------------------------------------------------------------------- */

enum { ROUNDS, JUMP };
static const vn_param params[] = {
    {"rounds", "how often each part is made in all", 10, 2, 1000, VN_PARAM_WHOLE, NULL},
    {"jump", "steps of a part", 10, 1, 1000, VN_PARAM_WHOLE, NULL},
    {0},
};

/* Parts of `jump` steps, counted from the end as the paper does; a first part that is shorter is
 * made once. */
static vn_status route(const vn_choice *c, vn_route *r, vn_err *err) {
    const int rounds = (int)c->value[ROUNDS], jump = (int)c->value[JUMP], parts = r->steps / jump;
    if (parts < 2)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "repaint: jump %d leaves less than two parts of %d steps", jump, r->steps);
    if ((int64_t)r->steps * rounds > VN_MAX_STEPS)
        return vn_fail(err, VN_BAD_ARGUMENT, "repaint: %d rounds of %d steps are more than %d",
                       rounds, r->steps, VN_MAX_STEPS);
    vn_level *part = vn_alloc((size_t)jump + 1, sizeof *part);
    vn_status status = part ? VN_OK : vn_no_memory(err);
    for (int k = 0, at = r->steps - jump; k < parts && at > 0 && !status; k++, at -= jump) {
        for (int i = 0; i <= jump; i++) part[i] = r->level[at + i];
        for (int i = 1; i < rounds && !status; i++)
            status = vn_route_insert(r, at + jump + 1, jump + 1, part, err);
    }
    vn_free(part);
    return status;
}

const vn_restorer_row vn_repaint_restorer = {
    .row = {"repaint", "replacement, with ways back to more noise after every few steps",
            "2201.09865", params},
    .needs = VN_RULE_REPLACES,
    .sampler = "ddpm",
    .slots = 1,
    .route = route,
    .after = vn_replace_known,
};
