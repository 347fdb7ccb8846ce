/* test_scheduler.c - pipelines whose scheduler_config.json diffusers saved, through the program:
 * they are opened, and drawn from as their scheduler says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

/* What will be done, before it is. */
static void test_info_says_how_a_pipeline_is_sampled(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "info " CASES "clip_sample");
    assert_non_null(strstr(o->out, "DDPMScheduler"));
    assert_non_null(strstr(o->out, "ddpm:variance=small"));
    assert_non_null(strstr(o->out, "leading:offset=0,end=zero"));
    assert_non_null(strstr(o->out, "cfg,clip"));
}

/* The words that a person reads, from the program. */
static void test_refusals_name_class_and_what_to_type(void **state) {
    (void)state;
    scratch_require(system("cp -r " CASES "clip_sample repaint && chmod -R u+w repaint") == 0,
                    "cp");
    scratch_write_text("repaint/scheduler/scheduler_config.json",
                       "{\"_class_name\": \"RePaintScheduler\"}");
    const outcome *o = expect_status(1, "sample repaint -n 1 --steps 2 --out x.npy");
    assert_non_null(strstr(
        o->err,
        "repaint: RePaintScheduler: a run that takes a picture and a mask is not supported;"));
    assert_non_null(strstr(o->err, "--sampler ddim"));
    expect_status(0, "sample repaint -n 1 --steps 2 --sampler ddim --begin scaled --out x.npy");
    expect_status(2, "sample repaint -n 1 --steps 2 --sampler ddim --begin half --out x.npy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_config_with_infinity_is_opened),
        cmocka_unit_test(test_info_says_how_a_pipeline_is_sampled),
        cmocka_unit_test(test_refusals_name_class_and_what_to_type),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
