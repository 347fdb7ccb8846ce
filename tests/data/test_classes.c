/* test_classes.c - which classes a source has: those that have samples, under their own names; or
 * those of a model, by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "support/idx.h"
#include "support/scratch.h"
#include "support_data.h"

enum { N = 6 };

/* An IDX pair in FOLDER with these labels. */
static void make_labels(const char *folder, const uint8_t *labels) {
    static const uint8_t pixels[N * 4];
    char prefix[64];
    mkdir(folder, 0777);
    snprintf(prefix, sizeof prefix, "%s/train", folder);
    idx_write(prefix, "", (int[]){N, 2, 2}, pixels, labels, scratch_write);
}

typedef struct words {
    vn_log_level level;
    int count;
    char text[400];
} words;

static void hear(void *user, vn_log_level level, const char *text) {
    words *w = user;
    w->level = level;
    w->count++;
    snprintf(w->text, sizeof w->text, "%s", text);
}

/* Opens and compares names (up to NULL) and labels. */
static void expect(const char *source, const vn_data_options *options, const char *const *names,
                   const int32_t *labels) {
    vn_data *data = must_open(source, options);
    const vn_data_info *info = vn_data_get_info(data);
    int32_t got[N];
    float *x = read_all(data, got);
    for (int32_t k = 0; k < info->classes; k++) {
        assert_non_null(names[k]);
        assert_string_equal(vn_data_class_name(data, k), names[k]);
    }
    assert_null(names[info->classes]);
    assert_memory_equal(got, labels, sizeof got);
    free(x);
    vn_data_close(&data);
}

static void labels_from_one_keep_their_numbers(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    make_labels("ones", (const uint8_t[N]){1, 2, 3, 3, 2, 1});
    expect("ones", &(vn_data_options){.watch = &watch}, (const char *const[]){"1", "2", "3", NULL},
           (const int32_t[N]){0, 1, 2, 2, 1, 0});
    assert_string_equal(w.text, "ones: class 0 has no samples and is left out");
    assert_int_equal(w.level, VN_LOG_WARNING);
}

static void gaps_are_left_out_and_named(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    make_labels("gaps", (const uint8_t[N]){9, 0, 14, 14, 0, 9});
    expect("gaps", &(vn_data_options){.watch = &watch}, (const char *const[]){"0", "9", "14", NULL},
           (const int32_t[N]){1, 0, 2, 2, 0, 1});
    assert_string_equal(
        w.text,
        "gaps: 12 of 15 classes have no samples and are left out: 1, 2, 3, 4, 5, 6, 7, 8 and 4 "
        "more");
    vn_data *data = must_open("gaps", &(vn_data_options){0});
    int32_t count = 0;
    const char *const *names = vn_data_left_out(data, &count);
    assert_int_equal(count, 12);
    assert_string_equal(names[0], "1");
    assert_string_equal(names[11], "13");
    vn_data_close(&data);
}

static void empty_folders_are_no_classes(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    make_classes("tree", 2, 3, 3, 1);
    mkdir("tree/bat", 0777);
    expect("tree", &(vn_data_options){.watch = &watch},
           (const char *const[]){"ant", "bee", "cat", NULL}, (const int32_t[N]){0, 0, 1, 1, 2, 2});
    assert_string_equal(w.text, "tree: class bat has no samples and is left out");
    scratch_remove("tree");
}

/* ---- under the names of a model -------------------------------------------------------------- */

#define CLASSES(...)                                                                               \
    .classes = (const char *const[]){__VA_ARGS__},                                                 \
    .class_count = sizeof(const char *[]){__VA_ARGS__} / sizeof(char *)

static void classes_are_found_by_name(void **state) {
    (void)state;
    make_classes("tree", 2, 3, 3, 1);
    expect("tree", &(vn_data_options){CLASSES("dog", "cat", "bee", "ant")},
           (const char *const[]){"dog", "cat", "bee", "ant", NULL},
           (const int32_t[N]){3, 3, 2, 2, 1, 1});
    must_refuse(
        "tree", &(vn_data_options){CLASSES("ant", "bees", "cat")}, VN_BAD_ARGUMENT,
        "tree: class bee is none of the model's, which are ant, bees, cat; did you mean bees?");
    scratch_remove("tree");
    make_labels("ones", (const uint8_t[N]){1, 2, 3, 3, 2, 1});
    expect("ones", &(vn_data_options){CLASSES("3", "2", "1", "0")},
           (const char *const[]){"3", "2", "1", "0", NULL}, (const int32_t[N]){2, 1, 0, 0, 1, 2});
}

/* Where one side has numbers instead of names and no number is a name of the other, they are
 * matched by number. */
static void classes_without_names_are_matched_by_number(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    make_labels("plain", (const uint8_t[N]){0, 1, 2, 2, 1, 0});
    expect("plain", &(vn_data_options){CLASSES("ant", "bee", "cat"), .watch = &watch},
           (const char *const[]){"ant", "bee", "cat", NULL}, (const int32_t[N]){0, 1, 2, 2, 1, 0});
    assert_string_equal(w.text,
                        "plain: classes are matched by number, as it has no names for them");
    make_classes("tree", 2, 3, 3, 1);
    expect("tree", &(vn_data_options){CLASSES("0", "1", "2"), .watch = &watch},
           (const char *const[]){"0", "1", "2", NULL}, (const int32_t[N]){0, 0, 1, 1, 2, 2});
    assert_string_equal(w.text,
                        "tree: classes are matched by number, as the model has no names for them");
    must_refuse("tree", &(vn_data_options){CLASSES("0", "1", "2", "3")}, VN_BAD_ARGUMENT,
                "class ant is none");
    make_labels("ones", (const uint8_t[N]){1, 2, 3, 3, 2, 1});
    must_refuse("ones", &(vn_data_options){CLASSES("0", "1", "2")}, VN_BAD_ARGUMENT,
                "ones: class 3 is none");
    scratch_remove("tree");
}

/* Two classes of one name are told apart by their order. */
static void equal_names_are_matched_in_turn(void **state) {
    (void)state;
    make_labels("twins", (const uint8_t[N]){0, 1, 2, 2, 1, 0});
    scratch_write_text("twins/labels.txt", "crane\nant\ncrane\n");
    expect("twins", &(vn_data_options){CLASSES("crane", "crane", "ant")},
           (const char *const[]){"crane", "crane", "ant", NULL},
           (const int32_t[N]){0, 2, 1, 1, 2, 0});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_from_one_keep_their_numbers),
        cmocka_unit_test(gaps_are_left_out_and_named),
        cmocka_unit_test(empty_folders_are_no_classes),
        cmocka_unit_test(classes_are_found_by_name),
        cmocka_unit_test(classes_without_names_are_matched_by_number),
        cmocka_unit_test(equal_names_are_matched_in_turn),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
