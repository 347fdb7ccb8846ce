/* test_encode.c - samples in memory: the bytes of the file that would be saved. */
#include "api/support_context.h"

#include <stdio.h>
#include <string.h>

#include "support/alloc.h"
#include "support/kernels.h"
#include "support/scratch.h"

static vn_samples *draw(const char *source, int trace) {
    vn_model *m = NULL;
    vn_samples *out = NULL, *more = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 5;
    o.steps = 3;
    o.trace = trace;
    expect_ok(vn, vn_model_open(vn, source, &m));
    expect_ok(vn, vn_sample(m, &o, &out));
    o.guidance = 2;
    expect_ok(vn, vn_sample(m, &o, &more));
    expect_ok(vn, vn_samples_append(out, more));
    vn_samples_close(&more);
    vn_model_close(&m);
    return out;
}

static void expect_the_file(const vn_samples *s, const char *format) {
    static char file[1 << 20];
    char path[64];
    void *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "saved.%s", format);
    expect_ok(vn, vn_samples_save(s, path));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    assert_true(n > 0 && n < sizeof file);
    expect_ok(vn, vn_samples_encode(s, format, &bytes, &size));
    assert_int_equal(size, n);
    assert_memory_equal(bytes, file, n);
    vn_bytes_free(&bytes);
    assert_null(bytes);
    vn_bytes_free(&bytes);
}

static void test_memory_holds_the_bytes_of_the_file(void **state) {
    (void)state;
    static const char *const formats[] = {"png", "safetensors", "npy"};
    vn_samples *images = draw("run", 0), *traced = draw("world.json", 1);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        expect_the_file(images, formats[i]);
        expect_the_file(traced, formats[i]);
    }
    vn_samples_close(&images);
    vn_samples_close(&traced);
}

static void test_what_cannot_be_encoded_is_refused(void **state) {
    (void)state;
    static const char space[] = "{\"classes\": [{\"components\": [{\"weight\": 1, "
                                "\"mean\": [0, 0, 0], \"std\": 1}]}]}";
    void *bytes = (void *)space;
    size_t size = 1;
    vn_model *m = NULL;
    vn_samples *s = NULL;
    expect_ok(vn, vn_model_from_world(vn, space, &m));
    expect_ok(vn, vn_sample(m, NULL, &s));
    expect_refused(vn_samples_encode(s, "jpg", &bytes, &size), VN_BAD_ARGUMENT,
                   "'jpg' is none of png, safetensors and npy");
    assert_null(bytes);
    assert_int_equal(size, 0);
    expect_refused(vn_samples_encode(s, "png", &bytes, &size), VN_UNSUPPORTED, "3 dimensions");
    expect_refused(vn_samples_encode(s, NULL, &bytes, &size), VN_BAD_ARGUMENT, "format");
    expect_refused(vn_samples_encode(s, "npy", NULL, &size), VN_BAD_ARGUMENT, "bytes");
    assert_int_equal(vn_samples_encode(NULL, "npy", &bytes, &size), VN_BAD_ARGUMENT);
    vn_bytes_free(NULL);
    vn_samples_close(&s);
    vn_model_close(&m);
}

static void test_each_allocation_may_fail(void **state) {
    (void)state;
    static const char *const formats[] = {"png", "safetensors", "npy"};
    vn_samples *s = draw("run", 0);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        void *bytes = NULL;
        size_t size;
        expect_ok(vn, vn_samples_encode(s, formats[i], &bytes, &size));
        vn_bytes_free(&bytes);
        for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
            alloc_hit(&t, vn_samples_encode(s, formats[i], &bytes, &size));
            vn_bytes_free(&bytes);
        }
    }
    vn_samples_close(&s);
}

static int enter(void **state) {
    scratch_enter(state);
    const int failed = open_tested(&vn) != VN_OK;
    make_world("world.json");
    make_data("data", 24);
    vn_train_options o = tiny_options(2);
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_holds_the_bytes_of_the_file),
        cmocka_unit_test(test_what_cannot_be_encoded_is_refused),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
