/* Classes among the parameters of a row: by name or number, names in quotes, and the words when
 * there is none such. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/base.h"

static const vn_param params[] = {
    {"class", "", 0, 0, 1e6, VN_PARAM_CONDITION, NULL},
    {"weight", "", 1, 0, 9, VN_PARAM_REAL, NULL},
    {0},
};
static const vn_row row = {"also", "", "", params};

static const char *const names[] = {
    "shirt",      "Ankle boot", "tench, Tinca tinca", "a=b:c", "7\" disc",
    "\"quoted\"", "7",          "caf\xC3\xA9",        " led",  "null"};
static const vn_names classes = {names, VN_COUNT(names)};

static vn_status parse(const char *text, const vn_names *of, vn_choice *c, vn_err *err) {
    return vn_choice_parse_of(text, VN_TABLE("guide", &row, 1), of, c, err);
}

static void a_class_is_found_by_name_and_by_number(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int index;
    } right[] = {
        {"also:class=shirt", 0},
        {"also:class=Ankle boot,weight=2", 1},
        {"also:weight=2,class=\"Ankle boot\"", 1},
        {"also:class=\"tench, Tinca tinca\",weight=2", 2},
        {"also: class = \"tench, Tinca tinca\" , weight=2", 2},
        {"also:class=a=b:c", 3},
        {"also:class=7\" disc,weight=2", 4}, /* only a quote that a value begins with is one */
        {"also:class=\"7\"\" disc\"", 4},
        {"also:class=\"\"\"quoted\"\"\"", 5},
        {"also:class=7", 6}, /* a name before a number */
        {"also:class=caf\xC3\xA9", 7},
        {"also:class=\" led\"", 8},
        {"also:class=9", 9},
        {"also:class=\"2\"", 2},
        {"also:class=null", 9},
        {"also", 0},
    };
    for (size_t i = 0; i < VN_COUNT(right); i++) {
        vn_choice c;
        vn_err err = {0};
        if (parse(right[i].text, &classes, &c, &err)) fail_msg("%s: %s", right[i].text, err.text);
        if (c.value[0] != right[i].index)
            fail_msg("%s is %g, not %d", right[i].text, c.value[0], right[i].index);
        if (c.given[1] && c.value[1] != 2) fail_msg("%s: weight %g", right[i].text, c.value[1]);
    }
}

static void what_is_no_class_is_refused_with_the_nearest(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"also:class=boot",
         "also: class=boot is no class of the model; did you mean 'Ankle boot'?"},
        {"also:class=shrit", "did you mean 'shirt'?"},
        {"also:class=tench, Tinca tinca",
         "also: class=tench is no class of the model; did you mean class=\"tench, Tinca tinca\"?"},
        {"also:class=zebra",
         "also: class=zebra is no class of the model; known: shirt, Ankle boot"},
        {"also:class=10", "also: class=10 is none of the model's 10 classes"},
        {"also:class=-1", "also: class=-1 is none of the model's 10 classes"},
        {"also:class=1.5", "class=1.5 is no class"},
        {"also:class=", "is no class of the model"},
        {"also:class=\"shirt", "also: the quotes of class are not closed at its end"},
        {"also:class=\"shirt\"s,weight=2", "the quotes of class are not closed at its end"},
        {"also:class=\"shirt\"\"", "the quotes of class are not closed at its end"},
        {"also:class=\"\"\"", "the quotes of class are not closed at its end"},
        {"also:class=\"\"", "is no class of the model"},
        {"also:class=\"", "the quotes of class are not closed at its end"},
        {"also:class=\"shirt,weight=2", "the quotes of class are not closed at its end"},
    };
    for (size_t i = 0; i < VN_COUNT(wrong); i++) {
        vn_choice c;
        vn_err err = {0};
        assert_int_equal(parse(wrong[i].text, &classes, &c, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, wrong[i].words)) fail_msg("%s: '%s'", wrong[i].text, err.text);
    }
}

static void classes_without_names_have_numbers(void **state) {
    (void)state;
    const vn_names three = {NULL, 3};
    vn_choice c;
    vn_err err = {0};
    assert_int_equal(parse("also:class=2", &three, &c, &err), VN_OK);
    assert_true(c.value[0] == 2);
    assert_int_equal(parse("also:class=3", &three, &c, &err), VN_BAD_ARGUMENT);
    assert_int_equal(parse("also:class=shirt", &three, &c, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "also: class=shirt is no class of the model");
}

/* Rows that are named by numbers which are not their own. */
static void a_number_that_other_classes_are_named_by_is_no_index(void **state) {
    (void)state;
    static const char *const from_one[] = {"1", "2", "3"}, *const years[] = {"2019", "2020",
                                                                             "2021"};
    const vn_names shifted = {from_one, 3}, far = {years, 3};
    int64_t index;
    assert_true(vn_names_find(&shifted, "3", &index));
    assert_int_equal(index, 2);
    assert_false(vn_names_find(&shifted, "0", &index));
    assert_true(vn_names_find(&far, "0", &index));
    assert_int_equal(index, 0);
}

/* What a name or number written for each class means that class, where anything does. */
static void a_word_for_a_class_means_no_other(void **state) {
    (void)state;
    static const struct {
        const char *names[3], *words[3];
    } cases[] = {
        {{"a", "b", "c"}, {"a", "b", "c"}}, {{"x", "x", "x"}, {"0", "1", "2"}},
        {{"2", "1", "0"}, {"2", "1", "0"}}, {{"1", "1", "x"}, {NULL, NULL, "x"}},
        {{"", "x", ""}, {"0", "x", "2"}},
    };
    char number[VN_NAMES_NUMBER];
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        const vn_names list = {cases[i].names, 3};
        for (int64_t k = 0; k < 3; k++) {
            const char *word = vn_names_word(&list, k, number), *expected = cases[i].words[k];
            int64_t found = -1;
            if (!expected) {
                assert_null(word);
                continue;
            }
            assert_string_equal(word, expected);
            assert_true(vn_names_find(&list, word, &found));
            assert_int_equal(found, k);
        }
    }
    assert_string_equal(vn_names_word(&(vn_names){NULL, 3}, 2, number), "2");
}

/* ImageNet has two cranes and two maillots. */
static void a_name_of_several_means_none_of_them(void **state) {
    (void)state;
    static const char *const three[] = {"crane", "owl", "crane"}, *const own[] = {"1", "1", "x"};
    const char *many[11];
    for (size_t i = 0; i < VN_COUNT(many); i++) many[i] = i == 4 ? "y" : "x";
    const vn_names cranes = {three, 3}, numbers = {own, 3}, ten = {many, 11};
    char text[VN_NAMES_SHARED];
    int64_t index;
    vn_choice c;
    vn_err err = {0};
    assert_false(vn_names_find(&cranes, "crane", &index));
    assert_true(vn_names_find(&cranes, "2", &index));
    assert_int_equal(index, 2);
    assert_string_equal(vn_names_shared(&cranes, "crane", text),
                        "0 and 2: say which by its number");
    assert_null(vn_names_shared(&cranes, "owl", text));
    assert_null(vn_names_shared(&cranes, "emu", text));
    assert_null(vn_names_shared(&(vn_names){NULL, 3}, "1", text));
    assert_string_equal(vn_names_shared(&numbers, "1", text), "0 and 1");
    assert_string_equal(vn_names_shared(&ten, "x", text),
                        "0, 1, 2, 3, 5, 6, 7, 8 and 2 more: say which by its number");
    assert_int_equal(parse("also:class=crane", &cranes, &c, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "also: class=crane: several classes of the model are called so, "
                                  "0 and 2: say which by its number");
    assert_int_equal(parse("also:class=2", &cranes, &c, NULL), VN_OK);
    assert_true(c.value[0] == 2);
}

static void classes_that_are_not_known_yet_are_taken(void **state) {
    (void)state;
    vn_choice c;
    assert_int_equal(parse("also:class=\"tench, Tinca tinca\",weight=2", NULL, &c, NULL), VN_OK);
    assert_true(isnan(c.value[0]) && c.value[1] == 2);
    assert_int_equal(parse("also:class=12", NULL, &c, NULL), VN_OK);
    assert_true(c.value[0] == 12);
}

static void commas_in_quotes_do_not_end_a_pair(void **state) {
    (void)state;
    assert_int_equal(vn_pair_length("also:class=\"a,b\",weight=2"), 16);
    assert_int_equal(vn_pair_length("class= \"a\"\",b\",weight=2"), 14);
    assert_int_equal(vn_pair_length("class=a\"b,c\""), 9);
    assert_int_equal(vn_pair_length("class=\"a,b"), 10);
    assert_int_equal(vn_pair_length("cfg,x=\""), 3);
    assert_int_equal(vn_pair_length(""), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_is_found_by_name_and_by_number),
        cmocka_unit_test(what_is_no_class_is_refused_with_the_nearest),
        cmocka_unit_test(classes_without_names_have_numbers),
        cmocka_unit_test(a_number_that_other_classes_are_named_by_is_no_index),
        cmocka_unit_test(a_word_for_a_class_means_no_other),
        cmocka_unit_test(a_name_of_several_means_none_of_them),
        cmocka_unit_test(classes_that_are_not_known_yet_are_taken),
        cmocka_unit_test(commas_in_quotes_do_not_end_a_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
