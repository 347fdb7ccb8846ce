/* test_options.c - the library's options and the program's flags are the same ones: every option
 * that `vane list options` has is a flag of its verb, with the help that the row has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

/* Options whose flag is the program's own, or another one of the verb. */
static const struct {
    const char *kind, *name, *flag; /* NULL: none */
} other[] = {{"sample", "label", NULL},
             {"context", "distributed", NULL}, /* what trains always is */
             {"eval", "label", NULL},
             {"bench", "train", NULL},
             {"bench-sampling", "steps", NULL},
             {"likelihood", "seed", NULL},
             {"bench-sampling", "batch", NULL},
             {"sample", "noise_file", "noise"},
             {"sample", "observed_file", "observe"},
             {"sample", "forward_operator", "operator"},
             {"sample", "init_file", "init"}};

/* NULL: they are of programs alone. */
static const char *verb_of(const char *kind) {
    static const struct {
        const char *kind, *verb;
    } verbs[] = {{"autoencoder", NULL},
                 {"context", "train"},
                 {"model", "eval"},
                 {"likelihood", "eval"},
                 {"bench-sampling", "bench"}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].kind, kind)) return verbs[i].verb;
    return kind;
}

/* One blank for all between two words, as the help breaks its lines where they are full. */
static char *squeeze(const char *text) {
    char *out = malloc(strlen(text) + 1), *to = out;
    assert_non_null(out);
    for (; *text; text++) {
        const char c = *text == '\n' ? ' ' : *text;
        if (c != ' ' || to == out || to[-1] != ' ') *to++ = c;
    }
    *to = '\0';
    return out;
}

static bool flag_of(const char *kind, const char *name, char flag[64]) {
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        if (strcmp(other[i].kind, kind) != 0 || strcmp(other[i].name, name) != 0) continue;
        if (other[i].flag) snprintf(flag, 64, "--%s ", other[i].flag);
        return other[i].flag != NULL;
    }
    snprintf(flag, 64, "--%s ", name);
    for (char *c = flag; (c = strchr(c, '_'));) *c = '-';
    return true;
}

/* The flag, the word for its value, and then the row's help. */
static void expect_flag(const char *help, const char *kind, const json_t *option) {
    const char *name = json_string_value(json_object_get(option, "name"));
    const char *words = json_string_value(json_object_get(option, "help"));
    char flag[64];
    if (!flag_of(kind, name, flag)) return;
    for (const char *at = help; (at = strstr(at, flag)); at++) { /* examples name flags too */
        const char *said = strstr(at, words);
        if (said && said - at <= 40) return;
    }
    fail_msg("%s %s: %sis not followed by '%s'", kind, name, flag, words);
}

static void every_option_is_a_flag_with_the_help_of_its_row(void **state) {
    (void)state;
    json_t *all = expect_json(expect_status(0, "list options --json"));
    const char *kind;
    json_t *options, *option;
    size_t i, rows = 0;
    assert_int_equal(json_object_size(all), 11);
    json_object_foreach(all, kind, options) {
        if (!verb_of(kind)) continue;
        char *help = squeeze(expect_status(0, "%s --help", verb_of(kind))->out);
        json_array_foreach(options, i, option) {
            expect_flag(help, kind, option);
            rows++;
        }
        free(help);
    }
    assert_true(rows > 60);
    json_decref(all);
}

static void options_are_listed_for_people_and_programs(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "list options train");
    if (!strstr(o->out, "  lr                highest learning rate (number, 0 to 1000000; default "
                        "0.001; 0.004 for"))
        fail_msg("%s", o->out);
    json_t *train = expect_json(expect_status(0, "list options train --json"));
    const json_t *drop = json_array_get(json_object_get(train, "train"), 5),
                 *batch = json_array_get(json_object_get(train, "train"), 6);
    assert_string_equal(json_string_value(json_object_get(drop, "name")), "drop");
    assert_true(json_number_value(json_object_get(drop, "default")) == 0.1);
    assert_true(json_number_value(json_object_get(batch, "max")) == 65536);
    assert_true(json_is_null(json_object_get(batch, "default"))); /* each model has its own */
    assert_string_equal(json_string_value(json_object_get(batch, "otherwise")),
                        "64; 32 for unet2d and text-dit, 16 for autoencoders");
    json_decref(train);
    expect_complaint(expect_status(2, "list options trian"), "did you mean train?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_is_a_flag_with_the_help_of_its_row),
        cmocka_unit_test(options_are_listed_for_people_and_programs),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
