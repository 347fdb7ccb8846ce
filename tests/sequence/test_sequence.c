/* Sequences against what is known exactly of chains of categories: likelihoods, guided tokens, that
 * they are no tilt of the sequence, and how tokens are drawn. */
#include "sequence/sequence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/bound.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

/* Of three codes; the classes differ in how often they are. */
static const char *const text = "{\"tokens\": 3, \"chains\": ["
                                "{\"name\": \"a\", \"weight\": 3, \"first\": [0.7, 0.2, 0.1],"
                                " \"next\": [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]},"
                                "{\"name\": \"b\", \"first\": [0.2, 0.3, 0.5],"
                                " \"next\": [[0.1, 0.3, 0.6], [0.4, 0.4, 0.2], [0.5, 0.3, 0.2]]}]}";

enum { CODES = 3, TOKENS = 3, ALL = 27, DRAWS = 40000 };

static vn_chains *open_chains(void) {
    vn_chains *c = NULL;
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    CHECK(vn_chains_open(json, &c, &err));
    json_decref(json);
    return c;
}

static void codes_of(int number, int32_t codes[TOKENS]) {
    for (int t = TOKENS - 1; t >= 0; t--, number /= CODES) codes[t] = number % CODES;
}

static int number_of(const int32_t codes[TOKENS]) {
    return (int)((codes[0] * CODES + codes[1]) * CODES + codes[2]);
}

static void normalise(int n, double *p) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += p[i];
    for (int i = 0; i < n; i++) p[i] /= sum;
}

/* The probability of every sequence when each token is guided by itself, gamma by position. */
static void guided(const vn_chains *c, vn_condition toward, vn_condition away,
                   const double gamma[TOKENS], double *p) {
    for (int s = 0; s < ALL; s++) {
        int32_t codes[TOKENS];
        codes_of(s, codes);
        p[s] = 1;
        for (int t = 0; t < TOKENS; t++) {
            double to[CODES], from[CODES];
            vn_chains_next(c, toward, t, codes, to);
            vn_chains_next(c, away, t, codes, from);
            for (int k = 0; k < CODES; k++)
                to[k] = pow(to[k], gamma[t]) * pow(from[k], 1 - gamma[t]);
            normalise(CODES, to);
            p[s] *= to[codes[t]];
        }
    }
}

static void draw(const vn_sequence_options *o, int64_t n, uint64_t first, vn_condition condition,
                 int32_t *codes) {
    vn_sequence_run *r = NULL;
    vn_condition *conditions = malloc((size_t)n * sizeof *conditions);
    bool done = false;
    assert_non_null(conditions);
    for (int64_t i = 0; i < n; i++) conditions[i] = condition;
    CHECK(vn_sequence_open(o, &r, &err));
    CHECK(vn_sequence_begin(r, n, first, conditions, codes, &err));
    while (!done) CHECK(vn_sequence_step(r, &done, &err));
    vn_sequence_close(&r);
    free(conditions);
}

/* The largest difference of frequencies from probabilities, in deviations of a frequency. */
static double off(const vn_sequence_options *o, vn_condition condition, const double *p) {
    int32_t *codes = malloc(DRAWS * TOKENS * sizeof *codes);
    double count[ALL] = {0}, worst = 0;
    assert_non_null(codes);
    draw(o, DRAWS, 0, condition, codes);
    for (int i = 0; i < DRAWS; i++) count[number_of(codes + (size_t)i * TOKENS)]++;
    for (int s = 0; s < ALL; s++)
        worst = fmax(worst,
                     fabs(count[s] / DRAWS - p[s]) / sqrt(fmax(p[s] * (1 - p[s]), 1e-4) / DRAWS));
    free(codes);
    return worst;
}

static vn_sequence_options options_of(const vn_sequence *s, double guidance) {
    return (vn_sequence_options){.sequence = s,
                                 .guidance = guidance,
                                 .temperature = 1,
                                 .top_p = 1,
                                 .seed = 5,
                                 .capacity = DRAWS};
}

/* The largest of 27 normal numbers is below 4.5 but for one in 5000, and half of this stands for
 * what may be measured. */
#define DEVIATIONS 9.0

/* ---- chains ---------------------------------------------------------------------------------- */

static void probabilities_add_up_and_are_those_of_the_tokens(void **state) {
    (void)state;
    vn_chains *c = open_chains();
    const vn_sequence s = vn_chains_sequence(c);
    static const vn_condition conditions[] = {0, 1, VN_CONDITION_NULL};
    for (size_t k = 0; k < VN_COUNT(conditions); k++) {
        double sum = 0, worst = 0;
        for (int i = 0; i < ALL; i++) {
            int32_t codes[TOKENS];
            double log_p = 0;
            codes_of(i, codes);
            const double whole = vn_chains_log_p(c, conditions[k], codes);
            sum += exp(whole);
            CHECK(vn_sequence_log_p(&s, 1, &conditions[k], codes, &log_p, &err));
            worst = fmax(worst, fabs(log_p - whole));
        }
        expect_below("1 - sum of p", fabs(sum - 1), 1e-14);
        /* three logits of floats of up to 4, each rounded to half of 2.4e-7 */
        expect_below("log p", worst, 1.5e-6);
    }
    int32_t codes[TOKENS] = {2, 0, 1};
    expect_below("by hand", fabs(exp(vn_chains_log_p(c, 0, codes)) - 0.1 * 0.1 * 0.3), 1e-16);
    expect_below("mixed",
                 fabs(exp(vn_chains_log_p(c, VN_CONDITION_NULL, codes)) -
                      (3 * 0.1 * 0.1 * 0.3 + 0.5 * 0.5 * 0.3) / 4),
                 1e-16);
    vn_chains_close(&c);
}

static void files_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } refused[] = {
        {"{\"chains\": [], \"tokens\": 2}", "chains is not a list of 1 to 1024"},
        {"{\"chains\": [{\"first\": [1], \"next\": [[1]]}]}", "tokens is not a whole number"},
        {"{\"tokens\": 1, \"chains\": [{\"first\": [0.5, 0.6], \"next\": [[1, 0], [1, 0]]}]}",
         "chain 0: first adds up to 1.1, not 1"},
        {"{\"tokens\": 1, \"chains\": [{\"first\": [0.5, 0.5], \"next\": [[1, 0]]}]}",
         "chain 0: next has 1 rows, and there are 2 codes"},
        {"{\"tokens\": 1, \"chains\": [{\"first\": [1], \"next\": [[2]]}]}",
         "chain 0: a row of next has an entry outside [0, 1]"},
        {"{\"tokens\": 1, \"chains\": [{\"first\": [1], \"next\": [[1]], \"wait\": 1}]}",
         "chain 0: unknown key \"wait\""},
        {"{\"tokens\": 1, \"chains\": [{\"first\": [1], \"next\": [[1]], \"weight\": 0}]}",
         "chain 0: weight is not a number above 0"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_err why = {0};
        vn_chains *c = NULL;
        json_t *json = json_loads(refused[i].json, 0, NULL);
        assert_non_null(json);
        assert_int_equal(vn_chains_open(json, &c, &why), VN_BAD_FILE);
        if (!strstr(why.text, refused[i].words))
            fail_msg("'%s' does not say '%s'", why.text, refused[i].words);
        assert_null(c);
        json_decref(json);
    }
}

/* ---- guidance -------------------------------------------------------------------------------- */

static void tokens_are_guided_as_in_closed_form(void **state) {
    (void)state;
    vn_chains *c = open_chains();
    const vn_sequence s = vn_chains_sequence(c);
    static const struct {
        const char *guide;
        double guidance;
        vn_condition condition, away;
        double gamma[TOKENS];
    } cases[] = {
        {NULL, 1, 0, VN_CONDITION_NULL, {1, 1, 1}},
        {NULL, 0, 0, VN_CONDITION_NULL, {0, 0, 0}},
        {"cfg", 2, 0, VN_CONDITION_NULL, {2, 2, 2}},
        {"cfg", 3.5, 1, VN_CONDITION_NULL, {3.5, 3.5, 3.5}},
        {"negative:class=1", 2, 0, 1, {2, 2, 2}},
        {"cfg", 3, VN_CONDITION_NULL, VN_CONDITION_NULL, {1, 1, 1}},
        /* t is 1, 2/3, 1/3, and sigma/alpha infinite, 2, 1/2 */
        {"cfg,interval:lo=1,hi=3", 3, 0, VN_CONDITION_NULL, {1, 3, 1}},
        {"cfg,schedule:shape=linear", 3, 0, VN_CONDITION_NULL, {1, 1 + 4.0 / 3, 1 + 8.0 / 3}},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        double p[ALL];
        vn_sequence_options o = options_of(&s, cases[i].guidance);
        o.guide = cases[i].guide;
        o.seed += i;
        guided(c, cases[i].condition, cases[i].away, cases[i].gamma, p);
        expect_below_as(off(&o, cases[i].condition, p), DEVIATIONS, "%s %g",
                        cases[i].guide ? cases[i].guide : "none", cases[i].guidance);
    }
    vn_chains_close(&c);
}

/* The tilted density is elsewhere, by far more than draws scatter. */
static void guided_tokens_are_no_tilt_of_the_sequence(void **state) {
    (void)state;
    vn_chains *c = open_chains();
    const vn_sequence s = vn_chains_sequence(c);
    const vn_sequence_options o = options_of(&s, 2);
    double tilted[ALL];
    for (int i = 0; i < ALL; i++) {
        int32_t codes[TOKENS];
        codes_of(i, codes);
        tilted[i] =
            exp(2 * vn_chains_log_p(c, 0, codes) - vn_chains_log_p(c, VN_CONDITION_NULL, codes));
    }
    normalise(ALL, tilted);
    assert_true(off(&o, 0, tilted) > 2 * DEVIATIONS);
    vn_chains_close(&c);
}

static void guides_of_noise_are_refused_by_name(void **state) {
    (void)state;
    vn_chains *c = open_chains();
    const vn_sequence s = vn_chains_sequence(c);
    static const char *const refused[] = {"apg",  "cfg,rescale", "cfg-zero-star",
                                          "clip", "pag",         "fkc"};
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_sequence_run *r = NULL;
        vn_err why = {0};
        vn_sequence_options o = options_of(&s, 2);
        o.guide = refused[i];
        assert_int_equal(vn_sequence_open(&o, &r, &why), VN_BAD_ARGUMENT);
        if (!strstr(why.text, "is of images with noise; of sequences there are cfg, negative, "
                              "compose, interval, schedule"))
            fail_msg("%s", why.text);
        assert_null(r);
    }
    vn_chains_close(&c);
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* What is left of the first code of class a, 0.7, 0.2, 0.1. */
static void draws_are_of_what_was_asked_for(void **state) {
    (void)state;
    static const float logits[] = {-1, 1, 0, 1};
    static const struct {
        double temperature, top_p, p[4];
        int64_t top_k;
    } cases[] = {
        {1, 1, {0.0518, 0.3826, 0.1408, 0.4248}, 0},
        {1, 1, {0, 0.5, 0, 0.5}, 2},
        {1, 1, {0, 1, 0, 0}, 1},
        {0, 1, {0, 1, 0, 0}, 0},
        {1, 0.3, {0, 1, 0, 0}, 0},
        {1, 0.5, {0, 0.5, 0, 0.5}, 0},
        {1, 0.9, {0, 0.4223, 0.1554, 0.4223}, 0},
        {1, 0.9, {0, 0.5, 0, 0.5}, 2},
        {0.5, 1, {0.0080, 0.4674, 0.0573, 0.4674}, 0},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        enum { N = 20000 };
        const vn_sequence_options o = {
            .temperature = cases[i].temperature, .top_p = cases[i].top_p, .top_k = cases[i].top_k};
        double room[4], count[4] = {0}, p[4], sum = 0;
        int32_t order[4];
        for (int k = 0; k < 4; k++) {
            const double e = cases[i].temperature > 0
                                 ? exp((double)logits[k] / cases[i].temperature)
                                 : (double)(k == 1);
            sum += p[k] = cases[i].p[k] > 0 ? e : 0;
        }
        for (int j = 0; j < N; j++)
            count[vn_draw_code(&o, 4, logits, (j + 0.5) / N, room, order)]++;
        for (int k = 0; k < 4; k++) {
            const double off_by = fabs(count[k] / N - p[k] / sum);
            /* evenly spaced numbers are off by one at each end of a code's share */
            expect_below_as(off_by, 2.1 / N, "draw %zu of %d", i, k);
        }
    }
}

/* Sample i is the same whatever is drawn with it. */
static void a_sequence_depends_on_seed_and_index_alone(void **state) {
    (void)state;
    vn_chains *c = open_chains();
    const vn_sequence s = vn_chains_sequence(c);
    const vn_sequence_options o = options_of(&s, 2);
    int32_t all[100][TOKENS], part[40][TOKENS], other[100][TOKENS];
    draw(&o, 100, 7, 0, *all);
    draw(&o, 40, 37, 0, *part);
    assert_memory_equal(all[30], part, sizeof part);
    vn_sequence_options again = o;
    again.seed++;
    draw(&again, 100, 7, 0, *other);
    assert_memory_not_equal(all, other, sizeof all);
    vn_chains_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_add_up_and_are_those_of_the_tokens),
        cmocka_unit_test(files_are_refused_by_name),
        cmocka_unit_test(tokens_are_guided_as_in_closed_form),
        cmocka_unit_test(guided_tokens_are_no_tilt_of_the_sequence),
        cmocka_unit_test(guides_of_noise_are_refused_by_name),
        cmocka_unit_test(draws_are_of_what_was_asked_for),
        cmocka_unit_test(a_sequence_depends_on_seed_and_index_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
