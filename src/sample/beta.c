/* beta.c - quantiles of the beta distribution. Up to x = 1/2 the distribution is a power times a
 * series whose terms are all positive, so nothing cancels:
 *
 *     I_x(a, b) = x^a (1-x)^b / (a B(a,b)) (1 + sum over n of x^n prod_{i<n} (a+b+i)/(a+1+i))
 *
 * and log I is nearly linear in log x, so Newton's rule there needs a handful of steps. Above,
 * I_x(a,b) = 1 - I_{1-x}(b,a). */
#include "sample/internal.h"

#include <math.h>

#define MAX_MOVES  60    /* it takes at most 9 */
#define SMALL_MOVE 1e-10 /* of log x: the error after it is of the order of its square */

static double series(double a, double b, double x) {
    double sum = 1, term = 1;
    for (int i = 0; term > 1e-17 * sum; i++) {
        term *= x * (a + b + i) / (a + 1 + i);
        sum += term;
    }
    return sum;
}

/* log(a B(a, b)) */
static double log_norm(double a, double b) {
    return log(tgamma(a + 1)) + log(tgamma(b)) - log(tgamma(a + b));
}

/* log I_x(a, b) at x = e^u <= 1/2. */
static double log_distribution(double a, double b, double u) {
    const double x = exp(u);
    return a * u + b * log1p(-x) + log(series(a, b, x)) - log_norm(a, b);
}

/* x <= 1/2 with I_x(a, b) = p. Newton's rule in log x begins on the line that log I approaches at
 * small x. log I is concave or convex in log x, so the steps do not pass the solution.
 * d log I / d log x = a / ((1-x) sum), by the density x^(a-1) (1-x)^(b-1) / B. */
static double lower_quantile(double a, double b, double p) {
    const double highest = log(0.5);
    double u = fmin((log(p) + log_norm(a, b)) / a, highest), move = 1;
    for (int i = 0; i < MAX_MOVES && fabs(move) > SMALL_MOVE; i++) {
        const double x = exp(u);
        move = (log(p) - log_distribution(a, b, u)) * (1 - x) * series(a, b, x) / a;
        u = fmin(u + move, highest);
    }
    return exp(u);
}

double vn_beta_quantile(double a, double b, double p) {
    if (p <= 0) return 0;
    if (p >= 1) return 1;
    const double middle = exp(log_distribution(a, b, log(0.5)));
    return p <= middle ? lower_quantile(a, b, p) : 1 - lower_quantile(b, a, 1 - p);
}
