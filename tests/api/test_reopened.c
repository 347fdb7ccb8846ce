/* test_reopened.c - a run that is opened again predicts what it was trained to predict, with the
 * parameters that it was given. */
#include "api/support_context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/kernels.h"
#include "support/scratch.h"

enum { COUNT = 4, SIZE = 2 * COUNT };

/* One step from sigma 0.3 to 0 is the prediction of x0 itself. */
static void predict(const char *run, float x[SIZE]) {
    static const double sigmas[] = {0.3, 0};
    vn_model *m = NULL;
    vn_samples *s = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.sigmas = sigmas;
    o.sigma_count = 2;
    o.sampler = "euler";
    o.begin = "scaled"; /* a scheduler of diffusers has another */
    o.guidance = 1;
    o.label = 1;
    expect_ok(vn, vn_model_open(vn, run, &m));
    expect_ok(vn, vn_sample(m, &o, &s));
    memcpy(x, vn_samples_data(s), SIZE * sizeof *x);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* vane.json with `to` in place of `from`. */
static void replace(const char *run, const char *from, const char *to) {
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "%s/vane.json", run);
    char *text = scratch_read(path, &size), *at = strstr(text, from);
    if (!at) fail_msg("%s is not in %s", from, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    free(text);
}

static void the_parameters_of_a_prediction_are_kept(void **state) {
    (void)state;
    float run[SIZE], elsewhere[SIZE], old[SIZE], usual[SIZE];
    vn_train_options o = points_options(NULL, 2);
    o.path = "edm";
    o.predict = "edm:sigma_data=0.125";
    expect_ok(vn, vn_train(vn, "points:moons", "run", &o, NULL));
    predict("run", run);
    /* other programs, and vane without vane.json, go by the scheduler */
    assert_int_equal(rename("run/vane.json", "kept.json"), 0);
    predict("run", elsewhere);
    assert_memory_equal(run, elsewhere, sizeof run);
    assert_int_equal(rename("kept.json", "run/vane.json"), 0);
    /* older runs say it in `train` alone */
    replace("run", "\"edm:sigma_data=0.125\"", "\"edm\"");
    predict("run", old);
    assert_memory_equal(run, old, sizeof run);
    replace("run", "\"edm:sigma_data=0.125\"", "\"edm:sigma_data=0.5\"");
    predict("run", usual);
    assert_memory_not_equal(run, usual, sizeof run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parameters_of_a_prediction_are_kept),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
