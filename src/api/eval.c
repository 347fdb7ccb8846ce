/* eval.c - vn_eval and its metrics: numbers that say how good a model is, each with the interval in
 * which it is known. */
#include "api/eval.h"

#include <math.h>

/* ---- progress -------------------------------------------------------------------------------- */

int vn_eval_parts(const vn_model *m) {
    return m->truth ? 3 : 2;
}

const char *vn_eval_part(const vn_model *m, const char *what, int number, char text[64]) {
    snprintf(text, 64, "%s %d of %d", what, number, vn_eval_parts(m));
    return text;
}

bool vn_eval_report(const vn_model *m, const char *what, int64_t done, int64_t total,
                    double began) {
    const double seconds = fmax(vn_now() - began, 1e-9), rate = (double)done / seconds;
    const vn_progress p = {.what = what,
                           .unit = "samples",
                           .done = done,
                           .total = total,
                           .rate = rate,
                           .seconds_left = done > 0 ? (double)(total - done) / rate : -1,
                           .loss = (double)NAN};
    return done % 64 == 0 && vn_report(&m->vn->watch, &p);
}

/* ---- results --------------------------------------------------------------------------------- */

static void add(vn_eval_result *r, const char *name, const char *unit, double value, double half) {
    r->measure[r->measures++] = (vn_measure){name, unit, value, value - half, value + half};
}

/* The mean of n numbers, and half the width of its 95% interval. */
static double mean(const double *x, int64_t n, double *half) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    for (int64_t i = 0; i < n; i++) squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    *half = n > 1 ? 1.96 * sqrt(squares / (double)(n - 1) / (double)n) : (double)INFINITY;
    return sum / (double)n;
}

/* ---- nll: the negative log-likelihood -------------------------------------------------------- */

/* 8-bit pixels in [-1,1] lie this far apart. */
#define PIXEL (2.0 / 255)

/* Pixels become uniform within what each stands for: a density of points that lie on a lattice
 * means nothing (1511.01844). */
static void spread_pixels(const vn_model *m, uint64_t seed, const vn_eval_data *d) {
    for (int64_t i = 0; i < d->count * m->size; i++) {
        const double u = vn_random_double(seed, VN_STREAM_AUGMENT, (uint64_t)(i / m->size),
                                          (uint64_t)(i % m->size));
        d->x[i] += (float)(PIXEL * (u - 0.5));
    }
}

/* In double [count]: minus log p(x|label) of the world itself. */
static vn_status exact(const vn_model *m, const vn_eval_data *d, double *nll, vn_err *err) {
    const size_t size = (size_t)m->size;
    double *work = vn_alloc(vn_world_work(m->truth) + size, sizeof *work);
    if (!work) return vn_no_memory(err);
    char part[64];
    const double began = vn_now();
    vn_eval_part(m, "exact", 3, part);
    for (int64_t i = 0; i < d->count; i++) {
        if (vn_eval_report(m, part, i, d->count, began)) {
            vn_free(work);
            return vn_fail(err, VN_CANCELLED, "stopped");
        }
        for (size_t j = 0; j < size; j++) work[j] = (double)d->x[(size_t)i * size + j];
        nll[i] =
            -vn_world_log_density(m->truth, VN_NETWORK_MAIN, d->labels[i], 1, 0, work, work + size);
    }
    vn_free(work);
    return VN_OK;
}

static vn_status add_nll(vn_model *m, const vn_eval_options *o, const vn_eval_data *d, double *nll,
                         int64_t *evaluations, vn_eval_result *r, vn_err *err) {
    vn_likelihood_settings s = vn_likelihood_settings_default();
    char part[64];
    vn_status status = vn_struct_take(&s, sizeof s, o->likelihood, "vn_likelihood_settings", err);
    if (status) return status;
    s.seed = o->seed;
    status = vn_model_likelihood(m, &s, vn_eval_part(m, "nll", 2, part), d->count, d->x, d->labels,
                                 nll, evaluations, err);
    if (status) return status;
    double half, asked = 0;
    for (int64_t i = 0; i < d->count; i++) {
        nll[i] = -nll[i];
        asked += (double)evaluations[i] / (double)d->count;
    }
    const double value = mean(nll, d->count, &half), bits = 1 / ((double)m->size * log(2.0));
    add(r, "negative log-likelihood", "nats", value, half);
    if (vn_shape_is_image(&m->sample))
        add(r, "bits per dimension", "bits of 8-bit pixels", bits * value - log2(PIXEL),
            bits * half);
    else
        add(r, "bits per dimension", "bits", bits * value, bits * half);
    add(r, "evaluations", "a sample", asked, (double)NAN);
    if (!m->truth) return VN_OK;
    status = exact(m, d, nll, err);
    if (status) return status;
    const double truth = mean(nll, d->count, &half);
    add(r, "exact negative log-likelihood", "nats", truth, half);
    return status;
}

static vn_status measure_nll(vn_model *m, const vn_eval_options *o, const vn_eval_data *d,
                             vn_eval_result *r, vn_err *err) {
    if (vn_shape_is_image(&m->sample)) spread_pixels(m, o->seed, d);
    double *nll = vn_alloc((size_t)d->count, sizeof *nll);
    int64_t *evaluations = vn_alloc((size_t)d->count, sizeof *evaluations);
    const vn_status status =
        nll && evaluations ? add_nll(m, o, d, nll, evaluations, r, err) : vn_no_memory(err);
    vn_free(nll);
    vn_free(evaluations);
    return status;
}

/* ---- the table and the call ------------------------------------------------------------------ */

const vn_metric_row vn_metric_rows[] = {
    {{"nll", "negative log-likelihood by the probability-flow ODE, and bits per dimension",
      "2011.13456", NULL},
     measure_nll},
};
const size_t vn_metric_row_count = VN_COUNT(vn_metric_rows);

void vn_eval_options_init(vn_eval_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_EVAL, o, size);
}

void vn_eval_result_init(vn_eval_result *r, size_t size) {
    static const vn_eval_result initial = {0};
    vn_struct_init(r, size, &initial, sizeof initial);
}

static vn_status check(const vn_model *m, const vn_eval_options *o, vn_err *err) {
    if (!o->metric) return vn_fail(err, VN_BAD_ARGUMENT, "a metric is needed");
    const vn_status status = vn_options_check(VN_OPTIONS_EVAL, o, err);
    if (status) return status;
    return o->label == VN_LABEL_ALL ? VN_OK : vn_model_check_label(m, o->label, err);
}

static vn_status measure(vn_model *m, const vn_eval_options *o, vn_eval_result *r, vn_err *err) {
    vn_choice choice;
    vn_eval_data data = {0};
    vn_status status = check(m, o, err);
    if (!status)
        status = vn_choice_parse(o->metric, VN_TABLE("metric", vn_metric_rows, vn_metric_row_count),
                                 &choice, err);
    if (!status) status = vn_eval_data_open(&data, m, o, err);
    if (!status) {
        r->count = data.count;
        r->available = data.available;
        r->drawn = data.of_class;
        r->classes = data.of_class ? m->classes : 0;
        vn_free(m->drawn);
        m->drawn = data.of_class; /* owned by the model from here on */
        data.of_class = NULL;
        status = ((const vn_metric_row *)choice.row)->measure(m, o, &data, r, err);
    }
    vn_eval_data_close(&data);
    return status;
}

vn_status vn_eval(vn_model *m, const vn_eval_options *options, vn_eval_result *result) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    vn_eval_options o = vn_eval_options_default();
    vn_eval_result r = vn_eval_result_default();
    vn_status status =
        options && result ? vn_struct_check(result, "vn_eval_result", err)
                          : vn_fail(err, VN_BAD_ARGUMENT, "vn_eval: options and result are needed");
    if (status) return vn_end(m->vn, status);
    status = vn_struct_take(&o, sizeof o, options, "vn_eval_options", err);
    if (!status) status = measure(m, &o, &r, err);
    vn_struct_give(result, &r, sizeof r);
    return vn_end(m->vn, status);
}
