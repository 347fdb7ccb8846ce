/* test_shift.c - pictures that are moved by some pixels: each pixel is that of the formula, with
 * edges repeated; which way is a function of the seed and the position alone, evenly drawn;
 * held-out pictures stay; where it has no sense it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "data/internal.h"
#include "support/scratch.h"
#include "support_data.h"

enum { H = 5, W = 7, C = 2, SIZE = H * W * C };

static int64_t within(int64_t i, int64_t n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static void pixels_move_and_edges_repeat(void **state) {
    (void)state;
    const vn_shape sample = VN_SHAPE(C, H, W);
    for (int64_t dy = 1 - H; dy < H; dy++)
        for (int64_t dx = 1 - W; dx < W; dx++) {
            float x[SIZE];
            for (int i = 0; i < SIZE; i++) x[i] = (float)i;
            vn_shift_picture(&sample, dy, dx, x);
            for (int64_t i = 0; i < H; i++)
                for (int64_t j = 0; j < W; j++)
                    for (int64_t k = 0; k < C; k++) {
                        const int64_t from = (within(i - dy, H) * W + within(j - dx, W)) * C + k;
                        assert_true(x[(i * W + j) * C + k] == (float)from);
                    }
        }
}

/* Each of the 5 x 5 shifts is drawn for a 25th of the positions, within five deviations. */
static void shifts_are_drawn_evenly(void **state) {
    (void)state;
    enum { MOST = 2, SIDES = 2 * MOST + 1, DRAWS = 25000 };
    int count[SIDES][SIDES] = {{0}};
    for (uint64_t i = 0; i < DRAWS; i++) {
        int64_t dy, dx, again[2];
        vn_draw_shift(MOST, 4, i, &dy, &dx);
        vn_draw_shift(MOST, 4, i, &again[0], &again[1]);
        assert_true(dy == again[0] && dx == again[1]);
        assert_true(dy >= -MOST && dy <= MOST && dx >= -MOST && dx <= MOST);
        count[dy + MOST][dx + MOST]++;
    }
    for (int i = 0; i < SIDES * SIDES; i++)
        assert_true(abs(count[i / SIDES][i % SIDES] - DRAWS / 25) < 5 * 31);
}

/* ---- data ------------------------------------------------------------------------------------ */

enum { N = 40, SIDE = 6, MANY = 64, PIXELS = SIDE * SIDE };

static void take(const vn_data_options *options, vn_data_part part, float *x) {
    vn_data *data = must_open("train-images-idx3-ubyte", options);
    assert_int_equal(vn_data_batch(data, part, 3, MANY, x, NULL, NULL), VN_OK);
    vn_data_close(&data);
}

/* Those that are trained on are the unmoved ones, moved by what is drawn for their position; those
 * that are held out stay. */
static void pictures_move_in_training_alone(void **state) {
    (void)state;
    static float plain[MANY * PIXELS], moved[MANY * PIXELS];
    const vn_shape sample = VN_SHAPE(1, SIDE, SIDE);
    vn_data_options options = {.seed = 9, .validate = 0.2, .flip = true};
    make_idx("train", N, SIDE, SIDE, false);
    for (int held = 0; held < 2; held++) {
        const vn_data_part part = held ? VN_DATA_HELD : VN_DATA_TRAIN;
        options.shift = 0;
        take(&options, part, plain);
        options.shift = 2;
        take(&options, part, moved);
        for (int i = 0; i < MANY && !held; i++) {
            int64_t dy, dx;
            vn_draw_shift(2, options.seed, 3 + (uint64_t)i, &dy, &dx);
            vn_shift_picture(&sample, dy, dx, plain + i * PIXELS);
        }
        assert_memory_equal(plain, moved, sizeof plain);
    }
}

static void shifts_without_sense_are_refused(void **state) {
    (void)state;
    make_idx("train", N, SIDE, SIDE, false);
    must_refuse("train-images-idx3-ubyte", &(vn_data_options){.shift = 3}, VN_BAD_ARGUMENT,
                "shift=3 pixels of pictures of 6x6: it has to be less than half a side");
    must_refuse("points:moons", &(vn_data_options){.shift = 1}, VN_BAD_ARGUMENT,
                "shift has no effect on points");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_move_and_edges_repeat),
        cmocka_unit_test(shifts_are_drawn_evenly),
        cmocka_unit_test(pictures_move_in_training_alone),
        cmocka_unit_test(shifts_without_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
