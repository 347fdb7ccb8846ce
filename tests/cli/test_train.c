/* test_train.c - `vane train` as a user meets it: runs, what is refused, Ctrl-C, kill -9, and going
 * on afterwards. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define TRAIN   "train data --model tiny.json --batch 8 --preview-every -1"
#define WEIGHTS "unet/diffusion_pytorch_model.safetensors"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60);
    make_config();
    return 0;
}

/* Waits until a running training has written a line of its log, and a first checkpoint. */
static void wait_until_it_trains(const char *run) {
    char log[64], weights[128];
    snprintf(log, sizeof log, "%s/log.jsonl", run);
    snprintf(weights, sizeof weights, "%s/" WEIGHTS, run);
    for (int i = 0; i < 1200; i++) {
        if (exists(log) && exists(weights)) return;
        sleep_ms(50);
    }
    fail_msg("%s did not begin within a minute", run);
}

/* The step of the last line of a run's log: with a line and a checkpoint each step, that of
 * both. */
static int steps_of_run(const char *run) {
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    char *text = scratch_read(path, &size), *line = text;
    int step = 0;
    for (char *at; (at = strstr(line, "\"step\":")) != NULL; line = at + 1)
        assert_int_equal(sscanf(at, "\"step\": %d", &step), 1);
    free(text);
    return step;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static void test_train_writes_a_run_that_samples(void **state) {
    (void)state;
    const outcome *o = expect_status(0, TRAIN " --out run --steps 4 --log-every 1 --validate 0.1");
    assert_non_null(strstr(o->out, "run is trained"));
    assert_true(exists("run/model_index.json"));
    assert_true(exists("run/unet/config.json"));
    assert_true(exists("run/" WEIGHTS));
    assert_true(exists("run/scheduler/scheduler_config.json"));
    assert_true(exists("run/vane.json"));

    size_t size;
    char *log = scratch_read("run/log.jsonl", &size);
    int lines = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *entry = json_loads(line, 0, NULL);
        assert_non_null(entry);
        json_decref(entry);
        lines++;
    }
    free(log);
    assert_true(lines >= 4);

    expect_status(0, "sample run -n 2 --steps 2 --class 1 --guidance 2 --out run.png");
    o = expect_status(0, "info run");
    assert_non_null(strstr(o->out, "unet2d"));
}

static void test_train_json_is_one_object(void **state) {
    (void)state;
    json_t *result = expect_json(expect_status(0, TRAIN " --out json-run --steps 2 --json"));
    assert_string_equal(json_string_value(json_object_get(result, "out")), "json-run");
    assert_true(json_is_object(json_object_get(result, "run")));
    json_decref(result);
}

static void test_quiet_says_nothing_on_stderr(void **state) {
    (void)state;
    const outcome *o = expect_status(0, TRAIN " --out quiet-run --steps 2 --quiet");
    assert_string_equal(o->err, "");
}

static void test_points_train_too(void **state) {
    (void)state;
    json_t *points = expect_json(expect_status(0, "list points --json"));
    json_t *first = json_array_get(json_object_get(points, "points"), 0);
    const outcome *o =
        expect_status(0, "train points:%s --out points-run --steps 3 --batch 16 --quiet",
                      json_string_value(json_object_get(first, "name")));
    assert_non_null(
        strstr(o->out, "next: vane sample points-run --guidance 1,2,4 --out samples.png\n"));
    json_decref(points);
    expect_status(0, "sample points-run -n 5 --steps 2 --out points.npy");
}

/* The last line is a command that works. */
static void test_what_to_do_next_works(void **state) {
    (void)state;
    static const struct {
        const char *data, *next;
    } cases[] = {
        {"three.json:count=40", "vane sample next --guidance 1,2,4 --out samples.npy\n"},
        {"three.json:count=40 --objective mean-flow", "vane sample next --out samples.npy\n"},
        {VN_SOURCE_DIR "/tests/golden/arrays/unlabelled.npz",
         "vane sample next --out samples.png\n"}};
    scratch_write_text(
        "three.json",
        "{\"classes\": [{\"components\": [{\"weight\": 1, \"mean\": [0, 1, 2], \"std\": 1}]}]}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char words[200];
        const outcome *o = expect_status(
            0, "train %s --out next --overwrite --steps 2 --batch 4 --quiet", cases[i].data);
        const char *next = strstr(o->out, "next: ");
        assert_non_null(next);
        assert_string_equal(next + strlen("next: "), cases[i].next);
        snprintf(words, sizeof words, "%.*s", (int)strcspn(next + strlen("next: vane "), "\n"),
                 next + strlen("next: vane "));
        expect_status(0, "%s -n 2 --steps 2 --quiet", words);
    }
    const outcome *o = expect_status(
        0, "train three.json:count=40 --out 'it'\\''s a run' --steps 2 --batch 4 --quiet");
    assert_non_null(
        strstr(o->out, "next: vane sample 'it'\\''s a run' --guidance 1,2,4 --out samples.npy\n"));
}

static void test_a_shallower_unet_is_announced(void **state) {
    (void)state;
    assert_int_equal(
        system("mkdir -p ten/a && cp " VN_SOURCE_DIR "/tests/golden/images/colour.png ten/a"), 0);
    const outcome *o = expect_status(0, "train ten --size 10 --out ten-run --steps 1 --batch 2");
    assert_non_null(strstr(
        o->err, "unet2d: 2 levels instead of 3, as 10x10 does not halve evenly more often\n"));
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_a_run_is_not_overwritten_by_accident(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out kept --steps 2 --quiet");
    assert_int_equal(system("cp kept/" WEIGHTS " before"), 0);
    const outcome *o = run_vane(TRAIN " --out kept --steps 2 --seed 5 --quiet");
    assert_true(o->status == 1 || o->status == 2);
    expect_complaint(o, "kept");
    assert_non_null(strstr(o->err, "overwrite"));
    expect_same_file("kept/" WEIGHTS, "before");
    expect_status(0, TRAIN " --out kept --steps 2 --seed 5 --quiet --overwrite");
}

static void test_bad_input_is_named_and_nothing_is_written(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } cases[] = {
        {1, "train nowhere --out bad --steps 2", "nowhere"},
        {1, "train empty --out bad --steps 2", "empty"},
        {1, "train cut --out bad --steps 2", "cut/train-images-idx3-ubyte"},
        {2, "train data --out bad --steps 2 --model unet3d", "unet3d"},
        {2, "train data --out bad --steps 2 --path crooked", "crooked"},
        {2, "train data --out bad --steps 2 --predict w", "'w'"},
        {2, "train data --out bad --steps -2", "steps"},
        {2, "train data --out bad --steps 2 --minutes 3", "minutes"},
        {2, "train data --out bad --steps 2 --drop 1.5", "drop"},
        {2, "train data --out bad --steps 2 --ema 1", "ema"},
        {2, "train data --out bad --steps 2 --batch 0", "batch"},
        {2, "train data --out bad --steps 2 --lr 0", "lr"},
        {2, "train data --out bad --steps 2 --batch 1 --objective cfm:contrast=0.1", "contrast"},
        {2,
         "train data --out bad --steps 2 --batch 2 --microbatches 2 --objective "
         "cfm:dispersive=0.1",
         "dispersive"},
        {2, "train data --out bad --steps 2 --ema -0.5", "ema"},
        {2, "train data --out bad --steps 2 --dropout -0.5", "dropout"},
        {2, "train data --out bad --steps 2 --model classifer", "did you mean 'classifier'"},
        {2, "train data --out bad", "--steps N or --minutes M"},
        {2, "train data --out bad --steps 2 --threads 1025", "--threads 1025"},
        {2, "train data --out bad --steps 2 --grey", "grey"},
        {2, "train data --out bad --steps 2 --schedule linear", "linear"},
        {2, "train data --out bad --steps 2 --resume --overwrite", "resume"},
        {1, "train data --out bad --steps 2 --model broken.json", "broken.json"},
    };
    scratch_write("broken.json", "{\"_class_name\": ", 15);
    make_idx("cut", 60);
    size_t size;
    char *images = scratch_read("cut/train-images-idx3-ubyte", &size);
    scratch_write("cut/train-images-idx3-ubyte", images, size / 2);
    free(images);
    assert_int_equal(system("mkdir -p empty"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_complaint(expect_status(cases[i].status, "%s --quiet", cases[i].words),
                         cases[i].complaint);
        if (exists("bad")) fail_msg("%s wrote a run", cases[i].words);
    }
}

/* What is typed counts also where it is what would have been used without it. */
static void test_resume_keeps_what_the_run_began_with(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out begun --steps 2 --lr 0.01 --clip 2 --seed 7 --quiet");
    static const char *const refused[][2] = {
        {"--batch 64", "batch"}, {"--lr 0.001", "lr"},
        {"--clip 1", "clip"},    {"--weight-decay 0.1", "weight-decay"},
        {"--drop 0.2", "drop"},  {"--validate 0", "validate"},
        {"--seed 0", "seed"},    {"--seed 5", "seed"}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        expect_complaint(
            expect_status(2, "train data --out begun --resume --steps 3 --quiet %s", refused[i][0]),
            refused[i][1]);
    expect_status(
        0,
        "train data --out begun --resume --steps 3 --quiet --batch 8 --lr 0.01 --clip 2 --drop 0.1 "
        "--weight-decay 0 --validate 0.02 --log-every 10 --seed 7");
}

/* Told at once: the data, which is not there, has not been looked for. */
static void test_a_run_that_cannot_be_written_is_refused_before_the_data_is_read(void **state) {
    (void)state;
    scratch_write_text("file", "no folder");
    static const char *const outs[][2] = {{"file/run", "file"},
                                          {"/proc/run", "/proc"},
                                          {"/proc/of/run", "/proc/of"},
                                          {"/dev/null/run", "/dev/null"}};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++) {
        char words[64];
        snprintf(words, sizeof words, "train: %s: %s: cannot be written", outs[i][0], outs[i][1]);
        expect_complaint(expect_status(1, "train nowhere --out %s --steps 1", outs[i][0]), words);
    }
    expect_complaint(expect_status(1, "train nowhere --out new/run --steps 1"), "nowhere");
    assert_false(exists("new")); /* to find out leaves nothing */
}

static void test_resume_of_nothing_is_refused(void **state) {
    (void)state;
    const outcome *o = run_vane("train data --out absent --resume --quiet");
    assert_true(o->status == 1 || o->status == 2);
    expect_complaint(o, "absent");
    assert_false(exists("absent"));
}

/* ---- what a run leaves, and what it finds ---------------------------------------------------- */

/* A folder with one class and one picture in it that is cut short behind its header. */
static void make_damaged_pictures(void) {
    size_t size;
    assert_int_equal(system("mkdir -p damaged/a"), 0);
    char *bytes = scratch_read(VN_SOURCE_DIR "/tests/golden/images/colour.png", &size);
    scratch_write("damaged/a/0.png", bytes, size - 30);
    free(bytes);
}

static void test_a_run_without_a_step_is_removed(void **state) {
    (void)state;
    make_damaged_pictures();
    const outcome *o = expect_status(1, "train damaged --out none --steps 2 --size 8 --quiet");
    expect_complaint(o, "damaged/a/0.png");
    assert_false(exists("none"));

    expect_status(0, TRAIN " --out stays --steps 2 --quiet");
    assert_int_equal(system("cp stays/" WEIGHTS " before"), 0);
    expect_status(1, "train damaged --out stays --steps 2 --size 8 --quiet --overwrite");
    expect_same_file("stays/" WEIGHTS, "before");
    assert_int_equal(system("ls | grep vane-"), 256); /* grep finds none */
}

static void test_what_killed_runs_left_is_removed(void **state) {
    (void)state;
    assert_int_equal(system("mkdir -p swept.vane-new-0123456789abcdef/unet "
                            "swept.vane-old-0123456789abcdef swept.vane-new-0 "
                            "swept.new other.vane-new-0123456789abcdef"),
                     0);
    expect_status(0, TRAIN " --out swept/ --steps 1 --quiet");
    assert_true(exists("swept/vane.json"));
    assert_false(exists("swept.vane-new-0123456789abcdef") ||
                 exists("swept.vane-old-0123456789abcdef"));
    assert_true(exists("swept.vane-new-0") && exists("swept.new") &&
                exists("other.vane-new-0123456789abcdef"));
}

static void test_the_umask_is_respected(void **state) {
    (void)state;
    struct stat info;
    const mode_t old = umask(027);
    expect_status(0, TRAIN " --out masked --steps 1 --quiet");
    umask(old);
    assert_int_equal(stat("masked", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0750);
}

static void test_the_run_must_not_lie_in_the_data(void **state) {
    (void)state;
    make_damaged_pictures();
    static const char *const outs[] = {"damaged/run", "damaged", "./damaged/a/../b/c",
                                       "$PWD/damaged/x"};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++)
        expect_complaint(
            expect_status(2, "train damaged/ --out %s --steps 2 --quiet --overwrite", outs[i]),
            "damaged");
    expect_complaint(expect_status(2, "train damaged --out damaged/run --steps 2"),
                     "where a folder is a class");
    assert_false(exists("damaged/run") || exists("damaged/b") || exists("damaged/x"));
    expect_status(0, TRAIN " --out data/run --steps 1 --quiet"); /* IDX knows its files by name */
}

static void test_names_need_not_be_utf8(void **state) {
    (void)state;
    make_idx("d\xE9", 12);
    expect_status(0, "train d\xE9 --model tiny.json --batch 4 --preview-every -1 --out caf\xE9/run "
                     "--steps 1 --quiet");
    expect_status(0, "train d\xE9 --out caf\xE9/run --steps 2 --resume --quiet");
    expect_status(0, "info caf\xE9/run");
    expect_status(0, "sample caf\xE9/run -n 1 --steps 1 --out caf\xE9/x.png --quiet");
    json_t *result = expect_json(
        expect_status(0, "sample caf\xE9/run -n 1 --steps 1 --out caf\xE9/y.png --json"));
    assert_string_equal(json_string_value(json_object_get(result, "out")), "caf?/y.png");
    json_decref(result);
    const outcome *o = expect_status(0, "info caf\xE9/x.png");
    assert_non_null(strstr(o->out, "caf\xC3\xA9/run"));
}

static void test_the_log_says_what_was_planned(void **state) {
    (void)state;
    const outcome *o = expect_status(0, "train data --batch 8 --out said --steps 2 --validate 0.5 "
                                        "--model unet2d:channels=8,levels=2");
    assert_non_null(strstr(o->err, "unet2d, "));
    assert_non_null(strstr(o->err, " MB planned, batch 8; 60 images, 30 held out\n"));
    assert_null(strstr(o->err, "rough"));
    assert_non_null(strstr(o->err, "step 2: loss "));
    assert_non_null(strstr(o->err, ", held-out loss "));
    o = expect_status(0, TRAIN " --out said --steps 2 --validate 0.1 --overwrite");
    assert_non_null(strstr(o->err, "the held-out loss is rough: it is of so few\n"));
    o = expect_status(0, TRAIN " --out said --steps 2 --validate 0 --overwrite");
    assert_non_null(strstr(o->err, "is not measured"));
    assert_null(strstr(o->err, ", held-out loss"));
}

/* ---- stopping and going on ------------------------------------------------------------------- */

static void test_interrupt_saves_and_says_how_to_go_on(void **state) {
    (void)state;
    pid_t pid = start_vane(TRAIN " --out stopped --steps 1000000 --save-every 1 --log-every 1");
    wait_until_it_trains("stopped");
    kill(pid, SIGINT);
    assert_int_equal(wait_vane(pid), 130);
    size_t size;
    char *words = scratch_read("started.txt", &size);
    assert_non_null(strstr(words, "--out stopped --resume"));
    free(words);
    expect_status(0, "sample stopped -n 1 --steps 1 --out stopped.npy --quiet");
}

static void test_a_run_is_trained_by_one_process(void **state) {
    (void)state;
    pid_t pid = start_vane(TRAIN " --out taken --steps 1000000 --save-every 1 --log-every 1");
    wait_until_it_trains("taken");
    expect_complaint(expect_status(1, "train data --out taken --resume --quiet"),
                     "taken is being trained by another process");
    expect_complaint(expect_status(1, TRAIN " --out taken --steps 2 --overwrite --quiet"),
                     "taken is being trained by another process");
    kill(pid, SIGINT);
    assert_int_equal(wait_vane(pid), 130);
    expect_status(0, TRAIN " --out taken --steps 2 --overwrite --quiet");
}

static void test_interrupted_and_resumed_is_the_same_as_never_stopped(void **state) {
    (void)state;
    /* So many steps that it is stopped before the last: it is done where it was stopped, which
     * the run says, and some steps more; a run that never was makes as many in one go. */
    pid_t pid = start_vane(TRAIN " --out broken --steps 1000000 --schedule constant "
                                 "--save-every 1 --log-every 1");
    wait_until_it_trains("broken");
    kill(pid, SIGINT);
    assert_int_equal(wait_vane(pid), 130);
    const int reached = steps_of_run("broken");
    assert_true(reached > 0 && reached < 1000000);
    expect_status(0, "train data --out broken --resume --steps %d --quiet", reached + 20);
    expect_status(0, TRAIN " --out straight --schedule constant --steps %d --quiet", reached + 20);
    expect_same_file("straight/" WEIGHTS, "broken/" WEIGHTS);
}

/* And a run may ask for it in one part and not in the next. */
static void test_recompute_changes_memory_and_no_bit(void **state) {
    (void)state;
#define DROPOUT                                                                                    \
    "train data --model unet2d:channels=8,levels=2 --dropout 0.2 --batch 8 --preview-every -1"
    expect_status(0, DROPOUT " --out whole --steps 6 --quiet");
    const outcome *o = expect_status(0, DROPOUT " --out again --steps 4 --recompute");
    const char *words = strstr(o->err, "recompute: a step takes ");
    assert_non_null(words);
    double takes = 0, instead = 0, more = 0;
    assert_int_equal(sscanf(words, "recompute: a step takes %lf MB instead of %lf, for %lf%%",
                            &takes, &instead, &more),
                     3);
    assert_true(takes > 0 && takes <= instead && more > 1 && more < 50);
    expect_status(0, "train data --out again --resume --steps 6 --quiet");
    expect_same_file("whole/" WEIGHTS, "again/" WEIGHTS);
    /* What is over goes no further, and says so. */
    assert_non_null(strstr(expect_status(0, "train data --out again --resume --steps 5")->err,
                           "at step 6 already"));
}

static void test_kill_leaves_a_run_that_loads_and_resumes(void **state) {
    (void)state;
    enum { tries = 8 };
    for (int i = 0; i < tries; i++) {
        pid_t pid = start_vane(TRAIN " --out killed --steps 100000 --save-every 1 --overwrite");
        wait_until_it_trains("killed");
        sleep_ms(17 * i); /* into another moment of the writing each time */
        kill(pid, SIGKILL);
        assert_int_equal(wait_vane(pid), 128 + SIGKILL);
        expect_status(0, "sample killed -n 1 --steps 1 --out killed.npy --quiet");
    }
    pid_t pid = start_vane("train data --out killed --resume --quiet");
    sleep_ms(200);
    kill(pid, SIGINT);
    assert_int_equal(wait_vane(pid), 130);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_writes_a_run_that_samples),
        cmocka_unit_test(test_train_json_is_one_object),
        cmocka_unit_test(test_quiet_says_nothing_on_stderr),
        cmocka_unit_test(test_points_train_too),
        cmocka_unit_test(test_what_to_do_next_works),
        cmocka_unit_test(test_a_shallower_unet_is_announced),
        cmocka_unit_test(test_a_run_is_not_overwritten_by_accident),
        cmocka_unit_test(test_bad_input_is_named_and_nothing_is_written),
        cmocka_unit_test(test_resume_keeps_what_the_run_began_with),
        cmocka_unit_test(test_a_run_that_cannot_be_written_is_refused_before_the_data_is_read),
        cmocka_unit_test(test_resume_of_nothing_is_refused),
        cmocka_unit_test(test_a_run_without_a_step_is_removed),
        cmocka_unit_test(test_what_killed_runs_left_is_removed),
        cmocka_unit_test(test_the_umask_is_respected),
        cmocka_unit_test(test_the_run_must_not_lie_in_the_data),
        cmocka_unit_test(test_names_need_not_be_utf8),
        cmocka_unit_test(test_the_log_says_what_was_planned),
        cmocka_unit_test(test_interrupt_saves_and_says_how_to_go_on),
        cmocka_unit_test(test_a_run_is_trained_by_one_process),
        cmocka_unit_test(test_interrupted_and_resumed_is_the_same_as_never_stopped),
        cmocka_unit_test(test_recompute_changes_memory_and_no_bit),
        cmocka_unit_test(test_kill_leaves_a_run_that_loads_and_resumes),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
