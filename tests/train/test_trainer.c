/* test_trainer.c - what a checkpoint must not hold: a weight, an average or a moment that is no
 * number any more. Nothing here is computed by kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "cpu/cpu.h"
#include "train/internal.h"

/* Of each array of each part, each number. */
static void what_is_not_finite_is_not_saved(void **state) {
    (void)state;
    vn_weights *w;
    vn_graph *g;
    const vn_init init = {VN_INIT_ZEROS, 0};
    assert_int_equal(vn_weights_open(&w, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_param_node(g, w, "w", VN_SHAPE(5), VN_LAYOUT_PLAIN, init);
    vn_graph_close(&g);
    enum { FLOATS = 16 }; /* with the gap behind them */
    assert_int_equal(vn_weights_floats(w), FLOATS);
    for (int array = 0; array < 8; array++)
        for (int i = 0; i < FLOATS; i++) {
            float values[8][FLOATS] = {{0}};
            values[array][i] = i % 2 ? NAN : -INFINITY;
            /* nothing is written to find out */
            const vn_device device = {.row = vn_cpu_row_at(0)};
            const vn_train_setup setup = {.device = &device, .run = "/nowhere", .lr = 0.5};
            vn_trainer t = {.s = &setup, .at = {.step = 7, .parts = 2}};
            for (int k = 0; k < 2; k++) {
                float(*of)[FLOATS] = values + 4 * k;
                t.part[k] = (vn_part_state){.floats = FLOATS,
                                            .live = of[0],
                                            .average = of[1],
                                            .moment1 = of[2],
                                            .moment2 = of[3],
                                            .saved_as = &t.at.part[k]};
                t.at.part[k] = (vn_checkpoint_part){.weights = w,
                                                    .live = of[0],
                                                    .average = of[1],
                                                    .moment1 = of[2],
                                                    .moment2 = of[3]};
            }
            vn_err err = {0};
            assert_int_equal(vn_trainer_save(&t, &err), VN_NOT_FINITE);
            assert_string_equal(
                err.text,
                "training diverged: the weights of step 7 are not finite (a smaller learning "
                "rate than 0.5 may help)");
        }
    vn_weights_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_finite_is_not_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
