/* times.c - the distributions of t in training, as quantile functions of a uniform u. So each can
 * be drawn stratified, with u spread evenly over the batch, which makes the loss less noisy at no
 * cost. */
#include "objective/internal.h"

#include <math.h>

static const vn_param logit_normal_params[] = {
    {"mean", "of log(t / (1 - t))", 0, -20, 20, 0, NULL},
    {"std", "its standard deviation", 1, 1e-3, 20, 0, NULL},
    {"stratified", "cover the distribution evenly in every batch", 0, 0, 1, 1, "no|yes"},
    {0},
};
static const vn_param edm_params[] = {
    {"mean", "of log(sigma / alpha)", -1.2, -20, 20, 0, NULL},
    {"std", "its standard deviation", 1.2, 1e-3, 20, 0, NULL},
    {"stratified", "cover the distribution evenly in every batch", 0, 0, 1, 1, "no|yes"},
    {0},
};
enum { MEAN, STD };

/* Acklam's rational approximation (relative error 1.2e-9) and one step of Halley's method on erfc,
 * which makes it exact to rounding. */
double vn_normal_quantile(double u) {
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    const double tail = fmin(u, 1 - u);
    double z;
    if (tail < 0.02425) {
        double q = sqrt(-2 * log(tail));
        z = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
        if (u > 0.5) z = -z;
    } else {
        double q = u - 0.5, r = q * q;
        z = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    double error = (0.5 * erfc(-z / sqrt(2)) - u) * sqrt(2 * acos(-1.0)) * exp(z * z / 2);
    return z - error / (1 + z * error / 2);
}

static double uniform(const vn_choice *c, const vn_path *p, double u) {
    (void)c, (void)p;
    return u;
}

static double logit_normal(const vn_choice *c, const vn_path *p, double u) {
    (void)p;
    return 1 / (1 + exp(-(c->value[MEAN] + c->value[STD] * vn_normal_quantile(u))));
}

static double log_normal(const vn_choice *c, const vn_path *p, double u) {
    double s = exp(c->value[MEAN] + c->value[STD] * vn_normal_quantile(u));
    return p->row->time_of_ratio(p, s);
}

/* clang-format off */
const vn_times_row vn_times_rows[] = {
    {{"uniform", "t uniform in (0, 1], or on the steps of a discrete path", "2006.11239", NULL},
     false, uniform},
    {{"stratified", "uniform, spread evenly over every batch", "2107.00630", NULL}, true, uniform},
    {{"logit-normal", "log(t / (1 - t)) normal", "2403.03206", logit_normal_params}, false,
     logit_normal},
    {{"edm", "log(sigma / alpha) normal", "2206.00364", edm_params}, false, log_normal},
    {{"clean", "t = 0, no noise: for autoencoders, and classifiers that measure samples", "vane",
      NULL},
     false, NULL},
};
/* clang-format on */
const size_t vn_times_row_count = VN_COUNT(vn_times_rows);
