/* test_device.c - the whole of it on a device whose memory faults where the host follows it: what
 * is trained, sampled and run there is what the CPU gives, bit for bit. */
#include "api/internal.h"
#include "api/support_api.h"
#include "support/guarded.h"
#include "support/kernels.h"
#include "support/scratch.h"

#include <string.h>

static vn_device_row row;

/* A context on the CPU, or on the guarded device with its kernels. */
static vn_context *open_context(bool guarded) {
    vn_context_options o = vn_context_options_default();
    vn_context *vn = NULL;
    o.threads = 2;
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    assert_int_equal(vn_context_processes(vn), 1);
    assert_int_equal(vn_context_processes(NULL), 1); /* no launcher started the test */
    if (!guarded) return vn;
    row = guarded_row(vn->device.row, 0, NULL);
    vn_device_close(&vn->device);
    assert_int_equal(vn_device_open(&row, NULL, vn->pool, &vn->device, NULL), VN_OK);
    return vn;
}

static void draw(vn_context *vn, const char *run, const char *out) {
    vn_model *m = NULL;
    vn_samples *samples = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 4;
    o.steps = 4;
    o.guidance = 2;
    expect_ok(vn, vn_model_open(vn, run, &m));
    expect_ok(vn, vn_sample(m, &o, &samples));
    expect_ok(vn, vn_samples_save(samples, out));
    vn_samples_close(&samples);
    vn_model_close(&m);
}

static void runs_on_a_device_are_those_of_the_cpu(void **state) {
    (void)state;
    make_data("data", 40);
    const char *const runs[] = {"here", "there"}, *const outs[] = {"here.npy", "there.npy"};
    for (int guarded = 0; guarded < 2; guarded++) {
        vn_context *vn = open_context(guarded);
        vn_train_options o = tiny_options(6);
        expect_ok(vn, vn_train(vn, "data", runs[guarded], &o, NULL));
        o = tiny_options(9);
        o.resume = 1; /* reads the checkpoint back to the device */
        expect_ok(vn, vn_train(vn, "data", runs[guarded], &o, NULL));
        draw(vn, runs[guarded], outs[guarded]);
        if (guarded) assert_int_equal(guarded_arrays(&vn->device), 0);
        vn_context_close(&vn);
    }
    expect_same_file("here/unet/diffusion_pytorch_model.safetensors",
                     "there/unet/diffusion_pytorch_model.safetensors");
    expect_same_file("here.npy", "there.npy");
}

/* vn_forward with gradients, and vn_bench in both modes. */
static void a_network_runs_on_a_device_by_itself(void **state) {
    (void)state;
    static const float numbers[2 * 64] = {1, -1, 0.5f}, times[2] = {100, 900};
    static const int32_t labels[2] = {0, 1};
    const vn_array in[] = {{"sample", VN_F32, VN_SHAPE(2, 1, 8, 8), numbers},
                           {"cotangent", VN_F32, VN_SHAPE(2, 1, 8, 8), numbers},
                           {"timestep", VN_F32, VN_SHAPE(2), times},
                           {"class_labels", VN_I32, VN_SHAPE(2), labels}};
    assert_int_equal(vn_safetensors_write("in", in, VN_COUNT(in), NULL, NULL), VN_OK);
    const char *const outs[] = {"out-here", "out-there"}, *const grads[] = {"g-here", "g-there"};
    for (int guarded = 0; guarded < 2; guarded++) {
        vn_context *vn = open_context(guarded);
        expect_ok(vn, vn_forward(vn, "here", "in", outs[guarded], grads[guarded]));
        for (int train = 0; train < 2; train++) {
            vn_bench_options o = vn_bench_options_default();
            vn_bench_result r = vn_bench_result_default();
            o.train = train;
            o.batch = o.steps = 2;
            expect_ok(vn, vn_bench(vn, "here", &o, &r));
            assert_true(r.min_ms > 0);
        }
        if (guarded) assert_int_equal(guarded_arrays(&vn->device), 0);
        vn_context_close(&vn);
    }
    expect_same_file("out-here", "out-there");
    expect_same_file("g-here", "g-there");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_on_a_device_are_those_of_the_cpu),
        cmocka_unit_test(a_network_runs_on_a_device_by_itself),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
