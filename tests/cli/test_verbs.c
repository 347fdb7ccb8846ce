/* test_verbs.c - `vane forward`, `bench`, `eval` and `info` on a small network and a world. The
 * network comes from one short training; its pictures need not be good. */
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
    const outcome *o = run_vane("train data --model tiny.json --batch 8 --preview-every -1 "
                                "--steps 3 --out run --quiet");
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
    assert_int_equal(json_integer_value(json_object_get(r, "microbatches")), 1);
    json_decref(r);
    assert_int_equal(system("mkdir bare && cp tiny.json bare/config.json"), 0);
    /* random weights will do */
    const outcome *o = expect_status(0, "bench bare --batch 2 --steps 2");
    assert_non_null(strstr(o->out, "GF/s"));
}

/* A step of training has the microbatches that vane train gives it, or those that are asked for;
 * four on two threads are two passes of each of two workers. */
static void test_bench_splits_a_batch_as_training_does(void **state) {
    (void)state;
    static const struct {
        const char *flags;
        int microbatches;
    } cases[] = {{"--batch 16", 2},
                 {"--batch 15", 1},
                 {"--batch 16 --microbatches 1", 1},
                 {"--batch 12 --microbatches 4 --threads 2 --recompute", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *r = expect_json(
            expect_status(0, "bench run --mode train --steps 2 --json --quiet %s", cases[i].flags));
        assert_int_equal(json_integer_value(json_object_get(r, "microbatches")),
                         cases[i].microbatches);
        assert_true(json_number_value(json_object_get(r, "gflops")) > 0);
        json_decref(r);
    }
    const outcome *o = expect_status(0, "bench run --mode train --batch 16 --steps 1 --profile");
    assert_non_null(strstr(o->out, "batch 16 in 2 microbatches, 1 steps"));
    expect_complaint(
        expect_status(2, "bench run --mode train --batch 16 --steps 1 --microbatches 3"),
        "a batch of 16 cannot be split into 3 equal microbatches");
}

/* A large batch is computed in equal passes, none of which takes much memory. */
static void test_bench_splits_a_forward_pass_as_sampling_does(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "bench bare --batch 8192 --steps 1 --json --quiet"));
    const json_int_t passes = json_integer_value(json_object_get(r, "microbatches"));
    assert_true(passes >= 2 && 8192 % passes == 0);
    assert_true(json_number_value(json_object_get(r, "arena_mb")) < 135);
    json_decref(r);
    const outcome *o = expect_status(0, "bench bare --batch 8191 --steps 1"); /* a prime */
    assert_non_null(strstr(o->out, "infer, batch 8191, 1 steps"));
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

/* The classifier's own time stands beside that of a step without guidance, a gradient of it for
 * each sample; a gradient costs at least half a pass more than a pass forward. */
static void test_bench_tells_what_a_classifier_costs(void **state) {
    (void)state;
    expect_status(0, "train data --model classifier:channels=8 --batch 8 --steps 2 --preview-every "
                     "-1 --out clf --quiet");
    expect_status(0, "bench clf --batch 2 --steps 2");
    expect_status(0, "bench clf --mode train --batch 2 --steps 2");
    json_t *r = expect_json(expect_status(
        0, "bench run --mode sample --sampler heun --guide classifier --guidance 2 --classifier "
           "clf --batch 4 --steps 4 --json --quiet"));
    const double step = json_number_value(json_object_get(r, "min_ms")),
                 of_it = json_number_value(json_object_get(r, "classifier_ms")),
                 network = json_number_value(json_object_get(r, "denoiser_ms")),
                 once = json_number_value(json_object_get(r, "unguided_ms"));
    /* One pass an evaluation, and two evaluations a step but in the last of four. */
    expect_small(fabs(json_number_value(json_object_get(r, "passes")) - 1.75), 1e-9);
    expect_small(fabs(json_number_value(json_object_get(r, "gradients")) - 1.75), 1e-9);
    expect_small(fabs(network - 1.75 * once) / once, 4e-8); /* nine digits are printed */
    assert_true(of_it > 0 && step > network + of_it);
    assert_true(json_number_value(json_object_get(r, "classifier_passes")) > 1.5 * 1.75);
    json_decref(r);
    const outcome *o = expect_status(0, "bench run --mode sample --guide all --classifier clf "
                                        "--batch 2 --steps 2 --quiet");
    assert_non_null(strstr(o->out, "a step without guidance takes"));
    assert_non_null(strstr(o->out, "autoguidance"));
    expect_complaint(expect_status(2, "bench run --mode sample --classifier clf"),
                     "a classifier has no effect on the guide cfg: --guide classifier follows it");
    expect_complaint(expect_status(1, "bench clf --mode sample"),
                     "it is timed as the --classifier of a model");
    expect_complaint(expect_status(2, "bench run --mode sample --guide classifier --classifier "
                                      "world.json"),
                     "is for samples of shape [2]");
    expect_complaint(expect_status(1, "eval clf --data data --metric accuracy"),
                     "vane info says how well it tells what was held out");
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_gives_an_output_and_gradients),
        cmocka_unit_test(test_bench_json_has_the_keys_of_the_contract),
        cmocka_unit_test(test_bench_splits_a_batch_as_training_does),
        cmocka_unit_test(test_bench_splits_a_forward_pass_as_sampling_does),
        cmocka_unit_test(test_bench_tells_where_the_time_goes),
        cmocka_unit_test(test_bench_tells_the_arithmetic_of_a_step),
        cmocka_unit_test(test_bench_tells_what_a_classifier_costs),
        cmocka_unit_test(test_eval_gives_a_number_and_its_interval),
        cmocka_unit_test(test_info_plans_a_network),
        cmocka_unit_test(test_info_of_a_run_shows_only_what_was_asked_for),
        cmocka_unit_test(test_info_of_a_size_that_does_not_fit),
        cmocka_unit_test(test_bench_with_recompute_says_what_it_costs),
        cmocka_unit_test(test_info_of_a_world),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
