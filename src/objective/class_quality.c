/* class_quality.c - how well a classifier tells classes: accuracy, the negative log-likelihood, and
 * the expected calibration error (1706.04599), the mean over samples of |confidence - accuracy| in
 * bins of equal width of the confidence, which is the largest probability. */
#include "objective/objective.h"

#include <math.h>

void vn_class_quality_add(vn_class_quality *q, const float *logits, int64_t classes,
                          int32_t label) {
    int64_t first = 0;
    double total = 0;
    if (label < 0 || label >= classes) return;
    for (int64_t k = 1; k < classes; k++)
        if (logits[k] > logits[first]) first = k;
    const double most = (double)logits[first];
    for (int64_t k = 0; k < classes; k++) total += exp((double)logits[k] - most);
    const double confidence = 1 / total;
    const int bin = confidence < 1 ? (int)(confidence * VN_CLASS_BINS) : VN_CLASS_BINS - 1;
    const bool right = first == label;
    q->count++;
    q->right += right;
    q->nll += log(total) + most - (double)logits[label];
    q->bin_right[bin] += right;
    q->bin_confidence[bin] += confidence;
}

void vn_class_quality_join(vn_class_quality *q, const vn_class_quality *more) {
    q->count += more->count;
    q->right += more->right;
    q->nll += more->nll;
    for (int i = 0; i < VN_CLASS_BINS; i++) {
        q->bin_right[i] += more->bin_right[i];
        q->bin_confidence[i] += more->bin_confidence[i];
    }
}

double vn_class_accuracy(const vn_class_quality *q) {
    return q->count > 0 ? q->right / q->count : (double)NAN;
}

double vn_class_nll(const vn_class_quality *q) {
    return q->count > 0 ? q->nll / q->count : (double)NAN;
}

double vn_class_ece(const vn_class_quality *q) {
    double error = 0;
    for (int i = 0; i < VN_CLASS_BINS; i++) error += fabs(q->bin_confidence[i] - q->bin_right[i]);
    return q->count > 0 ? error / q->count : (double)NAN;
}
