/* classifier_plot.h - what a classifier's training came to, as a picture. */
#ifndef VN_API_CLASSIFIER_PLOT_H
#define VN_API_CLASSIFIER_PLOT_H

#include "api/internal.h"

/* Accuracy, NLL and calibration error on held-out samples by quarter of t, over the steps of the
 * run whose folder `run` is (const char *), from its log. For vn_train_setup.preview: values are
 * not looked at. Nothing is drawn before the log has such a line. */
vn_status vn_classifier_plot(void *run, vn_values *const *values, int64_t step, const char *path,
                             vn_err *err);

#endif
