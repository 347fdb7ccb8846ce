#include "support_posterior.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Solves a [n,n] in place by Gauss and Jordan's rule: *inverse, and the logarithm of the
 * determinant. For symmetric positive matrices. */
static double invert(int n, const double *a, double *inverse) {
    double work[MAX_SIZE * 2 * MAX_SIZE], log_det = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            work[i * 2 * n + j] = a[i * n + j];
            work[i * 2 * n + n + j] = i == j;
        }
    for (int k = 0; k < n; k++) {
        const double pivot = work[k * 2 * n + k];
        log_det += log(pivot);
        for (int j = 0; j < 2 * n; j++) work[k * 2 * n + j] /= pivot;
        for (int i = 0; i < n; i++) {
            const double part = work[i * 2 * n + k];
            for (int j = 0; j < 2 * n && i != k; j++)
                work[i * 2 * n + j] -= part * work[k * 2 * n + j];
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) inverse[i * n + j] = work[i * 2 * n + n + j];
    return log_det;
}

/* out [a,c] = x [a,b] y [b,c], or y transposed [c,b] */
static void multiply(int a, int b, int c, const double *x, const double *y, bool transposed,
                     double *out) {
    for (int i = 0; i < a; i++)
        for (int j = 0; j < c; j++) {
            double sum = 0;
            for (int k = 0; k < b; k++)
                sum += x[i * b + k] * (transposed ? y[j * b + k] : y[k * c + j]);
            out[i * c + j] = sum;
        }
}

/* N(m, S) given y = A x + noise; returns log N(y; A m, A S A^T + noise^2). */
static double condition(const problem *p, const gaussian *prior, gaussian *out) {
    const int n = p->size, m = p->rows;
    double sat[MAX_SIZE * MAX_SIZE] = {0}, c[MAX_SIZE * MAX_SIZE] = {0},
                          inverse[MAX_SIZE * MAX_SIZE] = {0}, k[MAX_SIZE * MAX_SIZE], am[MAX_SIZE],
                          gone[MAX_SIZE * MAX_SIZE], lack[MAX_SIZE], square = 0;
    multiply(n, n, m, prior->cov, p->matrix, true, sat);
    multiply(m, n, m, p->matrix, sat, false, c);
    for (int i = 0; i < m; i++) c[i * m + i] += p->noise * p->noise;
    const double log_det = invert(m, c, inverse);
    multiply(n, m, m, sat, inverse, false, k);
    multiply(m, n, 1, p->matrix, prior->mean, false, am);
    for (int i = 0; i < m; i++) lack[i] = p->y[i] - am[i];
    multiply(n, m, n, k, sat, true, gone);
    for (int i = 0; i < n; i++) {
        out->mean[i] = prior->mean[i];
        for (int j = 0; j < m; j++) out->mean[i] += k[i * m + j] * lack[j];
    }
    for (int i = 0; i < n * n; i++) out->cov[i] = prior->cov[i] - gone[i];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) square += lack[i] * inverse[i * m + j] * lack[j];
    return -(square + log_det) / 2;
}

void solve_problem(problem *p) {
    double log_weight[PARTS], top = (double)-INFINITY, sum = 0;
    for (int k = 0; k < p->parts; k++) {
        log_weight[k] = log(p->prior[k].weight) + condition(p, &p->prior[k], &p->posterior[k]);
        top = fmax(top, log_weight[k]);
    }
    for (int k = 0; k < p->parts; k++) sum += exp(log_weight[k] - top);
    for (int k = 0; k < p->parts; k++) p->posterior[k].weight = exp(log_weight[k] - top) / sum;
}

void posterior_moments(const problem *p, double *mean, double *cov) {
    const int n = p->size;
    for (int i = 0; i < n; i++) {
        mean[i] = 0;
        for (int k = 0; k < p->parts; k++)
            mean[i] += p->posterior[k].weight * p->posterior[k].mean[i];
    }
    for (int i = 0; i < n * n; i++) {
        cov[i] = 0;
        for (int k = 0; k < p->parts; k++) {
            const gaussian *g = &p->posterior[k];
            cov[i] += g->weight *
                      (g->cov[i] + (g->mean[i / n] - mean[i / n]) * (g->mean[i % n] - mean[i % n]));
        }
    }
}

problem problem_at(const problem *p, double alpha, double sigma, const double *x) {
    problem at = *p, noisy = *p;
    noisy.rows = p->size;
    noisy.noise = sigma;
    for (int i = 0; i < p->size * p->size; i++) noisy.matrix[i] = i % (p->size + 1) ? 0 : alpha;
    for (int i = 0; i < p->size; i++) noisy.y[i] = x[i];
    solve_problem(&noisy);
    for (int k = 0; k < p->parts; k++) at.prior[k] = noisy.posterior[k];
    solve_problem(&at);
    return at;
}

/* ---- worlds ---------------------------------------------------------------------------------- */

static int write_list(char *to, size_t room, const double *x, int n) {
    int used = 0;
    for (int i = 0; i < n; i++)
        used += snprintf(to + used, room - (size_t)used, "%s%.17g", i ? ", " : "", x[i]);
    return used;
}

posterior_bench posterior_open(const problem *p, const char *path) {
    char json[4096];
    const int n = p->size;
    int at = snprintf(json, sizeof json, "{\"classes\": [{\"components\": [");
    for (int k = 0; k < p->parts; k++) {
        at += snprintf(json + at, sizeof json - (size_t)at, "%s{\"weight\": %.17g, \"mean\": [",
                       k ? ", " : "", p->prior[k].weight);
        at += write_list(json + at, sizeof json - (size_t)at, p->prior[k].mean, n);
        at += snprintf(json + at, sizeof json - (size_t)at, "], \"cov\": [");
        for (int i = 0; i < n; i++) {
            at += snprintf(json + at, sizeof json - (size_t)at, "%s[", i ? ", " : "");
            at += write_list(json + at, sizeof json - (size_t)at, p->prior[k].cov + i * n, n);
            at += snprintf(json + at, sizeof json - (size_t)at, "]");
        }
        at += snprintf(json + at, sizeof json - (size_t)at, "]}");
    }
    snprintf(json + at, sizeof json - (size_t)at, "]}]}");
    posterior_bench b = {.b = bench_open(json, path, "v")};
    float matrix[MAX_SIZE * MAX_SIZE];
    for (int i = 0; i < p->rows * n; i++) matrix[i] = (float)p->matrix[i];
    const vn_array given = {"matrix", VN_F32, VN_SHAPE(p->rows, n), matrix};
    const vn_operator_options options = {
        .text = "matrix", .given = &given, .sample = b.b.denoiser.sample};
    vn_err err = {0};
    if (vn_operator_open(&options, &b.operator, & err)) fail_msg("%s", err.text);
    return b;
}

void posterior_close(posterior_bench *b) {
    vn_operator_close(&b->operator);
    bench_close(&b->b);
}

vn_status posterior_run(const posterior_bench *b, const problem *p, const char *rule,
                        vn_trajectory_options o, int64_t n, int64_t batch, float *x, double *passes,
                        double *derivatives, vn_err *err) {
    const vn_restoration_options options = {.rule = rule,
                                            .denoiser = &b->b.denoiser,
                                            .operator= b->operator,
                                            .observed = p->y,
                                            .observations = 1,
                                            .noise = p->noise,
                                            .seed = o.seed,
                                            .capacity = batch};
    vn_restoration *r = NULL;
    vn_trajectory *w = NULL;
    bool only;
    vn_status status = vn_restoration_open(&options, &r, err);
    if (status) return status;
    o.denoiser = vn_restoration_denoiser(r);
    o.between = vn_restoration_between(r);
    o.capacity = batch;
    o.guidance = 1;
    if (!o.sampler) o.sampler = vn_restorer_sampler(rule, &only);
    status = vn_trajectory_open(&o, &w, err);
    vn_condition *labels = calloc((size_t)n, sizeof *labels);
    for (int64_t i = 0; i < n && !status; i += batch) {
        const int64_t part = n - i < batch ? n - i : batch;
        const vn_trajectory_batch now = {
            .n = part, .first = (uint64_t)i, .condition = labels, .x = x + i * p->size};
        status = vn_trajectory_run(w, &now, NULL, 0, vn_trajectory_steps(w), err);
        if (passes && !status) vn_restoration_cost(r, part, passes, derivatives);
    }
    free(labels);
    vn_trajectory_close(&w);
    vn_restoration_close(&r);
    return status;
}

/* ---- what is measured ------------------------------------------------------------------------ */

posterior_error measure_posterior(const problem *p, int64_t n, const float *x) {
    const int size = p->size;
    double mean[MAX_SIZE], cov[MAX_SIZE * MAX_SIZE], got[MAX_SIZE] = {0},
                                                     spread[MAX_SIZE * MAX_SIZE] = {0}, most = 0;
    posterior_error e = {0, 0, 0};
    posterior_moments(p, mean, cov);
    for (int64_t i = 0; i < n * size; i++) got[i % size] += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < size * size; j++)
            spread[j] += ((double)x[i * size + j / size] - got[j / size]) *
                         ((double)x[i * size + j % size] - got[j % size]) / (double)n;
    for (int j = 0; j < size; j++) most = fmax(most, cov[j * size + j]);
    for (int j = 0; j < size; j++) e.mean = fmax(e.mean, fabs(got[j] - mean[j]) / sqrt(most));
    for (int j = 0; j < size * size; j++) e.cov = fmax(e.cov, fabs(spread[j] - cov[j]) / most);
    for (int64_t i = 0; i < n && p->parts > 1; i++) {
        double apart[PARTS] = {0};
        for (int k = 0; k < p->parts; k++)
            for (int j = 0; j < size; j++)
                apart[k] += pow((double)x[i * size + j] - p->posterior[k].mean[j], 2);
        e.weight += (apart[0] < apart[1]) / (double)n;
    }
    if (p->parts > 1) e.weight -= p->posterior[0].weight;
    return e;
}
