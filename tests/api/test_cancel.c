/* test_cancel.c - vn_context_cancel: it stops the call that runs, or the next that can be stopped,
 * and no other. */
#include "api/support_api.h"

#include <string.h>

#include "support/scratch.h"

static vn_context *open_context(vn_progress_fn progress, void *user) {
    vn_context_options o = vn_context_options_default();
    o.threads = 1;
    o.progress = progress;
    o.user = user;
    vn_context *vn = NULL;
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    return vn;
}

static vn_status draw(vn_model *model) {
    vn_sample_options o = vn_sample_options_default();
    vn_samples *out = NULL;
    o.count = 2;
    o.steps = 3;
    const vn_status status = vn_sample(model, &o, &out);
    vn_samples_close(&out);
    return status;
}

static void test_a_cancel_before_the_call_is_not_lost(void **state) {
    (void)state;
    vn_context *vn = open_context(NULL, NULL);
    vn_model *model = NULL;
    char *text = NULL;
    vn_context_cancel(vn);
    /* cannot be stopped, and calls others in it */
    expect_ok(vn, vn_model_open(vn, "world.json", &model));
    expect_ok(vn, vn_describe(vn, "world.json", &text));
    vn_text_free(&text);
    assert_int_equal(draw(model), VN_CANCELLED);
    assert_int_equal(draw(model), VN_OK);

    vn_train_options t = tiny_options(3);
    vn_context_cancel(vn);
    assert_int_equal(vn_train(vn, "data", "run", &t, NULL), VN_CANCELLED);
    t.resume = 1;
    assert_int_equal(vn_train(vn, "data", "run", &t, NULL), VN_OK);

    vn_eval_options e = vn_eval_options_default();
    vn_eval_result result = vn_eval_result_default();
    e.metric = "nll";
    e.count = 4;
    vn_context_cancel(vn);
    assert_int_equal(vn_eval(model, &e, &result), VN_CANCELLED);
    assert_int_equal(vn_eval(model, &e, &result), VN_OK);
    vn_model_close(&model);
    vn_context_close(&vn);
    vn_context_cancel(NULL);
}

typedef struct late {
    vn_context *vn;
    int64_t at;
} late;

static int cancel_at(void *user, const vn_progress *p) {
    const late *l = user;
    if (p->done >= l->at) vn_context_cancel(l->vn);
    return 0;
}

/* One that came in the call is over with it. */
static void test_a_cancel_is_over_with_its_call(void **state) {
    (void)state;
    late l = {.at = 1};
    l.vn = open_context(cancel_at, &l);
    vn_model *model = NULL;
    expect_ok(l.vn, vn_model_open(l.vn, "world.json", &model));
    assert_int_equal(draw(model), VN_CANCELLED);
    l.at = INT64_MAX;
    assert_int_equal(draw(model), VN_OK);
    vn_model_close(&model);
    vn_context_close(&l.vn);
}

static void count_run(void *user, const vn_bench_sampling *run) {
    (void)run;
    ++*(int *)user;
}

static int cancel_at_the_second(void *user, const vn_progress *p) {
    const late *l = user;
    if (p->total > 0 && strcmp(p->unit, "runs") == 0 && p->done >= l->at) vn_context_cancel(l->vn);
    return 0;
}

/* vn_bench_sample times the network after its runs, in the way of vn_bench. */
static void test_a_cancel_holds_through_the_parts_of_a_call(void **state) {
    (void)state;
    late l = {.at = 1};
    int runs = 0;
    l.vn = open_context(cancel_at_the_second, &l);
    vn_train_options t = tiny_options(1);
    expect_ok(l.vn, vn_train(l.vn, "data", "timed", &t, NULL));
    vn_bench_sampling_options o = vn_bench_sampling_options_default();
    vn_bench_result machine = vn_bench_result_default();
    o.steps = 1;
    o.batch = 1;
    o.sampler = "all";
    assert_int_equal(vn_bench_sample(l.vn, "timed", &o, count_run, &runs, &machine), VN_CANCELLED);
    assert_int_equal(runs, 1);
    assert_true(machine.median_ms == 0);
    vn_context_close(&l.vn);
}

/* Refused for what is missing is an end as any other. */
static void test_a_cancel_is_over_with_a_call_that_was_refused(void **state) {
    (void)state;
    vn_context *vn = open_context(NULL, NULL);
    vn_model *model = NULL;
    expect_ok(vn, vn_model_open(vn, "world.json", &model));
    const int32_t label = 0;
    for (int i = 0; i < 6; i++) {
        vn_context_cancel(vn);
        const vn_status got = i == 0   ? vn_sample(model, NULL, NULL)
                              : i == 1 ? vn_eval(model, NULL, NULL)
                              : i == 2 ? vn_train(vn, NULL, NULL, NULL, NULL)
                              : i == 3 ? vn_bench(vn, NULL, NULL, NULL)
                              : i == 4
                                  ? vn_bench_sample(vn, NULL, NULL, NULL, NULL, NULL)
                                  : vn_log_likelihood(model, NULL, 1, NULL, &label, NULL, NULL);
        assert_int_equal(got, VN_BAD_ARGUMENT);
        assert_int_equal(draw(model), VN_OK);
    }
    vn_model_close(&model);
    vn_context_close(&vn);
}

static int prepare(void **state) {
    scratch_enter(state);
    make_data("data", 24);
    make_world("world.json");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cancel_before_the_call_is_not_lost),
        cmocka_unit_test(test_a_cancel_is_over_with_its_call),
        cmocka_unit_test(test_a_cancel_holds_through_the_parts_of_a_call),
        cmocka_unit_test(test_a_cancel_is_over_with_a_call_that_was_refused),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
