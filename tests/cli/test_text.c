/* test_text.c - text from files and names on its way to a terminal: no control, change of direction
 * or broken UTF-8 gets there, in whatever part of the output it stands; in JSON it is escaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/support_program.h"
#include "support/scratch.h"

/* A class that clears the screen, sets the title (C0 and C1), begins a line of its own and turns it
 * around. */
#define HOSTILE  "\\u001b[2J\\u009d0;owned\\u0007\\nvane: done\\u007f\\u202eevil\\u2028\\u200f"
#define SHOWN    "?[2J?0;owned? vane: done??evil??"
#define HARMLESS "Größe 靴 жλ"

static int prepare(void **state) {
    scratch_enter(state);
    scratch_write_text("hostile.json",
                       "{\"classes\": [{\"name\": \"" HOSTILE
                       "\", \"components\": [{\"weight\": 1, \"mean\": [-1, 0], \"std\": 0.3}]},"
                       "{\"name\": \"" HARMLESS
                       "\", \"components\": [{\"weight\": 1, \"mean\": [1, 0], \"std\": 0.3}]}]}");
    return 0;
}

/* Line ends are the program's own; no other control and no change of direction stands in the text,
 * which is UTF-8. */
static void expect_harmless(const char *text) {
    static const char *const others[] = {"\xC2\x80",     "\xC2\x9B",     "\xC2\x9D", "\xE2\x80\xAE",
                                         "\xE2\x80\xA8", "\xE2\x80\x8F", "\xFF"};
    for (const char *c = text; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7F)
            fail_msg("byte %02x in: %s", *c, text);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strstr(text, others[i])) fail_msg("%s is in: %s", others[i], text);
}

static void expect_shown(const outcome *o, const char *words) {
    expect_harmless(o->out);
    expect_harmless(o->err);
    if (!strstr(o->out, words) && !strstr(o->err, words))
        fail_msg("\"%s\" is not in: %s", words, o->out);
}

static void test_class_names_give_the_terminal_no_orders(void **state) {
    (void)state;
    expect_shown(expect_status(0, "info hostile.json"), SHOWN);
    expect_shown(expect_status(0, "info hostile.json"), HARMLESS);
    expect_shown(expect_status(2, "sample hostile.json --class \"$(printf '%s')\" --out no.npy",
                               "\\033[2J\\302\\2330"),
                 "unknown class '?[2J?0'");
}

static void test_text_chunks_give_the_terminal_no_orders(void **state) {
    (void)state;
    expect_status(0, "sample hostile.json --class 0 -n 10 --steps 2 --out told.png");
    expect_shown(expect_status(0, "info told.png"), "class     " SHOWN "\n");
    expect_status(0, "sample hostile.json --class 0 -n 10 --steps 2 --out told.safetensors");
    expect_shown(expect_status(0, "info told.safetensors"), SHOWN);
}

static void test_names_of_files_give_the_terminal_no_orders(void **state) {
    (void)state;
    expect_shown(expect_status(0, "sample hostile.json -n 10 --steps 2 --out \"$(printf '%s')\"",
                               "\\033]0;owned\\007\\377\\302\\233.npy"),
                 "?]0;owned???.npy: 10 samples");
    expect_shown(expect_status(1, "info \"$(printf '%s')\"", "\\033]0;owned\\007.png"),
                 "?]0;owned?.png");
    expect_shown(expect_status(2, "sample \"--$(printf '%s')\"", "\\033]0;owned\\007"),
                 "?]0;owned?");
}

/* JSON says all of it, in escapes. */
static void test_json_escapes_what_a_terminal_would_obey(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "info hostile.json --json");
    expect_harmless(o->out);
    json_t *object = expect_json(o);
    const json_t *first = json_array_get(json_object_get(object, "classes"), 0);
    json_t *same = json_loads("[\"" HOSTILE "\"]", 0, NULL);
    assert_true(json_equal(json_object_get(first, "name"), json_array_get(same, 0)));
    json_decref(same);
    json_decref(object);
    o = expect_status(1, "info \"$(printf '%s')\" --json", "\\033]0;owned\\007\\302\\233.png");
    expect_harmless(o->out);
    expect_harmless(o->err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_names_give_the_terminal_no_orders),
        cmocka_unit_test(test_text_chunks_give_the_terminal_no_orders),
        cmocka_unit_test(test_names_of_files_give_the_terminal_no_orders),
        cmocka_unit_test(test_json_escapes_what_a_terminal_would_obey),
    };
    return cmocka_run_group_tests_name("text on a terminal", tests, prepare, scratch_leave);
}
