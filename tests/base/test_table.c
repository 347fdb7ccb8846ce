/* Choosing rows: "name:key=value,key=value", and the words when it cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "support/alloc.h"

static const vn_param ddim_params[] = {
    {"eta", "noise", 0, 0, 1, 0, NULL},
    {"order", "", 2, 1, 3, 1, NULL},
    {"spacing", "", 1, 0, 2, 0, "leading|linspace|trailing"},
    {"sigma_min", "", 0.002, 0, HUGE_VAL, 0, NULL},
    {"floor", "", 0, -HUGE_VAL, 0.5, 0, NULL},
    {0},
};
static const struct {
    vn_row row;
    int more; /* rows are the beginning of larger structs */
} rows[] = {
    {{"euler", "", "", NULL}, 1},
    {{"heun", "", "", NULL}, 2},
    {{"ddim", "", "", ddim_params}, 3},
    {{"dpmpp-2m", "", "", NULL}, 4},
};

static vn_status parse(const char *text, vn_choice *choice, vn_err *err) {
    return vn_choice_parse(text, VN_TABLE("sampler", rows, VN_COUNT(rows)), choice, err);
}

static void names_are_found(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(rows); i++) {
        vn_choice c;
        assert_int_equal(parse(rows[i].row.name, &c, NULL), VN_OK);
        assert_ptr_equal(c.row, &rows[i].row);
        assert_int_equal(c.index, i);
    }
}

static void values_are_read_and_defaults_kept(void **state) {
    (void)state;
    vn_choice c;
    assert_int_equal(parse("ddim:order=3,spacing=trailing,sigma_min=1.5e-2", &c, NULL), VN_OK);
    const double value[] = {0, 3, 2, 0.015, 0};
    const bool given[] = {false, true, true, true, false};
    for (size_t i = 0; i < VN_COUNT(value); i++) {
        assert_true(c.value[i] == value[i]);
        assert_int_equal(c.given[i], given[i]);
    }
}

static void spaces_around_words_do_not_count(void **state) {
    (void)state;
    vn_choice c;
    assert_int_equal(parse(" ddim : order = 3 , spacing= trailing", &c, NULL), VN_OK);
    assert_true(c.value[1] == 3 && c.value[2] == 2);
    assert_int_equal(parse("dd im", &c, NULL), VN_BAD_ARGUMENT);
}

/* Every refusal is one line that a person can act on. */
static void refusals_say_what_to_do(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } refused[] = {
        {"eulr", "unknown sampler 'eulr'; did you mean 'euler'?"},
        {"Heun", "unknown sampler 'Heun'; did you mean 'heun'?"},
        {"dpmpp", "unknown sampler 'dpmpp'; did you mean 'dpmpp-2m'?"},
        {"dpmpp2m", "unknown sampler 'dpmpp2m'; did you mean 'dpmpp-2m'?"},
        {"plms", "unknown sampler 'plms'; known: euler, heun, ddim, dpmpp-2m"},
        {"", "no sampler is named; known: euler, heun, ddim, dpmpp-2m"},
        {"euler:eta=1", "euler takes no parameters, so no 'eta'"},
        {"ddim:etaa=1", "ddim has no parameter 'etaa'; did you mean 'eta'?"},
        {"ddim:foo=1", "ddim has no parameter 'foo'; known: eta, order, spacing, sigma_min, floor"},
        {"ddim:eta", "ddim: eta has no value; write eta=VALUE"},
        {"ddim:eta=", "ddim: eta= is not a number"},
        {"ddim:", "ddim has no parameter ''; known: eta, order, spacing, sigma_min, floor"},
        {"ddim:eta=2", "ddim: eta=2 is outside [0, 1]"},
        {"ddim:eta=-0.1", "ddim: eta=-0.1 is outside [0, 1]"},
        {"ddim:eta=nan", "ddim: eta=nan is not a number"},
        {"ddim:eta=0.5x", "ddim: eta=0.5x is not a number"},
        {"ddim:eta=0 .5", "ddim: eta=0 .5 is not a number"},
        {"ddim:eta=0x1", "ddim: eta=0x1 is not a number"},
        {"ddim:eta=1e999", "ddim: eta=1e999 is not a number"},
        {"ddim:order=1.5", "ddim: order=1.5 is not a whole number"},
        {"ddim:eta=0,eta=1", "ddim: eta is given twice"},
        {"ddim:spacing=lead", "ddim: spacing=lead is none of leading|linspace|trailing"},
        {"ddim:spacing=", "ddim: spacing= is none of leading|linspace|trailing"},
        {"ddim:sigma_min=-1", "ddim: sigma_min=-1 is below 0"},
        {"ddim:floor=0.75", "ddim: floor=0.75 is above 0.5"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_choice c;
        vn_err err = {0};
        assert_int_equal(parse(refused[i].text, &c, &err), VN_BAD_ARGUMENT);
        assert_string_equal(err.text, refused[i].words);
        assert_int_equal(parse(refused[i].text, &c, NULL), VN_BAD_ARGUMENT);
    }
}

static void endless_input_is_refused_briefly(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'e', sizeof text);
    text[sizeof text - 1] = 0;
    vn_choice c;
    vn_err err = {0};
    assert_int_equal(parse(text, &c, &err), VN_BAD_ARGUMENT);
    assert_in_range(strlen(err.text), 1, 200);
    memcpy(text, "ddim:eta=", 9);
    assert_int_equal(parse(text, &c, &err), VN_BAD_ARGUMENT);
    assert_in_range(strlen(err.text), 1, 200);
}

/* What was chosen, written down and read again, is the same choice. */
static void choices_survive_being_written(void **state) {
    (void)state;
    static const char *const texts[] = {
        "euler", "ddim:eta=0.1", "ddim:order=3,spacing=trailing",
        "ddim:eta=0.3333333333333333,sigma_min=1e-300,floor=-1e+30"};
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_choice c;
        assert_int_equal(parse(texts[i], &c, NULL), VN_OK);
        char *text = vn_choice_text(&c);
        assert_string_equal(text, texts[i]);
        vn_free(text);
    }
}

static void numbers_are_whole_texts(void **state) {
    (void)state;
    static const char *const numbers[] = {"1", "-1.5", "+2", ".5", "1e-3", "5."};
    static const char *const others[] = {"",     " 1", "1 ", "1,5",   "inf", "nan",
                                         "0x10", "1e", "-",  "1e400", "1-1", "--1"};
    double d = 7;
    int64_t i = 7;
    for (size_t k = 0; k < VN_COUNT(numbers); k++) assert_true(vn_parse_double(numbers[k], &d));
    for (size_t k = 0; k < VN_COUNT(others); k++) {
        d = 7;
        assert_false(vn_parse_double(others[k], &d));
        assert_false(vn_parse_int(others[k], &i));
        assert_true(d == 7 && i == 7);
    }
    assert_true(vn_parse_int("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(vn_parse_int("9223372036854775807", &i) && i == INT64_MAX);
    assert_false(vn_parse_int("9223372036854775808", &i));
    assert_false(vn_parse_int("1.0", &i));
}

/* A host program may have chosen a language that writes 0,5. Debian's C.UTF-8 is always there,
 * others are not. */
static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    static const char *const comma[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    bool set = false;
    for (size_t i = 0; i < VN_COUNT(comma) && !set; i++)
        set = setlocale(LC_NUMERIC, comma[i]) != NULL;
    if (!set) skip();
    double d;
    bool ok = vn_parse_double("0.25", &d);
    vn_choice c;
    vn_status status = parse("ddim:eta=0.25", &c, NULL);
    char *text = vn_choice_text(&c);
    setlocale(LC_NUMERIC, "C");
    assert_true(ok && d == 0.25 && !status);
    assert_string_equal(text, "ddim:eta=0.25");
    vn_free(text);
}

static void nearest_names_are_near(void **state) {
    (void)state;
    static const char *const names[] = {"rectified", "ddpm", "edm", "vp", "ve"};
    assert_string_equal(vn_nearest("rectifed", names, VN_COUNT(names)), "rectified");
    assert_string_equal(vn_nearest("RECTIFIED", names, VN_COUNT(names)), "rectified");
    assert_string_equal(vn_nearest("dppm", names, VN_COUNT(names)), "ddpm");
    assert_string_equal(vn_nearest("emd", names, VN_COUNT(names)), "edm");
    /* cut short, not misspelt */
    assert_string_equal(vn_nearest("rect", names, VN_COUNT(names)), "rectified");
    assert_string_equal(vn_nearest("Rec", names, VN_COUNT(names)), "rectified");
    assert_null(vn_nearest("cosine", names, VN_COUNT(names)));
    assert_null(vn_nearest("", names, VN_COUNT(names)));
    assert_null(vn_nearest("edm", names, 0));
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_choice c;
        vn_err err = {0};
        vn_status status = parse("ddim:eta=0.5,order=3", &c, &err);
        char *text = status ? NULL : vn_choice_text(&c);
        if (!status && !text) status = VN_NO_MEMORY;
        /* the copy to parse, the name, a text a parameter */
        if (!alloc_hit(&t, status)) assert_int_equal(t.n, 4);
        vn_free(text);
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static const vn_param mask_params[] = {
    {"file", "", 0, 0, 0, VN_PARAM_TEXT, "mask.png"},
    {"strength", "", 1, 0, 2, VN_PARAM_REAL, NULL},
    {"note", "", 0, 0, 0, VN_PARAM_TEXT, NULL},
    {0},
};
static const struct { vn_row row; } texts[] = {{{"mask", "", "", mask_params}}};

static vn_status parse_mask(const char *text, vn_choice *c, vn_err *err) {
    return vn_choice_parse(text, VN_TABLE("operator", texts, VN_COUNT(texts)), c, err);
}

static void text_is_a_value_like_others(void **state) {
    (void)state;
    vn_choice c, again;
    vn_err err = {0};
    assert_int_equal(parse_mask("mask", &c, &err), VN_OK);
    assert_string_equal(vn_choice_string(&c, 0), "mask.png");
    assert_string_equal(vn_choice_string(&c, 2), "");
    assert_int_equal(
        parse_mask("mask:note=\"a, b: \"\"c\"\" \",strength=0.5,file=x/y.png", &c, &err), VN_OK);
    assert_string_equal(vn_choice_string(&c, 0), "x/y.png");
    assert_string_equal(vn_choice_string(&c, 2), "a, b: \"c\" ");
    assert_true(c.value[1] == 0.5);
    char *text = vn_choice_text(&c);
    assert_string_equal(text, "mask:file=\"x/y.png\",strength=0.5,note=\"a, b: \"\"c\"\" \"");
    assert_int_equal(parse_mask(text, &again, &err), VN_OK);
    for (size_t i = 0; i < 3; i += 2)
        assert_string_equal(vn_choice_string(&again, i), vn_choice_string(&c, i));
    vn_free(text);
    char long_text[VN_MAX_CHOICE_TEXT + 20];
    memset(long_text, 'x', sizeof long_text - 1);
    memcpy(long_text, "mask:file=", 10);
    long_text[10 + VN_MAX_CHOICE_TEXT] = 0;
    assert_int_equal(parse_mask(long_text, &c, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "mask: the text of file is too long: 512 bytes of 511");
    long_text[9 + VN_MAX_CHOICE_TEXT] = 0;
    assert_int_equal(parse_mask(long_text, &c, &err), VN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(values_are_read_and_defaults_kept),
        cmocka_unit_test(spaces_around_words_do_not_count),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(endless_input_is_refused_briefly),
        cmocka_unit_test(choices_survive_being_written),
        cmocka_unit_test(numbers_are_whole_texts),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(nearest_names_are_near),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(text_is_a_value_like_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
