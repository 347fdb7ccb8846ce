/* callback.c - a function of the user's as a denoiser: queries are handed to it as vn_predict_query
 * (vane.h), and an answer that is not finite is refused. */
#include "model/internal.h"

#include <math.h>
#include <string.h>

enum { MAX_CLASSES = 1 << 20 };

/* The user's function, what it can do, and the arrays of one query. */
typedef struct callback {
    const char *name;
    int64_t size;
    unsigned can;
    vn_status (*predict)(void *user, const vn_predict_query *query, float *out);
    void *user;
    int64_t capacity; /* rows the arrays hold */
    double *t, *alpha, *sigma, *to_t, *to_alpha, *to_sigma;
} callback;

/* ---- the denoiser ---------------------------------------------------------------------------- */

static void close_arrays(callback *c) {
    vn_free(c->t);
    vn_free(c->alpha);
    vn_free(c->sigma);
    vn_free(c->to_t);
    vn_free(c->to_alpha);
    vn_free(c->to_sigma);
    c->t = c->alpha = c->sigma = c->to_t = c->to_alpha = c->to_sigma = NULL;
    c->capacity = 0;
}

/* Only the first query of a new size takes memory. */
static vn_status reserve(callback *c, int64_t n, vn_err *err) {
    if (n <= c->capacity) return VN_OK;
    close_arrays(c);
    c->t = vn_alloc((size_t)n, sizeof(double));
    c->alpha = vn_alloc((size_t)n, sizeof(double));
    c->sigma = vn_alloc((size_t)n, sizeof(double));
    c->to_t = vn_alloc((size_t)n, sizeof(double));
    c->to_alpha = vn_alloc((size_t)n, sizeof(double));
    c->to_sigma = vn_alloc((size_t)n, sizeof(double));
    if (!c->t || !c->alpha || !c->sigma || !c->to_t || !c->to_alpha || !c->to_sigma) {
        close_arrays(c);
        return vn_no_memory(err);
    }
    c->capacity = n;
    return VN_OK;
}

vn_status vn_call_failed(const char *who, vn_status status, vn_err *err) {
    if ((int)status < 0 || status > VN_CANCELLED)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s returned %d, which is no vn_status", who,
                       (int)status);
    return vn_fail(err, status, "%s returned \"%s\"", who, vn_status_name(status));
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    callback *c = self;
    vn_status status = reserve(c, q->n, err);
    if (status) return status;
    for (int64_t i = 0; i < q->n; i++) {
        c->t[i] = q->level[i].t;
        c->alpha[i] = q->level[i].alpha;
        c->sigma[i] = q->level[i].sigma;
        const vn_level *to =
            q->to ? &q->to[i] : &q->level[i]; /* NULL: velocity at the level itself */
        c->to_t[i] = to->t;
        c->to_alpha[i] = to->alpha;
        c->to_sigma[i] = to->sigma;
    }
    const bool takes_to = c->can & VN_TAKES_TO;
    const vn_predict_query query = {.n = q->n,
                                    .x = q->x,
                                    .t = c->t,
                                    .alpha = c->alpha,
                                    .sigma = c->sigma,
                                    .labels = q->condition,
                                    .weak = q->network == VN_NETWORK_WEAK,
                                    .cotangent = q->want == VN_VJP ? q->direction : NULL,
                                    .tangent = q->want == VN_JVP ? q->direction : NULL,
                                    .to_t = takes_to ? c->to_t : NULL,
                                    .to_alpha = takes_to ? c->to_alpha : NULL,
                                    .to_sigma = takes_to ? c->to_sigma : NULL,
                                    .guidance = q->guidance};
    status = c->predict(c->user, &query, raw);
    if (status) return vn_call_failed(c->name, status, err);
    const int64_t row = vn_row_not_finite(q->n, c->size, raw);
    if (row < 0) return VN_OK;
    return vn_fail(err, VN_NOT_FINITE, "%s: row %lld of %lld, t = %.4g: the answer is not finite",
                   c->name, (long long)row, (long long)q->n, c->t[row]);
}

static vn_status make_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    (void)err;
    const callback *c = m->self;
    *out = (vn_denoiser){.path = path,
                         .prediction = m->prediction,
                         .sample = m->sample,
                         .size = m->size,
                         .conditions = {.classes = m->classes, .has_null = m->has_null},
                         .can = c->can,
                         .self = m->self,
                         .predict = predict};
    return VN_OK;
}

/* ---- the model ------------------------------------------------------------------------------- */

static vn_status check(const vn_callback_model *s, vn_err *err) {
    if (!s->predict) return vn_fail(err, VN_BAD_ARGUMENT, "vn_callback_model: predict is needed");
    if (!s->prediction)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_callback_model: prediction says what predict answers");
    if (s->rank != 1 && s->rank != 3)
        return vn_fail(err, VN_BAD_ARGUMENT, "rank %d is neither 1 nor 3", s->rank);
    for (int i = 0; i < s->rank; i++)
        if (s->shape[i] < 1 || s->shape[i] > VN_MAX_SIDE)
            return vn_fail(err, VN_BAD_ARGUMENT, "shape[%d]: %lld is outside [1, %d]", i,
                           (long long)s->shape[i], VN_MAX_SIDE);
    const vn_shape shape = vn_shape_make(s->rank, s->shape);
    char text[128];
    if (vn_shape_count(&shape) > VN_MAX_SAMPLE)
        return vn_fail(err, VN_BAD_ARGUMENT, "shape %s: more than %d numbers in one sample",
                       vn_shape_text(&shape, text), VN_MAX_SAMPLE);
    if (s->classes < 0 || s->classes > MAX_CLASSES)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classes: %d is outside [0, %d]: each has a name in memory", (int)s->classes,
                       MAX_CLASSES);
    if (s->class_names && !s->classes)
        return vn_fail(err, VN_BAD_ARGUMENT, "class_names without classes");
    return VN_OK;
}

static const char *given_name(const void *names, int32_t i) {
    return names ? ((const char *const *)names)[i] : NULL;
}

static vn_status fill(vn_model *m, const vn_callback_model *s, vn_err *err) {
    m->sample = vn_shape_make(s->rank, s->shape);
    m->size = vn_shape_count(&m->sample);
    callback *c = m->self = vn_alloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = (callback){.name = m->source,
                    .size = m->size,
                    .can = (s->has_weak ? VN_CAN_WEAK : 0U) | (s->has_vjp ? VN_CAN_VJP : 0U) |
                           (s->has_jvp ? VN_CAN_JVP : 0U) | (s->takes_to ? VN_TAKES_TO : 0U) |
                           (s->takes_guidance ? VN_TAKES_GUIDANCE : 0U),
                    .predict = s->predict,
                    .user = s->user};
    m->has_null = s->has_null || !s->classes;
    m->has_prediction = true;
    vn_status status = vn_prediction_parse(s->prediction, &m->prediction, err);
    if (!status && s->path) status = vn_path_open(s->path, &m->path, err);
    if (!status && m->path && !(m->path_text = vn_path_text(m->path))) status = vn_no_memory(err);
    return !status ? vn_model_copy_names(m, s->classes, given_name, s->class_names, err) : status;
}

static vn_status share(vn_model *m, const vn_model *of, vn_err *err) {
    callback *c = m->self = vn_alloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = *(const callback *)of->self;
    c->t = c->alpha = c->sigma = c->to_t = c->to_alpha = c->to_sigma = NULL;
    c->capacity = 0;
    return VN_OK;
}

static void close(vn_model *m) {
    if (m->self) close_arrays(m->self);
    vn_free(m->self);
}

const vn_model_row vn_callback_model_row = {
    .row = {"callback", "a denoiser of the program that embeds this library", "", NULL},
    .denoiser = make_denoiser,
    .share = share,
    .close = close,
};

vn_status vn_model_of_callback(vn_context *vn, const vn_engine *engine,
                               const vn_callback_model *spec, vn_model **out, vn_err *err) {
    vn_model *m = NULL;
    vn_status status = check(spec, err);
    if (!status)
        status = vn_model_new(vn, engine, &vn_callback_model_row,
                              spec->name ? spec->name : "callback", &m, err);
    if (!status) status = fill(m, spec, err);
    if (status) vn_model_close(&m);
    *out = m;
    return status;
}
