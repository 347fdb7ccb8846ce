/* classified.c - a denoiser with a classifier beside it: guides find p(class|x_t) in `classify`,
 * and all else is the denoiser's own. One that knows no classes takes those of the classifier: its
 * own passes are made without a condition then. The two must speak of the same samples. */
#include "model/internal.h"

#include <string.h>

static vn_status reserve(vn_classified_denoiser *d, int64_t n, vn_err *err) {
    if (n <= d->capacity) return VN_OK;
    vn_free(d->null);
    d->capacity = 0;
    if (!(d->null = vn_alloc((size_t)n, sizeof *d->null))) return vn_no_memory(err);
    for (int64_t i = 0; i < n; i++) d->null[i] = VN_CONDITION_NULL;
    d->capacity = n;
    return VN_OK;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_classified_denoiser *d = self;
    vn_query own = *q;
    if (d->unconditional) {
        const vn_status status = reserve(d, q->n, err);
        if (status) return status;
        own.condition = d->null;
    }
    return d->main.predict(d->main.self, &own, raw, err);
}

static vn_status answer_in_double(void *self, vn_condition c, const vn_level *level,
                                  const double *x, double *x0, double *eps, vn_err *err) {
    const vn_classified_denoiser *d = self;
    return d->main.exact(d->main.self, d->unconditional ? VN_CONDITION_NULL : c, level, x, x0, eps,
                         err);
}

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    const vn_classified_denoiser *d = self;
    return d->classifier->classify(d->classifier->self, q, err);
}

/* ---- whether they fit ------------------------------------------------------------------------ */

static vn_status check_shapes(const vn_model *main, const vn_model *classifier, vn_err *err) {
    char its[128], own[128];
    if (vn_shape_equal(&main->sample, &classifier->sample)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "classifier: %s is for samples of shape %s, those of %s are %s",
                   classifier->source, vn_shape_text(&classifier->sample, its), main->source,
                   vn_shape_text(&main->sample, own));
}

static vn_status check_classes(const vn_model *main, const vn_model *classifier, vn_err *err) {
    if (main->classes == 0) return VN_OK;
    if (main->classes != classifier->classes)
        return vn_fail(err, VN_BAD_ARGUMENT, "classifier: %s tells %d classes, %s has %d",
                       classifier->source, (int)classifier->classes, main->source,
                       (int)main->classes);
    for (int32_t i = 0; i < main->classes; i++)
        if (strcmp(main->names[i], classifier->names[i]) != 0)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "classifier: class %d is \"%s\" to %s and \"%s\" to %s", (int)i,
                           classifier->names[i], classifier->source, main->names[i], main->source);
    return VN_OK;
}

/* Frees both texts. */
static vn_status compare(const char *what, char *own, const vn_model *main, char *its,
                         const vn_model *classifier, vn_err *err) {
    vn_status status = VN_OK;
    if (!own || !its)
        status = vn_no_memory(err);
    else if (strcmp(own, its) != 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "classifier: %s was trained on the %s %s, %s on %s",
                         classifier->source, what, its, main->source, own);
    vn_free(own);
    vn_free(its);
    return status;
}

/* Of two networks whose inputs are scaled by what is said of the data's deviation. */
static vn_status check_scales(const vn_denoiser *main, const vn_model *of_main,
                              const vn_denoiser *classifier, const vn_model *of_classifier,
                              vn_err *err) {
    const double own = vn_prediction_deviation(&main->prediction),
                 its = vn_prediction_deviation(&classifier->prediction);
    if (of_main->truth || of_classifier->truth || own == 0 || own == its) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "classifier: %s is for data of deviation sigma_data=%g, %s for %g",
                   of_classifier->source, its, of_main->source, own);
}

static vn_status check(const vn_denoiser *main, const vn_model *of_main,
                       const vn_denoiser *classifier, const vn_model *of_classifier, vn_err *err) {
    const vn_net *net = vn_model_net(of_classifier);
    vn_status status = check_shapes(of_main, of_classifier, err);
    if (!status) status = check_classes(of_main, of_classifier, err);
    if (!status)
        status = compare("path", vn_path_text(main->path), of_main, vn_path_text(classifier->path),
                         of_classifier, err);
    if (!status) status = check_scales(main, of_main, classifier, of_classifier, err);
    if (!status && net && !vn_net_input(vn_net_get_io(net), "timestep"))
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "classifier: %s was trained on clean samples; guidance asks it of noisy "
                         "ones",
                         of_classifier->source);
    return status;
}

vn_status vn_classified_open(vn_classified_denoiser *d, const vn_denoiser *main,
                             const vn_model *of_main, const vn_denoiser *classifier,
                             const vn_model *of_classifier, vn_denoiser *out, vn_err *err) {
    const vn_status status = check(main, of_main, classifier, of_classifier, err);
    if (status) return status;
    *d = (vn_classified_denoiser){
        .main = *main, .classifier = classifier, .unconditional = of_main->classes == 0};
    *out = d->main;
    if (d->unconditional) {
        out->conditions = vn_model_conditions(of_classifier);
        out->conditions.has_null = true;
        out->unconditional = true;
    }
    out->self = d;
    out->predict = predict;
    out->exact = main->exact ? answer_in_double : NULL;
    out->classify = classify;
    return VN_OK;
}

void vn_classified_close(vn_classified_denoiser *d) {
    vn_free(d->null);
    *d = (vn_classified_denoiser){0};
}
