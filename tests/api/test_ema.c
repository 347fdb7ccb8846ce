/* test_ema.c - averages of weights after training: of any width they are what training would have
 * tracked, resuming keeps what they are made of to the bit, and what cannot be is refused. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/scratch.h"
#include "train/train.h"

enum { STEPS = 48, SNAPSHOTS = 8 };

static vn_train_options options_of(int64_t steps) {
    vn_train_options o = points_options(NULL, steps);
    o.model = "mlp:width=16,layers=1";
    o.validate = 0;
    o.schedule = "constant";
    o.lr = 1e-2;
    o.overwrite = 1;
    return o;
}

static void learn(const char *run, const vn_train_options *o) {
    expect_ok(vn, vn_train(vn, "points:moons", run, o, NULL));
}

static void go_on(const char *run, int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.resume = 1;
    o.steps = steps;
    learn(run, &o);
}

static char *weights_of(const char *run) {
    return vn_format("%s/model/diffusion_pytorch_model.safetensors", run);
}

/* All numbers of a run's weights, in the order of the file; to be freed. */
static float *read_weights(const char *run, size_t *n) {
    vn_err err = {0};
    vn_safetensors *st = NULL;
    char *path = weights_of(run);
    if (vn_safetensors_open(path, &st, &err)) fail_msg("%s", err.text);
    *n = 0;
    for (size_t i = 0; i < vn_safetensors_count(st); i++)
        *n += (size_t)vn_shape_count(&vn_safetensors_at(st, i)->shape);
    float *all = vn_alloc(*n, sizeof *all), *to = all;
    assert_non_null(all);
    for (size_t i = 0; i < vn_safetensors_count(st); i++) {
        vn_array_read_f32(vn_safetensors_at(st, i), to);
        to += vn_shape_count(&vn_safetensors_at(st, i)->shape);
    }
    vn_safetensors_close(&st);
    vn_free(path);
    return all;
}

/* The same training whose average is the weights themselves, step by step: the averages that it
 * would have had, tracked in double. */
static void track(size_t widths, const double *width, double **direct) {
    vn_train_options o = options_of(1);
    o.ema = 0;
    learn("live", &o);
    for (int64_t step = 1; step <= STEPS; step++) {
        size_t n;
        if (step > 1) go_on("live", step);
        float *live = read_weights("live", &n);
        for (size_t i = 0; i < widths; i++) {
            const double keep = vn_ema_decay(vn_ema_gamma(width[i]), (double)step);
            if (step == 1) direct[i] = vn_calloc(n, sizeof(double));
            for (size_t k = 0; k < n; k++)
                direct[i][k] = keep * direct[i][k] + (1 - keep) * (double)live[k];
        }
        vn_free(live);
    }
}

/* Root mean square of the difference. */
static double off(const float *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)a[i] - b[i], 2);
    return sqrt(sum / (double)n);
}

static void an_average_is_what_training_would_have_tracked(void **state) {
    (void)state;
    static const double width[] = {0.05, 0.07, 0.1, 0.15};
    /* root mean squares of weights; those of width 0.05 and 0.15 are 1e-2 apart and more */
    static const double bound[] = {1e-6, 3e-4, 1e-6, 1e-3};
    double *direct[VN_COUNT(width)] = {NULL};
    vn_train_options o = options_of(STEPS);
    o.ema_snapshots = SNAPSHOTS;
    learn("run", &o);
    track(VN_COUNT(width), width, direct);
    size_t n;
    for (size_t i = 0; i < VN_COUNT(width); i++) {
        double left = -1;
        expect_ok(vn, vn_run_average(vn, "run", width[i], &left));
        assert_true(left >= 0 && left < 0.2);
        float *made = read_weights("run", &n);
        expect_below_as(off(made, direct[i], n), bound[i], "an average of width %g", width[i]);
        assert_true(i == 0 || off(made, direct[0], n) > 10 * off(made, direct[i], n));
        vn_free(made);
    }
    for (size_t i = 0; i < VN_COUNT(width); i++) vn_free(direct[i]);
    vn_model *m = NULL; /* and is sampled */
    expect_ok(vn, vn_model_open(vn, "run", &m));
    vn_model_close(&m);
}

/* Snapshots are at most as many as asked for, evenly spread, and those of a run that stopped, had
 * its weights made another average, and went on. */
static void snapshots_are_kept_to_the_bit(void **state) {
    (void)state;
    vn_train_options o = options_of(STEPS);
    o.ema_snapshots = SNAPSHOTS;
    learn("whole", &o);
    o.steps = 21;
    learn("halves", &o);
    expect_ok(vn, vn_run_average(vn, "halves", 0.2, NULL));
    go_on("halves", STEPS);
    vn_err err = {0};
    int64_t *step[2] = {NULL, NULL};
    size_t n[2];
    assert_int_equal(vn_store_list_snapshots("whole", &step[0], &n[0], &err), VN_OK);
    assert_int_equal(vn_store_list_snapshots("halves", &step[1], &n[1], &err), VN_OK);
    assert_int_equal(n[0], STEPS / 8);
    assert_int_equal(n[1], n[0]);
    for (size_t i = 0; i < n[0]; i++) {
        assert_int_equal(step[0][i], 8 * (int64_t)(i + 1));
        assert_int_equal(step[1][i], step[0][i]);
        char *one = vn_store_snapshot_path("whole", step[0][i]),
             *other = vn_store_snapshot_path("halves", step[0][i]);
        expect_same_file(one, other);
        vn_free(one);
        vn_free(other);
    }
    vn_free(step[0]);
    vn_free(step[1]);
    char *one = weights_of("whole"), *other = weights_of("halves");
    expect_same_file(one, other);
    for (int i = 0; i < 2; i++)
        expect_ok(vn, vn_run_average(vn, i ? "halves" : "whole", 0.03 + 0.05, NULL));
    expect_same_file(one, other);
    vn_free(one);
    vn_free(other);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    vn_train_options o = options_of(2);
    learn("plain", &o);
    expect_refused(vn_run_average(vn, "plain", 0.1, NULL), VN_BAD_ARGUMENT,
                   "plain: keeps no snapshots");
    expect_refused(vn_run_average(vn, "plain", 0.5, NULL), VN_BAD_ARGUMENT, "outside [0.005");
    expect_refused(vn_run_average(vn, "plain", (double)NAN, NULL), VN_BAD_ARGUMENT, "outside");
    assert_int_equal(vn_run_average(vn, "nothing", 0.1, NULL), VN_IO);
    assert_int_equal(vn_run_average(vn, NULL, 0.1, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_run_average(NULL, "plain", 0.1, NULL), VN_BAD_ARGUMENT);
    o.ema_snapshots = 4;
    o.ema = 0.9;
    expect_refused(vn_train(vn, "points:moons", "refused", &o, NULL), VN_BAD_ARGUMENT,
                   "leave out `ema`");
    /* a snapshot that is damaged */
    o = options_of(6);
    o.ema_snapshots = 4;
    learn("damaged", &o);
    scratch_write("damaged/state/ema/4.safetensors", "nothing", 7);
    assert_int_equal(vn_run_average(vn, "damaged", 0.07, NULL), VN_BAD_FILE);
    char *path = weights_of("damaged");
    assert_true(vn_is_file(path));
    vn_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_average_is_what_training_would_have_tracked),
        cmocka_unit_test(snapshots_are_kept_to_the_bit),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
