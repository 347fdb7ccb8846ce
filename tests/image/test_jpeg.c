/* test_jpeg.c - JPEGs decode to libjpeg's own pixels (golden/images.py); what would be grey filling
 * is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <jpeglib.h>

#include "support/scratch.h"
#include "support_image.h"

static void decodes_as_libjpeg_does(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{GOLDEN("colour.jpg"), GOLDEN("colour.png")},
                                           {GOLDEN("subsampled.jpg"), GOLDEN("subsampled.png")},
                                           {GOLDEN("progressive.jpg"), GOLDEN("progressive.png")},
                                           {GOLDEN("grey.jpg"), GOLDEN("grey.png")}};
    for (size_t i = 0; i < VN_COUNT(pairs); i++) {
        vn_image decoded = image_must_read(pairs[i][0]), golden = image_must_read(pairs[i][1]),
                 head;
        assert_int_equal(image_difference(&decoded, &golden), 0);
        assert_int_equal(vn_image_probe(pairs[i][0], &head, NULL), VN_OK);
        assert_true(head.width == golden.width && head.height == golden.height &&
                    head.channels == golden.channels);
        vn_image_free(&decoded);
        vn_image_free(&golden);
    }
}

/* libjpeg itself only warns: it fills the rest with grey. The last two bytes are the end marker,
 * which it can do without. */
static void refuses_files_cut_short(void **state) {
    (void)state;
    size_t size;
    char *bytes = scratch_read(GOLDEN("subsampled.jpg"), &size);
    for (size_t n = 0; n < size; n++) {
        vn_image image;
        vn_err err = {0};
        const vn_status status = vn_image_decode(bytes, n, &image, &err);
        assert_int_equal(status, VN_BAD_FILE);
        assert_true(err.text[0] != '\0');
        assert_null(image.pixels);
    }
    free(bytes);
}

/* A baseline file whose last scan is repeated `times` times: legal for the format, endless work for
 * a reader. */
static void make_many_scans(const char *path, int times) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    static const jpeg_scan_info scans[] = {
        {1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}};
    uint8_t row[16 * 3] = {0}, *rows = row;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &size);
    jpeg.image_width = jpeg.image_height = 16;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg.scan_info = scans;
    jpeg.num_scans = 3;
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < 16; y++) jpeg_write_scanlines(&jpeg, &rows, 1);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);

    size_t last = size - 2;
    while (bytes[last] != 0xff || bytes[last + 1] != 0xda) last--;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(bytes, 1, last, f);
    for (int i = 0; i < times; i++) fwrite(bytes + last, 1, size - 2 - last, f);
    fwrite(bytes + size - 2, 1, 2, f);
    assert_int_equal(fclose(f), 0);
    free(bytes);
}

static void bounds_the_scans(void **state) {
    (void)state;
    vn_image image;
    vn_err err = {0};
    make_many_scans("few.jpg", 3);
    assert_int_equal(vn_image_read("few.jpg", &image, &err), VN_OK);
    vn_image_free(&image);
    make_many_scans("many.jpg", 1000);
    assert_int_equal(vn_image_read("many.jpg", &image, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "many.jpg: JPEG: more than 200 scans");
}

static void tells_kinds_by_content(void **state) {
    (void)state;
    vn_image image;
    vn_err err = {0};
    scratch_write_text("empty.jpg", "");
    assert_int_equal(vn_image_read("empty.jpg", &image, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "empty.jpg: empty file");
    scratch_write_text("text.jpg", "hello");
    assert_int_equal(vn_image_read("text.jpg", &image, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "text.jpg: no picture of a known kind (PNG, JPEG or WebP)");
    assert_int_equal(vn_image_read("missing.jpg", &image, &err), VN_IO);
    assert_int_equal(vn_image_read(".", &image, &err), VN_IO);
    assert_int_equal(vn_image_probe("text.jpg", &image, &err), VN_BAD_FILE);
    assert_int_equal(vn_image_probe("missing.jpg", &image, &err), VN_IO);
}

/* Headers may be long: thumbnails and profiles stand before the size. */
static void probes_long_headers(void **state) {
    (void)state;
    size_t size;
    char *bytes = scratch_read(GOLDEN("colour.jpg"), &size);
    FILE *f = fopen("long.jpg", "wb");
    assert_non_null(f);
    fwrite(bytes, 1, 2, f);
    for (int i = 0; i < 3; i++) {
        static uint8_t comment[2 + 65535] = {0xff, 0xfe, 0xff, 0xff};
        fwrite(comment, 1, sizeof comment, f);
    }
    fwrite(bytes + 2, 1, size - 2, f);
    assert_int_equal(fclose(f), 0);
    free(bytes);
    vn_image head;
    vn_err err = {0};
    assert_int_equal(vn_image_probe("long.jpg", &head, &err), VN_OK);
    assert_true(head.width == 35 && head.height == 27 && head.channels == 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_as_libjpeg_does), cmocka_unit_test(refuses_files_cut_short),
        cmocka_unit_test(bounds_the_scans),        cmocka_unit_test(tells_kinds_by_content),
        cmocka_unit_test(probes_long_headers),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
