/* posthoc.c - see the header. */
#include "train/posthoc.h"

#include <math.h>

/* Of a function's square: functions of neighbouring snapshots are nearly alike. */
#define RIDGE 1e-12

static double width_of(double gamma) {
    return sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2);
}

/* The width falls with gamma. */
double vn_ema_gamma(double width) {
    double low = 0, high = 1;
    while (width_of(high) > width) high *= 2;
    for (int i = 0; i < 100; i++) {
        const double middle = 0.5 * (low + high);
        *(width_of(middle) > width ? &low : &high) = middle;
    }
    return 0.5 * (low + high);
}

double vn_ema_decay(double gamma, double n) {
    return pow(1 - 1 / n, gamma + 1);
}

/* The integral of two functions' product. */
static double product(vn_ema_kept a, vn_ema_kept b) {
    const vn_ema_kept early = a.step < b.step ? a : b, late = a.step < b.step ? b : a;
    return (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1) *
           pow(early.step / late.step, late.gamma) / late.step;
}

/* The functions are scaled to be of norm 1, as that of an early one is large. */
static void make_system(size_t n, const vn_ema_kept *kept, vn_ema_kept wanted, double *a,
                        double *x) {
    for (size_t i = 0; i < n; i++) {
        const double norm = sqrt(product(kept[i], kept[i]));
        x[i] = product(kept[i], wanted) / norm;
        for (size_t k = 0; k < n; k++)
            a[i * n + k] = product(kept[i], kept[k]) / norm / sqrt(product(kept[k], kept[k])) +
                           (i == k ? RIDGE : 0);
    }
}

static double left_of(size_t n, const vn_ema_kept *kept, vn_ema_kept wanted, const double *share) {
    const double all = product(wanted, wanted);
    double left = all;
    for (size_t i = 0; i < n; i++) {
        left -= 2 * share[i] * product(kept[i], wanted);
        for (size_t k = 0; k < n; k++) left += share[i] * share[k] * product(kept[i], kept[k]);
    }
    return sqrt(fmax(left, 0) / all);
}

vn_status vn_ema_fit(size_t n, const vn_ema_kept *kept, vn_ema_kept wanted, double *share,
                     double *error, vn_err *err) {
    double *a = vn_alloc(n * n, sizeof *a), sum = 0;
    if (!a) return vn_no_memory(err);
    make_system(n, kept, wanted, a, share);
    const bool solved = vn_cholesky(a, (int64_t)n);
    if (solved) vn_cholesky_solve(a, (int64_t)n, share, 1);
    vn_free(a);
    if (!solved)
        return vn_fail(err, VN_BAD_FILE, "the snapshots of averages are not of different steps");
    for (size_t i = 0; i < n; i++) {
        share[i] /= sqrt(product(kept[i], kept[i]));
        sum += share[i];
    }
    for (size_t i = 0; i < n; i++) share[i] /= sum;
    *error = left_of(n, kept, wanted, share);
    return VN_OK;
}
