/* test_select.c - which samples of a data set are measured, when it is not all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "metric/metric.h"
#include "support/bound.h"

/* Of each class its share, without replacement, by the seed, in the data's order. */
static void test_samples_are_drawn_of_every_class(void **state) {
    (void)state;
    enum { N = 100, COUNT = 10 };
    int32_t labels[N];
    int64_t index[COUNT], again[COUNT], other[COUNT];
    /* sorted; 62, 33 and 5 of 100 */
    for (int i = 0; i < N; i++) labels[i] = i < 62 ? 0 : i < 95 ? 4 : 7;
    assert_int_equal(vn_metric_select(labels, N, COUNT, 1, index, NULL), VN_OK);
    int of[8] = {0};
    for (int i = 0; i < COUNT; i++) {
        assert_true(index[i] >= 0 && index[i] < N && (i == 0 || index[i] > index[i - 1]));
        of[labels[index[i]]]++;
    }
    /* 6.2, 3.3 and 0.5: the largest remainder gets the last */
    assert_true(of[0] == 6 && of[4] == 3 && of[7] == 1);
    assert_int_equal(vn_metric_select(labels, N, COUNT, 1, again, NULL), VN_OK);
    assert_memory_equal(index, again, sizeof index);
    assert_int_equal(vn_metric_select(labels, N, COUNT, 2, other, NULL), VN_OK);
    assert_memory_not_equal(index, other, sizeof index);
    /* Every sample has its chance: over many seeds each comes up as often as its class's share
     * says. */
    int times[N] = {0};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        assert_int_equal(vn_metric_select(labels, N, COUNT, seed, index, NULL), VN_OK);
        for (int i = 0; i < COUNT; i++) times[index[i]]++;
    }
    for (int i = 0; i < N; i++) {
        const double p = labels[i] == 0 ? 6.0 / 62 : labels[i] == 4 ? 3.0 / 33 : 1.0 / 5;
        /* 7 deviations; measured at most 3.1 */
        expect_small(fabs(times[i] - 2000 * p), 7 * sqrt(2000 * p * (1 - p)));
    }
    int64_t all[N];
    assert_int_equal(vn_metric_select(labels, N, N, 3, all, NULL), VN_OK);
    for (int i = 0; i < N; i++) assert_int_equal(all[i], i);
    /* without labels of all alike */
    assert_int_equal(vn_metric_select(NULL, N, COUNT, 3, index, NULL), VN_OK);
    for (int i = 1; i < COUNT; i++) assert_true(index[i] > index[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_drawn_of_every_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
