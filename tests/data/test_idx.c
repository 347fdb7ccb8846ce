/* test_idx.c - IDX pairs: what is read, how the pair is found, what the classes are called;
 * Fashion-MNIST itself where it is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <zlib.h>

#include "support/scratch.h"
#include "support_data.h"

static const vn_data_options plain = {.seed = 1};

static void check_made(const char *source, int count) {
    vn_data *data = must_open(source, &plain);
    const vn_data_info *info = vn_data_get_info(data);
    int32_t labels[64];
    assert_string_equal(info->source, "idx");
    assert_true(vn_shape_is_image(&info->sample) && info->sample.dim[0] == 1 &&
                info->sample.dim[1] == 4 && info->sample.dim[2] == 3);
    assert_true(info->count == count && info->train == count && info->held == 0 &&
                info->classes == 3);
    assert_int_equal(info->memory, count * 12);
    float *x = read_all(data, labels);
    for (int i = 0; i < count; i++) {
        assert_int_equal(labels[i], i % 3);
        for (int k = 0; k < 12; k++)
            assert_float_equal(x[12 * i + k], (float)data_pixel(i, k) / 127.5f - 1.0f, 0.0);
    }
    free(x);
    vn_data_close(&data);
    assert_null(data);
}

static void reads_a_pair(void **state) {
    (void)state;
    mkdir("plain", 0777);
    mkdir("packed", 0777);
    make_idx("plain/train", 20, 4, 3, false);
    make_idx("packed/train", 21, 4, 3, true);
    make_idx("packed/t10k", 9, 4, 3, true);
    check_made("plain", 20);
    check_made("packed", 21);
    check_made("packed/", 21);
    check_made("packed/t10k-images-idx3-ubyte.gz", 9);
    check_made("packed/t10k-labels-idx1-ubyte.gz", 9);
    /* another usual spelling */
    rename("plain/train-images-idx3-ubyte", "plain/train-images.idx3-ubyte");
    rename("plain/train-labels-idx1-ubyte", "plain/train-labels.idx1-ubyte");
    check_made("plain", 20);
    check_made("plain/train-labels.idx1-ubyte", 20);
    rename("packed/train-labels-idx1-ubyte.gz", "packed/kept");
    make_idx("other", 21, 4, 3, false);
    rename("other-labels-idx1-ubyte", "packed/train-labels-idx1-ubyte"); /* one gzipped, one not */
    check_made("packed", 21);
}

static void names_classes(void **state) {
    (void)state;
    mkdir("named", 0777);
    make_idx("named/train", 6, 2, 2, false);
    vn_data *data = must_open("named", &plain);
    assert_string_equal(vn_data_class_name(data, 2), "2");
    assert_null(vn_data_class_name(data, 3));
    assert_null(vn_data_class_name(data, -1));
    const uint32_t unnamed = vn_data_get_info(data)->fingerprint;
    vn_data_close(&data);
    scratch_write_text("named/labels.txt", "zero\r\none thing\ntwo\nthree\n\n");
    data = must_open("named", &plain);
    assert_int_equal(vn_data_get_info(data)->classes, 3); /* none is of class three */
    assert_string_equal(vn_data_class_name(data, 1), "one thing");
    assert_string_equal(vn_data_class_name(data, 2), "two");
    assert_int_not_equal(vn_data_get_info(data)->fingerprint, unnamed);
    vn_data_close(&data);
    scratch_write_text("named/labels.txt", "zero\none\n");
    must_refuse("named", &plain, VN_BAD_FILE, "label 2, but named/labels.txt names 2 classes");
    scratch_write_text("named/labels.txt", "zero\n\ntwo\n");
    must_refuse("named", &plain, VN_BAD_FILE, "named/labels.txt: line 2 is empty");
    scratch_write("named/labels.txt", "a\0b\n", 4);
    must_refuse("named", &plain, VN_BAD_FILE, "is not a text file");
    scratch_write_text("named/labels.txt", "\n");
    must_refuse("named", &plain, VN_BAD_FILE, "holds no class names");
}

static void patch(const char *path, size_t at, uint8_t value) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(value, f);
    fclose(f);
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    static const char *const images = "bad/train-images-idx3-ubyte",
                             *const labels = "bad/train-labels-idx1-ubyte";
    static const struct {
        const char *path;
        size_t at;
        uint8_t value;
        const char *words;
    } cases[] = {
        {"bad/train-images-idx3-ubyte", 3, 1,
         "train-images-idx3-ubyte: not an IDX file of images (magic number 00000801"},
        {"bad/train-images-idx3-ubyte", 2, 9, "not an IDX file of images"},
        {"bad/train-images-idx3-ubyte", 4, 255,
         "bytes of data, more than a file of 88 bytes can hold"},
        {"bad/train-images-idx3-ubyte", 6, 1,
         "bytes of data, more than a file of 88 bytes can hold"},
        {"bad/train-images-idx3-ubyte", 7, 5, "holds more bytes than its header says"},
        {"bad/train-images-idx3-ubyte", 11, 0, "claims to hold nothing"},
        {"bad/train-labels-idx1-ubyte", 7, 5, "holds more bytes than its header says"},
        {"bad/train-labels-idx1-ubyte", 7, 7, "the file ends too early"},
    };
    mkdir("bad", 0777);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        make_idx("bad/train", 6, 4, 3, false);
        patch(cases[i].path, cases[i].at, cases[i].value);
        must_refuse("bad", &plain, VN_BAD_FILE, cases[i].words);
    }
    make_idx("bad/train", 6, 4, 3, false);
    make_idx("seven", 7, 4, 3, false);
    rename("seven-labels-idx1-ubyte", labels);
    must_refuse("bad", &plain, VN_BAD_FILE,
                "holds 6 images, but bad/train-labels-idx1-ubyte holds 7 labels");
    unlink(labels);
    make_idx("bad/t10k", 3, 4, 3, false); /* where others have labels, theirs are missing */
    must_refuse("bad", &plain, VN_IO, "bad/train-labels-idx1-ubyte: cannot be read: No such file");
    must_refuse("bad/train-labels-idx1-ubyte", &plain, VN_IO, "cannot be read: No such file");
    unlink("bad/t10k-labels-idx1-ubyte");
    unlink("bad/t10k-images-idx3-ubyte");
    mkdir(labels, 0777);
    must_refuse("bad", &plain, VN_IO, "bad/train-labels-idx1-ubyte: is a folder");
    rmdir(labels);
    make_idx("bad/train", 6, 4, 3, false);
    unlink(images);
    must_refuse("bad/train-images-idx3-ubyte", &plain, VN_IO, "No such file");
}

static void note(void *user, vn_log_level level, const char *text) {
    (void)level;
    snprintf(user, 256, "%s", text);
}

static void images_without_labels_have_no_classes(void **state) {
    (void)state;
    static const char *const sources[] = {"alone", "alone/train-images-idx3-ubyte.gz"};
    mkdir("alone", 0777);
    make_idx("alone/train", 7, 4, 3, true);
    unlink("alone/train-labels-idx1-ubyte.gz");
    scratch_write_text("alone/labels.txt", "zero\n"); /* names of nothing */
    for (size_t i = 0; i < VN_COUNT(sources); i++) {
        char line[256] = "";
        const vn_watch watch = {.log = note, .user = line};
        const vn_data_options options = {.seed = 1, .watch = &watch};
        vn_data *data = must_open(sources[i], &options);
        const vn_data_info *info = vn_data_get_info(data);
        int32_t labels[7];
        assert_true(info->count == 7 && info->classes == 0 && !vn_data_labels(data));
        assert_string_equal(line, "alone/train-images-idx3-ubyte.gz: images without classes, as "
                                  "there is no alone/train-labels-idx1-ubyte.gz");
        float *x = read_all(data, labels);
        assert_true(labels[0] == -1 && labels[6] == -1);
        for (int k = 0; k < 7 * 12; k++)
            assert_float_equal(x[k], (float)data_pixel(k / 12, k % 12) / 127.5f - 1.0f, 0.0);
        free(x);
        vn_data_close(&data);
    }
    must_refuse("alone/train-labels-idx1-ubyte.gz", &plain, VN_IO,
                "alone/train-labels-idx1-ubyte.gz: cannot be read: No such file");
}

/* A gzip file that claims more than it can hold, and one whose checksum is wrong. */
static void refuses_bad_gzip(void **state) {
    (void)state;
    const uint8_t bomb[16] = {0, 0, 8, 3, 0, 0, 0xff, 0xff, 0, 0, 0, 0x40, 0, 0, 1, 0};
    mkdir("gz", 0777);
    make_idx("gz/train", 6, 4, 3, true);
    size_t size;
    char *bytes = scratch_read("gz/train-images-idx3-ubyte.gz", &size);
    bytes[size - 6] ^= 1; /* of the checksum */
    scratch_write("gz/train-images-idx3-ubyte.gz", bytes, size);
    must_refuse("gz", &plain, VN_BAD_FILE, "gz/train-images-idx3-ubyte.gz: damaged gzip data");
    bytes[size - 6] ^= 1;
    scratch_write("gz/train-images-idx3-ubyte.gz", bytes, size - 1);
    must_refuse("gz", &plain, VN_BAD_FILE,
                "gz/train-images-idx3-ubyte.gz: the file ends too early");
    free(bytes);
    gzFile f = gzopen("gz/train-images-idx3-ubyte.gz", "wb");
    gzwrite(f, bomb, sizeof bomb);
    gzclose(f);
    must_refuse("gz", &plain, VN_BAD_FILE, "claims 1073725440 bytes of data, more than a file of");
}

static void reads_fashion_mnist(void **state) {
    (void)state;
    static const char folder[] = "/usr/share/datasets/fashion-mnist";
    if (!vn_is_dir(folder)) skip();
    vn_data *data = must_open(folder, &plain);
    const vn_data_info *info = vn_data_get_info(data);
    assert_true(info->count == 60000 && info->classes == 10 && info->sample.dim[1] == 28 &&
                info->sample.dim[2] == 28);
    assert_string_equal(vn_data_class_name(data, 0), "T-shirt/top");
    assert_string_equal(vn_data_class_name(data, 9), "Ankle boot");
    static float x[10 * 784];
    static uint8_t bytes[10 * 784];
    int32_t labels[10];
    assert_int_equal(vn_data_batch(data, VN_DATA_ALL, 0, 10, x, labels, NULL), VN_OK);
    for (int i = 0; i < 7840; i++) bytes[i] = (uint8_t)((x[i] + 1.0f) * 127.5f + 0.5f);
    assert_int_equal(crc32(0, bytes, 7840), 0x09da0347); /* by Python's zlib */
    static const int32_t first[] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5};
    assert_memory_equal(labels, first, sizeof first);
    vn_data_close(&data);
    data = must_open("/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz", &plain);
    assert_int_equal(vn_data_get_info(data)->count, 10000);
    assert_string_equal(vn_data_class_name(data, 8), "Bag");
    vn_data_close(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_pair),
        cmocka_unit_test(names_classes),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(images_without_labels_have_no_classes),
        cmocka_unit_test(refuses_bad_gzip),
        cmocka_unit_test(reads_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
