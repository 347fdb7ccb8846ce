/* posthoc.h - averages of weights that nobody tracked, from snapshots of some that were (EDM2,
 * 2312.02696, section 3 and appendix C). An average by a power function,
 *
 *     p(s) = (gamma + 1) s^gamma / t^(gamma + 1)        over the steps s <= t,
 *
 * is a weighted sum of all weights that the training went through. The snapshots' sums add up to
 * nearly that of any other width: by least squares of the functions. The width is given as the
 * standard deviation of p over t. A part of train.h, which other rooms include. */
#ifndef VN_TRAIN_POSTHOC_H
#define VN_TRAIN_POSTHOC_H

#include "base/base.h"

/* gamma of what training tracks: of the usual average (width 0.1) and of the narrow one (0.05). */
#define VN_EMA_USUAL  6.94
#define VN_EMA_NARROW 16.97
/* The widths that can be asked for: of gamma 0, the plain mean, it is 0.289. */
#define VN_EMA_LEAST_WIDTH 0.005
#define VN_EMA_MOST_WIDTH  0.28

/* gamma of a width within these. */
double vn_ema_gamma(double width);
/* How much of the average then comes with a step: n > 0 the first, n = 1. */
double vn_ema_decay(double gamma, double n);

/* An average that was kept: as of so many steps, by this gamma. */
typedef struct vn_ema_kept {
    double step, gamma;
} vn_ema_kept;
/* By which the kept ones add up to the wanted one, [n], of sum 1; *error: the norm of what is left
 * of the function, as a part of its own. */
vn_status vn_ema_fit(size_t n, const vn_ema_kept *kept, vn_ema_kept wanted, double *share,
                     double *error, vn_err *err);

#endif
