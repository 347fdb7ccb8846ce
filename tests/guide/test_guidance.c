/* The list of guides at work: which passes are run, what is combined, what is refused; with guides
 * of the table and with guides made here, which take second rounds, other levels, the weak network,
 * products with the Jacobian and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "guide/internal.h"
#include "support/alloc.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support_rules.h"

#define N 5
#define D 2
#define F (N * D)

static const char text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4], \"cov\": [[0.1, 0.03], [0.03, 0.2]]}]},"
    " {\"components\": [{\"mean\": [1.1, 0.9], \"std\": 0.3}]}],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": 1}]},"
    "   {\"components\": [{\"mean\": [1, 1], \"std\": 1}]}]}}";

static bench exact;
static vn_path *path;
static vn_denoiser denoiser;
static float x[F];
static const int32_t labels[N] = {0, 1, 1, VN_CONDITION_NULL, 0}, none[N] = {-1, -1, -1, -1, -1};
static int queries; /* forward passes of the denoiser, each a batch */

static vn_status counting(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_denoiser *inner = self;
    queries++;
    return inner->predict(inner->self, q, raw, err);
}

static int set_up(void **state) {
    (void)state;
    exact = bench_open(text, "vp", "v");
    path = exact.path;
    denoiser = exact.denoiser;
    denoiser.self = &exact.denoiser;
    denoiser.predict = counting;
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

static vn_guidance_options settings(const char *list, double gamma, const vn_denoiser *d) {
    return (vn_guidance_options){.guide = list, .gamma = gamma, .denoiser = d, .capacity = N};
}

static vn_status try_open(const vn_table *table, const char *list, double gamma,
                          const vn_denoiser *d, vn_guidance **g, vn_err *err) {
    vn_guidance_options o = settings(list, gamma, d);
    o.table = table;
    return vn_guidance_open(&o, g, err);
}

static vn_status try_predict(vn_guidance *g, const vn_level *level, float x0[F], float eps[F],
                             vn_err *err) {
    vn_guidance_step(g, 0, 10, 0, &vn_level_clean);
    return vn_guidance_predict(g, &(vn_request){.x = x, .level = level}, (vn_estimate){x0, eps},
                               err);
}

static void predict(vn_guidance *g, const vn_level *level, float x0[F], float eps[F]) {
    vn_err err;
    assert_int_equal(try_predict(g, level, x0, eps, &err), VN_OK);
}

/* One guided prediction; the number of passes of each row. */
static int64_t guide(const char *list, double gamma, const int32_t *condition, double t,
                     float x0[F], float eps[F]) {
    vn_guidance *g;
    vn_err err = {0};
    vn_level level = vn_path_level(path, t);
    queries = 0;
    const vn_guidance_options o = settings(list, gamma, &denoiser);
    if (vn_guidance_open(&o, &g, &err)) fail_msg("%s: %s", list, err.text);
    vn_guidance_begin(g, N, 0, condition);
    predict(g, &level, x0, eps);
    int64_t passes = (int64_t)vn_guidance_passes(g);
    vn_guidance_close(&g);
    assert_null(g);
    return passes;
}

/* The pair under one condition, asked of the denoiser directly. */
static void plain(vn_network network, const int32_t *condition, double t, float x0[F],
                  float eps[F]) {
    const vn_level level = vn_path_level(path, t);
    const vn_query q = {.n = N, .network = network, .x = x, .condition = condition};
    unguided(&exact.denoiser, q, &level, (vn_estimate){x0, eps});
}

static void same(const float *a, const float *b) {
    assert_memory_equal(a, b, F * sizeof *a);
}

static void within(const float *a, const float *b, double tolerance) {
    for (int i = 0; i < F; i++) expect_small(fabs((double)a[i] - (double)b[i]), tolerance);
}

/* ---- classifier-free guidance ---------------------------------------------------------------- */

static void gamma_one_is_conditional_bit_for_bit(void **state) {
    (void)state;
    float x0[F], eps[F], want_x0[F], want_eps[F];
    assert_int_equal(guide("cfg", 1, labels, 0.4, x0, eps), 1);
    plain(VN_NETWORK_MAIN, labels, 0.4, want_x0, want_eps);
    same(x0, want_x0);
    same(eps, want_eps);
}

static void gamma_zero_is_unconditional_bit_for_bit(void **state) {
    (void)state;
    float x0[F], eps[F], want_x0[F], want_eps[F];
    assert_int_equal(guide("cfg", 0, labels, 0.4, x0, eps), 1);
    plain(VN_NETWORK_MAIN, none, 0.4, want_x0, want_eps);
    same(x0, want_x0);
    same(eps, want_eps);
}

static void null_labels_need_one_pass(void **state) {
    (void)state;
    float x0[F], eps[F], want_x0[F], want_eps[F];
    plain(VN_NETWORK_MAIN, none, 0.4, want_x0, want_eps);
    for (int gamma = 0; gamma < 4; gamma++) {
        assert_int_equal(guide("cfg", gamma, none, 0.4, x0, eps), 1);
        same(x0, want_x0);
    }
}

static void guidance_extrapolates(void **state) {
    (void)state;
    float x0[F], eps[F], c_x0[F], c_eps[F], u_x0[F], u_eps[F], want[F];
    plain(VN_NETWORK_MAIN, labels, 0.4, c_x0, c_eps);
    plain(VN_NETWORK_MAIN, none, 0.4, u_x0, u_eps);
    for (double gamma = -1; gamma < 4; gamma += 0.75) {
        int64_t passes = guide(NULL, gamma, labels, 0.4, x0, eps);
        assert_int_equal(passes, 2);
        assert_int_equal(queries, 1); /* both in one batch */
        for (int i = 0; i < F; i++)
            want[i] = (float)((double)u_x0[i] + gamma * ((double)c_x0[i] - (double)u_x0[i]));
        within(x0, want, 1e-6);
        for (int i = 0; i < F; i++)
            want[i] = (float)((double)u_eps[i] + gamma * ((double)c_eps[i] - (double)u_eps[i]));
        within(eps, want, 1e-6);
        /* the row without a condition */
        for (int j = 3 * D; j < 4 * D; j++) assert_true(x0[j] == u_x0[j]);
    }
}

/* ---- strength -------------------------------------------------------------------------------- */

static void intervals_turn_guidance_off(void **state) {
    (void)state;
    float x0[F], eps[F], want_x0[F], want_eps[F];
    for (int k = 1; k <= 20; k++) {
        const double t = k / 20.0;
        vn_level l = vn_path_level(path, t);
        const double s = vn_level_ratio(&l);
        const bool inside = s > 0.5 && s <= 2;
        assert_int_equal(guide("interval:lo=0.5,hi=2", 3, labels, t, x0, eps), inside ? 2 : 1);
        guide("cfg", inside ? 3 : 1, labels, t, want_x0, want_eps);
        same(x0, want_x0);
        same(eps, want_eps);
    }
}

static void interval_bounds_are_half_open(void **state) {
    (void)state;
    vn_choice c = {.value = {0.5, 2}};
    vn_level lo = {.alpha = 1, .sigma = 0.5}, hi = {.alpha = 1, .sigma = 2},
             above = {.alpha = 1, .sigma = 2.0000001}, noise = {.alpha = 0, .sigma = 1};
    assert_true(vn_interval_guide.strength(&c, &(vn_guide_at){.level = &lo}, 3) == 1);
    assert_true(vn_interval_guide.strength(&c, &(vn_guide_at){.level = &hi}, 3) == 3);
    assert_true(vn_interval_guide.strength(&c, &(vn_guide_at){.level = &above}, 3) == 1);
    assert_true(vn_interval_guide.strength(&c, &(vn_guide_at){.level = &noise}, 3) == 1);
}

static double strength(const char *list, double gamma, double t) {
    vn_choice c;
    vn_err err;
    assert_int_equal(vn_choice_parse(list, &vn_guides, &c, &err), VN_OK);
    const vn_level l = {.t = t};
    return ((const vn_guide_row *)c.row)->strength(&c, &(vn_guide_at){.level = &l}, gamma);
}

/* Each shape rises from noise to data, and leaves the mean of gamma over t as it is. */
static void schedules_keep_the_mean(void **state) {
    (void)state;
    static const char *const shapes[] = {"schedule:shape=constant", "schedule",
                                         "schedule:shape=cosine", "schedule:shape=power,power=3"};
    for (size_t i = 0; i < VN_COUNT(shapes); i++) {
        double sum = 0;
        for (int k = 0; k < 1000; k++) {
            double t = (k + 0.5) / 1000;
            sum += strength(shapes[i], 3, t) / 1000;
            assert_true(strength(shapes[i], 3, t) >= strength(shapes[i], 3, t + 1e-3));
            assert_true(strength(shapes[i], 1, t) == 1);
        }
        expect_small(fabs(sum - 3), 1e-5);
    }
    expect_small(fabs(strength("schedule:shape=linear", 3, 0.25) - 4), 1e-12);
    expect_small(fabs(strength("schedule:shape=cosine", 3, 1) - 1), 1e-12);
    expect_small(fabs(strength("schedule:shape=power,power=2", 2, 0.5) - 1.75), 1e-12);
}

static void strengths_compose_in_order(void **state) {
    (void)state;
    float x0[F], eps[F], want_x0[F], want_eps[F];
    const double t = 0.25;
    vn_level l = vn_path_level(path, t);
    assert_true(vn_level_ratio(&l) > 0.28 && vn_level_ratio(&l) < 1.61);
    guide("schedule:shape=linear,cfg,interval:lo=0.28,hi=1.61", 2, labels, t, x0, eps);
    guide("cfg", 1 + 2 * (1 - t), labels, t, want_x0, want_eps);
    same(x0, want_x0);
}

/* ---- guides of this file's own --------------------------------------------------------------- */

static vn_pass of(const vn_guide_at *at, vn_network network) {
    return (vn_pass){.network = network, .condition = at->condition};
}

/* weak + gamma (main - weak): two networks. */
static void weak_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    (void)g;
    vn_pass a = of(at, VN_NETWORK_MAIN), b = of(at, VN_NETWORK_WEAK);
    vn_plan_pass(plan, &a);
    vn_plan_pass(plan, &b);
    vn_plan_pass(plan, &a); /* named twice, run once */
}

static void weak_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out) {
    (void)g;
    vn_pass a = of(at, VN_NETWORK_MAIN), b = of(at, VN_NETWORK_WEAK);
    const vn_estimate *strong = vn_plan_pass(plan, &a), *weak = vn_plan_pass(plan, &b);
    for (int i = 0; i < F; i++)
        out->x0[i] = weak->x0[i] + (float)at->gamma * (strong->x0[i] - weak->x0[i]);
    memcpy(out->eps, strong->eps, sizeof(float) * F);
}

/* Two rounds: where x would be at half the noise, and the prediction there. */
static const vn_level *half_level(const vn_guide_at *at) {
    static vn_level l;
    l = vn_path_level(path, at->level->t / 2);
    return &l;
}

static void rounds_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    vn_pass a = of(at, VN_NETWORK_MAIN);
    const vn_estimate *here = vn_plan_pass(plan, &a);
    if (!here) return;
    const vn_level *l = half_level(at);
    for (int i = 0; i < F; i++)
        g->slot[0][i] = (float)l->alpha * here->x0[i] + (float)l->sigma * here->eps[i];
    vn_pass b = {.condition = at->null, .x = g->slot[0], .level = l};
    vn_plan_pass(plan, &b);
}

static void rounds_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out) {
    vn_pass b = {.condition = at->null, .x = g->slot[0], .level = half_level(at)};
    memcpy(out->x0, vn_plan_pass(plan, &b)->x0, sizeof(float) * F);
    memcpy(out->eps, vn_plan_pass(plan, &b)->eps, sizeof(float) * F);
}

/* Adds d |x0|^2 / dx to x0, with x0 of the rule's own pass as the cotangent; counts its calls in
 * its second slot. */
static void pull_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    (void)g;
    vn_pass a = of(at, VN_NETWORK_MAIN);
    const vn_estimate *here = vn_plan_pass(plan, &a);
    if (!here) return;
    vn_pass b = {.condition = at->condition, .want = VN_VJP, .direction = here->x0};
    vn_plan_pass(plan, &b);
}

static void pull_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_estimate *out) {
    vn_pass a = of(at, VN_NETWORK_MAIN);
    vn_pass b = {
        .condition = at->condition, .want = VN_VJP, .direction = vn_plan_pass(plan, &a)->x0};
    const float *gradient = vn_plan_pass(plan, &b)->x0;
    for (int i = 0; i < F; i++) out->x0[i] = 2 * gradient[i];
    g->slot[0][0] += 1;
    out->eps[0] = g->slot[0][0];
}

static void greedy_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan) {
    (void)g;
    vn_pass a = of(at, VN_NETWORK_MAIN), b = {.condition = at->null};
    vn_plan_pass(plan, &a);
    vn_plan_pass(plan, &b);
}

/* clang-format off */
static const vn_guide_row rows[] = {
    {.row = {"weak", "", "", NULL}, .stage = VN_GUIDE_RULE, .needs = VN_NEEDS_WEAK, .passes = 2,
     .plan = weak_plan,
     .combine = weak_combine},
    {.row = {"rounds", "", "", NULL}, .stage = VN_GUIDE_RULE, .passes = 2, .slots = 1,
     .plan = rounds_plan,
     .combine = rounds_combine},
    {.row = {"pull", "", "", NULL}, .stage = VN_GUIDE_ADDITION, .needs = VN_NEEDS_VJP, .passes = 2,
     .slots = 1,
     .plan = pull_plan, .combine = pull_combine},
    {.row = {"greedy", "", "", NULL}, .stage = VN_GUIDE_RULE, .passes = 1, .plan = greedy_plan,
     .combine = weak_combine},
};
/* clang-format on */
static const vn_table own = {"guide", rows, sizeof *rows, VN_COUNT(rows), NULL, NULL};

static vn_guidance *open_own(const char *list, double gamma) {
    vn_guidance *g;
    vn_err err = {0};
    if (try_open(&own, list, gamma, &denoiser, &g, &err)) fail_msg("%s", err.text);
    vn_guidance_begin(g, N, 0, labels);
    queries = 0;
    return g;
}

static void networks_are_batched_apart(void **state) {
    (void)state;
    float x0[F], eps[F], a_x0[F], a_eps[F], b_x0[F], b_eps[F], want[F];
    vn_level l = vn_path_level(path, 0.4);
    vn_guidance *g = open_own(NULL, 2); /* rows[0], as no rule is named */
    predict(g, &l, x0, eps);
    assert_int_equal(vn_guidance_passes(g), 2);
    assert_int_equal(queries, 2);
    plain(VN_NETWORK_MAIN, labels, 0.4, a_x0, a_eps);
    plain(VN_NETWORK_WEAK, labels, 0.4, b_x0, b_eps);
    for (int i = 0; i < F; i++) want[i] = 2 * a_x0[i] - b_x0[i];
    within(x0, want, 1e-6);
    vn_guidance_close(&g);
}

static void second_rounds_see_the_first(void **state) {
    (void)state;
    float x0[F], eps[F], first_x0[F], first_eps[F], moved[F], want_x0[F], want_eps[F];
    vn_level l = vn_path_level(path, 0.8), half = vn_path_level(path, 0.4);
    vn_guidance *g = open_own("rounds", 2);
    predict(g, &l, x0, eps);
    assert_int_equal(vn_guidance_passes(g), 2);
    plain(VN_NETWORK_MAIN, labels, 0.8, first_x0, first_eps);
    for (int i = 0; i < F; i++)
        moved[i] = (float)half.alpha * first_x0[i] + (float)half.sigma * first_eps[i];
    unguided(&exact.denoiser, (vn_query){.n = N, .x = moved, .condition = none}, &half,
             (vn_estimate){want_x0, want_eps});
    same(x0, want_x0);
    same(eps, want_eps);
    vn_guidance_close(&g);
}

/* By differences of |x0|^2 through the whole prediction; also, what a guide keeps is cleared when a
 * walk begins. */
static void gradients_go_through_the_denoiser(void **state) {
    (void)state;
    float x0[F], eps[F], plain_x0[F], plain_eps[F];
    vn_level l = vn_path_level(path, 0.4);
    vn_guidance *g = open_own("pull,weak", 1.5);
    for (int call = 1; call <= 3; call++) {
        predict(g, &l, x0, eps);
        assert_true(eps[0] == (float)call);
    }
    vn_guidance_begin(g, N, 0, labels);
    predict(g, &l, x0, eps);
    assert_true(eps[0] == 1);
    vn_guidance_close(&g);
    for (int i = 0; i < F; i++) {
        double sum[2] = {0, 0};
        const float keep = x[i], h = 1e-2f;
        for (int side = 0; side < 2; side++) {
            x[i] = keep + (side ? h : -h);
            plain(VN_NETWORK_MAIN, labels, 0.4, plain_x0, plain_eps);
            for (int j = i / D * D; j < (i / D + 1) * D; j++)
                sum[side] += (double)plain_x0[j] * (double)plain_x0[j];
        }
        x[i] = keep;
        double slope = (sum[1] - sum[0]) / (2 * (double)h);
        expect_small(fabs((double)x0[i] - slope), 2e-3);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *list, *word;
        double gamma;
    } bad[] = {
        {"cgf", "cfg", 2},
        {"", "guide", 2},
        {"cfg,", "guide", 2},
        {"cfg,cfg", "twice", 2},
        {"interval:lo=2,hi=1", "lo=2", 2},
        {"interval:low=2", "lo", 2},
        {"schedule:power=3", "no effect", 2},
        {"schedule:shape=square", "constant|linear", 2},
        {"cfg", "not a finite", (double)NAN},
        {"cfg", "not a finite", (double)INFINITY},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_guidance *g = (void *)1;
        vn_err err = {0};
        assert_int_equal(try_open(&vn_guides, bad[i].list, bad[i].gamma, &denoiser, &g, &err),
                         VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%s: %s", bad[i].list, err.text);
        assert_null(g);
    }
}

static void what_the_model_lacks_is_named(void **state) {
    (void)state;
    static const struct {
        const char *list, *word;
        bool classes, null;
    } bad[] = {{"cfg", "the null condition", true, false}, {"cfg", "conditions", false, true}};
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_denoiser d = denoiser;
        vn_guidance *g;
        vn_err err = {0};
        d.conditions.has_null = bad[i].null;
        if (!bad[i].classes) d.conditions.classes = 0;
        assert_int_equal(try_open(&vn_guides, bad[i].list, 2, &d, &g, &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, bad[i].word));
        /* nothing is missed at gamma = 1 */
        assert_int_equal(try_open(&vn_guides, bad[i].list, 1, &d, &g, &err), VN_OK);
        vn_guidance_close(&g);
    }
    vn_denoiser d = denoiser;
    vn_guidance *g;
    vn_err err = {0};
    d.can &= ~(unsigned)(VN_CAN_WEAK | VN_CAN_VJP);
    assert_int_equal(try_open(&own, "weak", 2, &d, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "weak model"));
    assert_int_equal(try_open(&own, "rounds,pull", 2, &d, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "derivatives"));
    assert_int_equal(try_open(&own, "rounds,greedy", 2, &d, &g, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "rounds and greedy cannot be combined"));
}

static void rows_are_held_to_their_word(void **state) {
    (void)state;
    float x0[F], eps[F];
    vn_err err = {0};
    vn_level l = vn_path_level(path, 0.4);
    vn_guidance *g = open_own("greedy", 2);
    assert_int_equal(try_predict(g, &l, x0, eps, &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "more passes"));
    vn_guidance_close(&g);
}

static vn_status failing(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)self, (void)q, (void)raw;
    return vn_fail(err, VN_IO, "the line is dead");
}

static void errors_of_the_denoiser_come_through(void **state) {
    (void)state;
    float x0[F], eps[F];
    vn_denoiser d = denoiser;
    vn_guidance *g;
    vn_err err = {0};
    vn_level l = vn_path_level(path, 0.4);
    d.predict = failing;
    assert_int_equal(try_open(&vn_guides, "cfg", 2, &d, &g, &err), VN_OK);
    vn_guidance_begin(g, N, 0, labels);
    assert_int_equal(try_predict(g, &l, x0, eps, &err), VN_IO);
    assert_string_equal(err.text, "the line is dead");
    vn_guidance_close(&g);
}

/* Opening fails cleanly at every allocation, and predicting makes none. */
static void memory_is_taken_once(void **state) {
    (void)state;
    float x0[F], eps[F];
    vn_err err;
    vn_level l = vn_path_level(path, 0.4);
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_guidance *g;
        if (!alloc_hit(&t, try_open(&own, "pull,rounds", 2, &denoiser, &g, &err))) {
            const int64_t made = alloc_made();
            vn_guidance_begin(g, N, 0, labels);
            predict(g, &l, x0, eps);
            assert_int_equal(alloc_made(), made);
            assert_true(t.n > 15);
        }
        vn_guidance_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gamma_one_is_conditional_bit_for_bit),
        cmocka_unit_test(gamma_zero_is_unconditional_bit_for_bit),
        cmocka_unit_test(null_labels_need_one_pass),
        cmocka_unit_test(guidance_extrapolates),
        cmocka_unit_test(intervals_turn_guidance_off),
        cmocka_unit_test(interval_bounds_are_half_open),
        cmocka_unit_test(schedules_keep_the_mean),
        cmocka_unit_test(strengths_compose_in_order),
        cmocka_unit_test(networks_are_batched_apart),
        cmocka_unit_test(second_rounds_see_the_first),
        cmocka_unit_test(gradients_go_through_the_denoiser),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(what_the_model_lacks_is_named),
        cmocka_unit_test(rows_are_held_to_their_word),
        cmocka_unit_test(errors_of_the_denoiser_come_through),
        cmocka_unit_test(memory_is_taken_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
