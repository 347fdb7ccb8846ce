/* Guides that keep predictions from step to step, each against its recursion written out in double:
 * in runs whose steps have one prediction and in runs whose steps have two, of which the first
 * counts; and what they keep is forgotten with the run and where it goes back to more noise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bench.h"
#include "support_formulas.h"

enum { STEPS = 5, BACK = 3 }; /* the run goes back to more noise before step BACK */

/* The states and levels at which a run asks: prediction k of step s. */
static void state_of(int s, int k, float *at, vn_level *l) {
    for (int i = 0; i < N; i++)
        vn_random_normal(at + i * D, D, 5, VN_STREAM_TEST, (uint64_t)i, (uint64_t)(10 * s + k));
    *l = vn_path_level(path, 0.9 - 0.1 * s - 0.05 * k);
}

typedef void each_prediction(int s, int k, const vn_level *l, const float *at, const rows *got);

/* Two runs of one list, of which the second has to be as the first, whatever that has kept. */
static void drive(const char *list, double gamma, int again, each_prediction *each) {
    vn_guidance *g = open_guides(list, gamma, &denoiser, N);
    vn_err err;
    for (int round = 0; round < 2; round++) {
        vn_guidance_begin(g, N, 0, labels);
        for (int s = 0; s < STEPS; s++) {
            vn_guidance_step(g, s, STEPS, s >= BACK, &next);
            for (int k = 0; k <= again; k++) {
                float at[F];
                vn_level l;
                rows got;
                state_of(s, k, at, &l);
                assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = at, .level = &l},
                                                     pair_of(&got), &err),
                                 VN_OK);
                each(s, k, &l, at, &got);
            }
        }
    }
    vn_guidance_close(&g);
}

static bool begins(int s) {
    return s == 0 || s == BACK;
}

static rows cfg_at(double gamma, const float *at, const vn_level *l) {
    const rows c = ask_at(VN_NETWORK_MAIN, labels, at, l), u = ask_at(VN_NETWORK_MAIN, none, at, l);
    return mix(&u, &c, gamma);
}

/* want.x0 is given, at a state. */
static void compare(const char *what, const vn_level *l, const float *at, const rows *got,
                    rows *want) {
    for (int i = 0; i < F; i++)
        want->eps[i] = (float)(((double)at[i] - l->alpha * (double)want->x0[i]) / l->sigma);
    near(what, F, got->x0, want->x0, 2 * TOLERANCE);
    near(what, F, got->eps, want->eps, 2 * TOLERANCE);
}

/* ---- momentum -------------------------------------------------------------------------------- */

/* By the length of (dalpha, dsigma). */
static double speed(const vn_level *l) {
    return hypot(l->dalpha, l->dsigma);
}

static void check_momentum(int s, int k, const vn_level *l, const float *at, const rows *got) {
    static double mean[F], first[F];
    const rows p = cfg_at(2, at, l);
    rows want = p;
    for (int i = 0; i < F; i++) {
        const double v = (l->dalpha * (double)p.x0[i] + l->dsigma * (double)p.eps[i]) / speed(l);
        if (k == 0) {
            mean[i] = s == 1 || s == BACK + 1 ? first[i] : 0.7 * mean[i] + 0.3 * first[i];
            first[i] = v;
        }
        /* v = dalpha x0 + dsigma (x - alpha x0)/sigma, so x0 by v: */
        const double per = (l->dalpha - l->dsigma * l->alpha / l->sigma) / speed(l);
        if (!begins(s)) want.x0[i] = (float)((double)p.x0[i] + 0.8 * (v - mean[i]) / per);
    }
    compare("momentum", l, at, got, &want);
}

static void momentum_leaves_the_average_behind(void **state) {
    (void)state;
    drive("cfg,momentum:alpha=0.8,beta=0.7", 2, 0, check_momentum);
    drive("cfg,momentum:alpha=0.8,beta=0.7", 2, 1, check_momentum);
    refused("momentum:alpha=0", 2, &denoiser, "momentum: alpha=0 has no effect");
    refused("momentum:beta=1", 2, &denoiser, "beta=1 is outside");
}

/* ---- HiGS ------------------------------------------------------------------------------------ */

/* mean <- 0.6 mean + 0.4 p. Returns the average that prediction (s, k) sees. */
static const double *average_of(int s, int k, const rows *p) {
    static double mean[F], first[F];
    for (int i = 0; i < F && k == 0; i++) {
        mean[i] = s == 1 || s == BACK + 1 ? first[i] : 0.6 * mean[i] + 0.4 * first[i];
        first[i] = (double)p->x0[i];
    }
    return mean;
}

static void check_higs(int s, int k, const vn_level *l, const float *at, const rows *got) {
    const rows p = cfg_at(2, at, l);
    const double *mean = average_of(s, k, &p);
    rows want = p;
    for (int i = 0; i < F && !begins(s) && l->t >= 0.5; i += D) {
        double d[D], dp = 0, pp = 0;
        for (int j = 0; j < D; j++) {
            const double x0 = (double)p.x0[i + j];
            d[j] = x0 - mean[i + j];
            dp += d[j] * x0;
            pp += x0 * x0;
        }
        for (int j = 0; j < D; j++)
            want.x0[i + j] =
                (float)((double)p.x0[i + j] + 1.5 * (d[j] - 0.75 * dp / pp * (double)p.x0[i + j]));
    }
    compare("higs", l, at, got, &want);
}

static void higs_strengthens_what_is_new(void **state) {
    (void)state;
    drive("cfg,higs:scale=1.5,new=0.4,along=0.25,from=0.5", 2, 0, check_higs);
    drive("cfg,higs:scale=1.5,new=0.4,along=0.25,from=0.5", 2, 1, check_higs);
    refused("higs:scale=0", 2, &denoiser, "higs: scale=0 has no effect");
    refused("higs:from=0.9,to=0.5", 2, &denoiser, "higs: from=0.9 is not below to=0.5");
    refused("higs:cut=0.1", 2, &denoiser, "higs: cut has no effect: points have no frequencies");
}

/* A channel of 4 x 3 of a parrot, whose high frequencies are by all cosines, of which those
 * below the cut are left out. */
static void higs_adds_high_frequencies(void **state) {
    (void)state;
    enum { H = 4, W = 3, SIZE = 2 * H * W };
    float first[SIZE], second[SIZE], at[SIZE], x0[SIZE], eps[SIZE], want[SIZE];
    const double pi = acos(-1.0), cut = 0.6;
    const int32_t one[1] = {0};
    vn_err err;
    vn_random_normal(first, SIZE, 6, VN_STREAM_TEST, 0, 0);
    vn_random_normal(second, SIZE, 6, VN_STREAM_TEST, 0, 1);
    vn_random_normal(at, SIZE, 6, VN_STREAM_TEST, 0, 2);
    parrot p = {.n = 1, .size = SIZE, .raw = {first}};
    vn_denoiser d = parrot_denoiser(&p, path, "x0");
    d.sample = VN_SHAPE(2, H, W);
    vn_guidance *g = open_guides("higs:scale=3,cut=0.6,along=1,from=0,to=1", 1, &d, 1);
    vn_guidance_begin(g, 1, 0, one);
    for (int s = 0; s < 2; s++) {
        p.raw[0] = s ? second : first;
        vn_guidance_step(g, s, 2, 0, &next);
        assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = at, .level = &level},
                                             (vn_estimate){x0, eps}, &err),
                         VN_OK);
    }
    vn_guidance_close(&g);
    memcpy(want, second, sizeof want);
    int low = 0;
    for (int c = 0; c < 2; c++)
        for (int k = 0; k < H; k++)
            for (int l = 0; l < W; l++) {
                double wave[H * W], sum = 0, norm = 0;
                if (hypot((double)k / H, (double)l / W) < cut) {
                    low++;
                    continue;
                }
                for (int i = 0; i < H * W; i++) {
                    wave[i] = cos((i / W + 0.5) * k * pi / H) * cos((i % W + 0.5) * l * pi / W);
                    const int j = c * H * W + i;
                    sum += wave[i] * ((double)second[j] - (double)first[j]);
                    norm += wave[i] * wave[i];
                }
                for (int i = 0; i < H * W; i++)
                    want[c * H * W + i] += (float)(3 * sum / norm * wave[i]);
            }
    assert_int_equal(low, 2 * 5); /* 0,0 0,1 1,0 1,1 and 2,0 of each channel */
    near("high frequencies", SIZE, x0, want, 2 * TOLERANCE);
}

/* ---- sliding mode ---------------------------------------------------------------------------- */

static void check_smc(int s, int k, const vn_level *l, const float *at, const rows *got) {
    static double before[F], last[F];
    const rows c = ask_at(VN_NETWORK_MAIN, labels, at, l), u = ask_at(VN_NETWORK_MAIN, none, at, l);
    const double per = (l->dalpha - l->dsigma * l->alpha / l->sigma) / speed(l); /* dv/dx0 */
    rows want = c;
    for (int i = 0; i < F; i++) {
        const double d = per * ((double)c.x0[i] - (double)u.x0[i]);
        if (k == 0) {
            before[i] = begins(s) ? 0 : last[i];
            last[i] = d;
        }
        const double slide = d - before[i] + 3 * before[i];
        /* no number is so near 0 that its rounding could change its sign */
        assert_true(labels[i / D] == VN_CONDITION_NULL || fabs(slide) > 1e-6);
        const double less = 0.1 / sqrt(2) * (slide > 0 ? 1 : -1);
        if (labels[i / D] != VN_CONDITION_NULL)
            want.x0[i] = (float)((double)u.x0[i] + 2 * (d - less) / per);
    }
    compare("smc", l, at, got, &want);
}

static void smc_drives_the_delta_to_nothing(void **state) {
    (void)state;
    drive("smc:lambda=3,k=0.1", 2, 0, check_smc);
    drive("smc:lambda=3,k=0.1", 2, 1, check_smc);
    refused("smc:k=0", 2, &denoiser, "k=0 is outside");
}

/* ---- without steps --------------------------------------------------------------------------- */

static void a_guided_teacher_has_no_steps(void **state) {
    (void)state;
    static const char *const lists[] = {"cfg,momentum", "cfg,higs", "smc"};
    for (size_t k = 0; k < VN_COUNT(lists); k++) {
        vn_denoiser teacher;
        vn_err err;
        const vn_guidance_options o = {
            .guide = lists[k], .gamma = 2, .denoiser = &denoiser, .capacity = N};
        assert_int_equal(vn_guided_denoiser(&o, &teacher, &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, "needs a sampler that makes one step after another"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(momentum_leaves_the_average_behind),
        cmocka_unit_test(higs_strengthens_what_is_new),
        cmocka_unit_test(higs_adds_high_frequencies),
        cmocka_unit_test(smc_drives_the_delta_to_nothing),
        cmocka_unit_test(a_guided_teacher_has_no_steps),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
