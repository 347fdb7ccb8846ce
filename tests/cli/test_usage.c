/* test_usage.c - the command line itself: help, mistakes in typing, what programs read, and how
 * fast it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"
#include "vane.h"

static const char *const verbs[] = {"train",  "sample", "forward", "eval", "sweep",
                                    "tokens", "log",    "list",    "info", "bench"};
enum { verb_count = sizeof verbs / sizeof verbs[0] };

static void expect_text(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("'%s' is not in: %s", words, text);
}

/* ---- the environment ------------------------------------------------------------------------- */

static void test_an_environment_that_cannot_be_read_is_refused(void **state) {
    (void)state;
    static const char *const commands[] = {"train points:moons --out refused",
                                           "sample points:moons --out refused", "info points:moons",
                                           "sample --like no.png"};
    assert_int_equal(setenv("VANE_MEMORY", "600MB", 1), 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        expect_complaint(run_vane("%s", commands[i]),
                         "VANE_MEMORY in the environment is \"600MB\": a number of bytes above 0, "
                         "or one with K, M, G or T, such as 600M");
    assert_int_equal(unsetenv("VANE_MEMORY"), 0);
    assert_false(exists("refused"));
}

/* ---- help ------------------------------------------------------------------------------------ */

static void test_help_names_every_verb(void **state) {
    (void)state;
    const char *ways[] = {"", "--help", "-h", "help"};
    for (size_t w = 0; w < 4; w++) {
        const outcome *o = expect_status(0, "%s", ways[w]);
        for (size_t i = 0; i < verb_count; i++) expect_text(o->out, verbs[i]);
        assert_string_equal(o->err, "");
    }
    const outcome *o = expect_status(0, "--version");
    char version[64];
    snprintf(version, sizeof version, "vane %d.%d.%d\n", VN_VERSION_MAJOR, VN_VERSION_MINOR,
             VN_VERSION_PATCH);
    /* the first line; what follows is in test_words */
    assert_ptr_equal(strstr(o->out, version), o->out);
}

static void test_help_of_a_verb_opens_with_an_example(void **state) {
    (void)state;
    for (size_t i = 0; i < verb_count; i++) {
        char example[64];
        snprintf(example, sizeof example, "Example: vane %s ", verbs[i]);
        const outcome *o = expect_status(0, "%s --help", verbs[i]);
        assert_ptr_equal(strstr(o->out, example), o->out);
        expect_text(o->out, "--json");
        for (const char *line = o->out; line; line = strchr(line + 1, '\n')) {
            if (strcspn(line + 1, "\n") > 96)
                fail_msg("a line of %s --help is too long: %.120s", verbs[i], line);
        }
    }
    expect_status(0, "train data --out run --help"); /* help wins, and does nothing else */
    assert_false(exists("run"));
}

static void test_help_shows_defaults_and_table_rows(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "train --help");
    expect_text(o->out, "unet2d");
    o = expect_status(0, "sample --help");
    expect_text(o->out, "-n, --count N");
    expect_text(o->out, "see: vane list samplers");
    expect_text(expect_status(0, "bench --help")->out, "(default 64)");
}

/* ---- mistakes -------------------------------------------------------------------------------- */

static void test_mistakes_are_one_line_and_status_2(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } mistakes[] = {
        {"trian x", "unknown verb 'trian'; did you mean train?"},
        {"frobnicate", "unknown verb 'frobnicate'; see: vane --help"},
        {"train", "DATA is missing"},
        {"train data", "--out RUN is missing"},
        {"train data --out run --stpes 3", "unknown flag --stpes; did you mean --steps?"},
        {"train data --out run --step=3", "unknown flag --step; did you mean --steps?"},
        {"sample m --out o -k 3", "unknown flag -k"},
        {"sample m --out o --xyzzyx", "unknown flag --xyzzyx; see: vane sample --help"},
        {"sample m --out a --out b", "--out is given twice"},
        {"sample m --out a -n 3 --count 4", "--count is given twice"},
        {"sample m --trace --trace --out a", "--trace is given twice"},
        {"sample m --out", "--out needs a value"},
        {"sample m --out --steps 3", "--out needs a value"},
        {"sample m --out a --json=1", "--json takes no value"},
        {"sample m --out a --steps 2.5", "--steps: expected a whole number, not '2.5'"},
        {"sample m --out a --steps 99999999999", "--steps: expected a whole number"},
        {"sample m --out a --steps ''", "--steps: expected a whole number, not ''"},
        {"sample m --out a --seed -1", "--seed: expected a whole number from 0"},
        {"sample m --out a --guidance 1,,2",
         "--guidance: expected numbers with commas between them, or from:to:step, not '1,,2'"},
        {"sample m --out a --guidance nan", "--guidance: expected numbers"},
        {"sample m --out a --guidance 1,2x", "--guidance: expected numbers"},
        {"train data --out a --lr fast", "--lr: expected a number, not 'fast'"},
        {"train data --out a --lr inf", "--lr: expected a number, not 'inf'"},
        {"sample m --out a --seed 9223372036854775808",
         "--seed: expected a whole number from 0 to 2^63-1"},
        {"train data --out a --lr -1", "--lr: expected a number from 0 up, not '-1'"},
        {"train data --out a --batch -1", "--batch: expected a whole number from 0 up, not '-1'"},
        {"bench m --mode tran", "--mode: expected infer|train|sample, not 'tran'"},
        {"bench m --sampler euler",
         "--sampler has no effect with --mode infer: it needs --mode sample"},
        {"bench m --guidance 2 --mode train",
         "--guidance has no effect with --mode train: it needs --mode sample"},
        {"bench m --profile --mode sample",
         "--profile has no effect with --mode sample: it needs --mode infer|train"},
        {"bench m --recompute",
         "--recompute has no effect with --mode infer: it needs --mode train"},
        {"bench m --recompute --mode sample", "it needs --mode train"},
        {"bench m --microbatches 2",
         "--microbatches has no effect with --mode infer: it needs --mode train"},
        {"sample m --out a --steps 0", "--steps: expected a whole number above 0, not '0'"},
        {"sample m --out a --count 0", "--count: expected a whole number above 0, not '0'"},
        {"sample m --out a --batch 0", "--batch: expected a whole number above 0, not '0'"},
        {"eval m --metric nll -n 0", "-n: expected a whole number above 0, not '0'"},
        {"train data --out a --steps 0", "--steps: expected a whole number above 0, not '0'"},
        {"train data --out a --minutes 0.0", "--minutes: expected a number above 0, not '0.0'"},
        {"train data --out a --minutes 1 --size 0",
         "--size: expected a whole number above 0, or -1: as the files are, not '0'"},
        {"train data --out a --steps 1 --save-every 0",
         "--save-every: expected a whole number above 0, not '0'"},
        {"train data --out a --steps 1 --preview-every 0",
         "--preview-every: expected a whole number above 0, or -1 for none, not '0'"},
        {"train data --out a --steps 1 --size -3", "--size -3 is outside [-1, 4096]"},
        {"train data --out a --lr 0x1p-3", "--lr: expected a number, not '0x1p-3'"},
        {"train data --out a --lr ' 1'", "--lr: expected a number, not ' 1'"},
        {"train data --out a --minutes infinity", "--minutes: expected a number, not 'infinity'"},
        {"train data --out a --minutes 1e999", "--minutes: expected a number, not '1e999'"},
        {"sample m --out a --guidance 1,0x2", "--guidance: expected numbers"},
        {"sample m --out a --sigmas inf,1,0", "--sigmas: expected numbers"},
        {"sample m --out a --seed 0x10", "--seed: expected a whole number"},
        {"sample m --out a --count ' 3'", "--count: expected a whole number, not ' 3'"},
        {"sample m --out a.npy --trace", "--trace has no effect on a.npy"},
        {"eval m", "--metric NAME is missing"},
        {"eval m --metric nll --exact --probes 4", "--probes has no effect beside --exact"},
        {"eval m --metric nll --rtol 0x", "--rtol: expected a number"},
        {"sample m n --out a", "one argument too many: 'n'"},
        {"list sampler", "unknown kind 'sampler'; did you mean samplers?"},
        {"list --threads 2", "unknown flag --threads"},
        {"bench m --threads -3", "--threads"},
        {"bench m --cpu z80", "z80"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        expect_complaint(expect_status(2, "%s", mistakes[i].words), mistakes[i].complaint);
    }
}

static void test_both_ways_to_give_a_value(void **state) {
    (void)state;
    make_world();
    expect_status(0, "sample world.json --out a.npy --count 5 --seed 3 --quiet");
    expect_status(0, "sample --seed=3 world.json -n 5 --out=b.npy --quiet");
    expect_same_file("a.npy", "b.npy");
}

static void test_spaces_in_lists_do_not_count(void **state) {
    (void)state;
    make_world();
    expect_status(0, "sample world.json --out a.npy -n 3 --guidance 1,2 --guide "
                     "interval:lo=0.1,hi=0.9,cfg --quiet");
    expect_status(0, "sample world.json --out b.npy -n 3 --guidance '1, 2 ' --guide 'interval: lo "
                     "= 0.1, hi=0.9 , cfg' "
                     "--quiet");
    expect_same_file("a.npy", "b.npy");
}

/* ---- list ------------------------------------------------------------------------------------ */

static void test_list_shows_every_row(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "list");
    expect_text(o->out, "samplers");
    expect_text(o->out, "unet2d");
    o = expect_status(0, "list samplers");
    expect_text(o->out, "heun");
    expect_text(o->out, "source: ");
}

static void test_list_json_has_names_summaries_and_parameters(void **state) {
    (void)state;
    json_t *all = expect_json(expect_status(0, "list --json"));
    const char *kind;
    json_t *rows, *row, *param;
    size_t i, k, params = 0;
    json_object_foreach(all, kind, rows) {
        json_array_foreach(rows, i, row) {
            assert_true(json_string_length(json_object_get(row, "name")) > 0);
            assert_true(json_string_length(json_object_get(row, "summary")) > 0);
            json_array_foreach(json_object_get(row, "params"), k, param) {
                assert_true(json_is_number(json_object_get(param, "default")));
                params++;
            }
        }
    }
    assert_true(params > 0);

    json_t *samplers = expect_json(expect_status(0, "list samplers --json"));
    assert_int_equal(json_object_size(samplers), 1);
    assert_true(
        json_equal(json_object_get(samplers, "samplers"), json_object_get(all, "samplers")));
    json_decref(samplers);
    json_decref(all);
}

/* ---- speed ----------------------------------------------------------------------------------- */

/* The aim is 100 ms; the bound leaves room for a busy machine and for sanitizers. The least of five
 * counts. */
static void test_help_is_there_at_once(void **state) {
    (void)state;
    double least = 1e9;
    for (int i = 0; i < 5; i++) {
        const outcome *o = expect_status(0, "--help");
        if (o->seconds < least) least = o->seconds;
    }
    assert_true(least < 0.3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_environment_that_cannot_be_read_is_refused),
        cmocka_unit_test(test_help_names_every_verb),
        cmocka_unit_test(test_help_of_a_verb_opens_with_an_example),
        cmocka_unit_test(test_help_shows_defaults_and_table_rows),
        cmocka_unit_test(test_mistakes_are_one_line_and_status_2),
        cmocka_unit_test(test_both_ways_to_give_a_value),
        cmocka_unit_test(test_spaces_in_lists_do_not_count),
        cmocka_unit_test(test_list_shows_every_row),
        cmocka_unit_test(test_list_json_has_names_summaries_and_parameters),
        cmocka_unit_test(test_help_is_there_at_once),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
