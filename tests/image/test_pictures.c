/* test_pictures.c - pictures in every way that files keep them, to Pillow's pixels
 * (golden/pictures.py); and the kinds of files that are told apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scratch.h"
#include "support_image.h"

/* A picture whose pixels are those of NAME.rgb.png, but for `most` at each place; the header must
 * say the same size. */
static void must_be(const char *name, const char *ending, int most) {
    char path[512], expected[512];
    snprintf(path, sizeof path, PICTURE("%s.%s"), name, ending);
    snprintf(expected, sizeof expected, PICTURE("%s.rgb.png"), name);
    vn_image image = image_must_read(path), golden = image_must_read(expected), head;
    const int difference = image_difference(&image, &golden);
    if (difference > most) fail_msg("%s.%s differs by %d", name, ending, difference);
    assert_int_equal(vn_image_probe(path, &head, NULL), VN_OK);
    assert_true(head.width == image.width && head.height == image.height &&
                head.channels == image.channels);
    assert_null(head.pixels);
    vn_image_free(&image);
    vn_image_free(&golden);
}

static void all_eight_orientations_are_turned_upright(void **state) {
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        char name[32];
        snprintf(name, sizeof name, "turned-%d", orientation);
        must_be(name, "jpg", 0);
        snprintf(name, sizeof name, "lossless-%d", orientation);
        must_be(name, "webp", 0);
    }
}

/* A photograph by a phone held three ways: the same stored pixels. */
static void photographs_with_the_same_pixels_become_three(void **state) {
    (void)state;
    static const int corner[3][4] = {{3, 230, 221, 120}, {6, 19, 40, 209}, {8, 29, 180, 39}};
    for (size_t i = 0; i < VN_COUNT(corner); i++) {
        char path[512];
        snprintf(path, sizeof path, VN_SOURCE_DIR "/tests/cases/exif/a/orientation%d.jpg",
                 corner[i][0]);
        vn_image image = image_must_read(path);
        for (int c = 0; c < 3; c++)
            assert_in_range(image.pixels[c] + 8, corner[i][1 + c], corner[i][1 + c] + 16);
        vn_image_free(&image);
    }
}

static void a_png_is_turned_by_what_stands_before_or_behind_its_pixels(void **state) {
    (void)state;
    must_be("before-6", "png", 0);
    must_be("behind-6", "png", 0);
}

static void transparency_shows_white(void **state) {
    (void)state;
    must_be("rgba", "png", 0);
    must_be("la", "png", 0);
    must_be("palette-clear", "png", 0);
    must_be("clear", "webp", 0);
    must_be("clear-lossy", "webp", 0);
}

static void inks_become_rgb_whatever_the_marker(void **state) {
    (void)state;
    must_be("cmyk", "jpg", 0);
    must_be("cmyk-bare", "jpg", 0);
    must_be("ycck", "jpg", 0);
}

static void depths_are_rounded_to_8_bits_and_palettes_looked_up(void **state) {
    (void)state;
    must_be("grey16", "png", 0);
    must_be("one-bit", "png", 0);
    must_be("palette", "png", 0);
}

static void profiles_and_gamma_change_nothing(void **state) {
    (void)state;
    must_be("profile", "png", 0);
    must_be("gamma", "png", 0);
}

static void webp_is_read_lossy_and_of_an_animation_the_first_frame(void **state) {
    (void)state;
    must_be("lossy", "webp", 0);
    must_be("frames", "webp", 0);
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static const struct {
    const char *kind, *name, *begins; /* [12] */
    bool reads;
} kinds[] = {
    {"PNG", "a.Png", "\x89PNG\r\n\x1a\n\0\0\0\x0d", true},
    {"JPEG", "x/b.JPG", "\xff\xd8\xff\xe0\0\x10JFIF\0\x01", true},
    {"JPEG", "b.jpeg", "\xff\xd8\xff\xe0\0\x10JFIF\0\x01", true},
    {"JPEG", "b.jfif", "\xff\xd8\xff\xdb\0\x10....", true},
    {"WebP", "c.webp", "RIFF\x10\0\0\0WEBP", true},
    {"GIF", "d.gif", "GIF89a\1\0\1\0\0\0", false},
    {"BMP", "e.bmp", "BM\1\0\0\0\0\0\0\0\0\0", false},
    {"TIFF", "f.TIF", "II*\0\x08\0\0\0\0\0\0\0", false},
    {"TIFF", "f.tiff", "MM\0*\0\0\0\x08\0\0\0\0", false},
    {"HEIC", "IMG_0001.HEIC",
     "\0\0\0\x18"
     "ftypheic",
     false},
    {"AVIF", "g.avif",
     "\0\0\0\x18"
     "ftypavif",
     false},
    {"JPEG XL", "h.jxl", "\xff\x0a\0\0\0\0\0\0\0\0\0\0", false},
};

static void kinds_are_told_by_name_and_by_content(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(kinds); i++) {
        const vn_image_kind *named = vn_image_kind_named(kinds[i].name),
                            *is = vn_image_kind_of(kinds[i].begins, 12);
        if (!named || strcmp(named->name, kinds[i].kind) != 0)
            fail_msg("%s is not known", kinds[i].name);
        if (is != named) fail_msg("the content of %s is not known", kinds[i].name);
        assert_int_equal(named->reads, kinds[i].reads);
        assert_int_equal(vn_image_named(kinds[i].name), kinds[i].reads);
    }
    static const char *const none[] = {"png", ".png", "x/.png", "a.txt", "a.png.txt", "a.jp", ""};
    for (size_t i = 0; i < VN_COUNT(none); i++)
        if (vn_image_kind_named(none[i]))
            fail_msg("%s is a %s", none[i], vn_image_kind_named(none[i])->name);
    assert_null(vn_image_kind_of("hello, world", 12));
    assert_null(vn_image_kind_of("", 0));
}

/* What is said to a person must follow the table. */
static void words_name_each_kind_that_is_read(void **state) {
    (void)state;
    char text[256] = "";
    for (size_t i = 0; i < VN_COUNT(kinds); i++) {
        const vn_image_kind *kind = vn_image_kind_named(kinds[i].name);
        if (!kind->reads || strstr(text, kind->endings)) continue;
        strcat(text, kind->endings);
        assert_non_null(strstr(VN_IMAGE_KINDS, kind->name));
    }
    for (char *end = strtok(text, " "); end; end = strtok(NULL, " "))
        if (!strstr(VN_IMAGE_ENDINGS, end)) fail_msg("%s is not in " VN_IMAGE_ENDINGS, end);
}

static void a_kind_that_is_not_read_is_named(void **state) {
    (void)state;
    vn_image image;
    vn_err err = {0};
    scratch_write("photo.png",
                  "\0\0\0\x18"
                  "ftypheic\0\0\0\0",
                  16);
    assert_int_equal(vn_image_read("photo.png", &image, &err), VN_UNSUPPORTED);
    assert_string_equal(
        err.text,
        "photo.png: a HEIC file, which vane does not read: convert it to PNG, JPEG or WebP");
    assert_int_equal(vn_image_probe("photo.png", &image, &err), VN_UNSUPPORTED);
}

/* ---- describing ------------------------------------------------------------------------------ */

static void described(const char *path, const char *expected) {
    json_t *said = NULL;
    vn_err err = {0};
    if (vn_image_describe(path, &said, &err) != VN_OK) fail_msg("%s", err.text);
    char *text = json_dumps(said, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(said);
}

static void a_description_has_the_kind_and_the_upright_size(void **state) {
    (void)state;
    described(PICTURE("turned-6.jpg"),
              "{\"format\":\"JPEG\",\"width\":9,\"height\":13,\"channels\":3}");
    described(PICTURE("turned-3.jpg"),
              "{\"format\":\"JPEG\",\"width\":13,\"height\":9,\"channels\":3}");
    described(PICTURE("lossy.webp"),
              "{\"format\":\"WebP\",\"width\":35,\"height\":27,\"channels\":3}");
    described(PICTURE("behind-6.png"),
              "{\"format\":\"PNG\",\"width\":9,\"height\":13,\"channels\":3,\"text\":{}}");
    json_t *said = NULL;
    vn_err err = {0};
    scratch_write_text("not.jpg", "hello");
    assert_int_equal(vn_image_describe("not.jpg", &said, &err), VN_BAD_FILE);
    assert_null(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_eight_orientations_are_turned_upright),
        cmocka_unit_test(photographs_with_the_same_pixels_become_three),
        cmocka_unit_test(a_png_is_turned_by_what_stands_before_or_behind_its_pixels),
        cmocka_unit_test(transparency_shows_white),
        cmocka_unit_test(inks_become_rgb_whatever_the_marker),
        cmocka_unit_test(depths_are_rounded_to_8_bits_and_palettes_looked_up),
        cmocka_unit_test(profiles_and_gamma_change_nothing),
        cmocka_unit_test(webp_is_read_lossy_and_of_an_animation_the_first_frame),
        cmocka_unit_test(kinds_are_told_by_name_and_by_content),
        cmocka_unit_test(words_name_each_kind_that_is_read),
        cmocka_unit_test(a_kind_that_is_not_read_is_named),
        cmocka_unit_test(a_description_has_the_kind_and_the_upright_size),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
