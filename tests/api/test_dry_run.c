/* test_dry_run.c - which model is trained where none is named; and a dry run: what it foresees, and
 * that nothing is left of it, whatever comes. */
#include "api/support_context.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/train_defaults.h"
#include "nn/nn.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define DATA "points:moons:count=400"

/* ---- defaults -------------------------------------------------------------------------------- */

static void models_follow_from_data_and_time(void **state) {
    (void)state;
    static const struct {
        vn_train_budget of;
        const char *model;
    } cases[] = {
        {{.sample = {1, {2}}, .count = 1000, .minutes = 60, .threads = 2}, "mlp"},
        {{.sample = {3, {3, 32, 32}}, .count = 9000, .texts = true, .minutes = 60, .threads = 2},
         "text-dit"},
        /* grey in little time, or few; latents; colours by steps, in little time, or few */
        {{.sample = {3, {1, 28, 28}}, .count = 60000, .minutes = 15, .threads = 2}, "unet2d"},
        {{.sample = {3, {1, 28, 28}}, .count = 6000, .minutes = 600, .threads = 9}, "unet2d"},
        {{.sample = {3, {1, 28, 28}}, .count = 60000, .minutes = 30, .threads = 2},
         "unet2d:channels=24"},
        {{.sample = {3, {3, 8, 8}}, .count = 60000, .latents = true, .minutes = 60, .threads = 9},
         "unet2d"},
        {{.sample = {3, {3, 32, 32}}, .count = 60000, .threads = 2}, "unet2d"},
        {{.sample = {3, {3, 32, 32}}, .count = 60000, .minutes = 5, .threads = 2}, "unet2d"},
        {{.sample = {3, {3, 32, 32}}, .count = 500, .minutes = 60, .threads = 2}, "unet2d"},
        {{.sample = {3, {3, 512, 512}}, .count = 60000, .minutes = 60, .threads = 2}, "unet2d"},
        {{.sample = {3, {3, 32, 32}}, .count = 60000, .minutes = 15, .threads = 2},
         "unet2d:channels=32"},
        {{.sample = {3, {3, 32, 32}}, .count = 60000, .minutes = 30, .threads = 2},
         "unet2d:channels=32,layers=2,attention=2"},
        {{.sample = {3, {3, 64, 64}}, .count = 60000, .minutes = 30, .threads = 2},
         "unet2d:channels=32,levels=4,attention=2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vn_choice choice;
        vn_err err = {0};
        const vn_train_default *got = vn_train_default_for(&cases[i].of);
        assert_string_equal(got->model, cases[i].model);
        if (vn_choice_parse(got->model, &vn_trained_models, &choice, &err))
            fail_msg("%s: %s", got->model, err.text);
    }
}

/* ---- dry runs -------------------------------------------------------------------------------- */

static int entries(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static vn_train_options options(void) {
    vn_train_options o = points_options("cfm", 700);
    o.batch = 32;
    o.dry_run = 1;
    return o;
}

/* 392 samples are trained on: 700 steps of 32 are 57.1 epochs. */
static void a_dry_run_foresees_and_leaves_nothing(void **state) {
    (void)state;
    vn_train_options o = options();
    vn_train_result r = vn_train_result_default();
    expect_ok(vn, vn_train(vn, DATA, "dry", &o, &r));
    assert_int_not_equal(access("dry", F_OK), 0);
    assert_int_equal(entries("tmp"), 0);
    assert_int_equal(r.expected_steps, 700);
    expect_below("epochs", fabs(r.expected_epochs - 700 * 32 / 392.0), 1e-12);
    assert_true(r.step_seconds > 0 && isfinite(r.step_seconds) && r.planned_bytes > 0);
    o.steps = 0;
    o.minutes = 2;
    expect_ok(vn, vn_train(vn, DATA, "dry", &o, &r));
    assert_int_equal(r.expected_steps, (int64_t)(120 / r.step_seconds));
}

static void a_dry_run_touches_no_run(void **state) {
    (void)state;
    vn_train_options o = options();
    o.dry_run = 0;
    o.steps = 3;
    vn_train_result r = vn_train_result_default();
    expect_ok(vn, vn_train(vn, DATA, "kept", &o, &r));
    assert_true(isnan(r.step_seconds) && r.expected_steps == 0);
    struct stat before, after;
    assert_int_equal(stat("kept", &before), 0);
    o.dry_run = 1;
    expect_refused(vn_train(vn, DATA, "kept", &o, NULL), VN_BAD_ARGUMENT, "kept exists");
    o.overwrite = 1;
    expect_ok(vn, vn_train(vn, DATA, "kept", &o, NULL));
    assert_int_equal(stat("kept", &after), 0);
    assert_true(before.st_ino == after.st_ino && access("kept/log.jsonl", F_OK) == 0);
    o.overwrite = 0;
    o.resume = 1;
    expect_refused(vn_train(vn, DATA, "kept", &o, NULL), VN_BAD_ARGUMENT,
                   "resume and dry_run exclude each other");
    o = options();
    o.objective = "mean-flow:nonsense=1";
    expect_refused(vn_train(vn, DATA, "bad", &o, NULL), VN_BAD_ARGUMENT, "nonsense");
    o.objective = "ism";
    o.predict = "x0";
    expect_refused(vn_train(vn, DATA, "bad", &o, NULL), VN_BAD_ARGUMENT, "x0");
    assert_int_equal(entries("tmp"), 0);
}

static int prepare(void **state) {
    scratch_enter(state);
    if (mkdir("tmp", 0777) != 0 || setenv("TMPDIR", "tmp", 1) != 0) return 1;
    return open_tested(&vn) != VN_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_follow_from_data_and_time),
        cmocka_unit_test(a_dry_run_foresees_and_leaves_nothing),
        cmocka_unit_test(a_dry_run_touches_no_run),
    };
    return run_under_each_kernel_set(tests, prepare, context_leave);
}
