/* The discriminator of patches against PyTorch, output and gradients; how many layers small
 * pictures have; and what cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "nn/support_golden.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/thread_pool.h"

static void outputs_and_gradients_are_those_of_pytorch(void **state) {
    (void)state;
    vn_golden g;
    vn_golden_open_row(&g, &vn_discriminator_net, "nets/discriminator");
    const vn_golden_error e = vn_golden_compare(&g, kernels, crew_of(2));
    print_message("%s: output %.1e, gradient %.1e of %s\n", kernels->name, e.output, e.gradient,
                  e.worst);
    expect_below("output", e.output, 2e-6);
    expect_below("gradient", e.gradient, 4e-6);
    vn_golden_close(&g);
}

static void small_pictures_have_fewer_layers(void **state) {
    (void)state;
    static const struct {
        int64_t height, width, asked, layers; /* layers 0: refused */
    } cases[] = {{256, 256, 0, 3}, {48, 64, 0, 3}, {47, 64, 0, 2}, {28, 28, 0, 2}, {16, 90, 0, 1},
                 {8, 8, 0, 1},     {6, 6, 0, 1},   {5, 9, 0, 0},   {28, 28, 3, 3}, {28, 28, 4, 0}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        const vn_shape sample = VN_SHAPE(3, cases[i].height, cases[i].width);
        vn_err err = {0};
        vn_net *net = NULL;
        json_t *config = vn_discriminator_config(&sample, 8, cases[i].asked, &err);
        if (!cases[i].layers) {
            assert_null(config);
            assert_int_equal(err.status, VN_BAD_ARGUMENT);
            if (!strstr(err.text, "leave nothing of pictures of")) fail_msg("%s", err.text);
            continue;
        }
        assert_int_equal(json_integer_value(json_object_get(config, "layers")), cases[i].layers);
        if (vn_net_open_row(&vn_discriminator_net, config, &net, &err)) fail_msg("%s", err.text);
        assert_int_equal(vn_weights_count(vn_net_weights(net)), 2 + 3 * cases[i].layers + 2);
        vn_net_close(&net);
        json_decref(config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_and_gradients_are_those_of_pytorch),
        cmocka_unit_test(small_pictures_have_fewer_layers),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
