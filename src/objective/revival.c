/* revival.c - the revival of codes. A row of a codebook that is nearest to no latent gets no
 * gradient, and so stays unused for ever. Such a row is moved beside one that is used, which then
 * has half of that one's latents; gradients part the two. This is the splitting of vector
 * quantisation (Linde, Buzo and Gray 1980). The row that is split is drawn with a probability
 * proportional to the gradients that it gets: more where more latents are, and where they are
 * farther from it.
 *
 * Which rows are in use, Adam's moments tell, so that nothing has to be counted and a run that goes
 * on needs no more than its checkpoint: without a gradient the first falls by a tenth in each step,
 * the second by a thousandth. A row is unused where |m|^2 / v is below a bound that it falls below
 * in 50 to 90 steps, and that the noise of gradients seldom comes near to. */
#include "objective/internal.h"

#include <math.h>
#include <string.h>

#define UNUSED 1e-7 /* of |m|^2 / v */
#define APART  0.01 /* of the root mean square of the numbers in rows that are used */

static double sum_squares(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static double sum(const float *x, int64_t n) {
    double all = 0;
    for (int64_t i = 0; i < n; i++) all += (double)x[i];
    return all;
}

/* How likely a row is to be split: the root of its v; 0: it is not in use. */
static double share(const vn_tended *w, int64_t row) {
    const double v = sum(w->moment2 + row * w->width, w->width);
    return v > 0 && sum_squares(w->moment1 + row * w->width, w->width) > UNUSED * v ? sqrt(v) : 0;
}

/* The row in use at this part, 0 to 1, of all shares, which is `all`. */
static int64_t row_at(const vn_tended *w, double part, double all) {
    int64_t last = 0;
    double before = 0;
    for (int64_t i = 0; i < w->rows; i++) {
        const double s = share(w, i);
        if (!(s > 0)) continue;
        last = i;
        before += s;
        if (before > part * all) break;
    }
    return last;
}

/* Row `to` becomes one beside row `from`. */
static void split(const vn_tended *w, int64_t from, int64_t to, double apart) {
    const size_t bytes = (size_t)w->width * sizeof(float);
    float *row = w->live + to * w->width;
    vn_random_normal(row, (size_t)w->width, w->seed, VN_STREAM_WEIGHTS, (uint64_t)to, w->step);
    for (int64_t i = 0; i < w->width; i++)
        row[i] = w->live[from * w->width + i] + (float)apart * row[i];
    if (w->average) memcpy(w->average + to * w->width, row, bytes);
    memcpy(w->moment2 + to * w->width, w->moment2 + from * w->width, bytes);
}

/* Rows that are moved have no share until all are, as their m is 0. */
static void tend(const vn_choice *c, const vn_tended *w) {
    double all = 0, square = 0;
    int64_t used = 0;
    (void)c;
    for (int64_t i = 0; i < w->rows; i++) {
        const double s = share(w, i);
        all += s;
        if (!(s > 0)) continue;
        square += sum_squares(w->live + i * w->width, w->width);
        used++;
    }
    if (!used || used == w->rows) return;
    const double apart = APART * sqrt(square / (double)(used * w->width));
    for (int64_t i = 0; i < w->rows; i++) {
        if (share(w, i) > 0) continue;
        memset(w->moment1 + i * w->width, 0, (size_t)w->width * sizeof(float));
        const double part = vn_random_double(w->seed, VN_STREAM_SELECT, (uint64_t)i, w->step);
        split(w, row_at(w, part, all), i, apart);
    }
}

static int64_t every(const vn_choice *c) {
    return (int64_t)c->value[VN_REVIVE];
}

const vn_tending vn_codebook_tending = {
    .weight = "quantize.embedding.weight", .every = every, .tend = tend};
