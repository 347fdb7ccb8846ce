/* test_sample.c - `vane sample`: every kind of output, and that the same command gives the same
 * bits. Networks come from one short training; their pictures need not be good. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60);
    make_config();
    make_world();
    const outcome *o = run_vane(
        "train data --model tiny.json --batch 8 --preview-every -1 --steps 3 --out run --quiet");
    if (o->status != 0) fprintf(stderr, "%s", o->err);
    return o->status;
}

/* The header of a safetensors file, to be released. */
static json_t *tensor_header(const char *path) {
    size_t size;
    char *bytes = scratch_read(path, &size);
    uint64_t length;
    memcpy(&length, bytes, sizeof length);
    json_t *header = json_loadb(bytes + sizeof length, length, 0, NULL);
    free(bytes);
    assert_non_null(header);
    return header;
}

static void expect_shape(const json_t *tensor, const char *dtype, const char *shape) {
    char *text = json_dumps(json_object_get(tensor, "shape"), JSON_COMPACT);
    assert_string_equal(json_string_value(json_object_get(tensor, "dtype")), dtype);
    assert_string_equal(text, shape);
    free(text);
}

/* ---- outputs --------------------------------------------------------------------------------- */

static void test_world_to_tensors(void **state) {
    (void)state;
    expect_status(0, "sample world.json -n 6 --seed 7 --out w.safetensors");
    json_t *header = tensor_header("w.safetensors");
    expect_shape(json_object_get(header, "samples"), "F32", "[6,2]");
    expect_shape(json_object_get(header, "labels"), "I64", "[6]");
    json_decref(header);

    expect_status(0, "sample world.json -n 6 --seed 7 --out w.npy");
    size_t size;
    char *npy = scratch_read("w.npy", &size);
    assert_memory_equal(npy, "\x93NUMPY", 6);
    assert_non_null(strstr(npy + 10, "(6, 2)"));
    free(npy);
}

/* Class "left" lies left of 0 by five standard deviations. */
static void test_class_by_name_index_and_all(void **state) {
    (void)state;
    enum { count = 8 };
    expect_status(0, "sample world.json -n 8 --class left --out left.npy");
    expect_status(0, "sample world.json -n 8 --class 0 --out zero.npy");
    expect_same_file("left.npy", "zero.npy");
    size_t size;
    char *bytes = scratch_read("left.npy", &size);
    float points[count][2];
    memcpy(points, bytes + size - sizeof points, sizeof points);
    free(bytes);
    for (int i = 0; i < count; i++) assert_true(points[i][0] < 0);

    expect_status(0, "sample world.json -n 4 --class null --out null.npy");
    expect_complaint(expect_status(2, "sample world.json --class lift --out no.npy"), "left");
    expect_complaint(expect_status(2, "sample world.json --class 2 --out no.npy"), "2");
    assert_false(exists("no.npy"));
}

static void test_network_to_picture_folder_and_tensors(void **state) {
    (void)state;
    expect_status(0, "sample run -n 6 --steps 2 --guidance 0,1,2.5 --seed 11 --out grid.png");
    expect_status(0, "sample run -n 3 --steps 2 --out folder");
    assert_int_equal(system("test $(ls folder/*.png | wc -l) -eq 3"), 0);
    expect_status(0, "sample run -n 3 --steps 2 --guidance 1,2 --out run.safetensors");
    json_t *header = tensor_header("run.safetensors");
    expect_shape(json_object_get(header, "samples"), "F32", "[6,1,8,8]");
    expect_shape(json_object_get(header, "labels"), "I64", "[6]");
    json_decref(header);
}

static void test_a_folder_of_samples_is_replaced_or_goes_on_only_when_asked(void **state) {
    (void)state;
    expect_status(0, "sample run -n 3 --steps 2 --out kept");
    expect_complaint(expect_status(2, "sample run -n 2 --steps 2 --out kept"),
                     "--append goes on after them, --overwrite replaces them");
    expect_complaint(expect_status(2, "sample run -n 2 --steps 2 --out kept --append --overwrite"),
                     "exclude each other");
    const outcome *o = expect_status(0, "sample run -n 2 --steps 2 --out kept --append");
    assert_non_null(strstr(o->out, "from index 3"));
    assert_int_equal(system("test $(ls kept | wc -l) -eq 5 && ls kept/000004-*.png > list"), 0);
    o = expect_status(0, "sample run -n 2 --steps 2 --out kept --overwrite");
    assert_non_null(strstr(o->err, "kept: 5 older samples removed"));
    assert_int_equal(system("test $(ls kept | wc -l) -eq 2"), 0);
    /* refused before a step is made, of a thousand */
    o = expect_status(2, "sample run -n 100000 --steps 1000 --out large.png");
    expect_complaint(o, "large.png: picture of ");
    assert_true(o->seconds < 5);
}

static void test_picture_tells_how_it_was_made(void **state) {
    (void)state;
    expect_status(0, "sample run -n 2 --steps 3 --guidance 2.5 --seed 4242 --out told.png");
    const outcome *o = expect_status(0, "info told.png");
    assert_non_null(strstr(o->out, "4242"));
    assert_non_null(strstr(o->out, "2.5"));
    json_t *object = expect_json(expect_status(0, "info told.png --json"));
    json_decref(object);
}

static void test_counts_are_chosen_where_not_given(void **state) {
    (void)state;
    json_t *result =
        expect_json(expect_status(0, "sample run --steps 1 --out many.npy --json --quiet"));
    assert_int_equal(json_integer_value(json_object_get(result, "count")), 3 * 8);
    json_decref(result);
    result = expect_json(
        expect_status(0, "sample run --class 1 --steps 1 --out one.npy --json --quiet"));
    assert_int_equal(json_integer_value(json_object_get(result, "count")), 16);
    json_decref(result);
}

static void test_passes_are_only_those_that_matter(void **state) {
    (void)state;
    json_t *r = expect_json(
        expect_status(0, "sample run -n 2 --steps 4 --sampler euler --guidance 0,1,3 --guide cfg "
                         "--out p.npy --json --quiet"));
    char *passes = json_dumps(json_object_get(r, "passes"), JSON_COMPACT);
    assert_string_equal(passes, "[4,4,8]");
    free(passes);
    json_decref(r);
}

/* ---- the same again -------------------------------------------------------------------------- */

static void test_same_command_same_bits(void **state) {
    (void)state;
    expect_status(0, "sample run -n 5 --steps 3 --guidance 2 --seed 3 --out a.npy");
    expect_status(0, "sample run -n 5 --steps 3 --guidance 2 --seed 3 --threads 1 --out b.npy");
    expect_same_file("a.npy", "b.npy");
    expect_status(0, "sample run -n 5 --steps 3 --guidance 2 --seed 4 --out c.npy");
    size_t size;
    char *a = scratch_read("a.npy", &size), *c = scratch_read("c.npy", &size);
    assert_true(memcmp(a, c, size) != 0);
    free(a);
    free(c);
}

/* A safetensors file with `noise` [2,2] = values. */
static void write_noise(const char *path, const float values[4]) {
    char file[256] = {0};
    const char *header =
        "{\"noise\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}   ";
    uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, values, 16);
    scratch_write(path, file, 24 + length);
}

static void test_noise_from_a_file(void **state) {
    (void)state;
    write_noise("noise.safetensors", (float[]){1, 0, 1, 0});
    json_t *r = expect_json(expect_status(
        0, "sample world.json --class left --noise noise.safetensors --out n.npy --json"));
    assert_int_equal(json_integer_value(json_object_get(r, "count")), 2);
    json_decref(r);
    size_t size;
    float points[2][2];
    char *bytes = scratch_read("n.npy", &size);
    memcpy(points, bytes + size - sizeof points, sizeof points);
    free(bytes);
    assert_memory_equal(points[0], points[1], sizeof points[0]); /* equal noise, equal samples */

    write_noise("nan.safetensors", (float[]){1, 0, NAN, 0});
    const outcome *o = run_vane("sample world.json --noise nan.safetensors --out no.npy");
    assert_true(o->status == 1 || o->status == 2);
    expect_complaint(o, "noise of sample 1 is not finite");
    expect_complaint(
        expect_status(2, "sample world.json -n 3 --noise noise.safetensors --out no.npy"), "3");
    assert_false(exists("no.npy"));
}

static void test_sigmas_in_place_of_steps(void **state) {
    (void)state;
    expect_status(0, "sample world.json -n 2 --sigmas 1,0.5,0.2,0 --out s.npy");
    expect_complaint(
        expect_status(2, "sample world.json -n 2 --sigmas 1,0.5,0 --steps 3 --out no.npy"),
        "sigmas");
    expect_complaint(expect_status(2, "sample world.json -n 2 --sigmas 0.2,0.5,0 --out no.npy"),
                     "sigmas");
    expect_complaint(expect_status(2, "sample world.json -n 2 --sigmas 1,0.5 --out no.npy"),
                     "sigmas");
}

/* ---- bad input ------------------------------------------------------------------------------- */

static void test_bad_sources_and_options_are_named(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } cases[] = {
        {1, "sample nowhere --out no.npy", "nowhere"},
        {1, "sample data --out no.npy", "data"},
        {1, "sample half.json --out no.npy", "half.json"},
        {1, "sample run --out nowhere/no.npy", "nowhere/no.npy"},
        {2, "sample run --out no.npy --sampler huen", "heun"},
        {2, "sample run --out no.npy --sampler euler:chrun=1", "churn"},
        {2, "sample run --out no.npy --guide cgf", "cfg"},
        {2, "sample run --out no.npy --steps -1", "steps"},
        {2, "sample run --out no.npy -n -4", "count"},
        {2, "sample run --out no.npy --path vp", "path"},
        {1, "info nowhere", "nowhere"},
        {1, "info half.json", "half.json"},
        {1, "forward nowhere --in a --out b", "nowhere"},
        {2, "forward nowhere --in a --out a", "a is named twice"},
        {2, "forward nowhere --in a --out ./a", "./a is named twice"},
        {2, "forward nowhere --in a --out b --grad b", "b is named twice"},
        {1, "bench nowhere", "nowhere"},
    };
    scratch_write("half.json", "{\"classes\": [", 13);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_complaint(expect_status(cases[i].status, "%s", cases[i].words), cases[i].complaint);
    }
    assert_false(exists("no.npy"));
}

/* Worlds that are none, combinations that cannot be: a line each, and no picture. */
static void test_the_impossible_is_refused(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } cases[] = {
        {1, "sample zero.json --out no.png",
         "zero.json: classes[0].components has weights that sum to 0"},
        {1, "sample flat.json --out no.png",
         "flat.json: classes[0].components[0].cov is not positive definite"},
        {1, "sample prior.json --out no.png", "prior.json: class_weights"},
        {2, "sample world.json --out no.png --guidance nan", "--guidance"},
        {2, "sample world.json --out no.png --guidance inf", "--guidance"},
        {2, "sample world.json --out no.png --class lft", "'left'"},
        {2, "sample world.json --out no.png --class 5", "classes 0 to 1"},
        {2, "sample world.json --out no.png --sigmas 1,0.5,0.5,0", "sigmas"},
        {2, "sample world.json --out no.png --sigmas 1,0.5,0.7,0", "sigmas"},
        {2, "sample world.json --out no.png --sigmas 0", "sigmas"},
        {2, "sample world.json --out no.png --sigmas 1,0.5,0 --grid uniform", "sigmas"},
        {2, "sample world.json --out no.png --weak world.json",
         "a weak model has no effect on the guide cfg"},
        {2, "sample world.json --out no.png --guide autoguidance --guidance 2",
         "needs a weak model"},
        {2, "sample run --out no.png --guide autoguidance --guidance 2 --weak world.json",
         "another shape"},
        {2, "sample run --out no.png --steps 2 --trace", "--trace"},
        {1, "sample world.json --out no.safetensors --weak nowhere", "nowhere"},
        {2, "sample world.json --out ./world.json",
         "--out ./world.json would write over world.json"},
        {1, "info words.md", "words.md: no known kind of file"},
        {1, "info words.npy", "words.npy: one array of numpy"},
        {1, "info words.gif", "words.gif: no picture of a known kind"},
        {1, "info nowhere.md", "nowhere.md: No such file"},
    };
    scratch_write_text("words.md", "no world");
    scratch_write_text("words.npy", "");
    scratch_write_text("words.gif", "no picture");
    scratch_write_text(
        "zero.json",
        "{\"classes\": [{\"components\": [{\"weight\": 0, \"mean\": [0, 0], \"std\": 1}]}]}");
    scratch_write_text(
        "flat.json",
        "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"cov\": [[1, 1], [1, 1]]}]}]}");
    scratch_write_text("prior.json",
                       "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 1}]}], "
                       "\"class_weights\": [0]}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_complaint(expect_status(cases[i].status, "%s", cases[i].words), cases[i].complaint);
    }
    assert_false(exists("no.png"));
    assert_false(exists("no.safetensors"));
}

/* Told before anything is drawn: each of these would take hours. */
static void test_what_cannot_be_saved_is_not_drawn(void **state) {
    (void)state;
    static const char *const outs[][2] = {
        {"world.json/a.png", "cannot be written"},
        {"absent/a.npy", "cannot be written"},
        {"/proc/a.safetensors", "cannot be written"},
        {"world.json/folder", "points of 2 dimensions are no folder of pictures"}};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++)
        expect_complaint(
            expect_status(1, "sample world.json -n 1000000 --steps 1000 --out %s", outs[i][0]),
            outs[i][1]);
    expect_complaint(expect_status(1, "sample run -n 1000000 --steps 1000 --out a.jpg"),
                     "a.jpg: samples are saved as .png, .safetensors or .npy, or in a folder");
    expect_complaint(expect_status(1, "sample run -n 1000000 --steps 1000 --out world.json/folder"),
                     "world.json/folder: cannot be written");
    scratch_write_text("space.json",
                       "{\"classes\": [{\"components\": [{\"mean\": [0, 0, 0], \"std\": 1}]}]}");
    expect_complaint(expect_status(1, "sample space.json -n 1000000 --steps 1000 --out a.png"),
                     "a.png: points of 3 dimensions are no picture");
    assert_false(exists("absent") || exists("a.png") || exists("a.jpg"));
}

/* As the shell completes names: what was meant is said. */
static void test_a_part_of_a_model_names_the_model(void **state) {
    (void)state;
    static const char *const parts[] = {"run/unet/config.json", "run/vane.json",
                                        "./run/model_index.json",
                                        "run/unet/diffusion_pytorch_model.safetensors"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char words[128];
        snprintf(words, sizeof words, "%s: is a part of the model %s; name that folder", parts[i],
                 parts[i][0] == '.' ? "./run" : "run");
        expect_complaint(expect_status(1, "sample %s --out no.npy", parts[i]), words);
        expect_complaint(expect_status(1, "eval %s --metric nll --data data", parts[i]), words);
    }
    expect_complaint(expect_status(2, "sample run/unet --out no.npy"),
                     "or the model that it is a part of: run\n");
    assert_int_equal(
        system("mkdir alone && cp tiny.json alone/config.json && cp world.json alone/world.json"),
        0);
    expect_complaint(expect_status(1, "sample alone/config.json --out no.npy"),
                     "model alone; name that folder");
    expect_status(0, "sample alone/world.json --out yes.npy -n 2 --quiet");
    assert_false(exists("no.npy"));
}

/* ---- traces and weak models ------------------------------------------------------------------ */

static void test_a_trace_goes_into_the_tensors(void **state) {
    (void)state;
    expect_status(
        0, "sample world.json -n 3 --steps 5 --guidance 1,2 --trace --out trace.safetensors");
    json_t *header = tensor_header("trace.safetensors");
    expect_shape(json_object_get(header, "trace"), "F32", "[6,6,2]");
    expect_shape(json_object_get(header, "trace_t"), "F64", "[6]");
    json_decref(header);
    expect_status(0, "sample run -n 2 --steps 3 --trace --out trace.safetensors");
    header = tensor_header("trace.safetensors");
    expect_shape(json_object_get(header, "trace"), "F32", "[4,2,1,8,8]");
    json_decref(header);
}

static void test_a_picture_tells_of_its_weak_model(void **state) {
    (void)state;
    scratch_write_text(
        "vague.json",
        "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.5], \"std\": 1}]}, {\"components\": "
        "[{\"mean\": [1, 0], \"std\": 1}]}]}");
    expect_status(0, "sample world.json -n 9 --steps 4 --guide autoguidance --guidance 2 --weak "
                     "vague.json --out weak.png");
    assert_non_null(strstr(expect_status(0, "info weak.png")->out, "vague.json"));
}

/* ---- time ------------------------------------------------------------------------------------ */

/* The aim is 100 ms; the bound leaves room for a busy machine and for sanitizers. The least of five
 * counts. */
static void test_first_sample_is_there_at_once(void **state) {
    (void)state;
    double least = 1e9;
    for (int i = 0; i < 5; i++) {
        const outcome *o = expect_status(0, "sample run -n 1 --steps 4 --out quick.png --quiet");
        if (o->seconds < least) least = o->seconds;
    }
    assert_true(least < 0.5);
}

static void test_a_cache_prints_its_error(void **state) {
    (void)state;
    make_world();
    const char *sample = "sample world.json -n 4 --guidance 2 --steps 16 --sampler euler";
    const outcome *o = expect_status(0, "%s --cache branch --out g.npy", sample);
    assert_non_null(strstr(o->out, "network passes each, cache error "));
    o = expect_status(0, "%s --cache branch:after=1 --out h.npy", sample);
    assert_non_null(strstr(o->out, "cache error not known, "));
    json_t *said = expect_json(expect_status(0, "%s --cache easy --json --out i.npy", sample));
    const double error = json_real_value(json_array_get(json_object_get(said, "cache_error"), 0));
    assert_true(error > 0 && error < 1);
    json_decref(said);
    said = expect_json(expect_status(0, "%s --json --out j.npy", sample));
    assert_null(json_object_get(said, "cache_error"));
    json_decref(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cache_prints_its_error),
        cmocka_unit_test(test_world_to_tensors),
        cmocka_unit_test(test_class_by_name_index_and_all),
        cmocka_unit_test(test_network_to_picture_folder_and_tensors),
        cmocka_unit_test(test_a_folder_of_samples_is_replaced_or_goes_on_only_when_asked),
        cmocka_unit_test(test_picture_tells_how_it_was_made),
        cmocka_unit_test(test_counts_are_chosen_where_not_given),
        cmocka_unit_test(test_passes_are_only_those_that_matter),
        cmocka_unit_test(test_same_command_same_bits),
        cmocka_unit_test(test_noise_from_a_file),
        cmocka_unit_test(test_sigmas_in_place_of_steps),
        cmocka_unit_test(test_bad_sources_and_options_are_named),
        cmocka_unit_test(test_the_impossible_is_refused),
        cmocka_unit_test(test_what_cannot_be_saved_is_not_drawn),
        cmocka_unit_test(test_a_part_of_a_model_names_the_model),
        cmocka_unit_test(test_a_trace_goes_into_the_tensors),
        cmocka_unit_test(test_a_picture_tells_of_its_weak_model),
        cmocka_unit_test(test_first_sample_is_there_at_once),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
