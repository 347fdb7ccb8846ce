/* test_sweep.c - vn_sweep: its result, its callback, a sweep that is stopped and gone on with, and
 * what is freed. tests/cli/test_sweep.c has what it writes, tests/sweep the search. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/alloc.h"
#include "support/kernels.h"
#include "support/scratch.h"

static const char world[] =
    "{\"classes\": [{\"components\": [{\"weight\": 1, \"mean\": [0, 1], \"std\": 0.5}]},"
    "{\"components\": [{\"weight\": 1, \"mean\": [2, 0], \"std\": 1}]}]}";
static const double strengths[] = {1, 3};
static const int steps[] = {4, 16};

typedef struct told {
    int points;
    double fd[8];
} told;

static void on_point(void *user, const vn_sweep_point *p) {
    told *t = user;
    assert_string_equal(p->guide, "cfg");
    assert_string_equal(p->row[0].metric, "fd");
    t->fd[t->points++] = p->row[0].value;
}

static vn_sweep_options options_of(told *t) {
    vn_sweep_options o = vn_sweep_options_default();
    o.guidance = strengths;
    o.guidance_count = 2;
    o.steps = steps;
    o.step_count = 2;
    o.count = 400;
    o.resamples = 20;
    o.point = on_point;
    o.point_user = t;
    return o;
}

/* The result has every point, in order, as the callback was told them; 1 and 16 steps is the best
 * of an exact world. */
static void test_points_are_told_and_kept(void **state) {
    (void)state;
    vn_model *m = NULL;
    expect_ok(vn, vn_model_from_world(vn, world, &m));
    told t = {0};
    const vn_sweep_options o = options_of(&t);
    vn_sweep_result r = vn_sweep_result_default();
    expect_ok(vn, vn_sweep(m, "sweep", &o, &r));
    assert_int_equal(r.points, 4);
    assert_int_equal(t.points, 4);
    assert_int_equal(r.found, 0);
    assert_int_equal(r.written, 0);
    for (int i = 0; i < 4; i++) {
        const vn_sweep_point *p = &r.point[i];
        assert_true(p->guidance == strengths[i % 2] && p->steps == steps[i / 2]);
        assert_true(p->row[0].value == t.fd[i] && p->count == 400 && !p->error);
        assert_true(p->row[0].low <= p->row[0].high);
        assert_true(p->passes == (double)(steps[i / 2] * (i % 2 + 1)));
    }
    assert_non_null(r.best);
    assert_true(r.best->guidance == 1 && r.best->steps == 16);
    assert_true(r.recommended && r.recommended->guidance == 1);

    /* the second time nothing is measured, and nothing is left over */
    const int64_t live = alloc_live();
    for (int again = 0; again < 2; again++) {
        told others = {0};
        const vn_sweep_options same = options_of(&others);
        expect_ok(vn, vn_sweep(m, "sweep", &same, &r));
        assert_true(r.found == 4 && r.points == 4 && others.points == 4);
        assert_memory_equal(others.fd, t.fd, sizeof t.fd);
        if (again) assert_int_equal(alloc_live(), live);
    }
    vn_model_close(&m);
}

/* A weak model and a classifier stand beside the points whose guides use them: under an exact
 * classifier the rule `classifier` draws what CFG does, and CFG's points are those of a sweep
 * without either. */
static void test_second_models_are_beside_their_guides(void **state) {
    (void)state;
    static const char *const guides[] = {"cfg", "classifier", "autoguidance"};
    static const char weak_world[] =
        "{\"classes\": [{\"components\": [{\"weight\": 1, \"mean\": [0, 1], \"std\": 1}]},"
        "{\"components\": [{\"weight\": 1, \"mean\": [2, 0], \"std\": 2}]}]}";
    vn_model *m = NULL, *weak = NULL, *classifier = NULL;
    expect_ok(vn, vn_model_from_world(vn, world, &m));
    expect_ok(vn, vn_model_from_world(vn, world, &classifier));
    expect_ok(vn, vn_model_from_world(vn, weak_world, &weak));
    vn_sweep_options o = vn_sweep_options_default();
    o.guidance = &strengths[1];
    o.guidance_count = 1;
    o.steps = steps;
    o.step_count = 1;
    o.count = 200;
    o.resamples = 0;
    vn_sweep_result r = vn_sweep_result_default();
    expect_ok(vn, vn_sweep(m, "alone", &o, &r));
    const double alone = r.point[0].row[0].value;
    o.classifier = classifier;
    o.weak = weak;
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "a weak model has no effect");
    o.weak = NULL;
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "a classifier has no effect");
    o.weak = weak;
    o.guides = guides;
    o.guide_count = 3;
    expect_ok(vn, vn_sweep(m, "beside", &o, &r));
    assert_int_equal(r.points, 3);
    assert_true(r.point[0].row[0].value == alone);
    assert_true(fabs(r.point[1].row[0].value - alone) < 1e-3 * alone);
    assert_true(fabs(r.point[2].row[0].value - alone) > 0.01 * alone);
    vn_model_close(&weak);
    vn_model_close(&classifier);
    vn_model_close(&m);
}

static void test_what_makes_no_sense_is_refused(void **state) {
    (void)state;
    vn_model *m = NULL;
    expect_ok(vn, vn_model_from_world(vn, world, &m));
    told t = {0};
    vn_sweep_options o = options_of(&t);
    vn_sweep_result r = vn_sweep_result_default();
    expect_refused(vn_sweep(m, "x", &o, NULL), VN_BAD_ARGUMENT, "out and result are needed");
    expect_refused(vn_sweep(m, "x", &(vn_sweep_options){0}, &r), VN_BAD_ARGUMENT,
                   "vn_sweep_options: struct_size 0");
    o.guidance_count = 0;
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "`guidance`: 0 values");
    o = options_of(&t);
    o.search = "some";
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "`search` 'some'");
    o = options_of(&t);
    o.count = -3;
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "`count` -3 is outside");
    o = options_of(&t);
    o.objective = "accuracy";
    expect_refused(vn_sweep(m, "x", &o, &r), VN_BAD_ARGUMENT, "`objective` 'accuracy'");
    assert_int_equal(t.points, 0);
    assert_int_equal(access("x", F_OK), -1);
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_are_told_and_kept),
        cmocka_unit_test(test_second_models_are_beside_their_guides),
        cmocka_unit_test(test_what_makes_no_sense_is_refused),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
