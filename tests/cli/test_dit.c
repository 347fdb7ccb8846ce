/* test_dit.c - the transformer as a user of the program meets it: which choices are refused and in
 * which words, that it learns on flows as well as on diffusions, and what is said of a checkpoint
 * or an image that does not fit it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60); /* 8 x 8 */
    return 0;
}

/* ---- choices --------------------------------------------------------------------------------- */

static void test_choices_that_do_not_fit_are_wrong_usage(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"dit:width=130,heads=4", "vane train: dit: width=130 is not divisible by heads=4\n"},
        {"dit:width=30,heads=3", "vane train: dit: width=30 is not divisible by 4\n"},
        {"dit:patch=3", "vane train: dit: images of 8 x 8 are not divisible by patch=3\n"},
        {"dit:width=24,heads=4,rope=100", "vane train: dit: width=24 and heads=4 make heads of 6 "
                                          "numbers; rope needs a multiple of 4, up to 1024\n"},
        {"dit:norm=batch", "vane train: dit: norm=batch is none of layer|rms\n"},
        {"dit:qk_norm=l2", "vane train: dit: qk_norm=l2 is none of layer|rms|none\n"},
        {"dit:mlp=swish", "vane train: dit: mlp=swish is none of gelu|"},
        {"dit:registers=2000", "vane train: dit: registers=2000 is outside [0, 1024]\n"},
        {"dit:rope=yes", "vane train: dit: rope=yes is not a number\n"},
        {"dit:register=4",
         "vane train: dit has no parameter 'register'; did you mean 'registers'?\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_complaint(
            expect_status(2, "train data --out bad --steps 2 --quiet --model %s", cases[i][0]),
            cases[i][1]);
        assert_false(exists("bad"));
    }
}

/* ---- learning -------------------------------------------------------------------------------- */

#define LEARNT 0.18 /* the least share of the first loss that goes; measured: 0.39 to 0.70 */

/* The mean loss of steps [begin, end) in a log with a line for each. */
static double mean_loss(const char *path, int begin, int end) {
    size_t size;
    char *log = scratch_read(path, &size);
    double sum = 0;
    int step = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"), step++) {
        json_t *entry = json_loads(line, 0, NULL);
        assert_non_null(entry);
        if (step >= begin && step < end) sum += json_number_value(json_object_get(entry, "loss"));
        json_decref(entry);
    }
    free(log);
    assert_true(step >= end);
    return sum / (end - begin);
}

/* SiT: the same blocks on a straight or a circular way from noise to data, asked for the velocity;
 * and what vane adds. */
static void test_the_loss_falls_on_every_kind_of_path(void **state) {
    (void)state;
    static const char *const cases[] = {
        "dit:depth=1,width=16,heads=2 --path rectified --predict velocity",
        "dit:depth=1,width=16,heads=2 --path rectified --predict velocity --times uniform",
        "dit:depth=1,width=16,heads=2 --path trigonometric --predict velocity",
        "dit:depth=1,width=16,heads=2 --path trigonometric --predict v",
        "dit:depth=1,width=16,heads=2 --path ddpm:cosine --predict eps",
        "dit:depth=1,width=16,heads=2,mlp=swiglu,norm=rms,qk_norm=rms,rope=100,registers=4",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_status(0,
                      "train data --out learns --overwrite --steps 120 --batch 16 --lr 3e-3 "
                      "--log-every 1 --quiet "
                      "--preview-every -1 --validate 0 --model %s",
                      cases[i]);
        const double first = mean_loss("learns/log.jsonl", 0, 10),
                     last = mean_loss("learns/log.jsonl", 100, 120);
        const double gone = 1 - last / first;
        print_message("%s: %.3f to %.3f, %.2f less, of at least %.2f\n", cases[i], first, last,
                      gone, LEARNT);
        if (!(gone > LEARNT))
            fail_msg("%s: the loss goes from %g to %g, %.2f less, of at least %.2f", cases[i],
                     first, last, gone, LEARNT);
    }
}

/* ---- a run, and what does not fit it --------------------------------------------------------- */

#define OWN "dit:depth=1,width=16,heads=2,qk_norm=rms,rope=100,registers=4"

static void make_run(void) {
    if (exists("run")) return;
    expect_status(
        0, "train data --out run --steps 3 --batch 8 --preview-every -1 --quiet --model " OWN);
}

static void test_a_run_goes_on_and_samples(void **state) {
    (void)state;
    expect_status(
        0, "train data --out on --steps 2 --batch 8 --preview-every -1 --quiet --model " OWN);
    expect_status(0, "train data --out on --resume --steps 4 --quiet");
    expect_status(
        0, "train data --out whole --steps 4 --batch 8 --preview-every -1 --quiet --model " OWN);
    expect_same_file("on/transformer/diffusion_pytorch_model.safetensors",
                     "whole/transformer/diffusion_pytorch_model.safetensors");
    expect_status(0, "sample on -n 2 --steps 2 --class 1 --guidance 2 --quiet --out on.png");
    size_t size;
    /* Python must not look for it in diffusers */
    char *index = scratch_read("on/model_index.json", &size);
    json_t *entry = json_loadb(index, size, 0, NULL), *part = json_object_get(entry, "transformer");
    assert_string_equal(json_string_value(json_array_get(part, 0)), "vane");
    assert_string_equal(json_string_value(json_array_get(part, 1)), "VaneDiT");
    json_decref(entry);
    free(index);
}

/* The run's model under a config in which `change`, a JSON object, replaces what it names. */
static void make_changed(const char *change) {
    assert_int_equal(system("rm -rf changed && cp -r run/transformer changed"), 0);
    json_t *config = json_load_file("changed/config.json", 0, NULL),
           *changes = json_loads(change, 0, NULL);
    assert_true(config && changes && json_object_update(config, changes) == 0);
    assert_int_equal(json_dump_file(config, "changed/config.json", 0), 0);
    json_decref(config);
    json_decref(changes);
}

/* A batch of one for the run's model. */
static void make_input(const char *path, int height, int width) {
    char header[400], file[8 + sizeof header + 2048] = {0};
    const int bytes = 4 * height * width;
    const uint64_t length = (uint64_t)snprintf(
        header, sizeof header,
        "{\"sample\":{\"dtype\":\"F32\",\"shape\":[1,1,%d,%d],\"data_offsets\":[0,%d]},"
        "\"timestep\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[%d,%d]},"
        "\"class_labels\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[%d,%d]}}",
        height, width, bytes, bytes, bytes + 8, bytes + 8, bytes + 16);
    assert_true(bytes + 16 <= 2048);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    scratch_write(path, file, 8 + length + (size_t)bytes + 16);
}

static void test_what_does_not_fit_is_named(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *change, *input, *words;
    } cases[] = {
        {1, "{\"num_attention_heads\": 3}", "8.safetensors",
         "'pos_embed.proj.weight' has shape [16, 1, 2, 2], expected [24, 1, 2, 2]"},
        {1, "{\"attention_head_dim\": 6}", "8.safetensors",
         "changed/config.json: dit: attention_head_dim is 6; rope_theta needs a multiple of 4, up "
         "to 1024"},
        {1, "{\"attention_head_dim\": 3, \"rope_theta\": null}", "8.safetensors",
         "dit: num_attention_heads 2 of attention_head_dim 3 make tokens 6 wide; positions need a "
         "multiple of 4"},
        {1, "{\"num_register_tokens\": 5}", "8.safetensors",
         "'register_tokens' has shape [1, 4, 16], expected [1, 5, 16]"},
        {1, "{\"num_register_tokens\": 0}", "8.safetensors",
         "'register_tokens' is not part of this model"},
        {1, "{\"qk_norm\": \"layer_norm\"}", "8.safetensors", "attn1.norm_q.bias' is missing"},
        {1, "{\"_class_name\": \"DiTTransformer2DModel\"}", "8.safetensors",
         "DiTTransformer2DModel has no block_norm: the _class_name of one that has it is VaneDiT"},
        {2, "{}", "9.safetensors", "dit: images of 9 x 9: both sides must be multiples of 2"},
        {2, "{}", "8x12.safetensors", "dit: images of 8 x 12: it is for square ones"},
        {0, "{}", "8.safetensors", NULL},
        {0, "{}", "16.safetensors", NULL}, /* positions have no end */
        {0, "{\"sample_size\": 4}", "8.safetensors", NULL},
    };
    make_run();
    make_input("8.safetensors", 8, 8);
    make_input("9.safetensors", 9, 9);
    make_input("16.safetensors", 16, 16);
    make_input("8x12.safetensors", 8, 12);
    for (size_t i = 0; i < COUNT(cases); i++) {
        make_changed(cases[i].change);
        const outcome *o =
            expect_status(cases[i].status, "forward changed --in %s --out out.safetensors --quiet",
                          cases[i].input);
        if (cases[i].words) expect_complaint(o, cases[i].words);
    }
}

/* A config without weights is called by its own class; what it cannot be planned for is its own
 * fault. */
static void test_info_of_a_config(void **state) {
    (void)state;
    make_run();
    make_changed("{}");
    assert_int_equal(unlink("changed/diffusion_pytorch_model.safetensors"), 0);
    json_t *r = expect_json(expect_status(0, "info changed --batch 2 --json"));
    assert_string_equal(json_string_value(json_object_get(r, "class")), "VaneDiT");
    json_decref(r);
    make_changed("{\"sample_size\": 40000}");
    assert_int_equal(unlink("changed/diffusion_pytorch_model.safetensors"), 0);
    expect_complaint(expect_status(1, "info changed --batch 2"),
                     "changed: dit: images of 40000 x 40000 make 400000000 tokens of 16 numbers");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices_that_do_not_fit_are_wrong_usage),
        cmocka_unit_test(test_the_loss_falls_on_every_kind_of_path),
        cmocka_unit_test(test_a_run_goes_on_and_samples),
        cmocka_unit_test(test_what_does_not_fit_is_named),
        cmocka_unit_test(test_info_of_a_config),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
