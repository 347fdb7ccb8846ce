/* test_save.c - samples on disk: what a file or folder says of each sample, and which name it
 * has. Names, texts and the bytes of samples that are drawn twice alike are compared, which is the
 * same under each kernel set; the best one is used. */
#include "api/support_pictures.h"

#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "image/image.h"
#include "store/store.h"
#include "support/scratch.h"

/* ---- which guidance a sample had ------------------------------------------------------------- */

static void test_each_sample_says_its_guidance(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_samples *s = draw_bands(&f, (vn_sample_options[]){few(3, 1, NULL), few(3, 2.5, NULL)}, 2);
    static const double expected[] = {1, 1, 1, 2.5, 2.5, 2.5};
    assert_memory_equal(vn_samples_guidance(s), expected, sizeof expected);
    expect_ok(f.vn, vn_samples_save(s, "bands.safetensors"));
    vn_samples_close(&s);

    vn_safetensors *st = NULL;
    const vn_array *t = NULL;
    assert_int_equal(vn_safetensors_open("bands.safetensors", &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_get(st, "guidance", &t, NULL), VN_OK);
    assert_int_equal(t->dtype, VN_F64);
    assert_int_equal(t->shape.rank, 1);
    assert_int_equal(t->shape.dim[0], 6);
    assert_memory_equal(t->data, expected, sizeof expected);
    json_t *bands = json_loads(
        json_string_value(json_object_get(vn_safetensors_metadata(st), "bands")), 0, NULL);
    json_t *same =
        json_loads("[{\"first\":0,\"count\":3,\"guidance\":1.0,\"guide\":\"cfg\",\"seed\":\"3\"},"
                   "{\"first\":3,\"count\":3,\"guidance\":2.5,\"guide\":\"cfg\",\"seed\":\"3\"}]",
                   0, NULL);
    assert_true(json_equal(bands, same));
    json_decref(bands);
    json_decref(same);
    vn_safetensors_close(&st);
    end(&f);
}

static void expect_files(const char *folder, const char *const *names, int count) {
    char path[256];
    assert_int_equal(scratch_count(folder), count);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (access(path, R_OK) != 0) fail_msg("there is no %s", path);
    }
}

static void test_names_in_a_folder_tell_bands_apart(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    const struct {
        const char *folder;
        vn_sample_options bands[2];
        const char *names[4];
    } cases[] = {
        {"one", {few(2, 2, NULL)}, {"000000-sandal.png", "000001-boot.png"}},
        {"guidance",
         {few(2, 1, NULL), few(2, 2.5, NULL)},
         {"000000-g1-sandal.png", "000001-g1-boot.png", "000000-g2.5-sandal.png",
          "000001-g2.5-boot.png"}},
        {"guides",
         {few(2, 2, NULL), few(2, 2, "cfg,rescale")},
         {"000000-cfg-sandal.png", "000001-cfg-boot.png", "000000-cfg,rescale-sandal.png",
          "000001-cfg,rescale-boot.png"}},
        {"both",
         {few(2, 1, NULL), few(2, 2, "apg")},
         {"000000-g1-cfg-sandal.png", "000001-g1-cfg-boot.png", "000000-g2-apg-sandal.png",
          "000001-g2-apg-boot.png"}},
        {"same",
         {few(2, 2, NULL), few(2, 2, NULL)},
         {"000000-b1-sandal.png", "000001-b1-boot.png", "000000-b2-sandal.png",
          "000001-b2-boot.png"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int bands = cases[i].bands[1].count ? 2 : 1;
        vn_samples *s = draw_bands(&f, cases[i].bands, bands);
        expect_ok(f.vn, vn_samples_save(s, cases[i].folder));
        expect_files(cases[i].folder, cases[i].names, 2 * bands);
        vn_samples_close(&s);
    }
    end(&f);
}

static const char *setting(json_t *text, const char *key) {
    const char *value = json_string_value(json_object_get(text, key));
    if (!value) fail_msg("the picture does not say its %s", key);
    return value;
}

/* What the picture says draws its pixels again, alone. */
static void test_a_picture_of_a_folder_says_how_to_draw_it_again(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options bands[] = {few(6, 1, NULL), few(6, 2.5, "apg")};
    bands[0].first = bands[1].first = 4;
    vn_samples *s = draw_bands(&f, bands, 2);
    expect_ok(f.vn, vn_samples_save(s, "again"));
    vn_samples_close(&s);
    json_t *picture = NULL;
    assert_int_equal(vn_png_describe("again/000007-g2.5-apg-boot.png", &picture, NULL), VN_OK);
    json_t *text = json_object_get(picture, "text");
    assert_string_equal(setting(text, "index"), "7");
    assert_string_equal(setting(text, "count"), "1");
    vn_sample_options o =
        few(atoi(setting(text, "count")), atof(setting(text, "guidance")), setting(text, "guide"));
    o.seed = strtoull(setting(text, "seed"), NULL, 10);
    o.first = strtoull(setting(text, "first"), NULL, 10);
    o.steps = atoi(setting(text, "steps"));
    expect_ok(f.vn, vn_model_find_label(f.model, setting(text, "class"), &o.label));
    s = draw(&f, o);
    vn_image then = {0}, now = {0};
    assert_int_equal(vn_image_read("again/000007-g2.5-apg-boot.png", &then, NULL), VN_OK);
    assert_int_equal(vn_image_from_sample(vn_samples_data(s), 1, SIDE, SIDE, &now, NULL), VN_OK);
    assert_memory_equal(now.pixels, then.pixels, SIZE);
    vn_image_free(&then);
    vn_image_free(&now);
    json_decref(picture);
    vn_samples_close(&s);
    end(&f);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void test_class_names_keep_their_letters_in_names_of_files(void **state) {
    (void)state;
    char longest[301];
    memset(longest, 'x', 300);
    longest[300] = 0;
    /* 22 characters of three bytes: 66, and 64 may stay */
    const char *shoes_of_japan = "靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴";
    const char *const names[] = {
        "Größe",        "été/hiver", "été\\hiver",      "a\033[31mb",  "",           longest,
        shoes_of_japan, "null",      "\xE2\x80\xAEgnp", "(v1.0): ж=λ", "été-hiver-1"};
    const char *const expected[] = {
        "000000-Größe.png",
        "000001-été-hiver-1-1.png",
        "000002-été-hiver-2.png",
        "000003-a-[31mb.png",
        "000004-.png",
        "000005-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.png",
        "000006-靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴靴.png",
        "000007-null-7.png",
        "000008--gnp.png",
        "000009-(v1.0):-ж=λ.png",
        "000010-été-hiver-1-10.png",
    };
    enum { CLASSES = sizeof names / sizeof *names };
    fixture f = begin(names, CLASSES);
    vn_sample_options o = few(CLASSES, 1, NULL);
    expect_ok(f.vn, vn_sample_to(f.model, &o, 1, "words", VN_EXISTING_REFUSE, NULL));
    expect_files("words", expected, CLASSES);
    end(&f);
}

/* ---- samples that are there already ---------------------------------------------------------- */

static void test_samples_in_a_folder_are_not_mixed_without_a_word(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options three = few(3, 1, NULL), one = few(1, 1, NULL);
    expect_ok(f.vn, vn_sample_to(f.model, &three, 1, "old", VN_EXISTING_REFUSE, NULL));
    scratch_write_text("old/notes.txt", "mine");
    scratch_write_text("old/000009-mine.png", "mine");
    asked = 0;
    expect_refused_by(&f, vn_sample_to(f.model, &one, 1, "old", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "old holds samples already, 00000");
    expect_refused_by(&f, vn_sample_check(f.model, &one, 1, "old", VN_EXISTING_REFUSE),
                      VN_BAD_ARGUMENT, "`append`");
    expect_refused_by(&f, vn_samples_can_save(f.model, "old"), VN_BAD_ARGUMENT, "`overwrite`");
    assert_int_equal(asked, 0);
    vn_samples *s = draw(&f, one);
    expect_refused_by(&f, vn_samples_save(s, "old"), VN_BAD_ARGUMENT, "old holds samples already");
    assert_int_equal(scratch_count("old"), 5);

    expect_ok(f.vn, vn_sample_to(f.model, &one, 1, "old", VN_EXISTING_REPLACE, NULL));
    static const char *const replaced[] = {"000000-sandal.png", "notes.txt", "000009-mine.png"};
    expect_files("old", replaced, 3);
    /* the other file's 9 is taken */
    expect_ok(f.vn, vn_samples_save_as(s, "old", VN_EXISTING_APPEND));
    static const char *const appended[] = {"000000-sandal.png", "000010-sandal.png", "notes.txt",
                                           "000009-mine.png"};
    expect_files("old", appended, 4);
    vn_samples_close(&s);
    end(&f);
}

static void test_what_vane_did_not_write_is_never_replaced(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options o = few(2, 1, NULL);
    vn_sample_options ninth = few(1, 1, NULL);
    ninth.first = 9;
    vn_samples *s = draw(&f, ninth);
    expect_ok(f.vn, vn_samples_save(s, "mine"));
    vn_samples_close(&s);
    scratch_write_text("mine/000001.png", "mine");
    scratch_write_text("mine/000001-shoe.png", "mine");
    expect_ok(f.vn, vn_sample_check(f.model, &o, 1, "mine", VN_EXISTING_REPLACE));
    scratch_write_text("mine/000001-boot.png", "mine");
    expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "mine", VN_EXISTING_REPLACE, NULL),
                      VN_BAD_ARGUMENT, "mine/000001-boot.png exists and vane did not write it");
    assert_int_equal(scratch_count("mine"), 4);
    end(&f);
}

/* They would become data, and a class that nobody made. */
static void test_samples_are_not_put_among_other_pictures(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    const vn_sample_options o = few(2, 1, NULL);
    mkdir("album", 0777);
    scratch_write_text("album/notes.txt", "mine");
    expect_ok(f.vn, vn_sample_check(f.model, &o, 1, "album", VN_EXISTING_REFUSE));
    mkdir("album/cats", 0777);
    expect_ok(f.vn, vn_sample_check(f.model, &o, 1, "album", VN_EXISTING_REFUSE));
    scratch_write_text("album/cats/tom.jpg", "mine");
    for (int existing = VN_EXISTING_REFUSE; existing <= VN_EXISTING_APPEND; existing++)
        expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "album", (vn_existing)existing, NULL),
                          VN_BAD_ARGUMENT,
                          "album holds pictures that vane did not write, album/cats/tom.jpg among "
                          "them: samples go into a folder of their own");
    expect_refused_by(&f, vn_samples_can_save(f.model, "album/cats"), VN_BAD_ARGUMENT,
                      "album/cats holds pictures that vane did not write");
    expect_ok(f.vn, vn_sample_check(f.model, &o, 1, "album/x.png", VN_EXISTING_REFUSE));
    expect_ok(f.vn, vn_sample_check(f.model, &o, 1, "album/new", VN_EXISTING_REFUSE));
    assert_int_equal(scratch_count("album"), 2);
    end(&f);
}

static void test_a_dash_is_no_name_of_samples(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_samples *s = draw(&f, few(1, 1, NULL));
    expect_refused_by(&f, vn_samples_save(s, "-"), VN_BAD_ARGUMENT,
                      "-: samples are saved in a file or a folder; name it");
    assert_int_not_equal(access("-", F_OK), 0);
    vn_samples_close(&s);
    end(&f);
}

/* Four, and then three more, are the same pictures as seven. */
static void test_appended_samples_are_new_ones(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options bands[] = {few(7, 1, NULL), few(7, 3, NULL)};
    expect_ok(f.vn, vn_sample_to(f.model, bands, 2, "seven", VN_EXISTING_APPEND, NULL));
    vn_written written[2] = {vn_written_default(), vn_written_default()};
    bands[0].count = bands[1].count = 4;
    expect_ok(f.vn, vn_sample_to(f.model, bands, 2, "parts", VN_EXISTING_APPEND, written));
    bands[0].count = bands[1].count = 3;
    expect_ok(f.vn, vn_sample_to(f.model, bands, 2, "parts", VN_EXISTING_APPEND, written));
    assert_int_equal(written[1].first, 4);
    assert_int_equal(written[1].count, 3);
    assert_int_equal(scratch_count("parts"), 14);
    for (int i = 0; i < 7; i++) {
        char a[64], b[64];
        snprintf(a, sizeof a, "seven/%06d-g3-%s.png", i, shoes[i % 2]);
        snprintf(b, sizeof b, "parts/%06d-g3-%s.png", i, shoes[i % 2]);
        expect_same_file(a, b);
    }
    bands[0].first = 5;
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "parts", VN_EXISTING_APPEND, NULL),
                      VN_BAD_ARGUMENT, "`first` 5: parts holds samples up to 6");
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "seven.npy", VN_EXISTING_APPEND, NULL),
                      VN_BAD_ARGUMENT, "appended to a folder");
    end(&f);
}

static void test_a_file_is_replaced(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    static const char *const files[] = {"twice.png", "twice.npy", "twice.safetensors"};
    vn_sample_options o = few(2, 1, NULL);
    for (int i = 0; i < 3; i++) {
        scratch_write_text(files[i], "old");
        expect_ok(f.vn, vn_sample_to(f.model, &o, 1, files[i], VN_EXISTING_REFUSE, NULL));
        size_t size;
        free(scratch_read(files[i], &size));
        assert_true(size > 100);
    }
    end(&f);
}

/* ---- before the work ------------------------------------------------------------------------- */

static void test_what_cannot_be_saved_is_refused_before_the_first_sample(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options bands[] = {few(8, 1, NULL), few(8, 2, NULL)};
    asked = 0;
    bands[0].count = 20000;
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "grid.png", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "grid.png: picture of ");
    bands[0].count = 2000000000;
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "grid.png", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "too many for a picture");
    bands[0].count = 8;
    bands[1].guide = "nothing";
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "grid.npy", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "nothing");
    bands[1].guide = NULL;
    bands[1].trace = 1;
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "grid.npy", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "levels");
    bands[0].trace = 1;
    static const char *const traceless[] = {"grid.npy", "grid.png", "folder"};
    for (size_t i = 0; i < VN_COUNT(traceless); i++)
        expect_refused_by(&f,
                          vn_sample_to(f.model, bands, 2, traceless[i], VN_EXISTING_REFUSE, NULL),
                          VN_BAD_ARGUMENT, "holds no trace");
    bands[0].trace = 0;
    expect_refused_by(&f,
                      vn_sample_to(f.model, bands, 1, "none/grid.npy", VN_EXISTING_REFUSE, NULL),
                      VN_IO, "none/grid");
    expect_refused_by(&f, vn_sample_to(f.model, NULL, 0, "grid.npy", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "band");
    assert_int_equal(asked, 0);
    assert_int_not_equal(access("grid.png", F_OK), 0);
    assert_int_not_equal(access("grid.npy", F_OK), 0);
    end(&f);
}

static void test_samples_are_not_put_into_a_model(void **state) {
    (void)state;
    static const char *const marks[] = {"model/vane.json", "model/model_index.json",
                                        "model/config.json"};
    fixture f = begin(shoes, 2);
    const vn_sample_options o = few(2, 1, NULL);
    for (size_t i = 0; i < VN_COUNT(marks); i++) {
        mkdir("model", 0777);
        scratch_write(marks[i], "{}", 2);
        expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "model", VN_EXISTING_APPEND, NULL),
                          VN_BAD_ARGUMENT, "model holds a model");
        expect_refused_by(&f, vn_samples_can_save(f.model, "model"), VN_BAD_ARGUMENT,
                          "model holds a model");
        unlink(marks[i]);
    }
    end(&f);
}

static void test_nothing_given_is_a_bad_argument(void **state) {
    (void)state;
    int32_t label;
    assert_int_equal(vn_samples_save(NULL, "x.png"), VN_BAD_ARGUMENT);
    assert_int_equal(vn_samples_save_as(NULL, "x.png", VN_EXISTING_REPLACE), VN_BAD_ARGUMENT);
    assert_int_equal(vn_samples_can_save(NULL, "x.png"), VN_BAD_ARGUMENT);
    assert_int_equal(vn_samples_append(NULL, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_model_find_label(NULL, "boot", &label), VN_BAD_ARGUMENT);
}

static void test_classes_and_indices_that_are_not_reached_are_checked_too(void **state) {
    (void)state;
    static const int32_t cycle[] = {0, 1, 7};
    fixture f = begin(shoes, 2);
    vn_sample_options o = few(2, 1, NULL);
    o.cycle = cycle;
    o.cycle_count = 3;
    expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "x.npy", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "class 7");
    o = few(2, 1, NULL);
    o.first = UINT64_MAX - 1;
    expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "x.npy", VN_EXISTING_REFUSE, NULL),
                      VN_BAD_ARGUMENT, "first 1844");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_sample_says_its_guidance),
        cmocka_unit_test(test_names_in_a_folder_tell_bands_apart),
        cmocka_unit_test(test_a_picture_of_a_folder_says_how_to_draw_it_again),
        cmocka_unit_test(test_class_names_keep_their_letters_in_names_of_files),
        cmocka_unit_test(test_samples_in_a_folder_are_not_mixed_without_a_word),
        cmocka_unit_test(test_what_vane_did_not_write_is_never_replaced),
        cmocka_unit_test(test_samples_are_not_put_among_other_pictures),
        cmocka_unit_test(test_a_dash_is_no_name_of_samples),
        cmocka_unit_test(test_appended_samples_are_new_ones),
        cmocka_unit_test(test_a_file_is_replaced),
        cmocka_unit_test(test_what_cannot_be_saved_is_refused_before_the_first_sample),
        cmocka_unit_test(test_samples_are_not_put_into_a_model),
        cmocka_unit_test(test_nothing_given_is_a_bad_argument),
        cmocka_unit_test(test_classes_and_indices_that_are_not_reached_are_checked_too),
    };
    return cmocka_run_group_tests_name("samples on disk", tests, scratch_enter, scratch_leave);
}
