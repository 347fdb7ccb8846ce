/* test_golden.c - metrics against NumPy, SciPy, scikit-image and prdc on the same numbers
 * (tests/golden/measures.py), and features of a network of the user's against PyTorch's. */
#include <math.h>
#include <string.h>

#include "metric/support_metric.h"
#include "store/store.h"
#include "support/kernels.h"

#define FOLDER VN_SOURCE_DIR "/tests/golden/measures/"

static vn_err err;

static vn_safetensors *open_case(const char *name) {
    vn_safetensors *st = NULL;
    char *path = vn_format(FOLDER "%s.safetensors", name);
    assert_non_null(path);
    if (vn_safetensors_open(path, &st, &err) != VN_OK) fail_msg("%s", err.text);
    vn_free(path);
    return st;
}

/* A tensor [N,...] as a set; *numbers is freed by the caller. */
static vn_set set_from(const vn_safetensors *st, const char *name, float **numbers) {
    const vn_array *t = vn_safetensors_find(st, name);
    assert_non_null(t);
    *numbers = vn_alloc((size_t)vn_shape_count(&t->shape), sizeof(float));
    assert_non_null(*numbers);
    vn_array_read_f32(t, *numbers);
    const vn_shape one = vn_shape_make(t->shape.rank - 1, t->shape.dim + 1);
    return set_of(&one, t->shape.dim[0], *numbers, NULL);
}

/* Relative to the value, or absolute below 1: both sides compute in double. Measured at most:
 * 3.1e-14. */
#define ERROR 1e-13

static void check_case(const char *name, const char *metrics, const char *features) {
    vn_safetensors *st = open_case(name);
    float *x, *y;
    const vn_set a = set_from(st, "samples", &x), b = set_from(st, "data", &y);
    json_t *values = NULL;
    const char *text = vn_safetensors_metadata_text(st, "values");
    assert_int_equal(vn_json_parse(text, strlen(text), name, &values, &err), VN_OK);
    if (measure_sets(metrics, features, &a, &b, NULL, 2, &err) != VN_OK) fail_msg("%s", err.text);
    const char *key;
    json_t *value;
    assert_true(json_object_size(values) > 0);
    double worst = 0;
    json_object_foreach(values, key, value) {
        const double expected = json_number_value(value),
                     error = fabs(row_of(key)->value - expected) / fmax(1, fabs(expected));
        worst = fmax(worst, error);
        if (!(error <= ERROR))
            fail_msg("%s: %s is %.12g, not %.12g", name, key, row_of(key)->value, expected);
        const vn_eval_row *row = row_of(key); /* an interval has its value in it */
        if (isfinite(row->low)) assert_true(row->low <= row->value && row->value <= row->high);
    }
    print_message("%s: off by %.1e\n", name, worst);
    json_decref(values);
    vn_free(x);
    vn_free(y);
    vn_safetensors_close(&st);
}

static void test_references(void **state) {
    (void)state;
    check_case("features", "fd,kd,energy,mmd,precision,recall,density,coverage", "raw");
    check_case("points", "w2", "raw");
    check_case("line", "sliced-w2", "raw");
    check_case("images", "psnr,ssim", NULL);
}

/* The network's means, which the Frechet distance of a set to itself moved by nothing cannot see:
 * they are looked at through the extractor. */
static void test_a_network_of_the_users(void **state) {
    (void)state;
    vn_safetensors *st = open_case("network-features");
    float *x, *expected;
    const vn_set set = set_from(st, "samples", &x), of = set_from(st, "features", &expected);
    vn_device device;
    vn_extractor *e = NULL;
    assert_int_equal(vn_device_open(kernels, NULL, NULL, &device, &err), VN_OK);
    const vn_engine engine = {.device = &device};
    if (vn_extractor_open(FOLDER "network", &set.sample, &engine, &e, &err) != VN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(vn_extractor_classes(e), 0);
    assert_int_equal(strncmp(vn_extractor_name(e), "features-", 9), 0);
    float *found = vn_alloc((size_t)(of.count * of.size), sizeof *found);
    assert_int_equal(vn_extractor_run(e, set.count, x, found, NULL, &err), VN_OK);
    double worst = 0;
    for (int64_t i = 0; i < of.count * of.size; i++)
        worst = fmax(worst, fabs((double)found[i] - (double)expected[i]));
    print_message("features: off by %.1e\n", worst);
    assert_true(worst < 2e-6); /* measured: 6e-7 */
    /* another size is refused with both */
    vn_extractor *other = NULL;
    const vn_shape wide = VN_SHAPE(2, 16, 16);
    assert_int_equal(vn_extractor_open(FOLDER "network", &wide, &engine, &other, &err),
                     VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "features of samples [2, 16, 20], and these are [2, 16, 16]"));
    vn_free(found);
    vn_free(x);
    vn_free(expected);
    vn_extractor_close(&e);
    vn_device_close(&device);
    vn_safetensors_close(&st);
}

/* A seed says the network: the same features of the same one, others of another; and they do not
 * depend on how many images are passed at a time. */
static void test_random_features_are_of_their_seed(void **state) {
    (void)state;
    enum { IMAGES = 70, SIZE = 3 * 9 * 12, WIDTH = 16 + 32 + 64 };
    static float x[IMAGES * SIZE], all[IMAGES * WIDTH], one[WIDTH], other[IMAGES * WIDTH];
    const vn_shape shape = VN_SHAPE(3, 9, 12);
    vn_random_normal(x, IMAGES * SIZE, 5, VN_STREAM_TEST, 0, 0);
    vn_device device;
    vn_extractor *e = NULL, *b = NULL;
    assert_int_equal(vn_device_open(kernels, NULL, NULL, &device, &err), VN_OK);
    const vn_engine engine = {.device = &device};
    assert_int_equal(vn_extractor_open("random", &shape, &engine, &e, &err), VN_OK);
    assert_int_equal(vn_extractor_open("random:seed=1", &shape, &engine, &b, &err), VN_OK);
    assert_string_equal(vn_extractor_name(e), "random:seed=0");
    assert_int_equal(vn_extractor_run(e, IMAGES, x, all, NULL, &err), VN_OK);
    assert_int_equal(vn_extractor_run(b, IMAGES, x, other, NULL, &err), VN_OK);
    assert_memory_not_equal(all, other, sizeof all);
    for (int i = 0; i < IMAGES; i += 23) {
        assert_int_equal(vn_extractor_run(e, 1, x + i * SIZE, one, NULL, &err), VN_OK);
        assert_memory_equal(one, all + i * WIDTH, sizeof one);
    }
    vn_extractor_close(&e);
    vn_extractor_close(&b);
    vn_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_references, forget_rows),
        cmocka_unit_test_teardown(test_a_network_of_the_users, forget_rows),
        cmocka_unit_test_teardown(test_random_features_are_of_their_seed, forget_rows),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
