/* test_floats.c - numbers written as F16 and BF16: all 65536 of each come back as they are, and
 * what lies between two neighbours becomes the nearer one, in the middle the even one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/base.h"

static const vn_dtype types[] = {VN_F16, VN_BF16};

static float read_one(vn_dtype type, uint16_t bits) {
    float x;
    const vn_array a = {.dtype = type, .shape = {1, {1}}, .data = &bits};
    vn_array_read_f32(&a, &x);
    return x;
}

static uint16_t write_one(vn_dtype type, float x) {
    uint16_t bits;
    vn_floats_write(type, 1, &x, &bits);
    return bits;
}

static void all_numbers_come_back(void **state) {
    (void)state;
    for (size_t k = 0; k < VN_COUNT(types); k++)
        for (uint32_t bits = 0; bits < 65536; bits++) {
            const float x = read_one(types[k], (uint16_t)bits);
            if (isnan(x))
                assert_true(isnan(read_one(types[k], write_one(types[k], x))));
            else
                assert_int_equal(write_one(types[k], x), bits);
        }
}

static void what_lies_between_becomes_the_nearest(void **state) {
    (void)state;
    for (size_t k = 0; k < VN_COUNT(types); k++)
        for (uint16_t low = 0; isfinite(read_one(types[k], (uint16_t)(low + 1))); low++) {
            const uint16_t high = (uint16_t)(low + 1), even = low % 2 ? high : low;
            const double middle =
                ((double)read_one(types[k], low) + (double)read_one(types[k], high)) / 2;
            const float at = (float)middle, under = nextafterf(at, 0),
                        over = nextafterf(at, INFINITY);
            if ((double)at == middle) assert_int_equal(write_one(types[k], at), even);
            assert_int_equal(write_one(types[k], (double)at < middle ? at : under), low);
            assert_int_equal(write_one(types[k], (double)at > middle ? at : over), high);
            assert_int_equal(write_one(types[k], -over), 0x8000 | high);
        }
}

static void what_is_too_large_is_infinite(void **state) {
    (void)state;
    assert_int_equal(write_one(VN_F16, 65519.0F), 0x7BFF);
    assert_int_equal(write_one(VN_F16, 65520.0F), 0x7C00);
    assert_int_equal(write_one(VN_BF16, -3.4e38F), 0xFF80);
    assert_int_equal(write_one(VN_F16, INFINITY), 0x7C00);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_numbers_come_back),
        cmocka_unit_test(what_lies_between_becomes_the_nearest),
        cmocka_unit_test(what_is_too_large_is_infinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
