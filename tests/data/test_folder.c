/* test_folder.c - folders of pictures: classes, sizes, colours, and the background decoding: the
 * same batches for any number of threads and any memory, errors that surface where they belong,
 * threads that end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "image/image.h"
#include "support/scratch.h"
#include "support_data.h"

enum { WIDTH = 5, HEIGHT = 4, EACH = 11, COUNT = 3 * EACH };
static const vn_data_options plain = {.seed = 3, .threads = 2};

static int make(void **state) {
    scratch_enter(state);
    make_classes("tree", EACH, WIDTH, HEIGHT, 1);
    return 0;
}

static float level(uint8_t byte) {
    return (float)byte / 127.5f - 1.0f;
}

static void check_tree(vn_data *data, int channels) {
    const vn_data_info *info = vn_data_get_info(data);
    int32_t labels[COUNT];
    assert_string_equal(info->source, "folder");
    assert_true(info->count == COUNT && info->classes == 3 && info->sample.dim[0] == channels);
    assert_true(info->sample.dim[1] == HEIGHT && info->sample.dim[2] == WIDTH);
    float *x = read_all(data, labels);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(labels[i], i / EACH);
        for (int k = 0; k < WIDTH * HEIGHT * channels; k++)
            assert_float_equal(x[i * WIDTH * HEIGHT * channels + k],
                               level(data_pixel(i, k / channels)), 0.0);
    }
    free(x);
}

static void reads_classes(void **state) {
    (void)state;
    scratch_write_text("tree/notes.txt", "not a picture");
    mkdir("tree/.hidden", 0777);
    vn_data *data = must_open("tree/", &plain);
    check_tree(data, 1);
    assert_string_equal(vn_data_class_name(data, 0), "ant");
    assert_string_equal(vn_data_class_name(data, 2), "cat");
    vn_data_close(&data);
}

static void reads_pictures_alone(void **state) {
    (void)state;
    mkdir("tree/ant/nothing", 0777);
    vn_data *data = must_open("tree/ant", &plain);
    int32_t labels[EACH];
    float *x = read_all(data, labels);
    assert_true(vn_data_get_info(data)->classes == 0 && vn_data_get_info(data)->count == EACH);
    for (int i = 0; i < EACH; i++) assert_int_equal(labels[i], VN_LABEL_NULL);
    free(x);
    vn_data_close(&data);
}

/* One colour picture makes all three-channel; `grey` makes all grey. */
static void mixes_colours(void **state) {
    (void)state;
    make_picture("tree/bee/007.png", 77, WIDTH, HEIGHT, 3);
    vn_data *data = must_open("tree", &plain);
    float *x = read_all(data, NULL);
    const float *grey = x, *colour = x + (EACH + 7) * WIDTH * HEIGHT * 3;
    assert_int_equal(vn_data_get_info(data)->sample.dim[0], 3);
    for (int k = 0; k < WIDTH * HEIGHT * 3; k++) {
        assert_float_equal(grey[k], level(data_pixel(0, k / 3)), 0.0);
        assert_float_equal(colour[k], level(data_pixel(77, k)), 0.0);
    }
    free(x);
    vn_data_close(&data);
    data = must_open("tree", &(vn_data_options){.grey = true});
    assert_int_equal(vn_data_get_info(data)->sample.dim[0], 1);
    x = read_all(data, NULL);
    for (int k = 0; k < WIDTH * HEIGHT; k++) {
        const double luma = 0.299 * data_pixel(77, 3 * k) + 0.587 * data_pixel(77, 3 * k + 1) +
                            0.114 * data_pixel(77, 3 * k + 2);
        assert_float_equal(x[(EACH + 7) * WIDTH * HEIGHT + k], level((uint8_t)lround(luma)), 0.0);
    }
    free(x);
    vn_data_close(&data);
}

static void resizes_and_crops(void **state) {
    (void)state;
    make_picture("tree/bee/003.png", 5, 16, 9, 1);
    vn_data *data = must_open("tree", &(vn_data_options){.size = 4, .threads = 1});
    assert_true(vn_data_get_info(data)->sample.dim[1] == 4 &&
                vn_data_get_info(data)->sample.dim[2] == 4);
    float *x = read_all(data, NULL);
    vn_image in, out;
    assert_int_equal(vn_image_read("tree/bee/003.png", &in, NULL), VN_OK);
    assert_int_equal(vn_image_square(&in, 4, &out, NULL), VN_OK);
    for (int k = 0; k < 16; k++)
        assert_float_equal(x[(EACH + 3) * 16 + k], level(out.pixels[k]), 0.0);
    vn_image_free(&in);
    vn_image_free(&out);
    free(x);
    vn_data_close(&data);
}

/* One slot a thread and no cache, or everything kept; one thread or many: bit for bit the same. */
static void threads_and_memory_change_nothing(void **state) {
    (void)state;
    enum { BATCH = 7, BATCHES = 20, SIZE = WIDTH * HEIGHT };
    static float truth[BATCHES][BATCH * SIZE], x[BATCH * SIZE];
    static int32_t truth_labels[BATCHES][BATCH], labels[BATCH];
    static const struct {
        int threads;
        size_t memory;
    } ways[] = {{1, 0}, {1, 2 * SIZE}, {4, 5 * SIZE}, {4, 20 * SIZE}, {7, 0}};
    for (size_t w = 0; w < VN_COUNT(ways); w++) {
        const vn_data_options options = {.seed = 3,
                                         .validate = 0.1,
                                         .flip = true,
                                         .threads = ways[w].threads,
                                         .memory = ways[w].memory};
        vn_data *data = must_open("tree", &options);
        const size_t kept = ways[w].memory ? ways[w].memory : (size_t)1 << 30;
        assert_in_range(vn_data_get_info(data)->memory, ways[w].memory ? SIZE : COUNT * SIZE,
                        kept + (size_t)ways[w].threads * 2000);
        for (int b = 0; b < BATCHES; b++) {
            assert_int_equal(
                vn_data_batch(data, VN_DATA_TRAIN, (uint64_t)(BATCH * b), BATCH, x, labels, NULL),
                VN_OK);
            if (w == 0) {
                memcpy(truth[b], x, sizeof x);
                memcpy(truth_labels[b], labels, sizeof labels);
            }
            assert_memory_equal(x, truth[b], sizeof x);
            assert_memory_equal(labels, truth_labels[b], sizeof labels);
            /* Held-out batches in between, and going back, perturb nothing. */
            if (b % 4 == 3)
                assert_int_equal(vn_data_batch(data, VN_DATA_HELD, 0, 3, x, NULL, NULL), VN_OK);
        }
        for (int b = BATCHES - 1; b >= 0; b -= 6) {
            assert_int_equal(
                vn_data_batch(data, VN_DATA_TRAIN, (uint64_t)(BATCH * b), BATCH, x, labels, NULL),
                VN_OK);
            assert_memory_equal(x, truth[b], sizeof x);
        }
        vn_data_close(&data);
    }
    must_refuse("tree", &(vn_data_options){.threads = 3, .memory = 3 * SIZE}, VN_BAD_ARGUMENT,
                "4 decoded pictures of 20 bytes do not fit in 60 bytes");
}

typedef struct words {
    vn_log_level level;
    int count;
    char text[300]; /* the latest */
} words;

static void hear(void *user, vn_log_level level, const char *text) {
    words *w = user;
    w->level = level;
    w->count++;
    snprintf(w->text, sizeof w->text, "%s", text);
}

static void check_size(int width, int height, const vn_watch *watch) {
    vn_data *data = must_open("tree", &(vn_data_options){.watch = watch});
    const vn_data_info *info = vn_data_get_info(data);
    assert_true(info->sample.dim[1] == height && info->sample.dim[2] == width);
    vn_data_close(&data);
}

/* Without a size asked for: pictures of one size up to 64 keep it, others become squares of 32, or
 * less where one has less. */
static void chooses_a_size(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    check_size(WIDTH, HEIGHT, &watch);
    assert_int_equal(w.count, 0);
    make_picture("tree/bee/003.png", 5, 16, 9, 1);
    check_size(4, 4, &watch);
    assert_string_equal(
        w.text, "tree: pictures differ in size (5x4 .. 16x9): resized to 4x4; `size` changes that");
    assert_true(w.level == VN_LOG_INFO && w.count == 1);
    scratch_remove("tree");
    make_classes("tree", 1, 39, 45, 1);
    make_picture("tree/bee/001.png", 5, 200, 100, 1);
    check_size(32, 32, &watch);
    assert_non_null(strstr(w.text, "(39x45 .. 200x100): resized to 32x32"));
    make_picture("tree/bee/001.png", 5, 45, 31, 1);
    check_size(28, 28, &watch);
    assert_non_null(strstr(w.text, "(45x31 .. 39x45): resized to 28x28"));
    scratch_remove("tree");
    make_classes("tree", 1, 64, 40, 1);
    w = (words){0};
    check_size(64, 40, &watch);
    assert_int_equal(w.count, 0);
    scratch_remove("tree");
    make_classes("tree", 1, 40, 65, 1);
    check_size(32, 32, &watch);
    assert_string_equal(w.text, "tree: pictures of 40x65: resized to 32x32; `size` changes that, "
                                "and `size=-1` keeps them as they "
                                "are");
    vn_data *data = must_open("tree", &(vn_data_options){.size = -1});
    assert_true(vn_data_get_info(data)->sample.dim[1] == 65 &&
                vn_data_get_info(data)->sample.dim[2] == 40);
    vn_data_close(&data);
    make_picture("tree/bee/001.png", 5, 45, 31, 1);
    must_refuse("tree", &(vn_data_options){.size = -1}, VN_BAD_ARGUMENT,
                "tree: pictures differ in size (45x31 .. 40x65), so they cannot stay as they are");
}

static void names_what_is_passed_over(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    static const char *const files[] = {"tree/ant/x.gif",      "tree/ant/Y.GIF",
                                        "tree/bee/more/z.bmp", "tree/read.me.txt",
                                        "tree/ant/noending",   "tree/cat/x.Heic"};
    mkdir("tree/bee/more", 0777);
    for (size_t i = 0; i < VN_COUNT(files); i++) scratch_write_text(files[i], "");
    scratch_write_text("tree/bee/more/photo", "GIF89a and more of it"); /* by its first bytes */
    check_size(WIDTH, HEIGHT, &watch);
    assert_string_equal(
        w.text,
        "tree: passed over: 3 GIF, 1 BMP, 1 HEIC, 1 text, 1 other; PNG, JPEG and WebP files count "
        "(" VN_IMAGE_ENDINGS ")");
    assert_int_equal(w.count, 1);
    scratch_write_text("tree/cat/metadata.csv", "file_name,label\n");
    check_size(WIDTH, HEIGHT, &watch);
    assert_string_equal(w.text, "tree: cat/metadata.csv is not used: classes are folders, and "
                                "captions are in .txt or .json files beside the pictures or in "
                                "metadata.jsonl");
}

/* What a system leaves behind is neither a class nor worth a word. */
static void litter_does_not_count(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    static const char *const folders[] = {"tree/__MACOSX",   "tree/__MACOSX/ant",
                                          "tree/.hidden",    "tree/@eaDir",
                                          "tree/ant/@eaDir", "tree/ant/__macosx"};
    for (size_t i = 0; i < VN_COUNT(folders); i++) {
        char path[64];
        mkdir(folders[i], 0777);
        snprintf(path, sizeof path, "%s/000.png", folders[i]);
        make_picture(path, 1, 9, 9, 3);
    }
    static const char *const files[] = {"tree/Thumbs.db", "tree/.DS_Store", "tree/ant/thumbs.DB",
                                        "tree/bee/desktop.ini", "tree/bee/._000.png"};
    for (size_t i = 0; i < VN_COUNT(files); i++) scratch_write_text(files[i], "x");
    vn_data *data = must_open("tree", &(vn_data_options){.watch = &watch});
    check_tree(data, 1);
    assert_int_equal(w.count, 0);
    vn_data_close(&data);
}

/* Pictures count at any depth of their class's folder, in the order of their paths; links do not
 * lead in circles. */
static void walks_down_inside_a_class(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    assert_int_equal(mkdir("tree/bee/003.deep", 0777), 0);
    assert_int_equal(mkdir("tree/bee/003.deep/er", 0777), 0);
    assert_int_equal(rename("tree/bee/004.png", "tree/bee/003.deep/x.png"), 0);
    assert_int_equal(rename("tree/bee/003.png", "tree/bee/003.deep/er/x.png"), 0);
    assert_int_equal(symlink("..", "tree/bee/003.deep/up"), 0);
    assert_int_equal(symlink("../../../bee", "tree/bee/003.deep/er/self"), 0);
    assert_int_equal(symlink("003.deep", "tree/bee/again"), 0);
    vn_data *data = must_open("tree", &(vn_data_options){.watch = &watch});
    check_tree(data, 1);
    assert_string_equal(
        w.text,
        "tree: passed over: 3 folders too deep or met before; PNG, JPEG and WebP files count "
        "(" VN_IMAGE_ENDINGS ")");
    vn_data_close(&data);
}

/* Nor out of the folder and in again, nor from a class that is the folder itself. */
static void links_to_the_folders_around_are_not_followed(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    make_classes("beside", 1, WIDTH, HEIGHT, 1);
    assert_int_equal(symlink("../..", "tree/bee/out"), 0);
    assert_int_equal(symlink("/", "tree/cat/all"), 0);
    assert_int_equal(symlink(".", "tree/dot"), 0);
    vn_data *data = must_open("tree", &(vn_data_options){.watch = &watch});
    check_tree(data, 1);
    assert_string_equal(w.text, "tree: class dot has no samples and is left out");
    vn_data_close(&data);
}

static void reads_the_case_nested(void **state) {
    (void)state;
    vn_data *data = must_open(VN_SOURCE_DIR "/tests/cases/nested", &plain);
    assert_int_equal(vn_data_get_info(data)->count, 8);
    assert_int_equal(vn_data_get_info(data)->classes, 2);
    vn_data_close(&data);
}

/* Bounded also where a folder is deeper than any that people make. */
static void too_deep_is_passed_over(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    char path[512] = "tree/ant";
    for (int i = 0; i < 40; i++) {
        strcat(path, "/d");
        assert_int_equal(mkdir(path, 0777), 0);
    }
    strcat(path, "/000.png");
    make_picture(path, 1, WIDTH, HEIGHT, 1);
    vn_data *data = must_open("tree", &(vn_data_options){.watch = &watch});
    check_tree(data, 1);
    assert_non_null(strstr(w.text, "passed over: 1 folder too deep or met before"));
    vn_data_close(&data);
}

/* Folders that may not be the classes are taken as such, with a doubt; a training part beside a
 * test part is not. */
static void doubts_folders_that_may_be_no_classes(void **state) {
    (void)state;
    words w = {0};
    const vn_watch watch = {.log = hear, .user = &w};
    mkdir("nest", 0777);
    assert_int_equal(rename("tree", "nest/pets"), 0);
    vn_data *data = must_open("nest", &(vn_data_options){.watch = &watch});
    assert_true(vn_data_get_info(data)->classes == 1 && vn_data_get_info(data)->count == COUNT);
    assert_string_equal(
        w.text,
        "nest: one class, pets, with pictures in folders of its own; did you mean nest/pets?");
    vn_data_close(&data);
    w = (words){0};
    make_picture("nest/pets/own.png", 0, WIDTH, HEIGHT, 1);
    data = must_open("nest", &(vn_data_options){.watch = &watch});
    assert_int_equal(w.count, 0);
    vn_data_close(&data);
    unlink("nest/pets/own.png");
    assert_int_equal(rename("nest/pets", "tree"), 0);
    assert_int_equal(rename("tree/ant", "tree/00000"), 0);
    assert_int_equal(rename("tree/bee", "tree/00001"), 0);
    assert_int_equal(rename("tree/cat", "tree/00002"), 0);
    data = must_open("tree", &(vn_data_options){.watch = &watch});
    assert_non_null(strstr(w.text, "tree: its numbered folders are taken as classes"));
    vn_data_close(&data);
}

/* Names of folders are bytes; those of classes are text. */
static void names_are_utf8(void **state) {
    (void)state;
    assert_int_equal(rename("tree/bee", "tree/caf\xE9"), 0);
    assert_int_equal(rename("tree/cat", "tree/d\xC3\xB4me"), 0);
    vn_data *data = must_open("tree", &plain);
    assert_string_equal(vn_data_class_name(data, 1), "caf\xC3\xA9");
    assert_string_equal(vn_data_class_name(data, 2), "d\xC3\xB4me");
    check_tree(data, 1);
    vn_data_close(&data);
}

/* Damaged pixels behind a good header: found when the picture is reached, not before, and again
 * when asked again. */
static void damaged_picture_stops_at_its_place(void **state) {
    (void)state;
    static const char path[] = "tree/bee/004.png";
    float x[WIDTH * HEIGHT];
    size_t size;
    char *bytes = scratch_read(path, &size);
    scratch_write(path, bytes, size - 20);
    free(bytes);
    vn_data *data = must_open("tree", &(vn_data_options){.threads = 3});
    for (int again = 0; again < 2; again++)
        for (uint64_t i = 0; i < COUNT; i++) {
            vn_err err = {0};
            const vn_status status = vn_data_batch(data, VN_DATA_ALL, i, 1, x, NULL, &err);
            assert_int_equal(status, i == EACH + 4 ? VN_BAD_FILE : VN_OK);
            if (status) assert_non_null(strstr(err.text, "tree/bee/004.png: PNG: "));
        }
    vn_data_close(&data); /* with a failed picture in the ring */
}

static void changed_files_are_noticed(void **state) {
    (void)state;
    float x[WIDTH * HEIGHT];
    vn_err err = {0};
    vn_data *data = must_open("tree", &plain);
    const uint32_t fingerprint = vn_data_get_info(data)->fingerprint;
    make_picture("tree/ant/000.png", 0, WIDTH + 1, HEIGHT, 1);
    assert_int_equal(vn_data_batch(data, VN_DATA_ALL, 0, 1, x, NULL, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "tree/ant/000.png: its size has changed since it was listed");
    vn_data_close(&data);
    unlink("tree/ant/000.png");
    data = must_open("tree", &plain);
    assert_int_not_equal(vn_data_get_info(data)->fingerprint, fingerprint);
    vn_data_close(&data);
}

static void refuses_in_words(void **state) {
    (void)state;
    mkdir("empty", 0777);
    must_refuse("empty", &plain, VN_BAD_FILE,
                "empty: holds no pictures, nor do the folders in it; PNG, JPEG and WebP files "
                "count (" VN_IMAGE_ENDINGS ")");
    must_refuse("nowhere", &plain, VN_IO, "nowhere: No such file");
    scratch_write_text("file.txt", "x");
    must_refuse("file.txt", &plain, VN_BAD_FILE, "file.txt: not a known kind of data");
    scratch_write_text("pairs.safetensors", "x");
    must_refuse("pairs.safetensors", &plain, VN_BAD_FILE,
                "pairs.safetensors: data are not read from .safetensors; put its arrays into an "
                ".npz, or hand them over from a program");
    scratch_write_text("edm.zip", "PK");
    must_refuse("edm.zip", &plain, VN_BAD_FILE,
                "edm.zip: an archive: unpack it, and name the folder");
    scratch_write_text("edm.TAR.GZ", "");
    must_refuse("edm.TAR.GZ", &plain, VN_BAD_FILE, "an archive");
    mkdir("empty/dog", 0777);
    scratch_write_text("empty/dog/x.tif", "");
    must_refuse("empty", &plain, VN_BAD_FILE, VN_IMAGE_ENDINGS "); passed over: 1 TIFF");
    mkdir("nest", 0777);
    assert_int_equal(rename("tree", "nest/test"), 0);
    must_refuse("nest", &plain, VN_BAD_FILE,
                "nest: each folder in it is a class, but test is a part of a data set: did you "
                "mean nest/test?");
    mkdir("nest/Train", 0777);
    must_refuse("nest", &plain, VN_BAD_FILE, "did you mean nest/Train?");
    assert_int_equal(rename("nest/test", "tree"), 0);
    scratch_write_text("tree/vane.json", "{}");
    must_refuse("tree", &plain, VN_BAD_FILE, "tree: a run, and no data");
    assert_int_equal(rmdir("nest/Train"), 0);
    assert_int_equal(symlink("../tree", "nest/a"), 0);
    must_refuse("nest", &plain, VN_BAD_FILE, "nest: each folder in it is a class, but a is a run");
    unlink("nest/a");
    unlink("tree/vane.json");
    make_picture("tree/stray.png", 0, WIDTH, HEIGHT, 1);
    must_refuse("tree", &plain, VN_BAD_FILE,
                "tree: holds both pictures (stray.png) and a folder with pictures (ant)");
    unlink("tree/stray.png");
    scratch_write_text("tree/ant/zz.jpg", "no picture");
    must_refuse("tree", &plain, VN_BAD_FILE, "tree/ant/zz.jpg: no picture of a known kind");
    unlink("tree/ant/zz.jpg");
    assert_int_equal(symlink("nowhere", "tree/ant/zz.png"), 0);
    must_refuse("tree", &plain, VN_BAD_FILE, "tree/ant/zz.png: No such file");
}

static int stop_at_once(void *user, const vn_progress *progress) {
    *(vn_progress *)user = *progress;
    return 1;
}

static void opening_can_be_cancelled(void **state) {
    (void)state;
    vn_progress seen = {0};
    const vn_watch watch = {.progress = stop_at_once, .user = &seen};
    make_classes("more", 40, 1, 1, 1);
    must_refuse("more", &(vn_data_options){.watch = &watch}, VN_CANCELLED,
                "more: reading was cancelled");
    assert_true(seen.done == 64 && seen.total == 120);
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, make, scratch_leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(reads_classes),
        FOLDER_TEST(reads_pictures_alone),
        FOLDER_TEST(mixes_colours),
        FOLDER_TEST(resizes_and_crops),
        FOLDER_TEST(chooses_a_size),
        FOLDER_TEST(names_what_is_passed_over),
        FOLDER_TEST(litter_does_not_count),
        FOLDER_TEST(walks_down_inside_a_class),
        FOLDER_TEST(links_to_the_folders_around_are_not_followed),
        FOLDER_TEST(reads_the_case_nested),
        FOLDER_TEST(too_deep_is_passed_over),
        FOLDER_TEST(doubts_folders_that_may_be_no_classes),
        FOLDER_TEST(names_are_utf8),
        FOLDER_TEST(threads_and_memory_change_nothing),
        FOLDER_TEST(damaged_picture_stops_at_its_place),
        FOLDER_TEST(changed_files_are_noticed),
        FOLDER_TEST(refuses_in_words),
        FOLDER_TEST(opening_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
