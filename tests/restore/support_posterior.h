/* support_posterior.h - worlds whose posteriors given y = A x + noise are known in closed form, and
 * a restoration of one in one call.
 *
 * The prior is sum of w_k N(m_k, S_k), A [m,D] and the noise's variance s^2; then the posterior is
 * sum of w'_k N(m'_k, S'_k) with
 *
 *     K_k = S_k A^T (A S_k A^T + s^2 I)^-1
 *     m'_k = m_k + K_k (y - A m_k),  S'_k = S_k - K_k A S_k
 *     w'_k = w_k N(y; A m_k, A S_k A^T + s^2 I), normalised
 */
#ifndef VN_TEST_POSTERIOR_H
#define VN_TEST_POSTERIOR_H

#include "restore/restore.h"
#include "support/bench.h"

enum { MAX_SIZE = 4, PARTS = 2 };

typedef struct gaussian {
    double weight, mean[MAX_SIZE], cov[MAX_SIZE * MAX_SIZE];
} gaussian;

typedef struct problem {
    int size, rows, parts;
    gaussian prior[PARTS];
    double matrix[MAX_SIZE * MAX_SIZE], y[MAX_SIZE], noise;
    gaussian posterior[PARTS]; /* solve_problem */
} problem;

void solve_problem(problem *p);
/* The mean and covariance of the whole posterior. */
void posterior_moments(const problem *p, double *mean, double *cov);
/* The problem of E[x0|x_t, y]: the prior is replaced by x0 given x at a level. */
problem problem_at(const problem *p, double alpha, double sigma, const double *x);

/* A world of the prior, of which both parts are one class. */
typedef struct posterior_bench {
    bench b;
    vn_operator *operator;
} posterior_bench;
posterior_bench posterior_open(const problem *p, const char *path);
void posterior_close(posterior_bench *b);

/* Runs `n` samples x [n,D] under a rule; what `o` lacks is filled in. */
vn_status posterior_run(const posterior_bench *b, const problem *p, const char *rule,
                        vn_trajectory_options o, int64_t n, int64_t batch, float *x, double *passes,
                        double *derivatives, vn_err *err);

/* What samples are off by. */
typedef struct posterior_error {
    double mean, cov; /* largest, in parts of the largest deviation and variance */
    double weight;    /* of part 0: that of samples nearer to its mean, less the true one */
} posterior_error;
posterior_error measure_posterior(const problem *p, int64_t n, const float *x);

#endif
