/* test_anneal.c - noise on conditions (CADS, 2310.17347): how much is left of a condition at each
 * t, the moments of what it becomes, by the formula and over many draws, and what gets noise. */
#include "model/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/bound.h"

static const vn_anneal usual = {.from = 0.6, .to = 0.9, .scale = 0.25, .mix = 1};

static void a_line_lies_between_whole_and_gone(void **state) {
    (void)state;
    static const double t[] = {0, 0.6, 0.675, 0.75, 0.9, 1}, left[] = {1, 1, 0.75, 0.5, 0, 0};
    for (size_t i = 0; i < VN_COUNT(t); i++)
        expect_small(fabs(vn_anneal_kept(&usual, t[i]) - left[i]), 1e-15);
}

enum { N = 60 };

static void moments_of(const float *y, double *mean, double *variance) {
    *mean = *variance = 0;
    for (int i = 0; i < N; i++) *mean += (double)y[i] / N;
    for (int i = 0; i < N; i++) *variance += ((double)y[i] - *mean) * ((double)y[i] - *mean) / N;
}

static void fill(float *y, uint64_t seed) {
    vn_random_normal(y, N, seed, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) y[i] = 3 + 2 * y[i];
}

static void nothing_happens_where_all_is_left(void **state) {
    (void)state;
    float y[N], noise[N], before[N];
    fill(y, 1);
    fill(noise, 2);
    memcpy(before, y, sizeof y);
    vn_anneal_array(&usual, 1, noise, N, y);
    assert_memory_equal(y, before, sizeof y);
}

/* With mix 0 it is the sum, number by number; with mix 1 that sum on a line through the moments of
 * y; between them the mean of both. All by y in double. */
static void each_number_is_as_the_paper_has_it(void **state) {
    (void)state;
    static const double kept[] = {0.8, 0.3, 0}, mixes[] = {0, 0.4, 1};
    double error = 0;
    for (size_t k = 0; k < VN_COUNT(kept) * VN_COUNT(mixes); k++) {
        vn_anneal a = usual;
        const double g = kept[k % 3];
        float y[N], noise[N], before[N];
        double sum[N], mean, variance, own = 0, spread = 0;
        a.mix = mixes[k / 3];
        fill(y, 1);
        vn_random_normal(noise, N, 2, VN_STREAM_TEST, 0, 0);
        memcpy(before, y, sizeof y);
        moments_of(before, &mean, &variance);
        for (int i = 0; i < N; i++) {
            sum[i] = sqrt(g) * (double)before[i] + a.scale * sqrt(1 - g) * (double)noise[i];
            own += sum[i] / N;
        }
        for (int i = 0; i < N; i++) spread += (sum[i] - own) * (sum[i] - own) / N;
        vn_anneal_array(&a, g, noise, N, y);
        for (int i = 0; i < N; i++) {
            const double moved = (sum[i] - own) * sqrt(variance / spread) + mean,
                         want = a.mix * moved + (1 - a.mix) * sum[i];
            error = fmax(error, fabs((double)y[i] - want));
        }
    }
    expect_small(error, 1e-5); /* two roundings of numbers up to 10, stretched where g is 0 */
}

static void mean_and_deviation_are_kept(void **state) {
    (void)state;
    for (double g = 0; g < 1; g += 0.25) {
        float y[N], noise[N];
        double mean, variance, mean_after, variance_after;
        fill(y, 3);
        vn_random_normal(noise, N, 4, VN_STREAM_TEST, 0, 0);
        moments_of(y, &mean, &variance);
        vn_anneal_array(&usual, g, noise, N, y);
        moments_of(y, &mean_after, &variance_after);
        expect_small(fabs(mean_after - mean), 1e-6);
        expect_small(fabs(variance_after / variance - 1), 1e-6);
    }
}

/* Without the own moments, over many draws: mean sqrt(g) y, variance scale^2 (1 - g). */
static void over_many_draws_it_is_a_gaussian_around_what_is_left(void **state) {
    (void)state;
    enum { DRAWS = 4000 };
    const vn_anneal a = {.from = 0.6, .to = 0.9, .scale = 0.5, .mix = 0};
    const double g = 0.4, variance = 0.25 * 0.6;
    double sum[N] = {0}, squares = 0;
    float y[N], noise[N], before[N];
    fill(before, 5);
    for (int k = 0; k < DRAWS; k++) {
        memcpy(y, before, sizeof y);
        vn_random_normal(noise, N, 6, VN_STREAM_TEST, (uint64_t)k, 0);
        vn_anneal_array(&a, g, noise, N, y);
        for (int i = 0; i < N; i++) {
            const double off = (double)y[i] - sqrt(g) * (double)before[i];
            sum[i] += off;
            squares += off * off;
        }
    }
    /* the largest of 60 means, in standard errors; and the variance of all */
    double most = 0;
    for (int i = 0; i < N; i++) most = fmax(most, fabs(sum[i]) / sqrt(variance * DRAWS));
    expect_small(most, 8);
    const double count = (double)N * DRAWS;
    expect_small(fabs(squares / count / variance - 1) / sqrt(2 / count), 6);
}

/* A condition without variance stays what it is under mix 1, and nothing is divided by 0. */
static void an_even_condition_stays_finite(void **state) {
    (void)state;
    float y[4] = {2, 2, 2, 2};
    static const float none[4] = {0};
    vn_anneal_array(&usual, 0.5, none, 4, y);
    for (int i = 0; i < 4; i++) expect_small(fabs((double)y[i] - 2 * sqrt(0.5)), 1e-6);
    static const float noise[4] = {1, -1, 0.5F, 0.25F};
    vn_anneal_array(&usual, 0.5, noise, 4, y);
    for (int i = 0; i < 4; i++) expect_small(fabs((double)y[i] - 2 * sqrt(0.5)), 1e-6);
}

static void tokens_and_vectors_get_noise(void **state) {
    (void)state;
    const vn_port ports[] = {
        {.name = "encoder_hidden_states", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, 4)},
        {.name = "pooled_projections", .shape = VN_SHAPE(VN_DIM_BATCH, 4)},
        {.name = "text_embeds", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_POOLED)},
        {.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH, 4)},
        {.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH)},
        {.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH), .below = 10, .dtype = VN_I32},
        {.name = "time_ids", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_IDS)},
        {.name = "encoder_attention_mask", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS)},
        {.name = "timestep_cond", .shape = VN_SHAPE(VN_DIM_BATCH, 4)},
    };
    for (size_t i = 0; i < VN_COUNT(ports); i++) assert_int_equal(vn_is_annealed(&ports[i]), i < 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_lies_between_whole_and_gone),
        cmocka_unit_test(nothing_happens_where_all_is_left),
        cmocka_unit_test(each_number_is_as_the_paper_has_it),
        cmocka_unit_test(mean_and_deviation_are_kept),
        cmocka_unit_test(over_many_draws_it_is_a_gaussian_around_what_is_left),
        cmocka_unit_test(an_even_condition_stays_finite),
        cmocka_unit_test(tokens_and_vectors_get_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
