/* test_limit.c - what memory a process may have, and how numbers of bytes are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/base.h"

static void the_environment_stands_for_the_machine(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
    } given[] = {{"1000", 1000},
                 {"64K", 64 << 10},
                 {"3M", 3 << 20},
                 {"2G", (size_t)2 << 30},
                 {"1T", (size_t)1 << 40}};
    for (size_t i = 0; i < VN_COUNT(given); i++) {
        setenv("VANE_MEMORY", given[i].text, 1);
        assert_true(vn_memory_given());
        assert_true(vn_memory_total() == given[i].bytes);
        assert_int_equal(vn_memory_check(NULL), VN_OK);
    }
    setenv("VANE_MEMORY", "99999999999999999999T", 1);
    assert_true(vn_memory_total() == SIZE_MAX);
}

/* And it is refused before there is a context; an empty one is none. */
static void what_is_no_number_is_as_if_it_were_not_there(void **state) {
    (void)state;
    unsetenv("VANE_MEMORY");
    const size_t machine = vn_memory_total();
    static const char *const none[] = {"", "much", "-1", "1X", "2GB", "0", " 5"};
    for (size_t i = 0; i < VN_COUNT(none); i++) {
        setenv("VANE_MEMORY", none[i], 1);
        assert_false(vn_memory_given());
        assert_true(vn_memory_total() == machine);
        vn_err err = {0};
        assert_int_equal(vn_memory_check(&err), i == 0 ? VN_OK : VN_BAD_ARGUMENT);
        if (i > 0) assert_non_null(strstr(err.text, "VANE_MEMORY in the environment is"));
        if (i > 0) assert_non_null(strstr(err.text, none[i]));
    }
    unsetenv("VANE_MEMORY");
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    assert_true(machine > 1 << 20 && machine <= (size_t)pages * (size_t)page);
}

static void a_limit_of_address_space_counts(void **state) {
    (void)state;
    struct rlimit before, low;
    const size_t machine = vn_memory_total();
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    low = before;
    low.rlim_cur = machine / 2;
    assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
    const size_t limited = vn_memory_total();
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(limited == machine / 2);
}

static void bytes_are_told_in_two_digits_or_three(void **state) {
    (void)state;
    static const struct {
        double bytes;
        const char *text;
    } told[] = {{0, "0 bytes"},      {999, "999 bytes"},  {1000, "1.0 kB"},   {1234567, "1.2 MB"},
                {99.6e6, "100 MB"},  {999.6e6, "1.0 GB"}, {9.94e9, "9.9 GB"}, {9.96e9, "10 GB"},
                {1.23e12, "1.2 TB"}, {24.6e9, "25 GB"},   {5e21, "5000 EB"}};
    char text[32];
    for (size_t i = 0; i < VN_COUNT(told); i++)
        assert_string_equal(vn_bytes_text(told[i].bytes, text), told[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_stands_for_the_machine),
        cmocka_unit_test(what_is_no_number_is_as_if_it_were_not_there),
        cmocka_unit_test(a_limit_of_address_space_counts),
        cmocka_unit_test(bytes_are_told_in_two_digits_or_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
