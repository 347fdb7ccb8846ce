/* What holds for all rules that combine predictions, on a world of small images: gamma = 1 is the
 * conditional model in one pass, samples without a condition are left alone, a sample does not
 * depend on its batch, the ends of every path are finite, nothing is allocated after opening, and
 * what makes no sense is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/alloc.h"
#include "support/bench.h"
#include "support_rules.h"

#define N 5
#define D 9
#define F (N * D)

static const char text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4, 0, 0, 0.5, 0, 0, 0, 1], \"std\": 0.5},"
    "   {\"mean\": [1, 1, 0, 0, 1, 0, 0, 0, 1], \"std\": 0.2}]},"
    "  {\"components\": [{\"mean\": [1.1, 0.9, -0.3, 1, 0, 0, -1, 0, 0], \"std\": 0.3}]}],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0, 0, 0, 0, 0, 0, 0, 0, 0], \"std\": "
    "1}]},"
    "   {\"components\": [{\"mean\": [1, 1, 0, 0, 0, 0, 0, 0, 0], \"std\": 1}]}]}}";

static const struct {
    const char *list;
    double passes;   /* at gamma = 2 with conditions */
    bool everywhere; /* acts on samples without a condition too */
    bool lambda;     /* gamma = 1 is not the conditional model */
} rules[] = {
    /* clang-format off */
    {"cfg",                           2, false, false},
    {"negative:class=1",              2, false, false},
    {"cfg,compose:class=1",              3, false, true},
    {"cfg,perp-neg:class=1",          3, false, false},
    {"autoguidance",                  2, true,  false},
    {"icg",                           2, false, false},
    {"tsg",                           2, true,  false},
    {"apg",                           2, false, false},
    {"apg:beta=0.5,r=0.1,eta=1",      2, false, false},
    {"cfg-zero-star",                 2, false, false},
    {"cfg-zero-star:zero=1",          1, false, false}, /* for the sample without a condition */
    {"cfg-plus-plus",                 2, false, true},
    {"rectified-cfg-plus-plus",       3, false, false},
    {"tcfg",                          2, false, false},
    {"mambo-g",                       2, false, false},
    {"fdg",                           2, false, false},
    {"cfg,rescale",                   2, false, false},
    {"cfg,dynamic-threshold",         2, true,  true},
    {"cfg,adaptive",                  2, false, false},
    {"pmc",                           2, false, false},
    {"cfg,renorm:rho=0.5",            2, true,  true},
    {"adg",                           2, false, false},
    {"power-law",                     2, false, false},
    {"smc",                           2, false, false},
    {"characteristic:rounds=1",       4, false, false},
    {"fbg",                           2, false, false},
    {"cfg,momentum",                  2, true,  true},
    {"cfg,higs",                      2, true,  true},
    {"cfg,tag",                       2, true,  true},
    {"cfg,schedule:shape=beta",       2, false, true},
    {"cfg,schedule:shape=table,f0=0,f1=2", 2, false, false},
    /* clang-format on */
};

static const int32_t labels[N] = {0, 1, VN_CONDITION_NULL, 1, 0}, none[N] = {-1, -1, -1, -1, -1};
static bench exact;
static vn_path *path;
static vn_denoiser denoiser;
static vn_level level, next;
static float x[F];

typedef struct rows {
    float x0[F], eps[F];
} rows;

static vn_estimate pair_of(rows *r) {
    return (vn_estimate){r->x0, r->eps};
}

/* The same, of pictures of 3 x 3. */
static vn_denoiser of_images(vn_denoiser d) {
    d.sample.rank = 3;
    d.sample.dim[0] = 1;
    d.sample.dim[1] = d.sample.dim[2] = 3;
    return d;
}

static int set_up(void **state) {
    (void)state;
    exact = bench_open(text, "vp", "v");
    path = exact.path;
    denoiser = of_images(exact.denoiser);
    level = vn_path_level(path, 0.5);
    next = vn_path_level(path, 0.4);
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

static double run(const char *list, double gamma, const int32_t *condition, rows *out) {
    return guided(list, gamma, &denoiser, N, condition, x, &level, &next, pair_of(out));
}

static rows plain(const int32_t *condition) {
    rows r;
    unguided(&denoiser, (vn_query){.n = N, .x = x, .condition = condition}, &level, pair_of(&r));
    return r;
}

/* ---- who is guided --------------------------------------------------------------------------- */

static void gamma_one_is_conditional(void **state) {
    (void)state;
    const rows c = plain(labels);
    for (size_t i = 0; i < VN_COUNT(rules); i++) {
        rows got;
        if (rules[i].lambda) continue;
        if (run(rules[i].list, 1, labels, &got) != 1)
            fail_msg("%s: more than one pass", rules[i].list);
        if (memcmp(&got, &c, sizeof c) != 0)
            fail_msg("%s: not the conditional model", rules[i].list);
    }
}

static void samples_without_condition_are_left_alone(void **state) {
    (void)state;
    const rows c = plain(labels), u = plain(none);
    for (size_t i = 0; i < VN_COUNT(rules); i++) {
        rows got;
        if (rules[i].everywhere) continue;
        const double passes = run(rules[i].list, 2, labels, &got);
        if (passes != rules[i].passes) fail_msg("%s: %g passes", rules[i].list, passes);
        if (memcmp(got.x0 + 2 * D, c.x0 + 2 * D, D * sizeof(float)) != 0 ||
            memcmp(got.eps + 2 * D, c.eps + 2 * D, D * sizeof(float)) != 0)
            fail_msg("%s: guides a sample without a condition", rules[i].list);
        if (!(error_of(F, got.x0, c.x0) > 1e-3)) fail_msg("%s: does nothing", rules[i].list);
        if (run(rules[i].list, 2, none, &got) != 1)
            fail_msg("%s: passes that cannot matter", rules[i].list);
        if (memcmp(&got, &u, sizeof u) != 0)
            fail_msg("%s: guides without any condition", rules[i].list);
    }
}

static void samples_do_not_depend_on_their_batch(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(rules); i++) {
        vn_guidance *many = open_guides(rules[i].list, 2, &denoiser, N),
                    *one = open_guides(rules[i].list, 2, &denoiser, 1);
        vn_err err;
        rows got, single;
        for (int64_t k = 0; k < N; k++) {
            vn_guidance_begin(many, N, 10, labels);
            vn_guidance_begin(one, 1, (uint64_t)(10 + k), labels + k);
            for (int step = 6; step < 9; step++) { /* also what is kept from step to step */
                vn_guidance_step(many, step, 28, 0, &next);
                vn_guidance_step(one, step, 28, 0, &next);
                assert_int_equal(vn_guidance_predict(many, &(vn_request){.x = x, .level = &level},
                                                     pair_of(&got), &err),
                                 VN_OK);
                assert_int_equal(vn_guidance_predict(one,
                                                     &(vn_request){.x = x + k * D, .level = &level},
                                                     pair_of(&single), &err),
                                 VN_OK);
            }
            if (memcmp(got.x0 + k * D, single.x0, D * sizeof(float)) != 0 ||
                memcmp(got.eps + k * D, single.eps, D * sizeof(float)) != 0)
                fail_msg("%s: sample %d", rules[i].list, (int)k);
        }
        vn_guidance_close(&many);
        vn_guidance_close(&one);
    }
}

/* ---- the ends -------------------------------------------------------------------------------- */

static void ends_are_finite(void **state) {
    (void)state;
    static const char *const paths[] = {"vp",         "ve", "edm", "rectified", "trigonometric",
                                        "ddpm:cosine"};
    static const char *const predictions[] = {"x0", "eps", "v", "score", "velocity", "edm"};
    static const double times[] = {1, 0.999, 0.3, 1e-3, 0};
    static const double gammas[] = {-1, 0, 0.5, 7};
    const double part = sqrt(D);
    int count = 0;
    for (size_t p = 0; p < VN_COUNT(paths) * VN_COUNT(predictions); p++) {
        bench b = bench_open(text, paths[p / VN_COUNT(predictions)],
                             predictions[p % VN_COUNT(predictions)]);
        const vn_denoiser d = of_images(b.denoiser);
        for (size_t k = 0; k < VN_COUNT(times) * VN_COUNT(gammas) * VN_COUNT(rules); k++) {
            const char *list = rules[k % VN_COUNT(rules)].list;
            const size_t rest = k / VN_COUNT(rules);
            const vn_level at = vn_path_level(b.path, times[rest % VN_COUNT(times)]),
                           to = vn_path_level(b.path, at.t / 2);
            float noisy[F];
            rows got;
            for (int i = 0; i < F; i++)
                noisy[i] = (float)((at.alpha + at.sigma) * (double)x[i] / part);
            guided(list, gammas[rest / VN_COUNT(times)], &d, N, labels, noisy, &at, &to,
                   pair_of(&got));
            if (!all_finite(F, got.x0) || !all_finite(F, got.eps))
                fail_msg("%s, %s, %s, t = %g", list, paths[p / VN_COUNT(predictions)],
                         d.prediction.row->row.name, at.t);
            count++;
        }
        bench_close(&b);
    }
    assert_int_equal(count, 36 * 20 * (int)VN_COUNT(rules));
}

/* Predictions that do not differ leave nothing to divide by. */
static void equal_predictions_are_finite(void **state) {
    (void)state;
    static const float zero[F] = {0}, ones[F] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const float *const answers[] = {zero, ones};
    for (size_t i = 0; i < VN_COUNT(rules) * 4; i++) {
        parrot p = {.n = N, .size = D};
        for (int k = 0; k < ANSWERS; k++) p.raw[k] = answers[i % 2];
        p.raw[ANSWER_NULL] = answers[i / 2 % 2];
        vn_denoiser d = of_images(parrot_denoiser(&p, path, "eps"));
        rows got;
        guided(rules[i / 4].list, 3, &d, N, labels, x, &level, &next, pair_of(&got));
        if (!all_finite(F, got.x0) || !all_finite(F, got.eps)) fail_msg("%s", rules[i / 4].list);
    }
}

static void predicting_takes_no_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(rules); i++) {
        rows got;
        vn_err err;
        vn_guidance *g = open_guides(rules[i].list, 2, &denoiser, N);
        vn_guidance_begin(g, N, 0, labels);
        vn_guidance_step(g, 5, 28, 0, &next);
        const int64_t made = alloc_made();
        assert_int_equal(
            vn_guidance_predict(g, &(vn_request){.x = x, .level = &level}, pair_of(&got), &err),
            VN_OK);
        if (alloc_made() != made) fail_msg("%s allocates", rules[i].list);
        vn_guidance_close(&g);
    }
}

/* ---- numbers that belong to one size --------------------------------------------------------- */

/* 15 for 65536 numbers is 15 x 3/256 for 9: the same bits as with that limit, and not those without
 * one. */
static void apgs_limit_grows_with_the_size_of_a_sample(void **state) {
    (void)state;
    rows chosen, scaled, free, published;
    run("apg", 2, labels, &chosen);
    run("apg:r=0.17578125", 2, labels, &scaled);
    run("apg:r=0", 2, labels, &free);
    run("apg:r=15", 2, labels, &published);
    assert_memory_equal(&chosen, &scaled, sizeof chosen);
    assert_memory_equal(&published, &free, sizeof free); /* which never acts here */
    assert_true(memcmp(&chosen, &free, sizeof free) != 0);
    refused("apg:r=-0.5", 2, &denoiser, "apg: r=-0.5 is not a norm");
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* A guide that was renamed is parsed by its former name, and written by its own. */
static void former_names_are_understood(void **state) {
    (void)state;
    for (const vn_word *w = vn_guides.former; w->word; w++) {
        vn_choice c;
        vn_err err = {0};
        assert_int_equal(vn_choice_parse(w->word, &vn_guides, &c, &err), VN_OK);
        char *name = vn_choice_text(&c);
        assert_string_equal(name, w->name);
        vn_free(name);
    }
    assert_string_equal(vn_guides.former[0].word, "also");
    refused("also:class=7", 2, &denoiser, "compose: class=7 is none of the model's 2 classes");
}

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *list, *words;
    } bad[] = {
        {"negative:class=2", "negative: class=2 is none of the model's 2 classes"},
        {"compose:class=7", "compose: class=7 is none of the model's 2 classes"},
        {"negative:class=boot", "negative: class=boot is no class of the model"},
        {"perp-neg:class=2", "perp-neg: class=2"},
        {"compose:weight=0", "weight=0 has no effect"},
        {"perp-neg:weight=0", "weight=0 has no effect"},
        {"rescale:phi=0", "phi=0 has no effect"},
        {"fdg:low=1", "is cfg"},
        {"fdg:levels=3", "too many for images of 3 x 3"},
        {"cfg,apg", "cannot be combined"},
        {"rescale,rescale", "twice"},
        {"cfg-plus-plus,interval", "takes G and the prediction as they are"},
        {"compose,cfg-plus-plus", "cfg-plus-plus takes G and the prediction as they are"},
        {"schedule:a=2", "a has no effect without shape=beta"},
        {"schedule:shape=beta,power=2", "power has no effect without shape=power"},
        {"schedule:shape=power,f0=1", "f0 has no effect without shape=table"},
        {"schedule:shape=table", "at least two"},
        {"schedule:shape=table,f0=1", "at least two"},
        {"schedule:shape=table,f0=1,f2=1", "f2 is given, but not f1"},
        {"schedule:shape=beta,a=0.5", "a=0.5 is outside"},
        {"dynamic-threshold:percentile=1.5", "percentile=1.5 is outside"},
        {"tsg:scale=0", "scale=0 is outside"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) refused(bad[i].list, 2, &denoiser, bad[i].words);
}

static void what_the_model_lacks_is_named(void **state) {
    (void)state;
    vn_denoiser points = denoiser, one = denoiser, simple = denoiser, unlabelled = denoiser;
    points.sample = VN_SHAPE(points.size);
    one.size = 1;
    one.sample = VN_SHAPE(1);
    simple.conditions.has_null = false;
    simple.can &= ~(unsigned)VN_CAN_WEAK;
    unlabelled.conditions.classes = 0;
    refused("fdg", 2, &points, "points have no frequencies");
    refused("cfg,rescale", 2, &one, "one number");
    refused("autoguidance", 2, &simple, "a weak model");
    refused("cfg-plus-plus", 1, &simple,
            "guidance 1 by cfg-plus-plus needs the null condition, which this model");
    refused("apg", 2, &simple,
            "; guides that do without: negative, autoguidance (with a weak model), icg, tsg; at "
            "guidance 1: classifier-gradient, energy, "
            "fk, momentum, higs; beside them: gibbs-like");
    refused("apg", 2, &simple, "interval, schedule");
    refused("cfg", 2, &unlabelled,
            "needs conditions, which this model does not have; guides that do without: ");
    static const char *const of_null[] = {"apg",  "cfg-zero-star", "rectified-cfg-plus-plus",
                                          "tcfg", "mambo-g",       "fdg",
                                          "pmc",  "adg",           "power-law",
                                          "smc",  "adaptive"};
    for (size_t i = 0; i < VN_COUNT(of_null); i++) {
        refused(of_null[i], 2, &simple, "the null condition");
        refused(of_null[i], 2, &unlabelled, "conditions");
    }
    refused("compose", 2, &simple, "the null condition");
    refused("perp-neg", 2, &simple, "the null condition");
    refused("perp-neg", 2, &unlabelled, "needs conditions");
    refused("icg", 2, &unlabelled, "conditions");
    rows got;
    assert_true(guided("icg", 2, &simple, N, labels, x, &level, &next, pair_of(&got)) == 2);
    assert_true(guided("tsg", 2, &unlabelled, N, none, x, &level, &next, pair_of(&got)) == 2);
    vn_err err;
    vn_guidance *g = open_guides("cfg-plus-plus", 0.6, &denoiser, N);
    assert_int_equal(vn_guidance_check_sampler(g, "heun", 0, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "a sampler that moves x0 and noise apart"));
    vn_guidance_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gamma_one_is_conditional),
        cmocka_unit_test(samples_without_condition_are_left_alone),
        cmocka_unit_test(samples_do_not_depend_on_their_batch),
        cmocka_unit_test(ends_are_finite),
        cmocka_unit_test(equal_predictions_are_finite),
        cmocka_unit_test(predicting_takes_no_memory),
        cmocka_unit_test(apgs_limit_grows_with_the_size_of_a_sample),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(former_names_are_understood),
        cmocka_unit_test(what_the_model_lacks_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
