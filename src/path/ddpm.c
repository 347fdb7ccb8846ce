/* ddpm.c - the discrete paths of DDPM: T steps with noise rates beta (2006.11239; scaled-linear from 2112.10752; cosine from
 * 2102.09672), alpha-bar = prod(1 - beta), alpha = sqrt(alpha-bar).
 *
 * Step k lies at t = (k+1)/T; t = 0 is clean. Between steps log(sigma/alpha) runs straight, as k-diffusion and diffusers
 * invert it; below step 0 sigma/alpha itself falls straight to 0. alpha-bar is rounded to float32 after every operation just
 * where PyTorch rounds it: 1 - alpha-bar[0] is about 1e-4, so rounding moves the lowest noise level by 1e-4 of itself, and a
 * model trained there should be sampled there. */
#include "path/internal.h"

#include <math.h>

/* ---- the table ----------------------------------------------------------------------------------------- */

/* torch.linspace in float32: counted from the nearer end, with one rounding for product and sum. */
static float linspace(float a, float b, int n, int i) {
    double step = (double)((b - a) / (float)(n - 1));
    return (float)(i < n / 2 ? (double)a + step * i : (double)b - step * (n - 1 - i));
}

static double cosine_alpha_bar(double t) {
    double c = cos((t + 0.008) / 1.008 * acos(-1.0) / 2);
    return c * c;
}

static float beta_at(const vn_path *p, int k) {
    int schedule = (int)p->choice.value[VN_DDPM_SCHEDULE], n = p->steps;
    double a = p->choice.value[VN_DDPM_BETA_START], b = p->choice.value[VN_DDPM_BETA_END];
    if (schedule == VN_LINEAR) return linspace((float)a, (float)b, n, k);
    if (schedule == VN_SCALED_LINEAR) {
        float root = linspace((float)sqrt(a), (float)sqrt(b), n, k);
        return root * root;
    }
    return (float)fmin(1 - cosine_alpha_bar((k + 1.0) / n) / cosine_alpha_bar((double)k / n), 0.999);
}

/* table[k] = log(sigma/alpha) at step k, rising. */
static vn_status fill_table(vn_path *p, vn_err *err) {
    double product = 1;
    for (int k = 0; k < p->steps; k++) {
        product *= (double)(1.0f - beta_at(p, k));
        float alpha_bar = (float)product;
        p->table[k] = 0.5 * log((1 - (double)alpha_bar) / (double)alpha_bar);
        if (!isfinite(p->table[k]) || (k && p->table[k] <= p->table[k - 1]))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "ddpm: these betas leave no room for %d steps of growing noise in float32", p->steps);
    }
    return VN_OK;
}

vn_status vn_ddpm_open(vn_path *p, vn_err *err) {
    vn_choice *c = &p->choice;
    bool scaled = c->value[VN_DDPM_SCHEDULE] == VN_SCALED_LINEAR;
    if (c->value[VN_DDPM_SCHEDULE] == VN_COSINE && (c->given[VN_DDPM_BETA_START] || c->given[VN_DDPM_BETA_END]))
        return vn_fail(err, VN_BAD_ARGUMENT, "ddpm:cosine has its own betas; beta_start and beta_end have no effect");
    double *start = &c->value[VN_DDPM_BETA_START], *end = &c->value[VN_DDPM_BETA_END];
    const double own_start = scaled ? 0.00085 : 0.0001, own_end = scaled ? 0.012 : 0.02;
    if (*start == 0) *start = own_start;
    if (*end == 0) *end = own_end;
    c->given[VN_DDPM_BETA_START] = *start != own_start;
    c->given[VN_DDPM_BETA_END] = *end != own_end;
    if (*start > *end) return vn_fail(err, VN_BAD_ARGUMENT, "ddpm: beta_start %g is above beta_end %g", *start, *end);
    p->steps = (int)c->value[VN_DDPM_STEPS];
    p->table = vn_alloc((size_t)p->steps, sizeof *p->table);
    return p->table ? fill_table(p, err) : vn_no_memory(err);
}

/* ---- the curve ----------------------------------------------------------------------------------------- */

void vn_ddpm_level(const vn_path *p, double t, vn_level *out) {
    double step = fmin(t * p->steps - 1, p->steps - 1), s, ds; // ds by t
    if (step < 0) {
        ds = exp(p->table[0]) * p->steps;
        s = ds * t;
    } else {
        int k = (int)fmin(floor(step), p->steps - 2);
        double rise = p->table[k + 1] - p->table[k];
        s = exp(p->table[k] + rise * (step - k));
        ds = s * rise * p->steps;
    }
    out->alpha = 1 / sqrt(1 + s * s);
    out->sigma = s * out->alpha;
    double cube = out->alpha * out->alpha * out->alpha;
    out->dalpha = -s * ds * cube;
    out->dsigma = ds * cube;
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
    double step = low + (x - p->table[low]) / (p->table[high] - p->table[low]);
    return (step + 1) / p->steps;
}

double vn_ddpm_network_time(const vn_path *p, const vn_level *l) {
    return fmax(l->t * p->steps - 1, 0);
}

double vn_ddpm_least(const vn_path *p) {
    return 1.0 / p->steps;
}
