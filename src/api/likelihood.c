/* likelihood.c - vn_log_likelihood: a model's density at given samples; reports as it goes, and can
 * be stopped. */
#include "api/eval.h"
#include "sample/sample.h"

#include <math.h>

/* Up to so many dimensions the divergence is computed where the user does not say. */
#define FEW_DIMENSIONS 16

void vn_likelihood_settings_init(vn_likelihood_settings *o, size_t size) {
    vn_options_init(VN_OPTIONS_LIKELIHOOD, o, size);
}

/* How far it has come, for those who watch. */
typedef struct watched {
    const vn_context *vn;
    const char *what;
    int64_t total; /* samples */
    double began;
} watched;

/* Below this part of the whole the time left is not guessed. */
#define TOO_EARLY 0.01

/* Until a sample is done, which may take minutes, evaluations are told. */
static bool report(void *user, double done, int64_t evaluations) {
    const watched *w = user;
    const double seconds = fmax(vn_now() - w->began, 1e-9);
    const bool early = done < TOO_EARLY * (double)w->total, none = done < 1;
    const vn_progress p = {.what = w->what,
                           .unit = none ? "evaluations" : "samples",
                           .done = none ? evaluations : (int64_t)done,
                           .total = none ? 0 : w->total,
                           .rate = (none ? (double)evaluations : done) / seconds,
                           .seconds_left = early ? -1 : ((double)w->total - done) * seconds / done,
                           .loss = (double)NAN};
    return vn_report(&w->vn->watch, &p);
}

static vn_status check_finite(const vn_model *m, int64_t n, const float *x, vn_err *err) {
    for (int64_t i = 0; i < n * m->size; i++)
        if (!isfinite(x[i]))
            return vn_fail(err, VN_BAD_ARGUMENT, "likelihood: sample %lld is not finite",
                           (long long)(i / m->size));
    return VN_OK;
}

/* Of sequences, whose tokens have probabilities: log p of the codes, in nats. */
static vn_status of_sequences(const watched *w, vn_model *m, int64_t n, const float *x,
                              const int32_t *labels, double *log_p, int64_t *evaluations,
                              vn_err *err) {
    const vn_sequence *s = m->row->sequence(m);
    const int64_t most = vn_model_batch(m);
    int32_t *codes = vn_alloc((size_t)most, (size_t)s->tokens * sizeof *codes);
    vn_status status = codes ? VN_OK : vn_no_memory(err);
    for (int64_t i = 0, k; i < n && !status; i += k) {
        k = n - i < most ? n - i : most;
        for (int64_t j = 0; j < k && !status; j++)
            if ((status = vn_model_check_label(m, labels[i + j], err)) != VN_OK)
                vn_fail_in(err, "sample %lld", (long long)(i + j));
        if (!status) status = m->row->to_codes(m, k, x + i * m->size, codes, err);
        if (!status) status = vn_sequence_log_p(s, k, labels + i, codes, log_p + i, err);
        if (!status && report((void *)w, (double)(i + k), s->tokens))
            status = vn_fail(err, VN_CANCELLED, "stopped");
    }
    for (int64_t i = 0; i < n && evaluations && !status; i++) evaluations[i] = s->tokens;
    vn_free(codes);
    return status;
}

vn_status vn_model_likelihood(vn_model *m, const vn_likelihood_settings *s, const char *what,
                              int64_t n, const float *x, const int32_t *labels, double *log_p,
                              int64_t *evaluations, vn_err *err) {
    const vn_denoiser *denoiser = NULL;
    vn_status status = vn_options_check(VN_OPTIONS_LIKELIHOOD, s, err);
    if (!status) status = check_finite(m, n, x, err);
    if (!status && m->row->sequence) {
        const watched tokens = {.vn = m->vn, .what = what, .total = n, .began = vn_now()};
        return of_sequences(&tokens, m, n, x, labels, log_p, evaluations, err);
    }
    if (!status) status = vn_model_denoise(m, s->path, &denoiser, err);
    if (status) return status;
    vn_likelihood_options o = vn_likelihood_default(denoiser);
    const bool chosen = s->probes == -1;
    o.divergence =
        s->exact || (chosen && m->size <= FEW_DIMENSIONS) ? VN_DIVERGENCE_EXACT : o.divergence;
    o.probes = chosen ? 1 : s->probes;
    o.rtol = s->rtol;
    o.atol = s->atol;
    o.seed = s->seed;
    watched w = {.vn = m->vn, .what = what, .total = n, .began = vn_now()};
    o.evaluated = report;
    o.user = &w;
    const vn_likelihood_batch batch = {
        .n = n, .x = x, .condition = labels, .log_p = log_p, .evaluations = evaluations};
    return vn_likelihood(&o, &batch, err);
}

vn_status vn_log_likelihood(vn_model *m, const vn_likelihood_settings *settings, int64_t n,
                            const float *x, const int32_t *labels, double *log_p,
                            int64_t *evaluations) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    vn_likelihood_settings s = vn_likelihood_settings_default();
    vn_status status = vn_struct_take(&s, sizeof s, settings, "vn_likelihood_settings", err);
    if (!status && n > INT64_MAX / (int64_t)sizeof(double) / (m->size + 1))
        status = vn_fail(
            err, VN_BAD_ARGUMENT,
            "vn_log_likelihood: n: %lld samples of %lld numbers are more than memory can hold",
            (long long)n, (long long)m->size);
    if (!status && (n < 0 || !x || !labels || !log_p))
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "vn_log_likelihood: n, x, labels and log_p are needed");
    if (!status)
        status = vn_model_likelihood(m, &s, "integrating", n, x, labels, log_p, evaluations, err);
    return vn_end(m->vn, status);
}
