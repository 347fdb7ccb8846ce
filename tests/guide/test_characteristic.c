/* Characteristic guidance is held to the tilted density p(x|y)^G p(x)^(1-G): where both are
 * Gaussians its x0 is that of the tilt, at every level, on paths of three kinds, which CFG's is
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support/bound.h"
#include "support_rules.h"

enum { N = 3, D = 2, F = N * D };

/* p(x|c) = N(0, 1) and p(x) = N(0, 2); and N(mu, 1) beside it. */
static const char spread[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 1}]}],"
    " \"unconditional\": [{\"mean\": [0, 0], \"std\": 1.4142135623730951}]}";
static const char moved[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0.6, -0.4], \"std\": 1}]}],"
    " \"unconditional\": [{\"mean\": [0, 0], \"std\": 1.4142135623730951}]}";
static const char *const paths[] = {"ve", "vp", "rectified"};
static const int32_t labels[N] = {0, 0, 0};

static void states(const vn_level *l, float x[F]) {
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    for (int i = 0; i < F; i++) x[i] *= (float)hypot(l->alpha, l->sigma);
}

/* The x0 of the tilt N(m, v) at a state, with 1/v = G + (1 - G)/2 and m/v = G mu. */
static double tilted(double gamma, double mu, const vn_level *l, double x) {
    const double v = 1 / (gamma + (1 - gamma) / 2), m = v * gamma * mu, a = l->alpha, s = l->sigma;
    return m + a * v * (x - a * m) / (a * a * v + s * s);
}

/* The largest error against the tilt, in the deviation of the data. */
static double error_at(const bench *b, const char *list, double gamma, const double mu[D],
                       double t) {
    const vn_level l = vn_path_level(b->path, t), next = vn_path_level(b->path, t / 2);
    float x[F], x0[F], eps[F];
    double most = 0;
    states(&l, x);
    guided(list, gamma, &b->denoiser, N, labels, x, &l, &next, (vn_estimate){x0, eps});
    for (int i = 0; i < F; i++) {
        most = fmax(most, fabs((double)x0[i] - tilted(gamma, mu[i % D], &l, (double)x[i])));
        const double back = l.alpha * (double)x0[i] + l.sigma * (double)eps[i];
        expect_below("x again", fabs(back - (double)x[i]) / hypot(l.alpha, l.sigma), 4e-6);
    }
    return most;
}

static void gaussians_are_tilted(void **state) {
    (void)state;
    static const double zero[D] = {0, 0}, gammas[] = {1.5, 2, 3, 5}, times[] = {0.9, 0.6, 0.3, 0.1};
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(spread, paths[p], "x0");
        double of_cfg = 0;
        for (size_t k = 0; k < VN_COUNT(gammas) * VN_COUNT(times); k++) {
            const double gamma = gammas[k / VN_COUNT(times)], t = times[k % VN_COUNT(times)];
            /* a secant divides by a change of x0 that is (alpha/sigma)^2 of it at high noise: the
             * roundings of float32 are as much larger there */
            const vn_level l = vn_path_level(b.path, t);
            const double ratio = vn_level_ratio(&l);
            expect_below_as(error_at(&b, "characteristic", gamma, zero, t),
                            4e-6 * (1 + ratio * ratio), "tilt, %s", paths[p]);
            of_cfg = fmax(of_cfg, error_at(&b, "cfg", gamma, zero, t));
        }
        assert_true(of_cfg > 0.1);
        bench_close(&b);
    }
}

/* Means too: the points may then have to go farther than x is long. */
static void means_are_tilted(void **state) {
    (void)state;
    static const double mu[D] = {0.6, -0.4};
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(moved, paths[p], "x0");
        const double far = error_at(&b, "characteristic:reach=100", 3, mu, 0.7),
                     cfg = error_at(&b, "cfg", 3, mu, 0.7);
        expect_below_as(far, 2e-6, "tilt of means, %s", paths[p]);
        assert_true(cfg > 0.05);
        bench_close(&b);
    }
}

/* So what is drawn is the tilt: the variance at the end of the ODE is 2/(G + 1), where that of
 * CFG is 2^(1 - G). The ODE is linear, so one sample says it. */
static double variance_of(const bench *b, const char *list, double gamma) {
    enum { STEPS = 400 };
    const vn_level first = vn_path_level(b->path, 1);
    vn_guidance *g = open_guides(list, gamma, &b->denoiser, 1);
    vn_err err;
    float x[D] = {(float)first.sigma, (float)-first.sigma}, x0[D], eps[D];
    vn_guidance_begin(g, 1, 0, labels);
    for (int s = 0; s < STEPS; s++) {
        const vn_level from = vn_path_level(b->path, 1 - (double)s / STEPS),
                       to = s + 1 < STEPS ? vn_path_level(b->path, 1 - (s + 1.0) / STEPS)
                                          : vn_level_clean;
        vn_guidance_step(g, s, STEPS, 0, &to);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &from},
                                             (vn_estimate){x0, eps}, &err),
                         VN_OK);
        for (int i = 0; i < D; i++)
            x[i] = (float)(to.alpha * (double)x0[i] + to.sigma * (double)eps[i]);
    }
    vn_guidance_close(&g);
    return (double)x[0] * (double)x[0];
}

static void the_tilt_is_drawn(void **state) {
    (void)state;
    bench b = bench_open(spread, "ve", "x0");
    for (int gamma = 2; gamma <= 5; gamma++) {
        const double want = 2.0 / (gamma + 1), cfg = pow(2, 1 - gamma);
        expect_below("variance of the tilt",
                     fabs(variance_of(&b, "characteristic", gamma) / want - 1), 0.025);
        expect_below("variance by cfg", fabs(variance_of(&b, "cfg", gamma) / cfg - 1), 0.06);
        assert_true(cfg < 0.76 * want);
    }
    bench_close(&b);
}

/* One round more changes nothing where two are exact; one alone is nearer than CFG. */
static void rounds_lead_there(void **state) {
    (void)state;
    static const double zero[D] = {0, 0};
    bench b = bench_open(spread, "vp", "x0");
    const double none = error_at(&b, "cfg", 3, zero, 0.5),
                 one = error_at(&b, "characteristic:rounds=1", 3, zero, 0.5),
                 more = error_at(&b, "characteristic:rounds=4", 3, zero, 0.5);
    assert_true(one < none && one > 1e-3);
    expect_below("four rounds", more, 1e-6);
    const vn_level l = vn_path_level(b.path, 0.5);
    float x[F], x0[F], eps[F], of_cfg[F];
    states(&l, x);
    const vn_estimate out = {x0, eps};
    for (int rounds = 1; rounds <= 4; rounds++) {
        char list[40];
        snprintf(list, sizeof list, "characteristic:rounds=%d", rounds);
        assert_true(guided(list, 3, &b.denoiser, N, labels, x, &l, &l, out) == 2 + 2 * rounds);
    }
    /* points that may hardly move are x */
    guided("cfg", 3, &b.denoiser, N, labels, x, &l, &l, out);
    memcpy(of_cfg, x0, sizeof x0);
    guided("characteristic:reach=1e-6", 3, &b.denoiser, N, labels, x, &l, &l, out);
    near("cfg", F, x0, of_cfg, 2e-5);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussians_are_tilted),
        cmocka_unit_test(means_are_tilted),
        cmocka_unit_test(the_tilt_is_drawn),
        cmocka_unit_test(rounds_lead_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
