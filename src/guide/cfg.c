/* cfg.c - classifier-free guidance (2207.12598; for flows 2311.13443): u + gamma (c - u), with c the conditional and u the null
 * prediction. The weights sum to 1, so it is the same in every space; here it is done on x0 and on eps, which stay consistent. */
#include "guide/internal.h"

#include <string.h>

static vn_pass conditional(const vn_guide_at *at) {
    return (vn_pass){.labels = at->labels};
}

static vn_pass null(const vn_guide_at *at) {
    return (vn_pass){.labels = at->null};
}

static bool wants_conditional(const vn_guide_at *at) {
    return at->gamma != 0 && !at->all_null;
}

static bool wants_null(const vn_guide_at *at) {
    return at->gamma != 1 || at->all_null;
}

void vn_cfg_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    (void)g;
    vn_pass c = conditional(at), u = null(at);
    if (wants_conditional(at)) vn_plan_need(plan, &c);
    if (wants_null(at)) vn_plan_need(plan, &u);
}

static void extrapolate(size_t n, float gamma, const float *c, const float *u, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = u[i] + gamma * (c[i] - u[i]);
}

void vn_cfg_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_pair *out) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    vn_pass of_c = conditional(at), of_u = null(at);
    if (wants_conditional(at) && wants_null(at)) {
        const vn_pair *c = vn_plan_need(plan, &of_c), *u = vn_plan_need(plan, &of_u);
        extrapolate(n, (float)at->gamma, c->x0, u->x0, out->x0);
        extrapolate(n, (float)at->gamma, c->eps, u->eps, out->eps);
    } else {
        const vn_pair *only = vn_plan_need(plan, wants_null(at) ? &of_u : &of_c);
        memcpy(out->x0, only->x0, n * sizeof(float));
        memcpy(out->eps, only->eps, n * sizeof(float));
    }
}
