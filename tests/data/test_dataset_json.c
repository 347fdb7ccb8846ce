/* test_dataset_json.c - data sets as StyleGAN's and EDM's tools write them: labels from
 * dataset.json, not from folders; and what a list of labels can have wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "support/scratch.h"
#include "support_data.h"

#define LIST(entries) "{\"labels\": [" entries "]}"
#define A             "[\"00000/a.png\", 2]"
#define B             "[\"00000/b.png\", 0]"
#define C             "[\"00001/c.png\", 2]"

static const vn_data_options plain = {.seed = 3, .threads = 1};

static int make(void **state) {
    scratch_enter(state);
    mkdir("set", 0777);
    mkdir("set/00000", 0777);
    mkdir("set/00001", 0777);
    make_picture("set/00000/a.png", 0, 4, 4, 1);
    make_picture("set/00000/b.png", 1, 4, 4, 1);
    make_picture("set/00001/c.png", 2, 4, 4, 1);
    return 0;
}

typedef struct words {
    int count;
    char text[4][300];
} words;

static void hear(void *user, vn_log_level level, const char *text) {
    words *w = user;
    (void)level;
    if (w->count < 4) snprintf(w->text[w->count++], sizeof w->text[0], "%s", text);
}

/* Opens the set with this dataset.json; names of the three pictures' classes in order of their
 * paths. */
static void expect(const char *json, int32_t classes, const char *a, const char *b, const char *c,
                   words *w) {
    const vn_watch watch = {.log = hear, .user = w};
    const char *const expected[] = {a, b, c};
    int32_t labels[3];
    scratch_write_text("set/dataset.json", json);
    vn_data *data = must_open("set", &(vn_data_options){.seed = 3, .watch = w ? &watch : NULL});
    assert_int_equal(vn_data_get_info(data)->count, 3);
    assert_int_equal(vn_data_get_info(data)->classes, classes);
    free(read_all(data, labels));
    for (int i = 0; i < 3; i++) {
        const char *name = vn_data_class_name(data, labels[i]);
        if (!expected[i]) assert_null(name);
        if (expected[i]) assert_string_equal(name, expected[i]);
    }
    vn_data_close(&data);
}

static void labels_are_the_classes(void **state) {
    (void)state;
    words w = {0};
    vn_data *data = must_open(VN_SOURCE_DIR "/tests/cases/edm_dataset", &plain);
    int32_t labels[3];
    assert_int_equal(vn_data_get_info(data)->count, 3);
    assert_int_equal(vn_data_get_info(data)->classes, 2);
    free(read_all(data, labels));
    assert_true(labels[0] == 1 && labels[1] == 0 && labels[2] == 1);
    vn_data_close(&data);
    expect(LIST(C "," A ", " B), 2, "2", "0", "2", &w);
    assert_string_equal(w.text[0], "set: classes are the labels in dataset.json");
    assert_string_equal(w.text[1], "set: class 1 has no samples and is left out");
    assert_int_equal(w.count, 2);
}

static void null_means_no_classes(void **state) {
    (void)state;
    words w = {0};
    expect("{\"labels\": null}", 0, NULL, NULL, NULL, &w);
    assert_string_equal(w.text[0], "set: no classes, as labels is null in dataset.json");
}

/* Windows' separators, a point, a number with a point, one-hot lists, an entry twice, other keys
 * around. */
static void forms_that_mean_the_same_are_read(void **state) {
    (void)state;
    expect(LIST("[\"00000\\\\a.png\", 2.0], [\"./00000//b.png\", 0]," C "," C), 2, "2", "0", "2",
           NULL);
    expect(
        LIST("[\"00000/a.png\",[0,0,1]],[\"00000/b.png\",[1.0,0.0,0.0]],[\"00001/c.png\",[0,0,1]]"),
        2, "2", "0", "2", NULL);
    expect("{\"name\": \"labels: [\\\"\", \"more\": {\"labels\": [1]}, \"labels\" : [ " A ",\n" B
           ",\n" C " ], \"size\": [4, 4]}",
           2, "2", "0", "2", NULL);
    /* found by the list, not by its ending */
    assert_int_equal(rename("set/00001/c.png", "set/00001/c"), 0);
    expect(LIST(A "," B ",[\"00001/c\",2]"), 2, "2", "0", "2", NULL);
}

static void pictures_that_are_not_listed_are_passed_over(void **state) {
    (void)state;
    words w = {0};
    make_picture("set/00001/d.png", 3, 4, 4, 1);
    make_picture("set/e.png", 3, 4, 4, 1);
    expect(LIST(A "," B "," C), 2, "2", "0", "2", &w);
    assert_string_equal(w.text[1], "set: passed over: 2 pictures that dataset.json does not name");
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *json;
        vn_status status;
        const char *words;
    } cases[] = {
        {LIST(""), VN_BAD_FILE,
         "set/dataset.json: labels is empty; null stands there for pictures without classes"},
        {"{\"labels\": 3}", VN_BAD_FILE, "set/dataset.json: labels is neither a list nor null"},
        {"{\"classes\": []}", VN_BAD_FILE,
         "set/dataset.json: has no \"labels\" (null there means no classes)"},
        {LIST(A "," B ",[\"00001/c.png\"]"), VN_BAD_FILE,
         "set/dataset.json: entry 2 of labels is not of the form"},
        {LIST(A "," B ",7"), VN_BAD_FILE, "entry 2 of labels is not of the form"},
        {LIST(A ",[\"00000/b.png\", -1]"), VN_BAD_FILE,
         "the label of 00000/b.png is neither a whole number"},
        {LIST(A ",[\"00000/b.png\", 65536]"), VN_BAD_FILE, "the label of 00000/b.png is neither"},
        {LIST(A ",[\"00000/b.png\", 0.5]"), VN_BAD_FILE, "the label of 00000/b.png is neither"},
        {LIST(A ",[\"00000/b.png\", \"cat\"]"), VN_BAD_FILE, "the label of 00000/b.png is neither"},
        {LIST(A ",[\"00000/b.png\", null]"), VN_BAD_FILE, "the label of 00000/b.png is neither"},
        {LIST("[\"00000/a.png\", [0.3, 0.7]]"), VN_BAD_FILE, "the label of 00000/a.png is neither"},
        {LIST("[\"00000/a.png\", [1, 1]]"), VN_BAD_FILE, "the label of 00000/a.png is neither"},
        {LIST("[\"00000/a.png\", [0, 0]]"), VN_BAD_FILE, "the label of 00000/a.png is neither"},
        {LIST(A ",[\"00000/b.png\", [1, 0]]"), VN_BAD_FILE,
         "00000/b.png is not of the same form as those before it"},
        {LIST("[\"00000/a.png\",[1,0]],[\"00000/b.png\",[1,0,0]]"), VN_BAD_FILE,
         "not of the same form"},
        {LIST(A "," B ",[\"00000/a.png\", 1]"), VN_BAD_FILE,
         "set/dataset.json: 00000/a.png has two labels"},
        {LIST("[\"../a.png\", 1]"), VN_BAD_FILE, "set/dataset.json: ../a.png is not in its folder"},
        {LIST("[\"/etc/a.png\", 1]"), VN_BAD_FILE, "/etc/a.png is not in its folder"},
        {LIST("[\"\", 1]"), VN_BAD_FILE, "is not in its folder"},
        {LIST(A) "x", VN_BAD_FILE, "set/dataset.json"},
        {"{\"labels\": [" A "}", VN_BAD_FILE, "set/dataset.json"},
        {"{\"labels\": [" A, VN_BAD_FILE, "set/dataset.json"},
        {"{\"labels\": [[\"00000/a.png", VN_BAD_FILE, "set/dataset.json"},
        {LIST(A "," A " 4"), VN_BAD_FILE, "set/dataset.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_write_text("set/dataset.json", cases[i].json);
        must_refuse("set", &plain, cases[i].status, cases[i].words);
    }
    scratch_write_text("set/dataset.json", LIST(A "," B "," C ",[\"00007/x.png\", 1]"));
    must_refuse("set", &plain, VN_BAD_FILE,
                "set/00007/x.png: No such file or directory; repair or remove it");
}

/* Classes that are folders may have a file of that name beside them. */
static void a_foreign_file_of_that_name_is_no_list(void **state) {
    (void)state;
    make_classes("tree", 2, 3, 3, 1);
    scratch_write_text("tree/dataset.json", "{\"title\": \"pets\"}");
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    vn_data *data = must_open("tree", &(vn_data_options){.watch = &watch});
    assert_int_equal(vn_data_get_info(data)->classes, 3);
    assert_string_equal(w.text[0], "tree: dataset.json is not used: classes are folders, and "
                                   "captions are in .txt or .json files beside the pictures or in "
                                   "metadata.jsonl");
    vn_data_close(&data);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, scratch_leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(labels_are_the_classes),
        TEST(null_means_no_classes),
        TEST(forms_that_mean_the_same_are_read),
        TEST(pictures_that_are_not_listed_are_passed_over),
        TEST(what_is_wrong_is_named),
        TEST(a_foreign_file_of_that_name_is_no_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
