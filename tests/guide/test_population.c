/* Resampling: shares, places, populations that keep to themselves; the weights of fk and fkc over a
 * step made by hand; and the levels of gibbs-like. What they draw is measured in
 * tests/sample/test_tilt.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "guide/internal.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support_rules.h"

#define N 12

/* ---- resampling ------------------------------------------------------------------------------ */

typedef struct flock {
    int32_t labels[N], places[N];
    double log_weight[N];
    int64_t ancestor[N];
    vn_denoiser denoiser;
    vn_guide guide;
    vn_guide_at at;
    vn_population population;
} flock;

/* In place: it points into itself. */
static void gather(flock *f, const double *weight, int32_t classes) {
    *f = (flock){.denoiser = {.conditions = {.classes = classes}, .size = 1}};
    for (int i = 0; i < N; i++) {
        f->labels[i] = i % (classes + 1) - 1; /* null, 0, 1, .. */
        f->log_weight[i] = log(weight[i]);
        f->ancestor[i] = i;
    }
    f->guide =
        (vn_guide){.denoiser = &f->denoiser, .log_weight = f->log_weight, .condition = f->places};
    f->at = (vn_guide_at){.n = N, .condition = f->labels, .seed = 4, .steps = 10};
    f->population = (vn_population){.at = &f->at, .ancestor = f->ancestor};
}

static const double uneven[N] = {1, 5, 0.2, 3, 1e-9, 2, 2, 0.5, 1, 1, 7, 0.1};

static void places_of(const flock *f, int places[N]) {
    for (int i = 0; i < N; i++) places[i] = 0;
    for (int i = 0; i < N; i++) places[f->ancestor[i]]++;
}

/* Each survives in floor or ceil of K w places, on average in K w; one that survives keeps its
 * own place. */
static void shares_are_fair(void **state) {
    (void)state;
    enum { TRIES = 4000 };
    for (int32_t classes = 0; classes < 3; classes++) {
        double mean[N] = {0}, sum[3] = {0}, count[3] = {0};
        int places[N];
        for (int i = 0; i < N; i++) {
            sum[i % (classes + 1)] += uneven[i];
            count[i % (classes + 1)]++;
        }
        for (int t = 0; t < TRIES; t++) {
            flock f;
            gather(&f, uneven, classes);
            f.at.step = t;
            vn_population_resample(&f.guide, &f.population, 1);
            places_of(&f, places);
            for (int i = 0; i < N; i++) {
                const double share = uneven[i] / sum[i % (classes + 1)] * count[i % (classes + 1)];
                assert_true(places[i] == (int)floor(share) || places[i] == (int)ceil(share));
                assert_true(places[i] == 0 || f.ancestor[i] == i);
                assert_true(f.labels[f.ancestor[i]] == f.labels[i]);
                assert_true(f.log_weight[i] == 0);
                mean[i] += (double)places[i] / TRIES;
            }
        }
        /* the deviation of a mean is at most 0.5/sqrt(TRIES) = 0.008; measured 0.018 */
        for (int i = 0; i < N; i++) {
            const double share = uneven[i] / sum[i % (classes + 1)] * count[i % (classes + 1)];
            expect_small(fabs(mean[i] - share), 0.025);
        }
    }
}

static void equal_weights_move_nothing(void **state) {
    (void)state;
    static const double same[N] = {0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3};
    flock f;
    for (int t = 0; t < 100; t++) {
        gather(&f, same, 1);
        f.at.step = t;
        f.log_weight[t % N] += 1e-12; /* nor do almost equal ones */
        vn_population_resample(&f.guide, &f.population, 1);
        for (int i = 0; i < N; i++) assert_true(f.ancestor[i] == i);
    }
}

static void the_one_heavy_takes_all(void **state) {
    (void)state;
    flock f;
    gather(&f, uneven, 0);
    f.log_weight[5] = 2000; /* exp of it is infinite */
    vn_population_resample(&f.guide, &f.population, 0.5);
    for (int i = 0; i < N; i++) assert_true(f.ancestor[i] == 5);
}

/* Whose weights are no numbers is not left with one sample in all places. */
static void weights_that_are_no_numbers_are_named(void **state) {
    (void)state;
    const double bad[] = {(double)NAN, (double)INFINITY, (double)-INFINITY};
    for (size_t k = 0; k < VN_COUNT(bad); k++) {
        flock f;
        gather(&f, uneven, 0);
        f.at.first = 40;
        f.log_weight[3] = bad[k];
        vn_population_resample(&f.guide, &f.population, 0.5);
        assert_int_equal(f.guide.status, VN_NOT_FINITE);
        assert_string_equal(f.guide.err.text, "the weight of sample 43 is not finite");
    }
}

/* ESS of one of the weights 1, .., 1, w out of N: (N - 1 + w)^2 / (N - 1 + w^2). */
static void only_uneven_populations_are_resampled(void **state) {
    (void)state;
    double weight[N];
    for (int i = 0; i < N; i++) weight[i] = i ? 1 : 4;
    const double part = (N + 3.0) * (N + 3.0) / (N - 1 + 16) / N;
    flock f;
    gather(&f, weight, 0);
    vn_population_resample(&f.guide, &f.population, part - 1e-6);
    assert_true(f.log_weight[0] == log(4) && f.ancestor[1] == 1);
    vn_population_resample(&f.guide, &f.population, part + 1e-6);
    assert_true(f.log_weight[0] == 0);
    int places[N];
    places_of(&f, places);
    assert_true(places[0] == 3 || places[0] == 4); /* 12 * 4/15 */
}

/* The draw is keyed by the index of the population's first sample, not by what else is in the
 * batch. */
static void draws_are_keyed(void **state) {
    (void)state;
    double tail[N] = {0}; /* the last six of `uneven` */
    memcpy(tail, uneven + 6, 6 * sizeof *tail);
    flock f, other, alone;
    int differ[2] = {0, 0};
    for (int t = 0; t < 20; t++) {
        gather(&f, uneven, 0);
        gather(&other, uneven, 0);
        gather(&alone, tail, 0); /* as a batch that begins at sample 6 */
        f.at.step = other.at.step = alone.at.step = t;
        for (int i = 6; i < N; i++) f.labels[i] = 0;
        f.denoiser.conditions.classes = 1;
        other.at.seed = 5;
        alone.at.n = 6;
        alone.at.first = 6;
        vn_population_resample(&f.guide, &f.population, 1);
        vn_population_resample(&other.guide, &other.population, 1);
        vn_population_resample(&alone.guide, &alone.population, 1);
        for (int i = 0; i < 6; i++) {
            assert_true(alone.ancestor[i] + 6 == f.ancestor[i + 6]);
            differ[0] += other.ancestor[i] != f.ancestor[i];
        }
        gather(&other, tail, 0); /* the same, had it begun at sample 7 */
        other.at.n = 6;
        other.at.first = 7;
        other.at.step = t;
        vn_population_resample(&other.guide, &other.population, 1);
        for (int i = 0; i < 6; i++) differ[1] += other.ancestor[i] != alone.ancestor[i];
    }
    assert_true(differ[0] > 0 && differ[1] > 0);
}

/* ---- one step by hand ------------------------------------------------------------------------ */

static const char text[] = "{\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}],"
                           " \"unconditional\": [{\"mean\": [0], \"cov\": [[2]]}]}";

static bench exact;
static vn_path *path;
static vn_denoiser denoiser;

static int set_up(void **state) {
    (void)state;
    exact = bench_open(text, "edm", "v");
    path = exact.path;
    denoiser = exact.denoiser;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

/* A reward that is the sample itself. */
static vn_status itself(void *self, int64_t n, const float *x0, const int32_t *labels, float *value,
                        float *gradient, vn_err *err) {
    (void)self, (void)labels, (void)gradient, (void)err;
    memcpy(value, x0, (size_t)n * sizeof *x0);
    return VN_OK;
}
static const vn_reward reward = {itself, NULL};

static vn_guidance *begin(const char *list, double gamma, const int32_t *labels) {
    vn_guidance *g;
    vn_err err = {0};
    const vn_guidance_options o = {.guide = list,
                                   .gamma = gamma,
                                   .seed = 9,
                                   .denoiser = &denoiser,
                                   .reward = &reward,
                                   .capacity = N};
    if (vn_guidance_open(&o, &g, &err)) fail_msg("%s: %s", list, err.text);
    vn_guidance_begin(g, N, 0, labels);
    return g;
}

static const int32_t of_class[N] = {0};

static void predict(vn_guidance *g, const float *x, int step, int steps, double from, double to) {
    const vn_level here = vn_path_level_of_sigma(path, from),
                   next = vn_path_level_of_sigma(path, to);
    float x0[N], eps[N];
    vn_err err = {0};
    vn_guidance_step(g, step, steps, 0, &next);
    for (int call = 0; call < 2; call++) /* a second prediction of the same step changes nothing */
        if (vn_guidance_predict(g, &(vn_request){.x = x, .level = &here}, (vn_estimate){x0, eps},
                                &err))
            fail_msg("%s", err.text);
}

static void choose(vn_guidance *g, const float *x, int64_t ancestor[N]) {
    bool moved;
    vn_err err = {0};
    if (vn_guidance_select(g, x, ancestor, &moved, &err)) fail_msg("%s", err.text);
}

static void spread(float x[N], double by) {
    for (int i = 0; i < N; i++) x[i] = (float)(by * (i - N / 2 + 0.25));
}

/* What a resampling by these log weights leaves, in the last step of two. */
static void expect(const double *log_weight, const int64_t ancestor[N]) {
    flock f;
    gather(&f, uneven, 0);
    memcpy(f.log_weight, log_weight, sizeof f.log_weight);
    for (int i = 0; i < N; i++) f.labels[i] = 0;
    f.denoiser.conditions.classes = 1;
    f.at.seed = 9;
    f.at.step = 1;
    vn_population_resample(&f.guide, &f.population, 1);
    assert_memory_equal(f.ancestor, ancestor, sizeof f.ancestor);
}

/* Whatever the potentials of the steps, their product is the reward of the end: with no resampling
 * before it, the same live on. */
static void potentials_multiply_to_the_reward(void **state) {
    (void)state;
    static const char *const potentials[] = {"fk:lambda=0.5,ess=0",
                                             "fk:lambda=0.5,ess=0,potential=max",
                                             "fk:lambda=0.5,ess=0,potential=sum"};
    float high[N], low[N], end[N];
    double log_weight[N];
    int64_t ancestor[N];
    spread(high, 3);
    spread(low, -2);
    spread(end, 0.4);
    for (int i = 0; i < N; i++) log_weight[i] = 0.5 * (double)end[i];
    for (size_t k = 0; k < VN_COUNT(potentials); k++) {
        vn_guidance *g = begin(potentials[k], 1, of_class);
        predict(g, high, 0, 2, 10, 1);
        choose(g, low, ancestor);
        for (int i = 0; i < N; i++) assert_true(ancestor[i] == i);
        predict(g, low, 1, 2, 1, 0);
        choose(g, end, ancestor);
        expect(log_weight, ancestor);
        vn_guidance_close(&g);
    }
}

/* The same where potentials have been paid out on the way: who was chosen by its x0-hat is judged
 * anew by its end. */
static void steps_are_paid_out(void **state) {
    (void)state;
    float high[N], end[N];
    int64_t ancestor[N];
    double log_weight[N];
    spread(high, 3);
    vn_guidance *g = begin("fk:lambda=2,ess=1", 1, of_class);
    predict(g, high, 0, 2, 1, 0.5); /* x0-hat = x/2 */
    choose(g, high, ancestor);
    int places[N] = {0};
    for (int i = 0; i < N; i++) places[ancestor[i]]++;
    assert_true(places[N - 1] > 8); /* e^3 apart */
    for (int i = 0; i < N; i++) end[i] = high[ancestor[i]];
    predict(g, end, 1, 2, 0.5, 0); /* x0-hat = 0.8 x */
    for (int i = 0; i < N; i++) {
        end[i] = 0.1f * (float)i;
        log_weight[i] = 2 * (double)end[i] - (double)high[ancestor[i]];
    }
    choose(g, end, ancestor);
    expect(log_weight, ancestor);
    vn_guidance_close(&g);
}

/* gamma (gamma - 1) log(s/s') |eps_c - eps_u|^2, a half of it in the last step, where log is
 * infinite; eps = sigma x/(variance + sigma^2). And c and u are those of cfg. */
static void correctors_weigh(void **state) {
    (void)state;
    float x[N];
    double log_weight[N];
    int64_t ancestor[N];
    spread(x, 0.5);
    vn_guidance *g = begin("fkc:ess=0", 3, of_class);
    predict(g, x, 0, 2, 2, 1);
    choose(g, x, ancestor);
    predict(g, x, 1, 2, 1, 0);
    choose(g, x, ancestor);
    assert_true(vn_guidance_passes(g) == 8); /* 4 predictions of 2 */
    for (int i = 0; i < N; i++) {
        const double a = 2 * (double)x[i] * (1.0 / 5 - 1.0 / 6),
                     b = (double)x[i] * (1.0 / 2 - 1.0 / 3);
        log_weight[i] = 6 * (log(2) * a * a + 0.5 * b * b);
    }
    expect(log_weight, ancestor);
    vn_guidance_close(&g);
}

/* A gamma that changes weighs by the density ratio, which a classifier knows. */
static void changes_of_gamma_weigh(void **state) {
    (void)state;
    float x[N];
    double log_weight[N];
    int64_t ancestor[N];
    spread(x, 0.5);
    vn_guidance *g = begin("fkc:ess=0,interval:lo=0,hi=1", 3, of_class);
    predict(g, x, 0, 2, 2, 1); /* gamma is 1 */
    choose(g, x, ancestor);
    predict(g, x, 1, 2, 1, 0);
    choose(g, x, ancestor);
    for (int i = 0; i < N; i++) {
        const double x2 = (double)x[i] * (double)x[i], b = (double)x[i] * (1.0 / 2 - 1.0 / 3);
        log_weight[i] = 2 * -0.5 * x2 * (1.0 / 2 - 1.0 / 3) + 6 * 0.5 * b * b;
    }
    expect(log_weight, ancestor);
    vn_guidance_close(&g);
}

/* ---- gibbs-like ------------------------------------------------------------------------------ */

static void detours_repeat_the_low_levels(void **state) {
    (void)state;
    static const double ratios[] = {80, 5, 1.2, 0.7, 0.1, 0};
    enum { STEPS = 5, FROM = 3, COUNT = 3 };
    vn_route r = {.path = path, .steps = STEPS, .level = vn_alloc(STEPS + 1, sizeof(vn_level))};
    vn_err err = {0};
    for (int i = 0; i <= STEPS; i++) r.level[i] = vn_path_level_of_ratio(path, ratios[i]);
    vn_guidance *g = begin("gibbs-like:rounds=2,level=1", 3, of_class);
    assert_int_equal(vn_guidance_route(g, &r, &err), VN_OK);
    assert_int_equal(r.steps, STEPS + 2 * COUNT);
    for (int i = STEPS + 1; i <= r.steps; i++)
        assert_true(vn_level_ratio(&r.level[i]) == ratios[FROM + (i - STEPS - 1) % COUNT]);
    vn_guidance_close(&g);
    r.steps = STEPS;
    g = begin("gibbs-like:level=0.05", 3, of_class);
    assert_int_equal(vn_guidance_route(g, &r, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "level=0.05 is below all levels"));
    vn_guidance_close(&g);
    vn_free(r.level);
}

static void the_first_round_is_unguided(void **state) {
    (void)state;
    const vn_level l = vn_path_level(path, 0.5);
    float x[N], x0[2][N], eps[N];
    vn_err err = {0};
    spread(x, 1);
    for (int round = 0; round < 2; round++) {
        vn_guidance *g = begin("gibbs-like", 3, of_class),
                    *want = begin("cfg", round ? 3 : 1, of_class);
        vn_guidance_step(g, 0, 9, round, &vn_level_clean);
        vn_guidance_step(want, 0, 9, round, &vn_level_clean);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &l},
                                             (vn_estimate){x0[0], eps}, &err),
                         VN_OK);
        assert_int_equal(vn_guidance_predict(want, &(vn_request){.x = x, .level = &l},
                                             (vn_estimate){x0[1], eps}, &err),
                         VN_OK);
        assert_memory_equal(x0[0], x0[1], sizeof x0[0]);
        vn_guidance_close(&g);
        vn_guidance_close(&want);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *list, *words;
    } bad[] = {
        {"fkc,classifier", "fkc and classifier cannot be combined: fkc is right for cfg alone"},
        {"energy,fkc", "energy and fkc cannot be combined: fkc is right for cfg alone"},
        {"fk,fkc", "each selects"},
        {"fkc,gibbs-like", "one changes the levels the other needs"},
        {"fkc:ess=2", "ess"},
        {"fk:lambda=0", "lambda=0 has no effect"},
        {"fk:potential=min", "difference|max|sum"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) refused(bad[i].list, 2, &denoiser, bad[i].words);
    assert_true(vn_guides_select("interval,fkc") && vn_guides_select("fk:lambda=2") &&
                !vn_guides_select("gibbs-like"));
}

static void what_is_lacking_is_named(void **state) {
    (void)state;
    vn_denoiser d = denoiser;
    vn_guidance *g;
    vn_err err = {0};
    d.classify = NULL;
    vn_guidance_options o = {.guide = "fk", .gamma = 1, .denoiser = &d, .capacity = N};
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "a reward, or a classifier in its place"));
    o.guide = "fkc";
    o.gamma = 2;
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_OK);
    assert_int_equal(vn_guidance_check_sampler(g, "ddim", VN_NEEDS_ROUTE, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "the guide fkc needs a sampler that follows the reverse SDE"));
    vn_guidance_close(&g);
    /* A gamma that changes needs a classifier: said where it changes. */
    float x[N], x0[N], eps[N];
    spread(x, 1);
    o.guide = "fkc,interval:lo=0,hi=1";
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_OK);
    vn_guidance_begin(g, N, 0, of_class);
    for (int step = 0; step < 2; step++) {
        const vn_level l = vn_path_level_of_sigma(path, step ? 1 : 2);
        vn_guidance_step(g, step, 3, 0, &vn_level_clean);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &l},
                                             (vn_estimate){x0, eps}, &err),
                         step ? VN_UNSUPPORTED : VN_OK);
    }
    assert_non_null(strstr(err.text, "the guide fkc: at step 2 guidance goes from 1 to 2"));
    vn_guidance_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_fair),
        cmocka_unit_test(equal_weights_move_nothing),
        cmocka_unit_test(the_one_heavy_takes_all),
        cmocka_unit_test(weights_that_are_no_numbers_are_named),
        cmocka_unit_test(only_uneven_populations_are_resampled),
        cmocka_unit_test(draws_are_keyed),
        cmocka_unit_test(potentials_multiply_to_the_reward),
        cmocka_unit_test(steps_are_paid_out),
        cmocka_unit_test(correctors_weigh),
        cmocka_unit_test(changes_of_gamma_weigh),
        cmocka_unit_test(detours_repeat_the_low_levels),
        cmocka_unit_test(the_first_round_is_unguided),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(what_is_lacking_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
