/* test_prompts.c - prompts as they are typed: from a file, with a run of classes, without a
 * word, in no known bytes, or too long; and a run of texts that is measured and swept. Each
 * mistake is one line that says what is wrong and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define TRAIN "--batch 4 --steps 1 --validate 0.2 --preview-every -1 --quiet"

/* A run of texts, which are names of classes, and one of classes. */
static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_world();
    make_idx("data", 60);
    make_config();
    expect_status(0, "train data --out classes --model tiny.json " TRAIN);
    expect_status(
        0, "train data --out texts --captions class --model "
           "text-dit:depth=1,width=16,heads=2,text_depth=1,text_width=16,text_length=8 " TRAIN);
    return 0;
}

static void write_bytes(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fwrite(bytes, 1, n, f) == n);
    fclose(f);
}

#define DRAW "sample texts -n 2 --steps 1 --out x.png --overwrite --quiet "

static void a_file_has_one_a_line(void **state) {
    (void)state;
    scratch_write_text("two.txt", "a\n\nb");
    expect_status(0, "sample texts -n 3 --steps 1 --prompts two.txt --out x.safetensors --quiet");
    const outcome *o = expect_status(0, "info x.safetensors --json");
    json_t *all = expect_json(o);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(all, "metadata"), "prompts")),
        "[\"a\",\"\",\"b\"]");
    json_decref(all);
}

static void mistakes_are_one_line(void **state) {
    (void)state;
    write_bytes("empty.txt", "", 0);
    write_bytes("zero.txt", "a\0b\n", 4);
    write_bytes("latin.txt", "a boat\nun \xE9t\xE9\n", 14);
    static const struct {
        const char *words, *complaint;
        int status;
    } typed[] = {
        {DRAW "--prompts empty.txt", "--prompts empty.txt: it has no line", 2},
        {DRAW "--prompts zero.txt", "--prompts zero.txt: it is no text", 2},
        {DRAW "--prompts none.txt", "--prompts none.txt: No such file", 2},
        {DRAW "--prompts .", "--prompts .: ", 2},
        {DRAW "--prompts latin.txt", "prompt 2: a text is not UTF-8", 2},
        {DRAW "--prompt \"$(printf 'a\\377')\"", "prompt: a text is not UTF-8", 2},
        {DRAW "--prompt a --negative \"$(printf '\\377')\"", "negative: a text is not UTF-8", 2},
        {DRAW "--prompt a --prompts latin.txt", "--prompt and --prompts exclude each other", 2},
        {DRAW "--prompt a --class 0", "--class and --prompt exclude each other", 2},
        {DRAW "--class 0", "class 0: texts has samples of texts, not of classes; prompts say which",
         2},
        {DRAW "--class boat", "class boat: texts has samples of texts, not of classes", 2},
        {DRAW "--prompt a --guidance 2 --guide negative",
         "negative: class= has to say which, as this model has no classes", 2},
        {"sample classes -n 1 --prompt a --out y.png --quiet",
         "classes: takes no prompts; its samples are of classes", 1},
        {"sample world.json -n 1 --prompt a --out y.png --quiet",
         "world.json: takes no prompts; its samples are of classes", 1},
        {"sample classes -n 1 --negative a --out y.png --quiet", "takes no prompts", 1},
        {"sample classes -n 1 --steps 1 --guidance 2 --guide nag --out y.png --quiet",
         "by nag needs attention to a text, which this model does not have", 2},
        {"sample classes -n 1 --steps 1 --guidance 2 --guide cads --out y.png --quiet",
         "by cads needs conditions that noise can be added to", 2},
        {"eval texts --data data --metric kd --prompts empty.txt", "it has no line", 2},
        {"eval texts --data data --metric kd --class 1",
         "--class 1: samples of texts are of texts; --prompt says which", 2},
        {"eval --samples x.safetensors --data data --metric kd --prompt a",
         "--prompt has no effect on samples that exist", 2},
        {"sweep texts --data data --out s --prompt a --prompts empty.txt",
         "--prompt and --prompts exclude each other", 2},
        {"sweep classes --data data --out s --metric kd -n 8 --steps 1 --prompt a",
         "takes no prompts", 1},
    };
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++)
        expect_complaint(expect_status(typed[i].status, "%s", typed[i].words), typed[i].complaint);
    assert_false(exists("y.png") || exists("s"));
}

/* Before anything else was asked for, under guidance that has nothing to act on. */
static void no_text_is_drawn_as_it_is(void **state) {
    (void)state;
    expect_status(0, "sample texts -n 2 --steps 1 --class null --out none.npy --quiet");
    expect_status(0,
                  "sample texts -n 2 --steps 1 --prompt '' --guidance 3 --out empty.npy --quiet");
    size_t size[2];
    char *none = scratch_read("none.npy", &size[0]), *empty = scratch_read("empty.npy", &size[1]);
    assert_true(size[0] == size[1] && !memcmp(none, empty, size[0]));
    free(none);
    free(empty);
}

/* It is drawn, and said which and how much counts. */
static void a_long_prompt_is_cut_and_said(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "sample texts -n 1 --steps 1 --prompt 'a very long prompt' "
                                        "--out long.png");
    if (!strstr(o->err, "prompt \"a very long prompt\": ") ||
        !strstr(o->err, " tokens, of which the first 8 count"))
        fail_msg("%s", o->err);
}

/* ---- measured -------------------------------------------------------------------------------- */

static void a_run_of_texts_is_measured(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "eval texts --data data --metric kd,coverage -n 20 "
                                             "--steps 1 --json --quiet")),
           *prompts = json_object_get(r, "prompts");
    assert_string_equal(json_string_value(json_object_get(prompts, "from")), "classes");
    assert_int_equal(json_integer_value(json_object_get(prompts, "distinct")), 3);
    json_decref(r);
    /* the run's own data has the captions that it was trained on */
    r = expect_json(expect_status(0, "eval texts --data texts --metric kd -n 10 --steps 1 --json "
                                     "--quiet"));
    prompts = json_object_get(r, "prompts");
    assert_string_equal(json_string_value(json_object_get(prompts, "from")), "captions");
    json_decref(r);
    const outcome *o = expect_status(
        0, "eval texts --data data --metric kd -n 20 --steps 1 --prompt a --prompt b --quiet");
    if (!strstr(o->out, "prompts: as given, in turn, 2 distinct")) fail_msg("%s", o->out);
}

static void a_run_of_texts_is_swept(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "sweep texts --data data --metric kd -n 20 --steps 1 "
                                        "--guidance 1,3 --out swept");
    if (!strstr(o->err, "texts is asked for the names of the data's classes: 3 distinct"))
        fail_msg("%s", o->err);
    assert_non_null(strstr(o->out, "recommended: cfg, guidance"));
    /* said once, not at each point */
    assert_null(strstr(strstr(o->err, "is asked for") + 1, "is asked for"));
    assert_true(exists("swept/report.html"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_has_one_a_line),
        cmocka_unit_test(mistakes_are_one_line),
        cmocka_unit_test(no_text_is_drawn_as_it_is),
        cmocka_unit_test(a_long_prompt_is_cut_and_said),
        cmocka_unit_test(a_run_of_texts_is_measured),
        cmocka_unit_test(a_run_of_texts_is_swept),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
