/* accuracy.c - whether samples look like their class to a classifier that had no part in making
 * them: the share of samples whose most probable class is their own, and the mean of -log
 * p(class|x), which also tells samples that are just recognised from those that are sure. */
#include <math.h>

#include "metric/internal.h"

/* -log softmax(logits)[label]. */
static double surprise(const float *logits, int64_t classes, int32_t label) {
    double most = (double)logits[0], sum = 0;
    for (int64_t k = 1; k < classes; k++) most = fmax(most, (double)logits[k]);
    for (int64_t k = 0; k < classes; k++) sum += exp((double)logits[k] - most);
    return most + log(sum) - (double)logits[label];
}

static vn_status measure(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    const vn_features *f = &m->samples;
    double *nll = vn_alloc((size_t)f->n, sizeof *nll);
    (void)choice;
    if (!nll) return vn_no_memory(err);
    int64_t right = 0;
    for (int64_t i = 0; i < f->n; i++) {
        const float *logits = f->logits + i * f->classes;
        int64_t best = 0;
        for (int64_t k = 1; k < f->classes; k++)
            if (logits[k] > logits[best]) best = k;
        right += best == f->labels[i];
        nll[i] = surprise(logits, f->classes, f->labels[i]);
    }
    const vn_interval w = vn_interval_wilson(right, f->n);
    vn_status status = vn_metric_add(m, "accuracy", "accuracy", "", f->n,
                                     (double)right / (double)f->n, w.low, w.high, err);
    if (!status)
        status = vn_metric_add_mean(m, "class-nll", "-log p(class|x)", "nats", 0, nll, f->n, err);
    vn_free(nll);
    return status;
}

const vn_metric_row vn_accuracy_metric = {
    .row = {"accuracy", "share of samples that the classifier takes for their class",
            "Wilson 1927 (interval)", NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_LABELS | VN_METRIC_LOGITS,
    .measure = measure,
};
