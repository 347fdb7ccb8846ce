/* test_order.c - what stands where: the held-out split, epochs, flips; all functions of the seed
 * and the position alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "support/scratch.h"
#include "support_data.h"

enum { COUNT = 40, SIZE = 6 }; /* pictures of 2 x 3 */

/* Which sample this is, by its pixels; *flipped when it is mirrored. */
static int identify(const float *x, bool *flipped) {
    for (int i = 0; i < COUNT; i++)
        for (int mirror = 0; mirror < 2; mirror++) {
            bool same = true;
            for (int k = 0; k < SIZE; k++) {
                const int from = mirror ? k / 3 * 3 + 2 - k % 3 : k;
                same = same && x[k] == (float)data_pixel(i, from) / 127.5f - 1.0f;
            }
            *flipped = mirror != 0;
            if (same) return i;
        }
    fail_msg("not a sample");
    return -1;
}

static void take(vn_data *data, vn_data_part part, uint64_t position, int n, int *index,
                 bool *flipped) {
    float *x = malloc(sizeof *x * SIZE * (size_t)n);
    int32_t *labels = malloc(sizeof *labels * (size_t)n);
    assert_true(x != NULL && labels);
    assert_int_equal(vn_data_batch(data, part, position, n, x, labels, NULL), VN_OK);
    for (int i = 0; i < n; i++) {
        bool mirrored;
        index[i] = identify(x + SIZE * i, &mirrored);
        assert_int_equal(labels[i], index[i] % 3);
        if (flipped)
            flipped[i] = mirrored;
        else
            assert_false(mirrored);
    }
    free(x);
    free(labels);
}

static vn_data *open_made(const vn_data_options *options) {
    make_idx("train", COUNT, 2, 3, false);
    return must_open("train-images-idx3-ubyte", options);
}

static int by_value(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* Held-out samples are never trained on; every epoch has every other sample once, each in an order
 * of its own. */
static void epochs_are_permutations(void **state) {
    (void)state;
    vn_data *data = open_made(&(vn_data_options){.seed = 5, .validate = 0.13});
    const vn_data_info *info = vn_data_get_info(data);
    assert_true(info->held == 5 && info->train == 35);
    int held[10], epoch[3][35], sorted[40];
    take(data, VN_DATA_HELD, 0, 10, held, NULL);
    assert_memory_equal(held, held + 5, 5 * sizeof *held); /* over and over */
    for (int e = 0; e < 3; e++) {
        take(data, VN_DATA_TRAIN, 35 * (uint64_t)e, 35, epoch[e], NULL);
        memcpy(sorted, epoch[e], sizeof epoch[e]);
        memcpy(sorted + 35, held, 5 * sizeof *held);
        qsort(sorted, 40, sizeof *sorted, by_value);
        for (int i = 0; i < 40; i++) assert_int_equal(sorted[i], i);
        for (int other = 0; other < e; other++)
            assert_memory_not_equal(epoch[e], epoch[other], sizeof epoch[e]);
    }
    int all[COUNT];
    take(data, VN_DATA_ALL, COUNT, COUNT, all, NULL);
    for (int i = 0; i < COUNT; i++) assert_int_equal(all[i], i);
    vn_data_close(&data);
}

/* Any batch at any time, of any size, in any order: the same samples. */
static void positions_are_all_that_counts(void **state) {
    (void)state;
    const vn_data_options options = {.seed = 9, .validate = 0.1, .flip = true};
    vn_data *data = open_made(&options);
    int whole[200], part[200];
    bool flips[200], part_flips[200];
    take(data, VN_DATA_TRAIN, 0, 200, whole, flips);
    vn_data_close(&data);
    data = open_made(&options);
    static const int starts[] = {190, 3, 70, 35, 36, 0, 111};
    for (size_t i = 0; i < VN_COUNT(starts); i++)
        for (int n = 1; n <= 10; n += 3) {
            take(data, VN_DATA_TRAIN, (uint64_t)starts[i], n, part, part_flips);
            assert_memory_equal(part, whole + starts[i], (size_t)n * sizeof *part);
            assert_memory_equal(part_flips, flips + starts[i], (size_t)n * sizeof *part_flips);
        }
    vn_data_close(&data);
    int flipped = 0;
    for (int i = 0; i < 200; i++) flipped += flips[i];
    assert_in_range(flipped, 72, 128); /* four standard deviations of 200 coins */
}

static void seeds_differ(void **state) {
    (void)state;
    int a[40], b[40], held_a[10], held_b[10];
    vn_data *data = open_made(&(vn_data_options){.seed = 1, .validate = 0.25});
    take(data, VN_DATA_TRAIN, 0, 30, a, NULL);
    take(data, VN_DATA_HELD, 0, 10, held_a, NULL);
    const uint32_t fingerprint = vn_data_get_info(data)->fingerprint;
    vn_data_close(&data);
    data = open_made(&(vn_data_options){.seed = 2, .validate = 0.25});
    take(data, VN_DATA_TRAIN, 0, 30, b, NULL);
    take(data, VN_DATA_HELD, 0, 10, held_b, NULL);
    assert_memory_not_equal(a, b, 30 * sizeof *a);
    assert_memory_not_equal(held_a, held_b, sizeof held_a);
    /* of the data, not of its order */
    assert_int_equal(vn_data_get_info(data)->fingerprint, fingerprint);
    vn_data_close(&data);
}

static void refuses_impossible_batches(void **state) {
    (void)state;
    float x[SIZE];
    vn_err err = {0};
    vn_data *data = open_made(&(vn_data_options){.validate = 0.02}); /* of 40: less than one */
    assert_int_equal(vn_data_get_info(data)->held, 0);
    assert_int_equal(vn_data_batch(data, VN_DATA_HELD, 0, 1, x, NULL, &err), VN_BAD_ARGUMENT);
    assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, -1, x, NULL, &err), VN_BAD_ARGUMENT);
    assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 0, NULL, NULL, &err), VN_OK);
    vn_data_close(&data);
    vn_data_close(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_are_permutations),
        cmocka_unit_test(positions_are_all_that_counts),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(refuses_impossible_batches),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
