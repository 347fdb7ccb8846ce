/* test_words.c - the words people type: those of other programs, words cut short, letters and
 * values in one, names of rows and verbs, and what programs read when something failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"
#include "vane.h"

static void expect_text(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("'%s' is not in: %s", words, text);
}

/* ---- words of other programs ----------------------------------------------------------------- */

static void foreign_words_lead_to_vane_s_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } typed[] = {
        {"train d --out r --epochs 3",
         "vane says --steps for --epochs; an epoch is images / --batch steps"},
        {"train d --out r --epoch 3", "vane says --steps for --epoch"},
        {"train d --out r --iterations 3", "vane says --steps for --iterations"},
        {"train d --out r --max_train_steps=3", "vane says --steps for --max_train_steps"},
        {"train d --out r --batch-size 3", "vane says --batch for --batch-size"},
        {"train d --out r --batch_size=3", "vane says --batch for --batch_size"},
        {"train d --out r --Batch_Size=3", "vane says --batch for --Batch_Size"},
        {"train d --out r -b 3", "vane says --batch for -b"},
        {"train d --out r --learning-rate 1e-4", "vane says --lr for --learning-rate"},
        {"train d --out r --lr-scheduler cosine", "vane says --schedule for --lr-scheduler"},
        {"train d --out r --lr_warmup_steps 3", "vane says --warmup for --lr_warmup_steps"},
        {"train d --out r --image-size 64",
         "vane says --size for --image-size; images become S x S"},
        {"train d --out r --resolution 64", "vane says --size for --resolution"},
        {"train d --output-dir r", "vane says --out for --output-dir; the run directory"},
        {"train d --output r", "vane says --out for --output"},
        {"train d -o r", "vane says --out for -o"},
        {"train --data_dir d --out r", "--data_dir needs no flag: write vane train DATA"},
        {"train d --out r --device cuda",
         "vane says --cpu for --device; vane computes on the processor"},
        {"train d --out r --workers 4", "vane says --threads for --workers"},
        {"train d --out r --num_workers 4", "vane says --threads for --num_workers"},
        {"train d --out r -j4", "vane says --threads for -j"},
        {"train d --out r --fp16", "vane says --precision for --fp16; it computes in float32, or "
                                   "with matrix products of bfloat16 numbers"},
        {"train d --out r --mixed_precision bf16", "vane says --precision for --mixed_precision"},
        {"train d --out r --p-uncond 0.1", "vane says --drop for --p-uncond"},
        {"train d --out r --prediction_type v", "vane says --predict for --prediction_type"},
        {"train d --out r --gradient_checkpointing",
         "vane says --recompute for --gradient_checkpointing"},
        {"train d --out r --resume_from_checkpoint x",
         "vane says --resume for --resume_from_checkpoint"},
        {"train d --out r --wandb", "vane has no --wandb: vane log RUN --tensorboard DIR"},
        {"train d --out r --arch unet", "vane says --model for --arch; vane list models"},
        {"sample m --out o --cfg 4", "vane says --guidance for --cfg; 1 as trained"},
        {"sample m --out o --variant fp16",
         "vane has no --variant: name the folder or the file itself: DIR/unet_ema, "},
        {"sample m --out o --uncond-class 10", "vane says --null-class for --uncond-class"},
        {"sample m --out o --cfg-scale 4", "vane says --guidance for --cfg-scale"},
        {"sample m --out o --guidance-scale 4", "the w of (1+w)c - wu is guidance - 1"},
        {"sample m --out o --guidance_scale=4", "vane says --guidance for --guidance_scale"},
        {"sample m --out o --w 4",
         "vane says --guidance for --w; the w of (1+w)c - wu is guidance - 1"},
        {"sample m --out o -w 4", "vane says --guidance for -w"},
        {"sample m --out o --num 4", "vane says --count for --num; -n for short"},
        {"sample m --out o --num-samples 4", "vane says --count for --num-samples"},
        {"sample m --out o -num 4", "vane says --count for -num"},
        {"sample m --out o --num-inference-steps 4", "vane says --steps for --num-inference-steps"},
        {"sample m --out o --scheduler ddim",
         "vane says --sampler for --scheduler; vane list samplers"},
        {"sample m --out o --eta 0.5",
         "vane says --sampler for --eta; a sampler's parameters stand behind its name"},
        {"sample m --out o --label 3", "vane says --class for --label"},
        {"sample m --out o --caption cat", "vane says --prompt for --caption"},
        {"sample m --out o --image-size 64", "vane says --size for --image-size"},
        {"sample --ckpt m --out o", "--ckpt needs no flag: write vane sample SOURCE"},
        {"sample m --output o", "vane says --out for --output"},
        {"sample m --out o --latents x", "vane says --noise for --latents"},
        {"eval m --metric nll --dataset d", "vane says --data for --dataset"},
        {"eval m --metrics nll", "vane says --metric for --metrics"},
        {"sample m --out o --clip_denoised",
         "vane says --guide for --clip_denoised; x0 is clipped by --guide cfg,clip"},
        {"sample m --out o --truncation 0.7",
         "vane has no --truncation: it trades variety for clarity"},
        {"train d --out r --timesteps 1000", "vane says --path for --timesteps"},
        {"train d --output_folder r", "vane says --out for --output_folder"},
        {"bench m --iterations 3", "vane says --steps for --iterations"},
        {"bench m --batch-size 3", "vane says --batch for --batch-size"},
        {"info --model m", "--model needs no flag: write vane info PATH"},
        {"generate m", "vane says sample for generate; see: vane sample --help"},
        {"fit d", "vane says train for fit"},
        {"Evaluate d", "vane says eval for Evaluate"},
    };
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++)
        expect_complaint(expect_status(2, "%s", typed[i].words), typed[i].complaint);
    assert_false(exists("r"));
}

/* Beginnings first: by edit distance alone --guid would be --guide. */
static void words_cut_short_are_completed(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } typed[] = {
        {"sample m --guid 2", "unknown flag --guid; did you mean --guidance or --guide?"},
        {"sample m --samp ddim", "unknown flag --samp; did you mean --sampler?"},
        {"sample m --coun 3", "unknown flag --coun; did you mean --count?"},
        {"sample m --Seed 3", "unknown flag --Seed; did you mean --seed?"},
        {"sample m --sampler-name ddim", "vane says --sampler for --sampler-name"},
        {"sample m --guide-name apg", "unknown flag --guide-name; did you mean --guide?"},
        {"train d --lr-peak 3", "unknown flag --lr-peak; did you mean --lr?"},
        {"sample m --seedling 3", "unknown flag --seedling; did you mean --seed?"},
        {"train d --weight_decay 0", "unknown flag --weight_decay; did you mean --weight-decay?"},
        {"train d --prev 3", "unknown flag --prev; did you mean --preview-every?"},
        {"samp", "unknown verb 'samp'; did you mean sample?"},
        {"list samp", "unknown kind 'samp'; did you mean samplers?"},
        {"list guides cfg-z", "guides has no 'cfg-z'; did you mean cfg-zero-star?"},
        {"list dddim", "unknown kind or name 'dddim'; did you mean ddim?"},
    };
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++)
        expect_complaint(expect_status(2, "%s", typed[i].words), typed[i].complaint);
}

/* ---- names of rows --------------------------------------------------------------------------- */

static void names_of_other_programs_lead_to_the_row(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } typed[] = {
        {"--sampler dpm++2m", "unknown sampler 'dpm++2m'; did you mean 'dpmpp-2m'?"},
        {"--sampler dpm-solver++", "did you mean 'dpmpp'?"},
        {"--sampler dpm-solver", "did you mean 'dpm'?"},
        {"--sampler k_euler", "did you mean 'euler'?"},
        {"--sampler euler_ancestral", "did you mean 'euler-a'?"},
        {"--sampler k_euler_a", "did you mean 'euler-a'?"},
        {"--sampler dpmpp_2m_karras", "did you mean 'dpmpp-2m'?"},
        {"--sampler 'DPM++ 2M SDE Karras'", "did you mean 'dpmpp-2m-sde'?"},
        {"--sampler ddmi", "did you mean 'ddim'?"},
        {"--sampler qqqqq", "unknown sampler 'qqqqq'; vane list samplers shows all"},
        {"--guide qqqqq", "unknown guide 'qqqqq'; vane list guides shows all"},
        {"--guide cfg++", "did you mean 'cfg-plus-plus'?"},
        {"--grid qqqqq", "unknown grid 'qqqqq'; known: leading, "},
    };
    make_world();
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++)
        expect_complaint(expect_status(2, "sample world.json --out x.png %s", typed[i].words),
                         typed[i].complaint);
}

/* Of data that is not there nothing is said, as it was not looked for yet. */
static void names_are_checked_before_the_data_is_read(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } typed[] = {
        {"--model unet3", "unknown model 'unet3'; did you mean 'unet2d'?"},
        {"--model unet2d:base=8", "unet2d has no parameter 'base'; known: channels, "},
        {"--path ddmp", "unknown path 'ddmp'; did you mean 'ddpm'?"},
        {"--path ddpm:T=-1", "ddpm: T=-1 is outside [2, 100000]"},
        {"--predict epsilon", "unknown prediction 'epsilon'; did you mean 'eps'?"},
        {"--predict v_prediction", "did you mean 'v'?"},
        {"--predict sample", "did you mean 'x0'?"},
        {"--predict flow", "did you mean 'velocity'?"},
        {"--objective mse", "unknown objective 'mse'; did you mean 'dsm'?"},
        {"--times normal", "unknown distribution of times 'normal'; known: uniform"},
    };
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++)
        expect_complaint(expect_status(2, "train nowhere --out r --steps 1 %s", typed[i].words),
                         typed[i].complaint);
    expect_complaint(expect_status(1, "train nowhere --out r --steps 1 --model no.json"),
                     "no.json: No such file");
}

/* ---- words of the library -------------------------------------------------------------------- */

/* Where the library names an option, the program names its flag. */
static void options_of_the_library_are_flags(void **state) {
    (void)state;
    make_world();
    make_idx("data", 60);
    static const struct {
        const char *words, *complaint;
    } typed[] = {
        {"train data --out r", "say how long to train: --steps N or --minutes M"},
        {"train data --out r --steps 1 --weight-decay -3", "--weight-decay -3 is outside [0, "},
        {"train data --out run --steps 1",
         "run exists: --resume goes on with it, --overwrite replaces it"},
        {"sample run --out x.png --guide autoguidance --guidance 2",
         "needs a weak model, which this model does not have; --weak names one"},
        {"eval run --metric nll", "--data is needed: samples to measure on"},
        {"eval run", "--metric NAME is missing: what is measured; several with commas"},
        {"train data --out r --steps 1 --size 0",
         "--size: expected a whole number above 0, or -1: as the files are, not '0'"},
        {"sample world.json --like app --out x.png",
         "--like: app: No such file or directory; it takes a picture or a tensor file that vane "
         "sample wrote"},
        {"sample world.json --like tiny.txt --out x.png",
         "--like tiny.txt: vane sample did not write it; --like takes a picture or a tensor file"},
    };
    scratch_write_text("tiny.txt", "x");
    make_config();
    expect_status(0, "train data --model tiny.json --batch 8 --preview-every -1 --steps 1 --out "
                     "run --quiet");
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        const outcome *o = run_vane("%s", typed[i].words);
        assert_int_not_equal(o->status, 0);
        expect_complaint(o, typed[i].complaint);
        assert_null(strchr(o->err, '`'));
    }
}

/* Every word that the documentation's table gives is answered with the flag beside it. */
static void the_documented_words_are_known(void **state) {
    (void)state;
    static const char *const verbs[] = {"train d --out r", "sample m --out o", "eval m"};
    size_t size;
    char *text = scratch_read(VN_SOURCE_DIR "/docs/commands.md", &size);
    char *line = strstr(text, "| elsewhere | vane |");
    assert_non_null(line);
    int words = 0;
    for (line = strchr(line, '\n') + 1; line[0] == '|'; line = strchr(line, '\n') + 1) {
        const char *flags = strchr(line + 1, '|');
        for (char *word = strstr(line, "`--"); word && word < flags; word = strstr(word, "`--")) {
            char flag[64];
            snprintf(flag, sizeof flag, "%.*s", (int)strcspn(word + 1, "`"), word + 1);
            word += strlen(flag) + 1;
            bool known = false;
            for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && !known; i++) {
                const outcome *o = run_vane("%s %s 1", verbs[i], flag);
                char answer[128];
                const char *said = strstr(o->err, "vane says --");
                snprintf(answer, sizeof answer, "`%.*s`", said ? (int)strcspn(said + 10, " ;") : 0,
                         said ? said + 10 : "");
                const char *beside = said ? strstr(flags, answer) : NULL;
                known = (beside && beside < strchr(flags, '\n')) ||
                        strstr(o->err, "needs no flag") || strstr(o->err, "vane has no");
            }
            if (!known) fail_msg("docs/commands.md: %s is not answered as it says", flag);
            words++;
        }
    }
    assert_true(words > 10);
    free(text);
}

/* ---- letters, values and what ends the flags ------------------------------------------------- */

static void a_letter_may_hold_its_value(void **state) {
    (void)state;
    make_world();
    expect_status(0, "sample world.json --out a.npy --count 5 --quiet");
    expect_status(0, "sample world.json --out b.npy -n5 --quiet");
    expect_same_file("a.npy", "b.npy");
    expect_status(0, "sample world.json --out b.npy -n=5 --quiet");
    expect_same_file("a.npy", "b.npy");
    expect_complaint(expect_status(2, "sample world.json --out a.npy -n5x"),
                     "-n: expected a whole number, not '5x'");
    expect_complaint(expect_status(2, "sample world.json --out a.npy -n0"),
                     "-n: expected a whole number above 0");
    expect_complaint(expect_status(2, "sample world.json --out a.npy -k5"), "unknown flag -k; see");
}

static void two_dashes_end_the_flags(void **state) {
    (void)state;
    make_world();
    assert_int_equal(rename("world.json", "--world.json"), 0);
    expect_status(0, "sample --out a.npy -n 2 --quiet -- --world.json");
    assert_true(exists("a.npy"));
    expect_complaint(expect_status(2, "sample --out a.npy -- --world.json -n"),
                     "one argument too many: '-n'");
    expect_complaint(expect_status(1, "info -- --help"), "--help");
    assert_int_equal(remove("--world.json"), 0);
}

/* ---- help and list --------------------------------------------------------------------------- */

static void help_of_a_verb_is_there_in_each_way(void **state) {
    (void)state;
    char *plain = strdup(expect_status(0, "sample --help")->out);
    assert_string_equal(expect_status(0, "help sample")->out, plain);
    assert_string_equal(expect_status(0, "sample help")->out, plain);
    free(plain);
    expect_complaint(expect_status(2, "help smaple"),
                     "unknown verb 'smaple'; did you mean sample?");
}

static void one_row_is_shown_in_full(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "list guides apg");
    assert_ptr_equal(strstr(o->out, "apg  "), o->out);
    expect_text(o->out, "source: arXiv 2410.02416");
    expect_text(o->out, "kind: guides");
    expect_text(o->out, "use: vane sample RUN --out OUT --guide apg:");
    assert_null(strstr(o->out, "cfg-zero-star"));

    o = expect_status(0, "list ddim"); /* a row by its name, whatever its kind */
    assert_ptr_equal(strstr(o->out, "ddim  "), o->out);
    expect_text(o->out, "--sampler ddim:eta=0,spacing=next\n");

    o = expect_status(0, "list edm"); /* one of several kinds */
    expect_text(o->out, "kind: paths");
    expect_text(o->out, "kind: predictions");
    expect_text(o->out, "kind: times");

    json_t *found = expect_json(expect_status(0, "list ddim --json"));
    assert_int_equal(json_object_size(found), 1);
    const json_t *rows = json_object_get(found, "samplers");
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "name")),
                        "ddim");
    json_decref(found);
}

/* ---- errors for programs --------------------------------------------------------------------- */

/* On stdout, where the result would be; the line for people stands on stderr all the same. */
static void expect_error(int status, const char *words, const char *name, const char *complaint) {
    const outcome *o = expect_status(status, "%s", words);
    json_t *error = expect_json(o);
    assert_int_equal(json_object_size(error), 2);
    assert_string_equal(json_string_value(json_object_get(error, "status")), name);
    expect_text(json_string_value(json_object_get(error, "error")), complaint);
    expect_text(o->err, complaint);
    json_decref(error);
}

static void errors_are_json_where_results_would_be(void **state) {
    (void)state;
    make_world();
    expect_error(2, "sample m --out a --stpes 3 --json", "bad argument",
                 "unknown flag --stpes; did you mean --steps?");
    expect_error(2, "--json frobnicate", "bad argument", "the verb comes before its flags");
    expect_error(2, "frobnicate --json", "bad argument", "unknown verb 'frobnicate'");
    expect_error(2, "sample world.json --out a.npy --trace --json", "bad argument",
                 "--trace has no effect on a.npy");
    expect_error(2, "list nothing-like-it --json", "bad argument", "unknown kind or name");
    expect_error(1, "info absent --json", "io", "absent: No such file or directory");
    expect_error(1, "sample absent --out a.npy --json", "io", "absent");
    expect_error(2, "sample world.json --out a.npy --class middle --json", "bad argument",
                 "unknown class 'middle'; known: left, right");
    assert_string_equal(expect_status(2, "list -- --json")->out, ""); /* an argument, no flag */
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static void a_range_of_guidance_has_both_ends(void **state) {
    (void)state;
    make_world();
    static const struct {
        const char *typed, *same;
    } ranges[] = {
        {"1:4:0.5", "1,1.5,2,2.5,3,3.5,4"},
        {"1:1.5:0.1", "1,1.1,1.2,1.3,1.4,1.5"},
        {"4:1:-1", "4,3,2,1"},
        {"0:1:0.4", "0,0.4,0.8"},
        {"2:2:1", "2"},
        {"' 1 : 2 : 1 , 8'", "1,2,8"},
        {"-1:1:1", "-1,0,1"},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        json_t *a = expect_json(
            expect_status(0, "sample world.json -n 1 --steps 1 --out a.npy --json --guidance %s",
                          ranges[i].typed));
        json_t *b = expect_json(
            expect_status(0, "sample world.json -n 1 --steps 1 --out b.npy --json --guidance %s",
                          ranges[i].same));
        /* to the last bit */
        assert_true(json_equal(json_object_get(a, "guidance"), json_object_get(b, "guidance")));
        json_decref(a);
        json_decref(b);
    }
    static const char *const misled[][2] = {
        {"3:1:1", "from:to:step with a negative step, as it falls, not '3:1:1'"},
        {"1:4:-1", "from:to:step with a step above 0, as it rises, not '1:4:-1'"},
        {"1:4:0", "from:to:step with a step that is not 0"},
        {"1:4:1e-9", "from:to:step of at most 10000 numbers"}};
    for (size_t i = 0; i < sizeof misled / sizeof misled[0]; i++)
        expect_complaint(
            expect_status(2, "sample world.json --out a.npy --guidance %s", misled[i][0]),
            misled[i][1]);
    static const char *const wrong[] = {"1:4", "1:", "1::1", "1:2:3:4", "1:nan:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_complaint(expect_status(2, "sample world.json --out a.npy --guidance %s", wrong[i]),
                         "--guidance: expected numbers with commas between them, or from:to:step");
}

/* ---- the version ----------------------------------------------------------------------------- */

static void the_version_says_what_was_built(void **state) {
    (void)state;
    json_t *build = expect_json(expect_status(0, "--version --json"));
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", VN_VERSION_MAJOR, VN_VERSION_MINOR,
             VN_VERSION_PATCH);
    assert_string_equal(json_string_value(json_object_get(build, "vane")), version);
    const char *compiler = json_string_value(json_object_get(build, "compiler"));
    assert_true(strncmp(compiler, "gcc ", 4) == 0 || strncmp(compiler, "clang ", 6) == 0);
    const json_t *kernels = json_object_get(build, "kernels"), *name;
    const char *used = json_string_value(json_object_get(build, "used"));
    bool portable = false, has_used = false;
    size_t i;
    json_array_foreach(kernels, i, name) {
        portable = portable || strcmp(json_string_value(name), "portable") == 0;
        has_used = has_used || strcmp(json_string_value(name), used) == 0;
    }
    assert_true(portable && has_used);
    static const char *const libraries[] = {"libpng", "libjpeg",    "libwebp", "zlib",
                                            "libzip", "libarchive", "jansson", "utf8proc"};
    for (i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        const char *number =
            json_string_value(json_object_get(json_object_get(build, "libraries"), libraries[i]));
        assert_true(number != NULL && strpbrk(number, "0123456789"));
        expect_text(expect_status(0, "--version")->out, number);
    }
    json_decref(build);
    expect_text(expect_status(0, "version")->out, version);
    expect_text(expect_status(0, "-V")->out, version);
    expect_complaint(expect_status(2, "--version --jsn"),
                     "unknown flag --jsn; did you mean --json?");
}

/* ---- one and several ------------------------------------------------------------------------- */

static void one_is_singular(void **state) {
    (void)state;
    make_world();
    expect_text(expect_status(0, "sample world.json -n 1 --steps 1 --out one.npy")->out,
                ": 1 sample, ");
    expect_text(expect_status(0, "sample world.json -n 1 --steps 1 --out one.npy")->out,
                " 1 network pass each");
    expect_text(expect_status(0, "sample world.json -n 2 --steps 2 --out two.npy")->out,
                ": 2 samples, ");
    expect_text(expect_status(0, "sample world.json -n 2 --steps 2 --out two.npy")->out,
                " 2 network passes each");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_words_lead_to_vane_s_in_one_line),
        cmocka_unit_test(words_cut_short_are_completed),
        cmocka_unit_test(names_of_other_programs_lead_to_the_row),
        cmocka_unit_test(names_are_checked_before_the_data_is_read),
        cmocka_unit_test(options_of_the_library_are_flags),
        cmocka_unit_test(the_documented_words_are_known),
        cmocka_unit_test(a_letter_may_hold_its_value),
        cmocka_unit_test(two_dashes_end_the_flags),
        cmocka_unit_test(help_of_a_verb_is_there_in_each_way),
        cmocka_unit_test(one_row_is_shown_in_full),
        cmocka_unit_test(a_range_of_guidance_has_both_ends),
        cmocka_unit_test(the_version_says_what_was_built),
        cmocka_unit_test(errors_are_json_where_results_would_be),
        cmocka_unit_test(one_is_singular),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
