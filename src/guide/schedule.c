/* schedule.c - guidance that changes with t.
 *
 *     gamma(t) = 1 + (gamma - 1) f(t)   constant, linear, cosine, power (2404.13040): f has mean 1
 *                                       over [0,1] and rises from noise to data; table: f as given
 *     gamma(t) = gamma f(t)             beta (2502.10574): f is the density of the beta
 *                                       distribution at 1 - t
 *
 * 2404.13040 scales its omega = gamma - 1, and f = 0 is the conditional model. 2502.10574 scales
 * gamma itself, and f = 0, at both ends of the sampling run, is the null one; the paper's further
 * division by a power of |c - u| is left out. */
#include "guide/internal.h"

#include <math.h>

enum { SHAPE, POWER, A, B, TABLE };
enum { CONSTANT, LINEAR, COSINE, POWER_OF_T, BETA, FROM_TABLE };
#define ENTRIES (VN_MAX_PARAMS - TABLE)
/* clang-format off */
static const vn_param params[] = {
    {"shape", "how guidance changes from noise to data; its mean over t stays, but with table",
     LINEAR, 0, 5, 1,
     "constant|linear|cosine|power|beta|table"},
    {"power", "exponent of shape=power", 2, 0, 32, 0, NULL},
    {"a", "first parameter of shape=beta: how late guidance sets in", 2, 1, 32, 0, NULL},
    {"b", "second: how early it ends", 3, 1, 32, 0, NULL},
    {"f0", "shape=table: f(t) at t = 1", 1, -1000, 1000, 0, NULL},
    {"f1",
     "and at equal distances in t, as many as are given, the last at t = 0; straight between them",
     1, -1000, 1000, 0, NULL},
    {"f2", "likewise", 1, -1000, 1000, 0, NULL},
    {"f3", "likewise", 1, -1000, 1000, 0, NULL},
    {"f4", "likewise", 1, -1000, 1000, 0, NULL},
    {"f5", "likewise", 1, -1000, 1000, 0, NULL},
    {"f6", "likewise", 1, -1000, 1000, 0, NULL},
    {"f7", "likewise", 1, -1000, 1000, 0, NULL},
    {0},
};
/* clang-format on */

/* The only shape that a parameter has an effect on. */
static int shape_of(int param) {
    return param == POWER ? POWER_OF_T : param < TABLE ? BETA : FROM_TABLE;
}

static int entries(const vn_choice *c) {
    int n = 0;
    while (n < ENTRIES && c->given[TABLE + n]) n++;
    return n;
}

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    static const char *const names[] = {"constant", "linear", "cosine", "power", "beta", "table"};
    const int shape = (int)c->value[SHAPE], n = entries(c);
    for (int i = POWER; i < VN_MAX_PARAMS; i++)
        if (c->given[i] && shape_of(i) != shape)
            return vn_fail(err, VN_BAD_ARGUMENT, "schedule: %s has no effect without shape=%s",
                           params[i].name, names[shape_of(i)]);
    if (shape != FROM_TABLE) return VN_OK;
    for (int i = n; i < ENTRIES; i++)
        if (c->given[TABLE + i])
            return vn_fail(err, VN_BAD_ARGUMENT, "schedule: f%d is given, but not f%d", i, n);
    return n >= 2 ? VN_OK
                  : vn_fail(err, VN_BAD_ARGUMENT,
                            "schedule: shape=table needs f0, f1 and so on, at least two");
}

static double beta_density(double x, double a, double b) {
    return tgamma(a + b) / (tgamma(a) * tgamma(b)) * pow(x, a - 1) * pow(1 - x, b - 1);
}

static double from_table(const vn_choice *c, double t) {
    const double *f = c->value + TABLE, at = (1 - t) * (entries(c) - 1);
    const int k = (int)fmin(at, entries(c) - 2);
    return f[k] + (at - k) * (f[k + 1] - f[k]);
}

static double strength(const vn_choice *c, const vn_guide_at *at, double gamma) {
    const double *v = c->value, t = at->level->t;
    double f = 1;
    switch ((int)v[SHAPE]) {
    case LINEAR: f = 2 * (1 - t); break;
    case COSINE: f = 1 + cos(acos(-1.0) * t); break;
    case POWER_OF_T: f = (v[POWER] + 1) * pow(1 - t, v[POWER]); break;
    case BETA: return gamma * beta_density(1 - t, v[A], v[B]);
    case FROM_TABLE: f = from_table(c, t); break;
    }
    return 1 + (gamma - 1) * f;
}

const vn_guide_row vn_schedule_guide = {
    .row = {"schedule", "G - 1, or with shape=beta G, times a function of t", "2404.13040", params},
    .stage = VN_GUIDE_STRENGTH,
    .linear = true,
    .check = check,
    .strength = strength,
};
