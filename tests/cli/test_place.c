/* test_place.c - what is put where, and what is taken for what: samples do not get among data,
 * folders of runs are no data, and what is no model is called by its name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_faults.h"
#include "cli/support_program.h"
#include "support/scratch.h"

#define NESTED VN_SOURCE_DIR "/tests/cases/nested"

/* photos with classes a and b, and runs/one that was trained on them. */
static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    scratch_require(system("cp -r " NESTED " photos && chmod -R u+w photos") == 0, "cp");
    run_vane("train photos --model unet2d:channels=4,levels=1,attention=0 --batch 2 --steps 1 "
             "--out runs/one --quiet");
    return exists("runs/one/vane.json") ? 0 : -1;
}

/* ---- samples and data ------------------------------------------------------------------------ */

static void samples_do_not_get_among_the_data(void **state) {
    (void)state;
    static const char *const places[] = {"photos",       "photos/new", "photos/a",
                                         "photos/x.png", "link",       "link/new"};
    assert_int_equal(symlink("photos", "link"), 0);
    const int before = scratch_count("photos");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char words[160];
        snprintf(words, sizeof words,
                 "%s lies in photos, the data that the model was trained on: samples go into a "
                 "folder of their own",
                 places[i]);
        expect_complaint(
            expect_status(2, "sample runs/one --out %s -n 1 --steps 1 --quiet", places[i]), words);
    }
    assert_int_equal(scratch_count("photos"), before);
    expect_status(0, "sample runs/one --out photos/x.npy -n 1 --steps 1 --quiet");
    unlink("photos/x.npy");
    unlink("link");
    /* the run still goes on with its data */
    expect_status(0, "train photos --out runs/one --resume --steps 2 --quiet");
}

/* vane.json names the data as it was typed; from another folder the name may mean another one. */
static void a_name_that_leads_elsewhere_is_no_data(void **state) {
    (void)state;
    scratch_require(system("mkdir -p away/photos/other && cp -r runs/one away/one") == 0, "mkdir");
    assert_int_equal(chdir("away"), 0);
    expect_status(0, "sample one --out photos/new -n 1 --steps 1 --quiet");
    assert_int_equal(chdir(".."), 0);
}

/* ---- names that nothing has ------------------------------------------------------------------ */

/* Where the file system cannot rename to a new name alone, it is linked to. */
static void a_folder_is_filled_on_any_file_system(void **state) {
    (void)state;
    static const int errors[] = {ENOSYS, EINVAL};
    if (!faults_work()) skip();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        const fault f = {.at = -1, .call = SYS_renameat2, .refuses = true, .error = errors[i]};
        assert_int_equal(system("rm -rf filled"), 0);
        const faulty r = run_faulty(f, "sample runs/one --out filled -n 3 --steps 1 --quiet");
        assert_int_equal(r.status, 0);
        assert_int_equal(scratch_count("filled"), 3); /* and nothing aside */
    }
}

/* ---- folders of runs ------------------------------------------------------------------------- */

static void a_folder_of_runs_is_said_to_be_one(void **state) {
    (void)state;
    scratch_require(system("cp -r runs/one runs/two && mkdir -p runs/none") == 0, "cp");
    json_t *r = expect_json(expect_status(0, "info runs --json"));
    assert_string_equal(json_string_value(json_object_get(r, "is")), "a folder of runs");
    const json_t *list = json_object_get(r, "runs");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_array_get(list, 0)), "one");
    assert_string_equal(json_string_value(json_array_get(list, 1)), "two");
    assert_string_equal(json_string_value(json_object_get(r, "one_with")), "vane info runs/one");
    json_decref(r);
    expect_complaint(expect_status(1, "sample runs --out x.png"),
                     "so it is no model; name one of the models in it: runs/one, runs/two");
    expect_complaint(expect_status(1, "train runs --out r --steps 1"), "but one is a run");
    expect_complaint(expect_status(1, "train runs/one --out r --steps 1"),
                     "runs/one: a run, and no data");
}

/* ---- what is no model ------------------------------------------------------------------------ */

static void what_is_no_model_is_called_by_its_name(void **state) {
    (void)state;
    static const struct {
        const char *path, *words;
    } sources[] = {
        {"photos/a/0.png", "photos/a/0.png: a picture, and no model; a model is a run, a folder "
                           "of diffusers' or a world (.json)"},
        {"x.zip", "x.zip: an archive: unpack it, and name the folder"},
        {"x.npz", "x.npz: data to train on, and no model; a model is a run"},
        {"x.safetensors", "x.safetensors: tensors without a config.json beside them, and no model"},
        {"''", "the model's name is empty; it names a run, a folder of diffusers'"},
    };
    scratch_write_text("x.zip", "PK");
    scratch_write_text("x.npz", "PK");
    scratch_write_text("x.safetensors", "");
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const int status = strcmp(sources[i].path, "''") == 0 ? 2 : 1;
        expect_complaint(expect_status(status, "sample %s --out y.png", sources[i].path),
                         sources[i].words);
    }
    expect_complaint(expect_status(1, "info x.zip"), sources[1].words);
    expect_complaint(expect_status(1, "train x.zip --out r --steps 1"), sources[1].words);
    assert_false(exists("r"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_do_not_get_among_the_data),
        cmocka_unit_test(a_name_that_leads_elsewhere_is_no_data),
        cmocka_unit_test(a_folder_is_filled_on_any_file_system),
        cmocka_unit_test(a_folder_of_runs_is_said_to_be_one),
        cmocka_unit_test(what_is_no_model_is_called_by_its_name),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
