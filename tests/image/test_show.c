/* test_show.c - grids and plots put every sample where it belongs: rows by class, columns in order,
 * bands alike. Each sample has a colour of its own that text never has, and is looked for in the
 * picture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_image.h"

enum { WIDTH = 6, HEIGHT = 4, PLANE = WIDTH * HEIGHT };

typedef struct box {
    int left, top, right, bottom; /* right and bottom excluded */
    int count;
} box;

/* Sample i is all (i, 255 - i, 0). */
static float *make_samples(int count) {
    float *x = malloc(sizeof *x * 3 * PLANE * (size_t)count);
    assert_non_null(x);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < PLANE; k++) {
            x[(3 * i + 0) * PLANE + k] = (float)i / 127.5f - 1.0f;
            x[(3 * i + 1) * PLANE + k] = (float)(255 - i) / 127.5f - 1.0f;
            x[(3 * i + 2) * PLANE + k] = -1.0f;
        }
    return x;
}

static box find(const vn_image *image, int r, int g, int b) {
    box found = {image->width, image->height, 0, 0, 0};
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            const uint8_t *p = image->pixels + (y * image->width + x) * 3;
            if (p[0] != r || p[1] != g || p[2] != b) continue;
            found.left = x < found.left ? x : found.left;
            found.top = y < found.top ? y : found.top;
            found.right = x + 1 > found.right ? x + 1 : found.right;
            found.bottom = y + 1 > found.bottom ? y + 1 : found.bottom;
            found.count++;
        }
    return found;
}

static box find_sample(const vn_image *image, int i, int scale) {
    const box found = find(image, i, 255 - i, 0);
    assert_int_equal(found.right - found.left, WIDTH * scale);
    assert_int_equal(found.bottom - found.top, HEIGHT * scale);
    assert_int_equal(found.count, PLANE * scale * scale);
    return found;
}

/* How much of a region is not white: text that is there. */
static int ink(const vn_image *image, int left, int top, int right, int bottom) {
    int dark = 0;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++)
            dark += image->pixels[(y * image->width + x) * image->channels] < 128;
    return dark;
}

static vn_show show_of(const float *samples, const int32_t *labels, int count) {
    static const char *const names[] = {"a", "much longer name", "caf\xc3\xa9"};
    return (vn_show){.samples = samples,
                     .count = count,
                     .channels = 3,
                     .height = HEIGHT,
                     .width = WIDTH,
                     .labels = labels,
                     .names = names,
                     .classes = 3,
                     .scale = 2};
}

static vn_image must_show(const vn_show *show) {
    vn_image image;
    vn_err err = {0};
    assert_int_equal(vn_show_grid(show, &image, &err), VN_OK);
    return image;
}

static void rows_are_classes(void **state) {
    (void)state;
    const int32_t labels[] = {2, 0, -1, 0, 2, 0, 1};
    float *x = make_samples(7);
    const vn_show show = show_of(x, labels, 7);
    vn_image image = must_show(&show);
    /* no class: last */
    static const int rows[4][3] = {{1, 3, 5}, {6, -1, -1}, {0, 4, -1}, {2, -1, -1}};
    int bottom = 0;
    box first[3] = {0};
    for (int r = 0; r < 4; r++) {
        const box start = find_sample(&image, rows[r][0], 2);
        assert_true(start.top >= bottom);
        bottom = start.bottom;
        /* the name beside it */
        assert_true(ink(&image, 0, start.top, start.left, start.bottom) > 10);
        for (int c = 0; c < 3 && rows[r][c] >= 0; c++) {
            const box b = find_sample(&image, rows[r][c], 2);
            assert_int_equal(b.top, start.top);
            if (r == 0) first[c] = b;
            assert_int_equal(b.left, first[c].left);
            assert_true(c == 0 || b.left > find_sample(&image, rows[r][c - 1], 2).right);
        }
    }
    vn_image_free(&image);
    free(x);
}

static void bands_are_alike(void **state) {
    (void)state;
    const int32_t labels[] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};
    const vn_band bands[] = {{"guidance 1", 0, 6}, {NULL, 6, 6}};
    float *x = make_samples(12);
    vn_show show = show_of(x, labels, 12);
    show.bands = bands;
    show.band_count = 2;
    vn_image image = must_show(&show);
    const box a = find_sample(&image, 0, 2), b = find_sample(&image, 6, 2);
    for (int i = 0; i < 6; i++) {
        const box p = find_sample(&image, i, 2), q = find_sample(&image, 6 + i, 2);
        assert_int_equal(q.left - p.left, b.left - a.left);
        assert_int_equal(q.top - p.top, b.top - a.top);
    }
    const bool beside = b.left != a.left;
    assert_true(beside ? b.top == a.top : b.top > a.top);
    /* the title; the other has none */
    assert_true(ink(&image, a.left, 0, a.left + 3 * WIDTH * 2, a.top) > 10);
    if (beside) assert_int_equal(ink(&image, b.left, 0, image.width, b.top), 0);
    vn_image_free(&image);
    free(x);
}

/* One narrow column under a title: the picture is as wide as the title needs. */
static void titles_are_not_cut(void **state) {
    (void)state;
    const int32_t labels[] = {0, 1, 2};
    const vn_band bands[] = {{"guidance 2", 0, 3}}, longer[] = {{"guidance 2222", 0, 3}};
    float *x = make_samples(3);
    vn_show show = show_of(x, labels, 3);
    show.band_count = 1;
    show.bands = bands;
    vn_image image = must_show(&show);
    show.bands = longer;
    vn_image wider = must_show(&show);
    const box first = find_sample(&image, 0, 2);
    assert_true(image.width - first.left > 2 * WIDTH * 2);
    assert_true(wider.width > image.width);
    /* the last letters are there */
    assert_true(ink(&wider, image.width - 16, 0, wider.width, first.top) > 10);
    vn_image_free(&image);
    vn_image_free(&wider);
    free(x);
}

/* Wide bands go below each other, narrow ones beside: whatever is nearer to a pleasant shape. */
static void bands_choose_their_place(void **state) {
    (void)state;
    float *x = make_samples(60);
    int32_t labels[60];
    const vn_band bands[] = {{"one", 0, 30}, {"two", 30, 30}};
    vn_show show = show_of(x, NULL, 60);
    show.bands = bands;
    show.band_count = 2;
    show.columns = 30;
    vn_image wide = must_show(&show);
    assert_true(find_sample(&wide, 30, 2).top > find_sample(&wide, 0, 2).bottom);
    assert_int_equal(find_sample(&wide, 30, 2).left, find_sample(&wide, 0, 2).left);
    for (int i = 0; i < 60; i++) labels[i] = i % 3;
    show.labels = labels;
    show.columns = 2;
    show.scale = 6;
    vn_image high = must_show(&show);
    assert_true(find_sample(&high, 30, 6).left > find_sample(&high, 3, 6).right);
    assert_int_equal(find_sample(&high, 30, 6).top, find_sample(&high, 0, 6).top);
    vn_image_free(&wide);
    vn_image_free(&high);
    free(x);
}

static void columns_wrap(void **state) {
    (void)state;
    float *x = make_samples(11);
    vn_show show = show_of(x, NULL, 11);
    show.columns = 4;
    vn_image image = must_show(&show);
    const box first = find_sample(&image, 0, 2), next = find_sample(&image, 5, 2);
    for (int i = 0; i < 11; i++) {
        const box b = find_sample(&image, i, 2);
        assert_int_equal(b.left, first.left + i % 4 * (next.left - first.left));
        assert_int_equal(b.top, first.top + i / 4 * (next.top - first.top));
    }
    assert_int_equal(ink(&image, 0, 0, first.left, image.height), 0); /* no labels, no names */
    vn_image_free(&image);
    free(x);
}

static void choices_fit_the_picture(void **state) {
    (void)state;
    float *x = calloc(200 * 28 * 28, sizeof *x);
    assert_non_null(x);
    vn_show show = {.samples = x, .count = 200, .channels = 1, .height = 28, .width = 28};
    vn_image image = must_show(&show);
    assert_int_equal(image.channels, 1);
    /* 28 pixels are doubled; 200 samples make 15 columns and 14 rows. */
    assert_int_equal(image.width, 2 * 16 + 15 * 58 - 2);
    assert_int_equal(image.height, 2 * 16 + 14 * 58 - 2);
    vn_image_free(&image);
    free(x);
}

static void refuses_what_cannot_be_shown(void **state) {
    (void)state;
    const int32_t labels[] = {0, 3};
    const vn_band outside[] = {{NULL, 1, 2}};
    float *x = make_samples(2);
    vn_image image;
    vn_err err = {0};
    vn_show show = show_of(x, labels, 2);
    assert_int_equal(vn_show_grid(&show, &image, &err), VN_BAD_ARGUMENT);
    show = show_of(x, NULL, 0);
    assert_int_equal(vn_show_grid(&show, &image, &err), VN_BAD_ARGUMENT);
    show = show_of(x, NULL, 2);
    show.scale = 4000;
    assert_int_equal(vn_show_grid(&show, &image, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "16384"));
    show = show_of(x, NULL, 2);
    show.bands = outside;
    show.band_count = 1;
    assert_int_equal(vn_show_grid(&show, &image, &err), VN_BAD_ARGUMENT);
    assert_null(image.pixels);
    free(x);
}

/* A white sample under a name. */
static vn_image named(const char *name) {
    static const float sample[1] = {1.0f};
    static const int32_t label = 0;
    const char *const names[] = {name};
    const vn_show show = {.samples = sample,
                          .count = 1,
                          .channels = 1,
                          .height = 1,
                          .width = 1,
                          .labels = &label,
                          .names = names,
                          .classes = 1,
                          .scale = 20};
    return must_show(&show);
}

/* Every printable character has a shape, and no two the same. */
static void letters_differ(void **state) {
    (void)state;
    static vn_image pictures['~' - '!' + 1];
    for (char c = '!'; c <= '~'; c++) {
        const char name[2] = {c, '\0'};
        pictures[c - '!'] = named(name);
        assert_true(
            ink(&pictures[c - '!'], 0, 0, pictures[c - '!'].width, pictures[c - '!'].height) > 0);
        for (char d = '!'; d < c; d++)
            assert_true(image_difference(&pictures[c - '!'], &pictures[d - '!']) > 100);
    }
    for (size_t i = 0; i < VN_COUNT(pictures); i++) vn_image_free(&pictures[i]);
}

static bool same_picture(const char *a, const char *b) {
    vn_image one = named(a), other = named(b);
    const bool same = one.width == other.width && one.height == other.height &&
                      memcmp(one.pixels, other.pixels, (size_t)one.width * (size_t)one.height) == 0;
    vn_image_free(&one);
    vn_image_free(&other);
    return same;
}

/* Greek, Cyrillic, Vietnamese and typography: each has a shape, and those that are no Latin
 * letter's one of their own. */
static void other_alphabets_have_letters(void **state) {
    (void)state;
    static const char *const own[] = {
        "Γ", "Δ", "Θ", "Λ", "Ξ", "Π", "Σ", "Φ", "Ψ", "Ω", "α", "β", "γ", "δ", "ε", "ζ",
        "η", "θ", "ι", "κ", "λ", "μ", "ξ", "π", "ρ", "ς", "σ", "τ", "υ", "φ", "χ", "ψ",
        "ω", "Б", "Д", "Ж", "И", "Л", "У", "Ц", "Ч", "Ш", "Щ", "Ъ", "Ы", "Ь", "Э", "Ю",
        "Я", "б", "в", "г", "д", "ж", "з", "и", "л", "м", "н", "п", "т", "ф", "ц", "ч",
        "ш", "щ", "ъ", "ы", "ь", "э", "ю", "я", "Є", "є", "Ђ", "Љ", "Њ", "Ћ", "Џ", "љ",
        "њ", "ћ", "џ", "Ґ", "ґ", "Й", "й", "Ё", "ё", "ї", "ў", "ά", "ΐ", "ế", "ộ", "ữ",
        "ằ", "ỷ", "ơ", "ư", "ǚ", "ș", "ț", "ï", "¿", "«", "€", "“", "°", "?"};
    for (size_t i = 0; i < VN_COUNT(own); i++) {
        assert_false(same_picture(own[i], "#0"));
        for (size_t k = 0; k < i; k++)
            if (same_picture(own[i], own[k])) fail_msg("%s looks like %s", own[i], own[k]);
    }
    assert_true(same_picture("Ρ", "P") && same_picture("С", "C") && same_picture("З", "3"));
}

/* As file systems may hand them over. */
static void decomposed_letters_are_the_composed_ones(void **state) {
    (void)state;
    assert_true(same_picture("e\xCC\x81te\xCC\x81", "été"));
    assert_true(same_picture("\xD0\xB8\xCC\x86", "й"));
    assert_true(same_picture("o\xCC\xA3\xCC\x82", "ộ"));
    assert_true(same_picture("i\xCC\x88", "ï"));
}

static void a_name_without_all_its_letters_is_a_number(void **state) {
    (void)state;
    static const char *const others[] = {"靴",        "boot 靴", "سلام",      "",
                                         "a\033[31m", "\xFF",    "a\xCC\x8F", "\xF0\x9F\x91\x9F"};
    for (size_t i = 0; i < VN_COUNT(others); i++)
        if (!same_picture(others[i], "#0")) fail_msg("%s is not shown as #0", others[i]);
}

static void plots_points(void **state) {
    (void)state;
    const float points[] = {1, 1, -1, -1, -1, 1, NAN, 0, INFINITY, 0};
    const int32_t labels[] = {0, 0, 1, 0, 0};
    const vn_band bands[] = {{"first", 0, 2}, {"second", 2, 3}};
    const vn_show show = {.samples = points,
                          .count = 5,
                          .dimension = 2,
                          .labels = labels,
                          .classes = 2,
                          .bands = bands,
                          .band_count = 2};
    vn_image image;
    assert_int_equal(vn_show_points(&show, &image, NULL), VN_OK);
    assert_int_equal(image.channels, 3);
    /* The first colour: two dots in the left panel and the legend's; the second: one dot in the
     * right panel. */
    const box blue = find(&image, 31, 98, 184), orange = find(&image, 222, 108, 20);
    assert_in_range(blue.bottom - blue.top, 320, 360);
    assert_true(blue.left < image.width / 3 && orange.left > image.width / 3);
    assert_in_range(orange.top, blue.top - 1, blue.top + 40);
    vn_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_classes),
        cmocka_unit_test(bands_are_alike),
        cmocka_unit_test(titles_are_not_cut),
        cmocka_unit_test(bands_choose_their_place),
        cmocka_unit_test(columns_wrap),
        cmocka_unit_test(choices_fit_the_picture),
        cmocka_unit_test(refuses_what_cannot_be_shown),
        cmocka_unit_test(letters_differ),
        cmocka_unit_test(other_alphabets_have_letters),
        cmocka_unit_test(decomposed_letters_are_the_composed_ones),
        cmocka_unit_test(a_name_without_all_its_letters_is_a_number),
        cmocka_unit_test(plots_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
