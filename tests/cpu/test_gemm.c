/* Linear layers and matrix products: every transposition, batch and bias, on sizes around the
 * tiles' edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

static void check_matmul(int rank, int64_t batch, bool shared, bool ta, bool tb, int64_t m,
                         int64_t n, int64_t k) {
    vn_shape in[2] = {{.rank = rank}, {.rank = shared ? 2 : rank}};
    for (int i = 0; i < rank - 2; i++) in[0].dim[i] = in[1].dim[i] = i ? batch : 2;
    vn_shape *a = &in[0], *b = &in[1];
    a->dim[rank - 2] = ta ? k : m;
    a->dim[rank - 1] = ta ? m : k;
    b->dim[b->rank - 2] = tb ? n : k;
    b->dim[b->rank - 1] = tb ? k : n;
    product_check(VN_OP_MATMUL, (vn_attr){.matmul = {ta, tb}}, 2, in, NULL);
}

static void each_transposition(int rank, int64_t batch, bool shared, int64_t m, int64_t n,
                               int64_t k) {
    for (int t = 0; t < 4; t++) check_matmul(rank, batch, shared, t & 1, t & 2, m, n, k);
}

static void matmul_of_random_sizes(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++)
        each_transposition(2, 1, false, product_draw(1, 70), product_draw(1, 70),
                           product_draw(1, 140));
}

static void matmul_of_few_rows_or_columns(void **state) {
    (void)state;
    for (int64_t few = 1; few <= 8; few++) {
        each_transposition(2, 1, false, few, product_draw(1, 150), product_draw(1, 150));
        each_transposition(2, 1, false, product_draw(1, 150), few, product_draw(1, 150));
        each_transposition(2, 1, false, few, few, few);
    }
}

static void matmul_of_many_rows(void **state) {
    (void)state;
    each_transposition(2, 1, false, 300, 200, 33);
    each_transposition(2, 1, false, 33, 200, 300);
    each_transposition(2, 1, false, 257, 3, 300);
    each_transposition(2, 1, false, 3, 900, 700);
    each_transposition(2, 1, false, 60, 50, 1000);
}

/* Summed in chunks; with rows of A that clash in the first cache, and rows and columns beyond what
 * is packed at once. */
static void matmul_of_long_sums(void **state) {
    (void)state;
    check_matmul(2, 1, false, true, false, 37, 21, 2047);
    check_matmul(2, 1, false, true, false, 128, 70, 2049);
    check_matmul(2, 1, false, true, true, 33, 19, 4100);
    check_matmul(2, 1, false, true, false, 384, 300, 2500);
    check_matmul(2, 1, false, true, false, 5, 9, 9000);
    check_matmul(3, 9, false, true, false, 17, 11, 2100);
}

static void matmul_of_batches(void **state) {
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        each_transposition(3, 1, shared, 5, 9, 17);
        each_transposition(4, 3, shared, product_draw(1, 40), product_draw(1, 40),
                           product_draw(1, 40));
        each_transposition(4, 17, shared, product_draw(20, 50), product_draw(1, 40),
                           product_draw(1, 40));
    }
}

static void matmul_of_nothing(void **state) {
    (void)state;
    each_transposition(2, 1, false, 0, 5, 5);
    each_transposition(2, 1, false, 5, 0, 5);
    each_transposition(2, 1, false, 5, 7, 0);
    each_transposition(4, 0, true, 5, 7, 3);
    each_transposition(4, 0, false, 5, 7, 3);
}

static void check_linear(int64_t rows, int64_t inputs, int64_t outputs, bool bias) {
    const vn_shape in[3] = {VN_SHAPE(rows, inputs), VN_SHAPE(outputs, inputs), VN_SHAPE(outputs)};
    product_check(VN_OP_LINEAR, (vn_attr){0}, bias ? 3 : 2, in, NULL);
}

static void linear_of_random_sizes(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++)
        check_linear(product_draw(1, 90), product_draw(1, 150), product_draw(1, 90), i & 1);
    for (int64_t few = 1; few <= 8; few++) {
        check_linear(few, product_draw(1, 150), product_draw(1, 150), few & 1);
        check_linear(product_draw(1, 150), product_draw(1, 150), few, few & 1);
    }
    check_linear(500, 64, 70, true);
    check_linear(2, 700, 900, true);
}

static void linear_of_nothing(void **state) {
    (void)state;
    check_linear(0, 3, 4, true);
    check_linear(3, 0, 40, true);
    check_linear(3, 4, 0, true);
    check_linear(30, 0, 3, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_of_random_sizes), cmocka_unit_test(matmul_of_few_rows_or_columns),
        cmocka_unit_test(matmul_of_many_rows),    cmocka_unit_test(matmul_of_batches),
        cmocka_unit_test(matmul_of_long_sums),    cmocka_unit_test(matmul_of_nothing),
        cmocka_unit_test(linear_of_random_sizes), cmocka_unit_test(linear_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
