/* test_hostile.c - damaged pictures and failing allocations: refused in one line or read, never a
 * crash, a leak or an uninitialised pixel. Run under the sanitizers by ./check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/alloc.h"
#include "support/mutate.h"
#include "support_image.h"

enum { MUTATIONS = 400 };

static void read_or_refuse(const char *path) {
    vn_image image;
    vn_err err = {0};
    const vn_status status = vn_image_read(path, &image, &err);
    if (!status) {
        unsigned sum = 0;
        for (size_t i = 0; i < (size_t)image.width * (size_t)image.height * (size_t)image.channels;
             i++)
            sum += image.pixels[i];
        assert_true(sum > 0);
        vn_image_free(&image);
        assert_int_equal(vn_image_probe(path, &image, &err), VN_OK);
    } else {
        assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED);
        assert_non_null(strstr(err.text, path));
        assert_null(strchr(err.text, '\n'));
        assert_null(image.pixels);
    }
}

static void describe_or_refuse(const char *path) {
    json_t *said = NULL;
    vn_err err = {0};
    const vn_status status = vn_png_describe(path, &said, &err);
    assert_true(!status ? said != NULL : status == VN_BAD_FILE && strstr(err.text, path));
    json_decref(said);
}

static void refuse_cut(const char *path) {
    vn_image image;
    vn_err err = {0};
    assert_int_equal(vn_image_read(path, &image, &err), VN_BAD_FILE);
    assert_non_null(strstr(err.text, path));
}

static void make_png(const char *path) {
    vn_image image = image_must_read(GOLDEN("resize-in.png"));
    assert_int_equal(vn_png_write(path, &image,
                                  (vn_setting[]){{"seed", "7"}, {"class", "caf\xc3\xa9"}}, 2, NULL),
                     VN_OK);
    vn_image_free(&image);
}

static void survives_damaged_png(void **state) {
    (void)state;
    make_png("valid.png");
    mutate_each("valid.png", "damaged.png", MUTATIONS, read_or_refuse);
    mutate_each("valid.png", "damaged.png", MUTATIONS / 2, describe_or_refuse);
    mutate_truncations("valid.png", "damaged.png", refuse_cut);
    const png_kind interlaced = {3, 4, true, true, 2}; /* palette */
    png_make("small.png", &interlaced, 7, 5);
    mutate_each("small.png", "damaged.png", MUTATIONS, read_or_refuse);
    mutate_truncations("small.png", "damaged.png", refuse_cut);
}

static void survives_damaged_jpeg(void **state) {
    (void)state;
    mutate_each(GOLDEN("subsampled.jpg"), "damaged.jpg", MUTATIONS, read_or_refuse);
    mutate_each(GOLDEN("progressive.jpg"), "damaged.jpg", MUTATIONS, read_or_refuse);
    mutate_each(GOLDEN("grey.jpg"), "damaged.jpg", MUTATIONS, read_or_refuse);
    mutate_truncations(GOLDEN("progressive.jpg"), "damaged.jpg", refuse_cut);
}

/* libwebp itself takes files that lack their last byte, as well as any in which only what it does
 * not look at is missing. */
static void survives_damaged_webp(void **state) {
    (void)state;
    static const char *const valid[] = {PICTURE("lossy.webp"), PICTURE("lossless-6.webp"),
                                        PICTURE("clear-lossy.webp"), PICTURE("frames.webp")};
    for (size_t i = 0; i < VN_COUNT(valid); i++) {
        mutate_each(valid[i], "damaged.webp", MUTATIONS, read_or_refuse);
        mutate_truncations(valid[i], "damaged.webp", read_or_refuse);
    }
}

static void survives_damaged_inks(void **state) {
    (void)state;
    mutate_each(PICTURE("cmyk.jpg"), "damaged.jpg", MUTATIONS, read_or_refuse);
    mutate_each(PICTURE("ycck.jpg"), "damaged.jpg", MUTATIONS, read_or_refuse);
}

/* ---- EXIF ------------------------------------------------------------------------------------ */

static void must_read(const char *path) {
    vn_image image = image_must_read(path), head;
    assert_int_equal(vn_image_probe(path, &head, NULL), VN_OK);
    assert_true(head.width == image.width && head.height == image.height);
    assert_int_equal(image.width * image.height, 13 * 9);
    vn_image_free(&image);
}

/* Whatever EXIF data holds, the picture is read, and its header says the size that its pixels
 * have. */
static void malformed_exif_is_harmless(void **state) {
    (void)state;
    static const char *const files[] = {PICTURE("turned-6.jpg"), PICTURE("before-6.png"),
                                        PICTURE("behind-6.png"), PICTURE("lossless-6.webp")};
    enum { BLOCK = 48, TURNS = 300 };
    for (size_t i = 0; i < VN_COUNT(files); i++) {
        size_t size, at = 0;
        char *bytes = scratch_read(files[i], &size);
        while (at + BLOCK < size && memcmp(bytes + at, "MM\0*", 4) != 0 &&
               memcmp(bytes + at, "II*", 4) != 0)
            at++;
        assert_true(at + BLOCK < size);
        uint8_t block[BLOCK];
        memcpy(block, bytes + at, BLOCK);
        for (int turn = 0; turn < TURNS; turn++) {
            mutator m = {.random = (uint64_t)turn,
                         .bytes = (uint8_t *)bytes + at,
                         .size = BLOCK,
                         .room = BLOCK};
            memcpy(bytes + at, block, BLOCK);
            mutate(&m);
            scratch_write("odd", bytes, size);
            must_read("odd");
        }
        free(bytes);
    }
}

/* ---- allocations ----------------------------------------------------------------------------- */

static vn_status read_png(vn_err *err) {
    vn_image image;
    const vn_status status = vn_image_read("valid.png", &image, err);
    vn_image_free(&image);
    return status;
}

static vn_status read_jpeg(vn_err *err) {
    vn_image image;
    const vn_status status = vn_image_read(GOLDEN("progressive.jpg"), &image, err);
    vn_image_free(&image);
    return status;
}

/* Lossy without transparency, here and below: the lossless decoder of libwebp 1.2.4 (Debian 12)
 * follows a pointer that it has not set when a table of 512 bytes gets no memory. 1.3.3 does
 * not. */
static vn_status read_webp(vn_err *err) {
    vn_image image;
    const vn_status status = vn_image_read(PICTURE("lossy.webp"), &image, err);
    vn_image_free(&image);
    return status;
}

static vn_status read_frames(vn_err *err) {
    vn_image image;
    const vn_status status = vn_image_read(PICTURE("frames.webp"), &image, err);
    vn_image_free(&image);
    return status;
}

static vn_status read_turned(vn_err *err) {
    vn_image image;
    const vn_status status = vn_image_read(PICTURE("turned-6.jpg"), &image, err);
    vn_image_free(&image);
    return status;
}

static vn_status probe_jpeg(vn_err *err) {
    vn_image image;
    return vn_image_probe(GOLDEN("colour.jpg"), &image, err);
}

static vn_status write_png(vn_err *err) {
    uint8_t pixels[300] = {0};
    const vn_image image = {10, 10, 3, pixels};
    return vn_png_write("out.png", &image, (vn_setting[]){{"class", "caf\xc3\xa9"}, {"seed", "1"}},
                        2, err);
}

static vn_status describe_png(vn_err *err) {
    json_t *said = NULL;
    const vn_status status = vn_png_describe("valid.png", &said, err);
    json_decref(said);
    return status;
}

static vn_status resize(vn_err *err) {
    uint8_t pixels[48] = {0};
    const vn_image image = {4, 4, 3, pixels};
    vn_image out;
    vn_status status = vn_image_square(&image, 3, &out, err);
    if (!status) status = vn_image_set_channels(&out, 1, err);
    if (!status) status = vn_image_set_channels(&out, 3, err);
    vn_image_free(&out);
    return status;
}

static double flat(void *self, int32_t label, const double *x) {
    (void)self, (void)label, (void)x;
    return 1;
}

static vn_status show(vn_err *err) {
    static const float samples[8];
    static const int32_t labels[] = {0, 1};
    const vn_show grid = {.samples = samples,
                          .count = 2,
                          .channels = 1,
                          .height = 2,
                          .width = 2,
                          .labels = labels,
                          .classes = 2};
    const double times[] = {1, 0};
    const vn_show points = {.samples = samples,
                            .count = 2,
                            .labels = labels,
                            .classes = 2,
                            .dimension = 2,
                            .density = flat,
                            .trace = samples,
                            .trace_times = times,
                            .trace_levels = 2};
    vn_image out;
    vn_status status = vn_show_grid(&grid, &out, err);
    vn_image_free(&out);
    if (!status) status = vn_show_points(&points, &out, err);
    vn_image_free(&out);
    return status;
}

static void says_when_memory_is_out(void **state) {
    (void)state;
    /* Some go on after one failure: libjpeg asks for less, stdio does without a buffer, probing
     * reads another way, qsort sorts in place. */
    static const struct {
        vn_status (*run)(vn_err *);
        bool recovers;
    } calls[] = {{read_png, false},     {read_jpeg, true},  {probe_jpeg, true}, {write_png, true},
                 {describe_png, false}, {resize, false},    {show, true},       {read_webp, false},
                 {read_frames, false},  {read_turned, true}};
    make_png("valid.png");
    for (size_t i = 0; i < VN_COUNT(calls); i++) {
        vn_err err = {0};
        assert_int_equal(calls[i].run(&err), VN_OK);
        for (alloc_turn t = {.recovers = calls[i].recovers}; alloc_next(&t);) {
            const vn_status status = calls[i].run(&err);
            if (alloc_hit(&t, status)) assert_true(status == VN_NO_MEMORY || t.mode == ALLOC_ONCE);
        }
    }
    assert_int_equal(scratch_count("."), 2); /* valid.png and out.png, nothing aside */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(survives_damaged_png, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(survives_damaged_jpeg, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(survives_damaged_webp, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(survives_damaged_inks, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(malformed_exif_is_harmless, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(says_when_memory_is_out, scratch_enter, scratch_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
