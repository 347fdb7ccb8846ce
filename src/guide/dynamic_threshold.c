/* dynamic_threshold.c - dynamic thresholding (2205.11487). For each sample, with q a high
 * percentile of |x0| that is at least the bound of the data (1):
 *
 *     x0 = clip(x0, -q, q) bound / q
 *
 * so that data known to be in [-1,1] stays there under strong guidance without saturating. eps
 * follows x0, as in DDPM's posterior mean and diffusers' use_clipped_model_output, or is kept, as
 * in its DDIMScheduler without that. The percentile between two values is interpolated, as
 * torch.quantile does. */
#include "guide/internal.h"

#include <math.h>

enum { PERCENTILE, BOUND = VN_PARAM_NOISE + 1, MAX_BOUND };
static const vn_param params[] = {
    {"percentile", "fraction of |x0| that is not clipped", 0.995, 0, 1, 0, NULL},
    VN_NOISE_PARAM,
    {"bound", "of the data: where it should stay; no threshold is below it", 1, 1e-6, 1e9, 0, NULL},
    {"most", "nor is any above this (diffusers' sample_max_value)", 1e9, 1e-6, 1e9, 0, NULL},
    {0},
};

/* Moves the k-th smallest of v to v[k], with none larger before it and none smaller after: Hoare's
 * FIND. */
static void select_kth(float *v, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = v[k];
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i > j) break;
            const float swap = v[i];
            v[i++] = v[j];
            v[j--] = swap;
        }
        if (j < k) low = i;
        if (i > k) high = j;
    }
}

static double quantile(float *v, int64_t n, double part) {
    const double at = part * (double)(n - 1);
    const int64_t k = (int64_t)at;
    select_kth(v, n, k);
    float next = k + 1 < n ? v[k + 1] : v[k];
    for (int64_t i = k + 2; i < n; i++) next = fminf(next, v[i]);
    return (double)v[k] + (at - (double)k) * ((double)next - (double)v[k]);
}

/* NaN stays NaN: the sampling run refuses it. */
static double clip(double x, double q) {
    return x < -q ? -q : x > q ? q : x;
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const int64_t size = g->denoiser->size;
    const double bound = g->choice.value[BOUND];
    float *shift = g->slot[0];
    for (int64_t row = 0; row < at->n * size; row += size) {
        for (int64_t j = row; j < row + size; j++) shift[j] = fabsf(out->x0[j]);
        const double high = quantile(shift + row, size, g->choice.value[PERCENTILE]);
        const double q = fmin(fmax(high, bound), g->choice.value[MAX_BOUND]);
        for (int64_t j = row; j < row + size; j++) {
            const double x0 = (double)out->x0[j];
            shift[j] = (float)(clip(x0, q) * bound / q - x0);
        }
    }
    vn_shift_x0(at, size, shift, vn_noise_follows(at, &g->choice), out);
}

const vn_guide_row vn_dynamic_threshold_guide = {
    .row = {"dynamic-threshold", "clips x0 at a high percentile of itself and scales it back",
            "2205.11487", params},
    .stage = VN_GUIDE_FINISH,
    .bounds_x0 = true,
    .needs_by = vn_noise_needs,
    .slots = 1,
    .combine = combine,
};
