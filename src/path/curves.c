/* curves.c - the paths with closed forms: the variance-preserving, sub-variance-preserving and
 * variance-exploding SDEs (2011.13456), EDM (2206.00364), rectified flow (2209.03003, also called
 * CondOT), its polynomial relatives (2412.06264) and the trigonometric path (2303.08797, TrigFlow).
 * Each is four short functions: the level at t, t where sigma/alpha = s, the network's input for t,
 * and the smallest t that grids and training use. */
#include "path/internal.h"

#include <math.h>

#define PI 3.14159265358979323846

/* ---- what ties alpha to sigma ---------------------------------------------------------------- */

double vn_preserving_of_sigma(double sigma) {
    return sqrt(fmax((1 - sigma) * (1 + sigma), 0));
}

double vn_preserving_of_ratio(double s) {
    return 1 / sqrt(1 + s * s);
}

double vn_sub_preserving_of_sigma(double sigma) {
    return sqrt(fmax(1 - sigma, 0));
}

/* s = 1/alpha - alpha */
double vn_sub_preserving_of_ratio(double s) {
    return exp(-asinh(s / 2));
}

double vn_exploding_of_sigma(double sigma) {
    (void)sigma;
    return 1;
}

double vn_exploding_of_ratio(double s) {
    (void)s;
    return 1;
}

double vn_rectified_of_sigma(double sigma) {
    return fmax(1 - sigma, 0);
}

double vn_rectified_of_ratio(double s) {
    return 1 / (1 + s);
}

/* ---- vp: beta(t) = beta_min + t (beta_max - beta_min), alpha = exp(-1/2 integral of beta) ---- */

vn_status vn_vp_open(vn_path *p, vn_err *err) {
    double a = p->choice.value[VN_VP_BETA_MIN], b = p->choice.value[VN_VP_BETA_MAX];
    const char *name = p->row->row.name;
    return a <= b
               ? VN_OK
               : vn_fail(err, VN_BAD_ARGUMENT, "%s: beta_min %g is above beta_max %g", name, a, b);
}

/* log alpha; fills alpha and its slope. */
static double decay(const vn_path *p, double t, vn_level *out) {
    double low = p->choice.value[VN_VP_BETA_MIN], rise = p->choice.value[VN_VP_BETA_MAX] - low;
    double log_alpha = -0.25 * t * t * rise - 0.5 * t * low;
    out->alpha = exp(log_alpha);
    out->dalpha = -0.5 * (low + t * rise) * out->alpha;
    return log_alpha;
}

/* t where -2 log alpha = 1/2 rise t^2 + low t = q, solved without cancellation. */
static double time_of_decay(const vn_path *p, double q) {
    double low = p->choice.value[VN_VP_BETA_MIN], rise = p->choice.value[VN_VP_BETA_MAX] - low;
    if (isinf(q)) return 1;
    return q > 0 ? fmin(2 * q / (low + sqrt(low * low + 2 * rise * q)), 1) : 0;
}

void vn_vp_level(const vn_path *p, double t, vn_level *out) {
    out->sigma = sqrt(-expm1(2 * decay(p, t, out)));
    out->dsigma = out->sigma > 0 ? -out->alpha * out->dalpha / out->sigma : (double)INFINITY;
}

double vn_vp_time_of_ratio(const vn_path *p, double s) {
    return time_of_decay(p, s < 1e100 ? log1p(s * s) : 2 * log(s));
}

double vn_vp_network_time(const vn_path *p, const vn_level *l) {
    (void)p;
    return 999 * l->t; /* score_sde's */
}

double vn_vp_min_time(const vn_path *p) {
    (void)p;
    return 1e-3; /* score_sde's */
}

/* ---- sub-vp: alpha of vp, sigma = 1 - alpha^2, so that its SDE has g^2 = beta (1 - alpha^4) -- */

void vn_sub_vp_level(const vn_path *p, double t, vn_level *out) {
    out->sigma = fabs(expm1(2 * decay(p, t, out)));
    out->dsigma = -2 * out->alpha * out->dalpha;
}

/* s = 1/alpha - alpha = 2 sinh(-log alpha) */
double vn_sub_vp_time_of_ratio(const vn_path *p, double s) {
    return time_of_decay(p, 2 * asinh(s / 2));
}

double vn_sub_vp_network_time(const vn_path *p, const vn_level *l) {
    return vn_vp_network_time(p, l);
}

double vn_sub_vp_min_time(const vn_path *p) {
    return vn_vp_min_time(p);
}

/* ---- ve: alpha = 1, sigma geometric; t = 0 still has sigma_min ------------------------------- */

vn_status vn_sigma_range_open(vn_path *p, vn_err *err) {
    double a = p->choice.value[VN_SIGMA_MIN], b = p->choice.value[VN_SIGMA_MAX];
    if (a < b) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: sigma_min %g is not below sigma_max %g",
                   p->row->row.name, a, b);
}

void vn_ve_level(const vn_path *p, double t, vn_level *out) {
    double low = p->choice.value[VN_SIGMA_MIN], rise = log(p->choice.value[VN_SIGMA_MAX] / low);
    out->alpha = 1;
    out->sigma = low * exp(t * rise);
    out->dsigma = rise * out->sigma;
}

double vn_ve_time_of_ratio(const vn_path *p, double s) {
    double low = p->choice.value[VN_SIGMA_MIN], rise = log(p->choice.value[VN_SIGMA_MAX] / low);
    return fmin(fmax(log(s / low) / rise, 0), 1);
}

double vn_ve_network_time(const vn_path *p, const vn_level *l) {
    return log(fmax(l->sigma, p->choice.value[VN_SIGMA_MIN]) / 2); /* table 1 of 2206.00364 */
}

double vn_ve_min_time(const vn_path *p) {
    (void)p;
    return 0;
}

/* ---- edm: alpha = 1, sigma = sigma_max t ----------------------------------------------------- */

void vn_edm_level(const vn_path *p, double t, vn_level *out) {
    out->alpha = 1;
    out->dsigma = p->choice.value[VN_SIGMA_MAX];
    out->sigma = out->dsigma * t;
}

double vn_edm_time_of_ratio(const vn_path *p, double s) {
    return fmin(s / p->choice.value[VN_SIGMA_MAX], 1);
}

double vn_edm_network_time(const vn_path *p, const vn_level *l) {
    (void)p;
    return log(fmax(l->sigma, 1e-9)) / 4; /* finite at sigma = 0, where no network is evaluated */
}

double vn_edm_min_time(const vn_path *p) {
    return p->choice.value[VN_SIGMA_MIN] / p->choice.value[VN_SIGMA_MAX];
}

/* ---- rectified: alpha = 1 - t, sigma = t ----------------------------------------------------- */

void vn_rectified_level(const vn_path *p, double t, vn_level *out) {
    (void)p;
    *out = (vn_level){.t = t, .alpha = 1 - t, .sigma = t, .dalpha = -1, .dsigma = 1};
}

double vn_rectified_time_of_ratio(const vn_path *p, double s) {
    (void)p;
    return isinf(s) ? 1 : s / (1 + s);
}

double vn_rectified_network_time(const vn_path *p, const vn_level *l) {
    (void)p;
    return 1000 * (l->t + l->rounding); /* diffusers' flow matching */
}

double vn_rectified_min_time(const vn_path *p) {
    (void)p;
    return 1e-3; /* one of its 1000 steps */
}

/* ---- polynomial: sigma = t^n and alpha = 1 - sigma, or alpha = (1-t)^n and sigma = 1 - alpha - */

void vn_polynomial_level(const vn_path *p, double t, vn_level *out) {
    const double n = p->choice.value[VN_POLYNOMIAL_N];
    if (p->choice.value[VN_POLYNOMIAL_OF] == 0) {
        out->sigma = pow(t, n);
        out->alpha = fabs(expm1(n * log(t)));
        out->dsigma = n * pow(t, n - 1);
    } else {
        out->alpha = pow(1 - t, n);
        out->sigma = fabs(expm1(n * log1p(-t)));
        out->dsigma = n * pow(1 - t, n - 1);
    }
    out->dalpha = -out->dsigma;
}

/* sigma = s/(1+s) and alpha = 1/(1+s). */
double vn_polynomial_time_of_ratio(const vn_path *p, double s) {
    const double n = p->choice.value[VN_POLYNOMIAL_N];
    return p->choice.value[VN_POLYNOMIAL_OF] == 0 ? exp(-log1p(1 / s) / n) : -expm1(-log1p(s) / n);
}

double vn_polynomial_network_time(const vn_path *p, const vn_level *l) {
    return vn_rectified_network_time(p, l);
}

double vn_polynomial_min_time(const vn_path *p) {
    /* the sigma at which rectified flow ends */
    return vn_polynomial_time_of_ratio(p, 1e-3 / (1 - 1e-3));
}

/* ---- trigonometric: alpha = cos(pi t / 2), sigma = sin(pi t / 2) ----------------------------- */

void vn_trigonometric_level(const vn_path *p, double t, vn_level *out) {
    (void)p;
    double c = t < 1 ? cos(PI / 2 * t) : 0, s = sin(PI / 2 * t);
    *out = (vn_level){.t = t, .alpha = c, .sigma = s, .dalpha = -PI / 2 * s, .dsigma = PI / 2 * c};
}

double vn_trigonometric_time_of_ratio(const vn_path *p, double s) {
    (void)p;
    return atan(s) * 2 / PI;
}

double vn_trigonometric_network_time(const vn_path *p, const vn_level *l) {
    (void)p;
    return 1000 * l->t; /* the range that sinusoidal embeddings are made for */
}

double vn_trigonometric_min_time(const vn_path *p) {
    (void)p;
    return 1e-3;
}
