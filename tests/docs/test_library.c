/* The examples of docs/library.md, compiled from the page and run. */
#include "api/support_api.h"

#include <stdio.h>

#include "support/kernels.h"
#include "support/scratch.h"

vn_status inpaint(vn_model *model, const vn_sample_options *o, const float *known,
                  vn_samples **out);
vn_status send_png(const vn_samples *samples, FILE *to);
vn_status draw_two(vn_model *model, vn_context *second, vn_samples *out[2]);
const float *ask_once(vn_model *model, const float *picture, float t);

vn_status train_on_spots(vn_context *vn, const char *run, int64_t steps, int resume);

enum { SIDE = 8, COUNT = 3 };

static void the_known_half_is_in_every_sample(void **state) {
    (void)state;
    vn_context *vn = NULL;
    vn_model *model = NULL;
    vn_samples *out = NULL;
    float known[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) known[i] = (float)i / 64 - 0.5f;
    vn_train_options t = tiny_options(2);
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = 4;
    assert_int_equal(open_tested(&vn), VN_OK);
    expect_ok(vn, vn_train(vn, "data", "run", &t, NULL));
    expect_ok(vn, vn_model_open(vn, "run", &model));
    expect_ok(vn, inpaint(model, &o, known, &out));
    assert_int_equal(vn_samples_count(out), COUNT);
    const float *x = vn_samples_data(out);
    for (int i = 0; i < COUNT * SIDE * SIDE; i++)
        if (i % SIDE < SIDE / 2) assert_true(x[i] == known[i % (SIDE * SIDE)]);
    assert_non_null(ask_once(model, known, 0.5f));
    FILE *file = fopen("sent.png", "wb");
    expect_ok(vn, send_png(out, file));
    assert_int_equal(fclose(file), 0);
    char *text = NULL;
    expect_ok(vn, vn_describe(vn, "sent.png", &text));
    vn_text_free(&text);
    vn_samples_close(&out);
    vn_model_close(&model);
    vn_context_close(&vn);
}

static void each_thread_draws_its_class(void **state) {
    (void)state;
    vn_context *vn = NULL, *second = NULL;
    vn_model *model = NULL;
    vn_samples *out[2];
    make_world("world.json");
    assert_int_equal(open_tested(&vn), VN_OK);
    assert_int_equal(open_tested(&second), VN_OK);
    expect_ok(vn, vn_model_open(vn, "world.json", &model));
    expect_ok(second, draw_two(model, second, out));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vn_samples_count(out[i]), 8);
        assert_int_equal(vn_samples_labels(out[i])[7], i);
        vn_samples_close(&out[i]);
    }
    vn_model_close(&model);
    vn_context_close(&second);
    vn_context_close(&vn);
}

static void a_function_is_trained_on_and_gone_on_with(void **state) {
    (void)state;
    vn_context *vn = NULL;
    vn_model *model = NULL;
    vn_model_info info = vn_model_info_default();
    assert_int_equal(vn_context_open(&vn, NULL), VN_OK);
    expect_ok(vn, train_on_spots(vn, "spots", 2, 0));
    expect_ok(vn, train_on_spots(vn, "spots", 3, 1));
    expect_ok(vn, vn_model_open(vn, "spots", &model));
    expect_ok(vn, vn_model_get_info(model, &info));
    assert_int_equal(info.steps, 3);
    assert_int_equal(info.classes, 2);
    assert_string_equal(vn_model_label_name(model, 1), "below");
    vn_model_close(&model);
    vn_context_close(&vn);
}

static int enter(void **state) {
    scratch_enter(state);
    make_data("data", 24);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_half_is_in_every_sample),
        cmocka_unit_test(each_thread_draws_its_class),
        cmocka_unit_test(a_function_is_trained_on_and_gone_on_with),
    };
    return run_under_each_kernel_set(tests, enter, scratch_leave);
}
