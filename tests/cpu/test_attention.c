/* Attention and its gradient: lengths around a block of queries, narrow and wide heads, queries and keys of different number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

#define TOLERANCE       1.6e-6
#define TOLERANCE_LARGE 8e-6 /* scores near 200, each off by their rounding */

static void check_attention(int64_t batch, int64_t tq, int64_t tk, int heads, int64_t d, double scale) {
    const double tolerance = scale > 1 ? TOLERANCE_LARGE : TOLERANCE;
    const vn_attr attr = {.attention = {heads, scale}};
    const vn_shape q = VN_SHAPE(batch, tq, heads * d), k = VN_SHAPE(batch, tk, heads * d);
    const vn_shape in[4] = {q, k, k, q};
    product_check(VN_OP_ATTENTION, attr, 3, in, NULL, tolerance);
    product_check(VN_OP_ATTENTION_GRAD, attr, 4, in, NULL, tolerance);
}

static void lengths_around_a_block(void **state) {
    (void)state;
    const int64_t lengths[] = {1, 2, 7, 16, 31, 32, 33, 49, 64, 65};
    for (size_t i = 0; i < VN_COUNT(lengths); i++) {
        check_attention(2, lengths[i], lengths[i], 3, 8, 0.35);
        check_attention(1, lengths[i], 5, 2, 3, 1);
        check_attention(1, 3, lengths[i], 2, 4, 0.5);
    }
}

static void heads_of_any_width(void **state) {
    (void)state;
    const int64_t widths[] = {1, 3, 8, 16, 20, 32, 40, 64};
    for (size_t i = 0; i < VN_COUNT(widths); i++) check_attention(2, 20, 37, 2, widths[i], 0.25);
}

/* Also large enough for more than one thread. */
static void long_ones(void **state) {
    (void)state;
    check_attention(3, 196, 196, 2, 32, 0.2);
    check_attention(1, 300, 300, 1, 8, 0.35);
    check_attention(1, 40, 1100, 1, 16, 0.25);
}

/* Scores whose exponentials overflow float on their own. */
static void large_scores(void **state) {
    (void)state;
    check_attention(1, 20, 20, 2, 8, 40);
}

static void of_nothing(void **state) {
    (void)state;
    check_attention(0, 4, 4, 2, 8, 1);
    check_attention(2, 0, 4, 2, 8, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_around_a_block), cmocka_unit_test(heads_of_any_width), cmocka_unit_test(long_ones),
        cmocka_unit_test(large_scores),           cmocka_unit_test(of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, product_print_worst);
}
