/* rows.c - what rules do alike with the rows of a query. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

double vn_dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

const double *vn_observed(const vn_restoration *r, uint64_t sample) {
    const uint64_t row = r->observations > 1 ? sample - r->first : 0;
    return r->observed + (int64_t)row * r->op->count;
}

void vn_find_residual_of(const vn_restoring *s, int64_t i) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    const double *y = vn_observed(r, s->q->sample[i]);
    double *residual = r->residual + i * count;
    for (int64_t j = 0; j < size; j++) r->x_work[0][j] = (double)s->x0[i * size + j];
    r->op->row->apply(r->op, r->x_work[0], residual);
    for (int64_t j = 0; j < count; j++) residual[j] = y[j] - residual[j];
}

void vn_find_residual(const vn_restoring *s) {
    for (int64_t i = 0; i < s->n; i++) vn_find_residual_of(s, i);
}

void vn_transpose_row(vn_restoration *r, const double *v, float *out) {
    r->op->row->transpose(r->op, v, r->x_work[0]);
    for (int64_t j = 0; j < r->inner->size; j++) out[j] = (float)r->x_work[0][j];
}

void vn_shift_row(const vn_restoring *s, int64_t row, double amount, const double *by) {
    const int64_t size = s->r->inner->size;
    float *x0 = s->x0 + row * size;
    for (int64_t j = 0; j < size; j++) x0[j] = (float)((double)x0[j] + amount * by[j]);
}

void vn_shift_by_derivative(const vn_restoring *s, const double *amount) {
    const int64_t size = s->r->inner->size;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = i * size; j < (i + 1) * size; j++)
            s->x0[j] = (float)((double)s->x0[j] + amount[i] * (double)s->r->derivative[j]);
}

void vn_keep_x0(const vn_restoring *s) {
    memcpy(s->r->eps, s->x0, (size_t)(s->n * s->r->inner->size) * sizeof *s->x0);
}

void vn_limit_shift(const vn_restoring *s, const double *length) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size, count = r->op->count;
    for (int64_t i = 0; i < s->n; i++) {
        float *x0 = s->x0 + i * size;
        const float *before = r->eps + i * size;
        double square = 0;
        for (int64_t j = 0; j < size; j++) r->x_work[0][j] = (double)x0[j] - (double)before[j];
        r->op->row->apply(r->op, r->x_work[0], r->y_work[0]);
        for (int64_t j = 0; j < count; j++) square += r->y_work[0][j] * r->y_work[0][j];
        if (!(square > length[i] * length[i])) continue;
        const double part = length[i] / sqrt(square);
        for (int64_t j = 0; j < size; j++)
            x0[j] = (float)((double)before[j] + part * r->x_work[0][j]);
    }
}

void vn_shift_within(const vn_restoring *s, const double *amount) {
    vn_restoration *r = s->r;
    const int64_t count = r->op->count;
    vn_keep_x0(s);
    vn_shift_by_derivative(s, amount);
    for (int64_t i = 0; i < s->n; i++) {
        double square = 0;
        for (int64_t j = i * count; j < (i + 1) * count; j++)
            square += r->residual[j] * r->residual[j];
        r->row_work[2][i] = sqrt(square);
    }
    vn_limit_shift(s, r->row_work[2]);
}

uint64_t vn_sample_row(const vn_restoring *s, int64_t row) {
    return s->q->sample[row] - s->r->batch_first;
}

double vn_covariance_scale(const vn_level *l) {
    return l->sigma * l->sigma / l->alpha;
}

const vn_level *vn_restoring_to(const vn_restoring *s, int64_t row) {
    return s->q->next ? &s->q->next[row] : &vn_level_clean;
}

double vn_ancestral_share(const vn_level *from, const vn_level *to) {
    const double q = vn_step_ratio(from, to);
    return to->alpha * (1 - q) * (1 + q);
}

void vn_rule_noise(const vn_restoration *r, uint64_t sample, uint64_t step, int draw, size_t n,
                   float *out) {
    const uint64_t key = r->seed + (uint64_t)draw * 0x9E3779B97F4A7C15U;
    vn_random_normal(out, n, key, VN_STREAM_RESTORE, sample, step);
}
