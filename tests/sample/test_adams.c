/* The arithmetic that multistep and exponential solvers share, and what their rows refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "sample/internal.h"
#include "support_trajectory.h"
#include "support/bound.h"

static void near(double got, double want, double tolerance) {
    expect_small(fabs(got - want), tolerance * fmax(fabs(want), 1));
}

/* int_0^1 e^{z (1 - tau)} tau^n dtau by Simpson's rule. */
static double integral(int n, double z) {
    enum { PARTS = 4000 };
    double sum = 0;
    for (int i = 0; i <= PARTS; i++) {
        const double tau = (double)i / PARTS;
        sum += (i == 0 || i == PARTS ? 1 : i % 2 ? 4 : 2) * exp(z * (1 - tau)) * pow(tau, n);
    }
    return sum / (3 * PARTS);
}

/* Measured: 4e-16, and 9e-13 of Simpson's rule. */
static void moments_are_integrals(void **state) {
    (void)state;
    static const double zs[] = {-30, -8,   -1.001, -1,    -0.999, -1e-3, -1e-12,
                                0,   1e-9, 0.4,    0.999, 1,      1.5,   6};
    for (size_t i = 0; i < VN_COUNT(zs); i++) {
        double moment[VN_MAX_PAST];
        near(vn_phi(0, zs[i]), exp(zs[i]), 1e-15);
        near(vn_phi(1, zs[i]), integral(0, zs[i]), 2e-12);
        vn_adams_moments(VN_MAX_PAST, zs[i], moment);
        for (int n = 1; n <= VN_MAX_PAST; n++) near(moment[n - 1], integral(n, zs[i]), 2e-12);
        for (int k = 0; k < 5; k++)
            near(zs[i] * vn_phi(k + 1, zs[i]) + 1 / tgamma(k + 1), vn_phi(k, zs[i]), 1e-15);
    }
    assert_true(vn_phi(1, -(double)INFINITY) == 0);
}

static void weights_meet_their_moments(void **state) {
    (void)state;
    static const double even[] = {-1, -2, -3}, uneven[] = {1, -0.3, -1.7, -2.1},
                        moment[] = {0.5, 1 / 3.0, 0.25, 0.7};
    static const double bashforth[] = {-59 / 24.0, 37 / 24.0, -9 / 24.0};
    double weight[VN_MAX_PAST];
    vn_adams_weights(3, even, moment, weight);
    for (int k = 0; k < 3; k++) near(weight[k], bashforth[k], 1e-15);
    for (int n = 1; n <= 4; n++) {
        vn_adams_weights(n, uneven, moment, weight);
        for (int i = 1; i <= n; i++) {
            double sum = 0;
            for (int k = 0; k < n; k++) sum += weight[k] * pow(uneven[k], i);
            near(sum, moment[i - 1], 1e-15);
        }
    }
}

static void nodes_at_infinity_have_no_say(void **state) {
    (void)state;
    const double past[] = {-2, -5, -(double)INFINITY};
    double node[3];
    assert_int_equal(vn_step_nodes(3, 1, 3, past, node), 2);
    near(node[0], -1.5, 0);
    near(node[1], -3, 0);
    assert_int_equal(vn_step_nodes(3, 1, (double)INFINITY, past, node), 0);
    assert_int_equal(vn_step_nodes(3, -(double)INFINITY, 1, past, node), 0);
}

static void orders_rise_and_fall(void **state) {
    (void)state;
    const vn_step begin = {.index = 5, .count = 20, .history = 1},
                  end = {.index = 18, .count = 20, .history = 9};
    assert_int_equal(vn_step_order(&begin, 3, true), 2);
    assert_int_equal(vn_step_order(&begin, 1, true), 1);
    assert_int_equal(vn_step_order(&end, 3, true), 2);
    assert_int_equal(vn_step_order(&end, 3, false), 3);
}

/* diffusers' first step out of pure noise knows no x0; with it the solver is the other one from
 * there on. */
static void ipndm_out_of_pure_noise(void **state) {
    (void)state;
    static const double sigmas[] = {1, 0.6, 0};
    const float noise[2] = {0.4f, -1.3f};
    float zero[2], both[2];
    double exact[4], work[64];
    vn_err err = {0};
    bench b = bench_open(bench_world, "rectified", "v");
    assert_in_range(vn_world_work(b.world), 0, VN_COUNT(work));
    vn_trajectory_options o = {
        .sampler = "ipndm:order=1", .sigmas = sigmas, .sigma_count = 3, .guidance = 1};
    assert_int_equal(bench_run(&b, o, 1, 0, 1, noise, zero, NULL, &err), VN_OK);
    o.sampler = "ipndm:order=1,start=both";
    assert_int_equal(bench_run(&b, o, 1, 0, 1, noise, both, NULL, &err), VN_OK);
    vn_world_denoise(b.world, VN_NETWORK_MAIN, 1, 0, 1, (double[]){0.4, -1.3}, exact, exact + 2,
                     work);
    const double mean[] = {exact[0], exact[1]}; /* of class 1 */
    for (int k = 0; k < 2; k++) {
        double x[2];
        for (int j = 0; j < 2; j++) x[j] = 0.4 * k * mean[j] + 0.6 * (double)noise[j];
        vn_world_denoise(b.world, VN_NETWORK_MAIN, 1, 0.4, 0.6, x, exact, exact + 2, work);
        /* measured: 7e-8 */
        for (int j = 0; j < 2; j++) near((double)(k ? both : zero)[j], exact[j], 1.5e-7);
    }
    bench_close(&b);
}

static void what_has_no_effect_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *path, *sampler, *word;
    } bad[] = {
        {"rectified", "dpmpp:order=1,solver=heun", "solver"},
        {"edm", "dpm:order=1,solver=midpoint", "solver"},
        {"vp", "dpmpp-s:order=1,solver=heun", "solver"},
        {"rectified", "dpmpp:order=4", "order"},
        {"edm", "ipndm:start=both", "start"},
        {"ddpm", "ipndm:start=noise", "start"},
        {"rectified", "res:order=1,form=singlestep", "form"},
        {"rectified", "res:order=4,form=singlestep", "order 4"},
        {"rectified", "unipc:order=5", "order"},
        {"rectified", "lms:order=0", "order"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        bench b = bench_open(bench_world, bad[i].path, "v");
        vn_trajectory *w;
        vn_err err = {0};
        const vn_trajectory_options o = {.denoiser = &b.denoiser,
                                         .sampler = bad[i].sampler,
                                         .steps = 5,
                                         .guidance = 1,
                                         .capacity = 1};
        assert_int_equal(vn_trajectory_open(&o, &w, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%s: %s", bad[i].sampler, err.text);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_integrals),
        cmocka_unit_test(weights_meet_their_moments),
        cmocka_unit_test(nodes_at_infinity_have_no_say),
        cmocka_unit_test(orders_rise_and_fall),
        cmocka_unit_test(ipndm_out_of_pure_noise),
        cmocka_unit_test(what_has_no_effect_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
