/* test_old_client.c - a program that was compiled with an older vane.h (the one of this folder)
 * runs with a library whose structs have grown (grow.sh). Whatever the library knows more of, it
 * must not read from this program's structs, nor write behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vane.h"

#include "support/scratch.h"

/* A struct with bytes behind it that no member of a newer library may be taken from or lost in. */
#define GUARDED(type, name)                                                                        \
    struct {                                                                                       \
        type it;                                                                                   \
        unsigned char guard[128];                                                                  \
    } name;                                                                                        \
    memset(&(name), 0xa5, sizeof(name));                                                           \
    (name).it = type##_default()
#define assert_guarded(name)                                                                       \
    do {                                                                                           \
        for (size_t guard = 0; guard < sizeof(name).guard; guard++)                                \
            assert_int_equal((name).guard[guard], 0xa5);                                           \
        assert_int_equal((name).it.struct_size, sizeof(name).it);                                  \
    } while (0)

static vn_context *vn;

static void ok(vn_status status) {
    if (status) fail_msg("%s: %s", vn_status_name(status), vn_error_text(vn));
}

static void test_the_library_is_a_later_one(void **state) {
    (void)state;
    assert_true(vn_version_number() > VN_VERSION_NUMBER);
    /* and knows more members than this header */
    struct {
        vn_model_options it;
        int64_t more[8];
    } wide;
    memset(&wide, 0xa5, sizeof wide);
    vn_model_options_init(&wide.it, sizeof wide);
    assert_int_equal(wide.it.struct_size, sizeof wide);
    wide.more[0] = 0; /* size, a text */
    wide.more[1] = 1;
    vn_model *m = NULL;
    assert_int_equal(vn_model_open_with(vn, "world.json", &wide.it, &m), VN_OK);
    vn_model_close(&m);
}

static void test_an_old_program_samples_and_measures(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *out = NULL;
    GUARDED(vn_model_options, model);
    GUARDED(vn_model_info, info);
    GUARDED(vn_sample_options, sample);
    GUARDED(vn_eval_options, eval);
    GUARDED(vn_likelihood_settings, likelihood);
    GUARDED(vn_eval_result, result);
    ok(vn_model_open_with(vn, "world.json", &model.it, &m));
    ok(vn_model_get_info(m, &info.it));
    assert_guarded(info);
    assert_int_equal(info.it.classes, 2);
    assert_int_equal(info.it.sampling_steps, 32);
    sample.it.count = 4;
    sample.it.steps = 3;
    ok(vn_sample(m, &sample.it, &out));
    assert_int_equal(vn_samples_count(out), 4);
    eval.it.metric = "nll";
    eval.it.count = 3;
    eval.it.likelihood = &likelihood.it;
    ok(vn_eval(m, &eval.it, &result.it));
    assert_guarded(result);
    assert_int_equal(result.it.count, 3);
    assert_string_equal(result.it.measure[1].name, "bits per dimension");
    vn_samples_close(&out);
    vn_model_close(&m);
}

static void test_an_old_program_strides_arrays_by_its_own_size(void **state) {
    (void)state;
    vn_model *m = NULL;
    ok(vn_model_open(vn, "world.json", &m));
    vn_sample_options bands[3];
    vn_written written[4];
    memset(written, 0xa5, sizeof written);
    for (int i = 0; i < 3; i++) {
        bands[i] = vn_sample_options_default();
        written[i] = vn_written_default();
        bands[i].count = 2 + i;
        bands[i].steps = 2;
    }
    ok(vn_sample_to(m, bands, 3, "bands.npy", VN_EXISTING_REFUSE, written));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(written[i].struct_size, sizeof written[i]);
        assert_int_equal(written[i].count, 2 + i);
    }
    for (size_t i = 0; i < sizeof written[3]; i++)
        assert_int_equal(((unsigned char *)&written[3])[i], 0xa5);
    vn_model_close(&m);
}

static vn_status predict(void *user, const vn_predict_query *q, float *out) {
    (void)user;
    for (int64_t i = 0; i < q->n; i++) out[i] = 0;
    return VN_OK;
}

static void test_an_old_program_has_a_denoiser_of_its_own(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_samples *out = NULL;
    GUARDED(vn_callback_model, spec);
    spec.it.predict = predict;
    ok(vn_model_from_callback(vn, &spec.it, &m));
    GUARDED(vn_sample_options, sample);
    ok(vn_sample(m, &sample.it, &out));
    assert_true(vn_samples_data(out)[0] == 0);
    vn_samples_close(&out);
    vn_model_close(&m);
}

static void test_an_old_program_trains_and_times(void **state) {
    (void)state;
    GUARDED(vn_train_options, train);
    train.it.model = "mlp:width=8,layers=1";
    train.it.steps = 2;
    train.it.preview_every = -1;
    ok(vn_train(vn, "points:moons", "run", &train.it, NULL));
    assert_guarded(train);
    GUARDED(vn_bench_options, bench);
    GUARDED(vn_bench_result, result);
    bench.it.batch = bench.it.steps = 1;
    ok(vn_bench(vn, "run", &bench.it, &result.it));
    assert_guarded(result);
    assert_true(result.it.parameters > 0);
}

static int enter(void **state) {
    GUARDED(vn_context_options, o);
    o.it.threads = 1;
    scratch_enter(state);
    scratch_write_text("world.json",
                       "{\"classes\": [{\"components\": [{\"weight\": 1, \"mean\": [-1, 0], "
                       "\"std\": 0.3}]}, {\"components\": [{\"weight\": 1, \"mean\": [1, 0.5], "
                       "\"std\": 0.2}]}]}");
    return vn_context_open(&vn, &o.it) != VN_OK;
}

static int leave(void **state) {
    vn_context_close(&vn);
    return scratch_leave(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_library_is_a_later_one),
        cmocka_unit_test(test_an_old_program_samples_and_measures),
        cmocka_unit_test(test_an_old_program_strides_arrays_by_its_own_size),
        cmocka_unit_test(test_an_old_program_has_a_denoiser_of_its_own),
        cmocka_unit_test(test_an_old_program_trains_and_times),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
