/* The rules that diffusers does not have, each against its formula written out in double on the
 * exact answers of a world; and the perturbed passes that rules with a hand inside the network will
 * ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "guide/internal.h"
#include "support/bound.h"
#include "support_formulas.h"

/* ---- other conditions ------------------------------------------------------------------------ */

static void negative_takes_the_place_of_null(void **state) {
    (void)state;
    rows got, c = ask(labels), n = ask_class(2), want = mix(&n, &c, 2.5);
    assert_true(run("negative:class=2", 2.5, &got) == 2);
    same_rows("negative", &got, &want);
    assert_true(run("negative:class=2", 0, &got) == 1);
    same_rows("negative alone", &got, &n);
    assert_true(run("negative:class=2", 1, &got) == 1);
    same_rows("none of it", &got, &c);
}

static void conditions_add_up(void **state) {
    (void)state;
    rows got, want, c = ask(labels), u = ask(none), a = ask_class(1), b = ask_class(2);
    assert_true(run("cfg,compose:class=1,weight=1.5,compose:class=2,weight=-0.5", 2, &got) == 4);
    for (int i = 0; i < F; i++) {
        want.x0[i] = u.x0[i] + 2 * (c.x0[i] - u.x0[i]) + 1.5f * (a.x0[i] - u.x0[i]) -
                     0.5f * (b.x0[i] - u.x0[i]);
        want.eps[i] = u.eps[i] + 2 * (c.eps[i] - u.eps[i]) + 1.5f * (a.eps[i] - u.eps[i]) -
                      0.5f * (b.eps[i] - u.eps[i]);
    }
    same_rows("compose", &got, &want);
    consistent("compose", &got);
}

/* In eps, as the paper has it; the sum of two negatives. */
static void check_perp_neg(void) {
    rows got, c = ask(labels), u = ask(none), n[2] = {ask_class(1), ask_class(2)};
    static const double w[2] = {1.5, 0.75};
    float want[F];
    assert_true(run("cfg,perp-neg:class=1,weight=1.5,perp-neg:class=2,weight=0.75", 3, &got) == 4);
    for (int i = 0; i < F; i += D) {
        double d[D], sum[D], dd = 0;
        for (int j = 0; j < D; j++) {
            d[j] = sum[j] = (double)c.eps[i + j] - (double)u.eps[i + j];
            dd += d[j] * d[j];
        }
        for (int k = 0; k < 2; k++) {
            double nd = 0;
            for (int j = 0; j < D; j++)
                nd += ((double)n[k].eps[i + j] - (double)u.eps[i + j]) * d[j];
            for (int j = 0; j < D; j++)
                sum[j] -= w[k] * ((double)n[k].eps[i + j] - (double)u.eps[i + j] -
                                  (dd > 0 ? nd / dd : 0) * d[j]);
        }
        for (int j = 0; j < D; j++) want[i + j] = (float)((double)u.eps[i + j] + 3 * sum[j]);
    }
    near("perp-neg", F, got.eps, want, TOLERANCE);
    consistent("perp-neg", &got);
    assert_true(run("cfg,perp-neg:class=1", 1, &got) == 1);
    same_rows("perp-neg at 1", &got, &c);
}

/* Near data the deltas of x0 are lost in x0, and those of eps count. */
static void only_what_is_perpendicular_is_taken(void **state) {
    (void)state;
    const vn_level keep = level;
    check_perp_neg();
    level = vn_path_level(path, 1e-4);
    check_perp_neg();
    level = keep;
}

static void weak_model_is_left_behind(void **state) {
    (void)state;
    rows got, c = ask(labels), weak = ask_at(VN_NETWORK_WEAK, labels, x, &level),
              want = mix(&weak, &c, 2.5);
    assert_true(run("autoguidance", 2.5, &got) == 2);
    same_rows("autoguidance", &got, &want);
    /* the sample without a condition too */
    assert_true(error_of(D, got.x0 + 3 * D, c.x0 + 3 * D) > 0.1);
    assert_true(run("autoguidance", 0, &got) == 1);
    same_rows("weak", &got, &weak);
}

/* ---- chance ---------------------------------------------------------------------------------- */

static void icg_draws_a_class_for_each_sample(void **state) {
    (void)state;
    int32_t drawn[N];
    rows got, want, r, c = ask(labels);
    for (int i = 0; i < N; i++)
        drawn[i] = labels[i] == VN_CONDITION_NULL
                       ? labels[i]
                       : (int32_t)(3 * vn_random_double(3, VN_STREAM_GUIDE, (uint64_t)i, 5));
    r = ask(drawn);
    want = mix(&r, &c, 2);
    assert_true(run("icg", 2, &got) == 2);
    same_rows("icg", &got, &want);
    int count[3] = {0, 0, 0};
    for (uint64_t i = 0; i < 3000; i++)
        count[(int)(3 * vn_random_double(3, VN_STREAM_GUIDE, i, 5))]++;
    for (int k = 0; k < 3; k++) assert_true(abs(count[k] - 1000) < 100); /* 4 deviations */
}

static void tsg_asks_at_a_wrong_time(void **state) {
    (void)state;
    float n;
    rows got, want, wrong, c = ask(labels);
    vn_random_normal(&n, 1, 3, VN_STREAM_GUIDE, 0, 5);
    const vn_level off = vn_path_level(path, 0.5 + 0.2 * pow(0.5, 2) * (double)n);
    assert_true(fabs(off.t - 0.5) > 1e-3);
    wrong = ask_at(VN_NETWORK_MAIN, labels, x, &off);
    want = mix(&wrong, &c, 3);
    assert_true(run("tsg:scale=0.2,power=2", 3, &got) == 2);
    near("tsg", F, got.x0, want.x0, TOLERANCE);
    consistent("tsg", &got);
    assert_true(run("tsg", 1, &got) == 1);
    same_rows("tsg at 1", &got, &c);
}

/* ---- x0 and eps apart, and two rounds -------------------------------------------------------- */

static void cfg_plus_plus_keeps_the_null_noise(void **state) {
    (void)state;
    rows got, c = ask(labels), u = ask(none), want = mix(&u, &c, 0.6);
    assert_true(run("cfg-plus-plus", 0.6, &got) == 2);
    near("x0", F, got.x0, want.x0, TOLERANCE);
    assert_memory_equal(got.eps, u.eps, sizeof u.eps);
    assert_true(run("cfg-plus-plus", 1, &got) == 2);
    near("x0 at 1", F, got.x0, c.x0, TOLERANCE);
    assert_memory_equal(got.eps, u.eps, sizeof u.eps);
    assert_true(run("cfg-plus-plus", 0, &got) == 1);
    assert_memory_equal(&got, &u, sizeof u);
}

/* v = alpha' x0 + sigma' eps by the length of (alpha', sigma'), on two paths; the predictor of the
 * rectified one is x + (t' - t) v. */
static void rectified_cfg_plus_plus_looks_ahead(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "vp"};
    for (int k = 0; k < 2; k++) {
        bench b = bench_open(formulas_world, paths[k], "v");
        const vn_denoiser d = b.denoiser;
        rows c, ca, ua, got;
        float ahead[F], v[F], want[F];
        const vn_level from = vn_path_level(b.path, 0.6), to = vn_path_level(b.path, 0.45);
        const double per = hypot(from.dalpha, from.dsigma) / hypot(to.dalpha, to.dsigma);
        unguided(&d, (vn_query){.n = N, .x = x, .condition = labels}, &from, pair_of(&c));
        for (int i = 0; i < F; i++)
            ahead[i] = (float)(to.alpha * (double)c.x0[i] + to.sigma * (double)c.eps[i]);
        for (int i = 0; i < F && k == 0; i++)
            expect_small(
                fabs((double)ahead[i] - ((double)x[i] - 0.15 * (double)(c.eps[i] - c.x0[i]))),
                1e-6);
        unguided(&d, (vn_query){.n = N, .x = ahead, .condition = labels}, &to, pair_of(&ca));
        unguided(&d, (vn_query){.n = N, .x = ahead, .condition = none}, &to, pair_of(&ua));
        for (int i = 0; i < F; i++)
            want[i] = (float)(from.dalpha * (double)c.x0[i] + from.dsigma * (double)c.eps[i] +
                              1.5 * per *
                                  (to.dalpha * (double)(ca.x0[i] - ua.x0[i]) +
                                   to.dsigma * (double)(ca.eps[i] - ua.eps[i])));
        assert_true(guided("rectified-cfg-plus-plus", 2.5, &d, N, labels, x, &from, &to,
                           pair_of(&got)) == 3);
        for (int i = 0; i < F; i++)
            v[i] = (float)(from.dalpha * (double)got.x0[i] + from.dsigma * (double)got.eps[i]);
        near(paths[k], F, v, want, TOLERANCE);
        for (int i = 0; i < F; i++)
            ahead[i] = (float)(from.alpha * (double)got.x0[i] + from.sigma * (double)got.eps[i]);
        near("x again", F, ahead, x, TOLERANCE);
        assert_true(guided("rectified-cfg-plus-plus", 2.5, &d, N, labels, x, &from, &vn_level_clean,
                           pair_of(&got)) == 1);
        assert_memory_equal(&got, &c, sizeof c); /* the last step */
        assert_true(
            guided("rectified-cfg-plus-plus", 1, &d, N, labels, x, &from, &to, pair_of(&got)) == 1);
        assert_memory_equal(&got, &c, sizeof c);
        bench_close(&b);
    }
}

/* ---- the first steps of CFG-Zero* ------------------------------------------------------------ */

static double zero_star_passes(int step, int steps, const int32_t *condition, rows *out) {
    return guided_at("cfg-zero-star:zero=0.1", 3, &denoiser, N, condition, x, &level, &next, step,
                     steps, pair_of(out));
}

static void first_steps_stand_still(void **state) {
    (void)state;
    static const int32_t all[N] = {0, 1, 2, 2, 1, 0};
    rows got, c = ask(labels);
    assert_true(zero_star_passes(2, 20, all, &got) == 2); /* steps 0 and 1 of 20 */
    for (int step = 0; step < 2; step++) {
        assert_true(zero_star_passes(step, 20, all, &got) == 0);
        for (int i = 0; i < F; i++)
            expect_small(fabs(level.dalpha * (double)got.x0[i] + level.dsigma * (double)got.eps[i]),
                         1e-6);
        consistent("still", &got);
    }
    assert_true(zero_star_passes(0, 20, labels, &got) == 1);
    /* without a condition: as always */
    assert_memory_equal(got.x0 + 3 * D, c.x0 + 3 * D, D * sizeof(float));
    expect_small(fabs(level.dalpha * (double)got.x0[0] + level.dsigma * (double)got.eps[0]), 1e-6);
}

/* ---- schedules ------------------------------------------------------------------------------- */

static double strength(const char *list, double gamma, double t) {
    vn_choice c;
    vn_err err;
    const vn_level l = {.t = t};
    assert_int_equal(vn_choice_parse(list, &vn_guides, &c, &err), VN_OK);
    return ((const vn_guide_row *)c.row)->strength(&c, &(vn_guide_at){.level = &l}, gamma);
}

static void beta_schedule_is_the_density(void **state) {
    (void)state;
    double sum = 0;
    for (int i = 0; i < 1000; i++)
        sum += strength("schedule:shape=beta,a=2.5,b=4", 3, (i + 0.5) / 1000) / 1000;
    expect_small(fabs(sum - 3), 1e-4);
    /* a = 2, b = 3 */
    expect_small(fabs(strength("schedule:shape=beta", 2, 0.75) - 2 * 12 * 0.25 * 0.75 * 0.75),
                 1e-12);
    assert_true(strength("schedule:shape=beta", 2, 0) == 0 &&
                strength("schedule:shape=beta", 2, 1) == 0);
    expect_small(fabs(strength("schedule:shape=beta,a=1,b=1", 2, 0) - 2), 1e-12);
}

static void tables_are_interpolated(void **state) {
    (void)state;
    static const char *const list = "schedule:shape=table,f0=0,f1=2,f2=-1";
    static const double t[] = {1, 0.75, 0.5, 0.25, 0}, f[] = {0, 1, 2, 0.5, -1};
    for (int i = 0; i < 5; i++) expect_small(fabs(strength(list, 3, t[i]) - (1 + 2 * f[i])), 1e-12);
    assert_true(strength("schedule:shape=table,f0=1,f1=1,f2=1,f3=1,f4=1,f5=1,f6=1,f7=5", 2, 0) ==
                6);
}

/* ---- a hand inside the network --------------------------------------------------------------- */

/* The world's answer, and half of it where blocks are skipped. */
static vn_status perturbed_answer(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_denoiser *inner = self;
    const vn_status status = inner->predict(inner->self, q, raw, err);
    assert_true(q->perturb.kind == VN_UNPERTURBED ||
                (q->perturb.kind == VN_BLOCKS_SKIPPED && q->perturb.first == 1));
    for (int64_t i = 0; i < q->n * D && q->perturb.kind; i++) raw[i] /= 2;
    return status;
}

/* c + s (c - c without blocks 1 and 2) */
static vn_pass skipped(const vn_guide_at *at) {
    return (vn_pass){.condition = at->condition,
                     .perturb = {.kind = VN_BLOCKS_SKIPPED, .first = 1, .last = 2}};
}

static void skip_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    (void)g;
    const vn_pass c = vn_conditional(at), s = skipped(at);
    vn_plan_pass(plan, &c);
    vn_plan_pass(plan, &s);
}

static void skip_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out) {
    (void)g;
    const vn_pass of_c = vn_conditional(at), of_s = skipped(at);
    const vn_estimate *c = vn_plan_pass(plan, &of_c), *s = vn_plan_pass(plan, &of_s);
    for (int i = 0; i < F; i++) {
        out->x0[i] += 3 * (c->x0[i] - s->x0[i]);
        out->eps[i] += 3 * (c->eps[i] - s->eps[i]);
    }
}

static const vn_guide_row skip_row = {
    .row = {"skip", "", "", NULL},
    .stage = VN_GUIDE_ADDITION,
    .perturbations = VN_BLOCKS_SKIPPED,
    .passes = 2,
    .plan = skip_plan,
    .combine = skip_combine,
};

static void perturbed_passes_are_run_apart(void **state) {
    (void)state;
    static const vn_guide_row *const own[] = {&vn_cfg_guide, &skip_row};
    const vn_table table = {"guide", own, 0, VN_COUNT(own), NULL, NULL};
    rows got, c = ask(labels), u = ask(none), half;
    float raw[F];
    vn_guidance *g;
    vn_err err;
    vn_denoiser d = denoiser;
    const vn_guidance_options o = {
        .table = &table, .guide = "skip", .gamma = 2, .denoiser = &d, .capacity = N};
    d.self = &denoiser;
    d.predict = perturbed_answer;
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "layers that can be perturbed"));
    d.perturbations = VN_ATTENTION_BLUR | VN_BLOCKS_SKIPPED;
    assert_int_equal(vn_guidance_open(&o, &g, &err), VN_OK);
    vn_guidance_begin(g, N, 0, labels);
    vn_guidance_step(g, 0, 10, 0, &next);
    assert_int_equal(
        vn_guidance_predict(g, &(vn_request){.x = x, .level = &level}, pair_of(&got), &err), VN_OK);
    assert_true(vn_guidance_passes(g) == 3); /* c once for both guides */
    vn_guidance_close(&g);
    vn_prediction_from_estimate(&d.prediction, &level, F, c.x0, c.eps, raw);
    for (int i = 0; i < F; i++) raw[i] /= 2;
    vn_prediction_to_estimate(&d.prediction, &level, F, x, raw, half.x0, half.eps);
    rows want = mix(&u, &c, 2);
    for (int i = 0; i < F; i++) want.x0[i] += 3 * (c.x0[i] - half.x0[i]);
    near("skip", F, got.x0, want.x0, TOLERANCE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negative_takes_the_place_of_null),
        cmocka_unit_test(conditions_add_up),
        cmocka_unit_test(only_what_is_perpendicular_is_taken),
        cmocka_unit_test(weak_model_is_left_behind),
        cmocka_unit_test(icg_draws_a_class_for_each_sample),
        cmocka_unit_test(tsg_asks_at_a_wrong_time),
        cmocka_unit_test(cfg_plus_plus_keeps_the_null_noise),
        cmocka_unit_test(rectified_cfg_plus_plus_looks_ahead),
        cmocka_unit_test(first_steps_stand_still),
        cmocka_unit_test(beta_schedule_is_the_density),
        cmocka_unit_test(tables_are_interpolated),
        cmocka_unit_test(perturbed_passes_are_run_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
