/* Guides by gradients: the world's classifier against differences of its densities, classifier
 * guidance against CFG, and the energy guide against the closed form of a Gaussian with a quadratic
 * reward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "guide/internal.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support/thread_pool.h"

#define N 5
#define D 2
#define F (N * D)

static const char two_classes[] =
    "{\"classes\": [{\"components\": [{\"weight\": 0.7, \"mean\": [-1, 0.4], \"cov\": [[0.1, "
    "0.03], [0.03, 0.2]]},"
    "   {\"weight\": 0.3, \"mean\": [0.5, -0.8], \"std\": 0.25}]},"
    " {\"components\": [{\"mean\": [1.1, 0.9], \"std\": 0.3}]}], \"class_weights\": [0.4, 0.6]}";
/* One class, and an unconditional that is not its union. */
static const char tilted[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 1}]}],"
    " \"unconditional\": [{\"mean\": [0.5, 0], \"cov\": [[2, 0.3], [0.3, 1.5]]}]}";
static const char gaussian[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0.5, -1], \"cov\": [[0.5, 0], [0, 0.1]]}]}]}";

static const char *const paths[] = {"rectified", "vp", "edm",           "ddpm",
                                    "sub-vp",    "ve", "trigonometric", "polynomial"};
static const double times[] = {1, 0.8, 0.5, 0.1, 0.004};
static const int32_t labels[N] = {0, 0, 0, VN_CONDITION_NULL, 0};

static float noisy[F]; /* the samples that are guided */

/* As noisy as the level. */
static void draw(const vn_level *l) {
    for (int i = 0; i < N; i++) {
        vn_random_normal(noisy + i * D, D, 5, VN_STREAM_TEST, (uint64_t)i, 0);
        for (int j = 0; j < D; j++) noisy[i * D + j] *= (float)hypot(l->alpha, l->sigma);
    }
}

/* The largest part of its bound that an error is, of a test; say_at_its_end prints it. */
static double part;

static void near(double a, double b, double bound) {
    const double error = fabs(a - b) / (1 + fabs(b));
    part = fmax(part, error / bound);
    expect_below("slope", error, bound);
}

static int say_at_its_end(void **state) {
    (void)state;
    if (part > 0) print_message("measured at most %.2f of the bound\n", part);
    part = 0;
    return 0;
}

/* ---- the world's classifier ------------------------------------------------------------------ */

/* log p(x|y)/p(x) in double, from x in double. */
static double log_ratio(const bench *b, const vn_level *l, int32_t label, const double *x,
                        double *work) {
    return vn_world_log_density(b->world, VN_NETWORK_MAIN, label, l->alpha, l->sigma, x, work) -
           vn_world_log_density(b->world, VN_NETWORK_MAIN, VN_CONDITION_NULL, l->alpha, l->sigma, x,
                                work);
}

/* Numbers below 2 rounded to float, by at most 6e-8. Measured over all: probabilities 4.6e-8,
 * shifts 2.7e-8 against both. */
static void check_classify(bench *b, const vn_level *l, int32_t label) {
    float log_p[N], shift[F];
    const int32_t label_of[N] = {label, label, label, label, label};
    const vn_classify q = {.n = N,
                           .x = noisy,
                           .level = l,
                           .condition = label_of,
                           .log_probability = log_p,
                           .shift = shift};
    const double log_prior = label                            ? log(0.6)
                             : vn_world_classes(b->world) > 1 ? log(0.4)
                                                              : 0,
                 h = 1e-5 * l->sigma;
    double *work = malloc(vn_world_work(b->world) * sizeof *work), x[D], eps[D], given[D], any[D];
    vn_err err;
    assert_int_equal(b->denoiser.classify(b->denoiser.self, &q, &err), VN_OK);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < D; j++) x[j] = (double)noisy[i * D + j];
        near((double)log_p[i], log_prior + log_ratio(b, l, label, x, work), 1.2e-7);
        vn_world_denoise(b->world, VN_NETWORK_MAIN, label, l->alpha, l->sigma, x, given, eps, work);
        vn_world_denoise(b->world, VN_NETWORK_MAIN, VN_CONDITION_NULL, l->alpha, l->sigma, x, any,
                         eps, work);
        for (int j = 0; j < D; j++) {
            const double keep = x[j], got = (double)shift[i * D + j];
            near(got, given[j] - any[j], 6e-8);
            x[j] = keep + h;
            const double up = log_ratio(b, l, label, x, work);
            x[j] = keep - h;
            const double slope = (up - log_ratio(b, l, label, x, work)) / (2 * h);
            x[j] = keep;
            if (l->alpha > 0) near(got, l->sigma * l->sigma / l->alpha * slope, 6e-8);
        }
    }
    free(work);
}

static void classifiers_are_exact(void **state) {
    (void)state;
    static const char *const worlds[] = {two_classes, tilted};
    for (size_t w = 0; w < VN_COUNT(worlds); w++)
        for (size_t p = 0; p < VN_COUNT(paths); p++) {
            bench b = bench_open(worlds[w], paths[p], "v");
            for (size_t t = 0; t < VN_COUNT(times); t++)
                for (int32_t label = 0; label < b.denoiser.conditions.classes; label++) {
                    const vn_level l = vn_path_level(b.path, times[t]);
                    draw(&l);
                    check_classify(&b, &l, label);
                }
            bench_close(&b);
        }
}

/* Where p(x) is the union of the classes it is their posterior. */
static void classifiers_are_posteriors(void **state) {
    (void)state;
    bench b = bench_open(two_classes, "vp", "v");
    const vn_level l = vn_path_level(b.path, 0.3);
    double *work = malloc(vn_world_work(b.world) * sizeof *work), posterior[2];
    draw(&l);
    for (int32_t label = 0; label < 2; label++) {
        float log_p[N];
        const int32_t label_of[N] = {label, label, label, label, label};
        const vn_classify q = {
            .n = N, .x = noisy, .level = &l, .condition = label_of, .log_probability = log_p};
        vn_err err;
        assert_int_equal(b.denoiser.classify(b.denoiser.self, &q, &err), VN_OK);
        for (int i = 0; i < N; i++) {
            const double x[D] = {(double)noisy[i * D], (double)noisy[i * D + 1]};
            vn_world_posterior(b.world, l.alpha, l.sigma, x, posterior, work);
            near(exp((double)log_p[i]), posterior[label], 1.2e-7);
        }
    }
    free(work);
    bench_close(&b);
}

static void threads_and_bad_labels(void **state) {
    (void)state;
    bench b = bench_open(two_classes, "vp", "v"),
          many = bench_open_crew(two_classes, "vp", "v", crew_of(3));
    const vn_level l = vn_path_level(b.path, 0.3);
    const int32_t label_of[N] = {0, 1, 1, 0, 1}, unknown[N] = {0, 1, 2, 0, 0};
    float one[F], other[F];
    vn_err err = {0};
    draw(&l);
    vn_classify q = {.n = N, .x = noisy, .level = &l, .condition = label_of, .shift = one};
    assert_int_equal(b.denoiser.classify(b.denoiser.self, &q, &err), VN_OK);
    q.shift = other;
    assert_int_equal(many.denoiser.classify(many.denoiser.self, &q, &err), VN_OK);
    assert_memory_equal(one, other, sizeof one);
    q.condition = unknown;
    assert_int_equal(b.denoiser.classify(b.denoiser.self, &q, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "no class 2"));
    q.condition = labels;
    assert_int_equal(b.denoiser.classify(b.denoiser.self, &q, &err), VN_BAD_ARGUMENT);
    bench_close(&b);
    bench_close(&many);
}

/* ---- guided predictions ---------------------------------------------------------------------- */

static vn_status try_guide(const bench *b, const char *list, double gamma, const vn_reward *reward,
                           const vn_level *l, float *x0, float *eps, double *passes, vn_err *err) {
    vn_guidance *g;
    const vn_guidance_options o = {
        .guide = list, .gamma = gamma, .denoiser = &b->denoiser, .reward = reward, .capacity = N};
    vn_status status = vn_guidance_open(&o, &g, err);
    if (status) return status;
    vn_guidance_begin(g, N, 0, labels);
    vn_guidance_step(g, 0, 10, 0, &vn_level_clean);
    status =
        vn_guidance_predict(g, &(vn_request){.x = noisy, .level = l}, (vn_estimate){x0, eps}, err);
    if (passes) *passes = vn_guidance_passes(g);
    vn_guidance_close(&g);
    return status;
}

static double guide(const bench *b, const char *list, double gamma, const vn_reward *reward,
                    const vn_level *l, float *x0, float *eps) {
    double passes = 0;
    vn_err err = {0};
    if (try_guide(b, list, gamma, reward, l, x0, eps, &passes, &err))
        fail_msg("%s: %s", list, err.text);
    return passes;
}

/* An exact classifier added to either base is CFG, at any gamma and level. Measured: x0 2.0e-7, eps
 * 2.9e-7. */
static void exact_classifiers_are_cfg(void **state) {
    (void)state;
    static const double gammas[] = {-1, 0, 0.5, 1, 2, 5};
    static const char *const bases[] = {"classifier", "classifier:base=conditional"};
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(two_classes, paths[p], "v");
        for (size_t t = 0; t < VN_COUNT(times); t++)
            for (size_t k = 0; k < VN_COUNT(gammas); k++) {
                float want_x0[F], want_eps[F], x0[F], eps[F];
                const vn_level l = vn_path_level(b.path, times[t]);
                draw(&l);
                guide(&b, "cfg", gammas[k], NULL, &l, want_x0, want_eps);
                for (size_t i = 0; i < VN_COUNT(bases); i++) {
                    assert_true(guide(&b, bases[i], gammas[k], NULL, &l, x0, eps) == 1);
                    for (int j = 0; j < F; j++) {
                        near((double)x0[j], (double)want_x0[j], 4e-7);
                        near((double)eps[j], (double)want_eps[j], 8e-7);
                    }
                }
            }
        bench_close(&b);
    }
}

/* x0 and eps of a guided prediction less those of another, of sample i. */
static void change(const float *a, const float *b, int i, double *d) {
    for (int j = 0; j < D; j++) d[j] = (double)a[i * D + j] - (double)b[i * D + j];
}

/* Beside another rule it adds what the rule `classifier` adds to its base: at strength 1 to cfg of
 * 2, what makes cfg of 3 where the classifier is exact. A scale multiplies; a bound shortens each
 * sample's change of eps to the bound, and leaves what is shorter. Measured: 0.4 of the bounds. */
static void gradients_are_added_scaled_and_clipped(void **state) {
    (void)state;
    bench b = bench_open(two_classes, "vp", "v");
    const vn_level l = vn_path_level(b.path, 0.5);
    float want[2][F], got[2][F], plain[2][F], clipped[2][F];
    draw(&l);
    guide(&b, "cfg", 3, NULL, &l, want[0], want[1]);
    guide(&b, "cfg,classifier-gradient", 2, NULL, &l, got[0], got[1]);
    for (int j = 0; j < F; j++) near((double)got[0][j], (double)want[0][j], 8e-7);
    guide(&b, "classifier", 3, NULL, &l, want[0], want[1]);
    guide(&b, "classifier:scale=1.5", 2, NULL, &l, got[0], got[1]);
    for (int j = 0; j < F; j++) near((double)got[1][j], (double)want[1][j], 8e-7);
    guide(&b, "classifier", 0, NULL, &l, plain[0], plain[1]);
    guide(&b, "classifier", 1, NULL, &l, got[0], got[1]);
    guide(&b, "classifier:clip=0.2", 1, NULL, &l, clipped[0], clipped[1]);
    int shortened = 0;
    for (int i = 0; i < N; i++) {
        double free_way[D], bound[D];
        change(got[1], plain[1], i, free_way);
        change(clipped[1], plain[1], i, bound);
        const double length = hypot(free_way[0], free_way[1]) / sqrt(D);
        const double most = length > 0.2 ? 0.2 / length : 1;
        shortened += length > 0.2;
        for (int j = 0; j < D; j++) near(bound[j], most * free_way[j], 8e-7);
    }
    assert_in_range(shortened, 1, N - 2); /* one of them has no label */
    bench_close(&b);
}

/* log r = -|x0 - a|^2 / (2 tau^2), and its price doubles for rows without a label. */
typedef struct goal {
    float at[D], tau;
    vn_status fails;
    float value; /* instead, if not 0 */
} goal;

static vn_status quadratic(void *self, int64_t n, const float *x0, const int32_t *label,
                           float *value, float *gradient, vn_err *err) {
    const goal *g = self;
    if (g->fails) return vn_fail(err, g->fails, "the shop is closed");
    for (int64_t i = 0; i < n; i++) {
        const float price = (label[i] == VN_CONDITION_NULL ? 2.0f : 1.0f) / (g->tau * g->tau);
        value[i] = g->value;
        for (int64_t j = 0; j < D; j++) {
            const float off = x0[i * D + j] - g->at[j];
            value[i] -= 0.5f * price * off * off;
            if (gradient) gradient[i * D + j] = -price * off;
        }
    }
    return VN_OK;
}

static const double prior_mean[D] = {0.5, -1}, prior_variance[D] = {0.5, 0.1};

/* For x0 ~ N(m, S): D = m + alpha S/(alpha^2 S + sigma^2) (x - alpha m), d D/dx is its factor, so
 * with C = Cov(x0|x) = sigma^2 S/(alpha^2 S + sigma^2) the guided x0 is D - scale C (D - a)/tau^2.
 * Measured: 1.2e-7; 2.4e-4 with velocity on edm, where at sigma 64 float32 of u = 80 eps is coarse,
 * which is not tried here. */
static void quadratic_rewards_are_linear(void **state) {
    (void)state;
    static const char *const predictions[] = {"x0", "v", "edm"};
    goal a = {.at = {1, -0.5f}, .tau = 0.8f};
    const vn_reward reward = {quadratic, &a};
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t k = 0; k < VN_COUNT(predictions); k++) {
            bench b = bench_open(gaussian, paths[p], predictions[k]);
            for (size_t t = 0; t < VN_COUNT(times); t++) {
                float x0[F], eps[F], plain_x0[F], plain_eps[F];
                const vn_level l = vn_path_level(b.path, times[t]);
                draw(&l);
                guide(&b, "cfg", 1, NULL, &l, plain_x0, plain_eps);
                const double passes = guide(&b, "energy:scale=1.5", 1, &reward, &l, x0, eps);
                assert_true(passes == (l.alpha > 0 ? 2 : 1));
                for (int i = 0; i < F; i++) {
                    const double m = prior_mean[i % D], S = prior_variance[i % D],
                                 price = i / D == 3 ? 2 : 1;
                    const double total = l.alpha * l.alpha * S + l.sigma * l.sigma,
                                 C = l.sigma * l.sigma * S / total;
                    const double d = m + l.alpha * S / total * ((double)noisy[i] - l.alpha * m);
                    const double move = 1.5 * price * C * (d - (double)a.at[i % D]) / 0.64;
                    const double want = l.alpha > 0 ? d - move : d;
                    near((double)x0[i], want, 3e-7);
                    near(l.alpha * (double)x0[i] + l.sigma * (double)eps[i], (double)noisy[i],
                         3e-7);
                    if (l.alpha == 0) assert_true(x0[i] == plain_x0[i] && eps[i] == plain_eps[i]);
                }
            }
            bench_close(&b);
        }
}

/* The true posterior mean is D + C/(C + tau^2) (a - D): the guide's error is of second order in
 * C/tau^2, so it falls by 16 when sigma halves (C ~ sigma^2). */
static void rewards_are_right_at_low_noise(void **state) {
    (void)state;
    goal a = {.at = {1, -0.5f}, .tau = 0.8f};
    const vn_reward reward = {quadratic, &a};
    bench b = bench_open(gaussian, "edm", "x0");
    double error[2] = {0, 0};
    for (int half = 0; half < 2; half++) {
        float x0[F], eps[F];
        const vn_level l = vn_path_level_of_sigma(b.path, half ? 0.05 : 0.1);
        draw(&l);
        guide(&b, "energy", 1, &reward, &l, x0, eps);
        const double S = prior_variance[0], C = l.sigma * l.sigma * S / (S + l.sigma * l.sigma);
        for (int i = 0; i < F; i += D) { /* the first coordinate */
            const double d =
                prior_mean[0] + C / (l.sigma * l.sigma) * ((double)noisy[i] - prior_mean[0]);
            const double tau2 = i / D == 3 ? 0.32 : 0.64,
                         want = d + C / (C + tau2) * ((double)a.at[0] - d);
            error[half] = fmax(error[half], fabs((double)x0[i] - want) / fabs((double)a.at[0] - d));
        }
    }
    print_message("off by %.2g, of at most 2e-3, %.1f times with half the sigma\n", error[0],
                  error[0] / error[1]);
    expect_small(error[0], 2e-3);
    if (!(error[0] / error[1] > 14 && error[0] / error[1] < 18))
        fail_msg("%g, %g", error[0], error[1]);
    bench_close(&b);
}

/* With no reward given it is the classifier's log p(label|x0-hat), here by differences in double
 * through the denoiser. Measured: 2.1e-8. */
static void classifiers_stand_in_for_rewards(void **state) {
    (void)state;
    bench b = bench_open(two_classes, "rectified", "x0");
    const vn_level l = vn_path_level(b.path, 0.4), clean = vn_path_level(b.path, 1e-3);
    float plain_x0[F], plain_eps[F], x0[F], eps[F];
    double *work = malloc(vn_world_work(b.world) * sizeof *work);
    draw(&l);
    assert_true(guide(&b, "cfg,energy", 2, NULL, &l, x0, eps) == 3);
    guide(&b, "cfg", 2, NULL, &l, plain_x0, plain_eps);
    for (int i = 0; i < F; i++) {
        double value[2], x[D] = {(double)noisy[i / D * D], (double)noisy[i / D * D + 1]}, h = 1e-6,
                         d[D], e[D];
        for (int side = 0; side < 2; side++, h = -h) {
            x[i % D] += h;
            vn_world_denoise(b.world, VN_NETWORK_MAIN, 0, l.alpha, l.sigma, x, d, e, work);
            x[i % D] -= h;
            value[side] = log_ratio(&b, &clean, 0, d, work);
        }
        const double slope = i / D == 3 ? 0 : (value[0] - value[1]) / (2 * h);
        near((double)x0[i], (double)plain_x0[i] + l.sigma * l.sigma / l.alpha * slope, 6e-8);
    }
    free(work);
    bench_close(&b);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refused(const bench *b, const char *list, const vn_reward *reward, vn_status status,
                    const char *words) {
    float x0[F], eps[F];
    vn_err err = {0};
    const vn_level l = vn_path_level(b->path, 0.5);
    assert_int_equal(try_guide(b, list, 2, reward, &l, x0, eps, NULL, &err), status);
    if (!strstr(err.text, words)) fail_msg("%s: %s", list, err.text);
}

static vn_status only_value(void *self, int64_t n, const float *x0, const int32_t *of, float *value,
                            float *gradient, vn_err *err) {
    (void)self, (void)x0, (void)of, (void)gradient, (void)err;
    for (int64_t i = 0; i < n; i++) value[i] = 1;
    return VN_OK;
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    goal closed = {.tau = 1, .fails = VN_IO}, broken = {.tau = 1, .value = (float)NAN};
    bench b = bench_open(two_classes, "vp", "v");
    const vn_level l = vn_path_level(b.path, 0.5);
    draw(&l);
    refused(&b, "energy:scale=0", NULL, VN_BAD_ARGUMENT, "scale=0 has no effect");
    refused(&b, "classifier,cfg", NULL, VN_BAD_ARGUMENT, "classifier and cfg cannot be combined");
    refused(&b, "energy", &(vn_reward){quadratic, &closed}, VN_IO,
            "the guide energy: the shop is closed");
    refused(&b, "energy", &(vn_reward){quadratic, &broken}, VN_NOT_FINITE,
            "the log reward of sample 0 is not finite");
    refused(&b, "energy", &(vn_reward){only_value, NULL}, VN_NOT_FINITE,
            "the log reward's gradient of sample 0");
    refused(&b, "classifier:scale=0", NULL, VN_BAD_ARGUMENT, "classifier: scale=0 has no effect");
    refused(&b, "cfg,classifier-gradient:scale=0", NULL, VN_BAD_ARGUMENT, "scale=0 has no effect");
    b.denoiser.unconditional = true;
    refused(&b, "classifier:base=conditional", NULL, VN_BAD_ARGUMENT,
            "base=conditional needs a model that knows the classes");
    refused(&b, "cfg,classifier-gradient", NULL, VN_BAD_ARGUMENT,
            "needs conditions of its own, beside those of its classifier");
    b.denoiser.unconditional = false;
    b.denoiser.classify = NULL;
    refused(&b, "cfg,classifier-gradient", NULL, VN_BAD_ARGUMENT,
            "classifier-gradient: this model has no classifier");
    refused(&b, "classifier", NULL, VN_BAD_ARGUMENT, "classifier: this model has no classifier");
    refused(&b, "energy", NULL, VN_BAD_ARGUMENT, "a reward, or a classifier in its place");
    b.denoiser.can &= ~(unsigned)VN_CAN_VJP;
    refused(&b, "energy", &(vn_reward){quadratic, &closed}, VN_BAD_ARGUMENT, "derivatives");
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(classifiers_are_exact, say_at_its_end),
        cmocka_unit_test_teardown(classifiers_are_posteriors, say_at_its_end),
        cmocka_unit_test_teardown(threads_and_bad_labels, say_at_its_end),
        cmocka_unit_test_teardown(exact_classifiers_are_cfg, say_at_its_end),
        cmocka_unit_test_teardown(gradients_are_added_scaled_and_clipped, say_at_its_end),
        cmocka_unit_test_teardown(quadratic_rewards_are_linear, say_at_its_end),
        cmocka_unit_test_teardown(rewards_are_right_at_low_noise, say_at_its_end),
        cmocka_unit_test_teardown(classifiers_stand_in_for_rewards, say_at_its_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, say_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
