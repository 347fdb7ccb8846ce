/* Classifiers as users have them: trained on an exact mixture, their gradient held against the true
 * one and against differences; samples that follow them, the same bits in any batch and on any
 * number of threads; runs that go on; and what is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "api/support_context.h"
#include "support/sanitized.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { D = 2, CLASSES = 3 };

static const char world_text[] =
    "{\"classes\": [{\"name\": \"a\", \"components\": [{\"weight\": 0.7, \"mean\": [-1, 0.4], "
    "\"cov\": [[0.1, 0.03], [0.03, 0.2]]}, {\"weight\": 0.3, \"mean\": [0.5, -0.8], \"std\": "
    "0.25}]}, {\"name\": \"b\", \"components\": [{\"mean\": [1.1, 0.9], \"std\": 0.3}]}, "
    "{\"name\": \"c\", \"components\": [{\"mean\": [0, 1.5], \"std\": 0.2}]}]}";

static vn_train_options classifier_options(int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.model = "classifier:channels=48,layers=2";
    o.batch = 256;
    o.steps = steps;
    o.lr = 2e-3;
    o.validate = 0.1;
    o.save_every = 100000;
    o.log_every = 100000;
    return o;
}

static vn_model *world, *classifier;

static int enter(void **state) {
    context_enter(state);
    scratch_write_text("world.json", world_text);
    const vn_train_options o = classifier_options(SANITIZED ? 20 : 1000);
    expect_ok(vn, vn_train(vn, "world.json", "classifier", &o, NULL));
    expect_ok(vn, vn_model_open(vn, "classifier", &classifier));
    expect_ok(vn, vn_model_open(vn, "world.json", &world));
    return 0;
}

static int leave(void **state) {
    vn_model_close(&world);
    vn_model_close(&classifier);
    return context_leave(state);
}

/* ---- its gradient ---------------------------------------------------------------------------- */

enum { N = 1500 };

/* Samples of p_t, and a class to ask of each, in turn. */
static void draw(const vn_level *l, float *x, int32_t *label) {
    for (int i = 0; i < N; i++) {
        float eps[D];
        vn_world_draw(world->truth, i / CLASSES % CLASSES, 4, (uint64_t)i, x + i * D);
        vn_random_normal(eps, D, 4, VN_STREAM_TEST, (uint64_t)i, 0);
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)l->alpha * x[i * D + j] + (float)l->sigma * eps[j];
        label[i] = i % CLASSES;
    }
}

static void ask(const vn_denoiser *d, const vn_level *l, int64_t n, const float *x,
                const int32_t *label, float *log_p, float *shift) {
    vn_err err = {0};
    const vn_classify q = {
        .n = n, .x = x, .level = l, .condition = label, .log_probability = log_p, .shift = shift};
    if (d->classify(d->self, &q, &err)) fail_msg("%s", err.text);
}

static void open_both(const vn_denoiser **trained, const vn_denoiser **exact) {
    vn_err err = {0};
    if (vn_model_classifier(classifier, NULL, trained, &err) ||
        vn_model_classifier(world, "rectified", exact, &err))
        fail_msg("%s", err.text);
}

/* The mean cosine between the trained and the exact gradient over samples x of p_t and classes y,
 * where guidance by y may bring a sample: p(y|x) above a hundredth, and sigma times the gradient
 * above a tenth, as where a class is nearly sure the direction is noise. Measured: 0.992 to
 * 0.998. */
static void the_field_is_near_the_exact_one(void **state) {
    (void)state;
    static const double times[] = {0.2, 0.4, 0.6, 0.8};
    static float x[N * D], got[N * D], want[N * D], log_p[N];
    static int32_t label[N];
    const vn_denoiser *trained, *exact;
    open_both(&trained, &exact);
    for (size_t t = 0; t < VN_COUNT(times); t++) {
        const vn_level l = vn_path_level(trained->path, times[t]);
        double sum = 0;
        int count = 0;
        draw(&l, x, label);
        ask(trained, &l, N, x, label, NULL, got);
        ask(exact, &l, N, x, label, log_p, want);
        for (int i = 0; i < N; i++) {
            const double gx = (double)got[2 * i], gy = (double)got[2 * i + 1],
                         wx = (double)want[2 * i], wy = (double)want[2 * i + 1];
            if ((double)log_p[i] < log(0.01) || hypot(wx, wy) * l.alpha / l.sigma < 0.1) continue;
            sum += (gx * wx + gy * wy) / (hypot(gx, gy) * hypot(wx, wy));
            count++;
        }
        print_message("t %.2f: mean cosine %.4f of %d\n", times[t], sum / count, count);
        if (SANITIZED) continue;
        assert_true(count >= 50);
        if (!(sum / count > 0.95)) fail_msg("t %g: %.4f", times[t], sum / count);
    }
}

/* The gradient is of log p(label|x): differences of float32 numbers of size 1 over 2h = 0.02 are
 * good to 1e-5, and the third derivative's part. Measured: 4.3e-5 of the largest. */
static void the_gradient_is_that_of_differences(void **state) {
    (void)state;
    static float x[N * D], shift[N * D], up[N], down[N];
    static int32_t label[N];
    const vn_denoiser *trained, *exact;
    const float h = 0.01F;
    double worst = 0, largest = 0;
    open_both(&trained, &exact);
    const vn_level l = vn_path_level(trained->path, 0.6);
    draw(&l, x, label);
    ask(trained, &l, N, x, label, NULL, shift);
    for (int j = 0; j < D; j++) {
        for (int i = 0; i < N; i++) x[i * D + j] += h;
        ask(trained, &l, N, x, label, up, NULL);
        for (int i = 0; i < N; i++) x[i * D + j] -= 2 * h;
        ask(trained, &l, N, x, label, down, NULL);
        for (int i = 0; i < N; i++) {
            const double slope = ((double)up[i] - (double)down[i]) / (2 * (double)h),
                         found = (double)shift[i * D + j] * l.alpha / (l.sigma * l.sigma);
            worst = fmax(worst, fabs(found - slope));
            largest = fmax(largest, fabs(found));
            x[i * D + j] += h;
        }
    }
    print_message("off by %.1e of %.2g\n", worst, largest);
    assert_true(SANITIZED || (largest > 1 && worst < 1e-4 * largest));
}

/* At pure noise, where sigma^2/alpha is infinite, nothing is shifted. */
static void pure_noise_is_not_shifted(void **state) {
    (void)state;
    static float x[N * D], shift[N * D];
    static int32_t label[N];
    const vn_denoiser *trained, *exact;
    open_both(&trained, &exact);
    const vn_level l = vn_path_level(trained->path, 1);
    draw(&l, x, label);
    ask(trained, &l, N, x, label, NULL, shift);
    for (int i = 0; i < N * D; i++) assert_true(shift[i] == 0);
}

/* ---- samples --------------------------------------------------------------------------------- */

static vn_sample_options guided(const char *sampler, double guidance, int64_t count) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.guidance = guidance;
    o.guide = "classifier";
    o.classifier = classifier;
    o.sampler = sampler;
    o.steps = 20;
    return o;
}

/* The mean probability, by the world, that samples are of their class. */
static double told(const vn_samples *s) {
    double sum = 0, p[CLASSES], *work = malloc(vn_world_work(world->truth) * sizeof *work);
    const float *x = vn_samples_data(s);
    for (int64_t i = 0; i < vn_samples_count(s); i++) {
        const double at[D] = {(double)x[i * D], (double)x[i * D + 1]};
        vn_world_posterior(world->truth, 1, 0, at, p, work);
        sum += p[vn_samples_labels(s)[i]];
    }
    free(work);
    return sum / (double)vn_samples_count(s);
}

/* Of the world's p(x), which the null condition stands for: a third of the samples is of any class
 * without guidance, nearly all with it. Measured: 0.33 to 0.37 at 0, 0.93 to 0.99 at 1, 0.995
 * to 1 at 3. */
static void samplers_follow_it(void **state) {
    (void)state;
    static const char *const samplers[] = {"euler", "heun",           "dpmpp-2m", "ddim",
                                           "ddpm",  "euler-maruyama", "langevin"};
    for (size_t i = 0; i < VN_COUNT(samplers); i++) {
        double p[3];
        for (int g = 0; g < 3; g++) {
            const vn_sample_options o = guided(samplers[i], g == 2 ? 3 : g, 300);
            vn_samples *s = NULL;
            expect_ok(vn, vn_sample(world, &o, &s));
            p[g] = told(s);
            vn_samples_close(&s);
        }
        print_message("%-16s %.3f %.3f %.3f\n", samplers[i], p[0], p[1], p[2]);
        if (!SANITIZED) assert_true(p[0] < 0.42 && p[1] > 0.88 && p[2] > 0.96);
    }
}

static void bits_do_not_depend_on_batch_and_threads(void **state) {
    (void)state;
    vn_samples *all = NULL;
    vn_sample_options o = guided("ddpm", 2, 23);
    o.guide = "classifier:clip=0.3,scale=0.9";
    expect_ok(vn, vn_sample(world, &o, &all));
    for (int threads = 1; threads <= 3; threads += 2) {
        vn_context *other = NULL;
        vn_context_options c = vn_context_options_default();
        vn_model *main = NULL;
        vn_samples *s = NULL;
        c.threads = threads;
        c.cpu = kernels->name;
        assert_int_equal(vn_context_open(&other, &c), VN_OK);
        expect_ok(other, vn_model_share(world, other, &main));
        expect_ok(other, vn_model_share(classifier, other, &o.classifier));
        o.batch = threads == 1 ? 1 : 7;
        expect_ok(other, vn_sample(main, &o, &s));
        assert_memory_equal(vn_samples_data(s), vn_samples_data(all), 23 * D * sizeof(float));
        vn_samples_close(&s);
        vn_model_close(&o.classifier);
        vn_model_close(&main);
        vn_context_close(&other);
    }
    vn_samples_close(&all);
}

/* E[x0|x] of N(0, I) on the rectified path; it is never told a class. */
static vn_status standard(void *user, const vn_predict_query *q, float *out) {
    (void)user;
    for (int64_t i = 0; i < q->n; i++) {
        const double a = q->alpha[i], s = q->sigma[i];
        if (q->labels[i] != VN_LABEL_NULL) return VN_BAD_ARGUMENT;
        for (int j = 0; j < D; j++) out[i * D + j] = (float)(a / (a * a + s * s)) * q->x[i * D + j];
    }
    return VN_OK;
}

/* A model that knows no classes has those of its classifier, and is asked without any. */
static void an_unconditional_model_has_its_classes(void **state) {
    (void)state;
    vn_model *base = NULL;
    vn_samples *s = NULL;
    vn_callback_model spec = vn_callback_model_default();
    spec.predict = standard;
    spec.path = "rectified";
    spec.shape[0] = D;
    expect_ok(vn, vn_model_from_callback(vn, &spec, &base));
    vn_sample_options o = guided("ddpm", 2, 7);
    expect_ok(vn, vn_sample(base, &o, &s));
    for (int i = 0; i < 7; i++) assert_int_equal(vn_samples_labels(s)[i], i % CLASSES);
    vn_samples_close(&s);
    o.label = 3;
    expect_refused(vn_sample(base, &o, &s), VN_BAD_ARGUMENT, "classes 0 to 2");
    o.label = VN_LABEL_NULL;
    expect_ok(vn, vn_sample(base, &o, &s));
    vn_samples_close(&s);
    o.label = VN_LABEL_ALL;
    o.guide = "cfg,classifier-gradient";
    expect_refused(vn_sample(base, &o, &s), VN_BAD_ARGUMENT, "conditions of its own");
    vn_model_close(&base);
}

/* ---- few labels ------------------------------------------------------------------------------ */

/* Classes "a", "b" and "c" of the world: `count` of its samples and their labels. */
static void draw_clean(int count, uint64_t seed, float *x, int32_t *label) {
    for (int i = 0; i < count; i++) {
        label[i] = i % CLASSES;
        vn_world_draw(world->truth, label[i], seed, (uint64_t)i, x + i * D);
    }
}

static vn_model *train_points(const char *name, int count, const float *x, const int32_t *label,
                              const vn_train_options *o) {
    static const char *const names[] = {"a", "b", "c"};
    vn_train_data data = vn_train_data_default();
    vn_model *m = NULL;
    data.name = name;
    data.count = count;
    data.sample = (vn_shape){1, {D}};
    data.samples = x;
    data.labels = label;
    data.class_names = label ? names : NULL;
    data.classes = label ? CLASSES : 0;
    expect_ok(vn, vn_train_on(vn, &data, name, o, NULL));
    expect_ok(vn, vn_model_open(vn, name, &m));
    return m;
}

/* A generator that never saw a label, and classifiers of a hundredth and a tenth of the labels: a
 * third of the samples is of the class asked for without guidance, nearly all with it. Measured:
 * 0.331 at G = 0; 0.962 by 60 labels and 0.972 by 600 at 1, as an exact classifier has 0.98; all at
 * 3. A standard error is 0.02 and 0.008. */
static void few_labels_make_a_generator_conditional(void **state) {
    (void)state;
    enum { COUNT = 6000, FEW = COUNT / 100, SOME = COUNT / 10 };
    static bool done; /* by one kernel set: what is learnt does not depend on it */
    if (done) skip();
    done = true;
    static float x[COUNT * D];
    static int32_t label[COUNT];
    draw_clean(COUNT, 5, x, label);
    vn_train_options unlabelled = points_options("cfm", SANITIZED ? 20 : 1500);
    unlabelled.batch = 256;
    vn_train_options o = classifier_options(SANITIZED ? 20 : 400);
    o.validate = 0;
    o.dropout = 0.1;
    vn_model *base = train_points("base", COUNT, x, NULL, &unlabelled),
             *of[2] = {train_points("few", FEW, x, label, &o),
                       train_points("some", SOME, x, label, &o)};
    assert_int_equal(info_of(base).classes, 0);
    for (int k = 0; k < 2; k++) {
        double p[3];
        for (int g = 0; g < 3; g++) {
            vn_sample_options s = guided("heun", g == 2 ? 3 : g, 600);
            vn_samples *drawn = NULL;
            s.classifier = of[k];
            expect_ok(vn, vn_sample(base, &s, &drawn));
            p[g] = told(drawn);
            vn_samples_close(&drawn);
        }
        print_message("%d labels: %.3f %.3f %.3f\n", k ? SOME : FEW, p[0], p[1], p[2]);
        if (!SANITIZED) assert_true(p[0] < 0.42 && p[1] > 0.9 && p[2] > 0.98);
        vn_model_close(&of[k]);
    }
    vn_model_close(&base);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void a_run_goes_on_in_the_same_bits(void **state) {
    (void)state;
    char whole[64], parts[64];
    vn_train_options o = classifier_options(12);
    o.schedule = "constant";
    vn_model *m = NULL;
    expect_ok(vn, vn_train(vn, "world.json", "whole", &o, NULL));
    o.steps = 5;
    expect_ok(vn, vn_train(vn, "world.json", "parts", &o, NULL));
    vn_train_options more = vn_train_options_default();
    more.resume = 1;
    more.steps = 12;
    expect_ok(vn, vn_train(vn, "world.json", "parts", &more, NULL));
    expect_ok(vn, vn_model_open(vn, "whole", &m));
    snprintf(whole, sizeof whole, "%s", vn_model_fingerprint(m));
    vn_model_close(&m);
    expect_ok(vn, vn_model_open(vn, "parts", &m));
    snprintf(parts, sizeof parts, "%s", vn_model_fingerprint(m));
    vn_model_close(&m);
    assert_string_equal(whole, parts);
    assert_true(strncmp(whole, "classifier-", 11) == 0);
}

/* The picture has the curves of the log's lines, so there is one when the log has one. */
static void a_run_says_how_well_it_does(void **state) {
    (void)state;
    char *text = NULL;
    vn_train_options o = classifier_options(6);
    o.preview_every = 3;
    expect_ok(vn, vn_train(vn, "world.json", "plotted", &o, NULL));
    assert_int_equal(access("plotted/previews/000006.png", F_OK), 0);
    assert_int_not_equal(access("plotted/previews/000003.png", F_OK), 0);
    expect_ok(vn, vn_describe(vn, "classifier", &text));
    assert_non_null(strstr(text, "\"accuracy_by_quarter\""));
    assert_non_null(strstr(text, "--classifier classifier --guide classifier"));
    assert_null(strstr(text, "\"sampling\""));
    vn_text_free(&text);
}

static void expect_no_training(const char *model, void (*change)(vn_train_options *),
                               const char *words) {
    vn_train_options o = classifier_options(2);
    o.model = model;
    if (change) change(&o);
    expect_refused(vn_train(vn, "world.json", "refused", &o, NULL), VN_BAD_ARGUMENT, words);
    assert_int_not_equal(access("refused", F_OK), 0);
}

static void with_drop(vn_train_options *o) {
    o->drop = 0.1;
}

static void with_eps(vn_train_options *o) {
    o->predict = "eps";
}

static void with_dsm(vn_train_options *o) {
    o->objective = "dsm";
}

static void with_cross_entropy(vn_train_options *o) {
    o->objective = "cross-entropy";
}

static void with_clean(vn_train_options *o) {
    o->times = "clean";
}

static void with_uniform(vn_train_options *o) {
    o->times = "uniform";
}

static void trainings_that_make_no_sense_are_refused(void **state) {
    (void)state;
    expect_no_training("classifier", with_drop, "`drop`: a classifier learns the classes");
    expect_no_training("classifier", with_eps, "`predict` eps: a classifier answers with classes");
    expect_no_training("classifier", with_dsm, "the objective dsm trains denoisers");
    expect_no_training("mlp", with_cross_entropy, "the objective cross-entropy trains classifiers");
    expect_no_training("mlp", with_clean,
                       "only classifiers and autoencoders learn of clean samples");
    expect_no_training("classifier:time=yes", with_clean, "`times` clean: this classifier takes");
    expect_no_training("classifier:time=no", with_uniform, "takes no noise level");
    expect_no_training("classifer", NULL, "classifier");
}

/* ---- what does not fit ----------------------------------------------------------------------- */

static void expect_no_samples(vn_model *main, vn_model *of, const char *guide, const char *words) {
    vn_sample_options o = guided(NULL, 2, 3);
    vn_samples *s = NULL;
    o.classifier = of;
    o.guide = guide;
    expect_refused(vn_sample(main, &o, &s), VN_BAD_ARGUMENT, words);
    assert_null(s);
}

static void what_does_not_fit_is_refused_with_both_values(void **state) {
    (void)state;
    vn_model *other = NULL, *clean = NULL;
    vn_samples *s = NULL;
    vn_sample_options o = guided(NULL, 2, 3);
    vn_train_options t = classifier_options(2);
    t.model = "classifier:time=no";
    expect_ok(vn, vn_train(vn, "world.json", "clean", &t, NULL));
    expect_ok(vn, vn_model_open(vn, "clean", &clean));
    expect_no_samples(world, clean, "classifier", "clean was trained on clean samples");
    expect_no_samples(world, classifier, "cfg", "a classifier has no effect on the guide cfg");
    expect_no_samples(world, world, "classifier", "classifier: world.json is the model itself");
    const vn_sample_options plain = vn_sample_options_default();
    expect_refused(vn_sample(classifier, &plain, &s), VN_UNSUPPORTED,
                   "is a classifier; samples are drawn from denoisers");
    o.path = "vp";
    expect_refused(vn_sample(world, &o, &s), VN_BAD_ARGUMENT,
                   "classifier was trained on the path rectified, world.json on vp");
    scratch_write_text("two.json",
                       "{\"classes\": [{\"name\": \"a\", \"components\": [{\"mean\": [0, 0], "
                       "\"std\": 1}]}, {\"name\": \"b\", \"components\": [{\"mean\": [1, 0], "
                       "\"std\": 1}]}]}");
    expect_ok(vn, vn_model_open(vn, "two.json", &other));
    expect_no_samples(other, classifier, "classifier",
                      "classifier tells 3 classes, two.json has 2");
    vn_model_close(&other);
    scratch_write_text("one.json",
                       "{\"classes\": [{\"name\": \"a\", \"components\": [{\"mean\": [0], "
                       "\"std\": 1}]}]}");
    expect_ok(vn, vn_model_open(vn, "one.json", &other));
    expect_no_samples(other, classifier, "classifier",
                      "is for samples of shape [2], those of one.json are [1]");
    vn_model_close(&other);
    scratch_write_text("names.json", world_text);
    size_t size = 0;
    char *text = scratch_read("names.json", &size);
    memcpy(strstr(text, "\"b\""), "\"B\"", 3);
    scratch_write("names.json", text, size);
    free(text);
    expect_ok(vn, vn_model_open(vn, "names.json", &other));
    expect_no_samples(other, classifier, "classifier",
                      "class 1 is \"b\" to classifier and \"B\" to names.json");
    vn_model_close(&other);
    vn_model_close(&clean);
}

/* Networks whose inputs are scaled for other data; a run keeps what it was trained with. */
static void another_scale_is_refused_with_both_values(void **state) {
    (void)state;
    vn_model *base = NULL, *fits = NULL;
    vn_samples *s = NULL;
    vn_train_options o = points_options("dsm", 2);
    o.predict = "edm:sigma_data=2";
    expect_ok(vn, vn_train(vn, "world.json", "wide", &o, NULL));
    expect_ok(vn, vn_model_open(vn, "wide", &base));
    assert_true(vn_prediction_deviation(&base->prediction) == 2);
    expect_no_samples(base, classifier, "classifier",
                      "classifier is for data of deviation sigma_data=0.5, wide for 2");
    vn_train_options t = classifier_options(2);
    t.predict = "edm:sigma_data=2";
    expect_ok(vn, vn_train(vn, "world.json", "fits", &t, NULL));
    expect_ok(vn, vn_model_open(vn, "fits", &fits));
    vn_sample_options of = guided(NULL, 2, 3);
    of.classifier = fits;
    expect_ok(vn, vn_sample(base, &of, &s));
    vn_samples_close(&s);
    vn_model_close(&fits);
    vn_model_close(&base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_field_is_near_the_exact_one),
        cmocka_unit_test(the_gradient_is_that_of_differences),
        cmocka_unit_test(pure_noise_is_not_shifted),
        cmocka_unit_test(samplers_follow_it),
        cmocka_unit_test(bits_do_not_depend_on_batch_and_threads),
        cmocka_unit_test(an_unconditional_model_has_its_classes),
        cmocka_unit_test(few_labels_make_a_generator_conditional),
        cmocka_unit_test(a_run_goes_on_in_the_same_bits),
        cmocka_unit_test(a_run_says_how_well_it_does),
        cmocka_unit_test(trainings_that_make_no_sense_are_refused),
        cmocka_unit_test(what_does_not_fit_is_refused_with_both_values),
        cmocka_unit_test(another_scale_is_refused_with_both_values),
    };
    return run_under_each_kernel_set(tests, enter, leave);
}
