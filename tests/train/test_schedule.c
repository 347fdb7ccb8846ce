/* test_schedule.c - the learning rate and the decay of the weights' average by step, and the log:
 * the parts of a run that are numbers and lines, without a network. Nothing here is computed by
 * kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/scratch.h"
#include "train/internal.h"

/* ---- the learning rate ----------------------------------------------------------------------- */

static void the_rate_warms_up_in_a_line(void **state) {
    (void)state;
    const vn_train_setup s = {.steps = 1000, .lr = 0.3, .warmup = 9};
    for (int64_t step = 0; step < 9; step++)
        expect_small(fabs(vn_train_rate(&s, step, 0) - 0.3 * (double)(step + 1) / 10), 1e-15);
    assert_true(vn_train_rate(&s, 9, 0) == 0.3 && vn_train_rate(&s, 999, 1) == 0.3);
    const vn_train_setup none = {.steps = 1000, .lr = 0.3};
    assert_true(vn_train_rate(&none, 0, 0) == 0.3);
}

static void a_cosine_falls_from_the_rate_to_nothing(void **state) {
    (void)state;
    const vn_train_setup s = {.steps = 1000, .lr = 2, .rate = VN_RATE_COSINE};
    assert_true(vn_train_rate(&s, 0, 0) == 2);
    expect_small(fabs(vn_train_rate(&s, 500, 0.5) - 1), 1e-15);
    expect_small(fabs(vn_train_rate(&s, 250, 0.25) - (1 + sqrt(0.5))), 1e-15);
    expect_small(fabs(vn_train_rate(&s, 1000, 1)), 1e-15);
    expect_small(fabs(vn_train_rate(&s, 2000, 2)), 1e-15); /* past the end, not up again */
    for (int i = 1; i <= 100; i++)
        assert_true(vn_train_rate(&s, i, i / 100.0) < vn_train_rate(&s, i, (i - 1) / 100.0));
}

/* A run by minutes may make fewer steps than the warm-up has: it ends after a part of the time. */
static void a_run_by_time_warms_up_by_time_at_the_latest(void **state) {
    (void)state;
    const vn_train_setup s = {.seconds = 60, .lr = 1, .warmup = 1000000};
    expect_small(vn_train_rate(&s, 3, 0), 1e-5);
    expect_small(fabs(vn_train_rate(&s, 3, 0.025) - 0.5), 1e-15);
    assert_true(vn_train_rate(&s, 3, 0.05) == 1 && vn_train_rate(&s, 3, 0.9) == 1);
}

/* ---- the average ----------------------------------------------------------------------------- */

static void a_constant_decay_begins_short(void **state) {
    (void)state;
    const vn_train_setup s = {.ema = 0.99};
    expect_small(fabs(vn_train_ema(&s, 0) - 2.0 / 11), 1e-15);
    expect_small(fabs(vn_train_ema(&s, 9) - 11.0 / 20), 1e-15);
    assert_true(vn_train_ema(&s, 100000) == 0.99);
    const vn_train_setup none = {.ema = 0};
    assert_true(vn_train_ema(&none, 5) == 0); /* the average is the weights */
}

/* Averaging the numbers 1 .. n by the power function of exponent gamma weighs k by k^gamma, whose
 * mean is n (gamma + 1)/(gamma + 2) whatever n is, but for terms of the order of 1. */
static void the_power_function_remembers_a_part_of_the_run(void **state) {
    (void)state;
    const vn_train_setup s = {.ema = -1};
    const double gamma = 6.94;
    double mean = 1e9; /* the first step forgets it */
    for (int64_t step = 0; step < 20000; step++) {
        const double keep = vn_train_ema(&s, step);
        assert_true(keep >= 0 && keep < 1);
        mean = keep * mean + (1 - keep) * (double)(step + 1);
        if (step + 1 == 200 || step + 1 == 20000)
            expect_below("steps from the mean of the power function",
                         fabs(mean - (double)(step + 1) * (gamma + 1) / (gamma + 2)), 2);
    }
}

/* ---- the log --------------------------------------------------------------------------------- */

static vn_trainer trainer_at(const vn_train_setup *s, int64_t step) {
    return (vn_trainer){.s = s,
                        .at = {.step = step},
                        .loss = 0.5,
                        .smooth = 0.25,
                        .held_loss = (double)NAN,
                        .grad_norm = 3,
                        .log = {.fd = -1}};
}

static void write_lines(const vn_train_setup *s, int64_t from, int64_t to) {
    vn_err err = {0};
    vn_trainer t = trainer_at(s, from);
    if (vn_train_log_open(&t, &err)) fail_msg("%s", err.text);
    for (t.at.step = from + 1; t.at.step <= to; t.at.step++)
        if (vn_train_log_line(&t, 0.125, false, &err)) fail_msg("%s", err.text);
    vn_train_log_close(&t);
}

/* The steps of the lines, as a text; each line is whole. */
static const char *steps_of(const char *path) {
    static char text[256];
    size_t size, used = 0;
    char *log = scratch_read(path, &size);
    assert_true(size == 0 || log[size - 1] == '\n');
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        int step = 0;
        assert_int_equal(sscanf(line, "{\"step\": %d", &step), 1);
        assert_int_equal(line[strlen(line) - 1], '}');
        used += (size_t)snprintf(text + used, sizeof text - used, "%d ", step);
    }
    free(log);
    return text;
}

static void a_line_says_what_is_known(void **state) {
    (void)state;
    const vn_train_setup s = {.run = ".", .batch = 4};
    size_t size;
    write_lines(&s, 0, 1);
    char *line = scratch_read("log.jsonl", &size);
    assert_non_null(strstr(line, "{\"step\": 1, \"loss\": 0.5, \"loss_mean\": 0.25, "
                                 "\"learning_rate\": 0.125, \"grad_norm\": 3, "));
    assert_null(strstr(line, "held_loss")); /* nothing was held out */
    free(line);
}

/* A run goes on from its checkpoint: lines of later steps, and half a line, are of steps that will
 * be made again. */
static void lines_after_the_checkpoint_are_dropped(void **state) {
    (void)state;
    const vn_train_setup s = {.run = ".", .batch = 4};
    scratch_write_text("log.jsonl", "");
    write_lines(&s, 0, 5);
    assert_string_equal(steps_of("log.jsonl"), "1 2 3 4 5 ");
    write_lines(&s, 3, 4);
    assert_string_equal(steps_of("log.jsonl"), "1 2 3 4 ");
    scratch_write_text("log.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"lo");
    write_lines(&s, 2, 3);
    assert_string_equal(steps_of("log.jsonl"), "1 3 ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_warms_up_in_a_line),
        cmocka_unit_test(a_cosine_falls_from_the_rate_to_nothing),
        cmocka_unit_test(a_run_by_time_warms_up_by_time_at_the_latest),
        cmocka_unit_test(a_constant_decay_begins_short),
        cmocka_unit_test(the_power_function_remembers_a_part_of_the_run),
        cmocka_unit_test(a_line_says_what_is_known),
        cmocka_unit_test(lines_after_the_checkpoint_are_dropped),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
