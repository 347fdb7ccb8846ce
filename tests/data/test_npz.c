/* test_npz.c - archives that numpy wrote (golden/arrays.py): layouts, element types, byte orders,
 * names; refusals in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/internal.h"
#include "support/bound.h"
#include "support/scratch.h"
#include "support_data.h"

enum { N = 7, H = 4, W = 5, D = 3 };
static const vn_data_options plain = {.seed = 1};

static void check_images(const char *source, int channels, int classes, const char *last) {
    vn_data *data = must_open(source, &plain);
    const vn_data_info *info = vn_data_get_info(data);
    int32_t labels[N];
    float *x = read_all(data, labels);
    assert_string_equal(info->source, "npz");
    assert_true(info->count == N && info->classes == classes && vn_shape_is_image(&info->sample));
    assert_true(info->sample.dim[0] == channels && info->sample.dim[1] == H &&
                info->sample.dim[2] == W);
    for (int i = 0; i < N * H * W * channels; i++) {
        const int c = i % channels, w = i / channels % W, h = i / channels / W % H,
                  n = i / channels / W / H;
        assert_float_equal(x[i], (float)((131 * n + 17 * h + 5 * w + 71 * c) % 256) / 127.5f - 1.0f,
                           0.0);
    }
    for (int i = 0; i < N; i++) assert_int_equal(labels[i], classes > 0 ? i % 3 : VN_LABEL_NULL);
    if (classes > 0) assert_string_equal(vn_data_class_name(data, classes - 1), last);
    free(x);
    vn_data_close(&data);
}

static void reads_images(void **state) {
    (void)state;
    check_images(ARRAYS("grey"), 1, 3, "2");
    check_images(ARRAYS("colour"), 3, 3, "c \xe2\x98\x95");
    check_images(ARRAYS("planar"), 3, 3, "z"); /* its fourth class has no samples */
    check_images(ARRAYS("unlabelled"), 3, 0, NULL);
}

static void reads_points(void **state) {
    (void)state;
    static const char *const sources[] = {ARRAYS("points32"), ARRAYS("points64")};
    for (size_t i = 0; i < VN_COUNT(sources); i++) {
        vn_data *data = must_open(sources[i], &plain);
        const vn_data_info *info = vn_data_get_info(data);
        int32_t labels[N];
        float *x = read_all(data, labels);
        assert_true(!vn_shape_is_image(&info->sample) && info->sample.dim[0] == D &&
                    info->count == N && info->classes == 3);
        assert_float_equal(info->deviation, 2.0, 1e-12); /* of 0..6, in each coordinate */
        for (int k = 0; k < N * D; k++)
            assert_float_equal(x[k], (float)(k / D) - (float)(k % D) / 4.0f, 0.0);
        for (int k = 0; k < N; k++) assert_int_equal(labels[k], k % 3);
        free(x);
        vn_data_close(&data);
    }
}

/* Noise comes with its sample, whatever the order, the layout and the flips. */
static void noise_comes_with_its_sample(void **state) {
    (void)state;
    static const struct {
        const char *source;
        bool flip;
    } cases[] = {{ARRAYS("pairs-points"), false},
                 {ARRAYS("pairs-bytes"), true},
                 {ARRAYS("pairs-planar"), true}};
    for (size_t k = 0; k < VN_COUNT(cases); k++) {
        const vn_data_options options = {.seed = 4, .validate = 0.3, .flip = cases[k].flip};
        vn_data *data = must_open(cases[k].source, &options), *other = NULL;
        vn_err err = {0};
        assert_true(vn_data_get_info(data)->brings_noise);
        const size_t size = sample_size(data);
        float x[30 * H * W * 3], noise[30 * H * W * 3], alone[30 * H * W * 3];
        for (int part = VN_DATA_TRAIN; part <= VN_DATA_ALL; part++) {
            assert_int_equal(vn_data_pairs(data, part, 3, 30, x, noise, NULL, &err), VN_OK);
            for (size_t i = 0; i < 30 * size; i++)
                expect_small(fabsf(noise[i] - (10 * x[i] + 1)), 4e-6);
            assert_int_equal(vn_data_batch(data, part, 3, 30, alone, NULL, &err), VN_OK);
            assert_memory_equal(alone, x, 30 * size * sizeof *x);
        }
        /* the file's own samples, in its order */
        for (int i = 0; i < N && cases[k].flip; i++)
            for (size_t j = 0; j < size; j++) {
                const int n = i, c = (int)j % 3, w = (int)j / 3 % W, h = (int)j / 3 / W;
                const int byte = (131 * n + 17 * h + 5 * w + 71 * c) % 256;
                assert_int_equal(vn_data_at(data, i, x, NULL, &err), VN_OK);
                expect_small(fabsf(x[j] - ((float)byte / 127.5f - 1)), 4e-7);
            }
        vn_data_close(&data);
        other = must_open(ARRAYS("colour"), &plain);
        assert_int_equal(vn_data_pairs(other, VN_DATA_ALL, 0, 1, x, noise, NULL, &err),
                         VN_BAD_ARGUMENT);
        vn_data_close(&other);
    }
    /* what the noise is belongs to the fingerprint, and what data is to its description */
    vn_data *with = must_open(ARRAYS("pairs-bytes"), &plain),
            *without = must_open(ARRAYS("unlabelled"), &plain);
    assert_true(vn_data_get_info(with)->fingerprint != vn_data_get_info(without)->fingerprint);
    for (int i = 0; i < 2; i++) {
        json_t *told = NULL;
        assert_int_equal(vn_data_describe(i ? without : with, &told, NULL), VN_OK);
        assert_true((json_object_get(told, "noise") != NULL) == (i == 0));
        json_decref(told);
    }
    vn_data_close(&with);
    vn_data_close(&without);
}

/* The captions of sample i, in the order of the file; "" where it has no k-th. */
static const char *caption_of(int i, int k) {
    static const char *const texts[N] = {"a red \xC3\xA9"
                                         "clair",
                                         "\xE7\x8C\xAB\xE3\x81\x8C\xE5\xBA\xA7\xE3\x82\x8B",
                                         "e\xCC\x81 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7",
                                         "",
                                         "a dog",
                                         "a dog",
                                         NULL};
    static const char *const more[N] = {"", "1 more", "", "3 more", "", "5 more", ""};
    static char whole[301];
    if (k == 1) return more[i];
    memset(whole, 'x', 300);
    return texts[i] ? texts[i] : whole;
}

static void check_captions(const char *source, bool several) {
    vn_data *data = must_open(source, &plain);
    const vn_caption_info *info = vn_data_captions(data);
    bool drawn[N][2] = {{false}};
    assert_non_null(info);
    assert_string_equal(info->from, "array");
    assert_true(vn_data_get_info(data)->classes == 0 && info->longest == 300);
    assert_true(info->captions == (several ? 9 : 6) && info->distinct == (several ? 8 : 5));
    assert_int_equal(info->without, several ? 0 : 1);
    for (uint64_t position = 0; position < 64; position++)
        for (int i = 0; i < N; i++) {
            const int32_t number = vn_data_draw_caption(data, VN_DATA_TRAIN, position, i);
            const char *text = number < 0 ? "" : vn_data_caption(data, number);
            const int k = strcmp(text, caption_of(i, 0)) == 0 ? 0 : 1;
            assert_string_equal(text, caption_of(i, k));
            drawn[i][k] = true;
        }
    for (int i = 0; i < N; i++) /* each of them in 64 draws */
        assert_true(drawn[i][0] == (!several || i != 3) && drawn[i][1] == (several && i % 2));
    vn_data_close(&data);
}

/* Captions stand in the place of classes, unless they are left aside or named after those. */
static void reads_captions(void **state) {
    (void)state;
    check_captions(ARRAYS("captions"), false);
    check_captions(ARRAYS("captions-bytes"), false);
    check_captions(ARRAYS("captions-several"), true);
    vn_data *data = must_open(ARRAYS("captions"), &(vn_data_options){.captions = "none"});
    assert_null(vn_data_captions(data));
    assert_int_equal(vn_data_get_info(data)->classes, 3);
    vn_data_close(&data);
    data = must_open(ARRAYS("captions"), &(vn_data_options){.captions = "class"});
    assert_string_equal(vn_data_captions(data)->from, "class");
    vn_data_close(&data);
    /* points are trained by class, unless their captions are named */
    data = must_open(ARRAYS("captions-points"), &plain);
    assert_true(!vn_data_captions(data) && vn_data_get_info(data)->classes == 3);
    vn_data_close(&data);
    data = must_open(ARRAYS("captions-points"), &(vn_data_options){.captions = "array"});
    assert_int_equal(vn_data_captions(data)->captions, 6);
    vn_data_close(&data);
    must_refuse(ARRAYS("grey"), &(vn_data_options){.captions = "array"}, VN_BAD_FILE,
                "grey.npz: holds no \"captions\"");
    must_refuse(ARRAYS("captions"), &(vn_data_options){.captions = "text"}, VN_BAD_ARGUMENT,
                "captions=text has no effect");
}

static void refuses_in_words(void **state) {
    (void)state;
    static const struct {
        const char *source;
        vn_status status;
        const char *words;
    } cases[] = {
        {ARRAYS("no-fortran"), VN_UNSUPPORTED,
         "no-fortran.npz: images.npy: Fortran order is not supported"},
        {ARRAYS("no-half"), VN_UNSUPPORTED, "points.npy: element type \"<f2\" is not supported"},
        {ARRAYS("no-float-images"), VN_BAD_FILE,
         "no-float-images.npz: images of floats hold numbers up to 214: they are to lie in "
         "[-1, 1]"},
        {ARRAYS("no-noise-shape"), VN_BAD_FILE, "noise.npy: has not the shape of the points"},
        {ARRAYS("no-noise-count"), VN_BAD_FILE, "noise.npy: has not the shape of the images"},
        {ARRAYS("no-noise-bytes"), VN_UNSUPPORTED, "noise.npy: noise must be float32 or float64"},
        {ARRAYS("no-channels"), VN_UNSUPPORTED, "images.npy: images must have 1 or 3 channels"},
        {ARRAYS("no-count"), VN_BAD_FILE, "labels.npy: 6 labels for 7 samples"},
        {ARRAYS("no-negative"), VN_BAD_FILE, "labels.npy: label -1 of sample 0"},
        {ARRAYS("no-names"), VN_BAD_FILE, "class_names.npy: 2 names, but label 2 occurs"},
        {ARRAYS("no-objects"), VN_UNSUPPORTED, "class_names.npy: an array of objects is pickled"},
        {ARRAYS("no-records"), VN_UNSUPPORTED, "points.npy: arrays of records are not supported"},
        {ARRAYS("no-arrays"), VN_BAD_FILE,
         "no-arrays.npz: holds neither \"images\" nor \"points\""},
        {ARRAYS("no-finite"), VN_BAD_FILE, "no-finite.npz: points.npy: row 2 holds nan"},
        {ARRAYS("no-both"), VN_BAD_FILE, "no-both.npz: holds both \"images\" and \"points\""},
        {ARRAYS("no-samples"), VN_BAD_FILE, "images.npy: images of no size"},
        {ARRAYS("no-real-labels"), VN_UNSUPPORTED, "labels.npy: labels must be whole numbers"},
        {ARRAYS("no-utf8"), VN_BAD_FILE,
         "no-utf8.npz: captions.npy: sample 1: byte 0xE9 at offset 1 is not UTF-8"},
        {ARRAYS("no-character"), VN_BAD_FILE,
         "captions.npy: sample 1: letter 1 is U+D800, which is no character"},
        {ARRAYS("no-zero"), VN_BAD_FILE, "captions.npy: sample 0: the byte at offset 1 is 0"},
        {ARRAYS("no-caption"), VN_BAD_FILE, "no-caption.npz: all captions are empty"},
        {ARRAYS("no-caption-count"), VN_BAD_FILE,
         "captions.npy: texts of 6 samples, and there are 7"},
        {ARRAYS("no-caption-text"), VN_UNSUPPORTED, "captions.npy: must be texts"},
        {ARRAYS("no-caption-axes"), VN_UNSUPPORTED, "captions.npy: must be texts"},
        {ARRAYS("missing"), VN_IO, "missing.npz: "},
        {"folder.npz", VN_IO, "folder.npz: is a folder"},
    };
    mkdir("folder.npz", 0777);
    for (size_t i = 0; i < VN_COUNT(cases); i++)
        must_refuse(cases[i].source, &plain, cases[i].status, cases[i].words);
}

static void refuses_options_without_effect(void **state) {
    (void)state;
    must_refuse(ARRAYS("grey"), &(vn_data_options){.size = 8}, VN_BAD_ARGUMENT,
                "size has no effect");
    must_refuse(ARRAYS("grey"), &(vn_data_options){.grey = true}, VN_BAD_ARGUMENT,
                "grey has no effect");
    must_refuse(ARRAYS("points32"), &(vn_data_options){.flip = true}, VN_BAD_ARGUMENT,
                "flip has no effect on points");
    must_refuse(ARRAYS("grey"), &(vn_data_options){.validate = 0.6}, VN_BAD_ARGUMENT,
                "validate must lie in");
    must_refuse(ARRAYS("grey"), &(vn_data_options){.size = -2}, VN_BAD_ARGUMENT,
                "size must lie in");
}

/* A message of a label says what stands in the file. */
static void whole_numbers_are_told_in_all_their_digits(void **state) {
    (void)state;
    static const uint8_t ones[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    vn_npy a = {.kind = 'u', .bytes = 8};
    char text[32];
    vn_npy_int_text(&a, ones, text);
    assert_string_equal(text, "18446744073709551615");
    a.kind = 'i';
    vn_npy_int_text(&a, ones, text);
    assert_string_equal(text, "-1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_images),
        cmocka_unit_test(reads_points),
        cmocka_unit_test(noise_comes_with_its_sample),
        cmocka_unit_test(reads_captions),
        cmocka_unit_test(refuses_in_words),
        cmocka_unit_test(whole_numbers_are_told_in_all_their_digits),
        cmocka_unit_test(refuses_options_without_effect),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
