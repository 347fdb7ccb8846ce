/* test_png.c - every colour type, depth and interlacing of PNG is read as the standard says; what
 * is written comes back, text included; nothing half-written stays. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <png.h>
#include <stdlib.h>

#include "support/bound.h"
#include "support/scratch.h"
#include "support_image.h"

/* ---- reading --------------------------------------------------------------------------------- */

static const png_kind kinds[] = {
    {PNG_COLOR_TYPE_GRAY, 1, false, false, 0},
    {PNG_COLOR_TYPE_GRAY, 2, true, false, 0},
    {PNG_COLOR_TYPE_GRAY, 4, false, true, 5},
    {PNG_COLOR_TYPE_GRAY, 8, false, false, 0},
    {PNG_COLOR_TYPE_GRAY, 8, true, true, 77},
    {PNG_COLOR_TYPE_GRAY, 16, false, false, 0},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, false, 0},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 16, true, false, 0},
    {PNG_COLOR_TYPE_RGB, 8, false, false, 0},
    {PNG_COLOR_TYPE_RGB, 8, true, true, 0},
    {PNG_COLOR_TYPE_RGB, 16, false, false, 0},
    {PNG_COLOR_TYPE_RGBA, 8, true, false, 0},
    {PNG_COLOR_TYPE_RGBA, 16, false, false, 0},
    {PNG_COLOR_TYPE_PALETTE, 1, false, false, 0},
    {PNG_COLOR_TYPE_PALETTE, 2, true, false, 0},
    {PNG_COLOR_TYPE_PALETTE, 4, false, true, 3},
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
        clear = clear &&
                png_value(k, x, y, i) == (colour && !palette ? png_value(k, 0, 0, i) : k->clear);
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
        /* Rounded once, which is exact; where 16-bit shade and alpha are scaled to 8 before they
         * are mixed, three times by half a level. */
        const bool scaled = k->depth == 16 && k->colour_type & PNG_COLOR_MASK_ALPHA;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < channels; c++) {
                    const double got = image.pixels[(y * width + x) * channels + c],
                                 want = expected(k, x, y, c);
                    if (scaled)
                        expect_small(fabs(got - want), 3);
                    else
                        assert_true(got == round(want));
                }
        vn_image_free(&image);
    }
}

/* A header that promises what the limits forbid; libpng checks the header's own checksum, so that
 * is right. */
static void refuses_large_sizes(void **state) {
    (void)state;
    static const struct {
        uint32_t width, height;
        const char *words;
    } sizes[] = {
        {65536, 1, "picture of 65536x1: a side may have at most 65535 pixels"},
        {1, 0x7fffffff, "picture of 1x2147483647: a side may have at most 65535 pixels"},
        {17000, 1000,
         "picture of 17000x1000: reading it would take 119 MB, and one picture may take 105 MB "
         "(VANE_MEMORY=454M in the environment would allow it)"},
        {0, 5, "PNG: Invalid IHDR data"}};
    setenv("VANE_MEMORY", "400M", 1);
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
        assert_non_null(strstr(err.text, sizes[i].words));
        assert_null(image.pixels);
    }
    unsetenv("VANE_MEMORY");
}

/* More than 16384 pixels are no reason to refuse a picture that memory is there for. */
static void reads_what_is_very_wide(void **state) {
    (void)state;
    const png_kind kind = {PNG_COLOR_TYPE_RGB, 8, false, false, 0};
    png_make("wide.png", &kind, 17000, 2);
    vn_image image = image_must_read("wide.png"), small;
    assert_true(image.width == 17000 && image.height == 2);
    for (int c = 0; c < 3; c++)
        assert_int_equal(image.pixels[(17000 + 16999) * 3 + c], png_value(&kind, 16999, 1, c));
    assert_int_equal(vn_image_square(&image, 2, &small, NULL), VN_OK);
    assert_int_equal(small.pixels[0], image.pixels[3 * 8499]);
    vn_image_free(&small);
    vn_image_free(&image);
}

/* Text of a megabyte takes a kilobyte when it is packed. Pixels need none of it; who asks for text
 * is given up to 64 MB. */
static void text_that_unpacks_to_more_than_memory_is_not_unpacked(void **state) {
    (void)state;
    enum { EACH = 4 << 20, CHUNKS = 20 };
    char *blanks = malloc(EACH + 1);
    assert_non_null(blanks);
    memset(blanks, ' ', EACH);
    blanks[EACH] = 0;
    FILE *f = fopen("bomb.png", "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, f);
    png_set_IHDR(png, info, 1, 1, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_text text = {
        .compression = PNG_TEXT_COMPRESSION_zTXt, .key = "k", .text = blanks, .text_length = EACH};
    for (int i = 0; i < CHUNKS; i++) png_set_text(png, info, &text, 1);
    png_write_info(png, info);
    png_write_row(png, &(png_byte){9});
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
    free(blanks);

    vn_image image = image_must_read("bomb.png");
    assert_int_equal(image.pixels[0], 9);
    vn_image_free(&image);
    json_t *said = NULL;
    vn_err err = {0};
    assert_int_equal(vn_png_describe("bomb.png", &said, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "bomb.png: PNG: more than 64 MB of text");
    assert_null(said);
}

/* ---- writing --------------------------------------------------------------------------------- */

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
    const vn_setting settings[] = {
        {"seed", "18446744073709551615"},
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
        assert_string_equal(json_string_value(json_object_get(text, settings[i].key)),
                            settings[i].value);
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
        assert_int_equal(vn_png_write("key.png", &image, &(vn_setting){keys[i], "x"}, 1, &err),
                         VN_BAD_ARGUMENT);
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
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_large_sizes),
        cmocka_unit_test(reads_what_is_very_wide),
        cmocka_unit_test(text_that_unpacks_to_more_than_memory_is_not_unpacked),

        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(keeps_settings),
        cmocka_unit_test(refuses_bad_keys),
        cmocka_unit_test(says_why_it_cannot_write),
        cmocka_unit_test(describes_only_png),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
