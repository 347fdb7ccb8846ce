/* test_distill.c - samples in few steps: what is trained for them comes near the exact map where
 * that is known, is sampled rightly by itself, goes on to the bit, and is refused by name where it
 * does not fit. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "support/sanitized.h"
#include "support/bound.h"
#include "support/scratch.h"

/* One Gaussian; and two classes that overlap, of two each. */
static const char gaussian[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.6}]}]}";
static const char mixture[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4], \"std\": 0.3},"
    " {\"mean\": [0.5, -1], \"std\": 0.4}]}, {\"components\": [{\"mean\": [1, -0.5], \"std\": 0.5},"
    " {\"mean\": [0, 1], \"std\": 0.2}]}]}";

static void write_worlds(void) {
    scratch_write("gaussian.json", gaussian, sizeof gaussian - 1);
    scratch_write("mixture.json", mixture, sizeof mixture - 1);
}

static vn_train_options options_of(const char *objective, const char *teacher, int64_t steps) {
    vn_train_options o = points_options(objective, SANITIZED && steps > 20 ? steps / 20 : steps);
    o.times = NULL;
    o.teacher = teacher;
    o.validate = 0;
    o.batch = 128;
    return o;
}

static void learn(const char *data, const char *run, const vn_train_options *o) {
    vn_train_options anew = *o;
    anew.overwrite = !o->resume;
    expect_ok(vn, vn_train(vn, data, run, &anew, NULL));
}

static vn_samples *draw(const char *run, const vn_sample_options *o) {
    vn_model *m = NULL;
    vn_samples *s = NULL;
    expect_ok(vn, vn_model_open(vn, run, &m));
    expect_ok(vn, vn_sample(m, o, &s));
    vn_model_close(&m);
    return s;
}

/* Root mean square. */
static double distance(vn_samples *a, vn_samples *b) {
    const int64_t n = 2 * vn_samples_count(a);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow((double)vn_samples_data(a)[i] - (double)vn_samples_data(b)[i], 2);
    return sqrt(sum / (double)n);
}

/* ---- the exact map --------------------------------------------------------------------------- */

/* Of N(m, s^2) the ODE leads from noise eps to m + s eps: the root mean square distance of what one
 * step makes of the same noise. */
static double off_the_map(const char *run) {
    enum { N = 512 };
    static float noise[2 * N];
    vn_random_normal(noise, sizeof noise / sizeof *noise, 5, VN_STREAM_TEST, 0, 0);
    vn_sample_options o = vn_sample_options_default();
    o.count = N;
    o.steps = 1;
    o.label = 0;
    o.noise = noise;
    vn_samples *s = draw(run, &o);
    const float *x = vn_samples_data(s);
    double sum = 0;
    for (int i = 0; i < 2 * N; i++) {
        const double off = (double)x[i] - ((i % 2 ? -0.5 : 1) + 0.6 * (double)noise[i]);
        sum += off * off / (2 * N);
    }
    assert_int_equal(vn_samples_passes(s), 1);
    vn_samples_close(&s);
    return sqrt(sum);
}

static void one_step_comes_near_the_exact_map(void **state) {
    (void)state;
    write_worlds();
    /* teacher NULL: from nothing, where consistency keeps the bias of its wide gaps. Without
     * training the distance is more than 1 */
    static const struct {
        const char *objective, *teacher;
        int64_t steps;
        double bound;
    } cases[] = {{"mean-flow:same=0.5", NULL, 1000, 0.3},
                 {"consistency:q=16,halve=100", NULL, 500, 0.45},
                 {"consistency:q=32,halve=100", "gaussian.json", 500, 0.45},
                 {"scm:warmup=100", NULL, 500, 0.4},
                 {"scm:warmup=100", "gaussian.json", 500, 0.4}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char run[16];
        snprintf(run, sizeof run, "near-%zu", i);
        const vn_train_options o = options_of(cases[i].objective, cases[i].teacher, cases[i].steps);
        learn("gaussian.json", run, &o);
        const double off = off_the_map(run);
        if (!SANITIZED)
            expect_below_as(off, cases[i].bound, "%s%s", cases[i].objective,
                            cases[i].teacher ? " of a teacher" : "");
    }
}

/* ---- guidance as an input -------------------------------------------------------------------- */

/* One pass of the student at G is what two of the teacher are, for G that is asked for later. */
/* bound: of samples that are 1 apart. */
static void compare_guided(const char *run, int steps, double guidance, double bound) {
    vn_model *teacher = NULL;
    expect_ok(vn, vn_model_open(vn, "mixture.json", &teacher));
    vn_sample_options how = vn_sample_options_default();
    how.count = 256;
    how.steps = steps;
    how.seed = 4;
    how.guidance = guidance;
    vn_samples *student = draw(run, &how), *of_teacher = NULL;
    assert_int_equal(vn_samples_passes(student), steps);
    how.guidance = 1;
    vn_samples *unguided = draw(run, &how);
    how.guidance = guidance;
    how.path = "rectified";
    how.steps = 16;
    expect_ok(vn, vn_sample(teacher, &how, &of_teacher));
    assert_int_equal(vn_samples_passes(of_teacher), 32);
    if (!SANITIZED) {
        expect_below_as(distance(student, of_teacher), bound, "%s at %g in %d passes", run,
                        guidance, steps);
        assert_true(distance(student, of_teacher) < distance(unguided, of_teacher));
    }
    vn_samples_close(&student);
    vn_samples_close(&unguided);
    vn_samples_close(&of_teacher);
    vn_model_close(&teacher);
}

static void a_student_is_guided_in_one_pass(void **state) {
    (void)state;
    write_worlds();
    vn_train_options o = options_of("guidance:most=4", "mixture.json", 600);
    learn("mixture.json", "guided", &o);
    o = options_of("improved-mean-flow:most=4", NULL, 600);
    learn("mixture.json", "map", &o);
    compare_guided("guided", 16, 1.5, 0.3);
    compare_guided("guided", 16, 3, 0.3);
    compare_guided("map", 2, 3, 0.8);
}

/* ---- one step against 64 --------------------------------------------------------------------- */

static double energy_of(const char *run, int steps) {
    vn_model *m = NULL;
    vn_eval_options e = vn_eval_options_default();
    vn_sample_options o = vn_sample_options_default();
    vn_eval_result r = vn_eval_result_default();
    expect_ok(vn, vn_model_open(vn, run, &m));
    e.metric = "energy";
    e.data = "mixture.json";
    e.count = 1000;
    e.resamples = 0;
    o.steps = steps;
    e.sample = &o;
    expect_ok(vn, vn_eval(m, &e, &r));
    const double value = r.row[0].value;
    vn_model_close(&m);
    return value;
}

static void one_step_is_as_near_to_the_classes_as_many(void **state) {
    (void)state;
    write_worlds();
    vn_train_options o = options_of(NULL, NULL, 600);
    learn("mixture.json", "base", &o);
    o = options_of("mean-flow", NULL, 600);
    learn("mixture.json", "average", &o);
    o = options_of("mean-flow", NULL, 150);
    o.model = NULL;
    o.init_from = "base";
    learn("mixture.json", "tuned", &o);
    o = options_of("shortcut", NULL, 600);
    learn("mixture.json", "short", &o);
    o = options_of("consistency:q=64", "base", 400);
    o.model = NULL; /* the teacher's own */
    learn("mixture.json", "student", &o);
    o = options_of("scm:warmup=100", "base", 400);
    o.model = NULL;
    learn("mixture.json", "continuous", &o);
    o = options_of("progressive:steps=1", "base", 400);
    o.model = NULL;
    learn("mixture.json", "halved", &o);
    o = options_of("multistep:steps=2,q=16", "base", 400);
    o.model = NULL;
    learn("mixture.json", "parts", &o);
    o = options_of("reflow:pairs=1000,steps=8", "base", 300);
    o.model = NULL;
    learn("mixture.json", "straight", &o);
    if (SANITIZED) return;
    const double many = energy_of("base", 64);
    /* the energy distance of 1000 samples to as many errs by about 0.005; noise is 0.6 away */
    expect_below("64 steps", fabs(many), 0.03);
    expect_below("mean-flow in one step", energy_of("average", 1), 0.06);
    expect_below("shortcut in one step", energy_of("short", 1), 0.08);
    expect_below("mean-flow of a run in one step", energy_of("tuned", 1), 0.08);
    expect_below("consistency in one step", energy_of("student", 1), 0.1);
    expect_below("scm in one step", energy_of("continuous", 1), 0.1);
    expect_below("progressive in one step", energy_of("halved", 1), 0.14);
    expect_below("multistep in two steps", energy_of("parts", 2), 0.1);
    expect_below("reflow in four steps", energy_of("straight", 4), 0.06);
    assert_true(energy_of("base", 1) > 0.15);
}

/* ---- what a run says of itself --------------------------------------------------------------- */

static void expect_sampled(const char *run, const char *sampler, const char *guide, int64_t steps) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, run, &m));
    const vn_model_info info = info_of(m);
    if (sampler)
        assert_string_equal(info.sampler, sampler);
    else
        assert_null(info.sampler);
    if (guide)
        assert_string_equal(info.guide, guide);
    else
        assert_null(info.guide);
    assert_int_equal(info.sampling_steps, steps);
    vn_model_close(&m);
}

static void refuse_sampler(const char *run, const char *sampler, const char *words) {
    vn_model *m = NULL;
    vn_samples *s = NULL;
    vn_sample_options o = vn_sample_options_default();
    expect_ok(vn, vn_model_open(vn, run, &m));
    o.sampler = sampler;
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, words);
    vn_model_close(&m);
}

static void a_run_knows_how_it_is_sampled(void **state) {
    (void)state;
    write_worlds();
    static const struct {
        const char *objective, *teacher, *sampler, *guide;
        int64_t steps;
    } cases[] = {{"mean-flow", NULL, "flow-map", NULL, 2},
                 {"consistency", NULL, "consistency:sigma_min=0", NULL, 2},
                 {"consistency", "mixture.json", "consistency:sigma_min=0", NULL, 2},
                 {"progressive:steps=8", "mixture.json", "euler", NULL, 8},
                 {"multistep:steps=8", "mixture.json", "euler", NULL, 8},
                 {"guidance", "mixture.json", NULL, "embedded", 32},
                 {"reflow:pairs=20,steps=2", "mixture.json", "euler", NULL, 4},
                 {"improved-mean-flow", NULL, "flow-map", "embedded", 2},
                 {"shortcut", NULL, "flow-map", NULL, 4},
                 {"scm", NULL, "consistency:sigma_min=0", NULL, 2},
                 {"scm", "mixture.json", "consistency:sigma_min=0", NULL, 2}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char run[16];
        snprintf(run, sizeof run, "says-%zu", i);
        const vn_train_options o = options_of(cases[i].objective, cases[i].teacher, 1);
        learn("mixture.json", run, &o);
        expect_sampled(run, cases[i].sampler, cases[i].guide, cases[i].steps);
        vn_sample_options how = vn_sample_options_default();
        vn_samples *s = draw(run, &how);
        assert_int_equal(vn_samples_passes(s), cases[i].steps);
        vn_samples_close(&s);
    }
    refuse_sampler("says-1", "heun", "heun is not for a consistency model");
    refuse_sampler("says-3", "flow-map", "flow-map needs a network that takes the end of a step");
    vn_sample_options how = vn_sample_options_default(); /* at r = t it is a flow as any other */
    how.sampler = "heun";
    how.steps = 2;
    vn_samples *s = draw("says-0", &how);
    vn_samples_close(&s);
}

/* ---- to the bit ------------------------------------------------------------------------------ */

static void expect_same_weights(const char *a, const char *b) {
    char path[2][64];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/model/diffusion_pytorch_model.safetensors", a);
    snprintf(path[1], sizeof path[1], "%s/model/diffusion_pytorch_model.safetensors", b);
    char *one = scratch_read(path[0], &size[0]), *other = scratch_read(path[1], &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(one, other, size[0]);
    free(one);
    free(other);
}

static void each_goes_on_to_the_bit(void **state) {
    (void)state;
    write_worlds();
    vn_train_options o = options_of(NULL, NULL, 3);
    learn("mixture.json", "teacher", &o);
    static const struct {
        const char *objective, *teacher, *init_from;
    } cases[] = {{"mean-flow:omega=2,kappa=0.3", NULL, NULL},
                 {"mean-flow:tangent=network", NULL, "teacher"},
                 {"improved-mean-flow", NULL, "teacher"},
                 {"shortcut", NULL, NULL},
                 {"consistency:q=8,halve=3", NULL, "teacher"},
                 {"consistency", "teacher", NULL},
                 {"scm:warmup=3", NULL, "teacher"},
                 {"scm:warmup=3,uncertainty=yes", "teacher", NULL},
                 {"guidance", "teacher", NULL},
                 {"progressive", "teacher", NULL},
                 {"multistep", "teacher", NULL},
                 {"reflow:pairs=200,steps=2", "teacher", NULL}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char whole[16], halves[16];
        snprintf(whole, sizeof whole, "whole-%zu", i);
        snprintf(halves, sizeof halves, "halves-%zu", i);
        o = options_of(cases[i].objective, cases[i].teacher, 6);
        o.schedule = "constant";
        o.init_from = cases[i].init_from;
        if (cases[i].teacher || cases[i].init_from) o.model = NULL;
        learn("mixture.json", whole, &o);
        o.steps = 3;
        learn("mixture.json", halves, &o);
        vn_train_options more = vn_train_options_default();
        more.resume = 1;
        more.steps = 6;
        learn("mixture.json", halves, &more);
        expect_same_weights(whole, halves);
    }
}

/* What a run begins from is where it begins: without a step, nothing but the new inputs differs.
 * MeanFlow and sCM count the time otherwise, and their layer of the time is the nearest that can
 * be; of where the step ends nothing is known yet. */
static void a_student_begins_as_its_teacher(void **state) {
    (void)state;
    enum { N = 16 };
    static const struct {
        const char *objective, *teacher, *sampler;
        double off; /* of samples that are 1 apart */
    } cases[] = {{"guidance", "teacher", "euler", 1e-5},
                 {"mean-flow", NULL, "euler", 0.1},
                 {"scm", NULL, "consistency", 0.1}};
    write_worlds();
    vn_train_options o = options_of(NULL, NULL, 200);
    learn("mixture.json", "teacher", &o);
    for (size_t k = 0; k < VN_COUNT(cases); k++) {
        o = options_of(cases[k].objective, cases[k].teacher, 1);
        o.model = NULL;
        o.init_from = "teacher";
        o.lr = 1e-12;
        learn("mixture.json", "student", &o);
        vn_sample_options how = vn_sample_options_default();
        how.count = N;
        how.guidance = 1;
        how.steps = 4;
        how.sampler = cases[k].sampler;
        vn_samples *a = draw("teacher", &how), *b = draw("student", &how);
        expect_below_as(distance(a, b), cases[k].off, "a student of %s", cases[k].objective);
        if (k == 1) {
            how.sampler = "flow-map";
            vn_samples *map = draw("student", &how);
            expect_below("where the step ends", distance(b, map), 1e-5);
            vn_samples_close(&map);
        }
        vn_samples_close(&a);
        vn_samples_close(&b);
    }
    size_t size;
    char *config = scratch_read("student/model/config.json", &size);
    assert_non_null(strstr(config, "\"time_scale\": 0.01"));
    free(config);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuse(const char *data, const vn_train_options *o, const char *words) {
    const vn_status status = vn_train(vn, data, "refused", o, NULL);
    if (!strstr(vn_error_text(vn), words)) fail_msg("'%s': not '%s'", vn_error_text(vn), words);
    assert_true(status == VN_BAD_ARGUMENT || status == VN_UNSUPPORTED);
    assert_int_equal(access("refused", F_OK), -1);
}

static void what_does_not_fit_is_refused_by_name(void **state) {
    (void)state;
    write_worlds();
    vn_train_options base = options_of(NULL, NULL, 1), o = base;
    learn("mixture.json", "base", &base);
    o = options_of("mean-flow", NULL, 1);
    learn("mixture.json", "average", &o);

    o = options_of(NULL, "base", 1);
    refuse("mixture.json", &o, "no method of learning");
    o = options_of("guidence", "base", 1);
    refuse("mixture.json", &o, "guidance");
    o = options_of("consistency", NULL, 1);
    o.init_from = "base";
    refuse("mixture.json", &o, "`model` and `init_from` exclude each other");
    o.model = NULL;
    o.path = "trigonometric";
    refuse("mixture.json", &o, "base is on rectified");
    o.path = NULL;
    o.predict = "v";
    refuse("mixture.json", &o, "base predicts velocity");
    o.predict = NULL;
    o.init_from = "average";
    refuse("mixture.json", &o, "average takes the end of a step");
    o = options_of("improved-mean-flow", NULL, 1);
    o.drop = 0;
    refuse("mixture.json", &o, "mean-flow:tangent=network does without");
    o = options_of("shortcut:sections=48", NULL, 1);
    refuse("mixture.json", &o, "sections 48 is no power of two");
    o = options_of("mean-flow:omega=2", NULL, 1);
    o.drop = 0;
    refuse("mixture.json", &o, "omega and kappa are of guidance");
    o = options_of("progressive", "gaussian.json", 1);
    o.path = "edm";
    o.predict = "edm";
    refuse("mixture.json", &o, "not for edm");

    /* a teacher that has become another */
    o = options_of("consistency", "base", 1);
    learn("mixture.json", "student", &o);
    base.seed = 9;
    learn("mixture.json", "base", &base);
    vn_train_options more = vn_train_options_default();
    more.resume = 1;
    more.steps = 2;
    expect_refused(vn_train(vn, "mixture.json", "student", &more, NULL), VN_BAD_ARGUMENT,
                   "base is not the teacher");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_step_comes_near_the_exact_map),
        cmocka_unit_test(a_student_is_guided_in_one_pass),
        cmocka_unit_test(one_step_is_as_near_to_the_classes_as_many),
        cmocka_unit_test(a_run_knows_how_it_is_sampled),
        cmocka_unit_test(each_goes_on_to_the_bit),
        cmocka_unit_test(a_student_begins_as_its_teacher),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
