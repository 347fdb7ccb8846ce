/* Reading and writing JSON: what is valid, what is refused and in which words, damage, and memory
 * running out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "support/alloc.h"
#include "support/mutate.h"

static const char document[] =
    "{\"_class_name\": \"UNet2DModel\", \"sizes\": [32, -64, 0.5, 1.25e-3, 1E+2],\n"
    " \"a rather long key, longer than any buffer's first size\": {\"deep\": [[], {}, \"\"]},\n"
    " \"text\": \"tab\\t quote\\\" slash\\/ \\u20ac \\ud83d\\ude00 \xE2\x82\xAC\",\n"
    " \"yes\": true, \"no\": false, \"none\": null, \"large\": -9223372036854775808}\n";

static vn_status parse(const char *text, json_t **out, vn_err *err) {
    return vn_json_parse(text, strlen(text), "f.json", out, err);
}

static void values_are_read(void **state) {
    (void)state;
    json_t *v;
    assert_int_equal(parse(document, &v, NULL), VN_OK);
    assert_int_equal(json_object_size(v), 8);
    assert_string_equal(json_string_value(json_object_get(v, "_class_name")), "UNet2DModel");
    const json_t *sizes = json_object_get(v, "sizes");
    assert_int_equal(json_integer_value(json_array_get(sizes, 0)), 32);
    assert_int_equal(json_integer_value(json_array_get(sizes, 1)), -64);
    assert_true(json_real_value(json_array_get(sizes, 2)) == 0.5);
    assert_true(json_real_value(json_array_get(sizes, 3)) == 1.25e-3);
    assert_true(json_is_real(json_array_get(sizes, 4)) &&
                json_real_value(json_array_get(sizes, 4)) == 100);
    assert_string_equal(json_string_value(json_object_get(v, "text")),
                        "tab\t quote\" slash/ \xE2\x82\xAC \xF0\x9F\x98\x80 \xE2\x82\xAC");
    assert_true(json_is_true(json_object_get(v, "yes")) && json_is_false(json_object_get(v, "no")));
    assert_true(json_is_null(json_object_get(v, "none")));
    assert_int_equal(json_integer_value(json_object_get(v, "large")), INT64_MIN);
    const json_t *deep = json_object_get(
        json_object_get(v, "a rather long key, longer than any buffer's first size"), "deep");
    assert_int_equal(json_array_size(deep), 3);
    json_decref(v);
}

/* Beyond 64 bits: 10^30 as Python writes it, and the least that is. */
static void large_whole_numbers_are_reals(void **state) {
    (void)state;
    json_t *v;
    assert_int_equal(parse("[1000000000000000019884624838656, 9223372036854775808]", &v, NULL),
                     VN_OK);
    assert_true(json_real_value(json_array_get(v, 0)) == 1e30);
    assert_true(json_real_value(json_array_get(v, 1)) == 9223372036854775808.0);
    json_decref(v);
}

/* jansson's own parser is a second opinion on what the document means. */
static void values_are_those_of_jansson(void **state) {
    (void)state;
    json_t *ours, *expected = json_loads(document, 0, NULL);
    assert_int_equal(parse(document, &ours, NULL), VN_OK);
    assert_true(json_equal(ours, expected));
    json_decref(ours);
    json_decref(expected);
}

static void refusals_name_file_line_and_reason(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } refused[] = {
        {"", "f.json: line 1: ends where a value should be"},
        {"{", "f.json: line 1: ends where a key in quotes should be"},
        {"{\"a\":1,\n\"b\" 2}", "f.json: line 2: ':' expected, not '2'"},
        {"{\"a\":1,\n\n}", "f.json: line 3: a key in quotes expected, not '}'"},
        {"[1 2]", "f.json: line 1: ',' or ']' expected, not '2'"},
        {"[1,]", "f.json: line 1: a value expected, not ']'"},
        {"{\"a\":1", "f.json: line 1: ends where ',' or '}' should be"},
        {"1 1", "f.json: line 1: the end expected, not '1'"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "f.json: line 1: key 'a' is there twice"},
        {"Nan", "f.json: line 1: a value expected, not 'N'"},
        {"-inf", "f.json: line 1: a digit expected, not 'i'"},
        {"+Infinity", "f.json: line 1: a value expected, not '+'"},
        {"-NaN", "f.json: line 1: a digit expected, not 'N'"},
        {"Infinity1", "f.json: line 1: the end expected, not '1'"},
        {"01", "f.json: line 1: the end expected, not '1'"},
        {"1.", "f.json: line 1: ends where a digit should be"},
        {"1.e3", "f.json: line 1: a digit expected, not 'e'"},
        {"1e", "f.json: line 1: ends where a digit should be"},
        {"-", "f.json: line 1: ends where a digit should be"},
        {"+1", "f.json: line 1: a value expected, not '+'"},
        {"1e999", "f.json: line 1: a number is too large"},
        {"0.00000000000000000000000000000000000000000000000000000000000000001",
         "f.json: line 1: a number is too long"},
        {"tru", "f.json: line 1: a value expected, not 't'"},
        {"'a'", "f.json: line 1: a value expected, not '''"},
        {"\"a", "f.json: line 1: a string has no end"},
        {"\"a\\", "f.json: line 1: a string holds an invalid escape"},
        {"\"a\\x\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"a\\u12g4\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"a\\u0000\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"\\ud83d\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"\\ud83d\\u0041\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"\\ude00\"", "f.json: line 1: a string holds an invalid escape"},
        {"\"a\nb\"", "f.json: line 1: a string holds a control character"},
        {"\"\xC0\x80\"", "f.json: line 1: a string is not UTF-8"},     /* overlong */
        {"\"\xED\xA0\x80\"", "f.json: line 1: a string is not UTF-8"}, /* a surrogate */
        {"\"\xF4\x90\x80\x80\"", "f.json: line 1: a string is not UTF-8"},
        {"\"\xE2\x82\"", "f.json: line 1: a string is not UTF-8"},
        {"\"\xFF\"", "f.json: line 1: a string is not UTF-8"},
        /* a byte order mark */
        {"\xEF\xBB\xBF{}", "f.json: line 1: a value expected, not byte 0xEF"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        json_t *v;
        vn_err err = {0};
        assert_int_equal(parse(refused[i].text, &v, &err), VN_BAD_FILE);
        assert_null(v);
        assert_memory_equal(err.text, refused[i].words, strlen(refused[i].words));
    }
}

/* Three words that Python's json writes for floats that are not finite. */
static void words_of_python_are_numbers_for_those_who_ask(void **state) {
    (void)state;
    json_t *v;
    vn_err err = {0};
    double x[4], dummy;
    assert_int_equal(parse("[-Infinity, Infinity,NaN, 2, \"inf\", null]", &v, &err), VN_OK);
    for (size_t i = 0; i < VN_COUNT(x); i++)
        assert_true(vn_json_number(json_array_get(v, i), &x[i]));
    assert_true(isinf(x[0]) && x[0] < 0 && isinf(x[1]) && x[1] > 0 && isnan(x[2]) && x[3] == 2);
    for (size_t i = 4; i < 7; i++) assert_false(vn_json_number(json_array_get(v, i), &dummy));
    /* nobody takes them unaware */
    for (size_t i = 0; i < 3; i++) assert_false(json_is_number(json_array_get(v, i)));
    json_decref(v);
}

static void depth_is_bounded(void **state) {
    (void)state;
    enum { DEEP = 1000000 };
    char *text = vn_alloc(DEEP + 1, 1);
    json_t *v;
    vn_err err = {0};
    memset(text, '[', DEEP);
    text[DEEP] = 0;
    assert_int_equal(parse(text, &v, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "f.json: line 1: nested too deeply");
    memset(text + 256, ']', 256);
    assert_int_equal(vn_json_parse(text, 512, "f", &v, NULL), VN_OK);
    json_decref(v);
    vn_free(text);
}

/* Two bytes of text would otherwise take two hundred of memory, 45 MB of them 3.4 GB. */
static void values_are_counted(void **state) {
    (void)state;
    enum { MAX_VALUES = 2000000 };
    char *text = vn_alloc(3 * MAX_VALUES + 2, 1);
    for (int extra = 0; extra < 2; extra++) { /* the array itself is a value too */
        const size_t items = MAX_VALUES - 1 + (size_t)extra, size = 2 * items + 1;
        json_t *v;
        vn_err err = {0};
        text[0] = '[';
        for (size_t i = 0; i < items; i++) memcpy(text + 1 + 2 * i, "1,", 2);
        text[size - 1] = ']';
        assert_int_equal(vn_json_parse(text, size, "f.json", &v, &err),
                         extra ? VN_BAD_FILE : VN_OK);
        if (extra) assert_string_equal(err.text, "f.json: line 1: more than two million values");
        assert_int_equal(json_array_size(v), extra ? 0 : items);
        json_decref(v);
    }
    vn_free(text);
}

static void bytes_that_are_no_utf8_are_latin1(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"cafe", "cafe"},
                 {"caf\xC3\xA9", "caf\xC3\xA9"},
                 {"caf\xE9", "caf\xC3\xA9"},
                 {"\xFF\x80", "\xC3\xBF\xC2\x80"}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char *text = vn_utf8(cases[i].bytes);
        json_t *value = vn_json_string(cases[i].bytes);
        assert_string_equal(text, cases[i].text);
        assert_string_equal(json_string_value(value), cases[i].text);
        json_decref(value);
        vn_free(text);
    }
}

static void utf8_is_told(void **state) {
    (void)state;
    assert_true(vn_is_utf8("") && vn_is_utf8("boot") &&
                vn_is_utf8("Stiefel \xE2\x82\xAC \xF0\x9F\x98\x80"));
    assert_false(vn_is_utf8("\xFF") || vn_is_utf8("a\xE2\x82") || vn_is_utf8("\xC0\x80") ||
                 vn_is_utf8("\x80"));
}

/* ---- files ----------------------------------------------------------------------------------- */

static void files_come_back_equal(void **state) {
    (void)state;
    json_t *v = json_pack("{sf sf sf si s[] so}", "beta", 1e-4, "third", 1.0 / 3, "tiny", 5e-324,
                          "n", 3, "empty", "off", json_false());
    json_t *back;
    assert_int_equal(vn_json_write("a.json", v, NULL), VN_OK);
    assert_int_equal(vn_json_read("a.json", &back, NULL), VN_OK);
    assert_true(json_equal(v, back));
    json_decref(back);
    json_decref(v);
}

/* Digits that are not needed are not written: a config keeps the numbers that a person typed. */
static void numbers_are_written_short(void **state) {
    (void)state;
    json_t *v = json_pack("{sf s[f]}", "beta", 1e-4, "list", 0.1);
    size_t size;
    assert_int_equal(vn_json_write("a.json", v, NULL), VN_OK);
    char *text = scratch_read("a.json", &size);
    assert_string_equal(text, "{\n  \"beta\": 0.0001,\n  \"list\": [\n    0.1\n  ]\n}\n");
    free(text);
    json_decref(v);
}

static void missing_files_are_named(void **state) {
    (void)state;
    json_t *v;
    vn_err err = {0};
    assert_int_equal(vn_json_read("nowhere.json", &v, &err), VN_IO);
    assert_string_equal(err.text, "nowhere.json: No such file or directory");
    assert_int_equal(vn_json_read(".", &v, &err), VN_IO);
    assert_string_equal(err.text, ".: is a folder");
}

/* ---- damage and want ------------------------------------------------------------------------- */

/* Damaged or not, jansson must agree on whether it is JSON and on what it says; the exceptions are
 * limits of ours and its of whole numbers, and that it overlooks a byte of 0 after a number. */
static void check_damaged(const char *path) {
    json_error_t why;
    json_t *v, *expected = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    vn_err err = {0};
    vn_status status = vn_json_read(path, &v, &err);
    if (!status) {
        assert_true(expected ? json_equal(v, expected) : strstr(why.text, "too big ") != NULL);
    } else {
        assert_int_equal(status, VN_BAD_FILE);
        assert_true(!expected || strstr(err.text, "too l") || strstr(err.text, "byte 0x00"));
        assert_memory_equal(err.text, "damaged.json: line ", 19);
    }
    json_decref(v);
    json_decref(expected);
}

static void damaged_files_are_refused_or_right(void **state) {
    (void)state;
    scratch_write_text("valid.json", document);
    mutate_each("valid.json", "damaged.json", 5000, check_damaged);
    mutate_truncations("valid.json", "damaged.json", check_damaged);
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    json_t *expected;
    scratch_write_text("valid.json", document);
    assert_int_equal(vn_json_read("valid.json", &expected, NULL), VN_OK);
    char *expected_text = vn_json_text(expected, 0);
    for (alloc_turn t = {0}; alloc_next(&t);) {
        json_t *v;
        vn_status status = vn_json_read("valid.json", &v, NULL);
        char *text = status ? NULL : vn_json_text(v, 0);
        /* jansson's were among them */
        if (!alloc_hit(&t, status || text ? status : VN_NO_MEMORY)) assert_in_range(t.n, 40, 1000);
        assert_int_equal(!v, status != VN_OK);
        if (text) assert_string_equal(text, expected_text);
        vn_free(text);
        json_decref(v);
    }
    vn_free(expected_text);
    json_decref(expected);
}

static void texts_are_those_of_jansson(void **state) {
    (void)state;
    json_t *v;
    assert_int_equal(parse(document, &v, NULL), VN_OK);
    const size_t flags[] = {0, JSON_COMPACT, JSON_INDENT(2)};
    for (size_t i = 0; i < VN_COUNT(flags); i++) {
        char *ours = vn_json_text(v, flags[i]), *expected = json_dumps(v, flags[i]);
        assert_string_equal(ours, expected);
        vn_free(ours);
        free(expected);
    }
    json_decref(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(large_whole_numbers_are_reals),
        cmocka_unit_test(values_are_those_of_jansson),
        cmocka_unit_test(refusals_name_file_line_and_reason),
        cmocka_unit_test(words_of_python_are_numbers_for_those_who_ask),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(utf8_is_told),
        cmocka_unit_test(bytes_that_are_no_utf8_are_latin1),
        cmocka_unit_test(files_come_back_equal),
        cmocka_unit_test(numbers_are_written_short),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(damaged_files_are_refused_or_right),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(texts_are_those_of_jansson),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
