/* er_sde.c - ER-SDE-Solvers (2309.06169, the VP ones being the VE ones in x/alpha): the extended
 * reverse SDEs, whose noise is set by a function phi of s = sigma/alpha, solved for an x0 that is a
 * polynomial in s. With r = phi(s')/phi(s):
 *
 *     x'/alpha' = r x/alpha + (1 - r) x0 + noise sqrt(s'^2 - r^2 s^2) z
 *               + (s' - s + phi(s') int_{s'}^s dv/phi(v)) D1                          order 2
 *               + ((s' - s)^2/2 + phi(s') int_{s'}^s (v - s)/phi(v) dv) D2            order 3
 *
 *     D1 = (x0 - x0_1)/(s - s_1),  D2 = 2 (D1 - D1_1)/(s - s_2)             i: i steps back
 *
 * As published D1 is the slope half a step back: on the ODE order=3 converges with order 2, and
 * smaller errors.
 *
 *     phi = s            the ODE
 *     phi = s^2          the reverse SDE
 *     phi = s (e^(s^0.3) + 10)   the authors' ER-SDE 5: much noise at first, little in the end
 *
 * In (alpha, sigma) the first line is renoise.c's with down = sigma' g(s')/g(s) and g = phi/s,
 * which is finite at s = infinity: g is infinite there, or 1 for the ODE. An x0 from there is not
 * used for D1 and D2. */
#include "sample/internal.h"

#include <math.h>

enum { ORDER, SCALING, NOISE };
enum { ER, SDE, ODE };
static const vn_param params[] = {
    {"order", "how many x0 a step uses", 3, 1, 3, 1, NULL},
    {"scaling", "phi: the authors' choice, or that of the reverse SDE or of the ODE", ER, 0, 2, 1,
     "er|sde|ode"},
    {"noise", "standard deviation of the noise", 1, 0, 2, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[SCALING] != ODE || !c->given[NOISE]) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "er-sde: noise has no effect with scaling=ode");
}

/* phi(s)/s; above 1e9 the exponential is as good as infinite. */
static double g(int scaling, double s) {
    return scaling == ODE ? 1 : scaling == SDE ? s : exp(pow(fmin(s, 1e9), 0.3)) + 10;
}

/* *one = phi(s') int dv/phi(v), *two = phi(s') int (v - s)/phi(v) dv over [s', s]; by Simpson's
 * rule in log v. */
static void integrate(int scaling, double s, double to, double *one, double *two) {
    enum { INTERVALS = 128 };
    const double h = log(s / to) / INTERVALS, top = to * g(scaling, to);
    *one = *two = 0;
    for (int i = 0; i <= INTERVALS; i++) {
        const double v = to * exp(h * i), weight = i == 0 || i == INTERVALS ? 1 : i % 2 ? 4 : 2;
        const double value = weight * h / 3 * top / g(scaling, v);
        *one += value;
        *two += value * (v - s);
    }
}

enum { X0, EPS, PAST, SLOTS = PAST + 2 };

/* How many earlier x0 the step can use. */
static int past_of(const vn_step *s) {
    int n = s->to->sigma > 0 ? vn_step_order(s, (int)s->choice->value[ORDER], false) - 1 : 0;
    while (n > 0 && s->from[-n].alpha == 0) n--;
    return n;
}

/* What orders 2 and 3 add. */
static void add_differences(vn_step *s, int past) {
    const int scaling = (int)s->choice->value[SCALING];
    const double ratio = vn_level_ratio(s->from), to = vn_level_ratio(s->to), h = to - ratio;
    const double before = vn_level_ratio(s->from - 1), scale = s->to->alpha;
    double one, two;
    integrate(scaling, ratio, to, &one, &two);
    double d1 = scale * (h + one), d1_1 = 0; /* weights of D1 and D1_1 */
    if (past > 1) {
        const double oldest = vn_level_ratio(s->from - 2),
                     d2 = scale * (h * h / 2 + two) * 2 / (ratio - oldest);
        d1 += d2;
        d1_1 = -d2 / (before - oldest);
    }
    d1 /= ratio - before;
    vn_step_blend(s, 1, s->x, d1, s->slot[X0], s->x);
    vn_step_blend(s, 1, s->x, d1_1 - d1, s->slot[PAST], s->x);
    if (past > 1) vn_step_blend(s, 1, s->x, -d1_1, s->slot[PAST + 1], s->x);
}

static vn_status step(vn_step *s, vn_err *err) {
    const double *value = s->choice->value;
    const vn_level *from = s->from, *to = s->to;
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    const int past = past_of(s);
    vn_status status = vn_step_predict(s, s->x, from, p, err);
    if (status) return status;
    const double kept =
        g((int)value[SCALING], vn_level_ratio(to)) / g((int)value[SCALING], vn_level_ratio(from));
    vn_step_blend(s, to->alpha, p.x0, to->sigma * kept, p.eps, s->x);
    if (past > 0) add_differences(s, past);
    vn_step_add_noise(s, value[NOISE] * to->sigma * sqrt((1 - kept) * (1 + kept)), 0, s->x, p.eps);
    vn_step_record(s, X0, PAST, 2);
    return VN_OK;
}

const vn_sampler_row vn_er_sde_sampler = {
    .row = {"er-sde", "extended reverse SDEs, order 1 to 3", "2309.06169", params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = SLOTS,
    .check = check,
    .step = step,
};
