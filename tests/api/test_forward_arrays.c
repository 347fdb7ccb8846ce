/* test_forward_arrays.c - a network on arrays in memory: the bits of vn_forward on the same arrays
 * in a file, what is owned by whom, what is refused. */
#include "api/support_context.h"

#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/alloc.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { N = 3, SIZE = 64 };

static float x[N * SIZE];
static const int64_t labels[N] = {0, 2, 1};
static const float times[N] = {0.1f, 0.5f, 0.9f};

static const vn_array inputs[] = {
    {"sample", VN_F32, {4, {N, 1, 8, 8}}, x},
    {"timestep", VN_F32, {1, {N}}, times},
    {"class_labels", VN_I64, {1, {N}}, labels},
};
enum { INPUTS = sizeof inputs / sizeof *inputs };

static vn_model *open_run(void) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, "run", &m));
    return m;
}

static void test_arrays_give_the_bits_of_files(void **state) {
    (void)state;
    vn_err err = {0};
    vn_safetensors *file = NULL;
    const vn_array *expected = NULL;
    vn_model *m = open_run();
    vn_array out = {.name = "sample"};
    assert_int_equal(vn_safetensors_write("in.safetensors", inputs, INPUTS, NULL, &err), VN_OK);
    expect_ok(vn, vn_forward(vn, "run", "in.safetensors", "out.safetensors", NULL));
    for (int twice = 0; twice < 2; twice++) { /* the second finds it planned */
        expect_ok(vn, vn_forward_arrays(m, INPUTS, inputs, 1, &out));
        assert_int_equal(vn_safetensors_open("out.safetensors", &file, &err), VN_OK);
        assert_int_equal(vn_safetensors_get(file, "sample", &expected, &err), VN_OK);
        assert_int_equal(out.dtype, VN_F32);
        assert_true(vn_shape_equal(&out.shape, &expected->shape));
        assert_memory_equal(out.data, expected->data, sizeof x);
        vn_safetensors_close(&file);
    }
    /* one time for all, and a batch of another size */
    vn_array fewer[INPUTS];
    memcpy(fewer, inputs, sizeof fewer);
    fewer[0].shape.dim[0] = fewer[1].shape.dim[0] = fewer[2].shape.dim[0] = 1;
    float first[SIZE];
    memcpy(first, out.data, sizeof first);
    expect_ok(vn, vn_forward_arrays(m, INPUTS, fewer, 1, &out));
    assert_int_equal(out.shape.dim[0], 1);
    assert_memory_equal(out.data, first, sizeof first);
    vn_model_close(&m);
}

static void test_what_does_not_fit_is_refused_by_name(void **state) {
    (void)state;
    vn_model *m = open_run(), *world = NULL;
    vn_array out = {.name = "sample"}, bad[INPUTS];
    assert_int_equal(vn_forward_arrays(NULL, INPUTS, inputs, 1, &out), VN_BAD_ARGUMENT);
    memcpy(bad, inputs, sizeof bad);
    bad[0].name = "sampel";
    expect_refused(vn_forward_arrays(m, INPUTS, bad, 1, &out), VN_BAD_ARGUMENT, "sampel");
    assert_null(out.data);
    bad[0].name = NULL;
    expect_refused(vn_forward_arrays(m, INPUTS, bad, 1, &out), VN_BAD_ARGUMENT, "input 0");
    memcpy(bad, inputs, sizeof bad);
    bad[1].data = NULL;
    expect_refused(vn_forward_arrays(m, INPUTS, bad, 1, &out), VN_BAD_ARGUMENT, "timestep: data");
    memcpy(bad, inputs, sizeof bad);
    bad[0].shape.rank = VN_MAX_RANK + 1;
    expect_refused(vn_forward_arrays(m, INPUTS, bad, 1, &out), VN_BAD_ARGUMENT, "sample: its");
    memcpy(bad, inputs, sizeof bad);
    bad[0].shape.dim[1] = 2;
    expect_refused(vn_forward_arrays(m, INPUTS, bad, 1, &out), VN_BAD_ARGUMENT, "sample");
    expect_refused(vn_forward_arrays(m, 1, inputs, 1, &out), VN_BAD_ARGUMENT, "timestep");
    expect_refused(vn_forward_arrays(m, 1000, inputs, 1, &out), VN_BAD_ARGUMENT, "1000 inputs");
    expect_refused(vn_forward_arrays(m, INPUTS, NULL, 1, &out), VN_BAD_ARGUMENT, "inputs");
    expect_refused(vn_forward_arrays(m, INPUTS, inputs, 1, NULL), VN_BAD_ARGUMENT, "outputs");
    out.name = "logits";
    expect_refused(vn_forward_arrays(m, INPUTS, inputs, 1, &out), VN_BAD_ARGUMENT, "logits");
    make_world("world.json");
    expect_ok(vn, vn_model_open(vn, "world.json", &world));
    expect_refused(vn_forward_arrays(world, INPUTS, inputs, 1, &out), VN_UNSUPPORTED, "no network");
    vn_model_close(&world);
    vn_model_close(&m);
}

static vn_status open_and_run(void) {
    vn_model *m = NULL;
    vn_array out = {.name = "sample"};
    vn_status status = vn_model_open(vn, "run", &m);
    if (!status) status = vn_forward_arrays(m, INPUTS, inputs, 1, &out);
    vn_model_close(&m);
    return status;
}

static void test_each_allocation_may_fail(void **state) {
    (void)state;
    expect_ok(vn, open_and_run());
    for (alloc_turn t = {.once = true, .recovers = true}; alloc_next(&t);)
        alloc_hit(&t, open_and_run());
}

static int enter(void **state) {
    scratch_enter(state);
    const int failed = open_tested(&vn) != VN_OK;
    make_data("data", 24);
    vn_train_options o = tiny_options(2);
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    for (int i = 0; i < N * SIZE; i++) x[i] = (float)(i % 17) / 8 - 1;
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays_give_the_bits_of_files),
        cmocka_unit_test(test_what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
