/* Attention and its gradient: lengths around a block of queries, narrow and wide heads, queries and
 * keys of different number; with a bias or a mask, causal, and with heads of queries that share one
 * of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

static void check_attention(int64_t batch, int64_t tq, int64_t tk, int heads, int64_t d,
                            double scale) {
    const vn_attr attr = {.attention = {.heads = heads, .scale = scale}};
    const vn_shape q = VN_SHAPE(batch, tq, heads * d), k = VN_SHAPE(batch, tk, heads * d);
    const vn_shape in[4] = {q, k, k, q};
    product_check(VN_OP_ATTENTION, attr, 3, in, NULL);
    product_check(VN_OP_ATTENTION_GRAD, attr, 4, in, NULL);
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

/* bias: its shape, or one of rank 0 for none. */
static void check_kind(const vn_attr *attr, int64_t tq, int64_t tk, int64_t d, vn_shape bias,
                       kernel_fill fill) {
    const int64_t heads = attr->attention.heads,
                  own = attr->attention.key_heads ? attr->attention.key_heads : heads;
    const vn_shape q = VN_SHAPE(2, tq, heads * d), k = VN_SHAPE(2, tk, own * d);
    const vn_shape in[5] = {q, k, k, bias.rank ? bias : q, bias}, grad[5] = {q, k, k, q, bias};
    kernel_case c;
    kernel_open(&c, VN_OP_ATTENTION, *attr, bias.rank ? 4 : 3, in, NULL);
    c.fill[3] = fill;
    kernel_check(&c);
    kernel_open(&c, VN_OP_ATTENTION_GRAD, *attr, bias.rank ? 5 : 4, grad, NULL);
    c.fill[4] = fill;
    kernel_check(&c);
}

static void a_bias_or_a_mask_of_any_shape(void **state) {
    (void)state;
    const vn_attr attr = {.attention = {.heads = 3, .scale = 0.4}};
    const int64_t sizes[][3] = {{1, 1, 4}, {5, 7, 3}, {33, 65, 8}, {70, 40, 20}};
    for (size_t i = 0; i < VN_COUNT(sizes); i++)
        for (int shared = 0; shared < 8; shared++) {
            const int64_t tq = sizes[i][0], tk = sizes[i][1];
            const vn_shape bias =
                VN_SHAPE(shared & 1 ? 1 : 2, shared & 2 ? 1 : 3, shared & 4 ? 1 : tq, tk);
            check_kind(&attr, tq, tk, sizes[i][2], bias, KERNEL_NORMAL);
            /* some rows of which see nothing */
            check_kind(&attr, tq, tk, sizes[i][2], bias, KERNEL_MASK);
        }
}

static void causal_and_grouped(void **state) {
    (void)state;
    const vn_shape none = {.rank = 0};
    const int64_t lengths[] = {1, 2, 15, 16, 17, 33, 64, 65, 130};
    for (size_t i = 0; i < VN_COUNT(lengths); i++)
        for (int key_heads = 1; key_heads <= 4; key_heads *= 2) {
            const vn_attr attr = {
                .attention = {.heads = 4, .key_heads = key_heads, .scale = 0.5, .causal = true}};
            vn_attr open = attr;
            open.attention.causal = false;
            check_kind(&attr, lengths[i], lengths[i], 8, none, KERNEL_NORMAL);
            /* keys from before the queries */
            check_kind(&attr, lengths[i], lengths[i] + 9, 5, none, KERNEL_NORMAL);
            check_kind(&open, lengths[i], 21, 8, none, KERNEL_NORMAL);
            check_kind(&attr, lengths[i], lengths[i], 8, VN_SHAPE(1, 4, 1, lengths[i]),
                       KERNEL_NORMAL);
            check_kind(&attr, lengths[i], lengths[i], 8, VN_SHAPE(2, 1, lengths[i], lengths[i]),
                       KERNEL_MASK);
        }
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
        cmocka_unit_test(lengths_around_a_block),
        cmocka_unit_test(heads_of_any_width),
        cmocka_unit_test(long_ones),
        cmocka_unit_test(large_scores),
        cmocka_unit_test(of_nothing),
        cmocka_unit_test(a_bias_or_a_mask_of_any_shape),
        cmocka_unit_test(causal_and_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
