/* test_sampling.c - a sampling that is driven step by step: the bits of vn_sample, the state in
 * between, what it refuses. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { COUNT = 5, SIZE = 2 };

static vn_model *open_world(void) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, "world.json", &m));
    return m;
}

static vn_sample_options few(int steps) {
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = steps;
    o.guidance = 2;
    o.seed = 4;
    return o;
}

static vn_status drive(vn_model *m, const vn_sample_options *o, vn_samples **out) {
    vn_sampling *s = NULL;
    int done = 0;
    *out = NULL;
    vn_status status = vn_sampling_open(m, o, &s);
    while (!status && !done) status = vn_sampling_step(s, &done);
    if (!status) status = vn_sampling_samples(s, out);
    vn_sampling_close(&s);
    return status;
}

/* Both ways, in all that samples have. */
static void expect_the_same(vn_model *m, const vn_sample_options *o) {
    vn_samples *once = NULL, *steps = NULL;
    expect_ok(vn, vn_sample(m, o, &once));
    expect_ok(vn, drive(m, o, &steps));
    const int64_t n = vn_samples_count(once);
    int64_t levels, driven;
    assert_int_equal(vn_samples_count(steps), n);
    assert_int_equal(vn_samples_passes(steps), vn_samples_passes(once));
    assert_memory_equal(vn_samples_data(steps), vn_samples_data(once),
                        (size_t)n * SIZE * sizeof(float));
    assert_memory_equal(vn_samples_labels(steps), vn_samples_labels(once),
                        (size_t)n * sizeof(int32_t));
    assert_memory_equal(vn_samples_guidance(steps), vn_samples_guidance(once),
                        (size_t)n * sizeof(double));
    const float *trace = vn_samples_trace(once, &levels), *other = vn_samples_trace(steps, &driven);
    assert_int_equal(driven, levels);
    if (levels) assert_memory_equal(other, trace, (size_t)(levels * n) * SIZE * sizeof(float));
    vn_samples_close(&once);
    vn_samples_close(&steps);
}

static void test_steps_give_the_bits_of_one_call(void **state) {
    (void)state;
    static const char *const samplers[] = {NULL, "heun", "unipc", "euler-a", "restart"};
    vn_model *m = open_world();
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        vn_sample_options o = few(6);
        o.sampler = samplers[i];
        o.trace = i % 2;
        o.batch = i == 2 ? 2 : 0;
        o.first = 3 * i;
        expect_the_same(m, &o);
    }
    vn_sample_options o = few(6);
    o.guide = "fkc";
    o.sampler = "euler-maruyama";
    expect_the_same(m, &o);
    vn_model_close(&m);
}

static void test_the_state_falls_from_noise_to_the_samples(void **state) {
    (void)state;
    vn_model *m = open_world();
    vn_sample_options o = few(4);
    o.trace = 1;
    vn_samples *once = NULL, *out = NULL;
    vn_sampling *s = NULL;
    int64_t levels;
    expect_ok(vn, vn_sample(m, &o, &once));
    const float *trace = vn_samples_trace(once, &levels);
    const double *times = vn_samples_trace_times(once);
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    for (int64_t i = 0; i < levels; i++) {
        vn_sampling_state at = vn_sampling_state_default();
        int done = -1;
        expect_ok(vn, vn_sampling_get_state(s, &at));
        assert_int_equal(at.step, i);
        assert_int_equal(at.steps, levels - 1);
        assert_int_equal(at.count, COUNT);
        assert_true(at.t == times[i]);
        expect_small(fabs(at.alpha + at.sigma - 1), 1e-6); /* the rectified path */
        assert_int_equal(at.labels[1], 1);
        assert_memory_equal(at.x, trace + i * COUNT * SIZE, COUNT * SIZE * sizeof(float));
        if (i + 1 == levels) break;
        expect_refused(vn_sampling_samples(s, &out), VN_BAD_ARGUMENT, "of 4 steps were made");
        expect_ok(vn, vn_sampling_step(s, &done));
        assert_int_equal(done, i + 2 == levels);
    }
    expect_refused(vn_sampling_step(s, NULL), VN_BAD_ARGUMENT, "all 4 steps were made");
    expect_ok(vn, vn_sampling_samples(s, &out));
    vn_samples *again = NULL;
    expect_refused(vn_sampling_samples(s, &again), VN_BAD_ARGUMENT, "given out before");
    vn_sampling_state at = vn_sampling_state_default();
    expect_ok(vn, vn_sampling_get_state(s, &at));
    assert_null(at.x);
    vn_sampling_close(&s);
    vn_samples_close(&once);
    assert_int_equal(vn_samples_count(out), COUNT);
    vn_samples_close(&out);
    vn_model_close(&m);
}

/* Euler from noise that is set by hand gives what the call gives from that noise. */
static void test_a_step_goes_on_from_what_was_written_into_the_state(void **state) {
    (void)state;
    float noise[COUNT * SIZE];
    for (int i = 0; i < COUNT * SIZE; i++) noise[i] = 0.1f * (float)i - 0.4f;
    vn_model *m = open_world();
    vn_sample_options o = few(5);
    vn_samples *once = NULL, *out = NULL;
    vn_sampling *s = NULL;
    vn_sampling_state at = vn_sampling_state_default();
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    expect_ok(vn, vn_sampling_get_state(s, &at));
    memcpy(at.x, noise, sizeof noise);
    for (int done = 0; !done;) expect_ok(vn, vn_sampling_step(s, &done));
    expect_ok(vn, vn_sampling_samples(s, &out));
    vn_sampling_close(&s);
    o.noise = noise;
    expect_ok(vn, vn_sample(m, &o, &once));
    assert_memory_equal(vn_samples_data(out), vn_samples_data(once), sizeof noise);
    vn_samples_close(&once);
    vn_samples_close(&out);
    vn_model_close(&m);
}

static void test_an_open_sampling_has_its_model_for_itself(void **state) {
    (void)state;
    vn_model *m = open_world(), *weak = open_world();
    vn_sampling *s = NULL, *second = NULL;
    vn_samples *out = NULL;
    vn_sample_options o = few(3);
    o.guide = "autoguidance";
    o.weak = weak;
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    vn_sample_options plain = few(3);
    expect_refused(vn_sampling_open(m, &plain, &second), VN_BAD_ARGUMENT, "sampling of it is open");
    expect_refused(vn_sample(m, &plain, &out), VN_BAD_ARGUMENT, "world.json: a sampling of it");
    expect_refused(vn_sample(weak, &plain, &out), VN_BAD_ARGUMENT, "world.json: a sampling of it");
    assert_null(second);
    vn_sampling_close(&s);
    vn_sampling_close(&s);
    expect_ok(vn, vn_sample(m, &plain, &out));
    vn_samples_close(&out);
    expect_ok(vn, vn_sample(weak, &plain, &out));
    vn_samples_close(&out);
    vn_model_close(&weak);
    vn_model_close(&m);
}

static void test_a_cancel_between_steps_stops_the_next(void **state) {
    (void)state;
    vn_model *m = open_world();
    vn_sampling *s = NULL;
    vn_sample_options o = few(8);
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    expect_ok(vn, vn_sampling_step(s, NULL));
    vn_context_cancel(vn);
    expect_refused(vn_sampling_step(s, NULL), VN_CANCELLED, "cancelled");
    expect_refused(vn_sampling_step(s, NULL), VN_BAD_ARGUMENT, "failed before");
    vn_sampling_close(&s);
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    for (int done = 0; !done;) expect_ok(vn, vn_sampling_step(s, &done));
    vn_sampling_close(&s);
    vn_model_close(&m);
}

static void test_what_makes_no_sense_is_refused(void **state) {
    (void)state;
    vn_model *m = open_world();
    vn_sampling *s = NULL;
    vn_sample_options o = few(0);
    assert_int_equal(vn_sampling_open(NULL, &o, &s), VN_BAD_ARGUMENT);
    assert_int_equal(vn_sampling_step(NULL, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_sampling_get_state(NULL, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_sampling_samples(NULL, NULL), VN_BAD_ARGUMENT);
    vn_sampling_close(NULL);
    expect_refused(vn_sampling_open(m, &o, NULL), VN_BAD_ARGUMENT, "out is needed");
    o.sampler = "oiler";
    expect_refused(vn_sampling_open(m, &o, &s), VN_BAD_ARGUMENT, "oiler");
    o = few(4);
    o.guide = "fkc";
    o.sampler = "euler-maruyama";
    o.batch = 2;
    expect_refused(vn_sampling_open(m, &o, &s), VN_BAD_ARGUMENT, "batch 2");
    o = few(4);
    expect_ok(vn, vn_sampling_open(m, &o, &s));
    expect_refused(vn_sampling_get_state(s, NULL), VN_BAD_ARGUMENT, "state is needed");
    expect_refused(vn_sampling_samples(s, NULL), VN_BAD_ARGUMENT, "out is needed");
    vn_sampling_close(&s);
    vn_model_close(&m);
}

static vn_status open_and_drive(const vn_sample_options *o) {
    vn_model *m = NULL;
    vn_samples *out = NULL;
    vn_status status = vn_model_open(vn, "world.json", &m);
    if (!status) status = drive(m, o, &out);
    vn_samples_close(&out);
    vn_model_close(&m);
    return status;
}

static void test_each_allocation_may_fail(void **state) {
    (void)state;
    vn_sample_options o = few(3);
    o.cache = "branch";
    expect_ok(vn, open_and_drive(&o));
    /* a model without a fingerprint, for want of memory, is sampled all the same */
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) alloc_hit(&t, open_and_drive(&o));
}

static int enter(void **state) {
    scratch_enter(state);
    const int failed = open_tested(&vn) != VN_OK;
    make_world("world.json");
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_give_the_bits_of_one_call),
        cmocka_unit_test(test_the_state_falls_from_noise_to_the_samples),
        cmocka_unit_test(test_a_step_goes_on_from_what_was_written_into_the_state),
        cmocka_unit_test(test_an_open_sampling_has_its_model_for_itself),
        cmocka_unit_test(test_a_cancel_between_steps_stops_the_next),
        cmocka_unit_test(test_what_makes_no_sense_is_refused),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
