/* test_again.c - which samples are drawn and drawn again: classes in turn, bands of guides, the
 * first index, larger pixels, samples to stdout, and all of it taken from a picture with --like. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60);
    make_config();
    make_world();
    run_vane(
        "train data --model tiny.json --batch 8 --preview-every -1 --steps 3 --out run --quiet");
    return exists("run/vane.json") ? 0 : -1;
}

static void expect_text(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("'%s' is not in: %s", words, text);
}

static json_t *settings(const char *path) {
    json_t *all = expect_json(expect_status(0, "info %s --json", path));
    json_t *text = json_object_get(all, "text") ? json_object_get(all, "text")
                                                : json_object_get(all, "metadata");
    json_incref(text);
    json_decref(all);
    return text;
}

static void expect_setting(const char *path, const char *key, const char *value) {
    json_t *text = settings(path);
    const char *found = json_string_value(json_object_get(text, key));
    if (!found || strcmp(found, value) != 0)
        fail_msg("%s: %s is %s, not %s", path, key, found, value);
    json_decref(text);
}

static void width_and_height(const char *path, int *width, int *height) {
    json_t *all = expect_json(expect_status(0, "info %s --json", path));
    *width = (int)json_integer_value(json_object_get(all, "width"));
    *height = (int)json_integer_value(json_object_get(all, "height"));
    json_decref(all);
}

/* ---- which samples --------------------------------------------------------------------------- */

static void classes_are_drawn_in_turn(void **state) {
    (void)state;
    expect_status(0, "sample run --class 2 --class null,0 -n 7 --steps 1 --out turn --quiet");
    static const char *const files[] = {"turn/000000-2.png", "turn/000001-null.png",
                                        "turn/000002-0.png", "turn/000003-2.png",
                                        "turn/000006-2.png"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!exists(files[i])) fail_msg("no %s", files[i]);
    expect_status(0, "sample run --class 2,null,0 -n 2 --first 5 --steps 1 --out later --quiet");
    /* the turn is of indices */
    assert_true(exists("later/000005-0.png") && exists("later/000006-2.png"));
    expect_status(0, "sample run --class 2,0 --steps 1 --out turn.png --quiet");
    expect_setting("turn.png", "class", "2,0");
    expect_setting("turn.png", "count", "16"); /* 8 of each */
    expect_complaint(expect_status(2, "sample run --class 1,all --out x.png"),
                     "--class all stands alone");
    expect_complaint(expect_status(2, "sample run --class 1,nix --out x.png"),
                     "unknown class 'nix'");
    expect_complaint(expect_status(2, "sample run --class 1, --out x.png"), "unknown class ''");
}

/* A name may hold commas: it is tried whole before it is cut, and in a list of several its number
 * stands for it. */
static void names_with_commas_stay_whole(void **state) {
    (void)state;
    scratch_write_text("sharks.json",
                       "{\"classes\": [{\"name\": \"great, white\", \"components\": [{\"mean\": "
                       "[0, 0], \"std\": 1}]},"
                       "{\"name\": \"tiger\", \"components\": [{\"mean\": [1, 1], \"std\": 1}]}]}");
    expect_status(0, "sample sharks.json --class 'great, white' -n 2 --out s.png --quiet");
    expect_setting("s.png", "class", "great, white");
    expect_status(
        0, "sample sharks.json --class 'great, white' --class tiger -n 2 --out s.png --quiet");
    expect_setting("s.png", "class", "0,1");
    expect_status(0, "sample sharks.json --class 'tiger , 0' -n 2 --out t.png --quiet");
    expect_setting("t.png", "class", "1,0");
}

static void the_first_index_goes_on(void **state) {
    (void)state;
    expect_status(0, "sample run -n 6 --steps 2 --seed 3 --out all --quiet");
    expect_status(0, "sample run -n 3 --first 3 --steps 2 --seed 3 --out part --quiet");
    expect_same_file("all/000003-0.png", "part/000003-0.png");
    expect_same_file("all/000005-2.png", "part/000005-2.png");
}

/* ---- bands ----------------------------------------------------------------------------------- */

static void guides_are_bands_beside_guidance(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(
        0, "sample run --guide cfg --guide cfg,interval:lo=0.1,hi=2 --guidance 2,3 -n 3 "
           "--steps 2 --out bands.safetensors --json"));
    assert_int_equal(json_array_size(json_object_get(r, "passes")), 4);
    assert_int_equal(json_integer_value(json_object_get(r, "count")), 12);
    json_decref(r);
    json_t *text = settings("bands.safetensors");
    json_t *bands = json_loads(json_string_value(json_object_get(text, "bands")), 0, NULL);
    static const struct {
        const char *guide;
        double guidance;
    } expected[] = {
        {"cfg", 2}, {"cfg", 3}, {"cfg,interval:lo=0.1,hi=2", 2}, {"cfg,interval:lo=0.1,hi=2", 3}};
    assert_int_equal(json_array_size(bands), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *band = json_array_get(bands, i);
        assert_string_equal(json_string_value(json_object_get(band, "guide")), expected[i].guide);
        assert_true(json_number_value(json_object_get(band, "guidance")) == expected[i].guidance);
    }
    json_decref(bands);
    json_decref(text);
    expect_status(
        0,
        "sample run --guide apg --guide cfg --guidance 2,3 -n 3 --steps 2 --out bands.png --quiet");
    expect_setting("bands.png", "guide", "apg | cfg");
    expect_setting("bands.png", "guidance", "2,3");
    /* A band is what it is alone. */
    expect_status(0, "sample run --guide cfg,interval:lo=0.1,hi=2 --guidance 3 -n 3 --steps 2 "
                     "--out one --quiet");
    expect_status(0, "sample run --guide cfg --guide cfg,interval:lo=0.1,hi=2 --guidance 3 -n 3 "
                     "--steps 2 --out two --quiet");
    expect_same_file("one/000001-1.png", "two/000001-cfg,interval:lo=0.1,hi=2-1.png");
}

/* ---- larger pixels --------------------------------------------------------------------------- */

static void pixels_are_enlarged(void **state) {
    (void)state;
    int width, height, small, tall;
    expect_status(0, "sample run -n 3 --steps 1 --scale 5 --out large --quiet");
    width_and_height("large/000000-0.png", &width, &height);
    assert_true(width == 40 && height == 40); /* of 8 x 8 */
    expect_status(0, "sample run -n 3 --steps 1 --scale 1 --out small.png --quiet");
    expect_status(0, "sample run -n 3 --steps 1 --scale 12 --out large.png --quiet");
    width_and_height("small.png", &small, &tall);
    width_and_height("large.png", &width, &height);
    assert_int_equal(height - tall, 3 * 11 * 8); /* three rows */
    expect_complaint(expect_status(2, "sample run --scale 2 --out x.npy"),
                     "scale has no effect on x.npy");
    expect_complaint(expect_status(2, "sample world.json --scale 2 --out x.png"),
                     "scale has no effect on x.png");
    expect_complaint(expect_status(2, "sample run --scale 65 --out x.png"),
                     "scale 65 is outside [1, 64]");
    expect_complaint(expect_status(2, "sample run --scale 0 --out x.png"),
                     "--scale: expected a whole number above 0");
}

/* ---- to stdout ------------------------------------------------------------------------------- */

static void samples_go_to_stdout(void **state) {
    (void)state;
    static const char *const forms[][2] = {
        {"-", "png"}, {"png:-", "png"}, {"npy:-", "npy"}, {"safetensors:-", "safetensors"}};
    assert_int_equal(system("mkdir tmp"), 0);
    setenv("TMPDIR", "tmp", 1);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        expect_status(0, "sample run -n 2 --steps 1 --out direct.%s --quiet", forms[i][1]);
        expect_text(expect_status(0, "sample run -n 2 --steps 1 --out %s", forms[i][0])->err,
                    "stdout: 2 samples");
        assert_int_equal(rename("out.txt", "piped"), 0);
        char direct[32];
        snprintf(direct, sizeof direct, "direct.%s", forms[i][1]);
        expect_same_file(direct, "piped");
    }
    assert_string_equal(expect_status(0, "sample run -n 2 --steps 1 --out - --quiet")->err, "");
    expect_complaint(expect_status(2, "sample run --out - --class nix"), "unknown class 'nix'");
    expect_text(expect_status(2, "sample run --out - --json")->err,
                "--json and --out - both write to stdout");
    expect_text(expect_status(1, "sample run -n 2 --steps 1 --out - >/dev/full")->err,
                "stdout: No space left on device");
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    expect_complaint(expect_status(2, "sample run --out - >%s", ptsname(terminal)),
                     "--out -: stdout is a terminal");
    close(terminal);
    assert_int_equal(system("rmdir tmp"), 0); /* nothing stays behind */
    unsetenv("TMPDIR");
}

/* ---- again ----------------------------------------------------------------------------------- */

static void a_picture_is_drawn_again(void **state) {
    (void)state;
    static const char *const ways[] = {
        "run -n 4 --steps 2 --seed 5 --guidance 1,2 --class 2,0",
        ("run -n 4 --steps 2 --guide apg --guide cfg,rescale --guidance 2,3 --first 7 --sampler "
         "heun:churn=2 --scale 3"),
        "world.json -n 20 --path ddpm:cosine,T=50 --sigmas 0.9,0.5,0.1,0 --class left",
        "world.json -n 20 --path edm --guidance 2 --class null",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        expect_status(0, "sample %s --out first.png --quiet", ways[i]);
        const outcome *o = expect_status(0, "sample --like first.png --out again.png");
        expect_text(o->err, "taken from first.png: source ");
        expect_same_file("first.png", "again.png");
        expect_status(0, "sample %s --out first.safetensors --quiet",
                      i == 1 ? "run -n 4 --guidance 1:2:0.5" : ways[i]);
        assert_string_equal(
            expect_status(0, "sample --like first.safetensors --out again.safetensors --quiet")
                ->err,
            "");
        expect_same_file("first.safetensors", "again.safetensors");
    }
    /* One picture of a folder is that sample alone. */
    expect_status(0, "sample run -n 5 --steps 2 --guidance 1,2 --seed 9 --out folder --quiet");
    expect_status(0, "sample --like folder/000004-g2-1.png --out alone --quiet");
    expect_same_file("folder/000004-g2-1.png", "alone/000004-1.png");
}

static void what_is_typed_counts_beside_like(void **state) {
    (void)state;
    expect_status(0, "sample run -n 4 --steps 2 --guidance 1,2 --seed 5 --out typed.png --quiet");
    expect_status(0, "sample run --like typed.png --seed 6 --guidance 3 --sigmas 1,0.5,0 --out "
                     "other.png --quiet");
    expect_status(0,
                  "sample run -n 4 --guidance 3 --seed 6 --sigmas 1,0.5,0 --out same.png --quiet");
    expect_same_file("other.png", "same.png");
    expect_setting("other.png", "count", "4");
}

/* What is in a file is anybody's: it chooses no output, and what it holds besides is named. */
static void only_settings_are_taken(void **state) {
    (void)state;
    expect_status(0, "sample run -n 2 --steps 1 --out plain.safetensors --quiet");
    size_t size;
    char *bytes = scratch_read("plain.safetensors", &size);
    char *begin = strstr(bytes + 8, "\"sampler\":\"unipc\"");
    assert_non_null(begin);
    memcpy(begin, "\"out\":\"evil.png\" ", strlen("\"out\":\"evil.png\" "));
    scratch_write("plain.safetensors", bytes, size);
    free(bytes);
    expect_complaint(expect_status(2, "sample --like plain.safetensors --quiet"),
                     "--out OUT is missing");
    const outcome *o = expect_status(0, "sample --like plain.safetensors --out good.npy");
    expect_text(o->err, "; not taken: out\n");
    assert_false(exists("evil.png"));
}

static void like_is_of_the_same_model(void **state) {
    (void)state;
    expect_status(0, "train data --model tiny.json --batch 8 --preview-every 3 --steps 3 --seed 2 "
                     "--out grown --quiet");
    expect_status(0, "sample grown -n 2 --steps 1 --out grown.png --quiet");
    expect_status(0, "sample --like grown/previews/000003.png --steps 1 --out p.png --quiet");
    expect_complaint(expect_status(2, "sample run --like grown.png --out x.png --quiet"),
                     "another model drew it (unet2d-");
    /* The same weights under another name are the same model. */
    assert_int_equal(system("cp -r grown copy"), 0);
    expect_status(0, "sample copy --like grown.png --out x.png --quiet");
    expect_status(0, "train data --out grown --resume --steps 4 --preview-every -1 --quiet");
    expect_complaint(expect_status(2, "sample --like grown.png --out x.png --quiet"),
                     "another model drew it");
    expect_complaint(
        expect_status(2, "sample --like grown/previews/000003.png --out x.png --quiet"),
        "it was drawn after 3 training steps, and grown has 4");
    /* A world is known by its numbers, however its file is laid out. */
    expect_status(0, "sample world.json -n 5 --out w.png --quiet");
    json_t *world = json_load_file("world.json", 0, NULL);
    assert_int_equal(json_dump_file(world, "laid-out.json", JSON_INDENT(4)), 0);
    json_decref(world);
    expect_status(0, "sample laid-out.json --like w.png --out x.png --quiet");

    expect_complaint(expect_status(1, "sample --like absent.png --out x.png"),
                     "--like: absent.png");
    expect_complaint(
        expect_status(2, "sample --like run/unet/diffusion_pytorch_model.safetensors --out x.png"),
        "vane sample did not write it, so it holds no settings");
    expect_complaint(expect_status(2, "sample --like w.png --out w.png --quiet"),
                     "--out w.png would write over w.png");
    expect_complaint(expect_status(2, "sample --out x.png"), "SOURCE is missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_drawn_in_turn),
        cmocka_unit_test(names_with_commas_stay_whole),
        cmocka_unit_test(the_first_index_goes_on),
        cmocka_unit_test(guides_are_bands_beside_guidance),
        cmocka_unit_test(pixels_are_enlarged),
        cmocka_unit_test(samples_go_to_stdout),
        cmocka_unit_test(a_picture_is_drawn_again),
        cmocka_unit_test(what_is_typed_counts_beside_like),
        cmocka_unit_test(only_settings_are_taken),
        cmocka_unit_test(like_is_of_the_same_model),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
