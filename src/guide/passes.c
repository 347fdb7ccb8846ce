/* passes.c - what rules share: the conditional and the null pass, and arithmetic on estimates. */
#include "guide/internal.h"

#include <string.h>

vn_pass vn_conditional(const vn_guide_at *at) {
    return (vn_pass){.condition = at->all_null ? at->null : at->condition};
}

vn_pass vn_null(const vn_guide_at *at) {
    return (vn_pass){.condition = at->null};
}

bool vn_guidance_acts(const vn_guide_at *at) {
    return at->gamma != 1 && !at->all_null;
}

void vn_extrapolate(size_t n, double gamma, const float *a, const float *b, float *out) {
    const float g = (float)gamma;
    for (size_t i = 0; i < n; i++) out[i] = a[i] + g * (b[i] - a[i]);
}

double vn_guide_draw(const vn_guide_at *at, int64_t row) {
    const uint64_t key = ((uint64_t)at->request + 1) << 32 | (uint64_t)at->step;
    return vn_random_double(at->seed, VN_STREAM_GUIDE, at->first + (uint64_t)row, key);
}

void vn_add_difference(size_t n, double scale, const vn_estimate *a, const vn_estimate *b,
                       vn_estimate out) {
    const float s = (float)scale;
    for (size_t i = 0; i < n; i++) {
        out.x0[i] += s * (a->x0[i] - b->x0[i]);
        out.eps[i] += s * (a->eps[i] - b->eps[i]);
    }
}

void vn_copy_estimate(size_t n, vn_estimate out, const vn_estimate *from) {
    memcpy(out.x0, from->x0, n * sizeof(float));
    memcpy(out.eps, from->eps, n * sizeof(float));
}

void vn_shift_x0(const vn_guide_at *at, int64_t size, const float *shift, double follow,
                 vn_estimate *out) {
    const float b = (float)follow;
    for (size_t i = 0; i < (size_t)(at->n * size); i++) {
        out->x0[i] += shift[i];
        out->eps[i] -= b * shift[i];
    }
}

void vn_shift_estimate(const vn_guide_at *at, int64_t size, const float *shift, double amount,
                       vn_estimate *out) {
    const float a = (float)amount,
                b = (float)(at->level->sigma > 0 ? amount * at->level->alpha / at->level->sigma
                                                 : 0);
    for (size_t i = 0; i < (size_t)(at->n * size); i++) {
        out->x0[i] += a * shift[i];
        out->eps[i] -= b * shift[i];
    }
}

unsigned vn_noise_needs(const vn_choice *c) {
    return c->value[VN_PARAM_NOISE] != 0 ? VN_NEEDS_X0_EPS : 0;
}

double vn_noise_follows(const vn_guide_at *at, const vn_choice *c) {
    const bool kept = c->value[VN_PARAM_NOISE] != 0;
    return kept || !(at->level->sigma > 0) ? 0 : at->level->alpha / at->level->sigma;
}
