/* Philox against the published vectors, streams against each other, and the numbers drawn from it
 * against their distributions. All of it is deterministic: a bound that holds once holds always.
 * Each is what chance alone would break about once in 10,000: four standard errors, more where many
 * numbers are tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "support/bound.h"
#include "support/seed.h"

enum { N = 1 << 20 };

static float *drawn; /* [N] */

static int make_room(void **state) {
    (void)state;
    drawn = vn_alloc(N, sizeof *drawn);
    return drawn ? 0 : 1;
}

static int free_room(void **state) {
    (void)state;
    vn_free(drawn);
    return 0;
}

/* ---- Philox ---------------------------------------------------------------------------------- */

/* The known answers of philox4x32-10 that come with Random123. */
static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        uint32_t out[4];
        vn_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

/* The layout that random.c documents: anyone can make any number with vn_philox alone. */
static void bits_are_philox_of_the_documented_counter(void **state) {
    (void)state;
    const uint64_t seed = 0x0123456789abcdef, sample = 0xfedcba9876543210, step = 0xabcdef;
    uint32_t bits[1003];
    vn_random_bits(bits, VN_COUNT(bits), seed, VN_STREAM_STEP_NOISE, sample, step);
    for (uint32_t i = 0; i < VN_COUNT(bits); i++) {
        uint32_t counter[4] = {i / 4, (uint32_t)VN_STREAM_STEP_NOISE << 24 | 0xabcdef, 0x76543210,
                               0xfedcba98};
        uint32_t key[2] = {0x89abcdef, 0x01234567}, out[4];
        vn_philox(counter, key, out);
        assert_int_equal(bits[i], out[i % 4]);
    }
}

/* A change of one bit anywhere gives other numbers. */
static void streams_do_not_meet(void **state) {
    (void)state;
    uint32_t base[4], other[4];
    vn_random_bits(base, 4, 0, VN_STREAM_NOISE, 0, 0);
    for (int bit = 0; bit < 64; bit++) {
        vn_random_bits(other, 4, UINT64_C(1) << bit, VN_STREAM_NOISE, 0, 0);
        assert_memory_not_equal(base, other, sizeof base);
        vn_random_bits(other, 4, 0, VN_STREAM_NOISE, UINT64_C(1) << bit, 0);
        assert_memory_not_equal(base, other, sizeof base);
        if (bit >= 24) continue;
        vn_random_bits(other, 4, 0, VN_STREAM_NOISE, 0, UINT64_C(1) << bit);
        assert_memory_not_equal(base, other, sizeof base);
    }
    for (int stream = VN_STREAM_WEIGHTS; stream <= VN_STREAM_TEST; stream++) {
        if (stream == VN_STREAM_NOISE) continue;
        vn_random_bits(other, 4, 0, (vn_stream)stream, 0, 0);
        assert_memory_not_equal(base, other, sizeof base);
    }
}

/* Drawing fewer numbers gives the beginning of drawing more, for every length, and writes nothing
 * after it. */
static void a_short_draw_begins_a_long_one(void **state) {
    (void)state;
    enum { LONG = 300 };
    float normal[LONG], uniform[LONG], part[LONG + 1];
    vn_random_normal(normal, LONG, 1, VN_STREAM_TEST, 2, 3);
    vn_random_uniform(uniform, LONG, 1, VN_STREAM_TEST, 2, 3);
    for (size_t n = 0; n <= LONG; n++) {
        part[n] = 42;
        vn_random_normal(part, n, 1, VN_STREAM_TEST, 2, 3);
        assert_memory_equal(part, normal, n * sizeof *part);
        vn_random_uniform(part, n, 1, VN_STREAM_TEST, 2, 3);
        assert_memory_equal(part, uniform, n * sizeof *part);
        assert_true(part[n] == 42);
    }
}

/* ---- distributions --------------------------------------------------------------------------- */

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Largest distance between the sample's distribution and the true one, times sqrt(N); sorts
 * `drawn`. By chance: above 1.36 once in 20, above 3 once in 30 million. */
static double kolmogorov_smirnov(double (*cdf)(double)) {
    qsort(drawn, N, sizeof *drawn, compare_floats);
    double worst = 0;
    for (int i = 0; i < N; i++) {
        double f = cdf((double)drawn[i]);
        worst = fmax(worst, fmax(f - (double)i / N, (double)(i + 1) / N - f));
    }
    return worst * sqrt(N);
}

static double normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

static double uniform_cdf(double x) {
    return x;
}

/* Mean of x^power over `drawn`, in deviations of that mean by chance, for N(0,1) with its moments
 * given. */
static double moment_off(int power, double expected, double expected_of_square) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += pow((double)drawn[i], power);
    return fabs(sum / N - expected) / sqrt((expected_of_square - expected * expected) / N);
}

static void normals_have_the_moments(void **state) {
    (void)state;
    vn_random_normal(drawn, N, test_seed(5), VN_STREAM_TEST, 0, 0);
    expect_below("mean, in standard errors", moment_off(1, 0, 1), 6);
    expect_below("mean of x^2", moment_off(2, 1, 3), 6);
    expect_below("mean of x^3", moment_off(3, 0, 15), 6);
    expect_below("mean of x^4", moment_off(4, 3, 105), 6);
    expect_below("mean of x^6", moment_off(6, 15, 10395), 6);
}

static void normals_have_the_distribution(void **state) {
    (void)state;
    vn_random_normal(drawn, N, test_seed(6), VN_STREAM_TEST, 0, 0);
    expect_below("Kolmogorov-Smirnov", kolmogorov_smirnov(normal_cdf), 3);
}

/* How many lie beyond 3, 4 and 5 deviations: 2832, 66.4 and 0.60 expected in N. */
static void normals_have_the_tails(void **state) {
    (void)state;
    const double bound[] = {3, 4, 5};
    vn_random_normal(drawn, N, test_seed(7), VN_STREAM_TEST, 0, 0);
    for (size_t k = 0; k < VN_COUNT(bound); k++) {
        double expected = 2 * normal_cdf(-bound[k]) * N, count = 0;
        for (int i = 0; i < N; i++) count += fabs((double)drawn[i]) > bound[k];
        expect_below("beyond so many deviations", fabs(count - expected), 6 * sqrt(expected) + 1);
    }
}

/* The four normals of a block come from two pairs, the pairs from one radius: neighbours must be
 * independent. */
static void normals_are_independent(void **state) {
    (void)state;
    double worst = 0;
    vn_random_normal(drawn, N, test_seed(8), VN_STREAM_TEST, 0, 0);
    for (int lag = 1; lag <= 64; lag++) {
        double xy = 0, x2y2 = 0;
        for (int i = 0; i + lag < N; i++) {
            double a = (double)drawn[i], b = (double)drawn[i + lag];
            xy += a * b;
            x2y2 += (a * a - 1) * (b * b - 1);
        }
        worst = fmax(worst, fabs(xy / N) * sqrt(N));
        worst = fmax(worst, fabs(x2y2 / N) * sqrt(N) / 2); /* (x^2-1)(y^2-1) has deviation 2 */
    }
    /* of 128 such numbers one is above 5 once in 10,000 seeds */
    expect_below("correlation, in standard errors", worst, 10);
}

/* Against Box-Muller in double on the same bits: the error of the polynomials. */
static void normals_are_accurate(void **state) {
    (void)state;
    enum { M = 1 << 18 };
    uint32_t *bits = vn_alloc(M, sizeof *bits);
    assert_non_null(bits);
    vn_random_bits(bits, M, test_seed(9), VN_STREAM_TEST, 0, 0);
    vn_random_normal(drawn, M, test_seed(9), VN_STREAM_TEST, 0, 0);
    double worst = 0;
    for (int i = 0; i < M; i += 2) {
        double u = (double)((float)(int32_t)(bits[i] >> 1 | 1) / 2147483648.0F),
               r = sqrt(-2 * log(u));
        /* the angle is that of the two highest bits plus a signed part of a quarter turn */
        double angle =
            acos(-1) / 2 *
            ((double)(bits[i + 1] >> 30) + (double)(int32_t)(bits[i + 1] << 2) / 4294967296.0);
        worst = fmax(worst, fabs((double)drawn[i] - r * cos(angle)));
        worst = fmax(worst, fabs((double)drawn[i + 1] - r * sin(angle)));
    }
    vn_free(bits);
    /* three roundings of half an ulp, which is 4.8e-7 of numbers up to 6.6, and the
     * polynomials' own error */
    expect_below("off by", worst, 2e-6);
}

/* The same bits on every machine and by every compiler: a hash made once. */
static void normals_are_the_same_everywhere(void **state) {
    (void)state;
    vn_random_normal(drawn, N, 0x9e3779b97f4a7c15, VN_STREAM_NOISE, 12345678901, 77);
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (int i = 0; i < N; i++) {
        uint32_t bits;
        memcpy(&bits, &drawn[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3;
    }
    assert_int_equal(hash, 0x8b7323d73bdbaef0);
}

static void uniforms_have_the_distribution(void **state) {
    (void)state;
    vn_random_uniform(drawn, N, test_seed(10), VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) assert_true(drawn[i] >= 0 && drawn[i] < 1);
    expect_below("Kolmogorov-Smirnov", kolmogorov_smirnov(uniform_cdf), 3);
}

static void doubles_have_the_distribution(void **state) {
    (void)state;
    enum { M = 100000 };
    double sum = 0, squares = 0;
    bool fine = false; /* some need more than a float's digits */
    for (uint64_t i = 0; i < M; i++) {
        double u = vn_random_double(test_seed(11), VN_STREAM_TEST, i, 5);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        fine = fine || (double)(float)u != u;
    }
    assert_true(fine);
    expect_below("mean, in standard errors", fabs(sum / M - 0.5) * sqrt(12.0 * M), 6);
    expect_below("mean of squares", fabs(squares / M - 1.0 / 3) / sqrt(4.0 / 45 / M), 6);
}

/* ---- permutations ---------------------------------------------------------------------------- */

static void permutations_hold_each_once(void **state) {
    (void)state;
    for (int64_t n = 0; n < 300; n++) {
        int64_t order[301] = {0};
        bool seen[300] = {false};
        order[n] = -1;
        vn_random_permutation(order, n, test_seed(3), VN_STREAM_ORDER, 0);
        for (int64_t i = 0; i < n; i++) {
            assert_in_range(order[i], 0, (uintmax_t)n - 1);
            assert_false(seen[order[i]]);
            seen[order[i]] = true;
        }
        assert_int_equal(order[n], -1);
    }
}

static void permutations_are_all_as_likely(void **state) {
    (void)state;
    enum { TRIES = 24000 };
    int count[256] = {0}; /* by the permutation of 4 in base 4 */
    for (uint64_t epoch = 0; epoch < TRIES; epoch++) {
        int64_t p[4];
        vn_random_permutation(p, 4, test_seed(4), VN_STREAM_ORDER, epoch);
        count[p[0] * 64 + p[1] * 16 + p[2] * 4 + p[3]]++;
    }
    double chi2 = 0;
    int kinds = 0;
    for (int i = 0; i < 256; i++) {
        if (!count[i]) continue;
        kinds++;
        chi2 += (count[i] - TRIES / 24.0) * (count[i] - TRIES / 24.0) / (TRIES / 24.0);
    }
    assert_int_equal(kinds, 24);
    /* 23 degrees of freedom: above 85 once in 100 million */
    expect_below("chi squared", chi2, 85);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(bits_are_philox_of_the_documented_counter),
        cmocka_unit_test(streams_do_not_meet),
        cmocka_unit_test(a_short_draw_begins_a_long_one),
        cmocka_unit_test(normals_have_the_moments),
        cmocka_unit_test(normals_have_the_distribution),
        cmocka_unit_test(normals_have_the_tails),
        cmocka_unit_test(normals_are_independent),
        cmocka_unit_test(normals_are_accurate),
        cmocka_unit_test(normals_are_the_same_everywhere),
        cmocka_unit_test(uniforms_have_the_distribution),
        cmocka_unit_test(doubles_have_the_distribution),
        cmocka_unit_test(permutations_hold_each_once),
        cmocka_unit_test(permutations_are_all_as_likely),
    };
    return cmocka_run_group_tests(tests, make_room, free_room);
}
