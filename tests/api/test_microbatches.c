/* test_microbatches.c - a run whose steps pass through the network in parts: less memory, kept by a
 * resume, and known to be 1 where an older run does not say. */
#include "api/support_context.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define DATA    "points:moons:count=400"
#define WEIGHTS "model/diffusion_pytorch_model.safetensors"

static vn_train_options options(int64_t steps, int64_t microbatches) {
    vn_train_options o = points_options("cfm", steps);
    o.batch = 512;
    o.microbatches = microbatches;
    o.schedule = "constant";
    return o;
}

static int64_t planned(const char *run, int64_t microbatches) {
    vn_train_options o = options(1, microbatches);
    o.batch = 8192;
    vn_train_result r = vn_train_result_default();
    expect_ok(vn, vn_train(vn, DATA, run, &o, &r));
    return r.planned_bytes;
}

static void a_run_in_parts_is_planned_smaller(void **state) {
    (void)state;
    assert_true(planned("parts", 16) < planned("whole", 1) / 2);
}

static void a_resumed_run_keeps_its_parts(void **state) {
    (void)state;
    vn_train_options o = options(6, 4);
    expect_ok(vn, vn_train(vn, DATA, "straight", &o, NULL));
    o = options(3, 4);
    expect_ok(vn, vn_train(vn, DATA, "resumed", &o, NULL));
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 6;
    on.microbatches = 2;
    expect_refused(vn_train(vn, DATA, "resumed", &on, NULL), VN_BAD_ARGUMENT, "`microbatches`");
    on.microbatches = 0;
    expect_ok(vn, vn_train(vn, DATA, "resumed", &on, NULL));
    expect_same_file("resumed/" WEIGHTS, "straight/" WEIGHTS);
}

static void an_older_run_has_one(void **state) {
    (void)state;
    vn_train_options o = options(3, 0);
    expect_ok(vn, vn_train(vn, DATA, "older", &o, NULL));
    json_t *stored = json_load_file("older/vane.json", 0, NULL);
    assert_int_equal(json_object_del(json_object_get(stored, "train"), "microbatches"), 0);
    assert_int_equal(json_dump_file(stored, "older/vane.json", JSON_INDENT(2)), 0);
    json_decref(stored);
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 4;
    expect_ok(vn, vn_train(vn, DATA, "older", &on, NULL));
}

static void parts_that_are_not_equal_are_refused(void **state) {
    (void)state;
    vn_train_options o = options(2, 3);
    expect_refused(vn_train(vn, DATA, "unequal", &o, NULL), VN_BAD_ARGUMENT,
                   "a batch of 512 cannot be split into 3 equal microbatches");
    o = options(2, -2);
    expect_refused(vn_train(vn, DATA, "unequal", &o, NULL), VN_BAD_ARGUMENT, "`microbatches`");
}

/* Samples are held against others of the whole step: the loss is that of one part, but for the
 * rounding of its sums. Pairs within a part alone are others, whose loss is another. */
static void parts_contrast_samples_of_all(void **state) {
    (void)state;
    double loss[2];
    for (int k = 0; k < 2; k++) {
        vn_train_options o = options(1, k ? 8 : 1);
        o.objective = "cfm:contrast=0.5";
        o.batch = 64;
        vn_train_result r = vn_train_result_default();
        expect_ok(vn, vn_train(vn, DATA, k ? "contrast-8" : "contrast-1", &o, &r));
        loss[k] = r.loss;
    }
    /* a rounding of 6e-8; pairs within parts alone change it by some 0.1 */
    expect_below("loss", fabs(loss[0] - loss[1]), 1e-6);
}

static int prepare(void **state) {
    scratch_enter(state);
    return open_tested(&vn) != VN_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_in_parts_is_planned_smaller),
        cmocka_unit_test(a_resumed_run_keeps_its_parts),
        cmocka_unit_test(an_older_run_has_one),
        cmocka_unit_test(parts_contrast_samples_of_all),
        cmocka_unit_test(parts_that_are_not_equal_are_refused),
    };
    return run_under_each_kernel_set(tests, prepare, context_leave);
}
