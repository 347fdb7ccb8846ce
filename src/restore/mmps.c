/* mmps.c - moment-matching posterior sampling (2405.13712). x0 given x_t is taken as a Gaussian of
 * the mean D and the covariance gamma J, gamma = sigma^2/alpha, J = dD/dx, which are exact by
 * Tweedie's formula; then
 *
 *     (noise^2 + gamma A J A^T) v = y - A D          by conjugate gradients
 *     D_y = D + gamma J A^T v
 *
 * For Gaussian data this is E[x0|x_t,y] once the equations are solved. A network's J is not quite
 * symmetric: J^T takes its place, the search stops where the matrix turns out not to be positive,
 * and A D_y moves by no more than the residual, as it does for any covariance. The products of the
 * search add up to J A^T v, so k iterations cost k derivatives.
 *
 * tmpd is the same with the matrix replaced by a diagonal (2310.06721):
 *
 *     v = (y - A D)/(noise^2 + gamma A J A^T 1) */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

enum { ITERATIONS };
static const vn_param params[] = {
    {"iterations",
     "of conjugate gradients, a derivative each; exact at the number of observed "
     "numbers",
     3, 1, 1000, VN_PARAM_WHOLE, NULL},
    {0},
};

#define SOLVED 1e-6 /* a residual, relative: the products are of float32 */

/* r->q = (noise^2 + gamma A J^T A^T) r->p for rows that are not `done`; r->derivative = J^T A^T
 * p. */
static vn_status multiply(const vn_restoring *s, const double *done, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    for (int64_t i = 0; i < s->n; i++)
        if (done[i] == 0)
            vn_transpose_row(r, r->p + i * count, r->direction + i * size);
        else
            memset(r->direction + i * size, 0, (size_t)size * sizeof(float));
    const vn_status status = vn_query_vjp(s, err);
    for (int64_t i = 0; i < s->n && !status; i++) {
        const double gamma = vn_covariance_scale(&s->level[i]);
        double *p = r->p + i * count, *q = r->q + i * count;
        if (done[i] != 0) continue;
        for (int64_t j = 0; j < size; j++)
            r->x_work[0][j] = gamma * (double)r->derivative[i * size + j];
        r->op->row->apply(r->op, r->x_work[0], q);
        for (int64_t j = 0; j < count; j++) q[j] += r->noise * r->noise * p[j];
    }
    return status;
}

/* A step of conjugate gradients of one row; false: it is done. rr: of the residual, then of the
 * next one. */
static bool advance(const vn_restoring *s, int64_t row, double *rr, float *x0) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    double *p = r->p + row * count, *q = r->q + row * count, *v = r->v + row * count,
           *left = r->residual + row * count;
    const double curve = vn_dot(count, p, q), before = *rr;
    if (!(curve > 0)) return false;
    const double step = before / curve, of_x0 = step * vn_covariance_scale(&s->level[row]);
    for (int64_t j = 0; j < count; j++) {
        v[j] += step * p[j];
        left[j] -= step * q[j];
    }
    for (int64_t j = row * size; x0 && j < (row + 1) * size; j++)
        x0[j] = (float)((double)x0[j] + of_x0 * (double)r->derivative[j]);
    *rr = vn_dot(count, left, left);
    for (int64_t j = 0; j < count; j++) p[j] = left[j] + *rr / before * p[j];
    return true;
}

vn_status vn_solve_posterior(const vn_restoring *s, int iterations, float *x0, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t count = r->op->count;
    double *rr = r->row_work[0], *enough = r->row_work[1], *done = r->row_work[2];
    const size_t numbers = (size_t)(s->n * count);
    if (x0) vn_keep_x0(s);
    memset(r->v, 0, numbers * sizeof *r->v);
    memcpy(r->p, r->residual, numbers * sizeof *r->p);
    int64_t left = s->n;
    for (int64_t i = 0; i < s->n; i++) {
        rr[i] = vn_dot(count, r->residual + i * count, r->residual + i * count);
        enough[i] = SOLVED * SOLVED * rr[i];
        done[i] = rr[i] == 0;
        left -= rr[i] == 0;
    }
    vn_status status = VN_OK;
    for (int k = 0; k < iterations && left && !status; k++) {
        status = multiply(s, done, err);
        for (int64_t i = 0; i < s->n && !status; i++) {
            if (done[i] != 0) continue;
            done[i] = !advance(s, i, &rr[i], x0) || rr[i] <= enough[i];
            left -= done[i] != 0;
        }
    }
    for (int64_t i = 0; i < s->n; i++) enough[i] = sqrt(enough[i]) / SOLVED;
    if (x0 && !status) vn_limit_shift(s, enough);
    return status;
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_find_residual(s);
    return vn_solve_posterior(s, (int)s->r->choice.value[ITERATIONS], s->x0, err);
}

const vn_restorer_row vn_mmps_restorer = {
    .row = {"mmps", "x0 given x as a Gaussian of the covariance sigma^2/alpha J", "2405.13712",
            params},
    .needs = VN_RULE_VJP,
    .restore = restore,
};

/* ---- tmpd ------------------------------------------------------------------------------------ */

static vn_status restore_diagonal(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    double *none = r->row_work[0], *gamma = r->row_work[1];
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        none[i] = 0;
        gamma[i] = vn_covariance_scale(&s->level[i]);
        for (int64_t j = 0; j < count; j++) r->p[i * count + j] = 1;
    }
    vn_status status = multiply(s, none, err);
    for (int64_t i = 0; i < s->n && !status; i++) {
        for (int64_t j = i * count; j < (i + 1) * count; j++)
            r->v[j] = r->q[j] > 0 ? r->residual[j] / r->q[j] : 0;
        vn_transpose_row(r, r->v + i * count, r->direction + i * size);
    }
    if (!status) status = vn_query_vjp(s, err);
    if (!status) vn_shift_within(s, gamma);
    return status;
}

const vn_restorer_row vn_tmpd_restorer = {
    .row = {"tmpd", "mmps with a diagonal in the place of the matrix", "2310.06721", NULL},
    .needs = VN_RULE_VJP,
    .restore = restore_diagonal,
};
