/* higs.c - history-guided sampling, HiGS (2509.22300): what is new in x0, against the average of
 * the steps before, is strengthened. With p the x0 that the rule has made and m the average, of
 * each sample,
 *
 *     d = p - m,   d <- d less its part along p   (all but `along` of it)
 *     x0 = p + scale highpass(d)                  at t in [from, to];   eps follows
 *     m <- (1 - new) m + new p
 *
 * highpass takes away the cosines (DCT-II) of each channel whose frequency is below `cut`: with
 * k of n and l of m half waves down and across, (k/n)^2 + (l/m)^2 < cut^2. Few are, so each is
 * projected out by itself. Points have no frequencies, and keep all of d. The average goes on
 * outside [from, to]. */
#include "guide/internal.h"

#include <math.h>

enum { SCALE, NEW, CUT, ALONG, FROM, TO };
enum { MEAN, LAST, SHIFT, SLOTS };
static const vn_param params[] = {
    {"scale", "how much of what is new is added", 2, -100, 100, 0, NULL},
    {"new", "weight of the latest step in the average", 0.75, 0.0001, 1, 0, NULL},
    {"cut", "frequencies below this are not added, of images; 1: half a wave a pixel", 0.05, 0, 1,
     0, NULL},
    {"along", "how much of the part along x0 is kept", 0, -10, 10, 0, NULL},
    {"from", "t from which it acts", 0.4, 0, 1, 0, NULL},
    {"to", "t up to which it acts", 0.95, 0, 1, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[SCALE] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "higs: scale=0 has no effect");
    if (c->given[CUT] && !vn_shape_is_image(&d->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "higs: cut has no effect: points have no frequencies");
    if (c->value[FROM] < c->value[TO]) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "higs: from=%g is not below to=%g", c->value[FROM],
                   c->value[TO]);
}

/* d [size] less the part of it along p, but for the fraction `along`. */
static void take_along(size_t size, double along, const float *p, float *d) {
    double dp = 0, pp = 0;
    for (size_t j = 0; j < size; j++) {
        dp += (double)d[j] * (double)p[j];
        pp += (double)p[j] * (double)p[j];
    }
    const double part = pp > 0 ? (1 - along) * dp / pp : 0;
    for (size_t j = 0; j < size; j++) d[j] = (float)((double)d[j] - part * (double)p[j]);
}

/* cos((i + 1/2) k pi / n) for i = 0, 1, ..: the next by the two before it. */
typedef struct wave {
    double step, now, before;
} wave;

static wave wave_of(int64_t k, int64_t n) {
    const double half = acos(-1.0) * (double)k / (double)n / 2;
    return (wave){.step = 2 * cos(2 * half), .now = cos(half), .before = cos(half)};
}

static double next_of(wave *w) {
    const double now = w->now;
    w->now = w->step * now - w->before;
    w->before = now;
    return now;
}

/* The sum of a plane [h,w] times the cosine (k, l); then plane += add times that cosine. */
static double along_wave(const float *plane, int64_t h, int64_t w, int64_t k, int64_t l) {
    double sum = 0;
    wave down = wave_of(k, h);
    for (int64_t y = 0; y < h; y++) {
        double line = 0;
        wave across = wave_of(l, w);
        for (int64_t x = 0; x < w; x++) line += (double)plane[y * w + x] * next_of(&across);
        sum += line * next_of(&down);
    }
    return sum;
}

static void add_wave(float *plane, int64_t h, int64_t w, int64_t k, int64_t l, double add) {
    wave down = wave_of(k, h);
    for (int64_t y = 0; y < h; y++) {
        const double line = add * next_of(&down);
        wave across = wave_of(l, w);
        for (int64_t x = 0; x < w; x++)
            plane[y * w + x] = (float)((double)plane[y * w + x] + line * next_of(&across));
    }
}

static void take_low(float *plane, int64_t h, int64_t w, double cut) {
    for (int64_t k = 0; (double)k < cut * (double)h; k++)
        for (int64_t l = 0; (double)l < cut * (double)w; l++) {
            if (hypot((double)k / (double)h, (double)l / (double)w) >= cut) continue;
            const double norm = (k ? 2.0 : 1.0) / (double)h * (l ? 2.0 : 1.0) / (double)w;
            add_wave(plane, h, w, k, l, -norm * along_wave(plane, h, w, k, l));
        }
}

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    (void)p;
    const size_t size = (size_t)g->denoiser->size;
    const double *v = g->choice.value;
    const vn_shape *s = &g->denoiser->sample;
    const vn_average average = {.mean = MEAN, .last = LAST, .keep = 1 - v[NEW]};
    const float *mean = vn_average_before(&average, g, at, out->x0);
    float *shift = g->slot[SHIFT];
    if (!mean || at->level->t < v[FROM] || at->level->t > v[TO]) return;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        float *d = shift + i * size;
        for (size_t j = 0; j < size; j++) d[j] = out->x0[i * size + j] - mean[i * size + j];
        take_along(size, v[ALONG], out->x0 + i * size, d);
        for (int64_t c = 0; vn_shape_is_image(s) && c < s->dim[0]; c++)
            take_low(d + c * s->dim[1] * s->dim[2], s->dim[1], s->dim[2], v[CUT]);
    }
    vn_shift_estimate(at, g->denoiser->size, shift, v[SCALE], out);
}

const vn_guide_row vn_higs_guide = {
    .row = {"higs", "strengthens what is new in x0 against the steps before", "2509.22300", params},
    .stage = VN_GUIDE_ADDITION,
    .needs = VN_NEEDS_STEPS,
    .slots = SLOTS,
    .check = check,
    .combine = combine,
};
