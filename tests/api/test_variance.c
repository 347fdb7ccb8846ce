/* A learned variance as users train and sample it: on data whose best variance is known, what the
 * run says of itself, and what is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "api/support_context.h"
#include "support/sanitized.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define STEPS     20
#define PATH      "ddpm:cosine,T=20"
#define DEVIATION 0.6
#define WORLD     "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 0.6}]}]}"

static vn_train_options variance_options(int64_t steps) {
    vn_train_options o = points_options("hybrid", steps);
    o.path = PATH;
    o.predict = "v";
    o.drop = 0;
    o.batch = 256;
    return o;
}

/* Of the log variance, root mean square over the steps: twice what training leaves after 1500
 * steps. */
#define MAX_LOG_ERROR 0.09

/* ---- the variance learnt --------------------------------------------------------------------- */

/* log variance of the step down from k, per coordinate: the model's mean over noisy samples, the
 * best, and the range's ends. */
typedef struct logs {
    double learned, best, small, large;
} logs;

static logs logs_of(const vn_denoiser *d, int k) {
    enum { N = 200, SIZE = 2 };
    float x[N * SIZE], raw[N * SIZE], v[N * SIZE];
    vn_level level[N];
    int32_t labels[N];
    const vn_level from = vn_path_level_of_step(d->path, k),
                   to = vn_path_level_of_step(d->path, k - 1);
    const double square = DEVIATION * DEVIATION, s2 = from.sigma * from.sigma,
                 total = from.alpha * from.alpha * square + s2;
    vn_random_normal(x, N * SIZE, 5, VN_STREAM_TEST, (uint64_t)k, 0);
    for (int i = 0; i < N * SIZE; i++) x[i] *= (float)sqrt(total);
    for (int i = 0; i < N; i++) level[i] = from, labels[i] = 0;
    const vn_query q = {.n = N, .x = x, .level = level, .condition = labels, .variance = v};
    vn_err err = {0};
    if (d->predict(d->self, &q, raw, &err)) fail_msg("%s", err.text);
    const double beta = vn_step_variance(&from, &to), small = beta * to.sigma * to.sigma / s2;
    logs l = {.small = log(small),
              .large = log(beta),
              .best = log(small + pow(beta * to.alpha / s2, 2) * square * s2 / total)};
    for (int i = 0; i < N * SIZE; i++) {
        const double share = ((double)v[i] + 1) / 2;
        l.learned += (share * l.large + (1 - share) * l.small) / (N * SIZE);
    }
    return l;
}

/* Relative to the true one, of 16000 samples in STEPS steps: 32000 numbers know it to sqrt(2 /
 * 32000) = 0.8%. */
static double spread_of(vn_model *m, const char *sampler, int steps) {
    vn_sample_options o = vn_sample_options_default();
    vn_samples *s;
    o.count = 16000;
    o.sampler = sampler;
    o.steps = steps;
    o.grid = "linspace";
    expect_ok(vn, vn_sample(m, &o, &s));
    double sum = 0;
    const float *x = s->data;
    for (int64_t i = 0; i < s->count * s->size; i++)
        sum += (double)x[i] * (double)x[i] / (double)(s->count * s->size);
    vn_samples_close(&s);
    return sum / (DEVIATION * DEVIATION);
}

static void a_gaussian_is_given_its_variance(void **state) {
    (void)state;
    const vn_train_options o = variance_options(SANITIZED ? 20 : 1500);
    vn_model *m;
    double error = 0, between = 0;
    scratch_write_text("gaussian.json", WORLD);
    const vn_denoiser *d = train_and_open("gaussian.json", "run", &o, &m);
    assert_true((d->can & VN_CAN_VARIANCE));
    for (int k = 1; k < STEPS; k++) {
        const logs l = logs_of(d, k);
        print_message("step %2d: log variance %.3f learnt, %.3f best, in [%.3f, %.3f]\n", k,
                      l.learned, l.best, l.small, l.large);
        error += pow(l.learned - l.best, 2) / (STEPS - 1);
        between += pow((l.small + l.large) / 2 - l.best, 2) / (STEPS - 1);
    }
    if (SANITIZED) {
        vn_model_close(&m);
        return;
    }
    error = sqrt(error), between = sqrt(between);
    print_message("error %.4f, of at most %.4f; of one that says nothing %.4f\n", error,
                  MAX_LOG_ERROR, between);
    expect_small(error, MAX_LOG_ERROR);
    assert_true(between > 1.5 * MAX_LOG_ERROR);
    const double small = spread_of(m, "ddpm:variance=small", STEPS),
                 learned = spread_of(m, "ddpm", STEPS),
                 large = spread_of(m, "ddpm:variance=large", STEPS);
    print_message(
        "variance of samples over the true one: small %.3f, below 0.9; large %.3f, above 1.036; "
        "learned %.3f, within 0.036 of 1\n",
        small, large, learned);
    /* 4.5 standard errors */
    expect_small(fabs(learned - 1), 0.036);
    assert_true(large > 1.036);
    assert_true(small < 0.9);
    vn_model_close(&m);
}

/* ---- what a run says, and refusals ----------------------------------------------------------- */

static json_t *read_json(const char *file) {
    json_t *json;
    vn_err err = {0};
    if (vn_json_read(file, &json, &err)) fail_msg("%s", err.text);
    return json;
}

/* Every model is made with room for the variance, and goes on and samples as any other. */
static void models_are_made_for_it(void **state) {
    (void)state;
    static const struct {
        const char *model, *config;
    } known[] = {
        {"unet2d:channels=8,levels=2", "unet/config.json"},
        {"dit:depth=1,width=16,heads=2", "transformer/config.json"},
    };
    make_data("pictures", 32);
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        char run[16], file[96];
        vn_model *m;
        vn_samples *s;
        snprintf(run, sizeof run, "run-%zu", i);
        vn_train_options o = variance_options(2);
        o.model = known[i].model;
        o.batch = 4;
        expect_ok(vn, vn_train(vn, "pictures", run, &o, NULL));
        o = vn_train_options_default();
        o.resume = 1;
        o.steps = 3;
        expect_ok(vn, vn_train(vn, "pictures", run, &o, NULL));
        snprintf(file, sizeof file, "%s/%s", run, known[i].config);
        json_t *config = read_json(file);
        assert_int_equal(json_integer_value(json_object_get(config, "out_channels")),
                         2 * json_integer_value(json_object_get(config, "in_channels")));
        json_decref(config);
        snprintf(file, sizeof file, "%s/scheduler/scheduler_config.json", run);
        config = read_json(file);
        assert_string_equal(json_string_value(json_object_get(config, "variance_type")),
                            "learned_range");
        json_decref(config);
        expect_ok(vn, vn_model_open(vn, run, &m));
        vn_sample_options draw = vn_sample_options_default();
        draw.count = 3;
        draw.steps = 4;
        draw.sampler = "ddpm:variance=learned";
        draw.guidance = 2;
        expect_ok(vn, vn_sample(m, &draw, &s));
        vn_samples_close(&s);
        vn_model_close(&m);
    }
}

static void refusals_say_what_would_do(void **state) {
    (void)state;
    vn_model *m;
    vn_samples *s;
    vn_train_options o = variance_options(2);
    make_data("shown", 32);
    o.batch = 4;
    o.model = "unet2d:channels=8,levels=2";
    o.path = NULL;
    o.predict = NULL;
    expect_refused(vn_train(vn, "shown", "bad", &o, NULL), VN_BAD_ARGUMENT,
                   "rectified has no steps");
    o.path = "ddpm";
    expect_ok(vn, vn_train(vn, "shown", "with", &o, NULL));
    o.objective = NULL;
    expect_ok(vn, vn_train(vn, "shown", "without", &o, NULL));
    o.model = "with/unet/config.json";
    expect_refused(vn_train(vn, "shown", "bad", &o, NULL), VN_BAD_ARGUMENT,
                   "hybrid is the one that learns a variance");
    o.objective = "hybrid";
    o.model = "without/unet/config.json";
    expect_refused(vn_train(vn, "shown", "bad", &o, NULL), VN_BAD_ARGUMENT,
                   "wants 2, for a variance too");
    expect_ok(vn, vn_model_open(vn, "without", &m));
    vn_sample_options draw = vn_sample_options_default();
    draw.sampler = "ddpm:variance=learned";
    expect_refused(vn_sample(m, &draw, &s), VN_BAD_ARGUMENT, "variance=learned needs a model");
    vn_model_close(&m);
    scratch_write_text(
        "without/scheduler/scheduler_config.json",
        "{\"_class_name\": \"DDPMScheduler\", \"variance_type\": \"learned_range\"}");
    expect_refused(vn_model_open(vn, "without", &m), VN_BAD_FILE, "learned_range");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gaussian_is_given_its_variance),
        cmocka_unit_test(models_are_made_for_it),
        cmocka_unit_test(refusals_say_what_would_do),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
