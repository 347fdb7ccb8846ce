/* test_defaults.c - how a model is sampled where nobody says: what its run recorded, which
 * previews, samples and `vane info` all follow, and 1 where nothing is recorded; and what else
 * `vane info` says of a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define TRAIN "train data --model tiny.json --batch 8 --steps 2 --quiet"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60);
    make_config();
    return 0;
}

static double recorded(const char *run, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "%s/vane.json", run);
    json_t *vane = json_load_file(path, 0, NULL);
    const json_t *sampling = json_object_get(vane, "sampling");
    const double value = json_number_value(json_object_get(sampling, key));
    json_decref(vane);
    return value;
}

/* What vane info of a picture or tensor file says of how it was drawn. */
static json_t *settings(const char *path, const char *member) {
    json_t *all = expect_json(expect_status(0, "info %s --json", path));
    json_t *text = json_deep_copy(json_object_get(all, member));
    assert_true(json_is_object(text));
    json_decref(all);
    return text;
}

static void expect_setting(const json_t *text, const char *key, const char *value) {
    const char *found = json_string_value(json_object_get(text, key));
    if (!found || strcmp(found, value) != 0)
        fail_msg("%s is %s, not %s", key, found ? found : "absent", value);
}

/* Of 8 x 8 pixels: a tenth for each. */
#define INTERVAL "cfg,interval:lo=0.2,hi=0.8"

static char *words_of(const char *run, const char *object, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "%s/vane.json", run);
    json_t *vane = json_load_file(path, 0, NULL);
    const char *text = json_string_value(json_object_get(json_object_get(vane, object), key));
    char *copy = text ? strdup(text) : NULL;
    json_decref(vane);
    return copy;
}

static void expect_words(const char *run, const char *object, const char *key, const char *words) {
    char *text = words_of(run, object, key);
    if (!words ? text != NULL : !text || !strstr(text, words))
        fail_msg("%s of %s is %s", key, run, text ? text : "absent");
    free(text);
}

static void a_run_of_pictures_is_drawn_at_two_in_an_interval_by_all(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out run --preview-every 2");
    assert_true(recorded("run", "guidance") == 2 && recorded("run", "steps") == 16);
    expect_words("run", "sampling", "guide", INTERVAL);

    json_t *preview = settings("run/previews/000002.png", "text");
    expect_setting(preview, "guidance", "2");
    expect_setting(preview, "guide", INTERVAL);
    expect_setting(preview, "steps", "16");
    expect_setting(preview, "training_step", "2");
    expect_setting(preview, "source", "run");

    const outcome *o = expect_status(0, "sample run -n 12 --out own.png --quiet");
    if (!strstr(o->out, "guidance 2")) fail_msg("%s", o->out);
    json_t *picture = settings("own.png", "text");
    static const char *const same[] = {"guidance", "guide", "steps", "sampler", "grid",
                                       "path",     "seed",  "count", "first",   "class"};
    /* the last preview shows what sampling gives */
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect_setting(picture, same[i], json_string_value(json_object_get(preview, same[i])));
    json_decref(picture);
    json_decref(preview);

    json_t *info = expect_json(expect_status(0, "info run --json"));
    const json_t *sampling = json_object_get(info, "sampling");
    assert_true(json_number_value(json_object_get(sampling, "guidance")) == 2);
    assert_true(json_integer_value(json_object_get(sampling, "steps")) == 16);
    json_decref(info);
}

static void expect_other_file(const char *path, const char *other) {
    size_t size[2];
    char *bytes[2] = {scratch_read(path, &size[0]), scratch_read(other, &size[1])};
    assert_int_equal(size[0], size[1]);
    assert_memory_not_equal(bytes[0], bytes[1], size[0]);
    for (int i = 0; i < 2; i++) free(bytes[i]);
}

static void what_is_asked_for_counts(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out asked --preview-every -1");
    expect_status(0, "sample asked -n 6 --out own.npy --quiet");
    expect_status(0, "sample asked -n 6 --guidance 2 --guide " INTERVAL
                     " --sampler unipc --steps 16 --out same.npy --quiet");
    expect_same_file("own.npy", "same.npy");
    expect_status(0, "sample asked -n 6 --guide cfg --out cfg.npy --quiet");
    expect_other_file("own.npy", "cfg.npy");
    /* 1 is 1, not "not asked for" */
    expect_status(0, "sample asked -n 6 --guidance 1 --out one.npy --quiet");
    expect_status(0, "sample asked -n 6 --guidance 1 --out one.safetensors --quiet");
    json_t *text = settings("one.safetensors", "metadata");
    expect_setting(text, "guidance", "1");
    json_decref(text);
    expect_other_file("own.npy", "one.npy");
}

/* What has guidance inside has it where its teacher is sampled with it, or its own kind is. */
static void guidance_inside_is_in_the_same_interval(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out taught --preview-every -1");
    expect_status(0, "distill taught data --method multistep --steps 1 --out own --quiet");
    expect_words("own", "train", "objective", "guidance=2,lo=0.2,hi=0.8");
    expect_words("own", "sampling", "guide", NULL);
    expect_status(0, "distill taught data --method multistep:hi=0 --steps 1 --out any --quiet");
    expect_words("any", "train", "objective", "guidance=2,hi=0");
    expect_status(0, "train data --model unet2d:channels=8,levels=1 --batch 4 --steps 1 --quiet "
                     "--out map --preview-every -1 --objective mean-flow");
    expect_words("map", "train", "objective", "lo=0.2,hi=0.8");
}

static void without_null_or_pictures_it_is_drawn_as_trained(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out never --preview-every -1 --drop 0");
    assert_true(recorded("never", "guidance") == 1);
    expect_status(0, "train points:moons --out moons --steps 1 --preview-every -1 --quiet --model "
                     "mlp:width=8,layers=1");
    assert_true(recorded("moons", "guidance") == 1);
    /* A path of few steps has no more levels than they are. */
    expect_status(0, TRAIN " --out few --preview-every 2 --path ddpm:cosine,T=20 --predict eps");
    assert_true(recorded("few", "steps") == 20);
    expect_status(0, "sample few -n 2 --out few.npy --quiet");
    make_world();
    assert_non_null(
        strstr(expect_status(0, "sample world.json -n 2 --out w.npy --quiet")->out, "guidance 1,"));
    expect_status(0, "sample world.json -n 2 --path ddpm:cosine,T=10 --out w.npy --quiet");
}

/* A run of an older vane has no entry, and is drawn as that vane drew it; what makes no sense is
 * refused. */
static void the_entry_is_read_as_untrusted(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out old --preview-every -1");
    json_t *vane = json_load_file("old/vane.json", 0, NULL);
    json_object_del(vane, "sampling");
    assert_int_equal(json_dump_file(vane, "old/vane.json", 0), 0);
    assert_non_null(
        strstr(expect_status(0, "sample old -n 2 --out o.npy --quiet")->out, "guidance 1,"));
    expect_status(0, "train data --out old --resume --steps 3 --preview-every 3 --quiet");
    json_t *preview = settings("old/previews/000003.png", "text");
    expect_setting(preview, "guidance", "1");
    json_decref(preview);

    static const struct {
        const char *sampling, *complaint;
    } wrong[] = {
        {"[]", "old/vane.json: sampling is not an object"},
        {"{\"guidance\": \"much\"}", "old/vane.json: sampling: guidance is not a number"},
        {"{\"guidance\": 1e300}", "guidance is not a number"},
        {"{\"steps\": 0}", "sampling: steps is not a whole number from 1 to 100000"},
        {"{\"steps\": 2.5}", "steps is not a whole number"},
        {"{\"steps\": 1000000000000}", "steps is not a whole number"},
        {"{\"gamma\": 2}", "sampling: unknown key \"gamma\""},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_object_set_new(vane, "sampling", json_loads(wrong[i].sampling, 0, NULL));
        assert_int_equal(json_dump_file(vane, "old/vane.json", 0), 0);
        expect_complaint(expect_status(1, "sample old -n 2 --out o.npy"), wrong[i].complaint);
        expect_complaint(expect_status(1, "train data --out old --resume --steps 4"),
                         wrong[i].complaint);
    }
    json_decref(vane);
}

/* ---- what a run was -------------------------------------------------------------------------- */

static double number_in(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

static void info_of_a_run_begins_with_what_it_is(void **state) {
    (void)state;
    expect_status(0, "train data --model tiny.json --batch 8 --steps 6 --log-every 2 --validate "
                     "0.2 --out 'a run' "
                     "--preview-every -1 --quiet");
    const outcome *o = expect_status(0, "info 'a run'");
    const char *trained = strstr(o->out, "\ntrained\n"), *sampling = strstr(o->out, "\nsampling\n");
    assert_true(trained != NULL && sampling && trained < sampling &&
                sampling < strstr(o->out, "\nkind"));
    assert_non_null(strstr(o->out, "vane sample 'a run' --out samples.png\n"));

    json_t *info = expect_json(expect_status(0, "info 'a run' --json"));
    const json_t *run = json_object_get(info, "trained");
    assert_string_equal(json_string_value(json_object_get(run, "model")), "unet2d");
    assert_string_equal(json_string_value(json_object_get(run, "data")), "data");
    assert_true(number_in(run, "samples") == 60 && number_in(run, "held") == 12 &&
                number_in(run, "classes") == 3);
    assert_true(number_in(run, "steps") == 6 && number_in(run, "batch") == 8);
    assert_true(number_in(run, "epochs") == 1); /* 48 of 48 */
    assert_true(number_in(run, "minutes") > 0 && number_in(run, "minutes") < 1);
    size_t size;
    /* the figures are the last line's */
    char *log = scratch_read("a run/log.jsonl", &size), *last = NULL;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) last = line;
    json_t *line = json_loads(last, 0, NULL);
    assert_true(number_in(run, "loss") == number_in(line, "loss_mean"));
    assert_true(number_in(run, "held_loss") == number_in(line, "held_loss"));
    json_decref(line);
    free(log);
    json_decref(info);

    /* The log is for people, who may have done anything with it. */
    scratch_write_text(
        "a run/log.jsonl",
        "no json\n{\"step\": 6, \"loss_mean\": 0.25}\n{\"step\": 8, \"loss_mean\": 9}\n{");
    info = expect_json(expect_status(0, "info 'a run' --json"));
    assert_true(number_in(json_object_get(info, "trained"), "loss") == 0.25);
    assert_null(json_object_get(json_object_get(info, "trained"), "held_loss"));
    json_decref(info);
    assert_int_equal(remove("a run/log.jsonl"), 0);
    info = expect_json(expect_status(0, "info 'a run' --json"));
    assert_null(json_object_get(json_object_get(info, "trained"), "loss"));
    assert_true(number_in(json_object_get(info, "trained"), "steps") == 6);
    json_decref(info);
}

/* The command that info shows is one. */
static void the_command_of_info_draws(void **state) {
    (void)state;
    assert_int_equal(system("mkdir -p \"it's\""), 0);
    expect_status(0, "train data --model tiny.json --batch 8 --steps 1 --out \"it's/-run\" "
                     "--preview-every -1 --quiet");
    json_t *info = expect_json(expect_status(0, "info \"it's/-run\" --json"));
    const char *command =
        json_string_value(json_object_get(json_object_get(info, "sampling"), "command"));
    assert_ptr_equal(strstr(command, "vane sample "), command);
    expect_status(0, "%s --quiet -n 2 --steps 1", command + strlen("vane "));
    assert_true(exists("samples.png"));
    json_decref(info);
}

static void minutes_of_a_resumed_run_are_all_of_it(void **state) {
    (void)state;
    expect_status(0, "train data --model tiny.json --batch 8 --minutes 0.005 --out timed "
                     "--preview-every -1 --quiet");
    const outcome *o = expect_status(0, "train data --out timed --resume --minutes 0.01");
    assert_non_null(strstr(o->err, " of 0.01 minutes are over: minutes count the whole run"));
    o = expect_status(0, "train data --out timed --resume --minutes 0.01");
    assert_non_null(strstr(o->err, "nothing to do"));
    assert_non_null(strstr(expect_status(0, "train --help")->out, "with --resume"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_pictures_is_drawn_at_two_in_an_interval_by_all),
        cmocka_unit_test(what_is_asked_for_counts),
        cmocka_unit_test(without_null_or_pictures_it_is_drawn_as_trained),
        cmocka_unit_test(guidance_inside_is_in_the_same_interval),
        cmocka_unit_test(the_entry_is_read_as_untrusted),
        cmocka_unit_test(info_of_a_run_begins_with_what_it_is),
        cmocka_unit_test(the_command_of_info_draws),
        cmocka_unit_test(minutes_of_a_resumed_run_are_all_of_it),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
