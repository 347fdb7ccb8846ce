/* test_data.c - data as people have it, through the public calls: labels with gaps, classes in another order. */
#include "api/support_context.h"

#include <stdlib.h>
#include <string.h>

#include "support/idx.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { SIDE = 8, N = 12 };

/* An IDX pair of N pictures with labels first + i mod 2 or, backwards, first + 1 - i mod 2. */
static void make_pair(const char *folder, int first, bool backwards, const char *names) {
    static unsigned char images[N * SIDE * SIDE], labels[N];
    char path[64];
    for (int i = 0; i < N; i++) labels[i] = (unsigned char)(first + (backwards ? 1 - i % 2 : i % 2));
    for (int i = 0; i < N * SIDE * SIDE; i++) images[i] = (unsigned char)(i * 37 % 251);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/train", folder);
    idx_write(path, "", (int[]){N, SIDE, SIDE}, images, labels, scratch_write);
    snprintf(path, sizeof path, "%s/labels.txt", folder);
    if (names != NULL) scratch_write_text(path, names);
}

static void train(const char *data, const char *run, int64_t steps, int resume) {
    vn_train_options o = resume ? vn_train_options_default() : tiny_options(steps);
    o.steps = steps;
    o.resume = resume;
    expect_ok(vn, vn_train(vn, data, run, &o));
}

static double nll(vn_model *m, const char *data) {
    vn_eval_options o = vn_eval_options_default();
    vn_eval_result r;
    o.metric = "nll";
    o.data = data;
    o.likelihood.rtol = o.likelihood.atol = 0.05;
    expect_ok(vn, vn_eval(m, &o, &r));
    return r.measure[0].value;
}

/* Labels 1 and 2 are two classes of these names, in training, sampling, resuming and measuring. */
static void test_labels_from_one_are_as_many_classes_as_there_are(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *s = NULL;
    make_pair("ones", 1, false, NULL);
    train("ones", "run", 2, 0);
    train("ones", "run", 3, 1);
    expect_ok(vn, vn_model_open(vn, "run", &m));
    assert_int_equal(vn_model_get_info(m).classes, 2);
    assert_string_equal(vn_model_label_name(m, 0), "1");
    assert_string_equal(vn_model_label_name(m, 1), "2");
    vn_sample_options o = vn_sample_options_default();
    o.count = 4;
    o.steps = 1;
    expect_ok(vn, vn_sample(m, &o, &s));
    for (int i = 0; i < 4; i++) assert_int_equal(vn_samples_labels(s)[i], i % 2);
    vn_samples_close(&s);

    /* The same data under other numbers, told by names. */
    const double expected = nll(m, "ones");
    make_pair("named", 0, false, "1\n2\n");
    make_pair("backwards", 0, true, "2\n1\n");
    assert_true(nll(m, "named") == expected && nll(m, "backwards") == expected);
    make_pair("other", 6, false, NULL);
    vn_eval_options e = vn_eval_options_default();
    vn_eval_result r;
    e.metric = "nll";
    e.data = "other";
    assert_int_equal(vn_eval(m, &e, &r), VN_BAD_ARGUMENT);
    assert_string_equal(vn_error_text(vn), "other: class 6 is none of the model's, which are 1, 2");
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_from_one_are_as_many_classes_as_there_are),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
