/* test_faults.c - training under faults: it is killed before each system call that changes a file,
 * each of them fails, signals come, disks are full, nobody reads what it prints. Whatever happens,
 * what is on the disk goes on to the bits of a run that nothing happened to, and the words say what
 * was kept. tools/faults.sh does the same at random and for longer. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_faults.h"
#include "cli/support_program.h"
#include "support/scratch.h"

#define WEIGHTS "model/diffusion_pytorch_model.safetensors"
#define STATE   "state/train.safetensors"
#define DATA    "train world.json:count=40 --threads 1"
#define TRAIN   DATA " --model mlp:width=8,layers=1 --batch 4 --log-every 1"

static bool faults;

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_world();
    faults = faults_work();
    if (!faults)
        print_message("system calls cannot be made to fail here: those tests are skipped\n");
    return 0;
}

/* ---- what must hold of a run ----------------------------------------------------------------- */

/* The log has each step from 1 to `last` once, in order. */
static void expect_log(const char *run, int last) {
    char path[64];
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    size_t size;
    char *log = scratch_read(path, &size);
    int step = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *entry = json_loads(line, 0, NULL);
        if (!entry) fail_msg("%s: not a line of JSON: %s", path, line);
        assert_int_equal(json_integer_value(json_object_get(entry, "step")), ++step);
        json_decref(entry);
    }
    free(log);
    assert_int_equal(step, last);
}

static void expect_nothing_aside(void) {
    if (system("find . -name '*.vane-*' | grep .") == 0) fail_msg("something is left aside");
}

static int64_t step_of(const char *run) {
    json_t *info = expect_json(expect_status(0, "info %s --json", run));
    const int64_t step = json_integer_value(json_object_get(info, "steps"));
    json_decref(info);
    return step;
}

static char *complaint(void) {
    size_t size;
    return scratch_read("err.txt", &size);
}

static void copy_run(const char *from, const char *to) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s* && cp -r %s %s", to, from, to);
    assert_int_equal(system(command), 0);
}

/* Ends `run`, whatever is left of it, and holds it against one that nothing happened to. */
static void expect_same_end(const char *run, const char *straight, int steps, const char *context) {
    if (exists(run))
        expect_status(0, DATA " --out %s --resume --steps %d --quiet", run, steps);
    else
        expect_status(0, TRAIN " --out %s --steps %d --preview-every -1 --quiet", run, steps);
    char command[256];
    snprintf(command, sizeof command, "cmp %s/" WEIGHTS " %s/" WEIGHTS, run, straight);
    if (system(command) != 0) fail_msg("%s: other weights", context);
    expect_log(run, steps);
    expect_nothing_aside();
}

/* ---- each system call ------------------------------------------------------------------------ */

/* All of them where VANE_TEST_EVERY_CALL is set; else each `stride`-th. */
static long stride_of(long stride) {
    return getenv("VANE_TEST_EVERY_CALL") ? 1 : stride;
}

static void begin_runs(void) {
    if (!faults) skip();
    expect_status(0, "--version");
    if (exists("straight")) return;
    expect_status(0, TRAIN " --out straight --steps 3 --save-every 1 --preview-every -1 --quiet");
    expect_status(0, TRAIN " --out begun --steps 2 --save-every 1 --preview-every -1 --quiet");
    expect_status(0, TRAIN " --out whole --steps 5 --save-every 1 --preview-every -1 --quiet");
    expect_status(0, TRAIN " --out older --steps 1 --seed 9 --preview-every -1 --quiet");
}

/* A run from nothing, and one that goes on, are killed before each call that changes a file. */
static void test_a_kill_at_any_call_costs_no_bit_and_no_line_of_the_log(void **state) {
    (void)state;
    begin_runs();
    for (int resumed = 0; resumed < 2; resumed++) {
        long at = 0, tried = 0;
        for (bool hit = true; hit; at += stride_of(resumed ? 1 : 3)) {
            char context[128];
            assert_int_equal(system("rm -rf run run.vane-*"), 0);
            if (resumed) copy_run("begun", "run");
            const fault f = {.at = at};
            const faulty r =
                resumed
                    ? run_faulty(f, DATA " --out run --resume --steps 3 --save-every 1 --quiet")
                    : run_faulty(f, TRAIN
                                 " --out run --steps 3 --save-every 1 --preview-every 2 --quiet");
            hit = r.hit;
            assert_int_equal(r.status, hit ? 128 + SIGKILL : 0);
            snprintf(context, sizeof context, "killed before call %ld, %s\n", at, r.failed);
            if (exists("run")) expect_status(0, "info run --json"); /* what has its name is whole */
            expect_same_end("run", "straight", 3, context);
            tried++;
        }
        assert_true(tried > (resumed ? 20 : 30));
    }
}

/* Where the file system exchanges two names, and (the call is refused) where it does not. */
static void test_a_kill_while_a_run_is_replaced_leaves_the_old_or_the_new(void **state) {
    (void)state;
    begin_runs();
    for (int apart = 0; apart < 2; apart++) {
        long missing = 0, old = 0, new = 0;
        long at = 0;
        /* there is one call between two renames */
        for (bool hit = true; hit; at += apart ? stride_of(2) : 1) {
            copy_run("older", "run");
            const fault f = {.at = at,
                             .call = apart ? SYS_renameat2 : 0,
                             .refuses = apart,
                             .error = apart ? ENOSYS : 0};
            hit = run_faulty(f, TRAIN " --out run --steps 2 --preview-every -1 --overwrite --quiet")
                      .hit;
            missing += !exists("run");
            /* To go on with it is to put back what was set aside; both have the same options but
             * for the seed. */
            const outcome *o = run_vane(DATA " --out run --resume --steps 3 --quiet");
            if (o->status != 0) fail_msg("killed before call %ld: %s", at, o->err);
            json_t *info = expect_json(expect_status(0, "info run --json"));
            const json_t *train = json_object_get(info, "train");
            const char *seed = json_string_value(json_object_get(train, "seed"));
            const bool is_old = seed ? strcmp(seed, "9") == 0
                                     : json_integer_value(json_object_get(train, "seed")) == 9;
            json_decref(info);
            old += is_old;
            new += !is_old;
            if (!is_old) expect_same_file("run/" WEIGHTS, "straight/" WEIGHTS);
            expect_log("run", 3);
            expect_nothing_aside();
        }
        assert_true(old > 5 && new > 5);
        if (!apart && missing > 0) fail_msg("%ld times there was no run", missing);
    }
}

/* Each call fails once, with what a full disk, a broken one and a signal give. The run ends or goes
 * on; nothing is lost. */
static void test_a_call_that_fails_costs_no_step(void **state) {
    (void)state;
    static const int errors[] = {ENOSPC, EIO, EINTR};
    begin_runs();
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
        long at = 0, ended = 0;
        for (bool hit = true; hit; at += stride_of(3)) {
            char context[128];
            copy_run("begun", "run");
            const faulty r = run_faulty((fault){.at = at, .error = errors[e]}, DATA
                                        " --out run --resume --steps 3 --save-every 1 --quiet");
            hit = r.hit;
            snprintf(context, sizeof context, "call %ld, %s: %s\n", at, r.failed,
                     strerror(errors[e]));
            if (r.status != 0 && r.status != 1) fail_msg("%s: status %d", context, r.status);
            char *words = complaint();
            const bool made = strstr(words, "saved at step 3: go on with --resume") != NULL;
            if (r.status == 1 && (!strchr(words, '\n') || strchr(words, '\n')[1] != '\0'))
                fail_msg("%s: not one line: %s", context, words);
            ended += r.status == 1;
            if (r.status == 0 || made) assert_int_equal(step_of("run"), 3);
            free(words);
            expect_same_end("run", "straight", 3, context);
        }
        assert_true(ended > 0);
    }
}

/* The disk is full from the n-th write on: nothing can be saved, and the words say what there
 * is. */
static void test_a_disk_that_stays_full_leaves_the_last_checkpoint_and_says_which(void **state) {
    (void)state;
    begin_runs();
    long told = 0;
    long at = 0;
    for (bool hit = true; hit; at += stride_of(2)) {
        copy_run("begun", "run");
        const faulty r =
            run_faulty((fault){.at = at, .error = ENOSPC, .all = true, .call = SYS_write},
                       DATA " --out run --resume --steps 5 --save-every 1 --quiet");
        hit = r.hit;
        char *words = complaint(), kept[64];
        const int64_t step = step_of("run");
        snprintf(kept, sizeof kept, "the checkpoint of step %lld is kept", (long long)step);
        if (step == 5) kept[0] = 0;
        if (hit) assert_int_equal(r.status, 1);
        if (hit && !strstr(words, "No space left on device")) fail_msg("%s", words);
        if (strstr(words, kept)) told++;
        free(words);
        expect_same_end("run", "whole", 5, "");
    }
    assert_true(told > 5);
}

/* ---- what goes on, and what is saved first --------------------------------------------------- */

/* Waits until a training has written so many lines of its log. */
static void wait_for_step(const char *run, int step) {
    char path[64], begin[64];
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    snprintf(begin, sizeof begin, "{\"step\": %d,", step);
    for (int i = 0; i < 1200; i++, sleep_ms(25)) {
        size_t size;
        char *log = exists(path) ? scratch_read(path, &size) : NULL;
        const bool there = log != NULL && strstr(log, begin);
        free(log);
        if (there) return;
    }
    fail_msg("%s did not come to step %d", run, step);
}

static char *words_of_started(void) {
    size_t size;
    return scratch_read("started.txt", &size);
}

static void test_a_preview_that_fails_is_one_warning(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out shown --steps 1 --preview-every 1 --quiet");
    assert_int_equal(system("rm -r shown/previews && touch shown/previews"), 0);
    const outcome *o = expect_status(0, DATA " --out shown --resume --steps 9 --preview-every 2");
    const char *warning = strstr(
        o->err, "warning: no preview of step 2: shown/previews/000002.png: cannot be written");
    assert_non_null(warning);
    assert_non_null(strstr(warning, "training goes on\n"));
    assert_null(strstr(strchr(warning, ';'), "no preview"));
    assert_int_equal(step_of("shown"), 9);
}

/* A run without checkpoints of its own: what stops it must save. The numbers are those of a run
 * that never stopped. */
static void test_what_ends_a_run_saves_it_first(void **state) {
    (void)state;
    if (!faults) skip();
    expect_status(0, TRAIN " --out never --steps 40 --preview-every -1 --save-every 1000 --quiet");
    const faulty all = run_faulty(
        (fault){.at = -1, .call = SYS_write},
        TRAIN " --out run --overwrite --steps 30 --preview-every -1 --save-every 1000 --quiet");
    assert_int_equal(all.status, 0);
    int saved = 0;
    for (long at = 5; at < all.calls; at += 4) {
        assert_int_equal(system("rm -rf run*"), 0);
        const faulty r =
            run_faulty((fault){.at = at, .error = EIO, .call = SYS_write, .twice = true},
                       TRAIN " --out run --steps 30 --preview-every -1 --save-every 1000 --quiet");
        if (!exists("run")) continue; /* before its first step */
        char *words = complaint();
        const char *at_step = strstr(words, "; saved at step ");
        if (r.status == 1 && strstr(words, "log.jsonl: cannot be written: Input/output error")) {
            assert_non_null(at_step);
            assert_int_equal(atoi(at_step + strlen("; saved at step ")), step_of("run"));
            saved++;
        }
        free(words);
        expect_status(0, DATA " --out run --resume --steps 40 --quiet");
        expect_same_file("run/" WEIGHTS, "never/" WEIGHTS);
    }
    assert_true(saved > 3);
}

/* Weights that gave no number are not saved over those that did. */
static void test_a_run_that_diverges_keeps_its_last_checkpoint(void **state) {
    (void)state;
    const outcome *o = expect_status(
        1, TRAIN " --out wild --steps 50 --lr 1e6 --weight-decay 1 --clip 0 --schedule "
                 "constant --warmup 0 --save-every 2 --preview-every -1 --quiet");
    expect_complaint(o, "training diverged at step ");
    const char *kept = strstr(o->err, "; the checkpoint of step ");
    assert_non_null(kept);
    const int step = atoi(kept + strlen("; the checkpoint of step "));
    assert_int_equal(step, step_of("wild"));
    assert_int_equal(step % 2, 0);
}

/* ---- signals --------------------------------------------------------------------------------- */

static void test_each_signal_that_asks_saves(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        assert_int_equal(system("rm -rf asked"), 0);
        const pid_t pid = start_vane(
            TRAIN " --out asked --steps 1000000 --preview-every -1 --save-every 1000000");
        wait_for_step("asked", 30);
        kill(pid, signals[i]);
        if (signals[i] == SIGHUP) kill(pid, SIGHUP); /* from the shell and from the terminal */
        assert_int_equal(wait_vane(pid), 130);
        char *words = words_of_started();
        assert_non_null(strstr(words, "all of it is saved"));
        free(words);
        assert_true(step_of("asked") >= 30);
    }
}

static void test_a_second_interrupt_ends_at_once_and_does_no_harm(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(system("rm -rf twice"), 0);
        const pid_t pid =
            start_vane(TRAIN " --out twice --steps 1000000 --preview-every -1 --save-every 20");
        wait_for_step("twice", 20);
        kill(pid, SIGINT);
        kill(pid, SIGINT);
        const int status = wait_vane(pid);
        /* the two came as one, or it was done */
        if (status != 128 + SIGINT) assert_int_equal(status, 130);
        assert_true(step_of("twice") >= 0);
        expect_status(0, "sample twice -n 1 --steps 1 --out twice.npy --quiet");
    }
}

/* Nobody reads what it prints, or its standard streams are closed: no reason to stop, and nothing
 * of it goes into a file. */
static void test_a_closed_output_does_not_stop_training(void **state) {
    (void)state;
    static const char *const ways[] = {"2>&1 | true", "2>&1 >/dev/null | true", "2>&- >/dev/null",
                                       "<&- >&- 2>&-"};
    expect_status(0, TRAIN " --out read --steps 200 --preview-every 50 --quiet");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char command[1024];
        /* It begins when whoever would have read is gone. */
        snprintf(command, sizeof command,
                 "rm -rf unread; { sleep 0.2; exec %s " TRAIN
                 " --out unread --steps 200 --preview-every 50; } %s",
                 VN_PROGRAM, ways[i]);
        (void)!system(command);
        assert_int_equal(step_of("unread"), 200);
        expect_same_file("unread/" WEIGHTS, "read/" WEIGHTS);
        expect_log("unread", 200);
    }
}

static void test_a_hang_up_that_is_ignored_stays_ignored(void **state) {
    (void)state;
    void (*before)(int) = signal(SIGHUP, SIG_IGN);
    const pid_t pid = start_vane(TRAIN " --out nohup --steps 2000 --preview-every -1");
    signal(SIGHUP, before);
    wait_for_step("nohup", 1);
    kill(pid, SIGHUP);
    assert_int_equal(wait_vane(pid), 0);
    assert_int_equal(step_of("nohup"), 2000);
}

/* ---- where output cannot go ------------------------------------------------------------------ */

static void test_what_cannot_be_printed_is_told(void **state) {
    (void)state;
    static const char *const commands[] = {
        "list --json", "list",         "list samplers",   "--help",
        "--version",   "train --help", "info world.json", "info world.json --json",
        "help sample"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        for (int closed = 0; closed < 2; closed++) {
            char command[512];
            snprintf(command, sizeof command, "%s %s 2>err.txt %s", VN_PROGRAM, commands[i],
                     closed ? ">&-" : ">/dev/full");
            const int status = system(command);
            char *words = complaint();
            if (status != 1 << 8) fail_msg("%s: status %d", command, status);
            assert_string_equal(
                words, closed ? "vane: the output cannot be written: Bad file descriptor\n"
                              : "vane: the output cannot be written: No space left on device\n");
            free(words);
        }
}

/* No folder can be made on a full disk: the words are the system's, and nothing stands aside. */
static void test_a_folder_that_cannot_be_made_is_told_why(void **state) {
    (void)state;
#ifdef SYS_mkdir
    enum { MAKE = SYS_mkdir };
#else
    enum { MAKE = SYS_mkdirat };
#endif
    if (!faults) skip();
    long at = 0;
    for (bool hit = true; hit; at++) {
        assert_int_equal(system("rm -rf made*"), 0);
        const faulty r = run_faulty((fault){.at = at, .error = ENOSPC, .all = true, .call = MAKE},
                                    TRAIN " --out made --steps 2 --preview-every -1 --quiet");
        hit = r.hit;
        char *words = complaint();
        if (hit && (r.status != 1 || strstr(words, "No space left on device") == NULL))
            fail_msg("folder %ld: status %d: %s", at, r.status, words);
        free(words);
        if (exists("made")) assert_true(step_of("made") >= 0); /* begun, and whole */
        expect_nothing_aside();
    }
    assert_true(at > 1);
    assert_int_equal(step_of("made"), 2);
}

/* A limit on the size of files is met like a full disk. */
static void test_a_limit_on_files_leaves_nothing_behind(void **state) {
    (void)state;
    for (int blocks = 0; blocks < 12; blocks += 2) {
        char command[512];
        snprintf(command, sizeof command,
                 "ulimit -f %d; exec %s " TRAIN
                 " --out limited --steps 3 --quiet 2>err.txt >/dev/null",
                 blocks, VN_PROGRAM);
        const int status = system(command);
        char *words = complaint();
        if (status == 0) { /* it fits */
            assert_true(blocks > 0);
            free(words);
            break;
        }
        if (status != 1 << 8) fail_msg("%d blocks: status %d: %s", blocks, status, words);
        if (blocks > 0 && !strstr(words, "File too large")) fail_msg("%s", words);
        free(words);
        assert_int_equal(system("ls -A | grep limited"), 256);
    }
}

/* ---- runs on another disk -------------------------------------------------------------------- */

static void test_a_run_may_be_a_link(void **state) {
    (void)state;
    struct stat info;
    assert_int_equal(system("mkdir -p disk runs && ln -s ../disk/run runs/a"), 0);
    /* where the link leads there is nothing yet */
    expect_status(0, TRAIN " --out runs/a --steps 1 --quiet");
    expect_status(0, DATA " --out runs/a/ --resume --steps 2 --quiet");
    assert_int_equal(step_of("disk/run"), 2);
    expect_complaint(expect_status(2, TRAIN " --out runs/a --steps 1 --quiet"), "runs/a exists");
    expect_status(0, TRAIN " --out runs/a --steps 1 --overwrite --quiet");
    assert_int_equal(lstat("runs/a", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(step_of("disk/run"), 1);
    assert_int_equal(scratch_count("disk") + scratch_count("runs"), 2);
}

/* A stranger's run must not lead the log, or what stands beside it, elsewhere. */
static void test_links_and_pipes_in_a_run_are_not_followed(void **state) {
    (void)state;
    expect_status(0, TRAIN " --out strange --steps 1 --quiet");
    scratch_write_text("dear", "{\"step\": 5}\n");
    assert_int_equal(system("mv strange/log.jsonl log && ln -s ../dear strange/log.jsonl"), 0);
    expect_complaint(expect_status(1, DATA " --out strange --resume --steps 2 --quiet"),
                     "is a link, which is not followed");
    assert_int_equal(system("rm strange/log.jsonl && mkfifo strange/log.jsonl"), 0);
    expect_complaint(expect_status(1, DATA " --out strange --resume --steps 2 --quiet"),
                     "is a pipe");
    assert_int_equal(
        system(
            "rm strange/log.jsonl && mv log strange/log.jsonl && mkfifo strange/log.jsonl.vane-tmp "
            "strange/" STATE ".vane-tmp strange.vane-new-0 strange/previews/000002.png.vane-tmp"),
        0);
    expect_status(0, DATA " --out strange --resume --steps 2 --quiet");
    expect_log("strange", 2);
    size_t size;
    char *text = scratch_read("dear", &size);
    assert_string_equal(text, "{\"step\": 5}\n");
    free(text);
    assert_int_equal(system("rm -rf strange*"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_kill_at_any_call_costs_no_bit_and_no_line_of_the_log),
        cmocka_unit_test(test_a_kill_while_a_run_is_replaced_leaves_the_old_or_the_new),
        cmocka_unit_test(test_a_call_that_fails_costs_no_step),
        cmocka_unit_test(test_a_disk_that_stays_full_leaves_the_last_checkpoint_and_says_which),
        cmocka_unit_test(test_a_preview_that_fails_is_one_warning),
        cmocka_unit_test(test_what_ends_a_run_saves_it_first),
        cmocka_unit_test(test_a_run_that_diverges_keeps_its_last_checkpoint),
        cmocka_unit_test(test_each_signal_that_asks_saves),
        cmocka_unit_test(test_a_second_interrupt_ends_at_once_and_does_no_harm),
        cmocka_unit_test(test_a_closed_output_does_not_stop_training),
        cmocka_unit_test(test_a_hang_up_that_is_ignored_stays_ignored),
        cmocka_unit_test(test_what_cannot_be_printed_is_told),
        cmocka_unit_test(test_a_folder_that_cannot_be_made_is_told_why),
        cmocka_unit_test(test_a_limit_on_files_leaves_nothing_behind),
        cmocka_unit_test(test_a_run_may_be_a_link),
        cmocka_unit_test(test_links_and_pipes_in_a_run_are_not_followed),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
