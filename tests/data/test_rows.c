/* test_rows.c - samples of a program's own, read where they lie: layout, order, flips, failing
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "data/internal.h"
#include "support/alloc.h"
#include "support_data.h"

enum { N = 9, C = 2, H = 3, W = 4, SIZE = C * H * W };

static float images[N * SIZE], noise[N * SIZE];
static int32_t labels[N];

static int fill(void **state) {
    (void)state;
    for (int i = 0; i < N * SIZE; i++) images[i] = (float)i / 100 - 1;
    for (int i = 0; i < N * SIZE; i++) noise[i] = -images[i];
    for (int i = 0; i < N; i++) labels[i] = i % 2;
    return 0;
}

static vn_train_data all(void) {
    return (vn_train_data){.struct_size = sizeof(vn_train_data),
                           .count = N,
                           .sample = {3, {C, H, W}},
                           .samples = images,
                           .noise = noise,
                           .labels = labels,
                           .classes = 2};
}

static vn_data *open_rows(const vn_data_options *options) {
    const vn_train_data d = all(); /* copied */
    vn_data *data = NULL;
    vn_err err = {0};
    if (vn_data_open_rows(&d, options, &data, &err)) fail_msg("%s", err.text);
    return data;
}

/* Number c, y, x of sample i as it lies in the array, or mirrored. */
static float number(int64_t i, int c, int y, int x, bool mirrored) {
    return images[((i * C + c) * H + y) * W + (mirrored ? W - 1 - x : x)];
}

static bool is_sample(const float *x, int64_t i, bool mirrored) {
    for (int k = 0; k < SIZE; k++)
        if (x[k] != number(i, k % C, k / C / W, k / C % W, mirrored)) return false;
    return true;
}

static void images_become_channels_last(void **state) {
    (void)state;
    const vn_data_options plain = {.seed = 2, .validate = 0.2};
    vn_data *data = open_rows(&plain);
    const vn_data_info *info = vn_data_get_info(data);
    int32_t seen[N];
    float x[SIZE];
    vn_err err = {0};
    assert_string_equal(info->source, "arrays");
    assert_int_equal(info->count, N);
    assert_int_equal(info->classes, 2);
    assert_true(info->brings_noise && info->held > 0 && info->memory == 0);
    assert_string_equal(vn_data_class_name(data, 1), "1");
    float *every = read_all(data, seen);
    for (int i = 0; i < N; i++) {
        assert_true(is_sample(every + (size_t)i * SIZE, i, false));
        assert_int_equal(seen[i], i % 2);
        assert_int_equal(vn_data_at(data, i, x, NULL, &err), VN_OK);
        assert_memory_equal(x, every + (size_t)i * SIZE, sizeof x);
    }
    free(every);
    vn_data_close(&data);
}

/* Of 20 epochs about half, each with its noise; never of what is held out. */
static void flips_turn_sample_and_noise_together(void **state) {
    (void)state;
    const vn_data_options options = {.seed = 2, .validate = 0.2, .flip = true};
    vn_data *data = open_rows(&options);
    const int64_t n = 20 * vn_data_get_info(data)->train;
    float x[SIZE], z[SIZE];
    int64_t turned = 0, whole = 0;
    vn_err err = {0};
    for (int part = VN_DATA_TRAIN; part <= VN_DATA_HELD; part++)
        for (int64_t at = 0; at < n; at++) {
            assert_int_equal(
                vn_data_pairs(data, (vn_data_part)part, (uint64_t)at, 1, x, z, NULL, &err), VN_OK);
            const int64_t i = (int64_t)((x[0] + 1) * 100 / SIZE + 0.01f);
            const bool plain = is_sample(x, i, false);
            assert_true(plain || (part == VN_DATA_TRAIN && is_sample(x, i, true)));
            for (int k = 0; k < SIZE; k++) assert_true(z[k] == -x[k]);
            turned += !plain;
            whole += part == VN_DATA_TRAIN && plain;
        }
    assert_true(turned > n / 4 && whole > n / 4);
    vn_data_close(&data);
}

static void failed_allocations_leave_nothing(void **state) {
    (void)state;
    const vn_data_options options = {.seed = 2, .validate = 0.2};
    for (alloc_turn t = {0}; alloc_next(&t);) {
        const vn_train_data d = all();
        vn_data *data = NULL;
        vn_err err = {0};
        const vn_status status = vn_data_open_rows(&d, &options, &data, &err);
        alloc_hit(&t, status);
        assert_true(!status == (data != NULL));
        vn_data_close(&data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_become_channels_last),
        cmocka_unit_test(flips_turn_sample_and_noise_together),
        cmocka_unit_test(failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
