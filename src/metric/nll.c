/* nll.c - the negative log-likelihood of the data under the model, by its probability-flow ODE
 * (2011.13456); of a world the exact one beside it. Of a sequence model it is exact, and of the
 * codes that samples are made of. */
#include <math.h>

#include "metric/internal.h"

/* 8-bit pixels in [-1,1] lie this far apart. */
#define PIXEL (2.0 / 255)

/* Pixels become uniform within what each stands for: a density of points that lie on a lattice
 * means nothing (1511.01844). */
static void spread_pixels(vn_measuring *m) {
    const vn_set *set = m->o->data;
    for (int64_t i = 0; i < set->count * set->size; i++) {
        const double u = vn_random_double(m->o->seed, VN_STREAM_AUGMENT, (uint64_t)(i / set->size),
                                          (uint64_t)(i % set->size));
        m->raw[i] += (float)(PIXEL * (u - 0.5));
    }
}

/* In double [count]: minus log p(x|label) of the world itself. */
static vn_status exact(vn_measuring *m, double *nll, vn_err *err) {
    const vn_set *set = m->o->data;
    const vn_world *truth = m->o->truth;
    const size_t size = (size_t)set->size;
    double *work = vn_alloc(vn_world_work(truth) + size, sizeof *work);
    vn_status status = work ? VN_OK : vn_no_memory(err);
    vn_metric_part(m, "exact");
    for (int64_t i = 0; i < set->count && !status; i++) {
        if (i % 64 == 0) status = vn_metric_report(m, i, set->count, err);
        for (size_t j = 0; j < size; j++) work[j] = (double)m->raw[(size_t)i * size + j];
        nll[i] =
            -vn_world_log_density(truth, VN_NETWORK_MAIN, set->labels[i], 1, 0, work, work + size);
    }
    vn_free(work);
    return status;
}

/* The mean of n numbers, and half the width of its 95% interval. */
static double mean(const double *x, int64_t n, double *half) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    for (int64_t i = 0; i < n; i++) squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    *half = n > 1 ? 1.96 * sqrt(squares / (double)(n - 1) / (double)n) : (double)INFINITY;
    return sum / (double)n;
}

static vn_status add(vn_measuring *m, const char *key, const char *name, const char *unit,
                     double value, double half, vn_err *err) {
    return vn_metric_add(m, key, name, unit, m->o->data->count, value, value - half, value + half,
                         err);
}

static vn_status add_all(vn_measuring *m, double *nll, int64_t *evaluations, vn_err *err) {
    const vn_set *set = m->o->data;
    const int64_t n = set->count;
    char part[64];
    vn_status status = m->o->density(m->o->density_self, vn_metric_part_text(m, part), n, m->raw,
                                     set->labels, nll, evaluations, err);
    if (status) return status;
    double half, asked = 0;
    for (int64_t i = 0; i < n; i++) {
        nll[i] = -nll[i];
        asked += (double)evaluations[i] / (double)n;
    }
    const double value = mean(nll, n, &half), bits = 1 / ((double)set->size * log(2.0));
    const bool image = vn_shape_is_image(&set->sample);
    const bool pixels = image && !m->o->discrete;
    status = add(m, "nll", "negative log-likelihood", "nats", value, half, err);
    if (!status)
        status = add(m, "bits-per-dimension", "bits per dimension",
                     pixels           ? "bits of 8-bit pixels"
                     : m->o->discrete ? "bits of codes"
                                      : "bits",
                     bits * value - (pixels ? log2(PIXEL) : 0), bits * half, err);
    if (!status) status = add(m, "evaluations", "evaluations", "a sample", asked, (double)NAN, err);
    if (status || !m->o->truth) return status;
    status = exact(m, nll, err);
    if (status) return status;
    const double truth = mean(nll, n, &half);
    return add(m, "exact-nll", "exact negative log-likelihood", "nats", truth, half, err);
}

static vn_status measure(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    const size_t n = (size_t)m->o->data->count;
    (void)choice;
    if (vn_shape_is_image(&m->o->data->sample) && !m->o->discrete) spread_pixels(m);
    double *nll = vn_alloc(n, sizeof *nll);
    int64_t *evaluations = vn_alloc(n, sizeof *evaluations);
    const vn_status status =
        nll && evaluations ? add_all(m, nll, evaluations, err) : vn_no_memory(err);
    vn_free(nll);
    vn_free(evaluations);
    return status;
}

const vn_metric_row vn_nll_metric = {
    .row = {"nll", "negative log-likelihood by the probability-flow ODE, and bits per dimension",
            "2011.13456", NULL},
    .unit = "nats",
    .needs = VN_METRIC_LIKELIHOOD,
    .measure = measure,
};
