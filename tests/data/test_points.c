/* test_points.c - every toy of the table: its classes, its size, its seed, its parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_data.h"
#include "support/bound.h"

static vn_data *open_toy(const vn_toy_row *toy, const char *parameters, uint64_t seed) {
    char source[128];
    snprintf(source, sizeof source, "points:%s%s", toy->row.name, parameters);
    return must_open(source, &(vn_data_options){.seed = seed});
}

/* Centred, of about the spread of images in [-1, 1], every class with its share. */
static void toys_are_alike(void **state) {
    (void)state;
    for (size_t t = 0; t < vn_toy_row_count; t++) {
        const vn_toy_row *toy = &vn_toy_rows[t];
        vn_data *data = open_toy(toy, ":count=4000", 1);
        const vn_data_info *info = vn_data_get_info(data);
        static int32_t labels[4000];
        int each[16] = {0};
        double mean[2] = {0};
        float *x = read_all(data, labels);
        assert_string_equal(info->source, "points");
        assert_true(!vn_shape_is_image(&info->sample) && info->sample.dim[0] == 2 &&
                    info->count == 4000 && info->classes == toy->classes);
        assert_float_equal(info->deviation, 0.5, 0.1); /* 0.43 (moons) to 0.58 (checkerboard) */
        for (int i = 0; i < 4000; i++) {
            assert_true(fabsf(x[2 * i]) < 2.0f && fabsf(x[2 * i + 1]) < 2.0f);
            mean[0] += (double)x[2 * i] / 4000;
            mean[1] += (double)x[2 * i + 1] / 4000;
            each[labels[i]]++;
        }
        expect_small(hypot(mean[0], mean[1]), 0.3);
        for (int k = 0; k < toy->classes; k++) {
            assert_string_equal(vn_data_class_name(data, k), toy->names[k]);
            assert_in_range(each[k], 4000 / toy->classes * 8 / 10, 4000 / toy->classes * 12 / 10);
        }
        free(x);
        vn_data_close(&data);
    }
}

static void seeds_and_counts(void **state) {
    (void)state;
    for (size_t t = 0; t < vn_toy_row_count; t++) {
        vn_data *few = open_toy(&vn_toy_rows[t], ":count=50", 4),
                *many = open_toy(&vn_toy_rows[t], ":count=90", 4),
                *other = open_toy(&vn_toy_rows[t], ":count=50", 5);
        assert_int_not_equal(vn_data_get_info(few)->fingerprint,
                             vn_data_get_info(other)->fingerprint);
        must_be_keyed(few, many, other, 100);
    }
}

/* Without noise the shapes are what they are called. */
static void shapes_are_exact(void **state) {
    (void)state;
    int32_t labels[200];
    vn_data *data = must_open("points:circles:noise=0,count=200", &(vn_data_options){.seed = 1});
    float *x = read_all(data, labels);
    for (int i = 0; i < 200; i++)
        expect_small(fabsf(hypotf(x[2 * i], x[2 * i + 1]) - (labels[i] ? 0.9f : 0.45f)), 1e-6);
    free(x);
    vn_data_close(&data);
    data = must_open("points:checkerboard:count=200", &(vn_data_options){.seed = 1});
    x = read_all(data, labels);
    for (int i = 0; i < 200; i++) {
        const int column = (int)floorf(2.0f * x[2 * i] + 2.0f),
                  row = (int)floorf(2.0f * x[2 * i + 1] + 2.0f);
        assert_int_equal(labels[i], column);
        assert_int_equal((column + row) % 2, 0);
    }
    free(x);
    vn_data_close(&data);
    data = must_open("points:gaussians:noise=0,count=200", &(vn_data_options){.seed = 1});
    x = read_all(data, labels);
    for (int i = 0; i < 200; i++) {
        const float turn = atan2f(x[2 * i + 1], x[2 * i]) / 0.78539816f;
        assert_int_equal(((int)lroundf(turn) + 8) % 8, labels[i]);
        expect_small(fabsf(turn - roundf(turn)), 1e-5);
    }
    free(x);
    vn_data_close(&data);
}

static void refuses_by_name(void **state) {
    (void)state;
    const vn_data_options plain = {.seed = 1};
    must_refuse("points:moon", &plain, VN_BAD_ARGUMENT, "moons");
    must_refuse("points:moons:noize=1", &plain, VN_BAD_ARGUMENT, "noise");
    must_refuse("points:moons:noise=-1", &plain, VN_BAD_ARGUMENT, "noise");
    must_refuse("points:moons:count=0", &plain, VN_BAD_ARGUMENT, "count");
    must_refuse("moons", &plain, VN_BAD_ARGUMENT, "did you mean \"points:moons\"?");
    must_refuse("points:moons", &(vn_data_options){.flip = true}, VN_BAD_ARGUMENT,
                "flip has no effect on points");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(toys_are_alike),
        cmocka_unit_test(seeds_and_counts),
        cmocka_unit_test(shapes_are_exact),
        cmocka_unit_test(refuses_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
