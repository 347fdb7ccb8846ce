/* test_restore.c - restoration, SDEdit and inversion by the public header: arrays and operators of
 * a program's own, bits that do not depend on batch and threads, and what is refused. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/kernels.h"
#include "support/scratch.h"

enum { COUNT = 7, SIZE = 2 };

static const float one_row[SIZE] = {1, 0.5F}, seen[1] = {0.2F}, first_known[SIZE] = {1, 0},
                   places[SIZE] = {0.4F, -0.3F};
static const vn_array matrix = {"matrix", VN_F32, {2, {1, SIZE}}, one_row},
                      mask = {"mask", VN_F32, {1, {SIZE}}, first_known},
                      y = {"observed", VN_F32, {1, {1}}, seen},
                      point = {"samples", VN_F32, {1, {SIZE}}, places};

static vn_model *open_world_in(vn_context *context) {
    vn_model *m = NULL;
    make_world("world.json");
    expect_ok(context, vn_model_open(context, "world.json", &m));
    return m;
}

static vn_sample_options restoring(const char *rule) {
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = 20;
    o.seed = 4;
    o.guidance = 1;
    o.restore = rule;
    o.forward_operator = "matrix";
    o.operator_array = &matrix;
    o.observed = &y;
    o.noise_level = 0.3;
    return o;
}

static vn_samples *draw(vn_model *m, const vn_sample_options *o) {
    vn_samples *s = NULL;
    if (vn_sample(m, o, &s)) fail_msg("%s: %s", o->restore, vn_error_text(vn));
    return s;
}

static void same(const vn_samples *a, const vn_samples *b, const char *what) {
    if (memcmp(vn_samples_data(a), vn_samples_data(b), COUNT * SIZE * sizeof(float)) != 0)
        fail_msg("%s: other bits", what);
}

/* Every rule of the table but that of latents alone: the bits of a batch of 1 and 3, of another
 * number of threads, and of a sampling that is driven step by step. */
static void bits_do_not_depend_on_the_batch(void **state) {
    (void)state;
    vn_context_options two = vn_context_options_default();
    vn_context *other = NULL;
    two.threads = 3;
    expect_ok(vn, vn_context_open(&other, &two));
    vn_model *m = open_world_in(vn), *there = open_world_in(other);
    const size_t kind = vn_kind_find("restorers");
    const vn_row *row;
    for (size_t i = 0; (row = vn_kind_row(kind, i)); i++) {
        vn_sample_options o = restoring(row->name);
        const bool particles = strcmp(row->name, "tds") == 0;
        if (strcmp(row->name, "psld") == 0) {
            vn_samples *none = NULL;
            expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT,
                           "psld is for models of latents");
            continue;
        }
        vn_samples *all = draw(m, &o), *part = NULL, *threads = NULL;
        expect_ok(other, vn_sample(there, &o, &threads));
        same(all, threads, row->name);
        for (int64_t batch = 1; batch < 6 && !particles; batch += 2) {
            o.batch = batch;
            part = draw(m, &o);
            same(all, part, row->name);
            vn_samples_close(&part);
        }
        o.batch = 0;
        vn_sampling *s = NULL;
        int done = 0;
        expect_ok(vn, vn_sampling_open(m, &o, &s));
        while (!done) expect_ok(vn, vn_sampling_step(s, &done));
        expect_ok(vn, vn_sampling_samples(s, &part));
        same(all, part, row->name);
        vn_sampling_close(&s);
        vn_samples_close(&part);
        vn_samples_close(&threads);
        vn_samples_close(&all);
    }
    vn_model_close(&there);
    vn_model_close(&m);
    vn_context_close(&other);
}

/* One observation each: sample i gets the i-th, which is that of one alone. */
static void each_its_own(void **state) {
    (void)state;
    float values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = 0.3F * (float)i - 1;
    const vn_array several = {"observed", VN_F32, {2, {COUNT, 1}}, values};
    vn_model *m = open_world_in(vn);
    vn_sample_options o = restoring("mmps");
    o.observed = &several;
    o.count = 0; /* the observations say it */
    o.batch = 2;
    vn_samples *all = draw(m, &o);
    assert_int_equal(vn_samples_count(all), COUNT);
    vn_array alone = {"observed", VN_F32, {1, {1}}, &values[5]};
    o.observed = &alone;
    o.count = 1;
    o.first = 5;
    vn_samples *fifth = draw(m, &o);
    assert_memory_equal(vn_samples_data(all) + 5 * SIZE, vn_samples_data(fifth),
                        SIZE * sizeof(float));
    vn_samples_close(&fifth);
    vn_samples_close(&all);
    vn_model_close(&m);
}

/* Without noise what a mask shows is taken as it is. */
static void what_is_known_is_kept(void **state) {
    (void)state;
    static const char *const rules[] = {"ddnm", "replacement", "repaint:jump=5,rounds=2"};
    vn_model *m = open_world_in(vn);
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        vn_sample_options o = restoring(rules[k]);
        o.forward_operator = "mask";
        o.operator_array = &mask;
        o.observed = &point;
        o.noise_level = 0;
        vn_samples *s = draw(m, &o);
        double spread = 0;
        for (int i = 0; i < COUNT; i++) {
            assert_true(fabsf(vn_samples_data(s)[2 * i] - places[0]) < 1e-6F);
            spread += fabs((double)vn_samples_data(s)[2 * i + 1] - (double)places[1]);
        }
        assert_true(spread > 0.1); /* and the rest is sampled */
        vn_samples_close(&s);
    }
    vn_model_close(&m);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static vn_status apply(void *user, const float *x, float *out) {
    ++*(int *)user;
    out[0] = x[0] + 0.5F * x[1];
    return VN_OK;
}

static vn_status transpose(void *user, const float *in, float *x) {
    (void)user;
    x[0] = in[0];
    x[1] = 0.5F * in[0];
    return VN_OK;
}

static vn_status twice(void *user, const float *in, float *x) {
    (void)user;
    x[0] = 2 * in[0];
    x[1] = in[0];
    return VN_OK;
}

static void operators_of_a_program(void **state) {
    (void)state;
    int calls = 0;
    vn_callback_operator mine = vn_callback_operator_default();
    mine.apply = apply;
    mine.transpose = transpose;
    mine.user = &calls;
    vn_model *m = open_world_in(vn);
    vn_sample_options o = restoring("mmps");
    vn_samples *of_table = draw(m, &o), *of_user = NULL;
    o.forward_operator = NULL;
    o.operator_array = NULL;
    o.user_operator = &mine;
    of_user = draw(m, &o);
    assert_true(calls > 0);
    for (int i = 0; i < COUNT * SIZE; i++)
        assert_true(fabsf(vn_samples_data(of_table)[i] - vn_samples_data(of_user)[i]) < 1e-4F);
    vn_samples_close(&of_user);
    vn_samples_close(&of_table);
    mine.transpose = twice;
    expect_refused(vn_sample(m, &o, &of_user), VN_BAD_ARGUMENT, "<A u, v> =");
    mine.struct_size = 0;
    expect_refused(vn_sample(m, &o, &of_user), VN_BAD_ARGUMENT, "vn_callback_operator");
    vn_model_close(&m);
}

/* ---- SDEdit and inversion -------------------------------------------------------------------- */

/* From t = strength on: the levels above are left out, and a little noise changes little. */
static void editing_begins_at_t(void **state) {
    (void)state;
    vn_model *m = open_world_in(vn);
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = 20;
    o.init = &point;
    o.strength = 0.5;
    o.trace = 1;
    vn_samples *s = draw(m, &o);
    int64_t levels;
    const float *trace = vn_samples_trace(s, &levels);
    assert_int_equal(levels, 11);
    assert_true(fabs(vn_samples_trace_times(s)[0] - 0.5) < 1e-12);
    double mean = 0; /* the rectified path: x = x0/2 + eps/2 */
    for (int i = 0; i < COUNT; i++) mean += (double)trace[2 * i] / COUNT;
    assert_true(fabs(mean - 0.2) < 4.5 * 0.5 / sqrt(COUNT));
    vn_samples_close(&s);
    o.strength = 0.01;
    s = draw(m, &o);
    for (int i = 0; i < COUNT; i++)
        assert_true(fabsf(vn_samples_data(s)[2 * i] - places[0]) < 0.06F);
    assert_true(isnan(vn_samples_round_trip(s)));
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* Inversion comes back, the better the more evaluations a level has: measured 0.1 and 5e-6, on the
 * way from alpha = 0 and under guidance too. */
static void inversion_comes_back(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "ddpm", "edm"};
    vn_model *m = open_world_in(vn);
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        vn_sample_options o = vn_sample_options_default();
        o.count = COUNT;
        o.steps = 40;
        o.path = paths[k];
        o.guidance = 2;
        o.init = &point;
        o.invert = 1;
        vn_samples *s = draw(m, &o);
        const double once = vn_samples_round_trip(s);
        vn_samples_close(&s);
        o.invert = 30;
        s = draw(m, &o);
        const double often = vn_samples_round_trip(s);
        print_message("round trip on %s: %.2g, %.2g\n", paths[k], once, often);
        assert_true(once < 0.5 && often < 1e-3);
        vn_samples_close(&s);
    }
    vn_model_close(&m);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refuse(vn_model *m, const vn_sample_options *o, const char *words) {
    vn_samples *none = NULL;
    expect_refused(vn_sample(m, o, &none), VN_BAD_ARGUMENT, words);
    assert_null(none);
}

static void what_makes_no_sense(void **state) {
    (void)state;
    static const float broken[1] = {NAN}, two[2] = {0, 1};
    const vn_array nan = {"observed", VN_F32, {1, {1}}, broken},
                   pair = {"observed", VN_F32, {2, {2, 1}}, two},
                   empty = {"observed", VN_F32, {1, {1}}, NULL};
    vn_model *m = open_world_in(vn);
    vn_sample_options o = restoring("mmps");
    o.observed = &nan;
    refuse(m, &o, "observed: number 0 is NaN");
    o.observed = &pair;
    refuse(m, &o, "observed is 2, for 7 samples");
    o.observed = &point;
    refuse(m, &o, "observed has the size [2]; what the operator gives has [1]");
    o.observed = &empty;
    refuse(m, &o, "no data");
    o.observed = NULL;
    refuse(m, &o, "needs an observation");
    o = restoring("mmps");
    o.forward_operator = NULL;
    refuse(m, &o, "needs an operator");
    o = restoring(NULL);
    refuse(m, &o, "an operator has no effect without a rule");
    o = restoring("tds");
    o.noise_level = 0;
    refuse(m, &o, "tds divides by the noise level, which is 0");
    o = restoring("tds");
    o.guidance = 2;
    refuse(m, &o, "tds needs one pass a step");
    o = restoring("daps");
    o.sampler = "heun";
    refuse(m, &o, "daps is valid with the sampler lcm; not with heun");
    o = restoring("repaint");
    o.sampler = "restart";
    refuse(m, &o, "restart returns to more noise at levels of its own");
    o = restoring("mmps");
    o.guide = "cfg,energy";
    refuse(m, &o, "energy and the restorer mmps cannot be combined");
    o = restoring("daps:covariance=jacobian,kernel=langevin");
    refuse(m, &o, "covariance=jacobian needs kernel=exact");
    o = restoring("daps:kernel=exact,tau=0.1");
    refuse(m, &o, "tau has no effect with kernel=exact");
    o = vn_sample_options_default();
    o.strength = 0.5;
    refuse(m, &o, "strength has no effect without an init");
    o.init = &y;
    refuse(m, &o, "init has the size [1]; a sample has [2]");
    o.init = &point;
    o.begin = "unit";
    refuse(m, &o, "begin has no effect beside an init");
    o.begin = NULL;
    o.invert = 1;
    o.sampler = "heun";
    refuse(m, &o, "ddim without noise; the sampler is heun");
    o.sampler = "ddim:eta=1";
    refuse(m, &o, "the sampler is ddim with an eta");
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(each_its_own),
        cmocka_unit_test(what_is_known_is_kept),
        cmocka_unit_test(operators_of_a_program),
        cmocka_unit_test(editing_begins_at_t),
        cmocka_unit_test(inversion_comes_back),
        cmocka_unit_test(what_makes_no_sense),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
