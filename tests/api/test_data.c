/* test_data.c - data as people have it, through the public calls: labels with gaps, classes in
 * another order, pictures that cannot be read; and what is said of it before anything is
 * trained. */
#include "api/support_context.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "support/idx.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { SIDE = 8, N = 12 };

/* An IDX pair of N pictures with labels first + i mod 2 or, backwards, first + 1 - i mod 2. */
static void make_pair(const char *folder, int first, bool backwards, const char *names) {
    static unsigned char images[N * SIDE * SIDE], labels[N];
    char path[64];
    for (int i = 0; i < N; i++)
        labels[i] = (unsigned char)(first + (backwards ? 1 - i % 2 : i % 2));
    for (int i = 0; i < N * SIDE * SIDE; i++) images[i] = (unsigned char)(i * 37 % 251);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/train", folder);
    idx_write(path, "", (int[]){N, SIDE, SIDE}, images, labels, scratch_write);
    snprintf(path, sizeof path, "%s/labels.txt", folder);
    if (names) scratch_write_text(path, names);
}

static void train(const char *data, const char *run, int64_t steps, int resume) {
    vn_train_options o = resume ? vn_train_options_default() : tiny_options(steps);
    o.steps = steps;
    o.resume = resume;
    expect_ok(vn, vn_train(vn, data, run, &o, NULL));
}

static double nll(vn_model *m, const char *data) {
    vn_eval_options o = vn_eval_options_default();
    vn_likelihood_settings likelihood = vn_likelihood_settings_default();
    vn_eval_result r = vn_eval_result_default();
    o.metric = "nll";
    o.data = data;
    likelihood.rtol = likelihood.atol = 0.05;
    o.likelihood = &likelihood;
    expect_ok(vn, vn_eval(m, &o, &r));
    return r.measure[0].value;
}

/* Labels 1 and 2 are two classes of these names, in training, sampling, resuming and measuring. */
static void test_labels_from_one_are_as_many_classes_as_there_are(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *s = NULL;
    make_pair("ones", 1, false, NULL);
    train("ones", "run", 2, 0);
    train("ones", "run", 3, 1);
    expect_ok(vn, vn_model_open(vn, "run", &m));
    assert_int_equal(info_of(m).classes, 2);
    assert_string_equal(vn_model_label_name(m, 0), "1");
    assert_string_equal(vn_model_label_name(m, 1), "2");
    vn_sample_options o = vn_sample_options_default();
    o.count = 4;
    o.steps = 1;
    expect_ok(vn, vn_sample(m, &o, &s));
    for (int i = 0; i < 4; i++) assert_int_equal(vn_samples_labels(s)[i], i % 2);
    vn_samples_close(&s);

    /* The same data under other numbers, told by names. */
    const double expected = nll(m, "ones");
    make_pair("named", 0, false, "1\n2\n");
    make_pair("backwards", 0, true, "2\n1\n");
    assert_true(nll(m, "named") == expected && nll(m, "backwards") == expected);
    make_pair("other", 6, false, NULL);
    vn_eval_options e = vn_eval_options_default();
    vn_eval_result r = vn_eval_result_default();
    e.metric = "nll";
    e.data = "other";
    assert_int_equal(vn_eval(m, &e, &r), VN_BAD_ARGUMENT);
    assert_string_equal(vn_error_text(vn), "other: class 6 is none of the model's, which are 1, 2");
    vn_model_close(&m);
}

/* A run of a folder in which a picture is damaged: named before the first step, skipped, and
 * resumed after its repair or removal; the bits are those of a run that skipped it and never
 * stopped. */
static void test_a_run_goes_on_after_the_repair_of_what_was_named(void **state) {
    (void)state;
    vn_train_options o = tiny_options(4);
    assert_int_equal(
        system("cp -r " VN_SOURCE_DIR "/tests/cases/damaged . && chmod -R u+w damaged"), 0);
    expect_refused(vn_train(vn, "damaged", "never", &o, NULL), VN_BAD_FILE,
                   "damaged/a/17.png: PNG: the file ends too early; repair");
    assert_int_equal(access("never", F_OK), -1);
    o.skip_bad = 1;
    o.steps = 6;
    expect_ok(vn, vn_train(vn, "damaged", "whole", &o, NULL));
    o.steps = 4;
    expect_ok(vn, vn_train(vn, "damaged", "skipped", &o, NULL));
    assert_int_equal(system("cp damaged/17.png.good damaged/a/17.png"), 0);
    train("damaged", "skipped", 5, 1);
    assert_int_equal(system("rm damaged/a/17.png"), 0);
    train("damaged", "skipped", 6, 1);
    expect_same_file("whole/unet/diffusion_pytorch_model.safetensors",
                     "skipped/unet/diffusion_pytorch_model.safetensors");

    assert_int_equal(system("cp damaged/17.png.good damaged/a/17.png"), 0);
    train("damaged", "good", 4, 0);
    train("damaged", "good_whole", 5, 0);
    assert_int_equal(system("head -c 200 damaged/17.png.good > damaged/a/17.png"), 0);
    o = vn_train_options_default();
    o.resume = 1;
    o.steps = 5;
    expect_refused(vn_train(vn, "damaged", "good", &o, NULL), VN_BAD_FILE, "damaged/a/17.png");
    assert_int_equal(system("cp damaged/17.png.good damaged/a/17.png"), 0);
    train("damaged", "good", 5, 1);
    expect_same_file("good_whole/unet/diffusion_pytorch_model.safetensors",
                     "good/unet/diffusion_pytorch_model.safetensors");
    assert_int_equal(system("rm damaged/a/17.png"), 0); /* named before: it may go */
    train("damaged", "good", 6, 1);
    /* Its lists gone, a run goes on with the same files alone. */
    assert_int_equal(system("rm good/state/files"), 0);
    o.steps = 7;
    expect_refused(vn_train(vn, "damaged", "good", &o, NULL), VN_BAD_ARGUMENT,
                   "damaged is not the data that good was trained on");
}

/* ---- what data is, before anything is trained ------------------------------------------------ */

static json_t *describe(const char *path) {
    char *text = NULL;
    expect_ok(vn, vn_describe(vn, path, &text));
    json_t *out = json_loads(text, 0, NULL);
    assert_non_null(out);
    vn_text_free(&text);
    return out;
}

/* The description has these members and values. */
static void expect_members(const char *path, const char *json) {
    json_t *got = describe(path), *expected = json_loads(json, 0, NULL), *value;
    const char *key;
    assert_non_null(expected);
    json_object_foreach(expected, key, value) {
        if (json_equal(json_object_get(got, key), value)) continue;
        char *text = json_dumps(got, 0);
        fail_msg("%s: %s is not as expected in %s", path, key, text);
    }
    json_decref(got);
    json_decref(expected);
}

static void put_picture(const char *path, int width, int height, int channels) {
    vn_image image;
    assert_int_equal(vn_image_alloc(&image, width, height, channels, NULL), VN_OK);
    memset(image.pixels, 100, (size_t)(width * height * channels));
    assert_int_equal(vn_png_write(path, &image, NULL, 0, NULL), VN_OK);
    vn_image_free(&image);
}

static void test_data_is_described_before_it_is_trained_on(void **state) {
    (void)state;
    expect_members(VN_SOURCE_DIR "/tests/cases/nested",
                   "{\"is\": \"data\", \"kind\": \"folder\", \"count\": 8, \"size\": \"16x16\", "
                   "\"classes\": [{\"name\": \"a\", "
                   "\"count\": 5}, {\"name\": \"b\", \"count\": 3}], \"training_takes\": "
                   "{\"size\": \"16x16\", "
                   "\"channels\": 3}}");
    expect_members(VN_SOURCE_DIR "/tests/cases/edm_dataset",
                   "{\"count\": 3, \"classes\": [{\"name\": \"0\", \"count\": 1}, {\"name\": "
                   "\"1\", \"count\": 2}]}");
    expect_members(VN_SOURCE_DIR "/tests/cases/damaged",
                   "{\"count\": 39, \"unreadable\": [{\"file\": \"a/17.png\", \"why\": \"PNG: the "
                   "file ends too "
                   "early\"}], \"passed_over\": {\"picture(s) with another ending\": 1}}");
    mkdir("my photos", 0777);
    mkdir("my photos/cat", 0777);
    mkdir("my photos/dog", 0777);
    mkdir("my photos/eel", 0777);
    put_picture("my photos/cat/a.png", 8, 8, 1);
    put_picture("my photos/cat/b.png", 40, 30, 3);
    put_picture("my photos/dog/c.png", 8, 8, 1);
    scratch_write_text("my photos/dog/d.gif", "GIF89a");
    scratch_write_text("my photos/dog/e.png", "");
    expect_members(
        "my photos",
        "{\"count\": 3, \"sizes\": {\"different\": 2, \"smallest\": \"8x8\", \"largest\": "
        "\"40x30\", "
        "\"most_frequent\": \"8x8\", \"of_that_size\": 2}, \"colour\": 1, \"grey\": 2, "
        "\"unreadable\": "
        "[{\"file\": \"dog/e.png\", \"why\": \"empty file\"}], \"passed_over\": {\"GIF\": 1}, "
        "\"classes\": "
        "[{\"name\": \"cat\", \"count\": 2}, {\"name\": \"dog\", \"count\": 1}], "
        "\"classes_without_samples\": [\"eel\"], \"training_takes\": {\"size\": \"8x8\", "
        "\"channels\": 3}, "
        "\"train_with\": \"vane train 'my photos' --out runs/my-photos --minutes 30 --skip-bad\"}");
    mkdir("it's", 0777);
    mkdir("it's/cat", 0777);
    put_picture("it's/cat/a.png", 8, 8, 1);
    expect_members("it's",
                   "{\"train_with\": \"vane train 'it'\\\\''s' --out runs/it-s --minutes 30\"}");
    mkdir("猫", 0777);
    put_picture("猫/a.png", 8, 8, 1);
    expect_members("猫", "{\"train_with\": \"vane train '猫' --out 'runs/猫' --minutes 30\"}");
    make_pair("numbers", 1, false, NULL);
    expect_members(
        "numbers",
        "{\"kind\": \"idx\", \"count\": 12, \"shape\": [1, 8, 8], \"classes_without_samples\": "
        "[\"0\"], \"train_with\": \"vane train numbers --out runs/numbers --minutes 30\"}");
    expect_members("points:moons:count=10",
                   "{\"kind\": \"points\", \"count\": 10, \"training_takes\": {\"dimension\": "
                   "2}}");
    expect_members("my photos/cat", "{\"count\": 2, \"classes\": []}");
    char *text = NULL;
    mkdir("nothing", 0777);
    expect_refused(vn_describe(vn, "nothing", &text), VN_BAD_FILE,
                   "nothing: holds no pictures, nor do the folders in it");
    expect_refused(vn_describe(vn, "nowhere.npz", &text), VN_IO, "nowhere.npz");
    assert_null(text);
}

static void test_tensors_of_samples_are_counted_by_class(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *s = NULL;
    make_world("world.json");
    expect_ok(vn, vn_model_open(vn, "world.json", &m));
    vn_sample_options o = vn_sample_options_default();
    o.count = 5;
    o.steps = 1;
    expect_ok(vn, vn_sample(m, &o, &s));
    expect_ok(vn, vn_samples_save(s, "five.safetensors"));
    expect_members(
        "five.safetensors",
        "{\"is\": \"safetensors\", \"count\": 5, \"classes\": [{\"name\": \"0\", \"count\": "
        "3}, {\"name\": \"1\", \"count\": 2}]}");
    vn_samples_close(&s);
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_from_one_are_as_many_classes_as_there_are),
        cmocka_unit_test(test_a_run_goes_on_after_the_repair_of_what_was_named),
        cmocka_unit_test(test_data_is_described_before_it_is_trained_on),
        cmocka_unit_test(test_tensors_of_samples_are_counted_by_class),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
