/* test_npy_file.c - .npy files of samples: what numpy writes is read, and damaged ones are
 * named. */
#include <math.h>
#include <string.h>

#include "data/support_data.h"
#include "support/scratch.h"

/* A header of version 1 for this dictionary, and `bytes` of numbers after it. */
static void write_npy(const char *path, const char *dictionary, const void *numbers, size_t bytes) {
    unsigned char file[1024];
    size_t length = strlen(dictionary), header = (10 + length + 64) / 64 * 64 - 10;
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = (unsigned char)header;
    file[9] = 0;
    memset(file + 10, ' ', header);
    memcpy(file + 10, dictionary, length);
    file[9 + header] = '\n';
    memcpy(file + 10 + header, numbers, bytes);
    scratch_write(path, file, 10 + header + bytes);
}

static void expect_words(const char *path, vn_status status, const char *words) {
    vn_npy_file *f = NULL;
    vn_err err = {0};
    assert_int_equal(vn_npy_file_open(path, &f, &err), status);
    assert_null(f);
    if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
}

static void test_rows_are_read(void **state) {
    (void)state;
    const float four[6] = {1, -2, 0.5F, 4, 5, -0.25F};
    const double eight[6] = {1, -2, 0.5, 4, 5, -0.25};
    write_npy("f4.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", four,
              sizeof four);
    write_npy("f8.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }", eight,
              sizeof eight);
    static const char *const names[] = {"f4.npy", "f8.npy"};
    for (size_t k = 0; k < 2; k++) {
        vn_npy_file *f = NULL;
        vn_err err;
        assert_int_equal(vn_npy_file_open(names[k], &f, &err), VN_OK);
        const vn_shape shape = vn_npy_file_shape(f);
        assert_true(shape.rank == 2 && shape.dim[0] == 3 && shape.dim[1] == 2);
        for (int64_t i = 2; i >= 0; i--) {
            float row[2];
            assert_int_equal(vn_npy_file_row(f, i, row, &err), VN_OK);
            assert_memory_equal(row, four + 2 * i, sizeof row);
        }
        vn_npy_file_close(&f);
        assert_null(f);
    }
}

/* Cut after any byte it is refused, in words that name it. */
static void test_every_cut_is_refused(void **state) {
    (void)state;
    const float numbers[6] = {0};
    write_npy("whole.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", numbers,
              sizeof numbers);
    size_t size;
    char *bytes = scratch_read("whole.npy", &size);
    for (size_t n = 0; n < size; n++) {
        scratch_write("cut.npy", bytes, n);
        expect_words("cut.npy", VN_BAD_FILE, "cut.npy: ");
    }
    free(bytes);
}

static void test_what_are_no_samples_is_named(void **state) {
    (void)state;
    const float numbers[8] = {0};
    static const struct {
        const char *dictionary, *words;
        vn_status status;
    } cases[] = {
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }", "samples are floats",
         VN_BAD_FILE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }", "has 1 axes", VN_BAD_FILE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", "holds no samples",
         VN_BAD_FILE},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (4, 2), }", "Fortran", VN_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }",
         "its array has 24 bytes, and the file 32", VN_BAD_FILE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (900000000000000000, 900), }",
         "too large", VN_BAD_FILE},
        {"{'descr': '<f4', 'shape': (4, 2), }", "not complete", VN_BAD_FILE},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        write_npy("bad.npy", cases[i].dictionary, numbers, sizeof numbers);
        expect_words("bad.npy", cases[i].status, cases[i].words);
    }
    expect_words("nowhere.npy", VN_IO, "nowhere.npy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_read),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_what_are_no_samples_is_named),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
