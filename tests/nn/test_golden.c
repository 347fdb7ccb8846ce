/* Every network against PyTorch, on every kernel set that runs here: outputs and gradients by the
 * sample and by each weight. */
#include "nn/support_golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/bound.h"
#include "support/thread_pool.h"
#include "support/kernels.h"

/* A frequency of a time's embedding that is a rounding off (6e-8) turns an angle at t = 1000 by
 * 6e-5; one of 128 such numbers is 5e-6 of their norm, and PyTorch's are. Gradients: the largest is
 * one of those that are zero but for rounding. Measured on all kernel sets: at most 2.8e-6 (dit/own
 * and dit/plain) and 4.1e-5 (autoencoder/vq-spatial, whose norms have a channel in each group). */
#define OUTPUT_TOLERANCE   6e-6
#define GRADIENT_TOLERANCE 1e-4

static const char *const cases[] = {
    "unet2d/plain",
    "unet2d/shift",
    "unet2d/padding",
    "unet2d/learned",
    "unet2d/skip",
    "unet2d/skip-attention",
    "unet2d/attention-skip",
    "unet2d/k",
    "unet_condition/sd1",
    "unet_condition/sdxl",
    "unet_condition/lists",
    "unet_condition/added-keys",
    "unet_condition/plain-middle",
    "nets/mlp",
    "nets/classifier-points",
    "nets/classifier-image",
    "nets/classifier-mean",
    "dit/plain",
    "dit/variance",
    "dit/patch",
    "dit/pixel",
    "dit/large-patch",
    "dit/gelu",
    "dit/rms",
    "dit/rms-plain",
    "dit/qk-rms",
    "dit/qk-layer",
    "dit/rope",
    "dit/registers",
    "dit/own",
    "mmdit/sd3",
    "mmdit/sd3-dual",
    "mmdit/sd3-free",
    "mmdit/sd3-plain-norm",
    "mmdit/flux",
    "mmdit/flux-guided",
    "mmdit/flux-axes",
    "autoencoder/kl",
    "autoencoder/kl-plain",
    "autoencoder/kl-statistics",
    "autoencoder/tiny",
    "autoencoder/tiny-four",
    "autoencoder/vq",
    "autoencoder/vq-spatial",
    "autoencoder/fsq",
    "text_dit/plain",
    "text_dit/one",
    "text_dit/larger",
};

static void outputs_and_gradients(void **state) {
    vn_golden g;
    vn_golden_open(&g, *state);
    const vn_golden_error e = vn_golden_compare(&g, kernels, crew_of(2));
    print_message("%-24s %-8s output %.1e gradient %.1e of %s\n", (char *)*state, kernels->name,
                  e.output, e.gradient, e.worst);
    expect_below_as(e.output, OUTPUT_TOLERANCE, "%s, output", (char *)*state);
    expect_below_as(e.gradient, GRADIENT_TOLERANCE, "%s, gradient", (char *)*state);
    vn_golden_close(&g);
}

static void through_a_runner(void **state) {
    vn_golden g;
    vn_golden_open(&g, *state);
    const double error = vn_golden_compare_runner(&g, kernels, crew_of(2));
    vn_golden_close(&g);
    print_message("output off by %.2e, of at most %.1e\n", error, OUTPUT_TOLERANCE);
    expect_below("output", error, OUTPUT_TOLERANCE);
}

int main(void) {
    struct CMUnitTest tests[2 * VN_COUNT(cases)];
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        tests[2 * i] =
            (struct CMUnitTest){cases[i], outputs_and_gradients, NULL, NULL, (void *)cases[i]};
        tests[2 * i + 1] =
            (struct CMUnitTest){cases[i], through_a_runner, NULL, NULL, (void *)cases[i]};
    }
    return run_under_each_kernel_set(tests, NULL, NULL);
}
