/* Feedback guidance against the recursion of its log posterior, written out in double as its paper
 * has it on sigma/alpha; and that it follows what a sampler's kernel has drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support/bound.h"
#include "support_formulas.h"

enum { STEPS = 12 };
static vn_level levels[STEPS + 1];

static void fill_levels(const vn_path *of) {
    for (int k = 0; k < STEPS; k++) levels[k] = vn_path_level(of, 1 - (double)k / STEPS);
    levels[STEPS] = vn_level_clean;
}

/* r of a step. */
static double kept(int k) {
    const double to = vn_level_ratio(&levels[k + 1]), from = vn_level_ratio(&levels[k]);
    return to * to / (from * from);
}

static double variance(int k) {
    const double to = vn_level_ratio(&levels[k + 1]);
    return to * to * (1 - kept(k));
}

typedef struct run_of {
    float x[F];
    rows c, u;
    double posterior[N]; /* its log */
} run_of;

/* The kernel's draw of step k under half of c and half of u, and then the posterior after it. */
static void draw(int k, run_of *r, double pi, double most) {
    const vn_level *from = &levels[k], *to = &levels[k + 1];
    const double delta = log((1 - pi) * 1.5) / (0.5 * STEPS);
    const double tau = fabs(2 * variance((int)lround(0.6 * (STEPS - 1))) * delta / 10);
    float z[F];
    for (int i = 0; i < N; i++)
        vn_random_normal(z + i * D, D, 9, VN_STREAM_TEST, (uint64_t)i, (uint64_t)k);
    for (int i = 0; i < N; i++) {
        double under_c = 0, under_u = 0;
        for (int j = i * D; j < (i + 1) * D; j++) {
            const double y = (double)r->x[j] / from->alpha, c = (double)r->c.x0[j],
                         u = (double)r->u.x0[j], own = kept(k) * y, rest = 1 - kept(k);
            const double drawn = own + rest * (c + u) / 2 + sqrt(variance(k)) * (double)z[j];
            r->x[j] = (float)(to->alpha * drawn);
            const double at = (double)r->x[j] / to->alpha;
            under_c += (at - own - rest * c) * (at - own - rest * c);
            under_u += (at - own - rest * u) * (at - own - rest * u);
        }
        const double l = r->posterior[i] - tau / (2 * variance(k)) * (under_c - under_u) + delta;
        r->posterior[i] = fmin(fmax(l, log((1 - pi) * most / (most - 1))), 3);
    }
}

static void the_log_posterior_is_followed(void **state) {
    (void)state;
    static const double pi = 0.9, most = 6;
    fill_levels(path);
    int inside = 0;
    for (int again = 0; again < 2; again++) { /* a run, and a run whose steps predict twice */
        run_of r = {.posterior = {0}};
        vn_guidance *g = open_guides("fbg:pi=0.9", most, &denoiser, N);
        vn_err err;
        memcpy(r.x, x, sizeof r.x);
        vn_guidance_set_levels(g, levels);
        vn_guidance_begin(g, N, 0, labels);
        for (int k = 0; k < STEPS - 1; k++) {
            rows got, want;
            r.c = ask_at(VN_NETWORK_MAIN, labels, r.x, &levels[k]);
            r.u = ask_at(VN_NETWORK_MAIN, none, r.x, &levels[k]);
            vn_guidance_step(g, k, STEPS, 0, &levels[k + 1]);
            for (int m = 0; m <= again; m++)
                assert_int_equal(vn_guidance_predict(g,
                                                     &(vn_request){.x = r.x, .level = &levels[k]},
                                                     pair_of(&got), &err),
                                 VN_OK);
            for (int i = 0; i < F; i++) {
                const double e = exp(r.posterior[i / D]), lambda = e / (e - (1 - pi));
                inside += lambda > 1.2 && lambda < most - 0.2;
                want.x0[i] =
                    (float)((double)r.u.x0[i] + lambda * ((double)r.c.x0[i] - (double)r.u.x0[i]));
                want.eps[i] = (float)((double)r.u.eps[i] +
                                      lambda * ((double)r.c.eps[i] - (double)r.u.eps[i]));
            }
            near("fbg", F, got.x0, want.x0, TOLERANCE);
            near("fbg", F, got.eps, want.eps, TOLERANCE);
            draw(k, &r, pi, most);
        }
        vn_guidance_close(&g);
    }
    if (inside < N) fail_msg("lambda is between its limits %d times", inside);
}

/* Where the drawn states are those of u, guidance is stronger than where they are those of c. */
static double strength_after(const int32_t *drawn_by) {
    vn_guidance *g = open_guides("fbg:t1=0.8", 10, &denoiser, N);
    vn_err err;
    float at[F];
    rows got;
    double sum = 0;
    fill_levels(path);
    memcpy(at, x, sizeof at);
    vn_guidance_set_levels(g, levels);
    vn_guidance_begin(g, N, 0, labels);
    for (int k = 0; k < STEPS - 1; k++) {
        const rows by = ask_at(VN_NETWORK_MAIN, drawn_by, at, &levels[k]),
                   c = ask_at(VN_NETWORK_MAIN, labels, at, &levels[k]),
                   u = ask_at(VN_NETWORK_MAIN, none, at, &levels[k]);
        vn_guidance_step(g, k, STEPS, 0, &levels[k + 1]);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = at, .level = &levels[k]},
                                             pair_of(&got), &err),
                         VN_OK);
        double moved = 0, delta = 0;
        for (int i = 0; i < F; i++) {
            moved += fabs((double)got.x0[i] - (double)u.x0[i]);
            delta += fabs((double)c.x0[i] - (double)u.x0[i]);
        }
        sum += moved / delta;
        for (int i = 0; i < F; i++) /* the mean of the kernel */
            at[i] = (float)(levels[k + 1].alpha * (kept(k) * (double)at[i] / levels[k].alpha +
                                                   (1 - kept(k)) * (double)by.x0[i]));
    }
    vn_guidance_close(&g);
    return sum / (STEPS - 1);
}

static void samples_off_their_condition_are_guided_more(void **state) {
    (void)state;
    const double of_c = strength_after(labels), of_u = strength_after(none);
    if (!(of_u > of_c + 0.05)) fail_msg("%g after states of u, %g after those of c", of_u, of_c);
}

static void limits_are_other_rules(void **state) {
    (void)state;
    rows got, c = ask(labels), u = ask(none), want = mix(&u, &c, 0.7);
    run("fbg", 0.7, &got); /* nothing to bound: cfg */
    same_rows("fbg below 1", &got, &want);
    run("fbg", 1, &got);
    assert_memory_equal(&got, &c, sizeof c);
    run("fbg:pi=0.8", 1.1, &got); /* 1/pi is more than G */
    want = mix(&u, &c, 1.1);
    same_rows("fbg at its limit", &got, &want);
    run("fbg:pi=0.8", 5, &got); /* nothing is known at first: 1/pi */
    want = mix(&u, &c, 1.25);
    same_rows("fbg at first", &got, &want);
    vn_guidance *g = open_guides("fbg", 3, &denoiser, N);
    vn_err err;
    assert_int_equal(vn_guidance_check_sampler(g, "ddim", VN_NEEDS_STEPS | VN_NEEDS_ROUTE, &err),
                     VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "the guide fbg needs a sampler that follows the reverse SDE"));
    vn_guidance_close(&g);
    refused("fbg:pi=0.2", 3, &denoiser, "pi=0.2 is outside");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_posterior_is_followed),
        cmocka_unit_test(samples_off_their_condition_are_guided_more),
        cmocka_unit_test(limits_are_other_rules),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
