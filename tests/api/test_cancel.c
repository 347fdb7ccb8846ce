/* test_cancel.c - vn_context_cancel: it stops the call that runs, or the next that can be stopped,
 * and no other. */
#include "api/support_api.h"

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
    assert_int_equal(vn_train(vn, "data", "run", &t), VN_CANCELLED);
    t.resume = 1;
    assert_int_equal(vn_train(vn, "data", "run", &t), VN_OK);

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
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
