/* test_log.c - `vane log`: last and least values, the curve in letters, several runs, CSV, JSON and
 * TensorBoard's files, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    FILE *f = NULL;
    if (mkdir("a", 0777) || mkdir("b", 0777) || mkdir("empty", 0777)) return -1;
    f = fopen("a/log.jsonl", "w");
    for (int i = 1; i <= 100; i++) {
        fprintf(f, "{\"step\": %d, \"loss\": %g, \"loss_mean\": %g", 10 * i, 2.0 / i, 1.0 / i);
        if (i % 10 == 0) fprintf(f, ", \"held_loss\": %g", i == 50 ? 0.125 : 0.25);
        fprintf(f, ", \"seconds\": %d}\n", i);
    }
    fclose(f);
    scratch_write_text("b/log.jsonl", "{\"step\": 5, \"loss_mean\": 3, \"new, \\\"key\\\"\": 1}\n"
                                      "damage\n"
                                      "{\"step\": 10, \"loss_mean\": 2, \"seconds\": 125}\n");
    return 0;
}

static void expect_words(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("no \"%s\" in:\n%s", words, text);
}

static void one_run_shows_values_and_curve(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "log a");
    expect_words(o->out, "a: 100 lines\n");
    expect_words(o->out, "held_loss                 0.25         0.125  at step 500\n");
    expect_words(o->out, "seconds                   1:40");
    expect_words(o->out, "* loss_mean   o held_loss   (logarithmic)\n");
    /* plain: no escape, no line beyond 80 columns; the curve begins at the top left */
    assert_null(strchr(o->out, 27));
    expect_words(o->out, "        1 |*\n");
    for (const char *line = o->out, *end; (end = strchr(line, '\n')); line = end + 1)
        assert_true(end - line <= 80);
    assert_string_equal(o->err, "");
    o = expect_status(0, "log a --key loss");
    expect_words(o->out, "        2 |*\n");
    assert_null(strstr(o->out, "o held_loss"));
}

static void several_runs_stand_side_by_side(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "log a b");
    expect_words(o->out, "\na             1000          0.01          0.25");
    expect_words(o->out, "\nb               10             2             -");
    expect_words(o->out, "2:05");
    expect_words(o->out, "\nloss_mean\n"); /* b has no held-out curve */
    expect_words(o->out, "* a   o b");
    expect_words(o->err, "b/log.jsonl: 1 line left out, the first is line 2\n");
}

static void csv_has_all_lines(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "log a --csv");
    const char *first = "step,loss,loss_mean,seconds,held_loss\n10,2,1,1,\n20,1,0.5,2,\n";
    assert_memory_equal(o->out, first, strlen(first));
    expect_words(o->out, "\n500,0.04,0.02,50,0.125\n");
    o = expect_status(0, "log b a --csv");
    first = "run,step,loss_mean,\"new, \"\"key\"\"\",seconds,loss,held_loss\n\"b\",5,3,1,,,\n"
            "\"b\",10,2,,125,,\n\"a\",10,1,,1,2,\n";
    assert_memory_equal(o->out, first, strlen(first));
}

static void json_has_last_and_least(void **state) {
    (void)state;
    json_t *all = expect_json(expect_status(0, "log a b --json"));
    const json_t *runs = json_object_get(all, "runs"), *a = json_array_get(runs, 0);
    assert_int_equal(json_array_size(runs), 2);
    assert_string_equal(json_string_value(json_object_get(a, "run")), "a");
    assert_int_equal(json_integer_value(json_object_get(a, "lines")), 100);
    const json_t *last = json_object_get(a, "last"), *least = json_object_get(a, "least");
    assert_true(json_number_value(json_object_get(last, "step")) == 1000);
    assert_true(json_number_value(json_object_get(last, "held_loss")) == 0.25);
    const json_t *held = json_object_get(least, "held_loss");
    assert_true(json_number_value(json_object_get(held, "value")) == 0.125);
    assert_int_equal(json_integer_value(json_object_get(held, "step")), 500);
    assert_null(json_object_get(least, "loss"));
    json_decref(all);
}

/* tests/report holds the bytes; here is where they go, and that a log which grows keeps them. */
static void tensorboard_gets_a_file_for_each_run(void **state) {
    (void)state;
    assert_int_equal(mkdir("c", 0777), 0);
    scratch_write_text("c/log.jsonl", "{\"step\": 1, \"loss\": 2, \"seconds\": 7}\n");
    expect_status(0, "log a ./c --tensorboard tb");
    size_t size, longer_size;
    char *bytes = scratch_read("tb/c/events.out.tfevents.0.vane", &size);
    assert_true(exists("tb/a/events.out.tfevents.0.vane"));
    scratch_write_text("c/log.jsonl", "{\"step\": 1, \"loss\": 2, \"seconds\": 7}\n"
                                      "{\"step\": 2, \"loss\": 1, \"seconds\": 9000}\n");
    expect_status(0, "log c --tensorboard tb");
    char *longer = scratch_read("tb/c/events.out.tfevents.0.vane", &longer_size);
    assert_true(longer_size > size);
    assert_memory_equal(longer, bytes, size);
    free(bytes);
    free(longer);
    /* what leads out of DIR does not */
    expect_status(0, "log ../\"$(basename \"$PWD\")\"/c --tensorboard tb");
    assert_int_equal(scratch_count("tb"), 3);
}

static void mistakes_are_one_line(void **state) {
    (void)state;
    expect_complaint(expect_status(2, "log"), "RUN... is missing: runs, also");
    expect_complaint(expect_status(1, "log nothing"), "nothing: there is no such run");
    expect_complaint(expect_status(1, "log empty"), "empty: has no log.jsonl, so it is no run");
    expect_complaint(expect_status(2, "log a --key los"), "no run has the key 'los'; did you mean");
    expect_complaint(expect_status(2, "log a a"), "a is given twice");
    const outcome *o = expect_status(2, "log a --csv --json");
    expect_words(o->err, "--csv has no effect beside --json");
    expect_complaint(expect_status(2, "log a --csv --key loss"),
                     "--key has no effect beside --csv");
    expect_complaint(expect_status(2, "log a b --key loss --key loss_mean"),
                     "--key is given 2 times");
    scratch_write_text("file", "");
    expect_complaint(expect_status(1, "log a --tensorboard file"), "file");
    expect_complaint(expect_status(2, "train a --tensorboard x"), "vane log RUN --tensorboard DIR");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_shows_values_and_curve),
        cmocka_unit_test(several_runs_stand_side_by_side),
        cmocka_unit_test(csv_has_all_lines),
        cmocka_unit_test(json_has_last_and_least),
        cmocka_unit_test(tensorboard_gets_a_file_for_each_run),
        cmocka_unit_test(mistakes_are_one_line),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
