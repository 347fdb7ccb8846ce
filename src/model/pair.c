/* pair.c - two models as one denoiser, whose weak network is the second model (autoguidance,
 * 2406.02507). Their predictions must be of one kind, so that a guide can combine them. */
#include "model/internal.h"

#include <string.h>

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_pair_denoiser *d = self;
    if (q->network == VN_NETWORK_MAIN) return d->main->predict(d->main->self, q, raw, err);
    vn_query to_weak = *q;
    to_weak.network = VN_NETWORK_MAIN;
    return d->weak->predict(d->weak->self, &to_weak, raw, err);
}

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    const vn_pair_denoiser *d = self;
    return d->main->classify(d->main->self, q, err);
}

static vn_status predict_exact(void *self, int32_t label, const vn_level *level, const double *x,
                               double *x0, double *eps, vn_err *err) {
    const vn_pair_denoiser *d = self;
    return d->main->exact(d->main->self, label, level, x, x0, eps, err);
}

/* Whether two texts of rows with parameters are the same; frees both. */
static vn_status compare(char *a, char *b, const char *what, const vn_model *main,
                         const vn_model *weak, vn_err *err) {
    vn_status status = VN_OK;
    if (!a || !b)
        status = vn_no_memory(err);
    else if (strcmp(a, b) != 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "weak: %s is of the %s %s, %s of %s", weak->source,
                         what, b, main->source, a);
    vn_free(a);
    vn_free(b);
    return status;
}

vn_status vn_pair_open(vn_pair_denoiser *d, const vn_model *main, const vn_denoiser *of_main,
                       const vn_model *weak, const vn_denoiser *of_weak, vn_denoiser *out,
                       vn_err *err) {
    if (!vn_shape_equal(&main->sample, &weak->sample))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "weak: samples of %s have another shape than those of %s", weak->source,
                       main->source);
    if (main->classes != weak->classes)
        return vn_fail(err, VN_BAD_ARGUMENT, "weak: %s has %d classes, %s has %d", weak->source,
                       (int)weak->classes, main->source, (int)main->classes);
    vn_status status =
        compare(vn_path_text(of_main->path), vn_path_text(of_weak->path), "path", main, weak, err);
    if (!status)
        status =
            compare(vn_choice_text(&of_main->prediction.choice),
                    vn_choice_text(&of_weak->prediction.choice), "prediction", main, weak, err);
    if (status) return status;
    *d = (vn_pair_denoiser){of_main, of_weak};
    *out = *of_main;
    const unsigned both = VN_CAN_VJP | VN_CAN_JVP | VN_CAN_ANNEAL;
    out->can = (of_main->can & ~both) | (of_main->can & of_weak->can & both) | VN_CAN_WEAK;
    out->self = d;
    out->predict = predict;
    out->exact = of_main->exact ? predict_exact : NULL;
    out->classify = of_main->classify ? classify : NULL;
    return VN_OK;
}
