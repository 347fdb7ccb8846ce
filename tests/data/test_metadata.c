/* test_metadata.c - captions in metadata.jsonl: in one folder or several, lists and repeated lines,
 * what is wrong with a line, files that are not there, two sources of captions at once; captions
 * that are names of classes; and the memory that many captions take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "data/captions.h"
#include "support/scratch.h"
#include "support_data.h"

enum { SIDE = 4 };

static const vn_data_options plain = {.seed = 3, .threads = 1};
static const vn_data_options skipping = {.seed = 3, .threads = 1, .skip_bad = true};

static int make(void **state) {
    scratch_enter(state);
    mkdir("set", 0777);
    mkdir("set/more", 0777);
    make_picture("set/a.png", 0, SIDE, SIDE, 1);
    make_picture("set/b.png", 1, SIDE, SIDE, 1);
    make_picture("set/more/c.png", 2, SIDE, SIDE, 1);
    return 0;
}

static void write_list(const char *text) {
    scratch_write_text("set/metadata.jsonl", text);
}

static bool has(const vn_data *data, const char *text) {
    bool found = false;
    for (int32_t i = 0; i < vn_data_captions(data)->distinct; i++)
        found = found || strcmp(vn_data_caption(data, i), text) == 0;
    return found;
}

static void reads_lines(void **state) {
    (void)state;
    write_list("\xEF\xBB\xBF{\"file_name\": \"b.png\", \"text\": [\"one\", \" zwei \", \"三\"], "
               "\"id\": 7}\r\n"
               "\n"
               "{\"text\": \"\\u00e9t\\u00e9\", \"file_name\": \"./more/c.png\"}\n"
               "{\"file_name\": \"a.png\", \"text\": \"first\"}\n"
               "{\"file_name\": \"a.png\", \"text\": \"second\"}");
    vn_data *data = must_open("set", &plain);
    const vn_caption_info *info = vn_data_captions(data);
    assert_string_equal(info->from, "metadata");
    assert_int_equal(info->captions, 6);
    assert_int_equal(info->without, 0);
    /* numbers by the order of the pictures, not of the lines */
    assert_string_equal(vn_data_caption(data, 0), "first");
    assert_string_equal(vn_data_caption(data, 1), "second");
    assert_string_equal(vn_data_caption(data, 3), "zwei");
    assert_string_equal(vn_data_caption(data, 5), "\xC3\xA9t\xC3\xA9");
    vn_data_close(&data);
    /* the folder below has a list of its own */
    write_list("{\"file_name\": \"a.png\", \"text\": \"above\"}\n"
               "{\"file_name\": \"b.png\", \"text\": \"\"}\n");
    scratch_write_text("set/more/metadata.jsonl",
                       "{\"file_name\": \"c.png\", \"text\": \"below\"}");
    data = must_open("set", &plain);
    assert_int_equal(vn_data_captions(data)->captions, 2);
    assert_int_equal(vn_data_captions(data)->without, 1);
    assert_true(has(data, "above") && has(data, "below"));
    vn_data_close(&data);
}

static void says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *line, *words;
    } bad[] = {
        {"{\"file_name\": \"b.png\" \"text\": \"x\"}", "metadata.jsonl: line 2: "},
        {"{\"file_name\": \"b.png\", \"text\": \"\xE9\"}", "metadata.jsonl: line 2: "},
        {"{\"file_name\": \"b.png\", \"text\": \"\\ud800\"}", "metadata.jsonl: line 2: "},
        {"[1, 2]", "line 2: is not an object"},
        {"{\"text\": \"x\"}", "line 2: has no \"file_name\""},
        {"{\"file_name\": \"b.png\", \"caption\": \"x\"}", "line 2: has no \"text\""},
        {"{\"file_name\": \"b.png\", \"text\": 7}", "neither a string nor a list"},
        {"{\"file_name\": \"b.png\", \"text\": [\"x\", null]}", "neither a string nor a list"},
        {"{\"file_name\": \"../b.png\", \"text\": \"x\"}", "../b.png is not in its folder"},
        {"{\"file_name\": \"/b.png\", \"text\": \"x\"}", "/b.png is not in its folder"},
        {"{\"file_name\": \"gone.png\", \"text\": \"x\"}", "line 2: there is no picture gone.png"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        char *text = vn_format("{\"file_name\": \"a.png\", \"text\": \"good\"}\n%s\n", bad[k].line);
        assert_non_null(text);
        write_list(text);
        vn_free(text);
        must_refuse("set", &plain, VN_BAD_FILE, bad[k].words);
        vn_data *data = must_open("set", &skipping);
        assert_int_equal(vn_data_get_info(data)->count, 3);
        assert_true(has(data, "good"));
        vn_data_close(&data);
    }
}

static void bounds_a_line(void **state) {
    (void)state;
    char *text = malloc(VN_CAPTION_MAX_FILE + 64);
    assert_non_null(text);
    memset(text, 'a', VN_CAPTION_MAX_FILE + 64);
    scratch_write("set/metadata.jsonl", text, VN_CAPTION_MAX_FILE + 64);
    must_refuse("set", &plain, VN_BAD_FILE, "metadata.jsonl: line 1: longer than 1048576 bytes");
    free(text);
}

static void two_sources_are_refused(void **state) {
    (void)state;
    write_list("{\"file_name\": \"a.png\", \"text\": \"listed\"}\n");
    scratch_write_text("set/a.txt", "beside");
    scratch_write_text("set/b.txt", "beside");
    must_refuse("set", &plain, VN_BAD_FILE, "has captions both in a.txt and in metadata.jsonl");
    vn_data_options options = plain;
    options.captions = "metadata";
    vn_data *data = must_open("set", &options);
    assert_string_equal(vn_data_caption(data, 0), "listed");
    vn_data_close(&data);
    options.captions = "text";
    data = must_open("set", &options);
    assert_string_equal(vn_data_caption(data, 0), "beside");
    vn_data_close(&data);
}

/* A list of other things is no list of captions. */
static void other_lists_are_not_used(void **state) {
    (void)state;
    remove("set/a.png");
    remove("set/b.png");
    write_list("{\"file_name\": \"more/c.png\", \"objects\": {\"bbox\": [1, 2, 3, 4]}}\n");
    vn_data *data = must_open("set", &plain);
    assert_null(vn_data_captions(data));
    assert_int_equal(vn_data_get_info(data)->classes, 1);
    vn_data_close(&data);
}

static void names_of_classes_are_captions(void **state) {
    (void)state;
    int32_t numbers[6];
    float x[6 * SIDE * SIDE];
    vn_err err = {0};
    vn_data_options options = plain;
    options.captions = "class";
    make_classes("tree", 2, SIDE, SIDE, 1);
    vn_data *data = must_open("tree", &options);
    assert_int_equal(vn_data_get_info(data)->classes, 0);
    assert_int_equal(vn_data_captions(data)->distinct, 3);
    const vn_data_samples out = {.x = x, .captions = numbers};
    assert_int_equal(vn_data_read(data, VN_DATA_ALL, 0, 6, &out, &err), VN_OK);
    static const char *const names[] = {"ant", "ant", "bee", "bee", "cat", "cat"};
    for (int i = 0; i < 6; i++) assert_string_equal(vn_data_caption(data, numbers[i]), names[i]);
    vn_data_close(&data);
    make_idx("train", 6, SIDE, SIDE, false);
    data = must_open("train-images-idx3-ubyte", &options);
    assert_int_equal(vn_data_captions(data)->distinct, 3);
    vn_data_close(&data);
    must_refuse("set/more", &options, VN_BAD_ARGUMENT, "has no classes");
    options.captions = "text";
    must_refuse("train-images-idx3-ubyte", &options, VN_BAD_ARGUMENT, "has no effect");
}

/* A hundred thousand captions of 40 bytes, half of them distinct: what is held is their text once
 * (41 bytes), 12 bytes for each distinct one's place, its slot of a table at most half full, and 12
 * for each sample, with half as much again where an array has grown. */
static void many_take_few_bytes(void **state) {
    (void)state;
    enum { MANY = 100000 };
    vn_captions *c = NULL;
    vn_err err = {0};
    int32_t *lists = calloc(MANY, sizeof *lists);
    char text[64];
    assert_non_null(lists);
    assert_int_equal(vn_captions_open(&c, &err), VN_OK);
    for (int i = 0; i < MANY; i++) {
        const int n = snprintf(text, sizeof text, "a caption with the number %08d in it", i / 2);
        assert_int_equal(vn_captions_add(c, &lists[i], text, (size_t)n, &err), VN_OK);
    }
    assert_int_equal(vn_captions_settle(c, lists, MANY, &err), VN_OK);
    assert_int_equal(vn_captions_info(c).distinct, MANY / 2);
    assert_true(vn_captions_bytes(c) <
                (size_t)MANY / 2 * (41 + 12) * 3 / 2 + (size_t)MANY * 12 + 4096);
    for (int i = 0; i < MANY; i += 997) {
        snprintf(text, sizeof text, "a caption with the number %08d in it", i / 2);
        assert_string_equal(vn_captions_text(c, vn_captions_draw(c, i, 1, 2, 3)), text);
    }
    vn_captions_close(&c);
    free(lists);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_lines, make, scratch_leave),
        cmocka_unit_test_setup_teardown(says_what_is_wrong, make, scratch_leave),
        cmocka_unit_test_setup_teardown(bounds_a_line, make, scratch_leave),
        cmocka_unit_test_setup_teardown(two_sources_are_refused, make, scratch_leave),
        cmocka_unit_test_setup_teardown(other_lists_are_not_used, make, scratch_leave),
        cmocka_unit_test_setup_teardown(names_of_classes_are_captions, make, scratch_leave),
        cmocka_unit_test(many_take_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
