/* pigdm.c - pseudoinverse-guided diffusion (OpenReview 9_gsMA8MRKQ). x0 given x_t is taken as a
 * Gaussian of the mean D and the covariance r^2 I, r^2 = sigma^2/(alpha^2 + sigma^2), which is that
 * of data of unit variance:
 *
 *     D_y = D + (sigma^2/alpha) J^T A^T (r^2 A A^T + noise^2)^-1 (y - A D)
 *
 * That is the score of this Gaussian (`weight=score`), with which A x0 moves by no more than the
 * residual. The published algorithm instead adds alpha alpha' r^2 times the gradient to x'
 * (`weight=published`), an amount that does not shrink with the step. */
#include "restore/internal.h"

#include <math.h>

enum { WEIGHT };
enum { SCORE, PUBLISHED };
static const vn_param params[] = {
    {"weight", "of the gradient: the score of its Gaussian, or as in the published algorithm",
     SCORE, 0, 1, VN_PARAM_WHOLE, "score|published"},
    {0},
};

double vn_unit_variance(const vn_level *l) {
    return l->sigma * l->sigma / (l->alpha * l->alpha + l->sigma * l->sigma);
}

void vn_unit_twist(const vn_restoring *s, double *twist) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    vn_find_residual(s);
    for (int64_t i = 0; i < s->n; i++) {
        const double *residual = r->residual + i * count, r2 = vn_unit_variance(&s->level[i]);
        double *v = r->v + i * count, square = 0;
        vn_operator_solve(r->op, r->noise * r->noise / r2, residual, v);
        for (int64_t j = 0; j < count; j++) square += residual[j] * v[j];
        if (twist) twist[i] = -square / (2 * r2);
        vn_transpose_row(r, v, r->direction + i * size);
    }
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    double *amount = r->row_work[0];
    vn_unit_twist(s, NULL);
    for (int64_t i = 0; i < s->n; i++) {
        const vn_level *from = &s->level[i], *to = vn_restoring_to(s, i);
        amount[i] = r->choice.value[WEIGHT] == SCORE
                        ? vn_covariance_scale(from) / vn_unit_variance(from)
                        : from->alpha * to->alpha / vn_ancestral_share(from, to);
    }
    const vn_status status = vn_query_vjp(s, err);
    if (!status && r->choice.value[WEIGHT] == SCORE)
        vn_shift_within(s, amount);
    else if (!status)
        vn_shift_by_derivative(s, amount);
    return status;
}

const vn_restorer_row vn_pigdm_restorer = {
    .row = {"pigdm", "x0 given x as a Gaussian of the covariance of unit-variance data",
            "OpenReview 9_gsMA8MRKQ", params},
    .needs = VN_RULE_VJP,
    .restore = restore,
};
