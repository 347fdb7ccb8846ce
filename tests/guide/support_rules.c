#include "support_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bound.h"

static vn_status answer(void *self, const vn_query *q, float *raw, vn_err *err) {
    parrot *p = self;
    const size_t row = (size_t)p->size * sizeof(float);
    p->queries++;
    for (int64_t i = 0; i < q->n; i++, raw += p->size) {
        const int which = q->network == VN_NETWORK_WEAK          ? ANSWER_WEAK
                          : q->condition[i] == VN_CONDITION_NULL ? ANSWER_NULL
                                                                 : q->condition[i];
        if (!p->raw[which])
            return vn_fail(err, VN_BAD_ARGUMENT, "answer %d was not expected to be asked for",
                           which);
        memcpy(raw, p->raw[which] + i % p->n * p->size, row);
    }
    return VN_OK;
}

vn_denoiser parrot_denoiser(parrot *p, const vn_path *path, const char *prediction) {
    vn_denoiser d = {.path = path,
                     .sample = VN_SHAPE(p->size),
                     .size = p->size,
                     .conditions = {.classes = ANSWER_NULL, .has_null = true},
                     .can = VN_CAN_WEAK,
                     .self = p,
                     .predict = answer};
    vn_err err;
    assert_int_equal(vn_prediction_parse(prediction, &d.prediction, &err), VN_OK);
    return d;
}

static vn_status try_guides(const char *list, double gamma, const vn_denoiser *d, int64_t capacity,
                            vn_guidance **g, vn_err *err) {
    return vn_guidance_open(
        &(vn_guidance_options){
            .guide = list, .gamma = gamma, .seed = 3, .denoiser = d, .capacity = capacity},
        g, err);
}

vn_guidance *open_guides(const char *list, double gamma, const vn_denoiser *d, int64_t capacity) {
    vn_guidance *g;
    vn_err err;
    if (try_guides(list, gamma, d, capacity, &g, &err)) fail_msg("%s: %s", list, err.text);
    return g;
}

double guided(const char *list, double gamma, const vn_denoiser *d, int64_t n,
              const int32_t *labels, const float *x, const vn_level *level, const vn_level *next,
              vn_estimate out) {
    return guided_at(list, gamma, d, n, labels, x, level, next, 5, 28, out);
}

double guided_at(const char *list, double gamma, const vn_denoiser *d, int64_t n,
                 const int32_t *labels, const float *x, const vn_level *level, const vn_level *next,
                 int step, int steps, vn_estimate out) {
    vn_guidance *g = open_guides(list, gamma, d, n);
    vn_err err;
    vn_guidance_begin(g, n, 0, labels);
    vn_guidance_step(g, step, steps, 0, next);
    if (vn_guidance_predict(g, &(vn_request){.x = x, .level = level}, out, &err))
        fail_msg("%s: %s", list, err.text);
    const double passes = vn_guidance_passes(g);
    vn_guidance_close(&g);
    return passes;
}

void unguided(const vn_denoiser *d, vn_query q, const vn_level *level, vn_estimate out) {
    vn_level levels[MAX_FLOATS];
    float raw[MAX_FLOATS];
    vn_err err;
    assert_true(q.n * d->size <= MAX_FLOATS);
    for (int64_t i = 0; i < q.n; i++) levels[i] = *level;
    q.level = levels;
    assert_int_equal(d->predict(d->self, &q, raw, &err), VN_OK);
    vn_prediction_to_estimate(&d->prediction, level, (size_t)(q.n * d->size), q.x, raw, out.x0,
                              out.eps);
}

void refused(const char *list, double gamma, const vn_denoiser *d, const char *words) {
    vn_guidance *g;
    vn_err err = {0};
    if (try_guides(list, gamma, d, 2, &g, &err) != VN_BAD_ARGUMENT)
        fail_msg("%s was not refused", list);
    if (!strstr(err.text, words))
        fail_msg("%s: \"%s\" says nothing of \"%s\"", list, err.text, words);
}

double error_of(size_t n, const float *a, const float *b) {
    double most = 0, scale = 1e-30;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs((double)a[i] - (double)b[i]);
        most = e <= most ? most : e; /* NaN stays */
        scale = fmax(scale, fabs((double)b[i]));
    }
    return most / scale;
}

void near(const char *what, size_t n, const float *a, const float *b, double tolerance) {
    const double e = error_of(n, a, b);
    expect_below(what, e, tolerance);
}

bool all_finite(size_t n, const float *a) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i])) return false;
    return true;
}
