/* Choosing a kernel set, counting cores, measuring the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/cpu.h"

static void portable_always_runs_and_is_last(void **state) {
    (void)state;
    size_t count = 0;
    while (vn_cpu_row_at(count)) count++;
    assert_true(count >= 1);
    assert_string_equal(vn_cpu_row_at(count - 1)->name, "portable");
    assert_null(vn_cpu_row_at(count + 5));
}

static void kernel_sets_are_found_by_name(void **state) {
    (void)state;
    vn_err err = {0};
    assert_ptr_equal(vn_cpu_row(NULL, &err), vn_cpu_row_at(0));
    assert_ptr_equal(vn_cpu_row("auto", &err), vn_cpu_row_at(0));
    for (size_t i = 0; vn_cpu_row_at(i); i++)
        assert_ptr_equal(vn_cpu_row(vn_cpu_row_at(i)->name, &err), vn_cpu_row_at(i));
    assert_int_equal(err.status, VN_OK);
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    vn_err err = {0};
    assert_null(vn_cpu_row("avx3", &err));
    assert_int_equal(err.status, VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "'avx3'"));
    assert_non_null(strstr(err.text, "avx2"));
    err = (vn_err){0};
    assert_null(vn_cpu_row("", &err));
    assert_int_equal(err.status, VN_BAD_ARGUMENT);
    assert_null(vn_cpu_row("nothing like it", NULL));
}

static void cores_are_within_the_affinity_mask(void **state) {
    (void)state;
    int cores = vn_cpu_cores();
    assert_in_range(cores, 1, sysconf(_SC_NPROCESSORS_ONLN));
}

static void measured_rates_are_plausible(void **state) {
    (void)state;
    double flops = 0, copy = 0, begin = vn_now();
    vn_cpu_measure(vn_cpu_row_at(0), NULL, &flops, &copy);
    assert_true(flops > 0.1 && flops < 1e5);
    assert_true(copy > 0.1 && copy < 1e4);
    assert_true(vn_now() - begin < 10); /* 0.3 s on an idle machine */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(portable_always_runs_and_is_last),
        cmocka_unit_test(kernel_sets_are_found_by_name),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(cores_are_within_the_affinity_mask),
        cmocka_unit_test(measured_rates_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
