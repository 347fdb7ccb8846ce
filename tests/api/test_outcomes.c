/* test_outcomes.c - what a call says besides its status: why a context could not be opened, and
 * what a training came to. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/scratch.h"

static void expect_unopened(const vn_context_options *o, vn_status status, const char *words) {
    vn_context *none = NULL;
    o->error[0] = 'x';
    assert_int_equal(vn_context_open(&none, o), status);
    assert_null(none);
    if (!strstr(o->error, words)) fail_msg("'%s' does not say '%s'", o->error, words);
}

static void test_a_context_that_cannot_be_opened_says_why(void **state) {
    (void)state;
    char why[256];
    vn_context_options o = vn_context_options_default();
    o.error = why;
    o.error_size = sizeof why;
    o.cpu = "avx1024";
    expect_unopened(&o, VN_BAD_ARGUMENT, "unknown kernels 'avx1024'");
    o.cpu = "auto";
    o.precision = "bf61";
    expect_unopened(&o, VN_BAD_ARGUMENT, "unknown number type 'bf61'; did you mean 'bf16'?");
    o.precision = "bf16";
    o.threads = 1025;
    expect_unopened(&o, VN_BAD_ARGUMENT, "`threads` 1025 is outside [0, 1024]");
    o.error_size = 10;
    why[10] = '!';
    expect_unopened(&o, VN_BAD_ARGUMENT, "`threads`");
    assert_int_equal(strlen(why), 9);
    assert_int_equal(why[10], '!');
    vn_context *opened = NULL;
    o.threads = 1;
    assert_int_equal(vn_context_open(&opened, &o), VN_OK);
    assert_string_equal(why, "");
    vn_context_close(&opened);
    assert_int_equal(vn_context_open(NULL, &o), VN_BAD_ARGUMENT);
}

static int stop_at_the_second(void *user, const vn_progress *p) {
    (void)user;
    return strcmp(p->what, "training") == 0 && p->done >= 2;
}

static void test_a_training_says_what_it_came_to(void **state) {
    (void)state;
    vn_train_options t = tiny_options(4);
    vn_train_result r = vn_train_result_default();
    assert_int_equal(r.end, VN_TRAIN_NOT_BEGUN);
    t.log_every = 2;
    expect_ok(vn, vn_train(vn, "data", "run", &t, &r));
    assert_int_equal(r.end, VN_TRAIN_DONE);
    assert_int_equal(r.steps, 4);
    assert_true(r.seconds > 0 && isfinite(r.loss) && r.loss > 0 && isfinite(r.held_loss));
    assert_true(r.planned_bytes > 0);

    t.resume = 1;
    t.steps = 6;
    expect_ok(vn, vn_train(vn, "data", "run", &t, &r));
    assert_int_equal(r.steps, 6);

    t.lr = 7; /* another run */
    expect_refused(vn_train(vn, "data", "run", &t, &r), VN_BAD_ARGUMENT, "lr");
    assert_int_equal(r.end, VN_TRAIN_NOT_BEGUN);
    assert_int_equal(r.steps, 0);
    assert_true(isnan(r.loss));
    expect_refused(vn_train(vn, "data", "run", &t, &(vn_train_result){0}), VN_BAD_ARGUMENT,
                   "vn_train_result");
}

static void test_a_training_that_was_stopped_says_so(void **state) {
    (void)state;
    vn_context *watched = NULL;
    vn_context_options o = vn_context_options_default();
    vn_train_options t = tiny_options(1000);
    vn_train_result r = vn_train_result_default();
    o.progress = stop_at_the_second;
    assert_int_equal(vn_context_open(&watched, &o), VN_OK);
    assert_int_equal(vn_train(watched, "data", "stopped", &t, &r), VN_CANCELLED);
    assert_int_equal(r.end, VN_TRAIN_CANCELLED);
    assert_true(r.steps >= 1 && r.steps < 1000);
    vn_context_close(&watched);
}

static int prepare(void **state) {
    const int failed = context_enter_once(state);
    make_data("data", 24);
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_context_that_cannot_be_opened_says_why),
        cmocka_unit_test(test_a_training_says_what_it_came_to),
        cmocka_unit_test(test_a_training_that_was_stopped_says_so),
    };
    return cmocka_run_group_tests(tests, prepare, context_leave);
}
