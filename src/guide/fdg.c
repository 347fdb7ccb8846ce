/* fdg.c - frequency-decoupled guidance (2506.19713), for images: CFG with less G for low
 * frequencies, which decide on layout and colour and saturate first, than for high ones. Of the
 * Laplacian pyramid of c - u only the coarsest image has its own gamma:
 *
 *     B = up(down(c - u)), `levels` - 1 times down and as often up
 *     u + gamma (c - u) + (gamma_low - gamma) B,    gamma_low = 1 + low (gamma - 1)
 *
 * which is linear, so the same in every space. down: binomial blur [1 4 6 4 1]/16 with mirrored
 * edges, then halved bilinearly; up: doubled bilinearly, then blurred; as kornia's pyramids, which
 * the paper uses, but sizes need not be powers of two. The paper's SDXL values are gamma 10 and
 * gamma_low 5. */
#include "guide/internal.h"

enum { LOW, LEVELS };
static const vn_param params[] = {
    {"low", "part of G - 1 that the low frequencies get; the paper's for SDXL", 0.44, -10, 10, 0,
     NULL},
    {"levels", "of the pyramid: each more halves the highest of the low frequencies", 2, 2, 8, 1,
     NULL},
    {0},
};

enum { NARROWEST = 3 }; /* smallest side of an image that can be blurred */

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    const int halved = (int)c->value[LEVELS] - 2;
    if (c->value[LOW] == 1) return vn_fail(err, VN_BAD_ARGUMENT, "fdg: low=1 is cfg");
    if (!vn_shape_is_image(&d->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "fdg: points have no frequencies; it is for images");
    if (d->sample.dim[1] >> halved >= NARROWEST && d->sample.dim[2] >> halved >= NARROWEST)
        return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "fdg: levels=%g is too many for images of %lld x %lld",
                   c->value[LEVELS], (long long)d->sample.dim[1], (long long)d->sample.dim[2]);
}

/* ---- one plane [h,w] ------------------------------------------------------------------------- */

typedef struct plane {
    int64_t h, w;
    float *at;    /* [h,w] */
    float *spare; /* as large: what the next operation writes, before the two are swapped */
} plane;

static void swap(plane *p) {
    float *at = p->at;
    p->at = p->spare;
    p->spare = at;
}

static int64_t mirrored(int64_t i, int64_t n) {
    if (i < 0) i = -i;
    return i < n ? i : 2 * (n - 1) - i;
}

/* Binomial blur of `count` lines of n numbers `stride` apart, which begin `between` apart. */
static void blur_lines(const float *in, float *out, int64_t count, int64_t between, int64_t n,
                       int64_t stride) {
    for (int64_t line = 0; line < count; line++, in += between, out += between)
        for (int64_t i = 0; i < n; i++) {
            const float far = in[mirrored(i - 2, n) * stride] + in[mirrored(i + 2, n) * stride];
            const float near = in[mirrored(i - 1, n) * stride] + in[mirrored(i + 1, n) * stride];
            out[i * stride] = (far + 4 * near + 6 * in[i * stride]) / 16;
        }
}

static void blur(plane *p) {
    blur_lines(p->at, p->spare, p->h, p->w, p->w, 1);
    blur_lines(p->spare, p->at, p->w, 1, p->h, p->w);
}

/* Where the centre of pixel i of n lies on a line of m pixels: between *low and *high, at the
 * fraction *part of the way. */
static void place(int64_t i, int64_t n, int64_t m, int64_t *low, int64_t *high, float *part) {
    double at = ((double)i + 0.5) * (double)m / (double)n - 0.5;
    at = at > 0 ? at : 0;
    *low = (int64_t)at < m - 1 ? (int64_t)at : m - 1;
    *high = *low < m - 1 ? *low + 1 : *low;
    *part = (float)(at - (double)*low);
}

static void resize(plane *p, int64_t h, int64_t w) {
    int64_t top, bottom, left, right;
    float down, across;
    for (int64_t y = 0; y < h; y++) {
        place(y, h, p->h, &top, &bottom, &down);
        for (int64_t x = 0; x < w; x++) {
            place(x, w, p->w, &left, &right, &across);
            const float *a = p->at + top * p->w, *b = p->at + bottom * p->w;
            const float upper = a[left] + across * (a[right] - a[left]);
            const float lower = b[left] + across * (b[right] - b[left]);
            p->spare[y * w + x] = upper + down * (lower - upper);
        }
    }
    p->h = h;
    p->w = w;
    swap(p);
}

/* Replaces the image by the coarsest one of its pyramid, brought back to size. The result is in
 * p->at, because the number of swaps is even. */
static void low_frequencies(plane *p, int levels) {
    const int64_t h = p->h, w = p->w;
    for (int k = 1; k < levels; k++) {
        blur(p);
        resize(p, h >> k, w >> k);
    }
    for (int k = levels - 1; k-- > 0;) {
        resize(p, h >> k, w >> k);
        blur(p);
    }
}

/* ---- the rule -------------------------------------------------------------------------------- */

static void combine(vn_guide *g, const vn_guide_at *at, vn_plan *p, vn_estimate *out) {
    const vn_denoiser *d = g->denoiser;
    const size_t n = (size_t)(at->n * d->size),
                 area = (size_t)(d->sample.dim[1] * d->sample.dim[2]);
    const vn_estimate *c, *u;
    if (!vn_conditional_and_null(g, at, p, out, &c, &u)) return;
    vn_extrapolate(n, at->gamma, u->x0, c->x0, out->x0);
    vn_extrapolate(n, at->gamma, u->eps, c->eps, out->eps);
    float *delta = g->slot[0];
    for (size_t i = 0; i < n; i++) delta[i] = c->x0[i] - u->x0[i];
    for (size_t i = 0; i < n; i += area) {
        plane one = {d->sample.dim[1], d->sample.dim[2], delta + i, g->slot[1] + i};
        low_frequencies(&one, (int)g->choice.value[LEVELS]);
    }
    vn_shift_estimate(at, d->size, delta, (g->choice.value[LOW] - 1) * (at->gamma - 1), out);
}

const vn_guide_row vn_fdg_guide = {
    .row = {"fdg", "CFG with less gamma for the low frequencies of images", "2506.19713", params},
    .stage = VN_GUIDE_RULE,
    .needs = VN_NEEDS_NULL | VN_NEEDS_CONDITION,
    .passes = 2,
    .slots = 2,
    .check = check,
    .plan = vn_plan_conditional_and_null,
    .combine = combine,
};
