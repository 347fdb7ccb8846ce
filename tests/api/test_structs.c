/* test_structs.c - structs that carry their size: callers that were compiled with other members
 * than the library's. tests/abi runs a whole old program. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "api/structs.h"
#include "support/scratch.h"

/* A newer header's members go behind the old ones, never into room that was padding there: an old
 * caller's size must not cover them. */
#define NO_PADDING(type, last)                                                                     \
    _Static_assert(sizeof(void *) != 8 ||                                                          \
                       offsetof(type, last) + sizeof((type){0}.last) == sizeof(type),              \
                   #type " ends in padding")

NO_PADDING(vn_context_options, precision);
NO_PADDING(vn_model_info, latent_shape);
NO_PADDING(vn_model_options, size);
NO_PADDING(vn_callback_model, reserved);
NO_PADDING(vn_callback_operator, user);
NO_PADDING(vn_sample_options, cache);
NO_PADDING(vn_sampling_state, sigma);
NO_PADDING(vn_written, cache_error);
NO_PADDING(vn_train_options, shift);
NO_PADDING(vn_train_result, expected_epochs);
NO_PADDING(vn_likelihood_settings, seed);
NO_PADDING(vn_eval_options, cache);
NO_PADDING(vn_eval_result, prompts);
NO_PADDING(vn_bench_options, microbatches);
NO_PADDING(vn_bench_result, microbatches);
NO_PADDING(vn_bench_sampling_options, classifier);
NO_PADDING(vn_sweep_options, negative);
NO_PADDING(vn_sweep_result, written);
NO_PADDING(vn_autoencoder_info, shift);
NO_PADDING(vn_autoencoder_options, first);

/* What a library knows, and an older and a newer caller of it. */
typedef struct known {
    size_t struct_size;
    int64_t a, b;
    double c;
} known;

typedef struct older {
    size_t struct_size;
    int64_t a;
    int64_t canary; /* of the caller's, behind its struct */
} older;
enum { OLDER = sizeof(size_t) + sizeof(int64_t) };

typedef struct newer {
    known as;
    int64_t d;
} newer;

static const known initial = {0, 1, 2, 0.5};

static void test_an_old_caller_gets_defaults_for_what_it_does_not_know(void **state) {
    (void)state;
    vn_err err = {0};
    older o = {.canary = 77};
    vn_struct_init(&o, OLDER, &initial, sizeof initial);
    assert_int_equal(o.struct_size, OLDER);
    assert_int_equal(o.a, 1);
    o.a = 10;
    known k = initial;
    assert_int_equal(vn_struct_take(&k, sizeof k, &o, "known", &err), VN_OK);
    assert_int_equal(k.a, 10);
    assert_int_equal(k.b, 2);
    assert_true(k.c == 0.5);
    k.a = 11;
    vn_struct_give(&o, &k, sizeof k);
    assert_int_equal(o.a, 11);
    assert_int_equal(o.struct_size, OLDER);
    assert_int_equal(o.canary, 77);
}

static void test_a_new_caller_is_understood_until_it_asks_for_what_is_not_known(void **state) {
    (void)state;
    vn_err err = {0};
    newer n;
    memset(&n, 0xff, sizeof n);
    vn_struct_init(&n, sizeof n, &initial, sizeof initial);
    assert_int_equal(n.as.struct_size, sizeof n);
    assert_int_equal(n.as.b, 2);
    assert_int_equal(n.d, 0);
    n.as.b = 20;
    known k = initial;
    assert_int_equal(vn_struct_take(&k, sizeof k, &n, "known", &err), VN_OK);
    assert_int_equal(k.b, 20);
    n.d = 1;
    assert_int_equal(vn_struct_take(&k, sizeof k, &n, "known", &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "known: a member is set"));
    vn_struct_give(&n, &k, sizeof k);
    assert_int_equal(n.d, 0);
}

/* Each public call that takes or fills such a struct, given one without a size. */
static void test_a_struct_without_a_size_is_refused_by_name(void **state) {
    (void)state;
    static const char world[] =
        "{\"classes\": [{\"components\": [{\"weight\": 1, \"mean\": [0], \"std\": 1}]}]}";
    const int32_t label = 0;
    const float x = 0;
    double log_p;
    vn_model *m = NULL, *none = NULL;
    vn_samples *out = NULL;
    expect_ok(vn, vn_model_from_world(vn, world, &m));
    expect_refused(vn_model_get_info(m, &(vn_model_info){0}), VN_BAD_ARGUMENT, "vn_model_info");
    expect_refused(vn_model_open_with(vn, "x", &(vn_model_options){0}, &none), VN_BAD_ARGUMENT,
                   "vn_model_options: struct_size 0");
    expect_refused(vn_model_from_callback(vn, &(vn_callback_model){0}, &none), VN_BAD_ARGUMENT,
                   "vn_callback_model");
    expect_refused(vn_sample(m, &(vn_sample_options){0}, &out), VN_BAD_ARGUMENT,
                   "vn_sample_options");
    vn_sample_options bands[2] = {vn_sample_options_default()};
    expect_refused(vn_sample_check(m, bands, 2, "x.npy", VN_EXISTING_REFUSE), VN_BAD_ARGUMENT,
                   "vn_sample_options 1");
    vn_written written = {0};
    bands[0].count = 1;
    expect_refused(vn_sample_to(m, bands, 1, "x.npy", VN_EXISTING_REFUSE, &written),
                   VN_BAD_ARGUMENT, "vn_written");
    vn_sampling *driven = NULL;
    expect_refused(vn_sampling_open(m, &(vn_sample_options){0}, &driven), VN_BAD_ARGUMENT,
                   "vn_sample_options");
    expect_ok(vn, vn_sampling_open(m, NULL, &driven));
    expect_refused(vn_sampling_get_state(driven, &(vn_sampling_state){0}), VN_BAD_ARGUMENT,
                   "vn_sampling_state");
    vn_sampling_close(&driven);
    expect_refused(vn_train(vn, "points:moons", "run", &(vn_train_options){0}, NULL),
                   VN_BAD_ARGUMENT, "vn_train_options");
    expect_refused(vn_log_likelihood(m, &(vn_likelihood_settings){0}, 1, &x, &label, &log_p, NULL),
                   VN_BAD_ARGUMENT, "vn_likelihood_settings");
    vn_eval_result result = vn_eval_result_default();
    expect_refused(vn_eval(m, &(vn_eval_options){0}, &result), VN_BAD_ARGUMENT, "vn_eval_options");
    vn_eval_options eval = vn_eval_options_default();
    expect_refused(vn_eval(m, &eval, &(vn_eval_result){0}), VN_BAD_ARGUMENT, "vn_eval_result");
    vn_bench_result bench = vn_bench_result_default();
    expect_refused(vn_bench(vn, "x", &(vn_bench_options){0}, &bench), VN_BAD_ARGUMENT,
                   "vn_bench_options");
    expect_refused(vn_bench(vn, "x", NULL, &(vn_bench_result){0}), VN_BAD_ARGUMENT,
                   "vn_bench_result");
    vn_context *other = NULL;
    assert_int_equal(vn_context_open(&other, &(vn_context_options){0}), VN_BAD_ARGUMENT);
    assert_null(other);
    vn_model_close(&m);
}

static void test_parameters_of_a_row_are_walked_by_number(void **state) {
    (void)state;
    const vn_row *row = vn_kind_find_row(vn_kind_find("samplers"), "ddim");
    assert_string_equal(vn_row_param(row, 0)->name, row->params[0].name);
    size_t n = 0;
    while (vn_row_param(row, n)) n++;
    assert_null(row->params[n].name);
    assert_null(vn_row_param(row, n + 1));
    assert_null(vn_row_param(NULL, 0));
}

static void test_the_version_is_a_number_too(void **state) {
    (void)state;
    char text[32];
    const int n = vn_version_number();
    snprintf(text, sizeof text, "%d.%d.%d", n / 10000, n / 100 % 100, n % 100);
    assert_string_equal(text, vn_version());
    assert_int_equal(n, VN_VERSION_NUMBER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_old_caller_gets_defaults_for_what_it_does_not_know),
        cmocka_unit_test(test_a_new_caller_is_understood_until_it_asks_for_what_is_not_known),
        cmocka_unit_test(test_a_struct_without_a_size_is_refused_by_name),
        cmocka_unit_test(test_parameters_of_a_row_are_walked_by_number),
        cmocka_unit_test(test_the_version_is_a_number_too),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
