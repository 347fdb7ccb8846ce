/* test_unreadable.c - pictures that cannot be read: all of them named before anything is done,
 * skipped where that is asked for, and a run's list of files, by which a folder is taken again
 * after the repair or removal of what was named, every other picture in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "support/scratch.h"
#include "support_data.h"

enum { SIDE = 4, SIZE = SIDE * SIDE, EACH = 6, COUNT = 3 * EACH };

typedef struct words {
    int count;
    char text[32][300];
} words;

static words said;

static void hear(void *user, vn_log_level level, const char *text) {
    (void)user;
    (void)level;
    if (said.count < 32) snprintf(said.text[said.count++], sizeof said.text[0], "%s", text);
}

static const vn_watch watch = {.log = hear};

static vn_data_options training(void) {
    said.count = 0;
    return (vn_data_options){.seed = 3, .threads = 2, .check = true, .watch = &watch};
}

static int make(void **state) {
    scratch_enter(state);
    make_classes("tree", EACH, SIDE, SIDE, 1);
    return 0;
}

/* Cuts a picture short behind its header. */
static void damage(const char *path) {
    size_t size;
    char *bytes = scratch_read(path, &size);
    scratch_write(path, bytes, size - 20);
    free(bytes);
}

static bool heard(const char *word) {
    for (int i = 0; i < said.count; i++)
        if (strstr(said.text[i], word)) return true;
    return false;
}

/* The pictures, as numbers that make_classes gave them, at the first positions of a part. */
static void expect_pictures(vn_data *data, vn_data_part part, const int *numbers, int n) {
    float x[SIZE];
    for (int i = 0; i < n; i++) {
        int32_t label = -1;
        vn_err err = {0};
        if (vn_data_batch(data, part, (uint64_t)i, 1, x, &label, &err) != VN_OK)
            fail_msg("%d: %s", i, err.text);
        for (int k = 0; k < SIZE; k++)
            if (x[k] != (float)data_pixel(numbers[i], k) / 127.5f - 1.0f)
                fail_msg("position %d is not %d", i, numbers[i]);
        assert_int_equal(label, numbers[i] / EACH);
    }
}

/* ---- before the first step ------------------------------------------------------------------- */

static void all_are_named_before_anything_is_done(void **state) {
    (void)state;
    damage("tree/ant/002.png");
    scratch_write_text("tree/bee/001.png", "");
    unlink("tree/cat/000.png");
    assert_int_equal(mkfifo("tree/cat/000.png", 0666), 0);
    unlink("tree/cat/005.png");
    assert_int_equal(symlink("nowhere", "tree/cat/005.png"), 0);
    mkdir("tree/cat/folder.png", 0777); /* is a folder, and empty */
    vn_data_options o = training();
    must_refuse("tree", &o, VN_BAD_FILE,
                "tree: 4 of 18 files cannot be read: ant/002.png: PNG: the file ends too early, "
                "bee/001.png: empty file, "
                "cat/000.png: is a pipe, not a regular file, cat/005.png: No such file or "
                "directory; repair or remove them, or "
                "go on without them (`skip_bad`)");
    assert_int_equal(said.count, 4);
    assert_true(heard("tree/ant/002.png: PNG: ") && heard("tree/bee/001.png: empty file"));
}

static void of_many_the_first_are_named_and_the_rest_counted(void **state) {
    (void)state;
    make_classes("more", 20, SIDE, SIDE, 1);
    for (int i = 0; i < 20; i++) {
        char path[32];
        snprintf(path, sizeof path, "more/bee/%03d.png", i);
        scratch_write_text(path, "");
    }
    vn_data_options o = training();
    vn_data *data = NULL;
    vn_err err = {0};
    assert_int_equal(vn_data_open("more", &o, &data, &err), VN_BAD_FILE);
    int named = 0, more = 0;
    for (const char *at = err.text; (at = strstr(at, "empty file")); at++) named++;
    assert_int_equal(sscanf(strstr(err.text, " and "), " and %d more; repair", &more), 1);
    assert_int_equal(named + more, 20);
    assert_true(named >= 5);
    assert_non_null(strstr(
        err.text, "more: 20 of 60 files cannot be read: bee/000.png: empty file, bee/001.png"));
    assert_non_null(
        strstr(err.text, "; repair or remove them, or go on without them (`skip_bad`)"));
    assert_int_equal(said.count, 20); /* all of them are in the log */
}

static void the_case_damaged_names_its_file(void **state) {
    (void)state;
    vn_data_options o = training();
    must_refuse(VN_SOURCE_DIR "/tests/cases/damaged", &o, VN_BAD_FILE,
                "damaged/a/17.png: PNG: the file ends too early; repair or remove it, or go on "
                "without it (`skip_bad`)");
}

static void skipped_files_have_no_place(void **state) {
    (void)state;
    damage("tree/ant/002.png");
    scratch_write_text("tree/bee/001.png", "");
    vn_data_options o = training();
    o.skip_bad = true;
    vn_data *data = must_open("tree", &o);
    assert_int_equal(vn_data_get_info(data)->count, COUNT - 2);
    assert_int_equal(vn_data_get_info(data)->skipped, 2);
    assert_true(heard("tree: 2 of 18 files cannot be read and are skipped"));
    expect_pictures(data, VN_DATA_ALL, (const int[]){0, 1, 3, 4, 5, 6, 8, 9}, 8);
    vn_data_close(&data);
    for (int i = 0; i < EACH; i++) { /* a class of which nothing is left is none */
        char path[32];
        snprintf(path, sizeof path, "tree/bee/%03d.png", i);
        scratch_write_text(path, "");
    }
    data = must_open("tree", &o);
    assert_int_equal(vn_data_get_info(data)->classes, 2);
    vn_data_close(&data);
    must_refuse("tree/bee", &o, VN_BAD_FILE, "tree/bee: none of its 6 pictures can be read");
}

/* ---- on the way ------------------------------------------------------------------------------ */

/* What stands in is the next in the source's order that can be read, of the same part; for any
 * threads, and however often asked. */
static void another_stands_in_for_a_picture_found_on_the_way(void **state) {
    (void)state;
    static float first[2][3 * COUNT * SIZE];
    for (int way = 0; way < 2; way++) {
        vn_data_options o = training();
        o.skip_bad = true;
        o.check = false;
        o.threads = way ? 5 : 1;
        o.validate = 0.25;
        if (way == 0) {
            damage("tree/ant/005.png");
            damage("tree/bee/000.png");
            damage("tree/cat/005.png");
        }
        vn_data *data = must_open("tree", &o);
        assert_int_equal(vn_data_get_info(data)->count, COUNT);
        expect_pictures(data, VN_DATA_ALL,
                        (const int[]){0, 1, 2, 3, 4, 7, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0},
                        COUNT);
        assert_int_equal(vn_data_get_info(data)->skipped, 3);
        assert_true(heard(
            "tree/ant/005.png: PNG: the file ends too early; skipped: another stands in for it"));
        assert_int_equal(said.count, 3);
        assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 3 * COUNT, first[way], NULL, NULL),
                         VN_OK);
        vn_data_close(&data);
    }
    assert_memory_equal(first[0], first[1], sizeof first[0]);
}

static void a_folder_that_is_taken_away_is_not_skipped_file_by_file(void **state) {
    (void)state;
    float x[SIZE];
    vn_err err = {0};
    vn_data_options o = training();
    o.skip_bad = true;
    o.memory = 3 * SIZE; /* nothing is kept */
    vn_data *data = must_open("tree", &o);
    assert_int_equal(rename("tree", "away"), 0);
    assert_int_equal(vn_data_batch(data, VN_DATA_ALL, 0, 1, x, NULL, &err), VN_IO);
    assert_non_null(strstr(err.text, "the folder itself is gone"));
    assert_int_equal(vn_data_get_info(data)->skipped, 0);
    vn_data_close(&data);
}

/* ---- the list of a run ----------------------------------------------------------------------- */

static vn_data *begin(const vn_data_options *o) {
    vn_data *data = must_open("tree", o);
    assert_int_equal(vn_data_save_list(data, "files", NULL), VN_OK);
    return data;
}

static vn_data_options resuming(void) {
    static const vn_shape shape = {3, {1, SIDE, SIDE}};
    static const char *const classes[] = {"ant", "bee", "cat"};
    vn_data_options o = training();
    o.list = "files";
    o.shape = &shape;
    o.classes = classes;
    o.class_count = 3;
    return o;
}

/* A picture is damaged under way: the batch names it, and the folder is taken again when it has
 * been repaired or removed. */
static void what_was_named_may_be_repaired_or_removed(void **state) {
    (void)state;
    float x[SIZE], truth[2][2 * COUNT * SIZE];
    size_t size;
    char *good = scratch_read("tree/bee/003.png", &size);
    for (int removed = 0; removed < 2; removed++) {
        vn_data_options o = training();
        o.memory = 3 * SIZE;
        vn_data *data = begin(&o);
        assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 2 * COUNT, truth[0], NULL, NULL),
                         VN_OK);
        vn_err err = {0};
        damage("tree/bee/003.png");
        assert_int_equal(vn_data_batch(data, VN_DATA_ALL, EACH + 3, 1, x, NULL, &err), VN_BAD_FILE);
        assert_string_equal(
            err.text,
            "tree/bee/003.png: PNG: the file ends too early; repair or remove it, or go on "
            "without it (`skip_bad`)");
        assert_int_equal(vn_data_get_info(data)->named, 1);
        vn_data_close(&data);

        o = resuming();
        must_refuse("tree", &o, VN_BAD_FILE,
                    "tree/bee/003.png: PNG: the file ends too early; repair or remove it");
        if (removed)
            unlink("tree/bee/003.png");
        else
            make_picture("tree/bee/003.png", EACH + 3, SIDE, SIDE,
                         3); /* other bytes, the same picture in colour */
        o = resuming();
        data = must_open("tree", &o);
        assert_int_equal(vn_data_get_info(data)->count, COUNT);
        assert_int_equal(vn_data_get_info(data)->skipped, removed);
        assert_int_equal(vn_data_get_info(data)->sample.dim[0], 1);
        if (removed) {
            assert_true(heard("tree/bee/003.png is gone, and another stands in for it"));
            expect_pictures(data, VN_DATA_ALL, (const int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 10, 11},
                            12);
        } else {
            scratch_write("tree/bee/003.png", good, size);
            expect_pictures(data, VN_DATA_ALL, (const int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
                            12);
            /* All positions are as they were. */
            assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 2 * COUNT, truth[1], NULL, NULL),
                             VN_OK);
            assert_memory_equal(truth[0], truth[1], sizeof truth[0]);
        }
        vn_data_close(&data);
    }
    /* What was removed stays so: it is no new file when it comes back. */
    scratch_write("tree/bee/003.png", good, size);
    vn_data_options o = resuming();
    vn_data *data = must_open("tree", &o);
    assert_int_equal(vn_data_get_info(data)->skipped, 1);
    vn_data_close(&data);
    free(good);
}

/* What a run left out in the beginning it leaves out to the end: repaired, removed or as it is. */
static void what_was_skipped_stays_skipped(void **state) {
    (void)state;
    static float truth[2 * COUNT * SIZE], x[2 * COUNT * SIZE];
    size_t size;
    char *good = scratch_read("tree/bee/003.png", &size);
    vn_data_options o = training();
    o.skip_bad = true;
    damage("tree/bee/003.png");
    vn_data *data = begin(&o);
    assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 2 * COUNT, truth, NULL, NULL), VN_OK);
    vn_data_close(&data);
    for (int i = 0; i < 3; i++) {
        if (i == 1) scratch_write("tree/bee/003.png", good, size);
        if (i == 2) unlink("tree/bee/003.png");
        o = resuming();
        data = must_open("tree", &o);
        assert_true(heard("tree: 1 file is skipped as when the run began"));
        assert_int_equal(vn_data_get_info(data)->skipped, 1);
        assert_int_equal(vn_data_get_info(data)->count, COUNT - 1);
        assert_int_equal(vn_data_batch(data, VN_DATA_TRAIN, 0, 2 * COUNT, x, NULL, NULL), VN_OK);
        assert_memory_equal(truth, x, sizeof x);
        vn_data_close(&data);
    }
    free(good);
}

static void damaged_while_the_run_rests_is_named_or_skipped(void **state) {
    (void)state;
    vn_data_options o = training();
    vn_data *data = begin(&o);
    vn_data_close(&data);
    damage("tree/ant/000.png");
    o = resuming();
    must_refuse("tree", &o, VN_BAD_FILE, "tree/ant/000.png: PNG");
    o = resuming();
    o.skip_bad = true;
    data = must_open("tree", &o);
    expect_pictures(data, VN_DATA_ALL, (const int[]){1, 1, 2}, 3);
    vn_data_close(&data);
    o = resuming(); /* the list remembers */
    data = must_open("tree", &o);
    expect_pictures(data, VN_DATA_ALL, (const int[]){1, 1, 2}, 3);
    vn_data_close(&data);
}

/* What was never named has to be as it was. */
static void other_changes_are_refused_by_name(void **state) {
    (void)state;
    vn_data_options o = training();
    vn_data *data = begin(&o);
    vn_data_close(&data);
    assert_int_equal(rename("tree/cat/002.png", "kept"), 0);
    for (int i = 0; i < 2; i++) { /* each time */
        o = resuming();
        must_refuse("tree", &o, VN_BAD_FILE,
                    "tree/cat/002.png: is not there any more; put it back, or go on without it "
                    "(`skip_bad`)");
    }
    make_picture("tree/cat/002.png", 99, SIDE + 3, SIDE, 3);
    o = resuming();
    must_refuse("tree", &o, VN_BAD_ARGUMENT,
                "tree is not the data that the run was trained on: cat/002.png has ");
    assert_int_equal(rename("kept", "tree/cat/002.png"), 0);
    make_picture("tree/ant/new.png", 1, SIDE, SIDE, 1);
    make_picture("tree/bee/new.png", 1, SIDE, SIDE, 1);
    o = resuming();
    must_refuse(
        "tree", &o, VN_BAD_ARGUMENT,
        "tree is not the data that the run was trained on: 2 files are new, as ant/new.png");
}

static void labels_of_a_list_are_those_of_the_run(void **state) {
    (void)state;
#define LIST(b) "{\"labels\": [[\"a.png\", 0], [\"b.png\", " b "], [\"c.png\", 1]]}"
    mkdir("set", 0777);
    make_picture("set/a.png", 0, SIDE, SIDE, 1);
    make_picture("set/b.png", 1, SIDE, SIDE, 1);
    make_picture("set/c.png", 2, SIDE, SIDE, 1);
    scratch_write_text("set/dataset.json", LIST("1"));
    vn_data_options o = training();
    vn_data *data = must_open("set", &o);
    assert_int_equal(vn_data_save_list(data, "files", NULL), VN_OK);
    vn_data_close(&data);
    scratch_write_text("set/dataset.json", LIST("0"));
    o.list = "files";
    must_refuse("set", &o, VN_BAD_ARGUMENT,
                "set is not the data that the run was trained on: b.png is of another class");
}

static void a_damaged_list_is_refused(void **state) {
    (void)state;
    vn_data_options o = training();
    vn_data *data = begin(&o);
    vn_data_close(&data);
    size_t size;
    char *bytes = scratch_read("files", &size);
    for (size_t cut = 0; cut < size; cut++) {
        scratch_write("files", bytes, cut);
        o = resuming();
        vn_err err = {0};
        assert_int_not_equal(vn_data_open("tree", &o, &data, &err), VN_OK);
        assert_null(data);
    }
    bytes[16] = 'q'; /* a label */
    scratch_write("files", bytes, size);
    o = resuming();
    must_refuse("tree", &o, VN_BAD_FILE, "files: is damaged");
    free(bytes);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, scratch_leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_are_named_before_anything_is_done),
        TEST(of_many_the_first_are_named_and_the_rest_counted),
        TEST(the_case_damaged_names_its_file),
        TEST(skipped_files_have_no_place),
        TEST(another_stands_in_for_a_picture_found_on_the_way),
        TEST(a_folder_that_is_taken_away_is_not_skipped_file_by_file),
        TEST(what_was_named_may_be_repaired_or_removed),
        TEST(what_was_skipped_stays_skipped),
        TEST(damaged_while_the_run_rests_is_named_or_skipped),
        TEST(other_changes_are_refused_by_name),
        TEST(labels_of_a_list_are_those_of_the_run),
        TEST(a_damaged_list_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
