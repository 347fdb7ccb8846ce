/* adams.c - what multistep and exponential solvers share. On every path the probability-flow ODE
 * can be written, with one of three time variables c, as the integral of something that changes
 * slowly:
 *
 *     x'/sigma' = x/sigma + int e^lambda x0 dlambda      x0 by lambda = log(alpha/sigma)
 *                                                        (2211.01095)
 *     x'/alpha' = x/alpha - int e^-lambda eps dlambda    eps by lambda (2206.00927)
 *     x'/m'     = x/m + int (eps - k x0) dc              slopes by time in straight coordinates,
 *                                                        path.h (2206.00364)
 *
 * All solvers interpolate the integrand m by a polynomial through its value now and those m_k at
 * nodes r_k = (c_k - c)/h. They differ in the nodes and in the moments M_i, which take the place of
 * the integral of tau^i over the step:
 *
 *     x' = move + scale sum_k w_k (m_k - m)        sum_k w_k r_k^i = M_i, i = 1 .. n
 *
 * where move is the step for a constant m (DDIM) and scale is alpha' h, -sigma' h or m' h. The
 * exact moments are i! phi_{i+1}(z), z = -h, h or 0 in these three cases; at z = 0 that is 1/(i+1),
 * the rule of Adams. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

/* phi_0 = e^z, phi_{k+1} = (phi_k - 1/k!)/z = sum_j z^j / (j+k+1)!; the sum where the difference
 * would cancel. */
double vn_phi(int k, double z) {
    double factorial = 1, sum = 0;
    if (fabs(z) < 1) {
        for (int j = 2; j <= k; j++) factorial *= j;
        double term = 1 / factorial;
        for (int j = 1; j < 20; j++) {
            sum += term;
            term *= z / (k + j);
        }
        return sum;
    }
    double phi = expm1(z) / z; /* phi_1 */
    for (int j = 1; j < k; j++) {
        factorial *= j;
        phi = (phi - 1 / factorial) / z;
    }
    return k ? phi : exp(z);
}

void vn_adams_moments(int n, double z, double *moment) {
    double factorial = 1;
    for (int i = 1; i <= n; i++) {
        factorial *= i;
        moment[i - 1] = factorial * vn_phi(i + 1, z);
    }
}

/* w_k is the sum of the moments by the coefficients of tau/r_k prod_{j != k} (tau - r_j)/(r_k -
 * r_j). */
void vn_adams_weights(int n, const double *node, const double *moment, double *weight) {
    for (int k = 0; k < n; k++) {
        double poly[VN_MAX_PAST + 1] = {0, 1 / node[k]};
        for (int j = 0, degree = 1; j < n; j++) {
            if (j == k) continue;
            const double gap = node[k] - node[j];
            for (int i = ++degree; i > 0; i--) poly[i] = (poly[i - 1] - node[j] * poly[i]) / gap;
        }
        weight[k] = 0;
        for (int i = 0; i < n; i++) weight[k] += moment[i] * poly[i + 1];
    }
}

int vn_step_order(const vn_step *s, int order, bool lower_final) {
    const int left = s->count - s->index, known = s->history + 1;
    if (lower_final && left < order) order = left;
    return known < order ? known : order;
}

int vn_step_order_by(const vn_step *s, int order, int lower_final) {
    const bool few =
        s->count < VN_FEW_STEPS && (lower_final == VN_LOWER_FEW || lower_final == VN_LOWER_BOTH);
    const bool last =
        s->index == s->count - 1 && (lower_final == VN_LOWER_LAST || lower_final == VN_LOWER_BOTH);
    return vn_step_order(s, last ? 1 : order, few);
}

/* The time variables are infinite at pure noise or at data: a step from or to there has no nodes,
 * nor has a step of length 0; nodes that lie there are left out. */
int vn_step_nodes(int max, double from, double to, const double *past, double *node) {
    int n = 0;
    if (!isfinite(from) || !isfinite(to) || from == to) return 0;
    while (n < max && isfinite(past[n])) {
        node[n] = (past[n] - from) / (to - from);
        n++;
    }
    return n;
}

int vn_step_lambda_nodes(const vn_step *s, int max, double *node) {
    double past[VN_MAX_PAST];
    for (int k = 0; k < max; k++) past[k] = vn_level_lambda(s->from - k - 1);
    return vn_step_nodes(max, vn_level_lambda(s->from), vn_level_lambda(s->to), past, node);
}

void vn_step_correct(vn_step *s, double scale, int n, const double *weight, float *const *value,
                     const float *now) {
    for (int k = 0; k < n; k++) {
        const float w = (float)(scale * weight[k]);
        const float *m = value[k];
        for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] += w * (m[i] - now[i]);
    }
}

void vn_step_adams(vn_step *s, double scale, int n, const double *node, const double *moment,
                   float *const *value, const float *now) {
    double weight[VN_MAX_PAST];
    vn_adams_weights(n, node, moment, weight);
    vn_step_correct(s, scale, n, weight, value, now);
}

void vn_step_record(vn_step *s, int now, int first, int count) {
    if (!count) return;
    float *oldest = s->slot[first + count - 1];
    memmove(&s->slot[first + 1], &s->slot[first], (size_t)(count - 1) * sizeof *s->slot);
    s->slot[first] = s->slot[now];
    s->slot[now] = oldest;
}
