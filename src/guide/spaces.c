/* spaces.c - what rules share that combine two predictions a and b of one denoiser: their passes,
 * the space in which a paper measures, and conditions of a guide's own.
 *
 * A prediction is kept as an estimate (x0, eps). A rule whose weights sum to 1 is computed on both
 * and is the same in every space. One that measures (norms, dot products), or whose weights sum to
 * something else, is defined in the space of its paper, raw = p x0 + q eps (vn_coefficients). Its
 * result wa a + wb b in that space (wa, wb: the weights of a and b) is the estimate
 *
 *     x0 = wa x0_a + wb x0_b + (1 - wa - wb) x0_x x        x0_x x: the x0 of raw = 0
 *
 * and likewise eps. So all that such a rule computes for a sample is wa and wb. Sums are in double,
 * in the order of the elements. */
#include "guide/internal.h"

#include <math.h>
#include <string.h>

/* ---- passes ---------------------------------------------------------------------------------- */

void vn_plan_extrapolation(const vn_guide_at *at, vn_plan *p, const vn_pass *a, const vn_pass *b) {
    if (at->gamma != 0) vn_plan_pass(p, b);
    if (at->gamma != 1) vn_plan_pass(p, a);
}

void vn_combine_extrapolation(vn_guide *g, const vn_guide_at *at, vn_plan *p, const vn_pass *a,
                              const vn_pass *b, vn_estimate *out) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    if (at->gamma == 0 || at->gamma == 1) {
        vn_copy_estimate(n, *out, vn_plan_pass(p, at->gamma == 0 ? a : b));
        return;
    }
    const vn_estimate *from = vn_plan_pass(p, a), *to = vn_plan_pass(p, b);
    vn_extrapolate(n, at->gamma, from->x0, to->x0, out->x0);
    vn_extrapolate(n, at->gamma, from->eps, to->eps, out->eps);
}

void vn_plan_conditional_and_null(vn_guide *g, const vn_guide_at *at, vn_plan *p) {
    (void)g;
    const vn_pass c = vn_conditional(at), u = vn_null(at);
    vn_plan_pass(p, &c);
    if (vn_guidance_acts(at)) vn_plan_pass(p, &u);
}

bool vn_conditional_and_null(const vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out,
                             const vn_estimate **c, const vn_estimate **u) {
    const vn_pass of_c = vn_conditional(at), of_u = vn_null(at);
    *c = vn_plan_pass(p, &of_c);
    *u = vn_guidance_acts(at) ? vn_plan_pass(p, &of_u) : NULL;
    vn_copy_estimate((size_t)(at->n * g->denoiser->size), *out, *c);
    return *u != NULL;
}

/* ---- spaces ---------------------------------------------------------------------------------- */

static vn_coefficients coefficients_as(const char *prediction, const vn_level *l) {
    size_t i = 0;
    while (strcmp(vn_prediction_rows[i].row.name, prediction) != 0) i++;
    return vn_prediction_coefficients(&(vn_prediction){.row = &vn_prediction_rows[i]}, l);
}

vn_coefficients vn_as_x0(const vn_level *l) {
    return coefficients_as("x0", l);
}

vn_coefficients vn_as_eps(const vn_level *l) {
    return coefficients_as("eps", l);
}

vn_coefficients vn_as_velocity(const vn_level *l) {
    const double turn = l->alpha * l->dsigma - l->dalpha * l->sigma;
    vn_coefficients m = coefficients_as(turn > 0 && isfinite(turn) ? "velocity" : "v", l);
    const double speed = hypot(m.raw_x0, m.raw_eps);
    m.raw_x0 /= speed;
    m.raw_eps /= speed;
    m.x0_raw *= speed;
    m.eps_raw *= speed;
    return m;
}

/* d = b - a is taken in x0 or in eps, in whichever it is larger: there the difference of two floats
 * has lost fewer digits. */
vn_gram vn_gram_of(const vn_coefficients *space, size_t size, const vn_estimate *a,
                   const vn_estimate *b, size_t row) {
    const bool by_x0 = fabs(space->x0_raw) >= fabs(space->eps_raw);
    const float *a_x0 = a->x0 + row * size, *a_eps = a->eps + row * size;
    const float *from = by_x0 ? a_x0 : a_eps, *to = (by_x0 ? b->x0 : b->eps) + row * size;
    const double p = space->raw_x0, q = space->raw_eps,
                 per = by_x0 ? space->x0_raw : space->eps_raw;
    vn_gram g = {0, 0, 0};
    for (size_t j = 0; j < size; j++) {
        const double r = p * (double)a_x0[j] + q * (double)a_eps[j],
                     d = (double)to[j] - (double)from[j];
        g.aa += r * r;
        g.ad += r * d;
        g.dd += d * d;
    }
    return (vn_gram){g.aa, g.ad / per, g.dd / (per * per)};
}

void vn_blend_row(const vn_coefficients *space, size_t size, size_t row, const float *x, double wa,
                  const vn_estimate *a, double wb, const vn_estimate *b, vn_estimate *out) {
    const double rest = 1 - wa - wb, of_x0 = rest * space->x0_x, of_eps = rest * space->eps_x;
    for (size_t i = row * size; i < (row + 1) * size; i++) {
        out->x0[i] = (float)(wa * (double)a->x0[i] + wb * (double)b->x0[i] + of_x0 * (double)x[i]);
        out->eps[i] =
            (float)(wa * (double)a->eps[i] + wb * (double)b->eps[i] + of_eps * (double)x[i]);
    }
}

void vn_combine_weighed(vn_guide *g, const vn_guide_at *at, vn_plan *p,
                        const vn_coefficients *space, vn_weigh_pair *weigh, vn_estimate *out) {
    const size_t size = (size_t)g->denoiser->size;
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        if (at->condition[i] == at->null[i]) continue;
        const vn_gram m = vn_gram_of(space, size, u, c, i);
        const vn_pair_weights w = weigh(g, at->gamma, &m);
        vn_blend_row(space, size, i, at->x, w.of_c, c, w.of_u, u, out);
    }
}

/* ---- conditions ------------------------------------------------------------------------------ */

vn_pass vn_pass_of_class(vn_guide *g, const vn_guide_at *at, int32_t label) {
    if (at->all_null) return vn_null(at);
    for (int64_t i = 0; i < at->n; i++)
        g->condition[i] =
            at->condition[i] == VN_CONDITION_NULL || at->unguided[i] ? at->condition[i] : label;
    return (vn_pass){.condition = g->condition};
}
