/* world_denoiser.c - a world as a denoiser: exact, on any path, with any kind of prediction, so
 * that every sampler, guide and conversion can be tested against known results. */
#include "path/internal.h"

typedef struct exact {
    const vn_world *w;
    vn_prediction prediction;
    vn_thread_pool *pool;
    size_t each;  /* doubles of work space a thread */
    double *work; /* [threads,each] */
} exact;

/* raw = raw_x0 x0 + raw_eps eps */
static void predict_row(const exact *e, const vn_query *q, size_t row, float *raw, double *work) {
    const size_t size = e->w->size;
    const vn_level *l = &q->level[row];
    const vn_coefficients m = vn_prediction_coefficients(&e->prediction, l);
    double *x = work, *x0 = x + size, *eps = x0 + size;
    for (size_t i = 0; i < size; i++) x[i] = (double)q->x[row * size + i];
    vn_world_denoise(e->w, q->network, q->condition[row], l->alpha, l->sigma, x, x0, eps,
                     eps + size);
    for (size_t i = 0; i < size; i++)
        raw[row * size + i] = (float)(m.raw_x0 * x0[i] + m.raw_eps * eps[i]);
}

/* eps = (x - alpha x0)/sigma, so raw's derivative is that of x0 and a multiple of the identity.
 * That of x0 is a covariance, so it is symmetric: products with it from either side are the
 * same. */
static void derivative_row(const exact *e, const vn_query *q, size_t row, float *out,
                           double *work) {
    const size_t size = e->w->size;
    const vn_level *l = &q->level[row];
    const vn_coefficients m = vn_prediction_coefficients(&e->prediction, l);
    const double of_x0 = m.raw_x0 - m.raw_eps * l->alpha / l->sigma, of_x = m.raw_eps / l->sigma;
    double *x = work, *v = x + size, *back = v + size;
    for (size_t i = 0; i < size; i++) {
        x[i] = (double)q->x[row * size + i];
        v[i] = (double)q->direction[row * size + i];
    }
    vn_world_vjp(e->w, q->network, q->condition[row], l->alpha, l->sigma, x, v, back, back + size);
    for (size_t i = 0; i < size; i++) out[row * size + i] = (float)(of_x0 * back[i] + of_x * v[i]);
}

/* By Bayes' rule log p(y|x) = log p(y) + log p(x|y) - log p(x); by Tweedie's formula sigma^2/alpha
 * times its gradient is D(x|y) - D(x), which is finite at every level. p(x) is the world's own null
 * model: where its "unconditional" is not the union of the classes, p(y|x) is the classifier that
 * CFG implies, and does not sum to 1 over y. */
static void classify_row(const exact *e, const vn_classify *q, size_t row, double *work) {
    const vn_world *w = e->w;
    const size_t size = w->size;
    const double alpha = q->level->alpha, sigma = q->level->sigma;
    const int32_t label = q->condition[row];
    double *x = work, *given = x + size, *any = given + size, *eps = any + size, *rest = eps + size;
    for (size_t i = 0; i < size; i++) x[i] = (double)q->x[row * size + i];
    if (q->log_probability)
        q->log_probability[row] =
            (float)(w->log_prior[label] +
                    vn_world_log_density(w, VN_NETWORK_MAIN, label, alpha, sigma, x, rest) -
                    vn_world_log_density(w, VN_NETWORK_MAIN, VN_CONDITION_NULL, alpha, sigma, x,
                                         rest));
    if (!q->shift) return;
    vn_world_denoise(w, VN_NETWORK_MAIN, label, alpha, sigma, x, given, eps, rest);
    vn_world_denoise(w, VN_NETWORK_MAIN, VN_CONDITION_NULL, alpha, sigma, x, any, eps, rest);
    for (size_t i = 0; i < size; i++) q->shift[row * size + i] = (float)(given[i] - any[i]);
}

/* ---- many rows ------------------------------------------------------------------------------- */

typedef struct question {
    const exact *e;
    const vn_query *q;
    float *raw;
    const vn_classify *classify; /* instead of q and raw */
} question;

static void answer_row(void *context, int64_t row, int thread) {
    const question *c = context;
    double *work = c->e->work + (size_t)thread * c->e->each;
    if (c->classify)
        classify_row(c->e, c->classify, (size_t)row, work);
    else if (c->q->want != VN_ANSWER)
        derivative_row(c->e, c->q, (size_t)row, c->raw, work);
    else
        predict_row(c->e, c->q, (size_t)row, c->raw, work);
}

static vn_status check_labels(const exact *e, const vn_condition *label, int64_t n,
                              vn_condition least, vn_err *err) {
    for (int64_t i = 0; i < n; i++)
        if (label[i] < least || label[i] >= e->w->classes)
            return vn_fail(err, VN_BAD_ARGUMENT, "the world has no class %d", label[i]);
    return VN_OK;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    const exact *e = self;
    vn_status status = check_labels(e, q->condition, q->n, VN_CONDITION_NULL, err);
    if (status) return status;
    if (q->network == VN_NETWORK_WEAK && !e->w->has_weak)
        return vn_fail(err, VN_UNSUPPORTED, "the world has no weak model");
    vn_thread_pool_run(e->pool, q->n, answer_row, &(question){.e = e, .q = q, .raw = raw});
    return VN_OK;
}

static vn_status answer_in_double(void *self, int32_t label, const vn_level *l, const double *x,
                                  double *x0, double *eps, vn_err *err) {
    const exact *e = self;
    vn_status status = check_labels(e, &label, 1, VN_CONDITION_NULL, err);
    if (!status)
        vn_world_denoise(e->w, VN_NETWORK_MAIN, label, l->alpha, l->sigma, x, x0, eps, e->work);
    return status;
}

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    const exact *e = self;
    vn_status status = check_labels(e, q->condition, q->n, 0, err);
    if (!status) vn_thread_pool_run(e->pool, q->n, answer_row, &(question){.e = e, .classify = q});
    return status;
}

vn_status vn_world_denoiser(const vn_world *w, const vn_path *path, const vn_prediction *prediction,
                            vn_thread_pool *pool, vn_denoiser *out, vn_err *err) {
    vn_prediction lossless;
    *out = (vn_denoiser){0};
    vn_status status = prediction ? VN_OK : vn_prediction_parse("v", &lossless, err);
    if (status) return status;
    if (!prediction) prediction = &lossless;
    status = vn_path_allows(path, prediction, err);
    if (status) return status;
    exact *e = vn_alloc(1, sizeof *e);
    if (!e) return vn_no_memory(err);
    *e = (exact){.w = w, .prediction = *prediction, .pool = pool};
    e->each = vn_world_work(w) + 4 * w->size;
    e->work = vn_alloc((size_t)vn_thread_pool_threads(pool), e->each * sizeof *e->work);
    if (!e->work) {
        vn_free(e);
        return vn_no_memory(err);
    }
    *out = (vn_denoiser){
        .path = path,
        .prediction = *prediction,
        .sample = VN_SHAPE((int64_t)w->size),
        .size = (int64_t)w->size,
        .conditions = {.classes = w->classes, .has_null = true},
        .can = VN_CAN_VJP | VN_CAN_JVP | (w->has_weak ? VN_CAN_WEAK : 0),
        .self = e,
        .predict = predict,
        .exact = answer_in_double,
        .classify = classify,
    };
    return VN_OK;
}

void vn_world_denoiser_close(vn_denoiser *d) {
    exact *e = d->self;
    if (e) vn_free(e->work);
    vn_free(e);
    *d = (vn_denoiser){0};
}
