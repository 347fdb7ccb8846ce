/* test_classes.c - classes as a person names them: of a model made elsewhere, whose table says
 * nothing of null. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define FOREIGN VN_SOURCE_DIR "/tests/cases/three_classes_no_null"

static void a_class_beyond_the_last_is_no_class(void **state) {
    (void)state;
    make_world();
    expect_complaint(expect_status(2, "sample " FOREIGN " --class 3 --steps 2 --out x.npy"),
                     "class 3: " FOREIGN " has classes 0 to 2");
    expect_complaint(expect_status(2, "sample " FOREIGN " --class null --steps 2 --out x.npy"),
                     "has no null condition");
    expect_complaint(expect_status(2, "sample world.json --class 2 --out x.npy"),
                     "class 2: world.json has classes 0 to 1; null is the word for none");
    expect_status(0, "sample " FOREIGN " --class 2 --steps 2 -n 2 --out x.npy --quiet");
    json_t *r = expect_json(expect_status(0, "info " FOREIGN " --json"));
    assert_int_equal(json_array_size(json_object_get(r, "classes")), 3);
    assert_true(json_is_false(json_object_get(r, "null")));
    json_decref(r);
}

static void the_null_row_can_be_named(void **state) {
    (void)state;
    expect_complaint(
        expect_status(2, "sample " FOREIGN " --guidance 2 --steps 2 --out x.npy"),
        "needs the null condition, which this model does not have; guides that do without: ");
    json_t *r = expect_json(expect_status(
        0, "sample " FOREIGN
           " --null-class 2 --guidance 2 --class 1 --steps 2 -n 2 --out x.npy --quiet --json"));
    assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "passes"), 0)), 4);
    json_decref(r);
    expect_complaint(
        expect_status(2, "sample " FOREIGN " --null-class 2 --class 2 --steps 2 --out x.npy"),
        "class 2: " FOREIGN " has classes 0 to 1; null is the word for none");
    expect_complaint(expect_status(2, "sample " FOREIGN " --null-class 3 --out x.npy"),
                     "null-class 3");
    expect_complaint(expect_status(2, "sample world.json --null-class 0 --out x.npy"),
                     "has no effect on a world");
    /* Between others, classes are named by their rows. */
    expect_status(0,
                  "sample " FOREIGN " --null-class 1 --class 2 --steps 2 -n 1 --out x.npy --quiet");
    expect_status(0, "sample " FOREIGN " --class 2 --steps 2 -n 1 --out y.npy --quiet");
    expect_same_file("x.npy", "y.npy");
    expect_complaint(expect_status(2, "sample " FOREIGN " --null-class 1 --class 1 --out x.npy"),
                     "class 1: this row of " FOREIGN " is null; null is the word for none");
    expect_complaint(expect_status(2, "sample " FOREIGN " --null-class 1 --class 3 --out x.npy"),
                     "class 3: " FOREIGN " has the rows 0 to 2 for classes, and 1 is null");
    /* A weak model that does not say which row is null is asked as the model is. */
    scratch_require(system("cp -r '" FOREIGN "' weak") == 0, "weak");
    expect_status(0, "sample " FOREIGN
                     " --null-class 2 --weak weak --guide autoguidance --guidance 2 --class null "
                     "--steps 2 -n 2 --out x.npy --quiet");
    expect_status(0, "sample " FOREIGN
                     " --null-class 2 --class null --steps 2 -n 1 --out x.safetensors --quiet");
    expect_status(
        0, "eval " FOREIGN
           " --null-class 2 --metric nll --data x.safetensors --rtol 0.1 --atol 0.1 --quiet");
    expect_complaint(expect_status(1, "eval " FOREIGN " --metric nll --data x.safetensors --quiet"),
                     "x.safetensors: sample 0: class null: " FOREIGN " has no null condition");
}

static void guides_take_classes_by_name(void **state) {
    (void)state;
    make_world();
    expect_status(
        0,
        "sample world.json -n 6 --guidance 2 --guide negative:class=left --out name.npy --quiet");
    expect_status(
        0, "sample world.json -n 6 --guidance 2 --guide negative:class=0 --out number.npy --quiet");
    expect_same_file("name.npy", "number.npy");
    expect_status(0, "sample world.json -n 4 --guidance 2 --guide 'negative:class=\"left\"' --out "
                     "x.png --quiet");
    /* makes it again */
    assert_non_null(strstr(expect_status(0, "info x.png")->out, "negative:class=\"left\""));
    expect_complaint(
        expect_status(2, "sample world.json --guidance 2 --guide negative:class=lefd --out x.npy"),
        "negative: class=lefd is no class of the model; did you mean 'left'?");
    assert_non_null(strstr(expect_status(0, "list guides negative")->out, "(a class, by name or"));
}

/* As ImageNet has two cranes. A name with a comma is one name, though its parts are names too. */
static void a_name_of_several_classes_is_refused_with_their_numbers(void **state) {
    (void)state;
    static const char *const names[] = {"crane", "a, b", "crane", "a", "b", "a, b"};
    char world[1024] = "{\"classes\": [";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        snprintf(world + strlen(world), sizeof world - strlen(world),
                 "%s{\"name\": \"%s\", \"components\": [{\"mean\": [%zu, 0], \"std\": 0.5}]}",
                 i ? ", " : "", names[i], i);
    scratch_write_text("cranes.json", strcat(world, "]}"));
    expect_complaint(
        expect_status(2, "sample cranes.json --class crane --out z.npy"),
        "class crane: cranes.json has several called so, 0 and 2: say which by its number");
    expect_complaint(
        expect_status(2, "sample cranes.json --class 'a, b' --out x.npy"),
        "class a, b: cranes.json has several called so, 1 and 5: say which by its number");
    expect_complaint(expect_status(2, "sample cranes.json --class a,crane --out x.npy"),
                     "class crane: cranes.json has several called so, 0 and 2");
    expect_complaint(
        expect_status(2, "sample cranes.json --guide negative:class=crane --out x.npy"),
        "negative: class=crane: several classes of the model are called so, 0 and 2: say which");
    assert_false(exists("z.npy"));
    expect_status(0, "sample cranes.json --class 2 -n 2 --out x.png --quiet");
    assert_non_null(strstr(expect_status(0, "info x.png")->out, "class     2"));
    expect_status(0, "sample cranes.json --class a,b -n 2 --out x.npy --quiet");
}

/* The weights are cut short, which no refusal here mentions: it comes before they are read. */
static void a_wrong_choice_is_refused_before_weights_are_read(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } wrong[] = {
        {"sample cut --sampler eulr --out x.npy", "unknown sampler 'eulr'; did you mean 'euler'?"},
        {"sample cut --sampler euler:s=1 --out x.npy", "euler has no parameter"},
        {"sample cut --guide cfg,intervall --out x.npy", "unknown guide 'intervall'"},
        {"sample cut --guide cfg --guide interval:lo=-1 --out x.npy", "interval: lo=-1 is"},
        {"sample cut --guide cfg, --out x.npy", "no guide is named"},
        {"sample cut --path rectifed --out x.npy", "unknown path 'rectifed'"},
        {"sample cut --grid karas --out x.npy", "unknown grid 'karas'"},
        {"sample cut --observe y.npy --operator blr --restore dps --out x.npy",
         "unknown operator 'blr'"},
        {"eval cut --metric fd --data y.npy --sampler eulr", "unknown sampler 'eulr'"},
        {"eval cut --metric fd --data y.npy --guide cgf", "unknown guide 'cgf'"},
        {"sweep cut --data y.npy --out s --sampler ddim --sampler eulr", "unknown sampler 'eulr'"},
        {"sweep cut --data y.npy --out s --guide cgf", "unknown guide 'cgf'"},
    };
    scratch_require(system("cp -r '" FOREIGN "' cut && chmod -R u+w cut && "
                           ": > cut/unet/diffusion_pytorch_model.safetensors") == 0,
                    "cut");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_complaint(expect_status(2, "%s", wrong[i].words), wrong[i].complaint);
    expect_complaint(expect_status(1, "sample cut --sampler euler --guide negative:class=x --path "
                                      "ddpm:linear --out x.npy"),
                     "diffusion_pytorch_model.safetensors");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_beyond_the_last_is_no_class),
        cmocka_unit_test(the_null_row_can_be_named),
        cmocka_unit_test(guides_take_classes_by_name),
        cmocka_unit_test(a_name_of_several_classes_is_refused_with_their_numbers),
        cmocka_unit_test(a_wrong_choice_is_refused_before_weights_are_read),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
