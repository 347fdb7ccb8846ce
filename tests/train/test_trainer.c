/* test_trainer.c - what a checkpoint must not hold: a weight, an average or a moment that is no
 * number any more. Nothing here is computed by kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "train/internal.h"

static void what_is_not_finite_is_not_saved(void **state) {
    (void)state;
    enum { FLOATS = 5 };
    for (int array = 0; array < 4; array++)
        for (int i = 0; i < FLOATS; i++) {
            float values[4][FLOATS] = {{0}};
            values[array][i] = i % 2 ? NAN : -INFINITY;
            /* nothing is written to find out */
            const vn_train_setup setup = {.run = "/nowhere", .lr = 0.5};
            vn_trainer t = {.s = &setup,
                            .floats = FLOATS,
                            .live = values[0],
                            .average = values[1],
                            .moment1 = values[2],
                            .moment2 = values[3],
                            .at = {.step = 7,
                                   .live = values[0],
                                   .average = values[1],
                                   .moment1 = values[2],
                                   .moment2 = values[3]}};
            vn_err err = {0};
            assert_int_equal(vn_trainer_save(&t, &err), VN_NOT_FINITE);
            assert_string_equal(
                err.text,
                "training diverged: the weights of step 7 are not finite (a smaller learning "
                "rate than 0.5 may help)");
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_finite_is_not_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
