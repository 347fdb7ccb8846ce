/* test_tokens.c - `vane tokens`: what it prints of texts and writes of files, and what it
 * refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define CLIP VN_SOURCE_DIR "/tests/golden/text/clip"

static void test_texts_are_printed_as_tokens(void **state) {
    (void)state;
    assert_string_equal(expect_status(0, "tokens bytes hi")->out,
                        "hi\n     257  <begin>\n     104  h\n     105  i\n     258  <end>\n");
    assert_string_equal(expect_status(0, "tokens bytes hello --length 4")->out,
                        "hello\n     257  <begin>\n     104  h\n     101  e\n     258  <end>\n"
                        "  4 of 7 tokens kept\n");
    const outcome *o = expect_status(0, "tokens " CLIP " 'A  Cat'");
    assert_non_null(strstr(o->out, "a</w>\n"));
    assert_non_null(strstr(o->out, "cat</w>\n"));
    assert_non_null(strstr(expect_status(0, "tokens bytes -- -x")->out, "-x\n"));
    /* what a terminal would obey is not printed */
    assert_null(strchr(expect_status(0, "tokens bytes \"$(printf 'a\\033[2Jb')\"")->out, 27));
}

static void test_json_has_ids_and_tokens(void **state) {
    (void)state;
    json_t *all = expect_json(expect_status(0, "tokens bytes a '' --json"));
    const json_t *texts = json_object_get(all, "texts"), *second = json_array_get(texts, 1);
    assert_string_equal(json_string_value(json_object_get(all, "kind")), "bytes");
    assert_int_equal(json_array_size(texts), 2);
    assert_string_equal(json_string_value(json_object_get(second, "text")), "");
    assert_int_equal(json_integer_value(json_object_get(second, "whole")), 2);
    const json_t *ids = json_object_get(second, "ids");
    assert_int_equal(json_array_size(ids), 3);
    assert_int_equal(json_integer_value(json_array_get(ids, 2)), 256);
    const json_t *tokens = json_object_get(second, "tokens");
    assert_string_equal(json_string_value(json_array_get(tokens, 2)), "<pad>");
    json_decref(all);
}

static void test_lines_of_a_file_are_written(void **state) {
    (void)state;
    scratch_write("in.txt", "abc\nde\n", 7);
    assert_string_equal(
        expect_status(0, "tokens bytes --in in.txt --out ids.safetensors --length 4")->out,
        "ids.safetensors: 2 texts of 4 tokens; 1 cut, the longest has 5\n");
    assert_true(exists("ids.safetensors"));
    json_t *all =
        expect_json(expect_status(0, "tokens bytes --in in.txt --out ids.safetensors --json"));
    assert_int_equal(json_integer_value(json_object_get(all, "length")), 5);
    assert_int_equal(json_integer_value(json_object_get(all, "cut")), 0);
    json_decref(all);
}

static void test_what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
        int status;
    } refused[] = {
        {"tokens", "DIR is missing: a folder with tokenizer.json", 2},
        {"tokens bytes", "TEXT or --in FILE is missing", 2},
        {"tokens bytes a --in in.txt", "texts are given and --in too", 2},
        {"tokens bytes a --out o.safetensors", "--out has no effect without --in FILE", 2},
        {"tokens bytes --in in.txt", "--in needs --out OUT.safetensors", 2},
        {"tokens bytes a --length 0", "--length", 2},
        {"tokens bytes a --length 1", "--length 1 is less than the 2 tokens", 2},
        {"tokens bytes a --lenght 3", "unknown flag --lenght; did you mean --length?", 2},
        {"tokens nowhere a", "nowhere: is neither a folder nor \"bytes\"", 1},
        {"tokens . a", ".: holds neither tokenizer.json nor vocab.json and merges.txt", 1},
        {"tokens bytes \"$(printf 'a\\377')\"", "text 1: a text is not UTF-8", 2},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        expect_complaint(expect_status(refused[i].status, "%s", refused[i].words),
                         refused[i].complaint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_printed_as_tokens),
        cmocka_unit_test(test_json_has_ids_and_tokens),
        cmocka_unit_test(test_lines_of_a_file_are_written),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
