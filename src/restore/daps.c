/* daps.c - decoupled annealing posterior sampling (2407.01521): at each level a sample of x0 given
 * x_t and y is drawn, and then noised to the next level, which is the sampler lcm. With the mean c
 * and the covariance C of x0 given x_t
 *
 *     x0 ~ N(c, C) N(y; A x0, noise^2)
 *
 *     center      mean       c = D
 *                 ode        c = the end of the ODE from x_t, by a few steps of Euler's rule
 *     covariance  level      C = s^2, s = sigma/alpha
 *                 unit       C = sigma^2/(alpha^2 + sigma^2), that of data of unit variance
 *                 jacobian   C = sigma^2/alpha J
 *     kernel      langevin   steps of x0 += h score + sqrt(2 h) z from c, with tau in the place of
 *                            noise
 *                 exact      c + C^(1/2) z, then corrected for the residual of y with new noise
 *
 * ode, level and langevin are as published. They are not the posterior, even for Gaussian data: c
 * and C are not x0's given x_t. mean, jacobian and exact are it for Gaussian data; C^(1/2) z is
 * found by Lanczos' rule, which is exact after as many products as z has numbers. A draw takes the
 * same random numbers under every condition. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

enum { CENTER, COVARIANCE, KERNEL, STEPS, ITERATIONS, MOVES, RATE, TAU };
enum { MEAN, ODE };
enum { LEVEL, UNIT, JACOBIAN };
enum { AUTO, LANGEVIN, EXACT };
static const vn_param params[] = {
    {"center", "of x0 given x: its mean, or the end of the ODE", ODE, 0, 1, VN_PARAM_WHOLE,
     "mean|ode"},
    {"covariance", "of x0 given x: s^2, that of unit-variance data, or by the model's Jacobian",
     LEVEL, 0, 2, VN_PARAM_WHOLE, "level|unit|jacobian"},
    {"kernel", "how x0 is drawn; auto: exact with jacobian, else langevin", AUTO, 0, 2,
     VN_PARAM_WHOLE, "auto|langevin|exact"},
    {"steps", "of the ODE", 5, 1, 1000, VN_PARAM_WHOLE, NULL},
    {"iterations", "of Lanczos and of conjugate gradients, with jacobian", 5, 1, VN_MAX_BASIS,
     VN_PARAM_WHOLE, NULL},
    {"moves", "of Langevin", 100, 1, 1000, VN_PARAM_WHOLE, NULL},
    {"rate", "h of Langevin at t = 1, which falls to its hundredth at t = 0", 1e-4, 1e-9, 1,
     VN_PARAM_REAL, NULL},
    {"tau", "deviation of the observation's noise for Langevin", 0.01, 1e-6, 1e3, VN_PARAM_REAL,
     NULL},
    {0},
};

static bool is_exact(const vn_choice *c) {
    return c->value[KERNEL] == EXACT ||
           (c->value[KERNEL] == AUTO && c->value[COVARIANCE] == JACOBIAN);
}

static vn_status check(const vn_restoration *r, vn_err *err) {
    const vn_choice *c = &r->choice;
    const bool exact = is_exact(c), jacobian = c->value[COVARIANCE] == JACOBIAN;
    if (r->op->inner && exact)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "daps: kernel=exact is for what is observed of samples themselves, and these "
            "are decoded first; kernel=langevin follows the gradient");
    if (jacobian && !exact)
        return vn_fail(err, VN_BAD_ARGUMENT, "daps: covariance=jacobian needs kernel=exact");
    if (jacobian && !(r->inner->can & VN_CAN_VJP))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "daps: covariance=jacobian needs the derivatives of a "
                       "model, and this one has none");
    if (c->given[STEPS] && c->value[CENTER] == MEAN)
        return vn_fail(err, VN_BAD_ARGUMENT, "daps: steps has no effect with center=mean");
    if (c->given[ITERATIONS] && !jacobian)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "daps: iterations has no effect without covariance=jacobian");
    for (int i = MOVES; i <= TAU; i++)
        if (c->given[i] && exact)
            return vn_fail(err, VN_BAD_ARGUMENT, "daps: %s has no effect with kernel=exact",
                           params[i].name);
    return VN_OK;
}

/* Draws of a step: 0 for x0, 1 for the observation, then Langevin's. */
enum { OF_X0, OF_Y, OF_MOVES };

static void noise(const vn_restoring *s, int64_t row, int draw, int64_t n, float *out) {
    vn_rule_noise(s->r, s->q->sample[row], s->q->step, draw, (size_t)n, out);
}

/* ---- the centre ------------------------------------------------------------------------------ */

#define END_RATIO 0.01 /* of the ODE, as published */
#define RHO       7

/* x0 becomes the end of the ODE from x, whose first x0-prediction it holds. */
static vn_status follow_ode(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const int steps = (int)r->choice.value[STEPS];
    const double last = pow(END_RATIO, 1.0 / RHO);
    float *x = r->basis[0];
    vn_status status = VN_OK;
    memcpy(x, s->x, (size_t)(s->n * size) * sizeof *x);
    for (int64_t i = 0; i < s->n; i++) r->free_level[i] = s->level[i];
    for (int k = 1; k <= steps && !status; k++) {
        if (k > 1) status = vn_query_x0(s, x, r->free_level, s->x0, err);
        for (int64_t i = 0; i < s->n && !status; i++) {
            const double first = pow(vn_level_ratio(&s->level[i]), 1.0 / RHO),
                         ratio = pow(first + (last - first) * k / steps, RHO);
            const vn_level from = r->free_level[i];
            if (!(vn_level_ratio(&s->level[i]) > END_RATIO)) continue;
            r->free_level[i] = vn_path_level_of_ratio(r->inner->path, ratio);
            const double keep = r->free_level[i].sigma / from.sigma,
                         move = r->free_level[i].alpha - keep * from.alpha;
            for (int64_t j = i * size; j < (i + 1) * size; j++)
                x[j] = (float)(keep * (double)x[j] + move * (double)s->x0[j]);
        }
    }
    for (int64_t i = 0; i < s->n && !status; i++)
        for (int64_t j = i * size; vn_level_ratio(&s->level[i]) > END_RATIO && j < (i + 1) * size;
             j++)
            s->x0[j] = (float)((double)x[j] / r->free_level[i].alpha);
    return status;
}

/* ---- Langevin -------------------------------------------------------------------------------- */

static void run_langevin(const vn_restoring *s, int64_t row, double variance) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    const double *y = vn_observed(r, s->q->sample[row]), *value = r->choice.value;
    const double h = value[RATE] * (0.01 + 0.99 * s->level[row].t), spread = sqrt(2 * h);
    double *x = r->x_work[0], *pull = r->x_work[1], *residual = r->y_work[0];
    const float *center = s->x0 + row * size;
    float *z = r->direction + row * size;
    for (int64_t j = 0; j < size; j++) x[j] = (double)center[j];
    for (int k = 0; k < (int)value[MOVES]; k++) {
        r->op->row->apply(r->op, x, residual);
        for (int64_t j = 0; j < count; j++)
            residual[j] = (y[j] - residual[j]) / (value[TAU] * value[TAU]);
        r->op->row->transpose(r->op, residual, pull);
        noise(s, row, OF_MOVES + k, size, z);
        for (int64_t j = 0; j < size; j++)
            x[j] += h * (pull[j] - (x[j] - (double)center[j]) / variance) + spread * (double)z[j];
    }
    for (int64_t j = 0; j < size; j++) s->x0[row * size + j] = (float)x[j];
}

/* ---- exact ----------------------------------------------------------------------------------- */

/* r->residual = y + noise eta - A x0, with new eta ~ N(0, I) */
static void find_noisy_residual(const vn_restoring *s) {
    vn_restoration *r = s->r;
    const int64_t count = r->op->count;
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        double *residual = r->residual + i * count;
        for (int64_t j = 0; j < count; j += r->inner->size) {
            const int64_t n = count - j < r->inner->size ? count - j : r->inner->size;
            float *z = r->direction + i * r->inner->size;
            noise(s, i, OF_Y + (int)(j / r->inner->size) * 512, n, z);
            for (int64_t k = 0; k < n; k++) residual[j + k] += r->noise * (double)z[k];
        }
    }
}

static void draw_isotropic(const vn_restoring *s, const double *variance) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    for (int64_t i = 0; i < s->n; i++) {
        float *z = r->direction + i * size;
        noise(s, i, OF_X0, size, z);
        for (int64_t j = 0; j < size; j++)
            s->x0[i * size + j] += (float)(sqrt(variance[i]) * (double)z[j]);
    }
    find_noisy_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        double *v = r->v + i * count;
        vn_operator_solve(r->op, r->noise * r->noise / variance[i], r->residual + i * count, v);
        r->op->row->transpose(r->op, v, r->x_work[1]);
        vn_shift_row(s, i, 1, r->x_work[1]);
    }
}

static double dot(int64_t n, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* x0 of the row += length Q T^(1/2) e_1, T tridiagonal with `on` and `off` its diagonals. */
static void add_root(const vn_restoring *s, int64_t row, int k, const double *on, const double *off,
                     double length) {
    enum { MAX_ENTRIES = VN_MAX_BASIS * VN_MAX_BASIS };
    double t[MAX_ENTRIES] = {0}, value[VN_MAX_BASIS], vector[MAX_ENTRIES], root[VN_MAX_BASIS] = {0};
    const int64_t size = s->r->inner->size;
    for (int i = 0; i < k; i++) {
        t[i * k + i] = on[i];
        if (i + 1 < k) t[i * k + i + 1] = t[(i + 1) * k + i] = off[i];
    }
    vn_eigen((size_t)k, t, value, vector);
    for (int e = 0; e < k; e++)
        for (int i = 0; i < k && value[e] > 0; i++)
            root[i] += sqrt(value[e]) * vector[e * k] * vector[e * k + i];
    for (int i = 0; i < k; i++) {
        const float *q = s->r->basis[i] + row * size;
        for (int64_t j = 0; j < size; j++)
            s->x0[row * size + j] += (float)(length * root[i] * (double)q[j]);
    }
}

/* The next vector of a row's basis out of r->derivative, made orthogonal to all before; false: the
 * basis is whole. */
static bool extend(const vn_restoring *s, int64_t row, int k, double *on, double *off) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const double gamma = vn_covariance_scale(&s->level[row]);
    float *w = r->derivative + row * size;
    const double whole = gamma * sqrt(dot(size, w, w));
    on[k] = gamma * dot(size, w, r->basis[k] + row * size);
    for (int again = 0; again < 2; again++)
        for (int i = 0; i <= k; i++) {
            const float *q = r->basis[i] + row * size;
            const float part = (float)dot(size, w, q);
            for (int64_t j = 0; j < size; j++) w[j] -= part * q[j];
        }
    off[k] = gamma * sqrt(dot(size, w, w));
    if (!(off[k] > 1e-5 * whole) || k + 1 == (int)r->choice.value[ITERATIONS]) return false;
    for (int64_t j = 0; j < size; j++)
        r->basis[k + 1][row * size + j] = (float)(gamma / off[k] * (double)w[j]);
    return true;
}

/* x0 += (sigma^2/alpha J)^(1/2) z */
static vn_status add_prior_draw(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    double *length = r->row_work[0], *done = r->row_work[1];
    int64_t left = s->n;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < s->n; i++) {
        float *q = r->basis[0] + i * size;
        noise(s, i, OF_X0, size, q);
        length[i] = sqrt(dot(size, q, q));
        for (int64_t j = 0; j < size; j++) q[j] /= (float)length[i];
        done[i] = 0;
    }
    for (int k = 0; left && !status; k++) {
        for (int64_t i = 0; i < s->n; i++)
            for (int64_t j = i * size; j < (i + 1) * size; j++)
                r->direction[j] = done[i] == 0 ? r->basis[k][j] : 0;
        status = vn_query_vjp(s, err);
        for (int64_t i = 0; i < s->n && !status; i++) {
            double *on = r->lanczos + i * 2 * VN_MAX_BASIS, *off = on + VN_MAX_BASIS;
            if (done[i] != 0 || extend(s, i, k, on, off)) continue;
            add_root(s, i, k + 1, on, off, length[i]);
            done[i] = 1;
            left--;
        }
    }
    return status;
}

static vn_status draw_by_jacobian(const vn_restoring *s, vn_err *err) {
    const vn_status status = add_prior_draw(s, err);
    if (status) return status;
    find_noisy_residual(s);
    return vn_solve_posterior(s, (int)s->r->choice.value[ITERATIONS], s->x0, err);
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    const vn_choice *c = &s->r->choice;
    double *variance = s->r->row_work[0];
    const vn_status status = c->value[CENTER] == ODE ? follow_ode(s, err) : VN_OK;
    if (status || c->value[COVARIANCE] == JACOBIAN)
        return status ? status : draw_by_jacobian(s, err);
    for (int64_t i = 0; i < s->n; i++) {
        const double ratio = vn_level_ratio(&s->level[i]);
        variance[i] = c->value[COVARIANCE] == UNIT ? vn_unit_variance(&s->level[i]) : ratio * ratio;
    }
    if (is_exact(c))
        draw_isotropic(s, variance);
    else
        for (int64_t i = 0; i < s->n; i++) run_langevin(s, i, variance[i]);
    return VN_OK;
}

const vn_restorer_row vn_daps_restorer = {
    .row = {"daps", "a draw of x0 given x and the observation, noised to the next level",
            "2407.01521", params},
    .needs = VN_RULE_SMOOTH,
    .sampler = "lcm",
    .only = true,
    .basis = VN_MAX_BASIS,
    .check = check,
    .restore = restore,
};
