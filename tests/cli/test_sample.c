/* test_sample.c - `vane sample`, `info`, `forward` and `bench`: every kind of output, and that the
 * same command gives the same bits. Networks come from one short training; their pictures need not
 * be good. */
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
        expect_status(0, "sample run -n 2 --steps 4 --sampler euler --guidance 0,1,3 --out p.npy "
                         "--json --quiet"));
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
        {1, "info words.gif", "words.gif: no picture of a known kind"},
        {1, "info nowhere.md", "nowhere.md: No such file"},
    };
    scratch_write_text("words.md", "no world");
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

/* ---- the other verbs ------------------------------------------------------------------------- */

static void test_forward_gives_an_output_and_gradients(void **state) {
    (void)state;
    enum { values = 64 };
    const char *header =
        "{\"sample\":{\"dtype\":\"F32\",\"shape\":[1,1,8,8],\"data_offsets\":[0,256]},"
        "\"timestep\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[256,264]},"
        "\"class_labels\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[264,272]},"
        "\"cotangent\":{\"dtype\":\"F32\",\"shape\":[1,1,8,8],\"data_offsets\":[272,528]}}";
    char file[1024] = {0};
    uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    for (int i = 0; i < values; i++) {
        float x = (float)i / values, one = 1;
        memcpy(file + 8 + length + 4 * i, &x, 4);
        memcpy(file + 8 + length + 272 + 4 * i, &one, 4);
    }
    scratch_write("in.safetensors", file, 8 + length + 528);
    expect_status(0,
                  "forward run --in in.safetensors --out out.safetensors --grad grad.safetensors");
    json_t *out = tensor_header("out.safetensors"), *grad = tensor_header("grad.safetensors");
    expect_shape(json_object_get(out, "sample"), "F32", "[1,1,8,8]");
    expect_shape(json_object_get(grad, "grad.sample"), "F32", "[1,1,8,8]");
    expect_shape(json_object_get(grad, "grad.conv_in.weight"), "F32", "[8,1,3,3]");
    json_decref(out);
    json_decref(grad);

    unlink("out.safetensors"); /* all or nothing is written */
    expect_complaint(
        expect_status(1, "forward run --in in.safetensors --out out.safetensors --grad absent/g"),
        "absent/g: cannot be written");
    assert_false(exists("out.safetensors"));

    char *cotangent = strstr(file + 8, "\"cotangent\""); /* as many numbers in another shape */
    assert_non_null(cotangent);
    memcpy(strstr(cotangent, "8,8"), "4,4", 3);
    memcpy(strstr(cotangent, "[1,1"), "[4,1", 4);
    scratch_write("in.safetensors", file, 8 + length + 528);
    expect_complaint(
        expect_status(
            1, "forward run --in in.safetensors --out out.safetensors --grad grad.safetensors"),
        "in.safetensors: cotangent has shape [4, 1, 4, 4], expected [1, 1, 8, 8]");
}

static void test_bench_json_has_the_keys_of_the_contract(void **state) {
    (void)state;
    static const char *const keys[] = {"min_ms", "median_ms",   "images_per_s",
                                       "gflops", "gemm_gflops", "peak_rss_mb"};
    json_t *r =
        expect_json(expect_status(0, "bench run --mode train --batch 2 --steps 2 --json --quiet"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_true(json_number_value(json_object_get(r, keys[i])) > 0);
    }
    json_decref(r);
    assert_int_equal(system("mkdir bare && cp tiny.json bare/config.json"), 0);
    /* random weights will do */
    const outcome *o = expect_status(0, "bench bare --batch 2 --steps 2");
    assert_non_null(strstr(o->out, "GF/s"));
}

/* Every op once, the slowest first, then each at its places, which add up to no more. */
static void test_bench_tells_where_the_time_goes(void **state) {
    (void)state;
    json_t *r = expect_json(
        expect_status(0, "bench run --mode train --batch 2 --steps 2 --profile --json --quiet"));
    const json_t *ops = json_object_get(r, "ops"), *places = json_object_get(r, "places"), *row;
    double share = 0, before = HUGE_VAL, of_places = 0;
    bool adamw = false, conv = false;
    size_t i;
    json_array_foreach(ops, i, row) {
        const double ms = json_number_value(json_object_get(row, "ms"));
        assert_true(ms <= before && json_integer_value(json_object_get(row, "calls")) > 0);
        adamw = adamw || strcmp(json_string_value(json_object_get(row, "op")), "adamw") == 0;
        share += json_number_value(json_object_get(row, "share"));
        before = ms;
    }
    json_array_foreach(places, i, row) {
        conv = conv || strcmp(json_string_value(json_object_get(row, "place")), "conv_in") == 0;
        of_places += json_number_value(json_object_get(row, "share"));
    }
    assert_true(adamw && conv);
    /* nine digits of each are printed */
    expect_small(fabs(share - 1), 1e-8);
    assert_true(of_places < 1);
    assert_true(of_places > 0);
    json_decref(r);
    const outcome *o = expect_status(0, "bench bare --batch 2 --steps 2 --profile");
    assert_non_null(strstr(o->out, "share"));
    assert_non_null(strstr(o->out, "place\n"));
}

/* With --mode sample: what a step costs, and what of it is not the network's. */
static void test_bench_tells_the_arithmetic_of_a_step(void **state) {
    (void)state;
    static const char *const keys[] = {"min_ms", "median_ms",   "denoiser_ms",      "arithmetic_ms",
                                       "passes", "gemm_gflops", "arithmetic_share", "peak_rss_mb"};
    json_t *r = expect_json(expect_status(
        0, "bench run --mode sample --sampler heun --batch 2 --steps 4 --json --quiet"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!(json_number_value(json_object_get(r, keys[i])) > 0)) fail_msg("%s", keys[i]);
    }
    /* Two passes an evaluation, two evaluations a step, but one in the last of four. */
    expect_small(fabs(json_number_value(json_object_get(r, "passes")) - 3.5), 1e-9);
    json_decref(r);
    const outcome *o = expect_status(
        0, "bench run --mode sample --sampler heun --guide all --batch 2 --steps 2 --quiet");
    assert_non_null(strstr(o->out, "interval"));
    assert_non_null(
        strstr(o->out, "refused: the guide fkc needs a sampler that follows the reverse SDE"));
    r = expect_json(expect_status(
        0, "bench run --mode sample --sampler all --batch 2 --steps 2 --json --quiet"));
    assert_true(json_array_size(json_object_get(r, "runs")) > 5);
    json_decref(r);
    expect_complaint(expect_status(2, "bench run --mode sample --steps 0"), "steps 0");
    expect_complaint(expect_status(2, "bench run --mode sample --guide cgf"), "'cfg'");
}

static void test_eval_gives_a_number_and_its_interval(void **state) {
    (void)state;
    for (size_t i = 0; (kernels = vn_cpu_row_at(i)); i++) {
        json_t *r = expect_json(expect_status(0,
                                              "eval world.json --metric nll --exact -n 40 "
                                              "--class left --json --quiet --cpu %s",
                                              kernels->name)),
               *list = json_object_get(r, "measures");
        const double ode = json_number_value(json_object_get(json_array_get(list, 0), "value")),
                     truth = json_number_value(
                         json_object_get(json_array_get(list, json_array_size(list) - 1), "value"));
        assert_int_equal(json_integer_value(json_object_get(r, "count")), 40);
        expect_below("entropy by the ODE", fabs(ode - truth), 1e-4);
        json_decref(r);
    }
    const outcome *o = expect_status(0, "eval world.json --metric nll -n 10 --path vp");
    assert_non_null(strstr(o->out, "exact negative log-likelihood"));
    expect_complaint(expect_status(2, "eval world.json --metric nil"), "'nll'");
    expect_complaint(expect_status(2, "eval run --metric nll"), "data is needed");
    expect_complaint(expect_status(2, "eval world.json --metric nll --probes 0"), "probes");
}

/* A run and a config.json alone: what running and training take; more of a larger batch, less with
 * recompute. */
static void test_info_plans_a_network(void **state) {
    (void)state;
    static const char *const sources[] = {"run", "run/unet/config.json", "bare",
                                          "bare/config.json"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        double before = 0;
        for (int batch = 2; batch <= 8; batch *= 4) {
            json_t *r =
                expect_json(expect_status(0, "info %s --batch %d --json", sources[i], batch));
            const json_t *plan = json_object_get(r, "plan"),
                         *train = json_object_get(plan, "train");
            assert_string_equal(json_string_value(json_object_get(r, "is")),
                                i < 2 ? "model" : "network");
            assert_int_equal(json_integer_value(json_object_get(plan, "batch")), batch);
            assert_true(json_integer_value(json_object_get(plan, "parameters")) > 0);
            const double arena = json_number_value(json_object_get(train, "arena_mb"));
            const json_t *again = json_object_get(plan, "train_recompute");
            assert_true(arena > before &&
                        json_number_value(json_object_get(again, "arena_mb")) <= arena);
            assert_true(json_number_value(json_object_get(again, "gflop_per_image")) >
                        json_number_value(json_object_get(train, "gflop_per_image")));
            assert_true(json_number_value(json_object_get(train, "alive_mb")) <= arena);
            assert_true(json_array_size(json_object_get(train, "alive_by_op")) > 2);
            assert_true(json_array_size(json_object_get(train, "largest")) > 2);
            assert_true(json_number_value(
                            json_object_get(json_object_get(plan, "forward"), "memory_mb")) > 0);
            before = arena;
            json_decref(r);
        }
    }
    const outcome *o = expect_status(0, "info bare --plan");
    assert_non_null(strstr(o->out, "train_recompute"));
    assert_non_null(strstr(o->out, "batch            64"));
    /* what the numbers of a line are */
    assert_non_null(strstr(o->out, "alive_by_op  (op, arrays, mb)"));
    expect_complaint(expect_status(2, "info world.json --batch 3"), "--batch");
    expect_complaint(expect_status(2, "info world.json --plan"), "--plan is of a model's plan");
    /* not where it was not asked for */
    assert_null(strstr(expect_status(0, "info bare")->out, "alive_by_op"));
    assert_null(strstr(expect_status(0, "info run")->out, "alive_by_op"));
    expect_complaint(expect_status(2, "info world.json --batch 0"), "--batch");
    expect_complaint(expect_status(2, "info bare --batch 0"), "batch: 0 is outside");
    expect_complaint(expect_status(2, "info bare --batch 100000"), "batch: 100000");
}

/* What was not asked for stands in vane.json as 0 or -1; for people it is left out, or said in a
 * word. */
static void test_info_of_a_run_shows_only_what_was_asked_for(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "info run --json"));
    const json_t *train = json_object_get(r, "train");
    static const char *const absent[] = {"ema", "dropout", "minutes", "size", "save_every"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(json_object_get(train, absent[i]));
    assert_string_equal(json_string_value(json_object_get(train, "preview_every")), "none");
    assert_int_equal(json_integer_value(json_object_get(train, "seed")), 0);
    assert_int_equal(json_integer_value(json_object_get(train, "batch")), 8);
    assert_true(json_is_false(json_object_get(train, "flip")));
    json_decref(r);
}

static void test_info_of_a_size_that_does_not_fit(void **state) {
    (void)state;
    assert_int_equal(system("mkdir odd sizeless"), 0);
    scratch_write_text(
        "odd/config.json",
        "{\"_class_name\": \"DiTTransformer2DModel\", \"num_attention_heads\": 2, "
        "\"attention_head_dim\": "
        "16, \"in_channels\": 1, \"num_layers\": 1, \"sample_size\": 10, \"patch_size\": 4}");
    expect_complaint(expect_status(1, "info odd --plan"),
                     "dit: images of 10 x 10 (sample_size): both sides must be multiples of 4");
    scratch_write_text(
        "sizeless/config.json",
        "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 1, \"out_channels\": 1, "
        "\"block_out_channels\": "
        "[32], \"down_block_types\": [\"DownBlock2D\"], \"up_block_types\": [\"UpBlock2D\"]}");
    expect_complaint(expect_status(1, "info sizeless --plan"), "no sample_size in the config");
}

static void test_bench_with_recompute_says_what_it_costs(void **state) {
    (void)state;
    json_t *r = expect_json(
        expect_status(0, "bench bare --mode train --batch 8 --steps 1 --recompute --json --quiet"));
    const double arena = json_number_value(json_object_get(r, "arena_mb"));
    assert_true(arena > 0 && arena <= json_number_value(json_object_get(r, "arena_kept_mb")));
    assert_true(json_number_value(json_object_get(r, "recomputed")) > 0.01);
    json_decref(r);
    assert_non_null(
        strstr(expect_status(0, "bench bare --mode train --batch 8 --steps 1 --recompute")->out,
               "more arithmetic"));
}

static void test_info_of_a_world(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "info world.json --json"));
    const json_t *right = json_array_get(json_object_get(r, "classes"), 1);
    assert_int_equal(json_integer_value(json_object_get(r, "dimension")), 2);
    assert_string_equal(json_string_value(json_object_get(right, "name")), "right");
    assert_true(json_number_value(json_object_get(right, "weight")) == 0.5);
    assert_string_equal(json_string_value(json_object_get(right, "components")), "1 component");
    assert_true(json_is_false(json_object_get(r, "weak")));
    json_decref(r);
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(test_forward_gives_an_output_and_gradients),
        cmocka_unit_test(test_bench_json_has_the_keys_of_the_contract),
        cmocka_unit_test(test_bench_tells_where_the_time_goes),
        cmocka_unit_test(test_bench_tells_the_arithmetic_of_a_step),
        cmocka_unit_test(test_eval_gives_a_number_and_its_interval),
        cmocka_unit_test(test_info_plans_a_network),
        cmocka_unit_test(test_info_of_a_run_shows_only_what_was_asked_for),
        cmocka_unit_test(test_info_of_a_size_that_does_not_fit),
        cmocka_unit_test(test_bench_with_recompute_says_what_it_costs),
        cmocka_unit_test(test_info_of_a_world),
        cmocka_unit_test(test_first_sample_is_there_at_once),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
