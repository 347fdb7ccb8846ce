/* test_exact.c - metrics where the answer is known: identical sets, sets that are shifted or
 * stretched, and a few numbers by hand. */
#include "metric/support_metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vn_err err;

static void measure(const char *metrics, const char *features, const vn_set *a, const vn_set *b) {
    if (measure_sets(metrics, features, a, b, NULL, 2, &err) != VN_OK) fail_msg("%s", err.text);
}

static void expect(const char *key, double value, double error) {
    const vn_eval_row *row = row_of(key);
    if (!(fabs(row->value - value) <= error))
        fail_msg("%s is %.15g, not %.15g within %g", key, row->value, value, error);
}

enum { N = 300, D = 5 };
static float base[N * D], other[N * D];

static void draw(void) {
    vn_random_normal(base, N * D, 7, VN_STREAM_TEST, 0, 0);
}

static void test_a_set_is_itself(void **state) {
    (void)state;
    draw();
    const vn_set a = points_of(N, D, base);
    measure("fd,precision,recall,density,coverage", "raw", &a, &a);
    expect("fd", 0, 1e-12); /* measured: 4e-15 */
    expect("precision", 1, 0);
    expect("recall", 1, 0);
    expect("coverage", 1, 0);
    /* a ball holds its own sample and the four neighbours that are nearer than the fifth */
    expect("density", 1, 1e-12);
    assert_true(row_of("fd")->low <= row_of("fd")->value &&
                row_of("fd")->value <= row_of("fd")->high);
}

/* |s|^2 of a shift; of a stretch by c the sum of (c - 1)^2 times the variances, and the mean. */
static void test_frechet_distance_of_gaussians(void **state) {
    (void)state;
    draw();
    for (int i = 0; i < N * D; i++) other[i] = base[i] + (float)(i % D == 0) * 3;
    const vn_set a = points_of(N, D, base), b = points_of(N, D, other);
    measure("fd", "raw", &a, &b);
    expect("fd", 9, 1e-5); /* rounding of floats: measured 6e-7 */
    double trace = 0, moved = 0;
    for (int j = 0; j < D; j++) {
        double mean = 0, squares = 0;
        for (int i = 0; i < N; i++) mean += (double)base[i * D + j] / N;
        for (int i = 0; i < N; i++)
            squares += ((double)base[i * D + j] - mean) * ((double)base[i * D + j] - mean);
        trace += squares / (N - 1);
        moved += mean * mean;
    }
    for (int i = 0; i < N * D; i++) other[i] = 3 * base[i];
    measure("fd", "raw", &a, &b);
    expect("fd", 4 * (trace + moved), 1e-4); /* measured: 4e-6 */
}

/* X = {0, 1}, Y = {2, 4}. */
static void test_means_over_pairs_by_hand(void **state) {
    (void)state;
    const float x[] = {0, 1}, y[] = {2, 4};
    const vn_set a = points_of(2, 1, x), b = points_of(2, 1, y);
    measure("energy,kd,mmd", "raw", &a, &b);
    expect("energy", 2 * (2 + 4 + 1 + 3) / 4.0 - 1 - 2, 1e-12);
    /* (xy + 1)^3: 1 of x x', 729 of y y', and 1, 1, 27, 125 between */
    expect("kd", 1 + 729 - 2 * (1 + 1 + 27 + 125) / 4.0, 1e-12);
    expect("mmd-bandwidth", 2, 0);
    expect("mmd",
           exp(-1 / 8.0) + exp(-4 / 8.0) -
               (exp(-4 / 8.0) + exp(-16 / 8.0) + exp(-1 / 8.0) + exp(-9 / 8.0)) / 2,
           1e-12);
}

/* Five points on a line against four; k = 1. */
static void test_neighbours_by_hand(void **state) {
    (void)state;
    const float x[] = {0, 1, 3, 7, 20}, y[] = {0.5F, 2, 2.5F, 9};
    const vn_set a = points_of(5, 1, x), b = points_of(4, 1, y);
    measure("precision:k=1,recall:k=1,density:k=1,coverage:k=1", "raw", &a, &b);
    /* balls of y: 0.5 +- 1.5, 2 +- 0.5, 2.5 +- 0.5, 9 +- 6.5. 0 and 1 lie in the first, 3 lies on
     * the rim of the third and in the last, 7 in the last, 20 in none */
    expect("precision", 4 / 5.0, 1e-15);
    expect("density", 4 / 5.0, 1e-15);
    /* the first and the last ball have some, 2 +- 0.5 has none */
    expect("coverage", 2 / 4.0, 1e-15);
    /* balls of x: 0 +- 1, 1 +- 1, 3 +- 2, 7 +- 4, 20 +- 13: all of y */
    expect("recall", 4 / 4.0, 1e-15);
}

static void test_pictures(void **state) {
    (void)state;
    enum { SIDE = 16, IMAGES = 3 };
    static float x[IMAGES * SIDE * SIDE], y[IMAGES * SIDE * SIDE];
    const vn_shape shape = VN_SHAPE(1, SIDE, SIDE);
    vn_random_normal(x, IMAGES * SIDE * SIDE, 3, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++) y[i] = x[i] + 0.5F;
    const vn_set a = set_of(&shape, IMAGES, x, NULL), b = set_of(&shape, IMAGES, y, NULL);
    measure("psnr,ssim", NULL, &a, &b);
    expect("psnr", 10 * log10(4 / 0.25), 1e-5); /* measured: 1e-8 */
    measure("ssim", NULL, &a, &a);
    expect("ssim", 1, 1e-12);
}

/* The same bits for any number of threads. */
static void test_threads_change_no_bit(void **state) {
    (void)state;
    draw();
    vn_random_normal(other, N * D, 8, VN_STREAM_TEST, 0, 0);
    const vn_set a = points_of(N, D, base), b = points_of(N, D, other);
    const char *metrics = "fd,kd,precision,recall,density,coverage,energy,mmd";
    vn_eval_row one[32];
    assert_int_equal(measure_sets(metrics, "raw", &a, &b, NULL, 1, &err), VN_OK);
    const size_t n = row_count();
    assert_true(n <= 32 && n >= 8);
    memcpy(one, row_at(0), n * sizeof *one);
    assert_int_equal(measure_sets(metrics, "raw", &a, &b, NULL, 3, &err), VN_OK);
    assert_int_equal(row_count(), n);
    for (size_t i = 0; i < n; i++) {
        assert_memory_equal(&one[i].value, &row_at(i)->value, sizeof(double));
        assert_memory_equal(&one[i].low, &row_at(i)->low, sizeof(double));
        assert_memory_equal(&one[i].high, &row_at(i)->high, sizeof(double));
    }
}

static void test_what_cannot_be_measured_is_named(void **state) {
    (void)state;
    draw();
    const vn_set few = points_of(4, D, base), all = points_of(N, D, base),
                 wide = points_of(N, D - 1, base);
    base[2 * D + 1] = (float)NAN;
    const vn_set broken = points_of(N, D, base);
    const struct {
        const char *metrics;
        const vn_set *a, *b;
        vn_status status;
        const char *words;
    } cases[] = {
        {"fd", &few, &all, VN_BAD_ARGUMENT, "4 samples are too few for a covariance of 5"},
        {"recall:k=9", &few, &all, VN_BAD_ARGUMENT, "at least 10 samples, and there are 4"},
        {"fd", &wide, &all, VN_BAD_ARGUMENT, "those of a set are [4], those of a set [5]"},
        {"fd", &broken, &all, VN_NOT_FINITE, "sample 2 of 300 is not finite"},
        {"psnr", &all, &all, VN_BAD_ARGUMENT, "psnr is of images"},
        {"fd,fd", &all, &all, VN_BAD_ARGUMENT, "named twice"},
        {"fid", &all, &all, VN_BAD_ARGUMENT, "fd"},
        {"accuracy", &all, &all, VN_BAD_ARGUMENT, "needs a classifier"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        if (i != 3) draw();
        if (i == 3) base[2 * D + 1] = (float)NAN;
        assert_int_equal(
            measure_sets(cases[i].metrics, "raw", cases[i].a, cases[i].b, NULL, 1, &err),
            cases[i].status);
        if (!strstr(err.text, cases[i].words))
            fail_msg("'%s' lacks '%s'", err.text, cases[i].words);
        assert_int_equal(row_count(), 0);
    }
}

/* Features that memory cannot hold are refused with both numbers, before anything is read. */
static void test_memory_is_asked_for_first(void **state) {
    (void)state;
    setenv("VANE_MEMORY", "1M", 1);
    const vn_set many = points_of(60000, D, base);
    assert_int_equal(measure_sets("fd", "raw", &many, &many, NULL, 1, &err), VN_NO_MEMORY);
    unsetenv("VANE_MEMORY");
    assert_non_null(strstr(err.text, "60000 samples of 5 features each would take"));
    assert_non_null(strstr(err.text, "of memory"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_set_is_itself, forget_rows),
        cmocka_unit_test_teardown(test_frechet_distance_of_gaussians, forget_rows),
        cmocka_unit_test_teardown(test_means_over_pairs_by_hand, forget_rows),
        cmocka_unit_test_teardown(test_neighbours_by_hand, forget_rows),
        cmocka_unit_test_teardown(test_pictures, forget_rows),
        cmocka_unit_test_teardown(test_threads_change_no_bit, forget_rows),
        cmocka_unit_test_teardown(test_what_cannot_be_measured_is_named, forget_rows),
        cmocka_unit_test(test_memory_is_asked_for_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
