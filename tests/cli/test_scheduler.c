/* test_scheduler.c - pipelines whose scheduler_config.json diffusers saved, through the program: they are opened, and drawn from
 * as their scheduler says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define CASES VN_SOURCE_DIR "/tests/cases/"

/* "lambda_min_clipped": -Infinity, as Python writes it for every DPM-Solver. */
static void test_a_config_with_infinity_is_opened(void **state) {
    (void)state;
    expect_status(0, "sample " CASES "minus_infinity -n 2 --steps 4 --out x.npy");
    expect_status(0, "info " CASES "minus_infinity");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_config_with_infinity_is_opened),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
