/* test_cifar.c - CIFAR's binary batches: both layouts, several files, names, and sizes that do not
 * fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scratch.h"
#include "support_data.h"

enum { PLANE = 1024 };
static const vn_data_options plain = {.seed = 1};

/* Records first .. first + count: label bytes (the last is (7 i) mod classes), then planes of
 * data_pixel. */
static void make_batch(const char *path, int first, int count, int label_bytes, int classes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = first; i < first + count; i++) {
        for (int k = 1; k < label_bytes; k++) fputc(99, f); /* the coarse label */
        fputc(7 * i % classes, f);
        for (int k = 0; k < 3 * PLANE; k++) fputc(data_pixel(i, k), f);
    }
    assert_int_equal(fclose(f), 0);
}

/* names: of the labels; NULL: their numbers. Only classes with samples are classes. */
static void check(const char *source, int count, int labels_in_file, const char *const *names) {
    vn_data *data = must_open(source, &plain);
    const vn_data_info *info = vn_data_get_info(data);
    int32_t labels[16];
    float *x = read_all(data, labels);
    assert_string_equal(info->source, "cifar");
    assert_true(info->count == count && info->classes == count && info->sample.dim[0] == 3);
    assert_true(info->sample.dim[1] == 32 && info->sample.dim[2] == 32);
    for (int i = 0; i < count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", 7 * i % labels_in_file);
        assert_string_equal(vn_data_class_name(data, labels[i]),
                            names ? names[7 * i % labels_in_file] : number);
        for (int k = 0; k < 3 * PLANE; k++)
            assert_float_equal(x[3 * PLANE * i + k],
                               (float)data_pixel(i, k % 3 * PLANE + k / 3) / 127.5f - 1.0f, 0.0);
    }
    free(x);
    vn_data_close(&data);
}

static void reads_both_layouts(void **state) {
    (void)state;
    static const char *const names[] = {"plane", "car",  "bird",  "cat",  "deer",
                                        "dog",   "frog", "horse", "ship", "truck"};
    mkdir("ten", 0777);
    make_batch("ten/data_batch_1.bin", 0, 3, 1, 10);
    make_batch("ten/data_batch_2.bin", 3, 4, 1, 10);
    make_batch("ten/test_batch.bin", 0, 2, 1, 10);
    check("ten", 7, 10, NULL);
    scratch_write_text("ten/batches.meta.txt",
                       "plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
    check("ten", 7, 10, names);
    check("ten/test_batch.bin", 2, 10, names);
    mkdir("hundred", 0777);
    make_batch("hundred/train.bin", 0, 5, 2, 100);
    check("hundred", 5, 100, NULL);
    check("hundred/train.bin", 5, 100, NULL);
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    mkdir("bad", 0777);
    make_batch("bad/data_batch_1.bin", 0, 2, 1, 10);
    FILE *f = fopen("bad/data_batch_1.bin", "ab");
    fputc(0, f);
    fclose(f);
    must_refuse("bad", &plain, VN_BAD_FILE,
                "bad/data_batch_1.bin: 6147 bytes are not a whole number of records of 3073");
    make_batch("bad/data_batch_1.bin", 0, 3, 1, 30);
    must_refuse("bad", &plain, VN_BAD_FILE,
                "bad/data_batch_1.bin: label 14 of record 2 is not below 10");
    scratch_write_text("bad/data_batch_1.bin", "");
    must_refuse("bad", &plain, VN_BAD_FILE, "bad/data_batch_1.bin: 0 bytes");
    make_batch("bad/data_batch_1.bin", 0, 1, 1, 10);
    scratch_write_text("bad/batches.meta.txt", "one\ntwo\n");
    must_refuse("bad", &plain, VN_BAD_FILE,
                "batches.meta.txt: 2 class names where 10 are expected");
    unlink("bad/batches.meta.txt");
    must_refuse("bad/test_batch.bin", &plain, VN_IO, "test_batch.bin");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_layouts),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
