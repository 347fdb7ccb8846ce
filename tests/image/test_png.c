/* test_png.c - every colour type, depth and interlacing of PNG is read as the standard says; what is written comes back,
 * text included; nothing half-written stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <png.h>

#include "support/scratch.h"
#include "support_image.h"

/* ---- reading ---------------------------------------------------------------------------------------- */

static const png_kind kinds[] = {
    {PNG_COLOR_TYPE_GRAY, 1, false, false, 0},       {PNG_COLOR_TYPE_GRAY, 2, true, false, 0},
    {PNG_COLOR_TYPE_GRAY, 4, false, true, 5},        {PNG_COLOR_TYPE_GRAY, 8, false, false, 0},
    {PNG_COLOR_TYPE_GRAY, 8, true, true, 77},        {PNG_COLOR_TYPE_GRAY, 16, false, false, 0},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, false, 0}, {PNG_COLOR_TYPE_GRAY_ALPHA, 16, true, false, 0},
    {PNG_COLOR_TYPE_RGB, 8, false, false, 0},        {PNG_COLOR_TYPE_RGB, 8, true, true, 0},
    {PNG_COLOR_TYPE_RGB, 16, false, false, 0},       {PNG_COLOR_TYPE_RGBA, 8, true, false, 0},
    {PNG_COLOR_TYPE_RGBA, 16, false, false, 0},      {PNG_COLOR_TYPE_PALETTE, 1, false, false, 0},
    {PNG_COLOR_TYPE_PALETTE, 2, true, false, 0},     {PNG_COLOR_TYPE_PALETTE, 4, false, true, 3},
    {PNG_COLOR_TYPE_PALETTE, 8, true, true, 200},
};

/* A value of `depth` bits as 8: the standard's rounding of value * 255 / (2^depth - 1). */
static double to_8(int value, int depth) {
    return value * 255.0 / ((1 << depth) - 1);
}

/* What the standard says a pixel is, on white. */
static double expected(const png_kind *k, int x, int y, int c) {
    const bool palette = k->colour_type == PNG_COLOR_TYPE_PALETTE,
               colour = (k->colour_type & PNG_COLOR_MASK_COLOR) != 0;
    const int value = png_value(k, x, y, palette ? 0 : c);
    const double shade = palette ? png_palette(value, c) : to_8(value, k->depth);
    if (k->colour_type & PNG_COLOR_MASK_ALPHA) {
        const double alpha = to_8(png_value(k, x, y, colour ? 3 : 1), k->depth) / 255.0;
        return alpha * shade + (1.0 - alpha) * 255.0;
    }
    if (!k->transparent) return shade;
    bool clear = true;
    for (int i = 0; i < (colour && !palette ? 3 : 1); i++)
        clear = clear && png_value(k, x, y, i) == (colour && !palette ? png_value(k, 0, 0, i) : k->clear);
    return clear ? 255.0 : shade;
}

static void reads_every_kind(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(kinds); i++) {
        const png_kind *k = &kinds[i];
        const int width = 13, height = 9, channels = k->colour_type & PNG_COLOR_MASK_COLOR ? 3 : 1;
        vn_image head, image;
        vn_err err = {0};
        png_make("kind.png", k, width, height);
        assert_int_equal(vn_image_probe("kind.png", &head, &err), VN_OK);
        assert_null(head.pixels);
        assert_int_equal(vn_image_read("kind.png", &image, &err), VN_OK);
        assert_true(image.width == width && image.height == height && image.channels == channels);
        assert_true(head.width == width && head.height == height && head.channels == channels);
        /* One rounding; three where 16-bit shade and alpha are scaled to 8 before they are mixed. */
        const double tolerance = k->depth == 16 && k->colour_type & PNG_COLOR_MASK_ALPHA ? 1.5 : 0.501;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < channels; c++)
                    assert_float_equal(image.pixels[(y * width + x) * channels + c], expected(k, x, y, c), tolerance);
        vn_image_free(&image);
    }
}

/* A header that promises what the limits forbid; libpng checks the header's own checksum, so that is right. */
static void refuses_large_sizes(void **state) {
    (void)state;
    static const struct { uint32_t width, height; } sizes[] = {{16385, 1}, {1, 0x7fffffff}, {16384, 16384}, {0, 5}};
    for (size_t i = 0; i < VN_COUNT(sizes); i++) {
        const png_kind kind = {PNG_COLOR_TYPE_RGB, 8, false, false, 0};
        png_make("large.png", &kind, 2, 2);
        size_t size;
        uint8_t *bytes = (uint8_t *)scratch_read("large.png", &size);
        png_save_uint_32(bytes + 16, sizes[i].width);
        png_save_uint_32(bytes + 20, sizes[i].height);
        uint32_t crc = 0xffffffffu;
        for (int k = 12; k < 29; k++) {
            crc ^= bytes[k];
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        png_save_uint_32(bytes + 29, ~crc);
        scratch_write("large.png", bytes, size);
        free(bytes);
        vn_image image;
        vn_err err = {0};
        assert_int_equal(vn_image_read("large.png", &image, &err), VN_BAD_FILE);
        assert_non_null(strstr(err.text, "large.png: "));
        assert_null(image.pixels);
    }
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static vn_image pattern(int width, int height, int channels) {
    vn_image image;
    assert_int_equal(vn_image_alloc(&image, width, height, channels, NULL), VN_OK);
    for (int i = 0; i < width * height * channels; i++) image.pixels[i] = (uint8_t)(i * 7 + i / 50);
    return image;
}

static void writes_what_it_reads(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        vn_image image = pattern(31, 17, channels);
        vn_err err = {0};
        assert_int_equal(vn_png_write("out.png", &image, NULL, 0, &err), VN_OK);
        vn_image back = image_must_read("out.png");
        assert_int_equal(image_difference(&image, &back), 0);
        vn_image_free(&image);
        vn_image_free(&back);
    }
}

static void keeps_settings(void **state) {
    (void)state;
    const vn_setting settings[] = {{"seed", "18446744073709551615"},
                                   {"vane command", "sample run --class \"caf\xc3\xa9 \xe2\x98\x95\""},
                                   {"empty", ""}};
    vn_image image = pattern(4, 3, 1);
    vn_err err = {0};
    json_t *said = NULL;
    assert_int_equal(vn_png_write("text.png", &image, settings, VN_COUNT(settings), &err), VN_OK);
    assert_int_equal(vn_png_describe("text.png", &said, &err), VN_OK);
    assert_int_equal(json_integer_value(json_object_get(said, "width")), 4);
    assert_int_equal(json_integer_value(json_object_get(said, "height")), 3);
    assert_int_equal(json_integer_value(json_object_get(said, "channels")), 1);
    const json_t *text = json_object_get(said, "text");
    assert_int_equal(json_object_size(text), VN_COUNT(settings));
    for (size_t i = 0; i < VN_COUNT(settings); i++)
        assert_string_equal(json_string_value(json_object_get(text, settings[i].key)), settings[i].value);
    json_decref(said);
    vn_image_free(&image);
}

static void refuses_bad_keys(void **state) {
    (void)state;
    static const char *const keys[] = {
        "",
        " lead",
        "trail ",
        "two  spaces",
        "caf\xc3\xa9",
        "line\n",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678x"};
    vn_image image = pattern(2, 2, 3);
    for (size_t i = 0; i < VN_COUNT(keys); i++) {
        vn_err err = {0};
        assert_int_equal(vn_png_write("key.png", &image, &(vn_setting){keys[i], "x"}, 1, &err), VN_BAD_ARGUMENT);
        assert_false(vn_is_file("key.png"));
    }
    vn_image_free(&image);
}

static void says_why_it_cannot_write(void **state) {
    (void)state;
    vn_image image = pattern(200, 200, 3);
    vn_err err = {0};
    assert_int_equal(vn_png_write("no/such/folder.png", &image, NULL, 0, &err), VN_IO);
    assert_non_null(strstr(err.text, "no/such/folder.png"));
    vn_image_free(&image);
}

static void describes_only_png(void **state) {
    (void)state;
    json_t *said = NULL;
    vn_err err = {0};
    scratch_write_text("not.png", "GIF89a");
    assert_int_equal(vn_png_describe("not.png", &said, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "not.png: not a PNG");
    assert_int_equal(vn_png_describe("missing.png", &said, &err), VN_IO);
    assert_null(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),     cmocka_unit_test(refuses_large_sizes),
        cmocka_unit_test(writes_what_it_reads), cmocka_unit_test(keeps_settings),
        cmocka_unit_test(refuses_bad_keys),     cmocka_unit_test(says_why_it_cannot_write),
        cmocka_unit_test(describes_only_png),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
