/* Rules that measure lengths and angles of the predictions, each against its formula written out in
 * double on the exact answers of a world, and where it is another rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support_formulas.h"

static double dot(const float *a, const float *b) {
    double sum = 0;
    for (int j = 0; j < D; j++) sum += (double)a[j] * (double)b[j];
    return sum;
}

/* The eps that belongs to an x0. */
static void eps_of(const float *x0, float *eps) {
    for (int i = 0; i < F; i++)
        eps[i] = (float)(((double)x[i] - level.alpha * (double)x0[i]) / level.sigma);
}

static void same_x0(const char *what, const rows *got, const float *want) {
    rows all;
    memcpy(all.x0, want, sizeof all.x0);
    eps_of(want, all.eps);
    same_rows(what, got, &all);
    consistent(what, got);
}

/* ---- within a length ------------------------------------------------------------------------- */

static void pmc_stops_where_x0_is_long_enough(void **state) {
    (void)state;
    rows got, c = ask(labels), u = ask(none), cfg = mix(&u, &c, 3);
    float want[F];
    int held = 0;
    assert_true(run("pmc:growth=2", 3, &got) == 2);
    for (int i = 0; i < N; i++) {
        float d[D];
        for (int j = 0; j < D; j++) d[j] = c.x0[i * D + j] - u.x0[i * D + j];
        const double a = dot(d, d), b = dot(c.x0 + i * D, d), q = dot(c.x0 + i * D, c.x0 + i * D);
        double beta = 2; /* the largest that is not too long, by halving */
        if (a * beta * beta + 2 * b * beta > 3 * q) {
            double low = 0, high = 2;
            for (int k = 0; k < 60; k++) {
                beta = (low + high) / 2;
                *(a * beta * beta + 2 * b * beta > 3 * q ? &high : &low) = beta;
            }
            held++;
        }
        for (int j = 0; j < D; j++)
            want[i * D + j] = (float)((double)c.x0[i * D + j] + beta * (double)d[j]);
    }
    if (held < 1 || held >= N - 1) fail_msg("%d held", held);
    same_x0("pmc", &got, want);
    run("pmc:growth=100", 3, &got);
    same_rows("pmc without a limit is cfg", &got, &cfg);
    run("pmc:growth=2", 0.5, &got);
    cfg = mix(&u, &c, 0.5);
    same_rows("pmc below 1 is cfg", &got, &cfg);
    refused("pmc:growth=0.9", 2, &denoiser, "growth=0.9 is outside [1, 100]");
}

/* The velocity by its definition, dx/dt: a length has no other measure in it. */
static void velocity_of(const rows *r, float *v) {
    for (int i = 0; i < F; i++)
        v[i] = (float)(level.dalpha * (double)r->x0[i] + level.dsigma * (double)r->eps[i]);
}

static void renorm_shortens_the_velocity(void **state) {
    (void)state;
    rows got, c = ask(labels), u = ask(none), cfg = mix(&u, &c, 4);
    float of_c[F], of_p[F], of_got[F];
    int shortened = 0;
    assert_true(run("cfg,renorm:rho=2.6", 4, &got) == 2);
    velocity_of(&c, of_c);
    velocity_of(&cfg, of_p);
    velocity_of(&got, of_got);
    for (int i = 0; i < F; i += D) {
        const double k = 2.6 * sqrt(dot(of_c + i, of_c + i) / dot(of_p + i, of_p + i));
        shortened += k < 1;
        for (int j = i; j < i + D; j++) of_p[j] = (float)(fmin(1, k) * (double)of_p[j]);
    }
    if (shortened < 1 || shortened >= N - 1) fail_msg("%d shortened", shortened);
    near("renorm", F, of_got, of_p, 4 * TOLERANCE); /* the velocity is a difference of the two */
    consistent("renorm", &got);
    run("cfg,renorm:rho=1000", 4, &got);
    same_rows("renorm without a limit is cfg", &got, &cfg);
    run("cfg,renorm", 1, &got);
    assert_memory_equal(&got, &c, sizeof c);
}

/* ---- angles ---------------------------------------------------------------------------------- */

static void adg_turns_x0(void **state) {
    (void)state;
    rows got, c = ask(labels), u = ask(none);
    float want[F];
    const double third = acos(-1.0) / 3;
    int at_most = 0;
    assert_true(run("adg", 2.2, &got) == 2);
    for (int i = 0; i < F; i += D) {
        const float *a = c.x0 + i, *b = u.x0 + i;
        const double theta = acos(fmin(1, dot(a, b) / sqrt(dot(a, a) * dot(b, b)))),
                     turn = fmin(1.2 * theta, third), along = dot(a, b) / dot(b, b);
        at_most += 1.2 * theta > third;
        for (int j = 0; j < D; j++)
            want[i + j] =
                (float)(labels[i / D] == VN_CONDITION_NULL
                            ? (double)a[j]
                            : cos(turn) * (double)a[j] +
                                  sin(turn) / sin(theta) * ((double)a[j] - along * (double)b[j]));
    }
    if (at_most < 1 || at_most >= N - 1) fail_msg("%d turned as far as they may", at_most);
    same_x0("adg", &got, want);
    run("adg", 1, &got);
    assert_memory_equal(&got, &c, sizeof c);
}

/* Where c and u are parallel, and of different lengths, x0 stays c: CFG would lengthen it. */
static void adg_does_not_lengthen(void **state) {
    (void)state;
    float of_c[F], of_u[F];
    rows got;
    for (int i = 0; i < F; i++) {
        of_c[i] = 1.5f * x[i];
        of_u[i] = x[i];
    }
    parrot p = {.n = N, .size = D, .raw = {of_c, of_c, of_c, of_c, of_u}};
    const vn_denoiser d = parrot_denoiser(&p, path, "x0");
    static const int32_t all[N] = {0, 1, 2, 0, 0, 1};
    guided("adg", 3, &d, N, all, x, &level, &next, pair_of(&got));
    same_x0("adg of parallel", &got, of_c);
}

/* The step's way is split as the paper has it, on two paths, also from pure noise. */
static void tag_lengthens_the_way_across(void **state) {
    (void)state;
    static const struct {
        const char *path;
        double from, to;
    } steps[] = {{"vp", 0.5, 0.4}, {"rectified", 1, 0.9}, {"rectified", 0.3, 0.2}};
    for (size_t k = 0; k < VN_COUNT(steps); k++) {
        bench b = bench_open(formulas_world, steps[k].path, "v");
        const vn_level from = vn_path_level(b.path, steps[k].from),
                       to = vn_path_level(b.path, steps[k].to);
        rows plain, got;
        float way[F], want[F];
        guided("cfg", 2, &b.denoiser, N, labels, x, &from, &to, pair_of(&plain));
        guided("cfg,tag:by=1.3", 2, &b.denoiser, N, labels, x, &from, &to, pair_of(&got));
        for (int i = 0; i < F; i++)
            way[i] = (float)(to.alpha * (double)plain.x0[i] + to.sigma * (double)plain.eps[i] -
                             (double)x[i]);
        for (int i = 0; i < F; i += D) {
            const double along = dot(way + i, x + i) / dot(x + i, x + i);
            for (int j = i; j < i + D; j++)
                want[j] = (float)((double)x[j] + along * (double)x[j] +
                                  1.3 * ((double)way[j] - along * (double)x[j]));
        }
        for (int i = 0; i < F; i++)
            way[i] = (float)(to.alpha * (double)got.x0[i] + to.sigma * (double)got.eps[i]);
        near("tag", F, way, want, TOLERANCE);
        bench_close(&b);
    }
    refused("cfg,tag:by=1", 2, &denoiser, "tag: by=1 has no effect");
}

/* ---- lengths of the delta -------------------------------------------------------------------- */

static void power_law_follows_the_length_of_the_delta(void **state) {
    (void)state;
    rows got, want, c = ask(labels), u = ask(none), cfg = mix(&u, &c, 3);
    assert_true(run("power-law:alpha=0.7", 3, &got) == 2);
    for (int i = 0; i < F; i += D) {
        float d[D];
        for (int j = 0; j < D; j++) d[j] = c.eps[i + j] - u.eps[i + j];
        const double power = dot(d, d) > 0 ? pow(sqrt(dot(d, d)), 0.7) : 0;
        for (int j = 0; j < D; j++) {
            want.eps[i + j] = (float)((double)c.eps[i + j] + 2 * power * (double)d[j]);
            want.x0[i + j] = (float)((double)c.x0[i + j] +
                                     2 * power * ((double)c.x0[i + j] - (double)u.x0[i + j]));
        }
    }
    same_rows("power-law", &got, &want);
    run("power-law:alpha=1e-9", 3, &got);
    same_rows("power-law near 0 is cfg", &got, &cfg);
    refused("power-law:alpha=0", 2, &denoiser, "power-law: alpha=0 is cfg");
}

/* ---- less noise ------------------------------------------------------------------------------ */

static void epsilon_is_divided(void **state) {
    (void)state;
    rows got, want, c = ask(labels), u = ask(none), cfg = mix(&u, &c, 2);
    assert_true(run("cfg,epsilon-scaling:by=1.02", 2, &got) == 2);
    for (int i = 0; i < F; i++) {
        want.eps[i] = (float)((double)cfg.eps[i] / 1.02);
        want.x0[i] = (float)(((double)x[i] - level.sigma * (double)want.eps[i]) / level.alpha);
    }
    near("epsilon-scaling", F, got.eps, want.eps, TOLERANCE);
    near("x0 by scaled eps", F, got.x0, want.x0, 2 * TOLERANCE); /* x less alpha x0, by sigma */
    consistent("epsilon-scaling", &got);
    refused("epsilon-scaling:by=1", 2, &denoiser, "by=1 has no effect");
    bench flow = bench_open(formulas_world, "rectified", "v");
    refused("cfg,epsilon-scaling", 2, &flow.denoiser,
            "epsilon-scaling: the path rectified begins at pure noise");
    bench_close(&flow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pmc_stops_where_x0_is_long_enough),
        cmocka_unit_test(renorm_shortens_the_velocity),
        cmocka_unit_test(adg_turns_x0),
        cmocka_unit_test(adg_does_not_lengthen),
        cmocka_unit_test(tag_lengthens_the_way_across),
        cmocka_unit_test(power_law_follows_the_length_of_the_delta),
        cmocka_unit_test(epsilon_is_divided),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
