/* test_pack.c - offsets of random buffers: those that live together do not overlap, and little is
 * wasted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "support/seed.h"
#include "tensor/internal.h"

static uint64_t draw(uint64_t *state, uint64_t below) {
    return (uint64_t)(vn_random_double(test_seed(++*state), VN_STREAM_TEST, 0, 0) * (double)below);
}

static size_t most_alive(const vn_buffer *b, int n, int steps) {
    size_t most = 0;
    for (int s = 0; s < steps; s++) {
        size_t sum = 0;
        for (int i = 0; i < n; i++) sum += b[i].first <= s && s <= b[i].last ? b[i].bytes : 0;
        most = sum > most ? sum : most;
    }
    return most;
}

static void buffers_that_live_together_do_not_overlap(void **state) {
    enum { N = 200, STEPS = 100, SEEDS = 20 };
    vn_buffer b[N];
    double mean = 0, worst = 1;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t random = seed * 100000;
        size_t total = 0;
        for (int i = 0; i < N; i++) {
            int first = (int)draw(&random, STEPS), life = (int)draw(&random, i % 4 ? 4 : STEPS);
            b[i] = (vn_buffer){64 * (1 + draw(&random, 100)), first, first + life, 0};
        }
        assert_int_equal(vn_pack(b, N, &total, NULL), VN_OK);
        for (int i = 0; i < N; i++) {
            assert_true(b[i].offset + b[i].bytes <= total && b[i].offset % 64 == 0);
            for (int j = 0; j < i; j++)
                assert_true(b[i].first > b[j].last || b[j].first > b[i].last ||
                            b[i].offset + b[i].bytes <= b[j].offset ||
                            b[j].offset + b[j].bytes <= b[i].offset);
        }
        const double part = (double)total / (double)most_alive(b, N, 2 * STEPS);
        mean += part / SEEDS;
        worst = fmax(worst, part);
    }
    /* Of 6000 such sets the mean was 1.04, and the worst took 18% more than it needed. */
    print_message("%.3f times what is alive at once, of at most 1.1; the worst %.3f, of at most "
                  "1.4\n",
                  mean, worst);
    assert_true(mean < 1.1 && worst < 1.4);
}

static void nothing_takes_nothing(void **state) {
    size_t total = 1;
    (void)state;
    assert_int_equal(vn_pack(NULL, 0, &total, NULL), VN_OK);
    assert_int_equal(total, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_that_live_together_do_not_overlap),
        cmocka_unit_test(nothing_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
