/* test_loader.c - libraries that are loaded when they are first needed: their functions are the
 * library's, from several threads at once, and what is missing is told in one line that names
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <zlib.h>

#include "loader/loader.h"

#define FUNCTIONS(ROW) ROW(crc32) ROW(zlibVersion)
typedef VN_LIBRARY_FUNCTIONS(FUNCTIONS) functions;
static const char *const names[] = {FUNCTIONS(VN_LIBRARY_NAME)};

static vn_library zlib_into(functions *z) {
    return (vn_library){.purpose = "this test",
                        .file = "libz.so.1",
                        .names = names,
                        .count = VN_COUNT(names),
                        .functions = z};
}

static void test_functions_are_the_librarys(void **state) {
    (void)state;
    functions z = {0};
    vn_library l = zlib_into(&z);
    vn_err err = {0};
    assert_int_equal(vn_library_load(&l, &err), VN_OK);
    assert_true(l.loaded);
    /* the check value of CRC-32 (ISO-HDLC) */
    assert_int_equal(z.crc32(0, (const unsigned char *)"123456789", 9), 0xCBF43926);
    assert_int_equal(z.zlibVersion()[0], '1');
    l.file = "no-longer-looked-for.so"; /* it stays loaded */
    assert_int_equal(vn_library_load(&l, &err), VN_OK);
}

static void test_a_library_that_is_not_there_is_named(void **state) {
    (void)state;
    functions z = {0};
    vn_library l = zlib_into(&z);
    vn_err err = {0};
    l.file = "libnowhere.so.9";
    assert_int_equal(vn_library_load(&l, &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "this test takes libnowhere.so.9, which cannot be loaded"));
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(strchr(err.text, '\n'));
    assert_false(l.loaded);
    l.file = "libz.so.1"; /* once it is there, it is found */
    assert_int_equal(vn_library_load(&l, &err), VN_OK);
}

static void test_a_function_that_is_not_there_is_named(void **state) {
    static const char *const lacking[] = {"crc32", "no_such_function"};
    (void)state;
    functions z = {0};
    vn_library l = zlib_into(&z);
    vn_err err = {0};
    l.names = lacking;
    assert_int_equal(vn_library_load(&l, &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "libz.so.1"));
    assert_non_null(strstr(err.text, "no_such_function"));
    assert_false(l.loaded);
}

enum { THREADS = 4 };
static functions shared;
static vn_library of_all;

static void *load_and_call(void *crc) {
    if (vn_library_load(&of_all, NULL) == VN_OK)
        *(unsigned long *)crc = shared.crc32(0, (const unsigned char *)"123456789", 9);
    return NULL;
}

static void test_threads_may_load_at_once(void **state) {
    pthread_t thread[THREADS];
    unsigned long crc[THREADS] = {0};
    (void)state;
    of_all = zlib_into(&shared);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, load_and_call, &crc[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) assert_int_equal(crc[i], 0xCBF43926);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions_are_the_librarys),
        cmocka_unit_test(test_a_library_that_is_not_there_is_named),
        cmocka_unit_test(test_a_function_that_is_not_there_is_named),
        cmocka_unit_test(test_threads_may_load_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
