/* ddpm.c - the discrete paths of DDPM: T steps with noise rates beta (2006.11239; scaled-linear
 * from 2112.10752, sigmoid as in diffusers), or with alpha-bar on a curve (cosine from 2102.09672,
 * sigmoid-bar from 2212.11972, exp and laplace as in diffusers); alpha-bar = prod(1 - beta), alpha
 * = sqrt(alpha-bar).
 *
 * Step k lies at t = (k+1)/T; t = 0 is clean. Between steps log(sigma/alpha) is linear in t, as
 * k-diffusion and diffusers invert it; below step 0 sigma/alpha falls linearly to 0, and with
 * zero_snr alpha/sigma does so on the last interval. alpha-bar is rounded to float32 after the same
 * operations as in PyTorch: 1 - alpha-bar[0] is about 1e-4, so that rounding changes the lowest
 * noise level by 1e-4 of itself, and a model should be sampled at the levels it was trained at. */
#include "path/internal.h"

#include <math.h>

/* ---- beta ------------------------------------------------------------------------------------ */

#define MAX_BETA 0.999 /* of those that follow from a curve of alpha-bar */

/* torch.linspace in float32: computed from the nearer end, with one rounding for product and
 * sum. */
static float linspace(float a, float b, int n, int i) {
    double step = (double)((b - a) / (float)(n - 1));
    return (float)(i < n / 2 ? (double)a + step * i : (double)b - step * (n - 1 - i));
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* The curve itself, up to a factor. */
static double alpha_bar(const vn_path *p, double t) {
    const double *v = p->choice.value;
    if (v[VN_DDPM_SCHEDULE] == VN_SIGMOID_BAR)
        return sigmoid(v[VN_DDPM_END] / v[VN_DDPM_TAU]) -
               sigmoid((t * (v[VN_DDPM_END] - v[VN_DDPM_START]) + v[VN_DDPM_START]) /
                       v[VN_DDPM_TAU]);
    if (v[VN_DDPM_SCHEDULE] == VN_EXP) return exp(-12 * t);
    /* 2407.03297's noise schedule, with the program's own square root */
    if (v[VN_DDPM_SCHEDULE] == VN_LAPLACE) {
        const double snr = exp(-0.5 * copysign(1, 0.5 - t) * log(1 - 2 * fabs(0.5 - t) + 1e-6));
        return sqrt(snr / (1 + snr));
    }
    double c = cos((t + 0.008) / 1.008 * acos(-1.0) / 2);
    return c * c;
}

static float beta_between(int schedule, double a, double b, int n, int k) {
    if (schedule == VN_LINEAR) return linspace((float)a, (float)b, n, k);
    if (schedule == VN_SIGMOID)
        return (float)sigmoid((double)linspace(-6, 6, n, k)) * (float)(b - a) + (float)a;
    const float root = linspace((float)sqrt(a), (float)sqrt(b), n, k);
    return root * root;
}

static bool is_of_alpha_bar(int schedule) {
    return schedule == VN_COSINE || schedule >= VN_SIGMOID_BAR;
}

/* 1 - beta of step k. Those of diffusers' curves are float32; sigmoid-bar's are float64, as in the
 * program that they are from. */
static double kept_at(const vn_path *p, int k) {
    const double *v = p->choice.value;
    const int schedule = (int)v[VN_DDPM_SCHEDULE], n = p->steps;
    if (!is_of_alpha_bar(schedule))
        return (double)(1.0f -
                        beta_between(schedule, v[VN_DDPM_BETA_START], v[VN_DDPM_BETA_END], n, k));
    const double beta =
        fmin(1 - alpha_bar(p, (k + 1.0) / n) / alpha_bar(p, (double)k / n), MAX_BETA);
    return schedule == VN_SIGMOID_BAR ? 1 - beta : (double)(1.0f - (float)beta);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* table[k] = alpha-bar of these betas. */
static void fill_alpha_bar(vn_path *p) {
    double product = 1;
    for (int k = 0; k < p->steps; k++) {
        product *= kept_at(p, k);
        p->table[k] = (double)(float)product;
    }
}

/* Algorithm 1 of 2305.08891: sqrt(alpha-bar) less its last value, scaled so that the first stays.
 * Converted to betas and back, because diffusers computes its alpha-bar from betas. */
static void end_in_pure_noise(vn_path *p) {
    const float first = sqrtf((float)p->table[0]), last = sqrtf((float)p->table[p->steps - 1]);
    const float scale = first / (first - last);
    double product = 1;
    float before = 1;
    for (int k = 0; k < p->steps; k++) {
        const float root = (sqrtf((float)p->table[k]) - last) * scale, bar = root * root,
                    beta = 1.0f - bar / before;
        product *= (double)(1.0f - beta);
        p->table[k] = (double)(float)product;
        before = bar;
    }
}

/* table[k] = log(sigma/alpha) at step k, rising; infinite at the last with zero_snr. */
static vn_status fill_table(vn_path *p, vn_err *err) {
    const bool zero_snr = p->choice.value[VN_DDPM_ZERO_SNR] != 0;
    fill_alpha_bar(p);
    if (zero_snr) end_in_pure_noise(p);
    for (int k = 0; k < p->steps; k++) {
        const bool pure = zero_snr && k == p->steps - 1;
        p->table[k] = 0.5 * log((1 - p->table[k]) / p->table[k]);
        if (isfinite(p->table[k]) == pure || isnan(p->table[k]) ||
            (k && p->table[k] <= p->table[k - 1]))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "ddpm: in float32 these betas do not give %d steps of growing noise",
                           p->steps);
    }
    return VN_OK;
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* Sets betas that were not given to the schedule's own. A value that equals its default counts as
 * not given. */
static vn_status settle_betas(vn_choice *c, vn_err *err) {
    const bool scaled = c->value[VN_DDPM_SCHEDULE] == VN_SCALED_LINEAR;
    const double own_start = scaled ? 0.00085 : 0.0001, own_end = scaled ? 0.012 : 0.02;
    double *start = &c->value[VN_DDPM_BETA_START], *end = &c->value[VN_DDPM_BETA_END];
    if (*start == 0) *start = own_start;
    if (*end == 0) *end = own_end;
    c->given[VN_DDPM_BETA_START] = *start != own_start;
    c->given[VN_DDPM_BETA_END] = *end != own_end;
    if (*start <= *end) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "ddpm: beta_start %g is above beta_end %g", *start, *end);
}

static vn_status check_curve(const vn_choice *c, vn_err *err) {
    const int schedule = (int)c->value[VN_DDPM_SCHEDULE];
    const bool of_alpha_bar = is_of_alpha_bar(schedule);
    const double start = c->value[VN_DDPM_START], end = c->value[VN_DDPM_END];
    if (of_alpha_bar && (c->given[VN_DDPM_BETA_START] || c->given[VN_DDPM_BETA_END]))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "ddpm:%s has its own betas; beta_start and beta_end have no effect",
                       schedule == VN_COSINE        ? "cosine"
                       : schedule == VN_SIGMOID_BAR ? "sigmoid-bar"
                       : schedule == VN_EXP         ? "exp"
                                                    : "laplace");
    if (schedule != VN_SIGMOID_BAR &&
        (c->given[VN_DDPM_START] || c->given[VN_DDPM_END] || c->given[VN_DDPM_TAU]))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "ddpm: start, end and tau have no effect without schedule=sigmoid-bar");
    if (start < end) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "ddpm: start %g is not below end %g", start, end);
}

vn_status vn_ddpm_open(vn_path *p, vn_err *err) {
    vn_status status = check_curve(&p->choice, err);
    if (!status) status = settle_betas(&p->choice, err);
    if (status) return status;
    p->steps = (int)p->choice.value[VN_DDPM_STEPS];
    p->table = vn_alloc((size_t)p->steps, sizeof *p->table);
    return p->table ? fill_table(p, err) : vn_no_memory(err);
}

/* ---- the curve ------------------------------------------------------------------------------- */

/* a = 1/sqrt(1 + r^2) and b = r a, a point of the unit circle, with their slopes from that of r. */
static void on_circle(double r, double dr, double *a, double *b, double *da, double *db) {
    *a = 1 / sqrt(1 + r * r);
    *b = r * *a;
    *db = dr * *a * *a * *a;
    *da = -r * *db;
}

/* On a step itself the slope is that of the interval below, which a sampler crosses next. */
void vn_ddpm_level(const vn_path *p, double t, vn_level *out) {
    const double step = fmin(t * p->steps - 1, p->steps - 1);
    const int k = (int)fmin(fmax(ceil(step - 1e-9), 0), p->steps - 1); /* the step at or above t */
    double *alpha = &out->alpha, *sigma = &out->sigma, *dalpha = &out->dalpha,
           *dsigma = &out->dsigma;
    if (k == 0) {
        const double slope = exp(p->table[0]) * p->steps;
        on_circle(slope * t, slope, alpha, sigma, dalpha, dsigma);
    } else if (isinf(p->table[k])) {
        const double below = exp(-p->table[k - 1]);
        on_circle(below * (k - step), -below * p->steps, sigma, alpha, dsigma, dalpha);
    } else {
        const double rise = p->table[k] - p->table[k - 1], s = exp(p->table[k] - rise * (k - step));
        on_circle(s, s * rise * p->steps, alpha, sigma, dalpha, dsigma);
    }
}

double vn_ddpm_time_of_ratio(const vn_path *p, double s) {
    int low = 0, high = p->steps - 1;
    double x = log(s);
    if (x <= p->table[low]) return s / exp(p->table[low]) / p->steps;
    if (x >= p->table[high]) return 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (p->table[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    const double above = x - p->table[low], rise = p->table[high] - p->table[low];
    return (low + (isinf(rise) ? -expm1(-above) : above / rise) + 1) / p->steps;
}

double vn_ddpm_network_time(const vn_path *p, const vn_level *l) {
    return fmax((l->t + l->rounding) * p->steps - 1, 0);
}

double vn_ddpm_min_time(const vn_path *p) {
    return 1.0 / p->steps;
}
