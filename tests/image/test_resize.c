/* test_resize.c - resampling against Pillow's (golden/images.py), and what must hold exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_image.h"

static void agrees_with_pillow(void **state) {
    (void)state;
    static const struct {
        int width, height;
        const char *path;
    } cases[] = {{8, 8, GOLDEN("resize-8-8.png")},
                 {17, 40, GOLDEN("resize-17-40.png")},
                 {70, 11, GOLDEN("resize-70-11.png")},
                 {35, 27, GOLDEN("resize-35-27.png")},
                 {1, 1, GOLDEN("resize-1-1.png")}};
    vn_image in = image_must_read(GOLDEN("resize-in.png"));
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_image golden = image_must_read(cases[i].path), out;
        assert_int_equal(vn_image_resize(&in, cases[i].width, cases[i].height, &out, NULL), VN_OK);
        /* Pillow rounds to 8 bits between the passes */
        assert_in_range(image_difference(&out, &golden), 0, 1);
        vn_image_free(&out);
        vn_image_free(&golden);
    }
    vn_image_free(&in);
}

static vn_image noise(int width, int height, int channels) {
    vn_image image;
    assert_int_equal(vn_image_alloc(&image, width, height, channels, NULL), VN_OK);
    for (int i = 0; i < width * height * channels; i++)
        image.pixels[i] = (uint8_t)((unsigned)i * 2654435761u >> 24);
    return image;
}

static void same_size_changes_nothing(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        vn_image in = noise(19, 23, channels), out;
        assert_int_equal(vn_image_resize(&in, 19, 23, &out, NULL), VN_OK);
        assert_int_equal(image_difference(&in, &out), 0);
        vn_image_free(&in);
        vn_image_free(&out);
    }
}

static void one_colour_stays(void **state) {
    (void)state;
    for (int value = 0; value < 256; value += 51)
        for (int size = 1; size < 90; size += 8) {
            vn_image in = noise(37, 21, 1), out;
            memset(in.pixels, value, 37 * 21);
            assert_int_equal(vn_image_resize(&in, size, 90 - size, &out, NULL), VN_OK);
            for (int i = 0; i < size * (90 - size); i++) assert_int_equal(out.pixels[i], value);
            vn_image_free(&in);
            vn_image_free(&out);
        }
}

/* A pattern of single dark and light columns must become grey, not stripes of another width. */
static void does_not_alias(void **state) {
    (void)state;
    vn_image in = noise(128, 8, 1), out;
    for (int i = 0; i < 128 * 8; i++) in.pixels[i] = i % 2 ? 255 : 0;
    assert_int_equal(vn_image_resize(&in, 27, 8, &out, NULL), VN_OK);
    for (int y = 0; y < 8; y++)
        for (int x = 1; x < 26; x++)
            assert_in_range(out.pixels[y * 27 + x], 121, 134); /* measured 122..133 */
    vn_image_free(&in);
    vn_image_free(&out);
}

static void crops_the_middle(void **state) {
    (void)state;
    vn_image in = noise(30, 12, 3), out;
    assert_int_equal(vn_image_square(&in, 12, &out, NULL), VN_OK);
    for (int y = 0; y < 12; y++)
        assert_memory_equal(out.pixels + y * 36, in.pixels + (y * 30 + 9) * 3, 36);
    vn_image_free(&out);
    vn_image_free(&in);
    in = noise(5, 31, 1);
    assert_int_equal(vn_image_square(&in, 5, &out, NULL), VN_OK);
    assert_memory_equal(out.pixels, in.pixels + 13 * 5, 25);
    vn_image_free(&out);
    vn_image_free(&in);
}

static void changes_channels(void **state) {
    (void)state;
    vn_image image = noise(9, 7, 3), colour = noise(9, 7, 3);
    assert_int_equal(vn_image_set_channels(&image, 1, NULL), VN_OK);
    for (int i = 0; i < 63; i++) {
        const uint8_t *p = colour.pixels + 3 * i;
        assert_int_equal(image.pixels[i], lround(0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]));
    }
    vn_image grey = noise(9, 7, 1);
    memcpy(grey.pixels, image.pixels, 63);
    assert_int_equal(vn_image_set_channels(&image, 3, NULL), VN_OK);
    for (int i = 0; i < 189; i++) assert_int_equal(image.pixels[i], grey.pixels[i / 3]);
    assert_int_equal(vn_image_set_channels(&image, 1, NULL), VN_OK);
    assert_int_equal(image_difference(&image, &grey), 0);
    vn_image_free(&grey);
    vn_image_free(&image);
    vn_image_free(&colour);
}

/* A ramp from black to white over 65535 pixels: each of `size` averages its part, and by the
 * triangle's reach a little of its neighbours', which changes nothing but at the ends. */
static void very_wide_pictures_are_averaged_too(void **state) {
    (void)state;
    static const int sizes[] = {3, 8, 32};
    vn_image wide = {65535, 1, 1, NULL}, out;
    wide.pixels = malloc(65535);
    assert_non_null(wide.pixels);
    for (int i = 0; i < 65535; i++) wide.pixels[i] = (uint8_t)(i * 255 / 65534);
    for (size_t k = 0; k < VN_COUNT(sizes); k++) {
        assert_int_equal(vn_image_resize(&wide, sizes[k], 1, &out, NULL), VN_OK);
        for (int i = 1; i < sizes[k] - 1; i++)
            assert_in_range(out.pixels[i] + 1, 255 * (2 * i + 1) / (2 * sizes[k]) - 1,
                            255 * (2 * i + 1) / (2 * sizes[k]) + 2);
        vn_image_free(&out);
    }
    free(wide.pixels);
}

static void turns_samples_to_bytes(void **state) {
    (void)state;
    /* two channels would be planar: [C, H, W] */
    const float sample[] = {-1, 1, 0, -7, 7, NAN, 0.0039f, -0.5f};
    const uint8_t bytes[] = {0, 255, 128, 0, 255, 0, 128, 64};
    vn_image image;
    assert_int_equal(vn_image_from_sample(sample, 1, 2, 4, &image, NULL), VN_OK);
    assert_memory_equal(image.pixels, bytes, 8);
    vn_image_free(&image);
    const float planes[] = {-1, 0.2f, -0.6f, 1, 0.6f, -0.2f}; /* [3, 1, 2] */
    const uint8_t mixed[] = {0, 51, 204, 153, 255, 102};
    assert_int_equal(vn_image_from_sample(planes, 3, 1, 2, &image, NULL), VN_OK);
    assert_memory_equal(image.pixels, mixed, 6);
    vn_image_free(&image);
    vn_err err = {0};
    assert_int_equal(vn_image_from_sample(planes, 2, 1, 2, &image, &err), VN_BAD_ARGUMENT);
    assert_int_equal(vn_image_alloc(&image, 16385, 1, 1, &err), VN_BAD_ARGUMENT);
    assert_int_equal(vn_image_alloc(&image, 16384, 16384, 3, &err), VN_BAD_ARGUMENT);
}

static void pixels_become_squares(void **state) {
    (void)state;
    vn_image image;
    assert_int_equal(vn_image_alloc(&image, 2, 2, 3, NULL), VN_OK);
    for (int i = 0; i < 12; i++) image.pixels[i] = (uint8_t)(10 * i);
    assert_int_equal(vn_image_enlarge(&image, 1, NULL), VN_OK);
    assert_int_equal(image.width, 2);
    assert_int_equal(vn_image_enlarge(&image, 3, NULL), VN_OK);
    assert_true(image.width == 6 && image.height == 6 && image.channels == 3);
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 18; x++)
            assert_int_equal(image.pixels[18 * y + x], 10 * (6 * (y / 3) + 3 * (x / 9) + x % 3));
    vn_err err = {0};
    /* and is as it was */
    assert_int_equal(vn_image_enlarge(&image, VN_IMAGE_MAX_SIDE, &err), VN_BAD_ARGUMENT);
    assert_int_equal(image.width, 6);
    vn_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_become_squares),
        cmocka_unit_test(agrees_with_pillow),
        cmocka_unit_test(same_size_changes_nothing),
        cmocka_unit_test(one_colour_stays),
        cmocka_unit_test(does_not_alias),
        cmocka_unit_test(crops_the_middle),
        cmocka_unit_test(changes_channels),
        cmocka_unit_test(very_wide_pictures_are_averaged_too),
        cmocka_unit_test(turns_samples_to_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
