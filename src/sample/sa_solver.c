/* sa_solver.c - SA-Solver (2309.05019, algorithm 1): stochastic Adams for the reverse SDE with
 * tau^2 times its noise's variance. With lambda = log(alpha/sigma), h = lambda' - lambda, z = (1 +
 * tau^2) h and (down, up) the SDE's renoising (renoise.c):
 *
 *     base = down/sigma x + up z_new
 *     x'   = base + alpha' (1 - e^-z) x0 + alpha' z sum_k w_k (x0_k - x0)
 *
 * with w_k the weights of the exact moments (adams.c), those of the ODE's with -z for -h; with one
 * node the authors use 1/2 for the moment, as UniPC's bh1 does. The predictor uses the x0 of this
 * level and of earlier ones. The corrector comes at the beginning of the next step, when x0 has
 * been predicted at the new level: it makes the move again with that x0 among the x0_k, at r = 1,
 * and with the same noise, and so costs no prediction. A corrector of order 1 uses that x0 alone.
 *
 * The order falls towards the end as in diffusers' SASolverScheduler, to 1 in the last step: to
 * sigma = 0 that is x' = x0. */
#include "sample/internal.h"

#include <math.h>

#define MAX_ORDER 4 /* how many x0 a sum has at most */

enum { PREDICTOR, CORRECTOR, TAU, TAU_MIN, TAU_MAX, LOWER_FINAL };
static const vn_param params[] = {
    {"predictor_order", "how many x0 the predictor uses", 2, 1, MAX_ORDER, 1, NULL},
    {"corrector_order", "how many x0 the corrector uses; 0: none", 2, 0, MAX_ORDER, 1, NULL},
    {"tau", "amount of noise: 0 the ODE, 1 the reverse SDE", 1, 0, 2, 0, NULL},
    {"tmin", "tau only where sigma/alpha is at least this, 0 elsewhere", 0, 0, 1e9, 0, NULL},
    {"tmax", "and at most this", 1e9, 0, 1e9, 0, NULL},
    {"lower_final", "yes: the orders fall towards the end, to 1 in the last step", 0, 0, 1, 1,
     "yes|no"},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[TAU] == 0 && (c->given[TAU_MIN] || c->given[TAU_MAX]))
        return vn_fail(err, VN_BAD_ARGUMENT, "sa-solver: tmin and tmax have no effect with tau 0");
    if (c->value[TAU_MIN] > c->value[TAU_MAX])
        return vn_fail(err, VN_BAD_ARGUMENT, "sa-solver: tmin is above tmax");
    return VN_OK;
}

enum { X0, EPS, BASE, PAST, SLOTS = PAST + MAX_ORDER - 1 };

/* tau^2 of the step from this level. */
static double strength(const vn_choice *c, const vn_level *from) {
    const double s = fmin(vn_level_ratio(from), 1e9), tau = c->value[TAU];
    return s >= c->value[TAU_MIN] && s <= c->value[TAU_MAX] ? tau * tau : 0;
}

/* x = base and what the predictions of x0 add, in the step that begins at `from`; n nodes. */
static void add(vn_step *s, const vn_level *from, const float *now, int n, const double *node,
                float *const *value) {
    const vn_level *to = from + 1;
    const double z =
        (1 + strength(s->choice, from)) * (vn_level_lambda(to) - vn_level_lambda(from));
    double moment[MAX_ORDER];
    vn_adams_moments(n, -z, moment);
    if (n == 1) moment[0] = 0.5;
    vn_step_blend(s, 1, s->slot[BASE], -to->alpha * expm1(-z), now, s->x);
    vn_step_adams(s, to->alpha * z, n, node, moment, value, now);
}

static void predict(vn_step *s, int order) {
    double node[MAX_ORDER];
    const int n = vn_step_lambda_nodes(s, order - 1, node);
    add(s, s->from, s->slot[X0], n, node, &s->slot[PAST]);
}

/* Makes the step before again. If that began at alpha = 0, only the new x0 is used. */
static void correct(vn_step *s, int order) {
    const vn_level *from = s->from - 1;
    double past[MAX_ORDER], node[MAX_ORDER] = {1};
    float *value[MAX_ORDER] = {s->slot[X0]};
    if (order == 1 || from->alpha == 0) {
        add(s, from, s->slot[X0], 0, node, value);
        return;
    }
    for (int k = 0; k < order - 2; k++) {
        past[k] = vn_level_lambda(from - k - 1);
        value[k + 1] = s->slot[PAST + k + 1];
    }
    const int n = 1 + vn_step_nodes(order - 2, vn_level_lambda(from), vn_level_lambda(s->from),
                                    past, &node[1]);
    add(s, from, s->slot[PAST], n, node, value);
}

static vn_status step(vn_step *s, vn_err *err) {
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    const int predictor = (int)s->choice->value[PREDICTOR],
              corrector = (int)s->choice->value[CORRECTOR];
    const bool lower_final = s->choice->value[LOWER_FINAL] == 0;
    const int left = lower_final ? s->count - s->index : MAX_ORDER,
              known = vn_step_order(s, corrector, false);
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (status) return status;
    if (s->history > 0 && corrector > 0) correct(s, known < left + 2 ? known : left + 2);
    const vn_renoise l = vn_renoise_sde(s->from, s->to, strength(s->choice, s->from));
    vn_step_blend(s, l.down / s->from->sigma, s->x, 0, p.x0, s->slot[BASE]);
    vn_step_add_noise(s, l.up, 0, s->slot[BASE], p.eps);
    predict(s, vn_step_order(s, predictor, lower_final));
    vn_step_record(s, X0, PAST, MAX_ORDER - 1);
    return VN_OK;
}

const vn_sampler_row vn_sa_solver_sampler = {
    .row = {"sa-solver", "stochastic Adams: predictor and corrector on the SDE", "2309.05019",
            params},
    .spacing = VN_SPACING_EXTRA,
    .abilities = VN_NEEDS_SDE, /* with the default tau */
    .slots = SLOTS,
    .check = check,
    .step = step,
};
