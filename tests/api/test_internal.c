/* test_internal.c - a run whose network has an internal head and whose loss has all terms: stopped
 * and resumed it ends in the same bits, the guide ig moves a step by its scale, and a network
 * without a head is refused by name. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define WEIGHTS     "unet/diffusion_pytorch_model.safetensors"
#define UNCERTAINTY "uncertainty/diffusion_pytorch_model.safetensors"
#define ALL_TERMS   "cfm:contrast=0.05,dispersive=0.25,uncertainty=yes,head=0.7"

enum { COUNT = 3, PIXELS = 64 };

static vn_train_options options(int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = "unet2d:channels=8,levels=2,internal=1";
    o.objective = ALL_TERMS;
    o.schedule = "constant";
    return o;
}

static void a_resumed_run_ends_in_the_same_bits(void **state) {
    (void)state;
    vn_train_options o = options(8);
    expect_ok(vn, vn_train(vn, "data", "straight", &o, NULL));
    o = options(3);
    expect_ok(vn, vn_train(vn, "data", "resumed", &o, NULL));
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 8;
    expect_ok(vn, vn_train(vn, "data", "resumed", &on, NULL));
    expect_same_file("resumed/" WEIGHTS, "straight/" WEIGHTS);
    expect_same_file("resumed/" UNCERTAINTY, "straight/" UNCERTAINTY);
}

static void sample(vn_model *model, const char *guide, float *x) {
    vn_sample_options o = vn_sample_options_default();
    vn_samples *out = NULL;
    o.count = COUNT;
    o.steps = 1;
    o.guidance = 1;
    o.seed = 4;
    o.sampler = "euler";
    o.guide = guide;
    expect_ok(vn, vn_sample(model, &o, &out));
    memcpy(x, vn_samples_data(out), COUNT * PIXELS * sizeof *x);
    vn_samples_close(&out);
}

/* One step of euler is the estimate of x0, which is linear in the answer: what scale 3 moves it by
 * is twice what scale 2 does. */
static void a_step_moves_by_the_scale(void **state) {
    (void)state;
    vn_model *model = NULL;
    float plain[COUNT * PIXELS], two[COUNT * PIXELS], three[COUNT * PIXELS];
    double most = 0;
    expect_ok(vn, vn_model_open(vn, "straight", &model));
    sample(model, "cfg", plain);
    sample(model, "cfg,ig:scale=2", two);
    sample(model, "cfg,ig:scale=3", three);
    for (int i = 0; i < COUNT * PIXELS; i++) {
        const double once = (double)two[i] - (double)plain[i],
                     twice = (double)three[i] - (double)plain[i];
        most = fmax(most, fabs(once));
        /* some roundings of numbers up to 8 */
        expect_below("moved", fabs(twice - 2 * once), 1e-5);
    }
    assert_true(most > 0.01);
    vn_model_close(&model);
}

static void without_a_head_it_is_refused(void **state) {
    (void)state;
    vn_train_options o = tiny_options(1);
    o.model = "unet2d:channels=8,levels=2";
    o.objective = "cfm:head=1";
    expect_refused(vn_train(vn, "data", "headless", &o, NULL), VN_BAD_ARGUMENT,
                   "the network has no internal head");
    o.objective = NULL;
    expect_ok(vn, vn_train(vn, "data", "headless", &o, NULL));
    vn_model *model = NULL;
    vn_samples *out = NULL;
    vn_sample_options s = vn_sample_options_default();
    s.guide = "ig";
    expect_ok(vn, vn_model_open(vn, "headless", &model));
    expect_refused(vn_sample(model, &s, &out), VN_BAD_ARGUMENT, "needs an internal head");
    vn_model_close(&model);
    o = tiny_options(1);
    o.model = "unet2d:channels=8,levels=2,internal=2";
    expect_refused(vn_train(vn, "data", "deep", &o, NULL), VN_BAD_ARGUMENT,
                   "unet2d: internal=2: the last level has layers + 1 = 2 residual blocks");
}

static int prepare(void **state) {
    scratch_enter(state);
    make_data("data", 24);
    return open_tested(&vn) != VN_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_run_ends_in_the_same_bits),
        cmocka_unit_test(a_step_moves_by_the_scale),
        cmocka_unit_test(without_a_head_it_is_refused),
    };
    return run_under_each_kernel_set(tests, prepare, context_leave);
}
